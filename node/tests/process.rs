//! The `collegium-node` program as its operator meets it.

use std::path::Path;
use std::process::{Command, Output};

fn node(state: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_collegium-node"))
        .arg("--state")
        .arg(state)
        .args(arguments)
        .env_clear()
        .env("HOME", state)
        .output()
        .expect("the program runs")
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn check_names_every_problem_and_exits_with_1() {
    let state = tempfile::tempdir().expect("tempdir");
    let output = node(state.path(), &["check"]);
    assert_eq!(output.status.code(), Some(1), "{}", stderr(&output));
    let text = String::from_utf8_lossy(&output.stdout);
    for (word, name) in [
        ("ok", "state"),
        ("ok", "disk"),
        ("failed", "keys"),
        ("failed", "data"),
    ] {
        let found = text.lines().any(|line| {
            let mut words = line.split_whitespace();
            words.next() == Some(word) && words.next() == Some(name)
        });
        assert!(found, "no line `{word} {name}` in\n{text}");
    }
}

#[test]
fn a_node_that_has_not_joined_says_how() {
    let state = tempfile::tempdir().expect("tempdir");
    let output = node(state.path(), &["run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("node join"), "{}", stderr(&output));
}

#[test]
fn an_unknown_key_names_file_key_and_the_nearest_one() {
    let state = tempfile::tempdir().expect("tempdir");
    std::fs::write(state.path().join("node.toml"), "[polcy]\n").expect("writes");
    let output = node(state.path(), &["run"]);
    assert_eq!(output.status.code(), Some(1));
    let text = stderr(&output);
    for part in ["node.toml", "`polcy`", "`policy`"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn a_log_level_that_is_none_is_refused() {
    let state = tempfile::tempdir().expect("tempdir");
    let output = node(state.path(), &["--log-level", "loud=very", "run"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("log.level"), "{}", stderr(&output));
}
