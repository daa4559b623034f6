//! One of each message and record, signed by the keys of a consortium of three.

use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::randomness::seeded_rng;
use collegium_crypto::seal::SealingSecret;
use collegium_crypto::shamir::SHARE_BYTES;
use collegium_crypto::{Segment, Shape};
use collegium_protocol::charter::NewMember;
use collegium_protocol::codec;
use collegium_protocol::ids::ConsortiumId;
use collegium_protocol::message::admin::{
    AdminRequest, AdminResponse, MemberSummary, RunStatus, RunSummary, WhichCharter,
};
use collegium_protocol::message::join::{JoinRequest, JoinResponse};
use collegium_protocol::message::session::{
    DropReason, ObjectRequest, ObjectResponse, RunOutcome, ToCoordinator, ToNode,
};
use collegium_protocol::message::step::{
    Announce, Certificate, CertifiedVote, Deliver, Propose, Release, SealedShare, StepRef,
    UploadClaim, UploadHeader, UploadTrailer, Verdict, Vote, shares_digest,
};
use collegium_protocol::message::verify::{BodyHash, OpenedStep};
use collegium_protocol::pki::{Authority, Fingerprint, InviteCode, InviteSecret};
use collegium_protocol::step::{
    CommitteeRecord, GivenVote, NodeRecord, ReleaseRecord, RunRecord, StepEvidence, StepRecord,
};
use collegium_protocol::{
    Blob, Charter, Digest, MemberIndex, MemberName, Refusal, RefusalCode, RunId, SignedCharter,
    StepContext, StepNumber,
};
use serde::Serialize;

use super::{Inputs, numbered};
