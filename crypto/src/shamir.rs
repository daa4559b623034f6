//! Sharing a key among the committee (Shamir, 1979), coefficient by coefficient.
//!
//! Coefficient c of the key becomes f_c(0) of a random polynomial f_c of degree t − 1 over F_q;
//! the member at point p (its index in the charter, from 1) gets f_c(p) for every c: 4096 elements,
//! 32 KiB, however long the answer is. Shares add: the sum of several dealers' shares at p is a
//! share of the sum of their keys. Any t points determine it, t − 1 say nothing.
//!
//! That holds only if all released sums are over the *same* dealers; see `tests/secure_sum/mixing.rs`.

use crate::error::ShareError;
use crate::field;
use crate::glwe::{OneTimeKey, SummedKey};
use crate::params::{DEGREE, MAX_MEMBERS};
use crate::randomness::fill_uniform;
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of a share, sum of shares, or key: 4096 coefficients of 8 bytes, little-endian.
pub const SHARE_BYTES: usize = DEGREE * 8;

/// Where a member's shares are taken: its index in the charter, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SharePoint(u16);

impl SharePoint {
    /// The point of the member with this index.
    ///
    /// # Errors
    /// [`ShareError::Point`] for 0 (where the key itself is) and beyond the largest committee.
    pub const fn new(index: u16) -> Result<Self, ShareError> {
        if index == 0 || index as usize > MAX_MEMBERS {
            return Err(ShareError::Point {
                point: index as usize,
                maximum: MAX_MEMBERS,
            });
        }
        Ok(Self(index))
    }

    /// The index, from 1.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    const fn element(self) -> u64 {
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

/// Shares `key` among points 1 to `committee`; any `threshold` of the shares determine it. The
/// share of point p is at place p − 1.
///
/// # Errors
/// [`ShareError::Threshold`] unless 1 <= threshold <= committee <= [`MAX_MEMBERS`].
pub fn share(
    key: &OneTimeKey,
    committee: usize,
    threshold: usize,
    rng: &mut impl CryptoRng,
) -> Result<Vec<KeyShare>, ShareError> {
    if !(1..=MAX_MEMBERS).contains(&committee) || !(1..=committee).contains(&threshold) {
        return Err(ShareError::Threshold {
            committee,
            threshold,
            maximum: MAX_MEMBERS,
        });
    }
    // One random vector for each power of X from 1 to t − 1.
    let mut powers = Vec::with_capacity(threshold - 1);
    for _ in 1..threshold {
        let mut vector = Zeroizing::new(vec![0; DEGREE]);
        fill_uniform(rng, &mut vector);
        powers.push(vector);
    }
    let mut shares = Vec::with_capacity(committee);
    for index in 1..=committee as u16 {
        let point = SharePoint::new(index)?;
        // Horner, the highest power first.
        let mut coefficients = vec![0; DEGREE];
        for vector in powers.iter().rev() {
            step(&mut coefficients, point, vector);
        }
        step(&mut coefficients, point, key.coefficients());
        shares.push(KeyShare {
            point,
            coefficients,
        });
    }
    Ok(shares)
}

/// One step of Horner's rule for all coefficients.
fn step(values: &mut [u64], point: SharePoint, next: &[u64]) {
    for (value, &term) in values.iter_mut().zip(next) {
        *value = field::add(field::mul(*value, point.element()), term);
    }
}

impl KeyShare {
    /// Where the share was taken.
    #[must_use]
    pub const fn point(&self) -> SharePoint {
        self.point
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
    let mut key = vec![0; DEGREE];
    for sum in used {
        let weight = weight_at_zero(sum.point, used)?;
        for (total, &value) in key.iter_mut().zip(&sum.coefficients) {
            *total = field::add(*total, field::mul(weight, value));
        }
    }
    Ok(SummedKey::from_coefficients(key))
}

/// Lagrange's weight of `point` at 0: Π p/(p − point) over the other points p.
fn weight_at_zero(point: SharePoint, used: &[ShareSum]) -> Result<u64, ShareError> {
    if used.iter().filter(|other| other.point == point).count() > 1 {
        return Err(ShareError::Duplicate { point: point.get() });
    }
    let (mut above, mut below) = (1, 1);
    for other in used.iter().filter(|other| other.point != point) {
        above = field::mul(above, other.point.element());
        below = field::mul(below, field::sub(other.point.element(), point.element()));
    }
    Ok(field::mul(above, field::invert(below)))
}

fn to_bytes(coefficients: &[u64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(SHARE_BYTES);
    for value in coefficients {
        bytes.extend_from_slice(&value.to_le_bytes());
    }
    bytes
}

fn from_bytes(bytes: &[u8]) -> Result<Vec<u64>, ShareError> {
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
    use crate::randomness::seeded_rng;

    fn released(share: &KeyShare) -> ShareSum {
        let mut sum = ShareSum::new(share.point());
        sum.add(share).unwrap();
        sum
    }

    #[test]
    fn any_threshold_of_shares_gives_the_key_and_fewer_do_not() {
        let mut rng = seeded_rng([41; 32]);
        for (committee, threshold) in [(1, 1), (3, 3), (4, 3), (7, 5), (64, 43)] {
            let key = OneTimeKey::generate(&mut rng);
            let mut sums: Vec<_> = share(&key, committee, threshold, &mut rng)
                .unwrap()
                .iter()
                .map(released)
                .collect();
            for _ in 0..3 {
                let opened = interpolate(&sums, threshold).unwrap();
                assert_eq!(
                    opened.coefficients(),
                    key.coefficients(),
                    "{threshold} of {committee}"
                );
                sums.rotate_left(1);
            }
            if threshold > 1 {
                assert!(matches!(
                    interpolate(&sums[..threshold - 1], threshold),
                    Err(ShareError::TooFew { .. })
                ));
                // Taking too few for enough gives some other polynomial's value.
                let wrong = interpolate(&sums, threshold - 1).unwrap();
                assert_ne!(wrong.coefficients(), key.coefficients());
            }
        }
    }

    #[test]
    fn extreme_keys_are_shared_too() {
        let mut rng = seeded_rng([42; 32]);
        for fill in [0, 1, Q - 1] {
            let key = OneTimeKey::chosen(vec![fill; DEGREE]);
            let shares = share(&key, 4, 3, &mut rng).unwrap();
            assert!(
                shares
                    .iter()
                    .all(|share| field::all_canonical(&share.coefficients))
            );
            let sums: Vec<_> = shares[1..].iter().map(released).collect();
            assert_eq!(
                interpolate(&sums, 3).unwrap().coefficients(),
                key.coefficients()
            );
        }
    }

    #[test]
    fn a_wrong_release_changes_the_key() {
        let mut rng = seeded_rng([43; 32]);
        let key = OneTimeKey::generate(&mut rng);
        let shares = share(&key, 3, 3, &mut rng).unwrap();
        let mut sums: Vec<_> = shares.iter().map(released).collect();
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
    fn impossible_committees_points_and_bytes_are_refused() {
        let mut rng = seeded_rng([44; 32]);
        let key = OneTimeKey::generate(&mut rng);
        for (committee, threshold) in [(0, 0), (3, 0), (3, 4), (65, 44)] {
            assert!(matches!(
                share(&key, committee, threshold, &mut rng),
                Err(ShareError::Threshold { .. })
            ));
        }
        assert!(SharePoint::new(0).is_err() && SharePoint::new(65).is_err());

        let shares = share(&key, 3, 2, &mut rng).unwrap();
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
