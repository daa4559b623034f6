//! The summed body that published phases and a summed key stand for, hashed as the phases come in.

use crate::body::to_wire;
use crate::encode::Packing;
use crate::error::OpenError;
use crate::glwe::SummedKey;
use crate::glwe::decode::Decoder;
use crate::glwe::opening::check_plan;
use crate::linear::{Challenge, LinearHash, LinearHasher, ProductHasher};
use crate::mask::MaskSeed;
use crate::ntt::Transformed;
use crate::params::DEGREE;
use crate::transcript::{Digest, Hasher, domain};

/// Bytes of a phase: 8, little-endian, below q.
pub const PHASE_BYTES: usize = 8;

/// Reads the phases of an opened sum, cut anywhere, and hashes the summed body that they and the
/// summed key add up to, C_j = a_j·S + phase_j, after every check of [`super::open`]: noise at most
/// E(|U|), codes at most |U| times their maximum. One polynomial of it is in memory at a time.
///
/// That it is the sum of what the contributors *sent* is for the sum of their linear hashes to say
/// ([`crate::linear`]); that phases and key are those committed to, for the digest.
pub struct RebuiltHasher<'a> {
    packing: &'a Packing,
    seed: MaskSeed,
    key: Transformed,
    decoder: Decoder<'a>,
    /// Of the phases, of the masks' products by the key, and of a last product that is cut.
    linear: LinearHasher,
    products: ProductHasher,
    cut: LinearHash,
    /// Of phases and key, as [`super::digest`].
    digest: Hasher,
    summed: SummedKey,
    /// Bytes of the polynomial begun.
    begun: Vec<u8>,
    polynomial: u64,
    seen: usize,
    fault: Option<OpenError>,
}

impl<'a> RebuiltHasher<'a> {
    /// Starts with the first phase of a sum over so many contributors.
    ///
    /// # Errors
    /// [`OpenError::Contributors`].
    pub fn new(
        challenge: Challenge,
        seed: &MaskSeed,
        packing: &'a Packing,
        contributors: usize,
        summed: SummedKey,
    ) -> Result<Self, OpenError> {
        check_plan(packing, contributors, packing.coefficients())?;
        let mut digest = Hasher::new(domain::OPENED);
        digest.begin_part(packing.coefficients() * PHASE_BYTES);
        Ok(Self {
            packing,
            seed: *seed,
            key: Transformed::new(summed.coefficients()),
            decoder: Decoder::new(packing, contributors),
            linear: LinearHasher::new(challenge),
            products: ProductHasher::new(challenge),
            cut: LinearHash::default(),
            digest,
            summed,
            begun: Vec::with_capacity(DEGREE * PHASE_BYTES),
            polynomial: 0,
            seen: 0,
            fault: None,
        })
    }

    /// Takes in the bytes that follow. What is wrong with them is said at the end.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.seen = self.seen.saturating_add(bytes.len());
        if self.seen > self.packing.body_len() || self.fault.is_some() {
            return;
        }
        const WHOLE: usize = DEGREE * PHASE_BYTES;
        if !self.begun.is_empty() {
            let (own, after) = bytes.split_at(bytes.len().min(WHOLE - self.begun.len()));
            bytes = after;
            self.begun.extend_from_slice(own);
            if self.begun.len() == WHOLE {
                self.finish_begun();
            }
        }
        // What comes whole is not copied.
        while let Some((whole, after)) = bytes.split_at_checked(WHOLE) {
            bytes = after;
            self.polynomial(whole);
        }
        self.begun.extend_from_slice(bytes);
    }

    /// The hash of the summed body, and the digest of phases and key.
    ///
    /// # Errors
    /// [`OpenError`].
    pub fn finish(mut self) -> Result<(LinearHash, Digest), OpenError> {
        let expected = self.packing.coefficients();
        if self.seen != self.packing.body_len() {
            let found = self.seen / PHASE_BYTES;
            return Err(OpenError::Length { expected, found });
        }
        if !self.begun.is_empty() {
            self.finish_begun();
        }
        if let Some(fault) = self.fault {
            return Err(fault);
        }
        self.digest.words(self.summed.coefficients());
        let mut body = self.linear.state();
        body.add(&self.products.finish(&self.key));
        body.add(&self.cut);
        Ok((body, self.digest.finish()))
    }

    /// Checks and hashes the polynomial begun.
    fn finish_begun(&mut self) {
        let mut begun = std::mem::take(&mut self.begun);
        self.polynomial(&begun);
        begun.clear();
        self.begun = begun;
    }

    /// Checks and hashes the next polynomial; the last one may be cut.
    fn polynomial(&mut self, bytes: &[u8]) {
        self.digest.continue_part(bytes);
        let (words, _) = bytes.as_chunks::<PHASE_BYTES>();
        let phases: Vec<u64> = words.iter().map(|word| u64::from_le_bytes(*word)).collect();
        if let Err(fault) = self.decoder.check(&phases) {
            self.fault.get_or_insert(fault);
            return;
        }
        self.linear.values(&phases);
        let mut mask = vec![0; DEGREE];
        self.seed.expand(self.polynomial, &mut mask);
        if phases.len() == DEGREE {
            self.products.add(&mask);
        } else {
            self.key.multiply_values(&mut mask);
            let cut = mask.get(..phases.len()).unwrap_or_default();
            self.cut = self.products.cut(cut);
        }
        self.polynomial += 1;
    }
}

/// [`RebuiltHasher`] of phases that are at hand.
///
/// # Errors
/// [`OpenError`].
pub fn rebuilt_hash(
    challenge: Challenge,
    seed: &MaskSeed,
    packing: &Packing,
    contributors: usize,
    key: &SummedKey,
    phases: &[u64],
) -> Result<LinearHash, OpenError> {
    check_plan(packing, contributors, phases.len())?;
    let mut hasher = RebuiltHasher::new(challenge, seed, packing, contributors, key.clone())?;
    for phases in phases.chunks(DEGREE) {
        hasher.update(&to_wire(phases));
    }
    hasher.finish().map(|(body, _)| body)
}
