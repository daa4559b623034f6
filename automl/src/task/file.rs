//! The strict reader of task files: every complaint has a line and a remedy.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{
    ColumnRule, ColumnType, Constraints, Kind, MAX_CLASSES, MAX_TASK_BYTES, Metric, ModelFamily,
    Preset, Task, TaskError,
};

/// Longest name of a task, a column or a class, in bytes.
const MAX_NAME_BYTES: usize = 64;
/// Most names in one list and most declared columns: as many as a table may
/// have columns.
const MAX_NAMES: usize = crate::table::MAX_COLUMNS;

const TOP_KEYS: [&str; 14] = [
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
    "constraints",
    "columns",
];
const CONSTRAINT_KEYS: [&str; 3] = ["allowed_models", "privacy_filter", "temporal_check"];
const COLUMN_KEYS: [&str; 2] = ["type", "values"];

/// Keys that the design reserves and this version cannot honour. Taking them
/// and doing nothing would be a lie to whoever wrote them.
const NOT_YET: [&str; 8] = [
    "monotone",
    "interpretable_only",
    "max_model_size",
    "max_latency",
    "feature_constraints",
    "privacy",
    "rounds",
    "images",
];

/// One table of the file, with what is needed to complain about it well.
struct Section<'a> {
    text: &'a str,
    title: &'static str,
    table: &'a DeTable<'a>,
}

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
        metric: top.choice("metric", &Metric::ALL, Metric::name)?,
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
        constraints: constraints(&top)?,
        columns: columns(&top)?,
    };
    consistent(&top, &task)?;
    Ok(task)
}

fn constraints(top: &Section<'_>) -> Result<Constraints, TaskError> {
    let Some(section) = top.section("constraints", "constraints")? else {
        return Ok(Constraints::default());
    };
    section.refuse_unknown(&CONSTRAINT_KEYS)?;
    let allowed_models = match section.table.get("allowed_models") {
        None => None,
        Some(value) => {
            let mut models = Vec::new();
            for item in section.strings("allowed_models", value)? {
                models.push(section.one_of(
                    "allowed_models",
                    &item,
                    &ModelFamily::ALL,
                    ModelFamily::name,
                )?);
            }
            if models.is_empty() {
                return Err(section.at(
                    value.span().start,
                    "`allowed_models` is empty, so there is nothing to try; name `logistic` or `mlp`, or leave the key out",
                ));
            }
            models.sort_unstable();
            models.dedup();
            Some(models)
        }
    };
    Ok(Constraints {
        allowed_models,
        privacy_filter: section
            .names("privacy_filter", MAX_NAMES)?
            .unwrap_or_default(),
        temporal_check: section.flag("temporal_check")?.unwrap_or(false),
    })
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
    const TYPES: [ColumnType; 4] = [
        ColumnType::Number,
        ColumnType::Category,
        ColumnType::Date,
        ColumnType::Ignore,
    ];
    if let Some(word) = value.get_ref().as_str() {
        let word = Spanned::new(value.span(), word.to_owned());
        let kind = section.one_of(name, &word, &TYPES, ColumnType::name)?;
        return Ok(ColumnRule {
            r#type: kind,
            values: Vec::new(),
        });
    }
    let Some(table) = value.get_ref().as_table() else {
        return Err(section.at(
            value.span().start,
            &format!(
                "`{name}` needs a type: \"number\", \"category\", \"date\" or \"ignore\", or {{ type = \"category\", values = [\"a\", \"b\"] }}"
            ),
        ));
    };
    let inner = Section {
        text: section.text,
        title: "columns",
        table,
    };
    inner.refuse_unknown(&COLUMN_KEYS)?;
    let kind = inner
        .choice("type", &TYPES, ColumnType::name)?
        .unwrap_or(ColumnType::Category);
    let values = inner
        .names("values", crate::profile::MAX_VOCABULARY)?
        .unwrap_or_default();
    if !values.is_empty() && kind != ColumnType::Category {
        return Err(inner.at(
            value.span().start,
            &format!("`{name}` has `values`, so its type must be \"category\""),
        ));
    }
    Ok(ColumnRule {
        r#type: kind,
        values,
    })
}

