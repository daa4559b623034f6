//! What lies in a ledger's folder, and what an auditor is handed.

use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::randomness::seeded_rng;
use collegium_protocol::ledger::proof::Proof;
use collegium_protocol::ledger::read::encode_record;
use collegium_protocol::ledger::tile::TileName;
use collegium_protocol::ledger::{Checkpoint, LogKey, SignedCheckpoint};
use collegium_protocol::message::admin::AdminResponse;
use collegium_protocol::message::ledger::{
    CheckpointOffer, CosignReply, TileRequest, TileResponse,
};
use collegium_protocol::{Digest, Refusal, RefusalCode};

use super::{Inputs, numbered};

const ENTRY: &[u8] =
    br#"{"action":"start","actor":"node","object":"0.1.0","outcome":"done","time_ms":1}"#;

/// A log's checkpoint, cosigned once.
fn note() -> SignedCheckpoint {
    let identity = SigningIdentity::generate(&mut seeded_rng([31; 32]));
    let witness = SigningIdentity::generate(&mut seeded_rng([32; 32]));
    let checkpoint = Checkpoint {
        origin: LogKey::coordinator(identity.public()).origin().to_owned(),
        size: 2,
        root: Digest([7; 32]),
    };
    let mut note = checkpoint.sign(&identity);
    let cosignature = note.checkpoint().cosign(&witness, 1_790_000_000);
    note.add(&witness.public(), cosignature);
    note
}

pub fn offer() -> CheckpointOffer {
    CheckpointOffer {
        old: 1,
        proof: vec![Digest([8; 32])],
        note: note().without_cosignatures().to_text().into_bytes().into(),
    }
}

pub fn reply() -> CosignReply {
    let witness = SigningIdentity::generate(&mut seeded_rng([32; 32]));
    let cosignature = note().checkpoint().cosign(&witness, 1_790_000_000);
    CosignReply::Cosigned {
        size: 2,
        time: cosignature.time,
        signature: cosignature.signature,
    }
}

/// What a reader of the ledger is told first.
pub fn head() -> AdminResponse {
    AdminResponse::Ledger {
        checkpoint: note().without_cosignatures().to_text().into_bytes().into(),
        cosigned: Some(note().to_text().into_bytes().into()),
    }
}

/// Requests for tiles, and answers.
pub fn tiles() -> [(TileRequest, TileResponse); 3] {
    let found = TileResponse::Found { length: 32 };
    let refused = Refusal::new(RefusalCode::Internal, "the disk");
    [
        (TileName::hashes(1, 0, 1), found),
        (TileName::entries(1_234_067, 8), TileResponse::Missing),
        (TileName::entries(0, 256), TileResponse::Refused(refused)),
    ]
    .map(|(tile, answer)| (TileRequest { tile }, answer))
}

pub fn inputs() -> Vec<(&'static str, Inputs)> {
    let note = note();
    let proof = Proof {
        index: 1,
        entry: ENTRY.to_vec(),
        hashes: vec![Digest([8; 32])],
        note: note.clone(),
    };
    let mut pending = Vec::new();
    let own = note.without_cosignatures().to_text();
    encode_record(ENTRY, &own, &mut pending);
    encode_record(ENTRY, &own, &mut pending);
    let inputs = [
        note.to_text().into_bytes(),
        proof.to_text().into_bytes(),
        pending,
        b"tile/entries/x001/x234/067.p/8".to_vec(),
        b"tile/1/000".to_vec(),
        ENTRY.to_vec(),
    ];
    vec![("ledger", numbered(inputs))]
}
