//! Additive models over bins: what scorecards and GA2M share.
//!
//! A row picks one parameter of every [`Term`] of a [`Design`]; the score is the
//! intercept plus what those parameters add. Counts, losses, gradients and
//! Hessians are rounded to integers **per row** and summed as integers, so a
//! model over many sites equals the one on a single merged table bit for bit.
//!
//! Several sets of coefficients of the same designs, the points of an
//! [`AdditivePath`], are looked at in one step: a whole grid of penalties trains
//! for little more than one of them, because the Hessian, by far the largest
//! answer, is asked for at one point only.

mod counts;
mod descent;
mod design;
mod fitting;
mod glue;
mod part;
mod screen;
mod sums;
#[cfg(test)]
pub(crate) mod testing;

pub use counts::{BinCounts, CountPart};
pub(crate) use descent::{Descent, Penalty, Signs, Slope};
pub use design::{Design, Term};
pub(crate) use fitting::Fitting;
pub use glue::AdditiveObject;
pub(crate) use glue::AdditiveTrainer;
pub use part::AdditivePart;
pub use screen::{CoarseColumn, MAX_COLUMNS, MAX_SIDE, PairGrid, ScreenPart};
pub use sums::{PathSums, PointSums, SumsPart};

use serde::{Deserialize, Serialize};

use crate::family::{FoldModel, Head, MAX_FOLDS, Setting, sigmoid};
use crate::features::{BinColumn, Row};
use crate::object::ObjectId;

/// Most points of a path: a grid of four by four penalties.
pub const MAX_POINTS: usize = 16;

/// Most numbers that one candidate asks for in a step: what one wave of the race
/// carries, less what losses and gradients take. Sizes are chosen so that the Hessian
/// stays within.
pub(crate) const MOST_NUMBERS: usize = 31 << 16; // 1.94 Mi

/// Most numbers that a part of these families may ask for, whoever asks.
const MAX_NUMBERS_OF_A_PART: usize = 4 << 20;

/// What an additive candidate trains against.
#[derive(Clone, Debug)]
pub(crate) struct Ground {
    pub(crate) pipeline: ObjectId,
    pub(crate) head: Head,
    pub(crate) folds: u8,
    /// Training rows of the whole federation.
    pub(crate) rows: u64,
    /// The bins of every column.
    pub(crate) columns: Vec<BinColumn>,
}

impl Ground {
    /// What these families need of a candidate's setting.
    pub(crate) fn of(setting: &Setting) -> Self {
        Self {
            pipeline: setting.pipeline,
            head: setting.head,
            folds: setting.folds,
            rows: setting.rows,
            columns: setting.features.bin_columns(),
        }
    }

    pub(crate) fn width(&self) -> u32 {
        self.columns.len() as u32
    }

    /// Linear outputs of all folds together.
    pub(crate) fn models(&self) -> usize {
        usize::from(self.folds) * self.head.outputs()
    }

    pub(crate) fn count_part(&self) -> CountPart {
        CountPart {
            pipeline: self.pipeline,
            head: self.head,
            folds: self.folds,
            rows: self.rows,
            bins: self.columns.iter().map(|c| c.bins as u16).collect(),
        }
    }

    /// A path of one point.
    pub(crate) fn path(&self, designs: Vec<Design>, point: Vec<Vec<Vec<f64>>>) -> AdditivePath {
        AdditivePath {
            pipeline: self.pipeline,
            head: self.head,
            width: self.width(),
            designs,
            points: vec![point],
        }
    }
}

/// One fold's terms and what they add.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdditiveFold {
    /// Which parameters a row picks.
    pub design: Design,
    /// `coefficients[output][parameter]`, the intercept first.
    pub coefficients: Vec<Vec<f64>>,
}

/// An additive model over bins, one set of effects per fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdditiveModel {
    /// The pipeline whose bins the terms look at.
    pub pipeline: ObjectId,
    /// What the outputs mean.
    pub head: Head,
    /// Columns of the pipeline.
    pub width: u32,
    /// One model a fold.
    pub folds: Vec<AdditiveFold>,
}

/// Sets of coefficients of the same designs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdditivePath {
    /// The pipeline whose bins the terms look at.
    pub pipeline: ObjectId,
    /// What the outputs mean.
    pub head: Head,
    /// Columns of the pipeline.
    pub width: u32,
    /// The design of each fold.
    pub designs: Vec<Design>,
    /// `points[point][fold][output][parameter]`.
    pub points: Vec<Vec<Vec<Vec<f64>>>>,
}

impl AdditivePath {
    /// The model at one point.
    #[must_use]
    pub fn model(&self, point: usize) -> AdditiveModel {
        let folds = self.designs.iter().zip(&self.points[point]);
        AdditiveModel {
            pipeline: self.pipeline,
            head: self.head,
            width: self.width,
            folds: folds
                .map(|(design, coefficients)| AdditiveFold {
                    design: design.clone(),
                    coefficients: coefficients.clone(),
                })
                .collect(),
        }
    }

