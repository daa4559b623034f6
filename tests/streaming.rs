//! A contribution of 100 MB goes from a node's codes to the coordinator's spool over real QUIC, both
//! ends in this one process, and neither holds it. A program of its own, with one test: the peak of
//! a process's memory is that of everything that ran in it.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::SystemTime;

use collegium_coordinator::spool::Spool;
use collegium_coordinator::stepfiles::StepFiles;
use collegium_coordinator::upload::OpenStep;
use collegium_crypto::{SealingSecret, Segment, Shape, SigningIdentity, os_rng};
use collegium_node::spool::UploadSpool;
use collegium_protocol::charter::{
    BeaconNonce, Charter, CharterSignature, NewMember, SignedCharter, VerifiedCharter,
};
use collegium_protocol::limits::{MAX_UPLOAD_HEADER_BYTES, MAX_UPLOAD_TRAILER_BYTES};
use collegium_protocol::message::step::Announce;
use collegium_protocol::pki::{Authority, Revocations, Role, Subject, TlsIdentity, TlsKey};
use collegium_protocol::quic::{Accepted, Client, Connection, Server, ServerConfig};
use collegium_protocol::step::{Contributor, LocalVerdict, NodeAction, Place, Sealing, StepPlan};
use collegium_protocol::{Blob, ConsortiumId, Digest, MemberIndex, MemberName, RunId, StepNumber};
use tokio::sync::mpsc;

const MEMBERS: u16 = 4;
/// Codes of 32 bits lie one in a coefficient of 8 bytes: 100 MB.
const NUMBERS: usize = 12_500_000;
const BODY: u64 = 8 * NUMBERS as u64;
/// What both ends together may take while the body streams, beyond the packed words that the node
/// encrypts: pieces on their way, QUIC's windows, threads. Half a body.
const MOST: u64 = BODY / 2;

/// A consortium's keys and a step that asks for the shape.
struct Step {
    plan: Arc<StepPlan>,
    announce: Announce,
    place: Arc<Place>,
    shape: Shape,
}

/// What a member keeps secret.
type Keys = (Arc<SigningIdentity>, Arc<SealingSecret>, BeaconNonce);

fn step() -> Step {
    let mut rng = os_rng().expect("randomness");
    let coordinator = SigningIdentity::generate(&mut rng);
    let keys: Vec<Keys> = (0..MEMBERS)
        .map(|_| {
            let identity = Arc::new(SigningIdentity::generate(&mut rng));
            let sealing = Arc::new(SealingSecret::generate(&mut rng));
            (identity, sealing, BeaconNonce::generate(&mut rng))
        })
        .collect();
    let member = |(number, (identity, sealing, nonce)): (u16, &Keys)| NewMember {
        name: name(number),
        contact: String::new(),
        identity: identity.public(),
        sealing: sealing.public().clone(),
        commitment: nonce.commitment(&identity.public()),
    };
    let list = (1..).zip(&keys).map(member).collect();
    let id = ConsortiumId::from_bytes([7; 16]);
    let policy = Digest([8; 32]);
    let charter = Charter::found("four", id, coordinator.public(), policy, list);
    let mut signed = SignedCharter::unsigned(charter.expect("a charter"));
    for (number, (identity, _, _)) in (1..).zip(&keys) {
        let signature = signed.charter.sign(identity);
        signed.signatures.push(CharterSignature {
            signer: index(number),
            signature,
            reveal: None,
        });
    }
    let charter: Arc<VerifiedCharter> = Arc::new(signed.verify(None).expect("all signed"));
    let shape = Shape(vec![Segment {
        max: u64::from(u32::MAX) - 1,
        count: NUMBERS,
    }]);
    let (ask, run) = (
        b"as many numbers as that".to_vec(),
        RunId::from_bytes([9; 16]),
    );
    let number = StepNumber(1);
    let plan = StepPlan::new(Arc::clone(&charter), run, number, &ask, shape.clone());
    let plan = Arc::new(plan.expect("a plan"));
    let announce = Announce::sign(plan.context().clone(), Blob(ask), 60_000, &coordinator);
    let (identity, sealing) = (Arc::clone(&keys[0].0), Arc::clone(&keys[0].1));
    let place = Arc::new(Place::new(charter, identity, sealing).expect("a place"));
    Step {
        plan,
        announce,
        place,
        shape,
    }
}

fn name(number: u16) -> MemberName {
    format!("site-{number}").parse().expect("a name")
}

fn index(number: u16) -> MemberIndex {
    MemberIndex::new(number).expect("an index")
}

