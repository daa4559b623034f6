//! What a round leaves to the next one.
//!
//! Two files: the champion as it is, and beside it the notes of this module, which name the
//! champion by its hash. Nothing in them is a row or a text of a site: counts and losses over all
//! sites together, hash buckets, and configurations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::metric::{BINS, Curve};
use crate::model::{Champion, ChampionError};
use crate::object::ObjectId;
use crate::profile::{Bins as _, ColumnCounts};
use crate::search::Candidate;
use crate::task::{Preset, Task};

/// What the file says it is.
pub const FORMAT: &str = "collegium-memory";
/// Version of the file's layout. Readers refuse every other one.
pub const VERSION: u32 = 1;

/// Largest file of notes, in bytes: 512 columns of some hundred counted levels each are a tenth.
const MAX_BYTES: usize = 16 << 20;
/// Most remembered losses: eight rounds of the 64 candidates that a large portfolio has.
const MAX_HISTORY: usize = 512;
/// Bins that scores are counted in.
const SCORE_BINS: u64 = 10;
/// What a doubt weighs beside one loss of the last round: a configuration that did well long ago
/// counts little more than one that did badly.
const PRIOR: f64 = 0.25;

/// What a round is told of the ones before.
#[derive(Clone, Debug, PartialEq)]
pub struct Memory {
    /// The champion of the round before.
    pub champion: Champion,
    /// What else it left.
    pub notes: Notes,
}

/// Facts about a round and those before it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notes {
    /// The task, its budgets apart; see [`Notes::same_task`].
    task: ObjectId,
    /// The round that left them, from 1.
    pub round: u32,
    /// Columns and how its training rows were spread over them.
    pub columns: Vec<ColumnCounts>,
    /// How the champion's validation scores were spread: one entry for two classes, one for each
    /// class for more, none for a number.
    pub scores: Vec<ScoreCounts>,
    /// Losses of configurations, the latest round's first and in each the best first.
    pub history: Vec<Measured>,
}

/// Validation rows by score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScoreCounts {
    /// Bins of a curve ([`crate::metric::bin_of`]) at which the scores are cut, ascending.
    pub cuts: Vec<u16>,
    /// Rows between them, one more than cuts.
    pub rows: Vec<u64>,
}

/// A configuration and how well it did in one round.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measured {
    /// In which round.
    pub round: u32,
    /// Family, hyperparameters and pipeline in a few words, as on the leaderboard.
    pub name: String,
    /// Name of the pipeline variant.
    pub features: String,
    /// Name of the family.
    pub family: String,
    /// Its hyperparameters.
    pub hyperparameters: serde_json::Value,
    /// Mean validation loss in that round.
    pub loss: f64,
}

/// Why there is no memory.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// Too many bytes.
    #[error("a memory file of {0} bytes is larger than the cap of {MAX_BYTES}")]
    TooLarge(usize),
    /// Not JSON, or fields that are missing or unknown.
    #[error("this is no memory of a round: {0}")]
    Malformed(#[from] serde_json::Error),
    /// Another format or version.
    #[error(
        "this file says it is `{format}` version {version}; this program reads `{FORMAT}` version {VERSION}"
    )]
    OtherVersion {
        /// What the file says it is.
        format: String,
        /// Which version it says it has.
        version: u32,
    },
    /// The champion beside it is another one.
    #[error("it remembers champion {remembered}, and the champion file beside it is {found}")]
    OtherChampion {
        /// Which one it remembers.
        remembered: ObjectId,
        /// Which one there is.
        found: ObjectId,
    },
    /// The champion beside it cannot be read.
    #[error(transparent)]
    Champion(#[from] ChampionError),
    /// Parts of the file contradict each other.
    #[error("this memory contradicts itself: {0}")]
    Inconsistent(&'static str),
}

#[derive(Deserialize)]
struct Heading {
    format: String,
    version: u32,
}

/// The file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File<N> {
    format: String,
    version: u32,
    champion: ObjectId,
    notes: N,
}

impl Memory {
    /// Reads notes and the champion beside them.
    ///
    /// # Errors
    /// When either is too large, of another version, malformed or inconsistent, or the champion is
    /// not the one that the notes are about.
    pub fn from_bytes(notes: &[u8], champion: &[u8]) -> Result<Self, MemoryError> {
        if notes.len() > MAX_BYTES {
            return Err(MemoryError::TooLarge(notes.len()));
        }
        let Heading { format, version } = serde_json::from_slice(notes)?;
        if format != FORMAT || version != VERSION {
            return Err(MemoryError::OtherVersion { format, version });
        }
        let file: File<Notes> = serde_json::from_slice(notes)?;
        file.notes.check()?;
        let found = ObjectId::of(champion);
        if found != file.champion {
            return Err(MemoryError::OtherChampion {
                remembered: file.champion,
                found,
            });
        }
        Ok(Self {
            champion: Champion::from_bytes(champion)?,
            notes: file.notes,
        })
    }

    /// The bytes of the notes: JSON, the same for the same memory. The champion is a file of its
    /// own ([`Champion::to_bytes`]).
    ///
    /// # Errors
    /// When a number is not finite, which JSON cannot carry.
    pub fn to_bytes(&self) -> Result<Vec<u8>, MemoryError> {
        let mut bytes = serde_json::to_vec(&File {
            format: FORMAT.to_owned(),
            version: VERSION,
            champion: self.champion.id()?,
            notes: &self.notes,
        })?;
        bytes.push(b'\n');
        Ok(bytes)
    }
}

impl Notes {
    /// Notes of a round of this task, without a history yet.
    #[must_use]
    pub(crate) fn new(
        task: &Task,
        round: u32,
        columns: Vec<ColumnCounts>,
        scores: Vec<ScoreCounts>,
    ) -> Self {
        Self {
            task: essence(task),
            round,
            columns,
            scores,
            history: Vec::new(),
        }
    }

