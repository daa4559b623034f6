//! Every role asks for every action over real connections, and gets exactly what the table of roles
//! says; and what happens to certificates that are taken away or renewed.

use std::collections::BTreeMap;
use std::time::SystemTime;

use collegium_coordinator::authorize::Act;
use collegium_coordinator::init;
use collegium_crypto::identity::Signature;
use collegium_protocol::codec;
use collegium_protocol::ids::RunId;
use collegium_protocol::ledger::SignedCheckpoint;
use collegium_protocol::ledger::tile::TileName;
use collegium_protocol::limits::{
    MAX_ADMIN_REQUEST_BYTES, MAX_ADMIN_RESPONSE_BYTES, MAX_OBJECT_REQUEST_BYTES,
    MAX_OBJECT_RESPONSE_BYTES, MAX_TO_COORDINATOR_BYTES, MAX_TO_NODE_BYTES,
};
use collegium_protocol::message::admin::{AdminRequest, AdminResponse, WhichCharter};
use collegium_protocol::message::session::{
    ObjectRequest, ObjectResponse, ToCoordinator, ToNode, VERSION,
};
use collegium_protocol::pki::{Role, Serial, Subject, TlsIdentity, TlsKey};
use collegium_protocol::quic::{
    AdminClient, AdminError, Client, CloseCode, Connection, FrameReceiver, FrameSender, QuicError,
    StreamKind,
};
use collegium_protocol::{Digest, MemberName, ProcessId, Refusal, RefusalCode};
use tokio::time::timeout;

use crate::node::new_process;
use crate::world::{PATIENCE, TASK, World};

const ROLES: [Role; 6] = [
    Role::Operator,
    Role::Scientist,
    Role::Auditor,
    Role::Steward,
    Role::Node,
    Role::Viewer,
];

impl World {
    /// A certificate of this role, signed by the consortium's authority, and a client with it.
    fn certified(&self, role: Role, name: &str) -> (TlsIdentity, Client) {
        let keys = init::load(&self.state()).expect("the coordinator's keys");
        let key = TlsKey::generate().expect("a key");
        let subject = Subject::new(role, name).expect("a subject");
        let issued = keys
            .authority
            .sign_own(&key, &subject, SystemTime::now())
            .expect("issued");
        let identity = TlsIdentity::new(&issued.pem, &key).expect("a pair");
        let client = Client::new(&identity, keys.authority.certificate()).expect("a client");
        (identity, client)
    }

    async fn dial(&self, client: &Client) -> Connection {
        client.connect(&self.address()).await.expect("connects")
    }
}

/// `docs/roles.md` as a map from action and role to the cell.
fn documented() -> BTreeMap<(String, String), String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/roles.md");
    let text = std::fs::read_to_string(path).expect("the table");
    let mut rows = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"));
    let header: Vec<&str> = rows.next().expect("a header").split(" | ").collect();
    let mut cells = BTreeMap::new();
    for row in rows {
        let row: Vec<&str> = row.split(" | ").collect();
        let action = row[1].trim_matches('`').to_owned();
        for (role, cell) in header.iter().zip(&row).skip(2) {
            cells.insert((action.clone(), (*role).to_owned()), (*cell).to_owned());
        }
    }
    cells
}

/// A request that does this, on something that is not there or not the asker's own.
fn request(act: Act) -> Option<AdminRequest> {
    let run = RunId::from_bytes([9; 16]);
    let name: MemberName = "nobody".parse().expect("a name");
    Some(match act {
        Act::SubmitTask => AdminRequest::SubmitTask {
            task: b"no task".to_vec().into(),
        },
        Act::ListRuns => AdminRequest::ListRuns,
        Act::WatchRun => AdminRequest::WatchRun { run, from: 0 },
        Act::ReadResult => AdminRequest::Result { run },
        Act::CancelRun => AdminRequest::CancelRun { run },
        Act::RerunRun => AdminRequest::RerunRun { run },
        Act::ListMembers => AdminRequest::ListMembers,
        Act::InviteMember => AdminRequest::Invite {
            name,
            address: Some("localhost:1".to_owned()),
        },
        Act::ProposeCharter => AdminRequest::ProposeCharter {
            members: vec![name],
        },
        Act::ReadCharter => AdminRequest::FetchCharter {
            which: WhichCharter::InForce,
        },
        Act::SignCharter => AdminRequest::SubmitCharterSignature {
            charter: Digest([1; 32]),
            signature: Signature::from_bytes([0; 64]),
            reveal: None,
        },
        Act::InviteUser => AdminRequest::InviteUser {
            name,
            role: Role::Viewer,
            address: Some("localhost:1".to_owned()),
        },
        Act::RevokeUser => AdminRequest::RevokeUser { name },
        Act::ListUsers => AdminRequest::ListUsers,
        Act::ListCertificates => AdminRequest::ListCertificates,
        Act::RevokeCertificate => AdminRequest::RevokeCertificate {
            serial: Serial::from_bytes(&[0x41; 16]).expect("a serial"),
        },
        Act::RenewCertificate => AdminRequest::RenewCertificate {
            request: b"no request".to_vec().into(),
        },
        Act::ReadLedger => AdminRequest::ReadLedger,
        Act::Connect | Act::Upload | Act::FetchObject => return None,
    })
}

