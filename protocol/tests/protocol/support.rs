//! A consortium in memory: members with keys, disks and machines, and an honest coordinator.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use collegium_crypto::encode::{Segment, Shape};
use collegium_crypto::glwe::BodySum;
use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::rand_core::{CryptoRng, Rng};
use collegium_crypto::randomness::seeded_rng;
use collegium_crypto::seal::SealingSecret;
use collegium_protocol::charter::NewMember;
use collegium_protocol::codec;
use collegium_protocol::context::ask_digest;
use collegium_protocol::ids::{ConsortiumId, MemberName};
use collegium_protocol::limits::MAX_UPLOAD_TRAILER_BYTES;
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::{Announce, Deliver, Propose, UploadClaim, Vote};
use collegium_protocol::step::{
    Action, Admission, AdmittedUpload, Aggregator, Attempts, Committee, Contributor, Dropped,
    Event, LocalVerdict, NodeAction, NodeRecord, Note, ReadyUpload, Resumed, RunRecord, Seat,
    StepFailure, StepPlan, Timing, resume,
};
use collegium_protocol::{
    Blob, Charter, Digest, MemberIndex, Refusal, RefusalCode, RunId, SignedCharter, StepNumber,
    VerifiedCharter,
};

pub fn index(number: u16) -> MemberIndex {
    MemberIndex::new(number).unwrap()
}

pub fn indices(numbers: &[u16]) -> Vec<MemberIndex> {
    numbers.iter().copied().map(index).collect()
}

pub fn shape() -> Shape {
    Shape(vec![
        Segment {
            max: 1000,
            count: 4,
        },
        Segment { max: 1, count: 3 },
    ])
}

/// A member's honest answer to an ask: a pure function of both.
pub fn codes(member: MemberIndex, ask: &[u8]) -> Vec<u64> {
    let Digest(bytes) = ask_digest(&[ask, &member.get().to_le_bytes()].concat());
    let small = |i: usize| u64::from(bytes[i]);
    vec![small(0) * 3, small(1), 1000, 0, small(2) % 2, 1, 0]
}

/// What the sum over `members` must be.
pub fn totals(members: &[MemberIndex], ask: &[u8]) -> Vec<u64> {
    let mut sum = vec![0; shape().codes()];
    for member in members {
        sum.iter_mut()
            .zip(codes(*member, ask))
            .for_each(|(s, c)| *s += c);
    }
    sum
}

/// All keys of a consortium, in the hands of the test.
pub struct World {
    pub charter: Arc<VerifiedCharter>,
    pub coordinator: SigningIdentity,
    pub identities: Vec<Arc<SigningIdentity>>,
    pub sealing: Vec<Arc<SealingSecret>>,
    pub seats: Vec<Arc<Seat>>,
    pub run: RunId,
}

pub fn rng(seed: u64) -> impl CryptoRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    seeded_rng(bytes)
}

impl World {
    pub fn new(members: usize, seed: u64) -> Self {
        let mut rng = rng(seed);
        let coordinator = SigningIdentity::generate(&mut rng);
        let identities: Vec<_> = (0..members)
            .map(|_| Arc::new(SigningIdentity::generate(&mut rng)))
            .collect();
        let sealing: Vec<_> = (0..members)
            .map(|_| Arc::new(SealingSecret::generate(&mut rng)))
            .collect();
        let list = identities
            .iter()
            .zip(&sealing)
            .enumerate()
            .map(|(i, (identity, sealing))| NewMember {
                name: MemberName::new(&format!("site-{}", i + 1)).unwrap(),
                contact: format!("Site {} Ltd", i + 1),
                identity: identity.public(),
                sealing: sealing.public().clone(),
            })
            .collect();
        let id = ConsortiumId::from_bytes([7; 16]);
        let policy = Digest([8; 32]);
        let charter = Charter::found("test", id, coordinator.public(), policy, list).unwrap();
        let charter = Arc::new(sign_by_all(charter, &identities).verify(None).unwrap());
        let seats = identities
            .iter()
            .zip(&sealing)
            .map(|(identity, sealing)| {
                let (identity, sealing) = (Arc::clone(identity), Arc::clone(sealing));
                Arc::new(Seat::new(Arc::clone(&charter), identity, sealing).unwrap())
            })
            .collect();
        let mut run = [0; 16];
        rng.fill_bytes(&mut run);
        let run = RunId::from_bytes(run);
        Self {
            charter,
            coordinator,
            identities,
            sealing,
            seats,
            run,
        }
    }

