//! What a lying member may do to everything that its daemon would send.

use collegium_crypto::encode::Packing;
use collegium_crypto::field;
use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::rand_core::CryptoRng;
use collegium_crypto::seal;
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::{Complaint, Release, SealedShare, StepRef, Verdict, Vote};
use collegium_protocol::{Blob, Digest, MemberIndex, RefusalCode};

use crate::support::{Parts, Up, World, shape, share_binding};

/// What travels to the coordinator.
#[derive(Debug, Clone)]
pub enum Sent {
    Message(ToCoordinator),
    Upload(Parts),
}

impl From<Up> for Sent {
    fn from(up: Up) -> Self {
        match up {
            Up::Message(message) => Self::Message(message),
            Up::Upload(upload) => Self::Upload(Parts::of(&upload)),
        }
    }
}

/// One way to lie. Each but the last three either gets the liar left out, or spoils the step so
/// that nothing of it is shown, or changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lie {
    /// A body that was changed after it was signed.
    BodyNotSigned,
    /// A signed body that encrypts nothing: half a Δ off.
    BodyOffTheLattice,
    /// One sealed share that does not open, signed.
    ShareDoesNotOpen,
    /// One well-formed share of another key, signed.
    ShareOfAnotherKey,
    /// All shares of another key than the body's, signed.
    SharesOfAnotherKey,
    /// A share is missing.
    ShareMissing,
    /// Complaints about everybody.
    ComplainsAboutAll,
    /// A complaint about the first dealer it hears of.
    ComplainsAboutOne,
    /// A vote for a set that was never proposed.
    VotesForAnotherSet,
    /// A vote for the right set with a signature of something else.
    VoteNotSigned,
    /// A signed, well-formed, wrong release.
    WrongRelease,
    /// A release that is cut off.
    ReleaseCutOff,
    /// Refuses every step, with a reason that other members have in earnest.
    Refuses(RefusalCode),
    /// Says nothing at all.
    Silent,
    /// Two different uploads; the first counts, whichever arrives first.
    TwoUploads,
    /// Encrypts what it likes, in range. Nobody can tell, and nobody promises to.
    OtherNumbers,
}

pub const LIES: [Lie; 18] = [
    Lie::BodyNotSigned,
    Lie::BodyOffTheLattice,
    Lie::ShareDoesNotOpen,
    Lie::ShareOfAnotherKey,
    Lie::SharesOfAnotherKey,
    Lie::ShareMissing,
    Lie::ComplainsAboutAll,
    Lie::ComplainsAboutOne,
    Lie::VotesForAnotherSet,
    Lie::VoteNotSigned,
    Lie::WrongRelease,
    Lie::ReleaseCutOff,
    Lie::Refuses(RefusalCode::PolicyDenied),
    Lie::Refuses(RefusalCode::AlreadyAnswered),
    Lie::Refuses(RefusalCode::ReleasedOtherSet),
    Lie::Silent,
    Lie::TwoUploads,
    Lie::OtherNumbers,
];

/// What [`Lie::OtherNumbers`] answers: the largest of everything.
pub fn other_numbers(_: MemberIndex, _: &[u8]) -> Vec<u64> {
    shape()
        .0
        .iter()
        .flat_map(|segment| std::iter::repeat_n(segment.max, segment.count))
        .collect()
}

impl Lie {
    /// Whether a step in which this lie is told may fail its noise check.
    pub fn may_spoil(self) -> bool {
        matches!(
            self,
            Self::BodyOffTheLattice
                | Self::ShareOfAnotherKey
                | Self::SharesOfAnotherKey
                | Self::WrongRelease
        )
    }

    /// What the liar sends instead of `up`, which is what it would say to `heard`.
    pub fn tell(
        self,
        world: &World,
        from: MemberIndex,
        heard: &ToNode,
        up: Up,
        rng: &mut impl CryptoRng,
    ) -> Vec<Sent> {
        match (self, up) {
            (Self::Silent, _) => Vec::new(),
            (Self::Refuses(code), Up::Upload(upload)) => vec![refusal(upload.step, code)],
            (_, Up::Upload(upload)) => self.uploads(world, from, Parts::of(&upload), rng),
            (_, Up::Message(message)) => self.says(world, from, heard, message),
        }
    }

