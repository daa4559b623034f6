//! Sharing a key among the committee (Shamir, 1979), coefficient by coefficient.
//!
//! Coefficient c of the key becomes f_c(0) of a random polynomial f_c of degree t − 1 over F_q;
//! the member at point p (its seat on the committee, from 1) gets f_c(p) for every c: 4096 elements,
//! 32 KiB, however long the answer is. Shares add: the sum of several dealers' shares at p is a
//! share of the sum of their keys. Any t points determine it, t − 1 say nothing.
//!
//! That holds only if all released sums are over the *same* dealers; see `tests/secure_sum/mixing.rs`.
//!
//! Keys are shared by [`deal`], which sends t − 1 of the k shares as 32-byte seeds.

use crate::error::ShareError;
use crate::field;
use crate::glwe::SummedKey;
use crate::params::{DEGREE, MAX_COMMITTEE};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

mod dealing;

pub use dealing::{DealtShare, SEED_BYTES, ShareSeed, deal, is_seeded};

/// Bytes of a share, sum of shares, or key: 4096 coefficients of 8 bytes, little-endian.
pub const SHARE_BYTES: usize = DEGREE * 8;

/// Where a member's shares are taken: its seat on the committee, 1 to [`MAX_COMMITTEE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharePoint(u16);

impl SharePoint {
    /// The point of the member in this seat.
    ///
    /// # Errors
    /// [`ShareError::Point`] for 0 (where the key itself is) and beyond the largest committee.
    pub const fn new(seat: u16) -> Result<Self, ShareError> {
        if seat == 0 || seat as usize > MAX_COMMITTEE {
            return Err(ShareError::Point {
                point: seat as usize,
                maximum: MAX_COMMITTEE,
            });
        }
        Ok(Self(seat))
    }

    /// The seat, from 1.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    pub(crate) const fn element(self) -> u64 {
        self.0 as u64
    }
}

/// One member's share of one dealer's key. Secret: wiped when dropped, cannot be printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct KeyShare {
    #[zeroize(skip)]
    point: SharePoint,
    coefficients: Vec<u64>,
}

impl KeyShare {
    /// Where the share was taken.
    #[must_use]
    pub const fn point(&self) -> SharePoint {
        self.point
    }

    /// f_c at the point, for every coefficient c.
    pub(crate) fn coefficients(&self) -> &[u64] {
        &self.coefficients
    }

    /// The bytes that are sealed to the member: [`SHARE_BYTES`] of them.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        Zeroizing::new(to_bytes(&self.coefficients))
    }

    /// Reads the bytes that were sealed to the member at `point`.
    ///
    /// # Errors
    /// [`ShareError::Length`] or [`ShareError::NotCanonical`].
    pub fn from_bytes(point: SharePoint, bytes: &[u8]) -> Result<Self, ShareError> {
        Ok(Self {
            point,
            coefficients: from_bytes(bytes)?,
        })
    }
}

/// The sum of shares of several dealers at one point: what a member releases. Until then it is as
/// secret as a share.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct ShareSum {
    #[zeroize(skip)]
    point: SharePoint,
    coefficients: Vec<u64>,
}

impl ShareSum {
    /// The empty sum at a point.
    #[must_use]
    pub fn new(point: SharePoint) -> Self {
        Self {
            point,
            coefficients: vec![0; DEGREE],
        }
    }

    /// Where the shares were taken.
    #[must_use]
    pub const fn point(&self) -> SharePoint {
        self.point
    }

    /// Adds one dealer's share.
    ///
    /// # Errors
    /// [`ShareError::MixedPoints`] when it was taken elsewhere.
    pub fn add(&mut self, share: &KeyShare) -> Result<(), ShareError> {
        if share.point != self.point {
            return Err(ShareError::MixedPoints {
                one: self.point.get(),
                other: share.point.get(),
            });
        }
        field::add_assign(&mut self.coefficients, &share.coefficients);
        Ok(())
    }

