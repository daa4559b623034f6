//! The charter's way from a proposal to force: kept here, decided by the members'
//! signatures alone.

use collegium_crypto::identity::Signature;
use collegium_crypto::transcript::Digest;
use collegium_protocol::charter::{Charter, CharterSignature, NewMember, Reveal, SignedCharter};
use collegium_protocol::ids::{MemberIndex, MemberName};
use collegium_protocol::message::admin::{AdminResponse, WhichCharter};
use collegium_protocol::{Refusal, RefusalCode, VerifiedCharter};
use serde_json::json;
use sqlx::SqliteConnection;
use tracing::info;

use crate::init::Keys;
use crate::ledger::{Action, Entry, Ledger, Outcome};
use crate::members;
use crate::store::{Store, StoreError, doing, now_seconds};

/// The charter in force.
///
/// # Errors
/// [`StoreError`].
pub async fn in_force(store: &Store) -> Result<Option<SignedCharter>, StoreError> {
    let mut connection = store
        .pool()
        .acquire()
        .await
        .map_err(doing("read the charter"))?;
    current(&mut connection, WhichCharter::InForce).await
}

/// The proposal that is being signed, with the signatures so far.
///
/// # Errors
/// [`StoreError`].
pub async fn proposed(store: &Store) -> Result<Option<SignedCharter>, StoreError> {
    let mut connection = store
        .pool()
        .acquire()
        .await
        .map_err(doing("read the proposal"))?;
    current(&mut connection, WhichCharter::Proposed).await
}

/// Every charter that is or was in force, by version: how a node that was away, or joined late, comes to
/// the last one.
///
/// # Errors
/// [`StoreError`].
pub async fn chain(store: &Store) -> Result<Vec<SignedCharter>, StoreError> {
    let bodies: Vec<(Vec<u8>,)> =
        sqlx::query_as("SELECT body FROM charters WHERE in_force = 1 ORDER BY version")
            .fetch_all(store.pool())
            .await
            .map_err(doing("read the charters"))?;
    bodies
        .iter()
        .map(|(body,)| SignedCharter::from_bytes(body).map_err(damaged))
        .collect()
}

/// Members whose signature a proposal may still get: its own of a first version, those of the version
/// before of a later one.
#[must_use]
pub fn missing(proposed: &SignedCharter, before: Option<&SignedCharter>) -> Vec<MemberName> {
    let has_signed = |index: MemberIndex| proposed.signatures.iter().any(|one| one.signer == index);
    let signers = &before.unwrap_or(proposed).charter.members;
    signers
        .iter()
        .filter(|member| !has_signed(member.index))
        .map(|member| member.name.clone())
        .collect()
}

/// Answers [`WhichCharter`].
///
/// # Errors
/// `CharterMissing` when there is none.
pub async fn fetch(store: &Store, which: WhichCharter) -> Result<AdminResponse, Refusal> {
    let in_force = in_force(store).await.map_err(internal)?;
    let found = match which {
        WhichCharter::InForce => in_force.map(|charter| answer(charter, Vec::new())),
        WhichCharter::Proposed => {
            let proposal = proposed(store).await.map_err(internal)?;
            proposal.map(|proposal| open(proposal, in_force.as_ref()))
        }
    };
    found.ok_or_else(|| {
        Refusal::new(
            RefusalCode::CharterMissing,
            match which {
                WhichCharter::InForce => "none is in force yet",
                WhichCharter::Proposed => {
                    "none is proposed; the operator runs `collegium charter propose`"
                }
            },
        )
    })
}

fn answer(signed: SignedCharter, missing: Vec<MemberName>) -> AdminResponse {
    AdminResponse::Charter {
        missing,
        charter: Box::new(signed),
    }
}

/// A proposal that is being signed.
fn open(proposed: SignedCharter, before: Option<&SignedCharter>) -> AdminResponse {
    let missing = missing(&proposed, before);
    answer(proposed, missing)
}

