//! The encrypted path computes what plain addition computes.

use collegium_automl::federation::{FileJournal, Journal};
use collegium_coordinator::journal::StoreJournal;
use collegium_coordinator::store::Store;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::consortium::{Consortium, HOSPITALS, Site, arg, json, repository};

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

/// The patients of two hospitals, whose files agree in their columns, ill or not, by age.
fn patients() -> (String, Vec<String>) {
    let mut rows = Vec::new();
    let mut header = String::new();
    for name in ["cleveland", "hungarian"] {
        let file = repository(&format!("examples/hospitals/data/{name}.csv"));
        let text = std::fs::read_to_string(file).expect("a table");
        let mut lines = text.lines().map(str::to_owned);
        header = lines.next().expect("a header");
        rows.extend(lines.map(|line| match line.rsplit_once(',') {
            // Stages 1 to 4 of the disease are one class.
            Some((features, "0")) => format!("{features},0"),
            Some((features, _)) => format!("{features},1"),
            None => line,
        }));
    }
    let age = |row: &String| {
        row.split(',')
            .next()
            .and_then(|age| age.parse().ok())
            .unwrap_or(0.0)
    };
    rows.sort_by(|a, b| f64::total_cmp(&age(a), &age(b)));
    (header, rows)
}

/// These rows at one site or more: the young at the first one, the old at the last.
fn spread(dir: &Path, sites: &[&'static str]) -> Vec<Site> {
    let (header, rows) = patients();
    sites
        .iter()
        .zip(rows.chunks(rows.len().div_ceil(sites.len())))
        .map(|(&name, rows)| {
            let mut text = format!("{header}\n");
            for row in rows {
                writeln!(text, "{row}").expect("a string");
            }
            let table = dir.join(format!("{name}-of-{}.csv", sites.len()));
            std::fs::write(&table, text).expect("the table is written");
            Site {
                name,
                table,
                columns: None,
            }
        })
        .collect()
}

fn simulate(dir: &Path, task: &Path, sites: &[Site]) -> (Value, PathBuf) {
    let out = dir.join(format!("simulated-{}", sites.len()));
    let mut args = vec!["simulate", arg(task), "--out", arg(&out)];
    let tables: Vec<String> = sites
        .iter()
        .map(|site| format!("{}={}", site.name, arg(&site.table)))
        .collect();
    args.extend(tables.iter().map(String::as_str));
    (json(&args), out.join("champion.json"))
}

/// What a champion is, without where it comes from: who contributed is part of its lineage.
fn essence(champion: &[u8]) -> Value {
    let mut champion: Value = serde_json::from_slice(champion).expect("a champion");
    let fields = champion.as_object_mut().expect("an object");
    fields.remove("lineage").expect("its lineage");
    champion
}

/// Trees, scorecards and additive models are sums of whole numbers: one table in one process, three
/// daemons and five give the same model bit for bit.
#[test]
fn exact_families_are_the_same_over_three_and_five_daemons() {
    let dir = tempfile::tempdir().expect("a directory");
    for family in ["gbdt", "scorecard", "ga2m"] {
        let text = format!(
            "name = \"patients\"\ntarget = \"num\"\nkind = \"classification\"\npreset = \"fast\"\n\
             seed = 5\nmax_steps = 24\n[constraints]\nallowed_models = [\"{family}\"]\n"
        );
        let task = dir.path().join(format!("{family}.toml"));
        std::fs::write(&task, &text).expect("the task is written");
        let (merged, champion) = simulate(dir.path(), &task, &spread(dir.path(), &["all"]));
        let champion = essence(&std::fs::read(champion).expect("a champion"));
        assert_eq!(champion["candidate"]["family"], family);
        for names in [&["a", "b", "c"][..], &["a", "b", "c", "d", "e"]] {
            let consortium = Consortium::found_by(spread(dir.path(), names)).started();
            let run = consortium.submit(&text);
            let remote = consortium.finish(&run);
            assert_eq!(remote["test"], merged["test"], "{family}");
            assert!(
                essence(&consortium.champion(&run)) == champion,
                "{family}: the champion of {} daemons differs",
                names.len()
            );
        }
    }
}
