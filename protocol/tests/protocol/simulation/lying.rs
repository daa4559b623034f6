//! A coordinator that lies as it likes, with as many members on its side as the scheme survives.
//! It holds the coordinator's key and its accomplices' keys, and every message that any member ever
//! sent. At the end it opens whatever it can.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use collegium_crypto::rand_core::CryptoRng;
use collegium_protocol::limits::MAX_COHORT_CHANGES;
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::{Certificate, CertifiedVote, Part, Propose};
use collegium_protocol::message::verify::OpenedStep;
use collegium_protocol::{Digest, MemberIndex, RunId};

use super::evidence::Step;
use super::seeds::{Tally, Worlds, below, run_id};
use super::watch::{Checked, Watch};
use crate::support::{Node, Up, World, rng, totals};

/// What the coordinator may do next. Members and steps are drawn when it is done.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// Offers the second run to a member, which reads its rows only then. They may have changed
    /// since the first.
    Offer,
    /// Offers it to everybody, and announces its last step once more: those who had heard of the
    /// step before they had rows for it answer now.
    OfferLate,
    /// Announces a new step, to some members.
    Announce,
    /// Announces an old step's number again with another ask, or an old announcement once more.
    AnnounceAgain,
    /// Has an accomplice upload (again, differently).
    Accomplice,
    /// Delivers shares of a step to a member: all of them, one, another's, another step's.
    Deliver,
    /// Shows a member a set: honest, too small, unsorted, doubled, forged, of another step.
    Propose,
    /// Shows a member a certificate: of all votes there are, forged in some way, of another step.
    Certify,
    /// Shows each member one of two sets, after all shares, and then every certificate there is.
    ShowTwoSets,
    /// Takes everybody through one step for one set.
    Drive,
    /// Commits to totals, true or not, before or after anything was opened, and asks for hashes.
    Commit,
    /// Tells a member that a step was dropped.
    Drop,
    /// Repeats any message it ever sent, to any member.
    Replay,
}

fn pick(rng: &mut impl CryptoRng) -> Op {
    match below(rng, 100) {
        0..4 => Op::Offer,
        4..8 => Op::OfferLate,
        8..16 => Op::Announce,
        16..22 => Op::AnnounceAgain,
        22..27 => Op::Accomplice,
        27..41 => Op::Deliver,
        41..57 => Op::Propose,
        57..69 => Op::Certify,
        69..77 => Op::ShowTwoSets,
        77..83 => Op::Drive,
        83..85 => Op::Drop,
        85..90 => Op::Commit,
        _ => Op::Replay,
    }
}

const ASKS: [&[u8]; 2] = [b"profile", b"gradient"];

/// Most steps of one history: each costs every member an upload.
const MOST_STEPS: usize = 3;

pub struct Lying<'w, R> {
    world: &'w World,
    rng: R,
    runs: [RunId; 2],
    /// Every member's node; those of accomplices stay unused.
    nodes: Vec<Node>,
    accomplices: BTreeSet<MemberIndex>,
    steps: Vec<Step>,
    said: Vec<ToNode>,
    fuel: BTreeMap<MemberIndex, usize>,
    /// Whether rows change between the runs: then one ask may be opened on each version.
    may_change: bool,
    watch: Watch,
    tally: Tally,
}

/// One history.
pub fn history(seed: u64, worlds: &mut Worlds) -> Result<Tally, String> {
    let world = worlds.for_seed(seed);
    let mut lying = Lying::new(world, rng(seed), seed);
    for _ in 0..60 {
        let op = pick(&mut lying.rng);
        lying.apply(op)?;
    }
    lying.open_everything()?;
    lying.tally.releases = lying.watch.releases;
    Ok(lying.tally)
}

impl<'w, R: CryptoRng> Lying<'w, R> {
    fn new(world: &'w World, mut rng: R, seed: u64) -> Self {
        let thresholds = world.charter.thresholds();
        let members = world.members();
        let first = below(&mut rng, members.len());
        let accomplices = (0..thresholds.max_colluding)
            .map(|place| members[(first + place) % members.len()])
            .collect();
        let runs = [run_id(seed, 0), run_id(seed, 1)];
        let mut nodes = world.nodes();
        for node in &mut nodes {
            node.unseen.insert(runs[1]);
        }
        Self {
            world,
            rng,
            runs,
            nodes,
            accomplices,
            steps: Vec::new(),
            said: Vec::new(),
            fuel: BTreeMap::new(),
            may_change: seed.is_multiple_of(4),
            watch: Watch::new(thresholds.min_contributors, MAX_COHORT_CHANGES),
            tally: Tally::default(),
        }
    }

    fn honest(&self) -> Vec<MemberIndex> {
        let mut members = self.world.members();
        members.retain(|member| !self.accomplices.contains(member));
        members
    }

