//! Which round follows a run, when, and with what memory.

use collegium_protocol::Digest;

use super::*;
use crate::store::{Store, TaskRecord};

fn task(more: &str) -> TaskRecord {
    TaskRecord {
        digest: Digest([4; 32]),
        name: "heart".to_owned(),
        source: format!("name = \"heart\"\ntarget = \"ill\"\n{more}"),
        submitted_by: "operator".to_owned(),
    }
}

fn record(more: &str, round: u32) -> RunRecord {
    RunRecord {
        run: RunId::from_bytes([7; 16]),
        task: task(more),
        charter: Digest([5; 32]),
        state: RunState::Running,
        reason: None,
        created_at: 1_000,
        finished_at: None,
        elapsed_ms: 0,
        champion: None,
        result: None,
        round,
        previous: None,
        not_before: None,
    }
}

#[test]
fn the_task_says_whether_a_round_follows() {
    assert_eq!(next(&record("", 1)), None);
    assert_eq!(next(&record("rounds = 2", 2)), None);
    let first = next(&record("rounds = 2", 1)).expect("a second round");
    assert_eq!((first.round, first.not_before), (2, None));
    assert_eq!(first.previous, RunId::from_bytes([7; 16]));
    // After a crash it is the same one.
    assert_eq!(next(&record("rounds = 2", 1)), Some(first));
    assert!(next(&record("every = \"24h\"", 900)).is_some());
}

#[test]
fn a_round_that_failed_comes_again_at_the_next_hour() {
    let mut run = record("every = \"24h\"\nrounds = 3", 3);
    assert_eq!(again(&run), None, "a first run has nothing to go on from");
    let before = RunId::from_bytes([6; 16]);
    run.previous = Some(before);
    let next = again(&run).expect("the same round");
    assert_eq!((next.round, next.previous), (3, before));
    assert!(
        next.not_before
            .is_some_and(|moment| moment >= now_seconds())
    );
    run.task = task("rounds = 3");
    assert_eq!(again(&run), None, "at once it would fail again");
}

#[test]
fn rounds_keep_their_hour_and_missed_ones_are_not_made_up_for() {
    let mut run = record("", 1);
    let day = 86_400;
    let due = |run: &RunRecord, now| super::due(run, Some(86_400), now);
    assert_eq!(due(&run, 1_500), Some(1_000 + day));
    run.not_before = Some(1_000 + day);
    assert_eq!(due(&run, 1_000 + day + 3_600), Some(1_000 + 2 * day));
    // It took a week, or the daemon was down: one round at the next hour that is theirs.
    assert_eq!(due(&run, 9 * day), Some(1_000 + 9 * day));
    assert_eq!(due(&run, 1_000 + 9 * day), Some(1_000 + 9 * day));
    assert_eq!(super::due(&run, None, 5), None);
}

#[test]
fn waiting_is_said_in_words() {
    assert_eq!(waits_for(2, None), "queued");
    assert_eq!(waits_for(2, Some(1)), "queued");
    let soon = waits_for(3, Some(now_seconds() + 7_200 + 60));
    assert_eq!(soon, "round 3 begins in 2 hours");
}

async fn ended(store: &Store, id: u8, next: Option<&NextRound>) -> RunId {
    let run = RunId::from_bytes([id; 16]);
    let task = task("rounds = 2");
    store
        .create_run(run, &task, Digest([5; 32]))
        .await
        .expect("stored");
    store.start_run(run).await.expect("starts");
    store
        .finish_run(run, RunState::Champion, None, None, None, next)
        .await
        .expect("ends");
    run
}

#[tokio::test]
async fn the_end_of_a_run_queues_exactly_one_round() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("opens");
    let next = next(&record("rounds = 2", 1)).expect("a round");
    let run = ended(&store, 7, Some(&next)).await;
    // The daemon was killed before it could say so, and ends the run again.
    store
        .finish_run(run, RunState::Champion, None, None, None, Some(&next))
        .await
        .expect("ignored");
    let runs = store.runs().await.expect("reads");
    assert_eq!(runs.len(), 2);
    assert_eq!(
        (runs[1].round, runs[1].previous, runs[1].state),
        (2, Some(run), RunState::Queued)
    );
    assert_eq!(runs[1].task, runs[0].task);
    // While it waits nobody can queue another, under whatever id.
    let other = NextRound {
        run: RunId::from_bytes([9; 16]),
        ..next
    };
    assert!(!store.queue_round(&other).await.expect("asked"));
    let waiting = store.next_round(run).await.expect("reads");
    assert_eq!(waiting.map(|record| record.run), Some(next.run));
    // Once it is cancelled somebody can.
    store
        .finish_run(
            next.run,
            RunState::Cancelled,
            Some("enough"),
            None,
            None,
            None,
        )
        .await
        .expect("ends");
    assert!(store.queue_round(&other).await.expect("asked"));
    assert_eq!(store.runs().await.expect("reads").len(), 3);
}

#[tokio::test]
async fn a_run_that_ended_otherwise_is_followed_by_none() {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(directory.path()).await.expect("opens");
    let run = ended(&store, 7, None).await;
    assert_eq!(store.next_round(run).await.expect("reads"), None);
    assert_eq!(store.runs().await.expect("reads").len(), 1);
}

#[test]
fn a_run_that_began_with_a_memory_does_not_go_on_without_it() {
    let began = json!({ "memory": "ab", "round": 2 });
    let reason = match goes_on(2, &began, Some(Err("it is gone".to_owned()))) {
        Err(Stop::Failed(reason)) => reason,
        other => panic!("it went on: {other:?}"),
    };
    assert!(
        reason.contains("it is gone") && reason.contains("task rerun"),
        "{reason}"
    );
    // One that began from scratch stays there, even where the file has come back.
    let began = json!({ "memory": null, "round": 2 });
    let round = goes_on(2, &began, Some(Err("unread".to_owned()))).expect("goes on");
    assert_eq!((round.number, round.memory), (2, None));
}

#[test]
fn a_damaged_memory_is_named() {
    let directory = tempfile::tempdir().expect("a directory");
    let task = Task::from_toml(&task("").source).expect("a task");
    let missing = read(directory.path(), &task).expect_err("nothing is there");
    assert!(missing.contains("memory.json"), "{missing}");
    std::fs::write(directory.path().join(MEMORY), b"{\"half").expect("written");
    std::fs::write(directory.path().join("champion.json"), b"{}").expect("written");
    let damaged = read(directory.path(), &task).expect_err("half of it");
    assert!(damaged.contains("no memory of a round"), "{damaged}");
}
