//! Who gets the places of a race.

use super::*;

fn stream(seed: u64) -> Stream {
    Stream::new("collegium/test/local search/v1", &[&seed.to_le_bytes()])
}

#[test]
fn the_race_does_not_grow() {
    for places in 0..200_usize {
        let front = places.div_ceil(FRONT_ONE_IN);
        let (best, lots) = shares(places, front);
        assert_eq!(front + best + lots, places, "{places}");
        assert!(3 * front >= places && 3 * front <= places + 2);
        // A tenth of all, as near as whole places come.
        let tenth = lots.abs_diff(places.div_ceil(10).max(places / 10));
        assert!(tenth <= 1, "{lots} of {places}");
    }
    assert_eq!(shares(6, 2), (3, 1));
    assert_eq!(shares(3, 1), (2, 0));
    assert_eq!(shares(20, 7), (11, 2));
    assert_eq!(shares(1, 1), (0, 0));
}

#[test]
fn the_best_go_and_the_lot_takes_from_all_others() {
    let losses: Vec<f64> = (0..30).map(|at| f64::from((at * 7) % 30)).collect();
    let order = ranked(&losses);
    assert_eq!(order[..3], [0, 13, 26], "losses 0, 1 and 2");
    let mut drawn = BTreeSet::new();
    for seed in 0..200 {
        let picked = picks(&order, 3, 2, &mut stream(seed));
        assert_eq!(picked.len(), 5);
        assert!(order[..3].iter().all(|at| picked.contains(at)));
        assert_eq!(picked, picks(&order, 3, 2, &mut stream(seed)));
        drawn.extend(picked);
    }
    assert_eq!(drawn.len(), 30, "everybody has a chance");
}

#[test]
fn the_lot_does_not_depend_on_the_losses_of_those_it_draws_from() {
    let a = picks(&[0, 1, 2, 3, 4, 5], 2, 2, &mut stream(1));
    let b = picks(&[1, 0, 5, 4, 3, 2], 2, 2, &mut stream(1));
    assert_eq!(a, b);
}

#[test]
fn who_could_not_be_trained_anywhere_comes_last_and_ties_keep_their_order() {
    let nobody = LossSums::from(Tried::default()).mean();
    assert_eq!(ranked(&[nobody, 0.5, nobody, 0.4, 0.5]), [3, 1, 4, 0, 2]);
    // Where no site could train anything, the own candidates race as without a local search.
    let picked = picks(&ranked(&[nobody; 6]), 3, 0, &mut stream(1));
    assert_eq!(picked, BTreeSet::from([0, 1, 2]));
    assert!(picks(&[], 3, 2, &mut stream(1)).is_empty());
    assert_eq!(picks(&[0], 3, 2, &mut stream(1)).len(), 1);
}

#[test]
fn samples_are_smaller_where_sites_are_many_or_rows_wide() {
    assert_eq!(sample(1, 20), 2048);
    assert_eq!(sample(4, WIDE), 2048);
    assert_eq!(sample(8, 20), 1024);
    assert_eq!(sample(4, 2 * WIDE), 1024);
    assert_eq!(sample(64, 5000), 256);
}

#[test]
fn a_third_and_the_first_on_each_pipeline_race_anyhow() {
    let offered = |place: usize, pipeline: usize| Offered {
        family: family::families()[0],
        proposal: family::Proposal {
            pipeline,
            name: place.to_string(),
            hyperparameters: serde_json::Value::Null,
        },
        remembered: false,
        tried: None,
    };
    let pipelines = [0, 0, 0, 0, 0, 0, 1, 1, 2];
    let own = pipelines
        .iter()
        .enumerate()
        .map(|(place, pipeline)| offered(place, *pipeline));
    let (front, rest) = in_front(own.collect());
    let places = |side: Vec<Offered>| -> Vec<String> {
        side.into_iter()
            .map(|offered| offered.proposal.name)
            .collect()
    };
    assert_eq!(places(front), ["0", "1", "2", "6", "8"]);
    assert_eq!(places(rest), ["3", "4", "5", "7"]);
    // More pipelines than places to contest: nothing is left to decide.
    assert_eq!(shares(3, 3), (0, 0));
}