/// What only the whole file can get wrong.
fn consistent(top: &Section<'_>, task: &Task) -> Result<(), TaskError> {
    if let (Some(kind), Some(metric)) = (task.kind, task.metric)
        && !metric.fits(kind)
    {
        let fitting: Vec<_> = Metric::ALL
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

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(offset)
        .filter(|&&b| b == b'\n')
        .count()
        + 1
}

impl<'a> Section<'a> {
    fn at(&self, offset: usize, problem: &str) -> TaskError {
        TaskError::At {
            line: line_of(self.text, offset),
            problem: problem.to_owned(),
        }
    }

    fn at_key(&self, key: &str, problem: &str) -> TaskError {
        match self.table.get(key) {
            Some(value) => self.at(value.span().start, problem),
            None => TaskError::Syntax(problem.to_owned()),
        }
    }

    fn refuse_unknown(&self, known: &[&str]) -> Result<(), TaskError> {
        let place = if self.title.is_empty() {
            String::new()
        } else {
            format!(" in [{}]", self.title)
        };
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            let problem = if NOT_YET.contains(&name) {
                format!(
                    "`{name}`{place} is not supported yet; remove it, or the search would not do what it says"
                )
            } else if known.contains(&name) {
                continue;
            } else if self.title.is_empty() && CONSTRAINT_KEYS.contains(&name) {
                format!("`{name}` belongs under [constraints]; move it there")
            } else {
                format!(
                    "unknown key `{name}`{place}; did you mean `{}`?",
                    nearest(name, known)
                )
            };
            return Err(self.at(key.span().start, &problem));
        }
        Ok(())
    }

    fn wrong(&self, key: &str, value: &Spanned<DeValue<'_>>, wanted: &str) -> TaskError {
        self.at(
            value.span().start,
            &format!(
                "`{key}` must be {wanted}, not {}",
                article(value.get_ref().type_str())
            ),
        )
    }

    fn checked_name(&self, key: &str, name: &Spanned<String>) -> Result<String, TaskError> {
        let trimmed = name.get_ref().trim();
        if trimmed.is_empty() || trimmed.len() > MAX_NAME_BYTES {
            return Err(self.at(
                name.span().start,
                &format!(
                    "`{key}` must have 1 to {MAX_NAME_BYTES} bytes, not {}",
                    trimmed.len()
                ),
            ));
        }
        if trimmed.chars().any(char::is_control) {
            return Err(self.at(
                name.span().start,
                &format!("`{key}` must not have control characters"),
            ));
        }
        Ok(trimmed.to_owned())
    }

    /// A text; whole numbers and booleans are taken as they are written, so
    /// that `positive = 1` means what it looks like.
    fn text(&self, key: &str, value: &Spanned<DeValue<'_>>) -> Result<Spanned<String>, TaskError> {
        let text = match value.get_ref() {
            DeValue::String(text) => text.to_string(),
            DeValue::Integer(number) if matches!(key, "positive" | "classes" | "values") => {
                number.as_str().to_owned()
            }
            DeValue::Boolean(flag) if matches!(key, "positive" | "classes" | "values") => {
                flag.to_string()
            }
            _ => return Err(self.wrong(key, value, "a text in quotes")),
        };
        Ok(Spanned::new(value.span(), text))
    }

    fn name(&self, key: &str) -> Result<Option<String>, TaskError> {
        self.table
            .get(key)
            .map(|value| self.checked_name(key, &self.text(key, value)?))
            .transpose()
    }

    fn strings(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<Spanned<String>>, TaskError> {
        let Some(items) = value.get_ref().as_array() else {
            return Err(self.wrong(key, value, "a list of texts, such as [\"a\", \"b\"]"));
        };
        items.iter().map(|item| self.text(key, item)).collect()
    }

    fn names(&self, key: &str, most: usize) -> Result<Option<Vec<String>>, TaskError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let items = self.strings(key, value)?;
        if items.len() > most {
            return Err(self.at(
                value.span().start,
                &format!(
                    "`{key}` has {} entries; at most {most} are allowed",
                    items.len()
                ),
            ));
        }
        let mut names = Vec::with_capacity(items.len());
        for item in &items {
            let name = self.checked_name(key, item)?;
            if names.contains(&name) {
                return Err(self.at(
                    item.span().start,
                    &format!("`{key}` names `{name}` more than once"),
                ));
            }
            names.push(name);
        }
        Ok(Some(names))
    }

    fn one_of<T: Copy>(
        &self,
        key: &str,
        word: &Spanned<String>,
        choices: &[T],
        name: fn(T) -> &'static str,
    ) -> Result<T, TaskError> {
        let found = choices
            .iter()
            .find(|&&choice| name(choice) == word.get_ref());
        found.copied().ok_or_else(|| {
            let names: Vec<_> = choices.iter().map(|&choice| name(choice)).collect();
            self.at(
                word.span().start,
                &format!(
                    "`{key}` cannot be `{}`; did you mean `{}`? Known: {}",
                    word.get_ref(),
                    nearest(word.get_ref(), &names),
                    names.join(", ")
                ),
            )
        })
    }

    fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[T],
        name: fn(T) -> &'static str,
    ) -> Result<Option<T>, TaskError> {
        self.table
            .get(key)
            .map(|value| self.one_of(key, &self.text(key, value)?, choices, name))
            .transpose()
    }

    fn whole(&self, key: &str, least: i64, most: i64) -> Result<Option<u64>, TaskError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let Some(written) = value.get_ref().as_integer() else {
            return Err(self.wrong(key, value, "a whole number"));
        };
        let number = i64::from_str_radix(written.as_str(), written.radix()).ok();
        match number
            .filter(|n| (least..=most).contains(n))
            .and_then(|n| u64::try_from(n).ok())
        {
            Some(number) => Ok(Some(number)),
            None => Err(self.at(
                value.span().start,
                &format!("`{key}` must be a whole number from {least} to {most}"),
            )),
        }
    }

    /// Seconds as a whole number, or a text such as "90s", "15m" or "2h".
    fn seconds(&self, key: &str) -> Result<Option<u64>, TaskError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let Some(text) = value.get_ref().as_str() else {
            return self.whole(key, 1, 30 * 24 * 3600);
        };
        let (digits, unit) =
            text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
        let factor = match unit {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            _ => None,
        };
        let seconds = factor
            .zip(digits.trim().parse::<u64>().ok())
            .and_then(|(factor, count)| count.checked_mul(factor))
            .filter(|&seconds| seconds > 0);
        seconds.map(Some).ok_or_else(|| {
            self.at(
                value.span().start,
                &format!(
                    "`{key}` must be seconds (600) or a text such as \"90s\", \"15m\" or \"2h\""
                ),
            )
        })
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, TaskError> {
        match self.table.get(key) {
            None => Ok(None),
            Some(value) => match value.get_ref().as_bool() {
                Some(flag) => Ok(Some(flag)),
                None => Err(self.wrong(key, value, "true or false")),
            },
        }
    }

    fn section(&self, key: &str, title: &'static str) -> Result<Option<Section<'_>>, TaskError> {
        match self.table.get(key) {
            None => Ok(None),
            Some(value) => match value.get_ref().as_table() {
                Some(table) => Ok(Some(Section {
                    text: self.text,
                    title,
                    table,
                })),
                None => Err(self.wrong(key, value, &format!("a table, [{title}]"))),
            },
        }
    }
}

fn article(noun: &str) -> String {
    let vowel = noun.starts_with(['a', 'e', 'i', 'o', 'u']);
    format!("{} {noun}", if vowel { "an" } else { "a" })
}

/// The known word that takes the fewest edits; ties go to the first.
fn nearest<'n>(word: &str, known: &[&'n str]) -> &'n str {
    known
        .iter()
        .copied()
        .filter(|candidate| !NOT_YET.contains(candidate))
        .min_by_key(|candidate| strsim::damerau_levenshtein(word, candidate))
        .unwrap_or("")
}

#[cfg(test)]
mod tests;
