//! The daemon's configuration: built-in defaults < file < environment < flags.
//!
//! Every value has a unit and a default; [`SAMPLE_PATH`] documents each for the
//! operator and is loaded by a test, so that it cannot drift from this file.

mod sources;
mod units;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use collegium_protocol::step::BlamePolicy;
use serde::Deserialize;

pub use sources::{ConfigError, Sources};
pub use units::{Bytes, Span};

/// The documented sample, relative to the repository's root.
pub const SAMPLE_PATH: &str = "configs/coordinator.toml";

/// Environment variables that start with this are configuration:
/// `COLLEGIUM_COORDINATOR_STEP__STRAGGLER_WAIT=10s` sets `step.straggler_wait`.
pub const ENVIRONMENT_PREFIX: &str = "COLLEGIUM_COORDINATOR_";

/// Names the configuration file itself, which the command line reads; no key.
const FILE_VARIABLE: &str = "COLLEGIUM_COORDINATOR_CONFIG";

/// Everything the coordinator daemon can be told.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The directory that holds everything the coordinator must not lose.
    /// Default: `$XDG_STATE_HOME/collegium/coordinator`, else
    /// `~/.local/state/collegium/coordinator`.
    pub state: PathBuf,
    /// The UDP address to listen on. Port 0 lets the system choose; the bound
    /// address is written to `STATE/run/address`. Default: `0.0.0.0:7443`.
    pub listen: SocketAddr,
    /// What is logged, and how.
    pub log: Log,
    /// Timing of nodes' sessions.
    pub session: Session,
    /// Timing of one secure sum.
    pub step: Step,
    /// Timing of a run.
    pub run: Run,
    /// Where uploads wait until they are summed.
    pub spool: Spool,
    /// The proofs of steps' totals.
    pub evidence: Evidence,
    /// How the daemon ends.
    pub shutdown: Shutdown,
    /// Who may do what.
    pub policy: Policy,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// A `tracing` filter. Default: `info`.
    pub level: String,
    /// For people or for machines. Default: `human`.
    pub format: LogFormat,
}

/// The shape of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// One readable line.
    Human,
    /// One JSON object.
    Json,
}

/// Timing of nodes' sessions.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// How long a connected node may take to answer when another process with
    /// the same member's keys wants to enter. If it answers, the other one is
    /// refused; if not, it is dead and the other one takes its place: so a node
    /// that was killed gets back in after this long. Several round trips.
    /// Default: `2s`.
    pub probe_wait: Span,
}

/// Timing of one secure sum.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// How long a step waits for every connected member's upload before it
    /// goes on without the late ones. Default: `30s`. Short waits cost
    /// privacy: a sum with and a sum without a site differ by that site.
    pub straggler_wait: Span,
    /// A step that has too few uploads after this long is dropped and asked
    /// again under a new number. Training on a large site takes minutes.
    /// Default: `10min`.
    pub upload_wait: Span,
    /// A proposed step that has too few votes after this long is dropped and
    /// asked again under a new number. Default: `1min`.
    pub vote_wait: Span,
    /// A certified step for which no further seat has released for this long
    /// is given up, and the round closes with the best it has: a member that
    /// votes and then withholds its release must not hold up a run for ever.
    /// Its ask is never put again. Default: `1h`.
    pub release_wait: Span,
    /// What follows when signed complaints prove a member faulty: `record`
    /// writes it down, `exclude` lets the run's following steps go on without
    /// that member's contribution as long as enough others contribute. A seat
    /// on the committee is never taken away. Default: `record`.
    pub blame: BlamePolicy,
}

/// Timing of a run.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Run {
    /// How long a new run waits for every member to accept it once enough
    /// members to start have accepted. Default: `10s`.
    pub accept_wait: Span,
}

/// Where uploads wait until they are summed.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spool {
    /// Bytes of uploads kept in memory, all members together; what exceeds
    /// this goes to `STATE/spool/`. Default: `256MiB`.
    pub memory: Bytes,
}

/// The proofs of steps' totals.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// Bytes of proofs kept in `STATE/evidence/`; the oldest go first, the
    /// last eight never. A proof takes 8 bytes for each ring coefficient, 2.7
    /// for a value of 16 bits at four members. Default: `16GiB`.
    pub keep: Bytes,
}

/// How the daemon ends.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shutdown {
    /// How long connections get to drain after SIGTERM. Default: `5s`; the
    /// process always ends within 10 s.
    pub grace: Span,
}

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// The access policy, a Cedar file; read again on SIGHUP. Default: empty,
    /// which is the policy that is built in (`configs/policy.cedar`).
    pub file: PathBuf,
}

impl Policy {
    /// The file, if one is named.
    #[must_use]
    pub fn file(&self) -> Option<&Path> {
        Some(self.file.as_path()).filter(|file| !file.as_os_str().is_empty())
    }
}

