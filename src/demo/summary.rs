//! What the demo prints at the end: the coordinator's result, and each hospital's own figures,
//! read from the hospital's directory because they never leave it.

use std::time::Duration;

use collegium_automl::calibrate::Threshold;
use serde::Deserialize;
use serde_json::{Value, json};

use super::consortium::Consortium;
use crate::output::{self, Output};

/// Lines of the leaderboard that people are shown.
const LEADERS: usize = 12;

/// Prints the result: one JSON object, or the tables for people.
pub(super) fn show(
    consortium: &Consortium,
    result: &Value,
    elapsed: Duration,
    peak_memory: Option<u64>,
    out: Output,
) -> anyhow::Result<()> {
    let run = result["run"].as_str().unwrap_or_default();
    let alone = consortium.site_reports(run)?;
    let object = json!({
        "champion": result["champion"],
        "test": result["test"],
        "metric": result["metric"],
        "round": result["round"],
        "sites_alone": alone,
        "steps": result["steps"],
        "early": result["early"],
        "privacy": result["privacy"],
        "bytes_up_per_site": result["bytes_up_per_site"],
        "seconds": round(elapsed.as_secs_f64(), 1),
        "ledger_entries": result["ledger_entries"],
        "peak_memory_bytes": peak_memory,
        "run": run,
        "dir": consortium.dir(),
        "leaderboard": result["leaderboard"],
    });
    let mut text = report(&object, &result["leaderboard"]);
    let directory = consortium.coordinator().join("runs").join(run);
    let champion = directory.join("champion.json");
    let rows = consortium.dir().join("cleveland").join("table.csv");
    text.push_str(&format!(
        "\nmodel    {champion}\nboard    {board}\nnext     collegium model predict {champion} {rows} -o scores.csv",
        champion = champion.display(),
        board = directory.join("leaderboard.csv").display(),
        rows = rows.display(),
    ));
    out.result(&object, text)
}

/// The tables for people, from the object that `--json` prints and the leaderboard.
pub(crate) fn report(object: &Value, leaderboard: &Value) -> String {
    let mut text =
        String::from("\nLeaderboard (validation loss from encrypted sums, smaller is better)\n");
    text.push_str(&leaders(leaderboard, object["metric"].as_str()));
    text.push_str("\n\nChampion on the test rows of all sites\n");
    text.push_str(&test_line(&object["test"]));
    if let Some(sentence) = decision(&object["champion"]["threshold"]) {
        text.push_str(&format!("\n\n{sentence}"));
    }
    text.push_str(&privacy(&object["privacy"]));
    for sentence in object["round"]["words"].as_array().into_iter().flatten() {
        text.push_str("\n\n");
        text.push_str(&word(sentence));
    }
    if object["sites_alone"].is_array() {
        text.push_str(
            "\n\nEach site's own test rows: the champion beside the site's best model alone\n",
        );
        text.push_str(&sites(&object["sites_alone"]));
    }
    let bytes = object["bytes_up_per_site"].as_object();
    let sent: Vec<String> = bytes
        .into_iter()
        .flatten()
        .map(|(site, count)| {
            format!(
                "{site} {}",
                output::bytes(count.as_u64().unwrap_or_default())
            )
        })
        .collect();
    text.push_str(&format!(
        "\n\nsteps    {} secure sums\nsent     {}\nledger   {} entries\ntime     {} s",
        object["steps"],
        sent.join(", "),
        object["ledger_entries"],
        object["seconds"]
    ));
    if let Some(reason) = object["early"].as_str() {
        text.push_str(&format!(
            "\nearly    the search closed with the best it had: {reason}"
        ));
    }
    if let Some(peak) = object["peak_memory_bytes"].as_u64() {
        text.push_str(&format!(
            "\nmemory   {} at the peak, all daemons together",
            output::bytes(peak)
        ));
    }
    text
}

/// What the run told about one row, if that has a bound.
fn privacy(told: &Value) -> String {
    if told.is_null() {
        return String::new();
    }
    let rho = |rows: &str| told["spent"][rows].as_f64().unwrap_or_default();
    format!(
        "\n\nprivacy  epsilon {}, delta {} for one {}, added or removed (zCDP: {:.5} of training \
         rows, {:.5} of test rows); figures are of noisy counts",
        told["epsilon"],
        told["delta"],
        word(&told["unit"]),
        rho("train"),
        rho("test"),
    )
}

/// The best candidates. Only finalists have the task's metric; where that is the loss itself it
/// would say everything twice.
fn leaders(rows: &Value, metric: Option<&str>) -> String {
    let all = rows.as_array().map_or(&[][..], Vec::as_slice);
    let metric = metric.filter(|name| *name != "log_loss");
    let mut header = vec!["", "candidate", "loss", "± se"];
    header.extend(metric);
    header.extend(["steps", "what became of it"]);
    let mut table = output::table(&header);
    for (place, row) in all.iter().take(LEADERS).enumerate() {
        let mut cells = vec![
            (place + 1).to_string(),
            word(&row["candidate"]),
            figure(&row["loss"]),
            figure(&row["se"]),
        ];
        cells.extend(metric.map(|_| figure(&row["metric"])));
        cells.extend([word(&row["steps"]), fate(row)]);
        table.add_row(cells);
    }
    let mut text = table.to_string();
    if let more @ 1.. = all.len().saturating_sub(LEADERS) {
        text.push_str(&format!("\nand {more} more; --json shows them all"));
    }
    text
}

