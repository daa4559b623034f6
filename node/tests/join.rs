//! Joining against a scripted coordinator over real QUIC: what is made at the site, what is kept,
//! and what is left behind when it fails.

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use collegium_node::config::{Config, Flags, Sources};
use collegium_node::join::{JoinError, JoinOptions, Joined, join};
use collegium_node::keys::NodeKeys;
use collegium_protocol::limits::{
    MAX_JOIN_REQUEST_BYTES, MAX_JOIN_RESPONSE_BYTES, MAX_TO_COORDINATOR_BYTES, MAX_TO_NODE_BYTES,
};
use collegium_protocol::message::join::{JoinRequest, JoinResponse};
use collegium_protocol::message::session::{ToCoordinator, ToNode, VERSION};
use collegium_protocol::pki::{
    Authority, Fingerprint, InviteCode, InviteSecret, Revocations, Role, Subject, TlsIdentity,
    TlsKey,
};
use collegium_protocol::quic::{Accepted, Server, ServerConfig, StreamKind};
use collegium_protocol::{Refusal, RefusalCode};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(30);

struct Coordinator {
    authority: Authority,
    server: Server,
}

impl Coordinator {
    fn start() -> Self {
        let now = SystemTime::now();
        let authority = Authority::create("Test", now).expect("an authority");
        let key = TlsKey::generate().expect("a key");
        let subject = Subject::new(Role::Coordinator, "coordinator").expect("a subject");
        let issued = authority.sign_own(&key, &subject, now).expect("signs");
        let server = Server::bind(ServerConfig {
            listen: (Ipv4Addr::LOCALHOST, 0).into(),
            identity: TlsIdentity::new(&issued.pem, &key).expect("an identity"),
            authority: authority.certificate().clone(),
            revocations: Revocations::default(),
        })
        .expect("binds");
        Self { authority, server }
    }

    fn code(&self) -> InviteCode {
        InviteCode {
            name: "hospital-a".to_owned(),
            address: self.server.local_address().to_string(),
            authority: self.authority.certificate().fingerprint(),
            secret: InviteSecret::from_bytes([3; 16]),
            expires: SystemTime::now() + Duration::from_secs(3600),
        }
    }

    /// Takes one request, checks that it proves its keys, and answers as `answer` says.
    async fn serve(
        &self,
        answer: impl FnOnce(&Authority, &JoinRequest) -> JoinResponse,
    ) -> JoinRequest {
        let Some(Accepted::Joining(connection)) = self.server.accept().await else {
            panic!("expected somebody without a certificate");
        };
        let arriving = connection.accept().await.expect("a stream");
        let (kind, mut sender, mut receiver) = arriving.identify().await.expect("a kind");
        assert_eq!(kind, StreamKind::Join);
        let request: JoinRequest = receiver
            .expect(MAX_JOIN_REQUEST_BYTES)
            .await
            .expect("a request");
        request.verify().expect("it proves its keys");
        assert_eq!(request.secret, [3; 16]);
        let response = answer(&self.authority, &request);
        sender
            .send(&response, MAX_JOIN_RESPONSE_BYTES)
            .await
            .expect("sends");
        let _ = sender.delivered().await;
        connection.closed().await;
        request
    }
}

/// Signs what is asked for, as a coordinator should.
fn welcome(authority: &Authority, request: &JoinRequest) -> JoinResponse {
    let subject = Subject::new(Role::Node, request.name.as_str()).expect("a subject");
    let issued = authority.sign_request(request.request.as_slice(), &subject, SystemTime::now());
    JoinResponse::Joined {
        certificate: issued.expect("signs").pem,
        authority: authority.certificate().pem().to_owned(),
        consortium: "Test".to_owned(),
    }
}

struct Site {
    directory: TempDir,
}

impl Site {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        std::fs::write(directory.path().join("rows.csv"), "a,b\n1,2\n").expect("writes");
        Self { directory }
    }

    fn state(&self) -> std::path::PathBuf {
        self.directory.path().join("state")
    }

    async fn join(&self, code: &InviteCode) -> Result<Joined, JoinError> {
        let options = JoinOptions {
            code: code.to_line(),
            state: self.state(),
            data: self.directory.path().join("rows.csv"),
            columns: None,
        };
        tokio::time::timeout(PATIENCE, join(options))
            .await
            .expect("the test hangs")
    }
}

fn load(state: &Path) -> Config {
    let flags = Flags {
        state: Some(state.to_owned()),
        ..Flags::default()
    };
    Config::load(&Sources {
        flags,
        ..Sources::default()
    })
    .expect("the configuration loads")
}

#[tokio::test]
async fn a_code_becomes_a_membership() {
    let coordinator = Coordinator::start();
    let site = Site::new();
    let code = coordinator.code();
    let (joined, request) = tokio::join!(site.join(&code), coordinator.serve(welcome));
    let joined = joined.expect("joins");
    assert_eq!(joined.member.as_str(), "hospital-a");
    assert_eq!(joined.consortium, "Test");

    let keys = NodeKeys::load(&site.state())
        .map_err(|e| e.to_string())
        .expect("keys");
    assert_eq!(keys.identity.public(), request.identity);
    assert_eq!(*keys.sealing.public(), request.sealing);
    assert_eq!(keys.coordinator, code.address);
    let rows = site
        .directory
        .path()
        .join("rows.csv")
        .canonicalize()
        .expect("a path");
    assert_eq!(load(&site.state()).data.path, Some(rows));

    // The certificate opens the members' door.
    let client = keys.client.clone();
    let (connected, accepted) =
        tokio::join!(client.connect(&code.address), coordinator.server.accept());
    connected.expect("connects");
    assert!(matches!(accepted, Some(Accepted::Known(_))));

    // A code for another member, or of another consortium, needs another directory. Nobody is
    // dialled to find that out.
    let mut other_name = coordinator.code();
    other_name.name = "hospital-b".to_owned();
    let mut other_consortium = coordinator.code();
    other_consortium.authority = Fingerprint([7; 32]);
    for code in [other_name, other_consortium] {
        let again = site.join(&code).await.expect_err("joined already");
        assert!(
            again.to_string().contains("belongs to hospital-a of Test"),
            "{again}"
        );
    }
}

