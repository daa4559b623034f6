//! The encryption scheme.
//!
//! One key s per member and step, uniform in Z_q\[X\]/(X^N + 1); public masks a_j that all members
//! share in a step; noise e_j from CBD(80); messages Δ·m_j. A member's ciphertext is the body only:
//!
//! ```text
//! c_j = a_j·s + e_j + Δ·m_j          each member, j = 0, 1, …
//! C_j = Σ c_j = a_j·S + Σ e_j + Δ·Σ m_j,   S = Σ s      the coordinator adds
//! Δ·Σ m_j = C_j − a_j·S − Σ e_j      whoever knows S, once |Σ e_j| is found in bound
//! ```
//!
//! The key is uniform because S is revealed: a sum of uniform keys says nothing about any of them.
//! A key meets each mask once; [`Encryptor`] consumes it so that it meets no second step.
//!
//! Bodies and their sums are in [`crate::body`].

use crate::body::COEFFICIENT_BYTES;
use crate::encode::{Lanes, Packing};
use crate::error::{EncodeError, OpenError};
use crate::field;
use crate::noise::NoiseSource;
use crate::ntt::Transformed;
use crate::params::DEGREE;
use crate::randomness::fill_uniform;
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use crate::body::{BodyCheck, BodySum};
pub use crate::mask::MaskSeed;

/// A member's key for one step. It cannot be printed or copied, and is wiped when dropped.
#[derive(Zeroize, ZeroizeOnDrop)]
pub struct OneTimeKey(Vec<u64>);

impl OneTimeKey {
    /// Draws a fresh uniform key.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut coefficients = vec![0; DEGREE];
        fill_uniform(rng, &mut coefficients);
        Self(coefficients)
    }

    /// The coefficients, for sharing.
    pub(crate) fn coefficients(&self) -> &[u64] {
        &self.0
    }

    /// A chosen key, for tests at the extremes.
    #[cfg(test)]
    pub(crate) fn chosen(coefficients: Vec<u64>) -> Self {
        assert_eq!(coefficients.len(), DEGREE);
        Self(coefficients)
    }
}

/// The sum of the keys of all contributors: what the committee's releases add up to. It opens one
/// sum and is not secret from the coordinator.
#[derive(Clone, PartialEq, Eq)]
pub struct SummedKey(Vec<u64>);

impl SummedKey {
    /// Takes [`DEGREE`] canonical coefficients.
    pub(crate) fn from_coefficients(coefficients: Vec<u64>) -> Self {
        Self(coefficients)
    }

    /// The coefficients of the key, all below q.
    #[must_use]
    pub fn coefficients(&self) -> &[u64] {
        &self.0
    }
}

/// Encrypts one answer, a polynomial at a time, so that sending can start at once. Each item is
/// the next part of the body, at most 32 KiB.
pub struct Encryptor {
    key: Transformed,
    seed: MaskSeed,
    messages: Zeroizing<Vec<u64>>,
    next: usize,
    noise: NoiseSource,
    /// Reused between polynomials.
    terms: Zeroizing<Vec<i8>>,
    polynomial: Zeroizing<Vec<u64>>,
}

impl Encryptor {
    /// Packs `codes` and prepares to encrypt them under `key`, which is used up.
    ///
    /// Noise comes from a ChaCha20 generator seeded from `rng` now.
    ///
    /// # Errors
    /// [`EncodeError`] when the codes do not fit the plan's shape.
    pub fn new(
        key: OneTimeKey,
        seed: &MaskSeed,
        packing: &Packing,
        codes: &[u64],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, EncodeError> {
        Ok(Self {
            messages: Zeroizing::new(packing.encode(codes)?),
            key: Transformed::new(key.coefficients()),
            seed: *seed,
            next: 0,
            noise: NoiseSource::new(rng),
            terms: Zeroizing::new(vec![0; DEGREE]),
            polynomial: Zeroizing::new(vec![0; DEGREE]),
        })
    }

    /// Bytes of the whole body.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.messages.len() * COEFFICIENT_BYTES
    }

    /// The rest of the body in one piece.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.body_len());
        for part in self {
            body.extend_from_slice(&part);
        }
        body
    }
}

