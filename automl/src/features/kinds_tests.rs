//! Features of many values, orders, words and derived columns.

use super::tests::{profile, table, task};
use super::*;
use crate::data::{SiteData, Slot};
use crate::random::Stream;

/// 3 000 training rows. The target follows from the shop (200 of them), the ratio b/a and a
/// word; `grade` has an order.
fn sample() -> String {
    let mut random = Stream::new("features-kinds", &[b"1"]);
    let mut text = "who,a,b,shop,grade,seen,note,fold,y\n".to_owned();
    for n in 0..3200 {
        let (a, b) = (100.0 + 900.0 * random.unit(), 100.0 + 900.0 * random.unit());
        let shop = random.below(200);
        let word = ["early", "late", "never"][random.below(3)];
        let score = 2.0 * libm::log(b / a)
            + if shop.is_multiple_of(3) { 1.5 } else { -0.5 }
            + if word == "late" { 1.0 } else { 0.0 };
        let y = u8::from(score + random.normal() > 0.0);
        let grade = ["poor", "fair", "good"][random.below(3)];
        let fold = if n < 3000 { "train" } else { "test" };
        text += &format!(
            "c{n},{a:.1},{b:.1},shop{shop},{grade},2020-{:02}-11,customer {n} has paid {word} this year,{fold},{y}\n",
            1 + random.below(12)
        );
    }
    text
}

fn rich() -> crate::task::Task {
    task(
        "entity = \"who\"\n[columns]\ngrade = { type = \"ordinal\", values = [\"poor\", \"fair\", \"good\"] }",
    )
}

fn named(name: &str) -> (Pipeline, String) {
    let text = sample();
    let all = pipelines(&rich(), &profile(&rich(), &text));
    let found = all.into_iter().find(|known| known.name == name);
    (found.expect("the pipeline").pipeline, text)
}

#[test]
fn every_kind_has_its_features() {
    let (pipeline, text) = named("derived");
    let names = pipeline.features();
    for wanted in ["shop (target)", "grade", "a / b", "month of seen = 3"] {
        let found = names.iter().any(|name| name.starts_with(wanted));
        // The month tells nothing and is left out.
        assert_eq!(found, !wanted.starts_with("month"), "{wanted} {names:?}");
    }
    assert!(names.iter().any(|name| name.starts_with("note has word")));
    let design = pipeline.design(&table(&text)).expect("a design");
    let at = |name: &str| names.iter().position(|n| n == name).expect("the feature");
    let column = |name: &str| -> Vec<f64> {
        let at = at(name);
        (0..design.rows)
            .map(|row| design.row(row).numbers()[at])
            .collect()
    };
    let grades = column("grade");
    let cells = table(&text);
    let written = cells.column("grade").expect("grades");
    for (row, value) in grades.iter().enumerate() {
        let place = ["poor", "fair", "good"]
            .iter()
            .position(|grade| written.text(row) == Some(grade))
            .expect("a grade");
        assert_eq!(value > &0.5, place == 2);
        assert_eq!(value < &-0.5, place == 0);
    }
    for name in ["grade", "shop (target)"] {
        let values = column(name);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        assert!(mean.abs() < 0.1, "{name}: {mean}");
    }
}

#[test]
fn bins_of_every_kind_say_what_they_hold() {
    let (pipeline, text) = named("derived bins");
    assert!(pipeline.binned() && pipeline.check().is_ok());
    let columns = pipeline.bin_columns();
    assert_eq!(columns.len(), pipeline.width());
    let design = pipeline.design(&table(&text)).expect("a design");
    for row in 0..design.rows {
        for (bin, column) in design.row(row).bins().iter().zip(&columns) {
            assert!(usize::from(*bin) < column.bins, "{column:?}");
        }
    }
    let at = |name: &str| {
        columns
            .iter()
            .position(|c| c.name == name)
            .expect("the column")
    };
    assert_eq!(pipeline.bin_name(at("grade"), 2), "grade = fair");
    assert!(columns[at("grade")].ordered && columns[at("a / b")].ordered);
    let word = columns.iter().position(|c| c.name.contains("has word"));
    let word = word.expect("a word");
    assert!(pipeline.bin_name(word, 2).starts_with("note has word"));
    assert_eq!(pipeline.bin_name(word, 0), "note missing");
}

/// The number of each shop, for new rows or those of a group.
fn shops(pipeline: &Pipeline, group: Option<usize>) -> Vec<f64> {
    let found = pipeline
        .inputs
        .iter()
        .find_map(|input| match &input.encoding {
            Encoding::Scores {
                label,
                groups,
                values,
                ..
            } if label == "shop (target)" => Some((groups, values)),
            _ => None,
        });
    let (groups, values) = found.expect("the shops");
    let places = &groups[group.map_or(0, |group| group + 1)];
    places
        .iter()
        .map(|&place| values[usize::from(place) - 1])
        .collect()
}

fn correlation(a: &[f64], b: &[f64]) -> f64 {
    let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
    let (ma, mb) = (mean(a), mean(b));
    let with = |x: &[f64], mx: f64, y: &[f64], my: f64| -> f64 {
        x.iter().zip(y).map(|(x, y)| (x - mx) * (y - my)).sum()
    };
    with(a, ma, b, mb) / libm::sqrt(with(a, ma, a, ma) * with(b, mb, b, mb))
}

