//! What a candidate is trained with.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::model::{MAX_FOREST, MAX_STAGES};
use super::tree::MAX_DEPTH;
use crate::family::monotone;

/// Hyperparameters of boosted trees. Names and meanings are XGBoost's and
/// LightGBM's, where they have them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GbdtHyperparameters {
    /// What the values of a stage's leaves are multiplied by: above 0, at most 1.
    pub learning_rate: f64,
    /// Levels of splits: 1 to 8. A stage takes as many steps.
    pub max_depth: u8,
    /// Trees that grow side by side in a stage and are averaged: 1 to 16. They
    /// cost numbers, not steps.
    #[serde(default = "one")]
    pub forest: u8,
    /// Share of the rows a tree sees: above 0, at most 1.
    #[serde(default = "whole")]
    pub row_share: f64,
    /// Share of the columns a tree sees: above 0, at most 1.
    #[serde(default = "whole")]
    pub column_share: f64,
    /// L2 penalty on leaf values, at least 0.
    #[serde(default = "whole")]
    pub lambda: f64,
    /// Smallest Hessian sum of a leaf. A row's Hessian is at most 1/4 for two
    /// classes and 1 for numbers, so that a leaf of 1 holds at least four rows,
    /// or one.
    #[serde(default = "whole")]
    pub min_hessian: f64,
    /// Smallest gain of a split, at least 0.
    #[serde(default)]
    pub min_gain: f64,
    /// L2 penalty more on splits of categories with more than four levels.
    #[serde(default = "ten")]
    pub category_lambda: f64,
    /// Hessian that draws the order of rare levels towards the middle.
    #[serde(default = "ten")]
    pub category_smoothing: f64,
    /// Hessian that draws a leaf's value towards its parent's, at least 0.
    #[serde(default)]
    pub smoothing: f64,
    /// Most splits of a level of a tree, the best ones: 1 to 128.
    #[serde(default = "all_splits")]
    pub level_splits: u8,
    /// Most stages.
    #[serde(default = "many_stages")]
    pub max_stages: u32,
    /// Columns along which predictions may only rise (1) or fall (-1).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub monotone: BTreeMap<String, i8>,
}

fn one() -> u8 {
    1
}

fn whole() -> f64 {
    1.0
}

fn ten() -> f64 {
    10.0
}

fn all_splits() -> u8 {
    1 << (MAX_DEPTH - 1)
}

fn many_stages() -> u32 {
    1000
}

impl GbdtHyperparameters {
    /// One tree a stage over all rows and columns.
    #[must_use]
    pub fn new(learning_rate: f64, max_depth: u8) -> Self {
        Self {
            learning_rate,
            max_depth,
            forest: one(),
            row_share: whole(),
            column_share: whole(),
            lambda: whole(),
            min_hessian: whole(),
            min_gain: 0.0,
            category_lambda: ten(),
            category_smoothing: ten(),
            smoothing: 0.0,
            level_splits: all_splits(),
            max_stages: many_stages(),
            monotone: BTreeMap::new(),
        }
    }

    /// Checks every bound.
    ///
    /// # Errors
    /// Names the hyperparameter that is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        let within = |name: &str, value: f64, least: f64, most: f64| {
            // Least itself is out of bounds where it is a share or a rate.
            let open = most == 1.0;
            let fits = value <= most && (value > least || (!open && value == least));
            fits.then_some(())
                .ok_or_else(|| format!("`{name}` is {value}, allowed are {least} to {most}"))
        };
        within("learning_rate", self.learning_rate, 0.0, 1.0)?;
        within("row_share", self.row_share, 0.0, 1.0)?;
        within("column_share", self.column_share, 0.0, 1.0)?;
        for (name, value) in [
            ("lambda", self.lambda),
            ("min_hessian", self.min_hessian),
            ("min_gain", self.min_gain),
            ("category_lambda", self.category_lambda),
            ("category_smoothing", self.category_smoothing),
            ("smoothing", self.smoothing),
        ] {
            within(name, value, 0.0, 1e9)?;
        }
        for (name, value, most) in [
            ("max_depth", u64::from(self.max_depth), u64::from(MAX_DEPTH)),
            ("forest", u64::from(self.forest), u64::from(MAX_FOREST)),
            ("level_splits", u64::from(self.level_splits), 128),
            ("max_stages", u64::from(self.max_stages), MAX_STAGES as u64),
        ] {
            if value == 0 || value > most {
                return Err(format!("`{name}` is {value}, allowed are 1 to {most}"));
            }
        }
        monotone::check(&self.monotone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_fill_what_is_left_out() {
        let json = r#"{"learning_rate":0.3,"max_depth":6}"#;
        let read: GbdtHyperparameters = serde_json::from_str(json).expect("hyperparameters");
        assert_eq!(read, GbdtHyperparameters::new(0.3, 6));
        assert_eq!(read.check(), Ok(()));
        let unknown = r#"{"learning_rate":0.3,"max_depth":6,"eta":0.1}"#;
        assert!(serde_json::from_str::<GbdtHyperparameters>(unknown).is_err());
    }

    #[test]
    fn what_is_out_of_bounds_is_named() {
        let good = GbdtHyperparameters::new(0.3, 6);
        let bad = |change: fn(&mut GbdtHyperparameters)| {
            let mut changed = good.clone();
            change(&mut changed);
            changed.check().expect_err("out of bounds")
        };
        for (message, name) in [
            (bad(|h| h.learning_rate = 0.0), "learning_rate"),
            (bad(|h| h.learning_rate = f64::NAN), "learning_rate"),
            (bad(|h| h.row_share = 1.5), "row_share"),
            (bad(|h| h.lambda = -1.0), "lambda"),
            (bad(|h| h.smoothing = f64::INFINITY), "smoothing"),
            (bad(|h| h.max_depth = 9), "max_depth"),
            (bad(|h| h.forest = 0), "forest"),
            (bad(|h| h.max_stages = 5000), "max_stages"),
            (
                bad(|h| {
                    h.monotone.insert("age".to_owned(), 2);
                }),
                "age",
            ),
        ] {
            assert!(message.contains(name), "{message}");
        }
    }
}
