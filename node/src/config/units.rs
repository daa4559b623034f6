//! Lengths of time and numbers of bytes as people write them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// A length of time: `500ms`, `30s`, `10min` or `2h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// A number of bytes: `1048576B`, `512KiB`, `256MiB` or `2GiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Bytes(pub u64);

/// From the largest, so that writing picks the largest unit that divides.
const SPAN_UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("min", 60_000), ("s", 1000), ("ms", 1)];
const BYTE_UNITS: [(&str, u64); 4] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("B", 1),
];

impl Span {
    /// So many milliseconds.
    #[must_use]
    pub const fn millis(millis: u64) -> Self {
        Self(Duration::from_millis(millis))
    }
}

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &SPAN_UNITS).map(Self::millis).ok_or_else(|| {
            format!("`{text}` is not a length of time; write for example `250ms`, `30s`, `10min` or `2h`")
        })
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        parse(text, &BYTE_UNITS).map(Self).ok_or_else(|| {
            format!(
                "`{text}` is not a number of bytes; write for example `512KiB`, `256MiB` or `2GiB`"
            )
        })
    }
}

fn parse(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(end);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit.trim())?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn write(value: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let largest = units
        .iter()
        .find(|(_, factor)| value > 0 && value.is_multiple_of(*factor));
    let (name, factor) = largest.or(units.last()).copied().unwrap_or(("", 1));
    write!(f, "{}{name}", value / factor)
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let millis = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        write(millis, &SPAN_UNITS, f)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(self.0, &BYTE_UNITS, f)
    }
}

impl Serialize for Span {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_round_trip_and_nonsense_is_refused() {
        for (text, millis) in [
            ("250ms", 250),
            ("30s", 30_000),
            ("10min", 600_000),
            ("2h", 7_200_000),
        ] {
            let span: Span = text.parse().expect(text);
            assert_eq!(span, Span::millis(millis));
            assert_eq!(span.to_string(), text);
        }
        assert_eq!("1536MiB".parse(), Ok(Bytes(1536 << 20)));
        assert_eq!(Bytes(1 << 30).to_string(), "1GiB");
        assert_eq!(Bytes(0).to_string(), "0B");
        for wrong in [
            "",
            "30",
            "s",
            "-1s",
            "1.5s",
            "3 parsecs",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert!(wrong.parse::<Span>().is_err(), "{wrong}");
        }
        assert!("20000000000GiB".parse::<Bytes>().is_err());
    }
}
