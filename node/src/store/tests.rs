use super::*;

const RUN: [u8; 16] = [3; 16];

fn run() -> RunId {
    RunId::from_bytes(RUN)
}

async fn open(directory: &tempfile::TempDir) -> Store {
    Store::open(&directory.path().join("node.db"))
        .await
        .expect("opens")
}

#[tokio::test]
async fn records_survive_reopening_and_replace_what_stood_under_their_key() {
    let directory = tempfile::tempdir().expect("tempdir");
    let store = open(&directory).await;
    let record = |key: &str, body: &[u8]| (key.to_owned(), body.to_vec());
    let first = [record("step/1", b"a"), record("committee/1", b"b")];
    store.put_records(&first).await.expect("stores");
    store
        .put_records(&[record("step/1", b"c")])
        .await
        .expect("replaces");
    store.close().await;

    let store = open(&directory).await;
    let expected = [record("committee/1", b"b"), record("step/1", b"c")];
    assert_eq!(store.records().await.expect("reads"), expected);
    store.close().await;
    let failed = store.put_records(&[record("step/1", b"d")]).await;
    assert!(
        failed.is_err(),
        "a closed store must not pretend to have written"
    );
}

#[tokio::test]
async fn the_file_is_synced_on_every_commit() {
    let directory = tempfile::tempdir().expect("tempdir");
    let store = open(&directory).await;
    let read = async |pragma: &'static str| {
        let row = sqlx::query(pragma)
            .fetch_one(&store.pool)
            .await
            .expect(pragma);
        row.try_get::<String, _>(0)
            .or_else(|_| row.try_get::<i64, _>(0).map(|n| n.to_string()))
    };
    // 2 is FULL.
    assert_eq!(read("PRAGMA synchronous").await.expect("a value"), "2");
    assert_eq!(read("PRAGMA journal_mode").await.expect("a value"), "wal");
}

#[tokio::test]
async fn a_run_goes_on_only_with_the_same_task_and_rows() {
    let directory = tempfile::tempdir().expect("tempdir");
    let store = open(&directory).await;
    let data = Digest([1; 32]);
    let first = store
        .accept_run(run(), b"task", data)
        .await
        .expect("accepts");
    assert!(!first.closed && !first.reported);
    assert_eq!(
        store.accept_run(run(), b"task", data).await.expect("again"),
        first
    );
    for (task, data) in [(&b"other"[..], data), (&b"task"[..], Digest([2; 32]))] {
        let changed = store.accept_run(run(), task, data).await;
        assert!(
            matches!(changed, Err(StoreError::Conflict { .. })),
            "{changed:?}"
        );
    }
    store.close_run(run()).await.expect("closes");
    assert!(
        store
            .run(run())
            .await
            .expect("reads")
            .expect("a row")
            .closed
    );
    store.mark_reported(run()).await.expect("marks");
    assert!(
        store
            .run(run())
            .await
            .expect("reads")
            .expect("a row")
            .reported
    );
}

#[tokio::test]
async fn the_latest_charter_is_the_pinned_one() {
    let directory = tempfile::tempdir().expect("tempdir");
    let store = open(&directory).await;
    assert_eq!(store.pinned_charter().await.expect("reads"), None);
    store
        .pin_charter(Digest([1; 32]), 1, b"one")
        .await
        .expect("pins");
    store
        .pin_charter(Digest([2; 32]), 2, b"two")
        .await
        .expect("pins");
    // Another charter of the same version would be a fork.
    assert!(
        store
            .pin_charter(Digest([3; 32]), 2, b"fork")
            .await
            .is_err()
    );
    assert_eq!(
        store.pinned_charter().await.expect("reads").as_deref(),
        Some(&b"two"[..])
    );
}

#[tokio::test]
async fn a_newer_database_is_refused_with_a_clear_message() {
    let directory = tempfile::tempdir().expect("tempdir");
    let store = open(&directory).await;
    sqlx::raw_sql("PRAGMA user_version = 7")
        .execute(&store.pool)
        .await
        .expect("sets");
    store.close().await;
    let error = Store::open(&directory.path().join("node.db"))
        .await
        .expect_err("newer");
    assert!(error.to_string().contains("has version 7"), "{error}");
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused_with_its_name() {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("node.db");
    std::fs::write(&path, vec![b'x'; 8192]).expect("writes");
    let error = Store::open(&path).await.expect_err("not a database");
    assert!(error.to_string().contains("node.db"), "{error}");
    assert_eq!(std::fs::read(&path).expect("reads").len(), 8192);
}
