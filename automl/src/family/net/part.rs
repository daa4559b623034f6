//! What a step of training asks of the sites.

use serde::{Deserialize, Serialize};

use super::local;
use super::losses::losses;
use super::model::NetModel;
use super::shape::NetShape;
use crate::ask::{EncodeError, Encoder, PartTotals, Segment};
use crate::family::{FamilyPart, Head};
use crate::metric::{LossCounter, LossSums, SEGMENTS, check_rows_and_folds};
use crate::object::ObjectId;
use crate::site::{Rows, SiteError, SiteView, Slot};

/// Finest rounding of an update: a `f32`'s 24 bits.
pub(super) const MAX_LEVELS: u64 = (1 << 24) - 2;

/// Asks for local training from some weights, and for the validation losses of the model that
/// the candidate shows: the same weights, or their average over the last steps.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NetPart {
    /// The pipeline that makes the columns.
    pub pipeline: ObjectId,
    /// The model to start from.
    pub model: ObjectId,
    /// The model whose validation losses are wanted.
    pub scored: ObjectId,
    /// Whether they are wanted in this step; else zeros are sent in their place.
    #[serde(default = "yes", skip_serializing_if = "Clone::clone")]
    pub score: bool,
    /// What the outputs mean.
    pub head: Head,
    /// Folds of both models.
    pub folds: u8,
    /// Layers of both models.
    pub shape: NetShape,
    /// Rows of the whole federation: bounds every sum, and a site's share of it
    /// is the weight of its update.
    pub rows: u64,
    /// Seed of the candidate: order of rows and dropout follow from it, the
    /// step and the site's training rows.
    pub seed: ObjectId,
    /// Step of the candidate's training, from 0.
    pub step: u32,
    /// How a site trains.
    pub local: LocalTraining,
    /// Largest change of a weight that a site reports.
    pub clip: f64,
    /// Steps from -clip to clip that a change is rounded to.
    pub levels: u64,
}

fn yes() -> bool {
    true
}

fn whole() -> f64 {
    1.0
}

/// How a site trains its copy of the weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LocalTraining {
    /// Passes over the site's rows, 1 to 4.
    pub epochs: u16,
    /// Share of the batches of a pass that are taken, in (0, 1], at least one: bounds the work of
    /// a step where rows are many. Every step shuffles anew.
    #[serde(default = "whole")]
    pub share: f64,
    /// Most rows in a batch, 1 to 4096.
    pub batch: u32,
    /// Learning rate of AdamW, in [1e-7, 1].
    pub learning_rate: f64,
    /// Decoupled weight decay of AdamW, in [0, 10].
    pub weight_decay: f64,
    /// Share of hidden units dropped, in [0, 0.9]; rounded to a 256th.
    pub dropout: f64,
    /// Weight of FedProx's term ½ · |w - start|² in the loss, in [0, 10] (Li et al.,
    /// *Federated Optimization in Heterogeneous Networks*, MLSys 2020).
    pub proximal: f64,
}

impl LocalTraining {
    pub(super) fn check(&self) -> Result<(), String> {
        within("epochs", f64::from(self.epochs), 1.0, 4.0)?;
        within("share", self.share, 1e-6, 1.0)?;
        within("batch", f64::from(self.batch), 1.0, 4096.0)?;
        within("learning rate", self.learning_rate, 1e-7, 1.0)?;
        within("weight decay", self.weight_decay, 0.0, 10.0)?;
        within("dropout", self.dropout, 0.0, 0.9)?;
        within("proximal", self.proximal, 0.0, 10.0)
    }
}

pub(super) fn within(what: &str, value: f64, low: f64, high: f64) -> Result<(), String> {
    if (low..=high).contains(&value) {
        Ok(())
    } else {
        Err(format!("{what} {value}, allowed are {low} to {high}"))
    }
}

/// Averaged change of the weights, one list per fold; zero where no contributing site has
/// training rows.
pub(super) type Changes = Vec<Vec<f64>>;

impl NetPart {
    fn fits(&self, model: &NetModel) -> bool {
        model.head == self.head
            && model.shape == self.shape
            && model.folds.len() == usize::from(self.folds)
    }

