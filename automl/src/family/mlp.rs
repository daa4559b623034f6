//! Small neural networks trained by federated averaging.
//!
//! Every step each site trains a copy of the current weights on its own rows
//! (with `burn`) and answers with the clipped change of the weights, weighted by
//! its share of the rows; the sum is the averaged change. McMahan et al.,
//! *Communication-Efficient Learning of Deep Networks from Decentralized Data*,
//! AISTATS 2017.
//!
//! Predictions do not use the framework: [`MlpModel::predict`](crate::family::FoldModel::predict)
//! is scalar `f64` arithmetic over the stored `f32` weights, the same on every
//! machine.

mod average;
mod local;

pub use average::{MlpCandidate, MlpTrainer, update_levels};

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::ask::{EncodeError, Encoder, PartTotals, Segment};
use crate::family::{
    Family, FamilyObject, FamilyPart, FoldModel, Head, Offer, Proposal, Setting, Trainer, sigmoid,
};
use crate::features::Row;
use crate::metric::{LossCounter, LossSums, SEGMENTS, check_rows_and_folds};
use crate::object::ObjectId;
use crate::site::{Rows, SiteError, SiteView, Slot};

/// Most hidden layers.
const MAX_HIDDEN: usize = 4;
/// Widest layer, inputs included.
const MAX_LAYER: u32 = 4096;
/// Most weights of one fold: 2^18, so that the largest model is 10 folds of a
/// quarter million, about 30 MB of JSON and below the object cap.
const MAX_PARAMETERS: usize = 1 << 18;
/// Finest rounding of an update: a `f32`'s 24 bits.
pub(crate) const MAX_LEVELS: u64 = (1 << 24) - 2;

/// The family's name.
pub const NAME: &str = "mlp";

/// The family.
pub struct Mlp;

impl Family for Mlp {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, offer: &Offer<'_>) -> Vec<Proposal> {
        let Some((pipeline, _)) = offer.pipelines_of(false).next() else {
            return Vec::new();
        };
        average::portfolio()
            .into_iter()
            .filter_map(|network| {
                Some(Proposal {
                    pipeline,
                    name: format!(
                        "{:?} lr {} dropout {}",
                        network.hidden, network.learning_rate, network.dropout
                    ),
                    hyperparameters: serde_json::to_value(&network).ok()?,
                })
            })
            .collect()
    }

    fn trainer(
        &self,
        hyperparameters: &serde_json::Value,
        setting: &Setting,
    ) -> Result<Box<dyn Trainer>, String> {
        let candidate = MlpCandidate::deserialize(hyperparameters);
        let candidate = candidate.map_err(|error| error.to_string())?;
        Ok(Box::new(MlpTrainer::new(candidate, setting.clone())))
    }

    fn read_part(
        &self,
        json: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<Arc<dyn FamilyPart>, erased_serde::Error> {
        Ok(Arc::new(erased_serde::deserialize::<DescendPart>(json)?))
    }

    fn read_object(
        &self,
        json: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<Arc<dyn FamilyObject>, erased_serde::Error> {
        Ok(Arc::new(erased_serde::deserialize::<MlpModel>(json)?))
    }
}

/// One network per fold.
///
/// A fold's weights are one flat list: layer by layer, first the matrix with one
/// row per input, then the biases. Hidden layers use SiLU, x · sigmoid(x).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpModel {
    /// The pipeline whose columns the network takes.
    pub pipeline: ObjectId,
    /// What the outputs mean.
    pub head: Head,
    /// Widths of the layers, from inputs to outputs.
    pub sizes: Vec<u32>,
    /// Weights, one list per fold.
    pub folds: Vec<Vec<f32>>,
}

/// Where one layer's weights lie in a fold's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Layer {
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) start: usize,
}

impl Layer {
    pub(crate) fn biases(&self) -> usize {
        self.start + self.inputs * self.outputs
    }

    pub(crate) fn end(&self) -> usize {
        self.biases() + self.outputs
    }
}

pub(crate) fn layers(sizes: &[u32]) -> Vec<Layer> {
    let mut start = 0;
    let mut layers = Vec::new();
    for pair in sizes.windows(2) {
        let layer = Layer {
            inputs: pair[0] as usize,
            outputs: pair[1] as usize,
            start,
        };
        start = layer.end();
        layers.push(layer);
    }
    layers
}

