//! The Merkle tree of RFC 6962 (SHA-256): hashes, roots, proofs.

use collegium_crypto::transcript::Digest;
use sha2::{Digest as _, Sha256};

use super::tile::{TILE_WIDTH, TileName};

/// Hashes of a proof: one for each of at most 64 levels, and one more in a consistency proof.
pub const MAX_PROOF_HASHES: usize = 65;

/// Levels of tiles: 8 bits of a 64-bit number of entries each.
const MAX_LEVELS: u8 = 8;

/// The hash of an entry: SHA-256(0x00 ‖ entry).
#[must_use]
pub fn leaf_hash(entry: &[u8]) -> Digest {
    Digest(
        Sha256::new_with_prefix([0])
            .chain_update(entry)
            .finalize()
            .into(),
    )
}

/// The hash of two subtrees: SHA-256(0x01 ‖ left ‖ right).
#[must_use]
pub fn node_hash(left: &Digest, right: &Digest) -> Digest {
    let hasher = Sha256::new_with_prefix([1]);
    Digest(
        hasher
            .chain_update(left)
            .chain_update(right)
            .finalize()
            .into(),
    )
}

/// The root of a tree without entries: SHA-256 of nothing.
#[must_use]
pub fn empty_root() -> Digest {
    Digest(Sha256::digest([]).into())
}

/// The root over a row of subtrees, all but the last of one size; `None` over none.
#[must_use]
pub fn fold(row: &[Digest]) -> Option<Digest> {
    let mut row = row.to_vec();
    while row.len() > 1 {
        row = row
            .chunks(2)
            .map(|pair| match pair {
                [left, right] => node_hash(left, right),
                // An odd one stands for itself one level up.
                [alone, ..] => *alone,
                [] => empty_root(),
            })
            .collect();
    }
    row.first().copied()
}

/// A tile that just became full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FullTile {
    /// Its name.
    pub name: TileName,
    /// Its 256 hashes.
    pub hashes: Vec<Digest>,
}

/// The right edge of a growing tree: for every level of tiles, the hashes of the last one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    size: u64,
    /// By level; each shorter than a full tile.
    levels: Vec<Vec<Digest>>,
}

impl Tree {
    /// Takes up a tree where its tiles end. `levels` are the hashes of the last tile of each level,
    /// as [`TileName::partial`] has their widths.
    #[must_use]
    pub fn from_edge(size: u64, levels: Vec<Vec<Digest>>) -> Option<Self> {
        let fits = |(level, row): (usize, &Vec<Digest>)| {
            let level = u8::try_from(level).ok()?;
            let width = TileName::partial(level, size).map_or(0, |tile| usize::from(tile.width));
            (row.len() == width).then_some(())
        };
        levels
            .iter()
            .enumerate()
            .map(fits)
            .collect::<Option<()>>()?;
        let top = levels.len() as u32;
        let above = if top >= 8 { 0 } else { size >> (8 * top) };
        (above == 0).then_some(Self { size, levels })
    }

    /// Number of entries.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The hashes of the last tile of a level, shorter than a full one; may be empty.
    #[must_use]
    pub fn edge(&self, level: u8) -> &[Digest] {
        self.levels
            .get(usize::from(level))
            .map_or(&[], Vec::as_slice)
    }

    /// Levels of tiles.
    #[must_use]
    pub fn levels(&self) -> u8 {
        self.levels.len() as u8
    }

    /// Adds an entry by its hash; gives the tiles that it fills, from the bottom up.
    pub fn push(&mut self, leaf: Digest) -> Vec<FullTile> {
        let mut full = Vec::new();
        let mut hash = leaf;
        self.size += 1;
        for level in 0..MAX_LEVELS {
            if self.levels.len() == usize::from(level) {
                self.levels.push(Vec::with_capacity(TILE_WIDTH));
            }
            let Some(row) = self.levels.get_mut(usize::from(level)) else {
                break;
            };
            row.push(hash);
            if row.len() < TILE_WIDTH {
                break;
            }
            let hashes = std::mem::take(row);
            let index = (self.size >> (8 * (u32::from(level) + 1))) - 1;
            hash = fold(&hashes).unwrap_or_else(empty_root);
            full.push(FullTile {
                name: TileName::hashes(level, index, TILE_WIDTH as u16),
                hashes,
            });
        }
        full
    }

