//! A task with more than one round: what the second remembers, and a coordinator that is killed
//! between the two.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::consortium::{Consortium, HOSPITALS, Site, arg, json, repository, run, wait_until};

/// A short search in two rounds.
fn task(more: &str) -> String {
    format!(
        "name = \"heart-disease\"\ntarget = \"disease\"\npositive = \"1\"\nseed = 1\nmax_steps = 16\n\
         {more}\n[constraints]\nallowed_models = [\"logistic\", \"scorecard\"]\n"
    )
}

fn file(consortium: &Consortium, run: &str, name: &str) -> PathBuf {
    let runs = consortium.coordinator_state().join("runs");
    runs.join(run).join(name)
}

fn runs(consortium: &Consortium) -> Vec<Value> {
    let state = consortium.coordinator_state();
    let list = json(&["task", "list", "--coordinator-state", arg(&state)]);
    list["runs"].as_array().expect("runs").clone()
}

/// Ledger entries of an action about a run.
fn ledger(consortium: &Consortium, action: &str, run: &str) -> Vec<Value> {
    let entries = collegium_coordinator::ledger::entries(&consortium.coordinator_state());
    let entries = entries.expect("the ledger").into_iter();
    entries
        .filter(|it| it["action"] == action && it["object"] == run)
        .collect()
}

fn next_run(result: &Value) -> String {
    result["next_run"]
        .as_str()
        .expect("a next round")
        .to_owned()
}

/// The hospitals with tables of their own, which may change.
fn copies(dir: &Path) -> Vec<Site> {
    let copy = |name: &'static str| {
        let table = dir.join(format!("{name}.csv"));
        let from = repository(&format!("examples/hospitals/data/{name}.csv"));
        std::fs::copy(from, &table).expect("copied");
        let columns = repository(&format!("examples/hospitals/sites/{name}.toml"));
        Site {
            name,
            table,
            columns: Some(columns),
        }
    };
    HOSPITALS.map(copy).to_vec()
}

/// A table in which everybody is so much older.
fn older(table: &Path, years: f64) -> String {
    let text = std::fs::read_to_string(table).expect("a table");
    let lines = text.lines().enumerate().map(|(at, line)| {
        let (age, rest) = line.split_once(',').expect("columns");
        match (at, age.parse::<f64>()) {
            (1.., Ok(age)) => format!("{},{rest}\n", age + years),
            _ => format!("{line}\n"),
        }
    });
    lines.collect()
}

#[test]
fn a_second_round_remembers_the_first_and_a_third_is_asked_for() {
    let tables = tempfile::tempdir().expect("a directory");
    let consortium = Consortium::found_by(copies(tables.path())).started();
    let one = consortium.submit(&task("rounds = 2"));
    let first = consortium.finish(&one);
    assert_eq!(first["round"]["number"], 1, "{first}");
    let two = next_run(&first);
    let second = consortium.finish(&two);
    let round = &second["round"];
    assert_eq!(round["number"], 2, "{second}");
    // The hospitals' tables did not change.
    assert_eq!(round["verdict"]["decision"], "kept", "{round}");
    assert_eq!(second["champion"]["id"], first["champion"]["id"]);
    assert_eq!(consortium.champion(&two), consortium.champion(&one));
    let drift = round["drift"]["columns"].as_array().expect("drift");
    assert!(
        drift.len() > 5 && drift.iter().all(|drift| drift["psi"] == 0.0),
        "{round}"
    );
    assert_eq!(second["next_run"], Value::Null);
    // The ledger names what the second round began with.
    let notes = std::fs::read(file(&consortium, &one, "memory.json")).expect("the memory");
    let hash = collegium_automl::object::ObjectId::of(&notes).to_string();
    let began = ledger(&consortium, "run-start", &two);
    assert_eq!(began.len(), 1);
    assert_eq!(began[0]["evidence"]["memory"], hash.as_str());
    assert_eq!(
        ledger(&consortium, "run-start", &one)[0]["evidence"]["memory"],
        Value::Null
    );
    for name in HOSPITALS {
        let report = consortium
            .node_state(name)
            .join("runs")
            .join(&two)
            .join("local.json");
        wait_until(&format!("the report of {name}"), || report.exists());
    }

    // One more, by hand, on other rows; and what cannot be.
    let state = consortium.coordinator_state();
    let rerun = |of: &str| run(&["task", "rerun", of, "--coordinator-state", arg(&state)]);
    assert!(!rerun(&"0".repeat(32)).status.success());
    let va = tables.path().join("va.csv");
    std::fs::write(&va, older(&va, 20.0)).expect("written");
    let three = json(&["task", "rerun", &two, "--coordinator-state", arg(&state)]);
    let three = three["run"].as_str().expect("a run").to_owned();
    let twice = rerun(&two);
    let complaint = String::from_utf8_lossy(&twice.stderr);
    assert!(
        !twice.status.success() && complaint.contains("next round already"),
        "{complaint}"
    );
    let third = consortium.finish(&three);
    assert_eq!(third["round"]["number"], 3, "{third}");
    let words = third["round"]["words"].to_string();
    assert!(
        words.contains("(PSI above") && words.contains("age ("),
        "{words}"
    );

    // Its memory is damaged: the next one starts from scratch, and says so.
    std::fs::write(file(&consortium, &three, "memory.json"), b"{}").expect("damaged");
    let four = json(&["task", "rerun", &three, "--coordinator-state", arg(&state)]);
    let four = four["run"].as_str().expect("a run").to_owned();
    let fourth = consortium.finish(&four);
    assert_eq!(fourth["round"]["number"], 4, "{fourth}");
    assert_eq!(fourth["round"]["verdict"]["decision"], "first", "{fourth}");
    let began = ledger(&consortium, "run-start", &four);
    let lost = began[0]["evidence"]["lost"].as_str().expect("why");
    assert!(lost.contains("memory.json"), "{lost}");
    assert!(
        consortium
            .log_text("coordinator")
            .contains("starts from scratch")
    );
    assert_eq!(runs(&consortium).len(), 4);
}

