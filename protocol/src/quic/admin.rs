//! The asking side of administration: what commands for people call.

use collegium_crypto::identity::Signature;
use collegium_crypto::transcript::Digest;

use super::{Client, Connection, FrameReceiver, FrameSender, LedgerReader, QuicError, StreamKind};
use crate::charter::{Reveal, SignedCharter};
use crate::codec::Blob;
use crate::ids::{MemberName, RunId};
use crate::limits::{MAX_ADMIN_REQUEST_BYTES, MAX_ADMIN_RESPONSE_BYTES};
use crate::message::admin::{
    AdminRequest, AdminResponse, CertificateSummary, MemberSummary, RunSummary, UserSummary,
    WhichCharter,
};
use crate::pki::{Role, Serial};
use crate::refusal::{Refusal, RefusalCode};

/// Why a request to the coordinator was not answered as hoped.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// The connection.
    #[error(transparent)]
    Quic(#[from] QuicError),
    /// The coordinator says no.
    #[error("the coordinator refused: {0}")]
    Refused(Refusal),
    /// The coordinator gave an answer that does not belong to the question.
    #[error(
        "the coordinator answered with another kind of message; use the same version of collegium on both sides"
    )]
    Unexpected,
}

/// A charter and who has yet to sign it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CharterState {
    /// Content and signatures so far. Verify it before trusting it.
    pub charter: SignedCharter,
    /// Members whose signature is missing; none when it is in force.
    pub missing: Vec<MemberName>,
}

/// Asks the coordinator for things, one stream a request.
#[derive(Debug, Clone)]
pub struct AdminClient {
    connection: Connection,
}

impl AdminClient {
    /// Connects to `address` (`host:port`) as `client`.
    pub async fn connect(client: &Client, address: &str) -> Result<Self, AdminError> {
        Ok(Self::new(client.connect(address).await?))
    }

    /// Uses a connection that is already open.
    pub fn new(connection: Connection) -> Self {
        Self { connection }
    }

    /// Sends one request and returns its one answer; a refusal is an error.
    pub async fn ask(&self, request: &AdminRequest) -> Result<AdminResponse, AdminError> {
        let mut receiver = self.send(request).await?;
        match receiver.expect(MAX_ADMIN_RESPONSE_BYTES).await? {
            AdminResponse::Refused(refusal) => Err(AdminError::Refused(refusal)),
            response => Ok(response),
        }
    }

    async fn send(&self, request: &AdminRequest) -> Result<FrameReceiver, AdminError> {
        let (mut sender, receiver) = self.begin(request).await?;
        sender.finish();
        Ok(receiver)
    }

    /// Sends a request after which more may follow.
    async fn begin(
        &self,
        request: &AdminRequest,
    ) -> Result<(FrameSender, FrameReceiver), AdminError> {
        let (mut sender, receiver) = self.connection.open(StreamKind::Admin).await?;
        sender.send(request, MAX_ADMIN_REQUEST_BYTES).await?;
        Ok((sender, receiver))
    }

    /// Begins to read the coordinator's ledger.
    pub async fn ledger(&self) -> Result<LedgerReader, AdminError> {
        let (sender, mut receiver) = self.begin(&AdminRequest::ReadLedger).await?;
        match receiver.expect(MAX_ADMIN_RESPONSE_BYTES).await? {
            AdminResponse::Ledger {
                checkpoint,
                cosigned,
            } => Ok(LedgerReader::new(
                (sender, receiver),
                checkpoint.0,
                cosigned.map(|note| note.0),
            )),
            AdminResponse::Refused(refusal) => Err(AdminError::Refused(refusal)),
            _ => Err(AdminError::Unexpected),
        }
    }

    /// Starts a run of the task in `toml`.
    pub async fn submit_task(&self, toml: &str) -> Result<RunId, AdminError> {
        let task = Blob(toml.as_bytes().to_vec());
        match self.ask(&AdminRequest::SubmitTask { task }).await? {
            AdminResponse::Submitted { run } => Ok(run),
            _ => Err(AdminError::Unexpected),
        }
    }

    /// Queues another round after an ended run; returns its id.
    pub async fn rerun(&self, run: RunId) -> Result<RunId, AdminError> {
        match self.ask(&AdminRequest::RerunRun { run }).await? {
            AdminResponse::Submitted { run } => Ok(run),
            _ => Err(AdminError::Unexpected),
        }
    }

    /// Every run, newest first.
    pub async fn runs(&self) -> Result<Vec<RunSummary>, AdminError> {
        match self.ask(&AdminRequest::ListRuns).await? {
            AdminResponse::Runs(runs) => Ok(runs),
            _ => Err(AdminError::Unexpected),
        }
    }

    /// Follows a run from its event number `from`.
    pub async fn watch(&self, run: RunId, from: u64) -> Result<Watch, AdminError> {
        let receiver = self.send(&AdminRequest::WatchRun { run, from }).await?;
        Ok(Watch {
            receiver,
            _connection: self.connection.clone(),
        })
    }

    /// Ends a run.
    pub async fn cancel(&self, run: RunId) -> Result<(), AdminError> {
        match self.ask(&AdminRequest::CancelRun { run }).await? {
            AdminResponse::Done => Ok(()),
            _ => Err(AdminError::Unexpected),
        }
    }

