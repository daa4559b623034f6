//! Steps, runs and the journal over reopening.

use super::*;
use crate::store::{RunState, TaskRecord};

fn task() -> TaskRecord {
    TaskRecord {
        digest: Digest([7; 32]),
        name: "heart".into(),
        source: "name = \"heart\"".into(),
        submitted_by: "op".into(),
    }
}

async fn store_with_run(directory: &std::path::Path) -> (Store, RunId) {
    let store = Store::open(directory).await.expect("opens");
    let run = RunId::from_bytes([3; 16]);
    store
        .create_run(run, &task(), Digest([1; 32]))
        .await
        .expect("creates");
    store.start_run(run).await.expect("starts");
    (store, run)
}

fn ask(number: u8) -> Digest {
    Digest([number; 32])
}

#[tokio::test]
async fn a_step_goes_forward_only_and_survives_reopening() {
    let directory = tempfile::tempdir().expect("tempdir");
    let (store, run) = store_with_run(directory.path()).await;
    let step = StepNumber(1);
    store
        .open_step(run, step, 1, ask(1), b"announced")
        .await
        .expect("opens");
    let early = store.certify_step(run, step, b"early").await;
    assert!(early.is_err(), "not proposed yet");
    store
        .propose_step(run, step, Some(&[1, 2, 3]), b"proposed")
        .await
        .expect("records");
    assert!(store.certified_step(run).await.expect("reads").is_none());
    let back = store.propose_step(run, step, None, b"another set").await;
    assert!(back.is_err(), "once");
    store
        .certify_step(run, step, b"certified")
        .await
        .expect("records");
    assert!(
        store.certify_step(run, step, b"again").await.is_err(),
        "once"
    );
    assert!(
        store.drop_step(run, step, "late").await.is_err(),
        "a certified step is not dropped"
    );
    store.close().await;

    let store = Store::open(directory.path()).await.expect("opens again");
    assert!(
        store
            .drop_unfinished(run, "restart")
            .await
            .expect("drops")
            .is_empty()
    );
    let certified = store
        .certified_step(run)
        .await
        .expect("reads")
        .expect("certified");
    assert_eq!(
        (certified.step, certified.sequence, certified.ask),
        (step, 1, ask(1))
    );
    assert_eq!(
        (certified.record.as_slice(), certified.summed.as_deref()),
        (&b"certified"[..], Some(&[1, 2, 3][..]))
    );

    let record = JournalRecord {
        ask: ask(1),
        totals: vec![5],
    };
    store
        .record_journal(run, 1, record.clone())
        .await
        .expect("journals");
    assert_eq!(
        store.journal(run, 1).await.expect("reads"),
        Some(record.clone())
    );
    assert_eq!(store.journal(run, 2).await.expect("reads"), None);
    assert!(
        store.certified_step(run).await.expect("reads").is_none(),
        "closed together"
    );
    assert!(
        store.record_journal(run, 1, record).await.is_err(),
        "a step is recorded once"
    );
    assert_eq!(store.journal_len(run).await.expect("counts"), 1);
}

#[tokio::test]
async fn numbers_are_never_used_twice() {
    let directory = tempfile::tempdir().expect("tempdir");
    let (store, run) = store_with_run(directory.path()).await;
    let open = async |store: &Store, number| {
        store
            .open_step(run, StepNumber(number), 1, ask(1), b"")
            .await
    };
    open(&store, 1).await.expect("opens");
    store
        .drop_step(run, StepNumber(1), "too few members")
        .await
        .expect("drops");
    assert!(open(&store, 1).await.is_err(), "used up");
    open(&store, 2).await.expect("opens");
    store.close().await;
    let store = Store::open(directory.path()).await.expect("opens again");
    assert_eq!(
        store.drop_unfinished(run, "restart").await.expect("drops"),
        [StepNumber(2)]
    );
    assert_eq!(store.last_step(run).await.expect("reads"), StepNumber(2));
    assert!(open(&store, 2).await.is_err(), "used up");
    open(&store, 3).await.expect("opens");
}

