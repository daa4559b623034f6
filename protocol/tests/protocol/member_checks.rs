//! One adversarial test for each thing a member checks before it answers, votes or releases.

use collegium_crypto::encode::{Segment, Shape};
use collegium_crypto::shamir::SHARE_BYTES;
use collegium_crypto::transcript::hash;
use collegium_protocol::context::ask_digest;
use collegium_protocol::domain;
use collegium_protocol::limits::{MAX_ASK_BYTES, MAX_COHORT_CHANGES, SEALED_SHARE_BYTES};
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::{
    Announce, Certificate, CertifiedVote, Deliver, Part, Propose, Release, SealedShare,
    UploadClaim, Vote, shares_digest,
};
use collegium_protocol::step::{AdmittedUpload, LocalVerdict, NodeAction, NodeRecord, StepPlan};
use collegium_protocol::{Blob, Digest, MemberIndex, Refusal, RefusalCode, StepNumber};

use crate::support::{Node, Up, World, index, refusal, rng, shape};

fn allowed() -> LocalVerdict {
    LocalVerdict::Allowed { shape: shape() }
}

fn announced(world: &World, step: u64, ask: &[u8]) -> Announce {
    world.announce(&world.plan(step, ask), ask)
}

fn code(actions: &[NodeAction]) -> RefusalCode {
    match actions {
        [NodeAction::Send(ToCoordinator::StepRefused { refusal, .. })] => refusal.code,
        other => panic!("expected one refusal: {other:?}"),
    }
}

/// A certificate by these voters over what they voted for.
fn certify(votes: &[Vote]) -> Certificate {
    let first = &votes[0];
    let certified = |vote: &Vote| CertifiedVote {
        voter: vote.voter,
        signature: vote.signature,
    };
    Certificate {
        step: first.step,
        proposal: first.proposal,
        votes: votes.iter().map(certified).collect(),
    }
}

fn released(sent: &[Up]) -> Release {
    match sent {
        [Up::Message(ToCoordinator::Release(release))] => release.clone(),
        other => panic!("expected a release: {other:?}"),
    }
}

// ---- before answering

#[test]
fn an_announcement_is_checked_before_anything_is_recorded() {
    let world = World::new(4, 200);
    let good = announced(&world, 1, b"ask");
    let sign = |change: &dyn Fn(&mut Announce)| {
        let mut forged = good.clone();
        change(&mut forged);
        let context = forged.context.clone();
        Announce::sign(
            context,
            forged.ask,
            forged.deadline_ms,
            None,
            &world.coordinator,
        )
    };
    let stranger = World::new(4, 201);
    let foreign = Announce::sign(
        good.context.clone(),
        good.ask.clone(),
        1,
        None,
        &stranger.coordinator,
    );
    let mut later = good.clone();
    later.deadline_ms += 1;
    let long = vec![0; MAX_ASK_BYTES + 1];
    let cases = [
        (
            sign(&|a| a.context.charter = stranger.charter.digest()),
            RefusalCode::CharterMismatch,
        ),
        (
            sign(&|a| a.context.params = "toy".to_owned()),
            RefusalCode::UnknownParameters,
        ),
        (foreign, RefusalCode::BadSignature),
        (later, RefusalCode::BadSignature),
        (
            sign(&|a| a.ask = Blob(b"another".to_vec())),
            RefusalCode::AskMismatch,
        ),
        (
            sign(&|a| {
                a.context.ask = ask_digest(&long);
                a.ask = Blob(long.clone());
            }),
            RefusalCode::AskTooLarge,
        ),
        (
            sign(&|a| a.context.shape = Digest([1; 32])),
            RefusalCode::ShapeMismatch,
        ),
        (
            sign(&|a| a.context.run = stranger.run),
            RefusalCode::UnknownRun,
        ),
    ];
    let mut node = world.nodes().remove(0);
    for (forged, expected) in cases {
        assert_eq!(
            code(&node.contributor.announce(&forged, allowed())),
            expected
        );
        assert!(node.disk.is_empty());
    }
    // None of that used the number up.
    assert!(node.upload(&good).is_some());
}

