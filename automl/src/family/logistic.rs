//! Logistic and linear regression by Newton steps over exact sums.
//!
//! Gradient, Hessian and losses are rounded to integers **per row** and summed
//! as integers, so the federated model equals the one fitted on a single merged
//! table bit for bit. More than two classes are fitted one against the rest and
//! normalised to sum to 1. A number is fitted with squared loss: one step from
//! zero is already the ridge solution.

mod newton;
mod portfolio;

pub use newton::{LogisticCandidate, LogisticTrainer};
pub use portfolio::{LinearFeatures, LogisticConfiguration};

use serde::{Deserialize, Serialize};

use crate::ask::{EncodeError, Encoder, PartTotals, Segment};
use crate::family::portfolio::{Portfolio, further};
use crate::family::{
    Family, FamilyObject, FamilyPart, FoldModel, Head, Offer, Proposal, Reads, Setting, Trainer,
    sigmoid, softplus,
};
use crate::features::{NamedPipeline, Numbers, Row};
use crate::fixed::FixedPoint;
use crate::metric::{LossCounter, LossSums, SEGMENTS, check_rows_and_folds};
use crate::object::ObjectId;
use crate::site::{Rows, SiteError, SiteView, Slot};

/// Most columns without the intercept: the Hessian then has 132 k numbers a
/// fold and output.
pub const MAX_WIDTH: u32 = 512;

/// |residual · x|: 1 · 2^4 for classes (columns are clipped near 8), 2^6 · 2^4
/// for numbers.
const GRADIENT_EXPONENT: [i32; 2] = [4, 10];
/// |p (1 - p) x x'|: 2^-2 · 2^8 for classes, 2^8 for numbers.
const HESSIAN_EXPONENT: [i32; 2] = [6, 8];
/// Training loss of a row, 2^6 nats, or 2^12 squared target scales.
const LOSS_EXPONENT: [i32; 2] = [6, 12];

/// Ridge strengths of the candidates, against losses summed over rows.
const RIDGES: [f64; 3] = [1.0, 10.0, 50.0];

/// The family's name.
pub const NAME: &str = "logistic";

/// The family.
pub struct Logistic;

impl Family for Logistic {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interpretable(&self) -> bool {
        true
    }

    fn candidates(&self, offer: &Offer<'_>) -> Vec<Proposal> {
        narrow(offer)
            .flat_map(|(pipeline, _)| {
                RIDGES.map(|ridge| Proposal {
                    pipeline,
                    name: format!("ridge {ridge}"),
                    hyperparameters: serde_json::json!({ "ridge": ridge }),
                })
            })
            .collect()
    }

    fn further(&self, offer: &Offer<'_>) -> Vec<Proposal> {
        further(
            &Portfolio::checked_in().logistic,
            offer,
            &self.candidates(offer),
        )
    }

    fn trainer(
        &self,
        hyperparameters: &serde_json::Value,
        setting: &Setting,
    ) -> Result<Box<dyn Trainer>, String> {
        let candidate = LogisticCandidate::deserialize(hyperparameters);
        let candidate = candidate.map_err(|error| error.to_string())?;
        Ok(Box::new(LogisticTrainer::new(candidate, setting.clone())))
    }

    fn reads(&self) -> Reads {
        Reads::of::<NewtonPart, LogisticModel>()
    }
}

/// The pipelines that a linear model takes: numbers that are not made for networks, and few.
fn narrow<'a>(offer: &'a Offer<'_>) -> impl Iterator<Item = (usize, &'a NamedPipeline)> {
    offer.pipelines_of(false).filter(|(_, named)| {
        let networks = matches!(named.spec.numbers, Numbers::Smooth { .. });
        !networks && named.pipeline.width() <= MAX_WIDTH as usize
    })
}

/// One linear model per fold and output. Weights are in column order, the
/// intercept last.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogisticModel {
    /// The pipeline whose columns the weights belong to.
    pub pipeline: ObjectId,
    /// What the outputs mean.
    pub head: Head,
    /// `folds[fold][output][column]`.
    pub folds: Vec<Vec<Vec<f64>>>,
}

impl LogisticModel {
    /// All weights zero.
    #[must_use]
    pub fn zero(pipeline: ObjectId, head: Head, folds: u8, width: usize) -> Self {
        let fold = vec![vec![0.0; width + 1]; head.outputs()];
        Self {
            pipeline,
            head,
            folds: vec![fold; usize::from(folds)],
        }
    }

    fn check_weights(&self) -> Result<(), String> {
        self.head.check()?;
        let width = self.weights();
        if width < 2 || self.folds.is_empty() {
            return Err("a linear model needs a fold and a column".to_owned());
        }
        for fold in &self.folds {
            if fold.len() != self.head.outputs() || fold.iter().any(|w| w.len() != width) {
                return Err("folds of a linear model differ in size".to_owned());
            }
            if fold.iter().flatten().any(|w| !w.is_finite()) {
                return Err("a weight is not finite".to_owned());
            }
        }
        Ok(())
    }

