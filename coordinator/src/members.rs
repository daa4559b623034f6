//! Invitations, and the members that used them.

use std::time::{Duration, SystemTime};

use collegium_crypto::identity::IdentityKey;
use collegium_crypto::seal::SealingPublic;
use collegium_protocol::ids::MemberName;
use collegium_protocol::limits::MAX_MEMBERS;
use collegium_protocol::message::admin::MemberSummary;
use collegium_protocol::message::join::JoinRequest;
use collegium_protocol::pki::{
    INVITE_DAYS, InviteSecret, IssuedCertificate, Role, Serial, Subject,
};
use collegium_protocol::{Digest, Refusal, RefusalCode};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::certificates::{self, note_revoked, register};
use crate::store::{Store, StoreError, doing, now_seconds};

/// Invitations that may be open at once: one for each member of the largest consortium, so that a
/// forgotten script cannot fill the disk.
pub const MAX_OPEN_INVITES: i64 = MAX_MEMBERS as i64;

/// A member as it joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberRecord {
    /// Short name.
    pub name: MemberName,
    /// Legal contact, for people.
    pub contact: String,
    /// Key that signs for the member.
    pub identity: IdentityKey,
    /// Key that shares are sealed to.
    pub sealing: SealingPublic,
    /// Commitment to its part of the beacon; none if it joined by an earlier version.
    pub commitment: Option<Digest>,
    /// Its certificate, PEM.
    pub certificate: String,
    /// The certificate's serial number.
    pub serial: Serial,
    /// Seconds since 1970.
    pub joined_at: i64,
}

/// What became of a join request that was acceptable.
#[derive(Debug)]
pub enum Redeemed {
    /// The invitation is used up now; these certificates, which the member had before, count no more.
    Joined(MemberRecord, Vec<(Serial, Subject)>),
    /// The same site asked again (its first answer was lost): the certificate it has.
    Again(MemberRecord),
}

/// Stores an invitation for `name`, in place of an older unused one of the same member or person, and
/// returns its secret and its expiry.
///
/// # Errors
/// A refusal when too many are open, or [`StoreError`] turned into one.
pub async fn invite(
    store: &Store,
    name: &MemberName,
    role: Role,
) -> Result<(InviteSecret, SystemTime), Refusal> {
    let secret = InviteSecret::random().map_err(internal)?;
    let lifetime = Duration::from_secs(INVITE_DAYS * 24 * 60 * 60);
    let expires =
        now_seconds().saturating_add(i64::try_from(lifetime.as_secs()).unwrap_or(i64::MAX));
    let mut transaction = store.begin_write().await.map_err(internal)?;
    sqlx::query(
        "DELETE FROM invites WHERE used_at IS NULL \
         AND ((name = ? AND (role = 'node') = ?) OR expires_at <= ?)",
    )
    .bind(name.as_str())
    .bind(role == Role::Node)
    .bind(now_seconds())
    .execute(&mut *transaction)
    .await
    .map_err(internal)?;
    let (open,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM invites WHERE used_at IS NULL")
        .fetch_one(&mut *transaction)
        .await
        .map_err(internal)?;
    if open >= MAX_OPEN_INVITES {
        let why = format_args!("{open} invitations are open; wait until some are used or expire");
        return Err(Refusal::new(RefusalCode::Busy, why));
    }
    sqlx::query("INSERT INTO invites (secret_hash, name, role, expires_at) VALUES (?, ?, ?, ?)")
        .bind(hex(&secret.digest()))
        .bind(name.as_str())
        .bind(role.as_str())
        .bind(expires)
        .execute(&mut *transaction)
        .await
        .map_err(internal)?;
    transaction.commit().await.map_err(internal)?;
    let expires =
        SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(expires).unwrap_or_default());
    Ok((secret, expires))
}

