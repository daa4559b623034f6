//! The asks of the profile, with their caps.

use serde::{Deserialize, Serialize};

use super::gram::{self, GramColumn};
use super::pairs::PairsAsk;
use super::schema;
use super::screen::ScreenAsk;
use super::sentinel::SUSPECTS;
use super::slots::{Coding, SlotKey};
use super::source::Source;
use super::tally::{Bins as _, TableColumn};
use super::target::TargetAsk;
use super::{MAX_GRID, MAX_VOCABULARY, classes, grid};
use crate::ask::{MAX_CODE, Segment};
use crate::object::ObjectId;
use crate::split::SplitPlan;
use crate::table::{MAX_COLUMN_NAME_BYTES, MAX_COLUMNS, MAX_ROWS};
use crate::task::MAX_CLASSES;

/// Finest quantization of a clipped number: 2^16 steps are a thousandth of a
/// standard deviation and less.
pub(crate) const MAX_BITS: u32 = 16;

/// Counts that lead the survey: training, test and unlabelled rows.
pub(crate) const ROW_COUNTS: usize = 3;
/// Counts that lead a column of the survey: numbers, texts, dates, whole
/// numbers, sentences.
pub(crate) const TYPE_COUNTS: usize = 5;
/// Most numbers of the tables of one step: 16 MiB of a site's memory, an eighth of what a
/// step may have.
pub(crate) const MAX_TABLE_NUMBERS: usize = 2 << 20;

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
    /// Derived columns, large categories and words, by target.
    Screen(ScreenAsk),
    /// Rows, sum and sum of squares of clipped numbers, as whole numbers.
    Moments {
        /// A clipped number is one of 2^bits + 1 evenly spaced values.
        bits: u32,
        /// A site with more training rows than this cannot answer.
        rows: u64,
        /// The columns.
        columns: Vec<MomentsColumn>,
    },
    /// Bins of columns by target and group of rows.
    Tables {
        /// Key of the hash buckets.
        key: SlotKey,
        /// How rows are grouped.
        plan: SplitPlan,
        /// What is counted in each bin.
        target: TargetAsk,
        /// The columns.
        columns: Vec<TableColumn>,
    },
    /// Pairs of columns by target and group of rows.
    Pairs(PairsAsk),
    /// Sums of products of clipped numbers and the target.
    Gram {
        /// As in `Moments`.
        bits: u32,
        /// As in `Moments`.
        rows: u64,
        /// The target.
        target: TargetAsk,
        /// The columns, at most [`super::MAX_GRAM`].
        columns: Vec<GramColumn>,
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
    /// Where its numbers come from.
    pub source: Source,
    /// Ascending edges; the first and last cell take what lies outside.
    pub edges: Vec<f64>,
}

/// A column of [`ProfilePart::Moments`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MomentsColumn {
    /// Its name.
    pub name: String,
    /// Where its numbers come from.
    pub source: Source,
    /// Smaller values count as this.
    pub lo: f64,
    /// Larger values count as this.
    pub hi: f64,
}

