//! What is left to explain on a coarse grid of every pair of columns: the screening of
//! Lou, Caruana, Gehrke and Hooker, *Accurate Intelligible Models with Pairwise
//! Interactions* (FAST), KDD 2013, from sums of gradients and Hessians.

use serde::{Deserialize, Serialize};

use super::sums::{CURVATURE_EXPONENT, RESIDUAL_EXPONENT, differentiate};
use super::{AdditivePath, MAX_NUMBERS_OF_A_PART};
use crate::ask::{EncodeError, Encoder, PartTotals, Segment};
use crate::family::Head;
use crate::features::MAX_BINS;
use crate::fixed::FixedPoint;
use crate::metric::check_rows_and_folds;
use crate::object::ObjectId;
use crate::site::Rows;

/// Most columns whose pairs are looked at: 60 give 1770 pairs.
pub const MAX_COLUMNS: usize = 60;
/// Most groups of a column on the coarse grid.
pub const MAX_SIDE: u16 = 16;

/// A column on the coarse grid.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CoarseColumn {
    /// The column.
    pub column: u16,
    /// Groups, 1 to 16.
    pub size: u16,
    /// The group of each bin, below `size`.
    pub groups: Vec<u8>,
}

/// Asks for the sums of gradients and Hessians of an additive model's outputs in every
/// cell of a coarse grid, for every pair of columns.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScreenPart {
    /// The pipeline that makes the bins.
    pub pipeline: ObjectId,
    /// An [`AdditivePath`]; its first point is looked at.
    pub path: ObjectId,
    /// What the outputs mean.
    pub head: Head,
    /// Folds of the path.
    pub folds: u8,
    /// Rows of the whole federation: bounds every sum.
    pub rows: u64,
    /// Columns, 2 to 60.
    pub columns: Vec<CoarseColumn>,
}

/// One output's sums on the grid of one pair.
#[derive(Clone, Debug, PartialEq)]
pub struct PairGrid {
    /// Σ d loss / d output of each cell, the second column's group changing faster.
    pub gradient: Vec<f64>,
    /// Σ d² loss / d output² of each cell.
    pub hessian: Vec<f64>,
}

impl ScreenPart {
    /// The pairs, by their places in `columns`.
    pub fn pairs(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let count = self.columns.len();
        (0..count).flat_map(move |first| (first + 1..count).map(move |second| (first, second)))
    }

    /// Cells of all pairs.
    fn cells(&self) -> usize {
        let size = |at: usize| usize::from(self.columns[at].size);
        self.pairs().map(|(a, b)| size(a) * size(b)).sum()
    }

    fn fixed(&self) -> [FixedPoint; 2] {
        let at = usize::from(self.head == Head::Number);
        [RESIDUAL_EXPONENT[at], CURVATURE_EXPONENT[at]]
            .map(|exponent| FixedPoint::new(self.rows, exponent))
    }

    fn models(&self) -> usize {
        usize::from(self.folds) * self.head.outputs()
    }

