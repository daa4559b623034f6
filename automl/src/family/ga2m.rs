//! GA2M: additive models with pairs, each effect a plot that a person can read. Lou,
//! Caruana, Gehrke and Hooker, *Accurate Intelligible Models with Pairwise
//! Interactions*, KDD 2013.
//!
//! Effects are fitted by penalised Newton steps over bins, not by boosting: five steps
//! do what thousands of boosting rounds do, and steps are what costs here. One step
//! counts labels by bin and screens columns; then the effects of single columns are
//! fitted; one step screens all pairs on a coarse grid of what is left to explain; then
//! the strongest pairs are fitted together with the columns.
//!
//! How strongly each effect is held back is estimated for each effect and fold from the
//! sums at hand (`blocks`), which takes no step. A few multiples of those penalties
//! train side by side and the one with the least validation loss is shown. They share
//! one Hessian: their probabilities differ little, so their steps stay all but Newton
//! steps, and the multiples cost hardly more numbers than one of them.

mod blocks;
mod effects;
mod group;
mod pairs;
mod plan;
mod portfolio;
mod trainer;

pub use effects::{ColumnEffect, Effects, PairEffect};
pub use portfolio::Ga2mConfiguration;
pub use trainer::Ga2mTrainer;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::family::additive::{AdditiveObject, AdditivePart, AdditiveTrainer, Ground, MAX_POINTS};
use crate::family::portfolio::{Portfolio, further};
use crate::family::{Family, Offer, Proposal, Reads, Setting, Trainer, monotone};

/// The family's name.
pub const NAME: &str = "ga2m";

/// The family.
pub struct Ga2m;

impl Family for Ga2m {
    fn name(&self) -> &'static str {
        NAME
    }

    fn interpretable(&self) -> bool {
        true
    }

    fn monotone(&self) -> bool {
        true
    }

    fn candidates(&self, offer: &Offer<'_>) -> Vec<Proposal> {
        offer
            .pipelines_of(true)
            // It looks for pairs by itself.
            .filter(|(_, named)| !named.spec.pairs)
            .enumerate()
            .filter_map(|(at, (pipeline, named))| {
                Some((at, pipeline, monotone::ways(offer, &named.pipeline)?))
            })
            .flat_map(|(at, pipeline, ways)| {
                let all = Ga2mCandidate::offered(offer.profile.train_rows);
                // What other pipelines change is seen in the best guess alone.
                let most = if at == 0 { all.len() } else { 1 };
                all.into_iter().take(most).map(move |candidate| Proposal {
                    pipeline,
                    name: candidate.title(),
                    hyperparameters: serde_json::json!(Ga2mCandidate {
                        monotone: ways.clone(),
                        ..candidate
                    }),
                })
            })
            .collect()
    }

    fn further(&self, offer: &Offer<'_>) -> Vec<Proposal> {
        further(
            &Portfolio::checked_in().ga2m,
            offer,
            &self.candidates(offer),
        )
    }

    fn trainer(
        &self,
        hyperparameters: &serde_json::Value,
        setting: &Setting,
    ) -> Result<Box<dyn Trainer>, String> {
        let candidate = Ga2mCandidate::deserialize(hyperparameters);
        let candidate = candidate.map_err(|error| error.to_string())?;
        candidate.check()?;
        let fitting = Ga2mTrainer::new(candidate, Ground::of(setting))?;
        Ok(Box::new(AdditiveTrainer::new(NAME, fitting)))
    }

    fn reads(&self) -> Reads {
        Reads::of::<AdditivePart, AdditiveObject>()
    }
}

/// Below this many rows more candidates are offered; their systems are small.
const FEW_ROWS: u64 = 5000;

/// How strongly effects are held back, against the sum of losses over rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Weights {
    /// Whether the weights below are only where the estimates start, that of `line`
    /// apart, or stay as they are.
    pub estimated: bool,
    /// Of ½·Σ effect² in columns with an order.
    pub line: f64,
    /// Of ½·Σ (second difference of neighbouring effects)² in columns with an order.
    pub bends: f64,
    /// Of ½·Σ effect² in columns without one.
    pub levels: f64,
    /// Of ½·Σ (difference of neighbouring cells)² in pairs, and a fifth of it of ½·Σ
    /// effect².
    pub pairs: f64,
}

