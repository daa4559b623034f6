//! The coordinator's side of a round: profile, race, test.
//!
//! Ordinary sequential code over [`Federation`]. It reads no clock and holds no
//! state between runs: run again with the same seed over a journal it takes the
//! same decisions. What a round leaves to the next is a [`Memory`], handed in by
//! whoever runs it.

mod budget;
mod conductor;
mod incumbent;
mod memory;
mod observer;
mod portfolio;
mod race;
mod report;
mod warm;

pub use budget::Budget;
pub use conductor::{Conductor, StepTotals};
pub use memory::{Measured, Memory, MemoryError, Notes, ScoreCounts};
pub use observer::{Early, Observer, Progress, Silent, Standing, State};
pub use portfolio::Candidate;
pub use report::{Decision, MOVED, RoundDrift, RoundReport, SHIFTED, Verdict};

use crate::ask::{Part, Stage};
use crate::family::{Head, Setting};
use crate::features::{self, Pipeline};
use crate::federation::{Federation, FederationError};
use crate::metric::{Metrics, Rows, ScorePart, Scored};
use crate::model::{Champion, Lineage, TaskSummary};
use crate::object::Object;
use crate::profile::{self, Profile, ProfileError};
use crate::search::incumbent::Challenger;
use crate::search::portfolio::Entrant;
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
    /// Why the race closed before its last rung, if it did.
    pub early: Option<Early>,
    /// Which round it was, how far the rows have moved, and which champion goes on.
    pub round: RoundReport,
    /// What the next round is told.
    pub memory: Memory,
}

impl Outcome {
    /// What the champion is, in a few words.
    #[must_use]
    pub fn description(&self) -> &str {
        match (self.round.verdict.decision, &self.round.verdict.incumbent) {
            (Decision::Kept, Some(incumbent)) => incumbent,
            _ => &self.round.verdict.challenger,
        }
    }
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
    /// What is remembered is of rounds of another task.
    #[error(
        "the memory is of another task: only budgets, `rounds` and `every` may differ between \
         rounds, or a model would be judged by rows that it learned from"
    )]
    OtherTask,
    /// The task allows no candidate.
    #[error("no candidate is left to train: {0}")]
    NoCandidates(String),
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

/// Runs a first round, or the only one.
///
/// # Errors
/// When a step has no totals, or nothing can be learned from the data.
pub fn run(
    task: &Task,
    federation: &mut dyn Federation,
    observer: &mut dyn Observer,
) -> Result<Outcome, SearchError> {
    round(task, &Round::first(), federation, observer)
}

/// Which round of its task a search is, and what it remembers of the ones before.
#[derive(Clone, Debug, PartialEq)]
pub struct Round {
    /// From 1.
    pub number: u32,
    /// What the round before left; `None` in a first round, and where it is lost: the search then
    /// starts from scratch.
    pub memory: Option<Memory>,
}

impl Round {
    /// The first.
    #[must_use]
    pub const fn first() -> Self {
        Self {
            number: 1,
            memory: None,
        }
    }

    /// The one after the round that left this memory.
    #[must_use]
    pub fn after(memory: Memory) -> Self {
        Self {
            number: memory.notes.round.saturating_add(1),
            memory: Some(memory),
        }
    }
}

