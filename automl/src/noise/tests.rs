//! Bounds of rows, prices of parts, and what an attacker can make of an answer.

use super::*;
use crate::ask::{Ask, Encoder, Part, PartTotals, Stage};
use crate::data::Slot;
use crate::family::Head;
use crate::family::logistic::LogisticModel;
use crate::features::Matrix;
use crate::object::ObjectId;
use crate::random::Stream;
use crate::site::Rows;
use crate::task::DifferentialPrivacy;

const NOISE: Noise = Noise {
    variance: 1 << 20,
    shares: 2,
};
const WIDTH: usize = 3;

fn slopes(model: bool, clip: f64) -> NoisyPart {
    NoisyPart::Slopes(SlopesPart {
        pipeline: ObjectId::of(b"pipeline"),
        model: model.then(|| ObjectId::of(b"model")),
        width: WIDTH as u32,
        clip,
        noise: NOISE,
    })
}

fn outcomes() -> NoisyPart {
    NoisyPart::Outcomes(OutcomesPart {
        pipeline: ObjectId::of(b"pipeline"),
        model: ObjectId::of(b"model"),
        noise: NOISE,
    })
}

/// One of each kind that there is; a new kind does not compile without a place here.
fn every_part() -> Vec<NoisyPart> {
    let all = vec![
        slopes(false, 1.5),
        slopes(true, 1.5),
        slopes(true, 1e9),
        outcomes(),
    ];
    for part in &all {
        match part {
            NoisyPart::Slopes(_) | NoisyPart::Outcomes(_) => {}
        }
    }
    all
}

fn model(weights: [f64; WIDTH + 1]) -> LogisticModel {
    let pipeline = ObjectId::of(b"pipeline");
    let mut model = LogisticModel::zero(pipeline, Head::Binary, 1, WIDTH);
    model.folds[0][0] = weights.to_vec();
    model
}

fn rows(features: &[[f64; WIDTH]], targets: &[f64]) -> Rows {
    let matrix = Matrix::numbers(features.len(), WIDTH, features.concat());
    Rows::from_parts(
        matrix,
        targets.to_vec(),
        vec![Slot::TrainOnly; targets.len()],
    )
}

fn sums(part: &NoisyPart, model: &LogisticModel, rows: &Rows) -> Vec<i64> {
    match part {
        NoisyPart::Slopes(part) => part.sums(part.model.map(|_| model as _), rows),
        NoisyPart::Outcomes(part) => part.sums(model, rows),
    }
}

/// Adding or removing any row, however far out, changes the exact codes by no more than the part
/// says; and there are rows that change them by nearly as much, so that the bound is not idle.
#[test]
fn one_row_changes_the_codes_by_at_most_the_stated_bound() {
    let seed = 11u8;
    let mut random = Stream::new("collegium/test/noise/v1", &[&[seed]]);
    for part in every_part() {
        let mut most = 0;
        for _ in 0..300 {
            let scale = [0.1, 1.0, 8.0, 1e300][random.below(4)];
            let count = 1 + random.below(6);
            let features: Vec<[f64; WIDTH]> = (0..count)
                .map(|_| [(); WIDTH].map(|()| scale * random.normal()))
                .collect();
            let targets: Vec<f64> = (0..count).map(|_| random.below(2) as f64).collect();
            let weights = [(); WIDTH + 1].map(|()| 5.0 * random.normal());
            let model = model(weights);
            let with = sums(&part, &model, &rows(&features, &targets));
            let without = sums(&part, &model, &rows(&features[1..], &targets[1..]));
            let square: u128 = with
                .iter()
                .zip(&without)
                .map(|(a, b)| u128::from(a.abs_diff(*b)).pow(2))
                .sum();
            assert!(
                square <= u128::from(part.sensitivity()),
                "seed {seed}: {part:?} {square}"
            );
            most = most.max(square as u64);
        }
        let enough = match &part {
            // A residual near 1 and a curvature of one quarter do not come together; long rows
            // are divided by a clip that nobody reaches.
            NoisyPart::Slopes(part) if part.clip > 1e6 => 0,
            NoisyPart::Slopes(part) if part.model.is_some() => part.sensitivity() / 3,
            _ => part.sensitivity() * 9 / 10,
        };
        assert!(most >= enough, "seed {seed}: {part:?} {most}");
    }
}

