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
use crate::runs::{self, RunsError};
use crate::store::{RunRecord, RunState};

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
    let evidence = json!({ "champion": id, "steps": outcome.steps, "numbers": outcome.numbers, "task": record.task.digest });
    state_once(context, Action::Champion, record, evidence)?;
    state_once(
        context,
        Action::RunEnd,
        record,
        json!({ "status": RunState::Champion.word() }),
    )?;
    let traffic = context.store.bytes_up(record.run).await?;
    let board = leaderboard(outcome, &traffic).csv();
    write(&directory.join("leaderboard.csv"), board.as_bytes())?;
    let result = result_of(
        context,
        record,
        progress,
        outcome,
        &traffic,
        json!({
            "id": id,
            "family": outcome.champion.family(),
            "models": outcome.champion.models(),
            "calibrated": outcome.champion.calibration.is_some(),
            "threshold": outcome.champion.threshold,
            "description": outcome.leaderboard.first().map(|standing| standing.name.as_str()),
            "file": file,
        }),
    );
    let text = format!("{result:#}\n");
    write(&directory.join("result.json"), text.as_bytes())?;
    register(context, record, id, &result).await?;
    info!(%run, champion = %id, steps = outcome.steps, "run ended with a champion");
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
    json!({
        "run": record.run,
        "task": record.task.name,
        "champion": champion,
        "test": outcome.test,
        "metric": outcome.champion.task.metric.name(),
        "leaderboard": leaderboard(outcome, traffic).rows(),
        "steps": outcome.steps,
        "numbers": outcome.numbers,
        "early": outcome.early.as_ref().map(ToString::to_string),
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
) -> Result<(), RunsError> {
    let (store, champion) = (&context.store, Digest(id.0));
    store
        .register_champion(record.run, record.task.digest, champion)
        .await?;
    let result = result.to_string();
    let (state, champion) = (RunState::Champion, Some(champion));
    store
        .finish_run(record.run, state, None, champion, Some(&result))
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
    context
        .store
        .finish_run(record.run, RunState::Failed, Some(reason), None, None)
        .await?;
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
        .finish_run(record.run, RunState::Cancelled, Some(&reason), None, None)
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

/// Writes a fact about a run, unless a daemon that crashed in between did.
fn state_once(
    context: &Context,
    action: Action,
    record: &RunRecord,
    evidence: Value,
) -> Result<(), RunsError> {
    let object = record.run.to_string();
    if !context.ledger.states(action, &object)? {
        context
            .ledger
            .append(Entry::new(action, "coordinator", &object, Outcome::Done).evidence(evidence))?;
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
    Ok(())
}
