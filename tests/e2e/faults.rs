//! Daemons that are killed in the middle of a run.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

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

/// Steps of the run whose coordinator is killed, at the least.
const KILLED_STEPS: u64 = 40;

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
    let mut random = Random::new();
    let mut steps: Vec<u64> = (1..=KILLED_STEPS).collect();
    while steps.len() > kills {
        let out = random.below(steps.len() as u64) as usize;
        steps.remove(out);
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
        std::thread::sleep(Duration::from_millis(random.below(40)));
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

/// Numbers from a seed that is printed; `FAULTS_SEED` runs a failure again. Steele, Lea and Flood,
/// *Fast splittable pseudorandom number generators*, OOPSLA 2014 (SplitMix64).
struct Random(u64);

impl Random {
    fn new() -> Self {
        let seed = std::env::var("FAULTS_SEED").map_or_else(
            |_| RandomState::new().build_hasher().finish(),
            |seed| seed.parse().expect("FAULTS_SEED is a whole number"),
        );
        println!("FAULTS_SEED={seed}");
        Self(seed)
    }

    /// A number under `end`, evenly enough for a test.
    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % end
    }
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
