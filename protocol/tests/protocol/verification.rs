//! After the opening: honest totals are proved to whoever trusts only the charter, and every way of
//! showing other ones is found.

use std::io::BufReader;
use std::sync::Arc;

use collegium_crypto::encode::Packing;
use collegium_crypto::field;
use collegium_crypto::params::{DEGREE, ParamSet};
use collegium_protocol::message::session::ToCoordinator;
use collegium_protocol::message::step::{Certificate, CertifiedVote, Release};
use collegium_protocol::message::verify::{BodyHash, LinearHashes, OpenedStep};
use collegium_protocol::step::{
    EvidenceError, HashCheck, NodeAction, Statements, StepEvidence, Verification,
};
use collegium_protocol::{Blob, Digest, RefusalCode, VerifiedCharter};

use crate::support::{Drive, Next, Node, World, index, indices, totals};

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
    if let [NodeAction::Send(ToCoordinator::BodyHash(again))] = actions.as_slice() {
        return Some(*again);
    }
    let [NodeAction::HashBody { opened, upload }] = actions.as_slice() else {
        let [NodeAction::Send(ToCoordinator::StepRefused { refusal, .. })] = actions.as_slice()
        else {
            panic!("expected a hash or a refusal: {actions:?}");
        };
        assert_eq!(refusal.code, RefusalCode::AlreadyAnswered);
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
    assert_eq!(verification.check(), Some(HashCheck::Proved));
    let bytes = verification.evidence().to_bytes().unwrap();
    (world, StepEvidence::from_bytes(&bytes).unwrap())
}

/// One more in the first code.
fn change_message(evidence: &mut StepEvidence) {
    let shape = &evidence.statements.shape;
    let packing = Packing::plan(shape, 4, ParamSet::current()).unwrap();
    evidence.phases[0] += packing.segments()[0].delta;
}

fn verdict(evidence: &StepEvidence, charter: &Arc<VerifiedCharter>) -> Result<(), EvidenceError> {
    let bytes = evidence.to_bytes().unwrap();
    Statements::read_proved(charter, &evidence.name().unwrap(), &mut bytes.as_slice())
        .unwrap()
        .map(drop)
}

#[test]
fn honest_totals_are_proved_from_the_charter_alone() {
    let (world, evidence) = evidence(701);
    let proved = evidence.totals(&world.charter).unwrap();
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
    let opened = honest.statements.opened;
    false_totals.statements.opened =
        OpenedStep::sign(opened.step, opened.proposal, digest, &world.coordinator);
    assert!(matches!(
        verdict(&false_totals, &world.charter),
        Err(EvidenceError::Form(_))
    ));
}

/// The coordinator commits to false totals from the start, with noise that stays in bound: the
/// members hash what they sent, and the hashes do not add up to what it shows.
#[test]
fn totals_that_were_false_from_the_start_are_found() {
    let (world, mut nodes, verification) = self::verification(704);
    let mut lie = verification.evidence();
    change_message(&mut lie);
    let step = verification.statement();
    let committed = lie.commitment().unwrap();
    lie.statements.opened =
        OpenedStep::sign(step.step, step.proposal, committed, &world.coordinator);
    lie.statements.hashes = nodes
        .iter_mut()
        .map(|node| hash_of(node, &lie.statements.opened).unwrap())
        .collect();
    assert_eq!(verdict(&lie, &world.charter), Err(EvidenceError::NotTheSum));
}

#[test]
fn a_second_commitment_of_one_step_is_refused_and_the_first_repeated_gets_the_same_answer() {
    let (world, mut nodes, verification) = self::verification(705);
    let first = verification.statement();
    let node = &mut nodes[0];
    let answer = hash_of(node, &first);
    assert!(answer.is_some());
    assert_eq!(hash_of(node, &first), answer);
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
    assert_eq!(verification.check(), None);
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
    let false_body = LinearHashes {
        body: hashes[0].hashes.body,
        key: hashes[3].hashes.key,
    };
    for (what, lie) in [
        (HashCheck::OtherBody, false_body),
        (HashCheck::OtherKey, hashes[0].hashes),
    ] {
        let (_, mut nodes, mut verification) = self::verification(707);
        let statement = verification.statement();
        for node in &mut nodes {
            let mut hash = hash_of(node, &statement).unwrap();
            if node.index() == index(4) {
                let identity = &world.identities[3];
                let commitment = statement.commitment;
                hash = BodyHash::sign(statement.step, index(4), commitment, lie, identity);
            }
            verification.hashed(node.index(), hash).unwrap();
        }
        assert_eq!(verification.check(), Some(what));
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
    assert_eq!(verification.check(), Some(HashCheck::OtherKey));
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
        ("another number", |it, _| it.statements.context.step.0 += 1),
        ("another shape", |it, _| it.statements.shape.0[0].max += 1),
        ("a contributor less", |it, _| {
            it.statements.propose.entries.truncate(3)
        }),
        ("votes below the quorum", |it, _| {
            it.statements.certificate.votes.truncate(2);
        }),
        ("a vote that was not given", |it, world| {
            let votes = &mut it.statements.certificate.votes;
            let signature = votes[0].signature;
            *votes = world
                .members()
                .into_iter()
                .map(|voter| CertifiedVote { voter, signature })
                .collect();
        }),
        ("another set certified", |it, _| {
            it.statements.certificate = Certificate {
                proposal: Digest([1; 32]),
                ..it.statements.certificate.clone()
            };
        }),
        ("other noise", |it, _| it.phases[0] ^= 1),
        ("hashes out of order", |it, _| {
            it.statements.hashes.swap(0, 1)
        }),
    ];
    let (world, honest) = evidence(708);
    verdict(&honest, &world.charter).unwrap();
    for (what, forge) in forgeries {
        let mut forged = honest.clone();
        forge(&mut forged, &world);
        assert!(verdict(&forged, &world.charter).is_err(), "{what}");
    }
}

