//! Hashing with domain separation.
//!
//! Every hash names its purpose: BLAKE3 in key-derivation mode with the domain string as context,
//! then every part with its length (8 bytes, little-endian) in front. So two hashes agree only if
//! purpose, number of parts, and every part agree.

use crate::body::to_wire;
use crate::error::HexError;
use crate::hexbytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Domain strings. Each ends in a version; a change of what is hashed under one changes it.
pub mod domain {
    /// A parameter set.
    pub const PARAMS: &str = "collegium/params/v1";
    /// The shape of an answer.
    pub const SHAPE: &str = "collegium/shape/v1";
    /// The seed of a step's public masks.
    pub const MASK: &str = "collegium/mask/v1";
    /// Expansion of one mask polynomial from the seed.
    pub const MASK_EXPAND: &str = "collegium/mask-expand/v1";
    /// Expansion of a committee member's share of a key from its seed.
    pub const SHARE_EXPAND: &str = "collegium/share-expand/v1";
    /// The draw of a committee from a beacon.
    pub const COMMITTEE: &str = "collegium/committee/v1";
    /// The challenge of the linear hash, from the commitment to the totals.
    pub const CHALLENGE: &str = "collegium/challenge/v1";
    /// The challenge of the degree test, from all sealed shares.
    pub const DEGREE_CHALLENGE: &str = "collegium/degree-challenge/v1";
    /// An opened sum: phases and summed key.
    pub const OPENED: &str = "collegium/opened/v1";
    /// The context of a step.
    pub const CONTEXT: &str = "collegium/context/v1";
    /// An ask.
    pub const ASK: &str = "collegium/ask/v1";
    /// The bodies of one member's ciphertexts.
    pub const BODY: &str = "collegium/body/v1";
    /// The sealed shares of one member.
    pub const SHARES: &str = "collegium/shares/v1";
    /// What a member signs when it uploads.
    pub const UPLOAD: &str = "collegium/upload/v1";
    /// HPKE info of a sealed share.
    pub const SEALED_SHARE: &str = "collegium/sealed-share/v1";
    /// A proposed set of contributors.
    pub const COHORT: &str = "collegium/cohort/v1";
    /// A vote for a set of contributors.
    pub const VOTE: &str = "collegium/vote/v1";
    /// A released sum of shares.
    pub const RELEASE: &str = "collegium/release/v1";
    /// The totals of a step.
    pub const RESULT: &str = "collegium/result/v1";
    /// A charter.
    pub const CHARTER: &str = "collegium/charter/v2";
    /// A member's signature under a charter.
    pub const CHARTER_SIGNATURE: &str = "collegium/charter-signature/v1";
    /// A task file.
    pub const TASK: &str = "collegium/task/v1";
    /// A member's answer to an ask, before encryption (stays at the node).
    pub const ANSWER: &str = "collegium/answer/v1";
    /// The data a node answers from (stays at the node).
    pub const DATA: &str = "collegium/data/v1";
    /// The fingerprint of an identity key.
    pub const FINGERPRINT: &str = "collegium/fingerprint/v1";
    /// A commitment to the totals of a step; the summed key in it is uniform, so it needs no salt.
    pub const TOTALS_COMMITMENT: &str = "collegium/totals-commitment/v1";
}

/// A 256-bit hash.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The bytes of the hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first eight hexadecimal digits, for a line of log.
    #[must_use]
    pub fn short(&self) -> String {
        let mut text = self.to_string();
        text.truncate(8);
        text
    }
}

impl AsRef<[u8]> for Digest {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hexbytes::encode(&self.0))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = HexError;

    fn from_str(text: &str) -> Result<Self, HexError> {
        hexbytes::decode(text).map(Self)
    }
}

impl Serialize for Digest {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hexbytes::serialize(&self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hexbytes::deserialize(deserializer).map(Self)
    }
}

/// Hashes `parts` for the purpose `domain` (a constant of [`domain`]).
#[must_use]
pub fn hash(domain: &'static str, parts: &[&[u8]]) -> Digest {
    let mut hasher = Hasher::new(domain);
    for part in parts {
        hasher.part(part);
    }
    hasher.finish()
}

