//! A coordinator that lies: it holds the consortium's own keys and speaks the protocol perfectly,
//! but shows different members different contributing sets (secure-sum, "Vote before release is not
//! optional"). Real node daemons face it. The honest step at the end shows that the script would
//! notice a release if there were one.

use std::collections::BTreeMap;
use std::sync::Arc;

use collegium_automl::ask::{Ask, Totals};
use collegium_automl::federation::{Federation, FederationError};
use collegium_automl::object::{Object, ObjectId};
use collegium_automl::search::{self, Silent};
use collegium_automl::task::Task;
use collegium_coordinator::init::{self, Keys};
use collegium_coordinator::{charter_service, store::Store};
use collegium_crypto::encode::{Segment, Shape};
use collegium_crypto::shamir::{self, SharePoint, ShareSum};
use collegium_protocol::charter::VerifiedCharter;
use collegium_protocol::codec::Blob;
use collegium_protocol::context::task_digest;
use collegium_protocol::ids::{MemberIndex, RunId, StepNumber};
use collegium_protocol::limits::{
    MAX_TO_COORDINATOR_BYTES, MAX_TO_NODE_BYTES, MAX_UPLOAD_HEADER_BYTES, MAX_UPLOAD_TRAILER_BYTES,
};
use collegium_protocol::message::session::{ToCoordinator, ToNode, VERSION};
use collegium_protocol::message::step::{
    Announce, Certificate, CertifiedVote, Propose, Release, StepRef, UploadClaim, Vote,
};
use collegium_protocol::quic::{
    Accepted, Connection, FrameReceiver, FrameSender, Server, ServerConfig, StreamKind,
};
use collegium_protocol::step::{Admission, AdmittedUpload, StepPlan};

use crate::consortium::{Consortium, repository};

/// One node as the script sees it.
struct Node {
    connection: Connection,
    to: FrameSender,
    from: FrameReceiver,
}

impl Node {
    async fn send(&mut self, message: ToNode) {
        self.to
            .send(&message, MAX_TO_NODE_BYTES)
            .await
            .expect("the node listens");
    }

    async fn receive(&mut self) -> ToCoordinator {
        self.from
            .expect(MAX_TO_COORDINATOR_BYTES)
            .await
            .expect("the node answers")
    }
}

/// The lying coordinator: the real one's keys, and nothing of its rules.
struct Script {
    keys: Keys,
    charter: Arc<VerifiedCharter>,
    run: RunId,
    nodes: BTreeMap<MemberIndex, Node>,
    /// Everything any node ever released.
    releases: Vec<Release>,
}

/// A step in which every node has contributed and holds every share.
struct Step {
    plan: StepPlan,
    uploads: BTreeMap<MemberIndex, AdmittedUpload>,
}

impl Step {
    fn reference(&self) -> StepRef {
        self.plan.reference()
    }

    fn propose(&self, members: &[u16]) -> Propose {
        let entries: Vec<UploadClaim> = members
            .iter()
            .map(|member| self.uploads[&index(*member)].claim())
            .collect();
        Propose {
            step: self.reference(),
            entries,
        }
    }
}

fn index(member: u16) -> MemberIndex {
    MemberIndex::new(member).expect("members count from 1")
}

impl Script {
    /// Takes the stopped coordinator's place on its port and waits for the four nodes.
    async fn impersonate(consortium: &Consortium, task: &str) -> (Self, Server) {
        let state = consortium.coordinator_state();
        let keys = init::load(&state).expect("the coordinator's keys");
        let store = Store::open(&state).await.expect("its database");
        let signed = charter_service::in_force(&store)
            .await
            .expect("readable")
            .expect("in force");
        store.close().await;
        let charter = Arc::new(signed.verify(None).expect("every founding member signed"));
        let server = Server::bind(ServerConfig {
            listen: consortium.address().parse().expect("an address"),
            identity: keys.tls.clone(),
            authority: keys.authority.certificate().clone(),
            revocations: keys.revocations.clone(),
        })
        .expect("the port is free again");
        let run = RunId::from_bytes([7; 16]);
        let mut script = Self {
            keys,
            charter,
            run,
            nodes: BTreeMap::new(),
            releases: Vec::new(),
        };
        while script.nodes.len() < script.charter.members().len() {
            let Some(Accepted::Known(connection)) = server.accept().await else {
                panic!("somebody came without a certificate");
            };
            script.welcome(connection, task).await;
        }
        (script, server)
    }

