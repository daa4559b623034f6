//! Local training at a site, with `burn`.
//!
//! The folds' networks train side by side: weights are stacked to
//! `[fold, input, output]`, every fold sees the same batches, and a mask takes
//! each fold's validation rows out of its loss. That is one pass of the
//! framework instead of five.

use burn::optim::{AdamW, AdamWConfig, AdamWState, Optimizer};
use burn::tensor::{Device, Tensor, TensorData, activation};

use crate::family::Head;
use crate::family::mlp::{DescendPart, Layer, MlpModel, layers};
use crate::random::Stream;
use crate::site::Rows;

/// Numbers are cut at this many target scales, as in the loss sums.
const TARGET_LIMIT: f64 = 32.0;

/// One layer's stacked tensors with their optimizer moments, which start at
/// zero in every step.
struct Trained {
    layer: Layer,
    weights: Tensor<3>,
    biases: Tensor<3>,
    weight_state: Option<AdamWState<3>>,
    bias_state: Option<AdamWState<3>>,
}

/// One batch: inputs `[fold, row, input]`, targets `[fold, row, output]`, and
/// each row's weight in each fold's mean loss `[fold, row, 1]`.
struct Batch {
    inputs: Tensor<3>,
    targets: Tensor<3>,
    weights: Tensor<3>,
    rows: usize,
}

/// The folds' weights after local training; unchanged without rows.
pub(super) fn train(part: &DescendPart, model: &MlpModel, rows: &Rows) -> Vec<Vec<f32>> {
    if rows.is_empty() {
        return model.folds.clone();
    }
    let device = Device::flex().autodiff();
    let mut random = Stream::new(
        "collegium automl mlp local v1",
        &[
            part.seed.as_bytes(),
            &part.step.to_le_bytes(),
            rows.digest().as_bytes(),
        ],
    );
    let optimizer = AdamWConfig::new()
        .with_weight_decay(part.weight_decay as f32)
        .build();
    let mut net = stack(model, &device);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    for _ in 0..part.epochs {
        random.shuffle(&mut order);
        for chosen in batches(&order, part.batch as usize) {
            let batch = batch(part, rows, chosen, &device);
            descend(part, &mut net, &optimizer, batch, &mut random, &device);
        }
    }
    unstack(model, net)
}

/// Splits into batches of nearly equal size, none above `size`.
fn batches(order: &[usize], size: usize) -> impl Iterator<Item = &[usize]> {
    let count = order.len().div_ceil(size);
    (0..count).map(move |at| {
        let edge = |at: usize| at * order.len() / count;
        &order[edge(at)..edge(at + 1)]
    })
}

fn stack(model: &MlpModel, device: &Device) -> Vec<Trained> {
    let folds = model.folds.len();
    let tensor = |from: usize, to: usize, rows: usize, columns: usize| {
        let values: Vec<f32> = model
            .folds
            .iter()
            .flat_map(|f| &f[from..to])
            .copied()
            .collect();
        Tensor::<3>::from_data(TensorData::new(values, [folds, rows, columns]), device)
    };
    layers(&model.sizes)
        .into_iter()
        .map(|layer| Trained {
            weights: tensor(layer.start, layer.biases(), layer.inputs, layer.outputs),
            biases: tensor(layer.biases(), layer.end(), 1, layer.outputs),
            layer,
            weight_state: None,
            bias_state: None,
        })
        .collect()
}

fn unstack(model: &MlpModel, net: Vec<Trained>) -> Vec<Vec<f32>> {
    let mut folds = model.folds.clone();
    for trained in net {
        let Layer { start, .. } = trained.layer;
        let (biases, end) = (trained.layer.biases(), trained.layer.end());
        for (tensor, from, to) in [
            (trained.weights, start, biases),
            (trained.biases, biases, end),
        ] {
            let data = tensor.into_data();
            // The tensors were made of f32 values, and stay that.
            let values = data.as_slice::<f32>().unwrap_or_default();
            for (fold, values) in folds.iter_mut().zip(values.chunks_exact(to - from)) {
                fold[from..to].copy_from_slice(values);
            }
        }
    }
    folds
}

fn batch(part: &DescendPart, rows: &Rows, chosen: &[usize], device: &Device) -> Batch {
    let folds = usize::from(part.folds);
    let width = part.sizes[0] as usize;
    let outputs = part.head.outputs();
    let mut inputs: Vec<f32> = Vec::with_capacity(chosen.len() * width);
    let mut targets = vec![0f32; chosen.len() * outputs];
    for (at, index) in chosen.iter().enumerate() {
        inputs.extend(rows.row(*index).numbers().iter().map(|x| *x as f32));
        let target = rows.targets[*index];
        match part.head {
            Head::Binary => targets[at] = target as f32,
            Head::Number => targets[at] = target.clamp(-TARGET_LIMIT, TARGET_LIMIT) as f32,
            Head::Classes(_) => targets[at * outputs + target as usize] = 1.0,
        }
    }
    let mut weights: Vec<f32> = Vec::with_capacity(folds * chosen.len());
    for fold in 0..folds {
        let trains = |index: &&usize| rows.trains(**index, fold);
        let count = chosen.iter().filter(trains).count().max(1) as f32;
        weights.extend(chosen.iter().map(|index| {
            if rows.trains(*index, fold) {
                1.0 / count
            } else {
                0.0
            }
        }));
    }
    let shared = |values: Vec<f32>, columns: usize| {
        let data = TensorData::new(values, [1, chosen.len(), columns]);
        Tensor::<3>::from_data(data, device).repeat_dim(0, folds)
    };
    let weights = TensorData::new(weights, [folds, chosen.len(), 1]);
    Batch {
        inputs: shared(inputs, width),
        targets: shared(targets, outputs),
        weights: Tensor::from_data(weights, device),
        rows: chosen.len(),
    }
}

