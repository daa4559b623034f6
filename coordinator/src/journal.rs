//! The search's journal, kept in the database.
//!
//! After a crash the search starts again from the top; the steps found here
//! answer at once. It is used on the search's own thread, which may wait for
//! the database.

use collegium_automl::ask::Totals;
use collegium_automl::federation::{Journal, JournalError, Recorded};
use collegium_automl::object::ObjectId;
use collegium_protocol::Digest;
use collegium_protocol::codec;
use collegium_protocol::ids::RunId;
use tokio::runtime::Handle;

use crate::store::{JournalRecord, Store};

/// The largest totals: 16 Mi sums of at most 9 bytes each and 1024 contributors of
/// at most 3, rounded up.
const MAX_TOTALS_BYTES: usize = (16 << 20) * 9 + 4096;

/// One run's journal.
#[derive(Clone, Debug)]
pub struct StoreJournal {
    store: Store,
    run: RunId,
    runtime: Handle,
}

impl StoreJournal {
    /// The journal of `run`; calls wait on `runtime`, from threads outside it.
    #[must_use]
    pub fn new(store: Store, run: RunId, runtime: Handle) -> Self {
        Self {
            store,
            run,
            runtime,
        }
    }

    fn failed(&self, reason: impl ToString) -> JournalError {
        JournalError::Store {
            place: format!("of run {}", self.run),
            reason: reason.to_string(),
        }
    }
}

impl Journal for StoreJournal {
    fn load(&mut self, sequence: u32) -> Result<Option<Recorded>, JournalError> {
        let found = self
            .runtime
            .block_on(self.store.journal(self.run, sequence));
        let Some(record) = found.map_err(|error| self.failed(error))? else {
            return Ok(None);
        };
        let totals = codec::decode(&record.totals, MAX_TOTALS_BYTES).map_err(|error| {
            self.failed(format!(
                "step {sequence} is damaged: {error}; restore collegium.db"
            ))
        })?;
        Ok(Some(Recorded {
            ask: ObjectId(record.ask.0),
            totals,
        }))
    }

    fn record(
        &mut self,
        sequence: u32,
        ask: ObjectId,
        totals: &Totals,
    ) -> Result<(), JournalError> {
        let totals = codec::encode(totals).map_err(|error| self.failed(error))?;
        let record = JournalRecord {
            ask: Digest(ask.0),
            totals,
        };
        self.runtime
            .block_on(self.store.record_journal(self.run, sequence, &record))
            .map_err(|error| self.failed(error))
    }
}
