//! Slots: where the values of a category are counted without being named.

use serde::{Deserialize, Serialize};

use super::words::WORD_BUCKETS;
use super::{BUCKETS, FINE_BUCKETS};
use crate::object::ObjectId;
use crate::table::{Cell, canonical_number, canonical_text};
use crate::task::Task;

/// Whole numbers with a slot of their own: -1 to 62. Codes, grades and counts
/// of medical and bank tables are among them; -1 often means "never".
pub(crate) const WHOLE_SLOTS: usize = 64;
const WHOLE_FIRST: f64 = -1.0;

/// How a value finds its slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Coding {
    /// Slot = number + 1, for -1 to 62.
    Whole,
    /// The task names the values; slot = place in the list.
    Vocabulary(Vec<String>),
    /// Slot = keyed hash of column and value, below [`BUCKETS`].
    Buckets,
    /// Slot = keyed hash of column and value, below [`FINE_BUCKETS`]: for columns of
    /// many values.
    FineBuckets,
}

/// The `most` slots with the most rows, each with its rows, ascending by slot. Of slots with equally many
/// the first ones stay.
pub(crate) fn most_frequent(
    counted: impl IntoIterator<Item = (u16, u64)>,
    most: usize,
) -> Vec<(u16, u64)> {
    let mut frequent: Vec<(u16, u64)> = counted.into_iter().collect();
    frequent.sort_unstable_by_key(|&(slot, rows)| (std::cmp::Reverse(rows), slot));
    frequent.truncate(most);
    frequent.sort_unstable();
    frequent
}

/// Key of the hash buckets, from the task's name and seed: bucket numbers of
/// two tasks cannot be compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SlotKey(ObjectId);

impl SlotKey {
    /// The key of a task.
    #[must_use]
    pub fn of(task: &Task) -> Self {
        let mut material = task.seed.to_le_bytes().to_vec();
        material.extend_from_slice(task.name.as_bytes());
        Self(ObjectId(blake3::derive_key(
            "collegium automl vocabulary v1",
            &material,
        )))
    }

    /// The bucket of a canonical value of a column.
    #[must_use]
    pub fn bucket(self, column: &str, value: &str) -> usize {
        usize::from(self.hash(column, value)[0]) % BUCKETS
    }

    /// The fine bucket of a canonical value of a column.
    #[must_use]
    pub fn fine_bucket(self, column: &str, value: &str) -> usize {
        let hash = self.hash(column, value);
        usize::from(u16::from_le_bytes([hash[1], hash[2]])) % FINE_BUCKETS
    }

    /// The bucket of a word of a column of free text, below [`WORD_BUCKETS`].
    pub(crate) fn word(self, column: &str, word: &str) -> u16 {
        let hash = self.hash(column, word);
        u16::from_le_bytes([hash[3], hash[4]]) % WORD_BUCKETS as u16
    }

    fn hash(self, column: &str, value: &str) -> [u8; 32] {
        let mut hasher = blake3::Hasher::new_keyed(self.0.as_bytes());
        hasher.update(&(column.len() as u64).to_le_bytes());
        hasher.update(column.as_bytes());
        hasher.update(value.as_bytes());
        *hasher.finalize().as_bytes()
    }
}

/// The slot of a whole number from -1 to 62.
pub(crate) fn whole_slot(number: f64) -> Option<usize> {
    let slot = number - WHOLE_FIRST;
    let fits = slot >= 0.0 && slot < WHOLE_SLOTS as f64 && libm::floor(slot) == slot;
    fits.then_some(slot as usize)
}

/// The number of a slot.
pub(crate) fn whole_number(slot: u16) -> f64 {
    f64::from(slot) + WHOLE_FIRST
}

impl Coding {
    /// Number of slots.
    pub(crate) fn slots(&self) -> usize {
        match self {
            Self::Whole => WHOLE_SLOTS,
            Self::Vocabulary(values) => values.len(),
            Self::Buckets => BUCKETS,
            Self::FineBuckets => FINE_BUCKETS,
        }
    }

    /// The slot of a cell that is not missing; `None` is "other".
    pub(crate) fn slot(&self, key: SlotKey, column: &str, cell: Cell<'_>) -> Option<usize> {
        match (self, cell) {
            (_, Cell::Missing) | (Self::Whole, Cell::Text(_)) => None,
            (Self::Whole, Cell::Number(number)) => whole_slot(number),
            (Self::Vocabulary(values), Cell::Number(number)) => {
                let value = canonical_number(number);
                values
                    .iter()
                    .position(|known| canonical_text(known) == value)
            }
            (Self::Vocabulary(values), Cell::Text(text)) => {
                values.iter().position(|known| known == text)
            }
            (Self::Buckets, Cell::Number(number)) => {
                Some(key.bucket(column, &canonical_number(number)))
            }
            (Self::Buckets, Cell::Text(text)) => Some(key.bucket(column, text)),
            (Self::FineBuckets, Cell::Number(number)) => {
                Some(key.fine_bucket(column, &canonical_number(number)))
            }
            (Self::FineBuckets, Cell::Text(text)) => Some(key.fine_bucket(column, text)),
        }
    }

    /// What a slot is called in the names of features.
    pub(crate) fn slot_name(&self, slot: u16) -> String {
        match self {
            Self::Whole => canonical_number(whole_number(slot)),
            Self::Vocabulary(values) => values.get(usize::from(slot)).cloned().unwrap_or_default(),
            Self::Buckets | Self::FineBuckets => format!("bucket {slot}"),
        }
    }
}
