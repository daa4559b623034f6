//! The profile: what the columns look like over all sites, learned from sums.
//!
//! Five steps. *Schema* spells the names of the columns (names travel, values
//! never do). *Survey* counts types, classes, values of categories, a coarse
//! grid of magnitudes and usual codes for "missing". *Refine* lays at most 256
//! cells over each column of numbers, twice, the second time where the rows are:
//! this gives its quantiles, and the edges of its at most 64 bins. Beside the first look, *Screen* counts derived columns,
//! the values of large categories and words by target, and what tells something is
//! kept. The last step sums each clipped number and its square (*Moments*), counts
//! the bins of every column by target and fold (*Tables*: weight of evidence,
//! target encodings) and sums products (*Gram*: correlations). Where rows are many and boosted trees
//! may be tried, one step more counts *Pairs* of the columns that tell most.
//!
//! Every figure is a sum of whole numbers computed per row, so a profile over
//! five sites equals the profile of their rows in one table, bit for bit. Only
//! training rows are read; test rows are counted and nothing else.

mod answer;
pub(crate) mod classes;
mod decide;
mod drift;
mod error;
mod gram;
mod grid;
mod interaction;
mod pairs;
mod part;
mod run;
mod schema;
mod screen;
mod sentinel;
mod shapes;
mod slots;
mod source;
mod survey;
mod tally;
mod target;
pub(crate) mod words;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::split::SplitPlan;
use crate::task::Kind;

pub use drift::{ColumnCounts, Drift};
pub use error::ProfileError;
pub use gram::{Gram, GramColumn, MAX_GRAM};
pub use pairs::{MAX_PAIRED, MAX_PAIRS, MIN_PAIR_ROWS, PairBins, PairProfile, PairsAsk};
pub use part::{ColumnAsk, MomentsColumn, ProfilePart, RefineColumn};
pub use run::{ProfileSums, Sum, run, run_with};
pub use screen::{MAX_LARGE, MAX_SCREENED, ScreenAsk, ScreenColumn};
pub use sentinel::MissingProposal;
pub use slots::{Coding, SlotKey};
pub use source::Source;
pub use tally::{BinAsk, Bins, TableColumn, TargetTable};
pub use target::TargetAsk;
pub use words::{MAX_WORDS, WORD_BUCKETS, Words};

pub(crate) use answer::answer;
pub(crate) use pairs::PairReader;
pub(crate) use slots::most_frequent;
pub(crate) use source::Quantities;
pub(crate) use target::Tally;

/// Steps of a profile, unless the names of the columns need another try, and one more for pairs.
pub const STEPS: u32 = 5;
/// Buckets that the values of a column without a declared vocabulary fall in.
pub const BUCKETS: usize = 256;
/// Buckets that the values of a category with many values fall in.
pub const FINE_BUCKETS: usize = 1 << 14;
/// Most values of a category that are counted by target, for encodings.
pub const MAX_ENCODED: usize = 2048;
/// Most values of a declared vocabulary.
pub const MAX_VOCABULARY: usize = 256;
/// Most bins of a column that are counted by target, and that a model may use.
pub const MAX_CELLS: usize = 64;
/// Most cells laid over a column of numbers in one look, from whose edges the bins are taken.
pub const MAX_GRID: usize = 256;
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
    /// Computed columns that tell more than those they are made of, best first.
    pub derived: Vec<ColumnProfile>,
    /// Pairs of columns that tell more than their columns added up, best first.
    pub pairs: Vec<PairProfile>,
    /// Columns that cannot, with the reason.
    pub dropped: Vec<Dropped>,
    /// Values that may mean "missing", for the task's author to decide.
    pub proposals: Vec<MissingProposal>,
    /// Values that the task says mean "missing", by column; already applied.
    pub missing_values: BTreeMap<String, Vec<String>>,
    /// Whether a column that a site lacks is missing there.
    pub absent_is_missing: bool,
    /// Correlations of the columns of numbers, and with the target.
    pub gram: Option<Gram>,
}

/// What the values of a column are, for people and for whoever picks features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnKind {
    /// A quantity.
    Number,
    /// One of two values.
    Boolean,
    /// Few values in an order.
    Ordinal,
    /// One of several values without an order.
    Category,
    /// A calendar date.
    Date,
    /// Sentences.
    Text,
}

/// What the training cells of a column looked like, over all sites.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Votes {
    /// Numbers.
    pub numbers: u64,
    /// Whole ones among them.
    pub whole: u64,
    /// Texts.
    pub texts: u64,
    /// Dates among them.
    pub dates: u64,
    /// Sentences among them.
    pub sentences: u64,
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
    /// What its values are, in a word.
    pub kind: ColumnKind,
    /// What its cells looked like; all zero for a derived column.
    pub votes: Votes,
    /// Where its numbers come from; of no meaning for categories and texts.
    pub source: Source,
    /// Training rows without a usable value.
    pub missing: u64,
    /// Whether some training cells were texts among numbers; they count as
    /// missing, and later rows may have such cells too.
    pub texts: bool,
    /// What the values are.
    pub values: Values,
    /// Its bins by target and group of rows; `None` for texts.
    pub table: Option<TargetTable>,
    /// How much it tells about the target on its own, see
    /// [`TargetTable::strength`].
    pub strength: f64,
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
    /// One of several values.
    Category(Levels),
    /// One of the values that the task lists in their order.
    Ordinal(Levels),
    /// Sentences.
    Text(Words),
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

impl TargetCoding {
    /// The classes; none for a number.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        match self {
            Self::Classes { labels } => labels,
            Self::Number { .. } => &[],
        }
    }
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

impl ColumnProfile {
    /// Whether it is computed from other columns.
    #[must_use]
    pub const fn is_derived(&self) -> bool {
        matches!(self.source, Source::Derived(_))
    }

    /// The column's distribution, where it has numbers or dates.
    #[must_use]
    pub const fn shape(&self) -> Option<&NumberShape> {
        match &self.values {
            Values::Number { shape, .. } | Values::Date { shape } => Some(shape),
            Values::Category(_) | Values::Ordinal(_) | Values::Text(_) => None,
        }
    }

    /// How the column's category values are counted, where they are.
    #[must_use]
    pub const fn coding(&self) -> Option<&Coding> {
        match &self.values {
            Values::Number {
                small: Some(levels),
                ..
            }
            | Values::Category(levels)
            | Values::Ordinal(levels) => Some(&levels.coding),
            _ => None,
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

    /// Rows below a value, by linear interpolation inside its cell.
    #[must_use]
    pub fn below(&self, value: f64) -> f64 {
        grid::below(&self.edges, &self.counts, value)
    }

    /// Ascending cuts between at most `most` bins with about equally many rows in each;
    /// every cut is an edge of the grid, so how many rows lie on either side is known.
    #[must_use]
    pub fn cuts(&self, most: usize) -> Vec<f64> {
        grid::cuts(&self.edges, &self.counts, most)
    }
}

#[cfg(test)]
mod kinds_tests;
#[cfg(test)]
mod pairs_tests;
#[cfg(test)]
mod part_tests;
#[cfg(test)]
mod tests;
