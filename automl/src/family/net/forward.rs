//! The forward pass with `burn`, in `f32`: what training goes through, and what validation losses
//! are taken of.

use burn::tensor::{Device, Tensor, TensorData, activation};

use super::model::NetModel;
use super::shape::NetShape;
use super::stack::{Stacked, stacked};
use crate::site::Rows;

/// Weights and biases of a network in turn, `[fold, row, column]` each, the embedding's first
/// where there is one.
pub(super) fn load(model: &NetModel, device: &Device) -> Vec<(Stacked, Tensor<3>)> {
    let tensor = |stacked: Stacked| {
        let dims = [model.folds.len(), stacked.rows, stacked.columns];
        let data = TensorData::new(stacked.pack(&model.folds), dims);
        (stacked, Tensor::from_data(data, device))
    };
    stacked(&model.shape).into_iter().map(tensor).collect()
}

/// The values of a tensor, whatever precision its device keeps them in.
///
/// # Panics
/// Never for numbers; the framework fails first where a device cannot be read.
pub(super) fn values_of(tensor: Tensor<3>) -> Vec<f32> {
    let data = tensor.into_data().convert::<f32>();
    data.try_into_vec().expect("just converted")
}

/// How rows are laid out as inputs of a network.
pub(super) struct Layout {
    /// Features of each embedded column; one column of all features without an embedding.
    columns: Vec<usize>,
    widest: usize,
}

impl Layout {
    pub(super) fn new(shape: &NetShape) -> Self {
        let columns = match &shape.embedding {
            None => vec![shape.inputs as usize],
            Some(embedding) => embedding.columns.iter().map(|c| *c as usize).collect(),
        };
        Self {
            widest: columns.iter().copied().max().unwrap_or(0),
            columns,
        }
    }

    /// Some rows as `[column, row, feature of the column]`, filled up with zeros to the widest
    /// column.
    pub(super) fn inputs(&self, rows: &Rows, chosen: &[usize], device: &Device) -> Tensor<3> {
        let mut inputs = vec![0f32; self.columns.len() * chosen.len() * self.widest];
        for (at, index) in chosen.iter().enumerate() {
            let mut features = rows.row(*index).numbers();
            for (column, width) in self.columns.iter().enumerate() {
                let (own, rest) = features.split_at(*width);
                let from = (column * chosen.len() + at) * self.widest;
                for (input, feature) in inputs[from..from + width].iter_mut().zip(own) {
                    *input = *feature as f32;
                }
                features = rest;
            }
        }
        let dims = [self.columns.len(), chosen.len(), self.widest];
        Tensor::from_data(TensorData::new(inputs, dims), device)
    }
}

/// Linear outputs `[fold, row, output]` of `net`, tensors in the order of [`load`]; `masks`
/// multiply the values of hidden layers.
pub(super) fn forward(
    shape: &NetShape,
    net: &[Tensor<3>],
    inputs: Tensor<3>,
    masks: &[Tensor<3>],
) -> Tensor<3> {
    let embedded = shape.embedding.is_some();
    let (embedding, dense) = net.split_at(if embedded { 2 } else { 0 });
    let mut values = match embedding {
        [weights, biases] => activation::silu(embed(weights, biases, inputs)),
        _ => inputs,
    };
    let last = dense.len() / 2 - 1;
    for (depth, layer) in dense.chunks_exact(2).enumerate() {
        values = values.matmul(layer[0].clone()) + layer[1].clone();
        if depth < last {
            values = activation::silu(values);
            if let Some(mask) = masks.get(depth) {
                values = values * mask.clone();
            }
        }
    }
    values
}

/// Each column's features through weights of its own: `[fold, row, column · number]`.
fn embed(weights: &Tensor<3>, biases: &Tensor<3>, inputs: Tensor<3>) -> Tensor<3> {
    let [columns, rows, widest] = inputs.dims();
    let [folds, _, width] = weights.dims();
    let inputs: Tensor<4> = inputs.reshape([1, columns, rows, widest]);
    let weights: Tensor<4> = weights.clone().reshape([folds, columns, widest, width]);
    let values = inputs.matmul(weights).swap_dims(1, 2);
    values.reshape([folds, rows, columns * width]) + biases.clone()
}
