//! Sealing bytes to one member: HPKE (RFC 9180), base mode, one message per encapsulation.
//!
//! Suite: X-Wing (ML-KEM-768 with X25519; KEM 0x647a of draft-ietf-hpke-pq), HKDF-SHA256,
//! ChaCha20-Poly1305. X25519 alone would give up the post-quantum secrecy of the lattice scheme.
//! X-Wing is a draft: `tests/vectors/seal.json` freezes what this version computes.
//!
//! A sealed message is `encapsulated key (1120) ‖ ciphertext ‖ tag (16)`. HPKE in base mode says
//! nothing about who sealed: the dealer's signature over its shares does.

use crate::error::{HexError, SealError};
use crate::hexbytes;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::XWing;
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use rand_core::CryptoRng;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;
use zeroize::Zeroizing;

/// Bytes of a sealing secret.
pub const SECRET_BYTES: usize = 32;

/// Bytes of a sealing public key: 1184 of ML-KEM-768 and 32 of X25519.
pub const PUBLIC_BYTES: usize = 1216;

/// Bytes of an encapsulated key: 1088 of ML-KEM-768 and 32 of X25519.
const ENCAPSULATED_BYTES: usize = 1120;

/// What sealing adds to a message: the encapsulated key and the tag.
pub const OVERHEAD: usize = ENCAPSULATED_BYTES + 16;

/// A member's secret for opening what is sealed to it. Wiped when dropped, cannot be printed.
pub struct SealingSecret {
    secret: <XWing as Kem>::PrivateKey,
    public: SealingPublic,
}

impl SealingSecret {
    /// Draws a fresh secret.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let (secret, public) = XWing::gen_keypair_with_rng(rng);
        Self {
            secret,
            public: SealingPublic::from_kem(public),
        }
    }

    /// Reads a secret from a key file's bytes.
    ///
    /// # Errors
    /// [`SealError::SecretKey`] for another length than [`SECRET_BYTES`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let secret =
            <XWing as Kem>::PrivateKey::from_bytes(bytes).map_err(|_| SealError::SecretKey)?;
        let public = SealingPublic::from_kem(XWing::sk_to_pk(&secret));
        Ok(Self { secret, public })
    }

    /// The bytes for a key file.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; SECRET_BYTES]> {
        let mut bytes = Zeroizing::new([0; SECRET_BYTES]);
        self.secret.write_exact(bytes.as_mut_slice());
        bytes
    }

    /// The public half.
    #[must_use]
    pub const fn public(&self) -> &SealingPublic {
        &self.public
    }

    /// Opens a message sealed to this secret under the same `info` and `aad`.
    ///
    /// # Errors
    /// [`SealError::Open`] for anything else, without saying why.
    pub fn open(
        &self,
        info: &[u8],
        aad: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, SealError> {
        let (encapsulated, ciphertext) = sealed
            .split_at_checked(ENCAPSULATED_BYTES)
            .ok_or(SealError::Open)?;
        let encapsulated =
            <XWing as Kem>::EncappedKey::from_bytes(encapsulated).map_err(|_| SealError::Open)?;
        hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, XWing>(
            &OpModeR::Base,
            &self.secret,
            &encapsulated,
            info,
            ciphertext,
            aad,
        )
        .map(Zeroizing::new)
        .map_err(|_| SealError::Open)
    }
}

/// The key that others seal to. Part of a member's entry in the charter.
#[derive(Clone, PartialEq, Eq)]
pub struct SealingPublic {
    key: <XWing as Kem>::PublicKey,
    bytes: [u8; PUBLIC_BYTES],
}

impl SealingPublic {
    fn from_kem(key: <XWing as Kem>::PublicKey) -> Self {
        let mut bytes = [0; PUBLIC_BYTES];
        key.write_exact(&mut bytes);
        Self { key, bytes }
    }

