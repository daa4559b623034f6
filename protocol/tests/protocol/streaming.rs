//! Uploads that are streamed while they are sealed, and kept until their step is over.

use std::sync::Arc;

use collegium_protocol::message::step::Announce;
use collegium_protocol::step::{LocalVerdict, NodeAction};
use collegium_protocol::{Blob, RefusalCode, StepNumber};

use crate::support::{Node, World, announced, codes, rng, shape};

/// The step is announced, and the trainer is asked.
fn ask(node: &mut Node, announce: &Announce) -> Vec<u64> {
    let allowed = LocalVerdict::Allowed { shape: shape() };
    let actions = node.contributor.announce(announce, allowed);
    assert!(matches!(
        actions.as_slice(),
        [NodeAction::Persist(_), NodeAction::Answer { .. }]
    ));
    codes(node.index(), announce.ask.as_slice())
}

#[test]
fn a_body_streams_before_its_trailer_and_is_repeated_as_it_was() {
    let world = World::new(4, 207);
    let mut node = world.nodes().remove(0);
    let announce = announced(&world, 1, b"ask");
    let codes = ask(&mut node, &announce);
    let sealing = node.contributor.seal(StepNumber(1), codes).unwrap();
    let header = sealing.header();
    // While it is sealed, the step announced again gives nothing and refuses nothing.
    let allowed = LocalVerdict::Allowed { shape: shape() };
    assert!(node.contributor.announce(&announce, allowed).is_empty());
    let (mut streamed, mut pieces) = (Vec::new(), 0);
    let sealed = sealing
        .run(1, &mut rng(7), &mut |piece| {
            streamed.extend_from_slice(&piece);
            pieces += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!((streamed.len() as u64, pieces > 0), (header.body_len, true));
    let kept = Blob(streamed.clone());
    let ready = Arc::new(sealed.kept(Arc::new(kept)));
    assert!(node.contributor.sealed(Arc::clone(&ready)));
    let again = node.upload(&announce).unwrap();
    assert_eq!(again.body().unwrap(), streamed);
    assert_eq!((again.header, &again.trailer), (header, &ready.trailer));
    // The machine holds the body as long as the step lives, and no longer.
    let held = Arc::downgrade(&ready);
    drop((ready, again));
    assert!(held.upgrade().is_some());
    node.contributor.dropped(StepNumber(1));
    assert!(held.upgrade().is_none());
}

#[test]
fn a_body_that_cannot_be_kept_refuses_its_step_and_an_overtaken_one_is_forgotten() {
    let world = World::new(4, 208);
    let mut node = world.nodes().remove(0);
    let codes = ask(&mut node, &announced(&world, 1, b"ask"));
    let sealing = node.contributor.seal(StepNumber(1), codes.clone()).unwrap();
    let full = || std::io::Error::from(std::io::ErrorKind::StorageFull);
    let failed = sealing.run(1, &mut rng(8), &mut |_| Err(full()));
    let told = failed.unwrap_err().refusal();
    assert_eq!(told.code, RefusalCode::Internal);
    assert!(!told.detail().contains("storage"), "{}", told.detail());
    assert_eq!(node.contributor.failed(StepNumber(1), told).len(), 1);
    assert!(
        node.contributor
            .seal(StepNumber(1), codes.clone())
            .is_none()
    );

    ask(&mut node, &announced(&world, 2, b"ask"));
    let sealing = node.contributor.seal(StepNumber(2), codes.clone()).unwrap();
    ask(&mut node, &announced(&world, 3, b"ask"));
    let sealed = sealing.run(2, &mut rng(9), &mut |_| Ok(())).unwrap();
    let late = Arc::new(sealed.kept(Arc::new(Blob::default())));
    assert!(!node.contributor.sealed(late), "another step is under way");
    assert!(node.contributor.seal(StepNumber(3), codes).is_some());
}