/// A row's own target must not be in its features: turning the targets of one fold's rows
/// round changes the encodings of every other fold's rows, and none of its own.
#[test]
fn no_row_is_encoded_by_its_own_fold() {
    let text = sample();
    let data = SiteData::new(&rich(), table(&text)).expect("data");
    let pipeline = &named("standard").0;
    let design = data.training(pipeline).expect("a design");
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    // The first 3 000 rows are the training rows, in the order of the design; whose fold a row
    // is in follows from `who`.
    for (row, slot) in design.slots.iter().enumerate() {
        if *slot == Slot::Fold(0) {
            let line = &mut lines[row + 1];
            let turned = if line.ends_with('0') { '1' } else { '0' };
            line.pop();
            line.push(turned);
        }
    }
    let turned = profile(&rich(), &lines.join("\n"));
    let other = Pipeline::fit(&turned, &PipelineSpec::default());
    let alike =
        |group: usize| correlation(&shops(pipeline, Some(group)), &shops(&other, Some(group)));
    // The same but for where the list of numbers is cut.
    assert!(alike(0) > 0.97, "{}", alike(0));
    for group in 1..5 {
        assert!(alike(group) < 0.93, "group {group}: {}", alike(group));
    }
}

#[test]
fn prediction_takes_what_the_task_says_is_missing() {
    let task = task(
        "[constraints]\nmissing_columns = \"missing\"\n[columns]\nage = { type = \"number\", missing = [-9, \"none\"] }",
    );
    let mut text = "age,sex,fold,y\n".to_owned();
    for n in 0..200 {
        let age = if n % 9 == 0 { -9 } else { 20 + n % 50 };
        text += &format!("{age},{},train,{}\n", n % 2, (n / 3) % 2);
    }
    let pipeline = Pipeline::fit(&profile(&task, &text), &PipelineSpec::default());
    let names = pipeline.features();
    let flag = names
        .iter()
        .position(|name| name == "age missing")
        .expect("a flag");
    let design = pipeline
        .design(&table("age,sex\n-9,1\nnone,1\n30,1\n"))
        .expect("a design");
    let flags: Vec<f64> = (0..3).map(|row| design.row(row).numbers()[flag]).collect();
    assert_eq!(flags, [1.0, 1.0, 0.0]);
    let design = pipeline
        .design(&table("sex\n1\n"))
        .expect("no age, so it is missing");
    assert_eq!(design.row(0).numbers()[flag], 1.0);
}

#[test]
fn encodings_stand_for_levels_and_frequent_values_have_flags() {
    let (pipeline, text) = named("encoded bins");
    assert!(pipeline.binned() && pipeline.check().is_ok());
    let columns = pipeline.bin_columns();
    let has = |name: &str| columns.iter().any(|column| column.name == name);
    assert!(has("shop (target)") && !has("shop"), "{columns:?}");
    let is_flag = |at: usize| columns[at].name.starts_with("shop = ");
    let flags: Vec<usize> = (0..columns.len()).filter(|&at| is_flag(at)).collect();
    assert_eq!(flags.len(), 12);
    let shop = columns[flags[0]].name.trim_start_matches("shop = ");
    assert_eq!(pipeline.bin_name(flags[0], 2), format!("shop = {shop}"));
    assert_eq!(
        pipeline.bin_name(flags[0], 1),
        format!("shop is not {shop}")
    );
    assert_eq!(pipeline.bin_name(flags[0], 0), "shop missing");
    let design = pipeline.design(&table(&text)).expect("a design");
    let mut raised = vec![0; flags.len()];
    for row in 0..design.rows {
        let bins = design.row(row).bins();
        let up: Vec<usize> = (0..flags.len())
            .filter(|&at| bins[flags[at]] == 2)
            .collect();
        assert!(up.len() <= 1 && flags.iter().all(|&at| bins[at] > 0));
        up.iter().for_each(|&at| raised[at] += 1);
    }
    assert!(raised.iter().all(|&rows| rows >= 3000 / 400), "{raised:?}");
    let header = text.lines().next().expect("a header");
    let missing = format!("{header}\nc,1,2,,fair,2020-01-11,nothing,test,1\n");
    let design = pipeline.design(&table(&missing)).expect("a design");
    assert!(flags.iter().all(|&at| design.row(0).bins()[at] == 0));
}

#[test]
fn the_numbers_of_codes_are_columns_of_their_own() {
    let mut random = Stream::new("features-codes", &[b"1"]);
    let mut text = "who,code,town,fold,y\n".to_owned();
    for n in 0..2400 {
        let code = random.below(900);
        let letter = if random.below(10) == 0 { "V" } else { "" };
        let sick = letter.is_empty() && (390..460).contains(&code);
        let y = u8::from(random.unit() < if sick { 0.8 } else { 0.2 });
        let fold = if n < 2000 { "train" } else { "test" };
        text += &format!("c{n},{letter}{code},town{},{fold},{y}\n", random.below(100));
    }
    let task = task("entity = \"who\"\n[columns]\ncode = \"category\"");
    let profile = profile(&task, &text);
    let names: Vec<&str> = profile.derived.iter().map(|it| it.name.as_str()).collect();
    assert_eq!(names, ["number of code"]);
    let all = pipelines(&task, &profile);
    let binned = all.iter().find(|known| known.name == "derived bins");
    let pipeline = &binned.expect("the pipeline").pipeline;
    let at = pipeline
        .features()
        .iter()
        .position(|name| name == "number of code");
    let at = at.expect("the feature");
    let bins = |code: &str| {
        let rows = table(&format!("who,code,town,fold,y\nc,{code},town1,test,1\n"));
        pipeline.design(&rows).expect("a design").row(0).bins()[at]
    };
    assert!(0 < bins("12") && bins("12") < bins("400.5") && bins("400.5") < bins("880"));
    assert!(bins("880") < bins("V12"));
    assert_eq!(bins("none"), 0);
}
