use super::super::harness::{Line, Sites, rows};
use super::*;
use crate::family::FamilyPart;
use crate::features::Matrix;
use crate::random::Stream;
use crate::site::Slot;

/// Columns of the tables below: three ordered ones and a category.
fn columns() -> Vec<BinColumn> {
    let column = |name: &str, bins, ordered| BinColumn {
        name: name.to_owned(),
        bins,
        ordered,
    };
    vec![
        column("age", 17, true),
        column("dose", 9, true),
        column("noise", 33, true),
        column("ward", 12, false),
    ]
}

/// Rows whose target depends on age, dose where it is known, and the ward.
fn lines(head: Head, n: usize, seed: &[u8]) -> Vec<Line> {
    let mut stream = Stream::new("collegium/test/v1", &[b"gbdt", seed]);
    (0..n)
        .map(|_| {
            let bins = vec![
                1 + stream.below(16) as u8,
                stream.below(9) as u8,
                stream.below(33) as u8,
                stream.below(12) as u8,
            ];
            let dose = if bins[1] == 0 {
                2.0
            } else {
                f64::from(bins[1]) / 8.0
            };
            let ward = if [2, 5, 7, 11].contains(&bins[3]) {
                1.5
            } else {
                -0.5
            };
            let logit = (f64::from(bins[0]) / 4.0 - 2.0) + dose * ward + 0.3 * stream.normal();
            let target = match head {
                Head::Number => logit / 2.0,
                Head::Binary => f64::from(u8::from(logit > 0.3)),
                Head::Classes(classes) => {
                    let class = (logit + 2.0).max(0.0) as u16;
                    f64::from(class.min(classes - 1))
                }
            };
            Line {
                bins,
                target,
                slot: Slot::Fold(stream.below(3) as u8),
            }
        })
        .collect()
}

fn setting(head: Head, rows: usize) -> Setting {
    Setting::for_test(head, 3, 4, rows as u64)
}

fn trainer(hyperparameters: &GbdtHyperparameters, head: Head, rows: usize) -> GbdtTrainer {
    let setting = setting(head, rows);
    GbdtTrainer::with_columns(hyperparameters.clone(), &setting, &columns()).expect("a trainer")
}

fn forest() -> GbdtHyperparameters {
    GbdtHyperparameters {
        forest: 2,
        row_share: 0.8,
        column_share: 0.75,
        ..GbdtHyperparameters::new(0.3, 3)
    }
}

/// The hash, which is short to print where two differ.
fn id(object: &Object) -> ObjectId {
    object.id().expect("bytes")
}

const HEADS: [Head; 3] = [Head::Binary, Head::Classes(4), Head::Number];

/// The same lines over several sites: evenly, by target, with an empty site, in
/// another order.
fn spreads(lines: &[Line]) -> Vec<Vec<Vec<Line>>> {
    let by = |sites: usize, site: fn(&Line) -> usize| {
        let mut spread = vec![Vec::new(); sites];
        for line in lines {
            spread[site(line) % sites].push(line.clone());
        }
        spread
    };
    let mut backwards = lines.to_vec();
    backwards.reverse();
    vec![
        vec![backwards],
        by(2, |line| usize::from(line.bins[2])),
        // Each site has one class, or nearly one value.
        by(3, |line| line.target.max(0.0) as usize),
        by(3, |line| usize::from(line.bins[0] > 3)),
        by(5, |line| {
            usize::from(line.bins[3]) * usize::from(line.bins[2] > 2)
        }),
    ]
}

#[test]
fn a_model_is_the_same_however_rows_are_spread() {
    for head in HEADS {
        let lines = lines(head, 600, b"spread");
        let run = |sites: &[Vec<Line>]| {
            let mut trainer = trainer(&forest(), head, lines.len());
            let losses = Sites::new(sites).train(&mut trainer, 14);
            (id(&trainer.model()), losses)
        };
        let pooled = run(std::slice::from_ref(&lines));
        assert!(!pooled.1.is_empty());
        for spread in spreads(&lines) {
            assert_eq!(run(&spread), pooled, "{head:?} over {} sites", spread.len());
        }
    }
}

