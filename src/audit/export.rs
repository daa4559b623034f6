//! Entries for other programs and for people.

use std::io::{self, Write};

use clap::ValueEnum;

use super::select::Numbered;

/// In which form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line.
    Jsonl,
    /// A table for spreadsheets (RFC 4180).
    Csv,
    /// One page that needs nothing else.
    Html,
}

/// The columns of a table of entries.
const COLUMNS: [&str; 7] = [
    "entry", "time_utc", "actor", "action", "object", "outcome", "evidence",
];

/// Style of the page: nothing is fetched from elsewhere.
const STYLE: &str = "body{font:14px/1.4 system-ui,sans-serif;margin:2em}\
table{border-collapse:collapse}th,td{border-bottom:1px solid #ccc;padding:.3em .8em;\
text-align:left;vertical-align:top}td:last-child{font:12px monospace;word-break:break-all}\
th{position:sticky;top:0;background:#fff}.refused,.failed{background:#fee}";

/// Writes entries one after the other.
pub(crate) struct Exporter<W> {
    format: Format,
    out: W,
}

impl<W: Write> Exporter<W> {
    /// Begins; `title` says what is exported.
    ///
    /// # Errors
    /// Those of `out`.
    pub(crate) fn begin(format: Format, title: &str, mut out: W) -> io::Result<Self> {
        match format {
            Format::Jsonl => {}
            Format::Csv => write!(out, "{}\r\n", COLUMNS.join(","))?,
            Format::Html => {
                let title = escaped(title);
                write!(
                    out,
                    "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
                     <style>{STYLE}</style></head>\n<body><h1>{title}</h1>\n<table><thead><tr>"
                )?;
                for column in COLUMNS {
                    write!(out, "<th>{column}</th>")?;
                }
                writeln!(out, "</tr></thead><tbody>")?;
            }
        }
        Ok(Self { format, out })
    }

    /// Writes an entry.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn write(&mut self, numbered: &Numbered) -> io::Result<()> {
        if self.format == Format::Jsonl {
            let mut entry = numbered.entry.clone();
            entry["entry"] = numbered.number.into();
            return writeln!(self.out, "{entry}");
        }
        let cells = [
            numbered.number.to_string(),
            numbered.time(),
            numbered.text("actor").to_owned(),
            numbered.text("action").to_owned(),
            numbered.text("object").to_owned(),
            numbered.text("outcome").to_owned(),
            numbered.evidence(),
        ];
        if self.format == Format::Csv {
            let cells: Vec<_> = cells.iter().map(|cell| quoted(cell)).collect();
            return write!(self.out, "{}\r\n", cells.join(","));
        }
        write!(
            self.out,
            "<tr class=\"{}\">",
            escaped(numbered.text("outcome"))
        )?;
        for cell in &cells {
            write!(self.out, "<td>{}</td>", escaped(cell))?;
        }
        writeln!(self.out, "</tr>")
    }

    /// Ends, and gives the writer back.
    ///
    /// # Errors
    /// Those of the writer.
    pub(crate) fn end(mut self) -> io::Result<W> {
        if self.format == Format::Html {
            writeln!(self.out, "</tbody></table></body></html>")?;
        }
        self.out.flush()?;
        Ok(self.out)
    }
}

/// A cell of a CSV file. One that a spreadsheet would take for a formula gets an apostrophe.
fn quoted(cell: &str) -> String {
    let formula = cell.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let apostrophe = if formula { "'" } else { "" };
    if formula || cell.contains([',', '"', '\n', '\r']) {
        return format!("\"{apostrophe}{}\"", cell.replace('"', "\"\""));
    }
    cell.to_owned()
}

fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn exported(format: Format) -> String {
        let entry = json!({
            "action": "refuse", "actor": "node/<b>", "object": "=1+1", "outcome": "refused",
            "time_ms": 1_790_000_000_000_u64, "evidence": {"reason": "a \"b\", c"},
        });
        let mut exporter = Exporter::begin(format, "A & B", Vec::new()).expect("begins");
        exporter
            .write(&Numbered { number: 4, entry })
            .expect("writes");
        String::from_utf8(exporter.end().expect("ends")).expect("text")
    }

    #[test]
    fn every_form_keeps_what_an_entry_says() {
        let line = exported(Format::Jsonl);
        let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!(
            (&read["entry"], &read["action"]),
            (&json!(4), &json!("refuse"))
        );
        assert_eq!(
            exported(Format::Csv),
            "entry,time_utc,actor,action,object,outcome,evidence\r\n\
             4,2026-09-21 14:13:20,node/<b>,refuse,\"'=1+1\",refused,\
             \"{\"\"reason\"\":\"\"a \\\"\"b\\\"\", c\"\"}\"\r\n"
        );
        let page = exported(Format::Html);
        assert!(page.contains("<h1>A &amp; B</h1>"), "{page}");
        assert!(page.contains("<td>node/&lt;b&gt;</td>"), "{page}");
        assert!(!page.contains("<b>") && !page.contains("http"), "{page}");
    }
}
