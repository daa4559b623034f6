//! How a site answers the asks of the profile: one pass over the training rows
//! per column, whole numbers only.

use super::pairs::PairsAsk;
use super::part::{ColumnAsk, MomentsColumn, ProfilePart, RefineColumn, TYPE_COUNTS};
use super::sentinel::{self, SUSPECTS};
use super::slots::{Coding, SlotKey, WHOLE_SLOTS, whole_slot};
use super::source::Quantities;
use super::tally::TargetTable;
use super::target::TargetAsk;
use super::{classes, decide, gram, grid, schema, words};
use crate::ask::Encoder;
use crate::data::{SiteData, SiteDataError};
use crate::table::{Cell, Column, days_since_epoch};

/// Answers one part.
///
/// # Errors
/// [`SiteDataError`] when the part asks about a column that the task's filters
/// protect, or about more rows than it has room for.
pub(crate) fn answer(
    data: &SiteData,
    part: &ProfilePart,
    out: &mut Encoder,
) -> Result<(), SiteDataError> {
    for name in part.column_names() {
        data.allowed(name)?;
    }
    follows_from_task(data, part)?;
    match part {
        ProfilePart::Schema { attempt } => {
            let names: Vec<&str> = data.table().columns().iter().map(Column::name).collect();
            let table = schema::encode(*attempt, &names).ok_or(SiteDataError::Schema)?;
            put(out, table)
        }
        ProfilePart::Survey {
            key,
            columns,
            classes,
        } => {
            put(out, data.shown_counts())?;
            data.put(out, class_counts(data, classes))?;
            columns
                .iter()
                .try_for_each(|column| data.put(out, survey(data, *key, column)))
        }
        ProfilePart::Refine { columns } => columns
            .iter()
            .try_for_each(|column| data.put(out, refine(data, column)?)),
        ProfilePart::Screen(ask) => ask.answer(data, out),
        ProfilePart::Moments {
            bits,
            rows,
            columns,
        } => {
            room_for(data, *rows)?;
            let sums: Vec<[u64; 3]> = columns
                .iter()
                .map(|column| moments(data, column, *bits))
                .collect::<Result<_, _>>()?;
            (0..3).try_for_each(|which| put(out, sums.iter().map(|sum| sum[which])))
        }
        ProfilePart::Tables {
            key,
            plan,
            target,
            columns,
        } => {
            let tallies = data.grouped_tallies(target, *plan);
            columns.iter().try_for_each(|column| {
                let counts = TargetTable::count(data, column, *plan, *key, &tallies, target)?;
                put(out, counts)
            })
        }
        ProfilePart::Pairs(ask) => ask.answer(data, out),
        ProfilePart::Gram {
            bits,
            rows,
            target,
            columns,
        } => {
            room_for(data, *rows)?;
            put(out, gram::answer(data, columns, target, *bits)?)
        }
    }
}

fn room_for(data: &SiteData, rows: u64) -> Result<(), SiteDataError> {
    if data.counts().train > rows {
        return Err(SiteDataError::TooManyRows { most: rows });
    }
    Ok(())
}

/// Refuses an ask whose vocabularies, classes or key are not the task's own.
fn follows_from_task(data: &SiteData, part: &ProfilePart) -> Result<(), SiteDataError> {
    let task = data.task();
    let other = |what: String| Err(SiteDataError::Survey { what });
    if part.key().is_some_and(|key| key != SlotKey::of(task)) {
        return other("hash buckets".to_owned());
    }
    if let Some(TargetAsk::Classes { labels }) = part.target()
        && !labels
            .iter()
            .all(|label| classes::known(&task.classes, label))
    {
        return other("the classes of the target".to_owned());
    }
    if let ProfilePart::Survey {
        columns, classes, ..
    } = part
    {
        if *classes != task.classes {
            return other("the classes of the target".to_owned());
        }
        let odd = columns
            .iter()
            .find(|column| column.coding != decide::coding(task, &column.name));
        if let Some(column) = odd {
            return other(format!("the values of column `{}`", column.name));
        }
    }
    if let ProfilePart::Tables { columns, .. } | ProfilePart::Pairs(PairsAsk { columns, .. }) = part
    {
        let odd = columns
            .iter()
            .find(|column| !column.bins.follows_from(task, &column.name));
        if let Some(column) = odd {
            return other(format!("the values of column `{}`", column.name));
        }
    }
    Ok(())
}

fn put(out: &mut Encoder, counts: impl IntoIterator<Item = u64>) -> Result<(), SiteDataError> {
    counts
        .into_iter()
        .try_for_each(|count| out.count(count).map_err(SiteDataError::from))
}