    fn model<'a>(&self, site: &SiteView<'a>, id: ObjectId) -> Result<&'a NetModel, SiteError> {
        let model: &NetModel = site.model(id)?;
        if self.fits(model) {
            Ok(model)
        } else {
            Err(SiteError::unfit(id, "its layers or folds differ"))
        }
    }

    pub(super) fn encode(
        &self,
        start: &NetModel,
        scored: &NetModel,
        rows: &Rows,
        out: &mut Encoder,
    ) -> Result<(), EncodeError> {
        if self.score {
            losses(scored, rows, self.rows).encode(out)?;
        } else {
            LossCounter::new(self.head, self.rows).encode(out)?;
        }
        let counts = training_rows(rows, self.folds);
        counts.iter().try_for_each(|count| out.count(*count))?;
        let trained = local::train(self, start, rows);
        for ((before, after), count) in start.folds.iter().zip(&trained).zip(&counts) {
            let share = *count as f64 / self.rows as f64;
            for (old, new) in before.iter().zip(after) {
                let change = f64::from(*new) - f64::from(*old);
                // Training that diverged says nothing.
                let change = if change.is_nan() { 0.0 } else { change };
                out.real(change.clamp(-self.clip, self.clip) * share)?;
            }
        }
        Ok(())
    }

    pub(super) fn read(&self, totals: &PartTotals<'_>) -> (LossSums, Changes) {
        let validation = LossSums::read(totals, 0, self.head, self.rows);
        let counts = totals.counts(SEGMENTS);
        let changes = totals
            .reals(SEGMENTS + 1)
            .chunks_exact(self.shape.parameters())
            .zip(counts)
            .map(|(sums, count)| {
                // The summed weights are count / rows, below 1 where a site is
                // missing.
                let share = count as f64 / self.rows as f64;
                sums.iter()
                    .map(|sum| if count == 0 { 0.0 } else { sum / share })
                    .collect()
            })
            .collect();
        (validation, changes)
    }
}

/// Training rows of each fold.
pub(super) fn training_rows(rows: &Rows, folds: u8) -> Vec<u64> {
    let mut counts = vec![rows.len() as u64; usize::from(folds)];
    for slot in &rows.slots {
        if let Slot::Fold(fold) = slot
            && let Some(count) = counts.get_mut(usize::from(*fold))
        {
            *count -= 1;
        }
    }
    counts
}

impl FamilyPart for NetPart {
    fn pipeline(&self) -> ObjectId {
        self.pipeline
    }

    fn objects(&self) -> Vec<ObjectId> {
        if self.model == self.scored {
            vec![self.model]
        } else {
            vec![self.model, self.scored]
        }
    }

    /// Validation losses, training rows per fold, then weighted changes, fold by
    /// fold.
    fn segments(&self) -> Vec<Segment> {
        let mut segments = LossCounter::segments(self.head, self.rows);
        segments.push(Segment::Count {
            max: self.rows,
            count: usize::from(self.folds),
        });
        segments.push(Segment::Real {
            clip: self.clip,
            levels: self.levels,
            count: usize::from(self.folds) * self.shape.parameters(),
        });
        segments
    }

    fn check(&self) -> Result<(), String> {
        self.shape.check(self.head)?;
        check_rows_and_folds(self.rows, self.folds)?;
        self.local.check()?;
        within("clip", self.clip, 1e-6, 100.0)?;
        within("levels", self.levels as f64, 2.0, MAX_LEVELS as f64)
    }

    fn answer(&self, site: &mut SiteView<'_>, out: &mut Encoder) -> Result<(), SiteError> {
        let start = self.model(site, self.model)?;
        let scored = self.model(site, self.scored)?;
        Ok(self.encode(start, scored, site.rows, out)?)
    }

    /// Every fold's weights meet the rows of the batches that are taken, and every row is scored by
    /// one fold.
    fn updates(&self, rows: u64, _width: u64) -> u64 {
        let weights = self.shape.parameters() as f64;
        let share = self.local.share * f64::from(self.local.epochs);
        let passes = share * f64::from(self.folds) + f64::from(u8::from(self.score));
        libm::ceil(rows as f64 * weights * passes) as u64
    }
}
