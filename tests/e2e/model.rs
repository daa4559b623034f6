//! Using a champion: simulate, then score new rows.

use std::path::Path;

use crate::consortium::{HOSPITALS, arg, json, repository, run};

fn simulate(out: &Path, seed: &str) -> serde_json::Value {
    let task = repository("examples/hospitals/task.toml");
    let sites = repository("examples/hospitals/sites");
    let tables = HOSPITALS.map(|name| {
        format!(
            "{name}={}",
            arg(&repository(&format!("examples/hospitals/data/{name}.csv")))
        )
    });
    let mut args = vec![
        "simulate",
        arg(&task),
        "--sites",
        arg(&sites),
        "--seed",
        seed,
        "--out",
        arg(out),
    ];
    args.extend(tables.iter().map(String::as_str));
    json(&args)
}

/// Every candidate with its path, its cost and why it was dropped, in the result and as a table.
fn leaderboard_is_whole(out: &Path, result: &serde_json::Value) {
    let rows = result["leaderboard"].as_array().expect("a leaderboard");
    let number = |value: &serde_json::Value| value.as_u64().expect("a number");
    let mut sent = 0;
    for row in rows {
        let why = row["why"].as_str().expect("a reason");
        let raced = !row["path"].as_array().expect("a path").is_empty();
        let behind = why.starts_with("behind in the local search");
        assert!(!why.is_empty() && raced != behind, "{row}");
        assert!(raced || row["local_loss"].is_f64(), "{row}");
        assert!(number(&row["cost"]["steps"]) > 0 && number(&row["cost"]["numbers"]) > 0);
        sent += number(&row["cost"]["bytes_up_per_site"]);
    }
    let all = number(&result["bytes_up_per_site"]["cleveland"]);
    assert!(sent > all / 2 && sent <= all, "{sent} of {all} bytes");
    let table = std::fs::read_to_string(out.join("leaderboard.csv")).expect("a table");
    assert_eq!(table.lines().count(), 1 + rows.len());
    let champion = table.lines().nth(1).expect("a champion");
    assert!(champion.contains(",champion,"), "{champion}");
    assert!(table.contains("rung 1 of 3: "), "{table}");
}

#[test]
fn simulate_is_deterministic_and_the_champion_scores_rows() {
    let dir = tempfile::tempdir().expect("a directory");
    let (first, second) = (dir.path().join("first"), dir.path().join("second"));
    let result = simulate(&first, "3");
    simulate(&second, "3");
    let champion = first.join("champion.json");
    let bytes = std::fs::read(&champion).expect("a champion");
    assert!(bytes == std::fs::read(second.join("champion.json")).expect("a champion"));
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(first.join("result.json")).expect("a result"))
            .expect("JSON");
    assert_eq!(written["test"], result["test"]);
    leaderboard_is_whole(&first, &written);
    for key in [
        "champion",
        "test",
        "sites_alone",
        "steps",
        "bytes_up_per_site",
        "seconds",
        "ledger_entries",
    ] {
        assert!(result.get(key).is_some(), "{key} is missing in {result}");
    }

    let table = repository("examples/hospitals/data/cleveland.csv");
    let scores = dir.path().join("scores.csv");
    json(&[
        "model",
        "predict",
        arg(&champion),
        arg(&table),
        "-o",
        arg(&scores),
    ]);
    let text = std::fs::read_to_string(&scores).expect("scores");
    let mut lines = text.lines();
    assert_eq!(lines.next(), Some("p_0,p_1,class"));
    let rows: Vec<Vec<f64>> = lines
        .map(|line| {
            let (scores, class) = line.rsplit_once(',').expect("a class");
            assert!(["0", "1"].contains(&class), "{line}");
            scores
                .split(',')
                .map(|cell| cell.parse().expect("a number"))
                .collect()
        })
        .collect();
    assert_eq!(rows.len(), 303, "one line for each row");
    assert!(
        rows.iter()
            .all(|row| row.len() == 2 && (row[0] + row[1] - 1.0).abs() < 1e-9)
    );

    // The ill score higher than the healthy, row by row in the table's order.
    let truth = std::fs::read_to_string(&table).expect("the table");
    let ill: Vec<bool> = truth
        .lines()
        .skip(1)
        .map(|line| !line.ends_with(",0"))
        .collect();
    let mean = |wanted: bool| {
        let scores: Vec<f64> = rows
            .iter()
            .zip(&ill)
            .filter(|(_, ill)| **ill == wanted)
            .map(|(row, _)| row[1])
            .collect();
        scores.iter().sum::<f64>() / scores.len() as f64
    };
    assert!(
        mean(true) > mean(false) + 0.3,
        "{} against {}",
        mean(true),
        mean(false)
    );
}

