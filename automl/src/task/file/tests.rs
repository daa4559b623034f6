//! What task files may say, and what is said about wrong ones.

use crate::calibrate::Rule;
use crate::task::{ColumnType, Direction, Kind, Metric, Preset, Task, TaskError};

const SAMPLE: &str = r#"
name = "heart-disease"
target = "disease"          # column to predict
kind = "classification"     # classification | regression; inferred when left out
positive = "1"              # optional, for two classes
metric = "log_loss"         # auc | log_loss | pr_auc | ks | brier | accuracy | rmse | r2 | mae
preset = "balanced"         # fast | balanced | thorough
# entity = "patient_id"     # rows of one entity stay in one split
# split = "fold"            # a column that says train or test
seed = 1

[constraints]               # all optional
allowed_models = ["logistic", "net"]
privacy_filter = ["id", "phone"]
temporal_check = true
"#;

fn error(text: &str) -> String {
    Task::from_toml(text)
        .expect_err("must be refused")
        .to_string()
}

/// `line` after the two keys every task needs.
fn with(line: &str) -> String {
    format!("name = \"a\"\ntarget = \"y\"\n{line}\n")
}

#[test]
fn the_sample_says_what_it_says() {
    let task = Task::from_toml(SAMPLE).expect("the sample is a task");
    assert_eq!(task.name, "heart-disease");
    assert_eq!(task.target, "disease");
    assert_eq!(task.kind, Some(Kind::Classification));
    assert_eq!(task.positive.as_deref(), Some("1"));
    assert_eq!(task.metric, Some(Metric::LOG_LOSS));
    assert_eq!(task.preset, Preset::Balanced);
    assert_eq!(
        (task.entity.as_deref(), task.split.as_deref()),
        (None, None)
    );
    assert_eq!(task.seed, 1);
    let limits = &task.constraints;
    assert_eq!(
        limits.allowed_models,
        Some(vec!["logistic".to_owned(), "net".to_owned()])
    );
    assert_eq!(limits.privacy_filter, ["id", "phone"]);
    assert!(limits.temporal_check);
}

#[test]
fn two_keys_are_enough() {
    let task = Task::from_toml(&with("")).expect("a task");
    assert_eq!(task.kind, None);
    assert_eq!(task.metric_for(Kind::Classification), Metric::LOG_LOSS);
    assert_eq!(task.metric_for(Kind::Regression), Metric::RMSE);
    assert_eq!(task.seed, 0);
    assert_eq!(task.constraints.allowed_models, None);
}

