//! The scorecards of the portfolio.

use serde::{Deserialize, Serialize};

use super::{ScorecardCandidate, Shape};
use crate::family::portfolio::{Configuration, binned, within};
use crate::family::{Head, Offer, Proposal, monotone};

/// A configuration of the portfolio; ridges are the usual ones, side by side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScorecardConfiguration {
    /// Whether derived columns are used, where a table has some.
    pub derived: bool,
    /// Most groups of a column, 2 to 20.
    pub groups: u8,
    /// Least share of the training rows in a group, 0.001 to 0.2.
    pub least_share: f64,
    /// How the risk may run along a column with an order.
    pub shape: Shape,
    /// Columns of less information value are dropped, 0 to 0.5.
    pub least_value: f64,
}

impl Configuration for ScorecardConfiguration {
    fn check(&self) -> Result<(), String> {
        within("groups", f64::from(self.groups), (2.0, 20.0))?;
        within("least_share", self.least_share, (0.001, 0.2))?;
        within("least_value", self.least_value, (0.0, 0.5))
    }

    fn propose(&self, offer: &Offer<'_>) -> Option<Proposal> {
        if offer.head != Head::Binary {
            return None;
        }
        let (pipeline, named) = binned(offer, self.derived)?;
        let candidate = ScorecardCandidate {
            groups: self.groups,
            least_share: self.least_share,
            shape: self.shape,
            least_value: self.least_value,
            ridges: ScorecardCandidate::usual().ridges,
            monotone: monotone::ways(offer, &named.pipeline)?,
        };
        Some(Proposal {
            pipeline,
            name: candidate.title(),
            hyperparameters: serde_json::to_value(&candidate).ok()?,
        })
    }
}