    async fn welcome(&mut self, connection: Connection, task: &str) {
        let stream = connection.accept().await.expect("a control stream");
        let (kind, to, from) = stream.identify().await.expect("its kind");
        assert_eq!(kind, StreamKind::Control);
        let mut node = Node {
            connection,
            to,
            from,
        };
        let ToCoordinator::Hello { name, .. } = node.receive().await else {
            panic!("a session begins with hello");
        };
        let ToCoordinator::Process(_) = node.receive().await else {
            panic!("{name} does not say which process it is");
        };
        node.send(ToNode::Welcome { version: VERSION }).await;
        node.send(ToNode::Charter(self.charter.signed().clone()))
            .await;
        node.send(ToNode::RunOffer {
            run: self.run,
            task: Blob::from(task.as_bytes().to_vec()),
            task_digest: task_digest(task.as_bytes()),
        })
        .await;
        match node.receive().await {
            ToCoordinator::RunAccepted { run, .. } => assert_eq!(run, self.run),
            other => panic!("{name} does not take part: {other:?}"),
        }
        let member = self.charter.member_named(&name).expect("a member").index;
        // A node that dialled twice shows up twice; the later session is the live one.
        self.nodes.insert(member, node);
    }

    /// Announces a step, takes every upload, and delivers every share to everybody.
    async fn gather(&mut self, number: u64, ask: &Ask) -> Step {
        let bytes = ask.to_bytes().expect("the ask");
        let segments = ask.segments();
        let segments = segments.iter().map(|it| Segment {
            max: it.max_code(),
            count: it.count(),
        });
        let shape = Shape(segments.collect());
        let plan = StepPlan::new(
            Arc::clone(&self.charter),
            self.run,
            StepNumber(number),
            &bytes,
            shape,
        )
        .expect("a plan");
        let announce = Announce::sign(
            plan.context().clone(),
            Blob::from(bytes),
            60_000,
            &self.keys.signing,
        );
        let mut uploads = BTreeMap::new();
        for (member, node) in &mut self.nodes {
            node.send(ToNode::Announce(announce.clone())).await;
            let mut stream = node.connection.accept_upload().await.expect("an upload");
            let header = stream
                .expect(MAX_UPLOAD_HEADER_BYTES)
                .await
                .expect("its header");
            let mut admission = Admission::begin(&plan, *member, &header).expect("admitted");
            let mut body = stream
                .body(header.body_len, header.body_len)
                .expect("its body");
            while let Some(chunk) = body.next_chunk().await.expect("a chunk") {
                admission.chunk(chunk).expect("well-formed");
            }
            let trailer = stream
                .expect(MAX_UPLOAD_TRAILER_BYTES)
                .await
                .expect("its trailer");
            uploads.insert(
                *member,
                admission.finish(trailer).expect("signed and complete"),
            );
        }
        for (member, node) in &mut self.nodes {
            for upload in uploads.values() {
                let delivery = upload.delivery(*member).expect("a share");
                node.send(ToNode::Deliver(delivery)).await;
                match node.receive().await {
                    ToCoordinator::Verdict(verdict) => assert_eq!(verdict.complaint, None),
                    other => panic!("no verdict but {other:?}"),
                }
            }
        }
        Step { plan, uploads }
    }

    /// Sends `message` to a node and then one whose answer is known (a share again), and returns
    /// what the node said in between. The control stream keeps its order, so silence is proven
    /// without waiting.
    async fn provoke(&mut self, step: &Step, member: u16, message: ToNode) -> Vec<ToCoordinator> {
        let to = index(member);
        let probe = step.uploads[&index(1)].delivery(to).expect("a share");
        let node = self.nodes.get_mut(&to).expect("a node");
        node.send(message).await;
        node.send(ToNode::Deliver(probe)).await;
        let mut said = Vec::new();
        loop {
            match node.receive().await {
                ToCoordinator::Verdict(_) => break,
                other => said.push(other),
            }
        }
        for message in &said {
            if let ToCoordinator::Release(release) = message {
                self.releases.push(release.clone());
            }
        }
        said
    }

    /// Proposes to one member; its vote, if it gives one.
    async fn vote(&mut self, step: &Step, member: u16, proposal: &Propose) -> Option<Vote> {
        let said = self
            .provoke(step, member, ToNode::Propose(proposal.clone()))
            .await;
        said.into_iter().find_map(|message| match message {
            ToCoordinator::Vote(vote) => Some(vote),
            _ => None,
        })
    }

    /// Shows every member a certificate made of these votes, whatever they were for.
    async fn certify(&mut self, step: &Step, proposal: &Propose, votes: &[&Vote]) {
        let mut votes: Vec<CertifiedVote> = votes
            .iter()
            .map(|vote| CertifiedVote {
                voter: vote.voter,
                signature: vote.signature,
            })
            .collect();
        votes.sort_by_key(|vote| vote.voter);
        let certificate = Certificate {
            step: step.reference(),
            proposal: proposal.digest(),
            votes,
        };
        for member in 1..=4 {
            self.provoke(step, member, ToNode::Certificate(certificate.clone()))
                .await;
        }
    }
}

