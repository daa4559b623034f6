//! The coordinator's machine: what it waits for, what it passes over, when it gives up.

use std::sync::Arc;
use std::time::Duration;

use collegium_crypto::field;
use collegium_protocol::context::ask_digest;
use collegium_protocol::message::session::{DropReason, ToCoordinator, ToNode};
use collegium_protocol::message::step::{Release, Vote};
use collegium_protocol::step::{
    Action, Aggregator, Attempts, Dropped, Event, Note, OnRestart, Phase, StepFailure, Timing,
};
use collegium_protocol::{Blob, Digest, MemberIndex, Refusal, RefusalCode, StepNumber};

use crate::support::{
    Coordinator, Node, Outcome, Parts, Sends, Up, World, complaining, index, indices, totals,
};

const START: Duration = Duration::from_secs(100);

/// Carries messages until nobody says anything more. `tamper` may change or drop what members
/// send.
fn pump(
    nodes: &mut [Node],
    coordinator: &mut Coordinator,
    sends: Sends,
    now: Duration,
    tamper: &mut dyn FnMut(MemberIndex, Up) -> Option<Up>,
) {
    let mut queue: std::collections::VecDeque<_> = sends.into();
    while let Some((to, message)) = queue.pop_front() {
        if !coordinator.connected.contains(&to) {
            continue;
        }
        for up in nodes[to.position()].tell(message) {
            if let Some(up) = tamper(to, up) {
                queue.extend(coordinator.receive(to, up, now, &mut usize::MAX.clone()));
            }
        }
    }
}

fn honest(_: MemberIndex, up: Up) -> Option<Up> {
    Some(up)
}

struct Setting {
    world: World,
    nodes: Vec<Node>,
    coordinator: Coordinator,
}

fn setting(seed: u64) -> Setting {
    let world = World::new(4, seed);
    let (nodes, coordinator) = (world.nodes(), Coordinator::new(&world));
    Setting {
        world,
        nodes,
        coordinator,
    }
}

impl Setting {
    fn begin(&mut self, tamper: &mut dyn FnMut(MemberIndex, Up) -> Option<Up>) {
        let sends = self
            .coordinator
            .begin(b"ask", START, &mut usize::MAX.clone());
        pump(&mut self.nodes, &mut self.coordinator, sends, START, tamper);
    }

    fn event(&mut self, event: Event, now: Duration) {
        let sends = self.coordinator.handle(event, now, &mut usize::MAX.clone());
        pump(
            &mut self.nodes,
            &mut self.coordinator,
            sends,
            now,
            &mut honest,
        );
    }

    fn phase(&self) -> Option<Phase> {
        self.coordinator.aggregator.as_ref().map(Aggregator::phase)
    }

    fn contributors(&mut self) -> Vec<MemberIndex> {
        match self.coordinator.outcome.take() {
            Some(Outcome::Totals {
                contributors, sums, ..
            }) => {
                assert_eq!(sums, totals(&contributors, b"ask"));
                contributors
            }
            other => panic!("no totals: {other:?}"),
        }
    }

    fn dropped(&mut self) -> Dropped {
        match self.coordinator.outcome.take() {
            Some(Outcome::Dropped(dropped)) => dropped,
            other => panic!("not dropped: {other:?}"),
        }
    }
}

/// Drops what this member sends.
fn silence(member: u16) -> impl FnMut(MemberIndex, Up) -> Option<Up> {
    move |from, up| (from != index(member)).then_some(up)
}

fn refuse(member: u16, code: RefusalCode) -> impl FnMut(MemberIndex, Up) -> Option<Up> {
    move |from, up| match up {
        Up::Upload(upload) if from == index(member) => {
            let (run, step) = (upload.step.run, upload.step.step);
            let refusal = code.into();
            Some(Up::Message(ToCoordinator::StepRefused {
                run,
                step,
                refusal,
            }))
        }
        up => Some(up),
    }
}

