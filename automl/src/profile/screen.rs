//! The first look at derived columns, at the many values of large categories
//! and at words, all by target: what is worth a feature is decided here.

use serde::{Deserialize, Serialize};

use super::decide::Taken;
use super::slots::{Coding, SlotKey, WHOLE_SLOTS, whole_slot};
use super::source::{Quantities, Source};
use super::tally::{self, strength};
use super::target::{Tallies, Tally, TargetAsk};
use super::words::{self, MAX_WORDS, WORD_BUCKETS, Words};
use super::{FINE_BUCKETS, MIN_LEVEL_ROWS, grid};
use crate::ask::{Encoder, Segment};
use crate::data::{SiteData, SiteDataError};
use crate::features::transform::{self, Derived};
use crate::table::{Cell, MAX_ROWS};
use crate::task::Task;

/// Most derived columns that are looked at, with the columns they are made of.
pub const MAX_SCREENED: usize = 512;
/// Most columns of many values, and of free text.
pub const MAX_LARGE: usize = 32;
/// Most derived columns that become features.
const MAX_DERIVED: usize = 12;
/// Most derived columns made of one and the same column.
const MAX_OF_ONE: usize = 3;
/// A derived column must beat each column it is made of by this much, relative
/// and absolute (an information value of 0.02 is where "weak" begins).
const GAIN: (f64, f64) = (1.05, 0.02);
/// The same for the share of a numeric target's variance.
const GAIN_NUMBER: (f64, f64) = (1.05, 0.01);

/// A column of [`ProfilePart::Screen`](super::ProfilePart::Screen).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScreenColumn {
    /// Its name.
    pub name: String,
    /// Where its numbers come from.
    pub source: Source,
}

/// The columns of one screening.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ScreenAsk {
    /// Key of the hash buckets.
    pub key: SlotKey,
    /// What is counted in each cell.
    pub target: TargetAsk,
    /// Columns of numbers, derived ones and those they are made of.
    pub columns: Vec<ScreenColumn>,
    /// Categories with many values, counted in fine buckets.
    pub large: Vec<String>,
    /// Columns of free text, whose words are counted by target.
    pub texts: Vec<String>,
}

impl ScreenAsk {
    pub(super) fn segments(&self) -> Vec<Segment> {
        let rows = |count: usize| Segment::Count {
            max: MAX_ROWS as u64,
            count,
        };
        let mut segments = Vec::new();
        for _ in &self.columns {
            segments.push(rows(1 + WHOLE_SLOTS));
            segments.extend(self.target.segments(grid::COARSE_CELLS));
        }
        segments.extend(self.large.iter().map(|_| rows(FINE_BUCKETS)));
        for _ in &self.texts {
            segments.extend(self.target.segments(WORD_BUCKETS));
        }
        segments
    }

    pub(super) fn check(&self) -> Result<(), String> {
        self.target.check()?;
        if self.columns.len() > MAX_SCREENED
            || self.large.len() > MAX_LARGE
            || self.texts.len() > MAX_LARGE
        {
            return Err("too many columns are screened".to_owned());
        }
        self.columns
            .iter()
            .try_for_each(|column| column.source.check(&column.name))
    }

    pub(super) fn column_names(&self) -> Vec<&str> {
        let read = self
            .columns
            .iter()
            .flat_map(|column| column.source.columns(&column.name));
        let other = self.large.iter().chain(&self.texts).map(String::as_str);
        read.chain(other).collect()
    }

    /// One site's answer.
    pub(super) fn answer(&self, data: &SiteData, out: &mut Encoder) -> Result<(), SiteDataError> {
        let tallies = data.tallies(&self.target);
        for column in &self.columns {
            let (whole, cells) = self.numbers(data, column, &tallies)?;
            data.put(out, whole)?;
            put(out, cells.figures)?;
        }
        for name in &self.large {
            data.put(out, fine(data, self.key, name))?;
        }
        for name in &self.texts {
            put(out, self.words(data, name, &tallies).figures)?;
        }
        Ok(())
    }

    fn numbers(
        &self,
        data: &SiteData,
        column: &ScreenColumn,
        tallies: &[Option<Tally>],
    ) -> Result<(Vec<u64>, Tallies), SiteDataError> {
        let numbers = Quantities::new(data.table(), &column.name, &column.source)
            .map_err(|what| SiteDataError::Survey { what })?;
        let mut whole = vec![0; 1 + WHOLE_SLOTS];
        let mut cells = Tallies::new(&self.target, grid::COARSE_CELLS);
        for (&row, tally) in data.train_rows().iter().zip(tallies) {
            let (Some(number), Some(tally)) = (numbers.get(row as usize), *tally) else {
                continue;
            };
            whole[0] += u64::from(libm::floor(number) == number);
            if let Some(slot) = whole_slot(number) {
                whole[1 + slot] += 1;
            }
            cells.add(grid::coarse_cell(number), tally);
        }
        cells.withhold(&self.target, data.policy().min_cell);
        Ok((whole, cells))
    }

