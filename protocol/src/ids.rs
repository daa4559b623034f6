//! Names and numbers that identify things, each its own type.

use std::fmt;
use std::str::FromStr;

use collegium_crypto::shamir::SharePoint;
use serde::{Deserialize, Serialize};

use crate::limits::{MAX_COMMITTEE, MAX_MEMBERS, MAX_NAME_BYTES};

/// Why a text or number is not an id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a member name.
    #[error(
        "'{0}' is not a member name: use 1 to 40 lower-case letters, digits and hyphens, \
         beginning with a letter or digit (for example hospital-a)"
    )]
    Name(String),
    /// Not an index of the roster.
    #[error("{0} is not a member index: indices run from 1 to {MAX_MEMBERS}")]
    Index(u64),
    /// Not a seat of a committee.
    #[error("{0} is not a committee seat: seats run from 1 to {MAX_COMMITTEE}")]
    Seat(u64),
    /// Not 16 bytes in hexadecimal.
    #[error("'{0}' is not an id: expected 32 hexadecimal digits")]
    Hex(String),
}

/// A member's index in the charter's roster, from 1. Every member may contribute under it;
/// whether it also holds a [`SeatNumber`] is the charter's to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct MemberIndex(u16);

impl MemberIndex {
    /// Checks the range 1 to [`MAX_MEMBERS`].
    ///
    /// # Errors
    /// [`IdError::Index`] outside that range.
    pub fn new(index: u16) -> Result<Self, IdError> {
        if index == 0 || usize::from(index) > MAX_MEMBERS {
            return Err(IdError::Index(index.into()));
        }
        Ok(Self(index))
    }

    /// The index as a number, from 1.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }

    /// The place in a list kept in index order, from 0.
    #[must_use]
    pub fn position(self) -> usize {
        usize::from(self.0) - 1
    }
}

impl TryFrom<u16> for MemberIndex {
    type Error = IdError;
    fn try_from(index: u16) -> Result<Self, IdError> {
        Self::new(index)
    }
}

impl From<MemberIndex> for u16 {
    fn from(index: MemberIndex) -> u16 {
        index.0
    }
}

impl fmt::Display for MemberIndex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A seat on the committee, from 1 in the charter's order. It is also the point at which the
/// seat's key shares are taken, which is why zero (the key itself) is no seat. Up to 96 members
/// everybody has the seat of its own index; a drawn committee is numbered anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct SeatNumber(SharePoint);

impl SeatNumber {
    /// Checks the range 1 to [`MAX_COMMITTEE`].
    ///
    /// # Errors
    /// [`IdError::Seat`] outside that range.
    pub fn new(number: u16) -> Result<Self, IdError> {
        SharePoint::new(number)
            .map(Self)
            .map_err(|_| IdError::Seat(number.into()))
    }

    /// The seat as a number, from 1.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// Where the seat's key shares are taken.
    #[must_use]
    pub fn point(self) -> SharePoint {
        self.0
    }

    /// The place in a list kept in seat order, from 0.
    #[must_use]
    pub fn position(self) -> usize {
        usize::from(self.0.get()) - 1
    }
}

impl TryFrom<u16> for SeatNumber {
    type Error = IdError;
    fn try_from(number: u16) -> Result<Self, IdError> {
        Self::new(number)
    }
}

impl From<SeatNumber> for u16 {
    fn from(seat: SeatNumber) -> u16 {
        seat.get()
    }
}

impl fmt::Display for SeatNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

/// A member's short name: `[a-z0-9][a-z0-9-]{0,39}`. It appears in certificates, file names and
/// logs, so nothing that needs quoting is allowed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MemberName(String);