impl Iterator for Encryptor {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        let messages = self
            .messages
            .chunks(DEGREE)
            .nth(self.next)
            .filter(|messages| !messages.is_empty())?;
        self.seed.expand(self.next as u64, &mut self.polynomial);
        self.key.multiply(&mut self.polynomial);
        self.noise.fill(&mut self.terms);
        let mut bytes = vec![0; messages.len() * COEFFICIENT_BYTES];
        let (words, _) = bytes.as_chunks_mut::<COEFFICIENT_BYTES>();
        let products = self.polynomial.iter().zip(self.terms.iter());
        for ((word, &message), (&product, &term)) in words.iter_mut().zip(messages).zip(products) {
            let noisy = field::add(product, field::from_signed(i64::from(term)));
            *word = field::add(noisy, message).to_le_bytes();
        }
        self.next += 1;
        Some(bytes)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.messages.len().div_ceil(DEGREE) - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Encryptor {}

/// Opens a sum: the summed codes, in the order of the shape.
///
/// Every coefficient must pass the noise check for `contributors` (the size of U): residual at
/// most E(|U|). Every summed code must be at most |U| times its segment's maximum. Otherwise
/// nothing is returned.
///
/// # Errors
/// [`OpenError`].
pub fn open(
    sum: &BodySum,
    key: &SummedKey,
    seed: &MaskSeed,
    packing: &Packing,
    contributors: usize,
) -> Result<Vec<u64>, OpenError> {
    if sum.coefficients() != packing.coefficients() {
        return Err(OpenError::Length {
            expected: packing.coefficients(),
            found: sum.coefficients(),
        });
    }
    if !(1..=packing.roster()).contains(&contributors) {
        return Err(OpenError::Contributors {
            contributors,
            roster: packing.roster(),
        });
    }
    let key = Transformed::new(&key.0);
    let mut opened = sum.values().to_vec();
    let mut product = vec![0; DEGREE];
    for (index, bodies) in opened.chunks_mut(DEGREE).enumerate() {
        seed.expand(index as u64, &mut product);
        key.multiply(&mut product);
        for (body, &product) in bodies.iter_mut().zip(&product) {
            *body = field::sub(*body, product);
        }
    }
    decode(&opened, packing, contributors)
}

/// Takes Δ·m + e apart, segment by segment.
fn decode(opened: &[u64], packing: &Packing, contributors: usize) -> Result<Vec<u64>, OpenError> {
    let bound = packing.params().noise_bound(contributors);
    let mut codes = Vec::with_capacity(packing.codes());
    let mut rest = opened;
    let mut first = 0;
    for lanes in packing.segments() {
        let (own, after) = rest.split_at(lanes.coefficients);
        rest = after;
        let mut left = lanes.segment.count;
        for (offset, &value) in own.iter().enumerate() {
            let coefficient = first + offset;
            let message =
                nearest_message(lanes, value, bound).ok_or(OpenError::Noise { coefficient })?;
            let used = lanes.lanes.min(left);
            unpack(lanes, message, used, contributors, &mut codes)
                .ok_or(OpenError::SumTooLarge { coefficient })?;
            left -= used;
        }
        first += lanes.coefficients;
    }
    Ok(codes)
}

/// The message whose multiple of Δ is nearest, if the residual is in bound.
fn nearest_message(lanes: &Lanes, value: u64, bound: u64) -> Option<u64> {
    let half = lanes.delta / 2;
    let shifted = field::add(value, half);
    let message = shifted / lanes.delta;
    // Values between Δ·B^L and q round to B^L, which unpacking refuses: a digit is left over.
    let residual = (shifted % lanes.delta).abs_diff(half);
    (residual <= bound).then_some(message)
}

/// Appends the digits of a message, if each is a sum that honest contributors can reach and the
/// lanes that hold no code are empty.
fn unpack(
    lanes: &Lanes,
    message: u64,
    used: usize,
    contributors: usize,
    codes: &mut Vec<u64>,
) -> Option<()> {
    let largest = lanes.segment.max.saturating_mul(contributors as u64);
    let mut digits = message;
    for _ in 0..used {
        let sum = digits % lanes.base;
        if sum > largest {
            return None;
        }
        codes.push(sum);
        digits /= lanes.base;
    }
    (digits == 0).then_some(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{Segment, Shape};
    use crate::params::ParamSet;
    use crate::randomness::seeded_rng;
    use crate::transcript::hash;

    fn packing(max: u64, count: usize, roster: usize) -> Packing {
        Packing::plan(
            &Shape(vec![Segment { max, count }]),
            roster,
            ParamSet::current(),
        )
        .unwrap()
    }

    fn seed() -> MaskSeed {
        MaskSeed(hash(crate::domain::MASK, &[b"glwe tests"]))
    }

    /// Keys at the extremes of the field, and messages at theirs, still add up.
    #[test]
    fn keys_of_extreme_coefficients_open() {
        let packing = packing(65_535, 3 * DEGREE + 5, 3);
        let mut rng = seeded_rng([31; 32]);
        for (fills, code) in [
            ([0, 0, 0], 0),
            ([field::Q - 1; 3], 65_535),
            ([0, field::Q - 1, 1], 65_535),
        ] {
            let mut sum = BodySum::new(packing.coefficients());
            let mut summed = vec![0; DEGREE];
            for fill in fills {
                let key = OneTimeKey::chosen(vec![fill; DEGREE]);
                field::add_assign(&mut summed, key.coefficients());
                let codes = vec![code; packing.codes()];
                let body = Encryptor::new(key, &seed(), &packing, &codes, &mut rng)
                    .unwrap()
                    .into_body();
                sum.add_bytes(&body).unwrap();
            }
            let key = SummedKey::from_coefficients(summed);
            let opened = open(&sum, &key, &seed(), &packing, 3).unwrap();
            assert_eq!(opened, vec![3 * code; packing.codes()]);
        }
    }

    /// Every residual up to the bound opens, the first one beyond it does not, on either side.
    #[test]
    fn the_noise_check_is_exact_at_its_bound() {
        let packing = packing(65_535, 3 * 10, 4);
        let lanes = packing.segments()[0];
        let key = SummedKey::from_coefficients(vec![0; DEGREE]);
        let clean = packing.encode(&[65_535; 30]).unwrap();
        for contributors in [3, 4] {
            let bound = ParamSet::current().noise_bound(contributors) as i64;
            for (noise, passes) in [
                (0, true),
                (bound, true),
                (-bound, true),
                (bound + 1, false),
                (-bound - 1, false),
            ] {
                for message in [0, clean[4]] {
                    let mut values = clean.clone();
                    values[4] = field::add(message, field::from_signed(noise));
                    let result = open(&BodySum::of(values), &key, &seed(), &packing, contributors);
                    let expected = if passes {
                        None
                    } else {
                        Some(OpenError::Noise { coefficient: 4 })
                    };
                    assert_eq!(
                        result.err(),
                        expected,
                        "noise {noise}, {contributors} contributors"
                    );
                }
            }
        }
        assert!(2 * ParamSet::current().noise_bound(4) < lanes.delta);
    }

    /// Values that no honest cohort can reach are refused: too large a sum, a lane that holds no
    /// code, and the gap between Δ·B^L and q.
    #[test]
    fn impossible_sums_are_refused() {
        let packing = packing(100, 4, 4);
        let lanes = packing.segments()[0];
        assert!(lanes.lanes > 4, "this test wants empty lanes");
        let key = SummedKey::from_coefficients(vec![0; DEGREE]);
        let check = |message: u64, contributors: usize| {
            let sum = BodySum::of(vec![lanes.delta * message]);
            open(&sum, &key, &seed(), &packing, contributors)
        };
        let refused = Err(OpenError::SumTooLarge { coefficient: 0 });
        assert_eq!(check(400, 4), Ok(vec![400, 0, 0, 0]));
        assert_eq!(check(301, 3), refused);
        assert_eq!(check(lanes.base.pow(3) * 400, 4), Ok(vec![0, 0, 0, 400]));
        assert_eq!(check(lanes.base.pow(4), 4), refused);
        let power = lanes.base.pow(lanes.lanes as u32);
        if lanes
            .delta
            .checked_mul(power)
            .is_some_and(|top| top < field::Q)
        {
            assert!(check(power, 4).is_err());
        }
    }

    #[test]
    fn parties_that_disagree_on_the_plan_do_not_open() {
        let packing = packing(9, 9, 3);
        let key = SummedKey::from_coefficients(vec![0; DEGREE]);
        let sum = BodySum::new(packing.coefficients());
        for contributors in [0, 4] {
            assert_eq!(
                open(&sum, &key, &seed(), &packing, contributors),
                Err(OpenError::Contributors {
                    contributors,
                    roster: 3
                })
            );
        }
        assert!(matches!(
            open(&BodySum::new(2), &key, &seed(), &packing, 3),
            Err(OpenError::Length {
                expected: 1,
                found: 2
            })
        ));
    }

    #[test]
    fn bodies_are_cut_after_the_last_coefficient_and_come_in_parts() {
        let mut rng = seeded_rng([32; 32]);
        for coefficients in [0, 1, DEGREE - 1, DEGREE, DEGREE + 1, 3 * DEGREE] {
            let packing = packing((1 << 40) - 1, coefficients, 3);
            assert_eq!(packing.coefficients(), coefficients);
            let key = OneTimeKey::generate(&mut rng);
            let codes = vec![1; coefficients];
            let encryptor = Encryptor::new(key, &seed(), &packing, &codes, &mut rng).unwrap();
            assert_eq!(encryptor.len(), packing.polynomials());
            let parts: Vec<_> = encryptor.collect();
            assert_eq!(parts.len(), packing.polynomials());
            assert!(
                parts
                    .iter()
                    .all(|part| part.len() <= DEGREE * COEFFICIENT_BYTES)
            );
            assert_eq!(
                parts.iter().map(Vec::len).sum::<usize>(),
                packing.body_len()
            );
        }
    }
}
