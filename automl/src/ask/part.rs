//! The JSON of a part: an object with one key that says what it is.

use std::fmt;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::Part;
use crate::family;
use crate::family::registry::PartOf;

/// Key of a part of the profile.
pub(super) const PROFILE: &str = "profile";
/// Key of candidates that sites train alone.
pub(super) const TRIAL: &str = "trial";
/// Key of losses and curves.
pub(super) const SCORE: &str = "score";
/// Key of products of errors.
pub(super) const GRAM: &str = "gram";
/// Key of a blend's losses and curves.
pub(super) const BLEND: &str = "blend";
/// Key of two champions side by side.
pub(super) const COMPARE: &str = "compare";
/// Key of bounded sums with noise.
pub(super) const NOISY: &str = "noisy";

impl Serialize for Part {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Profile(part) => map.serialize_entry(PROFILE, part)?,
            Self::Trial(part) => map.serialize_entry(TRIAL, part)?,
            Self::Score(part) => map.serialize_entry(SCORE, part)?,
            Self::Gram(part) => map.serialize_entry(GRAM, part)?,
            Self::Blend(part) => map.serialize_entry(BLEND, part)?,
            Self::Compare(part) => map.serialize_entry(COMPARE, part)?,
            Self::Noisy(part) => map.serialize_entry(NOISY, part)?,
            Self::Train(part) => map.serialize_entry(part.family(), part)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Part {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OnePart)
    }
}

struct OnePart;

impl<'de> Visitor<'de> for OnePart {
    type Value = Part;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "an object with one key, `profile`, `trial`, `score`, `gram`, `blend`, `compare`, `noisy` \
             or the name of a model family",
        )
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Part, A::Error> {
        let Some(key) = map.next_key::<String>()? else {
            return Err(A::Error::custom("a part without a key"));
        };
        let part = match (key.as_str(), family::find(&key)) {
            (PROFILE, _) => Part::Profile(map.next_value()?),
            (TRIAL, _) => Part::Trial(map.next_value()?),
            (SCORE, _) => Part::Score(map.next_value()?),
            (GRAM, _) => Part::Gram(map.next_value()?),
            (BLEND, _) => Part::Blend(map.next_value()?),
            (COMPARE, _) => Part::Compare(map.next_value()?),
            (NOISY, _) => Part::Noisy(map.next_value()?),
            (_, Some(family)) => Part::Train(map.next_value_seed(PartOf(family))?),
            (_, None) => {
                return Err(A::Error::unknown_variant(
                    &key,
                    &[PROFILE, TRIAL, SCORE, GRAM, BLEND, COMPARE, NOISY],
                ));
            }
        };
        match map.next_key::<IgnoredAny>()? {
            None => Ok(part),
            Some(_) => Err(A::Error::custom("a part with more than one key")),
        }
    }
}