    fn uploads(
        self,
        world: &World,
        from: MemberIndex,
        mut parts: Parts,
        rng: &mut impl CryptoRng,
    ) -> Vec<Sent> {
        let identity = &world.identities[from.position()];
        let victim = rng.next_u32() as usize % parts.trailer.shares.len();
        match self {
            Self::BodyNotSigned => parts.body[0] ^= 1,
            Self::BodyOffTheLattice => {
                let body = shifted(&parts.body, delta(world) / 2);
                parts.exchange_body(world, body);
            }
            Self::ShareDoesNotOpen => {
                parts.trailer.shares[victim].sealed.0[40] ^= 1;
                parts.sign(identity);
            }
            Self::ShareOfAnotherKey => {
                let body = parts.body_digest();
                let share = &mut parts.trailer.shares[victim];
                *share = sealed_zeros(world, parts.header.context, from, share, &body, rng);
                parts.sign(identity);
            }
            Self::SharesOfAnotherKey => {
                let body = parts.body_digest();
                for share in &mut parts.trailer.shares {
                    *share = sealed_zeros(world, parts.header.context, from, share, &body, rng);
                }
                parts.sign(identity);
            }
            Self::ShareMissing => drop(parts.trailer.shares.pop()),
            Self::TwoUploads => {
                let first = parts.clone();
                let body = shifted(&parts.body, delta(world));
                parts.exchange_body(world, body);
                return vec![Sent::Upload(first), Sent::Upload(parts)];
            }
            _ => {}
        }
        vec![Sent::Upload(parts)]
    }

    fn says(
        self,
        world: &World,
        from: MemberIndex,
        heard: &ToNode,
        mut message: ToCoordinator,
    ) -> Vec<Sent> {
        let identity = &world.identities[from.position()];
        match (self, &mut message) {
            (Self::ComplainsAboutAll, ToCoordinator::Verdict(verdict)) => {
                complain(verdict, heard, identity);
            }
            (Self::ComplainsAboutOne, ToCoordinator::Verdict(verdict))
                if verdict.dealer.get() == 1 + from.get() % 2 =>
            {
                complain(verdict, heard, identity);
            }
            (Self::VotesForAnotherSet, ToCoordinator::Vote(vote)) => {
                *vote = Vote::sign(vote.step, from, Digest([66; 32]), identity);
            }
            (Self::VoteNotSigned, ToCoordinator::Vote(vote)) => {
                vote.signature = Vote::sign(vote.step, from, Digest([66; 32]), identity).signature;
            }
            (Self::WrongRelease, ToCoordinator::Release(release)) => {
                let mut bytes = release.share_sum.0.clone();
                bytes[0] ^= 1;
                let (step, set) = (release.step, release.proposal);
                *release = Release::sign(step, from, set, Blob(bytes), identity);
            }
            (Self::ReleaseCutOff, ToCoordinator::Release(release)) => {
                release.share_sum.0.pop();
            }
            (Self::Refuses(code), ToCoordinator::Vote(vote)) => {
                return vec![refusal(vote.step, code)];
            }
            _ => {}
        }
        vec![Sent::Message(message)]
    }
}

fn refusal(step: StepRef, code: RefusalCode) -> Sent {
    Sent::Message(ToCoordinator::StepRefused {
        run: step.run,
        step: step.step,
        refusal: code.into(),
    })
}

/// Complains, correctly signed, about the share that was delivered.
fn complain(verdict: &mut Verdict, heard: &ToNode, identity: &SigningIdentity) {
    let ToNode::Deliver(deliver) = heard else {
        return;
    };
    verdict.complaint = Some(Box::new(Complaint::sign(
        &verdict.step.context,
        verdict.dealer,
        &verdict.shares,
        deliver.share.leaf(),
        RefusalCode::ShareFaulty.into(),
        identity,
    )));
}

/// Δ of the first coefficient.
fn delta(world: &World) -> u64 {
    let roster = world.charter.members().len();
    let packing = Packing::plan(&shape(), roster, world.charter.params()).unwrap();
    packing.segments()[0].delta
}

/// A body with `by` added to its first coefficient.
fn shifted(body: &[u8], by: u64) -> Vec<u8> {
    let (first, rest) = body.split_first_chunk::<8>().unwrap();
    let first = field::add(u64::from_le_bytes(*first), by).to_le_bytes();
    [&first, rest].concat()
}

/// A share as long as the honest one, well formed and sealed as it should be, of a key that is
/// zero at this point.
fn sealed_zeros(
    world: &World,
    context: Digest,
    dealer: MemberIndex,
    honest: &SealedShare,
    body: &Digest,
    rng: &mut impl CryptoRng,
) -> SealedShare {
    let seat = honest.seat;
    let recipient = world.charter.members()[seat.position()].index;
    let binding = share_binding(&context, dealer, recipient, seat.get(), body);
    let zeros = vec![0; honest.sealed.len() - seal::OVERHEAD];
    let key = &world.charter.member(recipient).unwrap().sealing;
    let sealed = key.seal(context.as_bytes(), binding.as_bytes(), &zeros, rng);
    SealedShare {
        seat,
        sealed: Blob(sealed.unwrap()),
    }
}
