//! What a search tells whoever watches it.

use serde::{Deserialize, Serialize};

use crate::ask::Stage;
use crate::object::ObjectId;
use crate::search::path::History;

/// Something happened in a search. As JSON: one object with a `kind`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Progress {
    /// A stage begins.
    Stage {
        /// Which.
        stage: Stage,
    },
    /// A step is done.
    Step {
        /// Its number, from 1.
        step: u32,
        /// About how many steps the round will take.
        about: u32,
        /// Its stage.
        stage: Stage,
        /// Parts of the ask: in the race, candidates in training.
        parts: u32,
        /// Numbers that were summed.
        numbers: u64,
        /// Sites in the sum.
        contributors: u32,
    },
    /// The order of the candidates changed.
    Leaderboard {
        /// Every candidate, best first.
        standings: Vec<Standing>,
    },
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Still training, or trained to the end.
    Running,
    /// Dropped because others of its family were better.
    Dropped,
    /// Part of the blend that the round ends with.
    Member,
    /// What the round ends with.
    Champion,
}

/// One candidate's line on the leaderboard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Standing {
    /// Hash of the candidate.
    pub id: ObjectId,
    /// Family, pipeline and hyperparameters in a few words.
    pub name: String,
    /// Name of the family.
    pub family: String,
    /// Mean validation loss: log-loss in nats, or squared error in units of the
    /// target's scale. `None` before it was scored.
    pub loss: Option<f64>,
    /// Its standard error.
    pub loss_se: Option<f64>,
    /// Steps of training behind that loss.
    pub steps: u32,
    /// What became of it.
    pub state: State,
    /// What led there; `None` in [`Progress::Leaderboard`], which is told often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<History>,
}

/// Why a round closed before its last step of training, or without trying a blend.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum Early {
    /// The task's `max_steps` left room only to close.
    Steps,
    /// The task's `time_budget` was spent.
    Time,
    /// A sum did not open; candidates stand as they did before it.
    Spoiled {
        /// The ask's sequence number.
        sequence: u32,
        /// What happened, for people.
        reason: String,
    },
}

impl std::fmt::Display for Early {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Steps => f.write_str("`max_steps` was reached"),
            Self::Time => f.write_str("`time_budget` was spent"),
            Self::Spoiled { sequence, reason } => {
                write!(f, "the sum of ask {sequence} did not open: {reason}")
            }
        }
    }
}

/// Watches a search. Nothing it does can change the outcome.
pub trait Observer {
    /// Called for everything that happens, in order.
    fn event(&mut self, progress: &Progress);
}

/// Nobody watches.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Observer for Silent {
    fn event(&mut self, _progress: &Progress) {}
}

impl<F: FnMut(&Progress)> Observer for F {
    fn event(&mut self, progress: &Progress) {
        self(progress);
    }
}