/// Runs a round: with a memory a search that starts from what did well before, and ends with the
/// champion before it unless its own is better.
///
/// # Errors
/// When a step has no totals, nothing can be learned from the data, or the memory is of another
/// task.
pub fn round(
    task: &Task,
    round: &Round,
    federation: &mut dyn Federation,
    observer: &mut dyn Observer,
) -> Result<Outcome, SearchError> {
    let memory = round.memory.as_ref();
    if memory.is_some_and(|memory| !memory.notes.same_task(task)) {
        return Err(SearchError::OtherTask);
    }
    let mut conductor = Conductor::new(task, federation, observer);
    conductor.enter(Stage::Profile);
    let profile = profile::run(task, &mut conductor)?;
    let drift = memory.map(|memory| incumbent::drift(memory, &profile, &mut conductor));
    let mut drift = drift.transpose()?;
    let pipelines = features::pipelines(task, &profile);
    // The comparison needs a step that the race must leave.
    let reserved = memory.map_or(0, |_| incumbent::CLOSING_STEPS);
    let most = task.max_steps.map(|most| most.saturating_sub(reserved));
    let budget = Budget::new(task.preset, most);
    conductor.enter(Stage::Race);
    let notes = memory.map(|memory| &memory.notes);
    let candidates = portfolio::candidates(task, &profile, &pipelines, notes, &mut conductor)?;
    let tried: Vec<Candidate> = candidates.iter().map(|e| e.candidate.clone()).collect();
    let Finish {
        champion: winner,
        model,
        validation,
        mut leaderboard,
        early,
    } = race::run(task, candidates, &budget, &mut conductor)?;
    let challenger = Challenger {
        name: &winner.candidate.name,
        pipeline: winner.setting.pipeline,
        model: conductor.publish(model.clone())?,
        head: winner.setting.head,
        folds: winner.setting.folds,
        curves: &validation.curves,
    };
    let judged = match memory {
        Some(memory) => {
            conductor.enter(Stage::Compare);
            incumbent::judge(memory, &profile, &challenger, &mut conductor)?
        }
        None => incumbent::first(&challenger, round.number),
    };
    if let Some(drift) = &mut drift {
        drift.score = judged.moved;
    }
    let kept = memory
        .map(|memory| &memory.champion)
        .filter(|_| judged.verdict.decision == Decision::Kept);
    let test = test(
        task,
        &profile,
        kept,
        &challenger,
        &winner.setting,
        &mut conductor,
    )?;
    if let (None, Some(first)) = (kept, leaderboard.first_mut()) {
        first.state = State::Champion;
    }
    conductor.leaderboard(&leaderboard);
    let lineage = Lineage {
        steps: conductor.steps(),
        digest: conductor.lineage(),
    };
    let mut notes = Notes::new(task, round.number, profile.counted(), judged.scores);
    let losses = tried.into_iter().filter_map(|candidate| {
        let standing = leaderboard.iter().find(|line| line.id == candidate.id)?;
        Some((candidate, standing.loss?))
    });
    let older = memory.map_or(&[][..], |memory| memory.notes.history.as_slice());
    notes.remember(losses, older);
    let champion = match kept {
        // The same file: whoever has it, has it still.
        Some(champion) => champion.clone(),
        None => {
            let figures = (validation, test.clone());
            let mut champion = crowned(task, winner, model, figures, lineage.clone());
            champion.dropped = profile.dropped;
            champion
        }
    };
    Ok(Outcome {
        memory: Memory {
            champion: champion.clone(),
            notes,
        },
        champion,
        leaderboard,
        test,
        steps: conductor.steps(),
        numbers: conductor.numbers(),
        early,
        round: RoundReport {
            number: round.number,
            verdict: judged.verdict,
            drift,
            lineage,
        },
    })
}

/// Opens the test rows, once, for the champion: the one that is kept, or the challenger.
fn test(
    task: &Task,
    profile: &Profile,
    kept: Option<&Champion>,
    challenger: &Challenger<'_>,
    setting: &Setting,
    conductor: &mut Conductor<'_>,
) -> Result<Metrics, SearchError> {
    conductor.enter(Stage::Test);
    let (pipeline, model) = match kept {
        Some(champion) => incumbent::published(champion, conductor)?,
        None => (challenger.pipeline, challenger.model),
    };
    let part = ScorePart {
        pipeline,
        model,
        on: Rows::Test,
        head: setting.head,
        folds: kept.map_or(setting.folds, incumbent::folds),
        rows: profile.train_rows + profile.test_rows,
        curves: setting.head != Head::Number,
        metric: task.metric_with_sums(),
    };
    let totals = conductor.sum(Stage::Test, vec![Part::Score(part.clone())])?;
    let target = kept.map_or(setting.features.target(), |champion| {
        champion.pipeline.target()
    });
    Ok(Metrics::from_scored(&part.read(&totals.part(0)), target))
}

/// The champion that a round's best becomes.
fn crowned(
    task: &Task,
    winner: Entrant,
    model: Object,
    (validation, test): (Scored, Metrics),
    lineage: Lineage,
) -> Champion {
    let pipeline = Pipeline::clone(&winner.setting.features);
    let summary = TaskSummary::new(task, pipeline.target());
    let validation = Metrics::from_scored(&validation, pipeline.target());
    Champion::new(
        summary,
        winner.candidate,
        pipeline,
        model,
        validation,
        test,
        lineage,
    )
}
