//! The mixing attack: why members vote before they release.
//!
//! A committee member's release is honest: the sum of the shares of the set U it was shown. If a
//! coordinator may show *different* sets to different members, then no release is wrong, and yet
//! the right linear combination of them is a combination of keys with unequal weights: the parts
//! of higher degree cancel for every dealer, the keys do not. Colluding members help it, as they
//! hold every dealer's share by itself.
//!
//! These are negative controls. They skip the vote (and the minimum size of U) and **do** recover
//! plaintexts; `collegium-protocol` and the end-to-end tests show that members who vote first
//! release nothing to such a coordinator. The same solver finds nothing but the plain sum when
//! every member answers for one and the same U.

use crate::consortium::{Dealing, add, mask_seed, plan, release, words};
use collegium_crypto::field;
use collegium_crypto::ntt::Transformed;
use collegium_crypto::params::DEGREE;
use collegium_crypto::rand_core::SeedableRng;
use collegium_crypto::{MaskSeed, Packing, Thresholds, open, shamir};

/// What a scripted coordinator holds: the sets it shows to honest members, and its accomplices.
struct Script {
    /// Honest members and the dealers (numbers from 0) each is shown.
    shown: Vec<(u16, Vec<usize>)>,
    /// Members that give away each dealer's share by itself.
    colluding: Vec<u16>,
    dealers: usize,
    threshold: usize,
}

/// How to combine what was obtained.
struct Combination {
    /// One factor per honest release, in the order of `Script::shown`.
    releases: Vec<u64>,
    /// One factor per colluding member and dealer: `shares[dealer][member]`.
    shares: Vec<Vec<u64>>,
}

impl Script {
    /// Finds factors under which dealer j's key gets `weights[j]` and all higher powers vanish:
    /// for each dealer, Σ factor · p^d over the points p where its share is in, is its weight for
    /// d = 0 and zero for 0 < d < t.
    fn solve(&self, weights: &[u64]) -> Option<Combination> {
        let honest = self.shown.len();
        let unknowns = honest + self.dealers * self.colluding.len();
        let mut rows = Vec::new();
        for (dealer, &weight) in weights.iter().enumerate() {
            for degree in 0..self.threshold as u64 {
                let mut row = vec![0; unknowns + 1];
                for (cell, (point, cohort)) in row.iter_mut().zip(&self.shown) {
                    if cohort.contains(&dealer) {
                        *cell = field::pow(u64::from(*point), degree);
                    }
                }
                for (member, point) in self.colluding.iter().enumerate() {
                    let place = honest + dealer * self.colluding.len() + member;
                    row[place] = field::pow(u64::from(*point), degree);
                }
                row[unknowns] = if degree == 0 { weight } else { 0 };
                rows.push(row);
            }
        }
        let solution = eliminate(rows, unknowns)?;
        let shares = (0..self.dealers)
            .map(|dealer| {
                let start = honest + dealer * self.colluding.len();
                solution[start..start + self.colluding.len()].to_vec()
            })
            .collect();
        Some(Combination {
            releases: solution[..honest].to_vec(),
            shares,
        })
    }

    /// Collects honest releases and accomplices' shares, and combines them: Σ weight_j · s_j.
    fn combine(&self, combination: &Combination, dealings: &[Dealing]) -> Vec<u64> {
        let mut key = vec![0; DEGREE];
        let mut add_multiple = |factor: u64, bytes: &[u8]| {
            for (total, value) in key.iter_mut().zip(words(bytes)) {
                *total = field::add(*total, field::mul(factor, value));
            }
        };
        for ((point, cohort), &factor) in self.shown.iter().zip(&combination.releases) {
            let released = release(cohort.iter().map(|&dealer| &dealings[dealer]), *point);
            add_multiple(factor, &released.to_bytes());
        }
        for (dealing, factors) in dealings.iter().zip(&combination.shares) {
            for (point, &factor) in self.colluding.iter().zip(factors) {
                add_multiple(factor, &dealing.shares[usize::from(*point) - 1].to_bytes());
            }
        }
        key
    }
}

