//! A whole consortium in one process: the daemon, its operator, and members
//! that joined by invitation over loopback.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use collegium_coordinator::app::{self, AppError};
use collegium_coordinator::client;
use collegium_coordinator::config::{Config, Sources};
use collegium_coordinator::init::{self, InitOptions};
use collegium_crypto::identity::SigningIdentity;
use collegium_crypto::randomness::os_rng;
use collegium_crypto::seal::SealingSecret;
use collegium_protocol::charter::BeaconNonce;
use collegium_protocol::ids::{MemberName, RunId};
use collegium_protocol::ledger::witness::Witness;
use collegium_protocol::limits::{MAX_JOIN_REQUEST_BYTES, MAX_JOIN_RESPONSE_BYTES};
use collegium_protocol::message::admin::WhichCharter;
use collegium_protocol::message::join::{JoinRequest, JoinResponse};
use collegium_protocol::pki::{AuthorityCertificate, InviteCode, TlsIdentity, TlsKey};
use collegium_protocol::quic::{self, AdminClient, Client, StreamKind};
use serde_json::Value;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::node::{Death, Fault, Member, live};

/// No test here waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The daemon under test.
pub struct Daemon {
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), AppError>>,
}

pub struct World {
    directory: tempfile::TempDir,
    pub members: Vec<Arc<Member>>,
    pub settings: BTreeMap<String, String>,
}

pub const TASK: &str = "name = \"toy\"\ntarget = \"ill\"\nkind = \"classification\"\npositive = \"1\"\npreset = \"fast\"\nseed = 3\n\n[constraints]\nallowed_models = [\"logistic\"]\n";

/// A small table that a linear model can learn from, different at every site.
pub fn table(site: u64) -> String {
    let mut state = 88_172_645_463_325_252_u64 ^ (site + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 11) as f64 / (1_u64 << 53) as f64
    };
    let mut csv = "age,dose,sex,ill\n".to_owned();
    for _ in 0..120 + 10 * site {
        let (age, dose, sex) = (20.0 + 60.0 * next(), 5.0 * next(), next() < 0.5);
        let ill = 0.06 * (age - 50.0) + 0.8 * (dose - 2.5) + 2.0 * (next() - 0.5) > 0.0;
        csv.push_str(&format!(
            "{age:.1},{dose:.3},{},{}\n",
            if sex { "f" } else { "m" },
            u8::from(ill)
        ));
    }
    csv
}

impl World {
    /// Founds the consortium; nobody has joined and nothing runs.
    pub fn found() -> Self {
        let directory = tempfile::tempdir().expect("tempdir");
        let options = InitOptions {
            state: directory.path().join("coordinator"),
            name: "test".to_owned(),
            listen: "127.0.0.1:0".parse().expect("an address"),
            address: None,
        };
        init::init(&options).expect("founded");
        Self {
            directory,
            members: Vec::new(),
            settings: BTreeMap::new(),
        }
    }

    /// Founds a consortium of four with a charter in force, and a running daemon.
    pub async fn of_four() -> (Self, Daemon) {
        let mut world = Self::found();
        let daemon = world.start().await;
        for (site, name) in ["a", "b", "c", "d"].into_iter().enumerate() {
            world.join(name, table(site as u64)).await;
        }
        world.sign_charter().await;
        (world, daemon)
    }

    pub fn state(&self) -> PathBuf {
        self.directory.path().join("coordinator")
    }

    pub fn config(&self) -> Config {
        let file = self.state().join("coordinator.toml");
        let sources = Sources {
            file: Some(file),
            environment: BTreeMap::new(),
            flags: self.settings.clone(),
        };
        Config::load(&sources).expect("a configuration")
    }

    /// Starts the daemon and waits until it listens.
    pub async fn start(&self) -> Daemon {
        let (stop, stopped) = oneshot::channel::<()>();
        let shutdown = async move { drop(stopped.await) };
        let mut task = tokio::spawn(app::run(self.config(), shutdown));
        let address = self.state().join("run/address");
        let listens = async {
            while !address.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            ended = &mut task => panic!("the daemon ended: {ended:?}"),
            listens = timeout(PATIENCE, listens) => listens.expect("the daemon listens"),
        }
        Daemon { stop, task }
    }

    pub fn address(&self) -> String {
        std::fs::read_to_string(self.state().join("run/address")).expect("an address")
    }

    pub async fn operator(&self) -> AdminClient {
        client::operator(&self.state()).await.expect("the operator")
    }

    /// A member joins by an invitation's line.
    pub async fn join(&mut self, name: &str, csv: String) {
        let mut rng = os_rng().expect("randomness");
        let (identity, sealing) = (
            SigningIdentity::generate(&mut rng),
            SealingSecret::generate(&mut rng),
        );
        let (identity, sealing) = (Arc::new(identity), Arc::new(sealing));
        let key = TlsKey::generate().expect("a key");
        let name: MemberName = name.parse().expect("a name");
        let response = self.redeem(&name, &identity, &sealing, &key).await;
        let JoinResponse::Joined {
            certificate,
            authority,
            ..
        } = response
        else {
            panic!("{response:?}")
        };
        let authority = AuthorityCertificate::from_pem(&authority).expect("an authority");
        let identity_tls = TlsIdentity::new(&certificate, &key).expect("a certificate");
        let client = Client::new(&identity_tls, &authority).expect("a client");
        let (disk, ended, proved) = (Mutex::default(), Mutex::default(), Mutex::default());
        let memory = self.state().join("witnesses").join(name.to_string());
        let witness = Mutex::new(Witness::open(&memory).expect("remembers nothing"));
        self.members.push(Arc::new(Member {
            name,
            identity,
            sealing,
            client,
            csv,
            disk,
            ended,
            proved,
            witness,
        }));
    }

