//! A regression forest that says how sure it is.

use crate::random::Stream;

const TREES: usize = 48;
/// Rows that a leaf keeps at least.
const LEAF: usize = 1;
/// Places tried for a cut of each column, at random (extremely randomized trees: Geurts, Ernst and
/// Wehenkel, Machine Learning 63, 2006): with few rows they interpolate more smoothly than best cuts.
const CUTS: usize = 3;

/// Trees over bootstrap samples of the rows.
pub(super) struct Forest {
    trees: Vec<Node>,
}

enum Node {
    Leaf {
        mean: f64,
        variance: f64,
    },
    Cut {
        column: usize,
        at: f64,
        below: Box<Node>,
        above: Box<Node>,
    },
}

impl Forest {
    /// Fits rows of equal length, at least one.
    pub(super) fn fit(rows: &[Vec<f64>], targets: &[f64], stream: &mut Stream) -> Self {
        let data = Data { rows, targets };
        let trees = (0..TREES)
            .map(|_| {
                let mut drawn: Vec<usize> = rows.iter().map(|_| stream.below(rows.len())).collect();
                grow(&data, &mut drawn, stream)
            })
            .collect();
        Self { trees }
    }

    /// Mean and standard deviation at a row: of the trees' means, and within their leaves.
    pub(super) fn predict(&self, row: &[f64]) -> (f64, f64) {
        let count = self.trees.len() as f64;
        let leaves = || self.trees.iter().map(|tree| leaf(tree, row));
        let mean = leaves().map(|(mean, _)| mean).sum::<f64>() / count;
        let second = |(tree, within): (f64, f64)| within + (tree - mean) * (tree - mean);
        let variance = leaves().map(second).sum::<f64>() / count;
        (mean, libm::sqrt(variance))
    }
}

struct Data<'a> {
    rows: &'a [Vec<f64>],
    targets: &'a [f64],
}

impl Data<'_> {
    /// Sum of squares around the mean, and the mean.
    fn spread(&self, of: &[usize]) -> (f64, f64) {
        let count = of.len() as f64;
        let mean = of.iter().map(|row| self.targets[*row]).sum::<f64>() / count;
        let square = |row: &usize| (self.targets[*row] - mean) * (self.targets[*row] - mean);
        (of.iter().map(square).sum(), mean)
    }
}

fn leaf(tree: &Node, row: &[f64]) -> (f64, f64) {
    match tree {
        Node::Leaf { mean, variance } => (*mean, *variance),
        Node::Cut {
            column,
            at,
            below,
            above,
        } => leaf(if row[*column] <= *at { below } else { above }, row),
    }
}

fn grow(data: &Data<'_>, of: &mut [usize], stream: &mut Stream) -> Node {
    let (spread, mean) = data.spread(of);
    let cut = (of.len() >= 2 * LEAF && spread > 0.0)
        .then(|| best_cut(data, of, stream))
        .flatten();
    let Some((column, at)) = cut else {
        return Node::Leaf {
            mean,
            variance: spread / of.len() as f64,
        };
    };
    // Below first; the order within the halves does not matter.
    of.sort_by_key(|row| data.rows[*row][column] > at);
    let middle = of.partition_point(|row| data.rows[*row][column] <= at);
    let (below, above) = of.split_at_mut(middle);
    Node::Cut {
        column,
        at,
        below: Box::new(grow(data, below, stream)),
        above: Box::new(grow(data, above, stream)),
    }
}

/// The best of some cuts at random places of each column, if one leaves enough rows on both sides.
fn best_cut(data: &Data<'_>, of: &[usize], stream: &mut Stream) -> Option<(usize, f64)> {
    let mut best: Option<(f64, usize, f64)> = None;
    for column in 0..data.rows.first()?.len() {
        let values = || of.iter().map(|row| data.rows[*row][column]);
        let low = values().min_by(f64::total_cmp)?;
        let high = values().max_by(f64::total_cmp)?;
        if low == high {
            continue;
        }
        for _ in 0..CUTS {
            let at = low + stream.unit() * (high - low);
            let (below, above): (Vec<usize>, Vec<usize>) =
                of.iter().partition(|row| data.rows[**row][column] <= at);
            if below.len() < LEAF || above.len() < LEAF {
                continue;
            }
            let left = data.spread(&below).0 + data.spread(&above).0;
            if best.is_none_or(|(least, ..)| left < least) {
                best = Some((left, column, at));
            }
        }
    }
    best.map(|(_, column, at)| (column, at))
}
