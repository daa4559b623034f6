//! Codes, caps and canonical bytes.

use super::*;
use crate::blend::Member;
use crate::calibrate::Platt;
use crate::family::Head;
use crate::metric::Rows;
use crate::random::Stream;

fn score(rows: u64, folds: u8, curves: bool) -> Part {
    Part::Score(ScorePart {
        pipeline: ObjectId::of(b"pipeline"),
        model: ObjectId::of(b"model"),
        on: Rows::Validation,
        head: Head::Binary,
        folds,
        rows,
        curves,
        metric: None,
    })
}

fn ask(parts: Vec<Part>) -> Ask {
    Ask {
        sequence: 3,
        stage: Stage::Race,
        task: ObjectId::of(b"task"),
        parts,
    }
}

const SEGMENTS: [Segment; 4] = [
    Segment::Count { max: 9, count: 2 },
    Segment::Integer {
        min: -50,
        max: 20,
        count: 1,
    },
    Segment::Count { max: 1, count: 0 },
    Segment::Real {
        clip: 2.0,
        levels: 8,
        count: 3,
    },
];

fn totals_of(sites: &[Vec<u64>]) -> (Vec<u64>, usize) {
    let mut sums = vec![0; sites[0].len()];
    for codes in sites {
        sums.iter_mut()
            .zip(codes)
            .for_each(|(sum, code)| *sum += code);
    }
    (sums, sites.len())
}

#[test]
fn sums_of_codes_are_sums_of_values() {
    let seed = 7u8;
    let mut random = Stream::new("collegium/test/ask/v1", &[&[seed]]);
    let mut expected = ([0u64; 2], 0i64, [0f64; 3]);
    let mut sites = Vec::new();
    for _ in 0..5 {
        let mut out = Encoder::new(&SEGMENTS);
        for sum in &mut expected.0 {
            let value = random.below(10) as u64;
            out.count(value).expect("within bounds");
            *sum += value;
        }
        let value = random.below(71) as i64 - 50;
        out.integer(value).expect("within bounds");
        expected.1 += value;
        for sum in &mut expected.2 {
            let value = 6.0 * random.unit() - 3.0;
            out.real(value).expect("saturates");
            *sum += (value.clamp(-2.0, 2.0) * 2.0).round() / 2.0;
        }
        sites.push(out.finish().expect("all numbers"));
    }
    let (sums, contributors) = totals_of(&sites);
    let part = PartTotals {
        segments: SEGMENTS.to_vec(),
        sums: &sums,
        contributors,
    };
    assert_eq!(part.counts(0), expected.0, "seed {seed}");
    assert_eq!(part.integers(1), [expected.1], "seed {seed}");
    assert_eq!(part.reals(3), expected.2, "seed {seed}");
}

#[test]
fn an_encoder_refuses_what_does_not_fit() {
    let mut out = Encoder::new(&SEGMENTS);
    assert!(out.integer(1).is_err(), "a count is due");
    assert!(out.count(10).is_err(), "above the bound");
    out.count(9).expect("the bound itself");
    out.count(0).expect("zero");
    assert!(out.integer(21).is_err() && out.integer(-51).is_err());
    assert!(out.integer(i64::MIN).is_err() && out.integer(i64::MAX).is_err());
    out.integer(-50).expect("the bound itself");
    for value in [f64::NAN, f64::INFINITY, -1e300] {
        out.real(value).expect("saturates");
    }
    assert!(out.real(0.0).is_err(), "full");
    assert_eq!(out.finish().expect("full"), [9, 0, 0, 4, 8, 0]);
    assert!(Encoder::new(&SEGMENTS).finish().is_err(), "empty");
}

