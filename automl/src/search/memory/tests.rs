//! What is remembered, and which configurations are worth another try.

use super::*;

fn task(more: &str) -> Task {
    Task::from_toml(&format!("name = \"t\"\ntarget = \"y\"\n{more}")).expect("a task")
}

fn candidate(name: &str) -> Candidate {
    Candidate {
        id: ObjectId::of(name.as_bytes()),
        name: name.to_owned(),
        features: "standard".to_owned(),
        family: "logistic".to_owned(),
        hyperparameters: serde_json::json!({ "name": name }),
    }
}

fn notes(rounds: &[&[(&str, f64)]]) -> Notes {
    let mut older = Vec::new();
    let mut notes = Notes::new(&task(""), 1, Vec::new(), Vec::new());
    for (round, losses) in (1..).zip(rounds) {
        notes = Notes::new(&task(""), round, Vec::new(), Vec::new());
        let measured = losses.iter().map(|(name, loss)| (candidate(name), *loss));
        notes.remember(measured, &older);
        older.clone_from(&notes.history);
    }
    notes
}

fn order(notes: &Notes) -> Vec<&str> {
    let promising = notes.promising();
    promising.iter().map(|m| m.name.as_str()).collect()
}

#[test]
fn losses_count_against_the_best_of_their_round() {
    // The second round's rows are harder for everybody: `b` was the better of the two both times.
    let notes = notes(&[
        &[("a", 0.5), ("b", 0.4)],
        &[("a", 0.9), ("b", 0.8), ("c", 0.85)],
    ]);
    assert_eq!(order(&notes), ["b", "c", "a"]);
}

#[test]
fn older_losses_count_less() {
    let old_star = [("star", 0.30), ("mean", 0.40), ("bad", 0.50)];
    let later = [("mean", 0.40), ("bad", 0.50), ("new", 0.401)];
    let fresh = notes(&[&old_star, &later]);
    assert_eq!(order(&fresh), ["new", "star", "mean", "bad"]);
    let mut rounds: Vec<&[(&str, f64)]> = vec![&old_star];
    rounds.extend([&later[..]; 6]);
    // After six rounds without it, hardly anything is known of it.
    assert_eq!(order(&notes(&rounds)), ["mean", "new", "star", "bad"]);
}

#[test]
fn a_loss_that_is_no_number_is_not_remembered_and_the_oldest_go_first() {
    let names: Vec<String> = (0..MAX_HISTORY).map(|n| format!("c{n:04}")).collect();
    let many: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 1.0)).collect();
    let notes = notes(&[&many, &[("a", f64::NAN), ("b", 0.5)]]);
    assert_eq!(notes.history.len(), MAX_HISTORY);
    assert_eq!(notes.history[0].name, "b");
    assert_eq!(notes.history[1].round, 1);
    assert!(notes.check().is_ok());
}

#[test]
fn budgets_may_differ_between_rounds_and_nothing_else() {
    let notes = notes(&[&[("a", 1.0)]]);
    for more in [
        "max_steps = 9",
        "preset = \"thorough\"",
        "rounds = 7\nevery = \"24h\"",
    ] {
        assert!(notes.same_task(&task(more)), "{more}");
    }
    for more in ["seed = 1", "entity = \"patient\"", "metric = \"auc\""] {
        assert!(!notes.same_task(&task(more)), "{more}");
    }
}

#[test]
fn scores_are_cut_into_ten_bins_of_equally_many_rows() {
    let mut curve = Curve::default();
    for bin in 100..900 {
        curve.positives[bin] = 3;
        curve.negatives[bin] = 2;
    }
    let scores = ScoreCounts::of(&curve);
    assert_eq!(scores.rows, [400; 10]);
    assert_eq!(scores.cuts.first(), Some(&180));
    // A model that gives everybody the same score has one bin.
    let mut one = Curve::default();
    one.positives[512] = 9;
    assert_eq!(ScoreCounts::of(&one).rows, [9]);
    assert_eq!(ScoreCounts::of(&Curve::default()).rows, [0]);
}
