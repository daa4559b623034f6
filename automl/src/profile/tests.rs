//! The profile: exact over any number of sites, silent about test rows, and
//! clear about data that nothing can be learned from.

use super::*;
use crate::ask::Encoder;
use crate::data::{SiteData, SiteDataError};
use crate::random::Stream;
use crate::table::{Table, TableMapping};
use crate::task::Task;

const HEADER: &str = "amount,code,city,since,odd,constant,note,patient_id,y";

pub(super) fn task(extra: &str) -> Task {
    Task::from_toml(&format!("name = \"t\"\ntarget = \"y\"\nseed = 7\n{extra}")).expect("a task")
}

pub(super) fn site(task: &Task, text: &str) -> SiteData {
    let table = Table::read("t.csv", text.as_bytes(), &TableMapping::default()).expect("a table");
    SiteData::new(task, table).expect("data")
}

/// Adds the answers of sites, as any federation does.
fn profile_of(task: &Task, sites: &[SiteData]) -> Result<Profile, ProfileError> {
    run_with(task, &mut |parts| {
        Ok(parts.iter().map(|part| added(part, sites)).collect())
    })
}

pub(super) fn added(part: &ProfilePart, sites: &[SiteData]) -> ProfileSums {
    part.check().expect("a part within its caps");
    let shape = part.segments();
    let mut segments: Vec<Vec<u64>> = shape
        .iter()
        .map(|segment| vec![0; segment.count()])
        .collect();
    for site in sites {
        let mut out = Encoder::new(&shape);
        site.answer(part, &mut out).expect("an answer");
        let codes = out.finish().expect("every number");
        let mut codes = codes.into_iter();
        for sum in segments.iter_mut().flatten() {
            *sum += codes.next().expect("as many as the shape says");
        }
    }
    ProfileSums {
        segments,
        contributors: sites.len(),
    }
}

pub(super) fn profile(task: &Task, texts: &[String]) -> Profile {
    let sites: Vec<SiteData> = texts.iter().map(|text| site(task, text)).collect();
    profile_of(task, &sites).expect("a profile")
}

fn failure(extra: &str, text: &str) -> String {
    let task = task(extra);
    profile_of(&task, &[site(&task, text)])
        .expect_err("nothing to learn")
        .to_string()
}

/// Rows with every kind of column, some cells missing.
fn random_rows(seed: u64, count: usize) -> Vec<String> {
    let mut random = Stream::new("profile-test", &[&seed.to_le_bytes()]);
    (0..count)
        .map(|row| {
            let amount =
                libm::exp(3.0 * random.normal()) * if random.below(4) == 0 { -1.0 } else { 1.0 };
            let amount = if random.below(9) == 0 {
                String::new()
            } else {
                format!("{amount}")
            };
            let code = ["1", "2", "4", "9", ""][random.below(5)];
            let city = ["Basel", "Bern", "Zug", "北京", "NA"][random.below(5)];
            let since = format!(
                "20{:02}-{:02}-{:02}",
                random.below(20),
                1 + random.below(12),
                1 + random.below(28)
            );
            let odd = if random.below(30) == 0 {
                "unknown".to_owned()
            } else {
                format!("{}", random.below(300))
            };
            let y = if random.below(40) == 0 {
                ""
            } else {
                ["0", "1"][random.below(2)]
            };
            format!("{amount},{code},{city},{since},{odd},7,note {row} of {seed},{row},{y}")
        })
        .collect()
}

pub(super) fn csv<S: AsRef<str>>(header: &str, rows: &[S]) -> String {
    rows.iter().fold(format!("{header}\n"), |text, row| {
        text + row.as_ref() + "\n"
    })
}

pub(super) fn column<'p>(profile: &'p Profile, name: &str) -> &'p ColumnProfile {
    profile
        .columns
        .iter()
        .find(|column| column.name == name)
        .expect("the column")
}

pub(super) fn reason<'p>(profile: &'p Profile, name: &str) -> &'p str {
    let gone = profile
        .dropped
        .iter()
        .find(|dropped| dropped.column == name);
    gone.map(|dropped| dropped.reason.as_str())
        .expect("a reason")
}

