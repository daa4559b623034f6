//! One number for each value of a category: how frequent it is, where it stands in
//! an order, or what the target is like in its rows.

use crate::profile::{Bins, TargetAsk, TargetTable};

/// Most distinct numbers of a score: finer ones are noise.
const SCORE_BINS: usize = 32;
/// Rows of the average that a value's own rows are mixed with.
const SMOOTHING: f64 = 20.0;

/// Scores of values as places in a short list of numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Scores {
    /// For new rows first, then for the training rows of each group where the score
    /// depends on that: the place of each slot's number plus one, 0 for none; the last
    /// place is that of every other value.
    pub(super) groups: Vec<Vec<u8>>,
    /// Ascending numbers, with mean 0 and standard deviation 1 over the training rows.
    pub(super) values: Vec<f64>,
}

/// How the target of a class (or the number) differs between values. The rows of
/// one group are scored by the targets of all other groups only, so that no row's own
/// target is in its feature. `None` where all values are alike.
///
/// A value's log-odds (or mean) are those of its rows mixed with 20 rows of the
/// average (Micci-Barreca 2001).
pub(super) fn target<B: Bins>(table: &TargetTable<B>, class: usize) -> Option<Scores> {
    let slots = table.bins.bins() - 1;
    let variants = std::iter::once(None).chain((0..table.plan.groups()).map(Some));
    let scores: Vec<Vec<f64>> = variants
        .map(|of| {
            let bin = |bin: usize| table.bin(bin, |from| table.plan.tells(from, of));
            let bins: Vec<Vec<u64>> = (0..=slots).map(bin).collect();
            smoothed(&table.target, &bins, class)
        })
        .collect();
    let rows: Vec<u64> = (1..=slots).map(|bin| table.rows(bin)).collect();
    quantized(&scores, &rows)
}

/// How many training rows have each value, as a logarithm.
pub(super) fn frequency(table: &TargetTable) -> Option<Scores> {
    let slots = table.bins.bins() - 1;
    let mut rows: Vec<u64> = (1..=slots).map(|bin| table.rows(bin)).collect();
    // The last counts all other values together; each of them is rare.
    let together = rows.pop()?;
    let mut scores: Vec<f64> = rows.iter().map(|&n| libm::log(1.0 + n as f64)).collect();
    scores.push(0.0);
    rows.push(together);
    quantized(&[scores], &rows)
}

/// Places in the task's list; a value that is not in it has none.
pub(super) fn order(values: usize, slots: &[u16], counts: &[u64]) -> Option<Scores> {
    let place = |slot: usize| slot.min(usize::from(u8::MAX) - 1) as f64;
    let total: u64 = counts.iter().sum();
    if values < 2 || total == 0 {
        return None;
    }
    let weighted = |power: i32| -> f64 {
        let each = slots.iter().zip(counts);
        each.map(|(&slot, &rows)| libm::pow(place(slot.into()), f64::from(power)) * rows as f64)
            .sum::<f64>()
            / total as f64
    };
    let mean = weighted(1);
    let variance = weighted(2) - mean * mean;
    let scale = if variance > 0.0 {
        libm::sqrt(variance)
    } else {
        1.0
    };
    let kept = values.min(usize::from(u8::MAX));
    let mut places: Vec<u8> = (0..values).map(|slot| 1 + place(slot) as u8).collect();
    places.push(0);
    Some(Scores {
        groups: vec![places],
        values: (0..kept).map(|at| (place(at) - mean) / scale).collect(),
    })
}

/// Log-odds of the class, or the mean of the number, in every bin but the first.
fn smoothed(target: &TargetAsk, bins: &[Vec<u64>], class: usize) -> Vec<f64> {
    let figure = |bin: &Vec<u64>, at: usize| bin.get(at).copied().unwrap_or(0) as f64;
    let (own, rows): (Vec<f64>, Vec<f64>) = match target {
        TargetAsk::Classes { .. } => bins
            .iter()
            .map(|bin| (figure(bin, class), bin.iter().sum::<u64>() as f64))
            .unzip(),
        TargetAsk::Number { .. } => bins
            .iter()
            .map(|bin| (figure(bin, 1), figure(bin, 0)))
            .unzip(),
    };
    let all: f64 = rows.iter().sum();
    let mean = if all > 0.0 {
        own.iter().sum::<f64>() / all
    } else {
        0.5
    };
    let each = own.iter().zip(&rows).skip(1);
    each.map(|(own, rows)| {
        let mixed = (own + SMOOTHING * mean) / (rows + SMOOTHING);
        match target {
            TargetAsk::Classes { .. } => {
                let share = mixed.clamp(1e-6, 1.0 - 1e-6);
                libm::log(share / (1.0 - share))
            }
            TargetAsk::Number { .. } => mixed,
        }
    })
    .collect()
}

