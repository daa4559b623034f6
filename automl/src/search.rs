//! The coordinator's side of a round: profile, local search, race, ensemble, calibrate, compare,
//! test.
//!
//! Ordinary sequential code over [`Federation`]. It reads no clock and holds no
//! state between runs: run again with the same seed over a journal it takes the
//! same decisions. What a round leaves to the next is a [`Memory`], handed in by
//! whoever runs it.

mod budget;
mod calibrate;
mod candidates;
mod conductor;
mod ensemble;
mod estimate;
mod explore;
mod incumbent;
mod leaderboard;
mod local_search;
mod memory;
mod observer;
mod path;
mod private;
mod race;
mod report;
mod surrogate;
mod warm;

pub use budget::Budget;
pub use candidates::Candidate;
pub use conductor::{Conductor, StepTotals};
pub use estimate::{Estimate, FamilyEstimate, Guess, StepShape, estimate};
pub use leaderboard::Leaderboard;
pub use memory::{Measured, Memory, MemoryError, Notes, ScoreCounts};
pub use observer::{Early, Observer, Progress, Silent, Standing, State};
pub use path::{Behind, Cost, Ended, History, Rung};
pub use private::{STEPS as PRIVATE_STEPS, Told, Unit};
pub use report::{Decision, MOVED, RoundDrift, RoundReport, SHIFTED, Verdict};
pub use surrogate::{Knob, Scale};

use crate::ask::Stage;
use crate::family::{Head, Offer};
use crate::features;
use crate::federation::{Federation, FederationError};
use crate::metric::{Curve, Metrics};
use crate::model::{Champion, ChampionError};
use crate::profile::{self, Profile, ProfileError};
use crate::search::candidates::Desk;
use crate::search::incumbent::Judged;
use crate::search::local_search::Chosen;
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
    /// Which round it was, how far the rows have moved, and which champion goes on.
    pub round: RoundReport,
    /// What the next round is told.
    pub memory: Memory,
    /// What the round told about any one row; `None` where exact sums were shown.
    pub privacy: Option<Told>,
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
    if let Some(privacy) = task.differential_privacy {
        return private::round(task, privacy, federation, observer);
    }
    let memory = round.memory.as_ref();
    if memory.is_some_and(|memory| !memory.notes.same_task(task)) {
        return Err(SearchError::OtherTask);
    }
    let mut conductor = Conductor::new(task, federation, observer);
    // Beside those of any round: the drift's step, and the comparison that the race must leave.
    let (before, after) = memory.map_or((0, 0), |_| (1, incumbent::CLOSING_STEPS));
    let budget = Budget::new(task.preset, task.max_steps).reserving(after);
    conductor.expect_steps(budget.about(profile::STEPS + before));
    conductor.enter(Stage::Profile);
    let profile = profile::run(task, &mut conductor)?;
    let drift = memory.map(|memory| incumbent::drift(memory, &profile, &mut conductor));
    let mut drift = drift.transpose()?;
    let mut best = best(task, &profile, memory, &budget, &mut conductor)?;
    let judged = judge(round, &profile, &best, &mut conductor)?;
    if let Some(drift) = &mut drift {
        drift.score = judged.moved;
    }
    let kept = memory
        .map(|memory| &memory.champion)
        .filter(|_| judged.verdict.decision == Decision::Kept);
    let mut champion = kept.cloned().unwrap_or(best.champion);
    test(task, &profile, &mut champion, &mut conductor)?;
    let test = champion.test.clone();
    let lineage = conductor.lineage();
    champion.lineage = lineage.clone();
    if let Some(kept) = kept {
        // The same file: whoever has it, has it still.
        champion = kept.clone();
        not_champion(&mut best.leaderboard);
    }
    conductor.leaderboard(&best.leaderboard);
    let mut notes = Notes::new(task, round.number, profile.counted(), judged.scores);
    let older = memory.map_or(&[][..], |memory| memory.notes.history.as_slice());
    notes.remember(measured(best.tried, &best.leaderboard), older);
    Ok(Outcome {
        memory: Memory {
            champion: champion.clone(),
            notes,
        },
        champion,
        leaderboard: best.leaderboard,
        test,
        steps: conductor.steps(),
        numbers: conductor.numbers(),
        early: best.early,
        privacy: None,
        round: RoundReport {
            number: round.number,
            verdict: judged.verdict,
            drift,
            lineage,
        },
    })
}

