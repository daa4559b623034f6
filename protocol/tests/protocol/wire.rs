//! Frozen wire bytes, field by field: a change here is a change of the protocol's version.

use collegium_protocol::codec;
use collegium_protocol::context::ask_digest;
use collegium_protocol::ids::SeatNumber;
use collegium_protocol::limits::MAX_UPLOAD_HEADER_BYTES;
use collegium_protocol::message::session::ToCoordinator;
use collegium_protocol::message::step::{
    Complaint, Propose, SealedShare, StepRef, UploadClaim, UploadHeader, Verdict, Vote,
    cohort_digest, shares_digest,
};
use collegium_protocol::{
    Blob, Digest, Refusal, RefusalCode, RunId, Signature, StepContext, StepNumber,
};

use crate::support::{index, indices};

#[test]
fn an_upload_header() {
    let header = UploadHeader {
        context: Digest([0x11; 32]),
        member: index(3),
        body_len: 98_304,
    };
    let golden = [
        [0x11; 32].as_slice(), // digest of the step's context: 32 bytes, no length
        &[3],                  // member: varint, one byte up to 250
        &[252, 0x00, 0x80, 0x01, 0x00], // body_len: varint, 252 = four bytes follow, 0x18000
    ]
    .concat();
    assert_eq!(codec::encode(&header).unwrap(), golden);
    assert_eq!(
        codec::decode::<UploadHeader>(&golden, MAX_UPLOAD_HEADER_BYTES),
        Ok(header)
    );
}

#[test]
fn a_vote() {
    let vote = Vote {
        step: StepRef {
            run: RunId::from_bytes([0xaa; 16]),
            step: StepNumber(300),
            context: Digest([0x22; 32]),
        },
        voter: index(2),
        proposal: Digest([0x33; 32]),
        signature: Signature::from_bytes([0x44; 64]),
    };
    let golden = [
        [5].as_slice(),     // ToCoordinator::Vote
        &[0xaa; 16],        // run
        &[251, 0x2c, 0x01], // step: varint, 251 = two bytes follow, 300
        &[0x22; 32],        // context digest
        &[2],               // voter
        &[0x33; 32],        // H(U)
        &[0x44; 64],        // Ed25519 signature
    ]
    .concat();
    assert_eq!(codec::encode(&ToCoordinator::Vote(vote)).unwrap(), golden);
}

#[test]
fn a_complaint() {
    let complaint = Complaint {
        leaf: Digest([0x55; 32]),
        reason: Refusal::new(RefusalCode::ShareFaulty, "no"),
        signature: Signature::from_bytes([0x44; 64]),
    };
    let verdict = Verdict {
        step: StepRef {
            run: RunId::from_bytes([0xaa; 16]),
            step: StepNumber(7),
            context: Digest([0x22; 32]),
        },
        dealer: index(1000),
        shares: Digest([0x33; 32]),
        complaint: Some(Box::new(complaint)),
    };
    let golden = [
        [4].as_slice(),     // ToCoordinator::Verdict
        &[0xaa; 16],        // run
        &[7],               // step
        &[0x22; 32],        // context digest
        &[251, 0xe8, 0x03], // dealer: varint, 251 = two bytes follow, 1000
        &[0x33; 32],        // H(shares)
        &[1],               // there is a complaint
        &[0x55; 32],        // leaf of the share
        &[162],             // reason: ShareFaulty
        &[2, b'n', b'o'],   // detail: two bytes of text
        &[0x44; 64],        // Ed25519 signature
    ]
    .concat();
    let found = codec::encode(&ToCoordinator::Verdict(verdict)).unwrap();
    assert_eq!(found, golden);
}

/// Digests are as frozen as bytes: signatures cover them.
#[test]
fn digests_of_a_step() {
    let context = StepContext {
        params: "collegium-glwe-n4096-q64-cbd80-v2".to_owned(),
        charter: Digest([1; 32]),
        run: RunId::from_bytes([2; 16]),
        step: StepNumber(3),
        ask: ask_digest(b"ask"),
        shape: Digest([5; 32]),
    };
    let share = SealedShare {
        seat: SeatNumber::new(1).unwrap(),
        sealed: Blob(vec![6; 10]),
    };
    let leaf = share.leaf();
    let shares = shares_digest(&[leaf, leaf]);
    let signature = Signature::from_bytes([7; 64]);
    let entry = UploadClaim {
        member: index(2),
        body: Digest([8; 32]),
        shares,
        signature,
    };
    let propose = Propose {
        step: StepRef::of(&context),
        entries: vec![entry],
    };
    let found = [
        ("context", context.digest()),
        ("ask", context.ask),
        ("leaf", leaf),
        ("shares", shares),
        ("proposal", propose.digest()),
        ("cohort", cohort_digest(&indices(&[1, 2, 4]))),
    ];
    let found = found.map(|(name, digest)| format!("{name} {digest}"));
    assert_eq!(found, FROZEN);
}

/// As first released; a digest that changes needs a new version of its domain string.
const FROZEN: [&str; 6] = [
    "context d50f07e5d0093c0766215aa20a80e2575508a297146e5d17cc18d12896d7232c",
    "ask 0f45cd9ec964ee622051804abe322ffa855d401bfea2305647e911bfa4467709",
    "leaf 6a5871ea89825cac03977b58b8ffa5ff458ec67af85af3013ac74f9ee0ab0e56",
    "shares 18952706ec9cac5bb4470516689e86a83007bf662ee815c2e2805c39fc24be42",
    "proposal e8bdadd848fac004917bdc932d8ad8977d70f843decb6be7e389d76c0724e616",
    "cohort c7e54b2918a234ed672e4082ac8fe34a876da6448b64f1d8e75e53b5acb15ba8",
];
