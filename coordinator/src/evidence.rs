//! The proofs of steps' totals: files under `STATE/evidence/`, named by a hash of their statements,
//! in which the coordinator commits to the rest; the ledger names them too. The oldest go when they take more than the operator gives
//! them; a proof that is gone can no longer be shown, and what the ledger says of it stays.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use collegium_automl::object::ObjectId;
use collegium_protocol::Digest;
use collegium_protocol::limits::MAX_EVIDENCE_BYTES;

use crate::objects::{NewFile, ObjectError, open_file};

/// Bytes written and sent at a time.
pub const PIECE: usize = 64 << 10;

/// So many stay whatever they take: members that are behind have yet to fetch them.
const KEPT_ALWAYS: usize = 8;

/// The directory; clones share it.
#[derive(Clone, Debug)]
pub struct EvidenceStore {
    directory: PathBuf,
    most: u64,
    kept: Arc<Mutex<Kept>>,
}

/// What is there, oldest first.
#[derive(Debug, Default)]
struct Kept {
    files: VecDeque<(PathBuf, u64)>,
    bytes: u64,
}

impl EvidenceStore {
    /// Opens `STATE/evidence/`, creating it as needed; `most` bytes of proofs are kept.
    ///
    /// # Errors
    /// [`ObjectError::Io`].
    pub fn open(state: &Path, most: u64) -> Result<Self, ObjectError> {
        let directory = state.join("evidence");
        let failed = |source| ObjectError::Io {
            path: directory.clone(),
            source,
        };
        std::fs::create_dir_all(&directory).map_err(failed)?;
        let mut kept = Kept::default();
        for (_, path, bytes) in listed(&directory).map_err(failed)? {
            kept.push(path, bytes);
        }
        kept.shrink(most);
        Ok(Self {
            most,
            kept: Arc::new(Mutex::new(kept)),
            directory,
        })
    }

    /// Keeps a proof that is never in memory as a whole: `write` is given a place to write to, and gives
    /// the proof's name. It is not synced: a proof that a power cut takes away is one that is not kept.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub fn put(
        &self,
        write: impl FnOnce(&mut dyn Write) -> io::Result<Digest>,
    ) -> Result<ObjectId, ObjectError> {
        let failed = |source| ObjectError::Io {
            path: self.directory.clone(),
            source,
        };
        let new = NewFile::create(&self.directory).map_err(failed)?;
        let mut writer = Counting {
            file: BufWriter::with_capacity(PIECE, &new.file),
            bytes: 0,
        };
        let name = write(&mut writer).map_err(failed)?;
        writer.flush().map_err(failed)?;
        let bytes = writer.bytes;
        drop(writer);
        if bytes > MAX_EVIDENCE_BYTES {
            let cap = MAX_EVIDENCE_BYTES;
            return Err(ObjectError::TooLarge { bytes, cap });
        }
        let id = ObjectId(name.0);
        let path = self.path(id);
        new.rename(&path).map_err(|source| ObjectError::Io {
            path: path.clone(),
            source,
        })?;
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.push(path, bytes as u64);
        kept.shrink(self.most);
        Ok(id)
    }

    /// Opens a proof's file to be sent, with its length; `None` when there is none.
    ///
    /// # Errors
    /// [`ObjectError::Io`].
    pub fn file(&self, id: ObjectId) -> Result<Option<(File, u64)>, ObjectError> {
        open_file(self.path(id))
    }

    fn path(&self, id: ObjectId) -> PathBuf {
        self.directory.join(id.to_string())
    }
}

impl Kept {
    fn push(&mut self, path: PathBuf, bytes: u64) {
        // The same proof again, after a restart, is one file.
        if let Some(place) = self.files.iter().position(|(known, _)| *known == path) {
            let known = self.files.remove(place).map_or(0, |(_, bytes)| bytes);
            self.bytes -= known;
        }
        self.files.push_back((path, bytes));
        self.bytes += bytes;
    }

    fn shrink(&mut self, most: u64) {
        while self.bytes > most && self.files.len() > KEPT_ALWAYS {
            let Some((path, bytes)) = self.files.pop_front() else {
                return;
            };
            self.bytes -= bytes;
            match std::fs::remove_file(&path) {
                Ok(()) => tracing::info!(path = %path.display(), "old evidence removed"),
                Err(error) => tracing::warn!(path = %path.display(), %error, "old evidence stays"),
            }
        }
    }
}

/// Every proof, oldest first; what a crash left half written is removed.
fn listed(directory: &Path) -> io::Result<Vec<(SystemTime, PathBuf, u64)>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        if name.to_str().is_some_and(|name| name.starts_with('.')) {
            std::fs::remove_file(entry.path())?;
            continue;
        }
        let about = entry.metadata()?;
        found.push((about.modified()?, entry.path(), about.len()));
    }
    found.sort();
    Ok(found)
}

/// Counts what is written to a file.
struct Counting<'a> {
    file: BufWriter<&'a File>,
    bytes: usize,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.bytes += written;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(store: &EvidenceStore, content: u8) -> ObjectId {
        let put = store.put(|out| {
            out.write_all(&[content; 1000])
                .map(|()| Digest([content; 32]))
        });
        put.expect("keeps")
    }

    fn is_there(store: &EvidenceStore, id: ObjectId) -> bool {
        store.file(id).expect("looks").is_some()
    }

    #[test]
    fn proofs_have_their_names_and_the_oldest_go_first() {
        let state = tempfile::tempdir().expect("tempdir");
        let store = EvidenceStore::open(state.path(), 10_000).expect("opens");
        let ids: Vec<_> = (0..10).map(|content| put(&store, content)).collect();
        assert_eq!(ids[3], ObjectId([3; 32]));
        assert_eq!(put(&store, 9), ids[9], "kept once");
        assert!(ids.iter().all(|id| is_there(&store, *id)));
        let more = [put(&store, 10), put(&store, 11)];
        assert!(!is_there(&store, ids[0]) && !is_there(&store, ids[1]));
        assert!(ids[2..].iter().chain(&more).all(|id| is_there(&store, *id)));
        // Less room after a restart: some stay all the same.
        drop(store);
        std::fs::write(state.path().join("evidence/.new-1-1"), b"half").expect("writes");
        let store = EvidenceStore::open(state.path(), 0).expect("opens");
        let left = std::fs::read_dir(state.path().join("evidence")).expect("lists");
        assert_eq!(left.count(), KEPT_ALWAYS);
        assert!(is_there(&store, more[1]));
    }

    #[test]
    fn what_cannot_be_written_whole_leaves_nothing() {
        let state = tempfile::tempdir().expect("tempdir");
        let store = EvidenceStore::open(state.path(), 10_000).expect("opens");
        let broken = store.put(|out| {
            out.write_all(&[1; 100])?;
            Err(io::Error::other("no"))
        });
        assert!(broken.is_err());
        let left = std::fs::read_dir(state.path().join("evidence")).expect("lists");
        assert_eq!(left.count(), 0);
    }
}
