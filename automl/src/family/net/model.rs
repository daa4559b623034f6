//! Predictions: scalar `f64` arithmetic over the stored `f32` weights, in one fixed order of
//! additions, so that every machine gives the same bits.

use serde::{Deserialize, Serialize};

use super::shape::{Embedding, NetShape};
use crate::family::{FamilyObject, FoldModel, Head, MAX_FOLDS, sigmoid};
use crate::features::Row;
use crate::object::ObjectId;

/// Rows that go through a network together; each weight is then read once for all of them.
pub(super) const BLOCK: usize = 32;

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
    /// Linear outputs of one fold's network for `rows` rows of features (row-major), row by
    /// row.
    pub(super) fn outputs(&self, fold: usize, rows: usize, features: &[f64]) -> Vec<f64> {
        let weights = &self.folds[fold];
        let layers = self.shape.layers();
        let mut values = Vec::new();
        if let Some(embedding) = &self.shape.embedding {
            values = embed(embedding, self.shape.inputs, weights, rows, features);
            values.iter_mut().for_each(silu);
        }
        for (depth, layer) in layers.iter().enumerate() {
            let first = depth == 0 && self.shape.embedding.is_none();
            let inputs = if first { features } else { &values };
            let matrix = &weights[layer.start..layer.biases()];
            let biases = &weights[layer.biases()..layer.end()];
            let mut next = dense(inputs, rows, matrix, biases);
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

/// `inputs · matrix + biases`, row-major. Every output is its bias plus the products in the
/// order of the inputs, whatever the block it is computed in.
fn dense(inputs: &[f64], rows: usize, matrix: &[f32], biases: &[f32]) -> Vec<f64> {
    let (width, outputs) = (matrix.len() / biases.len(), biases.len());
    let mut sums = vec![0.0; rows * outputs];
    let tall = rows - rows % TILE;
    let wide = outputs - outputs % TILE;
    for row in (0..tall).step_by(TILE) {
        let lines: [&[f64]; TILE] =
            std::array::from_fn(|at| &inputs[(row + at) * width..(row + at + 1) * width]);
        for column in (0..wide).step_by(TILE) {
            let tile = tile(&lines, &matrix[column..], &biases[column..], outputs);
            for (at, line) in tile.iter().enumerate() {
                let from = (row + at) * outputs + column;
                sums[from..from + TILE].copy_from_slice(line);
            }
        }
    }
    for row in 0..rows {
        let from = if row < tall { wide } else { 0 };
        let sums = &mut sums[row * outputs + from..(row + 1) * outputs];
        for (sum, bias) in sums.iter_mut().zip(&biases[from..]) {
            *sum = f64::from(*bias);
        }
        for (value, line) in inputs[row * width..(row + 1) * width]
            .iter()
            .zip(matrix.chunks_exact(outputs))
        {
            for (sum, weight) in sums.iter_mut().zip(&line[from..]) {
                *sum += value * f64::from(*weight);
            }
        }
    }
    sums
}

/// Rows and columns of a tile: its sums and what they are made of stay in registers.
const TILE: usize = 4;

fn tile(
    lines: &[&[f64]; TILE],
    matrix: &[f32],
    biases: &[f32],
    outputs: usize,
) -> [[f64; TILE]; TILE] {
    let line: [f64; TILE] = std::array::from_fn(|at| f64::from(biases[at]));
    let mut sums = [line; TILE];
    let [a, b, c, d] = lines;
    let values = a.iter().zip(b.iter()).zip(c.iter()).zip(d.iter());
    for ((((a, b), c), d), weights) in values.zip(matrix.chunks(outputs)) {
        let weights: [f64; TILE] = std::array::from_fn(|at| f64::from(weights[at]));
        for (sums, value) in sums.iter_mut().zip([a, b, c, d]) {
            for (sum, weight) in sums.iter_mut().zip(&weights) {
                *sum += value * weight;
            }
        }
    }
    sums
}

fn embed(
    embedding: &Embedding,
    inputs: u32,
    weights: &[f32],
    rows: usize,
    features: &[f64],
) -> Vec<f64> {
    let (inputs, width) = (inputs as usize, embedding.width as usize);
    let biases = &weights[inputs * width..inputs * width + embedding.outputs()];
    let mut sums = Vec::with_capacity(rows * embedding.outputs());
    for row in features.chunks_exact(inputs) {
        let mut feature = 0;
        for (column, biases) in embedding.columns.iter().zip(biases.chunks_exact(width)) {
            let from = sums.len();
            sums.extend(biases.iter().map(|bias| f64::from(*bias)));
            for at in feature..feature + *column as usize {
                let line = &weights[at * width..(at + 1) * width];
                for (sum, weight) in sums[from..].iter_mut().zip(line) {
                    *sum += row[at] * f64::from(*weight);
                }
            }
            feature += *column as usize;
        }
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
        self.scores(&self.outputs(fold, 1, row.numbers()), scores);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    /// However many rows go through together, each has the same bits as alone.
    #[test]
    fn blocks_change_no_bit() {
        let mut random = Stream::new("collegium/test/net/v1", &[b"blocks"]);
        let shapes = [
            (vec![13u32, 6], None),
            (vec![], None),
            (
                vec![9],
                Some(Embedding {
                    columns: vec![3, 1, 3],
                    width: 3,
                }),
            ),
        ];
        for (hidden, embedding) in shapes {
            let shape = NetShape {
                inputs: 7,
                embedding,
                hidden,
                outputs: 3,
            };
            let weights = (0..shape.parameters()).map(|_| random.normal() as f32);
            let model = NetModel {
                pipeline: ObjectId::of(b"pipeline"),
                head: Head::Classes(3),
                folds: vec![weights.collect()],
                shape,
            };
            assert_eq!(model.check(), Ok(()));
            let rows: Vec<f64> = (0..7 * 11).map(|_| random.normal()).collect();
            let together = model.outputs(0, 11, &rows);
            for (row, outputs) in rows.chunks_exact(7).zip(together.chunks_exact(3)) {
                assert_eq!(model.outputs(0, 1, row), outputs);
            }
        }
    }
}
