//! A pipeline from what the task declares alone, for tasks whose data may not say how columns are
//! scaled or which values there are.

use super::{Encoding, Input, Pipeline, TargetCoding};
use crate::profile::{Coding, SlotKey, Source};
use crate::split::SplitPlan;
use crate::table::canonical_text;
use crate::task::{ColumnRule, ColumnType, Task};

/// Mean square that a feature is taken to have: of a number between its bounds, a little more
/// than if it was uniform between them; of a flag for one of two values; of the flags for several
/// values, one of which is 1, together.
const SQUARES: [f64; 3] = [0.35, 0.5, 1.0];

impl Pipeline {
    /// The features of a task with differential privacy, and the length of a usual row of them
    /// with a 1 beside them: numbers from -1 to 1 between their bounds, a flag for each value of a
    /// category, one flag where there are two; a missing cell is 0 throughout.
    #[must_use]
    pub fn declared(task: &Task) -> (Self, f64) {
        let used = task
            .columns
            .iter()
            .filter(|(name, _)| **name != task.target);
        let made: Vec<(Input, f64)> = used.filter_map(|(name, rule)| input(name, rule)).collect();
        let square: f64 = 1.0 + made.iter().map(|(_, square)| square).sum::<f64>();
        let pipeline = Self {
            key: SlotKey::of(task),
            plan: SplitPlan::Holdout,
            target_column: task.target.clone(),
            target: TargetCoding::Classes {
                labels: labels(task),
            },
            missing_values: task.missing_values(),
            absent_is_missing: false,
            inputs: made.into_iter().map(|(input, _)| input).collect(),
        };
        (pipeline, libm::sqrt(square))
    }
}

/// The two classes, the one of interest last.
fn labels(task: &Task) -> Vec<String> {
    let mut labels: Vec<String> = task.classes.iter().map(|it| canonical_text(it)).collect();
    let positive = task.positive.as_ref().map(|it| canonical_text(it));
    if labels.first() == positive.as_ref() {
        labels.reverse();
    }
    labels
}

/// One column's features, with the mean square that they are taken to have together.
fn input(name: &str, rule: &ColumnRule) -> Option<(Input, f64)> {
    let (encoding, square) = match (rule.r#type, rule.range) {
        (ColumnType::Number, Some(range)) => {
            let linear = Encoding::Linear {
                source: Source::Numbers,
                lo: range.min,
                hi: range.max,
                center: range.min + (range.max - range.min) / 2.0,
                scale: (range.max - range.min) / 2.0,
                knots: Vec::new(),
            };
            (linear, SQUARES[0])
        }
        (ColumnType::Category | ColumnType::Ordinal, _) if rule.values.len() > 1 => {
            let two = rule.values.len() == 2;
            // Of two values the second says everything.
            let slots = (0_u16..).take(rule.values.len()).skip(usize::from(two));
            let levels = Encoding::Levels {
                source: Source::Numbers,
                coding: Coding::Vocabulary(rule.values.clone()),
                slots: slots.collect(),
                other: false,
                as_bins: false,
            };
            (levels, SQUARES[if two { 1 } else { 2 }])
        }
        _ => return None,
    };
    let input = Input {
        column: name.to_owned(),
        texts: true,
        flag: false,
        encoding,
    };
    Some((input, square))
}
