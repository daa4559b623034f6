//! Trees over bins, and how they are written down.

use serde::{Deserialize, Serialize};

/// Deepest tree.
pub const MAX_DEPTH: u8 = 8;
/// Nodes of a full tree of [`MAX_DEPTH`].
pub const MAX_NODES: usize = (1 << (MAX_DEPTH as usize + 1)) - 1;

/// Which bins go left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Test {
    /// Bins 1 to `last`; bin 0, the missing values, where `missing_left`.
    Cut {
        /// The last bin that goes left, at least 1.
        last: u8,
        /// Where missing values go.
        missing_left: bool,
    },
    /// These bins, as bits; all others, those that training never saw among
    /// them, go right.
    Bins([u64; 4]),
}

impl Test {
    /// The test of a set of bins.
    #[must_use]
    pub fn of_bins(bins: impl IntoIterator<Item = u8>) -> Self {
        let mut bits = [0_u64; 4];
        for bin in bins {
            bits[usize::from(bin >> 6)] |= 1 << (bin & 63);
        }
        Self::Bins(bits)
    }

    /// Whether a row with this bin goes left.
    #[must_use]
    pub fn left(&self, bin: u8) -> bool {
        match *self {
            Self::Cut { last, missing_left } => {
                if bin == 0 {
                    missing_left
                } else {
                    bin <= last
                }
            }
            Self::Bins(bits) => bits[usize::from(bin >> 6)] >> (bin & 63) & 1 == 1,
        }
    }
}

/// A node: what it asks of a row, or what it adds to the row's margin.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node {
    /// The end of a path.
    Leaf(f32),
    /// Two ways on.
    Split {
        /// The column that is looked at.
        feature: u16,
        /// Which bins go left.
        test: Test,
        /// The left child; the right one is next to it.
        left: u16,
    },
}

/// A tree, its nodes in breadth-first order: the children of the k-th split are
/// nodes 2k + 1 and 2k + 2, so that a tree that grows by a level keeps the
/// numbers of its nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub struct Tree {
    nodes: Vec<Node>,
}

/// A tree as it is written: a few short arrays.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    /// The column of every node in order, -1 for a leaf.
    f: Vec<i32>,
    /// The test of every split: 2 · last + missing_left, or -1 - place in `s`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    t: Vec<i32>,
    /// Sets of bins, ascending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    s: Vec<Vec<u8>>,
    /// The values of the leaves in order; none while the tree grows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    v: Vec<f32>,
}

impl Default for Tree {
    fn default() -> Self {
        Self {
            nodes: vec![Node::Leaf(0.0)],
        }
    }
}

impl Tree {
    /// The nodes in breadth-first order.
    #[must_use]
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// How many splits it has.
    #[must_use]
    pub fn splits(&self) -> usize {
        self.nodes.len() / 2
    }

    /// Splits a leaf and returns its left child. Leaves must be split in the
    /// order of their numbers, level by level.
    pub(super) fn split(&mut self, node: u16, feature: u16, test: Test) -> u16 {
        let left = self.nodes.len() as u16;
        self.nodes[usize::from(node)] = Node::Split {
            feature,
            test,
            left,
        };
        self.nodes.extend([Node::Leaf(0.0); 2]);
        left
    }

    pub(super) fn set_leaf(&mut self, node: usize, value: f32) {
        if let Some(Node::Leaf(leaf)) = self.nodes.get_mut(node) {
            *leaf = value;
        }
    }

    /// The value of the leaf that a row of bins ends in.
    #[must_use]
    pub fn value(&self, row: &[u8]) -> f32 {
        let mut at = 0;
        loop {
            match &self.nodes[at] {
                Node::Leaf(value) => return *value,
                Node::Split {
                    feature,
                    test,
                    left,
                } => {
                    let right = !test.left(row[usize::from(*feature)]);
                    at = usize::from(*left) + usize::from(right);
                }
            }
        }
    }

    /// Whether every split of `older` is one of this tree, under the same number.
    pub(super) fn grew_from(&self, older: &Self) -> bool {
        let same = |(old, new): (&Node, &Node)| matches!(old, Node::Leaf(_)) || old == new;
        self.nodes.len() >= older.nodes.len() && older.nodes.iter().zip(&self.nodes).all(same)
    }

