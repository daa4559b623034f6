//! Fitting a pipeline: from the profile alone, so every fold shares it.

use super::scores::{self, Scores};
use super::smooth::Smooth;
use super::spec::{Categories, Numbers, PipelineSpec, SmallNumbers};
use super::{Encoding, Input, Pipeline};
use crate::profile::{
    BinAsk, Bins as _, ColumnProfile, Levels, MIN_LEVEL_ROWS, NumberShape, PairProfile, Profile,
    Source, TargetAsk, TargetTable, Values, Words, most_frequent,
};

/// A category is encoded where more than one row in this many has a value without a level.
const OTHERS: u64 = 20;
/// With more classes than this a category is encoded by frequency, not class by class.
const MOST_CLASSES: usize = 8;
/// Most values of a category with a flag of their own beside its encoding.
const MOST_FLAGS: usize = 12;
/// A value has a flag where at least one row in this many has it.
const FLAGGED: u64 = 400;

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
        let spec = &within_classes(profile, spec);
        let own = profile.columns.iter();
        let derived = profile.derived.iter().filter(|_| spec.derived);
        let inputs = own.chain(derived).flat_map(|column| inputs(column, spec));
        let pairs = profile.pairs.iter().filter(|_| spec.pairs);
        let inputs = inputs.chain(pairs.filter_map(|pair| pair_input(pair, spec)));
        Self {
            key: profile.key,
            plan: profile.plan,
            target_column: profile.target_column.clone(),
            target: profile.target.clone(),
            missing_values: profile.missing_values.clone(),
            absent_is_missing: profile.absent_is_missing,
            inputs: inputs.filter(|input| input.width() > 0).collect(),
        }
    }
}

/// With too many classes to encode one by one levels stay what they are: frequencies in their place
/// would lose what they say.
fn within_classes(profile: &Profile, spec: &PipelineSpec) -> PipelineSpec {
    let many = profile.target.labels().len() > MOST_CLASSES;
    PipelineSpec {
        categories: match spec.categories {
            Categories::TargetAndFlags if many => Categories::Target,
            other => other,
        },
        ..*spec
    }
}

/// The inputs made of one column: its values, and for many values or words what stands
/// for these.
fn inputs(column: &ColumnProfile, spec: &PipelineSpec) -> Vec<Input> {
    let mut made = vec![input(column, spec)];
    if let Values::Category(levels) = &column.values
        && let Some(table) = &column.table
    {
        let encoded = encodings(column, levels, table, spec);
        if spec.categories == Categories::TargetAndFlags && !encoded.is_empty() {
            made = flags(column, table).into_iter().collect();
        }
        made.extend(encoded);
    }
    made
}

/// What the target is like in the cells of a pair.
fn pair_input(pair: &PairProfile, spec: &PipelineSpec) -> Option<Input> {
    let Scores { groups, values } = scores::target(&pair.table, 1)?;
    Some(Input {
        column: pair.name.clone(),
        texts: true,
        flag: false,
        encoding: Encoding::Pair {
            bins: Box::new(pair.table.bins.clone()),
            groups,
            values,
            as_bins: matches!(spec.numbers, Numbers::Bins { .. }),
        },
    })
}

/// Bins that single out the values which many rows have.
fn flags(column: &ColumnProfile, table: &TargetTable) -> Option<Input> {
    let BinAsk::Slots { coding, slots } = &table.bins else {
        return None;
    };
    let rows: u64 = (0..table.bins.bins()).map(|bin| table.rows(bin)).sum();
    let counted = slots.iter().zip(1..);
    let counted = counted.map(|(&slot, bin)| (slot, table.rows(bin)));
    let enough = counted.filter(|&(_, count)| count * FLAGGED >= rows);
    let flagged = most_frequent(enough, MOST_FLAGS);
    Some(Input {
        column: column.name.clone(),
        texts: column.texts,
        flag: false,
        encoding: Encoding::Levels {
            source: column.source.clone(),
            coding: coding.clone(),
            slots: flagged.into_iter().map(|(slot, _)| slot).collect(),
            other: false,
            as_bins: true,
        },
    })
}

fn input(column: &ColumnProfile, spec: &PipelineSpec) -> Input {
    // A flag that hardly any row raises would be noise.
    let missing = column.missing >= MIN_LEVEL_ROWS;
    let as_bins = matches!(spec.numbers, Numbers::Bins { .. });
    let (encoding, flag) = match (&column.values, spec.numbers) {
        (Values::Text(words), _) => (word_features(words, as_bins, spec), missing && spec.words),
        (Values::Ordinal(levels), _) => match order(column, levels, as_bins) {
            Some(encoding) => (encoding, missing && spec.missing_flags),
            None => (one_hot(levels, &column.source, missing), missing),
        },
        (_, Numbers::Bins { most }) => (bins(column, most, spec), false),
        (
            Values::Number {
                small: Some(levels),
                shape,
            },
            _,
        ) if are_codes(levels, shape, spec) => (one_hot(levels, &column.source, missing), missing),
        (Values::Number { shape, .. } | Values::Date { shape }, _) => (
            number(shape, &column.source, spec),
            missing && spec.missing_flags,
        ),
        (Values::Category(levels), _) => (one_hot(levels, &column.source, missing), missing),
    };
    Input {
        column: column.name.clone(),
        texts: column.texts,
        flag: flag && !as_bins,
        encoding,
    }
}

