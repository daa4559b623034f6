//! The degree test: did a dealer share its key by polynomials of degree below the threshold?
//!
//! Shares of too high a degree open nothing, or different keys with different members. Nobody sees
//! that from a single share. Optionally, then, each dealer also shares a mask: a polynomial g over
//! F_{q²} of degree below t, uniform, its value at 0 too. Once everything is sealed, ρ follows from the
//! hash of all sealed shares, and the member in seat i publishes
//!
//! ```text
//! v(i) = g(i) + Σ ρ^(c+1) · f_c(i)        c = 0 … 4095, f_c the polynomial of coefficient c
//! ```
//!
//! If all f_c and g have degree below t, so has v, and any t of its values determine the others
//! ([`check`], which needs k > t values to say anything). If one of them has not, v has it only for
//! at most 4096 of the q² values of ρ: 2^-116. The powers start at ρ¹ because a dealer could
//! otherwise let g and f_0 cancel. The published values say nothing about the key: g is uniform
//! and used for one ρ. **A member publishes one value per dealing**, for the ρ of what it was dealt.
//!
//! What a failure proves: not all of these values are right. Either the dealer shared wrongly, or
//! a member published a wrong value; the test alone does not say which, and with up to f liars among
//! k members it cannot. Before the proposal that is enough to leave the dealer out, as a complaint
//! is. What a pass does not prove: that the key shared is the key the body was encrypted under
//! (opening finds that out, without naming anybody), or that seats which published nothing hold good
//! shares.

use crate::error::{BodyError, DegreeError, ShareError};
use crate::params::{DEGREE, MAX_COMMITTEE};
use crate::quadratic::{Combination, ELEMENT_BYTES, Element};
use crate::randomness::fill_uniform;
use crate::shamir::{KeyShare, SharePoint, lagrange};
use crate::transcript::{Digest, Hasher, domain};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of a mask share and of a published value.
pub const VALUE_BYTES: usize = ELEMENT_BYTES;

/// g(i): what a dealer seals to seat i beside its key share. Secret: wiped when dropped, cannot be
/// printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct MaskShare([u64; 2]);

impl MaskShare {
    /// The bytes to seal: [`VALUE_BYTES`] of them, two 8-byte little-endian words below q.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; VALUE_BYTES]> {
        Zeroizing::new(Element(self.0).to_bytes())
    }

    /// Reads the bytes that were sealed.
    ///
    /// # Errors
    /// [`ShareError::Length`] or [`ShareError::NotCanonical`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ShareError> {
        let bytes = bytes.try_into().map_err(|_| ShareError::Length {
            expected: VALUE_BYTES,
            found: bytes.len(),
        })?;
        let element = Element::from_bytes(bytes).map_err(|_| ShareError::NotCanonical)?;
        Ok(Self(element.0))
    }
}

/// Shares a fresh uniform mask of degree below `threshold` among seats 1 to `committee`; what is
/// for seat s is at place s − 1.
///
/// # Errors
/// [`ShareError::Threshold`] unless 1 <= threshold <= committee <= [`MAX_COMMITTEE`].
pub fn deal_mask(
    committee: usize,
    threshold: usize,
    rng: &mut impl CryptoRng,
) -> Result<Vec<MaskShare>, ShareError> {
    if !(1..=MAX_COMMITTEE).contains(&committee) || !(1..=committee).contains(&threshold) {
        return Err(ShareError::Threshold {
            committee,
            threshold,
            maximum: MAX_COMMITTEE,
        });
    }
    let mut powers = Zeroizing::new(vec![0; 2 * threshold]);
    fill_uniform(rng, &mut powers);
    let shares = (1..=committee as u64).map(|point| {
        let point = Element([point, 0]);
        let (powers, _) = powers.as_chunks::<2>();
        // Horner, the highest power first.
        let value = powers
            .iter()
            .rev()
            .fold(Element::default(), |value, &power| {
                value.mul(point).add(Element(power))
            });
        MaskShare(value.0)
    });
    Ok(shares.collect())
}

/// The point ρ of one dealing, and its powers.
pub struct DegreeChallenge(Vec<Element>);

impl DegreeChallenge {
    /// ρ from the hash of everything the dealer sealed, masks included: BLAKE3's output under
    /// [`domain::DEGREE_CHALLENGE`], two elements below q.
    #[must_use]
    pub fn derive(sealed_shares: &Digest) -> Self {
        let mut hasher = Hasher::new(domain::DEGREE_CHALLENGE);
        hasher.part(sealed_shares.as_bytes());
        let point = Element::sample(&hasher);
        let mut power = Element::ONE;
        let powers = (0..DEGREE).map(|_| {
            power = power.mul(point);
            power
        });
        Self(powers.collect())
    }

    /// What the member publishes: its mask share plus the combination of its key share's
    /// coefficients. No branch depends on either.
    #[must_use]
    pub fn value(&self, mask: &MaskShare, share: &KeyShare) -> DegreeValue {
        let mut sum = Combination::default();
        for (power, &coefficient) in self.0.iter().zip(share.coefficients()) {
            sum.add(power, coefficient);
        }
        DegreeValue {
            point: share.point(),
            value: sum.value().add(Element(mask.0)),
        }
    }
}

