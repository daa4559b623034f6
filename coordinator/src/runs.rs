//! The queue of runs: one at a time, oldest first, resumed after a restart.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use collegium_crypto::rand_core::Rng;
use collegium_crypto::randomness::os_rng;
use collegium_protocol::ids::{MemberName, RunId};
use collegium_protocol::message::session::{RunOutcome, ToNode};
use collegium_protocol::{Refusal, RefusalCode};
use serde_json::{Value, json};
use tokio::sync::{Notify, watch};
use tracing::{error, info, warn};

use crate::app::Context;
use crate::ledger::{Action, Entry, LedgerError, Outcome};
use crate::progress::Progress;
use crate::run::{self, End};
use crate::store::{RunRecord, RunState, StoreError, TaskRecord};

/// The runs of this process.
#[derive(Debug, Default)]
pub struct Runs {
    wake: Notify,
    active: Mutex<Option<Active>>,
    progress: Mutex<BTreeMap<RunId, Progress>>,
}

#[derive(Debug)]
struct Active {
    run: RunId,
    end: watch::Sender<Option<End>>,
}

/// A fault that makes going on unsafe: the state is whole, the daemon ends, and
/// a restart goes on where it was.
#[derive(Debug, thiserror::Error)]
pub enum RunsError {
    /// What must be durable cannot be made so.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The same for the ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A file of a run cannot be written.
    #[error("{path}: {source} (is the disk full or read-only?)")]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The search cannot keep what it must keep.
    #[error("the search stopped: {0}")]
    Search(String),
    /// A programming fault.
    #[error("a run's task ended unexpectedly: {0}; please report this")]
    Panicked(String),
}

