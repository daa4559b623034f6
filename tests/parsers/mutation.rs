//! Seeded changes of inputs: small ones, and those that parsers trip over.

use collegium_crypto::rand_core::Rng;
use collegium_crypto::randomness::seeded_rng;

/// Lengths and numbers that a parser must not believe: varints of the codec that claim 2^16 to
/// 2^64, and decimals beyond every type.
const CLAIMS: [&[u8]; 9] = [
    &[251, 0xff, 0xff],
    &[252, 0xff, 0xff, 0xff, 0xff],
    &[253, 0, 0, 0, 0, 0, 1, 0, 0],
    &[253, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    &[254],
    b"99999999999999999999",
    b"-9223372036854775809",
    b"1e999",
    b"4294967296",
];

/// Longest mutated input.
const LONGEST: usize = 64 << 10;

pub struct Mutator(Box<dyn FnMut() -> u32>);

impl Mutator {
    pub fn new(seed: u64) -> Self {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut rng = seeded_rng(bytes);
        Self(Box::new(move || rng.next_u32()))
    }

    fn below(&mut self, n: usize) -> usize {
        (self.0)() as usize % n.max(1)
    }

    /// One of the inputs with one to four changes.
    pub fn mutate(&mut self, inputs: &[Vec<u8>]) -> Vec<u8> {
        let mut bytes = inputs[self.below(inputs.len())].clone();
        for _ in 0..=self.below(4) {
            self.change(&mut bytes, inputs);
        }
        bytes.truncate(LONGEST);
        bytes
    }

    fn change(&mut self, bytes: &mut Vec<u8>, inputs: &[Vec<u8>]) {
        let place = self.below(bytes.len() + 1);
        let end = (place + 1 + self.below(24)).min(bytes.len());
        match self.below(8) {
            0 if !bytes.is_empty() => {
                let place = self.below(bytes.len());
                bytes[place] ^= 1 << self.below(8);
            }
            1 if !bytes.is_empty() => {
                let place = self.below(bytes.len());
                bytes[place] = [0, 1, 0x7f, 0x80, 0xfa, 0xff][self.below(6)];
            }
            2 => bytes.truncate(place),
            3 => drop(bytes.drain(place.min(end)..end)),
            4 => {
                let piece = bytes[place.min(end)..end].to_vec();
                bytes.splice(place..place, piece);
            }
            5 => {
                let claim = CLAIMS[self.below(CLAIMS.len())];
                let end = place.min(bytes.len());
                bytes.splice(end..end, claim.iter().copied());
            }
            6 => {
                let claim = CLAIMS[self.below(CLAIMS.len())];
                bytes.splice(place.min(end)..end, claim.iter().copied());
            }
            _ => {
                let other = &inputs[self.below(inputs.len())];
                let from = self.below(other.len() + 1);
                bytes.truncate(place);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
}
