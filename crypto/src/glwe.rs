//! The encryption scheme.
//!
//! One key s per member and step, uniform in Z_q\[X\]/(X^N + 1); public masks a_j that all members
//! share in a step; noise e_j from CBD(80); messages Δ·m_j. A member's ciphertext is the body only:
//!
//! ```text
//! c_j = a_j·s + e_j + Δ·m_j          each member, j = 0, 1, …
//! C_j = Σ c_j = a_j·S + Σ e_j + Δ·Σ m_j,   S = Σ s      the coordinator adds
//! Δ·Σ m_j = C_j − a_j·S − Σ e_j      whoever knows S, once |Σ e_j| is found in bound
//! ```
//!
//! The key is uniform because S is revealed: a sum of uniform keys says nothing about any of them.
//! A key meets each mask once; [`Encryptor`] consumes it so that it meets no second step.
//!
//! Bodies and their sums are in [`crate::body`]; encryption and opening, and rebuilding a summed body from
//! what was opened, are below.

use crate::error::ShareError;
use crate::linear::{Challenge, LinearHash};
use crate::params::DEGREE;
use crate::randomness::fill_uniform;
use crate::shamir;
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop};

mod decode;
mod encryptor;
mod opening;
mod rebuilt;

pub use crate::body::{BodyCheck, BodySum};
pub use crate::mask::MaskSeed;
pub use encryptor::Encryptor;
pub use opening::{Opened, codes, digest, fits, open};
pub use rebuilt::{PHASE_BYTES, RebuiltHasher, rebuilt_hash};

/// A member's key for one step. It cannot be printed or copied, and is wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct OneTimeKey(Vec<u64>);

impl OneTimeKey {
    /// Draws a fresh uniform key.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut coefficients = vec![0; DEGREE];
        fill_uniform(rng, &mut coefficients);
        Self(coefficients)
    }

    /// The coefficients, for sharing.
    pub(crate) fn coefficients(&self) -> &[u64] {
        &self.0
    }

    /// What is kept of the key until its step is opened, to vouch for its part in the summed key.
    #[must_use]
    pub fn witness(&self) -> KeyWitness {
        KeyWitness(self.0.clone())
    }

    /// A chosen key, for tests at the extremes.
    #[cfg(test)]
    pub(crate) fn chosen(coefficients: Vec<u64>) -> Self {
        assert_eq!(coefficients.len(), DEGREE);
        Self(coefficients)
    }
}

/// A key that encrypts nothing any more and can do one thing, once: hash itself under the challenge
/// of the opened step. As secret as the key; wiped when dropped.
///
/// Without it, totals could not be proved: whoever may choose the summed key S freely finds, for any
/// totals and noise, one that rebuilds the very body that was sent, as long as that body has no
/// more than 4096 coefficients (`tests/secure_sum/forgery.rs` does it). The hash tells the coordinator one linear
/// combination of the key over F_{q²}: two of the key's 4096 coordinates, so to speak (perfect
/// hints: Dachman-Soled, Ducas, Gong and Rossi, *LWE with Side Information*, CRYPTO 2020). A second
/// one would tell two more, which is why hashing uses the witness up.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct KeyWitness(Vec<u64>);

impl KeyWitness {
    /// Σ r^k · s\[k\], k from 0.
    #[must_use]
    pub fn linear_hash(self, challenge: Challenge) -> LinearHash {
        LinearHash::of_values(challenge, &self.0)
    }
}

/// The sum of the keys of all contributors: what the committee's releases add up to. It opens one
/// sum and is not secret from the coordinator.
#[derive(Clone, PartialEq, Eq)]
pub struct SummedKey(Vec<u64>);

impl SummedKey {
    /// Takes [`DEGREE`] canonical coefficients.
    pub(crate) fn from_coefficients(coefficients: Vec<u64>) -> Self {
        Self(coefficients)
    }

    /// The coefficients of the key, all below q.
    #[must_use]
    pub fn coefficients(&self) -> &[u64] {
        &self.0
    }

    /// What the contributors' [`KeyWitness::linear_hash`] add up to.
    #[must_use]
    pub fn linear_hash(&self, challenge: Challenge) -> LinearHash {
        LinearHash::of_values(challenge, &self.0)
    }

    /// The key as [`shamir::SHARE_BYTES`] bytes: 8-byte little-endian words below q.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        shamir::to_bytes(&self.0)
    }

    /// Reads what [`SummedKey::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`ShareError::Length`] or [`ShareError::NotCanonical`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ShareError> {
        shamir::from_bytes(bytes).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field;

    #[test]
    fn summed_keys_read_back_and_only_canonical_ones_are_read() {
        let mut coefficients = vec![5; DEGREE];
        coefficients[17] = field::Q - 1;
        let key = SummedKey::from_coefficients(coefficients);
        let mut bytes = key.to_bytes();
        assert!(SummedKey::from_bytes(&bytes).unwrap() == key);
        assert!(matches!(
            SummedKey::from_bytes(&bytes[8..]),
            Err(ShareError::Length { .. })
        ));
        bytes[..8].copy_from_slice(&field::Q.to_le_bytes());
        assert!(matches!(
            SummedKey::from_bytes(&bytes),
            Err(ShareError::NotCanonical)
        ));
    }
}
