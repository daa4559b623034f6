//! The last three steps: distributions, and bins by target.

use std::collections::BTreeMap;

use super::decide::{self, Role, Surveyed, Taken};
use super::part::{MAX_BITS, MAX_TABLE_NUMBERS, MomentsColumn, ProfilePart, RefineColumn};
use super::run::{Sum, one};
use super::screen::{self, Found, Screened};
use super::slots::SlotKey;
use super::tally::{BinAsk, Bins as _, TableColumn, TargetTable};
use super::{
    ColumnProfile, Gram, GramColumn, MAX_CELLS, MAX_ENCODED, MAX_GRAM, NumberShape, ProfileError,
    ProfileSums, Source, TargetAsk, Values, Votes, grid,
};
use crate::ask::MAX_CODE;
use crate::split::SplitPlan;
use crate::task::Task;

/// Share of rows clipped at each end of a column of numbers.
const TAIL: f64 = 0.005;

/// Columns with the rows in each of their cells.
pub(super) type Counted = Vec<(RefineColumn, Vec<u64>)>;

/// The first grids, and beside them the screening.
pub(super) fn first_look(
    task: &Task,
    ask: &TargetAsk,
    target: Option<&Surveyed>,
    taken: &[Taken<'_>],
    rows: u64,
    sum: &mut Sum<'_>,
) -> Result<(Counted, Found), ProfileError> {
    let cells = grid::cells_each(taken.len() + 1);
    let mut columns: Vec<RefineColumn> = taken
        .iter()
        .filter_map(|taken| taken.refined(cells))
        .collect();
    if let (TargetAsk::Number { .. }, Some(target)) = (ask, target) {
        columns.push(target.refined(Source::Numbers, cells));
        columns.sort_by(|a, b| a.name.cmp(&b.name));
    }
    let screening = screen::ask(task, ask.clone(), taken, rows);
    let mut parts = Vec::new();
    if !columns.is_empty() {
        parts.push(ProfilePart::Refine {
            columns: columns.clone(),
        });
    }
    parts.extend(screening.clone().map(ProfilePart::Screen));
    if parts.is_empty() {
        return Ok((Vec::new(), Found::default()));
    }
    let mut sums = sum(&parts)?.into_iter();
    let mut next = || sums.next().map(|sums: ProfileSums| sums.segments);
    let counted = if columns.is_empty() {
        Vec::new()
    } else {
        let segments = next().ok_or(ProfileError::Totals("cells"))?;
        columns.into_iter().zip(segments).collect()
    };
    let found = match screening {
        Some(ask) => screen::read(&ask, next().ok_or(ProfileError::Totals("screening"))?),
        None => Found::default(),
    };
    Ok((counted, found))
}

/// The grids again where the rows are, and those of derived columns.
pub(super) fn second_look(
    surveyed: &[Surveyed],
    coarse: Counted,
    found: &Found,
    sum: &mut Sum<'_>,
) -> Result<Counted, ProfileError> {
    let cells = grid::cells_each(coarse.len() + found.derived.len());
    let mut columns: Vec<RefineColumn> = coarse
        .iter()
        .filter_map(|(column, counts)| {
            let known = surveyed.iter().find(|known| known.name == column.name)?;
            Some(known.again(column, counts, cells))
        })
        .collect();
    let derived = found
        .derived
        .iter()
        .map(|screened| decide::derived_grid(screened, cells));
    // A derived column without a single value has no grid.
    columns.extend(derived.filter(|column| column.edges.len() > 1));
    columns.sort_by(|a, b| a.name.cmp(&b.name));
    if columns.is_empty() {
        return Ok(Vec::new());
    }
    let part = ProfilePart::Refine {
        columns: columns.clone(),
    };
    let sums = one(part, sum)?;
    Ok(columns.into_iter().zip(sums.segments).collect())
}

/// What the last step needs to know.
pub(super) struct Last<'t> {
    pub(super) task: &'t Task,
    pub(super) key: SlotKey,
    pub(super) target: &'t TargetAsk,
    pub(super) rows: u64,
    pub(super) plan: SplitPlan,
}

/// What the last step finds out, by column.
#[derive(Default)]
pub(super) struct Looks {
    pub(super) shapes: BTreeMap<String, NumberShape>,
    pub(super) tables: BTreeMap<String, TargetTable>,
    pub(super) gram: Option<Gram>,
}

