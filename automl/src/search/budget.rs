//! How many steps a race may take. Counted in steps, never in seconds.

use crate::task::Preset;

/// Part of the candidates of a family that goes on after a rung: one in this
/// many.
pub const ETA: usize = 3;

/// Steps outside the race that follow it in any round: the last scores, the products of errors,
/// the blend's scores and the test.
pub const CLOSING_STEPS: u32 = 4;

/// Most numbers of one race step. Above that the candidates train in waves. 4 Mi
/// numbers are 32 MiB of ciphertext a site at 8 bytes. Waves send as many numbers in more steps, so a
/// smaller cap would spare memory and nothing else.
pub const WAVE_NUMBERS: usize = 4 << 20;

/// The rungs of a race, and where it must close.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Steps of training at the end of each rung, ascending. With more than one
    /// wave, a step of training takes more than one step of the round.
    pub rungs: Vec<u32>,
    /// Most steps of the whole round, if there is a limit.
    pub most: Option<u32>,
    /// Steps between the ensemble and the test: those that compare with the champion before.
    pub reserved: u32,
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
            reserved: 0,
        }
    }

    /// The same with room for so many more steps before the test.
    #[must_use]
    pub fn reserving(self, reserved: u32) -> Self {
        Self { reserved, ..self }
    }

    /// Steps that follow the race, at most.
    #[must_use]
    pub fn closing(&self) -> u32 {
        CLOSING_STEPS + self.reserved
    }

    /// Whether a step of training in `waves` waves still leaves room to close,
    /// when `spent` steps of the round are gone.
    #[must_use]
    pub fn allows(&self, spent: u32, waves: u32) -> bool {
        self.most
            .is_none_or(|most| spent.saturating_add(waves + self.closing()) <= most)
    }

    /// Whether `steps` more still leave room for the test and what it follows, when `spent` steps of the round are
    /// gone.
    #[must_use]
    pub fn has_room(&self, spent: u32, steps: u32) -> bool {
        self.most
            .is_none_or(|most| spent.saturating_add(steps + self.reserved + 1) <= most)
    }

    /// About how many steps the whole round takes, when `spent` are gone before
    /// the race.
    #[must_use]
    pub fn about(&self, spent: u32) -> u32 {
        self.about_from(spent, 0, 1)
    }

    /// At most how many steps the whole round takes, when `spent` are gone, `trained` of them steps
    /// of training, and one of those takes `waves` steps of the round.
    #[must_use]
    pub fn about_from(&self, spent: u32, trained: u32, waves: u32) -> u32 {
        let last = self.rungs.last().copied().unwrap_or(0);
        let left = last.saturating_sub(trained).saturating_mul(waves);
        let about = spent.saturating_add(left).saturating_add(self.closing());
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
        let later = budget.reserving(1);
        assert_eq!(later.about(4), 20);
        assert!(later.allows(14, 1) && !later.allows(15, 1));
        assert!(later.has_room(16, 2) && !later.has_room(17, 2));
        assert_eq!(Budget::new(Preset::Fast, None).reserving(1).about(5), 70);
    }

    #[test]
    fn steps_of_several_waves_count_for_each() {
        let budget = Budget::new(Preset::Fast, None);
        assert_eq!(budget.about(5), 69);
        // Ten steps of training took 20 steps of the round; 50 are left.
        assert_eq!(budget.about_from(25, 10, 2), 25 + 100 + 4);
        assert_eq!(budget.about_from(67, 70, 1), 71);
    }
}
