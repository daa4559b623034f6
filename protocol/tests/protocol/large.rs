//! A large consortium in one process: the network is simulated, the cryptography is not. A tenth
//! of the members drops out, half of them before they upload and half before they vote, whoever
//! holds a seat; the totals must be right all the same.
//!
//! The ordinary suite runs a hundred members. The full size, with its table of times and bytes:
//!
//! ```text
//! cargo test --workspace --test protocol -- --ignored --nocapture large
//! ```
//!
//! It needs 2 GB of memory, nearly all of it for the 96 seats' shares: what 96 machines keep is
//! in one process here.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use collegium_crypto::encode::{Segment, Shape};
use collegium_crypto::glwe::BodySum;
use collegium_crypto::rand_core::Rng;
use collegium_protocol::codec;
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::{Announce, Part};
use collegium_protocol::step::{
    Action, Aggregator, Committee, Contributor, Event, LocalVerdict, NodeAction, Opening,
    ReadyUpload, StepPlan, Timing,
};
use collegium_protocol::{Digest, MemberIndex, StepNumber};

use crate::support::{World, admit, rng};

const ASK: &[u8] = b"a gradient";

/// Dealers whose uploads exist at once.
const BATCH: usize = 16;

#[test]
fn a_hundred_members_of_whom_a_tenth_drops_out() {
    Federation::new(100, 2_000, 900).run();
}

#[test]
#[ignore = "the full size: minutes and 2 GB; the command stands in the module's documentation"]
fn a_thousand_members_of_whom_a_tenth_drops_out() {
    Federation::new(1_000, 100_000, 901).run();
}

/// The member's answer: 16-bit values.
fn answer(member: MemberIndex, values: usize) -> Vec<u64> {
    let start = u64::from(member.get()) * 7_919;
    (0..values as u64)
        .map(|place| (start + place * 31) % 65_536)
        .collect()
}

struct Federation {
    world: World,
    plan: Arc<StepPlan>,
    announce: Announce,
    /// Gone before they upload.
    never: BTreeSet<MemberIndex>,
    /// Gone before they vote.
    later: BTreeSet<MemberIndex>,
    seats: Vec<(MemberIndex, Committee)>,
    sum: BodySum,
    expected: Vec<u64>,
    table: Table,
}

impl Federation {
    fn new(members: usize, values: usize, seed: u64) -> Self {
        println!("seed {seed}");
        let began = Instant::now();
        let world = World::new(members, seed);
        let mut table = Table::default();
        table.spend("keys, charter, draw", began);
        let shape = Shape(vec![Segment {
            max: 65_535,
            count: values,
        }]);
        let charter = Arc::clone(&world.charter);
        let plan = StepPlan::new(charter, world.run, StepNumber(1), ASK, shape).unwrap();
        let announce = world.announce(&plan, ASK);
        let mut everybody = world.members();
        shuffle(&mut everybody, &mut rng(seed + 1));
        let never: BTreeSet<_> = everybody.drain(..members / 20).collect();
        let later: BTreeSet<_> = everybody.drain(..members / 20).collect();
        let seats = world
            .charter
            .committee()
            .iter()
            .map(|member| (*member, serve(&world, *member, &announce)))
            .collect();
        let sum = plan.empty_sum();
        Self {
            world,
            plan: Arc::new(plan),
            announce,
            never,
            later,
            seats,
            sum,
            expected: vec![0; values],
            table,
        }
    }

    fn run(mut self) {
        let connected: BTreeSet<_> = self.world.members().into_iter().collect();
        let (members, seats) = (connected.len(), self.seats.len());
        let announced = codec::encode(&ToNode::Announce(self.announce.clone())).unwrap();
        self.table
            .count("to a member: the announcement", announced.len());
        let (mut machine, _) = Aggregator::start(
            Arc::clone(&self.plan),
            self.announce.clone(),
            connected.clone(),
            Timing::default(),
            Duration::ZERO,
        );
        for member in &self.never {
            machine.handle(Event::Disconnected(*member), Duration::ZERO);
        }
        let dealers: Vec<_> = connected.difference(&self.never).copied().collect();
        let mut proposal = None;
        for batch in dealers.chunks(BATCH) {
            for (dealer, upload) in self.encrypt(batch) {
                proposal = self.take(&mut machine, dealer, &upload).or(proposal);
            }
        }
        let proposal = proposal.expect("the last verdict completes the set");
        let certificate = self.vote(&mut machine, &proposal);
        let opening = self.release(&mut machine, &certificate);
        assert_eq!(opening.contributors(), dealers);
        let began = Instant::now();
        let opened = opening.open(&self.sum).unwrap();
        self.table.spend("interpolate, open, check noise", began);
        assert_eq!(opened.sums(), self.expected, "wrong totals");
        let gone = self.never.len() + self.later.len();
        println!("{members} members, {seats} seats, {gone} dropped out, totals right");
        self.table.print();
    }

