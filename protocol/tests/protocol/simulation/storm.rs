//! An honest coordinator and its members in a storm: messages are lost, late, repeated and out of
//! order, processes die in the middle of what they do, members come and go, and some of them lie.

use std::collections::BTreeSet;
use std::time::Duration;

use collegium_crypto::rand_core::{CryptoRng, Rng};
use collegium_protocol::limits::MAX_COHORT_CHANGES;
use collegium_protocol::message::session::ToNode;
use collegium_protocol::step::{Aggregator, Attempts, Event, Note, Phase, StepFailure};
use collegium_protocol::{MemberIndex, RefusalCode, StepNumber};

use super::lies::{LIES, Lie, Sent, other_numbers};
use super::seeds::{Tally, Worlds, below};
use super::watch::{Checked, Watch};
use crate::support::{Coordinator, Node, Outcome, Sends, Up, World, rng, shape};

/// What may happen next.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// The oldest message of a random link arrives.
    Deliver,
    /// A random message arrives before those in front of it.
    Reorder,
    /// A message arrives and stays in the queue.
    Duplicate,
    /// A message is lost.
    Drop,
    /// A member's session ends, with everything under way in it.
    Leave,
    /// A member comes (back).
    Join,
    /// A member's process dies after some more actions: with its last record on disk, or just
    /// before that.
    CrashNode,
    /// The coordinator's process dies after some more actions.
    CrashCoordinator,
    /// Time passes, and what is under way is late.
    Wait,
}

fn pick(rng: &mut impl Rng) -> Op {
    match below(rng, 200) {
        0..138 => Op::Deliver,
        138..160 => Op::Reorder,
        160..172 => Op::Duplicate,
        172..176 => Op::Drop,
        176..180 => Op::Leave,
        180..191 => Op::Join,
        191..194 => Op::CrashNode,
        194 => Op::CrashCoordinator,
        _ => Op::Wait,
    }
}

const ASKS: [&[u8]; 2] = [b"profile", b"gradient"];

/// A member that lies, and how: always the same way, or every time another way.
struct Liar {
    member: MemberIndex,
    always: Option<Lie>,
}

struct Storm<'w, R> {
    world: &'w World,
    rng: R,
    nodes: Vec<Node>,
    liars: Vec<Liar>,
    coordinator: Coordinator,
    down: Vec<(MemberIndex, ToNode)>,
    up: Vec<(MemberIndex, Sent)>,
    now: Duration,
    ask: usize,
    /// How many of [`ASKS`] there are.
    asks: usize,
    node_fuel: Vec<usize>,
    fuel: usize,
    healed: bool,
    /// Whether a certified step waits for nobody but a liar.
    excused: bool,
    watch: Watch,
    tally: Tally,
}

/// One history. Half of them have liars, where the scheme survives any.
pub fn history(seed: u64, worlds: &mut Worlds) -> Result<Tally, String> {
    let world = worlds.for_seed(seed);
    let mut storm = Storm::new(world, rng(seed), seed % 2 == 1);
    storm.begin()?;
    for _ in 0..120 {
        if storm.over() {
            break;
        }
        let op = pick(&mut storm.rng);
        storm.apply(op)?;
    }
    storm.heal()?;
    Ok(storm.tally)
}

