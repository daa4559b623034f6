//! The task: what to learn, written by a data scientist in a short TOML file.
//!
//! [`Task::from_toml`] is strict. An unknown key is an error that names the
//! line and the nearest known key; a key of a later version is refused as "not
//! supported yet", never ignored. [`Task::to_bytes`] is the canonical form that
//! is hashed and offered to the sites, so two files that differ in comments or
//! key order are the same task.

mod file;
mod privacy;
mod section;
mod summary;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::calibrate::Rule;
use crate::object::ObjectId;

pub use crate::metric::Metric;
pub use privacy::{DifferentialPrivacy, Range};

/// Longest task file, in bytes: the 4 096 names that fit in it are sixteen
/// times the columns a table may have.
pub const MAX_TASK_BYTES: usize = 256 * 1024;
/// Most classes of a classification target; each costs one column of scores.
pub const MAX_CLASSES: usize = 32;

/// What is to be predicted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One of a few classes.
    Classification,
    /// A number.
    Regression,
}

/// How long the search may go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Preset {
    /// A first look.
    Fast,
    /// The usual choice.
    #[default]
    Balanced,
    /// When a little more quality is worth more steps.
    Thorough,
}

/// How a column is to be read, where the task says so.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ColumnType {
    /// A quantity.
    Number,
    /// One of a few values, even where they are written as numbers.
    Category,
    /// A calendar date, used as a number of days.
    Date,
    /// Never used.
    Ignore,
    /// One of a few values in an order: whole numbers, or `values` from low to high.
    Ordinal,
    /// One of two values.
    Boolean,
    /// Sentences, used by their words.
    Text,
    /// Told from the data, as for columns that are not declared.
    Auto,
}

/// What the task declares about one column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnRule {
    /// Its type.
    pub r#type: ColumnType,
    /// Its values, for a category whose values are public knowledge. Without
    /// them the values are counted in keyed hash buckets and stay unnamed.
    pub values: Vec<String>,
    /// Values that mean "missing" at every site.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<String>,
    /// Bounds of a number, where they are public knowledge: under differential privacy nothing
    /// else may say how a column is scaled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<Range>,
}

/// What becomes of a column that some sites do not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AbsentColumns {
    /// A declared one is an error at the site, any other is not used.
    #[default]
    Refuse,
    /// Its cells are missing there.
    Missing,
}

/// How a prediction may move with a column, everything else being equal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Larger values never lower the score of the positive class, or the predicted number.
    Increasing,
    /// Larger values never raise it.
    Decreasing,
}

impl Direction {
    /// The name used in task files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Increasing => "increasing",
            Self::Decreasing => "decreasing",
        }
    }
}

/// Limits on the search. Everything is optional in the file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Constraints {
    /// The only families that may be tried, by name
    /// ([`crate::family::names`]); all of them when `None`.
    pub allowed_models: Option<Vec<String>>,
    /// Whether only families may be tried whose models a person can read.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub interpretable_only: bool,
    /// Whether the champion must be one model, not a blend of several. `interpretable_only` means
    /// this, too: nobody reads a weighted mean of models.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub single_model: bool,
    /// Columns that may move a prediction in one direction only. Families that cannot promise it
    /// are not tried then.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub monotone: BTreeMap<String, Direction>,
    /// Columns that may never be used: kinds (see [`crate::features::PrivacyKind`])
    /// or exact column names.
    pub privacy_filter: Vec<String>,
    /// Whether columns that look as if they were written after the moment of
    /// prediction are refused as features.
    pub temporal_check: bool,
    /// What becomes of a column that some sites do not have.
    #[serde(default, skip_serializing_if = "AbsentColumns::is_default")]
    pub missing_columns: AbsentColumns,
}

/// A task. See the sample in `examples/hospitals/task.toml`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// A short name for people and directories.
    pub name: String,
    /// Name of the column to predict, as the sites' mapped tables call it.
    pub target: String,
    /// Classification or regression; inferred from the profile when `None`.
    pub kind: Option<Kind>,
    /// The class of interest, where there are two.
    pub positive: Option<String>,
    /// The target's values; needed where they are neither small whole numbers
    /// nor words such as yes and no, because strings never leave a site.
    pub classes: Vec<String>,
    /// What to rank by; see [`Task::metric_for`].
    pub metric: Option<Metric>,
    /// How long to search.
    pub preset: Preset,
    /// A column whose equal values (one patient, one customer) must stay in
    /// one split. It is never a feature.
    pub entity: Option<String>,
    /// A column that says `train` or `test`, instead of a drawn split. It is
    /// never a feature.
    pub split: Option<String>,
    /// Seed of splits and search.
    pub seed: u64,
    /// Wall-clock budget in seconds.
    pub time_budget: Option<u64>,
    /// Largest number of steps of a round.
    pub max_steps: Option<u32>,
    /// Rounds, 1 to 1000: each later one is a search of its own over the data as they are then,
    /// and remembers the one before. One when `None`, unless there is `every`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rounds: Option<u32>,
    /// Seconds from the start of one round to the earliest start of the next, from a minute to a
    /// year; without `rounds` the series goes on until somebody cancels its next round.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<u64>,
    /// What the threshold between two classes is chosen by; by the metric when `None`, see
    /// [`Rule::of`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision: Option<Rule>,
    /// Limits on the search.
    pub constraints: Constraints,
    /// What the run may tell about any one row; everything that exact sums tell when `None`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differential_privacy: Option<DifferentialPrivacy>,
    /// Declared columns.
    pub columns: BTreeMap<String, ColumnRule>,
}

