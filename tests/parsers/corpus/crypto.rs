//! Inputs of the targets in `fuzz/src/crypto.rs`, which say what stands where.

use collegium_crypto::field::Q;
use collegium_crypto::identity::{Signature, SigningIdentity};
use collegium_crypto::randomness::seeded_rng;
use collegium_crypto::seal::SealingSecret;
use collegium_crypto::shamir::SHARE_BYTES;
use collegium_crypto::{Segment, Shape, hash};
use collegium_protocol::codec;

use super::{Inputs, numbered};

fn words(values: impl IntoIterator<Item = u64>) -> Vec<u8> {
    values.into_iter().flat_map(u64::to_le_bytes).collect()
}

pub fn inputs() -> Vec<(&'static str, Inputs)> {
    vec![
        ("body", bodies()),
        ("keys", keys()),
        ("sealed", sealed()),
        ("shape", shapes()),
        ("shares", shares()),
        ("summed", summed()),
    ]
}

fn bodies() -> Inputs {
    let body = |count: u16, cut: u8, values: &[u64]| {
        let [low, high] = count.to_le_bytes();
        [vec![low, high, cut], words(values.iter().copied())].concat()
    };
    numbered([
        body(3, 2, &[0, 1, Q - 1]),
        body(2, 7, &[Q, 5]),
        body(0, 0, &[]),
        body(u16::MAX, 0, &[1]),
    ])
}

fn keys() -> Inputs {
    let mut rng = seeded_rng([1; 32]);
    let identity = SigningIdentity::generate(&mut rng).public();
    let sealing = SealingSecret::generate(&mut rng).public().clone();
    let digest = hash("corpus", &[]);
    numbered([
        identity.to_bytes().to_vec(),
        identity.to_string().into_bytes(),
        sealing.as_bytes().to_vec(),
        sealing.to_string().into_bytes(),
        Signature::from_bytes([9; 64]).to_string().into_bytes(),
        digest.to_string().into_bytes(),
    ])
}

fn sealed() -> Inputs {
    let mut rng = seeded_rng([7; 32]);
    let secret = SealingSecret::generate(&mut rng);
    let sealed = secret.public().seal(b"info", b"other", b"share", &mut rng);
    numbered([sealed.expect("sealed"), vec![0; 1200]])
}

fn shapes() -> Inputs {
    let shape = |roster: u8, segments: &[(u64, usize)]| {
        let segment = |&(max, count): &(u64, usize)| Segment { max, count };
        let shape = Shape(segments.iter().map(segment).collect());
        [vec![roster], codec::encode(&shape).expect("encoded")].concat()
    };
    numbered([
        shape(4, &[(1000, 4), (1, 3)]),
        shape(64, &[(65_535, 1 << 20)]),
        shape(4, &[(u64::MAX, usize::MAX), (0, 0)]),
        shape(0, &[]),
    ])
}

fn shares() -> Inputs {
    let at = |point: u16, value: u64| {
        let share = words([value].into_iter().cycle().take(SHARE_BYTES / 8));
        [point.to_le_bytes().to_vec(), share].concat()
    };
    numbered([at(1, Q - 1), at(64, Q), at(0, 1)])
}

fn summed() -> Inputs {
    let contents = [vec![3], words([5, 70_000]), vec![0, 9]].concat();
    let key = words([1].into_iter().cycle().take(SHARE_BYTES / 8));
    numbered([[contents, key].concat(), vec![1, 2, 3]])
}
