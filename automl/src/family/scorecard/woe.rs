//! Weight of evidence: coarse classing of one column's bins. Siddiqi, *Credit Risk
//! Scorecards*, 2006, chapter 6.

use serde::{Deserialize, Serialize};

use crate::family::additive::Term;

/// Added to both counts of a group, so that a group of one class has a finite weight.
const ADJUSTMENT: f64 = 0.5;
/// Weights are cut here: odds of 3000 to 1 against the average.
const MAX_WOE: f64 = 8.0;
/// Neighbours that differ less than this are merged: χ² with one degree of freedom,
/// exceeded by chance one time in ten.
const LEAST_CHI_SQUARE: f64 = 2.706;
/// A missing value has a group of its own from this many rows on.
const LEAST_MISSING: u64 = 10;

/// How the risk may run along a column with an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Up or down throughout, whichever tells more.
    Monotone,
    /// As the data say.
    Free,
}

/// How bins become groups.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Rule {
    /// Most groups, the one for missing values apart.
    pub(crate) most: usize,
    /// Fewest rows of a group.
    pub(crate) least_rows: u64,
    pub(crate) shape: Shape,
    /// The way that weights have to go along the bins: 1 up, -1 down, 0 as `shape` says.
    pub(crate) way: i8,
}

/// Neighbouring bins taken together.
#[derive(Clone, Debug, PartialEq)]
struct Group {
    bins: Vec<usize>,
    /// Rows of the negative and of the positive class.
    rows: [u64; 2],
}

/// A column's weights.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Classing {
    /// Weight of evidence of each bin: ln of the share of positives over the share of
    /// negatives, 0 where nothing is known.
    pub(crate) woe: Vec<f64>,
    /// Information value: Σ (share of positives - share of negatives) · weight.
    pub(crate) value: f64,
    /// Groups, the one for missing values apart.
    pub(crate) groups: usize,
}

impl Group {
    fn all(&self) -> u64 {
        self.rows[0] + self.rows[1]
    }

    fn take(&mut self, other: Self) {
        self.bins.extend(other.bins);
        for (own, other) in self.rows.iter_mut().zip(other.rows) {
            *own += other;
        }
    }

    /// Whether the share of positives here is at most that of `other`, exactly.
    fn at_most(&self, other: &Self) -> bool {
        let cross = |a: u64, b: u64| u128::from(a) * u128::from(b);
        cross(self.rows[1], other.all()) <= cross(other.rows[1], self.all())
    }

    /// χ² of the table of two groups and two classes.
    fn differs(&self, other: &Self) -> f64 {
        let [a, b] = self.rows.map(|rows| rows as f64);
        let [c, d] = other.rows.map(|rows| rows as f64);
        let below = (a + b) * (c + d) * (a + c) * (b + d);
        if below == 0.0 {
            return 0.0;
        }
        let across = a * d - b * c;
        (a + b + c + d) * across * across / below
    }
}

/// Groups one column's bins: `counts[bin]` are the rows of the negative and of the
/// positive class, bin 0 being missing values.
pub(crate) fn classing(counts: &[[u64; 2]], ordered: bool, rule: &Rule) -> Classing {
    let mut totals = [0; 2];
    for rows in counts {
        totals[0] += rows[0];
        totals[1] += rows[1];
    }
    let mut groups = if ordered {
        neighbours(counts, rule, totals)
    } else {
        levels(counts, rule)
    };
    merge_alike(&mut groups, rule.most);
    if rule.way != 0 {
        // Weights follow shares but for the adjustment, which tells where a group is small.
        let weight = |group: &Group| weight(group.rows, totals);
        groups = pooled(&groups, |a, b| {
            (weight(b) - weight(a)) * f64::from(rule.way) >= 0.0
        });
    }
    let mut classing = Classing {
        woe: vec![0.0; counts.len()],
        value: 0.0,
        groups: groups.len(),
    };
    if counts[0][0] + counts[0][1] >= LEAST_MISSING {
        groups.push(Group {
            bins: vec![0],
            rows: counts[0],
        });
    }
    for group in &groups {
        let woe = weight(group.rows, totals);
        classing.value += information(group.rows, totals);
        for bin in &group.bins {
            classing.woe[*bin] = woe;
        }
    }
    classing
}

/// Weight of evidence of a group; 0 where a class is missing altogether.
fn weight(rows: [u64; 2], totals: [u64; 2]) -> f64 {
    if totals.contains(&0) {
        return 0.0;
    }
    let share = |class: usize| (rows[class] as f64 + ADJUSTMENT) / totals[class] as f64;
    libm::log(share(1) / share(0)).clamp(-MAX_WOE, MAX_WOE)
}