fn class_counts(data: &SiteData, declared: &[String]) -> Vec<u64> {
    let mut counts = vec![0; classes::count(declared)];
    let target = data.target();
    for &row in data.train_rows() {
        if let Some(slot) = classes::slot(declared, target.cell(row as usize)) {
            counts[slot] += 1;
        }
    }
    counts
}

/// What a distinct text of a column counts as, worked out once.
struct TextFacts {
    days: Option<i64>,
    slot: Option<usize>,
    suspect: Option<usize>,
    sentence: bool,
}

impl TextFacts {
    fn of(text: &str, key: SlotKey, ask: &ColumnAsk) -> Self {
        Self {
            days: days_since_epoch(text),
            slot: ask.coding.slot(key, &ask.name, Cell::Text(text)),
            suspect: sentinel::text(text),
            sentence: words::is_sentence(text),
        }
    }
}

/// The counts of one column of the survey.
struct Counts {
    types: [u64; TYPE_COUNTS],
    coarse: Vec<u64>,
    dates: Vec<u64>,
    whole: Vec<u64>,
    suspects: Vec<u64>,
    slots: Vec<u64>,
}

impl Counts {
    fn number(&mut self, number: f64, key: SlotKey, ask: &ColumnAsk) {
        self.types[0] += 1;
        self.coarse[grid::coarse_cell(number)] += 1;
        self.types[3] += u64::from(libm::floor(number) == number);
        let small = whole_slot(number);
        if let Some(slot) = small {
            self.whole[slot] += 1;
        }
        if let Some(suspect) = sentinel::number(number) {
            self.suspects[suspect] += 1;
        }
        let slot = match ask.coding {
            Coding::Whole => small,
            _ => ask.coding.slot(key, &ask.name, Cell::Number(number)),
        };
        if let Some(slot) = slot {
            self.slots[slot] += 1;
        }
    }

    fn text(&mut self, fact: &TextFacts) {
        self.types[1] += 1;
        self.types[4] += u64::from(fact.sentence);
        if let Some(days) = fact.days {
            self.types[2] += 1;
            self.dates[grid::coarse_cell(days as f64)] += 1;
        }
        if let Some(suspect) = fact.suspect {
            self.suspects[suspect] += 1;
        }
        if let Some(slot) = fact.slot {
            self.slots[slot] += 1;
        }
    }
}

fn survey(data: &SiteData, key: SlotKey, ask: &ColumnAsk) -> Vec<u64> {
    let mut counts = Counts {
        types: [0; TYPE_COUNTS],
        coarse: vec![0; grid::COARSE_CELLS],
        dates: vec![0; grid::COARSE_CELLS],
        whole: vec![0; WHOLE_SLOTS],
        suspects: vec![0; SUSPECTS],
        slots: vec![0; ask.coding.slots()],
    };
    if let Some(column) = data.table().column(&ask.name) {
        let facts: Vec<TextFacts> = column
            .dictionary()
            .iter()
            .map(|text| TextFacts::of(text, key, ask))
            .collect();
        for &row in data.train_rows() {
            let row = row as usize;
            if let Some(number) = column.number(row) {
                counts.number(number, key, ask);
            } else if let Some(fact) = column.code(row).and_then(|code| facts.get(code)) {
                counts.text(fact);
            }
        }
    }
    let mut all = counts.types.to_vec();
    all.extend(counts.coarse);
    all.extend(counts.dates);
    all.extend(counts.whole);
    all.extend(counts.suspects);
    all.extend(counts.slots);
    all
}

fn quantities<'t>(
    data: &'t SiteData,
    name: &str,
    source: &super::Source,
) -> Result<Quantities<'t>, SiteDataError> {
    Quantities::new(data.table(), name, source).map_err(|what| SiteDataError::Survey { what })
}

fn refine(data: &SiteData, ask: &RefineColumn) -> Result<Vec<u64>, SiteDataError> {
    let mut counts = vec![0_u64; ask.edges.len().saturating_sub(1)];
    let numbers = quantities(data, &ask.name, &ask.source)?;
    for &row in data.train_rows() {
        if let Some(number) = numbers.get(row as usize) {
            counts[grid::cell(&ask.edges, number)] += 1;
        }
    }
    Ok(counts)
}

/// Rows, sum and sum of squares of the codes 0 to 2^bits.
fn moments(data: &SiteData, ask: &MomentsColumn, bits: u32) -> Result<[u64; 3], SiteDataError> {
    let mut sums = [0_u64; 3];
    let numbers = quantities(data, &ask.name, &ask.source)?;
    for &row in data.train_rows() {
        if let Some(number) = numbers.get(row as usize) {
            let code = gram::code(number, ask.lo, ask.hi, bits);
            sums[0] += 1;
            sums[1] += code;
            sums[2] += code * code;
        }
    }
    if sums[0] < data.policy().min_cell {
        sums = [0; 3];
    }
    Ok(sums)
}
