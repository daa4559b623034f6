//! Who is connected now: the one place where sessions and the run under way meet.
//!
//! Sessions register here and report what their nodes say; the run sends to
//! nodes by name and never holds a connection itself, so a node may come and go
//! in the middle of anything.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use collegium_protocol::ids::{MemberName, ProcessId};
use collegium_protocol::limits::MAX_MEMBERS;
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::quic::{CloseCode, Connection};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use crate::upload::{Arrived, OpenStep};

/// Messages waiting for one node. A step delivers a share of every member to
/// each seat, with some messages around them, and a reconnect repeats them
/// once; a node that is further behind than that does not read, and is
/// disconnected.
const OUTBOUND: usize = 2 * (MAX_MEMBERS + 8);

/// Events waiting for the run. Sessions wait when it is full, which slows the
/// nodes down by flow control instead of filling memory.
const INBOUND: usize = 256;

/// How often to look whether a node that was sent something has answered.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

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
    process: ProcessId,
    since: SystemTime,
    outbound: mpsc::Sender<ToNode>,
    connection: Connection,
    /// The last other process that was turned away because of this one.
    turned_away: Option<ProcessId>,
}

/// A session of another process that stands where a member's node wants to enter.
#[derive(Debug)]
pub struct Standing {
    id: SessionId,
    outbound: mpsc::Sender<ToNode>,
    /// Its connection.
    pub connection: Connection,
    /// When it began.
    pub since: SystemTime,
}

impl Standing {
    /// Whether its node is there: whether anything comes from it within `patience` after it was sent
    /// something.
    pub async fn answers(&self, patience: Duration) -> bool {
        let before = self.connection.packets_received();
        // A session that has just ended does not take it, and its connection is closed.
        let _ = self.outbound.try_send(ToNode::Probe);
        let answer = async {
            while !self.connection.is_closed() {
                sleep(LOOK_AGAIN).await;
                if self.connection.packets_received() > before {
                    return true;
                }
            }
            false
        };
        timeout(patience, answer).await.unwrap_or(false)
    }
}

impl Session {
    fn standing(&self) -> Standing {
        Standing {
            id: self.id,
            outbound: self.outbound.clone(),
            connection: self.connection.clone(),
            since: self.since,
        }
    }
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

    /// A new session of a member's node, which is `process`. An older one of the same process is closed:
    /// the node dialled again before we noticed that the old path was dead. So is the one named by
    /// `over`, which was found dead.
    ///
    /// # Errors
    /// [`Standing`], where another process has a session.
    pub async fn enter(
        &self,
        member: &MemberName,
        process: ProcessId,
        connection: &Connection,
        over: Option<&Standing>,
    ) -> Result<(SessionId, mpsc::Receiver<ToNode>), Box<Standing>> {
        let (outbound, messages) = mpsc::channel(OUTBOUND);
        let (id, old) = {
            let mut inner = self.lock();
            if let Some(old) = inner.sessions.get(member)
                && old.process != process
                && over.is_none_or(|over| over.id != old.id)
            {
                return Err(Box::new(old.standing()));
            }
            inner.next += 1;
            let id = SessionId(inner.next);
            let session = Session {
                id,
                process,
                since: SystemTime::now(),
                outbound,
                connection: connection.clone(),
                turned_away: None,
            };
            let old = inner.sessions.insert(member.clone(), session);
            if let Some(old) = &old {
                *inner.past.entry(member.clone()).or_default() += old.connection.bytes_received();
            }
            (id, old)
        };
        if let Some(old) = old {
            let why = if old.process == process {
                "a newer connection of the same node took over"
            } else {
                "this node did not answer, and another one of the same member took its place"
            };
            old.connection.close(CloseCode::Replaced, why);
        }
        self.connected.send_modify(|version| *version += 1);
        self.report(NodeEvent::Connected(member.clone())).await;
        Ok((id, messages))
    }

    /// Notes that a process was turned away because of a session that stands; whether that is news.
    pub fn turn_away(&self, member: &MemberName, process: ProcessId) -> bool {
        let mut inner = self.lock();
        let session = inner.sessions.get_mut(member);
        session.is_some_and(|session| session.turned_away.replace(process) != Some(process))
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
