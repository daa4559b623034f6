//! One step under way: the machine, and what belongs to it that the machine does
//! not hold itself.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use collegium_automl::ask::{Ask, Totals};
use collegium_automl::noise::{Spent, charge};
use collegium_crypto::encode::{Segment, Shape};
use collegium_crypto::glwe::BodySum;
use collegium_protocol::Digest;
use collegium_protocol::ids::MemberIndex;
use collegium_protocol::message::session::ToCoordinator;
use collegium_protocol::step::{AdmittedUpload, Aggregator, Dropped, Event, StepFailure};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::Instant;

use super::Heard;
use crate::stepfiles::{IN_DATABASE, Shares, StepFiles};
use crate::sum::{RunningSum, SumError};
use crate::upload::Arrived;

/// One step under way.
pub(super) struct Live {
    pub(super) aggregator: Aggregator,
    /// The ask's place in the search and its content hash.
    pub(super) sequence: u32,
    pub(super) ask: Digest,
    pub(super) stage: String,
    /// What the step tells about one row, in zCDP, under differential privacy.
    pub(super) rho: Option<Spent>,
    pub(super) uploads: BTreeMap<MemberIndex, AdmittedUpload>,
    /// The sealed shares of `uploads`.
    pub(super) shares: Shares,
    /// Adds the bodies as they come.
    running: RunningSum,
    /// The sum over the set being proposed, while it is made and synced.
    pub(super) summing: Option<Summing>,
    pub(super) sum: Option<BodySum>,
    /// Why the sum did not open, until the machine was told.
    pub(super) not_opened: Option<StepFailure>,
    pub(super) began: Instant,
    /// Whether the machine's first record, which takes the number, is on disk.
    pub(super) opened: bool,
    /// Whether an earlier process began it, and may have written it down.
    pub(super) resumed: bool,
}

/// A sum under way on a thread that computes and, if it is large, writes it to its file.
pub(super) type Summing = JoinHandle<Result<BodySum, SumError>>;

/// How a step ended.
pub(super) enum StepEnd {
    Opened(Totals),
    Dropped(Dropped),
    /// The sum opened to something that cannot be: nothing of it is shown, and the round closes.
    Spoiled(String),
}

impl Live {
    /// A step that has just begun, or goes on.
    pub(super) fn new(aggregator: Aggregator, ask: &Ask, shares: Shares) -> Self {
        let stage = serde_json::to_value(ask.stage).ok();
        Self {
            running: RunningSum::new(aggregator.plan().empty_sum()),
            shares,
            summing: None,
            aggregator,
            sequence: ask.sequence,
            ask: ask
                .digest()
                .map_or(Digest([0; 32]), |digest| Digest(digest.0)),
            stage: stage
                .and_then(|stage| stage.as_str().map(str::to_owned))
                .unwrap_or_default(),
            // The sites have their own idea of how many shares of noise there are.
            rho: charge(ask, u16::MAX).ok(),
            uploads: BTreeMap::new(),
            sum: None,
            not_opened: None,
            began: Instant::now(),
            opened: false,
            resumed: false,
        }
    }

    /// Translates for the machine; keeps what an upload brought.
    pub(super) fn event(&mut self, heard: Heard) -> Option<Event> {
        match heard {
            Heard::Ready(member) => Some(Event::Connected(member)),
            Heard::Gone(member) => Some(Event::Disconnected(member)),
            Heard::Uploaded(arrived) => self.keep(*arrived),
            Heard::Said(from, message) => match message {
                ToCoordinator::StepRefused { run, step, refusal }
                    if run == self.aggregator.plan().reference().run =>
                {
                    Some(Event::Refused {
                        from,
                        step,
                        refusal,
                    })
                }
                ToCoordinator::Verdict(verdict) => Some(Event::Verdict { from, verdict }),
                ToCoordinator::Vote(vote) => Some(Event::Vote { from, vote }),
                ToCoordinator::Release(release) => Some(Event::Release { from, release }),
                _ => None,
            },
        }
    }

    fn keep(&mut self, arrived: Arrived) -> Option<Event> {
        if arrived.step != self.aggregator.plan().reference() {
            return None;
        }
        let receipt = arrived.admitted.receipt();
        if let Entry::Vacant(place) = self.uploads.entry(arrived.member) {
            place.insert(arrived.admitted);
            self.running.arrive(arrived.member, arrived.body);
            let running = self.running.clone();
            // The next uploads come in while this one is added.
            spawn_blocking(move || running.catch_up());
        }
        Some(Event::Uploaded(receipt))
    }

    /// Begins to make the sum over the set about to be proposed, and to write it to `files` if it
    /// is too large to go into the database with the proposal.
    pub(super) fn begin_sum(&mut self, members: Vec<MemberIndex>, files: &StepFiles) {
        let plan = self.aggregator.plan();
        let large = (plan.body_len() > IN_DATABASE).then(|| (files.clone(), plan.reference()));
        let running = self.running.clone();
        self.summing = Some(spawn_blocking(move || {
            let sum = running.finish(&members)?;
            if let Some((files, step)) = large {
                files.save_sum(&step, &sum)?;
            }
            Ok(sum)
        }));
    }
}

/// The ask's shape, as the protocol sees it.
pub(super) fn shape_of(ask: &Ask) -> Shape {
    let segment = |segment: &collegium_automl::ask::Segment| Segment {
        max: segment.max_code(),
        count: segment.count(),
    };
    Shape(ask.segments().iter().map(segment).collect())
}
