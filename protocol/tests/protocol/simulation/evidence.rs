//! What a lying coordinator has gathered about one step, and what it can make of it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use collegium_crypto::glwe::BodySum;
use collegium_crypto::rand_core::CryptoRng;
use collegium_protocol::message::session::ToNode;
use collegium_protocol::message::step::{
    Announce, Certificate, CertifiedVote, Deliver, Propose, Release, Vote,
};
use collegium_protocol::step::{
    Action, AdmittedUpload, Event, NodeRecord, Opening, ReadyUpload, Resumed, RunRecord, StepPlan,
    Timing, resume,
};
use collegium_protocol::{Blob, Digest, MemberIndex, RunId, StepNumber};

use super::seeds::below;
use crate::support::{Node, World, admit, shape};

/// All that the coordinator knows of one step.
pub struct Step {
    pub plan: Arc<StepPlan>,
    pub ask: &'static [u8],
    pub announce: Announce,
    /// Each member's uploads: one of an honest member, any number of an accomplice's.
    pub uploads: BTreeMap<MemberIndex, Vec<AdmittedUpload>>,
    bodies: BTreeMap<Digest, Vec<u8>>,
    pub proposals: Vec<Propose>,
    pub votes: Vec<Vote>,
    pub certificates: Vec<Certificate>,
    pub releases: Vec<Release>,
}

impl Step {
    pub fn new(world: &World, run: RunId, number: u64, ask: &'static [u8]) -> Self {
        let (charter, number) = (Arc::clone(&world.charter), StepNumber(number));
        let plan = Arc::new(StepPlan::new(charter, run, number, ask, shape()).unwrap());
        Self {
            announce: world.announce(&plan, ask),
            plan,
            ask,
            uploads: BTreeMap::new(),
            bodies: BTreeMap::new(),
            proposals: Vec::new(),
            votes: Vec::new(),
            certificates: Vec::new(),
            releases: Vec::new(),
        }
    }

    /// Keeps an upload, if it is another than those before.
    pub fn take(&mut self, from: MemberIndex, upload: &ReadyUpload) {
        let admitted = admit(&self.plan, from, upload).unwrap();
        let uploads = self.uploads.entry(from).or_default();
        if uploads
            .iter()
            .all(|known| known.claim() != admitted.claim())
        {
            self.bodies
                .insert(admitted.claim().body, upload.body().unwrap());
            uploads.push(admitted);
        }
    }

    /// One delivery of each dealer; of an accomplice's uploads, any.
    pub fn deliveries(&self, to: MemberIndex, rng: &mut impl CryptoRng) -> Vec<Deliver> {
        let one = |uploads: &Vec<AdmittedUpload>| {
            let upload = &uploads[below(rng, uploads.len())];
            upload.delivery(to).unwrap()
        };
        self.uploads.values().map(one).collect()
    }

    /// One vote of each voter, whatever it was for.
    pub fn relabelled(&self) -> Vec<CertifiedVote> {
        let votes: BTreeMap<_, _> = self.votes.iter().map(|v| (v.voter, v.signature)).collect();
        let certified = |(voter, signature)| CertifiedVote { voter, signature };
        votes.into_iter().map(certified).collect()
    }

    /// What an accomplice releases: the sum of its shares over any set, without asking anybody. A
    /// fresh committee machine, which has given no vote yet, adds them up.
    fn accomplice_release(
        &self,
        world: &World,
        member: MemberIndex,
        propose: &Propose,
    ) -> Option<Release> {
        let place = Arc::clone(&world.places[member.position()]);
        let mut fresh = Node::new(place, self.announce.context.run);
        fresh.tell(ToNode::Announce(self.announce.clone()));
        let claims: BTreeSet<_> = propose.entries.iter().map(|entry| entry.body).collect();
        for upload in self.uploads.values().flatten() {
            if claims.contains(&upload.claim().body) {
                fresh.verdict(&upload.delivery(member).unwrap());
            }
        }
        fresh.vote(propose).ok()?;
        let given = fresh.records().into_iter().find_map(|record| match record {
            NodeRecord::Committee(record) => record.given,
            _ => None,
        });
        let sum: Blob = given?.share_sum;
        let identity = &world.identities[member.position()];
        Some(Release::sign(
            propose.step,
            member,
            propose.digest(),
            sum,
            identity,
        ))
    }

    /// Every vote there is for the set, and those of accomplices.
    pub fn certificate(
        &self,
        world: &World,
        accomplices: &BTreeSet<MemberIndex>,
        propose: &Propose,
    ) -> Certificate {
        let (step, set) = (propose.step, propose.digest());
        let given = self
            .votes
            .iter()
            .filter(|vote| vote.proposal == set)
            .cloned();
        let bought = accomplices.iter().map(|member| {
            let identity = &world.identities[member.position()];
            Vote::sign(step, *member, set, identity)
        });
        let votes: BTreeMap<_, _> = given
            .chain(bought)
            .map(|vote| (vote.voter, vote.signature))
            .collect();
        let certified = |(voter, signature)| CertifiedVote { voter, signature };
        Certificate {
            step,
            proposal: set,
            votes: votes.into_iter().map(certified).collect(),
        }
    }

    /// The totals over a set, if honest members released it and, with accomplices, enough did.
    pub fn open(
        &self,
        world: &World,
        accomplices: &BTreeSet<MemberIndex>,
        propose: &Propose,
    ) -> Option<Vec<u64>> {
        let set = propose.digest();
        let of_set = |release: &&Release| release.proposal == set;
        let mut releases: Vec<_> = self.releases.iter().filter(of_set).cloned().collect();
        if releases.is_empty() {
            return None;
        }
        for member in accomplices {
            releases.extend(self.accomplice_release(world, *member, propose));
        }
        let certificate = self.certificate(world, accomplices, propose);
        let opening = self.opening(world, propose, certificate, releases)?;
        Some(self.sum_up(&opening, propose))
    }

    /// Brings the releases together as a coordinator that was restarted would; `None` when they
    /// are too few.
    fn opening(
        &self,
        world: &World,
        propose: &Propose,
        certificate: Certificate,
        releases: Vec<Release>,
    ) -> Option<Box<Opening>> {
        let record = RunRecord {
            announce: self.announce.clone(),
            shape: shape(),
            propose: Some(propose.clone()),
            certificate: Some(certificate),
        };
        let charter = Arc::clone(&world.charter);
        let now = std::time::Duration::ZERO;
        let resumed = resume(record, charter, BTreeSet::new(), Timing::default(), now);
        let Ok(Resumed::Driving(mut machine, _)) = resumed else {
            return None;
        };
        for release in releases {
            let from = release.releaser;
            let event = Event::Release { from, release };
            for action in machine.handle(event, std::time::Duration::ZERO) {
                if let Action::Open(opening) = action {
                    return Some(opening);
                }
            }
        }
        None
    }

    fn sum_up(&self, opening: &Opening, propose: &Propose) -> Vec<u64> {
        let mut sum = BodySum::new(self.plan.packing().coefficients());
        for entry in &propose.entries {
            sum.add_bytes(&self.bodies[&entry.body]).unwrap();
        }
        opening.open(&sum).unwrap().sums().to_vec()
    }
}