/// Whether the request got past the access policy, whatever came of it then.
async fn admitted(client: &AdminClient, request: &AdminRequest) -> bool {
    match timeout(PATIENCE, client.ask(request))
        .await
        .expect("in time")
    {
        Ok(_) => true,
        Err(AdminError::Refused(refusal)) => refusal.code != RefusalCode::NotAllowed,
        Err(error) => panic!("{request:?}: {error}"),
    }
}

/// Whether the coordinator welcomes a session, which ends at once.
async fn welcomed(connection: &Connection, name: &str) -> bool {
    match session(connection, name, new_process()).await {
        Ok(_) => true,
        Err(refusal) => {
            assert_eq!(refusal.code, RefusalCode::NotAllowed, "{refusal}");
            false
        }
    }
}

/// Opens a session of a process; its streams, which keep it open, if the coordinator welcomes it.
async fn session(
    connection: &Connection,
    name: &str,
    process: ProcessId,
) -> Result<(FrameSender, FrameReceiver), Refusal> {
    let (mut sender, mut receiver) = connection
        .open(StreamKind::Control)
        .await
        .expect("a stream");
    let hello = ToCoordinator::Hello {
        version: VERSION,
        name: name.parse().expect("a name"),
        charter: None,
    };
    for message in [hello, ToCoordinator::Process(process)] {
        sender
            .send(&message, MAX_TO_COORDINATOR_BYTES)
            .await
            .expect("sends");
    }
    let answer = receiver.expect::<ToNode>(MAX_TO_NODE_BYTES);
    match timeout(PATIENCE, answer).await.expect("in time") {
        Ok(ToNode::Welcome { .. }) => Ok((sender, receiver)),
        Ok(ToNode::Refused(refusal)) => Err(refusal),
        other => panic!("{other:?}"),
    }
}

/// Asks for an object that is not there; whether that was the answer.
async fn may_fetch(connection: &Connection) -> bool {
    let (mut sender, mut receiver) = connection.open(StreamKind::Object).await.expect("a stream");
    let request = ObjectRequest {
        id: Digest([3; 32]),
    };
    sender
        .send(&request, MAX_OBJECT_REQUEST_BYTES)
        .await
        .expect("sends");
    let answer = receiver.expect::<ObjectResponse>(MAX_OBJECT_RESPONSE_BYTES);
    match timeout(PATIENCE, answer).await.expect("in time") {
        Ok(ObjectResponse::Refused(refusal)) => {
            assert_eq!(refusal.code, RefusalCode::UnknownObject, "{refusal}");
            true
        }
        Ok(other) => panic!("{other:?}"),
        Err(_) => false,
    }
}

