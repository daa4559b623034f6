//! Caps, canonical bytes, and sums that go there and back.

use serde_json::json;

use super::*;
use crate::ask::{Ask, MAX_ASK_BYTES, Part, Stage, Totals};

fn trial(family: &str, pipeline: &[u8]) -> Trial {
    Trial {
        family: family.to_owned(),
        pipeline: ObjectId::of(pipeline),
        hyperparameters: json!({ "ridge": 0.5 }),
    }
}

fn part(candidates: Vec<Trial>) -> TrialPart {
    TrialPart {
        candidates,
        head: Head::Binary,
        rows: 740,
        sample: 512,
        steps: 40,
        work: 1 << 30,
    }
}

fn ask(part: TrialPart) -> Ask {
    Ask {
        sequence: 5,
        stage: Stage::LocalSearch,
        task: ObjectId::of(b"task"),
        parts: vec![Part::Trial(part)],
    }
}

#[test]
fn parts_are_readable_and_frozen() {
    let whole = ask(part(vec![trial("logistic", b"a"), trial("net", b"a")]));
    let pipeline = ObjectId::of(b"a");
    let expected = format!(
        concat!(
            r#"{{"sequence":5,"stage":"local_search","task":"{}","parts":[{{"trial":{{"candidates":["#,
            r#"{{"family":"logistic","pipeline":"{}","hyperparameters":{{"ridge":0.5}}}},"#,
            r#"{{"family":"net","pipeline":"{}","hyperparameters":{{"ridge":0.5}}}}],"#,
            r#""head":"binary","rows":740,"sample":512,"steps":40,"work":1073741824}}}}]}}"#,
        ),
        whole.task, pipeline, pipeline
    );
    let bytes = whole.to_bytes().expect("bytes");
    assert_eq!(String::from_utf8(bytes.clone()).expect("text"), expected);
    let read = Ask::from_bytes(&bytes, MAX_ASK_BYTES).expect("an ask");
    assert_eq!(read, whole);
    assert_eq!(whole.objects(), [pipeline]);
    assert_eq!(whole.parts[0].kinds(), ["trial", "logistic", "net"]);
    assert!(!whole.parts[0].reads_test());
    assert_eq!(whole.numbers(), 6);
}

#[test]
fn parts_out_of_bounds_are_refused() {
    let good = part(vec![trial("logistic", b"a")]);
    assert!(ask(good.clone()).check().is_ok());
    assert!(
        ask(part(vec![trial("logistic", b"a"); MAX_TRIALS]))
            .check()
            .is_ok()
    );
    let long = Trial {
        hyperparameters: "x".repeat(MAX_HYPERPARAMETER_BYTES).into(),
        ..trial("logistic", b"a")
    };
    let pipelines = (0..=MAX_PIPELINES as u8).map(|at| trial("logistic", &[at]));
    let bad = [
        part(Vec::new()),
        part(vec![trial("logistic", b"a"); MAX_TRIALS + 1]),
        part(pipelines.collect()),
        part(vec![trial("oracle", b"a")]),
        part(vec![trial("trial", b"a")]),
        part(vec![trial(&"logistic".repeat(20), b"a")]),
        part(vec![long]),
        TrialPart {
            rows: 0,
            ..good.clone()
        },
        TrialPart {
            rows: u64::MAX,
            ..good.clone()
        },
        TrialPart {
            sample: 0,
            ..good.clone()
        },
        TrialPart {
            sample: MAX_SAMPLE + 1,
            ..good.clone()
        },
        TrialPart {
            steps: 0,
            ..good.clone()
        },
        TrialPart {
            steps: MAX_STEPS + 1,
            ..good.clone()
        },
        TrialPart {
            work: 0,
            ..good.clone()
        },
        TrialPart {
            work: MAX_WORK + 1,
            ..good.clone()
        },
        TrialPart {
            head: Head::Classes(2),
            ..good.clone()
        },
        TrialPart {
            head: Head::Classes(u16::MAX),
            ..good
        },
    ];
    for part in bad {
        let whole = ask(part);
        assert!(whole.check().is_err(), "{:?}", whole.parts[0]);
        let bytes = serde_json::to_vec(&whole).expect("JSON");
        assert!(Ask::from_bytes(&bytes, MAX_ASK_BYTES).is_err());
    }
}

#[test]
fn words_that_are_not_its_own_are_refused() {
    let bytes = ask(part(vec![trial("logistic", b"a")]))
        .to_bytes()
        .expect("bytes");
    let text = String::from_utf8(bytes).expect("text");
    for (from, to) in [
        ("\"sample\":512", "\"sample\":-1"),
        ("\"sample\":512,", ""),
        ("\"steps\"", "\"seconds\""),
        ("\"local_search\"", "\"local\""),
        ("\"family\":\"logistic\"", "\"family\":7"),
        ("\"ridge\":0.5}", "\"ridge\":0.5},\"weight\":1"),
        ("\"work\":1073741824", "\"work\":1e40"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        let read = Ask::from_bytes(changed.as_bytes(), MAX_ASK_BYTES);
        assert!(read.is_err(), "{changed}");
    }
}

#[test]
fn totals_are_the_sums_of_what_sites_sent() {
    let ask = ask(part(vec![trial("logistic", b"a"), trial("net", b"a")]));
    let Part::Trial(part) = &ask.parts[0] else {
        panic!("a trial");
    };
    let sums = |rows, loss: f64| LossSums {
        rows,
        loss,
        loss_squared: loss * loss,
        ..LossSums::default()
    };
    let sites = [
        [sums(100, 52.25), LossSums::default()],
        [sums(30, 10.5), sums(30, 12.0)],
    ];
    let mut totals = vec![0; ask.numbers()];
    for site in &sites {
        let mut out = Encoder::new(&ask.segments());
        part.encode(site, &mut out).expect("within bounds");
        let codes = out.finish().expect("all of them");
        totals.iter_mut().zip(codes).for_each(|(a, b)| *a += b);
    }
    let totals = Totals {
        sums: totals,
        contributors: vec![1, 2],
    };
    totals.check(&ask).expect("fits");
    let read = part.read(&totals.part(&ask, 0));
    let expected = [
        Tried {
            rows: 130,
            loss: 62.75,
            loss_squared: 52.25 * 52.25 + 10.5 * 10.5,
        },
        Tried {
            rows: 30,
            loss: 12.0,
            loss_squared: 144.0,
        },
    ];
    assert_eq!(read, expected);
    // More rows than there are, and fewer entries than candidates.
    let mut out = Encoder::new(&ask.segments());
    assert!(
        part.encode(&[sums(741, 1.0), sums(1, 1.0)], &mut out)
            .is_err()
    );
    let mut out = Encoder::new(&ask.segments());
    let short = part.encode(&sites[0][..1], &mut out);
    assert!(short.is_err() || out.finish().is_err());
}
