//! A site's own map from its file to the consortium's columns.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::cell::canonical_text;
use super::{MAX_COLUMN_NAME_BYTES, MAX_COLUMNS};

/// Cells that mean "missing" in most files. `None` is not among them: in
/// medical tables it is often a finding ("not measured"), and so is a word.
const USUAL_MISSING: [&str; 7] = ["NA", "N/A", "NaN", "nan", "null", "NULL", "?"];

/// How a site's file becomes the table that a task expects. Every key is
/// optional; an empty mapping takes the file as it is.
///
/// ```toml
/// delimiter = ";"                  # found out when left out
/// missing = ["NA", "?", "-999"]    # instead of the usual list; empty is always missing
/// drop = ["ward"]                  # never read
///
/// [columns.disease]                # the name the task uses
/// from = "num"                     # the name in the file
/// values = { "2" = "1", "3" = "1", "4" = "1" }
///
/// [columns.chol]
/// missing = ["0"]                  # not measured
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TableMapping {
    /// The character between cells; found out from the header when `None`.
    pub delimiter: Option<char>,
    /// Cells that mean missing, in every column. The usual list (`NA`, `N/A`,
    /// `NaN`, `nan`, `null`, `NULL`, `?`) when `None`. An empty cell always is.
    pub missing: Option<Vec<String>>,
    /// Columns of the file that are not read at all.
    pub drop: Vec<String>,
    /// Changes to single columns, under the name the task uses.
    pub columns: BTreeMap<String, ColumnMapping>,
}

/// Changes to one column. Values are compared as numbers where they are
/// numbers, so `"0"` also matches `0.0`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColumnMapping {
    /// The column's name in the file; the same name when `None`.
    pub from: Option<String>,
    /// Values that are written differently here. Values that are not listed
    /// stay as they are; an empty replacement means missing.
    pub values: BTreeMap<String, String>,
    /// Values that mean missing in this column, looked at before `values`.
    pub missing: Vec<String>,
}

/// Why a mapping does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// Not a mapping.
    #[error("the column map is not valid: {0}")]
    Syntax(String),
    /// It names a column that the file does not have.
    #[error("the column map names `{column}`, which the file does not have{hint}")]
    Unknown {
        /// The name.
        column: String,
        /// ": did you mean …?"
        hint: String,
    },
    /// Two columns would have one name.
    #[error("two columns would be called `{0}`; rename one or list it under `drop`")]
    Duplicate(String),
    /// A value is both missing and replaced, or listed twice in two spellings.
    #[error("column `{column}`: value `{value}` is listed more than once; keep one line")]
    Ambiguous {
        /// The column.
        column: String,
        /// The value, as the map writes it.
        value: String,
    },
    /// A name that cannot be a column's.
    #[error(
        "a column name must have 1 to {MAX_COLUMN_NAME_BYTES} bytes, not {0}; rename it in the file or by the column map"
    )]
    Name(usize),
    /// Too many columns.
    #[error("{0} columns are more than the {MAX_COLUMNS} a table may have; list some under `drop`")]
    TooMany(usize),
    /// A delimiter that cannot be one.
    #[error("`{0}` cannot be the delimiter; use a comma, semicolon, tab or bar")]
    Delimiter(char),
}

impl TableMapping {
    /// Reads a mapping file.
    ///
    /// # Errors
    /// [`MappingError::Syntax`] with the line and the unknown key.
    pub fn from_toml(text: &str) -> Result<Self, MappingError> {
        toml::from_str(text).map_err(|error| MappingError::Syntax(error.to_string()))
    }

    /// The delimiter as a byte.
    pub(super) fn delimiter_byte(&self) -> Result<Option<u8>, MappingError> {
        match self.delimiter {
            None => Ok(None),
            Some(c @ (',' | ';' | '\t' | '|')) => Ok(Some(c as u8)),
            Some(other) => Err(MappingError::Delimiter(other)),
        }
    }

    /// One plan per column of the file, in its order; `None` is not read.
    pub(super) fn plan(&self, headers: &[String]) -> Result<Vec<Option<Plan>>, MappingError> {
        let known = |name: &str| headers.iter().any(|header| header == name);
        for name in &self.drop {
            if !known(name) {
                return Err(unknown(name, headers));
            }
        }
        let mut by_source: BTreeMap<&str, (&str, &ColumnMapping)> = BTreeMap::new();
        for (target, column) in &self.columns {
            let from = column.from.as_deref().unwrap_or(target);
            if !known(from) {
                return Err(unknown(from, headers));
            }
            if by_source.insert(from, (target, column)).is_some() {
                return Err(MappingError::Duplicate(from.to_owned()));
            }
        }
        let usual: Vec<String> = USUAL_MISSING.iter().map(|&s| s.to_owned()).collect();
        let missing = self.missing.as_ref().unwrap_or(&usual);
        let mut names = BTreeSet::new();
        let mut plans = Vec::with_capacity(headers.len());
        for header in headers {
            if self.drop.contains(header) {
                plans.push(None);
                continue;
            }
            let (name, column) = match by_source.get(header.as_str()) {
                Some(&(name, column)) => (name, Some(column)),
                None => (header.as_str(), None),
            };
            if name.is_empty() || name.len() > MAX_COLUMN_NAME_BYTES {
                return Err(MappingError::Name(name.len()));
            }
            if !names.insert(name.to_owned()) {
                return Err(MappingError::Duplicate(name.to_owned()));
            }
            plans.push(Some(Plan::new(name, missing, column)?));
        }
        if names.len() > MAX_COLUMNS {
            return Err(MappingError::TooMany(names.len()));
        }
        Ok(plans)
    }
}

/// How the cells of one column are replaced.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) name: String,
    /// By canonical value; an empty replacement means missing.
    replacements: BTreeMap<String, String>,
}

impl Plan {
    fn new(
        name: &str,
        missing: &[String],
        column: Option<&ColumnMapping>,
    ) -> Result<Self, MappingError> {
        let mut replacements = BTreeMap::new();
        if let Some(column) = column {
            let own = column.missing.iter().map(|value| (value, ""));
            let mapped = column.values.iter().map(|(value, to)| (value, to.trim()));
            for (value, to) in own.chain(mapped) {
                if replacements
                    .insert(canonical_text(value), to.to_owned())
                    .is_some()
                {
                    return Err(MappingError::Ambiguous {
                        column: name.to_owned(),
                        value: value.clone(),
                    });
                }
            }
        }
        // What the column says about a value goes before the general list.
        for value in missing {
            replacements
                .entry(canonical_text(value))
                .or_insert_with(String::new);
        }
        Ok(Self {
            name: name.to_owned(),
            replacements,
        })
    }

    /// The replacement of a value, given its canonical form.
    pub(super) fn replacement(&self, canonical: &str) -> Option<&str> {
        self.replacements.get(canonical).map(String::as_str)
    }

    /// Whether any number is replaced, so that most columns skip the look-up.
    pub(super) fn replaces_numbers(&self) -> bool {
        self.replacements
            .keys()
            .any(|key| matches!(super::cell::read(key), super::cell::Reading::Number(_)))
    }
}

fn unknown(name: &str, headers: &[String]) -> MappingError {
    let nearest = headers
        .iter()
        .min_by_key(|header| strsim::damerau_levenshtein(header, name));
    let hint = nearest.map_or_else(String::new, |nearest| {
        format!("; did you mean `{nearest}`?")
    });
    MappingError::Unknown {
        column: name.to_owned(),
        hint,
    }
}
