//! Sharing a key among the committee (Shamir, 1979), coefficient by coefficient.
//!
//! Coefficient c of the key becomes f_c(0) of a random polynomial f_c of degree t − 1 over F_q;
//! the member at point p (its index in the charter, from 1) gets f_c(p) for every c: 4096 elements,
//! 32 KiB, however long the answer is. Shares add: the sum of several dealers' shares at p is a
//! share of the sum of their keys. Any t points determine it, t − 1 say nothing.
//!
//! That holds only if all released sums are over the *same* dealers; see `tests/mixing.rs`.

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
