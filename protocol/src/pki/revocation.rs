//! Certificates that no longer open a connection, by serial number.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use super::PkiError;
use super::fingerprint::{parse_hex, write_hex};

/// A certificate's serial number: 16 random bytes with the top bit clear and the next
/// one set, so that DER encodes it in exactly 16 bytes (RFC 5280, 4.1.2.2).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Serial([u8; 16]);

impl Serial {
    /// A fresh random serial.
    pub(super) fn random() -> Result<Self, PkiError> {
        let mut bytes = [0; 16];
        super::fill_random(&mut bytes)?;
        let [first, ..] = &mut bytes;
        *first = (*first & 0x3f) | 0x40;
        Ok(Self(bytes))
    }

    /// The serial as it stands in a certificate; `None` when it is not one of ours.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// Big-endian bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Display for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Serial({self})")
    }
}

impl FromStr for Serial {
    type Err = PkiError;

    fn from_str(text: &str) -> Result<Self, PkiError> {
        parse_hex(text).map(Self).ok_or_else(|| {
            PkiError::Certificate(format!(
                "`{text}` is not a serial number (32 hexadecimal digits)"
            ))
        })
    }
}

impl Serialize for Serial {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Serial {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let serial: Self = text.parse().map_err(serde::de::Error::custom)?;
        // A message has one form, so digits in capitals are refused here.
        if serial.to_string() != text {
            return Err(serde::de::Error::custom("a serial number in capitals"));
        }
        Ok(serial)
    }
}

/// The deny-list that the handshake consults. Clones share one list, so that a
/// revocation takes effect on the next handshake without rebuilding the endpoint.
#[derive(Clone, Default, Debug)]
pub struct Revocations(Arc<RwLock<BTreeSet<Serial>>>);

impl Revocations {
    /// A list that starts with `serials`.
    pub fn new(serials: impl IntoIterator<Item = Serial>) -> Self {
        Self(Arc::new(RwLock::new(serials.into_iter().collect())))
    }

    /// Refuses `serial` from now on. Connections that are already open stay open:
    /// the caller closes them.
    pub fn revoke(&self, serial: Serial) {
        // A poisoned lock only means that another thread panicked between two
        // complete set operations; the set itself is whole.
        self.0
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(serial);
    }

    /// Whether `serial` was revoked.
    pub fn is_revoked(&self, serial: &Serial) -> bool {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .contains(serial)
    }
}