#[test]
fn what_is_no_number_adds_nothing() {
    let odd = rows(
        &[[f64::NAN, 0.0, 0.0], [f64::INFINITY, 1.0, 0.0]],
        &[1.0, 0.0],
    );
    for part in every_part() {
        let model = model([1.0, f64::NAN, 0.0, 0.0]);
        let found = sums(&part, &model, &odd);
        assert!(found.iter().all(|code| *code == 0), "{part:?} {found:?}");
    }
}

/// Noise goes in below zero and above the largest sum, and comes out again with the offset undone
/// for as many sites as there were.
#[test]
fn codes_have_room_for_the_noise_and_totals_undo_it() {
    let mut stream = NoiseKey::new([3; 32]).stream(ObjectId::of(b"ask"), ObjectId::of(b"data"));
    for part in every_part() {
        let segments = part.segments();
        let count = part.numbers();
        let (mut totals, mut noise) = (vec![0u64; count], vec![0i64; count]);
        for _ in 0..3 {
            let mut sums = vec![0i64; count];
            part.add_noise(&mut sums, &mut stream);
            let mut out = Encoder::new(&segments);
            for (at, sum) in sums.iter().enumerate() {
                out.integer(*sum).expect("room");
                noise[at] += sum;
            }
            let codes = out.finish().expect("all");
            totals
                .iter_mut()
                .zip(codes)
                .for_each(|(sum, code)| *sum += code);
        }
        assert!(noise.iter().any(|it| *it < 0) && noise.iter().any(|it| *it > 0));
        let read = PartTotals::from_sums(segments.clone(), &totals, 3);
        let values: Vec<i64> = (0..segments.len())
            .flat_map(|at| read.integers(at))
            .collect();
        assert_eq!(values, noise);
    }
}

/// The lowest price of a random ask is the one that was planned, and no more.
#[test]
fn noise_for_a_price_costs_no_more_and_hardly_less() {
    for rho in [1e-4, 0.003, 0.1, 2.0] {
        for (squared, numbers, shares) in [(256, 32, 2), (1 << 28, 400, 3), (1 << 29, 8000, 43)] {
            let noise = Noise::for_rho(rho, squared, numbers, shares).expect("within bounds");
            assert_eq!(noise.check(), Ok(()));
            let price = zcdp::rho_of_sum(squared, numbers, noise);
            assert!(price <= rho, "{price} {rho}");
            let rounded = noise.variance == MIN_VARIANCE || price > 0.5 * rho;
            assert!(rounded, "{price} {rho} {noise:?}");
        }
    }
    assert_eq!(Noise::for_rho(1e-30, 1 << 28, 10, 1), None);
}

fn ask(stage: Stage, parts: Vec<Part>) -> Ask {
    Ask {
        sequence: 1,
        stage,
        task: ObjectId::of(b"task"),
        parts,
    }
}

