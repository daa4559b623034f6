//! Bodies on the wire and their sum.
//!
//! A body is its coefficients as 8-byte little-endian words below q, polynomial after polynomial,
//! the last one cut off after the coefficients that the packing plan uses. The coordinator checks a
//! body as it arrives ([`BodyCheck`]) and adds it when its dealer is in the set of contributors
//! ([`BodySum`]): its memory is one sum, whatever the number of members.

use crate::error::BodyError;
use crate::field;
use crate::transcript::{BodyHasher, Digest};

/// Bytes of one coefficient on the wire.
pub const COEFFICIENT_BYTES: usize = 8;

/// Words as 8 little-endian bytes each.
#[must_use]
pub fn to_wire(words: &[u64]) -> Vec<u8> {
    // Byte by byte it would take eight times as long.
    let mut bytes = vec![0; words.len() * COEFFICIENT_BYTES];
    let (places, _) = bytes.as_chunks_mut::<COEFFICIENT_BYTES>();
    for (place, word) in places.iter_mut().zip(words) {
        *place = word.to_le_bytes();
    }
    bytes
}

/// Checks a body as it streams by, before anything of it is added or kept: exact length, every
/// coefficient below q, and its hash.
pub struct BodyCheck {
    expected: usize,
    seen: usize,
    /// The start of a coefficient that the last part cut in two.
    cut: [u8; COEFFICIENT_BYTES],
    hasher: BodyHasher,
}

impl BodyCheck {
    /// Starts checking a body of `coefficients`.
    #[must_use]
    pub fn new(coefficients: usize) -> Self {
        Self {
            expected: coefficients.saturating_mul(COEFFICIENT_BYTES),
            seen: 0,
            cut: [0; COEFFICIENT_BYTES],
            hasher: BodyHasher::new(),
        }
    }

    /// Checks the next bytes, cut wherever the transport cut them.
    ///
    /// # Errors
    /// [`BodyError`]; give up on this body then.
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        let seen = self.seen.saturating_add(bytes.len());
        if seen > self.expected {
            return Err(BodyError::Length {
                expected: self.expected,
                found: seen,
            });
        }
        self.hasher.update(bytes);
        let coefficient = self.seen / COEFFICIENT_BYTES;
        let held = self.seen % COEFFICIENT_BYTES;
        self.seen = seen;
        // Finish a coefficient begun earlier, check the whole ones, keep what is left over.
        let missing = (COEFFICIENT_BYTES - held) % COEFFICIENT_BYTES;
        let (head, rest) = bytes.split_at(missing.min(bytes.len()));
        for (kept, &byte) in self.cut.iter_mut().skip(held).zip(head) {
            *kept = byte;
        }
        let (whole, tail) = rest.as_chunks::<COEFFICIENT_BYTES>();
        let finished = (held > 0 && head.len() == missing).then_some(self.cut);
        if !field::all_canonical_words(finished.as_slice()) || !field::all_canonical_words(whole) {
            return Err(BodyError::NotCanonical { coefficient });
        }
        if !tail.is_empty() {
            for (kept, &byte) in self.cut.iter_mut().zip(tail) {
                *kept = byte;
            }
        }
        Ok(())
    }

    /// Bytes still missing.
    #[must_use]
    pub const fn missing(&self) -> usize {
        self.expected - self.seen
    }

    /// The hash of a body that was complete.
    ///
    /// # Errors
    /// [`BodyError::Length`] when bytes are missing.
    pub fn finish(self) -> Result<Digest, BodyError> {
        if self.seen != self.expected {
            return Err(BodyError::Length {
                expected: self.expected,
                found: self.seen,
            });
        }
        Ok(self.hasher.finish())
    }
}

/// The coordinator's running sum of bodies: one, whatever the number of members.
#[derive(Clone, PartialEq, Eq)]
pub struct BodySum(Vec<u64>);

impl BodySum {
    /// A sum of given coefficients below q.
    #[cfg(test)]
    pub(crate) const fn from_values(values: Vec<u64>) -> Self {
        Self(values)
    }

    /// The coefficients, all below q.
    pub(crate) fn values(&self) -> &[u64] {
        &self.0
    }

    /// The empty sum.
    #[must_use]
    pub fn new(coefficients: usize) -> Self {
        Self(vec![0; coefficients])
    }

    /// Adds one whole body, or nothing of it.
    ///
    /// # Errors
    /// [`BodyError`] when the length is wrong or a coefficient is not below q.
    pub fn add_bytes(&mut self, body: &[u8]) -> Result<(), BodyError> {
        let expected = self.0.len() * COEFFICIENT_BYTES;
        if body.len() != expected {
            return Err(BodyError::Length {
                expected,
                found: body.len(),
            });
        }
        self.add_part(0, body)
    }

