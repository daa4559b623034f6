//! What a candidate went through in a race: what it had to show at each rung, what it cost, and
//! why it trained no further.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::search::observer::Early;

/// A gap of more standard errors than this is no accident.
const ERRORS: f64 = 2.0;

/// A candidate's path through the race.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct History {
    /// What it had to show at the end of each rung that it reached, the first one first.
    pub path: Vec<Rung>,
    /// Mean validation loss of the models that the sites made alone in the local search; `None` for
    /// who did not take part in one. Of other rows and models than losses in the race.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<f64>,
    /// What it cost.
    pub cost: Cost,
    /// The task's metric on the validation rows, in the metric's own unit; for finalists only, and
    /// where the sums give it.
    pub metric: Option<f64>,
    /// Why it trained no further.
    pub ended: Option<Ended>,
}

/// What a candidate had to show at the end of a rung.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rung {
    /// The rung, from 1.
    pub rung: u32,
    /// Steps that the candidate had trained.
    pub steps: u32,
    /// Mean validation loss, as in [`crate::search::Standing::loss`]; `None` before it was scored.
    pub loss: Option<f64>,
    /// Its standard error.
    pub se: Option<f64>,
    /// Place in its family, from 1, by that loss.
    pub rank: u32,
    /// Candidates of the family that were in this rung.
    pub of: u32,
}

/// What a candidate cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// Secure sums that it took part in, the closing one included.
    pub steps: u32,
    /// Numbers that it asked for, summed over those.
    pub numbers: u64,
}

impl Cost {
    /// Adds steps with this many numbers.
    pub(crate) fn add(&mut self, steps: u32, numbers: usize) {
        self.steps += steps;
        self.numbers += numbers as u64;
    }
}

/// Why a candidate trained no further.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case", deny_unknown_fields)]
pub enum Ended {
    /// Others of its family were better in the local search, so that it never raced.
    LocalSearch {
        /// Its place in its family by local loss, from 1.
        rank: u32,
        /// Candidates of the family that competed for places in the race.
        of: u32,
        /// Places that went to the best of them.
        kept: u32,
        /// Places that were drawn by lot among the others.
        lots: u32,
    },
    /// Others of its family were better when a rung ended.
    Outranked {
        /// The rung, from 1.
        rung: u32,
        /// Rungs of the race.
        rungs: u32,
        /// Its place in its family, from 1.
        rank: u32,
        /// Candidates of the family in this rung.
        of: u32,
        /// How many of them went on.
        kept: u32,
    },
    /// It lay more than two standard errors behind its family's leader and was not catching up.
    LeftBehind {
        /// The rung, from 1.
        rung: u32,
        /// Rungs of the race.
        rungs: u32,
        /// How much worse it was.
        behind: Behind,
    },
    /// Further steps would have changed nothing.
    Trained {
        /// Steps that it trained.
        steps: u32,
    },
    /// Its validation loss fell no more.
    NoGain {
        /// Steps without a gain.
        steps: u32,
    },
    /// The last rung ended.
    LastRung {
        /// Rungs of the race.
        rungs: u32,
    },
    /// The race closed early.
    Closed {
        /// Why.
        early: Early,
    },
}

/// A gap between two mean validation losses over the same rows.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Behind {
    /// The difference, above 0.
    pub loss: f64,
    /// At most its standard error, see `left_behind`.
    pub se: f64,
}

/// How far a candidate lies behind its family's leader, where that is more than two standard
/// errors and has not become less since the rung before.
///
/// Sums of Σ loss and Σ loss² know nothing of how the losses of two models go together, row by
/// row, so the error of their difference is not known. It is at most √(se² + se²), as the models of
/// one family are wrong on the same rows (their losses do not move against each other): what is
/// beyond twice that is beyond two paired errors too, and what is not stays in the race. One look
/// is not enough, since a slow learner is far behind at first: a candidate that gains on the
/// leader from one rung to the next stays as well.
pub(crate) fn left_behind(own: &[Rung], leader: &[Rung]) -> Option<Behind> {
    let [.., own_before, own] = own else {
        return None;
    };
    let [.., leader_before, leader] = leader else {
        return None;
    };
    let gap = |own: &Rung, leader: &Rung| Some(own.loss? - leader.loss?);
    let behind = Behind {
        loss: gap(own, leader)?,
        se: libm::hypot(own.se?, leader.se?),
    };
    let far = behind.loss > ERRORS * behind.se;
    (far && behind.loss >= gap(own_before, leader_before)?).then_some(behind)
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::LocalSearch {
                rank,
                of,
                kept,
                lots,
            } => write!(
                f,
                "behind in the local search: {} of {of} of its family, best {kept} raced, and \
                 {lots} drawn by lot",
                ordinal(*rank)
            ),
            Self::Outranked {
                rung,
                rungs,
                rank,
                of,
                kept,
            } => write!(
                f,
                "rung {rung} of {rungs}: {} of {of} of its family, best {kept} {}",
                ordinal(*rank),
                if *kept == 1 { "goes on" } else { "go on" }
            ),
            Self::LeftBehind {
                rung,
                rungs,
                behind,
            } => write!(
                f,
                "rung {rung} of {rungs}: {:.4} worse than its family's leader, more than two \
                 standard errors ({:.4}), and not catching up",
                behind.loss, behind.se
            ),
            Self::Trained { steps } => {
                write!(f, "nothing left to learn after {}", counted(*steps))
            }
            Self::NoGain { steps } => write!(f, "no gain in {}", counted(*steps)),
            Self::LastRung { rungs } => write!(f, "trained until the last of {rungs} rungs"),
            Self::Closed { early } => write!(f, "the race closed: {early}"),
        }
    }
}

