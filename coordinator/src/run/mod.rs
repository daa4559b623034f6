//! One run, from the offer to the members to its end.
//!
//! The search is sequential code on a thread of its own; this side serves its
//! sums one after the other and listens to the nodes all the time. Rooms:
//! `step` drives one secure
//! sum, `opening` ends it and `verify` proves it, `search` runs the thread, `finish` writes the end.

mod finish;
mod live;
mod opening;
mod search;
mod step;
mod traffic;
mod verify;

use std::sync::Arc;
use std::time::Duration;

use collegium_automl::search::{Outcome, Round};
use collegium_automl::task::Task;
use collegium_protocol::context::task_digest;
use collegium_protocol::ids::{MemberIndex, MemberName, RunId};
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::step::{Attempts, Blame};
use collegium_protocol::{Digest, Refusal, VerifiedCharter};
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};
use tracing::{info, warn};

use crate::app::Context;
use crate::hub::NodeEvent;
use crate::ledger::{Action, Entry, Outcome as LedgerOutcome};
use crate::participants::{Needed, Participants, Readiness};
use crate::progress::Progress;
use crate::rounds;
use crate::runs::RunsError;
use crate::store::{CertifiedStep, RunRecord, StoreError};
use traffic::Traffic;
use verify::Checks;

/// Why a run is ended from outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The daemon stops; the run goes on after its next start.
    Shutdown,
    /// A person, named here, ends it.
    Cancelled(String),
}

/// Why the driver stops before the search is done.
#[derive(Debug)]
pub(crate) enum Stop {
    /// From outside.
    Ended(End),
    /// The run cannot have a champion; the text is for people.
    Failed(String),
    /// Going on is unsafe.
    Fault(RunsError),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Fault(error.into())
    }
}

impl From<crate::ledger::LedgerError> for Stop {
    fn from(error: crate::ledger::LedgerError) -> Self {
        Self::Fault(error.into())
    }
}

/// One run under way.
struct Driver {
    context: Arc<Context>,
    run: RunId,
    task: Task,
    /// Which round it is, with what the one before left.
    round: Round,
    charter: Arc<VerifiedCharter>,
    offer: ToNode,
    participants: Participants,
    events: mpsc::Receiver<NodeEvent>,
    end: watch::Receiver<Option<End>>,
    progress: Progress,
    traffic: Traffic,
    attempts: Attempts,
    checks: Checks,
    /// What members' complaints prove; begins anew when the daemon restarts, the ledger does not.
    blame: Blame,
    /// A step that an earlier process left with a certificate.
    certified: Option<CertifiedStep>,
    /// What the watchers were last told that the run waits for.
    waiting_for: Option<String>,
    /// Time on this run that is in the database.
    saved: Duration,
}

/// What a step needs to hear of what the nodes did.
#[derive(Debug)]
enum Heard {
    /// A member has answered the offer and can be asked.
    Ready(MemberIndex),
    /// A member is gone, or is a new process that knows nothing yet.
    Gone(MemberIndex),
    /// A step message.
    Said(MemberIndex, ToCoordinator),
    /// An upload.
    Uploaded(Box<crate::upload::Arrived>),
}

/// Works on a run until it has ended, or the daemon stops.
///
/// # Errors
/// [`RunsError`]: the run stays as it is on disk.
pub async fn work(
    context: &Arc<Context>,
    record: RunRecord,
    progress: Progress,
    end: watch::Receiver<Option<End>>,
) -> Result<(), RunsError> {
    let worked = match Driver::begin(context, &record, progress.clone(), end).await {
        Ok(mut driver) => {
            let result = driver.work().await;
            driver.save_figures().await?;
            result
        }
        Err(stop) => Err(stop),
    };
    // Sealed shares are of no use to anybody once a run has ended.
    if !matches!(worked, Err(Stop::Ended(End::Shutdown) | Stop::Fault(_)))
        && let Err(error) = context.step_files.begin_shares()
    {
        warn!(%error, "the shares of the last step cannot be removed");
    }
    match worked {
        Err(Stop::Fault(fault)) => Err(fault),
        Err(Stop::Ended(End::Shutdown)) => Ok(()),
        Err(Stop::Ended(End::Cancelled(by))) => {
            finish::cancelled(context, &record, &progress, &by).await
        }
        Err(Stop::Failed(reason)) => finish::failed(context, &record, &progress, &reason).await,
        Ok(found) => finish::champion(context, &record, &progress, found).await,
    }
}

/// What a search ended with.
struct Found {
    outcome: Box<Outcome>,
    published: crate::remote::Published,
}

