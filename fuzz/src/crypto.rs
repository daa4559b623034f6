//! Bodies, shares, keys and shapes.

use std::sync::OnceLock;

use collegium_crypto::body::{BodyCheck, BodySum};
use collegium_crypto::encode::{Packing, Shape};
use collegium_crypto::glwe::{self, MaskSeed, SummedKey};
use collegium_crypto::identity::{IdentityKey, Signature};
use collegium_crypto::linear::{Challenge, LinearHash, LinearHasher};
use collegium_crypto::params::ParamSet;
use collegium_crypto::randomness::seeded_rng;
use collegium_crypto::seal::{SealingPublic, SealingSecret};
use collegium_crypto::shamir::{KeyShare, SHARE_BYTES, SharePoint, ShareSum};
use collegium_crypto::transcript::Digest;
use collegium_crypto::{Segment, hash};
use collegium_protocol::codec;

/// Splits off the first `N` bytes, with zeros for those that are missing.
fn head<const N: usize>(bytes: &[u8]) -> ([u8; N], &[u8]) {
    let (start, rest) = bytes.split_at(bytes.len().min(N));
    let mut head = [0; N];
    head[..start.len()].copy_from_slice(start);
    (head, rest)
}

/// Two bytes of length, one of where to cut, and a body: checking it in pieces, adding it at once
/// and hashing it agree on whether it is one.
pub fn body(bytes: &[u8]) {
    let ([low, high, cut], body) = head::<3>(bytes);
    let coefficients = usize::from(u16::from_le_bytes([low, high]));
    let mut check = BodyCheck::new(coefficients);
    let pieces = body.chunks(1 + usize::from(cut));
    let checked = pieces.into_iter().try_for_each(|piece| check.push(piece));
    let checked = checked.and_then(|()| check.finish());
    let sum = BodySum::from_bytes(coefficients, body);
    assert_eq!(checked.is_ok(), sum.is_ok());
    let Ok(sum) = sum else { return };
    assert_eq!(sum.to_bytes(), body);
    let challenge = Challenge::derive(&Digest([cut; 32]));
    let mut hasher = LinearHasher::new(challenge);
    for piece in body.chunks(1 + usize::from(cut)) {
        hasher.update(piece);
    }
    let hashed = hasher.finish().expect("the body was checked");
    assert_eq!(hashed, LinearHash::of_sum(challenge, &sum));
}

/// Public keys and signatures, in bytes and in text: one key, one form.
pub fn keys(bytes: &[u8]) {
    if let Ok(key) = SealingPublic::from_bytes(bytes) {
        assert_eq!(key.as_bytes(), bytes);
    }
    let (start, _) = head::<32>(bytes);
    if let Ok(key) = IdentityKey::from_bytes(&start) {
        assert_eq!(key.to_bytes(), start);
        assert_eq!(key.to_string().parse(), Ok(key));
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return;
    };
    // People may write capitals; what is written back has none.
    let plain = text.to_ascii_lowercase();
    if let Ok(key) = text.parse::<SealingPublic>() {
        assert_eq!(key.to_string(), plain);
    }
    if let Ok(key) = text.parse::<IdentityKey>() {
        assert_eq!(key.to_string(), plain);
    }
    if let Ok(signature) = text.parse::<Signature>() {
        assert_eq!(signature.to_string(), plain);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), plain);
    }
}

/// Something that claims to be sealed to us: it is not, whatever it is.
pub fn sealed(bytes: &[u8]) {
    static SECRET: OnceLock<SealingSecret> = OnceLock::new();
    let secret = SECRET.get_or_init(|| SealingSecret::generate(&mut seeded_rng([7; 32])));
    // Sealed to this key under another context, the corpus' seed must not open either.
    assert!(secret.open(b"info", b"aad", bytes).is_err());
}

/// A shape as it stands in a run record: planning is bounded by the caps, whatever the counts say.
pub fn shape(bytes: &[u8]) {
    let ([roster], bytes) = head::<1>(bytes);
    let Ok(shape) = codec::decode::<Shape>(bytes, 1 << 20) else {
        return;
    };
    let Ok(packing) = Packing::plan(&shape, usize::from(roster), ParamSet::current()) else {
        return;
    };
    assert!(packing.coefficients() <= collegium_crypto::encode::MAX_COEFFICIENTS);
    assert_eq!(packing.body_len(), 8 * packing.coefficients());
    assert_eq!(packing.shape().digest(), shape.digest());
}

/// A share, and a sum of shares.
pub fn shares(bytes: &[u8]) {
    let ([low, high], bytes) = head::<2>(bytes);
    let Ok(point) = SharePoint::new(u16::from_le_bytes([low, high])) else {
        return;
    };
    let share = KeyShare::from_bytes(point, bytes);
    let sum = ShareSum::from_bytes(point, bytes);
    assert_eq!(share.is_ok(), sum.is_ok());
    if let (Ok(share), Ok(sum)) = (share, sum) {
        assert_eq!(bytes.len(), SHARE_BYTES);
        assert_eq!(sum.to_bytes(), bytes);
        assert_eq!(share.to_bytes().as_slice(), bytes);
    }
}

/// A summed key with phases, as published: rebuilding is bounded and refuses what no
/// honest cohort could have summed to.
pub fn summed(bytes: &[u8]) {
    let ([count], bytes) = head::<1>(bytes);
    let segment = Segment {
        max: 1000,
        count: 1 + usize::from(count % 8),
    };
    let shape = Shape(vec![segment]);
    let packing = Packing::plan(&shape, 4, ParamSet::current()).expect("a plan");
    let (contents, key) = bytes.split_at(bytes.len().saturating_sub(SHARE_BYTES));
    let Ok(key) = SummedKey::from_bytes(key) else {
        return;
    };
    let (words, _) = contents.as_chunks::<8>();
    let phases: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
    let seed = MaskSeed(hash("fuzz", &[]));
    let codes = glwe::codes(&packing, 3, &phases);
    let challenge = Challenge::derive(&Digest([count; 32]));
    let rebuilt = glwe::rebuilt_hash(challenge, &seed, &packing, 3, &key, &phases);
    assert_eq!(codes.is_ok(), rebuilt.is_ok());
    if let Ok(codes) = codes {
        assert_eq!(codes.len(), packing.codes());
        assert!(codes.iter().all(|code| *code <= 3 * segment.max));
    }
}
