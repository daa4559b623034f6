//! The demo's script: what each person types, in order.

use std::net::UdpSocket;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::board::Board;
use crate::output::Output;
use crate::process::{self, Daemon};

/// A hospital of the demo: its name and what lies in its own directory.
struct Hospital {
    name: &'static str,
    table: &'static str,
    columns: &'static str,
}

macro_rules! hospital {
    ($name:literal) => {
        Hospital {
            name: $name,
            table: include_str!(concat!("../../examples/hospitals/data/", $name, ".csv")),
            columns: include_str!(concat!("../../examples/hospitals/sites/", $name, ".toml")),
        }
    };
}

const HOSPITALS: [Hospital; 4] = [
    hospital!("cleveland"),
    hospital!("hungarian"),
    hospital!("switzerland"),
    hospital!("va"),
];
const TASK: &str = include_str!("../../examples/hospitals/task.toml");

/// The directory of a demo consortium.
///
/// ```text
/// DIR/task.toml            the scientist's task
/// DIR/run                  the id of the submitted run
/// DIR/coordinator/         the coordinator's state
/// DIR/<hospital>/table.csv, columns.toml, node/   a site: its data, its column map, its state
/// DIR/logs/                one log for each daemon
/// ```
pub(super) struct Consortium {
    dir: PathBuf,
}

/// The processes that are up.
#[derive(Default)]
pub(super) struct Running {
    daemons: Vec<Daemon>,
}

impl Running {
    /// Sum of the daemons' peak resident memory in bytes, where the system tells.
    pub(super) fn peak_memory(&self) -> Option<u64> {
        if self.daemons.is_empty() {
            return None;
        }
        self.daemons.iter().map(Daemon::peak_memory).sum()
    }

    fn check(&mut self) -> anyhow::Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::check)
    }

    /// Stops everything, nodes first; the first error is reported after all were stopped.
    pub(super) async fn stop(&mut self) -> anyhow::Result<()> {
        let mut first = Ok(());
        while let Some(daemon) = self.daemons.pop() {
            let result = daemon.stop().await;
            if first.is_ok() {
                first = result;
            }
        }
        first
    }
}

impl Consortium {
    /// Lays out the directory; files that are there already are kept.
    pub(super) fn prepare(dir: PathBuf, seed: Option<u64>) -> anyhow::Result<Self> {
        let dir = std::path::absolute(dir)?;
        std::fs::create_dir_all(dir.join("logs"))
            .with_context(|| format!("cannot make the directory {}", dir.display()))?;
        let consortium = Self { dir };
        for hospital in &HOSPITALS {
            let site = consortium.site(hospital.name);
            std::fs::create_dir_all(&site)?;
            keep_or_write(&site.join("table.csv"), hospital.table)?;
            keep_or_write(&site.join("columns.toml"), hospital.columns)?;
        }
        let task = match seed {
            None => TASK.to_owned(),
            Some(seed) => with_seed(TASK, seed),
        };
        keep_or_write(&consortium.dir.join("task.toml"), &task)?;
        Ok(consortium)
    }

