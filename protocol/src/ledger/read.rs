//! Reading a ledger that is trusted: the daemon's own, or a copy that was verified.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use collegium_crypto::transcript::Digest;
use serde_json::Value;

use super::note::{MAX_NOTE_BYTES, SignedCheckpoint};
use super::tile::{TILE_WIDTH, TileName, decode_hashes, split_entry};
use super::tree::{Nodes, fold};
use super::{CHECKPOINT, LedgerError, PENDING};

/// Bytes of `pending` at most: the writer folds it into the tiles long before.
pub const MAX_PENDING_BYTES: u64 = 64 << 20;

/// A ledger's folder.
#[derive(Debug, Clone)]
pub struct Folder {
    path: PathBuf,
}

/// A record of `pending`: an entry, and the note of the checkpoint that covers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The entry.
    pub entry: &'a [u8],
    /// The note, unchecked.
    pub note: &'a [u8],
    /// Where the record ends in the file.
    pub end: usize,
}

/// Appends a record to the bytes of `pending`.
pub fn encode_record(entry: &[u8], note: &str, bytes: &mut Vec<u8>) {
    super::tile::encode_entry(entry, bytes);
    super::tile::encode_entry(note.as_bytes(), bytes);
}

/// The whole records of `pending`; what follows the last one is what a crash left.
pub fn records(bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (entry, after) = split_entry(rest)?;
        let (note, after) = split_entry(after)?;
        if entry.is_empty() {
            return None;
        }
        rest = after;
        Some(Record {
            entry,
            note,
            end: bytes.len() - after.len(),
        })
    })
}

impl Folder {
    /// A ledger's folder; nothing is read yet.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
        }
    }

    /// Its path.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Reads a file of at most `most` bytes; `None` when it is not there.
    ///
    /// # Errors
    /// [`LedgerError::Io`], also for a file that is longer.
    pub fn file(&self, name: &str, most: u64) -> Result<Option<Vec<u8>>, LedgerError> {
        let path = self.path.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(LedgerError::io(&path)(error)),
        };
        let mut bytes = Vec::new();
        let read = file.take(most + 1).read_to_end(&mut bytes);
        let read = read.map_err(LedgerError::io(&path))?;
        if read as u64 > most {
            let long = std::io::Error::new(ErrorKind::InvalidData, format!("over {most} bytes"));
            return Err(LedgerError::io(&path)(long));
        }
        Ok(Some(bytes))
    }

    /// The file of a tile; `None` when it is not there.
    ///
    /// # Errors
    /// [`LedgerError::Io`].
    pub fn tile(&self, name: TileName) -> Result<Option<Vec<u8>>, LedgerError> {
        self.file(&name.to_string(), name.most_bytes() as u64)
    }

    /// At least the first `name.width` hashes or entries of a tile: of the partial one, or of one that
    /// came after, since the writer removes partial ones when the tile is full, and a copy may have the
    /// last one alone.
    fn tile_or_later(&self, name: TileName) -> Result<Vec<u8>, LedgerError> {
        for later in [Some(name), Some(name.full()), self.wider(name)] {
            if let Some(later) = later
                && let Some(bytes) = self.tile(later)?
            {
                return Ok(bytes);
            }
        }
        Err(self.damaged(format!("{name} is missing")))
    }

    /// The narrowest partial tile on the disk that begins with this one.
    fn wider(&self, name: TileName) -> Option<TileName> {
        let partial = fs::read_dir(self.path.join(format!("{}.p", name.full()))).ok()?;
        let widths = partial.filter_map(|it| it.ok()?.file_name().to_str()?.parse().ok());
        let width = widths.filter(|width| *width > name.width).min()?;
        Some(TileName { width, ..name })
    }

    /// The current checkpoint, signatures unchecked.
    ///
    /// # Errors
    /// [`LedgerError`], when it is missing or no checkpoint.
    pub fn checkpoint(&self) -> Result<SignedCheckpoint, LedgerError> {
        let bytes = self.file(CHECKPOINT, MAX_NOTE_BYTES as u64)?;
        let bytes = bytes.ok_or_else(|| self.damaged("checkpoint is missing"))?;
        SignedCheckpoint::parse(&bytes)
            .map_err(|error| self.damaged(format!("checkpoint: {error}")))
    }

    /// Hands every entry to `visit` with its number, until it breaks off: those under the
    /// checkpoint, then those that are pending. The writer may go on meanwhile.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn entries<B>(
        &self,
        mut visit: impl FnMut(u64, &[u8]) -> ControlFlow<B>,
    ) -> Result<Option<B>, LedgerError> {
        // Read first: an entry leaves it only after the checkpoint covers it.
        let pending = self.file(PENDING, MAX_PENDING_BYTES)?.unwrap_or_default();
        let size = self.checkpoint()?.checkpoint().size;
        let mut number = 0;
        while number < size {
            let width = (size - number).min(TILE_WIDTH as u64);
            let name = TileName::entries(number / TILE_WIDTH as u64, width as u16);
            let bytes = self.tile_or_later(name)?;
            let mut rest = bytes.as_slice();
            for _ in 0..width {
                let (entry, after) = split_entry(rest)
                    .ok_or_else(|| self.damaged(format!("{name} ends in entry {number}")))?;
                if let ControlFlow::Break(found) = visit(number, entry) {
                    return Ok(Some(found));
                }
                rest = after;
                number += 1;
            }
        }
        for record in records(&pending) {
            let note = SignedCheckpoint::parse(record.note);
            let note = note.map_err(|error| self.damaged(format!("pending: {error}")))?;
            if note.checkpoint().size == number + 1 {
                if let ControlFlow::Break(found) = visit(number, record.entry) {
                    return Ok(Some(found));
                }
                number += 1;
            }
        }
        Ok(None)
    }

    /// Every entry, as a value; for a ledger that is small enough for memory.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn values(&self) -> Result<Vec<Value>, LedgerError> {
        let mut values = Vec::new();
        let found = self.entries(|number, entry| match serde_json::from_slice(entry) {
            Ok(value) => {
                values.push(value);
                ControlFlow::Continue(())
            }
            Err(error) => ControlFlow::Break(format!("entry {number}: {error}")),
        })?;
        found.map_or(Ok(values), |finding| Err(self.damaged(finding)))
    }

    /// One entry under the checkpoint, by its number.
    ///
    /// # Errors
    /// [`LedgerError`].
    pub fn entry(&self, number: u64, size: u64) -> Result<Option<Vec<u8>>, LedgerError> {
        if number >= size {
            return Ok(None);
        }
        let (index, place) = (number / TILE_WIDTH as u64, number % TILE_WIDTH as u64);
        let width = (size - index * TILE_WIDTH as u64).min(TILE_WIDTH as u64);
        let bytes = self.tile_or_later(TileName::entries(index, width as u16))?;
        let mut rest = bytes.as_slice();
        for _ in 0..place {
            rest = split_entry(rest).map_or(&[], |(_, after)| after);
        }
        Ok(split_entry(rest).map(|(entry, _)| entry.to_vec()))
    }

    /// The tree's hashes under a checkpoint of `size` entries, from the tiles.
    #[must_use]
    pub fn nodes(&self, size: u64) -> FolderNodes<'_> {
        FolderNodes {
            folder: self,
            size,
            tiles: BTreeMap::new(),
        }
    }

    fn damaged(&self, finding: impl Into<String>) -> LedgerError {
        LedgerError::Damaged {
            path: self.path.clone(),
            finding: finding.into(),
        }
    }
}