    /// Whether a term is scaled.
    pub(crate) fn scaled(&self) -> bool {
        let mut terms = self.designs.iter().flat_map(|design| &design.terms);
        terms.any(|term| matches!(term, Term::Scaled { .. }))
    }

    /// Checks what came from elsewhere.
    ///
    /// # Errors
    /// Says what is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        if self.points.is_empty() || self.points.len() > MAX_POINTS {
            return Err(format!(
                "{} points, allowed are 1 to {MAX_POINTS}",
                self.points.len()
            ));
        }
        for point in &self.points {
            let folds: Vec<_> = self.designs.iter().zip(point.iter()).collect();
            if point.len() != self.designs.len() {
                return Err("a point has another number of folds than designs".to_owned());
            }
            check_folds(self.head, self.width, &folds)?;
        }
        Ok(())
    }
}

fn check_folds(head: Head, width: u32, folds: &[(&Design, &Vec<Vec<f64>>)]) -> Result<(), String> {
    head.check()?;
    if folds.is_empty() || folds.len() > usize::from(MAX_FOLDS) {
        return Err(format!(
            "{} folds, allowed are 1 to {MAX_FOLDS}",
            folds.len()
        ));
    }
    for (design, coefficients) in folds {
        design.check(width)?;
        let parameters = design.parameters();
        if coefficients.len() != head.outputs()
            || coefficients.iter().any(|c| c.len() != parameters)
        {
            return Err("coefficients of an additive model differ from its terms".to_owned());
        }
        if coefficients.iter().flatten().any(|c| !c.is_finite()) {
            return Err("a coefficient is not finite".to_owned());
        }
    }
    Ok(())
}

impl AdditiveModel {
    /// Checks what came from elsewhere.
    ///
    /// # Errors
    /// Says what is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        let folds: Vec<_> = self
            .folds
            .iter()
            .map(|fold| (&fold.design, &fold.coefficients))
            .collect();
        check_folds(self.head, self.width, &folds)
    }

    /// The linear outputs of one fold for a row of bins, into `outputs`
    /// ([`Head::outputs`] numbers).
    pub fn linear(&self, fold: usize, bins: &[u8], outputs: &mut [f64]) {
        let AdditiveFold {
            design,
            coefficients,
        } = &self.folds[fold];
        for (output, own) in outputs.iter_mut().zip(coefficients) {
            *output = own[0];
        }
        let mut start = 1;
        for term in &design.terms {
            let (parameter, value) = term.pick(bins);
            for (output, own) in outputs.iter_mut().zip(coefficients) {
                *output += own[start + parameter] * value;
            }
            start += term.parameters();
        }
    }
}

/// Linear outputs as scores: probabilities (classes one against the rest, then
/// normalised), or the number itself.
pub(crate) fn scores_of(head: Head, linear: &[f64], scores: &mut [f64]) {
    match head {
        Head::Number => scores[0] = linear[0],
        Head::Binary => {
            scores[0] = sigmoid(-linear[0]);
            scores[1] = sigmoid(linear[0]);
        }
        Head::Classes(_) => {
            for (score, logit) in scores.iter_mut().zip(linear) {
                // At least 1e-300, so that the sum is never zero.
                *score = sigmoid(*logit).max(1e-300);
            }
            let sum: f64 = scores.iter().sum();
            scores.iter_mut().for_each(|score| *score /= sum);
        }
    }
}

impl FoldModel for AdditiveModel {
    fn pipeline(&self) -> ObjectId {
        self.pipeline
    }

    fn head(&self) -> Head {
        self.head
    }

    fn folds(&self) -> usize {
        self.folds.len()
    }

    fn width(&self) -> usize {
        self.width as usize
    }

    fn binned(&self) -> bool {
        true
    }

    fn predict(&self, fold: usize, row: Row<'_>, scores: &mut [f64]) {
        let mut linear = vec![0.0; self.head.outputs()];
        self.linear(fold, row.bins(), &mut linear);
        scores_of(self.head, &linear, scores);
    }

    /// The folds' linear outputs are averaged, not their probabilities: the
    /// average is an additive model again, the one whose effects people read.
    fn predict_average(&self, row: Row<'_>, scores: &mut [f64]) {
        let mut one = vec![0.0; self.head.outputs()];
        let mut mean = vec![0.0; self.head.outputs()];
        for fold in 0..self.folds.len() {
            self.linear(fold, row.bins(), &mut one);
            for (sum, linear) in mean.iter_mut().zip(&one) {
                *sum += linear;
            }
        }
        for sum in &mut mean {
            *sum /= self.folds.len() as f64;
        }
        scores_of(self.head, &mean, scores);
    }
}

#[cfg(test)]
mod tests;
