//! `collegium task`: the data scientist's commands.

mod rounds;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::Subcommand;
use collegium_protocol::RunId;
use serde_json::{Value, json};

use super::client::{Coordinator, connect};
use super::{check, interruptible};
use crate::board::Board;
use crate::demo::report;
use crate::output::{Output, print_line};
use crate::simulate::read_task;

/// What one does with a task.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Check a task file: what it asks of each site, in plain words, and about what it would cost.
    Check(check::Args),
    /// Hand a task to the coordinator, which starts a run.
    Submit {
        /// The task file (TOML).
        task: PathBuf,
        #[command(flatten)]
        coordinator: Coordinator,
    },
    /// Follow a run to its end.
    Watch {
        /// The run, as `task submit` printed it.
        run: String,
        #[command(flatten)]
        coordinator: Coordinator,
    },
    /// Queue another round of an ended run's task: on the data as they are now, starting from what
    /// that run knew.
    Rerun {
        /// The run, as `task submit` printed it.
        run: String,
        #[command(flatten)]
        coordinator: Coordinator,
    },
    /// End a run. Of a task that says `every`, cancelling the round that waits ends the series.
    Cancel {
        /// The run, as `task submit`, `task rerun` or `task list` printed it.
        run: String,
        #[command(flatten)]
        coordinator: Coordinator,
    },
    /// List the runs, newest first.
    List {
        #[command(flatten)]
        coordinator: Coordinator,
    },
}

/// Carries out the command.
///
/// # Errors
/// What is wrong in the task file, or what the coordinator answered.
pub(crate) fn run(command: Command, out: Output) -> anyhow::Result<ExitCode> {
    match command {
        Command::Check(args) => check::run(&args, out),
        Command::Submit { task, coordinator } => interruptible(submit(task, coordinator, out)),
        Command::Watch { run, coordinator } => interruptible(watch(run, coordinator, out)),
        Command::Rerun { run, coordinator } => interruptible(rounds::rerun(run, coordinator, out)),
        Command::Cancel { run, coordinator } => {
            interruptible(rounds::cancel(run, coordinator, out))
        }
        Command::List { coordinator } => interruptible(rounds::list(coordinator, out)),
    }
}

fn run_id(text: &str) -> anyhow::Result<RunId> {
    text.parse()
        .with_context(|| format!("`{text}` is not a run's id"))
}

async fn submit(file: PathBuf, coordinator: Coordinator, out: Output) -> anyhow::Result<()> {
    // Read here first: a slip is reported with its line before anything is sent.
    let task = read_task(&file)?;
    let text = std::fs::read_to_string(&file)?;
    let client = connect(&coordinator).await?;
    let run = client.submit_task(&text).await?;
    client.finish().await;
    // The id alone on standard output, so that a script can take it.
    out.result(&json!({ "run": run, "task": task.name }), run.to_string())?;
    out.say(format!(
        "{} is submitted; follow it with: collegium task watch {run} {}",
        task.name,
        coordinator.flag()
    ));
    Ok(())
}

async fn watch(run: String, coordinator: Coordinator, out: Output) -> anyhow::Result<()> {
    let run = run_id(&run)?;
    let client = connect(&coordinator).await?;
    let mut events = client.watch(run, 0).await?;
    let mut board = Board::of_events(out);
    while let Some(line) = events.next().await? {
        let line =
            String::from_utf8(line).context("the coordinator sent an event that is no text")?;
        let event: Value = serde_json::from_str(&line)
            .with_context(|| format!("the coordinator sent an event that is no JSON: {line}"))?;
        match board.event(&event)? {
            None => {}
            Some(Ok(mut result)) => {
                if !out.json() {
                    let leaderboard = result["leaderboard"].take();
                    print_line(&report(&result, &leaderboard))?;
                }
                client.finish().await;
                return Ok(());
            }
            Some(Err(reason)) => bail!("run {run} ended without a champion: {reason}"),
        }
    }
    bail!("the coordinator stopped telling about run {run}; run the same command again to go on")
}