impl Driver {
    async fn begin(
        context: &Arc<Context>,
        record: &RunRecord,
        progress: Progress,
        end: watch::Receiver<Option<End>>,
    ) -> Result<Self, Stop> {
        let run = record.run;
        let charter = context.charter.borrow().clone();
        let charter = charter
            .filter(|charter| charter.digest() == record.charter || rounds::waited(record))
            .ok_or_else(|| {
                Stop::Failed(
                    "another charter is in force than when the task was submitted: submit it again"
                        .to_owned(),
                )
            })?;
        let task = Task::from_toml(&record.task.source)
            .map_err(|error| Stop::Failed(format!("this version cannot read the task: {error}")))?;
        if rounds::waited(record) {
            let charter = charter.digest();
            context.store.adopt_charter(run, charter).await?;
        }
        let round = rounds::remember(context, record, &task, &progress).await?;
        context.store.start_run(run).await?;
        for step in context
            .store
            .drop_unfinished(run, "the coordinator restarted")
            .await?
        {
            info!(%run, %step, "a step without a certificate is dropped after a restart");
        }
        let thresholds = charter.thresholds();
        let needed = Needed {
            contributors: thresholds.min_contributors,
            committee: thresholds.quorum.max(thresholds.threshold),
        };
        let roster = charter.members().iter().map(|member| member.name.clone());
        let names: Vec<_> = roster.clone().collect();
        let source = record.task.source.as_bytes();
        let mut driver = Self {
            certified: context.store.certified_step(run).await?,
            checks: Checks::default(),
            attempts: Attempts::after(context.store.last_step(run).await?),
            traffic: Traffic::begin(&context.store, run, &context.hub, &names).await?,
            participants: Participants::new(roster, needed)
                .with_committee(charter.seats().map(|(_, member)| &member.name)),
            blame: Blame::new(&charter),
            offer: ToNode::RunOffer {
                run,
                task: source.to_vec().into(),
                task_digest: task_digest(source),
            },
            events: context.hub.listen(),
            context: context.clone(),
            run,
            task,
            round,
            charter,
            end,
            progress,
            waiting_for: None,
            saved: Duration::from_millis(record.elapsed_ms),
        };
        for member in context.hub.members() {
            driver.meet(&member);
        }
        Ok(driver)
    }

    /// Offers the run to a member that is connected now.
    fn meet(&mut self, member: &MemberName) {
        if self.participants.came(member) {
            self.context.hub.send(member, self.offer.clone());
        }
    }

    /// Saves what a restart could not know: bytes received, and time spent.
    async fn save_figures(&mut self) -> Result<(), StoreError> {
        let store = &self.context.store;
        self.traffic
            .save(store, self.run, &self.context.hub)
            .await?;
        let elapsed = self.progress.elapsed();
        let more = elapsed.saturating_sub(self.saved).as_millis();
        store
            .add_elapsed(self.run, u64::try_from(more).unwrap_or(u64::MAX))
            .await?;
        self.saved = elapsed;
        Ok(())
    }

    async fn work(&mut self) -> Result<Found, Stop> {
        self.gather().await?;
        self.search().await
    }

    /// Waits until the members have answered the offer: all of them, or enough of
    /// them to know how it will go and `accept_wait` is over. A task that does not
    /// fit is wrong at several sites as a rule, and all of them should be named.
    async fn gather(&mut self) -> Result<(), Stop> {
        let accept_wait = self.context.config.run.accept_wait.0;
        let mut known_since = None;
        loop {
            let readiness = self.participants.readiness();
            let waited = match readiness {
                Readiness::Everyone => return Ok(()),
                Readiness::Waiting(_) => {
                    known_since = None;
                    false
                }
                Readiness::Enough | Readiness::Hopeless(_) => {
                    known_since.get_or_insert_with(Instant::now).elapsed() >= accept_wait
                }
            };
            match readiness {
                Readiness::Enough if waited => return Ok(()),
                Readiness::Hopeless(reason)
                    if waited || self.participants.all_present_answered() =>
                {
                    return Err(Stop::Failed(reason));
                }
                _ => {}
            }
            self.say_what_it_waits_for();
            self.hear(known_since.map(|since| since + accept_wait))
                .await?;
        }
    }

    /// Waits until a step can begin.
    async fn until_ready(&mut self) -> Result<(), Stop> {
        loop {
            match self.participants.readiness() {
                Readiness::Everyone | Readiness::Enough => {
                    self.say_what_it_waits_for();
                    return Ok(());
                }
                Readiness::Hopeless(reason) => return Err(Stop::Failed(reason)),
                Readiness::Waiting(_) => {}
            }
            self.say_what_it_waits_for();
            self.hear(None).await?;
        }
    }

    /// Tells the watchers, once for each change.
    fn say_what_it_waits_for(&mut self) {
        let reason = match self.participants.readiness() {
            Readiness::Waiting(reason) => Some(reason),
            _ => None,
        };
        if reason == self.waiting_for {
            return;
        }
        match &reason {
            Some(reason) => {
                info!(run = %self.run, reason, "waiting");
                self.progress
                    .publish("waiting", json!({ "reason": reason }));
            }
            None => self
                .progress
                .publish("note", json!({ "text": "enough members are ready" })),
        }
        self.waiting_for = reason;
    }

