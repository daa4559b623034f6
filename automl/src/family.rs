//! Model families: how each is trained over sums, and how it predicts.

pub mod logistic;
pub mod mlp;

use serde::{Deserialize, Serialize};

use crate::ask::{Part, PartTotals};
use crate::features::{Row, TargetCoding};
use crate::metric::LossSums;
use crate::object::{Object, ObjectId};
use crate::task::MAX_CLASSES;

/// Most folds a model may have.
pub const MAX_FOLDS: u8 = 10;

/// What a model's scores mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Head {
    /// Two classes: one logit, the second class being the positive one.
    Binary,
    /// More classes: one logit each.
    Classes(u16),
    /// A number, in units of the target's scale around its mean.
    Number,
}

impl Head {
    /// The head that a target needs.
    #[must_use]
    pub fn of(target: &TargetCoding) -> Self {
        match target {
            TargetCoding::Classes { labels } if labels.len() == 2 => Self::Binary,
            TargetCoding::Classes { labels } => Self::Classes(labels.len() as u16),
            TargetCoding::Number { .. } => Self::Number,
        }
    }

    /// Linear outputs of a model with this head.
    #[must_use]
    pub fn outputs(self) -> usize {
        match self {
            Self::Binary | Self::Number => 1,
            Self::Classes(classes) => usize::from(classes),
        }
    }

    /// Numbers in a prediction: class probabilities, or the one number.
    #[must_use]
    pub fn scores(self) -> usize {
        match self {
            Self::Binary => 2,
            Self::Classes(classes) => usize::from(classes),
            Self::Number => 1,
        }
    }

    /// Whether this is within the caps.
    pub(crate) fn check(self) -> Result<(), String> {
        match self {
            Self::Classes(classes) if !(3..=MAX_CLASSES).contains(&usize::from(classes)) => {
                Err(format!("{classes} classes, allowed are 3 to {MAX_CLASSES}"))
            }
            _ => Ok(()),
        }
    }
}

/// A trained model with one set of weights per fold.
pub trait FoldModel {
    /// The pipeline whose columns the model takes.
    fn pipeline(&self) -> ObjectId;
    /// What its scores mean.
    fn head(&self) -> Head;
    /// How many folds it was trained for.
    fn folds(&self) -> usize;
    /// Columns of a row.
    fn width(&self) -> usize;
    /// Scores of one row by the model of one fold, into `scores`
    /// ([`Head::scores`] numbers).
    fn predict(&self, fold: usize, row: Row<'_>, scores: &mut [f64]);
    /// Whether it takes bins, not numbers.
    fn binned(&self) -> bool {
        false
    }

    /// The average of the fold models' scores: what a champion predicts.
    fn predict_average(&self, row: Row<'_>, scores: &mut [f64]) {
        let mut one = vec![0.0; scores.len()];
        scores.fill(0.0);
        for fold in 0..self.folds() {
            self.predict(fold, row, &mut one);
            for (sum, score) in scores.iter_mut().zip(&one) {
                *sum += score;
            }
        }
        for sum in scores.iter_mut() {
            *sum /= self.folds() as f64;
        }
    }
}

impl Object {
    /// The model in this object, if it is one.
    #[must_use]
    pub fn model(&self) -> Option<&dyn FoldModel> {
        match self {
            Self::Pipeline(_) => None,
            Self::Logistic(model) => Some(model),
            Self::Mlp(model) => Some(model),
        }
    }
}

/// What every candidate of a run trains against.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Setting {
    /// The candidate's pipeline.
    pub pipeline: ObjectId,
    /// What is predicted.
    pub head: Head,
    /// Folds; each is a model of its own.
    pub folds: u8,
    /// Columns the pipeline makes.
    pub width: usize,
    /// Training rows of the whole federation.
    pub rows: u64,
    /// Members of the federation: decides how finely updates are rounded.
    pub members: usize,
}

/// Trains one candidate, a step at a time, from sums alone.
pub trait Trainer {
    /// The model as it is now.
    fn model(&self) -> Object;
    /// What to ask about the current model, published as `model`: its
    /// validation losses, and what the next step of training needs.
    fn part(&self, model: ObjectId) -> Part;
    /// Takes the totals of [`Trainer::part`] in, moves the model, and returns
    /// the validation losses of the model that was asked about.
    fn learn(&mut self, totals: &PartTotals<'_>) -> LossSums;
    /// Whether more steps would change nothing: the current model is the one
    /// whose losses `learn` returned last.
    fn finished(&self) -> bool;
    /// Whether a later model replaces an earlier one as what the candidate has
    /// to show.
    fn supersedes(&self, _new: &LossSums, _old: &LossSums) -> bool {
        true
    }
}

/// The logistic function, without overflow.
#[must_use]
pub fn sigmoid(logit: f64) -> f64 {
    if logit >= 0.0 {
        1.0 / (1.0 + libm::exp(-logit))
    } else {
        let e = libm::exp(logit);
        e / (1.0 + e)
    }
}

/// ln(1 + e^x), without overflow.
#[must_use]
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + libm::log1p(libm::exp(-x.abs()))
}
