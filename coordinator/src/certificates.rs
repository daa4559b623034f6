//! Certificates that count: who has which, how they are renewed, and how they are taken away.
//!
//! Each certificate that is issued has a row. Taking one away is, in this order, a fact in the ledger,
//! a row that outlives restarts, an entry in the list that handshakes consult, and the end of every
//! connection that is open with it.

use std::time::{SystemTime, UNIX_EPOCH};

use collegium_protocol::ids::MemberName;
use collegium_protocol::message::admin::{AdminResponse, CertificateSummary};
use collegium_protocol::pki::{Peer, Revocations, Role, Serial, Subject};
use collegium_protocol::{Refusal, RefusalCode};
use serde_json::json;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use tracing::info;

use crate::connections::Connections;
use crate::init::Keys;
use crate::ledger::{Action, Entry, Ledger, Outcome};
use crate::store::{Store, StoreError, doing, now_seconds};

/// Everything that knows of certificates.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// The database.
    pub store: &'a Store,
    /// The log.
    pub ledger: &'a Ledger,
    /// The authority, and the list that handshakes consult.
    pub keys: &'a Keys,
    /// Who is connected.
    pub connections: &'a Connections,
}

/// Seconds since 1970.
pub(crate) fn seconds(time: SystemTime) -> i64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// Notes a certificate that was issued; one that is noted already stays as it is.
pub(crate) async fn register(
    connection: &mut SqliteConnection,
    issued: &Peer,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR IGNORE INTO certificates (serial, role, name, fingerprint, not_after, issued_at) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(issued.serial.to_string())
    .bind(issued.subject.role.as_str())
    .bind(&issued.subject.name)
    .bind(issued.fingerprint.to_string())
    .bind(seconds(issued.not_after))
    .bind(now_seconds())
    .execute(connection)
    .await
    .map_err(doing("note a certificate"))?;
    Ok(())
}

/// Notes what an earlier version issued without noting it, and what the coordinator issued to itself.
///
/// # Errors
/// [`StoreError`].
pub async fn register_known(store: &Store, own: &[Peer]) -> Result<(), StoreError> {
    let mut transaction = store.pool().begin().await.map_err(doing("begin"))?;
    let rows: Vec<(String,)> = sqlx::query_as("SELECT certificate FROM members")
        .fetch_all(&mut *transaction)
        .await
        .map_err(doing("read the members' certificates"))?;
    for (pem,) in rows {
        let peer = Peer::from_pem(&pem).map_err(|error| StoreError::Damaged {
            what: "a member's certificate",
            detail: error.to_string(),
        })?;
        register(&mut transaction, &peer).await?;
    }
    for peer in own {
        register(&mut transaction, peer).await?;
    }
    transaction.commit().await.map_err(doing("commit"))
}

/// Fills the deny-list that handshakes consult.
///
/// # Errors
/// [`StoreError`].
pub async fn load_revocations(store: &Store, revocations: &Revocations) -> Result<(), StoreError> {
    let rows: Vec<(String,)> = sqlx::query_as("SELECT serial FROM revoked_certificates")
        .fetch_all(store.pool())
        .await
        .map_err(doing("read the revoked certificates"))?;
    for (serial,) in rows {
        revocations.revoke(parse("a revoked serial", &serial)?);
    }
    Ok(())
}

/// Certificates of clients that have not ended, by role and name, the oldest first.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    store: &Store,
    connections: &Connections,
) -> Result<Vec<CertificateSummary>, StoreError> {
    let rows = sqlx::query(
        "SELECT c.serial, c.role, c.name, c.fingerprint, c.not_after, r.revoked_at \
         FROM certificates c LEFT JOIN revoked_certificates r ON r.serial = c.serial \
         WHERE c.not_after > ? ORDER BY c.role, c.name, c.position",
    )
    .bind(now_seconds())
    .fetch_all(store.pool())
    .await
    .map_err(doing("read the certificates"))?;
    rows.iter()
        .map(|row| {
            let mut summary = read(row)?;
            let open = connections.count(&summary.serial);
            summary.connections = u32::try_from(open).unwrap_or(u32::MAX);
            Ok(summary)
        })
        .collect()
}

fn read(row: &SqliteRow) -> Result<CertificateSummary, StoreError> {
    let reading = || doing("read a certificate");
    let text = |column: &str| row.try_get::<String, _>(column).map_err(reading());
    let revoked: Option<i64> = row.try_get("revoked_at").map_err(reading())?;
    let not_after: i64 = row.try_get("not_after").map_err(reading())?;
    Ok(CertificateSummary {
        serial: parse("a certificate's serial", &text("serial")?)?,
        subject: Subject {
            role: parse("a certificate's role", &text("role")?)?,
            name: text("name")?,
        },
        fingerprint: parse("a certificate's fingerprint", &text("fingerprint")?)?,
        not_after: u64::try_from(not_after).unwrap_or_default(),
        revoked: revoked.and_then(|at| u64::try_from(at).ok()),
        connections: 0,
    })
}