impl<'w, R: CryptoRng> Storm<'w, R> {
    fn new(world: &'w World, mut rng: R, with_liars: bool) -> Self {
        let (mut nodes, mut coordinator) = (world.nodes(), Coordinator::new(world));
        let members = world.members();
        // Some have not joined yet.
        coordinator.connected = members
            .iter()
            .copied()
            .filter(|_| below(&mut rng, 5) > 0)
            .collect();
        let thresholds = world.charter.thresholds();
        let count = if with_liars {
            thresholds.max_colluding
        } else {
            0
        };
        let first = below(&mut rng, members.len());
        let liars: Vec<_> = (0..count)
            .map(|place| Liar {
                member: members[(first + place) % members.len()],
                always: (below(&mut rng, 3) > 0).then(|| LIES[below(&mut rng, LIES.len())]),
            })
            .collect();
        for liar in &liars {
            if liar.always == Some(Lie::OtherNumbers) {
                nodes[liar.member.position()].answer = other_numbers;
            }
        }
        let tally = Tally {
            liars: liars.len(),
            ..Tally::default()
        };
        let asks = 1 + usize::from(below(&mut rng, 4) == 0);
        Self {
            world,
            rng,
            node_fuel: vec![usize::MAX; nodes.len()],
            nodes,
            liars,
            coordinator,
            down: Vec::new(),
            up: Vec::new(),
            now: Duration::ZERO,
            ask: 0,
            asks,
            fuel: usize::MAX,
            healed: false,
            excused: false,
            watch: Watch::new(thresholds.min_contributors, MAX_COHORT_CHANGES),
            tally,
        }
    }

    fn over(&self) -> bool {
        self.ask == self.asks
    }

    fn begin(&mut self) -> Checked {
        let ask = ASKS[self.ask];
        let sends = self.coordinator.begin(ask, self.now, &mut self.fuel);
        self.send(sends)
    }

    fn send(&mut self, sends: Sends) -> Checked {
        for (to, message) in sends {
            match &message {
                ToNode::Announce(announce) => self.watch.announced(announce),
                ToNode::Propose(propose) => self.watch.proposed(propose),
                _ => {}
            }
            if self.coordinator.connected.contains(&to) {
                self.down.push((to, message));
            }
        }
        self.settle()
    }

    /// Looks at what the step came to, and at dead processes.
    fn settle(&mut self) -> Checked {
        if self.fuel == 0 {
            return self.crash_coordinator();
        }
        match self.coordinator.outcome.take() {
            None => Ok(()),
            Some(Outcome::Totals {
                step,
                contributors,
                sums,
            }) => self.opened(step, &contributors, &sums),
            Some(Outcome::Dropped(dropped)) => {
                self.tally.dropped += 1;
                let end = self
                    .coordinator
                    .attempts
                    .dropped(&dropped, &self.world.charter);
                // A storm is longer than any run's patience; what comes after it must not be.
                match end {
                    Err(end) if self.healed => Err(format!(
                        "the run ended in calm weather: {end} ({:?})",
                        self.lies()
                    )),
                    _ => self.begin(),
                }
            }
            Some(Outcome::Failed(failure)) => self.failed(&failure),
        }
    }

    fn opened(&mut self, step: StepNumber, who: &[MemberIndex], sums: &[u64]) -> Checked {
        self.watch.opened((self.world.run, step), who, sums)?;
        let mut expected = vec![0; shape().codes()];
        for member in who {
            let answer = (self.nodes[member.position()].answer)(*member, ASKS[self.ask]);
            expected
                .iter_mut()
                .zip(answer)
                .for_each(|(sum, code)| *sum += code);
        }
        // Of two uploads of one liar, either may be the first.
        let wrong = sums
            .iter()
            .zip(&expected)
            .map(|(a, b)| a.abs_diff(*b))
            .sum::<u64>();
        let twice = self
            .told(Lie::TwoUploads)
            .filter(|liar| who.contains(liar))
            .count();
        if wrong > twice as u64 {
            return Err(format!(
                "{sums:?} instead of {expected:?} ({:?})",
                self.lies()
            ));
        }
        self.tally.opened += 1;
        self.next()
    }

    /// A step may come to nothing only where a lie was told that spoils it.
    fn failed(&mut self, failure: &StepFailure) -> Checked {
        if let StepFailure::NotReleased { .. } = failure
            && (self.excused || !self.healed)
        {
            self.tally.stalled += 1;
            return self.next();
        }
        let spoiled = matches!(failure, StepFailure::NotOpened { .. });
        let told = self
            .liars
            .iter()
            .any(|liar| liar.always.is_none_or(Lie::may_spoil));
        if !(spoiled && told) {
            return Err(format!("the run ended: {failure} ({:?})", self.lies()));
        }
        self.tally.spoiled += 1;
        self.next()
    }

