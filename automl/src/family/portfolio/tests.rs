//! The data that is checked in, and what it comes to for tables.

use std::fmt::Write as _;

use super::*;
use crate::family::{Head, families};
use crate::features::{self, NamedPipeline};
use crate::profile::{self, Profile};
use crate::random::Stream;
use crate::search::{Conductor, Silent};
use crate::simulate;
use crate::table::{Table, TableMapping};
use crate::task::Task;

/// A table of two numbers whose ratio counts and a code, with targets of so many values; 0 for a
/// number.
fn offered(preset: &str, labels: usize) -> (Task, Profile, Vec<NamedPipeline>) {
    let mut stream = Stream::new("collegium/test/v1", &[b"portfolio"]);
    let mut text = "a,b,code,y\n".to_owned();
    for _ in 0..600 {
        let (a, b) = (100.0 + 900.0 * stream.unit(), 100.0 + 900.0 * stream.unit());
        let code = ["x", "y", "z"][stream.below(3)];
        let score = 2.0 * libm::log(b / a) + stream.normal();
        let target = match labels {
            0 => format!("{score:.3}"),
            _ => ((score.abs() * 2.0) as usize % labels).to_string(),
        };
        writeln!(text, "{a:.1},{b:.1},{code},{target}").expect("a line");
    }
    let task = format!("name = \"t\"\ntarget = \"y\"\nseed = 7\npreset = \"{preset}\"\n");
    let task = Task::from_toml(&task).expect("a task");
    let table = Table::read("t.csv", text.as_bytes(), &TableMapping::default()).expect("a table");
    let sites = vec![("one".to_owned(), table)];
    let mut federation = simulate::federation(&task, sites).expect("a federation");
    let mut observer = Silent;
    let mut conductor = Conductor::new(&task, &mut federation, &mut observer);
    let profile = profile::run(&task, &mut conductor).expect("a profile");
    let pipelines = features::pipelines(&task, &profile);
    (task, profile, pipelines)
}

/// Candidates and further proposals of all families together.
fn all(preset: &str, labels: usize) -> (Vec<Proposal>, Vec<Proposal>) {
    let (task, profile, pipelines) = offered(preset, labels);
    let offer = Offer {
        task: &task,
        profile: &profile,
        pipelines: &pipelines,
        head: Head::of(&profile.target),
    };
    let (mut candidates, mut further) = (Vec::new(), Vec::new());
    for family in families() {
        let own = family.candidates(&offer);
        let more = family.further(&offer);
        let mut seen: Vec<(usize, String)> = Vec::new();
        for proposal in own.iter().chain(&more) {
            let described = (proposal.pipeline, proposal.hyperparameters.to_string());
            assert!(!seen.contains(&described), "twice: {described:?}");
            seen.push(described);
        }
        for proposal in &more {
            let named = &pipelines[proposal.pipeline];
            let setting = crate::family::Setting {
                id: crate::object::ObjectId::of(b"candidate"),
                pipeline: crate::object::ObjectId::of(b"pipeline"),
                head: offer.head,
                folds: named.pipeline.folds(),
                width: named.pipeline.width(),
                features: std::sync::Arc::new(named.pipeline.clone()),
                rows: profile.train_rows,
                members: 4,
            };
            let trainer = family.trainer(&proposal.hyperparameters, &setting);
            assert!(trainer.is_ok(), "{proposal:?} {:?}", trainer.err());
        }
        candidates.extend(own);
        further.extend(more);
    }
    (candidates, further)
}

#[test]
fn what_is_checked_in_is_a_portfolio() {
    let read = Portfolio::read(CHECKED_IN).expect("a portfolio");
    assert_eq!(&read, Portfolio::checked_in());
    let count = read.gbdt.len()
        + read.net.len()
        + read.ga2m.len()
        + read.logistic.len()
        + read.scorecard.len();
    assert!(count >= 96, "{count}");
}

#[test]
fn a_table_of_two_classes_is_offered_96_configurations_or_more() {
    for preset in ["balanced", "thorough"] {
        let (candidates, further) = all(preset, 2);
        let count = candidates.len() + further.len();
        assert!(count >= 96 && further.len() >= 60, "{count}");
    }
}

#[test]
fn more_classes_and_numbers_have_further_configurations_too() {
    for labels in [0, 3] {
        let (_, further) = all("balanced", labels);
        assert!(further.len() >= 60, "{}", further.len());
    }
}

#[test]
fn a_fast_search_has_none() {
    let (candidates, further) = all("fast", 2);
    assert!(!candidates.is_empty());
    assert_eq!(further, Vec::new());
}

#[test]
fn an_unsound_portfolio_is_refused() {
    let with = |logistic: &str| {
        let text = format!(
            "{{\"gbdt\":[],\"net\":[],\"ga2m\":[],\"logistic\":[{logistic}],\"scorecard\":[]}}"
        );
        Portfolio::read(&text).map_err(|error| error.to_string())
    };
    let good = r#"{"features":"bent","ridge":3}"#;
    assert_eq!(with(good).expect("a portfolio").logistic.len(), 1);
    let twice = with(&format!("{good},{good}")).expect_err("twice");
    assert_eq!(twice, "configuration 1 of logistic: it is there twice");
    for (text, named) in [
        (r#"{"features":"bent","ridge":-3}"#, "`ridge` is -3"),
        (r#"{"features":"bent","ridge":3,"C":1}"#, "unknown field"),
        (r#"{"features":"bins","ridge":3}"#, "unknown variant"),
    ] {
        let error = with(text).expect_err(text);
        assert!(error.contains(named), "{error}");
    }
    let many: Vec<String> = (0..=MAX_CONFIGURATIONS)
        .map(|n| format!("{{\"features\":\"bent\",\"ridge\":{}}}", n + 1))
        .collect();
    assert!(matches!(
        Portfolio::read(&" ".repeat(MAX_BYTES + 1)),
        Err(PortfolioError::Long(_))
    ));
    assert!(with(&many.join(",")).expect_err("many").contains("257"));
}

/// Numbers out of bounds of every other family.
#[test]
fn bounds_are_named() {
    let gbdt = &Portfolio::checked_in().gbdt[0];
    let changed = GbdtConfiguration {
        depth: 9,
        ..gbdt.clone()
    };
    assert!(changed.check().expect_err("deep").contains("depth"));
    let changed = GbdtConfiguration {
        rate: f64::NAN,
        ..gbdt.clone()
    };
    assert!(changed.check().expect_err("no number").contains("rate"));
    let net = &Portfolio::checked_in().net[0];
    for hidden in [vec![], vec![16; 5], vec![1000]] {
        let changed = NetConfiguration {
            hidden,
            ..net.clone()
        };
        assert!(changed.check().expect_err("layers").contains("hidden"));
    }
    let changed = Ga2mConfiguration {
        side: 17,
        ..Portfolio::checked_in().ga2m[0].clone()
    };
    assert!(changed.check().expect_err("wide").contains("side"));
    let changed = ScorecardConfiguration {
        least_share: 0.5,
        ..Portfolio::checked_in().scorecard[0].clone()
    };
    assert!(changed.check().expect_err("few").contains("least_share"));
}
