//! Administration: requests of operators, users and nodes' stewards, on
//! [`crate::quic::StreamKind::Admin`] streams.
//!
//! One stream is one conversation: one [`AdminRequest`], then one [`AdminResponse`], then the
//! coordinator finishes the stream. [`AdminRequest::WatchRun`] is answered by many
//! [`AdminResponse::Event`]s, until the run is over, and after [`AdminRequest::ReadLedger`] the asker
//! goes on. Who may send which is the coordinator's policy, decided from the certificate's role.

use collegium_crypto::identity::{IdentityKey, Signature};
use collegium_crypto::transcript::Digest;
use serde::{Deserialize, Serialize};

use crate::charter::{Reveal, SignedCharter};
use crate::codec::Blob;
use crate::ids::{MemberName, RunId};
use crate::pki::{Fingerprint, Role, Serial, Subject};
use crate::refusal::Refusal;

/// A request. Cap: [`crate::limits::MAX_ADMIN_REQUEST_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminRequest {
    /// Starts a run. Answer: [`AdminResponse::Submitted`].
    SubmitTask {
        /// The task file's text (TOML), at most [`crate::limits::MAX_TASK_BYTES`].
        task: Blob,
    },
    /// Answer: [`AdminResponse::Runs`].
    ListRuns,
    /// Follows a run. Answer: [`AdminResponse::Event`]s.
    WatchRun {
        /// The run.
        run: RunId,
        /// Number of the first event wanted, from 0: earlier ones are left out, later ones that
        /// already happened are repeated.
        from: u64,
    },
    /// Ends a run. Answer: [`AdminResponse::Done`].
    CancelRun {
        /// The run.
        run: RunId,
    },
    /// The result of a finished run. Answer: [`AdminResponse::Result`].
    Result {
        /// The run.
        run: RunId,
    },
    /// Answer: [`AdminResponse::Members`].
    ListMembers,
    /// Makes an invitation. Answer: [`AdminResponse::Invited`].
    Invite {
        /// The new member's name.
        name: MemberName,
        /// `host:port` under which the site reaches the coordinator; the coordinator's own
        /// configured address when left out.
        address: Option<String>,
    },
    /// Proposes a charter of these members. Answer: [`AdminResponse::Charter`].
    ProposeCharter {
        /// Names of joined members, in index order; empty means all of them, by name.
        members: Vec<MemberName>,
    },
    /// Fetches a charter. Answer: [`AdminResponse::Charter`].
    FetchCharter {
        /// Which one.
        which: WhichCharter,
    },
    /// A member's signature under the proposed charter. Answer: [`AdminResponse::Charter`]; it is
    /// in force when `missing` is empty.
    SubmitCharterSignature {
        /// Digest of the charter that was signed.
        charter: Digest,
        /// By the member's identity key. The signer is the member of the certificate.
        signature: Signature,
        /// Its part of the beacon, where the charter draws a committee.
        reveal: Option<Reveal>,
    },
    /// Starts another round of an ended run's task, on the data as they are now. Answer:
    /// [`AdminResponse::Submitted`].
    RerunRun {
        /// The run, which ended with a champion.
        run: RunId,
    },
    /// Makes an invitation for a person. Answer: [`AdminResponse::Invited`].
    InviteUser {
        /// The person's name; in place of the certificate of another role that has the same name.
        name: MemberName,
        /// What the person may do; not `node`, and not `coordinator`.
        role: Role,
        /// As in [`AdminRequest::Invite`].
        address: Option<String>,
    },
    /// Answer: [`AdminResponse::Users`].
    ListUsers,
    /// Takes a person's certificate and invitation away, at once. Answer: [`AdminResponse::Done`].
    RevokeUser {
        /// The person's name.
        name: MemberName,
    },
    /// Answer: [`AdminResponse::Certificates`].
    ListCertificates,
    /// Takes one certificate away, at once. Answer: [`AdminResponse::Done`].
    RevokeCertificate {
        /// Its serial number.
        serial: Serial,
    },
    /// A new certificate for whoever asks, with the same role and name. The old one counts until
    /// the new one is first used, or until it ends. Answer: [`AdminResponse::Certificate`].
    RenewCertificate {
        /// PKCS#10 request (DER), at most [`crate::pki::MAX_REQUEST`] bytes.
        request: Blob,
    },
    /// Begins to read the coordinator's ledger. Answer: [`AdminResponse::Ledger`]; requests for tiles
    /// follow on the same stream ([`crate::message::ledger::TileRequest`]).
    ReadLedger,
}