/// Works through the queue until told to stop.
///
/// # Errors
/// [`RunsError`]; the run under way stays unfinished and is resumed later.
pub async fn work(
    context: Arc<Context>,
    mut stopping: watch::Receiver<bool>,
) -> Result<(), RunsError> {
    loop {
        let waiting = context
            .store
            .runs()
            .await?
            .into_iter()
            .find(|record| !record.state.is_final());
        let Some(record) = waiting else {
            tokio::select! {
                () = context.runs.wake.notified() => continue,
                () = stopped(&mut stopping) => return Ok(()),
            }
        };
        let (end, ended) = watch::channel(None);
        let run = record.run;
        let progress = context
            .runs
            .progress(run, Duration::from_millis(record.elapsed_ms));
        *context.runs.lock_active() = Some(Active {
            run,
            end: end.clone(),
        });
        info!(%run, task = record.task.name, state = record.state.word(), "run under way");
        let worked = {
            let work = run::work(&context, record, progress, ended);
            tokio::pin!(work);
            tokio::select! {
                worked = &mut work => worked,
                () = stopped(&mut stopping) => {
                    end.send_replace(Some(End::Shutdown));
                    work.await
                }
            }
        };
        *context.runs.lock_active() = None;
        context.hub.unlisten();
        if let Err(fault) = &worked {
            error!(%run, error = %fault, "the run cannot go on; the daemon stops, a restart resumes it");
        }
        worked?;
        if *stopping.borrow() {
            return Ok(());
        }
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the daemon is gone, which is a stop too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

impl Runs {
    fn lock_active(&self) -> std::sync::MutexGuard<'_, Option<Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn progress(&self, run: RunId, before: Duration) -> Progress {
        let mut all = self.progress.lock().unwrap_or_else(PoisonError::into_inner);
        all.entry(run)
            .or_insert_with(|| Progress::new(before))
            .clone()
    }
}

/// Queues a run of a task.
///
/// # Errors
/// `CharterMissing` when no charter is in force.
pub async fn submit(context: &Context, task: TaskRecord) -> Result<RunId, Refusal> {
    let charter = context
        .charter
        .borrow()
        .as_ref()
        .map(|charter| charter.digest());
    let charter = charter.ok_or_else(|| {
        Refusal::new(
            RefusalCode::CharterMissing,
            "propose one with `charter propose` and have every member sign it",
        )
    })?;
    let mut id = [0; 16];
    os_rng().map_err(internal)?.fill_bytes(&mut id);
    let run = RunId::from_bytes(id);
    let entry = Entry::new(
        Action::TaskSubmit,
        &task.submitted_by,
        &run.to_string(),
        Outcome::Done,
    )
    .evidence(json!({ "task": task.digest, "name": task.name, "charter": charter }));
    context.ledger.append(entry).map_err(internal)?;
    context
        .store
        .create_run(run, &task, charter)
        .await
        .map_err(internal)?;
    context
        .runs
        .progress(run, Duration::ZERO)
        .publish("waiting", json!({ "reason": "queued" }));
    context.runs.wake.notify_one();
    Ok(run)
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    warn!(%error, "a request failed");
    Refusal::new(RefusalCode::Internal, error)
}

/// Ends a run.
///
/// # Errors
/// `UnknownRun`, or `Conflict` when it has ended already.
pub async fn cancel(context: &Context, run: RunId, actor: &str) -> Result<(), Refusal> {
    if let Some(active) = &*context.runs.lock_active()
        && active.run == run
    {
        active
            .end
            .send_replace(Some(End::Cancelled(actor.to_owned())));
        return Ok(());
    }
    let record = context.store.run(run).await.map_err(internal)?;
    let record = record.ok_or_else(|| Refusal::new(RefusalCode::UnknownRun, run))?;
    if record.state.is_final() {
        return Err(Refusal::new(
            RefusalCode::Conflict,
            format_args!("the run is over: {}", record.state.word()),
        ));
    }
    let reason = format!("cancelled by {actor}");
    context
        .store
        .finish_run(run, RunState::Cancelled, Some(&reason), None, None)
        .await
        .map_err(internal)?;
    let entry = Entry::new(Action::RunEnd, actor, &run.to_string(), Outcome::Done);
    context.write_down(entry.evidence(json!({ "status": "cancelled" })));
    let progress = context.runs.progress(run, Duration::ZERO);
    progress.publish(
        "finished",
        json!({ "status": "cancelled", "reason": reason, "result": null }),
    );
    progress.close();
    Ok(())
}

/// What the watchers of a run read. `None` when there is no such run.
pub async fn watch(context: &Context, run: RunId) -> Option<Progress> {
    let known = {
        let all = context
            .runs
            .progress
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        all.get(&run).cloned()
    };
    if known.is_some() {
        return known;
    }
    let record = context.store.run(run).await.ok().flatten()?;
    if !record.state.is_final() {
        return Some(
            context
                .runs
                .progress(run, Duration::from_millis(record.elapsed_ms)),
        );
    }
    // It ended before this process began: the end is all there is to tell.
    let progress = Progress::new(Duration::from_millis(record.elapsed_ms));
    let result = record
        .result
        .as_deref()
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let end = json!({ "status": record.state.word(), "reason": record.reason, "result": result });
    progress.publish("finished", end);
    progress.close();
    Some(progress)
}

/// What a member that connects is told about runs that ended without it hearing.
pub async fn closed_for(context: &Context, member: &MemberName) -> Vec<ToNode> {
    match context.store.unreported(member).await {
        Ok(records) => records.iter().map(closing).collect(),
        Err(error) => {
            warn!(%member, %error, "ended runs cannot be listed");
            Vec::new()
        }
    }
}

/// The message that closes an ended run.
pub(crate) fn closing(record: &RunRecord) -> ToNode {
    let outcome = match record.state {
        RunState::Champion => RunOutcome::Completed,
        RunState::Cancelled => RunOutcome::Cancelled,
        _ => {
            let reason = record.reason.as_deref().unwrap_or("no reason was recorded");
            RunOutcome::Failed(Refusal::new(RefusalCode::Internal, reason))
        }
    };
    ToNode::RunClosed {
        run: record.run,
        outcome,
        champion: record.champion,
    }
}
