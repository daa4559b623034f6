//! The coordinator's side of a candidate: stage by stage, level by level.

use super::grow::{Growing, Growth};
use super::histogram::Layout;
use super::hyperparameters::GbdtHyperparameters;
use super::model::{Frame, GbdtModel, GbdtStage};
use super::part::{GbdtPart, LevelTotals};
use super::rounding::{Rounding, derivatives, link};
use super::split::{ColumnKind, Histogram, Rules};
use super::tree::Tree;
use super::{GbdtObject, NAME};
use crate::ask::PartTotals;
use crate::family::{AnyObject, AnyPart, Head, Setting, Trainer, monotone};
use crate::features::BinColumn;
use crate::metric::LossSums;
use crate::object::{Object, ObjectId};

/// Learning, summed over stages, without a gain after which a candidate stops:
/// ten stages at a rate of 0.3.
const PATIENT_RATES: f64 = 3.0;
/// Fewest and most stages without a gain after which it stops.
const PATIENT_STAGES: (f64, f64) = (4.0, 30.0);
/// Learning, summed over stages, after which candidates gain no more, as a rule: this much over a
/// thousand rows, and this much more for every ten times as many. Fitted to the steps of seven
/// searches in `docs/accuracy.md`.
const USUAL_RATES: (f64, f64) = (4.2, 2.0);

/// Trains one candidate.
#[derive(Clone, Debug)]
pub struct GbdtTrainer {
    hyperparameters: GbdtHyperparameters,
    candidate: ObjectId,
    frame: Frame,
    rows: u64,
    bins: Vec<u16>,
    growing: Growing,
    /// Margins before the first stage, once the classes are counted.
    base: Option<Vec<f64>>,
    /// Finished stages with their ids.
    stages: Vec<(ObjectId, GbdtStage)>,
    /// The trees of the stage at hand.
    growths: Vec<Growth>,
    /// Whether there is nothing left to split.
    exhausted: bool,
    /// Stages of the model that was scored last, and of the one that is kept.
    scored: Option<usize>,
    kept: usize,
}

impl GbdtTrainer {
    /// Starts without a tree.
    ///
    /// # Errors
    /// When the hyperparameters are out of bounds or do not fit the columns, or
    /// the pipeline makes no bins.
    pub fn new(hyperparameters: GbdtHyperparameters, setting: &Setting) -> Result<Self, String> {
        Self::with_columns(hyperparameters, setting, &setting.features.bin_columns())
    }

    pub(super) fn with_columns(
        hyperparameters: GbdtHyperparameters,
        setting: &Setting,
        columns: &[BinColumn],
    ) -> Result<Self, String> {
        hyperparameters.check()?;
        if columns.is_empty() || columns.len() != setting.width {
            return Err("boosted trees need a pipeline that makes bins".to_owned());
        }
        let frame = Frame {
            pipeline: setting.pipeline,
            width: setting.width as u32,
            head: setting.head,
            folds: setting.folds,
            refit: setting.folds == 1,
            forest: hyperparameters.forest,
        };
        let growing = Growing {
            rules: Rules {
                lambda: hyperparameters.lambda,
                min_hessian: hyperparameters.min_hessian,
                min_gain: hyperparameters.min_gain,
                category_lambda: hyperparameters.category_lambda,
                category_smoothing: hyperparameters.category_smoothing,
            },
            max_depth: hyperparameters.max_depth,
            level_splits: usize::from(hyperparameters.level_splits),
            smoothing: hyperparameters.smoothing,
            rate: hyperparameters.learning_rate / f64::from(hyperparameters.forest),
            kinds: kinds(&hyperparameters, setting.head, columns)?,
            rounding: Rounding::new(setting.head, setting.rows),
        };
        let base = (setting.head == Head::Number).then(|| vec![0.0; frame.margins()]);
        Ok(Self {
            hyperparameters,
            candidate: setting.id,
            rows: setting.rows,
            bins: columns.iter().map(|column| column.bins as u16).collect(),
            growing,
            base,
            stages: Vec::new(),
            growths: vec![Growth::new(); frame.trees()],
            frame,
            exhausted: false,
            scored: None,
            kept: 0,
        })
    }

