//! Local training at a site, with `burn`.
//!
//! The folds' networks train side by side: weights are stacked to
//! `[fold, input, output]`, every fold sees the same batches and the same dropout, and a
//! weight of 0 takes each fold's validation rows out of its loss. That is one pass of the
//! framework instead of five.

use burn::optim::{AdamW, AdamWConfig, AdamWState, Optimizer};
use burn::tensor::{Device, Gradients, Tensor, TensorData, activation};

use super::device;
use super::forward::{Layout, forward, load, values_of};
use super::model::NetModel;
use super::part::{LocalTraining, NetPart};
use super::stack::Stacked;
use crate::family::Head;
use crate::random::Stream;
use crate::site::{Rows, Slot};

/// Numbers are cut at this many target scales, as in the loss sums.
const TARGET_LIMIT: f64 = 32.0;

/// A stacked tensor in training, with its optimizer moments, which start at
/// zero in every step.
struct Trained {
    stacked: Stacked,
    values: Tensor<3>,
    /// Where the step began: FedProx pulls towards it.
    start: Tensor<3>,
    state: Option<AdamWState<3>>,
}

/// One batch: inputs as [`Layout`] lays them out, targets `[1, row, output]`, and
/// each row's weight in each fold's mean loss `[fold, row, 1]`.
struct Batch {
    inputs: Tensor<3>,
    targets: Tensor<3>,
    weights: Tensor<3>,
    rows: usize,
}

/// The folds' weights after local training; unchanged without rows.
pub(super) fn train(part: &NetPart, model: &NetModel, rows: &Rows) -> Vec<Vec<f32>> {
    if rows.is_empty() {
        return model.folds.clone();
    }
    let device = device::device().autodiff();
    let mut random = Stream::new(
        "collegium automl net local v1",
        &[
            part.seed.as_bytes(),
            &part.step.to_le_bytes(),
            rows.digest().as_bytes(),
        ],
    );
    let optimizer = AdamWConfig::new()
        .with_weight_decay(part.local.weight_decay as f32)
        .build();
    let mut net = trained(model, &device);
    let mut gather = Gather::new(part, rows);
    let mut order: Vec<usize> = (0..rows.len()).collect();
    for _ in 0..part.local.epochs {
        random.shuffle(&mut order);
        for chosen in batches(&order, part.local) {
            let batch = gather.batch(chosen, &device);
            let masks = dropout_masks(part, batch.rows, &mut random, &device);
            descend(part, &mut net, &optimizer, &batch, &masks);
        }
    }
    unload(model, net)
}

/// Splits into batches of nearly equal size, none above the largest allowed, and takes the share
/// of them that a pass goes over.
fn batches(order: &[usize], local: LocalTraining) -> impl Iterator<Item = &[usize]> {
    let count = order.len().div_ceil(local.batch as usize);
    let taken = libm::ceil(local.share * count as f64) as usize;
    (0..taken.clamp(1, count.max(1))).map(move |at| {
        let edge = |at: usize| at * order.len() / count;
        &order[edge(at)..edge(at + 1)]
    })
}

fn trained(model: &NetModel, device: &Device) -> Vec<Trained> {
    let trained = |(stacked, values): (Stacked, Tensor<3>)| Trained {
        stacked,
        start: values.clone().inner(),
        values,
        state: None,
    };
    load(model, device).into_iter().map(trained).collect()
}

fn unload(model: &NetModel, net: Vec<Trained>) -> Vec<Vec<f32>> {
    let mut folds = model.folds.clone();
    for trained in net {
        trained
            .stacked
            .unpack(&values_of(trained.values), &mut folds);
    }
    folds
}

/// Makes batches out of a site's rows.
struct Gather<'a> {
    part: &'a NetPart,
    rows: &'a Rows,
    layout: Layout,
    /// Training rows of the batch at hand, for each fold.
    counts: Vec<usize>,
}

impl<'a> Gather<'a> {
    fn new(part: &'a NetPart, rows: &'a Rows) -> Self {
        Self {
            part,
            rows,
            layout: Layout::new(&part.shape),
            counts: vec![0; usize::from(part.folds)],
        }
    }

    fn batch(&mut self, chosen: &[usize], device: &Device) -> Batch {
        let rows = chosen.len();
        let outputs = self.part.head.outputs();
        let targets = self.targets(chosen);
        let weights = self.weights(chosen);
        let tensor = |values, dims| Tensor::from_data(TensorData::new(values, dims), device);
        Batch {
            inputs: self.layout.inputs(self.rows, chosen, device),
            targets: tensor(targets, [1, rows, outputs]),
            weights: tensor(weights, [self.counts.len(), rows, 1]),
            rows,
        }
    }

