//! A consortium in memory: members with keys, disks and machines, and an honest coordinator.

mod complaint;
mod coordinator;
mod drive;
mod node;

use std::sync::Arc;

use collegium_crypto::encode::{Segment, Shape};
use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::rand_core::{CryptoRng, Rng};
use collegium_crypto::randomness::seeded_rng;
use collegium_crypto::seal::SealingSecret;
use collegium_crypto::transcript::{BodyHasher, hash};
use collegium_protocol::charter::{BeaconNonce, CharterSignature, NewMember};
use collegium_protocol::context::ask_digest;
use collegium_protocol::domain;
use collegium_protocol::ids::{ConsortiumId, MemberName};
use collegium_protocol::message::step::{
    Announce, Propose, SealedShare, UploadClaim, UploadHeader, UploadTrailer, shares_digest,
};
use collegium_protocol::step::{Admission, AdmittedUpload, Place, ReadyUpload, StepPlan};
use collegium_protocol::{
    Blob, Charter, Digest, MemberIndex, Refusal, RunId, SignedCharter, StepNumber, VerifiedCharter,
};

pub use complaint::complaining;
pub use coordinator::{Coordinator, Outcome, Sends};
pub use drive::{Drive, Next};
pub use node::{Node, Up, refusal};

pub fn index(number: u16) -> MemberIndex {
    MemberIndex::new(number).unwrap()
}

pub fn indices(numbers: &[u16]) -> Vec<MemberIndex> {
    numbers.iter().copied().map(index).collect()
}

pub fn shape() -> Shape {
    Shape(vec![
        Segment {
            max: 1000,
            count: 4,
        },
        Segment { max: 1, count: 3 },
    ])
}

/// A member's honest answer to an ask: a pure function of both.
pub fn codes(member: MemberIndex, ask: &[u8]) -> Vec<u64> {
    let Digest(bytes) = ask_digest(&[ask, &member.get().to_le_bytes()].concat());
    let small = |i: usize| u64::from(bytes[i]);
    vec![small(0) * 3, small(1), 1000, 0, small(2) % 2, 1, 0]
}

/// What the sum over `members` must be.
pub fn totals(members: &[MemberIndex], ask: &[u8]) -> Vec<u64> {
    let mut sum = vec![0; shape().codes()];
    for member in members {
        sum.iter_mut()
            .zip(codes(*member, ask))
            .for_each(|(s, c)| *s += c);
    }
    sum
}

/// All keys of a consortium, in the hands of the test.
pub struct World {
    pub charter: Arc<VerifiedCharter>,
    pub coordinator: SigningIdentity,
    pub identities: Vec<Arc<SigningIdentity>>,
    pub sealing: Vec<Arc<SealingSecret>>,
    pub nonces: Vec<BeaconNonce>,
    pub places: Vec<Arc<Place>>,
    pub run: RunId,
}

pub fn rng(seed: u64) -> impl CryptoRng {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    seeded_rng(bytes)
}

impl World {
    pub fn new(members: usize, seed: u64) -> Self {
        let mut rng = rng(seed);
        let coordinator = SigningIdentity::generate(&mut rng);
        let identities: Vec<_> = (0..members)
            .map(|_| Arc::new(SigningIdentity::generate(&mut rng)))
            .collect();
        let sealing: Vec<_> = (0..members)
            .map(|_| Arc::new(SealingSecret::generate(&mut rng)))
            .collect();
        let nonces: Vec<_> = (0..members)
            .map(|_| BeaconNonce::generate(&mut rng))
            .collect();
        let list = (1..)
            .zip(identities.iter().zip(&sealing).zip(&nonces))
            .map(|(number, ((identity, sealing), nonce))| NewMember {
                name: MemberName::new(&format!("site-{number}")).unwrap(),
                contact: format!("Site {number} Ltd"),
                identity: identity.public(),
                sealing: sealing.public().clone(),
                commitment: nonce.commitment(&identity.public()),
            })
            .collect();
        let id = ConsortiumId::from_bytes([7; 16]);
        let policy = Digest([8; 32]);
        let charter = Charter::found("test", id, coordinator.public(), policy, list).unwrap();
        let signed = sign_by_all(charter, &identities, &nonces);
        let charter = Arc::new(signed.verify(None).unwrap());
        let places = identities
            .iter()
            .zip(&sealing)
            .map(|(identity, sealing)| {
                let (identity, sealing) = (Arc::clone(identity), Arc::clone(sealing));
                Arc::new(Place::new(Arc::clone(&charter), identity, sealing).unwrap())
            })
            .collect();
        let mut run = [0; 16];
        rng.fill_bytes(&mut run);
        let run = RunId::from_bytes(run);
        Self {
            charter,
            coordinator,
            identities,
            sealing,
            nonces,
            places,
            run,
        }
    }

    pub fn members(&self) -> Vec<MemberIndex> {
        self.charter.members().iter().map(|m| m.index).collect()
    }

    pub fn plan(&self, step: u64, ask: &[u8]) -> Arc<StepPlan> {
        let charter = Arc::clone(&self.charter);
        Arc::new(StepPlan::new(charter, self.run, StepNumber(step), ask, shape()).unwrap())
    }

    pub fn announce(&self, plan: &StepPlan, ask: &[u8]) -> Announce {
        let context = plan.context().clone();
        Announce::sign(context, Blob(ask.to_vec()), 30_000, &self.coordinator)
    }

    pub fn nodes(&self) -> Vec<Node> {
        self.places
            .iter()
            .map(|place| Node::new(Arc::clone(place), self.run))
            .collect()
    }

