//! One of each message and record, signed by the keys of a consortium of three.

use std::time::{Duration, UNIX_EPOCH};

use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::randomness::seeded_rng;
use collegium_crypto::seal::SealingSecret;
use collegium_crypto::shamir::SHARE_BYTES;
use collegium_crypto::{Segment, Shape};
use collegium_protocol::charter::{BeaconNonce, CharterSignature, NewMember};
use collegium_protocol::codec;
use collegium_protocol::ids::{ConsortiumId, SeatNumber};
use collegium_protocol::message::admin::{
    AdminRequest, AdminResponse, CertificateSummary, MemberSummary, RunStatus, RunSummary,
    UserState, UserSummary, WhichCharter,
};
use collegium_protocol::message::join::{EnrollRequest, JoinRequest, JoinResponse};
use collegium_protocol::message::session::{
    DropReason, ObjectRequest, ObjectResponse, RunOutcome, ToCoordinator, ToNode,
};
use collegium_protocol::message::step::{
    Announce, Certificate, CertifiedVote, Complaint, Deliver, Propose, Release, SealedShare,
    StepRef, UploadClaim, UploadHeader, UploadTrailer, Verdict, Vote, shares_digest,
};
use collegium_protocol::message::verify::{BodyHash, EvidenceReady, LinearHashes, OpenedStep};
use collegium_protocol::pki::{
    Authority, Fingerprint, InviteCode, InviteSecret, Role, Serial, Subject, TlsKey,
};
use collegium_protocol::step::{
    CommitteeRecord, GivenVote, NodeRecord, ReleaseRecord, RunRecord, Statements, StepEvidence,
    StepRecord,
};
use collegium_protocol::{
    Blob, Charter, Digest, MemberIndex, MemberName, ProcessId, Refusal, RefusalCode, RunId,
    SignedCharter, StepContext, StepNumber,
};
use serde::Serialize;

use super::{Inputs, numbered};

pub fn inputs() -> Vec<(&'static str, Inputs)> {
    let world = World::new();
    let charter = world.charter();
    vec![
        ("admin", world.admin(&charter)),
        ("certificate", certificates()),
        ("charter", numbered([encoded(&charter)])),
        (
            "charter_text",
            numbered([charter.to_toml().expect("text").into_bytes()]),
        ),
        (
            "evidence",
            numbered([world.evidence().to_bytes().expect("encodes")]),
        ),
        ("invitation", invitations()),
        ("join", world.join()),
        ("names", names()),
        ("node_record", world.node_records()),
        ("object_stream", object_stream()),
        ("run_record", world.run_records()),
        ("to_coordinator", world.to_coordinator()),
        ("to_node", world.to_node(&charter)),
        ("upload", world.upload()),
    ]
}

fn encoded<T: Serialize>(value: &T) -> Vec<u8> {
    codec::encode(value).expect("encoded")
}

fn index(number: u16) -> MemberIndex {
    MemberIndex::new(number).expect("an index")
}

fn name(text: &str) -> MemberName {
    MemberName::new(text).expect("a name")
}

fn serial() -> Serial {
    Serial::from_bytes(&[0x41; 16]).expect("a serial")
}

fn refusal() -> Refusal {
    Refusal::new(RefusalCode::PolicyDenied, "not at night")
}

const NUMBER: StepNumber = StepNumber(300);

fn run() -> RunId {
    RunId::from_bytes([0xaa; 16])
}

struct World {
    identities: Vec<SigningIdentity>,
    sealing: Vec<SealingSecret>,
    nonces: Vec<BeaconNonce>,
    context: StepContext,
    step: StepRef,
}

impl World {
    fn new() -> Self {
        let mut rng = seeded_rng([3; 32]);
        let identities = (0..3)
            .map(|_| SigningIdentity::generate(&mut rng))
            .collect();
        let sealing = (0..3).map(|_| SealingSecret::generate(&mut rng)).collect();
        let nonces = (0..3).map(|_| BeaconNonce::generate(&mut rng)).collect();
        let context = StepContext {
            params: "collegium-glwe-n4096-q64-cbd80-v2".to_owned(),
            charter: Digest([1; 32]),
            run: run(),
            step: NUMBER,
            ask: Digest([2; 32]),
            shape: Digest([5; 32]),
        };
        Self {
            identities,
            sealing,
            nonces,
            step: StepRef::of(&context),
            context,
        }
    }

