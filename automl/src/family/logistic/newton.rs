//! The coordinator's side: Newton steps with step halving.

use serde::{Deserialize, Serialize};

use crate::ask::PartTotals;
use crate::family::cholesky::solve;
use crate::family::logistic::{LogisticModel, NAME, NewtonPart, NewtonSums};
use crate::family::{AnyObject, AnyPart, Setting, Trainer};
use crate::metric::LossSums;
use crate::object::{Object, ObjectId};

/// Newton steps until a model is taken as it is; eight are usual for
/// well-separated classes, five otherwise.
const MAX_STEPS: u32 = 16;
/// A step that promises less than this many nats a row is the last one. The
/// error after it is of the order of the square, below what rounding leaves.
const LAST_GAIN: f64 = 1e-7;
/// Times a step is halved before the point it started from is kept.
const MAX_HALVINGS: u32 = 8;

/// A logistic (or linear) candidate's hyperparameters.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogisticCandidate {
    /// Weight of ½·Σ weight² against the **sum** of losses over rows (the
    /// inverse of scikit-learn's `C`); the intercept is free.
    pub ridge: f64,
}

/// Where one fold's output stands.
#[derive(Clone, Debug)]
struct Descent {
    /// The best point so far with its objective.
    accepted: Option<(Vec<f64>, f64)>,
    halvings: u32,
    settled: bool,
}

/// Fits one candidate, all folds and outputs in lockstep.
#[derive(Clone, Debug)]
pub struct LogisticTrainer {
    candidate: LogisticCandidate,
    setting: Setting,
    model: LogisticModel,
    /// The model that was asked about last, and the one to show.
    scored: LogisticModel,
    kept: LogisticModel,
    descents: Vec<Descent>,
    steps: u32,
    finished: bool,
}

impl LogisticTrainer {
    /// Starts from all weights zero.
    #[must_use]
    pub fn new(candidate: LogisticCandidate, setting: Setting) -> Self {
        let Setting {
            pipeline,
            head,
            folds,
            width,
            ..
        } = setting.clone();
        let models = usize::from(folds) * head.outputs();
        let descent = Descent {
            accepted: None,
            halvings: 0,
            settled: false,
        };
        let model = LogisticModel::zero(pipeline, head, folds, width);
        Self {
            candidate,
            setting,
            scored: model.clone(),
            kept: model.clone(),
            model,
            descents: vec![descent; models],
            steps: 0,
            finished: false,
        }
    }

    fn newton_part(&self, model: ObjectId) -> NewtonPart {
        NewtonPart {
            pipeline: self.setting.pipeline,
            model,
            head: self.setting.head,
            folds: self.setting.folds,
            width: self.setting.width as u32,
            rows: self.setting.rows,
        }
    }
}

fn object(model: &LogisticModel) -> Object {
    Object::Family(AnyObject::new(NAME, model.clone()))
}

impl Trainer for LogisticTrainer {
    fn ask(&self) -> (AnyPart, Vec<Object>) {
        let model = object(&self.model);
        // Weights are finite: no step is taken to where they are not.
        let id = model.id().unwrap_or(self.setting.id);
        let part = AnyPart::new(NAME, self.newton_part(id));
        (part, vec![model])
    }

    fn learn(&mut self, totals: &PartTotals<'_>) -> Option<LossSums> {
        let (validation, sums) = self.newton_part(self.setting.pipeline).read(totals);
        self.steps += 1;
        self.scored.clone_from(&self.model);
        let outputs = self.setting.head.outputs();
        for (at, (descent, sums)) in self.descents.iter_mut().zip(&sums).enumerate() {
            let weights = &mut self.model.folds[at / outputs][at % outputs];
            descent.learn(weights, sums, self.candidate.ridge, self.setting.rows);
        }
        // The weights that just settled have not been scored yet, unless
        // nothing moved in this step.
        let settled = self
            .descents
            .iter()
            .all(|d| d.settled && d.accepted.is_none());
        self.finished = settled || self.steps >= MAX_STEPS;
        for descent in &mut self.descents {
            if descent.settled {
                descent.accepted = None;
            }
        }
        Some(validation)
    }

