//! The evidence of one step: everything that proves its totals, for whoever trusts only the
//! charter.
//!
//! It says what was asked, who contributed what (signed), who voted for that set (signed), what the
//! sum opened to, and every contributor's signed hashes of its body and its key.
//! [`StepEvidence::verify`] rebuilds the summed body from totals, summed key and residuals and holds
//! body and key against the hashes. If body or key were not the sum, its hashes would agree by chance
//! with probability below 2^-100 (a polynomial of degree below 2^24 over a field of 2^128 elements);
//! and if both are, body less mask times key is Δ times the totals plus the noise, which can be taken
//! apart in one way only while the noise is in bound.

use std::sync::Arc;

use collegium_crypto::encode::Shape;
use collegium_crypto::glwe::{self, SummedKey};
use collegium_crypto::linear::LinearHash;
use collegium_crypto::transcript::Digest;
use serde::{Deserialize, Serialize};

use super::committee::check_proposal;
use super::plan::StepPlan;
use crate::charter::VerifiedCharter;
use crate::codec::{self, Blob, CodecError};
use crate::context::StepContext;
use crate::ids::MemberIndex;
use crate::limits::MAX_OBJECT_BYTES;
use crate::message::step::{Certificate, Propose, StepRef, strictly_sorted};
use crate::message::verify::{BodyHash, LinearHashes, OpenedStep, commitment};
use crate::refusal::Refusal;

/// Bytes of one coefficient's message, and of its residual.
const MESSAGE_BYTES: usize = 8;
const RESIDUAL_BYTES: usize = 2;

/// Proof of one step's totals.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepEvidence {
    /// What the step was about.
    pub context: StepContext,
    /// The answers' shape.
    pub shape: Shape,
    /// U, with what each contributor signed.
    pub propose: Propose,
    /// The votes for it.
    pub certificate: Certificate,
    /// The coordinator's signed commitment.
    pub opened: OpenedStep,
    /// The summed key, as released.
    pub key: Blob,
    /// The totals: 8 bytes for each coefficient, little-endian.
    pub messages: Blob,
    /// The summed noise: 2 bytes for each coefficient, little-endian.
    pub residuals: Blob,
    /// The contributors' hashes, strictly sorted by member.
    pub hashes: Vec<BodyHash>,
}

/// What an opened step shows, beside who took part.
pub(super) struct Contents<'a> {
    pub(super) key: &'a SummedKey,
    pub(super) messages: &'a [u64],
    pub(super) residuals: &'a [i16],
}

/// Totals that were proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvedTotals {
    /// Summed codes in the shape's order.
    pub sums: Vec<u64>,
    /// U.
    pub contributors: Vec<MemberIndex>,
}

/// Why evidence proves nothing. All but [`EvidenceError::Missing`] mean that the coordinator, or
/// whoever holds the file, shows something false.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Contributors were gone before they hashed their bodies: the step stays unverified.
    #[error("unverified: no hash of {0:?}, who left before the check")]
    Missing(Vec<MemberIndex>),
    /// It is of another charter, or does not fit together.
    #[error("the evidence does not fit together: {0}")]
    Form(String),
    /// A signature, the set or its certificate breaks a rule.
    #[error("the evidence breaks a rule: {0}")]
    Rule(Refusal),
    /// Totals, key and residuals are not those committed to.
    #[error("the totals are not those that the coordinator committed to")]
    OtherTotals,
    /// The contributors' bodies do not add up to the totals.
    #[error("the totals are not the sum of what the contributors sent")]
    NotTheSum,
}

impl From<Refusal> for EvidenceError {
    fn from(refusal: Refusal) -> Self {
        Self::Rule(refusal)
    }
}

impl StepEvidence {
    pub(super) fn new(
        plan: &StepPlan,
        propose: Propose,
        certificate: Certificate,
        opened: OpenedStep,
        contents: &Contents<'_>,
        hashes: Vec<BodyHash>,
    ) -> Self {
        let messages = contents.messages.iter().flat_map(|it| it.to_le_bytes());
        let residuals = contents.residuals.iter().flat_map(|it| it.to_le_bytes());
        Self {
            context: plan.context().clone(),
            shape: plan.shape().clone(),
            propose,
            certificate,
            opened,
            key: Blob(contents.key.to_bytes()),
            messages: Blob(messages.collect()),
            residuals: Blob(residuals.collect()),
            hashes,
        }
    }

