//! Steps and the journal. The order of these calls is the crash safety:
//!
//! 1. [`Store::open_step`] before the announcement goes out,
//! 2. [`Store::propose_step`] before the proposal; a sum that is too large for it is in its file
//!    by then ([`crate::stepfiles`]),
//! 3. [`Store::certify_step`] before releases are asked for,
//! 4. [`Store::record_journal`] before the search goes on.

use collegium_crypto::transcript::Digest;
use collegium_protocol::ids::{RunId, StepNumber};
use sqlx::Row;

use super::bulk::Lies;
use super::{Store, StoreError, doing, from_sql, parse, to_sql};

/// A step with a certificate that has not reached the journal: it is driven to
/// its end whatever happens.
#[derive(Clone, PartialEq, Eq)]
pub struct CertifiedStep {
    /// Its number.
    pub step: StepNumber,
    /// The ask's place in the search, counted from 0.
    pub sequence: u32,
    /// The ask's digest.
    pub ask: Digest,
    /// The step machine's record, as it encoded it.
    pub record: Vec<u8>,
    /// The sum of the bodies over the certified set, little-endian u64; `None` when it was too
    /// large and stands in its file.
    pub summed: Option<Vec<u8>>,
}

/// One finished step of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRecord {
    /// The ask's digest: a search that asks something else must not be answered.
    pub ask: Digest,
    /// The totals, as the journal encoded them.
    pub totals: Vec<u8>,
}

impl Store {
    /// The highest step number this run ever used, 0 for a new run.
    ///
    /// # Errors
    /// [`StoreError::Query`] or [`StoreError::Damaged`].
    pub async fn last_step(&self, run: RunId) -> Result<StepNumber, StoreError> {
        let (number,): (i64,) = sqlx::query_as("SELECT last_step FROM runs WHERE run = ?")
            .bind(run.to_string())
            .fetch_one(self.pool())
            .await
            .map_err(doing("read a run's last step"))?;
        Ok(StepNumber(from_sql("a step number", number)?))
    }

    /// Opens a step under a number above every earlier one of the run, with the
    /// step machine's first record.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`] when the number is not new.
    pub async fn open_step(
        &self,
        run: RunId,
        step: StepNumber,
        sequence: u32,
        ask: Digest,
        record: &[u8],
    ) -> Result<(), StoreError> {
        let what = "open a step";
        let mut transaction = self.pool().begin().await.map_err(doing(what))?;
        let changed =
            sqlx::query("UPDATE runs SET last_step = ?1 WHERE run = ?2 AND last_step < ?1")
                .bind(to_sql(step.0)?)
                .bind(run.to_string())
                .execute(&mut *transaction)
                .await
                .map_err(doing(what))?
                .rows_affected();
        in_order(changed, run, step, what)?;
        sqlx::query("INSERT INTO steps (run, step, sequence, ask, state, record) VALUES (?, ?, ?, ?, 'announced', ?)")
            .bind(run.to_string())
            .bind(to_sql(step.0)?)
            .bind(i64::from(sequence))
            .bind(ask.to_string())
            .bind(record)
            .execute(&mut *transaction)
            .await
            .map_err(doing(what))?;
        transaction.commit().await.map_err(doing(what))
    }

    /// Records the set that is about to be proposed, with the sum of its bodies unless that is in
    /// its file.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`] unless the step was just announced.
    pub async fn propose_step(
        &self,
        run: RunId,
        step: StepNumber,
        summed: Option<&[u8]>,
        record: &[u8],
    ) -> Result<(), StoreError> {
        let what = "record a proposed step";
        let changed = sqlx::query(
            "UPDATE steps SET state = 'proposed', record = ?, summed = ? \
             WHERE run = ? AND step = ? AND state = 'announced'",
        )
        .bind(record)
        .bind(summed)
        .bind(run.to_string())
        .bind(to_sql(step.0)?)
        .execute(self.pool())
        .await
        .map_err(doing(what))?
        .rows_affected();
        in_order(changed, run, step, what)
    }

    /// Records a step's certificate: from here on the step can only be finished.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`] unless the step was just proposed.
    pub async fn certify_step(
        &self,
        run: RunId,
        step: StepNumber,
        record: &[u8],
    ) -> Result<(), StoreError> {
        let what = "record a certificate";
        let changed = sqlx::query(
            "UPDATE steps SET state = 'certified', record = ? \
             WHERE run = ? AND step = ? AND state = 'proposed'",
        )
        .bind(record)
        .bind(run.to_string())
        .bind(to_sql(step.0)?)
        .execute(self.pool())
        .await
        .map_err(doing(what))?
        .rows_affected();
        in_order(changed, run, step, what)
    }