    /// The root over all entries.
    #[must_use]
    pub fn root(&self) -> Digest {
        let mut below: Option<Digest> = None;
        for row in &self.levels {
            let mut row = row.clone();
            row.extend(below);
            below = fold(&row);
        }
        below.unwrap_or_else(empty_root)
    }
}

/// Where the hashes of whole subtrees come from.
pub trait Nodes {
    /// What can go wrong.
    type Error;

    /// The hash over entries `index << height` to `(index + 1) << height`, all of which are there.
    ///
    /// # Errors
    /// Where the hash cannot be had.
    fn node(&mut self, height: u32, index: u64) -> Result<Digest, Self::Error>;
}

/// The largest power of two below `n`, which is at least 2.
fn split(n: u64) -> u64 {
    1 << (63 - (n - 1).leading_zeros())
}

/// The root over the entries from `start` to before `end` of a tree whose split lies at `start`.
fn subtree<N: Nodes>(nodes: &mut N, start: u64, end: u64) -> Result<Digest, N::Error> {
    let count = end - start;
    if count.is_power_of_two() {
        let height = count.trailing_zeros();
        return nodes.node(height, start >> height);
    }
    let middle = start + split(count);
    let left = subtree(nodes, start, middle)?;
    Ok(node_hash(&left, &subtree(nodes, middle, end)?))
}

/// The root over the first `size` entries.
///
/// # Errors
/// Those of `nodes`.
pub fn root_at<N: Nodes>(nodes: &mut N, size: u64) -> Result<Digest, N::Error> {
    if size == 0 {
        return Ok(empty_root());
    }
    subtree(nodes, 0, size)
}

/// The proof that entry `index` is in the tree of `size` entries: from its sibling to the child of
/// the root. `index` is below `size`.
///
/// # Errors
/// Those of `nodes`.
pub fn prove_inclusion<N: Nodes>(
    nodes: &mut N,
    index: u64,
    size: u64,
) -> Result<Vec<Digest>, N::Error> {
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(subtree(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(subtree(nodes, start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Ok(proof)
}

/// The proof that the tree of `size` entries begins with the tree of `old` entries, `old` at most
/// `size`. Empty for `old` 0 and `old` equal to `size`.
///
/// # Errors
/// Those of `nodes`.
pub fn prove_consistency<N: Nodes>(
    nodes: &mut N,
    old: u64,
    size: u64,
) -> Result<Vec<Digest>, N::Error> {
    if old == 0 || old == size {
        return Ok(Vec::new());
    }
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    while old < end {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(subtree(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(subtree(nodes, start, middle)?);
            start = middle;
        }
    }
    // The old tree's own root is known to whoever checks.
    if start != 0 {
        proof.push(subtree(nodes, start, end)?);
    }
    proof.reverse();
    Ok(proof)
}

/// Whether `proof` shows that entry `index` with this hash is in the tree of `size` entries with
/// this root (RFC 9162, 2.1.3.2).
#[must_use]
pub fn check_inclusion(
    proof: &[Digest],
    leaf: Digest,
    index: u64,
    size: u64,
    root: &Digest,
) -> bool {
    if index >= size {
        return false;
    }
    let (mut node, mut last, mut hash) = (index, size - 1, leaf);
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            hash = node_hash(sibling, &hash);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the tree of `size` entries with this root begins with the tree of
/// `old` entries with that root (RFC 9162, 2.1.4.2).
#[must_use]
pub fn check_consistency(
    proof: &[Digest],
    old: u64,
    old_root: &Digest,
    size: u64,
    root: &Digest,
) -> bool {
    if old > size {
        return false;
    }
    if old == size || old == 0 {
        let empty = old == 0 && *old_root == empty_root();
        return proof.is_empty() && (empty || (old == size && old_root == root));
    }
    let mut hashes = proof.iter();
    let first = if old.is_power_of_two() {
        Some(old_root)
    } else {
        hashes.next()
    };
    let Some(first) = first else { return false };
    let (mut node, mut last) = (old - 1, size - 1);
    while node & 1 == 1 {
        node >>= 1;
        last >>= 1;
    }
    let (mut before, mut after) = (*first, *first);
    for sibling in hashes {
        if last == 0 {
            return false;
        }
        if node & 1 == 1 || node == last {
            before = node_hash(sibling, &before);
            after = node_hash(sibling, &after);
            while node & 1 == 0 && node != 0 {
                node >>= 1;
                last >>= 1;
            }
        } else {
            after = node_hash(&after, sibling);
        }
        node >>= 1;
        last >>= 1;
    }
    last == 0 && before == *old_root && after == *root
}