    fn charter(&self) -> SignedCharter {
        let keys = self.identities.iter().zip(&self.sealing).zip(&self.nonces);
        let member = |(number, ((identity, sealing), nonce)): (
            usize,
            ((&SigningIdentity, &SealingSecret), &BeaconNonce),
        )| NewMember {
            name: name(&format!("site-{number}")),
            contact: format!("Site {number} Ltd"),
            identity: identity.public(),
            sealing: sealing.public().clone(),
            commitment: nonce.commitment(&identity.public()),
        };
        let members = (1..).zip(keys).map(member).collect();
        let id = ConsortiumId::from_bytes([7; 16]);
        let coordinator = SigningIdentity::from_bytes(&[8; 32]).public();
        let charter = Charter::found("corpus", id, coordinator, Digest([8; 32]), members);
        let mut signed = SignedCharter::unsigned(charter.expect("a charter"));
        for (number, identity) in (1..).zip(&self.identities) {
            let signature = CharterSignature {
                signer: index(number),
                signature: signed.charter.sign(identity),
                reveal: None,
            };
            signed.add(signature, None).expect("signed");
        }
        signed
    }

    fn claim(&self, member: u16) -> UploadClaim {
        let identity = &self.identities[usize::from(member) - 1];
        let shares = shares_digest(&[Digest([4; 32])]);
        UploadClaim::sign(
            &self.step.context,
            index(member),
            Digest([3; 32]),
            shares,
            identity,
        )
    }

    fn propose(&self) -> Propose {
        Propose {
            step: self.step,
            entries: (1..=3).map(|member| self.claim(member)).collect(),
        }
    }

    fn vote(&self, voter: u16) -> Vote {
        let identity = &self.identities[usize::from(voter) - 1];
        Vote::sign(self.step, index(voter), self.propose().digest(), identity)
    }

    fn certificate(&self) -> Certificate {
        let certified = |voter| CertifiedVote {
            voter: index(voter),
            signature: self.vote(voter).signature,
        };
        Certificate {
            step: self.step,
            proposal: self.propose().digest(),
            votes: (1..=3).map(certified).collect(),
        }
    }

    fn announce(&self) -> Announce {
        Announce::sign(
            self.context.clone(),
            Blob(b"ask".to_vec()),
            30_000,
            &self.identities[0],
        )
    }

    fn opened(&self) -> OpenedStep {
        let proposal = self.propose().digest();
        OpenedStep::sign(self.step, proposal, Digest([6; 32]), &self.identities[0])
    }

    fn hash(&self) -> BodyHash {
        let (hashes, identity) = (LinearHashes::default(), &self.identities[1]);
        BodyHash::sign(self.step, index(2), Digest([6; 32]), hashes, identity)
    }

    fn share() -> SealedShare {
        SealedShare {
            seat: SeatNumber::new(1).expect("a seat"),
            sealed: Blob(vec![6; 10]),
        }
    }

    fn evidence(&self) -> StepEvidence {
        let statements = Statements {
            context: self.context.clone(),
            shape: Shape(vec![Segment { max: 10, count: 3 }]),
            propose: self.propose(),
            certificate: self.certificate(),
            opened: self.opened(),
            key: Blob(vec![1; SHARE_BYTES]),
            hashes: vec![self.hash()],
        };
        StepEvidence {
            statements,
            phases: vec![2; 3],
        }
    }

    fn to_node(&self, charter: &SignedCharter) -> Inputs {
        let deliver = Deliver {
            step: self.step,
            claim: self.claim(1),
            leaves: vec![Self::share().leaf(), Digest([4; 32])],
            share: Self::share(),
        };
        let (run, step) = (run(), NUMBER);
        let messages = [
            ToNode::Welcome { version: 1 },
            ToNode::Charter(charter.clone()),
            ToNode::RunOffer {
                run,
                task: Blob(b"name = 1".to_vec()),
                task_digest: Digest([1; 32]),
            },
            ToNode::RunClosed {
                run,
                outcome: RunOutcome::Failed(refusal()),
                champion: Some(Digest([2; 32])),
            },
            ToNode::Announce(self.announce()),
            ToNode::Deliver(deliver),
            ToNode::Propose(self.propose()),
            ToNode::Certificate(self.certificate()),
            ToNode::Opened(self.opened()),
            ToNode::Evidence(EvidenceReady {
                step: self.step,
                object: Digest([9; 32]),
            }),
            ToNode::StepDropped {
                run,
                step,
                reason: DropReason::TooFewVotes,
            },
            ToNode::Refused(refusal()),
            ToNode::Shutdown,
            ToNode::Checkpoint(super::ledgers::offer()),
            ToNode::Probe,
        ];
        numbered(messages.iter().map(encoded))
    }

