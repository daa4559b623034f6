//! A site's own look at the champion: figures that never leave the site.

use serde::{Deserialize, Serialize};

use crate::ask::{Ask, Stage};
use crate::federation::{Federation, FederationError, Pooled};
use crate::metric::Metrics;
use crate::model::{Champion, ChampionError};
use crate::search::{self, Silent};
use crate::site::{Site, SiteError, TableSite};
use crate::table::Table;
use crate::task::{Preset, Task};

/// The champion beside what the site could have had alone, both on the site's
/// own test rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LocalReport {
    /// The site's test rows.
    pub test_rows: u64,
    /// The champion's figures.
    pub champion: Metrics,
    /// Figures of the best model that the same search finds on this site's rows
    /// alone, or `None` where it finds none.
    pub alone: Option<Metrics>,
    /// Why figures are missing or mean little, in plain words.
    pub note: Option<String>,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The bytes are no champion.
    #[error(transparent)]
    Champion(#[from] ChampionError),
    /// The table does not fit the task.
    #[error(transparent)]
    Site(#[from] SiteError),
    /// The champion cannot be scored on this table.
    #[error(transparent)]
    Federation(#[from] FederationError),
}

/// Compares a champion with a search over this table alone. The local search is
/// the same code with the `fast` preset: it must not keep the site busy for
/// long.
///
/// # Errors
/// When the champion cannot be read, or does not fit the table. That nothing can
/// be learned from the table alone is no error, but a note.
pub fn local_report(task: &Task, table: Table, champion: &[u8]) -> Result<LocalReport, LocalError> {
    local_champion(task, table, champion).map(|(report, _)| report)
}

/// As [`local_report`], with the champion that the site would have had alone.
///
/// # Errors
/// As [`local_report`].
pub fn local_champion(
    task: &Task,
    table: Table,
    champion: &[u8],
) -> Result<(LocalReport, Option<Champion>), LocalError> {
    let champion = Champion::from_bytes(champion)?;
    // What the site computes of its own rows for itself needs no noise.
    let task = &task.unprotected();
    let figures = test_figures(task, vec![table.clone()], &champion)?;
    let mut notes = Vec::new();
    if figures.rows == 0 {
        notes.push("this site has no test rows".to_owned());
    } else if figures.auc.is_none() && !champion.classes.is_empty() {
        notes.push("the test rows are of one class only, so there is no AUC".to_owned());
    }
    let alone = match search_alone(task, table) {
        Ok(outcome) => Some(outcome),
        Err(why) => {
            notes.push(format!(
                "nothing can be learned from this site alone: {why}"
            ));
            None
        }
    };
    let report = LocalReport {
        test_rows: figures.rows,
        champion: figures,
        alone: alone.as_ref().map(|outcome| outcome.test.clone()),
        note: (!notes.is_empty()).then(|| notes.join("; ")),
    };
    Ok((report, alone.map(|outcome| outcome.champion)))
}

/// A champion's figures on the test rows of these tables together.
///
/// # Errors
/// When the champion does not fit a table.
pub fn test_figures(
    task: &Task,
    tables: Vec<Table>,
    champion: &Champion,
) -> Result<Metrics, LocalError> {
    let task = &task.unprotected();
    let rows = tables.iter().map(|table| table.rows() as u64).sum::<u64>();
    let mut sites: Vec<Box<dyn Site>> = Vec::new();
    for table in tables {
        sites.push(Box::new(TableSite::new(task, table)?));
    }
    let mut federation = Pooled::new(sites);
    let mut champion = champion.clone();
    let publish = &mut |object| federation.publish(object);
    let part = champion.test_part::<LocalError>(task, rows.max(1), publish)?;
    let ask = Ask {
        sequence: 1,
        stage: Stage::Test,
        task: task.digest(),
        parts: vec![part.part()],
    };
    let totals = federation.sum(&ask)?;
    champion.tested(&part, &totals.part(&ask, 0));
    Ok(champion.test)
}

/// The search over one table alone, with the `fast` preset.
///
/// # Errors
/// When nothing can be learned from it.
pub fn search_alone(
    task: &Task,
    table: Table,
) -> Result<search::Outcome, Box<search::SearchError>> {
    let task = Task {
        preset: Preset::Fast,
        ..task.unprotected()
    };
    let site: Box<dyn Site> = Box::new(TableSite::new(&task, table).map_err(|source| {
        search::SearchError::from(FederationError::Site { member: 1, source })
    })?);
    let mut federation = Pooled::new(vec![site]);
    Ok(search::run(&task, &mut federation, &mut Silent)?)
}
