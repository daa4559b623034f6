//! Compact dealing: most shares travel as seeds.
//!
//! Any t − 1 values at t − 1 points besides 0, together with the key at 0, are those of exactly
//! one polynomial of degree below t. So t − 1 seats get a 32-byte seed, from which their share
//! expands to uniform elements; what the other k − t + 1 seats get follows by interpolation through
//! the key and the seeded points, and is sent whole. For a committee of 96 that is 32 shares of
//! 32 KiB in place of 96.
//!
//! The seeds take the place of the random coefficients of plain Shamir sharing, whose distribution
//! this is when seeds expand to uniform elements. So what colluders below the threshold learn of
//! the key is bounded by what BLAKE3's extendable output differs from random to somebody who does
//! not know the seed: secrecy is computational, like that of the ciphertexts.
//!
//! A share expands as [`crate::mask`] does, under [`domain::SHARE_EXPAND`] over `seed ‖ point`.
//! Which seats are seeded depends on the dealer ([`is_seeded`]), so that over all dealers each seat
//! gets about as many whole shares as any other.

use super::{KeyShare, SharePoint, lagrange};
use crate::error::ShareError;
use crate::field::Dot;
use crate::glwe::OneTimeKey;
use crate::params::{DEGREE, MAX_COMMITTEE};
use crate::transcript::domain;
use crate::xof;
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// Bytes of a seed that a share expands from.
pub const SEED_BYTES: usize = 32;

/// What a seeded seat's share expands from. Secret: wiped when dropped, cannot be printed.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct ShareSeed([u8; SEED_BYTES]);

impl ShareSeed {
    /// Draws a fresh seed.
    fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut seed = Self([0; SEED_BYTES]);
        rng.fill_bytes(&mut seed.0);
        seed
    }

    /// The share of the seat at `point`.
    fn expand(&self, point: SharePoint) -> KeyShare {
        let mut coefficients = vec![0; DEGREE];
        let number = point.element();
        xof::expand(domain::SHARE_EXPAND, &self.0, number, &mut coefficients);
        KeyShare {
            point,
            coefficients,
        }
    }
}

/// What a dealer seals to one seat.
pub enum DealtShare {
    /// The seed of the seat's share.
    Seed(ShareSeed),
    /// The share itself.
    Whole(KeyShare),
}

impl DealtShare {
    /// The bytes to seal: [`SEED_BYTES`] or [`super::SHARE_BYTES`] of them.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<Vec<u8>> {
        match self {
            Self::Seed(seed) => Zeroizing::new(seed.0.to_vec()),
            Self::Whole(share) => share.to_bytes(),
        }
    }

    /// The share that was sealed to the seat at `point`, expanded if it came as a seed. Whether it
    /// did is for [`is_seeded`] to say, not for the dealer.
    ///
    /// # Errors
    /// [`ShareError::Length`] or [`ShareError::NotCanonical`].
    pub fn from_bytes(
        point: SharePoint,
        seeded: bool,
        bytes: &[u8],
    ) -> Result<KeyShare, ShareError> {
        if !seeded {
            return KeyShare::from_bytes(point, bytes);
        }
        let seed = bytes.try_into().map_err(|_| ShareError::Length {
            expected: SEED_BYTES,
            found: bytes.len(),
        })?;
        Ok(ShareSeed(seed).expand(point))
    }
}

/// Whether the seat at `seat` gets a seed: of `committee` seats, the `threshold` − 1 that follow
/// seat number `first` do, seat 1 following the last. `first` is the dealer's place on the roster
/// (from 0), taken modulo `committee`.
#[must_use]
pub fn is_seeded(seat: SharePoint, committee: usize, threshold: usize, first: usize) -> bool {
    let Some(first) = first.checked_rem(committee) else {
        return false;
    };
    let place = usize::from(seat.get()) - 1;
    let distance = if place >= first {
        place - first
    } else {
        place + committee - first
    };
    distance + 1 < threshold
}

/// Shares `key` among seats 1 to `committee`; any `threshold` of the shares determine it. What is
/// for seat s is at place s − 1; [`is_seeded`] says which seats get a seed.
///
/// # Errors
/// [`ShareError::Threshold`] unless 1 <= threshold <= committee <= [`MAX_COMMITTEE`].
pub fn deal(
    key: &OneTimeKey,
    committee: usize,
    threshold: usize,
    first: usize,
    rng: &mut impl CryptoRng,
) -> Result<Vec<DealtShare>, ShareError> {
    if !(1..=MAX_COMMITTEE).contains(&committee) || !(1..=committee).contains(&threshold) {
        return Err(ShareError::Threshold {
            committee,
            threshold,
            maximum: MAX_COMMITTEE,
        });
    }
    let seats = (1..=committee as u16)
        .map(SharePoint::new)
        .collect::<Result<Vec<_>, _>>()?;
    let seeded = |seat: &SharePoint| is_seeded(*seat, committee, threshold, first);

    let mut expanded = Vec::with_capacity(threshold - 1);
    let mut dealt: Vec<Option<DealtShare>> = Vec::with_capacity(committee);
    for seat in &seats {
        dealt.push(seeded(seat).then(|| {
            let seed = ShareSeed::generate(rng);
            expanded.push(seed.expand(*seat));
            DealtShare::Seed(seed)
        }));
    }
    let through = Through::new(key, &expanded);
    let shares = dealt.into_iter().zip(seats);
    Ok(shares
        .map(|(dealt, seat)| dealt.unwrap_or_else(|| DealtShare::Whole(through.share(seat))))
        .collect())
}

