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
use crate::rounds;
use crate::run::{self, End};
use crate::store::{RunRecord, RunState, StoreError, TaskRecord, now_seconds};

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
        let record = match Turn::of(context.store.runs().await?, now_seconds()) {
            Turn::Run(record) => *record,
            Turn::Wait(longest) => tokio::select! {
                () = context.runs.wake.notified() => continue,
                () = rest(longest) => continue,
                () = stopped(&mut stopping) => return Ok(()),
            },
        };
        let (end, ended) = watch::channel(None);
        let run = record.run;
        let progress = context
            .runs
            .progress(run, Duration::from_millis(record.elapsed_ms));
        if record.state == RunState::Queued {
            progress.begin();
        }
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

/// What the queue does next.
enum Turn {
    /// This run is due.
    Run(Box<RunRecord>),
    /// None is, for so long at most; until something is queued where there is none at all.
    Wait(Option<Duration>),
}

/// The clock is looked at again after so long: it may have been set, or the machine slept.
const LOOK_AGAIN: Duration = Duration::from_secs(30);

impl Turn {
    /// A run under way goes on before any other begins; then the oldest that may begin at `now`
    /// (seconds since 1970).
    fn of(records: Vec<RunRecord>, now: i64) -> Self {
        let mut open: Vec<RunRecord> = records
            .into_iter()
            .filter(|record| !record.state.is_final())
            .collect();
        let due = |record: &RunRecord| record.not_before.is_none_or(|moment| moment <= now);
        let under_way = |record: &RunRecord| record.state == RunState::Running;
        let next = open.iter().position(under_way);
        if let Some(place) = next.or_else(|| open.iter().position(due)) {
            return Self::Run(Box::new(open.swap_remove(place)));
        }
        let soonest = open.iter().filter_map(|record| record.not_before).min();
        let wait = soonest.map(|moment| u64::try_from(moment - now).unwrap_or(0));
        Self::Wait(wait.map(|seconds| Duration::from_secs(seconds).min(LOOK_AGAIN)))
    }
}

async fn rest(longest: Option<Duration>) {
    match longest {
        Some(time) => tokio::time::sleep(time).await,
        None => std::future::pending().await,
    }
}

async fn stopped(stopping: &mut watch::Receiver<bool>) {
    // An error means that the daemon is gone, which is a stop too.
    let _ = stopping.wait_for(|stop| *stop).await;
}

impl Runs {
    /// Something was queued.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// Whether a run is under way, be it that it waits for members.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.lock_active().is_some()
    }

    fn lock_active(&self) -> std::sync::MutexGuard<'_, Option<Active>> {
        self.active.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn progress(&self, run: RunId, before: Duration) -> Progress {
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
    let run = random_id()?;
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
    context.runs.wake();
    Ok(run)
}

/// An id that no other run has.
pub(crate) fn random_id() -> Result<RunId, Refusal> {
    let mut id = [0; 16];
    os_rng().map_err(internal)?.fill_bytes(&mut id);
    Ok(RunId::from_bytes(id))
}

pub(crate) fn internal(error: impl std::fmt::Display) -> Refusal {
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
        .finish_run(run, RunState::Cancelled, Some(&reason), None, None, None)
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
        let before = Duration::from_millis(record.elapsed_ms);
        let progress = context.runs.progress(run, before);
        if record.state == RunState::Queued {
            let reason = rounds::waits_for(record.round, record.not_before);
            progress.publish("waiting", json!({ "reason": reason }));
        }
        return Some(progress);
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

#[cfg(test)]
mod tests {
    use collegium_protocol::Digest;

    use super::*;

    fn record(id: u8, state: RunState, not_before: Option<i64>) -> RunRecord {
        RunRecord {
            run: RunId::from_bytes([id; 16]),
            task: TaskRecord {
                digest: Digest([4; 32]),
                name: "heart".to_owned(),
                source: String::new(),
                submitted_by: "operator".to_owned(),
            },
            charter: Digest([5; 32]),
            state,
            reason: None,
            created_at: 0,
            finished_at: None,
            elapsed_ms: 0,
            champion: None,
            result: None,
            round: 1,
            previous: None,
            not_before,
        }
    }

    fn turn(records: Vec<RunRecord>) -> Result<u8, Option<u64>> {
        match Turn::of(records, 100) {
            Turn::Run(record) => Ok(record.run.as_bytes()[0]),
            Turn::Wait(longest) => Err(longest.map(|longest| longest.as_secs())),
        }
    }

    #[test]
    fn the_oldest_run_that_is_due_begins_and_one_under_way_goes_first() {
        use RunState::{Champion, Queued, Running};
        let tomorrow = record(1, Queued, Some(86_500));
        let soon = record(2, Queued, Some(107));
        assert_eq!(turn(vec![]), Err(None));
        assert_eq!(turn(vec![record(9, Champion, None)]), Err(None));
        assert_eq!(turn(vec![tomorrow.clone()]), Err(Some(30)));
        assert_eq!(turn(vec![tomorrow.clone(), soon.clone()]), Err(Some(7)));
        let due = [record(3, Queued, Some(100)), record(4, Queued, None)];
        let mut all = vec![tomorrow, soon];
        all.extend(due);
        assert_eq!(turn(all.clone()), Ok(3));
        all.push(record(5, Running, None));
        assert_eq!(turn(all), Ok(5));
    }
}