/// What a group adds to the information value.
fn information(rows: [u64; 2], totals: [u64; 2]) -> f64 {
    if totals.contains(&0) {
        return 0.0;
    }
    let share = |class: usize| rows[class] as f64 / totals[class] as f64;
    (share(1) - share(0)) * weight(rows, totals)
}

/// Groups along an order.
fn neighbours(counts: &[[u64; 2]], rule: &Rule, totals: [u64; 2]) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for (bin, rows) in counts.iter().enumerate().skip(1) {
        let group = Group {
            bins: vec![bin],
            rows: *rows,
        };
        match groups.last_mut() {
            // A bin without rows says nothing: it goes with the one below.
            Some(last) if group.all() == 0 || last.all() == 0 => last.take(group),
            _ => groups.push(group),
        }
    }
    merge_small(&mut groups, rule.least_rows);
    let monotone = |rising: bool| {
        pooled(
            &groups,
            |a, b| {
                if rising { a.at_most(b) } else { b.at_most(a) }
            },
        )
    };
    if rule.way != 0 {
        return monotone(rule.way > 0);
    }
    if rule.shape == Shape::Free {
        return groups;
    }
    let [up, down] = [true, false].map(monotone);
    let value =
        |groups: &[Group]| -> f64 { groups.iter().map(|g| information(g.rows, totals)).sum() };
    if value(&down) > value(&up) { down } else { up }
}

/// Pools neighbours that are not in order (pool adjacent violators).
fn pooled(groups: &[Group], in_order: impl Fn(&Group, &Group) -> bool) -> Vec<Group> {
    let mut pooled: Vec<Group> = Vec::new();
    for group in groups {
        let mut group = group.clone();
        while let Some(mut below) = pooled.pop_if(|last| !in_order(last, &group)) {
            below.take(group);
            group = below;
        }
        pooled.push(group);
    }
    pooled
}

/// Levels in the order of their share of positives; the rare ones together.
fn levels(counts: &[[u64; 2]], rule: &Rule) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    let mut rare = Group {
        bins: Vec::new(),
        rows: [0; 2],
    };
    for (bin, rows) in counts.iter().enumerate().skip(1) {
        let group = Group {
            bins: vec![bin],
            rows: *rows,
        };
        if group.all() >= rule.least_rows {
            groups.push(group);
        } else {
            rare.take(group);
        }
    }
    if rare.all() > 0 {
        groups.push(rare);
    }
    groups.sort_by(|a, b| match (a.at_most(b), b.at_most(a)) {
        (true, true) => a.bins.cmp(&b.bins),
        (true, false) => std::cmp::Ordering::Less,
        _ => std::cmp::Ordering::Greater,
    });
    groups
}

/// Merges the smallest group into the neighbour most like it until none is too small.
fn merge_small(groups: &mut Vec<Group>, least: u64) {
    while groups.len() > 1 {
        let smallest = (0..groups.len()).min_by_key(|at| (groups[*at].all(), *at));
        let Some(at) = smallest.filter(|at| groups[*at].all() < least) else {
            return;
        };
        let below = match (at, at + 1 == groups.len()) {
            (0, _) => 0,
            (_, true) => at - 1,
            _ => {
                let lower = groups[at].differs(&groups[at - 1]);
                let upper = groups[at].differs(&groups[at + 1]);
                if upper < lower { at } else { at - 1 }
            }
        };
        let above = groups.remove(below + 1);
        groups[below].take(above);
    }
}

/// Merges the neighbours most alike while there are too many, or two hardly differ
/// (ChiMerge: Kerber, AAAI 1992). What was monotone stays so.
fn merge_alike(groups: &mut Vec<Group>, most: usize) {
    while groups.len() > 1 {
        let mut least = f64::INFINITY;
        let mut at = 0;
        for (place, pair) in groups.windows(2).enumerate() {
            let differs = pair[0].differs(&pair[1]);
            if differs < least {
                least = differs;
                at = place;
            }
        }
        if groups.len() <= most && least >= LEAST_CHI_SQUARE {
            return;
        }
        let above = groups.remove(at + 1);
        groups[at].take(above);
    }
}

