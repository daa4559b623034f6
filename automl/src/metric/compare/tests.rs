//! Sums of differences, against the definition.

use super::*;
use crate::ask::{Ask, Part, Stage, Totals};
use crate::features::{Matrix, Row};

/// Says what its one feature says.
struct Echo {
    head: Head,
    folds: usize,
    width: usize,
}

impl FoldModel for Echo {
    fn pipeline(&self) -> ObjectId {
        ObjectId::of(b"pipeline")
    }

    fn head(&self) -> Head {
        self.head
    }

    fn folds(&self) -> usize {
        self.folds
    }

    fn width(&self) -> usize {
        self.width
    }

    fn predict(&self, fold: usize, row: Row<'_>, scores: &mut [f64]) {
        // Another answer for each fold: the wrong one would be seen.
        let says = row.numbers()[0] + fold as f64 / 100.0;
        match self.head {
            Head::Number => scores[0] = says,
            _ => scores.copy_from_slice(&[1.0 - says, says]),
        }
    }
}

fn voter() -> Voter {
    Voter {
        pipeline: ObjectId::of(b"pipeline"),
        model: ObjectId::of(b"model"),
        folds: 2,
        weight: 1.0,
    }
}

fn part(head: Head, cuts: Vec<Vec<u16>>) -> ComparePart {
    let side = Contender {
        voters: vec![voter()],
        calibration: None,
    };
    ComparePart {
        old: side.clone(),
        new: side,
        head,
        rows: 100,
        cuts,
    }
}

fn rows(says: &[f64], targets: &[f64], slots: &[Slot]) -> SiteRows {
    let matrix = Matrix::numbers(says.len(), 1, says.to_vec());
    SiteRows::from_parts(matrix, targets.to_vec(), slots.to_vec())
}

fn compared(part: &ComparePart, old: &[Voice<'_>], new: &[Voice<'_>]) -> Compared {
    let ask = Ask {
        sequence: 1,
        stage: Stage::Compare,
        task: ObjectId::of(b"task"),
        parts: vec![Part::Compare(part.clone())],
    };
    ask.check().expect("within the caps");
    let mut out = Encoder::new(&part.segments());
    part.answer(old, new, &mut out).expect("an answer");
    let totals = Totals {
        sums: out.finish().expect("whole"),
        contributors: vec![1],
    };
    part.read(&totals.part(&ask, 0))
}

const SLOTS: [Slot; 5] = [
    Slot::Fold(0),
    Slot::Fold(1),
    Slot::TrainOnly,
    Slot::Fold(0),
    Slot::Fold(1),
];

#[test]
fn differences_of_log_losses_are_summed_row_by_row() {
    let targets = [1.0, 0.0, 1.0, 0.0, 1.0];
    let (old_says, new_says) = ([0.6, 0.4, 0.1, 0.3, 0.5], [0.8, 0.3, 0.9, 0.4, 0.6]);
    let (old_rows, new_rows) = (
        rows(&old_says, &targets, &SLOTS),
        rows(&new_says, &targets, &SLOTS),
    );
    let echo = Echo {
        head: Head::Binary,
        folds: 2,
        width: 1,
    };
    let classes = TargetCoding::Classes {
        labels: vec!["0".to_owned(), "1".to_owned()],
    };
    let voice = |rows| Voice {
        model: &echo,
        rows,
        target: &classes,
        weight: 1.0,
    };
    let middle = bin_of(0.5) as u16;
    let part = part(Head::Binary, vec![vec![middle]]);
    let found = compared(&part, &[voice(&old_rows)], &[voice(&new_rows)]);

    let loss = |says: &[f64], row: usize| {
        let fold = if let Slot::Fold(fold) = SLOTS[row] {
            f64::from(fold)
        } else {
            0.0
        };
        let p = says[row] + fold / 100.0;
        -(if targets[row] == 1.0 { p } else { 1.0 - p }).ln()
    };
    let gains: Vec<f64> = [0, 1, 3, 4]
        .map(|row| loss(&old_says, row) - loss(&new_says, row))
        .to_vec();
    let mean = gains.iter().sum::<f64>() / 4.0;
    let variance = gains.iter().map(|g| (g - mean) * (g - mean)).sum::<f64>() / 3.0;
    assert_eq!(found.rows, 4, "the row that only trains is left out");
    assert!((found.gain - mean).abs() < 1e-8, "{found:?}");
    assert!(
        (found.gain_se - (variance / 4.0).sqrt()).abs() < 1e-7,
        "{found:?}"
    );
    assert!((found.old - found.new - mean).abs() < 1e-8, "{found:?}");
    // The older's scores of those rows: 0.6, 0.41, 0.3 and 0.51.
    assert_eq!(found.scores, [[2, 2]]);
    let same = compared(&part, &[voice(&old_rows)], &[voice(&old_rows)]);
    assert_eq!((same.gain, same.gain_se), (0.0, 0.0));
    // Each row a little better, by less than squares can tell: no certainty.
    let nearly = targets.map(|target| if target == 1.0 { 1e-6 } else { -1e-6 });
    let nearly: Vec<f64> = old_says.iter().zip(nearly).map(|(p, d)| p + d).collect();
    let nearly_rows = rows(&nearly, &targets, &SLOTS);
    let found = compared(&part, &[voice(&old_rows)], &[voice(&nearly_rows)]);
    assert!(
        found.gain > 1e-7 && found.gain < found.gain_se && found.gain_se < 1e-4,
        "{found:?}"
    );
}

