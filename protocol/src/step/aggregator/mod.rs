//! The coordinator's machine for one step: Collecting, Proposed, Certified, then opened. One
//! struct per state, consumed to advance.
//!
//! It deals in digests; bodies and sealed shares stay in the daemon's spool. A step without a
//! certificate can be dropped at any time; one with a certificate never is: its ask is not put again,
//! and when its releases do not come, or a person ends the run, the round closes without it.

mod certified;
mod collecting;
mod proposed;
mod resume;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use collegium_crypto::encode::Shape;

use self::certified::Certified;
use self::collecting::Collecting;
use self::proposed::Proposed;
pub use self::resume::{Resumed, resume};
use super::admission::UploadReceipt;
use super::attempts::StepFailure;
use super::blame::Accusation;
use super::opening::Opening;
use super::plan::StepPlan;
use super::record::RunRecord;
use crate::charter::VerifiedCharter;
use crate::ids::{MemberIndex, StepNumber};
use crate::limits::{RELEASE_WAIT, STRAGGLER_WAIT, UPLOAD_WAIT, VOTE_WAIT};
use crate::message::session::{DropReason, ToNode};
use crate::message::step::{Announce, Part, Propose, Release, StepRef, Verdict, Vote};
use crate::refusal::Refusal;

/// What happened. Members are named by their certificates, not by their messages.
#[derive(Debug, Clone)]
pub enum Event {
    /// A member's session stands (again).
    Connected(MemberIndex),
    /// A member's session is gone.
    Disconnected(MemberIndex),
    /// An upload passed [`super::Admission`]; its bytes are in the spool.
    Uploaded(UploadReceipt),
    /// A member refuses to contribute, to vote or to release.
    Refused {
        /// The member.
        from: MemberIndex,
        /// The step it names; refusals of other steps are passed over.
        step: StepNumber,
        /// Why.
        refusal: Refusal,
    },
    /// A member's verdict on a delivered share.
    Verdict {
        /// The member.
        from: MemberIndex,
        /// Its message.
        verdict: Verdict,
    },
    /// A member's vote.
    Vote {
        /// The member.
        from: MemberIndex,
        /// Its message.
        vote: Vote,
    },
    /// A member's release.
    Release {
        /// The member.
        from: MemberIndex,
        /// Its message.
        release: Release,
    },
    /// [`Action::Open`] did not open the sum.
    NotOpened(StepFailure),
    /// [`Aggregator::deadline`] has come.
    Tick,
    /// A person ends the run.
    Cancel,
}

/// What is to be done, in order; see the rule in [`crate::step`].
#[derive(Debug)]
pub enum Action {
    /// Sync the record, replacing the run's record before.
    Persist(Box<RunRecord>),
    /// Add the bodies of these members in this order, and sync the sum and their trailers.
    SyncUploads {
        /// U, in roster order.
        members: Vec<MemberIndex>,
    },
    /// Send this to a connected member.
    Send {
        /// The member.
        to: MemberIndex,
        /// The message; the same allocation for all members.
        message: Arc<ToNode>,
    },
    /// Send a member its share of a dealer's upload: [`super::AdmittedUpload::delivery`].
    Deliver {
        /// The member.
        to: MemberIndex,
        /// The dealer.
        dealer: MemberIndex,
    },
    /// Enough releases are in: open the sum. If it opens, the machine is done; if not, tell it by
    /// [`Event::NotOpened`], and it may come again with more releases.
    Open(Box<Opening>),
    /// The sum does not open, whatever releases are taken, or too few came for too long: nothing of
    /// it is shown, and the round closes. The machine is done.
    Spoiled(StepFailure),
    /// The step was given up before its certificate; members were told. The machine is done.
    Dropped(Dropped),
    /// The run ends. The machine is done.
    Failed(StepFailure),
    /// For the log, and complaints for the ledger.
    Note(Note),
}

/// A step given up, with what members said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dropped {
    /// Why.
    pub reason: DropReason,
    /// Who refused, and why.
    pub refusals: Vec<(MemberIndex, Refusal)>,
}

impl Dropped {
    /// "hospital-a: policy..., hospital-b: ..." for people.
    #[must_use]
    pub fn refusals_in_words(&self, charter: &VerifiedCharter) -> String {
        let name = |index| match charter.member(index) {
            Some(member) => member.name.to_string(),
            None => format!("member {index}"),
        };
        let words: Vec<_> = self
            .refusals
            .iter()
            .map(|(from, refusal)| format!("{}: {refusal}", name(*from)))
            .collect();
        if words.is_empty() {
            "no member gave a reason".to_owned()
        } else {
            words.join("; ")
        }
    }
}