#[test]
fn a_site_without_memory_gives_the_same_answers() {
    let lines = lines(Head::Binary, 400, b"memory");
    let run = |forgetful: bool| {
        let mut trainer = trainer(&forest(), Head::Binary, lines.len());
        let mut sites = Sites::new(std::slice::from_ref(&lines));
        sites.forgetful = forgetful;
        let losses = sites.train(&mut trainer, 14);
        (id(&trainer.model()), losses)
    };
    assert_eq!(run(true), run(false));
}

#[test]
fn memory_of_other_stages_is_not_used() {
    let lines = lines(Head::Binary, 400, b"memory");
    let mut sites = Sites::new(std::slice::from_ref(&lines));
    // Another candidate of the same name with other trees.
    let mut other = trainer(&GbdtHyperparameters::new(0.9, 2), Head::Binary, lines.len());
    sites.train(&mut other, 9);
    let run = |sites: &mut Sites| {
        let mut trainer = trainer(&GbdtHyperparameters::new(0.2, 2), Head::Binary, lines.len());
        let losses = sites.train(&mut trainer, 9);
        (id(&trainer.model()), losses)
    };
    let after_other = run(&mut sites);
    let fresh = run(&mut Sites::new(std::slice::from_ref(&lines)));
    assert_eq!(after_other, fresh);
}

/// Mean loss of the published model, counted from its predictions.
fn loss_of(model: &Object, lines: &[Line], head: Head) -> f64 {
    let model = model.model().expect("a model");
    let rows = rows(lines);
    let mut scores = vec![0.0; head.scores()];
    let losses = lines.iter().enumerate().map(|(at, line)| {
        let Slot::Fold(fold) = line.slot else {
            panic!("a fold")
        };
        model.predict(usize::from(fold), rows.row(at), &mut scores);
        match head {
            Head::Number => (scores[0] - line.target).powi(2),
            _ => -scores[line.target as usize].ln(),
        }
    });
    losses.sum::<f64>() / lines.len() as f64
}

#[test]
fn losses_are_those_of_the_model_and_fall() {
    for (head, prior, reached) in [
        (Head::Binary, 0.693, 0.36),
        (Head::Classes(4), 1.386, 0.75),
        (Head::Number, 0.9, 0.12),
    ] {
        let lines = lines(head, 1500, b"learn");
        let mut trainer = trainer(&forest(), head, lines.len());
        let mut sites = Sites::new(std::slice::from_ref(&lines));
        let losses = sites.train(&mut trainer, 61);
        // Twenty stages; a number's base is scored too.
        assert!(losses.len() >= 20, "{head:?}: {}", losses.len());
        let first = losses[0].mean();
        let last = losses[losses.len() - 1].mean();
        assert!(first < prior && last < reached, "{head:?}: {first} {last}");
        trainer.keep();
        let shown = loss_of(&trainer.shown(), &lines, head);
        assert!((shown - last).abs() < 1e-6, "{head:?}: {shown} {last}");
        let model = trainer.model();
        assert!(loss_of(&model, &lines, head) < first);
        // What was read back predicts the same.
        let read = Object::from_bytes(&model.to_bytes().expect("bytes")).expect("a model");
        assert_eq!(loss_of(&read, &lines, head), loss_of(&model, &lines, head));
    }
}

#[test]
fn trees_that_still_grow_are_part_of_the_model() {
    let head = Head::Binary;
    let lines = lines(head, 800, b"partial");
    let mut trainer = trainer(&forest(), head, lines.len());
    // Three levels, and two of the next stage, whose first one scores the first stage.
    let losses = Sites::new(std::slice::from_ref(&lines)).train(&mut trainer, 5);
    assert_eq!(losses.len(), 1);
    trainer.keep();
    let shown = loss_of(&trainer.shown(), &lines, head);
    let model = loss_of(&trainer.model(), &lines, head);
    assert!(model < shown, "{model} {shown}");
}

