//! What a member checks before it cosigns the coordinator's ledger: that the ledger begins with
//! all that this member ever cosigned. What it cosigned last is on its disk before the cosignature
//! leaves, so that a member that restarts does not forget.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use collegium_crypto::transcript::Digest;

use super::LedgerError;
use super::note::{LogKey, MAX_CHECKPOINT_BYTES, NoteError, SignedCheckpoint};
use super::tree::{MAX_PROOF_HASHES, check_consistency, empty_root};

/// A checkpoint to be cosigned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer<'a> {
    /// Entries of the checkpoint that the proof begins with.
    pub old: u64,
    /// From there to the checkpoint.
    pub proof: &'a [Digest],
    /// The checkpoint's note.
    pub note: &'a [u8],
}

/// Why a checkpoint is not cosigned.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WitnessError {
    /// It is no checkpoint of the coordinator.
    #[error("the offered checkpoint: {0}")]
    Note(#[from] NoteError),
    /// The proof begins elsewhere; the coordinator may not know better.
    #[error("the proof begins at {offered} entries, this member cosigned {seen}")]
    Stale {
        /// Where the proof begins.
        offered: u64,
        /// Entries that this member cosigned.
        seen: u64,
    },
    /// The ledger is shorter than it was.
    #[error(
        "the coordinator shows a ledger of {offered} entries, and this member cosigned {seen}: entries were taken back"
    )]
    Rollback {
        /// Entries of the offered checkpoint.
        offered: u64,
        /// Entries that this member cosigned.
        seen: u64,
    },
    /// The ledger is another.
    #[error(
        "the coordinator's ledger of {offered} entries does not begin with the {seen} that this member cosigned: its history was rewritten"
    )]
    Fork {
        /// Entries of the offered checkpoint.
        offered: u64,
        /// Entries that this member cosigned.
        seen: u64,
    },
}

/// A member's memory of the coordinator's ledger.
#[derive(Debug)]
pub struct Witness {
    path: PathBuf,
    last: Option<SignedCheckpoint>,
}

impl Witness {
    /// Reads what was cosigned last from the file at `path`, which need not be there.
    ///
    /// # Errors
    /// [`LedgerError`], when it cannot be read or is no checkpoint.
    pub fn open(path: &Path) -> Result<Self, LedgerError> {
        let last = match fs::read(path) {
            Ok(bytes) => {
                let note = SignedCheckpoint::parse(&bytes);
                Some(note.map_err(|error| LedgerError::Damaged {
                    path: path.to_owned(),
                    finding: error.to_string(),
                })?)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(LedgerError::io(path)(error)),
        };
        Ok(Self {
            path: path.to_owned(),
            last,
        })
    }

    /// The checkpoint of this log that was cosigned last. One of another log counts for nothing: the
    /// charter names the coordinator's key, and only the members can change it.
    #[must_use]
    pub fn last(&self, log: &LogKey) -> Option<&SignedCheckpoint> {
        let last = self.last.as_ref();
        last.filter(|note| note.checkpoint().origin == log.origin())
    }

    /// Checks an offered checkpoint; gives it, with the log's own signature, to be kept and cosigned.
    ///
    /// # Errors
    /// [`WitnessError`].
    pub fn consider(
        &self,
        offer: &Offer<'_>,
        log: &LogKey,
    ) -> Result<SignedCheckpoint, WitnessError> {
        if offer.note.len() > MAX_CHECKPOINT_BYTES || offer.proof.len() > MAX_PROOF_HASHES {
            return Err(NoteError::Form("it is too long").into());
        }
        let note = SignedCheckpoint::parse(offer.note)?;
        note.check_all(log, &[])?;
        let last = self.last(log).map(SignedCheckpoint::checkpoint);
        let (seen, root) = last.map_or((0, empty_root()), |last| (last.size, last.root));
        let checkpoint = note.checkpoint();
        let offered = checkpoint.size;
        if offered < seen {
            return Err(WitnessError::Rollback { offered, seen });
        }
        if offer.old != seen {
            let offered = offer.old;
            return Err(WitnessError::Stale { offered, seen });
        }
        if !check_consistency(offer.proof, seen, &root, offered, &checkpoint.root) {
            return Err(WitnessError::Fork { offered, seen });
        }
        Ok(note)
    }

    /// Remembers a checkpoint that [`Self::consider`] gave; on the disk when this returns.
    ///
    /// # Errors
    /// [`LedgerError::Io`]; then nothing may be cosigned.
    pub fn keep(&mut self, note: SignedCheckpoint) -> Result<(), LedgerError> {
        let unfinished = self.path.with_extension("unfinished");
        let parent = self.path.parent().unwrap_or(Path::new("."));
        let write = || {
            fs::create_dir_all(parent)?;
            let mut file = File::create(&unfinished)?;
            file.write_all(note.to_text().as_bytes())?;
            file.sync_all()?;
            fs::rename(&unfinished, &self.path)?;
            File::open(parent)?.sync_all()
        };
        write().map_err(LedgerError::io(&self.path))?;
        self.last = Some(note);
        Ok(())
    }
}
