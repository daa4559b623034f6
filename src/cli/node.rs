//! `collegium node`: the commands of a site's operator.

mod requests;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use collegium_node::config::{Config, Flags, Sources};
use collegium_node::store::Decision;
use serde_json::json;

use super::{interruptible, run_to_end, stop_signal};
use crate::output::Output;

/// What a site's operator does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Join a consortium with the code from its coordinator; makes all keys here.
    Join(Join),
    /// Run the daemon until SIGTERM or Ctrl-C.
    Run(Run),
    /// Test everything that usually goes wrong, and say how to mend it.
    Check(Settings),
    /// Show the tasks that wait for a steward: what leaves this site, over which columns, in how
    /// many steps.
    Requests(requests::List),
    /// Let this site take part in a task that waits.
    Approve(requests::Decide),
    /// Keep this site out of a task, also of one that was approved.
    Refuse(requests::Decide),
}

/// Arguments of `node join`.
#[derive(Debug, clap::Args)]
pub(crate) struct Join {
    /// The one-time code that `collegium coordinator invite` printed.
    code: String,
    /// Directory for the node's keys, database, ledger and reports; made if needed.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The site's table: a CSV file with one header line.
    #[arg(long, value_name = "FILE")]
    data: PathBuf,
    /// How the table's columns become the consortium's (TOML); without it they are taken as they
    /// are.
    #[arg(long, value_name = "FILE")]
    columns: Option<PathBuf>,
}

/// Arguments of `node run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    settings: Settings,
    /// Also stop when standard input closes, for a supervisor that holds the other end.
    #[arg(long)]
    until_stdin_closes: bool,
}

/// Where the configuration comes from, and what overrides it.
#[derive(Debug, clap::Args)]
pub(crate) struct Settings {
    /// Configuration file [default: node.toml in the state directory].
    #[arg(long, env = "COLLEGIUM_NODE_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the node's keys, database, ledger and reports.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The site's CSV file.
    #[arg(long, value_name = "FILE")]
    data: Option<PathBuf>,
    /// The coordinator's address.
    #[arg(long, value_name = "HOST:PORT")]
    coordinator: Option<String>,
    /// Form of the log: human or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// error, warn, info, debug, trace, or a list of target=level.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Settings {
    pub(super) fn load(self) -> anyhow::Result<Config> {
        let flags = Flags {
            state: self.state,
            data: self.data,
            coordinator: self.coordinator,
            log_format: self.log_format,
            log_level: self.log_level,
        };
        Ok(Config::load(&Sources::from_process(self.config, flags))?)
    }
}

/// Carries out the command.
///
/// # Errors
/// What went wrong at the site, and how to mend it.
pub(crate) fn run(command: Command, out: Output) -> anyhow::Result<ExitCode> {
    match command {
        Command::Join(args) => interruptible(join(args, out)),
        Command::Run(args) => {
            let config = args.settings.load()?;
            collegium_node::logging::start(&config.log)?;
            run_to_end(async move {
                collegium_node::run(config, stop_signal(args.until_stdin_closes)).await?;
                Ok(ExitCode::SUCCESS)
            })
        }
        Command::Requests(args) => interruptible(requests::list(args, out)),
        Command::Approve(args) => interruptible(requests::decide(args, Decision::Approved, out)),
        Command::Refuse(args) => interruptible(requests::decide(args, Decision::Refused, out)),
        Command::Check(settings) => {
            let config = settings.load()?;
            run_to_end(async move {
                let report = collegium_node::check(&config).await;
                out.result(&report, report.to_string().trim_end())?;
                Ok(if report.is_ok() {
                    ExitCode::SUCCESS
                } else {
                    ExitCode::FAILURE
                })
            })
        }
    }
}

async fn join(args: Join, out: Output) -> anyhow::Result<()> {
    let joined = collegium_node::join::join(collegium_node::join::JoinOptions {
        code: args.code,
        state: args.state.clone(),
        data: args.data,
        columns: args.columns,
    })
    .await?;
    let state = args.state.display();
    out.result(
        &json!({ "member": joined.member, "state": args.state, "config": joined.config }),
        format!(
            "{} has joined; its keys were made here and are in {state}\n\
             settings are in {}\n\
             next: collegium node check --state {state}\n\
             when the charter is proposed: collegium charter sign --state {state}\n\
             then: collegium node run --state {state}",
            joined.member,
            joined.config.display()
        ),
    )
}
