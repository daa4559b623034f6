//! People's invitations and certificates against a real database.

use collegium_protocol::pki::{INVITE_DAYS, TlsIdentity, TlsKey};

use super::*;
use crate::connections::Connections;
use crate::members::tests::{Fixture, name};

struct Door {
    fixture: Fixture,
    connections: Connections,
}

impl Door {
    async fn new() -> Self {
        Self {
            fixture: Fixture::new().await,
            connections: Connections::default(),
        }
    }

    fn access(&self) -> Access<'_> {
        Access {
            store: &self.fixture.store,
            ledger: &self.fixture.ledger,
            keys: &self.fixture.keys,
            connections: &self.connections,
        }
    }

    async fn invited(&self, who: &str, role: Role) -> [u8; 16] {
        let invited = members::invite(&self.fixture.store, &name(who), role).await;
        *invited.expect("invited").0.expose()
    }

    async fn enroll(&self, secret: [u8; 16], who: &str, key: &TlsKey) -> Result<String, Refusal> {
        let request = EnrollRequest {
            version: VERSION,
            secret,
            name: name(who),
            request: key.signing_request().expect("a request").into(),
        };
        let joined = enroll(&self.access(), &request, SystemTime::now()).await?;
        let JoinResponse::Joined { certificate, .. } = joined else {
            panic!("{joined:?}")
        };
        Ok(certificate)
    }

    async fn joined(&self, who: &str, role: Role) -> Peer {
        let secret = self.invited(who, role).await;
        let key = TlsKey::generate().expect("a key");
        let pem = self.enroll(secret, who, &key).await.expect("joins");
        TlsIdentity::new(&pem, &key).expect("a pair").peer().clone()
    }

    async fn states(&self) -> Vec<(String, Role, UserState)> {
        let users = list(&self.fixture.store).await.expect("a list");
        let words = |user: UserSummary| (user.name.to_string(), user.role, user.state);
        users.into_iter().map(words).collect()
    }

    fn revoked(&self, peer: &Peer) -> bool {
        self.fixture.keys.revocations.is_revoked(&peer.serial)
    }
}

fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>, code: RefusalCode, words: &str) {
    let refusal = result.expect_err("a refusal");
    assert_eq!(refusal.code, code, "{refusal}");
    assert!(refusal.to_string().contains(words), "{refusal}");
}

#[tokio::test]
async fn a_code_makes_one_certificate_with_the_invited_role() {
    let door = Door::new().await;
    let secret = door.invited("ann", Role::Scientist).await;
    let listed = door.states().await;
    assert_eq!(
        listed,
        [("ann".into(), Role::Scientist, UserState::Invited)]
    );

    let key = TlsKey::generate().expect("a key");
    let pem = door.enroll(secret, "ann", &key).await.expect("joins");
    let peer = Peer::from_pem(&pem).expect("a certificate");
    assert_eq!(peer.subject.to_string(), "scientist/ann");
    let listed = door.states().await;
    assert_eq!(listed, [("ann".into(), Role::Scientist, UserState::Active)]);

    // The same program whose answer was lost gets it again; another with the same code does not.
    assert_eq!(door.enroll(secret, "ann", &key).await.expect("again"), pem);
    let other = TlsKey::generate().expect("a key");
    refused(
        door.enroll(secret, "ann", &other).await,
        RefusalCode::Expired,
        "used before",
    );
}

#[tokio::test]
async fn expired_unknown_misnamed_and_nodes_codes_are_refused() {
    let door = Door::new().await;
    let key = TlsKey::generate().expect("a key");
    let secret = door.invited("ann", Role::Viewer).await;
    refused(
        door.enroll([9; 16], "ann", &key).await,
        RefusalCode::Expired,
        "not known",
    );
    refused(
        door.enroll(secret, "bob", &key).await,
        RefusalCode::NotAllowed,
        "another name",
    );
    let node = door.invited("hospital-a", Role::Node).await;
    refused(
        door.enroll(node, "hospital-a", &key).await,
        RefusalCode::NotAllowed,
        "node join",
    );
    sqlx::query("UPDATE invites SET expires_at = ?")
        .bind(now_seconds())
        .execute(door.fixture.store.pool())
        .await
        .expect("time passes");
    refused(
        door.enroll(secret, "ann", &key).await,
        RefusalCode::Expired,
        &format!("older than {INVITE_DAYS} days"),
    );
    let listed = door.states().await;
    assert_eq!(listed, [("ann".into(), Role::Viewer, UserState::Expired)]);
}

#[tokio::test]
async fn joining_again_changes_the_role_and_takes_the_old_certificate_away() {
    let door = Door::new().await;
    let before = door.joined("ann", Role::Operator).await;
    let after = door.joined("ann", Role::Viewer).await;
    assert!(door.revoked(&before) && !door.revoked(&after));
    let listed = door.states().await;
    assert_eq!(listed, [("ann".into(), Role::Viewer, UserState::Active)]);
}

