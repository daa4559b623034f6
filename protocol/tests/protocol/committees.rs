//! Who sits on the committee: everybody in a small consortium, those whom the beacon draws in a
//! large one; and what a member without a seat may and may not do.

use std::sync::Arc;
use std::time::Duration;

use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::seal::SealingSecret;
use collegium_protocol::charter::beacon::beacon;
use collegium_protocol::charter::{BeaconNonce, CharterError, CharterSignature, NewMember};
use collegium_protocol::ids::{ConsortiumId, MemberName, SeatNumber};
use collegium_protocol::limits::{
    MAX_ADMIN_RESPONSE_BYTES, MAX_COMMITTEE, MAX_MEMBERS, MAX_TEXT_BYTES, MAX_TO_NODE_BYTES,
    MAX_UPLOAD_TRAILER_BYTES,
};
use collegium_protocol::message::admin::AdminResponse;
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::{
    Certificate, CertifiedVote, Part, Propose, UploadClaim, Vote,
};
use collegium_protocol::step::{Action, Aggregator, Event, Note, Timing};
use collegium_protocol::{
    Charter, Digest, MemberIndex, RefusalCode, SignedCharter, VerifiedCharter, codec, domain,
};

use crate::support::{Node, Up, World, admit, index, refusal, rng};

/// Drawn committees begin above 96 members.
const LARGE: usize = 100;

fn large() -> World {
    World::new(LARGE, 700)
}

/// The first member without a seat.
fn seatless(world: &World) -> MemberIndex {
    let mut members = world.members().into_iter();
    members
        .find(|member| world.charter.seat_of(*member).is_none())
        .expect("four of a hundred have no seat")
}

#[test]
fn up_to_96_members_everybody_has_the_seat_of_its_index() {
    for members in [3, 64, MAX_COMMITTEE] {
        let world = World::new(members, 701);
        assert_eq!(world.charter.committee(), world.members());
        for member in world.members() {
            let seat = world.charter.seat_of(member).unwrap();
            assert_eq!(seat.get(), member.get());
        }
        let signatures = &world.charter.signed().signatures;
        assert!(signatures.iter().all(|one| one.reveal.is_none()));
    }
}

#[test]
fn of_more_members_the_beacon_draws_96() {
    let world = large();
    let charter = &world.charter;
    let committee = charter.committee();
    assert_eq!(committee.len(), MAX_COMMITTEE);
    assert!(committee.is_sorted());
    for (number, member) in (1..).zip(committee) {
        let seat = SeatNumber::new(number).unwrap();
        assert_eq!(charter.seat_of(*member), Some(seat));
    }
    let seats: Vec<_> = charter.seats().map(|(_, member)| member.index).collect();
    assert_eq!(seats, committee);

    // The same file gives the same committee, also without its signatures being checked again.
    let bytes = charter.signed().to_bytes().unwrap();
    let signed = SignedCharter::from_bytes(&bytes).unwrap();
    assert_eq!(signed.verify(None).unwrap(), **charter);
    let text = charter.signed().to_toml().unwrap();
    let signed = SignedCharter::from_toml(&text).unwrap();
    assert_eq!(VerifiedCharter::from_pinned(signed).unwrap(), **charter);

    // Other randomness of one single member is another beacon, and so is another charter.
    let reveals: Vec<_> = world.nonces.iter().map(BeaconNonce::reveal).collect();
    let known = beacon(&charter.digest(), &reveals);
    let mut other = reveals.clone();
    other[41] = BeaconNonce::generate(&mut rng(9)).reveal();
    assert_ne!(beacon(&charter.digest(), &other), known);
    assert_ne!(beacon(&Digest([1; 32]), &reveals), known);
    other.clone_from(&reveals);
    other.swap(0, 1);
    assert_ne!(beacon(&charter.digest(), &other), known);
}

