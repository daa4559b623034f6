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
//! A body on the wire is its coefficients as 8-byte little-endian words below q, polynomial after
//! polynomial, the last one cut off after the coefficients that the packing plan uses.

use crate::encode::{Lanes, Packing};
use crate::error::{BodyError, EncodeError, OpenError};
use crate::field;
use crate::noise::NoiseSource;
use crate::ntt::Transformed;
use crate::params::DEGREE;
use crate::randomness::fill_uniform;
use crate::transcript::{BodyHasher, Digest};
use rand_core::CryptoRng;
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

pub use crate::mask::MaskSeed;

/// Bytes of one coefficient on the wire.
pub const COEFFICIENT_BYTES: usize = 8;

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
        let finished = (held > 0 && head.len() == missing).then_some(&self.cut);
        if finished.into_iter().chain(whole).any(not_canonical) {
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

fn not_canonical(word: &[u8; COEFFICIENT_BYTES]) -> bool {
    u64::from_le_bytes(*word) >= field::Q
}

/// The coordinator's running sum of bodies: one, whatever the number of members.
#[derive(Clone, PartialEq, Eq)]
pub struct BodySum(Vec<u64>);

impl BodySum {
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
        if words.iter().any(not_canonical) {
            return Err(BodyError::NotCanonical { coefficient: first });
        }
        for (sum, word) in place.iter_mut().zip(words) {
            *sum = field::add(*sum, u64::from_le_bytes(*word));
        }
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
        self.0
            .iter()
            .flat_map(|value| value.to_le_bytes())
            .collect()
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
    let mut opened = sum.0.clone();
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
                    let result = open(&BodySum(values), &key, &seed(), &packing, contributors);
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
            let sum = BodySum(vec![lanes.delta * message]);
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
