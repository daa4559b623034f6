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
use chacha20::cipher::{KeyIvInit, StreamCipher, StreamCipherSeek};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

#[cfg(target_arch = "x86_64")]
mod wide;

/// Random bytes behind one term: 160 bits.
pub const BYTES_PER_TERM: usize = NOISE_ETA as usize / 4;

/// Terms drawn at a time: 10 KiB of random bytes, which stay in the first-level cache, and whole
/// blocks of ChaCha20 (160), so that no keystream is left over in its buffer.
const BLOCK: usize = 512;

/// What all noise of one encryption comes from: a ChaCha20 key. Secret: wiped when dropped.
///
/// The keystream is that of RFC 8439 with a nonce of zeros, from block 0 on: each seed is used for
/// one stream. Its 2^32 blocks are 256 GiB, 800 times the noise of the largest answer.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct NoiseSeed([u8; 32]);

impl NoiseSeed {
    /// Takes a fresh 256-bit seed from `rng`.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Self([0; 32]);
        rng.fill_bytes(&mut seed.0);
        seed
    }

    /// A given seed, for known-answer vectors.
    #[must_use]
    pub const fn from_bytes(seed: [u8; 32]) -> Self {
        Self(seed)
    }

    /// Draws terms number `first`, `first` + 1, … of the stream, in −80..=80, one per element of
    /// `out`. Term i takes bytes 20·i .. 20·i + 20 of the keystream, so that any part of the noise
    /// can be drawn by itself.
    ///
    /// # Panics
    /// Beyond 256 GiB of keystream.
    pub fn draw(&self, first: u64, out: &mut [i8]) {
        let mut bytes = Zeroizing::new([0; BLOCK * BYTES_PER_TERM]);
        let mut first = first * BYTES_PER_TERM as u64;
        for block in out.chunks_mut(BLOCK) {
            let (used, _) = bytes.split_at_mut(block.len() * BYTES_PER_TERM);
            self.keystream(first, used);
            from_bytes(used, block);
            first += used.len() as u64;
        }
    }

    /// The keystream from byte `first` on.
    fn keystream(&self, first: u64, out: &mut [u8]) {
        #[cfg(target_arch = "x86_64")]
        if let (runs, []) = out.as_chunks_mut::<{ wide::RUN }>()
            && first.is_multiple_of(64)
            && wide::keystream(&self.0, first / 64, runs).is_some()
        {
            return;
        }
        let mut keystream = ChaCha20::new(&self.0.into(), &[0u8; 12].into());
        keystream.seek(first);
        keystream.write_keystream(out);
    }
}

/// The terms that given random bytes stand for; 20 bytes a term, whatever is over is ignored.
pub fn from_bytes(bytes: &[u8], out: &mut [i8]) {
    // Compiled for the processor's own instruction for counting ones, where it has one; without it
    // the count is arithmetic on the word. Neither branches nor looks up.
    pulp::Arch::new().dispatch(Count { bytes, out });
}

struct Count<'a> {
    bytes: &'a [u8],
    out: &'a mut [i8],
}

impl pulp::NullaryFnOnce for Count<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let chunks = self.bytes.as_chunks::<BYTES_PER_TERM>().0;
        for (term, chunk) in self.out.iter_mut().zip(chunks) {
            *term = ones(chunk).wrapping_sub(NOISE_ETA as u8) as i8;
        }
    }
}

/// Ones in 160 bits.
#[inline(always)]
const fn ones(bytes: &[u8; BYTES_PER_TERM]) -> u8 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p, q, r, s, t] = *bytes;
    let first = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
    let second = u64::from_le_bytes([i, j, k, l, m, n, o, p]);
    let third = u32::from_le_bytes([q, r, s, t]);
    // At most 160 in all.
    (first.count_ones() + second.count_ones() + third.count_ones()) as u8
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
        let seed = NoiseSeed::from_bytes([3; 32]);
        let mut twin = seeded_rng([3; 32]);
        let mut terms = vec![0i8; 3 * BLOCK + 17];
        seed.draw(0, &mut terms);
        for (index, &term) in terms.iter().enumerate() {
            let mut bytes = [0u8; BYTES_PER_TERM];
            rand_core::Rng::fill_bytes(&mut twin, &mut bytes);
            let plain: u32 = bytes.iter().map(|byte| byte.count_ones()).sum();
            assert_eq!(i32::from(term), plain as i32 - 80, "term {index}");
        }
    }

    /// With vector instructions or without: the same bytes, at every counter and length.
    #[test]
    fn the_keystream_is_the_ciphers() {
        let seed = NoiseSeed::from_bytes(std::array::from_fn(|i| i as u8));
        let last = (1u64 << 38) - 4096;
        for (first, length) in [
            (0, 4096),
            (64, 1024),
            (1 << 20, 2048),
            (5, 1024),
            (last, 2048),
        ] {
            let (mut quick, mut plain) = (vec![0; length], vec![1; length]);
            seed.keystream(first, &mut quick);
            let mut cipher = ChaCha20::new(&seed.0.into(), &[0u8; 12].into());
            cipher.seek(first);
            cipher.write_keystream(&mut plain);
            assert!(quick == plain, "{length} bytes from {first}");
        }
    }

    #[test]
    fn any_stretch_of_the_noise_can_be_drawn_by_itself() {
        let seed = NoiseSeed::from_bytes([4; 32]);
        let mut whole = vec![0i8; 3 * BLOCK];
        seed.draw(0, &mut whole);
        for (first, count) in [(0, 1), (1, 5), (17, BLOCK), (BLOCK, BLOCK), (600, 936)] {
            let mut stretch = vec![0i8; count];
            seed.draw(first as u64, &mut stretch);
            assert_eq!(stretch, whole[first..first + count], "from {first}");
        }
    }

    /// Chi-square goodness of fit against Binomial(160, 1/2) − 80, tails pooled.
    #[test]
    fn follows_the_centred_binomial_distribution() {
        const DRAWS: usize = 1 << 20;
        let seed = NoiseSeed::from_bytes(*b"noise: chi-square goodness fit 1");
        let mut terms = vec![0i8; DRAWS];
        seed.draw(0, &mut terms);
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
        const DRAWS: usize = 1 << 19;
        let seed = NoiseSeed::from_bytes(*b"noise: variance of summed noise.");
        for members in [1usize, 3, 4, 16] {
            let mut sums = vec![0i64; DRAWS];
            let mut terms = vec![0i8; DRAWS];
            for member in 0..members {
                seed.draw((member * DRAWS) as u64, &mut terms);
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
