//! Invitations and members against a real database.

use std::path::Path;

use collegium_crypto::os_rng;
use collegium_crypto::{SealingSecret, SigningIdentity};
use collegium_protocol::charter::BeaconNonce;
use collegium_protocol::pki::{Revocations, TlsKey};

use super::*;
use crate::init::{self, InitOptions, Keys};
use crate::ledger::Ledger;

/// A founded consortium without a daemon.
pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) keys: Keys,
    pub(crate) ledger: Ledger,
    pub(crate) directory: tempfile::TempDir,
}

impl Fixture {
    pub(crate) async fn new() -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        let state: &Path = directory.path();
        init::init(&InitOptions {
            state: state.to_owned(),
            name: "Test".to_owned(),
            listen: ([127, 0, 0, 1], 7443).into(),
            address: None,
        })
        .expect("founds");
        let keys = init::load(state).expect("keys");
        Self {
            store: Store::open(state).await.expect("a store"),
            ledger: Ledger::open(state, &keys.signing).expect("a ledger"),
            keys,
            directory,
        }
    }

    pub(crate) async fn invited(&self, member: &str) -> [u8; 16] {
        let (secret, _) = invite(&self.store, &name(member), Role::Node)
            .await
            .expect("invited");
        *secret.expose()
    }

    async fn redeem(&self, request: &JoinRequest) -> Result<Redeemed, Refusal> {
        redeem(&self.store, request, |request| {
            let subject = Subject::new(Role::Node, request.name.as_str()).expect("a subject");
            self.keys
                .authority
                .sign_request(request.request.as_slice(), &subject, SystemTime::now())
                .map_err(|error| Refusal::new(RefusalCode::Malformed, error))
        })
        .await
    }

    /// A site that was invited and has joined.
    pub(crate) async fn joined(&self, member: &str) -> Site {
        let site = Site::new();
        let request = site.request(self.invited(member).await, member);
        self.redeem(&request).await.expect("joins");
        site
    }
}

pub(crate) fn name(text: &str) -> MemberName {
    text.parse().expect("a name")
}

/// A site's keys.
pub(crate) struct Site {
    pub(crate) identity: SigningIdentity,
    pub(crate) nonce: BeaconNonce,
    sealing: SealingSecret,
    tls: TlsKey,
}

impl Site {
    fn new() -> Self {
        let mut rng = os_rng().expect("randomness");
        Self {
            identity: SigningIdentity::generate(&mut rng),
            nonce: BeaconNonce::generate(&mut rng),
            sealing: SealingSecret::generate(&mut rng),
            tls: TlsKey::generate().expect("a key"),
        }
    }

    fn request(&self, secret: [u8; 16], member: &str) -> JoinRequest {
        self.request_with(
            secret,
            member,
            self.tls.signing_request().expect("a request"),
        )
    }

    fn request_with(&self, secret: [u8; 16], member: &str, request: Vec<u8>) -> JoinRequest {
        let sealing = self.sealing.public().clone();
        let contact = "Somebody, Somewhere".to_owned();
        JoinRequest::new(
            secret,
            name(member),
            contact,
            &self.identity,
            sealing,
            self.nonce.commitment(&self.identity.public()),
            request,
        )
    }
}

fn refused(result: Result<Redeemed, Refusal>, code: RefusalCode, words: &str) {
    let refusal = result.expect_err("a refusal");
    assert_eq!(refusal.code, code, "{refusal}");
    assert!(refusal.to_string().contains(words), "{refusal}");
}

#[tokio::test]
async fn a_code_is_good_for_one_site() {
    let fixture = Fixture::new().await;
    let secret = fixture.invited("hospital-a").await;
    let site = Site::new();
    let request = site.request(secret, "hospital-a");
    let first = match fixture.redeem(&request).await.expect("joins") {
        Redeemed::Joined(member, _) => member,
        other => panic!("{other:?}"),
    };
    assert_eq!(list(&fixture.store).await.expect("a list").len(), 1);

    // Somebody else with the same code is refused; the same site, whose answer was lost on the
    // way, gets it again.
    let other = Site::new().request(secret, "hospital-a");
    refused(
        fixture.redeem(&other).await,
        RefusalCode::Expired,
        "used before",
    );
    match fixture.redeem(&request).await.expect("an answer") {
        Redeemed::Again(again) => assert_eq!(again, first),
        other => panic!("{other:?}"),
    }

    // But not once its certificate was taken away.
    let holder = certificates::node(&first.name);
    let mut connection = fixture.store.pool().acquire().await.expect("a connection");
    note_revoked(&mut connection, &first.serial, &holder)
        .await
        .expect("revoked");
    drop(connection);
    refused(
        fixture.redeem(&request).await,
        RefusalCode::Expired,
        "used before",
    );
}

#[tokio::test]
async fn a_persons_code_makes_no_member() {
    let fixture = Fixture::new().await;
    let who = name("ann");
    let (secret, _) = invite(&fixture.store, &who, Role::Scientist)
        .await
        .expect("invited");
    let request = Site::new().request(*secret.expose(), "ann");
    refused(
        fixture.redeem(&request).await,
        RefusalCode::NotAllowed,
        "user join",
    );
}

