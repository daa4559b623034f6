//! Derived columns: numbers made of the cells of one or several columns.
//!
//! A [`Transform`] is registered by name. It suggests [`Derived`] columns from
//! what the survey says of the columns; the profile then looks at these as at
//! any other column of numbers (quantiles, bins, counts by target), keeps the few
//! that say more than the columns they are made of, and pipelines use them like
//! any other. A derived column is plain data: its transform's name, its columns
//! and parameters, so that `predict` computes exactly what training did.
//!
//! A transform of your own is one `impl` and one call of [`register`], in the
//! sites and in the coordinator. It must be a pure function of the cells: no
//! clock, no randomness, `libm` for transcendental functions.

mod codes;
mod dates;
mod pairs;

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};

use crate::profile::ColumnKind;
use crate::table::{Cell, MAX_COLUMN_NAME_BYTES};

/// Most columns that one derived column is made of.
pub const MAX_INPUTS: usize = 4;
/// Longest parameters of a derived column, as JSON: a few numbers.
const MAX_PARAMETER_BYTES: usize = 1024;
/// Longest name of a derived column: those of its inputs and a few words.
const MAX_NAME_BYTES: usize = (MAX_INPUTS + 1) * MAX_COLUMN_NAME_BYTES;

/// A column that is computed, as data.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derived {
    /// What people call it: "income / debt". Unique within a profile.
    pub name: String,
    /// Name of its transform.
    pub transform: String,
    /// The table's columns that it is made of, in the transform's order.
    pub columns: Vec<String>,
    /// What else the transform needs; `null` when nothing.
    #[serde(default, skip_serializing_if = "serde_json::Value::is_null")]
    pub parameters: serde_json::Value,
}

/// Computes the number of one row from the cells of [`Derived::columns`], in
/// that order; `None` is missing, and so is a number that is not finite.
pub type Function = Box<dyn Fn(&[Cell<'_>]) -> Option<f64> + Send + Sync>;

/// What the survey says about a column, for [`Transform::suggest`].
#[derive(Clone, Debug, PartialEq)]
pub struct Known<'a> {
    /// Its name.
    pub name: &'a str,
    /// What its values are.
    pub kind: ColumnKind,
    /// Whether it is a category of more values than get a feature each.
    pub many: bool,
    /// Share of training rows with a usable value, 0 to 1.
    pub present: f64,
    /// Share of zeros among its numbers.
    pub zeros: f64,
    /// Share of negative numbers.
    pub negative: f64,
    /// Whether every number is whole and from -1 to 62.
    pub small: bool,
    /// A power of two near its median magnitude.
    pub magnitude: f64,
}

/// A kind of derived column. See the module's documentation.
pub trait Transform: Debug + Sync {
    /// Its name in asks, pipelines and champion files.
    fn name(&self) -> &'static str;
    /// The derived columns it offers, best first. They are screened before they
    /// are used.
    fn suggest(&self, columns: &[Known<'_>]) -> Vec<Derived>;
    /// The function of a derived column.
    ///
    /// # Errors
    /// Says what is wrong with its columns or parameters.
    fn function(&self, derived: &Derived) -> Result<Function, String>;
    /// Whether its columns must tell more about the target than those they are
    /// made of to be used. Not so where the original cannot be used as it is.
    fn screened(&self) -> bool {
        true
    }
}

/// The transforms that come with this crate.
static BUILT_IN: [&dyn Transform; 5] = [
    &codes::CodeNumber,
    &dates::DatePart,
    &dates::DateDifference,
    &pairs::Difference,
    &pairs::Ratio,
];

/// Those that other crates brought, by name.
static REGISTERED: Mutex<BTreeMap<&'static str, &'static dyn Transform>> =
    Mutex::new(BTreeMap::new());

/// Makes a transform known to this process, for every later profile and
/// pipeline. Registering the same name again with another transform fails.
///
/// # Errors
/// When the name is taken.
pub fn register(transform: &'static dyn Transform) -> Result<(), String> {
    let name = transform.name();
    let mut registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    let taken = BUILT_IN.iter().any(|known| known.name() == name) || registered.contains_key(name);
    if taken {
        return Err(format!(
            "a feature transform called `{name}` is already registered; choose another name"
        ));
    }
    registered.insert(name, transform);
    Ok(())
}

/// Every known transform: those of this crate, then the others by name.
#[must_use]
pub fn all() -> Vec<&'static dyn Transform> {
    let registered = REGISTERED.lock().unwrap_or_else(PoisonError::into_inner);
    let own = BUILT_IN.iter().copied();
    own.chain(registered.values().copied()).collect()
}

/// The transform of that name.
#[must_use]
pub fn find(name: &str) -> Option<&'static dyn Transform> {
    all().into_iter().find(|transform| transform.name() == name)
}

impl Derived {
    /// Checks the caps and looks up the function.
    ///
    /// # Errors
    /// Names the column and says what is wrong with it.
    pub fn function(&self) -> Result<Function, String> {
        let bad = |what: &str| Err(format!("derived column `{}`: {what}", self.name));
        if self.name.is_empty() || self.name.len() > MAX_NAME_BYTES {
            return Err("a derived column's name is empty or too long".to_owned());
        }
        if self.columns.is_empty() || self.columns.len() > MAX_INPUTS {
            return bad("it is made of no column, or of too many");
        }
        if self.parameters.to_string().len() > MAX_PARAMETER_BYTES {
            return bad("its parameters are too long");
        }
        let Some(transform) = find(&self.transform) else {
            return bad(&format!(
                "this program knows no feature transform called `{}`; register it, or update",
                self.transform
            ));
        };
        transform.function(self).or_else(|problem| bad(&problem))
    }
}

#[cfg(test)]
mod tests;