    /// Whether the stage at hand has not begun.
    fn at_root(&self) -> bool {
        self.growths
            .iter()
            .all(|growth| growth.splits().splits() == 0)
    }

    /// Whether no stage follows the finished ones.
    fn complete(&self) -> bool {
        self.exhausted || self.stages.len() >= self.hyperparameters.max_stages as usize
    }

    /// What to ask next, with the object that is new in it.
    pub(super) fn level(&self) -> (GbdtPart, Option<Object>) {
        let (growing, new) = if self.at_root() {
            let last = self.stages.last();
            (
                None,
                last.map(|(_, stage)| object(GbdtObject::Stage(stage.clone()))),
            )
        } else {
            let trees = self.growths.iter().map(|growth| growth.splits().clone());
            let growing = object(GbdtObject::Stage(self.stage(trees.collect())));
            (Some(self.id(&growing)), Some(growing))
        };
        let asked = if self.complete() {
            vec![Vec::new(); self.growths.len()]
        } else {
            self.growths.iter().map(Growth::asked).collect()
        };
        let part = GbdtPart {
            candidate: self.candidate,
            frame: self.frame,
            rows: self.rows,
            bins: self.bins.clone(),
            row_share: self.hyperparameters.row_share,
            column_share: self.hyperparameters.column_share,
            base: self.base.clone().unwrap_or_default(),
            stages: self.stages.iter().map(|(id, _)| *id).collect(),
            growing,
            asked,
        };
        (part, new)
    }

    fn stage(&self, trees: Vec<Tree>) -> GbdtStage {
        GbdtStage {
            frame: self.frame,
            trees,
        }
    }

    /// The hash of an object. Its numbers are finite, so it has one; if it had
    /// none, sites would say that they lack an object.
    fn id(&self, object: &Object) -> ObjectId {
        object.id().unwrap_or(self.candidate)
    }

    /// Moves on by the totals of [`GbdtTrainer::level`]'s part.
    pub(super) fn learn_level(&mut self, part: &GbdtPart, totals: LevelTotals) -> Option<LossSums> {
        if totals.losses.is_some() {
            self.scored = Some(self.stages.len());
        }
        let mut histograms = totals.histograms;
        if part.counts_classes() {
            let base = base_margins(&self.frame, &totals.counts);
            self.gradients_of_counts(&base, &mut histograms);
            self.base = Some(base);
        }
        let layouts = part.layouts();
        let forest = usize::from(self.frame.forest);
        for (at, (growth, histograms)) in self.growths.iter_mut().zip(histograms).enumerate() {
            let layout: &Layout = &layouts[at % forest];
            growth.learn(histograms, layout, &self.growing);
        }
        if !self.complete() && self.growths.iter().all(Growth::finished) {
            self.finish_stage();
        }
        totals.losses
    }

    fn finish_stage(&mut self) {
        // Trees without a split would only move the base.
        self.exhausted = self.at_root();
        if self.exhausted {
            return;
        }
        let trees = self
            .growths
            .iter()
            .map(|growth| growth.valued(&self.growing));
        let stage = self.stage(trees.collect());
        let id = self.id(&object(GbdtObject::Stage(stage.clone())));
        self.stages.push((id, stage));
        self.growths = vec![Growth::new(); self.frame.trees()];
    }

    /// Turns counts of rows and of rows of a class into the very sums of
    /// gradients that the sites would have rounded and summed at these margins:
    /// where all margins are equal, a row's gradient depends on its class alone.
    fn gradients_of_counts(&self, base: &[f64], histograms: &mut [Vec<Histogram>]) {
        let head = self.frame.head;
        let outputs = head.outputs();
        let forest = usize::from(self.frame.forest);
        let rounding = self.growing.rounding;
        for (at, trees) in histograms.chunks_mut(forest).enumerate() {
            let (model, output) = (at / outputs, at % outputs);
            let mut scores = base[model * outputs..][..outputs].to_vec();
            link(head, &mut scores);
            // A target of the output's class, and one of another.
            let (own, other) = match head {
                Head::Classes(_) => (output, usize::from(output == 0)),
                Head::Binary | Head::Number => (1, 0),
            };
            let derivatives = |class: usize| {
                let (gradient, hessian) = derivatives(head, scores[output], class as f64, output);
                (rounding.gradient(gradient), rounding.hessian(hessian))
            };
            let (own, other) = (derivatives(own), derivatives(other));
            for sums in trees
                .iter_mut()
                .flatten()
                .flat_map(|histogram| &mut histogram.bins)
            {
                let (of_class, rest) = (sums.gradient, sums.hessian - sums.gradient);
                sums.gradient = of_class * own.0 + rest * other.0;
                sums.hessian = of_class * own.1 + rest * other.1;
            }
        }
    }