fn counted(steps: u32) -> String {
    match steps {
        1 => "1 step".to_owned(),
        _ => format!("{steps} steps"),
    }
}

/// 1st, 2nd, 3rd, 4th, …, 11th, …, 21st.
fn ordinal(number: u32) -> String {
    let suffix = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(losses: &[f64], se: f64) -> Vec<Rung> {
        let rungs = losses.iter().zip(1..);
        rungs
            .map(|(loss, rung)| Rung {
                rung,
                steps: 10 * rung,
                loss: Some(*loss),
                se: Some(se),
                rank: 1,
                of: 2,
            })
            .collect()
    }

    #[test]
    fn only_who_is_far_behind_twice_and_does_not_catch_up_is_left_behind() {
        // Each error .03 and .04: .05 together, so the border is at .1.
        let leader = path(&[0.50, 0.40], 0.03);
        let behind = left_behind(&path(&[0.60, 0.51], 0.04), &leader).expect("left behind");
        assert!((behind.loss - 0.11).abs() < 1e-12 && (behind.se - 0.05).abs() < 1e-12);
        for (losses, why) in [
            ([0.55, 0.49], "a gap within two errors"),
            ([0.70, 0.55], "a gap that became less"),
            ([0.30, 0.35], "better than the leader"),
        ] {
            assert_eq!(left_behind(&path(&losses, 0.04), &leader), None, "{why}");
        }
        // Nobody is judged by one look, or by a loss that is not known.
        assert_eq!(left_behind(&path(&[0.9], 0.04), &leader[..1]), None);
        let mut unknown = path(&[0.60, 0.51], 0.04);
        unknown[1].loss = None;
        assert_eq!(left_behind(&unknown, &leader), None);
    }

    #[test]
    fn reasons_are_plain_words() {
        let ended = Ended::Outranked {
            rung: 1,
            rungs: 3,
            rank: 4,
            of: 9,
            kept: 3,
        };
        assert_eq!(
            ended.to_string(),
            "rung 1 of 3: 4th of 9 of its family, best 3 go on"
        );
        let ended = Ended::LocalSearch {
            rank: 12,
            of: 30,
            kept: 5,
            lots: 1,
        };
        assert_eq!(
            ended.to_string(),
            "behind in the local search: 12th of 30 of its family, best 5 raced, and 1 drawn by lot"
        );
        assert_eq!(
            Ended::NoGain { steps: 11 }.to_string(),
            "no gain in 11 steps"
        );
        assert_eq!(
            Ended::Closed {
                early: Early::Steps
            }
            .to_string(),
            "the race closed: `max_steps` was reached"
        );
        let ordinals: Vec<String> = [1, 2, 3, 4, 11, 12, 13, 21, 112].map(ordinal).into();
        assert_eq!(
            ordinals.join(" "),
            "1st 2nd 3rd 4th 11th 12th 13th 21st 112th"
        );
    }

    #[test]
    fn histories_survive_json() {
        let history = History {
            path: path(&[0.5], 0.1),
            local: Some(0.6),
            cost: Cost {
                steps: 3,
                numbers: 77,
            },
            metric: Some(0.9),
            ended: Some(Ended::LeftBehind {
                rung: 2,
                rungs: 3,
                behind: Behind {
                    loss: 0.2,
                    se: 0.05,
                },
            }),
        };
        let json = serde_json::to_string(&history).expect("JSON");
        let back: History = serde_json::from_str(&json).expect("a history");
        assert_eq!(back, history);
    }
}
