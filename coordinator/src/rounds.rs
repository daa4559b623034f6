//! Rounds: a run that follows another run of its task, and remembers it.
//!
//! The next round is queued in the same transaction that ends the run before it, under an id that
//! follows from that run's, so a coordinator that is killed at any moment queues exactly one. What a
//! run remembers is named in the ledger before its search begins.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use collegium_automl::object::ObjectId;
use collegium_automl::random::derive;
use collegium_automl::search::{Memory, Round};
use collegium_automl::task::Task;
use collegium_protocol::ids::RunId;
use collegium_protocol::{Refusal, RefusalCode};
use serde_json::{Value, json};
use tracing::{info, warn};

use crate::app::Context;
use crate::ledger::{Action, Entry, Outcome};
use crate::progress::Progress;
use crate::run::Stop;
use crate::runs::{internal, random_id};
use crate::store::{NextRound, RunRecord, RunState, now_seconds};

/// What a round leaves to the next, in its directory beside `champion.json`.
pub(crate) const MEMORY: &str = "memory.json";

/// Whether a run is a later round that has not begun: it takes the charter that is in force then.
pub(crate) fn waited(record: &RunRecord) -> bool {
    record.state == RunState::Queued && record.previous.is_some()
}

/// The round that follows a run with a champion by itself, if its task says so.
pub(crate) fn next(record: &RunRecord) -> Option<NextRound> {
    let task = Task::from_toml(&record.task.source).ok()?;
    let round = record.round.checked_add(1)?;
    task.goes_on_to(round).then_some(())?;
    Some(NextRound {
        run: following(record)?,
        round,
        previous: record.run,
        not_before: due(record, task.every, now_seconds()),
    })
}

/// The same round again where it failed, at the series' next hour: a site that is away for a night
/// does not end a series. A first round that fails shows that the task is wrong, and without
/// `every` there is no hour to wait for.
pub(crate) fn again(record: &RunRecord) -> Option<NextRound> {
    let task = Task::from_toml(&record.task.source).ok()?;
    let previous = record.previous?;
    task.every.filter(|_| task.goes_on_to(record.round))?;
    Some(NextRound {
        run: following(record)?,
        round: record.round,
        previous,
        not_before: due(record, task.every, now_seconds()),
    })
}

/// The id of the run that follows another one by itself: always the same, so that a daemon that
/// crashes in between queues no second one.
fn following(record: &RunRecord) -> Option<RunId> {
    let id = derive(
        "collegium coordinator next round v1",
        &[record.run.as_bytes()],
    );
    let (half, _) = id.0.split_first_chunk()?;
    Some(RunId::from_bytes(*half))
}

/// When the round after this run begins: so long after this one could begin; where that has passed, at the
/// next moment that is a multiple of it away, so that rounds keep their hour. Those that were missed while
/// the daemon was down are not made up for.
fn due(record: &RunRecord, every: Option<u64>, now: i64) -> Option<i64> {
    let every = i64::try_from(every?).ok()?;
    let began = record.not_before.unwrap_or(record.created_at);
    let late = now.saturating_sub(began).max(1);
    // Rounded up: the first such moment that is not past.
    let periods = (late - 1) / every.max(1) + 1;
    Some(began.saturating_add(every.saturating_mul(periods)))
}

/// What the ledger says of a round that is queued.
pub(crate) fn evidence(record: &RunRecord, next: &NextRound) -> Value {
    json!({
        "task": record.task.digest,
        "name": record.task.name,
        "round": next.round,
        "previous": next.previous,
    })
}

/// Tells whoever watches the round, and wakes the queue.
pub(crate) fn announce(context: &Context, next: &NextRound) {
    let NextRound {
        run,
        round,
        not_before,
        ..
    } = *next;
    let reason = waits_for(round, not_before);
    info!(%run, round, reason, "the next round is queued");
    let progress = context.runs.progress(run, Duration::ZERO);
    progress.publish("waiting", json!({ "reason": reason }));
    context.runs.wake();
}

/// What a queued run waits for, in words.
pub(crate) fn waits_for(round: u32, not_before: Option<i64>) -> String {
    let seconds = not_before.map_or(0, |moment| moment.saturating_sub(now_seconds()));
    match seconds {
        ..=0 => "queued".to_owned(),
        1..=119 => format!("round {round} begins in {seconds} seconds"),
        120..=7199 => format!("round {round} begins in {} minutes", seconds / 60),
        _ => format!("round {round} begins in {} hours", seconds / 3600),
    }
}