/// Which charter is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WhichCharter {
    /// The one that is being signed.
    Proposed,
    /// The one that steps refer to.
    InForce,
}

/// An answer. Cap: [`crate::limits::MAX_ADMIN_RESPONSE_BYTES`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum AdminResponse {
    /// The run was created.
    Submitted {
        /// Its id.
        run: RunId,
    },
    /// Every run, newest first.
    Runs(Vec<RunSummary>),
    /// One event of a run: a JSON object on one line, without the line end.
    Event(Blob),
    /// A finished run's result, a JSON object.
    Result(Blob),
    /// Every member that has joined, by name.
    Members(Vec<MemberSummary>),
    /// An invitation.
    Invited {
        /// The line to hand to the new member. It holds a secret.
        code: String,
    },
    /// A charter and who has yet to sign it.
    Charter {
        /// Content and signatures so far.
        charter: Box<SignedCharter>,
        /// Members whose signature is needed and missing; empty when it is in force.
        missing: Vec<MemberName>,
    },
    /// Done, nothing to say.
    Done,
    /// Not done, and why.
    Refused(Refusal),
    /// Everybody who was invited as a person, by name.
    Users(Vec<UserSummary>),
    /// Certificates that have not ended, by role and name.
    Certificates(Vec<CertificateSummary>),
    /// A renewed certificate.
    Certificate {
        /// PEM.
        certificate: String,
    },
    /// The ledger as it is now, this request's own entry in it.
    Ledger {
        /// The checkpoint's note, at most [`crate::ledger::note::MAX_CHECKPOINT_BYTES`].
        checkpoint: Blob,
        /// The last checkpoint that members cosigned, at most [`crate::ledger::note::MAX_NOTE_BYTES`].
        cosigned: Option<Blob>,
    },
}

/// A run in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunSummary {
    /// Its id.
    pub run: RunId,
    /// The task's name.
    pub task: String,
    /// Where it stands.
    pub status: RunStatus,
    /// Steps done.
    pub steps: u64,
    /// When it was submitted, in seconds since 1970 UTC.
    pub submitted: u64,
    /// Which round of its task it is, from 1.
    pub round: u32,
    /// When it begins at the earliest, in seconds since 1970 UTC.
    pub not_before: Option<u64>,
}

/// Where a run stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum RunStatus {
    /// Waits for members or for an earlier run.
    Waiting,
    /// Under way.
    Running,
    /// Ended with a champion.
    Completed,
    /// Ended with an error.
    Failed,
    /// Ended by a person.
    Cancelled,
}

/// A member in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberSummary {
    /// Short name.
    pub name: MemberName,
    /// Legal contact, for people.
    pub contact: String,
    /// Key that signs for the member.
    pub identity: IdentityKey,
    /// Whether its node is connected now.
    pub connected: bool,
    /// Whether the charter in force names it.
    pub in_charter: bool,
    /// When it joined, in seconds since 1970 UTC.
    pub joined: u64,
}

/// A person in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserSummary {
    /// Short name.
    pub name: MemberName,
    /// What the person may do.
    pub role: Role,
    /// Where the person's access stands.
    pub state: UserState,
    /// When the invitation or the certificate ends or was revoked, in seconds since 1970 UTC.
    pub at: u64,
}

/// Where a person's access stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserState {
    /// Has a code and has not used it.
    Invited,
    /// Has a certificate that counts.
    Active,
    /// The certificate or the code is too old.
    Expired,
    /// The certificate was taken away.
    Revoked,
}

/// A certificate in a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CertificateSummary {
    /// Its serial number.
    pub serial: Serial,
    /// Whose it is.
    pub subject: Subject,
    /// SHA-256 of it.
    pub fingerprint: Fingerprint,
    /// Last moment of validity, in seconds since 1970 UTC.
    pub not_after: u64,
    /// When it was taken away, in seconds since 1970 UTC.
    pub revoked: Option<u64>,
    /// Connections that are open with it.
    pub connections: u32,
}
