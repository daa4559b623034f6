//! Columns that look like personal identifiers: by their names, in English and Chinese, and by
//! what their cells are.
//!
//! A name is believed unless the cells cannot be it: a column `telephone` that says yes or no is
//! a flag. Cells are believed by their share of the cells that are not missing ([`CHECKED_SHARE`]
//! for forms that chance does not make, [`SHAPED_SHARE`] for others), and only from
//! [`FEWEST_VALUES`] different ones on. Record numbers (`patient_id`, `mrn`, 病历号) are not among
//! the kinds: they name nobody outside of the institution, are never a feature (the profile tells
//! them by their values), and a task may need them to keep the rows of one person together.

use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;

use super::{content, header};
use crate::table::{Cell, Column, Table};

/// Share of the cells from which on a column is recognised by a form that chance does not make:
/// an e-mail address, an IBAN or a resident id with a right check digit.
pub const CHECKED_SHARE: f64 = 0.1;
/// The same for forms that other numbers may have: telephone and card numbers, social security
/// numbers. One of ten random numbers has a right Luhn digit.
pub const SHAPED_SHARE: f64 = 0.5;
/// Fewer different values than this are no list of people's.
pub const FEWEST_VALUES: usize = 3;
/// Share of the cells that must be able to be what a column's name says.
const PLAUSIBLE_SHARE: f64 = 0.1;

/// A kind of personal identifier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum IdentifierKind {
    /// Names of people.
    Name,
    /// Telephone and fax numbers.
    Phone,
    /// E-mail addresses.
    Email,
    /// Postal addresses.
    Address,
    /// Postal codes.
    Postcode,
    /// Numbers of identity documents.
    NationalId,
    /// Numbers of accounts and cards.
    Account,
    /// Dates of birth.
    BirthDate,
}

/// What gave a column away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Sign {
    /// Its name.
    Header,
    /// So many of its cells that are not missing.
    Cells {
        /// Cells of the kind.
        alike: u64,
        /// Cells that are not missing.
        of: u64,
    },
}

/// A column that looks like a personal identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recognized {
    /// Its name.
    pub column: String,
    /// As what.
    pub kind: IdentifierKind,
    /// Why.
    pub sign: Sign,
}

impl IdentifierKind {
    /// What the cells would be, in words.
    #[must_use]
    pub const fn plural(self) -> &'static str {
        match self {
            Self::Name => "names of people",
            Self::Phone => "telephone numbers",
            Self::Email => "e-mail addresses",
            Self::Address => "postal addresses",
            Self::Postcode => "postal codes",
            Self::NationalId => "identity numbers",
            Self::Account => "account or card numbers",
            Self::BirthDate => "dates of birth",
        }
    }
}

impl fmt::Display for Recognized {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind.plural();
        match self.sign {
            Sign::Header => write!(f, "`{}` looks like {kind} by its name", self.column),
            Sign::Cells { alike, of } => write!(
                f,
                "`{}` looks like {kind}: {} of {of} cells are",
                self.column, alike
            ),
        }
    }
}

/// The columns that look like personal identifiers, in the table's order.
#[must_use]
pub fn recognize(table: &Table) -> Vec<Recognized> {
    let columns = table.columns().iter();
    columns
        .filter_map(|column| {
            let (kind, sign) = by_header(column, table.rows())
                .map(|kind| (kind, Sign::Header))
                .or_else(|| by_cells(column, table.rows()))?;
            Some(Recognized {
                column: column.name().to_owned(),
                kind,
                sign,
            })
        })
        .collect()
}

/// What the column's name says, if its cells can be that. Without cells the name decides.
fn by_header(column: &Column, rows: usize) -> Option<IdentifierKind> {
    let kind = header::kind(column.name())?;
    let (mut known, mut plausible) = (0_u64, 0_u64);
    for row in 0..rows {
        let cell = column.cell(row);
        if cell != Cell::Missing {
            known += 1;
            plausible += u64::from(content::can_be(kind, cell));
        }
    }
    (known == 0 || share(plausible, known) >= PLAUSIBLE_SHARE).then_some(kind)
}

/// What the column's cells say.
fn by_cells(column: &Column, rows: usize) -> Option<(IdentifierKind, Sign)> {
    let of_text: Vec<Option<content::Form>> = column
        .dictionary()
        .iter()
        .map(|text| content::form(text))
        .collect();
    let mut known = 0_u64;
    let mut tallies = [const { Tally::new() }; content::FORMS];
    for row in 0..rows {
        let form = match (column.number(row), column.code(row)) {
            (Some(number), _) => {
                content::form_of_number(number).map(|form| (form, number.to_bits()))
            }
            (None, Some(code)) => of_text
                .get(code)
                .copied()
                .flatten()
                .map(|form| (form, code as u64)),
            (None, None) => continue,
        };
        known += 1;
        if let Some((form, value)) = form {
            tallies[form as usize].add(value);
        }
    }
    content::ALL_FORMS.into_iter().find_map(|form| {
        let tally = &tallies[form as usize];
        let least = if form.is_checked() {
            CHECKED_SHARE
        } else {
            SHAPED_SHARE
        };
        let enough = tally.values.len() >= FEWEST_VALUES && share(tally.cells, known) >= least;
        enough.then_some((
            form.kind(),
            Sign::Cells {
                alike: tally.cells,
                of: known,
            },
        ))
    })
}

fn share(part: u64, of: u64) -> f64 {
    part as f64 / of.max(1) as f64
}

/// Cells of one form, and up to [`FEWEST_VALUES`] of their values.
struct Tally {
    cells: u64,
    values: BTreeSet<u64>,
}

impl Tally {
    const fn new() -> Self {
        Self {
            cells: 0,
            values: BTreeSet::new(),
        }
    }

    fn add(&mut self, value: u64) {
        self.cells += 1;
        if self.values.len() < FEWEST_VALUES {
            self.values.insert(value);
        }
    }
}
