//! Whether the coordinator's ledger and a member's say the same of the same steps.

use std::collections::{BTreeMap, BTreeSet};

use collegium_protocol::Digest;
use collegium_protocol::ledger::entry::TIME;
use collegium_protocol::ledger::verify::Seen;
use serde::Serialize;
use serde_json::Value;

/// Two ledgers that do not agree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Mismatch {
    /// The member.
    pub(crate) member: String,
    /// `RUN/STEP`.
    pub(crate) step: String,
    /// The entry in the coordinator's ledger, from 0.
    pub(crate) coordinator_entry: Option<u64>,
    /// The entry in the member's ledger, from 0.
    pub(crate) member_entry: Option<u64>,
    /// What differs.
    pub(crate) detail: String,
}

impl std::fmt::Display for Mismatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let place =
            |entry: Option<u64>| entry.map_or("nowhere".to_owned(), |it| format!("entry {it}"));
        write!(
            f,
            "mismatch: step {} (coordinator: {}; {}: {}): {}",
            self.step,
            place(self.coordinator_entry),
            self.member,
            place(self.member_entry),
            self.detail
        )
    }
}

/// What the coordinator's ledger says of its steps.
#[derive(Debug, Default)]
pub(crate) struct Coordinator {
    steps: BTreeMap<String, Vec<Step>>,
    last_ms: u64,
}

#[derive(Debug)]
struct Step {
    entry: u64,
    opened: bool,
    time_ms: u64,
    context: String,
    ask: String,
    proposal: Option<String>,
    contributors: BTreeSet<String>,
}

/// What a member's ledger says of them.
#[derive(Debug, Default)]
pub(crate) struct Member {
    asks: BTreeMap<String, (u64, String)>,
    votes: Vec<(u64, String, String, BTreeSet<String>)>,
    releases: Vec<(u64, String, String, String, u64)>,
    seen: Vec<(u64, u64, Digest)>,
    last_ms: u64,
}

fn text(evidence: &Value, field: &str) -> String {
    evidence[field].as_str().unwrap_or_default().to_owned()
}

fn names(evidence: &Value) -> BTreeSet<String> {
    let names = evidence["contributors"].as_array().into_iter().flatten();
    names.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn time(entry: &Value) -> u64 {
    entry[TIME].as_u64().unwrap_or(0)
}

impl Coordinator {
    /// Takes an entry of the coordinator's ledger in.
    pub(crate) fn take(&mut self, number: u64, entry: &Value) {
        self.last_ms = self.last_ms.max(time(entry));
        let opened = entry["action"] == "step";
        if !opened && entry["action"] != "step-failed" {
            return;
        }
        let evidence = &entry["evidence"];
        let step = Step {
            entry: number,
            opened,
            time_ms: time(entry),
            context: text(evidence, "context"),
            ask: text(evidence, "ask_digest"),
            proposal: evidence["proposal"].as_str().map(str::to_owned),
            contributors: names(evidence),
        };
        self.steps
            .entry(text(entry, "object"))
            .or_default()
            .push(step);
    }
}

impl Member {
    /// Takes an entry of the member's ledger in.
    pub(crate) fn take(&mut self, number: u64, entry: &Value) {
        self.last_ms = self.last_ms.max(time(entry));
        if entry["outcome"] != "done" {
            return;
        }
        let (object, evidence) = (text(entry, "object"), &entry["evidence"]);
        match entry["action"].as_str() {
            Some("ask") => {
                let context = text(evidence, "context");
                self.asks.insert(object, (number, context));
            }
            Some("vote") => {
                let proposal = text(evidence, "proposal");
                self.votes.push((number, object, proposal, names(evidence)));
            }
            Some("release") => {
                let (proposal, ask) = (text(evidence, "proposal"), text(evidence, "ask"));
                self.releases
                    .push((number, object, proposal, ask, time(entry)));
            }
            Some("witness") => {
                let root = evidence["root"].as_str().and_then(|it| it.parse().ok());
                if let (Some(size), Some(root)) = (evidence["size"].as_u64(), root) {
                    self.seen.push((number, size, root));
                }
            }
            _ => {}
        }
    }

    /// What this member saw of the coordinator's ledger when it cosigned it.
    pub(crate) fn seen(&self, name: &str) -> Vec<Seen> {
        let state = |(number, size, root): &(u64, u64, Digest)| Seen {
            by: format!("{name} (entry {number} of its ledger)"),
            size: *size,
            root: *root,
        };
        self.seen.iter().map(state).collect()
    }
}

/// How much could be compared, and what does not agree.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Compared {
    /// Steps of which both ledgers speak.
    pub(crate) steps: usize,
    /// Steps of one ledger that lie after the end of the other.
    pub(crate) later: usize,
    /// What does not agree.
    pub(crate) mismatches: Vec<Mismatch>,
}

