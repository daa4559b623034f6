//! Where randomness comes from.
//!
//! Every function that needs randomness takes a [`rand_core::CryptoRng`]. Daemons make theirs with
//! [`os_rng`]; tests and known-answer vectors with [`seeded_rng`].

use crate::error::RandomnessError;
use crate::field;
use chacha20::ChaCha20Rng;
use getrandom::SysRng;
use rand_core::{CryptoRng, SeedableRng, TryRng};
use zeroize::Zeroizing;

/// A ChaCha20 generator seeded with 256 bits from the operating system; wiped when dropped.
///
/// # Errors
/// [`RandomnessError`] when the operating system gives no randomness. Do not go on then.
pub fn os_rng() -> Result<ChaCha20Rng, RandomnessError> {
    let mut seed = Zeroizing::new([0u8; 32]);
    SysRng
        .try_fill_bytes(seed.as_mut_slice())
        .map_err(|source| RandomnessError {
            reason: source.to_string(),
        })?;
    Ok(ChaCha20Rng::from_seed(*seed))
}

/// The ChaCha20 generator with a given seed: the same seed gives the same stream, always.
#[must_use]
pub fn seeded_rng(seed: [u8; 32]) -> ChaCha20Rng {
    ChaCha20Rng::from_seed(seed)
}

/// Fills `out` with uniform field elements by rejection: 8 little-endian bytes each, values of q
/// and above thrown away. Which ones were thrown away says nothing about those that were kept.
pub fn fill_uniform(rng: &mut impl CryptoRng, out: &mut [u64]) {
    // 2^-32 of all words are rejected, so one pass nearly always does.
    let mut bytes = Zeroizing::new([0u8; 1024]);
    for block in out.chunks_mut(1024 / 8) {
        rng.fill_bytes(bytes.as_mut_slice());
        for (element, word) in block.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *element = u64::from_le_bytes(*word);
            while *element >= field::Q {
                *element = rng.next_u64();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_core::Rng;

    #[test]
    fn operating_system_generators_differ() {
        let (mut one, mut two) = (os_rng().unwrap(), os_rng().unwrap());
        assert_ne!(one.next_u64(), two.next_u64());
    }

    #[test]
    fn uniform_elements_are_canonical_and_spread() {
        let mut rng = seeded_rng([7; 32]);
        let mut values = vec![0; 10_000];
        fill_uniform(&mut rng, &mut values);
        assert!(field::all_canonical(&values));
        let upper = values.iter().filter(|&&v| v > field::Q / 2).count();
        // Binomial(10 000, 1/2): 5000 ± 6·50.
        assert!(
            (4700..5300).contains(&upper),
            "{upper} of 10000 in the upper half"
        );
    }
}
