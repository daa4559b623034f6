//! Tasks, runs, and what each member said about them.

use collegium_crypto::transcript::Digest;
use collegium_protocol::ids::{MemberName, RunId};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use super::{Store, StoreError, doing, from_sql, now_seconds, parse, to_sql};

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunState {
    /// Waits for the run before it.
    Queued,
    /// Offered to the members, or searching; goes on after a restart.
    Running,
    /// Ended with a champion.
    Champion,
    /// Ended without one; the reason says why.
    Failed,
    /// Ended by an operator.
    Cancelled,
}

impl RunState {
    /// The word in the database, on the wire and in JSON.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Champion => "champion",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing will happen in this run any more.
    #[must_use]
    pub fn is_final(self) -> bool {
        matches!(self, Self::Champion | Self::Failed | Self::Cancelled)
    }
}

impl std::str::FromStr for RunState {
    type Err = ();

    fn from_str(word: &str) -> Result<Self, ()> {
        [
            Self::Queued,
            Self::Running,
            Self::Champion,
            Self::Failed,
            Self::Cancelled,
        ]
        .into_iter()
        .find(|state| state.word() == word)
        .ok_or(())
    }
}

/// A task as it was submitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskRecord {
    /// The task file's digest.
    pub digest: Digest,
    /// Its name.
    pub name: String,
    /// The TOML text, byte for byte.
    pub source: String,
    /// Who submitted this run of it.
    pub submitted_by: String,
}

/// A run as stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunRecord {
    /// Its id.
    pub run: RunId,
    /// Its task.
    pub task: TaskRecord,
    /// The charter it was submitted under.
    pub charter: Digest,
    /// Where it stands.
    pub state: RunState,
    /// Why it failed or was cancelled.
    pub reason: Option<String>,
    /// When it was submitted, seconds since 1970.
    pub created_at: i64,
    /// When it ended, seconds since 1970.
    pub finished_at: Option<i64>,
    /// Milliseconds spent running, over every start of the daemon.
    pub elapsed_ms: u64,
    /// The champion's object, once there is one.
    pub champion: Option<Digest>,
    /// `result.json`, once there is one.
    pub result: Option<String>,
    /// Which round of its task it is, from 1.
    pub round: u32,
    /// The run of the round before.
    pub previous: Option<RunId>,
    /// When it begins at the earliest, seconds since 1970.
    pub not_before: Option<i64>,
}

/// The round after a run, to be queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NextRound {
    /// Its own id.
    pub run: RunId,
    /// Which round it is.
    pub round: u32,
    /// The run of the round before.
    pub previous: RunId,
    /// When it begins at the earliest, seconds since 1970.
    pub not_before: Option<i64>,
}

const SELECT_RUNS: &str = "SELECT r.run, r.charter, r.state, r.reason, r.created_at, r.finished_at, r.elapsed_ms, \
     r.champion, r.result, r.round, r.previous, r.not_before, t.digest, t.name, t.source, \
     COALESCE(r.submitted_by, t.submitted_by) AS submitted_by \
     FROM runs r JOIN tasks t ON t.digest = r.task ORDER BY r.position";

fn read_run(row: &SqliteRow) -> Result<RunRecord, StoreError> {
    let reading = || doing("read a run");
    let text = |column: &str| row.try_get::<String, _>(column).map_err(reading());
    let optional = |column: &str| row.try_get::<Option<String>, _>(column).map_err(reading());
    let source: Vec<u8> = row.try_get("source").map_err(reading())?;
    Ok(RunRecord {
        run: parse("a run id", &text("run")?)?,
        task: TaskRecord {
            digest: parse("a task digest", &text("digest")?)?,
            name: text("name")?,
            source: String::from_utf8(source).map_err(|error| StoreError::Damaged {
                what: "a task",
                detail: error.to_string(),
            })?,
            submitted_by: text("submitted_by")?,
        },
        charter: parse("a charter's digest", &text("charter")?)?,
        state: parse("a run's state", &text("state")?)?,
        reason: optional("reason")?,
        created_at: row.try_get("created_at").map_err(reading())?,
        finished_at: row.try_get("finished_at").map_err(reading())?,
        elapsed_ms: from_sql(
            "a run's elapsed time",
            row.try_get("elapsed_ms").map_err(reading())?,
        )?,
        champion: optional("champion")?
            .map(|text| parse("a champion's id", &text))
            .transpose()?,
        result: optional("result")?,
        round: row.try_get("round").map_err(reading())?,
        previous: optional("previous")?
            .map(|text| parse("a run id", &text))
            .transpose()?,
        not_before: row.try_get("not_before").map_err(reading())?,
    })
}

/// Inserts the round after a run, with its task and charter.
async fn insert_round(
    connection: &mut SqliteConnection,
    next: &NextRound,
) -> Result<bool, StoreError> {
    // The index `one_next_round` is what makes this one round, whoever asks at the same time.
    sqlx::query(
        "INSERT OR IGNORE INTO runs \
         (run, task, charter, state, created_at, round, previous, not_before, submitted_by) \
         SELECT ?, task, charter, 'queued', ?, ?, run, ?, submitted_by FROM runs WHERE run = ?",
    )
    .bind(next.run.to_string())
    .bind(now_seconds())
    .bind(next.round)
    .bind(next.not_before)
    .bind(next.previous.to_string())
    .execute(connection)
    .await
    .map(|done| done.rows_affected() == 1)
    .map_err(doing("queue a round"))
}