#[test]
fn everything_is_synced_before_it_is_shown() {
    let Setting {
        world,
        mut nodes,
        coordinator,
    } = setting(600);
    let plan = world.plan(1, b"ask");
    let announce = world.announce(&plan, b"ask");
    let connected = coordinator.connected.clone();
    let timing = Timing::default();
    let (mut machine, actions) =
        Aggregator::start(plan.clone(), announce, connected, timing, START);
    let kinds = |actions: &[Action]| -> Vec<&'static str> {
        let kind = |action: &Action| match action {
            Action::Persist(_) => "persist",
            Action::SyncUploads { .. } => "sync",
            Action::Send { .. } => "send",
            Action::Deliver { .. } => "deliver",
            Action::Open(_) => "open",
            _ => "other",
        };
        let mut kinds: Vec<_> = actions.iter().map(kind).collect();
        kinds.dedup();
        kinds
    };
    assert_eq!(kinds(&actions), ["persist", "send"]);
    let uploads = world.uploads(&plan, b"ask", &mut nodes);
    for upload in &uploads {
        let actions = machine.handle(Event::Uploaded(upload.receipt()), START);
        assert_eq!(kinds(&actions), ["deliver"]);
    }
    let mut last = Vec::new();
    for node in &mut nodes {
        for upload in &uploads {
            let deliver = upload.delivery(node.index()).unwrap();
            for up in node.tell(ToNode::Deliver(deliver)) {
                if let Up::Message(ToCoordinator::Verdict(verdict)) = up {
                    last = machine.handle(
                        Event::Verdict {
                            from: node.index(),
                            verdict,
                        },
                        START,
                    );
                }
            }
        }
    }
    assert_eq!(kinds(&last), ["sync", "persist", "send"]);
    let propose = world.propose(&plan, &uploads, &[1, 2, 3, 4]);
    for node in &mut nodes[..3] {
        let vote = node.vote(&propose).unwrap();
        last = machine.handle(
            Event::Vote {
                from: node.index(),
                vote,
            },
            START,
        );
    }
    assert_eq!(kinds(&last), ["persist", "send"]);
    assert_eq!(machine.phase(), Phase::Certified { releases: 0 });
}

#[test]
fn an_undisturbed_step_takes_everybody_in() {
    let mut s = setting(601);
    s.begin(&mut honest);
    assert_eq!(s.contributors(), indices(&[1, 2, 3, 4]));
    assert!(s.coordinator.notes.is_empty(), "{:?}", s.coordinator.notes);
}

#[test]
fn a_connected_straggler_is_waited_for_and_then_left_out() {
    let mut s = setting(602);
    s.begin(&mut silence(2));
    assert_eq!(s.phase(), Some(Phase::Collecting { uploads: 3 }));
    let machine = s.coordinator.aggregator.as_ref().unwrap();
    assert_eq!(machine.awaited(), [index(2)]);
    let deadline = machine.deadline().unwrap();
    assert_eq!(deadline, START + Duration::from_secs(30));
    s.event(Event::Tick, deadline - Duration::from_millis(1));
    assert_eq!(s.phase(), Some(Phase::Collecting { uploads: 3 }));
    s.event(Event::Tick, deadline);
    assert_eq!(s.contributors(), indices(&[1, 3, 4]));
}

#[test]
fn who_disconnects_is_not_waited_for_but_stays_in_if_it_uploaded() {
    let mut s = setting(603);
    s.begin(&mut silence(2));
    s.event(Event::Disconnected(index(2)), START);
    assert_eq!(s.contributors(), indices(&[1, 3, 4]));

    let mut s = setting(604);
    // Member 3 uploads and is gone before anything is proposed; member 2 comes late.
    s.begin(&mut |from, up| match up {
        Up::Upload(_) if from == index(2) => None,
        up => Some(up),
    });
    s.event(Event::Disconnected(index(3)), START);
    s.event(Event::Connected(index(2)), START);
    assert_eq!(s.contributors(), indices(&[1, 2, 3, 4]));
}

#[test]
fn too_few_uploads_drop_the_step() {
    let mut s = setting(605);
    let (mut one, mut two) = (silence(1), silence(2));
    s.begin(&mut |from, up| one(from, up).and_then(|up| two(from, up)));
    let deadline = s
        .coordinator
        .aggregator
        .as_ref()
        .unwrap()
        .deadline()
        .unwrap();
    assert_eq!(deadline, START + Duration::from_secs(600));
    s.event(Event::Tick, deadline);
    assert_eq!(s.dropped().reason, DropReason::TooFewMembers);
}

