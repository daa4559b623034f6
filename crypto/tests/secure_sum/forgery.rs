//! The forgery: why the challenge of the linear hash must follow from the totals.
//!
//! A coordinator that opened a sum honestly publishes other totals. If it knows the challenge r
//! before it has committed to them, two free coefficients of the summed key are enough to make the
//! rebuilt body hash to the sum of the members' signed hashes, with all noise in bound. That
//! is the negative control. With r derived from the commitment the same trick fails, since every
//! try changes r.
//!
//! Hashing bodies alone is not enough, though: a body of at most 4096 coefficients is rebuilt exactly
//! by *any* totals under some summed key. So members hash their keys too, and the summed key is
//! bound by the same challenge.

use crate::consortium::{Dealing, add, mask_seed, plan, release};
use collegium_crypto::glwe::{self, Opened};
use collegium_crypto::ntt::Transformed;
use collegium_crypto::params::DEGREE;
use collegium_crypto::rand_core::SeedableRng;
use collegium_crypto::{
    BodySum, Challenge, Digest, LinearHash, LinearHasher, MaskSeed, Packing, SummedKey, domain,
    field, hash, open, rebuilt_hash, shamir,
};

const MEMBERS: usize = 4;

/// A finished step as the coordinator knows it.
struct Step {
    packing: Packing,
    seed: MaskSeed,
    dealings: Vec<Dealing>,
    key: SummedKey,
    opened: Opened,
}

fn step() -> Step {
    let mut rng = chacha20::ChaCha20Rng::seed_from_u64(77);
    let (packing, seed) = (plan(&[(65_535, 40)], MEMBERS), mask_seed("forgery"));
    let dealings: Vec<_> = (0..MEMBERS as u64)
        .map(|member| {
            let codes: Vec<u64> = (0..40).map(|i| 1000 * member + i).collect();
            Dealing::new(&packing, &seed, &codes, MEMBERS, 3, &mut rng)
        })
        .collect();
    let releases: Vec<_> = (1..=3).map(|point| release(&dealings, point)).collect();
    let key = shamir::interpolate(&releases, 3).unwrap();
    let sum = add(&packing, &dealings);
    let opened = open(&sum, &key, &seed, &packing, MEMBERS).unwrap();
    Step {
        packing,
        seed,
        dealings,
        key,
        opened,
    }
}

impl Step {
    /// What members sign: the sum of the hashes of what they sent.
    fn signed(&self, challenge: Challenge) -> LinearHash {
        let mut total = LinearHash::default();
        for dealing in &self.dealings {
            let mut hasher = LinearHasher::new(challenge);
            hasher.update(&dealing.body);
            total.add(&hasher.finish().unwrap());
        }
        total
    }

    /// The hash of the body that published totals stand for.
    fn claimed(&self, challenge: Challenge, phases: &[u64], key: &SummedKey) -> LinearHash {
        let (seed, packing) = (&self.seed, &self.packing);
        rebuilt_hash(challenge, seed, packing, MEMBERS, key, phases).unwrap()
    }

    /// The phases of totals with the code at this place one larger, the noise as it was.
    fn changed(&self, place: usize) -> Vec<u64> {
        let mut phases = self.opened.phases.clone();
        phases[place] = field::add(phases[place], self.packing.segments()[0].delta);
        phases
    }

    /// Totals with one code changed, and the summed key under which they hash right at `challenge`.
    fn forge(&self, challenge: Challenge) -> (Vec<u64>, SummedKey) {
        let phases = self.changed(7);
        // The signed hash less the claimed one, under the honest key: what the key has to make up.
        let [missing_a, missing_b] = difference(
            self.signed(challenge),
            self.claimed(challenge, &phases, &self.key),
        );
        // The hash is linear in the key: what adding 1 to coefficient 0, and to 1, adds to it.
        let [[a, b], [c, d]] = [0, 1].map(|place| self.effect(challenge, place));
        let determinant = field::sub(field::mul(a, d), field::mul(b, c));
        let scale = field::invert(determinant);
        let solve = |one: u64, two: u64| field::mul(field::sub(one, two), scale);
        let first = solve(field::mul(missing_a, d), field::mul(missing_b, c));
        let second = solve(field::mul(a, missing_b), field::mul(b, missing_a));
        let mut key = self.key.coefficients().to_vec();
        key[0] = field::add(key[0], first);
        key[1] = field::add(key[1], second);
        let bytes: Vec<u8> = key.iter().flat_map(|word| word.to_le_bytes()).collect();
        (phases, SummedKey::from_bytes(&bytes).unwrap())
    }