/// The bytes are what people, ledgers and hashes see: they may not change
/// unnoticed.
#[test]
fn canonical_bytes_are_readable_and_frozen() {
    let ask = ask(vec![score(740, 5, false)]);
    let bytes = ask.to_bytes().expect("bytes");
    let expected = format!(
        concat!(
            r#"{{"sequence":3,"stage":"race","task":"{}","parts":["#,
            r#"{{"score":{{"pipeline":"{}","model":"{}","on":"validation","head":"binary","#,
            r#""folds":5,"rows":740,"curves":false}}}}]}}"#,
        ),
        ObjectId::of(b"task"),
        ObjectId::of(b"pipeline"),
        ObjectId::of(b"model"),
    );
    assert_eq!(String::from_utf8(bytes.clone()).expect("text"), expected);
    let read = Ask::from_bytes(&bytes, MAX_ASK_BYTES).expect("an ask");
    assert_eq!(read, ask);
    assert_eq!(ask.objects().len(), 2);
}

fn member(name: &[u8]) -> Member {
    Member {
        pipeline: ObjectId::of(b"pipeline"),
        model: ObjectId::of(name),
    }
}

fn gram(members: Vec<Member>) -> GramPart {
    GramPart {
        members,
        head: Head::Binary,
        folds: 5,
        rows: 740,
    }
}

fn blend(on: Rows, weights: Vec<Vec<f64>>) -> BlendPart {
    BlendPart {
        members: vec![member(b"a"), member(b"b")],
        weights,
        rival: None,
        calibration: None,
        on,
        head: Head::Binary,
        folds: 5,
        rows: 740,
        metric: None,
    }
}

#[test]
fn parts_of_blends_are_readable_and_frozen() {
    let platt = Platt {
        slope: 1.25,
        intercept: -0.5,
    };
    let blend = BlendPart {
        calibration: Some(platt),
        ..blend(Rows::Test, vec![vec![0.75, 0.25]])
    };
    let parts = vec![Part::Gram(gram(vec![member(b"a")])), Part::Blend(blend)];
    let ask = Ask {
        stage: Stage::Test,
        ..ask(parts)
    };
    let [pipeline, a, b] = [&b"pipeline"[..], b"a", b"b"].map(ObjectId::of);
    let expected = format!(
        concat!(
            r#"[{{"gram":{{"members":[{{"pipeline":"{}","model":"{}"}}],"head":"binary","#,
            r#""folds":5,"rows":740}}}},{{"blend":{{"members":[{{"pipeline":"{}","model":"{}"}},"#,
            r#"{{"pipeline":"{}","model":"{}"}}],"weights":[[0.75,0.25]],"#,
            r#""calibration":{{"slope":1.25,"intercept":-0.5}},"on":"test","head":"binary","#,
            r#""folds":5,"rows":740}}}}]}}"#,
        ),
        pipeline, a, pipeline, a, pipeline, b
    );
    let bytes = ask.to_bytes().expect("bytes");
    let text = String::from_utf8(bytes.clone()).expect("text");
    assert!(text.ends_with(&expected), "{text}");
    assert_eq!(Ask::from_bytes(&bytes, MAX_ASK_BYTES).expect("an ask"), ask);
    assert_eq!(ask.objects().len(), 3);
    let reads: Vec<bool> = ask.parts.iter().map(Part::reads_test).collect();
    assert_eq!(reads, [false, true]);
    // Five counts and fifteen products of two; losses and one curve.
    assert_eq!(
        Part::Gram(gram(vec![member(b"a"), member(b"b")])).numbers(),
        5 + 15
    );
    assert_eq!(ask.parts[1].numbers(), 7 + 2048);
}