#[test]
fn an_ask_is_priced_by_what_it_reads_and_refused_where_it_is_exact_or_counts_on_too_many() {
    let noisy = |part: &NoisyPart| Part::Noisy(part.clone());
    let both = ask(
        Stage::Test,
        vec![noisy(&slopes(false, 2.0)), noisy(&outcomes())],
    );
    let cost = charge(&both, 2).expect("a price");
    let one = |part: NoisyPart| zcdp::rho_of_sum(part.sensitivity(), part.numbers(), NOISE);
    assert_eq!(
        (cost.train, cost.test),
        (one(slopes(false, 2.0)), one(outcomes()))
    );
    assert_eq!(cost.rho(), cost.train.max(cost.test));
    let known = NoiseError::Shares { asked: 2, known: 1 };
    assert_eq!(charge(&both, 1), Err(known));
    let exact = crate::profile::ProfilePart::Schema { attempt: 0 };
    let exact = ask(
        Stage::Profile,
        vec![noisy(&outcomes()), Part::Profile(exact)],
    );
    assert_eq!(
        charge(&exact, 2),
        Err(NoiseError::Exact {
            part: 2,
            name: "profile"
        })
    );
    let privacy = DifferentialPrivacy {
        epsilon: 1.0,
        delta: 1e-5,
    };
    let all = Spent {
        train: privacy.rho(),
        test: 0.0,
    };
    let spent = Spent::default().admit(all, privacy).expect("just enough");
    assert!(
        spent
            .admit(
                Spent {
                    train: 1e-6,
                    test: 0.0
                },
                privacy
            )
            .is_err()
    );
    spent
        .admit(
            Spent {
                train: 0.0,
                test: privacy.rho(),
            },
            privacy,
        )
        .expect("other rows");
}

#[test]
fn parts_are_readable_and_frozen_and_bounded() {
    let part = Part::Noisy(slopes(true, 1.5));
    let json = serde_json::to_string(&part).expect("JSON");
    let id = |name: &[u8]| ObjectId::of(name);
    let expected = format!(
        concat!(
            r#"{{"noisy":{{"slopes":{{"pipeline":"{}","model":"{}","width":3,"clip":1.5,"#,
            r#""noise":{{"variance":1048576,"shares":2}}}}}}}}"#,
        ),
        id(b"pipeline"),
        id(b"model")
    );
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_str::<Part>(&json).expect("a part"), part);
    let check = |part: NoisyPart| ask(Stage::Test, vec![Part::Noisy(part)]).check();
    assert!(check(slopes(true, 1.5)).is_ok() && check(outcomes()).is_ok());
    let wide = |width| {
        let NoisyPart::Slopes(part) = slopes(false, 1.0) else {
            unreachable!()
        };
        NoisyPart::Slopes(SlopesPart { width, ..part })
    };
    for clip in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert!(check(slopes(true, clip)).is_err(), "{clip}");
    }
    assert!(check(wide(MAX_WIDTH)).is_ok() && check(wide(MAX_WIDTH + 1)).is_err());
    for (variance, shares) in [(MIN_VARIANCE - 1, 1), (MAX_VARIANCE + 1, 1), (100, 0)] {
        let noise = Noise { variance, shares };
        let part = OutcomesPart {
            pipeline: id(b"p"),
            model: id(b"m"),
            noise,
        };
        assert!(check(NoisyPart::Outcomes(part)).is_err(), "{noise:?}");
    }
    assert_eq!(honest_shares(3, 4), 2);
    assert_eq!(honest_shares(3, 3), 2);
    assert_eq!((honest_shares(7, 10), honest_shares(43, 64)), (4, 22));
}

