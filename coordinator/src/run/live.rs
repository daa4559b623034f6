//! One step under way: the machine, and what belongs to it that the machine does
//! not hold itself.

use std::collections::BTreeMap;

use collegium_automl::ask::{Ask, Totals};
use collegium_crypto::encode::{Segment, Shape};
use collegium_crypto::glwe::BodySum;
use collegium_protocol::Digest;
use collegium_protocol::ids::MemberIndex;
use collegium_protocol::message::session::ToCoordinator;
use collegium_protocol::step::{AdmittedUpload, Aggregator, Dropped, Event, StepFailure};
use tokio::time::Instant;

use super::Heard;
use crate::spool::Spooled;
use crate::upload::Arrived;

/// One step under way.
pub(super) struct Live {
    pub(super) aggregator: Aggregator,
    /// The ask's place in the search and its content hash.
    pub(super) sequence: u32,
    pub(super) ask: Digest,
    pub(super) stage: String,
    pub(super) uploads: BTreeMap<MemberIndex, Upload>,
    pub(super) sum: Option<BodySum>,
    /// Why the sum did not open, until the machine was told.
    pub(super) not_opened: Option<StepFailure>,
    pub(super) began: Instant,
    /// Whether the machine's first record, which takes the number, is on disk.
    pub(super) opened: bool,
    /// Whether an earlier process began it, and may have written it down.
    pub(super) resumed: bool,
}

/// An upload that is in.
pub(super) struct Upload {
    pub(super) admitted: AdmittedUpload,
    /// `None` once it was added.
    pub(super) body: Option<Spooled>,
}

/// How a step ended.
pub(super) enum StepEnd {
    Opened(Totals),
    Dropped(Dropped),
    /// The sum opened to something that cannot be: nothing of it is shown, and the round closes.
    Spoiled(String),
}

impl Live {
    /// A step that has just begun, or goes on.
    pub(super) fn new(aggregator: Aggregator, ask: &Ask) -> Self {
        let stage = serde_json::to_value(ask.stage).ok();
        Self {
            aggregator,
            sequence: ask.sequence,
            ask: ask
                .digest()
                .map_or(Digest([0; 32]), |digest| Digest(digest.0)),
            stage: stage
                .and_then(|stage| stage.as_str().map(str::to_owned))
                .unwrap_or_default(),
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
        self.uploads.entry(arrived.member).or_insert(Upload {
            admitted: arrived.admitted,
            body: Some(arrived.body),
        });
        Some(Event::Uploaded(receipt))
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