#[test]
fn the_committee_takes_no_forged_announcement_either() {
    let world = World::new(4, 202);
    let mut node = world.nodes().remove(0);
    let mut forged = announced(&world, 1, b"ask").with_part(Part::Serve);
    forged.deadline_ms += 1;
    assert_eq!(
        code(&node.committee.announce(&forged, node.data)),
        RefusalCode::BadSignature
    );
}

#[test]
fn local_policy_has_the_last_word() {
    let world = World::new(4, 203);
    let mut node = world.nodes().remove(0);
    let announce = announced(&world, 1, b"ask");
    let denied = LocalVerdict::Refused(Refusal::new(RefusalCode::PolicyDenied, "column name"));
    assert_eq!(
        code(&node.contributor.announce(&announce, denied)),
        RefusalCode::PolicyDenied
    );
    // The shape is the node's own: one that it does not find in the ask is refused.
    let shape = Shape(vec![Segment {
        max: 1_000_000,
        count: 4,
    }]);
    let other = LocalVerdict::Allowed { shape };
    assert_eq!(
        code(&node.contributor.announce(&announce, other)),
        RefusalCode::ShapeMismatch
    );
}

#[test]
fn a_step_is_recorded_before_it_is_answered() {
    let world = World::new(4, 204);
    let mut node = world.nodes().remove(0);
    let announce = announced(&world, 1, b"ask");
    let actions = node.contributor.announce(&announce, allowed());
    assert!(
        matches!(
            actions.as_slice(),
            [
                NodeAction::Persist(NodeRecord::Step(_)),
                NodeAction::Answer { .. }
            ]
        ),
        "{actions:?}"
    );
    // Again while the trainer computes: nothing new begins.
    assert!(node.contributor.announce(&announce, allowed()).is_empty());
}

#[test]
fn step_numbers_only_rise() {
    let world = World::new(4, 205);
    let mut node = world.nodes().remove(0);
    assert!(node.upload(&announced(&world, 5, b"a")).is_some());
    for restarted in [false, true] {
        if restarted {
            node.restart();
        }
        for (step, ask) in [(4, b"a"), (1, b"b"), (5, b"b")] {
            let announce = announced(&world, step, ask);
            let sent = node.tell(ToNode::Announce(announce.clone()));
            assert_eq!(refusal(&sent).code, RefusalCode::StepNotNew, "step {step}");
            let serve = announce.with_part(Part::Serve);
            let sent = node.tell(ToNode::Announce(serve));
            assert_eq!(refusal(&sent).code, RefusalCode::StepNotNew, "step {step}");
        }
    }
    assert!(node.upload(&announced(&world, 6, b"a")).is_some());
}

#[test]
fn the_same_step_gets_the_same_bytes_or_nothing() {
    let world = World::new(4, 206);
    let mut node = world.nodes().remove(0);
    let announce = announced(&world, 1, b"ask");
    let first = node.upload(&announce).unwrap();
    let again = node.upload(&announce).unwrap();
    assert_eq!(first.body(), again.body());
    assert_eq!(first.trailer, again.trailer);
    node.restart();
    let sent = node.tell(ToNode::Announce(announce.clone()));
    assert_eq!(refusal(&sent).code, RefusalCode::AlreadyAnswered);
    // As a new step it is the same plaintext under another key.
    let other = node.upload(&announced(&world, 2, b"ask")).unwrap();
    assert_ne!(first.body(), other.body());
    // A dropped step is forgotten, not repeated.
    node.contributor.dropped(StepNumber(2));
    let sent = node.tell(ToNode::Announce(announced(&world, 2, b"ask")));
    assert_eq!(refusal(&sent).code, RefusalCode::AlreadyAnswered);
}

#[test]
fn codes_above_their_maximum_never_leave() {
    let world = World::new(4, 207);
    let mut rng = rng(1);
    for wrong in [
        vec![1001, 0, 0, 0, 0, 0, 0],
        vec![0, 0, 0, 0, 0, 0, 2],
        vec![0; 6],
        vec![0; 8],
    ] {
        let mut node = world.nodes().remove(0);
        node.contributor
            .announce(&announced(&world, 1, b"ask"), allowed());
        let actions = node.contributor.answered(StepNumber(1), wrong, &mut rng);
        assert_eq!(code(&actions), RefusalCode::AnswerOutOfRange);
    }
    let mut node = world.nodes().remove(0);
    node.contributor
        .announce(&announced(&world, 1, b"ask"), allowed());
    let late = node
        .contributor
        .answered(StepNumber(7), vec![0; 7], &mut rng);
    assert!(late.is_empty(), "an answer to another step");
    let failed = node
        .contributor
        .failed(StepNumber(1), RefusalCode::TrainerFailed.into());
    assert_eq!(code(&failed), RefusalCode::TrainerFailed);
}

