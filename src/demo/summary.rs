//! What the demo prints at the end: the coordinator's result, and each hospital's own figures,
//! read from the hospital's directory because they never leave it.

use std::time::Duration;

use serde_json::{Value, json};

use super::consortium::Consortium;
use crate::output::{self, Output};

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
        "round": result["round"],
        "sites_alone": alone,
        "steps": result["steps"],
        "early": result["early"],
        "bytes_up_per_site": result["bytes_up_per_site"],
        "seconds": round(elapsed.as_secs_f64(), 1),
        "ledger_entries": result["ledger_entries"],
        "peak_memory_bytes": peak_memory,
        "run": run,
        "dir": consortium.dir(),
    });
    let mut text = report(&object, &result["leaderboard"]);
    let champion = consortium.coordinator().join("runs").join(run);
    let champion = champion.join("champion.json");
    let rows = consortium.dir().join("cleveland").join("table.csv");
    text.push_str(&format!(
        "\nmodel    {champion}\nnext     collegium model predict {champion} {rows} -o scores.csv",
        champion = champion.display(),
        rows = rows.display(),
    ));
    out.result(&object, text)
}

/// The tables for people, from the object that `--json` prints and the leaderboard.
pub(crate) fn report(object: &Value, leaderboard: &Value) -> String {
    let mut text =
        String::from("\nLeaderboard (validation loss from encrypted sums, smaller is better)\n");
    text.push_str(&leaders(leaderboard));
    text.push_str("\n\nChampion on the test rows of all sites\n");
    text.push_str(&test_line(&object["test"]));
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

fn leaders(rows: &Value) -> String {
    let mut table = output::table(&["", "candidate", "loss", "± se", "steps", ""]);
    for (place, row) in rows.as_array().into_iter().flatten().take(12).enumerate() {
        table.add_row(vec![
            (place + 1).to_string(),
            word(&row["candidate"]),
            figure(&row["loss"]),
            figure(&row["se"]),
            word(&row["steps"]),
            state(&row["state"]),
        ]);
    }
    table.to_string()
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

/// What became of a candidate; one that was never dropped reached the final.
fn state(value: &Value) -> String {
    match value.as_str() {
        Some("running") => "finalist".to_owned(),
        _ => word(value),
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