/// The round's best against the champion of the round before, if there was one.
fn judge(
    round: &Round,
    profile: &Profile,
    best: &Best,
    conductor: &mut Conductor<'_>,
) -> Result<Judged, SearchError> {
    let (champion, curves) = (&best.champion, &best.curves);
    let Some(memory) = &round.memory else {
        return Ok(incumbent::first(
            &champion.description(),
            curves,
            round.number,
        ));
    };
    conductor.enter(Stage::Compare);
    incumbent::judge(memory, profile, champion, curves, conductor)
}

/// What a round finds by itself.
struct Best {
    /// Its champion, not tested yet.
    champion: Champion,
    /// Its curves on validation rows, before any calibration.
    curves: Vec<Curve>,
    /// Every candidate that was trained.
    tried: Vec<Candidate>,
    leaderboard: Vec<Standing>,
    early: Option<Early>,
}

/// Local search, race and ensemble: the best that this round's candidates come to.
fn best(
    task: &Task,
    profile: &Profile,
    memory: Option<&Memory>,
    budget: &Budget,
    conductor: &mut Conductor<'_>,
) -> Result<Best, SearchError> {
    let pipelines = features::pipelines(task, profile);
    let mut desk = Desk::new(Offer {
        task,
        profile,
        pipelines: &pipelines,
        head: Head::of(&profile.target),
    });
    let notes = memory.map(|memory| &memory.notes);
    let Chosen { offers, behind } = offers(&mut desk, notes, budget, conductor)?;
    conductor.enter(Stage::Race);
    let candidates = desk.entrants(offers, conductor)?;
    let tried = candidates.iter().map(|it| it.candidate.clone()).collect();
    let Finish {
        finalists,
        mut leaderboard,
        mut early,
    } = race::run(task, candidates, budget, conductor)?;
    leaderboard.extend(behind);
    let chosen = ensemble::run(task, finalists, budget, &mut early, conductor)?;
    chosen.lead(&mut leaderboard);
    let curves = chosen.validation.curves.clone();
    let mut champion = chosen.champion(task, conductor.lineage())?;
    champion.dropped.clone_from(&profile.dropped);
    Ok(Best {
        champion,
        curves,
        tried,
        leaderboard,
        early,
    })
}

/// What the race is offered: in a first round with time for it, what a local search prefers.
fn offers(
    desk: &mut Desk<'_>,
    notes: Option<&Notes>,
    budget: &Budget,
    conductor: &mut Conductor<'_>,
) -> Result<Chosen, SearchError> {
    let offers = candidates::offered(desk.offer(), notes);
    let plan = match notes {
        None => local_search::plan(desk, &offers, budget, conductor)?,
        Some(_) => None,
    };
    // Sites would compute for as long as some steps of the race: not where no time is left for those.
    let plan = match plan {
        Some(plan) if !conductor.time_is_up()? => plan,
        _ => {
            return Ok(Chosen {
                offers,
                behind: Vec::new(),
            });
        }
    };
    conductor.enter(Stage::LocalSearch);
    conductor.expect_steps(budget.about(conductor.steps() + 1));
    plan.run(offers, desk.offer().task.seed, conductor)
}

/// Opens the test rows, once, for the champion that goes on: its figures are then those.
fn test(
    task: &Task,
    profile: &Profile,
    champion: &mut Champion,
    conductor: &mut Conductor<'_>,
) -> Result<(), SearchError> {
    conductor.enter(Stage::Test);
    let rows = profile.train_rows + profile.test_rows;
    let part =
        champion.test_part::<SearchError>(task, rows, &mut |object| conductor.publish(object))?;
    let totals = conductor.sum(Stage::Test, vec![part.part()])?;
    champion.tested(&part, &totals.part(0));
    Ok(())
}

/// The best of a round whose champion is that of the round before: a finalist like others.
fn not_champion(leaderboard: &mut [Standing]) {
    let champions = leaderboard.iter_mut();
    for standing in champions.filter(|standing| standing.state == State::Champion) {
        standing.state = State::Running;
    }
}

/// The candidates that have a loss.
fn measured(
    tried: Vec<Candidate>,
    leaderboard: &[Standing],
) -> impl Iterator<Item = (Candidate, f64)> {
    tried.into_iter().filter_map(|candidate| {
        let standing = leaderboard.iter().find(|line| line.id == candidate.id)?;
        Some((candidate, standing.loss?))
    })
}