#[test]
fn complaints_name_the_line_and_the_remedy() {
    let cases = [
        (
            "metrik = \"auc\"",
            "line 3: unknown key `metrik`; did you mean `metric`?",
        ),
        (
            "[constraint]",
            "line 3: unknown key `constraint`; did you mean `constraints`?",
        ),
        (
            "[constraints]\nallowed_model = []",
            "line 4: unknown key `allowed_model` in [constraints]; did you mean `allowed_models`?",
        ),
        (
            "privacy_filter = [\"id\"]",
            "line 3: `privacy_filter` belongs under [constraints]; move it there",
        ),
        (
            "metric = \"acu\"",
            "line 3: `metric` cannot be `acu`; did you mean `auc`? Known: auc, log_loss, pr_auc, ks, brier, accuracy, rmse, r2, mae",
        ),
        (
            "[constraints]\nallowed_models = [\"logistc\"]",
            &format!(
                "line 4: `allowed_models` cannot be `logistc`; did you mean `logistic`? Known: {}",
                crate::family::names().join(", ")
            ),
        ),
        (
            "[constraints]\nmonotone = { age = \"up\" }",
            "line 4: `age` cannot be `up`; did you mean `increasing`? Known: increasing, decreasing",
        ),
        (
            "[constraints]\nmonotone = { y = \"increasing\" }",
            "line 3: `monotone` names the target; name columns that predict it",
        ),
        (
            "[constraints]\nmonotone = [\"age\"]",
            "line 4: `monotone` must be a table, [constraints.monotone], not an array",
        ),
        (
            "seed = \"1\"",
            "line 3: `seed` must be a whole number, not a string",
        ),
        (
            "seed = -1",
            "line 3: `seed` must be a whole number from 0 to 9223372036854775807",
        ),
        (
            "max_steps = 0",
            "line 3: `max_steps` must be a whole number from 1 to 100000",
        ),
        (
            "time_budget = \"soon\"",
            "line 3: `time_budget` must be seconds (600) or a text such as \"90s\", \"15m\", \"2h\" or \"7d\", 30 days at most",
        ),
        (
            "preset = [\"fast\"]",
            "line 3: `preset` must be a text in quotes, not an array",
        ),
        (
            "constraints = 3",
            "line 3: `constraints` must be a table, [constraints], not an integer",
        ),
        (
            "[constraints]\ntemporal_check = \"yes\"",
            "line 4: `temporal_check` must be true or false, not a string",
        ),
        (
            "[constraints]\nprivacy_filter = [\"id\", \"id\"]",
            "line 4: `privacy_filter` names `id` more than once",
        ),
        (
            "kind = \"regression\"\nmetric = \"auc\"",
            "line 4: `auc` cannot rank a regression task; use rmse, r2, mae",
        ),
        (
            "kind = \"regression\"\npositive = \"1\"",
            "line 4: a regression has no classes; remove this line",
        ),
        (
            "positive = \"c\"\nclasses = [\"a\", \"b\"]",
            "line 3: `c` is not one of `classes`; add it there or correct it",
        ),
        (
            "classes = [\"a\"]",
            "line 3: a classification needs at least two classes",
        ),
        (
            "split = \"y\"",
            "line 3: this is the target; name another column",
        ),
        (
            "[columns]\nage = \"numeric\"",
            "line 4: `age` cannot be `numeric`; did you mean `number`? Known: number, category, date, ignore, ordinal, boolean, text, auto",
        ),
        (
            "[columns]\nage = { type = \"number\", values = [\"a\", \"b\"] }",
            "line 4: `age` has `values`, so its type must be \"category\" or \"ordinal\"",
        ),
        ("name = \"b\"", "line 3: not valid TOML: duplicate key"),
        (
            "[privacy]\nepsilon = 1.0",
            "line 3: unknown key `privacy`; did you mean `differential_privacy`?",
        ),
        (
            "[columns]\nage = { type = \"number\", min = 0, max = 120 }",
            "line 3: `age` has `min` and `max`, which only a task with [differential_privacy] uses; \
             remove them, or add that section",
        ),
        (
            "[columns]\nage = { type = \"number\", min = 0 }",
            "line 4: `age`: `min` and `max` go together, ascending, and with type \"number\"",
        ),
    ];
    for (line, expected) in cases {
        assert_eq!(
            error(&with(line)),
            format!("task file, {expected}"),
            "for {line:?}"
        );
    }
}

#[test]
fn reserved_keys_are_refused_and_never_ignored() {
    for line in [
        "[constraints]\nmax_model_size = 10",
        "[constraints]\nmax_latency = 3",
    ] {
        let message = error(&with(line));
        assert!(
            message.contains("is not supported yet"),
            "{line}: {message}"
        );
    }
}

#[test]
fn a_key_in_the_wrong_place_is_told_where_it_belongs() {
    for (line, place) in [
        ("[constraints]\nmax_steps = 9", "at the top of the file"),
        (
            "[constraints]\ntime_budget = \"9 min\"",
            "at the top of the file",
        ),
        ("monotone = { age = \"increasing\" }", "under [constraints]"),
        (
            "[feature_constraints]\ntemporal_check = true",
            "under [constraints]",
        ),
    ] {
        let message = error(&with(line));
        assert!(message.contains(place), "{line}: {message}");
    }
}

