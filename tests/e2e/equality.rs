//! The encrypted path computes what plain addition computes.

use collegium_automl::federation::{FileJournal, Journal};
use collegium_coordinator::journal::StoreJournal;
use collegium_coordinator::store::Store;

use crate::consortium::{Consortium, HOSPITALS, arg, json, repository};

#[test]
fn remote_equals_pooled_bit_for_bit() {
    let mut consortium = Consortium::running();
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
    let mut args = vec![
        "simulate",
        arg(&task_file),
        "--sites",
        arg(&sites),
        "--out",
        arg(&out),
    ];
    args.extend(tables.iter().map(String::as_str));
    let pooled = json(&args);

    assert_eq!(remote["test"], pooled["test"]);
    assert_eq!(remote["steps"], pooled["steps"]);
    let simulated = std::fs::read(out.join("champion.json")).expect("the simulated champion");
    assert!(
        consortium.champion(&run) == simulated,
        "the champions differ"
    );

    // Not only the end: every total of every step, as the two journals hold them.
    assert!(consortium.terminate_coordinator());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let store = runtime
        .block_on(Store::open(&consortium.coordinator_state()))
        .expect("its database");
    let id = run.parse().expect("a run's id");
    let mut there = StoreJournal::new(store, id, runtime.handle().clone());
    let mut here = FileJournal::open(&out.join("journal.jsonl")).expect("the simulation's journal");
    let steps = u32::try_from(here.len()).expect("steps");
    assert_eq!(remote["steps"], steps);
    for step in 1..=steps {
        let encrypted = there.load(step).expect("readable").expect("recorded");
        let plain = here.load(step).expect("readable").expect("recorded");
        assert_eq!(encrypted, plain, "step {step}");
    }
    assert_eq!(
        there.load(steps + 1).expect("readable"),
        None,
        "no step beyond the last"
    );
}
