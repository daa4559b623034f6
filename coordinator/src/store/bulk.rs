//! Large totals beside the database: one file for each run, `STATE/journal/RUN`, to which they are
//! appended. A database writes a large value twice, once into its log, and holds it in memory.
//!
//! The database's row says where a step's totals lie and what their hash is, and is written after
//! they are on the disk; what a crash left behind the last row is never read.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::PathBuf;

use collegium_protocol::Digest;
use collegium_protocol::ids::RunId;

/// Where a value lies in its run's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lies {
    pub(super) at: u64,
    pub(super) bytes: u64,
    pub(super) hash: Digest,
}

/// The directory; clones share it.
#[derive(Clone, Debug)]
pub(super) struct Bulk {
    pub(super) directory: PathBuf,
}

impl Bulk {
    /// Appends a value; it is on the disk when this returns.
    pub(super) fn append(&self, run: RunId, value: &[u8]) -> io::Result<Lies> {
        let mut file = self.open_to_append(run)?;
        let at = file.seek(SeekFrom::End(0))?;
        file.write_all(value)?;
        file.sync_data()?;
        Ok(Lies {
            at,
            bytes: value.len() as u64,
            hash: Digest(*blake3::hash(value).as_bytes()),
        })
    }

    /// The value again.
    ///
    /// # Errors
    /// What the system said, or that the file is damaged.
    pub(super) fn read(&self, run: RunId, lies: Lies) -> io::Result<Vec<u8>> {
        let damaged = || io::Error::other("it does not have the hash that the database says");
        let mut file = File::open(self.directory.join(run.to_string()))?;
        // The length before the memory for it.
        if file.metadata()?.len() < lies.at.saturating_add(lies.bytes) {
            return Err(damaged());
        }
        file.seek(SeekFrom::Start(lies.at))?;
        let mut value = Vec::new();
        file.take(lies.bytes).read_to_end(&mut value)?;
        if blake3::hash(&value).as_bytes() != lies.hash.as_bytes() {
            return Err(damaged());
        }
        Ok(value)
    }

    fn open_to_append(&self, run: RunId) -> io::Result<File> {
        let path = self.directory.join(run.to_string());
        let open = |create| File::options().append(true).create(create).open(&path);
        match open(false) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                std::fs::create_dir_all(&self.directory)?;
                let file = open(true)?;
                // A new name is durable only when its directory is.
                File::open(&self.directory)?.sync_all()?;
                if let Some(state) = self.directory.parent() {
                    File::open(state)?.sync_all()?;
                }
                Ok(file)
            }
            opened => opened,
        }
    }
}
