//! Opening a certified sum: pure computation, a thread's work for large steps.
//!
//! Any t releases determine the summed key, so a seat that releases something false spoils the sets
//! it is in. With more than t releases at hand, sets are tried until one opens the sum.
//!
//! Who released something false can be told only when nearly everybody agrees. The right key is one
//! point of the releases' polynomial; t − 1 honest releases beside it determine the rest; so where
//! t − 1 + f releases agree with the key, at least t − 1 of them are honest and every other one is
//! false. With fewer, two liars could let their errors cancel and make honest releases look false.

use std::sync::Arc;

use collegium_crypto::glwe::{self, BodySum, SummedKey};
use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::linear::{Challenge, LinearHash};
use collegium_crypto::shamir::{self, ShareSum};
use collegium_crypto::transcript::Digest;

use super::attempts::StepFailure;
use super::plan::StepPlan;
use crate::ids::MemberIndex;
use crate::message::step::{Certificate, Propose};
use crate::message::verify::{LinearHashes, commitment};

/// Sets of t releases that are tried before more releases are waited for: every set of 16 seats
/// (4368), and for a committee of 96 every one that leaves out two.
const MOST_SETS: usize = 5_000;

/// At least t verified releases for one certified set.
pub struct Opening {
    pub(super) plan: Arc<StepPlan>,
    pub(super) propose: Propose,
    pub(super) certificate: Certificate,
    pub(super) contributors: Vec<MemberIndex>,
    pub(super) releases: Vec<(MemberIndex, ShareSum)>,
}

impl std::fmt::Debug for Opening {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (step, releases) = (self.plan.reference().step, self.releases.len());
        write!(
            f,
            "Opening(step {step}, U = {:?}, {releases} releases)",
            self.contributors
        )
    }
}

impl Opening {
    /// The step's plan.
    #[must_use]
    pub fn plan(&self) -> &Arc<StepPlan> {
        &self.plan
    }

    /// The contributing set U.
    #[must_use]
    pub fn contributors(&self) -> &[MemberIndex] {
        &self.contributors
    }

    /// H(U).
    #[must_use]
    pub fn proposal(&self) -> Digest {
        self.certificate.proposal
    }

    /// What the sum opens to, with the summed codes over U in the shape's order. The residual is checked on every
    /// coefficient; nothing of a step that fails is shown.
    ///
    /// # Errors
    /// [`StepFailure::NotOpened`], which ends the round and names U.
    pub fn open(&self, sum: &BodySum) -> Result<OpenedSum, StepFailure> {
        let failed = |reason: String| StepFailure::NotOpened {
            step: self.plan.reference().step,
            contributors: self.contributors.clone(),
            reason,
        };
        let (key, false_releases) = self.find_key(sum).map_err(failed)?;
        let (seed, packing) = (self.plan.mask_seed(), self.plan.packing());
        let opened = glwe::open(sum, &key, &seed, packing, self.contributors.len())
            .map_err(|e| failed(e.to_string()))?;
        let context = self.plan.reference().context;
        let commitment = commitment(&context, &self.proposal(), &opened.digest(&key));
        // While the sum is at hand: what the contributors' hashes must add up to.
        let challenge = Challenge::derive(&commitment);
        let hashes = LinearHashes {
            body: LinearHash::of_sum(challenge, sum),
            key: key.linear_hash(challenge),
        };
        let thresholds = self.plan.charter().thresholds();
        let agree = self.releases.len() - false_releases.len();
        let attributable = agree >= thresholds.threshold - 1 + thresholds.max_colluding;
        Ok(OpenedSum {
            key,
            sums: opened.codes,
            phases: opened.phases,
            commitment,
            hashes,
            false_releases: if attributable {
                false_releases
            } else {
                Vec::new()
            },
        })
    }

    fn threshold(&self) -> usize {
        self.plan.charter().thresholds().threshold
    }

    /// The key of a set of t releases under which the sum opens, as far as its first polynomial
    /// tells, and the releases that contradict it. Of a very short sum that tells little: among keys
    /// that fit, the one that the fewest releases contradict is taken.
    fn find_key(&self, sum: &BodySum) -> Result<(SummedKey, Vec<MemberIndex>), String> {
        let (seed, packing) = (self.plan.mask_seed(), self.plan.packing());
        let contributors = self.contributors.len();
        let (releases, threshold) = (self.releases.len(), self.threshold());
        let mut best: Option<(SummedKey, Vec<MemberIndex>)> = None;
        for set in Sets::of(threshold, releases).take(MOST_SETS) {
            let key = self.key_of(&set)?;
            if !glwe::fits(sum, &key, &seed, packing, contributors) {
                continue;
            }
            let against = self.false_releases(&set, &key);
            // t releases and one more on one polynomial are no accident.
            let certain = against.is_empty() || releases - against.len() > threshold;
            let fewer = |(_, least): &(_, Vec<_>)| against.len() < least.len();
            if best.as_ref().is_none_or(fewer) {
                best = Some((key, against));
            }
            if certain {
                break;
            }
        }
        best.ok_or_else(|| format!("the noise of no key of the {releases} releases is in bound"))
    }

