//! The door for those who have no certificate yet: one request, one answer, goodbye.

use std::time::{Duration, SystemTime};

use collegium_protocol::ids::MemberName;
use collegium_protocol::limits::{MAX_JOIN_REQUEST_BYTES, MAX_JOIN_RESPONSE_BYTES, MAX_TEXT_BYTES};
use collegium_protocol::message::admin::AdminResponse;
use collegium_protocol::message::join::{EnrollRequest, JoinRequest, JoinResponse};
use collegium_protocol::pki::{InviteCode, IssuedCertificate, Peer, PkiError, Role, Subject};
use collegium_protocol::quic::{CloseCode, Connection, FrameSender, QuicError, StreamKind};
use collegium_protocol::{Refusal, RefusalCode};
use serde_json::json;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::certificates::{Access, write_down};
use crate::init::{self, Keys};
use crate::ledger::{Action, Entry, Ledger, Outcome};
use crate::members::{self, Redeemed};
use crate::store::Store;
use crate::users;

/// A site that joins has everything ready when it dials; it gets this long in all.
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes an invitation for `name`, as `role`, whose holder will dial `address`.
///
/// # Errors
/// A refusal that says what is wrong with the address, name or role, or what failed.
pub async fn invite(
    store: &Store,
    ledger: &Ledger,
    keys: &Keys,
    actor: &str,
    (name, role): (&MemberName, Role),
    address: &str,
) -> Result<AdminResponse, Refusal> {
    init::check_address(address).map_err(|error| Refusal::new(RefusalCode::Malformed, error))?;
    if role != Role::Node {
        users::check(name, role)?;
    }
    let (secret, expires) = members::invite(store, name, role).await?;
    let entry = Entry::new(Action::Invite, actor, name.as_str(), Outcome::Done);
    write_down(ledger, entry.evidence(json!({ "role": role.as_str() })))?;
    let code = InviteCode {
        name: name.to_string(),
        address: address.to_owned(),
        authority: keys.authority.certificate().fingerprint(),
        secret,
        expires,
    };
    info!(member = %name, by = actor, "invited");
    Ok(AdminResponse::Invited {
        code: code.to_line(),
    })
}

/// Serves one connection of `collegium-join/1`.
pub async fn serve(connection: Connection, access: Access<'_>) {
    let remote = connection.remote_address();
    match timeout(PATIENCE, converse(&connection, &access)).await {
        Ok(Ok(())) => connection.close(CloseCode::Done, "done"),
        Ok(Err(error)) => {
            warn!(%remote, %error, "joining failed");
            connection.close(CloseCode::Protocol, "the join request could not be read");
        }
        Err(_) => {
            warn!(%remote, "joining took too long");
            connection.close(CloseCode::Busy, "joining took too long");
        }
    }
}

async fn converse(connection: &Connection, access: &Access<'_>) -> Result<(), QuicError> {
    let (kind, mut sender, mut receiver) = connection.accept().await?.identify().await?;
    let (name, secret, joined) = match kind {
        StreamKind::Join => {
            let request: JoinRequest = receiver.expect(MAX_JOIN_REQUEST_BYTES).await?;
            let joined = join(access, &request).await;
            (request.name, request.secret, joined)
        }
        StreamKind::Enroll => {
            let request: EnrollRequest = receiver.expect(MAX_JOIN_REQUEST_BYTES).await?;
            let joined = users::enroll(access, &request, SystemTime::now()).await;
            (request.name, request.secret, joined)
        }
        StreamKind::Control | StreamKind::Object | StreamKind::Admin => {
            let why = "without a certificate only joining is possible";
            return refuse(sender, RefusalCode::NotAllowed, why).await;
        }
    };
    let response = match joined {
        Ok(response) => response,
        Err(refusal) => {
            warn!(remote = %connection.remote_address(), %name, %refusal, "join refused");
            write_refusal_down(access, &name, &secret, &refusal).await;
            JoinResponse::Refused(refusal)
        }
    };
    sender.send(&response, MAX_JOIN_RESPONSE_BYTES).await?;
    sender.delivered().await
}

/// A refusal that concerns an invitation is a fact for the ledger.
async fn write_refusal_down(
    access: &Access<'_>,
    name: &MemberName,
    secret: &[u8; 16],
    refusal: &Refusal,
) {
    match members::is_invitation(access.store, secret).await {
        Ok(true) => {}
        Ok(false) => return,
        Err(error) => return warn!(%error, "the refusal could not be looked into"),
    }
    let name = name.as_str();
    let entry = Entry::new(Action::Join, name, name, Outcome::Refused)
        .evidence(json!({ "code": u16::from(refusal.code) }));
    if let Err(error) = access.ledger.append(entry) {
        warn!(%error, "the refusal could not be written down");
    }
}

async fn refuse(mut sender: FrameSender, code: RefusalCode, why: &str) -> Result<(), QuicError> {
    let response = JoinResponse::Refused(Refusal::new(code, why));
    sender.send(&response, MAX_JOIN_RESPONSE_BYTES).await?;
    sender.delivered().await
}

async fn join(access: &Access<'_>, request: &JoinRequest) -> Result<JoinResponse, Refusal> {
    let Access {
        store,
        ledger,
        keys,
        ..
    } = *access;
    if request.contact.len() > MAX_TEXT_BYTES || request.contact.chars().any(char::is_control) {
        let why = format_args!("the contact must be one line of at most {MAX_TEXT_BYTES} bytes");
        return Err(Refusal::new(RefusalCode::Malformed, why));
    }
    let member = match members::redeem(store, request, |request| issue(keys, request)).await? {
        Redeemed::Joined(member, before) => {
            let entry = Entry::new(
                Action::Join,
                member.name.as_str(),
                member.name.as_str(),
                Outcome::Done,
            )
            .evidence(json!({
                "identity": member.identity.to_string(),
                "certificate_serial": member.serial.to_string(),
            }));
            // The member is stored; a ledger that cannot be written stops the answer.
            write_down(ledger, entry)?;
            let why = "the member joined again";
            for (serial, holder) in &before {
                let holder = holder.to_string();
                let entry = Entry::new(Action::Revoke, &holder, &holder, Outcome::Done);
                let evidence = json!({ "certificate_serial": serial.to_string(), "reason": why });
                write_down(ledger, entry.evidence(evidence))?;
            }
            access.enforce(&before, why);
            info!(member = %member.name, identity = %member.identity, "joined");
            member
        }
        Redeemed::Again(member) => {
            info!(member = %member.name, "joined before, certificate sent again");
            member
        }
    };
    Ok(JoinResponse::Joined {
        certificate: member.certificate,
        authority: keys.authority.certificate().pem().to_owned(),
        consortium: keys.consortium.name.clone(),
    })
}

fn issue(keys: &Keys, request: &JoinRequest) -> Result<IssuedCertificate, Refusal> {
    let malformed = |error: PkiError| Refusal::new(RefusalCode::Malformed, error);
    let subject = Subject::new(Role::Node, request.name.as_str()).map_err(malformed)?;
    let issued = keys
        .authority
        .sign_request(request.request.as_slice(), &subject, SystemTime::now())
        .map_err(malformed)?;
    debug_assert!(matches!(&issued.peer, Peer { subject, .. } if subject.role == Role::Node));
    Ok(issued)
}
