//! Copies that are brought up to date from a source that may lie.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use collegium_protocol::ledger::copy::{Copied, CopyError, Copying};
use collegium_protocol::ledger::read::Folder;
use collegium_protocol::ledger::tile::TileName;
use collegium_protocol::ledger::tree::root_at;
use collegium_protocol::ledger::{Log, LogKey};
use tempfile::TempDir;

use super::support::{check, fact, files, fill, identity, open, seen};

/// Brings `copy` up to date from `log`, as the command does; gives what came as well.
fn fetch(log: &Log, copy: &Path) -> Result<(Copied, Vec<TileName>), CopyError> {
    let note = log.publish().expect("publishes").to_text();
    let copying = Copying::begin(copy, note.as_bytes())?;
    let missing: Vec<TileName> = copying.missing().collect();
    for name in &missing {
        let found = log.folder().tile(*name).expect("reads");
        let found = found.or_else(|| log.folder().tile(name.full()).expect("reads"));
        copying.take(*name, &found.expect("a tile"))?;
    }
    Ok((copying.finish(None)?, missing))
}

/// Every file of a folder with its bytes.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let read = |path: PathBuf| (path.clone(), fs::read(&path).expect("reads"));
    files(folder).into_iter().map(read).collect()
}

struct Room(TempDir);

