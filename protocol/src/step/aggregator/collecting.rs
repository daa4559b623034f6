//! Uploads and verdicts come in, until the cohort is whole or waiting is over.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::proposed::Proposed;
use super::{Action, Core, Event, Note, OnRestart, State, Timing, ignored, refused};
use crate::ids::MemberIndex;
use crate::message::session::DropReason;
use crate::message::step::{Propose, UploadClaim, Verdict};
use crate::refusal::{Refusal, RefusalCode};
use crate::step::admission::UploadReceipt;
use crate::step::blame::Accusation;

pub(super) struct Collecting {
    uploads: BTreeMap<MemberIndex, UploadReceipt>,
    refused: BTreeMap<MemberIndex, Refusal>,
    /// Of each seat's holder: the dealers it has judged.
    judged: BTreeMap<MemberIndex, BTreeSet<MemberIndex>>,
    /// (by, dealer) of every complaint that stands.
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
            judged: BTreeMap::new(),
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
    pub(super) fn pending(&self, core: &Core) -> impl Iterator<Item = MemberIndex> {
        let members = core.connected.iter().copied();
        members.filter(|member| self.wants(core, *member))
    }

    /// Whether this member's upload is wanted and may still come.
    fn wants(&self, core: &Core, member: MemberIndex) -> bool {
        !core.left_out.contains(&member)
            && !self.uploads.contains_key(&member)
            && !self.refused.contains_key(&member)
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
            Event::Disconnected(_) | Event::NotOpened(_) | Event::Tick => {}
            Event::Uploaded(receipt) => self.upload(core, receipt, now, out),
            Event::Refused {
                from,
                step,
                refusal,
            } if step == core.step().step => {
                let lost = refusal.code == RefusalCode::AlreadyAnswered
                    && !self.uploads.contains_key(&from);
                out.push(refused(from, &refusal));
                self.refused.insert(from, refusal);
                if lost && core.timing.on_restart == OnRestart::AskAgain {
                    return self.give_up(core, DropReason::MemberRestarted, out);
                }
            }
            Event::Verdict { from, verdict } => self.verdict(core, from, &verdict, out),
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
        let holds_seat = core.holds_seat(member);
        if self.wants(core, member) || holds_seat {
            let message = Arc::clone(if self.wants(core, member) {
                &core.contribute
            } else {
                &core.serve
            });
            out.push(Action::Send {
                to: member,
                message,
            });
        }
        if holds_seat {
            out.extend(self.uploads.keys().map(|dealer| Action::Deliver {
                to: member,
                dealer: *dealer,
            }));
        }
    }

    fn upload(
        &mut self,
        core: &Core,
        receipt: UploadReceipt,
        now: Duration,
        out: &mut Vec<Action>,
    ) {
        let dealer = receipt.claim().member;
        if core.left_out.contains(&dealer) {
            out.push(ignored(
                dealer,
                "this step goes on without its contribution",
            ));
            return;
        }
        if let Some(before) = self.uploads.get(&dealer) {
            if *before != receipt {
                out.push(ignored(dealer, "a second, different upload"));
            }
            return;
        }
        // An upload is stronger than an earlier refusal.
        self.refused.remove(&dealer);
        self.uploads.insert(dealer, receipt);
        if self.uploads.len() >= core.plan.charter().thresholds().min_contributors {
            self.enough_since.get_or_insert(now);
        }
        out.extend(
            core.connected_seats()
                .map(|to| Action::Deliver { to, dealer }),
        );
    }

    fn verdict(&mut self, core: &Core, by: MemberIndex, verdict: &Verdict, out: &mut Vec<Action>) {
        let dealer = verdict.dealer;
        let Some(upload) = self.uploads.get(&dealer) else {
            out.push(ignored(by, "a verdict on something else"));
            return;
        };
        let charter = core.plan.charter();
        match Accusation::check(core.step(), by, verdict, upload, charter) {
            Ok(_) if !core.holds_seat(by) => {
                out.push(ignored(by, RefusalCode::NoSeat.describe()));
                return;
            }
            Ok(None) => {
                self.complaints.remove(&(by, dealer));
            }
            Ok(Some(accusation)) => {
                if self.complaints.insert((by, dealer)) {
                    out.push(Action::Note(Note::Complaint(accusation)));
                }
            }
            Err(refusal) => {
                out.push(ignored(by, format_args!("a verdict: {refusal}")));
                return;
            }
        }
        self.judged.entry(by).or_default().insert(dealer);
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
            .chain(&core.left_out)
            .filter(|m| !self.uploads.contains_key(m))
            .collect::<BTreeSet<_>>()
            .len();
        if core.plan.charter().members().len() - without < minimum {
            return self.give_up(core, DropReason::TooFewMembers, out);
        }
        let whole = self.pending(core).next().is_none() && self.verdicts_in(core);
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

    /// Whether every connected seat that takes part has judged every upload.
    fn verdicts_in(&self, core: &Core) -> bool {
        core.connected_seats()
            .filter(|by| !self.refused.contains_key(by))
            .all(|by| self.judged.get(&by).map_or(0, BTreeSet::len) == self.uploads.len())
    }

    /// U: every upload that nobody complained about (complaints of members that are left out for
    /// being faulty keep nobody out). If that is too few, somebody's complaints may be false:
    /// dealers are taken back, those with the fewest complaints first, as long as a quorum of
    /// seats can still vote, that is, has no complaint about anyone taken.
    fn choose(&self, core: &Core) -> Option<Vec<UploadClaim>> {
        let thresholds = core.plan.charter().thresholds();
        let mut complained = BTreeMap::new();
        for (by, dealer) in &self.complaints {
            if !core.left_out.contains(by) {
                *complained.entry(*dealer).or_insert(0) += 1;
            }
        }
        let complaints = |dealer| complained.get(dealer).copied().unwrap_or(0);
        let mut dealers: Vec<_> = self.uploads.keys().map(|d| (complaints(d), *d)).collect();
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
                .map(UploadReceipt::claim)
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
        core.broadcast_to_seats(proposed.message(), out);
        State::Proposed(proposed)
    }

    fn give_up(self, core: &Core, reason: DropReason, out: &mut Vec<Action>) -> State {
        core.give_up(reason, self.refused.into_iter().collect(), out)
    }
}
