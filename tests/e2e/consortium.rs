//! A consortium in a directory of its own: four hospitals, unless a test brings other sites.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub(crate) const HOSPITALS: [&str; 4] = ["cleveland", "hungarian", "switzerland", "va"];

/// A wait that takes longer than this has failed. It is no expectation of speed: the slowest
/// machine seen needs a tenth of it.
const PATIENCE: Duration = Duration::from_secs(240);

/// The binary under test with `args`, in a clean environment.
pub(crate) fn collegium(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_collegium"));
    command
        .args(args)
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1");
    command
}

/// Runs the binary to its end.
pub(crate) fn run(args: &[&str]) -> Output {
    collegium(args)
        .stdin(Stdio::null())
        .output()
        .expect("the binary starts")
}

/// Runs the binary with `--json`, expects success, and returns the object it printed.
pub(crate) fn json(args: &[&str]) -> Value {
    let output = collegium(args)
        .arg("--json")
        .stdin(Stdio::null())
        .output()
        .expect("it starts");
    assert!(
        output.status.success(),
        "collegium {} failed: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| {
        panic!(
            "no JSON ({error}): {}",
            String::from_utf8_lossy(&output.stdout)
        )
    })
}

/// A file of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// `path` as an argument.
pub(crate) fn arg(path: &Path) -> &str {
    path.to_str().expect("test directories have UTF-8 names")
}

/// Everything under a directory.
pub(crate) fn files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(&directory).expect("a directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                directories.push(path);
            } else if path.is_file() {
                files.push(path);
            }
        }
    }
    files
}

/// Copies everything under a directory.
pub(crate) fn copy(from: &Path, to: &Path) {
    for file in files(from) {
        let target = to.join(file.strip_prefix(from).expect("inside"));
        std::fs::create_dir_all(target.parent().expect("a directory")).expect("a directory");
        std::fs::copy(&file, &target).expect("copied");
    }
}

/// Waits until `done` says so, looking every 20 ms.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < PATIENCE, "gave up waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A site and its files.
#[derive(Clone)]
pub(crate) struct Site {
    pub(crate) name: &'static str,
    pub(crate) table: PathBuf,
    /// Its column map, where it needs one.
    pub(crate) columns: Option<PathBuf>,
}

impl Site {
    /// A site of this name with a hospital's table and column map.
    pub(crate) fn with_table_of(hospital: &str, name: &'static str) -> Self {
        let examples = repository("examples/hospitals");
        Self {
            name,
            table: examples.join(format!("data/{hospital}.csv")),
            columns: Some(examples.join(format!("sites/{hospital}.toml"))),
        }
    }
}

fn hospitals() -> Vec<Site> {
    HOSPITALS
        .map(|name| Site::with_table_of(name, name))
        .to_vec()
}

/// The arguments with which a site joins.
pub(crate) fn join<'a>(code: &'a str, state: &'a Path, site: &'a Site) -> Vec<&'a str> {
    let mut args = vec!["node", "join", code, "--state", arg(state)];
    args.extend(["--data", arg(&site.table)]);
    if let Some(columns) = &site.columns {
        args.extend(["--columns", arg(columns)]);
    }
    args
}

/// A consortium: directories, and the processes that are up.
pub(crate) struct Consortium {
    dir: TempDir,
    sites: Vec<Site>,
    /// Where the coordinator listens.
    address: String,
    /// Settings of the daemons, beside their defaults.
    settings: Vec<(&'static str, String)>,
    coordinator: Option<Child>,
    nodes: BTreeMap<&'static str, Child>,
}

impl Consortium {
    /// Makes the hospitals' consortium: coordinator running, members joined, charter signed by
    /// all.
    pub(crate) fn found() -> Self {
        Self::found_by(hospitals())
    }

    /// A running coordinator, and nobody else.
    pub(crate) fn coordinator_alone() -> Self {
        Self::begun_by(Vec::new())
    }