    fn words(&self, data: &SiteData, name: &str, tallies: &[Option<Tally>]) -> Tallies {
        let mut counts = Tallies::new(&self.target, WORD_BUCKETS);
        if let Some(column) = data.table().column(name) {
            let known: Vec<Vec<u16>> = column
                .dictionary()
                .iter()
                .map(|text| words::buckets(self.key, name, text))
                .collect();
            for (&row, tally) in data.train_rows().iter().zip(tallies) {
                let (Some(code), Some(tally)) = (column.code(row as usize), *tally) else {
                    continue;
                };
                for &bucket in known.get(code).into_iter().flatten() {
                    counts.add(usize::from(bucket), tally);
                }
            }
        }
        counts.withhold(&self.target, data.policy().min_cell);
        counts
    }
}

fn put(out: &mut Encoder, figures: Vec<u64>) -> Result<(), SiteDataError> {
    figures
        .into_iter()
        .try_for_each(|figure| out.count(figure).map_err(SiteDataError::from))
}

/// Rows in each fine bucket of a category.
fn fine(data: &SiteData, key: SlotKey, name: &str) -> Vec<u64> {
    let coding = Coding::FineBuckets;
    let mut counts = vec![0; FINE_BUCKETS];
    if let Some(column) = data.table().column(name) {
        let texts = column.dictionary().iter();
        let slots: Vec<Option<usize>> = texts
            .map(|text| coding.slot(key, name, Cell::Text(text)))
            .collect();
        for &row in data.train_rows() {
            let row = row as usize;
            let slot = match (column.number(row), column.code(row)) {
                (Some(number), _) => coding.slot(key, name, Cell::Number(number)),
                (None, Some(code)) => slots.get(code).copied().flatten(),
                (None, None) => None,
            };
            if let Some(slot) = slot {
                counts[slot] += 1;
            }
        }
    }
    counts
}

/// A column of numbers after the screening.
pub(super) struct Screened {
    pub(super) column: ScreenColumn,
    pub(super) rows: u64,
    pub(super) whole_numbers: u64,
    pub(super) whole: Vec<u64>,
    pub(super) coarse: Vec<u64>,
    /// See [`super::TargetTable::strength`].
    strength: f64,
}

/// What came out of a screening.
#[derive(Default)]
pub(super) struct Found {
    /// Derived columns worth a feature.
    pub(super) derived: Vec<Screened>,
    /// Rows in the fine buckets of each large category, in the order of the ask.
    pub(super) large: Vec<(String, Vec<u64>)>,
    /// Words of each column of text, in the order of the ask.
    pub(super) texts: Vec<(String, Words)>,
}

