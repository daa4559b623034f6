//! Validation losses at a site.

use burn::tensor::Tensor;

use super::device;
use super::forward::{Layout, forward, load, values_of};
use super::model::NetModel;
use crate::family::FoldModel;
use crate::metric::LossCounter;
use crate::site::{Rows, Slot};

/// Rows that go through a network together: few enough for a hidden layer of them to stay in a
/// core's cache (256 x 128 x 4 bytes = 128 KiB).
const BLOCK: usize = 256;

/// The losses of each fold's network over the fold's own rows; `bound` is the federation's number
/// of rows.
///
/// The linear outputs are the framework's, in `f32`, as in training: every site scores rows that
/// no other site has, so nothing has to agree with them in the last bit. What follows is `f64`.
pub(super) fn losses(model: &NetModel, rows: &Rows, bound: u64) -> LossCounter {
    let device = device::device();
    let net: Vec<Tensor<3>> = load(model, &device).into_iter().map(|(_, t)| t).collect();
    let layout = Layout::new(&model.shape);
    let mut losses = LossCounter::new(model.head, bound);
    let mut scores = vec![0.0; model.head.scores()];
    let mut outputs = vec![0.0; model.head.outputs()];
    for fold in 0..model.folds.len() {
        let own = |at: &usize| rows.slots[*at] == Slot::Fold(fold as u8);
        let validates: Vec<usize> = (0..rows.len()).filter(own).collect();
        let net: Vec<Tensor<3>> = net
            .iter()
            .map(|tensor| tensor.clone().narrow(0, fold, 1))
            .collect();
        for block in validates.chunks(BLOCK) {
            let inputs = layout.inputs(rows, block, &device);
            let linear = values_of(forward(&model.shape, &net, inputs, &[]));
            for (at, linear) in block.iter().zip(linear.chunks_exact(outputs.len())) {
                for (output, linear) in outputs.iter_mut().zip(linear) {
                    *output = f64::from(*linear);
                }
                if outputs.iter().all(|output| output.is_finite()) {
                    model.scores(&outputs, &mut scores);
                } else {
                    // Sums beyond f32, of a network that diverged, are within f64.
                    model.predict(fold, rows.row(*at), &mut scores);
                }
                losses.add(&scores, rows.targets[*at]);
            }
        }
    }
    losses
}