    /// Totals with one code changed, and a summed key that rebuilds the very body that was sent: as
    /// many coefficients of the key as the body has are solved for.
    fn forge_key(&self) -> (Vec<u64>, SummedKey) {
        let phases = self.changed(7);
        let size = self.packing.coefficients();
        // The phase grew by Δ at place 7, so a_0 times the change of the key must fall by Δ there.
        let delta = self.packing.segments()[0].delta;
        let columns: Vec<_> = (0..size).map(|place| self.column(place)).collect();
        let mut rows: Vec<Vec<u64>> = (0..size)
            .map(|row| {
                let fall = if row == 7 { field::sub(0, delta) } else { 0 };
                let row = columns.iter().map(|column| column[row]);
                row.chain([fall]).collect()
            })
            .collect();
        eliminate(&mut rows);
        let mut key = self.key.coefficients().to_vec();
        for (coefficient, row) in key.iter_mut().zip(&rows) {
            *coefficient = field::add(*coefficient, row[size]);
        }
        let bytes: Vec<u8> = key.iter().flat_map(|word| word.to_le_bytes()).collect();
        (phases, SummedKey::from_bytes(&bytes).unwrap())
    }

    /// a_0 · X^place, cut to the body's length.
    fn column(&self, place: usize) -> Vec<u64> {
        let mut monomial = vec![0; DEGREE];
        monomial[place] = 1;
        let mut product = vec![0; DEGREE];
        self.seed.expand(0, &mut product);
        Transformed::new(&monomial).multiply_values(&mut product);
        product.truncate(self.packing.coefficients());
        product
    }

    /// The hash of a_0 · X^place, cut to the body's length.
    fn effect(&self, challenge: Challenge, place: usize) -> [u64; 2] {
        let product = self.column(place);
        let bytes: Vec<u8> = product.iter().flat_map(|word| word.to_le_bytes()).collect();
        let sum = BodySum::from_bytes(product.len(), &bytes).unwrap();
        parts(LinearHash::of_sum(challenge, &sum))
    }
}

/// Gauss and Jordan over F_q: the solution stands in the last column.
fn eliminate(rows: &mut [Vec<u64>]) {
    for pivot in 0..rows.len() {
        let scale = field::invert(rows[pivot][pivot]);
        let row: Vec<_> = rows[pivot].iter().map(|v| field::mul(*v, scale)).collect();
        for other in rows.iter_mut() {
            let factor = other[pivot];
            for (value, &own) in other.iter_mut().zip(&row) {
                *value = field::sub(*value, field::mul(factor, own));
            }
        }
        rows[pivot] = row;
    }
}

fn parts(hash: LinearHash) -> [u64; 2] {
    let bytes = hash.to_bytes();
    let words = bytes.as_chunks::<8>().0;
    [words[0], words[1]].map(u64::from_le_bytes)
}

fn difference(one: LinearHash, other: LinearHash) -> [u64; 2] {
    let ([a, b], [c, d]) = (parts(one), parts(other));
    [field::sub(a, c), field::sub(b, d)]
}

#[test]
fn honest_totals_hash_to_what_the_members_signed() {
    let step = step();
    let challenge = Challenge::derive(&step.opened.digest(&step.key));
    let claimed = step.claimed(challenge, &step.opened.phases, &step.key);
    assert_eq!(claimed, step.signed(challenge));
}

#[test]
fn a_challenge_known_before_the_totals_is_forged() {
    let step = step();
    // From the manifest alone, say: any digest that does not bind the totals.
    let early: Digest = hash(domain::COHORT, &[b"the manifest"]);
    let challenge = Challenge::derive(&early);
    let (phases, key) = step.forge(challenge);
    assert_ne!(phases, step.opened.phases);
    assert_eq!(
        step.claimed(challenge, &phases, &key),
        step.signed(challenge)
    );
}

#[test]
fn a_challenge_that_follows_from_the_totals_is_not() {
    let step = step();
    // The best the coordinator can do: forge for some challenge, commit, and meet another one.
    let mut challenge = Challenge::derive(&step.opened.digest(&step.key));
    for _ in 0..3 {
        let (phases, key) = step.forge(challenge);
        challenge = Challenge::derive(&glwe::digest(&phases, &key));
        assert_ne!(
            step.claimed(challenge, &phases, &key),
            step.signed(challenge)
        );
    }
    // Nor do false totals pass under the honest key.
    let phases = step.changed(0);
    challenge = Challenge::derive(&glwe::digest(&phases, &step.key));
    let claimed = step.claimed(challenge, &phases, &step.key);
    assert_ne!(claimed, step.signed(challenge));
}

/// The negative control for hashing bodies alone: no challenge helps, for the body is the true one.
#[test]
fn a_freely_chosen_key_passes_every_check_of_the_bodies_and_not_that_of_the_keys() {
    let step = step();
    let (phases, key) = step.forge_key();
    assert_ne!(phases, step.opened.phases);
    let challenge = Challenge::derive(&glwe::digest(&phases, &key));
    let claimed = step.claimed(challenge, &phases, &key);
    assert_eq!(claimed, step.signed(challenge), "the bodies' hashes agree");

    let honest = step.key.linear_hash(challenge);
    let mut signed = LinearHash::default();
    for dealing in step.dealings {
        signed.add(&dealing.witness.linear_hash(challenge));
    }
    assert_eq!(signed, honest);
    assert_ne!(signed, key.linear_hash(challenge), "the keys' hashes tell");
}
