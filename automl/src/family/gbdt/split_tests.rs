use super::*;
use crate::family::Head;
use crate::random::Stream;

const RULES: Rules = Rules {
    lambda: 1.0,
    min_hessian: 1.0,
    min_gain: 0.0,
    category_lambda: 0.0,
    category_smoothing: 0.0,
};

fn rounding() -> Rounding {
    Rounding::new(Head::Binary, 1 << 16)
}

/// A column's bins, drawn: some empty, gradients with a slope or without.
fn column(stream: &mut Stream, bins: usize, slope: f64) -> Vec<Sums> {
    let rounding = rounding();
    let draws = (0..bins).map(|bin| {
        if stream.below(4) == 0 {
            return Sums::default();
        }
        let weight = 1.0 + 5.0 * stream.unit();
        let ratio = slope * (bin as f64 / bins as f64 - 0.5) + stream.normal() * 0.3;
        Sums {
            gradient: rounding.gradient(0.5) * (weight * ratio * 2.0) as i64,
            hessian: rounding.hessian(0.25) * (weight * 4.0) as i64,
        }
    });
    draws.collect()
}

fn score(sums: Sums) -> f64 {
    let rounding = rounding();
    let gradient = rounding.gradient_value(sums.gradient);
    gradient * gradient / (rounding.hessian_value(sums.hessian) + RULES.lambda)
}

fn sum(bins: &[Sums], keep: impl Fn(usize) -> bool) -> Sums {
    let chosen = bins.iter().enumerate().filter(|(bin, _)| keep(*bin));
    chosen.fold(Sums::default(), |sum, (_, bin)| sum.plus(*bin))
}

/// The gain of sending these bins left; nothing where a child is too light.
fn gain(bins: &[Sums], left: impl Fn(usize) -> bool) -> Option<f64> {
    let (left, right) = (sum(bins, &left), sum(bins, |bin| !left(bin)));
    let least = rounding().hessian(0.25) * 4;
    let allowed = left.hessian >= least && right.hessian >= least;
    allowed.then(|| score(left) + score(right) - score(left.plus(right)))
}

fn find(bins: &[Sums], kind: ColumnKind, bounds: Bounds) -> Option<Split> {
    let layout = Layout::new(vec![0], &[bins.len() as u16]);
    let histogram = Histogram {
        bins: bins.to_vec(),
    };
    let node = histogram.totals(&layout);
    let rounding = rounding();
    Finder::new(&RULES, &rounding, bounds, node).best(&histogram, &layout, &[kind])
}

#[test]
fn the_best_cut_is_that_of_a_search_over_all() {
    for seed in 0_u8..60 {
        let mut stream = Stream::new("collegium/test/v1", &[b"cuts", &[seed]]);
        let bins = column(&mut stream, 12, f64::from(seed % 3));
        let mut best: Option<f64> = None;
        for last in 0..12 {
            for missing_left in [false, true] {
                let left = |bin: usize| if bin == 0 { missing_left } else { bin <= last };
                if let Some(gain) = gain(&bins, left) {
                    best = Some(best.map_or(gain, |best| best.max(gain)));
                }
            }
        }
        let best = best.filter(|gain| *gain > 0.0);
        let found = find(&bins, ColumnKind::Ordered(0), Bounds::FREE);
        assert_eq!(found.is_some(), best.is_some(), "seed {seed}");
        if let (Some(found), Some(best)) = (found, best) {
            assert!((found.gain - best).abs() < 1e-9, "seed {seed}");
            // The test sends left what the split says it does.
            let left = sum(&bins, |bin| found.test.left(bin as u8));
            assert_eq!(found.left, left, "seed {seed}");
            assert_eq!(found.right, sum(&bins, |bin| !found.test.left(bin as u8)));
        }
    }
}

