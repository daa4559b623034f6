//! Candidates that every site trains alone: the one part of the local search.
//!
//! A site draws a sample of its training rows, trains each candidate on most of it by the family's
//! own trainer, and answers how many rows of the rest validated it, their summed losses and the
//! squares of those. No model leaves the site. The work is bounded in row-feature updates
//! and in steps, never in seconds, so an answer is the same on a slow machine.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::ask::{EncodeError, Encoder, PartTotals, Segment};
use crate::family::{self, Head};
use crate::fixed::MAX_ROWS;
use crate::metric::{LossSums, loss_points};
use crate::object::ObjectId;

/// Most candidates of a part: with [`MAX_WORK`] each, some minutes of one core.
pub const MAX_TRIALS: usize = 256;
/// Most pipelines that they may be over: a site holds a sample made by each at once, of
/// [`MAX_SAMPLE`] rows, some megabytes.
pub const MAX_PIPELINES: usize = 16;
/// Longest hyperparameters of a candidate, as JSON: those of this crate take some 300 bytes, and
/// those with a monotone direction for each of a hundred columns some kilobytes. All of a part
/// stay below [`crate::ask::MAX_ASK_BYTES`] anyhow.
pub const MAX_HYPERPARAMETER_BYTES: usize = 8 << 10;
/// Longest name of a family.
const MAX_NAME_BYTES: usize = 64;
/// Most rows of a site's sample.
pub const MAX_SAMPLE: u32 = 1 << 12;
/// Most steps of training of a candidate.
pub const MAX_STEPS: u32 = 128;
/// Most row-feature updates for a candidate: some seconds of one core.
pub const MAX_WORK: u64 = 1 << 31;

/// Asks what a site comes to with each of these candidates alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialPart {
    /// The candidates, 1 to [`MAX_TRIALS`].
    pub candidates: Vec<Trial>,
    /// What is predicted.
    pub head: Head,
    /// Training rows of the whole federation: bounds every sum.
    pub rows: u64,
    /// Most rows that a site trains on and validates with, 1 to [`MAX_SAMPLE`].
    pub sample: u32,
    /// Most steps of training of a candidate, 1 to [`MAX_STEPS`].
    pub steps: u32,
    /// Most row-feature updates for a candidate, see
    /// [`FamilyPart::updates`](crate::family::FamilyPart::updates); 1 to [`MAX_WORK`]. The step that
    /// would pass it is not taken.
    pub work: u64,
}

/// A candidate to try.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Name of its family.
    pub family: String,
    /// Its pipeline.
    pub pipeline: ObjectId,
    /// Its hyperparameters, as the race would train it.
    pub hyperparameters: Value,
}

/// What the sites came to with one candidate, all together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Tried {
    /// Rows that validated it; 0 where no site could train it.
    pub rows: u64,
    /// Σ loss, as in [`LossSums`].
    pub loss: f64,
    /// Σ loss².
    pub loss_squared: f64,
}

impl From<Tried> for LossSums {
    fn from(tried: Tried) -> Self {
        Self {
            rows: tried.rows,
            loss: tried.loss,
            loss_squared: tried.loss_squared,
            ..Self::default()
        }
    }
}

impl TrialPart {
    /// Rows of every candidate, then its summed losses, then their squares.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        let count = self.candidates.len();
        let rows = Segment::Count {
            max: self.rows,
            count,
        };
        let [loss, squared] = loss_points(self.head, self.rows);
        vec![rows, loss.segment(count), squared.segment(count)]
    }

    /// The pipelines, sorted, each once.
    #[must_use]
    pub fn objects(&self) -> Vec<ObjectId> {
        let ids: BTreeSet<ObjectId> = self.candidates.iter().map(|it| it.pipeline).collect();
        ids.into_iter().collect()
    }

    /// The families of the candidates, each once.
    #[must_use]
    pub fn families(&self) -> Vec<&'static str> {
        let known = family::names().into_iter();
        known
            .filter(|name| self.candidates.iter().any(|it| it.family == *name))
            .collect()
    }

    /// Checks the caps.
    ///
    /// # Errors
    /// Names the first one that is broken.
    pub fn check(&self) -> Result<(), String> {
        within(
            "candidates",
            self.candidates.len() as u64,
            MAX_TRIALS as u64,
        )?;
        self.head.check()?;
        within("rows", self.rows, MAX_ROWS)?;
        within("rows of a sample", self.sample.into(), MAX_SAMPLE.into())?;
        within("steps", self.steps.into(), MAX_STEPS.into())?;
        within("updates", self.work, MAX_WORK)?;
        within(
            "pipelines",
            self.objects().len() as u64,
            MAX_PIPELINES as u64,
        )?;
        self.candidates.iter().try_for_each(Trial::check)
    }

    /// Writes a site's sums, one for each candidate.
    ///
    /// # Errors
    /// When there are more or fewer than candidates, or more rows than the part allows for.
    pub fn encode(&self, sums: &[LossSums], out: &mut Encoder) -> Result<(), EncodeError> {
        let [loss, squared] = loss_points(self.head, self.rows);
        sums.iter().try_for_each(|it| out.count(it.rows))?;
        sums.iter()
            .try_for_each(|it| out.integer(loss.sum(it.loss)))?;
        sums.iter()
            .try_for_each(|it| out.integer(squared.sum(it.loss_squared)))
    }

    /// Reads the totals: one entry for each candidate.
    #[must_use]
    pub fn read(&self, totals: &PartTotals<'_>) -> Vec<Tried> {
        let [loss, squared] = loss_points(self.head, self.rows);
        let sums = totals.integers(1).into_iter().zip(totals.integers(2));
        let rows = totals.counts(0).into_iter();
        rows.zip(sums)
            .map(|(rows, (sum, square))| Tried {
                rows,
                loss: loss.value(sum),
                loss_squared: squared.value(square),
            })
            .collect()
    }
}

impl Trial {
    fn check(&self) -> Result<(), String> {
        let name = &self.family;
        if name.len() > MAX_NAME_BYTES || family::find(name).is_none() {
            let short: String = name.chars().take(MAX_NAME_BYTES).collect();
            return Err(format!("a candidate of an unknown family {short:?}"));
        }
        let bytes = self.hyperparameters.to_string().len();
        within(
            "bytes of hyperparameters",
            bytes as u64,
            MAX_HYPERPARAMETER_BYTES as u64,
        )
    }
}

fn within(what: &str, got: u64, most: u64) -> Result<(), String> {
    if got == 0 || got > most {
        return Err(format!("{got} {what}, allowed are 1 to {most}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