#[test]
fn refusals_end_a_run_only_when_too_few_are_left() {
    let mut s = setting(606);
    s.begin(&mut refuse(2, RefusalCode::PolicyDenied));
    assert_eq!(s.contributors(), indices(&[1, 3, 4]));

    let mut s = setting(607);
    let (mut one, mut two) = (
        refuse(1, RefusalCode::PolicyDenied),
        refuse(2, RefusalCode::TrainerFailed),
    );
    s.begin(&mut |from, up| one(from, up).and_then(|up| two(from, up)));
    let dropped = s.dropped();
    let end = s
        .coordinator
        .attempts
        .dropped(&dropped, &s.world.charter)
        .unwrap_err();
    assert!(
        matches!(end, StepFailure::TooFewMembers { minimum: 3, .. }),
        "{end}"
    );
    let text = end.to_string();
    assert!(text.contains("site-1") && text.contains("policy"), "{text}");
}

#[test]
fn a_dealer_that_is_complained_about_is_left_out() {
    let mut s = setting(608);
    let identity = Arc::clone(&s.world.identities[1]);
    s.begin(&mut complaining(index(2), identity, |dealer| {
        dealer == index(4)
    }));
    assert_eq!(s.contributors(), indices(&[1, 2, 3]));
    let noted = |note: &Note| matches!(note, Note::Complaint(one) if (one.by(), one.dealer()) == (index(2), index(4)));
    assert!(s.coordinator.notes.iter().any(noted));
}

#[test]
fn one_member_cannot_stop_the_others_by_complaining_about_all() {
    let mut s = setting(609);
    let identity = Arc::clone(&s.world.identities[1]);
    s.begin(&mut complaining(index(2), identity, |_| true));
    assert_eq!(s.contributors().len(), 3);
}

#[test]
fn foreign_and_forged_messages_are_passed_over() {
    let mut s = setting(610);
    let stranger = World::new(4, 611);
    let mut kept: Vec<Vote> = Vec::new();
    s.begin(&mut |_, up| match up {
        Up::Message(ToCoordinator::Vote(vote)) => {
            kept.push(vote);
            None
        }
        up => Some(up),
    });
    assert_eq!(s.phase(), Some(Phase::Proposed { votes: 0 }));
    let good = kept[0].clone();
    let other = kept[1].clone();
    let forged = Vote {
        signature: stranger.identities[0].sign("x", &good.proposal),
        ..good.clone()
    };
    let mislabelled = Vote {
        proposal: Digest([1; 32]),
        ..good.clone()
    };
    for (from, vote) in [(1, forged), (1, mislabelled), (1, other), (9, good.clone())] {
        s.event(
            Event::Vote {
                from: index(from),
                vote,
            },
            START,
        );
        assert_eq!(s.phase(), Some(Phase::Proposed { votes: 0 }));
    }
    // One member's vote counts once.
    for _ in 0..3 {
        s.event(
            Event::Vote {
                from: index(1),
                vote: good.clone(),
            },
            START,
        );
        assert_eq!(s.phase(), Some(Phase::Proposed { votes: 1 }));
    }
    assert!(
        s.coordinator
            .notes
            .iter()
            .all(|note| matches!(note, Note::Ignored { .. }))
    );
}

#[test]
fn wrong_releases_of_two_members_fail_the_noise_check_and_name_the_set() {
    let mut s = setting(612);
    let identities = s.world.identities.clone();
    s.begin(&mut |from, up| {
        Some(match up {
            Up::Message(ToCoordinator::Release(release)) if from.get() <= 2 => {
                // Signed by its member, well formed, and wrong in one coefficient.
                let mut bytes = release.share_sum.0.clone();
                bytes[0] ^= 1;
                let (step, set) = (release.step, release.proposal);
                let identity = &identities[from.position()];
                let wrong = Release::sign(step, from, set, Blob(bytes), identity);
                Up::Message(ToCoordinator::Release(wrong))
            }
            up => up,
        })
    });
    match s.coordinator.outcome.take() {
        Some(Outcome::Failed(StepFailure::NotOpened {
            contributors,
            reason,
            ..
        })) => {
            assert_eq!(contributors, indices(&[1, 2, 3, 4]));
            assert!(reason.contains("noise"), "{reason}");
        }
        other => panic!("opened: {other:?}"),
    }
}

