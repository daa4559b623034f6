//! The profile: what the columns look like over all sites, learned from sums.
//!
//! Five steps. *Schema* spells the names of the columns (names travel, values
//! never do). *Survey* counts types, classes, values of categories and a coarse
//! grid of magnitudes. *Refine* lays at most 64 cells over each column of
//! numbers, twice, the second time where the rows are: this gives its quantiles. *Moments* sums each clipped number and
//! its square as integers.
//!
//! Every figure is a sum of whole numbers computed per row, so a profile over
//! five sites equals the profile of their rows in one table, bit for bit. Only
//! training rows are read; test rows are counted and nothing else.

mod answer;
pub(crate) mod classes;
mod decide;
mod grid;
mod part;
mod run;
mod schema;
mod slots;

use serde::{Deserialize, Serialize};

use crate::split::SplitPlan;
use crate::task::Kind;

pub use part::{ColumnAsk, MomentsColumn, ProfilePart, RefineColumn};
pub use run::{ProfileError, ProfileSums, run, run_with};
pub use slots::{Coding, SlotKey};

pub(crate) use answer::answer;

/// Buckets that the values of a column without a declared vocabulary fall in.
pub const BUCKETS: usize = 256;
/// Most values of a declared vocabulary.
pub const MAX_VOCABULARY: usize = 256;
/// Most cells laid over a column of numbers.
pub const MAX_CELLS: usize = 64;
/// A category value with fewer training rows over all sites becomes "other".
pub const MIN_LEVEL_ROWS: u64 = 10;
/// Most values of a category that get a feature of their own.
pub const MAX_LEVELS: usize = 32;

/// What is known about the rows of all sites together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// Rows that may be learned from.
    pub train_rows: u64,
    /// Rows kept for the test.
    pub test_rows: u64,
    /// Rows without a target, which nothing is done with.
    pub unlabelled_rows: u64,
    /// How validation works, decided by the number of rows.
    pub plan: SplitPlan,
    /// Where the values of categories are counted.
    pub key: SlotKey,
    /// The column to predict.
    pub target_column: String,
    /// What its values are.
    pub target: TargetCoding,
    /// Training rows of each class, in the order of the classes; empty for a
    /// number.
    pub class_counts: Vec<u64>,
    /// Columns that can be features, in the order of their names.
    pub columns: Vec<ColumnProfile>,
    /// Columns that cannot, with the reason.
    pub dropped: Vec<Dropped>,
}

/// The values of the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TargetCoding {
    /// One of these; where there are two, the second is the positive class.
    Classes {
        /// Canonical values.
        labels: Vec<String>,
    },
    /// A number.
    Number {
        /// Mean over the training rows.
        mean: f64,
        /// Standard deviation over the training rows, positive.
        scale: f64,
    },
}

/// A column that is not used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropped {
    /// Its name.
    pub column: String,
    /// Why, in words that follow "because".
    pub reason: String,
}

/// One column that can be a feature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnProfile {
    /// Its name.
    pub name: String,
    /// Training rows without a usable value.
    pub missing: u64,
    /// Whether some training cells were texts among numbers; they count as
    /// missing, and later rows may have such cells too.
    pub texts: bool,
    /// What the values are.
    pub values: Values,
}

/// What the values of a column are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Values {
    /// Quantities.
    Number {
        /// Their distribution.
        shape: NumberShape,
        /// Whole numbers from -1 to 62 only: the values that at least
        /// [`MIN_LEVEL_ROWS`] rows have, and how many rows have others. Such a
        /// column may be a code rather than a quantity.
        small: Option<Levels>,
    },
    /// Calendar dates, as days since 1970-01-01.
    Date {
        /// Their distribution.
        shape: NumberShape,
    },
    /// One of a few values.
    Category(Levels),
}

/// Counted values of a category.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    /// How a value finds its slot.
    pub coding: Coding,
    /// Slots with enough rows, ascending, at most [`MAX_LEVELS`].
    pub slots: Vec<u16>,
    /// Training rows of each of them.
    pub counts: Vec<u64>,
    /// Training rows with any other value.
    pub other: u64,
}

/// Distribution of a column of numbers over the training rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NumberShape {
    /// Rows with a number.
    pub rows: u64,
    /// Ascending edges of the cells, one more than `counts`.
    pub edges: Vec<f64>,
    /// Rows in each cell.
    pub counts: Vec<u64>,
    /// Values below this are treated as this.
    pub lo: f64,
    /// Values above this are treated as this.
    pub hi: f64,
    /// Mean of the clipped values.
    pub mean: f64,
    /// Standard deviation of the clipped values; 0 for a constant.
    pub sd: f64,
}

impl Profile {
    /// Classification or regression.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self.target {
            TargetCoding::Classes { .. } => Kind::Classification,
            TargetCoding::Number { .. } => Kind::Regression,
        }
    }
}

impl NumberShape {
    /// The value that a share `p` (0 to 1) of the rows lies below, by linear
    /// interpolation inside the cell.
    #[must_use]
    pub fn quantile(&self, p: f64) -> f64 {
        grid::quantile(&self.edges, &self.counts, p)
    }

    /// Ascending cuts between at most `most` bins with about equally many rows in each;
    /// every cut is an edge of the grid, so how many rows lie on either side is known.
    #[must_use]
    pub fn cuts(&self, most: usize) -> Vec<f64> {
        grid::cuts(&self.edges, &self.counts, most)
    }
}

#[cfg(test)]
mod part_tests;
#[cfg(test)]
mod tests;