fn parameters(sizes: &[u32]) -> usize {
    layers(sizes).last().map_or(0, Layer::end)
}

fn check_sizes(sizes: &[u32], head: Head) -> Result<(), String> {
    head.check()?;
    if sizes.len() < 2 || sizes.len() > MAX_HIDDEN + 2 {
        return Err(format!("a network has 0 to {MAX_HIDDEN} hidden layers"));
    }
    if sizes.iter().any(|size| *size == 0 || *size > MAX_LAYER) {
        return Err(format!("a layer has 1 to {MAX_LAYER} units"));
    }
    if sizes.last().map(|size| *size as usize) != Some(head.outputs()) {
        return Err("the last layer does not have one unit per output".to_owned());
    }
    if parameters(sizes) > MAX_PARAMETERS {
        return Err(format!("a network has at most {MAX_PARAMETERS} weights"));
    }
    Ok(())
}

impl MlpModel {
    fn check_weights(&self) -> Result<(), String> {
        check_sizes(&self.sizes, self.head)?;
        let expected = parameters(&self.sizes);
        if self.folds.is_empty() || self.folds.iter().any(|fold| fold.len() != expected) {
            return Err("a network's weights do not fill its layers".to_owned());
        }
        if self
            .folds
            .iter()
            .flatten()
            .any(|weight| !weight.is_finite())
        {
            return Err("a weight is not finite".to_owned());
        }
        Ok(())
    }

    /// Linear outputs of one fold's network.
    pub(crate) fn outputs(&self, fold: usize, row: Row<'_>) -> Vec<f64> {
        let weights = &self.folds[fold];
        let layers = layers(&self.sizes);
        let mut values = row.numbers().to_vec();
        for (depth, layer) in layers.iter().enumerate() {
            let mut next: Vec<f64> = weights[layer.biases()..layer.end()]
                .iter()
                .map(|bias| f64::from(*bias))
                .collect();
            for (input, value) in values.iter().enumerate() {
                let from = layer.start + input * layer.outputs;
                for (sum, weight) in next.iter_mut().zip(&weights[from..from + layer.outputs]) {
                    *sum += value * f64::from(*weight);
                }
            }
            if depth + 1 < layers.len() {
                next.iter_mut().for_each(|x| *x *= sigmoid(*x));
            }
            values = next;
        }
        values
    }
}

impl FamilyObject for MlpModel {
    fn check(&self) -> Result<(), String> {
        self.check_weights()
    }

    fn model(&self) -> Option<&dyn FoldModel> {
        Some(self)
    }
}

impl FoldModel for MlpModel {
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
        self.sizes.first().map_or(0, |size| *size as usize)
    }

    fn predict(&self, fold: usize, row: Row<'_>, scores: &mut [f64]) {
        let outputs = self.outputs(fold, row);
        match self.head {
            Head::Number => scores[0] = outputs[0],
            Head::Binary => {
                scores[0] = sigmoid(-outputs[0]);
                scores[1] = sigmoid(outputs[0]);
            }
            Head::Classes(_) => {
                let top = outputs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let mut sum = 0.0;
                for (score, output) in scores.iter_mut().zip(&outputs) {
                    *score = libm::exp(output - top);
                    sum += *score;
                }
                scores.iter_mut().for_each(|score| *score /= sum);
            }
        }
    }
}

/// Asks for local training from the current weights, and for their validation
/// losses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DescendPart {
    /// The pipeline that makes the columns.
    pub pipeline: ObjectId,
    /// The model to start from.
    pub model: ObjectId,
    /// What the outputs mean.
    pub head: Head,
    /// Folds of the model.
    pub folds: u8,
    /// Widths of the layers, from inputs to outputs.
    pub sizes: Vec<u32>,
    /// Rows of the whole federation: bounds every sum, and a site's share of it
    /// is the weight of its update.
    pub rows: u64,
    /// Seed of the candidate: order of rows and dropout follow from it, the
    /// step and the site's training rows.
    pub seed: ObjectId,
    /// Step of the candidate's training, from 0.
    pub step: u32,
    /// Passes over the site's rows.
    pub epochs: u16,
    /// Rows in a local batch.
    pub batch: u32,
    /// Learning rate of AdamW, in (0, 1].
    pub learning_rate: f64,
    /// Decoupled weight decay of AdamW, in [0, 1].
    pub weight_decay: f64,
    /// Share of hidden units dropped, in [0, 0.9].
    pub dropout: f64,
    /// Largest change of a weight that a site reports.
    pub clip: f64,
    /// Steps from -clip to clip that a change is rounded to.
    pub levels: u64,
}

