//! The search's thread, and the service of its sums.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use collegium_automl::ask::{Ask, Totals};
use collegium_automl::federation::{Federation, FederationError, JournalError, Journaled};
use collegium_automl::noise::honest_shares;
use collegium_automl::object::{Object, ObjectId};
use collegium_automl::search::{
    Leaderboard, Outcome, Progress as SearchProgress, Round, SearchError,
};
use collegium_automl::task::Task;
use serde_json::json;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tracing::error;

use super::traffic::Traffic;
use super::{Driver, Found, Stop};
use crate::app;
use crate::hub::Hub;
use crate::journal::StoreJournal;
use crate::progress::Progress;
use crate::remote::{Budget, Call, Published, Remote};
use crate::runs::RunsError;

/// Traffic and time are saved every so many steps: often enough that a crash loses
/// little of a figure, seldom enough not to cost a disk sync each step.
const SAVE_FIGURES: u32 = 16;

/// Stack of the search's thread: the default of a main thread.
const STACK_BYTES: usize = 8 << 20;

impl Driver {
    /// Runs the search to its end.
    pub(super) async fn search(&mut self) -> Result<Found, Stop> {
        let (done, mut calls, published) = self.begin_search()?;
        let mut served = 0_u32;
        loop {
            let event = tokio::select! {
                biased;
                call = calls.recv() => match call {
                    Some(call) => {
                        self.serve(call).await?;
                        served += 1;
                        if served.is_multiple_of(SAVE_FIGURES) {
                            self.save_figures().await?;
                        }
                        continue;
                    }
                    // The search's end of the channel is gone: its result is there.
                    None => break,
                },
                event = self.wait(None) => event?,
            };
            if let Some(event) = event {
                self.note(event).await?;
            }
        }
        self.settle_checks().await?;
        if let Some(doubt) = self.take_doubt() {
            return Err(Stop::Failed(doubt));
        }
        match done.await {
            Ok(Ok(outcome)) => Ok(Found {
                outcome: Box::new(outcome),
                published,
            }),
            Ok(Err(error)) => Err(end_of(&error)),
            Err(_) => Err(Stop::Failed(
                "the search ended unexpectedly: see the coordinator's log, and report it"
                    .to_owned(),
            )),
        }
    }

    /// Starts the search's thread: its result to come, its calls, and what it publishes.
    fn begin_search(&self) -> Result<(Search, mpsc::Receiver<Call>, Published), Stop> {
        let members = self.charter.members();
        let budget = self.task.time_budget.map(|seconds| Budget {
            most: Duration::from_secs(seconds),
            progress: self.progress.clone(),
        });
        let objects = self.context.objects.clone();
        let least = self.charter.thresholds().min_contributors;
        let shares = honest_shares(least, members.len());
        let (remote, calls, published) = Remote::new(objects, members.len(), shares, budget);
        let journal = StoreJournal::new(self.context.store.clone(), self.run, Handle::current());
        let contributors = Contributors::default();
        let federation = Noted {
            inner: Journaled::new(remote, journal),
            contributors: contributors.clone(),
        };
        let teller = Teller {
            names: members.iter().map(|it| it.name.to_string()).collect(),
            contributors,
            progress: self.progress.clone(),
            traffic: self.traffic.clone(),
            hub: self.context.hub.clone(),
        };
        let (task, round) = (self.task.clone(), self.round.clone());
        let done = spawn(self.context.search, task, round, federation, teller)?;
        Ok((done, calls, published))
    }

    async fn serve(&mut self, call: Call) -> Result<(), Stop> {
        let result = self.sum(&call.ask).await?;
        // The search waits for nothing else; if it is gone, its result says why.
        let _ = call.reply.send(result);
        Ok(())
    }
}

/// A disk that fails ends the daemon, so that a restart goes on with the run;
/// everything else ends the run.
fn end_of(error: &SearchError) -> Stop {
    match error {
        SearchError::Federation(
            FederationError::Journal(JournalError::Store { .. }) | FederationError::Stopped(_),
        ) => Stop::Fault(RunsError::Search(error.to_string())),
        other => Stop::Failed(other.to_string()),
    }
}

type Search = oneshot::Receiver<Result<Outcome, SearchError>>;

fn spawn(
    search: app::Search,
    task: Task,
    round: Round,
    mut federation: impl Federation + Send + 'static,
    mut teller: Teller,
) -> Result<Search, Stop> {
    let (sender, receiver) = oneshot::channel();
    let work = move || {
        let mut observer = |progress: &SearchProgress| teller.tell(progress);
        let result = search(&task, &round, &mut federation, &mut observer);
        // Sent before the federation is dropped, which is what the driver waits for.
        let _ = sender.send(result);
        drop(federation);
    };
    std::thread::Builder::new()
        .name("search".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(work)
        .map_err(|error| {
            error!(%error, "no thread for the search");
            Stop::Failed(format!("the search cannot be started: {error}"))
        })?;
    Ok(receiver)
}

type Contributors = Arc<Mutex<Vec<u16>>>;

/// Remembers who was in the last sum, whether it came live or from the journal.
struct Noted<F> {
    inner: F,
    contributors: Contributors,
}

impl<F: Federation> Federation for Noted<F> {
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        self.inner.publish(object)
    }

    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError> {
        let totals = self.inner.sum(ask)?;
        self.contributors
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone_from(&totals.contributors);
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

/// Turns what the search says into what watchers read.
struct Teller {
    /// The roster in index order.
    names: Vec<String>,
    contributors: Contributors,
    progress: Progress,
    traffic: Traffic,
    hub: Hub,
}

impl Teller {
    fn tell(&mut self, progress: &SearchProgress) {
        match progress {
            SearchProgress::Stage { stage } => {
                self.progress.publish("stage", json!({ "stage": stage }))
            }
            SearchProgress::Step {
                step,
                about,
                stage,
                parts,
                numbers,
                ..
            } => {
                let indices = self
                    .contributors
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .clone();
                let names = indices
                    .iter()
                    .filter_map(|index| self.names.get(usize::from(*index).checked_sub(1)?));
                self.progress.publish(
                    "step",
                    json!({
                        "stage": stage,
                        "step": step,
                        "about": about,
                        "candidates": parts,
                        "numbers": numbers,
                        "contributors": names.collect::<Vec<_>>(),
                        "bytes_up": self.traffic.as_json(&self.hub),
                    }),
                );
            }
            SearchProgress::Leaderboard { standings } => {
                self.progress.publish(
                    "leaderboard",
                    json!({ "rows": Leaderboard::new(standings).rows() }),
                );
            }
        }
    }
}
