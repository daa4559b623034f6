//! A site's last word on its columns, before a task reads one of them.
//!
//! [`PrivacyRules`] is what a site writes, column by column: left out, hashed with the site's
//! key, generalized, clipped, or allowed as it is. Columns that look like names, telephone
//! numbers, addresses or other personal identifiers (see [`recognize`](mod@recognize)) are left
//! out unless a rule says otherwise. [`PrivacyRules::apply`] does all of it and says what it
//! did; [`Groups`] tells how small the groups are that the quasi-identifiers single out
//! (k-anonymity: Sweeney 2002).
//!
//! Out of scope: what sums over rows may show (`data::SitePolicy`), and identifiers inside of
//! free text, of which only e-mail addresses and national numbers are found.

mod content;
mod groups;
mod header;
pub mod recognize;
mod treat;
mod treatment;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::table::Table;
use crate::task::{ColumnType, Task};

pub use groups::Groups;
pub use recognize::{IdentifierKind, Recognized, Sign, recognize};
pub use treatment::{Action, ColumnRule, Dates, Treatment};

/// Groups of fewer rows than this are called small where the site does not say.
pub const SMALL_GROUP: u64 = 5;
/// Most columns that can be quasi-identifiers together.
pub const MAX_QUASI_IDENTIFIERS: usize = 32;

/// What a site does to its columns. Names are those after the column map, as the task says them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrivacyRules {
    /// One rule for each column that is not taken as it is.
    pub columns: BTreeMap<String, ColumnRule>,
    /// Columns that together could single a person out. Default: none, nothing is reported.
    pub quasi_identifiers: Vec<String>,
    /// Groups of fewer rows than this are reported as small. A number of rows. Default: 5.
    pub small_group: u64,
    /// Smallest group that is allowed; with a smaller one the site takes part in nothing. A
    /// number of rows. Default: 0, any is allowed.
    pub minimum_k: u64,
}

impl Default for PrivacyRules {
    fn default() -> Self {
        Self {
            columns: BTreeMap::new(),
            quasi_identifiers: Vec::new(),
            small_group: SMALL_GROUP,
            minimum_k: 0,
        }
    }
}

/// A column that was changed or left out by a rule.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Treated {
    /// Its name.
    pub column: String,
    /// What was done, in words.
    pub what: String,
    /// Cells that the rule does not fit, which are missing now.
    pub unfit: u64,
}

/// What was done to a table.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct PrivacyReport {
    /// Columns that a rule changed or left out, by name.
    pub treated: Vec<Treated>,
    /// Columns left out because they look like personal identifiers, in the table's order.
    pub refused: Vec<Recognized>,
    /// Columns that look so and are allowed by a rule, in the table's order.
    pub allowed: Vec<Recognized>,
}

/// Why rules do not fit a table. No message holds a cell's value.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PrivacyError {
    /// A rule whose keys do not go together.
    #[error("privacy.columns.{column}: {problem}")]
    Rule {
        /// The column.
        column: String,
        /// What is wrong and what to write.
        problem: String,
    },
    /// A name that the table does not have.
    #[error("{key} names `{column}`, which {source_name} does not have{hint}")]
    Unknown {
        /// The key in the site's configuration.
        key: &'static str,
        /// The name.
        column: String,
        /// The file.
        source_name: String,
        /// A near name.
        hint: String,
    },
    /// No cell of the column is what the rule is for.
    #[error(
        "privacy.columns.{column}: none of its {cells} cells is {needed}; take another rule, or \
         correct the column"
    )]
    Unfit {
        /// The column.
        column: String,
        /// How many cells are not missing.
        cells: u64,
        /// What the rule is for.
        needed: &'static str,
    },
    /// A quasi-identifier that nobody reads.
    #[error("privacy.quasi_identifiers names `{column}`, which is left out; take it from the list")]
    LeftOut {
        /// The column.
        column: String,
    },
    /// A column is to be hashed and there is no key.
    #[error("privacy.columns.{column}: the site's key is not there; it is made when the node runs")]
    NoKey {
        /// The column.
        column: String,
    },
}

impl PrivacyRules {
    /// Whether some column is hashed.
    #[must_use]
    pub fn needs_key(&self) -> bool {
        self.columns
            .values()
            .any(|rule| rule.action == Action::Hash)
    }

