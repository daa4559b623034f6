//! Fixed-length byte strings: hexadecimal for people (JSON, TOML, terminal), raw for machines.
//!
//! The raw form has no length in front: the length is part of the type, so there is nothing to
//! allocate and nothing to lie about.

use crate::error::HexError;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeTuple;
use serde::{Deserializer, Serializer};
use std::fmt;

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Lower-case hexadecimal.
pub(crate) fn encode(bytes: &[u8]) -> String {
    bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|nibble| {
            // A nibble is below 16, so the lookup always finds a digit.
            DIGITS
                .get(usize::from(nibble))
                .copied()
                .map_or('0', char::from)
        })
        .collect()
}

/// Reads exactly `N` bytes of hexadecimal, either case.
pub(crate) fn decode<const N: usize>(text: &str) -> Result<[u8; N], HexError> {
    let mut bytes = [0u8; N];
    if text.len() != 2 * N {
        return Err(HexError::Length {
            expected: 2 * N,
            found: text.len(),
        });
    }
    for (index, (byte, pair)) in bytes
        .iter_mut()
        .zip(text.as_bytes().as_chunks::<2>().0)
        .enumerate()
    {
        let [high, low] = pair.map(|digit| char::from(digit).to_digit(16));
        match (high, low) {
            (Some(high), Some(low)) => *byte = (high * 16 + low) as u8,
            _ => {
                return Err(HexError::Digit {
                    position: 2 * index,
                });
            }
        }
    }
    Ok(bytes)
}

pub(crate) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return serializer.serialize_str(&encode(bytes));
    }
    let mut tuple = serializer.serialize_tuple(bytes.len())?;
    for byte in bytes {
        tuple.serialize_element(byte)?;
    }
    tuple.end()
}

pub(crate) fn deserialize<'de, const N: usize, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<[u8; N], D::Error> {
    if deserializer.is_human_readable() {
        deserializer.deserialize_str(HexVisitor::<N>)
    } else {
        deserializer.deserialize_tuple(N, RawVisitor::<N>)
    }
}

struct HexVisitor<const N: usize>;

impl<const N: usize> Visitor<'_> for HexVisitor<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} hexadecimal digits", 2 * N)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        decode(text).map_err(E::custom)
    }
}

struct RawVisitor<const N: usize>;

impl<'de, const N: usize> Visitor<'de> for RawVisitor<N> {
    type Value = [u8; N];

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{N} bytes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut bytes = [0u8; N];
        for (index, byte) in bytes.iter_mut().enumerate() {
            *byte = seq
                .next_element()?
                .ok_or_else(|| A::Error::invalid_length(index, &self))?;
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_it_writes_and_names_what_is_wrong() {
        let bytes = [0x00, 0x1f, 0xa0, 0xff];
        assert_eq!(encode(&bytes), "001fa0ff");
        assert_eq!(decode::<4>("001FA0ff"), Ok(bytes));
        assert_eq!(
            decode::<4>("001fa0f"),
            Err(HexError::Length {
                expected: 8,
                found: 7
            })
        );
        assert_eq!(
            decode::<4>("001fg0ff"),
            Err(HexError::Digit { position: 4 })
        );
        assert_eq!(
            decode::<4>("001f+0ff"),
            Err(HexError::Digit { position: 4 })
        );
        // Four characters that take more than one byte each must not be cut in the middle.
        assert!(decode::<4>("ääää").is_err());
    }
}
