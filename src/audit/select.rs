//! Entries by what they say.

use std::ops::ControlFlow;

use collegium_protocol::ledger::LedgerError;
use collegium_protocol::ledger::entry::TIME;
use collegium_protocol::ledger::read::Folder;
use collegium_protocol::moment;
use serde_json::Value;

/// Which entries; everything that is given must hold.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Filter {
    /// Entries from this time on (UTC): 2026-11-26 or 2026-11-26T18:04:05.
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub(crate) since: Option<u64>,
    /// Entries before this time (UTC).
    #[arg(long, value_name = "TIME", value_parser = moment::parse)]
    pub(crate) until: Option<u64>,
    /// Who did it, or a part of that: operator/alice, coordinator, a fingerprint.
    #[arg(long, value_name = "TEXT")]
    pub(crate) actor: Option<String>,
    /// What was done: step, join, champion, ...
    #[arg(long, value_name = "WORD")]
    pub(crate) action: Option<String>,
    /// A task's name or digest, or the beginning of the digest; also every entry of its runs.
    #[arg(long, value_name = "TASK")]
    pub(crate) task: Option<String>,
    /// A run's id, or the beginning of it.
    #[arg(long, value_name = "RUN")]
    pub(crate) run: Option<String>,
    /// A member that did something, or that something names.
    #[arg(long, value_name = "NAME")]
    pub(crate) member: Option<String>,
    /// done, refused or failed.
    #[arg(long, value_name = "WORD")]
    pub(crate) outcome: Option<String>,
}

/// An entry with its number.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Numbered {
    /// From 0.
    pub(crate) number: u64,
    /// What it says.
    pub(crate) entry: Value,
}

impl Numbered {
    /// A field's text.
    pub(crate) fn text(&self, field: &str) -> &str {
        self.entry[field].as_str().unwrap_or_default()
    }

    /// When, as people write it.
    pub(crate) fn time(&self) -> String {
        moment::text(self.entry[TIME].as_u64().unwrap_or(0))
    }

    /// The evidence on one line.
    pub(crate) fn evidence(&self) -> String {
        match &self.entry["evidence"] {
            Value::Null => String::new(),
            Value::Object(fields) if fields.is_empty() => String::new(),
            other => other.to_string(),
        }
    }
}

/// Hands the entries of a ledger that pass the filter to `visit`, in order. A task's runs are known
/// from the entries that submit them, which come before all others of theirs.
///
/// # Errors
/// [`LedgerError`].
pub(crate) fn each<E>(
    folder: &Folder,
    filter: &Filter,
    mut visit: impl FnMut(Numbered) -> Result<(), E>,
) -> Result<Result<(), E>, LedgerError> {
    let mut runs = Vec::new();
    let ended = folder.entries(|number, bytes| {
        let Ok(entry) = serde_json::from_slice(bytes) else {
            return ControlFlow::Continue(());
        };
        let numbered = Numbered { number, entry };
        if !filter.passes(&numbered, &mut runs) {
            return ControlFlow::Continue(());
        }
        match visit(numbered) {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => ControlFlow::Break(error),
        }
    })?;
    Ok(ended.map_or(Ok(()), Err))
}

impl Filter {
    fn passes(&self, numbered: &Numbered, runs: &mut Vec<String>) -> bool {
        let time = numbered.entry[TIME].as_u64().unwrap_or(0);
        let object = numbered.text("object");
        let run = object.split('/').next().unwrap_or_default();
        let is =
            |wanted: &Option<String>, found: &str| wanted.as_deref().is_none_or(|it| it == found);
        let of_task = self.task.as_deref().is_none_or(|task| {
            let evidence = &numbered.entry["evidence"];
            let digest = evidence["task"].as_str().unwrap_or_default();
            let submitted = numbered.text("action") == "task-submit";
            let named = evidence["name"] == task || (task.len() >= 4 && digest.starts_with(task));
            if named && submitted && !runs.iter().any(|it| it == run) {
                runs.push(run.to_owned());
            }
            named || runs.iter().any(|it| it == run)
        });
        self.since.is_none_or(|since| time >= since)
            && self.until.is_none_or(|until| time < until)
            && is(&self.action, numbered.text("action"))
            && is(&self.outcome, numbered.text("outcome"))
            && self
                .actor
                .as_deref()
                .is_none_or(|it| numbered.text("actor").contains(it))
            && self.run.as_deref().is_none_or(|it| run.starts_with(it))
            && self
                .member
                .as_deref()
                .is_none_or(|it| concerns(&numbered.entry, it))
            && of_task
    }
}

/// Whether an entry names a member: as actor, as object, or anywhere in the evidence.
fn concerns(entry: &Value, member: &str) -> bool {
    match entry {
        Value::String(text) => text.split('/').any(|part| part == member),
        Value::Array(items) => items.iter().any(|item| concerns(item, member)),
        Value::Object(fields) => fields
            .iter()
            .any(|(key, item)| key == member || concerns(item, member)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn entries() -> Vec<Value> {
        vec![
            json!({"action": "join", "actor": "coordinator", "object": "node/hospital-a", "outcome": "done", "time_ms": 1000, "evidence": {}}),
            json!({"action": "task-submit", "actor": "scientist/ada", "object": "r1", "outcome": "done", "time_ms": 2000, "evidence": {"task": "abcdef", "name": "heart"}}),
            json!({"action": "task-submit", "actor": "scientist/bob", "object": "r2", "outcome": "done", "time_ms": 3000, "evidence": {"task": "123456", "name": "lungs"}}),
            json!({"action": "step", "actor": "coordinator", "object": "r1/1", "outcome": "done", "time_ms": 4000, "evidence": {"contributors": ["hospital-a", "hospital-b"]}}),
            json!({"action": "step", "actor": "coordinator", "object": "r2/1", "outcome": "done", "time_ms": 5000, "evidence": {"contributors": ["hospital-b"]}}),
            json!({"action": "run-end", "actor": "coordinator", "object": "r1", "outcome": "failed", "time_ms": 6000, "evidence": {}}),
        ]
    }

    fn found(filter: Filter) -> Vec<u64> {
        let mut runs = Vec::new();
        let numbered = (0..)
            .zip(entries())
            .map(|(number, entry)| Numbered { number, entry });
        let found = numbered.filter(|it| filter.passes(it, &mut runs));
        found.map(|it| it.number).collect()
    }

    #[test]
    fn filters_are_all_to_hold() {
        let text = |it: &str| Some(it.to_owned());
        assert_eq!(found(Filter::default()), [0, 1, 2, 3, 4, 5]);
        assert_eq!(
            found(Filter {
                since: Some(2000),
                until: Some(5000),
                ..Filter::default()
            }),
            [1, 2, 3]
        );
        assert_eq!(
            found(Filter {
                actor: text("ada"),
                ..Filter::default()
            }),
            [1]
        );
        assert_eq!(
            found(Filter {
                action: text("step"),
                ..Filter::default()
            }),
            [3, 4]
        );
        assert_eq!(
            found(Filter {
                task: text("heart"),
                ..Filter::default()
            }),
            [1, 3, 5]
        );
        assert_eq!(
            found(Filter {
                task: text("1234"),
                ..Filter::default()
            }),
            [2, 4]
        );
        assert_eq!(
            found(Filter {
                run: text("r1"),
                action: text("step"),
                ..Filter::default()
            }),
            [3]
        );
        assert_eq!(
            found(Filter {
                member: text("hospital-a"),
                ..Filter::default()
            }),
            [0, 3]
        );
        assert_eq!(
            found(Filter {
                outcome: text("failed"),
                ..Filter::default()
            }),
            [5]
        );
    }
}