    /// Checks the rules by themselves, without a table.
    ///
    /// # Errors
    /// [`PrivacyError::Rule`].
    pub fn check(&self) -> Result<(), PrivacyError> {
        for (column, rule) in &self.columns {
            rule.treatment(column)?;
        }
        Ok(())
    }

    /// Checks that every name is a column of the table.
    ///
    /// # Errors
    /// [`PrivacyError::Unknown`], with the nearest name.
    pub fn check_names(&self, table: &Table) -> Result<(), PrivacyError> {
        let ruled = self.columns.keys().map(|name| ("privacy.columns", name));
        let quasi = self.quasi_identifiers.iter();
        let quasi = quasi.map(|name| ("privacy.quasi_identifiers", name));
        for (key, column) in ruled.chain(quasi) {
            if table.column(column).is_none() {
                let near = table.nearest(column);
                return Err(PrivacyError::Unknown {
                    key,
                    column: column.clone(),
                    source_name: table.source().to_owned(),
                    hint: near.map_or_else(String::new, |near| {
                        format!("; did you mean `{near}`? names are those after [data.map]")
                    }),
                });
            }
        }
        Ok(())
    }

    /// Leaves out what looks like personal identifiers, and does what the rules say to the other
    /// columns. Rules for columns that the table does not have are passed over: rows to score may
    /// have fewer columns. `key` is the site's key for hashes.
    ///
    /// # Errors
    /// [`PrivacyError::Rule`], [`PrivacyError::Unfit`], [`PrivacyError::NoKey`].
    pub fn apply(
        &self,
        table: Table,
        key: Option<&[u8; 32]>,
    ) -> Result<(Table, PrivacyReport), PrivacyError> {
        let mut report = PrivacyReport::default();
        for found in recognize(&table) {
            match self.columns.get(&found.column).map(|rule| rule.action) {
                None => report.refused.push(found),
                Some(Action::Allow) => report.allowed.push(found),
                Some(_) => {}
            }
        }
        let mut gone: BTreeSet<String> =
            report.refused.iter().map(|it| it.column.clone()).collect();
        let mut table = table;
        for (column, rule) in &self.columns {
            let treatment = rule.treatment(column)?;
            if treatment == Treatment::Allow || table.column(column).is_none() {
                continue;
            }
            let unfit = if treatment == Treatment::Drop {
                gone.insert(column.clone());
                0
            } else {
                let (made, unfit) = treat::treat(table, column, &treatment, key)?;
                table = made;
                unfit
            };
            report.treated.push(Treated {
                column: column.clone(),
                what: treatment.to_string(),
                unfit,
            });
        }
        Ok((table.without(&gone), report))
    }

    /// The groups that the quasi-identifiers make of a table whose columns are treated; `None`
    /// where none are declared.
    ///
    /// # Errors
    /// [`PrivacyError::LeftOut`].
    pub fn groups(&self, table: &Table) -> Result<Option<Groups>, PrivacyError> {
        if self.quasi_identifiers.is_empty() {
            return Ok(None);
        }
        let found = self.quasi_identifiers.iter().map(|name| {
            table.column(name).ok_or_else(|| PrivacyError::LeftOut {
                column: name.clone(),
            })
        });
        let columns = found.collect::<Result<Vec<_>, _>>()?;
        Ok(Some(Groups::count(
            &columns,
            table.rows(),
            self.small_group,
        )))
    }
}

impl PrivacyReport {
    /// The first column that the task names and that was left out because of how it looks.
    #[must_use]
    pub fn refuses(&self, task: &Task) -> Option<&Recognized> {
        let named = names_of(task);
        self.refused
            .iter()
            .find(|it| named.contains(it.column.as_str()))
    }
}

/// The columns that a task names itself, except those it promises not to use.
fn names_of(task: &Task) -> BTreeSet<&str> {
    let declared = task.columns.iter();
    let used = declared.filter(|(_, rule)| rule.r#type != ColumnType::Ignore);
    let monotone = task.constraints.monotone.keys();
    used.map(|(name, _)| name)
        .chain(monotone)
        .chain(task.entity.as_ref())
        .chain(task.split.as_ref())
        .chain([&task.target])
        .map(String::as_str)
        .collect()
}

#[cfg(test)]
mod tests;