/// A way to spoil a large charter's signatures, and the error it must give.
type Spoilt = (&'static str, fn(&mut SignedCharter, &World), CharterError);

#[test]
fn a_large_charter_needs_every_members_own_reveal() {
    let world = large();
    let good = world.charter.signed();
    assert!(good.verify(None).is_ok());
    let cases: [Spoilt; 5] = [
        (
            "a missing reveal",
            |signed, _| signed.signatures[17].reveal = None,
            CharterError::MissingReveal(index(18)),
        ),
        (
            "another member's",
            |signed, world| signed.signatures[17].reveal = Some(world.nonces[18].reveal()),
            CharterError::WrongReveal(index(18)),
        ),
        (
            "fresh randomness",
            |signed, _| {
                let fresh = BeaconNonce::generate(&mut rng(10));
                signed.signatures[99].reveal = Some(fresh.reveal());
            },
            CharterError::WrongReveal(index(100)),
        ),
        (
            "two exchanged",
            |signed, _| {
                let (one, two) = (signed.signatures[2].reveal, signed.signatures[3].reveal);
                (signed.signatures[2].reveal, signed.signatures[3].reveal) = (two, one);
            },
            CharterError::WrongReveal(index(3)),
        ),
        (
            "a member missing with its reveal",
            |signed, _| signed.signatures.retain(|one| one.signer.get() != 6),
            CharterError::MissingSignatures {
                found: 99,
                needed: 100,
                missing: "site-6".to_owned(),
            },
        ),
    ];
    for (what, spoil, expected) in cases {
        let mut signed = good.clone();
        spoil(&mut signed, &world);
        assert_eq!(signed.verify(None), Err(expected), "{what}");
        // Not even this node's own disk may lose what the committee was drawn from.
        assert!(VerifiedCharter::from_pinned(signed).is_err(), "{what}");
    }
}

#[test]
fn a_copied_commitment_cannot_be_opened() {
    let world = large();
    let mut charter = world.charter.charter().clone();
    charter.members[1].commitment = charter.members[0].commitment;
    let mut signed = SignedCharter::unsigned(charter);
    let signature = signed.charter.sign(&world.identities[1]);
    let copied = CharterSignature {
        signer: index(2),
        signature,
        reveal: Some(world.nonces[0].reveal()),
    };
    let found = signed.add(copied.clone(), None);
    assert_eq!(found, Err(CharterError::WrongReveal(index(2))));
    let signature = signed.charter.sign(&world.identities[0]);
    let honest = CharterSignature {
        signer: index(1),
        signature,
        ..copied
    };
    signed.add(honest, None).unwrap();
}

#[test]
fn nothing_is_revealed_where_nothing_is_drawn() {
    let world = World::new(4, 702);
    let mut signed = SignedCharter::unsigned(world.charter.charter().clone());
    let signature = signed.charter.sign(&world.identities[0]);
    let mut one = CharterSignature {
        signer: index(1),
        signature,
        reveal: Some(world.nonces[0].reveal()),
    };
    let needless = Err(CharterError::NeedlessReveal(index(1)));
    assert_eq!(signed.add(one.clone(), None), needless);
    one.reveal = None;
    signed.add(one, None).unwrap();
    let mut whole = world.charter.signed().clone();
    whole.signatures[0].reveal = Some(world.nonces[0].reveal());
    assert_eq!(whole.verify(None).map(drop), needless);
}

#[test]
fn a_later_version_draws_no_committee() {
    let world = large();
    let mut charter = world.charter.charter().clone();
    charter.version = 2;
    charter.previous = Some(world.charter.digest());
    let undrawn = CharterError::CommitteeNotDrawn {
        version: 2,
        members: LARGE,
    };
    assert_eq!(charter.check_form(), Err(undrawn));
}

#[test]
fn a_member_without_a_seat_contributes_and_serves_nobody() {
    let world = large();
    let (plan, outsider) = (world.plan(1, b"ask"), seatless(&world));
    let announce = world.announce(&plan, b"ask");
    let node =
        |member: MemberIndex| Node::new(Arc::clone(&world.places[member.position()]), world.run);
    let mut without = node(outsider);
    let upload = without.upload(&announce).expect("it contributes");
    let admitted = admit(&plan, outsider, &upload).unwrap();
    assert_eq!(admitted.delivery(outsider), None);
    assert!(!without.disk.keys().any(|key| key.starts_with("committee/")));

    // The share of its neighbour's seat, shown to a member that has one and to one that has not.
    let holder = world.charter.committee()[7];
    let deliver = admitted.delivery(holder).unwrap();
    let propose = world.propose(&plan, &[admitted], &[outsider.get()]);
    let certificate = Certificate {
        step: plan.reference(),
        proposal: propose.digest(),
        votes: Vec::new(),
    };
    let messages = [
        ToNode::Announce(announce.with_part(Part::Serve)),
        ToNode::Deliver(deliver.clone()),
        ToNode::Propose(propose.clone()),
        ToNode::Certificate(certificate),
    ];
    for message in messages {
        let sent = without.tell(message);
        assert_eq!(refusal(&sent).code, RefusalCode::NoSeat);
    }
    let mut with = node(holder);
    assert!(
        with.tell(ToNode::Announce(announce.with_part(Part::Serve)))
            .is_empty()
    );
    assert_eq!(
        with.verdict(&deliver),
        None,
        "the holder's own share is in order"
    );
    // It judges the set on its merits: one contributor is too few.
    assert_eq!(with.vote(&propose), Err(RefusalCode::CohortTooSmall));

    // A share sealed to another seat is nobody else's, whatever it is relabelled.
    let neighbour = world.charter.committee()[8];
    let mut other = node(neighbour);
    other.tell(ToNode::Announce(announce.with_part(Part::Serve)));
    let code = |complaint: Option<collegium_protocol::Refusal>| complaint.map(|one| one.code);
    let missing = Some(RefusalCode::ShareMissing);
    assert_eq!(code(other.verdict(&deliver)), missing);
    let mut relabelled = deliver;
    relabelled.share.seat = world.charter.seat_of(neighbour).unwrap();
    assert_eq!(code(other.verdict(&relabelled)), missing);
}

#[test]
fn only_seats_certify() {
    let world = large();
    let (plan, outsider) = (world.plan(1, b"ask"), seatless(&world));
    let (step, proposal) = (plan.reference(), Digest([5; 32]));
    let certificate = |voters: &[MemberIndex]| {
        let vote = |voter: &MemberIndex| {
            let identity = &world.identities[voter.position()];
            let signature = Vote::sign(step, *voter, proposal, identity).signature;
            let voter = *voter;
            CertifiedVote { voter, signature }
        };
        let votes = voters.iter().map(vote).collect();
        let certificate = Certificate {
            step,
            proposal,
            votes,
        };
        certificate.verify(&step.context, &proposal, &world.charter)
    };
    let quorum = world.charter.thresholds().quorum;
    assert_eq!(quorum, 65);
    let seats = &world.charter.committee()[..quorum];
    assert_eq!(certificate(seats), Ok(()));
    assert!(certificate(&seats[1..]).is_err());
    let mut mixed = seats[1..].to_vec();
    mixed.push(outsider);
    mixed.sort();
    assert!(
        certificate(&mixed).is_err(),
        "a vote of a member without a seat counted"
    );
}

/// The aggregator sends committee work to seats only, and takes none from others.
#[test]
fn the_coordinator_asks_and_hears_only_seats() {
    let world = large();
    let (plan, outsider) = (world.plan(1, b"ask"), seatless(&world));
    let announce = world.announce(&plan, b"ask");
    let mut node = Node::new(Arc::clone(&world.places[outsider.position()]), world.run);
    let upload = node.upload(&announce).unwrap();
    let admitted = admit(&plan, outsider, &upload).unwrap();
    let connected = world.members().into_iter().collect();
    let timing = Timing::default();
    let (mut machine, actions) =
        Aggregator::start(plan.clone(), announce, connected, timing, Duration::ZERO);
    let asked = actions.iter().filter(|a| matches!(a, Action::Send { .. }));
    assert_eq!(asked.count(), LARGE, "everybody is asked to contribute");
    let actions = machine.handle(Event::Uploaded(admitted.receipt()), Duration::ZERO);
    let served: Vec<_> = actions
        .iter()
        .map(|action| match action {
            Action::Deliver { to, .. } => *to,
            other => panic!("not a delivery: {other:?}"),
        })
        .collect();
    assert_eq!(served, world.charter.committee());

    // A verdict of a member without a seat is passed over; the same of a seat is not.
    let verdict = |by: MemberIndex| {
        let mut holder = Node::new(Arc::clone(&world.places[served[0].position()]), world.run);
        let serve = world.announce(&plan, b"ask").with_part(Part::Serve);
        holder.tell(ToNode::Announce(serve));
        let deliver = admitted.delivery(served[0]).unwrap();
        match holder.tell(ToNode::Deliver(deliver)).pop() {
            Some(Up::Message(ToCoordinator::Verdict(verdict))) => {
                Event::Verdict { from: by, verdict }
            }
            other => panic!("no verdict: {other:?}"),
        }
    };
    let notes = machine.handle(verdict(outsider), Duration::ZERO);
    assert!(
        matches!(notes.as_slice(), [Action::Note(Note::Ignored { from, .. })] if *from == outsider),
        "{notes:?}"
    );
    assert!(
        machine
            .handle(verdict(served[0]), Duration::ZERO)
            .is_empty()
    );
    // After a reconnect a member whose upload is in has nothing more to do without a seat.
    for member in [outsider, served[0]] {
        machine.handle(Event::Disconnected(member), Duration::ZERO);
    }
    assert!(
        machine
            .handle(Event::Connected(outsider), Duration::ZERO)
            .is_empty()
    );
    let again = machine.handle(Event::Connected(served[0]), Duration::ZERO);
    assert_eq!(again.len(), 2, "the announcement and one share: {again:?}");
}

#[test]
fn a_proposal_may_name_members_without_a_seat() {
    // Contributing is for everybody; only the roster limits a set.
    let world = large();
    let plan = world.plan(1, b"ask");
    let member = world.charter.committee()[0];
    let mut node = Node::new(Arc::clone(&world.places[member.position()]), world.run);
    node.tell(ToNode::Announce(
        world.announce(&plan, b"ask").with_part(Part::Serve),
    ));
    let entries: Vec<_> = world
        .members()
        .iter()
        .map(|member| {
            let identity = &world.identities[member.position()];
            let (body, shares) = (Digest([1; 32]), Digest([2; 32]));
            let context = plan.reference().context;
            UploadClaim::sign(&context, *member, body, shares, identity)
        })
        .collect();
    let step = plan.reference();
    let propose = Propose { step, entries };
    // All signatures hold; what is missing is the shares, which were never delivered.
    assert_eq!(node.vote(&propose), Err(RefusalCode::ShareMissing));
    let mut forged = propose;
    forged.entries[50].signature = forged.entries[51].signature;
    assert_eq!(node.vote(&forged), Err(RefusalCode::ProposalInvalid));
}

/// P(at least `least` of `seats` seats drawn from `members` go to the `colluding`), as a sum of
/// the hypergeometric distribution.
fn probability(members: u32, colluding: u32, seats: u32, least: u32) -> f64 {
    let ln_factorial = |n: u32| (1..=n).map(|i| f64::from(i).ln()).sum::<f64>();
    let ln_choose = |n, k| ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k);
    (least..=seats.min(colluding))
        .map(|c| {
            let ways = ln_choose(colluding, c) + ln_choose(members - colluding, seats - c);
            (ways - ln_choose(members, seats)).exp()
        })
        .sum()
}