#[test]
fn any_number_of_sites_gives_the_profile_of_one_table() {
    for seed in 0..6 {
        let rows = random_rows(seed, 700);
        let task = task("[constraints]\nprivacy_filter = [\"id\"]");
        let pooled = profile(&task, &[csv(HEADER, &rows)]);
        let bytes = serde_json::to_vec(&pooled).expect("json");
        for sites in [2, 3, 5] {
            // Skewed: each site is twice as large as the one before.
            let unit = rows.len() / ((1 << sites) - 1);
            let mut rest = rows.as_slice();
            let mut texts = Vec::new();
            for site in 0..sites {
                let (own, others) = rest.split_at(if site + 1 == sites {
                    rest.len()
                } else {
                    unit << site
                });
                texts.push(csv(HEADER, own));
                rest = others;
            }
            let federated = profile(&task, &texts);
            assert_eq!(federated, pooled, "seed {seed}, {sites} sites");
            assert_eq!(
                serde_json::to_vec(&federated).expect("json"),
                bytes,
                "seed {seed}"
            );
        }
    }
}

#[test]
fn each_column_is_told_for_what_it_is() {
    let task = task("[constraints]\nprivacy_filter = [\"id\"]");
    let profile = profile(&task, &[csv(HEADER, &random_rows(1, 900))]);
    assert!(matches!(
        column(&profile, "amount").values,
        Values::Number { small: None, .. }
    ));
    let Values::Number {
        small: Some(levels),
        ..
    } = &column(&profile, "code").values
    else {
        panic!("code is a column of small whole numbers");
    };
    assert_eq!(levels.slots, [2, 3, 5, 10], "1, 2, 4 and 9");
    assert!(
        matches!(&column(&profile, "city").values, Values::Category(levels) if levels.slots.len() == 4)
    );
    assert!(matches!(
        column(&profile, "since").values,
        Values::Date { .. }
    ));
    let odd = column(&profile, "odd");
    assert!(odd.texts && odd.missing > 0 && matches!(odd.values, Values::Number { .. }));
    assert_eq!(
        reason(&profile, "constant"),
        "it is the same in every training row"
    );
    assert!(reason(&profile, "note").contains("value of its own"));
    assert_eq!(reason(&profile, "patient_id"), "privacy_filter names `id`");
    assert_eq!(profile.labels(), ["0", "1"]);
    assert_eq!(profile.class_counts.iter().sum::<u64>(), profile.train_rows);
    assert!(profile.unlabelled_rows > 0);
}

#[test]
fn moments_and_quantiles_are_those_of_the_rows() {
    let mut random = Stream::new("profile-moments", &[b"1"]);
    let values: Vec<f64> = (0..4000).map(|_| 50.0 + 12.0 * random.normal()).collect();
    let rows: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(n, v)| format!("{v},train,{}", n % 2))
        .collect();
    let task = task("split = \"fold\"");
    let profile = profile(&task, &[csv("x,fold,y", &rows)]);
    let shape = column(&profile, "x").shape().expect("numbers");
    let clipped: Vec<f64> = values.iter().map(|v| v.clamp(shape.lo, shape.hi)).collect();
    let mean = clipped.iter().sum::<f64>() / 4000.0;
    let variance = clipped.iter().map(|v| (v - mean) * (v - mean)).sum::<f64>() / 4000.0;
    // One quantization step is (hi-lo)/2^16, about 0.001.
    assert!(
        (shape.mean - mean).abs() < 1e-4,
        "{} against {mean}",
        shape.mean
    );
    assert!(
        (shape.sd - libm::sqrt(variance)).abs() < 1e-4,
        "{} against {variance}",
        shape.sd
    );
    let mut sorted = values;
    sorted.sort_by(f64::total_cmp);
    for p in [0.05, 0.25, 0.5, 0.75, 0.95] {
        let exact = sorted[(p * 4000.0) as usize];
        // Cells are 0.7 wide in the middle (32 to 64) and 8 in the tail (64
        // to 128).
        let bound = if p < 0.9 { 0.7 } else { 2.0 };
        assert!(
            (shape.quantile(p) - exact).abs() < bound,
            "p {p}: {} against {exact}",
            shape.quantile(p)
        );
    }
}

#[test]
fn test_rows_are_counted_and_not_read() {
    let row = |n: usize, part: &str, x: f64, city: &str| format!("{x},{city},{part},{}", n % 2);
    let with_test = |x: f64, city: &str| {
        let mut rows: Vec<String> = (0..100)
            .map(|n| row(n, "train", n as f64 * 1.5, ["a", "b"][n % 2]))
            .collect();
        rows.extend((0..30).map(|n| row(n, "test", x, city)));
        csv("x,city,fold,y", &rows)
    };
    let task = task("split = \"fold\"");
    let one = profile(&task, &[with_test(1e9, "secret")]);
    let other = profile(&task, &[with_test(-3.0, "b")]);
    assert_eq!(one, other);
    assert_eq!((one.train_rows, one.test_rows), (100, 30));
}