    /// The journal has it: on to the next ask, and the step's record goes.
    fn next(&mut self) -> Checked {
        self.coordinator.disk.record = None;
        self.ask += 1;
        if self.over() { Ok(()) } else { self.begin() }
    }

    fn lies(&self) -> Vec<(MemberIndex, Option<Lie>)> {
        self.liars
            .iter()
            .map(|liar| (liar.member, liar.always))
            .collect()
    }

    fn told(&self, lie: Lie) -> impl Iterator<Item = MemberIndex> {
        let told = move |liar: &&Liar| liar.always.is_none_or(|always| always == lie);
        self.liars.iter().filter(told).map(|liar| liar.member)
    }

    fn send_to_node(&mut self, to: MemberIndex, message: &ToNode) -> Checked {
        let place = to.position();
        let sent = self.nodes[place].receive(message, &mut self.node_fuel[place]);
        let lie = self
            .liars
            .iter()
            .find(|liar| liar.member == to)
            .map(|liar| liar.always);
        for up in sent {
            let Some(always) = lie else {
                self.watch.sent(&self.nodes[place], &up)?;
                self.up.push((to, up.into()));
                continue;
            };
            let lie = always.unwrap_or_else(|| LIES[below(&mut self.rng, LIES.len())]);
            let told = lie.tell(self.world, to, message, up, &mut self.rng);
            self.up.extend(told.into_iter().map(|sent| (to, sent)));
        }
        if self.node_fuel[place] == 0 {
            self.tally.crashes += 1;
            self.node_fuel[place] = usize::MAX;
            self.nodes[place].restart();
            self.leave(to)?;
        }
        Ok(())
    }

    fn send_to_coordinator(&mut self, from: MemberIndex, sent: Sent) -> Checked {
        let (now, fuel) = (self.now, &mut self.fuel);
        let sends = match sent {
            Sent::Message(message) => {
                self.coordinator
                    .receive(from, Up::Message(message), now, fuel)
            }
            Sent::Upload(parts) => self.coordinator.upload(from, parts, now, fuel),
        };
        self.send(sends)
    }

    fn event(&mut self, event: Event) -> Checked {
        let sends = self.coordinator.handle(event, self.now, &mut self.fuel);
        self.send(sends)
    }

    fn leave(&mut self, member: MemberIndex) -> Checked {
        self.down.retain(|(to, _)| *to != member);
        self.up.retain(|(from, _)| *from != member);
        self.event(Event::Disconnected(member))
    }

    fn join(&mut self, member: MemberIndex) -> Checked {
        if self.coordinator.connected.contains(&member) {
            return Ok(());
        }
        self.event(Event::Connected(member))
    }

    fn crash_coordinator(&mut self) -> Checked {
        self.tally.crashes += 1;
        self.fuel = usize::MAX;
        self.down.clear();
        self.up.clear();
        // Opened but not journaled: the step is driven on, and must open to the same.
        self.coordinator.outcome = None;
        match self.coordinator.restart() {
            Some(sends) => self.send(sends),
            None if self.over() => Ok(()),
            None => self.begin(),
        }
    }

    fn apply(&mut self, op: Op) -> Checked {
        let members = self.nodes.len();
        match op {
            Op::Deliver | Op::Reorder | Op::Duplicate | Op::Drop => self.carry(op),
            Op::Leave => {
                let member = self.nodes[below(&mut self.rng, members)].index();
                self.leave(member)
            }
            Op::Join => {
                let member = self.nodes[below(&mut self.rng, members)].index();
                self.join(member)
            }
            Op::CrashNode => {
                let place = below(&mut self.rng, members);
                self.node_fuel[place] = below(&mut self.rng, 4);
                Ok(())
            }
            Op::CrashCoordinator => {
                self.fuel = 1 + below(&mut self.rng, 12);
                Ok(())
            }
            Op::Wait => {
                self.now += Duration::from_secs(below(&mut self.rng, 40) as u64);
                self.event(Event::Tick)
            }
        }
    }

