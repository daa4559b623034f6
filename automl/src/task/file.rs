//! The strict reader of task files: every complaint has a line and a remedy.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::privacy;
use super::section::{Section, line_of};
use crate::calibrate::{MAX_COST, Rule};
use crate::family;

use super::{
    AbsentColumns, ColumnRule, ColumnType, Constraints, Direction, Kind, MAX_CLASSES,
    MAX_TASK_BYTES, Metric, Preset, Range, Task, TaskError,
};

/// Most names in one list and most declared columns: as many as a table may
/// have columns.
const MAX_NAMES: usize = crate::table::MAX_COLUMNS;

pub(super) const TOP_KEYS: [&str; 18] = [
    "name",
    "target",
    "kind",
    "positive",
    "classes",
    "metric",
    "preset",
    "entity",
    "split",
    "seed",
    "time_budget",
    "max_steps",
    "rounds",
    "every",
    "decision",
    "constraints",
    "differential_privacy",
    "columns",
];
pub(super) const CONSTRAINT_KEYS: [&str; 7] = [
    "allowed_models",
    "interpretable_only",
    "missing_columns",
    "monotone",
    "privacy_filter",
    "single_model",
    "temporal_check",
];
const DECISION_KEYS: [&str; 3] = ["rule", "false_positive_cost", "false_negative_cost"];
const COLUMN_KEYS: [&str; 5] = ["type", "values", "missing", "min", "max"];
/// How complaints call the bounds of a column.
pub(super) const COLUMN_RANGE: &str = "`min` and `max`";
/// Largest magnitude of a column's bounds.
const MAX_BOUND: f64 = 1e15;
/// Most values of a column that mean "missing".
const MAX_MISSING: usize = 16;
/// Most rounds that a task asks for by number; one a day are almost three years.
const MAX_ROUNDS: i64 = 1000;
/// Shortest time between two rounds: below that the daemons would do nothing but begin.
const MIN_EVERY_SECONDS: u64 = 60;
/// Longest time between two rounds: a year.
const MAX_EVERY_SECONDS: i64 = 365 * 24 * 3600;

pub(super) fn parse(text: &str) -> Result<Task, TaskError> {
    if text.len() > MAX_TASK_BYTES {
        return Err(TaskError::TooLarge { bytes: text.len() });
    }
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let document = DeTable::parse(text).map_err(|error| match error.span() {
        Some(span) => TaskError::At {
            line: line_of(text, span.start),
            problem: format!("not valid TOML: {}", error.message()),
        },
        None => TaskError::Syntax(error.message().to_owned()),
    })?;
    let top = Section {
        text,
        title: "",
        table: document.get_ref(),
    };
    top.refuse_unknown(&TOP_KEYS)?;
    let task = Task {
        name: required(top.name("name")?, "name", "name = \"heart-disease\"")?,
        target: required(top.name("target")?, "target", "target = \"disease\"")?,
        kind: top.choice(
            "kind",
            &[Kind::Classification, Kind::Regression],
            Kind::name,
        )?,
        positive: top.name("positive")?,
        classes: top.names("classes", MAX_CLASSES)?.unwrap_or_default(),
        metric: top.choice("metric", &Metric::all(), Metric::name)?,
        preset: top
            .choice(
                "preset",
                &[Preset::Fast, Preset::Balanced, Preset::Thorough],
                Preset::name,
            )?
            .unwrap_or_default(),
        entity: top.name("entity")?,
        split: top.name("split")?,
        seed: top.whole("seed", 0, i64::MAX)?.unwrap_or(0),
        time_budget: top.seconds("time_budget")?,
        max_steps: top
            .whole("max_steps", 1, 100_000)?
            .and_then(|n| u32::try_from(n).ok()),
        rounds: top
            .whole("rounds", 1, MAX_ROUNDS)?
            .and_then(|n| u32::try_from(n).ok()),
        every: every(&top)?,
        decision: decision(&top)?,
        constraints: constraints(&top)?,
        differential_privacy: privacy::section(&top)?,
        columns: columns(&top)?,
    };
    consistent(&top, &task)?;
    privacy::consistent(&top, &task)?;
    Ok(task)
}

/// Seconds between the starts of two rounds.
fn every(top: &Section<'_>) -> Result<Option<u64>, TaskError> {
    let seconds = top.duration("every", MAX_EVERY_SECONDS)?;
    if seconds.is_some_and(|seconds| seconds < MIN_EVERY_SECONDS) {
        return Err(top.at_key(
            "every",
            &format!(
                "`every` must be at least {MIN_EVERY_SECONDS} seconds; for rounds one right after the \
                 other write `rounds` alone"
            ),
        ));
    }
    Ok(seconds)
}