#[test]
fn a_column_of_some_sites_is_dropped_with_the_reason() {
    let rows: Vec<String> = (0..60)
        .map(|n| format!("{n},{},{}", n % 3, n % 2))
        .collect();
    let task = task("");
    let profile = profile(
        &task,
        &[
            csv("x,extra,y", &rows),
            csv("x,z,y", &rows),
            csv("x,extra,y", &rows),
        ],
    );
    assert!(reason(&profile, "extra").starts_with("only 2 of 3 sites have it"));
    assert!(reason(&profile, "z").starts_with("only 1 of 3 sites have it"));
    assert_eq!(profile.columns.len(), 1);
}

#[test]
fn protected_columns_are_refused_whoever_asks() {
    let task = task(
        "entity = \"who\"\n[constraints]\nprivacy_filter = [\"phone\", \"salary\"]\n[columns]\nw = \"ignore\"",
    );
    let data = site(&task, "who,mobile,salary,w,x,y\na,1,2,3,4,0\nb,2,3,4,5,1\n");
    for name in ["who", "mobile", "salary", "w"] {
        let part = ProfilePart::Refine {
            columns: vec![RefineColumn {
                name: name.to_owned(),
                source: Source::Numbers,
                edges: vec![0.0, 1.0],
            }],
        };
        let mut out = Encoder::new(&part.segments());
        let error = data.answer(&part, &mut out).expect_err("protected");
        assert!(
            matches!(&error, SiteDataError::Protected { column, .. } if column == name),
            "{error}"
        );
    }
}

#[test]
fn classes_are_recognised_without_naming_values() {
    for (values, labels) in [
        (["0", "1"], ["0", "1"]),
        (["-1", "1"], ["-1", "1"]),
        (["2", "1"], ["1", "2"]),
        (["Yes", "no"], ["no", "yes"]),
        (["T", "F"], ["f", "t"]),
        (["阳性", "阴性"], ["阴性", "阳性"]),
    ] {
        let rows: Vec<String> = (0..60).map(|n| format!("{n},{}", values[n % 2])).collect();
        let profile = profile(&task(""), &[csv("x,y", &rows)]);
        assert_eq!(profile.labels(), labels, "{values:?}");
    }
    let rows: Vec<String> = (0..60)
        .map(|n| format!("{n},{}", ["good", "bad"][n % 2]))
        .collect();
    let named = profile(
        &task("classes = [\"bad\", \"good\"]\npositive = \"bad\""),
        &[csv("x,y", &rows)],
    );
    assert_eq!(
        named.labels(),
        ["good", "bad"],
        "the positive class is last"
    );
    let rows: Vec<String> = (0..60).map(|n| format!("{n},{}", n % 2)).collect();
    assert_eq!(
        profile(&task("positive = 0"), &[csv("x,y", &rows)]).labels(),
        ["1", "0"]
    );
}

#[test]
fn the_kind_is_inferred_from_the_target() {
    let profile_with = |extra: &str, value: fn(usize) -> String| {
        let rows: Vec<String> = (0..200)
            .map(|n| format!("{},{}", n % 17, value(n)))
            .collect();
        profile(&task(extra), &[csv("x,y", &rows)])
    };
    assert_eq!(
        profile_with("", |n| format!("{}", n % 4)).kind(),
        Kind::Classification
    );
    assert_eq!(
        profile_with("", |n| format!("{}", n % 30)).kind(),
        Kind::Regression
    );
    assert_eq!(
        profile_with("", |n| format!("{}.5", n % 4)).kind(),
        Kind::Regression
    );
    assert_eq!(
        profile_with("metric = \"auc\"", |n| format!("{}", n % 30)).kind(),
        Kind::Classification
    );
    assert_eq!(
        profile_with("metric = \"rmse\"", |n| format!("{}", n % 4)).kind(),
        Kind::Regression
    );
    let TargetCoding::Number { mean, scale } =
        profile_with("kind = \"regression\"", |n| format!("{}", n * 3)).target
    else {
        panic!("a number");
    };
    assert!(
        (mean - 298.5).abs() < 30.0 && (scale - 173.2).abs() < 15.0,
        "{mean} {scale}"
    );
}

