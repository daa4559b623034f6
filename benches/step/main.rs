//! The time and memory of one secure sum through the real daemons: four nodes and a coordinator
//! as processes of their own, QUIC on loopback, every sync.
//!
//! `cargo bench --profile dev --workspace --bench step` (reuses the build of `cargo test`). What
//! exactly is measured: docs/benchmarks.md.
//!
//! This program is every process: without `COLLEGIUM_BENCH_ROLE` it founds a consortium with the
//! `collegium` command and starts itself once for each daemon; with it, it is that daemon: the
//! daemons' own libraries, with a search that asks for vectors of given lengths and sites that
//! answer at once in the place of learning.

mod asks;
mod clear;

mod consortium;
mod daemons;

use std::path::PathBuf;
use std::process::ExitCode;

/// Which process this is; see [`main`].
const ROLE: &str = "COLLEGIUM_BENCH_ROLE";
/// The daemon's state directory.
const STATE: &str = "COLLEGIUM_BENCH_STATE";

fn main() -> ExitCode {
    let state = || PathBuf::from(std::env::var_os(STATE).expect("a role comes with a state"));
    match std::env::var(ROLE).ok().as_deref() {
        None if std::env::args().any(|argument| argument == "--bench") => consortium::measure(),
        // `cargo test --benches` runs this program too, without asking for figures.
        None => {}
        Some("coordinator") => daemons::coordinator(state()),
        Some("node") => daemons::node(state()),
        Some("clear-coordinator") => clear::coordinator::run(state()),
        Some("clear-node") => clear::node::run(state()),
        Some(other) => {
            eprintln!("{ROLE}={other} is no role of this program");
            return ExitCode::from(2);
        }
    }
    ExitCode::SUCCESS
}
