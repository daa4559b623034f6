//! Networks in whole rounds: where they should win, and that they repeat themselves.

use std::fmt::Write as _;

use collegium_automl::family::net::NetModel;
use collegium_automl::object::Object;
use collegium_automl::random::Stream;
use collegium_automl::search::{Outcome, Silent};
use collegium_automl::simulate;
use collegium_automl::table::{Table, TableMapping};
use collegium_automl::task::Task;

/// Rows over three sites whose target depends on the product of two numbers, a category that
/// turns it around, and a bump in a third number.
fn sites(rows: usize, target: fn(f64) -> String) -> Vec<(String, Table)> {
    let mut random = Stream::new("collegium/test/net/v1", &[b"round"]);
    let site = |name: &str, rows: usize, random: &mut Stream| {
        let mut csv = String::from("a,b,c,kind,y\n");
        for _ in 0..rows {
            let (a, b, c) = (random.normal(), random.normal(), random.normal());
            let kind = ["red", "green", "blue", "grey"][random.below(4)];
            let turned = if kind == "red" { -1.0 } else { 1.0 };
            let bump = if c.abs() < 0.5 { 1.0 } else { 0.0 };
            let score = 1.5 * turned * a * b + bump + 0.2 * random.normal();
            let _ = writeln!(csv, "{a:.4},{b:.4},{c:.4},{kind},{}", target(score));
        }
        let table = Table::read(name, csv.as_bytes(), &TableMapping::default());
        (name.to_owned(), table.expect("a table"))
    };
    let shares = [("one", rows / 2), ("two", rows / 3), ("three", rows / 6)];
    shares
        .map(|(name, rows)| site(name, rows, &mut random))
        .into()
}

fn task(family: &str, more: &str) -> Task {
    let text = format!(
        "name = \"product\"\ntarget = \"y\"\nseed = 3\npreset = \"fast\"\n{more}\n\
         [constraints]\nallowed_models = [\"{family}\"]"
    );
    Task::from_toml(&text).expect("a valid task")
}

fn round(family: &str, more: &str, target: fn(f64) -> String) -> Outcome {
    simulate::run(&task(family, more), sites(1500, target), &mut Silent).expect("a champion")
}

fn two_classes(score: f64) -> String {
    if score > 0.3 { "yes" } else { "no" }.to_owned()
}

fn three_classes(score: f64) -> String {
    let class = if score < -0.3 {
        "low"
    } else if score < 0.8 {
        "middle"
    } else {
        "high"
    };
    class.to_owned()
}

fn number(score: f64) -> String {
    format!("{:.4}", 100.0 + 20.0 * score)
}

#[test]
fn a_network_beats_a_linear_model_on_products() {
    let loss = |family: &str| {
        let outcome = round(family, "", two_classes);
        outcome.test.log_loss.expect("two classes")
    };
    let (net, linear) = (loss("net"), loss("logistic"));
    assert!(net < 0.85 * linear, "{net} {linear}");
}

#[test]
fn a_network_beats_a_linear_model_on_three_classes() {
    let loss = |family: &str| {
        let classes = "classes = [\"low\", \"middle\", \"high\"]";
        let outcome = round(family, classes, three_classes);
        outcome.test.log_loss.expect("three classes")
    };
    let (net, linear) = (loss("net"), loss("logistic"));
    assert!(net < 0.9 * linear, "{net} {linear}");
}

#[test]
fn a_network_beats_a_linear_model_on_numbers() {
    let r2 = |family: &str| {
        let outcome = round(family, "", number);
        outcome.test.r2.expect("a number")
    };
    let (net, linear) = (r2("net"), r2("logistic"));
    assert!(net > linear + 0.3, "{net} {linear}");
}

#[test]
fn the_same_seed_gives_the_same_network() {
    let bytes = |seed: u64| {
        let task = Task {
            max_steps: Some(12),
            seed,
            ..task("net", "")
        };
        let outcome = simulate::run(&task, sites(600, two_classes), &mut Silent);
        let champion = outcome.expect("a champion").champion;
        let Object::Family(object) = &champion.model else {
            panic!("a family's model");
        };
        assert!(object.downcast::<NetModel>().is_some());
        champion.to_bytes().expect("bytes")
    };
    let first = bytes(3);
    assert_eq!(first, bytes(3));
    assert_ne!(first, bytes(4));
}