#[test]
fn targets_that_teach_nothing_are_explained() {
    let rows = |values: &[&str]| {
        let rows: Vec<String> = (0..60)
            .map(|n| format!("{n},{}", values[n % values.len()]))
            .collect();
        csv("x,y", &rows)
    };
    assert!(failure("", &rows(&["1"])).contains("is `1` in all"));
    assert!(failure("kind = \"regression\"", &rows(&["1.5"])).contains("same number"));
    let message = failure("", &rows(&["good", "bad"]));
    assert!(message.contains("classes = ["), "{message}");
    assert!(
        !message.contains("good"),
        "values stay at the site: {message}"
    );
    assert!(failure("positive = \"2\"", &rows(&["0", "1"])).contains("the classes are 0, 1"));
    assert!(
        failure("positive = \"2\"", &rows(&["0", "1", "2"])).contains("more than two: 0, 1, 2")
    );
    assert!(failure("[columns]\nage = \"ignore\"", &rows(&["0", "1"])).contains("did you mean"));
    let message = failure(
        "[constraints]\nprivacy_filter = [\"fone\"]",
        &rows(&["0", "1"]),
    );
    assert!(
        message.contains("neither a known kind nor a column"),
        "{message}"
    );
    // A column that the task names and nobody has would be free to fall.
    let rising = "[constraints]\nmonotone = { agee = \"increasing\" }";
    let message = failure(rising, &rows(&["0", "1"]));
    assert!(
        message.contains("`agee`") && message.contains("did you mean `x`"),
        "{message}"
    );
    let message = failure("[columns]\nx = \"ignore\"", &rows(&["0", "1"]));
    assert!(
        message.contains("x (the task says \"ignore\")"),
        "{message}"
    );
}

#[test]
fn a_target_that_some_sites_lack_is_explained() {
    let task = task("");
    let one = site(&task, "x,y\n1,0\n2,1\n");
    let mut calls = 0;
    let error = run_with(&task, &mut |parts| {
        calls += 1;
        // A second site that has no column at all.
        let mut sums = added(&parts[0], std::slice::from_ref(&one));
        sums.contributors = 2;
        Ok(vec![sums])
    });
    let message = error.expect_err("no target").to_string();
    assert!(
        message.contains("`y` is a column at 1 of 2 sites"),
        "{message}"
    );
    assert_eq!(calls, 1);
}

#[test]
fn declared_types_win() {
    let rows: Vec<String> = (0..600)
        .map(|n| format!("{n},{},{},{}", n % 10, ["red", "blue"][n % 2], n % 2))
        .collect();
    let declared =
        task("[columns]\ncode = \"category\"\ncolour = { values = [\"red\", \"blue\"] }");
    let profile = profile(&declared, &[csv("row,code,colour,y", &rows)]);
    assert!(matches!(
        column(&profile, "code").values,
        Values::Category(_)
    ));
    let Values::Category(levels) = &column(&profile, "colour").values else {
        panic!("a category")
    };
    assert_eq!(
        levels.coding,
        Coding::Vocabulary(vec!["red".to_owned(), "blue".to_owned()])
    );
    assert_eq!(levels.slots, [0, 1]);
}

#[test]
fn dates_are_refused_by_the_temporal_check_unless_declared() {
    let rows: Vec<String> = (0..120)
        .map(|n| format!("2020-01-{:02},{n},{}", 1 + n % 28, n % 2))
        .collect();
    let text = csv("seen,x,y", &rows);
    let checked = profile(
        &task("[constraints]\ntemporal_check = true"),
        std::slice::from_ref(&text),
    );
    assert!(reason(&checked, "seen").contains("temporal_check"));
    let declared = task("[constraints]\ntemporal_check = true\n[columns]\nseen = \"date\"");
    let declared = profile(&declared, std::slice::from_ref(&text));
    assert!(matches!(
        column(&declared, "seen").values,
        Values::Date { .. }
    ));
}

#[test]
fn a_survey_of_guesses_is_refused() {
    let task = task("[columns]\ncity = { values = [\"Bern\"] }");
    let data = site(&task, "city,name,y\nBern,Ada,0\nZug,Bo,1\n");
    let survey = |key: SlotKey, name: &str, values: &[&str], classes: &[&str]| {
        let values: Vec<String> = values.iter().map(|&value| value.to_owned()).collect();
        let part = ProfilePart::Survey {
            key,
            columns: vec![ColumnAsk {
                name: name.to_owned(),
                coding: Coding::Vocabulary(values),
            }],
            classes: classes.iter().map(|&class| class.to_owned()).collect(),
        };
        data.answer(&part, &mut Encoder::new(&part.segments()))
    };
    let own = SlotKey::of(&task);
    let mut elsewhere = task.clone();
    elsewhere.seed += 1;
    assert!(survey(own, "city", &["Bern"], &[]).is_ok());
    for refused in [
        survey(own, "name", &["Ada", "Eve"], &[]),
        survey(own, "city", &["Bern", "Zug"], &[]),
        survey(own, "city", &["Bern"], &["0", "1"]),
        survey(SlotKey::of(&elsewhere), "city", &["Bern"], &[]),
    ] {
        assert!(
            matches!(refused, Err(SiteDataError::Survey { .. })),
            "{refused:?}"
        );
    }
}