    fn key_of(&self, set: &[usize]) -> Result<SummedKey, String> {
        let shares: Vec<_> = set
            .iter()
            .filter_map(|place| self.releases.get(*place))
            .map(|(_, share)| share.clone())
            .collect();
        shamir::interpolate(&shares, self.threshold()).map_err(|error| error.to_string())
    }

    /// Whose releases contradict those of `set`: put in the place of one of them, another key comes
    /// out.
    fn false_releases(&self, set: &[usize], key: &SummedKey) -> Vec<MemberIndex> {
        let Some((_, others)) = set.split_first() else {
            return Vec::new();
        };
        let contradicts = |place: usize| {
            let mut swapped = others.to_vec();
            swapped.push(place);
            self.key_of(&swapped).is_ok_and(|other| other != *key)
        };
        (0..self.releases.len())
            .filter(|place| !set.contains(place) && contradicts(*place))
            .filter_map(|place| self.releases.get(place))
            .map(|(member, _)| *member)
            .collect()
    }

    /// Commits to what was opened, so that the contributors can check it.
    #[must_use]
    pub fn verification(
        self,
        opened: OpenedSum,
        coordinator: &SigningIdentity,
    ) -> super::Verification {
        super::Verification::begin(
            self.plan,
            self.propose,
            self.certificate,
            opened,
            coordinator,
        )
    }
}

/// What a sum opened to.
pub struct OpenedSum {
    pub(super) key: SummedKey,
    sums: Vec<u64>,
    pub(super) phases: Vec<u64>,
    /// To all of it.
    pub(super) commitment: Digest,
    /// Of the summed body and the summed key, under the commitment's challenge.
    pub(super) hashes: LinearHashes,
    false_releases: Vec<MemberIndex>,
}

/// Subsets of `take` out of `0..from`, in lexicographic order.
struct Sets {
    next: Option<Vec<usize>>,
    from: usize,
}

impl Sets {
    fn of(take: usize, from: usize) -> Self {
        let next = (take <= from).then(|| (0..take).collect());
        Self { next, from }
    }
}

impl Iterator for Sets {
    type Item = Vec<usize>;

    fn next(&mut self) -> Option<Vec<usize>> {
        let current = self.next.take()?;
        let take = current.len();
        // The last place that can still move up takes everything behind it along.
        let movable = current
            .iter()
            .enumerate()
            .rev()
            .find(|(place, value)| **value + (take - place) < self.from);
        if let Some((place, &value)) = movable {
            let kept = current.iter().take(place).copied();
            self.next = Some(kept.chain(value + 1..=value + (take - place)).collect());
        }
        Some(current)
    }
}

impl OpenedSum {
    /// The summed codes over U, in the shape's order.
    #[must_use]
    pub fn sums(&self) -> &[u64] {
        &self.sums
    }

    /// Members whose releases are false, as far as that can be told: if the key is right, which the
    /// contributors' hashes of their keys show, and at most f seats lie.
    #[must_use]
    pub fn false_releases(&self) -> &[MemberIndex] {
        &self.false_releases
    }

    /// Takes the summed codes out: proving them needs the phases alone.
    #[must_use]
    pub fn take_sums(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.sums)
    }

    /// The commitment to phases and summed key.
    #[must_use]
    pub fn commitment(&self) -> Digest {
        self.commitment
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_set_comes_once_and_in_order() {
        let sets: Vec<_> = Sets::of(3, 5).collect();
        assert_eq!(sets.len(), 10);
        assert_eq!(sets[..3], [vec![0, 1, 2], vec![0, 1, 3], vec![0, 1, 4]]);
        assert_eq!(sets[9], [2, 3, 4]);
        assert!(sets.windows(2).all(|pair| pair[0] < pair[1]));
        assert_eq!(Sets::of(11, 16).count(), 4368);
        assert_eq!(Sets::of(3, 3).count(), 1);
        assert_eq!(Sets::of(4, 3).count(), 0);
    }
}
