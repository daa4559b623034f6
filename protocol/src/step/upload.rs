//! Making an upload: encrypt under a fresh key, piece by piece, then share the key, seal each
//! share to the finished body, sign.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::{fmt, io};

use collegium_crypto::glwe::{Encryptor, KeyWitness, OneTimeKey};
use collegium_crypto::linear::{Challenge, LinearHasher};
use collegium_crypto::rand_core::CryptoRng;
use collegium_crypto::shamir::{self, DealtShare};
use collegium_crypto::transcript::{BodyHasher, Digest, hash};
use zeroize::Zeroizing;

use super::dealing::Dealing;
use super::place::Place;
use super::plan::StepPlan;
use crate::codec::Blob;
use crate::domain;
use crate::ids::{MemberIndex, SeatNumber};
use crate::limits::BODY_CHUNK_BYTES;
use crate::message::step::{
    SealedShare, StepRef, UploadClaim, UploadHeader, UploadTrailer, shares_digest,
};
use crate::message::verify::LinearHashes;
use crate::refusal::{Refusal, RefusalCode};

/// Keeps an upload's ciphertext for as long as the machine holds the upload; dropping it is what
/// erases it. In memory a [`Blob`] does it, on disk the daemon's spool.
pub trait KeptBody: fmt::Debug + Send + Sync {
    /// Hands the whole body to `take`, from its start, in pieces of at most [`BODY_CHUNK_BYTES`]
    /// cut anywhere. Always the same bytes.
    ///
    /// # Errors
    /// Reading errors, and whatever `take` returns.
    fn read(&self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;
}

impl KeptBody for Blob {
    fn read(&self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.as_slice().chunks(BODY_CHUNK_BYTES).try_for_each(take)
    }
}

/// An upload that can be streamed: header frame, raw body, trailer frame. Nothing that is sent is
/// secret, and sending it again sends the same bytes. Its body is kept until the last handle is
/// dropped; the machine holds one as long as the step may still need it.
pub struct ReadyUpload {
    /// The step, for naming it in logs.
    pub step: StepRef,
    /// First frame.
    pub header: UploadHeader,
    body: Arc<dyn KeptBody>,
    /// Last frame.
    pub trailer: UploadTrailer,
    /// Vouches for the key once the step is opened; secret, and wiped with the last handle.
    witness: Mutex<Option<KeyWitness>>,
}

impl fmt::Debug for ReadyUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (step, bytes) = (self.step.step, self.header.body_len);
        write!(f, "ReadyUpload(step {step}, {bytes} bytes)")
    }
}

impl ReadyUpload {
    /// Hands the body to `take` in pieces to write, each at most [`BODY_CHUNK_BYTES`], cut
    /// anywhere.
    ///
    /// # Errors
    /// When the body cannot be read back, and whatever `take` returns.
    pub fn for_each_chunk(&self, take: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        self.body.read(take)
    }

    /// Vouches for body and key under the challenge of a commitment, once: the key's witness is used
    /// up. A few milliseconds per megabyte.
    ///
    /// # Errors
    /// `AlreadyAnswered` the second time; `Internal`, when the body was damaged or cannot be read
    /// back.
    pub fn linear_hashes(&self, challenge: Challenge) -> Result<LinearHashes, Refusal> {
        let mut place = self.witness.lock().unwrap_or_else(PoisonError::into_inner);
        let witness = place.take().ok_or(RefusalCode::AlreadyAnswered)?;
        drop(place);
        let mut hasher = LinearHasher::new(challenge);
        self.for_each_chunk(&mut |piece| {
            hasher.update(piece);
            Ok(())
        })
        .map_err(|_| Refusal::new(RefusalCode::Internal, "the body cannot be read back"))?;
        Ok(LinearHashes {
            body: hasher.finish().map_err(internal)?,
            key: witness.linear_hash(challenge),
        })
    }

    /// The whole body in memory: for small ones and tests.
    ///
    /// # Errors
    /// When it cannot be read back.
    pub fn body(&self) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        self.for_each_chunk(&mut |piece| {
            body.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(body)
    }
}

/// Why an answer does not become an upload.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    /// The step is refused: the codes do not fit, or a fault inside.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The body could not be handed on.
    #[error("the upload's body cannot be kept: {0} (is the disk full?)")]
    Body(#[from] io::Error),
}

impl SealError {
    /// What the coordinator is told: nothing about this site's disk.
    #[must_use]
    pub fn refusal(self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            Self::Body(_) => Refusal::new(RefusalCode::Internal, "the upload cannot be kept"),
        }
    }
}

/// The trainer's codes on their way to becoming an upload; nothing is computed yet. Made by
/// [`super::Contributor::seal`].
pub struct Sealing {
    place: Arc<Place>,
    plan: Box<StepPlan>,
    codes: Zeroizing<Box<[u64]>>,
}

