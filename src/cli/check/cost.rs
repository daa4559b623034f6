//! About what a task would cost: steps, bytes and time.

use std::collections::BTreeMap;
use std::time::Instant;

use collegium_automl::search::{Estimate, Guess, SearchError, StepShape, estimate};
use collegium_automl::table::Table;
use collegium_automl::task::Task;
use serde_json::{Value, json};

use crate::board::time_in_words;
use crate::output;
use crate::simulate::upload_bytes;
use crate::words::paragraph;

/// Seconds of a step in which nothing large is sent: messages, signatures, disk syncs. 24 ms were
/// measured between processes of one machine (`docs/benchmarks.md`); a wide-area network adds about
/// seven messages one after the other, at 10 ms each.
const STEP_SECONDS: f64 = 0.1;
/// Bytes a second that a site sends: 100 Mbit/s.
const UPLINK: f64 = 12.5e6;

/// About what a task would cost.
pub(super) struct Costs {
    pub(super) estimate: Estimate,
    pub(super) guess: Guess,
    preset: &'static str,
    /// Steps, and bytes up from each site, by stage and in order.
    stages: Vec<(String, u32, u64)>,
    /// Seconds that the slowest site computes, on a machine like this one.
    computing: f64,
}

impl Costs {
    /// Tries the task on a table.
    ///
    /// # Errors
    /// As [`estimate`].
    pub(super) fn of(task: &Task, table: &Table, guess: Guess) -> Result<Self, SearchError> {
        let mut began: Option<(String, Instant)> = None;
        let mut seconds: BTreeMap<String, f64> = BTreeMap::new();
        let mut clock = |family: &str| {
            let now = Instant::now();
            if let Some((last, start)) = began.replace((family.to_owned(), now)) {
                seconds.insert(last, (now - start).as_secs_f64());
            }
        };
        let estimate = estimate(task, table, guess, &mut clock)?;
        let (mut computing, mut alone) = (0.0, 0.0);
        for family in &estimate.families {
            let tried = seconds.get(family.name).copied().unwrap_or(0.0);
            let step = tried / f64::from(family.tried.max(1));
            computing += step * f64::from(family.expected);
            alone += step * f64::from(family.alone);
        }
        // Sites compute side by side, each over its own rows, in a local search over some of them.
        let own_rows = guess.rows as f64 / guess.sites as f64;
        let sample = estimate.sample.max(1) as f64;
        computing *= (own_rows / sample).max(1.0);
        computing += alone * (own_rows.min(estimate.alone_rows as f64) / sample);
        Ok(Self {
            stages: stages(&estimate.steps, guess.sites),
            estimate,
            guess,
            preset: task.preset.name(),
            computing,
        })
    }

    fn steps(&self) -> u32 {
        self.stages.iter().map(|(_, steps, _)| steps).sum()
    }

    fn bytes(&self) -> u64 {
        self.stages.iter().map(|(_, _, bytes)| bytes).sum()
    }

    fn seconds(&self) -> f64 {
        let sending = self.bytes() as f64 / UPLINK;
        self.computing + sending + STEP_SECONDS * f64::from(self.steps())
    }

    /// The text; `table` says what was tried.
    pub(super) fn in_words(&self, table: &str) -> String {
        let mut text = String::from("About what it would cost (an estimate, not a promise)\n");
        let list = |words: Vec<String>| words.join(", ");
        let steps = self.stages.iter();
        let steps = steps.map(|(stage, steps, _)| format!("{} {steps}", in_words(stage)));
        paragraph(
            &mut text,
            "steps",
            &format!(
                "about {} secure sums ({}), at most {}",
                self.steps(),
                list(steps.collect()),
                self.estimate.most
            ),
        );
        let sent = self.stages.iter();
        let sent =
            sent.map(|(stage, _, bytes)| format!("{} {}", in_words(stage), output::bytes(*bytes)));
        paragraph(
            &mut text,
            "sent",
            &format!(
                "about {} by each site ({})",
                output::bytes(self.bytes()),
                list(sent.collect())
            ),
        );
        paragraph(
            &mut text,
            "time",
            &format!(
                "about {}: {} of computing at a site, on a machine like this one, {} of sending at \
                 100 Mbit/s, and {STEP_SECONDS} s a step for messages",
                time_in_words(self.seconds()),
                time_in_words(self.computing),
                time_in_words(self.bytes() as f64 / UPLINK),
            ),
        );
        let families = self.estimate.families.iter();
        let families = families.map(|it| format!("{} {}", it.candidates, it.name));
        paragraph(
            &mut text,
            "for",
            &format!(
                "{} rows at {} sites together, {table}, preset `{}`, candidates: {}",
                self.guess.rows,
                self.guess.sites,
                self.preset,
                list(families.collect())
            ),
        );
        paragraph(
            &mut text,
            "how",
            &format!(
                "every candidate was tried here for up to 16 steps on {} rows; how long trees and \
                 networks go on gaining is taken from what is usual. Steps are as a rule right \
                 within a fifth or five, bytes within a factor of two, and time says the order of magnitude.",
                self.estimate.sample
            ),
        );
        text
    }

    /// The same for programs.
    pub(super) fn as_json(&self, table: &str) -> Value {
        let by_stage = |stage: &(String, u32, u64)| {
            let (name, steps, bytes) = stage;
            let value = json!({ "steps": steps, "bytes_up_per_site": bytes });
            (name.clone(), value)
        };
        let families = self.estimate.families.iter();
        let families = families.map(|it| (it.name.to_owned(), it.candidates.into()));
        json!({
            "steps": self.steps(),
            "steps_at_most": self.estimate.most,
            "bytes_up_per_site": self.bytes(),
            "seconds": self.seconds().round(),
            "stages": self.stages.iter().map(by_stage).collect::<serde_json::Map<_, _>>(),
            "candidates": families.collect::<serde_json::Map<_, _>>(),
            "computed_from": {
                "rows": self.guess.rows,
                "sites": self.guess.sites,
                "preset": self.preset,
                "table": table,
                "sample_rows": self.estimate.sample,
                "bytes_per_second": UPLINK,
                "seconds_per_step": STEP_SECONDS,
            },
        })
    }
}

/// Steps and bytes of each stage, in the order in which they come.
fn stages(steps: &[StepShape], sites: usize) -> Vec<(String, u32, u64)> {
    let mut stages: Vec<(String, u32, u64)> = Vec::new();
    // Most steps of a race are like the one before.
    let mut before: Option<(&StepShape, u64)> = None;
    for step in steps {
        let bytes = match before {
            Some((like, bytes)) if like.segments == step.segments => bytes,
            _ => upload_bytes(&step.segments, sites).unwrap_or(0),
        };
        before = Some((step, bytes));
        let name = stage(step);
        match stages.last_mut() {
            Some((last, steps, sum)) if *last == name => {
                *steps += 1;
                *sum += bytes;
            }
            _ => stages.push((name, 1, bytes)),
        }
    }
    stages
}

/// A stage's name for people.
fn in_words(stage: &str) -> String {
    stage.replace('_', " ")
}

fn stage(step: &StepShape) -> String {
    let word = serde_json::to_value(step.stage).unwrap_or_default();
    word.as_str().unwrap_or_default().to_owned()
}