    /// Waits for the next thing that a step may want to hear of, until `patience`
    /// is over (`None` then, and when nothing but bookkeeping happened). Not
    /// cancel-safe.
    async fn hear(&mut self, patience: Option<Instant>) -> Result<Option<Heard>, Stop> {
        match self.wait(patience).await? {
            Some(event) => self.note(event).await,
            None => Ok(None),
        }
    }

    /// Waits for an event, until `patience` is over. Cancel-safe.
    async fn wait(&mut self, patience: Option<Instant>) -> Result<Option<NodeEvent>, Stop> {
        let ended = async {
            match self.end.wait_for(Option::is_some).await {
                Ok(end) => end.clone().unwrap_or(End::Shutdown),
                Err(_) => End::Shutdown,
            }
        };
        let over = async {
            match patience {
                Some(moment) => sleep_until(moment).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            end = ended => Err(Stop::Ended(end)),
            event = self.events.recv() => event.map(Some).ok_or(Stop::Ended(End::Shutdown)),
            () = over => Ok(None),
        }
    }

    fn index(&self, name: &MemberName) -> Option<MemberIndex> {
        self.charter
            .members()
            .iter()
            .find(|member| member.name == *name)
            .map(|member| member.index)
    }

    fn name(&self, index: MemberIndex) -> Option<&MemberName> {
        self.charter.member(index).map(|member| &member.name)
    }

    /// Members that have answered the offer and are there, by index.
    fn askable(&self) -> impl Iterator<Item = MemberIndex> {
        self.participants
            .answered()
            .filter_map(|name| self.index(name))
    }

    /// Keeps the books, and passes on what concerns a step.
    async fn note(&mut self, event: NodeEvent) -> Result<Option<Heard>, Stop> {
        let name = match &event {
            NodeEvent::Connected(name) | NodeEvent::Gone(name) => name,
            NodeEvent::Said(name, _) | NodeEvent::Uploaded(name, _) => name,
        };
        let Some(index) = self.index(name) else {
            return Ok(None);
        };
        Ok(match event {
            NodeEvent::Connected(name) => {
                self.meet(&name);
                Some(Heard::Gone(index))
            }
            NodeEvent::Gone(name) => {
                self.participants.went(&name);
                Some(Heard::Gone(index))
            }
            NodeEvent::Uploaded(_, arrived) => Some(Heard::Uploaded(arrived)),
            NodeEvent::Said(name, ToCoordinator::RunAccepted { run, data }) if run == self.run => {
                self.accepted(&name, data).await?;
                self.remind(index);
                Some(Heard::Ready(index))
            }
            NodeEvent::Said(name, ToCoordinator::RunRefused { run, refusal })
                if run == self.run =>
            {
                self.refused(&name, refusal).await?;
                Some(Heard::Ready(index))
            }
            NodeEvent::Said(_, ToCoordinator::BodyHash(hash)) => {
                self.body_hash(index, hash);
                None
            }
            NodeEvent::Said(_, message) => {
                if let ToCoordinator::StepRefused { run, step, .. } = &message
                    && *run == self.run
                {
                    self.hash_refused(index, *step);
                }
                Some(Heard::Said(index, message))
            }
        })
    }

    async fn accepted(&mut self, member: &MemberName, data: Digest) -> Result<(), Stop> {
        if !self.participants.accepted(member, data) {
            return Ok(());
        }
        self.context
            .store
            .record_acceptance(self.run, member, data)
            .await?;
        self.write_answer(member, LedgerOutcome::Done, json!({ "data": data }))
            .await?;
        self.progress
            .publish("note", json!({ "text": format!("{member} takes part") }));
        Ok(())
    }

    async fn refused(&mut self, member: &MemberName, refusal: Refusal) -> Result<(), Stop> {
        warn!(run = %self.run, %member, %refusal, "a member refuses the run");
        let text = format!("{member} does not take part: {refusal}");
        let evidence = json!({ "code": u16::from(refusal.code), "reason": refusal.to_string() });
        if self.participants.refused(member, refusal) {
            self.write_answer(member, LedgerOutcome::Refused, evidence)
                .await?;
            self.progress.publish("note", json!({ "text": text }));
        }
        Ok(())
    }

    async fn write_answer(
        &self,
        member: &MemberName,
        outcome: LedgerOutcome,
        evidence: serde_json::Value,
    ) -> Result<(), Stop> {
        let entry = Entry::new(
            Action::RunOffer,
            &format!("node/{member}"),
            &self.run.to_string(),
            outcome,
        );
        Ok(self.context.record(entry.evidence(evidence)).await?)
    }
}
