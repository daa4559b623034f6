//! What this site has given, run by run: steps and bytes, for the budgets of its policy.

use collegium_protocol::RunId;
use sqlx::Row;

use super::{Store, StoreError};
use crate::policy::Used;

impl Store {
    /// Counts one more step of so many bytes of a run; on the disk when this returns. `task` is
    /// the task's name.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`], when it could not be written; the step must not be sent then.
    pub async fn add_given(&self, run: RunId, task: &str, bytes: u64) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO usage (run, task, steps, bytes) VALUES (?, ?, 1, ?)
             ON CONFLICT (run) DO UPDATE SET steps = steps + 1, bytes = bytes + excluded.bytes",
        )
        .bind(run.as_bytes().as_slice())
        .bind(task)
        .bind(i64::try_from(bytes).unwrap_or(i64::MAX))
        .execute(&self.pool)
        .await
        .map_err(|source| self.failed(source))?;
        Ok(())
    }

    /// What was given in a run, and in all runs of tasks of this name.
    ///
    /// # Errors
    /// [`StoreError::Sqlite`], when the file cannot be read.
    pub async fn given(&self, run: RunId, task: &str) -> Result<Used, StoreError> {
        let row = sqlx::query(
            "SELECT COALESCE(SUM(CASE WHEN run = ?1 THEN steps END), 0),
                    COALESCE(SUM(CASE WHEN run = ?1 THEN bytes END), 0),
                    COALESCE(SUM(steps), 0), COALESCE(SUM(bytes), 0)
             FROM usage WHERE task = ?2 OR run = ?1",
        )
        .bind(run.as_bytes().as_slice())
        .bind(task)
        .fetch_one(&self.pool)
        .await
        .map_err(|source| self.failed(source))?;
        let count = |at: usize| -> Result<u64, StoreError> {
            let count: i64 = row.try_get(at).map_err(|source| self.failed(source))?;
            Ok(u64::try_from(count).unwrap_or(0))
        };
        Ok(Used {
            run_steps: count(0)?,
            run_bytes: count(1)?,
            task_steps: count(2)?,
            task_bytes: count(3)?,
        })
    }
}
