//! The coordinator's side: initial weights and the averaged changes.

use serde::{Deserialize, Serialize};

use crate::ask::PartTotals;
use crate::family::mlp::{DescendPart, MAX_LEVELS, MlpModel, NAME, layers};
use crate::family::{AnyObject, AnyPart, Setting, Trainer};
use crate::metric::LossSums;
use crate::object::{Object, ObjectId};
use crate::random::Stream;

/// Largest change of a weight in one step. Adam moves a weight by about its
/// learning rate a batch: 0.01 times 30 batches stays well inside.
const CLIP: f64 = 1.0;

/// A network's hyperparameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MlpCandidate {
    /// Widths of the hidden layers.
    pub hidden: Vec<u32>,
    /// Learning rate of the sites' AdamW.
    pub learning_rate: f64,
    /// Its decoupled weight decay.
    pub weight_decay: f64,
    /// Share of hidden units dropped while training.
    pub dropout: f64,
    /// Passes over a site's rows in a step.
    pub epochs: u16,
    /// Rows in a local batch.
    pub batch: u32,
}

/// The candidates, the best guess first.
pub(super) fn portfolio() -> [MlpCandidate; 4] {
    let network = |hidden: &[u32], learning_rate, weight_decay, dropout| MlpCandidate {
        hidden: hidden.to_vec(),
        learning_rate,
        weight_decay,
        dropout,
        epochs: 1,
        batch: 32,
    };
    [
        network(&[32], 0.01, 1.0, 0.5),
        network(&[16], 0.01, 0.3, 0.2),
        network(&[32], 0.005, 1.0, 0.3),
        network(&[16, 16], 0.005, 1.0, 0.2),
    ]
}

/// Trains one network candidate.
#[derive(Clone, Debug)]
pub struct MlpTrainer {
    candidate: MlpCandidate,
    setting: Setting,
    model: MlpModel,
    /// The model that was asked about last, and the one to show.
    scored: MlpModel,
    kept: MlpModel,
    step: u32,
}

/// How many levels an update is rounded to: at most 24 bits, and so few that two
/// numbers share one ciphertext coefficient.
///
/// With n members a lane takes B = n · levels + 1 values, and two lanes fit where
/// q / B² leaves room for the noise: B² · 2 · 66.5 · √n < 2^64 - 2^32 + 1 (the
/// bound E(n) = 10.5 · 6.33 · √n of the encryption). That is 24 bits up to 12
/// members, 23.4 at 16, 19.4 at 100.
#[must_use]
pub fn update_levels(members: usize) -> u64 {
    let members = members.max(1) as f64;
    let room = 18_446_744_069_414_584_321.0 / (2.0 * 66.5 * libm::sqrt(members) + 2.0);
    let levels = ((libm::sqrt(room) - 1.0) / members) as u64;
    (levels & !1).clamp(1 << 12, MAX_LEVELS)
}

impl MlpTrainer {
    /// Starts from weights drawn from the candidate's id and the fold:
    /// normal with variance 2 / inputs (He et al. 2015), biases zero.
    #[must_use]
    pub fn new(candidate: MlpCandidate, setting: Setting) -> Self {
        let mut sizes = vec![setting.width as u32];
        sizes.extend(&candidate.hidden);
        sizes.push(setting.head.outputs() as u32);
        let folds = (0..setting.folds)
            .map(|fold| initial_weights(&sizes, setting.id, fold))
            .collect();
        let model = MlpModel {
            pipeline: setting.pipeline,
            head: setting.head,
            sizes,
            folds,
        };
        Self {
            scored: model.clone(),
            kept: model.clone(),
            model,
            candidate,
            setting,
            step: 0,
        }
    }

    fn descend_part(&self, model: ObjectId) -> DescendPart {
        DescendPart {
            pipeline: self.setting.pipeline,
            model,
            head: self.setting.head,
            folds: self.setting.folds,
            sizes: self.model.sizes.clone(),
            rows: self.setting.rows,
            seed: self.setting.id,
            step: self.step,
            epochs: self.candidate.epochs,
            batch: self.candidate.batch,
            learning_rate: self.candidate.learning_rate,
            weight_decay: self.candidate.weight_decay,
            dropout: self.candidate.dropout,
            clip: CLIP,
            levels: update_levels(self.setting.members),
        }
    }
}

fn initial_weights(sizes: &[u32], seed: ObjectId, fold: u8) -> Vec<f32> {
    let mut random = Stream::new(
        "collegium automl mlp initial weights v1",
        &[seed.as_bytes(), &[fold]],
    );
    let mut weights = Vec::new();
    for layer in layers(sizes) {
        let spread = libm::sqrt(2.0 / layer.inputs as f64);
        let matrix = layer.inputs * layer.outputs;
        weights.extend((0..matrix).map(|_| (random.normal() * spread) as f32));
        weights.resize(layer.end(), 0.0);
    }
    weights
}

fn object(model: &MlpModel) -> Object {
    Object::Family(AnyObject::new(NAME, model.clone()))
}

impl Trainer for MlpTrainer {
    fn ask(&self) -> (AnyPart, Vec<Object>) {
        let model = object(&self.model);
        // Weights are finite: changes are clipped.
        let id = model.id().unwrap_or(self.setting.id);
        let part = AnyPart::new(NAME, self.descend_part(id));
        (part, vec![model])
    }

    fn learn(&mut self, totals: &PartTotals<'_>) -> Option<LossSums> {
        let (validation, sums) = self.descend_part(self.setting.pipeline).read(totals);
        self.scored.clone_from(&self.model);
        for (weights, change) in self.model.folds.iter_mut().zip(&sums.change) {
            for (weight, change) in weights.iter_mut().zip(change) {
                *weight = (f64::from(*weight) + change) as f32;
            }
        }
        self.step += 1;
        Some(validation)
    }

    fn finished(&self) -> bool {
        false
    }

    fn keep(&mut self) {
        self.kept.clone_from(&self.scored);
    }

    fn shown(&self) -> Object {
        object(&self.kept)
    }

    fn model(&self) -> Object {
        object(&self.model)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn updates_share_a_coefficient_up_to_large_consortia() {
        assert_eq!(update_levels(4), MAX_LEVELS);
        assert_eq!(update_levels(3), MAX_LEVELS);
        for members in [3usize, 4, 16, 64, 100, 1000] {
            let base = members as f64 * update_levels(members) as f64 + 1.0;
            let noise = (10.5 * 6.33 * (members as f64).sqrt()).ceil();
            let delta = 18_446_744_069_414_584_321.0 / (base * base);
            assert!(2.0 * noise < delta.floor(), "{members} members");
        }
    }

    #[test]
    fn initial_weights_follow_from_seed_and_fold() {
        let seed = ObjectId::of(b"candidate");
        let sizes = [30, 16, 1];
        let weights = initial_weights(&sizes, seed, 0);
        assert_eq!(weights.len(), 30 * 16 + 16 + 16 + 1);
        assert_eq!(weights, initial_weights(&sizes, seed, 0));
        assert_ne!(weights, initial_weights(&sizes, seed, 1));
    }
}
