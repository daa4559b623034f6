use super::*;

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 24 * 3600)
}

#[test]
fn certificates_are_judged_by_their_dates() {
    let from = SystemTime::UNIX_EPOCH + days(1000);
    let to = from + days(90);
    assert_eq!(
        validity(from, to, from + days(1)),
        Ok("valid for 89 more days".to_owned())
    );
    for (at, word) in [
        (from - days(1), "not valid yet"),
        (to - days(3), "ends in 3 days"),
        (to + days(1), "expired"),
    ] {
        let problem = validity(from, to, at).expect_err(word);
        assert!(problem.contains(word), "{problem}");
    }
}

#[tokio::test]
async fn an_empty_state_directory_names_every_problem() {
    let directory = tempfile::tempdir().expect("tempdir");
    let config = Config {
        state: directory.path().to_owned(),
        ..Config::default()
    };
    let report = check(&config).await;
    assert!(!report.is_ok());
    let line = |name| {
        report
            .lines
            .iter()
            .find(|line| line.name == name)
            .expect(name)
    };
    assert!(line("state").ok);
    assert!(line("disk").ok, "{report}");
    assert!(!line("keys").ok);
    assert!(line("keys").detail.contains("join"), "{report}");
    assert!(!line("data").ok);
    assert!(line("data").detail.contains("data.path"), "{report}");
    // Checking made nothing that a later join would stumble over.
    assert!(!directory.path().join("node.db").exists());
    assert!(!directory.path().join("ledger").exists());
}

/// A site with a table, and what its configuration says to the columns.
fn site(table: &str, rules: &str) -> (tempfile::TempDir, Config) {
    let directory = tempfile::tempdir().expect("tempdir");
    let path = directory.path().join("rows.csv");
    std::fs::write(&path, table).expect("writes");
    let mut config = Config {
        state: directory.path().to_owned(),
        privacy: toml::from_str(rules).expect("rules"),
        ..Config::default()
    };
    config.data.path = Some(path);
    (directory, config)
}

fn privacy_lines(config: &Config) -> String {
    let mut report = CheckReport { lines: Vec::new() };
    let loaded = load(config).expect("the rules fit");
    report.add("data", described(&loaded.table));
    report.add_privacy(&config.privacy, &loaded);
    report.to_string()
}

const PATIENTS: &str = "name,mrn,age,ward,phone,admitted,y\n\
        Ann Lee,p1,41,3,555-0100,2024-03-05,1\n\
        Bob Ray,p2,44,3,yes,soon,0\n\
        Cy Dee,p3,52,4,555-01001,2024-03-09,1\n";

#[test]
fn what_is_done_to_columns_is_shown_line_by_line() {
    let rules = "quasi_identifiers = [\"age\", \"ward\"]\nsmall_group = 2\n\
                     [columns.mrn]\naction = \"hash\"\n\
                     [columns.age]\naction = \"generalize\"\nband = 10\n\
                     [columns.admitted]\naction = \"generalize\"\ndates = \"month\"\n\
                     [columns.phone]\naction = \"allow\"\n";
    let (_keep, mut config) = site(PATIENTS, rules);
    let text = privacy_lines(&config);
    let golden = "\
ok      data          3 rows, columns mrn, age, ward, phone, admitted, y
ok      desensitized  `admitted`: dates cut to their month; 1 cell that this does not fit is missing now
ok      desensitized  `age`: numbers put in bands of 10
ok      desensitized  `mrn`: replaced by a hash with the site's key
ok      identifiers   left out: `name` looks like names of people by its name; to use it, give it a rule \
under [privacy.columns]: hash, generalize or allow
ok      identifiers   allowed by your rule: `phone` looks like telephone numbers by its name
ok      anonymity     k = 1: the 3 rows make 2 groups with the same age, ward; 1 rows are in groups of \
fewer than 2
";
    assert_eq!(text, golden, "the text is:\n{text}");
    assert!(!config.state.join("keys").exists(), "looking makes no key");

    config.privacy.minimum_k = 2;
    let text = privacy_lines(&config);
    let refused = "failed  anonymity     k = 1: the 3 rows make 2 groups with the same age, ward; 1 rows \
                       are in groups of fewer than 2; k = 1 is below `privacy.minimum_k` = 2: \
                       generalize age, ward, or lower the minimum\n";
    assert!(text.ends_with(refused), "{text}");
}

#[test]
fn rules_that_do_not_fit_fail_the_check_and_say_why() {
    for (rules, part) in [
        (
            "[columns.admited]\naction = \"drop\"\n",
            "privacy.columns names `admited`, which",
        ),
        (
            "[columns.name]\naction = \"generalize\"\nband = 5\n",
            "privacy.columns.name: none of its 3 cells is a number",
        ),
        (
            "quasi_identifiers = [\"name\"]\n",
            "privacy.quasi_identifiers names `name`, which is left out",
        ),
    ] {
        let (_keep, config) = site(PATIENTS, rules);
        let problem = load(&config).expect_err(rules);
        assert!(problem.contains(part), "{problem}");
    }
}

#[test]
fn a_policy_that_does_not_load_fails_the_check() {
    let (keep, mut config) = site(PATIENTS, "");
    let built_in = site_policy(&config).expect("it loads");
    assert_eq!(built_in, "(built in) loads: 2 policies");
    let file = keep.path().join("site-policy.cedar");
    std::fs::write(&file, "// nothing\n").expect("writes");
    config.policy.file = Some(file.clone());
    let empty = site_policy(&config).expect("it loads");
    assert!(
        empty.ends_with("0 policies, so this site takes part in nothing"),
        "{empty}"
    );
    std::fs::write(&file, "permit").expect("writes");
    let problem = site_policy(&config).expect_err("it is not Cedar");
    assert!(
        problem.contains("site-policy.cedar cannot be used"),
        "{problem}"
    );
}

#[test]
fn a_policy_that_holds_back_all_rows_is_a_failure() {
    let limits = |min_rows| SitePolicy {
        min_rows,
        min_cell: 5,
    };
    let shown = policy(limits(10), 10).expect("ten rows are enough");
    assert_eq!(shown, "min_rows = 10, min_cell = 5");
    let problem = policy(limits(11), 10).expect_err("too few rows");
    assert!(problem.contains("policy.min_rows"), "{problem}");
    // Without a table, that is what has to be mended.
    assert!(policy(limits(11), 0).is_ok());
}

#[test]
fn too_little_space_is_a_failure() {
    let directory = tempfile::tempdir().expect("tempdir");
    let problem = disk(directory.path(), Bytes(u64::MAX)).expect_err("nobody has that much");
    assert!(problem.contains("limits.free_disk"), "{problem}");
}
