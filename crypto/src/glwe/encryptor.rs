//! Encrypting one answer.

use crate::body::COEFFICIENT_BYTES;
use crate::encode::Packing;
use crate::error::EncodeError;
use crate::field;
use crate::glwe::OneTimeKey;
use crate::mask::MaskSeed;
use crate::noise::NoiseSeed;
use crate::ntt::Transformed;
use crate::params::DEGREE;
use rand_core::CryptoRng;
use std::ops::ControlFlow;
use std::sync::mpsc::sync_channel;
use zeroize::Zeroizing;

/// Parts that each thread may be ahead of the one that takes them: 32 KiB each.
const PARTS_AHEAD: usize = 4;

/// Encrypts one answer, a polynomial at a time, so that sending can start at once. Each part is
/// the next piece of the body, at most 32 KiB.
///
/// As an iterator it gives the parts in order; [`Encryptor::parts_parallel`] too, from several
/// threads; [`Encryptor::part`] gives any part. The bytes are the same in all three cases: every
/// polynomial has its own mask and its own stretch of the noise's keystream.
pub struct Encryptor {
    key: Transformed,
    seed: MaskSeed,
    messages: Zeroizing<Box<[u64]>>,
    noise: NoiseSeed,
    next: usize,
    scratch: Scratch,
}

/// Memory for one polynomial, reused between them. Wiped when dropped.
struct Scratch {
    terms: Zeroizing<Vec<i8>>,
    polynomial: Zeroizing<Vec<u64>>,
}

impl Scratch {
    fn new() -> Self {
        Self {
            terms: Zeroizing::new(vec![0; DEGREE]),
            polynomial: Zeroizing::new(vec![0; DEGREE]),
        }
    }

    /// No memory yet.
    fn empty() -> Self {
        Self {
            terms: Zeroizing::new(Vec::new()),
            polynomial: Zeroizing::new(Vec::new()),
        }
    }
}

impl Encryptor {
    /// Packs `codes` and prepares to encrypt them under `key`, which is used up.
    ///
    /// Noise comes from a ChaCha20 keystream whose seed is drawn from `rng` now.
    ///
    /// # Errors
    /// [`EncodeError`] when the codes do not fit the plan's shape.
    pub fn new(
        key: OneTimeKey,
        seed: &MaskSeed,
        packing: &Packing,
        codes: &[u64],
        rng: &mut impl CryptoRng,
    ) -> Result<Self, EncodeError> {
        Ok(Self {
            messages: Zeroizing::new(packing.encode(codes)?.into_boxed_slice()),
            key: Transformed::new(key.coefficients()),
            seed: *seed,
            noise: NoiseSeed::generate(rng),
            next: 0,
            scratch: Scratch::new(),
        })
    }

    /// Bytes of the whole body.
    #[must_use]
    pub fn body_len(&self) -> usize {
        self.messages.len() * COEFFICIENT_BYTES
    }

    /// The number of parts of the whole body.
    #[must_use]
    pub fn parts(&self) -> usize {
        self.messages.len().div_ceil(DEGREE)
    }

    /// Part number `index` of the body, from 0; nothing beyond the last one. May be called from
    /// several threads at a time, in any order, and again: the bytes are always the same.
    #[must_use]
    pub fn part(&self, index: usize) -> Option<Vec<u8>> {
        self.encrypt(index, &mut Scratch::new())
    }

    /// Encrypts all parts on `threads` threads (at least one; no more than there are parts) and
    /// gives them to `take` in order, with their numbers, on the calling thread, from the first
    /// one on as soon as it is there. When `take` breaks off, so does this.
    ///
    /// Memory is bounded: each thread is at most a few parts ahead.
    pub fn parts_parallel<B>(
        &self,
        threads: usize,
        mut take: impl FnMut(usize, Vec<u8>) -> ControlFlow<B>,
    ) -> ControlFlow<B> {
        let threads = threads.clamp(1, self.parts().max(1));
        if threads == 1 {
            let mut scratch = Scratch::new();
            for index in 0..self.parts() {
                if let Some(part) = self.encrypt(index, &mut scratch) {
                    take(index, part)?;
                }
            }
            return ControlFlow::Continue(());
        }
        std::thread::scope(|scope| {
            // Thread w makes parts w, w + threads, …; taking in turns keeps them in order.
            let lanes: Vec<_> = (0..threads)
                .map(|first| {
                    let (send, receive) = sync_channel(PARTS_AHEAD);
                    scope.spawn(move || {
                        let mut scratch = Scratch::new();
                        for index in (first..self.parts()).step_by(threads) {
                            let part = self.encrypt(index, &mut scratch);
                            // A closed channel: whoever takes has broken off.
                            if part.is_none_or(|part| send.send(part).is_err()) {
                                return;
                            }
                        }
                    });
                    receive
                })
                .collect();
            for (index, lane) in (0..self.parts()).zip(lanes.iter().cycle()) {
                // A thread that panicked closes its channel; the scope passes the panic on.
                let Ok(part) = lane.recv() else { break };
                take(index, part)?;
            }
            ControlFlow::Continue(())
        })
    }

