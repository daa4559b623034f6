//! The files under `examples/hospitals` are what their README says.

use std::path::{Path, PathBuf};

use collegium_automl::data::SiteData;
use collegium_automl::table::{Cell, Table, TableMapping};
use collegium_automl::task::Task;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/hospitals")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(folder().join(file)).expect("a file of the example")
}

/// Name, rows, rows with disease, rows with a known cholesterol.
const HOSPITALS: [(&str, usize, usize, usize); 4] = [
    ("cleveland", 303, 139, 303),
    ("hungarian", 294, 106, 271),
    ("switzerland", 123, 115, 0),
    // Seven cells are empty and 49 are 0.
    ("va", 200, 149, 144),
];

#[test]
fn tables_maps_and_task_fit_together() {
    let task = Task::from_toml(&read("task.toml")).expect("the task");
    for (name, rows, ill, cholesterol) in HOSPITALS {
        let map = TableMapping::from_toml(&read(&format!("sites/{name}.toml"))).expect("a map");
        let table = Table::open(&folder().join(format!("data/{name}.csv")), &map).expect("a table");
        let count = |column: &str, wanted: &dyn Fn(Cell<'_>) -> bool| {
            let column = table.column(column).expect("the column");
            (0..table.rows())
                .filter(|&row| wanted(column.cell(row)))
                .count()
        };
        assert_eq!(table.rows(), rows, "{name}");
        assert_eq!(
            count("disease", &|cell| cell == Cell::Number(1.0)),
            ill,
            "{name}"
        );
        assert_eq!(
            count("disease", &|cell| cell == Cell::Number(0.0)),
            rows - ill,
            "{name}"
        );
        assert_eq!(
            count("chol", &|cell| cell != Cell::Missing),
            cholesterol,
            "{name}"
        );
        assert_eq!(
            count("trestbps", &|cell| cell == Cell::Number(0.0)),
            0,
            "{name}"
        );
        let data = SiteData::new(&task, table).expect("a table that serves the task");
        assert_eq!(data.counts().unlabelled, 0, "{name}");
    }
}
