//! How a person's command reaches the coordinator.

use std::path::PathBuf;

use collegium_protocol::quic::AdminClient;

use crate::person;

/// With whose certificate a command speaks to the coordinator.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
pub(crate) struct Coordinator {
    /// At the coordinator: its state directory, whose operator's certificate is used.
    #[arg(
        long = "coordinator-state",
        env = "COLLEGIUM_COORDINATOR_STATE",
        value_name = "DIR"
    )]
    pub(crate) state: Option<PathBuf>,
    /// Anywhere: the directory that `collegium user join` made, whose person's certificate is used.
    /// It wins when both are given.
    #[arg(long, env = "COLLEGIUM_USER", value_name = "DIR")]
    pub(crate) user: Option<PathBuf>,
}

/// Whose certificate it is.
pub(crate) enum Identity {
    /// The founding operator's, in a coordinator's state directory.
    Operator(PathBuf),
    /// A person's.
    Person(PathBuf),
}

impl Coordinator {
    /// Whose certificate is used.
    ///
    /// # Errors
    /// When neither is given.
    pub(crate) fn identity(&self) -> anyhow::Result<Identity> {
        match (&self.user, &self.state) {
            (Some(user), _) => Ok(Identity::Person(user.clone())),
            (None, Some(state)) => Ok(Identity::Operator(state.clone())),
            (None, None) => anyhow::bail!("say who you are with --user or --coordinator-state"),
        }
    }

    /// The flag that says the same, for a command that comes next.
    pub(crate) fn flag(&self) -> String {
        match (&self.user, &self.state) {
            (Some(user), _) => format!("--user {}", user.display()),
            (None, Some(state)) => format!("--coordinator-state {}", state.display()),
            (None, None) => String::new(),
        }
    }
}

/// Connects to the running daemon.
///
/// # Errors
/// When it does not run or refuses, with what to do.
pub(crate) async fn connect(coordinator: &Coordinator) -> anyhow::Result<AdminClient> {
    match coordinator.identity()? {
        Identity::Person(user) => person::connect(&user).await,
        Identity::Operator(state) => Ok(collegium_coordinator::client::operator(&state).await?),
    }
}