/// Uses an invitation up: checks everything, has `issue` sign the certificate, stores the
/// member. All in one transaction: a refused request leaves the invitation as it was.
///
/// # Errors
/// A refusal that says what is wrong with the invitation or the request.
pub async fn redeem(
    store: &Store,
    request: &JoinRequest,
    issue: impl FnOnce(&JoinRequest) -> Result<IssuedCertificate, Refusal>,
) -> Result<Redeemed, Refusal> {
    request.verify()?;
    let digest = hex(&InviteSecret::from_bytes(request.secret).digest());
    let mut transaction = store.begin_write().await.map_err(internal)?;
    let invite = check_invite(&mut transaction, &digest, &request.name).await?;
    if invite.role != Role::Node {
        let why = "the invitation is for a person; use it with `collegium user join`";
        return Err(Refusal::new(RefusalCode::NotAllowed, why));
    }
    let known = by_name(&mut transaction, &request.name)
        .await
        .map_err(internal)?;
    let before = certificates::counting(&mut transaction, &[Role::Node], request.name.as_str())
        .await
        .map_err(internal)?;
    if invite.used {
        return known
            .filter(|member| {
                before.iter().any(|(serial, _)| *serial == member.serial)
                    && member.identity == request.identity
                    && member.sealing == request.sealing
                    && member.commitment == Some(request.commitment)
            })
            .map(Redeemed::Again)
            .ok_or_else(used_before);
    }
    check_keys(&mut transaction, request, known.as_ref()).await?;
    let issued = issue(request)?;
    let member = record(request, &issued);
    let holder = certificates::node(&member.name);
    for (serial, _) in &before {
        note_revoked(&mut transaction, serial, &holder)
            .await
            .map_err(internal)?;
    }
    register(&mut transaction, &issued.peer)
        .await
        .map_err(internal)?;
    save(&mut transaction, &member).await.map_err(internal)?;
    use_up(&mut transaction, &digest).await.map_err(internal)?;
    transaction.commit().await.map_err(internal)?;
    Ok(Redeemed::Joined(member, before))
}

/// An invitation that is known and in time.
pub(crate) struct Invite {
    /// What its holder becomes.
    pub(crate) role: Role,
    /// Whether somebody used it already.
    pub(crate) used: bool,
}

/// What somebody is told who comes with a code that another has used.
pub(crate) fn used_before() -> Refusal {
    Refusal::new(
        RefusalCode::Expired,
        "the invitation was used before; ask for a new one",
    )
}

/// An invitation is good once.
pub(crate) async fn use_up(
    connection: &mut SqliteConnection,
    digest: &str,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE invites SET used_at = ? WHERE secret_hash = ?")
        .bind(now_seconds())
        .bind(digest)
        .execute(connection)
        .await
        .map_err(doing("use an invitation up"))?;
    Ok(())
}

/// The invitation of this digest, which must be for `wanted` and in time.
pub(crate) async fn check_invite(
    connection: &mut SqliteConnection,
    digest: &str,
    wanted: &MemberName,
) -> Result<Invite, Refusal> {
    let invite: Option<(String, String, i64, Option<i64>)> =
        sqlx::query_as("SELECT name, role, expires_at, used_at FROM invites WHERE secret_hash = ?")
            .bind(digest)
            .fetch_optional(connection)
            .await
            .map_err(internal)?;
    let (name, role, expires_at, used_at) = invite.ok_or_else(|| {
        Refusal::new(
            RefusalCode::Expired,
            "this invitation is not known, or a newer one took its place",
        )
    })?;
    if name != wanted.as_str() {
        return Err(Refusal::new(
            RefusalCode::NotAllowed,
            "the invitation is for another name",
        ));
    }
    if now_seconds() >= expires_at {
        return Err(Refusal::new(
            RefusalCode::Expired,
            format_args!("the invitation is older than {INVITE_DAYS} days; ask for a new one"),
        ));
    }
    Ok(Invite {
        role: role.parse().map_err(internal)?,
        used: used_at.is_some(),
    })
}