impl Room {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("tempdir"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// A ledger whose history is another from the first entry on.
    fn rewritten(&self, size: u64) -> Log {
        let log = open(&self.path("rewritten"));
        log.append(fact("something else")).expect("appends");
        fill(&log, size);
        log
    }
}

#[test]
fn only_what_is_new_comes_and_the_copy_verifies() {
    let room = Room::new();
    let (log, copy) = (open(&room.path("log")), room.path("far/copy"));
    let mut before = 0;
    for size in [1, 7, 255, 256, 257, 511, 700, 701] {
        fill(&log, size);
        let (copied, came) = fetch(&log, &copy).expect("copied");
        assert_eq!((copied.before, copied.entries), (before, size));
        assert_eq!(copied.tiles, came.len() as u64);
        for name in &came {
            let known = name.is_full() && name.is_in(before);
            assert!(!known, "{name} came again at {size}");
        }
        let note = log.publish().expect("publishes");
        let report = check(&copy, &[], &[seen("the log", &note)]);
        assert!(report.is_clean(), "{size}: {:?}", report.findings);
        assert_eq!((report.size, report.published), (size, size));
        // Earlier states can be proved from it, though their partial tiles never came.
        for earlier in [size.div_ceil(2), size - size / 256, size] {
            let of = |folder: &Path| {
                let folder = Folder::new(folder);
                let entry = folder.entry(earlier - 1, earlier).expect("reads");
                let root = root_at(&mut folder.nodes(earlier), earlier);
                (entry.expect("an entry"), root.expect("a root"))
            };
            assert_eq!(of(&copy), of(log.folder().path()), "{earlier} of {size}");
        }
        before = size;
    }
    let (copied, came) = fetch(&log, &copy).expect("copied");
    assert_eq!((copied.before, copied.entries, came.len()), (701, 701, 0));
    assert_eq!(
        files(&room.path("far")),
        files(&copy),
        "nothing stays beside it"
    );
}

#[test]
fn an_attempt_that_broke_off_is_gone_on_with() {
    let room = Room::new();
    let (log, copy) = (open(&room.path("log")), room.path("copy"));
    fill(&log, 600);
    let note = log.publish().expect("publishes").to_text();
    let copying = Copying::begin(&copy, note.as_bytes()).expect("begins");
    let first = copying.missing().next().expect("a tile");
    let bytes = log.folder().tile(first).expect("reads").expect("a tile");
    copying.take(first, &bytes).expect("taken");
    drop(copying);
    // Meanwhile a tile that was not full has become so.
    fill(&log, 800);
    let (copied, came) = fetch(&log, &copy).expect("copied");
    assert_eq!((copied.before, copied.entries), (0, 800));
    assert!(!came.contains(&first), "{first} came again");
    assert!(check(&copy, &[], &[]).is_clean());

    // One that was begun before the ledger grew on gets the full tile in the place of the partial one.
    let note = log.publish().expect("publishes").to_text();
    let other = room.path("other");
    let copying = Copying::begin(&other, note.as_bytes()).expect("begins");
    fill(&log, 1100);
    log.publish().expect("publishes");
    for name in copying.missing().collect::<Vec<_>>() {
        let bytes = match log.folder().tile(name).expect("reads") {
            Some(bytes) => bytes,
            None => log
                .folder()
                .tile(name.full())
                .expect("reads")
                .expect("full"),
        };
        copying.take(name, &bytes).expect("taken");
    }
    assert_eq!(copying.finish(None).expect("copied").entries, 800);
    assert!(check(&other, &[], &[]).is_clean());
}

#[test]
fn a_rewritten_history_is_refused_and_the_copy_stays() {
    for (had, offered) in [(40, 41), (40, 700), (700, 701), (300, 300)] {
        let room = Room::new();
        let copy = room.path("copy");
        let log = open(&room.path("log"));
        fill(&log, had);
        fetch(&log, &copy).expect("copied");
        let before = contents(&copy);
        let error = fetch(&room.rewritten(offered), &copy).expect_err("another history");
        let CopyError::Rewritten { kept, .. } = &error else {
            panic!("{had} and {offered}: {error}")
        };
        let words = format!("ledger of {offered} entries does not begin with the {had}");
        assert!(error.to_string().contains(&words), "{error}");
        assert_eq!(contents(&copy), before, "the copy stays");
        assert!(kept.join("checkpoint").exists(), "the lie is kept");
        // The honest ledger is taken afterwards.
        fill(&log, had + 5);
        fetch(&log, &copy).expect("the one that it knows");
        assert!(check(&copy, &[], &[]).is_clean());
    }
}

#[test]
fn entries_that_were_taken_back_another_coordinator_and_garbage_are_refused() {
    let room = Room::new();
    let (log, copy) = (open(&room.path("log")), room.path("copy"));
    fill(&log, 30);
    fetch(&log, &copy).expect("copied");
    let before = contents(&copy);
    let error = fetch(&room.rewritten(29), &copy).expect_err("shorter");
    let taken_back = matches!(
        error,
        CopyError::Rollback {
            offered: 29,
            had: 30,
            ..
        }
    );
    assert!(taken_back, "{error}");

    let stranger = identity(9);
    let other = LogKey::coordinator(stranger.public());
    let other = Log::open(&room.path("stranger"), other, stranger).expect("opens");
    fill(&other, 50);
    let error = fetch(&other, &copy).expect_err("another coordinator");
    assert!(matches!(error, CopyError::Note(_)), "{error}");

    // A tile that is none, and one that is another.
    fill(&log, 60);
    let note = log.publish().expect("publishes").to_text();
    let copying = Copying::begin(&copy, note.as_bytes()).expect("begins");
    let name = copying.missing().next().expect("a tile");
    for bytes in [&b""[..], b"\x00\x09short", &[0; 31]] {
        let error = copying.take(name, bytes).expect_err("no tile");
        assert!(
            matches!(error, CopyError::Tile(other) if other == name),
            "{error}"
        );
    }
    for name in copying.missing().collect::<Vec<_>>() {
        let mut bytes = log.folder().tile(name).expect("reads").expect("a tile");
        bytes[10] ^= 1;
        copying.take(name, &bytes).expect("the form is right");
    }
    let error = copying.finish(None).expect_err("it does not hash");
    assert!(matches!(error, CopyError::Rewritten { .. }), "{error}");
    assert_eq!(contents(&copy), before, "the copy stays");
    assert_eq!(check(&copy, &[], &[]).size, 30);
}

#[test]
fn a_damaged_copy_is_not_blamed_on_the_coordinator_and_other_folders_are_left_alone() {
    let room = Room::new();
    let (log, copy) = (open(&room.path("log")), room.path("copy"));
    fill(&log, 300);
    fetch(&log, &copy).expect("copied");
    let tile = copy.join("tile/entries/000");
    let mut bytes = fs::read(&tile).expect("reads");
    bytes[20] ^= 1;
    fs::write(&tile, bytes).expect("writes");
    fill(&log, 310);
    let error = fetch(&log, &copy).expect_err("damaged here");
    assert!(matches!(error, CopyError::Ledger(_)), "{error}");
    assert!(error.to_string().contains("tile/entries/000"), "{error}");

    let mine = room.path("mine");
    fs::create_dir(&mine).expect("a folder");
    fs::write(mine.join("letters.txt"), "mine").expect("writes");
    let error = fetch(&log, &mine).expect_err("no copy");
    assert!(matches!(error, CopyError::NoCopy(_)), "{error}");
    let error = fetch(&log, Path::new("..")).expect_err("no name");
    assert!(matches!(error, CopyError::Nameless(_)), "{error}");
}
