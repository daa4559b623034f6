//! What must never happen, checked on everything that leaves an honest member or is opened.

use std::collections::{BTreeMap, BTreeSet};

use collegium_protocol::message::session::ToCoordinator;
use collegium_protocol::message::step::{Announce, Propose, StepRef, cohort_digest};
use collegium_protocol::{Digest, MemberIndex, RunId, StepNumber};

use crate::support::{Node, Parts, Up};

/// A broken promise, in words.
pub type Checked = Result<(), String>;

/// One step, whatever its context says.
type Number = (RunId, StepNumber);

/// Everything that ever left an honest member, as far as the promises need it.
#[derive(Default)]
pub struct Watch {
    minimum: usize,
    most_cohorts: usize,
    /// H(ask) of each context.
    asks: BTreeMap<Digest, Digest>,
    /// The members of each proposed set.
    sets: BTreeMap<Digest, Vec<MemberIndex>>,
    /// The body each member sent in each step.
    bodies: BTreeMap<(MemberIndex, Number), Digest>,
    /// The commitment each member answered with hashes of its body and key in each step: hashes
    /// under many challenges would give the key away.
    hashed: BTreeMap<(MemberIndex, Number), Digest>,
    /// The set each member voted for in each step.
    votes: BTreeMap<(MemberIndex, Number), Digest>,
    /// The set that was released in each step, by whomever.
    released: BTreeMap<Number, Digest>,
    /// The cohort each member released for an ask on its rows.
    openings: BTreeMap<(MemberIndex, Digest, Digest), Digest>,
    /// The cohorts each member let through in each run.
    cohorts: BTreeMap<(MemberIndex, RunId), BTreeSet<Digest>>,
    /// The totals that were opened in each step.
    totals: BTreeMap<Number, Vec<u64>>,
    /// How many releases there were.
    pub releases: usize,
}

impl Watch {
    pub fn new(minimum: usize, most_cohorts: usize) -> Self {
        Self {
            minimum,
            most_cohorts,
            ..Self::default()
        }
    }

    pub fn announced(&mut self, announce: &Announce) {
        let context = announce.context.digest();
        self.asks.insert(context, announce.context.ask);
    }

    pub fn proposed(&mut self, propose: &Propose) {
        self.sets.insert(propose.digest(), propose.members());
    }

    /// An honest member sent this.
    pub fn sent(&mut self, node: &Node, up: &Up) -> Checked {
        let from = node.index();
        match up {
            Up::Upload(upload) => {
                let body = Parts::of(upload).body_digest();
                self.body(from, upload.step, body)
            }
            Up::Message(ToCoordinator::Vote(vote)) => {
                let key = (from, number(vote.step));
                let before = *self.votes.entry(key).or_insert(vote.proposal);
                holds(before == vote.proposal, || {
                    format!("member {from} voted for two sets in step {:?}", vote.step)
                })
            }
            Up::Message(ToCoordinator::Release(release)) => self.release(
                from,
                node.rows_of(release.step.run),
                release.step,
                release.proposal,
            ),
            Up::Message(ToCoordinator::BodyHash(hash)) => {
                let key = (from, number(hash.step));
                let before = *self.hashed.entry(key).or_insert(hash.commitment);
                holds(before == hash.commitment, || {
                    format!("member {from} hashed its key under two challenges")
                })
            }
            Up::Message(_) => Ok(()),
        }
    }

    /// One key, one body: the same step gets the same bytes, two steps never do.
    fn body(&mut self, from: MemberIndex, step: StepRef, body: Digest) -> Checked {
        let key = (from, number(step));
        let before = *self.bodies.entry(key).or_insert(body);
        holds(before == body, || {
            format!("member {from} answered step {} with two bodies", step.step)
        })?;
        let reused = self
            .bodies
            .iter()
            .any(|(other, known)| *other != key && *known == body);
        holds(!reused, || format!("member {from} used a key twice"))
    }

    fn release(&mut self, from: MemberIndex, data: Digest, step: StepRef, set: Digest) -> Checked {
        self.releases += 1;
        let members = self.sets.get(&set).cloned().unwrap_or_default();
        holds(members.len() >= self.minimum, || {
            format!(
                "member {from} released a sum over {} members",
                members.len()
            )
        })?;
        // The vote itself may have been lost on its way, or in a crash after it was synced.
        let voted = *self.votes.entry((from, number(step))).or_insert(set);
        holds(voted == set, || {
            format!("member {from} released another set than it voted for")
        })?;
        let first = *self.released.entry(number(step)).or_insert(set);
        holds(first == set, || {
            format!("two sets were released in step {}", step.step)
        })?;
        let cohort = cohort_digest(&members);
        let ask = self
            .asks
            .get(&step.context)
            .copied()
            .unwrap_or(Digest([0; 32]));
        let before = *self.openings.entry((from, ask, data)).or_insert(cohort);
        holds(before == cohort, || {
            format!("member {from} released one ask with two sets")
        })?;
        let cohorts = self.cohorts.entry((from, step.run)).or_default();
        cohorts.insert(cohort);
        let (found, most) = (cohorts.len(), self.most_cohorts);
        holds(found <= most, || {
            format!("member {from} let {found} sets through in one run")
        })
    }

    /// Somebody opened the sum of a step over `contributors`.
    pub fn opened(&mut self, step: Number, contributors: &[MemberIndex], sums: &[u64]) -> Checked {
        holds(contributors.len() >= self.minimum, || {
            format!("a sum over {contributors:?} was opened")
        })?;
        let before = self.totals.entry(step).or_insert_with(|| sums.to_vec());
        holds(before == sums, || {
            format!("two sums of step {} were opened", step.1)
        })
    }
}

pub fn number(step: StepRef) -> Number {
    (step.run, step.step)
}

fn holds(fine: bool, broken: impl FnOnce() -> String) -> Checked {
    if fine { Ok(()) } else { Err(broken()) }
}
