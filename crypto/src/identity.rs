//! Who a member is: an Ed25519 key (RFC 8032), checked with `verify_strict`.
//!
//! A signature is always for a purpose: what is signed is
//! `"collegium/signature/v1" ‖ length of domain (1 byte) ‖ domain ‖ digest`, so that a signature
//! given for one purpose is worth nothing for another. Notes are the exception: their format is
//! C2SP's (`signed-note`, `tlog-cosignature`), which signs the text itself. A note's text begins with
//! its log's name or with `cosignature/v1`, never with `collegium/signature/v1`.

use crate::error::{HexError, SignatureError};
use crate::hexbytes;
use crate::transcript::{Digest, domain, hash};
use crate::words;
use ed25519_dalek::{Signer, SigningKey, VerifyingKey};
use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// What every signed message starts with.
const SIGNATURE_PREFIX: &[u8] = b"collegium/signature/v1";

/// Bytes of a signing secret.
pub const SECRET_BYTES: usize = 32;

/// A member's signing secret. Wiped when dropped, cannot be printed.
pub struct SigningIdentity(SigningKey);

impl SigningIdentity {
    /// Draws a fresh identity.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        Self(SigningKey::generate(rng))
    }

    /// Reads an identity from a key file's bytes.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; SECRET_BYTES]) -> Self {
        Self(SigningKey::from_bytes(bytes))
    }

    /// The bytes for a key file.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; SECRET_BYTES]> {
        Zeroizing::new(self.0.to_bytes())
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> IdentityKey {
        IdentityKey(self.0.verifying_key())
    }

    /// Signs `digest` for the purpose `domain` (a constant of [`crate::transcript::domain`]).
    #[must_use]
    pub fn sign(&self, domain: &'static str, digest: &Digest) -> Signature {
        Signature(self.0.sign(&message(domain, digest)).to_bytes())
    }

    /// Signs a note: the checkpoint of a ledger, or a cosignature of one.
    ///
    /// # Panics
    /// Where debug assertions are on: when the text could pass for a message of [`Self::sign`].
    #[must_use]
    pub fn sign_note(&self, text: &[u8]) -> Signature {
        debug_assert!(!text.starts_with(SIGNATURE_PREFIX), "not a note");
        Signature(self.0.sign(text).to_bytes())
    }
}

fn message(domain: &'static str, digest: &Digest) -> Vec<u8> {
    let mut message = Vec::with_capacity(SIGNATURE_PREFIX.len() + 1 + domain.len() + 32);
    message.extend_from_slice(SIGNATURE_PREFIX);
    // Domains are constants of a few dozen bytes.
    message.push(domain.len() as u8);
    message.extend_from_slice(domain.as_bytes());
    message.extend_from_slice(digest.as_bytes());
    message
}

/// A member's public key: the name by which a charter knows it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct IdentityKey(VerifyingKey);

impl IdentityKey {
    /// Reads a key; malformed and weak ones (of small order) are refused.
    ///
    /// # Errors
    /// [`SignatureError::Key`].
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, SignatureError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| SignatureError::Key)?;
        if key.is_weak() {
            return Err(SignatureError::Key);
        }
        Ok(Self(key))
    }

    /// The key's bytes.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_bytes()
    }

    /// Checks a signature of `digest` for the purpose `domain`.
    ///
    /// # Errors
    /// [`SignatureError::Invalid`].
    pub fn verify(
        &self,
        domain: &'static str,
        digest: &Digest,
        signature: &Signature,
    ) -> Result<(), SignatureError> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0
            .verify_strict(&message(domain, digest), &signature)
            .map_err(|_| SignatureError::Invalid)
    }

    /// Checks a signature that [`SigningIdentity::sign_note`] made.
    ///
    /// # Errors
    /// [`SignatureError::Invalid`].
    pub fn verify_note(&self, text: &[u8], signature: &Signature) -> Result<(), SignatureError> {
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        self.0
            .verify_strict(text, &signature)
            .map_err(|_| SignatureError::Invalid)
    }

    /// The hash by which people compare keys.
    #[must_use]
    pub fn fingerprint(&self) -> Fingerprint {
        let Digest(bytes) = hash(domain::FINGERPRINT, &[&self.to_bytes()]);
        Fingerprint(bytes)
    }
}

impl PartialOrd for IdentityKey {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for IdentityKey {
    /// By the key's bytes: an order for maps and lists, without other meaning.
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.to_bytes().cmp(&other.to_bytes())
    }
}

impl fmt::Display for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hexbytes::encode(&self.to_bytes()))
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "IdentityKey({self})")
    }
}

impl FromStr for IdentityKey {
    type Err = IdentityTextError;

    fn from_str(text: &str) -> Result<Self, IdentityTextError> {
        Ok(Self::from_bytes(&hexbytes::decode(text)?)?)
    }
}

/// Text that is not an identity key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdentityTextError {
    /// It is not hexadecimal of the right length.
    #[error(transparent)]
    Hex(#[from] HexError),
    /// It is not a key.
    #[error(transparent)]
    Key(#[from] SignatureError),
}

impl Serialize for IdentityKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hexbytes::serialize(&self.to_bytes(), serializer)
    }
}

