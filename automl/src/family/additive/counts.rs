//! Labels by bin: what is known before a first step of training.

use serde::{Deserialize, Serialize};

use super::MAX_NUMBERS_OF_A_PART;
use crate::ask::{EncodeError, Encoder, PartTotals, Segment};
use crate::family::Head;
use crate::features::{BinColumn, MAX_BINS, MAX_WIDTH};
use crate::fixed::FixedPoint;
use crate::metric::check_rows_and_folds;
use crate::object::ObjectId;
use crate::site::Rows;

/// Targets are cut at 2^6 target scales.
const TARGET_EXPONENT: i32 = 6;

/// Asks how many training rows of each fold lie in each bin of each column, by
/// class; for a number, with the sum of the targets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CountPart {
    /// The pipeline that makes the bins.
    pub pipeline: ObjectId,
    /// What is predicted.
    pub head: Head,
    /// Folds; a row counts in all but the one it validates in.
    pub folds: u8,
    /// Rows of the whole federation: bounds every sum.
    pub rows: u64,
    /// Bins of each column, in the pipeline's order.
    pub bins: Vec<u16>,
}

/// One fold's counts.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct BinCounts {
    /// `classes[column][bin][class]`: rows. One class for a number.
    pub classes: Vec<Vec<Vec<u64>>>,
    /// `targets[column][bin]`: Σ target, for a number; empty otherwise.
    pub targets: Vec<Vec<f64>>,
}

impl BinCounts {
    /// Rows in each bin of a column.
    #[must_use]
    pub fn rows(&self, column: usize) -> Vec<u64> {
        let bins = self.classes[column].iter();
        bins.map(|classes| classes.iter().sum()).collect()
    }

    /// Rows of each class, as any one column counts them.
    #[must_use]
    pub fn totals(&self) -> Vec<u64> {
        let Some(first) = self.classes.first() else {
            return Vec::new();
        };
        let classes = first.first().map_or(0, Vec::len);
        (0..classes)
            .map(|class| first.iter().map(|bin| bin[class]).sum())
            .collect()
    }
}

impl CountPart {
    fn classes(&self) -> usize {
        match self.head {
            Head::Number => 1,
            head => head.scores(),
        }
    }

    fn all_bins(&self) -> usize {
        self.bins.iter().map(|bins| usize::from(*bins)).sum()
    }

    fn fixed(&self) -> FixedPoint {
        FixedPoint::new(self.rows, TARGET_EXPONENT)
    }

    /// Numbers of the answer.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.segments().iter().map(Segment::count).sum()
    }

    /// Counts fold by fold, column by column, bin by bin, class by class; for a
    /// number then Σ target, likewise.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        let cells = usize::from(self.folds) * self.all_bins();
        let mut segments = vec![Segment::Count {
            max: self.rows,
            count: cells * self.classes(),
        }];
        if self.head == Head::Number {
            segments.push(self.fixed().segment(cells));
        }
        segments
    }

    /// Checks every cap.
    ///
    /// # Errors
    /// Says what is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        self.head.check()?;
        check_rows_and_folds(self.rows, self.folds)?;
        if self.bins.is_empty() || self.bins.len() > MAX_WIDTH {
            return Err(format!(
                "{} columns of bins, allowed are 1 to {MAX_WIDTH}",
                self.bins.len()
            ));
        }
        if let Some(bins) = self
            .bins
            .iter()
            .find(|bins| !(1..=MAX_BINS).contains(&usize::from(**bins)))
        {
            return Err(format!(
                "a column of {bins} bins, allowed are 1 to {MAX_BINS}"
            ));
        }
        if self.numbers() > MAX_NUMBERS_OF_A_PART {
            return Err(format!(
                "{} counts of bins, allowed are {MAX_NUMBERS_OF_A_PART}",
                self.numbers()
            ));
        }
        Ok(())
    }

    /// Whether these are the pipeline's bins.
    pub(crate) fn fits(&self, columns: &[BinColumn]) -> bool {
        let own = self.bins.iter().map(|bins| usize::from(*bins));
        own.eq(columns.iter().map(|column| column.bins))
    }

    /// A site's answer; the rows must be of the part's pipeline.
    pub(crate) fn answer(&self, rows: &Rows, out: &mut Encoder) -> Result<(), EncodeError> {
        let (classes, bins) = (self.classes(), self.all_bins());
        let fixed = self.fixed();
        let number = self.head == Head::Number;
        let mut counts = vec![0_u64; usize::from(self.folds) * bins * classes];
        let mut sums = vec![
            0_i64;
            if number {
                usize::from(self.folds) * bins
            } else {
                0
            }
        ];
        for index in 0..rows.len() {
            let target = rows.targets[index];
            let class = if number { 0 } else { target as usize };
            let added = fixed.row(target);
            for fold in (0..usize::from(self.folds)).filter(|fold| rows.trains(index, *fold)) {
                let mut start = fold * bins;
                for (bin, of_column) in rows.row(index).bins().iter().zip(&self.bins) {
                    let cell = start + usize::from(*bin);
                    counts[cell * classes + class] += 1;
                    if number {
                        sums[cell] += added;
                    }
                    start += usize::from(*of_column);
                }
            }
        }
        counts.iter().try_for_each(|count| out.count(*count))?;
        sums.iter().try_for_each(|sum| out.integer(*sum))
    }

    /// The counts of each fold.
    pub(crate) fn read(&self, totals: &PartTotals<'_>) -> Vec<BinCounts> {
        let counts = totals.counts(0);
        let mut counts = counts.chunks_exact(self.classes());
        let sums = match self.head {
            Head::Number => totals.integers(1),
            _ => Vec::new(),
        };
        let fixed = self.fixed();
        let mut sums = sums.iter().map(|sum| fixed.value(*sum));
        let number = self.head == Head::Number;
        let mut folds = vec![BinCounts::default(); usize::from(self.folds)];
        for fold in &mut folds {
            for bins in self.bins.iter().map(|bins| usize::from(*bins)) {
                let column = counts.by_ref().take(bins);
                fold.classes.push(column.map(<[u64]>::to_vec).collect());
                if number {
                    fold.targets.push(sums.by_ref().take(bins).collect());
                }
            }
        }
        folds
    }
}
