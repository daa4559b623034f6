//! Pairs: found where columns tell more together, exact over any number of sites, and asked for only
//! where somebody uses them.

use super::tests::{added, csv, profile, site, task};
use super::*;
use crate::data::SiteData;
use crate::features::{NamedPipeline, pipelines};
use crate::random::Stream;
use crate::table::{Table, TableMapping};
use crate::task::Task;

const HEADER: &str = "who,age,ward,dose,town,y";

/// `dose` helps below 50 and harms above; `ward` and `town` add up.
fn rows(seed: u64, count: usize) -> Vec<String> {
    let mut random = Stream::new("pairs-test", &[&seed.to_le_bytes()]);
    let row = |who: usize| {
        let (age, dose) = (20 + random.below(60), random.below(40));
        let (ward, town) = (random.below(4), random.below(3));
        let helps = (age < 50) == (dose < 20);
        let score = [-0.8, 0.8][usize::from(helps)] + 0.5 * ward as f64 - 0.4 * town as f64 - 0.5;
        let y = random.unit() < 1.0 / (1.0 + libm::exp(-score));
        let age = if random.below(20) == 0 {
            String::new()
        } else {
            age.to_string()
        };
        format!(
            "w{who},{age},ward {ward},{dose},town {town},{}",
            u8::from(y)
        )
    };
    (0..count).map(row).collect()
}

fn paired(task: &Task, profile: &Profile) -> Option<NamedPipeline> {
    let mut all = pipelines(task, profile).into_iter();
    all.find(|named| named.name == "paired bins")
}

#[test]
fn a_pair_is_found_where_columns_tell_more_together() {
    for seed in 0..3 {
        println!("seed {seed}");
        let rows = rows(seed, 13_000);
        let task = task("entity = \"who\"");
        let pooled = profile(&task, &[csv(HEADER, &rows)]);
        let names: Vec<&str> = pooled.pairs.iter().map(|pair| pair.name.as_str()).collect();
        assert_eq!(names, ["age × dose"]);
        assert!(pooled.pairs[0].excess > 100.0);
        let (first, rest) = rows.split_at(1500);
        let (second, third) = rest.split_at(4000);
        let federated = profile(&task, &[first, second, third].map(|own| csv(HEADER, own)));
        assert_eq!(federated, pooled);
    }
}

/// The score of a pair follows the cells, and a training row's own target is not in it.
#[test]
fn a_pair_becomes_a_feature() {
    let task = task("entity = \"who\"");
    let profile = profile(&task, &[csv(HEADER, &rows(1, 13_000))]);
    let pipeline = paired(&task, &profile).expect("the pipeline").pipeline;
    pipeline.check().expect("a sound pipeline");
    let columns = pipeline.bin_columns();
    let at = columns
        .iter()
        .position(|it| it.name == "age × dose (target)");
    let at = at.expect("the pair");
    assert!(columns[at].ordered);
    let bin = |age: &str, dose: u8| {
        let text = format!("{HEADER}\nw,{age},ward 1,{dose},town 1,\n");
        let table = Table::read("t.csv", text.as_bytes(), &TableMapping::default());
        let design = pipeline.design(&table.expect("a table")).expect("a design");
        design.row(0).bins()[at]
    };
    let helped = bin("25", 3).min(bin("75", 38));
    let harmed = bin("25", 38).max(bin("75", 3));
    assert!(harmed > 0 && harmed < helped, "{harmed} {helped}");
    // Whose age is missing has a cell of its own.
    assert!(harmed <= bin("", 3) && bin("", 3) <= helped);
    assert_eq!(
        pipeline.bin_name(at, 2),
        format!("age × dose (target) is 2 of {}", columns[at].bins - 1)
    );
    let json = serde_json::to_string(&pipeline).expect("JSON");
    assert_eq!(
        serde_json::from_str::<crate::features::Pipeline>(&json).expect("a pipeline"),
        pipeline
    );
}

#[test]
fn pairs_are_asked_for_where_somebody_uses_them() {
    let many = csv(HEADER, &rows(2, 13_000));
    for extra in [
        "preset = \"fast\"",
        "[constraints]\ninterpretable_only = true",
        "[constraints]\nallowed_models = [\"logistic\", \"net\"]",
        "[constraints]\nmonotone = { dose = \"increasing\" }",
    ] {
        let task = task(&format!("entity = \"who\"\n{extra}"));
        let profile = profile(&task, std::slice::from_ref(&many));
        assert_eq!(profile.pairs, [], "{extra}");
        assert_eq!(paired(&task, &profile), None, "{extra}");
    }
    let task = task("entity = \"who\"");
    let few = profile(&task, &[csv(HEADER, &rows(2, 9_000))]);
    assert_eq!(few.pairs, []);
}

#[test]
fn pairs_out_of_bounds_are_refused() {
    let task = task("");
    let column = |name: &str, cuts: usize| TableColumn {
        name: name.to_owned(),
        bins: BinAsk::Cuts {
            source: Source::Numbers,
            cuts: (0..cuts).map(|cut| cut as f64).collect(),
        },
    };
    let ask = |columns: &[TableColumn], pairs: &[[u8; 2]]| PairsAsk {
        key: SlotKey::of(&task),
        plan: crate::split::SplitPlan::Folds,
        target: TargetAsk::Classes {
            labels: vec!["0".to_owned(), "1".to_owned()],
        },
        columns: columns.to_vec(),
        pairs: pairs.to_vec(),
    };
    let two = [column("a", 3), column("b", 4)];
    let good = ask(&two, &[[0, 1]]);
    good.check().expect("within bounds");
    let names: Vec<String> = (0..=MAX_PAIRED).map(|at| format!("c{at:02}")).collect();
    let many: Vec<TableColumn> = names.iter().map(|name| column(name, 2)).collect();
    for (bad, says) in [
        (ask(&two, &[[1, 0]]), "out of order"),
        (ask(&two, &[[0, 0]]), "out of order"),
        (ask(&two, &[[0, 2]]), "out of order"),
        (ask(&two, &[[0, 1], [0, 1]]), "out of order"),
        (
            ask(&[column("a", 40), column("b", 2)], &[[0, 1]]),
            "more than",
        ),
        (ask(&[column("b", 2), column("a", 2)], &[[0, 1]]), "order"),
        (ask(&many, &[[0, 1]]), "more than"),
    ] {
        let reason = bad.check().expect_err(says);
        assert!(reason.contains(says), "{reason}");
    }
    // The training rows among these, each once.
    let table = "a,b,y\n1,1,0\n1,1,1\n1,2,0\n2,2,1\n";
    let data: SiteData = site(&task, table);
    let part = ProfilePart::Pairs(good);
    let all: u64 = added(&part, &[data]).segments.iter().flatten().sum();
    assert!(all > 0 && all <= 4);
}
