//! The library examples, run as their readers would.

#[path = "../examples/custom_family.rs"]
mod custom_family;

#[test]
fn a_family_and_a_metric_of_ones_own_take_part_in_the_search() {
    let outcome = custom_family::run().expect("a champion");
    let own = outcome
        .leaderboard
        .iter()
        .filter(|standing| standing.name.starts_with("naive_bayes"));
    let losses: Vec<f64> = own.filter_map(|standing| standing.loss).collect();
    assert!(losses.len() >= 2, "{:?}", outcome.leaderboard);
    // Not only there, but trained: far better than ln 2, a coin's loss.
    assert!(losses.iter().any(|loss| *loss < 0.6), "{losses:?}");
    let cost = outcome.test.other.get("cost").copied().expect("the metric");
    // Treating everybody costs 1 for each of the healthy, treating nobody 5 for each of the ill.
    assert!(cost > 0.0 && cost < 0.45, "{cost}");
    let again = custom_family::run().expect_err("names are taken once");
    assert!(again.to_string().contains("registered already"), "{again}");
}
