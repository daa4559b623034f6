//! A set is proposed; votes come in. Nothing was opened yet, so the step can still be dropped.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::certified::Certified;
use super::{Action, Core, Event, State, Timing, ignored, refused, too_late};
use crate::ids::MemberIndex;
use crate::message::session::{DropReason, ToNode};
use crate::message::step::{Certificate, CertifiedVote, Propose, Vote};
use crate::refusal::Refusal;
use collegium_crypto::identity::Signature;
use collegium_crypto::transcript::Digest;

pub(super) struct Proposed {
    propose: Propose,
    message: Arc<ToNode>,
    digest: Digest,
    votes: BTreeMap<MemberIndex, Signature>,
    refused: BTreeMap<MemberIndex, Refusal>,
    since: Duration,
}

impl Proposed {
    pub(super) fn new(propose: Propose, now: Duration) -> Self {
        Self {
            message: Arc::new(ToNode::Propose(propose.clone())),
            digest: propose.digest(),
            propose,
            votes: BTreeMap::new(),
            refused: BTreeMap::new(),
            since: now,
        }
    }

    pub(super) fn message(&self) -> &Arc<ToNode> {
        &self.message
    }

    pub(super) fn votes(&self) -> usize {
        self.votes.len()
    }

    pub(super) fn deadline(&self, timing: &Timing) -> Duration {
        self.since + timing.vote_wait
    }

    pub(super) fn handle(
        mut self,
        core: &Core,
        event: Event,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> State {
        match event {
            Event::Connected(member) => {
                // It gets everything again and may say otherwise now.
                self.refused.remove(&member);
                bring_up(core, member, &self.propose, &self.message, out);
            }
            Event::Vote { from, vote } => self.vote(core, from, &vote, out),
            Event::Refused {
                from,
                step,
                refusal,
            } if step == core.step().step
                && core.holds_seat(from)
                && !self.votes.contains_key(&from) =>
            {
                out.push(refused(from, &refusal));
                self.refused.insert(from, refusal);
            }
            Event::Uploaded(receipt) => {
                out.push(too_late(&receipt));
            }
            Event::Release { from, .. } => out.push(ignored(from, "nothing is certified yet")),
            Event::Cancel => return self.give_up(core, DropReason::Cancelled, out),
            Event::Disconnected(_)
            | Event::Verdict { .. }
            | Event::Refused { .. }
            | Event::NotOpened(_)
            | Event::Tick => {}
        }
        self.advance(core, now, out)
    }

    fn vote(&mut self, core: &Core, from: MemberIndex, vote: &Vote, out: &mut Vec<Action>) {
        let fits = vote.step == core.step() && vote.voter == from && vote.proposal == self.digest;
        if !fits {
            out.push(ignored(from, "a vote for something else"));
        } else if let Err(refusal) = vote.verify(core.plan.charter()) {
            out.push(ignored(from, refusal));
        } else {
            self.refused.remove(&from);
            self.votes.insert(from, vote.signature);
        }
    }

    fn advance(self, core: &Core, now: Duration, out: &mut Vec<Action>) -> State {
        let thresholds = core.plan.charter().thresholds();
        if self.votes.len() >= thresholds.quorum {
            return self.certify(core, now, out);
        }
        if thresholds.committee - self.refused.len() < thresholds.quorum {
            return self.give_up(core, DropReason::SetRefused, out);
        }
        if now >= self.deadline(&core.timing) {
            return self.give_up(core, DropReason::TooFewVotes, out);
        }
        State::Proposed(self)
    }

    fn certify(self, core: &Core, now: Duration, out: &mut Vec<Action>) -> State {
        let vote = |(voter, signature): (&MemberIndex, &Signature)| CertifiedVote {
            voter: *voter,
            signature: *signature,
        };
        let certificate = Certificate {
            step: core.step(),
            proposal: self.digest,
            votes: self.votes.iter().map(vote).collect(),
        };
        out.push(core.record(Some(self.propose.clone()), Some(certificate.clone())));
        let certified = Certified::new(self.propose, certificate, now);
        core.broadcast_to_seats(certified.message(), out);
        State::Certified(certified)
    }

    fn give_up(self, core: &Core, reason: DropReason, out: &mut Vec<Action>) -> State {
        core.give_up(reason, self.refused.into_iter().collect(), out)
    }
}

/// A seat that comes (back) needs the announcement, its shares of U, and the proposal.
pub(super) fn bring_up(
    core: &Core,
    member: MemberIndex,
    propose: &Propose,
    message: &Arc<ToNode>,
    out: &mut Vec<Action>,
) {
    if !core.connected.contains(&member) || !core.holds_seat(member) {
        return;
    }
    out.push(Action::Send {
        to: member,
        message: Arc::clone(&core.serve),
    });
    out.extend(propose.entries.iter().map(|e| Action::Deliver {
        to: member,
        dealer: e.member,
    }));
    out.push(Action::Send {
        to: member,
        message: Arc::clone(message),
    });
}