/// The table of docs/adr/0006.
#[test]
fn a_drawn_committee_is_as_safe_as_the_documents_say() {
    let thresholds = World::new(LARGE, 703).charter.thresholds().to_owned();
    let (seats, least) = (
        thresholds.committee as u32,
        thresholds.max_colluding as u32 + 1,
    );
    assert_eq!((seats, least), (96, 32));
    // So many must collude before two sets can both be certified: 2Q - k.
    let mixing = 2 * thresholds.quorum as u32 - seats;
    assert_eq!(mixing, 34);
    for (colluding, over_f, two_sets, keys) in [
        (100, 1.8e-11, 4.0e-13, -171.0),
        (150, 1.5e-6, 1.2e-7, -119.2),
        (200, 8.5e-4, 1.5e-4, -88.2),
        (250, 3.4e-2, 1.1e-2, -66.4),
    ] {
        let near = |found: f64, stated: f64| (found / stated - 1.0).abs() < 0.05;
        let found = probability(1000, colluding, seats, least);
        assert!(near(found, over_f), "{colluding}: {found:e}");
        let found = probability(1000, colluding, seats, mixing);
        assert!(near(found, two_sets), "{colluding}: {found:e}");
        let found = probability(1000, colluding, seats, thresholds.threshold as u32).log2();
        assert!((found - keys).abs() < 0.1, "{colluding}: 2^{found}");
    }
}

