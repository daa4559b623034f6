//! What a round says about itself and the one before: how far the rows moved, and which champion
//! goes on.

use serde::{Deserialize, Serialize};

use crate::features::Dropped;
use crate::model::Lineage;
use crate::profile::Drift;

/// A population stability index from here on is worth a look.
pub const SHIFTED: f64 = 0.1;
/// And from here on says that the rows have moved.
pub const MOVED: f64 = 0.25;
/// An index has to be so many times what chance would show: a tenth is nothing among fifty rows.
const ABOVE_CHANCE: f64 = 2.0;

/// A round among others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundReport {
    /// Which round it was, from 1.
    pub number: u32,
    /// Which champion goes on, and why.
    pub verdict: Verdict,
    /// How far the rows have moved since the round before; `None` in a first round.
    pub drift: Option<RoundDrift>,
    /// Steps of this round, and the hash over its asks and totals: what a replay of its journal
    /// must reach, whichever champion goes on.
    pub lineage: Lineage,
}

/// Which champion goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// There was none before.
    First,
    /// That of the round before.
    Kept,
    /// That of this round.
    Replaced,
}

/// The decision with its reasons. Losses are over the validation rows of this round, never over
/// test rows, after calibration: nats, or squared error in squared scales of the target.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What was decided.
    pub decision: Decision,
    /// Why, in words.
    pub reason: String,
    /// The champion of the round before, in a few words.
    pub incumbent: Option<String>,
    /// The best of this round, in a few words.
    pub challenger: String,
    /// Mean loss of the incumbent on the rows that validate for both.
    pub incumbent_loss: Option<f64>,
    /// Mean loss of the challenger on the same rows.
    pub challenger_loss: Option<f64>,
    /// Mean of incumbent's less challenger's loss, row by row: positive where the challenger is
    /// better.
    pub gain: Option<f64>,
    /// Its standard error.
    pub gain_se: Option<f64>,
    /// The rows that both were compared on.
    pub rows: u64,
}

/// How far the rows have moved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RoundDrift {
    /// How far the scores of the incumbent have moved; the class with the largest index where
    /// there are more than two. `None` for a number, and where it could not be scored.
    pub score: Option<Drift>,
    /// Every column that both rounds have, by name; free text is left out.
    pub columns: Vec<Drift>,
    /// Columns of the round before that this one does not use, with the reason.
    pub gone: Vec<Dropped>,
    /// Columns that the round before did not have.
    pub new: Vec<String>,
}

impl RoundReport {
    /// What people need to know of the round, a sentence or two each; nothing of a first round.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let what = match self.verdict.decision {
            Decision::First if self.number == 1 => return Vec::new(),
            Decision::First => "starts anew",
            Decision::Kept => "keeps its champion",
            Decision::Replaced => "has a new champion",
        };
        let mut words = vec![format!(
            "Round {} {what}: {}.",
            self.number, self.verdict.reason
        )];
        words.extend(self.drift.iter().flat_map(RoundDrift::words));
        words
    }
}

impl RoundDrift {
    /// What has moved, in words, a sentence each; one sentence where nothing has.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        let mut words = Vec::new();
        for (level, what) in [
            (Level::Moved, "moved far"),
            (Level::Shifted, "shifted somewhat"),
        ] {
            let mut columns: Vec<&Drift> = self
                .columns
                .iter()
                .filter(|drift| Level::of(drift) == level)
                .collect();
            columns.sort_by(|a, b| b.psi.total_cmp(&a.psi));
            if !columns.is_empty() {
                let names = columns
                    .iter()
                    .map(|drift| format!("{} ({:.2})", drift.column, drift.psi));
                let names = names.collect::<Vec<_>>().join(", ");
                let bound = if level == Level::Moved {
                    MOVED
                } else {
                    SHIFTED
                };
                words.push(format!(
                    "Since the round before, columns {what} (PSI above {bound}): {names}."
                ));
            }
        }
        if words.is_empty() && !self.columns.is_empty() {
            words.push(format!(
                "Since the round before, no column has moved: every PSI is below {SHIFTED} or within chance."
            ));
        }
        if let Some(score) = &self.score {
            let what = match Level::of(score) {
                Level::Moved => "have moved far",
                Level::Shifted => "have shifted somewhat",
                Level::Stable => "are spread as before",
            };
            words.push(format!(
                "The scores of the champion so far {what} (PSI {:.2}).",
                score.psi
            ));
        }
        for gone in &self.gone {
            words.push(format!(
                "Column {} is not used any more: {}.",
                gone.column, gone.reason
            ));
        }
        if !self.new.is_empty() {
            words.push(format!("New columns: {}.", self.new.join(", ")));
        }
        words
    }
}

/// How an index is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Level {
    Stable,
    Shifted,
    Moved,
}

impl Level {
    fn of(drift: &Drift) -> Self {
        if drift.psi < drift.chance * ABOVE_CHANCE || drift.psi < SHIFTED {
            Self::Stable
        } else if drift.psi < MOVED {
            Self::Shifted
        } else {
            Self::Moved
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drift(column: &str, psi: f64, chance: f64) -> Drift {
        Drift {
            column: column.to_owned(),
            psi,
            chance,
        }
    }

    #[test]
    fn what_moved_is_named_and_chance_is_not() {
        let mut moved = RoundDrift {
            score: Some(drift("score", 0.12, 0.01)),
            columns: vec![
                drift("age", 0.4, 0.01),
                drift("calm", 0.02, 0.01),
                drift("few rows", 0.3, 0.2),
                drift("weight", 0.15, 0.01),
                drift("zip", 0.9, 0.01),
            ],
            gone: Vec::new(),
            new: vec!["height".to_owned()],
        };
        assert_eq!(
            moved.words(),
            [
                "Since the round before, columns moved far (PSI above 0.25): zip (0.90), age (0.40).",
                "Since the round before, columns shifted somewhat (PSI above 0.1): weight (0.15).",
                "The scores of the champion so far have shifted somewhat (PSI 0.12).",
                "New columns: height.",
            ]
        );
        moved.columns.retain(|drift| drift.column == "few rows");
        assert!(
            moved.words()[0].contains("no column has moved"),
            "{moved:?}"
        );
    }
}
