//! Running a finished run's search again from its journal: nobody is asked, and the champion must
//! come out the same. For an auditor with a copy of the state directory; nothing in it is changed
//! but what opening a database changes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use collegium_automl::ask::{Ask, Totals};
use collegium_automl::federation::{Federation, FederationError, Journaled};
use collegium_automl::noise::honest_shares;
use collegium_automl::object::{Object, ObjectId};
use collegium_automl::search::{self, Round, Silent};
use collegium_automl::task::Task;
use collegium_protocol::RunId;
use serde::Serialize;
use serde_json::Value;
use tokio::runtime::Handle;

use crate::charter_service;
use crate::journal::StoreJournal;
use crate::ledger::{self, Action, LedgerError};
use crate::rounds;
use crate::store::{RunRecord, RunState, Store, StoreError};

/// Stack of the search's thread: as the daemon gives it.
const STACK_BYTES: usize = 8 << 20;

/// Why a run cannot be run again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// Something that it needs is missing or does not fit.
    #[error("run {run} cannot be run again: {reason}")]
    Run {
        /// Which run.
        run: RunId,
        /// What is missing, and where.
        reason: String,
    },
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Replayed {
    /// The run.
    pub run: RunId,
    /// Steps that the search took, all answered by the journal.
    pub steps: u32,
    /// The champion that came out.
    pub champion: ObjectId,
    /// Everything that differs from the ledger, the database or the run's files; empty is well.
    pub differences: Vec<String>,
}

/// Runs the search of `run` again from the state directory `state`.
///
/// # Errors
/// [`ReplayError`], when the run has no champion, or what it needs is not in the directory.
pub async fn replay(state: &Path, run: RunId) -> Result<Replayed, ReplayError> {
    let cannot = |reason: String| ReplayError::Run { run, reason };
    let store = Store::open(state).await?;
    let replayed = async {
        let record = store.run(run).await?;
        let record = record.ok_or_else(|| cannot("the database does not know it".to_owned()))?;
        if record.state != RunState::Champion {
            let word = record.state.word();
            return Err(cannot(format!("it has no champion, it is {word}")));
        }
        let charter = charter_service::in_force(&store).await?;
        let charter = charter.map(|signed| signed.charter);
        let charter = charter.filter(|charter| charter.digest() == record.charter);
        let charter = charter.ok_or_else(|| {
            cannot(format!(
                "its charter {} is not the one in force",
                record.charter
            ))
        })?;
        let names = charter.members.iter().map(|member| member.name.to_string());
        let stated = Stated::read(state, run)?;
        let task = Task::from_toml(&record.task.source);
        let task = task.map_err(|error| cannot(format!("its task cannot be read: {error}")))?;
        let round = rounds::recall(state, &record, &task, &stated.begun).map_err(cannot)?;
        let journal = StoreJournal::new(store.clone(), run, Handle::current());
        let least = usize::from(charter.min_contributors);
        let nobody = Nobody {
            members: names.len(),
            shares: honest_shares(least, names.len()),
        };
        let federation = Traced {
            inner: Journaled::new(nobody, journal),
            taken: Vec::new(),
        };
        let (outcome, taken) = search(task, round, federation).await.map_err(cannot)?;
        let bytes = outcome.champion.to_bytes();
        let bytes = bytes.map_err(|error| cannot(format!("its champion: {error}")))?;
        let names: Vec<String> = names.collect();
        let champion = ObjectId::of(&bytes);
        let mut differences = stated.compare(&taken, &names);
        differences.extend(champions(state, &record, &stated, champion));
        Ok(Replayed {
            run,
            steps: outcome.steps,
            champion,
            differences,
        })
    };
    let replayed = replayed.await;
    store.close().await;
    replayed
}

/// What the ledger says of a run.
struct Stated {
    /// The evidence of its beginning, and of its champion.
    begun: Value,
    champion: Value,
    /// The evidence of each opened step, by its place in the search.
    steps: BTreeMap<u64, Value>,
}

impl Stated {
    fn read(state: &Path, run: RunId) -> Result<Self, LedgerError> {
        let mut stated = Self {
            begun: Value::Null,
            champion: Value::Null,
            steps: BTreeMap::new(),
        };
        let (run, prefix) = (run.to_string(), format!("{run}/"));
        let is = |entry: &Value, action: Action| entry["action"] == action.word();
        for mut entry in ledger::entries(state)? {
            let object = entry["object"].as_str().unwrap_or_default();
            let (own, step) = (object == run, object.starts_with(&prefix));
            let place = entry["evidence"]["sequence"].as_u64();
            let evidence = entry["evidence"].take();
            if own && is(&entry, Action::RunStart) {
                stated.begun = evidence;
            } else if own && is(&entry, Action::Champion) {
                stated.champion = evidence;
            } else if let Some(place) = place.filter(|_| step && is(&entry, Action::Step)) {
                stated.steps.insert(place, evidence);
            }
        }
        Ok(stated)
    }

