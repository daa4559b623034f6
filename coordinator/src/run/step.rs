//! One ask of the search: as many steps of the protocol as it takes.
//!
//! The rules live in the step machine. Here its actions are carried out
//! strictly in order, each finished before the next begins: what must be on
//! disk is there before anything is sent that relies on it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use collegium_automl::ask::{Ask, Totals};
use collegium_automl::federation::FederationError;
use collegium_crypto::glwe::BodySum;
use collegium_protocol::Digest;
use collegium_protocol::context::ask_digest;
use collegium_protocol::ids::{MemberIndex, StepNumber};
use collegium_protocol::message::session::ToNode;
use collegium_protocol::message::step::Announce;
use collegium_protocol::step::{
    self, Accusation, Action, AdmittedUpload, Aggregator, Dropped, Event, Note, Resumed,
    RunRecord as StepState, StepFailure, StepPlan, Timing,
};
use serde_json::json;
use tracing::{debug, info, warn};

use super::live::{Live, StepEnd, Summing, shape_of};
use super::{Driver, End, Stop};
use crate::ledger::{Action as LedgerAction, Entry, Outcome};
use crate::runs::RunsError;
use crate::stepfiles::IN_DATABASE;
use crate::store::CertifiedStep;
use crate::sum::SumError;
use crate::upload::OpenStep;

