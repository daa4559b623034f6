//! How the command speaks: tables and sentences for people, one JSON object per result for
//! programs. Results go to standard output, everything else to standard error.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use serde::Serialize;

/// Where and in which form results are printed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    json: bool,
}

impl Output {
    pub(crate) const fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether the caller asked for JSON.
    pub(crate) const fn json(self) -> bool {
        self.json
    }

    /// Whether progress may redraw the screen.
    pub(crate) fn live(self) -> bool {
        !self.json && std::io::stderr().is_terminal()
    }

    /// The command's result: `value` as one JSON object, or `text` for people.
    pub(crate) fn result(
        self,
        value: &impl Serialize,
        text: impl AsRef<str>,
    ) -> anyhow::Result<()> {
        let line = if self.json {
            serde_json::to_string(value)?
        } else {
            text.as_ref().to_owned()
        };
        print_line(&line)
    }

    /// A remark on the way, for people only.
    pub(crate) fn say(self, text: impl AsRef<str>) {
        if !self.json {
            // Losing a remark because nobody listens is not an error.
            let _ = writeln!(std::io::stderr(), "{}", text.as_ref());
        }
    }
}

/// Prints a line to standard output; a reader that went away (`| head`) ends the command quietly.
pub(crate) fn print_line(line: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match writeln!(out, "{line}").and_then(|()| out.flush()) {
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}

/// A table with a header in the style used by every command.
pub(crate) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::UTF8_BORDERS_ONLY)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    table
}

/// Bytes as a person reads them: `512 B`, `34.1 kB`, `2.9 MB` (decimal units).
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [&str; 4] = ["kB", "MB", "GB", "TB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    while value >= 999.95 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS[unit])
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn bytes_are_readable() {
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(999), "999 B");
        assert_eq!(bytes(1000), "1.0 kB");
        assert_eq!(bytes(999_960), "1.0 MB");
        assert_eq!(bytes(2_900_000), "2.9 MB");
    }
}
