//! One table of a task file, with what is needed to complain about it well.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::TaskError;
use super::file::{CONSTRAINT_KEYS, TOP_KEYS};

/// Longest name of a task, a column or a class, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Keys that the design reserves and this version cannot honour. Taking them
/// and doing nothing would be a lie to whoever wrote them.
const NOT_YET: [&str; 3] = ["max_model_size", "max_latency", "images"];
/// A section that some expect, for two keys that stand elsewhere.
const FEATURE_CONSTRAINTS: &str = "feature_constraints";
/// What people call the section of differential privacy.
const PRIVACY: &str = "privacy";

/// One table of the file.
pub(super) struct Section<'a> {
    pub(super) text: &'a str,
    pub(super) title: &'static str,
    pub(super) table: &'a DeTable<'a>,
}

pub(super) fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(offset)
        .filter(|&&b| b == b'\n')
        .count()
        + 1
}

impl<'a> Section<'a> {
    pub(super) fn at(&self, offset: usize, problem: &str) -> TaskError {
        TaskError::At {
            line: line_of(self.text, offset),
            problem: problem.to_owned(),
        }
    }

    pub(super) fn at_key(&self, key: &str, problem: &str) -> TaskError {
        match self.table.get(key) {
            Some(value) => self.at(value.span().start, problem),
            None => TaskError::Syntax(problem.to_owned()),
        }
    }

    pub(super) fn refuse_unknown(&self, known: &[&str]) -> Result<(), TaskError> {
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
            } else if self.title.is_empty() && name == PRIVACY {
                "unknown key `privacy`; did you mean `differential_privacy`?".to_owned()
            } else if name == FEATURE_CONSTRAINTS {
                format!(
                    "`{name}`{place} is no section: put `temporal_check` and `privacy_filter` under [constraints]"
                )
            } else if self.title.is_empty() && CONSTRAINT_KEYS.contains(&name) {
                format!("`{name}` belongs under [constraints]; move it there")
            } else if !self.title.is_empty() && TOP_KEYS.contains(&name) {
                format!(
                    "`{name}` belongs at the top of the file, before every [section]; move it there"
                )
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
            DeValue::Integer(number)
                if matches!(key, "positive" | "classes" | "values" | "missing") =>
            {
                number.as_str().to_owned()
            }
            DeValue::Boolean(flag)
                if matches!(key, "positive" | "classes" | "values" | "missing") =>
            {
                flag.to_string()
            }
            _ => return Err(self.wrong(key, value, "a text in quotes")),
        };
        Ok(Spanned::new(value.span(), text))
    }

    pub(super) fn name(&self, key: &str) -> Result<Option<String>, TaskError> {
        self.table
            .get(key)
            .map(|value| self.checked_name(key, &self.text(key, value)?))
            .transpose()
    }

    pub(super) fn strings(
        &self,
        key: &str,
        value: &Spanned<DeValue<'_>>,
    ) -> Result<Vec<Spanned<String>>, TaskError> {
        let Some(items) = value.get_ref().as_array() else {
            return Err(self.wrong(key, value, "a list of texts, such as [\"a\", \"b\"]"));
        };
        items.iter().map(|item| self.text(key, item)).collect()
    }

    pub(super) fn names(&self, key: &str, most: usize) -> Result<Option<Vec<String>>, TaskError> {
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

    pub(super) fn one_of<T: Copy>(
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

    pub(super) fn choice<T: Copy>(
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

    pub(super) fn whole(&self, key: &str, least: i64, most: i64) -> Result<Option<u64>, TaskError> {
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

    /// A number, with or without a point.
    pub(super) fn number(
        &self,
        key: &str,
        least: f64,
        most: f64,
    ) -> Result<Option<f64>, TaskError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let number = match value.get_ref() {
            DeValue::Float(written) => written.as_str().parse::<f64>().ok(),
            DeValue::Integer(written) => i64::from_str_radix(written.as_str(), written.radix())
                .ok()
                .map(|number| number as f64),
            _ => return Err(self.wrong(key, value, "a number")),
        };
        match number.filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(self.at(
                value.span().start,
                &format!("`{key}` must be a number from {least} to {most}"),
            )),
        }
    }

    /// Seconds as a whole number, or a text such as "90s", "15m" or "2h"; 30 days at most.
    pub(super) fn seconds(&self, key: &str) -> Result<Option<u64>, TaskError> {
        self.duration(key, 30 * 24 * 3600)
    }

    /// Seconds as a whole number up to `most`, or a text such as "90s", "15m", "24h" or "7d".
    pub(super) fn duration(&self, key: &str, most: i64) -> Result<Option<u64>, TaskError> {
        let Some(value) = self.table.get(key) else {
            return Ok(None);
        };
        let Some(text) = value.get_ref().as_str() else {
            return self.whole(key, 1, most);
        };
        let (digits, unit) =
            text.split_at(text.len() - text.chars().last().map_or(0, char::len_utf8));
        let factor = match unit {
            "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            "d" => Some(24 * 3600),
            _ => None,
        };
        let seconds = factor
            .zip(digits.trim().parse::<u64>().ok())
            .and_then(|(factor, count)| count.checked_mul(factor))
            .filter(|&seconds| seconds > 0 && i64::try_from(seconds).is_ok_and(|s| s <= most));
        seconds.map(Some).ok_or_else(|| {
            self.at(
                value.span().start,
                &format!(
                    "`{key}` must be seconds (600) or a text such as \"90s\", \"15m\", \"2h\" or \"7d\", \
                     {} days at most",
                    most / (24 * 3600)
                ),
            )
        })
    }

    pub(super) fn flag(&self, key: &str) -> Result<Option<bool>, TaskError> {
        match self.table.get(key) {
            None => Ok(None),
            Some(value) => match value.get_ref().as_bool() {
                Some(flag) => Ok(Some(flag)),
                None => Err(self.wrong(key, value, "true or false")),
            },
        }
    }

    pub(super) fn section(
        &self,
        key: &str,
        title: &'static str,
    ) -> Result<Option<Section<'_>>, TaskError> {
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
