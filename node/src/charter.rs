//! The steward's side of the charter: read what is proposed, compare, sign.
//!
//! Whatever the coordinator shows is checked here before it is shown or signed: its form, its
//! thresholds, that this member stands in it with exactly the keys made at this site, and, once a
//! charter is pinned, that it follows from that one.

use std::path::Path;
use std::sync::Arc;

use collegium_protocol::charter::{CharterError, SignedCharter, VerifiedCharter};
use collegium_protocol::message::admin::WhichCharter;
use collegium_protocol::quic::{AdminClient, AdminError, CharterState};

use crate::config::{Config, ConfigError, Flags, Sources};
use crate::keys::{KeyError, NodeKeys};
use crate::store::{Store, StoreError};

/// Why a charter cannot be shown or signed.
#[derive(Debug, thiserror::Error)]
pub enum SteerError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeyError),
    /// The coordinator.
    #[error(transparent)]
    Admin(#[from] AdminError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The charter breaks a rule.
    #[error("do not sign: {0}")]
    Charter(#[from] CharterError),
    /// Nothing to sign.
    #[error(
        "no charter is proposed; the coordinator's operator runs `collegium charter propose` once \
         every member has joined"
    )]
    NothingProposed,
    /// Not a member of it.
    #[error(
        "do not sign: {0} does not stand in the proposed charter with the keys made at this site; \
         ask the coordinator's operator"
    )]
    NotAMember(String),
    /// A charter is pinned already.
    #[error(
        "a charter is pinned at this site already; this version of collegium founds consortia and \
         does not change their members"
    )]
    AlreadyPinned,
}

/// The charters that the coordinator has.
#[derive(Debug, Clone)]
pub struct Charters {
    /// In force, if one is.
    pub in_force: Option<CharterState>,
    /// Being signed, if one is.
    pub proposed: Option<CharterState>,
}

/// Fetches both charters for reading.
///
/// # Errors
/// [`SteerError`], when the site has not joined or the coordinator does not answer.
pub async fn show(state: &Path) -> Result<Charters, SteerError> {
    let (_, client) = dial(state).await?;
    let in_force = client.fetch_charter(WhichCharter::InForce).await?;
    let proposed = client.fetch_charter(WhichCharter::Proposed).await?;
    client.finish().await;
    Ok(Charters { in_force, proposed })
}

/// A proposal that passed every check but the steward's own eyes.
pub struct Proposal {
    keys: NodeKeys,
    client: AdminClient,
    state: CharterState,
}

/// Fetches the proposal and checks it.
///
/// # Errors
/// [`SteerError`]; do not sign what is refused here.
pub async fn proposal(state: &Path) -> Result<Proposal, SteerError> {
    let (keys, client) = dial(state).await?;
    let proposed = client.fetch_charter(WhichCharter::Proposed).await?;
    let proposed = proposed.ok_or(SteerError::NothingProposed)?;
    check(&proposed.charter, &keys, pinned(state).await?.as_ref())?;
    Ok(Proposal {
        keys,
        client,
        state: proposed,
    })
}

impl Proposal {
    /// What is proposed and who has signed.
    #[must_use]
    pub fn state(&self) -> &CharterState {
        &self.state
    }

    /// Signs it and hands the signature in, with this member's part of the beacon where the
    /// charter draws a committee; returns the charter as it is then.
    ///
    /// # Errors
    /// [`SteerError::Admin`], for instance when another charter was proposed meanwhile;
    /// [`SteerError::Keys`] when the part was revealed for another charter.
    pub async fn sign(self) -> Result<CharterState, SteerError> {
        let charter = &self.state.charter.charter;
        let signature = charter.sign(&self.keys.identity);
        let reveal = self.keys.beacon.reveal(charter)?;
        let digest = charter.digest();
        let state = self
            .client
            .submit_charter_signature(digest, signature, reveal)
            .await?;
        self.client.finish().await;
        Ok(state)
    }
}

fn check(
    signed: &SignedCharter,
    keys: &NodeKeys,
    pinned: Option<&Arc<VerifiedCharter>>,
) -> Result<(), SteerError> {
    let charter = &signed.charter;
    charter.check_form()?;
    if pinned.is_some_and(|pinned| pinned.digest() != charter.digest()) {
        return Err(SteerError::AlreadyPinned);
    }
    let own = charter
        .members
        .iter()
        .find(|member| member.name == keys.member);
    let as_made = own.is_some_and(|member| {
        member.identity == keys.identity.public()
            && member.sealing == *keys.sealing.public()
            && member.commitment == keys.commitment()
    });
    if !as_made {
        return Err(SteerError::NotAMember(keys.member.to_string()));
    }
    Ok(())
}

/// The charter that this node's daemon pinned.
async fn pinned(state: &Path) -> Result<Option<Arc<VerifiedCharter>>, SteerError> {
    let path = config(state)?.database();
    if !path.exists() {
        return Ok(None);
    }
    let store = Store::open(&path).await?;
    let stored = store.pinned_charter().await;
    store.close().await;
    let Some(bytes) = stored? else {
        return Ok(None);
    };
    let pinned = VerifiedCharter::from_pinned(SignedCharter::from_bytes(&bytes)?)?;
    Ok(Some(Arc::new(pinned)))
}

async fn dial(state: &Path) -> Result<(NodeKeys, AdminClient), SteerError> {
    let keys = NodeKeys::load(state)?;
    let config = config(state)?;
    let address = config.coordinator.as_ref().unwrap_or(&keys.coordinator);
    let client = AdminClient::connect(&keys.client, address).await?;
    Ok((keys, client))
}

fn config(state: &Path) -> Result<Config, ConfigError> {
    let flags = Flags {
        state: Some(state.to_owned()),
        ..Flags::default()
    };
    Config::load(&Sources::from_process(None, flags))
}