    fn begun_by(sites: Vec<Site>) -> Self {
        let port = UdpSocket::bind(("127.0.0.1", 0))
            .and_then(|s| s.local_addr())
            .expect("a port")
            .port();
        let mut consortium = Self {
            dir: TempDir::new().expect("a directory"),
            sites,
            address: format!("127.0.0.1:{port}"),
            settings: Vec::new(),
            coordinator: None,
            nodes: BTreeMap::new(),
        };
        let state = consortium.coordinator_state();
        json(&[
            "coordinator",
            "init",
            "--state",
            arg(&state),
            "--name",
            "four-hospitals",
            "--listen",
            &consortium.address,
        ]);
        consortium.start_coordinator();
        consortium
    }

    /// The same with these sites.
    pub(crate) fn found_by(sites: Vec<Site>) -> Self {
        let consortium = Self::begun_by(sites);
        let state = consortium.coordinator_state();
        for site in &consortium.sites {
            consortium.join(site);
        }
        json(&["charter", "propose", "--coordinator-state", arg(&state)]);
        for site in &consortium.sites {
            json(&[
                "charter",
                "sign",
                "--state",
                arg(&consortium.node_state(site.name)),
                "--yes",
            ]);
        }
        consortium
    }

    /// The consortium with all nodes running.
    pub(crate) fn running() -> Self {
        Self::found().started()
    }

    /// With all nodes running.
    pub(crate) fn started(mut self) -> Self {
        for site in self.sites.clone() {
            self.start_node(site.name);
        }
        self
    }

    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    pub(crate) fn coordinator_state(&self) -> PathBuf {
        self.dir.path().join("coordinator")
    }

    pub(crate) fn node_state(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn log(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.log"))
    }

    /// What a daemon has logged so far.
    pub(crate) fn log_text(&self, name: &str) -> String {
        std::fs::read_to_string(self.log(name)).unwrap_or_default()
    }

    fn spawn(&self, name: &str, args: &[&str]) -> Child {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.log(name))
            .expect("a log");
        collegium(args)
            .arg("--until-stdin-closes")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::from(log.try_clone().expect("a handle")))
            .stderr(Stdio::from(log))
            .spawn()
            .expect("the daemon starts")
    }

    /// A one-time code for a member.
    pub(crate) fn invite(&self, name: &str) -> String {
        let state = self.coordinator_state();
        let invite = json(&["coordinator", "invite", name, "--state", arg(&state)]);
        invite["code"].as_str().expect("a code").to_owned()
    }

    /// A site joins with a code; its state directory.
    pub(crate) fn join(&self, site: &Site) -> PathBuf {
        let state = self.node_state(site.name);
        let code = self.invite(site.name);
        let joined = run(&join(&code, &state, site));
        let complaint = String::from_utf8_lossy(&joined.stderr);
        assert!(joined.status.success(), "{complaint}");
        state
    }

    /// Starts the coordinator and waits until it listens.
    pub(crate) fn start_coordinator(&mut self) {
        let state = self.coordinator_state();
        let address = state.join("run").join("address");
        let _ = std::fs::remove_file(&address);
        let mut child = self.spawn(
            "coordinator",
            &["coordinator", "run", "--state", arg(&state)],
        );
        wait_until("the coordinator to listen", || {
            if let Some(status) = child.try_wait().expect("its status") {
                panic!(
                    "the coordinator ended ({status}): {}",
                    self.log_text("coordinator")
                );
            }
            address.exists()
        });
        self.coordinator = Some(child);
    }

    pub(crate) fn start_node(&mut self, name: &'static str) {
        let state = self.node_state(name);
        let child = self.spawn(name, &["node", "run", "--state", arg(&state)]);
        self.nodes.insert(name, child);
    }

    /// Sets a setting of the daemons that start from now on, by its environment variable.
    pub(crate) fn set(&mut self, variable: &'static str, value: impl Into<String>) {
        self.settings.push((variable, value.into()));
    }

    /// SIGKILL: nothing is flushed, nothing is said to the peers.
    pub(crate) fn kill_node(&mut self, name: &str) {
        let mut child = self.nodes.remove(name).expect("the node runs");
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }

    /// SIGKILL to the coordinator.
    pub(crate) fn kill_coordinator(&mut self) {
        let mut child = self.coordinator.take().expect("the coordinator runs");
        child.kill().expect("killed");
        child.wait().expect("reaped");
    }