    /// Somebody tries to join under another name with the keys of the member at `index`, and is told
    /// why that is not possible.
    pub async fn join_with_keys_of(&self, name: &str, index: usize) {
        let Member {
            identity, sealing, ..
        } = self.members[index].as_ref();
        let key = TlsKey::generate().expect("a key");
        let name = name.parse().expect("a name");
        let response = self.redeem(&name, identity, sealing, &key).await;
        let JoinResponse::Refused(refusal) = response else {
            panic!("{response:?}")
        };
        assert!(refusal.detail().contains("the same keys"), "{refusal}");
    }

    async fn redeem(
        &self,
        name: &MemberName,
        identity: &SigningIdentity,
        sealing: &SealingSecret,
        key: &TlsKey,
    ) -> JoinResponse {
        let line = client::invite(&self.state(), name, Some(&self.address()))
            .await
            .expect("an invitation");
        let code: InviteCode = line.parse().expect("a code");
        let nonce = BeaconNonce::generate(&mut os_rng().expect("randomness"));
        let request = JoinRequest::new(
            *code.secret.expose(),
            name.clone(),
            format!("Hospital {name}"),
            identity,
            sealing.public().clone(),
            nonce.commitment(&identity.public()),
            key.signing_request().expect("a request"),
        );
        let connection = quic::join(&code.address, code.authority)
            .await
            .expect("dials");
        let (mut sender, mut receiver) = connection.open(StreamKind::Join).await.expect("a stream");
        sender
            .send(&request, MAX_JOIN_REQUEST_BYTES)
            .await
            .expect("sends");
        receiver
            .expect(MAX_JOIN_RESPONSE_BYTES)
            .await
            .expect("an answer")
    }

    pub async fn sign_charter(&self) {
        self.operator()
            .await
            .propose_charter(Vec::new())
            .await
            .expect("proposed");
        for member in &self.members {
            let client = AdminClient::connect(&member.client, &self.address())
                .await
                .expect("connects");
            let proposed = client
                .fetch_charter(WhichCharter::Proposed)
                .await
                .expect("fetches")
                .expect("a proposal");
            let charter = proposed.charter.charter;
            let signature = charter.sign(&member.identity);
            client
                .submit_charter_signature(charter.digest(), signature, None)
                .await
                .expect("signed");
        }
    }

    pub fn spawn(&self, index: usize, fault: Fault) -> JoinHandle<Death> {
        let (member, address) = (self.members[index].clone(), self.address());
        tokio::spawn(async move { live(member, &address, fault).await.expect("a life") })
    }

    /// Waits until so many members are connected.
    pub async fn connected(&self, wanted: usize) {
        let operator = self.operator().await;
        let all = async {
            while operator
                .members()
                .await
                .expect("a list")
                .iter()
                .filter(|member| member.connected)
                .count()
                < wanted
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, all).await.expect("in time");
    }

    /// Watches a run until an event fits; panics when the run ends before.
    pub async fn watch_until(&self, run: RunId, fits: impl Fn(&Value) -> bool) -> Value {
        let operator = self.operator().await;
        let mut watch = operator.watch(run, 0).await.expect("watches");
        let mut seen = Vec::new();
        let found = async {
            while let Some(line) = watch.next().await.expect("an event") {
                let event: Value = serde_json::from_slice(&line).expect("JSON");
                if fits(&event) {
                    return event;
                }
                assert_ne!(event["event"], "finished", "ended too early: {event}");
                seen.push(event);
            }
            panic!("the events ended");
        };
        let found = timeout(PATIENCE, found).await;
        found.unwrap_or_else(|_| panic!("not in time: {seen:#?}"))
    }

    pub async fn finished(&self, run: RunId) -> Value {
        self.watch_until(run, |event| event["event"] == "finished")
            .await
    }

    pub fn ledger(&self) -> Vec<Value> {
        collegium_coordinator::ledger::entries(&self.state()).expect("a ledger")
    }
}

impl Daemon {
    /// Asks it to stop and waits; within the 10 s that an operator is promised.
    pub async fn stop(self) {
        let _ = self.stop.send(());
        let ended = timeout(Duration::from_secs(10), self.task)
            .await
            .expect("stops in time");
        ended.expect("no panic").expect("no fault");
    }
}

/// The champion that the same search finds with plain addition.
pub fn pooled_champion(members: &[Arc<Member>]) -> Vec<u8> {
    use collegium_automl::federation::Pooled;
    use collegium_automl::search::{self, Silent};
    use collegium_automl::site::{Site, TableSite};
    use collegium_automl::table::{Table, TableMapping};
    use collegium_automl::task::Task;
    let task = Task::from_toml(TASK).expect("a task");
    let site = |member: &Arc<Member>| -> Box<dyn Site> {
        let table = Table::read(
            member.name.as_str(),
            std::io::Cursor::new(member.csv.as_bytes()),
            &TableMapping::default(),
        );
        Box::new(TableSite::new(&task, table.expect("a table")).expect("a site"))
    };
    let mut federation = Pooled::new(members.iter().map(site).collect());
    let outcome = search::run(&task, &mut federation, &mut Silent).expect("a champion");
    outcome.champion.to_bytes().expect("bytes")
}

pub fn champion_file(world: &World, run: RunId) -> Vec<u8> {
    let file: &Path = &world
        .state()
        .join("runs")
        .join(run.to_string())
        .join("champion.json");
    std::fs::read(file).expect("a champion")
}
