//! What is tampered with, and what the verification says of it: what, where, and what was expected.

use std::fs;
use std::path::{Path, PathBuf};

use collegium_protocol::ledger::note::SignedCheckpoint;
use collegium_protocol::ledger::tile::{encode_entry, split_entry};
use collegium_protocol::ledger::verify::{Finding, Kind};
use tempfile::TempDir;

use super::support::{check, copy, fact, fill, filled, identity, open, seen};

const SIZE: u64 = 300;

const ENTRIES: &str = "tile/entries/000";
const LAST_ENTRIES: &str = "tile/entries/001.p/44";
const HASHES: &str = "tile/0/000";
const LAST_HASHES: &str = "tile/0/001.p/44";
const UPPER: &str = "tile/1/000.p/1";

/// A ledger of [`SIZE`] entries, and a fresh copy of it for each tampering.
struct Ledgers {
    directory: TempDir,
    note: SignedCheckpoint,
    copies: u32,
}

impl Ledgers {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        let note = filled(&directory.path().join("original"), SIZE);
        let mut ledgers = Self {
            directory,
            note,
            copies: 0,
        };
        let untouched = ledgers.copy();
        let report = check(&untouched, &[], &[seen("the test", &ledgers.note)]);
        assert!(report.is_clean(), "{:?}", report.findings);
        assert_eq!((report.size, report.published), (SIZE, SIZE));
        ledgers
    }

    fn copy(&mut self) -> PathBuf {
        self.copies += 1;
        let folder = self.directory.path().join(format!("copy-{}", self.copies));
        copy(&self.directory.path().join("original"), &folder);
        folder
    }

    /// Changes a file of a copy; what is found.
    fn change(&mut self, file: &str, change: impl FnOnce(&mut Vec<u8>)) -> Vec<Finding> {
        let folder = self.copy();
        let path = folder.join(file);
        let mut bytes = fs::read(&path).expect("reads");
        change(&mut bytes);
        fs::write(&path, bytes).expect("writes");
        check(&folder, &[], &[]).findings
    }
}

/// The finding that names a file, and an entry where one is meant.
fn names(findings: &[Finding], kind: Kind, file: &str, entry: Option<u64>) -> Finding {
    let same = |it: &&Finding| {
        it.kind == kind && it.file == file && (entry.is_none() || it.entry == entry)
    };
    let found = findings.iter().find(same);
    found
        .unwrap_or_else(|| panic!("no {kind} of {file} at {entry:?} in {findings:#?}"))
        .clone()
}

/// The entries of a tile, in the given order.
fn reordered(bytes: &[u8], order: impl FnOnce(&mut Vec<Vec<u8>>)) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut rest = bytes;
    while let Some((entry, after)) = split_entry(rest) {
        entries.push(entry.to_vec());
        rest = after;
    }
    order(&mut entries);
    let mut bytes = Vec::new();
    for entry in &entries {
        encode_entry(entry, &mut bytes);
    }
    bytes
}

