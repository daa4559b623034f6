//! Compiled-in parameters and thresholds. Neither is ever read from a configuration or a peer:
//! what travels is an id, and a node refuses ids it does not know.

use crate::error::ParamsError;
use crate::field::Q;
use crate::transcript::{Digest, Hasher, domain};

/// Coefficients in a ring element: the ring is Z_q\[X\]/(X^4096 + 1).
pub const DEGREE: usize = 4096;

/// Noise is centred binomial with this parameter: |e| <= 80, standard deviation √40 = 6.32.
pub const NOISE_ETA: u32 = 80;

/// Fewest members of a consortium. With two, each would learn the other's contribution.
pub const MIN_MEMBERS: usize = 3;

/// Members of the largest committee, and the largest share point. Up to so many members everybody sits
/// (each of n seals n shares of 32 KiB: 288 MiB through the coordinator in a step of 96); of more, so
/// many are drawn. With 96 seats, 31 may collude: what that means for a consortium of a thousand is
/// worked out in docs/parameters.md.
pub const MAX_COMMITTEE: usize = 96;

/// Most members of a consortium: the packing table ends at 1000 members, and the noise bound of
/// 1024 (2127) still fits the 16 bits of a published residual.
pub const MAX_MEMBERS: usize = 1024;

/// A named set of parameters of the encryption scheme. Only compiled-in sets exist.
#[derive(Debug, PartialEq, Eq)]
pub struct ParamSet {
    id: &'static str,
    degree: usize,
    modulus: u64,
    noise_eta: u32,
}

/// N = 4096, 64-bit q, uniform keys, CBD(80): an estimated 230 bits against the coordinator
/// together with all but two members (lattice-estimator, MATZOV model). The argument, and how to
/// recompute the estimate: docs/parameters.md and crypto/estimate. Version 2 draws masks as values of
/// the transform (docs/adr/0019-masks-are-drawn-as-values.md).
pub static N4096_Q64_CBD80_V2: ParamSet = ParamSet {
    id: "collegium-glwe-n4096-q64-cbd80-v2",
    degree: DEGREE,
    modulus: Q,
    noise_eta: NOISE_ETA,
};

/// Ids of all compiled-in sets, for messages.
const KNOWN_IDS: &str = "collegium-glwe-n4096-q64-cbd80-v2";

impl ParamSet {
    /// The set that new charters use.
    #[must_use]
    pub fn current() -> &'static ParamSet {
        &N4096_Q64_CBD80_V2
    }

    /// The compiled-in set with this id.
    ///
    /// # Errors
    /// [`ParamsError::UnknownSet`] for any other id.
    pub fn by_id(id: &str) -> Result<&'static ParamSet, ParamsError> {
        if id == N4096_Q64_CBD80_V2.id {
            return Ok(&N4096_Q64_CBD80_V2);
        }
        Err(ParamsError::UnknownSet {
            id: id.chars().take(80).collect(),
            known: KNOWN_IDS,
        })
    }

    /// The name of the set, as charters carry it.
    #[must_use]
    pub const fn id(&self) -> &'static str {
        self.id
    }

    /// Coefficients per polynomial.
    #[must_use]
    pub const fn degree(&self) -> usize {
        self.degree
    }

    /// The modulus q.
    #[must_use]
    pub const fn modulus(&self) -> u64 {
        self.modulus
    }

    /// E(n): the bound that the summed noise of `contributors` members keeps, ⌈10.5·6.33·√n⌉.
    /// Any of 2^24 coefficients exceeds it with probability 2^-62.6 for four members, 2^-59.4 at
    /// most. Integer arithmetic only, so that every machine agrees.
    #[must_use]
    pub fn noise_bound(&self, contributors: usize) -> u64 {
        // 10.5 · 6.33 = 66.465, so E² · 1000² >= 66465² · n with the smallest such E.
        let target = 66_465u128.pow(2) * contributors as u128;
        let root = target.isqrt();
        let thousandths = if root * root == target {
            root
        } else {
            root + 1
        };
        // At most 66465 · 2^32 / 1000 for any usize, far below 2^64.
        thousandths.div_ceil(1000) as u64
    }

    /// Binds the id to the numbers behind it.
    #[must_use]
    pub fn digest(&self) -> Digest {
        let mut hasher = Hasher::new(domain::PARAMS);
        hasher
            .part(self.id.as_bytes())
            .number(self.degree as u64)
            .number(self.modulus)
            .number(u64::from(self.noise_eta));
        hasher.finish()
    }
}

