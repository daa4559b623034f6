//! The evidence of one step: everything that proves its totals, for whoever trusts only the
//! charter.
//!
//! It says what was asked, who contributed what (signed), who voted for that set (signed), what the
//! sum opened to, and every contributor's signed hashes of its body and its key.
//! [`Statements::read_proved`] rebuilds the summed body from phases and summed key as they are read
//! and holds body and key against the hashes. Evidence is named by a hash of its statements, which hold
//! the coordinator's commitment to the phases and the key: naming does not read the phases again. If body or key were not the sum, its hashes would agree by chance
//! with probability below 2^-100 (a polynomial of degree below 2^24 over a field of 2^128 elements);
//! and if both are, body less mask times key is Δ times the totals plus the noise, which can be taken
//! apart in one way only while the noise is in bound.

use std::io::{self, BufRead, Read, Write};
use std::sync::Arc;

use collegium_crypto::body::to_wire;
use collegium_crypto::encode::Shape;
use collegium_crypto::glwe::{self, PHASE_BYTES, RebuiltHasher, SummedKey};
use collegium_crypto::transcript::{Digest, hash};
use serde::{Deserialize, Serialize};

use super::committee::check_proposal;
use super::plan::StepPlan;
use crate::charter::VerifiedCharter;
use crate::codec::{self, Blob, CodecError};
use crate::context::StepContext;
use crate::domain;
use crate::ids::MemberIndex;
use crate::limits::{MAX_EVIDENCE_BYTES, MAX_STATEMENTS_BYTES};
use crate::message::step::{Certificate, Propose, StepRef, strictly_sorted};
use crate::message::verify::{BodyHash, LinearHashes, OpenedStep, commitment};
use crate::refusal::Refusal;

/// Bytes of the length that leads the evidence.
const LENGTH_BYTES: usize = 4;

/// Phases written at a time: 64 KiB.
const PIECE: usize = 8192;

/// Proof of one step's totals. As bytes: the length of the statements (4 bytes, little-endian), the
/// statements, and the phases of all coefficients (8 bytes each, little-endian, below q).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepEvidence {
    /// Who said what.
    pub statements: Statements,
    /// What the sum opened to: codes and noise of every coefficient in one number.
    pub phases: Vec<u64>,
}

/// Everything of a step's evidence that does not grow with its numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Statements {
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
    /// The contributors' hashes, strictly sorted by member.
    pub hashes: Vec<BodyHash>,
}

/// Totals that were proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvedTotals {
    /// Summed codes in the shape's order.
    pub sums: Vec<u64>,
    /// U.
    pub contributors: Vec<MemberIndex>,
}

/// Why evidence proves nothing. All but [`EvidenceError::Missing`] and [`EvidenceError::OtherName`] mean that the coordinator, or
/// whoever holds the file, shows something false.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EvidenceError {
    /// Contributors were gone before they hashed their bodies: the step stays unverified.
    #[error("unverified: no hash of {0:?}, who left before the check")]
    Missing(Vec<MemberIndex>),
    /// It is other evidence than the one of this name: nothing is said about the totals.
    #[error("the evidence has another name")]
    OtherName,
    /// It is of another charter, or does not fit together.
    #[error("the evidence does not fit together: {0}")]
    Form(String),
    /// A signature, the set or its certificate breaks a rule.
    #[error("the evidence breaks a rule: {0}")]
    Rule(Refusal),
    /// Phases and key are not those committed to.
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

impl Statements {
    /// Writes evidence with these statements; gives its name.
    ///
    /// # Errors
    /// What `out` said.
    pub fn write(&self, phases: &[u64], out: &mut impl Write) -> io::Result<Digest> {
        let statements = codec::encode(self).map_err(io::Error::other)?;
        let length = u32::try_from(statements.len()).map_err(io::Error::other)?;
        out.write_all(&length.to_le_bytes())?;
        out.write_all(&statements)?;
        for phases in phases.chunks(PIECE) {
            out.write_all(&to_wire(phases))?;
        }
        Ok(name_of(&statements))
    }

    /// Reads the evidence of this name and proves its totals, trusting only the charter. One polynomial
    /// of it is in memory at a time, beside these statements.
    ///
    /// # Errors
    /// What `input` said; the inner error is [`EvidenceError`].
    pub fn read_proved(
        charter: &Arc<VerifiedCharter>,
        name: &Digest,
        input: &mut impl BufRead,
    ) -> io::Result<Result<Self, EvidenceError>> {
        let form = |why: &dyn std::fmt::Display| Ok(Err(EvidenceError::Form(why.to_string())));
        let mut length = [0; LENGTH_BYTES];
        if let Err(error) = input.read_exact(&mut length) {
            return match error.kind() {
                io::ErrorKind::UnexpectedEof => form(&CodecError::Truncated),
                _ => Err(error),
            };
        }
        let length = u32::from_le_bytes(length);
        if length as usize > MAX_STATEMENTS_BYTES {
            return form(&"its statements are too long");
        }
        let mut bytes = Vec::new();
        input.take(length.into()).read_to_end(&mut bytes)?;
        if name_of(&bytes) != *name {
            return Ok(Err(EvidenceError::OtherName));
        }
        let statements: Self = match codec::decode(&bytes, MAX_STATEMENTS_BYTES) {
            Ok(statements) => statements,
            Err(error) => return form(&error),
        };
        let proved = statements.prove(charter, |hasher| {
            loop {
                let bytes = input.fill_buf()?;
                let read = bytes.len();
                if read == 0 {
                    return Ok(());
                }
                hasher.update(bytes);
                input.consume(read);
            }
        })?;
        Ok(proved.map(|()| statements))
    }

