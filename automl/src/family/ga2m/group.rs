//! Bins taken together, by their rows alone: no label is looked at, so all folds share
//! the groups.

use crate::family::additive::{CoarseColumn, Term};

/// Rows below which a level of a category is taken together with the other rare ones.
const LEAST_ROWS: u64 = 10;

/// One column's bins in groups.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Grouping {
    /// The group of each bin.
    pub(crate) groups: Vec<u8>,
    /// How many groups.
    pub(crate) size: usize,
    /// The first groups that stand in an order; 0 for a category.
    pub(crate) run: usize,
}

impl Grouping {
    /// At most `most` groups (2 to 255) of bins that have these rows, bin 0 being
    /// missing values. Missing values have a group of their own where there are any;
    /// else they are taken for the commonest group.
    pub(crate) fn new(rows: &[u64], ordered: bool, most: usize) -> Self {
        let missing = rows[0] >= LEAST_ROWS;
        let most = most - usize::from(missing && most > 2);
        let mut own = if ordered {
            along(rows, most)
        } else {
            common(rows, most)
        };
        let size = own
            .iter()
            .skip(1)
            .max()
            .map_or(1, |last| usize::from(*last) + 1);
        let mut of_group = vec![0; size];
        for (group, rows) in own.iter().zip(rows).skip(1) {
            of_group[usize::from(*group)] += rows;
        }
        let commonest = (0..size)
            .max_by_key(|at| (of_group[*at], size - at))
            .unwrap_or(0);
        own[0] = if missing { size as u8 } else { commonest as u8 };
        Self {
            groups: own,
            size: size + usize::from(missing),
            run: if ordered { size } else { 0 },
        }
    }

    /// Whether it tells rows apart at all.
    pub(crate) fn tells(&self) -> bool {
        self.size > 1
    }

    /// Rows in each group, at least 1: a weight for what is known of it.
    pub(crate) fn weights(&self, rows: &[u64]) -> Vec<f64> {
        let mut weights = vec![0.0; self.size];
        for (group, rows) in self.groups.iter().zip(rows) {
            weights[usize::from(*group)] += *rows as f64;
        }
        weights.iter().map(|rows: &f64| rows.max(1.0)).collect()
    }

    /// As a term of a model.
    pub(crate) fn term(&self, column: usize) -> Term {
        Term::Groups {
            column: column as u16,
            size: self.size as u16,
            groups: self.groups.clone(),
        }
    }

    /// As a side of the grids of pairs.
    pub(crate) fn coarse(&self, column: usize) -> CoarseColumn {
        CoarseColumn {
            column: column as u16,
            size: self.size as u16,
            groups: self.groups.clone(),
        }
    }
}

/// Neighbouring bins together, about equally many rows in each group; the first entry
/// is not used.
fn along(rows: &[u64], most: usize) -> Vec<u8> {
    let mut left: u64 = rows.iter().skip(1).sum();
    let mut groups = vec![0; rows.len()];
    let mut group = 0;
    let mut held = 0;
    let mut aim = left.div_ceil(most as u64);
    for (bin, here) in rows.iter().enumerate().skip(1) {
        // A group ends before a bin that would take it further from its aim than it
        // is now; empty bins go with the rows below them.
        let over = (held + here).saturating_sub(aim);
        if held > 0 && *here > 0 && group + 1 < most && (held >= aim || over > aim - held) {
            left -= held;
            held = 0;
            group += 1;
            aim = left.div_ceil((most - group) as u64);
        }
        held += here;
        groups[bin] = group as u8;
    }
    groups
}

/// The commonest levels each on their own, the others together in the last group.
fn common(rows: &[u64], most: usize) -> Vec<u8> {
    let mut levels: Vec<usize> = (1..rows.len())
        .filter(|bin| rows[*bin] >= LEAST_ROWS)
        .collect();
    levels.sort_by_key(|bin| (std::cmp::Reverse(rows[*bin]), *bin));
    let rare = levels.len() + 1 < rows.len();
    if levels.len() + usize::from(rare) > most {
        levels.truncate(most - 1);
    }
    levels.sort_unstable();
    let mut groups = vec![levels.len() as u8; rows.len()];
    for (group, bin) in levels.iter().enumerate() {
        groups[*bin] = group as u8;
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_along_an_order_are_shared_out_evenly() {
        let grouping = Grouping::new(&[0, 10, 10, 10, 10, 10, 10], true, 3);
        assert_eq!(grouping.groups[1..], [0, 0, 1, 1, 2, 2]);
        assert_eq!((grouping.size, grouping.run), (3, 3));
        let heavy = Grouping::new(&[50, 900, 0, 30, 30, 30], true, 4);
        assert_eq!(heavy.groups, [3, 0, 0, 1, 1, 2]);
        assert_eq!((heavy.size, heavy.run), (4, 3));
    }

    #[test]
    fn few_bins_stay_as_they_are() {
        let grouping = Grouping::new(&[20, 5, 500, 70], true, 32);
        assert_eq!(grouping.groups, [3, 0, 1, 2]);
    }

    #[test]
    fn rare_levels_are_one_group_and_missing_ones_the_commonest() {
        let grouping = Grouping::new(&[0, 40, 3, 60, 0, 50], false, 32);
        assert_eq!(grouping.groups, [1, 0, 3, 1, 3, 2]);
        assert_eq!((grouping.size, grouping.run), (4, 0));
        let capped = Grouping::new(&[0, 40, 30, 60, 20, 50], false, 3);
        assert_eq!(capped.groups, [2, 2, 2, 0, 2, 1]);
        assert_eq!(capped.size, 3);
    }

    #[test]
    fn a_column_without_rows_or_with_one_value_tells_nothing() {
        for ordered in [true, false] {
            assert!(!Grouping::new(&[0, 0, 0], ordered, 8).tells());
            assert!(!Grouping::new(&[0, 90, 0], ordered, 8).tells() || !ordered);
            assert!(Grouping::new(&[30, 90, 0], ordered, 8).tells());
        }
    }
}