#[test]
fn a_malformed_release_is_passed_over_and_another_takes_its_place() {
    let mut s = setting(613);
    s.begin(&mut |from, up| {
        Some(match up {
            Up::Message(ToCoordinator::Release(mut release)) if from == index(1) => {
                release.share_sum.0.pop();
                Up::Message(ToCoordinator::Release(release))
            }
            up => up,
        })
    });
    assert_eq!(s.contributors().len(), 4);
    assert!(matches!(
        s.coordinator.notes.as_slice(),
        [Note::Ignored { .. }]
    ));
}

/// One upload by each member: the first that passed the checks is the one that counts.
#[test]
fn a_members_second_upload_is_passed_over() {
    let mut s = setting(621);
    let sends = s.coordinator.begin(b"ask", START, &mut usize::MAX.clone());
    let mut uploads = Vec::new();
    for (to, message) in sends {
        uploads.extend(s.nodes[to.position()].tell(message));
    }
    let Up::Upload(upload) = &uploads[0] else {
        panic!("an upload comes first: {uploads:?}");
    };
    let mut second = Parts::of(upload);
    let digit = u64::from_le_bytes(second.body[..8].try_into().unwrap());
    second.body[..8].copy_from_slice(&field::add(digit, 1).to_le_bytes());
    second.sign(&s.world.identities[0]);
    let members = s.world.members();
    for (from, up) in members.into_iter().zip(uploads.clone()) {
        let sends = s
            .coordinator
            .receive(from, up, START, &mut usize::MAX.clone());
        let fuel = &mut usize::MAX.clone();
        let more = s.coordinator.upload(index(1), second.clone(), START, fuel);
        assert!(more.is_empty(), "a second upload is delivered to nobody");
        pump(&mut s.nodes, &mut s.coordinator, sends, START, &mut honest);
    }
    assert_eq!(s.contributors(), indices(&[1, 2, 3, 4]));
    assert!(s.coordinator.notes.iter().any(|note| {
        matches!(note, Note::Ignored { from, why } if *from == index(1) && why.contains("second"))
    }));
}

/// Any coefficient, the last one included: one that is off by more than the noise can be spoils
/// the step, and nothing of it is shown.
#[test]
fn one_coefficient_beyond_the_noise_shows_nothing_of_the_step() {
    for last in [false, true] {
        let mut s = setting(622);
        let packing = s.world.plan(1, b"ask").packing().clone();
        let (place, lanes) = match last {
            true => (packing.coefficients() - 1, packing.segments().last()),
            false => (0, packing.segments().first()),
        };
        let off = lanes.unwrap().delta / 2;
        let sends = s.coordinator.begin(b"ask", START, &mut usize::MAX.clone());
        let mut uploads = Vec::new();
        for (to, message) in sends {
            for up in s.nodes[to.position()].tell(message) {
                let Up::Upload(upload) = &up else { continue };
                uploads.push((to, Parts::of(upload)));
            }
        }
        for (from, mut parts) in uploads {
            if from == index(2) {
                let mut body = parts.body.clone();
                let word = &mut body[8 * place..8 * place + 8];
                let value = u64::from_le_bytes((&*word).try_into().unwrap());
                word.copy_from_slice(&field::add(value, off).to_le_bytes());
                parts.exchange_body(&s.world, body);
            }
            let fuel = &mut usize::MAX.clone();
            let sends = s.coordinator.upload(from, parts, START, fuel);
            pump(&mut s.nodes, &mut s.coordinator, sends, START, &mut honest);
        }
        match s.coordinator.outcome.take() {
            Some(Outcome::Failed(StepFailure::NotOpened { reason, .. })) => {
                assert!(reason.contains("noise"), "{reason}");
            }
            other => panic!("coefficient {place}: {other:?}"),
        }
    }
}

