//! A whole round on the four hospitals' heart-disease tables.

mod hospitals;

use collegium_automl::local::{local_report, search_alone, test_figures};
use collegium_automl::model::Champion;
use collegium_automl::search::{Outcome, Progress, Silent};
use collegium_automl::simulate;
use collegium_automl::table::Table;
use collegium_automl::task::Task;
use hospitals::{NAMES, hospital, hospitals, task};

fn round(task: &Task) -> Outcome {
    simulate::run(task, hospitals(), &mut Silent).expect("a champion")
}

fn tables() -> Vec<Table> {
    hospitals().into_iter().map(|(_, table)| table).collect()
}

/// What the design asks of this issue: about .88, above every model that a
/// hospital could have had alone, few and small steps.
#[test]
fn the_champion_beats_every_hospital_alone() {
    let task = task();
    let mut widest = 0;
    let outcome = simulate::run(&task, hospitals(), &mut |progress: &Progress| {
        if let Progress::Step { numbers, .. } = progress {
            widest = widest.max(*numbers);
        }
    })
    .expect("a champion");
    assert!(outcome.steps < 70, "{} steps", outcome.steps);
    assert!(widest < 200_000, "{widest} numbers in a step");
    let auc = outcome.test.auc.expect("two classes in the test rows");
    let error = outcome.test.auc_se.expect("enough test rows");
    assert!(auc + error > 0.88, "{auc} +- {error}");
    let validation = outcome.champion.validation.auc.expect("two classes");
    assert!(validation > 0.88, "{validation}");
    let everywhere = test_figures(&task, tables(), &outcome.champion).expect("figures");
    assert_eq!(
        everywhere, outcome.test,
        "the file predicts what was tested"
    );
    for name in NAMES {
        let alone = search_alone(&task, hospital(name)).expect("both classes somewhere");
        let figures = test_figures(&task, tables(), &alone.champion).expect("figures");
        let alone = figures.auc.expect("two classes");
        assert!(alone < auc, "{name} alone reaches {alone}, together {auc}");
    }
    // The networks took part, and the linear model is done long before them.
    for family in ["logistic", "net"] {
        let of_family = outcome
            .leaderboard
            .iter()
            .filter(|s| s.name.starts_with(family));
        assert!(
            of_family.filter(|s| s.loss.is_some()).count() >= 4,
            "{family}"
        );
    }
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_does_not() {
    let task = Task {
        max_steps: Some(14),
        ..task()
    };
    let bytes = |task: &Task| round(task).champion.to_bytes().expect("bytes");
    let first = bytes(&task);
    assert_eq!(first, bytes(&task));
    assert_ne!(
        first,
        bytes(&Task {
            seed: task.seed + 1,
            ..task
        })
    );
    let read = Champion::from_bytes(&first).expect("a champion file");
    assert_eq!(read.to_bytes().expect("bytes"), first);
}

/// The same rows at 1, 2, 3 or 5 sites give the same linear model, bit for bit:
/// profile, splits, features and Newton steps are all sums of integers. (In a local search sites
/// do train alone, so without one.)
#[test]
fn linear_models_do_not_depend_on_how_rows_are_spread() {
    let text = "preset = \"fast\"\n[constraints]\nallowed_models = [\"logistic\"]";
    let task = hospitals::task_with(text);
    let merged = hospitals::spread(1);
    let whole = simulate::run(&task, merged, &mut Silent).expect("a champion");
    assert_eq!(whole.champion.candidate.family, "logistic");
    for sites in [2, 3, 5] {
        let federated = simulate::run(&task, hospitals::spread(sites), &mut Silent);
        let federated = federated.expect("a champion");
        assert_eq!(
            federated.champion.pipeline, whole.champion.pipeline,
            "{sites} sites"
        );
        assert_eq!(
            federated.champion.model, whole.champion.model,
            "{sites} sites"
        );
        assert_eq!(federated.test, whole.test, "{sites} sites");
        assert_eq!(federated.leaderboard, whole.leaderboard, "{sites} sites");
    }
}

/// Switzerland's patients are nearly all ill; a site may hold one class only.
#[test]
fn a_site_with_one_class_takes_part_and_gets_a_report() {
    let task = Task {
        max_steps: Some(12),
        ..task()
    };
    let mut sites = hospitals();
    sites[2].1 = hospitals::only_ill("switzerland");
    let outcome = simulate::run(&task, sites, &mut Silent).expect("a champion");
    let bytes = outcome.champion.to_bytes().expect("bytes");
    let report = local_report(&task, hospitals::only_ill("switzerland"), &bytes);
    let report = report.expect("a report");
    assert!(report.test_rows > 0);
    assert_eq!(report.champion.auc, None);
    assert!(report.champion.log_loss.is_some());
    assert_eq!(report.alone, None);
    let note = report.note.expect("a note");
    assert!(note.contains("one class"), "{note}");
    let report = local_report(&task, hospital("cleveland"), &bytes).expect("a report");
    assert_eq!(report.note, None);
    assert!(
        report
            .alone
            .is_some_and(|alone| alone.rows == report.test_rows)
    );
}

#[test]
fn one_value_of_the_target_everywhere_is_refused() {
    let sites = vec![("swiss".to_owned(), hospitals::only_ill("switzerland"))];
    let error = simulate::run(&task(), sites, &mut Silent).expect_err("one class");
    assert!(error.to_string().contains("disease"), "{error}");
}

/// Every third row is test because a column says so.
#[test]
fn a_split_of_the_task_is_respected() {
    let task = hospitals::task_with("split = \"fold\"");
    let sites: Vec<(String, Table)> = NAMES
        .iter()
        .map(|name| {
            (
                (*name).to_owned(),
                hospitals::with_column(name, "fold", |row, _| {
                    if row.is_multiple_of(3) {
                        "test"
                    } else {
                        "train"
                    }
                }),
            )
        })
        .collect();
    let outcome = simulate::run(&task, sites, &mut Silent).expect("a champion");
    let expected: u64 = [303u64, 294, 123, 200]
        .iter()
        .map(|rows| rows.div_ceil(3))
        .sum();
    assert_eq!(outcome.test.rows, expected);
    assert!(
        outcome.test.auc.is_some_and(|auc| auc > 0.85),
        "{:?}",
        outcome.test
    );
}