#[test]
fn counted_classes_give_the_gradients_that_sites_would_sum() {
    for head in [Head::Binary, Head::Classes(4)] {
        let lines = lines(head, 500, b"counts");
        let mut trainer = trainer(&forest(), head, lines.len());
        let mut sites = Sites::new(std::slice::from_ref(&lines));
        let (counting, _) = trainer.level();
        assert!(counting.counts_classes() && !counting.scores());
        let mut totals = sites.sum(&counting);
        let base = base_margins(&trainer.frame, &totals.counts);
        trainer.gradients_of_counts(&base, &mut totals.histograms);
        trainer.base = Some(base);
        // The same level, asked again at the base margins.
        let (summing, _) = trainer.level();
        assert!(summing.scores());
        let summed = sites.sum(&summing);
        assert!(totals.histograms == summed.histograms, "{head:?}");
        // And the base predicts the share of each class.
        let losses = summed.losses.expect("losses");
        let shares: Vec<f64> = (0..head.scores())
            .map(|class| {
                let of_class = lines.iter().filter(|line| line.target as usize == class);
                of_class.count() as f64 / lines.len() as f64
            })
            .collect();
        let entropy: f64 = shares.iter().map(|share| -share * share.ln()).sum();
        assert!((losses.mean() - entropy).abs() < 0.02, "{head:?}");
    }
}

#[test]
fn a_holdout_brings_a_second_model_of_all_rows() {
    let head = Head::Binary;
    let mut lines = lines(head, 800, b"refit");
    for line in &mut lines {
        line.slot = match line.slot {
            Slot::Fold(0) => Slot::Fold(0),
            _ => Slot::TrainOnly,
        };
    }
    let setting = Setting::for_test(head, 1, 4, lines.len() as u64);
    let mut trainer = GbdtTrainer::with_columns(forest(), &setting, &columns()).expect("a trainer");
    Sites::new(std::slice::from_ref(&lines)).train(&mut trainer, 31);
    trainer.keep();
    let shown = trainer.shown();
    let model = shown.model().expect("a model");
    assert_eq!(model.folds(), 1);
    let rows = rows(&lines);
    let loss = |validation: bool, average: bool| {
        let mut scores = [0.0; 2];
        let mut sum = (0.0, 0.0);
        for (at, line) in lines.iter().enumerate() {
            if (line.slot == Slot::Fold(0)) == validation {
                if average {
                    model.predict_average(rows.row(at), &mut scores);
                } else {
                    model.predict(0, rows.row(at), &mut scores);
                }
                sum = (sum.0 - scores[line.target as usize].ln(), sum.1 + 1.0);
            }
        }
        sum.0 / sum.1
    };
    // The champion's model has seen the validation rows, the scored one has not.
    assert!(loss(true, true) < loss(true, false) - 0.01);
    assert!((loss(false, true) - loss(false, false)).abs() < 0.05);
}

#[test]
fn training_ends_where_nothing_is_left_to_split() {
    let head = Head::Binary;
    let mut lines = lines(head, 200, b"flat");
    for (at, line) in lines.iter_mut().enumerate() {
        line.bins = vec![1; 4];
        line.target = f64::from(u8::from(at % 3 == 0));
    }
    let mut flat = trainer(&forest(), head, lines.len());
    let losses = Sites::new(std::slice::from_ref(&lines)).train(&mut flat, 10);
    assert!(flat.finished());
    assert_eq!(losses.len(), 1, "the base is scored");
    let mut short = trainer(
        &GbdtHyperparameters {
            max_stages: 2,
            ..forest()
        },
        head,
        lines.len(),
    );
    let lines = self::lines(head, 200, b"short");
    let losses = Sites::new(&[lines]).train(&mut short, 50);
    assert!(short.finished());
    assert_eq!(losses.len(), 2);
    short.keep();
    assert_eq!(id(&short.shown()), id(&short.model()));
}