#[test]
fn changed_entries_are_named() {
    let mut ledgers = Ledgers::new();
    let damage =
        |findings: &[Finding], file, entry| names(findings, Kind::Damage, file, Some(entry));
    // One letter of one entry.
    for (file, number) in [(ENTRIES, 123_u64), (LAST_ENTRIES, 299)] {
        let findings = ledgers.change(file, |bytes| {
            let word = format!("run/{number}");
            let at = bytes
                .windows(word.len())
                .position(|it| it == word.as_bytes());
            bytes[at.expect("there")] = b'R';
        });
        let found = damage(&findings, file, number);
        assert!(found.detail.contains("expected"), "{found}");
    }
    // Removed, repeated, swapped, put in.
    let findings = ledgers.change(ENTRIES, |bytes| {
        *bytes = reordered(bytes, |entries| drop(entries.remove(7)));
    });
    damage(&findings, ENTRIES, 7);
    let findings = ledgers.change(ENTRIES, |bytes| {
        *bytes = reordered(bytes, |entries| entries.swap(20, 30));
    });
    damage(&findings, ENTRIES, 20);
    let findings = ledgers.change(LAST_ENTRIES, |bytes| {
        *bytes = reordered(bytes, |entries| entries.insert(2, entries[0].clone()));
    });
    damage(&findings, LAST_ENTRIES, 258);
    // The file shorter and longer.
    let findings = ledgers.change(ENTRIES, |bytes| bytes.truncate(bytes.len() - 1));
    damage(&findings, ENTRIES, 255);
    let findings = ledgers.change(LAST_ENTRIES, |bytes| bytes.extend(b"more"));
    assert!(
        names(&findings, Kind::Damage, LAST_ENTRIES, None)
            .detail
            .contains("4 bytes")
    );
    // Away.
    let folder = ledgers.copy();
    fs::remove_file(folder.join(ENTRIES)).expect("removes");
    names(
        &check(&folder, &[], &[]).findings,
        Kind::Damage,
        ENTRIES,
        Some(0),
    );
}

#[test]
fn changed_hashes_are_named_and_entries_are_not() {
    let mut ledgers = Ledgers::new();
    for (file, place, entry) in [(HASHES, 200, 200), (LAST_HASHES, 3, 259), (UPPER, 0, 0)] {
        let findings = ledgers.change(file, |bytes| bytes[32 * place + 5] ^= 0x10);
        assert_eq!(findings.len(), 1, "{findings:#?}");
        let found = names(&findings, Kind::Damage, file, Some(entry));
        assert!(found.detail.contains("expected"), "{found}");
        let findings = ledgers.change(file, |bytes| bytes.truncate(bytes.len() - 1));
        names(&findings, Kind::Damage, file, None);
        let findings = ledgers.change(file, |bytes| bytes.extend([0; 32]));
        names(&findings, Kind::Damage, file, None);
        let folder = ledgers.copy();
        fs::remove_file(folder.join(file)).expect("removes");
        names(&check(&folder, &[], &[]).findings, Kind::Damage, file, None);
    }
    // Two tiles in each other's place.
    let folder = ledgers.copy();
    fs::copy(folder.join(LAST_HASHES), folder.join(HASHES)).expect("copies");
    names(
        &check(&folder, &[], &[]).findings,
        Kind::Damage,
        HASHES,
        Some(0),
    );
}

#[test]
fn checkpoints_count_only_with_the_logs_signature() {
    let mut ledgers = Ledgers::new();
    let text = ledgers.note.to_text();
    for place in 0..text.len() {
        let findings = ledgers.change("checkpoint", |bytes| bytes[place] ^= 1);
        names(&findings, Kind::Damage, "checkpoint", None);
    }
    let findings = ledgers.change("checkpoint", |bytes| bytes.clear());
    names(&findings, Kind::Damage, "checkpoint", None);
    let folder = ledgers.copy();
    fs::remove_file(folder.join("checkpoint")).expect("removes");
    names(
        &check(&folder, &[], &[]).findings,
        Kind::Damage,
        "checkpoint",
        None,
    );
    // Signed by somebody else.
    let findings = ledgers.change("checkpoint", |bytes| {
        let note = SignedCheckpoint::parse(bytes).expect("a note");
        *bytes = note
            .checkpoint()
            .clone()
            .sign(&identity(2))
            .to_text()
            .into_bytes();
    });
    names(&findings, Kind::Damage, "checkpoint", None);
}

