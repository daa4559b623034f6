//! Predictions: scalar `f64` arithmetic over the stored `f32` weights, in one fixed order of
//! additions, so that every machine gives the same bits.

use serde::{Deserialize, Serialize};

use super::shape::{Embedding, NetShape};
use crate::family::{FamilyObject, FoldModel, Head, MAX_FOLDS, sigmoid};
use crate::features::Row;
use crate::object::ObjectId;

/// One network per fold. Hidden layers and embeddings use SiLU, x · sigmoid(x).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetModel {
    /// The pipeline whose columns the network takes.
    pub pipeline: ObjectId,
    /// What the outputs mean.
    pub head: Head,
    /// The layers.
    pub shape: NetShape,
    /// Weights, one list per fold.
    pub folds: Vec<Vec<f32>>,
}

impl NetModel {
    /// Linear outputs of one fold's network for a row of features.
    pub(super) fn outputs(&self, fold: usize, features: &[f64]) -> Vec<f64> {
        let weights = &self.folds[fold];
        let layers = self.shape.layers();
        let mut values = Vec::new();
        if let Some(embedding) = &self.shape.embedding {
            values = embed(embedding, self.shape.inputs, weights, features);
            values.iter_mut().for_each(silu);
        }
        for (depth, layer) in layers.iter().enumerate() {
            let first = depth == 0 && self.shape.embedding.is_none();
            let inputs = if first { features } else { &values };
            let matrix = &weights[layer.start..layer.biases()];
            let biases = &weights[layer.biases()..layer.end()];
            let mut next = dense(inputs, matrix, biases);
            if depth + 1 < layers.len() {
                next.iter_mut().for_each(silu);
            }
            values = next;
        }
        values
    }

    /// Turns one row's linear outputs into its scores.
    pub(super) fn scores(&self, outputs: &[f64], scores: &mut [f64]) {
        match self.head {
            Head::Number => scores[0] = outputs[0],
            Head::Binary => {
                scores[0] = sigmoid(-outputs[0]);
                scores[1] = sigmoid(outputs[0]);
            }
            Head::Classes(_) => {
                let top = outputs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                let mut sum = 0.0;
                for (score, output) in scores.iter_mut().zip(outputs) {
                    *score = libm::exp(output - top);
                    sum += *score;
                }
                scores.iter_mut().for_each(|score| *score /= sum);
            }
        }
    }
}

fn silu(x: &mut f64) {
    *x *= sigmoid(*x);
}

/// Every output's bias, plus the products in the order of the inputs.
fn dense(inputs: &[f64], matrix: &[f32], biases: &[f32]) -> Vec<f64> {
    let mut sums: Vec<f64> = biases.iter().map(|bias| f64::from(*bias)).collect();
    for (value, line) in inputs.iter().zip(matrix.chunks_exact(biases.len())) {
        for (sum, weight) in sums.iter_mut().zip(line) {
            *sum += value * f64::from(*weight);
        }
    }
    sums
}

/// A dense layer for each column's features, one behind the other.
fn embed(embedding: &Embedding, inputs: u32, weights: &[f32], mut features: &[f64]) -> Vec<f64> {
    let width = embedding.width as usize;
    let (mut matrices, biases) =
        weights[..embedding.end(inputs)].split_at(embedding.biases(inputs));
    let mut sums = Vec::with_capacity(embedding.outputs());
    for (column, biases) in embedding.columns.iter().zip(biases.chunks_exact(width)) {
        let (own, rest) = features.split_at(*column as usize);
        let (matrix, following) = matrices.split_at(own.len() * width);
        sums.extend(dense(own, matrix, biases));
        (features, matrices) = (rest, following);
    }
    sums
}

impl FoldModel for NetModel {
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
        self.shape.inputs as usize
    }

    fn predict(&self, fold: usize, row: Row<'_>, scores: &mut [f64]) {
        self.scores(&self.outputs(fold, row.numbers()), scores);
    }
}

impl FamilyObject for NetModel {
    fn check(&self) -> Result<(), String> {
        self.shape.check(self.head)?;
        let expected = self.shape.parameters();
        let folds = self.folds.len();
        if folds == 0 || folds > usize::from(MAX_FOLDS) {
            return Err(format!("a network has 1 to {MAX_FOLDS} folds"));
        }
        if self.folds.iter().any(|fold| fold.len() != expected) {
            return Err("a network's weights do not fill its layers".to_owned());
        }
        let mut weights = self.folds.iter().flatten();
        if weights.any(|weight| !weight.is_finite()) {
            return Err("a weight is not finite".to_owned());
        }
        Ok(())
    }

    fn model(&self) -> Option<&dyn FoldModel> {
        Some(self)
    }
}
