//! A node as its daemon drives it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::{Announce, Deliver, Propose, Vote};
use collegium_protocol::step::{
    Committee, Contributor, LocalVerdict, NodeAction, NodeRecord, Place, ReadyUpload, UNSEEN_DATA,
};
use collegium_protocol::{Digest, MemberIndex, Refusal, RefusalCode, RunId};

use super::{codes, rng, shape};

/// A node: machines, and a disk that survives them.
pub struct Node {
    place: Arc<Place>,
    run: RunId,
    pub contributor: Contributor,
    /// Contributors of other runs than [`Node::run`].
    others: BTreeMap<RunId, Contributor>,
    /// Runs that were not offered yet: the site has not read its rows for them.
    pub unseen: BTreeSet<RunId>,
    pub committee: Committee,
    pub disk: BTreeMap<String, Vec<u8>>,
    pub data: Digest,
    /// The digest of its rows in runs where they are others than [`Node::data`].
    pub rows: BTreeMap<RunId, Digest>,
    /// What this site answers; [`codes`] unless it is made to contribute something else.
    pub answer: fn(MemberIndex, &[u8]) -> Vec<u64>,
    rng_seed: u64,
}

/// What a node sends.
#[derive(Debug, Clone)]
pub enum Up {
    Message(ToCoordinator),
    Upload(Arc<ReadyUpload>),
}

impl Node {
    pub fn new(place: Arc<Place>, run: RunId) -> Self {
        let rng_seed = u64::from(place.index().get()) << 32;
        let data = Digest([place.index().get() as u8; 32]);
        let contributor = Contributor::restore(Arc::clone(&place), run, []);
        let committee = Committee::restore(Arc::clone(&place), []);
        let disk = BTreeMap::new();
        Self {
            place,
            run,
            contributor,
            others: BTreeMap::new(),
            unseen: BTreeSet::new(),
            committee,
            disk,
            data,
            rows: BTreeMap::new(),
            answer: codes,
            rng_seed,
        }
    }

    /// Draws other randomness from here on.
    pub fn reseed(&mut self, seed: u64) {
        self.rng_seed = seed;
    }

    /// The digest of the rows that this site takes part in a run with.
    pub fn rows_of(&self, run: RunId) -> Digest {
        self.rows.get(&run).copied().unwrap_or(self.data)
    }

    pub fn index(&self) -> MemberIndex {
        self.place.index()
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
        self.contributor = Contributor::restore(Arc::clone(&self.place), self.run, &records);
        self.others.clear();
        self.committee = Committee::restore(Arc::clone(&self.place), &records);
    }

    fn contributor_of(&mut self, run: RunId) -> &mut Contributor {
        if run == self.run {
            return &mut self.contributor;
        }
        let records = self.records();
        let place = Arc::clone(&self.place);
        self.others
            .entry(run)
            .or_insert_with(|| Contributor::restore(place, run, &records))
    }

    fn announced(&mut self, announce: &Announce) -> Vec<NodeAction> {
        let run = announce.context.run;
        let (data, local) = if self.unseen.contains(&run) {
            let refusal = RefusalCode::UnknownRun.into();
            (UNSEEN_DATA, LocalVerdict::Refused(refusal))
        } else {
            (self.rows_of(run), LocalVerdict::Allowed { shape: shape() })
        };
        let mut actions = self.committee.announce(announce, data);
        actions.extend(self.contributor_of(run).announce(announce, local));
        actions
    }

    /// Handles a message as a daemon does; `fuel` actions are carried out, then the node is dead.
    pub fn receive(&mut self, message: &ToNode, fuel: &mut usize) -> Vec<Up> {
        let mut sent = Vec::new();
        let actions = match message {
            ToNode::Announce(announce) => self.announced(announce),
            ToNode::Deliver(deliver) => self.committee.deliver(deliver),
            ToNode::Propose(propose) => self.committee.propose(propose),
            ToNode::Certificate(certificate) => self.committee.certificate(certificate),
            ToNode::StepDropped { run, step, .. } => {
                self.contributor_of(*run).dropped(*step);
                Vec::new()
            }
            // What is refused here is a lie, which the daemon writes down.
            ToNode::Opened(opened) => self
                .contributor_of(opened.step.run)
                .opened(opened)
                .unwrap_or_default(),
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
                NodeAction::Answer { run, step, ask } => {
                    self.rng_seed += 1;
                    let mut rng = rng(self.rng_seed);
                    let codes = (self.answer)(self.index(), ask.as_slice());
                    let contributor = self.contributor_of(run);
                    let actions = contributor.answered(step, codes, &mut rng);
                    self.perform(actions, fuel, sent);
                }
                NodeAction::Upload(upload) => sent.push(Up::Upload(upload)),
                NodeAction::HashBody { opened, upload } => {
                    let hashes = upload.linear_hashes(opened.challenge()).unwrap();
                    let contributor = self.contributor_of(opened.step.run);
                    let actions = contributor.hashed(&opened, hashes);
                    self.perform(actions, fuel, sent);
                }
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
            [Up::Message(ToCoordinator::Verdict(verdict))] => verdict
                .complaint
                .as_ref()
                .map(|complaint| complaint.reason.clone()),
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