    /// Everything the demo made lies below this directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    fn site(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn node_state(&self, name: &str) -> PathBuf {
        self.site(name).join("node")
    }

    /// The coordinator's state directory.
    pub(super) fn coordinator(&self) -> PathBuf {
        self.dir.join("coordinator")
    }

    /// The run submitted by an earlier call in this directory.
    fn submitted_run(&self) -> anyhow::Result<Option<String>> {
        match std::fs::read_to_string(self.dir.join("run")) {
            Ok(text) => Ok(Some(text.trim().to_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).context("cannot read the demo's run file"),
        }
    }

    /// The run of this directory if it has a result and every site has its report.
    pub(super) fn finished_run(&self) -> anyhow::Result<Option<String>> {
        let Some(run) = self.submitted_run()? else {
            return Ok(None);
        };
        let finished = self.result_file(&run).exists()
            && HOSPITALS
                .iter()
                .all(|hospital| self.site_report_file(hospital.name, &run).exists());
        Ok(finished.then_some(run))
    }

    fn result_file(&self, run: &str) -> PathBuf {
        self.coordinator()
            .join("runs")
            .join(run)
            .join("result.json")
    }

    fn site_report_file(&self, name: &str, run: &str) -> PathBuf {
        self.node_state(name)
            .join("runs")
            .join(run)
            .join("local.json")
    }

    /// The coordinator's result of `run`.
    pub(super) fn result(&self, run: &str) -> anyhow::Result<Value> {
        read_json(&self.result_file(run))
    }

    /// Each hospital's own report, from its own directory.
    pub(super) fn site_reports(&self, run: &str) -> anyhow::Result<Vec<Value>> {
        HOSPITALS
            .iter()
            .map(|site| read_json(&self.site_report_file(site.name, run)))
            .collect()
    }

    /// Brings the consortium up, trains, and returns the coordinator's result.
    pub(super) async fn train(&self, running: &mut Running, out: Output) -> anyhow::Result<Value> {
        self.start_coordinator(running, out).await?;
        self.join_members(out).await?;
        self.agree_on_charter(out).await?;
        self.start_nodes(running, out)?;
        let run = self.submit(out).await?;
        self.watch(&run, running, out).await?;
        self.wait_for_reports(&run, running).await?;
        self.result(&run)
    }

    async fn start_coordinator(&self, running: &mut Running, out: Output) -> anyhow::Result<()> {
        let state = self.coordinator();
        let state_arg = text(&state)?;
        if !state.join("coordinator.toml").exists() {
            let listen = format!("127.0.0.1:{}", free_port()?);
            process::call(&[
                "coordinator",
                "init",
                "--state",
                state_arg,
                "--name",
                "four-hospitals",
                "--listen",
                &listen,
            ])
            .await?;
            out.say(format!(
                "coordinator  made consortium four-hospitals, listening on {listen}"
            ));
        }
        let address = state.join("run").join("address");
        remove_if_there(&address)?;
        running.daemons.push(Daemon::start(
            "the coordinator",
            &["coordinator", "run", "--state", state_arg],
            &self.dir.join("logs").join("coordinator.log"),
        )?);
        wait_for(&[address], running).await
    }

    async fn join_members(&self, out: Output) -> anyhow::Result<()> {
        let coordinator = self.coordinator();
        for hospital in &HOSPITALS {
            let state = self.node_state(hospital.name);
            if state.join("node.toml").exists() {
                continue;
            }
            let invite = process::call(&[
                "coordinator",
                "invite",
                hospital.name,
                "--state",
                text(&coordinator)?,
            ])
            .await?;
            let code = invite["code"]
                .as_str()
                .context("the invitation has no code")?;
            let site = self.site(hospital.name);
            process::call(&[
                "node",
                "join",
                code,
                "--state",
                text(&state)?,
                "--data",
                text(&site.join("table.csv"))?,
                "--columns",
                text(&site.join("columns.toml"))?,
            ])
            .await?;
            out.say(format!(
                "{:<12} joined: keys made at the site, certificate received",
                hospital.name
            ));
        }
        Ok(())
    }

    async fn agree_on_charter(&self, out: Output) -> anyhow::Result<()> {
        let coordinator = self.coordinator();
        let coordinator = text(&coordinator)?;
        let shown = process::call(&["charter", "show", "--coordinator-state", coordinator]).await?;
        if shown["in_force"].is_object() {
            return Ok(());
        }
        if !shown["proposed"].is_object() {
            process::call(&["charter", "propose", "--coordinator-state", coordinator]).await?;
        }
        for hospital in &HOSPITALS {
            let state = self.node_state(hospital.name);
            let signed =
                process::call(&["charter", "sign", "--state", text(&state)?, "--yes"]).await?;
            out.say(format!(
                "{:<12} signed the charter ({} of {})",
                hospital.name, signed["signatures"], signed["needed"]
            ));
        }
        Ok(())
    }

    fn start_nodes(&self, running: &mut Running, out: Output) -> anyhow::Result<()> {
        for hospital in &HOSPITALS {
            running.daemons.push(Daemon::start(
                hospital.name,
                &[
                    "node",
                    "run",
                    "--state",
                    text(&self.node_state(hospital.name))?,
                ],
                &self.dir.join("logs").join(format!("{}.log", hospital.name)),
            )?);
        }
        out.say(format!(
            "{} node processes started; logs in {}",
            HOSPITALS.len(),
            self.dir.join("logs").display()
        ));
        Ok(())
    }

    async fn submit(&self, out: Output) -> anyhow::Result<String> {
        if let Some(run) = self.submitted_run()? {
            out.say(format!("going on with run {run}"));
            return Ok(run);
        }
        let coordinator = self.coordinator();
        let task = self.dir.join("task.toml");
        let submitted = process::call(&[
            "task",
            "submit",
            text(&task)?,
            "--coordinator-state",
            text(&coordinator)?,
        ])
        .await?;
        let run = submitted["run"]
            .as_str()
            .context("the coordinator named no run")?
            .to_owned();
        keep_or_write(&self.dir.join("run"), &run)?;
        out.say(format!("task submitted as run {run}\n"));
        Ok(run)
    }

    /// Shows the run's events until it is over.
    async fn watch(&self, run: &str, running: &mut Running, out: Output) -> anyhow::Result<()> {
        let coordinator = self.coordinator();
        let mut watcher = process::command(&[
            "task",
            "watch",
            run,
            "--coordinator-state",
            text(&coordinator)?,
            "--json",
        ])?
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()?;
        let stdout = watcher.stdout.take().context("the watcher has no output")?;
        let mut lines = BufReader::new(stdout).lines();
        let mut board = Board::new(out, HOSPITALS.iter().map(|hospital| hospital.name));
        let mut pulse = tokio::time::interval(std::time::Duration::from_millis(500));
        loop {
            tokio::select! {
                line = lines.next_line() => {
                    let Some(line) = line? else { break };
                    let event: Value = serde_json::from_str(&line)
                        .with_context(|| format!("the watcher printed no JSON: {line}"))?;
                    if let Some(end) = board.event(&event)? {
                        return end
                            .map(drop)
                            .map_err(|reason| anyhow::anyhow!("the run ended without a champion: {reason}"));
                    }
                }
                _ = pulse.tick() => running.check()?,
            }
        }
        let output = watcher.wait_with_output().await?;
        bail!(
            "the run's events ended early: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )
    }

    async fn wait_for_reports(&self, run: &str, running: &mut Running) -> anyhow::Result<()> {
        let mut files: Vec<PathBuf> = HOSPITALS
            .iter()
            .map(|site| self.site_report_file(site.name, run))
            .collect();
        files.push(self.result_file(run));
        wait_for(&files, running).await
    }
}

/// Waits until every file is there; ends with the reason if a daemon stops meanwhile. Files are
/// the interface here, as they are for a person, so they are polled.
async fn wait_for(files: &[PathBuf], running: &mut Running) -> anyhow::Result<()> {
    let mut pulse = tokio::time::interval(std::time::Duration::from_millis(25));
    while !files.iter().all(|file| file.exists()) {
        running.check()?;
        pulse.tick().await;
    }
    Ok(())
}

/// A UDP port that is free now. It is written into the coordinator's configuration, so that a
/// second run in the same directory finds the coordinator where the nodes expect it.
fn free_port() -> anyhow::Result<u16> {
    Ok(UdpSocket::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

fn with_seed(task: &str, seed: u64) -> String {
    let lines: Vec<String> = task
        .lines()
        .map(|line| {
            if line.starts_with("seed") {
                format!("seed = {seed}")
            } else {
                line.to_owned()
            }
        })
        .collect();
    lines.join("\n") + "\n"
}

/// Writes `text` to a file that is not there yet, whole or not at all.
fn keep_or_write(path: &Path, text: &str) -> anyhow::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let draft = path.with_extension("part");
    std::fs::write(&draft, text)
        .and_then(|()| std::fs::rename(&draft, path))
        .with_context(|| format!("cannot write {}", path.display()))
}

fn remove_if_there(path: &Path) -> anyhow::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn read_json(path: &Path) -> anyhow::Result<Value> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))
}

fn text(path: &Path) -> anyhow::Result<&str> {
    path.to_str()
        .with_context(|| format!("{} is not a UTF-8 path", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_replaces_the_one_in_the_task() {
        assert!(
            TASK.lines().any(|line| line.starts_with("seed")),
            "the task must name a seed"
        );
        let seeded = with_seed(TASK, 77);
        assert!(seeded.lines().any(|line| line == "seed = 77"));
        assert_eq!(seeded.lines().count(), TASK.lines().count());
    }

    #[test]
    fn files_that_are_there_are_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("a");
        keep_or_write(&file, "first").expect("written");
        keep_or_write(&file, "second").expect("kept");
        assert_eq!(std::fs::read_to_string(&file).expect("read"), "first");
    }
}