#[test]
fn what_is_pending_is_signed_too() {
    let mut ledgers = Ledgers::new();
    let folder = ledgers.copy();
    let log = open(&folder);
    fill(&log, SIZE + 3);
    let live = ledgers.directory.path().join("live");
    copy(&folder, &live);
    let last = log.publish().expect("publishes");
    let report = check(&live, &[], &[]);
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((report.size, report.published), (SIZE + 3, SIZE));
    let pending = fs::read(live.join("pending")).expect("reads");
    for place in 0..pending.len() {
        let mut changed = pending.clone();
        changed[place] ^= 4;
        fs::write(live.join("pending"), changed).expect("writes");
        let report = check(&live, &[], &[]);
        assert!(!report.is_clean(), "byte {place}");
    }
    // Records taken away at the end are an older state; whoever saw the newer one can tell.
    fs::write(live.join("pending"), b"").expect("writes");
    assert!(check(&live, &[], &[]).is_clean());
    let report = check(&live, &[], &[seen("an auditor", &last)]);
    let found = names(&report.findings, Kind::Rollback, "checkpoint", Some(SIZE));
    assert!(
        found.detail.contains("an auditor saw 303 entries"),
        "{found}"
    );
}

#[test]
fn a_rollback_and_a_fork_are_told_by_what_others_saw() {
    let mut ledgers = Ledgers::new();
    let folder = ledgers.copy();
    let log = open(&folder);
    fill(&log, 520);
    let later = log.publish().expect("publishes");
    drop(log);
    let known = [seen("hospital-a", &later)];
    assert!(check(&folder, &[], &known).is_clean());

    // An older state: consistent in itself.
    let old = ledgers.copy();
    assert!(check(&old, &[], &[]).is_clean());
    let report = check(&old, &[], &known);
    let found = names(&report.findings, Kind::Rollback, "checkpoint", Some(SIZE));
    assert!(
        found.detail.contains("hospital-a saw 520 entries"),
        "{found}"
    );

    // The old checkpoint in the newer folder leaves tiles that nothing covers.
    fs::copy(old.join("checkpoint"), folder.join("checkpoint")).expect("copies");
    let report = check(&folder, &[], &[]);
    assert!(report.holds(), "{:?}", report.findings);
    assert_eq!(report.size, SIZE);
    names(&report.findings, Kind::Stray, "tile/entries/001", None);

    // Another history, signed by the coordinator itself.
    let fork = ledgers.directory.path().join("fork");
    let log = open(&fork);
    log.append(fact("something else")).expect("appends");
    fill(&log, 600);
    drop(log);
    assert!(check(&fork, &[], &[]).is_clean());
    let report = check(&fork, &[], &known);
    let found = names(&report.findings, Kind::Fork, "checkpoint", None);
    assert!(found.detail.contains("two histories"), "{found}");
}

#[test]
fn a_history_that_was_rewritten_without_the_key_does_not_fit_the_checkpoint() {
    let mut ledgers = Ledgers::new();
    let folder = ledgers.copy();
    let other = ledgers.directory.path().join("other");
    let log = open(&other);
    log.append(fact("something else")).expect("appends");
    fill(&log, SIZE);
    log.publish().expect("publishes");
    fs::remove_dir_all(folder.join("tile")).expect("removes");
    copy(&other.join("tile"), &folder.join("tile"));
    let report = check(&folder, &[], &[]);
    let found = names(&report.findings, Kind::Damage, "checkpoint", None);
    assert!(found.detail.contains("were changed"), "{found}");
}

#[test]
fn whatever_else_lies_there_is_reported() {
    let mut ledgers = Ledgers::new();
    let folder = ledgers.copy();
    let strays = [
        "notes.txt",
        "tile/0/002",
        "tile/0/000.p/notes",
        "tile/2/000",
        "tile/entries/.hidden",
    ];
    for stray in strays {
        let path = folder.join(stray);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, [0; 8192]).expect("writes");
    }
    std::os::unix::fs::symlink(Path::new("/etc/hosts"), folder.join("link")).expect("links");
    let report = check(&folder, &[], &[]);
    assert!(report.holds(), "{:?}", report.findings);
    for stray in strays.iter().chain(&["link"]) {
        names(&report.findings, Kind::Stray, stray, None);
    }
    assert_eq!(
        report.findings.len(),
        strays.len() + 1,
        "{:#?}",
        report.findings
    );
    // The daemon goes on all the same.
    fill(&open(&folder), SIZE + 1);
}
