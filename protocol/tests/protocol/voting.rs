//! One adversarial test for each thing a committee member checks before it votes.

use std::sync::Arc;

use collegium_crypto::shamir::{SEED_BYTES, SHARE_BYTES};
use collegium_protocol::limits::SEALED_SHARE_BYTES;
use collegium_protocol::message::session::ToCoordinator;
use collegium_protocol::message::step::{
    Deliver, Propose, SealedShare, UploadClaim, shares_digest,
};
use collegium_protocol::step::{NodeAction, NodeRecord, StepPlan};
use collegium_protocol::{Blob, Digest, MemberIndex, RefusalCode, StepNumber};

use crate::support::{Node, World, admit, delivered, index, rng, share_binding};

/// What a share is bound to: context, dealer, recipient and its seat.
type Bound = (Digest, MemberIndex, MemberIndex, u16);

/// A dealer that seals whatever it likes, correctly signed.
fn malicious(
    world: &World,
    plan: &StepPlan,
    dealer: MemberIndex,
    recipient: MemberIndex,
    plaintext: &[u8],
    bound_to: Bound,
) -> Deliver {
    let mut rng = rng(3);
    let step = plan.reference();
    let body = Digest([77; 32]);
    let (context, from, to, point) = bound_to;
    let binding = share_binding(&context, from, to, point, &body);
    let key = &world.charter.member(recipient).unwrap().sealing;
    let sealed = key
        .seal(context.as_bytes(), binding.as_bytes(), plaintext, &mut rng)
        .unwrap();
    let share = SealedShare {
        seat: world.charter.seat_of(recipient).unwrap(),
        sealed: Blob(sealed),
    };
    let leaves: Vec<_> = world
        .members()
        .into_iter()
        .map(|m| {
            if m == recipient {
                share.leaf()
            } else {
                Digest([m.get() as u8; 32])
            }
        })
        .collect();
    let identity = &world.identities[dealer.position()];
    let claim = UploadClaim::sign(
        &step.context,
        dealer,
        body,
        shares_digest(&leaves),
        identity,
    );
    Deliver {
        step,
        claim,
        leaves,
        share,
    }
}

#[test]
fn a_share_must_be_the_dealers_own_and_open_under_its_binding() {
    let world = World::new(4, 210);
    let plan = world.plan(1, b"ask");
    let other = world.plan(2, b"ask");
    let mut nodes = world.nodes();
    let announce = world.announce(&plan, b"ask");
    let uploads: Vec<_> = nodes
        .iter_mut()
        .map(|n| {
            let upload = n.upload(&announce).unwrap();
            admit(&plan, n.index(), &upload).unwrap()
        })
        .collect();
    let node = &mut nodes[1];
    let context = plan.reference().context;
    let (one, two, three) = (index(1), index(2), index(3));
    let good = vec![0; SHARE_BYTES];

    // A malicious dealer that seals as it should is the baseline: in order. Member 3 deals seat 2
    // its share whole, member 1 deals it a seed.
    let sealed = |plaintext: &[u8], bound| malicious(&world, &plan, three, two, plaintext, bound);
    let seeded =
        |plaintext: &[u8]| malicious(&world, &plan, one, two, plaintext, (context, one, two, 2));
    let mut judge = Node::new(Arc::clone(&world.places[1]), world.run);
    judge.upload(&announce).unwrap();
    assert_eq!(
        judge.verdict(&sealed(&good, (context, three, two, 2))),
        None
    );
    assert_eq!(judge.verdict(&seeded(&[7; SEED_BYTES])), None);

    let mut high = good.clone();
    high[..8].copy_from_slice(&collegium_crypto::field::Q.to_le_bytes());
    let mut forged = uploads[0].delivery(two).unwrap();
    forged.claim.signature = uploads[1].claim().signature;
    let mut unlisted = uploads[0].delivery(two).unwrap();
    unlisted.share.sealed.0[1000] ^= 1;
    let mut moved = uploads[0].delivery(two).unwrap();
    moved.leaves[1] = Digest([0; 32]);
    let mut stranger = uploads[0].delivery(two).unwrap();
    stranger.claim.member = index(9);
    let cases = [
        (
            "a coefficient of q",
            sealed(&high, (context, three, two, 2)),
        ),
        (
            "bound to another step",
            sealed(&good, (other.reference().context, three, two, 2)),
        ),
        (
            "bound to another dealer",
            sealed(&good, (context, one, two, 2)),
        ),
        (
            "bound to another recipient",
            sealed(&good, (context, three, one, 2)),
        ),
        (
            "bound to another seat",
            sealed(&good, (context, three, two, 3)),
        ),
        (
            "one byte short",
            sealed(&good[1..], (context, three, two, 2)),
        ),
        (
            "a seed where the share is whole",
            sealed(&[7; SEED_BYTES], (context, three, two, 2)),
        ),
        ("whole where a seed is due", seeded(&good)),
        ("one byte more than a seed", seeded(&[7; SEED_BYTES + 1])),
        ("another member's", uploads[0].delivery(three).unwrap()),
        ("a foreign signature", forged),
        ("not the signed share", unlisted),
        ("leaves changed", moved),
        ("a dealer outside the roster", stranger),
    ];
    for (number, (what, deliver)) in cases.iter().enumerate() {
        let complaint = node.verdict(deliver);
        let complaint = complaint.unwrap_or_else(|| panic!("{what} passed"));
        // Only what the dealer signed and sealed is the dealer's fault.
        let blames_dealer = complaint.code == RefusalCode::ShareFaulty;
        assert_eq!(blames_dealer, number < 9, "{what}: {complaint}");
    }
    assert_eq!(cases[1].1.share.sealed.len(), SEALED_SHARE_BYTES);

    // Complaints used up no vote and spoiled no share: the honest ones still do.
    for upload in &uploads {
        assert_eq!(node.verdict(&upload.delivery(two).unwrap()), None);
    }
    let propose = world.propose(&plan, &uploads, &[1, 2, 3]);
    assert!(node.vote(&propose).is_ok());
}

