//! The additive models of the portfolio.

use serde::{Deserialize, Serialize};

use super::{Ga2mCandidate, Weights};
use crate::family::portfolio::{Configuration, binned, within};
use crate::family::{Offer, Proposal, monotone};

/// A configuration of the portfolio. What holds effects back is estimated from the rows, that of
/// lines apart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ga2mConfiguration {
    /// Whether derived columns are used, where a table has some.
    pub derived: bool,
    /// Most groups of a column's bins, 4 to 64.
    pub groups: u8,
    /// Most pairs, 0 to 32.
    pub pairs: u8,
    /// Most groups on a side of a pair's grid, 2 to 16.
    pub side: u8,
    /// How strongly lines are held back, 0.01 to 1000.
    pub line: f64,
}

impl Configuration for Ga2mConfiguration {
    fn check(&self) -> Result<(), String> {
        within("groups", f64::from(self.groups), (4.0, 64.0))?;
        within("pairs", f64::from(self.pairs), (0.0, 32.0))?;
        within("side", f64::from(self.side), (2.0, 16.0))?;
        within("line", self.line, (0.01, 1000.0))
    }

    fn propose(&self, offer: &Offer<'_>) -> Option<Proposal> {
        let (pipeline, named) = binned(offer, self.derived)?;
        let candidate = Ga2mCandidate {
            groups: self.groups,
            pairs: self.pairs,
            side: self.side,
            weights: Weights {
                line: self.line,
                ..Weights::default()
            },
            multiples: Ga2mCandidate::usual().multiples,
            monotone: monotone::ways(offer, &named.pipeline)?,
        };
        Some(Proposal {
            pipeline,
            name: candidate.title(),
            hyperparameters: serde_json::to_value(&candidate).ok()?,
        })
    }
}
