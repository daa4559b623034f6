//! Models and other objects that asks refer to: content-addressed files under
//! `STATE/models/`, named by the BLAKE3 hash of their bytes.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use collegium_automl::object::{MAX_OBJECT_BYTES, ObjectId};

/// What can go wrong with the object directory.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// A file cannot be read or written.
    #[error("object file {path}: {source} (is the disk full or read-only?)")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The object is above its cap.
    #[error("an object of {bytes} bytes is above the cap of {cap} bytes")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// What it may have.
        cap: usize,
    },
}

/// The directory; clones share it.
#[derive(Clone, Debug)]
pub struct ObjectStore {
    root: PathBuf,
}

impl ObjectStore {
    /// Opens `STATE/models/`, creating it as needed.
    ///
    /// # Errors
    /// [`ObjectError::Io`].
    pub fn open(state: &Path) -> Result<Self, ObjectError> {
        let root = state.join("models");
        std::fs::create_dir_all(&root).map_err(|source| ObjectError::Io {
            path: root.clone(),
            source,
        })?;
        Ok(Self { root })
    }

    fn path(&self, id: ObjectId) -> PathBuf {
        let name = id.to_string();
        let (shard, _) = name.split_at(2);
        self.root.join(shard).join(&name)
    }

    /// Stores an object for the run under way. It is not synced: a search that
    /// starts again publishes it again. Storing the same bytes twice is harmless,
    /// and mends a file that was damaged.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub fn put(&self, bytes: &[u8]) -> Result<ObjectId, ObjectError> {
        self.write(bytes, Durability::Cached)
    }

    /// Stores an object that must survive a power cut: a champion.
    ///
    /// # Errors
    /// [`ObjectError`].
    pub fn put_durably(&self, bytes: &[u8]) -> Result<ObjectId, ObjectError> {
        self.write(bytes, Durability::Synced)
    }

    fn write(&self, bytes: &[u8], durability: Durability) -> Result<ObjectId, ObjectError> {
        if bytes.len() > MAX_OBJECT_BYTES {
            return Err(ObjectError::TooLarge {
                bytes: bytes.len(),
                cap: MAX_OBJECT_BYTES,
            });
        }
        let id = ObjectId::of(bytes);
        let path = self.path(id);
        if durability == Durability::Synced || self.get(id)?.is_none() {
            write_whole(&path, bytes, durability)
                .map_err(|source| ObjectError::Io { path, source })?;
        }
        Ok(id)
    }

    /// An object's bytes; `None` when there is no such object. A file whose
    /// bytes do not have its hash is as good as none.
    ///
    /// # Errors
    /// [`ObjectError::Io`].
    pub fn get(&self, id: ObjectId) -> Result<Option<Vec<u8>>, ObjectError> {
        let path = self.path(id);
        match std::fs::read(&path) {
            Ok(bytes) if ObjectId::of(&bytes) == id => Ok(Some(bytes)),
            Ok(_) => {
                tracing::warn!(path = %path.display(), "an object file does not have its hash; ignoring it");
                Ok(None)
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(ObjectError::Io { path, source }),
        }
    }

    /// Opens an object's file to be sent, with its length; `None` when there is none. Whether its
    /// bytes still have its hash is for the reader to see.
    ///
    /// # Errors
    /// [`ObjectError::Io`].
    pub fn file(&self, id: ObjectId) -> Result<Option<(File, u64)>, ObjectError> {
        open_file(self.path(id))
    }

    /// Removes these objects, `keep` excepted: a search is replayed from its
    /// journal and publishes its models anew, so they need not stay.
    pub fn remove(&self, ids: &BTreeSet<ObjectId>, keep: &BTreeSet<ObjectId>) {
        for id in ids.difference(keep) {
            let path = self.path(*id);
            // A file that stays costs disk space only; so does its directory,
            // which goes when it is empty.
            let _ = std::fs::remove_file(&path);
            if let Some(shard) = path.parent() {
                let _ = std::fs::remove_dir(shard);
            }
        }
    }
}

