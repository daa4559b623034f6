//! The node's own ledger: what this site was asked, and what it did about it.
//!
//! One entry for one fact, appended to `STATE/ledger/entries.jsonl` and synced before the fact
//! becomes visible to anybody. Entries are chained by hashes, so that a changed or removed
//! entry is found when the file is opened. No row, no secret and no figure stands in it.
//!
//! This module is the only one that knows the format; a format with inclusion proofs can
//! replace it behind [`Ledger::append`].

use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use collegium_crypto::transcript::{Digest, hash};
use serde::{Deserialize, Serialize};

/// Domain of the chain's hash.
const DOMAIN: &str = "collegium/node-ledger-entry/v1";
/// Longest line accepted when reading back: an entry holds a few names, hashes and one
/// contributing set of at most 64 names of 40 bytes, so 64 KiB is ten times the largest.
const LONGEST_LINE: usize = 64 * 1024;

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

/// An entry with its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Line {
    /// From 0, without gaps.
    sequence: u64,
    /// Milliseconds since 1970-01-01 UTC, as this machine's clock has it.
    time_ms: u64,
    #[serde(flatten)]
    entry: Entry,
    /// Chain hash of the line before, zeros for the first.
    previous: Digest,
    /// Hash over everything above.
    hash: Digest,
}

/// The open ledger; clones share it.
#[derive(Debug, Clone)]
pub struct Ledger {
    inner: Arc<Mutex<Open>>,
    path: PathBuf,
}

#[derive(Debug)]
struct Open {
    file: File,
    tail: Tail,
}

/// The end of the chain.
#[derive(Debug)]
struct Tail {
    /// Number of the next entry.
    next: u64,
    /// Hash of the last entry, zeros when there is none.
    last: Digest,
    /// Where the last whole line ends.
    length: u64,
}

/// Why the ledger cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// The file cannot be read or written.
    #[error("the ledger {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// An entry does not follow from the one before.
    #[error(
        "the ledger {path} is damaged at entry {entry}: {reason}; keep the file, put it back \
         from a backup, and find out who changed it"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The first entry that does not fit, from 0.
        entry: u64,
        /// What is wrong with it.
        reason: String,
    },
}

impl Ledger {
    /// Opens or creates the ledger in `directory` and checks the whole chain. A last line that
    /// a crash left incomplete was never acknowledged to anybody and is cut off.
    ///
    /// # Errors
    /// [`LedgerError`], when a file cannot be used or an entry does not fit.
    pub fn open(directory: &Path) -> Result<Self, LedgerError> {
        let path = directory.join("entries.jsonl");
        let io = |source| LedgerError::Io {
            path: path.clone(),
            source,
        };
        std::fs::create_dir_all(directory).map_err(io)?;
        let file = OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(&path)
            .map_err(io)?;
        let tail = verify(&path, &file)?;
        if file.metadata().map_err(io)?.len() > tail.length {
            tracing::warn!(file = %path.display(), "cut off a ledger line that a crash left incomplete");
            file.set_len(tail.length).map_err(io)?;
        }
        file.sync_all().map_err(io)?;
        File::open(directory)
            .and_then(|d| d.sync_all())
            .map_err(io)?;
        Ok(Self {
            inner: Arc::new(Mutex::new(Open { file, tail })),
            path,
        })
    }

    /// Checks the ledger in `directory` without changing it; gives the number of entries, 0
    /// where there is no ledger yet.
    ///
    /// # Errors
    /// As [`Ledger::open`].
    pub fn inspect(directory: &Path) -> Result<u64, LedgerError> {
        let path = directory.join("entries.jsonl");
        match File::open(&path) {
            Ok(file) => Ok(verify(&path, &file)?.next),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(LedgerError::Io { path, source }),
        }
    }

    /// Appends one entry; it is on the disk when this returns. Blocks for one sync.
    ///
    /// # Errors
    /// [`LedgerError::Io`], when it cannot be written; nothing half-written stays.
    pub fn append(&self, entry: Entry) -> Result<(), LedgerError> {
        let mut open = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let Open { file, tail } = &mut *open;
        let time_ms = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX));
        let mut line = Line {
            sequence: tail.next,
            time_ms,
            entry,
            previous: tail.last,
            hash: tail.last,
        };
        let io = |source| LedgerError::Io {
            path: self.path.clone(),
            source,
        };
        line.hash = line.computed_hash();
        let mut bytes = serde_json::to_vec(&line).map_err(|error| io(error.into()))?;
        bytes.push(b'\n');
        let written = file.write_all(&bytes).and_then(|()| file.sync_data());
        if let Err(error) = written {
            // A full disk can leave half a line; take it back so that the next one is readable.
            let _ = file.set_len(tail.length);
            return Err(io(error));
        }
        tail.length += bytes.len() as u64;
        tail.next += 1;
        tail.last = line.hash;
        Ok(())
    }

    /// Number of entries.
    #[must_use]
    pub fn entries(&self) -> u64 {
        self.inner
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .tail
            .next
    }
}