fn constraints(top: &Section<'_>) -> Result<Constraints, TaskError> {
    let Some(section) = top.section("constraints", "constraints")? else {
        return Ok(Constraints::default());
    };
    section.refuse_unknown(&CONSTRAINT_KEYS)?;
    let allowed_models = match section.table.get("allowed_models") {
        None => None,
        Some(value) => {
            let known = family::names();
            let mut models = Vec::new();
            for item in section.strings("allowed_models", value)? {
                let name = section.one_of("allowed_models", &item, &known, |name| name)?;
                models.push(name.to_owned());
            }
            if models.is_empty() {
                return Err(section.at(
                    value.span().start,
                    &format!(
                        "`allowed_models` is empty, so there is nothing to try; name some of {}, or leave the key out",
                        known.join(", ")
                    ),
                ));
            }
            models.sort_unstable();
            models.dedup();
            Some(models)
        }
    };
    Ok(Constraints {
        allowed_models,
        interpretable_only: section.flag("interpretable_only")?.unwrap_or(false),
        single_model: section.flag("single_model")?.unwrap_or(false),
        monotone: monotone(&section)?,
        privacy_filter: section
            .names("privacy_filter", MAX_NAMES)?
            .unwrap_or_default(),
        temporal_check: section.flag("temporal_check")?.unwrap_or(false),
        missing_columns: section
            .choice(
                "missing_columns",
                &[AbsentColumns::Refuse, AbsentColumns::Missing],
                AbsentColumns::name,
            )?
            .unwrap_or_default(),
    })
}

/// `[decision]`: a rule by name, or two costs.
fn decision(top: &Section<'_>) -> Result<Option<Rule>, TaskError> {
    let Some(section) = top.section("decision", "decision")? else {
        return Ok(None);
    };
    section.refuse_unknown(&DECISION_KEYS)?;
    let rule = section.choice(
        "rule",
        &[
            ("accuracy", Rule::Accuracy),
            ("youden", Rule::Youden),
            ("f1", Rule::F1),
        ],
        |(name, _)| name,
    )?;
    let cost = |key| {
        let cost = section.whole(key, 1, i64::from(MAX_COST))?;
        Ok(cost.and_then(|cost| u32::try_from(cost).ok()))
    };
    let costs: (Option<u32>, Option<u32>) =
        (cost("false_positive_cost")?, cost("false_negative_cost")?);
    match (rule, costs) {
        (Some((_, rule)), (None, None)) => Ok(Some(rule)),
        (None, (Some(false_positive), Some(false_negative))) => Ok(Some(Rule::Cost {
            false_positive,
            false_negative,
        })),
        _ => Err(top.at_key(
            "decision",
            "[decision] needs either `rule` (\"accuracy\", \"youden\" or \"f1\") or both \
             `false_positive_cost` and `false_negative_cost`",
        )),
    }
}

/// `monotone = { age = "increasing" }`.
fn monotone(section: &Section<'_>) -> Result<BTreeMap<String, Direction>, TaskError> {
    let Some(columns) = section.section("monotone", "constraints.monotone")? else {
        return Ok(BTreeMap::new());
    };
    if columns.table.len() > MAX_NAMES {
        return Err(section.at_key(
            "monotone",
            &format!("`monotone` names more than the {MAX_NAMES} columns a table may have"),
        ));
    }
    let mut directions = BTreeMap::new();
    for key in columns.table.keys() {
        let name = key.get_ref();
        let known = [Direction::Increasing, Direction::Decreasing];
        if let Some(direction) = columns.choice(name, &known, Direction::name)? {
            directions.insert(name.to_string(), direction);
        }
    }
    Ok(directions)
}

fn columns(top: &Section<'_>) -> Result<BTreeMap<String, ColumnRule>, TaskError> {
    let Some(section) = top.section("columns", "columns")? else {
        return Ok(BTreeMap::new());
    };
    if section.table.len() > MAX_NAMES {
        return Err(TaskError::Syntax(format!(
            "[columns] declares {} columns, more than the {MAX_NAMES} a table may have",
            section.table.len()
        )));
    }
    let mut rules = BTreeMap::new();
    for (key, value) in section.table {
        rules.insert(
            key.get_ref().to_string(),
            column(&section, key.get_ref(), value)?,
        );
    }
    Ok(rules)
}

