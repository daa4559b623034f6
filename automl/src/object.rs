//! Content-addressed objects: the pipelines and models that asks refer to.
//!
//! An [`Object`] travels as compact JSON, and its id is the BLAKE3 hash of
//! those bytes. A site that holds the bytes holds exactly the object the ask
//! names, whoever sent it.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::de::{Error as _, IgnoredAny, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::family::registry::ObjectOf;
use crate::family::{self, AnyObject, FoldModel};
use crate::features::Pipeline;

/// Largest object a site accepts, in bytes: 64 MiB, the cap of the object
/// stream. A network of 4 million weights is about 48 MB of JSON.
pub const MAX_OBJECT_BYTES: usize = 64 << 20;

/// BLAKE3 hash that names an object, a task, a data set or an ask. Hex when
/// printed and in JSON.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ObjectId(pub [u8; 32]);

impl ObjectId {
    /// The id of these bytes.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }

    /// The raw 32 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectId({self})")
    }
}

/// The text was not 64 hexadecimal digits.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("an object id is 64 hexadecimal digits, got {0:?}")]
pub struct ObjectIdError(String);

impl FromStr for ObjectId {
    type Err = ObjectIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || ObjectIdError(text.chars().take(80).collect());
        let digits = text.as_bytes();
        if digits.len() != 64 {
            return Err(bad());
        }
        let mut id = [0u8; 32];
        for (byte, pair) in id.iter_mut().zip(digits.chunks_exact(2)) {
            let high = char::from(pair[0]).to_digit(16).ok_or_else(bad)?;
            let low = char::from(pair[1]).to_digit(16).ok_or_else(bad)?;
            *byte = (high * 16 + low) as u8;
        }
        Ok(Self(id))
    }
}

impl Serialize for ObjectId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for ObjectId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The key of a pipeline's JSON; every other key is the name of a family.
const PIPELINE: &str = "pipeline";

/// Something an ask can refer to by content hash. As JSON an object with one key:
/// `pipeline`, or the name of a family.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// How rows become numbers.
    Pipeline(Pipeline),
    /// A family's model, or a piece of one.
    Family(AnyObject),
}

impl Serialize for Object {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(1))?;
        match self {
            Self::Pipeline(pipeline) => map.serialize_entry(PIPELINE, pipeline)?,
            Self::Family(object) => map.serialize_entry(object.family(), object)?,
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Object {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OneObject)
    }
}

struct OneObject;

impl<'de> Visitor<'de> for OneObject {
    type Value = Object;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with one key, `pipeline` or the name of a model family")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object, A::Error> {
        let Some(key) = map.next_key::<String>()? else {
            return Err(A::Error::custom("an object without a key"));
        };
        let object = match (key.as_str(), family::find(&key)) {
            (PIPELINE, _) => Object::Pipeline(map.next_value()?),
            (_, Some(family)) => Object::Family(map.next_value_seed(ObjectOf(family))?),
            (_, None) => return Err(A::Error::unknown_variant(&key, &[PIPELINE])),
        };
        match map.next_key::<IgnoredAny>()? {
            None => Ok(object),
            Some(_) => Err(A::Error::custom("more than one key")),
        }
    }
}

/// Bytes that are no object of this version.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// More bytes than any object may have.
    #[error("object of {0} bytes is larger than the cap of {MAX_OBJECT_BYTES}")]
    TooLarge(usize),
    /// Not JSON, or not an object this version knows.
    #[error("these bytes are no object that this version knows: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Parts of the object contradict each other.
    #[error("object contradicts itself: {0}")]
    Inconsistent(String),
}