/// The first ask of the task's search, and nothing further.
struct FirstAsk(Option<Ask>);

impl Federation for FirstAsk {
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        Ok(ObjectId::of(&object.to_bytes()?))
    }

    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError> {
        self.0 = Some(ask.clone());
        Err(FederationError::Stopped("one ask is enough".to_owned()))
    }

    fn time_is_up(&mut self, _steps: u32) -> Result<bool, FederationError> {
        Ok(false)
    }

    fn members(&self) -> usize {
        4
    }
}

fn first_ask(task: &str) -> Ask {
    let task = Task::from_toml(task).expect("the task");
    let mut federation = FirstAsk(None);
    let stopped = search::run(&task, &mut federation, &mut Silent);
    assert!(stopped.is_err(), "the search cannot have ended");
    federation.0.expect("a search begins with an ask")
}

/// The same question under another number, as honest searches ask many.
fn another(ask: &Ask) -> Ask {
    Ask {
        sequence: ask.sequence + 1,
        ..ask.clone()
    }
}

#[test]
fn members_that_are_shown_different_sets_release_nothing() {
    let mut consortium = Consortium::running();
    assert!(
        consortium.terminate_coordinator(),
        "the honest coordinator ends"
    );
    let task = std::fs::read_to_string(repository("examples/hospitals/task.toml")).expect("a task");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let (mut script, server) = Script::impersonate(&consortium, &task).await;
        let ask = first_ask(&task);
        lie(&mut script, &ask).await;
        assert_eq!(
            script.releases,
            [],
            "a member released to a lying coordinator"
        );
        be_honest(&mut script, &another(&ask)).await;
        drop(server);
    });
}

/// Every way to make different members release over different sets.
async fn lie(script: &mut Script, ask: &Ask) {
    let step = script.gather(1, ask).await;
    let one = step.propose(&[1, 2, 3]);
    let other = step.propose(&[2, 3, 4]);

    // Sets below the minimum, and without order, get no vote at all.
    for bad in [
        step.propose(&[1]),
        step.propose(&[1, 2]),
        step.propose(&[3, 2, 1]),
        step.propose(&[1, 1, 2, 3]),
    ] {
        assert_eq!(script.vote(&step, 1, &bad).await, None);
    }

    // Two members see one set, two the other: two votes for each.
    let first = script.vote(&step, 1, &one).await.expect("a vote");
    let second = script.vote(&step, 2, &one).await.expect("a vote");
    let third = script.vote(&step, 3, &other).await.expect("a vote");
    let fourth = script.vote(&step, 4, &other).await.expect("a vote");

    // Nobody votes again for the other set.
    for member in [1, 2] {
        let again = script.vote(&step, member, &other).await;
        assert!(
            again.is_none_or(|vote| vote.proposal == one.digest()),
            "member {member} voted twice"
        );
    }
    for member in [3, 4] {
        let again = script.vote(&step, member, &one).await;
        assert!(
            again.is_none_or(|vote| vote.proposal == other.digest()),
            "member {member} voted twice"
        );
    }

    // Too few votes, votes for another set, one vote counted thrice, a vote under another name.
    script.certify(&step, &one, &[&first, &second]).await;
    script
        .certify(&step, &one, &[&first, &second, &third])
        .await;
    script
        .certify(&step, &other, &[&second, &third, &fourth])
        .await;
    script.certify(&step, &one, &[&first, &first, &first]).await;
    let renamed = Vote {
        voter: index(3),
        ..second.clone()
    };
    script
        .certify(&step, &one, &[&first, &second, &renamed])
        .await;
    script
        .certify(&step, &one, &[&first, &second, &third, &fourth])
        .await;
}

/// The control: one set for everybody, and the sum opens.
async fn be_honest(script: &mut Script, ask: &Ask) {
    let step = script.gather(2, ask).await;
    let proposal = step.propose(&[1, 2, 3, 4]);
    let mut votes = Vec::new();
    for member in 1..=4 {
        votes.push(script.vote(&step, member, &proposal).await.expect("a vote"));
    }
    let votes: Vec<&Vote> = votes.iter().collect();
    script.certify(&step, &proposal, &votes).await;
    assert_eq!(
        script.releases.len(),
        4,
        "every member releases over the set all agreed on"
    );
    let shares: Vec<ShareSum> = script
        .releases
        .iter()
        .map(|release| {
            let point = SharePoint::new(release.releaser.get()).expect("a point");
            ShareSum::from_bytes(point, release.share_sum.as_slice()).expect("a share sum")
        })
        .collect();
    let threshold = script.charter.thresholds().threshold;
    shamir::interpolate(&shares, threshold).expect("the shares open the summed key");
}
