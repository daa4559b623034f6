//! The asks of the profile, with their caps.

use serde::{Deserialize, Serialize};

use super::schema;
use super::slots::{Coding, SlotKey};
use super::{MAX_CELLS, MAX_VOCABULARY, classes, grid};
use crate::ask::{MAX_CODE, Segment};
use crate::object::ObjectId;
use crate::table::{MAX_COLUMN_NAME_BYTES, MAX_COLUMNS, MAX_ROWS};
use crate::task::MAX_CLASSES;

/// Finest quantization of a clipped number: 2^16 steps are a thousandth of a
/// standard deviation and less.
pub(crate) const MAX_BITS: u32 = 16;

/// Counts that lead the survey: training, test and unlabelled rows.
pub(crate) const ROW_COUNTS: usize = 3;
/// Counts that lead a column of the survey: numbers, texts, dates, whole
/// numbers.
pub(crate) const TYPE_COUNTS: usize = 4;

/// One ask of the profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum ProfilePart {
    /// The names of the columns, in an invertible table (see `schema`).
    Schema {
        /// Number of the try, from 0: another hash each time.
        attempt: u8,
    },
    /// Types, missing values, magnitudes and category counts.
    Survey {
        /// Key of the hash buckets.
        key: SlotKey,
        /// The columns; the target is among them unless it is known to be a
        /// class.
        columns: Vec<ColumnAsk>,
        /// The declared classes of the target; the built-in words and small
        /// whole numbers when empty.
        classes: Vec<String>,
    },
    /// Rows in each cell of a grid over columns of numbers.
    Refine {
        /// The columns.
        columns: Vec<RefineColumn>,
    },
    /// Rows, sum and sum of squares of clipped numbers, as whole numbers.
    Moments {
        /// A clipped number is one of 2^bits + 1 evenly spaced values.
        bits: u32,
        /// A site with more training rows than this cannot answer.
        rows: u64,
        /// The columns.
        columns: Vec<MomentsColumn>,
    },
}

/// A column of the survey.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ColumnAsk {
    /// Its name.
    pub name: String,
    /// How its values are counted.
    pub coding: Coding,
}

/// A column of [`ProfilePart::Refine`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RefineColumn {
    /// Its name.
    pub name: String,
    /// Whether dates, not numbers, are counted.
    pub date: bool,
    /// Ascending edges; the first and last cell take what lies outside.
    pub edges: Vec<f64>,
}

/// A column of [`ProfilePart::Moments`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MomentsColumn {
    /// Its name.
    pub name: String,
    /// Whether dates, not numbers, are summed.
    pub date: bool,
    /// Smaller values count as this.
    pub lo: f64,
    /// Larger values count as this.
    pub hi: f64,
}

impl ProfilePart {
    /// What the part returns: counts throughout.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        let rows = |count: usize| Segment::Count {
            max: MAX_ROWS as u64,
            count,
        };
        match self {
            Self::Schema { .. } => {
                vec![Segment::Count {
                    max: schema::MAX_SUM,
                    count: schema::NUMBERS,
                }]
            }
            Self::Survey {
                columns, classes, ..
            } => {
                let mut segments = vec![rows(ROW_COUNTS), rows(classes::count(classes))];
                segments.extend(columns.iter().map(|column| rows(survey_numbers(column))));
                segments
            }
            Self::Refine { columns } => columns
                .iter()
                .map(|column| rows(column.edges.len().saturating_sub(1)))
                .collect(),
            Self::Moments {
                bits,
                rows: most,
                columns,
            } => {
                let count = columns.len();
                vec![
                    rows(count),
                    Segment::Count {
                        max: most << bits,
                        count,
                    },
                    Segment::Count {
                        max: most << (2 * bits),
                        count,
                    },
                ]
            }
        }
    }

    /// The objects a site needs: none, a profile part says everything itself.
    #[must_use]
    pub fn objects(&self) -> Vec<ObjectId> {
        Vec::new()
    }

    /// Checks the caps, before anything is computed from the part.
    ///
    /// # Errors
    /// Names the first one that is broken.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Schema { attempt } => {
                let known = *attempt < schema::ATTEMPTS;
                known
                    .then_some(())
                    .ok_or_else(|| format!("schema attempt {attempt} is too high"))
            }
            Self::Survey {
                columns, classes, ..
            } => {
                check_names(columns.iter().map(|column| column.name.as_str()))?;
                if classes.len() > MAX_CLASSES {
                    return Err(format!(
                        "{} classes are more than {MAX_CLASSES}",
                        classes.len()
                    ));
                }
                for column in columns {
                    if let Coding::Vocabulary(values) = &column.coding
                        && (values.is_empty() || values.len() > MAX_VOCABULARY)
                    {
                        return Err(format!("vocabulary of `{}` is out of bounds", column.name));
                    }
                }
                Ok(())
            }
            Self::Refine { columns } => {
                check_names(columns.iter().map(|column| column.name.as_str()))?;
                for column in columns {
                    let cells = column.edges.len().saturating_sub(1);
                    let ascending = column.edges.is_sorted_by(|a, b| a < b);
                    let finite = column.edges.iter().all(|edge| edge.is_finite());
                    if !(1..=MAX_CELLS).contains(&cells) || !ascending || !finite {
                        return Err(format!("edges of `{}` are out of bounds", column.name));
                    }
                }
                Ok(())
            }
            Self::Moments {
                bits,
                rows,
                columns,
            } => {
                check_names(columns.iter().map(|column| column.name.as_str()))?;
                let fits = (1..=MAX_BITS).contains(bits)
                    && (1..=2 * MAX_ROWS as u64 * 64).contains(rows)
                    && rows
                        .checked_mul(1 << (2 * bits))
                        .is_some_and(|max| max <= MAX_CODE);
                if !fits {
                    return Err(format!("moments of {rows} rows at {bits} bits do not fit"));
                }
                match columns
                    .iter()
                    .find(|c| !(c.lo < c.hi && (c.hi - c.lo).is_finite()))
                {
                    Some(column) => Err(format!("bounds of `{}` are not ascending", column.name)),
                    None => Ok(()),
                }
            }
        }
    }

    /// The columns it asks about.
    pub(crate) fn column_names(&self) -> Vec<&str> {
        match self {
            Self::Schema { .. } => Vec::new(),
            Self::Survey { columns, .. } => columns.iter().map(|c| c.name.as_str()).collect(),
            Self::Refine { columns } => columns.iter().map(|c| c.name.as_str()).collect(),
            Self::Moments { columns, .. } => columns.iter().map(|c| c.name.as_str()).collect(),
        }
    }
}

/// Numbers that the survey returns for one column.
fn survey_numbers(column: &ColumnAsk) -> usize {
    TYPE_COUNTS + 2 * grid::COARSE_CELLS + super::slots::WHOLE_SLOTS + column.coding.slots()
}

fn check_names<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> Result<(), String> {
    if names.len() > MAX_COLUMNS {
        return Err(format!(
            "{} columns are more than {MAX_COLUMNS}",
            names.len()
        ));
    }
    let mut before: Option<&str> = None;
    for name in names {
        if name.is_empty() || name.len() > MAX_COLUMN_NAME_BYTES {
            return Err("a column name is empty or too long".to_owned());
        }
        // Ascending names cannot repeat.
        if before.is_some_and(|before| before >= name) {
            return Err(format!(
                "columns are not in the order of their names at `{name}`"
            ));
        }
        before = Some(name);
    }
    Ok(())
}