    fn to_coordinator(&self) -> Inputs {
        let (run, step, refusal) = (run(), NUMBER, refusal());
        let (context, shares) = (&self.step.context, Digest([3; 32]));
        let identity = &self.identities[0];
        let leaf = Self::share().leaf();
        let reason = RefusalCode::ShareFaulty.into();
        let complaint = Complaint::sign(context, index(2), &shares, leaf, reason, identity);
        let sum = Blob(vec![1; 64]);
        let proposal = self.propose().digest();
        let messages = [
            ToCoordinator::Hello {
                version: 1,
                name: name("site-1"),
                charter: Some(Digest([1; 32])),
            },
            ToCoordinator::RunAccepted {
                run,
                data: Digest([4; 32]),
            },
            ToCoordinator::RunRefused {
                run,
                refusal: refusal.clone(),
            },
            ToCoordinator::StepRefused { run, step, refusal },
            ToCoordinator::Verdict(Verdict {
                step: self.step,
                dealer: index(2),
                shares,
                complaint: Some(Box::new(complaint)),
            }),
            ToCoordinator::Vote(self.vote(2)),
            ToCoordinator::Release(Release::sign(self.step, index(1), proposal, sum, identity)),
            ToCoordinator::BodyHash(self.hash()),
            ToCoordinator::RunReportReady { run },
            ToCoordinator::Cosign(super::ledgers::reply()),
            ToCoordinator::Process(ProcessId::from_bytes([0xbb; 16])),
        ];
        numbered(messages.iter().map(encoded))
    }

    fn upload(&self) -> Inputs {
        let header = UploadHeader {
            context: self.step.context,
            member: index(3),
            body_len: 98_304,
        };
        let trailer = UploadTrailer {
            shares: vec![Self::share(), Self::share()],
            signature: self.claim(1).signature,
        };
        numbered([encoded(&header), encoded(&trailer)])
    }

    fn node_records(&self) -> Inputs {
        let (ask, data) = (Digest([2; 32]), Digest([4; 32]));
        let given = GivenVote {
            vote: self.vote(1),
            cohort: vec![index(1), index(2), index(3)],
            share_sum: Blob(vec![1; 64]),
        };
        let records = [
            NodeRecord::Step(StepRecord { step: self.step }),
            NodeRecord::Committee(CommitteeRecord {
                step: self.step,
                ask,
                data,
                given: Some(given),
                closed: false,
            }),
            NodeRecord::Release(ReleaseRecord {
                run: run(),
                ask,
                data,
                cohort: Digest([5; 32]),
            }),
        ];
        numbered(records.iter().map(encoded))
    }

    fn run_records(&self) -> Inputs {
        let record = |propose, certificate| RunRecord {
            announce: self.announce(),
            shape: Shape(vec![Segment { max: 10, count: 3 }]),
            propose,
            certificate,
        };
        let whole = record(Some(self.propose()), Some(self.certificate()));
        numbered([record(None, None), whole].iter().map(encoded))
    }

    fn join(&self) -> Inputs {
        let request = JoinRequest::new(
            [7; 16],
            name("hospital-a"),
            "Hospital A".to_owned(),
            &self.identities[0],
            self.sealing[0].public().clone(),
            Digest([1; 32]),
            vec![1, 2, 3],
        );
        let answers = [
            JoinResponse::Joined {
                certificate: "-----BEGIN CERTIFICATE-----".to_owned(),
                authority: "-----BEGIN CERTIFICATE-----".to_owned(),
                consortium: "corpus".to_owned(),
            },
            JoinResponse::Refused(refusal()),
        ];
        let enroll = EnrollRequest {
            version: 2,
            secret: [7; 16],
            name: name("ann"),
            request: Blob(vec![1, 2, 3]),
        };
        numbered(
            [encoded(&request)]
                .into_iter()
                .chain(answers.iter().map(encoded))
                .chain([encoded(&enroll)]),
        )
    }

