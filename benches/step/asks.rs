//! Which sums are measured, what they ask for, and the answers.

use collegium_automl::ask::{Ask, Part, Stage};
use collegium_automl::family::net::{self, LocalTraining, NetPart, NetShape};
use collegium_automl::family::{AnyPart, Head};
use collegium_automl::object::ObjectId;
use collegium_automl::task::Task;

/// Weights of a network's update, and how many steps are timed after one to warm up.
pub const SIZES: [(usize, u32); 5] = [
    (14, 60),
    (1_000, 60),
    (100_000, 30),
    (1_000_000, 12),
    (10_000_000, 4),
];

/// Steps that a real update is rounded to: codes of 16 bits.
const LEVELS: u64 = 65_534;

/// The widest layer and the most weights of one network that an ask may have.
const WIDEST: usize = 4096;
const MOST: usize = 1 << 18;

/// Asks for an update of about `weights` weights, as federated averaging does: networks with one
/// hidden layer, as many folds and parts as it takes. Eight counts and loss sums come with each
/// part. The objects that the ask names do not exist; the sites of this program want none.
pub fn ask(task: &Task, sequence: u32, weights: usize) -> Ask {
    let mut parts = Vec::new();
    let mut left = weights;
    while left > 0 {
        let one = left.min(MOST);
        let folds = (left / one).clamp(1, 10);
        let part = part(one, folds as u8, sequence);
        parts.push(Part::Train(AnyPart::new(net::NAME, part)));
        left -= one * folds;
    }
    Ask {
        sequence,
        stage: Stage::Race,
        task: task.digest(),
        parts,
    }
}

fn part(weights: usize, folds: u8, sequence: u32) -> NetPart {
    let object = ObjectId::of(b"not there");
    NetPart {
        pipeline: object,
        model: object,
        scored: object,
        score: true,
        head: Head::Binary,
        folds,
        shape: layers(weights),
        rows: 1000,
        seed: object,
        // No two asks of a run are equal.
        step: sequence,
        local: LocalTraining {
            epochs: 1,
            batch: 32,
            share: 1.0,
            learning_rate: 0.01,
            weight_decay: 0.0,
            dropout: 0.0,
            proximal: 0.0,
        },
        clip: 1.0,
        levels: LEVELS,
    }
}

/// The layers of a network with at most `weights` weights, close to them.
fn layers(weights: usize) -> NetShape {
    let shape = |inputs: usize, hidden: Vec<u32>| NetShape {
        inputs: inputs as u32,
        embedding: None,
        hidden,
        outputs: 1,
    };
    if weights < WIDEST {
        return shape(weights.saturating_sub(1).max(1), Vec::new());
    }
    // inputs·hidden + hidden, and hidden + 1 for the output.
    let hidden = weights.isqrt() / 2;
    let inputs = ((weights - hidden - 1) / hidden - 1).min(WIDEST);
    shape(inputs, vec![hidden as u32])
}

/// What the site with this salt answers: within every segment's bounds, different at every site and
/// number, and so cheap that making it does not hide what is measured.
pub fn numbers(ask: &Ask, salt: u64) -> impl Iterator<Item = u64> {
    ask.segments().into_iter().flat_map(move |segment| {
        (0..segment.count() as u64).map(move |index| number(segment.max_code(), index + salt))
    })
}

/// [`numbers`], each turned into what a site hands over.
pub fn converted<T>(ask: &Ask, salt: u64, convert: impl Fn(u64) -> T) -> Vec<T> {
    let mut all = Vec::with_capacity(ask.numbers());
    // A segment at a time: its range has a known length, which the iterator over all has not.
    for segment in ask.segments() {
        let most = segment.max_code();
        let range = 0..segment.count() as u64;
        all.extend(range.map(|index| convert(number(most, index + salt))));
    }
    all
}

/// A number from 0 to `most` by the multiplicative hash of `index`.
fn number(most: u64, index: u64) -> u64 {
    let word = index.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    // The hash as a fraction of 64 bits: no division.
    ((u128::from(word) * u128::from(most + 1)) >> 64) as u64
}
