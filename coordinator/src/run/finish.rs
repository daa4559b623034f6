//! How a run ends: ledger, database, files, then everybody is told.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use collegium_automl::object::ObjectId;
use collegium_automl::search::{Leaderboard, Outcome as SearchOutcome};
use collegium_protocol::Digest;
use collegium_protocol::ids::MemberName;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::Found;
use crate::app::Context;
use crate::ledger::{Action, Entry, Outcome};
use crate::objects::write_atomically;
use crate::progress::{Progress, round_to_millis};
use crate::rounds;
use crate::runs::{self, RunsError};
use crate::store::{NextRound, RunRecord, RunState};

/// A run with a champion.
pub(super) async fn champion(
    context: &Arc<Context>,
    record: &RunRecord,
    progress: &Progress,
    found: Found,
) -> Result<(), RunsError> {
    let outcome = &found.outcome;
    let kept = outcome
        .champion
        .to_bytes()
        .map_err(|error| format!("the champion cannot be written: {error}"))
        .and_then(|bytes| match context.objects.put_durably(&bytes) {
            Ok(id) => Ok((id, bytes)),
            Err(error) => Err(format!("the champion cannot be kept: {error}")),
        });
    let (id, bytes) = match kept {
        Ok(kept) => kept,
        Err(reason) => return failed(context, record, progress, &reason).await,
    };
    let run = record.run;
    let directory = context.config.state.join("runs").join(run.to_string());
    let file = directory.join("champion.json");
    write(&file, &bytes)?;
    match outcome.memory.to_bytes() {
        Ok(memory) => write(&directory.join(rounds::MEMORY), &memory)?,
        // The champion is what counts; the next round then starts from scratch and says so.
        Err(error) => warn!(%run, %error, "what the round leaves to the next cannot be written"),
    }
    let verdict = &outcome.round.verdict;
    let mut evidence = json!({
        "champion": id,
        "steps": outcome.steps,
        "numbers": outcome.numbers,
        "task": record.task.digest,
        "round": outcome.round.number,
        "decision": verdict.decision,
        "lineage": outcome.round.lineage.digest,
    });
    if let Some(told) = outcome.privacy {
        evidence["privacy"] = json!(told);
    }
    state_once(context, Action::Champion, record, evidence)?;
    state_once(
        context,
        Action::RunEnd,
        record,
        json!({ "status": RunState::Champion.word() }),
    )?;
    let next = rounds::next(record);
    state_next(context, record, next.as_ref())?;
    let traffic = context.store.bytes_up(record.run).await?;
    let board = leaderboard(outcome, &traffic).csv();
    write(&directory.join("leaderboard.csv"), board.as_bytes())?;
    let told = told(outcome, id, &file);
    let mut result = result_of(context, record, progress, outcome, &traffic, told);
    result["next_run"] = json!(next.as_ref().map(|next| next.run));
    let text = format!("{result:#}\n");
    write(&directory.join("result.json"), text.as_bytes())?;
    register(context, record, id, &result, next.as_ref()).await?;
    info!(%run, champion = %id, steps = outcome.steps, round = outcome.round.number, why = verdict.reason, "run ended with a champion");
    if let Some(next) = &next {
        rounds::announce(context, next);
    }
    forget_objects(
        context,
        &found
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner),
        id,
    );
    tell(context, record, progress, RunState::Champion, None, &result).await
}

/// The champion, as the run's result says it.
fn told(outcome: &SearchOutcome, id: ObjectId, file: &Path) -> Value {
    let champion = &outcome.champion;
    json!({
        "id": id,
        "family": champion.family(),
        "models": champion.models(),
        "calibrated": champion.calibration.is_some(),
        "threshold": champion.threshold,
        "description": outcome.description(),
        "file": file,
    })
}

/// What the run's result says to people and programs.
fn result_of(
    context: &Context,
    record: &RunRecord,
    progress: &Progress,
    outcome: &SearchOutcome,
    traffic: &[(MemberName, u64)],
    champion: Value,
) -> Value {
    let bytes_up: serde_json::Map<_, _> = traffic
        .iter()
        .map(|(name, bytes)| (name.to_string(), Value::from(*bytes)))
        .collect();
    let mut round = serde_json::to_value(&outcome.round).unwrap_or_default();
    round["words"] = json!(outcome.round.words());
    json!({
        "run": record.run,
        "task": record.task.name,
        "champion": champion,
        "test": outcome.test,
        "round": round,
        "metric": outcome.champion.task.metric.name(),
        "leaderboard": leaderboard(outcome, traffic).rows(),
        "steps": outcome.steps,
        "numbers": outcome.numbers,
        "early": outcome.early.as_ref().map(ToString::to_string),
        "privacy": outcome.privacy,
        "bytes_up_per_site": bytes_up,
        "ledger_entries": context.ledger.len(),
        "seconds": round_to_millis(progress.elapsed()),
    })
}

