//! The coordinator's side of a tree: level by level, from summed histograms.

use super::histogram::Layout;
use super::rounding::Rounding;
use super::split::{Bounds, ColumnKind, Finder, Histogram, Rules, Split, Sums};
use super::tree::Tree;

/// What all trees of a candidate grow by.
#[derive(Clone, Debug)]
pub(super) struct Growing {
    pub(super) rules: Rules,
    pub(super) max_depth: u8,
    /// Most splits of a level of a tree: the best ones.
    pub(super) level_splits: usize,
    /// Hessian that draws a leaf's value towards its parent's.
    pub(super) smoothing: f64,
    /// What a leaf's value is multiplied by.
    pub(super) rate: f64,
    /// What the table's columns are.
    pub(super) kinds: Vec<ColumnKind>,
    pub(super) rounding: Rounding,
}

/// What is known of a node.
#[derive(Clone, Copy, Debug)]
struct Known {
    sums: Sums,
    bounds: Bounds,
    value: f64,
}

/// Children whose histograms the next step makes known.
#[derive(Clone, Debug)]
struct Pending {
    /// The child that is asked for: the one with less Hessian.
    asked: u16,
    /// The other one, and the histogram of both: what is not the asked child's
    /// is its sibling's.
    sibling: Option<(u16, Histogram)>,
}

/// A tree that grows.
#[derive(Clone, Debug)]
pub(super) struct Growth {
    tree: Tree,
    known: Vec<Known>,
    pending: Vec<Pending>,
    depth: u8,
}

impl Growth {
    /// A tree of which only the root is there.
    pub(super) fn new() -> Self {
        Self {
            tree: Tree::default(),
            known: Vec::new(),
            pending: vec![Pending {
                asked: 0,
                sibling: None,
            }],
            depth: 0,
        }
    }

    /// The nodes whose histograms are needed, ascending.
    pub(super) fn asked(&self) -> Vec<u16> {
        self.pending.iter().map(|pending| pending.asked).collect()
    }

    /// Whether it has grown to the end.
    pub(super) fn finished(&self) -> bool {
        self.pending.is_empty()
    }

    /// The splits so far, without values: what sites need to know while it grows.
    pub(super) fn splits(&self) -> &Tree {
        &self.tree
    }

    /// The tree as it is now, with the values of its leaves.
    pub(super) fn valued(&self, growing: &Growing) -> Tree {
        let mut tree = self.tree.clone();
        for (node, known) in self.known.iter().enumerate() {
            tree.set_leaf(node, (known.value * growing.rate) as f32);
        }
        tree
    }

    /// Takes in the histograms of the nodes of [`Growth::asked`], and grows by a level.
    pub(super) fn learn(
        &mut self,
        histograms: impl IntoIterator<Item = Histogram>,
        layout: &Layout,
        growing: &Growing,
    ) {
        let mut found: Vec<(u16, Split, Histogram)> = Vec::new();
        for (pending, histogram) in std::mem::take(&mut self.pending)
            .into_iter()
            .zip(histograms)
        {
            if self.known.is_empty() {
                self.known.push(root(&histogram, layout, growing));
            }
            if let Some((sibling, parent)) = pending.sibling {
                let rest = parent.without(&histogram);
                found.extend(self.find(sibling, rest, layout, growing));
            }
            found.extend(self.find(pending.asked, histogram, layout, growing));
        }
        if found.len() > growing.level_splits {
            found.sort_by(|a, b| b.1.gain.total_cmp(&a.1.gain).then(a.0.cmp(&b.0)));
            found.truncate(growing.level_splits);
        }
        found.sort_by_key(|(node, ..)| *node);
        self.depth += 1;
        for (node, split, histogram) in found {
            self.split(node, split, histogram, growing);
        }
    }

    fn find(
        &self,
        node: u16,
        histogram: Histogram,
        layout: &Layout,
        growing: &Growing,
    ) -> Option<(u16, Split, Histogram)> {
        let known = self.known[usize::from(node)];
        if !splits(known.sums, growing) {
            return None;
        }
        let finder = Finder::new(&growing.rules, &growing.rounding, known.bounds, known.sums);
        let split = finder.best(&histogram, layout, &growing.kinds)?;
        Some((node, split, histogram))
    }

    fn split(&mut self, node: u16, split: Split, histogram: Histogram, growing: &Growing) {
        let left = self.tree.split(node, split.feature, split.test);
        let parent = self.known[usize::from(node)];
        let finder = Finder::new(
            &growing.rules,
            &growing.rounding,
            parent.bounds,
            parent.sums,
        );
        let lambda = growing.rules.lambda;
        let values = [split.left, split.right].map(|sums| finder.value(sums, lambda));
        let bounds = child_bounds(parent.bounds, values, split.monotone);
        for ((sums, bounds), value) in [split.left, split.right]
            .into_iter()
            .zip(bounds)
            .zip(values)
        {
            let weight = growing.rounding.hessian_value(sums.hessian);
            let drawn = growing.smoothing / (weight + growing.smoothing).max(f64::MIN_POSITIVE);
            let value = value + (parent.value - value) * drawn;
            self.known.push(Known {
                sums,
                bounds,
                value: value.clamp(bounds.least, bounds.most),
            });
        }
        let any = splits(split.left, growing) || splits(split.right, growing);
        if self.depth < growing.max_depth && any {
            let right_is_lighter = split.right.hessian < split.left.hessian;
            let (asked, other) = if right_is_lighter {
                (left + 1, left)
            } else {
                (left, left + 1)
            };
            self.pending.push(Pending {
                asked,
                sibling: Some((other, histogram)),
            });
        }
    }
}

fn root(histogram: &Histogram, layout: &Layout, growing: &Growing) -> Known {
    let sums = histogram.totals(layout);
    let finder = Finder::new(&growing.rules, &growing.rounding, Bounds::FREE, sums);
    Known {
        sums,
        bounds: Bounds::FREE,
        value: finder.value(sums, growing.rules.lambda),
    }
}

/// Whether a node has enough for two children.
fn splits(sums: Sums, growing: &Growing) -> bool {
    let weight = growing.rounding.hessian_value(sums.hessian);
    sums.hessian >= 2 && weight >= 2.0 * growing.rules.min_hessian
}

/// Where the children's values may lie: on either side of the middle of the two,
/// when predictions may go one way only along the column.
fn child_bounds(parent: Bounds, [left, right]: [f64; 2], monotone: i8) -> [Bounds; 2] {
    let middle = 0.5 * (left + right);
    let below = Bounds {
        most: middle,
        ..parent
    };
    let above = Bounds {
        least: middle,
        ..parent
    };
    match monotone {
        1 => [below, above],
        -1 => [above, below],
        _ => [parent, parent],
    }
}

#[cfg(test)]
#[path = "grow_tests.rs"]
mod tests;
