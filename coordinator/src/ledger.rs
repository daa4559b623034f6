//! What happened, one entry per fact, in a log that cannot be rewritten unseen.
//!
//! `STATE/ledger/` in the format of [`collegium_protocol::ledger`]; callers name facts and evidence
//! only. No row, no secret and no totals' values ever come here.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use collegium_crypto::SigningIdentity;
use collegium_protocol::ledger::read::Folder;
use collegium_protocol::ledger::{Log, LogKey, SignedCheckpoint};
use serde_json::{Value, json};

pub use collegium_protocol::ledger::LedgerError;

/// The directory inside `STATE`.
pub const DIRECTORY: &str = "ledger";

/// What kind of fact an entry states.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The daemon started.
    Start,
    /// The daemon stopped in order.
    Stop,
    /// An invitation was made.
    Invite,
    /// A member or a user got a certificate.
    Join,
    /// A charter was proposed.
    CharterPropose,
    /// A member signed a proposed charter.
    CharterSign,
    /// A charter took effect.
    CharterInForce,
    /// A task was submitted.
    TaskSubmit,
    /// A run began: which round of its task, and the hash of what it remembers.
    RunStart,
    /// A member accepted or refused a run.
    RunOffer,
    /// A secure sum was opened.
    Step,
    /// A secure sum was dropped or failed.
    StepFailed,
    /// The totals of a step were proved to be the sum of what was sent, or not.
    Verify,
    /// A member complained about the share that another dealt it.
    Complaint,
    /// Complaints prove a member faulty.
    Faulty,
    /// A run ended.
    RunEnd,
    /// A champion was registered.
    Champion,
    /// A certificate was refused.
    Refuse,
    /// Somebody asked for something, and the access policy answered.
    Request,
    /// An access policy was loaded, or refused.
    Policy,
    /// A certificate was taken away.
    Revoke,
    /// A certificate was renewed.
    Renew,
}

impl Action {
    /// The word in the ledger.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Invite => "invite",
            Self::Join => "join",
            Self::CharterPropose => "charter-propose",
            Self::CharterSign => "charter-sign",
            Self::CharterInForce => "charter-in-force",
            Self::TaskSubmit => "task-submit",
            Self::RunStart => "run-start",
            Self::RunOffer => "run-offer",
            Self::Step => "step",
            Self::StepFailed => "step-failed",
            Self::Verify => "verify",
            Self::Complaint => "complaint",
            Self::Faulty => "faulty",
            Self::RunEnd => "run-end",
            Self::Champion => "champion",
            Self::Refuse => "refuse",
            Self::Request => "request",
            Self::Policy => "policy",
            Self::Revoke => "revoke",
            Self::Renew => "renew",
        }
    }
}

/// How it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was done.
    Done,
    /// It was refused.
    Refused,
    /// It failed.
    Failed,
}

impl Outcome {
    fn word(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Refused => "refused",
            Self::Failed => "failed",
        }
    }
}

/// A fact to be written down.
#[derive(Clone, Debug)]
pub struct Entry {
    action: Action,
    actor: String,
    object: String,
    outcome: Outcome,
    evidence: Value,
}

impl Entry {
    /// `actor` did `action` to `object`.
    #[must_use]
    pub fn new(action: Action, actor: &str, object: &str, outcome: Outcome) -> Self {
        Self {
            action,
            actor: actor.to_owned(),
            object: object.to_owned(),
            outcome,
            evidence: json!({}),
        }
    }

    /// Hashes and figures that support it.
    #[must_use]
    pub fn evidence(mut self, evidence: Value) -> Self {
        self.evidence = evidence;
        self
    }
}

/// The append-only log; clones share it.
#[derive(Clone, Debug)]
pub struct Ledger {
    log: Log,
}

