use super::super::tree::{Node, Test};
use super::*;
use crate::family::Head;
use crate::random::Stream;

/// Rows with bins and packed-free gradients; the histogram of any subset.
struct Rows {
    cells: Vec<Vec<u8>>,
    sums: Vec<Sums>,
}

const BINS: u16 = 9;

impl Rows {
    fn draw(seed: &[u8], rounding: &Rounding) -> Self {
        let mut stream = Stream::new("collegium/test/v1", &[seed]);
        let mut rows = Self {
            cells: Vec::new(),
            sums: Vec::new(),
        };
        for _ in 0..800 {
            let cells: Vec<u8> = (0..3).map(|_| stream.below(9) as u8).collect();
            let signal = 0.1 * f64::from(cells[0]) - 0.1 * f64::from(cells[1] % 2);
            rows.sums.push(Sums {
                gradient: rounding.gradient(0.3 - signal + 0.2 * stream.normal()),
                hessian: rounding.hessian(0.25 * stream.unit()),
            });
            rows.cells.push(cells);
        }
        rows
    }

    fn histogram(&self, rows: &[usize], layout: &Layout) -> Histogram {
        let mut bins = vec![Sums::default(); layout.numbers()];
        for row in rows {
            for (place, column) in layout.columns.iter().enumerate() {
                let bin = self.cells[*row][usize::from(*column)];
                let at = &mut bins[place * usize::from(BINS) + usize::from(bin)];
                at.gradient += self.sums[*row].gradient;
                at.hessian += self.sums[*row].hessian;
            }
        }
        Histogram { bins }
    }

    /// The rows of a node.
    fn at(&self, tree: &Tree, node: u16) -> Vec<usize> {
        let reaches = |row: &usize| {
            let mut at = 0;
            loop {
                if at == usize::from(node) {
                    return true;
                }
                let Node::Split {
                    feature,
                    test,
                    left,
                } = tree.nodes()[at]
                else {
                    return false;
                };
                let right = !test.left(self.cells[*row][usize::from(feature)]);
                at = usize::from(left) + usize::from(right);
            }
        };
        (0..self.cells.len()).filter(reaches).collect()
    }
}

fn growing(kinds: Vec<ColumnKind>) -> Growing {
    Growing {
        rules: Rules {
            lambda: 1.0,
            min_hessian: 0.5,
            min_gain: 0.0,
            category_lambda: 0.0,
            category_smoothing: 0.0,
        },
        max_depth: 4,
        level_splits: 128,
        smoothing: 0.0,
        rate: 1.0,
        kinds,
        rounding: Rounding::new(Head::Binary, 800),
    }
}

fn grow(rows: &Rows, growing: &Growing) -> Growth {
    let layout = Layout::new(vec![0, 1, 2], &[BINS; 3]);
    let mut growth = Growth::new();
    let mut levels = 0;
    while !growth.finished() {
        let histograms: Vec<Histogram> = growth
            .asked()
            .iter()
            .map(|node| rows.histogram(&rows.at(growth.splits(), *node), &layout))
            .collect();
        growth.learn(histograms, &layout, growing);
        levels += 1;
    }
    assert!(levels <= growing.max_depth);
    growth
}

#[test]
fn siblings_by_subtraction_are_exact() {
    let growing = growing(vec![
        ColumnKind::Ordered(0),
        ColumnKind::Levels,
        ColumnKind::Ordered(0),
    ]);
    let rows = Rows::draw(b"grow", &growing.rounding);
    let growth = grow(&rows, &growing);
    assert!(growth.tree.splits() >= 7, "{}", growth.tree.splits());
    for (node, known) in growth.known.iter().enumerate() {
        let reached = rows.at(&growth.tree, node as u16);
        let sum = |part: fn(&Sums) -> i64| -> i64 {
            reached.iter().map(|row| part(&rows.sums[*row])).sum()
        };
        assert_eq!(known.sums.gradient, sum(|s| s.gradient), "node {node}");
        assert_eq!(known.sums.hessian, sum(|s| s.hessian), "node {node}");
        let weight = growing.rounding.hessian_value(known.sums.hessian);
        assert!(weight >= 0.5, "node {node}");
        let gradient = growing.rounding.gradient_value(known.sums.gradient);
        assert!((known.value + gradient / (weight + 1.0)).abs() < 1e-12);
    }
}

#[test]
fn only_the_best_splits_of_a_level_are_made() {
    let mut growing = growing(vec![ColumnKind::Ordered(0); 3]);
    let rows = Rows::draw(b"levels", &growing.rounding);
    let free = grow(&rows, &growing).tree.splits();
    growing.level_splits = 2;
    let narrow = grow(&rows, &growing);
    assert!(narrow.tree.splits() <= 7 && narrow.tree.splits() < free);
    assert!(narrow.tree.splits() >= 5);
}

#[test]
fn smoothing_draws_values_towards_the_parent() {
    let mut growing = growing(vec![ColumnKind::Ordered(0); 3]);
    growing.max_depth = 1;
    let rows = Rows::draw(b"smooth", &growing.rounding);
    let rough = grow(&rows, &growing);
    growing.smoothing = 1e12;
    let smooth = grow(&rows, &growing);
    assert!((rough.known[1].value - rough.known[0].value).abs() > 0.01);
    assert!((smooth.known[1].value - smooth.known[0].value).abs() < 1e-6);
}

#[test]
fn predictions_go_the_way_that_constraints_say() {
    for way in [1_i8, -1] {
        let growing = growing(vec![
            ColumnKind::Ordered(way),
            ColumnKind::Levels,
            ColumnKind::Ordered(0),
        ]);
        let rows = Rows::draw(b"monotone", &growing.rounding);
        let tree = grow(&rows, &growing).valued(&growing);
        assert!(tree.splits() > 0);
        for other in 0..BINS as u8 {
            for third in 0..BINS as u8 {
                let values: Vec<f32> = (1..BINS as u8)
                    .map(|bin| tree.value(&[bin, other, third]))
                    .collect();
                let steps = values.windows(2).map(|pair| pair[1] - pair[0]);
                assert!(
                    steps.clone().all(|step| step * f32::from(way) >= 0.0),
                    "{way} {other} {third} {values:?}"
                );
            }
        }
    }
    // Without the constraint the same rows do go the other way somewhere.
    let growing = growing(vec![ColumnKind::Ordered(0); 3]);
    let rows = Rows::draw(b"monotone", &growing.rounding);
    let tree = grow(&rows, &growing).valued(&growing);
    let falls = (0..BINS as u8).any(|other| {
        (1..BINS as u8 - 1)
            .any(|bin| tree.value(&[bin, other, 0]) > tree.value(&[bin + 1, other, 0]))
    });
    assert!(falls);
}

#[test]
fn a_constant_is_left_alone() {
    let growing = growing(vec![ColumnKind::Ordered(0)]);
    let layout = Layout::new(vec![0], &[3]);
    let mut growth = Growth::new();
    let one = Sums {
        gradient: 1 << 20,
        hessian: 1 << 20,
    };
    let histogram = Histogram {
        bins: vec![Sums::default(), one, Sums::default()],
    };
    growth.learn([histogram], &layout, &growing);
    assert!(growth.finished() && growth.tree.splits() == 0);
    assert!(growth.known[0].value < 0.0);
    let _ = Test::of_bins([1]);
}
