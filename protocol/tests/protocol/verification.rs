//! After the opening: honest totals are proved to whoever trusts only the charter, and every way of
//! showing other ones is found.

use std::sync::Arc;

use collegium_protocol::message::session::ToCoordinator;
use collegium_protocol::message::step::{Certificate, CertifiedVote};
use collegium_protocol::message::verify::{BodyHash, OpenedStep};
use collegium_protocol::step::{EvidenceError, NodeAction, StepEvidence, Verification};
use collegium_protocol::{Digest, RefusalCode, VerifiedCharter};

use crate::support::{Drive, Node, World, index, indices, totals};

const ASK: &[u8] = b"ask";

/// An honest step of four members, opened, as an honest coordinator goes on with it.
fn verification(seed: u64) -> (World, Vec<Node>, Verification) {
    let mut drive = Drive::begin(4, seed, ASK);
    let opening = drive.opening();
    let opened = opening.open(&drive.sum).unwrap();
    assert_eq!(opened.sums(), totals(&indices(&[1, 2, 3, 4]), ASK));
    let verification = opening.verification(opened, &drive.world.coordinator);
    (drive.world, drive.nodes, verification)
}

/// A node's answer to a commitment.
fn hash_of(node: &mut Node, opened: &OpenedStep) -> Option<BodyHash> {
    let actions = node.contributor.opened(opened).unwrap();
    let [NodeAction::HashBody { opened, upload }] = actions.as_slice() else {
        assert!(actions.is_empty(), "{actions:?}");
        return None;
    };
    let hashes = upload.linear_hashes(opened.challenge()).unwrap();
    match node.contributor.hashed(opened, hashes).as_slice() {
        [NodeAction::Send(ToCoordinator::BodyHash(hash))] => Some(*hash),
        other => panic!("expected a hash: {other:?}"),
    }
}

/// Honest evidence, with all keys of the consortium to forge from it.
fn evidence(seed: u64) -> (World, StepEvidence) {
    let (world, mut nodes, mut verification) = self::verification(seed);
    for node in &mut nodes {
        let hash = hash_of(node, &verification.statement()).unwrap();
        verification.hashed(node.index(), hash).unwrap();
    }
    assert_eq!(verification.adds_up(), Some(true));
    let bytes = verification.evidence().to_bytes().unwrap();
    (world, StepEvidence::from_bytes(&bytes).unwrap())
}

/// One more in the first code.
fn change_message(evidence: &mut StepEvidence) {
    let (first, _) = evidence.messages.0.as_chunks_mut::<8>();
    first[0] = (u64::from_le_bytes(first[0]) + 1).to_le_bytes();
}

fn verdict(evidence: &StepEvidence, charter: &Arc<VerifiedCharter>) -> Result<(), EvidenceError> {
    evidence.verify(charter).map(drop)
}

#[test]
fn honest_totals_are_proved_from_the_charter_alone() {
    let (world, evidence) = evidence(701);
    let proved = evidence.verify(&world.charter).unwrap();
    assert_eq!(proved.contributors, indices(&[1, 2, 3, 4]));
    assert_eq!(proved.sums, totals(&proved.contributors, ASK));
    // Another consortium's members prove nothing by it.
    let other = World::new(4, 702);
    assert!(matches!(
        verdict(&evidence, &other.charter),
        Err(EvidenceError::Form(_))
    ));
}

/// The coordinator shows totals with one code changed, and signs a commitment to them *after* it
/// has the hashes; the hashes answer the first commitment.
#[test]
fn totals_changed_after_the_hashes_are_found() {
    let (world, honest) = evidence(703);
    let mut false_totals = honest.clone();
    change_message(&mut false_totals);
    assert_eq!(
        verdict(&false_totals, &world.charter),
        Err(EvidenceError::OtherTotals)
    );
    // Signing a commitment to what is shown does not help: nobody hashed under it.
    let digest = false_totals.commitment().unwrap();
    let opened = honest.opened;
    false_totals.opened =
        OpenedStep::sign(opened.step, opened.proposal, digest, &world.coordinator);
    assert!(matches!(
        verdict(&false_totals, &world.charter),
        Err(EvidenceError::Form(_))
    ));
}

/// The coordinator commits to false totals from the start, with residuals that stay in bound: the
/// members hash what they sent, and the hashes do not add up to what it shows.
#[test]
fn totals_that_were_false_from_the_start_are_found() {
    let (world, mut nodes, verification) = self::verification(704);
    let mut lie = verification.evidence();
    change_message(&mut lie);
    let step = verification.statement();
    let committed = lie.commitment().unwrap();
    lie.opened = OpenedStep::sign(step.step, step.proposal, committed, &world.coordinator);
    lie.hashes = nodes
        .iter_mut()
        .map(|node| hash_of(node, &lie.opened).unwrap())
        .collect();
    assert_eq!(verdict(&lie, &world.charter), Err(EvidenceError::NotTheSum));
}