    /// Every dealer of the batch answers, encrypts, deals and seals, on all cores.
    fn encrypt(&mut self, batch: &[MemberIndex]) -> Vec<(MemberIndex, Arc<ReadyUpload>)> {
        let began = Instant::now();
        let (world, announce, plan) = (&self.world, &self.announce, &self.plan);
        let values = self.expected.len();
        let one = |dealer: &MemberIndex| {
            let place = Arc::clone(&world.places[dealer.position()]);
            let mut contributor = Contributor::restore(place, world.run, []);
            let shape = plan.shape().clone();
            contributor.announce(announce, LocalVerdict::Allowed { shape });
            let mut rng = rng(1_000_000 + u64::from(dealer.get()));
            let actions = contributor.answered(StepNumber(1), answer(*dealer, values), &mut rng);
            match actions.into_iter().next() {
                Some(NodeAction::Upload(upload)) => (*dealer, upload),
                other => panic!("no upload: {other:?}"),
            }
        };
        let uploads = on_all_cores(batch.to_vec(), |dealer| one(&dealer));
        self.table
            .spend("contributors: encrypt, deal, seal, sign", began);
        for dealer in batch {
            let codes = answer(*dealer, values);
            self.expected
                .iter_mut()
                .zip(codes)
                .for_each(|(s, c)| *s += c);
        }
        uploads
    }

    /// One upload through the coordinator to every seat and their verdicts back; nothing of it is
    /// kept but the seats' shares. The proposal, once the machine makes it.
    fn take(
        &mut self,
        machine: &mut Aggregator,
        dealer: MemberIndex,
        upload: &ReadyUpload,
    ) -> Option<Arc<ToNode>> {
        let began = Instant::now();
        let admitted = admit(&self.plan, dealer, upload).unwrap();
        self.table.spend("coordinator: check uploads", began);
        let began = Instant::now();
        self.sum.add_bytes(&upload.body().unwrap()).unwrap();
        self.table.spend("coordinator: add bodies", began);
        let trailer = codec::encode(&upload.trailer).unwrap().len();
        self.table.count(
            "upload of a contributor: body",
            upload.body().unwrap().len(),
        );
        self.table.count("upload of a contributor: shares", trailer);

        let actions = machine.handle(Event::Uploaded(admitted.receipt()), Duration::ZERO);
        let wanted: BTreeSet<_> = actions.iter().filter_map(delivery).collect();
        assert_eq!(
            wanted.len(),
            self.seats.len() - self.gone_seats(),
            "one for each seat"
        );
        let began = Instant::now();
        let seats = self
            .seats
            .iter_mut()
            .filter(|(member, _)| wanted.contains(member));
        let verdicts = on_all_cores(seats.collect(), |(member, committee)| {
            let deliver = admitted.delivery(*member).unwrap();
            let bytes = codec::encode(&ToNode::Deliver(deliver.clone()))
                .unwrap()
                .len();
            (*member, bytes, committee.deliver(&deliver))
        });
        self.table.spend("seats: check and open shares", began);

        let began = Instant::now();
        let mut proposal = None;
        for (from, bytes, actions) in verdicts {
            self.table.count("to a seat: one share", bytes);
            let message = sent(actions);
            self.table
                .count("from a seat: one verdict", encoded(&message));
            let ToCoordinator::Verdict(verdict) = message else {
                panic!("no verdict: {message:?}");
            };
            assert_eq!(verdict.complaint, None);
            let actions = machine.handle(Event::Verdict { from, verdict }, Duration::ZERO);
            proposal = proposed(&actions).or(proposal);
        }
        self.table.spend("coordinator: verdicts", began);
        proposal
    }

    fn gone_seats(&self) -> usize {
        let gone = |(member, _): &&(MemberIndex, _)| self.never.contains(member);
        self.seats.iter().filter(gone).count()
    }

    /// The second half of the dropouts goes; the other seats vote. The certificate.
    fn vote(&mut self, machine: &mut Aggregator, proposal: &ToNode) -> Arc<ToNode> {
        let ToNode::Propose(propose) = proposal else {
            panic!("no proposal: {proposal:?}");
        };
        for member in &self.later {
            machine.handle(Event::Disconnected(*member), Duration::ZERO);
        }
        self.seats
            .retain(|(member, _)| !self.never.contains(member) && !self.later.contains(member));
        let bytes = codec::encode(proposal).unwrap().len();
        self.table.count("to a seat: the proposal", bytes);
        let began = Instant::now();
        let votes = on_all_cores(self.seats.iter_mut().collect(), |(member, committee)| {
            (*member, committee.propose(propose))
        });
        self.table
            .spend("seats: check the set, add shares, vote", began);
        let began = Instant::now();
        let mut certificate = None;
        for (from, actions) in votes {
            let message = sent(actions);
            self.table.count("from a seat: its vote", encoded(&message));
            let ToCoordinator::Vote(vote) = message else {
                panic!("no vote: {message:?}");
            };
            let actions = machine.handle(Event::Vote { from, vote }, Duration::ZERO);
            let found = actions.into_iter().find_map(|action| match action {
                Action::Send { message, .. } if matches!(*message, ToNode::Certificate(_)) => {
                    Some(message)
                }
                _ => None,
            });
            certificate = found.or(certificate);
        }
        self.table.spend("coordinator: votes", began);
        let certificate = certificate.expect("a quorum voted");
        let bytes = codec::encode(&*certificate).unwrap().len();
        self.table.count("to a seat: the certificate", bytes);
        certificate
    }