    fn finished(&self) -> bool {
        self.finished
    }

    /// Every step of Newton's is nearer to the one minimum.
    fn supersedes(&self, _new: &LossSums, _old: &LossSums) -> bool {
        true
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

impl Descent {
    /// Moves `weights`, where the sums were taken, to the next point.
    fn learn(&mut self, weights: &mut Vec<f64>, sums: &NewtonSums, ridge: f64, rows: u64) {
        if self.settled {
            return;
        }
        let slopes = weights.len() - 1;
        let square: f64 = weights[..slopes].iter().map(|w| w * w).sum();
        let objective = sums.loss + 0.5 * ridge * square;
        if let Some((best, least)) = &self.accepted {
            // Rounding may lift the loss by half a unit a row; more is a step
            // too far.
            if objective > least + 1e-9 * (rows as f64 + least.abs()) {
                self.halvings += 1;
                if self.halvings > MAX_HALVINGS {
                    weights.clone_from(best);
                    self.settled = true;
                    return;
                }
                for (weight, start) in weights.iter_mut().zip(best) {
                    *weight = 0.5 * (*weight + start);
                }
                return;
            }
        }
        let Some((direction, gain)) = newton_direction(weights, sums, ridge) else {
            self.settled = true;
            return;
        };
        self.accepted = Some((weights.clone(), objective));
        self.halvings = 0;
        for (weight, step) in weights.iter_mut().zip(&direction) {
            *weight -= step;
        }
        if gain <= LAST_GAIN * rows as f64 {
            self.settled = true;
        }
    }
}

/// The Newton step (to be subtracted) and the decrease of the objective that it
/// promises. `None` when no positive definite system can be made of the sums.
fn newton_direction(weights: &[f64], sums: &NewtonSums, ridge: f64) -> Option<(Vec<f64>, f64)> {
    let slopes = weights.len() - 1;
    let mut gradient = sums.gradient.clone();
    for (g, w) in gradient.iter_mut().zip(&weights[..slopes]) {
        *g += ridge * w;
    }
    // Without ridge on the intercept the system is singular where every row is
    // saturated; a growing lift of the diagonal shortens the step instead.
    for lift in [0.0, 1e-9, 1e-6, 1e-3, 1.0] {
        let mut matrix = sums.hessian.clone();
        for row in 0..weights.len() {
            let diagonal = row * (row + 3) / 2;
            matrix[diagonal] += lift + if row < slopes { ridge } else { 0.0 };
        }
        if let Some(direction) = solve(&matrix, &gradient) {
            let gain: f64 = direction.iter().zip(&gradient).map(|(d, g)| d * g).sum();
            return Some((direction, 0.5 * gain));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quadratic_is_solved_in_one_step() {
        // ½ (4 w² - 16 w) with an intercept that is already right.
        let sums = NewtonSums {
            loss: 0.0,
            gradient: vec![-8.0, 0.0],
            hessian: vec![4.0, 0.0, 1.0],
        };
        let mut weights = vec![0.0, 0.0];
        let mut descent = Descent {
            accepted: None,
            halvings: 0,
            settled: false,
        };
        descent.learn(&mut weights, &sums, 0.0, 1);
        assert_eq!(weights, [2.0, 0.0]);
    }

    #[test]
    fn a_worse_point_is_halved_back() {
        let sums = |loss: f64| NewtonSums {
            loss,
            gradient: vec![-1.0, 0.0],
            hessian: vec![1.0, 0.0, 1.0],
        };
        let mut weights = vec![0.0, 0.0];
        let mut descent = Descent {
            accepted: None,
            halvings: 0,
            settled: false,
        };
        descent.learn(&mut weights, &sums(1.0), 0.0, 1);
        assert_eq!(weights[0], 1.0);
        descent.learn(&mut weights, &sums(2.0), 0.0, 1);
        assert_eq!(weights[0], 0.5);
        descent.learn(&mut weights, &sums(0.5), 0.0, 1);
        assert_eq!(weights[0], 1.5);
    }
}