    /// Gradients, then Hessians, each fold by fold, output by output, pair by pair and
    /// cell by cell.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        let count = self.models() * self.cells();
        self.fixed().iter().map(|f| f.segment(count)).collect()
    }

    /// Checks every cap.
    ///
    /// # Errors
    /// Says what is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        self.head.check()?;
        check_rows_and_folds(self.rows, self.folds)?;
        if !(2..=MAX_COLUMNS).contains(&self.columns.len()) {
            return Err(format!(
                "pairs of {} columns, allowed are 2 to {MAX_COLUMNS}",
                self.columns.len()
            ));
        }
        for column in &self.columns {
            let CoarseColumn { size, groups, .. } = column;
            if !(1..=MAX_SIDE).contains(size)
                || !(1..=MAX_BINS).contains(&groups.len())
                || groups.iter().any(|group| u16::from(*group) >= *size)
            {
                return Err(format!(
                    "column {} of a pair has groups that are not there, or more than {MAX_SIDE}",
                    column.column
                ));
            }
        }
        let numbers = 2 * self.models() * self.cells();
        if numbers > MAX_NUMBERS_OF_A_PART {
            return Err(format!(
                "{numbers} sums over pairs, allowed are {MAX_NUMBERS_OF_A_PART}"
            ));
        }
        Ok(())
    }

    /// Whether the path has the sizes that this part announces.
    pub(crate) fn fits(&self, path: &AdditivePath) -> bool {
        path.pipeline == self.pipeline
            && path.head == self.head
            && path.designs.len() == usize::from(self.folds)
            && self
                .columns
                .iter()
                .all(|c| u32::from(c.column) < path.width)
    }

    /// A site's answer; path and rows must fit the part.
    pub(crate) fn answer(
        &self,
        path: &AdditivePath,
        rows: &Rows,
        out: &mut Encoder,
    ) -> Result<(), EncodeError> {
        let cells = self.cells();
        let outputs = self.head.outputs();
        let [fixed_gradient, fixed_hessian] = self.fixed();
        let mut gradient = vec![0_i64; self.models() * cells];
        let mut hessian = vec![0_i64; self.models() * cells];
        let mut picked = Vec::new();
        let mut groups = vec![0; self.columns.len()];
        for index in 0..rows.len() {
            let bins = rows.row(index).bins();
            for (group, column) in groups.iter_mut().zip(&self.columns) {
                let bin = usize::from(bins[usize::from(column.column)]);
                let known = column.groups.get(bin).unwrap_or(&column.groups[0]);
                *group = usize::from(*known);
            }
            for fold in (0..usize::from(self.folds)).filter(|fold| rows.trains(index, *fold)) {
                path.designs[fold].pick(bins, &mut picked);
                for (output, coefficients) in path.points[0][fold].iter().enumerate() {
                    let linear: f64 = picked.iter().map(|(at, v)| coefficients[*at] * v).sum();
                    let (_, g, h) = differentiate(self.head, output, linear, rows.targets[index]);
                    let (g, h) = (fixed_gradient.row(g), fixed_hessian.row(h));
                    let mut start = (fold * outputs + output) * cells;
                    for (a, b) in self.pairs() {
                        let size = usize::from(self.columns[b].size);
                        let cell = start + groups[a] * size + groups[b];
                        gradient[cell] += g;
                        hessian[cell] += h;
                        start += usize::from(self.columns[a].size) * size;
                    }
                }
            }
        }
        let all = gradient.iter().chain(&hessian);
        all.copied().try_for_each(|sum| out.integer(sum))
    }

    /// `[fold][pair][output]`.
    pub(crate) fn read(&self, totals: &PartTotals<'_>) -> Vec<Vec<Vec<PairGrid>>> {
        let cells = self.cells();
        let outputs = self.head.outputs();
        let fixed = self.fixed();
        let [gradient, hessian] = [0, 1].map(|segment| {
            let sums = totals.integers(segment).into_iter();
            sums.map(|sum| fixed[segment].value(sum))
                .collect::<Vec<f64>>()
        });
        let size = |at: usize| usize::from(self.columns[at].size);
        let grid = |fold: usize, output: usize, range: std::ops::Range<usize>| {
            let start = (fold * outputs + output) * cells;
            let range = start + range.start..start + range.end;
            PairGrid {
                gradient: gradient[range.clone()].to_vec(),
                hessian: hessian[range].to_vec(),
            }
        };
        (0..usize::from(self.folds))
            .map(|fold| {
                let mut start = 0;
                self.pairs()
                    .map(|(a, b)| {
                        let range = start..start + size(a) * size(b);
                        start = range.end;
                        (0..outputs)
                            .map(|output| grid(fold, output, range.clone()))
                            .collect()
                    })
                    .collect()
            })
            .collect()
    }
}