    /// SIGHUP to the coordinator.
    pub(crate) fn hang_up_coordinator(&self) {
        let child = self.coordinator.as_ref().expect("the coordinator runs");
        signal(child, "-HUP");
    }

    /// SIGTERM to the coordinator; returns whether it ended by itself with success.
    pub(crate) fn terminate_coordinator(&mut self) -> bool {
        terminate(self.coordinator.take().expect("the coordinator runs"))
    }

    /// SIGTERM to a node; returns whether it ended by itself with success.
    pub(crate) fn terminate_node(&mut self, name: &str) -> bool {
        terminate(self.nodes.remove(name).expect("the node runs"))
    }

    /// SIGHUP to a node: it reads its policy again.
    pub(crate) fn hang_up_node(&self, name: &str) {
        let child = self.nodes.get(name).expect("the node runs");
        signal(child, "-HUP");
    }

    /// Writes `task` and submits it; the run's id.
    pub(crate) fn submit(&self, task: &str) -> String {
        let file = self.dir.path().join("task.toml");
        std::fs::write(&file, task).expect("the task is written");
        let submitted = json(&[
            "task",
            "submit",
            arg(&file),
            "--coordinator-state",
            arg(&self.coordinator_state()),
        ]);
        submitted["run"].as_str().expect("a run").to_owned()
    }

    /// Follows a run's events until `stop` says so or the run is over; the last event.
    pub(crate) fn watch(&self, run: &str, mut stop: impl FnMut(&Value) -> bool) -> Value {
        let mut watcher = collegium(&[
            "task",
            "watch",
            run,
            "--coordinator-state",
            arg(&self.coordinator_state()),
            "--json",
        ])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the watcher starts");
        let lines = BufReader::new(watcher.stdout.take().expect("its output")).lines();
        let mut last = Value::Null;
        for line in lines {
            let event: Value = serde_json::from_str(&line.expect("a line")).expect("an event");
            let over = event["event"] == "finished" || stop(&event);
            last = event;
            if over {
                break;
            }
        }
        let _ = watcher.kill();
        let output = watcher.wait_with_output().expect("the watcher ends");
        assert!(
            !last.is_null(),
            "the run shows no events: {}\ncoordinator: {}",
            String::from_utf8_lossy(&output.stderr),
            self.log_text("coordinator")
        );
        last
    }

    /// Waits for the run's end and returns its result; fails the test when it has no champion.
    pub(crate) fn finish(&self, run: &str) -> Value {
        let end = self.watch(run, |_| false);
        assert_eq!(
            end["status"],
            "champion",
            "{end}\ncoordinator: {}",
            self.log_text("coordinator")
        );
        end["result"].clone()
    }

    /// The champion's bytes.
    pub(crate) fn champion(&self, run: &str) -> Vec<u8> {
        let file = self
            .coordinator_state()
            .join("runs")
            .join(run)
            .join("champion.json");
        std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()))
    }
}

impl Drop for Consortium {
    fn drop(&mut self) {
        for child in self.nodes.values_mut().chain(&mut self.coordinator) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let sites = self.sites.iter().map(|site| site.name);
            for name in sites.chain(["coordinator"]) {
                let text = self.log_text(name);
                let lines: Vec<&str> = text.lines().collect();
                let from = lines.len().saturating_sub(25);
                eprintln!("--- log of {name}\n{}", lines[from..].join("\n"));
            }
        }
    }
}

fn signal(child: &Child, which: &str) {
    let sent = Command::new("kill")
        .args([which, &child.id().to_string()])
        .status()
        .expect("kill(1) is part of the base system");
    assert!(sent.success());
}

/// Ctrl-C.
pub(crate) fn interrupt(child: &Child) {
    signal(child, "-INT");
}

fn terminate(mut child: Child) -> bool {
    signal(&child, "-TERM");
    let mut status = None;
    wait_until("a daemon to end after SIGTERM", || {
        status = child.try_wait().expect("its status");
        status.is_some()
    });
    status.is_some_and(|status| status.success())
}
