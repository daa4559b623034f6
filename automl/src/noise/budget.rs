//! What the steps of a run cost, and when the next one would cost too much.

use serde::{Deserialize, Serialize};

use super::zcdp;
use crate::ask::{Ask, Part};
use crate::task::DifferentialPrivacy;

/// What a run has told about one row of its training rows and about one of its test rows, in
/// zCDP. A row is one or the other by what it says itself (see [`crate::split`]), whatever other
/// rows there are, so a run tells about any row the larger of the two: parallel composition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spent {
    /// About a training row.
    pub train: f64,
    /// About a test row.
    pub test: f64,
}

/// Why a site does not answer under differential privacy.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum NoiseError {
    /// A part that has no bound on what one row adds.
    #[error(
        "part {part} of the ask (`{name}`) is exact, and the task has [differential_privacy]: \
         nothing of the ask is answered"
    )]
    Exact {
        /// Place of the part, from 1.
        part: usize,
        /// Its name in JSON.
        name: &'static str,
    },
    /// Noise in a task without differential privacy.
    #[error("the ask wants noise, and the task has no [differential_privacy]")]
    NotPrivate,
    /// The ask counts on more honest sites than there may be.
    #[error(
        "the ask counts on {asked} sites' shares of the noise, and only {known} are certain to be \
         in a sum and honest"
    )]
    Shares {
        /// What the ask says.
        asked: u16,
        /// What this site knows.
        known: u16,
    },
    /// No key was given to draw noise with: an error of the program.
    #[error("this site has no key for its noise")]
    NoKey,
    /// The step would go beyond the task's budget.
    #[error(
        "the step would bring the run to epsilon {reached:.4}, beyond the task's {epsilon} at \
         delta {delta}: its noise is too small, or the budget is spent"
    )]
    Spent {
        /// Epsilon after the step.
        reached: f64,
        /// The task's.
        epsilon: f64,
        /// The task's.
        delta: f64,
    },
}

/// What an answer to this ask would cost, worked out from the ask alone. `shares` is the number
/// of shares of noise that this site knows to be in every sum from members who do not collude.
///
/// # Errors
/// [`NoiseError`], when a part is exact or counts on more shares.
pub fn charge(ask: &Ask, shares: u16) -> Result<Spent, NoiseError> {
    let mut cost = Spent::default();
    for (at, part) in ask.parts.iter().enumerate() {
        let Part::Noisy(noisy) = part else {
            let (part, name) = (at + 1, part.name());
            return Err(NoiseError::Exact { part, name });
        };
        let noise = noisy.noise();
        if noise.shares > shares {
            return Err(NoiseError::Shares {
                asked: noise.shares,
                known: shares,
            });
        }
        let rho = zcdp::rho_of_sum(noisy.sensitivity(), noisy.numbers(), noise);
        if part.reads_test() {
            cost.test += rho;
        } else {
            cost.train += rho;
        }
    }
    Ok(cost)
}

impl Spent {
    /// After another step about the same rows.
    #[must_use]
    pub fn with(self, cost: Self) -> Self {
        Self {
            train: self.train + cost.train,
            test: self.test + cost.test,
        }
    }

    /// About any one row.
    #[must_use]
    pub fn rho(self) -> f64 {
        self.train.max(self.test)
    }

    /// What is spent after a step, if the task's budget has room for it.
    ///
    /// # Errors
    /// [`NoiseError::Spent`].
    pub fn admit(self, cost: Self, task: DifferentialPrivacy) -> Result<Self, NoiseError> {
        let after = self.with(cost);
        if after.rho() <= task.rho() {
            return Ok(after);
        }
        Err(NoiseError::Spent {
            reached: zcdp::epsilon(after.rho(), task.delta),
            epsilon: task.epsilon,
            delta: task.delta,
        })
    }
}
