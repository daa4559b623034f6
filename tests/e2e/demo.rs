//! The path a newcomer takes.

use std::path::Path;

use serde_json::Value;

use crate::consortium::{HOSPITALS, arg, collegium, json, run, wait_until};

fn probability(value: &Value) -> f64 {
    let value = value
        .as_f64()
        .unwrap_or_else(|| panic!("{value} is no number"));
    assert!((0.0..=1.0).contains(&value), "{value}");
    value
}

fn check_result(result: &Value) {
    assert!(result["champion"].is_object(), "{result}");
    let test = &result["test"];
    let auc = probability(&test["auc"]);
    // The four hospitals' pooled logistic regression reaches .88; chance is .5.
    assert!(auc > 0.8, "the champion has learned: AUC {auc}");
    probability(&test["auc_se"]);
    probability(&test["accuracy"]);
    assert!(
        test["log_loss"]
            .as_f64()
            .is_some_and(|loss| loss > 0.0 && loss < 0.6),
        "{test}"
    );
    let rows = test["rows"].as_u64().expect("rows");
    // 15 % of 920 rows, drawn by a hash.
    assert!((90..=190).contains(&rows), "{rows} test rows");
    assert!(result["steps"].as_u64().expect("steps") > 5);
    assert!(
        result["ledger_entries"].as_u64().expect("entries")
            >= result["steps"].as_u64().expect("steps")
    );
    for hospital in HOSPITALS {
        assert!(
            result["bytes_up_per_site"][hospital]
                .as_u64()
                .expect("bytes")
                > 100_000,
            "{hospital}"
        );
    }
    let sites = result["sites_alone"].as_array().expect("sites");
    assert_eq!(sites.len(), HOSPITALS.len());
    let own_rows: u64 = sites
        .iter()
        .map(|site| site["test_rows"].as_u64().expect("rows"))
        .sum();
    assert_eq!(own_rows, rows, "the sites' own test rows are the test rows");
}

#[test]
fn one_command_trains_four_hospitals_and_leaves_nothing_running() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("demo");
    let result = json(&["demo", "--dir", arg(&place)]);
    check_result(&result);
    assert!(result["seconds"].as_f64().expect("seconds") > 0.0);
    wait_until("the demo's daemons to be gone", || {
        daemons_below(&place).is_empty()
    });

    // A second call shows the finished run instead of spoiling it.
    let again = json(&["demo", "--dir", arg(&place)]);
    assert_eq!(again["champion"], result["champion"]);
    assert_eq!(again["test"], result["test"]);
    // And people get tables.
    let shown = run(&["demo", "--dir", arg(&place)]);
    let text = String::from_utf8(shown.stdout).expect("text");
    for word in [
        "Leaderboard",
        "AUC",
        "cleveland",
        "switzerland",
        "collegium model predict",
    ] {
        assert!(text.contains(word), "{word} is missing in:\n{text}");
    }
}

#[test]
fn an_interrupted_demo_stops_everything_and_resumes() {
    let dir = tempfile::tempdir().expect("a directory");
    let place = dir.path().join("demo");
    let mut demo = collegium(&["demo", "--dir", arg(&place)])
        .spawn()
        .expect("it starts");
    wait_until("the run to be submitted", || place.join("run").exists());
    let sent = std::process::Command::new("kill")
        .args(["-INT", &demo.id().to_string()])
        .status()
        .expect("kill(1) is part of the base system");
    assert!(sent.success());
    let status = demo.wait().expect("it ends");
    assert_eq!(
        status.code(),
        Some(130),
        "the code of an interrupted command"
    );
    wait_until("the demo's daemons to be gone", || {
        daemons_below(&place).is_empty()
    });

    let result = json(&["demo", "--dir", arg(&place)]);
    check_result(&result);
}

/// Processes whose command line names a path below `place`.
fn daemons_below(place: &Path) -> Vec<u32> {
    let mark = arg(place).as_bytes();
    let entries = std::fs::read_dir("/proc").expect("Linux");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok())
        .filter(|id| {
            let line = std::fs::read(format!("/proc/{id}/cmdline")).unwrap_or_default();
            line.windows(mark.len()).any(|part| part == mark)
        })
        .collect()
}
