//! `collegium coordinator`: the commands of the coordinator's operator.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use collegium_coordinator::config::{Config, Sources};
use collegium_coordinator::init::InitOptions;
use collegium_protocol::MemberName;
use collegium_protocol::pki::INVITE_DAYS;
use serde_json::json;

use super::{interruptible, run_to_end, stop_signal};
use crate::output::Output;

/// What the coordinator's operator does.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Make a consortium: its authority, the coordinator's keys, an empty charter.
    Init(Init),
    /// Run the daemon until SIGTERM or Ctrl-C.
    Run(Run),
    /// Print a one-time code with which a new member's node joins.
    Invite(Invite),
}

/// Arguments of `coordinator init`.
#[derive(Debug, clap::Args)]
pub(crate) struct Init {
    /// Directory for everything the coordinator must not lose; made if needed.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The consortium's name: small letters, digits and hyphens.
    #[arg(long)]
    name: String,
    /// The UDP address to listen on.
    #[arg(long, default_value = "0.0.0.0:7443", value_name = "ADDRESS:PORT")]
    listen: String,
    /// The address that nodes dial, if it is another one than `--listen`.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
}

/// Arguments of `coordinator run`.
#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    /// Configuration file [default: coordinator.toml in the state directory].
    #[arg(long, env = "COLLEGIUM_COORDINATOR_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Directory of the coordinator's state.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The UDP address to listen on.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Form of the log: human or json.
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// error, warn, info, debug, trace, or a list of target=level.
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// Also stop when standard input closes, for a supervisor that holds the other end.
    #[arg(long)]
    until_stdin_closes: bool,
}

/// Arguments of `coordinator invite`.
#[derive(Debug, clap::Args)]
pub(crate) struct Invite {
    /// The new member's name: small letters, digits and hyphens.
    member: String,
    /// Directory of the coordinator's state.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The address that this member dials, if it is another one than the consortium's.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
}

/// Carries out the command.
///
/// # Errors
/// What went wrong at the coordinator, and how to mend it.
pub(crate) fn run(command: Command, out: Output) -> anyhow::Result<ExitCode> {
    match command {
        Command::Init(args) => init(args, out),
        Command::Run(args) => serve(args),
        Command::Invite(args) => interruptible(invite(args, out)),
    }
}

fn init(args: Init, out: Output) -> anyhow::Result<ExitCode> {
    let listen = args.listen.parse().with_context(|| {
        format!(
            "`{}` is not an address to listen on: write for example 0.0.0.0:7443",
            args.listen
        )
    })?;
    let founded = collegium_coordinator::init::init(&InitOptions {
        state: args.state.clone(),
        name: args.name,
        listen,
        address: args.address,
    })?;
    let state = args.state.display();
    out.result(
        &json!({
            "consortium": founded.name,
            "id": founded.id,
            "authority": founded.authority.to_string(),
            "state": args.state,
            "config": founded.config,
            "listen": listen,
        }),
        format!(
            "consortium {} made in {state}\n\
             settings are in {}\n\
             next: collegium coordinator run --state {state}\n\
             then: collegium coordinator invite MEMBER --state {state}",
            founded.name,
            founded.config.display()
        ),
    )?;
    Ok(ExitCode::SUCCESS)
}

fn serve(args: Run) -> anyhow::Result<ExitCode> {
    let mut sources = Sources::from_process();
    // The file that `coordinator init` wrote, unless another is named.
    let own = args
        .state
        .as_ref()
        .map(|state| state.join("coordinator.toml"));
    sources.file = args.config.or_else(|| own.filter(|file| file.exists()));
    let state = args.state.map(|state| state.display().to_string());
    let flags = [
        ("state", state),
        ("listen", args.listen),
        ("log.format", args.log_format),
        ("log.level", args.log_level),
    ];
    for (key, value) in flags {
        if let Some(value) = value {
            sources.flags.insert(key.to_owned(), value);
        }
    }
    let config = Config::load(&sources)?;
    collegium_coordinator::app::start_logging(&config.log).map_err(anyhow::Error::msg)?;
    run_to_end(async move {
        collegium_coordinator::run(config, stop_signal(args.until_stdin_closes)).await?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn invite(args: Invite, out: Output) -> anyhow::Result<()> {
    let member: MemberName = args.member.parse()?;
    let code = collegium_coordinator::client::invite(&args.state, &member, args.address.as_deref())
        .await?;
    out.result(
        &json!({ "member": member, "code": code, "expires_days": INVITE_DAYS }),
        // The code alone on standard output, so that it can be piped.
        &code,
    )?;
    out.say(format!(
        "Hand this line to {member} over a channel you trust: it is good for one use within \
         {INVITE_DAYS} days.\nThere: collegium node join CODE --state DIR --data TABLE.csv"
    ));
    Ok(())
}
