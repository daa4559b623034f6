//! What is published of boosted trees: stages while they are trained, and whole
//! models.

use serde::{Deserialize, Serialize};

use super::rounding::link;
use super::tree::{Node, Tree};
use crate::family::{FoldModel, Head, MAX_FOLDS, sigmoid};
use crate::features::Row;
use crate::object::ObjectId;

/// Most trees that grow side by side in a stage, for each fold and output.
pub const MAX_FOREST: u8 = 16;
/// Most stages of a model.
pub const MAX_STAGES: usize = 4096;

/// What every object and part of a candidate agrees in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Frame {
    /// The pipeline that makes the bins.
    pub pipeline: ObjectId,
    /// Columns of a row.
    pub width: u32,
    /// What the outputs mean.
    pub head: Head,
    /// Folds; each is a model of its own.
    pub folds: u8,
    /// Whether one more model learns from all rows, those that validate among
    /// them, and is what the champion predicts with. Where one part of the rows
    /// validates, the model that is scored never sees them; this one does.
    pub refit: bool,
    /// Trees that grow side by side in a stage, for each fold and output.
    pub forest: u8,
}

impl Frame {
    /// Models: one for each fold, and last the one of all rows.
    #[must_use]
    pub fn models(&self) -> usize {
        usize::from(self.folds) + usize::from(self.refit)
    }

    /// Margins of a row: models times outputs.
    #[must_use]
    pub fn margins(&self) -> usize {
        self.models() * self.head.outputs()
    }

    /// Trees of a stage, model by model, output by output.
    #[must_use]
    pub fn trees(&self) -> usize {
        self.margins() * usize::from(self.forest)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.head.check()?;
        let most = crate::features::MAX_WIDTH as u32;
        if self.width == 0 || self.width > most {
            return Err(format!("{} columns, allowed are 1 to {most}", self.width));
        }
        if self.folds == 0 || self.folds > MAX_FOLDS {
            return Err(format!(
                "{} folds, allowed are 1 to {MAX_FOLDS}",
                self.folds
            ));
        }
        if self.forest == 0 || self.forest > MAX_FOREST {
            return Err(format!(
                "{} trees side by side, allowed are 1 to {MAX_FOREST}",
                self.forest
            ));
        }
        Ok(())
    }

    fn check_trees(&self, trees: &[Tree]) -> Result<(), String> {
        if trees.len() != self.trees() {
            return Err(format!(
                "a stage of {} trees where {} belong",
                trees.len(),
                self.trees()
            ));
        }
        trees
            .iter()
            .try_for_each(|tree| tree.check(self.width as usize))
    }
}

/// The trees of one stage, finished, or grown so far and without values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GbdtStage {
    /// The candidate's sizes.
    pub frame: Frame,
    /// Model by model, output by output, then the parallel ones.
    pub trees: Vec<Tree>,
}

impl GbdtStage {
    pub(super) fn check(&self) -> Result<(), String> {
        self.frame.check()?;
        self.frame.check_trees(&self.trees)
    }
}

/// A whole ensemble with all its folds. Splits and leaf values only: no counts
/// and no sums, from which rows could be told (see TimberStrike, 2506.07605).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GbdtModel {
    /// The candidate's sizes.
    pub frame: Frame,
    /// Margins before the first stage, model by model, output by output.
    pub base: Vec<f64>,
    /// The trees of every stage, as in [`GbdtStage::trees`].
    pub stages: Vec<Vec<Tree>>,
}

impl GbdtModel {
    pub(super) fn check(&self) -> Result<(), String> {
        self.frame.check()?;
        check_base(&self.base, &self.frame)?;
        if self.stages.len() > MAX_STAGES {
            return Err(format!(
                "{} stages, at most {MAX_STAGES} are allowed",
                self.stages.len()
            ));
        }
        self.stages
            .iter()
            .try_for_each(|trees| self.frame.check_trees(trees))
    }

    /// The margins of a row's outputs, in the order the sites add them up.
    fn margins(&self, model: usize, row: &[u8], margins: &mut [f64]) {
        let outputs = self.frame.head.outputs();
        let forest = usize::from(self.frame.forest);
        margins.copy_from_slice(&self.base[model * outputs..][..outputs]);
        for trees in &self.stages {
            for (output, margin) in margins.iter_mut().enumerate() {
                let first = (model * outputs + output) * forest;
                for tree in &trees[first..first + forest] {
                    *margin += f64::from(tree.value(row));
                }
            }
        }
    }

    /// How often each column is split on, over all trees: a rough importance.
    #[must_use]
    pub fn splits_by_column(&self) -> Vec<u64> {
        let mut counts = vec![0; self.frame.width as usize];
        for node in self.stages.iter().flatten().flat_map(Tree::nodes) {
            if let Node::Split { feature, .. } = node {
                counts[usize::from(*feature)] += 1;
            }
        }
        counts
    }
}

pub(super) fn check_base(base: &[f64], frame: &Frame) -> Result<(), String> {
    if base.len() != frame.margins() {
        return Err(format!(
            "{} base margins where {} belong",
            base.len(),
            frame.margins()
        ));
    }
    if base.iter().any(|margin| !margin.is_finite()) {
        return Err("a base margin is not finite".to_owned());
    }
    Ok(())
}

/// From margins to scores, as [`FoldModel::predict`] gives them.
pub(super) fn scores(head: Head, margins: &mut [f64], scores: &mut [f64]) {
    if head == Head::Binary {
        scores[0] = sigmoid(-margins[0]);
        scores[1] = sigmoid(margins[0]);
    } else {
        link(head, margins);
        scores.copy_from_slice(margins);
    }
}

impl FoldModel for GbdtModel {
    fn pipeline(&self) -> ObjectId {
        self.frame.pipeline
    }

    fn head(&self) -> Head {
        self.frame.head
    }

    fn folds(&self) -> usize {
        usize::from(self.frame.folds)
    }

    fn width(&self) -> usize {
        self.frame.width as usize
    }

    fn predict(&self, fold: usize, row: Row<'_>, out: &mut [f64]) {
        let mut margins = vec![0.0; self.frame.head.outputs()];
        self.margins(fold, row.bins(), &mut margins);
        scores(self.frame.head, &mut margins, out);
    }

    fn binned(&self) -> bool {
        true
    }

    fn predict_average(&self, row: Row<'_>, out: &mut [f64]) {
        if self.frame.refit {
            return self.predict(self.folds(), row, out);
        }
        let mut one = vec![0.0; out.len()];
        out.fill(0.0);
        for fold in 0..self.folds() {
            self.predict(fold, row, &mut one);
            for (sum, score) in out.iter_mut().zip(&one) {
                *sum += score;
            }
        }
        let folds = self.folds() as f64;
        out.iter_mut().for_each(|sum| *sum /= folds);
    }
}
