//! What this node does about each message: the charter, runs, and the step machines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use collegium_automl::ask::Ask;
use collegium_automl::task::Task;
use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::seal::SealingSecret;
use collegium_crypto::{Segment, Shape};
use collegium_protocol::charter::{SignedCharter, VerifiedCharter};
use collegium_protocol::codec::Blob;
use collegium_protocol::context::task_digest;
use collegium_protocol::limits::{MAX_ASK_BYTES, MAX_TASK_BYTES};
use collegium_protocol::message::session::{RunOutcome, ToCoordinator, ToNode, VERSION};
use collegium_protocol::message::step::{Announce, Propose, cohort_digest};
use collegium_protocol::quic::Connection;
use collegium_protocol::step::{Committee, Contributor, LocalVerdict, NodeRecord, Seat};
use collegium_protocol::{Digest, MemberName, Refusal, RefusalCode, RunId, StepNumber};
use serde_json::json;
use tokio::sync::mpsc;

use super::{Event, LinkError, Shared};
use crate::keys::NodeKeys;
use crate::ledger::{Action, Entry, Outcome};
use crate::store::StoreError;
use crate::trainer::{Opened, TrainerError};

/// Messages of a run that may wait while its rows are read: a step's announcement, 64
/// deliveries, a proposal and a certificate, and the same of one more step.
const MAX_HELD: usize = 134;
/// Stands for the rows of a run whose rows this node never saw; it votes and releases all the
/// same, and the rule of one set for one ask holds for it too.
const NO_DATA: Digest = Digest([0; 32]);

/// Why a session ends from this side, in words; `None` to go on.
pub(super) type Verdict = Result<Option<String>, LinkError>;

/// This node as a member: lives over all sessions.
pub(super) struct Member {
    pub(super) shared: Shared,
    identity: Arc<SigningIdentity>,
    sealing: Arc<SealingSecret>,
    pub(super) charter: Option<Arc<VerifiedCharter>>,
    /// Present once this node has a place in the charter.
    pub(super) desk: Option<Desk>,
    pub(super) runs: BTreeMap<RunId, Run>,
    /// Runs whose report is being written.
    reporting: BTreeSet<RunId>,
    pub(super) outbox: Option<mpsc::Sender<ToCoordinator>>,
    pub(super) outbox_full: bool,
    greeted: bool,
}

/// The step machines under the charter in force.
pub(super) struct Desk {
    pub(super) seat: Arc<Seat>,
    pub(super) committee: Committee,
    pub(super) contributors: BTreeMap<RunId, Contributor>,
    /// Different contributing sets let through, by run: for this site's own bound.
    pub(super) cohorts: BTreeMap<RunId, BTreeSet<Digest>>,
}

/// A run as this node sees it.
pub(super) enum Run {
    /// Its rows are being read; its messages wait.
    Opening(Vec<ToNode>),
    /// This site takes part, with rows of this hash.
    Open(Digest),
    /// This site does not take part; it still votes and releases.
    Refused(Refusal),
}

impl Member {
    /// Goes on from what is on the disk.
    pub(super) async fn load(shared: Shared, keys: &NodeKeys) -> Result<Self, LinkError> {
        let mut member = Self {
            shared,
            identity: Arc::clone(&keys.identity),
            sealing: Arc::clone(&keys.sealing),
            charter: None,
            desk: None,
            runs: BTreeMap::new(),
            reporting: BTreeSet::new(),
            outbox: None,
            outbox_full: false,
            greeted: false,
        };
        if let Some(bytes) = member.shared.store.pinned_charter().await? {
            let pinned = VerifiedCharter::from_pinned(SignedCharter::from_bytes(&bytes)?)?;
            member.sit_down(Arc::new(pinned)).await?;
        }
        Ok(member)
    }

    pub(super) fn name(&self) -> &MemberName {
        &self.shared.name
    }

    pub(super) fn charter_digest(&self) -> Option<Digest> {
        self.charter.as_ref().map(|charter| charter.digest())
    }

    /// Whether the coordinator welcomed this node since the last call.
    pub(super) fn take_greeted(&mut self) -> bool {
        std::mem::take(&mut self.greeted)
    }

    pub(super) fn outbox_is_full(&self) -> bool {
        self.outbox_full
    }

    /// A session begins.
    pub(super) fn begin(
        &mut self,
        connection: Connection,
        outbox: mpsc::Sender<ToCoordinator>,
        hello: ToCoordinator,
    ) {
        self.outbox = Some(outbox);
        self.outbox_full = false;
        self.shared.connection.send_replace(Some(connection));
        self.send(hello);
    }

