//! Sites in the same process, plain addition of the very same integers.

use std::collections::BTreeMap;

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
        let mut sums = vec![0u64; ask.numbers()];
        for (index, site) in self.sites.iter_mut().enumerate() {
            for id in site.missing(ask) {
                let missing = at(index, SiteError::Missing(id));
                let bytes = self.objects.get(&id).ok_or(missing)?;
                site.insert(bytes).map_err(|source| at(index, source))?;
            }
            let answer = site.answer(ask).map_err(|source| at(index, source))?;
            for (sum, code) in sums.iter_mut().zip(&answer.codes) {
                *sum += code;
            }
        }
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

fn member(index: usize) -> u16 {
    u16::try_from(index + 1).unwrap_or(u16::MAX)
}

fn at(index: usize, source: SiteError) -> FederationError {
    FederationError::Site {
        member: member(index),
        source,
    }
}
