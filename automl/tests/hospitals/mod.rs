//! The example's tables, task and column maps, and changed copies of them.
#![allow(dead_code, reason = "each test file uses some of these")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;

/// The four hospitals.
pub const NAMES: [&str; 4] = ["cleveland", "hungarian", "switzerland", "va"];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hospitals")
}

/// A file of the example.
pub fn csv(name: &str) -> String {
    let path = folder().join("data").join(format!("{name}.csv"));
    std::fs::read_to_string(path).expect("a hospital's table")
}

/// A hospital's column map.
pub fn mapping(name: &str) -> TableMapping {
    let path = folder().join("sites").join(format!("{name}.toml"));
    let text = std::fs::read_to_string(path).expect("a hospital's column map");
    TableMapping::from_toml(&text).expect("a valid column map")
}

fn read(name: &str, csv: &str) -> Table {
    Table::read(name, csv.as_bytes(), &mapping(name)).expect("a table")
}

/// A hospital's table.
pub fn hospital(name: &str) -> Table {
    read(name, &csv(name))
}

/// All four.
pub fn hospitals() -> Vec<(String, Table)> {
    NAMES
        .iter()
        .map(|name| ((*name).to_owned(), hospital(name)))
        .collect()
}

/// The example's task.
pub fn task() -> Task {
    let text = std::fs::read_to_string(folder().join("task.toml")).expect("the task");
    Task::from_toml(&text).expect("a valid task")
}

/// A short task with more lines.
pub fn task_with(more: &str) -> Task {
    let text =
        format!("name = \"heart\"\ntarget = \"disease\"\npositive = \"1\"\nseed = 7\n{more}");
    Task::from_toml(&text).expect("a valid task")
}

/// The patients who are ill, and no others.
pub fn only_ill(name: &str) -> Table {
    let csv = csv(name);
    let mut kept = String::new();
    for (at, line) in csv.lines().enumerate() {
        if at == 0 || !line.ends_with(",0") {
            let _ = writeln!(kept, "{line}");
        }
    }
    read(name, &kept)
}

/// A table with one more column, made of the row's number and its line.
pub fn with_column(name: &str, column: &str, value: impl Fn(usize, &str) -> &'static str) -> Table {
    let csv = csv(name);
    let mut lines = csv.lines();
    let mut wider = format!("{},{column}\n", lines.next().expect("a header"));
    for (row, line) in lines.enumerate() {
        let _ = writeln!(wider, "{line},{}", value(row, line));
    }
    read(name, &wider)
}

/// All rows, dealt out to this many sites in bands of age; 1 is the merged
/// table.
pub fn spread(sites: usize) -> Vec<(String, Table)> {
    let header = csv("va").lines().next().expect("a header").to_owned();
    let mut files = vec![format!("{header}\n"); sites];
    for name in NAMES {
        for line in csv(name).lines().skip(1) {
            let age: f64 = line
                .split(',')
                .next()
                .unwrap_or("")
                .parse()
                .expect("an age");
            let band = ((age - 40.0) / 25.0 * sites as f64).max(0.0) as usize;
            let _ = writeln!(files[band.min(sites - 1)], "{line}");
        }
    }
    let tables = files.iter().enumerate().map(|(at, csv)| {
        // One map serves all: the hospitals' maps differ in nothing that matters
        // where every file has every column.
        (format!("site-{at}"), read("va", csv))
    });
    tables.collect()
}

/// As [`with_column`] with `test` and `train`, and the test rows made unlike
/// anything: columns in reverse order, the target turned round.
pub fn scrambled(name: &str, column: &str, is_test: impl Fn(usize) -> bool) -> Table {
    let csv = csv(name);
    let mut lines = csv.lines();
    let mut wider = format!("{},{column}\n", lines.next().expect("a header"));
    for (row, line) in lines.enumerate() {
        if is_test(row) {
            let (features, target) = line.rsplit_once(',').expect("columns");
            let turned: Vec<&str> = features.rsplit(',').collect();
            let target = if target == "0" { "1" } else { "0" };
            let _ = writeln!(wider, "{},{target},test", turned.join(","));
        } else {
            let _ = writeln!(wider, "{line},train");
        }
    }
    read(name, &wider)
}
