//! Where an upload's body waits until it is added: in memory while all
//! uploads together stay under a cap, on disk beyond it. Bodies are ciphertext.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How much a reader hands out at a time: what a writer receives at a time.
pub const CHUNK_BYTES: usize = 64 << 10;

/// The shared budget and directory; clones share both.
#[derive(Clone, Debug)]
pub struct Spool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    directory: PathBuf,
    cap: u64,
    used: AtomicU64,
    next: AtomicU64,
}

impl Spool {
    /// Opens `STATE/spool/`, removing what an earlier process left there: an
    /// upload without its session is worth nothing.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(state: &Path, cap: u64) -> io::Result<Self> {
        let directory = state.join("spool");
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir_all(&directory)?,
        }
        let (used, next) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self {
            shared: Arc::new(Shared {
                directory,
                cap,
                used,
                next,
            }),
        })
    }

    /// Starts an upload of `length` bytes, which were compared with the step's plan: in memory if
    /// there is room for all of it now, else on disk.
    ///
    /// # Errors
    /// What the system said.
    pub fn writer(&self, length: u64) -> io::Result<SpoolWriter> {
        let place = match usize::try_from(length) {
            Ok(bytes) if self.shared.reserve(length) => Place::Memory {
                bytes: Vec::with_capacity(bytes),
                reserved: length,
            },
            _ => {
                let (path, file) = self.shared.create_file()?;
                Place::Disk { path, file }
            }
        };
        Ok(SpoolWriter {
            spooled: Spooled {
                shared: self.shared.clone(),
                place,
                length: 0,
            },
            announced: length,
        })
    }

    /// Bytes in memory now, all uploads together.
    #[must_use]
    pub fn memory_used(&self) -> u64 {
        self.shared.used.load(Ordering::Relaxed)
    }
}

impl Shared {
    fn reserve(&self, bytes: u64) -> bool {
        self.used
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |used| {
                used.checked_add(bytes).filter(|used| *used <= self.cap)
            })
            .is_ok()
    }

    fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    fn create_file(&self) -> io::Result<(PathBuf, File)> {
        let path = self
            .directory
            .join(self.next.fetch_add(1, Ordering::Relaxed).to_string());
        let file = File::options()
            .create_new(true)
            .read(true)
            .write(true)
            .open(&path)?;
        Ok((path, file))
    }
}

/// An upload on its way in.
#[derive(Debug)]
pub struct SpoolWriter {
    spooled: Spooled,
    announced: u64,
}

impl SpoolWriter {
    /// Appends a piece of the body.
    ///
    /// # Errors
    /// What the system said, for example that the disk is full, or that the body is longer than
    /// it was announced.
    pub fn write(&mut self, piece: &[u8]) -> io::Result<()> {
        let spooled = &mut self.spooled;
        let length = spooled.length + piece.len() as u64;
        if length > self.announced {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        match &mut spooled.place {
            Place::Memory { bytes, .. } => bytes.extend_from_slice(piece),
            Place::Disk { file, .. } => file.write_all(piece)?,
        }
        spooled.length = length;
        Ok(())
    }

    /// The upload is complete.
    #[must_use]
    pub fn finish(self) -> Spooled {
        self.spooled
    }
}

/// A whole body. Dropping it gives its memory or its file back.
#[derive(Debug)]
pub struct Spooled {
    shared: Arc<Shared>,
    place: Place,
    length: u64,
}

#[derive(Debug)]
enum Place {
    Memory { bytes: Vec<u8>, reserved: u64 },
    Disk { path: PathBuf, file: File },
}

impl Spooled {
    /// Bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Whether it went to disk.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        matches!(self.place, Place::Disk { .. })
    }

    /// Hands the body to `take` from its start, in pieces of [`CHUNK_BYTES`]
    /// (the last may be shorter).
    ///
    /// # Errors
    /// Reading errors, converted, and whatever `take` returns.
    pub fn for_each_chunk<E: From<io::Error>>(
        &mut self,
        mut take: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        match &mut self.place {
            Place::Memory { bytes, .. } => bytes.chunks(CHUNK_BYTES).try_for_each(take),
            Place::Disk { file, .. } => {
                file.seek(SeekFrom::Start(0))?;
                let mut buffer = vec![0; CHUNK_BYTES];
                let mut left = self.length;
                while left > 0 {
                    let piece =
                        usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES));
                    file.read_exact(&mut buffer[..piece])?;
                    take(&buffer[..piece])?;
                    left -= piece as u64;
                }
                Ok(())
            }
        }
    }
}

impl Drop for Spooled {
    fn drop(&mut self) {
        match &self.place {
            Place::Memory { reserved, .. } => self.shared.release(*reserved),
            // `open` removes what stays.
            Place::Disk { path, .. } => drop(std::fs::remove_file(path)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(spooled: &mut Spooled) -> Vec<u8> {
        let mut all = Vec::new();
        spooled
            .for_each_chunk(|chunk| {
                assert!(chunk.len() <= CHUNK_BYTES);
                all.extend_from_slice(chunk);
                io::Result::Ok(())
            })
            .expect("reads");
        all
    }

    fn fill(spool: &Spool, bytes: usize, piece: usize) -> (Vec<u8>, Spooled) {
        let content: Vec<u8> = (0..bytes).map(|index| (index % 251) as u8).collect();
        let mut writer = spool.writer(bytes as u64).expect("starts");
        for piece in content.chunks(piece) {
            writer.write(piece).expect("writes");
        }
        (content, writer.finish())
    }

    #[test]
    fn memory_first_then_disk_and_everything_is_given_back() {
        let directory = tempfile::tempdir().expect("tempdir");
        let spool = Spool::open(directory.path(), 200_000).expect("opens");
        let (small, mut in_memory) = fill(&spool, 150_000, 1000);
        let (large, mut on_disk) = fill(&spool, 150_001, 7777);
        assert!(!in_memory.is_on_disk() && on_disk.is_on_disk());
        assert_eq!(spool.memory_used(), 150_000);
        for _twice in 0..2 {
            assert_eq!(body(&mut in_memory), small);
            assert_eq!(body(&mut on_disk), large);
        }
        let files = || {
            std::fs::read_dir(directory.path().join("spool"))
                .expect("lists")
                .count()
        };
        assert_eq!(files(), 1);
        drop((in_memory, on_disk));
        assert_eq!((spool.memory_used(), files()), (0, 0));
    }

    #[test]
    fn an_abandoned_upload_gives_back_too() {
        let directory = tempfile::tempdir().expect("tempdir");
        let spool = Spool::open(directory.path(), 10).expect("opens");
        let mut in_memory = spool.writer(10).expect("memory");
        in_memory.write(&[1; 8]).expect("writes");
        assert!(in_memory.write(&[1; 3]).is_err(), "longer than announced");
        let mut on_disk = spool.writer(1).expect("disk");
        on_disk.write(&[2]).expect("writes");
        assert_eq!(spool.memory_used(), 10);
        drop((in_memory, on_disk));
        assert_eq!(spool.memory_used(), 0);
        assert_eq!(
            std::fs::read_dir(directory.path().join("spool"))
                .expect("lists")
                .count(),
            0
        );
    }

    #[test]
    fn opening_removes_what_an_earlier_process_left() {
        let directory = tempfile::tempdir().expect("tempdir");
        let stale = directory.path().join("spool/17");
        std::fs::create_dir_all(stale.parent().expect("a directory")).expect("creates");
        std::fs::write(&stale, b"old").expect("writes");
        Spool::open(directory.path(), 1).expect("opens");
        assert!(!stale.exists());
    }
}
