//! The coordinator's side: initial weights, the server's optimizer, and the average of the last
//! steps' weights.

use serde::{Deserialize, Serialize};

use super::NAME;
use super::model::NetModel;
use super::part::{LocalTraining, MAX_LEVELS, NetPart, within};
use super::server::{Moments, Server, finite};
use super::shape::{Embedding, NetShape};
use crate::ask::PartTotals;
use crate::family::{AnyObject, AnyPart, Head, PATIENCE, Setting, Trainer};
use crate::metric::LossSums;
use crate::object::{Object, ObjectId};
use crate::random::Stream;

/// Largest change of a weight in one step. Adam moves a weight by about its
/// learning rate a batch: 0.01 times 30 batches stays well inside.
const CLIP: f64 = 1.0;
/// The learning rate falls to no less than this part of what it began with.
const LEAST_RATE: f64 = 0.05;
/// Steps that gain something over a thousand rows, as a rule, in the slower of the networks that end
/// a race; their number grows as the root of the rows.
const USUAL_STEPS: f64 = 48.0;

/// A network's hyperparameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetCandidate {
    /// Numbers that each column of the table is embedded as; 0 for none, up to 64.
    pub embedding: u32,
    /// Widths of the hidden layers.
    pub hidden: Vec<u32>,
    /// How the sites train.
    pub local: LocalTraining,
    /// What the sites' learning rate is multiplied with after each step, in [0.5, 1].
    pub decay: f64,
    /// What the averaged changes do.
    pub server: Server,
    /// Share that earlier steps keep in the average of the weights, in [0, 0.99]: what is
    /// scored and shown is that average. 0 shows the weights themselves.
    pub averaging: f64,
    /// Steps from one score to the next, 1 to 50: where rows are many a score is more work than
    /// the training between two.
    #[serde(default = "every")]
    pub score_every: u32,
}

fn every() -> u32 {
    1
}

/// Trains one network candidate.
#[derive(Clone, Debug)]
pub struct NetTrainer {
    candidate: NetCandidate,
    setting: Setting,
    /// The weights that the sites start from.
    model: NetModel,
    /// Their average over the steps: what is scored next.
    averaged: NetModel,
    moments: Moments,
    step: u32,
    /// What `learn` returned losses of last.
    scored: NetModel,
    kept: NetModel,
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

impl NetCandidate {
    /// Its layers over this many features, in columns of these widths.
    pub(super) fn shape(&self, inputs: usize, columns: &[usize], head: Head) -> NetShape {
        let embedding = (self.embedding > 0).then(|| Embedding {
            columns: columns.iter().map(|width| *width as u32).collect(),
            width: self.embedding,
        });
        NetShape {
            inputs: inputs as u32,
            embedding,
            hidden: self.hidden.clone(),
            outputs: head.outputs() as u32,
        }
    }

    fn check(&self) -> Result<(), String> {
        self.local.check()?;
        self.server.check()?;
        within("decay", self.decay, 0.5, 1.0)?;
        within(
            "steps between scores",
            f64::from(self.score_every),
            1.0,
            50.0,
        )?;
        within("averaging", self.averaging, 0.0, 0.99)
    }
}

impl NetTrainer {
    /// Starts from weights drawn from the candidate's id and the fold: normal with variance
    /// 2 / inputs (He et al. 2015), biases zero.
    ///
    /// # Errors
    /// When hyperparameters are out of bounds, or the layers beyond the caps.
    pub fn new(candidate: NetCandidate, setting: Setting) -> Result<Self, String> {
        candidate.check()?;
        let shape = candidate.shape(setting.width, &setting.features.widths(), setting.head);
        shape.check(setting.head)?;
        let folds: Vec<Vec<f32>> = (0..setting.folds)
            .map(|fold| initial_weights(&shape, setting.id, fold))
            .collect();
        let moments = Moments::new(candidate.server, folds.len(), shape.parameters());
        let model = NetModel {
            pipeline: setting.pipeline,
            head: setting.head,
            shape,
            folds,
        };
        Ok(Self {
            averaged: model.clone(),
            scored: model.clone(),
            kept: model.clone(),
            model,
            moments,
            candidate,
            setting,
            step: 0,
        })
    }