impl Sealing {
    pub(super) fn new(place: Arc<Place>, plan: Box<StepPlan>, codes: Vec<u64>) -> Self {
        // A boxed slice is wiped word by word; the room of a vector, byte by byte.
        let codes = Zeroizing::new(codes.into_boxed_slice());
        Self { place, plan, codes }
    }

    /// The step.
    #[must_use]
    pub fn step(&self) -> StepRef {
        self.plan.reference()
    }

    /// The upload's first frame, known before anything is encrypted.
    #[must_use]
    pub fn header(&self) -> UploadHeader {
        UploadHeader {
            context: self.plan.reference().context,
            member: self.place.index(),
            body_len: self.plan.body_len(),
        }
    }

    /// Encrypts on `threads` threads (1 or more) under a key made here and wiped here, and hands
    /// every piece of the body to `out` in order, on this thread, so that sending can begin with
    /// the first one; then seals the key's shares to H(body) and signs. Beside the codes it holds
    /// one packed word for each ring coefficient. Takes milliseconds per megabyte: call it off the
    /// network's threads.
    ///
    /// # Errors
    /// [`SealError`]; what `out` got is then worth nothing. Codes that do not fit are found before
    /// the first piece.
    pub fn run(
        self,
        threads: usize,
        rng: &mut impl CryptoRng,
        out: &mut dyn FnMut(Vec<u8>) -> io::Result<()>,
    ) -> Result<Sealed, SealError> {
        let header = self.header();
        let Self { place, plan, codes } = self;
        let dealing = Dealing::of(place.charter(), place.index());
        let key = OneTimeKey::generate(rng);
        let (committee, threshold) = (dealing.committee(), dealing.threshold());
        let key_shares =
            shamir::deal(&key, committee, threshold, dealing.first(), rng).map_err(internal)?;
        let witness = key.witness();
        let encryptor = Encryptor::new(key, &plan.mask_seed(), plan.packing(), &codes, rng)
            .map_err(|e| Refusal::new(RefusalCode::AnswerOutOfRange, e))?;
        drop(codes);
        let mut hasher = BodyHasher::new();
        let flow = encryptor.parts_parallel(threads, |_, part| {
            hasher.update(&part);
            match out(part) {
                Ok(()) => ControlFlow::Continue(()),
                Err(error) => ControlFlow::Break(error),
            }
        });
        if let ControlFlow::Break(error) = flow {
            return Err(error.into());
        }
        let trailer = seal_shares(&place, plan.reference(), &key_shares, hasher.finish(), rng)?;
        Ok(Sealed {
            step: plan.reference(),
            header,
            trailer,
            witness,
        })
    }
}

/// Both frames of an upload whose body was handed out whole.
pub struct Sealed {
    step: StepRef,
    header: UploadHeader,
    trailer: UploadTrailer,
    witness: KeyWitness,
}

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed(step {})", self.step.step)
    }
}

impl Sealed {
    /// The upload, with its body where it was kept meanwhile.
    #[must_use]
    pub fn kept(self, body: Arc<dyn KeptBody>) -> ReadyUpload {
        let Self {
            step,
            header,
            trailer,
            witness,
        } = self;
        ReadyUpload {
            step,
            header,
            body,
            trailer,
            witness: Mutex::new(Some(witness)),
        }
    }
}

fn internal(error: impl fmt::Display) -> Refusal {
    Refusal::new(RefusalCode::Internal, error)
}

/// What a sealed share is bound to: moved to another step, dealer, recipient, point or body, it
/// does not open. `point` is the recipient's seat.
pub(super) fn share_binding(
    context: &Digest,
    dealer: MemberIndex,
    recipient: MemberIndex,
    point: SeatNumber,
    body: &Digest,
) -> Digest {
    hash(
        domain::SHARE_BINDING,
        &[
            context.as_bytes(),
            &dealer.get().to_le_bytes(),
            &recipient.get().to_le_bytes(),
            &point.get().to_le_bytes(),
            body.as_bytes(),
        ],
    )
}

/// Seals a share to every seat of the committee and signs the whole.
fn seal_shares(
    place: &Place,
    step: StepRef,
    key_shares: &[DealtShare],
    body: Digest,
    rng: &mut impl CryptoRng,
) -> Result<UploadTrailer, Refusal> {
    let mut shares = Vec::with_capacity(key_shares.len());
    for ((number, member), share) in place.charter().seats().zip(key_shares) {
        let (dealer, recipient) = (place.index(), member.index);
        let binding = share_binding(&step.context, dealer, recipient, number, &body);
        let sealed = member
            .sealing
            .seal(
                step.context.as_bytes(),
                binding.as_bytes(),
                &share.to_bytes(),
                rng,
            )
            .map_err(internal)?;
        shares.push(SealedShare {
            seat: number,
            sealed: Blob(sealed),
        });
    }
    let leaves: Vec<_> = shares.iter().map(SealedShare::leaf).collect();
    let claim = UploadClaim::sign(
        &step.context,
        place.index(),
        body,
        shares_digest(&leaves),
        place.identity(),
    );
    Ok(UploadTrailer {
        shares,
        signature: claim.signature,
    })
}