    fn targets(&self, chosen: &[usize]) -> Vec<f32> {
        let outputs = self.part.head.outputs();
        let mut targets = vec![0f32; chosen.len() * outputs];
        for (at, index) in chosen.iter().enumerate() {
            let target = self.rows.targets[*index];
            match self.part.head {
                Head::Binary => targets[at] = target as f32,
                Head::Number => targets[at] = target.clamp(-TARGET_LIMIT, TARGET_LIMIT) as f32,
                Head::Classes(_) => targets[at * outputs + target as usize] = 1.0,
            }
        }
        targets
    }

    fn weights(&mut self, chosen: &[usize]) -> Vec<f32> {
        self.counts.fill(chosen.len());
        for index in chosen {
            if let Slot::Fold(fold) = self.rows.slots[*index]
                && let Some(count) = self.counts.get_mut(usize::from(fold))
            {
                *count -= 1;
            }
        }
        let mut weights = Vec::with_capacity(self.counts.len() * chosen.len());
        for (fold, count) in self.counts.iter().enumerate() {
            let weight = 1.0 / (*count).max(1) as f32;
            weights.extend(chosen.iter().map(|index| {
                if self.rows.trains(*index, fold) {
                    weight
                } else {
                    0.0
                }
            }));
        }
        weights
    }
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
fn leaves(net: &[Trained]) -> Vec<Tensor<3>> {
    net.iter()
        .map(|trained| trained.values.clone().autodiff().require_grad())
        .collect()
}

fn backward(part: &NetPart, leaves: &[Tensor<3>], batch: &Batch, masks: &[Tensor<3>]) -> Gradients {
    let outputs = forward(&part.shape, leaves, batch.inputs.clone(), masks);
    loss(part.head, outputs, batch).backward()
}

/// Gradients of the folds' mean losses over all rows, laid out like the weights.
#[cfg(test)]
pub(super) fn gradients(part: &NetPart, model: &NetModel, rows: &Rows) -> Vec<Vec<f32>> {
    let device = device::device().autodiff();
    let mut net = trained(model, &device);
    let order: Vec<usize> = (0..rows.len()).collect();
    let batch = Gather::new(part, rows).batch(&order, &device);
    let leaves = leaves(&net);
    let gradients = backward(part, &leaves, &batch, &[]);
    for (trained, leaf) in net.iter_mut().zip(leaves) {
        trained.values = leaf.grad(&gradients).expect("a gradient");
    }
    unload(model, net)
}

fn descend(
    part: &NetPart,
    net: &mut [Trained],
    optimizer: &AdamW,
    batch: &Batch,
    masks: &[Tensor<3>],
) {
    let leaves = leaves(net);
    let mut gradients = backward(part, &leaves, batch, masks);
    for (trained, leaf) in net.iter_mut().zip(leaves) {
        let Some(mut gradient) = leaf.grad_remove(&mut gradients) else {
            continue;
        };
        let values = leaf.inner();
        if part.local.proximal > 0.0 {
            let away = values.clone() - trained.start.clone();
            gradient = gradient + away.mul_scalar(part.local.proximal);
        }
        let state = trained.state.take();
        (trained.values, trained.state) =
            optimizer.step(part.local.learning_rate, values, gradient, state);
    }
}

/// One mask `[1, row, unit]` for each hidden layer: 0, or what keeps the mean. A byte
/// decides for a unit, so the share is a 256th.
fn dropout_masks(
    part: &NetPart,
    rows: usize,
    random: &mut Stream,
    device: &Device,
) -> Vec<Tensor<3>> {
    let dropped = libm::round(part.local.dropout * 256.0) as u32;
    if dropped == 0 {
        return Vec::new();
    }
    let keep = 256.0 / (256 - dropped) as f32;
    let mut bytes = Vec::new();
    let mut mask = |units: &u32| {
        let units = *units as usize;
        bytes.resize(rows * units, 0u8);
        random.fill(&mut bytes);
        let values = bytes.iter().map(|byte| {
            if u32::from(*byte) < dropped {
                0.0
            } else {
                keep
            }
        });
        let data = TensorData::new(values.collect::<Vec<f32>>(), [1, rows, units]);
        Tensor::from_data(data, device)
    };
    part.shape.hidden.iter().map(&mut mask).collect()
}