#[test]
fn rows_that_do_not_fit_are_refused_by_the_column_s_name() {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().join("out");
    simulate(&out, "1");
    let champion = out.join("champion.json");
    let table = std::fs::read_to_string(repository("examples/hospitals/data/cleveland.csv"))
        .expect("a table");
    for (from, to) in [("thalach", "heartrate"), ("150.0", "fast")] {
        let rows = dir.path().join("rows.csv");
        std::fs::write(&rows, table.replacen(from, to, 1)).expect("written");
        let scores = dir.path().join("scores.csv");
        let refused = run(&[
            "model",
            "predict",
            arg(&champion),
            arg(&rows),
            "-o",
            arg(&scores),
        ]);
        assert!(!refused.status.success());
        let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(complaint.contains("thalach"), "{complaint}");
        assert!(!scores.exists(), "nothing half-done is left");
    }
}

/// What a site does to its columns for training, `--site` does to the rows that are scored.
#[test]
fn rows_are_treated_as_the_site_says_before_they_are_scored() {
    let dir = tempfile::tempdir().expect("a directory");
    let champion = repository("automl/tests/fixtures/champion_v1.json");
    let columns = repository("examples/hospitals/sites/cleveland.toml");
    let raw = repository("examples/hospitals/data/cleveland.csv");
    let text = std::fs::read_to_string(&raw).expect("rows");
    let (header, rows) = text.split_once('\n').expect("a header");
    assert!(header.starts_with("age,"), "{header}");
    let banded = rows.lines().map(|row| {
        let (age, rest) = row.split_once(',').expect("cells");
        let age: f64 = age.parse().expect("an age");
        format!("{},{rest}", (age / 10.0).floor() * 10.0)
    });
    let banded: Vec<String> = banded.collect();
    let by_hand = dir.path().join("banded.csv");
    std::fs::write(&by_hand, format!("{header}\n{}\n", banded.join("\n"))).expect("written");
    let site = dir.path().join("node.toml");
    let settings = format!(
        "state = \"state\"\n[data]\nmapping = \"{}\"\n\
         [privacy.columns.age]\naction = \"generalize\"\nband = 10\n",
        arg(&columns)
    );
    std::fs::write(&site, settings).expect("written");

    let scores = |rows: &Path, how: [&str; 2]| {
        let out = dir.path().join("scores.csv");
        let args = [
            "model",
            "predict",
            arg(&champion),
            arg(rows),
            "-o",
            arg(&out),
        ];
        let result = json(&[&args[..], &how].concat());
        (result, std::fs::read_to_string(&out).expect("scores"))
    };
    let (result, treated) = scores(&raw, ["--site", arg(&site)]);
    let words = &result["privacy"]["treated"][0];
    assert_eq!(words["column"], "age");
    assert_eq!(words["what"], "numbers put in bands of 10");
    assert_eq!(scores(&by_hand, ["--columns", arg(&columns)]).1, treated);
    assert_ne!(scores(&raw, ["--columns", arg(&columns)]).1, treated);

    // A column that the site hashes needs the site's key, which is not made by looking.
    let hashed = std::fs::read_to_string(&site)
        .expect("settings")
        .replace("action = \"generalize\"\nband = 10", "action = \"hash\"");
    std::fs::write(&site, hashed).expect("written");
    let out = dir.path().join("none.csv");
    let failed = run(&[
        "model",
        "predict",
        arg(&champion),
        arg(&raw),
        "-o",
        arg(&out),
        "--site",
        arg(&site),
    ]);
    let text = String::from_utf8_lossy(&failed.stderr).into_owned();
    assert!(
        !failed.status.success() && text.contains("privacy.columns.age"),
        "{text}"
    );
    assert!(!out.exists());
}
