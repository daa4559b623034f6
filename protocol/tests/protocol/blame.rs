//! What complaints prove: each check of a complaint, the two rules, and what follows from a proof.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::{Complaint, Part, Verdict};
use collegium_protocol::step::{
    Accusation, Action, AdmittedUpload, Aggregator, Blame, BlamePolicy, Event, Finding, Note,
    StepPlan, Timing,
};
use collegium_protocol::{Digest, MemberIndex, RefusalCode};

use crate::support::{Node, World, admit, index, indices};

/// `by`'s signed complaint about an upload, with this code.
fn complain(
    world: &World,
    plan: &StepPlan,
    upload: &AdmittedUpload,
    by: MemberIndex,
    code: RefusalCode,
) -> Verdict {
    let (step, claim) = (plan.reference(), upload.claim());
    let seat = world.charter.seat_of(by);
    let leaf = seat.and_then(|seat| upload.receipt().leaf(seat).copied());
    let complaint = Complaint::sign(
        &step.context,
        claim.member,
        &claim.shares,
        leaf.unwrap_or(Digest([0; 32])),
        code.into(),
        &world.identities[by.position()],
    );
    Verdict {
        step,
        dealer: claim.member,
        shares: claim.shares,
        complaint: Some(Box::new(complaint)),
    }
}

/// A consortium whose members have all uploaded in one step.
struct Setting {
    world: World,
    plan: Arc<StepPlan>,
    uploads: Vec<AdmittedUpload>,
}

impl Setting {
    fn new(members: usize, seed: u64) -> Self {
        let world = World::new(members, seed);
        let plan = world.plan(1, b"ask");
        let announce = world.announce(&plan, b"ask");
        let mut nodes = world.nodes();
        let uploads = nodes
            .iter_mut()
            .map(|node| admit(&plan, node.index(), &node.upload(&announce).unwrap()).unwrap())
            .collect();
        Self {
            world,
            plan,
            uploads,
        }
    }

    /// Member `by` accuses member `dealer`.
    fn accuse(&self, by: u16, dealer: u16, code: RefusalCode) -> Accusation {
        let upload = &self.uploads[usize::from(dealer) - 1];
        let verdict = complain(&self.world, &self.plan, upload, index(by), code);
        self.check(index(by), &verdict, upload).unwrap()
    }

    fn check(
        &self,
        by: MemberIndex,
        verdict: &Verdict,
        upload: &AdmittedUpload,
    ) -> Result<Accusation, RefusalCode> {
        let step = self.plan.reference();
        let receipt = upload.receipt();
        Accusation::check(step, by, verdict, &receipt, &self.world.charter)
            .map(|found| found.expect("it complains"))
            .map_err(|refusal| refusal.code)
    }

    fn take(&self, blame: &mut Blame, accusations: &[(u16, u16)]) -> Finding {
        let faulty = RefusalCode::ShareFaulty;
        let findings = accusations
            .iter()
            .map(|(by, dealer)| blame.take(&self.accuse(*by, *dealer, faulty)));
        findings.last().expect("an accusation")
    }
}

