//! One adversarial test for each thing a node checks before it answers.

use collegium_crypto::encode::{Segment, Shape};
use collegium_protocol::context::ask_digest;
use collegium_protocol::limits::MAX_ASK_BYTES;
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::{Announce, Part};
use collegium_protocol::step::{LocalVerdict, NodeAction, NodeRecord};
use collegium_protocol::{Blob, Digest, Refusal, RefusalCode, StepNumber};

use crate::support::{World, announced, refusal, rng, shape};

fn allowed() -> LocalVerdict {
    LocalVerdict::Allowed { shape: shape() }
}

fn code(actions: &[NodeAction]) -> RefusalCode {
    match actions {
        [NodeAction::Send(ToCoordinator::StepRefused { refusal, .. })] => refusal.code,
        other => panic!("expected one refusal: {other:?}"),
    }
}

#[test]
fn an_announcement_is_checked_before_anything_is_recorded() {
    let world = World::new(4, 200);
    let good = announced(&world, 1, b"ask");
    let sign = |change: &dyn Fn(&mut Announce)| {
        let mut forged = good.clone();
        change(&mut forged);
        let context = forged.context.clone();
        Announce::sign(context, forged.ask, forged.deadline_ms, &world.coordinator)
    };
    let stranger = World::new(4, 201);
    let foreign = Announce::sign(
        good.context.clone(),
        good.ask.clone(),
        1,
        &stranger.coordinator,
    );
    let mut later = good.clone();
    later.deadline_ms += 1;
    let long = vec![0; MAX_ASK_BYTES + 1];
    let cases = [
        (
            sign(&|a| a.context.charter = stranger.charter.digest()),
            RefusalCode::CharterMismatch,
        ),
        (
            sign(&|a| a.context.params = "toy".to_owned()),
            RefusalCode::UnknownParameters,
        ),
        (foreign, RefusalCode::BadSignature),
        (later, RefusalCode::BadSignature),
        (
            sign(&|a| a.ask = Blob(b"another".to_vec())),
            RefusalCode::AskMismatch,
        ),
        (
            sign(&|a| {
                a.context.ask = ask_digest(&long);
                a.ask = Blob(long.clone());
            }),
            RefusalCode::AskTooLarge,
        ),
        (
            sign(&|a| a.context.shape = Digest([1; 32])),
            RefusalCode::ShapeMismatch,
        ),
        (
            sign(&|a| a.context.run = stranger.run),
            RefusalCode::UnknownRun,
        ),
    ];
    let mut node = world.nodes().remove(0);
    for (forged, expected) in cases {
        assert_eq!(
            code(&node.contributor.announce(&forged, allowed())),
            expected
        );
        assert!(node.disk.is_empty());
    }
    // None of that used the number up.
    assert!(node.upload(&good).is_some());
}

#[test]
fn the_committee_takes_no_forged_announcement_either() {
    let world = World::new(4, 202);
    let mut node = world.nodes().remove(0);
    let mut forged = announced(&world, 1, b"ask").with_part(Part::Serve);
    forged.deadline_ms += 1;
    assert_eq!(
        code(&node.committee.announce(&forged, node.data)),
        RefusalCode::BadSignature
    );
}

#[test]
fn local_policy_has_the_last_word() {
    let world = World::new(4, 203);
    let mut node = world.nodes().remove(0);
    let announce = announced(&world, 1, b"ask");
    let denied = LocalVerdict::Refused(Refusal::new(RefusalCode::PolicyDenied, "column name"));
    assert_eq!(
        code(&node.contributor.announce(&announce, denied)),
        RefusalCode::PolicyDenied
    );
    // The shape is the node's own: one that it does not find in the ask is refused.
    let shape = Shape(vec![Segment {
        max: 1_000_000,
        count: 4,
    }]);
    let other = LocalVerdict::Allowed { shape };
    assert_eq!(
        code(&node.contributor.announce(&announce, other)),
        RefusalCode::ShapeMismatch
    );
}

#[test]
fn a_step_is_recorded_before_it_is_answered() {
    let world = World::new(4, 204);
    let mut node = world.nodes().remove(0);
    let announce = announced(&world, 1, b"ask");
    let actions = node.contributor.announce(&announce, allowed());
    assert!(
        matches!(
            actions.as_slice(),
            [
                NodeAction::Persist(NodeRecord::Step(_)),
                NodeAction::Answer { .. }
            ]
        ),
        "{actions:?}"
    );
    // Again while the trainer computes: nothing new begins.
    assert!(node.contributor.announce(&announce, allowed()).is_empty());
}

#[test]
fn step_numbers_only_rise() {
    let world = World::new(4, 205);
    let mut node = world.nodes().remove(0);
    assert!(node.upload(&announced(&world, 5, b"a")).is_some());
    for restarted in [false, true] {
        if restarted {
            node.restart();
        }
        for (step, ask) in [(4, b"a"), (1, b"b"), (5, b"b")] {
            let announce = announced(&world, step, ask);
            let sent = node.tell(ToNode::Announce(announce.clone()));
            assert_eq!(refusal(&sent).code, RefusalCode::StepNotNew, "step {step}");
            let serve = announce.with_part(Part::Serve);
            let sent = node.tell(ToNode::Announce(serve));
            assert_eq!(refusal(&sent).code, RefusalCode::StepNotNew, "step {step}");
        }
    }
    assert!(node.upload(&announced(&world, 6, b"a")).is_some());
}

#[test]
fn the_same_step_gets_the_same_bytes_or_nothing() {
    let world = World::new(4, 206);
    let mut node = world.nodes().remove(0);
    let announce = announced(&world, 1, b"ask");
    let first = node.upload(&announce).unwrap();
    let again = node.upload(&announce).unwrap();
    assert_eq!(first.body().unwrap(), again.body().unwrap());
    assert_eq!(first.trailer, again.trailer);
    node.restart();
    let sent = node.tell(ToNode::Announce(announce.clone()));
    assert_eq!(refusal(&sent).code, RefusalCode::AlreadyAnswered);
    // As a new step it is the same plaintext under another key.
    let other = node.upload(&announced(&world, 2, b"ask")).unwrap();
    assert_ne!(first.body().unwrap(), other.body().unwrap());
    // A dropped step is forgotten, not repeated.
    node.contributor.dropped(StepNumber(2));
    let sent = node.tell(ToNode::Announce(announced(&world, 2, b"ask")));
    assert_eq!(refusal(&sent).code, RefusalCode::AlreadyAnswered);
}

#[test]
fn codes_above_their_maximum_never_leave() {
    let world = World::new(4, 207);
    let mut rng = rng(1);
    for wrong in [
        vec![1001, 0, 0, 0, 0, 0, 0],
        vec![0, 0, 0, 0, 0, 0, 2],
        vec![0; 6],
        vec![0; 8],
    ] {
        let mut node = world.nodes().remove(0);
        node.contributor
            .announce(&announced(&world, 1, b"ask"), allowed());
        let actions = node.contributor.answered(StepNumber(1), wrong, &mut rng);
        assert_eq!(code(&actions), RefusalCode::AnswerOutOfRange);
    }
    let mut node = world.nodes().remove(0);
    node.contributor
        .announce(&announced(&world, 1, b"ask"), allowed());
    let late = node
        .contributor
        .answered(StepNumber(7), vec![0; 7], &mut rng);
    assert!(late.is_empty(), "an answer to another step");
    let failed = node
        .contributor
        .failed(StepNumber(1), RefusalCode::TrainerFailed.into());
    assert_eq!(code(&failed), RefusalCode::TrainerFailed);
}
