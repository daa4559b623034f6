//! The linear models of the portfolio.

use serde::{Deserialize, Serialize};

use super::{LogisticCandidate, narrow};
use crate::family::portfolio::{Configuration, within};
use crate::family::{Offer, Proposal};

/// A configuration of the portfolio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogisticConfiguration {
    /// Which pipeline of numbers; a table that makes the same features of two has only the first.
    pub features: LinearFeatures,
    /// Weight of ½·Σ weight² against the sum of losses over rows, 0.001 to 10000.
    pub ridge: f64,
}

/// The pipelines that linear models take, by what they are called in
/// [`pipelines`](crate::features::pipelines).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LinearFeatures {
    /// Linear in every number.
    Standard,
    /// With bends at the terciles.
    Bent,
    /// Linear in ranks.
    Rank,
    /// Small whole numbers as quantities, rare categories by their frequency.
    Plain,
    /// With derived columns.
    Derived,
}

impl LinearFeatures {
    fn name(self) -> &'static str {
        match self {
            Self::Standard => "standard",
            Self::Bent => "bent",
            Self::Rank => "rank",
            Self::Plain => "plain",
            Self::Derived => "derived",
        }
    }
}

impl Configuration for LogisticConfiguration {
    fn check(&self) -> Result<(), String> {
        within("ridge", self.ridge, (0.001, 10_000.0))
    }

    fn propose(&self, offer: &Offer<'_>) -> Option<Proposal> {
        let name = self.features.name();
        let (pipeline, _) = narrow(offer).find(|(_, named)| named.name == name)?;
        let candidate = LogisticCandidate { ridge: self.ridge };
        Some(Proposal {
            pipeline,
            name: format!("ridge {}", self.ridge),
            hyperparameters: serde_json::to_value(candidate).ok()?,
        })
    }
}