#[test]
fn a_second_commitment_of_one_step_is_refused_and_the_first_repeated_is_not_answered_twice() {
    let (world, mut nodes, verification) = self::verification(705);
    let first = verification.statement();
    let node = &mut nodes[0];
    assert!(hash_of(node, &first).is_some());
    assert!(hash_of(node, &first).is_none(), "answered once");
    let second = OpenedStep::sign(
        first.step,
        first.proposal,
        Digest([9; 32]),
        &world.coordinator,
    );
    let refusal = node.contributor.opened(&second).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::TotalsDisputed);
    // Signed by somebody else it is nothing at all.
    let forged = OpenedStep::sign(
        first.step,
        first.proposal,
        Digest([9; 32]),
        &world.identities[1],
    );
    let refusal = nodes[1].contributor.opened(&forged).unwrap_err();
    assert_eq!(refusal.code, RefusalCode::BadSignature);
    assert!(hash_of(&mut nodes[1], &first).is_some());
}

#[test]
fn a_contributor_that_left_leaves_the_step_unverified() {
    let (world, mut nodes, mut verification) = self::verification(706);
    for node in &mut nodes[..3] {
        let hash = hash_of(node, &verification.statement()).unwrap();
        verification.hashed(node.index(), hash).unwrap();
    }
    nodes[3].restart();
    assert!(hash_of(&mut nodes[3], &verification.statement()).is_none());
    assert_eq!(verification.adds_up(), None);
    assert_eq!(verification.missing(), indices(&[4]));
    assert_eq!(
        verdict(&verification.evidence(), &world.charter),
        Err(EvidenceError::Missing(indices(&[4])))
    );
}

#[test]
fn hashes_of_others_and_false_hashes_are_told_from_honest_ones() {
    let (world, mut nodes, mut verification) = self::verification(707);
    let statement = verification.statement();
    let hashes: Vec<_> = nodes
        .iter_mut()
        .map(|node| hash_of(node, &statement).unwrap())
        .collect();
    // In the name of another member, or under a signature of another.
    assert!(verification.hashed(index(2), hashes[0]).is_err());
    let forged = BodyHash {
        member: index(2),
        ..hashes[0]
    };
    assert!(verification.hashed(index(2), forged).is_err());
    // A member hashes something else than it sent: the sum tells, though not who.
    for hash in &hashes[..3] {
        verification.hashed(hash.member, *hash).unwrap();
    }
    let identity = &world.identities[3];
    let lie = BodyHash::sign(
        statement.step,
        index(4),
        statement.commitment,
        hashes[0].hashes,
        identity,
    );
    verification.hashed(index(4), lie).unwrap();
    assert_eq!(verification.adds_up(), Some(false));
    assert!(
        verification.hashed(index(4), hashes[3]).is_err(),
        "its first stands"
    );
}

/// Every part of the evidence that could be swapped for another is covered by some check.
#[test]
fn every_part_of_the_evidence_is_checked() {
    type Forgery = fn(&mut StepEvidence, &World);
    let forgeries: [(&str, Forgery); 8] = [
        ("another number", |it, _| it.context.step.0 += 1),
        ("another shape", |it, _| it.shape.0[0].max += 1),
        ("a contributor less", |it, _| it.propose.entries.truncate(3)),
        ("votes below the quorum", |it, _| {
            it.certificate.votes.truncate(2);
        }),
        ("a vote that was not given", |it, world| {
            let votes = &mut it.certificate.votes;
            let signature = votes[0].signature;
            *votes = world
                .members()
                .into_iter()
                .map(|voter| CertifiedVote { voter, signature })
                .collect();
        }),
        ("another set certified", |it, _| {
            it.certificate = Certificate {
                proposal: Digest([1; 32]),
                ..it.certificate.clone()
            };
        }),
        ("another residual", |it, _| it.residuals.0[0] ^= 1),
        ("hashes out of order", |it, _| it.hashes.swap(0, 1)),
    ];
    let (world, honest) = evidence(708);
    verdict(&honest, &world.charter).unwrap();
    for (what, forge) in forgeries {
        let mut forged = honest.clone();
        forge(&mut forged, &world);
        assert!(verdict(&forged, &world.charter).is_err(), "{what}");
    }
}
