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
    votes: Vec<Vote>,
    releases: Vec<Release>,
    seen: Vec<(u64, u64, Digest)>,
    last_ms: u64,
}

/// A member's vote for a contributing set.
#[derive(Debug)]
struct Vote {
    entry: u64,
    step: String,
    proposal: String,
    contributors: BTreeSet<String>,
}

/// A member's share of the key, released for a contributing set.
#[derive(Debug)]
struct Release {
    entry: u64,
    step: String,
    proposal: String,
    ask: String,
    time_ms: u64,
}

impl Step {
    fn is_of(&self, proposal: &str) -> bool {
        self.proposal.as_deref() == Some(proposal)
    }
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
                self.votes.push(Vote {
                    entry: number,
                    step: object,
                    proposal: text(evidence, "proposal"),
                    contributors: names(evidence),
                });
            }
            Some("release") => {
                self.releases.push(Release {
                    entry: number,
                    step: object,
                    proposal: text(evidence, "proposal"),
                    ask: text(evidence, "ask"),
                    time_ms: time(entry),
                });
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
    let mut comparison = Comparison {
        name,
        member,
        coordinator,
        compared: Compared::default(),
        spoken_of: BTreeSet::new(),
    };
    comparison.answers();
    comparison.votes();
    comparison.releases();
    comparison.compared.steps = comparison.spoken_of.len();
    comparison.compared
}

struct Comparison<'a> {
    /// The member's name.
    name: &'a str,
    member: &'a Member,
    coordinator: &'a Coordinator,
    compared: Compared,
    /// Steps of which both ledgers speak, and say the same.
    spoken_of: BTreeSet<&'a str>,
}

impl<'a> Comparison<'a> {
    /// Every step that counts the member among its contributors was answered by it.
    fn answers(&mut self) {
        for (object, steps) in &self.coordinator.steps {
            for step in steps
                .iter()
                .filter(|it| it.contributors.contains(self.name))
            {
                self.answer(object, step);
            }
        }
    }

    fn answer(&mut self, object: &'a str, step: &Step) {
        let (entry, detail) = match self.member.asks.get(object) {
            Some((_, context)) if *context == step.context => {
                self.spoken_of.insert(object);
                return;
            }
            Some((entry, context)) => {
                let found = &step.context;
                let detail = format!(
                    "the coordinator asked in the context {found}, the member answered in {context}"
                );
                (Some(*entry), detail)
            }
            None if step.time_ms > self.member.last_ms => {
                self.compared.later += 1;
                return;
            }
            None => {
                let detail = "the coordinator counts the member among the contributors, and the member's ledger knows of no answer";
                (None, detail.to_owned())
            }
        };
        self.mismatch(object, Some(step.entry), entry, detail);
    }

    /// What was opened is the set that the member voted for. A step that was voted for and never
    /// opened is none: steps may be dropped after the votes.
    fn votes(&mut self) {
        for vote in &self.member.votes {
            let steps = self.coordinator.steps.get(&vote.step).into_iter().flatten();
            let Some(step) = steps.into_iter().find(|step| step.is_of(&vote.proposal)) else {
                continue;
            };
            self.spoken_of.insert(&vote.step);
            if step.contributors != vote.contributors {
                let list =
                    |names: &BTreeSet<String>| Vec::from_iter(names.iter().cloned()).join(", ");
                let detail = format!(
                    "the coordinator names the contributing set {}; the member voted for {}",
                    list(&step.contributors),
                    list(&vote.contributors)
                );
                self.mismatch(&vote.step, Some(step.entry), Some(vote.entry), detail);
            }
        }
    }

    /// What the member released its share for is what was opened, and what it was asked.
    fn releases(&mut self) {
        for release in &self.member.releases {
            let steps = self.coordinator.steps.get(&release.step);
            let steps = steps.map_or(&[][..], Vec::as_slice);
            let own = steps.iter().find(|step| step.is_of(&release.proposal));
            let detail = match own.or_else(|| steps.iter().find(|step| step.opened)) {
                None if steps.is_empty() && release.time_ms > self.coordinator.last_ms => {
                    self.compared.later += 1;
                    continue;
                }
                None if steps.is_empty() => {
                    "the member released its share of the key, and the coordinator's ledger says nothing of the step".to_owned()
                }
                None => continue,
                Some(step) if !step.is_of(&release.proposal) => format!(
                    "the member released its share for the set {}, the coordinator opened {}",
                    release.proposal,
                    step.proposal.as_deref().unwrap_or("another")
                ),
                Some(step) if step.ask != release.ask => format!(
                    "the coordinator names the ask {}, the member was asked {}",
                    step.ask, release.ask
                ),
                Some(_) => {
                    self.spoken_of.insert(&release.step);
                    continue;
                }
            };
            let first = steps.first().map(|step| step.entry);
            self.mismatch(&release.step, first, Some(release.entry), detail);
        }
    }

    fn mismatch(
        &mut self,
        step: &str,
        coordinator_entry: Option<u64>,
        member_entry: Option<u64>,
        detail: String,
    ) {
        self.compared.mismatches.push(Mismatch {
            member: self.name.to_owned(),
            step: step.to_owned(),
            coordinator_entry,
            member_entry,
            detail,
        });
    }
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
