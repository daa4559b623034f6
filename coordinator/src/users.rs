//! People: invited by the operator, with a client certificate that says their role.

use std::time::SystemTime;

use collegium_protocol::ids::MemberName;
use collegium_protocol::message::admin::{UserState, UserSummary};
use collegium_protocol::message::join::{EnrollRequest, JoinResponse, VERSION};
use collegium_protocol::pki::{InviteSecret, Peer, Role, Serial, Subject, is_for};
use collegium_protocol::{Refusal, RefusalCode};
use serde_json::json;
use sqlx::SqliteConnection;
use tracing::info;

use crate::certificates::{self, Access, internal, register, write_down};
use crate::ledger::{Action, Entry, Outcome};
use crate::members::{self, check_invite, use_up};
use crate::store::{Store, StoreError, doing, now_seconds};

/// What people can be.
pub const ROLES: [Role; 5] = [
    Role::Operator,
    Role::Scientist,
    Role::Auditor,
    Role::Steward,
    Role::Viewer,
];

/// Names of the operator who founded the consortium and of the one at the coordinator's disk: nobody
/// else's entries in the ledger may look like theirs.
const RESERVED: [&str; 2] = ["operator", "local"];

/// Checks what an invitation may say.
///
/// # Errors
/// `Malformed`.
pub fn check(name: &MemberName, role: Role) -> Result<(), Refusal> {
    if !ROLES.contains(&role) {
        let why = format_args!(
            "a person cannot be `{role}`; the roles of people are operator, scientist, auditor, steward, viewer"
        );
        return Err(Refusal::new(RefusalCode::Malformed, why));
    }
    if RESERVED.contains(&name.as_str()) {
        let why = format_args!("`{name}` is the coordinator's own operator; take another name");
        return Err(Refusal::new(RefusalCode::Malformed, why));
    }
    Ok(())
}

/// Turns an invitation into a certificate.
///
/// # Errors
/// A refusal that says what is wrong with the invitation or the request; the invitation stays as it
/// was.
pub async fn enroll(
    access: &Access<'_>,
    request: &EnrollRequest,
    now: SystemTime,
) -> Result<JoinResponse, Refusal> {
    if request.version != VERSION {
        let why = format_args!(
            "this coordinator joins by version {VERSION}, your program by {}",
            request.version
        );
        return Err(Refusal::new(RefusalCode::Version, why));
    }
    let digest = members::hex(&InviteSecret::from_bytes(request.secret).digest());
    let mut transaction = access.store.begin_write().await.map_err(internal)?;
    let invite = check_invite(&mut transaction, &digest, &request.name).await?;
    if invite.role == Role::Node {
        let why = "the invitation is for a member's node; use it with `collegium node join`";
        return Err(Refusal::new(RefusalCode::NotAllowed, why));
    }
    if invite.used {
        return again(access, &mut transaction, request).await;
    }
    let subject = Subject::new(invite.role, request.name.as_str())
        .map_err(|error| Refusal::new(RefusalCode::Malformed, error))?;
    let issued = access
        .keys
        .authority
        .sign_request(request.request.as_slice(), &subject, now)
        .map_err(|error| Refusal::new(RefusalCode::Malformed, error))?;
    let actor = subject.to_string();
    let before = certificates::counting(&mut transaction, &ROLES, &subject.name)
        .await
        .map_err(internal)?;
    let why = "the same person joined again";
    access.note(&mut transaction, &actor, &before, why).await?;
    save(&mut transaction, &issued.peer, &issued.pem)
        .await
        .map_err(internal)?;
    use_up(&mut transaction, &digest).await.map_err(internal)?;
    let entry = Entry::new(Action::Join, &actor, &actor, Outcome::Done);
    write_down(
        access.ledger,
        entry.evidence(json!({
            "certificate_serial": issued.peer.serial.to_string(),
            "certificate": issued.peer.fingerprint.to_string(),
        })),
    )?;
    transaction.commit().await.map_err(internal)?;
    access.enforce(&before, why);
    info!(who = actor, serial = %issued.peer.serial, "joined");
    Ok(joined(access, issued.pem))
}

/// The same person's program asks again, because the answer was lost: the certificate it has.
async fn again(
    access: &Access<'_>,
    transaction: &mut SqliteConnection,
    request: &EnrollRequest,
) -> Result<JoinResponse, Refusal> {
    let stored: Option<(String, String)> =
        sqlx::query_as("SELECT certificate, serial FROM users WHERE name = ?")
            .bind(request.name.as_str())
            .fetch_optional(transaction)
            .await
            .map_err(internal)?;
    let same = stored.filter(|(pem, serial)| {
        let counts = serial
            .parse()
            .is_ok_and(|serial: Serial| !access.keys.revocations.is_revoked(&serial));
        counts && is_for(pem, request.request.as_slice()).unwrap_or(false)
    });
    let (pem, _) = same.ok_or_else(members::used_before)?;
    info!(who = %request.name, "joined before, certificate sent again");
    Ok(joined(access, pem))
}

