//! A coordinator by script: it says exactly what a test tells it to say.

mod proof;

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use collegium_automl::ask::{Ask, Part as AskPart, Stage};
use collegium_automl::family::net::{self, LocalTraining, NetPart, NetShape};
use collegium_automl::family::{AnyPart, Head};
use collegium_automl::object::ObjectId;
use collegium_automl::profile::{ProfilePart, RefineColumn, Source};
use collegium_crypto::glwe;
use collegium_crypto::shamir::{self, SharePoint, ShareSum};
use collegium_crypto::{SealingSecret, Segment, Shape, SigningIdentity, os_rng};
use collegium_node::beacon::BeaconPart;
use collegium_node::keys::NodeKeys;
use collegium_protocol::charter::{
    BeaconNonce, Charter, CharterSignature, NewMember, SignedCharter, VerifiedCharter,
};
use collegium_protocol::codec::Blob;
use collegium_protocol::context::task_digest;
use collegium_protocol::limits::{
    MAX_BODY_BYTES, MAX_OBJECT_REQUEST_BYTES, MAX_OBJECT_RESPONSE_BYTES, MAX_TO_COORDINATOR_BYTES,
    MAX_TO_NODE_BYTES, MAX_UPLOAD_HEADER_BYTES, MAX_UPLOAD_TRAILER_BYTES,
};
use collegium_protocol::message::session::{
    ObjectRequest, ObjectResponse, ToCoordinator, ToNode, VERSION,
};
use collegium_protocol::message::step::{
    Announce, Certificate, CertifiedVote, Part, Propose, Release, UploadHeader, UploadTrailer, Vote,
};
use collegium_protocol::pki::{Authority, Revocations, Role, Serial, Subject, TlsIdentity, TlsKey};
use collegium_protocol::quic::{
    Accepted, Client, CloseCode, Connection, FrameReceiver, FrameSender, Server, ServerConfig,
    StreamKind,
};
use collegium_protocol::step::{Admission, AdmittedUpload, StepPlan};
use collegium_protocol::{
    ConsortiumId, Digest, IdentityKey, MemberIndex, MemberName, RefusalCode, RunId, StepNumber,
};

use crate::site::{LARGE, OBJECT};

/// Generous: it only bounds a test that hangs.
const PATIENCE: Duration = Duration::from_secs(60);
const TASK: &str = "name = \"toy\"\ntarget = \"y\"\n";

pub async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("the test hangs")
}

pub fn run_id() -> RunId {
    RunId::from_bytes([5; 16])
}

pub fn object_id(bytes: &[u8]) -> Digest {
    Digest(ObjectId::of(bytes).0)
}

struct Member {
    name: MemberName,
    identity: Arc<SigningIdentity>,
    sealing: Arc<SealingSecret>,
    tls: TlsIdentity,
}

/// The members, the authority and the listening coordinator.
pub struct Consortium {
    authority: Authority,
    revocations: Revocations,
    serials: Vec<Serial>,
    server: Server,
    coordinator: Arc<SigningIdentity>,
    members: Vec<Member>,
    charter: SignedCharter,
}

impl Consortium {
    /// The key that signs the coordinator's announcements and ledger.
    pub fn signing(&self) -> &SigningIdentity {
        &self.coordinator
    }

    /// A member's public key.
    pub fn identity(&self, index: usize) -> IdentityKey {
        self.members[index].identity.public()
    }

