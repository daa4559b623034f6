//! Centred binomial noise, CBD(80): the number of ones in 160 random bits, less 80.
//!
//! Mean 0, variance 40, |e| <= 80, the same distribution as the difference of the ones in two
//! strings of 80 bits. Constant time: no branch and no table depends on the bits.
//!
//! Never replace this by bounded-uniform noise. The *sum* of the noise is revealed when a step is
//! opened, and an extremal sum of uniform noise gives every term of it away; for binomial noise the
//! chance of that is 2^-160 per term.

use crate::params::NOISE_ETA;
use chacha20::ChaCha20;
use chacha20::cipher::{KeyIvInit, StreamCipher};
use rand_core::CryptoRng;
use zeroize::Zeroizing;

/// Random bytes behind one term: 160 bits.
pub const BYTES_PER_TERM: usize = NOISE_ETA as usize / 4;

/// Terms drawn at a time: 10 KiB of random bytes, which stay in the first-level cache, and whole
/// blocks of ChaCha20 (160), so that no keystream is left over in its buffer.
const BLOCK: usize = 512;

/// Draws noise from the ChaCha20 keystream under a seed of its own. Wiped when dropped.
///
/// The keystream is that of RFC 8439 with a nonce of zeros, from block 0 on: each seed is used for
/// one stream. Its 2^32 blocks are 256 GiB, 800 times the noise of the largest answer.
pub struct NoiseSource {
    keystream: ChaCha20,
    bytes: Zeroizing<[u8; BLOCK * BYTES_PER_TERM]>,
}

impl NoiseSource {
    /// Takes a fresh 256-bit seed from `rng`.
    #[must_use]
    pub fn new(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Zeroizing::new([0u8; 32]);
        rng.fill_bytes(seed.as_mut_slice());
        Self::from_seed(&seed)
    }

    /// The source with a given seed, for known-answer vectors.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self {
            keystream: ChaCha20::new(seed.into(), &[0u8; 12].into()),
            bytes: Zeroizing::new([0; BLOCK * BYTES_PER_TERM]),
        }
    }

    /// Draws one term of noise per element of `out`, in −80..=80. Term i takes bytes
    /// 20·i .. 20·i + 20 of the keystream.
    ///
    /// # Panics
    /// After 256 GiB of keystream.
    pub fn fill(&mut self, out: &mut [i8]) {
        for block in out.chunks_mut(BLOCK) {
            let (used, _) = self.bytes.split_at_mut(block.len() * BYTES_PER_TERM);
            used.fill(0);
            self.keystream.apply_keystream(used);
            from_bytes(used, block);
        }
    }
}

/// The terms that given random bytes stand for; 20 bytes a term, whatever is over is ignored.
pub fn from_bytes(bytes: &[u8], out: &mut [i8]) {
    for (term, chunk) in out.iter_mut().zip(bytes.as_chunks::<BYTES_PER_TERM>().0) {
        *term = ones(chunk).wrapping_sub(NOISE_ETA as u8) as i8;
    }
}

/// Ones in 160 bits, added up in parallel within a word: by fours, by eights, then all.
#[inline(always)]
fn ones(bytes: &[u8; BYTES_PER_TERM]) -> u8 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *bytes;
    let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let second = u64::from_le_bytes([i, j, k, l, m, n, o, p]);
    let third = u64::from(u32::from_le_bytes([q, r, s, t]));
    // Three counts of at most 4 make at most 12: they fit in four bits.
    let fours = by_fours(first)
        .wrapping_add(by_fours(second))
        .wrapping_add(by_fours(third));
    const EIGHTS: u64 = 0x0f0f_0f0f_0f0f_0f0f;
    // At most 24 in each byte, at most 160 in all.
    let eights = (fours & EIGHTS).wrapping_add((fours >> 4) & EIGHTS);
    (eights.wrapping_mul(0x0101_0101_0101_0101) >> 56) as u8
}