/// Something worth a line in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// A seat complained about a dealer's share. For [`super::Blame`], and the ledger.
    Complaint(Accusation),
    /// A member refused.
    Refused {
        /// The member.
        from: MemberIndex,
        /// Why.
        refusal: Refusal,
    },
    /// A member's message does not verify or fit the state; it was passed over.
    Ignored {
        /// The member.
        from: MemberIndex,
        /// Why.
        why: String,
    },
}

/// What to do when a member lost its answer to a step by restarting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRestart {
    /// Drop the step and ask again, so that the cohort stays whole.
    AskAgain,
    /// Go on without the member.
    GoOn,
}

/// How long to wait for what; see [`crate::limits`] for the defaults' reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timing {
    /// For a connected member, once enough others are in. Default 30 s.
    pub straggler_wait: Duration,
    /// For the minimum of uploads, from the announcement. Default 10 min.
    pub upload_wait: Duration,
    /// For the votes, from the proposal. Default 60 s.
    pub vote_wait: Duration,
    /// For one more release of a certified step, from the one before. Default 1 h.
    pub release_wait: Duration,
    /// See [`super::Attempts::on_restart`]. Default `AskAgain`.
    pub on_restart: OnRestart,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            straggler_wait: STRAGGLER_WAIT,
            upload_wait: UPLOAD_WAIT,
            vote_wait: VOTE_WAIT,
            release_wait: RELEASE_WAIT,
            on_restart: OnRestart::AskAgain,
        }
    }
}

/// Where the step stands, for logs and progress.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Uploads come in.
    Collecting {
        /// Uploads so far.
        uploads: usize,
    },
    /// A set was proposed.
    Proposed {
        /// Votes so far.
        votes: usize,
    },
    /// The set is certified.
    Certified {
        /// Releases so far.
        releases: usize,
    },
    /// Opened, dropped or failed.
    Over,
}

/// One step at the coordinator.
pub struct Aggregator {
    core: Core,
    state: State,
}

#[expect(
    clippy::large_enum_variant,
    reason = "a coordinator holds one of these for each running step"
)]
enum State {
    Collecting(Collecting),
    Proposed(Proposed),
    Certified(Certified),
    Over,
}

/// What all states share.
struct Core {
    plan: Arc<StepPlan>,
    /// Signed once; asks for a contribution.
    announce: Announce,
    contribute: Arc<ToNode>,
    serve: Arc<ToNode>,
    connected: BTreeSet<MemberIndex>,
    /// Members whose contribution is not wanted; a seat of theirs stays their own.
    left_out: BTreeSet<MemberIndex>,
    timing: Timing,
}

impl Core {
    fn new(
        plan: Arc<StepPlan>,
        announce: Announce,
        connected: BTreeSet<MemberIndex>,
        timing: Timing,
    ) -> Self {
        let contribute = Arc::new(ToNode::Announce(announce.with_part(Part::Contribute)));
        let serve = Arc::new(ToNode::Announce(announce.with_part(Part::Serve)));
        let connected = connected
            .into_iter()
            .filter(|index| plan.charter().member(*index).is_some())
            .collect();
        Self {
            plan,
            announce,
            contribute,
            serve,
            connected,
            left_out: BTreeSet::new(),
            timing,
        }
    }

    fn holds_seat(&self, member: MemberIndex) -> bool {
        self.plan.charter().seat_of(member).is_some()
    }

    /// Connected members that hold a seat, in seat order.
    fn connected_seats(&self) -> impl Iterator<Item = MemberIndex> {
        let committee = self.plan.charter().committee().iter().copied();
        committee.filter(|member| self.connected.contains(member))
    }

    fn step(&self) -> StepRef {
        self.plan.reference()
    }

    fn record(
        &self,
        propose: Option<Propose>,
        certificate: Option<crate::message::step::Certificate>,
    ) -> Action {
        Action::Persist(Box::new(RunRecord {
            announce: self.announce.clone(),
            shape: Shape::clone(self.plan.shape()),
            propose,
            certificate,
        }))
    }

    /// Asks every connected member for its part.
    fn announce(&self, out: &mut Vec<Action>) {
        out.extend(self.connected.iter().filter_map(|to| self.invitation(*to)));
    }

    /// The announcement for one member: to contribute, to serve only, or none at all.
    fn invitation(&self, to: MemberIndex) -> Option<Action> {
        let message = if !self.left_out.contains(&to) {
            &self.contribute
        } else if self.holds_seat(to) {
            &self.serve
        } else {
            return None;
        };
        let message = Arc::clone(message);
        Some(Action::Send { to, message })
    }

