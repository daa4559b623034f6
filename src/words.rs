//! What a task asks of each site, in plain words.

use std::fmt::Write as _;

use collegium_automl::family::{self, Family, logistic};
use collegium_automl::noise::honest_shares;
use collegium_automl::profile::{ColumnKind, Profile};
use collegium_automl::split::{FOLDS, HOLDOUT_FROM};
use collegium_automl::task::{ColumnType, Preset, Task};
use collegium_crypto::params::Thresholds;
use serde_json::{Value, json};

/// Width of a line.
const WIDTH: usize = 100;
/// Where the text of a line begins.
const INDENT: usize = 12;
/// Key of a stage whose name is wider than that.
const LOCAL_SEARCH: &str = "local_search";

/// What is asked, and of whom.
pub(crate) struct Asks<'a> {
    pub(crate) task: &'a Task,
    pub(crate) columns: Columns<'a>,
    pub(crate) thresholds: Thresholds,
    pub(crate) sites: usize,
}

/// What is known of the columns of a table.
#[derive(Clone, Copy)]
pub(crate) enum Columns<'a> {
    /// Nothing.
    Unknown,
    /// What a first look at a table that was shown says.
    Profiled(&'a Profile),
    /// The names of those that a task may read at a site.
    Named(&'a [String]),
}

/// A column and what becomes of it.
struct Role {
    column: String,
    role: String,
}

impl Asks<'_> {
    /// The whole text.
    pub(crate) fn in_words(&self) -> String {
        let mut text = self.task.summary();
        text.push_str("\nWhat each site is asked for\n");
        for (title, words) in self.paragraphs() {
            paragraph(&mut text, title, &words);
        }
        text
    }

    /// The same for programs.
    pub(crate) fn as_json(&self) -> Value {
        let roles = |roles: Vec<Role>| {
            let pairs = roles
                .into_iter()
                .map(|it| (it.column, Value::from(it.role)));
            Value::Object(pairs.collect())
        };
        let (used, unused) = self.columns();
        let (tried, left_out) = self.families();
        json!({
            "columns": { "used": roles(used), "not_used": roles(unused) },
            "stages": self.stages().into_iter().map(|(stage, words)| (stage.to_owned(), words.into()))
                .collect::<serde_json::Map<_, _>>(),
            "min_contributors": self.thresholds.min_contributors,
            "sites": self.sites,
            "splits": self.splits(),
            "families": {
                "tried": tried.iter().map(|family| family.name()).collect::<Vec<_>>(),
                "not_tried": roles(left_out),
            },
        })
    }

    fn paragraphs(&self) -> Vec<(&'static str, String)> {
        let (used, unused) = self.columns();
        let list = |roles: &[Role]| {
            let roles = roles
                .iter()
                .map(|it| format!("{} ({})", it.column, it.role));
            roles.collect::<Vec<_>>().join(", ")
        };
        let mut paragraphs = vec![("columns", list(&used))];
        let undeclared = self.task.differential_privacy.is_none();
        if undeclared && matches!(self.columns, Columns::Unknown) {
            paragraphs.push((
                "",
                "and every other column of the sites' tables: a first look at counts tells numbers, \
                 dates, categories, free text and identifiers apart (--data FILE shows what comes \
                 of a table)"
                    .to_owned(),
            ));
        }
        if !unused.is_empty() {
            paragraphs.push(("not used", list(&unused)));
        }
        // Names of stages stand in a narrow column.
        let stages = self.stages().into_iter();
        paragraphs.extend(stages.map(|(stage, words)| match stage {
            LOCAL_SEARCH => ("at first", words),
            other => (other, words),
        }));
        paragraphs.push(("leaves", self.leaves()));
        paragraphs.push(("splits", self.splits()));
        let (tried, left_out) = self.families();
        let tried: Vec<_> = tried.iter().map(|family| family.name()).collect();
        paragraphs.push(("families", tried.join(", ")));
        if !left_out.is_empty() {
            paragraphs.push(("not tried", list(&left_out)));
        }
        paragraphs
    }

    /// The columns that are used, and the others, each with its role or the reason.
    fn columns(&self) -> (Vec<Role>, Vec<Role>) {
        let role = |column: &str, role: &str| Role {
            column: column.to_owned(),
            role: role.to_owned(),
        };
        let task = self.task;
        let mut used = vec![role(&task.target, "what is predicted")];
        used.extend(task.entity.iter().map(|it| role(it, "keeps rows together")));
        used.extend(task.split.iter().map(|it| role(it, "says train or test")));
        let named: Vec<String> = used.iter().map(|it| it.column.clone()).collect();
        let new = |column: &str| !named.iter().any(|known| known == column);
        let mut unused = Vec::new();
        match self.columns {
            Columns::Profiled(profile) => {
                let columns = profile.columns.iter();
                used.extend(columns.map(|it| role(&it.name, kind(it.kind))));
                let dropped = profile.dropped.iter().filter(|it| new(&it.column));
                unused.extend(dropped.map(|it| role(&it.column, &it.reason)));
                return (used, unused);
            }
            Columns::Named(names) => {
                let names = names.iter().filter(|it| new(it));
                let undeclared = names.filter(|it| !task.columns.contains_key(*it));
                used.extend(undeclared.map(|it| role(it, "as a first look finds it")));
            }
            Columns::Unknown => {}
        }
        for (column, rule) in task.columns.iter().filter(|(it, _)| new(it)) {
            match rule.r#type {
                ColumnType::Ignore => unused.push(role(column, "the task says \"ignore\"")),
                known => used.push(role(column, known.name())),
            }
        }
        let filter = task.constraints.privacy_filter.iter();
        unused.extend(filter.map(|it| role(it, "privacy_filter, by name or kind")));
        (used, unused)
    }

    /// What is asked in each stage.
    fn stages(&self) -> Vec<(&'static str, String)> {
        if self.task.differential_privacy.is_some() {
            return private_stages();
        }
        let (tried, _) = self.families();
        let sums: Vec<String> = tried
            .iter()
            .map(|family| format!("{}: {}", family.name(), sums_of(family.name())))
            .collect();
        let race = format!(
            "Of training rows, for all candidates of a step together: how many validation rows a \
             candidate got right, its summed losses and their squares; and what the families learn \
             from. {}.",
            sums.join(". ")
        );
        let mut stages = vec![
            (
                "profile",
                "Of training rows: the names of the columns; how many cells are numbers, dates, texts \
                 or missing; rows in bins of numbers and in buckets of hashed values and words (no \
                 value leaves a site); the same by target and fold, of columns and of pairs of columns; sums of clipped numbers, of \
                 their squares and products."
                    .to_owned(),
            ),
            ("race", race),
            (
                "ensemble",
                "Of validation rows, for the best models: the summed products of their errors, by \
                 group of rows."
                    .to_owned(),
            ),
            (
                "calibrate",
                "Of validation rows: the summed losses of a blend of models, and rows of each class \
                 by predicted score."
                    .to_owned(),
            ),
            (
                "compare",
                "In later rounds only. Rows in the bins and score bins of the round before, counted \
                 anew; of validation rows, the summed differences between the losses of the new \
                 champion and the one before, and their squares."
                    .to_owned(),
            ),
            (
                "test",
                "Of test rows, once, at the end and for the champion alone: its summed losses, and \
                 rows of each class by predicted score."
                    .to_owned(),
            ),
        ];
        if self.task.preset != Preset::Fast {
            let words = "Once before the race, where a family has more candidates than places in it: \
                         the site trains each of them alone, on a sample of its training rows, and \
                         keeps the models; how many rows validated one, its summed losses and \
                         their squares.";
            stages.insert(1, (LOCAL_SEARCH, words.to_owned()));
        }
        stages
    }

    fn leaves(&self) -> String {
        if let Some(privacy) = &self.task.differential_privacy {
            let shares = honest_shares(self.thresholds.min_contributors, self.sites);
            return format!(
                "Encrypted numbers and nothing else, each with the site's share of noise. Only sums \
                 are ever opened, and only over at least {} of {} sites; the noise of any {shares} \
                 of them is enough to keep epsilon {}, delta {} for each row, whatever the \
                 coordinator and the other sites know. policy.min_rows and policy.min_cell are of \
                 no effect, because a threshold on exact counts is what noise cannot hide.",
                self.thresholds.min_contributors, self.sites, privacy.epsilon, privacy.delta
            );
        }
        format!(
            "Encrypted numbers and nothing else. Only sums are ever opened, and only over at least \
             {} of {} sites; what a site has on fewer rows than its own policy.min_rows and \
             policy.min_cell say, it holds back.",
            self.thresholds.min_contributors, self.sites
        )
    }

    fn splits(&self) -> String {
        let test = match &self.task.split {
            Some(column) => format!("Column `{column}` says which rows are kept for the test."),
            None => "15 % of the rows, drawn by a hash of what they say, are kept for the test."
                .to_owned(),
        };
        let together = match &self.task.entity {
            Some(column) => format!(" Rows with the same `{column}` stay together."),
            None => String::new(),
        };
        if self.task.differential_privacy.is_some() {
            return format!("{test} All others train.{together}");
        }
        format!(
            "{test} Of the others each validates once in {FOLDS} folds; from {HOLDOUT_FROM} rows of \
             all sites on, 15 % of all rows validate instead.{together}"
        )
    }

    /// The families that are tried, and the others with the reason.
    fn families(&self) -> (Vec<&'static dyn Family>, Vec<Role>) {
        let limits = &self.task.constraints;
        let private = self.task.differential_privacy.is_some();
        let reason = |family: &dyn Family| {
            let named = limits.allowed_models.as_ref();
            if named.is_some_and(|all| !all.iter().any(|name| name == family.name())) {
                Some("not in allowed_models")
            } else if private && family.name() != logistic::NAME {
                Some("no bound on what one row adds, which differential privacy needs")
            } else if limits.interpretable_only && !family.interpretable() {
                Some("no person can read it")
            } else if !limits.monotone.is_empty() && !family.monotone() {
                Some("cannot promise monotone columns")
            } else {
                None
            }
        };
        let (mut tried, mut left_out) = (Vec::new(), Vec::new());
        for family in family::families() {
            match reason(family) {
                None => tried.push(family),
                Some(reason) => left_out.push(Role {
                    column: family.name().to_owned(),
                    role: reason.to_owned(),
                }),
            }
        }
        (tried, left_out)
    }
}

