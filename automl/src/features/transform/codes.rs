//! The place of a code in the order of its digits.

use super::{Derived, Function, Known, Transform};
use crate::profile::ColumnKind;
use crate::table::Cell;

/// Between the codes of one letter and the next: above the numbers of most books of codes.
const LETTER: f64 = 1000.0;

/// A code as a number, for categories of many values: neighbours in a book of codes (diagnoses of
/// ICD-9 and ICD-10, trades, postal codes) are alike, so that codes too rare to count each for itself
/// tell something together.
///
/// "250.83" is 250.83; a letter puts "V27" at 22 000 + 27. Anything else is missing.
#[derive(Debug)]
pub(super) struct CodeNumber;

/// The number of a text of at most one letter and a decimal number.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let first = text.chars().next()?;
    let (base, digits) = if first.is_ascii_alphabetic() {
        let letter = first.to_ascii_uppercase() as u8 - b'A';
        (LETTER * f64::from(letter + 1), &text[1..])
    } else {
        (0.0, text)
    };
    let plain = digits
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.');
    let starts = digits
        .bytes()
        .next()
        .is_some_and(|byte| byte.is_ascii_digit());
    if !plain || !starts {
        return None;
    }
    let number: f64 = digits.parse().ok()?;
    Some(base + number)
}

impl Transform for CodeNumber {
    fn name(&self) -> &'static str {
        "code_number"
    }

    fn suggest(&self, columns: &[Known<'_>]) -> Vec<Derived> {
        let codes = columns
            .iter()
            .filter(|known| known.kind == ColumnKind::Category && known.many);
        codes
            .map(|known| Derived {
                name: format!("number of {}", known.name),
                transform: self.name().to_owned(),
                columns: vec![known.name.to_owned()],
                parameters: serde_json::Value::Null,
            })
            .collect()
    }

    fn function(&self, derived: &Derived) -> Result<Function, String> {
        let [_] = derived.columns.as_slice() else {
            return Err("the number of a code is made of one column".to_owned());
        };
        Ok(Box::new(|cells| match cells {
            [Cell::Number(code)] => Some(*code),
            [Cell::Text(code)] => number(code),
            _ => None,
        }))
    }

    // Its column is no number, so there is nothing that it could tell more than.
    fn screened(&self) -> bool {
        false
    }
}
