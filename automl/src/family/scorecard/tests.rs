//! Scorecards against scikit-learn, and against themselves over other partitions.

use super::points::{PointsTable, Scaling};
use super::{ScorecardCandidate, ScorecardTrainer, Shape};
use crate::family::Head;
use crate::family::additive::testing::{Case, Data, fit, ground, one_way, predict};
use crate::family::additive::{AdditiveModel, Term};
use crate::family::sigmoid;
use crate::random::Stream;

fn train(candidate: ScorecardCandidate, data: &Data, bins: &[(usize, bool)]) -> AdditiveModel {
    fit_over(candidate, data, bins, 1).0
}

fn fit_over(
    candidate: ScorecardCandidate,
    data: &Data,
    bins: &[(usize, bool)],
    sites: usize,
) -> (AdditiveModel, usize) {
    let ground = ground(Head::Binary, 5, data.targets.len(), bins);
    let fitted = fit(
        ScorecardTrainer::new(candidate, ground).expect("columns of the ground"),
        &data.spread(sites),
    );
    (fitted.model, fitted.steps)
}

/// Defaults that become likelier along the first column, rarer along the second, and by
/// category in the third; the fourth says nothing.
fn loans(seed: u64, rows: usize) -> (Data, [(usize, bool); 4]) {
    let mut stream = Stream::new("collegium/test/scorecard/v1", &[&seed.to_le_bytes()]);
    let data = Data::draw(&mut stream, rows, &[20, 16, 6, 9], |row, stream| {
        let category = [0.0, 0.8, -0.5, 0.3, -0.9, 0.1][usize::from(row[2])];
        let logit = 0.15 * f64::from(row[0]) - 0.2 * f64::from(row[1]) + category - 1.0;
        f64::from(u8::from(stream.unit() < sigmoid(logit)))
    });
    (data, [(20, true), (16, true), (6, false), (9, true)])
}

#[test]
fn weights_equal_those_of_scikit_learn() {
    for case in Case::all("scorecard") {
        let candidate = ScorecardCandidate {
            groups: case.bins as u8,
            least_share: 0.0,
            least_value: 0.0,
            shape: Shape::Monotone,
            ridges: vec![case.ridge],
            ..ScorecardCandidate::usual()
        };
        let bins = vec![(case.bins + 1, true); case.x[0].len()];
        let ground = ground(Head::Binary, 1, case.y.len(), &bins);
        let trainer = ScorecardTrainer::new(candidate, ground).expect("no monotone columns");
        // Without validation rows nothing is ever better: look at the last model.
        let fitted = fit(trainer, &case.data().merged());
        assert!(fitted.steps <= 9, "{}: {} steps", case.name, fitted.steps);
        let fold = &fitted.last.folds[0];
        for (term, woe) in fold.design.terms.iter().zip(&case.woe) {
            let Term::Scaled { values, .. } = term else {
                panic!("weights of evidence");
            };
            for (ours, theirs) in values[1..].iter().zip(woe) {
                assert!((ours - theirs).abs() < 1e-12, "{}", case.name);
            }
        }
        for (ours, theirs) in fold.coefficients[0].iter().zip(&case.weights) {
            assert!(
                (ours - theirs).abs() < 1e-6 * (1.0 + theirs.abs()),
                "{}: {ours} {theirs}",
                case.name
            );
        }
    }
}

#[test]
fn any_number_of_sites_gives_the_same_bits() {
    let (data, bins) = loans(1, 900);
    for candidate in ScorecardCandidate::offered() {
        let merged = train(candidate.clone(), &data, &bins);
        for sites in [2, 3, 5] {
            let spread = data.spread(sites);
            assert_eq!(spread.last().is_some_and(|rows| rows.is_empty()), sites > 2);
            let federated = fit_over(candidate.clone(), &data, &bins, sites).0;
            assert_eq!(federated, merged, "{sites} sites");
        }
    }
}

#[test]
fn a_scorecard_ranks_well_in_few_steps() {
    let (data, bins) = loans(2, 8000);
    let (model, steps) = fit_over(ScorecardCandidate::usual(), &data, &bins, 3);
    assert!((4..=9).contains(&steps), "{steps} steps");
    for fold in &model.folds {
        let columns: Vec<u16> = fold
            .design
            .terms
            .iter()
            .map(|term| match term {
                Term::Scaled { column, .. } => *column,
                _ => panic!("weights of evidence"),
            })
            .collect();
        assert_eq!(columns, [0, 1, 2], "the noise is dropped");
        assert!(
            fold.coefficients[0][1..]
                .iter()
                .all(|c| (0.4..1.6).contains(c))
        );
    }
    let (fresh, _) = loans(3, 2000);
    let mut pairs = (0.0, 0.0);
    for (a, good) in fresh.bins.iter().zip(&fresh.targets) {
        for (b, bad) in fresh.bins.iter().zip(&fresh.targets).take(300) {
            if *good == 0.0 && *bad == 1.0 {
                let order = predict(&model, b).total_cmp(&predict(&model, a));
                pairs.0 += f64::from(order as i8) * 0.5 + 0.5;
                pairs.1 += 1.0;
            }
        }
    }
    let auc = pairs.0 / pairs.1;
    assert!(auc > 0.75, "{auc}");
}