    /// Reads and checks a public key.
    ///
    /// # Errors
    /// [`SealError::PublicKey`] when the length is wrong or the key is malformed.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SealError> {
        let key = <XWing as Kem>::PublicKey::from_bytes(bytes).map_err(|_| SealError::PublicKey)?;
        let parsed = Self::from_kem(key);
        // One key, one text: a charter's hash depends on it.
        if parsed.bytes.as_slice() != bytes {
            return Err(SealError::PublicKey);
        }
        Ok(parsed)
    }

    /// The key's bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; PUBLIC_BYTES] {
        &self.bytes
    }

    /// Seals `plaintext` to this key. `info` and `aad` bind it to its context; the recipient must
    /// name the same.
    ///
    /// # Errors
    /// [`SealError::Seal`] when encryption fails.
    pub fn seal(
        &self,
        info: &[u8],
        aad: &[u8],
        plaintext: &[u8],
        rng: &mut impl CryptoRng,
    ) -> Result<Vec<u8>, SealError> {
        let (encapsulated, ciphertext) = hpke::single_shot_seal_with_rng::<
            ChaCha20Poly1305,
            HkdfSha256,
            XWing,
        >(
            &OpModeS::Base, &self.key, info, plaintext, aad, rng
        )
        .map_err(|_| SealError::Seal)?;
        let mut sealed = Vec::with_capacity(OVERHEAD + plaintext.len());
        sealed.extend_from_slice(&encapsulated.to_bytes());
        sealed.extend_from_slice(&ciphertext);
        Ok(sealed)
    }
}

impl fmt::Display for SealingPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hexbytes::encode(&self.bytes))
    }
}

impl fmt::Debug for SealingPublic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.bytes;
        write!(f, "SealingPublic({}…)", hexbytes::encode(&[a, b, c, d]))
    }
}

impl FromStr for SealingPublic {
    type Err = SealingKeyTextError;

    fn from_str(text: &str) -> Result<Self, SealingKeyTextError> {
        let bytes = hexbytes::decode::<PUBLIC_BYTES>(text)?;
        Ok(Self::from_bytes(&bytes)?)
    }
}

/// Text that is not a sealing key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealingKeyTextError {
    /// It is not hexadecimal of the right length.
    #[error(transparent)]
    Hex(#[from] HexError),
    /// It is not a key.
    #[error(transparent)]
    Key(#[from] SealError),
}

impl Serialize for SealingPublic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hexbytes::serialize(&self.bytes, serializer)
    }
}

impl<'de> Deserialize<'de> for SealingPublic {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = hexbytes::deserialize::<PUBLIC_BYTES, D>(deserializer)?;
        Self::from_bytes(&bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::randomness::seeded_rng;

    #[test]
    fn opens_only_under_the_same_key_context_and_bytes() {
        let mut rng = seeded_rng([11; 32]);
        let secret = SealingSecret::generate(&mut rng);
        let other = SealingSecret::generate(&mut rng);
        let sealed = secret
            .public()
            .seal(b"info", b"aad", b"share", &mut rng)
            .unwrap();
        assert_eq!(sealed.len(), OVERHEAD + 5);
        assert_eq!(
            secret.open(b"info", b"aad", &sealed).unwrap().as_slice(),
            b"share"
        );

        assert!(secret.open(b"inf", b"aad", &sealed).is_err());
        assert!(secret.open(b"info", b"aae", &sealed).is_err());
        assert!(other.open(b"info", b"aad", &sealed).is_err());
        for place in [0, 500, 1100, ENCAPSULATED_BYTES, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[place] ^= 1;
            assert!(
                secret.open(b"info", b"aad", &changed).is_err(),
                "byte {place}"
            );
        }
        for length in [0, 16, ENCAPSULATED_BYTES, OVERHEAD, sealed.len() - 1] {
            assert!(
                secret.open(b"info", b"aad", &sealed[..length]).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn sealing_twice_gives_different_bytes() {
        let mut rng = seeded_rng([12; 32]);
        let public = SealingSecret::generate(&mut rng).public().clone();
        let one = public.seal(b"", b"", b"same", &mut rng).unwrap();
        let two = public.seal(b"", b"", b"same", &mut rng).unwrap();
        assert_ne!(one, two);
    }

    #[test]
    fn keys_read_back_and_malformed_ones_are_refused() {
        let mut rng = seeded_rng([13; 32]);
        let secret = SealingSecret::generate(&mut rng);
        let again = SealingSecret::from_bytes(secret.to_bytes().as_slice()).unwrap();
        assert_eq!(again.public(), secret.public());
        let text = secret.public().to_string();
        assert_eq!(&text.parse::<SealingPublic>().unwrap(), secret.public());
        let json = serde_json::to_string(secret.public()).unwrap();
        assert_eq!(
            &serde_json::from_str::<SealingPublic>(&json).unwrap(),
            secret.public()
        );

        assert!(SealingSecret::from_bytes(&[0; 31]).is_err());
        assert!(SealingPublic::from_bytes(&secret.public().as_bytes()[1..]).is_err());
        // ML-KEM coefficients above 3328 are not canonical: FIPS 203 requires the check.
        let mut bad = *secret.public().as_bytes();
        bad[..3].fill(0xff);
        assert_eq!(SealingPublic::from_bytes(&bad), Err(SealError::PublicKey));
    }
}
