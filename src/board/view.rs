//! What a run's events say, as text: lines for logs, a panel for terminals.

use std::collections::BTreeMap;

use serde_json::Value;

use super::time_left::{self, TimeLeft};
use crate::output;

/// Lines about steps in a log: about this many a run, and none for fewer than [`FEWEST_STEPS`].
const LINES: u64 = 15;
/// Steps between two lines of a log, at least.
const FEWEST_STEPS: u64 = 10;
/// Candidates on the panel.
const LEADERS: usize = 5;
/// Characters of a candidate's name on the panel.
const NAME: usize = 56;

/// What the events so far say.
#[derive(Debug, Default)]
pub(super) struct View {
    stage: String,
    step: u64,
    about: u64,
    parts: u64,
    contributors: usize,
    /// Bytes received from each site so far.
    bytes: BTreeMap<String, u64>,
    leaders: Vec<Value>,
    told: Option<(String, String)>,
    last_line: u64,
    time_left: TimeLeft,
}

impl View {
    /// A stage begins; its line for a log if it is new.
    pub(super) fn stage(&mut self, event: &Value) -> Option<String> {
        let stage = text(&event["stage"]);
        if stage == self.stage {
            return None;
        }
        stage.clone_into(&mut self.stage);
        let stage = stage.replace('_', " ");
        self.time_left.forget();
        Some(format!("stage  {stage}"))
    }

    /// A step is done; its line for a log if one is due. `seconds` is the run's clock.
    pub(super) fn step(&mut self, event: &Value, seconds: Option<f64>) -> Option<String> {
        self.step = event["step"].as_u64().unwrap_or_default();
        self.about = event["about"].as_u64().unwrap_or(self.step).max(self.step);
        self.parts = event["candidates"].as_u64().unwrap_or_default();
        self.contributors = event["contributors"].as_array().map_or(0, Vec::len);
        for (site, count) in event["bytes_up"].as_object().into_iter().flatten() {
            let count = count.as_u64().unwrap_or_default();
            self.bytes.insert(site.clone(), count);
        }
        if let Some(seconds) = seconds {
            self.time_left.step(self.step, seconds);
        }
        let pause = FEWEST_STEPS.max(self.about / LINES);
        let due = self.last_line == 0 || self.step >= self.last_line + pause;
        due.then(|| {
            self.last_line = self.step.max(1);
            format!(
                "step {:>3} of at most {}  {}",
                self.step,
                self.about,
                self.headline()
            )
        })
    }

    /// The order of the candidates; a line for a log if there is a new leader, or a new loss.
    pub(super) fn leaderboard(&mut self, event: &Value) -> Option<String> {
        let rows = event["rows"].as_array()?;
        self.leaders = rows.iter().take(LEADERS).cloned().collect();
        let best = self.leaders.first()?;
        let new = (text(&best["candidate"]).to_owned(), loss(best)?);
        if self.told.as_ref() == Some(&new) {
            return None;
        }
        let line = format!("leader {}  validation loss {}", new.0, new.1);
        self.told = Some(new);
        Some(line)
    }

    /// The run stands still.
    pub(super) fn waits(&mut self) {
        self.time_left.forget();
    }

    /// Seconds that are left at most, at the pace of the last steps.
    pub(super) fn seconds_left(&self) -> Option<f64> {
        self.time_left.seconds(self.about)
    }

    /// Steps done, and how many there are at most.
    pub(super) fn steps(&self) -> (u64, u64) {
        (self.step, self.about)
    }

    /// Where the run stands, in one line.
    pub(super) fn headline(&self) -> String {
        let what = match (self.stage.as_str(), self.parts) {
            ("race", 1) => "candidate",
            ("race", _) => "candidates",
            (_, 1) => "part",
            _ => "parts",
        };
        let mut line = format!(
            "{:<8} {:>2} {what}, {} sites in the sum",
            self.stage.replace('_', " "),
            self.parts,
            self.contributors
        );
        // Sites answer the same asks, so they differ little; a thousand names would fill the screen.
        if let Some(most) = self.bytes.values().max().filter(|most| **most > 0) {
            line.push_str(&format!(", {} sent a site", output::bytes(*most)));
        }
        if let Some(seconds) = self.seconds_left() {
            let words = time_left::in_words(seconds);
            line.push_str(&format!(", at most about {words} left"));
        }
        line
    }

    /// Where the run stands, and the best candidates below, for a terminal.
    pub(super) fn panel(&self) -> String {
        let mut panel = self.headline();
        for (place, row) in self.leaders.iter().enumerate() {
            let name: String = text(&row["candidate"]).chars().take(NAME).collect();
            let loss = loss(row).unwrap_or_else(|| "not scored yet".to_owned());
            let dropped = if row["state"] == "dropped" {
                "  dropped"
            } else {
                ""
            };
            let place = place + 1;
            panel.push_str(&format!("\n  {place}  {name:<NAME$}  {loss}{dropped}"));
        }
        panel
    }
}

/// "0.3713 ± 0.0214", where it is known.
fn loss(row: &Value) -> Option<String> {
    let loss = row["loss"].as_f64()?;
    Some(match row["se"].as_f64() {
        Some(error) => format!("{loss:.4} ± {error:.4}"),
        None => format!("{loss:.4}"),
    })
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn step(step: u64) -> Value {
        json!({
            "step": step,
            "about": 180,
            "candidates": 16,
            "contributors": ["a", "b", "c"],
            "bytes_up": { "a": 1_000_000 * step, "b": 900_000 * step },
        })
    }

    #[test]
    fn a_log_gets_few_lines() {
        let mut view = View::default();
        assert!(view.stage(&json!({ "stage": "race" })).is_some());
        assert_eq!(view.stage(&json!({ "stage": "race" })), None);
        let lines: Vec<String> = (1..=180)
            .filter_map(|number| view.step(&step(number), Some(0.5 * number as f64)))
            .collect();
        assert_eq!(lines.len(), 15, "{lines:#?}");
        assert_eq!(
            lines[1],
            "step  13 of at most 180  race     16 candidates, 3 sites in the sum, \
             13.0 MB sent a site, at most about 84 s left"
        );
    }

    #[test]
    fn a_leader_is_told_once_and_the_panel_shows_the_best_five() {
        let row = |name: &str, loss: f64| json!({ "candidate": name, "loss": loss, "se": 0.0214 });
        let mut view = View::default();
        let rows: Vec<Value> = (0..9)
            .map(|it| row(&format!("net {it}"), 0.4 + f64::from(it)))
            .collect();
        let event = json!({ "rows": rows });
        assert_eq!(
            view.leaderboard(&event).as_deref(),
            Some("leader net 0  validation loss 0.4000 ± 0.0214")
        );
        assert_eq!(view.leaderboard(&event), None, "nothing new");
        assert!(
            view.leaderboard(&json!({ "rows": [row("net 0", 0.3)] }))
                .is_some()
        );
        view.leaderboard(&event);
        view.step(&step(20), None);
        let panel = view.panel();
        assert_eq!(panel.lines().count(), 6, "{panel}");
        assert!(panel.contains("  5  net 4"), "{panel}");
        assert!(!panel.contains("left"), "no clock, no time: {panel}");
    }

    #[test]
    fn a_pause_is_no_pace() {
        let mut view = View::default();
        for number in 1..=6 {
            view.step(&step(number), Some(number as f64));
        }
        assert_eq!(view.seconds_left(), Some(174.0));
        view.waits();
        assert_eq!(view.seconds_left(), None);
    }
}
