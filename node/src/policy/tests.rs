use std::collections::BTreeSet;

use collegium_automl::ask::Stage;
use collegium_automl::family::Head;
use collegium_automl::object::ObjectId;
use collegium_automl::profile::ProfilePart;
use collegium_automl::trial::{Trial, TrialPart};

use super::*;

const TASK: &str = "name = \"heart\"\ntarget = \"y\"\nmax_steps = 40\n\
                    [constraints]\ninterpretable_only = true\n";

fn facts() -> TaskFacts {
    let task = Task::from_toml(TASK).expect("a task");
    TaskFacts::new(&task, &["age", "hiv_status", "y"].map(str::to_owned))
}

fn written(text: &str) -> (tempfile::TempDir, SitePolicies) {
    let directory = tempfile::tempdir().expect("tempdir");
    let file = directory.path().join("site.cedar");
    std::fs::write(&file, text).expect("writes");
    let policies = SitePolicies::load(Some(&file)).expect("loads");
    (directory, policies)
}

/// The built-in policy with a further one.
fn with(more: &str) -> Arc<InForce> {
    written(&format!("{BUILT_IN}\n{more}")).1.in_force()
}

fn noon(task: &TaskFacts) -> Offer<'_> {
    Offer {
        task,
        members: 4,
        used: Used::default(),
        now: Moment {
            hour: 12,
            weekday: "tuesday",
        },
    }
}

fn ask(bytes: u64) -> AskFacts {
    let ask = Ask {
        sequence: 1,
        stage: Stage::Profile,
        task: Task::from_toml(TASK).expect("a task").digest(),
        parts: vec![Part::Profile(ProfilePart::Schema { attempt: 0 })],
    };
    AskFacts::new(&ask, vec!["age".to_owned(), "y".to_owned()], bytes)
}

/// Who does not answer networks does not train them alone either.
#[test]
fn families_that_a_site_is_to_train_alone_are_kinds_of_the_ask() {
    let trial = |family: &str| Trial {
        family: family.to_owned(),
        pipeline: ObjectId::of(b"pipeline"),
        hyperparameters: json!({}),
    };
    let facts = |families: &[&str]| {
        let part = TrialPart {
            candidates: families.iter().map(|family| trial(family)).collect(),
            head: Head::Binary,
            rows: 740,
            sample: 512,
            steps: 20,
            work: 1 << 30,
        };
        let ask = Ask {
            sequence: 6,
            stage: Stage::LocalSearch,
            task: Task::from_toml(TASK).expect("a task").digest(),
            parts: vec![Part::Trial(part)],
        };
        AskFacts::new(&ask, vec!["age".to_owned(), "y".to_owned()], 100)
    };
    let both = facts(&["net", "logistic", "net"]);
    assert_eq!(both.kinds, ["logistic", "net", "trial"]);
    assert_eq!(both.stage, "local_search");
    let policy = with(
        "@id(\"no-networks\") forbid (principal, action == Action::\"answer\", resource)\n\
         when { context.kinds.contains(\"net\") };",
    );
    let task = self::facts();
    assert!(policy.answer(&noon(&task), &both).is_err());
    assert_eq!(policy.answer(&noon(&task), &facts(&["logistic"])), Ok(()));
}

#[test]
fn the_built_in_policy_permits_what_the_settings_allow() {
    let task = facts();
    let policy = SitePolicies::load(None).expect("loads").in_force();
    assert_eq!(policy.source, "(built in)");
    let offer = noon(&task);
    assert_eq!(policy.take_part(&offer), Ok(()));
    assert!(policy.unasked(&offer));
    assert_eq!(policy.answer(&offer, &ask(100)), Ok(()));
    assert_eq!(policy.open(&task, 3, offer.now), Ok(()));
    assert_eq!(task.families, ["logistic", "scorecard", "ga2m"]);
}

/// Each commented example of the shipped file loads, and does what its comment says.
#[test]
fn the_examples_in_the_shipped_file_do_what_they_say() {
    let text: String = BUILT_IN
        .split("// Examples.")
        .nth(1)
        .expect("examples")
        .lines()
        .skip(1)
        .filter_map(|line| line.strip_prefix("// "))
        .filter(|line| {
            let starts = ["@id", "forbid", "when", "unless", "    ", "}"];
            starts.iter().any(|start| line.starts_with(start))
        })
        .fold(String::new(), |all, line| all + line + "\n");
    let policy = with(&text);
    assert_eq!(policy.len(), 8, "{text}");
    let task = facts();
    let denied = |found: Result<(), String>, name: &str| {
        let reason = found.expect_err(name);
        assert!(
            reason.starts_with("this site's policy says no: forbidden by "),
            "{reason}"
        );
        assert!(reason.contains(name), "{name}: {reason}");
    };
    let offer = noon(&task);
    denied(policy.take_part(&offer), "never-these-columns");
    denied(policy.answer(&offer, &ask(1)), "at-night");
    denied(policy.open(&task, 4, offer.now), "five-contributors");
    assert_eq!(policy.open(&task, 5, offer.now), Ok(()));

    let harmless = TaskFacts {
        columns: vec!["age".to_owned()],
        ..task.clone()
    };
    let mut night = noon(&harmless);
    night.now.hour = 5;
    assert_eq!(policy.take_part(&night), Ok(()));
    assert_eq!(policy.answer(&night, &ask(1)), Ok(()));
    night.used.run_bytes = 2_000_000_001;
    denied(policy.answer(&night, &ask(1)), "budgets");
    let other = TaskFacts {
        name: "marketing".to_owned(),
        ..harmless.clone()
    };
    denied(policy.take_part(&noon(&other)), "these-tasks");
    let mut nets = ask(1);
    nets.kinds = vec!["net"];
    let mut saturday = noon(&harmless);
    saturday.now.weekday = "saturday";
    denied(policy.answer(&saturday, &nets), "no-networks");
}