    fn broadcast_to_seats(&self, message: &Arc<ToNode>, out: &mut Vec<Action>) {
        out.extend(self.connected_seats().map(|to| Action::Send {
            to,
            message: Arc::clone(message),
        }));
    }

    /// Gives the step up and tells everybody.
    fn give_up(
        &self,
        reason: DropReason,
        refusals: Vec<(MemberIndex, Refusal)>,
        out: &mut Vec<Action>,
    ) -> State {
        let StepRef { run, step, .. } = self.step();
        let message = Arc::new(ToNode::StepDropped { run, step, reason });
        out.extend(self.connected.iter().map(|to| Action::Send {
            to: *to,
            message: Arc::clone(&message),
        }));
        out.push(Action::Dropped(Dropped { reason, refusals }));
        State::Over
    }
}

/// What a member refused, for the log.
fn refused(from: MemberIndex, refusal: &Refusal) -> Action {
    let refusal = refusal.clone();
    Action::Note(Note::Refused { from, refusal })
}

fn too_late(receipt: &UploadReceipt) -> Action {
    ignored(receipt.claim().member, "the upload came too late")
}

fn ignored(from: MemberIndex, why: impl std::fmt::Display) -> Action {
    Action::Note(Note::Ignored {
        from,
        why: why.to_string(),
    })
}

impl Aggregator {
    /// Begins a step: syncs its number, then announces it to the connected members. `announce`
    /// must be for the plan's context and signed; `now` is any clock that does not go back.
    #[must_use]
    pub fn start(
        plan: Arc<StepPlan>,
        announce: Announce,
        connected: BTreeSet<MemberIndex>,
        timing: Timing,
        now: Duration,
    ) -> (Self, Vec<Action>) {
        Self::start_without(BTreeSet::new(), plan, announce, connected, timing, now)
    }

    /// [`Aggregator::start`], without the contributions of the members `left_out`; see
    /// [`super::Blame::left_out`]. They serve on the committee all the same.
    #[must_use]
    pub fn start_without(
        left_out: BTreeSet<MemberIndex>,
        plan: Arc<StepPlan>,
        announce: Announce,
        connected: BTreeSet<MemberIndex>,
        timing: Timing,
        now: Duration,
    ) -> (Self, Vec<Action>) {
        let core = Core {
            left_out,
            ..Core::new(plan, announce, connected, timing)
        };
        let mut out = vec![core.record(None, None)];
        core.announce(&mut out);
        let state = State::Collecting(Collecting::new(now));
        (Self { core, state }, out)
    }

    /// Takes an event in; gives the actions to carry out, in order.
    pub fn handle(&mut self, event: Event, now: Duration) -> Vec<Action> {
        let mut out = Vec::new();
        match event {
            Event::Connected(member) if self.core.plan.charter().member(member).is_some() => {
                self.core.connected.insert(member);
            }
            Event::Disconnected(member) => {
                self.core.connected.remove(&member);
            }
            _ => {}
        }
        self.state = match std::mem::replace(&mut self.state, State::Over) {
            State::Collecting(state) => state.handle(&self.core, event, now, &mut out),
            State::Proposed(state) => state.handle(&self.core, event, now, &mut out),
            State::Certified(state) => state.handle(&self.core, event, now, &mut out),
            State::Over => State::Over,
        };
        out
    }

    /// When to send [`Event::Tick`], if nothing else happens before. Ask again after each event.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        match &self.state {
            State::Collecting(state) => Some(state.deadline(&self.core.timing)),
            State::Proposed(state) => Some(state.deadline(&self.core.timing)),
            State::Certified(state) => Some(state.deadline(&self.core.timing)),
            State::Over => None,
        }
    }

    /// Where the step stands.
    #[must_use]
    pub fn phase(&self) -> Phase {
        match &self.state {
            State::Collecting(state) => Phase::Collecting {
                uploads: state.uploads(),
            },
            State::Proposed(state) => Phase::Proposed {
                votes: state.votes(),
            },
            State::Certified(state) => Phase::Certified {
                releases: state.releases(),
            },
            State::Over => Phase::Over,
        }
    }

    /// The step's plan, for [`super::Admission`].
    #[must_use]
    pub fn plan(&self) -> &Arc<StepPlan> {
        &self.core.plan
    }

    /// Members whose uploads are in, and who still is expected to upload: for progress lines.
    #[must_use]
    pub fn awaited(&self) -> Vec<MemberIndex> {
        match &self.state {
            State::Collecting(state) => state.pending(&self.core).collect(),
            _ => Vec::new(),
        }
    }
}