    /// Does `op` to a random message under way.
    fn carry(&mut self, op: Op) -> Checked {
        let count = self.down.len() + self.up.len();
        if count == 0 {
            return Ok(());
        }
        let (keep, lose) = (matches!(op, Op::Duplicate), matches!(op, Op::Drop));
        let place = below(&mut self.rng, count);
        if place < self.down.len() {
            let link = self.down[place].0;
            let first = self.down.iter().position(|(to, _)| *to == link);
            let place = match (op, first) {
                (Op::Deliver, Some(first)) => first,
                _ => place,
            };
            let (to, message) = self.down[place].clone();
            if !keep {
                self.down.remove(place);
            }
            return if lose {
                Ok(())
            } else {
                self.send_to_node(to, &message)
            };
        }
        let place = place - self.down.len();
        let (from, sent) = self.up[place].clone();
        if !keep {
            self.up.remove(place);
        }
        if lose {
            Ok(())
        } else {
            self.send_to_coordinator(from, sent)
        }
    }

    /// The set is certified and nothing is under way: every honest member has released, or cannot
    /// because a liar dealt it a bad share while it was away. The step waits for the liar.
    fn waits_for_a_liar(&self) -> bool {
        let Some(machine) = &self.coordinator.aggregator else {
            return false;
        };
        let Phase::Certified { releases } = machine.phase() else {
            return false;
        };
        let is_liar = |member: MemberIndex| self.liars.iter().any(|liar| liar.member == member);
        let robbed: BTreeSet<_> = self
            .coordinator
            .notes
            .iter()
            .filter_map(|note| match note {
                Note::Refused { from, refusal } if refusal.code == RefusalCode::ShareMissing => {
                    Some(*from)
                }
                _ => None,
            })
            .filter(|member| !is_liar(*member))
            .collect();
        let honest = self.nodes.len() - self.liars.len();
        !robbed.is_empty() && releases + robbed.len() >= honest
    }

    /// The weather clears: everybody comes back and everything arrives. Now every ask must come to
    /// an end, and whoever lies goes on lying.
    fn heal(&mut self) -> Checked {
        self.node_fuel.fill(usize::MAX);
        self.fuel = usize::MAX;
        for member in self.world.members() {
            self.leave(member)?;
        }
        for member in self.world.members() {
            self.join(member)?;
        }
        // What the storm spent of the run's patience is given back.
        let last = self.coordinator.aggregator.as_ref();
        if let Some(last) = last.map(|machine| machine.plan().reference().step) {
            self.coordinator.attempts = Attempts::after(last);
        }
        self.healed = true;
        for _ in 0..20_000 {
            if self.over() {
                self.tally.releases = self.watch.releases;
                return Ok(());
            }
            if !self.down.is_empty() {
                let (to, message) = self.down.remove(0);
                self.send_to_node(to, &message)?;
            } else if !self.up.is_empty() {
                let (from, sent) = self.up.remove(0);
                self.send_to_coordinator(from, sent)?;
            } else {
                self.excused = self.waits_for_a_liar();
                self.now += Duration::from_secs(30);
                self.event(Event::Tick)?;
            }
        }
        let phase = self.coordinator.aggregator.as_ref().map(Aggregator::phase);
        let last = self
            .coordinator
            .notes
            .iter()
            .rev()
            .take(4)
            .collect::<Vec<_>>();
        let (ask, lies) = (self.ask, self.lies());
        Err(format!(
            "stuck at ask {ask} in {phase:?} ({lies:?}): {last:?}"
        ))
    }
}