impl Ledger {
    /// Opens the ledger in `STATE/ledger/`, verifying all of it; `signing` is the key that the charter
    /// names as the coordinator's. An entry that a crash left unfinished is one that nobody relied on
    /// yet; it is cut off.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(state: &Path, signing: &SigningIdentity) -> Result<Self, LedgerError> {
        let own = SigningIdentity::from_bytes(&signing.to_bytes());
        let key = LogKey::coordinator(signing.public());
        let log = Log::open(&directory(state), key, own)?;
        Ok(Self { log })
    }

    /// Appends an entry; it is durable when this returns.
    ///
    /// # Errors
    /// [`LedgerError`]; nothing half-written stays.
    pub fn append(&self, entry: Entry) -> Result<(), LedgerError> {
        let entry = json!({
            "action": entry.action.word(),
            "actor": entry.actor,
            "evidence": entry.evidence,
            "object": entry.object,
            "outcome": entry.outcome.word(),
        });
        self.log.append(entry).map(|_| ())
    }

    /// Entries so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.log.len()
    }

    /// Whether nothing was ever written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Brings tiles and checkpoint up to the last entry; gives the checkpoint.
    ///
    /// # Errors
    /// [`LedgerError`]. Entries stand all the same.
    pub fn publish(&self) -> Result<SignedCheckpoint, LedgerError> {
        self.log.publish()
    }

    /// The log itself, for proofs and cosignatures.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Whether an entry with this action and object exists. Reads all entries;
    /// used after a restart only, to state a fact once.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn states(&self, action: Action, object: &str) -> Result<bool, LedgerError> {
        Ok(self.find(action, object)?.is_some())
    }

    /// The evidence of the first entry with this action and object. Reads the
    /// entries up to it.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn find(&self, action: Action, object: &str) -> Result<Option<Value>, LedgerError> {
        self.log.folder().entries(|_, entry| {
            let Ok(mut entry) = serde_json::from_slice::<Value>(entry) else {
                return ControlFlow::Continue(());
            };
            if entry["action"] == action.word() && entry["object"] == object {
                return ControlFlow::Break(entry["evidence"].take());
            }
            ControlFlow::Continue(())
        })
    }
}

/// The ledger's directory.
#[must_use]
pub fn directory(state: &Path) -> PathBuf {
    state.join(DIRECTORY)
}

/// Every entry of the ledger in `STATE/ledger/`, which is not verified; the daemon may have it open.
///
/// # Errors
/// [`LedgerError`].
pub fn entries(state: &Path) -> Result<Vec<Value>, LedgerError> {
    Folder::new(&directory(state)).values()
}

#[cfg(test)]
mod tests {
    use super::*;
    use collegium_crypto::randomness::seeded_rng;

    fn entry(object: &str) -> Entry {
        Entry::new(Action::Step, "coordinator", object, Outcome::Done)
            .evidence(json!({"z": 1, "a": {"d": 2, "c": [3]}}))
    }

    #[test]
    fn facts_are_found_again_and_keys_are_sorted() {
        let directory = tempfile::tempdir().expect("tempdir");
        let signing = SigningIdentity::generate(&mut seeded_rng([5; 32]));
        let open = || Ledger::open(directory.path(), &signing).expect("opens");
        let ledger = open();
        assert!(ledger.is_empty());
        ledger.append(entry("one")).expect("appends");
        ledger.append(entry("two")).expect("appends");
        drop(ledger);
        let ledger = open();
        ledger.append(entry("three")).expect("appends");
        assert_eq!(ledger.len(), 3);
        for object in ["two", "three"] {
            assert!(ledger.states(Action::Step, object).expect("reads"));
        }
        assert!(!ledger.states(Action::Stop, "two").expect("reads"));
        let evidence = ledger.find(Action::Step, "one").expect("reads");
        let text = evidence.expect("is there").to_string();
        assert_eq!(text, r#"{"a":{"c":[3],"d":2},"z":1}"#);
        let all = entries(directory.path()).expect("reads while it is open");
        assert_eq!(all.len(), 3);
        assert_eq!(all[2]["object"], "three");
    }
}
