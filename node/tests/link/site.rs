//! A node under test: the real link, store, ledger and trainer, with toy rows.

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use std::collections::BTreeSet;

use collegium_automl::ask::{Answer, Ask};
use collegium_automl::data::Withheld;
use collegium_automl::object::ObjectId;
use collegium_automl::site::{Site as Answering, SiteError};
use collegium_automl::task::Task;
use collegium_node::config::{Config, PolicyConfig, Span};
use collegium_node::ledger::Ledger;
use collegium_node::link::{Link, LinkError};
use collegium_node::policy::SitePolicies;
use collegium_node::spool::UploadSpool;
use collegium_node::state::StateDirectory;
use collegium_node::store::Store;
use collegium_node::trainer::{OpenSite, Trainer, TrainerError, Workshop};
use collegium_protocol::Digest;
use sqlx::ConnectOptions;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::coordinator::{Consortium, run_id, within};

/// The object that every toy needs before it answers.
pub const OBJECT: &[u8] = b"what the ask names";
/// The sequence number of the ask on which toys panic.
pub const PANICS: u32 = 13;

/// The sequence number of an ask for so many numbers that an upload does not fit the transport's
/// windows.
pub const LARGE: u32 = 77;

/// Toy rows: the answer is [number + 1, sequence, 7].
#[derive(Clone)]
pub struct Toys {
    pub number: u64,
    pub data: Digest,
}

impl Toys {
    pub fn numbered(number: usize) -> Self {
        let number = number as u64;
        Self {
            number,
            data: Digest([number as u8 + 1; 32]),
        }
    }
}

/// The columns of toy rows.
pub fn columns() -> Vec<String> {
    ["x", "hiv", "y"].map(str::to_owned).to_vec()
}

struct Toy {
    number: u64,
    held: Vec<ObjectId>,
}

impl Workshop for Toys {
    fn open(&mut self, _task: &Task) -> Result<OpenSite, TrainerError> {
        let toy = Toy {
            number: self.number,
            held: Vec::new(),
        };
        Ok(OpenSite {
            site: Box::new(toy),
            data: self.data,
            rows: 1,
            columns: columns(),
        })
    }

    fn report(&mut self, _task: &Task, champion: &[u8]) -> Result<serde_json::Value, TrainerError> {
        Ok(serde_json::json!({"champion_bytes": champion.len()}))
    }
}

impl Answering for Toy {
    fn missing(&self, _ask: &Ask) -> Vec<ObjectId> {
        let wanted = ObjectId::of(OBJECT);
        if self.held.contains(&wanted) {
            Vec::new()
        } else {
            vec![wanted]
        }
    }

    fn insert(&mut self, bytes: &[u8]) -> Result<ObjectId, SiteError> {
        let id = ObjectId::of(bytes);
        self.held.push(id);
        Ok(id)
    }

    fn answer(&mut self, ask: &Ask) -> Result<Answer, SiteError> {
        assert!(ask.sequence != PANICS, "an ask on which toys panic");
        // Asked anew for every step, so that fetching is tested anew.
        self.held.clear();
        if ask.sequence == LARGE {
            let codes = (0..ask.numbers() as u64).map(|index| (index + self.number) % 2);
            return Ok(Answer {
                codes: codes.collect(),
            });
        }
        Ok(Answer {
            codes: vec![self.number + 1, ask.sequence.into(), 7],
        })
    }

    fn columns(&self, _ask: &Ask) -> Result<BTreeSet<String>, SiteError> {
        Ok(columns().into_iter().collect())
    }

    /// The third toy says that it held something back.
    fn withheld(&self, _ask: &Ask) -> BTreeSet<Withheld> {
        let held = (self.number == 2).then_some([Withheld::Training, Withheld::Fold]);
        held.into_iter().flatten().collect()
    }
}

/// A running node.
pub struct Site {
    state: TempDir,
    name: String,
    data: Digest,
    policies: Arc<OnceLock<SitePolicies>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), LinkError>>,
}

