//! `collegium-node`: the node daemon by itself. The `collegium` command has the same as
//! `collegium node run` and `collegium node check`, and everything else besides.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use collegium_node::config::{Config, Flags, Sources};

/// The node daemon of a Collegium consortium.
#[derive(Debug, Parser)]
#[command(version, about)]
struct Arguments {
    /// Configuration file [default: node.toml in the state directory, where there is one].
    #[arg(
        long,
        env = "COLLEGIUM_NODE_CONFIG",
        value_name = "FILE",
        global = true
    )]
    config: Option<PathBuf>,
    /// State directory: keys, database, ledger, reports.
    #[arg(long, value_name = "DIR", global = true)]
    state: Option<PathBuf>,
    /// The site's CSV file.
    #[arg(long, value_name = "FILE", global = true)]
    data: Option<PathBuf>,
    /// The coordinator's address.
    #[arg(long, value_name = "HOST:PORT", global = true)]
    coordinator: Option<String>,
    /// human or json.
    #[arg(long, value_name = "FORMAT", global = true)]
    log_format: Option<String>,
    /// error, warn, info, debug, trace, or a list of target=level.
    #[arg(long, value_name = "LEVEL", global = true)]
    log_level: Option<String>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum Command {
    /// Run the daemon until SIGTERM or Ctrl-C (the default).
    Run,
    /// Test everything that usually goes wrong, and say how to mend it.
    Check,
}

fn main() -> ExitCode {
    match start(Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("collegium-node: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn start(arguments: Arguments) -> anyhow::Result<ExitCode> {
    collegium_protocol::pki::passphrase::provide_from_variable()?;
    let command = arguments.command.unwrap_or(Command::Run);
    let flags = Flags {
        state: arguments.state,
        data: arguments.data,
        coordinator: arguments.coordinator,
        log_format: arguments.log_format,
        log_level: arguments.log_level,
    };
    let config = Config::load(&Sources::from_process(arguments.config, flags))?;
    collegium_node::logging::start(&config.log)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let code = match command {
        Command::Run => {
            let signals = runtime.block_on(async { Signals::listen() })?;
            runtime.block_on(collegium_node::run(config, signals.first()))?;
            ExitCode::SUCCESS
        }
        Command::Check => {
            let report = runtime.block_on(collegium_node::check(&config));
            print!("{report}");
            if report.is_ok() {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }
    };
    // Whatever still computes must not hold up the end: its results are not wanted any more.
    runtime.shutdown_background();
    Ok(code)
}

/// SIGTERM and Ctrl-C, caught from here on.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    async fn first(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
