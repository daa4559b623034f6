//! Ten thousand random changes of every file, none of which passes unnoticed.

use std::fs;
use std::path::PathBuf;

use collegium_crypto::os_rng;
use collegium_crypto::rand_core::Rng;
use collegium_crypto::randomness::seeded_rng;

use super::support::{check, copy, files, fill, identity, open, seen};

const MUTATIONS: u32 = 10_000;

/// A number below `bound`, which is at least 1.
fn below(rng: &mut impl Rng, bound: usize) -> usize {
    (rng.next_u64() % bound as u64) as usize
}

/// Changes bytes in one of many ways.
fn mutate(bytes: &mut Vec<u8>, other: &[u8], rng: &mut impl Rng) -> &'static str {
    let length = bytes.len();
    let (a, b) = (below(rng, length + 1), below(rng, length + 1));
    let (start, end) = (a.min(b), a.max(b));
    match below(rng, 8) {
        0 if length > 0 => {
            bytes[a.min(length - 1)] ^= 1 << below(rng, 8);
            "flip a bit"
        }
        1 => {
            bytes.truncate(start);
            "truncate"
        }
        2 => {
            let mut more = vec![0; 1 + below(rng, 40)];
            rng.fill_bytes(&mut more);
            bytes.extend(more);
            "append"
        }
        3 => {
            bytes.drain(start..end);
            "drop a range"
        }
        4 => {
            let range = bytes[start..end].to_vec();
            let _ = bytes.splice(end..end, range);
            "repeat a range"
        }
        5 => {
            bytes.rotate_left(start);
            "swap two parts"
        }
        6 => {
            other.clone_into(bytes);
            "replace by another file"
        }
        _ => {
            let mut noise = vec![0; end - start];
            rng.fill_bytes(&mut noise);
            let _ = bytes.splice(start..end, noise);
            "noise"
        }
    }
}

#[test]
fn no_random_change_of_any_file_passes_unnoticed() {
    let mut seed = [0; 32];
    os_rng().expect("randomness").fill_bytes(&mut seed);
    println!("seed {seed:?}");
    let mut rng = seeded_rng(seed);

    // Full and partial tiles, earlier states of them, a cosigned checkpoint, and pending entries.
    let directory = tempfile::tempdir().expect("tempdir");
    let (live, folder) = (directory.path().join("live"), directory.path().join("copy"));
    let log = open(&live);
    fill(&log, 258);
    log.publish().expect("publishes");
    fill(&log, 262);
    let mut note = log.publish().expect("publishes");
    let witness = identity(9);
    let cosignature = note.checkpoint().cosign(&witness, 1_790_000_000);
    note.add(&witness.public(), cosignature);
    log.keep_cosigned(&note).expect("kept");
    fill(&log, 264);
    copy(&live, &folder);
    let last = log.publish().expect("publishes");
    let witnesses = [witness.public()];
    let known = [seen("the test", &last)];
    let report = check(&folder, &witnesses, &known);
    assert!(report.is_clean(), "{:?}", report.findings);

    let all: Vec<(PathBuf, Vec<u8>)> = files(&folder)
        .into_iter()
        .map(|path| (path.clone(), fs::read(path).expect("reads")))
        .collect();
    assert!(all.len() >= 9, "{all:?}");
    for round in 0..MUTATIONS {
        let (path, original) = &all[below(&mut rng, all.len())];
        let other = &all[below(&mut rng, all.len())].1;
        let mut changed = original.clone();
        let how = mutate(&mut changed, other, &mut rng);
        if changed == *original {
            continue;
        }
        fs::write(path, &changed).expect("writes");
        let report = check(&folder, &witnesses, &known);
        assert!(
            !report.is_clean(),
            "round {round}, {how} of {} passes (seed {seed:?})",
            path.display()
        );
        fs::write(path, original).expect("writes");
    }
    assert!(check(&folder, &witnesses, &known).is_clean());
}