#[test]
fn missing_keys_are_named_with_an_example() {
    assert_eq!(
        Task::from_toml("target = \"y\""),
        Err(TaskError::Missing {
            key: "name",
            example: "name = \"heart-disease\""
        })
    );
    assert!(error("name = \"a\"").contains("no `target`; add, for example"));
}

#[test]
fn columns_can_be_declared() {
    let text = with(
        "[columns]\nage = \"number\"\nid = \"ignore\"\ncp = { values = [1, \"b\"] }\nseen = \"date\"",
    );
    let task = Task::from_toml(&text).expect("a task");
    assert_eq!(task.columns["age"].r#type, ColumnType::Number);
    assert_eq!(task.columns["id"].r#type, ColumnType::Ignore);
    assert_eq!(task.columns["seen"].r#type, ColumnType::Date);
    assert_eq!(task.columns["cp"].r#type, ColumnType::Category);
    assert_eq!(task.columns["cp"].values, ["1", "b"]);
}

#[test]
fn models_can_be_limited() {
    let text = with(
        "[constraints]\ninterpretable_only = true\nmonotone = { age = \"increasing\", z = \"decreasing\" }",
    );
    let task = Task::from_toml(&text).expect("a task");
    assert!(task.constraints.interpretable_only);
    assert_eq!(task.constraints.monotone["age"], Direction::Increasing);
    assert_eq!(task.constraints.monotone["z"], Direction::Decreasing);
    assert_eq!(Task::from_bytes(&task.to_bytes()), Ok(task));
}

#[test]
fn budgets_are_seconds_or_texts() {
    for (line, seconds) in [
        ("time_budget = 90", 90),
        ("time_budget = \"15m\"", 900),
        ("time_budget = \"2h\"", 7200),
    ] {
        assert_eq!(
            Task::from_toml(&with(line)).expect("a task").time_budget,
            Some(seconds)
        );
    }
}

#[test]
fn the_digest_ignores_comments_and_order_and_nothing_else() {
    let a = Task::from_toml("name = \"a\"\ntarget = \"y\"\nseed = 3").expect("a task");
    let b = Task::from_toml("# same\nseed = 3\ntarget = \"y\"\nname = \"a\"").expect("a task");
    let c = Task::from_toml("name = \"a\"\ntarget = \"y\"\nseed = 4").expect("a task");
    assert_eq!(a.digest(), b.digest());
    assert_ne!(a.digest(), c.digest());
}

#[test]
fn canonical_bytes_round_trip() {
    let task = Task::from_toml(SAMPLE).expect("a task");
    assert_eq!(Task::from_bytes(&task.to_bytes()), Ok(task.clone()));
    let mut longer = task.to_bytes();
    longer.extend_from_slice(b" {}");
    assert!(Task::from_bytes(&longer).is_err());
}

#[test]
fn the_summary_is_in_plain_words() {
    let text = Task::from_toml(SAMPLE).expect("a task").summary();
    for phrase in [
        "predicts column `disease`",
        "The class of interest is `1`",
        "ranked by log_loss",
        "15 % of the rows are kept for one test",
        "logistic, net",
        "id, phone",
        "written after the prediction",
    ] {
        assert!(text.contains(phrase), "{phrase:?} is not in:\n{text}");
    }
}

#[test]
fn columns_say_what_is_missing_and_what_is_in_order() {
    let task = Task::from_toml(
        "name = \"t\"\ntarget = \"y\"\n[constraints]\nmissing_columns = \"missing\"\n\
         [columns]\nchol = { missing = [0, \"unknown\"] }\n\
         grade = { type = \"ordinal\", values = [\"low\", \"high\"] }\nnote = \"text\"",
    )
    .expect("a task");
    assert!(task.constraints.absent_is_missing());
    assert_eq!(task.columns["chol"].r#type, ColumnType::Auto);
    assert_eq!(task.missing_values()["chol"], ["0", "unknown"]);
    assert_eq!(task.columns["grade"].r#type, ColumnType::Ordinal);
    assert_eq!(task.columns["note"].r#type, ColumnType::Text);
    let summary = task.summary();
    assert!(
        summary.contains("In column `chol` these mean missing: 0, unknown."),
        "{summary}"
    );
    assert_eq!(Task::from_bytes(&task.to_bytes()), Ok(task));
    // What a task does not say is not in its bytes, so that older tasks keep their hash.
    let plain = Task::from_toml("name = \"t\"\ntarget = \"y\"\n[columns]\nx = \"number\"");
    let bytes = plain.expect("a task").to_bytes();
    let text = String::from_utf8(bytes).expect("JSON");
    assert!(!text.contains("missing"), "{text}");
}

#[test]
fn rounds_are_a_number_a_time_or_both() {
    for (lines, rounds, every, words) in [
        (
            "rounds = 3",
            Some(3),
            None,
            "done 3 times, one round after the other",
        ),
        (
            "every = \"24h\"",
            None,
            Some(86_400),
            "again every 1 day, until somebody cancels",
        ),
        (
            "every = \"7d\"\nrounds = 4",
            Some(4),
            Some(604_800),
            "again every 7 days, 4 rounds in all",
        ),
        ("every = 90", None, Some(90), "again every 90 seconds"),
    ] {
        let task = Task::from_toml(&with(lines)).expect("a task");
        assert_eq!((task.rounds, task.every), (rounds, every), "{lines}");
        assert!(task.summary().contains(words), "{}", task.summary());
        assert_eq!(Task::from_bytes(&task.to_bytes()), Ok(task));
    }
    let goes_on = |lines: &str, next: u32| {
        Task::from_toml(&with(lines))
            .expect("a task")
            .goes_on_to(next)
    };
    assert!(!goes_on("", 2));
    assert!(!goes_on("rounds = 1", 2));
    assert!(goes_on("rounds = 2", 2) && !goes_on("rounds = 2", 3));
    assert!(goes_on("every = 60", 1000) && !goes_on("every = 60\nrounds = 2", 3));
    assert!(
        !Task::from_toml(&with(""))
            .expect("a task")
            .summary()
            .contains("round")
    );
    // One round and no word about rounds are told apart by the file alone.
    let bytes = Task::from_toml(&with("")).expect("a task").to_bytes();
    assert!(!String::from_utf8(bytes).expect("JSON").contains("every"));
}

#[test]
fn slips_in_rounds_are_explained() {
    for (line, expected) in [
        (
            "rounds = 0",
            "`rounds` must be a whole number from 1 to 1000",
        ),
        (
            "rounds = \"3\"",
            "`rounds` must be a whole number, not a string",
        ),
        (
            "every = \"1 fortnight\"",
            "a text such as \"90s\", \"15m\", \"2h\" or \"7d\", 365 days at most",
        ),
        ("every = \"400d\"", "365 days at most"),
        (
            "every = \"5s\"",
            "`every` must be at least 60 seconds; for rounds one right after",
        ),
        ("round = 2", "unknown key `round`; did you mean `rounds`?"),
    ] {
        let message = error(&with(line));
        assert!(
            message.starts_with("task file, line 3: ") && message.contains(expected),
            "{line}: {message}"
        );
    }
}

#[test]
fn a_decision_is_a_rule_or_two_costs_for_two_classes() {
    let rule = |text: &str| Task::from_toml(&with(text)).expect("a task").decision;
    assert_eq!(rule(""), None);
    assert_eq!(rule("[decision]\nrule = \"f1\""), Some(Rule::F1));
    let costs = "[decision]\nfalse_positive_cost = 1\nfalse_negative_cost = 20";
    let wanted = Rule::Cost {
        false_positive: 1,
        false_negative: 20,
    };
    assert_eq!(rule(costs), Some(wanted));
    let task = Task::from_toml(&with(costs)).expect("a task");
    let again = Task::from_bytes(&task.to_bytes()).expect("its own bytes");
    assert_eq!(again, task);
    assert!(
        task.summary().contains("20 for a positive called negative"),
        "{}",
        task.summary()
    );

    let text = error(&with("[decision]\nrule = \"f2\""));
    assert!(text.contains("did you mean `f1`"), "{text}");
    for half in [
        "",
        "false_positive_cost = 1",
        "rule = \"f1\"\nfalse_negative_cost = 2\nfalse_positive_cost = 1",
    ] {
        let text = error(&with(&format!("[decision]\n{half}")));
        assert!(text.contains("needs either `rule`"), "{text}");
    }
    let text = error(&with(
        "[decision]\nfalse_positive_cost = 0\nfalse_negative_cost = 2",
    ));
    assert!(
        text.contains("line 4") && text.contains("from 1 to 1000000"),
        "{text}"
    );
    let text = error(&with("kind = \"regression\"\n[decision]\nrule = \"f1\""));
    assert!(text.contains("two classes"), "{text}");
}

const PRIVATE: &str = "kind = \"classification\"\nclasses = [\"0\", \"1\"]\n\
    [differential_privacy]\nepsilon = 1\ndelta = 1e-5\n\
    [columns]\nage = { type = \"number\", min = 0, max = 120 }\n";

#[test]
fn differential_privacy_is_read_and_said() {
    let task = Task::from_toml(&with(PRIVATE)).expect("a task");
    let privacy = task.differential_privacy.expect("a section");
    assert_eq!((privacy.epsilon, privacy.delta), (1.0, 1e-5));
    let range = task.columns["age"].range.expect("bounds");
    assert_eq!((range.min, range.max), (0.0, 120.0));
    assert!(
        task.summary()
            .contains("epsilon 1, delta 0.00001 for one row")
    );
    let read = Task::from_bytes(&task.to_bytes()).expect("canonical");
    assert_eq!((read.digest(), &read), (task.digest(), &task));
    assert_eq!(task.unprotected().differential_privacy, None);
}

#[test]
fn what_differential_privacy_cannot_keep_is_refused() {
    let cases = [
        ("delta = 1e-5\n", "", "has no `delta`; add, for example"),
        (
            "epsilon = 1\n",
            "epsilon = 0\n",
            "`epsilon` must be a number from 0.01 to 100",
        ),
        (
            "epsilon = 1\n",
            "epsilon = \"one\"\n",
            "`epsilon` must be a number, not a string",
        ),
        ("epsilon", "epsilom", "did you mean `epsilon`?"),
        (", \"1\"]", ", \"1\", \"2\"]", "one of two declared classes"),
        (
            "kind = \"classification\"\n",
            "",
            "one of two declared classes",
        ),
        (
            ", min = 0, max = 120",
            "",
            "`age` needs bounds that are public knowledge",
        ),
        (
            "{ type = \"number\", min = 0, max = 120 }",
            "\"text\"",
            "`age` must be a \"number\"",
        ),
        (
            "age = { type = \"number\", min = 0, max = 120 }\n",
            "",
            "must be declared",
        ),
        ("kind", "rounds = 2\nkind", "a task has one round"),
        ("kind", "max_steps = 9\nkind", "the plan is fixed"),
        (
            "[columns]",
            "[decision]\nrule = \"f1\"\n[columns]",
            "no threshold is chosen",
        ),
        (
            "[columns]",
            "[constraints]\nallowed_models = [\"net\"]\n[columns]",
            "only the family `logistic`",
        ),
        (
            "[columns]",
            "[constraints]\nmonotone = { age = \"increasing\" }\n[columns]",
            "no column can be `monotone`",
        ),
        (
            "[columns]",
            "[constraints]\nmissing_columns = \"missing\"\n[columns]",
            "every site must have every declared column",
        ),
    ];
    for (from, to, expected) in cases {
        let changed = PRIVATE.replacen(from, to, 1);
        assert_ne!(changed, PRIVATE, "{from}");
        let message = error(&with(&changed));
        assert!(message.contains(expected), "{to}: {message}");
    }
}