impl Classing {
    /// The column as a term of a model.
    pub(crate) fn term(&self, column: usize) -> Term {
        Term::Scaled {
            column: column as u16,
            values: self.woe.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    const RULE: Rule = Rule {
        most: 6,
        least_rows: 1,
        shape: Shape::Monotone,
        way: 0,
    };

    #[test]
    fn weights_and_value_match_a_hand_computation() {
        // 100 negatives and 50 positives; missing 20 and 20.
        let counts = [[20, 20], [60, 5], [20, 25]];
        let classing = classing(&counts, true, &RULE);
        let woe = [
            ((20.5_f64 / 50.0) / (20.5 / 100.0)).ln(),
            ((5.5_f64 / 50.0) / (60.5 / 100.0)).ln(),
            ((25.5_f64 / 50.0) / (20.5 / 100.0)).ln(),
        ];
        for (ours, hand) in classing.woe.iter().zip(woe) {
            assert!((ours - hand).abs() < 1e-12, "{ours} {hand}");
        }
        let value = 0.2 * woe[0] + (0.1 - 0.6) * woe[1] + (0.5 - 0.2) * woe[2];
        assert!((classing.value - value).abs() < 1e-12);
        assert_eq!(classing.groups, 2);
    }

    #[test]
    fn weights_are_monotone_in_few_groups_of_enough_rows() {
        for seed in 0..50_u64 {
            println!("seed {seed}");
            let mut stream = Stream::new("collegium/test/woe/v1", &[&seed.to_le_bytes()]);
            let bins = 2 + stream.below(60);
            let counts: Vec<[u64; 2]> = (0..bins)
                .map(|_| [stream.below(40) as u64, stream.below(30) as u64])
                .collect();
            let rule = Rule {
                most: 4 + stream.below(8),
                least_rows: 25,
                ..RULE
            };
            let classing = classing(&counts, true, &rule);
            let woe = &classing.woe[1..];
            let rising = woe.is_sorted();
            let falling = woe.iter().rev().is_sorted();
            assert!(rising || falling, "{woe:?}");
            assert!(classing.groups <= rule.most);
            let all: u64 = counts[1..].iter().flatten().sum();
            for run in woe.chunk_by(|a, b| a == b) {
                let start = (0..woe.len()).find(|at| woe[*at] == run[0]).unwrap_or(0);
                let rows: u64 = counts[1 + start..][..run.len()].iter().flatten().sum();
                assert!(rows >= rule.least_rows.min(all), "{rows}");
            }
        }
    }

    /// Small groups too, whose weights the adjustment moves most, and against what the data say.
    #[test]
    fn weights_go_the_way_asked_for() {
        for seed in 0..200_u64 {
            println!("seed {seed}");
            let mut stream = Stream::new("collegium/test/woe/v2", &[&seed.to_le_bytes()]);
            let bins = 2 + stream.below(60);
            let counts: Vec<[u64; 2]> = (0..bins)
                .map(|_| [stream.below(6) as u64, stream.below(4) as u64])
                .collect();
            for way in [1, -1] {
                let rule = Rule {
                    most: 4 + stream.below(8),
                    shape: Shape::Free,
                    way,
                    ..RULE
                };
                let classing = classing(&counts, true, &rule);
                let goes = |pair: &[f64]| (pair[1] - pair[0]) * f64::from(way) >= 0.0;
                assert!(classing.woe[1..].windows(2).all(goes), "{:?}", classing.woe);
            }
        }
    }

    #[test]
    fn a_free_shape_may_turn_and_a_monotone_one_may_not() {
        let counts = [[0, 0], [50, 50], [90, 10], [50, 50]];
        let free = Rule {
            shape: Shape::Free,
            ..RULE
        };
        let turned = classing(&counts, true, &free);
        assert!(turned.woe[1] > turned.woe[2] && turned.woe[3] > turned.woe[2]);
        let straight = classing(&counts, true, &RULE);
        assert!(straight.value < turned.value);
    }

    #[test]
    fn levels_are_grouped_by_weight_and_rare_ones_together() {
        let counts = [[0, 0], [80, 20], [20, 80], [78, 22], [2, 1], [1, 2], [0, 0]];
        let rule = Rule {
            least_rows: 10,
            ..RULE
        };
        let classing = classing(&counts, false, &rule);
        assert_eq!(classing.woe[1], classing.woe[3], "alike, not neighbours");
        assert_eq!(classing.woe[4], classing.woe[5], "rare");
        assert_eq!(classing.woe[4], classing.woe[6], "never seen");
        assert!(classing.woe[2] > 1.0 && classing.woe[0] == 0.0);
    }

    #[test]
    fn one_class_and_no_rows_weigh_nothing() {
        for counts in [vec![[0, 0]; 4], vec![[5, 0]; 4], vec![[0, 7]; 4]] {
            for ordered in [true, false] {
                let classing = classing(&counts, ordered, &RULE);
                assert_eq!(classing.woe, [0.0; 4]);
                assert_eq!(classing.value, 0.0);
            }
        }
    }
}
