use collegium_automl::privacy::Treatment;

use super::*;

fn sample() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../configs/node.toml")
}

fn sources(pairs: &[(&str, &str)]) -> Sources {
    let pair = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    Sources {
        environment: pairs.iter().map(pair).collect(),
        ..Sources::default()
    }
}

fn write(text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().expect("a temporary directory");
    let file = directory.path().join("site.toml");
    std::fs::write(&file, text).expect("write the file");
    (directory, file)
}

#[test]
fn the_documented_sample_loads_and_gives_the_defaults_it_states() {
    let config = Config::load(&Sources {
        file: Some(sample()),
        ..Sources::default()
    })
    .expect("configs/node.toml is a valid configuration");
    assert_eq!(config.privacy, PrivacyRules::default());
    assert_eq!(config.policy, PolicyConfig::default());
    assert_eq!(config.budget, BudgetConfig::default());
    assert_eq!(config.link, LinkConfig::default());
    assert_eq!(config.limits, LimitsConfig::default());
    assert_eq!(config.training, TrainingConfig::default());
    assert_eq!(config.log, LogConfig::default());
    assert!(
        config
            .data
            .path
            .expect("a path")
            .ends_with("configs/table.csv")
    );
    let map = config.data.map.expect("the sample's [data.map]");
    assert_eq!(map.columns["disease"].from.as_deref(), Some("num"));
    assert_eq!(map.columns["sex"].values["M"], "1");
}

#[test]
fn the_sample_mentions_every_key() {
    let text = std::fs::read_to_string(sample()).expect("the sample");
    for pattern in sources::KEYS {
        let key = pattern
            .split('.')
            .rfind(|part| *part != "*")
            .expect("a name");
        let set = |line: &str| {
            line.trim_start_matches(['#', ' '])
                .starts_with(&format!("{key} = "))
        };
        assert!(
            text.lines().any(set),
            "configs/node.toml does not show `{pattern}`"
        );
    }
}

#[test]
fn later_sources_win() {
    let (_keep, file) = write("[link]\nreconnect_max = \"1s\"\n[log]\nlevel = \"warn\"\n");
    let mut sources = sources(&[
        ("COLLEGIUM_NODE_LINK__RECONNECT_MAX", "2s"),
        ("COLLEGIUM_NODE_LOG__LEVEL", "debug"),
        ("COLLEGIUM_NODE_POLICY__ALLOWED_TASKS", "heart,lung"),
        ("COLLEGIUM_NODE_CONFIG", "is the command line's"),
        ("COLLEGIUM_COORDINATOR_STATE", "is another daemon's"),
        ("HOME", "/home/op"),
    ]);
    sources.file = Some(file);
    sources.flags.log_level = Some("trace".to_owned());
    sources.flags.data = Some("a.csv".into());
    let config = Config::load(&sources).expect("all sources fit");
    assert_eq!(config.link.reconnect_max, Span::millis(2000));
    assert_eq!(config.link.reconnect_min, Span::millis(250));
    assert_eq!(config.log.level, "trace");
    assert_eq!(config.policy.allowed_tasks, ["heart", "lung"]);
    assert_eq!(config.data.path.as_deref(), Some(Path::new("a.csv")));
    assert_eq!(
        config.state,
        Path::new("/home/op/.local/state/collegium/node")
    );
}

#[test]
fn the_file_of_the_state_directory_is_read_by_default() {
    let directory = tempfile::tempdir().expect("a temporary directory");
    std::fs::write(
        Config::default_file(directory.path()),
        "[data]\npath = \"rows.csv\"\nmapping = \"/abs/map.toml\"\n",
    )
    .expect("write the file");
    let mut sources = Sources::default();
    sources.flags.state = Some(directory.path().to_owned());
    let config = Config::load(&sources).expect("loads");
    assert_eq!(config.data.path, Some(directory.path().join("rows.csv")));
    assert_eq!(config.data.mapping, Some(PathBuf::from("/abs/map.toml")));
    assert_eq!(config.state, directory.path());
}

#[test]
fn unknown_keys_name_the_nearest_known_one() {
    for (text, key, nearest) in [
        (
            "[policy]\nminimum_contributor = 3",
            "policy.minimum_contributor",
            "policy.minimum_contributors",
        ),
        ("[lnk]\nreconnect_min = \"3s\"", "lnk", "`link`"),
        ("cordinator = \"a:1\"", "cordinator", "coordinator"),
        (
            "[data.map.colums.sex]\nfrom = \"x\"",
            "data.map.colums",
            "data.map.columns",
        ),
        ("[data]\npaths = \"x\"", "data.paths", "data.path"),
    ] {
        let (_keep, file) = write(text);
        let error = Config::load(&Sources {
            file: Some(file.clone()),
            ..Sources::default()
        })
        .expect_err(text);
        let message = error.to_string();
        assert!(message.contains(&format!("`{key}`")), "{message}");
        assert!(message.contains(nearest), "{message}");
        assert!(message.contains("site.toml"), "{message}");
    }
    let error = Config::load(&sources(&[("COLLEGIUM_NODE_LOG__LEVL", "info")]))
        .expect_err("a misspelt variable");
    assert_eq!(
        error.to_string(),
        "unknown key `COLLEGIUM_NODE_LOG__LEVL` in the environment; \
         did you mean `COLLEGIUM_NODE_LOG__LEVEL`?"
    );
}

