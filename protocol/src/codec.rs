//! The wire encoding, and the only module that names `bincode`.
//!
//! One value has exactly one byte string: integers in their shortest form, nothing after the
//! value. [`decode`] refuses everything else, so digests and signatures over encoded bytes mean
//! the same to every party.

use std::fmt;

use bincode::config::{self, Configuration, Limit, LittleEndian, Varint};
use bincode::error::DecodeError;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Why bytes are not the value they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CodecError {
    /// Longer than the message's cap; nothing was read.
    #[error("a message of {length} bytes is over its cap of {cap}")]
    Oversize {
        /// Bytes received, or claimed by a length inside.
        length: usize,
        /// The cap.
        cap: usize,
    },
    /// A length inside the message claims more than the message can hold.
    #[error("a length inside the message is larger than the message")]
    InnerLength,
    /// The value ended before the bytes did.
    #[error("{0} bytes are left over after the message")]
    Leftover(usize),
    /// The bytes ended before the value did.
    #[error("the message is cut short")]
    Truncated,
    /// An enum's tag that this version does not know.
    #[error("unknown message tag {0}: the peer may run a newer version")]
    UnknownTag(u32),
    /// Decodes, but is not the shortest form of its value.
    #[error("the message is not in its one canonical form")]
    NotCanonical,
    /// Any other fault of form or of a checked type inside.
    #[error("malformed message: {0}")]
    Malformed(String),
    /// The value cannot be written; a programming fault, never a peer's.
    #[error("the value cannot be encoded: {0}")]
    Unencodable(String),
}

/// Limits the decoder's allocations. A value claims up to eight bytes in memory for each byte on
/// the wire (a varint `u64`) and sixteen with its container, so the limit is the input's length
/// class times sixteen.
const fn config<const LIMIT: usize>() -> Configuration<LittleEndian, Varint, Limit<LIMIT>> {
    config::standard().with_limit::<LIMIT>()
}

const SMALL: usize = 4 << 10;
const MEDIUM: usize = 256 << 10;
const LARGE: usize = 4 << 20;
/// The journal's largest totals: 16 Mi numbers of at most 9 bytes (144 MiB), rounded up.
const HUGE: usize = 152 << 20;

/// Writes `value` in its canonical form.
///
/// # Errors
/// [`CodecError::Unencodable`] for types the format cannot hold; none of this crate's messages.
pub fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, config::standard())
        .map_err(|e| CodecError::Unencodable(e.to_string()))
}

/// Reads a value that takes up all of `bytes`, which may be at most `cap` long.
///
/// # Errors
/// A [`CodecError`] that names what is wrong; no input panics, and no input makes it allocate more
/// than about sixteen times `bytes.len()` (rounded up to a class: 4 KiB, 256 KiB, 4 MiB, 152 MiB).
pub fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8], cap: usize) -> Result<T, CodecError> {
    if bytes.len() > cap || bytes.len() > HUGE {
        return Err(CodecError::Oversize {
            length: bytes.len(),
            cap: cap.min(HUGE),
        });
    }
    let length = bytes.len();
    let decoded = if length <= SMALL {
        bincode::serde::decode_from_slice(bytes, config::<{ 16 * SMALL }>())
    } else if length <= MEDIUM {
        bincode::serde::decode_from_slice(bytes, config::<{ 16 * MEDIUM }>())
    } else if length <= LARGE {
        bincode::serde::decode_from_slice(bytes, config::<{ 16 * LARGE }>())
    } else {
        bincode::serde::decode_from_slice(bytes, config::<{ 16 * HUGE }>())
    };
    let (value, used): (T, usize) = decoded.map_err(read_error)?;
    if used < bytes.len() {
        return Err(CodecError::Leftover(bytes.len() - used));
    }
    if encode(&value)? != bytes {
        return Err(CodecError::NotCanonical);
    }
    Ok(value)
}

fn read_error(error: DecodeError) -> CodecError {
    match error {
        DecodeError::UnexpectedEnd { .. } => CodecError::Truncated,
        DecodeError::LimitExceeded | DecodeError::OutsideUsizeRange(_) => CodecError::InnerLength,
        DecodeError::UnexpectedVariant { found, .. } => CodecError::UnknownTag(found),
        DecodeError::OtherString(text) => match unknown_variant(&text) {
            Some(tag) => CodecError::UnknownTag(tag),
            None => CodecError::Malformed(text),
        },
        other => CodecError::Malformed(other.to_string()),
    }
}

/// serde reports an enum's unknown tag as text: "invalid value: integer `9`, expected variant
/// index 0 <= i < 3".
fn unknown_variant(text: &str) -> Option<u32> {
    if !text.contains("expected variant index") {
        return None;
    }
    let digits = text.split('`').nth(1)?;
    digits.parse().ok()
}

/// A byte string inside a message. Unlike `Vec<u8>` it is read in one piece, and it prints only
/// its length.
#[derive(Clone, PartialEq, Eq, Default, Hash)]
pub struct Blob(pub Vec<u8>);

impl Blob {
    /// The bytes.
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// How many bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }
}

impl AsRef<[u8]> for Blob {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Blob({} bytes)", self.0.len())
    }
}

impl Serialize for Blob {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Read;
        impl<'de> serde::de::Visitor<'de> for Read {
            type Value = Blob;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Blob, E> {
                Ok(Blob(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Blob, E> {
                Ok(Blob(bytes))
            }
            fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Blob, A::Error> {
                let mut bytes = Vec::new();
                while let Some(byte) = seq.next_element()? {
                    bytes.push(byte);
                }
                Ok(Blob(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Read)
    }
}