    /// One honest upload by each of `nodes`, all shares delivered to everybody.
    pub fn uploads(&self, plan: &StepPlan, ask: &[u8], nodes: &mut [Node]) -> Vec<AdmittedUpload> {
        let announce = self.announce(plan, ask);
        let mut admitted = Vec::new();
        for node in nodes.iter_mut() {
            let upload = node.upload(&announce).expect("an upload");
            admitted.push(admit(plan, node.index(), &upload).unwrap());
        }
        for upload in &admitted {
            for node in nodes.iter_mut() {
                let deliver = upload.delivery(node.index()).unwrap();
                assert_eq!(
                    node.verdict(&deliver),
                    None,
                    "an honest share must be in order"
                );
            }
        }
        admitted
    }

    pub fn propose(&self, plan: &StepPlan, uploads: &[AdmittedUpload], members: &[u16]) -> Propose {
        let entries = uploads
            .iter()
            .map(AdmittedUpload::claim)
            .filter(|claim| members.contains(&claim.member.get()))
            .collect();
        Propose {
            step: plan.reference(),
            entries,
        }
    }
}

/// Every founding member's signature, with what it reveals where a committee is drawn.
pub fn sign_by_all(
    charter: Charter,
    identities: &[Arc<SigningIdentity>],
    nonces: &[BeaconNonce],
) -> SignedCharter {
    let mut signed = SignedCharter::unsigned(charter);
    for ((number, identity), nonce) in (1..).zip(identities).zip(nonces) {
        let signature = CharterSignature {
            signer: index(number),
            signature: signed.charter.sign(identity),
            reveal: signed.charter.draws_committee().then(|| nonce.reveal()),
        };
        // Verified all at once, below and by whoever reads the charter.
        signed.signatures.push(signature);
    }
    signed
}

/// Streams an upload through admission in odd pieces.
pub fn admit(
    plan: &StepPlan,
    from: MemberIndex,
    upload: &ReadyUpload,
) -> Result<AdmittedUpload, Refusal> {
    Parts::of(upload).admit(plan, from)
}

/// An upload in its parts, which a lying member may change.
#[derive(Debug, Clone)]
pub struct Parts {
    pub header: UploadHeader,
    pub body: Vec<u8>,
    pub trailer: UploadTrailer,
}

impl Parts {
    pub fn of(upload: &ReadyUpload) -> Self {
        Self {
            header: upload.header,
            body: upload.body().unwrap(),
            trailer: upload.trailer.clone(),
        }
    }

    pub fn body_digest(&self) -> Digest {
        BodyHasher::new().update(&self.body).finish()
    }

    /// Signs what the parts are now.
    pub fn sign(&mut self, identity: &SigningIdentity) {
        let leaves: Vec<_> = self.trailer.shares.iter().map(SealedShare::leaf).collect();
        let (context, member) = (self.header.context, self.header.member);
        let (body, shares) = (self.body_digest(), shares_digest(&leaves));
        self.trailer.signature =
            UploadClaim::sign(&context, member, body, shares, identity).signature;
    }

    /// Puts another body in place of the honest one as a dealer could that had encrypted it from
    /// the start: shares are bound to the body, so each is sealed again (with the keys of the
    /// test), and all of it is signed.
    pub fn exchange_body(&mut self, world: &World, body: Vec<u8>) {
        let (context, dealer) = (self.header.context, self.header.member);
        let before = self.body_digest();
        self.body = body;
        let after = self.body_digest();
        let mut rng = rng(9);
        for share in &mut self.trailer.shares {
            let recipient = &world.charter.members()[usize::from(share.seat.get()) - 1];
            let bound = |body| {
                let seat = share.seat.get();
                share_binding(&context, dealer, recipient.index, seat, body)
            };
            let (info, secret) = (
                context.as_bytes(),
                &world.sealing[recipient.index.position()],
            );
            let opened = secret.open(info, bound(&before).as_bytes(), share.sealed.as_slice());
            let aad = bound(&after);
            let sealed = recipient
                .sealing
                .seal(info, aad.as_bytes(), &opened.unwrap(), &mut rng);
            share.sealed = Blob(sealed.unwrap());
        }
        self.sign(&world.identities[dealer.position()]);
    }

    pub fn admit(&self, plan: &StepPlan, from: MemberIndex) -> Result<AdmittedUpload, Refusal> {
        let mut admission = Admission::begin(plan, from, &self.header)?;
        for piece in self.body.chunks(13) {
            admission.chunk(piece)?;
        }
        admission.finish(self.trailer.clone())
    }
}

/// What a share sealed by `dealer` to `recipient` at seat `point` is bound to.
pub fn share_binding(
    context: &Digest,
    dealer: MemberIndex,
    recipient: MemberIndex,
    point: u16,
    body: &Digest,
) -> Digest {
    hash(
        domain::SHARE_BINDING,
        &[
            context.as_bytes(),
            &dealer.get().to_le_bytes(),
            &recipient.get().to_le_bytes(),
            &point.to_le_bytes(),
            body.as_bytes(),
        ],
    )
}

pub fn announced(world: &World, step: u64, ask: &[u8]) -> Announce {
    world.announce(&world.plan(step, ask), ask)
}

/// Four nodes with all shares delivered.
pub fn delivered(seed: u64) -> (World, Arc<StepPlan>, Vec<Node>, Vec<AdmittedUpload>) {
    let world = World::new(4, seed);
    let plan = world.plan(1, b"ask");
    let mut nodes = world.nodes();
    let uploads = world.uploads(&plan, b"ask", &mut nodes);
    (world, plan, nodes, uploads)
}
