//! GA2Ms against scikit-learn, against the truth, and against themselves over other
//! partitions.

use std::collections::BTreeMap;

use super::effects::Effects;
use super::{Ga2mCandidate, Ga2mTrainer, Weights};
use crate::family::additive::Term;
use crate::family::additive::testing::{Case, Data, Fitted, fit, ground, one_way, predict};
use crate::family::{Head, sigmoid};
use crate::random::Stream;

fn fit_over(
    candidate: &Ga2mCandidate,
    head: Head,
    data: &Data,
    bins: &[(usize, bool)],
    sites: usize,
) -> Fitted {
    let ground = ground(head, 5, data.targets.len(), bins);
    fit(
        Ga2mTrainer::new(candidate.clone(), ground).expect("columns of the ground"),
        &data.spread(sites),
    )
}

/// Fixed weights: a ridge for every effect, and what bends cost.
fn plain(ridge: f64, bends: f64, pairs: u8) -> Ga2mCandidate {
    Ga2mCandidate {
        groups: 32,
        pairs,
        side: 6,
        weights: Weights {
            estimated: false,
            line: ridge,
            bends,
            levels: ridge,
            pairs: 4.0,
        },
        multiples: vec![1.0],
        monotone: BTreeMap::new(),
    }
}

/// As a search uses it.
fn usual(pairs: u8) -> Ga2mCandidate {
    Ga2mCandidate {
        pairs,
        ..Ga2mCandidate::offered(1000).remove(0)
    }
}

/// A wave along the first column, a step in the second, a category in the third, and
/// where asked for something that only the fourth and fifth say together.
fn truth(row: &[u8], planted: f64) -> f64 {
    let wave = 1.5 * libm::sin(f64::from(row[0]) * 0.4);
    let step = if row[1] > 8 { 0.8 } else { -0.8 };
    let category = [0.0, 0.9, -0.6, 0.4, -0.7][usize::from(row[2])];
    let apart = (row[3] > 6) != (row[4] > 6);
    wave + step + category + if apart { planted } else { -planted }
}

const BINS: [(usize, bool); 5] = [(17, true), (17, true), (5, false), (13, true), (13, true)];

fn draw(seed: u64, rows: usize, head: Head, planted: f64) -> Data {
    let mut stream = Stream::new("collegium/test/ga2m/v1", &[&seed.to_le_bytes()]);
    let bins = BINS.map(|(bins, _)| bins);
    Data::draw(&mut stream, rows, &bins, |row, stream| {
        let truth = truth(row, planted);
        match head {
            Head::Number => truth + 0.4 * stream.normal(),
            Head::Binary => f64::from(u8::from(stream.unit() < sigmoid(truth))),
            Head::Classes(_) => {
                let score = truth + stream.normal();
                f64::from(u8::from(score > -0.7) + u8::from(score > 0.9))
            }
        }
    })
}

/// The wave and the step, each way, with pairs of the other columns; and with other sites.
#[test]
fn predictions_go_the_way_asked_for() {
    for (head, way) in [(Head::Binary, 1), (Head::Binary, -1), (Head::Number, 1)] {
        let data = draw(11, 1500, head, 0.6);
        let ways = [0, 1].map(|column| (format!("column {column}"), way));
        let candidate = Ga2mCandidate {
            monotone: ways.into(),
            ..usual(4)
        };
        let fitted = fit_over(&candidate, head, &data, &BINS, 3);
        let merged = fit_over(&candidate, head, &data, &BINS, 1);
        assert_eq!(fitted.model, merged.model);
        let moved = one_way(&fitted.model, &data, &BINS, &[0, 1], way);
        // Down, there is nothing to find in the step.
        assert!(moved > 100, "{moved}");
        let terms = fitted
            .model
            .folds
            .iter()
            .flat_map(|fold| &fold.design.terms);
        let mut pairs = 0;
        for term in terms {
            if let Term::Pair { columns, .. } = term {
                pairs += 1;
                assert!(columns.iter().all(|column| *column > 1), "{columns:?}");
            }
        }
        assert!(pairs > 0, "the others still have pairs");
        // It still learns: the category and the pair are there.
        let (first, last) = (
            fitted.losses[0].mean(),
            fitted.losses.last().expect("some").mean(),
        );
        assert!(last < 0.95 * first, "{head:?} {way}: {first} to {last}");
    }
    let ground = ground(Head::Classes(3), 5, 10, &BINS);
    let candidate = Ga2mCandidate {
        monotone: [("column 0".to_owned(), 1)].into(),
        ..usual(0)
    };
    assert!(
        Ga2mTrainer::new(candidate, ground).is_err(),
        "of three classes"
    );
}