/// The polynomials through the key at 0 and the seeded shares at their points.
struct Through {
    points: Vec<u64>,
    /// For every coefficient in turn the values at all points, so that what is summed lies together.
    values: Zeroizing<Vec<u64>>,
}

impl Through {
    fn new(key: &OneTimeKey, seeded: &[KeyShare]) -> Self {
        let points = seeded.iter().map(|share| share.point.element());
        let points: Vec<u64> = [0].into_iter().chain(points).collect();
        let mut values = Zeroizing::new(vec![0; DEGREE * points.len()]);
        let vectors = seeded.iter().map(KeyShare::coefficients);
        for (place, vector) in [key.coefficients()].into_iter().chain(vectors).enumerate() {
            let column = values.iter_mut().skip(place).step_by(points.len());
            for (value, &coefficient) in column.zip(vector) {
                *value = coefficient;
            }
        }
        Self { points, values }
    }

    /// Their values at another point. The weights depend on points only, which are public.
    fn share(&self, point: SharePoint) -> KeyShare {
        let weights = lagrange(&self.points, point.element());
        let coefficients = self.values.chunks_exact(weights.len()).map(|values| {
            let mut sum = Dot::default();
            for (&weight, &value) in weights.iter().zip(values) {
                sum.add(weight, value);
            }
            sum.value()
        });
        KeyShare {
            point,
            coefficients: coefficients.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field::{self, Q};
    use crate::randomness::seeded_rng;
    use crate::shamir::{SHARE_BYTES, ShareSum, interpolate};

    /// What the seats hold after opening their sealed bytes.
    fn received(
        dealt: &[DealtShare],
        threshold: usize,
        first: usize,
    ) -> Result<Vec<KeyShare>, ShareError> {
        let seats = dealt.iter().zip(1..);
        seats
            .map(|(share, seat)| {
                let seat = SharePoint::new(seat)?;
                let seeded = is_seeded(seat, dealt.len(), threshold, first);
                DealtShare::from_bytes(seat, seeded, &share.to_bytes())
            })
            .collect()
    }

    fn released(share: &KeyShare) -> ShareSum {
        let mut sum = ShareSum::new(share.point());
        sum.add(share).unwrap();
        sum
    }

    const COMMITTEES: [(usize, usize); 7] =
        [(1, 1), (3, 1), (3, 3), (4, 3), (7, 5), (64, 43), (96, 65)];

    #[test]
    fn any_threshold_of_shares_gives_the_key_and_fewer_do_not() {
        let mut rng = seeded_rng([41; 32]);
        for (committee, threshold) in COMMITTEES {
            for first in [0, 1, committee - 1, committee, 1023] {
                let key = OneTimeKey::generate(&mut rng);
                let dealt = deal(&key, committee, threshold, first, &mut rng).unwrap();
                let shares = received(&dealt, threshold, first).unwrap();
                let mut sums: Vec<_> = shares.iter().map(released).collect();
                for _ in 0..3 {
                    let opened = interpolate(&sums, threshold).unwrap();
                    assert!(
                        opened.coefficients() == key.coefficients(),
                        "{threshold} of {committee} after {first}"
                    );
                    sums.rotate_left(committee / 3 + 1);
                }
                if threshold > 1 {
                    let fewer = &sums[..threshold - 1];
                    assert!(matches!(
                        interpolate(fewer, threshold),
                        Err(ShareError::TooFew { .. })
                    ));
                    // Taking too few for enough gives some other polynomial's value.
                    let wrong = interpolate(fewer, threshold - 1).unwrap();
                    assert_ne!(wrong.coefficients(), key.coefficients());
                }
            }
        }
    }

    /// The oracle: all k shares lie on the polynomial through any t of them, the slow way, in
    /// 128-bit arithmetic.
    #[test]
    fn whole_shares_are_those_of_plain_interpolation() {
        let mut rng = seeded_rng([45; 32]);
        let q = u128::from(Q);
        let (committee, threshold, first) = (7, 5, 4);
        let key = OneTimeKey::generate(&mut rng);
        let dealt = deal(&key, committee, threshold, first, &mut rng).unwrap();
        let shares = received(&dealt, threshold, first).unwrap();
        // Through the key and the first four seats, whoever was seeded; seats 5, 6, 7 follow.
        for place in [0, 1, 2047, DEGREE - 1] {
            let mut known = vec![(0u128, u128::from(key.coefficients()[place]))];
            known.extend(shares.iter().take(threshold - 1).map(|share| {
                let point = u128::from(share.point().get());
                (point, u128::from(share.coefficients[place]))
            }));
            for share in &shares[threshold - 1..] {
                let at = u128::from(share.point().get());
                let mut expected = 0;
                for &(point, value) in &known {
                    let mut term = value;
                    for &(other, _) in known.iter().filter(|(other, _)| *other != point) {
                        let below = field::invert(((q + point - other) % q) as u64);
                        term = term * ((q + at - other) % q) % q * u128::from(below) % q;
                    }
                    expected = (expected + term) % q;
                }
                assert_eq!(u128::from(share.coefficients[place]), expected);
            }
        }
    }

    #[test]
    fn seeds_go_to_the_seats_after_the_first_and_are_shared_out_evenly() {
        for (committee, threshold) in COMMITTEES {
            let mut whole = vec![0; committee];
            for first in 0..2 * committee {
                let seats: Vec<bool> = (1..=committee as u16)
                    .map(|seat| SharePoint::new(seat).unwrap())
                    .map(|seat| is_seeded(seat, committee, threshold, first))
                    .collect();
                let seeded = seats.iter().filter(|&&seeded| seeded).count();
                assert_eq!(seeded, threshold - 1, "of {committee} after {first}");
                // In a row from place `first` on.
                for step in 0..committee {
                    assert_eq!(seats[(first + step) % committee], step < threshold - 1);
                }
                for (count, seeded) in whole.iter_mut().zip(seats) {
                    *count += usize::from(!seeded);
                }
            }
            assert!(whole.iter().all(|&n| n == 2 * (committee - threshold + 1)));
        }
        assert!(!is_seeded(SharePoint::new(1).unwrap(), 0, 0, 0));
    }

    #[test]
    fn dealt_bytes_have_the_lengths_that_members_expect() {
        let mut rng = seeded_rng([46; 32]);
        let key = OneTimeKey::generate(&mut rng);
        let dealt = deal(&key, 96, 65, 7, &mut rng).unwrap();
        let lengths: Vec<_> = dealt.iter().map(|share| share.to_bytes().len()).collect();
        assert_eq!(lengths.iter().filter(|&&n| n == SEED_BYTES).count(), 64);
        assert_eq!(lengths.iter().filter(|&&n| n == SHARE_BYTES).count(), 32);

        let seat = SharePoint::new(8).unwrap();
        let bytes = dealt[7].to_bytes();
        assert!(DealtShare::from_bytes(seat, true, &bytes).is_ok());
        for (seeded, wrong) in [
            (true, &bytes[1..]),
            (true, &[0; SHARE_BYTES]),
            (false, bytes.as_slice()),
            (true, &[]),
        ] {
            assert!(matches!(
                DealtShare::from_bytes(seat, seeded, wrong),
                Err(ShareError::Length { .. })
            ));
        }
        let not_canonical = [0xff; SHARE_BYTES];
        assert!(matches!(
            DealtShare::from_bytes(seat, false, &not_canonical),
            Err(ShareError::NotCanonical)
        ));
    }

    /// Shares of one key dealt twice have nothing in common, and one seed at two seats neither.
    #[test]
    fn every_dealing_and_seat_has_its_own_randomness() {
        let mut rng = seeded_rng([47; 32]);
        let key = OneTimeKey::generate(&mut rng);
        let one = received(&deal(&key, 4, 3, 0, &mut rng).unwrap(), 3, 0).unwrap();
        let two = received(&deal(&key, 4, 3, 0, &mut rng).unwrap(), 3, 0).unwrap();
        for (one, two) in one.iter().zip(&two) {
            let pairs = one.coefficients.iter().zip(&two.coefficients);
            assert_eq!(pairs.filter(|(a, b)| a == b).count(), 0);
        }
        let seed = [7; SEED_BYTES];
        let [one, two] = [1, 2].map(|seat| {
            let seat = SharePoint::new(seat).unwrap();
            DealtShare::from_bytes(seat, true, &seed).unwrap()
        });
        assert!(field::all_canonical(&one.coefficients));
        assert_ne!(one.coefficients, two.coefficients);
    }

    #[test]
    fn extreme_keys_are_shared_too() {
        let mut rng = seeded_rng([42; 32]);
        for fill in [0, 1, Q - 1] {
            let key = OneTimeKey::chosen(vec![fill; DEGREE]);
            let dealt = deal(&key, 4, 3, 2, &mut rng).unwrap();
            let shares = received(&dealt, 3, 2).unwrap();
            assert!(
                shares
                    .iter()
                    .all(|one| field::all_canonical(&one.coefficients))
            );
            let sums: Vec<_> = shares[1..].iter().map(released).collect();
            let opened = interpolate(&sums, 3).unwrap();
            assert_eq!(opened.coefficients(), key.coefficients());
        }
    }

    #[test]
    fn impossible_committees_are_refused() {
        let mut rng = seeded_rng([44; 32]);
        let key = OneTimeKey::generate(&mut rng);
        for (committee, threshold) in [(0, 0), (3, 0), (3, 4), (97, 65)] {
            assert!(matches!(
                deal(&key, committee, threshold, 0, &mut rng),
                Err(ShareError::Threshold { .. })
            ));
        }
    }
}
