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
//! A candidate trains a whole grid of penalties side by side and shows the point with
//! the least validation loss. The points share one Hessian, taken at the best of them:
//! their probabilities differ little, so their steps stay all but Newton steps, and the
//! grid costs hardly more numbers than one point of it.

mod effects;
mod group;
mod pairs;
mod penalty;
mod plan;
mod trainer;

pub use effects::{ColumnEffect, Effects, PairEffect};
pub use trainer::Ga2mTrainer;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::family::additive::{AdditiveObject, AdditivePart, AdditiveTrainer, Ground, MAX_POINTS};
use crate::family::{Family, FamilyObject, FamilyPart, Offer, Proposal, Setting, Trainer};

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

    fn candidates(&self, offer: &Offer<'_>) -> Vec<Proposal> {
        offer
            .pipelines_of(true)
            .flat_map(|(pipeline, _)| {
                Ga2mCandidate::offered()
                    .into_iter()
                    .map(move |candidate| Proposal {
                        pipeline,
                        name: candidate.title(),
                        hyperparameters: serde_json::json!(candidate),
                    })
            })
            .collect()
    }

    fn trainer(
        &self,
        hyperparameters: &serde_json::Value,
        setting: &Setting,
    ) -> Result<Box<dyn Trainer>, String> {
        let candidate = Ga2mCandidate::deserialize(hyperparameters);
        let candidate = candidate.map_err(|error| error.to_string())?;
        candidate.check()?;
        let fitting = Ga2mTrainer::new(candidate, Ground::of(setting));
        Ok(Box::new(AdditiveTrainer::new(NAME, fitting)))
    }

    fn read_part(
        &self,
        json: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<Arc<dyn FamilyPart>, erased_serde::Error> {
        Ok(Arc::new(erased_serde::deserialize::<AdditivePart>(json)?))
    }

    fn read_object(
        &self,
        json: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<Arc<dyn FamilyObject>, erased_serde::Error> {
        Ok(Arc::new(erased_serde::deserialize::<AdditiveObject>(json)?))
    }
}

/// How strongly the effects of single columns are held back.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Strength {
    /// Weight of ½·Σ effect², against the sum of losses over rows; positive.
    pub ridge: f64,
    /// Weight of ½·Σ (second difference of neighbouring effects)² in columns with an
    /// order; 0 or more.
    pub bends: f64,
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
    /// Penalties of single columns that are tried side by side, 1 to 16.
    pub strengths: Vec<Strength>,
    /// Penalties of pairs that are tried side by side, 1 to 16: the weight of ½·Σ
    /// effect² and of ½·Σ (difference of neighbouring cells)².
    pub pair_strengths: Vec<f64>,
}

impl Ga2mCandidate {
    /// In a few words.
    fn title(&self) -> String {
        match self.pairs {
            0 => format!("of {} groups", self.groups),
            pairs => format!("of {} groups, {pairs} pairs", self.groups),
        }
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
        within("penalties", self.strengths.len(), 1, MAX_POINTS)?;
        within(
            "penalties of pairs",
            self.pair_strengths.len(),
            1,
            MAX_POINTS,
        )?;
        let sound = |weight: f64, least: f64| weight.is_finite() && weight >= least;
        let strengths = self.strengths.iter();
        if !strengths
            .clone()
            .all(|s| sound(s.ridge, 1e-6) && sound(s.bends, 0.0))
            || !self
                .pair_strengths
                .iter()
                .all(|weight| sound(*weight, 1e-6))
        {
            return Err("a GA2M's ridge is positive, its other penalties 0 or more".to_owned());
        }
        Ok(())
    }

    /// The candidates that a search tries, the best guess first.
    #[must_use]
    pub fn offered() -> Vec<Self> {
        let strengths = [
            (0.3, 3.0),
            (1.0, 10.0),
            (1.0, 50.0),
            (3.0, 50.0),
            (3.0, 300.0),
            (10.0, 300.0),
            (10.0, 3000.0),
            (30.0, 3000.0),
        ];
        let usual = Self {
            groups: 32,
            pairs: 16,
            side: 8,
            strengths: strengths
                .map(|(ridge, bends)| Strength { ridge, bends })
                .to_vec(),
            pair_strengths: vec![1.0, 4.0, 15.0, 60.0, 250.0],
        };
        vec![
            usual.clone(),
            Self {
                pairs: 0,
                groups: 64,
                ..usual.clone()
            },
            Self {
                groups: 16,
                pairs: 8,
                side: 5,
                ..usual
            },
        ]
    }
}

#[cfg(test)]
mod tests;
