//! Neural networks for tables, trained by federated averaging.
//!
//! Every step each site trains a copy of the current weights on its own rows
//! (with `burn`) and answers with the clipped change of the weights, weighted by
//! its share of the rows; the sum is the averaged change. McMahan et al.,
//! *Communication-Efficient Learning of Deep Networks from Decentralized Data*,
//! AISTATS 2017. FedProx keeps the copies near where they began, and the coordinator's
//! optimizer decides what the averaged change does to the weights ([`Server`]).
//!
//! Categories come as one column a level, and the first layer's weights over them are their
//! embeddings; numbers come scaled by their quartiles, smoothly clipped and, where the
//! candidate's pipeline says so, cut into pieces. A candidate may embed each column on its own
//! before the first layer ([`Embedding`]). There is no batch normalisation: its statistics would
//! be those of one site.
//!
//! Predictions of a finished model do not use the framework:
//! [`NetModel::predict`](crate::family::FoldModel::predict)
//! is scalar `f64` arithmetic over the stored `f32` weights, the same on every
//! machine.

mod device;
mod forward;
mod local;
mod losses;
mod model;
mod part;
mod portfolio;
mod server;
mod shape;
mod stack;
mod trainer;

pub use device::{DeviceError, TrainingDevice};
pub use model::NetModel;
pub use part::{LocalTraining, NetPart};
pub use portfolio::{NetConfiguration, NetServer};
pub use server::Server;
pub use shape::{Embedding, NetShape};
pub use trainer::{NetCandidate, NetTrainer, update_levels};

use serde::Deserialize;

use crate::family::portfolio::{Portfolio, further};
use crate::family::{Family, Offer, Proposal, Reads, Setting, Trainer};
use crate::search::Knob;

/// The family's name.
pub const NAME: &str = "net";

/// Steps from one score to the next where a site trains alone.
const SCORE_EVERY_ALONE: u32 = 4;

/// The family.
#[derive(Clone, Copy, Debug)]
pub struct Net;

impl Family for Net {
    fn name(&self) -> &'static str {
        NAME
    }

    fn candidates(&self, offer: &Offer<'_>) -> Vec<Proposal> {
        portfolio::candidates(offer)
    }

    fn further(&self, offer: &Offer<'_>) -> Vec<Proposal> {
        further(&Portfolio::checked_in().net, offer, &self.candidates(offer))
    }

    fn trainer(
        &self,
        hyperparameters: &serde_json::Value,
        setting: &Setting,
    ) -> Result<Box<dyn Trainer>, String> {
        let candidate = NetCandidate::deserialize(hyperparameters);
        let candidate = candidate.map_err(|error| error.to_string())?;
        Ok(Box::new(NetTrainer::new(candidate, setting.clone())?))
    }

    /// Scored less often: a score takes as long as some steps of training on few rows.
    fn at_a_site(&self, hyperparameters: &serde_json::Value) -> serde_json::Value {
        let Ok(mut read) = NetCandidate::deserialize(hyperparameters) else {
            return hyperparameters.clone();
        };
        read.score_every = read.score_every.max(SCORE_EVERY_ALONE);
        serde_json::to_value(&read).unwrap_or_else(|_| hyperparameters.clone())
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
        Reads::of::<NetPart, NetModel>()
    }
}

#[cfg(test)]
mod tests;
