//! The leaderboard as programs and people read it: JSON rows for events and result files, and a
//! table for spreadsheets.

use serde_json::{Value, json};

use crate::search::observer::{Standing, State};
use crate::search::path::{History, Rung};

/// Columns of the table, in order.
const COLUMNS: [&str; 14] = [
    "place",
    "candidate",
    "family",
    "state",
    "loss",
    "loss_se",
    "metric",
    "steps_trained",
    "steps_taken",
    "numbers",
    "bytes_up_per_site",
    "path",
    "why",
    "id",
];

/// Standings, best first, and what a number cost.
#[derive(Clone, Copy, Debug)]
pub struct Leaderboard<'a> {
    standings: &'a [Standing],
    bytes_per_number: Option<f64>,
}

impl<'a> Leaderboard<'a> {
    /// Standings in the order of the round's outcome.
    #[must_use]
    pub fn new(standings: &'a [Standing]) -> Self {
        Self {
            standings,
            bytes_per_number: None,
        }
    }

    /// Shares the bytes that a site sent in the round out among the candidates, by the numbers
    /// that they asked for; `bytes` and `numbers` are of the whole round.
    #[must_use]
    pub fn with_traffic(self, bytes: Option<u64>, numbers: u64) -> Self {
        let each = |bytes: u64| (numbers > 0).then(|| bytes as f64 / numbers as f64);
        Self {
            bytes_per_number: bytes.and_then(each),
            ..self
        }
    }

    /// One JSON object for each candidate: `candidate`, `family`, `id`, `loss`, `se`, `steps` and
    /// `state`; with a history also `metric`, `path`, `cost`, `why`, and after a local search
    /// `local_loss`.
    #[must_use]
    pub fn rows(self) -> Vec<Value> {
        self.standings.iter().map(|it| self.row(it)).collect()
    }

    fn row(self, standing: &Standing) -> Value {
        let mut row = json!({
            "candidate": standing.name,
            "family": standing.family,
            "id": standing.id,
            "loss": standing.loss,
            "se": standing.loss_se,
            "steps": standing.steps,
            "state": standing.state,
        });
        if let (Some(fields), Some(history)) = (row.as_object_mut(), &standing.history) {
            let more = json!({
                "metric": history.metric,
                "path": history.path,
                "cost": {
                    "steps": history.cost.steps,
                    "numbers": history.cost.numbers,
                    "bytes_up_per_site": self.bytes(history),
                },
                "why": history.ended.as_ref().map(ToString::to_string),
            });
            if let Value::Object(more) = more {
                fields.extend(more);
            }
            if let Some(loss) = history.local {
                fields.insert("local_loss".to_owned(), loss.into());
            }
        }
        row
    }

    fn bytes(self, history: &History) -> Option<u64> {
        let each = self.bytes_per_number?;
        Some(libm::round(history.cost.numbers as f64 * each) as u64)
    }

    /// The table as CSV with a header (RFC 4180, lines end in LF): one line for each candidate, the
    /// best first. Losses and errors have six decimals; what is not known is empty.
    #[must_use]
    pub fn csv(self) -> String {
        let mut text = COLUMNS.join(",") + "\n";
        for (place, standing) in (1_u32..).zip(self.standings) {
            text.push_str(&self.line(place, standing).join(","));
            text.push('\n');
        }
        text
    }

    fn line(self, place: u32, standing: &Standing) -> [String; COLUMNS.len()] {
        let history = standing.history.as_ref();
        let cost = |figure: fn(&History) -> String| history.map(figure).unwrap_or_default();
        let path = history.map(path);
        let why = history.and_then(|it| it.ended.as_ref());
        let bytes = history.and_then(|it| self.bytes(it));
        [
            place.to_string(),
            quoted(&standing.name),
            quoted(&standing.family),
            state(standing.state).to_owned(),
            figure(standing.loss),
            figure(standing.loss_se),
            figure(history.and_then(|it| it.metric)),
            standing.steps.to_string(),
            cost(|it| it.cost.steps.to_string()),
            cost(|it| it.cost.numbers.to_string()),
            bytes.map(|it| it.to_string()).unwrap_or_default(),
            quoted(&path.unwrap_or_default().join("; ")),
            quoted(&why.map(ToString::to_string).unwrap_or_default()),
            standing.id.to_string(),
        ]
    }
}