/// Whose certificate this is; `None` when the coordinator never issued it.
///
/// # Errors
/// [`StoreError`].
pub async fn holder(store: &Store, serial: &Serial) -> Result<Option<Subject>, StoreError> {
    let row: Option<(String, String)> =
        sqlx::query_as("SELECT role, name FROM certificates WHERE serial = ?")
            .bind(serial.to_string())
            .fetch_optional(store.pool())
            .await
            .map_err(doing("look for a certificate"))?;
    row.map(|(role, name)| {
        let role = parse("a certificate's role", &role)?;
        Ok(Subject { role, name })
    })
    .transpose()
}

/// The certificates of these roles and this name that count, in the order in which they were issued.
pub(crate) async fn counting(
    connection: &mut SqliteConnection,
    roles: &[Role],
    name: &str,
) -> Result<Vec<(Serial, Subject)>, StoreError> {
    let rows: Vec<(String, String)> = sqlx::query_as(
        "SELECT serial, role FROM certificates WHERE name = ? AND not_after > ? \
         AND serial NOT IN (SELECT serial FROM revoked_certificates) ORDER BY position",
    )
    .bind(name)
    .bind(now_seconds())
    .fetch_all(connection)
    .await
    .map_err(doing("look for certificates"))?;
    let mut found = Vec::new();
    for (serial, role) in rows {
        let role: Role = parse("a certificate's role", &role)?;
        if roles.contains(&role) {
            let name = name.to_owned();
            found.push((
                parse("a certificate's serial", &serial)?,
                Subject { role, name },
            ));
        }
    }
    Ok(found)
}

async fn is_revoked(
    connection: &mut SqliteConnection,
    serial: &Serial,
) -> Result<bool, StoreError> {
    let (found,): (i64,) =
        sqlx::query_as("SELECT COUNT(*) FROM revoked_certificates WHERE serial = ?")
            .bind(serial.to_string())
            .fetch_one(connection)
            .await
            .map_err(doing("look for a revoked certificate"))?;
    Ok(found > 0)
}

/// Notes that a certificate counts no more. The caller brings it to the ledger before it commits, and
/// to handshakes and connections after ([`Access::enforce`]).
pub(crate) async fn note_revoked(
    connection: &mut SqliteConnection,
    serial: &Serial,
    holder: &Subject,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR IGNORE INTO revoked_certificates (serial, holder, revoked_at) VALUES (?, ?, ?)",
    )
    .bind(serial.to_string())
    .bind(holder.to_string())
    .bind(now_seconds())
    .execute(connection)
    .await
    .map_err(doing("revoke a certificate"))?;
    Ok(())
}

