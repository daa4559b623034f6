//! Parts of dates, and the time between two of them.

use super::{Derived, Function, Known, Transform};
use crate::profile::ColumnKind;
use crate::table::{Cell, civil, days_since_epoch};

/// Date columns whose differences are offered: 6 pairs.
const MOST_DATES: usize = 4;

/// Year, month, day of the month or day of the week of a date.
#[derive(Debug)]
pub(super) struct DatePart;

/// Days from one date to another: an age, a length of stay.
#[derive(Debug)]
pub(super) struct DateDifference;

fn days(cell: Cell<'_>) -> Option<i64> {
    match cell {
        Cell::Text(text) => days_since_epoch(text),
        _ => None,
    }
}

fn part_of(part: &str) -> Option<fn(i64) -> f64> {
    match part {
        "year" => Some(|days| civil(days).0 as f64),
        "month" => Some(|days| civil(days).1 as f64),
        "day" => Some(|days| civil(days).2 as f64),
        // 1970-01-01 was a Thursday; Monday is 1, Sunday 7.
        "weekday" => Some(|days| (1 + (days + 3).rem_euclid(7)) as f64),
        _ => None,
    }
}

impl Transform for DatePart {
    fn name(&self) -> &'static str {
        "date_part"
    }

    fn suggest(&self, columns: &[Known<'_>]) -> Vec<Derived> {
        let dates = columns
            .iter()
            .filter(|known| known.kind == ColumnKind::Date);
        dates
            .flat_map(|known| {
                // The day of the month seldom matters; whoever needs it declares it.
                ["year", "month", "weekday"].map(|part| Derived {
                    name: format!("{part} of {}", known.name),
                    transform: self.name().to_owned(),
                    columns: vec![known.name.to_owned()],
                    parameters: serde_json::Value::from(part),
                })
            })
            .collect()
    }

    fn function(&self, derived: &Derived) -> Result<Function, String> {
        let part = derived.parameters.as_str().and_then(part_of);
        let part = part.ok_or("its parameter must be year, month, day or weekday")?;
        let [_] = derived.columns.as_slice() else {
            return Err("a date part is made of one column".to_owned());
        };
        Ok(Box::new(move |cells| days(*cells.first()?).map(part)))
    }
}

impl Transform for DateDifference {
    fn name(&self) -> &'static str {
        "date_difference"
    }

    fn suggest(&self, columns: &[Known<'_>]) -> Vec<Derived> {
        let dates: Vec<&str> = columns
            .iter()
            .filter(|known| known.kind == ColumnKind::Date)
            .map(|known| known.name)
            .take(MOST_DATES)
            .collect();
        let mut made = Vec::new();
        for (place, from) in dates.iter().enumerate() {
            for to in &dates[place + 1..] {
                made.push(Derived {
                    name: format!("days from {from} to {to}"),
                    transform: self.name().to_owned(),
                    columns: vec![(*from).to_owned(), (*to).to_owned()],
                    parameters: serde_json::Value::Null,
                });
            }
        }
        made
    }

    fn function(&self, derived: &Derived) -> Result<Function, String> {
        let [_, _] = derived.columns.as_slice() else {
            return Err("a difference of dates is made of two columns".to_owned());
        };
        Ok(Box::new(|cells| match cells {
            [from, to] => Some((days(*to)? - days(*from)?) as f64),
            _ => None,
        }))
    }
}
