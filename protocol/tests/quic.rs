//! The transport as its users see it: real sockets on the loopback, real handshakes.
#![expect(clippy::unwrap_used, reason = "a test may stop at the first surprise")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, SystemTime};

use collegium_protocol::pki::{
    Authority, PkiError, Revocations, Role, Subject, TlsIdentity, TlsKey,
};
use collegium_protocol::quic::{
    Accepted, Client, CloseCode, Connection, MAX_JOINING, QuicError, Server, ServerConfig,
    StreamKind, join,
};

/// Generous: it only bounds a test that hangs.
const PATIENCE: Duration = Duration::from_secs(30);

struct Consortium {
    authority: Authority,
    revocations: Revocations,
}

impl Consortium {
    fn new(name: &str) -> Self {
        Self {
            authority: Authority::create(name, SystemTime::now()).unwrap(),
            revocations: Revocations::default(),
        }
    }

    fn identity(&self, role: Role, name: &str) -> TlsIdentity {
        self.identity_at(role, name, SystemTime::now())
    }

    fn identity_at(&self, role: Role, name: &str, now: SystemTime) -> TlsIdentity {
        let key = TlsKey::generate().unwrap();
        let subject = Subject::new(role, name).unwrap();
        let request = key.signing_request().unwrap();
        let issued = self
            .authority
            .sign_request(&request, &subject, now)
            .unwrap();
        TlsIdentity::new(&issued.pem, &key).unwrap()
    }

    fn server(&self) -> Server {
        Server::bind(self.server_config(loopback())).unwrap()
    }

    fn server_config(&self, listen: SocketAddr) -> ServerConfig {
        ServerConfig {
            listen,
            identity: self.identity(Role::Coordinator, "coordinator"),
            authority: self.authority.certificate().clone(),
            revocations: self.revocations.clone(),
        }
    }

    fn client(&self, identity: &TlsIdentity) -> Client {
        Client::new(identity, self.authority.certificate()).unwrap()
    }
}

fn loopback() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

fn address(server: &Server) -> String {
    server.local_address().to_string()
}

async fn known(server: &Server) -> Connection {
    match within(server.accept()).await {
        Some(Accepted::Known(connection)) => connection,
        other => panic!("expected a certificate holder, got {other:?}"),
    }
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("the test hangs")
}

/// Dials and accepts at the same time: near end, far end.
async fn meet(client: &Client, server: &Server) -> (Connection, Connection) {
    let address = address(server);
    let (near, far) = tokio::join!(within(client.connect(&address)), known(server));
    (near.unwrap(), far)
}

/// Both ends of one connection. The server must be kept alive.
async fn pair() -> (Server, Connection, Connection) {
    let consortium = Consortium::new("Test");
    let server = consortium.server();
    let client = consortium.client(&consortium.identity(Role::Node, "hospital-a"));
    let (near, far) = meet(&client, &server).await;
    (server, near, far)
}

#[tokio::test]
async fn both_sides_learn_who_the_other_is() {
    let (server, near, far) = pair().await;
    assert_ne!(
        server.local_address().port(),
        0,
        "the real port is reported"
    );
    let member = far.peer().unwrap();
    assert_eq!(member.subject.role, Role::Node);
    assert_eq!(member.subject.name, "hospital-a");
    let coordinator = near.peer().unwrap();
    assert_eq!(coordinator.subject.role, Role::Coordinator);

    let (mut sender, mut receiver) = within(near.open(StreamKind::Admin)).await.unwrap();
    sender.send(&"ping".to_owned(), 100).await.unwrap();
    sender.finish();
    let arriving = within(far.accept()).await.unwrap();
    let (kind, mut answer, mut question) = within(arriving.identify()).await.unwrap();
    assert_eq!(kind, StreamKind::Admin);
    assert_eq!(question.expect::<String>(100).await.unwrap(), "ping");
    assert_eq!(question.recv::<String>(100).await.unwrap(), None);
    answer.send(&"pong".to_owned(), 100).await.unwrap();
    answer.finish();
    assert_eq!(receiver.expect::<String>(100).await.unwrap(), "pong");
    assert!(near.bytes_sent() > 0 && near.bytes_received() > 0);
}

