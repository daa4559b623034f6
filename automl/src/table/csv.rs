//! CSV to table, by arrow's decoder.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::sync::Arc;

use arrow_array::{Array, RecordBatch, StringArray};
use arrow_csv::ReaderBuilder;
use arrow_csv::reader::Format;
use arrow_schema::{ArrowError, DataType, Field, Schema};

use super::cell::{self, Reading};
use super::mapping::{Plan, TableMapping};
use super::{Column, MAX_CELL_BYTES, MAX_ROWS, Table, TableError, canonical_number};

/// Rows decoded at a time: a megabyte or so of cells.
const BATCH_ROWS: usize = 4096;
/// Longest header line: 512 names of 64 bytes, quoted and separated, eight
/// times over.
const MAX_HEADER_BYTES: usize = 256 * 1024;

pub(super) fn read(
    source: &str,
    mut reader: impl Read,
    mapping: &TableMapping,
) -> Result<Table, TableError> {
    let fail = |problem: String| TableError::File {
        source_name: source.to_owned(),
        problem,
    };
    let map = |error| TableError::Mapping {
        source_name: source.to_owned(),
        error,
    };
    let (start, header_len) = first_record(source, &mut reader)?;
    let header = &start[..header_len];
    let delimiter = match mapping.delimiter_byte().map_err(map)? {
        Some(byte) => byte,
        None => detect_delimiter(header),
    };
    let headers = header_names(header, delimiter).map_err(fail)?;
    let plans = mapping.plan(&headers).map_err(map)?;
    let mut builders: Vec<Option<Builder>> = plans
        .into_iter()
        .map(|plan| plan.map(Builder::new))
        .collect();

    let fields: Vec<Field> = headers
        .iter()
        .map(|name| Field::new(name, DataType::Utf8, true))
        .collect();
    let csv = ReaderBuilder::new(Arc::new(Schema::new(fields)))
        .with_header(true)
        .with_delimiter(delimiter)
        .with_batch_size(BATCH_ROWS)
        .build(Cursor::new(start).chain(reader))
        .map_err(|error| arrow_problem(source, &error))?;
    let mut rows = 0;
    for batch in csv {
        let batch = batch.map_err(|error| arrow_problem(source, &error))?;
        if rows + batch.num_rows() > MAX_ROWS {
            return Err(fail(format!("more than {MAX_ROWS} rows; split the file")));
        }
        take(&mut builders, &headers, &batch, rows).map_err(|wrong| wrong.named(source))?;
        rows += batch.num_rows();
    }
    if rows == 0 {
        return Err(fail("the file has a header and no rows".to_owned()));
    }
    let mut columns = Vec::with_capacity(builders.len());
    for (builder, header) in builders.into_iter().zip(&headers) {
        if let Some(builder) = builder {
            columns.push(
                builder
                    .finish(header)
                    .map_err(|wrong| wrong.named(source))?,
            );
        }
    }
    Ok(Table {
        source: source.to_owned(),
        columns,
        rows,
    })
}

/// Reads up to the end of the first record; returns what was read (without a
/// byte-order mark) and how much of it is the record.
fn first_record(source: &str, reader: &mut impl Read) -> Result<(Vec<u8>, usize), TableError> {
    let fail = |problem: &str| TableError::File {
        source_name: source.to_owned(),
        problem: problem.to_owned(),
    };
    let mut start = Vec::new();
    let mut chunk = [0_u8; 8192];
    let mut end = None;
    let mut scanned = 0;
    let mut quoted = false;
    loop {
        let count = match reader.read(&mut chunk) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => {
                return Err(TableError::Io {
                    path: source.into(),
                    error,
                });
            }
        };
        start.extend_from_slice(&chunk[..count]);
        if start.len() >= 3 || count == 0 {
            if scanned == 0 {
                refuse_other_encodings(&start).map_err(fail)?;
                if start.starts_with(b"\xef\xbb\xbf") {
                    start.drain(..3);
                }
            }
            // Blank lines before the header are skipped by the decoder too.
            for (offset, &byte) in start.iter().enumerate().skip(scanned) {
                let blank_so_far = start[..offset].iter().all(|b| matches!(b, b'\r' | b'\n'));
                match byte {
                    b'"' => quoted = !quoted,
                    b'\r' | b'\n' if !quoted && !blank_so_far => {
                        end = Some(offset);
                        break;
                    }
                    _ => {}
                }
            }
            scanned = start.len();
        }
        if let Some(end) = end {
            return Ok((start, end));
        }
        if count == 0 {
            if start.iter().all(u8::is_ascii_whitespace) {
                return Err(fail("the file is empty"));
            }
            let end = start.len();
            return Ok((start, end));
        }
        if start.len() > MAX_HEADER_BYTES {
            return Err(fail(
                "the first line is longer than a header can be; is this a CSV file, and are its quotes closed?",
            ));
        }
    }
}

