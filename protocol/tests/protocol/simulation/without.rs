//! Negative controls: what goes wrong outside the promise. A member whose disk is put back to an
//! older state forgets what it had *synced* before it sent anything; no check can make up for that.
//! What was not synced, it had not sent either: losing that is harmless, and the storms do it all
//! the time.

use std::collections::{BTreeMap, BTreeSet};

use collegium_protocol::MemberIndex;
use collegium_protocol::limits::MAX_COHORT_CHANGES;
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::Propose;

use super::evidence::Step;
use super::watch::{Checked, Watch};
use crate::support::{Node, Up, World, codes, index, indices, rng};

type Disk = BTreeMap<String, Vec<u8>>;

/// A coordinator of four members with member 1 on its side.
struct Attack {
    world: World,
    nodes: Vec<Node>,
    watch: Watch,
    /// What the watch found, first first.
    broken: Option<String>,
}

impl Attack {
    fn new(seed: u64) -> Self {
        let world = World::new(4, seed);
        let nodes = world.nodes();
        Self {
            world,
            nodes,
            watch: Watch::new(3, MAX_COHORT_CHANGES),
            broken: None,
        }
    }

    fn accomplices() -> BTreeSet<MemberIndex> {
        BTreeSet::from([index(1)])
    }

    fn disks(&self) -> Vec<Disk> {
        self.nodes.iter().map(|node| node.disk.clone()).collect()
    }

    /// A member's disk is put back to what it was.
    fn restore(&mut self, member: u16, disks: &[Disk]) {
        let place = index(member).position();
        self.nodes[place].disk = disks[place].clone();
        self.nodes[place].restart();
    }

    fn begin(&mut self, number: u64) -> Step {
        let mut step = Step::new(&self.world, self.world.run, number, b"ask");
        self.watch.announced(&step.announce);
        for place in 0..self.nodes.len() {
            let upload = self.nodes[place].upload(&step.announce).unwrap();
            self.note(place, &Up::Upload(upload.clone()));
            step.take(self.nodes[place].index(), &upload);
        }
        step
    }

    fn note(&mut self, place: usize, up: &Up) {
        let found: Checked = self.watch.sent(&self.nodes[place], up);
        self.broken = self.broken.take().or(found.err());
    }

    /// Shows the set to these members, with all shares, and then the best certificate it can make.
    /// The totals, if that was enough.
    fn try_to_open(&mut self, step: &mut Step, set: &[u16], shown: &[u16]) -> Option<Vec<u64>> {
        let propose = members_of(step, &indices(set));
        self.watch.proposed(&propose);
        let say = |attack: &mut Self, step: &mut Step, message: &ToNode, to: u16| {
            let place = index(to).position();
            for up in attack.nodes[place].tell(message.clone()) {
                attack.note(place, &up);
                match up {
                    Up::Message(ToCoordinator::Vote(vote)) => step.votes.push(vote),
                    Up::Message(ToCoordinator::Release(release)) => step.releases.push(release),
                    _ => {}
                }
            }
        };
        for to in shown {
            say(self, step, &ToNode::Announce(step.announce.clone()), *to);
            for deliver in step.deliveries(index(*to), &mut rng(1)) {
                say(self, step, &ToNode::Deliver(deliver), *to);
            }
            say(self, step, &ToNode::Propose(propose.clone()), *to);
        }
        let certificate = step.certificate(&self.world, &Self::accomplices(), &propose);
        for to in shown {
            say(self, step, &ToNode::Certificate(certificate.clone()), *to);
        }
        step.open(&self.world, &Self::accomplices(), &propose)
    }
}

fn members_of(step: &Step, members: &[MemberIndex]) -> Propose {
    let claim = |member| step.uploads[member][0].claim();
    Propose {
        step: step.plan.reference(),
        entries: members.iter().map(claim).collect(),
    }
}

/// The difference of two totals.
fn minus(all: &[u64], fewer: &[u64]) -> Vec<u64> {
    all.iter().zip(fewer).map(|(a, b)| a - b).collect()
}

#[test]
fn a_member_that_forgets_a_vote_it_sent_opens_two_sums_of_one_step() {
    for forgets in [false, true] {
        let mut attack = Attack::new(700);
        let mut step = attack.begin(1);
        let before_the_vote = attack.disks();
        let all = attack.try_to_open(&mut step, &[1, 2, 3, 4], &[2, 3]);
        let all = all.expect("two honest votes and one bought certify a set");
        if forgets {
            attack.restore(2, &before_the_vote);
        }
        let fewer = attack.try_to_open(&mut step, &[1, 2, 3], &[2, 4]);
        if forgets {
            // Member 4's own numbers, in full.
            let shown = minus(&all, &fewer.expect("member 2 votes twice"));
            assert_eq!(shown, codes(index(4), b"ask"));
            let broken = attack.broken.expect("the watch sees it");
            assert!(broken.contains("voted for two sets"), "{broken}");
        } else {
            assert_eq!((fewer, attack.broken), (None, None));
        }
    }
}

#[test]
fn members_that_forget_a_release_open_one_ask_twice() {
    // Two would have to forget: with three releases needed and one accomplice, one is too few.
    for (forget, opens) in [(&[][..], false), (&[2], false), (&[2, 3], true)] {
        let mut attack = Attack::new(701);
        let mut first = attack.begin(1);
        let before_the_release = attack.disks();
        let all = attack
            .try_to_open(&mut first, &[1, 2, 3, 4], &[2, 3, 4])
            .unwrap();
        for member in forget {
            attack.restore(*member, &before_the_release);
        }
        let mut second = attack.begin(2);
        let fewer = attack.try_to_open(&mut second, &[1, 2, 3], &[2, 3, 4]);
        assert_eq!(fewer.is_some(), opens, "{forget:?} forget");
        if let Some(fewer) = fewer {
            assert_eq!(minus(&all, &fewer), codes(index(4), b"ask"));
            let broken = attack.broken.expect("the watch sees it");
            assert!(broken.contains("one ask with two sets"), "{broken}");
        }
    }
}

#[test]
fn a_member_that_forgets_a_step_it_answered_encrypts_twice_for_it() {
    let mut attack = Attack::new(702);
    let empty = attack.disks();
    let step = attack.begin(1);
    attack.restore(3, &empty);
    let again = attack.nodes[2]
        .upload(&step.announce)
        .expect("another upload");
    attack.note(2, &Up::Upload(again));
    let broken = attack.broken.expect("the watch sees it");
    assert!(broken.contains("two bodies"), "{broken}");
}
