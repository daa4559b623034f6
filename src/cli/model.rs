//! `collegium model`: taking a champion away and using it.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use collegium_automl::model::{Champion, predict_table};
use collegium_automl::privacy::PrivacyReport;
use collegium_automl::table::{Table, TableMapping};
use collegium_node::config::{Config, Flags, Sources};
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
    /// The site's node.toml: its column map, and what its section `privacy` does to columns, are
    /// done to these rows as they were to those that the champion learned from.
    #[arg(long, value_name = "FILE", conflicts_with = "columns")]
    site: Option<PathBuf>,
    /// The node's state directory, for the site's key for hashes [default: as --site says].
    #[arg(long, value_name = "DIR", requires = "site")]
    state: Option<PathBuf>,
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
    let (table, report) = rows(&args)?;
    for line in in_words(&report) {
        out.say(line);
    }
    let predicted = predict_table(&champion, &table, &args.output).map_err(|error| {
        let left_out = report.refused.iter().map(ToString::to_string);
        let left_out: Vec<String> = left_out.collect();
        let error = anyhow::Error::from(error);
        if left_out.is_empty() {
            error
        } else {
            error.context(format!("left out by --site: {}", left_out.join("; ")))
        }
    })?;
    out.result(
        &json!({
            "rows": predicted.rows,
            "columns": predicted.columns,
            "file": args.output,
            "privacy": report,
        }),
        format!(
            "{} rows scored into {}",
            predicted.rows,
            args.output.display()
        ),
    )?;
    Ok(ExitCode::SUCCESS)
}

/// The rows, mapped and treated as the site does it.
fn rows(args: &Predict) -> anyhow::Result<(Table, PrivacyReport)> {
    let Some(file) = &args.site else {
        let mapping = args
            .columns
            .as_deref()
            .map_or_else(|| Ok(TableMapping::default()), read_mapping)?;
        return Ok((Table::open(&args.rows, &mapping)?, PrivacyReport::default()));
    };
    let flags = Flags {
        state: args.state.clone(),
        ..Flags::default()
    };
    let config = Config::load(&Sources::from_process(Some(file.clone()), flags))?;
    let table = Table::open(&args.rows, &collegium_node::data::mapping(&config.data)?)?;
    let key = collegium_node::privacy::site_key(&config.state)?;
    Ok(config.privacy.apply(table, key.as_deref())?)
}

/// What was done to the rows.
fn in_words(report: &PrivacyReport) -> Vec<String> {
    let treated = report.treated.iter();
    let treated = treated.map(|it| format!("`{}`: {}", it.column, it.what));
    let refused = report.refused.iter().map(|it| format!("left out: {it}"));
    treated.chain(refused).collect()
}
