//! Which files there are, and which of them nothing covers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;

use super::super::tile::{Content, TileName};
use super::super::{LedgerError, UNFINISHED};
use super::{Finding, Folder, Kind};

/// Every file under the ledger that was not accounted for yet.
pub(super) struct Listing {
    tiles: BTreeSet<TileName>,
    others: BTreeMap<String, &'static str>,
}

impl Listing {
    pub(super) fn of(folder: &Folder) -> Result<Self, LedgerError> {
        let mut listing = Self {
            tiles: BTreeSet::new(),
            others: BTreeMap::new(),
        };
        listing.walk(folder.path(), "")?;
        Ok(listing)
    }

    /// Links are not followed: what they point to is not part of the folder.
    fn walk(&mut self, path: &Path, prefix: &str) -> Result<(), LedgerError> {
        let io = |error| LedgerError::io(path)(error);
        for entry in fs::read_dir(path).map_err(io)? {
            let entry = entry.map_err(LedgerError::io(path))?;
            let kind = entry.file_type().map_err(LedgerError::io(path))?;
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if kind.is_dir() {
                self.walk(&entry.path(), &format!("{name}/"))?;
            } else if !kind.is_file() {
                self.others.insert(name, "it is no plain file");
            } else if let Some(tile) = TileName::parse(&name) {
                self.tiles.insert(tile);
            } else {
                self.others
                    .insert(name, "no ledger has a file of this name");
            }
        }
        Ok(())
    }

    /// Accounts for a file; whether it was there.
    pub(super) fn take(&mut self, name: &str) -> bool {
        self.others.remove(name).is_some()
    }

    /// Accounts for a tile; whether it was there.
    pub(super) fn take_tile(&mut self, name: TileName) -> bool {
        self.tiles.remove(&name)
    }

    /// Whether a tile is there that was not accounted for yet.
    pub(super) fn has_tile(&self, name: TileName) -> bool {
        self.tiles.contains(&name)
    }

    /// Accounts for the tiles in a range of names.
    pub(super) fn take_tiles(&mut self, range: RangeInclusive<TileName>) -> Vec<TileName> {
        let found: Vec<_> = self.tiles.range(range).copied().collect();
        for name in &found {
            self.tiles.remove(name);
        }
        found
    }

    /// Accounts for all tiles of hashes above the lowest level.
    pub(super) fn take_upper(&mut self) -> Vec<TileName> {
        let lowest = TileName::hashes(1, 0, 0);
        let highest = TileName {
            content: Content::Hashes(u8::MAX),
            index: u64::MAX,
            width: u16::MAX,
        };
        self.take_tiles(lowest..=highest)
    }

    /// Nothing could be said about a tile.
    pub(super) fn put_back(&mut self, name: TileName) {
        self.tiles.insert(name);
    }

    /// What is left over.
    pub(super) fn strays(&self, size: u64) -> Vec<Finding> {
        let tiles = self.tiles.iter().map(|tile| {
            let detail = format!("it holds more than the {size} entries that are signed (added by hand, or copied while the daemon wrote)");
            Finding::new(Kind::Stray, tile, None, detail)
        });
        let others = self.others.iter().map(|(name, detail)| {
            if name == UNFINISHED {
                let detail = "a write that a crash cut off; the daemon removes it when it starts";
                return Finding::new(Kind::Unfinished, name, None, detail);
            }
            Finding::new(Kind::Stray, name, None, *detail)
        });
        tiles.chain(others).collect()
    }
}