/// Moments, tables and the Gram matrix.
pub(super) fn last_look(
    last: &Last<'_>,
    counted: Counted,
    taken: &[Taken<'_>],
    large: &BTreeMap<String, Vec<u64>>,
    sum: &mut Sum<'_>,
) -> Result<Looks, ProfileError> {
    let (bits, rows) = precision(last.rows);
    let asks: Vec<MomentsColumn> = counted
        .iter()
        .map(|(column, counts)| {
            // Of a target no value is clipped away: its tails are what errors
            // are made of.
            let tail = if column.name == last.task.target {
                0.0
            } else {
                TAIL
            };
            bounds(column, counts, tail)
        })
        .collect();
    let target = last.target_between(&counted);
    let tables = last.tables(&counted, taken, large, &target);
    let gram = last.gram(&counted, &asks);
    let mut parts = Vec::new();
    if !asks.is_empty() {
        parts.push(ProfilePart::Moments {
            bits,
            rows,
            columns: asks.clone(),
        });
    }
    if !tables.is_empty() {
        parts.push(ProfilePart::Tables {
            key: last.key,
            plan: last.plan,
            target: target.clone(),
            columns: tables.clone(),
        });
    }
    if !gram.is_empty() {
        parts.push(ProfilePart::Gram {
            bits,
            rows,
            target: target.clone(),
            columns: gram.clone(),
        });
    }
    let mut looks = Looks::default();
    if parts.is_empty() {
        return Ok(looks);
    }
    let sums = sum(&parts)?;
    for (part, sums) in parts.iter().zip(sums) {
        match part {
            ProfilePart::Moments { .. } => looks.take_moments(&counted, &asks, bits, sums)?,
            ProfilePart::Tables { .. } => looks.take_tables(last.plan, &target, &tables, sums),
            _ => {
                looks.gram = Some(Gram {
                    bits,
                    columns: gram.clone(),
                    target: target.clone(),
                    sums: sums.segments.into_iter().flatten().collect(),
                });
            }
        }
    }
    Ok(looks)
}

impl Last<'_> {
    /// The target between its own clipped bounds, now that these are known.
    fn target_between(&self, counted: &Counted) -> TargetAsk {
        let found = counted
            .iter()
            .find(|(column, _)| column.name == self.task.target);
        match (self.target, found) {
            (TargetAsk::Number { .. }, Some((column, counts))) => {
                let MomentsColumn { lo, hi, .. } = bounds(column, counts, TAIL);
                TargetAsk::Number { lo, hi }
            }
            (target, _) => target.clone(),
        }
    }

    /// Every column's bins, as many as the step has room for.
    fn tables(
        &self,
        counted: &Counted,
        taken: &[Taken<'_>],
        large: &BTreeMap<String, Vec<u64>>,
        target: &TargetAsk,
    ) -> Vec<TableColumn> {
        let (mut bins, mut levels) = (MAX_CELLS, MAX_ENCODED);
        loop {
            let mut columns: Vec<TableColumn> = counted
                .iter()
                .filter(|(column, _)| column.name != self.task.target)
                .map(|(column, counts)| TableColumn {
                    name: column.name.clone(),
                    bins: BinAsk::Cuts {
                        source: column.source.clone(),
                        cuts: grid::cuts(&column.edges, counts, bins),
                    },
                })
                .collect();
            columns.extend(taken.iter().filter_map(|taken| {
                Some(TableColumn {
                    name: taken.column.name.clone(),
                    bins: taken.counted_slots(large.get(&taken.column.name), levels)?,
                })
            }));
            columns.sort_by(|a, b| a.name.cmp(&b.name));
            let all: usize = columns.iter().map(|column| column.bins.bins()).sum();
            let numbers = all * self.plan.groups() * target.figures();
            if numbers <= MAX_TABLE_NUMBERS || bins <= 4 {
                return columns;
            }
            (bins, levels) = (bins / 2, (levels / 2).max(1));
        }
    }

    fn gram(&self, counted: &Counted, asks: &[MomentsColumn]) -> Vec<GramColumn> {
        let columns = counted.iter().zip(asks).filter(|((column, _), _)| {
            column.name != self.task.target && !matches!(column.source, Source::Derived(_))
        });
        let columns = columns.map(|((column, counts), ask)| GramColumn {
            name: column.name.clone(),
            source: column.source.clone(),
            lo: ask.lo,
            hi: ask.hi,
            fill: grid::quantile(&column.edges, counts, 0.5).clamp(ask.lo, ask.hi),
        });
        columns.take(MAX_GRAM).collect()
    }
}

/// Where a column's numbers are clipped: at the quantiles of `tail`, or at the
/// ends of its grid where nearly all rows share one value.
fn bounds(column: &RefineColumn, counts: &[u64], tail: f64) -> MomentsColumn {
    let edges = &column.edges;
    let ends = (
        edges.first().copied().unwrap_or(0.0),
        edges.last().copied().unwrap_or(1.0),
    );
    let lo = grid::quantile(edges, counts, tail);
    let hi = grid::quantile(edges, counts, 1.0 - tail);
    let one_cell = grid::cell(edges, lo) == grid::cell(edges, hi);
    let (lo, hi) = if tail == 0.0 || one_cell {
        ends
    } else {
        (lo, hi)
    };
    MomentsColumn {
        name: column.name.clone(),
        source: column.source.clone(),
        lo,
        hi,
    }
}

impl Looks {
    fn take_moments(
        &mut self,
        counted: &Counted,
        asks: &[MomentsColumn],
        bits: u32,
        sums: ProfileSums,
    ) -> Result<(), ProfileError> {
        let [rows, sum, squares] = <[Vec<u64>; 3]>::try_from(sums.segments)
            .map_err(|_| ProfileError::Totals("moments"))?;
        for (place, ((column, counts), ask)) in counted.iter().zip(asks).enumerate() {
            let at = |list: &Vec<u64>| list.get(place).copied().unwrap_or(0);
            let (mean, sd) = mean_and_deviation(ask, bits, at(&rows), at(&sum), at(&squares));
            let shape = NumberShape {
                rows: at(&rows),
                edges: column.edges.clone(),
                counts: counts.clone(),
                lo: ask.lo,
                hi: ask.hi,
                mean,
                sd,
            };
            self.shapes.insert(column.name.clone(), shape);
        }
        Ok(())
    }

    fn take_tables(
        &mut self,
        plan: SplitPlan,
        target: &TargetAsk,
        columns: &[TableColumn],
        sums: ProfileSums,
    ) {
        let each = target.segments(1).len();
        let mut segments = sums.segments.into_iter();
        for column in columns {
            let table = TargetTable {
                bins: column.bins.clone(),
                target: target.clone(),
                plan,
                figures: segments.by_ref().take(each).flatten().collect(),
            };
            self.tables.insert(column.name.clone(), table);
        }
    }

    /// A derived column, put together; `None` where it turned out to be constant.
    pub(super) fn derived(&mut self, screened: &Screened, rows: u64) -> Option<ColumnProfile> {
        let name = &screened.column.name;
        let shape = self.shapes.remove(name).filter(|shape| shape.sd > 0.0)?;
        let table = self.tables.remove(name);
        let small = decide::derived_levels(screened);
        Some(ColumnProfile {
            name: name.clone(),
            kind: decide::kind_of_number(small.as_ref()),
            votes: Votes::default(),
            source: screened.column.source.clone(),
            missing: rows.saturating_sub(shape.rows),
            texts: true,
            strength: table.as_ref().map_or(0.0, TargetTable::strength),
            table,
            values: Values::Number { shape, small },
        })
    }
}

impl Taken<'_> {
    /// The slots to count by target, the most frequent ones where there is not room for
    /// all; `None` for numbers and texts. `fine` counts the values of a large category.
    fn counted_slots(&self, fine: Option<&Vec<u64>>, most: usize) -> Option<BinAsk> {
        let levels = match (&self.role, fine) {
            (Role::Category { levels, .. }, Some(counts)) => {
                decide::levels(levels.coding.clone(), counts, 0, most)
            }
            (Role::Category { levels, .. }, None) => self.column.every_level(levels, most),
            (Role::Ordinal(levels), _) => levels.clone(),
            _ => return None,
        };
        Some(BinAsk::Slots {
            coding: levels.coding,
            slots: levels.slots,
        })
    }

    /// Puts the column together, now that its distribution is known; else its name and
    /// why it is not used.
    pub(super) fn finished(self, looks: &mut Looks) -> Result<ColumnProfile, (String, String)> {
        let name = self.column.name.clone();
        let gone = |reason: &str| Err((name.clone(), reason.to_owned()));
        let shape = looks.shapes.remove(&name);
        let table = looks.tables.remove(&name);
        let kind = self.kind();
        let source = self.source().unwrap_or_default();
        let values = match (self.role, shape) {
            (Role::Category { levels, .. }, _) => Values::Category(levels),
            (Role::Ordinal(levels), _) => Values::Ordinal(levels),
            (Role::Text(words), _) => Values::Text(words),
            (_, None) => return gone("its distribution is not known"),
            (_, Some(shape)) if shape.sd == 0.0 && self.missing == 0 => {
                return gone("it is the same in every training row");
            }
            (Role::Number(small), Some(shape)) => Values::Number { shape, small },
            (Role::Date, Some(shape)) => Values::Date { shape },
        };
        Ok(ColumnProfile {
            name,
            kind,
            votes: self.column.votes(),
            source,
            missing: self.missing,
            texts: self.texts,
            values,
            strength: table.as_ref().map_or(0.0, TargetTable::strength),
            table,
        })
    }
}

/// The finest quantization whose sums of squares fit a code, and the rows that
/// one site may have: twice the total, so that a site that missed the survey
/// still fits.
pub(super) fn precision(train_rows: u64) -> (u32, u64) {
    let rows = (2 * train_rows).next_power_of_two();
    let spare = (MAX_CODE / rows).max(4).ilog2();
    ((spare / 2).clamp(1, MAX_BITS), rows)
}

/// Mean and standard deviation from exact integers.
fn mean_and_deviation(
    ask: &MomentsColumn,
    bits: u32,
    rows: u64,
    sum: u64,
    squares: u64,
) -> (f64, f64) {
    if rows == 0 {
        return (ask.lo, 0.0);
    }
    let step = (ask.hi - ask.lo) / f64::from(1_u32 << bits);
    let mean = ask.lo + step * (sum as f64 / rows as f64);
    // rows·squares < 2^30·2^53 and sum² < 2^106 fit 128 bits, so nothing
    // cancels.
    let (rows, sum, squares) = (u128::from(rows), u128::from(sum), u128::from(squares));
    let spread = (rows * squares).saturating_sub(sum * sum);
    let variance = spread as f64 / (rows * rows) as f64;
    (mean, step * libm::sqrt(variance))
}