/// Both ends of a connection of member 1; the server must be kept.
async fn connection() -> (Server, Connection, Connection) {
    let authority = Authority::create("four", SystemTime::now()).expect("an authority");
    let identity = |role, name: &str| {
        let key = TlsKey::generate().expect("a key");
        let subject = Subject::new(role, name).expect("a subject");
        let request = key.signing_request().expect("a request");
        let issued = authority.sign_request(&request, &subject, SystemTime::now());
        TlsIdentity::new(&issued.expect("a certificate").pem, &key).expect("an identity")
    };
    let server = Server::bind(ServerConfig {
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        identity: identity(Role::Coordinator, "coordinator"),
        authority: authority.certificate().clone(),
        revocations: Revocations::default(),
    })
    .expect("binds");
    let client = identity(Role::Node, name(1).as_str());
    let client = Client::new(&client, authority.certificate()).expect("a client");
    let address = server.local_address().to_string();
    let (near, far) = tokio::join!(client.connect(&address), server.accept());
    match far {
        Some(Accepted::Known(far)) => (server, near.expect("connects"), far),
        other => panic!("expected a certificate holder, got {other:?}"),
    }
}

/// The trainer's answer on its way to becoming an upload.
fn sealing(step: &Step) -> Sealing {
    let context = step.plan.context();
    let mut contributor = Contributor::restore(Arc::clone(&step.place), context.run, []);
    let shape = step.shape.clone();
    let actions = contributor.announce(&step.announce, LocalVerdict::Allowed { shape });
    assert!(
        matches!(actions[1], NodeAction::Answer { .. }),
        "{actions:?}"
    );
    let codes = (0..NUMBERS as u64).map(|code| code.wrapping_mul(0x9e37_79b9) % (1 << 31));
    let codes = codes.collect();
    contributor
        .seal(context.step, codes)
        .expect("an answer is due")
}

/// As the node does: pieces go to the spool and, through a short queue, to the stream. Gives the
/// memory taken when the first piece was there: by then the codes are packed and let go.
async fn upload(sealing: Sealing, spool: UploadSpool, connection: &Connection) -> u64 {
    let header = sealing.header();
    let (pieces, mut coming) = mpsc::channel::<Vec<u8>>(16);
    let encrypting = tokio::task::spawn_blocking(move || {
        let mut writer = spool.writer();
        let mut rng = os_rng().expect("randomness");
        let sealed = sealing.run(2, &mut rng, &mut |piece| {
            writer.write(&piece)?;
            pieces.blocking_send(piece).expect("is taken");
            Ok(())
        });
        sealed.expect("the codes fit").kept(writer.finish())
    });
    let mut sender = connection.open_upload().await.expect("opens");
    let sent = sender.send(&header, MAX_UPLOAD_HEADER_BYTES).await;
    sent.expect("sends");
    let mut before = None;
    while let Some(piece) = coming.recv().await {
        before.get_or_insert_with(forget_peak);
        sender.write_body(piece).await.expect("sends");
    }
    let ready = encrypting.await.expect("encrypts");
    let sent = sender.send(&ready.trailer, MAX_UPLOAD_TRAILER_BYTES).await;
    sent.expect("sends");
    sender.delivered().await.expect("arrives");
    before.expect("a first piece")
}

/// Lets the peak begin anew, at the memory that is resident now; returns that.
fn forget_peak() -> u64 {
    std::fs::write("/proc/self/clear_refs", "5").expect("Linux");
    peak()
}

/// Peak resident memory of this process.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
    kib.expect("a figure") << 10
}

#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_contribution_of_100_mb_is_held_by_neither_end() {
    let state = tempfile::tempdir().expect("tempdir");
    let step = step();
    assert_eq!(step.plan.body_len(), BODY);
    let (_server, near, far) = connection().await;
    let sealing = sealing(&step);

    let kept = UploadSpool::open(state.path()).expect("opens");
    let spool = Spool::open(state.path(), 0).expect("opens");
    let shares = StepFiles::open(state.path()).and_then(|files| files.begin_shares());
    let open = OpenStep::new(Arc::clone(&step.plan), spool, shares.expect("begins"));
    let receiving = async {
        let mut stream = far.accept_upload().await.expect("an upload");
        open.receive(&name(1), &mut stream).await
    };
    let (before, arrived) = tokio::join!(upload(sealing, kept, &near), receiving);
    let arrived = arrived.expect("every check passes");
    assert_eq!(
        (arrived.body.len(), arrived.body.is_on_disk()),
        (BODY, true)
    );

    let taken = peak() - before;
    println!("{} MB while {} MB streamed", taken >> 20, BODY >> 20);
    assert!(taken < MOST, "{taken} bytes while the body streamed");
}
