//! Every parser of bytes from outside, on any toolchain: the bodies of the fuzz targets in `fuzz/`
//! over the committed corpus and seeded mutations of it. Nothing may panic or take memory that the
//! input does not pay for.
//!
//! `PARSERS_ROUNDS=100000 cargo test --test parsers` goes on for longer. The corpus is written by
//! `cargo test --test parsers -- --ignored write_the_corpus`, always the same.

mod corpus;
mod mutation;
#[path = "../../fuzz/src/lib.rs"]
mod targets;

use std::path::{Path, PathBuf};

use mutation::Mutator;
use targets::{TARGETS, Target};

/// Mutations of each target's corpus in the ordinary suite.
const ROUNDS: usize = 1500;

/// Address space that all targets together may take at most beyond what they began with: the
/// largest input has 64 KiB, and a parser takes a small multiple of it, or a fixed buffer.
const MOST_MEMORY: u64 = 192 << 20;

fn directory(target: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target)
}

/// The committed inputs of a target, by name.
fn inputs(target: &str) -> Vec<Vec<u8>> {
    let directory = directory(target);
    let listed = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut files: Vec<_> = listed
        .map(|entry| entry.expect("an entry").path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|file| std::fs::read(file).expect("an input"))
        .collect()
}

#[test]
fn no_parser_panics_or_takes_more_memory_than_its_input_pays_for() {
    let rounds = std::env::var("PARSERS_ROUNDS").map_or(ROUNDS, |rounds| {
        rounds.parse().expect("PARSERS_ROUNDS is a number")
    });
    let before = peak();
    for (place, (name, body)) in TARGETS.into_iter().enumerate() {
        let inputs = inputs(name);
        assert!(!inputs.is_empty(), "{name} has no corpus");
        for input in &inputs {
            assert!(
                input.len() <= 64 << 10,
                "{name}: an input of {} bytes",
                input.len()
            );
            attempt((name, body), input);
        }
        let mut mutator = Mutator::new(place as u64);
        for _ in 0..rounds {
            attempt((name, body), &mutator.mutate(&inputs));
        }
    }
    if let (Some(before), Some(after)) = (before, peak()) {
        let taken = after.saturating_sub(before);
        assert!(taken < MOST_MEMORY, "the parsers took {} MiB", taken >> 20);
    }
}

/// Runs a target; what makes it panic is printed, to be kept in the corpus.
fn attempt((name, body): Target, input: &[u8]) {
    let run = std::panic::AssertUnwindSafe(|| body(input));
    if std::panic::catch_unwind(run).is_err() {
        let path = std::env::temp_dir().join(format!("collegium-{name}-crash"));
        std::fs::write(&path, input).expect("written");
        panic!(
            "{name} broke a promise over the {} bytes in {}",
            input.len(),
            path.display()
        );
    }
}

/// The largest address space this process ever had, in bytes, where the system tells.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmPeak:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kib << 10)
}

/// A target that takes nothing would not be noticed otherwise: of every corpus, some input is
/// accepted, which a cut-off one is not.
#[test]
fn every_target_has_a_fuzz_binary_and_a_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("fuzz/Cargo.toml");
    for (name, _) in TARGETS {
        assert!(
            manifest.contains(&format!("path = \"fuzz_targets/{name}.rs\"")),
            "{name}"
        );
        let binary = std::fs::read_to_string(root.join(format!("fuzz_targets/{name}.rs")));
        assert!(
            binary
                .expect("a target")
                .contains(&format!("::{name}(bytes)")),
            "{name}"
        );
        assert!(!inputs(name).is_empty(), "{name}");
    }
}

#[test]
#[ignore = "rewrites fuzz/corpus; run it when a format changes"]
fn write_the_corpus() {
    for (name, inputs) in corpus::all() {
        let directory = directory(name);
        let _ = std::fs::remove_dir_all(&directory);
        std::fs::create_dir_all(&directory).expect("a directory");
        for (what, bytes) in inputs {
            std::fs::write(directory.join(what), bytes).expect("written");
        }
    }
}