#[tokio::test]
async fn a_spoiled_step_is_remembered() {
    let directory = tempfile::tempdir().expect("tempdir");
    let (store, run) = store_with_run(directory.path()).await;
    let step = StepNumber(1);
    store
        .open_step(run, step, 1, ask(1), b"announced")
        .await
        .expect("opens");
    assert!(
        store.spoil_step(run, step, "noise").await.is_err(),
        "not certified"
    );
    store
        .propose_step(run, step, None, b"p")
        .await
        .expect("records");
    store.certify_step(run, step, b"c").await.expect("records");
    assert_eq!(store.spoiled(run, 1).await.expect("reads"), None);
    store
        .spoil_step(run, step, "noise above the bound")
        .await
        .expect("spoils");
    assert_eq!(
        store.spoiled(run, 1).await.expect("reads").as_deref(),
        Some("noise above the bound")
    );
    assert_eq!(store.spoiled(run, 2).await.expect("reads"), None);
}

#[tokio::test]
async fn runs_keep_their_first_end_and_members_their_reports() {
    let directory = tempfile::tempdir().expect("tempdir");
    let (store, run) = store_with_run(directory.path()).await;
    let member: collegium_protocol::ids::MemberName = "hospital-a".parse().expect("a name");
    store
        .record_acceptance(run, &member, Digest([2; 32]))
        .await
        .expect("records");
    store
        .add_bytes_up(run, &[(member.clone(), 100)])
        .await
        .expect("adds");
    store
        .add_bytes_up(run, &[(member.clone(), 11)])
        .await
        .expect("adds");
    assert_eq!(
        store.bytes_up(run).await.expect("reads"),
        [(member.clone(), 111)]
    );
    assert!(
        store.unreported(&member).await.expect("lists").is_empty(),
        "not ended"
    );
    store
        .finish_run(
            run,
            RunState::Champion,
            None,
            Some(Digest([6; 32])),
            Some("{}"),
            None,
        )
        .await
        .expect("ends");
    store
        .finish_run(run, RunState::Failed, Some("late"), None, None, None)
        .await
        .expect("ignored");
    let record = store.run(run).await.expect("reads").expect("there");
    assert_eq!(
        (record.state, record.reason, record.champion),
        (RunState::Champion, None, Some(Digest([6; 32])))
    );
    assert_eq!(record.task, task());
    assert_eq!(store.unreported(&member).await.expect("lists").len(), 1);
    store.record_report(run, &member).await.expect("records");
    assert!(store.unreported(&member).await.expect("lists").is_empty());
}

#[tokio::test]
async fn large_totals_lie_in_their_own_file_and_damage_is_named() {
    let directory = tempfile::tempdir().expect("tempdir");
    let (store, run) = store_with_run(directory.path()).await;
    let large = |seed: u8| JournalRecord {
        ask: ask(seed),
        totals: (0..300_000_u32).map(|at| at as u8 ^ seed).collect(),
    };
    for seed in [1, 2] {
        let recorded = store.record_journal(run, u32::from(seed), large(seed));
        recorded.await.expect("journals");
    }
    for seed in [2, 1] {
        let found = store.journal(run, u32::from(seed)).await.expect("reads");
        assert_eq!(found, Some(large(seed)));
    }
    let path = directory.path().join("journal").join(run.to_string());
    // What a crash left behind the last row does no harm.
    let mut bytes = std::fs::read(&path).expect("reads");
    bytes.extend([9; 1000]);
    std::fs::write(&path, &bytes).expect("writes");
    let recorded = store.record_journal(run, 3, large(3));
    recorded.await.expect("journals");
    assert_eq!(store.journal(run, 3).await.expect("reads"), Some(large(3)));
    bytes[300_005] ^= 1;
    std::fs::write(&path, &bytes).expect("writes");
    assert!(store.journal(run, 1).await.is_ok());
    for damaged in [2, 3] {
        let error = store.journal(run, damaged).await.expect_err("is damaged");
        assert!(error.to_string().contains(&run.to_string()), "{error}");
    }
}
