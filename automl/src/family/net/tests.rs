//! Networks against independent arithmetic.

use burn::tensor::{Device, Tensor};

use super::*;
use crate::ask::{Ask, Encoder, Part, Stage, Totals};
use crate::family::{AnyPart, FamilyObject, FamilyPart, Head, softplus};
use crate::features::Matrix;
use crate::metric::LossSums;
use crate::object::{Object, ObjectId};
use crate::random::Stream;
use crate::site::{Rows, Slot};

const WIDTH: usize = 5;

fn candidate(dropout: f64) -> NetCandidate {
    NetCandidate {
        embedding: 0,
        hidden: vec![7, 4],
        local: LocalTraining {
            epochs: 2,
            share: 1.0,
            batch: 16,
            learning_rate: 0.02,
            weight_decay: 0.0,
            dropout,
            proximal: 0.0,
        },
        decay: 1.0,
        server: Server::Average {
            learning_rate: 1.0,
            momentum: 0.0,
        },
        averaging: 0.0,
        score_every: 1,
    }
}

fn trainer_of(candidate: NetCandidate, head: Head, rows: u64) -> NetTrainer {
    let setting = Setting::for_test(head, 3, WIDTH, rows);
    NetTrainer::new(candidate, setting).expect("within the caps")
}

fn trainer(head: Head, dropout: f64, rows: u64) -> NetTrainer {
    trainer_of(candidate(dropout), head, rows)
}

fn network(head: Head) -> NetModel {
    network_of(&trainer(head, 0.0, 10).model())
}

fn network_of(object: &Object) -> NetModel {
    match object {
        Object::Family(object) => object.downcast().cloned().expect("a network"),
        Object::Pipeline(_) => panic!("a pipeline"),
    }
}

fn part(head: Head, dropout: f64, rows: u64) -> NetPart {
    let (part, _) = trainer(head, dropout, rows).ask();
    part.downcast().cloned().expect("a training part")
}

/// A network that embeds its columns of 2, 1 and 2 features as 3 numbers each.
fn embedded(head: Head) -> (NetModel, NetPart) {
    let shape = NetShape {
        inputs: WIDTH as u32,
        embedding: Some(Embedding {
            columns: vec![2, 1, 2],
            width: 3,
        }),
        hidden: vec![4],
        outputs: head.outputs() as u32,
    };
    let mut random = Stream::new("collegium/test/net/v1", &[b"embedded"]);
    let mut list = || {
        let weights = (0..shape.parameters()).map(|_| random.normal() as f32 * 0.7);
        weights.collect::<Vec<f32>>()
    };
    let folds = (0..3).map(|_| list()).collect();
    let part = NetPart {
        shape: shape.clone(),
        ..part(head, 0.0, 12)
    };
    let model = NetModel {
        folds,
        shape,
        ..network(head)
    };
    (model, part)
}

/// Rows whose target depends on a product of features, in slots 0, 1, 2, 0, …
fn rows(count: usize, head: Head) -> Rows {
    rows_of(count, head, b"rows")
}