/// The number of ones in each group of four bits.
#[inline(always)]
const fn by_fours(word: u64) -> u64 {
    let twos = word.wrapping_sub((word >> 1) & 0x5555_5555_5555_5555);
    (twos & 0x3333_3333_3333_3333).wrapping_add((twos >> 2) & 0x3333_3333_3333_3333)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::randomness::seeded_rng;

    #[test]
    fn counts_ones() {
        let mut terms = [0i8; 4];
        let mut bytes = [0u8; 80];
        bytes[20..40].fill(0xff);
        bytes[40..50].fill(0xff);
        bytes[60] = 0x80;
        bytes[79] = 0x01;
        from_bytes(&bytes, &mut terms);
        assert_eq!(terms, [-80, 80, 0, -78]);
    }

    #[test]
    fn agrees_with_the_plain_count_for_random_bits() {
        let mut source = NoiseSource::from_seed(&[3; 32]);
        let mut twin = seeded_rng([3; 32]);
        let mut terms = vec![0i8; 3 * BLOCK + 17];
        source.fill(&mut terms);
        for (index, &term) in terms.iter().enumerate() {
            let mut bytes = [0u8; BYTES_PER_TERM];
            rand_core::Rng::fill_bytes(&mut twin, &mut bytes);
            let plain: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
            assert_eq!(i32::from(term), plain as i32 - 80, "term {index}");
        }
    }

    /// Chi-square goodness of fit against Binomial(160, 1/2) − 80, tails pooled.
    #[test]
    fn follows_the_centred_binomial_distribution() {
        const DRAWS: usize = 1 << 20;
        let mut source = NoiseSource::from_seed(b"noise: chi-square goodness fit 1");
        let mut terms = vec![0i8; DRAWS];
        source.fill(&mut terms);
        let (chi_square, freedom) = chi_square(&terms);
        // Mean = freedom, variance = 2·freedom; six standard deviations.
        let limit = freedom + 6.0 * (2.0 * freedom).sqrt();
        assert!(
            chi_square < limit,
            "chi-square {chi_square:.1} with {freedom} degrees"
        );

        // The test can fail: noise of another width does not pass it.
        let narrow: Vec<i8> = terms.iter().map(|&term| term - term.signum()).collect();
        assert!(self::chi_square(&narrow).0 > limit);
    }

    fn chi_square(terms: &[i8]) -> (f64, f64) {
        let mut probability = vec![0f64; 161];
        probability[0] = 2f64.powi(-160);
        for k in 1..=160 {
            probability[k] = probability[k - 1] * (161 - k) as f64 / k as f64;
        }
        let mut observed = vec![0f64; 161];
        for &term in terms {
            observed[(i16::from(term) + 80) as usize] += 1.0;
        }
        // Pool both tails so that each bin expects at least 10.
        let expected = |k: usize| probability[k] * terms.len() as f64;
        let first = (0..=160).find(|&k| expected(k) >= 10.0).unwrap();
        let last = 160 - first;
        let mut sum = 0.0;
        let mut bin = |seen: f64, hoped: f64| sum += (seen - hoped).powi(2) / hoped;
        let tail = |range: std::ops::RangeInclusive<usize>| -> (f64, f64) {
            range.fold((0.0, 0.0), |(seen, hoped), k| {
                (seen + observed[k], hoped + expected(k))
            })
        };
        for range in [0..=first, last..=160] {
            let (seen, hoped) = tail(range);
            bin(seen, hoped);
        }
        for (k, &seen) in observed.iter().enumerate().take(last).skip(first + 1) {
            bin(seen, expected(k));
        }
        (sum, (last - first) as f64)
    }

    /// Variance of a sum of n terms is 40·n, and the bound E(n) is never exceeded.
    #[test]
    fn summed_noise_has_the_expected_variance_and_keeps_its_bound() {
        const DRAWS: usize = 1 << 16;
        let mut source = NoiseSource::from_seed(b"noise: variance of summed noise.");
        for members in [1usize, 3, 4, 16] {
            let mut sums = vec![0i64; DRAWS];
            let mut terms = vec![0i8; DRAWS];
            for _ in 0..members {
                source.fill(&mut terms);
                for (sum, &term) in sums.iter_mut().zip(&terms) {
                    *sum += i64::from(term);
                }
            }
            let bound = crate::ParamSet::current().noise_bound(members) as i64;
            assert!(
                sums.iter().all(|sum| sum.abs() <= bound),
                "{members} members"
            );
            let count = DRAWS as f64;
            let mean = sums.iter().sum::<i64>() as f64 / count;
            let variance = sums.iter().map(|&s| (s as f64 - mean).powi(2)).sum::<f64>() / count;
            let expected = 40.0 * members as f64;
            // The mean's deviation is √(v/n), the variance's about v·√(2/n): six of each.
            assert!(mean.abs() < 6.0 * (expected / count).sqrt(), "mean {mean}");
            let slack = 6.0 * expected * (2.0 / count).sqrt();
            assert!(
                (variance - expected).abs() < slack,
                "variance {variance}, not {expected}"
            );
        }
    }
}
