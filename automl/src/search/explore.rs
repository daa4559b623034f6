//! New configurations for a later round: where the surrogate expects the most of, by what the
//! memory says of those that were tried.

use serde_json::{Number, Value};

use crate::family::{Family, Offer};
use crate::random::Stream;
use crate::search::candidates::Offered;
use crate::search::memory::{Measured, Notes};
use crate::search::surrogate::{FEWEST_TRIES, Knob, Point, Scale, Try, propose};

/// New configurations of each family that has knobs.
const EACH: usize = 2;

/// Two configurations of every family with knobs that is on offer and of which enough was tried: those
/// with the most expected improvement, put into the hyperparameters of the family's best so far.
pub(super) fn configurations(offer: &Offer<'_>, offers: &[Offered], notes: &Notes) -> Vec<Offered> {
    let mut families: Vec<&'static dyn Family> = Vec::new();
    for offered in offers {
        if families
            .iter()
            .all(|known| known.name() != offered.family.name())
        {
            families.push(offered.family);
        }
    }
    let new = families
        .into_iter()
        .flat_map(|family| of_family(family, offer, notes));
    new.collect()
}

fn of_family(family: &'static dyn Family, offer: &Offer<'_>, notes: &Notes) -> Vec<Offered> {
    let knobs = family.knobs();
    let promising = notes.promising();
    let best = promising.into_iter().find(|it| it.family == family.name());
    let (Some(best), false) = (best, knobs.is_empty()) else {
        return Vec::new();
    };
    let place = |named: &crate::features::NamedPipeline| named.name == best.features;
    let Some(pipeline) = offer.pipelines.iter().position(place) else {
        return Vec::new();
    };
    let tries = tries(family.name(), &knobs, notes);
    if tries.len() < FEWEST_TRIES {
        return Vec::new();
    }
    let space: Vec<Scale> = knobs.iter().map(|knob| knob.scale).collect();
    let (seed, round) = (offer.task.seed.to_le_bytes(), notes.round.to_le_bytes());
    let mut stream = Stream::new(
        "collegium automl surrogate v1",
        &[&seed, &round, family.name().as_bytes()],
    );
    let points = propose(&space, &tries, EACH, &mut stream);
    let proposals = points.iter().filter_map(|point| {
        let changed = changed(&best.hyperparameters, &knobs, point)?;
        family.varied(offer, pipeline, &changed)
    });
    proposals
        .map(|proposal| Offered {
            family,
            proposal,
            remembered: true,
            tried: None,
        })
        .collect()
}

/// What was tried of a family in any round. Losses of different rounds are of different rows, so each is
/// taken as its distance to the best of its round.
fn tries(family: &str, knobs: &[Knob], notes: &Notes) -> Vec<Try> {
    let least = |round: u32| {
        let of_round = notes.history.iter().filter(|it| it.round == round);
        of_round.map(|it| it.loss).fold(f64::INFINITY, f64::min)
    };
    let of_family = notes.history.iter().filter(|it| it.family == family);
    of_family
        .filter_map(|measured| {
            Some(Try {
                point: point(measured, knobs)?,
                fidelity: 1.0,
                loss: measured.loss - least(measured.round),
                cost: 1.0,
            })
        })
        .collect()
}

/// Where a configuration stands; `None` where it lacks one of the knobs.
fn point(measured: &Measured, knobs: &[Knob]) -> Option<Point> {
    knobs
        .iter()
        .map(|knob| {
            let value = measured.hyperparameters.pointer(knob.pointer)?.as_f64()?;
            Some(knob.scale.coordinate(value))
        })
        .collect()
}

/// Hyperparameters with the knobs turned to a point.
fn changed(hyperparameters: &Value, knobs: &[Knob], point: &Point) -> Option<Value> {
    let mut changed = hyperparameters.clone();
    for (knob, at) in knobs.iter().zip(point) {
        let value = knob.scale.value(*at);
        let number = match knob.scale {
            Scale::Whole(..) | Scale::Choice(_) => Number::from(value as u64),
            Scale::Linear(..) | Scale::Log(..) => Number::from_f64(rounded(value))?,
        };
        *changed.pointer_mut(knob.pointer)? = Value::Number(number);
    }
    Some(changed)
}

/// Two significant digits, for people.
fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    let places = 1 - libm::floor(libm::log10(libm::fabs(value))) as i32;
    let scale = libm::pow(10.0, f64::from(places));
    libm::round(value * scale) / scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knobs_are_turned_where_they_stand_and_nothing_else_is() {
        let knobs = [
            Knob {
                pointer: "/local/rate",
                scale: Scale::Log(0.001, 0.1),
            },
            Knob {
                pointer: "/hidden/0",
                scale: Scale::Whole(8, 64),
            },
        ];
        let before = serde_json::json!({"local": {"rate": 0.05, "batch": 32}, "hidden": [16, 8]});
        let after = changed(&before, &knobs, &vec![0.5, 1.0]).expect("both knobs");
        let expected = serde_json::json!({"local": {"rate": 0.01, "batch": 32}, "hidden": [64, 8]});
        assert_eq!(after, expected);
        let without = serde_json::json!({"local": {"rate": 0.05}, "hidden": []});
        assert_eq!(changed(&without, &knobs, &vec![0.5, 1.0]), None);
    }

    #[test]
    fn two_digits_are_kept() {
        for (value, expected) in [(0.012_345, 0.012), (123.4, 120.0), (0.0, 0.0), (0.996, 1.0)] {
            assert!((rounded(value) - expected).abs() < 1e-9, "{value}");
        }
    }
}
