//! The session between a node and the coordinator: the control stream, and objects by request.

use collegium_crypto::transcript::Digest;
use serde::{Deserialize, Serialize};

use crate::charter::SignedCharter;
use crate::codec::Blob;
use crate::ids::{MemberName, ProcessId, RunId, StepNumber};
use crate::message::ledger::{CheckpointOffer, CosignReply};
use crate::message::step::{Announce, Certificate, Deliver, Propose, Release, Verdict, Vote};
use crate::message::verify::{BodyHash, EvidenceReady, OpenedStep};
use crate::refusal::Refusal;

/// The version of the session's messages. A peer with another version is refused by
/// [`crate::refusal::RefusalCode::Version`].
pub const VERSION: u16 = 5;

/// From a node, on the control stream. Cap: [`crate::limits::MAX_TO_COORDINATOR_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToCoordinator {
    /// First message of the session. Its form is that of every version, so that one that is not
    /// understood is refused by its number.
    Hello {
        /// [`VERSION`] of the node.
        version: u16,
        /// The member's name; must be the certificate's.
        name: MemberName,
        /// Digest of the pinned charter, if one is pinned.
        charter: Option<Digest>,
    },
    /// The site takes part in the run.
    RunAccepted {
        /// The run.
        run: RunId,
        /// Digest of the site's data as it is now; says nothing about the data.
        data: Digest,
    },
    /// The site does not take part. It still votes and releases.
    RunRefused {
        /// The run.
        run: RunId,
        /// Why.
        refusal: Refusal,
    },
    /// The site does not answer, or does not vote or release, in this step.
    StepRefused {
        /// The run.
        run: RunId,
        /// The step.
        step: StepNumber,
        /// Why.
        refusal: Refusal,
    },
    /// What the member found in a delivered share.
    Verdict(Verdict),
    /// The member's vote for a contributing set.
    Vote(Vote),
    /// The member's sum of shares over the certified set.
    Release(Release),
    /// The linear hash of the body this member sent in an opened step.
    BodyHash(BodyHash),
    /// The site has written its local report on the finished run.
    RunReportReady {
        /// The run.
        run: RunId,
    },
    /// What the member says to an offered checkpoint of the coordinator's ledger.
    Cosign(CosignReply),
    /// Second message of the session: which process speaks. The same one may dial again before its old
    /// path is known to be dead; another one is refused while this one answers.
    Process(ProcessId),
}

/// To a node, on the control stream. Cap: [`crate::limits::MAX_TO_NODE_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToNode {
    /// Answer to `Hello`.
    Welcome {
        /// [`VERSION`] of the coordinator.
        version: u16,
    },
    /// The charter in force; the node verifies it against the one it has pinned.
    Charter(SignedCharter),
    /// A run begins, or goes on after a reconnect.
    RunOffer {
        /// The run.
        run: RunId,
        /// The task file's text, at most [`crate::limits::MAX_TASK_BYTES`].
        task: Blob,
        /// [`crate::context::task_digest`] of it.
        task_digest: Digest,
    },
    /// A run is over.
    RunClosed {
        /// The run.
        run: RunId,
        /// How it ended.
        outcome: RunOutcome,
        /// The champion's object id, if there is one.
        champion: Option<Digest>,
    },
    /// A step begins.
    Announce(Announce),
    /// A share sealed to this member.
    Deliver(Deliver),
    /// The proposed contributing set.
    Propose(Propose),
    /// The votes that certify it.
    Certificate(Certificate),
    /// A step was opened: the commitment to its totals, which asks contributors for the hash of
    /// their bodies.
    Opened(OpenedStep),
    /// An opened step's evidence can be fetched and checked.
    Evidence(EvidenceReady),
    /// A step without a certificate is given up; its ask comes again under a higher number, or
    /// the run ends.
    StepDropped {
        /// The run.
        run: RunId,
        /// The step.
        step: StepNumber,
        /// Why.
        reason: DropReason,
    },
    /// The session cannot go on, for example because versions differ; the stream ends.
    Refused(Refusal),
    /// The coordinator stops; dial again later.
    Shutdown,
    /// A checkpoint of the coordinator's ledger to be cosigned.
    Checkpoint(CheckpointOffer),
    /// Nothing to do: that it arrives tells the coordinator that the node is there.
    Probe,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunOutcome {
    /// With a champion.
    Completed,
    /// With an error.
    Failed(Refusal),
    /// By a person.
    Cancelled,
}

/// Why a step without a certificate was given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum DropReason {
    /// Too few uploads came in, or too many members are gone.
    TooFewMembers,
    /// A member lost its answer when it restarted and can answer only a new step.
    MemberRestarted,
    /// Too few votes came in.
    TooFewVotes,
    /// Too many members refused to let the proposed set through.
    SetRefused,
    /// The coordinator restarted.
    CoordinatorRestarted,
    /// The run was cancelled.
    Cancelled,
}

impl std::fmt::Display for DropReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::TooFewMembers => "too few members uploaded",
            Self::MemberRestarted => "a member restarted in the middle of the step",
            Self::TooFewVotes => "too few members voted in time",
            Self::SetRefused => "too many members refused the contributing set",
            Self::CoordinatorRestarted => "the coordinator restarted",
            Self::Cancelled => "the run was cancelled",
        })
    }
}

/// Asks for an object, on its own bidirectional stream. Cap:
/// [`crate::limits::MAX_OBJECT_REQUEST_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectRequest {
    /// BLAKE3 of the object's bytes.
    pub id: Digest,
}

/// The answer. The receiver checks that the bytes hash to the id. Cap:
/// [`crate::limits::MAX_OBJECT_RESPONSE_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectResponse {
    /// The object has this many bytes; they follow the message as a raw body.
    Found {
        /// At most [`crate::limits::MAX_OBJECT_BYTES`], or
        /// [`crate::limits::MAX_EVIDENCE_BYTES`] if it is evidence.
        length: u64,
    },
    /// No object.
    Refused(Refusal),
}