impl Store {
    /// Stores a task (once) and a new queued run of it.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn create_run(
        &self,
        run: RunId,
        task: &TaskRecord,
        charter: Digest,
    ) -> Result<(), StoreError> {
        let storing = || doing("store a run");
        let mut transaction = self.pool().begin().await.map_err(storing())?;
        sqlx::query("INSERT OR IGNORE INTO tasks (digest, name, source, submitted_by, submitted_at) VALUES (?, ?, ?, ?, ?)")
            .bind(task.digest.to_string())
            .bind(&task.name)
            .bind(task.source.as_bytes())
            .bind(&task.submitted_by)
            .bind(now_seconds())
            .execute(&mut *transaction)
            .await
            .map_err(storing())?;
        sqlx::query(
            "INSERT INTO runs (run, task, charter, state, created_at, submitted_by) \
             VALUES (?, ?, ?, 'queued', ?, ?)",
        )
        .bind(run.to_string())
        .bind(task.digest.to_string())
        .bind(charter.to_string())
        .bind(now_seconds())
        .bind(&task.submitted_by)
        .execute(&mut *transaction)
        .await
        .map_err(storing())?;
        transaction.commit().await.map_err(storing())
    }

    /// Every run, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Query`] or [`StoreError::Damaged`].
    pub async fn runs(&self) -> Result<Vec<RunRecord>, StoreError> {
        let rows = sqlx::query(SELECT_RUNS)
            .fetch_all(self.pool())
            .await
            .map_err(doing("list the runs"))?;
        rows.iter().map(read_run).collect()
    }

    /// One run.
    ///
    /// # Errors
    /// [`StoreError::Query`] or [`StoreError::Damaged`].
    pub async fn run(&self, run: RunId) -> Result<Option<RunRecord>, StoreError> {
        Ok(self
            .runs()
            .await?
            .into_iter()
            .find(|record| record.run == run))
    }

    /// Queues a round after a run, unless one is waiting or under way; says whether it did.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn queue_round(&self, next: &NextRound) -> Result<bool, StoreError> {
        let mut connection = self
            .pool()
            .acquire()
            .await
            .map_err(doing("queue a round"))?;
        insert_round(&mut connection, next).await
    }

    /// The round after a run that is waiting or under way.
    ///
    /// # Errors
    /// [`StoreError::Query`] or [`StoreError::Damaged`].
    pub async fn next_round(&self, run: RunId) -> Result<Option<RunRecord>, StoreError> {
        let runs = self.runs().await?;
        let mut next = runs
            .into_iter()
            .filter(|record| record.previous == Some(run));
        Ok(next.find(|record| !record.state.is_final()))
    }

    /// Puts a queued round under the charter in force: members may have come since the round
    /// before.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn adopt_charter(&self, run: RunId, charter: Digest) -> Result<(), StoreError> {
        sqlx::query("UPDATE runs SET charter = ? WHERE run = ? AND state = 'queued'")
            .bind(charter.to_string())
            .bind(run.to_string())
            .execute(self.pool())
            .await
            .map(drop)
            .map_err(doing("put a round under the charter"))
    }

    /// Marks a queued run as running.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn start_run(&self, run: RunId) -> Result<(), StoreError> {
        sqlx::query("UPDATE runs SET state = 'running' WHERE run = ? AND state = 'queued'")
            .bind(run.to_string())
            .execute(self.pool())
            .await
            .map(drop)
            .map_err(doing("start a run"))
    }

    /// Stores a run's end, and with it the round that follows, so that after a crash there are both
    /// or neither. A run that has ended already keeps its first end, and nothing follows anew.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn finish_run(
        &self,
        run: RunId,
        state: RunState,
        reason: Option<&str>,
        champion: Option<Digest>,
        result: Option<&str>,
        next: Option<&NextRound>,
    ) -> Result<(), StoreError> {
        let storing = || doing("store a run's end");
        let mut transaction = self.pool().begin().await.map_err(storing())?;
        let ended = sqlx::query(
            "UPDATE runs SET state = ?, reason = ?, champion = ?, result = ?, finished_at = ? \
             WHERE run = ? AND state IN ('queued', 'running')",
        )
        .bind(state.word())
        .bind(reason)
        .bind(champion.map(|digest| digest.to_string()))
        .bind(result)
        .bind(now_seconds())
        .bind(run.to_string())
        .execute(&mut *transaction)
        .await
        .map_err(storing())?;
        if let Some(next) = next
            && ended.rows_affected() == 1
        {
            insert_round(&mut transaction, next).await?;
        }
        // What steps left that nobody will finish any more.
        sqlx::query("UPDATE steps SET record = NULL, summed = NULL WHERE run = ?")
            .bind(run.to_string())
            .execute(&mut *transaction)
            .await
            .map_err(storing())?;
        transaction.commit().await.map_err(storing())
    }

    /// Adds running time to a run.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn add_elapsed(&self, run: RunId, millis: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE runs SET elapsed_ms = elapsed_ms + ? WHERE run = ?")
            .bind(to_sql(millis)?)
            .bind(run.to_string())
            .execute(self.pool())
            .await
            .map(drop)
            .map_err(doing("count a run's time"))
    }

    /// Records that a member takes part, on data with this digest.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn record_acceptance(
        &self,
        run: RunId,
        member: &MemberName,
        data: Digest,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT INTO run_members (run, member, data) VALUES (?, ?, ?) \
             ON CONFLICT (run, member) DO UPDATE SET data = excluded.data",
        )
        .bind(run.to_string())
        .bind(member.to_string())
        .bind(data.to_string())
        .execute(self.pool())
        .await
        .map(drop)
        .map_err(doing("record a member's acceptance"))
    }

    /// Adds to the bytes received from members in a run, in one transaction.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn add_bytes_up(
        &self,
        run: RunId,
        received: &[(MemberName, u64)],
    ) -> Result<(), StoreError> {
        let counting = || doing("count a member's bytes");
        let mut transaction = self.pool().begin().await.map_err(counting())?;
        for (member, bytes) in received {
            sqlx::query(
                "INSERT INTO run_members (run, member, bytes_up) VALUES (?, ?, ?) \
                 ON CONFLICT (run, member) DO UPDATE SET bytes_up = bytes_up + excluded.bytes_up",
            )
            .bind(run.to_string())
            .bind(member.to_string())
            .bind(to_sql(*bytes)?)
            .execute(&mut *transaction)
            .await
            .map_err(counting())?;
        }
        transaction.commit().await.map_err(counting())
    }

    /// Bytes received from each member in a run, by name.
    ///
    /// # Errors
    /// [`StoreError::Query`] or [`StoreError::Damaged`].
    pub async fn bytes_up(&self, run: RunId) -> Result<Vec<(MemberName, u64)>, StoreError> {
        let rows: Vec<(String, i64)> = sqlx::query_as(
            "SELECT member, bytes_up FROM run_members WHERE run = ? ORDER BY member",
        )
        .bind(run.to_string())
        .fetch_all(self.pool())
        .await
        .map_err(doing("read the members' bytes"))?;
        rows.iter()
            .map(|(name, bytes)| {
                Ok((
                    parse("a member's name", name)?,
                    from_sql("a member's bytes", *bytes)?,
                ))
            })
            .collect()
    }

    /// Records that a member has written its own report on a closed run.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn record_report(&self, run: RunId, member: &MemberName) -> Result<(), StoreError> {
        sqlx::query("UPDATE run_members SET reported = 1 WHERE run = ? AND member = ?")
            .bind(run.to_string())
            .bind(member.to_string())
            .execute(self.pool())
            .await
            .map(drop)
            .map_err(doing("record a member's report"))
    }

    /// Ended runs in which this member took part and whose end it has not
    /// confirmed, oldest first.
    ///
    /// # Errors
    /// [`StoreError::Query`] or [`StoreError::Damaged`].
    pub async fn unreported(&self, member: &MemberName) -> Result<Vec<RunRecord>, StoreError> {
        let rows: Vec<(String,)> = sqlx::query_as(
            "SELECT r.run FROM runs r JOIN run_members m ON m.run = r.run \
             WHERE m.member = ? AND m.reported = 0 AND m.data IS NOT NULL AND r.state IN ('champion', 'failed', 'cancelled')",
        )
        .bind(member.to_string())
        .fetch_all(self.pool())
        .await
        .map_err(doing("list the runs a member has not reported on"))?;
        let waiting: Vec<String> = rows.into_iter().map(|(run,)| run).collect();
        let all = self.runs().await?;
        Ok(all
            .into_iter()
            .filter(|record| waiting.contains(&record.run.to_string()))
            .collect())
    }

    /// Puts a champion into the registry.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn register_champion(
        &self,
        run: RunId,
        task: Digest,
        object: Digest,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "INSERT OR REPLACE INTO champions (run, task, object, registered) VALUES (?, ?, ?, ?)",
        )
        .bind(run.to_string())
        .bind(task.to_string())
        .bind(object.to_string())
        .bind(now_seconds())
        .execute(self.pool())
        .await
        .map(drop)
        .map_err(doing("register a champion"))
    }

    /// Every registered champion: run, task, object; oldest first.
    ///
    /// # Errors
    /// [`StoreError::Query`] or [`StoreError::Damaged`].
    pub async fn champions(&self) -> Result<Vec<(RunId, Digest, Digest)>, StoreError> {
        let rows: Vec<(String, String, String)> =
            sqlx::query_as("SELECT run, task, object FROM champions ORDER BY registered, run")
                .fetch_all(self.pool())
                .await
                .map_err(doing("list the champions"))?;
        rows.iter()
            .map(|(run, task, object)| {
                Ok((
                    parse("a run id", run)?,
                    parse("a task digest", task)?,
                    parse("an object id", object)?,
                ))
            })
            .collect()
    }
}
