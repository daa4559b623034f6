//! One adversarial test for each thing a committee member checks before it releases.

use std::sync::Arc;

use collegium_protocol::limits::MAX_COHORT_CHANGES;
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::{Certificate, CertifiedVote, Release, Vote};
use collegium_protocol::step::{NodeAction, NodeRecord, UNSEEN_DATA};
use collegium_protocol::{Digest, RefusalCode, RunId};

use crate::support::{Node, Up, World, announced, delivered, index, refusal};

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
    let mut silent = Node::new(Arc::clone(&world.places[0]), world.run);
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
        world.run = RunId::from_bytes([run; 16]);
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

/// A coordinator that announces a step before it offers the run finds a member that has not seen
/// its rows yet. That must not stand for another version of them: the ask was opened on these very
/// rows before, and opening it without one member would show that member's answer.
#[test]
fn rows_not_seen_yet_are_no_other_version_of_them() {
    for read_in_time in [false, true] {
        let mut world = World::new(4, 220);
        let mut nodes = world.nodes();
        let first = drive(&world, &mut nodes, 1, b"ask", &[1, 2, 3, 4]);
        assert!(first.iter().all(Result::is_ok));

        world.run = RunId::from_bytes([9; 16]);
        let (plan, announce) = (world.plan(1, b"ask"), announced(&world, 1, b"ask"));
        let mut fresh = world.nodes();
        let uploads = world.uploads(&plan, b"ask", &mut fresh);
        for node in &mut nodes {
            let mut actions = node.committee.announce(&announce, UNSEEN_DATA);
            if read_in_time {
                actions.extend(node.committee.announce(&announce, node.data));
            }
            node.perform(actions, &mut 9, &mut Vec::new());
            for upload in &uploads {
                assert_eq!(node.verdict(&upload.delivery(node.index()).unwrap()), None);
            }
            let without = world.propose(&plan, &uploads, &[1, 2, 3]);
            assert_eq!(
                node.vote(&without).unwrap_err(),
                RefusalCode::ReleasedOtherSet
            );
            // The set that was opened before is no news, with rows or without.
            let again = world.propose(&plan, &uploads, &[1, 2, 3, 4]);
            assert!(node.vote(&again).is_ok());
        }
    }
}

/// The other way round: what was opened under unseen rows counts once they are seen.
#[test]
fn what_was_released_before_the_rows_were_read_counts_afterwards() {
    let world = World::new(4, 221);
    let mut nodes = world.nodes();
    let rows: Vec<_> = nodes.iter().map(|node| node.data).collect();
    for node in &mut nodes {
        node.data = UNSEEN_DATA;
    }
    let first = drive(&world, &mut nodes, 1, b"ask", &[1, 2, 3, 4]);
    assert!(first.iter().all(Result::is_ok));
    for (node, data) in nodes.iter_mut().zip(rows) {
        node.data = data;
    }
    for refused in drive(&world, &mut nodes, 2, b"ask", &[1, 2, 3]) {
        assert_eq!(refused.unwrap_err(), RefusalCode::ReleasedOtherSet);
    }
    let other = drive(&world, &mut nodes, 3, b"another ask", &[1, 2, 3]);
    assert!(other.iter().all(Result::is_ok));
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
