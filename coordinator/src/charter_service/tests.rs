//! The charter's way into force against a real database.

use super::*;
use crate::members::tests::{Fixture, Site, name};

const NAMES: [&str; 4] = ["hospital-a", "hospital-b", "hospital-c", "hospital-d"];

async fn four() -> (Fixture, Vec<Site>) {
    let fixture = Fixture::new().await;
    let mut sites = Vec::new();
    for name in NAMES {
        sites.push(fixture.joined(name).await);
    }
    (fixture, sites)
}

impl Fixture {
    async fn propose(&self, names: &[&str]) -> Result<(SignedCharter, Vec<MemberName>), Refusal> {
        let names: Vec<MemberName> = names.iter().map(|text| name(text)).collect();
        propose(
            &self.store,
            &self.ledger,
            &self.keys,
            "operator/test",
            Digest([7; 32]),
            &names,
        )
        .await
        .map(unpack)
    }

    async fn sign(
        &self,
        member: &str,
        charter: &Charter,
        site: &Site,
    ) -> Result<(SignedCharter, Vec<MemberName>), Refusal> {
        let signature = charter.sign(&site.identity);
        let reveal = charter.draws_committee().then(|| site.nonce.reveal());
        sign(
            &self.store,
            &self.ledger,
            &name(member),
            charter.digest(),
            (signature, reveal),
            false,
        )
        .await
        .map(unpack)
    }

    fn actions(&self, action: &str) -> usize {
        let entries = crate::ledger::entries(self.directory.path()).expect("a ledger");
        entries.iter().filter(|it| it["action"] == action).count()
    }
}

