//! open(Σ encrypt(m_i)) = Σ m_i, and nothing that was tampered with opens.

use crate::consortium::{Dealing, add, mask_seed, plan, release};
use collegium_crypto::error::OpenError;
use collegium_crypto::rand_core::{Rng, SeedableRng};
use collegium_crypto::{BodySum, Packing, Thresholds, field, open, os_rng, shamir};

/// Runs a whole step and returns the opened sum beside the expected one.
fn step(
    packing: &Packing,
    answers: &[Vec<u64>],
    committee: usize,
    threshold: usize,
    rng: &mut chacha20::ChaCha20Rng,
) -> (Vec<u64>, Vec<u64>) {
    let seed = mask_seed("property");
    let dealings: Vec<_> = answers
        .iter()
        .map(|codes| Dealing::new(packing, &seed, codes, committee, threshold, rng))
        .collect();
    // Releases come from any members, in any order.
    let mut points: Vec<u16> = (1..=committee as u16).collect();
    points.rotate_left(rng.next_u32() as usize % committee);
    let releases: Vec<_> = points
        .iter()
        .take(threshold)
        .map(|&point| release(&dealings, point))
        .collect();
    let key = shamir::interpolate(&releases, threshold).unwrap();
    let opened = open(
        &add(packing, &dealings),
        &key,
        &seed,
        packing,
        dealings.len(),
    )
    .unwrap();
    let expected = (0..packing.codes())
        .map(|place| answers.iter().map(|codes| codes[place]).sum())
        .collect();
    (opened.codes, expected)
}

fn below(rng: &mut impl Rng, limit: u64) -> u64 {
    rng.next_u64() % limit
}

#[test]
fn opened_sums_are_the_sums_of_random_answers() {
    let seed = os_rng().unwrap().next_u64();
    println!("seed {seed}");
    let mut rng = chacha20::ChaCha20Rng::seed_from_u64(seed);
    for round in 0..40 {
        let members = 3 + below(&mut rng, if round % 10 == 0 { 20 } else { 8 }) as usize;
        let thresholds = Thresholds::for_members(members).unwrap();
        let fewest = thresholds.min_contributors;
        let contributors = fewest + below(&mut rng, (members - fewest + 1) as u64) as usize;
        let segments: Vec<(u64, usize)> = (0..below(&mut rng, 6))
            .map(|_| {
                let bits = 1 + below(&mut rng, 47);
                (below(&mut rng, 1 << bits), below(&mut rng, 3000) as usize)
            })
            .collect();
        let packing = plan(&segments, members);
        let answers: Vec<Vec<u64>> = (0..contributors)
            .map(|_| {
                segments
                    .iter()
                    .flat_map(|&(max, count)| vec![max; count])
                    .map(|max| below(&mut rng, max + 1))
                    .collect()
            })
            .collect();
        let (opened, expected) = step(&packing, &answers, members, thresholds.threshold, &mut rng);
        assert!(
            opened == expected,
            "round {round}: {members} members, segments {segments:?}"
        );
    }
}

#[test]
fn opened_sums_are_right_at_the_extremes() {
    let mut rng = chacha20::ChaCha20Rng::seed_from_u64(1);
    // 3 lanes, 2 lanes, 1 lane, many lanes, and a segment that can only be zero.
    let segments = [
        (65_535, 12_290),
        ((1 << 24) - 1, 3),
        ((1 << 47) - 1, 5),
        (1, 500),
        (0, 4),
    ];
    let packing = plan(&segments, 4);
    let highest: Vec<u64> = segments
        .iter()
        .flat_map(|&(max, count)| vec![max; count])
        .collect();
    let zero = vec![0; highest.len()];
    for answers in [
        vec![zero.clone(); 4],
        vec![highest.clone(); 4],
        vec![highest.clone(), zero.clone(), highest.clone()],
    ] {
        let (opened, expected) = step(&packing, &answers, 4, 3, &mut rng);
        assert!(opened == expected);
    }
}

#[test]
fn an_empty_answer_opens_to_nothing() {
    let mut rng = chacha20::ChaCha20Rng::seed_from_u64(2);
    let (opened, _) = step(&plan(&[], 3), &[vec![], vec![], vec![]], 3, 3, &mut rng);
    assert!(opened.is_empty());
}