    /// A consortium of `count` members with a charter that all have signed. Must be called
    /// inside a runtime.
    pub fn found(count: usize) -> Self {
        let authority = Authority::create("Toys", SystemTime::now()).expect("an authority");
        let issue = |role, name: &str| {
            let key = TlsKey::generate().expect("a key");
            let subject = Subject::new(role, name).expect("a subject");
            let issued = authority
                .sign_own(&key, &subject, SystemTime::now())
                .expect("signs");
            TlsIdentity::new(&issued.pem, &key).expect("an identity")
        };
        let revocations = Revocations::default();
        let server = Server::bind(ServerConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            identity: issue(Role::Coordinator, "coordinator"),
            authority: authority.certificate().clone(),
            revocations: revocations.clone(),
        })
        .expect("binds");
        let mut rng = os_rng().expect("randomness");
        let members: Vec<Member> = (0..count)
            .map(|i| {
                let name = format!("site-{i}");
                Member {
                    name: MemberName::new(&name).expect("a name"),
                    identity: Arc::new(SigningIdentity::generate(&mut rng)),
                    sealing: Arc::new(SealingSecret::generate(&mut rng)),
                    tls: issue(Role::Node, &name),
                }
            })
            .collect();
        let serials = members
            .iter()
            .map(|member| member.tls.peer().serial)
            .collect();
        let coordinator = Arc::new(SigningIdentity::generate(&mut rng));
        let charter = charter(&members, &coordinator, &[]);
        Self {
            authority,
            revocations,
            serials,
            server,
            coordinator,
            members,
            charter,
        }
    }

    /// A charter like the one in force, but the first member's signature is the second's.
    pub fn forged_charter(&self) -> SignedCharter {
        let mut forged = self.charter.clone();
        forged.signatures[0].signature = forged.signatures[1].signature;
        forged
    }

    pub fn keys(&self, index: usize) -> NodeKeys {
        let member = &self.members[index];
        NodeKeys {
            member: member.name.clone(),
            coordinator: self.server.local_address().to_string(),
            identity: Arc::clone(&member.identity),
            sealing: Arc::clone(&member.sealing),
            // This consortium is its own committee: nothing is revealed.
            beacon: BeaconPart::new(BeaconNonce::from_bytes(&[3; 32]), "unused".into()),
            client: Client::new(&member.tls, self.authority.certificate()).expect("a client"),
            certificate: member.tls.peer().clone(),
            authority: self.authority.certificate().clone(),
        }
    }

    pub fn revoke(&self, index: usize) {
        self.revocations.revoke(self.serials[index]);
    }

    /// Waits for `count` nodes and greets them.
    pub async fn meet(&self, count: usize) -> Script {
        self.meet_with(count, self.charter.clone()).await
    }

    pub async fn meet_with(&self, count: usize, charter: SignedCharter) -> Script {
        let verified = self.charter.verify(None).expect("the charter in force");
        let mut script = Script {
            charter: Arc::new(verified),
            shown: charter,
            coordinator: Arc::clone(&self.coordinator),
            objects: Arc::default(),
            sessions: BTreeMap::new(),
        };
        while script.sessions.len() < count {
            script.greet(self).await;
        }
        script
    }
}

fn charter(members: &[Member], coordinator: &SigningIdentity, contact: &[&str]) -> SignedCharter {
    let member = |member: &Member| NewMember {
        name: member.name.clone(),
        contact: contact.join(""),
        identity: member.identity.public(),
        sealing: member.sealing.public().clone(),
        commitment: Digest([2; 32]),
    };
    let charter = Charter::found(
        "Toys",
        ConsortiumId::from_bytes([1; 16]),
        coordinator.public(),
        Digest([0; 32]),
        members.iter().map(member).collect(),
    )
    .expect("a charter");
    let mut signed = SignedCharter::unsigned(charter);
    for (index, member) in (1..).zip(members) {
        let signature = CharterSignature {
            signer: MemberIndex::new(index).expect("an index"),
            signature: signed.charter.sign(&member.identity),
            reveal: None,
        };
        signed.add(signature, None).expect("its own signature");
    }
    signed
}

struct Session {
    connection: Connection,
    sender: FrameSender,
    receiver: FrameReceiver,
}

/// What an object request is answered with.
#[derive(Default)]
struct Objects {
    held: BTreeMap<Digest, Vec<u8>>,
    wrong: bool,
}

