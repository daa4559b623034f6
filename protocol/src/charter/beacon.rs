//! The beacon that draws the committee of a large consortium, so that nobody chooses it.
//!
//! Each member commits to 32 random bytes when it joins; the commitments stand in the charter,
//! so the charter's digest fixes them all before any is known. A member reveals its bytes together
//! with its signature of the charter. The beacon is a hash of that digest and of every reveal:
//! as long as one member drew its bytes at random and kept them until then, nobody could foresee
//! it. What the last member to reveal can still do, and what a member must never do (reveal the
//! same bytes for two charters), is worked out in `docs/adr/0006-who-sits-on-the-committee.md`.

use collegium_crypto::identity::IdentityKey;
use collegium_crypto::rand_core::CryptoRng;
use collegium_crypto::transcript::{Digest, Hasher, hash};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::domain;

/// Bytes of a member's randomness.
pub const NONCE_BYTES: usize = 32;

/// A member's part of the beacon while it is secret: whoever knew every member's before the
/// charter was signed could choose the committee. Wiped when dropped, cannot be printed.
pub struct BeaconNonce(Zeroizing<[u8; NONCE_BYTES]>);

impl BeaconNonce {
    /// Draws fresh randomness.
    #[must_use]
    pub fn generate(rng: &mut impl CryptoRng) -> Self {
        let mut bytes = Zeroizing::new([0; NONCE_BYTES]);
        rng.fill_bytes(bytes.as_mut_slice());
        Self(bytes)
    }

    /// Takes back the bytes of a key file.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; NONCE_BYTES]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// The bytes for a key file.
    #[must_use]
    pub fn to_bytes(&self) -> Zeroizing<[u8; NONCE_BYTES]> {
        self.0.clone()
    }

    /// What the charter carries. Bound to the member's identity, so that another member that
    /// copies it cannot open it.
    #[must_use]
    pub fn commitment(&self, identity: &IdentityKey) -> Digest {
        commitment(&self.0, identity)
    }

    /// Makes it public. For one charter only, and not before that charter is signed.
    #[must_use]
    pub fn reveal(&self) -> Reveal {
        Reveal(Digest(*self.0))
    }
}

/// A member's part of the beacon, made public.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Reveal(Digest);

impl Reveal {
    /// Takes back stored bytes.
    #[must_use]
    pub fn from_bytes(bytes: [u8; NONCE_BYTES]) -> Self {
        Self(Digest(bytes))
    }

    /// The bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; NONCE_BYTES] {
        self.0.as_bytes()
    }

    /// Whether this is what the member with this identity committed to.
    #[must_use]
    pub fn opens(&self, committed: &Digest, identity: &IdentityKey) -> bool {
        commitment(self.as_bytes(), identity) == *committed
    }
}

fn commitment(nonce: &[u8; NONCE_BYTES], identity: &IdentityKey) -> Digest {
    hash(
        domain::BEACON_COMMITMENT,
        &[&identity.to_bytes(), nonce.as_slice()],
    )
}

/// H(charter digest ‖ every reveal, in roster order).
#[must_use]
pub fn beacon(charter: &Digest, reveals: &[Reveal]) -> Digest {
    let mut hasher = Hasher::new(domain::BEACON);
    hasher.part(charter.as_bytes());
    for reveal in reveals {
        hasher.part(reveal.as_bytes());
    }
    hasher.finish()
}