    fn ensemble(&self, stages: usize, growing: bool) -> Object {
        let base = self.base.clone();
        let mut model = GbdtModel {
            frame: self.frame,
            base: base.unwrap_or_else(|| vec![0.0; self.frame.margins()]),
            stages: self.stages[..stages]
                .iter()
                .map(|(_, stage)| stage.trees.clone())
                .collect(),
        };
        // Trees that are still growing are trees.
        if growing && !self.at_root() {
            let trees = self
                .growths
                .iter()
                .map(|growth| growth.valued(&self.growing));
            model.stages.push(trees.collect());
        }
        object(GbdtObject::Model(model))
    }
}

fn object(object: GbdtObject) -> Object {
    Object::Family(AnyObject::new(NAME, object))
}

/// What the columns are, and which way predictions may go along them.
fn kinds(
    hyperparameters: &GbdtHyperparameters,
    head: Head,
    columns: &[BinColumn],
) -> Result<Vec<ColumnKind>, String> {
    let ways = monotone::along(&hyperparameters.monotone, head, columns)?;
    let kind = |(column, way): (&BinColumn, i8)| {
        if column.ordered {
            ColumnKind::Ordered(way)
        } else {
            ColumnKind::Levels
        }
    };
    Ok(columns.iter().zip(ways).map(kind).collect())
}

/// The margins at which the mean prediction is the share of each class, half a
/// row added to every class.
fn base_margins(frame: &Frame, counts: &[u64]) -> Vec<f64> {
    let outputs = frame.head.outputs();
    let mut base = Vec::with_capacity(frame.margins());
    for counts in counts.chunks_exact(1 + outputs) {
        let rows = counts[0] as f64;
        for count in &counts[1..] {
            let count = *count as f64 + 0.5;
            base.push(match frame.head {
                Head::Binary => libm::log(count / (rows + 1.0 - count)),
                Head::Classes(classes) => libm::log(count / (rows + 0.5 * f64::from(classes))),
                Head::Number => 0.0,
            });
        }
    }
    base
}

impl Trainer for GbdtTrainer {
    fn ask(&self) -> (AnyPart, Vec<Object>) {
        let (part, new) = self.level();
        (AnyPart::new(NAME, part), new.into_iter().collect())
    }

    fn learn(&mut self, totals: &PartTotals<'_>) -> Option<LossSums> {
        let (part, _) = self.level();
        let totals = part.read(totals);
        self.learn_level(&part, totals)
    }

    fn finished(&self) -> bool {
        self.complete() && self.scored == Some(self.stages.len())
    }

    fn keep(&mut self) {
        self.kept = self.scored.unwrap_or(0);
    }

    fn shown(&self) -> Object {
        self.ensemble(self.kept, false)
    }

    fn model(&self) -> Object {
        self.ensemble(self.stages.len(), true)
    }

    fn patience(&self) -> u32 {
        let stages = PATIENT_RATES / self.hyperparameters.learning_rate;
        let (least, most) = PATIENT_STAGES;
        u32::from(self.hyperparameters.max_depth) * libm::ceil(stages.clamp(least, most)) as u32
    }

    fn usual_steps(&self) -> Option<u32> {
        let (thousand, tenfold) = USUAL_RATES;
        let rates = thousand + tenfold * libm::log10(self.rows.max(1) as f64 / 1000.0);
        let stages = rates.max(1.0) / self.hyperparameters.learning_rate;
        let learning = f64::from(self.hyperparameters.max_depth) * libm::ceil(stages);
        Some(learning as u32 + self.patience())
    }
}

#[cfg(test)]
#[path = "trainer_tests.rs"]
mod tests;