    /// Adds one part of a body, or nothing of it: whole coefficients from number `first` on. The
    /// caller sees to it that every part of a body is added once ([`BodyCheck`] checks bodies
    /// before their parts are added).
    ///
    /// # Errors
    /// [`BodyError`] when the part does not fit or a coefficient is not below q.
    pub fn add_part(&mut self, first: usize, part: &[u8]) -> Result<(), BodyError> {
        let total = self.0.len();
        let (words, rest) = part.as_chunks::<COEFFICIENT_BYTES>();
        let place = first
            .checked_add(words.len())
            .filter(|_| rest.is_empty())
            .and_then(|end| self.0.get_mut(first..end));
        let Some(place) = place else {
            return Err(BodyError::Length {
                expected: total.saturating_sub(first) * COEFFICIENT_BYTES,
                found: part.len(),
            });
        };
        if !field::all_canonical_words(words) {
            return Err(BodyError::NotCanonical { coefficient: first });
        }
        pulp::Arch::new().dispatch(AddWords { place, words });
        Ok(())
    }

    /// The number of coefficients.
    #[must_use]
    pub fn coefficients(&self) -> usize {
        self.0.len()
    }

    /// The sum in the format of a body, to keep it over a restart.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_wire(&self.0)
    }

    /// The same in pieces of at most `coefficients` coefficients (at least 1), to write a large
    /// sum without a second copy of it.
    pub fn pieces(&self, coefficients: usize) -> impl Iterator<Item = Vec<u8>> {
        self.0.chunks(coefficients.max(1)).map(to_wire)
    }

    /// Reads back what [`BodySum::to_bytes`] wrote.
    ///
    /// # Errors
    /// [`BodyError`] when the length is wrong or a coefficient is not below q.
    pub fn from_bytes(coefficients: usize, bytes: &[u8]) -> Result<Self, BodyError> {
        if Some(bytes.len()) != coefficients.checked_mul(COEFFICIENT_BYTES) {
            return Err(BodyError::Length {
                expected: coefficients.saturating_mul(COEFFICIENT_BYTES),
                found: bytes.len(),
            });
        }
        let mut sum = Self::new(coefficients);
        sum.add_part(0, bytes)?;
        Ok(sum)
    }
}

/// Words onto sums, compiled for the processor's vector instructions.
struct AddWords<'a> {
    place: &'a mut [u64],
    words: &'a [[u8; COEFFICIENT_BYTES]],
}

impl pulp::NullaryFnOnce for AddWords<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (sum, word) in self.place.iter_mut().zip(self.words) {
            *sum = field::add(*sum, u64::from_le_bytes(*word));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_checked_however_they_are_cut() {
        let values: Vec<u64> = (0..40).map(|i| field::Q - 1 - i).collect();
        let body = BodySum(values).to_bytes();
        let expected = {
            let mut hasher = BodyHasher::new();
            hasher.update(&body);
            hasher.finish()
        };
        for cut in 1..50 {
            let mut check = BodyCheck::new(40);
            for part in body.chunks(cut) {
                check.push(part).unwrap();
            }
            assert_eq!(check.finish(), Ok(expected), "parts of {cut} bytes");

            // A coefficient of exactly q, wherever the cuts fall, is found.
            for place in [0, 7, 39] {
                let mut bad = body.clone();
                bad[8 * place..8 * place + 8].copy_from_slice(&field::Q.to_le_bytes());
                let mut check = BodyCheck::new(40);
                let refused = bad.chunks(cut).any(|part| check.push(part).is_err());
                assert!(refused, "coefficient {place}, parts of {cut} bytes");
            }
        }
        let mut short = BodyCheck::new(40);
        short.push(&body[..body.len() - 1]).unwrap();
        assert_eq!(short.missing(), 1);
        assert_eq!(
            short.finish(),
            Err(BodyError::Length {
                expected: 320,
                found: 319
            })
        );
        let mut long = BodyCheck::new(39);
        assert_eq!(
            long.push(&body),
            Err(BodyError::Length {
                expected: 312,
                found: 320
            })
        );
    }

    #[test]
    fn a_refused_body_leaves_the_sum_as_it_was() {
        let mut sum = BodySum::new(3);
        let good = BodySum(vec![1, 2, field::Q - 1]).to_bytes();
        sum.add_bytes(&good).unwrap();
        let before = sum.to_bytes();
        let mut bad = good.clone();
        bad[16..].copy_from_slice(&field::Q.to_le_bytes());
        assert_eq!(
            sum.add_bytes(&bad),
            Err(BodyError::NotCanonical { coefficient: 0 })
        );
        assert_eq!(
            sum.add_bytes(&good[..16]),
            Err(BodyError::Length {
                expected: 24,
                found: 16
            })
        );
        for (first, length) in [(1, 24), (4, 0), (usize::MAX, 8), (0, 7)] {
            assert!(matches!(
                sum.add_part(first, &good[..length]),
                Err(BodyError::Length { .. })
            ));
        }
        assert_eq!(sum.to_bytes(), before);
        sum.add_part(2, &1u64.to_le_bytes()).unwrap();
        assert_eq!(sum.to_bytes(), BodySum(vec![1, 2, 0]).to_bytes());
        assert!(BodySum::from_bytes(3, &sum.to_bytes()).unwrap() == sum);
        assert!(BodySum::from_bytes(3, &bad).is_err());
        assert!(BodySum::from_bytes(usize::MAX, &bad).is_err());
    }
}
