//! Opening a sum, and rebuilding the summed body from what was opened.

use crate::body::BodySum;
use crate::encode::Packing;
use crate::error::OpenError;
use crate::field;
use crate::glwe::SummedKey;
use crate::glwe::decode::each_segment;
use crate::mask::MaskSeed;
use crate::ntt::Transformed;
use crate::params::DEGREE;
use crate::transcript::{Digest, Hasher, domain};

/// Polynomials from which on opening is spread over threads: below that, starting them takes
/// longer than they save.
const PARALLEL_POLYNOMIALS: usize = 16;

/// A sum that opened, taken apart completely: Δ·m + e for every coefficient.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The summed codes, in the order of the shape.
    pub codes: Vec<u64>,
    /// Σ m for every coefficient: the codes as they lie in mixed radix, below B^L.
    pub messages: Vec<u64>,
    /// Σ e for every coefficient, at most E(|U|) in size.
    pub residuals: Vec<i16>,
}

impl Opened {
    /// H(messages ‖ key ‖ residuals), under [`domain::OPENED`]: what a coordinator commits to before
    /// the challenge of the linear hash is known. Each of the three is one part: 8-byte
    /// little-endian words, the key's bytes, 2-byte little-endian words in two's complement.
    #[must_use]
    pub fn digest(&self, key: &SummedKey) -> Digest {
        digest(&self.messages, key, &self.residuals)
    }
}

/// [`Opened::digest`] of published parts.
#[must_use]
pub fn digest(messages: &[u64], key: &SummedKey, residuals: &[i16]) -> Digest {
    let mut hasher = Hasher::new(domain::OPENED);
    hasher
        .long_part(messages.iter().map(|word| word.to_le_bytes()))
        .long_part(key.coefficients().iter().map(|word| word.to_le_bytes()))
        .long_part(residuals.iter().map(|word| word.to_le_bytes()));
    hasher.finish()
}

/// Opens a sum: the summed codes, and messages and residuals of every coefficient.
///
/// Every coefficient must pass the noise check for `contributors` (the size of U): residual at
/// most E(|U|). Every summed code must be at most |U| times its segment's maximum. Otherwise
/// nothing is returned. Large sums are opened on all cores.
///
/// # Errors
/// [`OpenError`].
pub fn open(
    sum: &BodySum,
    key: &SummedKey,
    seed: &MaskSeed,
    packing: &Packing,
    contributors: usize,
) -> Result<Opened, OpenError> {
    check_plan(packing, contributors, &[sum.coefficients()])?;
    let mut values = sum.values().to_vec();
    with_products(&mut values, key, seed, |value, product| {
        *value = field::sub(*value, product);
    });
    let mut residuals = Vec::with_capacity(values.len());
    let bound = packing.params().noise_bound(contributors);
    let codes = each_segment(packing, contributors, &mut values, |segment, value| {
        let (message, residual) = segment.nearest_message(*value, bound)?;
        residuals.push(residual);
        *value = message;
        Some(message)
    })?;
    Ok(Opened {
        codes,
        messages: values,
        residuals,
    })
}

/// Whether the first polynomial of a sum opens under this key: what tells a wrong key from the right one
/// among many, at the price of one polynomial. A wrong key passes with probability
/// (2·E(|U|) + 1)/Δ per coefficient, so of very short sums this says little.
#[must_use]
pub fn fits(
    sum: &BodySum,
    key: &SummedKey,
    seed: &MaskSeed,
    packing: &Packing,
    contributors: usize,
) -> bool {
    if check_plan(packing, contributors, &[sum.coefficients()]).is_err() {
        return false;
    }
    let mut values: Vec<_> = sum.values().iter().take(DEGREE).copied().collect();
    with_products(&mut values, key, seed, |value, product| {
        *value = field::sub(*value, product);
    });
    let bound = packing.params().noise_bound(contributors);
    let message = |segment: &super::decode::Segment<'_>, value: &mut u64| {
        segment
            .nearest_message(*value, bound)
            .map(|(message, _)| message)
    };
    each_segment(packing, contributors, &mut values, message).is_ok()
}

/// What published totals, key and residuals stand for.
#[derive(Clone, PartialEq, Eq)]
pub struct Rebuilt {
    /// The summed codes, in the order of the shape.
    pub codes: Vec<u64>,
    /// The body that opens to them: C_j = a_j·S + Σ e_j + Δ·Σ m_j.
    pub sum: BodySum,
}

