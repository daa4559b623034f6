//! Model families: how each is trained over sums, and how it predicts.
//!
//! A family is one [`Family`] in a folder of its own, known to the search by its
//! name ([`registry`]). It brings a [`Trainer`] (the coordinator's side), a
//! [`FamilyPart`] (what a site computes) and a [`FoldModel`] (what predicts).

pub mod additive;
pub(crate) mod cholesky;
pub mod ga2m;
pub mod gbdt;
pub mod logistic;
pub(crate) mod monotone;
pub mod net;
pub mod portfolio;
pub mod registry;
pub mod scorecard;

use std::sync::Arc;

use crate::ask::PartTotals;
use crate::features::{Pipeline, Row, TargetCoding};
use crate::metric::LossSums;
use crate::object::{Object, ObjectId};
use crate::task::MAX_CLASSES;

pub(crate) use registry::allowed;
pub use registry::{
    AnyObject, AnyPart, Family, FamilyObject, FamilyPart, Offer, Proposal, Reads, families, find,
    names, register,
};

use serde::{Deserialize, Serialize};

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

    /// Whether this is within the caps; every part that carries a head checks it before
    /// it computes anything.
    ///
    /// # Errors
    /// Says what is out of bounds.
    pub fn check(self) -> Result<(), String> {
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

/// What a candidate trains against.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The candidate's id: the seed of everything random in its training.
    pub id: ObjectId,
    /// The candidate's pipeline, as it was published.
    pub pipeline: ObjectId,
    /// The pipeline itself.
    pub features: Arc<Pipeline>,
    /// What is predicted.
    pub head: Head,
    /// Folds; each is a model of its own.
    pub folds: u8,
    /// Columns the pipeline makes.
    pub width: usize,
    /// Training rows of the whole federation: bounds every sum.
    pub rows: u64,
    /// Members of the federation: decides how finely updates are rounded.
    pub members: usize,
}

#[cfg(test)]
impl Setting {
    /// A setting without a real pipeline, for tests of a family alone.
    pub(crate) fn for_test(head: Head, folds: u8, width: usize, rows: u64) -> Self {
        Self {
            id: ObjectId::of(b"candidate"),
            pipeline: ObjectId::of(b"pipeline"),
            features: Arc::new(Pipeline::blank()),
            head,
            folds,
            width,
            rows,
            members: 4,
        }
    }
}

/// Steps of training without a gain after which a candidate stops, unless its
/// family says otherwise.
pub(crate) const PATIENCE: u32 = 10;

/// Trains one candidate, a step at a time, from sums alone.
pub trait Trainer {
    /// What to ask next, and the objects it refers to that were not published
    /// before ([`Object::id`] is how the part names them).
    fn ask(&self) -> (AnyPart, Vec<Object>);

    /// Takes the totals of what [`Trainer::ask`] asked in and moves on. Returns
    /// the validation losses of the whole model that this step scored, if it
    /// scored one.
    fn learn(&mut self, totals: &PartTotals<'_>) -> Option<LossSums>;

    /// Whether more steps would change nothing: the current model is the one
    /// whose losses `learn` returned last.
    fn finished(&self) -> bool;

    /// Whether a later model replaces an earlier one as what the candidate has
    /// to show: the one with the smaller loss, which is early stopping.
    fn supersedes(&self, new: &LossSums, old: &LossSums) -> bool {
        new.mean() < old.mean()
    }

    /// The model that `learn` returned losses of last is what the candidate
    /// shows from now on.
    fn keep(&mut self);

    /// The model kept last.
    fn shown(&self) -> Object;

    /// The model as it is now.
    fn model(&self) -> Object;

    /// Steps of training without a gain after which the candidate stops.
    fn patience(&self) -> u32 {
        PATIENCE
    }

    /// About how many steps such a candidate trains where no budget ends it, for estimates alone;
    /// `None` where it comes to an end of itself after a few.
    fn usual_steps(&self) -> Option<u32> {
        None
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
