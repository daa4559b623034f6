//! What a node must not forget: one SQLite file, `STATE/node.db`.
//!
//! Everything is written with WAL and `synchronous = FULL`: when a call returns, the rows are on
//! the disk. The step machines rely on that: a record is stored *before* the message that it
//! stands for is sent, so a node that is killed at any moment never gives two different answers.
//!
//! Records are opaque bytes here; what they mean is `protocol::step`'s business.

use std::path::{Path, PathBuf};
use std::time::Duration;

use collegium_protocol::{Digest, RunId};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions, SqliteRow,
    SqliteSynchronous,
};
use sqlx::{Row, SqliteConnection};

mod budget;
mod given;
mod requests;

pub use budget::{Bill, BudgetError, Limit, Receipt};
pub use requests::{Decision, Request};

/// Version of the tables below. A change of them is a new version and a migration.
const SCHEMA_VERSION: i64 = 3;

const TABLES: &str = "
CREATE TABLE charters (
    digest    BLOB PRIMARY KEY,
    version   INTEGER NOT NULL UNIQUE,
    body      BLOB NOT NULL
) STRICT;
CREATE TABLE runs (
    run       BLOB PRIMARY KEY,
    task      BLOB NOT NULL,
    data      BLOB NOT NULL,
    closed    INTEGER NOT NULL DEFAULT 0,
    reported  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE records (
    key       TEXT PRIMARY KEY,
    body      BLOB NOT NULL
) STRICT;
";

/// What version 2 adds: requests to the steward, and what was given.
const SINCE_VERSION_1: &str = "
CREATE TABLE requests (
    id        BLOB PRIMARY KEY,
    run       BLOB NOT NULL,
    task      BLOB NOT NULL,
    columns   TEXT NOT NULL,
    members   INTEGER NOT NULL,
    asked_ms  INTEGER NOT NULL,
    state     TEXT NOT NULL DEFAULT 'pending',
    steward   TEXT NOT NULL DEFAULT '',
    reason    TEXT NOT NULL DEFAULT '',
    recorded  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE usage (
    run       BLOB PRIMARY KEY,
    task      TEXT NOT NULL,
    steps     INTEGER NOT NULL,
    bytes     INTEGER NOT NULL
) STRICT;
";

/// What version 3 adds: what answers under differential privacy have told, and their noise's keys.
const SINCE_VERSION_2: &str = "
CREATE TABLE spending (
    run       BLOB NOT NULL,
    ask       BLOB NOT NULL,
    task      TEXT NOT NULL,
    train     REAL NOT NULL,
    test      REAL NOT NULL,
    spent_ms  INTEGER NOT NULL,
    PRIMARY KEY (run, ask)
) STRICT;
CREATE TABLE noise (
    run       BLOB PRIMARY KEY,
    key       BLOB NOT NULL
) STRICT;
";

/// Why the store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be read or written.
    #[error("the node's database {path}: {source}; check the disk's space and permissions")]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// A newer program wrote it.
    #[error(
        "the node's database {path} has version {found}, this program knows up to \
         {SCHEMA_VERSION}; use the newer program again"
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// The version it has.
        found: i64,
    },
    /// A row does not hold what it should.
    #[error("the node's database {path} is damaged: {what}; put it back from a backup")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Which row.
        what: String,
    },
    /// Something else stands already where this was to be written.
    #[error("run {run} has another {what} on record than the one given now")]
    Conflict {
        /// The run.
        run: RunId,
        /// What differs.
        what: String,
    },
}

/// The open store; clones share it.
#[derive(Debug, Clone)]
pub struct Store {
    pool: SqlitePool,
    path: PathBuf,
}

/// A run that this node takes or took part in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunRecord {
    /// The task's text as it was offered.
    pub task: Vec<u8>,
    /// Hash of the rows when the run was accepted.
    pub data: Digest,
    /// Whether the coordinator closed it.
    pub closed: bool,
    /// Whether this site's report of it is written.
    pub reported: bool,
}

