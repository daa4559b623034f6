//! A whole federation in one process: for research, tests, and as what the
//! encrypted one must equal.

use crate::federation::{FederationError, Journal, Journaled, Pooled};
use crate::search::{self, Observer, Outcome, Round, SearchError};
use crate::site::{Site, TableSite};
use crate::table::Table;
use crate::task::Task;

/// Runs a round over sites in this process, in the given order.
///
/// # Errors
/// As [`search::run`]; a table that does not fit the task is an error of its
/// site.
pub fn run(
    task: &Task,
    sites: Vec<(String, Table)>,
    observer: &mut dyn Observer,
) -> Result<Outcome, SearchError> {
    let mut federation = federation(task, sites)?;
    search::run(task, &mut federation, observer)
}

/// As [`run`], for a round after others.
///
/// # Errors
/// As [`search::round`].
pub fn run_round(
    task: &Task,
    round: &Round,
    sites: Vec<(String, Table)>,
    observer: &mut dyn Observer,
) -> Result<Outcome, SearchError> {
    let mut federation = federation(task, sites)?;
    search::round(task, round, &mut federation, observer)
}

/// As [`run`], with every step kept in a journal: run again over the same
/// journal, it goes on where it stopped.
///
/// # Errors
/// As [`run`]; and when the journal belongs to another run.
pub fn run_journaled<J: Journal>(
    task: &Task,
    sites: Vec<(String, Table)>,
    journal: J,
    observer: &mut dyn Observer,
) -> Result<Outcome, SearchError> {
    let mut federation = Journaled::new(federation(task, sites)?, journal);
    search::run(task, &mut federation, observer)
}

/// The sites as a federation: members 1, 2, … in this order.
///
/// # Errors
/// Names the site whose table does not fit the task.
pub fn federation(task: &Task, sites: Vec<(String, Table)>) -> Result<Pooled, FederationError> {
    let mut members: Vec<Box<dyn Site>> = Vec::new();
    for (index, (_, table)) in sites.into_iter().enumerate() {
        let site = TableSite::new(task, table).map_err(|source| FederationError::Site {
            member: index as u16 + 1,
            source,
        })?;
        members.push(Box::new(site));
    }
    Ok(Pooled::new(members))
}