    /// The bytes that are released: [`SHARE_BYTES`] of them.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        to_bytes(&self.coefficients)
    }

    /// Reads the bytes that the member at `point` released.
    ///
    /// # Errors
    /// [`ShareError::Length`] or [`ShareError::NotCanonical`].
    pub fn from_bytes(point: SharePoint, bytes: &[u8]) -> Result<Self, ShareError> {
        Ok(Self {
            point,
            coefficients: from_bytes(bytes)?,
        })
    }
}

/// The key whose shares these are, from the first `threshold` of them.
///
/// Shares are not authenticated here: a wrong one gives a wrong key, which the noise check of
/// [`crate::glwe::open`] finds.
///
/// # Errors
/// [`ShareError::TooFew`] below the threshold, [`ShareError::Duplicate`] for two at one point.
pub fn interpolate(sums: &[ShareSum], threshold: usize) -> Result<SummedKey, ShareError> {
    let used = match sums.get(..threshold) {
        Some(used) if threshold > 0 => used,
        _ => {
            return Err(ShareError::TooFew {
                found: sums.len(),
                threshold: threshold.max(1),
            });
        }
    };
    for (place, sum) in used.iter().enumerate() {
        if used
            .iter()
            .skip(place + 1)
            .any(|other| other.point == sum.point)
        {
            let point = sum.point.get();
            return Err(ShareError::Duplicate { point });
        }
    }
    let points: Vec<u64> = used.iter().map(|sum| sum.point.element()).collect();
    let values: Vec<&[u64]> = used.iter().map(|sum| sum.coefficients.as_slice()).collect();
    let key = combine(&lagrange(&points, 0), &values);
    Ok(SummedKey::from_coefficients(key))
}

/// Lagrange's weights at `target` for values at distinct `points`, all public:
/// Π (target − p)/(point − p) over the other points p.
pub(crate) fn lagrange(points: &[u64], target: u64) -> Vec<u64> {
    let weight = |&point: &u64| {
        let (mut above, mut below) = (1, 1);
        for &other in points.iter().filter(|&&other| other != point) {
            above = field::mul(above, field::sub(target, other));
            below = field::mul(below, field::sub(point, other));
        }
        field::mul(above, field::invert(below))
    };
    points.iter().map(weight).collect()
}

/// Σ weight · vector, coefficient by coefficient, each reduced once. No branch on the vectors.
fn combine(weights: &[u64], vectors: &[&[u64]]) -> Vec<u64> {
    /// Coefficients added up at a time: their sums stay in the first-level cache.
    const BLOCK: usize = 256;
    let mut combined = vec![0; DEGREE];
    let mut sums = [field::Dot::default(); BLOCK];
    for (index, block) in combined.chunks_mut(BLOCK).enumerate() {
        sums.fill(field::Dot::default());
        for (&weight, vector) in weights.iter().zip(vectors) {
            let values = vector.iter().skip(index * BLOCK);
            for (sum, &value) in sums.iter_mut().zip(values) {
                sum.add(weight, value);
            }
        }
        for (value, sum) in block.iter_mut().zip(&sums) {
            *value = sum.value();
        }
    }
    combined
}