impl Site {
    pub fn new(consortium: &Consortium, index: usize) -> Self {
        let state = tempfile::tempdir().expect("tempdir");
        Self::in_directory(consortium, index, state, Toys::numbered(index))
    }

    pub fn in_directory(consortium: &Consortium, index: usize, state: TempDir, toys: Toys) -> Self {
        Self::start(consortium, index, state, toys, PolicyConfig::default())
    }

    pub fn with_policy(
        consortium: &Consortium,
        index: usize,
        change: impl FnOnce(&mut PolicyConfig),
    ) -> Self {
        let mut policy = PolicyConfig::default();
        change(&mut policy);
        let state = tempfile::tempdir().expect("tempdir");
        Self::start(consortium, index, state, Toys::numbered(index), policy)
    }

    pub fn start(
        consortium: &Consortium,
        index: usize,
        state: TempDir,
        toys: Toys,
        policy: PolicyConfig,
    ) -> Self {
        let mut config = Config {
            state: state.path().to_owned(),
            policy,
            ..Config::default()
        };
        config.link.reconnect_min = Span::millis(10);
        config.link.reconnect_max = Span::millis(50);
        let keys = consortium.keys(index);
        let name = keys.member.to_string();
        let data = toys.data;
        let policies = Arc::new(OnceLock::new());
        let shown = Arc::clone(&policies);
        let (stop, stopping) = watch::channel(false);
        let task = tokio::spawn(async move {
            let directory = StateDirectory::take(&config.state).expect("the state directory");
            let store = Store::open(&config.database()).await.expect("the store");
            let ledger = Ledger::open(&config.ledger(), &keys.identity).expect("the ledger");
            let trainer = Trainer::start(toys, 2).expect("a thread");
            let spool = UploadSpool::open(&config.state).expect("the spool");
            let link = Link::new(
                config,
                keys,
                store.clone(),
                ledger,
                spool,
                trainer,
                directory,
            )
            .expect("the site's policy");
            let _ = shown.set(link.policies().clone());
            let ended = link.run(stopping).await;
            store.close().await;
            ended
        });
        Self {
            state,
            name,
            data,
            policies,
            stop,
            task,
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// The policy of the running node, once it has connected.
    pub fn policies(&self) -> &SitePolicies {
        self.policies.get().expect("it runs")
    }

    pub fn state(&self) -> &Path {
        self.state.path()
    }

    /// Hash of the toy rows.
    pub fn data(&self) -> Digest {
        self.data
    }

    /// Files of the bodies that are kept.
    pub fn kept_bodies(&self) -> usize {
        kept_bodies(self.state.path())
    }

    pub fn database(&self) -> PathBuf {
        self.state.path().join("node.db")
    }

    pub fn report(&self) -> PathBuf {
        self.state
            .path()
            .join("runs")
            .join(run_id().to_string())
            .join("local.json")
    }

    /// Takes the database's write lock, as a full or failing disk would; it is freed on drop.
    pub async fn block_writes(&self) -> SqliteConnection {
        let options = SqliteConnectOptions::new().filename(self.database());
        let mut connection = options.connect().await.expect("a second handle");
        sqlx::raw_sql("BEGIN IMMEDIATE")
            .execute(&mut connection)
            .await
            .expect("locks");
        connection
    }

    /// Stops in order; the state directory stays.
    pub async fn stop(self) -> TempDir {
        self.stop.send(true).expect("it runs");
        within(self.task)
            .await
            .expect("no panic")
            .expect("no error");
        self.state
    }

    /// Ends at once, without a word to anybody and with everything in memory lost.
    pub async fn kill(self) -> TempDir {
        self.task.abort();
        let _ = within(self.task).await;
        self.state
    }

    /// Waits until it ends by itself.
    pub async fn ended(self) -> Result<(), LinkError> {
        within(self.task).await.expect("no panic")
    }
}

/// Files of the bodies that are kept in a state directory.
pub fn kept_bodies(state: &Path) -> usize {
    let directory = state.join("cache/uploads");
    std::fs::read_dir(directory).expect("lists").count()
}
