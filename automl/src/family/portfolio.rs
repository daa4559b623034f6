//! The portfolio: configurations beyond the first candidates of the families, as data.
//!
//! An offline study chose and ordered them (`docs/portfolio.md` says how, and how to repeat it). A
//! configuration is relative to what presets and tables differ in: it names no rate where the rate
//! follows from a preset's steps, and no forest where that follows from the room of a step. So the
//! same data serves every table, and a configuration becomes a [`Proposal`] only for an [`Offer`].

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};

use super::ga2m::Ga2mConfiguration;
use super::gbdt::GbdtConfiguration;
use super::logistic::LogisticConfiguration;
use super::net::NetConfiguration;
use super::scorecard::ScorecardConfiguration;
use super::{Offer, Proposal, ga2m, gbdt, logistic, net, scorecard};
use crate::features::NamedPipeline;
use crate::task::Preset;

/// What the study chose.
const CHECKED_IN: &str = include_str!("portfolio.json");
/// Longest text of a portfolio: a thousand configurations of 200 bytes, and some room.
const MAX_BYTES: usize = 256 * 1024;
/// Most configurations of a family.
const MAX_CONFIGURATIONS: usize = 256;

/// Configurations of the families, of each the best first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Portfolio {
    /// Boosted trees.
    pub gbdt: Vec<GbdtConfiguration>,
    /// Networks.
    pub net: Vec<NetConfiguration>,
    /// Additive models with pairs.
    pub ga2m: Vec<Ga2mConfiguration>,
    /// Linear models.
    pub logistic: Vec<LogisticConfiguration>,
    /// Scorecards.
    pub scorecard: Vec<ScorecardConfiguration>,
}

/// Why a text is no portfolio.
#[derive(Debug, thiserror::Error)]
pub enum PortfolioError {
    /// It is too long to be read.
    #[error("a portfolio of {0} bytes, at most {MAX_BYTES} are read")]
    Long(usize),
    /// It is no JSON of this form.
    #[error("no portfolio: {0}")]
    Json(#[from] serde_json::Error),
    /// A family has too many.
    #[error("{count} configurations of {family}, allowed are {MAX_CONFIGURATIONS}")]
    Many {
        /// The family.
        family: &'static str,
        /// How many it has.
        count: usize,
    },
    /// One of them is out of bounds, or is there twice.
    #[error("configuration {place} of {family}: {problem}")]
    Configuration {
        /// The family.
        family: &'static str,
        /// Its place, from 0.
        place: usize,
        /// What is wrong.
        problem: String,
    },
}

/// A family's configuration.
pub(crate) trait Configuration: PartialEq {
    /// Checks every bound; the error names the number that is out of bounds.
    fn check(&self) -> Result<(), String>;
    /// What it comes to for a table; `None` where it makes no sense there.
    fn propose(&self, offer: &Offer<'_>) -> Option<Proposal>;
}

impl Portfolio {
    /// Reads a portfolio and checks every configuration.
    ///
    /// # Errors
    /// When the text is too long or none, a number is out of bounds, or a family has a
    /// configuration twice or too many of them.
    pub fn read(text: &str) -> Result<Self, PortfolioError> {
        if text.len() > MAX_BYTES {
            return Err(PortfolioError::Long(text.len()));
        }
        let read: Self = serde_json::from_str(text)?;
        check(gbdt::NAME, &read.gbdt)?;
        check(net::NAME, &read.net)?;
        check(ga2m::NAME, &read.ga2m)?;
        check(logistic::NAME, &read.logistic)?;
        check(scorecard::NAME, &read.scorecard)?;
        Ok(read)
    }

    /// The one of this program. A test reads the same text, so that it is never the empty one.
    #[must_use]
    pub fn checked_in() -> &'static Self {
        static READ: OnceLock<Portfolio> = OnceLock::new();
        READ.get_or_init(|| Self::read(CHECKED_IN).unwrap_or_default())
    }

    /// What a family's configurations come to for a table, each with its place in the portfolio;
    /// those that make no sense there are left out. None for a family that has no configurations.
    #[must_use]
    pub fn proposals(&self, family: &str, offer: &Offer<'_>) -> Vec<(usize, Proposal)> {
        match family {
            gbdt::NAME => proposals(&self.gbdt, offer),
            net::NAME => proposals(&self.net, offer),
            ga2m::NAME => proposals(&self.ga2m, offer),
            logistic::NAME => proposals(&self.logistic, offer),
            scorecard::NAME => proposals(&self.scorecard, offer),
            _ => Vec::new(),
        }
    }
}

fn check(
    family: &'static str,
    configurations: &[impl Configuration],
) -> Result<(), PortfolioError> {
    let count = configurations.len();
    if count > MAX_CONFIGURATIONS {
        return Err(PortfolioError::Many { family, count });
    }
    for (place, configuration) in configurations.iter().enumerate() {
        let checked = match configurations[..place].contains(configuration) {
            true => Err("it is there twice".to_owned()),
            false => configuration.check(),
        };
        checked.map_err(|problem| PortfolioError::Configuration {
            family,
            place,
            problem,
        })?;
    }
    Ok(())
}

fn proposals(configurations: &[impl Configuration], offer: &Offer<'_>) -> Vec<(usize, Proposal)> {
    let all = configurations.iter().enumerate();
    all.filter_map(|(place, one)| Some((place, one.propose(offer)?)))
        .collect()
}

/// What configurations come to for a table beyond a family's candidates, without any twice; none
/// for the preset `fast`.
pub(crate) fn further(
    configurations: &[impl Configuration],
    offer: &Offer<'_>,
    candidates: &[Proposal],
) -> Vec<Proposal> {
    let mut further: Vec<Proposal> = Vec::new();
    if offer.task.preset == Preset::Fast {
        return further;
    }
    for (_, proposal) in proposals(configurations, offer) {
        let same = |other: &Proposal| {
            other.pipeline == proposal.pipeline && other.hyperparameters == proposal.hyperparameters
        };
        if !candidates.iter().chain(&further).any(same) {
            further.push(proposal);
        }
    }
    further
}

/// Whether a number of a configuration lies between two others.
pub(crate) fn within(name: &str, value: f64, (least, most): (f64, f64)) -> Result<(), String> {
    let fits = (least..=most).contains(&value);
    fits.then_some(())
        .ok_or_else(|| format!("`{name}` is {value}, allowed are {least} to {most}"))
}

/// The pipeline of bins with derived columns or without; where a table has no columns to derive,
/// the first of bins.
pub(crate) fn binned<'a>(
    offer: &'a Offer<'_>,
    derived: bool,
) -> Option<(usize, &'a NamedPipeline)> {
    let name = if derived { "derived bins" } else { "bins" };
    let found = offer.pipelines_of(true).find(|(_, it)| it.name == name);
    found.or_else(|| offer.pipelines_of(true).next())
}

#[cfg(test)]
mod tests;