/// Proposes a charter, the first or the one after that in force, of `names` in this order (all that have joined, by name, when
/// empty). An open proposal is replaced; proposing the same again keeps its signatures. `policy` is
/// the digest of the access policy in force, on which the members agree with the charter.
///
/// # Errors
/// A refusal that names what is wrong with the list.
pub async fn propose(
    store: &Store,
    ledger: &Ledger,
    keys: &Keys,
    actor: &str,
    policy: Digest,
    names: &[MemberName],
) -> Result<AdminResponse, Refusal> {
    let before = in_force(store).await.map_err(internal)?;
    let members = select(members::records(store).await.map_err(internal)?, names)?;
    let coordinator = keys.signing.public();
    let charter = match &before {
        None => {
            let consortium = &keys.consortium;
            Charter::found(
                &consortium.name,
                consortium.id,
                coordinator,
                policy,
                members,
            )
        }
        Some(before) => {
            let pinned = VerifiedCharter::from_pinned(before.clone()).map_err(internal)?;
            Charter::following(&pinned, coordinator, policy, members)
        }
    }
    .map_err(|error| Refusal::new(RefusalCode::CharterInvalid, error))?;
    if before
        .as_ref()
        .is_some_and(|before| same(&before.charter, &charter))
    {
        let why = "the charter in force says the same already";
        return Err(Refusal::new(RefusalCode::Conflict, why));
    }
    let digest = charter.digest();
    if let Some(proposal) = proposed(store).await.map_err(internal)?
        && proposal.charter.digest() == digest
    {
        return Ok(open(proposal, before.as_ref()));
    }
    let signed = SignedCharter::unsigned(charter);
    write_down(
        ledger,
        Entry::new(
            Action::CharterPropose,
            actor,
            &digest.to_string(),
            Outcome::Done,
        )
        .evidence(
            json!({ "version": signed.charter.version, "members": signed.charter.members.len() }),
        ),
    )?;
    replace_proposal(store, &signed, &digest)
        .await
        .map_err(internal)?;
    info!(charter = %digest, members = signed.charter.members.len(), by = actor, "charter proposed");
    Ok(open(signed, before.as_ref()))
}

/// Whether a later version would change nothing that members agree on.
fn same(before: &Charter, after: &Charter) -> bool {
    let mut renumbered = after.clone();
    (renumbered.version, renumbered.previous) = (before.version, before.previous);
    renumbered == *before
}

fn select(
    joined: Vec<members::MemberRecord>,
    names: &[MemberName],
) -> Result<Vec<NewMember>, Refusal> {
    let chosen: Vec<MemberName> = if names.is_empty() {
        joined.iter().map(|member| member.name.clone()).collect()
    } else {
        names.to_vec()
    };
    chosen
        .iter()
        .map(|name| {
            let found = joined.iter().find(|member| member.name == *name);
            let member = found.ok_or_else(|| {
                Refusal::new(
                    RefusalCode::UnknownMember,
                    format_args!("{name} has not joined yet"),
                )
            })?;
            let commitment = member.commitment.ok_or_else(|| {
                let why = format_args!(
                    "{name} joined by an earlier version, without committing to its part of the \
                     beacon; invite it again, and let it join again"
                );
                Refusal::new(RefusalCode::CharterInvalid, why)
            })?;
            Ok(NewMember {
                name: member.name.clone(),
                contact: member.contact.clone(),
                identity: member.identity,
                sealing: member.sealing.clone(),
                commitment,
            })
        })
        .collect()
}