fn test_line(test: &Value) -> String {
    let mut table = output::table(&["rows", "AUC", "± se", "log-loss", "accuracy"]);
    table.add_row(vec![
        test["rows"].to_string(),
        figure(&test["auc"]),
        figure(&test["auc_se"]),
        figure(&test["log_loss"]),
        figure(&test["accuracy"]),
    ]);
    table.to_string()
}

/// From which probability on a row is called positive, why, and what came of it.
fn decision(threshold: &Value) -> Option<String> {
    let threshold = Threshold::deserialize(threshold).ok()?;
    let mut text = format!(
        "A row is called positive from a probability of {:.3} on, chosen by {}.",
        threshold.probability,
        threshold.rule.words()
    );
    if let Some(rows) = threshold.test {
        let positives = rows.true_positives + rows.false_negatives;
        let negatives = rows.true_negatives + rows.false_positives;
        text.push_str(&format!(
            " Of the test rows, {} of {positives} positives are called so, and {} of {negatives} negatives.",
            rows.true_positives, rows.false_positives
        ));
    }
    Some(text)
}

fn sites(rows: &Value) -> String {
    let mut table = output::table(&[
        "site",
        "rows",
        "AUC together",
        "alone",
        "log-loss together",
        "alone",
        "accuracy together",
        "alone",
    ]);
    for row in rows.as_array().into_iter().flatten() {
        let (together, alone) = (&row["champion"], &row["alone"]);
        table.add_row(vec![
            word(&row["site"]),
            row["test_rows"].to_string(),
            figure(&together["auc"]),
            figure(&alone["auc"]),
            figure(&together["log_loss"]),
            figure(&alone["log_loss"]),
            figure(&together["accuracy"]),
            figure(&alone["accuracy"]),
        ]);
    }
    table.to_string()
}

/// What became of a candidate and why; one that was never dropped reached the final.
fn fate(row: &Value) -> String {
    let state = match row["state"].as_str() {
        Some("running") => "finalist".to_owned(),
        Some("member") => "in the blend".to_owned(),
        _ => word(&row["state"]),
    };
    match row["why"].as_str() {
        Some(why) => format!("{state}: {why}"),
        None => state,
    }
}

fn figure(value: &Value) -> String {
    value
        .as_f64()
        .map_or_else(|| "-".to_owned(), |value| format!("{value:.4}"))
}

fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// `value` with `digits` decimals, as a number.
pub(crate) fn round(value: f64, digits: i32) -> f64 {
    let scale = 10_f64.powi(digits);
    (value * scale).round() / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_threshold_is_told_with_its_reason_and_what_came_of_it() {
        let told = decision(&json!({
            "probability": 0.125,
            "rule": { "cost": { "false_positive": 1, "false_negative": 7 } },
            "test": {
                "true_positives": 30, "false_positives": 12, "true_negatives": 88, "false_negatives": 2,
            },
        }));
        let told = told.expect("a threshold");
        for words in [
            "0.125 on",
            "7 for a positive called negative",
            "30 of 32",
            "12 of 100",
        ] {
            assert!(told.contains(words), "{words} is missing in: {told}");
        }
        assert_eq!(decision(&Value::Null), None, "a regression has none");
    }

    #[test]
    fn the_leaderboard_says_what_became_of_whom() {
        let row = |name: String, state: &str, why: &str| {
            json!({
                "candidate": name, "loss": 0.4, "se": 0.02, "metric": 0.875, "steps": 6,
                "state": state, "why": why,
            })
        };
        let mut rows = vec![
            row(
                "first".to_owned(),
                "champion",
                "nothing left to learn after 6 steps",
            ),
            row("second".to_owned(), "running", "no gain in 11 steps"),
        ];
        let why = "rung 1 of 3: 4th of 9 of its family, best 3 go on";
        rows.extend((0..12).map(|it| row(format!("other {it}"), "dropped", why)));
        let text = leaders(&json!(rows), Some("auc"));
        // A narrow terminal breaks the lines of the table, so each is looked at by itself.
        let fates: Vec<String> = rows.iter().take(3).map(fate).collect();
        assert_eq!(
            fates,
            [
                "champion: nothing left to learn after 6 steps".to_owned(),
                "finalist: no gain in 11 steps".to_owned(),
                format!("dropped: {why}"),
            ]
        );
        for words in ["auc", "0.8750", "and 2 more"] {
            assert!(text.contains(words), "{words} is missing in:\n{text}");
        }
        assert!(!leaders(&json!(rows), Some("log_loss")).contains("0.8750"));
    }
}
