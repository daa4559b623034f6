//! Which rows train, which validate, which are kept for the test.
//!
//! A row's part is a keyed hash of what it says (or of its entity), never its
//! place in a file: the same row lands in the same part at any site and in any
//! order, equal rows never stand on both sides of a border, and nobody without
//! the task's seed can steer a row.

use serde::{Deserialize, Serialize};

use crate::table::{Cell, Column, Table};
use crate::task::Task;

/// Folds of cross-validation.
pub const FOLDS: u8 = 5;
/// Groups of validation rows for cross-fitting: what is fitted to validation rows is judged on
/// each group as fitted to the others. They are the folds' draws, also where one validation part
/// replaces the folds: which fold a row draws says nothing about whether it is held out.
pub const GROUPS: u8 = FOLDS;
/// From this many rows in total, one validation part replaces the folds: the
/// five models take five times the work, and average less noise away (docs/adr/0009).
pub const HOLDOUT_FROM: u64 = 60_000;

/// 15 % of 2^64.
const TEST_BELOW: u64 = (u64::MAX / 100) * 15;
/// 15/85 of 2^64: of the rows that are not test, so that 15 % of all validate.
const HELD_OUT_BELOW: u64 = (u64::MAX / 85) * 15;

/// Where one row belongs. Which of `fold` and `held_out` counts is decided
/// once the number of rows over all sites is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RowPart {
    /// Read once, at the end.
    Test,
    /// May be learned from.
    Train {
        /// The fold that validates on this row, below [`FOLDS`].
        fold: u8,
        /// Whether the row validates where there is one validation part.
        held_out: bool,
    },
}

/// How validation works in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SplitPlan {
    /// Five folds; each row validates once.
    Folds,
    /// One validation part; the rest only trains.
    Holdout,
}

/// Why rows cannot be split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The column that the task names is not there.
    #[error(
        "{source_name}: no column `{column}`, which the task names as `{key}`{hint}; rename it in the site's column map"
    )]
    NoColumn {
        /// The file.
        source_name: String,
        /// The column.
        column: String,
        /// `entity` or `split`.
        key: &'static str,
        /// A near name, if any.
        hint: String,
    },
    /// A row says neither train nor test.
    #[error(
        "{source_name}, line {line}, column `{column}`: neither `train` nor `test`; correct the cell or map its value"
    )]
    Value {
        /// The file.
        source_name: String,
        /// 1-based line, the header being line 1.
        line: usize,
        /// The column.
        column: String,
    },
}

impl SplitPlan {
    /// The plan for this many labelled rows over all sites, test rows included.
    #[must_use]
    pub const fn for_rows(rows: u64) -> Self {
        if rows < HOLDOUT_FROM {
            Self::Folds
        } else {
            Self::Holdout
        }
    }

    /// Number of validation slots.
    #[must_use]
    pub const fn slots(self) -> u8 {
        match self {
            Self::Folds => FOLDS,
            Self::Holdout => 1,
        }
    }

    /// The slot that a training row validates in, if any.
    #[must_use]
    pub const fn slot(self, fold: u8, held_out: bool) -> Option<u8> {
        match self {
            Self::Folds => Some(fold),
            Self::Holdout if held_out => Some(0),
            Self::Holdout => None,
        }
    }

    /// Groups of training rows that targets are counted by: the folds, and where
    /// there is one validation part, that part.
    #[must_use]
    pub const fn groups(self) -> usize {
        match self {
            Self::Folds => FOLDS as usize,
            Self::Holdout => FOLDS as usize + 1,
        }
    }

    /// The group of a training row, below [`SplitPlan::groups`].
    #[must_use]
    pub const fn group(self, fold: u8, held_out: bool) -> usize {
        match self {
            Self::Holdout if held_out => FOLDS as usize,
            _ => fold as usize,
        }
    }

    /// Whether what is learned from the targets of one group's rows may be told of
    /// another group's (or, with `None`, of new) rows: never of its own, and never from the
    /// validation part.
    #[must_use]
    pub const fn tells(self, from: usize, of: Option<usize>) -> bool {
        let own = matches!(of, Some(of) if of == from);
        let held_out = matches!(self, Self::Holdout) && from == FOLDS as usize;
        !own && !held_out
    }
}

/// The part of every row of a table.
///
/// # Errors
/// [`SplitError`] when a column that the task names is missing, or says
/// something else than train and test.
pub fn assign(task: &Task, table: &Table) -> Result<Vec<RowPart>, SplitError> {
    let entity = named(table, task.entity.as_deref(), "entity")?;
    let split = named(table, task.split.as_deref(), "split")?;
    let key = blake3::derive_key("collegium automl split v1", &task.seed.to_le_bytes());
    let sorted = table.sorted();
    let mut parts = Vec::with_capacity(table.rows());
    for row in 0..table.rows() {
        let mut hasher = blake3::Hasher::new_keyed(&key);
        match entity.map(|column| column.cell(row)) {
            Some(cell) if cell != Cell::Missing => {
                hasher.update(b"entity");
                cell.hash_into(&mut hasher);
            }
            // A row of nobody stands for itself.
            _ => {
                hasher.update(b"row");
                Table::row_identity(&sorted, row, &mut hasher);
            }
        }
        let draw = Draw::from(*hasher.finalize().as_bytes());
        let test = match split {
            Some(column) => said_test(table, column, row)?,
            None => draw.test,
        };
        parts.push(if test { RowPart::Test } else { draw.train });
    }
    Ok(parts)
}

/// What the hash of a row decides.
struct Draw {
    test: bool,
    train: RowPart,
}

impl From<[u8; 32]> for Draw {
    fn from(hash: [u8; 32]) -> Self {
        let mut words = [0_u64; 3];
        for (word, bytes) in words.iter_mut().zip(hash.chunks_exact(8)) {
            *word = bytes
                .iter()
                .rev()
                .fold(0, |word, &byte| (word << 8) | u64::from(byte));
        }
        let [test, fold, held_out] = words;
        // The high word of a product with FOLDS is uniform below FOLDS.
        let fold = ((u128::from(fold) * u128::from(FOLDS)) >> 64) as u8;
        let train = RowPart::Train {
            fold,
            held_out: held_out < HELD_OUT_BELOW,
        };
        Self {
            test: test < TEST_BELOW,
            train,
        }
    }
}

fn named<'t>(
    table: &'t Table,
    name: Option<&str>,
    key: &'static str,
) -> Result<Option<&'t Column>, SplitError> {
    let Some(name) = name else { return Ok(None) };
    match table.column(name) {
        Some(column) => Ok(Some(column)),
        None => Err(SplitError::NoColumn {
            source_name: table.source().to_owned(),
            column: name.to_owned(),
            key,
            hint: table
                .nearest(name)
                .map_or_else(String::new, |near| format!(" (did you mean `{near}`?)")),
        }),
    }
}

fn said_test(table: &Table, column: &Column, row: usize) -> Result<bool, SplitError> {
    match column.text(row) {
        Some(text) if text.eq_ignore_ascii_case("test") => Ok(true),
        Some(text) if text.eq_ignore_ascii_case("train") => Ok(false),
        _ => Err(SplitError::Value {
            source_name: table.source().to_owned(),
            line: Table::line(row),
            column: column.name().to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests;
