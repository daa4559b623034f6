//! Tables with other cells: what a site does to its columns before anything reads them.

use std::collections::{BTreeMap, BTreeSet};

use super::{Cell, Column, Table};

/// What a cell becomes.
#[derive(Clone, Debug, PartialEq)]
pub enum Replacement {
    /// Nothing known.
    Missing,
    /// A finite number.
    Number(f64),
    /// A text, not empty.
    Text(String),
}

impl Table {
    /// A copy without these columns. Names that it does not have are passed over.
    #[must_use]
    pub fn without(mut self, columns: &BTreeSet<String>) -> Self {
        self.columns
            .retain(|column| !columns.contains(column.name()));
        self
    }

    /// A copy in which the cells of one column are what `replace` makes of them; it is not
    /// called for missing ones, and once only for each different text. A column that is not
    /// here is passed over.
    #[must_use]
    pub fn replacing(mut self, column: &str, replace: impl FnMut(Cell<'_>) -> Replacement) -> Self {
        let rows = self.rows;
        if let Some(column) = self.columns.iter_mut().find(|it| it.name == column) {
            *column = column.replaced(rows, replace);
        }
        self
    }
}

impl Column {
    fn replaced(&self, rows: usize, mut replace: impl FnMut(Cell<'_>) -> Replacement) -> Self {
        let by_code: Vec<Replacement> = self
            .dictionary
            .iter()
            .map(|text| replace(Cell::Text(text)))
            .collect();
        let mut numbers = vec![f64::NAN; rows];
        let mut codes = vec![0_u32; rows];
        let mut dictionary: Vec<String> = Vec::new();
        let mut places: BTreeMap<String, u32> = BTreeMap::new();
        for row in 0..rows {
            let made = match (self.number(row), self.code(row)) {
                (Some(number), _) => replace(Cell::Number(number)),
                (None, Some(code)) => by_code.get(code).cloned().unwrap_or(Replacement::Missing),
                (None, None) => Replacement::Missing,
            };
            match made {
                Replacement::Missing => {}
                // Adding zero turns -0 into 0.
                Replacement::Number(number) => numbers[row] = number + 0.0,
                Replacement::Text(text) => {
                    codes[row] = *places.entry(text).or_insert_with_key(|text| {
                        dictionary.push(text.clone());
                        // MAX_ROWS different texts fit a u32.
                        u32::try_from(dictionary.len()).unwrap_or(u32::MAX)
                    });
                }
            }
        }
        Self {
            name: self.name.clone(),
            numbers: numbers.iter().any(|it| !it.is_nan()).then_some(numbers),
            codes: codes.iter().any(|it| *it != 0).then_some(codes),
            dictionary,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::TableMapping;
    use super::*;

    #[test]
    fn cells_are_replaced_and_columns_left_out() {
        let text = "a,b\n1,x\n,y\nz,x\n2,\n";
        let table = Table::read("t", text.as_bytes(), &TableMapping::default()).expect("a table");
        let mut seen = Vec::new();
        let made = table
            .replacing("a", |cell| {
                seen.push(format!("{cell:?}"));
                match cell {
                    Cell::Number(1.0) => Replacement::Text("one".to_owned()),
                    Cell::Text(_) => Replacement::Number(9.0),
                    _ => Replacement::Missing,
                }
            })
            .without(&BTreeSet::from(["b".to_owned(), "c".to_owned()]));
        assert_eq!(seen, ["Text(\"z\")", "Number(1.0)", "Number(2.0)"]);
        assert_eq!(made.columns().len(), 1);
        let column = &made.columns()[0];
        let cells: Vec<Cell<'_>> = (0..4).map(|row| column.cell(row)).collect();
        assert_eq!(
            cells,
            [
                Cell::Text("one"),
                Cell::Missing,
                Cell::Number(9.0),
                Cell::Missing
            ]
        );
    }
}