    /// The bytes to keep and to hand out.
    ///
    /// # Errors
    /// [`CodecError`]; none for evidence of this crate.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self)
    }

    /// Reads evidence of at most [`MAX_OBJECT_BYTES`].
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, MAX_OBJECT_BYTES)
    }

    /// Proves the totals, trusting only the charter.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn verify(&self, charter: &Arc<VerifiedCharter>) -> Result<ProvedTotals, EvidenceError> {
        let plan = self.plan(charter)?;
        let contributors = self.propose.members();
        if self.commitment()? != self.opened.commitment {
            return Err(EvidenceError::OtherTotals);
        }
        let (messages, residuals) = (self.messages()?, self.residuals()?);
        let key = self.key()?;
        let packing = plan.packing();
        let rebuilt = glwe::rebuild(
            &plan.mask_seed(),
            packing,
            contributors.len(),
            &key,
            &messages,
            &residuals,
        )
        .map_err(|_| EvidenceError::NotTheSum)?;
        let challenge = self.opened.challenge();
        let whole = LinearHashes {
            body: LinearHash::of_sum(challenge, &rebuilt.sum),
            key: key.linear_hash(challenge),
        };
        if self.summed_hashes(charter, &contributors)? != whole {
            return Err(EvidenceError::NotTheSum);
        }
        Ok(ProvedTotals {
            sums: rebuilt.codes,
            contributors,
        })
    }

    /// The commitment that totals, key and residuals as shown deserve.
    ///
    /// # Errors
    /// [`EvidenceError::Form`].
    pub fn commitment(&self) -> Result<Digest, EvidenceError> {
        let opened = glwe::Opened {
            codes: Vec::new(),
            messages: self.messages()?,
            residuals: self.residuals()?,
        };
        let (context, proposal) = (self.opened.step.context, self.opened.proposal);
        Ok(commitment(
            &context,
            &proposal,
            &opened.digest(&self.key()?),
        ))
    }

    fn key(&self) -> Result<SummedKey, EvidenceError> {
        SummedKey::from_bytes(self.key.as_slice())
            .map_err(|error| EvidenceError::Form(error.to_string()))
    }

    /// Everything that needs no arithmetic: the context, the set, its certificate, the commitment's
    /// signature.
    fn plan(&self, charter: &Arc<VerifiedCharter>) -> Result<StepPlan, EvidenceError> {
        let form = |why: &str| EvidenceError::Form(why.to_owned());
        if self.context.charter != charter.digest() || self.context.params != charter.params().id()
        {
            return Err(form("it is of another charter"));
        }
        let context = self.context.clone();
        let plan = StepPlan::of_context(Arc::clone(charter), context, self.shape.clone())?;
        let step = plan.reference();
        if self.propose.step != step || self.opened.step != step {
            return Err(form("its parts are of different steps"));
        }
        check_proposal(charter, &self.propose, |_| false)?;
        let proposal = self.propose.digest();
        self.certificate.verify(&step.context, &proposal, charter)?;
        if self.opened.proposal != proposal {
            return Err(form("another set was opened than the certified one"));
        }
        self.opened.verify(charter)?;
        Ok(plan)
    }

    /// Σ h over U, each signed by its member.
    fn summed_hashes(
        &self,
        charter: &VerifiedCharter,
        contributors: &[MemberIndex],
    ) -> Result<LinearHashes, EvidenceError> {
        let form = |why: &str| EvidenceError::Form(why.to_owned());
        if !strictly_sorted(self.hashes.iter().map(|hash| hash.member)) {
            return Err(form("its hashes are not strictly sorted by member"));
        }
        let mut sum = LinearHashes::default();
        let mut missing: Vec<_> = contributors.to_vec();
        for hash in &self.hashes {
            if hash.step != self.opened.step || hash.commitment != self.opened.commitment {
                return Err(form("a hash answers another commitment"));
            }
            if !contributors.contains(&hash.member) {
                return Err(form("a hash is of a member outside the set"));
            }
            hash.verify(charter)?;
            missing.retain(|member| *member != hash.member);
            sum.add(&hash.hashes);
        }
        if missing.is_empty() {
            Ok(sum)
        } else {
            Err(EvidenceError::Missing(missing))
        }
    }

    fn messages(&self) -> Result<Vec<u64>, EvidenceError> {
        let (words, rest) = self.messages.as_slice().as_chunks::<MESSAGE_BYTES>();
        if !rest.is_empty() {
            return Err(EvidenceError::Form("totals of a broken length".to_owned()));
        }
        Ok(words.iter().map(|word| u64::from_le_bytes(*word)).collect())
    }

    fn residuals(&self) -> Result<Vec<i16>, EvidenceError> {
        let (words, rest) = self.residuals.as_slice().as_chunks::<RESIDUAL_BYTES>();
        if !rest.is_empty() {
            return Err(EvidenceError::Form(
                "residuals of a broken length".to_owned(),
            ));
        }
        Ok(words.iter().map(|word| i16::from_le_bytes(*word)).collect())
    }

    /// The step.
    #[must_use]
    pub fn step(&self) -> StepRef {
        self.opened.step
    }
}
