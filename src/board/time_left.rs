//! How long a run may still take, told from the clock of its last steps.
//!
//! Only who shows a run reads a clock; the search has none. The estimate is the pace of the last
//! steps times the steps that are left at most, so it errs towards too long: candidates drop out,
//! and most searches end before their last step.

use std::collections::VecDeque;

/// Steps whose pace is looked at: later steps are cheaper than earlier ones, so not too many.
const WINDOW: usize = 10;
/// Fewer steps say nothing of the pace.
const FEWEST: usize = 3;

/// The pace of a run's last steps.
#[derive(Clone, Debug, Default)]
pub(super) struct TimeLeft {
    /// Steps and the seconds of the run's clock when each was done, the oldest first.
    marks: VecDeque<(u64, f64)>,
}

impl TimeLeft {
    /// Step `step` was done when the run had taken `seconds`.
    pub(super) fn step(&mut self, step: u64, seconds: f64) {
        // A coordinator that was restarted goes through its journal anew.
        if self.marks.back().is_some_and(|(last, _)| *last >= step) {
            self.marks.clear();
        }
        if self.marks.len() > WINDOW {
            self.marks.pop_front();
        }
        self.marks.push_back((step, seconds));
    }

    /// The run stood still, or steps of another kind begin: what was measured does not count.
    pub(super) fn forget(&mut self) {
        self.marks.clear();
    }

    /// Seconds that steps up to `about` would take at the pace of the last ones.
    pub(super) fn seconds(&self, about: u64) -> Option<f64> {
        let (first, began) = self.marks.front()?;
        let (last, now) = self.marks.back()?;
        if self.marks.len() <= FEWEST {
            return None;
        }
        let pace = (now - began).max(0.0) / (last - first).max(1) as f64;
        Some(pace * about.saturating_sub(*last) as f64)
    }
}

/// A time as a person says it: "8 s", "3 min", "1 h 20 min".
pub(crate) fn in_words(seconds: f64) -> String {
    let whole = seconds.max(0.0).ceil() as u64;
    match whole {
        0..=99 => format!("{whole} s"),
        100..=5399 => format!("{} min", whole.div_ceil(60)),
        _ => {
            let minutes = whole.div_ceil(60);
            format!("{} h {} min", minutes / 60, minutes % 60)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pace_of_the_last_steps_counts() {
        let mut left = TimeLeft::default();
        for step in 1..=3 {
            left.step(step, 10.0 * step as f64);
            assert_eq!(left.seconds(100), None, "{step} steps say nothing");
        }
        left.step(4, 40.0);
        assert_eq!(left.seconds(100), Some(960.0));
        // Later steps take a second each, and after enough of them nothing else counts.
        for step in 5..=30 {
            left.step(step, 36.0 + step as f64);
        }
        assert_eq!(left.seconds(100), Some(70.0));
        assert_eq!(left.seconds(20), Some(0.0), "more steps than were said");
        left.forget();
        assert_eq!(left.seconds(100), None);
    }

    #[test]
    fn a_journal_gone_through_anew_is_no_pace() {
        let mut left = TimeLeft::default();
        for step in 1..=8 {
            left.step(step, step as f64);
        }
        left.step(1, 9.0);
        assert_eq!(left.seconds(100), None);
    }

    #[test]
    fn times_are_said_as_people_do() {
        for (seconds, words) in [
            (0.2, "1 s"),
            (99.0, "99 s"),
            (100.0, "2 min"),
            (3599.0, "60 min"),
            (4801.0, "81 min"),
            (5400.0, "1 h 30 min"),
            (90_000.0, "25 h 0 min"),
        ] {
            assert_eq!(in_words(seconds), words);
        }
    }
}
