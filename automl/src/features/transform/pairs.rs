//! Differences and ratios of two columns of numbers.

use super::{Derived, Function, Known, Transform};
use crate::profile::ColumnKind;
use crate::table::Cell;

/// Columns of numbers that are paired: 120 pairs.
const MOST_COLUMNS: usize = 16;
/// Columns present in a smaller share of the rows are not paired.
const LEAST_PRESENT: f64 = 0.5;
/// Columns of the same unit have medians within this factor, roughly.
const SAME_UNIT: f64 = 32.0;

/// Of numbers that are divided this share may be negative, and twice as many of those they
/// are divided by may be zero.
const FEW: f64 = 0.1;

/// The first number minus the second: a change, a margin.
#[derive(Debug)]
pub(super) struct Difference;

/// The first number divided by the second: a rate, a share.
#[derive(Debug)]
pub(super) struct Ratio;

fn two_numbers(cells: &[Cell<'_>]) -> Option<(f64, f64)> {
    match cells {
        [Cell::Number(a), Cell::Number(b)] => Some((*a, *b)),
        _ => None,
    }
}

/// Quantities worth pairing: no codes, and there in most rows.
fn quantities<'k>(columns: &'k [Known<'k>]) -> impl Iterator<Item = &'k Known<'k>> {
    columns
        .iter()
        .filter(|known| {
            known.kind == ColumnKind::Number && !known.small && known.present >= LEAST_PRESENT
        })
        .take(MOST_COLUMNS)
}

fn pairs<'k>(columns: &'k [Known<'k>]) -> Vec<(&'k Known<'k>, &'k Known<'k>)> {
    let quantities: Vec<&Known<'_>> = quantities(columns).collect();
    let mut pairs = Vec::new();
    for (place, first) in quantities.iter().enumerate() {
        for second in &quantities[place + 1..] {
            pairs.push((*first, *second));
        }
    }
    pairs
}

fn derived(transform: &dyn Transform, sign: char, a: &str, b: &str) -> Derived {
    Derived {
        name: format!("{a} {sign} {b}"),
        transform: transform.name().to_owned(),
        columns: vec![a.to_owned(), b.to_owned()],
        parameters: serde_json::Value::Null,
    }
}

fn takes_two(derived: &Derived) -> Result<(), String> {
    match derived.columns.len() {
        2 => Ok(()),
        other => Err(format!("it is made of two columns, not of {other}")),
    }
}

impl Transform for Difference {
    fn name(&self) -> &'static str {
        "difference"
    }

    fn suggest(&self, columns: &[Known<'_>]) -> Vec<Derived> {
        let same_unit = |(a, b): &(&Known<'_>, &Known<'_>)| {
            a.magnitude <= b.magnitude * SAME_UNIT && b.magnitude <= a.magnitude * SAME_UNIT
        };
        pairs(columns)
            .into_iter()
            .filter(same_unit)
            .map(|(a, b)| derived(self, '-', a.name, b.name))
            .collect()
    }

    fn function(&self, derived: &Derived) -> Result<Function, String> {
        takes_two(derived)?;
        Ok(Box::new(|cells| two_numbers(cells).map(|(a, b)| a - b)))
    }
}

impl Transform for Ratio {
    fn name(&self) -> &'static str {
        "ratio"
    }

    fn suggest(&self, columns: &[Known<'_>]) -> Vec<Derived> {
        // Of two columns the one with fewer zeros divides; a tree cuts a/b and
        // b/a at the same rows.
        let ordered = pairs(columns)
            .into_iter()
            .map(|(a, b)| if a.zeros < b.zeros { (b, a) } else { (a, b) });
        ordered
            .filter(|(a, b)| a.negative < FEW && b.negative < FEW && b.zeros < 2.0 * FEW)
            .map(|(a, b)| derived(self, '/', a.name, b.name))
            .collect()
    }

    fn function(&self, derived: &Derived) -> Result<Function, String> {
        takes_two(derived)?;
        Ok(Box::new(|cells| {
            let (a, b) = two_numbers(cells)?;
            (b != 0.0).then(|| a / b)
        }))
    }
}