/// Gauss-Jordan elimination over the field: one solution, or none. The last column is the right
/// side.
fn eliminate(mut rows: Vec<Vec<u64>>, unknowns: usize) -> Option<Vec<u64>> {
    let mut pivots = Vec::new();
    for column in 0..unknowns {
        let done = pivots.len();
        let Some(found) = (done..rows.len()).find(|&row| rows[row][column] != 0) else {
            continue;
        };
        rows.swap(done, found);
        let scale = field::invert(rows[done][column]);
        for cell in &mut rows[done] {
            *cell = field::mul(*cell, scale);
        }
        let pivot = rows[done].clone();
        for (index, row) in rows.iter_mut().enumerate() {
            let factor = row[column];
            if index != done && factor != 0 {
                for (cell, &value) in row.iter_mut().zip(&pivot) {
                    *cell = field::sub(*cell, field::mul(factor, value));
                }
            }
        }
        pivots.push(column);
    }
    if rows[pivots.len()..].iter().any(|row| row[unknowns] != 0) {
        return None;
    }
    let mut solution = vec![0; unknowns];
    for (row, column) in rows.iter().zip(pivots) {
        solution[column] = row[unknowns];
    }
    Some(solution)
}

/// Decrypts Σ weight_j · c_j under a combination of keys: the combined messages, rounded to Δ.
fn decrypt(
    packing: &Packing,
    seed: &MaskSeed,
    key: &[u64],
    dealings: &[Dealing],
    weights: &[u64],
) -> Vec<i64> {
    let delta = packing.segments()[0].delta;
    let mut product = vec![0; DEGREE];
    seed.expand(0, &mut product);
    Transformed::new(key).multiply_values(&mut product);
    (0..packing.coefficients())
        .map(|place| {
            let combined = dealings
                .iter()
                .zip(weights)
                .fold(0, |sum, (dealing, &weight)| {
                    field::add(sum, field::mul(weight, words(&dealing.body)[place]))
                });
            let noisy = field::to_signed(field::sub(combined, product[place]));
            let delta = delta as i64;
            (noisy + noisy.signum() * delta / 2) / delta
        })
        .collect()
}

/// Two dealers' answers, one code to a coefficient so that combinations are easy to read.
fn dealt(committee: usize, threshold: usize) -> (Packing, MaskSeed, [Vec<u64>; 2], Vec<Dealing>) {
    let mut rng = chacha20::ChaCha20Rng::seed_from_u64(committee as u64);
    let seed = mask_seed("mixing");
    let packing = plan(&[(1 << 40, 8)], committee);
    let answers = [
        (0..8)
            .map(|i| 123_456_789 + 1_000_003 * i)
            .collect::<Vec<u64>>(),
        (0..8).map(|i| (37 * i) % 351).collect(),
    ];
    let dealings = answers
        .iter()
        .map(|codes| Dealing::new(&packing, &seed, codes, committee, threshold, &mut rng))
        .collect();
    (packing, seed, answers, dealings)
}

fn minus(value: u64) -> u64 {
    field::neg(value)
}

/// k = 3 with t = 2 (below the compiled threshold): three honest answers give 3·s_i − s_j.
#[test]
fn three_members_without_a_vote_give_away_a_difference() {
    let (packing, seed, [first, second], dealings) = dealt(3, 2);
    let script = Script {
        shown: vec![(1, vec![0]), (2, vec![0, 1]), (3, vec![1])],
        colluding: vec![],
        dealers: 2,
        threshold: 2,
    };
    let weights = [3, minus(1)];
    let combination = script
        .solve(&weights)
        .expect("the design's combination exists");
    let key = script.combine(&combination, &dealings);

    // It is the combination of the very keys …
    let (one, two) = (dealings[0].key(2), dealings[1].key(2));
    for ((&mixed, &one), &two) in key.iter().zip(one.coefficients()).zip(two.coefficients()) {
        assert_eq!(mixed, field::sub(field::mul(3, one), two));
    }
    // … and it opens the same combination of the plaintexts, which is not their sum.
    let opened = decrypt(&packing, &seed, &key, &dealings, &weights);
    for ((&mixed, &one), &two) in opened.iter().zip(&first).zip(&second) {
        assert_eq!(mixed, 3 * one as i64 - two as i64);
    }
}

