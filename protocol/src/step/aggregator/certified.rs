//! The set is certified. From here the step is driven to its end: seats repeat their releases, so
//! it opens as soon as t of them are reachable. If it does not open then, some release may be false:
//! it is tried again with every further one. Only when no further release came for a long time is it
//! given up: a seat that voted and withholds its release, while another one was dealt nothing to
//! release, would hold up its run for ever. The ask is not put again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use collegium_crypto::shamir::ShareSum;

use super::proposed::bring_up;
use super::{Action, Core, Dropped, Event, State, Timing, ignored, refused, too_late};
use crate::ids::MemberIndex;
use crate::message::session::{DropReason, ToNode};
use crate::message::step::{Certificate, Propose, Release};
use crate::refusal::{Refusal, RefusalCode};
use crate::step::attempts::StepFailure;
use crate::step::opening::Opening;

pub(super) struct Certified {
    propose: Propose,
    proposal: Arc<ToNode>,
    message: Arc<ToNode>,
    certificate: Certificate,
    digest: collegium_crypto::transcript::Digest,
    releases: BTreeMap<MemberIndex, ShareSum>,
    refused: BTreeMap<MemberIndex, Refusal>,
    /// Releases with which opening was tried.
    tried: usize,
    /// Since when it is known not to open with those, and why.
    failed: Option<(Duration, StepFailure)>,
    /// When the last release came, or the certificate.
    since: Duration,
}

impl Certified {
    pub(super) fn new(propose: Propose, certificate: Certificate, now: Duration) -> Self {
        Self {
            proposal: Arc::new(ToNode::Propose(propose.clone())),
            digest: certificate.proposal,
            message: Arc::new(ToNode::Certificate(certificate.clone())),
            certificate,
            propose,
            releases: BTreeMap::new(),
            refused: BTreeMap::new(),
            tried: 0,
            failed: None,
            since: now,
        }
    }

    /// Until when further releases are waited for: not long, once the first t did not open the sum.
    pub(super) fn deadline(&self, timing: &Timing) -> Duration {
        match &self.failed {
            Some((since, _)) => *since + timing.vote_wait,
            None => self.since + timing.release_wait,
        }
    }

    pub(super) fn message(&self) -> &Arc<ToNode> {
        &self.message
    }

    pub(super) fn releases(&self) -> usize {
        self.releases.len()
    }

    /// Everything a member needs to release, from the announcement on.
    pub(super) fn bring_up(&self, core: &Core, member: MemberIndex, out: &mut Vec<Action>) {
        bring_up(core, member, &self.propose, &self.proposal, out);
        if core.connected.contains(&member) && core.holds_seat(member) {
            out.push(Action::Send {
                to: member,
                message: Arc::clone(&self.message),
            });
        }
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
                self.refused.remove(&member);
                if !self.releases.contains_key(&member) {
                    self.bring_up(core, member, out);
                }
            }
            Event::Release { from, release } => match self.release(core, from, &release) {
                Ok(New::Yes) => self.since = now,
                Ok(New::No) => {}
                Err(why) => out.push(ignored(from, why)),
            },
            Event::Refused {
                from,
                step,
                refusal,
            } if step == core.step().step => {
                out.push(refused(from, &refusal));
                let counts = core.holds_seat(from) && !self.releases.contains_key(&from);
                if counts && is_final(refusal.code) {
                    self.refused.insert(from, refusal);
                }
            }
            Event::NotOpened(failure) => {
                let since = self.failed.take().map_or(now, |(since, _)| since);
                self.failed = Some((since, failure));
            }
            Event::Cancel => {
                out.push(Action::Failed(StepFailure::Cancelled));
                return State::Over;
            }
            Event::Uploaded(receipt) => {
                out.push(too_late(&receipt));
            }
            // Votes above the quorum and late verdicts are harmless.
            Event::Disconnected(_)
            | Event::Verdict { .. }
            | Event::Vote { .. }
            | Event::Refused { .. }
            | Event::Tick => {}
        }
        self.advance(core, now, out)
    }

    fn release(
        &mut self,
        core: &Core,
        from: MemberIndex,
        release: &Release,
    ) -> Result<New, String> {
        let fits = release.step == core.step()
            && release.releaser == from
            && release.proposal == self.digest;
        if !fits {
            return Err("a release of something else".to_owned());
        }
        let seat = release
            .verify(core.plan.charter())
            .map_err(|e| e.to_string())?;
        let sum = ShareSum::from_bytes(seat.point(), release.share_sum.as_slice())
            .map_err(|e| e.to_string())?;
        self.refused.remove(&from);
        Ok(match self.releases.insert(from, sum) {
            None => New::Yes,
            Some(_) => New::No,
        })
    }

    fn advance(mut self, core: &Core, now: Duration, out: &mut Vec<Action>) -> State {
        let thresholds = core.plan.charter().thresholds();
        let releases = self.releases.len();
        if releases >= thresholds.threshold && releases > self.tried {
            self.tried = releases;
            out.push(Action::Open(Box::new(self.opening(core))));
            return State::Certified(self);
        }
        let over = now >= self.deadline(&core.timing);
        if let Some((_, failure)) = &self.failed {
            let everybody = releases + self.refused.len() >= thresholds.committee;
            if everybody || over {
                out.push(Action::Spoiled(failure.clone()));
                return State::Over;
            }
            return State::Certified(self);
        }
        if thresholds.committee - self.refused.len() < thresholds.threshold {
            let refusals = self.refused.into_iter().collect();
            let refusals = Dropped {
                reason: DropReason::SetRefused,
                refusals,
            }
            .refusals_in_words(core.plan.charter());
            out.push(Action::Failed(StepFailure::OpenedWithOtherSet { refusals }));
            return State::Over;
        }
        if over && releases < thresholds.threshold {
            out.push(Action::Spoiled(self.not_released(core)));
            return State::Over;
        }
        State::Certified(self)
    }

    fn not_released(&self, core: &Core) -> StepFailure {
        let mut missing = core.plan.charter().committee().to_vec();
        missing.retain(|seat| !self.releases.contains_key(seat));
        StepFailure::NotReleased {
            step: core.step().step,
            contributors: self.propose.members(),
            missing,
        }
    }

    fn opening(&self, core: &Core) -> Opening {
        let release = |(member, sum): (&MemberIndex, &ShareSum)| (*member, sum.clone());
        Opening {
            plan: Arc::clone(&core.plan),
            contributors: self.propose.members(),
            propose: self.propose.clone(),
            certificate: self.certificate.clone(),
            releases: self.releases.iter().map(release).collect(),
        }
    }
}

/// Whether a release is its seat's first.
enum New {
    Yes,
    No,
}

/// Refusals to release that stay, whatever reconnects.
fn is_final(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::ReleasedOtherSet | RefusalCode::CohortLimit | RefusalCode::AlreadyVoted
    )
}
