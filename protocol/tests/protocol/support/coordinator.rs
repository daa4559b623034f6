//! An honest coordinator as its daemon drives it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use collegium_crypto::glwe::BodySum;
use collegium_crypto::identity::SigningIdentity;
use collegium_protocol::codec;
use collegium_protocol::context::ask_digest;
use collegium_protocol::limits::MAX_UPLOAD_TRAILER_BYTES;
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::{Announce, UploadClaim};
use collegium_protocol::step::{
    Action, AdmittedUpload, Aggregator, Attempts, Dropped, Event, Note, Resumed, RunRecord,
    StepFailure, StepPlan, Timing, resume,
};
use collegium_protocol::{Blob, MemberIndex, RunId, StepNumber, VerifiedCharter};

use super::{Parts, Up, World, shape};

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
    now: Duration,
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
            now: Duration::ZERO,
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
        let announce = Announce::sign(context, Blob(ask.to_vec()), 30_000, &self.identity);
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
        self.now = now;
        let Some(aggregator) = &mut self.aggregator else {
            return Vec::new();
        };
        let actions = aggregator.handle(event, now);
        self.perform(actions, fuel)
    }

    pub fn receive(&mut self, from: MemberIndex, up: Up, now: Duration, fuel: &mut usize) -> Sends {
        let event = match up {
            Up::Upload(upload) => return self.upload(from, Parts::of(&upload), now, fuel),
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

    /// An upload streams in. As in the daemon, only what passes every check reaches the machine,
    /// and a member's first upload is the one that counts.
    pub fn upload(
        &mut self,
        from: MemberIndex,
        parts: Parts,
        now: Duration,
        fuel: &mut usize,
    ) -> Sends {
        let Some(aggregator) = &self.aggregator else {
            return Vec::new();
        };
        let Ok(admitted) = parts.admit(aggregator.plan(), from) else {
            return Vec::new();
        };
        let receipt = admitted.receipt();
        self.spool.entry(from).or_insert((admitted, parts.body));
        self.handle(Event::Uploaded(receipt), now, fuel)
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
                    match opening.open(sum) {
                        Ok(opened) => {
                            self.outcome = Some(Outcome::Totals {
                                step,
                                contributors: opening.contributors().to_vec(),
                                sums: opened.sums().to_vec(),
                            });
                            self.aggregator = None;
                        }
                        Err(failure) => {
                            sends.extend(self.handle(Event::NotOpened(failure), self.now, fuel));
                        }
                    }
                }
                Action::Spoiled(failure) => {
                    self.outcome = Some(Outcome::Failed(failure));
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
        match resume(record, charter, connected, self.timing, self.now).unwrap() {
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
