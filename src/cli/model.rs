//! `collegium model`: taking a champion away and using it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use collegium_automl::model::{Champion, predict_csv};
use collegium_automl::table::TableMapping;
use serde_json::json;

use crate::output::Output;
use crate::simulate::read_mapping;

/// What one does with a model.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Score the rows of a CSV file, in order.
    Predict(Predict),
}

/// Arguments of `model predict`.
#[derive(Debug, clap::Args)]
pub(crate) struct Predict {
    /// The champion's file.
    champion: PathBuf,
    /// The rows: a CSV file with the columns that the champion was trained on.
    rows: PathBuf,
    /// Where the scores go: a column `p_<class>` for each class and `class`, or `prediction`.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// How the file's columns become the champion's, as in `node join`.
    #[arg(long, value_name = "FILE")]
    columns: Option<PathBuf>,
}

/// Carries out the command.
///
/// # Errors
/// A file that cannot be read or written, or the column that does not fit.
pub(crate) fn run(command: Command, out: Output) -> anyhow::Result<ExitCode> {
    let Command::Predict(args) = command;
    let bytes = std::fs::read(&args.champion)
        .with_context(|| format!("cannot read the champion {}", args.champion.display()))?;
    let champion =
        Champion::from_bytes(&bytes).with_context(|| args.champion.display().to_string())?;
    let mapping = args
        .columns
        .as_deref()
        .map_or_else(|| Ok(TableMapping::default()), read_mapping)?;
    let predicted = predict_csv(&champion, &args.rows, &mapping, &args.output)?;
    out.result(
        &json!({ "rows": predicted.rows, "columns": predicted.columns, "file": args.output }),
        format!(
            "{} rows scored into {}",
            predicted.rows,
            args.output.display()
        ),
    )?;
    Ok(ExitCode::SUCCESS)
}
