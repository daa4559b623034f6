//! A record of every step, so that a search can simply be run again.
//!
//! After a crash the search starts from the top with the same seed. Steps
//! found in the journal answer at once; the first one missing runs live. The
//! search itself has no checkpoint code.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::ask::{Ask, Totals};
use crate::federation::{Federation, FederationError};
use crate::object::{Object, ObjectId};

/// A step as the journal holds it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recorded {
    /// Hash of the ask that was answered.
    pub ask: ObjectId,
    /// What came back.
    pub totals: Totals,
}

/// Why a journal cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The store behind the journal failed.
    #[error("journal {place}: {reason}")]
    Store {
        /// File or table.
        place: String,
        /// What happened and what to do.
        reason: String,
    },
    /// A recorded step answers another ask: the journal is of another task,
    /// seed, charter or version.
    #[error(
        "journal has step {sequence} for ask {recorded}, but this search asks {asked}: \
         it belongs to another task, seed or version; start a new run"
    )]
    OtherRun {
        /// The ask's sequence number.
        sequence: u32,
        /// Hash in the journal.
        recorded: ObjectId,
        /// Hash the search computed.
        asked: ObjectId,
    },
}

/// Asks count from 1; this number stands for the event that time was up. Its
/// only sum is the number of steps done by then.
pub const TIME_IS_UP: u32 = 0;

/// Stands in a record for the ask whose sum did not open.
fn spoiled_name() -> ObjectId {
    ObjectId::of(b"collegium automl step spoiled v1")
}

/// Where finished steps are kept, by the sequence number of their ask.
pub trait Journal {
    /// The step of this number, if it was finished before.
    ///
    /// # Errors
    /// When the store fails.
    fn load(&mut self, sequence: u32) -> Result<Option<Recorded>, JournalError>;

    /// Keeps a finished step; it must be durable when this returns.
    ///
    /// # Errors
    /// When the store fails.
    fn record(&mut self, sequence: u32, ask: ObjectId, totals: &Totals)
    -> Result<(), JournalError>;
}

/// Any federation, with every step journaled before the search goes on.
pub struct Journaled<F, J> {
    inner: F,
    journal: J,
}

impl<F: Federation, J: Journal> Journaled<F, J> {
    /// Wraps a federation.
    pub fn new(inner: F, journal: J) -> Self {
        Self { inner, journal }
    }
}

impl<F: Federation, J: Journal> Federation for Journaled<F, J> {
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        self.inner.publish(object)
    }

    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError> {
        let asked = ask.digest()?;
        if let Some(recorded) = self.journal.load(ask.sequence)? {
            if recorded.ask == spoiled_name() {
                return Err(FederationError::Spoiled {
                    sequence: ask.sequence,
                    reason: "so it went before the restart; the ledger has the details".to_owned(),
                });
            }
            if recorded.ask != asked {
                return Err(FederationError::Journal(JournalError::OtherRun {
                    sequence: ask.sequence,
                    recorded: recorded.ask,
                    asked,
                }));
            }
            return Ok(recorded.totals);
        }
        match self.inner.sum(ask) {
            Ok(totals) => {
                self.journal.record(ask.sequence, asked, &totals)?;
                Ok(totals)
            }
            Err(error @ FederationError::Spoiled { .. }) => {
                // What follows depends on it, so a replay must find it here.
                let nothing = Totals {
                    sums: Vec::new(),
                    contributors: Vec::new(),
                };
                self.journal
                    .record(ask.sequence, spoiled_name(), &nothing)?;
                Err(error)
            }
            Err(error) => Err(error),
        }
    }

    fn members(&self) -> usize {
        self.inner.members()
    }

    fn honest_shares(&self) -> u16 {
        self.inner.honest_shares()
    }

    fn time_is_up(&mut self, steps: u32) -> Result<bool, FederationError> {
        if let Some(recorded) = self.journal.load(TIME_IS_UP)? {
            let at = recorded.totals.sums.first().copied().unwrap_or(0);
            return Ok(u64::from(steps) >= at);
        }
        // A step that is recorded was taken, so time was not up before it.
        if self.journal.load(steps + 1)?.is_some() || !self.inner.time_is_up(steps)? {
            return Ok(false);
        }
        let event = Totals {
            sums: vec![u64::from(steps)],
            contributors: Vec::new(),
        };
        let name = ObjectId::of(b"collegium automl time is up v1");
        self.journal.record(TIME_IS_UP, name, &event)?;
        Ok(true)
    }
}