/// Whether a file must survive a power cut.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Durability {
    Synced,
    Cached,
}

/// Writes a file so that it is seen whole or not at all, also after a crash.
///
/// # Errors
/// What the system said.
pub fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    write_whole(path, bytes, Durability::Synced)
}

fn write_whole(path: &Path, bytes: &[u8], durability: Durability) -> std::io::Result<()> {
    let directory = path.parent().unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut new = NewFile::create(directory)?;
    new.file.write_all(bytes)?;
    if durability == Durability::Synced {
        new.file.sync_all()?;
    }
    new.rename(path)?;
    if durability == Durability::Synced {
        File::open(directory)?.sync_all()?;
    }
    Ok(())
}

/// A file's handle and its length; `None` when there is none.
pub(crate) fn open_file(path: PathBuf) -> Result<Option<(File, u64)>, ObjectError> {
    let opened = File::open(&path).and_then(|file| {
        let length = file.metadata()?.len();
        Ok((file, length))
    });
    match opened {
        Ok(opened) => Ok(Some(opened)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(ObjectError::Io { path, source }),
    }
}

/// A file that has no name of its own yet; one that is not renamed is removed.
pub(crate) struct NewFile {
    pub(crate) file: File,
    path: PathBuf,
    named: bool,
}

impl NewFile {
    pub(crate) fn create(directory: &Path) -> std::io::Result<Self> {
        // Unique per process and call, so that two writers never share one.
        static COUNTER: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let unique = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = directory.join(format!(".new-{}-{unique}", std::process::id()));
        Ok(Self {
            file: File::create(&path)?,
            path,
            named: false,
        })
    }

    pub(crate) fn rename(mut self, path: &Path) -> std::io::Result<()> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        std::fs::rename(&self.path, path)?;
        self.named = true;
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.named {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn objects_are_found_by_their_hash_only() {
        let directory = tempfile::tempdir().expect("tempdir");
        let objects = ObjectStore::open(directory.path()).expect("opens");
        let id = objects.put(b"a model").expect("stores");
        assert_eq!(id, ObjectId::of(b"a model"));
        assert_eq!(objects.put(b"a model").expect("again"), id);
        assert_eq!(
            objects.get(id).expect("reads").as_deref(),
            Some(b"a model".as_slice())
        );
        assert_eq!(objects.get(ObjectId::of(b"another")).expect("reads"), None);
    }

    #[test]
    fn a_damaged_file_is_never_served_and_is_mended() {
        let directory = tempfile::tempdir().expect("tempdir");
        let objects = ObjectStore::open(directory.path()).expect("opens");
        let id = objects.put(b"a model").expect("stores");
        std::fs::write(objects.path(id), b"a m").expect("truncates");
        assert_eq!(objects.get(id).expect("reads"), None);
        objects.put(b"a model").expect("stores again");
        assert!(objects.get(id).expect("reads").is_some());
    }

    #[test]
    fn removal_keeps_what_it_is_told_to_keep() {
        let directory = tempfile::tempdir().expect("tempdir");
        let objects = ObjectStore::open(directory.path()).expect("opens");
        let (one, two) = (
            objects.put(b"one").expect("stores"),
            objects.put(b"two").expect("stores"),
        );
        objects.remove(&[one, two].into(), &[two].into());
        assert_eq!(objects.get(one).expect("reads"), None);
        assert!(objects.get(two).expect("reads").is_some());
    }

    #[test]
    fn oversized_objects_are_refused_before_anything_is_written() {
        let directory = tempfile::tempdir().expect("tempdir");
        let objects = ObjectStore::open(directory.path()).expect("opens");
        let error = objects
            .put(&vec![0; MAX_OBJECT_BYTES + 1])
            .expect_err("too large");
        assert!(error.to_string().contains("above the cap"), "{error}");
        assert_eq!(
            std::fs::read_dir(directory.path().join("models"))
                .expect("lists")
                .count(),
            0
        );
    }
}
