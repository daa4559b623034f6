//! A scripted coordinator that shows members different sets and tries for a release.

use std::sync::Arc;

use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::{Certificate, CertifiedVote, Propose, Vote};
use collegium_protocol::step::{AdmittedUpload, StepPlan};
use collegium_protocol::{MemberIndex, RefusalCode};

use crate::support::{Node, Up, World};

const SETS: [&[u16]; 5] = [
    &[1, 2, 3, 4],
    &[1, 2, 3],
    &[1, 2, 4],
    &[1, 3, 4],
    &[2, 3, 4],
];

fn setting(seed: u64) -> (World, Arc<StepPlan>, Vec<Node>, Vec<AdmittedUpload>) {
    let world = World::new(4, seed);
    let plan = world.plan(1, b"ask");
    let mut nodes = world.nodes();
    let uploads = world.uploads(&plan, b"ask", &mut nodes);
    (world, plan, nodes, uploads)
}

/// Every certificate that can be put together from these votes over `proposal`, honest or not.
fn attempts(votes: &[Vote], proposal: &Propose) -> Vec<Certificate> {
    let certified = |vote: &Vote| CertifiedVote {
        voter: vote.voter,
        signature: vote.signature,
    };
    let all: Vec<_> = votes.iter().map(certified).collect();
    let own: Vec<_> = votes
        .iter()
        .filter(|v| v.proposal == proposal.digest())
        .map(certified)
        .collect();
    let relabelled: Vec<_> = (1..=4)
        .filter_map(|number| {
            let signature = own.first()?.signature;
            Some(CertifiedVote {
                voter: MemberIndex::new(number).unwrap(),
                signature,
            })
        })
        .collect();
    let step = proposal.step;
    [all, own, relabelled]
        .into_iter()
        .map(|votes| Certificate {
            step,
            proposal: proposal.digest(),
            votes,
        })
        .collect()
}

fn releases(node: &mut Node, certificate: &Certificate) -> usize {
    let sent = node.tell(ToNode::Certificate(certificate.clone()));
    sent.iter()
        .filter(|up| matches!(up, Up::Message(ToCoordinator::Release(_))))
        .count()
}

/// Shows member i the set `shown[i]`, then everything else; counts sets and releases obtained.
fn mix(seed: u64, shown: [usize; 4]) -> (usize, usize) {
    let (world, plan, mut nodes, uploads) = setting(seed);
    let sets: Vec<_> = SETS
        .iter()
        .map(|set| world.propose(&plan, &uploads, set))
        .collect();
    let votes: Vec<_> = nodes
        .iter_mut()
        .zip(shown)
        .map(|(node, set)| node.vote(&sets[set]).unwrap())
        .collect();
    // Ask again with every other set: nobody votes twice.
    for (node, set) in nodes.iter_mut().zip(shown) {
        for (number, other) in sets.iter().enumerate() {
            match node.vote(other) {
                Ok(vote) => assert_eq!(vote.proposal, sets[set].digest(), "set {number}"),
                Err(code) => assert_eq!(code, RefusalCode::AlreadyVoted),
            }
        }
    }
    let mut opened = std::collections::BTreeSet::new();
    let mut count = 0;
    for set in &sets {
        for certificate in attempts(&votes, set) {
            for node in &mut nodes {
                let got = releases(node, &certificate);
                if got > 0 {
                    opened.insert(set.digest());
                    count += got;
                }
            }
        }
    }
    (opened.len(), count)
}

#[test]
fn two_and_two_release_nothing() {
    assert_eq!(mix(400, [0, 0, 1, 1]), (0, 0));
}

#[test]
fn a_set_for_each_member_releases_nothing() {
    assert_eq!(mix(401, [1, 2, 3, 4]), (0, 0));
    assert_eq!(mix(402, [0, 1, 2, 3]), (0, 0));
}

/// Three for one set and one for another: one set can be certified, and only those who voted for
/// it release.
#[test]
fn three_and_one_open_one_set() {
    assert_eq!(mix(403, [0, 0, 0, 1]).0, 1);
}

/// Over all ways to show five sets to four members, at most one set is ever released, and none
/// without three votes. Sampled: every 7th of the 625.
#[test]
fn no_way_of_showing_sets_opens_two() {
    for way in (0..625usize).step_by(7) {
        let shown = [way % 5, way / 5 % 5, way / 25 % 5, way / 125];
        let most = SETS
            .iter()
            .enumerate()
            .map(|(s, _)| shown.iter().filter(|x| **x == s).count());
        let (sets, _) = mix(404 + way as u64, shown);
        assert_eq!(
            sets,
            usize::from(most.max().unwrap() >= 3),
            "sets shown {shown:?}"
        );
    }
}

/// The same ask in two steps with two sets: the second is refused, by everybody.
#[test]
fn mixing_over_steps_releases_nothing_more() {
    let (world, plan, mut nodes, uploads) = setting(405);
    let all = world.propose(&plan, &uploads, SETS[0]);
    let votes: Vec<_> = nodes
        .iter_mut()
        .map(|node| node.vote(&all).unwrap())
        .collect();
    let certificate = &attempts(&votes, &all)[0];
    let first: usize = nodes
        .iter_mut()
        .map(|node| releases(node, certificate))
        .sum();
    assert_eq!(first, 4);
    let plan = world.plan(2, b"ask");
    let uploads = world.uploads(&plan, b"ask", &mut nodes);
    for set in &SETS[1..] {
        let propose = world.propose(&plan, &uploads, set);
        for node in &mut nodes {
            assert_eq!(
                node.vote(&propose).unwrap_err(),
                RefusalCode::ReleasedOtherSet
            );
        }
    }
}
