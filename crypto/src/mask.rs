//! Public masks: uniform ring elements that every member expands from the step's seed.
//!
//! Mask j is read from its own extendable output: BLAKE3 in key-derivation mode with the domain
//! [`domain::MASK_EXPAND`] over `seed ‖ j` (each as a part with its length, as in
//! [`crate::transcript`]). The output is read as 8-byte little-endian words; words of q and above
//! are thrown away; the first 4096 that remain are coefficients 0, 1, 2, … So masks can be made in
//! any order or in parallel, and no order of a transform is part of the format.

use crate::field;
use crate::params::{DEGREE, ParamSet};
use crate::transcript::{Digest, Hasher, domain};

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

    /// Writes mask number `index` into `out`.
    ///
    /// # Panics
    /// If `out` does not have [`DEGREE`] elements.
    pub fn expand(&self, index: u64, out: &mut [u64]) {
        assert_eq!(out.len(), DEGREE, "a mask has {DEGREE} coefficients");
        let mut hasher = Hasher::new(domain::MASK_EXPAND);
        hasher.part(self.0.as_bytes()).number(index);
        let mut reader = hasher.finish_xof();
        sample(|buffer| reader.fill(buffer), out);
    }
}

/// Fills `out` with the words below q of a byte stream, in order. Masks are public: branches are
/// fine.
fn sample(mut read: impl FnMut(&mut [u8]), out: &mut [u64]) {
    /// Bytes read from the stream at a time. Not part of the format: the stream has no blocks.
    const BLOCK: usize = 1024;
    let mut bytes = [0u8; BLOCK];
    let mut filled = 0;
    while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        read(&mut bytes);
        let (words, _) = bytes.as_chunks::<8>();
        for (element, word) in rest.iter_mut().zip(words) {
            *element = u64::from_le_bytes(*word);
        }
        let copied = rest.len().min(words.len());
        // One word in 2^32 is thrown away; then the block is gone through again, word by word.
        if rest.iter().take(copied).all(|&value| value < field::Q) {
            filled += copied;
            continue;
        }
        let kept = words
            .iter()
            .map(|word| u64::from_le_bytes(*word))
            .filter(|&v| v < field::Q);
        for (element, value) in rest.iter_mut().zip(kept) {
            *element = value;
            filled += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_q_and_above_are_thrown_away() {
        let words = [field::Q, 5, field::Q - 1, u64::MAX, 0, 7, field::Q, 9];
        let mut stream = words.iter().cycle();
        let mut out = [0; 8];
        sample(
            |buffer| {
                for chunk in buffer.as_chunks_mut::<8>().0 {
                    *chunk = stream.next().unwrap().to_le_bytes();
                }
            },
            &mut out,
        );
        assert_eq!(out, [5, field::Q - 1, 0, 7, 9, 5, field::Q - 1, 0]);
    }

    #[test]
    fn sampling_is_filtering_wherever_the_words_of_q_and_above_are() {
        // 400 words, three blocks of the reader and a bit; a bad word at every place in turn.
        for bad in 0..400u64 {
            let word = |i: u64| if i == bad { u64::MAX } else { i };
            let mut next = 0;
            let mut out = [0; 300];
            sample(
                |buffer| {
                    for chunk in buffer.as_chunks_mut::<8>().0 {
                        *chunk = word(next).to_le_bytes();
                        next += 1;
                    }
                },
                &mut out,
            );
            let expected: Vec<u64> = (0..)
                .map(word)
                .filter(|&v| v < field::Q)
                .take(300)
                .collect();
            assert_eq!(out.as_slice(), expected, "bad word at {bad}");
        }
    }

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
