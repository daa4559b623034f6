//! Columns along which predictions may only rise or only fall.

use std::collections::BTreeMap;

use crate::family::{Head, Offer};
use crate::features::{BinColumn, Pipeline};
use crate::task::Direction;

/// Columns by name: 1 where predictions rise along them, -1 where they fall.
pub(crate) type Ways = BTreeMap<String, i8>;

/// What a task asks of a pipeline's columns; `None` where no family can promise it.
pub(crate) fn ways(offer: &Offer<'_>, pipeline: &Pipeline) -> Option<Ways> {
    let mut ways = Ways::new();
    let columns = pipeline.bin_columns();
    for (name, direction) in &offer.task.constraints.monotone {
        // With more than two classes no one score rises or falls.
        if matches!(offer.head, Head::Classes(_)) {
            return None;
        }
        match columns.iter().find(|column| column.name == *name) {
            // Nothing rises along a category.
            Some(column) if !column.ordered => return None,
            Some(_) => {}
            None => continue,
        }
        let way = match direction {
            Direction::Increasing => 1,
            Direction::Decreasing => -1,
        };
        ways.insert(name.clone(), way);
    }
    Some(ways)
}

/// Checks hyperparameters that came from elsewhere.
pub(crate) fn check(ways: &Ways) -> Result<(), String> {
    match ways.iter().find(|(_, way)| way.abs() != 1) {
        Some((name, way)) => Err(format!(
            "`monotone` of `{name}` is {way}, allowed are 1 (rising) and -1 (falling)"
        )),
        None => Ok(()),
    }
}

/// The way along each column, 0 where it is free.
///
/// # Errors
/// When a name is no column with an order, or the head has more than two classes.
pub(crate) fn along(ways: &Ways, head: Head, columns: &[BinColumn]) -> Result<Vec<i8>, String> {
    if !ways.is_empty() && matches!(head, Head::Classes(_)) {
        return Err("predictions of more than two classes cannot be monotone".to_owned());
    }
    let ordered = |name: &str| {
        let mut named = columns.iter().filter(|column| column.name == name);
        named.any(|column| column.ordered)
    };
    if let Some(name) = ways.keys().find(|name| !ordered(name)) {
        return Err(format!(
            "`monotone` names `{name}`, which is no column of ordered values"
        ));
    }
    let way = |column: &BinColumn| ways.get(&column.name).copied().unwrap_or(0);
    Ok(columns.iter().map(way).collect())
}

/// The nearest values that go one way (1 up, -1 down) in weighted least squares, by pooling
/// adjacent violators: Barlow et al., *Statistical Inference under Order Restrictions*, 1972.
/// Weights are positive.
pub(crate) fn project(values: &mut [f64], weights: &[f64], way: i8) {
    let sign = f64::from(way);
    // Signed mean, weight and length of each pool.
    let mut pools: Vec<(f64, f64, usize)> = Vec::with_capacity(values.len());
    for (value, weight) in values.iter().zip(weights) {
        let mut own = (sign * value, *weight, 1);
        while let Some(below) = pools.pop_if(|below| below.0 > own.0) {
            let weight = below.1 + own.1;
            let mean = (below.0 * below.1 + own.0 * own.1) / weight;
            own = (mean, weight, below.2 + own.2);
        }
        pools.push(own);
    }
    let mut left = values.iter_mut();
    for (mean, _, length) in pools {
        for value in left.by_ref().take(length) {
            *value = sign * mean;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn violators_are_pooled_by_weight() {
        let mut values = [1.0, 5.0, 2.0, 7.0];
        project(&mut values, &[1.0, 1.0, 2.0, 1.0], 1);
        assert_eq!(values, [1.0, 3.0, 3.0, 7.0]);
        project(&mut values, &[1.0; 4], -1);
        assert_eq!(values, [3.5; 4]);
    }

    /// What is projected goes the way asked for, keeps its weighted mean, and stays as it is
    /// when projected again.
    #[test]
    fn projections_go_one_way() {
        for seed in 0..50_u64 {
            println!("seed {seed}");
            let mut stream = Stream::new("collegium/test/monotone/v1", &[&seed.to_le_bytes()]);
            let size = 1 + stream.below(40);
            let values: Vec<f64> = (0..size).map(|_| stream.normal()).collect();
            let weights: Vec<f64> = (0..size).map(|_| 1.0 + stream.below(99) as f64).collect();
            let mean = |values: &[f64]| -> f64 {
                values.iter().zip(&weights).map(|(v, w)| v * w).sum::<f64>()
            };
            for way in [1, -1] {
                let mut projected = values.clone();
                project(&mut projected, &weights, way);
                let goes = |pair: &[f64]| (pair[1] - pair[0]) * f64::from(way) >= 0.0;
                assert!(projected.windows(2).all(goes), "{projected:?}");
                assert!((mean(&projected) - mean(&values)).abs() < 1e-9 * 100.0 * size as f64);
                let once = projected.clone();
                project(&mut projected, &weights, way);
                assert_eq!(projected, once);
            }
        }
    }
}
