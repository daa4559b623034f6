//! What another implementation of the C2SP formats says of our ledgers: `tlog_tiles` (hashes, tiles,
//! proofs, checkpoints) and `signed_note`, which share no code with ours.

use collegium_protocol::IdentityKey;
use collegium_protocol::ledger::note::{LogKey, witness_name};
use collegium_protocol::ledger::read::Folder;
use collegium_protocol::ledger::tile::TileName;
use collegium_protocol::ledger::tree::{prove_consistency, prove_inclusion};
use signed_note::{Note, StandardVerifier, Verifier, VerifierList};
use tlog_tiles::{Error, Hash, HashReader};

use super::support::{fill, filled, identity, key, open};

/// Every hash that the other implementation wants stored.
struct Stored(Vec<Hash>);

impl HashReader for Stored {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<Hash>, Error> {
        Ok(indexes
            .iter()
            .map(|index| self.0[*index as usize])
            .collect())
    }
}

/// A key in the form in which C2SP's tools are given one.
fn vkey(name: &str, key: &IdentityKey) -> String {
    let mut bytes = vec![1];
    bytes.extend(key.to_bytes());
    let id = signed_note::key_id(name, &bytes);
    let text = base64(&bytes);
    format!("{name}+{id:08x}+{text}")
}

fn base64(bytes: &[u8]) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

/// Entries as the specification of bundles has them.
fn bundle(bytes: &[u8]) -> Vec<&[u8]> {
    let (mut rest, mut entries) = (bytes, Vec::new());
    while !rest.is_empty() {
        let length = usize::from(rest[0]) << 8 | usize::from(rest[1]);
        entries.push(&rest[2..2 + length]);
        rest = &rest[2 + length..];
    }
    entries
}

#[test]
fn another_implementation_verifies_checkpoint_tiles_and_proofs() {
    const SIZE: u64 = 600;
    let directory = tempfile::tempdir().expect("tempdir");
    let folder = directory.path();
    filled(folder, SIZE);

    // The checkpoint: its signature, then what it says.
    let bytes = std::fs::read(folder.join("checkpoint")).expect("a checkpoint");
    let note = Note::from_bytes(&bytes).expect("a note");
    let key: LogKey = key();
    let verifier = StandardVerifier::new(&vkey(key.origin(), key.key())).expect("a key");
    let known = VerifierList::new(vec![Box::new(verifier)]);
    let (verified, unknown) = note.verify(&known).expect("the signature holds");
    assert_eq!((verified.len(), unknown.len()), (1, 0));
    let checkpoint = tlog_tiles::Checkpoint::from_bytes(note.text()).expect("a checkpoint");
    assert_eq!(
        (checkpoint.origin(), checkpoint.size()),
        (key.origin(), SIZE)
    );

    // The tree, from the entries on the disk.
    let mut stored = Stored(Vec::new());
    let mut leaves = Vec::new();
    for name in [
        TileName::entries(0, 256),
        TileName::entries(1, 256),
        TileName::entries(2, 88),
    ] {
        let bytes = std::fs::read(folder.join(name.to_string())).expect("a tile");
        for entry in bundle(&bytes) {
            let number = leaves.len() as u64;
            let hashes = tlog_tiles::stored_hashes(number, entry, &stored).expect("hashes");
            stored.0.extend(hashes);
            leaves.push(tlog_tiles::record_hash(entry));
        }
    }
    assert_eq!(leaves.len() as u64, SIZE);
    let root = tlog_tiles::tree_hash(SIZE, &stored).expect("a root");
    assert_eq!(root, *checkpoint.hash());

    // Every tile of hashes.
    for (level, index, width) in [(0, 0, 256), (0, 1, 256), (0, 2, 88), (1, 0, 2)] {
        let ours = TileName::hashes(level, index, width);
        let ours = std::fs::read(folder.join(ours.to_string())).expect("a tile");
        let theirs = tlog_tiles::Tile::new(8, level, index, u32::from(width), false);
        assert_eq!(ours, theirs.read_data(&stored).expect("a tile"));
    }

    // Proofs that we make from the tiles.
    let ledger = Folder::new(folder);
    let mut nodes = ledger.nodes(SIZE);
    let theirs = |proof: Vec<collegium_protocol::Digest>| {
        proof.iter().map(|it| Hash(it.0)).collect::<Vec<_>>()
    };
    for index in [0, 1, 255, 256, 511, 512, 598, 599] {
        let proof = prove_inclusion(&mut nodes, index, SIZE).expect("a proof");
        let leaf = leaves[index as usize];
        tlog_tiles::check_record(&theirs(proof), SIZE, root, index, leaf).expect("holds");
    }
    for old in [1, 2, 255, 256, 257, 512, 599, 600] {
        let proof = prove_consistency(&mut nodes, old, SIZE).expect("a proof");
        let before = tlog_tiles::tree_hash(old, &stored).expect("a root");
        tlog_tiles::check_tree(&theirs(proof), SIZE, root, old, before).expect("holds");
    }
}

/// The cosigned message as the specification of cosignatures has it, checked with another
/// implementation of notes and of Ed25519.
#[test]
fn another_implementation_verifies_a_cosignature() {
    const TIME: u64 = 1_790_000_000;
    let directory = tempfile::tempdir().expect("tempdir");
    let log = open(directory.path());
    fill(&log, 3);
    let mut note = log.publish().expect("publishes");
    let witness = identity(9);
    let cosignature = note.checkpoint().cosign(&witness, TIME);
    note.add(&witness.public(), cosignature);

    let text = note.to_text();
    let parsed = Note::from_bytes(text.as_bytes()).expect("a note");
    let name = witness_name(&witness.public());
    let mut typed = vec![4];
    typed.extend(witness.public().to_bytes());
    let id = signed_note::key_id(&name, &typed);
    let line = text
        .lines()
        .find(|line| line.contains(&name))
        .expect("a line");
    let line = signed_note::Signature::from_bytes(line.as_bytes()).expect("a signature");
    assert_eq!((line.name(), line.id()), (name.as_str(), id));
    let (time, signature) = line.signature().split_at(8);
    assert_eq!(time, TIME.to_be_bytes());
    let mut message = format!("cosignature/v1\ntime {TIME}\n").into_bytes();
    message.extend(parsed.text());
    let verifier = StandardVerifier::new(&vkey(&name, &witness.public())).expect("a key");
    assert!(verifier.verify(&message, signature));
}