/// Compares a member's ledger with the coordinator's.
pub(crate) fn compare(name: &str, member: &Member, coordinator: &Coordinator) -> Compared {
    let mut compared = Compared::default();
    let mut spoken_of = BTreeSet::new();
    for (object, steps) in &coordinator.steps {
        for step in steps.iter().filter(|step| step.contributors.contains(name)) {
            answered(name, object, step, member, &mut compared, &mut spoken_of);
        }
    }
    for (entry, object, proposal, contributors) in &member.votes {
        let same = |step: &&Step| step.proposal.as_ref() == Some(proposal);
        let steps = coordinator.steps.get(object).into_iter().flatten();
        let Some(step) = steps.into_iter().find(same) else {
            // Voted for, and never opened: a step may be dropped after the votes.
            continue;
        };
        spoken_of.insert(object.clone());
        if step.contributors != *contributors {
            let list = |names: &BTreeSet<String>| Vec::from_iter(names.iter().cloned()).join(", ");
            compared.mismatches.push(Mismatch {
                member: name.to_owned(),
                step: object.clone(),
                coordinator_entry: Some(step.entry),
                member_entry: Some(*entry),
                detail: format!(
                    "the coordinator names the contributing set {}; the member voted for {}",
                    list(&step.contributors),
                    list(contributors)
                ),
            });
        }
    }
    for (entry, object, proposal, ask, time_ms) in &member.releases {
        let steps = coordinator.steps.get(object).map_or(&[][..], Vec::as_slice);
        let opened = steps
            .iter()
            .find(|step| step.proposal.as_ref() == Some(proposal));
        let detail = match opened.or_else(|| steps.iter().find(|step| step.opened)) {
            None if steps.is_empty() && *time_ms > coordinator.last_ms => {
                compared.later += 1;
                continue;
            }
            None if steps.is_empty() => {
                "the member released its share of the key, and the coordinator's ledger says nothing of the step".to_owned()
            }
            None => continue,
            Some(step) if step.proposal.as_ref() != Some(proposal) => format!(
                "the member released its share for the set {proposal}, the coordinator opened {}",
                step.proposal.as_deref().unwrap_or("another")
            ),
            Some(step) if step.ask != *ask => format!(
                "the coordinator names the ask {}, the member was asked {ask}",
                step.ask
            ),
            Some(_) => {
                spoken_of.insert(object.clone());
                continue;
            }
        };
        compared.mismatches.push(Mismatch {
            member: name.to_owned(),
            step: object.clone(),
            coordinator_entry: steps.first().map(|step| step.entry),
            member_entry: Some(*entry),
            detail,
        });
    }
    compared.steps = spoken_of.len();
    compared
}