impl MemberName {
    /// Checks the form of the name.
    ///
    /// # Errors
    /// [`IdError::Name`] when a character, the length or the beginning does not fit.
    pub fn new(name: &str) -> Result<Self, IdError> {
        let fits = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let begins_well = name.bytes().next().is_some_and(fits);
        let all_fit = name.bytes().all(|b| fits(b) || b == b'-');
        if !begins_well || !all_fit || name.len() > MAX_NAME_BYTES {
            return Err(IdError::Name(name.chars().take(60).collect()));
        }
        Ok(Self(name.to_owned()))
    }

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for MemberName {
    type Error = IdError;
    fn try_from(name: String) -> Result<Self, IdError> {
        Self::new(&name)
    }
}

impl From<MemberName> for String {
    fn from(name: MemberName) -> String {
        name.0
    }
}

impl FromStr for MemberName {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::new(text)
    }
}

impl fmt::Display for MemberName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Defines a 16-byte random id, written as 32 hexadecimal digits for people and as 16 bytes on
/// the wire.
macro_rules! sixteen_bytes {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name([u8; 16]);

        impl $name {
            /// Takes 16 bytes; the caller draws them at random.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(bytes)
            }

            /// The 16 bytes.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                parse_hex(text).map(Self)
            }
        }

        impl Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() {
                    serializer.collect_str(self)
                } else {
                    self.0.serialize(serializer)
                }
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    let text = String::deserialize(deserializer)?;
                    text.parse().map_err(serde::de::Error::custom)
                } else {
                    <[u8; 16]>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

sixteen_bytes! {
    /// Identifies one run: one execution of a task.
    RunId
}

sixteen_bytes! {
    /// Identifies a consortium for its whole life, over all versions of its charter.
    ConsortiumId
}

sixteen_bytes! {
    /// Tells a node's process from every other one, also of the same member: drawn when it starts.
    ProcessId
}

fn parse_hex(text: &str) -> Result<[u8; 16], IdError> {
    let wrong = || IdError::Hex(text.chars().take(60).collect());
    if text.len() != 32
        || !text
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
    {
        return Err(wrong());
    }
    u128::from_str_radix(text, 16)
        .map(u128::to_be_bytes)
        .map_err(|_| wrong())
}

/// The number of a step inside its run, from 1 and never used twice: the mask of a step depends
/// on it, so a number given twice would use a mask twice.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Default,
)]
#[serde(transparent)]
pub struct StepNumber(pub u64);

impl StepNumber {
    /// The next number. Saturates; a run of 2^64 steps does not happen.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for StepNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn member_names_are_plain() {
        for good in ["a", "7", "hospital-a", "x--", &"a".repeat(40)] {
            assert_eq!(MemberName::new(good).unwrap().as_str(), good);
        }
        for bad in [
            "",
            "-a",
            "A",
            "a b",
            "a/b",
            "a.b",
            "ä",
            "a\0",
            &"a".repeat(41),
        ] {
            assert!(MemberName::new(bad).is_err(), "{bad:?} passed");
        }
    }

    #[test]
    fn zero_is_never_a_point_of_the_sharing() {
        assert_eq!(SeatNumber::new(0), Err(IdError::Seat(0)));
        assert_eq!(SeatNumber::new(97), Err(IdError::Seat(97)));
        assert_eq!(SeatNumber::new(96).unwrap().position(), 95);
        assert!(serde_json::from_str::<SeatNumber>("0").is_err());
    }

    #[test]
    fn the_roster_begins_at_one_and_ends_at_1024() {
        assert_eq!(MemberIndex::new(0), Err(IdError::Index(0)));
        assert_eq!(MemberIndex::new(1025), Err(IdError::Index(1025)));
        assert_eq!(MemberIndex::new(1024).unwrap().position(), 1023);
        assert!(serde_json::from_str::<MemberIndex>("0").is_err());
    }

    #[test]
    fn ids_have_one_spelling() {
        let id = RunId::from_bytes([0xab; 16]);
        let text = id.to_string();
        assert_eq!(text, "ab".repeat(16));
        assert_eq!(text.parse::<RunId>().unwrap(), id);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{text}\""));
        for bad in [
            "",
            "ab",
            &"AB".repeat(16),
            &"+a".repeat(16),
            &"ab".repeat(17),
        ] {
            assert!(bad.parse::<RunId>().is_err(), "{bad:?} passed");
        }
    }
}
