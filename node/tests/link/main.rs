//! The node's link against a scripted coordinator, over real QUIC on the loopback: what it
//! answers, what it keeps, and what it refuses.

mod consent;
mod coordinator;
mod site;

use std::path::Path;
use std::time::Duration;

use collegium_crypto::SigningIdentity;
use collegium_node::ledger::{self, Ledger};
use collegium_node::link::LinkError;
use collegium_node::state::StateDirectory;
use collegium_node::store::Store;
use collegium_protocol::ledger::note::Cosignature;
use collegium_protocol::ledger::tree::prove_consistency;
use collegium_protocol::ledger::{Log, LogKey, SignedCheckpoint};
use collegium_protocol::message::ledger::{CheckpointOffer, CosignReply};
use collegium_protocol::message::session::{DropReason, RunOutcome, ToCoordinator, ToNode};
use collegium_protocol::message::step::Part;
use collegium_protocol::step::NodeRecord;
use collegium_protocol::{Digest, RefusalCode, StepNumber};

use serde_json::json;

use coordinator::{Consortium, Script, Voted, object_id, run_id};
use site::{OBJECT, Site, Toys};

/// A node's ledger, an entry on each line.
fn ledger_text(state: &Path) -> String {
    let entries = ledger::entries(&state.join("ledger")).expect("reads");
    let lines = entries.iter().map(|entry| format!("{entry}\n"));
    lines.collect()
}

