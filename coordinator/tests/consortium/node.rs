//! A scripted node: the protocol's own machines and a real site, everything in
//! one loop, with the faults a test asks for. Its records outlive it, as a disk
//! would; everything else is lost when it is dropped.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Cursor;
use std::sync::{Arc, Mutex};

use collegium_automl::ask::Ask;
use collegium_automl::site::{Site, TableSite};
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;
use collegium_crypto::encode::{Segment, Shape};
use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::rand_core::Rng as _;
use collegium_crypto::randomness::os_rng;
use collegium_crypto::seal::SealingSecret;
use collegium_protocol::ids::{MemberIndex, MemberName, RunId};
use collegium_protocol::ledger::LogKey;
use collegium_protocol::ledger::witness::{Offer, Witness, WitnessError};
use collegium_protocol::limits::{
    MAX_ASK_BYTES, MAX_EVIDENCE_BYTES, MAX_TO_COORDINATOR_BYTES, MAX_TO_NODE_BYTES,
    MAX_UPLOAD_HEADER_BYTES, MAX_UPLOAD_TRAILER_BYTES,
};
use collegium_protocol::message::ledger::{CheckpointOffer, CosignReply};
use collegium_protocol::message::session::{ToCoordinator, ToNode, VERSION};
use collegium_protocol::message::step::Announce;
use collegium_protocol::quic::{
    Client, CloseCode, Connection, FrameReceiver, FrameSender, QuicError, StreamKind,
};
use collegium_protocol::step::{
    Committee, Contributor, EvidenceError, LocalVerdict, NodeAction, NodeRecord, Place,
    ReadyUpload, Statements,
};
use collegium_protocol::{Digest, ProcessId, Refusal, RefusalCode, SignedCharter, VerifiedCharter};

/// What a member has for good: keys, data, disk.
pub struct Member {
    pub name: MemberName,
    pub identity: Arc<SigningIdentity>,
    pub sealing: Arc<SealingSecret>,
    pub client: Client,
    pub csv: String,
    pub disk: Mutex<BTreeMap<String, NodeRecord>>,
    /// Runs whose end it has heard of.
    pub ended: Mutex<BTreeSet<RunId>>,
    /// Steps whose totals it found proved.
    pub proved: Mutex<u32>,
    /// What it saw of the coordinator's ledger.
    pub witness: Mutex<Witness>,
}

/// How a node's life ends.
#[derive(Debug)]
pub enum Death {
    /// It stopped where the test asked for it.
    AsAsked,
    /// The coordinator went away or said farewell.
    Coordinator,
    /// A run it took part in was closed; the champion's bytes, if there is one.
    Closed(Option<Vec<u8>>),
    /// The coordinator refused the session.
    Refused(Refusal),
}

/// Where a node dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nowhere.
    None,
    /// When this many steps were announced, after the number is on disk and
    /// before anything is sent.
    BeforeUpload(u32),
    /// When it has voted this many times: the vote is on disk and sent.
    AfterVote(u32),
    /// When it was shown this many certificates, before it releases.
    BeforeRelease(u32),
    /// Never answers an announcement, and serves on the committee.
    Silent,
    /// Uploads something that is not what it should be.
    Forges(Forgery),
    /// In the step of this number, hashes another key than it encrypted under; to the coordinator
    /// that looks as a false release of any seat does.
    OtherKey(u32),
}

/// What is wrong with an upload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// A coefficient that is not below q.
    Coefficient,
    /// A body that its signature is not for.
    Body,
    /// Another member's index in the header.
    Member,
}

struct Life<'a> {
    member: &'a Member,
    fault: Fault,
    connection: Connection,
    sender: FrameSender,
    place: Option<Arc<Place>>,
    committee: Option<Committee>,
    run: Option<(RunId, TableSite, Contributor)>,
    announced: u32,
    voted: u32,
    certified: u32,
}