/// The leaderboard, with what an average site sent for each candidate.
fn leaderboard<'a>(outcome: &'a SearchOutcome, traffic: &[(MemberName, u64)]) -> Leaderboard<'a> {
    let sent: u64 = traffic.iter().map(|(_, bytes)| bytes).sum();
    let mean = sent.checked_div(traffic.len() as u64);
    Leaderboard::new(&outcome.leaderboard).with_traffic(mean, outcome.numbers)
}

/// The database knows the champion, and that the run is over.
async fn register(
    context: &Context,
    record: &RunRecord,
    id: ObjectId,
    result: &Value,
    next: Option<&NextRound>,
) -> Result<(), RunsError> {
    let (store, champion) = (&context.store, Digest(id.0));
    store
        .register_champion(record.run, record.task.digest, champion)
        .await?;
    let result = result.to_string();
    let (state, champion) = (RunState::Champion, Some(champion));
    store
        .finish_run(record.run, state, None, champion, Some(&result), next)
        .await?;
    Ok(())
}

/// A run without one.
pub(super) async fn failed(
    context: &Arc<Context>,
    record: &RunRecord,
    progress: &Progress,
    reason: &str,
) -> Result<(), RunsError> {
    warn!(run = %record.run, reason, "run failed");
    state_once(
        context,
        Action::RunEnd,
        record,
        json!({ "status": RunState::Failed.word(), "reason": reason }),
    )?;
    let next = rounds::again(record);
    state_next(context, record, next.as_ref())?;
    let (store, state) = (&context.store, RunState::Failed);
    store
        .finish_run(record.run, state, Some(reason), None, None, next.as_ref())
        .await?;
    if let Some(next) = &next {
        rounds::announce(context, next);
    }
    tell(
        context,
        record,
        progress,
        RunState::Failed,
        Some(reason),
        &Value::Null,
    )
    .await
}

/// A run that a person ended.
pub(super) async fn cancelled(
    context: &Arc<Context>,
    record: &RunRecord,
    progress: &Progress,
    by: &str,
) -> Result<(), RunsError> {
    info!(run = %record.run, by, "run cancelled");
    let reason = format!("cancelled by {by}");
    state_once(
        context,
        Action::RunEnd,
        record,
        json!({ "status": RunState::Cancelled.word(), "by": by }),
    )?;
    context
        .store
        .finish_run(
            record.run,
            RunState::Cancelled,
            Some(&reason),
            None,
            None,
            None,
        )
        .await?;
    tell(
        context,
        record,
        progress,
        RunState::Cancelled,
        Some(&reason),
        &Value::Null,
    )
    .await
}

/// Writes down the round that is about to be queued.
fn state_next(
    context: &Context,
    record: &RunRecord,
    next: Option<&NextRound>,
) -> Result<(), RunsError> {
    let Some(next) = next else { return Ok(()) };
    let evidence = rounds::evidence(record, next);
    let (action, object) = (Action::TaskSubmit, next.run.to_string());
    fact_once(context, action, &object, evidence)
}

/// Writes a fact about a run, unless a daemon that crashed in between did.
fn state_once(
    context: &Context,
    action: Action,
    record: &RunRecord,
    evidence: Value,
) -> Result<(), RunsError> {
    fact_once(context, action, &record.run.to_string(), evidence)
}

/// The same of anything else.
fn fact_once(
    context: &Context,
    action: Action,
    object: &str,
    evidence: Value,
) -> Result<(), RunsError> {
    if !context.ledger.states(action, object)? {
        let entry = Entry::new(action, "coordinator", object, Outcome::Done);
        context.ledger.append(entry.evidence(evidence))?;
    }
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<(), RunsError> {
    write_atomically(path, bytes).map_err(|source| RunsError::Io {
        path: path.to_owned(),
        source,
    })
}

/// What the search published is of no use any more; champions stay.
fn forget_objects(context: &Context, published: &BTreeSet<ObjectId>, champion: ObjectId) {
    context.objects.remove(published, &[champion].into());
}

async fn tell(
    context: &Context,
    record: &RunRecord,
    progress: &Progress,
    state: RunState,
    reason: Option<&str>,
    result: &Value,
) -> Result<(), RunsError> {
    if let Some(ended) = context.store.run(record.run).await? {
        context.hub.send_all(&runs::closing(&ended));
    }
    progress.publish(
        "finished",
        json!({ "status": state.word(), "reason": reason, "result": result }),
    );
    progress.close();
    context.witnesses.wake();
    Ok(())
}
