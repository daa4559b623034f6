//! Whether rows as they are now can still be scored with a pipeline of earlier rows.

use super::{Encoding, Input, Pipeline};
use crate::profile::{Coding, ColumnProfile, Profile, Source, TargetCoding, Votes};

impl Pipeline {
    /// Why rows like those of `profile` cannot be scored with this pipeline, naming the column;
    /// `None` where they can.
    ///
    /// A site would take a column that is gone, or has another type, for missing: every score
    /// would be a number, and mean nothing.
    #[must_use]
    pub fn unfit_for(&self, profile: &Profile) -> Option<String> {
        if let Some(reason) = self.other_target(profile) {
            return Some(reason);
        }
        self.inputs.iter().find_map(|input| {
            input.columns().into_iter().find_map(|name| {
                match profile.columns.iter().find(|c| c.name == name) {
                    None => Some(absent(name, profile)),
                    Some(column) => input.other_type(column),
                }
            })
        })
    }

    fn other_target(&self, profile: &Profile) -> Option<String> {
        let column = self.target_column();
        if column != profile.target_column {
            return Some(format!("it predicts `{column}`"));
        }
        match (self.target(), &profile.target) {
            (TargetCoding::Number { .. }, TargetCoding::Number { .. }) => None,
            (TargetCoding::Classes { labels: then }, TargetCoding::Classes { labels: now }) => {
                (then != now).then(|| {
                    format!(
                        "the classes of column `{column}` are {} now, and were {}",
                        now.join(", "),
                        then.join(", ")
                    )
                })
            }
            (_, TargetCoding::Number { .. }) => Some(format!(
                "column `{column}` is a number now, and was a class"
            )),
            (_, TargetCoding::Classes { .. }) => Some(format!(
                "column `{column}` is a class now, and was a number"
            )),
        }
    }
}

fn absent(name: &str, profile: &Profile) -> String {
    match profile.dropped.iter().find(|gone| gone.column == name) {
        Some(gone) => format!("column `{name}` cannot be used any more: {}", gone.reason),
        None => format!("column `{name}` is gone: no site has it"),
    }
}

impl Input {
    /// Says so where most cells of a column are not what this input reads.
    fn other_type(&self, column: &ColumnProfile) -> Option<String> {
        let Votes {
            numbers,
            texts,
            dates,
            ..
        } = column.votes;
        let (wanted, wrong, now) = match (self.source(), &self.encoding) {
            // What a transform makes of several columns says nothing of one of them.
            (Some(Source::Derived(_)), _) => return None,
            (Some(Source::Dates), _) => ("dates", dates * 2 < numbers + texts, "other values"),
            (Some(Source::Numbers), _) => ("numbers", texts > numbers, "texts"),
            (None, Encoding::Words { .. }) => ("texts", numbers > texts, "numbers"),
            (None, _) if self.coding() == Some(&Coding::Whole) => {
                ("numbers", texts > numbers, "texts")
            }
            (None, _) => return None,
        };
        wrong.then(|| {
            format!(
                "column `{}` holds {now} now, and held {wanted}",
                column.name
            )
        })
    }
}