    /// Proves the totals whose phases `feed` brings, trusting only the charter.
    fn prove(
        &self,
        charter: &Arc<VerifiedCharter>,
        feed: impl FnOnce(&mut RebuiltHasher<'_>) -> io::Result<()>,
    ) -> io::Result<Result<(), EvidenceError>> {
        let (plan, key) = match (self.plan(charter), self.key()) {
            (Ok(plan), Ok(key)) => (plan, key),
            (Err(error), _) | (_, Err(error)) => return Ok(Err(error)),
        };
        let contributors = self.propose.members();
        let challenge = self.opened.challenge();
        let key_hash = key.linear_hash(challenge);
        let (seed, packing) = (plan.mask_seed(), plan.packing());
        let hasher = RebuiltHasher::new(challenge, &seed, packing, contributors.len(), key);
        let Ok(mut hasher) = hasher else {
            return Ok(Err(EvidenceError::NotTheSum));
        };
        feed(&mut hasher)?;
        let Ok((body, digest)) = hasher.finish() else {
            return Ok(Err(EvidenceError::NotTheSum));
        };
        if self.commitment_to(&digest) != self.opened.commitment {
            return Ok(Err(EvidenceError::OtherTotals));
        }
        let claimed = LinearHashes {
            body,
            key: key_hash,
        };
        Ok(self
            .summed_hashes(charter, &contributors)
            .and_then(|summed| {
                if summed == claimed {
                    Ok(())
                } else {
                    Err(EvidenceError::NotTheSum)
                }
            }))
    }

    fn commitment_to(&self, opened: &Digest) -> Digest {
        commitment(&self.opened.step.context, &self.opened.proposal, opened)
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
}

/// The name of evidence with these statements.
fn name_of(statements: &[u8]) -> Digest {
    hash(domain::EVIDENCE, &[statements])
}

impl StepEvidence {
    /// The name that it is kept and asked for by.
    ///
    /// # Errors
    /// [`CodecError`]; none for evidence of this crate.
    pub fn name(&self) -> Result<Digest, CodecError> {
        Ok(name_of(&codec::encode(&self.statements)?))
    }

    /// The bytes to keep and to hand out.
    ///
    /// # Errors
    /// [`CodecError`]; none for evidence of this crate.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        let mut bytes = Vec::new();
        self.statements
            .write(&self.phases, &mut bytes)
            .map_err(|error| CodecError::Unencodable(error.to_string()))?;
        Ok(bytes)
    }

    /// Reads evidence of at most [`MAX_EVIDENCE_BYTES`] without proving anything.
    ///
    /// # Errors
    /// [`CodecError`].
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        if bytes.len() > MAX_EVIDENCE_BYTES {
            return Err(CodecError::Oversize {
                length: bytes.len(),
                cap: MAX_EVIDENCE_BYTES,
            });
        }
        let (length, rest) = bytes
            .split_first_chunk::<LENGTH_BYTES>()
            .ok_or(CodecError::Truncated)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (statements, phases) = rest
            .split_at_checked(length)
            .ok_or(CodecError::InnerLength)?;
        let (words, left) = phases.as_chunks::<PHASE_BYTES>();
        if !left.is_empty() {
            return Err(CodecError::Leftover(left.len()));
        }
        Ok(Self {
            statements: codec::decode(statements, MAX_STATEMENTS_BYTES)?,
            phases: words.iter().map(|word| u64::from_le_bytes(*word)).collect(),
        })
    }

    /// Proves the totals, trusting only the charter.
    ///
    /// # Errors
    /// [`EvidenceError`].
    pub fn totals(&self, charter: &Arc<VerifiedCharter>) -> Result<ProvedTotals, EvidenceError> {
        let form = |error: &dyn std::fmt::Display| EvidenceError::Form(error.to_string());
        let bytes = self.to_bytes().map_err(|error| form(&error))?;
        let name = self.name().map_err(|error| form(&error))?;
        let statements = Statements::read_proved(charter, &name, &mut bytes.as_slice())
            .map_err(|error| form(&error))??;
        let plan = statements.plan(charter)?;
        let contributors = statements.propose.members();
        let sums = glwe::codes(plan.packing(), contributors.len(), &self.phases)
            .map_err(|_| EvidenceError::NotTheSum)?;
        Ok(ProvedTotals { sums, contributors })
    }

    /// The commitment that key and phases of this evidence belong to.
    ///
    /// # Errors
    /// [`EvidenceError::Form`] when the key is none.
    pub fn commitment(&self) -> Result<Digest, EvidenceError> {
        let digest = glwe::digest(&self.phases, &self.statements.key()?);
        Ok(self.statements.commitment_to(&digest))
    }

    /// The step.
    #[must_use]
    pub fn step(&self) -> StepRef {
        self.statements.opened.step
    }
}
