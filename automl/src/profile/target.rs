//! The target, as the profile counts other columns against it.

use serde::{Deserialize, Serialize};

use super::classes;
use crate::ask::Segment;
use crate::table::{Cell, MAX_ROWS};
use crate::task::MAX_CLASSES;

/// A numeric target is one of 2^11 + 1 evenly spaced values here: the squares of
/// 2^24 rows then still fit a code of 2^46.
pub(crate) const TARGET_BITS: u32 = 11;

/// What is counted in each bin of a column.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum TargetAsk {
    /// Rows of each class.
    Classes {
        /// The classes, 2 to [`MAX_CLASSES`].
        labels: Vec<String>,
    },
    /// Rows, the sum of their targets as whole numbers from 0 to 2048, and the
    /// sum of the squares of these.
    Number {
        /// Smaller targets count as this.
        lo: f64,
        /// Larger targets count as this.
        hi: f64,
    },
}

/// What one row adds: one to the figure of its class; or one, its target and the
/// square of that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tally {
    Class(usize),
    Number(u64),
}

impl TargetAsk {
    /// The classes; none for a number.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        match self {
            Self::Classes { labels } => labels,
            Self::Number { .. } => &[],
        }
    }

    /// Figures of one bin.
    #[must_use]
    pub fn figures(&self) -> usize {
        match self {
            Self::Classes { labels } => labels.len(),
            Self::Number { .. } => 3,
        }
    }

    /// Segments of `bins` bins: figure by figure, in each all bins.
    pub(crate) fn segments(&self, bins: usize) -> Vec<Segment> {
        let rows = MAX_ROWS as u64;
        match self {
            Self::Classes { labels } => vec![Segment::Count {
                max: rows,
                count: labels.len() * bins,
            }],
            Self::Number { .. } => vec![
                Segment::Count {
                    max: rows,
                    count: bins,
                },
                Segment::Count {
                    max: rows << TARGET_BITS,
                    count: bins,
                },
                Segment::Count {
                    max: rows << (2 * TARGET_BITS),
                    count: bins,
                },
            ],
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Self::Classes { labels } if !(2..=MAX_CLASSES).contains(&labels.len()) => {
                Err(format!("{} classes are out of bounds", labels.len()))
            }
            Self::Number { lo, hi } if !(lo < hi && (hi - lo).is_finite()) => {
                Err("bounds of the target are not ascending".to_owned())
            }
            _ => Ok(()),
        }
    }

    /// What a row with this target adds; `None` when its target is none of these.
    pub(crate) fn tally(&self, cell: Cell<'_>) -> Option<Tally> {
        match (self, cell) {
            (Self::Classes { labels }, cell) => classes::index(labels, cell).map(Tally::Class),
            (Self::Number { lo, hi }, Cell::Number(number)) => {
                let share = (number.clamp(*lo, *hi) - lo) / (hi - lo);
                let steps = f64::from(1_u32 << TARGET_BITS);
                Some(Tally::Number(libm::round(share * steps) as u64))
            }
            _ => None,
        }
    }
}

/// Figures of bins: figure by figure, in each all bins.
#[derive(Clone, Debug)]
pub(crate) struct Tallies {
    bins: usize,
    pub(crate) figures: Vec<u64>,
}

impl Tallies {
    pub(crate) fn new(target: &TargetAsk, bins: usize) -> Self {
        Self {
            bins,
            figures: vec![0; target.figures() * bins],
        }
    }

    pub(crate) fn add(&mut self, bin: usize, tally: Tally) {
        match tally {
            Tally::Class(class) => self.figures[class * self.bins + bin] += 1,
            Tally::Number(code) => {
                self.figures[bin] += 1;
                self.figures[self.bins + bin] += code;
                self.figures[2 * self.bins + bin] += code * code;
            }
        }
    }

    /// Zeroes what fewer than `least` rows add up to.
    pub(crate) fn withhold(&mut self, target: &TargetAsk, least: u64) {
        match target {
            TargetAsk::Classes { .. } => {
                for rows in self.figures.iter_mut().filter(|rows| **rows < least) {
                    *rows = 0;
                }
            }
            TargetAsk::Number { .. } => {
                for bin in 0..self.bins {
                    if self.figures[bin] < least {
                        for figure in 0..3 {
                            self.figures[figure * self.bins + bin] = 0;
                        }
                    }
                }
            }
        }
    }
}