#[test]
fn a_coordinator_killed_between_rounds_queues_exactly_one() {
    let mut consortium = Consortium::running();
    // The same members in both rounds: on rows that did not change, no ask is opened for others.
    consortium.set("COLLEGIUM_COORDINATOR_RUN__ACCEPT_WAIT", "4min");
    let one = consortium.submit(&task("rounds = 2"));
    let champion = file(&consortium, &one, "champion.json");
    // Killed as soon as the champion is there: before, in or after the transaction that ends the
    // run. And once more while it begins anew.
    wait_until("the first champion", || champion.exists());
    consortium.kill_coordinator();
    consortium.start_coordinator();
    consortium.kill_coordinator();
    consortium.start_coordinator();
    let first = consortium.finish(&one);
    let two = next_run(&first);
    let second = consortium.finish(&two);
    assert_eq!(second["round"]["number"], 2, "{second}");
    assert_eq!(second["round"]["verdict"]["decision"], "kept", "{second}");
    let all = runs(&consortium);
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(ledger(&consortium, "task-submit", &two).len(), 1);
    assert_eq!(ledger(&consortium, "run-start", &two).len(), 1);
    assert_eq!(ledger(&consortium, "champion", &one).len(), 1);
}

#[test]
fn cancelling_the_round_that_waits_ends_a_series() {
    let consortium = Consortium::running();
    let one = consortium.submit(&task("every = \"24h\""));
    let two = next_run(&consortium.finish(&one));
    let waiting = consortium.watch(&two, |event| event["event"] == "waiting");
    let reason = waiting["reason"].as_str().expect("a reason");
    assert!(reason.starts_with("round 2 begins in 2"), "{reason}");
    let state = consortium.coordinator_state();
    json(&["task", "cancel", &two, "--coordinator-state", arg(&state)]);
    let all = runs(&consortium);
    assert_eq!(all.len(), 2, "{all:?}");
    assert_eq!(
        (&all[0]["status"], &all[0]["round"]),
        (&"cancelled".into(), &2.into())
    );
    // Who wants it after all asks for it.
    let again = json(&["task", "rerun", &one, "--coordinator-state", arg(&state)]);
    let result = consortium.finish(again["run"].as_str().expect("a run"));
    assert_eq!(result["round"]["number"], 2, "{result}");
    assert!(
        result["next_run"].is_string(),
        "the series goes on: {result}"
    );
}

#[test]
fn a_simulation_has_rounds_and_goes_on_after_another() {
    let dir = tempfile::tempdir().expect("a directory");
    let (before, later) = (dir.path().join("before"), dir.path().join("later"));
    let task_file = dir.path().join("task.toml");
    std::fs::write(&task_file, task("rounds = 2")).expect("written");
    let sites = repository("examples/hospitals/sites");
    let table = |name: &str| repository(&format!("examples/hospitals/data/{name}.csv"));
    let shifted = dir.path().join("va.csv");
    std::fs::write(&shifted, older(&table("va"), 20.0)).expect("written");
    let named = |va: &Path| {
        let mut tables: Vec<String> = HOSPITALS[..3]
            .iter()
            .map(|name| format!("{name}={}", arg(&table(name))))
            .collect();
        tables.push(format!("va={}", arg(va)));
        tables
    };
    let simulate = |va: &Path, more: &[&str]| {
        let tables = named(va);
        let mut args = vec![
            "simulate",
            arg(&task_file),
            "--sites",
            arg(&sites),
            "--no-alone",
        ];
        args.extend(tables.iter().map(String::as_str));
        args.extend(more);
        json(&args)
    };
    let second = simulate(&table("va"), &["--out", arg(&before)]);
    assert_eq!(second["round"]["number"], 2, "{second}");
    assert_eq!(second["round"]["verdict"]["decision"], "kept", "{second}");
    let third = simulate(
        &shifted,
        &[
            "--rounds",
            "1",
            "--after",
            arg(&before),
            "--out",
            arg(&later),
        ],
    );
    assert_eq!(third["round"]["number"], 3, "{third}");
    let words = third["round"]["words"].to_string();
    assert!(
        words.contains("(PSI above") && words.contains("age ("),
        "{words}"
    );
    assert!(later.join("memory.json").exists());
    let missing = run(&[
        "simulate",
        arg(&task_file),
        "a=b.csv",
        "--after",
        arg(dir.path()),
    ]);
    let complaint = String::from_utf8_lossy(&missing.stderr);
    assert!(
        complaint.contains("memory.json") && complaint.contains("--out"),
        "{complaint}"
    );
}
