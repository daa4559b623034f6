//! Opening a sum: on all cores, if it is large.

use crate::body::BodySum;
use crate::encode::Packing;
use crate::error::OpenError;
use crate::field;
use crate::glwe::SummedKey;
use crate::glwe::decode::Decoder;
use crate::mask::MaskSeed;
use crate::ntt::Transformed;
use crate::params::DEGREE;
use crate::transcript::{Digest, Hasher, domain};

/// Polynomials from which on opening is spread over threads: below that, starting them takes
/// longer than they save.
const PARALLEL_POLYNOMIALS: usize = 16;

/// A sum that opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The summed codes, in the order of the shape.
    pub codes: Vec<u64>,
    /// The phase of every coefficient, Δ·Σm + Σe below q: codes and noise in one number each, out
    /// of which both can be taken in one way only while the noise is in bound.
    pub phases: Vec<u64>,
}

impl Opened {
    /// H(phases ‖ key), under [`domain::OPENED`]: what a coordinator commits to before the
    /// challenge of the linear hash is known. Both are one part: 8-byte little-endian words.
    #[must_use]
    pub fn digest(&self, key: &SummedKey) -> Digest {
        digest(&self.phases, key)
    }
}

/// [`Opened::digest`] of published parts.
#[must_use]
pub fn digest(phases: &[u64], key: &SummedKey) -> Digest {
    let mut hasher = Hasher::new(domain::OPENED);
    hasher.words(phases).words(key.coefficients());
    hasher.finish()
}

/// Opens a sum: the summed codes, and the phase of every coefficient.
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
    check_plan(packing, contributors, sum.coefficients())?;
    let mut phases = sum.values().to_vec();
    let mut codes = vec![0; packing.codes()];
    let key = Transformed::new(key.coefficients());
    // Each thread takes some polynomials of phases and the codes that lie in them.
    let mut parts = Vec::new();
    let (mut places, mut left) = (Decoder::new(packing, contributors), codes.as_mut_slice());
    for (part, phases) in phases.chunks_mut(share_of(packing) * DEGREE).enumerate() {
        let (own, after) = left.split_at_mut(places.skip(phases.len()));
        left = after;
        parts.push((part * share_of(packing), phases, own));
    }
    let work = |(first, phases, codes): (usize, &mut [u64], &mut [u64])| {
        subtract_products(first, phases, &key, seed);
        let mut decoder = Decoder::new(packing, contributors);
        decoder.skip(first * DEGREE);
        let mut places = codes.iter_mut();
        decoder.take(phases, |code| {
            if let Some(place) = places.next() {
                *place = code;
            }
        })
    };
    in_parallel(parts, work)?;
    Ok(Opened { codes, phases })
}

/// The summed codes in published phases, after every check of [`open`].
///
/// # Errors
/// [`OpenError`].
pub fn codes(
    packing: &Packing,
    contributors: usize,
    phases: &[u64],
) -> Result<Vec<u64>, OpenError> {
    check_plan(packing, contributors, phases.len())?;
    let mut codes = Vec::with_capacity(packing.codes());
    Decoder::new(packing, contributors).take(phases, |code| codes.push(code))?;
    Ok(codes)
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
    if check_plan(packing, contributors, sum.coefficients()).is_err() {
        return false;
    }
    let mut phases: Vec<_> = sum.values().iter().take(DEGREE).copied().collect();
    subtract_products(0, &mut phases, &Transformed::new(key.coefficients()), seed);
    Decoder::new(packing, contributors)
        .take(&phases, |_| ())
        .is_ok()
}

/// How many polynomials each thread takes.
fn share_of(packing: &Packing) -> usize {
    let polynomials = packing.polynomials().max(1);
    if polynomials < PARALLEL_POLYNOMIALS {
        return polynomials;
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    polynomials.div_ceil(cores)
}

/// Works on parts, each on a thread of its own if there is more than one; the first part's error
/// counts.
fn in_parallel<P: Send, E: Send>(
    parts: Vec<P>,
    work: impl Fn(P) -> Result<(), E> + Sync,
) -> Result<(), E> {
    if parts.len() < 2 {
        return parts.into_iter().try_for_each(work);
    }
    let work = &work;
    let results: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = parts
            .into_iter()
            .map(|part| scope.spawn(move || work(part)))
            .collect();
        threads
            .into_iter()
            .map(|thread| match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect()
    });
    results.into_iter().collect()
}