    /// Whether rows of this many columns can be sent through.
    pub(super) fn check(&self, width: usize) -> Result<(), String> {
        for node in &self.nodes {
            match node {
                Node::Leaf(value) if !value.is_finite() => {
                    return Err("a leaf's value is not finite".to_owned());
                }
                Node::Split { feature, .. } if usize::from(*feature) >= width => {
                    return Err(format!("a split on column {feature} of {width}"));
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl From<Tree> for Written {
    fn from(tree: Tree) -> Self {
        let mut written = Self {
            f: Vec::with_capacity(tree.nodes.len()),
            t: Vec::with_capacity(tree.splits()),
            s: Vec::new(),
            v: Vec::new(),
        };
        for node in &tree.nodes {
            match *node {
                Node::Leaf(value) => {
                    written.f.push(-1);
                    written.v.push(value);
                }
                Node::Split { feature, test, .. } => {
                    written.f.push(i32::from(feature));
                    written.t.push(match test {
                        Test::Cut { last, missing_left } => {
                            2 * i32::from(last) + i32::from(missing_left)
                        }
                        Test::Bins(_) => {
                            let set = (0..=u8::MAX).filter(|bin| test.left(*bin));
                            written.s.push(set.collect());
                            -(written.s.len() as i32)
                        }
                    });
                }
            }
        }
        if written.v.iter().all(|value| *value == 0.0) {
            written.v.clear();
        }
        written
    }
}

impl TryFrom<Written> for Tree {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written { f, t, s, v } = written;
        let splits = f.iter().filter(|feature| **feature >= 0).count();
        let leaves = f.len() - splits;
        if f.len() > MAX_NODES || leaves != splits + 1 {
            return Err(format!("a tree of {splits} splits and {leaves} leaves"));
        }
        if t.len() != splits || (v.len() != leaves && !v.is_empty()) {
            return Err("a tree's tests or values are not as many as its nodes".to_owned());
        }
        let mut nodes = Vec::with_capacity(f.len());
        let mut depths = vec![0_u8; f.len()];
        let mut tests = t.into_iter();
        let mut values = v.into_iter();
        let mut left = 1;
        for (at, feature) in f.into_iter().enumerate() {
            if feature < 0 {
                nodes.push(Node::Leaf(values.next().unwrap_or(0.0)));
                continue;
            }
            // So no path comes back to where it was.
            if left <= at || depths[at] >= MAX_DEPTH {
                return Err("a tree's nodes are not level by level, or too deep".to_owned());
            }
            depths[left] = depths[at] + 1;
            depths[left + 1] = depths[at] + 1;
            nodes.push(Node::Split {
                feature: u16::try_from(feature).map_err(|_| format!("column {feature}"))?,
                test: read_test(tests.next().unwrap_or(0), &s)?,
                left: left as u16,
            });
            left += 2;
        }
        Ok(Self { nodes })
    }
}

fn read_test(code: i32, sets: &[Vec<u8>]) -> Result<Test, String> {
    if code < 0 {
        let set = sets.get(code.unsigned_abs() as usize - 1);
        let set = set.ok_or_else(|| format!("no set {code} of bins"))?;
        return Ok(Test::of_bins(set.iter().copied()));
    }
    let last = u8::try_from(code >> 1).map_err(|_| format!("a cut after bin {}", code >> 1))?;
    Ok(Test::Cut {
        last,
        missing_left: code & 1 == 1,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        let cut = Test::Cut {
            last: 3,
            missing_left: true,
        };
        assert_eq!(tree.split(0, 1, cut), 1);
        assert_eq!(tree.split(1, 0, Test::of_bins([2, 200])), 3);
        for (node, value) in [(2, 1.5), (3, -0.1), (4, 0.25)] {
            tree.set_leaf(node, value);
        }
        tree
    }

    #[test]
    fn rows_go_where_the_tests_say() {
        let tree = tree();
        for (row, value) in [
            ([0, 4], 1.5),
            ([2, 3], -0.1),
            ([200, 0], -0.1),
            ([0, 0], 0.25),
            ([201, 1], 0.25),
        ] {
            assert_eq!(tree.value(&row), value, "{row:?}");
        }
    }

    #[test]
    fn a_tree_is_written_in_short_arrays_and_read_back() {
        let json = serde_json::to_string(&tree()).expect("json");
        assert_eq!(
            json,
            r#"{"f":[1,0,-1,-1,-1],"t":[7,-1],"s":[[2,200]],"v":[1.5,-0.1,0.25]}"#
        );
        assert_eq!(serde_json::from_str::<Tree>(&json).expect("tree"), tree());
        let leaf = serde_json::to_string(&Tree::default()).expect("json");
        assert_eq!(leaf, r#"{"f":[-1]}"#);
        assert_eq!(
            serde_json::from_str::<Tree>(&leaf).expect("tree"),
            Tree::default()
        );
    }

    #[test]
    fn malformed_trees_are_refused() {
        for bad in [
            r#"{"f":[]}"#,
            r#"{"f":[0,-1],"t":[2]}"#,
            r#"{"f":[-1,0,-1],"t":[2]}"#,
            r#"{"f":[0,-1,-1]}"#,
            r#"{"f":[0,-1,-1],"t":[512]}"#,
            r#"{"f":[0,-1,-1],"t":[-1]}"#,
            r#"{"f":[70000,-1,-1],"t":[2]}"#,
            r#"{"f":[0,-1,-1],"t":[2],"v":[1]}"#,
            r#"{"f":[0,-1,-1],"t":[2],"cover":[1]}"#,
        ] {
            assert!(serde_json::from_str::<Tree>(bad).is_err(), "{bad}");
        }
        // Nine levels on one side.
        let mut tree = Tree::default();
        let mut node = 0;
        for _ in 0..9 {
            node = tree.split(node, 0, Test::of_bins([1]));
        }
        let deep = serde_json::to_string(&tree).expect("json");
        assert!(serde_json::from_str::<Tree>(&deep).is_err());
        assert!(self::tree().check(1).is_err());
        assert!(self::tree().check(2).is_ok());
    }

    #[test]
    fn growth_keeps_numbers() {
        let old = tree();
        let mut new = old.clone();
        new.split(3, 0, Test::of_bins([1]));
        assert!(new.grew_from(&old) && old.grew_from(&old) && !old.grew_from(&new));
        let mut other = Tree::default();
        other.split(0, 0, Test::of_bins([1]));
        assert!(!new.grew_from(&other));
    }
}
