//! What this node does about each message: the charter, runs, and the step machines.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::seal::SealingSecret;
use collegium_protocol::charter::{SignedCharter, VerifiedCharter};
use collegium_protocol::ledger::witness::{Witness, WitnessError};
use collegium_protocol::limits::MAX_MEMBERS;
use collegium_protocol::message::session::{ToCoordinator, ToNode, VERSION};
use collegium_protocol::quic::Connection;
use collegium_protocol::step::{Committee, Contributor, NodeAction, NodeRecord, Place};
use collegium_protocol::{Digest, MemberName, ProcessId, Refusal, RefusalCode, RunId, StepNumber};
use serde_json::json;
use tokio::sync::{mpsc, watch};

use super::consent::{About, Waiting};
use super::perform::Unsynced;
use super::verify::Watch;
use super::{Event, LinkError, Shared};
use crate::keys::NodeKeys;
use crate::ledger::{Action, Entry, Outcome};
use crate::policy::InForce;

/// Messages of a run that may wait while its rows are read: a step's announcement, a delivery
/// from every member, a proposal and a certificate, and the same of one more step.
const MAX_HELD: usize = 2 * (MAX_MEMBERS + 3);

/// Why a session ends from this side, in words; `None` to go on.
pub(super) type Verdict = Result<Option<String>, LinkError>;

/// This node as a member: lives over all sessions.
pub(super) struct Member {
    pub(super) shared: Shared,
    pub(super) identity: Arc<SigningIdentity>,
    sealing: Arc<SealingSecret>,
    /// What this member saw of the coordinator's ledger.
    pub(super) witness: Arc<Mutex<Witness>>,
    /// Why the coordinator's ledger was not cosigned last time.
    pub(super) not_cosigned: Option<WitnessError>,
    pub(super) charter: Option<Arc<VerifiedCharter>>,
    /// While none is pinned: the last verified charter of a consortium that this node joined after its
    /// founding. It leads to the one that names this node.
    ancestor: Option<Arc<VerifiedCharter>>,
    /// Present once this node has a place in the charter.
    pub(super) desk: Option<Desk>,
    pub(super) runs: BTreeMap<RunId, Run>,
    /// What the site's policy is told of the runs that this site took part in.
    pub(super) abouts: BTreeMap<RunId, About>,
    /// Policies that came into force since the last look.
    pub(super) policies: watch::Receiver<Arc<InForce>>,
    /// Runs whose report is being written.
    pub(super) reporting: BTreeSet<RunId>,
    /// What is known of each run's opened steps.
    pub(super) watches: BTreeMap<RunId, Watch>,
    /// Runs in which the coordinator was found to lie.
    pub(super) disputed: BTreeSet<RunId>,
    /// The refusal recorded last: a coordinator that repeats itself does not fill the ledger.
    pub(super) last_refusal: Option<(RunId, StepNumber, RefusalCode)>,
    /// Over which connection each run's upload was begun last; `None` when there was none then.
    pub(super) streams: BTreeMap<RunId, Option<usize>>,
    /// Records being synced while the trainer computes; nothing is sent before they are.
    pub(super) unsynced: Option<Unsynced>,
    /// Tells this process from another one with the same keys.
    process: ProcessId,
    pub(super) outbox: Option<mpsc::Sender<ToCoordinator>>,
    pub(super) outbox_full: bool,
    greeted: bool,
}

/// The step machines under the charter in force.
pub(super) struct Desk {
    pub(super) place: Arc<Place>,
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
    /// A steward has to approve it first; meanwhile this site votes and releases.
    Waiting(Waiting),
    /// This site does not take part; it still votes and releases.
    Refused(Refusal),
}

