//! What a round tells of its candidates, and what was to be expected of it.

use std::collections::BTreeMap;

use collegium_automl::ask::Stage;
use collegium_automl::search::{Ended, Guess, Outcome, Progress, Standing, State, estimate};
use collegium_automl::simulate;
use collegium_automl::task::Task;

use crate::hospitals;

/// Steps and numbers.
type ByStage = BTreeMap<Stage, (u32, u64)>;

/// A round over the four hospitals, with the steps and numbers of each stage and the leaderboards told.
fn told(task: &Task) -> (Outcome, ByStage, Vec<Vec<Standing>>) {
    let mut by_stage = ByStage::new();
    let mut boards = Vec::new();
    let mut steps = Vec::new();
    let mut observer = |progress: &Progress| match progress {
        Progress::Step {
            stage,
            numbers,
            step,
            about,
            ..
        } => {
            let (count, sum) = by_stage.entry(*stage).or_default();
            (*count, *sum) = (*count + 1, *sum + numbers);
            steps.push((*step, *about));
        }
        Progress::Leaderboard { standings } => boards.push(standings.clone()),
        Progress::Stage { .. } => {}
    };
    let outcome = simulate::run(task, hospitals::hospitals(), &mut observer).expect("a champion");
    assert!(steps.iter().all(|(step, about)| step <= about), "{steps:?}");
    assert_eq!(
        steps.first().map(|it| it.1 > 10),
        Some(true),
        "known from the start"
    );
    let (last, about) = steps.last().expect("steps");
    assert!(
        about - last <= 3,
        "{last} of {about}: nearly right at the end"
    );
    (outcome, by_stage, boards)
}

#[test]
fn every_candidate_s_path_cost_and_end_are_told() {
    let task = hospitals::task_with(
        "preset = \"fast\"\n[constraints]\nallowed_models = [\"logistic\", \"scorecard\"]\nsingle_model = true",
    );
    let (outcome, by_stage, boards) = told(&task);
    let mut families: BTreeMap<&str, u32> = BTreeMap::new();
    for standing in &outcome.leaderboard {
        *families.entry(&standing.family).or_default() += 1;
    }
    assert_eq!(families.len(), 2, "{families:?}");
    let mut numbers = 0;
    for standing in &outcome.leaderboard {
        let history = standing.history.as_ref().expect("a history");
        numbers += history.cost.numbers;
        let first = &history.path[0];
        let all = families[standing.family.as_str()];
        assert_eq!((first.rung, first.of), (1, all), "{standing:?}");
        assert!(first.steps > 0 && first.loss.is_some() && first.se.is_some());
        let rungs: Vec<u32> = history.path.iter().map(|it| it.rung).collect();
        let ascending: Vec<u32> = (1..=rungs.len() as u32).collect();
        assert_eq!(rungs, ascending, "{}", standing.name);
        let last = history.path.last().expect("a rung");
        match (standing.state, history.ended.as_ref().expect("a reason")) {
            (
                State::Dropped,
                Ended::Outranked {
                    rung,
                    rank,
                    of,
                    kept,
                    ..
                },
            ) => {
                assert_eq!((*rung, *rank, *of), (last.rung, last.rank, last.of));
                assert!(rank > kept && *kept == of.div_ceil(3), "{standing:?}");
                assert_eq!(history.metric, None);
            }
            (state, Ended::Trained { .. }) if state != State::Dropped => {
                assert_eq!(last.rung, 3);
                assert_eq!(last.loss, standing.loss);
                assert!(history.metric.is_some());
            }
            other => panic!("{}: {other:?}", standing.name),
        }
    }
    // Nothing was asked in the race but for a candidate.
    assert_eq!(numbers, by_stage[&Stage::Race].1);
    assert_eq!(outcome.leaderboard[0].state, State::Champion);
    let told = boards.iter().flatten();
    assert!(told.clone().count() > 0 && told.clone().all(|it| it.history.is_none()));
}

#[test]
fn a_budget_that_ends_says_so_of_who_still_trained() {
    let task = hospitals::task_with("max_steps = 12\n[constraints]\nallowed_models = [\"net\"]");
    let (outcome, by_stage, _) = told(&task);
    for standing in &outcome.leaderboard {
        let history = standing.history.as_ref().expect("a history");
        assert!(
            matches!(history.ended, Some(Ended::Closed { .. })),
            "{history:?}"
        );
        assert_eq!(history.path.len(), 1, "the race closed in its first rung");
        let (race, _) = by_stage[&Stage::Race];
        assert_eq!(history.cost.steps, race, "all train in every step");
    }
}

/// Steps within a fifth or five, numbers within a factor of two: what `task check` says of itself.
#[test]
fn an_estimate_is_near_what_a_round_takes() {
    let one = hospitals::hospital("cleveland");
    for (more, why) in [
        (
            "preset = \"fast\"\n[constraints]\nallowed_models = [\"logistic\", \"net\"]",
            "nets",
        ),
        ("[constraints]\nallowed_models = [\"gbdt\"]", "trees"),
        ("[constraints]\ninterpretable_only = true", "people"),
        ("max_steps = 15", "a limit"),
    ] {
        let task = hospitals::task_with(more);
        let guess = Guess {
            rows: 920,
            sites: 4,
        };
        let mut tried = Vec::new();
        let expected = estimate(&task, &one, guess, &mut |family| {
            tried.push(family.to_owned())
        })
        .expect("an estimate");
        assert_eq!(tried.pop().as_deref(), Some(""), "told when it is over");
        let names: Vec<&str> = expected.families.iter().map(|it| it.name).collect();
        assert_eq!(tried, names);
        let (outcome, ..) = told(&task);
        let off = expected.steps.len().abs_diff(outcome.steps as usize);
        let numbers: u64 = expected.steps.iter().map(|it| it.numbers()).sum();
        let ratio = numbers as f64 / outcome.numbers as f64;
        println!(
            "{why}: {} steps of {} expected, {} numbers of {numbers}",
            outcome.steps,
            expected.steps.len(),
            outcome.numbers
        );
        let most = (f64::from(outcome.steps) / 5.0).max(5.0);
        assert!(off as f64 <= most, "{why}: {off} steps off");
        assert!(
            (0.5..=2.0).contains(&ratio),
            "{why}: {ratio} times the numbers"
        );
    }
}
