//! Kinds of columns beyond numbers and short lists of words, and what is counted by
//! target: exact over any number of sites, and right.

use super::tests::{added, column, csv, profile, reason, site, task};
use super::*;
use crate::data::{SiteData, SitePolicy};
use crate::random::Stream;
use crate::task::Task;

const HEADER: &str = "income,debt,shop,opened,closed,report,grade,y";

/// Rows whose target follows from the ratio of two numbers, from one of 600 shops, from the
/// month of a date and from a word of a report.
fn rows(seed: u64, count: usize) -> Vec<String> {
    let mut random = Stream::new("kinds-test", &[&seed.to_le_bytes()]);
    let words = ["steady", "ordinary", "quiet", "lasting", "sudden", "mild"];
    (0..count)
        .map(|_| {
            let income = libm::floor(libm::exp(8.0 + 0.8 * random.normal()));
            let debt = libm::floor(libm::exp(8.0 + 0.8 * random.normal()));
            let place = random.unit();
            let shop = (600.0 * place * place) as usize;
            let month = 1 + random.below(12);
            let word = words[random.below(words.len())];
            let grade = ["low", "middle", "high"][random.below(3)];
            let report = format!("the patient {} has a {word} pain since noon", random.below(90_000));
            let score = libm::log(debt / income)
                + if shop.is_multiple_of(2) { 1.0 } else { -1.0 }
                + if month >= 7 { 1.0 } else { -1.0 }
                + if word == "sudden" { 2.0 } else { 0.0 };
            let y = u8::from(score + random.normal() > 0.0);
            let debt = if random.below(20) == 0 { -999.0 } else { debt };
            format!(
                "{income},{debt},shop {shop},2021-{month:02}-{:02},2023-03-{:02},{report},{grade},{y}",
                1 + random.below(28),
                1 + random.below(28)
            )
        })
        .collect()
}

fn rich() -> Task {
    task("[columns]\ngrade = { type = \"ordinal\", values = [\"low\", \"middle\", \"high\"] }")
}

#[test]
fn every_kind_is_exact_over_any_number_of_sites() {
    for seed in 0..2 {
        let rows = rows(seed, 3000);
        let pooled = profile(&rich(), &[csv(HEADER, &rows)]);
        let bytes = serde_json::to_vec(&pooled).expect("json");
        for sites in [2, 3, 5] {
            let mut rest = rows.as_slice();
            let mut texts = Vec::new();
            for left in (1..=sites).rev() {
                let (own, others) = rest.split_at(if left == 1 {
                    rest.len()
                } else {
                    rest.len() / 3
                });
                texts.push(csv(HEADER, own));
                rest = others;
            }
            let federated = profile(&rich(), &texts);
            let same = serde_json::to_vec(&federated).expect("json") == bytes;
            assert!(same, "seed {seed}, {sites} sites");
        }
    }
}

#[test]
fn each_kind_is_told_and_what_tells_is_kept() {
    let profile = profile(&rich(), &[csv(HEADER, &rows(3, 12_000))]);
    let kind = |name: &str| column(&profile, name).kind;
    assert_eq!(kind("income"), ColumnKind::Number);
    assert_eq!(kind("shop"), ColumnKind::Category);
    assert_eq!(kind("opened"), ColumnKind::Date);
    assert_eq!(kind("report"), ColumnKind::Text);
    assert_eq!(kind("grade"), ColumnKind::Ordinal);
    let Values::Text(words) = &column(&profile, "report").values else {
        panic!("words");
    };
    let sudden = profile.key.word("report", "sudden");
    assert!(words.buckets.contains(&sudden), "{words:?}");
    let names: Vec<&str> = profile.derived.iter().map(|c| c.name.as_str()).collect();
    assert!(
        names.contains(&"income / debt") || names.contains(&"debt / income"),
        "{names:?}"
    );
    assert!(names.contains(&"month of opened"), "{names:?}");
    assert!(!names.contains(&"weekday of opened"), "{names:?}");
    // Half of the shops' rows are in the 150 largest; the table has more of them than levels.
    let shop = column(&profile, "shop");
    let table = shop.table.as_ref().expect("a table");
    assert!(table.bins.bins() > 150, "{}", table.bins.bins());
    assert!(shop.strength > 0.1, "{}", shop.strength);
    assert!(column(&profile, "grade").strength < 0.02);
    let gram = profile.gram.as_ref().expect("a Gram matrix");
    let found = gram
        .correlation("income", "debt")
        .expect("both are numbers");
    assert!(found.abs() < 0.1, "{found}");
    let target = gram.with_target("income", 1).expect("a column");
    assert!(target < -0.05, "{target}");
}