/// The same under differential privacy.
fn private_stages() -> Vec<(&'static str, String)> {
    vec![
        (
            "race",
            "Two or three times, of training rows: gradients by column and curvatures by pair of \
             columns of a logistic model, each row cut to a bounded length first. Columns are \
             scaled by what the task declares."
                .to_owned(),
        ),
        (
            "test",
            "Of test rows, once: rows of each class in 16 cells of the predicted probability."
                .to_owned(),
        ),
    ]
}

fn kind(kind: ColumnKind) -> &'static str {
    match kind {
        ColumnKind::Number => "number",
        ColumnKind::Boolean => "boolean",
        ColumnKind::Ordinal => "ordinal",
        ColumnKind::Category => "category",
        ColumnKind::Date => "date",
        ColumnKind::Text => "text",
    }
}

/// What a family learns from.
fn sums_of(family: &str) -> &'static str {
    match family {
        "logistic" => "gradients by column and curvatures by pair of columns",
        "scorecard" => "rows of each class by bin, then gradients and curvatures by group of bins",
        "ga2m" => {
            "rows of each class by bin, then gradients and curvatures by bin and by pair of bins"
        }
        "gbdt" => "gradients and curvatures by bin in the nodes of growing trees",
        "net" => "the changes that training at the site makes to a small network's weights",
        _ => "what its own asks say",
    }
}

