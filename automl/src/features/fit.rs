//! Fitting a pipeline: from the profile alone, so every fold shares it and no
//! label can leak into it.

use super::smooth::Smooth;
use super::spec::{Numbers, PipelineSpec, SmallNumbers};
use super::{Encoding, Input, Pipeline};
use crate::profile::{ColumnProfile, Levels, MIN_LEVEL_ROWS, NumberShape, Profile, Values};

/// Shares of rows below the bends of [`Numbers::Bent`].
const BENDS: [f64; 2] = [1.0 / 3.0, 2.0 / 3.0];
/// Points of the curve of [`Numbers::Rank`].
const RANK_POINTS: usize = 21;
/// Half the width of the uniform distribution with standard deviation one.
const RANK_HALF_WIDTH: f64 = 1.732_050_807_568_877_2;

impl Pipeline {
    /// Fits a pipeline to a profile.
    #[must_use]
    pub fn fit(profile: &Profile, spec: &PipelineSpec) -> Self {
        let inputs = profile.columns.iter().map(|column| input(column, spec));
        Self {
            key: profile.key,
            plan: profile.plan,
            target_column: profile.target_column.clone(),
            target: profile.target.clone(),
            inputs: inputs.filter(|input| input.width() > 0).collect(),
        }
    }
}

fn input(column: &ColumnProfile, spec: &PipelineSpec) -> Input {
    // A flag that hardly any row raises would be noise.
    let missing = column.missing >= MIN_LEVEL_ROWS;
    if let Numbers::Bins { most } = spec.numbers {
        return Input {
            column: column.name.clone(),
            texts: column.texts,
            flag: false,
            encoding: bins(column, most, spec),
        };
    }
    let (encoding, flag) = match &column.values {
        Values::Number {
            small: Some(levels),
            shape,
        } if are_codes(levels, shape, spec) => (one_hot(levels, missing), missing),
        Values::Number { shape, .. } => (number(shape, false, spec), missing && spec.missing_flags),
        Values::Date { shape } => (number(shape, true, spec), missing && spec.missing_flags),
        Values::Category(levels) => (one_hot(levels, missing), missing),
    };
    Input {
        column: column.name.clone(),
        texts: column.texts,
        flag,
        encoding,
    }
}

/// Bins of a column: of numbers at most `most` with about equally many rows in each.
fn bins(column: &ColumnProfile, most: usize, spec: &PipelineSpec) -> Encoding {
    let levels = |levels: &Levels| Encoding::LevelBins {
        coding: levels.coding.clone(),
        slots: levels.slots.clone(),
        other: levels.other > 0,
    };
    match &column.values {
        Values::Category(values) => levels(values),
        Values::Number {
            small: Some(values),
            shape,
        } if are_codes(values, shape, spec) => levels(values),
        Values::Number { shape, .. } => Encoding::Bins {
            date: false,
            cuts: shape.cuts(most),
        },
        Values::Date { shape } => Encoding::Bins {
            date: true,
            cuts: shape.cuts(most),
        },
    }
}

fn are_codes(levels: &Levels, shape: &NumberShape, spec: &PipelineSpec) -> bool {
    match spec.small {
        SmallNumbers::Quantities => false,
        // Values too rare to count as levels may be many; then it is a
        // quantity with a long tail.
        SmallNumbers::Codes { most } => {
            levels.slots.len() <= most && levels.other * 20 <= shape.rows
        }
    }
}

/// One feature a level. Of exactly two values the second says everything.
fn one_hot(levels: &Levels, missing: bool) -> Encoding {
    let mut slots = levels.slots.clone();
    let other = levels.other >= MIN_LEVEL_ROWS;
    if slots.len() == 2 && !other {
        slots.remove(0);
    } else if slots.len() == 1 && !other && missing {
        slots.clear();
    }
    if slots.is_empty() && !other {
        return Encoding::Missing {};
    }
    Encoding::Levels {
        coding: levels.coding.clone(),
        slots,
        other,
    }
}

fn number(shape: &NumberShape, date: bool, spec: &PipelineSpec) -> Encoding {
    if shape.sd <= 0.0 {
        return Encoding::Missing {};
    }
    let linear = |knots| Encoding::Linear {
        date,
        lo: shape.lo,
        hi: shape.hi,
        center: shape.mean,
        scale: shape.sd,
        knots,
    };
    match spec.numbers {
        Numbers::Standard => linear(Vec::new()),
        Numbers::Bent => {
            let mut knots: Vec<f64> = BENDS.iter().map(|&p| shape.quantile(p)).collect();
            knots.retain(|&knot| knot > shape.lo && knot < shape.hi);
            knots.dedup();
            linear(knots)
        }
        // Bins never come here; whoever adds a variant reads this.
        Numbers::Bins { .. } => linear(Vec::new()),
        Numbers::Smooth { pieces } => {
            Smooth::fit(shape, date, pieces).map_or(Encoding::Missing {}, Encoding::Smooth)
        }
        Numbers::Rank => rank(shape, date).unwrap_or_else(|| linear(Vec::new())),
    }
}

/// The middle rank at each point; points at the same value share one.
fn rank(shape: &NumberShape, date: bool) -> Option<Encoding> {
    let mut at: Vec<f64> = Vec::new();
    let mut to: Vec<f64> = Vec::new();
    for point in 0..RANK_POINTS {
        let share = point as f64 / (RANK_POINTS - 1) as f64;
        let value = shape.quantile(share);
        let scaled = (2.0 * share - 1.0) * RANK_HALF_WIDTH;
        match at.last() {
            Some(&last) if value <= last => {}
            _ => {
                at.push(value);
                to.push(scaled);
            }
        }
    }
    (at.len() > 2).then_some(Encoding::Curve { date, at, to })
}