#[test]
fn a_server_that_was_killed_and_came_back_says_so() {
    let runtime = || {
        tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap()
    };
    let consortium = Consortium::new("Test");
    let identity = consortium.identity(Role::Coordinator, "coordinator");
    let config = |listen| ServerConfig {
        identity: identity.clone(),
        ..consortium.server_config(listen)
    };
    let (first, second, clients) = (runtime(), runtime(), runtime());
    let server = first.block_on(async { Server::bind(config(loopback())).unwrap() });
    let address = server.local_address();
    let client = consortium.client(&consortium.identity(Role::Node, "hospital-a"));
    let (near, far) = clients.block_on(meet(&client, &server));
    // As a kill would: its tasks are gone before they could say anything.
    first.shutdown_timeout(PATIENCE);
    drop((server, far));
    let _server = second.block_on(async { Server::bind(config(address)).unwrap() });
    let error = clients.block_on(within(near.closed()));
    // It was told, and did not have to wait for the idle timeout.
    assert!(
        matches!(&error, QuicError::Lost(why) if why.contains("restarted")),
        "{error}"
    );
}

#[tokio::test]
async fn a_certificate_of_another_consortium_is_refused_in_the_handshake() {
    let ours = Consortium::new("Ours");
    let theirs = Consortium::new("Theirs");
    let server = ours.server();
    // The intruder even trusts our authority, but its own certificate is from elsewhere.
    let intruder = ours.client(&theirs.identity(Role::Operator, "intruder"));
    let error = within(intruder.connect(&address(&server)))
        .await
        .unwrap_err();
    assert!(
        matches!(error, QuicError::CertificateRefused { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("not signed by this consortium"),
        "{error}"
    );

    // The connection of an honest member that comes later is the first to arrive.
    let member = ours.client(&ours.identity(Role::Node, "hospital-a"));
    let (_near, arrived) = meet(&member, &server).await;
    assert_eq!(arrived.peer().unwrap().subject.name, "hospital-a");
}

#[tokio::test]
async fn a_server_of_another_consortium_is_refused() {
    let ours = Consortium::new("Ours");
    let theirs = Consortium::new("Theirs");
    let server = theirs.server();
    let member = ours.client(&ours.identity(Role::Node, "hospital-a"));
    let error = within(member.connect(&address(&server))).await.unwrap_err();
    assert!(matches!(error, QuicError::ServerRefused { .. }), "{error}");

    // The same for joining, where the authority is known by its fingerprint alone.
    let fingerprint = ours.authority.certificate().fingerprint();
    let error = within(join(&address(&server), fingerprint))
        .await
        .unwrap_err();
    assert!(matches!(error, QuicError::ServerRefused { .. }), "{error}");
}

#[tokio::test]
async fn a_member_cannot_pose_as_the_coordinator() {
    let consortium = Consortium::new("Test");
    let mut config = consortium.server_config(loopback());
    config.identity = consortium.identity(Role::Node, "coordinator");
    let server = Server::bind(config).unwrap();
    let client = consortium.client(&consortium.identity(Role::Node, "hospital-a"));
    let error = within(client.connect(&address(&server))).await.unwrap_err();
    assert!(matches!(error, QuicError::ServerRefused { .. }), "{error}");
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_in_the_handshake() {
    let consortium = Consortium::new("Test");
    let server = consortium.server();
    let identity = consortium.identity(Role::Node, "hospital-a");
    let client = consortium.client(&identity);
    meet(&client, &server).await;

    consortium.revocations.revoke(identity.peer().serial);
    let error = within(client.connect(&address(&server))).await.unwrap_err();
    assert!(
        matches!(error, QuicError::CertificateRefused { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("revoked"), "{error}");
}

#[tokio::test]
async fn a_server_shows_its_renewed_certificate_to_whoever_connects_next() {
    let consortium = Consortium::new("Test");
    let server = consortium.server();
    let client = consortium.client(&consortium.identity(Role::Node, "hospital-a"));
    let (before, far) = meet(&client, &server).await;
    let renewed = consortium.identity(Role::Coordinator, "coordinator");
    server.set_identity(&renewed).unwrap();
    let (after, _far) = meet(&client, &server).await;
    let shown = |connection: &Connection| connection.peer().unwrap().serial;
    assert_ne!(shown(&before), renewed.peer().serial);
    assert_eq!(shown(&after), renewed.peer().serial);
    // What was open stays open.
    let (mut sender, _receiver) = within(before.open(StreamKind::Admin)).await.unwrap();
    sender.send(&"ping".to_owned(), 100).await.unwrap();
    let (_, _, mut question) = within(far.accept())
        .await
        .unwrap()
        .identify()
        .await
        .unwrap();
    assert_eq!(question.expect::<String>(100).await.unwrap(), "ping");
    // Revocation still counts under the new certificate.
    let node = consortium.identity(Role::Node, "hospital-b");
    consortium.revocations.revoke(node.peer().serial);
    let refused = within(consortium.client(&node).connect(&address(&server))).await;
    assert!(refused.is_err());
}

#[tokio::test]
async fn an_expired_certificate_is_refused_and_the_message_speaks_of_clocks() {
    let consortium = Consortium::new("Test");
    let server = consortium.server();
    let long_ago = SystemTime::now() - Duration::from_secs(91 * 24 * 60 * 60);
    let client = consortium.client(&consortium.identity_at(Role::Node, "hospital-a", long_ago));
    let error = within(client.connect(&address(&server))).await.unwrap_err();
    assert!(
        matches!(error, QuicError::CertificateRefused { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("clock"), "{error}");
}

#[tokio::test]
async fn without_a_certificate_only_joining_is_possible() {
    let consortium = Consortium::new("Test");
    let server = consortium.server();
    let fingerprint = consortium.authority.certificate().fingerprint();
    let address = address(&server);
    let dialled = within(join(&address, fingerprint));
    let (near, far) = tokio::join!(dialled, within(server.accept()));
    near.unwrap();
    match far {
        Some(Accepted::Joining(connection)) => assert!(connection.peer().is_none()),
        other => panic!("expected a joining connection, got {other:?}"),
    }
}

#[tokio::test]
async fn only_so_many_may_join_at_once() {
    let consortium = Consortium::new("Test");
    let server = consortium.server();
    let address = address(&server);
    let fingerprint = consortium.authority.certificate().fingerprint();
    let mut open = Vec::new();
    for _ in 0..MAX_JOINING {
        let (near, far) = tokio::join!(within(join(&address, fingerprint)), server.accept());
        open.push((near.unwrap(), far.unwrap()));
    }
    match within(join(&address, fingerprint)).await.unwrap_err() {
        QuicError::Closed { code, .. } => assert_eq!(code, CloseCode::Busy),
        other => panic!("{other}"),
    }
    // A place is free again as soon as the daemon lets go of one.
    open.pop();
    let (near, _far) = tokio::join!(within(join(&address, fingerprint)), server.accept());
    near.unwrap();
    // Members are not held up by any of this.
    let member = consortium.client(&consortium.identity(Role::Node, "hospital-a"));
    meet(&member, &server).await;
}

/// Dials `collegium/1` with no certificate at all, which the library's own client cannot.
#[tokio::test]
async fn the_member_protocol_without_a_certificate_is_closed_unused() {
    use std::sync::Arc;

    let consortium = Consortium::new("Test");
    let server = consortium.server();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(consortium.authority.certificate().der().clone())
        .unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"collegium/1".to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(tls).unwrap();
    let endpoint = quinn::Endpoint::client(loopback()).unwrap();
    let connection = endpoint
        .connect_with(
            quinn::ClientConfig::new(Arc::new(crypto)),
            server.local_address(),
            collegium_protocol::pki::SERVER_NAME,
        )
        .unwrap()
        .await
        .unwrap();
    match within(connection.closed()).await {
        quinn::ConnectionError::ApplicationClosed(close) => {
            assert_eq!(
                u64::from(close.error_code),
                CloseCode::NoCertificate.number()
            );
        }
        other => panic!("expected a refusal, got {other}"),
    }
    let nobody = tokio::time::timeout(Duration::from_millis(50), server.accept()).await;
    assert!(nobody.is_err(), "the connection reached the daemon");
}

#[tokio::test]
async fn an_oversized_frame_is_refused_before_its_bytes_are_awaited() {
    let (_server, near, far) = pair().await;
    let (mut sender, _receiver) = within(near.open(StreamKind::Control)).await.unwrap();
    // A length of almost 4 GiB and not one byte behind it.
    sender
        .write_body(u32::MAX.to_be_bytes().to_vec())
        .await
        .unwrap();
    let arriving = within(far.accept()).await.unwrap();
    let (_, _, mut receiver) = within(arriving.identify()).await.unwrap();
    let error = within(receiver.recv_frame(1 << 20)).await.unwrap_err();
    assert!(
        matches!(error, QuicError::TooLarge { length, cap, .. }
            if length == u64::from(u32::MAX) && cap == 1 << 20),
        "{error}"
    );

    // The sender's own cap holds as well, and so does the body's.
    let (mut sender, _) = within(near.open(StreamKind::Control)).await.unwrap();
    let error = sender.send_frame(&[0; 11], 10).await.unwrap_err();
    assert!(matches!(error, QuicError::TooLarge { .. }), "{error}");
    let error = receiver.body(11, 10).unwrap_err();
    assert!(matches!(error, QuicError::TooLarge { .. }), "{error}");
}

#[tokio::test]
async fn a_frame_survives_a_cancelled_read() {
    let (_server, near, far) = pair().await;
    let (mut sender, _receiver) = within(near.open(StreamKind::Control)).await.unwrap();
    let arriving = within(far.accept()).await.unwrap();
    let (_, _, mut receiver) = within(arriving.identify()).await.unwrap();
    // The frame dribbles in; every read in between is cancelled when nothing is there.
    let frame = [[0, 0, 0, 5].as_slice(), b"hello"].concat();
    let mut whole = None;
    for byte in frame {
        sender.write_body(vec![byte]).await.unwrap();
        if let Ok(read) =
            tokio::time::timeout(Duration::from_millis(5), receiver.recv_frame(5)).await
        {
            whole = read.unwrap();
        }
    }
    if whole.is_none() {
        whole = within(receiver.recv_frame(5)).await.unwrap();
    }
    assert_eq!(whole.unwrap(), b"hello");
}

#[tokio::test]
async fn a_frame_or_body_that_is_cut_off_is_an_error() {
    let (_server, near, far) = pair().await;
    let (mut sender, _receiver) = within(near.open(StreamKind::Control)).await.unwrap();
    sender.write_body(vec![0, 0, 0, 9, b'x']).await.unwrap();
    sender.finish();
    let (_, _, mut receiver) = within(far.accept())
        .await
        .unwrap()
        .identify()
        .await
        .unwrap();
    let error = within(receiver.recv_frame(100)).await.unwrap_err();
    assert!(matches!(error, QuicError::CutOff { .. }), "{error}");

    let mut upload = within(near.open_upload()).await.unwrap();
    upload.write_body(b"abc".to_vec()).await.unwrap();
    upload.finish();
    let mut receiver = within(far.accept_upload()).await.unwrap();
    let mut body = receiver.body(4, 4).unwrap();
    let error = loop {
        match within(body.next_chunk()).await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the body is one byte short"),
            Err(error) => break error,
        }
    };
    assert!(matches!(error, QuicError::CutOff { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_streams_through_bounded_memory() {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    const LENGTH: u64 = 20 << 20;
    let (_server, near, far) = pair().await;
    let written = Arc::new(AtomicU64::new(0));
    let counter = Arc::clone(&written);
    let sending = tokio::spawn(async move {
        let mut upload = near.open_upload().await.unwrap();
        let piece: Vec<u8> = (0..=u8::MAX).cycle().take(64 * 1024).collect();
        for _ in 0..LENGTH / piece.len() as u64 {
            upload.write_body(piece.clone()).await.unwrap();
            counter.fetch_add(piece.len() as u64, Ordering::SeqCst);
        }
        upload.delivered().await.unwrap();
        near
    });
    let mut receiver = within(far.accept_upload()).await.unwrap();
    let mut body = receiver.body(LENGTH, LENGTH).unwrap();
    let (mut read, mut ahead, mut largest) = (0u64, 0u64, 0usize);
    while let Some(chunk) = within(body.next_chunk()).await.unwrap() {
        for (byte, expected) in chunk
            .iter()
            .zip((0..=u8::MAX).cycle().skip(read as usize % 256))
        {
            assert_eq!(*byte, expected);
        }
        read += chunk.len() as u64;
        largest = largest.max(chunk.len());
        // Everything that the sender was allowed to write and we have not read lies in
        // the stream's window, the sender's buffer, and on the way.
        ahead = ahead.max(written.load(Ordering::SeqCst).saturating_sub(read));
    }
    assert_eq!(read, LENGTH);
    within(receiver.end()).await.unwrap();
    within(sending).await.unwrap();
    assert!(largest <= 64 * 1024, "a piece of {largest} bytes");
    let bound = u64::from(collegium_protocol::quic::STREAM_WINDOW) + (5 << 20);
    assert!(
        ahead <= bound,
        "{ahead} bytes were in flight, more than {bound}"
    );
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let consortium = Consortium::new("Test");
    let first = consortium.server();
    let error = Server::bind(consortium.server_config(first.local_address())).unwrap_err();
    let text = error.to_string();
    assert!(matches!(error, QuicError::PortInUse { .. }), "{text}");
    assert!(
        text.contains(&address(&first)) && text.contains("another program"),
        "{text}"
    );
}

#[tokio::test]
async fn an_address_that_does_not_resolve_is_named() {
    let consortium = Consortium::new("Test");
    let client = consortium.client(&consortium.identity(Role::Node, "hospital-a"));
    let error = within(client.connect("no-port-here")).await.unwrap_err();
    assert!(matches!(error, QuicError::Resolve { .. }), "{error}");
    assert!(error.to_string().contains("HOST:PORT"), "{error}");
}

#[tokio::test]
async fn closing_tells_the_reason() {
    let (_server, near, far) = pair().await;
    far.close(CloseCode::Replaced, "a newer connection took over");
    match within(near.closed()).await {
        QuicError::Closed { code, reason } => {
            assert_eq!(code, CloseCode::Replaced);
            assert_eq!(reason, "a newer connection took over");
        }
        other => panic!("{other}"),
    }
    assert!(near.is_closed());
}

#[test]
fn the_subject_is_the_coordinators_choice() {
    let consortium = Consortium::new("Test");
    let key = TlsKey::generate().unwrap();
    let mut request = key.signing_request().unwrap();
    let subject = Subject::new(Role::Node, "hospital-a").unwrap();
    let now = SystemTime::now();
    let issued = consortium
        .authority
        .sign_request(&request, &subject, now)
        .unwrap();
    assert_eq!(issued.peer.subject, subject);
    let life = issued.peer.not_after.duration_since(now).unwrap();
    assert!(life <= Duration::from_secs(90 * 24 * 60 * 60), "{life:?}");
    let again = consortium
        .authority
        .sign_request(&request, &subject, now)
        .unwrap();
    assert_ne!(issued.peer.serial, again.peer.serial);

    // A request whose own signature does not verify proves no possession of the key.
    let last = request.len() - 1;
    request[last] ^= 1;
    let error = consortium
        .authority
        .sign_request(&request, &subject, now)
        .unwrap_err();
    assert!(matches!(error, PkiError::Request(_)), "{error}");
}

#[test]
fn a_certificate_for_another_key_is_noticed() {
    let consortium = Consortium::new("Test");
    let (one, other) = (TlsKey::generate().unwrap(), TlsKey::generate().unwrap());
    let subject = Subject::new(Role::Node, "hospital-a").unwrap();
    let issued = consortium
        .authority
        .sign_own(&one, &subject, SystemTime::now())
        .unwrap();
    assert!(TlsIdentity::new(&issued.pem, &one).is_ok());
    let error = TlsIdentity::new(&issued.pem, &other).unwrap_err();
    assert!(error.to_string().contains("another private key"), "{error}");
}

#[test]
fn an_authority_reads_back_from_its_files() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate, key) = (
        directory.path().join("authority.crt"),
        directory.path().join("authority.key"),
    );
    let authority = Authority::create("Heart Study", SystemTime::now()).unwrap();
    authority.create_files(&certificate, &key).unwrap();
    let read = Authority::load(&certificate, &key).unwrap();
    assert_eq!(
        read.certificate().fingerprint(),
        authority.certificate().fingerprint()
    );
    assert_eq!(read.certificate().consortium().unwrap(), "Heart Study");
}