/// Appends "  title     words", wrapped.
pub(crate) fn paragraph(text: &mut String, title: &str, words: &str) {
    let mut line = format!("  {title:<width$}", width = INDENT - 2);
    let mut empty = true;
    for word in words.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > WIDTH {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{line}");
            line = " ".repeat(INDENT);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    let _ = writeln!(text, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asks(task: &Task) -> String {
        let asks = Asks {
            task,
            columns: Columns::Unknown,
            thresholds: Thresholds::for_members(4).expect("thresholds"),
            sites: 4,
        };
        asks.in_words()
    }

    #[test]
    fn a_steward_reads_what_is_asked() {
        let task = Task::from_toml(
            "name = \"t\"\ntarget = \"ill\"\nentity = \"patient\"\n\
             [constraints]\ninterpretable_only = true\nprivacy_filter = [\"phone\"]\n\
             monotone = { age = \"increasing\" }\n\
             [columns]\nage = \"number\"\nnote = \"ignore\"\n",
        )
        .expect("a task");
        let text = asks(&task);
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ");
        for part in [
            "ill (what is predicted)",
            "patient (keeps rows together)",
            "age (number)",
            "note (the task says \"ignore\")",
            "phone (privacy_filter, by name or kind)",
            "at least 3 of 4 sites",
            "15 % of the rows",
            "5 folds",
            "families scorecard, ga2m",
            "logistic (cannot promise monotone columns)",
            "net (no person can read it)",
        ] {
            assert!(text.contains(part), "{part} is missing in:\n{text}");
        }
    }

    #[test]
    fn lines_are_wrapped_under_their_title() {
        let mut text = String::new();
        paragraph(&mut text, "title", &"word ".repeat(40));
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines.len() == 3 && lines.iter().all(|line| line.len() <= WIDTH));
        assert!(lines[0].starts_with("  title     word"));
        assert!(lines[1].starts_with("            word"));
    }
}