/// Takes a member's signature, with its part of the beacon where a committee is drawn. When it
/// was the last one needed, the charter is in force. A later version does not take effect while
/// `run_under_way`: its steps are under the charter that they began with.
///
/// # Errors
/// A refusal when the charter is not the proposed one, the member is not in it, the signature
/// does not verify, or what it reveals is not what it committed to.
pub async fn sign(
    store: &Store,
    ledger: &Ledger,
    member: &MemberName,
    charter: Digest,
    one: (Signature, Option<Reveal>),
    run_under_way: bool,
) -> Result<AdminResponse, Refusal> {
    let (signature, reveal) = one;
    let mut transaction = store.begin_write().await.map_err(internal)?;
    let before = current(&mut transaction, WhichCharter::InForce)
        .await
        .map_err(internal)?;
    if let Some(done) = &before
        && done.charter.digest() == charter
    {
        // The member's first answer was lost; all is well.
        return Ok(answer(done.clone(), Vec::new()));
    }
    let pinned = before
        .clone()
        .map(VerifiedCharter::from_pinned)
        .transpose()
        .map_err(internal)?;
    let signers = before.as_ref();
    let (mut signed, index) = proposed_to(&mut transaction, charter, member, signers).await?;
    let one = CharterSignature {
        signer: index,
        signature,
        reveal,
    };
    signed
        .add(one.clone(), pinned.as_ref())
        .map_err(|error| Refusal::new(RefusalCode::BadSignature, error))?;
    let digest = charter.to_string();
    let verified = signed.verify(pinned.as_ref()).is_ok();
    if verified && pinned.is_some() && run_under_way {
        let why = "this signature would change the members in the middle of a run; sign again when the run has \
                   ended, or have it cancelled";
        return Err(Refusal::new(RefusalCode::Busy, why));
    }
    keep_signature(&mut transaction, ledger, member, (&signed, &one)).await?;
    if verified {
        put_in_force(&mut transaction, &signed, &digest)
            .await
            .map_err(internal)?;
        let in_force = Action::CharterInForce;
        write_down(
            ledger,
            Entry::new(in_force, "coordinator", &digest, Outcome::Done),
        )?;
    }
    transaction.commit().await.map_err(internal)?;
    info!(%member, charter = digest, in_force = verified, "charter signed");
    if verified {
        return Ok(answer(signed, Vec::new()));
    }
    Ok(open(signed, before.as_ref()))
}

/// Adds a signature to the ones kept, and writes it into the ledger: what the ledger states is
/// durable before anybody can see it.
async fn keep_signature(
    connection: &mut SqliteConnection,
    ledger: &Ledger,
    member: &MemberName,
    (signed, one): (&SignedCharter, &CharterSignature),
) -> Result<(), Refusal> {
    let digest = signed.charter.digest().to_string();
    add_signature(connection, &digest, member, one)
        .await
        .map_err(internal)?;
    let evidence =
        json!({ "signatures": signed.signatures.len(), "members": signed.charter.members.len() });
    let signing = Action::CharterSign;
    write_down(
        ledger,
        Entry::new(signing, member.as_str(), &digest, Outcome::Done).evidence(evidence),
    )
}

/// The proposed charter, which must be this one, and the member's index among those who sign it.
async fn proposed_to(
    connection: &mut SqliteConnection,
    charter: Digest,
    member: &MemberName,
    before: Option<&SignedCharter>,
) -> Result<(SignedCharter, MemberIndex), Refusal> {
    let proposed = current(connection, WhichCharter::Proposed).await;
    let signed = proposed
        .map_err(internal)?
        .filter(|signed| signed.charter.digest() == charter)
        .ok_or_else(|| {
            let why = "this charter is not the one that is proposed now; fetch it again";
            Refusal::new(RefusalCode::CharterMismatch, why)
        })?;
    let signers = &before.unwrap_or(&signed).charter.members;
    let entry = signers.iter().find(|entry| entry.name == *member);
    let index = entry.map(|entry| entry.index).ok_or_else(|| {
        let why = match before {
            Some(_) => {
                format!("{member} is not in the version before, whose members sign this one")
            }
            None => member.to_string(),
        };
        Refusal::new(RefusalCode::UnknownMember, why)
    })?;
    Ok((signed, index))
}

async fn current(
    connection: &mut SqliteConnection,
    which: WhichCharter,
) -> Result<Option<SignedCharter>, StoreError> {
    let row: Option<(String, Vec<u8>)> = sqlx::query_as(
        "SELECT digest, body FROM charters WHERE in_force = ? ORDER BY version DESC, created_at DESC LIMIT 1",
    )
    .bind(i64::from(which == WhichCharter::InForce))
    .fetch_optional(&mut *connection)
    .await
    .map_err(doing("read a charter"))?;
    let Some((digest, body)) = row else {
        return Ok(None);
    };
    let mut signed = SignedCharter::from_bytes(&body).map_err(damaged)?;
    if which == WhichCharter::Proposed {
        // Boxed, because it asks itself for the other one.
        let before = Box::pin(current(connection, WhichCharter::InForce)).await?;
        let pinned = before
            .map(VerifiedCharter::from_pinned)
            .transpose()
            .map_err(damaged)?;
        add_signatures(connection, &mut signed, &digest, pinned.as_ref()).await?;
    }
    Ok(Some(signed))
}

