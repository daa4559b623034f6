//! Names and contents of tiles (C2SP tlog-tiles).

use std::fmt;

use collegium_crypto::transcript::Digest;
use serde::{Deserialize, Serialize};

use super::MAX_ENTRY_BYTES;

/// Hashes, or entries, of a full tile.
pub const TILE_WIDTH: usize = 256;

/// The highest level that a name can have.
const MAX_LEVEL: u8 = 63;

/// Bytes of a hash.
const HASH_BYTES: usize = 32;

/// Bytes of the largest tile of hashes.
pub const MAX_HASHES_BYTES: usize = TILE_WIDTH * HASH_BYTES;

/// Bytes of the largest tile of entries: each with its length before it.
pub const MAX_ENTRIES_BYTES: usize = TILE_WIDTH * (2 + MAX_ENTRY_BYTES);

/// What a tile holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Content {
    /// Entries.
    Entries,
    /// Hashes of this level of tiles.
    Hashes(u8),
}

/// The name of a tile, as a path under the ledger's folder. On the wire it is that path, and read as
/// strictly as [`TileName::parse`] reads it: nothing else names a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TileName {
    /// What it holds.
    pub content: Content,
    /// Which one of its level, from 0.
    pub index: u64,
    /// How much of it is there, 1 to 256; 256 is a full tile.
    pub width: u16,
}

impl TileName {
    /// A tile of hashes.
    #[must_use]
    pub const fn hashes(level: u8, index: u64, width: u16) -> Self {
        Self {
            content: Content::Hashes(level),
            index,
            width,
        }
    }

    /// A tile of entries.
    #[must_use]
    pub const fn entries(index: u64, width: u16) -> Self {
        Self {
            content: Content::Entries,
            index,
            width,
        }
    }

    /// The partial tile of a level in a tree of `size` entries, if there is one.
    #[must_use]
    pub fn partial(level: u8, size: u64) -> Option<Self> {
        let hashes = size.checked_shr(8 * u32::from(level)).unwrap_or(0);
        let width = (hashes % TILE_WIDTH as u64) as u16;
        (width > 0).then(|| Self::hashes(level, hashes / TILE_WIDTH as u64, width))
    }

    /// Every tile that a tree of `size` entries has on the disk: entries and hashes, the full ones and
    /// the last one of each level.
    pub fn all(size: u64) -> impl Iterator<Item = Self> {
        let entries = Self::level(0, size).map(|name| Self {
            content: Content::Entries,
            ..name
        });
        entries.chain((0..8_u8).flat_map(move |level| Self::level(level, size)))
    }

    /// The tiles of hashes of one level.
    pub(super) fn level(level: u8, size: u64) -> impl Iterator<Item = Self> {
        let full = size.checked_shr(8 * (u32::from(level) + 1)).unwrap_or(0);
        (0..full)
            .map(move |index| Self::hashes(level, index, TILE_WIDTH as u16))
            .chain(Self::partial(level, size))
    }

    /// Whether a tree of `size` entries has this tile, in this width.
    #[must_use]
    pub fn is_in(&self, size: u64) -> bool {
        let level = match self.content {
            Content::Entries => 0,
            Content::Hashes(level) => u32::from(level),
        };
        let hashes = size.checked_shr(8 * level).unwrap_or(0);
        let (full, last) = (hashes / TILE_WIDTH as u64, hashes % TILE_WIDTH as u64);
        if self.is_full() {
            self.index < full
        } else {
            self.index == full && u64::from(self.width) == last
        }
    }

    /// Most bytes of its file.
    #[must_use]
    pub const fn most_bytes(&self) -> usize {
        match self.content {
            Content::Entries => MAX_ENTRIES_BYTES,
            Content::Hashes(_) => MAX_HASHES_BYTES,
        }
    }

    /// The bytes of this tile out of those of the same tile when there was more in it; `None` when there
    /// is less, or they are not a tile's.
    #[must_use]
    pub fn beginning<'a>(&self, bytes: &'a [u8]) -> Option<&'a [u8]> {
        let width = usize::from(self.width);
        let end = match self.content {
            Content::Hashes(_) => HASH_BYTES * width,
            Content::Entries => {
                let mut rest = bytes;
                for _ in 0..width {
                    rest = split_entry(rest)?.1;
                }
                bytes.len() - rest.len()
            }
        };
        bytes.get(..end)
    }

    /// Whether nothing will be added to it.
    #[must_use]
    pub const fn is_full(&self) -> bool {
        self.width as usize == TILE_WIDTH
    }

    /// The same tile, full.
    #[must_use]
    pub const fn full(&self) -> Self {
        Self {
            width: TILE_WIDTH as u16,
            ..*self
        }
    }

    /// Reads a path as [`fmt::Display`] writes it, and no other.
    #[must_use]
    pub fn parse(path: &str) -> Option<Self> {
        let rest = path.strip_prefix("tile/")?;
        let (content, rest) = rest.split_once('/')?;
        let content = match content {
            "entries" => Content::Entries,
            level => Content::Hashes(level.parse().ok()?),
        };
        let (index, width) = match rest.split_once(".p/") {
            Some((index, width)) => (index, width.parse().ok()?),
            None => (rest, TILE_WIDTH as u16),
        };
        let mut number = 0_u64;
        for part in index.split('/') {
            let digits = part.trim_start_matches('x').parse::<u64>().ok()?;
            number = number.checked_mul(1000)?.checked_add(digits)?;
        }
        let name = Self {
            content,
            index: number,
            width,
        };
        let level = match content {
            Content::Entries => 0,
            Content::Hashes(level) => level,
        };
        let possible = (1..=TILE_WIDTH as u16).contains(&width) && level <= MAX_LEVEL;
        (possible && name.to_string() == path).then_some(name)
    }
}

impl TryFrom<String> for TileName {
    type Error = String;

    fn try_from(path: String) -> Result<Self, String> {
        Self::parse(&path).ok_or_else(|| "no tile of a ledger has this name".to_owned())
    }
}

impl From<TileName> for String {
    fn from(name: TileName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for TileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.content {
            Content::Entries => f.write_str("tile/entries/")?,
            Content::Hashes(level) => write!(f, "tile/{level}/")?,
        }
        // Groups of three digits, all but the last with an x before them.
        let mut groups = vec![self.index % 1000];
        let mut above = self.index / 1000;
        while above > 0 {
            groups.push(above % 1000);
            above /= 1000;
        }
        for (place, group) in groups.iter().enumerate().rev() {
            if place > 0 {
                write!(f, "x{group:03}/")?;
            } else {
                write!(f, "{group:03}")?;
            }
        }
        if !self.is_full() {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

/// The bytes of a tile of hashes.
#[must_use]
pub fn encode_hashes(hashes: &[Digest]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

/// The hashes of a tile; `None` when the bytes are no whole number of them.
#[must_use]
pub fn decode_hashes(bytes: &[u8]) -> Option<Vec<Digest>> {
    let (hashes, rest) = bytes.as_chunks::<HASH_BYTES>();
    rest.is_empty()
        .then(|| hashes.iter().map(|hash| Digest(*hash)).collect())
}

/// Appends an entry to a tile of entries: its length (2 bytes, high first) and itself. The caller
/// has compared the length with [`MAX_ENTRY_BYTES`].
pub fn encode_entry(entry: &[u8], bytes: &mut Vec<u8>) {
    bytes.extend((entry.len() as u16).to_be_bytes());
    bytes.extend(entry);
}

/// Takes the first entry off a tile of entries; `None` when the bytes end within it.
#[must_use]
pub fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.split_at_checked(u16::from_be_bytes(*length).into())
}