/// Whoever knows all rows but one, and whether that one is there is even money, tells it from the
/// sum of two honest shares no better than (epsilon, delta) allows: true positives are at most
/// e^epsilon times the false ones plus delta, wherever the threshold is. The attack is the best
/// one against Gaussian noise: the answer's component along the row's codes.
#[test]
fn an_attack_on_one_row_stays_below_the_bound() {
    let privacy = DifferentialPrivacy {
        epsilon: 1.0,
        delta: 1e-3,
    };
    let draws = 20_000;
    for (seed, part) in [(21u8, slopes(false, 2.0)), (22, outcomes())] {
        let noise = Noise::for_rho(privacy.rho(), part.sensitivity(), part.numbers(), 2);
        let noise = noise.expect("within bounds");
        let row = rows(&[[1.0, -1.0, 1.0]], &[1.0]);
        let codes = sums(&part, &model([0.5, 0.0, 0.0, 0.0]), &row);
        let length = codes
            .iter()
            .map(|x| (*x as f64).powi(2))
            .sum::<f64>()
            .sqrt();
        let mut stream = NoiseKey::new([seed; 32]).stream(ObjectId([0; 32]), ObjectId([0; 32]));
        let mut seen = |there: i64| {
            let each = codes.iter().map(|code| {
                let answer = there * code + stream.draw(noise) + stream.draw(noise);
                answer as f64 * *code as f64 / length
            });
            each.sum::<f64>()
        };
        let with: Vec<f64> = (0..draws).map(|_| seen(1)).collect();
        let without: Vec<f64> = (0..draws).map(|_| seen(0)).collect();
        let deviation = (2.0 * noise.variance as f64).sqrt();
        for threshold in [-1.0, 0.0, 0.5, 1.0, 1.5, 2.0].map(|x| x * deviation) {
            let share = |all: &[f64]| {
                all.iter().filter(|x| **x > threshold).count() as f64 / f64::from(draws)
            };
            let (hits, alarms) = (share(&with), share(&without));
            // Six standard errors of both shares.
            let margin = 6.0 * (1.0 + privacy.epsilon.exp()) * (0.25 / f64::from(draws)).sqrt();
            let most = privacy.epsilon.exp() * alarms + privacy.delta + margin;
            assert!(
                hits <= most,
                "seed {seed}: {hits} with {alarms} at {threshold}"
            );
        }
        // The noise is no larger than it has to be: the row does shift what is seen.
        let shift = with.iter().sum::<f64>() - without.iter().sum::<f64>();
        let expected = length / deviation;
        let found = shift / f64::from(draws) / deviation;
        assert!(
            (found - expected).abs() < 0.06,
            "seed {seed}: {found} {expected}"
        );
        assert!(expected > 0.2, "{expected}");
    }
}

/// One histogram gives the figures that its counts say, and its errors cover what noise does.
#[test]
fn figures_follow_from_noisy_counts() {
    let mut counts = Outcomes {
        negatives: vec![0.0; CELLS],
        positives: vec![0.0; CELLS],
        variance: 0.0,
    };
    // By hand: 60 negatives at .03 and 40 at .53; 20 positives at .03 and 80 at .97.
    counts.negatives[0] = 60.0;
    counts.negatives[8] = 40.0;
    counts.positives[0] = 20.0;
    counts.positives[15] = 80.0;
    let exact = counts.metrics();
    assert_eq!((exact.rows, exact.accuracy), (200, Some(0.7)));
    // 80 · 100 wins, 20 · 60 ties, of 100 · 100 pairs.
    assert!((exact.auc.expect("an area") - 0.86).abs() < 1e-12);
    let (low, high) = (0.5 / 16.0, 15.5 / 16.0);
    let loss = -(60.0 * f64::ln(1.0 - low)
        + 40.0 * f64::ln(1.0 - 8.5 / 16.0)
        + 20.0 * f64::ln(low)
        + 80.0 * f64::ln(high))
        / 200.0;
    assert!((exact.log_loss.expect("a loss") - loss).abs() < 1e-12);
    let seed = 31u8;
    let mut random = Stream::new("collegium/test/noise/v1", &[&[seed]]);
    let (mut square, mut error) = (0.0, 0.0);
    let repeats = 400;
    for _ in 0..repeats {
        let mut noisy = counts.clone();
        noisy.variance = 9.0;
        let cells = noisy.negatives.iter_mut().chain(&mut noisy.positives);
        cells.for_each(|count| *count += 3.0 * random.normal());
        let found = noisy.metrics();
        square += (found.auc.expect("an area") - 0.86).powi(2) / f64::from(repeats);
        error += found.auc_se.expect("an error").powi(2) / f64::from(repeats);
    }
    // The error is that of the rows, too, so it is larger than what noise alone does.
    let rows = exact.auc_se.expect("an error").powi(2);
    assert!(
        (square / (error - rows) - 1.0).abs() < 0.35,
        "seed {seed}: {square} {error} {rows}"
    );
    let empty = Outcomes {
        negatives: vec![-1.0; CELLS],
        ..counts
    };
    assert_eq!(empty.metrics().auc, None);
}