#[test]
fn predictions_of_an_ensemble_are_monotone_where_they_have_to_be() {
    for (way, head) in [(1_i8, Head::Binary), (-1, Head::Number)] {
        let lines = lines(head, 800, b"monotone");
        let mut hyperparameters = forest();
        hyperparameters.monotone.insert("dose".to_owned(), way);
        let mut trainer = trainer(&hyperparameters, head, lines.len());
        Sites::new(std::slice::from_ref(&lines)).train(&mut trainer, 31);
        let object = trainer.model();
        let model = object.model().expect("a model");
        let mut checked = 0;
        for line in lines.iter().take(100) {
            for fold in 0..3 {
                let mut last = None;
                for dose in 1..9 {
                    let mut bins = line.bins.clone();
                    bins[1] = dose;
                    let matrix = Matrix::bins(1, 4, bins);
                    let mut scores = vec![0.0; head.scores()];
                    model.predict(fold, matrix.row(0), &mut scores);
                    let score = scores[scores.len() - 1];
                    if let Some(last) = last {
                        let rise: f64 = score - last;
                        assert!(rise * f64::from(way) >= 0.0, "{way} {rise}");
                        checked += usize::from(rise != 0.0);
                    }
                    last = Some(score);
                }
            }
        }
        assert!(checked > 100 || way == -1, "{checked}");
    }
}

#[test]
fn hyperparameters_have_to_fit_the_columns() {
    let refused = |name: &str, head: Head| {
        let mut hyperparameters = forest();
        hyperparameters.monotone.insert(name.to_owned(), 1);
        let setting = setting(head, 100);
        GbdtTrainer::with_columns(hyperparameters, &setting, &columns()).expect_err("refused")
    };
    assert!(refused("ward", Head::Binary).contains("ward"));
    assert!(refused("weight", Head::Binary).contains("weight"));
    assert!(refused("age", Head::Classes(4)).contains("monotone"));
    let setting = setting(Head::Binary, 100);
    assert!(GbdtTrainer::with_columns(forest(), &setting, &[]).is_err());
}

#[test]
fn parts_out_of_bounds_are_refused() {
    let lines = lines(Head::Binary, 200, b"caps");
    let mut trainer = trainer(&forest(), Head::Binary, lines.len());
    let mut sites = Sites::new(std::slice::from_ref(&lines));
    sites.train(&mut trainer, 1);
    let (good, _) = trainer.level();
    assert_eq!(good.check(), Ok(()));
    let bad = |change: fn(&mut GbdtPart)| {
        let mut part = good.clone();
        change(&mut part);
        part.check().expect_err("out of bounds")
    };
    let messages = [
        bad(|p| p.rows = 0),
        bad(|p| p.rows = u64::MAX),
        bad(|p| p.bins[0] = 300),
        bad(|p| p.bins[0] = 1),
        bad(|p| p.bins.truncate(2)),
        bad(|p| p.row_share = 0.0),
        bad(|p| p.column_share = f64::NAN),
        bad(|p| p.base.truncate(1)),
        bad(|p| p.base = Vec::new()),
        bad(|p| p.base[0] = f64::INFINITY),
        bad(|p| p.stages = vec![ObjectId::of(b""); 5000]),
        bad(|p| p.asked.truncate(1)),
        bad(|p| p.asked[0] = vec![3, 1]),
        bad(|p| p.asked[0] = vec![511]),
        bad(|p| p.growing = None),
        bad(|p| p.frame.forest = 17),
        bad(|p| p.frame.folds = 0),
        bad(|p| p.frame.folds = 11),
        bad(|p| p.frame.width = 9000),
    ];
    let distinct: std::collections::BTreeSet<&String> = messages.iter().collect();
    assert!(distinct.len() >= 12, "{messages:?}");
    // Too many numbers for a step: nothing is allocated for them.
    let mut wide = good;
    wide.frame.width = 8000;
    wide.bins = vec![256; 8000];
    wide.asked = vec![(0..400).collect(); wide.frame.trees()];
    assert!(wide.check().expect_err("too many").contains("numbers"));
}

#[test]
fn only_the_lighter_child_is_asked_for() {
    let lines = lines(Head::Binary, 600, b"sibling");
    let mut trainer = trainer(&GbdtHyperparameters::new(0.3, 5), Head::Binary, lines.len());
    let mut sites = Sites::new(std::slice::from_ref(&lines));
    for level in 0..5 {
        let (part, new) = trainer.level();
        let most = part.asked.iter().map(Vec::len).max();
        assert!(
            most <= Some(1 << (level as usize).saturating_sub(1)),
            "{most:?}"
        );
        sites.publish(new);
        let totals = sites.sum(&part);
        trainer.learn_level(&part, totals);
    }
    assert_eq!(trainer.stages.len(), 1, "five levels, five steps");
}
