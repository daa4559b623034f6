//! The steward's side of the charter: read what is proposed, compare, sign.
//!
//! Whatever the coordinator shows is checked here before it is shown or signed: its form, its
//! thresholds, that this member stands in it with exactly the keys made at this site, and, once a
//! charter is pinned, that it follows from that one.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use collegium_protocol::charter::{CharterError, CharterMember, SignedCharter, VerifiedCharter};
use collegium_protocol::message::admin::WhichCharter;
use collegium_protocol::quic::{AdminClient, AdminError, CharterState};

use crate::config::{Config, ConfigError, Flags, Sources};
use crate::keys::{self, KeyError, NodeKeys};
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

/// What this site's steward is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A signature: this site is a founding member, or a member of the version before.
    Sign,
    /// Its word that this is the consortium it wants to join: the members of the version before sign.
    Accept,
}

/// A charter that passed every check but the steward's own eyes.
pub struct Proposal {
    directory: PathBuf,
    keys: NodeKeys,
    client: AdminClient,
    state: CharterState,
    part: Part,
}

/// Fetches what there is to sign, or to accept, and checks it.
///
/// # Errors
/// [`SteerError`]; do not sign what is refused here.
pub async fn proposal(state: &Path) -> Result<Proposal, SteerError> {
    let (keys, client) = dial(state).await?;
    let in_force = client.fetch_charter(WhichCharter::InForce).await?;
    let proposed = client.fetch_charter(WhichCharter::Proposed).await?;
    let pinned = match pinned(state).await? {
        Some(pinned) => Some(pinned),
        // A founding member whose daemon has not run yet has pinned nothing.
        None => in_force.as_ref().and_then(|founding| {
            let verified = founding.charter.verify(None).ok()?;
            is_member(&verified.charter().members, &keys).then(|| Arc::new(verified))
        }),
    };
    // A site that was added may come when the others have put the charter in force already.
    let added = in_force.filter(|charter| pinned.is_none() && charter.charter.charter.version > 1);
    let found = proposed.or(added).ok_or(SteerError::NothingProposed)?;
    let part = check(&found.charter, &keys, pinned.as_deref())?;
    Ok(Proposal {
        directory: state.to_owned(),
        keys,
        client,
        state: found,
        part,
    })
}

impl Proposal {
    /// What is proposed and who has signed.
    #[must_use]
    pub fn state(&self) -> &CharterState {
        &self.state
    }

    /// What the steward is asked for.
    #[must_use]
    pub fn part(&self) -> Part {
        self.part
    }

    /// Signs it and hands the signature in, with this member's part of the beacon where the
    /// charter draws a committee, or accepts it; returns the charter as it is then.
    ///
    /// # Errors
    /// [`SteerError::Admin`], for instance when another charter was proposed meanwhile;
    /// [`SteerError::Keys`] when the part was revealed for another charter.
    pub async fn sign(self) -> Result<CharterState, SteerError> {
        let charter = &self.state.charter.charter;
        let digest = charter.digest();
        if self.part == Part::Accept {
            keys::accept(&self.directory, digest)?;
            self.client.finish().await;
            return Ok(self.state);
        }
        let signature = charter.sign(&self.keys.identity);
        let reveal = self.keys.beacon.reveal(charter)?;
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
    pinned: Option<&VerifiedCharter>,
) -> Result<Part, SteerError> {
    let charter = &signed.charter;
    charter.check_form()?;
    if !is_member(&charter.members, keys) {
        return Err(SteerError::NotAMember(keys.member.to_string()));
    }
    match pinned {
        Some(pinned) if pinned.digest() == charter.digest() => Ok(Part::Sign),
        Some(pinned) => {
            signed.check_follows(pinned)?;
            Ok(Part::Sign)
        }
        None if charter.version == 1 => Ok(Part::Sign),
        None => Ok(Part::Accept),
    }
}

/// Whether this site stands there with exactly the keys made at it.
fn is_member(members: &[CharterMember], keys: &NodeKeys) -> bool {
    let own = members.iter().find(|member| member.name == keys.member);
    own.is_some_and(|member| {
        member.identity == keys.identity.public()
            && member.sealing == *keys.sealing.public()
            && member.commitment == keys.commitment()
    })
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
    let client = AdminClient::connect(&keys.client, &address(state, &keys)?).await?;
    Ok((keys, client))
}

/// Where the node in `state` finds its coordinator.
pub(crate) fn address(state: &Path, keys: &NodeKeys) -> Result<String, ConfigError> {
    let configured = config(state)?.coordinator;
    Ok(configured.unwrap_or_else(|| keys.coordinator.clone()))
}

fn config(state: &Path) -> Result<Config, ConfigError> {
    let flags = Flags {
        state: Some(state.to_owned()),
        ..Flags::default()
    };
    Config::load(&Sources::from_process(None, flags))
}
