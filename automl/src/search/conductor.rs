//! Numbers the asks of a round, keeps their lineage, and tells the observer.

use crate::ask::{Ask, Part, PartTotals, Stage, Totals};
use crate::federation::{Federation, FederationError};
use crate::model::Lineage;
use crate::object::{Object, ObjectId};
use crate::search::observer::{Observer, Progress, Standing};
use crate::task::Task;

/// Asks the federation on behalf of a round.
pub struct Conductor<'a> {
    task: ObjectId,
    federation: &'a mut dyn Federation,
    observer: &'a mut dyn Observer,
    sequence: u32,
    about: u32,
    numbers: u64,
    lineage: blake3::Hasher,
}

/// The totals of a step, with the ask that gives them meaning.
#[derive(Clone, Debug)]
pub struct StepTotals {
    ask: Ask,
    totals: Totals,
}

impl StepTotals {
    /// Totals of the part at this index of the ask.
    #[must_use]
    pub fn part(&self, index: usize) -> PartTotals<'_> {
        self.totals.part(&self.ask, index)
    }
}

impl<'a> Conductor<'a> {
    /// For one round of a task.
    pub fn new(
        task: &Task,
        federation: &'a mut dyn Federation,
        observer: &'a mut dyn Observer,
    ) -> Self {
        let task = task.digest();
        let mut lineage = blake3::Hasher::new_derive_key("collegium automl lineage v1");
        lineage.update(task.as_bytes());
        Self {
            task,
            federation,
            observer,
            sequence: 0,
            about: 0,
            numbers: 0,
            lineage,
        }
    }

    /// Makes an object available to every site.
    ///
    /// # Errors
    /// When the federation cannot take it.
    pub fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        self.federation.publish(object)
    }

    /// Asks all parts in one step.
    ///
    /// # Errors
    /// When the step has no totals, or totals that cannot be the ask's.
    pub fn sum(&mut self, stage: Stage, parts: Vec<Part>) -> Result<StepTotals, FederationError> {
        self.sequence += 1;
        let ask = Ask {
            sequence: self.sequence,
            stage,
            task: self.task,
            parts,
        };
        let digest = ask.digest()?;
        let totals = self.federation.sum(&ask)?;
        totals.check(&ask).map_err(|reason| FederationError::Step {
            sequence: ask.sequence,
            reason,
        })?;
        self.lineage.update(digest.as_bytes());
        self.lineage.update(totals.digest().as_bytes());
        let numbers = totals.sums.len() as u64;
        self.numbers += numbers;
        self.observer.event(&Progress::Step {
            step: self.sequence,
            about: self.about.max(self.sequence),
            stage,
            parts: ask.parts.len() as u32,
            numbers,
            contributors: totals.contributors.len() as u32,
        });
        Ok(StepTotals { ask, totals })
    }

    /// Members of the federation.
    #[must_use]
    pub fn members(&self) -> usize {
        self.federation.members()
    }

    /// Shares of noise that are certainly in a sum and honest.
    #[must_use]
    pub fn honest_shares(&self) -> u16 {
        self.federation.honest_shares()
    }

    /// Steps so far.
    #[must_use]
    pub fn steps(&self) -> u32 {
        self.sequence
    }

    /// Numbers summed so far.
    #[must_use]
    pub fn numbers(&self) -> u64 {
        self.numbers
    }

    /// Whether the driver's time budget is spent.
    pub(crate) fn time_is_up(&mut self) -> Result<bool, FederationError> {
        self.federation.time_is_up(self.sequence)
    }

    pub(crate) fn enter(&mut self, stage: Stage) {
        self.observer.event(&Progress::Stage { stage });
    }

    pub(crate) fn expect_steps(&mut self, about: u32) {
        self.about = about;
    }

    pub(crate) fn leaderboard(&mut self, standings: &[Standing]) {
        // Told often, so without what led there.
        let brief = |standing: &Standing| Standing {
            history: None,
            ..standing.clone()
        };
        self.observer.event(&Progress::Leaderboard {
            standings: standings.iter().map(brief).collect(),
        });
    }

    /// The steps so far, with a hash over the task and over every ask with its totals.
    pub(crate) fn lineage(&self) -> Lineage {
        Lineage {
            steps: self.sequence,
            digest: ObjectId(*self.lineage.finalize().as_bytes()),
        }
    }
}
