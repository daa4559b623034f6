//! What happened, one line per fact, chained by hashes.
//!
//! `STATE/ledger/entries.jsonl`: each line is canonical JSON (keys sorted, no
//! spaces) that carries its number and the hash of the line before it. The
//! final format is a transparency log with signed checkpoints; callers name
//! facts and evidence only, so that replacing the format touches this file
//! alone. No row, no secret and no totals' values ever come here.

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use collegium_crypto::transcript::{self, Digest, domain};
use serde_json::{Map, Value, json};

/// The file inside `STATE/ledger/`.
pub const FILE_NAME: &str = "entries.jsonl";

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

/// What can go wrong with the ledger.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be read or written.
    #[error("ledger {path}: {source} (is the disk full or read-only?)")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An entry does not fit its neighbours.
    #[error(
        "ledger {path}, line {line}: {detail}; it was changed or damaged, restore it from a copy"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: u64,
        /// What does not fit.
        detail: String,
    },
}

/// The append-only log; clones share it.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: PathBuf,
    tail: Arc<Mutex<Tail>>,
}

#[derive(Debug)]
struct Tail {
    file: File,
    next: u64,
    head: Digest,
    /// Length up to the last whole line; a failed write is cut back to it.
    length: u64,
}

impl Ledger {
    /// Opens the ledger in `STATE/ledger/`, checking the whole chain. A last line
    /// without its end is what a crash leaves of an entry nobody relied on yet;
    /// it is cut off.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn open(state: &Path) -> Result<Self, LedgerError> {
        let directory = state.join("ledger");
        let path = directory.join(FILE_NAME);
        let io = |source| LedgerError::Io {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(&directory).map_err(io)?;
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .map_err(io)?;
        // A new file's name is durable only when its directory is.
        File::open(&directory)
            .and_then(|directory| directory.sync_all())
            .map_err(io)?;
        let (next, head, length) = verify(&path, &mut file)?;
        if file.metadata().map_err(io)?.len() > length {
            tracing::warn!(path = %path.display(), "cut an unfinished last entry off the ledger");
            file.set_len(length)
                .and_then(|()| file.sync_all())
                .map_err(io)?;
        }
        Ok(Self {
            path,
            tail: Arc::new(Mutex::new(Tail {
                file,
                next,
                head,
                length,
            })),
        })
    }

    /// Appends an entry; it is durable when this returns.
    ///
    /// # Errors
    /// [`LedgerError::Io`]; nothing half-written stays.
    pub fn append(&self, entry: Entry) -> Result<(), LedgerError> {
        let io = |source| LedgerError::Io {
            path: self.path.clone(),
            source,
        };
        // The tail is consistent after every step below, so a poisoned lock is harmless.
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        let mut line = canonical(json!({
            "action": entry.action.word(),
            "actor": entry.actor,
            "evidence": entry.evidence,
            "number": tail.next,
            "object": entry.object,
            "outcome": entry.outcome.word(),
            "previous": tail.head.to_string(),
            "time": crate::store::now_seconds(),
        }))
        .to_string();
        let head = transcript::hash(domain::LEDGER_LINE, &[line.as_bytes()]);
        line.push('\n');
        if let Err(source) = tail
            .file
            .write_all(line.as_bytes())
            .and_then(|()| tail.file.sync_data())
        {
            let length = tail.length;
            // Best effort: `open` cuts an unfinished line off as well.
            let _ = tail.file.set_len(length);
            return Err(io(source));
        }
        tail.length += line.len() as u64;
        tail.next += 1;
        tail.head = head;
        Ok(())
    }

    /// Entries so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.tail
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .next
    }

    /// Whether nothing was ever written.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether an entry with this action and object exists. Reads the whole
    /// file; used after a restart only, to state a fact once.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    pub fn states(&self, action: Action, object: &str) -> Result<bool, LedgerError> {
        Ok(self.find(action, object)?.is_some())
    }

    /// The evidence of the first entry with this action and object. Reads the
    /// file up to it.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    pub fn find(&self, action: Action, object: &str) -> Result<Option<Value>, LedgerError> {
        let io = |source| LedgerError::Io {
            path: self.path.clone(),
            source,
        };
        for line in BufReader::new(File::open(&self.path).map_err(io)?).lines() {
            let Ok(mut entry) = serde_json::from_str::<Value>(&line.map_err(io)?) else {
                continue;
            };
            if entry["action"] == action.word() && entry["object"] == object {
                return Ok(Some(entry["evidence"].take()));
            }
        }
        Ok(None)
    }
}