/// Lays bins of about equally many rows over the first scores and places all of
/// them in these.
fn quantized(scores: &[Vec<f64>], rows: &[u64]) -> Option<Scores> {
    let first = scores.first()?;
    let mut sorted: Vec<(f64, u64)> = first.iter().copied().zip(rows.iter().copied()).collect();
    sorted.retain(|&(_, rows)| rows > 0);
    sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
    let total: u64 = sorted.iter().map(|&(_, rows)| rows).sum();
    let mut cuts = Vec::new();
    let mut means: Vec<(f64, u64)> = Vec::new();
    let (mut sum, mut here) = (0.0, 0);
    let mut before: Option<f64> = None;
    for (score, rows) in sorted {
        let full = here * SCORE_BINS as u64 >= total;
        if let Some(last) = before
            && full
            && score > last
        {
            cuts.push(last + (score - last) / 2.0);
            means.push((sum / here as f64, here));
            (sum, here) = (0.0, 0);
        }
        sum += score * rows as f64;
        here += rows;
        before = Some(score);
    }
    means.push((sum / here.max(1) as f64, here));
    if cuts.is_empty() {
        return None;
    }
    let place = |score: f64| 1 + cuts.partition_point(|&cut| cut <= score) as u8;
    Some(Scores {
        groups: scores
            .iter()
            .map(|scores| scores.iter().map(|&score| place(score)).collect())
            .collect(),
        values: standardized(&means, total),
    })
}

fn standardized(means: &[(f64, u64)], total: u64) -> Vec<f64> {
    let average = |of: &dyn Fn(f64) -> f64| -> f64 {
        let each = means.iter().map(|&(mean, rows)| of(mean) * rows as f64);
        each.sum::<f64>() / total.max(1) as f64
    };
    let mean = average(&|score| score);
    let variance = average(&|score| (score - mean) * (score - mean));
    let scale = if variance > 0.0 {
        libm::sqrt(variance)
    } else {
        1.0
    };
    means
        .iter()
        .map(|&(score, _)| (score - mean) / scale)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{BinAsk, Coding};
    use crate::split::SplitPlan;

    /// Three values and "other". In group 0 the first value's rows are all positive, elsewhere
    /// all negative; of the others' rows a half, a tenth and a half are positive everywhere.
    fn table() -> TargetTable {
        let target = TargetAsk::Classes {
            labels: vec!["0".to_owned(), "1".to_owned()],
        };
        let bins = BinAsk::Slots {
            coding: Coding::Buckets,
            slots: vec![3, 9, 12],
        };
        // Negatives, then positives; by group; missing, 3, 9, 12, other.
        let mut figures = vec![[0, 0, 30, 36, 5]];
        figures.extend([[0, 40, 30, 36, 5]; 4]);
        figures.push([0, 40, 30, 4, 5]);
        figures.extend([[0, 0, 30, 4, 5]; 4]);
        TargetTable {
            bins,
            target,
            plan: SplitPlan::Folds,
            figures: figures.concat(),
        }
    }

    #[test]
    fn a_rows_own_fold_says_nothing_about_it() {
        let scores = target(&table(), 1).expect("scores");
        let of =
            |group: usize, slot: usize| scores.values[usize::from(scores.groups[group][slot]) - 1];
        // New rows of the first value: one positive in five, between 12's and 9's.
        assert!(of(0, 2) < of(0, 0) && of(0, 0) < of(0, 1), "{scores:?}");
        // For rows of group 0 there is not one among the others; rows of group 1 see all.
        assert!(of(1, 0) <= of(0, 2) && of(1, 0) < of(0, 0), "{scores:?}");
        assert!(of(2, 0) >= of(0, 0), "{scores:?}");
        assert_eq!(scores.groups.len(), 6);
        // Half of few rows are nearer the average than half of many.
        assert!(of(0, 3) < of(0, 1) && of(0, 0) < of(0, 3), "{scores:?}");
    }

    #[test]
    fn frequencies_and_orders_rise() {
        // 200, 300 and 200 rows; the others are rare whatever their sum.
        let scores = frequency(&table()).expect("scores");
        assert!(scores.groups[0][1] > scores.groups[0][0]);
        assert_eq!(scores.groups[0][0], scores.groups[0][2]);
        assert!(scores.groups[0][0] > scores.groups[0][3]);
        let scores = order(4, &[0, 1, 2], &[10, 20, 30]).expect("scores");
        assert_eq!(scores.groups, [vec![1, 2, 3, 4, 0]]);
        assert!(scores.values.is_sorted() && scores.values.len() == 4);
    }
}
