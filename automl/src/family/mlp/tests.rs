//! Networks against independent arithmetic.

use burn::tensor::{Device, Tensor, TensorData};

use super::*;
use crate::family::{Setting, Trainer, softplus};
use crate::features::Matrix;
use crate::object::Object;
use crate::random::Stream;

const WIDTH: usize = 5;

fn candidate(dropout: f64) -> MlpCandidate {
    MlpCandidate {
        hidden: vec![7, 4],
        learning_rate: 0.02,
        weight_decay: 0.0,
        dropout,
        epochs: 2,
        batch: 16,
    }
}

fn trainer(head: Head, dropout: f64, rows: u64) -> MlpTrainer {
    MlpTrainer::new(candidate(dropout), Setting::for_test(head, 3, WIDTH, rows))
}

fn network(head: Head) -> MlpModel {
    match trainer(head, 0.0, 10).model() {
        Object::Family(object) => object.downcast().cloned().expect("a network"),
        Object::Pipeline(_) => panic!("a pipeline"),
    }
}

fn part(head: Head, dropout: f64, rows: u64) -> DescendPart {
    let (part, _) = trainer(head, dropout, rows).ask();
    part.downcast().cloned().expect("a training part")
}

/// Rows whose class depends on the sign of a product, in slots 0, 1, 2, 0, …
fn rows(count: usize, head: Head) -> Rows {
    let mut random = Stream::new("collegium/test/mlp/v1", &[b"rows"]);
    let mut values = Vec::new();
    let mut targets = Vec::new();
    for _ in 0..count {
        let row: Vec<f64> = (0..WIDTH).map(|_| random.normal()).collect();
        let score = row[0] * row[1] + 0.5 * row[2];
        targets.push(match head {
            Head::Binary => f64::from(u8::from(score > 0.0)),
            Head::Number => score,
            Head::Classes(classes) => {
                ((score + 1.5).max(0.0) as usize).min(usize::from(classes) - 1) as f64
            }
        });
        values.extend(row);
    }
    let slots = (0..count).map(|at| Slot::Fold((at % 3) as u8)).collect();
    let matrix = Matrix::numbers(count, WIDTH, values);
    Rows::from_parts(matrix, targets, slots)
}

#[test]
fn scalar_prediction_equals_the_frameworks_forward_pass() {
    let device = Device::flex();
    let model = network(Head::Classes(3));
    let rows = rows(11, Head::Classes(3));
    let inputs: Vec<f32> = (0..11)
        .flat_map(|at| rows.row(at).numbers().iter().map(|x| *x as f32))
        .collect();
    for fold in 0..3 {
        let net: Vec<(Tensor<3>, Tensor<3>)> = layers(&model.sizes)
            .into_iter()
            .map(|layer| {
                let tensor = |from: usize, to: usize, rows: usize| {
                    let values = model.folds[fold][from..to].to_vec();
                    Tensor::from_data(TensorData::new(values, [1, rows, layer.outputs]), &device)
                };
                (
                    tensor(layer.start, layer.biases(), layer.inputs),
                    tensor(layer.biases(), layer.end(), 1),
                )
            })
            .collect();
        let batch = Tensor::from_data(TensorData::new(inputs.clone(), [1, 11, WIDTH]), &device);
        let data = local::forward(&net, batch, &[]).into_data();
        let framework = data.as_slice::<f32>().expect("f32 outputs");
        for (at, expected) in framework.chunks_exact(3).enumerate() {
            for (ours, theirs) in model.outputs(fold, rows.row(at)).iter().zip(expected) {
                assert!((ours - f64::from(*theirs)).abs() < 1e-4, "{ours} {theirs}");
            }
        }
    }
}

fn mean_loss(model: &MlpModel, fold: usize, rows: &Rows) -> f64 {
    let trains: Vec<usize> = (0..rows.len())
        .filter(|at| rows.trains(*at, fold))
        .collect();
    let total: f64 = trains
        .iter()
        .map(|at| {
            let outputs = model.outputs(fold, rows.row(*at));
            let target = rows.targets[*at];
            match model.head {
                Head::Number => (outputs[0] - target) * (outputs[0] - target),
                Head::Binary if target == 1.0 => softplus(-outputs[0]),
                Head::Binary => softplus(outputs[0]),
                Head::Classes(_) => {
                    let sum: f64 = outputs.iter().map(|o| o.exp()).sum();
                    sum.ln() - outputs[target as usize]
                }
            }
        })
        .sum();
    total / trains.len() as f64
}

