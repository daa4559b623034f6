//! What a member cosigns, and what it does not.

use collegium_protocol::ledger::note::SignedCheckpoint;
use collegium_protocol::ledger::proof::{Proof, ProofError};
use collegium_protocol::ledger::tree::{prove_consistency, prove_inclusion};
use collegium_protocol::ledger::witness::{Offer, Witness, WitnessError};
use collegium_protocol::ledger::{Log, LogKey};

use super::support::{check, fact, fill, identity, key, open};

/// The log's checkpoint, offered from `old` entries on.
fn offer(log: &Log, old: u64, witness: &Witness) -> Result<SignedCheckpoint, WitnessError> {
    let note = log.publish().expect("publishes");
    let size = note.checkpoint().size;
    let mut nodes = log.folder().nodes(size);
    let proof = prove_consistency(&mut nodes, old.min(size), size).expect("a proof");
    let text = note.to_text();
    let offer = Offer {
        old,
        proof: &proof,
        note: text.as_bytes(),
    };
    witness.consider(&offer, &key())
}

#[test]
fn a_witness_goes_along_with_a_log_that_grows_and_with_no_other() {
    let directory = tempfile::tempdir().expect("tempdir");
    let memory = directory.path().join("witness/checkpoint");
    let (one, two) = (directory.path().join("one"), directory.path().join("two"));
    let log = open(&one);
    let mut witness = Witness::open(&memory).expect("opens");
    assert_eq!(witness.last(&key()), None);
    fill(&log, 5);
    let note = offer(&log, 0, &witness).expect("the first one");
    witness.keep(note).expect("kept");
    fill(&log, 300);
    assert_eq!(
        offer(&log, 0, &witness),
        Err(WitnessError::Stale {
            offered: 0,
            seen: 5
        })
    );
    // It remembers over a restart.
    let mut witness = Witness::open(&memory).expect("opens");
    let note = offer(&log, 5, &witness).expect("it grew");
    witness.keep(note).expect("kept");
    let again = offer(&log, 300, &witness).expect("the same once more");
    assert_eq!(again.checkpoint().size, 300);

    // The same coordinator with another history, shorter, as long, and longer.
    let other = open(&two);
    other.append(fact("something else")).expect("appends");
    fill(&other, 299);
    assert_eq!(
        offer(&other, 299, &witness),
        Err(WitnessError::Rollback {
            offered: 299,
            seen: 300
        })
    );
    for size in [300, 301] {
        fill(&other, size);
        assert_eq!(
            offer(&other, 300, &witness),
            Err(WitnessError::Fork {
                offered: size,
                seen: 300
            })
        );
    }
    // Another log's key.
    let stranger = LogKey::coordinator(identity(2).public());
    assert_eq!(witness.last(&stranger), None);
    let note = log.publish().expect("publishes").to_text();
    let offer = Offer {
        old: 0,
        proof: &[],
        note: note.as_bytes(),
    };
    assert!(matches!(
        witness.consider(&offer, &stranger),
        Err(WitnessError::Note(_))
    ));
}

#[test]
fn cosignatures_are_kept_counted_and_checked() {
    let directory = tempfile::tempdir().expect("tempdir");
    let log = open(directory.path());
    fill(&log, 10);
    let mut note = log.publish().expect("publishes");
    let witnesses: Vec<_> = (10..13).map(identity).collect();
    let keys: Vec<_> = witnesses.iter().map(|it| it.public()).collect();
    for (witness, time) in witnesses.iter().zip(100..) {
        let cosignature = note.checkpoint().cosign(witness, time);
        assert!(cosignature.holds(&witness.public(), note.checkpoint()));
        note.add(&witness.public(), cosignature);
    }
    log.keep_cosigned(&note).expect("kept");
    fill(&log, 12);
    drop(log);
    let report = check(directory.path(), &keys, &[]);
    assert!(report.is_clean(), "{:?}", report.findings);
    let cosigned = report.cosigned.expect("cosigned");
    assert_eq!(cosigned.size, 10);
    let mut by = cosigned.by;
    by.sort_unstable();
    assert_eq!(by, [(0, 100), (1, 101), (2, 102)]);
    // Somebody who is no member.
    let report = check(directory.path(), &keys[..2], &[]);
    assert!(
        report.findings[0].to_string().contains("who is not known"),
        "{:?}",
        report.findings
    );
    // A cosignature of another time, or under another key.
    let file = directory.path().join("cosigned");
    let later = note.checkpoint().cosign(&witnesses[0], 999);
    let mut forged = note.clone();
    forged.add(&keys[1], later);
    std::fs::write(&file, forged.to_text()).expect("writes");
    let report = check(directory.path(), &keys, &[]);
    assert!(
        report.findings[0].to_string().contains("does not hold"),
        "{:?}",
        report.findings
    );
}

#[test]
fn one_entry_is_proved_by_a_file_of_its_own() {
    const SIZE: u64 = 300;
    let directory = tempfile::tempdir().expect("tempdir");
    let log = open(directory.path());
    fill(&log, SIZE);
    let mut note = log.publish().expect("publishes");
    let witness = identity(9);
    let keys = [witness.public()];
    let cosignature = note.checkpoint().cosign(&witness, 7);
    note.add(&witness.public(), cosignature);
    let folder = log.folder();
    for index in [0, 255, 256, 299] {
        let entry = folder.entry(index, SIZE).expect("reads").expect("is there");
        let hashes = prove_inclusion(&mut folder.nodes(SIZE), index, SIZE).expect("a proof");
        let proof = Proof {
            index,
            entry,
            hashes,
            note: note.clone(),
        };
        let text = proof.to_text();
        let read = Proof::parse(&text).expect("parses");
        assert_eq!(read, proof);
        let proved = read.check(&key(), &keys).expect("holds");
        assert_eq!(proved.entry["object"], format!("run/{index}"));
        assert_eq!(proved.cosigned, [(0, 7)]);

        let mut other = proof.clone();
        other.entry = folder
            .entry(index ^ 1, SIZE)
            .expect("reads")
            .expect("is there");
        let error = other.check(&key(), &keys).expect_err("another entry");
        assert_eq!(error, ProofError::NotThere { index, size: SIZE });
        let mut other = proof.clone();
        other.index ^= 1;
        assert!(other.check(&key(), &keys).is_err());
        assert!(
            proof.check(&key(), &[]).is_err(),
            "a witness that nobody knows"
        );
        let stranger = LogKey::coordinator(identity(2).public());
        assert!(proof.check(&stranger, &keys).is_err());
        // Every byte counts.
        for place in 0..text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[place] ^= 1;
            let changed = String::from_utf8(bytes)
                .ok()
                .and_then(|it| Proof::parse(&it).ok());
            let holds = changed.is_some_and(|it| it.check(&key(), &keys).is_ok());
            assert!(!holds, "byte {place} may change");
        }
    }
}
