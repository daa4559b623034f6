//! Which connections are open with which certificate, so that one that is taken away closes them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use collegium_protocol::pki::Serial;
use collegium_protocol::quic::{CloseCode, Connection};

/// Every open connection of a certificate holder; clones share it.
#[derive(Clone, Debug, Default)]
pub struct Connections(Arc<Mutex<BTreeMap<(Serial, usize), Connection>>>);

/// A connection's place; dropping it says that the connection has ended.
#[derive(Debug)]
pub struct Entered {
    connections: Connections,
    key: (Serial, usize),
}

impl Connections {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<(Serial, usize), Connection>> {
        // Every section below is one operation on the map, so a poisoned lock is harmless.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection with the certificate `serial` has begun.
    #[must_use]
    pub fn enter(&self, serial: Serial, connection: &Connection) -> Entered {
        let key = (serial, connection.id());
        self.lock().insert(key, connection.clone());
        Entered {
            connections: self.clone(),
            key,
        }
    }

    /// Closes every connection with this certificate, at once; says how many there were.
    pub fn close(&self, serial: &Serial, reason: &str) -> usize {
        let open: Vec<Connection> = self.of(&self.lock(), serial).cloned().collect();
        for connection in &open {
            connection.close(CloseCode::Revoked, reason);
        }
        open.len()
    }

    /// How many connections are open with this certificate.
    #[must_use]
    pub fn count(&self, serial: &Serial) -> usize {
        self.of(&self.lock(), serial).count()
    }

    fn of<'a>(
        &self,
        map: &'a BTreeMap<(Serial, usize), Connection>,
        serial: &Serial,
    ) -> impl Iterator<Item = &'a Connection> {
        let all = (*serial, usize::MIN)..=(*serial, usize::MAX);
        map.range(all).map(|(_, connection)| connection)
    }
}

impl Drop for Entered {
    fn drop(&mut self) {
        self.connections.lock().remove(&self.key);
    }
}
