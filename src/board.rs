//! The progress of a run: a live board on a terminal, plain lines elsewhere, JSON lines for
//! programs. `task watch`, the demo and the simulation show the same board; its input is the
//! coordinator's progress events (JSON objects). [`view`] says what they mean, [`time_left`] how
//! long it may still take.

mod time_left;
mod view;

use std::io::Write as _;
use std::time::{Duration, Instant};

use collegium_automl::search::{Leaderboard, Progress};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::output::{Output, print_line};
pub(crate) use time_left::in_words as time_in_words;
use view::{View, text};

/// How often the clock of a live board ticks while no event comes.
const TICK: Duration = Duration::from_secs(1);

/// Where a board is shown.
enum Screen {
    /// On a terminal, redrawn in place.
    Live(ProgressBar),
    /// In a log.
    Lines(Output),
    /// As JSON lines on standard output, which has nothing else.
    Events,
    /// As JSON lines on standard error, beside a result on standard output.
    EventsAside,
}

/// Shows progress events as they come.
pub(crate) struct Board {
    screen: Screen,
    view: View,
    sites: Vec<String>,
    /// The clock of events that bring none.
    began: Instant,
}

impl Board {
    /// A board beside a result, for the sites of the given names.
    pub(crate) fn new<'a>(out: Output, sites: impl IntoIterator<Item = &'a str>) -> Self {
        let screen = if out.json() {
            Screen::EventsAside
        } else if out.live() {
            Screen::Live(bar())
        } else {
            Screen::Lines(out)
        };
        Self {
            screen,
            view: View::default(),
            sites: sites.into_iter().map(str::to_owned).collect(),
            began: Instant::now(),
        }
    }

    /// A board whose JSON lines are the command's output.
    pub(crate) fn of_events(out: Output) -> Self {
        let mut board = Self::new(out, []);
        if out.json() {
            board.screen = Screen::Events;
        }
        board
    }

    /// Shows one event. `Some` when the run is over: with its result, or the reason it failed.
    ///
    /// # Errors
    /// When standard output cannot be written.
    pub(crate) fn event(&mut self, event: &Value) -> anyhow::Result<Option<Result<Value, String>>> {
        let line = match text(&event["event"]) {
            "stage" => self.view.stage(event),
            "step" => self.view.step(event, event["seconds"].as_f64()),
            "leaderboard" => self.view.leaderboard(event),
            "waiting" => {
                self.view.waits();
                Some(format!("waiting  {}", text(&event["reason"])))
            }
            "note" => Some(text(&event["text"]).to_owned()),
            // Events of a newer coordinator that this board does not know are not shown.
            _ => None,
        };
        self.show(event, line)?;
        if text(&event["event"]) != "finished" {
            return Ok(None);
        }
        self.finish();
        Ok(Some(match event["status"].as_str() {
            Some("champion") => Ok(event["result"].clone()),
            _ => Err(text(&event["reason"]).to_owned()),
        }))
    }

    /// Shows what a search in this process tells; `bytes` is what each site would have sent.
    pub(crate) fn search(&mut self, progress: &Progress, bytes: Option<u64>) {
        let mut event = match progress {
            Progress::Stage { stage } => json!({ "event": "stage", "stage": stage }),
            Progress::Step {
                step,
                about,
                stage,
                parts,
                numbers,
                contributors,
            } => json!({
                "event": "step",
                "stage": stage,
                "step": step,
                "about": about,
                "candidates": parts,
                "numbers": numbers,
                "contributors": self.sites.iter().take(*contributors as usize).collect::<Vec<_>>(),
                "bytes_up": self.sites.iter().zip(bytes.into_iter().cycle())
                    .map(|(site, bytes)| (site.clone(), Value::from(bytes)))
                    .collect::<serde_json::Map<_, _>>(),
            }),
            Progress::Leaderboard { standings } => json!({
                "event": "leaderboard",
                "rows": Leaderboard::new(standings).rows(),
            }),
        };
        event["seconds"] = (self.began.elapsed().as_millis() as f64 / 1000.0).into();
        // A search that ends returns its outcome; no event says so. Its progress goes to standard
        // error, and losing that is no error.
        let _ = self.event(&event);
    }

    /// Takes the board off the screen.
    pub(crate) fn finish(&mut self) {
        if let Screen::Live(bar) = &self.screen {
            bar.finish_and_clear();
        }
    }

    fn show(&self, event: &Value, line: Option<String>) -> anyhow::Result<()> {
        match &self.screen {
            Screen::Live(bar) => {
                // The panel has the leaders and the steps already.
                let told = matches!(text(&event["event"]), "waiting" | "note" | "stage");
                if let Some(line) = line.filter(|_| told) {
                    bar.println(line);
                }
                let (step, about) = self.view.steps();
                bar.set_length(about.max(1));
                bar.set_position(step);
                bar.set_message(self.view.panel());
                Ok(())
            }
            Screen::Lines(out) => {
                if let Some(line) = line {
                    out.say(line);
                }
                Ok(())
            }
            Screen::Events => print_line(&self.with_time_left(event).to_string()),
            Screen::EventsAside => {
                let line = self.with_time_left(event);
                // Nobody has to listen to progress.
                let _ = writeln!(std::io::stderr(), "{line}");
                Ok(())
            }
        }
    }

    /// The event with `seconds_left`: this command's estimate, where it has one.
    fn with_time_left(&self, event: &Value) -> Value {
        let mut event = event.clone();
        if text(&event["event"]) == "step"
            && let Some(seconds) = self.view.seconds_left()
        {
            event["seconds_left"] = ((seconds * 10.0).round() / 10.0).into();
        }
        event
    }
}

fn bar() -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{bar:24.cyan/blue} step {pos} of at most {len}, {elapsed} so far\n{msg}",
    )
    .unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(1).with_style(style);
    bar.enable_steady_tick(TICK);
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_events_bring_the_time_that_is_left() {
        let mut board = Board::new(Output::new(true), ["a", "b"]);
        for step in 1..=5 {
            let event = json!({ "event": "step", "step": step, "about": 15, "seconds": 2 * step });
            assert!(board.event(&event).expect("shown").is_none());
        }
        let event = json!({ "event": "step", "step": 5 });
        assert_eq!(board.with_time_left(&event)["seconds_left"], 20.0);
        let note = json!({ "event": "note", "text": "x" });
        assert_eq!(board.with_time_left(&note), note);
    }

    #[test]
    fn the_last_event_ends_the_board() {
        let mut board = Board::new(Output::new(true), []);
        let won = json!({ "event": "finished", "status": "champion", "result": { "steps": 3 } });
        let result = board.event(&won).expect("shown").expect("over");
        assert_eq!(result.expect("a champion")["steps"], 3);
        let lost = json!({ "event": "finished", "status": "failed", "reason": "no quorum" });
        let reason = board.event(&lost).expect("shown").expect("over");
        assert_eq!(reason.expect_err("no champion"), "no quorum");
    }
}