    /// The session is over; work beside it waits for the next one.
    pub(super) fn end(&mut self) {
        self.outbox = None;
        self.shared.connection.send_replace(None);
    }

    /// Queues a message. Without a session it is dropped: the coordinator repeats what it needs.
    pub(super) fn send(&mut self, message: ToCoordinator) {
        if let Some(outbox) = &self.outbox
            && let Err(mpsc::error::TrySendError::Full(_)) = outbox.try_send(message)
        {
            self.outbox_full = true;
        }
    }

    /// Does what a message asks for.
    pub(super) async fn message(&mut self, message: ToNode) -> Verdict {
        if let Some(Run::Opening(held)) = run_of(&message).and_then(|run| self.runs.get_mut(&run))
            && !matches!(message, ToNode::RunOffer { .. })
        {
            if held.len() >= MAX_HELD {
                return Ok(Some("the coordinator sends too much for a run that is opening".into()));
            }
            held.push(message);
            return Ok(None);
        }
        match message {
            ToNode::Welcome { version } if version != VERSION => {
                return Ok(Some(format!(
                    "the coordinator speaks version {version} of the session, this node \
                     {VERSION}: use the same version of collegium on both sides"
                )));
            }
            ToNode::Welcome { .. } => {
                self.greeted = true;
                tracing::info!(member = %self.name(), "connected");
                self.shared.report_status(self, true, None);
            }
            ToNode::Refused(refusal) => return Ok(Some(format!("the coordinator refuses: {refusal}"))),
            ToNode::Shutdown => return Ok(Some("the coordinator stops".to_owned())),
            ToNode::Charter(charter) => self.charter(charter).await?,
            ToNode::RunOffer { run, task, task_digest } => {
                self.offered(run, task, task_digest).await?;
            }
            ToNode::RunClosed { run, outcome, champion } => {
                self.closed(run, outcome, champion).await?;
            }
            ToNode::Announce(announce) => self.announced(announce).await?,
            ToNode::Deliver(deliver) => {
                if let Some(desk) = &mut self.desk {
                    let actions = desk.committee.deliver(&deliver);
                    self.perform(actions).await?;
                }
            }
            ToNode::Propose(propose) => self.proposed(propose).await?,
            ToNode::Certificate(certificate) => {
                if let Some(desk) = &mut self.desk {
                    let actions = desk.committee.certificate(&certificate);
                    self.perform(actions).await?;
                }
            }
            ToNode::StepDropped { run, step, reason } => {
                tracing::info!(%run, %step, %reason, "step dropped");
                let desk = self.desk.as_mut();
                if let Some(contributor) = desk.and_then(|desk| desk.contributors.get_mut(&run)) {
                    contributor.dropped(step);
                }
            }
        }
        Ok(None)
    }

    /// Takes in what work beside the session found.
    pub(super) async fn event(&mut self, event: Event) -> Verdict {
        match event {
            Event::Opened { run, task, result } => return self.opened(run, task, result).await,
            Event::Answered { run, step, ask, result } => {
                self.answered(run, step, ask, result).await?;
            }
            Event::Reported { run, result } => self.reported(run, result).await?,
        }
        Ok(None)
    }

    /// A charter is in force at the coordinator. It is pinned only if it follows from the pinned
    /// one, or, as a first version, carries every founding member's signature and lists this
    /// node's own keys.
    async fn charter(&mut self, signed: SignedCharter) -> Result<(), LinkError> {
        let verified = match signed.verify(self.charter.as_deref()) {
            Ok(verified) => Arc::new(verified),
            Err(error) => {
                tracing::error!(%error, "the coordinator's charter is not accepted");
                self.shared.report_status(self, true, Some(error.to_string()));
                let entry = Entry::new(Action::Charter, signed.charter.digest(), Outcome::Refused);
                return self.shared.record(entry.evidence(json!({"reason": error.to_string()}))).await;
            }
        };
        if self.charter_digest() == Some(verified.digest()) {
            return Ok(());
        }
        let seat = Seat::new(Arc::clone(&verified), self.identity.clone(), self.sealing.clone());
        if let Err(error) = seat {
            tracing::error!(%error, "this node has no place in the charter");
            self.shared.report_status(self, true, Some(error.to_string()));
            return Ok(());
        }
        let version = verified.charter().version;
        let entry = Entry::new(Action::Charter, verified.digest(), Outcome::Done).evidence(json!({
            "version": version,
            "consortium": verified.charter().consortium,
            "members": verified.members().iter().map(|m| m.name.as_str()).collect::<Vec<_>>(),
        }));
        self.shared.record(entry).await?;
        let bytes = verified.signed().to_bytes()?;
        self.shared.store.pin_charter(verified.digest(), version, &bytes).await?;
        tracing::info!(charter = %verified.digest(), version, "charter pinned");
        self.sit_down(verified).await?;
        self.shared.report_status(self, true, None);
        Ok(())
    }