#[tokio::test]
async fn revoking_a_person_takes_certificate_and_invitation_away_for_good() {
    let door = Door::new().await;
    let operator = door.joined("olga", Role::Operator).await;
    let ann = door.joined("ann", Role::Scientist).await;
    let again = door.invited("ann", Role::Operator).await;
    let access = door.access();
    revoke(&access, &operator, &name("ann"))
        .await
        .expect("revoked");
    assert!(door.revoked(&ann));
    let key = TlsKey::generate().expect("a key");
    refused(
        door.enroll(again, "ann", &key).await,
        RefusalCode::Expired,
        "not known",
    );
    refused(
        revoke(&access, &operator, &name("ann")).await,
        RefusalCode::UnknownObject,
        "neither",
    );
    refused(
        revoke(&access, &operator, &name("olga")).await,
        RefusalCode::Conflict,
        "this is you",
    );
    let evidence = door
        .fixture
        .ledger
        .find(Action::Revoke, "scientist/ann")
        .expect("reads")
        .expect("an entry");
    assert_eq!(evidence["certificate_serial"], ann.serial.to_string());

    // After a restart the list of handshakes has it again.
    let restarted = collegium_protocol::pki::Revocations::default();
    certificates::load_revocations(&door.fixture.store, &restarted)
        .await
        .expect("loads");
    assert!(restarted.is_revoked(&ann.serial) && !restarted.is_revoked(&operator.serial));
    let listed = door.states().await;
    assert_eq!(
        listed[0],
        ("ann".into(), Role::Scientist, UserState::Revoked)
    );
}

#[tokio::test]
async fn a_renewed_certificate_takes_the_old_ones_place_when_it_is_used() {
    let door = Door::new().await;
    let access = door.access();
    let old = door.joined("ann", Role::Auditor).await;
    let renew = async || {
        let key = TlsKey::generate().expect("a key");
        let request = key.signing_request().expect("a request");
        let renewed = access.renew(&old, &request, SystemTime::now()).await;
        let Ok(collegium_protocol::message::admin::AdminResponse::Certificate { certificate }) =
            renewed
        else {
            panic!("{renewed:?}")
        };
        Peer::from_pem(&certificate).expect("a certificate")
    };
    // The first answer was lost on the way, so it is asked for again.
    let (lost, new) = (renew().await, renew().await);
    assert_eq!(new.subject, old.subject);
    assert!(door.revoked(&lost) && !door.revoked(&old) && !door.revoked(&new));
    // The old one is used once more: nothing changes.
    access.first_use(&old).await.expect("counts");
    assert!(!door.revoked(&new));
    access.first_use(&new).await.expect("counts");
    assert!(door.revoked(&old) && !door.revoked(&new));
    let request = TlsKey::generate().and_then(|key| key.signing_request());
    let request = request.expect("a request");
    refused(
        access.renew(&old, &request, SystemTime::now()).await,
        RefusalCode::NotAllowed,
        "taken away",
    );
    assert!(
        access
            .renew(&new, b"nonsense", SystemTime::now())
            .await
            .is_err_and(|refusal| refusal.code == RefusalCode::Malformed)
    );
}

#[tokio::test]
async fn certificates_are_listed_and_taken_away_one_by_one() {
    let door = Door::new().await;
    let access = door.access();
    let olga = door.joined("olga", Role::Operator).await;
    let ann = door.joined("ann", Role::Auditor).await;
    let own = [door.fixture.keys.tls.peer().clone()];
    certificates::register_known(access.store, &own)
        .await
        .expect("noted");
    let holders = async || {
        let list = certificates::list(access.store, access.connections).await;
        let words = |one: &collegium_protocol::message::admin::CertificateSummary| {
            (one.subject.to_string(), one.revoked.is_some())
        };
        list.expect("a list").iter().map(words).collect::<Vec<_>>()
    };
    let names = ["auditor/ann", "coordinator/coordinator", "operator/olga"];
    assert_eq!(holders().await, names.map(|name| (name.to_owned(), false)));
    access.revoke_one(&olga, ann.serial).await.expect("revoked");
    assert_eq!(holders().await[0], ("auditor/ann".to_owned(), true));
    for (serial, code, words) in [
        (ann.serial, RefusalCode::Conflict, "before"),
        (olga.serial, RefusalCode::Conflict, "cert rotate"),
        (own[0].serial, RefusalCode::Conflict, "coordinator's own"),
        (
            Serial::from_bytes(&[0x41; 16]).expect("a serial"),
            RefusalCode::UnknownObject,
            "no certificate",
        ),
    ] {
        refused(access.revoke_one(&olga, serial).await, code, words);
    }
}

#[test]
fn roles_and_names_of_people_are_checked() {
    for role in ROLES {
        check(&name("ann"), role).expect("fits");
    }
    for (who, role) in [
        ("ann", Role::Node),
        ("ann", Role::Coordinator),
        ("operator", Role::Operator),
        ("local", Role::Viewer),
    ] {
        refused(check(&name(who), role), RefusalCode::Malformed, "");
    }
}
