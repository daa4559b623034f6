//! Pauses between attempts to connect.

use std::time::Duration;

use collegium_crypto::rand_core::Rng;

/// Exponential pauses with full jitter above half: after a coordinator's restart all nodes come
/// back, and they should not all come at the same moment.
#[derive(Debug, Clone)]
pub struct Backoff {
    min: Duration,
    max: Duration,
    next: Duration,
}

impl Backoff {
    /// Pauses from `min`, doubling up to `max`.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            next: min,
        }
    }

    /// The next pause: between half and the whole of the current step.
    pub fn pause(&mut self, rng: &mut impl Rng) -> Duration {
        let whole = self.next.min(self.max);
        self.next = whole.saturating_mul(2).min(self.max);
        let half = whole / 2;
        let share = f64::from(rng.next_u32()) / f64::from(u32::MAX);
        half + half.mul_f64(share)
    }

    /// A connection stood: start over.
    pub fn reset(&mut self) {
        self.next = self.min;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use collegium_crypto::randomness::seeded_rng;

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over() {
        let seed = [5; 32];
        println!("seed {seed:?}");
        let mut rng = seeded_rng(seed);
        let millis = Duration::from_millis;
        let mut backoff = Backoff::new(millis(100), millis(1000));
        let mut distinct = std::collections::BTreeSet::new();
        for whole in [100, 200, 400, 800, 1000, 1000, 1000] {
            let pause = backoff.pause(&mut rng);
            assert!(
                pause >= millis(whole / 2) && pause <= millis(whole),
                "{pause:?} of {whole}"
            );
            distinct.insert(pause);
        }
        assert!(distinct.len() > 5, "jitter");
        backoff.reset();
        assert!(backoff.pause(&mut rng) <= millis(100));
    }
}
