//! The form of an entry: one JSON object in the canonical form of RFC 8785 (no spaces, keys
//! sorted, one way to write a number), so that an entry has one text and one hash.

use serde_json::Value;

use super::LedgerError;

/// The field that every entry has: when, in milliseconds since 1970-01-01 UTC by the daemon's clock.
pub const TIME: &str = "time_ms";

/// An entry's canonical text.
///
/// # Errors
/// [`LedgerError::Entry`]; none for values that JSON can hold.
pub fn canonical(value: &Value) -> Result<Vec<u8>, LedgerError> {
    serde_json_canonicalizer::to_vec(value).map_err(|error| LedgerError::Entry(error.to_string()))
}

/// Reads an entry back; says what is wrong with one that no daemon wrote.
///
/// # Errors
/// A reason, in words.
pub fn parse(bytes: &[u8]) -> Result<Value, String> {
    let value: Value =
        serde_json::from_slice(bytes).map_err(|error| format!("no JSON ({error})"))?;
    for field in ["action", "actor", "object", "outcome"] {
        if !value.get(field).is_some_and(Value::is_string) {
            return Err(format!("without the field {field}"));
        }
    }
    if !value.get(TIME).is_some_and(Value::is_u64) {
        return Err(format!("without the field {TIME}"));
    }
    match canonical(&value) {
        Ok(text) if text == bytes => Ok(value),
        _ => Err("not in the canonical form of JSON".to_owned()),
    }
}

/// Now, as entries have it.
#[must_use]
pub fn now_ms() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}
