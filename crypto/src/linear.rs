//! The linear hash: what makes a step cheap to verify.
//!
//! The hash of a body c_0, c_1, … under a challenge r in F_{q²} is h = Σ r^k · c_k, **k from 0**: the
//! weight of the first coefficient is r^0 = 1. Hashes add as bodies do: the hash of the summed body
//! is the sum of the contributors' hashes. So members sign the hash of their own body, and
//! anyone who rebuilds the summed body from published phases and summed key
//! ([`crate::glwe::rebuilt_hash`]) sees whether it is the sum of what they sent.
//!
//! **The challenge must come from a commitment to phases and key**
//! ([`Challenge::derive`]). Two different summed bodies of n coefficients then have the same hash with probability
//! below n/q² < 2^-103 per commitment tried. If r is known before the totals are fixed, a
//! coordinator picks false totals and solves for noise or a key with the right hash:
//! `tests/secure_sum/forgery.rs` does it.
//!
//! Bodies alone bind the totals only where a body has more than the key's 4096 coefficients; for
//! shorter ones some summed key rebuilds the very body under any totals. So members hash their
//! keys as well, under the same challenge ([`crate::glwe::KeyWitness`]).
//!
//! Bodies hashed together have one length, which is checked elsewhere ([`crate::BodyCheck`]):
//! zeros at the end do not change a hash.

mod columns;
mod products;

pub(crate) use products::ProductHasher;

use crate::body::{BodySum, COEFFICIENT_BYTES};
use crate::error::BodyError;
use crate::field;
use crate::hexbytes;
use crate::linear::columns::Columns;
use crate::quadratic::Element;
use crate::transcript::{Digest, Hasher, domain};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

pub use crate::quadratic::ELEMENT_BYTES as HASH_BYTES;

/// Columns that a body is hashed in: their sums, 16 KiB, stay in the first-level cache.
const COLUMNS: usize = 512;

/// Coefficients read from bytes at a time: 8 KiB.
const AT_ONCE: usize = 1024;

/// The point r of F_{q²} at which bodies are evaluated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Challenge(Element);

impl Challenge {
    /// The challenge that follows from a commitment to phases and summed key of a
    /// step: BLAKE3's output under [`domain::CHALLENGE`], two elements below q. Never derive it
    /// from anything that was known before the totals were committed.
    #[must_use]
    pub fn derive(commitment: &Digest) -> Self {
        let mut hasher = Hasher::new(domain::CHALLENGE);
        hasher.part(commitment.as_bytes());
        Self(Element::sample(&hasher))
    }

    /// The bytes of the point, as [`LinearHash::to_bytes`].
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HASH_BYTES] {
        self.0.to_bytes()
    }
}

/// The linear hash of a body, or a sum of such hashes. Zero is the hash of nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinearHash(Element);

impl LinearHash {
    /// The hash of a summed body.
    #[must_use]
    pub fn of_sum(challenge: Challenge, sum: &BodySum) -> Self {
        Self::of_values(challenge, sum.values())
    }

    /// The hash of canonical coefficients.
    pub(crate) fn of_values(challenge: Challenge, values: &[u64]) -> Self {
        let mut hasher = LinearHasher::new(challenge);
        hasher.values(values);
        hasher.state()
    }

    /// Adds the hash of another body under the same challenge.
    pub const fn add(&mut self, other: &Self) {
        self.0 = self.0.add(other.0);
    }

    /// Both parts as 8-byte little-endian words below q, the part of u second.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; HASH_BYTES] {
        self.0.to_bytes()
    }

    /// Reads what [`LinearHash::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`BodyError::NotCanonical`] when a part is not below q.
    pub fn from_bytes(bytes: &[u8; HASH_BYTES]) -> Result<Self, BodyError> {
        Element::from_bytes(bytes).map(Self)
    }
}

impl Serialize for LinearHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hexbytes::serialize(&self.to_bytes(), serializer)
    }
}

impl<'de> Deserialize<'de> for LinearHash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = hexbytes::deserialize::<HASH_BYTES, D>(deserializer)?;
        Self::from_bytes(&bytes).map_err(serde::de::Error::custom)
    }
}