    fn somebody(&mut self) -> MemberIndex {
        let honest = self.honest();
        honest[below(&mut self.rng, honest.len())]
    }

    fn some_step(&mut self) -> Option<usize> {
        (!self.steps.is_empty()).then(|| {
            // Mostly the last one: an earlier one is over for most members.
            let back = below(&mut self.rng, 4).saturating_sub(2);
            (self.steps.len() - 1).saturating_sub(back)
        })
    }

    /// Sends `message` to an honest member and takes in what it says. Its process may die in the
    /// middle of what it does then: before it synced its record, or before it sent its answer.
    fn tell(&mut self, to: MemberIndex, message: ToNode) -> Checked {
        let binding = matches!(message, ToNode::Propose(_) | ToNode::Certificate(_));
        if below(&mut self.rng, if binding { 8 } else { 80 }) == 0 {
            self.fuel.insert(to, below(&mut self.rng, 3));
        }
        let node = &mut self.nodes[to.position()];
        let fuel = self.fuel.entry(to).or_insert(usize::MAX);
        let sent = node.receive(&message, fuel);
        if *fuel == 0 {
            *fuel = usize::MAX;
            node.restart();
            self.tally.crashes += 1;
        }
        self.said.push(message);
        for up in sent {
            self.watch.sent(&self.nodes[to.position()], &up)?;
            self.hear(to, up);
        }
        Ok(())
    }

    fn hear(&mut self, from: MemberIndex, up: Up) {
        let reference = match &up {
            Up::Upload(upload) => upload.step,
            Up::Message(ToCoordinator::Vote(vote)) => vote.step,
            Up::Message(ToCoordinator::Release(release)) => release.step,
            Up::Message(ToCoordinator::StepRefused { .. }) => {
                self.tally.refused += 1;
                return;
            }
            Up::Message(_) => return,
        };
        let known = |step: &&mut Step| step.plan.reference() == reference;
        let Some(step) = self.steps.iter_mut().find(known) else {
            return;
        };
        match up {
            Up::Upload(upload) => step.take(from, &upload),
            Up::Message(ToCoordinator::Vote(vote)) => step.votes.push(vote),
            Up::Message(ToCoordinator::Release(release)) => step.releases.push(release),
            Up::Message(_) => {}
        }
    }

    fn apply(&mut self, op: Op) -> Checked {
        match op {
            Op::Offer => {
                let member = self.somebody();
                self.offer(member);
                Ok(())
            }
            Op::OfferLate => self.offer_late(),
            Op::Announce => self.announce(),
            Op::AnnounceAgain => self.announce_again(),
            Op::Accomplice => {
                self.some_step()
                    .into_iter()
                    .for_each(|step| self.accomplice_uploads(step));
                Ok(())
            }
            Op::Deliver => self.deliver(),
            Op::Propose => self.propose(),
            Op::Certify => self.certify(),
            Op::ShowTwoSets => self.show(2),
            Op::Drive => self.show(1),
            Op::Drop => self.drop_step(),
            Op::Commit => self.commit(),
            Op::Replay => {
                let Some(last) = self.said.len().checked_sub(1) else {
                    return Ok(());
                };
                let message = self.said[below(&mut self.rng, last + 1)].clone();
                let to = self.somebody();
                self.tell(to, message)
            }
        }
    }

    fn offer(&mut self, member: MemberIndex) {
        let run = self.runs[1];
        let changed = self.may_change && below(&mut self.rng, 2) == 0;
        let node = &mut self.nodes[member.position()];
        if node.unseen.remove(&run) && changed {
            node.rows.insert(run, Digest([99; 32]));
        }
    }

    fn offer_late(&mut self) -> Checked {
        let run = self.runs[1];
        let last = self
            .steps
            .iter()
            .rposition(|step| step.announce.context.run == run);
        let Some(place) = last else {
            return Ok(());
        };
        for member in self.honest() {
            self.offer(member);
            let message = ToNode::Announce(self.steps[place].announce.clone());
            self.tell(member, message)?;
        }
        self.show_at(place, 1)
    }

    fn announce(&mut self) -> Checked {
        if self.steps.len() >= MOST_STEPS {
            return self.announce_again();
        }
        let run = self.runs[below(&mut self.rng, 2)];
        let of_run = |step: &&Step| step.announce.context.run == run;
        let last = self
            .steps
            .iter()
            .filter(of_run)
            .map(|s| s.announce.context.step.0)
            .max();
        let number = last.unwrap_or(0) + 1 + below(&mut self.rng, 2) as u64;
        let ask = ASKS[below(&mut self.rng, ASKS.len())];
        self.new_step(run, number, ask)
    }