fn refuse_other_encodings(start: &[u8]) -> Result<(), &'static str> {
    if start.starts_with(&[0x1f, 0x8b]) {
        return Err("the file is gzip-compressed; unpack it first");
    }
    if start.starts_with(b"PAR1") {
        return Err("this is a Parquet file; export it as CSV");
    }
    if start.starts_with(b"PK\x03\x04") {
        return Err("this is a zip archive or a spreadsheet; export the sheet as CSV (UTF-8)");
    }
    if start.starts_with(&[0xff, 0xfe]) || start.starts_with(&[0xfe, 0xff]) {
        return Err("the file is UTF-16; save it as CSV in UTF-8");
    }
    Ok(())
}

/// The delimiter the header has most of, outside quotes; a comma if none.
fn detect_delimiter(header: &[u8]) -> u8 {
    let mut best = (0_usize, b',');
    for candidate in [b',', b';', b'\t', b'|'] {
        let mut quoted = false;
        let mut count = 0;
        for &byte in header {
            quoted ^= byte == b'"';
            count += usize::from(byte == candidate && !quoted);
        }
        if count > best.0 {
            best = (count, candidate);
        }
    }
    best.1
}

/// The names in the header. A column without a name, as spreadsheets write for
/// row numbers, is called by its place: `column_1`.
fn header_names(header: &[u8], delimiter: u8) -> Result<Vec<String>, String> {
    if std::str::from_utf8(header).is_err() {
        return Err(
            "the header is not UTF-8 (perhaps GBK or Latin-1); save the file as CSV in UTF-8"
                .to_owned(),
        );
    }
    let (schema, _) = Format::default()
        .with_header(true)
        .with_delimiter(delimiter)
        .infer_schema(Cursor::new(header), Some(0))
        .map_err(|error| format!("the header cannot be read: {error}"))?;
    let mut names: Vec<String> = Vec::with_capacity(schema.fields().len());
    for (place, field) in schema.fields().iter().enumerate() {
        let name = match field.name().trim() {
            "" => format!("column_{}", place + 1),
            name => name.to_owned(),
        };
        if names.contains(&name) {
            return Err(format!("two columns are called `{name}`; rename one"));
        }
        names.push(name);
    }
    Ok(names)
}

/// What arrow says, with its line number put where ours are and nothing of the
/// row's content.
fn arrow_problem(source: &str, error: &ArrowError) -> TableError {
    let text = error.to_string();
    let number_after = |word: &str| -> Option<usize> {
        let rest = &text[text.find(word)? + word.len()..];
        rest.split(|c: char| !c.is_ascii_digit())
            .next()?
            .parse()
            .ok()
    };
    let problem = if text.contains("incorrect number of fields") {
        match (number_after("expected "), number_after("got ")) {
            (Some(expected), Some(got)) => {
                format!("{got} cells where the header has {expected}; check delimiter and quotes")
            }
            (Some(expected), None) => {
                format!("more cells than the {expected} of the header; check delimiter and quotes")
            }
            _ => "the number of cells differs from the header".to_owned(),
        }
    } else if text.contains("UTF-8") {
        "not UTF-8 (perhaps GBK or Latin-1); save the file as CSV in UTF-8".to_owned()
    } else {
        text.clone()
    };
    match number_after("for line ") {
        Some(line) => TableError::Line {
            source_name: source.to_owned(),
            line,
            problem,
        },
        None => TableError::File {
            source_name: source.to_owned(),
            problem,
        },
    }
}

/// A cell that cannot be taken, before the file's name is known.
struct Wrong {
    line: usize,
    column: String,
    problem: &'static str,
}

impl Wrong {
    fn named(self, source: &str) -> TableError {
        TableError::Cell {
            source_name: source.to_owned(),
            line: self.line,
            column: self.column,
            problem: self.problem.to_owned(),
        }
    }
}