/// v(i): what the member in seat i publishes about one dealing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DegreeValue {
    point: SharePoint,
    value: Element,
}

impl DegreeValue {
    /// The seat that published the value.
    #[must_use]
    pub const fn point(&self) -> SharePoint {
        self.point
    }

    /// [`VALUE_BYTES`] bytes: two 8-byte little-endian words below q.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; VALUE_BYTES] {
        self.value.to_bytes()
    }

    /// Reads what the member at `point` published.
    ///
    /// # Errors
    /// [`BodyError::NotCanonical`] when a word is not below q.
    pub fn from_bytes(point: SharePoint, bytes: &[u8; VALUE_BYTES]) -> Result<Self, BodyError> {
        let value = Element::from_bytes(bytes)?;
        Ok(Self { point, value })
    }
}

/// Whether the values of one dealing lie on a polynomial of degree below `threshold`.
///
/// # Errors
/// [`DegreeError::TooFew`] for `threshold` values or fewer, which always do;
/// [`DegreeError::Duplicate`] for two of one seat; [`DegreeError::Degree`] when they do not.
pub fn check(values: &[DegreeValue], threshold: usize) -> Result<(), DegreeError> {
    let (known, others) = match values.split_at_checked(threshold) {
        Some((known, others)) if !known.is_empty() && !others.is_empty() => (known, others),
        _ => {
            return Err(DegreeError::TooFew {
                found: values.len(),
                needed: threshold.saturating_add(1).max(2),
            });
        }
    };
    for (place, one) in values.iter().enumerate() {
        let point = one.point;
        if values
            .iter()
            .skip(place + 1)
            .any(|other| other.point == point)
        {
            return Err(DegreeError::Duplicate { point: point.get() });
        }
    }
    let points: Vec<u64> = known.iter().map(|one| one.point.element()).collect();
    for other in others {
        let mut expected = Combination::default();
        let weights = lagrange(&points, other.point.element());
        for (one, weight) in known.iter().zip(weights) {
            expected.add(&one.value, weight);
        }
        if expected.value() != other.value {
            return Err(DegreeError::Degree { threshold });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field;
    use crate::glwe::OneTimeKey;
    use crate::randomness::seeded_rng;
    use crate::shamir::{DealtShare, SHARE_BYTES, deal, is_seeded};
    use crate::transcript::hash;
    use chacha20::ChaCha20Rng;

    /// Both shares of every seat.
    fn dealt(
        committee: usize,
        threshold: usize,
        rng: &mut ChaCha20Rng,
    ) -> Vec<(MaskShare, KeyShare)> {
        let masks = deal_mask(committee, threshold, rng).unwrap();
        let key = OneTimeKey::generate(rng);
        let shares = deal(&key, committee, threshold, 1, rng).unwrap();
        let shares = shares.iter().zip(1..).map(|(share, seat)| {
            let seat = SharePoint::new(seat).unwrap();
            let seeded = is_seeded(seat, committee, threshold, 1);
            DealtShare::from_bytes(seat, seeded, &share.to_bytes()).unwrap()
        });
        masks.into_iter().zip(shares).collect()
    }

    fn challenge(name: &[u8]) -> DegreeChallenge {
        DegreeChallenge::derive(&hash(domain::SHARES, &[name]))
    }

    fn published(rho: &DegreeChallenge, seats: &[(MaskShare, KeyShare)]) -> Vec<DegreeValue> {
        let values = seats.iter().map(|(mask, share)| rho.value(mask, share));
        values.collect()
    }

    /// The share with `change` added to one coefficient.
    fn changed(share: &KeyShare, coefficient: usize, change: u64) -> KeyShare {
        let mut bytes = share.to_bytes();
        let word = &mut bytes.as_chunks_mut::<8>().0[coefficient];
        *word = field::add(u64::from_le_bytes(*word), change).to_le_bytes();
        KeyShare::from_bytes(share.point(), &bytes).unwrap()
    }

    #[test]
    fn honest_dealings_pass_with_any_seats() {
        let mut rng = seeded_rng([51; 32]);
        for (committee, threshold) in [(4, 3), (7, 5), (96, 65), (3, 1)] {
            let seats = dealt(committee, threshold, &mut rng);
            let mut values = published(&challenge(b"honest"), &seats);
            for _ in 0..4 {
                assert_eq!(check(&values, threshold), Ok(()));
                assert_eq!(check(&values[..threshold + 1], threshold), Ok(()));
                values.rotate_left(1);
            }
            // Of a lower degree they are not: the test can fail.
            if threshold > 1 {
                let lower = check(&values, threshold - 1);
                let threshold = threshold - 1;
                assert_eq!(lower, Err(DegreeError::Degree { threshold }));
            }
        }
    }

    /// The definition, one power at a time.
    #[test]
    fn values_are_masks_plus_combinations_from_power_1_on() {
        let mut rng = seeded_rng([52; 32]);
        let rho = challenge(b"definition");
        let (mask, share) = dealt(4, 3, &mut rng).remove(2);
        let (mut power, mut expected) = (rho.0[0], Element(mask.0));
        for word in share.to_bytes().as_chunks::<8>().0 {
            let coefficient = Element([u64::from_le_bytes(*word), 0]);
            expected = expected.add(power.mul(coefficient));
            power = power.mul(rho.0[0]);
        }
        assert_eq!(rho.value(&mask, &share).value, expected);
    }

    /// A dealer adds a·X^t to the polynomial of one coefficient: every share is well formed, and
    /// any t + 1 values give it away. So does a mask of too high a degree.
    #[test]
    fn a_degree_too_high_fails() {
        let mut rng = seeded_rng([53; 32]);
        let rho = challenge(b"too high");
        let (committee, threshold) = (7, 5);
        let failed = Err(DegreeError::Degree { threshold });
        for coefficient in [0, 1, 4095] {
            let mut seats = dealt(committee, threshold, &mut rng);
            for (_, share) in &mut seats {
                let point = u64::from(share.point().get());
                *share = changed(share, coefficient, field::pow(point, threshold as u64));
            }
            let mut values = published(&rho, &seats);
            for _ in 0..committee {
                assert_eq!(check(&values[..threshold + 1], threshold), failed);
                values.rotate_left(1);
            }
        }
        let mut seats = dealt(committee, threshold, &mut rng);
        for ((mask, _), other) in seats.iter_mut().zip(deal_mask(7, 6, &mut rng).unwrap()) {
            *mask = other;
        }
        assert_eq!(check(&published(&rho, &seats), threshold), failed);
    }

    /// Why the powers start at ρ¹: a mask that cancels the wrong part of coefficient 0 must not
    /// help, whatever ρ is.
    #[test]
    fn a_mask_cannot_cancel_the_first_coefficient() {
        let mut rng = seeded_rng([54; 32]);
        let (committee, threshold) = (7, 5);
        let mut seats = dealt(committee, threshold, &mut rng);
        for (mask, share) in &mut seats {
            let wrong = field::pow(u64::from(share.point().get()), 5);
            *share = changed(share, 0, wrong);
            mask.0[0] = field::sub(mask.0[0], wrong);
        }
        let failed = Err(DegreeError::Degree { threshold });
        assert_eq!(
            check(&published(&challenge(b"1"), &seats), threshold),
            failed
        );
        // The same with ρ = 1, which is what starting at ρ⁰ comes to, passes.
        let one = DegreeChallenge(vec![Element::ONE; DEGREE]);
        assert_eq!(check(&published(&one, &seats), threshold), Ok(()));
    }

    /// What a failure does not prove: a member's lie looks the same as a dealer's.
    #[test]
    fn a_wrong_value_of_one_member_fails_as_well() {
        let mut rng = seeded_rng([55; 32]);
        let seats = dealt(7, 5, &mut rng);
        let mut values = published(&challenge(b"lie"), &seats);
        values[3].value = values[3].value.add(Element([0, 1]));
        assert_eq!(check(&values, 5), Err(DegreeError::Degree { threshold: 5 }));
        values.remove(3);
        assert_eq!(check(&values, 5), Ok(()));
    }

    #[test]
    fn too_few_double_and_malformed_values_are_refused() {
        let mut rng = seeded_rng([56; 32]);
        let seats = dealt(4, 3, &mut rng);
        let mut values = published(&challenge(b"few"), &seats);
        for (count, threshold) in [(3, 3), (0, 0), (1, 1), (4, 0), (4, usize::MAX)] {
            assert!(matches!(
                check(&values[..count], threshold),
                Err(DegreeError::TooFew { .. })
            ));
        }
        values[3] = values[0];
        assert_eq!(check(&values, 3), Err(DegreeError::Duplicate { point: 1 }));

        let point = values[0].point();
        let bytes = values[0].to_bytes();
        assert_eq!(DegreeValue::from_bytes(point, &bytes), Ok(values[0]));
        assert!(DegreeValue::from_bytes(point, &[0xff; VALUE_BYTES]).is_err());
        let mask = seats[0].0.to_bytes();
        assert!(MaskShare::from_bytes(mask.as_slice()).is_ok_and(|read| read.0 == seats[0].0.0));
        assert!(matches!(
            MaskShare::from_bytes(&mask[1..]),
            Err(ShareError::Length { .. })
        ));
        assert!(matches!(
            MaskShare::from_bytes(&[0xff; VALUE_BYTES]),
            Err(ShareError::NotCanonical)
        ));
        assert_eq!(SHARE_BYTES, DEGREE * 8);
        for (committee, threshold) in [(0, 0), (3, 0), (3, 4), (97, 65)] {
            assert!(deal_mask(committee, threshold, &mut rng).is_err());
        }
    }
}