/// What became of a candidate, at the end of a round: one that was never dropped is a finalist.
fn state(state: State) -> &'static str {
    match state {
        State::Running => "finalist",
        State::Dropped => "dropped",
        State::Member => "in the blend",
        State::Champion => "champion",
    }
}

/// What a candidate had to show, one after the other.
fn path(history: &History) -> Vec<String> {
    let local = history.local.iter();
    let local = local.map(|loss| format!("local search: {loss:.4}"));
    local.chain(history.path.iter().map(in_words)).collect()
}

/// "rung 1: 0.3716 ± 0.0214 after 6 steps, 2 of 15".
fn in_words(rung: &Rung) -> String {
    let loss = match (rung.loss, rung.se) {
        (Some(loss), Some(se)) => format!("{loss:.4} ± {se:.4}"),
        (Some(loss), None) => format!("{loss:.4}"),
        (None, _) => "not scored".to_owned(),
    };
    format!(
        "rung {}: {loss} after {} steps, {} of {}",
        rung.rung, rung.steps, rung.rank, rung.of
    )
}

fn figure(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| format!("{value:.6}"))
}

/// A cell of a table, in quotes where it needs them.
fn quoted(text: &str) -> String {
    if text.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::ObjectId;
    use crate::search::path::{Cost, Ended};

    fn standing(history: Option<History>) -> Standing {
        Standing {
            id: ObjectId::of(b"candidate"),
            name: "net [64, 32] lr 0.01 on \"smooth\"".to_owned(),
            family: "net".to_owned(),
            loss: Some(0.5),
            loss_se: None,
            steps: 12,
            state: State::Running,
            history,
        }
    }

    fn history() -> History {
        History {
            local: None,
            path: vec![Rung {
                rung: 1,
                steps: 20,
                loss: Some(0.5),
                se: Some(0.125),
                rank: 2,
                of: 6,
            }],
            cost: Cost {
                steps: 21,
                numbers: 2000,
            },
            metric: None,
            ended: Some(Ended::NoGain { steps: 11 }),
        }
    }

    #[test]
    fn events_stay_small_and_results_tell_the_path() {
        let plain = [standing(None)];
        let rows = Leaderboard::new(&plain).rows();
        assert_eq!(rows[0]["family"], "net");
        assert!(rows[0].get("path").is_none() && rows[0].get("cost").is_none());
        let full = [standing(Some(history()))];
        let rows = Leaderboard::new(&full)
            .with_traffic(Some(30_000), 10_000)
            .rows();
        assert_eq!(rows[0]["path"][0]["rank"], 2);
        assert_eq!(rows[0]["why"], "no gain in 11 steps");
        let cost = json!({ "steps": 21, "numbers": 2000, "bytes_up_per_site": 6000 });
        assert_eq!(rows[0]["cost"], cost);
    }

    #[test]
    fn the_table_is_csv_with_a_line_for_each_candidate() {
        let standings = [standing(Some(history())), standing(None)];
        let csv = Leaderboard::new(&standings)
            .with_traffic(Some(30_000), 10_000)
            .csv();
        let id = ObjectId::of(b"candidate");
        let expected = format!(
            "place,candidate,family,state,loss,loss_se,metric,steps_trained,steps_taken,numbers,\
             bytes_up_per_site,path,why,id\n\
             1,\"net [64, 32] lr 0.01 on \"\"smooth\"\"\",net,finalist,0.500000,,,12,21,2000,6000,\
             \"rung 1: 0.5000 ± 0.1250 after 20 steps, 2 of 6\",no gain in 11 steps,{id}\n\
             2,\"net [64, 32] lr 0.01 on \"\"smooth\"\"\",net,finalist,0.500000,,,12,,,,,,{id}\n"
        );
        assert_eq!(csv, expected);
    }
}
