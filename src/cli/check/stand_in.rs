//! A table that nobody has, for an estimate where nobody shows one.

use std::collections::BTreeSet;

use collegium_automl::features::PrivacyKind;
use collegium_automl::random::Stream;
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::{ColumnType, Kind, Task};

/// Rows of the table, at most: no more are tried.
const ROWS: u64 = 1000;
/// Share of the rows that a `split` column keeps for the test.
const TEST_SHARE: f64 = 0.15;
/// Values of a category or an order that the task does not list.
const VALUES: usize = 5;

/// What a stand-in's column holds.
enum Cells {
    Numbers,
    Whole,
    Words(Vec<String>),
    Dates,
    Sentences,
    Target(Vec<String>),
    Split,
    Row,
}

/// A task that can be tried on a made-up table, and the table: the columns that the task names,
/// of the types that it says, and as many columns of numbers as it takes to have `columns`. The
/// target follows from the first columns of numbers, roughly.
///
/// # Errors
/// When the task names more columns than a table may have.
pub(super) fn stand_in(task: &Task, columns: usize, rows: u64) -> anyhow::Result<(Task, Table)> {
    let mut task = task.clone();
    if task.classes.is_empty() {
        // Which word is which class only the sites' rows can tell.
        task.positive = None;
    }
    let header = header(&task, columns);
    let mut random = Stream::new(
        "collegium task check stand-in v1",
        &[&task.seed.to_le_bytes()],
    );
    let names: Vec<String> = header.iter().map(|(name, _)| quoted(name)).collect();
    let mut text = names.join(",") + "\n";
    for row in 0..rows.min(ROWS) {
        text.push_str(&line(&header, row, &mut random).join(","));
        text.push('\n');
    }
    let table = Table::read("a made-up table", text.as_bytes(), &TableMapping::default())?;
    Ok((task, table))
}

fn header(task: &Task, columns: usize) -> Vec<(String, Cells)> {
    let target = match task.kind {
        Some(Kind::Regression) => Vec::new(),
        _ if task.classes.is_empty() => vec!["0".to_owned(), "1".to_owned()],
        _ => task.classes.clone(),
    };
    let mut header = vec![(task.target.clone(), Cells::Target(target))];
    header.extend(task.entity.iter().map(|name| (name.clone(), Cells::Row)));
    header.extend(task.split.iter().map(|name| (name.clone(), Cells::Split)));
    for (name, rule) in &task.columns {
        let words = |values: &[String]| match values {
            [] => (0..VALUES).map(|at| format!("value {at}")).collect(),
            listed => listed.to_vec(),
        };
        let cells = match rule.r#type {
            ColumnType::Number | ColumnType::Auto | ColumnType::Ignore => Cells::Numbers,
            ColumnType::Ordinal if rule.values.is_empty() => Cells::Whole,
            ColumnType::Category | ColumnType::Ordinal => Cells::Words(words(&rule.values)),
            ColumnType::Boolean => Cells::Words(vec!["yes".to_owned(), "no".to_owned()]),
            ColumnType::Date => Cells::Dates,
            ColumnType::Text => Cells::Sentences,
        };
        header.push((name.clone(), cells));
    }
    let limits = &task.constraints;
    let filtered = limits.privacy_filter.iter();
    let filtered = filtered.filter(|word| PrivacyKind::parse(word).is_none());
    let named = limits.monotone.keys().chain(filtered).cloned();
    let more = (1..=columns).map(|at| format!("column {at}"));
    let mut known: BTreeSet<String> = BTreeSet::new();
    let all = header
        .into_iter()
        .chain(named.map(|name| (name, Cells::Numbers)));
    let mut unique: Vec<(String, Cells)> =
        all.filter(|(name, _)| known.insert(name.clone())).collect();
    let room = columns.saturating_sub(unique.len());
    let more = more.filter(|name| !known.contains(name)).take(room);
    unique.extend(more.map(|name| (name, Cells::Numbers)));
    unique
}

fn line(header: &[(String, Cells)], row: u64, random: &mut Stream) -> Vec<String> {
    // What the target follows, with as much noise.
    let mut signal = random.normal();
    let mut told = 0;
    let mut cells: Vec<String> = header
        .iter()
        .map(|(_, cells)| match cells {
            Cells::Numbers => {
                let number = random.normal();
                if told < 3 {
                    signal += number;
                    told += 1;
                }
                format!("{number:.4}")
            }
            Cells::Whole => random.below(VALUES).to_string(),
            Cells::Words(words) => quoted(&words[random.below(words.len())]),
            Cells::Dates => format!(
                "20{:02}-{:02}-{:02}",
                10 + random.below(10),
                1 + random.below(12),
                1 + random.below(28)
            ),
            Cells::Sentences => {
                let words = (0..12).map(|_| format!("word{}", random.below(300)));
                words.collect::<Vec<_>>().join(" ")
            }
            Cells::Split if random.unit() < TEST_SHARE => "test".to_owned(),
            Cells::Split => "train".to_owned(),
            Cells::Row => format!("row {row}"),
            Cells::Target(_) => String::new(),
        })
        .collect();
    if let (Some(cell), Some((_, Cells::Target(classes)))) = (cells.first_mut(), header.first()) {
        *cell = match classes.len() {
            0 => format!("{signal:.4}"),
            // Standard deviation 2: the classes come out about equally often.
            many => {
                let share = 1.0 / (1.0 + (-0.85 * signal).exp());
                let class = (share * many as f64) as usize;
                quoted(&classes[class.min(many - 1)])
            }
        };
    }
    cells
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_task_names_is_there_with_its_type() {
        let task = Task::from_toml(
            "name = \"t\"\ntarget = \"y, or not\"\nclasses = [\"low\", \"mid\", \"high\"]\n\
             entity = \"who\"\nsplit = \"part\"\n\
             [constraints]\nprivacy_filter = [\"phone\", \"secret\"]\n\
             monotone = { age = \"increasing\" }\n\
             [columns]\nage = \"number\"\ncity = { values = [\"a\", \"b\"] }\nsince = \"date\"\n\
             note = \"text\"\n",
        )
        .expect("a task");
        let (_, table) = stand_in(&task, 12, 50_000).expect("a table");
        let names: Vec<&str> = table.columns().iter().map(|it| it.name()).collect();
        let named = [
            "y, or not",
            "who",
            "part",
            "age",
            "city",
            "note",
            "since",
            "secret",
        ];
        assert_eq!(names[..8], named);
        assert_eq!((names.len(), table.rows()), (12, 1000));
        let classes: BTreeSet<_> = (0..1000)
            .filter_map(|row| table.column("y, or not")?.text(row))
            .collect();
        assert_eq!(classes, ["high", "low", "mid"].into());
    }

    #[test]
    fn a_class_that_only_rows_can_tell_is_left_open() {
        let text = "name = \"t\"\ntarget = \"y\"\npositive = \"ill\"\n";
        let task = Task::from_toml(text).expect("a task");
        let (tried, table) = stand_in(&task, 3, 60).expect("a table");
        assert_eq!(tried.positive, None);
        assert_eq!((table.columns().len(), table.rows()), (3, 60));
    }
}
