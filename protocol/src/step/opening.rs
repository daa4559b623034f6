//! Opening a certified sum: pure computation, a thread's work for large steps.

use std::sync::Arc;

use collegium_crypto::glwe::{self, BodySum, Opened, SummedKey};
use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::linear::{Challenge, LinearHash};
use collegium_crypto::shamir::{self, ShareSum};
use collegium_crypto::transcript::Digest;

use super::attempts::StepFailure;
use super::plan::StepPlan;
use crate::ids::MemberIndex;
use crate::message::step::{Certificate, Propose};
use crate::message::verify::commitment;

/// At least t verified releases for one certified set.
pub struct Opening {
    pub(super) plan: Arc<StepPlan>,
    pub(super) propose: Propose,
    pub(super) certificate: Certificate,
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
        self.certificate.proposal
    }

    /// What the sum opens to, with the summed codes over U in the shape's order. The residual is checked on every
    /// coefficient; nothing of a step that fails is shown.
    ///
    /// # Errors
    /// [`StepFailure::NotOpened`], which ends the round and names U.
    pub fn open(&self, sum: &BodySum) -> Result<OpenedSum, StepFailure> {
        let failed = |reason: String| StepFailure::NotOpened {
            step: self.plan.reference().step,
            contributors: self.contributors.clone(),
            reason,
        };
        let threshold = self.plan.charter().thresholds().threshold;
        let key =
            shamir::interpolate(&self.releases, threshold).map_err(|e| failed(e.to_string()))?;
        let (seed, packing) = (self.plan.mask_seed(), self.plan.packing());
        let opened = glwe::open(sum, &key, &seed, packing, self.contributors.len())
            .map_err(|e| failed(e.to_string()))?;
        let context = self.plan.reference().context;
        let commitment = commitment(&context, &self.proposal(), &opened.digest(&key));
        // While the sum is at hand: what the contributors' hashes must add up to.
        let hash = LinearHash::of_sum(Challenge::derive(&commitment), sum);
        Ok(OpenedSum {
            key,
            opened,
            commitment,
            hash,
        })
    }

    /// Commits to what was opened, so that the contributors can check it.
    #[must_use]
    pub fn verification(
        self,
        opened: OpenedSum,
        coordinator: &SigningIdentity,
    ) -> super::Verification {
        super::Verification::begin(
            self.plan,
            self.propose,
            self.certificate,
            opened,
            coordinator,
        )
    }
}

/// What a sum opened to.
pub struct OpenedSum {
    pub(super) key: SummedKey,
    pub(super) opened: Opened,
    /// To all of it.
    pub(super) commitment: Digest,
    /// The linear hash of the summed body, under the commitment's challenge.
    pub(super) hash: LinearHash,
}

impl OpenedSum {
    /// The summed codes over U, in the shape's order.
    #[must_use]
    pub fn sums(&self) -> &[u64] {
        &self.opened.codes
    }

    /// The commitment to totals, summed key and residuals.
    #[must_use]
    pub fn commitment(&self) -> Digest {
        self.commitment
    }
}
