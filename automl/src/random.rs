//! Randomness derived from seeds by hashing: same seed, same numbers, on every
//! machine. Frameworks' own generators are never used, because they are one per
//! process and so depend on what else runs there.

use crate::object::ObjectId;

/// A stream of numbers drawn from a hash (BLAKE3's extendable output).
pub struct Stream {
    reader: blake3::OutputReader,
}

impl Stream {
    /// The stream that belongs to these values, under a versioned name.
    #[must_use]
    pub fn new(domain: &'static str, parts: &[&[u8]]) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key(domain);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self {
            reader: hasher.finalize_xof(),
        }
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        let mut bytes = [0u8; 8];
        self.reader.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }

    /// The next bytes: much faster than [`Stream::bits`] where many are needed.
    pub fn fill(&mut self, bytes: &mut [u8]) {
        self.reader.fill(bytes);
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Uniform in 0..bound (bias below 2^-32 for the sizes used here).
    pub fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.bits()) * bound as u128) >> 64) as usize
    }

    /// Standard normal, by Box and Muller.
    pub fn normal(&mut self) -> f64 {
        let radius = libm::sqrt(-2.0 * libm::log(1.0 - self.unit()));
        radius * libm::cos(2.0 * std::f64::consts::PI * self.unit())
    }

    /// Shuffles in place (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            let other = self.below(last + 1);
            items.swap(last, other);
        }
    }
}

/// A seed that belongs to these values, under a versioned name.
#[must_use]
pub fn derive(domain: &'static str, parts: &[&[u8]]) -> ObjectId {
    let mut stream = Stream::new(domain, parts);
    let mut id = [0u8; 32];
    stream.reader.fill(&mut id);
    ObjectId(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_separate_and_repeatable() {
        let draw = |part: &[u8]| {
            let mut stream = Stream::new("collegium/test/v1", &[part]);
            (stream.bits(), stream.bits())
        };
        assert_eq!(draw(b"a"), draw(b"a"));
        assert_ne!(draw(b"a"), draw(b"b"));
        let joined = Stream::new("collegium/test/v1", &[b"ab", b"c"]).bits();
        let split = Stream::new("collegium/test/v1", &[b"a", b"bc"]).bits();
        assert_ne!(joined, split);
    }

    #[test]
    fn normal_numbers_have_mean_0_and_variance_1() {
        let mut stream = Stream::new("collegium/test/v1", &[b"normal"]);
        let draws: Vec<f64> = (0..20_000).map(|_| stream.normal()).collect();
        let mean = draws.iter().sum::<f64>() / 20_000.0;
        let variance = draws.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(
            mean.abs() < 0.03 && (variance - 1.0).abs() < 0.05,
            "{mean} {variance}"
        );
    }

    #[test]
    fn a_shuffle_is_a_permutation() {
        let mut items: Vec<usize> = (0..100).collect();
        Stream::new("collegium/test/v1", &[]).shuffle(&mut items);
        let mut sorted = items.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..100).collect::<Vec<_>>());
        assert_ne!(items, sorted);
    }
}