/// Begins an upload for no step. One that is not allowed costs the connection.
async fn may_upload(connection: &Connection) -> bool {
    let mut stream = connection.open_upload().await.expect("a stream");
    // The coordinator stops the stream either way; only the connection's end tells.
    let _ = stream.write_body(vec![0; 1]).await;
    let _ = stream.delivered().await;
    let listed = AdminClient::new(connection.clone()).members().await;
    listed.is_ok()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_role_gets_what_the_table_says_and_nothing_else() {
    let world = World::found();
    let daemon = world.start().await;
    let documented = documented();
    assert_eq!(documented.len(), Act::ALL.len() * ROLES.len());
    for role in ROLES {
        let (identity, client) = world.certified(role, "ann");
        for act in Act::ALL {
            let connection = world.dial(&client).await;
            let got = match (*act, request(*act)) {
                (_, Some(request)) => {
                    admitted(&AdminClient::new(connection.clone()), &request).await
                }
                (Act::Connect, _) => welcomed(&connection, "ann").await,
                (Act::FetchObject, _) => may_fetch(&connection).await,
                _ => may_upload(&connection).await,
            };
            let cell = &documented[&(act.id().to_owned(), role.to_string())];
            // What the protocol lets anybody do is always about the own certificate and member; the
            // runs asked about here are nobody's.
            let own = !matches!(act, Act::CancelRun | Act::RerunRun | Act::RevokeCertificate);
            let wanted = cell == "**yes**" || (cell == "*own*" && own);
            assert_eq!(got, wanted, "{role} {} is documented as {cell}", act.id());
            connection.finish().await;
        }
        let fingerprint = identity.peer().fingerprint.to_string();
        let subject = format!("{role}/ann");
        let ledger = world.ledger();
        for act in Act::ALL {
            let of = |entry: &&serde_json::Value| {
                entry["action"] == "request"
                    && entry["actor"] == subject.as_str()
                    && entry["evidence"]["certificate"] == fingerprint.as_str()
                    && entry["object"]
                        .as_str()
                        .is_some_and(|object| object.starts_with(&format!("{} ", act.id())))
            };
            let entry = ledger.iter().rfind(of);
            let allowed = documented[&(act.id().to_owned(), role.to_string())] != "–";
            let in_session = matches!(act, Act::Upload | Act::FetchObject);
            if in_session && allowed {
                continue;
            }
            let entry = entry.unwrap_or_else(|| panic!("{subject} {}: no entry", act.id()));
            let evidence = &entry["evidence"];
            if entry["outcome"] == "done" {
                assert!(evidence["policies"][0].is_string(), "{entry}");
            } else {
                assert_eq!(entry["outcome"], "refused");
                assert_eq!(evidence["reason"], "no policy permits it", "{entry}");
            }
        }
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_scientist_ends_own_runs_and_no_others() {
    let (world, daemon) = World::of_four().await;
    let client = async |name: &str| {
        let (_, client) = world.certified(Role::Scientist, name);
        AdminClient::new(world.dial(&client).await)
    };
    let (ann, bob) = (client("ann").await, client("bob").await);
    // The same task file, submitted by both: each run is its submitter's.
    let anns = ann.submit_task(TASK).await.expect("submitted");
    let bobs = bob.submit_task(TASK).await.expect("submitted");
    for (who, run) in [(&bob, anns), (&ann, bobs)] {
        let AdminError::Refused(refusal) = who.cancel(run).await.expect_err("another's") else {
            panic!("refused")
        };
        assert_eq!(refusal.code, RefusalCode::NotAllowed);
        assert!(refusal.detail().contains("may not cancelRun"), "{refusal}");
    }
    ann.cancel(anns).await.expect("her own");
    bob.cancel(bobs).await.expect("his own");
    daemon.stop().await;
}

/// The reason with which the coordinator closed a connection.
async fn closed(connection: &Connection) -> String {
    match timeout(PATIENCE, connection.closed())
        .await
        .expect("in time")
    {
        QuicError::Closed {
            code: CloseCode::Revoked,
            reason,
        } => reason,
        other => panic!("closed otherwise: {other}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn revoking_closes_open_connections_and_outlives_a_restart() {
    let (world, daemon) = World::of_four().await;
    let operator = world.operator().await;
    let member = world.members[1].clone();
    let node = world.dial(&member.client).await;
    assert!(welcomed(&node, "b").await);
    let list = operator.certificates().await.expect("a list");
    let entry = list
        .iter()
        .find(|one| one.subject.to_string() == "node/b")
        .expect("the node's");
    assert_eq!((entry.connections, entry.revoked), (1, None));
    operator
        .revoke_certificate(entry.serial)
        .await
        .expect("revoked");
    assert!(closed(&node).await.contains("revoked by hand"));

    // Refused in the handshake, now and after a restart.
    let refused = async || {
        let error = member.client.connect(&world.address()).await;
        let error = error.expect_err("a revoked certificate");
        assert!(
            matches!(&error, QuicError::CertificateRefused { .. }),
            "{error}"
        );
    };
    refused().await;
    daemon.stop().await;
    let daemon = world.start().await;
    refused().await;
    let ledger = world.ledger();
    let revoked: Vec<_> = ledger
        .iter()
        .filter(|entry| entry["action"] == "revoke")
        .collect();
    assert_eq!(revoked.len(), 1, "{revoked:?}");
    assert_eq!(revoked[0]["object"], "node/b");
    assert_eq!(revoked[0]["actor"], "operator/operator");

    // Another member's node is not touched.
    let other = world.dial(&world.members[0].client).await;
    assert!(welcomed(&other, "a").await);
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_takes_its_own_place_over_and_a_second_one_with_the_same_keys_is_turned_away() {
    let (world, daemon) = World::of_four().await;
    let client = &world.members[0].client;
    let (own, other) = (new_process(), new_process());

    // The node dials again before the coordinator knows that its old path is dead.
    let (first, second) = (world.dial(client).await, world.dial(client).await);
    let _first = session(&first, "a", own).await.expect("welcomed");
    let _second = session(&second, "a", own).await.expect("welcomed");
    let end = timeout(PATIENCE, first.closed()).await.expect("in time");
    assert!(
        matches!(
            &end,
            QuicError::Closed {
                code: CloseCode::Replaced,
                ..
            }
        ),
        "{end}"
    );

    // Another process with the same keys is told where the first one is, each time it comes.
    for _ in 0..2 {
        let third = world.dial(client).await;
        let refusal = session(&third, "a", other).await.expect_err("two of one");
        assert_eq!(refusal.code, RefusalCode::AlreadyConnected, "{refusal}");
        assert!(
            refusal.detail().contains("UTC from 127.0.0.1:"),
            "{refusal}"
        );
        third.finish().await;
    }
    assert!(!second.is_closed(), "the first one goes on");
    let refused = |entry: &&serde_json::Value| {
        entry["action"] == "refuse" && entry["actor"] == "node/a" && entry["object"] == "session"
    };
    let ledger = world.ledger();
    assert_eq!(ledger.iter().filter(refused).count(), 1, "{ledger:?}");

    // When the first one has gone, the other one gets in.
    second.finish().await;
    let fourth = world.dial(client).await;
    let _fourth = session(&fourth, "a", other).await.expect("welcomed");

    // A member that comes with another name than its certificate's.
    let fifth = world.dial(&world.members[1].client).await;
    assert!(!welcomed(&fifth, "a").await);
    world.join_with_keys_of("e", 0).await;
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reader_of_the_ledger_names_tiles_and_no_paths() {
    let (world, daemon) = World::of_four().await;
    let (_, client) = world.certified(Role::Auditor, "ann");
    let connection = world.dial(&client).await;
    let mut reader = AdminClient::new(connection.clone())
        .ledger()
        .await
        .expect("an auditor reads");
    let note = SignedCheckpoint::parse(reader.checkpoint()).expect("a checkpoint");
    let size = note.checkpoint().size;
    let width = u16::try_from(size).expect("a young ledger");
    let name = TileName::entries(0, width);
    let bytes = reader.tile(name).await.expect("an answer").expect("a tile");
    assert_eq!(
        name.beginning(&bytes),
        Some(bytes.as_slice()),
        "{width} entries"
    );
    let none = reader.tile(TileName::entries(1_000_000, 7)).await;
    assert_eq!(none.expect("an answer"), None);

    // What no correct program sends, in the place of a tile's name.
    let (mut sender, mut receiver) = connection.open(StreamKind::Admin).await.expect("a stream");
    sender
        .send(&AdminRequest::ReadLedger, MAX_ADMIN_REQUEST_BYTES)
        .await
        .expect("sends");
    let head = receiver.expect::<AdminResponse>(MAX_ADMIN_RESPONSE_BYTES);
    assert!(matches!(head.await, Ok(AdminResponse::Ledger { .. })));
    let frame = codec::encode(&"tile/../../keys/authority.key").expect("encodes");
    sender.send_frame(&frame, frame.len()).await.expect("sends");
    let end = timeout(PATIENCE, connection.closed())
        .await
        .expect("in time");
    assert!(
        matches!(
            &end,
            QuicError::Closed {
                code: CloseCode::Protocol,
                ..
            }
        ),
        "{end}"
    );
    let refused =
        |entry: &serde_json::Value| entry["action"] == "refuse" && entry["actor"] == "auditor/ann";
    assert!(world.ledger().iter().any(refused));
    daemon.stop().await;
}
