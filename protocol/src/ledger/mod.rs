//! The ledger: an append-only log that cannot be rewritten unseen, and what an auditor needs to
//! check a copy of it.
//!
//! Both daemons write one. On the disk it is a transparency log in the formats of C2SP
//! ([tlog-tiles](https://c2sp.org/tlog-tiles), [tlog-checkpoint](https://c2sp.org/tlog-checkpoint),
//! [signed-note](https://c2sp.org/signed-note), [tlog-cosignature](https://c2sp.org/tlog-cosignature)),
//! so that other tools read it too:
//!
//! ```text
//! checkpoint             name of the log, number of entries, root of their Merkle tree (RFC 6962,
//!                        SHA-256), signed with the daemon's key
//! tile/entries/N[.p/W]   up to 256 entries each, canonical JSON (RFC 8785)
//! tile/L/N[.p/W]         up to 256 hashes each, of level 8 L of the tree
//! pending                entries since the checkpoint, each with the checkpoint that covers it
//! cosigned               the last checkpoint that enough members cosigned (coordinator only)
//! ```
//!
//! `pending` is what makes one sync enough for an entry to be durable; it is ours, as is `cosigned`.
//!
//! - [`tree`], [`tile`], [`note`]: hashing and proofs, names and contents of tiles, checkpoints and
//!   their signatures: no I/O, no clock;
//! - [`mod@write`]: the writer;
//! - [`read`]: entries and proofs out of a folder that is trusted;
//! - [`verify`]: a folder that is not trusted;
//! - [`copy`]: a copy that is brought up to date from a source that is not trusted;
//! - [`proof`]: one entry's proof as a file;
//! - [`witness`]: what a member checks before it cosigns.
//!
//! What an entry says is the daemons' business, apart from its form ([`entry`]).

pub mod copy;
pub mod entry;
pub mod note;
pub mod proof;
pub mod read;
pub mod tile;
pub mod tree;
pub mod verify;
pub mod witness;
pub mod write;

use std::path::{Path, PathBuf};

pub use note::{Checkpoint, LogKey, SignedCheckpoint};
pub use write::Log;

/// The current checkpoint's file.
pub const CHECKPOINT: &str = "checkpoint";
/// The file of entries that the checkpoint does not cover yet.
pub const PENDING: &str = "pending";
/// The file of the last checkpoint that enough members cosigned.
pub const COSIGNED: &str = "cosigned";
/// Where a file is written before it gets its name; a crash may leave it.
pub const UNFINISHED: &str = "unfinished";
/// What earlier builds wrote.
const OLD_FORMAT: &str = "entries.jsonl";

/// Bytes of an entry: its length stands before it in 16 bits.
pub const MAX_ENTRY_BYTES: usize = u16::MAX as usize;

/// Why a ledger cannot be opened or written.
#[derive(Debug, thiserror::Error)]
pub enum LedgerError {
    /// A file cannot be read or written.
    #[error("ledger {path}: {source} (is the disk full or read-only?)")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It does not verify.
    #[error(
        "the ledger {path} is damaged: {finding}; keep the folder, put it back from a copy, and \
         find out who changed it"
    )]
    Damaged {
        /// The folder.
        path: PathBuf,
        /// The first thing found.
        finding: String,
    },
    /// A build before this format wrote it.
    #[error(
        "{0} is a ledger of an earlier build, which this one does not continue: move the folder \
         away, keep it, and start again; a new ledger begins"
    )]
    OldFormat(PathBuf),
    /// An entry that does not fit.
    #[error("an entry of {0} bytes does not fit the ledger: at most {MAX_ENTRY_BYTES} do")]
    TooLarge(usize),
    /// An entry that is no JSON.
    #[error("an entry cannot be written: {0}")]
    Entry(String),
    /// A write failed and could not be taken back.
    #[error(
        "the ledger {0} could not take back an entry that was half written: restart the daemon \
         once the disk works"
    )]
    Broken(PathBuf),
}

impl LedgerError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}
