//! Linear models against scikit-learn, and against themselves over other
//! partitions of the rows.

mod hospitals;

use serde::Deserialize;

use super::*;
use crate::ask::{Ask, Part, Stage, Totals};
use crate::family::{Setting, Trainer};
use crate::features::{Matrix, Row};
use crate::object::Object;
use crate::random::Stream;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

/// Recorded by `tests/fixtures/record_logistic.py`.
#[derive(Deserialize)]
struct Case {
    name: String,
    kind: String,
    ridge: f64,
    x: Vec<Vec<f64>>,
    y: Vec<f64>,
    weights: Vec<f64>,
}

fn rows(x: &[Vec<f64>], y: &[f64], slots: Vec<Slot>) -> Rows {
    let width = x.first().map_or(1, Vec::len);
    let matrix = Matrix::numbers(x.len(), width, x.concat());
    Rows::from_parts(matrix, y.to_vec(), slots)
}

fn setting(head: Head, folds: u8, width: usize, rows: usize) -> Setting {
    Setting::for_test(head, folds, width, rows as u64)
}

/// Fits over the sums of these sites; returns the model and the steps taken.
fn fit(ridge: f64, setting: Setting, sites: &[Rows]) -> (LogisticModel, u32) {
    let mut trainer = LogisticTrainer::new(LogisticCandidate { ridge }, setting);
    let mut steps = 0;
    while !trainer.finished() {
        let model = linear(&trainer.model());
        let (part, published) = trainer.ask();
        let newton: &NewtonPart = part.downcast().expect("a Newton part");
        assert_eq!(Some(newton.model), published[0].id().ok());
        let ask = Ask {
            sequence: steps + 1,
            stage: Stage::Race,
            task: ObjectId::of(b"task"),
            parts: vec![Part::Train(part.clone())],
        };
        let mut sums = vec![0u64; ask.numbers()];
        for rows in sites {
            let mut out = Encoder::new(&ask.segments());
            newton.sums(&model, rows, &mut out).expect("within bounds");
            let codes = out.finish().expect("all numbers");
            sums.iter_mut()
                .zip(codes)
                .for_each(|(sum, code)| *sum += code);
        }
        let contributors = (1..=sites.len() as u16).collect();
        let totals = Totals { sums, contributors };
        totals.check(&ask).expect("totals of this ask");
        trainer.learn(&totals.part(&ask, 0));
        steps += 1;
    }
    (linear(&trainer.model()), steps)
}

fn linear(object: &Object) -> LogisticModel {
    match object {
        Object::Family(object) => object.downcast().cloned().expect("a linear model"),
        Object::Pipeline(_) => panic!("a pipeline"),
    }
}

#[test]
fn weights_equal_those_of_scikit_learn() {
    let text = include_str!("../../../tests/fixtures/logistic.json");
    let fixture: Fixture = serde_json::from_str(text).expect("the recorded fixture");
    assert_eq!(fixture.cases.len(), 6);
    for case in fixture.cases {
        let head = match case.kind.as_str() {
            "linear" => Head::Number,
            _ => Head::Binary,
        };
        let site = rows(&case.x, &case.y, vec![Slot::TrainOnly; case.y.len()]);
        let setting = setting(head, 1, case.x[0].len(), case.y.len());
        let (model, steps) = fit(case.ridge, setting, &[site]);
        let bound = if head == Head::Number { 3 } else { 10 };
        assert!(steps <= bound, "{}: {steps} steps", case.name);
        for (ours, theirs) in model.folds[0][0].iter().zip(&case.weights) {
            assert!(
                (ours - theirs).abs() < 1e-6 * (1.0 + theirs.abs()),
                "{}: {ours} {theirs}",
                case.name
            );
        }
    }
}

/// Skewed rows: site k of n gets every row whose first column falls in its band.
fn spread(x: &[Vec<f64>], y: &[f64], slots: &[Slot], sites: usize) -> Vec<Rows> {
    (0..sites)
        .map(|site| {
            let at: Vec<usize> = (0..x.len())
                .filter(|row| {
                    let band = ((x[*row][0] + 2.0) * sites as f64 / 4.0).max(0.0) as usize;
                    band.min(sites - 1) == site
                })
                .collect();
            let x: Vec<Vec<f64>> = at.iter().map(|row| x[*row].clone()).collect();
            let y: Vec<f64> = at.iter().map(|row| y[*row]).collect();
            rows(&x, &y, at.iter().map(|row| slots[*row]).collect())
        })
        .collect()
}