    /// The number of a step that was, with any ask, or the very step again.
    fn announce_again(&mut self) -> Checked {
        let Some(old) = self.some_step() else {
            return Ok(());
        };
        let (run, number) = {
            let context = &self.steps[old].announce.context;
            (context.run, context.step.0)
        };
        let ask = ASKS[below(&mut self.rng, ASKS.len())];
        if self.steps[old].ask != ask && self.steps.len() < MOST_STEPS {
            return self.new_step(run, number, ask);
        }
        let part = [Part::Contribute, Part::Serve][below(&mut self.rng, 2)];
        let message = ToNode::Announce(self.steps[old].announce.with_part(part));
        let to = self.somebody();
        self.tell(to, message)
    }

    fn new_step(&mut self, run: RunId, number: u64, ask: &'static [u8]) -> Checked {
        let step = Step::new(self.world, run, number, ask);
        self.watch.announced(&step.announce);
        let message = ToNode::Announce(step.announce.clone());
        self.steps.push(step);
        self.accomplice_uploads(self.steps.len() - 1);
        for member in self.honest() {
            if below(&mut self.rng, 8) > 0 {
                self.tell(member, message.clone())?;
            }
        }
        Ok(())
    }

    /// Each accomplice uploads; a fresh machine remembers nothing, so again and differently.
    fn accomplice_uploads(&mut self, place: usize) {
        let run = self.steps[place].announce.context.run;
        for member in self.accomplices.clone() {
            let on_roster = Arc::clone(&self.world.places[member.position()]);
            let mut fresh = Node::new(on_roster, run);
            fresh.reseed(self.rng.next_u64());
            let step = &mut self.steps[place];
            if let Some(upload) = fresh.upload(&step.announce) {
                step.take(member, &upload);
            }
        }
    }

    fn deliver(&mut self) -> Checked {
        let Some(place) = self.some_step() else {
            return Ok(());
        };
        let to = self.somebody();
        let twist = below(&mut self.rng, 8);
        let other = below(&mut self.rng, self.steps.len());
        let recipient = match twist {
            0 => self.somebody(),
            _ => to,
        };
        let mut deliveries = self.steps[place].deliveries(recipient, &mut self.rng);
        if twist == 1 {
            deliveries.truncate(1);
        }
        for mut deliver in deliveries {
            if twist == 2 {
                deliver.step = self.steps[other].plan.reference();
            }
            self.tell(to, ToNode::Deliver(deliver))?;
        }
        Ok(())
    }

    /// A set over what was uploaded: any members, with any of an accomplice's uploads.
    fn set(&mut self, place: usize) -> Propose {
        let step = &self.steps[place];
        let leave_out = below(&mut self.rng, 3);
        let mut entries = Vec::new();
        for uploads in step.uploads.values() {
            let upload = &uploads[below(&mut self.rng, uploads.len())];
            entries.push(upload.claim());
        }
        for _ in 0..leave_out.min(entries.len()) {
            entries.remove(below(&mut self.rng, entries.len()));
        }
        Propose {
            step: step.plan.reference(),
            entries,
        }
    }

    fn propose(&mut self) -> Checked {
        let Some(place) = self.some_step() else {
            return Ok(());
        };
        let mut propose = self.set(place);
        let entries = propose.entries.len();
        match below(&mut self.rng, 12) {
            0 => propose.entries.truncate(2),
            1 if entries > 1 => propose.entries.swap(0, 1),
            2 if entries > 1 => propose.entries[1] = propose.entries[0],
            3 if entries > 0 => propose.entries[0].body = Digest([1; 32]),
            4 => {
                let other = below(&mut self.rng, self.steps.len());
                propose.entries = self.set(other).entries;
            }
            5 => {
                let other = below(&mut self.rng, self.steps.len());
                propose.step = self.steps[other].plan.reference();
            }
            _ => {}
        }
        let to = self.somebody();
        self.show_set(place, to, propose)
    }

    fn show_set(&mut self, place: usize, to: MemberIndex, propose: Propose) -> Checked {
        self.watch.proposed(&propose);
        let proposals = &mut self.steps[place].proposals;
        if !proposals.contains(&propose) {
            proposals.push(propose.clone());
        }
        self.tell(to, ToNode::Propose(propose))
    }

    fn certificate(&self, place: usize, propose: &Propose) -> Certificate {
        self.steps[place].certificate(self.world, &self.accomplices, propose)
    }

    /// A certificate that lacks votes is filled up, by whatever means.
    fn completed(&mut self, place: usize, mut certificate: Certificate) -> Certificate {
        let quorum = self.world.charter.thresholds().quorum;
        let Some(first) = certificate.votes.first().copied() else {
            return certificate;
        };
        if certificate.votes.len() >= quorum {
            self.steps[place].certificates.push(certificate.clone());
            return certificate;
        }
        match below(&mut self.rng, 4) {
            // One vote over and over.
            0 => certificate.votes.resize(quorum, first),
            // One signature for everybody.
            1 => {
                let signature = first.signature;
                let forged = |voter| CertifiedVote { voter, signature };
                certificate.votes = self.world.members().into_iter().map(forged).collect();
            }
            // Votes for anything in the step, as if they were for this set.
            2 => certificate.votes = self.steps[place].relabelled(),
            _ => {}
        }
        certificate
    }

