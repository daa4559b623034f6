//! Which sums are measured, what they ask for, and the answers.

use collegium_automl::ask::{Ask, Part, Stage};
use collegium_automl::family::Head;
use collegium_automl::family::mlp::DescendPart;
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
        parts.push(Part::Descend(part(one, folds as u8, sequence)));
        left -= one * folds;
    }
    Ask {
        sequence,
        stage: Stage::Race,
        task: task.digest(),
        parts,
    }
}

fn part(weights: usize, folds: u8, sequence: u32) -> DescendPart {
    let object = ObjectId::of(b"not there");
    DescendPart {
        pipeline: object,
        model: object,
        head: Head::Binary,
        folds,
        sizes: layers(weights),
        rows: 1000,
        seed: object,
        // No two asks of a run are equal.
        step: sequence,
        epochs: 1,
        batch: 32,
        learning_rate: 0.01,
        weight_decay: 0.0,
        dropout: 0.0,
        clip: 1.0,
        levels: LEVELS,
    }
}

/// The layers of a network with at most `weights` weights, close to them.
fn layers(weights: usize) -> Vec<u32> {
    if weights < WIDEST {
        return vec![weights.saturating_sub(1).max(1) as u32, 1];
    }
    // inputs·hidden + hidden, and hidden + 1 for the output.
    let hidden = weights.isqrt() / 2;
    let inputs = ((weights - hidden - 1) / hidden - 1).min(WIDEST);
    vec![inputs as u32, hidden as u32, 1]
}

/// What the site with this salt answers: within every segment's bounds, cheap, and different at
/// every site and number.
pub fn numbers(ask: &Ask, salt: u64) -> impl Iterator<Item = u64> {
    ask.segments().into_iter().flat_map(move |segment| {
        let codes = segment.max_code() + 1;
        (0..segment.count() as u64).map(move |index| {
            let word = (index + salt).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            word % codes
        })
    })
}

/// [`numbers`], as a site hands them over.
pub fn codes(ask: &Ask, salt: u64) -> Vec<u64> {
    let mut codes = Vec::with_capacity(ask.numbers());
    codes.extend(numbers(ask, salt));
    codes
}