fn column(
    section: &Section<'_>,
    name: &str,
    value: &Spanned<DeValue<'_>>,
) -> Result<ColumnRule, TaskError> {
    const TYPES: [ColumnType; 8] = [
        ColumnType::Number,
        ColumnType::Category,
        ColumnType::Date,
        ColumnType::Ignore,
        ColumnType::Ordinal,
        ColumnType::Boolean,
        ColumnType::Text,
        ColumnType::Auto,
    ];
    if let Some(word) = value.get_ref().as_str() {
        let word = Spanned::new(value.span(), word.to_owned());
        let kind = section.one_of(name, &word, &TYPES, ColumnType::name)?;
        return Ok(ColumnRule {
            r#type: kind,
            values: Vec::new(),
            missing: Vec::new(),
            range: None,
        });
    }
    let Some(table) = value.get_ref().as_table() else {
        return Err(section.at(
            value.span().start,
            &format!(
                "`{name}` needs a type: \"number\", \"category\", \"ordinal\", \"boolean\", \"date\", \"text\", \"auto\" or \"ignore\", or {{ type = \"category\", values = [\"a\", \"b\"] }}"
            ),
        ));
    };
    let inner = Section {
        text: section.text,
        title: "columns",
        table,
    };
    inner.refuse_unknown(&COLUMN_KEYS)?;
    let values = inner
        .names("values", crate::profile::MAX_VOCABULARY)?
        .unwrap_or_default();
    let missing = inner.names("missing", MAX_MISSING)?.unwrap_or_default();
    let guess = if values.is_empty() && !missing.is_empty() {
        ColumnType::Auto
    } else {
        ColumnType::Category
    };
    let kind = inner
        .choice("type", &TYPES, ColumnType::name)?
        .unwrap_or(guess);
    let listed = matches!(kind, ColumnType::Category | ColumnType::Ordinal);
    if !values.is_empty() && !listed {
        return Err(inner.at(
            value.span().start,
            &format!("`{name}` has `values`, so its type must be \"category\" or \"ordinal\""),
        ));
    }
    let range = range(&inner, name, value, kind)?;
    Ok(ColumnRule {
        r#type: kind,
        values,
        missing,
        range,
    })
}

/// `{ type = "number", min = 0, max = 120 }`.
fn range(
    inner: &Section<'_>,
    name: &str,
    value: &Spanned<DeValue<'_>>,
    kind: ColumnType,
) -> Result<Option<Range>, TaskError> {
    let bound = |key| inner.number(key, -MAX_BOUND, MAX_BOUND);
    let range = match (bound("min")?, bound("max")?) {
        (None, None) => return Ok(None),
        (Some(min), Some(max)) if min < max && kind == ColumnType::Number => Range { min, max },
        _ => {
            let problem = format!(
                "`{name}`: {COLUMN_RANGE} go together, ascending, and with type \"number\""
            );
            return Err(inner.at(value.span().start, &problem));
        }
    };
    Ok(Some(range))
}

/// What only the whole file can get wrong.
fn consistent(top: &Section<'_>, task: &Task) -> Result<(), TaskError> {
    if let (Some(kind), Some(metric)) = (task.kind, task.metric)
        && !metric.fits(kind)
    {
        let fitting: Vec<_> = Metric::all()
            .iter()
            .filter(|m| m.fits(kind))
            .map(|m| m.name())
            .collect();
        return Err(top.at_key(
            "metric",
            &format!(
                "`{}` cannot rank a {} task; use {}",
                metric.name(),
                kind.name(),
                fitting.join(", ")
            ),
        ));
    }
    if task.classes.len() == 1 {
        return Err(top.at_key("classes", "a classification needs at least two classes"));
    }
    if task.constraints.monotone.contains_key(&task.target) {
        return Err(top.at_key(
            "constraints",
            "`monotone` names the target; name columns that predict it",
        ));
    }
    if let Some(positive) = &task.positive
        && !task.classes.is_empty()
        && !task.classes.contains(positive)
    {
        return Err(top.at_key(
            "positive",
            &format!("`{positive}` is not one of `classes`; add it there or correct it"),
        ));
    }
    if task.kind == Some(Kind::Regression) && (task.positive.is_some() || !task.classes.is_empty())
    {
        let key = if task.positive.is_some() {
            "positive"
        } else {
            "classes"
        };
        return Err(top.at_key(key, "a regression has no classes; remove this line"));
    }
    if task.decision.is_some() && (task.kind == Some(Kind::Regression) || task.classes.len() > 2) {
        return Err(top.at_key(
            "decision",
            "[decision] is for two classes: from which probability on a row is called positive; remove it",
        ));
    }
    for (key, other) in [("entity", &task.entity), ("split", &task.split)] {
        if other.as_ref() == Some(&task.target) {
            return Err(top.at_key(key, "this is the target; name another column"));
        }
    }
    Ok(())
}

fn required(
    value: Option<String>,
    key: &'static str,
    example: &'static str,
) -> Result<String, TaskError> {
    value.ok_or(TaskError::Missing { key, example })
}

#[cfg(test)]
mod tests;