impl Access<'_> {
    /// Takes certificates away: from now on they are refused in handshakes, and what is open with
    /// them is closed.
    ///
    /// # Errors
    /// `Internal` when ledger or database cannot be written; nothing is taken away then.
    pub async fn revoke(
        &self,
        actor: &str,
        certificates: &[(Serial, Subject)],
        why: &str,
    ) -> Result<(), Refusal> {
        let mut transaction = self.store.begin_write().await.map_err(internal)?;
        self.note(&mut transaction, actor, certificates, why)
            .await?;
        transaction.commit().await.map_err(internal)?;
        self.enforce(certificates, why);
        Ok(())
    }

    /// Brings revocations into the ledger and, within a transaction, into the database.
    pub(crate) async fn note(
        &self,
        transaction: &mut SqliteConnection,
        actor: &str,
        certificates: &[(Serial, Subject)],
        why: &str,
    ) -> Result<(), Refusal> {
        for (serial, holder) in certificates {
            let entry = Entry::new(Action::Revoke, actor, &holder.to_string(), Outcome::Done);
            let evidence = json!({ "certificate_serial": serial.to_string(), "reason": why });
            write_down(self.ledger, entry.evidence(evidence))?;
            note_revoked(transaction, serial, holder)
                .await
                .map_err(internal)?;
        }
        Ok(())
    }

    /// Makes revocations that are committed take effect, now.
    pub(crate) fn enforce(&self, certificates: &[(Serial, Subject)], why: &str) {
        for (serial, holder) in certificates {
            self.keys.revocations.revoke(*serial);
            let closed = self
                .connections
                .close(serial, &format!("certificate revoked: {why}"));
            info!(%holder, %serial, closed, why, "certificate revoked");
        }
    }

    /// Takes one certificate away because somebody asks for it.
    ///
    /// # Errors
    /// `UnknownObject` when it was never issued; `Conflict` when it is the asker's own, or a server's,
    /// or was taken away before.
    pub async fn revoke_one(&self, asker: &Peer, serial: Serial) -> Result<(), Refusal> {
        let holder = holder(self.store, &serial).await.map_err(internal)?;
        let holder = holder.ok_or_else(|| {
            let why = format_args!("no certificate has the serial number {serial}");
            Refusal::new(RefusalCode::UnknownObject, why)
        })?;
        let conflict = |why: &str| Err(Refusal::new(RefusalCode::Conflict, why));
        if serial == asker.serial {
            return conflict(
                "this is the certificate you use, and without it nobody could undo this; \
                 get a new one with `collegium cert rotate`, which takes the old one away",
            );
        }
        if holder.role == Role::Coordinator {
            return conflict("this is the coordinator's own certificate; restart it to renew it");
        }
        if self.keys.revocations.is_revoked(&serial) {
            return conflict("it was taken away before");
        }
        let actor = asker.subject.to_string();
        self.revoke(&actor, &[(serial, holder)], "revoked by hand")
            .await
    }

    /// A new certificate for the holder of `peer`, which keeps role and name. Others that were issued
    /// later than `peer` and never used are taken away: their holder lost the answer.
    ///
    /// # Errors
    /// `Malformed` when the request is none.
    pub async fn renew(
        &self,
        peer: &Peer,
        request: &[u8],
        now: SystemTime,
    ) -> Result<AdminResponse, Refusal> {
        let issued = self
            .keys
            .authority
            .sign_request(request, &peer.subject, now)
            .map_err(|error| Refusal::new(RefusalCode::Malformed, error))?;
        let subject = &peer.subject;
        let mut transaction = self.store.begin_write().await.map_err(internal)?;
        // Between the request and here it may have been taken away.
        if is_revoked(&mut transaction, &peer.serial)
            .await
            .map_err(internal)?
        {
            let why = "your certificate was taken away";
            return Err(Refusal::new(RefusalCode::NotAllowed, why));
        }
        let lost: Vec<_> = counting(&mut transaction, &[subject.role], &subject.name)
            .await
            .map_err(internal)?
            .into_iter()
            .skip_while(|(serial, _)| *serial != peer.serial)
            .skip(1)
            .collect();
        let actor = subject.to_string();
        let why = "never used, and renewed again";
        self.note(&mut transaction, &actor, &lost, why).await?;
        register(&mut transaction, &issued.peer)
            .await
            .map_err(internal)?;
        replace_stored(&mut transaction, &issued.peer, &issued.pem)
            .await
            .map_err(internal)?;
        let entry = Entry::new(Action::Renew, &actor, &actor, Outcome::Done);
        write_down(
            self.ledger,
            entry.evidence(json!({
                "certificate": peer.fingerprint.to_string(),
                "new_serial": issued.peer.serial.to_string(),
                "new_certificate": issued.peer.fingerprint.to_string(),
            })),
        )?;
        transaction.commit().await.map_err(internal)?;
        self.enforce(&lost, why);
        info!(who = actor, serial = %issued.peer.serial, "certificate renewed");
        Ok(AdminResponse::Certificate {
            certificate: issued.pem,
        })
    }

    /// A certificate is used: those that were issued to its holder before it count no more, for the
    /// holder has shown that it has the new one.
    ///
    /// # Errors
    /// `Internal`.
    pub async fn first_use(&self, peer: &Peer) -> Result<(), Refusal> {
        let subject = &peer.subject;
        let mut connection = self.store.pool().acquire().await.map_err(internal)?;
        let counting = counting(&mut connection, &[subject.role], &subject.name)
            .await
            .map_err(internal)?;
        drop(connection);
        let Some(at) = counting
            .iter()
            .position(|(serial, _)| *serial == peer.serial)
        else {
            return Ok(());
        };
        let older = counting.get(..at).unwrap_or_default();
        if older.is_empty() {
            return Ok(());
        }
        let why = "a newer certificate of the same holder is in use";
        self.revoke(&subject.to_string(), older, why).await
    }
}

/// The member's or person's own row names its newest certificate.
async fn replace_stored(
    connection: &mut SqliteConnection,
    peer: &Peer,
    pem: &str,
) -> Result<(), StoreError> {
    let statement = match peer.subject.role {
        Role::Node => "UPDATE members SET certificate = ?, serial = ? WHERE name = ?",
        _ => "UPDATE users SET certificate = ?, serial = ? WHERE name = ?",
    };
    sqlx::query(statement)
        .bind(pem)
        .bind(peer.serial.to_string())
        .bind(&peer.subject.name)
        .execute(connection)
        .await
        .map_err(doing("store a renewed certificate"))?;
    Ok(())
}

/// The subject of a member's node.
pub(crate) fn node(name: &MemberName) -> Subject {
    Subject {
        role: Role::Node,
        name: name.to_string(),
    }
}

fn parse<T: std::str::FromStr<Err: std::fmt::Display>>(
    what: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    text.parse().map_err(|error: T::Err| StoreError::Damaged {
        what,
        detail: error.to_string(),
    })
}

/// What a peer may know of a fault inside.
pub(crate) fn internal(error: impl std::fmt::Display) -> Refusal {
    tracing::error!(%error, "a request about certificates failed");
    Refusal::new(
        RefusalCode::Internal,
        "the coordinator's database or keys failed",
    )
}

pub(crate) fn write_down(ledger: &Ledger, entry: Entry) -> Result<(), Refusal> {
    ledger.append(entry).map_err(|error| {
        tracing::error!(%error, "the ledger cannot be written");
        let why = "the coordinator's ledger cannot be written";
        Refusal::new(RefusalCode::Internal, why)
    })
}