/// Every key with its built-in default. `state` depends on the environment and
/// is put in by [`Config::load`].
const DEFAULTS: [(&str, &str); 15] = [
    ("listen", "0.0.0.0:7443"),
    ("log.level", "info"),
    ("log.format", "human"),
    ("session.probe_wait", "2s"),
    ("step.straggler_wait", "30s"),
    ("step.upload_wait", "10min"),
    ("step.vote_wait", "1min"),
    ("step.release_wait", "1h"),
    ("step.blame", "record"),
    ("run.accept_wait", "10s"),
    ("spool.memory", "256MiB"),
    ("evidence.keep", "16GiB"),
    ("shutdown.grace", "5s"),
    ("policy.file", ""),
    ("state", ""),
];

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn sources(flags: &[(&str, &str)]) -> Sources {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        Sources {
            environment: [("HOME".to_owned(), "/home/op".to_owned())].into(),
            flags: flags.iter().map(own).collect(),
            file: None,
        }
    }

    #[test]
    fn defaults_stand_alone() {
        let config = Config::load(&sources(&[])).expect("defaults");
        assert_eq!(
            config.state,
            Path::new("/home/op/.local/state/collegium/coordinator")
        );
        assert_eq!(config.listen.port(), 7443);
        assert_eq!(config.step.straggler_wait, Span(Duration::from_secs(30)));
        assert_eq!(config.step.upload_wait, Span(Duration::from_secs(600)));
        assert_eq!(config.spool.memory, Bytes(256 << 20));
        assert_eq!(config.log.format, LogFormat::Human);
        assert_eq!(config.step.blame, BlamePolicy::Record);
        let strict = Config::load(&sources(&[("step.blame", "exclude")])).expect("loads");
        assert_eq!(strict.step.blame, BlamePolicy::Exclude);
    }

    #[test]
    fn the_sample_names_every_key_and_gives_the_defaults() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("..")
            .join(SAMPLE_PATH);
        let mut with_file = sources(&[]);
        with_file.file = Some(path.clone());
        let mut loaded = Config::load(&with_file).expect("the sample loads");
        let defaults = Config::load(&sources(&[])).expect("defaults");
        assert_eq!(loaded.state, Path::new("/var/lib/collegium/coordinator"));
        loaded.state.clone_from(&defaults.state);
        assert_eq!(loaded, defaults);
        let text = std::fs::read_to_string(path).expect("the sample");
        for (key, _) in DEFAULTS {
            let last = key.rsplit('.').next().expect("a key");
            assert!(
                text.contains(&format!("{last} = ")),
                "the sample does not show `{key}`"
            );
        }
    }

    #[test]
    fn later_sources_win() {
        let directory = tempfile::tempdir().expect("tempdir");
        let file = directory.path().join("c.toml");
        std::fs::write(&file, "state = \"/a\"\n[step]\nstraggler_wait = \"1s\"\nupload_wait = \"1min\"\nvote_wait = \"3s\"\n")
            .expect("write");
        let mut all = sources(&[("step.straggler_wait", "3s")]);
        all.file = Some(file);
        all.environment.insert(
            "COLLEGIUM_COORDINATOR_STEP__STRAGGLER_WAIT".into(),
            "2s".into(),
        );
        all.environment.insert(
            "COLLEGIUM_COORDINATOR_STEP__UPLOAD_WAIT".into(),
            "2min".into(),
        );
        for other in ["COLLEGIUM_NODE_ANYTHING", FILE_VARIABLE] {
            all.environment.insert(other.into(), "ignored".into());
        }
        let config = Config::load(&all).expect("loads");
        assert_eq!(config.state, Path::new("/a"));
        assert_eq!(config.step.straggler_wait, Span(Duration::from_secs(3)));
        assert_eq!(config.step.upload_wait, Span(Duration::from_secs(120)));
        assert_eq!(config.step.vote_wait, Span(Duration::from_secs(3)));
    }

    #[test]
    fn unknown_keys_name_the_nearest_one_and_where_they_stand() {
        let flag = Config::load(&sources(&[("step.stragler_wait", "3s")])).expect_err("misspelt");
        assert!(
            flag.to_string()
                .contains("did you mean `step.straggler_wait`?"),
            "{flag}"
        );
        assert!(flag.to_string().contains("command line"), "{flag}");

        let mut environment = sources(&[]);
        environment
            .environment
            .insert("COLLEGIUM_COORDINATOR_LISTN".into(), "x".into());
        let error = Config::load(&environment)
            .expect_err("misspelt")
            .to_string();
        assert!(
            error.contains("`listn` in the environment; did you mean `listen`?"),
            "{error}"
        );

        let directory = tempfile::tempdir().expect("tempdir");
        let file = directory.path().join("c.toml");
        std::fs::write(&file, "[spool]\nmemry = \"1MiB\"\n").expect("write");
        let mut with_file = sources(&[]);
        with_file.file = Some(file);
        let error = Config::load(&with_file).expect_err("misspelt").to_string();
        assert!(
            error.contains("did you mean `spool.memory`?") && error.contains("c.toml"),
            "{error}"
        );
    }

    #[test]
    fn wrong_values_name_the_key() {
        for (key, value) in [
            ("step.vote_wait", "soon"),
            ("listen", "nowhere"),
            ("log.format", "xml"),
            ("spool.memory", "12parsecs"),
            ("step.blame", "forgive"),
        ] {
            let error = Config::load(&sources(&[(key, value)]))
                .expect_err(key)
                .to_string();
            assert!(
                error.contains(value) || error.contains(key),
                "{key}: {error}"
            );
        }
    }

    #[test]
    fn without_home_a_state_directory_must_be_named() {
        let bare = Sources::default();
        assert!(matches!(Config::load(&bare), Err(ConfigError::NoState)));
    }
}
