//! F_{q²} = F_q\[u\]/(u² − 7): where hashes and degree tests take their challenges, since q itself
//! is too small for that: a guess of 128 bits in place of one of 64.
//!
//! 7 generates the multiplicative group of F_q, so it is no square and u² − 7 is irreducible.

use crate::error::BodyError;
use crate::field::{self, Dot, Q};
use crate::transcript::Hasher;
use crate::xof;

/// Bytes of an element: both parts as 8-byte little-endian words below q, the part of u second.
pub const ELEMENT_BYTES: usize = 16;

/// The square of u.
const NON_RESIDUE: u64 = 7;

/// An element a + b·u with canonical a and b.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Element(pub(crate) [u64; 2]);

impl Element {
    pub(crate) const ONE: Self = Self([1, 0]);

    /// A uniform element from the extendable output of everything that was hashed.
    pub(crate) fn sample(hasher: &Hasher) -> Self {
        let mut element = [0; 2];
        xof::elements(hasher, &mut element);
        Self(element)
    }

    pub(crate) const fn add(self, other: Self) -> Self {
        let ([a, b], [c, d]) = (self.0, other.0);
        Self([field::add(a, c), field::add(b, d)])
    }

    pub(crate) const fn mul(self, other: Self) -> Self {
        let ([a, b], [c, d]) = (self.0, other.0);
        let squares = field::mul(NON_RESIDUE, field::mul(b, d));
        Self([
            field::add(field::mul(a, c), squares),
            field::add(field::mul(a, d), field::mul(b, c)),
        ])
    }

    pub(crate) fn to_bytes(self) -> [u8; ELEMENT_BYTES] {
        let mut bytes = [0; ELEMENT_BYTES];
        let words = bytes.as_chunks_mut::<8>().0;
        for (word, part) in words.iter_mut().zip(self.0) {
            *word = part.to_le_bytes();
        }
        bytes
    }

    pub(crate) fn from_bytes(bytes: &[u8; ELEMENT_BYTES]) -> Result<Self, BodyError> {
        let mut parts = [0; 2];
        for (part, word) in parts.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *part = u64::from_le_bytes(*word);
        }
        for (coefficient, &part) in parts.iter().enumerate() {
            if part >= Q {
                return Err(BodyError::NotCanonical { coefficient });
            }
        }
        Ok(Self(parts))
    }
}

/// Σ factor · coefficient of elements with coefficients in F_q, reduced once.
#[derive(Clone, Copy, Default)]
pub(crate) struct Combination([Dot; 2]);

impl Combination {
    #[inline(always)]
    pub(crate) const fn add(&mut self, factor: &Element, coefficient: u64) {
        let Self([first, second]) = self;
        let [a, b] = factor.0;
        first.add(a, coefficient);
        second.add(b, coefficient);
    }

    pub(crate) const fn value(self) -> Element {
        let Self([first, second]) = self;
        Element([first.value(), second.value()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::randomness::{fill_uniform, seeded_rng};

    /// (a + b·u)(c + d·u) by hand, in 128-bit arithmetic.
    #[test]
    fn multiplies_like_the_schoolbook() {
        let mut rng = seeded_rng(*b"quadratic: like the schoolbook 1");
        let q = u128::from(Q);
        let mut parts = [0; 400];
        fill_uniform(&mut rng, &mut parts);
        parts[..8].copy_from_slice(&[Q - 1, Q - 1, 0, 1, 1, 0, Q - 1, 0]);
        for one in parts.as_chunks::<2>().0 {
            for other in parts.as_chunks::<2>().0 {
                let [[a, b], [c, d]] = [one, other].map(|e| e.map(u128::from));
                let first = (a * c % q + b * d % q * 7) % q;
                let second = (a * d % q + b * c % q) % q;
                let found = Element(*one).mul(Element(*other));
                assert_eq!(found.0.map(u128::from), [first, second]);
            }
        }
    }

    /// If 7 were a square, u² − 7 would have roots and the challenge only 64 bits.
    #[test]
    fn seven_is_no_square() {
        assert_eq!(field::pow(7, (Q - 1) / 2), Q - 1);
    }

    #[test]
    fn bytes_read_back_and_only_canonical_ones_are_read() {
        let element = Element([Q - 1, 5]);
        let mut bytes = element.to_bytes();
        assert_eq!(Element::from_bytes(&bytes), Ok(element));
        bytes[..8].copy_from_slice(&Q.to_le_bytes());
        assert_eq!(
            Element::from_bytes(&bytes),
            Err(BodyError::NotCanonical { coefficient: 0 })
        );
        bytes[8..].copy_from_slice(&u64::MAX.to_le_bytes());
        assert!(Element::from_bytes(&bytes).is_err());
    }
}
