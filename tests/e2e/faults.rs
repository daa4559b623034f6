//! Daemons that are killed in the middle of a run.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use collegium_automl::random::Stream;
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

/// Kills come after one of the first so many steps, well before the run ends.
const KILLED_STEPS: u64 = 30;

#[test]
fn a_killed_coordinator_resumes_and_reaches_the_same_champion() {
    same_champion_after(2);
}

#[test]
#[ignore = "takes minutes: cargo test --workspace --test e2e -- --ignored twenty"]
fn a_coordinator_killed_at_twenty_steps_reaches_the_same_champion() {
    same_champion_after(20);
}

/// Kills the coordinator so many times in one run, each time at a step of its own.
fn same_champion_after(kills: usize) {
    let mut random = random();
    let mut steps: Vec<u64> = (1..=KILLED_STEPS).collect();
    while steps.len() > kills {
        steps.remove(random.below(steps.len()));
    }
    let mut consortium = Consortium::running();
    // Only runs with the same contributors in every step have the same champion, so a coordinator
    // that is back waits for all four.
    consortium.set("COLLEGIUM_COORDINATOR_RUN__ACCEPT_WAIT", "4min");
    let run = consortium.submit(&task());
    let mut killed = Vec::new();
    for step in steps {
        let seen = consortium.watch(&run, after_steps(step));
        if seen["event"] == "finished" {
            break;
        }
        // Somewhere in the step: a tiny one takes about 30 ms.
        std::thread::sleep(Duration::from_millis(random.below(40) as u64));
        consortium.kill_coordinator();
        killed.push(step);
        consortium.start_coordinator();
    }
    println!("killed after steps {killed:?}");
    assert_eq!(killed.len(), kills, "the run ended before its last kill");
    let mut short = Vec::new();
    consortium.watch(&run, |event| {
        let contributors = event["contributors"].as_array().map(Vec::len);
        if contributors.is_some_and(|count| count < HOSPITALS.len()) {
            short.push(event.clone());
        }
        false
    });
    assert!(short.is_empty(), "steps without a member: {short:?}");
    assert!(
        consortium.champion(&run) == champion_without_faults(),
        "the champions differ"
    );
}

/// Numbers from a seed that is printed; `FAULTS_SEED` runs a failure again.
fn random() -> Stream {
    let seed = std::env::var("FAULTS_SEED").map_or_else(
        |_| RandomState::new().build_hasher().finish(),
        |seed| seed.parse().expect("FAULTS_SEED is a whole number"),
    );
    println!("FAULTS_SEED={seed}");
    Stream::new("collegium/test/faults/v1", &[&seed.to_le_bytes()])
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
