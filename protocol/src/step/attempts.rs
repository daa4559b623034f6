//! Putting an ask again after a step was dropped, and knowing when to stop: a run is never stuck
//! because one step failed, and never goes round for ever either.

use collegium_crypto::transcript::Digest;

use super::aggregator::{Dropped, OnRestart};
use crate::charter::VerifiedCharter;
use crate::ids::{MemberIndex, StepNumber};
use crate::limits::MAX_ATTEMPTS;
use crate::message::session::DropReason;
use crate::refusal::RefusalCode;

/// After so many steps lost to restarting members, an ask goes on without the one that restarts.
const MAX_RESTARTS: u32 = 3;

/// The end of a run, in words for people. What was dropped without a certificate opened nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StepFailure {
    /// Refusals leave too few contributors.
    #[error(
        "too few members take part: {minimum} contributors are needed, and these refuse: \
         {refusals}"
    )]
    TooFewMembers {
        /// Contributors needed.
        minimum: usize,
        /// Who refuses, and why.
        refusals: String,
    },
    /// The ask was put too often.
    #[error(
        "the same ask was put in {attempts} steps without success, the last because {reason}; \
         see that at least {minimum} nodes are connected, then resume the run"
    )]
    TooManyAttempts {
        /// Steps spent.
        attempts: u32,
        /// Why the last one was dropped.
        reason: DropReason,
        /// Contributors needed.
        minimum: usize,
    },
    /// Members refuse to open the ask again with another set.
    #[error(
        "this ask was opened before on the same data with another set of members, and opening it \
         again would show the difference between the sets: wait for the members of the first \
         set, or submit a new task with the stewards' approval ({refusals})"
    )]
    OpenedWithOtherSet {
        /// Who refuses, and why.
        refusals: String,
    },
    /// The contributing set changed too often.
    #[error(
        "the set of contributing members changed more often than one run allows ({refusals}); \
         mend the members' connections and submit the task again"
    )]
    CohortLimit {
        /// Who refuses, and why.
        refusals: String,
    },
    /// The opened sum failed its checks.
    #[error(
        "step {step} over members {contributors:?} did not open: {reason}; a member's upload or \
         release was wrong, and sums do not show whose"
    )]
    NotOpened {
        /// The step.
        step: StepNumber,
        /// U.
        contributors: Vec<MemberIndex>,
        /// What failed.
        reason: String,
    },
    /// Too few seats released, for too long.
    #[error(
        "step {step} over members {contributors:?} is certified, and the seats of members \
         {missing:?} did not release in time: without them it cannot be opened; see whether they \
         are connected, and whether they complained about a share"
    )]
    NotReleased {
        /// The step.
        step: StepNumber,
        /// U.
        contributors: Vec<MemberIndex>,
        /// The seats' holders that did not release.
        missing: Vec<MemberIndex>,
    },
    /// The run was cancelled.
    #[error("the run was cancelled")]
    Cancelled,
}

/// Counts the steps spent on one ask and gives out step numbers, for one run.
#[derive(Debug, Clone)]
pub struct Attempts {
    last: StepNumber,
    ask: Option<Digest>,
    spent: u32,
    restarts: u32,
}

impl Attempts {
    /// Goes on after the highest step number this run ever used (0 for a new run).
    #[must_use]
    pub fn after(last: StepNumber) -> Self {
        Self {
            last,
            ask: None,
            spent: 0,
            restarts: 0,
        }
    }

    /// The number for a step about `ask`: above every earlier one. The same ask again counts as
    /// another attempt; its plaintext must be the same.
    pub fn next_number(&mut self, ask: Digest) -> StepNumber {
        if self.ask != Some(ask) {
            *self = Self {
                ask: Some(ask),
                ..Self::after(self.last)
            };
        }
        self.spent += 1;
        self.last = self.last.next();
        self.last
    }

    /// What the next step should do when a member restarts in its middle: ask again, unless that
    /// happened too often already.
    #[must_use]
    pub fn on_restart(&self) -> OnRestart {
        if self.restarts < MAX_RESTARTS {
            OnRestart::AskAgain
        } else {
            OnRestart::GoOn
        }
    }

    /// A step was dropped. `Ok`: put the same ask again under [`Attempts::next_number`].
    ///
    /// # Errors
    /// The [`StepFailure`] that ends the run.
    pub fn dropped(
        &mut self,
        dropped: &Dropped,
        charter: &VerifiedCharter,
    ) -> Result<(), StepFailure> {
        let refusals = || dropped.refusals_in_words(charter);
        let thresholds = charter.thresholds();
        let minimum = thresholds.min_contributors;
        let refusing = |wanted| {
            dropped
                .refusals
                .iter()
                .filter(|(_, refusal)| refusal.code == wanted)
                .count()
        };
        // So many members can keep a set from its quorum.
        let blocking = thresholds.committee - thresholds.quorum + 1;
        if dropped.reason == DropReason::Cancelled {
            return Err(StepFailure::Cancelled);
        }
        if refusing(RefusalCode::ReleasedOtherSet) >= blocking {
            return Err(StepFailure::OpenedWithOtherSet {
                refusals: refusals(),
            });
        }
        if refusing(RefusalCode::CohortLimit) >= blocking {
            return Err(StepFailure::CohortLimit {
                refusals: refusals(),
            });
        }
        let for_good = dropped
            .refusals
            .iter()
            .filter(|(_, r)| is_for_good(r.code))
            .count();
        if charter.members().len().saturating_sub(for_good) < minimum {
            return Err(StepFailure::TooFewMembers {
                minimum,
                refusals: refusals(),
            });
        }
        if dropped.reason == DropReason::MemberRestarted {
            self.restarts += 1;
        }
        if self.spent >= MAX_ATTEMPTS {
            let (attempts, reason) = (self.spent, dropped.reason);
            return Err(StepFailure::TooManyAttempts {
                attempts,
                reason,
                minimum,
            });
        }
        Ok(())
    }
}

/// Refusals to contribute that the same ask under a new number meets again.
fn is_for_good(code: RefusalCode) -> bool {
    matches!(
        code,
        RefusalCode::PolicyDenied
            | RefusalCode::AskNotUnderstood
            | RefusalCode::AskTooLarge
            | RefusalCode::AskMismatch
            | RefusalCode::ShapeMismatch
            | RefusalCode::CharterMismatch
            | RefusalCode::UnknownParameters
            | RefusalCode::UnknownRun
            | RefusalCode::BadSignature
            | RefusalCode::AnswerOutOfRange
            | RefusalCode::TrainerFailed
    )
}