    fn certify(&mut self) -> Checked {
        let Some(place) = self.some_step() else {
            return Ok(());
        };
        let proposals = &self.steps[place].proposals;
        if proposals.is_empty() {
            return Ok(());
        }
        let propose = proposals[below(&mut self.rng, proposals.len())].clone();
        let mut certificate = self.certificate(place, &propose);
        let other = below(&mut self.rng, self.steps.len());
        match below(&mut self.rng, 10) {
            0 => certificate.step = self.steps[other].plan.reference(),
            1 => {
                let others = &self.steps[other].certificates;
                if !others.is_empty() {
                    certificate = others[below(&mut self.rng, others.len())].clone();
                    certificate.step = propose.step;
                    certificate.proposal = propose.digest();
                }
            }
            _ => certificate = self.completed(place, certificate),
        }
        let to = self.somebody();
        self.tell(to, ToNode::Certificate(certificate))
    }

    /// Delivers everything, shows each member one of `sets` sets, and then certifies what it can.
    fn show(&mut self, sets: usize) -> Checked {
        match self.some_step() {
            Some(place) => self.show_at(place, sets),
            None => Ok(()),
        }
    }

    fn show_at(&mut self, place: usize, sets: usize) -> Checked {
        let sets: Vec<_> = (0..sets).map(|_| self.set(place)).collect();
        for member in self.honest() {
            for deliver in self.steps[place].deliveries(member, &mut self.rng) {
                self.tell(member, ToNode::Deliver(deliver))?;
            }
            let shown = below(&mut self.rng, sets.len());
            let crashes = self.tally.crashes;
            self.show_set(place, member, sets[shown].clone())?;
            if self.tally.crashes > crashes {
                // What does it remember? It gets its shares again, and sees another set.
                let other = sets[(shown + 1) % sets.len()].clone();
                for deliver in self.steps[place].deliveries(member, &mut self.rng) {
                    self.tell(member, ToNode::Deliver(deliver))?;
                }
                self.show_set(place, member, other)?;
            }
        }
        for propose in &sets {
            let certificate = self.certificate(place, propose);
            let certificate = self.completed(place, certificate);
            for member in self.honest() {
                self.tell(member, ToNode::Certificate(certificate.clone()))?;
            }
        }
        Ok(())
    }

    fn commit(&mut self) -> Checked {
        let Some(place) = self.some_step() else {
            return Ok(());
        };
        let step = self.steps[place].plan.reference();
        let totals = Digest([below(&mut self.rng, 3) as u8; 32]);
        let proposals = &self.steps[place].proposals;
        let proposal = proposals.first().map_or(totals, Propose::digest);
        let opened = OpenedStep::sign(step, proposal, totals, &self.world.coordinator);
        for member in self.honest() {
            if below(&mut self.rng, 2) == 0 {
                self.tell(member, ToNode::Opened(opened))?;
            }
        }
        Ok(())
    }

    fn drop_step(&mut self) -> Checked {
        let Some(place) = self.some_step() else {
            return Ok(());
        };
        let context = &self.steps[place].announce.context;
        let (run, step) = (context.run, context.step);
        let reason = collegium_protocol::message::session::DropReason::TooFewVotes;
        let to = self.somebody();
        self.tell(to, ToNode::StepDropped { run, step, reason })
    }

    /// Opens every set for which there are enough releases, its accomplices' included.
    fn open_everything(&mut self) -> Checked {
        let mut opened_asks: BTreeMap<&[u8], BTreeSet<Vec<MemberIndex>>> = BTreeMap::new();
        for place in 0..self.steps.len() {
            for propose in self.steps[place].proposals.clone() {
                let step = &self.steps[place];
                let Some(sums) = step.open(self.world, &self.accomplices, &propose) else {
                    continue;
                };
                let members = propose.members();
                let number = (step.announce.context.run, step.announce.context.step);
                self.watch.opened(number, &members, &sums)?;
                let expected = totals(&members, step.ask);
                if sums != expected {
                    return Err(format!(
                        "opened {sums:?} over {members:?}, not {expected:?}"
                    ));
                }
                self.tally.opened += 1;
                let cohorts = opened_asks.entry(step.ask).or_default();
                cohorts.insert(members);
                if cohorts.len() > 1 && !self.may_change {
                    return Err(format!("one ask was opened with the sets {cohorts:?}"));
                }
            }
        }
        Ok(())
    }
}
