//! Dealers and a committee without a network: what members would do in a step.

use collegium_crypto::glwe::KeyWitness;
use collegium_crypto::rand_core::CryptoRng;
use collegium_crypto::shamir::{self, DealtShare, KeyShare, SharePoint, ShareSum};
use collegium_crypto::{
    BodySum, Encryptor, MaskSeed, OneTimeKey, Packing, ParamSet, Segment, Shape, SummedKey, domain,
    hash,
};

/// What one dealer uploads: a body, and a share for each committee member.
pub struct Dealing {
    pub body: Vec<u8>,
    pub shares: Vec<KeyShare>,
    pub witness: KeyWitness,
}

impl Dealing {
    /// Encrypts `codes` under a fresh key and shares the key.
    pub fn new(
        packing: &Packing,
        seed: &MaskSeed,
        codes: &[u64],
        committee: usize,
        threshold: usize,
        rng: &mut impl CryptoRng,
    ) -> Self {
        let key = OneTimeKey::generate(rng);
        let shares = deal(&key, committee, threshold, 0, rng);
        let witness = key.witness();
        let body = Encryptor::new(key, seed, packing, codes, rng)
            .unwrap()
            .into_body();
        Self {
            body,
            shares,
            witness,
        }
    }

    /// The dealer's own key, put together again from its shares.
    pub fn key(&self, threshold: usize) -> SummedKey {
        let sums: Vec<_> = (1..=threshold as u16)
            .map(|point| release([self], point))
            .collect();
        shamir::interpolate(&sums, threshold).unwrap()
    }
}

/// The shares that the seats of a committee hold once they have opened what was dealt to them.
pub fn deal(
    key: &OneTimeKey,
    committee: usize,
    threshold: usize,
    first: usize,
    rng: &mut impl CryptoRng,
) -> Vec<KeyShare> {
    let dealt = shamir::deal(key, committee, threshold, first, rng).unwrap();
    let seats = (1..).map(|seat| SharePoint::new(seat).unwrap());
    seats
        .zip(&dealt)
        .map(|(seat, share)| {
            let seeded = shamir::is_seeded(seat, committee, threshold, first);
            DealtShare::from_bytes(seat, seeded, &share.to_bytes()).unwrap()
        })
        .collect()
}

/// What an honest committee member releases for the cohort it was shown.
pub fn release<'a>(cohort: impl IntoIterator<Item = &'a Dealing>, point: u16) -> ShareSum {
    let point = SharePoint::new(point).unwrap();
    let mut sum = ShareSum::new(point);
    for dealing in cohort {
        sum.add(&dealing.shares[usize::from(point.get()) - 1])
            .unwrap();
    }
    sum
}

/// What the coordinator adds up.
pub fn add<'a>(packing: &Packing, cohort: impl IntoIterator<Item = &'a Dealing>) -> BodySum {
    let mut sum = BodySum::new(packing.coefficients());
    for dealing in cohort {
        sum.add_bytes(&dealing.body).unwrap();
    }
    sum
}

pub fn plan(segments: &[(u64, usize)], roster: usize) -> Packing {
    let segments = segments
        .iter()
        .map(|&(max, count)| Segment { max, count })
        .collect();
    Packing::plan(&Shape(segments), roster, ParamSet::current()).unwrap()
}

pub fn mask_seed(name: &str) -> MaskSeed {
    MaskSeed(hash(domain::MASK, &[name.as_bytes()]))
}

/// The words of a body or of a released share.
pub fn words(bytes: &[u8]) -> Vec<u64> {
    bytes
        .as_chunks::<8>()
        .0
        .iter()
        .map(|word| u64::from_le_bytes(*word))
        .collect()
}
