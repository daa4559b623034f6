//! The coordinator's machine after the opening: collects the contributors' hashes of one step.
//!
//! It runs beside the steps that follow and holds none of them up. A contributor that is gone
//! leaves the step unverified; it is said so, and nothing else follows from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use collegium_crypto::identity::SigningIdentity;

use super::evidence::{Statements, StepEvidence};
use super::opening::OpenedSum;
use super::plan::StepPlan;
use crate::codec::Blob;
use crate::ids::MemberIndex;
use crate::message::step::{Certificate, Propose, StepRef};
use crate::message::verify::{BodyHash, LinearHashes, OpenedStep};

/// What the contributors' hashes say of an opened sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HashCheck {
    /// Body and key are the sums of what was sent.
    Proved,
    /// A contributor hashed another body than it sent; nobody can say which. The summed body is
    /// right all the same, for whoever received the bodies.
    OtherBody,
    /// The released key is not the sum of the keys that the contributors hashed: a seat released
    /// something false, or a contributor hashed another key; nobody can say who. Where the noise
    /// check says little ([`super::StepPlan::is_short`]), the totals may be anything.
    OtherKey,
}

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

    /// See [`StepPlan::is_short`].
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.plan.is_short()
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

    /// What the hashes say, once all are in.
    #[must_use]
    pub fn check(&self) -> Option<HashCheck> {
        let mut whole = LinearHashes::default();
        for hash in self.hashes.values() {
            whole.add(&hash.hashes);
        }
        let opened = &self.opened.hashes;
        self.missing()
            .is_empty()
            .then_some(if whole.key != opened.key {
                HashCheck::OtherKey
            } else if whole.body != opened.body {
                HashCheck::OtherBody
            } else {
                HashCheck::Proved
            })
    }

    /// What is stated about the totals so far, for [`Statements::write`] beside
    /// [`Verification::phases`].
    #[must_use]
    pub fn statements(&self) -> Statements {
        Statements {
            context: self.plan.context().clone(),
            shape: self.plan.shape().clone(),
            propose: self.propose.clone(),
            certificate: self.certificate.clone(),
            opened: self.statement,
            key: Blob(self.opened.key.to_bytes()),
            hashes: self.hashes.values().copied().collect(),
        }
    }

    /// What the sum opened to.
    #[must_use]
    pub fn phases(&self) -> &[u64] {
        &self.opened.phases
    }

    /// The evidence as far as it goes: complete when no hash is missing.
    #[must_use]
    pub fn evidence(&self) -> StepEvidence {
        StepEvidence {
            statements: self.statements(),
            phases: self.phases().to_vec(),
        }
    }
}
