//! Features: how a row of a table becomes numbers.
//!
//! A [`Pipeline`] is plain data. It is fitted from the profile alone, travels to the
//! sites as an object, is stored in the champion, and the same code turns rows into
//! numbers in training, in the test and in `predict`.
//!
//! Only target encodings have seen labels. A training row's encoding is made of the
//! targets of the other folds, so it depends on the row's own fold and on nothing
//! else; new rows are encoded by the targets of all training rows. One matrix then serves all folds. What
//! remains is that the encodings of training rows know a little of the validation rows'
//! targets, as in any such scheme; it is of the order of one row among those that share a
//! value.

mod declared;
mod encode;
mod fit;
mod fits;
mod input;
mod matrix;
mod names;
mod refuse;
mod scores;
mod smooth;
mod spec;
pub mod transform;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::profile::{Coding, PairBins, SlotKey, Source};
use crate::split::SplitPlan;
use crate::table::{Table, TableError};

pub use crate::profile::{Dropped, TargetCoding};
pub use matrix::{Cells, Matrix, Row};
pub(crate) use refuse::words;
pub use refuse::{PrivacyKind, refused};
pub use spec::{Categories, NamedPipeline, Numbers, PipelineSpec, SmallNumbers, pipelines};

/// Features are clamped to this magnitude: standard deviations, roughly.
pub const MAX_FEATURE: f64 = 8.0;
/// Most columns of a design: 512 table columns of 33 levels would be more than
/// any step can carry, so wider ones are refused when fitted.
pub const MAX_WIDTH: usize = 8192;

/// A fitted pipeline.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    key: SlotKey,
    plan: SplitPlan,
    target_column: String,
    target: TargetCoding,
    /// Values that mean "missing", by column.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    missing_values: BTreeMap<String, Vec<String>>,
    /// Whether a table may lack a column, whose cells are then missing.
    #[serde(default, skip_serializing_if = "is_false")]
    absent_is_missing: bool,
    inputs: Vec<Input>,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

/// One column of the table, or one derived from several, and the features it becomes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    column: String,
    /// Whether texts among its numbers are taken as missing, as they were in
    /// training; else a text is an error in `predict`.
    texts: bool,
    /// Whether a feature says that the value is missing.
    flag: bool,
    encoding: Encoding,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
enum Encoding {
    /// (clipped - center) / scale, 0 when missing; then, for each knot,
    /// (clipped - knot)+ / scale.
    Linear {
        source: Source,
        lo: f64,
        hi: f64,
        center: f64,
        scale: f64,
        knots: Vec<f64>,
    },
    /// Piecewise linear in the value, through these points; 0 when missing.
    Curve {
        source: Source,
        at: Vec<f64>,
        to: Vec<f64>,
    },
    /// Robustly scaled, smoothly clipped, and cut into pieces: for networks.
    Smooth(smooth::Smooth),
    /// One feature a level, and one for all others where they occurred. A derived
    /// column's levels are its small whole numbers. As bins: missing, another value, this one.
    Levels {
        source: Source,
        coding: Coding,
        slots: Vec<u16>,
        other: bool,
        #[serde(default, skip_serializing_if = "is_false")]
        as_bins: bool,
    },
    /// Only whether it is missing.
    Missing {},
    /// One feature: the bin of a number, by ascending cuts. Bin 0 is missing, bin 1 lies
    /// below the first cut, a value on a cut belongs to the bin above it.
    Bins { source: Source, cuts: Vec<f64> },
    /// One feature: the place of a level. Bin 0 is missing or never seen, bin `i + 1` the
    /// `i`-th slot, the last one all other levels where they occurred.
    LevelBins {
        coding: Coding,
        slots: Vec<u16>,
        other: bool,
    },
    /// One feature: a number for each level, 0 when missing; or, as a bin, its place
    /// among `values` plus one. `groups` first says the place plus one of each slot for new rows, at
    /// the end that of every other level, then, where that depends on the row's group, the
    /// same for the training rows of each group.
    Scores {
        label: String,
        coding: Coding,
        slots: Vec<u16>,
        groups: Vec<Vec<u8>>,
        values: Vec<f64>,
        as_bins: bool,
    },
    /// As `Scores`, for the cells of two columns.
    Pair {
        bins: Box<PairBins>,
        groups: Vec<Vec<u8>>,
        values: Vec<f64>,
        as_bins: bool,
    },
    /// One feature a word: whether the text has it. As bins: missing, without, with.
    Words { buckets: Vec<u16>, as_bins: bool },
}

/// Most bins of a column, the one for missing values among them.
pub const MAX_BINS: usize = 256;

/// What the bins of one feature mean.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinColumn {
    /// The table's column, or what is made of columns: "a / b", "city (target)".
    pub name: String,
    /// Bins, the one for missing values (bin 0) among them: 2 to [`MAX_BINS`].
    pub bins: usize,
    /// Whether larger bins hold larger values; levels of a category have no order.
    pub ordered: bool,
}