    /// Whether the steps that the search took are those in the ledger.
    fn compare(&self, taken: &[Taken], names: &[String]) -> Vec<String> {
        let mut differences = Vec::new();
        for step in taken {
            let sequence = step.sequence;
            let Some(evidence) = self.steps.get(&sequence.into()) else {
                differences.push(format!(
                    "step {sequence} of the search is not in the ledger"
                ));
                continue;
            };
            let ask = step.ask.to_string();
            if evidence["ask"] != ask.as_str() {
                differences.push(format!(
                    "step {sequence} asked {ask}, the ledger says {}",
                    evidence["ask"]
                ));
            }
            let name = |index: &u16| names.get(usize::from(*index).checked_sub(1)?).cloned();
            let contributors: Vec<_> = step.contributors.iter().filter_map(name).collect();
            if evidence["contributors"] != serde_json::json!(contributors) {
                differences.push(format!(
                    "step {sequence} is a sum over {}, the ledger says {}",
                    contributors.join(", "),
                    evidence["contributors"]
                ));
            }
        }
        let known: std::collections::BTreeSet<u64> =
            taken.iter().map(|step| step.sequence.into()).collect();
        let more = self.steps.keys().filter(|place| !known.contains(*place));
        differences.extend(more.map(|place| {
            format!("step {place} is in the ledger, and the search does not take it")
        }));
        differences
    }
}

/// Where another champion is named than the one that came out.
fn champions(state: &Path, record: &RunRecord, stated: &Stated, champion: ObjectId) -> Vec<String> {
    let mut differences = Vec::new();
    let found = champion.to_string();
    if stated.champion["champion"] != found.as_str() {
        let named = &stated.champion["champion"];
        differences.push(format!("the champion is {found}, the ledger says {named}"));
    }
    if record.champion.map(|it| it.0) != Some(champion.0) {
        differences.push(format!(
            "the champion is {found}, the database says another"
        ));
    }
    let run = record.run.to_string();
    let file: PathBuf = state.join("runs").join(run).join("champion.json");
    match std::fs::read(&file) {
        Ok(bytes) if ObjectId::of(&bytes) == champion => {}
        Ok(_) => differences.push(format!("{} is another model", file.display())),
        Err(error) => differences.push(format!("{}: {error}", file.display())),
    }
    differences
}

/// A step of the search.
struct Taken {
    sequence: u32,
    ask: ObjectId,
    contributors: Vec<u16>,
}

/// Notes every step on its way.
struct Traced<F> {
    inner: F,
    taken: Vec<Taken>,
}

impl<F: Federation> Federation for Traced<F> {
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        self.inner.publish(object)
    }

    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError> {
        let totals = self.inner.sum(ask)?;
        self.taken.push(Taken {
            sequence: ask.sequence,
            ask: ask.digest()?,
            contributors: totals.contributors.clone(),
        });
        Ok(totals)
    }

    fn members(&self) -> usize {
        self.inner.members()
    }

    fn honest_shares(&self) -> u16 {
        self.inner.honest_shares()
    }

    fn time_is_up(&mut self, steps: u32) -> Result<bool, FederationError> {
        self.inner.time_is_up(steps)
    }
}

/// A federation of so many members that answer nothing: everything must be in the journal.
struct Nobody {
    members: usize,
    shares: u16,
}

impl Federation for Nobody {
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        Ok(ObjectId::of(&object.to_bytes()?))
    }

    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError> {
        Err(FederationError::Stopped(format!(
            "the journal has no step {}: it is not whole, or this version searches in another way",
            ask.sequence
        )))
    }

    fn members(&self) -> usize {
        self.members
    }

    fn honest_shares(&self) -> u16 {
        self.shares
    }

    fn time_is_up(&mut self, _steps: u32) -> Result<bool, FederationError> {
        Ok(false)
    }
}

/// The search on a thread of its own, which may wait for the database.
async fn search(
    task: Task,
    round: Round,
    mut federation: Traced<Journaled<Nobody, StoreJournal>>,
) -> Result<(search::Outcome, Vec<Taken>), String> {
    let (sender, receiver) = tokio::sync::oneshot::channel();
    let work = move || {
        let found = search::round(&task, &round, &mut federation, &mut Silent);
        let found = found.map_err(|error| error.to_string());
        let _ = sender.send(found.map(|outcome| (outcome, federation.taken)));
    };
    std::thread::Builder::new()
        .name("replay".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map_err(|error| format!("the system gives no thread: {error}"))?;
    let found = receiver.await;
    found.map_err(|_| "the search ended unexpectedly: report this".to_owned())?
}
