//! Sites in the same process, plain addition of the very same integers.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, available_parallelism};

use crate::ask::{Ask, Totals};
use crate::federation::{Federation, FederationError};
use crate::object::{Object, ObjectId};
use crate::site::{Site, SiteError};

/// Adds the answers of sites in this process: for simulation, and as what the
/// encrypted sum must equal.
pub struct Pooled {
    sites: Vec<Box<dyn Site>>,
    objects: BTreeMap<ObjectId, Vec<u8>>,
    shares: u16,
}

impl Pooled {
    /// Members 1, 2, … in this order.
    #[must_use]
    pub fn new(sites: Vec<Box<dyn Site>>) -> Self {
        Self {
            sites,
            objects: BTreeMap::new(),
            shares: 1,
        }
    }

    /// The same, with the noise of differential privacy in so many shares. Keys are the sites' own
    /// (see [`Site::noise_with`]).
    #[must_use]
    pub const fn with_shares(mut self, shares: u16) -> Self {
        self.shares = shares;
        self
    }
}

impl Federation for Pooled {
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        let bytes = object.to_bytes()?;
        let id = ObjectId::of(&bytes);
        self.objects.insert(id, bytes);
        Ok(id)
    }

    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError> {
        ask.check()?;
        let sums = Mutex::new(vec![0u64; ask.numbers()]);
        let failed = Mutex::new(BTreeMap::new());
        let objects = &self.objects;
        let threads = available_parallelism().map_or(1, NonZero::get);
        let threads = threads.min(self.sites.len()).max(1);
        let queue = Mutex::new(self.sites.iter_mut().enumerate());
        // Sites of any size next to each other: whoever is done takes the next one.
        let work = || {
            while let Some((index, site)) = next(&queue) {
                match answer(site.as_mut(), ask, objects) {
                    Ok(codes) => {
                        let mut sums = lock(&sums);
                        for (sum, code) in sums.iter_mut().zip(&codes) {
                            *sum += code;
                        }
                    }
                    Err(source) => {
                        lock(&failed).insert(index, source);
                    }
                }
            }
        };
        thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        // The first site's error, whoever was the first to fail.
        if let Some((index, source)) = lock(&failed).pop_first() {
            return Err(at(index, source));
        }
        let sums = sums.into_inner().unwrap_or_else(PoisonError::into_inner);
        Ok(Totals {
            sums,
            contributors: (0..self.sites.len()).map(member).collect(),
        })
    }

    fn time_is_up(&mut self, _steps: u32) -> Result<bool, FederationError> {
        Ok(false)
    }

    fn members(&self) -> usize {
        self.sites.len()
    }

    fn honest_shares(&self) -> u16 {
        self.shares
    }
}

/// A site's answer, what it lacks handed to it first.
fn answer(
    site: &mut dyn Site,
    ask: &Ask,
    objects: &BTreeMap<ObjectId, Vec<u8>>,
) -> Result<Vec<u64>, SiteError> {
    for id in site.missing(ask) {
        site.insert(objects.get(&id).ok_or(SiteError::Missing(id))?)?;
    }
    Ok(site.answer(ask)?.codes)
}

/// Takes the next of a shared iterator; the lock is gone when it returns.
fn next<I: Iterator>(queue: &Mutex<I>) -> Option<I::Item> {
    lock(queue).next()
}

/// A thread that panics ends the scope with its panic, so nobody sees what it left.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn member(index: usize) -> u16 {
    u16::try_from(index + 1).unwrap_or(u16::MAX)
}

fn at(index: usize, source: SiteError) -> FederationError {
    FederationError::Site {
        member: member(index),
        source,
    }
}
