//! Scorecards: monotone weights of evidence, logistic regression on them, and the
//! points table that a bank prints.
//!
//! One step counts labels by bin; from it every fold gets its own coarse classing
//! (`woe`), drops columns that tell next to nothing, and fits by Newton steps with
//! coefficients of at least 0, so that a task's `monotone` columns keep to their way once
//! their weights do: a column whose coefficient would be negative drops out
//! and the rest is refitted within the same step. Every sum is of integers.

mod points;
mod portfolio;
mod trainer;
mod woe;

pub use points::{PointsRow, PointsTable, Scaling};
pub use portfolio::ScorecardConfiguration;
pub use trainer::ScorecardTrainer;
pub use woe::Shape;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::family::additive::{AdditiveObject, AdditivePart, AdditiveTrainer, Ground, MAX_POINTS};
use crate::family::portfolio::{Portfolio, further};
use crate::family::{Family, Head, Offer, Proposal, Reads, Setting, Trainer, monotone};

/// The family's name.
pub const NAME: &str = "scorecard";

/// The family.
pub struct Scorecard;

impl Family for Scorecard {
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
        if offer.head != Head::Binary {
            return Vec::new();
        }
        offer
            .pipelines_of(true)
            // Points for pairs of columns are nothing that a person adds up.
            .filter(|(_, named)| !named.spec.pairs)
            .enumerate()
            .filter_map(|(at, (pipeline, named))| {
                Some((at, pipeline, monotone::ways(offer, &named.pipeline)?))
            })
            .flat_map(|(at, pipeline, ways)| {
                let all = ScorecardCandidate::offered();
                // What other pipelines change is seen in the best guess alone.
                let most = if at == 0 { all.len() } else { 1 };
                all.into_iter().take(most).map(move |candidate| Proposal {
                    pipeline,
                    name: candidate.title(),
                    hyperparameters: serde_json::json!(ScorecardCandidate {
                        monotone: ways.clone(),
                        ..candidate
                    }),
                })
            })
            .collect()
    }

    fn further(&self, offer: &Offer<'_>) -> Vec<Proposal> {
        further(
            &Portfolio::checked_in().scorecard,
            offer,
            &self.candidates(offer),
        )
    }

    fn trainer(
        &self,
        hyperparameters: &serde_json::Value,
        setting: &Setting,
    ) -> Result<Box<dyn Trainer>, String> {
        let candidate = ScorecardCandidate::deserialize(hyperparameters);
        let candidate = candidate.map_err(|error| error.to_string())?;
        candidate.check()?;
        if setting.head != Head::Binary {
            return Err("a scorecard predicts one of two classes".to_owned());
        }
        let fitting = ScorecardTrainer::new(candidate, Ground::of(setting))?;
        Ok(Box::new(AdditiveTrainer::new(NAME, fitting)))
    }

    fn reads(&self) -> Reads {
        Reads::of::<AdditivePart, AdditiveObject>()
    }
}

/// A scorecard's hyperparameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorecardCandidate {
    /// Most groups of a column, the one for missing values apart: 2 to 20.
    pub groups: u8,
    /// Least share of the training rows in a group, 0 to 0.5.
    pub least_share: f64,
    /// How the risk may run along a column with an order.
    pub shape: Shape,
    /// Columns of less information value are dropped, 0 or more.
    pub least_value: f64,
    /// Weights of ½·Σ coefficient² against the sum of losses over rows, 1 to 16 of them:
    /// they train side by side, and the one with the least validation loss is shown.
    pub ridges: Vec<f64>,
    /// Columns along which the risk may only rise (1) or fall (-1), missing values apart.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub monotone: BTreeMap<String, i8>,
}

impl ScorecardCandidate {
    /// The usual choice: up to eight groups of at least 3 % of the rows.
    #[must_use]
    pub fn usual() -> Self {
        Self {
            groups: 8,
            least_share: 0.03,
            shape: Shape::Monotone,
            least_value: 0.02,
            ridges: vec![0.1, 5.0, 20.0, 80.0],
            monotone: BTreeMap::new(),
        }
    }

    /// The candidates that a search tries, the best guess first.
    #[must_use]
    pub fn offered() -> Vec<Self> {
        let usual = Self::usual();
        vec![
            usual.clone(),
            Self {
                groups: 12,
                least_share: 0.01,
                least_value: 0.005,
                ..usual.clone()
            },
            Self {
                groups: 5,
                least_share: 0.06,
                ..usual.clone()
            },
            Self {
                groups: 12,
                least_share: 0.01,
                shape: Shape::Free,
                least_value: 0.005,
                ..usual
            },
        ]
    }

    /// In a few words.
    fn title(&self) -> String {
        let shape = match self.shape {
            Shape::Monotone => "monotone",
            Shape::Free => "free",
        };
        let least = 100.0 * self.least_share;
        format!("of {} {shape} groups above {least} %", self.groups)
    }

    /// Checks what came from elsewhere.
    ///
    /// # Errors
    /// Says what is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        if !(2..=20).contains(&self.groups) {
            return Err(format!(
                "a scorecard of {} groups, allowed are 2 to 20",
                self.groups
            ));
        }
        if !(0.0..=0.5).contains(&self.least_share) {
            return Err("the least share of a scorecard's group is 0 to 0.5".to_owned());
        }
        if !(1..=MAX_POINTS).contains(&self.ridges.len()) {
            return Err(format!("a scorecard has 1 to {MAX_POINTS} ridges"));
        }
        let sound = |weight: &f64| weight.is_finite() && *weight >= 0.0;
        if !(sound(&self.least_value) && self.ridges.iter().all(sound)) {
            return Err(
                "a scorecard's least information value and ridges are 0 or more".to_owned(),
            );
        }
        monotone::check(&self.monotone)
    }
}

#[cfg(test)]
mod tests;