fn rows_of(count: usize, head: Head, name: &[u8]) -> Rows {
    let mut random = Stream::new("collegium/test/net/v1", &[name]);
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

fn outputs(model: &NetModel, fold: usize, rows: &Rows, at: usize) -> Vec<f64> {
    model.outputs(fold, rows.row(at).numbers())
}

/// The framework's gradient against central differences of the scalar loss needs its forward
/// pass to be ours: [`scalar_prediction_equals_the_frameworks_forward_pass`].
fn framework_outputs(model: &NetModel, rows: &Rows) -> Vec<f32> {
    let device = Device::flex();
    let tensors: Vec<Tensor<3>> = forward::load(model, &device)
        .into_iter()
        .map(|(_, tensor)| tensor)
        .collect();
    let all: Vec<usize> = (0..rows.len()).collect();
    let inputs = forward::Layout::new(&model.shape).inputs(rows, &all, &device);
    let data = forward::forward(&model.shape, &tensors, inputs, &[]).into_data();
    data.as_slice::<f32>().expect("f32 outputs").to_vec()
}

#[test]
fn scalar_prediction_equals_the_frameworks_forward_pass() {
    let head = Head::Classes(3);
    let rows = rows(11, head);
    for model in [network(head), embedded(head).0] {
        let framework = framework_outputs(&model, &rows);
        let mut expected = framework.chunks_exact(3);
        for fold in 0..3 {
            for at in 0..rows.len() {
                let theirs = expected.next().expect("a row of outputs");
                for (ours, theirs) in outputs(&model, fold, &rows, at).iter().zip(theirs) {
                    assert!((ours - f64::from(*theirs)).abs() < 1e-4, "{ours} {theirs}");
                }
            }
        }
    }
}

fn mean_loss(model: &NetModel, fold: usize, rows: &Rows) -> f64 {
    let trains: Vec<usize> = (0..rows.len())
        .filter(|at| rows.trains(*at, fold))
        .collect();
    let total: f64 = trains
        .iter()
        .map(|at| {
            let outputs = outputs(model, fold, rows, *at);
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
/// every weight, those of embeddings too: a step of plain descent would go the right way.
#[test]
fn gradients_equal_central_differences() {
    for head in [Head::Binary, Head::Classes(3), Head::Number] {
        let rows = rows(12, head);
        for (model, part) in [(network(head), part(head, 0.0, 12)), embedded(head)] {
            let gradients = local::gradients(&part, &model, &rows);
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
}

#[test]
fn local_training_learns_and_repeats_itself() {
    for (head, dropout) in [
        (Head::Binary, 0.0),
        (Head::Classes(3), 0.2),
        (Head::Number, 0.0),
    ] {
        let rows = rows(120, head);
        let plain = (network(head), part(head, dropout, 120));
        for (model, part) in [plain, embedded(head)] {
            let once = local::train(&part, &model, &rows);
            assert_eq!(once, local::train(&part, &model, &rows), "{head:?}");
            let later = NetPart {
                step: part.step + 1,
                ..part.clone()
            };
            let later = local::train(&later, &model, &rows);
            assert_ne!(once, later, "{head:?}: every step shuffles anew");
            let trained = NetModel {
                folds: once,
                ..model.clone()
            };
            for fold in 0..3 {
                let before = mean_loss(&model, fold, &rows);
                let after = mean_loss(&trained, fold, &rows);
                assert!(after < before, "{head:?} fold {fold}: {before} to {after}");
            }
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
    assert_eq!(local::train(&part, &model, &none), model.folds);
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    let squares = a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2));
    squares.sum::<f64>().sqrt()
}

#[test]
fn fedprox_pulls_towards_the_start() {
    let rows = rows(120, Head::Binary);
    let model = network(Head::Binary);
    let moved = |proximal: f64| {
        let mut part = part(Head::Binary, 0.0, 120);
        part.local.proximal = proximal;
        part.local.epochs = 4;
        let trained = local::train(&part, &model, &rows);
        distance(&trained[0], &model.folds[0])
    };
    let (free, held, tied) = (moved(0.0), moved(0.1), moved(10.0));
    assert!(
        held < 0.9 * free && tied < 0.5 * held,
        "{free} {held} {tied}"
    );
}

/// Trains over the sums of these sites; returns the losses of every step.
fn race(trainer: &mut NetTrainer, sites: &[Rows], steps: u32) -> Vec<LossSums> {
    let mut seen = Vec::new();
    for sequence in 1..=steps {
        let (part, objects) = trainer.ask();
        let net: NetPart = part.downcast().cloned().expect("a training part");
        let of = |id: ObjectId| {
            let object = objects.iter().find(|o| o.id().expect("an id") == id);
            network_of(object.expect("a published object"))
        };
        let (start, scored) = (of(net.model), of(net.scored));
        let ask = ask(sequence, part);
        let mut sums = vec![0u64; ask.numbers()];
        for rows in sites {
            let mut out = Encoder::new(&ask.segments());
            net.encode(&start, &scored, rows, &mut out)
                .expect("within bounds");
            let codes = out.finish().expect("all numbers");
            sums.iter_mut()
                .zip(codes)
                .for_each(|(sum, code)| *sum += code);
        }
        let contributors = (1..=sites.len() as u16).collect();
        let totals = Totals { sums, contributors };
        totals.check(&ask).expect("totals of this ask");
        seen.extend(trainer.learn(&totals.part(&ask, 0)));
        trainer.keep();
    }
    seen
}

fn ask(sequence: u32, part: AnyPart) -> Ask {
    Ask {
        sequence,
        stage: Stage::Race,
        task: ObjectId::of(b"task"),
        parts: vec![Part::Train(part)],
    }
}

/// Every server rule, with averaged weights, over three sites: the loss that is reported is the
/// shown model's, and it falls.
#[test]
fn federated_training_learns_with_every_server_rule() {
    let sites = [
        rows_of(200, Head::Number, b"one"),
        rows_of(60, Head::Number, b"two"),
        rows_of(0, Head::Number, b"three"),
    ];
    let adam = (0.03, 0.01);
    let rules = [
        (candidate(0.0).server, 0.0),
        (candidate(0.0).server, 0.8),
        (
            Server::Adam {
                learning_rate: adam.0,
                tau: adam.1,
            },
            0.8,
        ),
        (
            Server::Yogi {
                learning_rate: adam.0,
                tau: adam.1,
            },
            0.8,
        ),
    ];
    for (server, averaging) in rules {
        let candidate = NetCandidate {
            server,
            averaging,
            ..candidate(0.0)
        };
        let mut trainer = trainer_of(candidate, Head::Number, 260);
        let seen = race(&mut trainer, &sites, 15);
        let (first, last) = (seen[0].mean(), seen[14].mean());
        assert!(last < 0.6 * first, "{server:?}: {first} to {last}");
        assert_eq!(seen[14].rows, 260);
        let shown = network_of(&trainer.shown());
        let mut loss = 0.0;
        for rows in &sites {
            for at in 0..rows.len() {
                let error = outputs(&shown, at % 3, rows, at)[0] - rows.targets[at];
                loss += error * error;
            }
        }
        assert!((loss / 260.0 - last).abs() < 1e-6, "{server:?}");
    }
}

/// Sums that `f32` cannot hold count as large errors, not as nothing.
#[test]
fn a_network_that_diverged_has_large_losses() {
    let rows = rows(30, Head::Number);
    let mut model = network(Head::Number);
    for weight in model.folds.iter_mut().flatten() {
        *weight *= 1e30;
    }
    let sound = losses::losses(&network(Head::Number), &rows, 30);
    let diverged = losses::losses(&model, &rows, 30);
    let sum = |losses: &crate::metric::LossCounter| {
        let part = part(Head::Number, 0.0, 30);
        let ask = ask(1, AnyPart::new(NAME, part.clone()));
        let mut out = Encoder::new(&ask.segments());
        losses.encode(&mut out).expect("within bounds");
        let rest = part.shape.parameters() * 3;
        (0..3).for_each(|_| out.count(0).expect("a count"));
        (0..rest).for_each(|_| out.real(0.0).expect("a change"));
        let sums = out.finish().expect("all numbers");
        let totals = Totals {
            sums,
            contributors: vec![1],
        };
        part.read(&totals.part(&ask, 0)).0.mean()
    };
    assert!(sum(&sound) < 10.0, "{}", sum(&sound));
    assert!(sum(&diverged) > 500.0, "{}", sum(&diverged));
}

#[test]
fn odd_sizes_are_refused() {
    let (model, good) = embedded(Head::Binary);
    assert_eq!(good.check(), Ok(()));
    assert_eq!(FamilyObject::check(&model), Ok(()));
    let refuse = |change: fn(&mut NetPart)| {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(bad.check().is_err(), "{bad:?}");
    };
    refuse(|part| part.shape.inputs = 0);
    refuse(|part| part.shape.inputs = 6);
    refuse(|part| part.shape.outputs = 3);
    refuse(|part| part.shape.hidden = vec![4096, 4096]);
    refuse(|part| part.shape.hidden = vec![1; 5]);
    refuse(|part| part.shape.hidden = vec![0]);
    let columns = |columns: Vec<u32>, width| Some(Embedding { columns, width });
    assert_eq!(good.shape.embedding, columns(vec![2, 1, 2], 3));
    refuse(|part| part.shape.embedding.as_mut().expect("one").width = 0);
    refuse(|part| part.shape.embedding.as_mut().expect("one").width = 1000);
    refuse(|part| part.shape.embedding.as_mut().expect("one").columns = vec![5, 0]);
    refuse(|part| part.shape.embedding.as_mut().expect("one").columns = vec![u32::MAX, 6]);
    refuse(|part| part.local.learning_rate = f64::NAN);
    refuse(|part| part.local.epochs = 5);
    refuse(|part| part.local.share = 0.0);
    refuse(|part| part.local.batch = 0);
    refuse(|part| part.local.dropout = 0.95);
    refuse(|part| part.local.proximal = -1.0);
    refuse(|part| part.levels = 1 << 30);
    refuse(|part| part.clip = 0.0);
    refuse(|part| part.folds = 0);
    refuse(|part| part.rows = 0);
    let mut short = model.clone();
    short.folds[1].pop();
    assert!(FamilyObject::check(&short).is_err());
    let mut endless = model;
    endless.folds[2][0] = f32::INFINITY;
    assert!(FamilyObject::check(&endless).is_err());
}

#[test]
fn odd_hyperparameters_are_refused() {
    let setting = Setting::for_test(Head::Binary, 3, WIDTH, 30);
    let refuse = |change: fn(&mut NetCandidate)| {
        let mut bad = candidate(0.0);
        change(&mut bad);
        let json = serde_json::to_value(&bad).expect("json");
        assert!(Net.trainer(&json, &setting).is_err(), "{bad:?}");
    };
    refuse(|candidate| candidate.decay = 0.0);
    refuse(|candidate| candidate.averaging = 1.0);
    refuse(|candidate| candidate.hidden = vec![9000]);
    refuse(|candidate| candidate.local.epochs = 0);
    refuse(|candidate| candidate.score_every = 0);
    // The test's pipeline has no columns to embed.
    refuse(|candidate| candidate.embedding = 4);
    let good = serde_json::to_value(candidate(0.0)).expect("json");
    assert!(Net.trainer(&good, &setting).is_ok());
    let unknown = serde_json::json!({ "hidden": [4] });
    assert!(Net.trainer(&unknown, &setting).is_err());
}