    pub fn members(&self) -> Vec<MemberIndex> {
        self.charter.members().iter().map(|m| m.index).collect()
    }

    pub fn plan(&self, step: u64, ask: &[u8]) -> Arc<StepPlan> {
        let charter = Arc::clone(&self.charter);
        Arc::new(StepPlan::new(charter, self.run, StepNumber(step), ask, shape()).unwrap())
    }

    pub fn announce(&self, plan: &StepPlan, ask: &[u8]) -> Announce {
        let context = plan.context().clone();
        Announce::sign(context, Blob(ask.to_vec()), 30_000, None, &self.coordinator)
    }

    pub fn nodes(&self) -> Vec<Node> {
        self.seats
            .iter()
            .map(|seat| Node::new(Arc::clone(seat), self.run))
            .collect()
    }

    /// One honest upload by each of `nodes`, all shares delivered to everybody.
    pub fn uploads(&self, plan: &StepPlan, ask: &[u8], nodes: &mut [Node]) -> Vec<AdmittedUpload> {
        let announce = self.announce(plan, ask);
        let mut admitted = Vec::new();
        for node in nodes.iter_mut() {
            let upload = node.upload(&announce).expect("an upload");
            admitted.push(admit(plan, node.index(), &upload).unwrap());
        }
        for upload in &admitted {
            for node in nodes.iter_mut() {
                let deliver = upload.delivery(node.index()).unwrap();
                assert_eq!(
                    node.verdict(&deliver),
                    None,
                    "an honest share must be in order"
                );
            }
        }
        admitted
    }

    pub fn propose(&self, plan: &StepPlan, uploads: &[AdmittedUpload], members: &[u16]) -> Propose {
        let entries = uploads
            .iter()
            .map(AdmittedUpload::claim)
            .filter(|claim| members.contains(&claim.member.get()))
            .collect();
        Propose {
            step: plan.reference(),
            entries,
        }
    }
}

pub fn sign_by_all(charter: Charter, identities: &[Arc<SigningIdentity>]) -> SignedCharter {
    let mut signed = SignedCharter::unsigned(charter);
    for (number, identity) in (1..).zip(identities) {
        let signature = signed.charter.sign(identity);
        signed.add(index(number), signature, None).unwrap();
    }
    signed
}

/// Streams an upload through admission in odd pieces.
pub fn admit(
    plan: &StepPlan,
    from: MemberIndex,
    upload: &ReadyUpload,
) -> Result<AdmittedUpload, Refusal> {
    let mut admission = Admission::begin(plan, from, &upload.header)?;
    for piece in upload.body().chunks(13) {
        admission.chunk(piece)?;
    }
    admission.finish(upload.trailer.clone())
}

/// A node: machines, and a disk that survives them.
pub struct Node {
    seat: Arc<Seat>,
    run: RunId,
    pub contributor: Contributor,
    pub committee: Committee,
    pub disk: BTreeMap<String, Vec<u8>>,
    pub data: Digest,
    rng_seed: u64,
}

/// What a node sends.
#[derive(Debug, Clone)]
pub enum Up {
    Message(ToCoordinator),
    Upload(Arc<ReadyUpload>),
}

