//! What `task check` says before anybody is asked, beside what a run then takes.

use serde_json::Value;

use crate::consortium::{HOSPITALS, arg, json, repository, run};

fn simulated(task: &str) -> Value {
    let sites = repository("examples/hospitals/sites");
    let tables = HOSPITALS.map(|name| {
        let file = repository(&format!("examples/hospitals/data/{name}.csv"));
        format!("{name}={}", arg(&file))
    });
    let mut args = vec!["simulate", task, "--no-alone", "--sites", arg(&sites)];
    args.extend(tables.iter().map(String::as_str));
    json(&args)
}

#[test]
fn the_estimate_is_near_what_a_simulation_takes() {
    let file = repository("examples/hospitals/task.toml");
    let table = repository("examples/hospitals/data/cleveland.csv");
    let columns = repository("examples/hospitals/sites/cleveland.toml");
    let checked = json(&[
        "task",
        "check",
        arg(&file),
        "--data",
        arg(&table),
        "--columns",
        arg(&columns),
        "--rows",
        "920",
    ]);
    let took = simulated(arg(&file));
    let estimate = &checked["estimate"];
    let ratio = |expected: &Value, got: &Value| {
        expected.as_f64().expect("an estimate") / got.as_f64().expect("a figure")
    };
    let steps = ratio(&estimate["steps"], &took["steps"]);
    assert!(
        (0.8..=1.25).contains(&steps),
        "{steps} times the steps: {estimate}"
    );
    let sent = &took["bytes_up_per_site"]["cleveland"];
    let bytes = ratio(&estimate["bytes_up_per_site"], sent);
    assert!(
        (0.5..=2.0).contains(&bytes),
        "{bytes} times the bytes: {estimate}"
    );
    assert!(
        estimate["seconds"].as_f64().is_some_and(|it| it > 1.0),
        "{estimate}"
    );
    assert_eq!(checked["asks"]["min_contributors"], 3);
    assert_eq!(checked["asks"]["columns"]["used"]["age"], "number");
}

#[test]
fn a_task_is_explained_without_any_table() {
    let file = repository("examples/hospitals/task.toml");
    let output = run(&[
        "task",
        "check",
        arg(&file),
        "--sites",
        "10",
        "--rows",
        "30000",
    ]);
    let text = String::from_utf8(output.stdout).expect("text");
    let words: Vec<&str> = text.split_whitespace().collect();
    let text = words.join(" ");
    for part in [
        "disease (what is predicted)",
        "at least 7 of 10 sites",
        "families logistic, net",
        "gbdt (not in allowed_models)",
        "15 % of the rows",
        "an estimate, not a promise",
        "30000 rows at 10 sites together",
        "made-up columns",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
}

#[test]
fn a_table_that_does_not_fit_is_named_with_its_column() {
    let file = repository("examples/hospitals/task.toml");
    // Without its column map the table has no column `disease`.
    let table = repository("examples/hospitals/data/cleveland.csv");
    let refused = run(&["task", "check", arg(&file), "--data", arg(&table)]);
    assert!(!refused.status.success());
    let complaint = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        complaint.contains("cleveland.csv") && complaint.contains("`disease`"),
        "{complaint}"
    );
}
