//! Carries a rule out on a column.

use super::{PrivacyError, Treatment};
use crate::table::{Cell, Replacement, Table, canonical_number, civil, days_since_epoch};

/// Bytes of a hash: 128 bits, so that two values of a site's 2^24 rows share one with a chance of
/// 2^-81.
const HASH_BYTES: usize = 16;

/// The table with the column treated, and how many cells the rule did not fit. A cell that it
/// does not fit becomes missing: it must not pass as it is.
pub(super) fn treat(
    table: Table,
    column: &str,
    treatment: &Treatment,
    key: Option<&[u8; 32]>,
) -> Result<(Table, u64), PrivacyError> {
    let hasher = match (treatment, key) {
        (Treatment::Hash, None) => {
            return Err(PrivacyError::NoKey {
                column: column.to_owned(),
            });
        }
        (_, key) => blake3::Hasher::new_keyed(key.unwrap_or(&[0; 32])),
    };
    let present = known(&table, column);
    let table = table.replacing(column, |cell| match *treatment {
        Treatment::Hash => hashed(hasher.clone(), column, cell),
        Treatment::Month => date(cell, true),
        Treatment::Year => date(cell, false),
        Treatment::Band(width) => number(cell, |it| libm::floor(it / width) * width),
        Treatment::Clip(low, high) => number(cell, |it| it.clamp(low, high)),
        Treatment::Prefix(kept) => prefix(cell, kept),
        Treatment::Drop | Treatment::Allow => as_it_is(cell),
    });
    let left = known(&table, column);
    let needed = match treatment {
        Treatment::Month | Treatment::Year => {
            "a date written year, month, day (2024-03-05, 2024/3/5, 2024年3月5日)"
        }
        _ => "a number",
    };
    if present > 0 && left == 0 {
        return Err(PrivacyError::Unfit {
            column: column.to_owned(),
            cells: present,
            needed,
        });
    }
    Ok((table, present - left))
}

/// Cells that are not missing.
fn known(table: &Table, column: &str) -> u64 {
    let Some(column) = table.column(column) else {
        return 0;
    };
    let rows = (0..table.rows()).filter(|row| column.cell(*row) != Cell::Missing);
    rows.count() as u64
}

/// Hash of the column's name and the value; the name keeps equal values of two columns apart.
fn hashed(mut hasher: blake3::Hasher, column: &str, cell: Cell<'_>) -> Replacement {
    hasher.update(&(column.len() as u64).to_le_bytes());
    hasher.update(column.as_bytes());
    cell.hash_into(&mut hasher);
    let mut bytes = [0; HASH_BYTES];
    hasher.finalize_xof().fill(&mut bytes);
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    Replacement::Text(format!("h{digits}"))
}

/// The first day of the date's month or year, still a date.
fn date(cell: Cell<'_>, month: bool) -> Replacement {
    let Cell::Text(text) = cell else {
        return Replacement::Missing;
    };
    let Some(days) = days_since_epoch(text) else {
        return Replacement::Missing;
    };
    let (year, of_year, _) = civil(days);
    let kept = if month { of_year } else { 1 };
    Replacement::Text(format!("{year:04}-{kept:02}-01"))
}

fn number(cell: Cell<'_>, change: impl FnOnce(f64) -> f64) -> Replacement {
    match cell {
        Cell::Number(number) => Replacement::Number(change(number)),
        Cell::Missing | Cell::Text(_) => Replacement::Missing,
    }
}

/// The first characters and a star, which says that more stood there and keeps all of them texts.
fn prefix(cell: Cell<'_>, kept: usize) -> Replacement {
    let text = match cell {
        Cell::Missing => return Replacement::Missing,
        Cell::Number(number) => canonical_number(number),
        Cell::Text(text) => text.to_owned(),
    };
    let mut start: String = text.chars().take(kept).collect();
    start.push('*');
    Replacement::Text(start)
}

fn as_it_is(cell: Cell<'_>) -> Replacement {
    match cell {
        Cell::Missing => Replacement::Missing,
        Cell::Number(number) => Replacement::Number(number),
        Cell::Text(text) => Replacement::Text(text.to_owned()),
    }
}