impl Node {
    pub fn new(seat: Arc<Seat>, run: RunId) -> Self {
        let rng_seed = u64::from(seat.index().get()) << 32;
        let data = Digest([seat.index().get() as u8; 32]);
        let contributor = Contributor::restore(Arc::clone(&seat), run, []);
        let committee = Committee::restore(Arc::clone(&seat), []);
        let disk = BTreeMap::new();
        Self {
            seat,
            run,
            contributor,
            committee,
            disk,
            data,
            rng_seed,
        }
    }

    pub fn index(&self) -> MemberIndex {
        self.seat.index()
    }

    pub fn records(&self) -> Vec<NodeRecord> {
        self.disk
            .values()
            .map(|bytes| NodeRecord::from_bytes(bytes).unwrap())
            .collect()
    }

    /// Loses everything but the disk.
    pub fn restart(&mut self) {
        let records = self.records();
        self.contributor = Contributor::restore(Arc::clone(&self.seat), self.run, &records);
        self.committee = Committee::restore(Arc::clone(&self.seat), &records);
    }

    /// Handles a message as a daemon does; `fuel` actions are carried out, then the node is dead.
    pub fn receive(&mut self, message: &ToNode, fuel: &mut usize) -> Vec<Up> {
        let mut sent = Vec::new();
        let actions = match message {
            ToNode::Announce(announce) => {
                let mut actions = self.committee.announce(announce, self.data);
                let local = LocalVerdict::Allowed { shape: shape() };
                actions.extend(self.contributor.announce(announce, local));
                actions
            }
            ToNode::Deliver(deliver) => self.committee.deliver(deliver),
            ToNode::Propose(propose) => self.committee.propose(propose),
            ToNode::Certificate(certificate) => self.committee.certificate(certificate),
            ToNode::StepDropped { step, .. } => {
                self.contributor.dropped(*step);
                Vec::new()
            }
            other => panic!("not a step's message: {other:?}"),
        };
        self.perform(actions, fuel, &mut sent);
        sent
    }

    pub fn perform(&mut self, actions: Vec<NodeAction>, fuel: &mut usize, sent: &mut Vec<Up>) {
        for action in actions {
            if *fuel == 0 {
                return;
            }
            *fuel -= 1;
            match action {
                NodeAction::Persist(record) => {
                    self.disk.insert(record.key(), record.to_bytes().unwrap());
                }
                NodeAction::Answer { step, ask, .. } => {
                    self.rng_seed += 1;
                    let mut rng = rng(self.rng_seed);
                    let codes = codes(self.index(), ask.as_slice());
                    let actions = self.contributor.answered(step, codes, &mut rng);
                    self.perform(actions, fuel, sent);
                }
                NodeAction::Upload(upload) => sent.push(Up::Upload(upload)),
                NodeAction::Send(message) => sent.push(Up::Message(message)),
            }
        }
    }

    pub fn tell(&mut self, message: ToNode) -> Vec<Up> {
        self.receive(&message, &mut usize::MAX.clone())
    }

    pub fn upload(&mut self, announce: &Announce) -> Option<Arc<ReadyUpload>> {
        self.tell(ToNode::Announce(announce.clone()))
            .into_iter()
            .find_map(|up| match up {
                Up::Upload(upload) => Some(upload),
                Up::Message(_) => None,
            })
    }

    /// The complaint about a delivery, if any.
    pub fn verdict(&mut self, deliver: &Deliver) -> Option<Refusal> {
        match self.tell(ToNode::Deliver(deliver.clone())).as_slice() {
            [Up::Message(ToCoordinator::Verdict(verdict))] => verdict.complaint.clone(),
            [Up::Message(ToCoordinator::StepRefused { refusal, .. })] => Some(refusal.clone()),
            other => panic!("expected a verdict: {other:?}"),
        }
    }

    pub fn vote(&mut self, propose: &Propose) -> Result<Vote, RefusalCode> {
        match self.tell(ToNode::Propose(propose.clone())).as_slice() {
            [Up::Message(ToCoordinator::Vote(vote))] => Ok(vote.clone()),
            other => Err(refusal(other).code),
        }
    }
}

