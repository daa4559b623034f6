//! Runs that follow runs: asking for another round, ending one, and seeing which there are.

use collegium_protocol::message::admin::{RunStatus, RunSummary};
use serde_json::{Value, json};

use super::run_id;
use crate::cli::client::{Coordinator, connect};
use crate::output::{self, Output};

/// Asks for another round.
pub(super) async fn rerun(
    run: String,
    coordinator: Coordinator,
    out: Output,
) -> anyhow::Result<()> {
    let run = run_id(&run)?;
    let client = connect(&coordinator).await?;
    let next = client.rerun(run).await?;
    client.finish().await;
    // As `task submit` does.
    out.result(&json!({ "run": next, "previous": run }), next.to_string())?;
    out.say(format!(
        "another round is queued; follow it with: collegium task watch {next} {}",
        coordinator.flag()
    ));
    Ok(())
}

/// Ends a run.
pub(super) async fn cancel(
    run: String,
    coordinator: Coordinator,
    out: Output,
) -> anyhow::Result<()> {
    let run = run_id(&run)?;
    let client = connect(&coordinator).await?;
    client.cancel(run).await?;
    client.finish().await;
    out.result(
        &json!({ "run": run, "status": "cancelled" }),
        format!("run {run} is cancelled; no round follows it"),
    )
}

/// Lists the runs.
pub(super) async fn list(coordinator: Coordinator, out: Output) -> anyhow::Result<()> {
    let client = connect(&coordinator).await?;
    let runs = client.runs().await?;
    client.finish().await;
    let mut table = output::table(&["run", "task", "round", "status", "steps"]);
    for run in &runs {
        table.add_row(vec![
            run.run.to_string(),
            run.task.clone(),
            run.round.to_string(),
            status(run.status).to_owned(),
            run.steps.to_string(),
        ]);
    }
    let rows: Vec<Value> = runs.iter().map(row).collect();
    out.result(&json!({ "runs": rows }), table.to_string())
}

fn row(run: &RunSummary) -> Value {
    json!({
        "run": run.run,
        "task": run.task,
        "round": run.round,
        "status": status(run.status),
        "steps": run.steps,
        "submitted": run.submitted,
        "not_before": run.not_before,
    })
}

fn status(status: RunStatus) -> &'static str {
    match status {
        RunStatus::Waiting => "waiting",
        RunStatus::Running => "running",
        RunStatus::Completed => "champion",
        RunStatus::Failed => "failed",
        RunStatus::Cancelled => "cancelled",
    }
}