#[test]
fn a_complaint_is_its_authors_word_about_one_share() {
    let setting = Setting::new(4, 800);
    let Setting {
        world,
        plan,
        uploads,
    } = &setting;
    let by = index(2);
    let faulty = RefusalCode::ShareFaulty;
    let good = complain(world, plan, &uploads[2], by, faulty);
    let accusation = setting.check(by, &good, &uploads[2]).unwrap();
    assert_eq!((accusation.by(), accusation.dealer()), (by, index(3)));

    let changed = |change: &dyn Fn(&mut Complaint)| {
        let mut verdict = good.clone();
        change(verdict.complaint.as_mut().unwrap());
        verdict
    };
    let other_step = world.plan(2, b"ask");
    let mut moved = complain(world, &other_step, &uploads[2], by, faulty);
    moved.step = plan.reference();
    let mut exchanged = good.clone();
    exchanged.dealer = index(4);
    exchanged.shares = uploads[3].claim().shares;
    let mut elsewhere = good.clone();
    elsewhere.step = other_step.reference();
    let mut other_dealing = good.clone();
    other_dealing.shares = Digest([3; 32]);
    let bad = RefusalCode::BadSignature;
    let unknown = RefusalCode::UnknownStep;
    let unsigned = collegium_protocol::Signature::from_bytes([0; 64]);
    let cases = [
        ("unsigned", changed(&|c| c.signature = unsigned), 2, bad),
        (
            "another reason",
            changed(&|c| c.reason = RefusalCode::ShareMissing.into()),
            2,
            bad,
        ),
        (
            "another share",
            changed(&|c| c.leaf = Digest([1; 32])),
            2,
            bad,
        ),
        ("made in another step", moved, 2, bad),
        ("about another dealer", exchanged, 3, bad),
        ("for another step", elsewhere, 2, unknown),
        ("about another dealing", other_dealing, 2, unknown),
        ("about a dealer's other upload", good.clone(), 3, unknown),
    ];
    for (what, verdict, upload, expected) in cases {
        let found = setting.check(by, &verdict, &uploads[upload]);
        assert_eq!(found.map(|_| ()), Err(expected), "{what}");
    }
    // Handed in for another member.
    assert_eq!(setting.check(index(1), &good, &uploads[2]), Err(bad));
    // Correctly signed, about a share that was sealed to another seat.
    let receipt = uploads[2].receipt();
    let seat = world.charter.seat_of(index(1)).unwrap();
    let foreign = Complaint::sign(
        &plan.reference().context,
        index(3),
        &uploads[2].claim().shares,
        *receipt.leaf(seat).unwrap(),
        faulty.into(),
        &world.identities[1],
    );
    let verdict = Verdict {
        complaint: Some(Box::new(foreign)),
        ..good
    };
    let found = setting.check(by, &verdict, &uploads[2]);
    assert_eq!(found, Err(RefusalCode::ShareMissing));
}

#[test]
fn a_member_without_a_seat_cannot_complain() {
    let world = World::new(100, 801);
    let plan = world.plan(1, b"ask");
    let mut node = Node::new(Arc::clone(&world.places[0]), world.run);
    let upload = node.upload(&world.announce(&plan, b"ask")).unwrap();
    let upload = admit(&plan, index(1), &upload).unwrap();
    let outsider = |member: &MemberIndex| world.charter.seat_of(*member).is_none();
    let outsider = world.members().into_iter().find(outsider).unwrap();
    let holder = world.charter.committee()[95];
    let check = |by| {
        let verdict = complain(&world, &plan, &upload, by, RefusalCode::ShareFaulty);
        Accusation::check(
            plan.reference(),
            by,
            &verdict,
            &upload.receipt(),
            &world.charter,
        )
        .map(drop)
        .map_err(|refusal| refusal.code)
    };
    assert_eq!(check(outsider), Err(RefusalCode::NoSeat));
    assert_eq!(check(holder), Ok(()));
}

#[test]
fn more_than_f_complaints_prove_a_dealer_faulty_and_fewer_nothing() {
    // Seven members: f = 2.
    let setting = Setting::new(7, 802);
    let mut blame = Blame::new(&setting.world.charter);
    let unproven = Finding::Unproven {
        complaints: 2,
        needed: Some(3),
    };
    // The same complaint twice is one.
    assert_eq!(
        setting.take(&mut blame, &[(1, 7), (2, 7), (2, 7)]),
        unproven
    );
    assert!(unproven.to_string().contains("not attributable"));
    assert!(blame.faulty().is_empty());
    let proven = Finding::Dealer {
        dealer: index(7),
        complaints: 3,
    };
    assert_eq!(setting.take(&mut blame, &[(3, 7)]), proven);
    assert_eq!(*blame.faulty(), [index(7)].into());
}

