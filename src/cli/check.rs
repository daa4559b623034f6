//! `collegium task check`: what a task would ask of the sites, and about what it would cost.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use collegium_automl::search::Guess;
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;
use collegium_crypto::params::Thresholds;
use serde_json::json;

use crate::output::Output;
use crate::simulate::{read_mapping, read_task};
use crate::words::{Asks, Columns};

mod cost;
mod stand_in;

use cost::Costs;

/// Sites where nobody says how many: one more than the fewest, so that one may be away.
const SITES: usize = 4;
/// Rows of a site where nobody says how many.
const ROWS_OF_A_SITE: u64 = 2500;
/// Columns of a table that nobody shows.
const COLUMNS: usize = 20;

/// Arguments of `task check`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The task file (TOML).
    task: PathBuf,
    /// A table such as the sites have (CSV), for the columns and the estimate. It is read here and
    /// goes nowhere.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// How that table's columns become the task's, as in `node join`.
    #[arg(long, value_name = "FILE", requires = "data")]
    columns: Option<PathBuf>,
    /// How many sites there may be [default: 4].
    #[arg(long, value_name = "K", value_parser = clap::value_parser!(u16).range(3..=1024))]
    sites: Option<u16>,
    /// How many rows all sites have together [default: as many at every site as the table has, or
    /// 2500].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(30..=1 << 30))]
    rows: Option<u64>,
}

/// Checks a task.
///
/// # Errors
/// What is wrong in the task file, or does not fit in the table.
pub(super) fn run(args: &Args, out: Output) -> anyhow::Result<ExitCode> {
    let task = read_task(&args.task)?;
    let table = shown(args)?;
    let sites = args.sites.map_or(SITES, usize::from);
    let rows_of_a_site = table.as_ref().map_or(ROWS_OF_A_SITE, |it| it.rows() as u64);
    let guess = Guess {
        rows: args.rows.unwrap_or(rows_of_a_site * sites as u64),
        sites,
    };
    let (costs, basis) = costs(&task, table.as_ref(), guess)?;
    let asks = Asks {
        task: &task,
        columns: match &table {
            Some(_) => Columns::Profiled(&costs.estimate.profile),
            None => Columns::Unknown,
        },
        thresholds: Thresholds::for_members(sites)?,
        sites,
    };
    let summary = task.summary();
    let value = json!({
        "task": task.name,
        "digest": task.digest(),
        "summary": summary.lines().collect::<Vec<_>>(),
        "asks": asks.as_json(),
        "estimate": costs.as_json(&basis),
    });
    let text = format!("{}\n{}", asks.in_words(), costs.in_words(&basis));
    out.result(&value, text.trim_end())?;
    Ok(ExitCode::SUCCESS)
}

/// The table that the caller shows, if any.
fn shown(args: &Args) -> anyhow::Result<Option<Table>> {
    let Some(file) = &args.data else {
        return Ok(None);
    };
    let mapping = args
        .columns
        .as_deref()
        .map_or_else(|| Ok(TableMapping::default()), read_mapping)?;
    Ok(Some(Table::open(file, &mapping)?))
}

/// What the task would cost, and what that is computed from.
fn costs(task: &Task, table: Option<&Table>, guess: Guess) -> anyhow::Result<(Costs, String)> {
    if let Some(table) = table {
        let costs = Costs::of(task, table, guess)
            .with_context(|| format!("the task does not fit {}", table.source()))?;
        let basis = format!(
            "the {} columns of {}",
            table.columns().len(),
            table.source()
        );
        return Ok((costs, basis));
    }
    let (tried, made_up) = stand_in::stand_in(task, COLUMNS, guess.rows)?;
    let costs = Costs::of(&tried, &made_up, guess)
        .context("this task finds nothing to learn in a made-up table; show one with --data")?;
    let basis = if task.differential_privacy.is_some() {
        // Nothing else is used, whatever the sites' tables have.
        "the columns that the task declares".to_owned()
    } else {
        let columns = made_up.columns().len();
        format!("{columns} made-up columns (--data FILE takes those of a table)")
    };
    Ok((costs, basis))
}