/// The summed body that these messages, summed key and residuals add up to, after every check of
/// [`open`]: residuals at most E(|U|), codes at most |U| times their maximum.
///
/// That they are the sum of what the contributors *sent* is for their linear hashes to say
/// ([`crate::linear`]).
///
/// # Errors
/// [`OpenError`].
pub fn rebuild(
    seed: &MaskSeed,
    packing: &Packing,
    contributors: usize,
    key: &SummedKey,
    messages: &[u64],
    residuals: &[i16],
) -> Result<Rebuilt, OpenError> {
    check_plan(packing, contributors, &[messages.len(), residuals.len()])?;
    let bound = packing.params().noise_bound(contributors);
    let mut values = messages.to_vec();
    let mut noise = residuals.iter();
    let codes = each_segment(packing, contributors, &mut values, |segment, value| {
        let residual = noise.next().copied()?;
        let message = *value;
        // A message beyond B^L is refused when it is unpacked; until then the product may wrap.
        let scaled = field::reduce(message.wrapping_mul(segment.lanes.delta));
        *value = field::add(scaled, field::from_signed(i64::from(residual)));
        (u64::from(residual.unsigned_abs()) <= bound).then_some(message)
    })?;
    with_products(&mut values, key, seed, |value, product| {
        *value = field::add(*value, product);
    });
    Ok(Rebuilt {
        codes,
        sum: BodySum::from_values(values),
    })
}

/// Checks that vectors have the plan's length and U a possible size.
fn check_plan(packing: &Packing, contributors: usize, lengths: &[usize]) -> Result<(), OpenError> {
    let expected = packing.coefficients();
    if let Some(&found) = lengths.iter().find(|&&length| length != expected) {
        return Err(OpenError::Length { expected, found });
    }
    if !(1..=packing.roster()).contains(&contributors) {
        return Err(OpenError::Contributors {
            contributors,
            roster: packing.roster(),
        });
    }
    Ok(())
}