#[test]
fn a_set_that_breaks_a_rule_gets_no_vote() {
    let (world, plan, mut nodes, uploads) = delivered(211);
    let propose = |members: &[u16]| world.propose(&plan, &uploads, members);
    let changed = |change: fn(&mut Propose)| {
        let mut proposal = propose(&[1, 2, 3, 4]);
        change(&mut proposal);
        proposal
    };
    let cases = [
        (propose(&[1, 2]), RefusalCode::CohortTooSmall),
        (propose(&[]), RefusalCode::CohortTooSmall),
        (
            changed(|p| p.entries.swap(0, 1)),
            RefusalCode::ProposalInvalid,
        ),
        (
            changed(|p| p.entries[1] = p.entries[0]),
            RefusalCode::ProposalInvalid,
        ),
        (
            changed(|p| p.entries.push(p.entries[3])),
            RefusalCode::ProposalInvalid,
        ),
        (
            changed(|p| p.entries[3].member = index(9)),
            RefusalCode::ProposalInvalid,
        ),
        (
            changed(|p| p.entries[0].body = Digest([1; 32])),
            RefusalCode::ProposalInvalid,
        ),
        (
            changed(|p| p.entries[0].shares = Digest([1; 32])),
            RefusalCode::ProposalInvalid,
        ),
        (
            changed(|p| p.entries[0].signature = p.entries[1].signature),
            RefusalCode::ProposalInvalid,
        ),
        (
            changed(|p| p.step.step = StepNumber(2)),
            RefusalCode::UnknownStep,
        ),
        (
            changed(|p| p.step.context = Digest([1; 32])),
            RefusalCode::UnknownStep,
        ),
    ];
    for (proposal, expected) in cases {
        assert_eq!(nodes[0].vote(&proposal).unwrap_err(), expected);
    }
    // No vote was used up by any of them.
    assert!(nodes[0].vote(&propose(&[1, 2, 3, 4])).is_ok());
}

#[test]
fn a_vote_needs_every_share_of_the_set() {
    let world = World::new(4, 212);
    let plan = world.plan(1, b"ask");
    let mut nodes = world.nodes();
    let uploads = world.uploads(&plan, b"ask", &mut nodes);
    let mut fresh = Node::new(Arc::clone(&world.places[0]), world.run);
    fresh.upload(&world.announce(&plan, b"ask")).unwrap();
    for upload in &uploads[..2] {
        assert_eq!(fresh.verdict(&upload.delivery(index(1)).unwrap()), None);
    }
    let propose = world.propose(&plan, &uploads, &[1, 2, 3]);
    assert_eq!(fresh.vote(&propose).unwrap_err(), RefusalCode::ShareMissing);
    assert_eq!(fresh.verdict(&uploads[2].delivery(index(1)).unwrap()), None);
    assert!(fresh.vote(&propose).is_ok());
}

#[test]
fn a_dealers_second_upload_does_not_count() {
    let world = World::new(4, 213);
    let plan = world.plan(1, b"ask");
    let mut nodes = world.nodes();
    let uploads = world.uploads(&plan, b"ask", &mut nodes);
    let context = plan.reference().context;
    let good = vec![0; SHARE_BYTES];
    let second = malicious(
        &world,
        &plan,
        index(1),
        index(2),
        &good,
        (context, index(1), index(2), 2),
    );
    let complaint = nodes[1].verdict(&second).expect("a complaint");
    assert_eq!(complaint.code, RefusalCode::UploadDuplicate);
    // A set that names the second upload has no share behind it.
    let mut propose = world.propose(&plan, &uploads, &[1, 2, 3]);
    propose.entries[0] = second.claim;
    assert_eq!(
        nodes[1].vote(&propose).unwrap_err(),
        RefusalCode::ShareMissing
    );
}

#[test]
fn one_vote_in_a_step_whatever_happens() {
    let (world, plan, mut nodes, uploads) = delivered(214);
    let (all, three) = (
        world.propose(&plan, &uploads, &[1, 2, 3, 4]),
        world.propose(&plan, &uploads, &[1, 2, 3]),
    );
    // The record comes first.
    let actions = nodes[0].committee.propose(&all);
    assert!(
        matches!(
            actions.as_slice(),
            [
                NodeAction::Persist(NodeRecord::Committee(_)),
                NodeAction::Send(ToCoordinator::Vote(_))
            ]
        ),
        "{actions:?}"
    );
    let first = nodes[1].vote(&all).unwrap();
    assert_eq!(
        nodes[1].vote(&three).unwrap_err(),
        RefusalCode::AlreadyVoted
    );
    nodes[1].restart();
    assert_eq!(
        nodes[1].vote(&three).unwrap_err(),
        RefusalCode::AlreadyVoted
    );
    assert_eq!(
        nodes[1].vote(&all).unwrap(),
        first,
        "repeated byte for byte"
    );
    // The same set with an upload exchanged is another set.
    let mut exchanged = all.clone();
    exchanged.entries.pop();
    assert_eq!(
        nodes[1].vote(&exchanged).unwrap_err(),
        RefusalCode::AlreadyVoted
    );
}