#[test]
fn any_number_of_sites_gives_the_same_bits() {
    for head in [Head::Binary, Head::Classes(3), Head::Number] {
        let mut random = Stream::new("collegium/test/logistic/v1", &[b"spread"]);
        let count = 150;
        let x: Vec<Vec<f64>> = (0..count)
            .map(|_| (0..4).map(|_| random.normal()).collect())
            .collect();
        let y: Vec<f64> = x
            .iter()
            .map(|row| {
                let score = row[0] - 0.7 * row[1] + 0.5 * random.normal();
                match head {
                    Head::Number => score,
                    Head::Binary => f64::from(u8::from(score > 0.0)),
                    Head::Classes(_) => f64::from(u8::from(score > -0.5) + u8::from(score > 0.7)),
                }
            })
            .collect();
        let slots: Vec<Slot> = (0..count)
            .map(|_| Slot::Fold(random.below(5) as u8))
            .collect();
        let setting = setting(head, 5, 4, count);
        let merged = fit(1.0, setting.clone(), &spread(&x, &y, &slots, 1)).0;
        for sites in [2, 3, 5] {
            let parts = spread(&x, &y, &slots, sites);
            assert!(parts.iter().filter(|rows| !rows.is_empty()).count() > 1);
            let federated = fit(1.0, setting.clone(), &parts).0;
            assert_eq!(federated, merged, "{head:?} over {sites} sites");
        }
        let mut scores = vec![0.0; head.scores()];
        merged.predict_average(Row::Numbers(&x[0]), &mut scores);
        if head != Head::Number {
            assert!((scores.iter().sum::<f64>() - 1.0).abs() < 1e-12);
        }
    }
}

#[test]
fn one_class_and_no_rows_end_with_finite_weights() {
    let x = vec![vec![0.5, 1.0], vec![-0.5, 1.0], vec![0.1, 1.0]];
    let one_class = rows(&x, &[1.0; 3], vec![Slot::TrainOnly; 3]);
    let (model, _) = fit(1.0, setting(Head::Binary, 2, 2, 3), &[one_class]);
    FamilyObject::check(&model).expect("finite weights");
    let mut scores = [0.0; 2];
    model.predict_average(Row::Numbers(&x[0]), &mut scores);
    assert!(scores[1] > 0.95, "{scores:?}");
    let none = rows(&[], &[], Vec::new());
    let (model, steps) = fit(1.0, setting(Head::Binary, 2, 1, 1), &[none]);
    assert!(model.folds.iter().flatten().flatten().all(|w| *w == 0.0) && steps <= 3);
}

#[test]
fn separable_rows_without_ridge_do_not_run_away() {
    let x: Vec<Vec<f64>> = (0..20).map(|at| vec![f64::from(at) - 9.5]).collect();
    let y: Vec<f64> = x
        .iter()
        .map(|row| f64::from(u8::from(row[0] > 0.0)))
        .collect();
    let site = rows(&x, &y, vec![Slot::TrainOnly; 20]);
    let (model, steps) = fit(0.0, setting(Head::Binary, 1, 1, 20), &[site]);
    FamilyObject::check(&model).expect("finite weights");
    assert!(steps <= 20, "{steps}");
}

#[test]
fn validation_rows_do_not_train_their_fold() {
    let x: Vec<Vec<f64>> = (0..40).map(|at| vec![libm::sin(f64::from(at))]).collect();
    let mut y: Vec<f64> = (0..40).map(|at| f64::from(u8::from(at % 3 == 0))).collect();
    let slots: Vec<Slot> = (0..40).map(|at| Slot::Fold(at % 2)).collect();
    let setting = setting(Head::Binary, 2, 1, 40);
    let before = fit(1.0, setting.clone(), &[rows(&x, &y, slots.clone())]).0;
    y[1] = 1.0 - y[1];
    let after = fit(1.0, setting, &[rows(&x, &y, slots)]).0;
    assert_eq!(before.folds[1], after.folds[1]);
    assert_ne!(before.folds[0], after.folds[0]);
}
