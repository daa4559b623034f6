//! Tasks that wait for a steward, and what stewards said.

use collegium_crypto::transcript::hash;
use collegium_protocol::{Digest, RunId};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use super::{Store, StoreError};

/// Domain of a request's id.
const DOMAIN: &str = "collegium/approval-request/v1";
/// Requests are told apart by this many hexadecimal digits, and more where that is too few.
const SHORT_ID: usize = 8;

/// What a steward said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Decision {
    /// Nothing yet.
    Pending,
    /// This site takes part.
    Approved,
    /// It does not.
    Refused,
}

/// A task that a steward is asked about. What is approved is this: the task's text, the columns
/// it may read here, and the number of members. Later rounds of it are the same request; with
/// another column or member it is a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// Hash of what is asked.
    pub id: Digest,
    /// The run that was offered last.
    pub run: RunId,
    /// The task's text.
    pub task: Vec<u8>,
    /// The columns of this site's table that it may read.
    pub columns: Vec<String>,
    /// Members of the consortium.
    pub members: u16,
    /// When it was asked first: milliseconds since 1970-01-01 UTC, by this computer's clock.
    pub asked_ms: u64,
    /// What a steward said.
    pub decision: Decision,
    /// Who.
    pub steward: String,
    /// Why, where the steward gave a reason.
    pub reason: String,
    /// Whether the ledger has the decision.
    pub recorded: bool,
}

impl Decision {
    /// Its name in the database and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Approved => "approved",
            Self::Refused => "refused",
        }
    }

    fn of(name: &str) -> Option<Self> {
        [Self::Pending, Self::Approved, Self::Refused]
            .into_iter()
            .find(|it| it.name() == name)
    }
}

impl Request {
    /// A request that nobody has answered.
    #[must_use]
    pub fn new(run: RunId, task: &[u8], columns: &[String], members: u16, asked_ms: u64) -> Self {
        let mut parts: Vec<&[u8]> = vec![task];
        let count = members.to_le_bytes();
        parts.push(&count);
        parts.extend(columns.iter().map(String::as_bytes));
        Self {
            id: hash(DOMAIN, &parts),
            run,
            task: task.to_vec(),
            columns: columns.to_vec(),
            members,
            asked_ms,
            decision: Decision::Pending,
            steward: String::new(),
            reason: String::new(),
            recorded: false,
        }
    }

    /// The id as people write it: the first digits.
    #[must_use]
    pub fn short_id(&self) -> String {
        self.id.to_string().chars().take(SHORT_ID).collect()
    }
}

impl Store {
    /// Puts a request where a steward finds it; one that is there keeps its answer and learns of
    /// the run. Gives the request as it is now.
    ///
    /// # Errors
    /// [`StoreError`], when it could not be written.
    pub async fn put_request(&self, request: &Request) -> Result<Request, StoreError> {
        let columns = serde_json::to_string(&request.columns).unwrap_or_default();
        sqlx::query(
            "INSERT INTO requests (id, run, task, columns, members, asked_ms)
             VALUES (?, ?, ?, ?, ?, ?)
             ON CONFLICT (id) DO UPDATE SET run = excluded.run",
        )
        .bind(request.id.as_bytes().as_slice())
        .bind(request.run.as_bytes().as_slice())
        .bind(request.task.as_slice())
        .bind(columns)
        .bind(i64::from(request.members))
        .bind(i64::try_from(request.asked_ms).unwrap_or(i64::MAX))
        .execute(&self.pool)
        .await
        .map_err(|source| self.failed(source))?;
        let found = self.request(request.id).await?;
        found.ok_or_else(|| self.damaged("a request that was just written"))
    }

    /// A request by its id.
    ///
    /// # Errors
    /// [`StoreError`], when the file cannot be read.
    pub async fn request(&self, id: Digest) -> Result<Option<Request>, StoreError> {
        let row = sqlx::query("SELECT * FROM requests WHERE id = ?")
            .bind(id.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await
            .map_err(|source| self.failed(source))?;
        row.map(|row| self.read_request(&row)).transpose()
    }

    /// All requests, the oldest first.
    ///
    /// # Errors
    /// [`StoreError`], when the file cannot be read.
    pub async fn requests(&self) -> Result<Vec<Request>, StoreError> {
        let rows = sqlx::query("SELECT * FROM requests ORDER BY asked_ms, id")
            .fetch_all(&self.pool)
            .await
            .map_err(|source| self.failed(source))?;
        rows.iter().map(|row| self.read_request(row)).collect()
    }

    /// Writes a steward's word; the daemon finds it there. It replaces an earlier one.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`], when it could not be written.
    pub async fn decide_request(
        &self,
        id: Digest,
        decision: Decision,
        steward: &str,
        reason: &str,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE requests SET state = ?, steward = ?, reason = ?, recorded = 0 WHERE id = ?",
        )
        .bind(decision.name())
        .bind(steward)
        .bind(reason)
        .bind(id.as_bytes().as_slice())
        .execute(&self.pool)
        .await
        .map_err(|source| self.failed(source))?;
        Ok(())
    }

    /// Notes that the ledger has the decision.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`], when it could not be written.
    pub async fn mark_recorded(&self, id: Digest) -> Result<(), StoreError> {
        sqlx::query("UPDATE requests SET recorded = 1 WHERE id = ?")
            .bind(id.as_bytes().as_slice())
            .execute(&self.pool)
            .await
            .map_err(|source| self.failed(source))?;
        Ok(())
    }

    fn read_request(&self, row: &SqliteRow) -> Result<Request, StoreError> {
        let failed = |source| self.failed(source);
        let id: Vec<u8> = row.try_get("id").map_err(failed)?;
        let run: Vec<u8> = row.try_get("run").map_err(failed)?;
        let columns: String = row.try_get("columns").map_err(failed)?;
        let members: i64 = row.try_get("members").map_err(failed)?;
        let asked: i64 = row.try_get("asked_ms").map_err(failed)?;
        let state: String = row.try_get("state").map_err(failed)?;
        let recorded: i64 = row.try_get("recorded").map_err(failed)?;
        let damaged = |what: &str| self.damaged(&format!("the {what} of a request"));
        Ok(Request {
            id: Digest(id.try_into().map_err(|_| damaged("id"))?),
            run: RunId::from_bytes(run.try_into().map_err(|_| damaged("run"))?),
            task: row.try_get("task").map_err(failed)?,
            columns: serde_json::from_str(&columns).map_err(|_| damaged("columns"))?,
            members: u16::try_from(members).map_err(|_| damaged("members"))?,
            asked_ms: u64::try_from(asked).unwrap_or(0),
            decision: Decision::of(&state).ok_or_else(|| damaged("state"))?,
            steward: row.try_get("steward").map_err(failed)?,
            reason: row.try_get("reason").map_err(failed)?,
            recorded: recorded != 0,
        })
    }

    fn damaged(&self, what: &str) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            what: what.to_owned(),
        }
    }
}
