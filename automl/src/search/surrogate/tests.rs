use super::*;

/// Branin and Hoo's function of two variables on its usual rectangle; least 0.397887.
fn branin(point: &[f64]) -> f64 {
    let pi = std::f64::consts::PI;
    let (x, y) = (15.0 * point[0] - 5.0, 15.0 * point[1]);
    let bowl = y - 5.1 / (4.0 * pi * pi) * x * x + 5.0 / pi * x - 6.0;
    bowl * bowl + 10.0 * (1.0 - 1.0 / (8.0 * pi)) * x.cos() + 10.0
}

/// Hartmann's function of six variables; least -3.32237.
fn hartmann(point: &[f64]) -> f64 {
    const WEIGHTS: [f64; 4] = [1.0, 1.2, 3.0, 3.2];
    const SHAPES: [[f64; 6]; 4] = [
        [10.0, 3.0, 17.0, 3.5, 1.7, 8.0],
        [0.05, 10.0, 17.0, 0.1, 8.0, 14.0],
        [3.0, 3.5, 1.7, 10.0, 17.0, 8.0],
        [17.0, 8.0, 0.05, 10.0, 0.1, 14.0],
    ];
    const CENTRES: [[f64; 6]; 4] = [
        [0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886],
        [0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991],
        [0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650],
        [0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381],
    ];
    let term = |((weight, shape), centre): ((f64, [f64; 6]), [f64; 6])| {
        let square = |(x, (a, p)): (&f64, (f64, f64))| a * (x - p) * (x - p);
        let distance: f64 = point
            .iter()
            .zip(shape.into_iter().zip(centre))
            .map(square)
            .sum();
        -weight * (-distance).exp()
    };
    WEIGHTS.into_iter().zip(SHAPES).zip(CENTRES).map(term).sum()
}

fn tried(point: Point, loss: f64) -> Try {
    Try {
        point,
        fidelity: 1.0,
        loss,
        cost: 1.0,
    }
}

/// The least value after so many evaluations: of the surrogate's proposals, and of random points.
fn least(function: fn(&[f64]) -> f64, space: &[Scale], evaluations: usize, seed: u64) -> [f64; 2] {
    let mut stream = Stream::new("collegium/test/v1", &[&seed.to_le_bytes()]);
    let mut tries: Vec<Try> = Vec::new();
    while tries.len() < evaluations {
        let count = if tries.is_empty() { 8 } else { 2 };
        for point in propose(space, &tries, count, &mut stream) {
            let loss = function(&point);
            tries.push(tried(point, loss));
        }
    }
    let ours = tries
        .iter()
        .map(|one| one.loss)
        .fold(f64::INFINITY, f64::min);
    let random = (0..evaluations).map(|_| {
        let point: Point = space.iter().map(|_| stream.unit()).collect();
        function(&point)
    });
    [ours, random.fold(f64::INFINITY, f64::min)]
}

#[test]
fn proposals_beat_random_search_on_standard_functions() {
    for (name, function, dimensions, evaluations, minimum) in [
        ("Branin", branin as fn(&[f64]) -> f64, 2, 40, 0.397_887),
        ("Hartmann", hartmann, 6, 60, -3.322_37),
    ] {
        let space = vec![Scale::Linear(0.0, 1.0); dimensions];
        let found: Vec<[f64; 2]> = (0..10)
            .map(|seed| least(function, &space, evaluations, seed))
            .collect();
        let regret = |which: usize| -> f64 {
            found.iter().map(|pair| pair[which] - minimum).sum::<f64>() / found.len() as f64
        };
        let wins = found.iter().filter(|[ours, random]| ours < random).count();
        println!(
            "{name}: regret {} against {}, {wins} of 10 won",
            regret(0),
            regret(1)
        );
        assert!(regret(0) < 0.6 * regret(1), "{name}: {found:?}");
        assert!(wins >= 7, "{name}: {found:?}");
    }
}

