//! The layers of a network, and where their weights lie.

use serde::{Deserialize, Serialize};

use crate::family::Head;

/// Most hidden layers.
const MAX_HIDDEN: usize = 4;
/// Widest layer, inputs included.
const MAX_LAYER: u32 = 8192;
/// Most numbers that a column is embedded as.
const MAX_EMBEDDING: u32 = 64;
/// Most weights of one fold: 2^18, so that the largest model is 10 folds of a
/// quarter million, about 30 MB of JSON and below the object cap.
const MAX_PARAMETERS: usize = 1 << 18;

/// The layers of one fold's network.
///
/// Its weights are one flat list: the embeddings first, then layer by layer, each as a matrix
/// with one row per input followed by the biases.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetShape {
    /// Features of a row.
    pub inputs: u32,
    /// Embedding of each column, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub embedding: Option<Embedding>,
    /// Widths of the hidden layers.
    pub hidden: Vec<u32>,
    /// Linear outputs.
    pub outputs: u32,
}

/// Every column of the table becomes `width` numbers of its own: a linear layer over its
/// features alone, followed by SiLU. Over one-hot levels that is a table of category embeddings;
/// over the pieces of a number it is the piecewise-linear embedding of Gorishniy et al. (2022).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Embedding {
    /// Features of each column, in order.
    pub columns: Vec<u32>,
    /// Numbers that each column becomes.
    pub width: u32,
}

/// Where one dense layer's weights lie in a fold's list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) start: usize,
}

impl Layer {
    pub(super) fn biases(&self) -> usize {
        self.start + self.inputs * self.outputs
    }

    pub(super) fn end(&self) -> usize {
        self.biases() + self.outputs
    }
}

impl Embedding {
    pub(super) fn outputs(&self) -> usize {
        self.columns.len() * self.width as usize
    }

    /// Where the biases start: after one row of `width` weights for each feature.
    pub(super) fn biases(&self, inputs: u32) -> usize {
        inputs as usize * self.width as usize
    }

    pub(super) fn end(&self, inputs: u32) -> usize {
        self.biases(inputs) + self.outputs()
    }

    fn check(&self, inputs: u32) -> Result<(), String> {
        if self.width == 0 || self.width > MAX_EMBEDDING {
            return Err(format!("an embedding has 1 to {MAX_EMBEDDING} numbers"));
        }
        let features: u64 = self.columns.iter().map(|width| u64::from(*width)).sum();
        if features != u64::from(inputs) || self.columns.contains(&0) {
            return Err("the embedded columns do not cover the features".to_owned());
        }
        Ok(())
    }
}

impl NetShape {
    /// The dense layers, the one over the outputs last.
    pub(super) fn layers(&self) -> Vec<Layer> {
        let (mut inputs, mut start) = match &self.embedding {
            None => (self.inputs as usize, 0),
            Some(embedding) => (embedding.outputs(), embedding.end(self.inputs)),
        };
        let mut layers = Vec::with_capacity(self.hidden.len() + 1);
        for outputs in self.hidden.iter().chain([&self.outputs]) {
            let layer = Layer {
                inputs,
                outputs: *outputs as usize,
                start,
            };
            inputs = layer.outputs;
            start = layer.end();
            layers.push(layer);
        }
        layers
    }

    /// Weights of one fold.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.layers().last().map_or(0, Layer::end)
    }

    /// Whether it is within the caps and has an output for each of the head's.
    pub(super) fn check(&self, head: Head) -> Result<(), String> {
        head.check()?;
        if self.hidden.len() > MAX_HIDDEN {
            return Err(format!("a network has 0 to {MAX_HIDDEN} hidden layers"));
        }
        let sizes = [self.inputs, self.outputs];
        let mut sizes = sizes.iter().chain(&self.hidden);
        if sizes.any(|size| *size == 0 || *size > MAX_LAYER) {
            return Err(format!("a layer has 1 to {MAX_LAYER} units"));
        }
        if self.outputs as usize != head.outputs() {
            return Err("the last layer does not have one unit per output".to_owned());
        }
        if let Some(embedding) = &self.embedding {
            embedding.check(self.inputs)?;
        }
        // At most 6 layers of 2^13 x 2^13 weights so far: no overflow.
        if self.parameters() > MAX_PARAMETERS {
            return Err(format!("a network has at most {MAX_PARAMETERS} weights"));
        }
        Ok(())
    }
}
