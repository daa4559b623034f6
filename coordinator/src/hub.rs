//! Who is connected now: the one place where sessions and the run under way meet.
//!
//! Sessions register here and report what their nodes say; the run sends to
//! nodes by name and never holds a connection itself, so a node may come and go
//! in the middle of anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use collegium_protocol::ids::MemberName;
use collegium_protocol::limits::MAX_MEMBERS;
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::quic::{CloseCode, Connection};
use tokio::sync::{mpsc, watch};

use crate::upload::{Arrived, OpenStep};

/// Messages waiting for one node. A step delivers a share of every member to
/// each seat, with some messages around them, and a reconnect repeats them
/// once; a node that is further behind than that does not read, and is
/// disconnected.
const OUTBOUND: usize = 2 * (MAX_MEMBERS + 8);

/// Events waiting for the run. Sessions wait when it is full, which slows the
/// nodes down by flow control instead of filling memory.
const INBOUND: usize = 256;

/// What a run hears of the nodes.
#[derive(Debug)]
pub enum NodeEvent {
    /// A session began.
    Connected(MemberName),
    /// A session ended, and no newer one of the same member stands.
    Gone(MemberName),
    /// A message on the control stream.
    Said(MemberName, ToCoordinator),
    /// An upload came in whole and its signature holds.
    Uploaded(MemberName, Box<Arrived>),
}

/// The meeting place; clones share it.
#[derive(Clone, Debug)]
pub struct Hub {
    inner: Arc<Mutex<Inner>>,
    connected: watch::Sender<u64>,
    step: watch::Sender<Option<Arc<OpenStep>>>,
}

#[derive(Debug, Default)]
struct Inner {
    sessions: BTreeMap<MemberName, Session>,
    /// Bytes received over sessions that have ended.
    past: BTreeMap<MemberName, u64>,
    run: Option<mpsc::Sender<NodeEvent>>,
    next: u64,
}

#[derive(Debug)]
struct Session {
    id: SessionId,
    outbound: mpsc::Sender<ToNode>,
    connection: Connection,
}

/// Tells a member's sessions apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionId(u64);

impl Default for Hub {
    fn default() -> Self {
        Self {
            inner: Arc::default(),
            connected: watch::Sender::new(0),
            step: watch::Sender::new(None),
        }
    }
}

impl Hub {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Every section below leaves the maps whole, so a poisoned lock is harmless.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A member's new session. An older one of the same member is closed: the
    /// node dialled again before we noticed that the old path was dead.
    pub async fn enter(
        &self,
        member: &MemberName,
        connection: &Connection,
    ) -> (SessionId, mpsc::Receiver<ToNode>) {
        let (outbound, messages) = mpsc::channel(OUTBOUND);
        let (id, old) = {
            let mut inner = self.lock();
            inner.next += 1;
            let id = SessionId(inner.next);
            let session = Session {
                id,
                outbound,
                connection: connection.clone(),
            };
            let old = inner.sessions.insert(member.clone(), session);
            if let Some(old) = &old {
                *inner.past.entry(member.clone()).or_default() += old.connection.bytes_received();
            }
            (id, old)
        };
        if let Some(old) = old {
            old.connection.close(
                CloseCode::Replaced,
                "a newer connection of the same member took over",
            );
        }
        self.connected.send_modify(|version| *version += 1);
        self.report(NodeEvent::Connected(member.clone())).await;
        (id, messages)
    }

    /// A session's end.
    pub async fn leave(&self, member: &MemberName, id: SessionId) {
        {
            let mut inner = self.lock();
            if inner
                .sessions
                .get(member)
                .is_none_or(|session| session.id != id)
            {
                return;
            }
            if let Some(session) = inner.sessions.remove(member) {
                *inner.past.entry(member.clone()).or_default() +=
                    session.connection.bytes_received();
            }
        }
        self.connected.send_modify(|version| *version += 1);
        self.report(NodeEvent::Gone(member.clone())).await;
    }

    /// Tells the run under way; without one, nobody wants to know.
    pub async fn report(&self, event: NodeEvent) {
        let run = self.lock().run.clone();
        if let Some(run) = run {
            let _ = run.send(event).await;
        }
    }

    /// Makes the caller the run under way. An earlier receiver gets nothing more.
    #[must_use]
    pub fn listen(&self) -> mpsc::Receiver<NodeEvent> {
        let (sender, receiver) = mpsc::channel(INBOUND);
        self.lock().run = Some(sender);
        receiver
    }

    /// There is no run under way any more.
    pub fn unlisten(&self) {
        self.lock().run = None;
        self.step.send_replace(None);
    }

    /// Queues a message for a member. `false` when it is not connected.
    pub fn send(&self, member: &MemberName, message: ToNode) -> bool {
        let inner = self.lock();
        let Some(session) = inner.sessions.get(member) else {
            return false;
        };
        match session.outbound.try_send(message) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                session
                    .connection
                    .close(CloseCode::Busy, "the node does not read its messages");
                false
            }
            Err(mpsc::error::TrySendError::Closed(_)) => false,
        }
    }

    /// Queues a message for every connected member.
    pub fn send_all(&self, message: &ToNode) {
        for member in self.members() {
            self.send(&member, message.clone());
        }
    }

    /// Who is connected, sorted.
    #[must_use]
    pub fn members(&self) -> Vec<MemberName> {
        self.lock().sessions.keys().cloned().collect()
    }

    /// Whether a member is connected.
    #[must_use]
    pub fn is_connected(&self, member: &MemberName) -> bool {
        self.lock().sessions.contains_key(member)
    }

    /// Bytes received from a member since the daemon started.
    #[must_use]
    pub fn bytes_received(&self, member: &MemberName) -> u64 {
        let inner = self.lock();
        let past = inner.past.get(member).copied().unwrap_or_default();
        past + inner
            .sessions
            .get(member)
            .map_or(0, |session| session.connection.bytes_received())
    }

    /// Changes whenever somebody comes or goes.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.connected.subscribe()
    }

    /// Opens the gate for uploads to this step, or closes it.
    pub fn set_step(&self, step: Option<Arc<OpenStep>>) {
        self.step.send_replace(step);
    }

    /// The step that uploads are taken for now.
    #[must_use]
    pub fn step(&self) -> Option<Arc<OpenStep>> {
        self.step.borrow().clone()
    }
}