// ---- before voting

/// A dealer that seals whatever it likes, correctly signed.
fn malicious(
    world: &World,
    plan: &StepPlan,
    dealer: MemberIndex,
    recipient: MemberIndex,
    plaintext: &[u8],
    bound_to: (Digest, MemberIndex, MemberIndex),
) -> Deliver {
    let mut rng = rng(3);
    let step = plan.reference();
    let body = Digest([77; 32]);
    let (context, from, to) = bound_to;
    let binding = hash(
        domain::SHARE_BINDING,
        &[
            context.as_bytes(),
            &from.get().to_le_bytes(),
            &to.get().to_le_bytes(),
            &to.get().to_le_bytes(),
            body.as_bytes(),
        ],
    );
    let key = &world.charter.member(recipient).unwrap().sealing;
    let sealed = key
        .seal(context.as_bytes(), binding.as_bytes(), plaintext, &mut rng)
        .unwrap();
    let share = SealedShare {
        recipient,
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
            crate::support::admit(&plan, n.index(), &upload).unwrap()
        })
        .collect();
    let node = &mut nodes[1];
    let context = plan.reference().context;
    let (one, two, three) = (index(1), index(2), index(3));
    let good = vec![0; SHARE_BYTES];

    // A malicious dealer that seals as it should is the baseline: in order.
    let sealed = |plaintext: &[u8], bound| malicious(&world, &plan, one, two, plaintext, bound);
    let mut judge = Node::new(std::sync::Arc::clone(&world.seats[1]), world.run);
    judge.upload(&announce).unwrap();
    assert_eq!(judge.verdict(&sealed(&good, (context, one, two))), None);

    let mut high = good.clone();
    high[..8].copy_from_slice(&collegium_crypto::field::Q.to_le_bytes());
    let mut forged = uploads[0].delivery(two).unwrap();
    forged.claim.signature = uploads[1].claim().signature;
    let mut unlisted = uploads[0].delivery(two).unwrap();
    unlisted.share.sealed.0[2000] ^= 1;
    let mut moved = uploads[0].delivery(two).unwrap();
    moved.leaves[1] = Digest([0; 32]);
    let mut stranger = uploads[0].delivery(two).unwrap();
    stranger.claim.member = index(9);
    let cases = [
        ("a coefficient of q", sealed(&high, (context, one, two))),
        ("one byte short", sealed(&good[1..], (context, one, two))),
        (
            "bound to another step",
            sealed(&good, (other.reference().context, one, two)),
        ),
        (
            "bound to another dealer",
            sealed(&good, (context, three, two)),
        ),
        (
            "bound to another recipient",
            sealed(&good, (context, one, three)),
        ),
        ("another member's", uploads[0].delivery(three).unwrap()),
        ("a foreign signature", forged),
        ("not the signed share", unlisted),
        ("leaves changed", moved),
        ("a dealer outside the roster", stranger),
    ];
    for (what, deliver) in &cases {
        assert!(node.verdict(deliver).is_some(), "{what} passed");
    }
    assert_eq!(cases[2].1.share.sealed.len(), SEALED_SHARE_BYTES);

    // Complaints used up no vote and spoiled no share: the honest ones still do.
    for upload in &uploads {
        assert_eq!(node.verdict(&upload.delivery(two).unwrap()), None);
    }
    let propose = world.propose(&plan, &uploads, &[1, 2, 3]);
    assert!(node.vote(&propose).is_ok());
}

