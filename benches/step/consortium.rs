//! Founds a consortium of four, runs the daemons, reads their figures.

use std::io::{BufRead, BufReader, Lines, Write};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{ROLE, STATE};

pub const MEMBERS: [&str; 4] = ["cleveland", "hungarian", "switzerland", "va"];

/// Longer than any daemon takes to start.
const PATIENCE: Duration = Duration::from_secs(60);

/// Measures the encrypted and the clear step, and prints a table of each.
pub fn measure() {
    // `COLLEGIUM_BENCH_DIR` puts the daemons' states on another disk.
    let directory = match std::env::var_os("COLLEGIUM_BENCH_DIR") {
        Some(parent) => TempDir::new_in(parent),
        None => TempDir::new(),
    }
    .expect("a directory");
    println!(
        "one sync of the disk: {} µs (median)",
        sync_time(directory.path())
    );
    for (title, daemons) in [
        ("encrypted", ["coordinator", "node"]),
        ("clear", ["clear-coordinator", "clear-node"]),
    ] {
        let only = std::env::var("COLLEGIUM_BENCH_ONLY").ok();
        if only.is_some_and(|only| only != title) {
            continue;
        }
        let consortium = Consortium::found(&directory.path().join(title));
        println!("\n{title}");
        println!(
            "numbers | ms (median) | ms (least) | ms (most) | CPU ms (all) | coordinator MB | node MB (largest)"
        );
        consortium.run(daemons);
    }
}

/// Microseconds that appending a line and syncing it takes: what the steps' times are to be seen
/// beside.
fn sync_time(directory: &Path) -> u128 {
    let mut file = std::fs::File::create(directory.join("sync")).expect("a file");
    let mut times: Vec<_> = (0..51)
        .map(|_| {
            let began = Instant::now();
            file.write_all(&[b'x'; 300])
                .and_then(|()| file.sync_data())
                .expect("the disk writes");
            began.elapsed().as_micros()
        })
        .collect();
    times.sort_unstable();
    times[25]
}

struct Consortium {
    directory: PathBuf,
    address: String,
}

/// A daemon; killed when dropped.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Consortium {
    fn found(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("a directory");
        let port = UdpSocket::bind(("127.0.0.1", 0))
            .and_then(|socket| socket.local_addr())
            .expect("a port")
            .port();
        let consortium = Self {
            directory: directory.to_owned(),
            address: format!("127.0.0.1:{port}"),
        };
        let state = consortium.state("coordinator");
        let coordinator = arg(&state);
        collegium(&[
            "coordinator",
            "init",
            "--state",
            coordinator,
            "--name",
            "four",
            "--listen",
            &consortium.address,
        ]);
        let daemon = consortium.daemon("coordinator", "coordinator");
        consortium.await_coordinator();
        for name in MEMBERS {
            let invite = collegium(&["coordinator", "invite", name, "--state", coordinator]);
            let code = invite["code"].as_str().expect("a code");
            let table = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join(format!("examples/hospitals/data/{name}.csv"));
            let node = consortium.state(name);
            collegium(&[
                "node",
                "join",
                code,
                "--state",
                arg(&node),
                "--data",
                arg(&table),
            ]);
        }
        collegium(&["charter", "propose", "--coordinator-state", coordinator]);
        for name in MEMBERS {
            collegium(&[
                "charter",
                "sign",
                "--state",
                arg(&consortium.state(name)),
                "--yes",
            ]);
        }
        drop(daemon);
        let _ = std::fs::remove_file(state.join("run/address"));
        consortium
    }

    fn state(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Starts this program as another process.
    fn daemon(&self, role: &str, name: &str) -> Daemon {
        let child = Command::new(std::env::current_exe().expect("this program"))
            .env(ROLE, role)
            .env(STATE, self.state(name))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        Daemon(child)
    }

    fn await_coordinator(&self) {
        let address = self.state("coordinator").join("run/address");
        let began = Instant::now();
        while !address.exists() {
            assert!(
                began.elapsed() < PATIENCE,
                "the coordinator does not listen"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn run(&self, [coordinator, node]: [&str; 2]) {
        let mut daemon = self.daemon(coordinator, "coordinator");
        self.await_coordinator();
        let nodes = MEMBERS.map(|name| self.daemon(node, name));
        let task = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/hospitals/task.toml");
        if coordinator == "coordinator" {
            let state = self.state("coordinator");
            collegium(&[
                "task",
                "submit",
                arg(&task),
                "--coordinator-state",
                arg(&state),
            ]);
        }
        let lines = BufReader::new(daemon.0.stdout.take().expect("its output")).lines();
        let stdin = daemon.0.stdin.take().expect("its input");
        read(lines, stdin, &daemon, &nodes);
    }
}

/// Prints a line of the table for every size that the coordinator reports.
fn read(
    mut lines: Lines<BufReader<ChildStdout>>,
    mut stdin: ChildStdin,
    coordinator: &Daemon,
    nodes: &[Daemon],
) {
    let mut spent = 0;
    for _ in crate::asks::SIZES {
        let (mut numbers, mut times) = (String::new(), Vec::new());
        for line in lines.by_ref() {
            let line = line.expect("the coordinator's output");
            match line.split_once(' ') {
                Some(("numbers", count)) => numbers = count.to_owned(),
                Some(("took", micros)) => times.push(micros.parse::<f64>().expect("a time") / 1e3),
                Some(("done", _)) => break,
                _ => println!("{line}"),
            }
        }
        assert!(!times.is_empty(), "the coordinator ended early");
        times.sort_by(f64::total_cmp);
        let now: u64 = nodes.iter().chain([coordinator]).map(cpu_time).sum();
        let cpu = (now - spent) / (times.len() as u64 + 1);
        spent = now;
        let peak = nodes.iter().map(peak_memory).max().unwrap_or_default();
        println!(
            "{numbers:>8} | {:>8.1} | {:>8.1} | {:>8.1} | {cpu:>6} | {:>5} | {peak:>5}",
            times[times.len() / 2],
            times[0],
            times[times.len() - 1],
            peak_memory(coordinator),
        );
        stdin.write_all(b"\n").expect("the coordinator reads");
    }
}

/// Peak resident memory of a process so far, in megabytes; sizes only grow, so it is that of the
/// size just measured.
fn peak_memory(daemon: &Daemon) -> u64 {
    let status =
        std::fs::read_to_string(format!("/proc/{}/status", daemon.0.id())).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = line.and_then(|line| line.trim().split(' ').next()?.parse::<u64>().ok());
    kilobytes.unwrap_or_default() / 1000
}

/// Milliseconds of processor time that a process has used, to a hundredth of a second.
fn cpu_time(daemon: &Daemon) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", daemon.0.id())).unwrap_or_default();
    // After the name in parentheses: state is field 3, user and system time 14 and 15, in
    // hundredths of a second on every Linux.
    let fields = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace();
    let ticks: u64 = fields
        .skip(11)
        .take(2)
        .filter_map(|field| field.parse::<u64>().ok())
        .sum();
    ticks * 10
}

/// Runs the command; the object it printed.
fn collegium(args: &[&str]) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_collegium"))
        .args(args)
        .arg("--json")
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .output()
        .expect("the command starts");
    assert!(
        output.status.success(),
        "collegium {} failed: {}",
        args.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap_or_default()
}

fn arg(path: &Path) -> &str {
    path.to_str().expect("a directory with a UTF-8 name")
}