#[test]
fn blends_out_of_bounds_are_refused() {
    let half = || vec![vec![0.5, 0.5]; 5];
    let whole = |part: BlendPart| ask(vec![Part::Blend(part)]).check();
    let validation = |weights| blend(Rows::Validation, weights);
    assert!(whole(validation(half())).is_ok());
    let rival = BlendPart {
        rival: Some(1),
        ..validation(half())
    };
    assert!(whole(rival.clone()).is_ok());
    let platt = |slope, intercept| Some(Platt { slope, intercept });
    let bad = [
        validation(vec![vec![0.5, 0.5]; 4]),
        validation(vec![vec![0.5, 0.4]; 5]),
        validation(vec![vec![1.5, -0.5]; 5]),
        validation(vec![vec![f64::NAN, 1.0]; 5]),
        validation(vec![vec![1.0]; 5]),
        blend(Rows::Test, half()),
        BlendPart {
            members: vec![member(b"a"); 2],
            ..validation(half())
        },
        BlendPart {
            rival: Some(2),
            ..rival.clone()
        },
        BlendPart {
            rival: Some(0),
            ..blend(Rows::Test, vec![vec![0.5, 0.5]])
        },
        BlendPart {
            calibration: platt(0.0, 0.0),
            ..rival.clone()
        },
        BlendPart {
            calibration: platt(1.0, f64::INFINITY),
            ..rival.clone()
        },
        BlendPart {
            calibration: platt(1.0, 0.0),
            head: Head::Number,
            ..rival
        },
    ];
    for part in bad {
        assert!(whole(part.clone()).is_err(), "{part:?}");
    }
    let many = |count: u8| gram((0..count).map(|name| member(&[name])).collect());
    assert!(ask(vec![Part::Gram(many(12))]).check().is_ok());
    for part in [many(0), many(13), gram(vec![member(b"a"); 2])] {
        assert!(ask(vec![Part::Gram(part)]).check().is_err());
    }
}

#[test]
fn asks_out_of_bounds_are_refused() {
    let good = ask(vec![score(740, 5, true)]);
    let bytes = good.to_bytes().expect("bytes");
    assert!(matches!(
        Ask::from_bytes(&bytes, bytes.len() - 1),
        Err(AskError::Size { what: "bytes", .. })
    ));
    let bad = [
        ask(Vec::new()),
        ask(vec![score(740, 5, false); MAX_PARTS + 1]),
        ask(vec![score(0, 5, false)]),
        ask(vec![score(u64::MAX, 5, false)]),
        ask(vec![score(740, 0, false)]),
        ask(vec![score(740, 11, false)]),
    ];
    for ask in bad {
        assert!(ask.to_bytes().is_err(), "{:?}", ask.parts.first());
        let bytes = serde_json::to_vec(&ask).expect("JSON");
        assert!(Ask::from_bytes(&bytes, MAX_ASK_BYTES).is_err());
    }
    let text = String::from_utf8(bytes).expect("text");
    for (from, to) in [
        ("\"score\"", "\"rows\""),
        ("\"curves\"", "\"curve\""),
        ("\"sequence\":3", "\"sequence\":-3"),
        ("}]}", "}]} "),
    ] {
        let changed = text.replacen(from, to, 1);
        let read = Ask::from_bytes(changed.as_bytes(), MAX_ASK_BYTES);
        // Blanks are read, but such bytes are never what a digest is over.
        assert!(read.is_err() || to.ends_with(' '), "{changed}");
    }
}

#[test]
fn totals_that_no_sites_can_have_sent_are_refused() {
    let ask = ask(vec![score(740, 5, false)]);
    let good = Totals {
        sums: vec![0; ask.numbers()],
        contributors: vec![1, 3],
    };
    assert_eq!(good.check(&ask), Ok(()));
    let refuse = |change: fn(&mut Totals)| {
        let mut bad = good.clone();
        change(&mut bad);
        assert!(bad.check(&ask).is_err(), "{bad:?}");
        assert_ne!(bad.digest(), good.digest());
    };
    refuse(|totals| totals.sums.push(0));
    refuse(|totals| totals.sums[0] = 2 * 740 + 1);
    refuse(|totals| totals.contributors.clear());
    refuse(|totals| totals.contributors = vec![3, 1]);
    refuse(|totals| totals.contributors = vec![1, 1]);
}