impl Line {
    fn computed_hash(&self) -> Digest {
        // The entry's own JSON text is what is hashed: field order is fixed by the types, and
        // `serde_json` keeps the order of the evidence as written.
        let entry = serde_json::to_vec(&self.entry).unwrap_or_default();
        hash(
            DOMAIN,
            &[
                &self.previous.0,
                &self.sequence.to_le_bytes(),
                &self.time_ms.to_le_bytes(),
                &entry,
            ],
        )
    }
}

fn verify(path: &Path, file: &File) -> Result<Tail, LedgerError> {
    let io = |source| LedgerError::Io {
        path: path.to_owned(),
        source,
    };
    let mut state = Tail {
        next: 0,
        last: Digest([0; 32]),
        length: 0,
    };
    let mut reader = BufReader::new(file);
    reader.seek(SeekFrom::Start(0)).map_err(io)?;
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        let damaged = |reason: &str| LedgerError::Damaged {
            path: path.to_owned(),
            entry: state.next,
            reason: reason.to_owned(),
        };
        let limit = LONGEST_LINE as u64 + 1;
        let read = std::io::Read::take(&mut reader, limit)
            .read_until(b'\n', &mut bytes)
            .map_err(io)?;
        if read > LONGEST_LINE {
            return Err(damaged("the line is longer than any entry"));
        }
        if bytes.last() != Some(&b'\n') {
            // The end, or what a crash left of the last line.
            return Ok(state);
        }
        let line: Line = serde_json::from_slice(&bytes)
            .map_err(|error| damaged(&format!("it is not an entry ({error})")))?;
        if line.sequence != state.next {
            return Err(damaged(&format!("it has the number {}", line.sequence)));
        }
        if line.previous != state.last {
            return Err(damaged("it does not follow from the entry before"));
        }
        if line.hash != line.computed_hash() {
            return Err(damaged("its content does not match its hash"));
        }
        state.next += 1;
        state.last = line.hash;
        state.length += read as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(directory: &Path, count: usize) -> PathBuf {
        let ledger = Ledger::open(directory).expect("opens");
        for step in 0..count {
            let evidence = serde_json::json!({"members": ["a", "b"], "ask": "00ff", "real": 0.1});
            ledger
                .append(
                    Entry::new(Action::Ask, format!("run/{step}"), Outcome::Done)
                        .evidence(evidence),
                )
                .expect("appends");
        }
        assert_eq!(ledger.entries(), count as u64);
        directory.join("entries.jsonl")
    }

    #[test]
    fn a_reopened_ledger_goes_on_where_it_was() {
        let directory = tempfile::tempdir().expect("tempdir");
        filled(directory.path(), 3);
        let again = Ledger::open(directory.path()).expect("verifies");
        assert_eq!(again.entries(), 3);
        again
            .append(Entry::new(Action::Stop, "0.1.0", Outcome::Done))
            .expect("appends");
        drop(again);
        assert_eq!(
            Ledger::open(directory.path()).expect("verifies").entries(),
            4
        );
    }

    #[test]
    fn a_torn_last_line_is_cut_and_not_read_as_whole() {
        let directory = tempfile::tempdir().expect("tempdir");
        let file = filled(directory.path(), 2);
        let whole = std::fs::read(&file).expect("reads");
        let one = whole.iter().position(|b| *b == b'\n').expect("a line") + 1;
        for cut in one..whole.len() {
            std::fs::write(&file, &whole[..cut]).expect("writes");
            assert_eq!(
                Ledger::open(directory.path()).expect("opens").entries(),
                1,
                "{cut}"
            );
            assert_eq!(std::fs::read(&file).expect("reads"), &whole[..one]);
        }
    }

    #[test]
    fn a_changed_removed_or_swapped_entry_is_named() {
        let directory = tempfile::tempdir().expect("tempdir");
        let file = filled(directory.path(), 4);
        let text = std::fs::read_to_string(&file).expect("reads");
        let lines: Vec<&str> = text.lines().collect();
        let changed = text.replacen("run/1", "run/9", 1);
        let removed = [lines[0], lines[2], lines[3]].join("\n") + "\n";
        let swapped = [lines[0], lines[2], lines[1], lines[3]].join("\n") + "\n";
        let refused = text.replacen("\"outcome\":\"done\"", "\"outcome\":\"refused\"", 1);
        for (text, at) in [(changed, 1), (removed, 1), (swapped, 1), (refused, 0)] {
            std::fs::write(&file, text).expect("writes");
            match Ledger::open(directory.path()) {
                Err(LedgerError::Damaged { entry, .. }) => assert_eq!(entry, at),
                other => panic!("damage at {at} was not found: {other:?}"),
            }
        }
    }
}
