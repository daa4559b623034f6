//! The coordinator's database: one SQLite file, `STATE/collegium.db`.
//!
//! Write-ahead log with `synchronous = FULL`: when a call here has returned, what
//! it wrote survives a power cut. The order in which the step driver makes these
//! calls, relative to what it sends, is what makes a crash harmless.

mod bulk;
mod runs;
mod schema;
mod steps;

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{AssertSqlSafe, SqlitePool};

use bulk::Bulk;
pub use runs::{NextRound, RunRecord, RunState, TaskRecord};
pub use steps::{CertifiedStep, JournalRecord};

/// The database's file name inside the state directory.
pub const FILE_NAME: &str = "collegium.db";

/// How long a writer waits for another process (`coordinator invite`) to finish.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// SQLite has one writer at a time anyway; a few readers beside it keep the
/// admin streams from waiting behind a step's record.
const CONNECTIONS: u32 = 3;

/// A handle on the database; clones share it.
#[derive(Clone, Debug)]
pub struct Store {
    pool: SqlitePool,
    bulk: Bulk,
}

/// What can go wrong with the database.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened or created.
    #[error(
        "cannot open the database {path}: {source} (is the state directory there and writable, and the disk not full?)"
    )]
    Open {
        /// The database file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// The state was written by a newer binary.
    #[error(
        "{path} has state version {found}, this binary knows up to {known}: use the newer collegium that wrote it"
    )]
    Newer {
        /// The database file.
        path: PathBuf,
        /// The version found.
        found: i64,
        /// The newest version known here.
        known: i64,
    },
    /// A statement failed.
    #[error("database: cannot {what}: {source}")]
    Query {
        /// What was being done.
        what: &'static str,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// The file of a run's large totals cannot be used.
    #[error(
        "file journal/{run} in the state directory: cannot {what}: {source} (is the disk full or \
         read-only? if it is damaged, restore the whole state directory from a backup)"
    )]
    Bulk {
        /// The run.
        run: String,
        /// What was being done.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A stored value is not what this program writes.
    #[error("database: {what} is damaged: {detail}; restore collegium.db from a backup")]
    Damaged {
        /// Which value.
        what: &'static str,
        /// What is wrong with it.
        detail: String,
    },
    /// A step that has a certificate must be driven to its end, not dropped,
    /// and a step is recorded in order.
    #[error("database: step {step} of run {run} is not in the state to {what}")]
    OutOfOrder {
        /// The run.
        run: String,
        /// The step.
        step: u64,
        /// What was being done.
        what: &'static str,
    },
}

/// Turns a database error into ours, with what was being done.
pub(crate) fn doing(what: &'static str) -> impl FnOnce(sqlx::Error) -> StoreError {
    move |source| StoreError::Query { what, source }
}

/// Seconds since 1970, for records that people read; no decision depends on it.
pub(crate) fn now_seconds() -> i64 {
    let elapsed = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(elapsed.as_secs()).unwrap_or(i64::MAX)
}

impl Store {
    /// Opens the database in `state`, creating the file and the tables as needed.
    ///
    /// # Errors
    /// [`StoreError::Open`] when the file cannot be used, [`StoreError::Newer`]
    /// when a newer binary wrote it.
    pub async fn open(state: &Path) -> Result<Self, StoreError> {
        let path = state.join(FILE_NAME);
        let opening = |source| StoreError::Open {
            path: path.clone(),
            source,
        };
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(BUSY_TIMEOUT);
        let pool = SqlitePoolOptions::new()
            .max_connections(CONNECTIONS)
            .connect_with(options)
            .await
            .map_err(opening)?;
        let bulk = Bulk {
            directory: state.join("journal"),
        };
        let store = Self { pool, bulk };
        store.migrate(&path).await?;
        Ok(store)
    }

    async fn migrate(&self, path: &Path) -> Result<(), StoreError> {
        let reading = doing("read the state version");
        let (found,): (i64,) = sqlx::query_as("PRAGMA user_version")
            .fetch_one(&self.pool)
            .await
            .map_err(reading)?;
        if found > schema::VERSION {
            return Err(StoreError::Newer {
                path: path.to_owned(),
                found,
                known: schema::VERSION,
            });
        }
        let done = usize::try_from(found).map_err(|_| StoreError::Damaged {
            what: "the state version",
            detail: found.to_string(),
        })?;
        for (index, migration) in schema::MIGRATIONS.iter().enumerate().skip(done) {
            // One transaction with the version inside: a crash leaves the old
            // state or the new one, never half of it.
            let script = format!(
                "BEGIN IMMEDIATE; {migration} PRAGMA user_version = {}; COMMIT;",
                index + 1
            );
            sqlx::raw_sql(AssertSqlSafe(script))
                .execute(&self.pool)
                .await
                .map_err(doing("bring the state to this version"))?;
        }
        Ok(())
    }

