//! Child processes of the demo: commands that end, and daemons that are stopped by closing their
//! standard input. A daemon whose parent dies sees its input close and stops as well, so nothing
//! is ever left behind.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::process::{Child, Command};

/// A daemon gets this long to end by itself before it is killed; it promises 10 s.
const STOP_DEADLINE: Duration = Duration::from_secs(12);

/// Runs `collegium ARGS --json` to its end and returns the JSON object it printed.
pub(crate) async fn call(args: &[&str]) -> anyhow::Result<serde_json::Value> {
    let output = command(args)?
        .arg("--json")
        .stdin(Stdio::null())
        .output()
        .await?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr);
        bail!(
            "`collegium {}` failed: {}",
            args.join(" "),
            complaint.trim()
        );
    }
    let text = String::from_utf8(output.stdout)?;
    serde_json::from_str(text.trim()).with_context(|| {
        format!(
            "`collegium {}` printed no JSON object: {text:?}",
            args.join(" ")
        )
    })
}

/// The command for another process of this very program, in a process group of its own so that
/// Ctrl-C reaches the demo alone, which then stops its daemons in order.
pub(crate) fn command(args: &[&str]) -> anyhow::Result<Command> {
    let program = std::env::current_exe().context("cannot tell where this program lies")?;
    let mut command = Command::new(program);
    command.args(args).process_group(0).kill_on_drop(true);
    Ok(command)
}

/// A running daemon.
pub(crate) struct Daemon {
    name: String,
    log: PathBuf,
    child: Child,
}

impl Daemon {
    /// Starts `collegium ARGS --until-stdin-closes` with its log going to `log`.
    pub(crate) fn start(name: &str, args: &[&str], log: &Path) -> anyhow::Result<Self> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("cannot write the log {}", log.display()))?;
        let child = command(args)?
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(Stdio::from(file.try_clone()?))
            .stderr(Stdio::from(file))
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        Ok(Self {
            name: name.to_owned(),
            log: log.to_owned(),
            child,
        })
    }

    /// An error naming the daemon and the end of its log if it has ended by itself.
    pub(crate) fn check(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => bail!(
                "{} stopped by itself ({status}); the end of its log {}:\n{}",
                self.name,
                self.log.display(),
                tail(&self.log, 12)
            ),
        }
    }

    /// Peak resident memory so far, in bytes; `None` where the system does not tell.
    pub(crate) fn peak_memory(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()?)).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
        Some(kib * 1024)
    }

    /// Asks the daemon to stop and waits; kills it when it does not.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        drop(self.child.stdin.take());
        match tokio::time::timeout(STOP_DEADLINE, self.child.wait()).await {
            Ok(status) => {
                let status = status?;
                if !status.success() {
                    bail!(
                        "{} ended with {status}; see {}",
                        self.name,
                        self.log.display()
                    );
                }
                Ok(())
            }
            Err(_) => {
                self.child.kill().await?;
                bail!(
                    "{} did not stop within {} s and was killed",
                    self.name,
                    STOP_DEADLINE.as_secs()
                )
            }
        }
    }
}

/// The last `lines` lines of a log, or why it cannot be read.
fn tail(path: &Path, lines: usize) -> String {
    match std::fs::read_to_string(path) {
        Ok(text) => {
            let all: Vec<&str> = text.lines().collect();
            all[all.len().saturating_sub(lines)..].join("\n")
        }
        Err(error) => format!("(cannot be read: {error})"),
    }
}