/// Why rows do not fit a pipeline.
#[derive(Debug, thiserror::Error)]
pub enum FeatureError {
    /// A column is not there.
    #[error(
        "{source_name}: no column `{column}`, which the model was trained on{hint}; add or rename it, or map it in the site's column map"
    )]
    NoColumn {
        /// The file.
        source_name: String,
        /// The column.
        column: String,
        /// A near name.
        hint: String,
    },
    /// A text where the model knows numbers.
    #[error(
        "{source_name}, line {line}, column `{column}`: not {wanted}, which the model was trained on; correct the cell, or leave it empty if it is unknown"
    )]
    Type {
        /// The file.
        source_name: String,
        /// 1-based line, the header being line 1.
        line: usize,
        /// The column.
        column: String,
        /// "a number" or "a date".
        wanted: &'static str,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Table(#[from] TableError),
    /// A derived column that this program cannot make.
    #[error("{0}")]
    Transform(String),
    /// Too many features.
    #[error(
        "the pipeline makes {width} features, more than {MAX_WIDTH}; declare some columns as \"ignore\" in the task"
    )]
    TooWide {
        /// How many.
        width: usize,
    },
}

impl Pipeline {
    /// The table's columns that it reads; some more than once.
    pub fn inputs(&self) -> impl Iterator<Item = &str> {
        self.inputs.iter().flat_map(Input::columns)
    }

    /// What is predicted.
    #[must_use]
    pub const fn target(&self) -> &TargetCoding {
        &self.target
    }

    /// The column that is predicted.
    #[must_use]
    pub fn target_column(&self) -> &str {
        &self.target_column
    }

    /// How validation works.
    #[must_use]
    pub const fn plan(&self) -> SplitPlan {
        self.plan
    }

    /// Number of validation slots.
    #[must_use]
    pub const fn folds(&self) -> u8 {
        self.plan.slots()
    }

    /// Number of features.
    #[must_use]
    pub fn width(&self) -> usize {
        self.inputs.iter().map(Input::width).sum()
    }

    /// Names of the features, in order.
    #[must_use]
    pub fn features(&self) -> Vec<String> {
        self.inputs.iter().flat_map(Input::names).collect()
    }

    /// Features of each column of the table that has any, in the order of the features.
    #[must_use]
    pub fn widths(&self) -> Vec<usize> {
        self.inputs.iter().map(Input::width).collect()
    }

    /// All rows of a table as numbers, for prediction. Strict: a column that
    /// is not there (unless the task took such columns for missing), or a cell of
    /// another type, is an error.
    ///
    /// # Errors
    /// [`FeatureError`] names the column and the line.
    pub fn design(&self, table: &Table) -> Result<Matrix, FeatureError> {
        let rows: Vec<u32> = (0_u32..).take(table.rows()).collect();
        let groups = vec![None; rows.len()];
        if self.missing_values.is_empty() {
            self.check_table(table)?;
            return self.rows(table, &rows, &groups);
        }
        let table = table.clone().with_missing(&self.missing_values);
        self.check_table(&table)?;
        self.rows(&table, &rows, &groups)
    }

    /// Checks what came from elsewhere.
    ///
    /// # Errors
    /// Says what is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        if self.width() > MAX_WIDTH {
            return Err(format!(
                "{} features are more than {MAX_WIDTH}",
                self.width()
            ));
        }
        let binned = self.inputs.iter().filter(|input| input.binned()).count();
        if binned != 0 && binned != self.inputs.len() {
            return Err("some features are bins and some are numbers".to_owned());
        }
        let groups = 1 + self.plan.groups();
        self.inputs.iter().try_for_each(|input| input.check(groups))
    }

    /// A pipeline without columns, where a test needs any.
    #[cfg(test)]
    pub(crate) fn blank() -> Self {
        Self {
            key: serde_json::from_value(serde_json::json!("00".repeat(32))).expect("a key"),
            plan: SplitPlan::Folds,
            target_column: String::new(),
            target: TargetCoding::Number {
                mean: 0.0,
                scale: 1.0,
            },
            missing_values: BTreeMap::new(),
            absent_is_missing: false,
            inputs: Vec::new(),
        }
    }

    /// Whether its features are bins, not numbers.
    #[must_use]
    pub fn binned(&self) -> bool {
        self.inputs.first().is_some_and(Input::binned)
    }

    /// What the bins of each feature mean, in the order of the features; empty for a
    /// pipeline that makes numbers.
    #[must_use]
    pub fn bin_columns(&self) -> Vec<BinColumn> {
        self.inputs.iter().flat_map(Input::bin_columns).collect()
    }

    /// What a row with this bin of the `feature`-th column holds, for people: "age < 41.5",
    /// "sex = bucket 7", "chol missing". Empty for a pipeline that makes numbers.
    #[must_use]
    pub fn bin_name(&self, feature: usize, bin: usize) -> String {
        let mut before = 0;
        for input in &self.inputs {
            if feature < before + input.width() {
                return input.bin_name(feature - before, bin);
            }
            before += input.width();
        }
        String::new()
    }
}

#[cfg(test)]
mod kinds_tests;
#[cfg(test)]
mod tests;