impl ProfilePart {
    /// What the part returns: counts throughout.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        match self {
            Self::Schema { .. } => vec![Segment::Count {
                max: schema::MAX_SUM,
                count: schema::NUMBERS,
            }],
            Self::Survey {
                columns, classes, ..
            } => {
                let mut segments = vec![rows_of(ROW_COUNTS), rows_of(classes::count(classes))];
                segments.extend(columns.iter().map(|column| rows_of(survey_numbers(column))));
                segments
            }
            Self::Refine { columns } => columns
                .iter()
                .map(|column| rows_of(column.edges.len().saturating_sub(1)))
                .collect(),
            Self::Screen(ask) => ask.segments(),
            Self::Moments {
                bits,
                rows,
                columns,
            } => {
                let sums = |max| Segment::Count {
                    max,
                    count: columns.len(),
                };
                vec![
                    rows_of(columns.len()),
                    sums(rows << bits),
                    sums(rows << (2 * bits)),
                ]
            }
            Self::Tables {
                plan,
                target,
                columns,
                ..
            } => columns
                .iter()
                .flat_map(|column| target.segments(plan.groups() * column.bins.bins()))
                .collect(),
            Self::Pairs(ask) => ask.segments(),
            Self::Gram {
                bits,
                rows,
                target,
                columns,
            } => gram::segments(columns, target, *bits, *rows),
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
            } => check_survey(columns, classes),
            Self::Refine { columns } => {
                check_names(columns.iter().map(|c| (c.name.as_str(), Some(&c.source))))?;
                columns.iter().try_for_each(check_edges)
            }
            Self::Screen(ask) => ask.check(),
            Self::Moments {
                bits,
                rows,
                columns,
            } => {
                check_names(columns.iter().map(|c| (c.name.as_str(), Some(&c.source))))?;
                check_precision(*bits, *rows)?;
                match columns
                    .iter()
                    .find(|c| !(c.lo < c.hi && (c.hi - c.lo).is_finite()))
                {
                    Some(column) => Err(format!("bounds of `{}` are not ascending", column.name)),
                    None => Ok(()),
                }
            }
            Self::Tables {
                plan,
                target,
                columns,
                ..
            } => {
                check_names(columns.iter().map(|c| (c.name.as_str(), c.bins.source())))?;
                target.check()?;
                columns
                    .iter()
                    .try_for_each(|column| column.bins.check(&column.name))?;
                let bins: usize = columns.iter().map(|column| column.bins.bins()).sum();
                let numbers = bins * plan.groups() * target.figures();
                if numbers > 4 * MAX_TABLE_NUMBERS {
                    return Err(format!("tables of {numbers} numbers are too large"));
                }
                Ok(())
            }
            Self::Pairs(ask) => ask.check(),
            Self::Gram {
                bits,
                rows,
                target,
                columns,
            } => {
                check_names(columns.iter().map(|c| (c.name.as_str(), Some(&c.source))))?;
                check_precision(*bits, *rows)?;
                target.check()?;
                gram::check(columns)
            }
        }
    }

    /// The table's columns that it reads.
    pub(crate) fn column_names(&self) -> Vec<&str> {
        match self {
            Self::Schema { .. } => Vec::new(),
            Self::Survey { columns, .. } => columns.iter().map(|c| c.name.as_str()).collect(),
            Self::Refine { columns } => {
                let read = columns.iter().flat_map(|c| c.source.columns(&c.name));
                read.collect()
            }
            Self::Screen(ask) => ask.column_names(),
            Self::Moments { columns, .. } => {
                let read = columns.iter().flat_map(|c| c.source.columns(&c.name));
                read.collect()
            }
            Self::Tables { columns, .. } => columns.iter().flat_map(TableColumn::reads).collect(),
            Self::Pairs(ask) => ask.column_names(),
            Self::Gram { columns, .. } => {
                let read = columns.iter().flat_map(|c| c.source.columns(&c.name));
                read.collect()
            }
        }
    }

    /// What it counts by, where it counts by target.
    pub(crate) const fn target(&self) -> Option<&TargetAsk> {
        match self {
            Self::Screen(ask) => Some(&ask.target),
            Self::Pairs(ask) => Some(&ask.target),
            Self::Tables { target, .. } | Self::Gram { target, .. } => Some(target),
            _ => None,
        }
    }

    /// The key of its hash buckets, where it uses any.
    pub(crate) const fn key(&self) -> Option<SlotKey> {
        match self {
            Self::Survey { key, .. } | Self::Tables { key, .. } => Some(*key),
            Self::Screen(ask) => Some(ask.key),
            Self::Pairs(ask) => Some(ask.key),
            _ => None,
        }
    }
}

fn rows_of(count: usize) -> Segment {
    Segment::Count {
        max: MAX_ROWS as u64,
        count,
    }
}

/// Numbers that the survey returns for one column.
fn survey_numbers(column: &ColumnAsk) -> usize {
    TYPE_COUNTS
        + 2 * grid::COARSE_CELLS
        + super::slots::WHOLE_SLOTS
        + SUSPECTS
        + column.coding.slots()
}

fn check_survey(columns: &[ColumnAsk], classes: &[String]) -> Result<(), String> {
    check_names(columns.iter().map(|column| (column.name.as_str(), None)))?;
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

fn check_edges(column: &RefineColumn) -> Result<(), String> {
    let cells = column.edges.len().saturating_sub(1);
    let ascending = column.edges.is_sorted_by(|a, b| a < b);
    let finite = column.edges.iter().all(|edge| edge.is_finite());
    if !(1..=MAX_GRID).contains(&cells) || !ascending || !finite {
        return Err(format!("edges of `{}` are out of bounds", column.name));
    }
    Ok(())
}

fn check_precision(bits: u32, rows: u64) -> Result<(), String> {
    let fits = (1..=MAX_BITS).contains(&bits)
        && (1..=2 * MAX_ROWS as u64 * 64).contains(&rows)
        && rows
            .checked_mul(1 << (2 * bits))
            .is_some_and(|max| max <= MAX_CODE);
    fits.then_some(())
        .ok_or_else(|| format!("moments of {rows} rows at {bits} bits do not fit"))
}

/// Names in ascending order, at most as many as a table has columns; derived columns, which
/// have names of their own, are bounded by their checks.
pub(super) fn check_names<'a>(
    names: impl ExactSizeIterator<Item = (&'a str, Option<&'a Source>)>,
) -> Result<(), String> {
    if names.len() > MAX_COLUMNS {
        return Err(format!(
            "{} columns are more than {MAX_COLUMNS}",
            names.len()
        ));
    }
    let mut before: Option<&str> = None;
    for (name, source) in names {
        match source {
            Some(source @ Source::Derived(_)) => source.check(name)?,
            _ if name.is_empty() || name.len() > MAX_COLUMN_NAME_BYTES => {
                return Err("a column name is empty or too long".to_owned());
            }
            _ => {}
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