/// The ask of a screening; `None` when there is nothing to look at.
pub(super) fn ask(
    task: &Task,
    target: TargetAsk,
    taken: &[Taken<'_>],
    rows: u64,
) -> Option<ScreenAsk> {
    let known: Vec<transform::Known<'_>> = taken.iter().map(|column| column.known(rows)).collect();
    let mut columns: Vec<ScreenColumn> = Vec::new();
    for transform in transform::all() {
        for derived in transform.suggest(&known) {
            let inputs: Vec<ScreenColumn> = derived
                .columns
                .iter()
                .filter(|name| !columns.iter().any(|column| column.name == **name))
                .filter_map(|name| taken.iter().find(|taken| taken.column.name == *name))
                .filter_map(Taken::screened)
                .collect();
            let taken_name = |name: &str| {
                columns.iter().any(|column| column.name == name)
                    || taken.iter().any(|taken| taken.column.name == name)
            };
            let fits = columns.len() + inputs.len() < MAX_SCREENED;
            let usable = derived.columns.iter().all(|name| {
                // What is made of a column that a prediction may follow in one direction
                // only could lead it in the other.
                taken.iter().any(|taken| taken.column.name == *name)
                    && !task.constraints.monotone.contains_key(name)
            });
            if usable && fits && !taken_name(&derived.name) && derived.function().is_ok() {
                columns.extend(inputs);
                columns.push(ScreenColumn {
                    name: derived.name.clone(),
                    source: Source::Derived(derived),
                });
            }
        }
    }
    let named = |wanted: fn(&Taken<'_>) -> bool| {
        let names = taken.iter().filter(|taken| wanted(taken));
        names
            .map(|taken| taken.column.name.clone())
            .take(MAX_LARGE)
            .collect::<Vec<_>>()
    };
    let ask = ScreenAsk {
        key: SlotKey::of(task),
        target,
        columns,
        large: named(|taken| taken.is_large()),
        texts: named(|taken| taken.is_text()),
    };
    (!ask.columns.is_empty() || !ask.large.is_empty() || !ask.texts.is_empty()).then_some(ask)
}

/// Reads the totals of a screening.
pub(super) fn read(ask: &ScreenAsk, segments: Vec<Vec<u64>>) -> Found {
    let figures = ask.target.segments(1).len();
    let mut segments = segments.into_iter();
    let by_target = |bins: usize, segments: &mut std::vec::IntoIter<Vec<u64>>| {
        let figures: Vec<u64> = segments.by_ref().take(figures).flatten().collect();
        (0..bins)
            .map(|bin| figures.iter().skip(bin).step_by(bins).copied().collect())
            .collect::<Vec<Vec<u64>>>()
    };
    let mut screened = Vec::new();
    for column in &ask.columns {
        let whole = segments.next().unwrap_or_default();
        let cells = by_target(grid::COARSE_CELLS, &mut segments);
        let coarse: Vec<u64> = cells
            .iter()
            .map(|cell| tally::rows(&ask.target, cell))
            .collect();
        screened.push(Screened {
            column: column.clone(),
            rows: coarse.iter().sum(),
            whole_numbers: whole.first().copied().unwrap_or(0),
            whole: whole.get(1..).unwrap_or_default().to_vec(),
            strength: strength(&ask.target, &cells),
            coarse,
        });
    }
    let large = ask
        .large
        .iter()
        .map(|name| (name.clone(), segments.next().unwrap_or_default()))
        .collect();
    let texts = ask
        .texts
        .iter()
        .map(|name| {
            let buckets = by_target(WORD_BUCKETS, &mut segments);
            (name.clone(), telling(&ask.target, &buckets))
        })
        .collect();
    Found {
        derived: best(&ask.target, screened),
        large,
        texts,
    }
}

/// The derived columns that say more than what they are made of, best first.
fn best(target: &TargetAsk, screened: Vec<Screened>) -> Vec<Screened> {
    let (factor, margin) = match target {
        TargetAsk::Classes { .. } => GAIN,
        TargetAsk::Number { .. } => GAIN_NUMBER,
    };
    let strengths: Vec<(String, f64)> = screened
        .iter()
        .map(|column| (column.column.name.clone(), column.strength))
        .collect();
    let of_inputs = |derived: &Derived| {
        let inputs = strengths
            .iter()
            .filter(|(name, _)| derived.columns.contains(name));
        inputs.map(|(_, strength)| *strength).fold(0.0, f64::max)
    };
    let mut gains: Vec<(f64, Derived, Screened)> = Vec::new();
    for column in screened {
        let Source::Derived(derived) = &column.column.source else {
            continue;
        };
        let inputs = of_inputs(derived);
        let must_gain = transform::find(&derived.transform).is_none_or(|known| known.screened());
        if !must_gain || column.strength > (inputs * factor).max(inputs + margin) {
            gains.push((column.strength - inputs, derived.clone(), column));
        }
    }
    // Names break ties, so that the order is the same everywhere.
    gains.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.name.cmp(&b.1.name)));
    let mut kept: Vec<(Derived, Screened)> = Vec::new();
    for (_, derived, column) in gains {
        let crowded = derived.columns.iter().any(|input| {
            kept.iter()
                .filter(|(other, _)| other.columns.contains(input))
                .count()
                >= MAX_OF_ONE
        });
        if kept.len() < MAX_DERIVED && !crowded {
            kept.push((derived, column));
        }
    }
    kept.into_iter().map(|(_, column)| column).collect()
}

/// The words whose presence tells most about the target, among those that enough
/// rows have.
fn telling(target: &TargetAsk, buckets: &[Vec<u64>]) -> Words {
    let total: Vec<u64> = buckets.iter().fold(Vec::new(), |mut sum, bucket| {
        sum.resize(bucket.len(), 0);
        sum.iter_mut().zip(bucket).for_each(|(sum, n)| *sum += n);
        sum
    });
    let mut found: Vec<(f64, u16, u64)> = Vec::new();
    for (bucket, figures) in (0_u16..).zip(buckets) {
        let rows = tally::rows(target, figures);
        if rows < MIN_LEVEL_ROWS {
            continue;
        }
        // Against the words of all rows: how many rows lack the word is not known here,
        // and for rare words it makes no difference.
        let rest: Vec<u64> = total
            .iter()
            .zip(figures)
            .map(|(all, own)| all - own)
            .collect();
        let told = strength(target, &[figures.clone(), rest]);
        if told > 0.0 {
            found.push((told, bucket, rows));
        }
    }
    found.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    found.truncate(MAX_WORDS);
    found.sort_by_key(|&(_, bucket, _)| bucket);
    Words {
        buckets: found.iter().map(|&(_, bucket, _)| bucket).collect(),
        counts: found.iter().map(|&(_, _, rows)| rows).collect(),
    }
}
