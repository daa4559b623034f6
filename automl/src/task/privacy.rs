//! `[differential_privacy]`: what a task promises about every row, and what it needs for that.

use serde::{Deserialize, Serialize};

use super::file::COLUMN_RANGE;
use super::section::Section;
use super::{ColumnType, Kind, Task, TaskError};
use crate::family::logistic;
use crate::noise::zcdp;

/// Share of the budget that is left over, so that no rounding can carry a run beyond it.
const MARGIN: f64 = 1e-9;

/// What a run may tell about any one row, added or removed: (epsilon, delta)-differential privacy.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DifferentialPrivacy {
    /// 0.01 to 100; below 1 is strong, above 10 says little.
    pub epsilon: f64,
    /// 10^-12 to 10^-2; should be well below one over the number of rows.
    pub delta: f64,
}

// Both are numbers.
impl Eq for DifferentialPrivacy {}

impl DifferentialPrivacy {
    /// The same in zCDP, the least bit less.
    #[must_use]
    pub fn rho(&self) -> f64 {
        zcdp::rho(self.epsilon, self.delta)
    }

    /// What a search may plan with.
    #[must_use]
    pub fn to_plan(&self) -> f64 {
        self.rho() * (1.0 - MARGIN)
    }
}

/// Declared bounds of a column of numbers: finite, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Range {
    /// Smaller values count as this.
    pub min: f64,
    /// Larger values count as this.
    pub max: f64,
}

// Both are numbers.
impl Eq for Range {}

pub(super) fn section(top: &Section<'_>) -> Result<Option<DifferentialPrivacy>, TaskError> {
    let Some(section) = top.section("differential_privacy", "differential_privacy")? else {
        return Ok(None);
    };
    section.refuse_unknown(&["epsilon", "delta"])?;
    let needed = |key: &str, [least, most]: [f64; 2], example: &str| {
        let missing = || {
            let problem =
                format!("[differential_privacy] has no `{key}`; add, for example, `{example}`");
            top.at_key("differential_privacy", &problem)
        };
        section.number(key, least, most)?.ok_or_else(missing)
    };
    Ok(Some(DifferentialPrivacy {
        epsilon: needed("epsilon", zcdp::EPSILON, "epsilon = 1.0")?,
        delta: needed("delta", zcdp::DELTA, "delta = 1e-5")?,
    }))
}

/// Refuses what cannot be kept together with differential privacy, and ranges without it.
pub(super) fn consistent(top: &Section<'_>, task: &Task) -> Result<(), TaskError> {
    if task.differential_privacy.is_none() {
        return match task.columns.iter().find(|(_, rule)| rule.range.is_some()) {
            Some((column, _)) => Err(top.at_key(
                "columns",
                &format!(
                    "`{column}` has {COLUMN_RANGE}, which only a task with [differential_privacy] \
                     uses; remove them, or add that section"
                ),
            )),
            None => Ok(()),
        };
    }
    let no = |key: &str, problem: &str| Err(unfit(top, key, problem));
    let limits = &task.constraints;
    let allowed = limits.allowed_models.as_ref();
    if task.kind != Some(Kind::Classification) || task.classes.len() != 2 {
        return no(
            "classes",
            "the target must be one of two declared classes: write `kind = \"classification\"` and, \
             for example, `classes = [\"no\", \"yes\"]`",
        );
    }
    if allowed.is_some_and(|names| !names.iter().any(|name| name == logistic::NAME)) {
        return no(
            "constraints",
            "only the family `logistic` can be trained; allow it in `allowed_models`",
        );
    }
    if !limits.monotone.is_empty() {
        return no("constraints", "no column can be `monotone`; remove it");
    }
    if limits.absent_is_missing() {
        return no(
            "constraints",
            "every site must have every declared column, because whether a column is there may \
             follow from its cells; remove `missing_columns`",
        );
    }
    one_round(top, task)?;
    if task.decision.is_some() {
        return no(
            "decision",
            "no threshold is chosen: that would take another look at the rows; remove it",
        );
    }
    if task.metric_with_sums().is_some() {
        return no(
            "metric",
            "a metric with sums of its own cannot be had; name another",
        );
    }
    columns(top, task)
}

fn unfit(top: &Section<'_>, key: &str, problem: &str) -> TaskError {
    top.at_key(key, &format!("with [differential_privacy] {problem}"))
}

/// The budget is for one round of a fixed plan.
fn one_round(top: &Section<'_>, task: &Task) -> Result<(), TaskError> {
    let no = |key: &str, problem: &str| Err(unfit(top, key, problem));
    if task.rounds.is_some_and(|rounds| rounds > 1) || task.every.is_some() {
        let key = if task.every.is_some() {
            "every"
        } else {
            "rounds"
        };
        return no(
            key,
            "a task has one round, which is all that its budget is for",
        );
    }
    for (key, set) in [
        ("time_budget", task.time_budget.is_some()),
        ("max_steps", task.max_steps.is_some()),
    ] {
        if set {
            return no(
                key,
                "the plan is fixed, four steps at most; remove this line",
            );
        }
    }
    Ok(())
}

/// Every feature is declared, with bounds or values that are public knowledge.
fn columns(top: &Section<'_>, task: &Task) -> Result<(), TaskError> {
    let no = |problem: String| Err(unfit(top, "columns", &problem));
    let mut features = 0;
    for (column, rule) in &task.columns {
        let bounded = match rule.r#type {
            ColumnType::Ignore => continue,
            ColumnType::Number => rule.range.is_some(),
            ColumnType::Category | ColumnType::Ordinal => rule.values.len() > 1,
            _ => {
                return no(format!(
                    "`{column}` must be a \"number\", a \"category\", an \"ordinal\" or \"ignore\""
                ));
            }
        };
        if !bounded {
            return no(format!(
                "`{column}` needs bounds that are public knowledge, for example \
                 {{ type = \"number\", min = 0, max = 120 }} or \
                 {{ type = \"category\", values = [\"a\", \"b\"] }}: what the data say is private"
            ));
        }
        features += usize::from(*column != task.target);
    }
    if features == 0 {
        return no("every column that is used must be declared under [columns]".to_owned());
    }
    Ok(())
}