/// An upload as it came in.
pub struct Upload {
    pub body: Vec<u8>,
    pub trailer: UploadTrailer,
    admitted: AdmittedUpload,
}

/// A step whose set was voted for.
pub struct Voted {
    pub plan: StepPlan,
    pub uploads: Vec<Upload>,
    pub propose: Propose,
    pub votes: Vec<Vote>,
}

/// The coordinator's side of the sessions.
pub struct Script {
    charter: Arc<VerifiedCharter>,
    shown: SignedCharter,
    coordinator: Arc<SigningIdentity>,
    objects: Arc<Mutex<Objects>>,
    sessions: BTreeMap<usize, Session>,
}

impl Script {
    /// Takes the next node that dials.
    async fn greet(&mut self, consortium: &Consortium) -> usize {
        let Some(Accepted::Known(connection)) = within(consortium.server.accept()).await else {
            panic!("expected a certificate holder");
        };
        let name = connection
            .peer()
            .expect("a certificate")
            .subject
            .name
            .clone();
        let found = consortium
            .members
            .iter()
            .position(|member| member.name.as_str() == name);
        let index = found.expect("a member");
        let arriving = within(connection.accept()).await.expect("a stream");
        let (kind, mut sender, mut receiver) = within(arriving.identify()).await.expect("a kind");
        assert_eq!(kind, StreamKind::Control);
        let hello = within(receiver.expect::<ToCoordinator>(MAX_TO_COORDINATOR_BYTES)).await;
        match hello.expect("a message") {
            ToCoordinator::Hello {
                version,
                name: said,
                ..
            } => {
                assert_eq!((version, said.as_str()), (VERSION, name.as_str()));
            }
            other => panic!("expected Hello, got {other:?}"),
        }
        let process = within(receiver.expect::<ToCoordinator>(MAX_TO_COORDINATOR_BYTES)).await;
        assert!(
            matches!(process, Ok(ToCoordinator::Process(_))),
            "{process:?}"
        );
        let charter = ToNode::Charter(self.shown.clone());
        for message in [ToNode::Welcome { version: VERSION }, charter] {
            sender
                .send(&message, MAX_TO_NODE_BYTES)
                .await
                .expect("sends");
        }
        tokio::spawn(serve_objects(connection.clone(), Arc::clone(&self.objects)));
        self.sessions.insert(
            index,
            Session {
                connection,
                sender,
                receiver,
            },
        );
        index
    }

    /// Waits until this node, and no other, has dialled again.
    pub async fn rejoin(&mut self, consortium: &Consortium, index: usize) {
        assert_eq!(self.greet(consortium).await, index);
    }

    pub fn drop_connection(&mut self, index: usize) {
        let session = self.sessions.remove(&index).expect("a session");
        session.connection.close(CloseCode::Busy, "by script");
    }

    fn session(&mut self, index: usize) -> &mut Session {
        self.sessions.get_mut(&index).expect("a session")
    }

    pub async fn send(&mut self, index: usize, message: ToNode) {
        let sent = self
            .session(index)
            .sender
            .send(&message, MAX_TO_NODE_BYTES)
            .await;
        sent.expect("sends");
    }

    pub async fn next(&mut self, index: usize) -> ToCoordinator {
        let receiver = &mut self.session(index).receiver;
        within(receiver.expect(MAX_TO_COORDINATOR_BYTES))
            .await
            .expect("a message")
    }

    /// Sends bytes that are no message.
    pub async fn send_raw(&mut self, index: usize, bytes: &[u8]) {
        let sent = self
            .session(index)
            .sender
            .send_frame(bytes, MAX_TO_NODE_BYTES)
            .await;
        sent.expect("sends");
    }

    /// Waits for the session's end; true when no message came before it.
    pub async fn hears_nothing_more(&mut self, index: usize) -> bool {
        let receiver = &mut self.session(index).receiver;
        let end = within(receiver.recv::<ToCoordinator>(MAX_TO_COORDINATOR_BYTES)).await;
        !matches!(end, Ok(Some(_)))
    }