/// The hash before the first line.
fn genesis() -> Digest {
    transcript::hash(domain::LEDGER_LINE, &[])
}

/// Walks the chain: the next number, the hash of the last line, the length of
/// all whole lines.
fn verify(path: &Path, file: &mut File) -> Result<(u64, Digest, u64), LedgerError> {
    let io = |source| LedgerError::Io {
        path: path.to_owned(),
        source,
    };
    file.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut reader = BufReader::new(&*file);
    let (mut next, mut head, mut length) = (0_u64, genesis(), 0_u64);
    let mut line = Vec::new();
    loop {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(io)?;
        if read == 0 || line.last() != Some(&b'\n') {
            return Ok((next, head, length));
        }
        line.pop();
        let damaged = |detail: String| LedgerError::Damaged {
            path: path.to_owned(),
            line: next + 1,
            detail,
        };
        let entry: Value =
            serde_json::from_slice(&line).map_err(|error| damaged(error.to_string()))?;
        if entry["previous"] != head.to_string() {
            return Err(damaged("it does not follow the line before it".to_owned()));
        }
        if entry["number"] != next {
            return Err(damaged(format!("it should have number {next}")));
        }
        head = transcript::hash(domain::LEDGER_LINE, &[&line]);
        next += 1;
        length += read as u64;
    }
}

/// The same value with every object's keys sorted.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.into_iter().collect();
            members.sort_by(|left, right| left.0.cmp(&right.0));
            Value::Object(
                members
                    .into_iter()
                    .map(|(key, inner)| (key, canonical(inner)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(object: &str) -> Entry {
        Entry::new(Action::Step, "coordinator", object, Outcome::Done)
            .evidence(json!({"z": 1, "a": {"d": 2, "c": [3]}}))
    }

    #[test]
    fn the_chain_survives_reopening_and_keys_are_sorted() {
        let directory = tempfile::tempdir().expect("tempdir");
        let ledger = Ledger::open(directory.path()).expect("opens");
        assert!(ledger.is_empty());
        ledger.append(entry("one")).expect("appends");
        ledger.append(entry("two")).expect("appends");
        drop(ledger);
        let ledger = Ledger::open(directory.path()).expect("opens again");
        ledger.append(entry("three")).expect("appends");
        assert_eq!(ledger.len(), 3);
        assert!(ledger.states(Action::Step, "two").expect("reads"));
        assert!(!ledger.states(Action::Stop, "two").expect("reads"));
        let text = std::fs::read_to_string(directory.path().join("ledger").join(FILE_NAME))
            .expect("reads");
        assert!(
            text.lines()
                .all(|line| line.contains(r#""evidence":{"a":{"c":[3],"d":2},"z":1}"#)),
            "{text}"
        );
        Ledger::open(directory.path()).expect("the chain still holds");
    }

    #[test]
    fn a_changed_removed_or_swapped_line_is_named() {
        let directory = tempfile::tempdir().expect("tempdir");
        let ledger = Ledger::open(directory.path()).expect("opens");
        for object in ["one", "two", "three"] {
            ledger.append(entry(object)).expect("appends");
        }
        let path = directory.path().join("ledger").join(FILE_NAME);
        let text = std::fs::read_to_string(&path).expect("reads");
        let lines: Vec<&str> = text.lines().collect();
        let changed = text.replace("\"two\"", "\"TWO\"");
        let removed = format!("{}\n{}\n", lines[0], lines[2]);
        let swapped = format!("{}\n{}\n{}\n", lines[1], lines[0], lines[2]);
        for (damaged, line) in [(changed, 3), (removed, 2), (swapped, 1)] {
            std::fs::write(&path, damaged).expect("writes");
            let error = Ledger::open(directory.path())
                .expect_err("damaged")
                .to_string();
            assert!(error.contains(&format!("line {line}:")), "{error}");
        }
    }

    #[test]
    fn what_a_crash_leaves_of_the_last_line_is_cut_off() {
        let directory = tempfile::tempdir().expect("tempdir");
        let ledger = Ledger::open(directory.path()).expect("opens");
        ledger.append(entry("one")).expect("appends");
        drop(ledger);
        let path = directory.path().join("ledger").join(FILE_NAME);
        let mut text = std::fs::read_to_string(&path).expect("reads");
        text.push_str("{\"action\":\"st");
        std::fs::write(&path, text).expect("writes");
        let ledger = Ledger::open(directory.path()).expect("opens");
        assert_eq!(ledger.len(), 1);
        ledger.append(entry("two")).expect("appends");
        drop(ledger);
        assert_eq!(Ledger::open(directory.path()).expect("whole").len(), 2);
    }
}