    /// Takes this node's seat under `charter`, with every record on the disk.
    async fn sit_down(&mut self, charter: Arc<VerifiedCharter>) -> Result<(), LinkError> {
        self.charter = Some(Arc::clone(&charter));
        self.desk = None;
        match Seat::new(charter, self.identity.clone(), self.sealing.clone()) {
            Ok(seat) => {
                let seat = Arc::new(seat);
                let records = self.records().await?;
                let committee = Committee::restore(Arc::clone(&seat), &records);
                let mut cohorts: BTreeMap<RunId, BTreeSet<Digest>> = BTreeMap::new();
                for record in &records {
                    if let NodeRecord::Release(release) = record {
                        cohorts.entry(release.run).or_default().insert(release.cohort);
                    }
                }
                let contributors = BTreeMap::new();
                self.desk = Some(Desk { seat, committee, contributors, cohorts });
            }
            Err(error) => tracing::error!(%error, "this node has no place in the charter"),
        }
        Ok(())
    }

    async fn records(&self) -> Result<Vec<NodeRecord>, LinkError> {
        let stored = self.shared.store.records().await?;
        Ok(stored.iter().map(|(_, body)| NodeRecord::from_bytes(body)).collect::<Result<_, _>>()?)
    }

    /// A run is offered, perhaps again after a reconnect.
    async fn offered(&mut self, run: RunId, task: Blob, digest: Digest) -> Result<(), LinkError> {
        match self.runs.get(&run) {
            Some(Run::Open(data)) => {
                let data = *data;
                self.send(ToCoordinator::RunAccepted { run, data });
                return Ok(());
            }
            Some(Run::Opening(_)) => return Ok(()),
            // A refusal is looked at afresh: the site's data may be readable by now.
            Some(Run::Refused(_)) | None => {}
        }
        match self.allowed(&task, digest) {
            Ok(name) => {
                tracing::info!(%run, task = name, "run offered");
                self.runs.insert(run, Run::Opening(Vec::new()));
                self.shared.spawn_open(run, task.0);
                Ok(())
            }
            Err(refusal) => self.refuse_run(run, refusal, json!({"task": digest})).await,
        }
    }

    /// Whether this site takes part in runs of the task; gives its name.
    fn allowed(&self, task: &Blob, digest: Digest) -> Result<String, Refusal> {
        if task.len() > MAX_TASK_BYTES || task_digest(task.as_slice()) != digest {
            return Err(Refusal::new(RefusalCode::Malformed, "the task is not the one announced"));
        }
        if self.desk.is_none() {
            return Err(RefusalCode::CharterMissing.into());
        }
        let text = std::str::from_utf8(task.as_slice())
            .map_err(|_| Refusal::new(RefusalCode::Malformed, "the task is not UTF-8"))?;
        let name = Task::from_toml(text)
            .map_err(|error| Refusal::new(RefusalCode::Malformed, error))?
            .name;
        let allowed = &self.shared.policy.allowed_tasks;
        if !allowed.is_empty() && !allowed.contains(&name) {
            return Err(Refusal::new(RefusalCode::PolicyDenied, "the task is not on this site's list"));
        }
        Ok(name)
    }

    async fn refuse_run(
        &mut self,
        run: RunId,
        refusal: Refusal,
        evidence: serde_json::Value,
    ) -> Result<(), LinkError> {
        tracing::warn!(%run, %refusal, "this site does not take part");
        let known = matches!(self.runs.get(&run), Some(Run::Refused(before)) if *before == refusal);
        if !known {
            let entry = Entry::new(Action::Run, run, Outcome::Refused).evidence(
                json!({"code": u16::from(refusal.code), "reason": refusal.detail(), "of": evidence}),
            );
            self.shared.record(entry).await?;
        }
        self.runs.insert(run, Run::Refused(refusal.clone()));
        self.send(ToCoordinator::RunRefused { run, refusal });
        Ok(())
    }