/// Whatever is changed on the way, the noise check finds it and nothing is shown.
#[test]
fn tampered_steps_do_not_open() {
    let mut rng = chacha20::ChaCha20Rng::seed_from_u64(3);
    let seed = mask_seed("tampering");
    // 3 lanes, Δ = 1024 and E(4) = 133: a change of 512 lies midway between two messages.
    let packing = plan(&[(65_535, 3 * 5000)], 4);
    assert_eq!(packing.segments()[0].delta, 1024);
    let codes: Vec<u64> = (0..15_000).map(|_| below(&mut rng, 65_536)).collect();
    let dealings: Vec<_> = (0..4)
        .map(|_| Dealing::new(&packing, &seed, &codes, 4, 3, &mut rng))
        .collect();
    let releases: Vec<_> = (1..=3).map(|point| release(&dealings, point)).collect();
    let key = shamir::interpolate(&releases, 3).unwrap();
    let honest = add(&packing, &dealings);
    assert!(open(&honest, &key, &seed, &packing, 4).is_ok());

    // One coefficient of a body: any in any polynomial, the last one too.
    for place in [0, 4095, 4096, 4999] {
        let mut body = vec![0u8; packing.body_len()];
        body[8 * place..8 * place + 8].copy_from_slice(&512u64.to_le_bytes());
        let mut sum = honest.clone();
        sum.add_bytes(&body).unwrap();
        assert_eq!(
            open(&sum, &key, &seed, &packing, 4),
            Err(OpenError::Noise { coefficient: place })
        );
    }
    let fails = |sum: &BodySum, key, seed, contributors| {
        assert!(matches!(
            open(sum, key, seed, &packing, contributors),
            Err(OpenError::Noise { .. })
        ));
    };
    // A body too few, a body too many, another step's mask, a key share too few or wrong.
    fails(&add(&packing, &dealings[1..]), &key, &seed, 4);
    let mut doubled = honest.clone();
    doubled.add_bytes(&dealings[0].body).unwrap();
    fails(&doubled, &key, &seed, 4);
    let another_step = mask_seed("another step");
    fails(&honest, &key, &another_step, 4);
    let partly: Vec<_> = (1..=3)
        .map(|point| release(&dealings[1..], point))
        .collect();
    let partial_key = shamir::interpolate(&partly, 3).unwrap();
    fails(&honest, &partial_key, &seed, 4);
    let point = releases[0].point();
    let mut bytes = releases[0].to_bytes();
    let word = u64::from_le_bytes(bytes[80..88].try_into().unwrap());
    bytes[80..88].copy_from_slice(&field::add(word, 1).to_le_bytes());
    let wrong = shamir::ShareSum::from_bytes(point, &bytes).unwrap();
    let releases = [wrong, releases[1].clone(), releases[2].clone()];
    let wrong_key = shamir::interpolate(&releases, 3).unwrap();
    fails(&honest, &wrong_key, &seed, 4);
}

/// Two encryptions of one answer have nothing in common, and a body alone looks uniform.
#[test]
fn bodies_look_uniform() {
    let mut rng = chacha20::ChaCha20Rng::seed_from_u64(4);
    let seed = mask_seed("uniform");
    let packing = plan(&[(65_535, 3 * 16_384)], 4);
    let codes = vec![0; packing.codes()];
    let one = Dealing::new(&packing, &seed, &codes, 4, 3, &mut rng);
    let two = Dealing::new(&packing, &seed, &codes, 4, 3, &mut rng);
    let (one, two) = (
        crate::consortium::words(&one.body),
        crate::consortium::words(&two.body),
    );
    assert!(one.iter().zip(&two).filter(|(a, b)| a == b).count() == 0);
    // Chi-square over 256 bins of 64: mean 255, standard deviation 22.6; six of them.
    let mut bins = [0f64; 256];
    for value in &one {
        bins[(value >> 56) as usize] += 1.0;
    }
    let chi_square: f64 = bins.iter().map(|seen| (seen - 64.0).powi(2) / 64.0).sum();
    assert!((120.0..391.0).contains(&chi_square), "{chi_square}");
}