/// Checks that vectors have the plan's length and U a possible size.
pub(super) fn check_plan(
    packing: &Packing,
    contributors: usize,
    found: usize,
) -> Result<(), OpenError> {
    let expected = packing.coefficients();
    if found != expected {
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

/// Takes a_j·S off the values of polynomials from number `first` on.
fn subtract_products(first: usize, values: &mut [u64], key: &Transformed, seed: &MaskSeed) {
    let mut product = vec![0; DEGREE];
    for (index, chunk) in (first..).zip(values.chunks_mut(DEGREE)) {
        seed.expand(index as u64, &mut product);
        key.multiply_values(&mut product);
        for (value, &product) in chunk.iter_mut().zip(&product) {
            *value = field::sub(*value, product);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Encryptor;
    use crate::encode::{self, Shape};
    use crate::glwe::OneTimeKey;
    use crate::glwe::rebuilt_hash;
    use crate::linear::{Challenge, LinearHash};
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

    fn challenge() -> Challenge {
        Challenge::derive(&hash(crate::domain::COHORT, &[b"glwe tests"]))
    }

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
            assert_eq!(opened.codes, vec![3 * code; packing.codes()]);
            // What was opened stands for the very body it came from.
            let read = codes(&packing, 3, &opened.phases);
            assert_eq!(read.as_ref(), Ok(&opened.codes));
            let rebuilt = rebuilt_hash(challenge(), &seed(), &packing, 3, &key, &opened.phases);
            assert_eq!(rebuilt, Ok(LinearHash::of_sum(challenge(), &sum)));
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
                        &BodySum::from_values(values.clone()),
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
                        // The key is zero here.
                        assert_eq!(opened.phases, values);
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
        let again = |phases: &[u64]| {
            let rebuilt = rebuilt_hash(challenge(), &seed(), &packing, 3, &summed, phases);
            let read = super::codes(&packing, 3, phases);
            assert_eq!(rebuilt.map(drop), read.clone().map(drop));
            read
        };
        assert_eq!(again(&opened.phases), Ok(codes));
        let delta = packing.segments()[0].delta;
        let noise = Err(OpenError::Noise { coefficient: 1 });
        let large = Err(OpenError::SumTooLarge { coefficient: 1 });
        let bound = ParamSet::current().noise_bound(3);
        for (phase, expected) in [
            (delta + bound, None),
            (delta + bound + 1, Some(&noise)),
            (delta - bound - 1, Some(&noise)),
            (301 * delta, Some(&large)),
            // Not below q: another spelling of a small phase would be another commitment.
            (field::Q + 5, Some(&noise)),
            (u64::MAX, Some(&noise)),
        ] {
            let mut changed = opened.phases.clone();
            changed[1] = phase;
            match expected {
                None => assert!(again(&changed).is_ok()),
                Some(refused) => assert_eq!(&again(&changed), refused, "{phase}"),
            }
            assert_ne!(digest(&changed, &summed), opened.digest(&summed));
        }
        for phases in [&opened.phases[1..], &[]] {
            assert!(matches!(again(phases), Err(OpenError::Length { .. })));
        }
        let other = SummedKey::from_coefficients(vec![1; DEGREE]);
        assert_ne!(opened.digest(&other), opened.digest(&summed));
    }

    /// Enough polynomials for several threads, the last one cut, and a segment that ends in the
    /// middle of a thread's part.
    #[test]
    fn large_sums_open_like_small_ones() {
        let one = encode::Segment {
            max: (1 << 40) - 1,
            count: 10 * DEGREE + 11,
        };
        let other = encode::Segment {
            count: 8 * DEGREE - 4,
            ..one
        };
        let shape = Shape(vec![one, other]);
        let packing = Packing::plan(&shape, 3, ParamSet::current()).unwrap();
        let mut rng = seeded_rng([34; 32]);
        let key = OneTimeKey::generate(&mut rng);
        let summed = SummedKey::from_coefficients(key.coefficients().to_vec());
        let codes: Vec<u64> = (0..packing.codes() as u64).map(|i| i << 20).collect();
        let mut sum = BodySum::new(packing.coefficients());
        let encryptor = Encryptor::new(key, &seed(), &packing, &codes, &mut rng).unwrap();
        sum.add_bytes(&encryptor.into_body()).unwrap();
        let opened = open(&sum, &summed, &seed(), &packing, 1).unwrap();
        assert!(opened.codes == codes);
        let rebuilt = rebuilt_hash(challenge(), &seed(), &packing, 1, &summed, &opened.phases);
        assert_eq!(rebuilt, Ok(LinearHash::of_sum(challenge(), &sum)));
    }
}
