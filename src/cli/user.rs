//! `collegium user`: who, besides the members' nodes, has access to the coordinator.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;
use collegium_protocol::MemberName;
use collegium_protocol::message::admin::{UserState, UserSummary};
use collegium_protocol::moment;
use collegium_protocol::pki::{INVITE_DAYS, Role};
use serde_json::json;

use super::client::{Coordinator, Identity, connect};
use super::interruptible;
use crate::output::{Output, table};
use crate::person;

/// Who has access.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Print a one-time code with which a person gets a certificate.
    Invite(Invite),
    /// Use a code: makes a key here and gets the certificate for it.
    Join(Join),
    /// Show who has access.
    List {
        #[command(flatten)]
        coordinator: Coordinator,
    },
    /// Take a person's access away, at once.
    Revoke {
        /// The person's name.
        name: String,
        #[command(flatten)]
        coordinator: Coordinator,
    },
}

/// Arguments of `user invite`.
#[derive(Debug, clap::Args)]
pub(crate) struct Invite {
    /// The person's name: small letters, digits and hyphens.
    name: String,
    /// What the person may do: operator, scientist, auditor, steward or viewer.
    #[arg(long)]
    role: Role,
    /// Where the person reaches the coordinator, if it is another address than the consortium's.
    #[arg(long, value_name = "HOST:PORT")]
    address: Option<String>,
    #[command(flatten)]
    coordinator: Coordinator,
}

/// Arguments of `user join`.
#[derive(Debug, clap::Args)]
pub(crate) struct Join {
    /// The one-time code that `collegium user invite` printed.
    code: String,
    /// Directory for the key and the certificate; made if needed.
    #[arg(long, env = "COLLEGIUM_USER", value_name = "DIR")]
    user: PathBuf,
}

/// Carries out the command.
///
/// # Errors
/// What the coordinator answered, or what is wrong with a file.
pub(crate) fn run(command: Command, out: Output) -> anyhow::Result<ExitCode> {
    interruptible(async move {
        match command {
            Command::Invite(args) => invite(args, out).await,
            Command::Join(args) => join(args, out).await,
            Command::List { coordinator } => list(coordinator, out).await,
            Command::Revoke { name, coordinator } => revoke(&name, coordinator, out).await,
        }
    })
}

fn parse(name: &str) -> anyhow::Result<MemberName> {
    name.parse()
        .with_context(|| format!("`{name}` cannot be a person's name"))
}

async fn invite(args: Invite, out: Output) -> anyhow::Result<()> {
    let name = parse(&args.name)?;
    let address = match args.coordinator.identity()? {
        Identity::Operator(state) => {
            let given = args.address.as_deref();
            collegium_coordinator::client::reachable(&state, given).await?
        }
        // Where this person reaches it, others do.
        Identity::Person(user) => match args.address {
            Some(address) => address,
            None => person::coordinator(&user)?,
        },
    };
    let client = connect(&args.coordinator).await?;
    let code = client.invite_user(&name, args.role, Some(&address)).await?;
    client.finish().await;
    out.result(
        &json!({ "name": name, "role": args.role, "code": code, "expires_days": INVITE_DAYS }),
        // The code alone on standard output, so that it can be piped.
        &code,
    )?;
    out.say(format!(
        "Hand this line to {name} over a channel you trust: it is good for one use within {INVITE_DAYS} \
         days.\nThere: collegium user join CODE --user DIR"
    ));
    Ok(())
}

async fn join(args: Join, out: Output) -> anyhow::Result<()> {
    let person = person::join(&args.code, &args.user).await?;
    let directory = args.user.display();
    out.result(
        &json!({
            "name": person.name,
            "role": person.role,
            "consortium": person.consortium,
            "coordinator": person.coordinator,
            "user": args.user,
        }),
        format!(
            "{} has access to {} as {}; the key was made here and is in {directory}\n\
             use it with --user {directory}, or set COLLEGIUM_USER={directory}",
            person.name, person.consortium, person.role
        ),
    )
}

async fn list(coordinator: Coordinator, out: Output) -> anyhow::Result<()> {
    let client = connect(&coordinator).await?;
    let users = client.users().await?;
    client.finish().await;
    let mut rows = table(&["name", "role", "access", "until or since"]);
    for user in &users {
        rows.add_row([
            user.name.to_string(),
            user.role.to_string(),
            word(user.state).to_owned(),
            moment::minute(user.at),
        ]);
    }
    let describe = |user: &UserSummary| {
        json!({
            "name": user.name, "role": user.role, "state": word(user.state), "at": user.at,
        })
    };
    out.result(
        &users.iter().map(describe).collect::<Vec<_>>(),
        rows.to_string(),
    )
}

fn word(state: UserState) -> &'static str {
    match state {
        UserState::Invited => "invited",
        UserState::Active => "active",
        UserState::Expired => "expired",
        UserState::Revoked => "revoked",
    }
}

async fn revoke(name: &str, coordinator: Coordinator, out: Output) -> anyhow::Result<()> {
    let name = parse(name)?;
    let client = connect(&coordinator).await?;
    client.revoke_user(&name).await?;
    client.finish().await;
    out.result(
        &json!({ "revoked": name }),
        format!("{name} has no access any more"),
    )
}
