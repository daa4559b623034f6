//! The coordinator's side of a round: profile, race, ensemble, calibrate, test.
//!
//! Ordinary sequential code over [`Federation`]. It reads no clock and holds no
//! state between runs: run again with the same seed over a journal it takes the
//! same decisions.

mod budget;
mod calibrate;
mod conductor;
mod ensemble;
mod estimate;
mod leaderboard;
mod observer;
mod path;
mod portfolio;
mod race;

pub use budget::Budget;
pub use conductor::{Conductor, StepTotals};
pub use estimate::{Estimate, FamilyEstimate, Guess, StepShape, estimate};
pub use leaderboard::Leaderboard;
pub use observer::{Early, Observer, Progress, Silent, Standing, State};
pub use path::{Behind, Cost, Ended, History, Rung};
pub use portfolio::Candidate;

use crate::ask::Stage;
use crate::features;
use crate::federation::{Federation, FederationError};
use crate::metric::Metrics;
use crate::model::{Champion, ChampionError};
use crate::profile::{self, ProfileError};
use crate::search::race::Finish;
use crate::task::Task;

/// What a round ends with.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The model to take away.
    pub champion: Champion,
    /// Every candidate, best first.
    pub leaderboard: Vec<Standing>,
    /// The champion's figures on the sealed test rows of all members.
    pub test: Metrics,
    /// Secure sums that were used.
    pub steps: u32,
    /// Numbers summed over all steps.
    pub numbers: u64,
    /// Why the race closed before its last rung, or no blend was tried, if it was so.
    pub early: Option<Early>,
}

/// Why a round ends without a champion.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// A step has no totals.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// The profile says that nothing can be learned, or how to correct the
    /// task.
    #[error(transparent)]
    Profile(ProfileError),
    /// A family cannot train what it offered.
    #[error("{family} cannot train its candidate {name}: {problem}")]
    Candidate {
        /// The family.
        family: &'static str,
        /// The candidate.
        name: String,
        /// What is wrong.
        problem: String,
    },
    /// The task allows no candidate.
    #[error("no candidate is left to train: {0}")]
    NoCandidates(String),
    /// What the round ends with is no champion: an error of the program.
    #[error(transparent)]
    Champion(#[from] ChampionError),
    /// No candidate has a finite validation loss.
    #[error(
        "no candidate has a finite validation loss: no row of any fold could be scored; \
         the members need more rows with a target value"
    )]
    NothingScored,
}

impl From<ProfileError> for SearchError {
    fn from(error: ProfileError) -> Self {
        match error {
            // A step that failed is the same trouble in every stage.
            ProfileError::Federation(error) => Self::Federation(error),
            other => Self::Profile(other),
        }
    }
}

/// Runs a round.
///
/// # Errors
/// When a step has no totals, or nothing can be learned from the data.
pub fn run(
    task: &Task,
    federation: &mut dyn Federation,
    observer: &mut dyn Observer,
) -> Result<Outcome, SearchError> {
    let mut conductor = Conductor::new(task, federation, observer);
    let budget = Budget::new(task.preset, task.max_steps);
    conductor.expect_steps(budget.about(profile::STEPS));
    conductor.enter(Stage::Profile);
    let profile = profile::run(task, &mut conductor)?;
    let pipelines = features::pipelines(task, &profile);
    conductor.enter(Stage::Race);
    let candidates = portfolio::candidates(task, &profile, &pipelines, &mut conductor)?;
    let Finish {
        finalists,
        mut leaderboard,
        mut early,
    } = race::run(task, candidates, &budget, &mut conductor)?;
    let chosen = ensemble::run(task, finalists, &budget, &mut early, &mut conductor)?;
    chosen.lead(&mut leaderboard);
    conductor.enter(Stage::Test);
    let mut champion = chosen.champion(task, conductor.lineage())?;
    champion.dropped = profile.dropped;
    let rows = profile.train_rows + profile.test_rows;
    let part =
        champion.test_part::<SearchError>(task, rows, &mut |object| conductor.publish(object))?;
    let totals = conductor.sum(Stage::Test, vec![part.part()])?;
    champion.tested(&part, &totals.part(0));
    champion.lineage = conductor.lineage();
    conductor.leaderboard(&leaderboard);
    Ok(Outcome {
        test: champion.test.clone(),
        champion,
        leaderboard,
        steps: conductor.steps(),
        numbers: conductor.numbers(),
        early,
    })
}
