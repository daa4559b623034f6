//! SHA-256 fingerprints of certificates, the ones that `openssl x509 -fingerprint -sha256` prints.

use std::fmt;
use std::str::FromStr;

use rustls::crypto::aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256;
use serde::{Deserialize, Serialize};

use super::PkiError;

/// SHA-256 of a certificate's DER bytes.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Fingerprint(pub [u8; 32]);

impl Fingerprint {
    /// The fingerprint of `der`.
    pub fn of(der: &[u8]) -> Self {
        Self(sha256(der))
    }
}

/// SHA-256 as the TLS provider computes it (one implementation of it is enough).
#[expect(
    clippy::expect_used,
    reason = "two facts about a constant of the TLS provider, which the test below checks"
)]
pub(super) fn sha256(data: &[u8]) -> [u8; 32] {
    let suite = TLS13_AES_128_GCM_SHA256
        .tls13()
        .expect("TLS13_AES_128_GCM_SHA256 is a TLS 1.3 suite");
    let output = suite.common.hash_provider.hash(data);
    output
        .as_ref()
        .try_into()
        .expect("SHA-256 has 32 bytes of output")
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

impl FromStr for Fingerprint {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        parse_hex(text).map(Self).ok_or(PkiError::Invite(
            "the authority's fingerprint is not 64 hexadecimal digits",
        ))
    }
}

/// Writes lower-case hexadecimal.
pub(super) fn write_hex(f: &mut impl fmt::Write, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

/// Reads exactly `N` bytes of hexadecimal.
pub(super) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut out = [0; N];
    for (byte, pair) in out.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fingerprints_are_sha256() {
        // FIPS 180-4's example "abc".
        assert_eq!(
            Fingerprint::of(b"abc").to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn hexadecimal_is_read_strictly() {
        let print = Fingerprint::of(b"x");
        assert_eq!(
            print.to_string().parse::<Fingerprint>().expect("own text"),
            print
        );
        assert!("+f".repeat(32).parse::<Fingerprint>().is_err());
        assert!("ff".repeat(31).parse::<Fingerprint>().is_err());
    }
}