/// Gives every value to `apply` with its coefficient of a_j·S, on all cores if there are many.
fn with_products(
    values: &mut [u64],
    key: &SummedKey,
    seed: &MaskSeed,
    apply: impl Fn(&mut u64, u64) + Sync,
) {
    let key = Transformed::new(key.coefficients());
    let work = |first: usize, values: &mut [u64]| {
        let mut product = vec![0; DEGREE];
        for (index, chunk) in (first..).zip(values.chunks_mut(DEGREE)) {
            seed.expand(index as u64, &mut product);
            key.multiply(&mut product);
            for (value, &product) in chunk.iter_mut().zip(&product) {
                apply(value, product);
            }
        }
    };
    let polynomials = values.len().div_ceil(DEGREE);
    if polynomials < PARALLEL_POLYNOMIALS {
        return work(0, values);
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let share = polynomials.div_ceil(cores);
    std::thread::scope(|scope| {
        for (part, values) in values.chunks_mut(share * DEGREE).enumerate() {
            let work = &work;
            scope.spawn(move || work(part * share, values));
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Encryptor;
    use crate::encode::{self, Shape};
    use crate::glwe::OneTimeKey;
    use crate::params::ParamSet;
    use crate::randomness::seeded_rng;
    use crate::transcript::hash;

    fn packing(max: u64, count: usize, roster: usize) -> Packing {
        Packing::plan(
            &Shape(vec![encode::Segment { max, count }]),
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
    fn a_key_fits_as_the_whole_sum_opens() {
        let packing = packing(65_535, 3 * DEGREE + 5, 3);
        let mut rng = seeded_rng([32; 32]);
        let (mut sum, mut keys) = (BodySum::new(packing.coefficients()), vec![0; DEGREE]);
        for code in [1, 2, 65_535] {
            let key = OneTimeKey::generate(&mut rng);
            field::add_assign(&mut keys, key.coefficients());
            let codes = vec![code; packing.codes()];
            let encryptor = Encryptor::new(key, &seed(), &packing, &codes, &mut rng).unwrap();
            sum.add_bytes(&encryptor.into_body()).unwrap();
        }
        let fits = |keys: &[u64], contributors| {
            let key = SummedKey::from_coefficients(keys.to_vec());
            fits(&sum, &key, &seed(), &packing, contributors)
        };
        assert!(fits(&keys, 3));
        assert!(!fits(&keys, 4), "more than the roster");
        keys[17] = field::add(keys[17], 1 << 20);
        assert!(!fits(&keys, 3));
    }

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
            assert_eq!(opened.codes, vec![3 * code; packing.codes()]);
            // What was opened stands for the very body it came from.
            let (messages, residuals) = (&opened.messages, &opened.residuals);
            let rebuilt = rebuild(&seed(), &packing, 3, &key, messages, residuals).unwrap();
            assert!(rebuilt.sum == sum && rebuilt.codes == opened.codes);
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
                    let result = open(
                        &BodySum::from_values(values),
                        &key,
                        &seed(),
                        &packing,
                        contributors,
                    );
                    let expected = if passes {
                        None
                    } else {
                        Some(OpenError::Noise { coefficient: 4 })
                    };
                    if let Ok(opened) = &result {
                        assert_eq!(i64::from(opened.residuals[4]), noise);
                        assert_eq!(opened.messages[4], message / lanes.delta);
                    }
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
            let sum = BodySum::from_values(vec![lanes.delta * message]);
            open(&sum, &key, &seed(), &packing, contributors).map(|opened| opened.codes)
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

    /// Every published part is checked as `open` checks it, and bound by the digest.
    #[test]
    fn rebuilding_checks_what_opening_checks() {
        let packing = packing(100, 30, 4);
        let mut rng = seeded_rng([33; 32]);
        let key = OneTimeKey::generate(&mut rng);
        let summed = SummedKey::from_coefficients(key.coefficients().to_vec());
        let mut sum = BodySum::new(packing.coefficients());
        let codes: Vec<u64> = (0..30).collect();
        let body = Encryptor::new(key, &seed(), &packing, &codes, &mut rng);
        sum.add_bytes(&body.unwrap().into_body()).unwrap();
        let opened = open(&sum, &summed, &seed(), &packing, 3).unwrap();
        let again = |messages: &[u64], residuals: &[i16]| {
            rebuild(&seed(), &packing, 3, &summed, messages, residuals).map(|r| r.codes)
        };
        let (messages, residuals) = (&opened.messages, &opened.residuals);
        assert_eq!(again(messages, residuals), Ok(codes));
        let bound = ParamSet::current().noise_bound(3) as i16;
        for (residual, passes) in [(bound, true), (bound + 1, false), (i16::MIN, false)] {
            let mut changed = residuals.clone();
            changed[2] = residual;
            let refused = Err(OpenError::Noise { coefficient: 2 });
            let result = again(messages, &changed);
            assert!(if passes {
                result.is_ok()
            } else {
                result == refused
            });
            assert_ne!(digest(messages, &summed, &changed), opened.digest(&summed));
        }
        for message in [301, u64::MAX] {
            let mut changed = messages.clone();
            changed[1] = message;
            let refused = Err(OpenError::SumTooLarge { coefficient: 1 });
            assert_eq!(again(&changed, residuals), refused);
            assert_ne!(digest(&changed, &summed, residuals), opened.digest(&summed));
        }
        for (messages, residuals) in [(&messages[1..], &residuals[..]), (messages, &[])] {
            let refused = again(messages, residuals);
            assert!(matches!(refused, Err(OpenError::Length { .. })));
        }
        let other = SummedKey::from_coefficients(vec![1; DEGREE]);
        assert_ne!(opened.digest(&other), opened.digest(&summed));
    }

    /// Enough polynomials for several threads, the last one cut.
    #[test]
    fn large_sums_open_like_small_ones() {
        let packing = packing((1 << 40) - 1, 18 * DEGREE + 7, 3);
        let mut rng = seeded_rng([34; 32]);
        let key = OneTimeKey::generate(&mut rng);
        let summed = SummedKey::from_coefficients(key.coefficients().to_vec());
        let codes: Vec<u64> = (0..packing.codes() as u64).map(|i| i << 20).collect();
        let mut sum = BodySum::new(packing.coefficients());
        let encryptor = Encryptor::new(key, &seed(), &packing, &codes, &mut rng).unwrap();
        sum.add_bytes(&encryptor.into_body()).unwrap();
        let opened = open(&sum, &summed, &seed(), &packing, 1).unwrap();
        assert!(opened.codes == codes);
        let (messages, residuals) = (&opened.messages, &opened.residuals);
        let rebuilt = rebuild(&seed(), &packing, 1, &summed, messages, residuals).unwrap();
        assert!(rebuilt.sum == sum);
    }
}
