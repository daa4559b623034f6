//! Logistic regression over the example's four hospitals against scikit-learn on all their rows in
//! one matrix.

use std::collections::BTreeSet;

use serde::Deserialize;

use super::{fit, rows, setting};
use crate::family::Head;
use crate::site::{Rows, Slot};

const TABLES: [&str; 4] = [
    include_str!("../../../../../examples/hospitals/data/cleveland.csv"),
    include_str!("../../../../../examples/hospitals/data/hungarian.csv"),
    include_str!("../../../../../examples/hospitals/data/switzerland.csv"),
    include_str!("../../../../../examples/hospitals/data/va.csv"),
];

/// Recorded by `tests/fixtures/record_hospitals.py`.
#[derive(Deserialize)]
struct Fixture {
    /// Name, centre, scale.
    columns: Vec<(String, f64, f64)>,
    zero_is_missing: BTreeSet<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    classes: u16,
    ridge: f64,
    /// One against the rest for each class; one list for two classes.
    weights: Vec<Vec<f64>>,
}

impl Fixture {
    fn site(&self, table: &str, classes: u16) -> Rows {
        let mut lines = table
            .lines()
            .map(|line| line.split(',').collect::<Vec<_>>());
        let names = lines.next().expect("a header");
        let at = |wanted: &str| {
            let found = names.iter().position(|name| *name == wanted);
            found.expect("a column of the example")
        };
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for cells in lines {
            let value = |name: &str| match cells[at(name)] {
                "" => None,
                text => Some(text.parse::<f64>().expect("a number")),
            };
            let scaled = self.columns.iter().map(|(name, centre, scale)| {
                let value = value(name)
                    .filter(|value| *value != 0.0 || !self.zero_is_missing.contains(name));
                value.map_or(0.0, |value| (value - centre) / scale)
            });
            x.push(scaled.collect());
            let stage = value("num").expect("every row has a stage");
            y.push(if classes == 2 { stage.min(1.0) } else { stage });
        }
        let slots = vec![Slot::TrainOnly; y.len()];
        rows(&x, &y, slots)
    }
}

#[test]
fn four_hospitals_give_the_weights_of_scikit_learn() {
    let text = include_str!("../../../../tests/fixtures/hospitals.json");
    let fixture: Fixture = serde_json::from_str(text).expect("the recorded fixture");
    assert_eq!(fixture.cases.len(), 4);
    for case in &fixture.cases {
        let sites = TABLES.map(|table| fixture.site(table, case.classes));
        let head = match case.classes {
            2 => Head::Binary,
            more => Head::Classes(more),
        };
        let total = sites.iter().map(|site| site.targets.len()).sum();
        assert_eq!(total, 920);
        let (model, _) = fit(
            case.ridge,
            setting(head, 1, fixture.columns.len(), total),
            &sites,
        );
        assert_eq!(model.folds[0].len(), case.weights.len());
        for (ours, theirs) in model.folds[0].iter().zip(&case.weights) {
            assert_eq!(ours.len(), theirs.len());
            for (ours, theirs) in ours.iter().zip(theirs) {
                assert!(
                    (ours - theirs).abs() < 1e-6,
                    "{} classes, ridge {}: {ours} {theirs}",
                    case.classes,
                    case.ridge
                );
            }
        }
    }
}