#[test]
fn codes_for_missing_are_proposed_and_applied_when_the_task_says_so() {
    let text = csv(HEADER, &rows(4, 3000));
    let proposed = profile(&rich(), std::slice::from_ref(&text));
    let found = &proposed.proposals[0];
    assert_eq!(
        (found.column.as_str(), found.value.as_str()),
        ("debt", "-999")
    );
    assert!((100..200).contains(&found.rows), "{found:?}");
    assert!(
        found.reason.contains("missing = [\"-999\"]"),
        "{}",
        found.reason
    );
    assert_eq!(column(&proposed, "debt").missing, 0);
    let applied = profile(&task("[columns]\ndebt = { missing = [-999] }"), &[text]);
    assert!((100..200).contains(&column(&applied, "debt").missing));
    assert!(applied.proposals.iter().all(|found| found.column != "debt"));
    assert_eq!(applied.missing_values["debt"], ["-999"]);
}

#[test]
fn rows_that_are_numbered_are_no_feature() {
    let rows: Vec<String> = (0..3000)
        .map(|n| format!("{},{},{},{}", n + 1, 7_000_000 + 37 * n, n * n, n % 2))
        .collect();
    let profile = profile(&task(""), &[csv("line,customer_id,area,y", &rows)]);
    assert_eq!(
        reason(&profile, "line"),
        "it numbers the rows (an identifier)"
    );
    assert_eq!(
        reason(&profile, "customer_id"),
        "it numbers the rows (an identifier)"
    );
    assert_eq!(profile.columns[0].name, "area", "each once, yet a quantity");
}

#[test]
fn ten_thousand_values_are_counted_and_ten_thousand_names_are_not() {
    let mut random = Stream::new("kinds-many", &[b"1"]);
    let rows: Vec<String> = (0..40_000)
        .map(|n| {
            let u = random.unit();
            format!("code {},name {n},{}", (10_000.0 * u * u) as usize, n % 2)
        })
        .collect();
    let profile = profile(&task(""), &[csv("code,name,y", &rows)]);
    assert!(reason(&profile, "name").contains("value of its own"));
    let code = column(&profile, "code");
    let BinAsk::Slots { coding, slots } = &code.table.as_ref().expect("a table").bins else {
        panic!("slots");
    };
    assert_eq!((coding, slots.len() > 200), (&Coding::FineBuckets, true));
    assert!(
        code.strength < 0.05,
        "of noise nothing is left: {}",
        code.strength
    );
}

#[test]
fn a_column_that_a_site_lacks_is_missing_there_when_the_task_says_so() {
    let rows = |with: bool, n: usize| -> Vec<String> {
        let extra = |n: usize| {
            if with {
                format!("{},", n % 7)
            } else {
                String::new()
            }
        };
        (0..n)
            .map(|n| format!("{n},{}{}", extra(n), n % 2))
            .collect()
    };
    let texts = [
        csv("x,extra,y", &rows(true, 200)),
        csv("x,y", &rows(false, 100)),
    ];
    let task = task("[constraints]\nmissing_columns = \"missing\"\n[columns]\nextra = \"number\"");
    let profile = profile(&task, &texts);
    let extra = column(&profile, "extra");
    assert!((70..100).contains(&extra.missing), "{}", extra.missing);
    assert!(profile.absent_is_missing);
}

#[test]
fn a_site_keeps_small_counts_to_itself() {
    let task = task("");
    let mut rows: Vec<String> = (0..200)
        .map(|n| format!("{},common,{}", n % 5, n % 2))
        .collect();
    rows.extend((0..3).map(|n| format!("{},rare,{}", 900 + n, n % 2)));
    let text = csv("x,word,y", &rows);
    let coding = Coding::Buckets;
    let part = ProfilePart::Survey {
        key: SlotKey::of(&task),
        columns: ["word", "x", "y"]
            .map(|name| ColumnAsk {
                name: name.to_owned(),
                coding: if name == "y" {
                    Coding::Whole
                } else {
                    coding.clone()
                },
            })
            .to_vec(),
        classes: Vec::new(),
    };
    let rare = SlotKey::of(&task).bucket("word", "rare");
    let answer = |policy: SitePolicy| {
        let data = site(&task, &text).with_policy(policy);
        let sums = added(&part, &[data]);
        let slots = &sums.segments[2];
        let place = slots.len() - BUCKETS + rare;
        (sums.segments[0][0], slots[place])
    };
    let (all, shown) = answer(SitePolicy::default());
    assert!(all > 150 && (1..=3).contains(&shown), "{all} {shown}");
    let careful = SitePolicy {
        min_rows: 0,
        min_cell: 5,
    };
    assert_eq!(answer(careful), (all, 0));
    // Every count of a site that holds back all its rows is zero.
    let closed = SitePolicy {
        min_rows: 10_000,
        min_cell: 0,
    };
    let data = site(&task, &text).with_policy(closed);
    assert!(data.withholds_training());
    let sums = added(&part, &[data]);
    assert_eq!(sums.segments[0], [0, 0, 0]);
    assert!(sums.segments[1..].iter().flatten().all(|&count| count == 0));
}