    /// The run's rows were read: the run is accepted or refused, and its waiting messages are
    /// handled.
    async fn opened(
        &mut self,
        run: RunId,
        task: Vec<u8>,
        result: Result<Opened, TrainerError>,
    ) -> Verdict {
        let held = match self.runs.remove(&run) {
            Some(Run::Opening(held)) => held,
            Some(other) => {
                self.runs.insert(run, other);
                return Ok(None);
            }
            None => return Ok(None),
        };
        let evidence = json!({"task": task_digest(&task)});
        match result {
            Ok(opened) => self.accept(run, &task, &opened).await?,
            Err(error) => {
                // What is wrong with the data is the site's own business.
                tracing::error!(%run, %error, "this site cannot take part");
                let refusal = Refusal::new(RefusalCode::TrainerFailed, "the site's data does not serve");
                self.refuse_run(run, refusal, evidence).await?;
            }
        }
        for message in held {
            if let Some(reason) = Box::pin(self.message(message)).await? {
                return Ok(Some(reason));
            }
        }
        Ok(None)
    }

    async fn accept(&mut self, run: RunId, task: &[u8], opened: &Opened) -> Result<(), LinkError> {
        let data = opened.data;
        let known = self.shared.store.run(run).await?.is_some();
        match self.shared.store.accept_run(run, task, data).await {
            Ok(_) => {}
            Err(StoreError::Conflict { what, .. }) => {
                let detail = format!("the site's {what} changed since the run began");
                let refusal = Refusal::new(RefusalCode::TrainerFailed, detail);
                return self.refuse_run(run, refusal, json!({"task": task_digest(task)})).await;
            }
            Err(error) => return Err(error.into()),
        }
        if !known {
            let evidence = json!({"task": task_digest(task), "data": data});
            let entry = Entry::new(Action::Run, run, Outcome::Done).evidence(evidence);
            self.shared.record(entry).await?;
        }
        tracing::info!(%run, rows = opened.rows, "this site takes part");
        self.runs.insert(run, Run::Open(data));
        self.send(ToCoordinator::RunAccepted { run, data });
        Ok(())
    }

    /// A step is announced.
    async fn announced(&mut self, announce: Announce) -> Result<(), LinkError> {
        let (run, step) = (announce.context.run, announce.context.step);
        let verdict = match self.runs.get(&run) {
            Some(Run::Open(_)) => shape_of(announce.ask.as_slice()),
            Some(Run::Refused(refusal)) => Err(refusal.clone()),
            Some(Run::Opening(_)) | None => Err(RefusalCode::UnknownRun.into()),
        };
        let verdict = match verdict {
            Ok(shape) => LocalVerdict::Allowed { shape },
            Err(refusal) => LocalVerdict::Refused(refusal),
        };
        let data = match self.runs.get(&run) {
            Some(Run::Open(data)) => *data,
            _ => self.shared.store.run(run).await?.map_or(NO_DATA, |record| record.data),
        };
        if !self.seat_at(run).await? {
            let refusal = RefusalCode::CharterMissing.into();
            self.send(ToCoordinator::StepRefused { run, step, refusal });
            return Ok(());
        }
        let Some(desk) = &mut self.desk else { return Ok(()) };
        let mut actions = desk.committee.announce(&announce, data);
        if let Some(contributor) = desk.contributors.get_mut(&run) {
            actions.extend(contributor.announce(&announce, verdict));
        }
        self.perform(actions).await
    }

    /// Makes sure the run has its contributor; false without a place in the charter.
    async fn seat_at(&mut self, run: RunId) -> Result<bool, LinkError> {
        let Some(desk) = &self.desk else { return Ok(false) };
        if !desk.contributors.contains_key(&run) {
            let records = self.records().await?;
            if let Some(desk) = &mut self.desk {
                let seat = Arc::clone(&desk.seat);
                desk.contributors.insert(run, Contributor::restore(seat, run, &records));
            }
        }
        Ok(true)
    }

    /// A contributing set is proposed: this site's own bounds first, then the scheme's rules.
    async fn proposed(&mut self, propose: Propose) -> Result<(), LinkError> {
        let run = propose.step.run;
        let Some(desk) = &mut self.desk else { return Ok(()) };
        let policy = &self.shared.policy;
        let cohort = cohort_digest(&propose.members());
        let known = desk.cohorts.get(&run);
        let fresh = known.is_none_or(|known| !known.contains(&cohort));
        let refusal = if propose.entries.len() < usize::from(policy.minimum_contributors) {
            let least = policy.minimum_contributors;
            Some(Refusal::new(
                RefusalCode::PolicyDenied,
                format_args!("this site wants at least {least} contributors"),
            ))
        } else if fresh && known.map_or(0, BTreeSet::len) >= policy.max_cohort_changes as usize {
            let most = policy.max_cohort_changes;
            Some(Refusal::new(
                RefusalCode::CohortLimit,
                format_args!("this site lets {most} different sets through in a run"),
            ))
        } else {
            None
        };
        match refusal {
            Some(refusal) => self.refuse_step(run, propose.step.step, refusal).await,
            None => {
                let actions = desk.committee.propose(&propose);
                self.perform(actions).await
            }
        }
    }

