//! Where an upload's ciphertext stays until its step is over, so that the same bytes can be
//! streamed again after a reconnect and memory does not grow with the model.
//!
//! Small bodies stay in memory, larger ones go to files in `STATE/cache/uploads/`, readable by
//! this daemon's user alone. Nothing here is synced: an upload that a crash takes away is never
//! repeated, its step is answered under a new number. Ciphertext only ever comes here.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use collegium_protocol::codec::Blob;
use collegium_protocol::limits::BODY_CHUNK_BYTES;
use collegium_protocol::step::KeptBody;

/// Bodies up to this size stay in memory: those of steps of about 100 000 numbers, for which
/// making a file would cost more than it saves.
const IN_MEMORY: usize = 1 << 20;

/// The directory; clones share it.
#[derive(Debug, Clone)]
pub struct UploadSpool {
    directory: PathBuf,
    next: Arc<AtomicU64>,
}

impl UploadSpool {
    /// Opens `STATE/cache/uploads/`, removing what an earlier process left there.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(state: &Path) -> io::Result<Self> {
        let directory = state.join("cache/uploads");
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(&directory)?,
        }
        Ok(Self {
            directory,
            next: Arc::default(),
        })
    }

    /// Starts to keep a body.
    #[must_use]
    pub fn writer(&self) -> BodyWriter {
        BodyWriter {
            spool: self.clone(),
            memory: Vec::new(),
            file: None,
        }
    }

    fn create(&self) -> io::Result<BodyFile> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.directory.join(number.to_string());
        let file = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .mode(0o600)
            .open(&path)?;
        Ok(BodyFile {
            path,
            file,
            length: 0,
        })
    }
}

/// A body on its way in.
#[derive(Debug)]
pub struct BodyWriter {
    spool: UploadSpool,
    memory: Vec<u8>,
    file: Option<BodyFile>,
}

impl BodyWriter {
    /// Appends a piece.
    ///
    /// # Errors
    /// What the system said, for example that the disk is full.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        if let Some(file) = &mut self.file {
            return file.append(piece);
        }
        if self.memory.len() + piece.len() <= IN_MEMORY {
            self.memory.extend_from_slice(piece);
            return Ok(());
        }
        let mut file = self.spool.create()?;
        file.append(&std::mem::take(&mut self.memory))?;
        file.append(piece)?;
        self.file = Some(file);
        Ok(())
    }

    /// The body is whole.
    #[must_use]
    pub fn finish(self) -> Arc<dyn KeptBody> {
        match self.file {
            Some(file) => Arc::new(file),
            None => Arc::new(Blob(self.memory)),
        }
    }
}

/// A body on disk; dropping it removes the file.
#[derive(Debug)]
struct BodyFile {
    path: PathBuf,
    file: File,
    length: u64,
}

impl BodyFile {
    fn append(&mut self, piece: &[u8]) -> io::Result<()> {
        self.file.write_all(piece)?;
        self.length += piece.len() as u64;
        Ok(())
    }
}

impl KeptBody for BodyFile {
    fn read(&self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = vec![0; BODY_CHUNK_BYTES];
        let mut at = 0;
        while at < self.length {
            let left = usize::try_from(self.length - at).unwrap_or(BODY_CHUNK_BYTES);
            let piece = &mut buffer[..left.min(BODY_CHUNK_BYTES)];
            // By position: two readers of one body do not disturb each other.
            self.file.read_exact_at(piece, at)?;
            take(piece)?;
            at += piece.len() as u64;
        }
        Ok(())
    }
}

impl Drop for BodyFile {
    fn drop(&mut self) {
        // `open` removes what stays.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn filled(spool: &UploadSpool, length: usize) -> (Vec<u8>, Arc<dyn KeptBody>) {
        let content: Vec<u8> = (0..length).map(|index| (index % 251) as u8).collect();
        let mut writer = spool.writer();
        for piece in content.chunks(32_768) {
            writer.write(piece).expect("writes");
        }
        (content, writer.finish())
    }

    fn whole(body: &dyn KeptBody) -> Vec<u8> {
        let mut all = Vec::new();
        body.read(&mut |piece| {
            assert!(!piece.is_empty() && piece.len() <= BODY_CHUNK_BYTES);
            all.extend_from_slice(piece);
            Ok(())
        })
        .expect("reads");
        all
    }

    #[test]
    fn large_bodies_are_private_files_and_go_with_their_last_handle() {
        let state = tempfile::tempdir().expect("tempdir");
        let spool = UploadSpool::open(state.path()).expect("opens");
        let files = || -> Vec<_> {
            std::fs::read_dir(state.path().join("cache/uploads"))
                .expect("lists")
                .map(|entry| entry.expect("an entry").path())
                .collect()
        };
        let (small, in_memory) = filled(&spool, IN_MEMORY);
        assert!(files().is_empty());
        let (large, on_disk) = filled(&spool, IN_MEMORY + 1);
        let mode = std::fs::metadata(&files()[0])
            .expect("a file")
            .permissions()
            .mode();
        assert_eq!((files().len(), mode & 0o777), (1, 0o600));
        for _twice in 0..2 {
            assert_eq!(whole(in_memory.as_ref()), small);
            assert_eq!(whole(on_disk.as_ref()), large);
        }
        let other = Arc::clone(&on_disk);
        drop(on_disk);
        assert_eq!(whole(other.as_ref()), large);
        drop(other);
        assert!(files().is_empty());
    }

    #[test]
    fn an_abandoned_body_and_what_a_crash_left_are_removed() {
        let state = tempfile::tempdir().expect("tempdir");
        let spool = UploadSpool::open(state.path()).expect("opens");
        let mut writer = spool.writer();
        writer.write(&vec![1; IN_MEMORY + 1]).expect("writes");
        drop(writer);
        let stale = state.path().join("cache/uploads/17");
        std::fs::write(&stale, b"old").expect("writes");
        UploadSpool::open(state.path()).expect("opens again");
        assert!(!stale.exists());
    }
}