/// A step to which the member contributed, as the coordinator has it.
fn answered(
    name: &str,
    object: &str,
    step: &Step,
    member: &Member,
    compared: &mut Compared,
    spoken_of: &mut BTreeSet<String>,
) {
    let (member_entry, detail) = match member.asks.get(object) {
        Some((_, context)) if *context == step.context => {
            spoken_of.insert(object.to_owned());
            return;
        }
        Some((entry, context)) => {
            let found = &step.context;
            let detail = format!(
                "the coordinator asked in the context {found}, the member answered in {context}"
            );
            (Some(*entry), detail)
        }
        None if step.time_ms > member.last_ms => {
            compared.later += 1;
            return;
        }
        None => {
            let detail = "the coordinator counts the member among the contributors, and the member's ledger knows of no answer";
            (None, detail.to_owned())
        }
    };
    compared.mismatches.push(Mismatch {
        member: name.to_owned(),
        step: object.to_owned(),
        coordinator_entry: Some(step.entry),
        member_entry,
        detail,
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn coordinator(change: impl FnOnce(&mut Value)) -> Coordinator {
        let mut entry = json!({
            "action": "step", "object": "run/1", "outcome": "done", "time_ms": 5,
            "evidence": {"context": "c1", "ask_digest": "a1", "proposal": "p1",
                         "contributors": ["a", "b", "c"]},
        });
        change(&mut entry);
        let mut coordinator = Coordinator::default();
        coordinator.take(7, &entry);
        coordinator
    }

    fn member() -> Member {
        let mut member = Member::default();
        for (number, action, evidence) in [
            (0, "ask", json!({"context": "c1"})),
            (
                1,
                "vote",
                json!({"proposal": "p1", "contributors": ["a", "b", "c"]}),
            ),
            (2, "release", json!({"proposal": "p1", "ask": "a1"})),
            (3, "witness", json!({"size": 4, "root": "00".repeat(32)})),
        ] {
            let entry = json!({
                "action": action, "object": "run/1", "outcome": "done", "time_ms": 4 + number,
                "evidence": evidence,
            });
            member.take(number, &entry);
        }
        member
    }

    #[test]
    fn ledgers_that_say_the_same_agree() {
        let compared = compare("a", &member(), &coordinator(|_| {}));
        assert_eq!(
            compared,
            Compared {
                steps: 1,
                later: 0,
                mismatches: vec![]
            }
        );
        let seen = member().seen("a");
        assert_eq!((seen.len(), seen[0].size), (1, 4));
    }

    #[test]
    fn every_difference_is_named() {
        let word = |change: fn(&mut Value)| {
            let compared = compare("a", &member(), &coordinator(change));
            let found = compared.mismatches.first().cloned();
            let found = found.expect("a mismatch");
            assert_eq!(found.step, "run/1");
            found.to_string()
        };
        let other = word(|it| it["evidence"]["contributors"] = json!(["a", "b"]));
        assert!(other.contains("voted for a, b, c"), "{other}");
        let other = word(|it| it["evidence"]["context"] = json!("c2"));
        assert!(other.contains("context c2"), "{other}");
        let other = word(|it| it["evidence"]["ask_digest"] = json!("a2"));
        assert!(other.contains("names the ask a2"), "{other}");
        let other = word(|it| it["evidence"]["proposal"] = json!("p2"));
        assert!(other.contains("opened p2"), "{other}");
        // An entry after it shows that the coordinator's copy does not end before the step.
        let mut silent = coordinator(|it| it["object"] = json!("run/2"));
        silent.take(8, &json!({"action": "stop", "time_ms": 100}));
        let compared = compare("d", &member(), &silent);
        let found = compared.mismatches[0].to_string();
        assert!(found.contains("says nothing of the step"), "{found}");
        // The coordinator claims an answer that was not given.
        let mut lazy = Member::default();
        lazy.take(
            0,
            &json!({"action": "stop", "outcome": "done", "time_ms": 100}),
        );
        let found = compare("b", &lazy, &coordinator(|_| {})).mismatches[0].to_string();
        assert!(found.contains("knows of no answer"), "{found}");
        // A copy made before the step says nothing.
        let compared = compare("b", &Member::default(), &coordinator(|_| {}));
        assert_eq!((compared.later, compared.mismatches.len()), (1, 0));
    }
}
