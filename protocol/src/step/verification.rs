//! The coordinator's machine after the opening: collects the contributors' hashes of one step.
//!
//! It runs beside the steps that follow and holds none of them up. A contributor that is gone
//! leaves the step unverified; it is said so, and nothing else follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use collegium_crypto::identity::SigningIdentity;

use super::evidence::{Contents, StepEvidence};
use super::opening::OpenedSum;
use super::plan::StepPlan;
use crate::ids::MemberIndex;
use crate::message::step::{Certificate, Propose, StepRef};
use crate::message::verify::{BodyHash, LinearHashes, OpenedStep};

/// An opened step whose contributors are asked for their hashes.
pub struct Verification {
    plan: Arc<StepPlan>,
    propose: Propose,
    certificate: Certificate,
    opened: OpenedSum,
    statement: OpenedStep,
    hashes: BTreeMap<MemberIndex, BodyHash>,
}

impl Verification {
    /// Commits to what was opened, and signs the commitment.
    #[must_use]
    pub fn begin(
        plan: Arc<StepPlan>,
        propose: Propose,
        certificate: Certificate,
        opened: OpenedSum,
        coordinator: &SigningIdentity,
    ) -> Self {
        let (step, proposal) = (plan.reference(), certificate.proposal);
        Self {
            statement: OpenedStep::sign(step, proposal, opened.commitment, coordinator),
            plan,
            propose,
            certificate,
            opened,
            hashes: BTreeMap::new(),
        }
    }

    /// The step.
    #[must_use]
    pub fn step(&self) -> StepRef {
        self.statement.step
    }

    /// What every contributor is told.
    #[must_use]
    pub fn statement(&self) -> OpenedStep {
        self.statement
    }

    /// Whose hashes are wanted: U.
    #[must_use]
    pub fn contributors(&self) -> Vec<MemberIndex> {
        self.propose.members()
    }

    /// Whose hash is not in yet.
    #[must_use]
    pub fn missing(&self) -> Vec<MemberIndex> {
        let mut members = self.contributors();
        members.retain(|member| !self.hashes.contains_key(member));
        members
    }

    /// Takes a hash in; `from` is the member of the certificate on the connection.
    ///
    /// # Errors
    /// Why it was passed over, for the log: it is of another step or commitment, not of a
    /// contributor, does not verify, or differs from the member's first.
    pub fn hashed(&mut self, from: MemberIndex, hash: BodyHash) -> Result<(), String> {
        let ours = hash.step == self.step() && hash.commitment == self.statement.commitment;
        if !ours || hash.member != from || !self.contributors().contains(&from) {
            return Err("a hash for something else".to_owned());
        }
        hash.verify(self.plan.charter())
            .map_err(|refusal| refusal.to_string())?;
        match self.hashes.get(&from) {
            Some(before) if before.hashes != hash.hashes => {
                Err("a second, different hash of the same body".to_owned())
            }
            _ => {
                self.hashes.insert(from, hash);
                Ok(())
            }
        }
    }

    /// Whether the hashes add up to that of the summed body; `None` while one is missing. When they
    /// do not, a contributor hashed something else than it sent: nobody can say who.
    #[must_use]
    pub fn adds_up(&self) -> Option<bool> {
        let mut whole = LinearHashes::default();
        for hash in self.hashes.values() {
            whole.add(&hash.hashes);
        }
        self.missing()
            .is_empty()
            .then_some(whole == self.opened.hashes)
    }

    /// The evidence, complete or not: [`StepEvidence::verify`] tells.
    #[must_use]
    pub fn evidence(&self) -> StepEvidence {
        let contents = Contents {
            key: &self.opened.key,
            messages: &self.opened.opened.messages,
            residuals: &self.opened.opened.residuals,
        };
        StepEvidence::new(
            &self.plan,
            self.propose.clone(),
            self.certificate.clone(),
            self.statement,
            &contents,
            self.hashes.values().copied().collect(),
        )
    }
}
