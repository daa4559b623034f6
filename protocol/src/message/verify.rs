//! After the opening: what lets every contributor check that the announced totals are the sum of
//! what was sent (secure-sum.md, "Cheap verifiability").
//!
//! The order is what makes it binding. The coordinator commits to the totals; the challenge r is
//! the hash of that commitment; only then does anyone learn r, and a contributor hashes the body it
//! sent under it. Were r known before the totals are committed, a coordinator could choose totals
//! that hash right.

use collegium_crypto::identity::{Signature, SigningIdentity};
use collegium_crypto::linear::{Challenge, LinearHash};
use collegium_crypto::transcript::{Digest, hash};
use serde::{Deserialize, Serialize};

use super::step::StepRef;
use crate::charter::VerifiedCharter;
use crate::domain;
use crate::ids::MemberIndex;
use crate::refusal::{Refusal, RefusalCode};

/// 8. A step was opened: what the coordinator commits to. A second one of the same step with
///    another commitment is proof, by its own signatures, that the coordinator lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenedStep {
    /// The step.
    pub step: StepRef,
    /// H(U).
    pub proposal: Digest,
    /// [`commitment`] to phases and summed key.
    pub commitment: Digest,
    /// By the coordinator's key.
    pub signature: Signature,
}

/// d = H(context ‖ H(U) ‖ H(phases ‖ key)). The key is uniform, so d hides the totals.
#[must_use]
pub fn commitment(context: &Digest, proposal: &Digest, opened: &Digest) -> Digest {
    let parts = [context.as_bytes(), proposal.as_bytes(), opened.as_bytes()];
    hash(domain::TOTALS_COMMITMENT, &parts.map(|part| &part[..]))
}

impl OpenedStep {
    fn signed_digest(step: &StepRef, proposal: &Digest, commitment: &Digest) -> Digest {
        let parts = [
            step.context.as_bytes(),
            proposal.as_bytes(),
            commitment.as_bytes(),
        ];
        hash(domain::OPENED_STEP, &parts.map(|part| &part[..]))
    }

    /// Makes and signs it.
    #[must_use]
    pub fn sign(
        step: StepRef,
        proposal: Digest,
        commitment: Digest,
        coordinator: &SigningIdentity,
    ) -> Self {
        let digest = Self::signed_digest(&step, &proposal, &commitment);
        Self {
            step,
            proposal,
            commitment,
            signature: coordinator.sign(domain::OPENED_STEP, &digest),
        }
    }

    /// Whether the charter's coordinator signed this.
    ///
    /// # Errors
    /// `BadSignature`.
    pub fn verify(&self, charter: &VerifiedCharter) -> Result<(), Refusal> {
        let digest = Self::signed_digest(&self.step, &self.proposal, &self.commitment);
        let coordinator = &charter.charter().coordinator;
        coordinator
            .verify(domain::OPENED_STEP, &digest, &self.signature)
            .map_err(|_| Refusal::new(RefusalCode::BadSignature, "the opening's commitment"))
    }

    /// r, which nobody knew before the commitment was made.
    #[must_use]
    pub fn challenge(&self) -> Challenge {
        Challenge::derive(&self.commitment)
    }
}

/// What a contributor vouches for, each hashed under the challenge of the commitment: h = Σ r^j · x\[j\],
/// j from 0. Both add up over the contributors as bodies and keys do.
///
/// The body alone would not do: of a body of at most 4096 coefficients any totals are true under
/// *some* summed key, so the summed key must be bound as well.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinearHashes {
    /// Of the body it sent.
    pub body: LinearHash,
    /// Of the key it encrypted under.
    pub key: LinearHash,
}

impl LinearHashes {
    /// Adds another contributor's.
    pub fn add(&mut self, other: &Self) {
        self.body.add(&other.body);
        self.key.add(&other.key);
    }
}

/// 9. A contributor's linear hashes of the body it sent and of its key, under the challenge of the
///    commitment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BodyHash {
    /// The step.
    pub step: StepRef,
    /// The contributor.
    pub member: MemberIndex,
    /// The commitment it answers.
    pub commitment: Digest,
    /// What it vouches for.
    pub hashes: LinearHashes,
    /// By the contributor.
    pub signature: Signature,
}

impl BodyHash {
    fn signed_digest(step: &StepRef, commitment: &Digest, hashes: &LinearHashes) -> Digest {
        hash(
            domain::BODY_HASH,
            &[
                step.context.as_bytes(),
                commitment.as_bytes(),
                &hashes.body.to_bytes(),
                &hashes.key.to_bytes(),
            ],
        )
    }

    /// Makes and signs it.
    #[must_use]
    pub fn sign(
        step: StepRef,
        member: MemberIndex,
        commitment: Digest,
        hashes: LinearHashes,
        identity: &SigningIdentity,
    ) -> Self {
        let digest = Self::signed_digest(&step, &commitment, &hashes);
        Self {
            step,
            member,
            commitment,
            hashes,
            signature: identity.sign(domain::BODY_HASH, &digest),
        }
    }

    /// Whether the member signed this.
    ///
    /// # Errors
    /// `UnknownMember` or `BadSignature`.
    pub fn verify(&self, charter: &VerifiedCharter) -> Result<(), Refusal> {
        let digest = Self::signed_digest(&self.step, &self.commitment, &self.hashes);
        charter.check_signature(
            self.member,
            domain::BODY_HASH,
            &digest,
            &self.signature,
            "a body's hash",
        )
    }
}

/// 10. The step's [`crate::step::StepEvidence`] can be fetched as an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct EvidenceReady {
    /// The step.
    pub step: StepRef,
    /// The object's id: the name of the evidence, a hash of its statements.
    pub object: Digest,
}