    /// The connection pool, for the rooms that keep their own tables.
    #[must_use]
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// Begins a transaction that will write. It holds the database's write lock from here on, so that what it
    /// reads cannot change before it writes.
    ///
    /// # Errors
    /// The database cannot be reached, or stays locked by another writer.
    pub async fn begin_write(
        &self,
    ) -> Result<sqlx::Transaction<'static, sqlx::Sqlite>, sqlx::Error> {
        self.pool.begin_with("BEGIN IMMEDIATE").await
    }

    /// Closes every connection; writes the log back into the file.
    pub async fn close(&self) {
        self.pool.close().await;
    }
}

/// SQLite's integers are signed; ours are counts.
fn to_sql(value: u64) -> Result<i64, StoreError> {
    i64::try_from(value).map_err(|_| StoreError::Damaged {
        what: "a number to be stored",
        detail: format!("{value} is above 2^63 - 1"),
    })
}

fn from_sql(what: &'static str, value: i64) -> Result<u64, StoreError> {
    u64::try_from(value).map_err(|_| StoreError::Damaged {
        what,
        detail: value.to_string(),
    })
}

fn parse<T: std::str::FromStr>(what: &'static str, text: &str) -> Result<T, StoreError> {
    text.parse().map_err(|_| StoreError::Damaged {
        what,
        detail: format!("`{text}`"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn opening_twice_keeps_the_state_and_a_newer_one_is_refused() {
        let directory = tempfile::tempdir().expect("tempdir");
        let store = Store::open(directory.path()).await.expect("opens");
        let (mode,): (String,) = sqlx::query_as("PRAGMA journal_mode")
            .fetch_one(store.pool())
            .await
            .expect("mode");
        let (synchronous,): (i64,) = sqlx::query_as("PRAGMA synchronous")
            .fetch_one(store.pool())
            .await
            .expect("synchronous");
        assert_eq!((mode.as_str(), synchronous), ("wal", 2), "2 is FULL");
        store.close().await;

        let store = Store::open(directory.path()).await.expect("opens again");
        sqlx::query("PRAGMA user_version = 99")
            .execute(store.pool())
            .await
            .expect("sets");
        store.close().await;
        let error = Store::open(directory.path()).await.expect_err("newer");
        assert!(error.to_string().contains("state version 99"), "{error}");
    }

    #[tokio::test]
    async fn runs_of_an_older_state_are_first_rounds() {
        let directory = tempfile::tempdir().expect("tempdir");
        let path = directory.path().join(FILE_NAME);
        let options = SqliteConnectOptions::new()
            .filename(&path)
            .create_if_missing(true);
        let pool = SqlitePool::connect_with(options).await.expect("opens");
        let (task, run) = ("04".repeat(32), "07".repeat(16));
        let older = format!(
            "{} PRAGMA user_version = 3; \
             INSERT INTO tasks VALUES ('{task}', 'heart', x'61', 'operator', 5); \
             INSERT INTO runs (run, task, charter, state, created_at) \
             VALUES ('{run}', '{task}', '{task}', 'champion', 6);",
            schema::MIGRATIONS[..3].concat()
        );
        sqlx::raw_sql(AssertSqlSafe(older))
            .execute(&pool)
            .await
            .expect("an older state");
        pool.close().await;

        let store = Store::open(directory.path()).await.expect("migrates");
        let runs = store.runs().await.expect("reads");
        assert_eq!(runs.len(), 1);
        assert_eq!(
            (runs[0].round, runs[0].previous, runs[0].not_before),
            (1, None, None)
        );
        let next = NextRound {
            run: collegium_protocol::ids::RunId::from_bytes([8; 16]),
            round: 2,
            previous: runs[0].run,
            not_before: Some(9),
        };
        assert!(store.queue_round(&next).await.expect("queued"));
        let runs = store.runs().await.expect("reads");
        assert_eq!((runs[1].round, runs[1].not_before), (2, Some(9)));
        store.close().await;
        Store::open(directory.path()).await.expect("opens again");
    }

    #[tokio::test]
    async fn a_missing_directory_is_named() {
        let directory = tempfile::tempdir().expect("tempdir");
        let missing = directory.path().join("not/there");
        let error = Store::open(&missing)
            .await
            .expect_err("missing")
            .to_string();
        assert!(
            error.contains("not/there") && error.contains("state directory"),
            "{error}"
        );
    }
}