#[test]
fn the_same_tries_give_the_same_proposals() {
    let space = [Scale::Log(0.01, 1.0), Scale::Whole(2, 8), Scale::Choice(3)];
    let tries: Vec<Try> = (0..12)
        .map(|i| {
            let at = f64::from(i) / 12.0;
            tried(vec![at, 1.0 - at, at], (at - 0.3).abs())
        })
        .collect();
    let proposals = || {
        propose(
            &space,
            &tries,
            5,
            &mut Stream::new("collegium/test/v1", &[b"same"]),
        )
    };
    assert_eq!(proposals(), proposals());
    assert_eq!(proposals().len(), 5);
    for (place, point) in proposals().iter().enumerate() {
        let others = proposals();
        let tried = tries.iter().map(|one| &one.point);
        let mut all = tried.chain(&others[..place]);
        assert!(all.all(|other| !same(&space, other, point)));
        assert!(point.iter().all(|at| (0.0..=1.0).contains(at)));
    }
}

#[test]
fn losses_of_short_trainings_say_what_to_expect_of_long_ones() {
    // Longer trainings have half the loss; the best place is at 0.8 for either.
    let space = [Scale::Linear(0.0, 1.0)];
    let loss = |at: f64, fidelity: f64| (1.0 + 4.0 * (at - 0.8) * (at - 0.8)) / (1.0 + fidelity);
    let tries: Vec<Try> = (0..40)
        .map(|i| {
            let (at, fidelity) = (f64::from(i % 20) / 20.0, if i < 20 { 0.2 } else { 1.0 });
            Try {
                fidelity,
                loss: loss(at, fidelity),
                ..tried(vec![at], 0.0)
            }
        })
        .collect();
    let mut stream = Stream::new("collegium/test/v1", &[b"fidelity"]);
    let model = Model::of(&space, &tries, &mut stream).expect("enough tries");
    let (long, _) = model.predict(&vec![0.5]);
    let short = model.losses.predict(&row(&space, &vec![0.5], 0.2)).0;
    assert!(long < short - 0.2, "{long} {short}");
    let [best] = &propose(&space, &tries, 1, &mut stream)[..] else {
        panic!("one proposal");
    };
    assert!((best[0] - 0.8).abs() < 0.2, "{best:?}");
}

#[test]
fn of_two_equal_gains_the_cheaper_is_proposed() {
    // The loss falls towards both ends; the right half costs twenty times as much.
    let space = [Scale::Linear(0.0, 1.0)];
    let tries: Vec<Try> = (0..30)
        .map(|i| {
            let at = f64::from(i) / 29.0;
            Try {
                cost: if at > 0.5 { 20.0 } else { 1.0 },
                ..tried(vec![at], -(at - 0.5) * (at - 0.5))
            }
        })
        .collect();
    let mut stream = Stream::new("collegium/test/v1", &[b"cost"]);
    let proposals = propose(&space, &tries, 3, &mut stream);
    assert!(
        proposals.iter().all(|point| point[0] < 0.5),
        "{proposals:?}"
    );
}

#[test]
fn too_little_to_learn_from_gives_random_points_and_bad_losses_are_survived() {
    let space = [Scale::Choice(2), Scale::Linear(0.0, 1.0)];
    let mut stream = Stream::new("collegium/test/v1", &[b"few"]);
    assert_eq!(propose(&space, &[], 6, &mut stream).len(), 6);
    let equal = vec![tried(vec![0.2, 0.3], 1.0); 9];
    assert_eq!(propose(&space, &equal, 2, &mut stream).len(), 2);
    let mut tries: Vec<Try> = (0..9)
        .map(|i| tried(vec![0.2, f64::from(i) / 9.0], f64::from(i)))
        .collect();
    tries[8].loss = f64::NAN;
    tries[7].loss = f64::INFINITY;
    assert_eq!(propose(&space, &tries, 2, &mut stream).len(), 2);
}

#[test]
fn values_and_coordinates_belong_together() {
    for (scale, values) in [
        (Scale::Linear(-1.0, 3.0), vec![-1.0, 0.5, 3.0]),
        (Scale::Log(0.01, 10.0), vec![0.01, 0.3, 10.0]),
        (Scale::Whole(2, 8), vec![2.0, 5.0, 8.0]),
        (Scale::Choice(4), vec![0.0, 1.0, 3.0]),
    ] {
        for value in values {
            let back = scale.value(scale.coordinate(value));
            assert!((back - value).abs() < 1e-12, "{scale:?}: {value} is {back}");
        }
    }
    assert_eq!(Scale::Whole(2, 8).value(1.0), 8.0);
}
