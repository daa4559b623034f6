//! Which rows and columns a tree sees: decided by hashes, so that neither the
//! order of rows nor the site they are at plays a part.

use crate::object::ObjectId;
use crate::random::Stream;
use crate::site::Rows;

/// A number for every row, from its bins and its target: equal rows have equal
/// numbers, wherever they are.
pub(super) fn row_hashes(rows: &Rows) -> Vec<u64> {
    let targets = rows.targets.iter().enumerate();
    targets
        .map(|(index, target)| {
            let mut hasher = blake3::Hasher::new();
            hasher.update(rows.row(index).bins());
            hasher.update(&target.to_le_bytes());
            let mut first = [0; 8];
            hasher.finalize_xof().fill(&mut first);
            u64::from_le_bytes(first)
        })
        .collect()
}

/// Which of a stage's parallel trees.
#[derive(Clone, Copy, Debug)]
pub(super) struct TreeSeed {
    /// The candidate's id.
    pub(super) candidate: ObjectId,
    /// Finished stages before this one.
    pub(super) stage: u32,
    /// Place among the stage's parallel trees; folds and classes share samples.
    pub(super) tree: u32,
}

impl TreeSeed {
    fn stream(&self, domain: &'static str) -> Stream {
        let parts: [&[u8]; 3] = [
            self.candidate.as_bytes(),
            &self.stage.to_le_bytes(),
            &self.tree.to_le_bytes(),
        ];
        Stream::new(domain, &parts)
    }

    /// The tree's columns, ascending: a share of `width`, at least one.
    pub(super) fn columns(&self, width: usize, share: f64) -> Vec<u16> {
        let mut columns: Vec<u16> = (0..width as u16).collect();
        let kept = libm::ceil(width as f64 * share) as usize;
        if kept < width {
            let mut stream = self.stream("collegium automl gbdt columns v1");
            stream.shuffle(&mut columns);
            columns.truncate(kept.max(1));
            columns.sort_unstable();
        }
        columns
    }

    /// The tree's rows.
    pub(super) fn rows(&self, share: f64) -> RowSample {
        let whole = share >= 1.0;
        let seed = if whole {
            0
        } else {
            self.stream("collegium automl gbdt rows v1").bits()
        };
        RowSample {
            seed,
            // 2^64 as a float; `as` saturates.
            below: (share * 18_446_744_073_709_551_616.0) as u64,
            whole,
        }
    }
}

/// Decides which rows a tree sees.
#[derive(Clone, Copy, Debug)]
pub(super) struct RowSample {
    seed: u64,
    below: u64,
    whole: bool,
}

impl RowSample {
    /// Whether the tree sees the row with this number.
    pub(super) fn keeps(&self, hash: u64) -> bool {
        self.whole || mix(hash ^ self.seed) < self.below
    }
}

/// Steele, Lea and Flood's finalizer (SplitMix64).
fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed(stage: u32, tree: u32) -> TreeSeed {
        TreeSeed {
            candidate: ObjectId::of(b"candidate"),
            stage,
            tree,
        }
    }

    #[test]
    fn shares_are_kept_and_trees_differ() {
        let hashes: Vec<u64> = (0..20_000_u64)
            .map(|i| i.wrapping_mul(0x9e37_79b9))
            .collect();
        let kept = |seed: TreeSeed, share: f64| -> Vec<bool> {
            let sample = seed.rows(share);
            hashes.iter().map(|hash| sample.keeps(*hash)).collect()
        };
        let one = kept(seed(0, 0), 0.7);
        let count = one.iter().filter(|kept| **kept).count();
        assert!((13_700..14_300).contains(&count), "{count}");
        assert_eq!(one, kept(seed(0, 0), 0.7));
        assert!(kept(seed(3, 1), 1.0).iter().all(|kept| *kept));
        for other in [seed(0, 1), seed(1, 0)] {
            let both = kept(other, 0.7);
            let agree = one.iter().zip(&both).filter(|(a, b)| a == b).count();
            // 0.7² + 0.3² = 0.58 by chance.
            assert!((11_200..12_000).contains(&agree), "{agree}");
        }
    }

    #[test]
    fn columns_are_a_sorted_share() {
        let all = seed(0, 0).columns(30, 1.0);
        assert_eq!(all, (0..30).collect::<Vec<u16>>());
        let some = seed(0, 0).columns(30, 0.5);
        assert!(some.len() == 15 && some.is_sorted_by(|a, b| a < b));
        assert_ne!(some, seed(0, 1).columns(30, 0.5));
        assert_eq!(seed(0, 0).columns(3, 0.01).len(), 1);
    }
}