impl Default for Weights {
    fn default() -> Self {
        Self {
            estimated: true,
            line: 0.5,
            bends: 30.0,
            levels: 3.0,
            pairs: 20.0,
        }
    }
}

/// A GA2M's hyperparameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ga2mCandidate {
    /// Most groups of a column's bins, 2 to 64.
    pub groups: u8,
    /// Most pairs, 0 to 32.
    pub pairs: u8,
    /// Most groups on a side of a pair's grid, 2 to 16.
    pub side: u8,
    /// How strongly effects are held back.
    pub weights: Weights,
    /// Multiples of those weights that are tried side by side, 1 to 16 of 0.01 to 100.
    pub multiples: Vec<f64>,
    /// Columns along which outputs may only rise (1) or fall (-1), missing values apart: their
    /// effects are projected after every Newton step, and no pair has them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub monotone: BTreeMap<String, i8>,
}

impl Ga2mCandidate {
    /// The best guess.
    fn usual() -> Self {
        Self {
            groups: 32,
            pairs: 16,
            side: 8,
            weights: Weights::default(),
            multiples: vec![0.3, 1.0, 3.0],
            monotone: BTreeMap::new(),
        }
    }

    /// In a few words.
    fn title(&self) -> String {
        match self.pairs {
            0 => format!("of {} groups", self.groups),
            pairs => format!(
                "of {} groups, {pairs} pairs, line {}",
                self.groups, self.weights.line
            ),
        }
    }

    /// The place of the multiple nearest 1.
    fn reference(&self) -> usize {
        let distance = |at: &usize| libm::log(self.multiples[*at]).abs();
        (0..self.multiples.len())
            .min_by(|a, b| distance(a).total_cmp(&distance(b)))
            .unwrap_or(0)
    }

    /// Checks what came from elsewhere.
    ///
    /// # Errors
    /// Says what is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        let within = |what: &str, got: usize, least: usize, most: usize| {
            if (least..=most).contains(&got) {
                return Ok(());
            }
            Err(format!(
                "a GA2M of {got} {what}, allowed are {least} to {most}"
            ))
        };
        within("groups a column", usize::from(self.groups), 2, 64)?;
        within("pairs", usize::from(self.pairs), 0, 32)?;
        within("groups a side of a pair", usize::from(self.side), 2, 16)?;
        within("multiples", self.multiples.len(), 1, MAX_POINTS)?;
        let Weights {
            line,
            bends,
            levels,
            pairs,
            ..
        } = self.weights;
        // Without any ridge the effects of a column could be shifted against the intercept.
        let drawn = [line, levels, pairs].iter().all(|weight| *weight >= 1e-6);
        let finite = [line, bends, levels, pairs]
            .iter()
            .all(|weight| *weight <= 1e9);
        if !(drawn && finite && bends >= 0.0) {
            return Err("a GA2M's weights are positive, that of bends 0 or more".to_owned());
        }
        if !self
            .multiples
            .iter()
            .all(|times| (0.01..=100.0).contains(times))
        {
            return Err("a GA2M's multiples are 0.01 to 100".to_owned());
        }
        monotone::check(&self.monotone)
    }

    /// The candidates that a search tries over this many training rows, the best guess
    /// first: each is a grid of penalties of its own.
    #[must_use]
    pub fn offered(rows: u64) -> Vec<Self> {
        let usual = Self::usual();
        let mut offered = vec![
            usual.clone(),
            // Fewer pairs on finer grids: did better on bank marketing, worse on higgs.
            Self {
                groups: 20,
                pairs: 8,
                ..usual.clone()
            },
            Self {
                pairs: 0,
                groups: 64,
                ..usual.clone()
            },
        ];
        if rows < FEW_ROWS {
            // Where effects are weak against their noise, lines are held back too.
            for line in [2.0, 8.0] {
                offered.push(Self {
                    groups: 16,
                    pairs: 8,
                    side: 5,
                    weights: Weights {
                        line,
                        ..Weights::default()
                    },
                    ..usual.clone()
                });
            }
        }
        offered
    }
}

#[cfg(test)]
mod tests;