/// What tells a process from every other one.
pub fn new_process() -> ProcessId {
    let mut id = [0; 16];
    os_rng().expect("randomness").fill_bytes(&mut id);
    ProcessId::from_bytes(id)
}

/// Lives until something ends it.
pub async fn live(member: Arc<Member>, address: &str, fault: Fault) -> Result<Death, QuicError> {
    let connection = member.client.connect(address).await?;
    let (sender, mut receiver) = connection.open(StreamKind::Control).await?;
    let mut life = Life {
        member: &member,
        fault,
        connection,
        sender,
        place: None,
        committee: None,
        run: None,
        announced: 0,
        voted: 0,
        certified: 0,
    };
    let hello = ToCoordinator::Hello {
        version: VERSION,
        name: member.name.clone(),
        charter: None,
    };
    life.send(&hello).await?;
    life.send(&ToCoordinator::Process(new_process())).await?;
    let death = life.listen(&mut receiver).await;
    life.connection
        .close(CloseCode::Shutdown, "the test's node ends");
    match death {
        Err(_) if life.connection.is_closed() => Ok(Death::Coordinator),
        other => other,
    }
}

impl Life<'_> {
    async fn send(&mut self, message: &ToCoordinator) -> Result<(), QuicError> {
        self.sender.send(message, MAX_TO_COORDINATOR_BYTES).await
    }

    async fn listen(&mut self, receiver: &mut FrameReceiver) -> Result<Death, QuicError> {
        while let Some(message) = receiver.recv::<ToNode>(MAX_TO_NODE_BYTES).await? {
            let actions = match message {
                ToNode::Welcome { version } => {
                    assert_eq!(version, VERSION);
                    Vec::new()
                }
                ToNode::Charter(charter) => {
                    self.sit_down(charter);
                    Vec::new()
                }
                ToNode::Probe => Vec::new(),
                ToNode::RunOffer { run, task, .. } => {
                    let answer = self.join_run(run, task.as_slice());
                    vec![NodeAction::Send(answer)]
                }
                ToNode::Announce(announce) => self.announced(&announce).await?,
                ToNode::Deliver(deliver) => self.committee().deliver(&deliver),
                ToNode::Propose(propose) => self.committee().propose(&propose),
                ToNode::Certificate(certificate) => {
                    self.certified += 1;
                    if self.fault == Fault::BeforeRelease(self.certified) {
                        return Ok(Death::AsAsked);
                    }
                    self.committee().certificate(&certificate)
                }
                ToNode::Opened(opened) => match &mut self.run {
                    Some((_, _, contributor)) => {
                        contributor.opened(&opened).expect("an honest coordinator")
                    }
                    None => Vec::new(),
                },
                ToNode::Evidence(ready) => {
                    let bytes = self.fetch(ready.object).await?;
                    let charter = self.place.as_ref().expect("a place").charter();
                    let (name, bytes) = (&ready.object, &mut bytes.as_slice());
                    let proved = Statements::read_proved(charter, name, bytes);
                    match proved.expect("bytes at hand") {
                        Ok(_) => *self.member.proved.lock().expect("a count") += 1,
                        Err(EvidenceError::Missing(_)) => {}
                        Err(error) => panic!("step {}: {error}", ready.step.step),
                    }
                    continue;
                }
                ToNode::StepDropped { step, .. } => {
                    if let Some((_, _, contributor)) = &mut self.run {
                        contributor.dropped(step);
                    }
                    Vec::new()
                }
                ToNode::RunClosed { run, champion, .. } => {
                    let bytes = match champion {
                        Some(id) => Some(self.fetch(id).await?),
                        None => None,
                    };
                    self.send(&ToCoordinator::RunReportReady { run }).await?;
                    let known = !self.member.ended.lock().expect("a set").insert(run);
                    // Told once more, because it hung up too soon the first time; or a
                    // forger is told late of a run that it was thrown out of.
                    if known || (matches!(self.fault, Fault::Forges(_)) && self.run.is_none()) {
                        continue;
                    }
                    return Ok(Death::Closed(bytes));
                }
                ToNode::Checkpoint(offer) => {
                    self.cosign(&offer).await?;
                    continue;
                }
                ToNode::Refused(refusal) => return Ok(Death::Refused(refusal)),
                ToNode::Shutdown => return Ok(Death::Coordinator),
            };
            if self.perform(actions).await? {
                return Ok(Death::AsAsked);
            }
        }
        Ok(Death::Coordinator)
    }

    /// Answers an offered checkpoint as a node does, without a ledger of its own.
    async fn cosign(&mut self, offer: &CheckpointOffer) -> Result<(), QuicError> {
        let Some(place) = &self.place else {
            return Ok(());
        };
        let log = LogKey::coordinator(place.charter().charter().coordinator);
        let reply = {
            let mut witness = self.member.witness.lock().expect("a witness");
            let considered = witness.consider(
                &Offer {
                    old: offer.old,
                    proof: &offer.proof,
                    note: offer.note.as_slice(),
                },
                &log,
            );
            match considered {
                Ok(note) => {
                    let checkpoint = note.checkpoint().clone();
                    witness.keep(note).expect("kept");
                    let cosignature = checkpoint.cosign(&self.member.identity, 1);
                    CosignReply::Cosigned {
                        size: checkpoint.size,
                        time: cosignature.time,
                        signature: cosignature.signature,
                    }
                }
                Err(WitnessError::Stale { seen, .. }) => CosignReply::Stale { size: seen },
                Err(error) => {
                    CosignReply::Refused(Refusal::new(RefusalCode::LedgerRewritten, error))
                }
            }
        };
        self.send(&ToCoordinator::Cosign(reply)).await
    }

    fn sit_down(&mut self, charter: SignedCharter) {
        let charter = Arc::new(charter.verify(None).expect("the founding charter holds"));
        let charter: Arc<VerifiedCharter> = charter;
        let (identity, sealing) = (self.member.identity.clone(), self.member.sealing.clone());
        let place = Arc::new(Place::new(charter, identity, sealing).expect("a place"));
        let disk = self.member.disk.lock().expect("disk");
        self.committee = Some(Committee::restore(place.clone(), disk.values()));
        self.place = Some(place);
    }

    fn committee(&mut self) -> &mut Committee {
        self.committee.as_mut().expect("a charter came first")
    }

    fn join_run(&mut self, run: RunId, task: &[u8]) -> ToCoordinator {
        let task = Task::from_toml(std::str::from_utf8(task).expect("text")).expect("a task");
        let source = self.member.name.as_str();
        let table = Table::read(
            source,
            Cursor::new(self.member.csv.as_bytes()),
            &TableMapping::default(),
        )
        .expect("a table");
        match TableSite::new(&task, table) {
            Ok(site) => {
                let data = Digest(site.data_digest().0);
                let place = self.place.clone().expect("a place");
                let disk = self.member.disk.lock().expect("disk");
                self.run = Some((run, site, Contributor::restore(place, run, disk.values())));
                ToCoordinator::RunAccepted { run, data }
            }
            Err(error) => {
                let refusal = Refusal::new(RefusalCode::PolicyDenied, error);
                ToCoordinator::RunRefused { run, refusal }
            }
        }
    }

    async fn announced(&mut self, announce: &Announce) -> Result<Vec<NodeAction>, QuicError> {
        let ask = Ask::from_bytes(announce.ask.as_slice(), MAX_ASK_BYTES).expect("an ask");
        let segment = |segment: &collegium_automl::ask::Segment| Segment {
            max: segment.max_code(),
            count: segment.count(),
        };
        let shape = Shape(ask.segments().iter().map(segment).collect());
        let data = match &self.run {
            Some((_, site, _)) => Digest(site.data_digest().0),
            None => Digest([0; 32]),
        };
        let mut actions = self.committee().announce(announce, data);
        match &mut self.run {
            Some((_, _, contributor)) => {
                actions.extend(contributor.announce(announce, LocalVerdict::Allowed { shape }));
            }
            None => {
                let (run, step) = (announce.context.run, announce.context.step);
                let refusal = RefusalCode::UnknownRun.into();
                actions.push(NodeAction::Send(ToCoordinator::StepRefused {
                    run,
                    step,
                    refusal,
                }));
            }
        }
        Ok(actions)
    }

    /// Carries out actions in order; `true` when the fault strikes.
    async fn perform(&mut self, actions: Vec<NodeAction>) -> Result<bool, QuicError> {
        let mut queue: std::collections::VecDeque<_> = actions.into();
        while let Some(action) = queue.pop_front() {
            match action {
                NodeAction::Persist(record) => {
                    self.member
                        .disk
                        .lock()
                        .expect("disk")
                        .insert(record.key(), record);
                }
                NodeAction::Answer { step, ask, .. } => {
                    self.announced += 1;
                    if self.fault == Fault::BeforeUpload(self.announced) {
                        return Ok(true);
                    }
                    if self.fault == Fault::Silent {
                        continue;
                    }
                    let ask = Ask::from_bytes(ask.as_slice(), MAX_ASK_BYTES).expect("an ask");
                    let missing = self
                        .run
                        .as_ref()
                        .map(|(_, site, _)| site.missing(&ask))
                        .unwrap_or_default();
                    for id in missing {
                        let bytes = self.fetch(Digest(id.0)).await?;
                        let (_, site, _) = self.run.as_mut().expect("a run");
                        assert_eq!(site.insert(&bytes).expect("an object"), id);
                    }
                    let (_, site, contributor) = self.run.as_mut().expect("a run");
                    let answer = site.answer(&ask).expect("an answer");
                    queue.extend(contributor.answered(
                        step,
                        answer.codes,
                        &mut os_rng().expect("randomness"),
                    ));
                }
                NodeAction::Upload(upload) => self.upload(&upload).await?,
                NodeAction::HashBody { opened, upload } => {
                    let mut hashes = upload.linear_hashes(opened.challenge()).expect("a body");
                    if matches!(self.fault, Fault::OtherKey(step) if self.announced == step) {
                        hashes.key = hashes.body;
                    }
                    let (_, _, contributor) = self.run.as_mut().expect("a run");
                    queue.extend(contributor.hashed(&opened, hashes));
                }
                NodeAction::Send(message) => {
                    self.send(&message).await?;
                    if matches!(message, ToCoordinator::Vote(_)) {
                        self.voted += 1;
                        if self.fault == Fault::AfterVote(self.voted) {
                            return Ok(true);
                        }
                    }
                }
            }
        }
        Ok(false)
    }

    async fn upload(&mut self, upload: &ReadyUpload) -> Result<(), QuicError> {
        let (mut header, mut body) = (upload.header, upload.body().expect("in memory"));
        match self.fault {
            Fault::Forges(Forgery::Coefficient) => body[..8].fill(0xff),
            Fault::Forges(Forgery::Body) => body[0] ^= 1,
            Fault::Forges(Forgery::Member) => {
                header.member = MemberIndex::new(1).expect("an index")
            }
            _ => {}
        }
        let mut stream = self.connection.open_upload().await?;
        stream.send(&header, MAX_UPLOAD_HEADER_BYTES).await?;
        for chunk in body.chunks(1000) {
            stream.write_body(chunk.to_vec()).await?;
        }
        stream
            .send(&upload.trailer, MAX_UPLOAD_TRAILER_BYTES)
            .await?;
        stream.finish();
        Ok(())
    }

    async fn fetch(&self, id: Digest) -> Result<Vec<u8>, QuicError> {
        match self.connection.fetch(id, MAX_EVIDENCE_BYTES).await? {
            Ok(bytes) => Ok(bytes),
            Err(refusal) => panic!("no object {id}: {refusal}"),
        }
    }
}