/// Whether a secret belongs to an invitation, used or not. Only then is a refusal worth an
/// entry in the ledger: otherwise anybody on the network could fill the disk with them.
///
/// # Errors
/// [`StoreError`].
pub async fn is_invitation(store: &Store, secret: &[u8; 16]) -> Result<bool, StoreError> {
    let digest = hex(&InviteSecret::from_bytes(*secret).digest());
    let (found,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM invites WHERE secret_hash = ?")
        .bind(digest)
        .fetch_one(store.pool())
        .await
        .map_err(doing("look for an invitation"))?;
    Ok(found > 0)
}

fn record(request: &JoinRequest, issued: &IssuedCertificate) -> MemberRecord {
    MemberRecord {
        name: request.name.clone(),
        contact: request.contact.clone(),
        identity: request.identity,
        sealing: request.sealing.clone(),
        commitment: Some(request.commitment),
        certificate: issued.pem.clone(),
        serial: issued.peer.serial,
        joined_at: now_seconds(),
    }
}

/// A key belongs to one member, and a member that a charter names keeps its keys: the
/// others sealed shares and trust to exactly these.
async fn check_keys(
    connection: &mut SqliteConnection,
    request: &JoinRequest,
    known: Option<&MemberRecord>,
) -> Result<(), Refusal> {
    let (taken,): (i64,) = sqlx::query_as(
        "SELECT COUNT(*) FROM members WHERE name <> ? AND (identity_key = ? OR sealing_key = ?)",
    )
    .bind(request.name.as_str())
    .bind(request.identity.to_string())
    .bind(request.sealing.as_bytes().as_slice())
    .fetch_one(&mut *connection)
    .await
    .map_err(internal)?;
    if taken > 0 {
        let why = "another member uses the same keys; give each site a state directory of its own";
        return Err(Refusal::new(RefusalCode::Conflict, why));
    }
    let Some(known) = known else { return Ok(()) };
    let same = known.identity == request.identity && known.sealing == request.sealing;
    let (charters,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM charters WHERE in_force = 1")
        .fetch_one(&mut *connection)
        .await
        .map_err(internal)?;
    if !same && charters > 0 {
        let why = "the charter in force names other keys of this member; join from the state directory that has them";
        return Err(Refusal::new(RefusalCode::Conflict, why));
    }
    Ok(())
}

async fn save(connection: &mut SqliteConnection, member: &MemberRecord) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR REPLACE INTO members \
         (name, contact, identity_key, sealing_key, commitment, certificate, serial, joined_at) \
         VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    )
    .bind(member.name.as_str())
    .bind(&member.contact)
    .bind(member.identity.to_string())
    .bind(member.sealing.as_bytes().as_slice())
    .bind(member.commitment.map(|commitment| commitment.to_string()))
    .bind(&member.certificate)
    .bind(member.serial.to_string())
    .bind(member.joined_at)
    .execute(connection)
    .await
    .map_err(doing("store a member"))?;
    Ok(())
}

/// Every member that has joined, by name. `connected` and `in_charter` are false: the
/// daemon knows them.
///
/// # Errors
/// [`StoreError`].
pub async fn list(store: &Store) -> Result<Vec<MemberSummary>, StoreError> {
    Ok(records(store)
        .await?
        .into_iter()
        .map(|member| MemberSummary {
            name: member.name,
            contact: member.contact,
            identity: member.identity,
            connected: false,
            in_charter: false,
            joined: u64::try_from(member.joined_at).unwrap_or_default(),
        })
        .collect())
}

/// Every member with its keys, by name.
///
/// # Errors
/// [`StoreError`].
pub async fn records(store: &Store) -> Result<Vec<MemberRecord>, StoreError> {
    sqlx::query("SELECT * FROM members ORDER BY name")
        .fetch_all(store.pool())
        .await
        .map_err(doing("read the members"))?
        .iter()
        .map(read)
        .collect()
}

async fn by_name(
    connection: &mut SqliteConnection,
    name: &MemberName,
) -> Result<Option<MemberRecord>, StoreError> {
    sqlx::query("SELECT * FROM members WHERE name = ?")
        .bind(name.as_str())
        .fetch_optional(connection)
        .await
        .map_err(doing("read a member"))?
        .as_ref()
        .map(read)
        .transpose()
}

fn read(row: &SqliteRow) -> Result<MemberRecord, StoreError> {
    let reading = || doing("read a member");
    let text = |column: &str| row.try_get::<String, _>(column).map_err(reading());
    let sealing: Vec<u8> = row.try_get("sealing_key").map_err(reading())?;
    let commitment: Option<String> = row.try_get("commitment").map_err(reading())?;
    let commitment = commitment.map(|text| text.parse()).transpose();
    Ok(MemberRecord {
        name: damaged("a member's name", text("name")?.parse())?,
        contact: text("contact")?,
        identity: damaged("a member's identity key", text("identity_key")?.parse())?,
        sealing: damaged(
            "a member's sealing key",
            SealingPublic::from_bytes(&sealing),
        )?,
        commitment: damaged("a member's commitment", commitment)?,
        certificate: text("certificate")?,
        serial: damaged("a certificate's serial", text("serial")?.parse())?,
        joined_at: row.try_get("joined_at").map_err(reading())?,
    })
}

fn damaged<T, E: std::fmt::Display>(
    what: &'static str,
    result: Result<T, E>,
) -> Result<T, StoreError> {
    result.map_err(|error| StoreError::Damaged {
        what,
        detail: error.to_string(),
    })
}

/// What a peer may know of a fault inside.
fn internal(error: impl std::fmt::Display) -> Refusal {
    tracing::error!(%error, "a member's request failed");
    Refusal::new(
        RefusalCode::Internal,
        "the coordinator's database or keys failed",
    )
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
pub(crate) mod tests;