    pub async fn offer(&mut self, index: usize) {
        let task = TASK.as_bytes().to_vec();
        let task_digest = task_digest(&task);
        self.send(
            index,
            ToNode::RunOffer {
                run: run_id(),
                task: Blob(task),
                task_digest,
            },
        )
        .await;
    }

    pub fn serve_object(&mut self, bytes: &[u8]) {
        self.serve_named(object_id(bytes), bytes.to_vec());
    }

    pub fn serve_named(&mut self, name: Digest, bytes: Vec<u8>) {
        let mut objects = self.objects.lock().expect("no panic");
        objects.held.insert(name, bytes);
    }

    /// From now on every object is answered with bytes of another hash.
    pub fn serve_other_bytes(&mut self) {
        self.objects.lock().expect("no panic").wrong = true;
    }

    /// A step that asks for three counts.
    pub fn plan(&self, step: StepNumber, sequence: u32) -> StepPlan {
        let ask = ask(sequence);
        let segments = ask.segments().into_iter();
        let shape = segments
            .map(|s| Segment {
                max: s.max_code(),
                count: s.count(),
            })
            .collect();
        let bytes = ask.to_bytes().expect("an ask");
        StepPlan::new(
            Arc::clone(&self.charter),
            run_id(),
            step,
            &bytes,
            Shape(shape),
        )
        .expect("a plan")
    }

    pub fn signed(&self, plan: &StepPlan, sequence: u32) -> Announce {
        let ask = Blob(ask(sequence).to_bytes().expect("an ask"));
        Announce::sign(plan.context().clone(), ask, 60_000, &self.coordinator)
    }

    pub async fn announce_to(&mut self, index: usize, plan: &StepPlan, sequence: u32, part: Part) {
        let announce = self.signed(plan, sequence).with_part(part);
        self.send(index, ToNode::Announce(announce)).await;
    }

    /// Announces a step to everybody.
    pub async fn announce(&mut self, step: StepNumber, sequence: u32, part: Part) -> StepPlan {
        let plan = self.plan(step, sequence);
        for index in 0..self.sessions.len() {
            self.announce_to(index, &plan, sequence, part).await;
        }
        plan
    }

    /// A step of everybody's up to the votes; its ask has its number.
    pub async fn voted(&mut self, number: u64) -> Voted {
        let step = StepNumber(number);
        let plan = self.announce(step, number as u32, Part::Contribute).await;
        let everybody: Vec<_> = (0..self.sessions.len()).collect();
        let uploads = self.uploads(&plan, &everybody).await;
        let propose = self.deliver_and_propose(&uploads).await;
        let votes = self.votes(&propose).await;
        Voted {
            plan,
            uploads,
            propose,
            votes,
        }
    }

    /// Receives and checks the uploads of these members.
    pub async fn uploads(&mut self, plan: &StepPlan, members: &[usize]) -> Vec<Upload> {
        let mut uploads = Vec::new();
        for index in members {
            let connection = self.session(*index).connection.clone();
            uploads.push(within(receive(&connection, plan, member(*index))).await);
        }
        uploads
    }

    /// Begins to read a member's upload: the first `count` bytes of its body, and no more. The
    /// stream is open until the second value is dropped.
    pub async fn first_bytes(&mut self, index: usize, count: usize) -> (Vec<u8>, FrameReceiver) {
        let connection = self.session(index).connection.clone();
        let mut receiver = within(connection.accept_upload()).await.expect("an upload");
        let header: UploadHeader = within(receiver.expect(MAX_UPLOAD_HEADER_BYTES))
            .await
            .expect("a header");
        assert!(header.body_len > 4 << 20, "{} bytes", header.body_len);
        let mut bytes = Vec::new();
        let mut body = receiver
            .body(header.body_len, MAX_BODY_BYTES)
            .expect("within the cap");
        while bytes.len() < count {
            let chunk = within(body.next_chunk()).await.expect("arrives");
            bytes.extend_from_slice(chunk.expect("more"));
        }
        (bytes, receiver)
    }