    /// A run is over: nothing more is given in it, and this site writes its own report.
    async fn closed(
        &mut self,
        run: RunId,
        outcome: RunOutcome,
        champion: Option<Digest>,
    ) -> Result<(), LinkError> {
        if let Some(desk) = &mut self.desk {
            let actions = desk.committee.close(run);
            desk.contributors.remove(&run);
            self.perform(actions).await?;
        }
        self.runs.remove(&run);
        let Some(record) = self.shared.store.run(run).await? else {
            // This site never took part.
            return Ok(());
        };
        if !record.closed {
            let (result, how) = match &outcome {
                RunOutcome::Completed => (Outcome::Done, "completed".to_owned()),
                RunOutcome::Failed(refusal) => (Outcome::Failed, refusal.to_string()),
                RunOutcome::Cancelled => (Outcome::Refused, "cancelled".to_owned()),
            };
            tracing::info!(%run, how, "run closed");
            let entry = Entry::new(Action::Close, run, result);
            self.shared.record(entry.evidence(json!({"how": how, "champion": champion}))).await?;
            self.shared.store.close_run(run).await?;
        }
        match champion {
            _ if record.reported => self.send(ToCoordinator::RunReportReady { run }),
            Some(champion) => {
                if self.reporting.insert(run) {
                    self.shared.spawn_report(run, record, champion);
                }
            }
            None => self.shared.trainer.close(run),
        }
        Ok(())
    }

    /// The site's report is written. Its figures stay here; the coordinator learns only that it
    /// is there.
    async fn reported(&mut self, run: RunId, result: Result<(), String>) -> Result<(), LinkError> {
        self.reporting.remove(&run);
        match result {
            Ok(()) => {
                self.shared.record(Entry::new(Action::Report, run, Outcome::Done)).await?;
                self.shared.store.mark_reported(run).await?;
                tracing::info!(%run, "the site's own report is written");
                self.send(ToCoordinator::RunReportReady { run });
            }
            Err(reason) => {
                tracing::error!(%run, reason, "the site's own report cannot be written");
                let entry = Entry::new(Action::Report, run, Outcome::Failed);
                self.shared.record(entry.evidence(json!({"reason": reason}))).await?;
            }
        }
        Ok(())
    }

    /// Refuses to go on in a step, on record.
    pub(super) async fn refuse_step(
        &mut self,
        run: RunId,
        step: StepNumber,
        refusal: Refusal,
    ) -> Result<(), LinkError> {
        tracing::warn!(%run, %step, %refusal, "refused");
        let entry = Entry::new(Action::Ask, format!("{run}/{step}"), Outcome::Refused);
        let evidence = json!({"code": u16::from(refusal.code), "reason": refusal.detail()});
        self.shared.record(entry.evidence(evidence)).await?;
        self.send(ToCoordinator::StepRefused { run, step, refusal });
        Ok(())
    }
}

/// The answer's shape, derived here from the ask: only the closed, capped kinds have one.
fn shape_of(ask: &[u8]) -> Result<Shape, Refusal> {
    let ask = Ask::from_bytes(ask, MAX_ASK_BYTES)
        .map_err(|error| Refusal::new(RefusalCode::AskNotUnderstood, error))?;
    let segment = |segment: collegium_automl::ask::Segment| Segment {
        max: segment.max_code(),
        count: segment.count(),
    };
    Ok(Shape(ask.segments().into_iter().map(segment).collect()))
}

/// The run that a message belongs to.
fn run_of(message: &ToNode) -> Option<RunId> {
    match message {
        ToNode::RunOffer { run, .. }
        | ToNode::RunClosed { run, .. }
        | ToNode::StepDropped { run, .. } => Some(*run),
        ToNode::Announce(announce) => Some(announce.context.run),
        ToNode::Deliver(deliver) => Some(deliver.step.run),
        ToNode::Propose(propose) => Some(propose.step.run),
        ToNode::Certificate(certificate) => Some(certificate.step.run),
        ToNode::Welcome { .. } | ToNode::Charter(_) | ToNode::Refused(_) | ToNode::Shutdown => None,
    }
}
