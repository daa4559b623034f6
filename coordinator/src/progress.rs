//! What the watchers of a run see: an ordered list of events, one JSON object
//! each, that a watcher reads from any place on and waits for the next of.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::sync::watch;

/// Events kept for one run. A thorough search has some 500 steps and about two
/// events each; ten times that leaves room for waiting and notes. Beyond it the
/// oldest half is dropped, and a watcher that asks for those gets the rest.
const MAX_EVENTS: usize = 10_000;

/// One run's events; clones share them.
#[derive(Clone, Debug)]
pub struct Progress {
    log: Arc<Mutex<Log>>,
    changed: watch::Sender<u64>,
    before: Duration,
}

#[derive(Debug)]
struct Log {
    /// When the run began in this process; before that, when somebody began to watch.
    started: Instant,
    events: Vec<Arc<str>>,
    /// Number of the first event in `events`.
    first: u64,
    closed: bool,
}

/// What a watcher gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Watched {
    /// An event and its number.
    Event(u64, Arc<str>),
    /// There will be no more.
    End,
}

impl Progress {
    /// An empty list for a run that has already taken `before`.
    #[must_use]
    pub fn new(before: Duration) -> Self {
        Self {
            log: Arc::new(Mutex::new(Log {
                started: Instant::now(),
                events: Vec::new(),
                first: 0,
                closed: false,
            })),
            changed: watch::Sender::new(0),
            before,
        }
    }

    /// Time spent on this run, over every start of the daemon.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        self.before + log.started.elapsed()
    }

    /// The run begins now: time that it waited in the queue, a day perhaps, is not its own.
    pub fn begin(&self) {
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        log.started = Instant::now();
    }

    /// Adds an event: `fields` with its name and the elapsed seconds.
    pub fn publish(&self, event: &str, fields: Value) {
        let mut line = json!({ "event": event, "seconds": round_to_millis(self.elapsed()) });
        if let (Some(line), Value::Object(fields)) = (line.as_object_mut(), fields) {
            line.extend(fields);
        }
        let mut log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        if log.closed {
            return;
        }
        if log.events.len() >= MAX_EVENTS {
            log.events.drain(..MAX_EVENTS / 2);
            log.first += (MAX_EVENTS / 2) as u64;
        }
        log.events.push(line.to_string().into());
        drop(log);
        self.changed.send_modify(|version| *version += 1);
    }

    /// Says that no more events come.
    pub fn close(&self) {
        self.log
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .closed = true;
        self.changed.send_modify(|version| *version += 1);
    }

    /// The first event with a number of at least `from`, waiting for it.
    pub async fn next(&self, from: u64) -> Watched {
        let mut changed = self.changed.subscribe();
        loop {
            changed.mark_unchanged();
            if let Some(found) = self.at(from) {
                return found;
            }
            if changed.changed().await.is_err() {
                return Watched::End;
            }
        }
    }

    fn at(&self, from: u64) -> Option<Watched> {
        let log = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let number = from.max(log.first);
        let place = usize::try_from(number - log.first).ok()?;
        match log.events.get(place) {
            Some(event) => Some(Watched::Event(number, event.clone())),
            None if log.closed => Some(Watched::End),
            None => None,
        }
    }
}

/// Seconds with three decimals: enough to compare, short to read.
pub(crate) fn round_to_millis(time: Duration) -> f64 {
    (time.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(watched: Watched) -> (u64, Value) {
        match watched {
            Watched::Event(number, event) => (number, serde_json::from_str(&event).expect("JSON")),
            Watched::End => panic!("ended"),
        }
    }

    #[tokio::test]
    async fn a_watcher_reads_from_anywhere_and_waits_for_more() {
        let progress = Progress::new(Duration::from_secs(100));
        progress.publish("stage", json!({"stage": "profile"}));
        let waiting = tokio::spawn({
            let progress = progress.clone();
            async move { progress.next(1).await }
        });
        let (number, event) = text(progress.next(0).await);
        assert_eq!(
            (number, &event["event"], &event["stage"]),
            (0, &json!("stage"), &json!("profile"))
        );
        assert!(event["seconds"].as_f64().expect("a number") >= 100.0);
        progress.publish("note", json!({"text": "x"}));
        let (number, event) = text(waiting.await.expect("joins"));
        assert_eq!((number, &event["text"]), (1, &json!("x")));
        progress.close();
        progress.publish("note", json!({"text": "after the end"}));
        assert_eq!(progress.next(2).await, Watched::End);
    }

    #[tokio::test]
    async fn the_oldest_events_make_room() {
        let progress = Progress::new(Duration::ZERO);
        for number in 0..=MAX_EVENTS {
            progress.publish("note", json!({"n": number}));
        }
        let (number, event) = text(progress.next(0).await);
        assert_eq!(number, (MAX_EVENTS / 2) as u64);
        assert_eq!(event["n"], json!(MAX_EVENTS / 2));
    }
}
