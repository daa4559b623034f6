//! Field elements from an extendable output: BLAKE3 in key-derivation mode, as in
//! [`crate::transcript`], read as 8-byte little-endian words, of which those of q and above are
//! thrown away. Masks, seeded shares and challenges are read so.

use crate::field;
use crate::transcript::Hasher;
use zeroize::Zeroizing;

#[cfg(target_arch = "x86_64")]
mod wide;

/// Bytes read at a time. Not part of any format: the output has no blocks.
const BLOCK: usize = 1024;

/// Fills `out` with the first elements of the output of everything that was hashed.
///
/// May be used for secrets: which words were thrown away says nothing about those that were kept.
pub(crate) fn elements(hasher: &Hasher, out: &mut [u64]) {
    let mut reader = hasher.finish_xof();
    sample(|buffer| reader.fill(buffer), out);
}

/// [`elements`] of `seed ‖ number`, each a part: what masks and seeded shares are. Quicker.
pub(crate) fn expand(domain: &'static str, seed: &[u8; 32], number: u64, out: &mut [u64]) {
    #[cfg(target_arch = "x86_64")]
    if expand_wide(domain, seed, number, out).is_some() {
        return;
    }
    let mut hasher = Hasher::new(domain);
    hasher.part(seed).number(number);
    elements(&hasher, out);
}

/// [`expand`] where the processor has the instructions, `out` is whole runs of blocks, and no word
/// has to be thrown away: all but one in 2^20 polynomials. None otherwise, with anything in `out`.
#[cfg(target_arch = "x86_64")]
fn expand_wide(domain: &'static str, seed: &[u8; 32], number: u64, out: &mut [u64]) -> Option<()> {
    let mut input = Zeroizing::new([0u8; 56]);
    let parts = [&32u64.to_le_bytes(), seed.as_slice(), &8u64.to_le_bytes()];
    let last = number.to_le_bytes();
    let bytes = parts.into_iter().flatten().chain(&last);
    for (place, &byte) in input.iter_mut().zip(bytes) {
        *place = byte;
    }
    let (runs, rest) = out.as_chunks_mut::<{ wide::WORDS }>();
    if !rest.is_empty() {
        return None;
    }
    wide::Root::new(domain, input.as_slice())?.fill(runs);
    field::all_canonical(out).then_some(())
}

/// Fills `out` with the words below q of a byte stream, in order.
fn sample(mut read: impl FnMut(&mut [u8]), out: &mut [u64]) {
    let mut bytes = Zeroizing::new([0u8; BLOCK]);
    let mut filled = 0;
    while let Some(rest) = out.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        read(bytes.as_mut_slice());
        let (words, _) = bytes.as_chunks::<8>();
        for (element, word) in rest.iter_mut().zip(words) {
            *element = u64::from_le_bytes(*word);
        }
        let copied = rest.len().min(words.len());
        // One word in 2^32 is thrown away; then the block is gone through again, word by word.
        let (fresh, _) = rest.split_at(copied);
        if field::all_canonical(fresh) {
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

/// Small uniform numbers from an extendable output: 8-byte little-endian words, those thrown away
/// that would make some results likelier than others. For public values only.
pub(crate) struct Numbers(blake3::OutputReader);

impl Numbers {
    /// Reads the output of everything that was hashed, from its start.
    pub(crate) fn new(hasher: &Hasher) -> Self {
        Self(hasher.finish_xof())
    }

    /// A uniform number below `bound`; 0 for a bound of 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // The multiples of the bound that fit in 2^64; words beyond them are thrown away.
        let excess = (u64::MAX % bound.max(1)).wrapping_add(1) % bound.max(1);
        loop {
            let mut bytes = [0; 8];
            self.0.fill(&mut bytes);
            let word = u64::from_le_bytes(bytes);
            if word <= u64::MAX - excess {
                return word % bound.max(1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transcript::domain;

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

    /// With vector instructions or without: the same elements, at every counter and length.
    #[test]
    fn quick_expansion_is_the_hash_function_s() {
        // The last one has a word to throw away, at place 377: one expansion in 2^20 has.
        let thrown_away = (1_956_656, 4096);
        for (number, length) in [
            (0, 4096),
            (1, 64),
            (1 << 40, 128),
            (7, 100),
            (9, 0),
            thrown_away,
        ] {
            let seed = [1; 32];
            let mut hasher = Hasher::new(domain::MASK_EXPAND);
            hasher.part(&seed).number(number);
            let (mut quick, mut plain) = (vec![0; length], vec![1; length]);
            expand(domain::MASK_EXPAND, &seed, number, &mut quick);
            elements(&hasher, &mut plain);
            assert!(quick == plain, "{length} elements of number {number}");
        }
    }

    #[test]
    fn small_numbers_are_below_their_bound_and_all_occur() {
        let hasher = Hasher::new(domain::COMMITTEE);
        for bound in [1u64, 2, 3, 7, 96] {
            let mut numbers = Numbers::new(&hasher);
            let mut seen = vec![0; bound as usize];
            for _ in 0..100 * bound {
                seen[numbers.below(bound) as usize] += 1;
            }
            assert!(seen.iter().all(|&times| times > 40), "{bound}: {seen:?}");
        }
        assert!(Numbers::new(&hasher).below((1 << 63) + 1) <= 1 << 63);
        assert_eq!(Numbers::new(&hasher).below(0), 0);
    }
}