/// Tiles kept in memory while proofs are made: 512 KiB of hashes, more than a proof needs.
const KEPT_TILES: usize = 64;

/// See [`Folder::nodes`].
#[derive(Debug)]
pub struct FolderNodes<'a> {
    folder: &'a Folder,
    size: u64,
    tiles: BTreeMap<TileName, Vec<Digest>>,
}

impl FolderNodes<'_> {
    fn hashes(&mut self, name: TileName) -> Result<&[Digest], LedgerError> {
        if !self.tiles.contains_key(&name) {
            let bytes = self.folder.tile_or_later(name)?;
            let hashes = decode_hashes(&bytes)
                .ok_or_else(|| self.folder.damaged(format!("{name} is no row of hashes")))?;
            if self.tiles.len() >= KEPT_TILES {
                self.tiles.clear();
            }
            self.tiles.insert(name, hashes);
        }
        Ok(self.tiles.get(&name).map_or(&[], Vec::as_slice))
    }
}

impl Nodes for FolderNodes<'_> {
    type Error = LedgerError;

    fn node(&mut self, height: u32, index: u64) -> Result<Digest, LedgerError> {
        let (level, above) = (height / 8, height % 8);
        let first = index << above;
        let tile = first / TILE_WIDTH as u64;
        let start = (first % TILE_WIDTH as u64) as usize;
        let there = (self.size >> (8 * level)) - tile * TILE_WIDTH as u64;
        let width = there.min(TILE_WIDTH as u64) as u16;
        let name = TileName::hashes(level as u8, tile, width);
        let row = self.hashes(name)?.get(start..start + (1 << above));
        let hash = row.and_then(fold);
        hash.ok_or_else(|| self.folder.damaged(format!("{name} is too short")))
    }
}