impl Driver {
    /// The totals of `ask`. The inner error is for the search, which may still
    /// end with the best it has; the outer one ends the run.
    pub(super) async fn sum(&mut self, ask: &Ask) -> Result<Result<Totals, FederationError>, Stop> {
        let bytes = match ask.to_bytes() {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error.into())),
        };
        let sequence = ask.sequence;
        let spoiled = |reason| FederationError::Spoiled { sequence, reason };
        let known = self.context.store.spoiled(self.run, sequence).await?;
        if let Some(reason) = known.or_else(|| self.take_doubt()) {
            return Ok(Err(spoiled(reason)));
        }
        if let Some(certified) = self.certified.take() {
            return Ok(match self.resume(ask, certified).await? {
                StepEnd::Opened(totals) => Ok(totals),
                StepEnd::Spoiled(reason) => Err(spoiled(reason)),
                StepEnd::Dropped(_) => Err(FederationError::Step {
                    sequence,
                    reason: "a certified step was dropped".to_owned(),
                }),
            });
        }
        loop {
            self.until_ready().await?;
            let number = self.attempts.next_number(ask_digest(&bytes));
            match self.step(ask, &bytes, number).await? {
                StepEnd::Opened(totals) => return Ok(Ok(totals)),
                StepEnd::Spoiled(reason) => return Ok(Err(spoiled(reason))),
                StepEnd::Dropped(dropped) => self.dropped(number, &dropped).await?,
            }
        }
    }

    /// Whose contribution the next step goes on without, and says so.
    fn left_out(&self) -> BTreeSet<MemberIndex> {
        let willing = self.participants.contributors();
        let willing = willing.filter_map(|name| self.index(name)).collect();
        let minimum = self.charter.thresholds().min_contributors;
        let policy = self.context.config.step.blame;
        let left_out = self.blame.left_out(policy, &willing, minimum);
        for member in &left_out {
            let name = self.called(*member);
            info!(run = %self.run, name, "a step goes on without a member proven faulty");
            let text = format!("going on without {name}, which complaints prove faulty");
            self.progress.publish("note", json!({ "text": text }));
        }
        left_out
    }

    /// A member for people.
    fn called(&self, member: MemberIndex) -> String {
        self.name(member)
            .map_or_else(|| format!("member {member}"), ToString::to_string)
    }

    fn timing(&self) -> Timing {
        let config = &self.context.config.step;
        Timing {
            straggler_wait: config.straggler_wait.0,
            upload_wait: config.upload_wait.0,
            vote_wait: config.vote_wait.0,
            release_wait: config.release_wait.0,
            on_restart: self.attempts.on_restart(),
        }
    }

    /// One new step.
    async fn step(&mut self, ask: &Ask, bytes: &[u8], number: StepNumber) -> Result<StepEnd, Stop> {
        let plan = StepPlan::new(self.charter.clone(), self.run, number, bytes, shape_of(ask))
            .map_err(|refusal| {
                Stop::Failed(format!(
                    "the search asks for more than a step can carry: {refusal}"
                ))
            })?;
        let plan = Arc::new(plan);
        let timing = self.timing();
        let deadline_ms = u64::try_from(timing.upload_wait.as_millis()).unwrap_or(u64::MAX);
        let announce = Announce::sign(
            plan.context().clone(),
            bytes.to_vec().into(),
            deadline_ms,
            &self.context.keys.signing,
        );
        let members: BTreeSet<_> = self.askable().collect();
        debug!(run = %self.run, step = %number, sequence = ask.sequence, members = members.len(), "step begins");
        let (aggregator, actions) = Aggregator::start_without(
            self.left_out(),
            plan.clone(),
            announce,
            members,
            timing,
            Duration::ZERO,
        );
        let shares = self.context.step_files.begin_shares();
        let shares = shares.map_err(|source| self.step_file_fault(source))?;
        let (spool, kept) = (self.context.spool.clone(), shares.clone());
        let open = OpenStep::new(plan, spool, kept);
        self.context.hub.set_step(Some(Arc::new(open)));
        let mut live = Live::new(aggregator, ask, shares);
        let end = self.drive(&mut live, actions).await;
        self.context.hub.set_step(None);
        end
    }

    /// A step that an earlier process left with a certificate.
    async fn resume(&mut self, ask: &Ask, certified: CertifiedStep) -> Result<StepEnd, Stop> {
        let unusable = |why: &dyn std::fmt::Display| {
            Stop::Failed(format!(
                "step {} has a certificate but cannot be driven on: {why}",
                certified.step
            ))
        };
        let digest = ask.digest().map_err(|error| unusable(&error))?;
        if certified.sequence != ask.sequence || certified.ask != Digest(digest.0) {
            return Err(unusable(
                &"the search asks something else now; was the program or the task changed?",
            ));
        }
        info!(run = %self.run, step = %certified.step, "a certified step is driven on");
        let record = StepState::from_bytes(&certified.record).map_err(|error| unusable(&error))?;
        let propose = record.propose.clone();
        let members: BTreeSet<_> = self.askable().collect();
        let charter = self.charter.clone();
        // The clock of a step that goes on begins with it.
        let resumed = step::resume(record, charter, members, self.timing(), Duration::ZERO)
            .map_err(|error| unusable(&error))?;
        let Resumed::Driving(aggregator, actions) = resumed else {
            return Err(unusable(&"its record has no certificate"));
        };
        let plan = aggregator.plan().clone();
        let files = &self.context.step_files;
        let summed = match certified.summed {
            Some(summed) => summed,
            None => files
                .sum(&plan.reference())
                .map_err(|source| self.step_file_fault(source))?,
        };
        let sum = BodySum::from_bytes(plan.packing().coefficients(), &summed)
            .map_err(|error| unusable(&error))?;
        let claims = propose.map(|propose| propose.entries).unwrap_or_default();
        let mut uploads = BTreeMap::new();
        let shares = files.resume_shares(|dealer, trailer| {
            let claim = claims.iter().find(|claim| claim.member == dealer);
            // What is not of this step, or damaged, does not verify.
            let admitted = claim.map(|claim| AdmittedUpload::from_spool(&plan, claim, trailer));
            if let Some(Ok(mut admitted)) = admitted {
                drop(admitted.take_shares());
                uploads.insert(dealer, admitted);
            }
        });
        let shares = shares.map_err(|source| self.step_file_fault(source))?;
        let mut live = Live::new(*aggregator, ask, shares);
        (live.opened, live.resumed) = (true, true);
        (live.sum, live.uploads) = (Some(sum), uploads);
        self.drive(&mut live, actions).await
    }

    /// Carries out actions and feeds events until the machine is done.
    async fn drive(&mut self, live: &mut Live, actions: Vec<Action>) -> Result<StepEnd, Stop> {
        let mut queue = VecDeque::from(actions);
        loop {
            while let Some(action) = queue.pop_front() {
                if let Some(end) = self.carry_out(live, action).await? {
                    return Ok(end);
                }
                if let Some(failure) = live.not_opened.take() {
                    let event = Event::NotOpened(failure);
                    queue.extend(live.aggregator.handle(event, live.began.elapsed()));
                }
            }
            self.say_what_it_waits_for();
            let deadline = live.aggregator.deadline();
            let event = match self
                .hear(deadline.map(|deadline| live.began + deadline))
                .await
            {
                Ok(Some(heard)) => live.event(heard),
                Ok(None) => Some(Event::Tick),
                Err(Stop::Ended(End::Cancelled(by))) => {
                    self.tell_cancelled(live);
                    return Err(Stop::Ended(End::Cancelled(by)));
                }
                Err(stop) => return Err(stop),
            };
            if let Some(event) = event {
                queue.extend(live.aggregator.handle(event, live.began.elapsed()));
            }
        }
    }

    /// Tells the members that nothing comes of a step any more.
    fn tell_cancelled(&self, live: &mut Live) {
        for action in live.aggregator.handle(Event::Cancel, live.began.elapsed()) {
            if let Action::Send { to, message } = action {
                self.send(to, Arc::unwrap_or_clone(message));
            }
        }
    }

    async fn carry_out(
        &mut self,
        live: &mut Live,
        action: Action,
    ) -> Result<Option<StepEnd>, Stop> {
        match action {
            Action::Persist(record) => self.persist(live, &record).await?,
            Action::SyncUploads { members } => live.begin_sum(members, &self.context.step_files),
            Action::Send { to, message } => self.send(to, Arc::unwrap_or_clone(message)),
            Action::Deliver { to, dealer } => {
                let seat = self.charter.seat_of(to);
                let share = seat.map_or(Ok(None), |seat| live.shares.read(dealer, seat));
                let share = share.map_err(|source| self.step_file_fault(source))?;
                match (live.uploads.get(&dealer), share) {
                    (Some(upload), Some(share)) => {
                        self.send(to, ToNode::Deliver(upload.deliver(share)));
                    }
                    _ => warn!(%to, %dealer, "a share to be delivered is not there"),
                }
            }
            Action::Open(opening) => match self.open(live, opening).await? {
                Ok(end) => return Ok(Some(end)),
                Err(failure) => live.not_opened = Some(failure),
            },
            Action::Spoiled(failure) => return self.spoiled(live, &failure).await.map(Some),
            Action::Dropped(dropped) => return Ok(Some(StepEnd::Dropped(dropped))),
            Action::Failed(failure) => return Err(Stop::Failed(failure.to_string())),
            Action::Note(note) => self.note_step(live, note).await?,
        }
        Ok(None)
    }

    fn send(&self, to: MemberIndex, message: ToNode) {
        if let Some(name) = self.name(to) {
            // A member that is not connected gets it all again when it is.
            self.context.hub.send(name, message);
        }
    }

    async fn persist(&self, live: &mut Live, record: &StepState) -> Result<(), Stop> {
        let bytes = record
            .to_bytes()
            .map_err(|error| Stop::Failed(format!("a step's record: {error}")))?;
        let (store, step) = (&self.context.store, record.step());
        if !live.opened {
            live.opened = true;
            return Ok(store
                .open_step(self.run, step, live.sequence, live.ask, &bytes)
                .await?);
        }
        if record.certificate.is_none() {
            return self.propose(live, step, &bytes).await;
        }
        Ok(store.certify_step(self.run, step, &bytes).await?)
    }

    /// Makes the sum of the set about to be proposed durable, and the proposal: in one
    /// transaction, or a large sum in its file at the same time.
    async fn propose(&self, live: &mut Live, step: StepNumber, record: &[u8]) -> Result<(), Stop> {
        let store = &self.context.store;
        let summing = live.summing.take();
        let summing = summing.ok_or_else(|| Stop::Failed("no sum was begun".to_owned()))?;
        let small = live.aggregator.plan().body_len() <= IN_DATABASE;
        let sum = if small {
            let sum = self.summed(summing).await?;
            let bytes = sum.to_bytes();
            store
                .propose_step(self.run, step, Some(&bytes), record)
                .await?;
            sum
        } else {
            let proposed = async {
                let proposed = store.propose_step(self.run, step, None, record).await;
                proposed.map_err(Stop::from)
            };
            tokio::try_join!(self.summed(summing), proposed)?.0
        };
        live.sum = Some(sum);
        Ok(())
    }

    async fn summed(&self, summing: Summing) -> Result<BodySum, Stop> {
        match summing.await {
            Ok(Ok(sum)) => Ok(sum),
            Ok(Err(SumError::Spool(source))) => Err(self.step_file_fault(source)),
            Ok(Err(error)) => Err(Stop::Failed(format!(
                "the uploads cannot be added: {error}"
            ))),
            Err(error) => Err(Stop::Failed(format!("adding the uploads: {error}"))),
        }
    }

    fn step_file_fault(&self, source: std::io::Error) -> Stop {
        let path = self.context.config.state.join("step");
        Stop::Fault(RunsError::Io { path, source })
    }

    /// A step without a certificate was given up: again, or the end of the run.
    async fn dropped(&mut self, step: StepNumber, dropped: &Dropped) -> Result<(), Stop> {
        let refusals = dropped.refusals_in_words(&self.charter);
        info!(run = %self.run, %step, reason = %dropped.reason, refusals, "step dropped");
        self.context
            .store
            .drop_step(self.run, step, &dropped.reason.to_string())
            .await?;
        let entry = Entry::new(
            LedgerAction::StepFailed,
            "coordinator",
            &self.object_name(step),
            Outcome::Failed,
        )
        .evidence(json!({ "reason": dropped.reason.to_string(), "refusals": refusals }));
        self.context.record(entry).await?;
        self.progress.publish(
            "note",
            json!({ "text": format!("step {step} dropped: {} ({refusals})", dropped.reason) }),
        );
        self.attempts
            .dropped(dropped, &self.charter)
            .map_err(|failure: StepFailure| Stop::Failed(failure.to_string()))
    }

    async fn note_step(&mut self, live: &Live, note: Note) -> Result<(), Stop> {
        let step = live.aggregator.plan().reference().step;
        let name = |member| self.called(member);
        match note {
            Note::Complaint(accusation) => self.accused(&accusation).await?,
            Note::Refused { from, refusal } => {
                info!(run = %self.run, %step, member = name(from), %refusal, "a member refuses");
                // One that does not take part says so in every step.
                let known = self.name(from).and_then(|it| self.participants.refusal(it));
                if known != Some(&refusal) {
                    let text = format!("{} refuses in step {step}: {refusal}", name(from));
                    self.progress.publish("note", json!({ "text": text }));
                }
            }
            Note::Ignored { from, why } => {
                debug!(run = %self.run, %step, member = name(from), why, "message ignored")
            }
        }
        Ok(())
    }

    /// A signed complaint: on record with everything that verifies it, and what is proven by it
    /// and those before it.
    async fn accused(&mut self, accusation: &Accusation) -> Result<(), Stop> {
        let (by, dealer) = (
            self.called(accusation.by()),
            self.called(accusation.dealer()),
        );
        let step = accusation.step();
        let before = self.blame.faulty().len();
        let finding = self.blame.take(accusation);
        let proven = finding
            .proves()
            .filter(|_| self.blame.faulty().len() > before);
        let complaint = accusation.complaint();
        warn!(run = %self.run, step = %step.step, by, dealer, refusal = %complaint.reason, %finding, "complaint about a share");
        let object = self.object_name(step.step);
        let entry = Entry::new(
            LedgerAction::Complaint,
            &format!("node/{by}"),
            &object,
            Outcome::Refused,
        )
        .evidence(json!({
            "dealer": dealer,
            "complaint": complaint.reason.to_string(),
            "code": u16::from(complaint.reason.code),
            "context": step.context,
            "shares": accusation.shares(),
            "leaf": complaint.leaf,
            "signature": complaint.signature.to_string(),
            "finding": finding.to_string(),
        }));
        self.context.record(entry).await?;
        if let Some(member) = proven {
            let name = self.called(member);
            let entry = Entry::new(
                LedgerAction::Faulty,
                &format!("node/{name}"),
                &object,
                Outcome::Failed,
            )
            .evidence(json!({ "finding": finding.to_string() }));
            self.context.record(entry).await?;
            let text = format!("{name} is proven faulty: {finding}");
            self.progress.publish("note", json!({ "text": text }));
        }
        Ok(())
    }
}