    /// The seats release, until enough have.
    fn release(&mut self, machine: &mut Aggregator, certificate: &ToNode) -> Box<Opening> {
        let ToNode::Certificate(certificate) = certificate else {
            panic!("no certificate: {certificate:?}");
        };
        let began = Instant::now();
        let releases = on_all_cores(self.seats.iter_mut().collect(), |(member, committee)| {
            (*member, committee.certificate(certificate))
        });
        self.table
            .spend("seats: check the certificate, release", began);
        let began = Instant::now();
        for (from, actions) in releases {
            let message = sent(actions);
            self.table
                .count("from a seat: its release", encoded(&message));
            let ToCoordinator::Release(release) = message else {
                panic!("no release: {message:?}");
            };
            for action in machine.handle(Event::Release { from, release }, Duration::ZERO) {
                if let Action::Open(opening) = action {
                    self.table.spend("coordinator: releases", began);
                    return opening;
                }
            }
        }
        panic!("too few released");
    }
}

/// A seat's machine with the step announced to it.
fn serve(world: &World, member: MemberIndex, announce: &Announce) -> Committee {
    let place = Arc::clone(&world.places[member.position()]);
    let mut committee = Committee::restore(place, []);
    let actions = committee.announce(&announce.with_part(Part::Serve), Digest([1; 32]));
    assert!(matches!(actions.as_slice(), [NodeAction::Persist(_)]));
    committee
}

fn shuffle(members: &mut [MemberIndex], rng: &mut impl Rng) {
    for last in (1..members.len()).rev() {
        members.swap(last, rng.next_u32() as usize % (last + 1));
    }
}

fn delivery(action: &Action) -> Option<MemberIndex> {
    match action {
        Action::Deliver { to, .. } => Some(*to),
        other => panic!("not a delivery: {other:?}"),
    }
}

fn proposed(actions: &[Action]) -> Option<Arc<ToNode>> {
    actions.iter().find_map(|action| match action {
        Action::Send { message, .. } if matches!(**message, ToNode::Propose(_)) => {
            Some(Arc::clone(message))
        }
        _ => None,
    })
}

/// The one message among a node's actions.
fn sent(actions: Vec<NodeAction>) -> ToCoordinator {
    let message = actions.into_iter().find_map(|action| match action {
        NodeAction::Send(message) => Some(message),
        _ => None,
    });
    message.expect("a message")
}

fn encoded(message: &ToCoordinator) -> usize {
    codec::encode(message).unwrap().len()
}

/// `work` on every item, in the items' order, on as many threads as there are cores.
fn on_all_cores<T: Send, R: Send>(items: Vec<T>, work: impl Fn(T) -> R + Sync) -> Vec<R> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let each = items.len().div_ceil(threads).max(1);
    let mut items = items.into_iter();
    let pieces = std::iter::from_fn(|| {
        let piece: Vec<_> = items.by_ref().take(each).collect();
        (!piece.is_empty()).then_some(piece)
    });
    let work = &work;
    std::thread::scope(|scope| {
        let threads: Vec<_> = pieces
            .map(|piece| scope.spawn(move || piece.into_iter().map(work).collect::<Vec<_>>()))
            .collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().expect("no panic"))
            .collect()
    })
}

/// What a phase took, and what a role sent or received.
#[derive(Default)]
struct Table {
    times: Vec<(&'static str, Duration)>,
    bytes: BTreeMap<&'static str, (usize, usize)>,
}

impl Table {
    fn spend(&mut self, phase: &'static str, began: Instant) {
        let spent = began.elapsed();
        match self.times.iter_mut().find(|(name, _)| *name == phase) {
            Some((_, total)) => *total += spent,
            None => self.times.push((phase, spent)),
        }
    }

    fn count(&mut self, what: &'static str, bytes: usize) {
        let entry = self.bytes.entry(what).or_default();
        *entry = (entry.0 + 1, entry.1 + bytes);
    }

    fn print(&self) {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        println!("wall time on {threads} cores, all members together");
        for (phase, spent) in &self.times {
            println!("  {phase:<42} {:>9.3} s", spent.as_secs_f64());
        }
        println!("bytes                                            each       messages      total");
        for (what, (messages, bytes)) in &self.bytes {
            let each = bytes / messages;
            println!("  {what:<38} {each:>12} {messages:>12} {bytes:>12}");
        }
    }
}

#[test]
fn the_cores_keep_the_order() {
    let items: Vec<usize> = (0..100).collect();
    assert_eq!(on_all_cores(items.clone(), |item| item), items);
    assert!(on_all_cores(Vec::<usize>::new(), |item| item).is_empty());
}
