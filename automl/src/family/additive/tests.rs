//! Caps of the parts, and models that contradict themselves.

use super::*;
use crate::ask::Segment;
use crate::object::ObjectId;

fn sums() -> SumsPart {
    SumsPart {
        pipeline: ObjectId::of(b"pipeline"),
        path: ObjectId::of(b"path"),
        head: Head::Binary,
        rows: 1000,
        points: 2,
        parameters: vec![10, 12],
        scaled: false,
        hessian_at: Some(1),
    }
}

#[test]
fn sums_out_of_bounds_are_refused() {
    sums().check().expect("within the caps");
    assert_eq!(sums().numbers(), 2 * 7 + 2 * 2 + 2 * 22 + 55 + 78);
    let bad = [
        SumsPart { rows: 0, ..sums() },
        SumsPart {
            rows: u64::MAX,
            ..sums()
        },
        SumsPart {
            points: 0,
            ..sums()
        },
        SumsPart {
            points: 200,
            ..sums()
        },
        SumsPart {
            parameters: vec![],
            ..sums()
        },
        SumsPart {
            parameters: vec![0],
            ..sums()
        },
        SumsPart {
            parameters: vec![1 << 20],
            ..sums()
        },
        SumsPart {
            parameters: vec![2048; 3],
            ..sums()
        },
        SumsPart {
            parameters: vec![2; 400],
            ..sums()
        },
        SumsPart {
            hessian_at: Some(2),
            ..sums()
        },
        SumsPart {
            head: Head::Classes(1000),
            ..sums()
        },
    ];
    for part in bad {
        assert!(part.check().is_err(), "{part:?}");
    }
}

#[test]
fn counts_out_of_bounds_are_refused() {
    let good = CountPart {
        pipeline: ObjectId::of(b"pipeline"),
        head: Head::Binary,
        folds: 5,
        rows: 1000,
        bins: vec![4, 7],
    };
    good.check().expect("within the caps");
    assert_eq!(good.numbers(), 5 * 11 * 2);
    let bad = [
        CountPart {
            bins: vec![],
            ..good.clone()
        },
        CountPart {
            bins: vec![0],
            ..good.clone()
        },
        CountPart {
            bins: vec![300],
            ..good.clone()
        },
        CountPart {
            bins: vec![256; 8000],
            ..good.clone()
        },
        CountPart {
            folds: 0,
            ..good.clone()
        },
    ];
    for part in bad {
        assert!(part.check().is_err());
    }
}

#[test]
fn screens_out_of_bounds_are_refused() {
    let column = |size: u16| CoarseColumn {
        column: 0,
        size,
        groups: vec![0, 1],
    };
    let good = ScreenPart {
        pipeline: ObjectId::of(b"pipeline"),
        path: ObjectId::of(b"path"),
        head: Head::Number,
        folds: 5,
        rows: 1000,
        columns: vec![column(2), column(3), column(4)],
    };
    good.check().expect("within the caps");
    let numbers: usize = good.segments().iter().map(Segment::count).sum();
    assert_eq!(numbers, 2 * 5 * (6 + 8 + 12));
    for columns in [
        vec![column(2)],
        vec![column(1), column(2)],
        vec![column(2), column(17)],
        vec![column(2); 61],
    ] {
        let part = ScreenPart {
            columns,
            ..good.clone()
        };
        assert!(part.check().is_err());
    }
    let many = ScreenPart {
        columns: vec![column(16); 60],
        ..good
    };
    assert!(many.check().is_err(), "too many numbers");
}

#[test]
fn models_that_contradict_themselves_are_refused() {
    let fold = AdditiveFold {
        design: Design {
            terms: vec![Term::Groups {
                column: 0,
                size: 2,
                groups: vec![0, 1],
            }],
        },
        coefficients: vec![vec![0.0; 3]],
    };
    let good = AdditiveModel {
        pipeline: ObjectId::of(b"pipeline"),
        head: Head::Binary,
        width: 1,
        folds: vec![fold.clone()],
    };
    good.check().expect("sound");
    let with = |change: fn(&mut AdditiveModel)| {
        let mut model = good.clone();
        change(&mut model);
        model
    };
    for bad in [
        with(|model| model.folds.clear()),
        with(|model| model.width = 0),
        with(|model| model.head = Head::Classes(3)),
        with(|model| model.folds[0].coefficients[0][1] = f64::NAN),
        with(|model| model.folds[0].coefficients[0].truncate(2)),
        with(|model| model.folds.resize(99, model.folds[0].clone())),
    ] {
        assert!(bad.check().is_err(), "{bad:?}");
    }
}
