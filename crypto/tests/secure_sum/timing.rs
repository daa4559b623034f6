//! Does secret-dependent code take the same time whatever the secret? A statistical check after
//! `dudect` (Reparaz, Balasch, Verbauwhede: Dude, is my code constant time?, 2017).
//!
//! Each routine is timed on two classes of inputs, one fixed (zeros, or one key) and one random, in
//! random order. Welch's t-test then says whether the two means differ, on all measurements and on
//! those below several percentiles, since interruptions hide in the slow tail.
//!
//! Run it by itself on a quiet machine with fixed clock speed if you can, and as it is shipped:
//!
//! ```text
//! cargo test --release -p collegium-crypto --test secure_sum timing -- --ignored --nocapture --test-threads 1
//! ```
//!
//! How to read it: |t| below 4.5 is no sign of a difference, above [`LIMIT`] there is one. Between
//! the two, run it again: a real difference grows with the square root of the number of measurements,
//! chance does not. A pass is evidence, no proof: it is for this processor, compiler and profile, and for
//! these classes of inputs. The negative control, a comparison that stops at the first difference, must
//! be found out.

use crate::consortium::{mask_seed, plan};
use collegium_crypto::degree::{DegreeChallenge, deal_mask};
use collegium_crypto::ntt::Transformed;
use collegium_crypto::params::DEGREE;
use collegium_crypto::rand_core::{Rng, SeedableRng};
use collegium_crypto::shamir::{self, KeyShare, SHARE_BYTES, SharePoint, ShareSum};
use collegium_crypto::{Encryptor, OneTimeKey, domain, field, hash, noise};
use std::hint::black_box;
use std::time::Instant;

/// From here on two means differ, beyond chance and disturbance. `dudect`'s own limit.
const LIMIT: f64 = 10.0;

/// Inputs prepared at a time, so that preparing them is far from timing them.
const BATCH: usize = 500;

/// Parts of the measurements, from the quickest on, that are looked at separately.
const CROPS: [f64; 5] = [0.25, 0.5, 0.75, 0.9, 1.0];

#[derive(Clone, Copy, PartialEq)]
enum Class {
    Fixed,
    Random,
}

type Random = chacha20::ChaCha20Rng;

type Operation = fn(u64, u64) -> u64;

/// The largest |t| over all crops for `run` on inputs by `prepare`.
fn largest_t<I>(
    name: &str,
    batches: usize,
    mut prepare: impl FnMut(Class, &mut Random) -> I,
    mut run: impl FnMut(&mut I),
) -> f64 {
    let seed = collegium_crypto::os_rng().unwrap().next_u64();
    let mut rng = Random::seed_from_u64(seed);
    let mut times = [Vec::new(), Vec::new()];
    for batch in 0..=batches {
        let mut inputs: Vec<_> = (0..BATCH)
            .map(|_| {
                let coin = rng.next_u32() & 1;
                let class = [Class::Fixed, Class::Random][coin as usize];
                (class, prepare(class, &mut rng))
            })
            .collect();
        for (class, input) in &mut inputs {
            let start = Instant::now();
            run(black_box(input));
            let time = start.elapsed().as_nanos() as f64;
            // The first batch warms caches and branch prediction up.
            if batch > 0 {
                times[*class as usize].push(time);
            }
        }
    }
    let mut all: Vec<f64> = times.concat();
    all.sort_by(f64::total_cmp);
    let t = CROPS
        .map(|crop| {
            let limit = all[((all.len() - 1) as f64 * crop) as usize];
            let [fixed, random] = times.each_ref().map(|times| moments(times, limit));
            welch(fixed, random)
        })
        .into_iter()
        .fold(
            0.0,
            |largest: f64, t| if t.abs() > largest.abs() { t } else { largest },
        );
    println!(
        "{name}: {} measurements, seed {seed}: t = {t:.2}",
        all.len()
    );
    t.abs()
}

/// Number, mean and variance of the times up to a limit.
fn moments(times: &[f64], limit: f64) -> (f64, f64, f64) {
    let kept: Vec<f64> = times
        .iter()
        .copied()
        .filter(|&time| time <= limit)
        .collect();
    let count = kept.len().max(2) as f64;
    let mean = kept.iter().sum::<f64>() / count;
    let squares: f64 = kept.iter().map(|time| (time - mean).powi(2)).sum();
    (count, mean, squares / (count - 1.0))
}

fn welch(one: (f64, f64, f64), other: (f64, f64, f64)) -> f64 {
    let spread = (one.2 / one.0 + other.2 / other.0).sqrt();
    (one.1 - other.1) / spread.max(f64::MIN_POSITIVE)
}

/// 4096 random field elements, or zeros.
fn elements(class: Class, rng: &mut Random) -> Vec<u64> {
    let mut values = vec![0; DEGREE];
    collegium_crypto::randomness::fill_uniform(rng, &mut values);
    if class == Class::Fixed {
        values.fill(0);
    }
    values
}

