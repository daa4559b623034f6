//! Opening a certified sum: pure computation, a thread's work for large steps.

use std::sync::Arc;

use collegium_crypto::glwe::{self, BodySum};
use collegium_crypto::shamir::{self, ShareSum};
use collegium_crypto::transcript::Digest;

use super::attempts::StepFailure;
use super::plan::StepPlan;
use crate::ids::MemberIndex;

/// At least t verified releases for one certified set.
pub struct Opening {
    pub(super) plan: Arc<StepPlan>,
    pub(super) proposal: Digest,
    pub(super) contributors: Vec<MemberIndex>,
    pub(super) releases: Vec<ShareSum>,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (step, releases) = (self.plan.reference().step, self.releases.len());
        write!(
            f,
            "Opening(step {step}, U = {:?}, {releases} releases)",
            self.contributors
        )
    }
}

impl Opening {
    /// The step's plan.
    #[must_use]
    pub fn plan(&self) -> &Arc<StepPlan> {
        &self.plan
    }

    /// The contributing set U.
    #[must_use]
    pub fn contributors(&self) -> &[MemberIndex] {
        &self.contributors
    }

    /// H(U).
    #[must_use]
    pub fn proposal(&self) -> Digest {
        self.proposal
    }

    /// The summed codes over U, in the shape's order. The residual is checked on every
    /// coefficient; nothing of a step that fails is shown.
    ///
    /// # Errors
    /// [`StepFailure::NotOpened`], which ends the round and names U.
    pub fn open(&self, sum: &BodySum) -> Result<Vec<u64>, StepFailure> {
        let failed = |reason: String| StepFailure::NotOpened {
            step: self.plan.reference().step,
            contributors: self.contributors.clone(),
            reason,
        };
        let threshold = self.plan.charter().thresholds().threshold;
        let key =
            shamir::interpolate(&self.releases, threshold).map_err(|e| failed(e.to_string()))?;
        let (seed, packing) = (self.plan.mask_seed(), self.plan.packing());
        glwe::open(sum, &key, &seed, packing, self.contributors.len())
            .map(|opened| opened.codes)
            .map_err(|e| failed(e.to_string()))
    }
}
