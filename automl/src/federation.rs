//! The narrow waist: the only way to learn anything about the members' rows.

mod journal;
mod pooled;

pub use journal::{
    FileJournal, Journal, JournalError, Journaled, MemoryJournal, Recorded, TIME_IS_UP,
};
pub use pooled::Pooled;

use crate::ask::{Ask, AskError, Totals};
use crate::object::{Object, ObjectError, ObjectId};
use crate::site::SiteError;

/// Sums the members' answers and hands objects to them.
pub trait Federation {
    /// Makes an object available to every site under its content hash.
    ///
    /// # Errors
    /// When the object cannot be written or kept.
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError>;

    /// Sums every contributing site's answer to `ask`, element by element.
    ///
    /// # Errors
    /// [`FederationError::Spoiled`] when this sum does not open: the race then closes with what it
    /// has. Any other error, when no sum can be had, ends the search.
    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError>;

    /// How many members the federation has.
    fn members(&self) -> usize;

    /// Shares of noise that are in every sum from members who do not collude, see
    /// [`crate::noise::honest_shares`]. Where nothing is known of them it is one: every site then
    /// adds all of the noise.
    fn honest_shares(&self) -> u16 {
        1
    }

    /// Whether the driver's time budget is spent: the race then closes with what
    /// it has. Asked before each of its steps, `steps` of the round being done.
    /// [`Journaled`] keeps the answer, so that a replay closes at the same step.
    ///
    /// # Errors
    /// When the answer cannot be kept.
    fn time_is_up(&mut self, steps: u32) -> Result<bool, FederationError>;
}

/// Why a step has no totals.
#[derive(Debug, thiserror::Error)]
pub enum FederationError {
    /// The search asked for something out of bounds.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// An object could not be written or read.
    #[error(transparent)]
    Object(#[from] ObjectError),
    /// A site could not answer.
    #[error("site {member}: {source}")]
    Site {
        /// Member index, from 1.
        member: u16,
        /// Why.
        source: SiteError,
    },
    /// The journal cannot be read or written, or belongs to another run.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The driver ended the run.
    #[error("the run was stopped: {0}")]
    Stopped(String),
    /// The sum was opened and is not one that honest members add up to. Nothing of it is shown,
    /// and the same ask is not put again: two openings of one ask would differ by a member's data.
    #[error("step {sequence} does not open: {reason}")]
    Spoiled {
        /// The ask's sequence number.
        sequence: u32,
        /// What happened, and whose answers were in it.
        reason: String,
    },
    /// The step could not be summed.
    #[error("step {sequence} has no totals: {reason}")]
    Step {
        /// The ask's sequence number.
        sequence: u32,
        /// What happened and what to do.
        reason: String,
    },
}