fn share(class: Class, rng: &mut Random) -> KeyShare {
    let bytes: Vec<u8> = elements(class, rng)
        .iter()
        .flat_map(|value| value.to_le_bytes())
        .collect();
    KeyShare::from_bytes(SharePoint::new(3).unwrap(), &bytes).unwrap()
}

fn key(class: Class, rng: &mut Random) -> OneTimeKey {
    let mut own = match class {
        Class::Fixed => Random::seed_from_u64(1),
        Class::Random => Random::seed_from_u64(rng.next_u64()),
    };
    OneTimeKey::generate(&mut own)
}

/// The negative control: the time of a comparison that stops early tells where.
#[test]
#[ignore = "timing: run it alone on a quiet machine, see the module's comment"]
fn timing_of_a_branching_comparison_is_found_out() {
    let t = largest_t("early exit", 20, elements, |values| {
        let zeros = values.iter().take_while(|&&value| value == 0).count();
        black_box(zeros);
    });
    assert!(t > LIMIT, "the check finds nothing: |t| = {t:.2}");
}

#[test]
#[ignore = "timing: run it alone on a quiet machine, see the module's comment"]
fn timing_of_field_arithmetic_does_not_depend_on_the_elements() {
    let operations: [(&str, Operation); 3] = [
        ("add", field::add),
        ("sub", field::sub),
        ("mul", field::mul),
    ];
    for (name, operation) in operations {
        let factor = 0x1234_5678_9abc_def1;
        let t = largest_t(name, 40, elements, |values| {
            for value in values.iter_mut() {
                *value = operation(*value, factor);
            }
        });
        assert!(t < LIMIT, "{name}: |t| = {t:.2}");
    }
    let factor = Transformed::new(&elements(Class::Random, &mut Random::seed_from_u64(2)));
    let t = largest_t("ring product", 20, elements, |values| {
        factor.multiply_values(values)
    });
    assert!(t < LIMIT, "ring product: |t| = {t:.2}");
}

#[test]
#[ignore = "timing: run it alone on a quiet machine, see the module's comment"]
fn timing_of_noise_does_not_depend_on_the_bits() {
    let mut terms = vec![0i8; 512];
    let bits = |class, rng: &mut Random| {
        let mut bytes = vec![0u8; 512 * noise::BYTES_PER_TERM];
        rng.fill_bytes(&mut bytes);
        if class == Class::Fixed {
            bytes.fill(0);
        }
        bytes
    };
    let t = largest_t("noise", 40, bits, |bytes| {
        noise::from_bytes(bytes, &mut terms);
    });
    assert!(t < LIMIT, "noise: |t| = {t:.2}");
}

#[test]
#[ignore = "timing: run it alone on a quiet machine, see the module's comment"]
fn timing_of_shares_does_not_depend_on_key_or_share() {
    let mut sum = ShareSum::new(SharePoint::new(3).unwrap());
    let t = largest_t("add shares", 40, share, |share| sum.add(share).unwrap());
    assert!(t < LIMIT, "add shares: |t| = {t:.2}");

    let mut masks = deal_mask(4, 3, &mut Random::seed_from_u64(5)).unwrap();
    let mask = masks.remove(2);
    let rho = DegreeChallenge::derive(&hash(domain::SHARES, &[b"timing"]));
    let t = largest_t("degree test", 40, share, |share| {
        black_box(rho.value(&mask, share));
    });
    assert!(t < LIMIT, "degree test: |t| = {t:.2}");

    let t = largest_t("deal", 20, key, |key| {
        let mut rng = Random::seed_from_u64(6);
        black_box(shamir::deal(key, 4, 3, 0, &mut rng).unwrap());
    });
    assert!(t < LIMIT, "deal: |t| = {t:.2}");

    let t = largest_t("read a share", 20, elements, |values| {
        let bytes: &mut Vec<u8> = &mut Vec::with_capacity(SHARE_BYTES);
        values
            .iter()
            .for_each(|value| bytes.extend(value.to_le_bytes()));
        let point = SharePoint::new(1).unwrap();
        black_box(KeyShare::from_bytes(point, bytes).is_ok());
    });
    assert!(t < LIMIT, "read a share: |t| = {t:.2}");
}

#[test]
#[ignore = "timing: run it alone on a quiet machine, see the module's comment"]
fn timing_of_encryption_does_not_depend_on_the_codes() {
    let packing = plan(&[(65_535, 3 * DEGREE)], 4);
    let seed = mask_seed("timing");
    let encryptor = |class, rng: &mut Random| {
        let codes: Vec<u64> = match class {
            Class::Fixed => vec![0; packing.codes()],
            Class::Random => (0..packing.codes())
                .map(|_| rng.next_u64() & 0xffff)
                .collect(),
        };
        let mut own = Random::seed_from_u64(7);
        let key = OneTimeKey::generate(&mut own);
        Encryptor::new(key, &seed, &packing, &codes, &mut own).unwrap()
    };
    let t = largest_t("encrypt", 8, encryptor, |encryptor| {
        black_box(encryptor.part(0));
    });
    assert!(t < LIMIT, "encrypt: |t| = {t:.2}");
}
