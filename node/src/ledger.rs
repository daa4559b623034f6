//! The node's own ledger: what this site was asked, and what it did about it.
//!
//! One entry for one fact, appended to `STATE/ledger` (in the format of
//! [`collegium_protocol::ledger`]) and synced before the fact becomes visible to anybody. Its
//! checkpoints are signed with the member's identity key. No row, no secret and no figure stands
//! in it.

use std::path::Path;

use collegium_crypto::SigningIdentity;
use collegium_protocol::ledger::read::Folder;
use collegium_protocol::ledger::verify::{Expected, verify};
use collegium_protocol::ledger::{Log, LogKey};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

pub use collegium_protocol::ledger::LedgerError;

/// Who does what a node's ledger says.
const ACTOR: &str = "node";

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// The daemon started.
    Start,
    /// The daemon ended in an orderly way.
    Stop,
    /// A charter was pinned for the first time or replaced by its successor.
    Charter,
    /// The node's certificate was renewed.
    Certificate,
    /// A message came that no correct program sends.
    Message,
    /// A policy of this site came into force, or could not.
    Policy,
    /// A run was offered.
    Run,
    /// A steward is asked about a task.
    Request,
    /// A steward's word about a task was found.
    Approval,
    /// An ask was answered or refused.
    Ask,
    /// A vote on a contributing set was given or withheld.
    Vote,
    /// A sum of key shares was released or withheld.
    Release,
    /// A step's evidence was found false.
    Verify,
    /// The coordinator's ledger was cosigned, or found to be rewritten.
    Witness,
    /// A run ended.
    Close,
    /// The site's private report of a run was written.
    Report,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was done.
    Done,
    /// This site refused.
    Refused,
    /// Something broke.
    Failed,
}

/// One fact, before it has a place in the chain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What happened.
    pub action: Action,
    /// To what: a run, `run/step`, a charter's digest, a version.
    pub object: String,
    /// How it ended.
    pub outcome: Outcome,
    /// Hashes, names and counts that let others check it.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub evidence: serde_json::Value,
}

impl Entry {
    /// A fact without evidence.
    #[must_use]
    pub fn new(action: Action, object: impl ToString, outcome: Outcome) -> Self {
        Self {
            action,
            object: object.to_string(),
            outcome,
            evidence: serde_json::Value::Null,
        }
    }

    /// Adds the evidence, an object of hashes, names and counts.
    #[must_use]
    pub fn evidence(mut self, evidence: serde_json::Value) -> Self {
        self.evidence = evidence;
        self
    }
}

/// The open ledger; clones share it.
#[derive(Debug, Clone)]
pub struct Ledger {
    log: Log,
}

impl Ledger {
    /// Opens or creates the ledger in `directory` and verifies all of it. An entry that a crash left
    /// incomplete was never acknowledged to anybody and is cut off.
    ///
    /// # Errors
    /// [`LedgerError`], when a file cannot be used or the ledger does not verify.
    pub fn open(directory: &Path, identity: &SigningIdentity) -> Result<Self, LedgerError> {
        let own = SigningIdentity::from_bytes(&identity.to_bytes());
        let log = Log::open(directory, LogKey::node(identity.public()), own)?;
        Ok(Self { log })
    }

    /// Verifies the ledger in `directory` without changing it; gives the number of entries, 0
    /// where there is no ledger yet.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn inspect(directory: &Path, key: &LogKey) -> Result<u64, LedgerError> {
        if !directory.exists() {
            return Ok(0);
        }
        let expected = Expected {
            log: key,
            witnesses: None,
            seen: &[],
        };
        let report = verify(&Folder::new(directory), &expected, &mut |_, _| {})?;
        match report.findings.iter().find(|finding| finding.is_damage()) {
            None => Ok(report.size),
            Some(finding) => Err(LedgerError::Damaged {
                path: directory.to_owned(),
                finding: finding.to_string(),
            }),
        }
    }

    /// Appends one entry; it is on the disk when this returns. Blocks for one sync.
    ///
    /// # Errors
    /// [`LedgerError`], when it cannot be written; nothing half-written stays.
    pub fn append(&self, entry: Entry) -> Result<(), LedgerError> {
        let mut value = json!({
            "action": entry.action,
            "actor": ACTOR,
            "object": entry.object,
            "outcome": entry.outcome,
        });
        if !entry.evidence.is_null() {
            value["evidence"] = entry.evidence;
        }
        self.log.append(value).map(|_| ())
    }

    /// Number of entries.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.log.len()
    }

    /// Brings tiles and checkpoint up to the last entry.
    ///
    /// # Errors
    /// [`LedgerError`]. Entries stand all the same.
    pub fn publish(&self) -> Result<(), LedgerError> {
        self.log.publish().map(|_| ())
    }
}

/// Every entry of the ledger in `directory`, which is not verified; the daemon may have it open.
///
/// # Errors
/// [`LedgerError`].
pub fn entries(directory: &Path) -> Result<Vec<Value>, LedgerError> {
    Folder::new(directory).values()
}

#[cfg(test)]
mod tests {
    use super::*;
    use collegium_crypto::randomness::seeded_rng;

    #[test]
    fn a_reopened_ledger_goes_on_where_it_was() {
        let directory = tempfile::tempdir().expect("tempdir");
        let state = directory.path().join("ledger");
        let identity = SigningIdentity::generate(&mut seeded_rng([6; 32]));
        let key = LogKey::node(identity.public());
        assert_eq!(Ledger::inspect(&state, &key).expect("none yet"), 0);
        let ledger = Ledger::open(&state, &identity).expect("opens");
        for step in 0..3 {
            let evidence = json!({"members": ["a", "b"], "ask": "00ff", "real": 0.1});
            let entry = Entry::new(Action::Ask, format!("run/{step}"), Outcome::Done);
            ledger.append(entry.evidence(evidence)).expect("appends");
        }
        drop(ledger);
        let again = Ledger::open(&state, &identity).expect("verifies");
        assert_eq!(again.entries(), 3);
        let stop = Entry::new(Action::Stop, "0.1.0", Outcome::Done);
        again.append(stop).expect("appends");
        assert_eq!(Ledger::inspect(&state, &key).expect("verifies"), 4);
        let other = LogKey::node(SigningIdentity::generate(&mut seeded_rng([7; 32])).public());
        let error = Ledger::inspect(&state, &other).expect_err("another member's");
        assert!(error.to_string().contains("checkpoint"), "{error}");
    }
}