/// Hashes a body as it streams by, cut wherever the transport or the disk cut it.
///
/// The body is written in rows of 512 coefficients, and rows weighed by powers of r^512 are added up;
/// the hash is Σ r^k · (sum of column k).
pub struct LinearHasher {
    challenge: Challenge,
    columns: Columns,
    /// The start of a coefficient that the last part cut in two.
    cut: [u8; COEFFICIENT_BYTES],
    seen: usize,
    fault: Option<BodyError>,
}

impl LinearHasher {
    /// Starts the hash of a body.
    #[must_use]
    pub fn new(challenge: Challenge) -> Self {
        Self {
            challenge,
            columns: Columns::new(challenge, COLUMNS),
            cut: [0; COEFFICIENT_BYTES],
            seen: 0,
            fault: None,
        }
    }

    /// Hashes canonical coefficients that follow.
    pub(crate) fn values(&mut self, values: &[u64]) {
        self.columns.add(values);
    }

    /// The hash of the values so far.
    pub(crate) fn state(&self) -> LinearHash {
        let Challenge(point) = self.challenge;
        let [ones, others] = self.columns.sums();
        let sums = ones.into_iter().zip(others).rev();
        LinearHash(sums.fold(Element::default(), |hash, (one, other)| {
            hash.mul(point).add(Element([one, other]))
        }))
    }

    /// Hashes the next bytes. A coefficient of q or above is remembered and refused at the end.
    pub fn update(&mut self, bytes: &[u8]) {
        let held = self.seen % COEFFICIENT_BYTES;
        let missing = (COEFFICIENT_BYTES - held) % COEFFICIENT_BYTES;
        let (head, rest) = bytes.split_at(missing.min(bytes.len()));
        for (kept, &byte) in self.cut.iter_mut().skip(held).zip(head) {
            *kept = byte;
        }
        let first = self.seen / COEFFICIENT_BYTES;
        if held > 0 && head.len() == missing {
            let word = self.cut;
            self.words(first, &[word]);
        }
        let (whole, tail) = rest.as_chunks::<COEFFICIENT_BYTES>();
        self.words(first, whole);
        for (kept, &byte) in self.cut.iter_mut().zip(tail) {
            *kept = byte;
        }
        self.seen = self.seen.saturating_add(bytes.len());
    }

    /// The hash of everything that came.
    ///
    /// # Errors
    /// [`BodyError::Length`] when the last coefficient is cut off, [`BodyError::NotCanonical`] when
    /// one was not below q.
    pub fn finish(self) -> Result<LinearHash, BodyError> {
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        if !self.seen.is_multiple_of(COEFFICIENT_BYTES) {
            return Err(BodyError::Length {
                expected: self.seen.next_multiple_of(COEFFICIENT_BYTES),
                found: self.seen,
            });
        }
        Ok(self.state())
    }

