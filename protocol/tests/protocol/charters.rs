//! Forged charters: each is refused, and for its own reason.

use std::sync::Arc;

use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::seal::SealingSecret;
use collegium_protocol::charter::{
    BeaconNonce, CharterError, CharterMember, CharterSignature, NewMember,
};
use collegium_protocol::ids::ConsortiumId;
use collegium_protocol::message::step::{cohort_digest, cohort_under};
use collegium_protocol::step::{Place, PlaceError};
use collegium_protocol::{
    Charter, Digest, MemberIndex, MemberName, SignedCharter, VerifiedCharter,
};

use crate::support::{World, index, rng, sign_by_all};

/// What is changed, in words, and how.
type Change = (&'static str, fn(&mut Charter));

fn world() -> World {
    World::new(4, 100)
}

/// A second version, signed by the members with these numbers.
fn second(world: &World, signers: &[u16], change: impl FnOnce(&mut Charter)) -> SignedCharter {
    let mut charter = world.charter.charter().clone();
    charter.version = 2;
    charter.previous = Some(world.charter.digest());
    change(&mut charter);
    let mut signed = SignedCharter::unsigned(charter);
    for signer in signers {
        let signature = signed
            .charter
            .sign(&world.identities[usize::from(signer - 1)]);
        signed.signatures.push(CharterSignature {
            signer: index(*signer),
            signature,
            reveal: None,
        });
    }
    signed
}

fn newcomer(number: u16) -> (CharterMember, SigningIdentity) {
    let mut rng = rng(500 + u64::from(number));
    let identity = SigningIdentity::generate(&mut rng);
    let member = CharterMember {
        index: index(number),
        name: MemberName::new("newcomer").unwrap(),
        contact: String::new(),
        identity: identity.public(),
        sealing: SealingSecret::generate(&mut rng).public().clone(),
        commitment: BeaconNonce::generate(&mut rng).commitment(&identity.public()),
    };
    (member, identity)
}

fn with_five(charter: &mut Charter) {
    charter.members.push(newcomer(5).0);
    (charter.committee, charter.quorum, charter.threshold) = (5, 4, 4);
    charter.min_contributors = 4;
}

#[test]
fn a_founding_charter_needs_every_member() {
    let world = world();
    let signed = world.charter.signed();
    assert_eq!(signed.verify(None).unwrap(), *world.charter);
    for missing in 0..4 {
        let mut fewer = signed.clone();
        fewer.signatures.remove(missing);
        let error = fewer.verify(None).unwrap_err();
        let CharterError::MissingSignatures {
            found: 3,
            needed: 4,
            missing: names,
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!(*names, format!("site-{}", missing + 1));
    }
    // The same signature twice does not stand for two members.
    let mut doubled = signed.clone();
    doubled.signatures[1] = doubled.signatures[0].clone();
    assert!(matches!(doubled.verify(None), Err(CharterError::Form(_))));
}

#[test]
fn changed_content_breaks_every_signature() {
    let world = world();
    let changes: [fn(&mut Charter); 9] = [
        |c| c.members[0].commitment = Digest([1; 32]),
        with_five,                                          // added member
        |c| c.members[2].identity = newcomer(9).0.identity, // swapped key
        |c| c.members[2].sealing = newcomer(9).0.sealing,   // swapped sealing key
        |c| c.members[0].contact = "Someone Else Ltd".to_owned(),
        |c| c.coordinator = newcomer(9).0.identity,
        |c| c.policy = Digest([99; 32]),
        |c| c.consortium = "other".to_owned(),
        |c| c.id = ConsortiumId::from_bytes([9; 16]),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut signed = world.charter.signed().clone();
        change(&mut signed.charter);
        let error = signed.verify(None).unwrap_err();
        // A swapped key fails at its own member, everything else at the first.
        assert!(
            matches!(error, CharterError::BadSignature(_)),
            "change {number}: {error}"
        );
    }
}

#[test]
fn thresholds_are_the_schemes_even_if_everybody_signs_others() {
    let world = world();
    let changes: [Change; 5] = [
        ("quorum", |c| c.quorum = 2),
        ("threshold", |c| c.threshold = 1),
        ("threshold", |c| c.threshold = 4),
        ("committee", |c| c.committee = 3),
        ("minimum", |c| c.min_contributors = 2),
    ];
    for (what, change) in changes {
        let mut charter = world.charter.charter().clone();
        change(&mut charter);
        let error = sign_by_all(charter, &world.identities, &world.nonces)
            .verify(None)
            .unwrap_err();
        assert!(
            matches!(error, CharterError::Threshold { .. }),
            "{what}: {error}"
        );
        assert!(error.to_string().contains(what), "{error}");
    }
    // A higher minimum of contributors is the members' right, up to all of them.
    let mut charter = world.charter.charter().clone();
    charter.min_contributors = 4;
    let verified = sign_by_all(charter.clone(), &world.identities, &world.nonces)
        .verify(None)
        .unwrap();
    assert_eq!(verified.thresholds().min_contributors, 4);
    charter.min_contributors = 5;
    assert!(
        sign_by_all(charter, &world.identities, &world.nonces)
            .verify(None)
            .is_err()
    );
}

#[test]
fn a_later_version_needs_a_quorum_of_the_one_before() {
    let world = world();
    let pinned = &*world.charter;
    let verified = second(&world, &[1, 3, 4], with_five)
        .verify(Some(pinned))
        .unwrap();
    assert_eq!(verified.members().len(), 5);
    assert_eq!(verified.thresholds().quorum, 4);

    let few = second(&world, &[1, 3], with_five)
        .verify(Some(pinned))
        .unwrap_err();
    assert!(
        matches!(
            few,
            CharterError::MissingSignatures {
                found: 2,
                needed: 3,
                ..
            }
        ),
        "{few}"
    );

    // A newcomer's own signature does not count: it is no member of the version before.
    let mut padded = second(&world, &[1, 3], with_five);
    let signature = padded.charter.sign(&newcomer(5).1);
    padded.signatures.push(CharterSignature {
        signer: index(5),
        signature,
        reveal: None,
    });
    assert_eq!(
        padded.verify(Some(pinned)),
        Err(CharterError::BadSignature(index(5)))
    );

    // Without the version before, nobody can tell.
    let alone = second(&world, &[1, 2, 3, 4], |_| {}).verify(None);
    assert_eq!(alone, Err(CharterError::NoPredecessor(2)));
}

#[test]
fn a_following_version_is_built_from_the_one_before() {
    let world = world();
    let pinned = &*world.charter;
    let members = |extra: Option<u16>| {
        let as_new = |member: &CharterMember| NewMember {
            name: member.name.clone(),
            contact: member.contact.clone(),
            identity: member.identity,
            sealing: member.sealing.clone(),
            commitment: member.commitment,
        };
        let mut list: Vec<NewMember> = pinned.members().iter().map(as_new).collect();
        list.extend(extra.map(|number| as_new(&newcomer(number).0)));
        list
    };
    let before = pinned.charter();
    let policy = Digest([8; 32]);
    let charter = Charter::following(pinned, before.coordinator, policy, members(Some(5))).unwrap();
    assert_eq!(
        (charter.version, charter.previous),
        (2, Some(pinned.digest()))
    );
    assert_eq!(
        (charter.id, &charter.consortium),
        (before.id, &before.consortium)
    );
    assert_eq!((charter.members.len(), charter.policy), (5, policy));
    let mut signed = SignedCharter::unsigned(charter);
    for signer in [1u16, 2, 4] {
        let identity = &world.identities[usize::from(signer - 1)];
        let one = CharterSignature {
            signer: index(signer),
            signature: signed.charter.sign(identity),
            reveal: None,
        };
        signed.add(one, Some(pinned)).unwrap();
    }
    let second = signed.verify(Some(pinned)).unwrap();
    assert_eq!(second.thresholds().quorum, 4);
    // Two are no consortium.
    let two = members(None).into_iter().take(2).collect();
    let few = Charter::following(pinned, before.coordinator, policy, two);
    assert!(matches!(few, Err(CharterError::Form(_))), "{few:?}");
    // A minimum that the members had raised stays.
    let mut raised = before.clone();
    raised.min_contributors = 4;
    let raised = sign_by_all(raised, &world.identities, &world.nonces)
        .verify(None)
        .unwrap();
    let kept = Charter::following(&raised, before.coordinator, policy, members(None)).unwrap();
    assert_eq!(kept.min_contributors, 4);
}

#[test]
fn a_set_is_known_again_by_its_people_and_not_by_their_numbers() {
    let world = world();
    let first = &*world.charter;
    // The newcomer takes the second place, and everybody after it moves on by one; then it leaves.
    let inserted = second(&world, &[1, 2, 3, 4], |charter| {
        with_five(charter);
        let newcomer = charter.members.remove(4);
        charter.members.insert(1, newcomer);
        renumber(charter);
    });
    let inserted = inserted.verify(Some(first)).unwrap();
    let mut last = first.charter().clone();
    (last.version, last.previous) = (3, Some(inserted.digest()));
    let last = VerifiedCharter::from_pinned(SignedCharter::unsigned(last)).unwrap();

    let set = |charter, numbers: &[u16]| {
        let members: Vec<_> = numbers.iter().map(|number| index(*number)).collect();
        cohort_under(charter, &members)
    };
    // The same numbers, other people.
    assert_ne!(set(first, &[1, 2, 3]), set(&inserted, &[1, 2, 3]));
    assert_ne!(set(&last, &[1, 2, 3]), set(&inserted, &[1, 2, 3]));
    // Other numbers, the same people.
    assert_eq!(set(&last, &[1, 2, 3]), set(&inserted, &[1, 3, 4]));
    // A founding charter's sets are by number, as they always were.
    let members = [1, 2, 3].map(index);
    assert_eq!(set(first, &[1, 2, 3]), cohort_digest(&members));
    assert_ne!(set(&last, &[1, 2]), set(&last, &[1, 2, 9]));
}

fn renumber(charter: &mut Charter) {
    for (member, number) in charter.members.iter_mut().zip(1..) {
        member.index = index(number);
    }
}

#[test]
fn versions_go_forward_one_by_one() {
    let world = world();
    let first = &*world.charter;
    let two = second(&world, &[1, 2, 3, 4], |_| {})
        .verify(Some(first))
        .unwrap();
    // Replayed: the first version against the second; another second against the second.
    let replay = first.signed().verify(Some(&two));
    assert_eq!(
        replay,
        Err(CharterError::NotNewer {
            found: 1,
            pinned: 2
        })
    );
    let rival = second(&world, &[1, 2, 3, 4], |c| c.consortium = "rival".to_owned());
    let rival = rival.verify(Some(&two));
    assert_eq!(
        rival,
        Err(CharterError::NotNewer {
            found: 2,
            pinned: 2
        })
    );
    // What is pinned is recognised.
    assert_eq!(two.signed().verify(Some(&two)).unwrap(), two);

    let gap = second(&world, &[1, 2, 3, 4], |c| c.version = 3).verify(Some(first));
    assert_eq!(
        gap,
        Err(CharterError::Gap {
            found: 3,
            pinned: 1
        })
    );
    let wrong = second(&world, &[1, 2, 3, 4], |c| {
        c.previous = Some(Digest([0; 32]))
    });
    assert_eq!(wrong.verify(Some(first)), Err(CharterError::WrongPrevious));
    let other = second(&world, &[1, 2, 3, 4], |c| {
        c.id = ConsortiumId::from_bytes([1; 16])
    });
    let other = other.verify(Some(first));
    assert!(
        matches!(other, Err(CharterError::OtherConsortium { .. })),
        "{other:?}"
    );
    let orphan = second(&world, &[1, 2, 3, 4], |c| c.previous = None).verify(Some(first));
    assert_eq!(orphan, Err(CharterError::WrongPrevious));
}

#[test]
fn members_are_distinct_and_in_order() {
    let world = world();
    let changes: [fn(&mut Charter); 8] = [
        |c| c.members[1].name = c.members[0].name.clone(),
        |c| c.members[1].identity = c.members[0].identity,
        |c| c.members[1].sealing = c.members[0].sealing.clone(),
        |c| c.coordinator = c.members[0].identity,
        |c| c.members.swap(0, 1),
        |c| c.members.truncate(2),
        |c| c.consortium = "two\nlines".to_owned(),
        |c| c.params = "collegium-toy".to_owned(),
    ];
    for (number, change) in changes.into_iter().enumerate() {
        let mut charter = world.charter.charter().clone();
        change(&mut charter);
        let error = charter.check_form().unwrap_err();
        assert!(
            matches!(error, CharterError::Form(_)),
            "change {number}: {error}"
        );
    }
}

#[test]
fn two_members_are_no_consortium() {
    let list: Vec<_> = (1..=2)
        .map(|number| {
            let member = newcomer(number).0;
            let name = MemberName::new(&format!("m{number}")).unwrap();
            NewMember {
                name,
                contact: String::new(),
                identity: member.identity,
                sealing: member.sealing,
                commitment: member.commitment,
            }
        })
        .collect();
    let coordinator = newcomer(3).0.identity;
    let id = ConsortiumId::from_bytes([1; 16]);
    let error = Charter::found("pair", id, coordinator, Digest([0; 32]), list).unwrap_err();
    assert!(error.to_string().contains("3 to 1024"), "{error}");
}

#[test]
fn signatures_are_checked_as_they_come_in() {
    let world = world();
    let mut signed = SignedCharter::unsigned(world.charter.charter().clone());
    let good = CharterSignature {
        signer: index(2),
        signature: signed.charter.sign(&world.identities[1]),
        reveal: None,
    };
    // Member 2's signature handed in for member 3, and for nobody.
    for signer in [3, 9] {
        let other = CharterSignature {
            signer: index(signer),
            ..good.clone()
        };
        let found = signed.add(other, None);
        assert_eq!(found, Err(CharterError::BadSignature(index(signer))));
    }
    signed.add(good.clone(), None).unwrap();
    signed.add(good, None).unwrap();
    assert_eq!(signed.signatures.len(), 1);
}

#[test]
fn the_file_for_people_reads_back_and_hides_nothing() {
    let world = world();
    let signed = world.charter.signed();
    let text = signed.to_toml().unwrap();
    assert!(
        text.contains("name = \"site-1\"") && text.contains("quorum = 3"),
        "{text}"
    );
    assert_eq!(SignedCharter::from_toml(&text).unwrap(), *signed);
    assert_eq!(
        SignedCharter::from_bytes(&signed.to_bytes().unwrap()).unwrap(),
        *signed
    );
    let extra = text.replacen("quorum = 3", "quorum = 3\nquorums = 3", 1);
    assert!(matches!(
        SignedCharter::from_toml(&extra),
        Err(CharterError::Text(_))
    ));
    let forged = text.replacen("quorum = 3", "quorum = 2", 1);
    assert!(
        SignedCharter::from_toml(&forged)
            .unwrap()
            .verify(None)
            .is_err()
    );
    // What this node pinned itself comes back without its predecessor.
    let two = second(&world, &[1, 2, 3], |_| {});
    let verified = two.verify(Some(&world.charter)).unwrap();
    assert_eq!(VerifiedCharter::from_pinned(two).unwrap(), verified);
}

#[test]
fn a_place_needs_both_keys_in_the_charter() {
    let world = world();
    let place = |identity: &Arc<SigningIdentity>, sealing: &Arc<SealingSecret>| {
        let (identity, sealing) = (Arc::clone(identity), Arc::clone(sealing));
        Place::new(Arc::clone(&world.charter), identity, sealing).map(|place| place.index())
    };
    let found: MemberIndex = place(&world.identities[2], &world.sealing[2]).unwrap();
    assert_eq!(found, index(3));
    let stranger = Arc::new(newcomer(7).1);
    assert_eq!(
        place(&stranger, &world.sealing[2]),
        Err(PlaceError::NotAMember(1))
    );
    let other = place(&world.identities[2], &world.sealing[1]);
    assert!(
        matches!(other, Err(PlaceError::OtherSealingKey(_))),
        "{other:?}"
    );
}
