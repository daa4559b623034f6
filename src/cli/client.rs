//! How a person's command reaches the coordinator.

use std::path::PathBuf;

use collegium_protocol::quic::AdminClient;

/// With whose certificate a command speaks to the coordinator.
#[derive(Debug, clap::Args)]
pub(crate) struct Coordinator {
    /// The coordinator's state directory, whose operator's certificate is used.
    #[arg(
        long = "coordinator-state",
        env = "COLLEGIUM_COORDINATOR_STATE",
        value_name = "DIR"
    )]
    pub(crate) state: PathBuf,
}

/// Connects to the running daemon.
///
/// # Errors
/// When it does not run or refuses, with what to do.
pub(crate) async fn connect(coordinator: &Coordinator) -> anyhow::Result<AdminClient> {
    Ok(collegium_coordinator::client::operator(&coordinator.state).await?)
}