#[test]
fn the_best_partition_of_levels_is_that_of_a_search_over_all_subsets() {
    // Without penalty the sorted order holds the best partition exactly.
    let rules = Rules {
        lambda: 0.0,
        ..RULES
    };
    let rounding = rounding();
    for seed in 0_u8..40 {
        let mut stream = Stream::new("collegium/test/v1", &[b"levels", &[seed]]);
        let bins = column(&mut stream, 9, 0.0);
        let layout = Layout::new(vec![0], &[9]);
        let histogram = Histogram { bins: bins.clone() };
        let node = histogram.totals(&layout);
        let free = |sums: Sums| {
            let gradient = rounding.gradient_value(sums.gradient);
            gradient * gradient / rounding.hessian_value(sums.hessian)
        };
        let mut best = 0.0_f64;
        for subset in 0_u32..512 {
            let left = sum(&bins, |bin| subset >> bin & 1 == 1);
            let right = node.minus(left);
            if left.hessian >= rounding.hessian(0.25) * 4
                && right.hessian >= rounding.hessian(0.25) * 4
            {
                best = best.max(free(left) + free(right) - free(node));
            }
        }
        let found = Finder::new(&rules, &rounding, Bounds::FREE, node).best(
            &histogram,
            &layout,
            &[ColumnKind::Levels],
        );
        let found_gain = found.map_or(0.0, |split| split.gain);
        assert!((found_gain - best).abs() < 1e-9, "seed {seed}: {best}");
        if let Some(found) = found {
            assert_eq!(found.left, sum(&bins, |bin| found.test.left(bin as u8)));
            // What nobody saw goes with the heavier side.
            assert!(found.left.hessian <= found.right.hessian);
            assert!(!found.test.left(200));
        }
    }
}

fn bin(gradient: f64, hessian: f64) -> Sums {
    let rounding = rounding();
    let unit = (rounding.gradient(0.5), rounding.hessian(0.25));
    Sums {
        gradient: (gradient * 2.0) as i64 * unit.0,
        hessian: (hessian * 4.0) as i64 * unit.1,
    }
}

#[test]
fn missing_values_go_where_they_gain() {
    let mut bins = vec![bin(6.0, 6.0), bin(-6.0, 6.0), bin(7.0, 6.0)];
    let missing_left = |bins: &[Sums]| {
        let found = find(bins, ColumnKind::Ordered(0), Bounds::FREE).expect("a split");
        assert!(matches!(found.test, Test::Cut { last: 1, .. }), "{found:?}");
        found.test.left(0)
    };
    assert!(!missing_left(&bins));
    bins[0] = bin(-6.0, 6.0);
    assert!(missing_left(&bins));
    // Nobody misses it: with the heavier side.
    bins[0] = Sums::default();
    bins[1] = bin(-6.0, 8.0);
    assert!(missing_left(&bins));
    bins[1] = bin(-6.0, 4.0);
    assert!(!missing_left(&bins));
}

#[test]
fn constraints_and_bounds_forbid_splits() {
    // Positive gradients lower the prediction: it falls with the bin.
    let falls = [Sums::default(), bin(-6.0, 6.0), bin(6.0, 6.0)];
    assert!(find(&falls, ColumnKind::Ordered(-1), Bounds::FREE).is_some());
    assert!(find(&falls, ColumnKind::Ordered(1), Bounds::FREE).is_none());
    let narrow = Bounds {
        least: 0.1,
        most: 0.2,
    };
    let free = find(&falls, ColumnKind::Ordered(0), Bounds::FREE).expect("a split");
    let bound = find(&falls, ColumnKind::Ordered(0), narrow).expect("a split");
    assert!(bound.gain < free.gain);
}

#[test]
fn light_children_and_small_gains_are_none() {
    let bins = [Sums::default(), bin(-6.0, 6.0), bin(0.5, 0.5)];
    assert!(find(&bins, ColumnKind::Ordered(0), Bounds::FREE).is_none());
    let same = [Sums::default(), bin(3.0, 6.0), bin(3.0, 6.0)];
    assert!(find(&same, ColumnKind::Ordered(0), Bounds::FREE).is_none());
}

#[test]
fn the_sibling_is_the_difference() {
    let parent = Histogram {
        bins: vec![bin(3.0, 4.0), bin(-2.0, 2.0)],
    };
    let child = Histogram {
        bins: vec![bin(1.0, 1.0), bin(-2.0, 2.0)],
    };
    let other = parent.without(&child);
    assert_eq!(other.bins, [bin(2.0, 3.0), Sums::default()]);
    let layout = Layout::new(vec![0], &[2]);
    assert_eq!(other.totals(&layout), bin(2.0, 3.0));
}
