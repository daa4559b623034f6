//! Which candidates a later round starts with.

use super::*;
use crate::features::{Pipeline, PipelineSpec};
use crate::search::Candidate;
use crate::search::memory::Notes;

fn task() -> Task {
    Task::from_toml("name = \"t\"\ntarget = \"y\"").expect("a task")
}

fn pipelines() -> Vec<NamedPipeline> {
    let named = |name: &str| NamedPipeline {
        name: name.to_owned(),
        spec: PipelineSpec::default(),
        pipeline: Pipeline::blank(),
    };
    vec![named("standard"), named("bins")]
}

fn offered(family: &str, n: usize) -> Offered {
    Offered {
        family: family::find(family).expect("a family"),
        proposal: Proposal {
            pipeline: 0,
            name: format!("try {n}"),
            hyperparameters: serde_json::json!({ "n": n }),
        },
        remembered: false,
        tried: None,
    }
}

/// Sixteen networks, eight linear models, four tables.
fn portfolio() -> Vec<Offered> {
    let of = |family: &'static str, count| (0..count).map(move |n| offered(family, n));
    let all = of("logistic", 8).chain(of("gbdt", 4)).chain(of("net", 16));
    all.collect()
}

/// Remembers these losses, each under its own name, as of one round.
fn memory(losses: &[(&Offered, f64)]) -> Notes {
    let mut notes = Notes::new(&task(), 1, Vec::new(), Vec::new());
    let all = pipelines();
    let measured = losses.iter().map(|(offered, loss)| {
        let candidate = Candidate {
            id: crate::object::ObjectId::of(b"any"),
            name: offered.name(&all),
            features: "standard".to_owned(),
            family: offered.family.name().to_owned(),
            hyperparameters: offered.proposal.hyperparameters.clone(),
        };
        (candidate, *loss)
    });
    notes.remember(measured, &[]);
    notes
}

fn names(offers: &[Offered]) -> Vec<String> {
    offers.iter().map(|o| o.name(&pipelines())).collect()
}

#[test]
fn the_best_eight_go_on_with_every_family_and_a_quarter_of_fresh_ones() {
    let all = portfolio();
    // Networks were the best by far, the linear models' third the best of its kind, and trees were
    // not tried.
    let mut losses: Vec<(&Offered, f64)> = Vec::new();
    for (at, offered) in all.iter().enumerate() {
        match offered.family.name() {
            "net" => losses.push((offered, 0.3 + at as f64 / 1000.0)),
            "logistic" => losses.push((offered, if at == 2 { 0.5 } else { 0.6 })),
            _ => {}
        }
    }
    let memory = memory(&losses);
    let chosen = names(&choose(&task(), all.clone(), &pipelines(), &memory));
    for n in 0..8 {
        let best = format!("net try {n} on standard");
        assert!(chosen.contains(&best), "{best} in {chosen:?}");
    }
    assert!(
        chosen.contains(&"logistic try 2 on standard".to_owned()),
        "{chosen:?}"
    );
    // All four trees: one for its family, the others as those that were never tried.
    assert_eq!(
        chosen
            .iter()
            .filter(|name| name.starts_with("gbdt"))
            .count(),
        4
    );
    assert_eq!(chosen.len(), 8 + 2 + all.len().div_ceil(4));
    let unique: BTreeSet<&String> = chosen.iter().collect();
    assert_eq!(unique.len(), chosen.len());
    assert_eq!(chosen, names(&choose(&task(), all, &pipelines(), &memory)));
}

#[test]
fn what_the_portfolio_offers_no_more_comes_back_from_the_memory() {
    let all = portfolio();
    let gone = offered("net", 99);
    let mut other_numbers = offered("logistic", 3);
    other_numbers.proposal.hyperparameters = serde_json::json!({ "n": "of fewer rows" });
    let memory = memory(&[(&gone, 0.1), (&other_numbers, 0.2)]);
    let chosen = choose(&task(), all, &pipelines(), &memory);
    let again = chosen.last().expect("candidates");
    assert_eq!(again.name(&pipelines()), "net try 99 on standard");
    assert!(again.remembered);
    // The same words with other numbers are what the portfolio says now.
    let third = chosen
        .iter()
        .find(|o| o.name(&pipelines()) == "logistic try 3 on standard");
    let third = third.expect("it goes on");
    assert_eq!(
        third.proposal.hyperparameters,
        serde_json::json!({ "n": 3 })
    );
}