    /// Delivers every share, expects every one to be in order, and proposes all dealers.
    pub async fn deliver_and_propose(&mut self, uploads: &[Upload]) -> Propose {
        for index in 0..self.sessions.len() {
            for upload in uploads {
                let deliver = upload.admitted.delivery(member(index)).expect("a share");
                self.send(index, ToNode::Deliver(deliver)).await;
                match self.next(index).await {
                    ToCoordinator::Verdict(verdict) => assert_eq!(verdict.complaint, None),
                    other => panic!("expected a verdict, got {other:?}"),
                }
            }
        }
        let entries: Vec<_> = uploads
            .iter()
            .map(|upload| upload.admitted.claim())
            .collect();
        let step = self.step_of(uploads);
        Propose { step, entries }
    }

    fn step_of(&self, uploads: &[Upload]) -> collegium_protocol::message::step::StepRef {
        uploads[0]
            .admitted
            .delivery(member(0))
            .expect("a share")
            .step
    }

    /// Proposes the set to everybody; every member must vote for it.
    pub async fn votes(&mut self, propose: &Propose) -> Vec<Vote> {
        let mut votes = Vec::new();
        for index in 0..self.sessions.len() {
            self.send(index, ToNode::Propose(propose.clone())).await;
            match self.next(index).await {
                ToCoordinator::Vote(vote) => {
                    vote.verify(&self.charter).expect("a valid vote");
                    assert_eq!(vote.proposal, propose.digest());
                    votes.push(vote);
                }
                other => panic!("expected a vote, got {other:?}"),
            }
        }
        votes
    }

    /// Shows the certificate to everybody; every member must release.
    pub async fn certify(&mut self, propose: &Propose, votes: &[Vote]) -> Vec<Release> {
        let certificate = certificate(propose, votes);
        let mut releases = Vec::new();
        for index in 0..self.sessions.len() {
            self.send(index, ToNode::Certificate(certificate.clone()))
                .await;
            match self.next(index).await {
                ToCoordinator::Release(release) => {
                    release.verify(&self.charter).expect("a valid release");
                    releases.push(release);
                }
                other => panic!("expected a release, got {other:?}"),
            }
        }
        releases
    }

    /// Opens the sum.
    pub fn open(&self, plan: &StepPlan, uploads: &[Upload], releases: &[Release]) -> Vec<u64> {
        let mut sum = plan.empty_sum();
        for upload in uploads {
            sum.add_bytes(&upload.body).expect("a body");
        }
        let shares = share_sums(releases);
        let threshold = self.charter.thresholds().threshold;
        let key = shamir::interpolate(&shares, threshold).expect("enough releases");
        glwe::open(&sum, &key, &plan.mask_seed(), plan.packing(), uploads.len())
            .expect("opens")
            .codes
    }

    pub async fn expect_refusal(&mut self, index: usize, at: StepNumber, code: RefusalCode) {
        match self.next(index).await {
            ToCoordinator::StepRefused { step, refusal, .. } => {
                assert_eq!((step, refusal.code), (at, code), "{refusal}");
            }
            other => panic!("expected the refusal {code:?}, got {other:?}"),
        }
    }
}

/// The member's index in the charter.
fn member(index: usize) -> MemberIndex {
    MemberIndex::new(index as u16 + 1).expect("an index")
}

/// An update of two and a half million weights: 6.7 MB of ciphertext.
fn large_part() -> AskPart {
    let object = ObjectId::of(OBJECT);
    let part = NetPart {
        pipeline: object,
        model: object,
        scored: object,
        score: true,
        head: Head::Binary,
        folds: 10,
        shape: NetShape {
            inputs: 500,
            embedding: None,
            hidden: vec![500],
            outputs: 1,
        },
        rows: 1000,
        seed: object,
        step: 0,
        local: LocalTraining {
            epochs: 1,
            batch: 32,
            share: 1.0,
            learning_rate: 0.01,
            weight_decay: 0.0,
            dropout: 0.0,
            proximal: 0.0,
        },
        clip: 1.0,
        levels: 65_534,
    };
    AskPart::Train(AnyPart::new(net::NAME, part))
}