#[test]
fn a_certified_step_waits_for_its_releases_for_a_long_time() {
    let mut s = setting(614);
    s.begin(&mut |from, up| match up {
        Up::Message(ToCoordinator::Release(_)) if from != index(1) => None,
        up => Some(up),
    });
    assert_eq!(s.phase(), Some(Phase::Certified { releases: 1 }));
    let wait = Timing::default().release_wait;
    let deadline = s.coordinator.aggregator.as_ref().unwrap().deadline();
    assert_eq!(deadline, Some(START + wait));
    s.event(Event::Tick, START + wait - Duration::from_secs(1));
    for member in [2, 3] {
        s.event(Event::Disconnected(index(member)), START);
        s.nodes[member as usize - 1].restart();
        s.event(Event::Connected(index(member)), START);
    }
    assert_eq!(s.contributors().len(), 4);
}

#[test]
fn votes_that_stay_out_drop_the_step() {
    let mut s = setting(615);
    s.begin(&mut |from, up| match up {
        Up::Message(ToCoordinator::Vote(_)) if from.get() > 2 => None,
        up => Some(up),
    });
    assert_eq!(s.phase(), Some(Phase::Proposed { votes: 2 }));
    s.event(Event::Tick, START + Duration::from_secs(60));
    let dropped = s.dropped();
    assert_eq!(dropped.reason, DropReason::TooFewVotes);
    assert_eq!(
        s.coordinator.attempts.dropped(&dropped, &s.world.charter),
        Ok(())
    );
    // The same ask as a new step goes through.
    s.begin(&mut honest);
    assert_eq!(s.contributors().len(), 4);
}

#[test]
fn a_member_that_lost_its_answer_gets_a_new_step_but_not_for_ever() {
    let mut s = setting(616);
    for attempt in 1..=3 {
        s.begin(&mut refuse(4, RefusalCode::AlreadyAnswered));
        let dropped = s.dropped();
        assert_eq!(
            dropped.reason,
            DropReason::MemberRestarted,
            "attempt {attempt}"
        );
        s.coordinator
            .attempts
            .dropped(&dropped, &s.world.charter)
            .unwrap();
    }
    assert_eq!(s.coordinator.attempts.on_restart(), OnRestart::GoOn);
    s.begin(&mut refuse(4, RefusalCode::AlreadyAnswered));
    assert_eq!(s.contributors(), indices(&[1, 2, 3]));
}

#[test]
fn opening_an_ask_with_another_set_ends_the_run_in_plain_words() {
    let mut s = setting(617);
    s.begin(&mut honest);
    assert_eq!(s.contributors().len(), 4);
    s.coordinator.connected.remove(&index(4));
    s.begin(&mut honest);
    let dropped = s.dropped();
    assert_eq!(dropped.reason, DropReason::SetRefused);
    let end = s
        .coordinator
        .attempts
        .dropped(&dropped, &s.world.charter)
        .unwrap_err();
    assert!(
        matches!(end, StepFailure::OpenedWithOtherSet { .. }),
        "{end}"
    );
}

#[test]
fn attempts_are_counted_per_ask_and_numbers_never_repeat() {
    let world = World::new(4, 618);
    let mut attempts = Attempts::after(StepNumber(41));
    let dropped = Dropped {
        reason: DropReason::TooFewVotes,
        refusals: Vec::new(),
    };
    let mut last = 41;
    for ask in [b"a", b"b"] {
        let mut outcome = Ok(());
        for _ in 0..8 {
            outcome.unwrap();
            let number = attempts.next_number(ask_digest(ask));
            assert_eq!(number.0, last + 1);
            last = number.0;
            outcome = attempts.dropped(&dropped, &world.charter);
        }
        assert!(matches!(
            outcome,
            Err(StepFailure::TooManyAttempts { attempts: 8, .. })
        ));
    }
    let cancelled = Dropped {
        reason: DropReason::Cancelled,
        refusals: Vec::new(),
    };
    attempts.next_number(ask_digest(b"c"));
    assert_eq!(
        attempts.dropped(&cancelled, &world.charter),
        Err(StepFailure::Cancelled)
    );
}

#[test]
fn refusals_of_another_step_do_not_count() {
    let mut s = setting(619);
    s.begin(&mut silence(2));
    let refusal = Refusal::new(RefusalCode::AlreadyAnswered, "");
    s.event(
        Event::Refused {
            from: index(2),
            step: StepNumber(9),
            refusal,
        },
        START,
    );
    assert_eq!(s.phase(), Some(Phase::Collecting { uploads: 3 }));
}
