//! The progress of a run: a live board on a terminal, plain lines elsewhere. `task watch` and the
//! demo show the same board; its input is the coordinator's progress events (JSON lines).

use std::collections::BTreeMap;

use collegium_automl::search::{Progress, Standing};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::output::{self, Output};

/// On a pipe or in a log, one line is printed for this many steps.
const PLAIN_LINE_EVERY: u64 = 10;

/// Shows progress events as they come.
pub(crate) struct Board {
    out: Output,
    bar: Option<ProgressBar>,
    stage: String,
    /// Bytes received from each site so far.
    bytes: BTreeMap<String, u64>,
    last_plain_step: u64,
}

impl Board {
    /// A board for the sites of the given names; further ones are added as they appear.
    pub(crate) fn new<'a>(out: Output, sites: impl IntoIterator<Item = &'a str>) -> Self {
        let bar = out.live().then(|| {
            let style = ProgressStyle::with_template("{bar:32.cyan/blue} {pos}/{len}  {msg}")
                .unwrap_or_else(|_| ProgressStyle::default_bar());
            ProgressBar::new(1).with_style(style)
        });
        let bytes = sites.into_iter().map(|site| (site.to_owned(), 0)).collect();
        Self {
            out,
            bar,
            stage: String::new(),
            bytes,
            last_plain_step: 0,
        }
    }

    /// Shows one event. `Some` when the run is over: with its result, or the reason it failed.
    pub(crate) fn event(&mut self, event: &Value) -> Option<Result<Value, String>> {
        match event["event"].as_str().unwrap_or_default() {
            "stage" => {
                let stage = event["stage"].as_str().unwrap_or_default();
                if stage != self.stage {
                    stage.clone_into(&mut self.stage);
                    self.print(&format!("stage  {stage}"));
                }
            }
            "step" => self.step(event),
            "leaderboard" => self.leaders(&event["rows"]),
            "waiting" => self.print(&format!("waiting  {}", text(&event["reason"]))),
            "note" => self.print(text(&event["text"])),
            "finished" => {
                self.finish();
                return Some(match event["status"].as_str() {
                    Some("champion") => Ok(event["result"].clone()),
                    _ => Err(text(&event["reason"]).to_owned()),
                });
            }
            // Events of a newer coordinator that this board does not know are not shown.
            _ => {}
        }
        None
    }

    /// Shows what a search in this process tells.
    pub(crate) fn search(&mut self, progress: &Progress) {
        let event = match progress {
            Progress::Stage { stage } => json!({ "event": "stage", "stage": stage }),
            Progress::Step {
                step,
                about,
                parts,
                contributors,
                ..
            } => json!({
                "event": "step",
                "step": step,
                "about": about,
                "candidates": parts,
                "contributors": vec![(); *contributors as usize],
            }),
            Progress::Leaderboard { standings } => json!({
                "event": "leaderboard",
                "rows": standings.iter().map(row).collect::<Vec<_>>(),
            }),
        };
        // A search that ends returns its outcome; no event says so.
        let _ = self.event(&event);
    }

    /// Takes the board off the screen.
    pub(crate) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn step(&mut self, event: &Value) {
        let step = event["step"].as_u64().unwrap_or_default();
        let about = event["about"].as_u64().unwrap_or(step).max(step);
        if let Some(sent) = event["bytes_up"].as_object() {
            for (site, count) in sent {
                self.bytes
                    .insert(site.clone(), count.as_u64().unwrap_or_default());
            }
        }
        let candidates = event["candidates"].as_u64().unwrap_or_default();
        let contributors = event["contributors"].as_array().map_or(0, Vec::len);
        let message = format!(
            "{:<8} {candidates:>2} parts, {contributors} sites in the sum{}",
            self.stage,
            self.sent()
        );
        match &self.bar {
            Some(bar) => {
                bar.set_length(about);
                bar.set_position(step);
                bar.set_message(message);
            }
            None if step >= self.last_plain_step + PLAIN_LINE_EVERY
                || self.last_plain_step == 0 =>
            {
                self.last_plain_step = step.max(1);
                self.out
                    .say(format!("step {step:>3} of about {about}  {message}"));
            }
            None => {}
        }
    }

    fn sent(&self) -> String {
        let sites: Vec<String> = self
            .bytes
            .iter()
            .filter(|(_, count)| **count > 0)
            .map(|(site, count)| format!("{site} {}", output::bytes(*count)))
            .collect();
        if sites.is_empty() {
            String::new()
        } else {
            format!(", sent {}", sites.join(", "))
        }
    }

    fn leaders(&self, rows: &Value) {
        let Some(best) = rows.as_array().and_then(|rows| rows.first()) else {
            return;
        };
        self.print(&format!(
            "leader {}  validation loss {:.4}",
            text(&best["candidate"]),
            best["loss"].as_f64().unwrap_or(f64::NAN)
        ));
    }

    fn print(&self, line: &str) {
        match &self.bar {
            Some(bar) => bar.println(line),
            None => self.out.say(line),
        }
    }
}

/// A line of the leaderboard, as the coordinator's events have it.
pub(crate) fn row(standing: &Standing) -> Value {
    json!({
        "candidate": standing.name,
        "id": standing.id,
        "loss": standing.loss,
        "se": standing.loss_se,
        "steps": standing.steps,
        "state": standing.state,
    })
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