/// Linear outputs `[fold, row, output]`.
pub(super) fn forward(
    net: &[(Tensor<3>, Tensor<3>)],
    inputs: Tensor<3>,
    masks: &[Tensor<3>],
) -> Tensor<3> {
    let mut values = inputs;
    for (depth, (weights, biases)) in net.iter().enumerate() {
        values = values.matmul(weights.clone()) + biases.clone();
        if depth + 1 < net.len() {
            values = activation::silu(values);
            if let Some(mask) = masks.get(depth) {
                values = values * mask.clone();
            }
        }
    }
    values
}

/// The folds' mean losses, added up: no fold's weights touch another's loss.
fn loss(head: Head, outputs: Tensor<3>, batch: &Batch) -> Tensor<1> {
    let targets = batch.targets.clone();
    let losses = match head {
        Head::Number => (outputs - targets).powi_scalar(2),
        Head::Binary => {
            // -(y ln p + (1 - y) ln (1 - p)), with ln (1 - p) = ln p - logit.
            let against = targets.neg().add_scalar(1.0) * outputs.clone();
            against - activation::log_sigmoid(outputs)
        }
        Head::Classes(_) => -(activation::log_softmax(outputs, 2) * targets).sum_dim(2),
    };
    (losses * batch.weights.clone()).sum()
}

/// The net's tensors, tracked for gradients.
fn leaves(net: &[Trained]) -> Vec<(Tensor<3>, Tensor<3>)> {
    let leaf = |tensor: &Tensor<3>| tensor.clone().autodiff().require_grad();
    net.iter()
        .map(|trained| (leaf(&trained.weights), leaf(&trained.biases)))
        .collect()
}

/// Gradients of the folds' mean losses over all rows, laid out like the weights.
#[cfg(test)]
pub(super) fn gradients(part: &DescendPart, model: &MlpModel, rows: &Rows) -> Vec<Vec<f32>> {
    let device = Device::flex().autodiff();
    let mut net = stack(model, &device);
    let order: Vec<usize> = (0..rows.len()).collect();
    let batch = batch(part, rows, &order, &device);
    let leaves = leaves(&net);
    let outputs = forward(&leaves, batch.inputs.clone(), &[]);
    let gradients = loss(part.head, outputs, &batch).backward();
    for (trained, (weights, biases)) in net.iter_mut().zip(leaves) {
        trained.weights = weights.grad(&gradients).expect("a gradient");
        trained.biases = biases.grad(&gradients).expect("a gradient");
    }
    unstack(model, net)
}

fn descend(
    part: &DescendPart,
    net: &mut [Trained],
    optimizer: &AdamW,
    batch: Batch,
    random: &mut Stream,
    device: &Device,
) {
    let leaves = leaves(net);
    let masks = dropout_masks(part, net, batch.rows, random, device);
    let outputs = forward(&leaves, batch.inputs.clone(), &masks);
    let mut gradients = loss(part.head, outputs, &batch).backward();
    for (trained, (weights, biases)) in net.iter_mut().zip(leaves) {
        let slopes = weights.grad_remove(&mut gradients);
        let step = |leaf: Tensor<3>, gradient, state| {
            optimizer.step(part.learning_rate, leaf.inner(), gradient, state)
        };
        if let Some(gradient) = slopes {
            let state = trained.weight_state.take();
            (trained.weights, trained.weight_state) = step(weights, gradient, state);
        }
        if let Some(gradient) = biases.grad_remove(&mut gradients) {
            let state = trained.bias_state.take();
            (trained.biases, trained.bias_state) = step(biases, gradient, state);
        }
    }
}

/// One mask for each hidden layer: 0, or what keeps the mean.
fn dropout_masks(
    part: &DescendPart,
    net: &[Trained],
    rows: usize,
    random: &mut Stream,
    device: &Device,
) -> Vec<Tensor<3>> {
    if part.dropout <= 0.0 {
        return Vec::new();
    }
    let keep = (1.0 / (1.0 - part.dropout)) as f32;
    let folds = usize::from(part.folds);
    let hidden = net.split_last().map_or(&[][..], |(_, hidden)| hidden);
    hidden
        .iter()
        .map(|trained| {
            let units = trained.layer.outputs;
            let mut draw = || {
                if random.unit() < part.dropout {
                    0.0
                } else {
                    keep
                }
            };
            let mask: Vec<f32> = (0..folds * rows * units).map(|_| draw()).collect();
            Tensor::from_data(TensorData::new(mask, [folds, rows, units]), device)
        })
        .collect()
}