/// What is checked while it is read is cut anywhere, and bounded by what it claims itself to be.
#[test]
fn evidence_is_proved_as_it_comes_in_and_broken_files_prove_nothing() {
    /// Gives a few bytes at a time.
    struct Drops<'a>(&'a [u8], usize);
    impl std::io::Read for Drops<'_> {
        fn read(&mut self, into: &mut [u8]) -> std::io::Result<usize> {
            let most = into.len().min(self.1);
            self.0.read(&mut into[..most])
        }
    }
    let (world, evidence) = evidence(709);
    let bytes = evidence.to_bytes().unwrap();
    let name = evidence.name().unwrap();
    for most in [1, 3, 7, 4096] {
        let mut drops = BufReader::with_capacity(most, Drops(&bytes, most));
        let read = Statements::read_proved(&world.charter, &name, &mut drops);
        assert_eq!(read.unwrap().as_ref(), Ok(&evidence.statements));
    }
    let proved =
        |bytes: &[u8]| Statements::read_proved(&world.charter, &name, &mut &*bytes).unwrap();
    for end in [0, 3, 4, 100, bytes.len() - 8, bytes.len() - 1] {
        assert!(proved(&bytes[..end]).is_err(), "cut at {end}");
    }
    let longer = [bytes.as_slice(), &[0; 8]].concat();
    assert_eq!(proved(&longer), Err(EvidenceError::NotTheSum));
    // Other statements have another name, other phases are not what was committed to.
    let mut other = bytes.clone();
    other[40] ^= 1;
    assert_eq!(proved(&other), Err(EvidenceError::OtherName));
    let mut other = bytes.clone();
    other[bytes.len() - 8] ^= 1;
    assert_eq!(proved(&other), Err(EvidenceError::OtherTotals));
    let endless = [&[0xff; 4], &bytes[4..]].concat();
    assert!(matches!(proved(&endless), Err(EvidenceError::Form(_))));
}

/// What the noise check says of a short sum: nothing, to a seat that knows whose releases will be
/// used. Seat 3 of the first three adds d to its share; the Lagrange coefficient of point 3 among 1, 2, 3
/// is 1, so the released key is off by d; and d is chosen so that a·d is −Δ at the first coefficient
/// and 0 at the second, all that this body has. The sum opens, with one more in its first total. Only
/// the contributors' hashes of their keys tell.
#[test]
fn a_false_release_chosen_well_opens_a_short_sum_and_is_found_by_the_hashes_of_the_keys() {
    let mut drive = Drive::begin(4, 710, ASK);
    assert!(drive.plan.is_short());
    assert_eq!(drive.plan.packing().coefficients(), 2);
    let a = drive.plan.mask_seed().coefficients(0);
    // (a·d) at 0 and 1, for d = x + y·X modulo X^4096 + 1: a0·x − a4095·y and a1·x + a0·y.
    let (a0, a1, last) = (a[0], a[1], a[DEGREE - 1]);
    let delta = drive.plan.packing().segments()[0].delta;
    let determinant = field::add(field::mul(a0, a0), field::mul(a1, last));
    let scale = field::mul(delta, field::invert(determinant));
    let d = [field::neg(field::mul(a0, scale)), field::mul(a1, scale)];
    let next = drive.run(|world, from, message| match message {
        ToCoordinator::Release(honest) if from == index(3) => {
            let mut bytes = honest.share_sum.0.clone();
            for (word, add) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(d) {
                *word = field::add(u64::from_le_bytes(*word), add).to_le_bytes();
            }
            let (step, proposal) = (honest.step, honest.proposal);
            let identity = &world.identities[2];
            let release = Release::sign(step, from, proposal, Blob(bytes), identity);
            Some(ToCoordinator::Release(release))
        }
        message => Some(message),
    });
    let Next::Open(opening) = next else {
        panic!("three releases are in");
    };
    let opened = opening.open(&drive.sum).expect("the noise is in bound");
    let mut expected = totals(&indices(&[1, 2, 3, 4]), ASK);
    expected[0] += 1;
    assert_eq!(opened.sums(), expected);
    let mut verification = opening.verification(opened, &drive.world.coordinator);
    for node in &mut drive.nodes {
        let hash = hash_of(node, &verification.statement()).unwrap();
        verification.hashed(node.index(), hash).unwrap();
    }
    assert_eq!(verification.check(), Some(HashCheck::OtherKey));
}