fn take(
    builders: &mut [Option<Builder>],
    headers: &[String],
    batch: &RecordBatch,
    rows: usize,
) -> Result<(), Wrong> {
    for ((builder, array), header) in builders.iter_mut().zip(batch.columns()).zip(headers) {
        let Some(builder) = builder else { continue };
        let Some(texts) = array.as_any().downcast_ref::<StringArray>() else {
            continue;
        };
        for row in 0..texts.len() {
            let text = if texts.is_null(row) {
                ""
            } else {
                texts.value(row)
            };
            if text.len() > MAX_CELL_BYTES {
                return Err(Wrong {
                    line: Table::line(rows + row),
                    column: header.clone(),
                    problem: "the cell is longer than 32 KiB; is a quote left open?",
                });
            }
            builder.push(text.trim(), rows + row);
        }
    }
    Ok(())
}

/// Grows one column.
struct Builder {
    plan: Plan,
    replaces_numbers: bool,
    rows: usize,
    numbers: Option<Vec<f64>>,
    codes: Option<Vec<u32>>,
    dictionary: Vec<String>,
    places: BTreeMap<String, u32>,
    first_infinite: Option<usize>,
}

impl Builder {
    fn new(plan: Plan) -> Self {
        Self {
            replaces_numbers: plan.replaces_numbers(),
            plan,
            rows: 0,
            numbers: None,
            codes: None,
            dictionary: Vec::new(),
            places: BTreeMap::new(),
            first_infinite: None,
        }
    }

    fn push(&mut self, text: &str, row: usize) {
        let mut number = f64::NAN;
        let mut code = 0;
        match self.mapped(text) {
            Mapped::Missing => {}
            Mapped::Number(value) => number = value,
            Mapped::Text(value) => code = self.code(&value),
            Mapped::Infinite(value) => {
                self.first_infinite.get_or_insert(row);
                code = self.code(&value);
            }
        }
        if !number.is_nan() && self.numbers.is_none() {
            self.numbers = Some(vec![f64::NAN; self.rows]);
        }
        if code != 0 && self.codes.is_none() {
            self.codes = Some(vec![0; self.rows]);
        }
        if let Some(numbers) = &mut self.numbers {
            numbers.push(number);
        }
        if let Some(codes) = &mut self.codes {
            codes.push(code);
        }
        self.rows += 1;
    }

    fn mapped(&self, text: &str) -> Mapped {
        if text.is_empty() {
            return Mapped::Missing;
        }
        let reading = cell::read(text);
        let replacement = match reading {
            Reading::Number(value) if self.replaces_numbers => {
                self.plan.replacement(&canonical_number(value))
            }
            Reading::Number(_) => None,
            Reading::Text | Reading::Infinite => self.plan.replacement(text),
        };
        match replacement {
            Some("") => Mapped::Missing,
            Some(other) => Mapped::new(cell::read(other), other),
            None => Mapped::new(reading, text),
        }
    }

    fn code(&mut self, text: &str) -> u32 {
        if let Some(&code) = self.places.get(text) {
            return code;
        }
        // MAX_ROWS distinct texts fit a u32.
        let code = u32::try_from(self.dictionary.len() + 1).unwrap_or(u32::MAX);
        self.dictionary.push(text.to_owned());
        self.places.insert(text.to_owned(), code);
        code
    }

    fn finish(self, header: &str) -> Result<Column, Wrong> {
        // "inf" among words is a word; among numbers it is a broken number.
        if let (Some(row), Some(_)) = (self.first_infinite, &self.numbers) {
            return Err(Wrong {
                line: Table::line(row),
                column: header.to_owned(),
                problem: "an infinite number; correct it, or list it under `missing` in the column map",
            });
        }
        Ok(Column {
            name: self.plan.name,
            numbers: self.numbers,
            codes: self.codes,
            dictionary: self.dictionary,
        })
    }
}

enum Mapped {
    Missing,
    Number(f64),
    Text(String),
    Infinite(String),
}

impl Mapped {
    fn new(reading: Reading, text: &str) -> Self {
        match reading {
            Reading::Number(value) => Self::Number(value),
            Reading::Text => Self::Text(text.to_owned()),
            Reading::Infinite => Self::Infinite(text.to_owned()),
        }
    }
}