impl Object {
    /// Canonical bytes: compact JSON in field order.
    ///
    /// # Errors
    /// When a number is not finite, which JSON cannot carry.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ObjectError> {
        self.check()?;
        Ok(serde_json::to_vec(self)?)
    }

    /// Reads and checks an object.
    ///
    /// # Errors
    /// When the bytes are too many, malformed, or the object contradicts
    /// itself.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ObjectError> {
        if bytes.len() > MAX_OBJECT_BYTES {
            return Err(ObjectError::TooLarge(bytes.len()));
        }
        let object: Self = serde_json::from_slice(bytes)?;
        object.check()?;
        Ok(object)
    }

    fn check(&self) -> Result<(), ObjectError> {
        match self {
            Self::Pipeline(pipeline) => pipeline.check().map_err(ObjectError::Inconsistent),
            Self::Family(object) => object.check().map_err(ObjectError::Inconsistent),
        }
    }

    /// The id of its canonical bytes.
    ///
    /// # Errors
    /// As [`Object::to_bytes`].
    pub fn id(&self) -> Result<ObjectId, ObjectError> {
        Ok(ObjectId::of(&self.to_bytes()?))
    }

    /// The model it is, if it is one.
    #[must_use]
    pub fn model(&self) -> Option<&dyn FoldModel> {
        match self {
            Self::Pipeline(_) => None,
            Self::Family(object) => object.model(),
        }
    }
}

/// Bytes of objects that a site keeps beyond those of the ask at hand: a long model of
/// trees is hundreds of objects of some kilobytes, a network one of some megabytes.
const KEPT_BYTES: usize = 128 << 20;

/// The objects a site holds, by id.
#[derive(Clone, Debug, Default)]
pub struct Objects {
    held: BTreeMap<ObjectId, Held>,
    asks: u64,
}

#[derive(Clone, Debug)]
struct Held {
    object: Object,
    bytes: usize,
    /// The ask that needed it last.
    used: u64,
}

impl Objects {
    /// Parses and keeps an object; returns the hash of its bytes.
    ///
    /// # Errors
    /// When the bytes are no valid object.
    pub fn insert(&mut self, bytes: &[u8]) -> Result<ObjectId, ObjectError> {
        let object = Object::from_bytes(bytes)?;
        Ok(self.hold(object, bytes))
    }

    /// Keeps an object that was made here, without reading its bytes again.
    ///
    /// # Errors
    /// As [`Object::to_bytes`].
    pub fn keep(&mut self, object: Object) -> Result<ObjectId, ObjectError> {
        let bytes = object.to_bytes()?;
        Ok(self.hold(object, &bytes))
    }

    fn hold(&mut self, object: Object, bytes: &[u8]) -> ObjectId {
        let id = ObjectId::of(bytes);
        let held = Held {
            object,
            bytes: bytes.len(),
            used: self.asks,
        };
        self.held.insert(id, held);
        id
    }

    /// The object of this id.
    #[must_use]
    pub fn get(&self, id: ObjectId) -> Option<&Object> {
        self.held.get(&id).map(|held| &held.object)
    }

    /// A store of its own with this one object, if it is here.
    #[must_use]
    pub fn only(&self, id: ObjectId) -> Self {
        let held = self.held.get(&id).map(|held| (id, held.clone()));
        Self {
            held: held.into_iter().collect(),
            asks: self.asks,
        }
    }

    /// Whether the object is here.
    #[must_use]
    pub fn holds(&self, id: ObjectId) -> bool {
        self.held.contains_key(&id)
    }

    /// Marks what an ask needed, and forgets what was not needed for the longest time
    /// where the others take more than 128 MiB: it can be fetched again.
    pub fn used(&mut self, needed: &[ObjectId]) {
        self.asks += 1;
        for id in needed {
            if let Some(held) = self.held.get_mut(id) {
                held.used = self.asks;
            }
        }
        let idle = self.held.iter().filter(|(_, held)| held.used < self.asks);
        let mut idle: Vec<(u64, ObjectId, usize)> = idle
            .map(|(id, held)| (held.used, *id, held.bytes))
            .collect();
        idle.sort_unstable();
        let mut bytes: usize = idle.iter().map(|(_, _, bytes)| bytes).sum();
        for (_, id, size) in idle {
            if bytes <= KEPT_BYTES {
                break;
            }
            bytes -= size;
            self.held.remove(&id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn id_round_trips_as_hex() {
        let id = ObjectId::of(b"collegium");
        assert_eq!(id.to_string().parse::<ObjectId>(), Ok(id));
        let json = serde_json::to_string(&id).expect("ids serialise");
        assert_eq!(json, format!("\"{id}\""));
    }

    #[test]
    fn id_refuses_what_is_not_64_hex_digits() {
        for bad in ["", "00", &"g".repeat(64), &"0".repeat(66), "ää"] {
            assert!(bad.parse::<ObjectId>().is_err(), "{bad}");
        }
    }
}
