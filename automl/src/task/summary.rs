//! A task in plain words, for the people whose data it is about.

use std::fmt::Write as _;

use super::{ColumnType, Kind, Metric, Task};

impl Task {
    /// What the task asks for, in plain words, one sentence a line.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = String::new();
        let what = match self.kind {
            Some(Kind::Classification) => "which class a row belongs to",
            Some(Kind::Regression) => "a number",
            None => "a class or a number (found out from the data)",
        };
        // Writing to a String cannot fail.
        let _ = writeln!(
            text,
            "Task `{}` predicts column `{}`: {what}.",
            self.name, self.target
        );
        if let Some(positive) = &self.positive {
            let _ = writeln!(text, "The class of interest is `{positive}`.");
        }
        if !self.classes.is_empty() {
            let _ = writeln!(text, "The classes are {}.", self.classes.join(", "));
        }
        let metric = self
            .metric
            .map_or("log_loss, or rmse for a number", Metric::name);
        let _ = writeln!(
            text,
            "Candidates are ranked by {metric}; the search is `{}`, seed {}.",
            self.preset.name(),
            self.seed
        );
        if let Some(entity) = &self.entity {
            let _ = writeln!(text, "Rows with the same `{entity}` stay in one split.");
        }
        match &self.split {
            Some(column) => {
                let _ = writeln!(
                    text,
                    "Column `{column}` says which rows are train and test."
                );
            }
            None => {
                let _ = writeln!(text, "15 % of the rows are kept for one test at the end.");
            }
        }
        self.summarize_limits(&mut text);
        self.summarize_rounds(&mut text);
        self.summarize_privacy(&mut text);
        text
    }

    fn summarize_privacy(&self, text: &mut String) {
        let Some(privacy) = &self.differential_privacy else {
            return;
        };
        let _ = writeln!(
            text,
            "Sites add noise to everything they send, so that the run is differentially private: \
             epsilon {}, delta {} for one row, added or removed (of several rows of one person \
             each counts for itself). Only the family `logistic` is trained, on the columns \
             declared here; there are four steps at most.",
            privacy.epsilon, privacy.delta
        );
    }

    fn summarize_rounds(&self, text: &mut String) {
        let begin = match (self.rounds, self.every) {
            (None | Some(1), None) => return,
            (Some(rounds), None) => {
                format!("The search is done {rounds} times, one round after the other")
            }
            (None, Some(seconds)) => format!(
                "The search is done again every {}, until somebody cancels the next round",
                span(seconds)
            ),
            (Some(rounds), Some(seconds)) => format!(
                "The search is done again every {}, {rounds} rounds in all",
                span(seconds)
            ),
        };
        let _ = writeln!(
            text,
            "{begin}: each round reads the sites' data as they are then, tells how far they have \
             moved, and replaces the model only by one that is better by more than chance."
        );
    }

    fn summarize_limits(&self, text: &mut String) {
        let limits = &self.constraints;
        if let Some(models) = &limits.allowed_models {
            let names: Vec<_> = models.iter().map(String::as_str).collect();
            let _ = writeln!(
                text,
                "Only these model families are tried: {}.",
                names.join(", ")
            );
        }
        if limits.interpretable_only {
            let _ = writeln!(text, "Only models that a person can read are tried.");
        }
        if let Some(rule) = self.decision {
            let _ = writeln!(text, "Rows are called positive by {}.", rule.words());
        }
        if limits.one_model() {
            let _ = writeln!(text, "The champion is one model, not a blend of several.");
        }
        for (column, direction) in &limits.monotone {
            let _ = writeln!(
                text,
                "A larger `{column}` may move a prediction only one way: {}.",
                direction.name()
            );
        }
        if !limits.privacy_filter.is_empty() {
            let _ = writeln!(
                text,
                "Never used: columns that are or look like {}.",
                limits.privacy_filter.join(", ")
            );
        }
        if limits.temporal_check {
            let _ = writeln!(
                text,
                "Columns that look as if written after the prediction are refused."
            );
        }
        if let Some(steps) = self.max_steps {
            let _ = writeln!(text, "The search ends after at most {steps} steps.");
        }
        if let Some(seconds) = self.time_budget {
            let _ = writeln!(text, "The search ends after about {seconds} seconds.");
        }
        if limits.absent_is_missing() {
            let _ = writeln!(text, "A column that a site lacks is missing there.");
        }
        for (column, values) in self.missing_values() {
            let values = values.join(", ");
            let _ = writeln!(text, "In column `{column}` these mean missing: {values}.");
        }
        for (column, rule) in &self.columns {
            let _ = match rule.r#type {
                ColumnType::Auto => Ok(()),
                ColumnType::Ignore => writeln!(text, "Column `{column}` is not used."),
                other => writeln!(text, "Column `{column}` is a {}.", other.name()),
            };
        }
    }
}

/// A time in the largest unit that it is a whole number of: "24 hours", "90 seconds".
fn span(seconds: u64) -> String {
    let units = [(24 * 3600, "day"), (3600, "hour"), (60, "minute")];
    let unit = units
        .iter()
        .find(|(length, _)| seconds.is_multiple_of(*length));
    let (count, word) = unit.map_or((seconds, "second"), |(length, word)| {
        (seconds / length, word)
    });
    format!("{count} {word}{}", if count == 1 { "" } else { "s" })
}
