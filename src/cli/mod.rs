//! The command line: one module per group of commands.

mod audit;
mod cert;
mod charter;
mod check;
mod client;
mod coordinator;
mod key;
mod model;
mod node;
mod runtime;
mod task;
mod user;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use collegium_protocol::pki::passphrase;

pub(crate) use runtime::{interruptible, run_to_end, stop_signal};

use crate::output::Output;

/// Exit code after Ctrl-C, as shells report it (128 + SIGINT).
pub(crate) const INTERRUPTED: u8 = 130;

/// Federated AutoML: institutions train together without showing each other a row.
#[derive(Debug, Parser)]
#[command(name = "collegium", version, propagate_version = true)]
pub(crate) struct Cli {
    /// Print results as JSON on standard output.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a whole consortium on this machine: real processes, real encryption, real data.
    Demo(crate::demo::Args),
    /// Run a task's search in this process, over tables in files (for research; no encryption).
    Simulate(crate::simulate::Args),
    /// Start and run a consortium's coordinator.
    #[command(subcommand)]
    Coordinator(coordinator::Command),
    /// Join a consortium and run a site's node.
    #[command(subcommand)]
    Node(node::Command),
    /// Describe, submit and watch what is to be learned.
    #[command(subcommand)]
    Task(task::Command),
    /// Read, propose and sign the list of members that nodes trust.
    #[command(subcommand)]
    Charter(charter::Command),
    /// Give people access to the coordinator, and take it away.
    #[command(subcommand)]
    User(user::Command),
    /// See, renew and revoke certificates.
    #[command(subcommand)]
    Cert(cert::Command),
    /// Encrypt private key files by a passphrase.
    #[command(subcommand)]
    Key(key::Command),
    /// Use a trained model.
    #[command(subcommand)]
    Model(model::Command),
    /// Check and read ledgers: what was done, by whom, and that nobody changed it since.
    #[command(subcommand)]
    Audit(audit::Command),
}

impl Cli {
    /// Carries out the command.
    ///
    /// # Errors
    /// Whatever went wrong, with what, where and what to do about it.
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let out = Output::new(self.json);
        passphrase::provide_from_variable()?;
        passphrase::ask_with(key::ask);
        match self.command {
            Command::Demo(args) => crate::demo::run(args, out),
            Command::Simulate(args) => crate::simulate::run(&args, out),
            Command::Coordinator(command) => coordinator::run(command, out),
            Command::Node(command) => node::run(command, out),
            Command::Task(command) => task::run(command, out),
            Command::Charter(command) => charter::run(command, out),
            Command::User(command) => user::run(command, out),
            Command::Cert(command) => cert::run(command, out),
            Command::Key(command) => key::run(command, out),
            Command::Model(command) => model::run(command, out),
            Command::Audit(command) => audit::run(command, out),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
