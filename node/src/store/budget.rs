//! What this site's answers under differential privacy have told, and the key of their noise.
//!
//! An answer is paid for before it is computed: a crash in between costs budget, never privacy.

use std::time::{Duration, SystemTime};

use collegium_automl::ask::AskError;
use collegium_automl::noise::{NoiseError, NoiseKey, Spent};
use collegium_automl::task::DifferentialPrivacy;
use collegium_crypto::os_rng;
use collegium_protocol::{Digest, RunId};
use rand_core::Rng as _;
use serde::Serialize;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};
use zeroize::Zeroizing;

use super::{Store, StoreError};

/// What this site may tell about one row in all tasks together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limit {
    /// In zCDP.
    pub rho: f64,
    /// After this time spending counts no more; `None`: it counts for ever.
    pub period: Option<Duration>,
}

/// An answer that is to be paid for.
#[derive(Debug, Clone, Copy)]
pub struct Bill<'a> {
    /// The run.
    pub run: RunId,
    /// Hash of the ask: the same one again has the same noise and costs nothing.
    pub ask: Digest,
    /// The task's name.
    pub task: &'a str,
    /// What the task promises.
    pub privacy: DifferentialPrivacy,
    /// What the answer tells.
    pub cost: Spent,
    /// This site's own limit, if it has one.
    pub limit: Option<Limit>,
    /// Now.
    pub now: SystemTime,
}

/// What is spent once an answer is paid for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Receipt {
    /// By this run, in zCDP.
    pub run: Spent,
    /// By all runs that count, about any one row, in zCDP.
    pub site_rho: f64,
}

/// Why an answer is not paid for.
#[derive(Debug, thiserror::Error)]
pub enum BudgetError {
    /// The task's budget.
    #[error(transparent)]
    Task(#[from] NoiseError),
    /// The ask, which has no hash.
    #[error(transparent)]
    Ask(#[from] AskError),
    /// The site's own.
    #[error(
        "this site's own privacy budget is spent, or too little of it is left; its `[budget]` says \
         how much there is"
    )]
    Site,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The operating system gives no randomness.
    #[error(transparent)]
    Randomness(#[from] collegium_crypto::error::RandomnessError),
}

impl Store {
    /// Pays for an answer; what it costs is on the disk when this returns.
    ///
    /// # Errors
    /// [`BudgetError`]; nothing is spent then, and nothing may be answered.
    pub async fn spend(&self, bill: &Bill<'_>) -> Result<Receipt, BudgetError> {
        let io = |source| self.failed(source);
        let mut transaction = self.pool.begin().await.map_err(io)?;
        let before = self.by_run(&mut transaction, None).await?;
        let own = find(&before, bill.run);
        let paid = sqlx::query("SELECT 1 FROM spending WHERE run = ? AND ask = ?")
            .bind(bill.run.as_bytes().as_slice())
            .bind(bill.ask.as_bytes().as_slice())
            .fetch_optional(&mut *transaction)
            .await
            .map_err(io)?;
        let since = bill.limit.and_then(|limit| since(limit, bill.now));
        let counted = self.by_run(&mut transaction, since).await?;
        if paid.is_some() {
            return Ok(Receipt {
                run: own,
                site_rho: total(&counted),
            });
        }
        let run = own.admit(bill.cost, bill.privacy)?;
        let recent = find(&counted, bill.run);
        let site_rho = total(&counted) - recent.rho() + recent.with(bill.cost).rho();
        if bill.limit.is_some_and(|limit| site_rho > limit.rho) {
            return Err(BudgetError::Site);
        }
        sqlx::query(
            "INSERT INTO spending (run, ask, task, train, test, spent_ms) VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(bill.run.as_bytes().as_slice())
        .bind(bill.ask.as_bytes().as_slice())
        .bind(bill.task)
        .bind(bill.cost.train)
        .bind(bill.cost.test)
        .bind(millis(bill.now))
        .execute(&mut *transaction)
        .await
        .map_err(io)?;
        transaction.commit().await.map_err(io)?;
        Ok(Receipt { run, site_rho })
    }

    /// What all runs but `except` have told that still counts under `limit`, in zCDP.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`], when the file cannot be read.
    pub async fn told(
        &self,
        limit: Limit,
        now: SystemTime,
        except: Option<RunId>,
    ) -> Result<f64, StoreError> {
        let mut connection = self.pool.acquire().await.map_err(|it| self.failed(it))?;
        let mut counted = self.by_run(&mut connection, since(limit, now)).await?;
        counted.retain(|(run, _)| Some(*run) != except);
        Ok(total(&counted))
    }

    /// The key of this site's noise in a run, drawn now if it was not before. It is kept as long
    /// as what was paid for: another key would give an ask that is paid for another noise.
    ///
    /// # Errors
    /// [`BudgetError`], when it can be neither read nor drawn.
    pub async fn noise_key(&self, run: RunId) -> Result<NoiseKey, BudgetError> {
        let mut fresh = Zeroizing::new([0; 32]);
        os_rng()?.fill_bytes(&mut *fresh);
        let io = |source| self.failed(source);
        sqlx::query("INSERT INTO noise (run, key) VALUES (?, ?) ON CONFLICT (run) DO NOTHING")
            .bind(run.as_bytes().as_slice())
            .bind(fresh.as_slice())
            .execute(&self.pool)
            .await
            .map_err(io)?;
        let row = sqlx::query("SELECT key FROM noise WHERE run = ?")
            .bind(run.as_bytes().as_slice())
            .fetch_one(&self.pool)
            .await
            .map_err(io)?;
        let kept: Zeroizing<Vec<u8>> = Zeroizing::new(row.try_get(0).map_err(io)?);
        let key = <[u8; 32]>::try_from(kept.as_slice())
            .map_err(|_| self.damaged_row(format!("the noise key of run {run}")))?;
        Ok(NoiseKey::new(key))
    }

    /// What each run spent, since a moment or ever.
    async fn by_run(
        &self,
        connection: &mut SqliteConnection,
        since: Option<i64>,
    ) -> Result<Vec<(RunId, Spent)>, StoreError> {
        let io = |source| self.failed(source);
        let rows = sqlx::query(
            "SELECT run, SUM(train), SUM(test) FROM spending WHERE spent_ms >= ? GROUP BY run",
        )
        .bind(since.unwrap_or(i64::MIN))
        .fetch_all(connection)
        .await
        .map_err(io)?;
        let read = |row: &SqliteRow| {
            let run: Vec<u8> = row.try_get(0).map_err(io)?;
            let run = run.try_into();
            let run = run.map_err(|_| self.damaged_row("the run of a spending".to_owned()))?;
            let spent = Spent {
                train: row.try_get(1).map_err(io)?,
                test: row.try_get(2).map_err(io)?,
            };
            Ok((RunId::from_bytes(run), spent))
        };
        rows.iter().map(read).collect()
    }

    fn damaged_row(&self, what: String) -> StoreError {
        StoreError::Damaged {
            path: self.path.clone(),
            what,
        }
    }
}

fn find(runs: &[(RunId, Spent)], run: RunId) -> Spent {
    let own = runs.iter().find(|(id, _)| *id == run);
    own.map_or_else(Spent::default, |(_, spent)| *spent)
}

/// Runs split rows in different ways, so that what each tells about any one row adds up.
fn total(runs: &[(RunId, Spent)]) -> f64 {
    runs.iter().map(|(_, spent)| spent.rho()).sum()
}

fn since(limit: Limit, now: SystemTime) -> Option<i64> {
    let start = now.checked_sub(limit.period?)?;
    Some(millis(start))
}

fn millis(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRIVACY: DifferentialPrivacy = DifferentialPrivacy {
        epsilon: 1.0,
        delta: 1e-5,
    };

    fn run(number: u8) -> RunId {
        RunId::from_bytes([number; 16])
    }

    fn bill(number: u8, ask: u8, cost: Spent, limit: Option<Limit>) -> Bill<'static> {
        Bill {
            run: run(number),
            ask: Digest([ask; 32]),
            task: "heart",
            privacy: PRIVACY,
            cost,
            limit,
            now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000),
        }
    }