#[test]
fn every_fact_of_a_question_can_be_used() {
    let policy = with(
        "@id(\"all\") forbid (principal == Coordinator::\"coordinator\", action == Action::\"answer\", \
         resource == Task::\"heart\") when {\n\
         resource.name == \"heart\" && resource.target == \"y\" && resource.preset == \"balanced\" &&\n\
         resource has max_steps && resource.max_steps == 40 && !(resource has rounds) &&\n\
         resource.families.contains(\"ga2m\") && resource.columns.contains(\"age\") &&\n\
         resource.digest != \"\" && context.members == 4 && context.now.hour == 12 &&\n\
         context.now.weekday == \"tuesday\" && context.stage == \"profile\" &&\n\
         context.kinds == [\"profile\"] && context.columns.containsAll([\"age\", \"y\"]) &&\n\
         !context.test && context.numbers > 0 && context.bytes == 77 &&\n\
         context.used.run_steps == 1 && context.used.task_steps == 1 &&\n\
         context.used.run_bytes == 77 && context.used.task_bytes == 77 };",
    );
    let task = facts();
    let mut offer = noon(&task);
    offer.used = Used::default().with(77);
    let reason = policy
        .answer(&offer, &ask(77))
        .expect_err("all of it holds");
    assert_eq!(reason, "this site's policy says no: forbidden by all");
    assert_eq!(policy.answer(&offer, &ask(78)), Ok(()));
}

#[test]
fn what_no_policy_permits_is_denied_and_a_policy_that_fails_denies() {
    let nothing = written("// nothing\n").1.in_force();
    assert!(nothing.is_empty());
    let task = facts();
    let reason = nothing
        .take_part(&noon(&task))
        .expect_err("nothing permits it");
    assert_eq!(reason, "this site's policy says no: no policy permits it");
    assert!(!nothing.unasked(&noon(&task)));

    let failing = with(
        "@id(\"sum\") forbid (principal, action == Action::\"takePart\", resource) \
         when { context.members + 9223372036854775807 == 0 };",
    );
    let reason = failing
        .take_part(&noon(&task))
        .expect_err("it cannot be evaluated");
    assert_eq!(reason, "this site's policy could not be evaluated");
}

#[test]
fn a_bad_file_names_itself_and_leaves_the_one_before_in_force() {
    let (directory, policies) = written(BUILT_IN);
    let before = policies.in_force().digest;
    let file = directory.path().join("site.cedar");
    for (text, part) in [
        ("permit (principal, action", "is not Cedar"),
        (
            "@id(\"a\") permit (principal, action == Action::\"takePrat\", resource);",
            "takePrat",
        ),
        (
            "@id(\"a\") permit (principal, action == Action::\"open\", resource) \
             when { context.columns.contains(\"age\") };",
            "columns",
        ),
        ("permit (principal, action, resource);", "@id"),
    ] {
        std::fs::write(&file, text).expect("writes");
        let error = policies.read().expect_err(text).to_string();
        assert!(
            error.contains("site.cedar") && error.contains(part),
            "{error}"
        );
        assert_eq!(policies.in_force().digest, before);
    }
    std::fs::remove_file(&file).expect("removes");
    let error = policies.read().expect_err("no file").to_string();
    assert!(error.contains("policy.file"), "{error}");

    std::fs::write(&file, "// closed\n").expect("writes");
    let mut changes = policies.changes();
    policies.put(policies.read().expect("loads"));
    assert!(changes.has_changed().expect("the sender is here"));
    assert!(changes.borrow_and_update().is_empty());
    assert_ne!(policies.in_force().digest, before);
}

#[test]
fn a_moment_has_this_computers_hour_and_day() {
    let days: BTreeSet<&str> = (0..7)
        .map(|day| {
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(day * 86_400);
            Moment::of(time).weekday
        })
        .collect();
    assert_eq!(days, WEEKDAYS.into_iter().collect());
    let hours: BTreeSet<u32> = (0..24)
        .map(|hour| {
            let time = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(hour * 3600);
            Moment::of(time).hour
        })
        .collect();
    assert_eq!(hours, (0..24).collect());
}
