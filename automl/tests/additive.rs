//! Scorecards and GA2Ms over the four hospitals: the whole round, and what people read.

mod hospitals;

use collegium_automl::family::additive::{AdditiveModel, AdditiveObject};
use collegium_automl::family::ga2m::Effects;
use collegium_automl::family::scorecard::{PointsTable, Scaling};
use collegium_automl::model::Champion;
use collegium_automl::object::Object;
use collegium_automl::search::{Outcome, Progress, Silent};
use collegium_automl::simulate;

fn task(family: &str) -> collegium_automl::task::Task {
    hospitals::task_with(&format!(
        "preset = \"fast\"\n[constraints]\nallowed_models = [\"{family}\"]"
    ))
}

fn model(champion: &Champion) -> &AdditiveModel {
    let Object::Family(object) = &champion.model else {
        panic!("a family's model");
    };
    match object.downcast::<AdditiveObject>() {
        Some(AdditiveObject::Model(model)) => model,
        _ => panic!("an additive model"),
    }
}

/// Patients spread by age over 1, 2, 3 or 5 sites: one champion, bit for bit.
fn same_over_any_sites(family: &str) -> Outcome {
    let task = task(family);
    let whole = simulate::run(&task, hospitals::spread(1), &mut Silent).expect("a champion");
    assert_eq!(whole.champion.candidate.family, family);
    for sites in [2, 3, 5] {
        let federated = simulate::run(&task, hospitals::spread(sites), &mut Silent);
        let federated = federated.expect("a champion");
        assert_eq!(
            federated.champion.model, whole.champion.model,
            "{sites} sites"
        );
        assert_eq!(federated.test, whole.test, "{sites} sites");
        assert_eq!(federated.leaderboard, whole.leaderboard, "{sites} sites");
    }
    let bytes = whole.champion.to_bytes().expect("bytes");
    let read = Champion::from_bytes(&bytes).expect("a champion file");
    assert_eq!(read.model, whole.champion.model);
    let auc = whole.test.auc.expect("two classes");
    let error = whole.test.auc_se.expect("enough test rows");
    assert!(auc + error > 0.86, "{family}: {auc} +- {error}");
    whole
}

#[test]
fn a_scorecard_and_its_points_table() {
    let outcome = same_over_any_sites("scorecard");
    assert!(outcome.steps <= 24, "{} steps", outcome.steps);
    let champion = &outcome.champion;
    let table = PointsTable::of(model(champion), &champion.pipeline, Scaling::default());
    assert!(table.rows.len() > 10);
    let names: Vec<String> = champion
        .pipeline
        .bin_columns()
        .into_iter()
        .map(|column| column.name)
        .collect();
    let patients = hospitals::hospital("cleveland");
    let design = champion.pipeline.design(&patients).expect("bins");
    let scores = champion.scores(&patients).expect("probabilities");
    for (row, scores) in scores.iter().enumerate() {
        let logit = (scores[1] / scores[0]).ln();
        let printed = table.score(&names, design.row(row).bins()) as f64;
        let off = (printed - table.scaling.score(logit)).abs();
        assert!(off <= 0.5 * (names.len() + 1) as f64, "{off} points");
    }
    for line in &table.rows {
        assert!(line.condition.contains(&line.column), "{}", line.condition);
    }
}

#[test]
fn a_ga2m_and_its_effects() {
    let task = task("ga2m");
    let mut widest = 0;
    let outcome = simulate::run(&task, hospitals::hospitals(), &mut |progress: &Progress| {
        if let Progress::Step { numbers, .. } = progress {
            widest = widest.max(*numbers);
        }
    });
    let outcome = outcome.expect("a champion");
    assert!(outcome.steps <= 40, "{} steps", outcome.steps);
    assert!(widest <= 2 << 20, "{widest} numbers in a step");
    let champion = &outcome.champion;
    let effects = Effects::of(model(champion), &champion.pipeline);
    assert!(effects.columns.len() >= 8);
    for effect in &effects.columns {
        assert_eq!(effect.conditions.len(), effect.effects[0].len());
        for condition in &effect.conditions {
            assert!(condition.contains(&effect.column), "{condition}");
        }
    }
    same_over_any_sites("ga2m");
}
