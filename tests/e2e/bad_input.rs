//! Bad input gets a clear message (what, where, what to do), a non-zero exit code, and costs
//! nothing.

use std::net::UdpSocket;
use std::path::Path;

use crate::consortium::{Consortium, HOSPITALS, arg, json, repository, run};

/// Runs a command that must fail; its complaint, in which every word of `named` must stand.
fn complaint(args: &[&str], named: &[&str]) -> String {
    let output = run(args);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success(),
        "collegium {} succeeded",
        args.join(" ")
    );
    for word in named {
        assert!(
            text.contains(word),
            "`{word}` is missing in the complaint: {text}"
        );
    }
    assert!(!text.contains("panicked"), "{text}");
    text
}

/// Writes the four hospitals' tables, changed by `change`, and returns the arguments for them.
fn tables(dir: &Path, change: impl Fn(&str, String) -> String) -> Vec<String> {
    HOSPITALS
        .iter()
        .map(|name| {
            let text =
                std::fs::read_to_string(repository(&format!("examples/hospitals/data/{name}.csv")))
                    .expect("a table");
            let file = dir.join(format!("{name}.csv"));
            std::fs::write(&file, change(name, text)).expect("written");
            format!("{name}={}", arg(&file))
        })
        .collect()
}

fn simulate<'a>(task: &'a str, sites: &'a str, tables: &'a [String]) -> Vec<&'a str> {
    let mut args = vec!["simulate", task, "--sites", sites];
    args.extend(tables.iter().map(String::as_str));
    args
}

#[test]
fn files_that_are_missing_are_named() {
    complaint(
        &["simulate", "no-such-task.toml", "a=b.csv"],
        &["no-such-task.toml"],
    );
    let task = repository("examples/hospitals/task.toml");
    complaint(
        &["simulate", arg(&task), "a=no-such-table.csv"],
        &["no-such-table.csv"],
    );
    complaint(
        &["simulate", arg(&task), "a-table-without-name"],
        &["NAME=FILE"],
    );
    complaint(
        &[
            "model",
            "predict",
            "no-such-model.json",
            "b.csv",
            "-o",
            "c.csv",
        ],
        &["no-such-model.json"],
    );
    complaint(
        &["coordinator", "run", "--state", "/no/such/state"],
        &["/no/such/state"],
    );
    complaint(
        &["node", "run", "--state", "/no/such/state"],
        &["/no/such/state"],
    );
}

#[test]
fn a_slip_in_the_task_is_named_with_the_nearest_word() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("task.toml");
    let task =
        std::fs::read_to_string(repository("examples/hospitals/task.toml")).expect("the task");
    std::fs::write(&file, task.replacen("metric", "metrik", 1)).expect("written");
    complaint(
        &["task", "check", arg(&file)],
        &["metrik", "metric", "line"],
    );
    std::fs::write(&file, "name = \n").expect("written");
    complaint(&["task", "check", arg(&file)], &["task.toml"]);
}

#[test]
fn a_missing_column_is_named_with_its_site() {
    let dir = tempfile::tempdir().expect("a directory");
    let task = repository("examples/hospitals/task.toml");
    let sites = repository("examples/hospitals/sites");
    let tables = tables(dir.path(), |name, text| {
        if name == "hungarian" {
            text.replacen("num", "number", 1)
        } else {
            text
        }
    });
    complaint(
        &simulate(arg(&task), arg(&sites), &tables),
        &["hungarian", "num"],
    );
}

#[test]
fn a_target_with_one_value_overall_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let task = repository("examples/hospitals/task.toml");
    let sites = repository("examples/hospitals/sites");
    let tables = tables(dir.path(), |_, text| {
        let mut lines = text.lines();
        let mut changed = vec![lines.next().expect("a header").to_owned()];
        for line in lines {
            let (features, _) = line.rsplit_once(',').expect("cells");
            changed.push(format!("{features},1"));
        }
        changed.join("\n") + "\n"
    });
    complaint(&simulate(arg(&task), arg(&sites), &tables), &["disease"]);
}

#[test]
fn one_class_only_at_one_site_is_fine() {
    let dir = tempfile::tempdir().expect("a directory");
    let task = repository("examples/hospitals/task.toml");
    let sites = repository("examples/hospitals/sites");
    let tables = tables(dir.path(), |name, text| {
        if name != "switzerland" {
            return text;
        }
        // The eight healthy patients of Switzerland are left out.
        text.lines()
            .filter(|line| !line.ends_with(",0"))
            .collect::<Vec<_>>()
            .join("\n")
            + "\n"
    });
    let result = json(&simulate(arg(&task), arg(&sites), &tables));
    assert!(
        result["test"]["auc"].as_f64().expect("a figure") > 0.75,
        "{result}"
    );
}

#[test]
fn unknown_configuration_keys_are_named_with_the_nearest_one() {
    let consortium = Consortium::found();
    let coordinator = consortium.dir().join("coordinator.toml");
    std::fs::write(&coordinator, "[step]\nstragler_wait = \"10s\"\n").expect("written");
    let state = consortium.coordinator_state();
    complaint(
        &[
            "coordinator",
            "run",
            "--state",
            arg(&state),
            "--config",
            arg(&coordinator),
        ],
        &["stragler_wait", "straggler_wait", "coordinator.toml"],
    );
    let node = consortium.dir().join("node.toml");
    std::fs::write(&node, "[policy]\nminimum_contributers = 3\n").expect("written");
    let state = consortium.node_state("va");
    complaint(
        &[
            "node",
            "run",
            "--state",
            arg(&state),
            "--config",
            arg(&node),
        ],
        &["minimum_contributers", "minimum_contributors", "node.toml"],
    );
}

#[test]
fn a_port_in_use_is_named() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = UdpSocket::bind(("127.0.0.1", 0)).expect("a port");
    let address = socket.local_addr().expect("its address").to_string();
    let state = dir.path().join("coordinator");
    json(&[
        "coordinator",
        "init",
        "--state",
        arg(&state),
        "--name",
        "taken",
        "--listen",
        &address,
    ]);
    complaint(&["coordinator", "run", "--state", arg(&state)], &[&address]);
}

#[test]
fn a_state_directory_is_not_made_twice() {
    let dir = tempfile::tempdir().expect("a directory");
    let state = dir.path().join("coordinator");
    let init = [
        "coordinator",
        "init",
        "--state",
        arg(&state),
        "--name",
        "first",
        "--listen",
        "127.0.0.1:1",
    ];
    json(&init);
    let before = std::fs::read(state.join("coordinator.toml")).expect("the configuration");
    complaint(&init, &[arg(&state)]);
    assert_eq!(
        std::fs::read(state.join("coordinator.toml")).expect("it"),
        before,
        "nothing was lost"
    );
}
