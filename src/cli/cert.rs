//! `collegium cert`: certificates, one's own and everybody's.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, ensure};
use clap::Subcommand;
use collegium_protocol::message::admin::CertificateSummary;
use collegium_protocol::moment;
use collegium_protocol::pki::{Peer, Serial, renew_at};
use serde_json::json;

use super::client::{Coordinator, connect};
use super::interruptible;
use crate::output::{Output, table};
use crate::person;

/// What one does with certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show one's own certificate: who, until when.
    Show(Own),
    /// Get a new key and certificate now; the old one is taken away. A daemon that runs goes on.
    Rotate(Own),
    /// Show every certificate that has not ended.
    List {
        #[command(flatten)]
        coordinator: Coordinator,
    },
    /// Take certificates away, at once.
    Revoke {
        /// A serial number of `cert list`, or ROLE/NAME for all of one holder.
        which: String,
        #[command(flatten)]
        coordinator: Coordinator,
    },
}

/// Whose certificate is meant.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct Own {
    /// The node's: its state directory.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// A person's: the directory that `user join` made.
    #[arg(long, value_name = "DIR")]
    user: Option<PathBuf>,
    /// The founding operator's: the coordinator's state directory.
    #[arg(long, value_name = "DIR")]
    coordinator_state: Option<PathBuf>,
}

/// Carries out the command.
///
/// # Errors
/// What the coordinator answered, or what is wrong with a file.
pub(crate) fn run(command: Command, out: Output) -> anyhow::Result<ExitCode> {
    interruptible(async move {
        match command {
            Command::Show(own) => show(&own.certificate()?, "", out),
            Command::Rotate(own) => show(&own.rotate().await?, "new ", out),
            Command::List { coordinator } => list(coordinator, out).await,
            Command::Revoke { which, coordinator } => revoke(&which, coordinator, out).await,
        }
    })
}

impl Own {
    fn certificate(&self) -> anyhow::Result<Peer> {
        match (&self.state, &self.user, &self.coordinator_state) {
            (Some(state), _, _) => Ok(collegium_node::renew::certificate(state)?),
            (_, Some(user), _) => person::certificate(user),
            (_, _, Some(state)) => Ok(collegium_coordinator::client::certificate(state)?),
            (None, None, None) => anyhow::bail!("name a directory"),
        }
    }

    async fn rotate(&self) -> anyhow::Result<Peer> {
        match (&self.state, &self.user, &self.coordinator_state) {
            (Some(state), _, _) => Ok(collegium_node::renew::rotate(state).await?),
            (_, Some(user), _) => person::rotate(user).await,
            (_, _, Some(state)) => Ok(collegium_coordinator::client::rotate(state).await?),
            (None, None, None) => anyhow::bail!("name a directory"),
        }
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}

fn show(peer: &Peer, which: &str, out: Output) -> anyhow::Result<()> {
    let (from, until, renewal) = (
        seconds(peer.not_before),
        seconds(peer.not_after),
        seconds(renew_at(peer)),
    );
    out.result(
        &json!({
            "subject": peer.subject.to_string(),
            "serial": peer.serial,
            "fingerprint": peer.fingerprint.to_string(),
            "not_before": from,
            "not_after": until,
            "renewed_from": renewal,
        }),
        format!(
            "{which}certificate of {}\n  serial       {}\n  fingerprint  {}\n  good until   {}\n  \
             renewed      from {} on, by itself",
            peer.subject,
            peer.serial,
            peer.fingerprint,
            moment::minute(until),
            moment::minute(renewal)
        ),
    )
}

async fn list(coordinator: Coordinator, out: Output) -> anyhow::Result<()> {
    let client = connect(&coordinator).await?;
    let certificates = client.certificates().await?;
    client.finish().await;
    let mut rows = table(&["holder", "serial", "good until", "connections"]);
    for one in &certificates {
        let until = match one.revoked {
            Some(at) => format!("revoked {}", moment::minute(at)),
            None => moment::minute(one.not_after),
        };
        rows.add_row([
            one.subject.to_string(),
            one.serial.to_string(),
            until,
            one.connections.to_string(),
        ]);
    }
    let describe = |one: &CertificateSummary| {
        json!({
            "subject": one.subject.to_string(),
            "serial": one.serial,
            "fingerprint": one.fingerprint.to_string(),
            "not_after": one.not_after,
            "revoked": one.revoked,
            "connections": one.connections,
        })
    };
    out.result(
        &certificates.iter().map(describe).collect::<Vec<_>>(),
        rows.to_string(),
    )
}

async fn revoke(which: &str, coordinator: Coordinator, out: Output) -> anyhow::Result<()> {
    let client = connect(&coordinator).await?;
    let serials: Vec<Serial> = if which.contains('/') {
        let all = client.certificates().await?;
        let counts =
            |one: &&CertificateSummary| one.revoked.is_none() && one.subject.to_string() == which;
        all.iter().filter(counts).map(|one| one.serial).collect()
    } else {
        let hint = "give a serial number of `collegium cert list`, or ROLE/NAME";
        vec![which.parse().context(hint)?]
    };
    ensure!(
        !serials.is_empty(),
        "{which} has no certificate that counts; see `collegium cert list`"
    );
    for serial in &serials {
        client.revoke_certificate(*serial).await?;
    }
    client.finish().await;
    let text = match serials.len() {
        1 => "1 certificate taken away; its connections are closed".to_owned(),
        many => format!("{many} certificates taken away; their connections are closed"),
    };
    out.result(&json!({ "revoked": serials }), text)
}