/// What a step of training says about one model.
#[derive(Clone, Debug, PartialEq)]
pub struct DescendSums {
    /// Averaged change of the weights, one list per fold; zero where no
    /// contributing site has training rows.
    pub change: Vec<Vec<f64>>,
}

impl DescendPart {
    pub(crate) fn fits(&self, model: &MlpModel) -> bool {
        model.head == self.head
            && model.sizes == self.sizes
            && model.folds.len() == usize::from(self.folds)
    }

    pub(crate) fn sums(
        &self,
        model: &MlpModel,
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
        let counts: Vec<u64> = (0..model.folds.len())
            .map(|fold| {
                (0..rows.len())
                    .filter(|row| rows.trains(*row, fold))
                    .count() as u64
            })
            .collect();
        counts.iter().try_for_each(|count| out.count(*count))?;
        let trained = local::train(self, model, rows);
        for ((before, after), count) in model.folds.iter().zip(&trained).zip(&counts) {
            let share = *count as f64 / self.rows as f64;
            for (old, new) in before.iter().zip(after) {
                let change = f64::from(*new) - f64::from(*old);
                out.real(change.clamp(-self.clip, self.clip) * share)?;
            }
        }
        Ok(())
    }

    pub(crate) fn read(&self, totals: &PartTotals<'_>) -> (LossSums, DescendSums) {
        let validation = LossSums::read(totals, 0, self.head, self.rows);
        let counts = totals.counts(SEGMENTS);
        let change = totals
            .reals(SEGMENTS + 1)
            .chunks_exact(parameters(&self.sizes))
            .zip(counts)
            .map(|(sums, count)| {
                // The summed weights are count / rows, below 1 where a site is
                // missing.
                let share = count as f64 / self.rows as f64;
                sums.iter()
                    .map(|sum| if count == 0 { 0.0 } else { sum / share })
                    .collect()
            })
            .collect();
        (validation, DescendSums { change })
    }
}

impl FamilyPart for DescendPart {
    fn pipeline(&self) -> ObjectId {
        self.pipeline
    }

    fn objects(&self) -> Vec<ObjectId> {
        vec![self.model]
    }

    /// Validation losses, training rows per fold, then weighted changes, fold by
    /// fold.
    fn segments(&self) -> Vec<Segment> {
        let mut segments = LossCounter::segments(self.head, self.rows);
        segments.push(Segment::Count {
            max: self.rows,
            count: usize::from(self.folds),
        });
        segments.push(Segment::Real {
            clip: self.clip,
            levels: self.levels,
            count: usize::from(self.folds) * parameters(&self.sizes),
        });
        segments
    }

    fn check(&self) -> Result<(), String> {
        check_sizes(&self.sizes, self.head)?;
        check_rows_and_folds(self.rows, self.folds)?;
        let within = |what: &str, value: f64, low: f64, high: f64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(format!("{what} {value}, allowed are {low} to {high}"))
            }
        };
        within("epochs", f64::from(self.epochs), 1.0, 16.0)?;
        within("batch", f64::from(self.batch), 1.0, 4096.0)?;
        within("learning rate", self.learning_rate, 1e-7, 1.0)?;
        within("weight decay", self.weight_decay, 0.0, 1.0)?;
        within("dropout", self.dropout, 0.0, 0.9)?;
        within("clip", self.clip, 1e-6, 100.0)?;
        within("levels", self.levels as f64, 2.0, MAX_LEVELS as f64)
    }

    fn answer(&self, site: &mut SiteView<'_>, out: &mut Encoder) -> Result<(), SiteError> {
        let model: &MlpModel = site.model(self.model)?;
        if !self.fits(model) {
            return Err(SiteError::unfit(self.model, "its sizes differ"));
        }
        Ok(self.sums(model, site.rows, out)?)
    }
}

#[cfg(test)]
mod tests;
