//! Rounds of a simulation: what the one before left, and what one says.

use std::path::Path;

use anyhow::{Context, ensure};
use collegium_automl::search::{Memory, Outcome, Round};
use collegium_automl::task::Task;
use serde_json::{Value, json};

use crate::output::Output;

/// The round to begin with: the first, or the one after what lies in a directory.
///
/// # Errors
/// What the directory lacks, or what is wrong with it.
pub(super) fn first(after: Option<&Path>, task: &Task) -> anyhow::Result<Round> {
    let Some(dir) = after else {
        return Ok(Round::first());
    };
    let read = |name: &str| {
        let path = dir.join(name);
        std::fs::read(&path).with_context(|| {
            format!(
                "cannot read {}: `--after` takes the directory that `--out` of an earlier simulation \
                 wrote to",
                path.display()
            )
        })
    };
    let memory = Memory::from_bytes(&read("memory.json")?, &read("champion.json")?)
        .with_context(|| dir.join("memory.json").display().to_string())?;
    ensure!(
        memory.notes.same_task(task),
        "{} is of another task: only budgets, `rounds` and `every` may differ between rounds",
        dir.join("memory.json").display()
    );
    Ok(Round::after(memory))
}

/// The round, for programs, with its sentences for people.
pub(super) fn value(outcome: &Outcome) -> Value {
    let mut round = serde_json::to_value(&outcome.round).unwrap_or_default();
    round["words"] = json!(outcome.round.words());
    round
}

/// Says how a round ended that is not the last.
pub(super) fn tell(outcome: &Outcome, out: Output) {
    let number = outcome.round.number;
    out.say(format!(
        "round {number}  ended with {}",
        outcome.description()
    ));
    for sentence in outcome.round.words() {
        out.say(sentence);
    }
}
