//! The coordinator daemon with scripted nodes over real QUIC on loopback:
//! joining, the charter, a run, and what may go wrong in one.

mod node;
mod roles;
mod world;

use collegium_coordinator::app::{self, AppError};
use collegium_protocol::RefusalCode;
use collegium_protocol::quic::AdminError;
use serde_json::Value;

use node::{Death, Fault, Forgery};
use world::{TASK, World, champion_file, pooled_champion};

fn step_of(event: &Value) -> u64 {
    if event["event"] == "step" {
        event["step"].as_u64().unwrap_or(0)
    } else {
        0
    }
}

async fn closed(node: tokio::task::JoinHandle<Death>) -> Option<Vec<u8>> {
    match tokio::time::timeout(world::PATIENCE, node)
        .await
        .expect("in time")
        .expect("no panic")
    {
        Death::Closed(bytes) => bytes,
        other => panic!("the node ended otherwise: {other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_over_quic_ends_with_the_pooled_champion() {
    let (world, daemon) = World::of_four().await;
    let nodes: Vec<_> = (0..4)
        .map(|index| world.spawn(index, Fault::None))
        .collect();
    let operator = world.operator().await;
    let run = operator.submit_task(TASK).await.expect("submitted");

    let step = world.watch_until(run, |event| step_of(event) == 3).await;
    assert_eq!(
        step["contributors"],
        serde_json::json!(["a", "b", "c", "d"]),
        "{step}"
    );
    assert!(
        step["about"].as_u64() >= Some(3) && step["candidates"].as_u64() >= Some(1),
        "{step}"
    );
    assert!(step["bytes_up"]["c"].as_u64() > Some(100_000), "{step}");
    assert!(step["seconds"].as_f64() > Some(0.0), "{step}");

    let finished = world.finished(run).await;
    assert_eq!(finished["status"], "champion", "{finished}");
    println!(
        "{} steps in {} s",
        finished["result"]["steps"], finished["seconds"]
    );
    let champion = pooled_champion(&world.members);
    assert_eq!(champion_file(&world, run), champion, "remote equals pooled");
    for node in nodes {
        assert_eq!(
            closed(node).await.as_ref(),
            Some(&champion),
            "every node can fetch it"
        );
    }
    let result: Value =
        serde_json::from_slice(&operator.result(run).await.expect("a result")).expect("JSON");
    assert_eq!(result, finished["result"]);
    assert!(result["test"]["auc"].as_f64() > Some(0.8), "{result}");
    assert_eq!(result["champion"]["family"], "logistic");

    let ledger = world.ledger();
    let steps: Vec<_> = ledger
        .iter()
        .filter(|entry| entry["action"] == "step")
        .collect();
    assert_eq!(
        steps.len() as u64,
        result["steps"].as_u64().expect("steps"),
        "one entry a step"
    );
    assert_eq!(
        steps[0]["evidence"]["contributors"],
        serde_json::json!(["a", "b", "c", "d"])
    );
    let proved = ledger
        .iter()
        .filter(|entry| entry["action"] == "verify" && entry["outcome"] == "done");
    assert_eq!(
        proved.count(),
        steps.len(),
        "every step's totals are proved"
    );
    for member in &world.members {
        let proved = *member.proved.lock().expect("a count");
        assert_eq!(proved as usize, steps.len(), "{} checked all", member.name);
    }
    for action in [
        "start",
        "invite",
        "join",
        "charter-sign",
        "task-submit",
        "run-offer",
        "champion",
        "run-end",
    ] {
        assert!(
            ledger.iter().any(|entry| entry["action"] == action),
            "no {action} in the ledger"
        );
    }
    daemon.stop().await;
    assert_eq!(world.ledger().last().expect("entries")["action"], "stop");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_stopped_coordinator_goes_on_where_it_was() {
    let (world, daemon) = World::of_four().await;
    let nodes: Vec<_> = (0..4)
        .map(|index| world.spawn(index, Fault::None))
        .collect();
    let run = world
        .operator()
        .await
        .submit_task(TASK)
        .await
        .expect("submitted");
    world.watch_until(run, |event| step_of(event) >= 4).await;
    daemon.stop().await;
    for node in nodes {
        let death = node.await.expect("no panic");
        assert!(matches!(death, Death::Coordinator), "{death:?}");
    }
    let before = world
        .ledger()
        .iter()
        .filter(|entry| entry["action"] == "step")
        .count();

    let daemon = world.start().await;
    let nodes: Vec<_> = (0..4)
        .map(|index| world.spawn(index, Fault::None))
        .collect();
    let finished = world.finished(run).await;
    assert_eq!(finished["status"], "champion", "{finished}");
    assert_eq!(
        champion_file(&world, run),
        pooled_champion(&world.members),
        "the same champion"
    );
    let ledger = world.ledger();
    let steps: std::collections::BTreeSet<_> = ledger
        .iter()
        .filter(|entry| entry["action"] == "step")
        .map(|entry| entry["object"].to_string())
        .collect();
    let entries = ledger
        .iter()
        .filter(|entry| entry["action"] == "step")
        .count();
    assert_eq!(steps.len(), entries, "no step twice");
    assert_eq!(
        entries as u64,
        finished["result"]["steps"].as_u64().expect("steps")
    );
    assert!(
        before >= 4 && before < entries,
        "{before} of {entries} steps were made before the stop"
    );
    for node in nodes {
        closed(node).await.expect("a champion");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_certified_step_is_driven_to_its_end_after_a_restart() {
    let (mut world, daemon) = World::of_four().await;
    daemon.stop().await;
    // Nothing waits in memory: bodies are spooled on disk.
    world.settings.insert("spool.memory".into(), "1KiB".into());
    let daemon = world.start().await;
    // Everybody dies between the certificate and the release of the third step.
    let nodes: Vec<_> = (0..4)
        .map(|index| world.spawn(index, Fault::BeforeRelease(3)))
        .collect();
    let operator = world.operator().await;
    let run = operator.submit_task(TASK).await.expect("submitted");
    for node in nodes {
        let death = node.await.expect("no panic");
        assert!(matches!(death, Death::AsAsked), "{death:?}");
    }
    // The run says that it waits, and for whom.
    world
        .watch_until(run, |event| {
            event["event"] == "waiting" && event["reason"] != "queued"
        })
        .await;
    daemon.stop().await;
    let kept = |name: &str| std::fs::metadata(world.state().join("step").join(name));
    let shares = kept("shares").expect("the shares").len();
    assert!(
        shares > 4 * 4 * 1000,
        "sealed shares of four dealers: {shares}"
    );
    // A new process empties the spool; the step does not need it any more.
    std::fs::write(world.state().join("spool/left"), b"body").expect("writes");

    let daemon = world.start().await;
    assert!(!world.state().join("spool/left").exists());
    let nodes: Vec<_> = (0..4)
        .map(|index| world.spawn(index, Fault::None))
        .collect();
    let finished = world.finished(run).await;
    assert_eq!(finished["status"], "champion", "{finished}");
    assert_eq!(champion_file(&world, run), pooled_champion(&world.members));
    let left = kept("shares").expect("the shares").len();
    assert_eq!(left, 0, "nobody needs them once the run has ended");
    let ledger = world.ledger();
    let third: Vec<_> = ledger
        .iter()
        .filter(|entry| entry["action"] == "step" && entry["evidence"]["sequence"] == 3)
        .collect();
    assert_eq!(third.len(), 1);
    assert_eq!(
        third[0]["object"],
        format!("{run}/3"),
        "the same step, not a new one"
    );
    assert!(
        !ledger.iter().any(|entry| entry["action"] == "step-failed"),
        "nothing was dropped"
    );
    for node in nodes {
        closed(node).await.expect("a champion");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nodes_that_die_and_come_back_do_not_hold_up_the_run() {
    let (world, daemon) = World::of_four().await;
    let steady: Vec<_> = (0..2)
        .map(|index| world.spawn(index, Fault::None))
        .collect();
    let dying = [
        world.spawn(2, Fault::BeforeUpload(3)),
        world.spawn(3, Fault::AfterVote(5)),
    ];
    let run = world
        .operator()
        .await
        .submit_task(TASK)
        .await
        .expect("submitted");
    let mut reborn = Vec::new();
    for (index, node) in dying.into_iter().enumerate() {
        let death = node.await.expect("no panic");
        assert!(matches!(death, Death::AsAsked), "{death:?}");
        reborn.push(world.spawn(2 + index, Fault::None));
    }
    let finished = world.finished(run).await;
    assert_eq!(finished["status"], "champion", "{finished}");
    for node in steady.into_iter().chain(reborn) {
        closed(node).await.expect("a champion");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn too_few_members_are_waited_for() {
    let (mut world, daemon) = World::of_four().await;
    daemon.stop().await;
    world
        .settings
        .insert("run.accept_wait".into(), "50ms".into());
    let daemon = world.start().await;
    let mut nodes: Vec<_> = (0..2)
        .map(|index| world.spawn(index, Fault::None))
        .collect();
    let run = world
        .operator()
        .await
        .submit_task(TASK)
        .await
        .expect("submitted");
    let waits = |event: &Value| {
        let reason = event["reason"].as_str().unwrap_or_default();
        event["event"] == "waiting"
            && reason.contains("2 of 4 members ready, 3 are needed; not connected: c, d")
    };
    world.watch_until(run, waits).await;
    nodes.push(world.spawn(2, Fault::None));
    let finished = world.finished(run).await;
    assert_eq!(
        finished["status"], "champion",
        "three are enough: {finished}"
    );
    let last = world.watch_until(run, |event| step_of(event) > 0).await;
    assert_eq!(
        last["contributors"],
        serde_json::json!(["a", "b", "c"]),
        "{last}"
    );
    for node in nodes {
        closed(node).await.expect("a champion");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_task_that_does_not_fit_names_site_and_column() {
    let (world, daemon) = World::of_four().await;
    let nodes: Vec<_> = (0..4)
        .map(|index| world.spawn(index, Fault::None))
        .collect();
    world.connected(4).await;
    let operator = world.operator().await;
    let run = operator
        .submit_task(&TASK.replace("\"ill\"", "\"sick\""))
        .await
        .expect("submitted");
    let finished = world.finished(run).await;
    let reason = finished["reason"].as_str().expect("a reason");
    assert_eq!(finished["status"], "failed");
    assert!(reason.contains("4 of 4 members refuse the run"), "{reason}");
    for site in ["a", "b", "c", "d"] {
        assert!(
            reason.contains(&format!("{site}: no column `sick`")),
            "{reason}"
        );
    }
    let AdminError::Refused(refusal) = operator.result(run).await.expect_err("no result") else {
        panic!("refused")
    };
    assert!(refusal.detail().contains("sick"), "{refusal}");

    let malformed = operator
        .submit_task("name = \"x\"\ntarge = \"y\"\n")
        .await
        .expect_err("misspelt")
        .to_string();
    assert!(malformed.contains("targe"), "{malformed}");
    for node in nodes {
        node.abort();
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_run_can_be_cancelled_in_the_middle() {
    let (world, daemon) = World::of_four().await;
    let nodes: Vec<_> = (0..4)
        .map(|index| world.spawn(index, Fault::None))
        .collect();
    let operator = world.operator().await;
    let run = operator.submit_task(TASK).await.expect("submitted");
    let second = operator.submit_task(TASK).await.expect("submitted");
    world.watch_until(run, |event| step_of(event) >= 2).await;
    operator.cancel(second).await.expect("a queued one");
    operator.cancel(run).await.expect("the one under way");
    let finished = world.finished(run).await;
    assert_eq!(finished["status"], "cancelled", "{finished}");
    assert!(
        finished["reason"]
            .as_str()
            .expect("a reason")
            .contains("operator"),
        "{finished}"
    );
    assert_eq!(world.finished(second).await["status"], "cancelled");
    assert!(
        matches!(operator.cancel(run).await, Err(AdminError::Refused(refusal)) if refusal.code == RefusalCode::Conflict)
    );
    for node in nodes {
        assert_eq!(closed(node).await, None, "told that nothing more comes");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_wrong_is_said() {
    let mut world = World::found();
    let daemon = world.start().await;
    let operator = world.operator().await;
    let AdminError::Refused(refusal) = operator.submit_task(TASK).await.expect_err("no charter")
    else {
        panic!("refused")
    };
    assert_eq!(refusal.code, RefusalCode::CharterMissing);
    assert!(refusal.detail().contains("charter propose"), "{refusal}");

    // A member that joined after the charter was signed is not in it.
    for (site, name) in ["a", "b", "c"].into_iter().enumerate() {
        world.join(name, world::table(site as u64)).await;
    }
    world.sign_charter().await;
    world.join("late", world::table(9)).await;
    let death = world.spawn(3, Fault::None).await.expect("no panic");
    assert!(
        matches!(&death, Death::Refused(refusal) if refusal.code == RefusalCode::UnknownMember),
        "{death:?}"
    );

    // A second daemon on the same state, and one on the same port.
    let in_use = app::run(world.config(), std::future::pending())
        .await
        .expect_err("in use");
    assert!(matches!(in_use, AppError::InUse(_)), "{in_use}");
    let mut other = World::found();
    other.settings.insert("listen".into(), world.address());
    let port = app::run(other.config(), std::future::pending())
        .await
        .expect_err("port in use")
        .to_string();
    assert!(port.contains(&world.address()), "{port}");
    other.settings.insert(
        "state".into(),
        other.state().join("not-there").display().to_string(),
    );
    let missing = app::run(other.config(), std::future::pending())
        .await
        .expect_err("no state")
        .to_string();
    assert!(
        missing.contains("not-there") && missing.contains("coordinator init"),
        "{missing}"
    );
    daemon.stop().await;
}

/// Runs with a faulty fourth node; gives the contributors of the last step.
async fn run_with(world: &World, fault: Fault) -> (Value, Value, Death) {
    let nodes: Vec<_> = (0..3)
        .map(|index| world.spawn(index, Fault::None))
        .collect();
    let faulty = world.spawn(3, fault);
    world.connected(4).await;
    let run = world
        .operator()
        .await
        .submit_task(TASK)
        .await
        .expect("submitted");
    let finished = world.finished(run).await;
    let steps = finished["result"]["steps"].as_u64().expect("a champion");
    let last = world
        .watch_until(run, |event| step_of(event) == steps)
        .await;
    for node in nodes {
        closed(node).await.expect("a champion");
    }
    let death = tokio::time::timeout(world::PATIENCE, faulty)
        .await
        .expect("in time")
        .expect("no panic");
    (finished, last, death)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn forged_uploads_are_refused_and_the_run_goes_on_without_their_sender() {
    let (world, daemon) = World::of_four().await;
    let forgeries = [Forgery::Coefficient, Forgery::Body, Forgery::Member];
    for (done, forgery) in forgeries.into_iter().enumerate() {
        let (finished, last, death) = run_with(&world, Fault::Forges(forgery)).await;
        assert_eq!(finished["status"], "champion", "{forgery:?}: {finished}");
        assert_eq!(
            last["contributors"],
            serde_json::json!(["a", "b", "c"]),
            "{forgery:?}: {last}"
        );
        assert!(
            matches!(death, Death::Coordinator),
            "{forgery:?}: {death:?}"
        );
        let ledger = world.ledger();
        let refused: Vec<_> = ledger
            .iter()
            .filter(|entry| entry["action"] == "refuse")
            .collect();
        assert_eq!(refused.len(), done + 1, "{forgery:?}: {refused:?}");
        assert_eq!(refused[done]["actor"], "node/d", "{forgery:?}");
    }
    daemon.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_silent_member_is_waited_for_and_then_left_out() {
    let (mut world, daemon) = World::of_four().await;
    daemon.stop().await;
    world
        .settings
        .insert("step.straggler_wait".into(), "150ms".into());
    let daemon = world.start().await;
    let (finished, last, death) = run_with(&world, Fault::Silent).await;
    assert_eq!(
        last["contributors"],
        serde_json::json!(["a", "b", "c"]),
        "{last}"
    );
    let (steps, seconds) = (
        last["step"].as_f64().expect("steps"),
        finished["seconds"].as_f64().expect("seconds"),
    );
    assert!(
        seconds >= 0.15 * steps,
        "{steps} steps in {seconds} s: it was not waited for"
    );
    assert!(matches!(death, Death::Closed(Some(_))), "{death:?}");
    daemon.stop().await;
}

/// The key that was released is not the sum of the keys that the contributors hashed: of a short sum
/// the noise check cannot tell, so its totals never reach the search, which closes with what it
/// learned before.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_short_sum_whose_keys_do_not_add_up_is_not_used_and_ends_the_round() {
    let (world, daemon) = World::of_four().await;
    // Late enough that the race has something to close with.
    let (finished, _, death) = run_with(&world, Fault::OtherKey(7)).await;
    assert_eq!(finished["status"], "champion", "{finished}");
    let early = finished["result"]["early"].as_str().unwrap_or_default();
    assert!(
        early.contains("keys that the contributors hashed"),
        "{finished}"
    );
    assert!(matches!(death, Death::Closed(Some(_))), "{death:?}");
    let ledger = world.ledger();
    let of = |action: &str, outcome: &str| {
        let same = |entry: &&Value| entry["action"] == action && entry["outcome"] == outcome;
        ledger.iter().filter(same).count()
    };
    assert_eq!(
        (of("verify", "failed"), of("step-failed", "failed")),
        (1, 1)
    );
    let others = of("verify", "done");
    assert!(others > 6 && others + 1 == of("step", "done"), "{others}");
    daemon.stop().await;
}
