//! Differential privacy end to end: noise from the sites, a budget that is kept over restarts, and
//! a run that can be replayed.

use std::path::Path;

use serde_json::Value;

use crate::consortium::{Consortium, arg, json, repository, run, wait_until};

fn task(name: &str) -> String {
    let text = repository("examples/hospitals/private.toml");
    let text = std::fs::read_to_string(text).expect("the sample");
    assert!(text.contains("name = \"heart-disease-private\""));
    text.replace("heart-disease-private", name)
}

fn entries(state: &Path, action: &str) -> Vec<Value> {
    let all = collegium_node::ledger::entries(&state.join("ledger")).expect("a ledger");
    let of = |entry: &Value| entry["action"] == action;
    all.into_iter().filter(of).collect()
}

fn check(state: &Path) -> String {
    let checked = run(&["node", "check", "--state", arg(state)]);
    String::from_utf8_lossy(&checked.stdout).into_owned()
}

#[test]
fn a_private_run_is_paid_for_once_and_a_spent_site_refuses() {
    let consortium = Consortium::found();
    let state = consortium.node_state("va");
    let settings = state.join("node.toml");
    let before = std::fs::read_to_string(&settings).expect("the configuration");
    let after = format!("{before}\n[budget]\nepsilon = 1.2\n");
    std::fs::write(&settings, after).expect("written");
    assert!(
        check(&state).contains("epsilon 0.000 of 1.2 spent ever"),
        "{}",
        check(&state)
    );
    let mut consortium = consortium.started();

    let first = consortium.submit(&task("first"));
    let result = consortium.finish(&first);
    let told = &result["privacy"];
    assert_eq!(
        (&told["unit"], &told["epsilon"]),
        (&"row".into(), &1.0.into()),
        "{told}"
    );
    let spent = told["spent"]["train"].as_f64().expect("a number");
    assert!(
        spent > 0.0 && result["champion"]["family"] == "logistic",
        "{result}"
    );

    // Every party wrote down what was told, and the site's own account agrees.
    let coordinator = consortium.coordinator_state();
    let steps = entries(&coordinator, "step");
    let rho = |entry: &Value| entry["evidence"]["rho"]["train"].as_f64().unwrap_or(0.0);
    let sum: f64 = steps.iter().map(rho).sum();
    assert!((sum / spent - 1.0).abs() < 1e-9, "{sum} {spent}");
    let asks = entries(&state, "ask");
    let last = &asks.last().expect("an answer")["evidence"]["asked"]["privacy"];
    let epsilon = last["run_epsilon"].as_f64().expect("a number");
    assert!((0.99..=1.0).contains(&epsilon), "{last}");
    assert!(
        check(&state).contains("epsilon 1.000 of 1.2 spent ever"),
        "{}",
        check(&state)
    );

    // What is left is not enough for another one: the others go on without this site.
    let second = consortium.submit(&task("second"));
    let result = consortium.finish(&second);
    assert_eq!(result["privacy"]["epsilon"], 1.0);
    let refused = |word: &str| {
        let of = |entry: &Value| entry["evidence"]["reason"].to_string().contains(word);
        entries(&state, "run").iter().filter(|it| of(it)).count()
    };
    assert_eq!(refused("privacy budget is spent"), 1);

    // Neither is it after a restart; and a task of exact sums has no place at this site.
    assert!(consortium.terminate_node("va"), "it still ran");
    consortium.start_node("va");
    wait_until("the node", || state.join("run/status.json").exists());
    let third = consortium.submit(&task("third"));
    consortium.finish(&third);
    assert_eq!(refused("privacy budget is spent"), 2);
    let exact = consortium.submit(
        "name = \"exact\"\ntarget = \"disease\"\npositive = \"1\"\nmax_steps = 14\n\
         [constraints]\nallowed_models = [\"logistic\"]\n",
    );
    consortium.finish(&exact);
    assert_eq!(refused("takes part only in tasks with"), 1);

    // A replay needs no rows and no noise: it finds both in the journal.
    assert!(consortium.terminate_coordinator());
    let replay = [
        "audit",
        "replay",
        &first,
        "--coordinator-state",
        arg(&coordinator),
    ];
    let replayed = run(&replay);
    let text = String::from_utf8_lossy(&replayed.stdout).into_owned();
    assert!(
        replayed.status.success() && text.contains("the same as in the ledger"),
        "{text}"
    );
}

#[test]
fn the_sample_says_what_it_means_for_the_sites() {
    let file = repository("examples/hospitals/private.toml");
    let checked = run(&["task", "check", arg(&file)]);
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    let words = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "differentially private: epsilon 1, delta 0.00001 for one row",
        "each with the site's share of noise",
        "the noise of any 2 of them is enough",
        "families logistic",
        "net (no bound on what one row adds, which differential privacy needs)",
        "about 4 secure sums",
    ] {
        assert!(words.contains(part), "{part} is missing in\n{text}");
    }
    let value = json(&["task", "check", arg(&file)]);
    assert_eq!(
        value["asks"]["families"]["tried"],
        serde_json::json!(["logistic"])
    );
}