    /// Hashes words that follow; remembers the first part with one of q or above.
    fn words(&mut self, first: usize, words: &[[u8; COEFFICIENT_BYTES]]) {
        if !field::all_canonical_words(words) && self.fault.is_none() {
            self.fault = Some(BodyError::NotCanonical { coefficient: first });
        }
        let mut values = [0; AT_ONCE];
        for words in words.chunks(AT_ONCE) {
            let (values, _) = values.split_at_mut(words.len());
            for (value, word) in values.iter_mut().zip(words) {
                *value = u64::from_le_bytes(*word);
            }
            self.columns.add(values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Q;
    use crate::randomness::{fill_uniform, seeded_rng};
    use crate::transcript::hash;

    fn challenge(name: &[u8]) -> Challenge {
        Challenge::derive(&hash(domain::OPENED, &[name]))
    }

    fn hash_of(challenge: Challenge, bytes: &[u8], cut: usize) -> Result<LinearHash, BodyError> {
        let mut hasher = LinearHasher::new(challenge);
        bytes.chunks(cut).for_each(|part| hasher.update(part));
        hasher.finish()
    }

    fn body(seed: u8, coefficients: usize) -> Vec<u64> {
        let mut values = vec![0; coefficients];
        fill_uniform(&mut seeded_rng([seed; 32]), &mut values);
        values
    }

    fn bytes(values: &[u64]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// The definition, one power at a time.
    #[test]
    fn is_the_evaluation_at_the_challenge_from_power_0_on() {
        let r = challenge(b"definition");
        for coefficients in [0, 1, 2, COLUMNS - 1, COLUMNS, COLUMNS + 1, 1000] {
            let mut values = body(61, coefficients);
            if let Some(last) = values.last_mut() {
                *last = Q - 1;
            }
            let (mut power, mut expected) = (Element::ONE, Element::default());
            for &value in &values {
                expected = expected.add(power.mul(Element([value, 0])));
                power = power.mul(r.0);
            }
            let found = hash_of(r, &bytes(&values), 1 << 20).unwrap();
            assert_eq!(found, LinearHash(expected), "{coefficients} coefficients");
            assert_eq!(LinearHash::of_sum(r, &BodySum::from_values(values)), found);
        }
    }

    #[test]
    fn cuts_make_no_difference() {
        let values = body(62, 5 * COLUMNS + 3);
        let r = challenge(b"cuts");
        let expected = hash_of(r, &bytes(&values), usize::MAX);
        for cut in (1..40).chain([511, 512, 513, 1000]) {
            assert_eq!(hash_of(r, &bytes(&values), cut), expected, "cut at {cut}");
        }
    }

    #[test]
    fn the_hash_of_a_sum_is_the_sum_of_the_hashes() {
        let seed = rand_core::Rng::next_u64(&mut crate::os_rng().unwrap());
        println!("seed {seed}");
        for round in 0..20u8 {
            let coefficients = 1 + usize::from(round) * 37;
            let r = challenge(&seed.to_le_bytes());
            let mut sum = BodySum::new(coefficients);
            let mut hashes = LinearHash::default();
            for dealer in 0..=round {
                let values = bytes(&body(round ^ (dealer << 3), coefficients));
                sum.add_bytes(&values).unwrap();
                hashes.add(&hash_of(r, &values, 8).unwrap());
            }
            assert_eq!(LinearHash::of_sum(r, &sum), hashes);
            // Another sum has another hash.
            let mut other = vec![0; coefficients];
            other[coefficients / 2] = 1;
            sum.add_bytes(&bytes(&other)).unwrap();
            assert_ne!(LinearHash::of_sum(r, &sum), hashes);
        }
    }

    #[test]
    fn challenges_and_places_matter() {
        let values = bytes(&body(63, 70));
        let one = hash_of(challenge(b"1"), &values, 9).unwrap();
        assert_ne!(one, hash_of(challenge(b"2"), &values, 9).unwrap());
        let mut swapped = values.clone();
        swapped.rotate_left(8);
        assert_ne!(one, hash_of(challenge(b"1"), &swapped, 9).unwrap());
    }

    #[test]
    fn malformed_bodies_and_hashes_are_refused() {
        let r = challenge(b"malformed");
        let values = bytes(&body(64, 100));
        assert_eq!(
            hash_of(r, &values[..797], 10),
            Err(BodyError::Length {
                expected: 800,
                found: 797
            })
        );
        for (place, cut) in [(0, 3), (40, 8), (99, 800), (99, 7)] {
            let mut bad = values.clone();
            bad[8 * place..8 * place + 8].copy_from_slice(&field::Q.to_le_bytes());
            assert!(matches!(
                hash_of(r, &bad, cut),
                Err(BodyError::NotCanonical { .. })
            ));
        }
        let hash = hash_of(r, &values, 8).unwrap();
        let json = serde_json::to_string(&hash).unwrap();
        assert_eq!(serde_json::from_str::<LinearHash>(&json).unwrap(), hash);
        assert_eq!(LinearHash::from_bytes(&hash.to_bytes()), Ok(hash));
        let not_canonical = format!("\"{}\"", "ff".repeat(HASH_BYTES));
        assert!(serde_json::from_str::<LinearHash>(&not_canonical).is_err());
    }
}