    /// Whether they are of this task. Budgets and the number of rounds may differ; what decides
    /// how rows are split, hashed or used may not, or a model would be judged by rows that it
    /// learned from.
    #[must_use]
    pub fn same_task(&self, task: &Task) -> bool {
        self.task == essence(task)
    }

    /// Adds the losses of a round to what the rounds before knew, and forgets the oldest.
    pub(crate) fn remember(
        &mut self,
        measured: impl Iterator<Item = (Candidate, f64)>,
        older: &[Measured],
    ) {
        let mut own: Vec<Measured> = measured
            .filter(|(_, loss)| loss.is_finite())
            .map(|(candidate, loss)| Measured {
                round: self.round,
                name: candidate.name,
                features: candidate.features,
                family: candidate.family,
                hyperparameters: candidate.hyperparameters,
                loss,
            })
            .collect();
        own.sort_by(|a, b| a.loss.total_cmp(&b.loss).then_with(|| a.name.cmp(&b.name)));
        own.extend_from_slice(older);
        own.truncate(MAX_HISTORY);
        self.history = own;
    }

    /// Every configuration once, as it was measured last, the most promising first.
    ///
    /// A loss counts by its distance from the best loss of its round, because rounds have other
    /// rows; half as much for each round that has passed since; and against `PRIOR` of a distance
    /// that three quarters of all stay below, as if it was once among the worse.
    #[must_use]
    pub fn promising(&self) -> Vec<&Measured> {
        let mut best: BTreeMap<u32, f64> = BTreeMap::new();
        for measured in &self.history {
            let least = best.entry(measured.round).or_insert(f64::INFINITY);
            *least = least.min(measured.loss);
        }
        let gap = |measured: &Measured| {
            let least = best.get(&measured.round).copied();
            measured.loss - least.unwrap_or(measured.loss)
        };
        let mut gaps: Vec<f64> = self.history.iter().map(gap).collect();
        gaps.sort_by(f64::total_cmp);
        let poor = gaps.get(gaps.len() * 3 / 4).copied().unwrap_or(0.0);
        // Weight and weighted gap of each configuration, in the order they come up.
        let mut known: Vec<(&Measured, f64, f64)> = Vec::new();
        for measured in &self.history {
            let age = self.round.saturating_sub(measured.round).min(64);
            let weight = libm::ldexp(1.0, -(age as i32));
            let at = known.iter().position(|(other, ..)| other.same(measured));
            match at.and_then(|at| known.get_mut(at)) {
                Some((_, weights, sum)) => {
                    *weights += weight;
                    *sum += weight * gap(measured);
                }
                None => known.push((measured, weight, weight * gap(measured))),
            }
        }
        let score =
            |(_, weight, sum): &(&Measured, f64, f64)| (sum + PRIOR * poor) / (weight + PRIOR);
        known.sort_by(|a, b| score(a).total_cmp(&score(b)));
        known.into_iter().map(|(measured, ..)| measured).collect()
    }

    fn check(&self) -> Result<(), MemoryError> {
        let bad = |what| Err(MemoryError::Inconsistent(what));
        if self.round == 0 || self.history.iter().any(|m| m.round > self.round) {
            return bad("its rounds are not in order");
        }
        let finite = self.history.iter().all(|m| m.loss.is_finite());
        if self.history.len() > MAX_HISTORY || !finite {
            return bad("its history is too long, or has losses that are no numbers");
        }
        let ordered = self.columns.is_sorted_by(|a, b| a.column < b.column);
        let whole = self.columns.iter().all(|c| c.rows.len() == c.bins.bins());
        if !ordered || !whole {
            return bad("its columns are out of order or not counted in all bins");
        }
        let cut = |scores: &ScoreCounts| {
            scores.cuts.is_sorted_by(|a, b| a < b)
                && scores.cuts.len() < SCORE_BINS as usize
                && scores
                    .cuts
                    .last()
                    .is_none_or(|last| usize::from(*last) < BINS)
                && scores.rows.len() == scores.cuts.len() + 1
        };
        if !self.scores.iter().all(cut) {
            return bad("its scores are not counted in all bins");
        }
        Ok(())
    }
}

impl Measured {
    /// Whether it is the same configuration.
    fn same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.family == other.family
            && self.features == other.features
            && self.hyperparameters == other.hyperparameters
    }
}

impl ScoreCounts {
    /// The scores of a curve in about ten bins with equally many rows.
    #[must_use]
    pub fn of(curve: &Curve) -> Self {
        let both = curve.positives.iter().zip(&curve.negatives);
        let rows: Vec<u64> = both.map(|(p, n)| p + n).collect();
        let total: u64 = rows.iter().sum();
        let (mut cuts, mut counts) = (Vec::new(), Vec::new());
        let (mut here, mut before) = (0, 0);
        for (bin, rows) in (0_u16..).zip(&rows) {
            let full = (before + here) * SCORE_BINS >= total * (cuts.len() as u64 + 1);
            if here > 0 && *rows > 0 && full && cuts.len() as u64 + 1 < SCORE_BINS {
                cuts.push(bin);
                counts.push(here);
                before += here;
                here = 0;
            }
            here += rows;
        }
        counts.push(here);
        Self { cuts, rows: counts }
    }
}

/// The hash of what two rounds of a task have in common: all but budgets.
fn essence(task: &Task) -> ObjectId {
    Task {
        preset: Preset::default(),
        time_budget: None,
        max_steps: None,
        rounds: None,
        every: None,
        ..task.clone()
    }
    .digest()
}

#[cfg(test)]
mod tests;