#[test]
fn column_names_may_hold_anything() {
    let (_keep, file) = write(
        "[data.map.columns.\"Resting BP (mm.Hg)\"]\nfrom = \"bp.x\"\n\
         values = { \"1.0\" = \"1\", \"Ä\" = \"2\" }\nmissing = [\"0\", \"-9\"]\n",
    );
    let config = Config::load(&Sources {
        file: Some(file),
        ..Sources::default()
    })
    .expect("loads");
    let map = config.data.map.expect("a mapping");
    let column = &map.columns["Resting BP (mm.Hg)"];
    assert_eq!(column.from.as_deref(), Some("bp.x"));
    assert_eq!(column.values["1.0"], "1");
    assert_eq!(column.values["Ä"], "2");
}

#[test]
fn rules_for_columns_are_read_whole() {
    let (_keep, file) = write(
        "[privacy]\nquasi_identifiers = [\"age\", \"Post.code\"]\nminimum_k = 5\n\
         [privacy.columns.age]\naction = \"generalize\"\nband = 10\n\
         [privacy.columns.\"Post.code\"]\naction = \"generalize\"\nprefix = 3\n\
         [privacy.columns.born]\naction = \"generalize\"\ndates = \"month\"\n\
         [privacy.columns.paid]\naction = \"clip\"\nrange = [0, 1e5]\n\
         [privacy.columns.who]\naction = \"hash\"\n[policy]\nfile = \"site.cedar\"\n",
    );
    let config = Config::load(&Sources {
        file: Some(file.clone()),
        ..Sources::default()
    })
    .expect("loads");
    let directory = file.parent().expect("a directory");
    assert_eq!(config.policy.file, Some(directory.join("site.cedar")));
    let rules = config.privacy;
    assert_eq!(rules.quasi_identifiers, ["age", "Post.code"]);
    assert_eq!((rules.minimum_k, rules.small_group), (5, 5));
    let made: Vec<Treatment> = rules
        .columns
        .iter()
        .map(|(column, rule)| rule.treatment(column).expect("a rule"))
        .collect();
    assert_eq!(
        made,
        [
            Treatment::Prefix(3),
            Treatment::Band(10.0),
            Treatment::Month,
            Treatment::Clip(0.0, 1e5),
            Treatment::Hash,
        ]
    );
}

#[test]
fn values_out_of_range_or_of_another_type_are_refused() {
    for (text, part) in [
        ("[policy]\nminimum_contributors = 2", "from 3 to 64"),
        ("[policy]\nmax_cohort_changes = 0", "from 1 to 8"),
        ("[policy]\nmin_rows = 1000001", "policy.min_rows"),
        ("[policy]\nmin_cell = 1000001", "from 0 to 1000000"),
        ("[policy]\nmin_cell = -1", "policy.min_cell"),
        ("[policy]\nmin_rows = \"few\"", "policy.min_rows"),
        ("[link]\nreconnect_max = \"1ms\"", "link.reconnect_max"),
        ("[link]\nreconnect_min = \"1ms\"", "link.reconnect_min"),
        ("[limits]\nopen_runs = 0", "limits.open_runs"),
        ("[privacy]\nsmall_group = 1000001", "privacy.small_group"),
        ("[privacy]\nminimum_k = -1", "privacy.minimum_k"),
        (
            "[privacy.columns.age]\naction = \"generalize\"",
            "privacy.columns.age: `generalize` needs one of",
        ),
        ("[privacy.columns.age]\naction = \"erase\"", "action"),
        ("[privacy.columns.age]\nband = 10", "action"),
        ("coordinator = \"no-port\"", "host:port"),
        ("[log]\nformat = \"xml\"", "log.format"),
        ("[training]\ndevice = \"gpu\"", "training.device"),
        (
            "[link]\nreconnect_min = \"soon\"",
            "`soon` is not a length of time",
        ),
        ("[link\n", "line 1"),
    ] {
        let (_keep, file) = write(text);
        let error = Config::load(&Sources {
            file: Some(file),
            ..Sources::default()
        })
        .expect_err(text);
        assert!(error.to_string().contains(part), "{text}: {error}");
    }
    let missing = Config::load(&Sources {
        file: Some(PathBuf::from("/nonexistent/node.toml")),
        ..Sources::default()
    });
    assert!(matches!(missing, Err(ConfigError::Read { .. })));
}
