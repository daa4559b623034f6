//! What this site's own policy and its stewards say, whatever the coordinator asks for.

use std::path::PathBuf;
use std::time::Duration;

use collegium_node::config::{Config, PolicyConfig};
use collegium_node::policy::BUILT_IN;
use collegium_node::requests;
use collegium_node::state::StateDirectory;
use collegium_node::store::Decision;
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::message::step::Part;
use collegium_protocol::{Refusal, RefusalCode, StepNumber};
use tempfile::TempDir;

use super::coordinator::{Consortium, Script, run_id, within};
use super::site::{OBJECT, Site, Toys};

/// The built-in policy with further ones, in a file.
struct Rules {
    file: PathBuf,
    _directory: TempDir,
}

impl Rules {
    fn with(more: &str) -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        let file = directory.path().join("site-policy.cedar");
        std::fs::write(&file, format!("{BUILT_IN}\n{more}")).expect("writes");
        Self {
            file,
            _directory: directory,
        }
    }

    /// Every task waits for a steward.
    fn with_steward() -> Self {
        Self::with(
            "@id(\"ask-a-steward\") forbid (principal, action == Action::\"takePartUnasked\", resource);",
        )
    }

    fn config(&self) -> PolicyConfig {
        PolicyConfig {
            file: Some(self.file.clone()),
            ..PolicyConfig::default()
        }
    }

    fn site(&self, consortium: &Consortium, index: usize) -> Site {
        let state = tempfile::tempdir().expect("tempdir");
        Site::start(
            consortium,
            index,
            state,
            Toys::numbered(index),
            self.config(),
        )
    }
}

fn refused(message: ToCoordinator) -> Refusal {
    match message {
        ToCoordinator::RunRefused { refusal, .. } | ToCoordinator::StepRefused { refusal, .. } => {
            refusal
        }
        other => panic!("expected a refusal, got {other:?}"),
    }
}

fn accepted(message: &ToCoordinator) {
    assert!(
        matches!(message, ToCoordinator::RunAccepted { .. }),
        "{message:?}"
    );
}

fn ledger(state: &TempDir) -> String {
    let entries = collegium_node::ledger::entries(&state.path().join("ledger"));
    let lines: Vec<_> = entries
        .expect("a ledger")
        .iter()
        .map(ToString::to_string)
        .collect();
    lines.join("\n")
}

