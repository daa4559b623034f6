//! Boosted trees by second-order histograms, as XGBoost (Chen and Guestrin, KDD
//! 2016) and LightGBM (Ke et al., NIPS 2017) grow them, over secure sums.
//!
//! A **stage** adds one forest of [`GbdtHyperparameters::forest`] trees, grown
//! side by side on samples of rows and columns and averaged, for every fold and
//! output. All trees of a stage grow by one level in one step: the sites sum
//! every row's rounded gradient and Hessian per node, column and bin, the
//! coordinator finds the splits. Of two siblings only the lighter one is asked
//! for; the other is the difference to their parent. The first level of a stage
//! also scores the stages before it on the validation rows, which is early
//! stopping.
//!
//! Rows are rounded one by one and summed as integers, samples are hashes of
//! what rows say, and the first ask counts classes and thereby gives the
//! gradients at the base margins: a model is the same to the last bit however
//! rows are spread over sites.
//!
//! **What leaves the coordinator** are splits, and leaf values once a stage is
//! finished ([`GbdtStage`], [`GbdtModel`]); no sums and no counts.
//!
//! Read `trainer` for the course of the training, `part` for the ask, `site` for
//! the answer, `split` and `grow` for the trees.

mod grow;
mod histogram;
mod hyperparameters;
mod model;
mod part;
mod portfolio;
mod rounding;
mod sample;
mod site;
mod split;
mod trainer;
mod tree;

#[cfg(test)]
mod harness;
#[cfg(test)]
mod oracle_tests;

pub use hyperparameters::GbdtHyperparameters;
pub use model::{Frame, GbdtModel, GbdtStage, MAX_FOREST, MAX_STAGES};
pub use part::GbdtPart;
pub use portfolio::GbdtConfiguration;
pub use trainer::GbdtTrainer;
pub use tree::{MAX_DEPTH, Node, Test, Tree};

use serde::{Deserialize, Serialize};

use crate::family::portfolio::{Portfolio, further};
use crate::family::{Family, FamilyObject, FoldModel, Offer, Proposal, Reads, Setting, Trainer};
use crate::search::Knob;

/// The family's name.
pub const NAME: &str = "gbdt";

/// The family.
pub struct Gbdt;

impl Family for Gbdt {
    fn name(&self) -> &'static str {
        NAME
    }

    fn monotone(&self) -> bool {
        true
    }

    fn candidates(&self, offer: &Offer<'_>) -> Vec<Proposal> {
        portfolio::candidates(offer)
    }

    fn further(&self, offer: &Offer<'_>) -> Vec<Proposal> {
        further(
            &Portfolio::checked_in().gbdt,
            offer,
            &self.candidates(offer),
        )
    }

    fn trainer(
        &self,
        hyperparameters: &serde_json::Value,
        setting: &Setting,
    ) -> Result<Box<dyn Trainer>, String> {
        let read = GbdtHyperparameters::deserialize(hyperparameters);
        let read = read.map_err(|error| error.to_string())?;
        Ok(Box::new(GbdtTrainer::new(read, setting)?))
    }

    /// One tree a stage: forests make up for stages, which are short only where they are steps.
    fn at_a_site(&self, hyperparameters: &serde_json::Value) -> serde_json::Value {
        let Ok(read) = GbdtHyperparameters::deserialize(hyperparameters) else {
            return hyperparameters.clone();
        };
        let single = GbdtHyperparameters { forest: 1, ..read };
        serde_json::to_value(&single).unwrap_or_else(|_| hyperparameters.clone())
    }

    fn knobs(&self) -> Vec<Knob> {
        portfolio::knobs()
    }

    fn varied(
        &self,
        offer: &Offer<'_>,
        pipeline: usize,
        hyperparameters: &serde_json::Value,
    ) -> Option<Proposal> {
        portfolio::varied(offer, pipeline, hyperparameters)
    }

    fn reads(&self) -> Reads {
        Reads::of::<GbdtPart, GbdtObject>()
    }
}

/// What the family publishes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GbdtObject {
    /// A stage, finished or growing.
    Stage(GbdtStage),
    /// A whole model.
    Model(GbdtModel),
}

impl FamilyObject for GbdtObject {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::Stage(stage) => stage.check(),
            Self::Model(model) => model.check(),
        }
    }

    fn model(&self) -> Option<&dyn FoldModel> {
        match self {
            Self::Stage(_) => None,
            Self::Model(model) => Some(model),
        }
    }
}