    fn train(rho: f64) -> Spent {
        Spent {
            train: rho,
            test: 0.0,
        }
    }

    async fn open(directory: &tempfile::TempDir) -> Store {
        let path = directory.path().join("node.db");
        Store::open(&path).await.expect("opens")
    }

    #[tokio::test]
    async fn a_spent_task_is_refused_also_after_a_restart_and_an_ask_is_paid_for_once() {
        let directory = tempfile::tempdir().expect("tempdir");
        let store = open(&directory).await;
        let all = PRIVACY.rho();
        let first = bill(1, 1, train(0.75 * all), None);
        let paid = store.spend(&first).await.expect("room");
        assert_eq!(paid.run.train, 0.75 * all);
        assert_eq!(store.spend(&first).await.expect("paid for"), paid);
        let key = store.noise_key(run(1)).await.expect("a key");
        store.close().await;

        let store = open(&directory).await;
        assert_eq!(store.noise_key(run(1)).await.expect("kept"), key);
        assert_ne!(store.noise_key(run(2)).await.expect("another"), key);
        assert_eq!(store.spend(&first).await.expect("paid for"), paid);
        let more = bill(1, 2, train(0.26 * all), None);
        assert!(matches!(
            store.spend(&more).await,
            Err(BudgetError::Task(NoiseError::Spent { .. }))
        ));
        // Test rows are others; another run has a budget of its own.
        let test = Spent {
            train: 0.0,
            test: all,
        };
        store.spend(&bill(1, 3, test, None)).await.expect("others");
        store
            .spend(&bill(2, 1, train(all), None))
            .await
            .expect("another run");
    }

    #[tokio::test]
    async fn the_sites_own_limit_holds_over_all_runs_until_its_period_is_over() {
        let directory = tempfile::tempdir().expect("tempdir");
        let store = open(&directory).await;
        let all = PRIVACY.rho();
        let limit = Limit {
            rho: 1.5 * all,
            period: Some(Duration::from_secs(3600)),
        };
        let first = bill(1, 1, train(all), Some(limit));
        assert_eq!(store.spend(&first).await.expect("room").site_rho, all);
        let second = bill(2, 1, train(all), Some(limit));
        assert!(matches!(store.spend(&second).await, Err(BudgetError::Site)));
        let half = bill(2, 1, train(0.5 * all), Some(limit));
        store.spend(&half).await.expect("what is left");
        store.close().await;

        let store = open(&directory).await;
        let more = bill(3, 1, train(0.01 * all), Some(limit));
        assert!(matches!(store.spend(&more).await, Err(BudgetError::Site)));
        let now = first.now;
        assert_eq!(
            store.told(limit, now, None).await.expect("reads"),
            1.5 * all
        );
        let others = store.told(limit, now, Some(run(2))).await.expect("reads");
        assert_eq!(others, all);
        let later = Bill {
            now: now + Duration::from_secs(3601),
            ..more
        };
        store.spend(&later).await.expect("the period is over");
        let ever = Limit {
            period: None,
            ..limit
        };
        let later = Bill {
            ask: Digest([9; 32]),
            limit: Some(ever),
            ..later
        };
        assert!(matches!(store.spend(&later).await, Err(BudgetError::Site)));
    }
}
