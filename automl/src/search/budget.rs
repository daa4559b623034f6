//! How many steps a race may take. Counted in steps, never in seconds.

use crate::task::Preset;

/// Part of the candidates of a family that goes on after a rung: one in this
/// many.
pub const ETA: usize = 3;

/// Steps outside the race that follow it: the last scores, the products of errors, the blend's
/// scores and the test.
const CLOSING_STEPS: u32 = 4;

/// Most numbers of one race step. Above that the candidates train in waves. 2 Mi
/// numbers are 16 MiB of ciphertext a site at 8 bytes.
pub const WAVE_NUMBERS: usize = 2 << 20;

/// The rungs of a race, and where it must close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Steps of training at the end of each rung, ascending. With more than one
    /// wave, a step of training takes more than one step of the round.
    pub rungs: Vec<u32>,
    /// Most steps of the whole round, if there is a limit.
    pub most: Option<u32>,
}

impl Budget {
    /// The rungs of a preset, under a limit for the whole round.
    #[must_use]
    pub fn new(preset: Preset, most: Option<u32>) -> Self {
        let rungs: &[u32] = match preset {
            // The first rung is late: boosted trees that learn slowly look worse than they are
            // after a few stages.
            Preset::Fast => &[20, 40, 60],
            Preset::Balanced => &[40, 100, 180],
            Preset::Thorough => &[120, 270, 450],
        };
        Self {
            rungs: rungs.to_vec(),
            most,
        }
    }

    /// Whether a step of training in `waves` waves still leaves room to close,
    /// when `spent` steps of the round are gone.
    #[must_use]
    pub fn allows(&self, spent: u32, waves: u32) -> bool {
        self.most
            .is_none_or(|most| spent.saturating_add(waves + CLOSING_STEPS) <= most)
    }

    /// Whether `steps` more still leave room for the test, when `spent` steps of the round are
    /// gone.
    #[must_use]
    pub fn has_room(&self, spent: u32, steps: u32) -> bool {
        self.most
            .is_none_or(|most| spent.saturating_add(steps + 1) <= most)
    }

    /// About how many steps the whole round takes, when `spent` are gone before
    /// the race.
    #[must_use]
    pub fn about(&self, spent: u32) -> u32 {
        let about = spent + self.rungs.last().copied().unwrap_or(0) + CLOSING_STEPS;
        self.most.map_or(about, |most| about.min(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_stay_within_their_step_counts() {
        assert!(Budget::new(Preset::Fast, None).about(5) <= 70);
        assert!(Budget::new(Preset::Balanced, None).about(5) <= 195);
        assert!(Budget::new(Preset::Thorough, None).about(5) <= 500);
    }

    #[test]
    fn a_step_limit_leaves_room_to_close() {
        let budget = Budget::new(Preset::Balanced, Some(20));
        assert_eq!(budget.about(4), 20);
        assert!(budget.allows(15, 1));
        assert!(!budget.allows(16, 1));
        assert!(!budget.allows(15, 2));
        assert!(budget.has_room(17, 2));
        assert!(!budget.has_room(18, 2));
        assert!(Budget::new(Preset::Balanced, None).allows(1000, 1));
    }
}
