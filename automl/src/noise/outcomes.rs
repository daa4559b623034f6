//! How a model does on test rows, from one noisy histogram.

use serde::{Deserialize, Serialize};

use super::Noise;
use crate::ask::{PartTotals, Segment};
use crate::family::FoldModel;
use crate::metric::Metrics;
use crate::object::ObjectId;
use crate::site::Rows;
use crate::table::MAX_ROWS;

/// Cells of equal width over the probability of the positive class; one half is an edge.
pub const CELLS: usize = 16;

/// Codes for one row: variances are whole numbers of squared codes, and noise of a large budget
/// is narrower than a row.
const UNIT: i64 = 16;

/// Asks for test rows by predicted probability and class: `CELLS` counts of negatives, then as
/// many of positives. A row is in one cell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutcomesPart {
    /// The pipeline that makes the model's features.
    pub pipeline: ObjectId,
    /// The model, of two classes.
    pub model: ObjectId,
    /// The noise of every code.
    pub noise: Noise,
}

/// Noisy counts of test rows; some may be negative.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcomes {
    /// By cell of the probability of the positive class, ascending.
    pub negatives: Vec<f64>,
    /// The same of rows of the positive class.
    pub positives: Vec<f64>,
    /// Variance of the noise of each count.
    pub variance: f64,
}

impl OutcomesPart {
    pub(super) fn segments(&self) -> Vec<Segment> {
        vec![self.noise.segment(0, MAX_ROWS as i64 * UNIT, 2 * CELLS)]
    }

    /// A row is in one cell.
    pub(super) fn sensitivity(&self) -> u64 {
        UNIT.unsigned_abs().pow(2)
    }

    /// One site's exact counts; a row whose probability is no number is in none.
    #[must_use]
    pub fn sums(&self, model: &dyn FoldModel, rows: &Rows) -> Vec<i64> {
        let mut sums = vec![0; 2 * CELLS];
        let mut scores = [0.0; 2];
        for index in 0..rows.len() {
            model.predict_average(rows.row(index), &mut scores);
            if !(0.0..=1.0).contains(&scores[1]) {
                continue;
            }
            let cell = ((scores[1] * CELLS as f64) as usize).min(CELLS - 1);
            let side = if rows.targets[index] == 1.0 { CELLS } else { 0 };
            sums[side + cell] += UNIT;
        }
        sums
    }

    /// Reads the sums of a part's totals.
    #[must_use]
    pub fn read(&self, totals: &PartTotals<'_>) -> Outcomes {
        let unit = UNIT as f64;
        let counts: Vec<f64> = totals
            .integers(0)
            .into_iter()
            .map(|sum| sum as f64 / unit)
            .collect();
        let (negatives, positives) = counts.split_at(CELLS);
        Outcomes {
            negatives: negatives.to_vec(),
            positives: positives.to_vec(),
            variance: totals.contributors() as f64 * self.noise.variance as f64 / (unit * unit),
        }
    }
}

/// A figure with how it moves with each count.
struct Figure {
    value: f64,
    /// Derivatives by the counts of negatives and of positives.
    slopes: [Vec<f64>; 2],
}

impl Outcomes {
    /// The figures that follow from the counts, those with a known error with that of rows and
    /// noise together. Figures are cut to what they can be; none are given where the noise leaves
    /// no rows of a class.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        let (negatives, positives) = self.classes();
        let rows = (negatives + positives).max(0.0);
        let mut metrics = Metrics {
            rows: libm::round(rows) as u64,
            ..Metrics::default()
        };
        if negatives < 1.0 || positives < 1.0 {
            return metrics;
        }
        let auc = self.auc();
        metrics.auc = Some(auc.value.clamp(0.0, 1.0));
        metrics.auc_se = Some(self.error(&auc));
        let right =
            self.mean(|cell, positive| f64::from(u8::from((cell >= CELLS / 2) == positive)));
        metrics.accuracy = Some(right.value.clamp(0.0, 1.0));
        let errors = &mut metrics.standard_errors;
        errors.insert("accuracy".to_owned(), self.error(&right));
        // Every row as if it was in the middle of its cell.
        let middle = |cell: usize| (cell as f64 + 0.5) / CELLS as f64;
        let loss = self.mean(|cell, positive| {
            -libm::log(if positive {
                middle(cell)
            } else {
                1.0 - middle(cell)
            })
        });
        metrics.log_loss = Some(loss.value.max(0.0));
        metrics.log_loss_se = Some(self.error(&loss));
        let brier = self.mean(|cell, positive| {
            let away = middle(cell) - f64::from(u8::from(positive));
            away * away
        });
        metrics.brier = Some(brier.value.clamp(0.0, 1.0));
        let error = self.error(&brier);
        metrics.standard_errors.insert("brier".to_owned(), error);
        metrics
    }

    fn classes(&self) -> (f64, f64) {
        (self.negatives.iter().sum(), self.positives.iter().sum())
    }

    /// The mean over rows of a loss that depends on cell and class.
    fn mean(&self, loss: impl Fn(usize, bool) -> f64) -> Figure {
        let (negatives, positives) = self.classes();
        let rows = negatives + positives;
        let sum = |counts: &[f64], positive| {
            let each = counts.iter().enumerate();
            each.map(|(cell, count)| count * loss(cell, positive))
                .sum::<f64>()
        };
        let value = (sum(&self.negatives, false) + sum(&self.positives, true)) / rows;
        let slopes = [false, true].map(|positive| {
            let cells = 0..CELLS;
            cells
                .map(|cell| (loss(cell, positive) - value) / rows)
                .collect()
        });
        Figure { value, slopes }
    }

    /// Area under the ROC curve, ties counting half.
    fn auc(&self) -> Figure {
        let (negatives, positives) = self.classes();
        let (mut below, mut above) = (0.0, positives);
        let mut value = 0.0;
        let mut slopes = [Vec::new(), Vec::new()];
        for (n, p) in self.negatives.iter().zip(&self.positives) {
            above -= p;
            value += p * (below + 0.5 * n);
            slopes[0].push((above + 0.5 * p) / positives);
            slopes[1].push((below + 0.5 * n) / negatives);
            below += n;
        }
        value /= negatives * positives;
        for (side, size) in slopes.iter_mut().zip([negatives, positives]) {
            side.iter_mut()
                .for_each(|slope| *slope = (*slope - value) / size);
        }
        Figure { value, slopes }
    }

    /// Standard error by linearization: a count of rows varies like a Poisson count, and by its
    /// noise.
    fn error(&self, figure: &Figure) -> f64 {
        let sides = [&self.negatives, &self.positives]
            .into_iter()
            .zip(&figure.slopes);
        let variance: f64 = sides
            .flat_map(|(counts, slopes)| counts.iter().zip(slopes))
            .map(|(count, slope)| slope * slope * (count.max(0.0) + self.variance))
            .sum();
        libm::sqrt(variance)
    }
}