/// Queues a round after a run because somebody asks for it.
///
/// # Errors
/// `UnknownRun`; `Conflict` when the run has no champion to go on from, or a round after it waits
/// or is under way already; `CharterMissing`.
pub async fn rerun(context: &Context, run: RunId, actor: &str) -> Result<RunId, Refusal> {
    let record = context.store.run(run).await.map_err(internal)?;
    let record = record.ok_or_else(|| Refusal::new(RefusalCode::UnknownRun, run))?;
    if record.state != RunState::Champion {
        return Err(Refusal::new(
            RefusalCode::Conflict,
            format_args!(
                "the run has no champion to go on from: it is {}; submit the task again",
                record.state.word()
            ),
        ));
    }
    let private = |task: Task| task.differential_privacy.is_some();
    if Task::from_toml(&record.task.source).is_ok_and(private) {
        return Err(Refusal::new(
            RefusalCode::Conflict,
            "a task with [differential_privacy] has one round; submitted again it is another run, \
             which sites pay for from their own budgets",
        ));
    }
    if context.charter.borrow().is_none() {
        return Err(Refusal::new(
            RefusalCode::CharterMissing,
            "propose one with `charter propose` and have every member sign it",
        ));
    }
    let taken = |next: RunId| {
        Refusal::new(
            RefusalCode::Conflict,
            format_args!("run {next} is the next round already; follow it, or cancel it first"),
        )
    };
    if let Some(next) = context.store.next_round(run).await.map_err(internal)? {
        return Err(taken(next.run));
    }
    let next = NextRound {
        run: random_id()?,
        round: record.round.saturating_add(1),
        previous: run,
        not_before: None,
    };
    let object = next.run.to_string();
    let entry = Entry::new(Action::TaskSubmit, actor, &object, Outcome::Done);
    let entry = entry.evidence(evidence(&record, &next));
    context.ledger.append(entry).map_err(internal)?;
    if !context.store.queue_round(&next).await.map_err(internal)? {
        // Somebody else was faster, between the look and the insertion.
        let entry = Entry::new(Action::RunEnd, actor, &object, Outcome::Refused);
        context.write_down(entry.evidence(json!({ "status": "not-queued" })));
        return Err(taken(run));
    }
    announce(context, &next);
    Ok(next.run)
}

/// Which round a run is, with what the one before left; states it in the ledger before the first
/// step. A memory that is lost or damaged costs the warm start and nothing else, unless the run
/// began with it.
pub(crate) async fn remember(
    context: &Arc<Context>,
    record: &RunRecord,
    task: &Task,
    progress: &Progress,
) -> Result<Round, Stop> {
    let number = record.round;
    let object = record.run.to_string();
    let stated = context.ledger.find(Action::RunStart, &object)?;
    let read = record.previous.map(|previous| {
        let directory = context.config.state.join("runs").join(previous.to_string());
        read(&directory, task)
    });
    if let Some(stated) = stated {
        return goes_on(number, &stated, read);
    }
    let (memory, hash, lost) = match read {
        None => (None, None, None),
        Some(Ok((memory, hash))) => (Some(memory), Some(hash), None),
        Some(Err(reason)) => (None, None, Some(reason)),
    };
    let evidence = json!({
        "round": number,
        "previous": record.previous,
        "memory": hash,
        "lost": lost,
    });
    let entry = Entry::new(Action::RunStart, "coordinator", &object, Outcome::Done);
    context.record(entry.evidence(evidence)).await?;
    if let Some(reason) = lost {
        warn!(run = %record.run, round = number, reason, "nothing is remembered; the round starts from scratch");
        let text = format!(
            "what the round before left cannot be used ({reason}): round {number} starts from scratch, and its best is the champion"
        );
        progress.publish("note", json!({ "text": text }));
    }
    Ok(Round { number, memory })
}

/// A run that had begun goes on with what it began with, or its asks would be others than those in
/// its journal.
fn goes_on(
    number: u32,
    stated: &Value,
    read: Option<Result<(Memory, ObjectId), String>>,
) -> Result<Round, Stop> {
    let Some(wanted) = stated["memory"].as_str() else {
        return Ok(Round {
            number,
            memory: None,
        });
    };
    let why = match read {
        Some(Ok((memory, hash))) if hash.to_string() == wanted => {
            let memory = Some(memory);
            return Ok(Round { number, memory });
        }
        Some(Ok((_, hash))) => format!("it is another one now, {hash}"),
        Some(Err(reason)) => reason,
        None => "the run has no round before it".to_owned(),
    };
    Err(Stop::Failed(format!(
        "the run began with memory {wanted}, which cannot be used any more ({why}): ask for the \
         round again with `task rerun`"
    )))
}

/// Which round an ended run was, with the memory that it began with, as the ledger states it.
///
/// # Errors
/// Why it is not to be had any more, in words.
pub(crate) fn recall(
    state: &Path,
    record: &RunRecord,
    task: &Task,
    stated: &Value,
) -> Result<Round, String> {
    let read = record.previous.map(|previous| {
        let directory = state.join("runs").join(previous.to_string());
        read(&directory, task)
    });
    goes_on(record.round, stated, read).map_err(|stop| match stop {
        Stop::Failed(reason) => reason,
        _ => "its memory cannot be read".to_owned(),
    })
}

/// Reads what a run left; the hash is that of the file.
fn read(directory: &Path, task: &Task) -> Result<(Memory, ObjectId), String> {
    let open = |name: &str| -> Result<Vec<u8>, String> {
        let path: PathBuf = directory.join(name);
        std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))
    };
    let (notes, champion) = (open(MEMORY)?, open("champion.json")?);
    let memory = Memory::from_bytes(&notes, &champion)
        .map_err(|error| format!("{}: {error}", directory.join(MEMORY).display()))?;
    if !memory.notes.same_task(task) {
        return Err("it is of another task".to_owned());
    }
    Ok((memory, ObjectId::of(&notes)))
}

#[cfg(test)]
mod tests;
