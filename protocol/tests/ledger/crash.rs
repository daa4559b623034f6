//! Kill the writer wherever it is: what was acknowledged stays, and the log goes on.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use collegium_crypto::os_rng;
use collegium_crypto::rand_core::Rng;
use collegium_protocol::ledger::LedgerError;
use collegium_protocol::ledger::read::{Folder, records};

use super::support::{check, copy, fact, files, fill, filled, open};

/// Opens a copy, as a daemon that restarts would, and says how many entries it has; all is well
/// afterwards, and the log goes on.
fn reopened(folder: &Path) -> u64 {
    let log = open(folder);
    let size = log.len();
    log.append(fact("after the crash")).expect("goes on");
    drop(log);
    let report = check(folder, &[], &[]);
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.size, size + 1);
    let values = Folder::new(folder).values().expect("reads");
    for (number, value) in values.iter().take(size as usize).enumerate() {
        assert_eq!(value["object"], format!("run/{number}"));
    }
    size
}

#[test]
fn an_entry_cut_off_anywhere_is_none_and_harms_no_other() {
    let directory = tempfile::tempdir().expect("tempdir");
    let original = directory.path().join("original");
    let log = open(&original);
    fill(&log, 3);
    let frozen = directory.path().join("frozen");
    copy(&original, &frozen);
    let original = frozen;
    let pending = fs::read(original.join("pending")).expect("pending");
    let ends: Vec<usize> = records(&pending).map(|record| record.end).collect();
    assert_eq!(ends.len(), 3, "nothing was published yet");
    let near = |cut: usize| ends.iter().any(|end| cut.abs_diff(*end) < 4);
    for cut in (0..=pending.len()).filter(|cut| cut % 17 < 2 || near(*cut)) {
        let folder = directory.path().join(format!("cut-{cut}"));
        copy(&original, &folder);
        fs::write(folder.join("pending"), &pending[..cut]).expect("writes");
        let whole = ends.iter().filter(|end| **end <= cut).count();
        assert_eq!(reopened(&folder), whole as u64, "cut at {cut}");
        fs::remove_dir_all(&folder).expect("removes");
    }
    // What a file system may leave of a block that it had no time to write.
    let folder = directory.path().join("zeros");
    copy(&original, &folder);
    let zeros = [pending.as_slice(), &[0; 100]].concat();
    fs::write(folder.join("pending"), zeros).expect("writes");
    assert_eq!(reopened(&folder), 3);
}

#[test]
fn publishing_cut_off_anywhere_is_done_again() {
    let directory = tempfile::tempdir().expect("tempdir");
    let (before, after) = (
        directory.path().join("before"),
        directory.path().join("after"),
    );
    filled(&after, 250);
    let log = open(&after);
    fill(&log, 260);
    copy(&after, &before);
    log.publish().expect("publishes");
    let old: Vec<_> = files(&before);
    let name = |folder: &Path, path: &Path| path.strip_prefix(folder).expect("inside").to_owned();
    let old: Vec<_> = old.iter().map(|path| name(&before, path)).collect();
    let fresh: Vec<_> = files(&after)
        .iter()
        .map(|path| name(&after, path))
        .filter(|path| !old.contains(path))
        .collect();
    assert_eq!(
        fresh.len(),
        5,
        "two full tiles, three partial ones: {fresh:?}"
    );
    // Any of the tiles may be there; the checkpoint comes after all of them.
    for mask in 0..1_u32 << (fresh.len() + 1) {
        let folder = directory.path().join(format!("mask-{mask}"));
        copy(&before, &folder);
        let done = mask >> fresh.len() == 1;
        for (place, path) in fresh.iter().enumerate() {
            if done || mask >> place & 1 == 1 {
                let target = folder.join(path);
                fs::create_dir_all(target.parent().expect("a folder")).expect("a folder");
                fs::copy(after.join(path), target).expect("copies");
            }
        }
        if done {
            fs::copy(after.join("checkpoint"), folder.join("checkpoint")).expect("copies");
        }
        fs::write(folder.join("unfinished"), [7; 100]).expect("writes");
        assert!(check(&folder, &[], &[]).holds());
        assert_eq!(reopened(&folder), 260, "{mask:b}");
        fs::remove_dir_all(&folder).expect("removes");
    }
}

#[test]
fn a_ledger_of_an_earlier_build_is_not_continued() {
    let directory = tempfile::tempdir().expect("tempdir");
    fs::write(directory.path().join("entries.jsonl"), "{}\n").expect("writes");
    let opened = collegium_protocol::ledger::Log::open(
        directory.path(),
        super::support::key(),
        super::support::identity(1),
    );
    let error = opened.expect_err("an old format");
    assert!(matches!(error, LedgerError::OldFormat(_)));
    assert!(
        error.to_string().contains("move the folder away"),
        "{error}"
    );
}

/// Where the child writes.
const FOLDER: &str = "COLLEGIUM_TEST_LEDGER";

/// Appends until it is killed, and says what stands.
#[test]
#[ignore = "the other half of a_killed_writer_loses_nothing_that_it_said"]
fn child() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let log = open(Path::new(&folder));
    loop {
        let size = log
            .append(fact(&format!("run/{}", log.len())))
            .expect("appends");
        // The harness's own lines go before it on a line of their own.
        println!("\nappended {size}");
        std::io::stdout().flush().expect("says so");
        if size.is_multiple_of(7) {
            log.publish().expect("publishes");
        }
    }
}

#[test]
fn a_killed_writer_loses_nothing_that_it_said() {
    const LIVES: u32 = 10;
    let directory = tempfile::tempdir().expect("tempdir");
    let mut rng = os_rng().expect("randomness");
    let mut said = 0;
    for life in 0..LIVES {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "crash::child", "--ignored", "--nocapture"])
            .env(FOLDER, directory.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("starts");
        let patience = 1 + rng.next_u64() % 60;
        let out = BufReader::new(child.stdout.take().expect("its output"));
        let mut heard = 0;
        for line in out.lines() {
            let line = line.expect("a line");
            let Some(size) = line.strip_prefix("appended ") else {
                continue;
            };
            said = size.parse().expect("a number");
            heard += 1;
            if heard == patience {
                child.kill().expect("kills");
            }
        }
        child.wait().expect("ends");
        assert!(
            heard >= patience,
            "life {life} said {heard} of {patience} things"
        );
        let report = check(directory.path(), &[], &[]);
        assert!(report.holds(), "life {life}: {:?}", report.findings);
        let log = open(directory.path());
        let size: u64 = log.len();
        assert!(
            (said..=said + 1).contains(&size),
            "life {life}: {size} of {said}"
        );
    }
    let values = Folder::new(directory.path()).values().expect("reads");
    for (number, value) in values.iter().enumerate() {
        assert_eq!(value["object"], format!("run/{number}"));
    }
}