#[tokio::test]
async fn an_expired_code_is_refused() {
    let fixture = Fixture::new().await;
    let secret = fixture.invited("hospital-a").await;
    sqlx::query("UPDATE invites SET expires_at = ?")
        .bind(now_seconds())
        .execute(fixture.store.pool())
        .await
        .expect("time passes");
    let request = Site::new().request(secret, "hospital-a");
    refused(
        fixture.redeem(&request).await,
        RefusalCode::Expired,
        "older than 7 days",
    );
    assert!(list(&fixture.store).await.expect("a list").is_empty());
}

#[tokio::test]
async fn unknown_replaced_and_misnamed_codes_are_refused() {
    let fixture = Fixture::new().await;
    let site = Site::new();
    let old = fixture.invited("hospital-a").await;
    let new = fixture.invited("hospital-a").await;
    for secret in [[0; 16], old] {
        let request = site.request(secret, "hospital-a");
        refused(
            fixture.redeem(&request).await,
            RefusalCode::Expired,
            "not known",
        );
        assert!(!is_invitation(&fixture.store, &secret).await.expect("looks"));
    }
    let misnamed = site.request(new, "hospital-b");
    refused(
        fixture.redeem(&misnamed).await,
        RefusalCode::NotAllowed,
        "another name",
    );
    assert!(is_invitation(&fixture.store, &new).await.expect("looks"));
}

#[tokio::test]
async fn a_refused_request_does_not_use_the_code_up() {
    let fixture = Fixture::new().await;
    let secret = fixture.invited("hospital-a").await;
    let site = Site::new();
    let nonsense = site.request_with(secret, "hospital-a", vec![1, 2, 3]);
    refused(
        fixture.redeem(&nonsense).await,
        RefusalCode::Malformed,
        "certificate request",
    );
    let mut forged = site.request(secret, "hospital-a");
    forged.contact = "Somebody else".to_owned();
    refused(
        fixture.redeem(&forged).await,
        RefusalCode::BadSignature,
        "join request",
    );
    let good = site.request(secret, "hospital-a");
    assert!(matches!(
        fixture.redeem(&good).await,
        Ok(Redeemed::Joined(..))
    ));
}

#[tokio::test]
async fn secrets_are_stored_hashed() {
    let fixture = Fixture::new().await;
    let secret = fixture.invited("hospital-a").await;
    let (stored,): (String,) = sqlx::query_as("SELECT secret_hash FROM invites")
        .fetch_one(fixture.store.pool())
        .await
        .expect("a row");
    assert_eq!(stored.len(), 64);
    assert!(!stored.contains(&hex(&secret)));
}

#[tokio::test]
async fn keys_belong_to_one_member() {
    let fixture = Fixture::new().await;
    let site = fixture.joined("hospital-a").await;
    let secret = fixture.invited("hospital-b").await;
    let request = site.request(secret, "hospital-b");
    refused(
        fixture.redeem(&request).await,
        RefusalCode::Conflict,
        "same keys",
    );
}

#[tokio::test]
async fn joining_again_replaces_the_certificate_and_revokes_the_old_one() {
    let fixture = Fixture::new().await;
    let site = fixture.joined("hospital-a").await;
    let before = records(&fixture.store).await.expect("records").remove(0);
    let request = site.request(fixture.invited("hospital-a").await, "hospital-a");
    let after = match fixture.redeem(&request).await.expect("joins again") {
        Redeemed::Joined(member, _) => member,
        other => panic!("{other:?}"),
    };
    assert_eq!(
        (after.identity, &after.sealing),
        (before.identity, &before.sealing)
    );
    let revocations = Revocations::default();
    certificates::load_revocations(&fixture.store, &revocations)
        .await
        .expect("loads");
    assert!(revocations.is_revoked(&before.serial));
    assert!(!revocations.is_revoked(&after.serial));
}

#[tokio::test]
async fn a_member_that_a_charter_names_keeps_its_keys() {
    let fixture = Fixture::new().await;
    fixture.joined("hospital-a").await;
    sqlx::query("INSERT INTO charters VALUES ('d', 1, x'00', 1, 0)")
        .execute(fixture.store.pool())
        .await
        .expect("in force");
    let secret = fixture.invited("hospital-a").await;
    let request = Site::new().request(secret, "hospital-a");
    refused(
        fixture.redeem(&request).await,
        RefusalCode::Conflict,
        "charter in force",
    );
}

#[tokio::test]
async fn open_invitations_are_bounded() {
    let fixture = Fixture::new().await;
    let later = now_seconds() + 1000;
    sqlx::query(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?) \
         INSERT INTO invites (secret_hash, name, role, expires_at) SELECT i, 'm' || i, 'node', ? FROM n",
    )
    .bind(MAX_OPEN_INVITES)
    .bind(later)
    .execute(fixture.store.pool())
    .await
    .expect("fills");
    let refusal = invite(&fixture.store, &name("one-more"), Role::Node)
        .await
        .expect_err("too many");
    assert_eq!(refusal.code, RefusalCode::Busy);
    // A new code for a member that has an open one takes its place.
    invite(&fixture.store, &name("m7"), Role::Node)
        .await
        .expect("replaces");
}
