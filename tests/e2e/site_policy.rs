//! A site has the last word: a steward who approves by hand, a policy that changes while the node
//! runs, and columns that no task gets.

use std::path::Path;

use serde_json::Value;

use crate::consortium::{Consortium, arg, json, repository, run, wait_until};

fn task(name: &str) -> String {
    format!(
        "name = \"{name}\"\ntarget = \"disease\"\npositive = \"1\"\nseed = 1\nmax_steps = 14\n\
         [constraints]\nallowed_models = [\"logistic\"]\n"
    )
}

/// The shipped policy with a further one.
fn policy(file: &Path, more: &str) {
    let built_in = std::fs::read_to_string(repository("configs/site-policy.cedar"));
    let text = built_in.expect("the shipped policy") + more;
    std::fs::write(file, text).expect("written");
}

fn requests(state: &Path) -> Vec<Value> {
    let listed = json(&["node", "requests", "--state", arg(state)]);
    listed.as_array().expect("a list").clone()
}

fn ledger(state: &Path) -> String {
    let entries = collegium_node::ledger::entries(&state.join("ledger"));
    let lines: Vec<_> = entries
        .expect("a ledger")
        .iter()
        .map(ToString::to_string)
        .collect();
    lines.join("\n")
}

#[test]
fn a_site_has_the_last_word() {
    let consortium = Consortium::found();
    let state = consortium.node_state("va");
    let file = state.join("site-policy.cedar");
    policy(
        &file,
        "@id(\"ask\") forbid (principal, action == Action::\"takePartUnasked\", resource);\n",
    );
    let settings = state.join("node.toml");
    let before = std::fs::read_to_string(&settings).expect("the configuration");
    let after = format!("{before}\n[policy]\nfile = \"site-policy.cedar\"\n");
    std::fs::write(&settings, after).expect("written");
    let checked = run(&["node", "check", "--state", arg(&state)]);
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(
        text.contains("site-policy.cedar loads: 3 policies"),
        "{text}"
    );
    let mut consortium = consortium.started();

    // A steward approves by hand.
    let first = consortium.submit(&task("heart"));
    wait_until("the node", || state.join("run/status.json").exists());
    wait_until("the request", || !requests(&state).is_empty());
    let request = requests(&state).remove(0);
    assert_eq!(request["run"], first.as_str());
    assert_eq!(request["max_steps"], 14);
    let shown = run(&["node", "requests", "--state", arg(&state)]);
    let text = String::from_utf8_lossy(&shown.stdout).into_owned();
    for part in [
        "waits for a steward",
        "disease (what is predicted)",
        "At most 14 secure sums",
    ] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }
    let id = request["id"].as_str().expect("an id");
    json(&[
        "node",
        "approve",
        &id[..8],
        "--by",
        "ann",
        "--state",
        arg(&state),
    ]);
    consortium.finish(&first);
    let report = state.join("runs").join(&first).join("local.json");
    wait_until("the site's own report", || report.exists());
    let text = ledger(&state);
    assert!(
        text.contains("\"action\":\"approval\"") && text.contains("\"steward\":\"ann\""),
        "{text}"
    );
    assert!(requests(&state).is_empty(), "nothing waits any more");

    // A policy that forbids a column comes into force, and the next run goes on without the site.
    policy(
        &file,
        "@id(\"no-chol\") forbid (principal, action == Action::\"takePart\", resource) \
         when { resource.columns.contains(\"chol\") };\n",
    );
    consortium.hang_up_node("va");
    wait_until("the new policy", || {
        consortium
            .log_text("va")
            .contains("another policy is in force")
    });
    let second = consortium.submit(&task("heart-again"));
    consortium.finish(&second);
    let refusal = "this site's policy says no: forbidden by no-chol";
    assert!(ledger(&state).contains(refusal), "{}", ledger(&state));
    let coordinator = ledger(&consortium.coordinator_state());
    assert!(
        coordinator.contains(refusal),
        "the coordinator has the reason"
    );

    // A file that does not load changes nothing, loudly.
    std::fs::write(&file, "permit everything").expect("written");
    consortium.hang_up_node("va");
    wait_until("the complaint", || {
        consortium
            .log_text("va")
            .contains("THE POLICY BEFORE STAYS IN FORCE")
    });
    assert!(ledger(&state).contains("\"action\":\"policy\""));
    assert!(consortium.terminate_node("va"), "it still ran");
    // It does not start with it either.
    let started = run(&["node", "run", "--state", arg(&state)]);
    assert!(!started.status.success());
    let text = String::from_utf8_lossy(&started.stderr).into_owned();
    assert!(text.contains("site-policy.cedar cannot be used"), "{text}");
}