#[test]
fn losses_are_those_after_calibration_and_scores_those_before() {
    let says = [0.6, 0.4, 0.1, 0.3, 0.5];
    let targets = [1.0, 0.0, 1.0, 0.0, 1.0];
    let rows = rows(&says, &targets, &SLOTS);
    let echo = Echo {
        head: Head::Binary,
        folds: 2,
        width: 1,
    };
    let classes = TargetCoding::Classes {
        labels: vec!["0".to_owned(), "1".to_owned()],
    };
    let voice = || Voice {
        model: &echo,
        rows: &rows,
        target: &classes,
        weight: 1.0,
    };
    let mut part = part(Head::Binary, vec![vec![bin_of(0.5) as u16]]);
    let platt = Platt {
        slope: 2.0,
        intercept: 3.0,
    };
    part.old.calibration = Some(platt);
    let found = compared(&part, &[voice()], &[voice()]);
    let mut loss = 0.0;
    for (row, p) in [(0, 0.6), (1, 0.41), (3, 0.3), (4, 0.51)] {
        let mut scores = [1.0 - p, p];
        platt.apply(&mut scores);
        loss -= scores[targets[row] as usize].ln() / 4.0;
    }
    assert!((found.old - loss).abs() < 1e-8, "{found:?} {loss}");
    assert!((found.old - found.new - found.gain).abs() < 1e-7);
    assert_eq!(found.scores, [[2, 2]]);
}

#[test]
fn numbers_are_compared_in_one_unit_and_models_are_mixed() {
    // Two targets of the same rows, 10 and 40: the older side learned them as (y - 20) / 10, the
    // newer one as (y - 30) / 20.
    let (old_target, new_target) = (
        TargetCoding::Number {
            mean: 20.0,
            scale: 10.0,
        },
        TargetCoding::Number {
            mean: 30.0,
            scale: 20.0,
        },
    );
    let slots = [Slot::Fold(0), Slot::Fold(0)];
    let old_rows = rows(&[-1.0, 1.0], &[-1.0, 2.0], &slots);
    let new_rows = rows(&[-1.0, 0.0], &[-1.0, 0.5], &slots);
    let high_rows = rows(&[-1.0, 1.0], &[-1.0, 0.5], &slots);
    let echo = Echo {
        head: Head::Number,
        folds: 1,
        width: 1,
    };
    let voice = |rows, target, weight| Voice {
        model: &echo,
        rows,
        target,
        weight,
    };
    let part = part(Head::Number, Vec::new());
    let old = [voice(&old_rows, &old_target, 1.0)];
    // The mean of 30 and 50 is the second target.
    let new = [
        voice(&new_rows, &new_target, 0.5),
        voice(&high_rows, &new_target, 0.5),
    ];
    let found = compared(&part, &old, &new);
    // The older says 10 and 30: an error of 10, half a scale of the newer's.
    assert_eq!((found.rows, found.old, found.new), (2, 0.125, 0.0));
    assert_eq!(found.gain, 0.125);
}

#[test]
fn what_is_out_of_bounds_is_refused() {
    let good = part(Head::Binary, vec![vec![3, 900]]);
    assert_eq!(good.check(), Ok(()));
    let mut parts = vec![
        part(Head::Number, vec![vec![3]]),
        part(Head::Binary, vec![vec![4, 3]]),
        part(Head::Binary, vec![vec![BINS as u16]]),
        part(Head::Classes(2), Vec::new()),
    ];
    for weight in [0.0, -1.0, 0.5, f64::NAN] {
        let mut bad = good.clone();
        bad.new.voters[0].weight = weight;
        parts.push(bad);
    }
    let mut none = good.clone();
    none.old.voters.clear();
    let mut many = good.clone();
    many.old.voters = vec![voter(); MAX_VOTERS + 1];
    let mut turned = good.clone();
    turned.old.calibration = Some(Platt {
        slope: -1.0,
        intercept: 0.0,
    });
    let mut classes = part(Head::Number, Vec::new());
    classes.new.calibration = Some(Platt {
        slope: 1.0,
        intercept: 0.0,
    });
    let mut folds = good.clone();
    folds.new.voters[0].folds = 0;
    let mut empty = good;
    empty.rows = 0;
    parts.extend([none, many, turned, classes, folds, empty]);
    for part in parts {
        assert!(part.check().is_err(), "{part:?}");
    }
}