/// Waits until nothing of a node that ended holds its state directory.
async fn free(state: &TempDir) {
    let free = async {
        while StateDirectory::take(state.path()).is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    within(free).await;
}

async fn meet(consortium: &Consortium) -> Script {
    let mut script = consortium.meet(1).await;
    script.serve_object(OBJECT);
    script.offer(0).await;
    script
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_touches_a_forbidden_column_is_refused_and_on_record() {
    let consortium = Consortium::found(3);
    let rules = Rules::with(
        "@id(\"no-hiv\") forbid (principal, action == Action::\"takePart\", resource) \
         when { resource.columns.contains(\"hiv\") };",
    );
    let site = rules.site(&consortium, 0);
    let mut script = meet(&consortium).await;
    let refusal = refused(script.next(0).await);
    assert_eq!(refusal.code, RefusalCode::PolicyDenied);
    assert_eq!(
        refusal.detail(),
        "this site's policy says no: forbidden by no-hiv"
    );
    // Nothing is answered in it either, and the member still serves.
    let plan = script.plan(StepNumber(1), 1);
    script.announce_to(0, &plan, 1, Part::Contribute).await;
    script
        .expect_refusal(0, StepNumber(1), RefusalCode::PolicyDenied)
        .await;
    let text = ledger(&site.stop().await);
    assert!(text.contains("\"action\":\"run\""), "{text}");
    assert!(text.contains("forbidden by no-hiv"), "{text}");
    assert!(!text.contains("\"numbers\""), "an answer went out:\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ask_over_a_forbidden_column_gets_no_answer() {
    let consortium = Consortium::found(3);
    let rules = Rules::with(
        "@id(\"no-hiv\") forbid (principal, action == Action::\"answer\", resource) \
         when { context.columns.contains(\"hiv\") };",
    );
    let site = rules.site(&consortium, 0);
    let mut script = meet(&consortium).await;
    accepted(&script.next(0).await);
    let plan = script.plan(StepNumber(1), 1);
    script.announce_to(0, &plan, 1, Part::Contribute).await;
    let refusal = refused(script.next(0).await);
    assert_eq!(refusal.code, RefusalCode::PolicyDenied);
    assert!(
        refusal.detail().contains("forbidden by no-hiv"),
        "{refusal}"
    );
    let state = site.stop().await;
    let text = ledger(&state);
    let refusals = text.matches("forbidden by no-hiv").count();
    assert_eq!(refusals, 1, "{text}");
    assert!(!text.contains("\"numbers\""), "an answer went out:\n{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_budget_of_steps_holds_over_a_restart() {
    let consortium = Consortium::found(3);
    let rules = Rules::with(
        "@id(\"two-steps\") forbid (principal, action == Action::\"answer\", resource) \
         when { context.used.run_steps > 2 || context.used.run_bytes > 1000000 };",
    );
    let site = rules.site(&consortium, 0);
    let mut script = meet(&consortium).await;
    accepted(&script.next(0).await);
    for number in [1, 2] {
        let plan = script.plan(StepNumber(number), number as u32);
        script
            .announce_to(0, &plan, number as u32, Part::Contribute)
            .await;
        assert_eq!(script.uploads(&plan, &[0]).await.len(), 1);
    }
    let state = site.stop().await;
    script.drop_connection(0);
    free(&state).await;
    let site = Site::start(&consortium, 0, state, Toys::numbered(0), rules.config());
    script.rejoin(&consortium, 0).await;
    script.offer(0).await;
    accepted(&script.next(0).await);
    let plan = script.plan(StepNumber(3), 3);
    script.announce_to(0, &plan, 3, Part::Contribute).await;
    let refusal = refused(script.next(0).await);
    assert!(refusal.detail().contains("two-steps"), "{refusal}");
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sum_over_too_few_gets_no_vote() {
    let consortium = Consortium::found(3);
    let rules = Rules::with(
        "@id(\"four\") forbid (principal, action == Action::\"open\", resource) \
         when { context.contributors < 4 };",
    );
    let strict = rules.site(&consortium, 0);
    let others: Vec<Site> = (1..3).map(|index| Site::new(&consortium, index)).collect();
    let mut script = consortium.meet(3).await;
    script.serve_object(OBJECT);
    for index in 0..3 {
        script.offer(index).await;
        accepted(&script.next(index).await);
    }
    let plan = script.announce(StepNumber(1), 1, Part::Contribute).await;
    let uploads = script.uploads(&plan, &[0, 1, 2]).await;
    let propose = script.deliver_and_propose(&uploads).await;
    script.send(0, ToNode::Propose(propose.clone())).await;
    let refusal = refused(script.next(0).await);
    assert_eq!(refusal.code, RefusalCode::PolicyDenied);
    assert!(refusal.detail().contains("forbidden by four"), "{refusal}");
    // A site whose policy has nothing against it votes.
    script.send(1, ToNode::Propose(propose)).await;
    assert!(matches!(script.next(1).await, ToCoordinator::Vote(_)));
    strict.stop().await;
    drop(others);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_waits_for_a_steward_over_a_restart_and_no_longer() {
    let consortium = Consortium::found(3);
    let rules = Rules::with_steward();
    let site = rules.site(&consortium, 0);
    let mut script = meet(&consortium).await;
    // It says nothing to the offer, and answers no step.
    let plan = script.plan(StepNumber(1), 1);
    script.announce_to(0, &plan, 1, Part::Contribute).await;
    let refusal = refused(script.next(0).await);
    assert!(refusal.detail().contains("has not approved"), "{refusal}");

    let state = site.kill().await;
    script.drop_connection(0);
    free(&state).await;
    let config = Config {
        state: state.path().to_owned(),
        ..Config::default()
    };
    let site = Site::start(&consortium, 0, state, Toys::numbered(0), rules.config());
    script.rejoin(&consortium, 0).await;
    script.offer(0).await;
    let plan = script.plan(StepNumber(2), 2);
    script.announce_to(0, &plan, 2, Part::Contribute).await;
    let refusal = refused(script.next(0).await);
    assert!(refusal.detail().contains("has not approved"), "{refusal}");

    let listed = requests::list(&config).await.expect("reads");
    assert_eq!(listed.len(), 1);
    let request = &listed[0].request;
    assert_eq!((request.run, request.members), (run_id(), 3));
    assert_eq!(request.columns, ["x", "hiv", "y"]);
    assert_eq!(request.decision, Decision::Pending);
    let id = request.short_id();
    requests::decide(&config, &id, Decision::Approved, "ann", "")
        .await
        .expect("decides");
    accepted(&script.next(0).await);
    let plan = script.plan(StepNumber(3), 3);
    script.announce_to(0, &plan, 3, Part::Contribute).await;
    assert_eq!(script.uploads(&plan, &[0]).await.len(), 1);

    // The steward thinks better of it: the next step gets nothing.
    requests::decide(&config, &id, Decision::Refused, "ann", "consent withdrawn")
        .await
        .expect("decides");
    let plan = script.plan(StepNumber(4), 4);
    script.announce_to(0, &plan, 4, Part::Contribute).await;
    let refusal = refused(script.next(0).await);
    assert_eq!(
        refusal.detail(),
        "a steward of this site does not approve the task: consent withdrawn"
    );
    let text = ledger(&site.stop().await);
    for (part, count) in [
        ("\"action\":\"request\"", 1),
        ("\"action\":\"approval\"", 1),
        ("\"steward\":\"ann\"", 1),
    ] {
        assert_eq!(text.matches(part).count(), count, "{part} in\n{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_task_that_a_steward_refused_is_refused() {
    let consortium = Consortium::found(3);
    let rules = Rules::with_steward();
    let site = rules.site(&consortium, 0);
    let mut script = meet(&consortium).await;
    let plan = script.plan(StepNumber(1), 1);
    script.announce_to(0, &plan, 1, Part::Contribute).await;
    refused(script.next(0).await);
    let config = Config {
        state: site.state().to_owned(),
        ..Config::default()
    };
    let listed = requests::list(&config).await.expect("reads");
    let id = listed[0].request.short_id();
    requests::decide(&config, &id, Decision::Refused, "ann", "")
        .await
        .expect("decides");
    let refusal = refused(script.next(0).await);
    assert_eq!(refusal.code, RefusalCode::PolicyDenied);
    let text = ledger(&site.stop().await);
    assert!(
        text.contains("\"action\":\"approval\"") && text.contains("\"outcome\":\"refused\""),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_that_comes_into_force_ends_what_it_forbids() {
    let consortium = Consortium::found(3);
    let rules = Rules::with("");
    let site = rules.site(&consortium, 0);
    let mut script = meet(&consortium).await;
    accepted(&script.next(0).await);
    let policies = site.policies();
    std::fs::write(&rules.file, "// nobody\n").expect("writes");
    policies.put(policies.read().expect("loads"));
    let refusal = refused(script.next(0).await);
    assert!(
        refusal.detail().contains("no policy permits it"),
        "{refusal}"
    );
    let plan = script.plan(StepNumber(1), 1);
    script.announce_to(0, &plan, 1, Part::Contribute).await;
    script
        .expect_refusal(0, StepNumber(1), RefusalCode::PolicyDenied)
        .await;
    site.stop().await;
}