    /// The rest of the body in one piece.
    #[must_use]
    pub fn into_body(self) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.body_len());
        for part in self {
            body.extend_from_slice(&part);
        }
        body
    }

    fn encrypt(&self, index: usize, scratch: &mut Scratch) -> Option<Vec<u8>> {
        let first = index.checked_mul(DEGREE)?;
        let messages = self.messages.get(first..).filter(|rest| !rest.is_empty())?;
        let (messages, _) = messages.split_at(messages.len().min(DEGREE));
        let Scratch { terms, polynomial } = scratch;
        self.seed.expand(index as u64, polynomial);
        self.key.multiply_values(polynomial);
        self.noise.draw(first as u64, terms);
        let mut bytes = vec![0; messages.len() * COEFFICIENT_BYTES];
        pulp::Arch::new().dispatch(Assemble {
            products: polynomial,
            terms,
            messages,
            body: &mut bytes,
        });
        Some(bytes)
    }
}

/// a·s + e + Δ·m, coefficient by coefficient, compiled for the processor's vector instructions.
struct Assemble<'a> {
    products: &'a [u64],
    terms: &'a [i8],
    messages: &'a [u64],
    body: &'a mut [u8],
}

impl pulp::NullaryFnOnce for Assemble<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let (words, _) = self.body.as_chunks_mut::<COEFFICIENT_BYTES>();
        let noisy = self.products.iter().zip(self.terms);
        for ((word, &message), (&product, &term)) in words.iter_mut().zip(self.messages).zip(noisy)
        {
            let noisy = field::add(product, field::from_signed(i64::from(term)));
            *word = field::add(noisy, message).to_le_bytes();
        }
    }
}

impl Iterator for Encryptor {
    type Item = Vec<u8>;

    fn next(&mut self) -> Option<Vec<u8>> {
        // The scratch memory is taken out while `self` is borrowed, and put back.
        let mut scratch = std::mem::replace(&mut self.scratch, Scratch::empty());
        let part = self.encrypt(self.next, &mut scratch);
        self.scratch = scratch;
        self.next += usize::from(part.is_some());
        part
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.parts() - self.next;
        (left, Some(left))
    }
}

impl ExactSizeIterator for Encryptor {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::encode::{Segment, Shape};
    use crate::params::ParamSet;
    use crate::randomness::seeded_rng;
    use crate::transcript::hash;

    /// An encryptor of ones, one code to a coefficient.
    fn encryptor(coefficients: usize) -> (Packing, Encryptor) {
        let shape = Shape(vec![Segment {
            max: (1 << 40) - 1,
            count: coefficients,
        }]);
        let packing = Packing::plan(&shape, 3, ParamSet::current()).unwrap();
        let seed = MaskSeed(hash(crate::domain::MASK, &[b"encryptor tests"]));
        let mut rng = seeded_rng([32; 32]);
        let key = OneTimeKey::generate(&mut rng);
        let codes = vec![1; coefficients];
        let encryptor = Encryptor::new(key, &seed, &packing, &codes, &mut rng).unwrap();
        (packing, encryptor)
    }

    #[test]
    fn bodies_are_cut_after_the_last_coefficient_and_come_in_parts() {
        for coefficients in [0, 1, DEGREE - 1, DEGREE, DEGREE + 1, 3 * DEGREE] {
            let (packing, encryptor) = encryptor(coefficients);
            assert_eq!(packing.coefficients(), coefficients);
            assert_eq!(encryptor.len(), packing.polynomials());
            assert_eq!(encryptor.body_len(), packing.body_len());
            let parts: Vec<_> = encryptor.collect();
            assert_eq!(parts.len(), packing.polynomials());
            let longest = parts.iter().map(Vec::len).max().unwrap_or(0);
            assert!(longest <= DEGREE * COEFFICIENT_BYTES);
            assert_eq!(parts.concat().len(), packing.body_len());
        }
    }

    #[test]
    fn bytes_do_not_depend_on_threads_or_order() {
        for coefficients in [0, 5, 2 * DEGREE, 23 * DEGREE + 9] {
            let (_, serial) = encryptor(coefficients);
            let parts: Vec<_> = (0..serial.parts()).rev().map(|i| serial.part(i)).collect();
            assert!(serial.part(parts.len()).is_none() && serial.part(usize::MAX).is_none());
            let body = serial.into_body();
            let parts: Vec<u8> = parts.into_iter().rev().flatten().flatten().collect();
            assert!(parts == body);
            for threads in [0, 1, 2, 3, 8, 100] {
                let (_, parallel) = encryptor(coefficients);
                let (mut found, mut expected) = (Vec::new(), 0);
                let flow = parallel.parts_parallel(threads, |index, part| {
                    assert_eq!(index, expected, "out of order");
                    expected += 1;
                    found.extend(part);
                    ControlFlow::<()>::Continue(())
                });
                assert_eq!(flow, ControlFlow::Continue(()));
                assert!(
                    found == body,
                    "{coefficients} coefficients, {threads} threads"
                );
            }
        }
    }

    #[test]
    fn breaking_off_stops_all_threads() {
        for threads in [1, 2, 3] {
            let (_, encryptor) = encryptor(40 * DEGREE);
            let mut taken = 0;
            let flow = encryptor.parts_parallel(threads, |index, _| {
                taken += 1;
                match index {
                    6 => ControlFlow::Break("the connection is gone"),
                    _ => ControlFlow::Continue(()),
                }
            });
            assert_eq!(flow, ControlFlow::Break("the connection is gone"));
            assert_eq!(taken, 7);
        }
    }
}