/// The one refusal in what a node sent.
pub fn refusal(sent: &[Up]) -> Refusal {
    match sent {
        [Up::Message(ToCoordinator::StepRefused { refusal, .. })] => refusal.clone(),
        other => panic!("expected one refusal: {other:?}"),
    }
}

/// What came of a step.
#[derive(Debug)]
pub enum Outcome {
    Totals {
        step: StepNumber,
        contributors: Vec<MemberIndex>,
        sums: Vec<u64>,
    },
    Dropped(Dropped),
    Failed(StepFailure),
}

/// An honest coordinator: the machine, a spool, and a disk.
pub struct Coordinator {
    charter: Arc<VerifiedCharter>,
    identity: SigningIdentity,
    run: RunId,
    pub aggregator: Option<Aggregator>,
    spool: BTreeMap<MemberIndex, (AdmittedUpload, Vec<u8>)>,
    sum: Option<BodySum>,
    pub connected: BTreeSet<MemberIndex>,
    pub attempts: Attempts,
    pub timing: Timing,
    pub disk: Disk,
    pub notes: Vec<Note>,
    pub outcome: Option<Outcome>,
}

#[derive(Default, Clone)]
pub struct Disk {
    pub record: Option<Vec<u8>>,
    sum: Option<Vec<u8>>,
    trailers: Vec<(UploadClaim, Vec<u8>)>,
}

pub type Sends = Vec<(MemberIndex, ToNode)>;

impl Coordinator {
    pub fn new(world: &World) -> Self {
        Self {
            charter: Arc::clone(&world.charter),
            identity: SigningIdentity::from_bytes(&world.coordinator.to_bytes()),
            run: world.run,
            aggregator: None,
            spool: BTreeMap::new(),
            sum: None,
            connected: world.members().into_iter().collect(),
            attempts: Attempts::after(StepNumber(0)),
            timing: Timing::default(),
            disk: Disk::default(),
            notes: Vec::new(),
            outcome: None,
        }
    }

    pub fn begin(&mut self, ask: &[u8], now: Duration, fuel: &mut usize) -> Sends {
        self.spool.clear();
        self.sum = None;
        self.outcome = None;
        let step = self.attempts.next_number(ask_digest(ask));
        let charter = Arc::clone(&self.charter);
        let plan = Arc::new(StepPlan::new(charter, self.run, step, ask, shape()).unwrap());
        let context = plan.context().clone();
        let announce = Announce::sign(context, Blob(ask.to_vec()), 30_000, None, &self.identity);
        let timing = Timing {
            on_restart: self.attempts.on_restart(),
            ..self.timing
        };
        let connected = self.connected.clone();
        let (aggregator, actions) = Aggregator::start(plan, announce, connected, timing, now);
        self.aggregator = Some(aggregator);
        self.perform(actions, fuel)
    }

    pub fn handle(&mut self, event: Event, now: Duration, fuel: &mut usize) -> Sends {
        match event {
            Event::Connected(member) => drop(self.connected.insert(member)),
            Event::Disconnected(member) => drop(self.connected.remove(&member)),
            _ => {}
        }
        let Some(aggregator) = &mut self.aggregator else {
            return Vec::new();
        };
        let actions = aggregator.handle(event, now);
        self.perform(actions, fuel)
    }

    pub fn receive(&mut self, from: MemberIndex, up: Up, now: Duration, fuel: &mut usize) -> Sends {
        let event = match up {
            Up::Upload(upload) => {
                let Some(aggregator) = &self.aggregator else {
                    return Vec::new();
                };
                match admit(aggregator.plan(), from, &upload) {
                    Ok(admitted) => {
                        let claim = admitted.claim();
                        let body = upload.body().to_vec();
                        self.spool.entry(from).or_insert((admitted, body));
                        Event::Uploaded(claim)
                    }
                    Err(_) => return Vec::new(),
                }
            }
            Up::Message(ToCoordinator::StepRefused { step, refusal, .. }) => Event::Refused {
                from,
                step,
                refusal,
            },
            Up::Message(ToCoordinator::Verdict(verdict)) => Event::Verdict { from, verdict },
            Up::Message(ToCoordinator::Vote(vote)) => Event::Vote { from, vote },
            Up::Message(ToCoordinator::Release(release)) => Event::Release { from, release },
            Up::Message(other) => panic!("not a step's message: {other:?}"),
        };
        self.handle(event, now, fuel)
    }