/// k = 7 with t = 5, the compiled threshold, and f = 2 colluding members: weights 351 to 1. The
/// second answer's codes are below 351, so one combination tells *both* answers in full.
#[test]
fn seven_members_without_a_vote_give_away_both_answers() {
    let thresholds = Thresholds::for_members(7).unwrap();
    assert_eq!((thresholds.threshold, thresholds.max_colluding), (5, 2));
    let (packing, seed, [first, second], dealings) = dealt(7, thresholds.threshold);
    let script = Script {
        shown: vec![
            (1, vec![0]),
            (2, vec![0]),
            (5, vec![0, 1]),
            (6, vec![1]),
            (7, vec![0, 1]),
        ],
        colluding: vec![3, 4],
        dealers: 2,
        threshold: thresholds.threshold,
    };
    let weights = [351, 1];
    let combination = script
        .solve(&weights)
        .expect("weights of 351 to 1 are reached");
    let key = script.combine(&combination, &dealings);
    let opened = decrypt(&packing, &seed, &key, &dealings, &weights);
    let read: Vec<(u64, u64)> = opened
        .iter()
        .map(|&mixed| (mixed as u64 / 351, mixed as u64 % 351))
        .collect();
    assert_eq!(read, first.into_iter().zip(second).collect::<Vec<_>>());
}

/// The compiled thresholds alone do not help: with n = 4, t = 3, f = 1 the attack works as well.
#[test]
fn compiled_thresholds_do_not_replace_the_vote() {
    let thresholds = Thresholds::for_members(4).unwrap();
    let (packing, seed, [first, second], dealings) = dealt(4, thresholds.threshold);
    let script = Script {
        shown: vec![(2, vec![0]), (3, vec![1]), (4, vec![0, 1])],
        colluding: vec![1],
        dealers: 2,
        threshold: thresholds.threshold,
    };
    let weights = [3, 1];
    let combination = script
        .solve(&weights)
        .expect("weights of 3 to 1 are reached");
    let key = script.combine(&combination, &dealings);
    let opened = decrypt(&packing, &seed, &key, &dealings, &weights);
    for ((&mixed, &one), &two) in opened.iter().zip(&first).zip(&second) {
        assert_eq!(mixed, 3 * one as i64 + two as i64);
    }
}

/// Where every member answers for one and the same U, the same solver finds the sum and no other
/// weights, colluding members or not; and the sum opens as it should.
#[test]
fn one_set_for_everybody_gives_only_the_sum() {
    for (committee, threshold, colluding) in [
        (3, 2, vec![]),
        (3, 3, vec![]),
        (4, 3, vec![1]),
        (7, 5, vec![3, 4]),
        (7, 5, vec![]),
    ] {
        let (packing, seed, [first, second], dealings) = dealt(committee, threshold);
        let honest = (1..=committee as u16).filter(|point| !colluding.contains(point));
        let script = Script {
            shown: honest.map(|point| (point, vec![0, 1])).collect(),
            colluding,
            dealers: 2,
            threshold,
        };
        for weights in [
            [1, 0],
            [0, 1],
            [1, minus(1)],
            [3, minus(1)],
            [351, 1],
            [2, 3],
        ] {
            assert!(
                script.solve(&weights).is_none(),
                "{weights:?} of {committee} members"
            );
        }
        let combination = script.solve(&[1, 1]).expect("the sum can be opened");
        let mixed = script.combine(&combination, &dealings);
        let releases: Vec<_> = (1..=threshold as u16)
            .map(|point| release(&dealings, point))
            .collect();
        let key = shamir::interpolate(&releases, threshold).unwrap();
        assert!(key.coefficients() == mixed);
        let opened = open(&add(&packing, &dealings), &key, &seed, &packing, 2).unwrap();
        let expected: Vec<u64> = first.iter().zip(&second).map(|(a, b)| a + b).collect();
        assert_eq!(opened.codes, expected);
    }
}

/// With three members, t = 3 and nobody colluding, no assignment of sets helps: unequal weights
/// would need two dealers' equations, 2·(t − 1) = 4, to be met by three answers.
#[test]
fn three_members_at_the_compiled_threshold_resist_even_without_a_vote() {
    let sets = [vec![], vec![0], vec![1], vec![0, 1]];
    for choice in 0..64usize {
        let shown = (0..3)
            .map(|i| (i as u16 + 1, sets[(choice >> (2 * i)) & 3].clone()))
            .collect();
        let script = Script {
            shown,
            colluding: vec![],
            dealers: 2,
            threshold: 3,
        };
        for weights in [
            [3, minus(1)],
            [1, minus(1)],
            [2, 1],
            [1, 351],
            [minus(3), 4],
        ] {
            assert!(script.solve(&weights).is_none(), "{choice}: {weights:?}");
        }
    }
}
