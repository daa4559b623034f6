//! What a step is about. Every signature, sealed share and vote of the step covers the digest of
//! this, so nothing of one step means anything in another.

use collegium_crypto::transcript::{Digest, hash};
use serde::{Deserialize, Serialize};

use crate::domain;
use crate::ids::{RunId, StepNumber};

/// Parameters, charter, run, step number, ask and shape of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepContext {
    /// Id of a compiled-in parameter set.
    pub params: String,
    /// Digest of the charter in force.
    pub charter: Digest,
    /// The run.
    pub run: RunId,
    /// The step's number in the run; never used twice.
    pub step: StepNumber,
    /// [`ask_digest`] of the ask's bytes.
    pub ask: Digest,
    /// Digest of the answer's shape.
    pub shape: Digest,
}

impl StepContext {
    /// What signatures and seals of this step cover.
    #[must_use]
    pub fn digest(&self) -> Digest {
        hash(
            domain::CONTEXT,
            &[
                self.params.as_bytes(),
                self.charter.as_bytes(),
                self.run.as_bytes(),
                &self.step.0.to_le_bytes(),
                self.ask.as_bytes(),
                self.shape.as_bytes(),
            ],
        )
    }
}

/// H(ask), over the bytes as they travel.
#[must_use]
pub fn ask_digest(ask: &[u8]) -> Digest {
    hash(domain::ASK, &[ask])
}

/// The digest of a task file's bytes.
#[must_use]
pub fn task_digest(task: &[u8]) -> Digest {
    hash(domain::TASK, &[task])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context() -> StepContext {
        StepContext {
            params: "p".into(),
            charter: Digest([1; 32]),
            run: RunId::from_bytes([2; 16]),
            step: StepNumber(3),
            ask: Digest([4; 32]),
            shape: Digest([5; 32]),
        }
    }

    #[test]
    fn every_field_changes_the_digest() {
        let base = context();
        let mut others = vec![base.clone(); 6];
        others[0].params = "q".into();
        others[1].charter = Digest([9; 32]);
        others[2].run = RunId::from_bytes([9; 16]);
        others[3].step = StepNumber(9);
        others[4].ask = Digest([9; 32]);
        others[5].shape = Digest([9; 32]);
        let mut seen = std::collections::BTreeSet::from([base.digest()]);
        for (i, other) in others.iter().enumerate() {
            assert!(seen.insert(other.digest()), "field {i} is not covered");
        }
    }
}