impl Store {
    /// Opens or creates the database.
    ///
    /// # Errors
    /// [`StoreError`], with the file and what to do.
    pub async fn open(path: &Path) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(5));
        // One connection: writes are rare and small, and their order is the order of the calls.
        let opened = SqlitePoolOptions::new()
            .max_connections(1)
            .connect_with(options)
            .await;
        let path = path.to_owned();
        let pool = opened.map_err(|source| StoreError::Sqlite {
            path: path.clone(),
            source,
        })?;
        let store = Self { pool, path };
        store.prepare().await?;
        Ok(store)
    }

    async fn prepare(&self) -> Result<(), StoreError> {
        let io = |source| self.failed(source);
        let mut transaction = self.pool.begin().await.map_err(io)?;
        let connection: &mut SqliteConnection = &mut transaction;
        let row = sqlx::query("PRAGMA user_version")
            .fetch_one(&mut *connection)
            .await
            .map_err(io)?;
        let found: i64 = row.try_get(0).map_err(io)?;
        let missing: &[&str] = match found {
            SCHEMA_VERSION => return Ok(()),
            0 => &[TABLES, SINCE_VERSION_1, SINCE_VERSION_2],
            1 => &[SINCE_VERSION_1, SINCE_VERSION_2],
            2 => &[SINCE_VERSION_2],
            _ => {
                return Err(StoreError::Newer {
                    path: self.path.clone(),
                    found,
                });
            }
        };
        for tables in missing.iter().copied() {
            sqlx::raw_sql(tables)
                .execute(&mut *connection)
                .await
                .map_err(io)?;
        }
        sqlx::raw_sql("PRAGMA user_version = 3")
            .execute(&mut *connection)
            .await
            .map_err(io)?;
        transaction.commit().await.map_err(io)
    }

    /// Closes the file; what was written stays.
    pub async fn close(&self) {
        self.pool.close().await;
    }

    /// Stores records in one transaction, each in place of what stood under its key. When this
    /// returns they are on the disk; when it fails, none of them is, and nothing may be sent.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`], when they could not be written.
    pub async fn put_records(&self, records: &[(String, Vec<u8>)]) -> Result<(), StoreError> {
        if records.is_empty() {
            return Ok(());
        }
        let io = |source| self.failed(source);
        let mut transaction = self.pool.begin().await.map_err(io)?;
        for (key, body) in records {
            sqlx::query(
                "INSERT INTO records (key, body) VALUES (?, ?)
                 ON CONFLICT (key) DO UPDATE SET body = excluded.body",
            )
            .bind(key.as_str())
            .bind(body.as_slice())
            .execute(&mut *transaction)
            .await
            .map_err(io)?;
        }
        transaction.commit().await.map_err(io)
    }

    /// All records, by key.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`], when the file cannot be read.
    pub async fn records(&self) -> Result<Vec<(String, Vec<u8>)>, StoreError> {
        let rows = sqlx::query("SELECT key, body FROM records ORDER BY key")
            .fetch_all(&self.pool)
            .await
            .map_err(|source| self.failed(source))?;
        let read = |row: &SqliteRow| Ok((row.try_get(0)?, row.try_get(1)?));
        rows.iter()
            .map(|row| read(row).map_err(|source| self.failed(source)))
            .collect()
    }

    /// Notes that this node takes part in a run, with the rows it has now.
    ///
    /// # Errors
    /// [`StoreError::Conflict`], when the run is on record with another task or other rows.
    pub async fn accept_run(
        &self,
        run: RunId,
        task: &[u8],
        data: Digest,
    ) -> Result<RunRecord, StoreError> {
        sqlx::query(
            "INSERT INTO runs (run, task, data) VALUES (?, ?, ?) ON CONFLICT (run) DO NOTHING",
        )
        .bind(run.as_bytes().as_slice())
        .bind(task)
        .bind(data.as_bytes().as_slice())
        .execute(&self.pool)
        .await
        .map_err(|source| self.failed(source))?;
        let conflict = |what: &str| StoreError::Conflict {
            run,
            what: what.to_owned(),
        };
        match self.run(run).await? {
            Some(record) if record.task != task => Err(conflict("task")),
            Some(record) if record.data != data => Err(conflict("data")),
            Some(record) => Ok(record),
            None => Err(conflict("row")),
        }
    }

    /// A run on record.
    ///
    /// # Errors
    /// [`StoreError`], when the file cannot be read.
    pub async fn run(&self, run: RunId) -> Result<Option<RunRecord>, StoreError> {
        let row = sqlx::query("SELECT task, data, closed, reported FROM runs WHERE run = ?")
            .bind(run.as_bytes().as_slice())
            .fetch_optional(&self.pool)
            .await
            .map_err(|source| self.failed(source))?;
        let Some(row) = row else { return Ok(None) };
        let read = || -> Result<_, sqlx::Error> {
            let data: Vec<u8> = row.try_get(1)?;
            let closed: i64 = row.try_get(2)?;
            let reported: i64 = row.try_get(3)?;
            Ok((row.try_get(0)?, data, closed != 0, reported != 0))
        };
        let (task, data, closed, reported) = read().map_err(|source| self.failed(source))?;
        let data = <[u8; 32]>::try_from(data).map_err(|_| StoreError::Damaged {
            path: self.path.clone(),
            what: format!("the data hash of run {run}"),
        })?;
        Ok(Some(RunRecord {
            task,
            data: Digest(data),
            closed,
            reported,
        }))
    }

    /// Notes that a run is over. Its step records are kept: they show what was answered.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`], when it could not be written.
    pub async fn close_run(&self, run: RunId) -> Result<(), StoreError> {
        self.mark("UPDATE runs SET closed = 1 WHERE run = ?", run)
            .await
    }

    /// Notes that this site's report of a run is written.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`], when it could not be written.
    pub async fn mark_reported(&self, run: RunId) -> Result<(), StoreError> {
        self.mark(
            "UPDATE runs SET closed = 1, reported = 1 WHERE run = ?",
            run,
        )
        .await
    }

    async fn mark(&self, statement: &'static str, run: RunId) -> Result<(), StoreError> {
        sqlx::query(statement)
            .bind(run.as_bytes().as_slice())
            .execute(&self.pool)
            .await
            .map_err(|source| self.failed(source))?;
        Ok(())
    }

    /// Pins a charter's bytes. Whether it follows from the pinned one is the caller's check.
    ///
    /// # Errors
    /// [`StoreError`], when it could not be written.
    pub async fn pin_charter(
        &self,
        digest: Digest,
        version: u32,
        body: &[u8],
    ) -> Result<(), StoreError> {
        sqlx::query("INSERT INTO charters (digest, version, body) VALUES (?, ?, ?)")
            .bind(digest.as_bytes().as_slice())
            .bind(i64::from(version))
            .bind(body)
            .execute(&self.pool)
            .await
            .map_err(|source| self.failed(source))?;
        Ok(())
    }

    /// The bytes of the charter pinned last.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`], when the file cannot be read.
    pub async fn pinned_charter(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let row = sqlx::query("SELECT body FROM charters ORDER BY version DESC LIMIT 1")
            .fetch_optional(&self.pool)
            .await
            .map_err(|source| self.failed(source))?;
        row.map(|row| row.try_get(0).map_err(|source| self.failed(source)))
            .transpose()
    }

    fn failed(&self, source: sqlx::Error) -> StoreError {
        StoreError::Sqlite {
            path: self.path.clone(),
            source,
        }
    }
}

#[cfg(test)]
mod tests;
