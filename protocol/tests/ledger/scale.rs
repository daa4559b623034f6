//! A million entries: the figures of `docs/benchmarks.md`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use collegium_protocol::ledger::Checkpoint;
use collegium_protocol::ledger::entry::canonical;
use collegium_protocol::ledger::tile::{Content, TileName, encode_entry, encode_hashes};
use collegium_protocol::ledger::tree::{Tree, leaf_hash};

use super::support::{check, fact, identity, key};

const ENTRIES: u64 = 1_000_000;

fn write(folder: &Path, name: TileName, bytes: &[u8]) {
    let path = folder.join(name.to_string());
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, bytes).expect("writes");
}

/// The writer's files, without its syncs.
fn build(folder: &Path) {
    let mut tree = Tree::default();
    let mut entries = Vec::new();
    for number in 0..ENTRIES {
        let mut value = fact(&format!("3f1c9a5e7b2d4860a1b2c3d4e5f60718/{number}"));
        value["time_ms"] = (1_790_000_000_000 + number).into();
        value["evidence"]["ask"] =
            "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328".into();
        value["evidence"]["totals"] =
            "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c".into();
        let entry = canonical(&value).expect("JSON");
        encode_entry(&entry, &mut entries);
        for tile in tree.push(leaf_hash(&entry)) {
            if tile.name.content == Content::Hashes(0) {
                write(folder, TileName::entries(tile.name.index, 256), &entries);
                entries.clear();
            }
            write(folder, tile.name, &encode_hashes(&tile.hashes));
        }
    }
    for level in 0..tree.levels() {
        if let Some(name) = TileName::partial(level, ENTRIES) {
            write(folder, name, &encode_hashes(tree.edge(level)));
            if level == 0 {
                write(folder, TileName::entries(name.index, name.width), &entries);
            }
        }
    }
    let checkpoint = Checkpoint {
        origin: key().origin().to_owned(),
        size: ENTRIES,
        root: tree.root(),
    };
    let note = checkpoint.sign(&identity(1)).to_text();
    fs::write(folder.join("checkpoint"), note).expect("writes");
}

/// Peak of this process's memory, in kB.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let figure = line.and_then(|line| line.split_whitespace().next());
    figure
        .and_then(|figure| figure.parse().ok())
        .expect("a figure")
}

/// Processor time of this thread so far: a busy machine does not count.
fn processor() -> Duration {
    let status = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux");
    let nanos = status
        .split_whitespace()
        .next()
        .and_then(|it| it.parse().ok());
    Duration::from_nanos(nanos.expect("a figure"))
}

#[test]
#[ignore = "writes 400 MB; the figures are in docs/benchmarks.md"]
fn a_million_entries_are_verified_in_20_s_and_300_mb() {
    let directory = tempfile::tempdir().expect("tempdir");
    build(directory.path());
    let started = processor();
    let report = check(directory.path(), &[], &[]);
    let took = processor() - started;
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!(report.size, ENTRIES);
    println!(
        "{ENTRIES} entries: {:.1} s, peak {} MB",
        took.as_secs_f64(),
        peak() / 1000
    );
    assert!(took.as_secs() < 20 && peak() < 300_000);
}
