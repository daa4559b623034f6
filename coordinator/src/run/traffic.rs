//! Bytes received from each member in a run, over restarts and reconnects.

use std::collections::BTreeMap;

use collegium_protocol::ids::{MemberName, RunId};
use serde_json::{Map, Value};

use crate::hub::Hub;
use crate::store::{Store, StoreError};

/// UDP payload bytes: uploads and everything around them.
#[derive(Clone, Debug)]
pub(super) struct Traffic {
    members: BTreeMap<MemberName, Counted>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    /// By earlier processes, and by this one as far as it was saved.
    saved: u64,
    /// What the hub said when that was.
    hub: u64,
}

impl Traffic {
    /// Starts to count for these members.
    pub(super) async fn begin(
        store: &Store,
        run: RunId,
        hub: &Hub,
        roster: &[MemberName],
    ) -> Result<Self, StoreError> {
        let saved: BTreeMap<_, _> = store.bytes_up(run).await?.into_iter().collect();
        let counted = |name: &MemberName| Counted {
            saved: saved.get(name).copied().unwrap_or_default(),
            hub: hub.bytes_received(name),
        };
        Ok(Self {
            members: roster
                .iter()
                .map(|name| (name.clone(), counted(name)))
                .collect(),
        })
    }

    /// Bytes so far, by name, as JSON.
    pub(super) fn as_json(&self, hub: &Hub) -> Value {
        let total = |(name, counted): (&MemberName, &Counted)| {
            let new = hub.bytes_received(name).saturating_sub(counted.hub);
            (name.to_string(), Value::from(counted.saved + new))
        };
        Value::Object(self.members.iter().map(total).collect::<Map<_, _>>())
    }

    /// Saves what came in since the last time.
    pub(super) async fn save(
        &mut self,
        store: &Store,
        run: RunId,
        hub: &Hub,
    ) -> Result<(), StoreError> {
        let mut received = Vec::new();
        for (name, counted) in &mut self.members {
            let now = hub.bytes_received(name);
            let new = now.saturating_sub(counted.hub);
            *counted = Counted {
                saved: counted.saved + new,
                hub: now,
            };
            received.push((name.clone(), new));
        }
        store.add_bytes_up(run, &received).await
    }
}