#[tokio::test]
async fn joining_again_renews_the_certificate_and_keeps_the_keys() {
    let coordinator = Coordinator::start();
    let site = Site::new();
    let code = coordinator.code();
    let (joined, first) = tokio::join!(site.join(&code), coordinator.serve(welcome));
    joined.expect("joins");
    let before = NodeKeys::load(&site.state())
        .map_err(|e| e.to_string())
        .expect("keys");
    let (joined, second) = tokio::join!(site.join(&code), coordinator.serve(welcome));
    joined.expect("joins again");
    let after = NodeKeys::load(&site.state())
        .map_err(|e| e.to_string())
        .expect("keys");
    assert_eq!(first.identity, second.identity);
    assert_eq!(first.sealing, second.sealing);
    assert_ne!(before.certificate.serial, after.certificate.serial);
}

#[tokio::test]
async fn a_refused_site_keeps_its_keys_and_can_try_again() {
    let coordinator = Coordinator::start();
    let site = Site::new();
    let code = coordinator.code();
    let refuse = |_: &Authority, _: &JoinRequest| {
        JoinResponse::Refused(Refusal::new(RefusalCode::Expired, "used before"))
    };
    let (refused, first) = tokio::join!(site.join(&code), coordinator.serve(refuse));
    let error = refused.expect_err("refused").to_string();
    assert!(error.contains("used before"), "{error}");
    assert!(NodeKeys::load(&site.state()).is_err(), "it has not joined");

    let (joined, second) = tokio::join!(site.join(&code), coordinator.serve(welcome));
    joined.expect("joins");
    assert_eq!(first.identity, second.identity);
    assert_eq!(first.sealing, second.sealing);
}

#[tokio::test]
async fn a_certificate_for_another_key_is_not_kept() {
    let coordinator = Coordinator::start();
    let site = Site::new();
    let code = coordinator.code();
    let other = |authority: &Authority, request: &JoinRequest| {
        let mut request = request.clone();
        let key = TlsKey::generate().expect("a key");
        request.request.0 = key.signing_request().expect("a request");
        welcome(authority, &request)
    };
    let (joined, _) = tokio::join!(site.join(&code), coordinator.serve(other));
    assert!(
        joined
            .expect_err("another key")
            .to_string()
            .contains("another private key")
    );
    assert!(NodeKeys::load(&site.state()).is_err());
}

#[tokio::test]
async fn a_coordinator_of_another_authority_learns_nothing() {
    let coordinator = Coordinator::start();
    let site = Site::new();
    let mut code = coordinator.code();
    code.authority = Fingerprint([7; 32]);
    let error = site.join(&code).await.expect_err("another authority");
    assert!(matches!(error, JoinError::Quic(_)), "{error}");
}

#[tokio::test]
async fn what_is_wrong_here_is_found_before_dialling() {
    let coordinator = Coordinator::start();
    let site = Site::new();
    let mut code = coordinator.code();
    code.expires = SystemTime::now() - Duration::from_secs(60);
    let error = site.join(&code).await.expect_err("too old");
    assert!(matches!(error, JoinError::Expired(_)), "{error}");

    let code = coordinator.code();
    std::fs::remove_file(site.directory.path().join("rows.csv")).expect("removes");
    let error = site.join(&code).await.expect_err("no table");
    assert!(error.to_string().contains("rows.csv"), "{error}");
    assert!(!site.state().exists(), "nothing was made");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_daemon_says_hello_and_ends_in_order_on_sigterm() {
    let coordinator = Coordinator::start();
    let site = Site::new();
    let code = coordinator.code();
    let (joined, _) = tokio::join!(site.join(&code), coordinator.serve(welcome));
    joined.expect("joins");

    let state = site.state();
    let daemon = Command::new(env!("CARGO_BIN_EXE_collegium-node"))
        .args(["--state", state.to_str().expect("UTF-8"), "run"])
        .env_clear()
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let Some(Accepted::Known(connection)) = coordinator.server.accept().await else {
        panic!("expected the node");
    };
    let arriving = connection.accept().await.expect("a stream");
    let (_, mut sender, mut receiver) = arriving.identify().await.expect("a kind");
    match receiver
        .expect(MAX_TO_COORDINATOR_BYTES)
        .await
        .expect("a message")
    {
        ToCoordinator::Hello { name, charter, .. } => {
            assert_eq!((name.as_str(), charter), ("hospital-a", None));
        }
        other => panic!("expected Hello, got {other:?}"),
    }
    sender
        .send(&ToNode::Welcome { version: VERSION }, MAX_TO_NODE_BYTES)
        .await
        .expect("sends");

    let terminate = Command::new("kill").arg(daemon.id().to_string()).status();
    assert!(terminate.expect("kill runs").success());
    let ended = tokio::task::spawn_blocking(move || daemon.wait_with_output());
    let output = tokio::time::timeout(Duration::from_secs(10), ended).await;
    let output = output
        .expect("it ends within 10 s")
        .expect("no panic")
        .expect("an output");
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(!state.join("run/status.json").exists(), "{log}");
    let ledger = collegium_node::ledger::entries(&state.join("ledger")).expect("reads");
    let actions: Vec<_> = ledger.iter().map(|entry| &entry["action"]).collect();
    assert_eq!(actions, ["start", "policy", "stop"], "{ledger:?}");
}