/// A consortium of three whose nodes all run, with the run accepted by each.
async fn three(consortium: &Consortium) -> (Vec<Site>, Script) {
    let sites: Vec<Site> = (0..3).map(|i| Site::new(consortium, i)).collect();
    let mut script = consortium.meet(3).await;
    script.serve_object(OBJECT);
    for (i, site) in sites.iter().enumerate() {
        script.offer(i).await;
        let accepted = ToCoordinator::RunAccepted {
            run: run_id(),
            data: site.data(),
        };
        assert_eq!(script.next(i).await, accepted);
    }
    (sites, script)
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_answer_vote_and_release_and_the_sum_opens() {
    let consortium = Consortium::found(3);
    let (sites, mut script) = three(&consortium).await;
    for number in [1, 5] {
        let Voted {
            plan,
            uploads,
            propose,
            votes,
        } = script.voted(number).await;
        // The vote is on the disk by the time it is seen.
        let store = Store::open(&sites[1].database())
            .await
            .expect("a second handle");
        let records = store.records().await.expect("reads");
        assert!(records.iter().any(|(_, body)| matches!(
            NodeRecord::from_bytes(body).expect("a record"),
            NodeRecord::Committee(record) if record.given.as_ref().is_some_and(|g| g.vote == votes[1])
        )));
        store.close().await;
        let releases = script.certify(&propose, &votes).await;
        let sums = script.open(&plan, &uploads, &releases);
        // Site i answers [i + 1, sequence, 7].
        assert_eq!(sums, [6, 3 * number, 21]);
    }

    let champion = b"the champion".to_vec();
    script.serve_object(&champion);
    let closed = ToNode::RunClosed {
        run: run_id(),
        outcome: RunOutcome::Completed,
        champion: Some(object_id(&champion)),
    };
    for (i, site) in sites.iter().enumerate() {
        script.send(i, closed.clone()).await;
        assert_eq!(
            script.next(i).await,
            ToCoordinator::RunReportReady { run: run_id() }
        );
        let text = std::fs::read(site.report()).expect("the site's report");
        let report: serde_json::Value = serde_json::from_slice(&text).expect("JSON");
        assert_eq!(report["champion_bytes"], champion.len());
        assert_eq!(report["site"], site.name());
    }
    // Asked again after a reconnect, the node only says that the report is there.
    script.send(0, closed).await;
    assert_eq!(
        script.next(0).await,
        ToCoordinator::RunReportReady { run: run_id() }
    );

    for (i, site) in sites.into_iter().enumerate() {
        let state = site.stop().await;
        // Start and stop are the daemon's; the link's own: charter, run, two answers, two votes,
        // two releases, close, report.
        let key = LogKey::node(consortium.identity(i));
        let entries = Ledger::inspect(&state.path().join("ledger"), &key).expect("verifies");
        assert_eq!(entries, 10);
        let text = ledger_text(state.path());
        for part in ["\"stage\":\"profile\"", "\"contributors\":[\"site-0\""] {
            assert!(text.contains(part), "no {part} in\n{text}");
        }
        let held = text.matches("\"withheld\":[\"training\",\"fold\"]").count();
        assert_eq!(held, if i == 2 { 2 } else { 0 }, "{text}");
    }
}

/// A coordinator that shows a total that is not the sum: every node finds out by itself, says so,
/// gives nothing more in the run, and remembers it over a restart.
#[tokio::test(flavor = "multi_thread")]
async fn a_coordinator_that_shows_false_totals_is_found_out_by_every_node() {
    let consortium = Consortium::found(3);
    let (mut sites, mut script) = three(&consortium).await;
    for (number, more) in [(1, 0), (2, 1)] {
        let Voted {
            plan,
            uploads,
            propose,
            votes,
        } = script.voted(number).await;
        let releases = script.certify(&propose, &votes).await;
        let set = (&propose, &votes[..]);
        script.prove(&plan, &uploads, set, &releases, more).await;
        for index in (0..3).filter(|_| more > 0) {
            match script.next(index).await {
                ToCoordinator::RunRefused { refusal, .. } => {
                    assert_eq!(refusal.code, RefusalCode::TotalsDisputed, "{refusal}");
                }
                other => panic!("expected the end of its part, got {other:?}"),
            }
        }
    }
    // The honest step before was no reason to leave; after the lie nothing is answered.
    let plan = script.plan(StepNumber(3), 3);
    script.announce_to(0, &plan, 3, Part::Contribute).await;
    script
        .expect_refusal(0, StepNumber(3), RefusalCode::TotalsDisputed)
        .await;
    let state = sites.remove(0).kill().await;
    let site = Site::in_directory(&consortium, 0, state, Toys::numbered(0));
    script.rejoin(&consortium, 0).await;
    script.offer(0).await;
    match script.next(0).await {
        ToCoordinator::RunRefused { refusal, .. } => {
            assert_eq!(refusal.code, RefusalCode::TotalsDisputed);
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
    let state = site.stop().await;
    let text = ledger_text(state.path());
    let disputes = text.matches("\"action\":\"verify\"").count();
    assert_eq!(disputes, 1, "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_repeats_its_vote_and_gives_no_second_one() {
    let consortium = Consortium::found(3);
    let (mut sites, mut script) = three(&consortium).await;
    let Voted {
        plan,
        uploads,
        propose,
        votes,
    } = script.voted(1).await;

    let site = sites.remove(0);
    let state = site.kill().await;
    let site = Site::in_directory(&consortium, 0, state, Toys::numbered(0));
    script.rejoin(&consortium, 0).await;
    script.offer(0).await;
    assert!(matches!(
        script.next(0).await,
        ToCoordinator::RunAccepted { .. }
    ));

    // Its answer is lost with its memory; the number is used up.
    script.announce_to(0, &plan, 1, Part::Contribute).await;
    script
        .expect_refusal(0, StepNumber(1), RefusalCode::AlreadyAnswered)
        .await;
    // An older number, and another ask under the same one, fare no better.
    let other = script.plan(StepNumber(1), 2);
    script.announce_to(0, &other, 2, Part::Contribute).await;
    script
        .expect_refusal(0, StepNumber(1), RefusalCode::StepNotNew)
        .await;

    // Another set than the one voted for gets nothing, with or without a certificate.
    let mut fewer = propose.clone();
    fewer.entries.remove(2);
    script.send(0, ToNode::Propose(fewer)).await;
    script
        .expect_refusal(0, StepNumber(1), RefusalCode::PolicyDenied)
        .await;
    let mut swapped = propose.clone();
    swapped.entries.swap(0, 1);
    script.send(0, ToNode::Propose(swapped)).await;
    script
        .expect_refusal(0, StepNumber(1), RefusalCode::AlreadyVoted)
        .await;

    // The same set gets the same vote, byte for byte, and the step is driven to its end.
    script.send(0, ToNode::Propose(propose.clone())).await;
    assert_eq!(script.next(0).await, ToCoordinator::Vote(votes[0].clone()));
    let releases = script.certify(&propose, &votes).await;
    assert_eq!(script.open(&plan, &uploads, &releases), [6, 3, 21]);
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_connection_is_dialled_again_and_the_same_bytes_are_sent() {
    let consortium = Consortium::found(3);
    let (_sites, mut script) = three(&consortium).await;
    let plan = script.announce(StepNumber(1), 1, Part::Contribute).await;
    let first = script.uploads(&plan, &[0]).await;
    script.drop_connection(0);
    script.rejoin(&consortium, 0).await;
    script.announce_to(0, &plan, 1, Part::Contribute).await;
    let again = script.uploads(&plan, &[0]).await;
    assert_eq!(first[0].body, again[0].body);
    assert_eq!(first[0].trailer, again[0].trailer);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_broken_off_in_its_middle_comes_again_with_the_same_bytes() {
    let consortium = Consortium::found(3);
    let (sites, mut script) = three(&consortium).await;
    let plan = script.plan(StepNumber(1), site::LARGE);
    script
        .announce_to(0, &plan, site::LARGE, Part::Contribute)
        .await;
    let (first, stream) = script.first_bytes(0, 100_000).await;
    script.drop_connection(0);
    drop(stream);
    script.rejoin(&consortium, 0).await;
    script
        .announce_to(0, &plan, site::LARGE, Part::Contribute)
        .await;
    let whole = script.uploads(&plan, &[0]).await;
    assert_eq!(first, whole[0].body[..first.len()]);
    // Kept while the step lives, however often it is asked for; erased with it.
    assert_eq!(sites[0].kept_bodies(), 1);
    script
        .announce_to(0, &plan, site::LARGE, Part::Contribute)
        .await;
    let again = script.uploads(&plan, &[0]).await;
    assert_eq!(again[0].body, whole[0].body);
    assert_eq!(again[0].trailer, whole[0].trailer);
    let dropped = ToNode::StepDropped {
        run: run_id(),
        step: StepNumber(1),
        reason: DropReason::TooFewMembers,
    };
    script.send(0, dropped).await;
    script
        .announce_to(0, &plan, site::LARGE, Part::Contribute)
        .await;
    script
        .expect_refusal(0, StepNumber(1), RefusalCode::AlreadyAnswered)
        .await;
    // Streams of it that nobody reads any more hold it as long as their connection.
    script.drop_connection(0);
    let erased = async {
        while sites[0].kept_bodies() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    coordinator::within(erased).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_killed_in_the_middle_of_an_upload_never_sends_another_one() {
    let consortium = Consortium::found(3);
    let (mut sites, mut script) = three(&consortium).await;
    let plan = script.plan(StepNumber(1), site::LARGE);
    script
        .announce_to(0, &plan, site::LARGE, Part::Contribute)
        .await;
    let (_, stream) = script.first_bytes(0, 100_000).await;
    let state = sites.remove(0).kill().await;
    script.drop_connection(0);
    drop(stream);
    // A killed process holds nothing any more; here its threads end with their connection.
    let free = async {
        while StateDirectory::take(state.path()).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    coordinator::within(free).await;
    let stale = state.path().join("cache/uploads/stale");
    std::fs::write(&stale, b"ciphertext").expect("writes");
    let site = Site::in_directory(&consortium, 0, state, Toys::numbered(0));
    script.rejoin(&consortium, 0).await;
    script.offer(0).await;
    assert!(matches!(
        script.next(0).await,
        ToCoordinator::RunAccepted { .. }
    ));
    assert!(!stale.exists());
    script
        .announce_to(0, &plan, site::LARGE, Part::Contribute)
        .await;
    script
        .expect_refusal(0, StepNumber(1), RefusalCode::AlreadyAnswered)
        .await;
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_in_the_trainer_refuses_one_step_and_the_next_is_answered() {
    let consortium = Consortium::found(3);
    let (_sites, mut script) = three(&consortium).await;
    let plan = script.plan(StepNumber(1), site::PANICS);
    script
        .announce_to(0, &plan, site::PANICS, Part::Contribute)
        .await;
    script
        .expect_refusal(0, StepNumber(1), RefusalCode::TrainerFailed)
        .await;
    let plan = script.plan(StepNumber(2), 4);
    script.announce_to(0, &plan, 4, Part::Contribute).await;
    assert_eq!(script.uploads(&plan, &[0]).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_that_the_site_cannot_serve_is_refused_with_a_code_and_no_figures() {
    let consortium = Consortium::found(3);
    let (_sites, mut script) = three(&consortium).await;
    // Another hash than announced.
    let mut announce = script.signed(&script.plan(StepNumber(1), 1), 1);
    announce.ask.0.push(b' ');
    script.send(0, ToNode::Announce(announce)).await;
    script
        .expect_refusal(0, StepNumber(1), RefusalCode::AskMismatch)
        .await;
    // Not signed by the charter's coordinator.
    let mut announce = script.signed(&script.plan(StepNumber(1), 1), 1);
    announce.deadline_ms += 1;
    script.send(0, ToNode::Announce(announce)).await;
    script
        .expect_refusal(0, StepNumber(1), RefusalCode::BadSignature)
        .await;
    // Objects with other bytes than their hash says.
    script.serve_other_bytes();
    let plan = script.announce(StepNumber(2), 2, Part::Contribute).await;
    script
        .expect_refusal(0, StepNumber(2), RefusalCode::TrainerFailed)
        .await;
    assert_eq!(plan.reference().step, StepNumber(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_the_site_does_not_allow_is_refused_but_the_member_still_serves() {
    let consortium = Consortium::found(3);
    let picky = Site::with_policy(&consortium, 0, |policy| {
        policy.allowed_tasks = vec!["another".to_owned()];
    });
    let mut script = consortium.meet(1).await;
    script.offer(0).await;
    match script.next(0).await {
        ToCoordinator::RunRefused { refusal, .. } => {
            assert_eq!(refusal.code, RefusalCode::PolicyDenied);
        }
        other => panic!("the task is not on the site's list, yet: {other:?}"),
    }
    let plan = script.plan(StepNumber(1), 1);
    script.announce_to(0, &plan, 1, Part::Contribute).await;
    script
        .expect_refusal(0, StepNumber(1), RefusalCode::PolicyDenied)
        .await;
    picky.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_rows_sit_out_a_run_that_began_with_others() {
    let consortium = Consortium::found(3);
    let site = Site::new(&consortium, 0);
    let mut script = consortium.meet(1).await;
    script.offer(0).await;
    assert!(matches!(
        script.next(0).await,
        ToCoordinator::RunAccepted { .. }
    ));
    let state = site.stop().await;
    script.drop_connection(0);
    let changed = Toys {
        data: Digest([9; 32]),
        ..Toys::numbered(0)
    };
    let site = Site::in_directory(&consortium, 0, state, changed);
    script.rejoin(&consortium, 0).await;
    script.offer(0).await;
    match script.next(0).await {
        ToCoordinator::RunRefused { refusal, .. } => assert!(refusal.detail().contains("changed")),
        other => panic!("the rows changed, yet: {other:?}"),
    }
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_charter_that_the_node_did_not_sign_is_not_pinned() {
    let consortium = Consortium::found(3);
    let forged = consortium.forged_charter();
    let site = Site::new(&consortium, 0);
    let mut script = consortium.meet_with(1, forged).await;
    script.offer(0).await;
    match script.next(0).await {
        ToCoordinator::RunRefused { refusal, .. } => {
            assert_eq!(refusal.code, RefusalCode::CharterMissing);
        }
        other => panic!("no charter is pinned, yet: {other:?}"),
    }
    let state = site.stop().await;
    let store = Store::open(&state.path().join("node.db"))
        .await
        .expect("opens");
    assert_eq!(store.pinned_charter().await.expect("reads"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_certificate_ends_the_node_with_a_message() {
    let consortium = Consortium::found(3);
    consortium.revoke(0);
    let site = Site::new(&consortium, 0);
    let error = site.ended().await.expect_err("nothing to wait for");
    assert!(matches!(error, LinkError::Rejected(_)), "{error}");
    assert!(error.to_string().contains("revoked"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_kept_is_not_said() {
    let consortium = Consortium::found(3);
    let (mut sites, mut script) = three(&consortium).await;
    let plan = script.announce(StepNumber(1), 1, Part::Contribute).await;
    let uploads = script.uploads(&plan, &[0, 1, 2]).await;
    let propose = script.deliver_and_propose(&uploads).await;

    let site = sites.remove(0);
    let blocker = site.block_writes().await;
    script.send(0, ToNode::Propose(propose)).await;
    let error = site.ended().await.expect_err("the vote could not be kept");
    assert!(matches!(error, LinkError::Store(_)), "{error}");
    assert!(
        script.hears_nothing_more(0).await,
        "a vote left without being kept"
    );
    drop(blocker);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_malformed_message_ends_the_session_and_is_on_record() {
    let consortium = Consortium::found(3);
    let site = Site::new(&consortium, 0);
    let mut script = consortium.meet(1).await;
    script.send_raw(0, &[0xff; 40]).await;
    assert!(script.hears_nothing_more(0).await);
    // It dials again by itself.
    script.rejoin(&consortium, 0).await;
    let state = site.stop().await;
    let text = ledger_text(state.path());
    assert!(text.contains("\"action\":\"message\""), "{text}");
}

/// The coordinator's ledger in `folder`, of this many entries, offered from `old` entries on.
fn offered(consortium: &Consortium, folder: &Path, entries: &[&str], old: u64) -> ToNode {
    let signing = consortium.signing();
    let own = SigningIdentity::from_bytes(&signing.to_bytes());
    let log = Log::open(folder, LogKey::coordinator(signing.public()), own).expect("opens");
    for object in entries {
        let entry =
            json!({"action": "step", "actor": "coordinator", "object": object, "outcome": "done"});
        log.append(entry).expect("appends");
    }
    let note = log.publish().expect("publishes");
    let size = note.checkpoint().size;
    let mut nodes = log.folder().nodes(size);
    ToNode::Checkpoint(CheckpointOffer {
        old,
        proof: prove_consistency(&mut nodes, old, size).expect("a proof"),
        note: note.to_text().into_bytes().into(),
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_ledger_that_grows_is_cosigned_and_a_rewritten_one_is_refused_on_record() {
    let consortium = Consortium::found(3);
    let site = Site::new(&consortium, 0);
    let mut script = consortium.meet(1).await;
    let folders = tempfile::tempdir().expect("tempdir");
    let (one, other) = (folders.path().join("one"), folders.path().join("other"));

    let mut sizes = Vec::new();
    for old in [0, 2] {
        let offer = offered(&consortium, &one, &["a", "b"], old);
        let ToNode::Checkpoint(CheckpointOffer { note, .. }) = &offer else {
            panic!("an offer")
        };
        let note = SignedCheckpoint::parse(note.as_slice()).expect("a note");
        script.send(0, offer).await;
        match script.next(0).await {
            ToCoordinator::Cosign(CosignReply::Cosigned {
                size,
                time,
                signature,
            }) => {
                sizes.push(size);
                let cosignature = Cosignature { time, signature };
                assert!(cosignature.holds(&consortium.identity(0), note.checkpoint()));
            }
            reply => panic!("expected a cosignature, got {reply:?}"),
        }
    }
    assert_eq!(sizes, [2, 4]);
    // A proof that begins elsewhere shows nothing.
    script.send(0, offered(&consortium, &one, &[], 2)).await;
    let stale = ToCoordinator::Cosign(CosignReply::Stale { size: 4 });
    assert_eq!(script.next(0).await, stale);

    // Another history of the same length, over a restart, twice.
    let state = site.stop().await;
    let site = Site::in_directory(&consortium, 0, state, Toys::numbered(0));
    script.rejoin(&consortium, 0).await;
    let rewritten = offered(&consortium, &other, &["a", "b", "c", "c"], 4);
    for _ in 0..2 {
        script.send(0, rewritten.clone()).await;
        match script.next(0).await {
            ToCoordinator::Cosign(CosignReply::Refused(refusal)) => {
                assert_eq!(refusal.code, RefusalCode::LedgerRewritten);
            }
            reply => panic!("expected a refusal, got {reply:?}"),
        }
    }
    let state = site.stop().await;
    let entries = ledger::entries(&state.path().join("ledger")).expect("reads");
    let of = |outcome: &str| {
        let found = |it: &&serde_json::Value| it["action"] == "witness" && it["outcome"] == outcome;
        entries.iter().filter(found).count()
    };
    assert_eq!((of("done"), of("refused")), (2, 1), "{entries:?}");
}