/// The framework's gradient against central differences of the scalar loss, for
/// every weight: a step of plain descent would go the right way.
#[test]
fn gradients_equal_central_differences() {
    for head in [Head::Binary, Head::Classes(3), Head::Number] {
        let rows = rows(12, head);
        let model = network(head);
        let gradients = local::gradients(&part(head, 0.0, 12), &model, &rows);
        for (fold, gradient) in gradients.iter().enumerate() {
            for (at, analytic) in gradient.iter().enumerate() {
                let moved = |by: f64| {
                    let mut moved = model.clone();
                    moved.folds[fold][at] = (f64::from(model.folds[fold][at]) + by) as f32;
                    let real = f64::from(moved.folds[fold][at]);
                    (real, mean_loss(&moved, fold, &rows))
                };
                let ((high, above), (low, below)) = (moved(1e-3), moved(-1e-3));
                let numeric = (above - below) / (high - low);
                assert!(
                    (f64::from(*analytic) - numeric).abs() < 2e-3 * (1.0 + numeric.abs()),
                    "{head:?} fold {fold} weight {at}: {analytic} {numeric}"
                );
            }
        }
    }
}

#[test]
fn local_training_learns_and_repeats_itself() {
    for (head, dropout) in [
        (Head::Binary, 0.0),
        (Head::Classes(3), 0.2),
        (Head::Number, 0.0),
    ] {
        let rows = rows(120, head);
        let model = network(head);
        let part = part(head, dropout, 120);
        let once = local::train(&part, &model, &rows);
        assert_eq!(once, local::train(&part, &model, &rows), "{head:?}");
        let later = DescendPart {
            step: part.step + 1,
            ..part.clone()
        };
        let later = local::train(&later, &model, &rows);
        assert_ne!(once, later, "{head:?}: every step shuffles anew");
        let trained = MlpModel {
            folds: once,
            ..model.clone()
        };
        for fold in 0..3 {
            let (before, after) = (
                mean_loss(&model, fold, &rows),
                mean_loss(&trained, fold, &rows),
            );
            assert!(after < before, "{head:?} fold {fold}: {before} to {after}");
        }
    }
}

#[test]
fn a_fold_never_learns_from_its_validation_rows() {
    let rows = rows(30, Head::Binary);
    let mut flipped = rows.clone();
    for at in (0..30).filter(|at| at % 3 == 1) {
        flipped.targets[at] = 1.0 - flipped.targets[at];
    }
    let model = network(Head::Binary);
    let part = part(Head::Binary, 0.1, 30);
    let plain = local::train(&part, &model, &rows);
    let other = local::train(&part, &model, &flipped);
    assert_eq!(plain[1], other[1]);
    assert_ne!(plain[0], other[0]);
    assert_ne!(plain[2], other[2]);
}

#[test]
fn no_rows_change_nothing() {
    let model = network(Head::Binary);
    let part = part(Head::Binary, 0.0, 30);
    let none = rows(0, Head::Binary);
    let trained = local::train(&part, &model, &none);
    assert_eq!(trained, model.folds);
}

#[test]
fn odd_sizes_are_refused() {
    let good = part(Head::Binary, 0.0, 30);
    assert_eq!(good.check(), Ok(()));
    let refuse = |change: fn(&mut DescendPart)| {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(bad.check().is_err(), "{bad:?}");
    };
    refuse(|part| part.sizes = vec![5]);
    refuse(|part| part.sizes = vec![5, 3]);
    refuse(|part| part.sizes = vec![5, 4096, 4096, 1]);
    refuse(|part| part.learning_rate = f64::NAN);
    refuse(|part| part.levels = 1 << 30);
    refuse(|part| part.epochs = 1000);
    refuse(|part| part.folds = 0);
    refuse(|part| part.rows = 0);
    let mut model = network(Head::Binary);
    model.folds[1].pop();
    assert!(model.check().is_err());
}
