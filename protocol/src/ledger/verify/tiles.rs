//! Tiles as they must be, and as they are on the disk.

use collegium_crypto::transcript::Digest;

use super::super::tile::{Content, TILE_WIDTH, TileName, decode_hashes};
use super::super::tree::{Tree, fold};
use super::{Finding, Kind};

/// A tree that is computed, with all its tiles above the lowest level: 1/255 of the lowest.
#[derive(Default)]
pub(super) struct Computed {
    pub(super) tree: Tree,
    /// By level, from 1.
    upper: Vec<Vec<Digest>>,
    /// The root is what the checkpoint says.
    pub(super) fits: bool,
}

impl Computed {
    pub(super) fn push(&mut self, leaf: Digest) {
        for (level, tile) in self.tree.push(leaf).into_iter().enumerate() {
            if self.upper.len() == level {
                self.upper.push(Vec::new());
            }
            if let (Some(row), Some(hash)) = (self.upper.get_mut(level), fold(&tile.hashes)) {
                row.push(hash);
            }
        }
    }

    /// The hashes that a tile above the lowest level must have.
    pub(super) fn tile(&self, name: TileName) -> Option<&[Digest]> {
        let Content::Hashes(level) = name.content else {
            return None;
        };
        let row = self.upper.get(usize::from(level).checked_sub(1)?)?;
        let start = usize::try_from(name.index).ok()?.checked_mul(TILE_WIDTH)?;
        row.get(start..start.checked_add(name.width.into())?)
    }
}

/// The hashes of a lowest tile, if they are as many as they should be.
pub(super) fn whole_row(
    name: TileName,
    bytes: &[u8],
    count: usize,
    findings: &mut Vec<Finding>,
) -> Option<Vec<Digest>> {
    let row = decode_hashes(bytes).filter(|row| row.len() == count);
    if row.is_none() {
        let detail = format!(
            "it has {} bytes, expected {} ({count} hashes)",
            bytes.len(),
            32 * count
        );
        findings.push(Finding::new(Kind::Damage, name, first_entry(name), detail));
    }
    row
}

pub(super) fn first_entry(name: TileName) -> Option<u64> {
    entry_below(name, 0)
}

/// The first entry under a tile's hash.
pub(super) fn entry_below(name: TileName, place: usize) -> Option<u64> {
    let level = match name.content {
        Content::Entries => 0,
        Content::Hashes(level) => u32::from(level),
    };
    let hashes = name.index.checked_mul(TILE_WIDTH as u64)?;
    hashes.checked_add(place as u64)?.checked_shl(8 * level)
}

/// The tiles above the lowest level that a checkpoint needs.
pub(super) fn needed(size: u64) -> impl Iterator<Item = TileName> {
    (1..8_u8).flat_map(move |level| TileName::level(level, size))
}