/// A charter of as many members as there may be, with the longest names and contacts.
fn largest() -> SignedCharter {
    let mut rng = rng(704);
    let list = (0..MAX_MEMBERS)
        .map(|number| {
            let identity = SigningIdentity::generate(&mut rng).public();
            NewMember {
                name: MemberName::new(&format!("{number:0>40}")).unwrap(),
                contact: "\"".repeat(MAX_TEXT_BYTES),
                identity,
                sealing: SealingSecret::generate(&mut rng).public().clone(),
                commitment: Digest([255; 32]),
            }
        })
        .collect();
    let coordinator = SigningIdentity::generate(&mut rng);
    let (id, policy) = (ConsortiumId::from_bytes([255; 16]), Digest([255; 32]));
    let charter = Charter::found("largest", id, coordinator.public(), policy, list).unwrap();
    let mut signed = SignedCharter::unsigned(charter);
    let signature = coordinator.sign(domain::CHARTER_SIGNATURE, &Digest([1; 32]));
    let one = |number| CharterSignature {
        signer: index(number),
        signature,
        reveal: Some(BeaconNonce::from_bytes(&[255; 32]).reveal()),
    };
    signed.signatures = (1..=MAX_MEMBERS as u16).map(one).collect();
    signed
}

#[test]
fn what_a_thousand_members_make_large_fits_its_caps() {
    let signed = largest();
    assert!(SignedCharter::from_bytes(&signed.to_bytes().unwrap()).unwrap() == signed);
    assert!(SignedCharter::from_toml(&signed.to_toml().unwrap()).unwrap() == signed);
    let charter = ToNode::Charter(signed.clone());
    assert!(codec::encode(&charter).unwrap().len() <= MAX_TO_NODE_BYTES);
    let answer = AdminResponse::Charter {
        missing: signed
            .charter
            .members
            .iter()
            .map(|m| m.name.clone())
            .collect(),
        charter: Box::new(signed),
    };
    assert!(codec::encode(&answer).unwrap().len() <= MAX_ADMIN_RESPONSE_BYTES);

    let world = large();
    let plan = world.plan(u64::MAX, b"ask");
    let claim = |member| UploadClaim {
        member,
        body: Digest([255; 32]),
        shares: Digest([255; 32]),
        signature: world.charter.signed().signatures[0].signature,
    };
    let entries = (1..=MAX_MEMBERS as u16).map(|number| claim(index(number)));
    let step = plan.reference();
    let propose = Propose {
        step,
        entries: entries.collect(),
    };
    let bytes = codec::encode(&ToNode::Propose(propose)).unwrap().len();
    assert!(
        (129 * MAX_MEMBERS..MAX_TO_NODE_BYTES).contains(&bytes),
        "{bytes}"
    );
    let mut node = Node::new(Arc::clone(&world.places[0]), world.run);
    let upload = node.upload(&world.announce(&plan, b"ask")).unwrap();
    let bytes = codec::encode(&upload.trailer).unwrap().len();
    assert!(bytes <= MAX_UPLOAD_TRAILER_BYTES, "{bytes}");
    // The cap is not much above what honest members need.
    assert!(bytes + 2_000 > MAX_UPLOAD_TRAILER_BYTES, "{bytes}");
}
