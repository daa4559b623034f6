//! Draws from the discrete Gaussian distribution, in whole numbers throughout.
//!
//! Clément Canonne, Gautam Kamath, Thomas Steinke, "The Discrete Gaussian for Differential
//! Privacy" (2020), algorithms 1 to 3. No floating-point number is involved, so nothing of the
//! exact sum shows in the low bits of a noisy one. How long a draw takes depends on the random
//! bits, not on the data.

use std::fmt;

use super::Noise;
use crate::object::ObjectId;

/// A geometric draw that gets this far, with probability exp(-128), is drawn again: nothing in
/// here runs on without end, or leaves 128 bits.
const MOST_ROUNDS: u128 = 128;

/// The secret that a site's noise comes from, drawn by the operating system for one run. Whoever
/// knows it can take the noise away.
#[derive(Clone, PartialEq, Eq)]
pub struct NoiseKey([u8; 32]);

impl NoiseKey {
    /// From secret, uniformly random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The noise of one answer: the same ask over the same rows gets the same noise, so that
    /// asking again tells nothing new.
    #[must_use]
    pub fn stream(&self, ask: ObjectId, data: ObjectId) -> NoiseStream {
        let mut hasher = blake3::Hasher::new_keyed(&self.0);
        hasher.update(b"collegium automl noise v1");
        hasher.update(ask.as_bytes());
        hasher.update(data.as_bytes());
        NoiseStream {
            reader: hasher.finalize_xof(),
        }
    }
}

// Never in a log.
impl fmt::Debug for NoiseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NoiseKey(…)")
    }
}

/// Noise, drawn from the extendable output of BLAKE3 under a [`NoiseKey`].
pub struct NoiseStream {
    reader: blake3::OutputReader,
}

impl NoiseStream {
    /// One draw of mean 0 and the noise's variance, cut to [`Noise::bound`].
    pub fn draw(&mut self, noise: Noise) -> i64 {
        let bound = noise.bound();
        self.gaussian(noise.variance).clamp(-bound, bound)
    }

    /// One draw of the discrete Gaussian distribution: algorithm 3. `variance` is at least 1 and
    /// at most [`super::MAX_VARIANCE`].
    fn gaussian(&mut self, variance: u64) -> i64 {
        let variance = u128::from(variance);
        let scale = variance.isqrt() + 1;
        loop {
            let draw = self.laplace(scale);
            // (|y| - variance / scale)² / (2 · variance), as a fraction of whole numbers.
            let distance = (draw.unsigned_abs() * scale).abs_diff(variance);
            let denominator = 2 * variance * scale * scale;
            if self.exp(distance * distance, denominator) {
                return draw as i64;
            }
        }
    }

    /// One draw of the discrete Laplace distribution with this scale: algorithm 2.
    fn laplace(&mut self, scale: u128) -> i128 {
        loop {
            let within = self.below(scale);
            if !self.exp(within, scale) {
                continue;
            }
            let mut whole = 0;
            while whole < MOST_ROUNDS && self.exp(1, 1) {
                whole += 1;
            }
            let magnitude = (within + scale * whole) as i128;
            let negative = self.below(2) == 1;
            if whole == MOST_ROUNDS || negative && magnitude == 0 {
                continue;
            }
            return if negative { -magnitude } else { magnitude };
        }
    }

    /// True with probability exp(-numerator / denominator): algorithm 1.
    fn exp(&mut self, numerator: u128, denominator: u128) -> bool {
        for _ in 0..numerator / denominator {
            if !self.exp_below_one(1, 1) {
                return false;
            }
        }
        self.exp_below_one(numerator % denominator, denominator)
    }

    /// The same for a fraction from 0 to 1.
    fn exp_below_one(&mut self, numerator: u128, denominator: u128) -> bool {
        let mut round = 1;
        while round < MOST_ROUNDS && self.below(denominator * round) < numerator {
            round += 1;
        }
        round % 2 == 1
    }