fn ask(sequence: u32) -> Ask {
    if sequence == LARGE {
        return Ask {
            sequence,
            stage: Stage::Race,
            task: ObjectId::of(b"task"),
            parts: vec![large_part()],
        };
    }
    let column = RefineColumn {
        name: "x".to_owned(),
        source: Source::Numbers,
        edges: vec![0.0, 1.0, 2.0, 3.0],
    };
    Ask {
        sequence,
        stage: Stage::Profile,
        task: ObjectId::of(b"task"),
        parts: vec![AskPart::Profile(ProfilePart::Refine {
            columns: vec![column],
        })],
    }
}

async fn receive(connection: &Connection, plan: &StepPlan, from: MemberIndex) -> Upload {
    let mut receiver = connection.accept_upload().await.expect("an upload");
    let header: UploadHeader = receiver
        .expect(MAX_UPLOAD_HEADER_BYTES)
        .await
        .expect("a header");
    let mut admission = Admission::begin(plan, from, &header).expect("admitted");
    let mut bytes = Vec::new();
    let mut body = receiver
        .body(header.body_len, MAX_BODY_BYTES)
        .expect("within the cap");
    while let Some(chunk) = body.next_chunk().await.expect("a chunk") {
        admission.chunk(chunk).expect("canonical");
        bytes.extend_from_slice(chunk);
    }
    let trailer: UploadTrailer = receiver
        .expect(MAX_UPLOAD_TRAILER_BYTES)
        .await
        .expect("a trailer");
    receiver.end().await.expect("nothing more");
    let admitted = admission.finish(trailer.clone()).expect("a valid upload");
    Upload {
        body: bytes,
        trailer,
        admitted,
    }
}

async fn serve_objects(connection: Connection, objects: Arc<Mutex<Objects>>) {
    while let Ok(arriving) = connection.accept().await {
        let (kind, mut sender, mut receiver) = arriving.identify().await.expect("a kind");
        assert_eq!(kind, StreamKind::Object);
        let request: ObjectRequest = receiver
            .expect(MAX_OBJECT_REQUEST_BYTES)
            .await
            .expect("a request");
        let bytes = {
            let objects = objects.lock().expect("no panic");
            let bytes = objects.held.get(&request.id).cloned();
            bytes.map(|bytes| {
                if objects.wrong {
                    b"other bytes".to_vec()
                } else {
                    bytes
                }
            })
        };
        let response = match &bytes {
            Some(bytes) => ObjectResponse::Found {
                length: bytes.len() as u64,
            },
            None => ObjectResponse::Refused(RefusalCode::UnknownObject.into()),
        };
        sender
            .send(&response, MAX_OBJECT_RESPONSE_BYTES)
            .await
            .expect("sends");
        if let Some(bytes) = bytes {
            sender.write_body(bytes).await.expect("sends");
        }
        let _ = sender.delivered().await;
    }
}

fn share_sums(releases: &[Release]) -> Vec<ShareSum> {
    let share_sum = |release: &Release| {
        let point = SharePoint::new(release.releaser.get()).expect("a point");
        ShareSum::from_bytes(point, release.share_sum.as_slice()).expect("a share sum")
    };
    releases.iter().map(share_sum).collect()
}

fn certificate(propose: &Propose, votes: &[Vote]) -> Certificate {
    let certified = |vote: &Vote| CertifiedVote {
        voter: vote.voter,
        signature: vote.signature,
    };
    Certificate {
        step: propose.step,
        proposal: propose.digest(),
        votes: votes.iter().map(certified).collect(),
    }
}