fn joined(access: &Access<'_>, certificate: String) -> JoinResponse {
    JoinResponse::Joined {
        certificate,
        authority: access.keys.authority.certificate().pem().to_owned(),
        consortium: access.keys.consortium.name.clone(),
    }
}

async fn save(connection: &mut SqliteConnection, peer: &Peer, pem: &str) -> Result<(), StoreError> {
    register(connection, peer).await?;
    sqlx::query(
        "INSERT OR REPLACE INTO users (name, role, certificate, serial, joined_at) \
         VALUES (?, ?, ?, ?, ?)",
    )
    .bind(&peer.subject.name)
    .bind(peer.subject.role.as_str())
    .bind(pem)
    .bind(peer.serial.to_string())
    .bind(now_seconds())
    .execute(connection)
    .await
    .map_err(doing("store a person"))?;
    Ok(())
}

/// Everybody who was invited as a person, by name. Who joined and has an invitation for another role
/// open is listed once, as joined.
///
/// # Errors
/// [`StoreError`].
pub async fn list(store: &Store) -> Result<Vec<UserSummary>, StoreError> {
    let joined: Vec<(String, String, i64, Option<i64>)> = sqlx::query_as(
        "SELECT u.name, u.role, c.not_after, r.revoked_at FROM users u \
         JOIN certificates c ON c.serial = u.serial \
         LEFT JOIN revoked_certificates r ON r.serial = u.serial",
    )
    .fetch_all(store.pool())
    .await
    .map_err(doing("read the users"))?;
    let invited: Vec<(String, String, i64)> = sqlx::query_as(
        "SELECT name, role, expires_at FROM invites \
         WHERE used_at IS NULL AND role <> 'node' AND name NOT IN (SELECT name FROM users)",
    )
    .fetch_all(store.pool())
    .await
    .map_err(doing("read the invitations"))?;
    let now = now_seconds();
    let mut users = Vec::with_capacity(joined.len() + invited.len());
    for (name, role, not_after, revoked) in joined {
        let (state, at) = match revoked {
            Some(at) => (UserState::Revoked, at),
            None if not_after <= now => (UserState::Expired, not_after),
            None => (UserState::Active, not_after),
        };
        users.push(summary(&name, &role, state, at)?);
    }
    for (name, role, expires) in invited {
        let state = if expires <= now {
            UserState::Expired
        } else {
            UserState::Invited
        };
        users.push(summary(&name, &role, state, expires)?);
    }
    users.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(users)
}

fn summary(name: &str, role: &str, state: UserState, at: i64) -> Result<UserSummary, StoreError> {
    let damaged = |detail: String| StoreError::Damaged {
        what: "a person",
        detail,
    };
    Ok(UserSummary {
        name: name.parse().map_err(|error| damaged(format!("{error}")))?,
        role: role.parse().map_err(|error| damaged(format!("{error}")))?,
        state,
        at: u64::try_from(at).unwrap_or_default(),
    })
}

/// Takes a person's certificates and open invitation away.
///
/// # Errors
/// `UnknownObject` when there is nothing to take away; `Conflict` when the asker is that person.
pub async fn revoke(access: &Access<'_>, asker: &Peer, name: &MemberName) -> Result<(), Refusal> {
    if ROLES.contains(&asker.subject.role) && asker.subject.name == name.as_str() {
        let why = "this is you, and without your certificate nobody could undo it; let another operator do it";
        return Err(Refusal::new(RefusalCode::Conflict, why));
    }
    let actor = asker.subject.to_string();
    let mut transaction = access.store.begin_write().await.map_err(internal)?;
    let certificates = certificates::counting(&mut transaction, &ROLES, name.as_str())
        .await
        .map_err(internal)?;
    let invitations =
        sqlx::query("DELETE FROM invites WHERE used_at IS NULL AND role <> 'node' AND name = ?")
            .bind(name.as_str())
            .execute(&mut *transaction)
            .await
            .map_err(internal)?
            .rows_affected();
    if certificates.is_empty() && invitations == 0 {
        let why =
            format_args!("{name} has neither a certificate that counts nor an open invitation");
        return Err(Refusal::new(RefusalCode::UnknownObject, why));
    }
    let why = "the person's access was taken away";
    access
        .note(&mut transaction, &actor, &certificates, why)
        .await?;
    if invitations > 0 {
        let entry = Entry::new(Action::Revoke, &actor, name.as_str(), Outcome::Done);
        write_down(
            access.ledger,
            entry.evidence(json!({ "invitations": invitations, "reason": why })),
        )?;
    }
    transaction.commit().await.map_err(internal)?;
    access.enforce(&certificates, why);
    Ok(())
}

#[cfg(test)]
mod tests;
