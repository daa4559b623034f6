//! Seats that release something false: as long as t honest ones release too, the step opens to the
//! right totals, and no honest member is ever named.

use std::time::Duration;

use collegium_protocol::message::session::ToCoordinator;
use collegium_protocol::message::step::Release;
use collegium_protocol::step::{Event, StepFailure};
use collegium_protocol::{Blob, MemberIndex};

use crate::support::{Drive, Next, World, indices, totals};

const ASK: &[u8] = b"ask";

/// The release of a member that changed one coefficient of its share sum, correctly signed.
fn lie(world: &World, from: MemberIndex, message: ToCoordinator) -> ToCoordinator {
    match message {
        ToCoordinator::Release(honest) => {
            let mut bytes = honest.share_sum.0.clone();
            bytes[8 * 17] ^= 1;
            let identity = &world.identities[from.position()];
            let (step, proposal) = (honest.step, honest.proposal);
            let release = Release::sign(step, honest.releaser, proposal, Blob(bytes), identity);
            ToCoordinator::Release(release)
        }
        other => other,
    }
}

/// Drives a step in which `liars` lie; counts the openings that were tried.
fn with_liars(members: usize, seed: u64, liars: &[u16]) -> (Drive, Result<usize, StepFailure>) {
    let mut drive = Drive::begin(members, seed, ASK);
    let mut tried = 0;
    loop {
        let next = drive.run(|world, from, message| {
            Some(if liars.contains(&from.get()) {
                lie(world, from, message)
            } else {
                message
            })
        });
        match next {
            Next::Open(opening) => {
                tried += 1;
                match opening.open(&drive.sum) {
                    Ok(opened) => {
                        let everybody = drive.world.members();
                        assert_eq!(opened.sums(), totals(&everybody, ASK));
                        let named: Vec<_> = indices(liars);
                        let found = opened.false_releases();
                        assert!(
                            found.iter().all(|it| named.contains(it)),
                            "{members} members, liars {liars:?}, named {found:?}"
                        );
                        // With four members nobody is left to wait for, and one liar can be told.
                        // In larger ones the step opens before enough members agree.
                        if tried > 1 && members == 4 {
                            assert_eq!(found, named, "nobody is named");
                        }
                        return (drive, Ok(tried));
                    }
                    Err(failure) => drive.tell(Event::NotOpened(failure), Duration::ZERO),
                }
            }
            Next::Spoiled(failure) => return (drive, Err(failure)),
            Next::Idle => panic!("the step is stuck"),
        }
    }
}

#[test]
fn honest_releases_open_at_the_first_try() {
    assert_eq!(with_liars(4, 801, &[]).1.unwrap(), 1);
}

#[test]
fn as_many_liars_as_the_scheme_survives_do_not_stop_a_step() {
    for (members, liars) in [
        (4, &[1][..]),
        (4, &[3]),
        (7, &[2]),
        (7, &[1, 5]),
        (10, &[1, 2, 3]),
    ] {
        let (_, tried) = with_liars(members, 802, liars);
        assert!(tried.unwrap() > 1, "{members} members, liars {liars:?}");
    }
}

#[test]
fn one_liar_too_many_spoils_the_step_and_nothing_is_shown() {
    let (_, end) = with_liars(4, 803, &[1, 2]);
    let failure = end.unwrap_err();
    assert!(
        matches!(failure, StepFailure::NotOpened { .. }),
        "{failure}"
    );
    // Of three members all are needed.
    assert!(with_liars(3, 804, &[2]).1.is_err());
}

/// A seat that is silent after the sum failed to open is waited for, and not for ever.
#[test]
fn further_releases_are_waited_for_until_a_deadline() {
    let mut drive = Drive::begin(4, 805, ASK);
    let silent = |world: &World, from: MemberIndex, message: ToCoordinator| {
        let releases = matches!(message, ToCoordinator::Release(_));
        match from.get() {
            1 => Some(lie(world, from, message)),
            4 if releases => None,
            _ => Some(message),
        }
    };
    let Next::Open(opening) = drive.run(silent) else {
        panic!("three releases are in");
    };
    let failure = opening.open(&drive.sum).map(drop).unwrap_err();
    drive.tell(Event::NotOpened(failure), Duration::from_secs(5));
    assert!(matches!(drive.run(silent), Next::Idle));
    let wait = collegium_protocol::step::Timing::default().vote_wait;
    drive.tell(Event::Tick, Duration::from_secs(4) + wait);
    assert!(matches!(drive.run(silent), Next::Idle));
    drive.tell(Event::Tick, Duration::from_secs(5) + wait);
    assert!(matches!(drive.run(silent), Next::Spoiled(_)));
}

/// Two of four seats vote and withhold their releases: the step is certified and cannot be opened.
/// It is waited for, long, and then the round closes; who held it up is named.
#[test]
fn a_certified_step_that_nobody_releases_is_given_up_after_a_long_time() {
    let mut drive = Drive::begin(4, 806, ASK);
    let withheld = |_: &World, from: MemberIndex, message: ToCoordinator| {
        let silent = from.get() > 2 && matches!(message, ToCoordinator::Release(_));
        (!silent).then_some(message)
    };
    assert!(matches!(drive.run(withheld), Next::Idle));
    let wait = collegium_protocol::step::Timing::default().release_wait;
    drive.tell(Event::Tick, wait - Duration::from_secs(1));
    assert!(matches!(drive.run(withheld), Next::Idle));
    drive.tell(Event::Tick, wait);
    match drive.run(withheld) {
        Next::Spoiled(StepFailure::NotReleased { missing, .. }) => {
            assert_eq!(missing, indices(&[3, 4]));
        }
        other => panic!("expected the end of the step: {other:?}"),
    }
}

/// As long as releases keep coming, waiting begins anew with each.
#[test]
fn a_release_that_comes_late_is_worth_waiting_for_the_next() {
    let mut drive = Drive::begin(4, 807, ASK);
    let mut late = None;
    let withheld = |_: &World, from: MemberIndex, message: ToCoordinator| match message {
        ToCoordinator::Release(release) if from.get() > 1 => {
            if from.get() == 2 {
                late = Some(release);
            }
            None
        }
        message => Some(message),
    };
    assert!(matches!(drive.run(withheld), Next::Idle));
    let wait = collegium_protocol::step::Timing::default().release_wait;
    let release = late.expect("it released");
    let from = release.releaser;
    let half = wait / 2;
    drive.tell(
        Event::Release {
            from,
            release: release.clone(),
        },
        half,
    );
    // The same again is no news.
    drive.tell(Event::Release { from, release }, wait);
    let silent = |_: &World, _: MemberIndex, _: ToCoordinator| None;
    assert!(matches!(drive.run(silent), Next::Idle));
    drive.tell(Event::Tick, half + wait - Duration::from_secs(1));
    assert!(matches!(drive.run(silent), Next::Idle));
    drive.tell(Event::Tick, half + wait);
    assert!(matches!(drive.run(silent), Next::Spoiled(_)));
}
