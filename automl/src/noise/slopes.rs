//! Derivatives of the log-likelihood of a logistic model, a bounded amount from each row.

use serde::{Deserialize, Serialize};

use super::Noise;
use crate::ask::{PartTotals, Segment};
use crate::family::FoldModel;
use crate::object::ObjectId;
use crate::site::Rows;
use crate::table::MAX_ROWS;

/// Most columns without the intercept: the curvature then has 8 385 numbers, each with noise of
/// its own.
pub const MAX_WIDTH: u32 = 128;

/// Codes for 1 in the gradient: cutting the rest off costs less than 2^-14 of a row.
const UNIT: i64 = 1 << 14;
/// Codes for 1 in the curvature, whose noise is multiplied by the weights when a step is solved
/// for: finer, so that it gets a larger share of what a row may change.
const CURVATURE_UNIT: i64 = 4 * UNIT;

/// The longest row of features, after clipping. A hair below 1, so that rounding of `f64`s cannot
/// carry a row's codes beyond the bound.
const LENGTH: f64 = 1.0 - 1e-9;

/// Asks for Σ (y - p) x̃ and the lower triangle of Σ p (1 - p) x̃ x̃' over training rows, where x̃ are
/// a row's features and a 1, divided by `clip` or, where they are longer than that, by their own
/// length: |x̃| ≤ 1. The probability p is the model's for the row as it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlopesPart {
    /// The pipeline that makes the features.
    pub pipeline: ObjectId,
    /// The model at whose weights the derivatives are taken; `None` for weights of zero.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<ObjectId>,
    /// Features without the 1, at most [`MAX_WIDTH`].
    pub width: u32,
    /// Longest row that is not shortened, positive.
    pub clip: f64,
    /// The noise of every code.
    pub noise: Noise,
}

/// What a [`SlopesPart`] sums up to.
#[derive(Clone, Debug, PartialEq)]
pub struct Slopes {
    /// Σ (y - p) x̃, the 1 last.
    pub gradient: Vec<f64>,
    /// Lower triangle of Σ p (1 - p) x̃ x̃', row by row.
    pub curvature: Vec<f64>,
    /// Variances of the noise of each number of both.
    pub variances: [f64; 2],
}

impl SlopesPart {
    fn weights(&self) -> usize {
        self.width as usize + 1
    }

    fn triangle(&self) -> usize {
        self.weights() * (self.weights() + 1) / 2
    }

    /// Gradient, then curvature.
    pub(super) fn segments(&self) -> Vec<Segment> {
        let segment = |unit: i64, count| {
            let limit = MAX_ROWS as i64 * unit;
            self.noise.segment(-limit, limit, count)
        };
        vec![
            segment(UNIT, self.weights()),
            segment(CURVATURE_UNIT, self.triangle()),
        ]
    }

    /// |y - p| |x̃| is at most 1, and exactly one half of |x̃| at weights of zero; the elements of
    /// p (1 - p) x̃ x̃' on and below the diagonal have a length of at most |x̃|² / 4.
    pub(super) fn sensitivity(&self) -> u64 {
        let unit = UNIT.unsigned_abs();
        let residual = if self.model.is_some() { unit } else { unit / 2 };
        let curvature = CURVATURE_UNIT.unsigned_abs() / 4;
        residual * residual + curvature * curvature
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.width == 0 || self.width > MAX_WIDTH {
            return Err(format!(
                "{} columns, allowed are 1 to {MAX_WIDTH}",
                self.width
            ));
        }
        if !(self.clip.is_finite() && self.clip > 0.0) {
            return Err("rows are clipped at no positive length".to_owned());
        }
        Ok(())
    }

    /// One site's exact sums; a row whose features or probability are no numbers adds nothing.
    #[must_use]
    pub fn sums(&self, model: Option<&dyn FoldModel>, rows: &Rows) -> Vec<i64> {
        let mut sums = vec![0; self.weights() + self.triangle()];
        let mut own = sums.clone();
        for index in 0..rows.len() {
            let p = model.map_or(0.5, |model| {
                let mut scores = [0.0; 2];
                model.predict_average(rows.row(index), &mut scores);
                scores[1]
            });
            if self.row(rows.row(index).numbers(), rows.targets[index], p, &mut own) {
                sums.iter_mut().zip(&own).for_each(|(sum, own)| *sum += own);
            }
        }
        sums
    }

    /// One row's codes; false where it has none. What is beyond the bound, which only an error of
    /// this program could bring about, is none either.
    fn row(&self, features: &[f64], target: f64, p: f64, out: &mut [i64]) -> bool {
        let square = features.iter().map(|x| x * x).sum::<f64>() + 1.0;
        let shrink = LENGTH / self.clip.max(libm::sqrt(square));
        let fits =
            square.is_finite() && (0.0..=1.0).contains(&p) && (target == 0.0 || target == 1.0);
        if !fits || features.len() != self.width as usize {
            return false;
        }
        let unit = UNIT as f64;
        let x = |at: usize| shrink * features.get(at).copied().unwrap_or(1.0);
        let weight = p * (1.0 - p);
        let (gradient, curvature) = out.split_at_mut(self.weights());
        let mut place = 0;
        for (i, slope) in gradient.iter_mut().enumerate() {
            // Casts cut off towards zero, so that no code is longer than its value.
            *slope = (unit * (target - p) * x(i)) as i64;
            for j in 0..=i {
                curvature[place] = (CURVATURE_UNIT as f64 * weight * x(i) * x(j)) as i64;
                place += 1;
            }
        }
        let length: u64 = out.iter().map(|code| code.unsigned_abs().pow(2)).sum();
        length <= self.sensitivity()
    }

    /// Reads the sums of a part's totals.
    #[must_use]
    pub fn read(&self, totals: &PartTotals<'_>) -> Slopes {
        let values = |segment, unit: i64| {
            let sums = totals.integers(segment).into_iter();
            sums.map(|sum| sum as f64 / unit as f64).collect()
        };
        let variance = totals.contributors() as f64 * self.noise.variance as f64;
        Slopes {
            gradient: values(0, UNIT),
            curvature: values(1, CURVATURE_UNIT),
            variances: [UNIT, CURVATURE_UNIT].map(|unit| variance / (unit as f64 * unit as f64)),
        }
    }
}
