//! Differential privacy: noise that the sites add to their answers, and what it is worth.
//!
//! Under a task with `[differential_privacy]` a site answers one kind of part only, a
//! [`NoisyPart`]. Each of its rows is cut to a bound ([`NoisyPart::sensitivity`]) before it is
//! added, and each code gets an independent draw of the discrete Gaussian distribution
//! ([`gaussian`]; Canonne, Kamath and Steinke 2020) before it is encrypted. Nobody adds the whole
//! noise: every site adds a share, and the sum of the shares of those who do not collude is what
//! protects (Kairouz, Liu and Steinke 2021). [`zcdp`] says how much one sum tells about one row,
//! and [`Spent`] adds that up over the steps of a run.
//!
//! The unit is one row, added or removed. Nothing here trusts the coordinator: a site works out
//! the bound and the price of a step from the ask itself.

mod budget;
pub mod gaussian;
mod outcomes;
mod part;
mod slopes;
pub mod zcdp;

use serde::{Deserialize, Serialize};

pub use budget::{NoiseError, Spent, charge};
pub use gaussian::{NoiseKey, NoiseStream};
pub use outcomes::{CELLS, Outcomes, OutcomesPart};
pub use part::NoisyPart;
pub use slopes::{MAX_WIDTH, Slopes, SlopesPart};

use crate::ask::{MAX_CODE, Segment};

/// Smallest variance of a share, in squared codes: a standard deviation of 4, from where a sum of
/// discrete Gaussian draws cannot be told from one draw (the divergence is below 10^-60).
pub const MIN_VARIANCE: u64 = 16;
/// Largest one: the sampler's arithmetic then fits 128 bits.
pub const MAX_VARIANCE: u64 = 1 << 52;
/// A draw is cut off at so many standard deviations; it lies beyond with probability below
/// 2 · exp(-12²/2) = 2^-102, for any of 2^24 numbers below 2^-78.
const TAIL: u64 = 12;

/// The noise that every contributor adds to every code of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Noise {
    /// Variance of one site's share, in squared codes, [`MIN_VARIANCE`] to [`MAX_VARIANCE`].
    pub variance: u64,
    /// How many shares the promise counts on; a site accepts no more than it knows to be in every
    /// sum from members who do not collude ([`honest_shares`]).
    pub shares: u16,
}

impl Noise {
    /// The least noise that makes a sum of this sensitivity cost at most `rho`; `None` where that
    /// is out of bounds.
    ///
    /// `rho` is in zCDP, `squared` the squared L2 sensitivity in codes.
    #[must_use]
    pub fn for_rho(rho: f64, squared: u64, numbers: usize, shares: u16) -> Option<Self> {
        let shares = shares.max(1);
        let whole = squared as f64 / (2.0 * rho) / f64::from(shares);
        if !(whole.is_finite() && whole < MAX_VARIANCE as f64) {
            return None;
        }
        let variance = (libm::ceil(whole) as u64).max(MIN_VARIANCE);
        let noise = Self { variance, shares };
        // The correction for a sum of shares is far below what rounding up adds, except where
        // that added nothing.
        let fits = |noise: &Self| zcdp::rho_of_sum(squared, numbers, *noise) <= rho;
        [
            noise,
            Self {
                variance: variance + 1,
                shares,
            },
        ]
        .into_iter()
        .find(fits)
    }

    /// Largest magnitude of a draw.
    #[must_use]
    pub fn bound(&self) -> i64 {
        (TAIL * (self.variance.isqrt() + 1)) as i64
    }

    /// `count` sums of exact magnitude at most `limit` at one site, with room for the noise.
    #[must_use]
    pub(crate) fn segment(&self, min: i64, max: i64, count: usize) -> Segment {
        Segment::Integer {
            min: min - self.bound(),
            max: max + self.bound(),
            count,
        }
    }

    /// Checks the caps.
    ///
    /// # Errors
    /// Names the first one that is broken.
    pub fn check(&self) -> Result<(), String> {
        if !(MIN_VARIANCE..=MAX_VARIANCE).contains(&self.variance) {
            return Err(format!(
                "noise of variance {}, allowed are {MIN_VARIANCE} to {MAX_VARIANCE}",
                self.variance
            ));
        }
        if self.shares == 0 || u64::from(self.shares) > MAX_CODE.isqrt() {
            return Err(format!("noise in {} shares", self.shares));
        }
        Ok(())
    }
}

/// The shares of noise that are certainly in a sum, and from members who do not collude: the
/// fewest contributors less those that may collude, a third of the members and at least one,
/// because whoever reads a sum knows its own noise.
#[must_use]
pub fn honest_shares(min_contributors: usize, members: usize) -> u16 {
    let colluding = (members.saturating_sub(1) / 3).max(1);
    u16::try_from(min_contributors.saturating_sub(colluding).max(1)).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