#[test]
fn a_profile_of_other_rows_has_moved() {
    let shifted = |by: f64, share: usize| {
        let mut random = Stream::new("kinds-drift", &[&by.to_le_bytes()]);
        let rows: Vec<String> = (0..4000)
            .map(|n| {
                let word = if random.below(100) < share { "a" } else { "b" };
                format!("{:.3},{word},{}", random.normal() + by, n % 2)
            })
            .collect();
        profile(&task(""), &[csv("x,w,y", &rows)])
    };
    let old = shifted(0.0, 50);
    let psi = |newer: &Profile| -> Vec<f64> {
        let moved = old.drift(newer);
        assert_eq!(
            moved.iter().map(|d| d.column.as_str()).collect::<Vec<_>>(),
            ["w", "x"]
        );
        moved.iter().map(|drift| drift.psi).collect()
    };
    assert!(psi(&old).iter().all(|&psi| psi == 0.0));
    let same = psi(&shifted(1e-9, 50));
    assert!(same.iter().all(|&psi| psi < 0.02), "{same:?}");
    let moved = psi(&shifted(0.7, 80));
    assert!(moved.iter().all(|&psi| psi > 0.25), "{moved:?}");
}

#[test]
fn a_number_is_counted_against_as_exactly_as_a_class() {
    let mut random = Stream::new("kinds-number", &[b"1"]);
    let rows: Vec<String> = (0..3000)
        .map(|_| {
            let (a, b) = (1.0 + 99.0 * random.unit(), 1.0 + 99.0 * random.unit());
            let shop = random.below(100);
            let y = 3.0 * libm::log(a / b)
                + f64::from(u8::from(shop.is_multiple_of(4)))
                + random.normal();
            format!("{a:.3},{b:.3},shop {shop},{y:.4}")
        })
        .collect();
    let task = task("kind = \"regression\"");
    let header = "a,b,shop,y";
    let pooled = profile(&task, &[csv(header, &rows)]);
    let split = profile(
        &task,
        &[csv(header, &rows[..400]), csv(header, &rows[400..])],
    );
    assert_eq!(pooled, split);
    let strength = |name: &str| column(&pooled, name).strength;
    assert!((0.2..0.6).contains(&strength("a")), "{}", strength("a"));
    assert!(
        (0.0..0.05).contains(&strength("shop")),
        "{}",
        strength("shop")
    );
    let ratio = &pooled.derived[0];
    assert_eq!(ratio.name, "a / b");
    assert!(ratio.strength > 0.8, "{}", ratio.strength);
    let gram = pooled.gram.as_ref().expect("a Gram matrix");
    let both = gram.with_target("a", 0).zip(gram.with_target("b", 0));
    assert!(both.is_some_and(|(a, b)| a > 0.4 && b < -0.4), "{both:?}");
    let names = crate::features::pipelines(&task, &pooled)[0]
        .pipeline
        .features();
    assert!(names.contains(&"shop (target)".to_owned()), "{names:?}");
}

/// Cuts of a skewed column: most rows are zero, the rest spread over four octaves.
#[test]
fn heavy_zeros_leave_bins_for_the_rest() {
    let mut random = Stream::new("kinds-skew", &[b"1"]);
    let rows: Vec<String> = (0..6000)
        .map(|n| {
            let gain = if random.below(12) > 0 {
                0.0
            } else {
                libm::floor(libm::exp(8.0 + random.normal()))
            };
            format!("{gain},{}", n % 2)
        })
        .collect();
    let profile = profile(&task(""), &[csv("gain,y", &rows)]);
    let shape = column(&profile, "gain").shape().expect("numbers");
    let cuts = shape.cuts(64);
    assert!(cuts.len() >= 45, "{} cuts", cuts.len());
    let mut before = shape.below(cuts[0]);
    let positive = shape.rows as f64 - before;
    for &cut in &cuts[1..] {
        let below = shape.below(cut);
        assert!(
            below - before < positive / 12.0,
            "{} rows in a bin",
            below - before
        );
        before = below;
    }
}

#[test]
fn asks_about_classes_nobody_declared_are_refused() {
    let task = task("");
    let data: SiteData = site(&task, "x,y\n1,0\n2,1\n3,0\n");
    let tables = |labels: &[&str], plan| ProfilePart::Tables {
        key: SlotKey::of(&task),
        plan,
        target: TargetAsk::Classes {
            labels: labels.iter().map(|&l| l.to_owned()).collect(),
        },
        columns: vec![TableColumn {
            name: "x".to_owned(),
            bins: BinAsk::Cuts {
                source: Source::Numbers,
                cuts: vec![2.0],
            },
        }],
    };
    let answer = |part: &ProfilePart| {
        part.check().expect("within its caps");
        data.answer(part, &mut crate::ask::Encoder::new(&part.segments()))
    };
    for plan in [SplitPlan::Folds, SplitPlan::Holdout] {
        assert!(answer(&tables(&["0", "1"], plan)).is_ok());
        assert!(answer(&tables(&["0", "Ada"], plan)).is_err());
    }
}
