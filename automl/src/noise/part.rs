//! The only asks that are answered under differential privacy.

use serde::{Deserialize, Serialize};

use super::outcomes::OutcomesPart;
use super::slopes::SlopesPart;
use super::{Noise, NoiseStream};
use crate::ask::Segment;
use crate::object::ObjectId;

/// A sum whose rows are bounded and whose codes get noise.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum NoisyPart {
    /// First and second derivatives of the log-likelihood, over training rows.
    Slopes(SlopesPart),
    /// Test rows by predicted probability and class.
    Outcomes(OutcomesPart),
}

impl NoisyPart {
    /// What one row, added or removed, changes the exact codes by at most: the square of the L2
    /// norm. Each part's answer makes it true row by row.
    #[must_use]
    pub fn sensitivity(&self) -> u64 {
        match self {
            Self::Slopes(part) => part.sensitivity(),
            Self::Outcomes(part) => part.sensitivity(),
        }
    }

    /// The noise of each code.
    #[must_use]
    pub const fn noise(&self) -> Noise {
        match self {
            Self::Slopes(part) => part.noise,
            Self::Outcomes(part) => part.noise,
        }
    }

    /// The pipeline whose rows it is about.
    #[must_use]
    pub const fn pipeline(&self) -> ObjectId {
        match self {
            Self::Slopes(part) => part.pipeline,
            Self::Outcomes(part) => part.pipeline,
        }
    }

    /// The objects that a site needs.
    #[must_use]
    pub fn objects(&self) -> Vec<ObjectId> {
        match self {
            Self::Slopes(part) => [Some(part.pipeline), part.model]
                .into_iter()
                .flatten()
                .collect(),
            Self::Outcomes(part) => vec![part.pipeline, part.model],
        }
    }

    /// What it returns, with room for the noise.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        match self {
            Self::Slopes(part) => part.segments(),
            Self::Outcomes(part) => part.segments(),
        }
    }

    /// How many numbers it returns.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.segments().iter().map(Segment::count).sum()
    }

    /// Checks the caps, before anything is computed from the part.
    ///
    /// # Errors
    /// Names the first one that is broken.
    pub fn check(&self) -> Result<(), String> {
        self.noise().check()?;
        match self {
            Self::Slopes(part) => part.check(),
            Self::Outcomes(_) => Ok(()),
        }
    }

    /// Adds the site's share of noise to its exact sums, one draw each.
    pub fn add_noise(&self, sums: &mut [i64], stream: &mut NoiseStream) {
        let noise = self.noise();
        for sum in sums {
            *sum += stream.draw(noise);
        }
    }
}
