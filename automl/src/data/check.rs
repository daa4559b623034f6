//! Whether a table has what a task says of it.

use super::SiteDataError;
use crate::profile::classes;
use crate::table::{Cell, Column, Table};
use crate::task::{ColumnType, Kind, Task};

fn hint(table: &Table, name: &str) -> String {
    let near = table.nearest(name);
    near.map_or_else(String::new, |near| format!(" (the nearest is `{near}`)"))
}

/// The target's column.
pub(super) fn target_place(task: &Task, table: &Table) -> Result<usize, SiteDataError> {
    let place = table
        .columns()
        .iter()
        .position(|column| column.name() == task.target);
    place.ok_or_else(|| SiteDataError::NoTarget {
        source_name: table.source().to_owned(),
        target: task.target.clone(),
        hint: hint(table, &task.target),
    })
}

/// Finds declared columns that are not there.
pub(super) fn declared(task: &Task, table: &Table) -> Result<(), SiteDataError> {
    if task.constraints.absent_is_missing() {
        return Ok(());
    }
    for (column, rule) in &task.columns {
        if rule.r#type != ColumnType::Ignore && table.column(column).is_none() {
            return Err(SiteDataError::NoColumn {
                source_name: table.source().to_owned(),
                column: column.clone(),
                kind: rule.r#type.name(),
                hint: hint(table, column),
            });
        }
    }
    Ok(())
}

/// Finds target cells that contradict what the task says of the target.
pub(super) fn target(task: &Task, table: &Table, target: &Column) -> Result<(), SiteDataError> {
    let wrong = |row: usize, problem: &'static str| SiteDataError::Target {
        source_name: table.source().to_owned(),
        line: Table::line(row),
        target: task.target.clone(),
        problem,
    };
    for row in 0..table.rows() {
        match target.cell(row) {
            Cell::Missing => {}
            Cell::Text(_) if task.kind == Some(Kind::Regression) => {
                return Err(wrong(row, "not a number, which the task predicts"));
            }
            cell if !task.classes.is_empty() && classes::index(&task.classes, cell).is_none() => {
                return Err(wrong(row, "not one of the task's `classes`"));
            }
            _ => {}
        }
    }
    Ok(())
}