/// Why a task file was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TaskError {
    /// Not TOML at all.
    #[error("the task file is not valid TOML: {0}")]
    Syntax(String),
    /// A known file with something wrong at a known line.
    #[error("task file, line {line}: {problem}")]
    At {
        /// 1-based line.
        line: usize,
        /// What is wrong and what to do.
        problem: String,
    },
    /// A key that must be there is not.
    #[error("the task file has no `{key}`; add, for example, `{example}`")]
    Missing {
        /// The key.
        key: &'static str,
        /// A line that would do.
        example: &'static str,
    },
    /// Larger than [`MAX_TASK_BYTES`].
    #[error(
        "the task file has {bytes} bytes, more than the {MAX_TASK_BYTES} allowed; shorten its lists"
    )]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// Canonical bytes that do not decode.
    #[error("these bytes are not a task: {0}")]
    NotATask(String),
}

impl Task {
    /// Reads a task file.
    ///
    /// # Errors
    /// [`TaskError`] names the line, what is wrong there, and what to write.
    pub fn from_toml(text: &str) -> Result<Self, TaskError> {
        file::parse(text)
    }

    /// The canonical form: compact JSON with the fields in declaration order.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads the canonical form back.
    ///
    /// # Errors
    /// [`TaskError::TooLarge`] and [`TaskError::NotATask`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, TaskError> {
        if bytes.len() > MAX_TASK_BYTES {
            return Err(TaskError::TooLarge { bytes: bytes.len() });
        }
        serde_json::from_slice(bytes).map_err(|error| TaskError::NotATask(error.to_string()))
    }

    /// Hash of the canonical form: what sites and ledger know the task by.
    #[must_use]
    pub fn digest(&self) -> ObjectId {
        ObjectId::of(&self.to_bytes())
    }

    /// Values that mean "missing", by column.
    #[must_use]
    pub fn missing_values(&self) -> BTreeMap<String, Vec<String>> {
        let declared = self.columns.iter();
        declared
            .filter(|(_, rule)| !rule.missing.is_empty())
            .map(|(column, rule)| (column.clone(), rule.missing.clone()))
            .collect()
    }

    /// The metric to rank by, given what the target turned out to be: the one
    /// the task names where it fits, else log-loss or RMSE.
    #[must_use]
    pub fn metric_for(&self, kind: Kind) -> Metric {
        match self.metric {
            Some(metric) if metric.fits(kind) => metric,
            _ => Metric::for_kind(kind),
        }
    }

    /// The metric that the task names, where it needs sums of its own.
    #[must_use]
    pub fn metric_with_sums(&self) -> Option<Metric> {
        self.metric
            .filter(|metric| !metric.rule().exponents().is_empty())
    }

    /// The same task without differential privacy: for what a site computes of its own rows, for
    /// itself.
    #[must_use]
    pub fn unprotected(&self) -> Self {
        let mut task = self.clone();
        task.differential_privacy = None;
        task
    }

    /// Whether round `next` (counted from 1) follows the one before it by itself.
    #[must_use]
    pub fn goes_on_to(&self, next: u32) -> bool {
        match (self.rounds, self.every) {
            (Some(rounds), _) => next <= rounds,
            (None, Some(_)) => true,
            (None, None) => next <= 1,
        }
    }
}

impl Preset {
    /// The name used in task files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fast => "fast",
            Self::Balanced => "balanced",
            Self::Thorough => "thorough",
        }
    }
}

impl AbsentColumns {
    /// The name used in task files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refuse => "refuse",
            Self::Missing => "missing",
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl Constraints {
    /// Whether the champion must be one model, not a blend of several.
    #[must_use]
    pub fn one_model(&self) -> bool {
        self.single_model || self.interpretable_only
    }

    /// Whether a column that a site lacks is missing there.
    #[must_use]
    pub fn absent_is_missing(&self) -> bool {
        self.missing_columns == AbsentColumns::Missing
    }
}

impl Kind {
    /// The name used in task files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Classification => "classification",
            Self::Regression => "regression",
        }
    }
}

impl ColumnType {
    /// The name used in task files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Number => "number",
            Self::Category => "category",
            Self::Date => "date",
            Self::Ignore => "ignore",
            Self::Ordinal => "ordinal",
            Self::Boolean => "boolean",
            Self::Text => "text",
            Self::Auto => "auto",
        }
    }
}
