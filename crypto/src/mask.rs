//! Public masks: uniform ring elements that every member expands from the step's seed.
//!
//! A mask is drawn as **values** ([`crate::ntt`]), not as coefficients: the transform is one to one,
//! so that uniform values are a uniform polynomial, and whoever multiplies by a mask saves a transform.
//!
//! Mask j is read from its own extendable output: BLAKE3 in key-derivation mode with the domain
//! [`domain::MASK_EXPAND`] over `seed ‖ j` (each as a part with its length, as in
//! [`crate::transcript`]). The output is read as 8-byte little-endian words; words of q and above
//! are thrown away; the first 4096 that remain are values 0, 1, 2, … So masks can be made in any
//! order or in parallel.

use crate::ntt;
use crate::params::{DEGREE, ParamSet};
use crate::transcript::{Digest, Hasher, domain};
use crate::xof;

/// The seed of a step's masks. Public.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaskSeed(pub Digest);

impl MaskSeed {
    /// H("collegium/mask/v1" ‖ params ‖ charter ‖ run ‖ step ‖ H(ask)): nobody chooses it, and no
    /// two steps of a consortium share one.
    #[must_use]
    pub fn derive(
        params: &ParamSet,
        charter: &Digest,
        run: &[u8; 16],
        step: u64,
        ask: &Digest,
    ) -> Self {
        let mut hasher = Hasher::new(domain::MASK);
        hasher
            .part(params.digest().as_bytes())
            .part(charter.as_bytes())
            .part(run)
            .number(step)
            .part(ask.as_bytes());
        Self(hasher.finish())
    }

    /// Writes the values of mask number `index` into `out`, all below q.
    ///
    /// # Panics
    /// If `out` does not have [`DEGREE`] elements.
    pub fn expand(&self, index: u64, out: &mut [u64]) {
        assert_eq!(out.len(), DEGREE, "a mask has {DEGREE} values");
        xof::expand(domain::MASK_EXPAND, self.0.as_bytes(), index, out);
    }

    /// The coefficients of mask number `index`, for whoever wants to see the polynomial: a_j\[0\],
    /// a_j\[1\], …, [`DEGREE`] of them.
    #[must_use]
    pub fn coefficients(&self, index: u64) -> Vec<u64> {
        let mut mask = vec![0; DEGREE];
        self.expand(index, &mut mask);
        ntt::interpolate(&mut mask);
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::field;

    #[test]
    fn every_input_of_the_seed_matters() {
        let params = ParamSet::current();
        let (one, two) = (Digest([1; 32]), Digest([2; 32]));
        let seeds = [
            MaskSeed::derive(params, &one, &[0; 16], 1, &two),
            MaskSeed::derive(params, &two, &[0; 16], 1, &two),
            MaskSeed::derive(params, &one, &[1; 16], 1, &two),
            MaskSeed::derive(params, &one, &[0; 16], 2, &two),
            MaskSeed::derive(params, &one, &[0; 16], 1, &one),
        ];
        for (i, seed) in seeds.iter().enumerate() {
            for other in &seeds[i + 1..] {
                assert_ne!(seed, other);
            }
        }
    }

    #[test]
    fn masks_of_one_seed_differ_and_are_canonical() {
        let seed = MaskSeed(Digest([9; 32]));
        let (mut first, mut second) = (vec![0; DEGREE], vec![0; DEGREE]);
        seed.expand(0, &mut first);
        seed.expand(1, &mut second);
        assert_ne!(first, second);
        assert!(field::all_canonical(&first) && field::all_canonical(&second));
    }
}
