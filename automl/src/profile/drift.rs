//! How far the rows of one profile have moved from those of another.

use serde::{Deserialize, Serialize};

use super::{ColumnProfile, Levels, NumberShape, Profile, Values};

/// Bins that shapes are compared in.
const BINS: usize = 10;

/// How far one column has moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drift {
    /// The column.
    pub column: String,
    /// Population stability index: Σ (p - q)·ln(p/q) over ten bins of the older
    /// profile, or over the levels of a category, missing apart. Below 0.1 is
    /// stable, above 0.25 has moved.
    pub psi: f64,
}

impl Profile {
    /// How far the columns of a `newer` profile of the same task have moved,
    /// in the order of their names; a column that only one of them has, or
    /// whose values are counted in another way, is left out.
    #[must_use]
    pub fn drift(&self, newer: &Self) -> Vec<Drift> {
        let mut moved = Vec::new();
        for column in &self.columns {
            let other = newer.columns.iter().find(|c| c.name == column.name);
            let psi = other.and_then(|other| {
                let (old, new) = shares(column, other, self.key == newer.key)?;
                let rows = (self.train_rows as f64, newer.train_rows as f64);
                Some(index(&old, rows.0, &new, rows.1))
            });
            if let Some(psi) = psi {
                moved.push(Drift {
                    column: column.name.clone(),
                    psi,
                });
            }
        }
        moved
    }
}

/// Rows of both in the bins of the older, the missing ones first.
fn shares(
    old: &ColumnProfile,
    new: &ColumnProfile,
    same_key: bool,
) -> Option<(Vec<f64>, Vec<f64>)> {
    let mut pair = match (&old.values, &new.values) {
        (Values::Category(a), Values::Category(b)) | (Values::Ordinal(a), Values::Ordinal(b)) => {
            (a.coding == b.coding && same_key).then(|| by_level(a, b))?
        }
        _ => by_quantile(old.shape()?, new.shape()?),
    };
    pair.0.push(old.missing as f64);
    pair.1.push(new.missing as f64);
    Some(pair)
}

fn by_level(old: &Levels, new: &Levels) -> (Vec<f64>, Vec<f64>) {
    let of = |levels: &Levels, slot: u16| {
        let place = levels.slots.binary_search(&slot);
        place.map_or(0.0, |place| levels.counts[place] as f64)
    };
    let mut rows: (Vec<f64>, Vec<f64>) = old
        .slots
        .iter()
        .map(|&slot| (of(old, slot), of(new, slot)))
        .unzip();
    let rest = |levels: &Levels, named: &[f64]| {
        let all = levels.counts.iter().sum::<u64>() + levels.other;
        all as f64 - named.iter().sum::<f64>()
    };
    let others = (rest(old, &rows.0), rest(new, &rows.1));
    rows.0.push(others.0);
    rows.1.push(others.1);
    rows
}

fn by_quantile(old: &NumberShape, new: &NumberShape) -> (Vec<f64>, Vec<f64>) {
    let cuts = old.cuts(BINS);
    let between = |shape: &NumberShape| {
        let below: Vec<f64> = cuts.iter().map(|&cut| shape.below(cut)).collect();
        let mut rows = Vec::with_capacity(cuts.len() + 1);
        let mut before = 0.0;
        for here in below.into_iter().chain([shape.rows as f64]) {
            rows.push((here - before).max(0.0));
            before = here;
        }
        rows
    };
    (between(old), between(new))
}

/// The index, with half a row added to every bin.
fn index(old: &[f64], old_rows: f64, new: &[f64], new_rows: f64) -> f64 {
    let share = |rows: f64, all: f64| (rows + 0.5) / (all + 0.5);
    let terms = old.iter().zip(new).map(|(&a, &b)| {
        let (p, q) = (share(a, old_rows), share(b, new_rows));
        (p - q) * libm::log(p / q)
    });
    terms.sum()
}