pub(crate) fn to_bytes(coefficients: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SHARE_BYTES);
    for value in coefficients {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

pub(crate) fn from_bytes(bytes: &[u8]) -> Result<Vec<u64>, ShareError> {
    if bytes.len() != SHARE_BYTES {
        return Err(ShareError::Length {
            expected: SHARE_BYTES,
            found: bytes.len(),
        });
    }
    let words = bytes.as_chunks::<8>().0;
    let mut values: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    if !field::all_canonical(&values) {
        values.zeroize();
        return Err(ShareError::NotCanonical);
    }
    Ok(values)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::Q;
    use crate::randomness::{fill_uniform, seeded_rng};
    use rand_core::CryptoRng;

    fn released(share: &KeyShare) -> ShareSum {
        let mut sum = ShareSum::new(share.point());
        sum.add(share).unwrap();
        sum
    }

    /// Shares of a key that is gone, by plain evaluation of random polynomials.
    fn shares(committee: u16, threshold: usize, rng: &mut impl CryptoRng) -> Vec<KeyShare> {
        let mut powers = vec![vec![0; DEGREE]; threshold];
        powers
            .iter_mut()
            .for_each(|vector| fill_uniform(rng, vector));
        (1..=committee)
            .map(|seat| KeyShare {
                point: SharePoint::new(seat).unwrap(),
                coefficients: evaluate(&powers, u64::from(seat)),
            })
            .collect()
    }

    fn evaluate(powers: &[Vec<u64>], at: u64) -> Vec<u64> {
        (0..DEGREE)
            .map(|c| {
                powers.iter().rev().fold(0, |value, power| {
                    field::add(field::mul(value, at), power[c])
                })
            })
            .collect()
    }

    #[test]
    fn lagrange_weights_and_combinations_are_those_of_plain_arithmetic() {
        let mut rng = seeded_rng([40; 32]);
        for points in [
            vec![1],
            vec![0, 5, 3],
            vec![96, 2, 50, 1],
            (1..=65).collect(),
        ] {
            let mut powers = vec![vec![0; DEGREE]; points.len()];
            powers
                .iter_mut()
                .for_each(|vector| fill_uniform(&mut rng, vector));
            powers[0][..3].copy_from_slice(&[0, Q - 1, 1]);
            let values: Vec<_> = points.iter().map(|&at| evaluate(&powers, at)).collect();
            let values: Vec<&[u64]> = values.iter().map(Vec::as_slice).collect();
            for target in [0, 1, 96, Q - 1] {
                let found = combine(&lagrange(&points, target), &values);
                assert!(found == evaluate(&powers, target), "{points:?} at {target}");
            }
        }
        let extreme = [Q - 1; DEGREE];
        let vectors = [extreme.as_slice(); 96];
        assert_eq!(combine(&[Q - 1; 96], &vectors), [96; DEGREE]);
    }

    #[test]
    fn a_wrong_release_changes_the_key() {
        let mut rng = seeded_rng([43; 32]);
        let shares = shares(3, 3, &mut rng);
        let mut sums: Vec<_> = shares.iter().map(released).collect();
        let key = interpolate(&sums, 3).unwrap();
        sums[1].coefficients[17] = field::add(sums[1].coefficients[17], 1);
        let opened = interpolate(&sums, 3).unwrap();
        let differing = opened
            .coefficients()
            .iter()
            .zip(key.coefficients())
            .filter(|(a, b)| a != b);
        assert_eq!(differing.count(), 1);
    }

    #[test]
    fn impossible_points_and_bytes_are_refused() {
        let mut rng = seeded_rng([44; 32]);
        assert!(SharePoint::new(0).is_err() && SharePoint::new(97).is_err());

        let shares = shares(3, 2, &mut rng);
        let point = shares[0].point();
        let mut bytes = shares[0].to_bytes();
        assert!(KeyShare::from_bytes(point, &bytes).is_ok());
        assert!(matches!(
            KeyShare::from_bytes(point, &bytes[1..]),
            Err(ShareError::Length { .. })
        ));
        bytes[8..16].copy_from_slice(&Q.to_le_bytes());
        assert!(matches!(
            KeyShare::from_bytes(point, &bytes),
            Err(ShareError::NotCanonical)
        ));
        assert!(matches!(
            ShareSum::from_bytes(point, &bytes),
            Err(ShareError::NotCanonical)
        ));

        let mut sum = ShareSum::new(point);
        assert!(matches!(
            sum.add(&shares[1]),
            Err(ShareError::MixedPoints { one: 1, other: 2 })
        ));
        let twice = [released(&shares[0]), released(&shares[0])];
        assert!(matches!(
            interpolate(&twice, 2),
            Err(ShareError::Duplicate { point: 1 })
        ));
        assert!(matches!(
            interpolate(&[], 0),
            Err(ShareError::TooFew { .. })
        ));
    }
}