#[test]
fn effects_equal_those_of_scikit_learn() {
    for (kind, head) in [("ga2m", Head::Binary), ("ga2m number", Head::Number)] {
        for case in Case::all(kind) {
            let bins = vec![(case.bins + 1, true); case.x[0].len()];
            let ground = ground(head, 1, case.y.len(), &bins);
            let trainer =
                Ga2mTrainer::new(plain(case.ridge, 0.0, 0), ground).expect("no monotone columns");
            let mut fitted = fit(trainer, &case.data().merged());
            let folds = &mut fitted.last.folds;
            for (ours, theirs) in folds[0].coefficients[0].iter().zip(&case.weights) {
                assert!(
                    (ours - theirs).abs() < 2e-3,
                    "{}: {ours} {theirs}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn an_additive_function_is_recovered() {
    for head in [Head::Binary, Head::Number] {
        let data = draw(1, 6000, head, 0.0);
        let fitted = fit_over(&usual(0), head, &data, &BINS, 1);
        assert!(fitted.steps <= 8, "{} steps", fitted.steps);
        let probe = |column: usize, bin: u8| {
            let mut row = [8, 8, 0, 6, 6];
            row[column] = bin;
            let score = predict(&fitted.model, &row);
            let own = if head == Head::Binary {
                (score / (1.0 - score)).ln()
            } else {
                score
            };
            own - truth(&row, 0.0)
        };
        let bound = if head == Head::Binary { 0.35 } else { 0.12 };
        for (column, (bins, _)) in BINS.iter().enumerate() {
            let errors: Vec<f64> = (0..*bins).map(|bin| probe(column, bin as u8)).collect();
            let mean = errors.iter().sum::<f64>() / errors.len() as f64;
            let square = errors.iter().map(|e| (e - mean) * (e - mean)).sum::<f64>();
            let deviation = (square / errors.len() as f64).sqrt();
            assert!(deviation < bound, "{head:?} column {column}: {deviation}");
        }
    }
}

#[test]
fn a_planted_interaction_is_found_and_helps() {
    for head in [Head::Binary, Head::Classes(3), Head::Number] {
        let data = draw(2, 4000, head, 0.9);
        let alone = fit_over(&usual(0), head, &data, &BINS, 1);
        let fitted = fit_over(&usual(4), head, &data, &BINS, 1);
        assert!(fitted.steps <= 14, "{} steps", fitted.steps);
        for fold in &fitted.model.folds {
            let pairs: Vec<[u16; 2]> = fold
                .design
                .terms
                .iter()
                .filter_map(|term| match term {
                    Term::Pair { columns, .. } => Some(*columns),
                    _ => None,
                })
                .collect();
            assert_eq!(pairs.first(), Some(&[3, 4]), "{head:?}");
        }
        let (with, without) = (least_loss(&fitted), least_loss(&alone));
        assert!(with < 0.95 * without, "{head:?}: {with} {without}");
    }
}

#[test]
fn no_pair_is_taken_where_there_is_none() {
    let data = draw(3, 3000, Head::Binary, 0.0);
    let fitted = fit_over(&usual(8), Head::Binary, &data, &BINS, 1);
    let pairs = fitted.last.folds.iter().map(|fold| {
        let terms = fold.design.terms.iter();
        terms
            .filter(|term| matches!(term, Term::Pair { .. }))
            .count()
    });
    assert!(pairs.sum::<usize>() <= 2);
}

#[test]
fn the_penalty_smooths() {
    let data = draw(4, 800, Head::Binary, 0.0);
    let rough = |bends: f64| -> f64 {
        let fitted = fit_over(&plain(0.3, bends, 0), Head::Binary, &data, &BINS, 1);
        let own = &fitted.last.folds[0].coefficients[0][1..17];
        own.windows(3)
            .map(|w| (w[0] - 2.0 * w[1] + w[2]).powi(2))
            .sum()
    };
    let by_strength: Vec<f64> = [0.0, 3.0, 100.0, 1e5].map(rough).to_vec();
    assert!(by_strength.is_sorted_by(|a, b| a > b), "{by_strength:?}");
    assert!(by_strength[3] < 1e-3, "all but a line: {by_strength:?}");
}

fn least_loss(fitted: &Fitted) -> f64 {
    let means = fitted.losses.iter().map(|losses| losses.mean());
    means.fold(f64::INFINITY, f64::min)
}

#[test]
fn the_best_multiple_is_shown() {
    let data = draw(5, 700, Head::Binary, 0.0);
    let together = Ga2mCandidate {
        multiples: vec![0.01, 1.0, 100.0],
        ..plain(2.0, 20.0, 0)
    };
    let loss =
        |candidate: &Ga2mCandidate| least_loss(&fit_over(candidate, Head::Binary, &data, &BINS, 1));
    let alone = [0.01, 1.0, 100.0].map(|times| loss(&plain(2.0 * times, 20.0 * times, 0)));
    let least = alone.into_iter().fold(f64::INFINITY, f64::min);
    let together = loss(&together);
    assert!((together - least).abs() < 1e-3, "{together} {alone:?}");
}

#[test]
fn estimated_weights_do_as_well_as_the_best_fixed_ones() {
    for (head, rows) in [(Head::Binary, 1200), (Head::Number, 400)] {
        let data = draw(8, rows, head, 0.0);
        let fixed = [0.1, 1.0, 10.0, 100.0, 1000.0].map(|weight| {
            let candidate = plain(0.5 * libm::sqrt(weight), weight, 0);
            least_loss(&fit_over(&candidate, head, &data, &BINS, 1))
        });
        let least = fixed.into_iter().fold(f64::INFINITY, f64::min);
        let estimated = least_loss(&fit_over(&usual(0), head, &data, &BINS, 1));
        assert!(estimated < 1.01 * least, "{head:?}: {estimated} {fixed:?}");
    }
}

#[test]
fn any_number_of_sites_gives_the_same_bits() {
    for head in [Head::Binary, Head::Classes(3), Head::Number] {
        let data = draw(6, 700, head, 0.8);
        let candidate = Ga2mCandidate {
            groups: 8,
            side: 4,
            ..Ga2mCandidate::offered(1000).remove(0)
        };
        let merged = fit_over(&candidate, head, &data, &BINS, 1);
        assert!(merged.steps <= 15, "{head:?}: {} steps", merged.steps);
        for sites in [2, 3, 5] {
            let federated = fit_over(&candidate, head, &data, &BINS, sites);
            assert_eq!(federated.last, merged.last, "{head:?} over {sites} sites");
            assert_eq!(federated.losses, merged.losses);
        }
    }
}

#[test]
fn effects_and_intercept_add_up_to_the_output() {
    let data = draw(7, 1500, Head::Binary, 0.9);
    let fitted = fit_over(&usual(4), Head::Binary, &data, &BINS, 1);
    let columns = ground(Head::Binary, 5, 1, &BINS).columns;
    let name = |at: usize, bins: &[u8]| format!("{at}:{bins:?}");
    let effects = Effects::with(&fitted.model, &columns, &name);
    assert!(!effects.pairs.is_empty());
    let json = serde_json::to_string(&effects).expect("JSON");
    assert_eq!(
        serde_json::from_str::<Effects>(&json).expect("read"),
        effects
    );
    let place = |conditions: &[String], at: usize, bin: u8| {
        let holds = |condition: &String| {
            let (column, bins) = condition.split_once(':').expect("as named above");
            let bins: Vec<u8> = serde_json::from_str(bins).expect("a list");
            column == at.to_string() && bins.contains(&bin)
        };
        conditions.iter().position(holds).expect("a condition")
    };
    let index = |name: &str| columns.iter().position(|c| c.name == name).expect("known");
    for row in data.bins.iter().take(200) {
        let mut sum = effects.intercept[0];
        for effect in &effects.columns {
            let at = index(&effect.column);
            sum += effect.effects[0][place(&effect.conditions, at, row[at])];
        }
        for pair in &effects.pairs {
            let [a, b] = [0, 1].map(|side| {
                let at = index(&pair.columns[side]);
                place(&pair.conditions[side], at, row[at])
            });
            sum += pair.effects[0][a][b];
        }
        let p = predict(&fitted.model, row);
        assert!((sigmoid(sum) - p).abs() < 1e-9);
    }
}

#[test]
fn few_rows_one_class_and_no_rows_end_with_a_sound_model() {
    let bins = [(4, true), (3, false), (2, true)];
    for head in [Head::Binary, Head::Classes(3), Head::Number] {
        for (rows, target) in [(0, 0.0), (1, 1.0), (9, 1.0), (40, 0.0)] {
            let mut stream = Stream::new("collegium/test/ga2m/v2", &[]);
            let data = Data::draw(&mut stream, rows, &[4, 3, 2], |_, _| target);
            for sites in [1, 3] {
                let candidate = &Ga2mCandidate::offered(1000)[0];
                let fitted = fit_over(candidate, head, &data, &bins, sites);
                let score = predict(&fitted.model, &[1, 1, 1]);
                assert!(score.is_finite(), "{head:?} of {rows} rows: {score}");
            }
        }
    }
}

#[test]
fn wide_tables_and_many_classes_stay_within_a_step() {
    for (head, columns) in [
        (Head::Binary, 300),
        (Head::Classes(12), 40),
        (Head::Number, 80),
    ] {
        let mut stream = Stream::new("collegium/test/ga2m/v3", &[]);
        let bins = vec![20; columns];
        let data = Data::draw(&mut stream, 120, &bins, |row, stream| match head {
            Head::Classes(classes) => stream.below(usize::from(classes)) as f64,
            _ => f64::from(u8::from(row[3] > 10)),
        });
        let known: Vec<(usize, bool)> = bins.iter().map(|bins| (*bins, true)).collect();
        let fitted = fit_over(&Ga2mCandidate::offered(1000)[0], head, &data, &known, 1);
        assert!(fitted.widest <= 2 << 20, "{head:?}: {}", fitted.widest);
        if head == Head::Binary {
            let used = |fold: &crate::family::additive::AdditiveFold| {
                fold.design
                    .terms
                    .iter()
                    .any(|term| matches!(term, Term::Groups { column, .. } if *column == 3))
            };
            assert!(
                fitted.last.folds.iter().all(used),
                "the telling one is kept"
            );
        }
    }
}

#[test]
fn candidates_out_of_bounds_are_refused() {
    let good = plain(1.0, 1.0, 4);
    for offered in Ga2mCandidate::offered(1000) {
        offered.check().expect("within the caps");
    }
    let bad = [
        Ga2mCandidate {
            groups: 1,
            ..good.clone()
        },
        Ga2mCandidate {
            pairs: 99,
            ..good.clone()
        },
        Ga2mCandidate {
            side: 40,
            ..good.clone()
        },
        Ga2mCandidate {
            multiples: Vec::new(),
            ..good.clone()
        },
        Ga2mCandidate {
            multiples: vec![f64::NAN],
            ..good.clone()
        },
        plain(0.0, 1.0, 0),
        plain(1.0, f64::INFINITY, 0),
    ];
    for candidate in bad {
        assert!(candidate.check().is_err(), "{candidate:?}");
    }
}
