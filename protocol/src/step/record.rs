//! What must survive a crash: plain structs, opaque to the store.
//!
//! A node keeps four kinds under [`NodeRecord::key`]: the last step it began to answer in each
//! run, the last step it served in as committee member (with its vote), every release, and every
//! run whose totals it disputes. The
//! coordinator keeps one [`RunRecord`] per run: the step in progress.

use collegium_crypto::encode::Shape;
use collegium_crypto::transcript::Digest;
use serde::{Deserialize, Serialize};

use crate::codec::{self, Blob, CodecError};
use crate::ids::{MemberIndex, RunId, StepNumber};
use crate::limits::{MAX_NODE_RECORD_BYTES, MAX_RUN_RECORD_BYTES};
use crate::message::step::{Announce, Certificate, Propose, StepRef, Vote};

/// Stands for the rows of a run whose rows this node has not seen (yet): it refuses the run, or the
/// step was announced before the run was offered. It is no version of the data of its own: what was
/// opened on any rows counts against it, and what was opened under it counts against any.
pub const UNSEEN_DATA: Digest = Digest([0; 32]);

/// One durable record of a node.
#[expect(
    clippy::large_enum_variant,
    reason = "a few are made in each step and each goes straight to the store"
)]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum NodeRecord {
    /// The last step this node began to answer in a run.
    Step(StepRecord),
    /// The last step this node served in, in a run.
    Committee(CommitteeRecord),
    /// A release that was let out.
    Release(ReleaseRecord),
    /// The coordinator was found to lie about a step's totals.
    Dispute(DisputeRecord),
}

/// A step whose totals this node disputes: it takes no further part in the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeRecord {
    /// The step.
    pub step: StepRef,
}

/// A step this node began to answer: its number is used up, whatever happens next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// The step.
    pub step: StepRef,
}

/// The last step this node served in. Announcing a later step replaces it, which erases the vote
/// and the share sum, and keeps the number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CommitteeRecord {
    /// The step.
    pub step: StepRef,
    /// H(ask).
    pub ask: Digest,
    /// Digest of this site's data when the step was announced, or [`UNSEEN_DATA`].
    pub data: Digest,
    /// The vote, once given.
    pub given: Option<GivenVote>,
    /// The run was closed: nothing more is given in this step.
    pub closed: bool,
}

/// A vote with everything needed to repeat it, and the release after it, byte for byte.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GivenVote {
    /// The vote as sent.
    pub vote: Vote,
    /// The members of the set voted for.
    pub cohort: Vec<MemberIndex>,
    /// The sum of this member's shares over that set. On its own it says nothing: fewer than t of
    /// them are independent of every key.
    pub share_sum: Blob,
}

/// A release that was let out. Kept for good: it is what stops a second opening of the same ask
/// with another set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReleaseRecord {
    /// The run, for counting cohort changes.
    pub run: RunId,
    /// H(ask).
    pub ask: Digest,
    /// Digest of this site's data, or [`UNSEEN_DATA`].
    pub data: Digest,
    /// [`crate::message::step::cohort_under`] the run's charter of the set.
    pub cohort: Digest,
}

impl NodeRecord {
    /// Where the record stands in the store: a record replaces the one under the same key.
    #[must_use]
    pub fn key(&self) -> String {
        match self {
            Self::Step(record) => format!("step/{}", record.step.run),
            Self::Committee(record) => format!("committee/{}", record.step.run),
            Self::Release(record) => {
                format!("release/{}/{}/{}", record.run, record.ask, record.data)
            }
            Self::Dispute(record) => format!("dispute/{}", record.step.run),
        }
    }

    /// The run it belongs to.
    #[must_use]
    pub fn run(&self) -> RunId {
        match self {
            Self::Step(record) => record.step.run,
            Self::Committee(record) => record.step.run,
            Self::Release(record) => record.run,
            Self::Dispute(record) => record.step.run,
        }
    }

    /// The bytes to store.
    ///
    /// # Errors
    /// [`CodecError`]; none for a record of this crate.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self)
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`CodecError`] when they were damaged; do not start the node without the record then.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, MAX_NODE_RECORD_BYTES)
    }
}

/// The coordinator's record of a run's step in progress.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRecord {
    /// The announcement as sent.
    pub announce: Announce,
    /// The answer's shape.
    pub shape: Shape,
    /// U, once proposed. The summed body and the trailers of U are on disk when this is.
    pub propose: Option<Propose>,
    /// The certificate. From here on the step is always driven to its end.
    pub certificate: Option<Certificate>,
}

impl RunRecord {
    /// The run.
    #[must_use]
    pub fn run(&self) -> RunId {
        self.announce.context.run
    }

    /// The number in use; the next step's must be above it, for ever.
    #[must_use]
    pub fn step(&self) -> StepNumber {
        self.announce.context.step
    }

    /// Whether the step must be driven to its end.
    #[must_use]
    pub fn is_certified(&self) -> bool {
        self.certificate.is_some()
    }

    /// The bytes to store.
    ///
    /// # Errors
    /// [`CodecError`]; none for a record of this crate.
    pub fn to_bytes(&self) -> Result<Vec<u8>, CodecError> {
        codec::encode(self)
    }

    /// Reads stored bytes.
    ///
    /// # Errors
    /// [`CodecError`] when they were damaged.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        codec::decode(bytes, MAX_RUN_RECORD_BYTES)
    }
}