    fn weights(&self) -> usize {
        let first = self.folds.first().and_then(|fold| fold.first());
        first.map_or(0, Vec::len)
    }

    fn linear(weights: &[f64], row: &[f64]) -> f64 {
        let mut sum = weights[row.len()];
        for (weight, value) in weights.iter().zip(row) {
            sum += weight * value;
        }
        sum
    }
}

impl FamilyObject for LogisticModel {
    fn check(&self) -> Result<(), String> {
        self.check_weights()
    }

    fn model(&self) -> Option<&dyn FoldModel> {
        Some(self)
    }
}

impl FoldModel for LogisticModel {
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
        self.weights() - 1
    }

    fn predict(&self, fold: usize, row: Row<'_>, scores: &mut [f64]) {
        let row = row.numbers();
        let outputs = &self.folds[fold];
        match self.head {
            Head::Number => scores[0] = Self::linear(&outputs[0], row),
            Head::Binary => {
                let logit = Self::linear(&outputs[0], row);
                scores[0] = sigmoid(-logit);
                scores[1] = sigmoid(logit);
            }
            Head::Classes(_) => {
                for (score, weights) in scores.iter_mut().zip(outputs) {
                    // At least 1e-300, so that the sum is never zero.
                    *score = sigmoid(Self::linear(weights, row)).max(1e-300);
                }
                let sum: f64 = scores.iter().sum();
                scores.iter_mut().for_each(|score| *score /= sum);
            }
        }
    }
}

/// Asks for gradient, Hessian and losses of a [`LogisticModel`] at its weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewtonPart {
    /// The pipeline that makes the columns.
    pub pipeline: ObjectId,
    /// The model whose weights are looked at.
    pub model: ObjectId,
    /// What the outputs mean.
    pub head: Head,
    /// Folds of the model.
    pub folds: u8,
    /// Columns without the intercept.
    pub width: u32,
    /// Rows of the whole federation: bounds every sum.
    pub rows: u64,
}

/// Sums for one fold and output.
#[derive(Clone, Debug, PartialEq)]
pub struct NewtonSums {
    /// Σ loss over the fold's training rows.
    pub loss: f64,
    /// Σ d loss / d weight, intercept last.
    pub gradient: Vec<f64>,
    /// Lower triangle of Σ d² loss / d weight², row by row.
    pub hessian: Vec<f64>,
}

impl NewtonPart {
    fn models(&self) -> usize {
        usize::from(self.folds) * self.head.outputs()
    }

    fn weights(&self) -> usize {
        self.width as usize + 1
    }

    fn triangle(&self) -> usize {
        self.weights() * (self.weights() + 1) / 2
    }

    fn fixed(&self, exponents: [i32; 2]) -> FixedPoint {
        let at = usize::from(self.head == Head::Number);
        FixedPoint::new(self.rows, exponents[at])
    }

    pub(crate) fn fits(&self, model: &LogisticModel) -> bool {
        model.head == self.head
            && model.folds.len() == usize::from(self.folds)
            && model.weights() == self.weights()
    }

    pub(crate) fn sums(
        &self,
        model: &LogisticModel,
        rows: &Rows,
        out: &mut Encoder,
    ) -> Result<(), EncodeError> {
        let mut losses = LossCounter::new(self.head, self.rows);
        let mut scores = vec![0.0; self.head.scores()];
        for (index, slot) in rows.slots.iter().enumerate() {
            if let Slot::Fold(fold) = *slot
                && fold < self.folds
            {
                model.predict(usize::from(fold), rows.row(index), &mut scores);
                losses.add(&scores, rows.targets[index]);
            }
        }
        losses.encode(out)?;
        let mut sums = SiteSums::new(self);
        for (fold, outputs) in model.folds.iter().enumerate() {
            for (output, weights) in outputs.iter().enumerate() {
                let at = fold * outputs.len() + output;
                for index in (0..rows.len()).filter(|index| rows.trains(*index, fold)) {
                    let target = self.target(rows.targets[index], output);
                    sums.add(at, weights, rows.row(index).numbers(), target);
                }
            }
        }
        let all = sums.loss.iter().chain(&sums.gradient).chain(&sums.hessian);
        all.copied().try_for_each(|sum| out.integer(sum))
    }

    /// What one output is fitted to: 0 or 1 for classes.
    fn target(&self, target: f64, output: usize) -> f64 {
        match self.head {
            Head::Binary | Head::Number => target,
            Head::Classes(_) => f64::from(u8::from(target as usize == output)),
        }
    }