impl Member {
    /// Goes on from what is on the disk.
    pub(super) async fn load(
        shared: Shared,
        keys: &NodeKeys,
        process: ProcessId,
    ) -> Result<Self, LinkError> {
        let witness = Witness::open(&shared.config.witness())?;
        let mut member = Self {
            policies: shared.policies.changes(),
            shared,
            witness: Arc::new(Mutex::new(witness)),
            not_cosigned: None,
            identity: Arc::clone(&keys.identity),
            sealing: Arc::clone(&keys.sealing),
            charter: None,
            ancestor: None,
            desk: None,
            runs: BTreeMap::new(),
            abouts: BTreeMap::new(),
            reporting: BTreeSet::new(),
            watches: BTreeMap::new(),
            disputed: BTreeSet::new(),
            last_refusal: None,
            streams: BTreeMap::new(),
            unsynced: None,
            process,
            outbox: None,
            outbox_full: false,
            greeted: false,
        };
        if let Some(bytes) = member.shared.store.pinned_charter().await? {
            let pinned = VerifiedCharter::from_pinned(SignedCharter::from_bytes(&bytes)?)?;
            member.take_place(Arc::new(pinned)).await?;
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
        self.send(ToCoordinator::Process(self.process));
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
                return Ok(Some(
                    "the coordinator sends too much for a run that is opening".into(),
                ));
            }
            held.push(message);
            return Ok(None);
        }
        match message {
            ToNode::Welcome { version } => return Ok(self.welcomed(version)),
            ToNode::Refused(refusal) => return Ok(Some(refused(&refusal))),
            ToNode::Probe => {}
            ToNode::Shutdown => return Ok(Some("the coordinator stops".to_owned())),
            ToNode::Charter(charter) => self.charter(charter).await?,
            ToNode::RunOffer {
                run,
                task,
                task_digest,
            } => {
                self.offered(run, task, task_digest).await?;
            }
            ToNode::RunClosed {
                run,
                outcome,
                champion,
            } => {
                self.closed(run, outcome, champion).await?;
            }
            ToNode::Announce(announce) => self.announced(announce).await?,
            ToNode::Deliver(deliver) => self.serve(|seat| seat.deliver(&deliver)).await?,
            ToNode::Propose(propose) => self.proposed(propose).await?,
            ToNode::Certificate(certificate) => {
                self.serve(|seat| seat.certificate(&certificate)).await?;
            }
            ToNode::Opened(opened) => self.step_opened(opened).await?,
            ToNode::Evidence(ready) => self.evidence_ready(ready),
            ToNode::Checkpoint(offer) => self.checkpoint_offered(offer).await?,
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

    /// The coordinator takes this node in; why the node goes, if it speaks another version.
    fn welcomed(&mut self, version: u16) -> Option<String> {
        if version != VERSION {
            return Some(format!(
                "the coordinator speaks version {version} of the session, this node {VERSION}: \
                 use the same version of collegium on both sides"
            ));
        }
        self.greeted = true;
        tracing::info!(member = %self.name(), "connected");
        self.shared.report_status(self, true, None);
        None
    }

    /// What this node's seat on the committee does, if it has one.
    async fn serve(
        &mut self,
        work: impl FnOnce(&mut Committee) -> Vec<NodeAction>,
    ) -> Result<(), LinkError> {
        match &mut self.desk {
            Some(desk) => {
                let actions = work(&mut desk.committee);
                self.perform(actions).await
            }
            None => Ok(()),
        }
    }

    /// Takes in what work beside the session found.
    pub(super) async fn event(&mut self, event: Event) -> Verdict {
        match event {
            Event::Opened { run, task, result } => return self.opened(run, task, result).await,
            Event::Decided { run } => self.decided(run),
            Event::Answered {
                run,
                step,
                about,
                result,
            } => {
                self.answered(run, step, about, result).await?;
            }
            Event::Hashed { opened, result } => self.body_hashed(opened, result).await?,
            Event::Checked { step, result } => self.checked(step, result).await?,
            Event::Sealed { step, result } => self.sealed(step, result?).await?,
            Event::UploadBroken { step, connection } => self.upload_again(step, connection),
            Event::Reported { run, result } => self.reported(run, result).await?,
        }
        Ok(None)
    }

    /// A charter is in force at the coordinator. It is pinned only if it follows from the pinned
    /// one, or, as a first version, carries every founding member's signature and lists this
    /// node's own keys. A node that joins later pins the version that its steward accepted, when it follows
    /// from the founding one.
    async fn charter(&mut self, signed: SignedCharter) -> Result<(), LinkError> {
        let before = self.charter.as_ref().or(self.ancestor.as_ref());
        let verified = match signed.verify(before.map(AsRef::as_ref)) {
            Ok(verified) => Arc::new(verified),
            Err(error) => {
                tracing::error!(%error, "the coordinator's charter is not accepted");
                self.shared
                    .report_status(self, true, Some(error.to_string()));
                let entry = Entry::new(Action::Charter, signed.charter.digest(), Outcome::Refused);
                return self
                    .shared
                    .record(entry.evidence(json!({"reason": error.to_string()})))
                    .await;
            }
        };
        if self.charter_digest() == Some(verified.digest()) {
            return Ok(());
        }
        let place = Place::new(
            Arc::clone(&verified),
            self.identity.clone(),
            self.sealing.clone(),
        );
        if let Err(error) = place {
            tracing::error!(%error, "this node has no place in the charter");
            self.shared
                .report_status(self, true, Some(error.to_string()));
            if self.charter.is_none() {
                self.ancestor = Some(verified);
            }
            return Ok(());
        }
        if self.charter.is_none() && verified.charter().version > 1 && !self.accepted(&verified)? {
            let problem = format!(
                "charter version {} names this node, but nobody has accepted it here: run `collegium \
                 charter sign --state {}`, then restart it",
                verified.charter().version,
                self.shared.config.state.display()
            );
            tracing::error!(problem, "no charter is pinned");
            self.shared.report_status(self, true, Some(problem));
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
        self.shared
            .store
            .pin_charter(verified.digest(), version, &bytes)
            .await?;
        tracing::info!(charter = %verified.digest(), version, "charter pinned");
        self.take_place(verified).await?;
        self.shared.report_status(self, true, None);
        Ok(())
    }

    /// Whether this site's steward accepted exactly this charter.
    fn accepted(&self, charter: &VerifiedCharter) -> Result<bool, LinkError> {
        let accepted = crate::keys::accepted(&self.shared.config.state);
        let accepted = accepted.map_err(|error| LinkError::Broken(error.to_string()))?;
        Ok(accepted == Some(charter.digest()))
    }

    /// Takes this node's place under `charter`, with every record on the disk.
    async fn take_place(&mut self, charter: Arc<VerifiedCharter>) -> Result<(), LinkError> {
        self.charter = Some(Arc::clone(&charter));
        self.desk = None;
        match Place::new(charter, self.identity.clone(), self.sealing.clone()) {
            Ok(place) => {
                let place = Arc::new(place);
                let records = self.records().await?;
                let committee = Committee::restore(Arc::clone(&place), &records);
                let mut cohorts: BTreeMap<RunId, BTreeSet<Digest>> = BTreeMap::new();
                for record in &records {
                    match record {
                        NodeRecord::Release(release) => {
                            cohorts
                                .entry(release.run)
                                .or_default()
                                .insert(release.cohort);
                        }
                        NodeRecord::Dispute(record) => {
                            self.disputed.insert(record.step.run);
                        }
                        NodeRecord::Step(_) | NodeRecord::Committee(_) => {}
                    }
                }
                let contributors = BTreeMap::new();
                self.desk = Some(Desk {
                    place,
                    committee,
                    contributors,
                    cohorts,
                });
            }
            Err(error) => tracing::error!(%error, "this node has no place in the charter"),
        }
        Ok(())
    }

    pub(super) async fn records(&self) -> Result<Vec<NodeRecord>, LinkError> {
        let stored = self.shared.store.records().await?;
        Ok(stored
            .iter()
            .map(|(_, body)| NodeRecord::from_bytes(body))
            .collect::<Result<_, _>>()?)
    }
}

/// Why the session ends that the coordinator refuses. The node tries again, since the other process may be
/// stopped, but not quietly: somebody copied a state directory, or forgot a machine.
fn refused(refusal: &Refusal) -> String {
    if refusal.code == RefusalCode::AlreadyConnected {
        tracing::error!(
            "ANOTHER NODE WORKS WITH THIS MEMBER'S KEYS: {}",
            refusal.detail()
        );
    }
    format!("the coordinator refuses: {refusal}")
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
        ToNode::Opened(opened) => Some(opened.step.run),
        ToNode::Evidence(ready) => Some(ready.step.run),
        ToNode::Welcome { .. }
        | ToNode::Charter(_)
        | ToNode::Checkpoint(_)
        | ToNode::Refused(_)
        | ToNode::Probe
        | ToNode::Shutdown => None,
    }
}
