//! Uploads and verdicts come in, until the cohort is whole or waiting is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::proposed::Proposed;
use super::{Action, Core, Event, Note, OnRestart, State, Timing, ignored};
use crate::ids::MemberIndex;
use crate::message::session::DropReason;
use crate::message::step::{Propose, UploadClaim, Verdict};
use crate::refusal::{Refusal, RefusalCode};

pub(super) struct Collecting {
    uploads: BTreeMap<MemberIndex, UploadClaim>,
    refused: BTreeMap<MemberIndex, Refusal>,
    /// (by, dealer) of every verdict that was in order.
    content: BTreeSet<(MemberIndex, MemberIndex)>,
    /// (by, dealer) of every complaint.
    complaints: BTreeSet<(MemberIndex, MemberIndex)>,
    began: Duration,
    /// Since when the minimum of uploads is in.
    enough_since: Option<Duration>,
}

impl Collecting {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            uploads: BTreeMap::new(),
            refused: BTreeMap::new(),
            content: BTreeSet::new(),
            complaints: BTreeSet::new(),
            began: now,
            enough_since: None,
        }
    }

    pub(super) fn uploads(&self) -> usize {
        self.uploads.len()
    }

    pub(super) fn deadline(&self, timing: &Timing) -> Duration {
        match self.enough_since {
            Some(since) => since + timing.straggler_wait,
            None => self.began + timing.upload_wait,
        }
    }

    /// Connected members that may still upload.
    pub(super) fn pending(&self, core: &Core) -> Vec<MemberIndex> {
        let outstanding = |member: &&MemberIndex| {
            !self.uploads.contains_key(member) && !self.refused.contains_key(member)
        };
        core.connected.iter().filter(outstanding).copied().collect()
    }

    pub(super) fn handle(
        mut self,
        core: &Core,
        event: Event,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> State {
        match event {
            Event::Connected(member) => self.bring_up(core, member, out),
            Event::Disconnected(_) | Event::Tick => {}
            Event::Uploaded(claim) => self.upload(core, claim, now, out),
            Event::Refused {
                from,
                step,
                refusal,
            } if step == core.step().step => {
                let lost = refusal.code == RefusalCode::AlreadyAnswered
                    && !self.uploads.contains_key(&from);
                out.push(Action::Note(Note::Refused {
                    from,
                    refusal: refusal.clone(),
                }));
                self.refused.insert(from, refusal);
                if lost && core.timing.on_restart == OnRestart::AskAgain {
                    return self.give_up(core, DropReason::MemberRestarted, out);
                }
            }
            Event::Verdict { from, verdict } => self.verdict(core, from, verdict, out),
            Event::Cancel => return self.give_up(core, DropReason::Cancelled, out),
            Event::Refused { from, step, .. } => {
                out.push(ignored(from, format!("a refusal of step {step}")))
            }
            Event::Vote { from, .. } | Event::Release { from, .. } => {
                out.push(ignored(from, "nothing was proposed yet"));
            }
        }
        self.advance(core, now, out)
    }

    /// A member that comes (back) gets everything from the beginning.
    fn bring_up(&self, core: &Core, member: MemberIndex, out: &mut Vec<Action>) {
        if !core.connected.contains(&member) {
            return;
        }
        let wanted = !self.uploads.contains_key(&member) && !self.refused.contains_key(&member);
        let message = Arc::clone(if wanted {
            &core.contribute
        } else {
            &core.serve
        });
        out.push(Action::Send {
            to: member,
            message,
        });
        out.extend(self.uploads.keys().map(|dealer| Action::Deliver {
            to: member,
            dealer: *dealer,
        }));
    }

    fn upload(&mut self, core: &Core, claim: UploadClaim, now: Duration, out: &mut Vec<Action>) {
        let dealer = claim.member;
        if let Some(before) = self.uploads.get(&dealer) {
            if *before != claim {
                out.push(ignored(dealer, "a second, different upload"));
            }
            return;
        }
        // An upload is stronger than an earlier refusal.
        self.refused.remove(&dealer);
        self.uploads.insert(dealer, claim);
        if self.uploads.len() >= core.plan.charter().thresholds().min_contributors {
            self.enough_since.get_or_insert(now);
        }
        out.extend(
            core.connected
                .iter()
                .map(|to| Action::Deliver { to: *to, dealer }),
        );
    }

    fn verdict(&mut self, core: &Core, by: MemberIndex, verdict: Verdict, out: &mut Vec<Action>) {
        let dealer = verdict.dealer;
        let known = self
            .uploads
            .get(&dealer)
            .is_some_and(|claim| claim.shares == verdict.shares);
        if verdict.step != core.step() || !known {
            out.push(ignored(by, "a verdict on something else"));
            return;
        }
        match verdict.complaint {
            None => {
                self.complaints.remove(&(by, dealer));
                self.content.insert((by, dealer));
            }
            Some(refusal) => {
                if self.complaints.insert((by, dealer)) {
                    out.push(Action::Note(Note::Complaint {
                        by,
                        dealer,
                        refusal,
                    }));
                }
            }
        }
    }

    /// Proposes when the cohort is whole or waiting is over; gives up when it cannot become large
    /// enough; else goes on collecting.
    fn advance(self, core: &Core, now: Duration, out: &mut Vec<Action>) -> State {
        let minimum = core.plan.charter().thresholds().min_contributors;
        let enough = self.uploads.len() >= minimum;
        let over = now >= self.deadline(&core.timing);
        let without = self
            .refused
            .keys()
            .filter(|m| !self.uploads.contains_key(m))
            .count();
        if core.plan.charter().members().len() - without < minimum {
            return self.give_up(core, DropReason::TooFewMembers, out);
        }
        let whole = self.pending(core).is_empty() && self.verdicts_in(core);
        if !(over || (enough && whole)) {
            return State::Collecting(self);
        }
        if !enough {
            return self.give_up(core, DropReason::TooFewMembers, out);
        }
        match self.choose(core) {
            Some(entries) => self.propose(core, entries, now, out),
            None => self.give_up(core, DropReason::TooFewMembers, out),
        }
    }

    /// Whether every connected member that takes part has judged every upload.
    fn verdicts_in(&self, core: &Core) -> bool {
        let judges = core
            .connected
            .iter()
            .filter(|member| !self.refused.contains_key(member));
        judges.into_iter().all(|by| {
            self.uploads.keys().all(|dealer| {
                let pair = (*by, *dealer);
                self.content.contains(&pair) || self.complaints.contains(&pair)
            })
        })
    }

    /// U: every upload that nobody complained about. If that is too few, somebody's complaints may
    /// be false: dealers are taken back, those with the fewest complaints first, as long as a
    /// quorum of members can still vote, that is, has no complaint about anyone taken.
    fn choose(&self, core: &Core) -> Option<Vec<UploadClaim>> {
        let thresholds = core.plan.charter().thresholds();
        let complained = |dealer: &MemberIndex| {
            self.complaints
                .iter()
                .filter(|(_, about)| about == dealer)
                .count()
        };
        let mut dealers: Vec<_> = self.uploads.keys().map(|d| (complained(d), *d)).collect();
        dealers.sort_unstable();
        let mut chosen = BTreeSet::new();
        for (complaints, dealer) in dealers {
            if complaints > 0 && chosen.len() >= thresholds.min_contributors {
                break;
            }
            chosen.insert(dealer);
        }
        let cannot_vote: BTreeSet<_> = self
            .complaints
            .iter()
            .filter(|(_, d)| chosen.contains(d))
            .map(|(by, _)| *by)
            .collect();
        let voters = thresholds.committee - cannot_vote.len();
        if chosen.len() < thresholds.min_contributors || voters < thresholds.quorum {
            return None;
        }
        Some(
            self.uploads
                .values()
                .filter(|claim| chosen.contains(&claim.member))
                .copied()
                .collect(),
        )
    }

    fn propose(
        self,
        core: &Core,
        entries: Vec<UploadClaim>,
        now: Duration,
        out: &mut Vec<Action>,
    ) -> State {
        let propose = Propose {
            step: core.step(),
            entries,
        };
        out.push(Action::SyncUploads {
            members: propose.members(),
        });
        out.push(core.record(Some(propose.clone()), None));
        let proposed = Proposed::new(propose, now);
        core.broadcast(proposed.message(), out);
        State::Proposed(proposed)
    }

    fn give_up(self, core: &Core, reason: DropReason, out: &mut Vec<Action>) -> State {
        core.give_up(reason, self.refused.into_iter().collect(), out)
    }
}