fn word_features(words: &Words, as_bins: bool, spec: &PipelineSpec) -> Encoding {
    if spec.words {
        Encoding::Words {
            buckets: words.buckets.clone(),
            as_bins,
        }
    } else {
        Encoding::Missing {}
    }
}

fn order(column: &ColumnProfile, levels: &Levels, as_bins: bool) -> Option<Encoding> {
    let values = levels.coding.slots();
    let found = scores::order(values, &levels.slots, &levels.counts)?;
    Some(Encoding::Scores {
        label: column.name.clone(),
        coding: levels.coding.clone(),
        slots: (0_u16..).take(values).collect(),
        groups: found.groups,
        values: found.values,
        as_bins,
    })
}

/// What stands for the values of a category that has more of them than levels.
fn encodings(
    column: &ColumnProfile,
    levels: &Levels,
    table: &TargetTable,
    spec: &PipelineSpec,
) -> Vec<Input> {
    let BinAsk::Slots { coding, slots } = &table.bins else {
        return Vec::new();
    };
    let named: u64 = levels.counts.iter().sum();
    let large = slots.len() > levels.slots.len() || levels.other * OTHERS > named;
    // Two values say no more by their targets than by themselves.
    let every = spec.categories == Categories::TargetAndFlags && slots.len() > 2;
    if !(large || every) {
        return Vec::new();
    }
    let classes = match &table.target {
        TargetAsk::Classes { labels } if labels.len() > 2 => labels.len(),
        _ => 1,
    };
    let frequency = || ("frequency", String::new(), scores::frequency(table));
    let mut found: Vec<(&str, String, Option<Scores>)> = match spec.categories {
        Categories::Levels => return Vec::new(),
        Categories::Target | Categories::TargetAndFlags if classes == 1 => {
            // Of two classes the second is the positive one.
            vec![("target", String::new(), scores::target(table, 1))]
        }
        Categories::Target | Categories::TargetAndFlags if classes <= MOST_CLASSES => {
            let each = table.target.labels().iter().enumerate();
            let each = each.map(|(class, label)| {
                ("target", format!(" {label}"), scores::target(table, class))
            });
            each.collect()
        }
        Categories::Target | Categories::TargetAndFlags | Categories::Frequency => {
            vec![frequency()]
        }
    };
    if spec.categories == Categories::TargetAndFlags {
        found.push(frequency());
    }
    let as_bins = matches!(spec.numbers, Numbers::Bins { .. });
    let inputs = found.into_iter().filter_map(|(what, of, scores)| {
        let Scores { groups, values } = scores?;
        Some(Input {
            column: column.name.clone(),
            texts: column.texts,
            flag: false,
            encoding: Encoding::Scores {
                label: format!("{} ({what}{of})", column.name),
                coding: coding.clone(),
                slots: slots.clone(),
                groups,
                values,
                as_bins,
            },
        })
    });
    inputs.collect()
}

/// Bins of a column: of numbers at most `most` with about equally many rows in each.
fn bins(column: &ColumnProfile, most: usize, spec: &PipelineSpec) -> Encoding {
    let levels = |levels: &Levels| Encoding::LevelBins {
        coding: levels.coding.clone(),
        slots: levels.slots.clone(),
        other: levels.other > 0,
    };
    match &column.values {
        Values::Category(values) | Values::Ordinal(values) => levels(values),
        Values::Number {
            small: Some(values),
            shape,
        } if are_codes(values, shape, spec) && !column.is_derived() => levels(values),
        Values::Number { shape, .. } | Values::Date { shape } => Encoding::Bins {
            source: column.source.clone(),
            cuts: shape.cuts(most),
        },
        Values::Text(_) => Encoding::Missing {},
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
fn one_hot(levels: &Levels, source: &Source, missing: bool) -> Encoding {
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
        source: source.clone(),
        coding: levels.coding.clone(),
        slots,
        other,
        as_bins: false,
    }
}

fn number(shape: &NumberShape, source: &Source, spec: &PipelineSpec) -> Encoding {
    if shape.sd <= 0.0 {
        return Encoding::Missing {};
    }
    let linear = |knots| Encoding::Linear {
        source: source.clone(),
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
        Numbers::Rank => rank(shape, source).unwrap_or_else(|| linear(Vec::new())),
        Numbers::Smooth { pieces } => {
            Smooth::fit(shape, source, pieces).map_or(Encoding::Missing {}, Encoding::Smooth)
        }
    }
}

/// The middle rank at each point; points at the same value share one.
fn rank(shape: &NumberShape, source: &Source) -> Option<Encoding> {
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
    (at.len() > 2).then(|| Encoding::Curve {
        source: source.clone(),
        at,
        to,
    })
}