/// A journal that lives as long as the process.
#[derive(Clone, Debug, Default)]
pub struct MemoryJournal {
    steps: BTreeMap<u32, Recorded>,
}

impl MemoryJournal {
    /// How many steps are recorded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether nothing is recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Forgets every step after the first `steps`.
    pub fn truncate(&mut self, steps: u32) {
        self.steps.retain(|sequence, _| *sequence <= steps);
    }
}

impl Journal for &mut MemoryJournal {
    fn load(&mut self, sequence: u32) -> Result<Option<Recorded>, JournalError> {
        Ok(self.steps.get(&sequence).cloned())
    }

    fn record(
        &mut self,
        sequence: u32,
        ask: ObjectId,
        totals: &Totals,
    ) -> Result<(), JournalError> {
        let totals = totals.clone();
        self.steps.insert(sequence, Recorded { ask, totals });
        Ok(())
    }
}

/// A journal in a file: one JSON line a step, synced as it is written.
#[derive(Debug)]
pub struct FileJournal {
    path: PathBuf,
    file: File,
    steps: BTreeMap<u32, Recorded>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    sequence: u32,
    #[serde(flatten)]
    step: LineStep,
}

#[derive(Serialize, Deserialize)]
struct LineStep {
    ask: ObjectId,
    totals: Totals,
}

impl FileJournal {
    /// Opens or creates the file. A last line that a crash cut short is
    /// dropped: its step was never used.
    ///
    /// # Errors
    /// When the file cannot be opened, or a whole line is damaged.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let failed = |reason: String| JournalError::Store {
            place: path.display().to_string(),
            reason,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(|e| failed(format!("cannot open: {e}")))?;
        let mut steps = BTreeMap::new();
        let mut good = 0u64;
        let mut reader = BufReader::new(&mut file);
        let mut line = String::new();
        loop {
            line.clear();
            let read = reader
                .read_line(&mut line)
                .map_err(|e| failed(format!("cannot read: {e}")))?;
            if read == 0 || !line.ends_with('\n') {
                break;
            }
            let parsed: Line = serde_json::from_str(&line).map_err(|e| {
                let number = steps.len() + 1;
                failed(format!("line {number} is damaged ({e}); start a new run"))
            })?;
            let LineStep { ask, totals } = parsed.step;
            steps.insert(parsed.sequence, Recorded { ask, totals });
            good += read as u64;
        }
        file.set_len(good)
            .and_then(|()| file.seek(SeekFrom::Start(good)))
            .map_err(|e| failed(format!("cannot drop an unfinished line: {e}")))?;
        Ok(Self {
            path: path.to_owned(),
            file,
            steps,
        })
    }

    /// How many steps are recorded.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether nothing is recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
}

impl Journal for FileJournal {
    fn load(&mut self, sequence: u32) -> Result<Option<Recorded>, JournalError> {
        Ok(self.steps.get(&sequence).cloned())
    }

    fn record(
        &mut self,
        sequence: u32,
        ask: ObjectId,
        totals: &Totals,
    ) -> Result<(), JournalError> {
        let failed = |reason: String| JournalError::Store {
            place: self.path.display().to_string(),
            reason,
        };
        let line = Line {
            sequence,
            step: LineStep {
                ask,
                totals: totals.clone(),
            },
        };
        let mut bytes = serde_json::to_vec(&line).map_err(|e| failed(e.to_string()))?;
        bytes.push(b'\n');
        self.file
            .write_all(&bytes)
            .and_then(|()| self.file.sync_data())
            .map_err(|e| {
                failed(format!(
                    "cannot write: {e}; free some space and start again"
                ))
            })?;
        let LineStep { ask, totals } = line.step;
        self.steps.insert(sequence, Recorded { ask, totals });
        Ok(())
    }
}
