//! Ledgers to be tampered with.

use std::fs;
use std::path::{Path, PathBuf};

use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::randomness::seeded_rng;
use collegium_protocol::IdentityKey;
use collegium_protocol::ledger::read::Folder;
use collegium_protocol::ledger::verify::{Expected, Report, Seen, verify};
use collegium_protocol::ledger::{Log, LogKey, SignedCheckpoint};
use serde_json::{Value, json};

pub fn identity(number: u8) -> SigningIdentity {
    SigningIdentity::generate(&mut seeded_rng([number; 32]))
}

pub fn key() -> LogKey {
    LogKey::coordinator(identity(1).public())
}

pub fn open(folder: &Path) -> Log {
    Log::open(folder, key(), identity(1)).expect("opens")
}

/// An entry as daemons write them; the words are the caller's.
pub fn fact(object: &str) -> Value {
    json!({
        "action": "step",
        "actor": "coordinator",
        "evidence": {"contributors": ["hospital-a", "hospital-b"], "numbers": 12},
        "object": object,
        "outcome": "done",
    })
}

/// Appends facts numbered from the log's length up to `size`.
pub fn fill(log: &Log, size: u64) {
    for number in log.len()..size {
        log.append(fact(&format!("run/{number}"))).expect("appends");
    }
}

/// A log of `size` entries, all under its checkpoint.
pub fn filled(folder: &Path, size: u64) -> SignedCheckpoint {
    let log = open(folder);
    fill(&log, size);
    log.publish().expect("publishes")
}

pub fn seen(by: &str, note: &SignedCheckpoint) -> Seen {
    let checkpoint = note.checkpoint();
    Seen {
        by: by.to_owned(),
        size: checkpoint.size,
        root: checkpoint.root,
    }
}

pub fn check(folder: &Path, witnesses: &[IdentityKey], seen: &[Seen]) -> Report {
    let expected = Expected {
        log: &key(),
        witnesses: Some(witnesses),
        seen,
    };
    verify(&Folder::new(folder), &expected, &mut |_, _| {}).expect("can be read")
}

/// Everything under a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

pub fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("inside"));
        fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
        fs::copy(&file, &target).expect("copies");
    }
}
