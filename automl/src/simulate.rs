//! A whole federation in one process: for research, tests, and as what the
//! encrypted one must equal.

use crate::federation::{FederationError, Journal, Journaled, Pooled};
use crate::noise::NoiseKey;
use crate::random::derive;
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

/// The sites as a federation: members 1, 2, … in this order. Under differential privacy each of
/// them adds all of the noise; see [`federation_with`].
///
/// # Errors
/// Names the site whose table does not fit the task.
pub fn federation(task: &Task, sites: Vec<(String, Table)>) -> Result<Pooled, FederationError> {
    federation_with(task, sites, 1)
}

/// The same, with the noise of differential privacy in so many shares. It is drawn from the
/// task's seed, so that a simulation can be repeated, and protects nobody.
///
/// # Errors
/// As [`federation`].
pub fn federation_with(
    task: &Task,
    sites: Vec<(String, Table)>,
    shares: u16,
) -> Result<Pooled, FederationError> {
    let mut members: Vec<Box<dyn Site>> = Vec::new();
    for (index, (_, table)) in sites.into_iter().enumerate() {
        let member = index as u16 + 1;
        let mut site = TableSite::new(task, table)
            .map_err(|source| FederationError::Site { member, source })?;
        let key = derive(
            "collegium automl simulated noise v1",
            &[&task.seed.to_le_bytes(), &member.to_le_bytes()],
        );
        site.noise_with(NoiseKey::new(key.0), shares);
        members.push(Box::new(site));
    }
    Ok(Pooled::new(members).with_shares(shares))
}