    fn perform(&mut self, actions: Vec<Action>, fuel: &mut usize) -> Sends {
        let mut sends = Vec::new();
        for action in actions {
            if *fuel == 0 {
                return sends;
            }
            *fuel -= 1;
            match action {
                Action::Persist(record) => self.disk.record = Some(record.to_bytes().unwrap()),
                Action::SyncUploads { members } => self.sync(&members),
                Action::Send { to, message } => sends.push((to, ToNode::clone(&message))),
                Action::Deliver { to, dealer } => {
                    let deliver = self.spool[&dealer].0.delivery(to).unwrap();
                    sends.push((to, ToNode::Deliver(deliver)));
                }
                Action::Open(opening) => {
                    let step = opening.plan().reference().step;
                    let sum = self.sum.as_ref().expect("the sum was synced before");
                    self.outcome = Some(match opening.open(sum) {
                        Ok(sums) => {
                            let contributors = opening.contributors().to_vec();
                            Outcome::Totals {
                                step,
                                contributors,
                                sums,
                            }
                        }
                        Err(failure) => Outcome::Failed(failure),
                    });
                    self.aggregator = None;
                }
                Action::Dropped(dropped) => {
                    self.outcome = Some(Outcome::Dropped(dropped));
                    self.aggregator = None;
                }
                Action::Failed(failure) => {
                    self.outcome = Some(Outcome::Failed(failure));
                    self.aggregator = None;
                }
                Action::Note(note) => self.notes.push(note),
            }
        }
        sends
    }

    fn sync(&mut self, members: &[MemberIndex]) {
        let coefficients = self.spool[&members[0]].1.len() / 8;
        let mut sum = BodySum::new(coefficients);
        self.disk.trailers.clear();
        for member in members {
            let (admitted, body) = &self.spool[member];
            sum.add_bytes(body).unwrap();
            let trailer = codec::encode(admitted.trailer()).unwrap();
            self.disk.trailers.push((admitted.claim(), trailer));
        }
        self.disk.sum = Some(sum.to_bytes());
        self.sum = Some(sum);
    }

    /// Loses everything but the disk, and goes on from it. `None`: the ask must be put again.
    pub fn restart(&mut self) -> Option<Sends> {
        self.aggregator = None;
        self.spool.clear();
        self.sum = None;
        self.connected.clear();
        let record = RunRecord::from_bytes(self.disk.record.as_ref()?).unwrap();
        let connected = BTreeSet::new();
        let charter = Arc::clone(&self.charter);
        match resume(record, charter, connected, self.timing).unwrap() {
            Resumed::Dropped { step, .. } => {
                self.attempts = Attempts::after(step);
                None
            }
            Resumed::Driving(aggregator, actions) => {
                let plan = Arc::clone(aggregator.plan());
                self.attempts = Attempts::after(plan.reference().step);
                for (claim, trailer) in &self.disk.trailers {
                    let trailer = codec::decode(trailer, MAX_UPLOAD_TRAILER_BYTES).unwrap();
                    let admitted = AdmittedUpload::from_spool(&plan, claim, trailer).unwrap();
                    self.spool.insert(claim.member, (admitted, Vec::new()));
                }
                let bytes = self.disk.sum.as_ref().expect("synced before proposing");
                let coefficients = plan.packing().coefficients();
                self.sum = Some(BodySum::from_bytes(coefficients, bytes).unwrap());
                self.aggregator = Some(*aggregator);
                Some(self.perform(actions, &mut usize::MAX.clone()))
            }
        }
    }
}
