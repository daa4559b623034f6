//! The hyperparameters of a pipeline, and the variants that a search tries.

use serde::{Deserialize, Serialize};

use super::{MAX_WIDTH, Pipeline};
use crate::profile::Profile;
use crate::task::Task;

/// How columns of numbers become features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Numbers {
    /// Clipped and standardised: one feature, linear in the value.
    Standard,
    /// As `Standard`, with bends at the terciles: a linear model can then
    /// follow a curve.
    Bent,
    /// The value's rank among the training rows, scaled to a standard
    /// deviation of one: heavy tails do no harm.
    Rank,
    /// Scaled by the quartiles and smoothly clipped; and cut into pieces of about equally many
    /// rows, each a feature of its own: for networks.
    Smooth {
        /// Most pieces of a column: none below 2, at most 64.
        pieces: usize,
    },
    /// The place among bins of about equally many rows, for trees and additive models.
    /// Categories become bins too.
    Bins {
        /// Most bins of a column, those for missing values apart: 2 to 254.
        most: usize,
    },
}

/// What columns of small whole numbers are taken for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmallNumbers {
    /// Codes, where there are at most this many of them.
    Codes {
        /// Most distinct values.
        most: usize,
    },
    /// Quantities like any other.
    Quantities,
}

/// What stands for a category's values where it has more of them than levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Categories {
    /// Nothing but its most frequent levels.
    Levels,
    /// How frequent a value is.
    Frequency,
    /// What the target is like in the rows with the value, those of the row's own
    /// fold apart; a feature for each class where there are more than two.
    Target,
    /// Bins only: as `Target`, for every category of three values or more and in place of its
    /// levels, with how frequent each value is and a feature for each frequent value. A tree then cannot pick any set of
    /// values that happens to fit (Prokhorenkova et al. 2018).
    TargetAndFlags,
}

/// Hyperparameters of a pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PipelineSpec {
    /// Columns of numbers.
    pub numbers: Numbers,
    /// Columns of small whole numbers.
    pub small: SmallNumbers,
    /// Whether a missing number has a feature of its own.
    pub missing_flags: bool,
    /// Categories with many values.
    pub categories: Categories,
    /// Whether derived columns are used: date parts, differences, ratios.
    pub derived: bool,
    /// Whether the words of free text are used.
    pub words: bool,
    /// Whether pairs of columns are used, by what the target is like in their cells.
    pub pairs: bool,
}

/// A pipeline and what people call it.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedPipeline {
    /// A word or two.
    pub name: String,
    /// What it was fitted with.
    pub spec: PipelineSpec,
    /// The fitted pipeline.
    pub pipeline: Pipeline,
}

impl Default for PipelineSpec {
    fn default() -> Self {
        STANDARD
    }
}

/// Most bins of a column.
const MOST_BINS: usize = 64;
/// A column of whole numbers with more values than this is a quantity.
const FEW_CODES: usize = 8;
/// Pieces of a column of numbers: fewer than the bins of trees, since each widens the first
/// layer of every network.
const PIECES: usize = 12;

const STANDARD: PipelineSpec = PipelineSpec {
    numbers: Numbers::Standard,
    small: SmallNumbers::Codes { most: FEW_CODES },
    missing_flags: true,
    categories: Categories::Target,
    derived: false,
    words: true,
    pairs: false,
};
const BINNED: PipelineSpec = PipelineSpec {
    numbers: Numbers::Bins { most: MOST_BINS },
    small: SmallNumbers::Quantities,
    missing_flags: false,
    ..STANDARD
};
const ENCODED: PipelineSpec = PipelineSpec {
    categories: Categories::TargetAndFlags,
    derived: true,
    ..BINNED
};

/// Those that make numbers before those that make bins, and of each the best guess first.
const VARIANTS: [(&str, PipelineSpec); 11] = [
    ("standard", STANDARD),
    ("bent", with_numbers(Numbers::Bent)),
    ("rank", with_numbers(Numbers::Rank)),
    (
        "plain",
        PipelineSpec {
            small: SmallNumbers::Quantities,
            categories: Categories::Frequency,
            ..STANDARD
        },
    ),
    (
        "derived",
        PipelineSpec {
            derived: true,
            ..STANDARD
        },
    ),
    ("smooth", with_numbers(Numbers::Smooth { pieces: 0 })),
    ("pieces", with_numbers(Numbers::Smooth { pieces: PIECES })),
    ("bins", BINNED),
    (
        "derived bins",
        PipelineSpec {
            derived: true,
            ..BINNED
        },
    ),
    ("encoded bins", ENCODED),
    (
        "paired bins",
        PipelineSpec {
            pairs: true,
            ..ENCODED
        },
    ),
];

const fn with_numbers(numbers: Numbers) -> PipelineSpec {
    PipelineSpec {
        numbers,
        ..STANDARD
    }
}

/// The variants of preprocessing that a search tries, those that make numbers before those
/// that make bins and of each the best guess first: one to eleven, without two that make the same features.
#[must_use]
pub fn pipelines(_task: &Task, profile: &Profile) -> Vec<NamedPipeline> {
    let mut made: Vec<NamedPipeline> = Vec::new();
    for (name, spec) in VARIANTS {
        let pipeline = Pipeline::fit(profile, &spec);
        let width = pipeline.width();
        let new = made.iter().all(|other| other.pipeline != pipeline);
        if new && (1..=MAX_WIDTH).contains(&width) {
            made.push(NamedPipeline {
                name: name.to_owned(),
                spec,
                pipeline,
            });
        }
    }
    made
}
