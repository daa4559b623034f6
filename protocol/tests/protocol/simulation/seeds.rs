//! Runs many histories, on all cores, and says how to run one again.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use collegium_crypto::rand_core::Rng;
use collegium_protocol::RunId;

use crate::support::World;

/// Set to a number, it runs that one seed of each simulation.
const ONE: &str = "SIMULATION_SEED";

/// Sizes of consortia, by seed: mostly small ones, since the work grows with the square.
const SIZES: [usize; 20] = [4, 3, 4, 5, 4, 3, 4, 3, 4, 5, 4, 3, 4, 7, 4, 3, 4, 3, 4, 3];

/// The consortia of one thread: keys are drawn once, runs are told apart by their ids.
pub struct Worlds(Vec<World>);

impl Worlds {
    pub fn new() -> Self {
        Self(
            [3, 4, 5, 7]
                .into_iter()
                .map(|n| World::new(n, 10_000))
                .collect(),
        )
    }

    /// The consortium of this seed.
    pub fn for_seed(&mut self, seed: u64) -> &World {
        let size = SIZES[(seed / 2 % 20) as usize];
        let world = self
            .0
            .iter_mut()
            .find(|world| world.members().len() == size);
        let world = world.unwrap();
        world.run = run_id(seed, 0);
        world
    }
}

/// The id of a history's runs.
pub fn run_id(seed: u64, number: u64) -> RunId {
    let mut id = [0; 16];
    id[..8].copy_from_slice(&seed.to_le_bytes());
    id[8..].copy_from_slice(&number.to_le_bytes());
    RunId::from_bytes(id)
}

/// A random number below `n`, or 0.
pub fn below(rng: &mut impl Rng, n: usize) -> usize {
    rng.next_u32() as usize % n.max(1)
}

/// How often what happened, to know that the histories are not idle.
#[derive(Debug, Default, Clone, Copy)]
pub struct Tally {
    pub opened: usize,
    pub spoiled: usize,
    pub stalled: usize,
    pub dropped: usize,
    pub crashes: usize,
    pub releases: usize,
    pub refused: usize,
    pub liars: usize,
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.opened += other.opened;
        self.spoiled += other.spoiled;
        self.stalled += other.stalled;
        self.dropped += other.dropped;
        self.crashes += other.crashes;
        self.releases += other.releases;
        self.refused += other.refused;
        self.liars += other.liars;
    }
}

/// A simulation: one history from a seed.
pub type History = fn(u64, &mut Worlds) -> Result<Tally, String>;

/// Runs the named simulation over `kept` seeds and the first `count` others, or over the one in
/// the environment; panics with every seed that broke a promise. `None` when it ran one alone.
pub fn run(name: &str, history: History, kept: &[u64], count: u64) -> Option<Tally> {
    if let Ok(seed) = std::env::var(ONE) {
        let seed = seed.parse().expect("SIMULATION_SEED is a number");
        let found = history(seed, &mut Worlds::new());
        println!("{name}, seed {seed}: {found:?}");
        assert!(found.is_ok(), "{found:?}");
        return None;
    }
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let failures = Mutex::new(Vec::new());
    let total = Mutex::new(Tally::default());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut worlds = Worlds::new();
                while !stop.load(Ordering::Relaxed) {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let seed = match kept.get(number as usize) {
                        Some(seed) => *seed,
                        None => number - kept.len() as u64,
                    };
                    if seed >= count && number >= kept.len() as u64 {
                        return;
                    }
                    match attempt(history, seed, &mut worlds) {
                        Ok(tally) => total.lock().unwrap().add(tally),
                        Err(why) => {
                            failures.lock().unwrap().push((seed, why));
                            // A few say enough.
                            stop.fetch_or(failures.lock().unwrap().len() > 4, Ordering::Relaxed);
                        }
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    for (seed, why) in &failures {
        println!("{ONE}={seed} cargo test -p collegium-protocol --test protocol {name}: {why}");
    }
    assert!(
        failures.is_empty(),
        "{} histories broke a promise",
        failures.len()
    );
    let total = total.into_inner().unwrap();
    println!("{name}, {count} seeds: {total:?}");
    Some(total)
}

/// A panic is a broken promise as well.
fn attempt(history: History, seed: u64, worlds: &mut Worlds) -> Result<Tally, String> {
    let found = catch_unwind(AssertUnwindSafe(|| history(seed, worlds)));
    found.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        Err(text
            .or(panic.downcast_ref::<&str>().copied())
            .unwrap_or("panic")
            .to_owned())
    })
}
