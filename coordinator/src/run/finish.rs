//! How a run ends: ledger, database, files, then everybody is told.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use collegium_automl::object::ObjectId;
use collegium_protocol::Digest;
use serde_json::{Value, json};
use tracing::{info, warn};

use super::Found;
use super::search::rows;
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
    let run = record.run;
    let outcome = found.outcome;
    let bytes = match outcome.champion.to_bytes() {
        Ok(bytes) => bytes,
        Err(error) => {
            return failed(
                context,
                record,
                progress,
                &format!("the champion cannot be written: {error}"),
            )
            .await;
        }
    };
    let id = match context.objects.put_durably(&bytes) {
        Ok(id) => id,
        Err(error) => {
            return failed(
                context,
                record,
                progress,
                &format!("the champion cannot be kept: {error}"),
            )
            .await;
        }
    };
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

    let bytes_up = context.store.bytes_up(run).await?;
    let bytes_up: serde_json::Map<_, _> = bytes_up
        .into_iter()
        .map(|(name, bytes)| (name.to_string(), Value::from(bytes)))
        .collect();
    let winner = outcome.leaderboard.first();
    let result = json!({
        "run": run,
        "task": record.task.name,
        "champion": {
            "id": id,
            "family": outcome.champion.candidate.family,
            "description": winner.map(|standing| standing.name.as_str()),
            "file": file,
        },
        "test": outcome.test,
        "leaderboard": rows(&outcome.leaderboard),
        "steps": outcome.steps,
        "numbers": outcome.numbers,
        "early": outcome.early.as_ref().map(ToString::to_string),
        "bytes_up_per_site": bytes_up,
        "ledger_entries": context.ledger.len(),
        "seconds": round_to_millis(progress.elapsed()),
    });
    write(
        &directory.join("result.json"),
        format!("{result:#}\n").as_bytes(),
    )?;
    context
        .store
        .register_champion(run, record.task.digest, Digest(id.0))
        .await?;
    context
        .store
        .finish_run(
            run,
            RunState::Champion,
            None,
            Some(Digest(id.0)),
            Some(&result.to_string()),
        )
        .await?;
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