#[test]
fn coefficients_are_never_negative() {
    for seed in 0..10_u64 {
        println!("seed {seed}");
        let mut stream = Stream::new("collegium/test/scorecard/v2", &[&seed.to_le_bytes()]);
        // The second column echoes the first and acts against it.
        let mut data = Data::draw(&mut stream, 1200, &[8, 8, 5], |_, _| 0.0);
        for (row, target) in data.bins.iter_mut().zip(&mut data.targets) {
            if stream.unit() < 0.8 {
                row[1] = row[0];
            }
            let logit = 0.9 * f64::from(row[0]) - 0.5 * f64::from(row[1]) - 1.5;
            *target = f64::from(u8::from(stream.unit() < sigmoid(logit)));
        }
        let bins = [(8, true), (8, true), (5, true)];
        let model = train(ScorecardCandidate::usual(), &data, &bins);
        let slopes = |fold: usize| model.folds[fold].coefficients[0][1..].to_vec();
        assert!((0..5).all(|fold| slopes(fold).iter().all(|c| *c >= 0.0)));
        assert!(
            (0..5).any(|fold| slopes(fold).contains(&0.0)),
            "one dropped out"
        );
    }
}

/// Each way along a column whose risk rises, along one whose risk falls, and along noise; with
/// other sites too.
#[test]
fn predictions_go_the_way_asked_for() {
    let (data, bins) = loans(5, 900);
    for offered in ScorecardCandidate::offered() {
        for way in [1, -1] {
            let ways = [0, 1, 3].map(|column| (format!("column {column}"), way));
            let candidate = ScorecardCandidate {
                monotone: ways.into(),
                least_value: 0.0,
                ..offered.clone()
            };
            let (model, _) = fit_over(candidate.clone(), &data, &bins, 3);
            assert_eq!(model, train(candidate, &data, &bins));
            let moved = one_way(&model, &data, &bins, &[0, 1, 3], way);
            assert!(moved > 0, "the model says something");
        }
    }
    let ground = ground(Head::Binary, 5, 900, &bins);
    let refused = |name: &str, way: i8| {
        let candidate = ScorecardCandidate {
            monotone: [(name.to_owned(), way)].into(),
            ..ScorecardCandidate::usual()
        };
        candidate.check().is_err() || ScorecardTrainer::new(candidate, ground.clone()).is_err()
    };
    assert!(refused("column 2", 1), "categories have no order");
    assert!(refused("column 9", 1) && refused("column 0", 2));
    assert!(!refused("column 0", -1));
}

#[test]
fn few_rows_one_class_and_no_rows_end_with_a_sound_model() {
    let bins = [(4, true), (3, false)];
    for (rows, target) in [(0, 0.0), (1, 1.0), (7, 1.0), (7, 0.0)] {
        let mut stream = Stream::new("collegium/test/scorecard/v3", &[]);
        let data = Data::draw(&mut stream, rows, &[4, 3], |_, _| target);
        for sites in [1, 3] {
            let (model, steps) = fit_over(ScorecardCandidate::usual(), &data, &bins, sites);
            assert!(steps <= 13, "{steps}");
            assert!((0.0..=1.0).contains(&predict(&model, &[1, 1])));
        }
    }
}

#[test]
fn candidates_out_of_bounds_are_refused() {
    let usual = ScorecardCandidate::usual();
    for offered in ScorecardCandidate::offered() {
        offered.check().expect("within the caps");
    }
    let bad = [
        ScorecardCandidate {
            groups: 1,
            ..usual.clone()
        },
        ScorecardCandidate {
            groups: 99,
            ..usual.clone()
        },
        ScorecardCandidate {
            least_share: 0.9,
            ..usual.clone()
        },
        ScorecardCandidate {
            least_share: f64::NAN,
            ..usual.clone()
        },
        ScorecardCandidate {
            ridges: vec![-1.0],
            ..usual.clone()
        },
        ScorecardCandidate {
            least_value: f64::NAN,
            ..usual.clone()
        },
    ];
    for candidate in bad {
        assert!(candidate.check().is_err(), "{candidate:?}");
    }
}

#[test]
fn points_reproduce_the_logit() {
    let (data, bins) = loans(4, 1500);
    let model = train(ScorecardCandidate::usual(), &data, &bins);
    let names: Vec<String> = (0..4).map(|at| format!("column {at}")).collect();
    let columns = ground(Head::Binary, 5, 1, &bins).columns;
    for scaling in [
        Scaling::default(),
        Scaling {
            base_score: 500.0,
            base_odds: 1.0,
            points_to_double: 5000.0,
        },
    ] {
        let table = PointsTable::with(&model, &columns, scaling, |at, bins| {
            format!("{at} in {bins:?}")
        });
        let json = serde_json::to_string(&table).expect("JSON");
        assert_eq!(
            serde_json::from_str::<PointsTable>(&json).expect("read"),
            table
        );
        for row in &data.bins {
            let p = predict(&model, row);
            let logit = (p / (1.0 - p)).ln();
            let wanted = scaling.score(logit);
            let met = |line: &&super::PointsRow| {
                let column = names.iter().position(|name| *name == line.column);
                line.bins.contains(&row[column.expect("a column")])
            };
            let lines: Vec<_> = table.rows.iter().filter(met).collect();
            assert!(lines.len() <= 4, "one line of each column");
            let exact: f64 = table.base_exact + lines.iter().map(|l| l.exact).sum::<f64>();
            assert!(
                (exact - wanted).abs() < 1e-6 * wanted.abs().max(1.0),
                "{exact} {wanted}"
            );
            let rounded = table.score(&names, row) as f64;
            assert!((rounded - wanted).abs() <= 0.5 * (lines.len() + 1) as f64 + 1e-6);
        }
        let score = scaling.score(-libm::log(scaling.base_odds));
        assert!((score - scaling.base_score).abs() < 1e-9, "the base odds");
        let doubled = scaling.score(-libm::log(2.0 * scaling.base_odds));
        assert!((doubled - score - scaling.points_to_double).abs() < 1e-9);
    }
}