#[test]
fn who_complains_about_more_than_a_third_is_faulty() {
    let setting = Setting::new(7, 803);
    let mut blame = Blame::new(&setting.world.charter);
    let finding = setting.take(&mut blame, &[(4, 1), (4, 2)]);
    assert!(matches!(finding, Finding::Unproven { .. }), "{finding:?}");
    assert!(blame.faulty().is_empty());
    let proven = Finding::Complainer {
        by: index(4),
        dealers: 3,
    };
    assert_eq!(setting.take(&mut blame, &[(4, 3)]), proven);
    assert_eq!(*blame.faulty(), [index(4)].into());

    // Dealers that others prove faulty speak for the complainer.
    let mut blame = Blame::new(&setting.world.charter);
    setting.take(&mut blame, &[(5, 1), (6, 1), (4, 1), (4, 2), (4, 3)]);
    assert_eq!(*blame.faulty(), [index(1)].into());
}

#[test]
fn what_is_not_about_the_dealers_share_proves_nothing() {
    let setting = Setting::new(4, 804);
    let mut blame = Blame::new(&setting.world.charter);
    // Lost or exchanged on the way: not the dealer's doing. About oneself: no evidence.
    for code in [RefusalCode::ShareMissing, RefusalCode::UploadDuplicate] {
        for by in [1, 2, 3] {
            let finding = blame.take(&setting.accuse(by, 4, code));
            assert!(matches!(finding, Finding::Unproven { complaints: 0, .. }));
        }
    }
    setting.take(&mut blame, &[(4, 4), (1, 4)]);
    assert!(blame.faulty().is_empty());
    setting.take(&mut blame, &[(2, 4)]);
    assert_eq!(*blame.faulty(), [index(4)].into());

    // Three members: f = 0, and any complaint contradicts that.
    let setting = Setting::new(3, 805);
    let mut blame = Blame::new(&setting.world.charter);
    let finding = setting.take(&mut blame, &[(1, 2), (3, 2), (1, 3)]);
    assert!(matches!(finding, Finding::Unproven { needed: None, .. }));
    assert!(blame.faulty().is_empty());
}

#[test]
fn who_is_left_out_leaves_the_minimum() {
    let setting = Setting::new(7, 806);
    let mut blame = Blame::new(&setting.world.charter);
    for dealer in [2, 5, 6] {
        setting.take(&mut blame, &[(1, dealer), (3, dealer), (4, dealer)]);
    }
    let faulty: BTreeSet<_> = indices(&[2, 5, 6]).into_iter().collect();
    assert_eq!(*blame.faulty(), faulty);
    let willing = |members: &[u16]| indices(members).into_iter().collect::<BTreeSet<_>>();
    let left_out = |policy, members: &[u16]| {
        let out = blame.left_out(policy, &willing(members), 5);
        out.into_iter().map(MemberIndex::get).collect::<Vec<_>>()
    };
    let all = [1, 2, 3, 4, 5, 6, 7];
    assert!(left_out(BlamePolicy::Record, &all).is_empty());
    assert_eq!(left_out(BlamePolicy::Exclude, &all), [2, 5]);
    assert_eq!(left_out(BlamePolicy::Exclude, &[1, 3, 4, 5, 6, 7]), [5]);
    assert!(left_out(BlamePolicy::Exclude, &[1, 3, 5, 6, 7]).is_empty());
}

