//! The encrypted path computes what plain addition computes.

use crate::consortium::{Consortium, HOSPITALS, arg, json, repository};

#[test]
fn remote_equals_pooled_bit_for_bit() {
    let consortium = Consortium::running();
    let task_file = repository("examples/hospitals/task.toml");
    let task = std::fs::read_to_string(&task_file).expect("the task");
    let run = consortium.submit(&task);
    let remote = consortium.finish(&run);

    let out = consortium.dir().join("simulated");
    let sites = repository("examples/hospitals/sites");
    let tables: Vec<String> = HOSPITALS
        .iter()
        .map(|name| {
            let file = repository(&format!("examples/hospitals/data/{name}.csv"));
            format!("{name}={}", arg(&file))
        })
        .collect();
    let mut args = vec!["simulate", arg(&task_file), "--sites", arg(&sites), "--out", arg(&out)];
    args.extend(tables.iter().map(String::as_str));
    let pooled = json(&args);

    assert_eq!(remote["test"], pooled["test"]);
    assert_eq!(remote["steps"], pooled["steps"]);
    let simulated = std::fs::read(out.join("champion.json")).expect("the simulated champion");
    assert!(consortium.champion(&run) == simulated, "the champions differ");

    // Not only the end: every total of every step, as the two journals hold them.
    let there = collegium_coordinator::journal::read(&consortium.coordinator_state(), &run)
        .expect("the coordinator's journal");
    let here = collegium_automl::federation::read_journal(&out.join("journal.jsonl"))
        .expect("the simulation's journal");
    assert_eq!(there.len() as u64, remote["steps"].as_u64().expect("steps"));
    assert_eq!(there, here, "some total differs");
}