/// Puts the stored signatures under a proposal.
async fn add_signatures(
    connection: &mut SqliteConnection,
    signed: &mut SignedCharter,
    digest: &str,
    before: Option<&VerifiedCharter>,
) -> Result<(), StoreError> {
    let rows: Vec<(String, Vec<u8>, Option<Vec<u8>>)> =
        sqlx::query_as("SELECT member, signature, reveal FROM charter_signatures WHERE digest = ?")
            .bind(digest)
            .fetch_all(&mut *connection)
            .await
            .map_err(doing("read a charter's signatures"))?;
    for (member, signature, reveal) in rows {
        let signature: [u8; 64] = signature
            .try_into()
            .map_err(|_| damaged("a signature's length"))?;
        let reveal = reveal
            .map(|bytes| bytes.try_into().map(Reveal::from_bytes))
            .transpose()
            .map_err(|_| damaged("a reveal's length"))?;
        let signers = before.map_or(&signed.charter, |before| before.charter());
        let entry = signers
            .members
            .iter()
            .find(|entry| entry.name.as_str() == member);
        let signer = entry
            .map(|entry| entry.index)
            .ok_or_else(|| damaged("a signer is no member"))?;
        let one = CharterSignature {
            signer,
            signature: Signature::from_bytes(signature),
            reveal,
        };
        signed.add(one, before).map_err(damaged)?;
    }
    Ok(())
}

async fn replace_proposal(
    store: &Store,
    signed: &SignedCharter,
    digest: &Digest,
) -> Result<(), StoreError> {
    let storing = || doing("store a proposal");
    let body = signed.to_bytes().map_err(damaged)?;
    let mut transaction = store.begin_write().await.map_err(storing())?;
    for statement in [
        "DELETE FROM charter_signatures WHERE digest IN (SELECT digest FROM charters WHERE in_force = 0)",
        "DELETE FROM charters WHERE in_force = 0",
    ] {
        sqlx::query(statement)
            .execute(&mut *transaction)
            .await
            .map_err(storing())?;
    }
    sqlx::query(
        "INSERT INTO charters (digest, version, body, in_force, created_at) VALUES (?, ?, ?, 0, ?)",
    )
    .bind(digest.to_string())
    .bind(i64::from(signed.charter.version))
    .bind(body)
    .bind(now_seconds())
    .execute(&mut *transaction)
    .await
    .map_err(storing())?;
    transaction.commit().await.map_err(storing())
}

async fn add_signature(
    connection: &mut SqliteConnection,
    digest: &str,
    member: &MemberName,
    one: &CharterSignature,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR REPLACE INTO charter_signatures (digest, member, signature, reveal) \
         VALUES (?, ?, ?, ?)",
    )
    .bind(digest)
    .bind(member.as_str())
    .bind(one.signature.to_bytes().as_slice())
    .bind(one.reveal.map(|reveal| reveal.as_bytes().to_vec()))
    .execute(connection)
    .await
    .map_err(doing("store a signature"))?;
    Ok(())
}

async fn put_in_force(
    connection: &mut SqliteConnection,
    signed: &SignedCharter,
    digest: &str,
) -> Result<(), StoreError> {
    sqlx::query("UPDATE charters SET in_force = 1, body = ? WHERE digest = ?")
        .bind(signed.to_bytes().map_err(damaged)?)
        .bind(digest)
        .execute(connection)
        .await
        .map_err(doing("put a charter in force"))?;
    Ok(())
}

fn damaged(error: impl std::fmt::Display) -> StoreError {
    StoreError::Damaged {
        what: "a charter",
        detail: error.to_string(),
    }
}

fn internal(error: impl std::fmt::Display) -> Refusal {
    tracing::error!(%error, "a charter request failed");
    Refusal::new(RefusalCode::Internal, "the coordinator's database failed")
}

fn write_down(ledger: &Ledger, entry: Entry) -> Result<(), Refusal> {
    ledger.append(entry).map(|_| ()).map_err(|error| {
        tracing::error!(%error, "the ledger cannot be written");
        Refusal::new(
            RefusalCode::Internal,
            "the coordinator's ledger cannot be written",
        )
    })
}

#[cfg(test)]
mod tests;
