//! How many steps a race may take. Counted in steps, never in seconds.

use crate::task::Preset;

/// Part of the candidates of a family that goes on after a rung: one in this
/// many.
pub const ETA: usize = 3;

/// Steps outside the race that follow it: the last scores and the test.
const CLOSING_STEPS: u32 = 2;

/// Most numbers of one race step. Above that the candidates train in waves. 200 k
/// numbers are 1.6 MB of ciphertext a site at 8 bytes.
pub const WAVE_NUMBERS: usize = 200_000;

/// The rungs of a race: after how many steps of training candidates are dropped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Steps of training at the end of each rung, ascending.
    pub rungs: Vec<u32>,
}

impl Budget {
    /// The rungs of a preset, cut to `max_steps` for the whole round, of which
    /// `spent` are gone.
    #[must_use]
    pub fn new(preset: Preset, max_steps: Option<u32>, spent: u32) -> Self {
        let rungs: &[u32] = match preset {
            Preset::Fast => &[3, 9, 24],
            Preset::Balanced => &[5, 15, 45],
            Preset::Thorough => &[10, 30, 90, 270],
        };
        let room = max_steps.map_or(u32::MAX, |max| {
            // However small the budget, one step of training makes a champion.
            max.saturating_sub(spent + CLOSING_STEPS).max(1)
        });
        let mut rungs: Vec<u32> = rungs.iter().map(|rung| (*rung).min(room)).collect();
        rungs.dedup();
        Self { rungs }
    }

    /// About how many steps the whole round takes, when `spent` are gone.
    #[must_use]
    pub fn about(&self, spent: u32) -> u32 {
        spent + self.rungs.last().copied().unwrap_or(0) + CLOSING_STEPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_stay_within_their_step_counts() {
        assert!(Budget::new(Preset::Fast, None, 4).about(4) <= 30);
        assert!(Budget::new(Preset::Balanced, None, 4).about(4) < 70);
    }

    #[test]
    fn a_step_limit_cuts_the_rungs() {
        let budget = Budget::new(Preset::Balanced, Some(20), 4);
        assert_eq!(budget.rungs, [5, 14]);
        assert_eq!(budget.about(4), 20);
        assert_eq!(Budget::new(Preset::Fast, Some(1), 4).rungs, [1]);
    }
}