    /// Uniform below `bound`, which is positive.
    fn below(&mut self, bound: u128) -> u128 {
        let bits = 128 - (bound - 1).leading_zeros();
        if bits == 0 {
            return 0;
        }
        loop {
            let mut bytes = [0; 16];
            self.reader.fill(&mut bytes[..bits.div_ceil(8) as usize]);
            let drawn = u128::from_le_bytes(bytes) & (u128::MAX >> (128 - bits));
            if drawn < bound {
                return drawn;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(seed: u8) -> NoiseStream {
        NoiseKey::new([seed; 32]).stream(ObjectId([1; 32]), ObjectId([2; 32]))
    }

    /// Counts of draws against the distribution's probabilities, by chi-square: the statistic of
    /// k - 1 degrees of freedom is above k - 1 + 6 √(2 (k - 1)) about once in 10^7 times.
    #[test]
    fn draws_have_the_probabilities_of_the_distribution() {
        for (seed, variance) in [(1, 1_u64), (2, 4), (3, 16), (4, 90)] {
            let mut noise = stream(seed);
            let draws = 100_000;
            let reach = 3 * (variance.isqrt() as i64 + 1);
            let weight = |x: i64| libm::exp(-(x as f64) * (x as f64) / (2.0 * variance as f64));
            let total: f64 = (-400..=400).map(weight).sum();
            let mut counts = vec![0_u64; 2 * reach as usize + 2];
            for _ in 0..draws {
                let drawn = noise.gaussian(variance);
                // What lies beyond is one cell of its own.
                let cell = if drawn.abs() > reach {
                    2 * reach + 1
                } else {
                    drawn + reach
                };
                counts[cell as usize] += 1;
            }
            let mut expected: Vec<f64> = (-reach..=reach).map(|x| weight(x) / total).collect();
            expected.push(1.0 - expected.iter().sum::<f64>());
            let statistic: f64 = counts
                .iter()
                .zip(&expected)
                .map(|(count, p)| {
                    let expected = p * f64::from(draws);
                    (*count as f64 - expected).powi(2) / expected
                })
                .sum();
            let freedom = expected.len() as f64 - 1.0;
            let most = freedom + 6.0 * (2.0 * freedom).sqrt();
            assert!(
                statistic < most,
                "seed {seed}, variance {variance}: {statistic} of {freedom}"
            );
        }
    }

    #[test]
    fn wide_draws_have_their_variance_and_stay_in_bounds() {
        for (seed, variance) in [(5, 1 << 20), (6, 1 << 40), (7, super::super::MAX_VARIANCE)] {
            let noise = Noise {
                variance,
                shares: 2,
            };
            let mut stream = stream(seed);
            let draws: Vec<f64> = (0..20_000).map(|_| stream.draw(noise) as f64).collect();
            let scale = (variance as f64).sqrt();
            let mean = draws.iter().sum::<f64>() / draws.len() as f64 / scale;
            let square =
                draws.iter().map(|x| x * x).sum::<f64>() / draws.len() as f64 / variance as f64;
            // Six standard errors: 6/√20000 and 6 √(2/20000).
            assert!(
                mean.abs() < 0.043 && (square - 1.0).abs() < 0.06,
                "{seed}: {mean} {square}"
            );
            assert!(draws.iter().all(|x| x.abs() <= noise.bound() as f64));
        }
    }

    #[test]
    fn chances_are_exact() {
        let mut noise = stream(8);
        for (numerator, denominator) in [(0, 1), (1, 3), (1, 1), (5, 2)] {
            let draws = 40_000;
            let hits = (0..draws)
                .filter(|_| noise.exp(numerator, denominator))
                .count();
            let p = libm::exp(-(numerator as f64) / denominator as f64);
            let error = 6.0 * (p * (1.0 - p) / f64::from(draws)).sqrt();
            let share = hits as f64 / f64::from(draws);
            assert!((share - p).abs() <= error, "seed 8: {share} for {p}");
        }
        assert!((0..1000).all(|_| noise.below(1) == 0 && noise.below(3) < 3));
    }

    #[test]
    fn one_answer_has_one_noise_and_others_have_others() {
        let key = NoiseKey::new([9; 32]);
        let noise = Noise {
            variance: 1 << 30,
            shares: 1,
        };
        let draw = |key: &NoiseKey, ask: u8, data: u8| {
            let mut stream = key.stream(ObjectId([ask; 32]), ObjectId([data; 32]));
            [stream.draw(noise), stream.draw(noise)]
        };
        assert_eq!(draw(&key, 1, 1), draw(&key, 1, 1));
        assert_ne!(draw(&key, 1, 1), draw(&key, 2, 1));
        assert_ne!(draw(&key, 1, 1), draw(&key, 1, 2));
        assert_ne!(draw(&key, 1, 1), draw(&NoiseKey::new([8; 32]), 1, 1));
        assert_eq!(format!("{key:?}"), "NoiseKey(…)");
    }
}
