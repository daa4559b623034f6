//! The real federation, as the search sees it.
//!
//! The search is sequential code on its own thread; each call here hands the
//! ask to the asynchronous side and waits for the totals. That side may drop
//! the channel at any time, which ends the search with
//! [`FederationError::Stopped`].

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use collegium_automl::ask::{Ask, Totals};
use collegium_automl::federation::{Federation, FederationError};
use collegium_automl::object::{Object, ObjectId};
use tokio::sync::{mpsc, oneshot};

use crate::objects::ObjectStore;
use crate::progress::Progress;

/// One secure sum to be made.
#[derive(Debug)]
pub struct Call {
    /// What to ask.
    pub ask: Ask,
    /// Where the totals go.
    pub reply: oneshot::Sender<Result<Totals, FederationError>>,
}

/// What a run has published so far.
pub type Published = Arc<Mutex<BTreeSet<ObjectId>>>;

/// The search's end of the channel.
#[derive(Debug)]
pub struct Remote {
    calls: mpsc::Sender<Call>,
    objects: ObjectStore,
    published: Published,
    members: usize,
    shares: u16,
    budget: Option<Budget>,
}

/// How long a run may take, by the clock that its watchers see: over every start of the daemon.
#[derive(Debug)]
pub struct Budget {
    /// The task's `time_budget`.
    pub most: Duration,
    /// The run's clock.
    pub progress: Progress,
}

impl Remote {
    /// A federation of `members`, of whose noise so many `shares` can be counted on, and the
    /// channel on which its sums are asked for.
    #[must_use]
    pub fn new(
        objects: ObjectStore,
        members: usize,
        shares: u16,
        budget: Option<Budget>,
    ) -> (Self, mpsc::Receiver<Call>, Published) {
        // The search waits for each answer, so more than one call never waits.
        let (calls, receiver) = mpsc::channel(1);
        let published = Published::default();
        (
            Self {
                calls,
                objects,
                published: published.clone(),
                members,
                shares,
                budget,
            },
            receiver,
            published,
        )
    }
}

impl Federation for Remote {
    fn publish(&mut self, object: Object) -> Result<ObjectId, FederationError> {
        let bytes = object.to_bytes()?;
        let id = self.objects.put(&bytes).map_err(|error| {
            FederationError::Stopped(format!("an object cannot be kept: {error}"))
        })?;
        self.published
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id);
        Ok(id)
    }

    fn sum(&mut self, ask: &Ask) -> Result<Totals, FederationError> {
        let stopped = || FederationError::Stopped("the run was ended from outside".to_owned());
        let (reply, totals) = oneshot::channel();
        self.calls
            .blocking_send(Call {
                ask: ask.clone(),
                reply,
            })
            .map_err(|_| stopped())?;
        totals.blocking_recv().map_err(|_| stopped())?
    }

    fn members(&self) -> usize {
        self.members
    }

    fn honest_shares(&self) -> u16 {
        self.shares
    }

    fn time_is_up(&mut self, _steps: u32) -> Result<bool, FederationError> {
        let spent = |budget: &Budget| budget.progress.elapsed() >= budget.most;
        Ok(self.budget.as_ref().is_some_and(spent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_is_up_by_the_clock_that_watchers_see_over_all_starts_of_the_daemon() {
        let directory = tempfile::tempdir().expect("tempdir");
        let objects = ObjectStore::open(directory.path()).expect("opens");
        let spent = |before: u64, most: Option<u64>| {
            let budget = most.map(|most| Budget {
                most: Duration::from_secs(most),
                progress: Progress::new(Duration::from_secs(before)),
            });
            let (mut remote, _calls, _published) = Remote::new(objects.clone(), 4, 2, budget);
            remote.time_is_up(1).expect("it knows")
        };
        assert!(spent(3600, Some(3600)));
        assert!(!spent(0, Some(3600)));
        assert!(!spent(3600, None));
    }
}