impl<'de> Deserialize<'de> for IdentityKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = hexbytes::deserialize(deserializer)?;
        Self::from_bytes(&bytes).map_err(serde::de::Error::custom)
    }
}

/// The fingerprint of an identity key, for people to compare over the telephone.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Eight words, one for each of the first eight bytes (64 bits): enough for keys that are
    /// compared while both sides are on the line, as the other key is fixed beforehand.
    #[must_use]
    pub fn words(&self) -> String {
        let [a, b, c, d, e, f, g, h, ..] = self.0;
        [a, b, c, d, e, f, g, h].map(words::word).join(" ")
    }
}

impl fmt::Display for Fingerprint {
    /// All 256 bits in hexadecimal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hexbytes::encode(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A signature for a purpose.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Takes the 64 bytes of a signature as they are; [`IdentityKey::verify`] checks them.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 64]) -> Self {
        Self(bytes)
    }

    /// The signature's bytes.
    #[must_use]
    pub const fn to_bytes(&self) -> [u8; 64] {
        self.0
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hexbytes::encode(&self.0))
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signature({self})")
    }
}

impl FromStr for Signature {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        hexbytes::decode(text).map(Self)
    }
}

impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hexbytes::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hexbytes::deserialize(deserializer).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::randomness::seeded_rng;

    #[test]
    fn signatures_hold_for_one_key_purpose_and_message() {
        let mut rng = seeded_rng([21; 32]);
        let (one, two) = (
            SigningIdentity::generate(&mut rng),
            SigningIdentity::generate(&mut rng),
        );
        let digest = Digest([4; 32]);
        let signature = one.sign(domain::VOTE, &digest);
        assert_eq!(
            one.public().verify(domain::VOTE, &digest, &signature),
            Ok(())
        );

        let refused = Err(SignatureError::Invalid);
        assert_eq!(
            two.public().verify(domain::VOTE, &digest, &signature),
            refused
        );
        assert_eq!(
            one.public().verify(domain::UPLOAD, &digest, &signature),
            refused
        );
        assert_eq!(
            one.public()
                .verify(domain::VOTE, &Digest([5; 32]), &signature),
            refused
        );
        for place in [0, 31, 32, 63] {
            let mut bytes = signature.to_bytes();
            bytes[place] ^= 1;
            let changed = Signature::from_bytes(bytes);
            assert_eq!(
                one.public().verify(domain::VOTE, &digest, &changed),
                refused
            );
        }
    }

    #[test]
    fn keys_and_signatures_read_back() {
        let identity = SigningIdentity::generate(&mut seeded_rng([22; 32]));
        let key = identity.public();
        assert_eq!(
            SigningIdentity::from_bytes(&identity.to_bytes()).public(),
            key
        );
        assert_eq!(key.to_string().parse(), Ok(key));
        let json = serde_json::to_string(&key).unwrap();
        assert_eq!(serde_json::from_str::<IdentityKey>(&json).unwrap(), key);
        let signature = identity.sign(domain::VOTE, &Digest([0; 32]));
        assert_eq!(signature.to_string().parse(), Ok(signature));
        let json = serde_json::to_string(&signature).unwrap();
        assert_eq!(serde_json::from_str::<Signature>(&json).unwrap(), signature);
    }

    #[test]
    fn weak_and_malformed_keys_are_refused() {
        let mut identity_point = [0u8; 32];
        identity_point[0] = 1;
        assert_eq!(
            IdentityKey::from_bytes(&identity_point),
            Err(SignatureError::Key)
        );
        assert_eq!(IdentityKey::from_bytes(&[0; 32]), Err(SignatureError::Key));
        let mut no_point = [0u8; 32];
        no_point[0] = 2;
        assert_eq!(IdentityKey::from_bytes(&no_point), Err(SignatureError::Key));
    }

    #[test]
    fn a_note_is_no_message_of_another_purpose() {
        let identity = SigningIdentity::generate(&mut seeded_rng([24; 32]));
        let (text, digest) = (b"collegium.ledger/x\n0\n", Digest([6; 32]));
        let note = identity.sign_note(text);
        let key = identity.public();
        assert_eq!(key.verify_note(text, &note), Ok(()));
        let refused = Err(SignatureError::Invalid);
        assert_eq!(key.verify_note(b"collegium.ledger/y\n0\n", &note), refused);
        assert_eq!(key.verify(domain::VOTE, &digest, &note), refused);
        let vote = identity.sign(domain::VOTE, &digest);
        assert_eq!(key.verify_note(text, &vote), refused);
    }

    #[test]
    fn fingerprints_are_eight_words() {
        let key = SigningIdentity::generate(&mut seeded_rng([23; 32])).public();
        let words = key.fingerprint().words();
        assert_eq!(words.split(' ').count(), 8, "{words}");
        assert_eq!(key.fingerprint().to_string().len(), 64);
        assert_eq!(words, key.fingerprint().words());
    }
}