/// How many members must agree, release and contribute, for a consortium of a given size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// k: members of the committee. Everybody up to [`MAX_COMMITTEE`]; of more, so many drawn ones.
    pub committee: usize,
    /// Q = ⌊2k/3⌋ + 1: votes that make a certificate.
    pub quorum: usize,
    /// t = Q: shares that open a sum.
    pub threshold: usize,
    /// max(3, f + 2, ⌈2n/3⌉): members whose contributions must be in a sum.
    pub min_contributors: usize,
    /// f = ⌊(k−1)/3⌋: colluding members that a malicious coordinator may have on the committee.
    pub max_colluding: usize,
}

impl Thresholds {
    /// The thresholds of a consortium of `members`.
    ///
    /// # Errors
    /// [`ParamsError::Members`] unless [`MIN_MEMBERS`] <= `members` <= [`MAX_MEMBERS`].
    pub fn for_members(members: usize) -> Result<Self, ParamsError> {
        if !(MIN_MEMBERS..=MAX_MEMBERS).contains(&members) {
            return Err(ParamsError::Members {
                members,
                minimum: MIN_MEMBERS,
                maximum: MAX_MEMBERS,
            });
        }
        let committee = members.min(MAX_COMMITTEE);
        let quorum = 2 * committee / 3 + 1;
        let max_colluding = (committee - 1) / 3;
        Ok(Self {
            committee,
            quorum,
            threshold: quorum,
            min_contributors: 3.max(max_colluding + 2).max((2 * members).div_ceil(3)),
            max_colluding,
        })
    }

    /// Members that may stay silent when a sum is opened.
    #[must_use]
    pub const fn silent_survived(&self) -> usize {
        self.committee - self.threshold
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thresholds_are_those_of_the_design() {
        // n, Q = t, silent members survived, colluding members survived
        for (members, quorum, silent, colluding) in [
            (3, 3, 0, 0),
            (4, 3, 1, 1),
            (7, 5, 2, 2),
            (10, 7, 3, 3),
            (16, 11, 5, 5),
            (64, 43, 21, 21),
            (70, 47, 23, 23),
            (96, 65, 31, 31),
            (1000, 65, 31, 31),
            (1024, 65, 31, 31),
        ] {
            let found = Thresholds::for_members(members).unwrap();
            assert_eq!(found.committee, members.min(MAX_COMMITTEE));
            assert_eq!(found.quorum, quorum, "{members} members");
            assert_eq!(found.threshold, quorum, "{members} members");
            assert_eq!(found.silent_survived(), silent, "{members} members");
            assert_eq!(found.max_colluding, colluding, "{members} members");
        }
    }

    #[test]
    fn thresholds_keep_their_promises_at_every_size() {
        for members in MIN_MEMBERS..=MAX_MEMBERS {
            let found = Thresholds::for_members(members).unwrap();
            let (k, q, f) = (found.committee, found.quorum, found.max_colluding);
            // Two certificates share an honest voter: 2Q − k > f.
            assert!(
                2 * q > k + f,
                "{members} members: two sets could both be certified"
            );
            // Colluders alone open nothing, and honest members alone open everything.
            assert!(f < found.threshold && found.threshold <= k);
            // A sum keeps at least two honest members in it.
            assert!(found.min_contributors >= f + 2 && found.min_contributors >= 3);
            assert!(3 * found.min_contributors >= 2 * members && found.min_contributors <= members);
        }
    }

    #[test]
    fn other_sizes_and_sets_are_refused() {
        for members in [0, 1, 2, 1025, usize::MAX] {
            let error = Thresholds::for_members(members).unwrap_err();
            assert!(error.to_string().contains("3 to 1024"), "{error}");
        }
        assert_eq!(
            ParamSet::by_id(ParamSet::current().id()),
            Ok(ParamSet::current())
        );
        let error = ParamSet::by_id("collegium-glwe-n1024").unwrap_err();
        assert!(
            error.to_string().contains(ParamSet::current().id()),
            "{error}"
        );
    }

    #[test]
    fn noise_bound_is_the_ceiling_of_the_formula() {
        let params = ParamSet::current();
        for (members, bound) in [
            (1, 67),
            (3, 116),
            (4, 133),
            (16, 266),
            (64, 532),
            (100, 665),
            (1000, 2102),
        ] {
            assert_eq!(params.noise_bound(members), bound, "{members} members");
        }
        assert!(params.noise_bound(MAX_MEMBERS) <= i16::MAX as u64);
        for members in 1..2000usize {
            let real = 10.5 * 6.33 * (members as f64).sqrt();
            let bound = params.noise_bound(members) as f64;
            assert!(
                bound >= real - 1e-9 && bound < real + 1.0,
                "{members} members"
            );
        }
    }
}