    fn admin(&self, charter: &SignedCharter) -> Inputs {
        let run = run();
        let requests = [
            AdminRequest::SubmitTask {
                task: Blob(b"name = 1".to_vec()),
            },
            AdminRequest::ListRuns,
            AdminRequest::WatchRun { run, from: 7 },
            AdminRequest::Invite {
                name: name("hospital-a"),
                address: Some("localhost:7443".to_owned()),
            },
            AdminRequest::ProposeCharter {
                members: vec![name("a"), name("b")],
            },
            AdminRequest::FetchCharter {
                which: WhichCharter::InForce,
            },
            AdminRequest::SubmitCharterSignature {
                charter: Digest([1; 32]),
                signature: charter.signatures[0].signature,
                reveal: Some(self.nonces[0].reveal()),
            },
            AdminRequest::RerunRun { run },
            AdminRequest::InviteUser {
                name: name("ann"),
                role: Role::Scientist,
                address: None,
            },
            AdminRequest::RevokeUser { name: name("ann") },
            AdminRequest::RevokeCertificate { serial: serial() },
            AdminRequest::RenewCertificate {
                request: Blob(vec![0x30, 1, 2]),
            },
            AdminRequest::ReadLedger,
        ];
        let responses = [
            AdminResponse::Submitted { run },
            AdminResponse::Runs(vec![RunSummary {
                run,
                task: "heart".to_owned(),
                status: RunStatus::Running,
                steps: 3,
                submitted: 1_790_000_000,
                round: 2,
                not_before: Some(1_790_086_400),
            }]),
            AdminResponse::Event(Blob(b"{}".to_vec())),
            AdminResponse::Members(vec![MemberSummary {
                name: name("a"),
                contact: "A Ltd".to_owned(),
                identity: self.identities[0].public(),
                connected: true,
                in_charter: false,
                joined: 1_790_000_000,
            }]),
            AdminResponse::Charter {
                charter: Box::new(charter.clone()),
                missing: vec![name("b")],
            },
            AdminResponse::Refused(refusal()),
            AdminResponse::Users(vec![UserSummary {
                name: name("ann"),
                role: Role::Scientist,
                state: UserState::Active,
                at: 1_790_000_000,
            }]),
            AdminResponse::Certificates(vec![CertificateSummary {
                serial: serial(),
                subject: Subject::new(Role::Scientist, "ann").expect("a subject"),
                fingerprint: Fingerprint([7; 32]),
                not_after: 1_790_000_000,
                revoked: Some(1_780_000_000),
                connections: 1,
            }]),
            AdminResponse::Certificate {
                certificate: "-----BEGIN CERTIFICATE-----".to_owned(),
            },
            super::ledgers::head(),
        ];
        let requests = requests.iter().map(encoded);
        let tiles =
            super::ledgers::tiles().map(|(asked, found)| [encoded(&asked), encoded(&found)]);
        let messages = requests.chain(responses.iter().map(encoded));
        numbered(messages.chain(tiles.into_iter().flatten()))
    }
}

fn object_stream() -> Inputs {
    let request = ObjectRequest {
        id: Digest([1; 32]),
    };
    let answers = [
        ObjectResponse::Found { length: 2 },
        ObjectResponse::Refused(refusal()),
    ];
    numbered(
        [encoded(&request)]
            .into_iter()
            .chain(answers.iter().map(encoded)),
    )
}

fn invitations() -> Inputs {
    let code = InviteCode {
        name: "hospital-a".to_owned(),
        address: "coordinator.example.org:7443".to_owned(),
        authority: Fingerprint([7; 32]),
        secret: InviteSecret::from_bytes([9; 16]),
        expires: UNIX_EPOCH + Duration::from_secs(1_790_000_000),
    };
    numbered([code.to_line().into_bytes()])
}

/// Keys and serial numbers of certificates come from the system, so these alone differ from one
/// writing of the corpus to the next.
fn certificates() -> Inputs {
    let now = UNIX_EPOCH + Duration::from_secs(1_790_000_000);
    let authority = Authority::create("corpus", now).expect("an authority");
    let key = TlsKey::generate().expect("a key");
    let subject = Subject::new(Role::Node, "hospital-a").expect("a subject");
    let request = key.signing_request().expect("a request");
    let issued = authority
        .sign_request(&request, &subject, now)
        .expect("a certificate");
    let pem = authority.certificate().pem().to_owned();
    numbered([der(&issued.pem), pem.into_bytes(), request])
}

/// The bytes in a PEM text.
fn der(pem: &str) -> Vec<u8> {
    const DIGITS: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let lines = pem.lines().filter(|line| !line.starts_with('-'));
    let sextets: Vec<usize> = lines
        .flat_map(str::chars)
        .filter_map(|digit| DIGITS.find(digit))
        .collect();
    let bytes = sextets.chunks(4).flat_map(|four| {
        let word = four.iter().fold(0, |word, sextet| word << 6 | sextet);
        let bits = 6 * four.len();
        (1..=bits / 8).map(move |place| (word >> (bits - 8 * place)) as u8)
    });
    bytes.collect()
}

fn names() -> Inputs {
    numbered([
        b"hospital-a".to_vec(),
        run().to_string().into_bytes(),
        Fingerprint([7; 32]).to_string().into_bytes(),
    ])
}