/// Four nodes with all shares delivered.
fn delivered(
    seed: u64,
) -> (
    World,
    std::sync::Arc<StepPlan>,
    Vec<Node>,
    Vec<AdmittedUpload>,
) {
    let world = World::new(4, seed);
    let plan = world.plan(1, b"ask");
    let mut nodes = world.nodes();
    let uploads = world.uploads(&plan, b"ask", &mut nodes);
    (world, plan, nodes, uploads)
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
    let mut fresh = Node::new(std::sync::Arc::clone(&world.seats[0]), world.run);
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
        (context, index(1), index(2)),
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

// ---- before releasing

#[test]
fn a_release_needs_a_quorum_over_the_very_set() {
    let (world, plan, mut nodes, uploads) = delivered(215);
    let all = world.propose(&plan, &uploads, &[1, 2, 3, 4]);
    let votes: Vec<_> = nodes.iter_mut().map(|n| n.vote(&all).unwrap()).collect();
    let good = certify(&votes[..3]);
    let mut doubled = good.clone();
    doubled.votes[1] = doubled.votes[0];
    let mut forged = good.clone();
    forged.votes[2].signature = votes[3].signature;
    let mut outsider = good.clone();
    outsider.votes[2].voter = index(9);
    let mut shuffled = good.clone();
    shuffled.votes.swap(0, 1);
    let mut other = good.clone();
    other.proposal = world.propose(&plan, &uploads, &[1, 2, 3]).digest();
    let cases = [
        ("two votes", certify(&votes[..2])),
        ("one vote twice", doubled),
        ("a foreign signature", forged),
        ("a voter outside the roster", outsider),
        ("unsorted", shuffled),
        ("another set", other),
    ];
    for (what, certificate) in cases {
        let sent = nodes[0].tell(ToNode::Certificate(certificate));
        assert_eq!(
            refusal(&sent).code,
            RefusalCode::CertificateInvalid,
            "{what}"
        );
    }
    // Who has not voted for it does not release.
    let mut silent = Node::new(std::sync::Arc::clone(&world.seats[0]), world.run);
    silent.upload(&world.announce(&plan, b"ask")).unwrap();
    let sent = silent.tell(ToNode::Certificate(good.clone()));
    assert_eq!(refusal(&sent).code, RefusalCode::CertificateInvalid);

    let actions = nodes[0].committee.certificate(&good);
    assert!(
        matches!(
            actions.as_slice(),
            [
                NodeAction::Persist(NodeRecord::Release(_)),
                NodeAction::Send(ToCoordinator::Release(_))
            ]
        ),
        "{actions:?}"
    );
}

/// Drives nodes through one step; gives each node's release or refusal.
fn drive(
    world: &World,
    nodes: &mut [Node],
    step: u64,
    ask: &[u8],
    set: &[u16],
) -> Vec<Result<Release, RefusalCode>> {
    let plan = world.plan(step, ask);
    let uploads = world.uploads(&plan, ask, nodes);
    let propose = world.propose(&plan, &uploads, set);
    let votes: Vec<_> = nodes.iter_mut().map(|n| n.vote(&propose)).collect();
    let given: Vec<_> = votes.iter().flatten().cloned().collect();
    if given.len() < world.charter.thresholds().quorum {
        return votes
            .into_iter()
            .map(|vote| Err(vote.unwrap_err()))
            .collect();
    }
    let certificate = ToNode::Certificate(certify(&given));
    nodes
        .iter_mut()
        .map(|n| Ok(released(&n.tell(certificate.clone()))))
        .collect()
}

#[test]
fn an_ask_is_opened_with_one_set_only() {
    let world = World::new(4, 216);
    let mut nodes = world.nodes();
    let first = drive(&world, &mut nodes, 1, b"ask", &[1, 2, 3, 4]);
    assert!(first.iter().all(Result::is_ok));
    for node in &mut nodes {
        node.restart();
    }
    // The same ask without member 4 would show member 4's answer.
    for refused in drive(&world, &mut nodes, 2, b"ask", &[1, 2, 3]) {
        assert_eq!(refused.unwrap_err(), RefusalCode::ReleasedOtherSet);
    }
    // With the same set, or another ask, it is fine.
    assert!(
        drive(&world, &mut nodes, 3, b"ask", &[1, 2, 3, 4])
            .iter()
            .all(Result::is_ok)
    );
    assert!(
        drive(&world, &mut nodes, 4, b"other", &[1, 2, 3])
            .iter()
            .all(Result::is_ok)
    );
    // On new data it is another question.
    for node in &mut nodes {
        node.data = Digest([200; 32]);
    }
    assert!(
        drive(&world, &mut nodes, 5, b"ask", &[1, 2, 3])
            .iter()
            .all(Result::is_ok)
    );
}

#[test]
fn two_runs_cannot_race_past_the_release_rule() {
    let mut world = World::new(4, 217);
    let mut nodes = world.nodes();
    let mut certificates = Vec::new();
    for (run, set) in [(1, &[1, 2, 3, 4][..]), (2, &[1, 2, 3])] {
        world.run = collegium_protocol::RunId::from_bytes([run; 16]);
        let plan = world.plan(1, b"ask");
        let mut fresh = world.nodes();
        let uploads = world.uploads(&plan, b"ask", &mut fresh);
        let announce = world.announce(&plan, b"ask");
        let mut votes = Vec::new();
        for node in &mut nodes {
            let data = node.data;
            let actions = node.committee.announce(&announce, data);
            node.perform(actions, &mut 99, &mut Vec::new());
            for upload in &uploads {
                assert_eq!(node.verdict(&upload.delivery(node.index()).unwrap()), None);
            }
            votes.push(node.vote(&world.propose(&plan, &uploads, set)).unwrap());
        }
        certificates.push(certify(&votes));
    }
    for node in &mut nodes {
        released(&node.tell(ToNode::Certificate(certificates[0].clone())));
        let sent = node.tell(ToNode::Certificate(certificates[1].clone()));
        assert_eq!(refusal(&sent).code, RefusalCode::ReleasedOtherSet);
    }
}

#[test]
fn the_cohort_may_change_only_so_often() {
    let world = World::new(7, 218);
    let mut nodes = world.nodes();
    let all = [1, 2, 3, 4, 5, 6, 7];
    // Different sets of six or five of seven.
    let mut sets: Vec<Vec<u16>> = vec![all.to_vec()];
    sets.extend(
        all.iter()
            .map(|gone| all.iter().copied().filter(|m| m != gone).collect()),
    );
    assert_eq!(sets.len(), MAX_COHORT_CHANGES);
    for (step, set) in (1..).zip(&sets) {
        let ask = format!("ask {step}").into_bytes();
        let outcome = drive(&world, &mut nodes, step, &ask, set);
        assert!(outcome.iter().all(Result::is_ok), "step {step}");
        nodes[0].restart();
    }
    for refused in drive(&world, &mut nodes, 20, b"one more", &[1, 2, 3, 4, 5]) {
        assert_eq!(refused.unwrap_err(), RefusalCode::CohortLimit);
    }
    // A set that was there before is no change.
    assert!(
        drive(&world, &mut nodes, 21, b"again", &sets[3])
            .iter()
            .all(Result::is_ok)
    );
}

#[test]
fn vote_and_release_are_repeated_until_the_next_announcement_and_then_erased() {
    let (world, plan, mut nodes, uploads) = delivered(219);
    let all = world.propose(&plan, &uploads, &[1, 2, 3, 4]);
    let votes: Vec<_> = nodes.iter_mut().map(|n| n.vote(&all).unwrap()).collect();
    let certificate = ToNode::Certificate(certify(&votes));
    let node = &mut nodes[2];
    let first = released(&node.tell(certificate.clone()));
    assert_eq!(released(&node.tell(certificate.clone())), first);
    node.restart();
    assert_eq!(node.vote(&all).unwrap(), votes[2]);
    assert_eq!(released(&node.tell(certificate.clone())), first);

    let held = |node: &Node| {
        let sum = first.share_sum.as_slice();
        node.disk
            .values()
            .any(|bytes| bytes.windows(sum.len()).any(|window| window == sum))
    };
    assert!(held(node));
    node.tell(ToNode::Announce(announced(&world, 2, b"next")));
    assert!(!held(node), "the share sum is still on disk");
    let sent = node.tell(certificate);
    assert_eq!(refusal(&sent).code, RefusalCode::UnknownStep);

    // Closing the run erases too, and lets nothing be asked again.
    let other = &mut nodes[1];
    let actions = other.committee.close(world.run);
    other.perform(actions, &mut 9, &mut Vec::new());
    assert!(!held(other));
    assert_eq!(other.vote(&all).unwrap_err(), RefusalCode::UnknownStep);
    other.restart();
    assert_eq!(other.vote(&all).unwrap_err(), RefusalCode::UnknownStep);
    assert!(other.committee.close(world.run).is_empty());
}