/// Words that [`Hasher::words`] hands on at a time, 32 KiB: enough for the hash to work in parallel.
const WORDS_AT_ONCE: usize = 1 << 12;

/// [`hash`], part by part.
pub struct Hasher(blake3::Hasher);

impl Hasher {
    /// Starts a hash for the purpose `domain`.
    #[must_use]
    pub fn new(domain: &'static str) -> Self {
        Self(blake3::Hasher::new_derive_key(domain))
    }

    /// Adds one part with its length in front.
    pub fn part(&mut self, part: &[u8]) -> &mut Self {
        self.0.update(&(part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// Adds a number as an 8-byte part.
    pub fn number(&mut self, number: u64) -> &mut Self {
        self.part(&number.to_le_bytes())
    }

    /// Words as one part: 8 little-endian bytes each.
    pub(crate) fn words(&mut self, words: &[u64]) -> &mut Self {
        self.begin_part(size_of_val(words));
        for words in words.chunks(WORDS_AT_ONCE) {
            self.continue_part(&to_wire(words));
        }
        self
    }

    /// Begins a part of this length, which [`Hasher::continue_part`] brings.
    pub(crate) fn begin_part(&mut self, length: usize) {
        self.0.update(&(length as u64).to_le_bytes());
    }

    /// Adds bytes of the part begun.
    pub(crate) fn continue_part(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The hash of all parts.
    #[must_use]
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }

    /// As many bytes as wanted instead of 32.
    pub(crate) fn finish_xof(&self) -> blake3::OutputReader {
        self.0.finalize_xof()
    }
}

/// The hash of a member's bodies as they stream by: one part of unknown length, which needs no
/// length in front because nothing follows it.
pub struct BodyHasher(blake3::Hasher);

impl BodyHasher {
    /// Starts the hash of one member's bodies.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "an empty body is not a default of anything"
    )]
    pub fn new() -> Self {
        Self(blake3::Hasher::new_derive_key(domain::BODY))
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) -> &mut Self {
        self.0.update(bytes);
        self
    }

    /// The hash of everything added.
    #[must_use]
    pub fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cannot_be_moved_across_their_borders() {
        let hashes = [
            hash(domain::ASK, &[b"ab", b"c"]),
            hash(domain::ASK, &[b"a", b"bc"]),
            hash(domain::ASK, &[b"abc"]),
            hash(domain::ASK, &[b"abc", b""]),
            hash(domain::ASK, &[]),
            hash(domain::ASK, &[b""]),
            hash(domain::TASK, &[b"ab", b"c"]),
        ];
        for (i, one) in hashes.iter().enumerate() {
            for other in &hashes[i + 1..] {
                assert_ne!(one, other);
            }
        }
    }

    #[test]
    fn long_parts_are_parts() {
        for count in [0u64, 1, 4095, 4096, 4097, 10_000] {
            let bytes: Vec<u8> = (0..count).flat_map(u64::to_le_bytes).collect();
            let mut long = Hasher::new(domain::ASK);
            let words: Vec<u64> = (0..count).collect();
            long.words(&words).part(b"end");
            assert_eq!(long.finish(), hash(domain::ASK, &[&bytes, b"end"]));
        }
    }

    #[test]
    fn streaming_makes_no_difference() {
        let mut whole = BodyHasher::new();
        whole.update(&[5; 100_000]);
        let mut pieces = BodyHasher::new();
        for piece in [5u8; 100_000].chunks(4097) {
            pieces.update(piece);
        }
        assert_eq!(whole.finish(), pieces.finish());
    }

    #[test]
    fn digests_read_back_from_text_and_json() {
        let digest = hash(domain::ASK, &[b"x"]);
        assert_eq!(digest.to_string().parse(), Ok(digest));
        let json = serde_json::to_string(&digest).unwrap();
        assert_eq!(json, format!("\"{digest}\""));
        assert_eq!(serde_json::from_str::<Digest>(&json).unwrap(), digest);
        assert!(serde_json::from_str::<Digest>("\"00\"").is_err());
        assert_eq!(digest.short().len(), 8);
    }
}
