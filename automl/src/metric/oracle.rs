//! Figures from sums against scikit-learn's, which saw every row.

use serde::Deserialize;

use super::sums::LossCounter;
use super::{BINS, Curve, Metrics, Rows, ScorePart};
use crate::ask::{Ask, Encoder, Part, Stage, Totals};
use crate::family::Head;
use crate::features::TargetCoding;
use crate::object::ObjectId;

#[derive(Deserialize)]
struct Fixture {
    cases: Vec<Case>,
}

/// Recorded by `tests/fixtures/record_metrics.py`.
#[derive(Deserialize)]
struct Case {
    name: String,
    y: Vec<usize>,
    scores: Vec<Vec<f64>>,
    auc: f64,
    pr_auc: f64,
    log_loss: f64,
    accuracy: f64,
}

impl Case {
    fn head(&self) -> Head {
        match self.scores[0].len() {
            1 => Head::Binary,
            others => Head::Classes(others as u16 + 1),
        }
    }

    /// The figures from the sums of `sites` tables, of which the first has most of the rows of
    /// class 0.
    fn figures(&self, sites: usize) -> Metrics {
        let part = ScorePart {
            pipeline: ObjectId::of(b"pipeline"),
            model: ObjectId::of(b"model"),
            on: Rows::Validation,
            head: self.head(),
            folds: 1,
            rows: self.y.len() as u64,
            curves: true,
            metric: None,
        };
        let ask = Ask {
            sequence: 1,
            stage: Stage::Test,
            task: ObjectId::of(b"task"),
            parts: vec![Part::Score(part.clone())],
        };
        let mut sums = vec![0u64; ask.numbers()];
        for site in 0..sites {
            let holder = |row: &usize| match self.y[*row] {
                0 if !row.is_multiple_of(5) => 0,
                _ => row % sites,
            };
            let rows: Vec<usize> = (0..self.y.len()).filter(|r| holder(r) == site).collect();
            for (sum, code) in sums.iter_mut().zip(self.codes(&rows, &ask)) {
                *sum += code;
            }
        }
        let totals = Totals {
            sums,
            contributors: (1..=sites as u16).collect(),
        };
        totals.check(&ask).expect("totals of this ask");
        let scored = part.read(&totals.part(&ask, 0));
        let labels = (0..=self.scores[0].len()).map(|class| class.to_string());
        let labels = labels.collect();
        Metrics::from_scored(&scored, &TargetCoding::Classes { labels })
    }

    /// What a site with these rows answers.
    fn codes(&self, rows: &[usize], ask: &Ask) -> Vec<u64> {
        let mut losses = LossCounter::new(self.head(), self.y.len() as u64);
        let count = match self.head() {
            Head::Classes(classes) => usize::from(classes),
            _ => 1,
        };
        let mut curves = vec![Curve::default(); count];
        for &row in rows {
            let rest = &self.scores[row];
            let mut scores = vec![1.0 - rest.iter().sum::<f64>()];
            scores.extend(rest);
            losses.add(&scores, self.y[row] as f64);
            for (class, curve) in curves.iter_mut().enumerate() {
                let class = if count == 1 { 1 } else { class };
                curve.add(scores[class], self.y[row] == class);
            }
        }
        let mut out = Encoder::new(&ask.segments());
        losses.encode(&mut out).expect("within bounds");
        for curve in &curves {
            assert_eq!(curve.positives.len(), BINS);
            for count in curve.positives.iter().chain(&curve.negatives) {
                out.count(*count).expect("within bounds");
            }
        }
        out.finish().expect("all numbers")
    }
}

#[test]
fn figures_equal_those_of_scikit_learn() {
    let text = include_str!("../../tests/fixtures/metrics.json");
    let fixture: Fixture = serde_json::from_str(text).expect("the recorded fixture");
    assert_eq!(fixture.cases.len(), 6);
    for case in fixture.cases {
        let ours = case.figures(3);
        assert_eq!(ours, case.figures(1), "{}: sites change nothing", case.name);
        let near = |what: &str, ours: Option<f64>, theirs: f64, bound: f64| {
            let ours = ours.expect("every class has rows");
            let off = (ours - theirs).abs();
            assert!(off <= bound, "{}: {what} {ours}, {theirs}", case.name);
        };
        // Scores that were tied before binning count in the bound, too.
        let bound = ours.auc_bound.expect("every class has rows").min(1e-3);
        near("auc", ours.auc, case.auc, bound);
        near("log-loss", ours.log_loss, case.log_loss, 1e-6);
        near("accuracy", ours.accuracy, case.accuracy, 1e-12);
        near("pr-auc", ours.pr_auc, case.pr_auc, 3e-3);
    }
}