/// Who is left out loses its part in the sum and keeps its seat.
#[test]
fn a_step_without_a_faulty_member_still_has_its_seat() {
    let Setting {
        world,
        plan,
        uploads,
    } = Setting::new(4, 807);
    let announce = world.announce(&plan, b"ask");
    let everybody: BTreeSet<_> = world.members().into_iter().collect();
    let (mut machine, actions) = Aggregator::start_without(
        [index(3)].into(),
        Arc::clone(&plan),
        announce,
        everybody,
        Timing::default(),
        Duration::ZERO,
    );
    let part = |member: u16| {
        let to_member = |action: &Action| match action {
            Action::Send { to, message } if *to == index(member) => match &**message {
                ToNode::Announce(announce) => Some(announce.part),
                _ => None,
            },
            _ => None,
        };
        actions.iter().find_map(to_member)
    };
    assert_eq!(part(3), Some(Part::Serve));
    assert_eq!(part(4), Some(Part::Contribute));

    let mut served = 0;
    for upload in &uploads {
        let actions = machine.handle(Event::Uploaded(upload.receipt()), Duration::ZERO);
        if upload.claim().member == index(3) {
            assert!(matches!(
                actions.as_slice(),
                [Action::Note(Note::Ignored { .. })]
            ));
            continue;
        }
        let to_three = |a: &&Action| matches!(a, Action::Deliver { to, .. } if *to == index(3));
        served += actions.iter().filter(to_three).count();
    }
    assert_eq!(served, 3, "every share of the others");
    // Its complaint is on record and keeps nobody out; everybody else is content.
    let mut last = Vec::new();
    for by in [3, 1, 2, 4] {
        for upload in [&uploads[0], &uploads[1], &uploads[3]] {
            let mut verdict = complain(&world, &plan, upload, index(by), RefusalCode::ShareFaulty);
            let complains = by == 3 && upload.claim().member == index(1);
            if !complains {
                verdict.complaint = None;
            }
            let from = index(by);
            last = machine.handle(Event::Verdict { from, verdict }, Duration::ZERO);
            let noted = |a: &Action| matches!(a, Action::Note(Note::Complaint(_)));
            assert_eq!(last.iter().any(noted), complains);
        }
    }
    let proposed = last.iter().find_map(|action| match action {
        Action::Send { to, message } if *to == index(3) => match &**message {
            ToNode::Propose(propose) => Some(propose.members()),
            _ => None,
        },
        _ => None,
    });
    assert_eq!(proposed, Some(indices(&[1, 2, 4])));
}

/// Through real machines: a dealer whose shares do not open is complained about by everybody.
#[test]
fn a_dealer_of_bad_shares_is_found_out() {
    let Setting {
        world,
        plan,
        uploads,
    } = Setting::new(4, 808);
    let mut blame = Blame::new(&world.charter);
    let mut findings = Vec::new();
    for member in [0, 1, 3] {
        let mut node = Node::new(Arc::clone(&world.places[member]), world.run);
        let serve = world.announce(&plan, b"ask").with_part(Part::Serve);
        node.tell(ToNode::Announce(serve));
        // Member 3 signed these leaves, and what stands behind its own seat's does not open here:
        // the node is given the sealing key of another member.
        let upload = spoiled(&world, &plan, &uploads[2], node.index());
        let deliver = upload.delivery(node.index()).unwrap();
        let sent = node.tell(ToNode::Deliver(deliver));
        let Some(crate::support::Up::Message(ToCoordinator::Verdict(verdict))) = sent.last() else {
            panic!("no verdict: {sent:?}");
        };
        let receipt = upload.receipt();
        let (step, by) = (plan.reference(), node.index());
        let accusation = Accusation::check(step, by, verdict, &receipt, &world.charter);
        findings.push(blame.take(&accusation.unwrap().expect("a complaint")));
    }
    assert!(matches!(
        findings[0],
        Finding::Unproven { complaints: 1, .. }
    ));
    assert!(matches!(findings[1], Finding::Dealer { complaints: 2, .. }));
    assert!(matches!(findings[2], Finding::Dealer { complaints: 3, .. }));
}

/// The dealer's upload with the share of one seat damaged before it was signed.
fn spoiled(
    world: &World,
    plan: &StepPlan,
    upload: &AdmittedUpload,
    recipient: MemberIndex,
) -> AdmittedUpload {
    use collegium_protocol::message::step::{SealedShare, UploadClaim, shares_digest};
    let mut trailer = upload.trailer().clone();
    trailer.shares[recipient.position()].sealed.0[1130] ^= 1;
    let leaves: Vec<_> = trailer.shares.iter().map(SealedShare::leaf).collect();
    let claim = upload.claim();
    let claim = UploadClaim::sign(
        &plan.reference().context,
        claim.member,
        claim.body,
        shares_digest(&leaves),
        &world.identities[claim.member.position()],
    );
    trailer.signature = claim.signature;
    AdmittedUpload::from_spool(plan, &claim, trailer).unwrap()
}