    /// A finished run's result, a JSON object as text.
    pub async fn result(&self, run: RunId) -> Result<Vec<u8>, AdminError> {
        match self.ask(&AdminRequest::Result { run }).await? {
            AdminResponse::Result(Blob(json)) => Ok(json),
            _ => Err(AdminError::Unexpected),
        }
    }

    /// Every member that has joined.
    pub async fn members(&self) -> Result<Vec<MemberSummary>, AdminError> {
        match self.ask(&AdminRequest::ListMembers).await? {
            AdminResponse::Members(members) => Ok(members),
            _ => Err(AdminError::Unexpected),
        }
    }

    /// Makes an invitation; `address` is where the site will reach the coordinator.
    pub async fn invite(
        &self,
        name: &MemberName,
        address: Option<&str>,
    ) -> Result<String, AdminError> {
        let request = AdminRequest::Invite {
            name: name.clone(),
            address: address.map(str::to_owned),
        };
        match self.ask(&request).await? {
            AdminResponse::Invited { code } => Ok(code),
            _ => Err(AdminError::Unexpected),
        }
    }

    /// Makes an invitation for a person; `address` is where the person will reach the coordinator.
    pub async fn invite_user(
        &self,
        name: &MemberName,
        role: Role,
        address: Option<&str>,
    ) -> Result<String, AdminError> {
        let request = AdminRequest::InviteUser {
            name: name.clone(),
            role,
            address: address.map(str::to_owned),
        };
        match self.ask(&request).await? {
            AdminResponse::Invited { code } => Ok(code),
            _ => Err(AdminError::Unexpected),
        }
    }

    /// Everybody who was invited as a person.
    pub async fn users(&self) -> Result<Vec<UserSummary>, AdminError> {
        match self.ask(&AdminRequest::ListUsers).await? {
            AdminResponse::Users(users) => Ok(users),
            _ => Err(AdminError::Unexpected),
        }
    }

    /// Takes a person's access away.
    pub async fn revoke_user(&self, name: &MemberName) -> Result<(), AdminError> {
        let request = AdminRequest::RevokeUser { name: name.clone() };
        self.done(&request).await
    }

    /// Certificates that have not ended.
    pub async fn certificates(&self) -> Result<Vec<CertificateSummary>, AdminError> {
        match self.ask(&AdminRequest::ListCertificates).await? {
            AdminResponse::Certificates(certificates) => Ok(certificates),
            _ => Err(AdminError::Unexpected),
        }
    }

    /// Takes one certificate away.
    pub async fn revoke_certificate(&self, serial: Serial) -> Result<(), AdminError> {
        self.done(&AdminRequest::RevokeCertificate { serial }).await
    }

    /// A new certificate (PEM) with the role and name of this connection's own, for the key that the
    /// PKCS#10 request was made with.
    pub async fn renew_certificate(&self, request: Vec<u8>) -> Result<String, AdminError> {
        let request = AdminRequest::RenewCertificate {
            request: Blob(request),
        };
        match self.ask(&request).await? {
            AdminResponse::Certificate { certificate } => Ok(certificate),
            _ => Err(AdminError::Unexpected),
        }
    }

    async fn done(&self, request: &AdminRequest) -> Result<(), AdminError> {
        match self.ask(request).await? {
            AdminResponse::Done => Ok(()),
            _ => Err(AdminError::Unexpected),
        }
    }

    /// Proposes a charter of these members; none means all that have joined.
    pub async fn propose_charter(
        &self,
        members: Vec<MemberName>,
    ) -> Result<CharterState, AdminError> {
        self.charter(&AdminRequest::ProposeCharter { members })
            .await
    }

    /// Fetches a charter; `None` when there is none of that kind.
    pub async fn fetch_charter(
        &self,
        which: WhichCharter,
    ) -> Result<Option<CharterState>, AdminError> {
        match self.charter(&AdminRequest::FetchCharter { which }).await {
            Ok(state) => Ok(Some(state)),
            Err(AdminError::Refused(refusal)) if refusal.code == RefusalCode::CharterMissing => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// Hands in this member's signature under the proposed charter, with its part of the beacon
    /// where that charter draws a committee.
    pub async fn submit_charter_signature(
        &self,
        charter: Digest,
        signature: Signature,
        reveal: Option<Reveal>,
    ) -> Result<CharterState, AdminError> {
        self.charter(&AdminRequest::SubmitCharterSignature {
            charter,
            signature,
            reveal,
        })
        .await
    }

    async fn charter(&self, request: &AdminRequest) -> Result<CharterState, AdminError> {
        match self.ask(request).await? {
            AdminResponse::Charter { charter, missing } => Ok(CharterState {
                charter: *charter,
                missing,
            }),
            _ => Err(AdminError::Unexpected),
        }
    }

    /// Closes the connection and waits until the coordinator was told.
    pub async fn finish(self) {
        self.connection.finish().await;
    }
}

/// The events of one run as they happen.
#[derive(Debug)]
pub struct Watch {
    receiver: FrameReceiver,
    _connection: Connection,
}

impl Watch {
    /// The next event, a JSON object on one line; `None` after the last one. Cancel-safe.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, AdminError> {
        match self.receiver.recv(MAX_ADMIN_RESPONSE_BYTES).await? {
            None => Ok(None),
            Some(AdminResponse::Event(Blob(json))) => Ok(Some(json)),
            Some(AdminResponse::Refused(refusal)) => Err(AdminError::Refused(refusal)),
            Some(_) => Err(AdminError::Unexpected),
        }
    }
}