    pub(crate) fn read(&self, totals: &PartTotals<'_>) -> (LossSums, Vec<NewtonSums>) {
        let validation = LossSums::read(totals, 0, self.head, self.rows);
        let values = |segment: usize, fixed: FixedPoint| -> Vec<f64> {
            let sums = totals.integers(SEGMENTS + segment);
            sums.iter().map(|sum| fixed.value(*sum)).collect()
        };
        let loss = values(0, self.fixed(LOSS_EXPONENT));
        let gradient = values(1, self.fixed(GRADIENT_EXPONENT));
        let hessian = values(2, self.fixed(HESSIAN_EXPONENT));
        let sums = loss
            .iter()
            .zip(gradient.chunks_exact(self.weights()))
            .zip(hessian.chunks_exact(self.triangle()))
            .map(|((loss, gradient), hessian)| NewtonSums {
                loss: *loss,
                gradient: gradient.to_vec(),
                hessian: hessian.to_vec(),
            })
            .collect();
        (validation, sums)
    }
}

impl FamilyPart for NewtonPart {
    fn pipeline(&self) -> ObjectId {
        self.pipeline
    }

    fn objects(&self) -> Vec<ObjectId> {
        vec![self.model]
    }

    /// Validation losses, then training losses, gradients and Hessians, each
    /// fold by fold and output by output.
    fn segments(&self) -> Vec<Segment> {
        let mut segments = LossCounter::segments(self.head, self.rows);
        let models = self.models();
        segments.push(self.fixed(LOSS_EXPONENT).segment(models));
        let gradient = self.fixed(GRADIENT_EXPONENT);
        segments.push(gradient.segment(models * self.weights()));
        let hessian = self.fixed(HESSIAN_EXPONENT);
        segments.push(hessian.segment(models * self.triangle()));
        segments
    }

    fn check(&self) -> Result<(), String> {
        self.head.check()?;
        if self.width == 0 || self.width > MAX_WIDTH {
            return Err(format!(
                "{} columns, allowed are 1 to {MAX_WIDTH}",
                self.width
            ));
        }
        check_rows_and_folds(self.rows, self.folds)
    }

    fn answer(&self, site: &mut SiteView<'_>, out: &mut Encoder) -> Result<(), SiteError> {
        let model: &LogisticModel = site.model(self.model)?;
        if !self.fits(model) {
            return Err(SiteError::unfit(self.model, "its sizes differ"));
        }
        Ok(self.sums(model, site.rows, out)?)
    }
}

/// One site's integer sums, for every fold and output.
struct SiteSums {
    number: bool,
    weights: usize,
    triangle: usize,
    fixed: [FixedPoint; 3],
    loss: Vec<i64>,
    gradient: Vec<i64>,
    hessian: Vec<i64>,
    /// Columns of the row at hand that are not zero, what it has there, and room for what a line of
    /// the Hessian gains.
    columns: Vec<usize>,
    present: Vec<f64>,
    gained: Vec<i64>,
}

impl SiteSums {
    fn new(part: &NewtonPart) -> Self {
        Self {
            number: part.head == Head::Number,
            weights: part.weights(),
            triangle: part.triangle(),
            fixed: [LOSS_EXPONENT, GRADIENT_EXPONENT, HESSIAN_EXPONENT].map(|e| part.fixed(e)),
            loss: vec![0; part.models()],
            gradient: vec![0; part.models() * part.weights()],
            hessian: vec![0; part.models() * part.triangle()],
            columns: Vec::new(),
            present: Vec::new(),
            gained: vec![0; part.weights()],
        }
    }

    fn add(&mut self, model: usize, weights: &[f64], row: &[f64], target: f64) {
        let linear = LogisticModel::linear(weights, row);
        let (loss, residual, curvature) = if self.number {
            let residual = linear - target;
            (0.5 * residual * residual, residual, 1.0)
        } else {
            let p = sigmoid(linear);
            let loss = softplus(if target == 1.0 { -linear } else { linear });
            (loss, p - target, p * (1.0 - p))
        };
        let [fixed_loss, fixed_gradient, fixed_hessian] = self.fixed;
        self.loss[model] += fixed_loss.row(loss);
        // One-hot columns are mostly zero and add nothing: only the others are
        // visited. The intercept's column is 1.
        self.columns.clear();
        self.present.clear();
        let columns = row.iter().copied().chain([1.0]).enumerate();
        for (column, x) in columns.filter(|(_, x)| *x != 0.0) {
            self.columns.push(column);
            self.present.push(x);
        }
        let gradient = &mut self.gradient[model * self.weights..][..self.weights];
        let hessian = &mut self.hessian[model * self.triangle..][..self.triangle];
        for (at, (i, x)) in self.columns.iter().zip(&self.present).enumerate() {
            gradient[*i] += fixed_gradient.row(residual * x);
            let line = &mut hessian[i * (i + 1) / 2..][..=*i];
            let gained = &mut self.gained[..=at];
            fixed_hessian.rows(curvature * x, &self.present[..=at], gained);
            for (j, gained) in self.columns.iter().zip(gained) {
                line[*j] += *gained;
            }
        }
    }
}

#[cfg(test)]
mod tests;