    /// Drops a step that has no certificate.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`] when it has one.
    pub async fn drop_step(
        &self,
        run: RunId,
        step: StepNumber,
        reason: &str,
    ) -> Result<(), StoreError> {
        let what = "drop a step";
        let changed = sqlx::query(
            "UPDATE steps SET state = 'dropped', reason = ?, record = NULL, summed = NULL \
             WHERE run = ? AND step = ? AND state IN ('announced', 'proposed')",
        )
        .bind(reason)
        .bind(run.to_string())
        .bind(to_sql(step.0)?)
        .execute(self.pool())
        .await
        .map_err(doing(what))?
        .rows_affected();
        in_order(changed, run, step, what)
    }

    /// Drops every step of a run that a stopped daemon left without a
    /// certificate. Returns their numbers.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn drop_unfinished(
        &self,
        run: RunId,
        reason: &str,
    ) -> Result<Vec<StepNumber>, StoreError> {
        let rows: Vec<(i64,)> = sqlx::query_as(
            "UPDATE steps SET state = 'dropped', reason = ?, record = NULL, summed = NULL \
             WHERE run = ? AND state IN ('announced', 'proposed') RETURNING step",
        )
        .bind(reason)
        .bind(run.to_string())
        .fetch_all(self.pool())
        .await
        .map_err(doing("drop unfinished steps"))?;
        rows.into_iter()
            .map(|(step,)| Ok(StepNumber(from_sql("a step number", step)?)))
            .collect()
    }

    /// Marks a certified step whose opened sum failed the noise check.
    ///
    /// # Errors
    /// [`StoreError::OutOfOrder`] unless the step was certified.
    pub async fn spoil_step(
        &self,
        run: RunId,
        step: StepNumber,
        reason: &str,
    ) -> Result<(), StoreError> {
        let what = "mark a spoiled step";
        let changed = sqlx::query(
            "UPDATE steps SET state = 'spoiled', reason = ?, summed = NULL WHERE run = ? AND step = ? AND state = 'certified'",
        )
        .bind(reason)
        .bind(run.to_string())
        .bind(to_sql(step.0)?)
        .execute(self.pool())
        .await
        .map_err(doing(what))?
        .rows_affected();
        in_order(changed, run, step, what)
    }

    /// Why the sum of the ask with this number does not open, if it was found not to.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn spoiled(&self, run: RunId, sequence: u32) -> Result<Option<String>, StoreError> {
        let row: Option<(Option<String>,)> = sqlx::query_as(
            "SELECT reason FROM steps WHERE run = ? AND sequence = ? AND state = 'spoiled' LIMIT 1",
        )
        .bind(run.to_string())
        .bind(sequence)
        .fetch_optional(self.pool())
        .await
        .map_err(doing("look for a spoiled step"))?;
        Ok(row.map(|(reason,)| reason.unwrap_or_default()))
    }

    /// The certified step of a run that has not reached the journal, if any.
    /// There is at most one: the search asks one thing at a time.
    ///
    /// # Errors
    /// [`StoreError::Query`] or [`StoreError::Damaged`].
    pub async fn certified_step(&self, run: RunId) -> Result<Option<CertifiedStep>, StoreError> {
        let reading = || doing("read a certified step");
        let row = sqlx::query(
            "SELECT step, sequence, ask, record, summed FROM steps \
             WHERE run = ? AND state = 'certified' ORDER BY step DESC LIMIT 1",
        )
        .bind(run.to_string())
        .fetch_optional(self.pool())
        .await
        .map_err(reading())?;
        let Some(row) = row else { return Ok(None) };
        let sequence = from_sql(
            "a step's sequence",
            row.try_get("sequence").map_err(reading())?,
        )?;
        let step = from_sql("a step number", row.try_get("step").map_err(reading())?)?;
        Ok(Some(CertifiedStep {
            step: StepNumber(step),
            sequence: u32::try_from(sequence).map_err(|_| StoreError::Damaged {
                what: "a step's sequence",
                detail: sequence.to_string(),
            })?,
            ask: parse(
                "an ask's digest",
                &row.try_get::<String, _>("ask").map_err(reading())?,
            )?,
            record: row.try_get("record").map_err(reading())?,
            summed: row.try_get("summed").map_err(reading())?,
        }))
    }

    /// Step `sequence` of the search as the journal has it.
    ///
    /// # Errors
    /// [`StoreError::Query`] or [`StoreError::Damaged`].
    pub async fn journal(
        &self,
        run: RunId,
        sequence: u32,
    ) -> Result<Option<JournalRecord>, StoreError> {
        /// Ask, totals or their hash, and where large ones lie.
        type Row = (String, Vec<u8>, Option<i64>, Option<i64>);
        let row: Option<Row> = sqlx::query_as(
            "SELECT ask, totals, lies_at, bytes FROM journal WHERE run = ? AND sequence = ?",
        )
        .bind(run.to_string())
        .bind(i64::from(sequence))
        .fetch_optional(self.pool())
        .await
        .map_err(doing("read the journal"))?;
        let Some((ask, totals, at, bytes)) = row else {
            return Ok(None);
        };
        let ask = parse("an ask's digest", &ask)?;
        let (Some(at), Some(bytes)) = (at, bytes) else {
            return Ok(Some(JournalRecord { ask, totals }));
        };
        let lies = Lies {
            at: from_sql("a journal's place", at)?,
            bytes: from_sql("a journal's length", bytes)?,
            hash: Digest(totals.try_into().map_err(|_| StoreError::Damaged {
                what: "the hash of large totals",
                detail: format!("step {sequence} of run {run}"),
            })?),
        };
        let bulk = self.bulk.clone();
        let totals = blocking("read large totals", run, move || bulk.read(run, lies)).await?;
        Ok(Some(JournalRecord { ask, totals }))
    }

    /// How many steps of a run are in the journal.
    ///
    /// # Errors
    /// [`StoreError::Query`].
    pub async fn journal_len(&self, run: RunId) -> Result<u32, StoreError> {
        let (count,): (i64,) = sqlx::query_as("SELECT COUNT(*) FROM journal WHERE run = ?")
            .bind(run.to_string())
            .fetch_one(self.pool())
            .await
            .map_err(doing("count the journal"))?;
        Ok(u32::try_from(count).unwrap_or(u32::MAX))
    }

    /// Puts a finished step into the journal and closes its record, both or
    /// neither.
    ///
    /// # Errors
    /// [`StoreError::Query`]; a sequence number is recorded once.
    pub async fn record_journal(
        &self,
        run: RunId,
        sequence: u32,
        record: JournalRecord,
    ) -> Result<(), StoreError> {
        let writing = || doing("write the journal");
        let (mut totals, mut at, mut bytes) = (record.totals, None, None);
        if totals.len() > IN_DATABASE {
            let bulk = self.bulk.clone();
            let append = move || bulk.append(run, &totals);
            let lies = blocking("write large totals", run, append).await?;
            totals = lies.hash.as_bytes().to_vec();
            (at, bytes) = (Some(to_sql(lies.at)?), Some(to_sql(lies.bytes)?));
        }
        let mut transaction = self.pool().begin().await.map_err(writing())?;
        sqlx::query(
            "INSERT INTO journal (run, sequence, ask, totals, lies_at, bytes) \
             VALUES (?, ?, ?, ?, ?, ?)",
        )
        .bind(run.to_string())
        .bind(i64::from(sequence))
        .bind(record.ask.to_string())
        .bind(totals)
        .bind(at)
        .bind(bytes)
        .execute(&mut *transaction)
        .await
        .map_err(writing())?;
        sqlx::query(
            "UPDATE steps SET state = 'journaled', record = NULL, summed = NULL \
             WHERE run = ? AND sequence = ? AND state = 'certified'",
        )
        .bind(run.to_string())
        .bind(i64::from(sequence))
        .execute(&mut *transaction)
        .await
        .map_err(writing())?;
        transaction.commit().await.map_err(writing())
    }
}

/// Totals up to this size go into the database with their row: one sync for both.
const IN_DATABASE: usize = 256 << 10;

/// Files are read and written off the network's threads.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    run: RunId,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, StoreError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(std::io::Error::other)
        .flatten()
        .map_err(|source| StoreError::Bulk {
            run: run.to_string(),
            what,
            source,
        })
}

fn in_order(
    changed: u64,
    run: RunId,
    step: StepNumber,
    what: &'static str,
) -> Result<(), StoreError> {
    if changed == 1 {
        return Ok(());
    }
    Err(StoreError::OutOfOrder {
        run: run.to_string(),
        step: step.0,
        what,
    })
}

#[cfg(test)]
mod tests;
