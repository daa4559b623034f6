//! Daemons that are killed in the middle of a run.

use serde_json::Value;

use crate::consortium::{Consortium, HOSPITALS, repository, wait_until};

fn task() -> String {
    std::fs::read_to_string(repository("examples/hospitals/task.toml")).expect("the task")
}

/// True once the run has done `count` steps.
fn after_steps(count: u64) -> impl FnMut(&Value) -> bool {
    move |event| {
        event["event"] == "step" && event["step"].as_u64().is_some_and(|step| step >= count)
    }
}

fn champion_without_faults() -> Vec<u8> {
    let consortium = Consortium::running();
    let run = consortium.submit(&task());
    consortium.finish(&run);
    consortium.champion(&run)
}

#[test]
fn a_killed_node_comes_back_and_the_run_finishes() {
    let mut consortium = Consortium::running();
    let run = consortium.submit(&task());
    consortium.watch(&run, after_steps(5));
    consortium.kill_node("hungarian");
    consortium.watch(&run, after_steps(7));
    consortium.start_node("hungarian");
    let result = consortium.finish(&run);
    assert!(
        result["test"]["auc"].as_f64().expect("a figure") > 0.8,
        "{result}"
    );
    // It took part again: it reports on the champion like the others.
    for name in HOSPITALS {
        let report = consortium
            .node_state(name)
            .join("runs")
            .join(&run)
            .join("local.json");
        wait_until(&format!("the report of {name}"), || report.exists());
    }
}

#[test]
fn a_killed_coordinator_resumes_and_reaches_the_same_champion() {
    let mut consortium = Consortium::running();
    let run = consortium.submit(&task());
    for steps in [3, 9] {
        consortium.watch(&run, after_steps(steps));
        consortium.kill_coordinator();
        consortium.start_coordinator();
    }
    consortium.finish(&run);
    assert!(
        consortium.champion(&run) == champion_without_faults(),
        "the champions differ"
    );
}

#[test]
fn too_few_nodes_make_the_run_wait_and_say_so() {
    let mut consortium = Consortium::running();
    let run = consortium.submit(&task());
    consortium.watch(&run, after_steps(3));
    consortium.kill_node("va");
    consortium.kill_node("switzerland");
    let event = consortium.watch(&run, |event| event["event"] == "waiting");
    assert_eq!(event["event"], "waiting", "{event}");
    consortium.start_node("va");
    consortium.start_node("switzerland");
    consortium.finish(&run);
}

#[test]
fn daemons_end_by_themselves_on_sigterm() {
    let mut consortium = Consortium::running();
    let run = consortium.submit(&task());
    consortium.watch(&run, after_steps(2));
    assert!(consortium.terminate_node("va"), "the node's exit status");
    assert!(
        consortium.terminate_coordinator(),
        "the coordinator's exit status"
    );
}