fn unpack(response: AdminResponse) -> (SignedCharter, Vec<MemberName>) {
    match response {
        AdminResponse::Charter { charter, missing } => (*charter, missing),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_charter_is_in_force_when_every_founding_member_has_signed() {
    let (fixture, sites) = four().await;
    let (proposal, missing) = fixture.propose(&[]).await.expect("proposed");
    assert_eq!(missing.len(), 4);
    assert_eq!(proposal.charter.coordinator, fixture.keys.signing.public());
    for (at, (member, site)) in NAMES.iter().zip(&sites).enumerate() {
        assert!(
            in_force(&fixture.store).await.expect("reads").is_none(),
            "too early"
        );
        let (_, missing) = fixture
            .sign(member, &proposal.charter, site)
            .await
            .expect("signed");
        assert_eq!(missing.len(), 3 - at);
    }
    let charter = in_force(&fixture.store)
        .await
        .expect("reads")
        .expect("in force");
    charter.verify(None).expect("it verifies on its own");
    assert!(proposed(&fixture.store).await.expect("reads").is_none());

    // A member whose answer was lost signs again; nothing changes by it.
    let (again, missing) = fixture
        .sign(NAMES[0], &proposal.charter, &sites[0])
        .await
        .expect("signed before");
    assert_eq!((again, missing), (charter, Vec::new()));
    assert_eq!(fixture.actions("charter-sign"), 4);
    assert_eq!(fixture.actions("charter-in-force"), 1);

    let refusal = fixture.propose(&[]).await.expect_err("a second founding");
    assert_eq!(refusal.code, RefusalCode::Conflict);
}

#[tokio::test]
async fn a_signature_counts_only_for_its_member_and_its_charter() {
    let (fixture, sites) = four().await;
    let (proposal, _) = fixture.propose(&NAMES[..3]).await.expect("proposed");
    let charter = &proposal.charter;
    let other_key = fixture
        .sign(NAMES[0], charter, &sites[1])
        .await
        .expect_err("another key");
    assert_eq!(other_key.code, RefusalCode::BadSignature);
    let outsider = fixture
        .sign(NAMES[3], charter, &sites[3])
        .await
        .expect_err("no member of it");
    assert_eq!(outsider.code, RefusalCode::UnknownMember);
    let mut lowered = charter.clone();
    lowered.quorum = 2;
    let stale = fixture
        .sign(NAMES[0], &lowered, &sites[0])
        .await
        .expect_err("not proposed");
    assert_eq!(stale.code, RefusalCode::CharterMismatch);
    let kept = proposed(&fixture.store)
        .await
        .expect("reads")
        .expect("a proposal");
    assert!(kept.signatures.is_empty());
}

#[tokio::test]
async fn the_same_proposal_keeps_its_signatures_and_another_one_starts_afresh() {
    let (fixture, sites) = four().await;
    let (proposal, _) = fixture.propose(&[]).await.expect("proposed");
    fixture
        .sign(NAMES[0], &proposal.charter, &sites[0])
        .await
        .expect("signed");
    let (again, missing) = fixture
        .propose(&NAMES)
        .await
        .expect("the same list, spelt out");
    assert_eq!(again.charter.digest(), proposal.charter.digest());
    assert_eq!((again.signatures.len(), missing.len()), (1, 3));

    let (other, missing) = fixture.propose(&NAMES[1..]).await.expect("another list");
    assert_eq!((other.signatures.len(), missing.len()), (0, 3));
    let old = fixture
        .sign(NAMES[1], &proposal.charter, &sites[1])
        .await
        .expect_err("withdrawn");
    assert_eq!(old.code, RefusalCode::CharterMismatch);
}

#[tokio::test]
async fn a_proposal_names_what_is_wrong_with_its_list() {
    let fixture = Fixture::new().await;
    fixture.joined(NAMES[0]).await;
    fixture.joined(NAMES[1]).await;
    let few = fixture.propose(&[]).await.expect_err("two are too few");
    assert_eq!(few.code, RefusalCode::CharterInvalid);
    let unknown = fixture.propose(&["hospital-z"]).await.expect_err("nobody");
    assert!(
        unknown.to_string().contains("hospital-z has not joined"),
        "{unknown}"
    );
    let none = fetch(&fixture.store, WhichCharter::Proposed)
        .await
        .expect_err("none");
    assert_eq!(none.code, RefusalCode::CharterMissing);
}

#[tokio::test]
async fn a_large_charter_takes_each_members_own_reveal_and_draws_by_all_of_them() {
    let fixture = Fixture::new().await;
    let mut sites = Vec::new();
    for number in 0..97 {
        let name = format!("site-{number:02}");
        sites.push((fixture.joined(&name).await, name));
    }
    let (proposal, _) = fixture.propose(&[]).await.expect("proposed");
    let charter = &proposal.charter;
    assert!(charter.draws_committee());
    // Neither nothing nor another's randomness stands for the member's own.
    let (site, member) = &sites[0];
    let signature = charter.sign(&site.identity);
    for reveal in [None, Some(sites[1].0.nonce.reveal())] {
        let (member, digest) = (name(member), charter.digest());
        let refusal = sign(
            &fixture.store,
            &fixture.ledger,
            &member,
            digest,
            (signature, reveal),
            false,
        )
        .await
        .expect_err("no reveal of its own");
        assert_eq!(refusal.code, RefusalCode::BadSignature);
    }
    for (site, member) in &sites {
        assert!(in_force(&fixture.store).await.expect("reads").is_none());
        fixture.sign(member, charter, site).await.expect("signed");
    }
    let in_force = in_force(&fixture.store).await.expect("reads");
    let verified = in_force.expect("in force").verify(None).expect("verifies");
    assert_eq!(verified.committee().len(), 96);
}

#[tokio::test]
async fn a_member_without_a_commitment_joins_again_first() {
    let (fixture, _) = four().await;
    sqlx::query("UPDATE members SET commitment = NULL WHERE name = 'hospital-c'")
        .execute(fixture.store.pool())
        .await
        .expect("as an earlier version left it");
    let refusal = fixture.propose(&[]).await.expect_err("no commitment");
    assert!(refusal.to_string().contains("hospital-c"), "{refusal}");
    fixture.joined("hospital-c").await;
    fixture.propose(&[]).await.expect("proposed");
}

/// Four members with a charter in force, and a fifth that has joined since.
async fn five() -> (Fixture, Vec<Site>) {
    let (fixture, mut sites) = four().await;
    let (founding, _) = fixture.propose(&[]).await.expect("proposed");
    for (member, site) in NAMES.iter().zip(&sites) {
        fixture
            .sign(member, &founding.charter, site)
            .await
            .expect("signed");
    }
    sites.push(fixture.joined("hospital-e").await);
    (fixture, sites)
}

#[tokio::test]
async fn a_later_version_takes_effect_with_a_quorum_of_the_version_before() {
    let (fixture, sites) = five().await;
    let (second, missing) = fixture.propose(&[]).await.expect("proposed");
    assert_eq!(
        (second.charter.version, second.charter.members.len()),
        (2, 5)
    );
    assert_eq!(missing, NAMES.map(name));

    // The newcomer's own signature does not count.
    let newcomer = fixture
        .sign("hospital-e", &second.charter, &sites[4])
        .await
        .expect_err("no member of the version before");
    assert_eq!(newcomer.code, RefusalCode::UnknownMember);
    assert!(
        newcomer.detail().contains("the version before"),
        "{newcomer}"
    );
    for (at, member) in [3, 0, 1].into_iter().enumerate() {
        let latest = in_force(&fixture.store).await.expect("reads");
        assert_eq!(latest.expect("one").charter.version, 1, "too early");
        let signed = fixture.sign(NAMES[member], &second.charter, &sites[member]);
        let (_, missing) = signed.await.expect("signed");
        assert_eq!(missing.len(), if at == 2 { 0 } else { 3 - at });
    }
    // Who was away finds both, one after the other.
    let chain = chain(&fixture.store).await.expect("reads");
    let founding = chain[0].verify(None).expect("the founding one");
    let verified = chain[1].verify(Some(&founding)).expect("follows");
    assert_eq!(verified.members().len(), 5);
    assert_eq!(chain.len(), 2);
    assert!(proposed(&fixture.store).await.expect("reads").is_none());
    assert_eq!(fixture.actions("charter-in-force"), 2);

    let again = fixture.propose(&[]).await.expect_err("nothing to change");
    assert_eq!(again.code, RefusalCode::Conflict);
    // The next one is signed by members of the second, the former newcomer among them.
    let (third, missing) = fixture.propose(&NAMES[1..]).await.expect("proposed");
    assert_eq!((third.charter.version, missing.len()), (3, 5));
    fixture
        .sign("hospital-e", &third.charter, &sites[4])
        .await
        .expect("signed");
}

#[tokio::test]
async fn members_do_not_change_in_the_middle_of_a_run() {
    let (fixture, sites) = five().await;
    let (second, _) = fixture.propose(&[]).await.expect("proposed");
    let sign_during = async |member: usize, under_way: bool| {
        let one = (second.charter.sign(&sites[member].identity), None);
        let (store, ledger) = (&fixture.store, &fixture.ledger);
        let who = name(NAMES[member]);
        sign(store, ledger, &who, second.charter.digest(), one, under_way).await
    };
    for member in [0, 1] {
        sign_during(member, true).await.expect("not the last one");
    }
    let refusal = sign_during(2, true).await.expect_err("the last one");
    assert_eq!(refusal.code, RefusalCode::Busy);
    let latest = in_force(&fixture.store).await.expect("reads");
    assert_eq!(latest.expect("one").charter.version, 1);
    sign_during(2, false).await.expect("the run has ended");
    let latest = in_force(&fixture.store).await.expect("reads");
    assert_eq!(latest.expect("one").charter.version, 2);
}