    pub(super) fn part(&self, model: ObjectId, scored: ObjectId) -> NetPart {
        let mut local = self.candidate.local;
        let decay = libm::pow(self.candidate.decay, f64::from(self.step));
        local.learning_rate *= decay.max(LEAST_RATE);
        NetPart {
            pipeline: self.setting.pipeline,
            model,
            scored,
            score: self.scores(),
            head: self.setting.head,
            folds: self.setting.folds,
            shape: self.model.shape.clone(),
            rows: self.setting.rows,
            seed: self.setting.id,
            step: self.step,
            local,
            clip: CLIP,
            levels: update_levels(self.setting.members),
        }
    }

    /// Whether the step at hand asks for validation losses.
    fn scores(&self) -> bool {
        self.step.is_multiple_of(self.candidate.score_every)
    }

    /// The share of the average that stays: less in the first steps, which start anywhere.
    fn staying(&self) -> f64 {
        let steps = f64::from(self.step);
        self.candidate.averaging.min(steps / (steps + 9.0))
    }

    fn average(&mut self) {
        let staying = self.staying();
        for (averaged, weights) in self.averaged.folds.iter_mut().zip(&self.model.folds) {
            for (average, weight) in averaged.iter_mut().zip(weights) {
                // Exactly the weight where nothing stays.
                let new = (1.0 - staying) * f64::from(*weight);
                *average = finite(staying * f64::from(*average) + new);
            }
        }
    }
}

fn initial_weights(shape: &NetShape, seed: ObjectId, fold: u8) -> Vec<f32> {
    let mut random = Stream::new(
        "collegium automl net initial weights v1",
        &[seed.as_bytes(), &[fold]],
    );
    let mut weights = Vec::with_capacity(shape.parameters());
    let mut draw = |weights: &mut Vec<f32>, count: usize, inputs: usize| {
        let spread = libm::sqrt(2.0 / inputs as f64);
        weights.extend((0..count).map(|_| (random.normal() * spread) as f32));
    };
    if let Some(embedding) = &shape.embedding {
        for column in &embedding.columns {
            let width = embedding.width as usize;
            draw(&mut weights, *column as usize * width, *column as usize);
        }
        weights.resize(embedding.end(shape.inputs), 0.0);
    }
    for layer in shape.layers() {
        draw(&mut weights, layer.inputs * layer.outputs, layer.inputs);
        weights.resize(layer.end(), 0.0);
    }
    weights
}

fn object(model: &NetModel) -> Object {
    Object::Family(AnyObject::new(NAME, model.clone()))
}

impl Trainer for NetTrainer {
    fn ask(&self) -> (AnyPart, Vec<Object>) {
        let mut objects = vec![object(&self.model)];
        if self.scores() && self.averaged.folds != self.model.folds {
            objects.push(object(&self.averaged));
        }
        // Weights are finite, so both have bytes and an id.
        let id = |at: usize| objects[at].id().unwrap_or(self.setting.id);
        let part = self.part(id(0), id(objects.len() - 1));
        (AnyPart::new(NAME, part), objects)
    }

    fn learn(&mut self, totals: &PartTotals<'_>) -> Option<LossSums> {
        // Which objects were asked about does not change how totals are read.
        let part = self.part(self.setting.pipeline, self.setting.pipeline);
        let (validation, changes) = part.read(totals);
        let scores = self.scores();
        if scores {
            self.scored.clone_from(&self.averaged);
        }
        self.moments.step(&mut self.model.folds, &changes);
        self.step += 1;
        self.average();
        scores.then_some(validation)
    }

    fn patience(&self) -> u32 {
        PATIENCE * self.candidate.score_every
    }

    fn usual_steps(&self) -> Option<u32> {
        let thousands = self.setting.rows as f64 / 1000.0;
        Some((USUAL_STEPS * libm::sqrt(thousands)) as u32 + self.patience())
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
        object(&self.averaged)
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
        let shape = NetShape {
            inputs: 30,
            embedding: None,
            hidden: vec![16],
            outputs: 1,
        };
        let weights = initial_weights(&shape, seed, 0);
        assert_eq!(weights.len(), 30 * 16 + 16 + 16 + 1);
        assert_eq!(weights, initial_weights(&shape, seed, 0));
        assert_ne!(weights, initial_weights(&shape, seed, 1));
        let embedded = NetShape {
            embedding: Some(Embedding {
                columns: vec![10, 20],
                width: 4,
            }),
            ..shape
        };
        let weights = initial_weights(&embedded, seed, 0);
        assert_eq!(weights.len(), 30 * 4 + 8 + 8 * 16 + 16 + 16 + 1);
    }
}
