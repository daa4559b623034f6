//! One step driven by hand, message by message, with a place to change what members say.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use collegium_crypto::glwe::BodySum;
use collegium_protocol::MemberIndex;
use collegium_protocol::message::session::{ToCoordinator, ToNode};
use collegium_protocol::step::{
    Action, AdmittedUpload, Aggregator, Event, Opening, StepFailure, StepPlan, Timing,
};

use super::{Node, Up, World, admit};

/// What the machine wants next that is more than passing on a message.
#[derive(Debug)]
pub enum Next {
    Open(Box<Opening>),
    Spoiled(StepFailure),
    /// Nothing, until something happens.
    Idle,
}

/// A step of all members of a world.
pub struct Drive {
    pub world: World,
    pub nodes: Vec<Node>,
    pub sum: BodySum,
    pub plan: Arc<StepPlan>,
    aggregator: Aggregator,
    uploads: BTreeMap<MemberIndex, (AdmittedUpload, Vec<u8>)>,
    queue: VecDeque<Action>,
}

impl Drive {
    pub fn begin(members: usize, seed: u64, ask: &[u8]) -> Self {
        let world = World::new(members, seed);
        let plan = world.plan(1, ask);
        let announce = world.announce(&plan, ask);
        let connected = world.members().into_iter().collect();
        let (aggregator, actions) = Aggregator::start(
            Arc::clone(&plan),
            announce,
            connected,
            Timing::default(),
            Duration::ZERO,
        );
        Self {
            nodes: world.nodes(),
            world,
            sum: plan.empty_sum(),
            plan,
            aggregator,
            uploads: BTreeMap::new(),
            queue: actions.into(),
        }
    }

    /// Something happens at a time.
    pub fn tell(&mut self, event: Event, now: Duration) {
        self.queue.extend(self.aggregator.handle(event, now));
    }

    /// Goes on until the machine wants something; `say` may change, or withhold, what members say.
    pub fn run(
        &mut self,
        mut say: impl FnMut(&World, MemberIndex, ToCoordinator) -> Option<ToCoordinator>,
    ) -> Next {
        while let Some(action) = self.queue.pop_front() {
            let (to, message) = match action {
                Action::Send { to, message } => (to, ToNode::clone(&message)),
                Action::Deliver { to, dealer } => {
                    let delivery = self.uploads[&dealer].0.delivery(to).unwrap();
                    (to, ToNode::Deliver(delivery))
                }
                Action::SyncUploads { members } => {
                    for member in members {
                        self.sum.add_bytes(&self.uploads[&member].1).unwrap();
                    }
                    continue;
                }
                Action::Open(opening) => return Next::Open(opening),
                Action::Spoiled(failure) => return Next::Spoiled(failure),
                _ => continue,
            };
            for up in self.nodes[to.position()].tell(message) {
                let event = match up {
                    Up::Upload(upload) => {
                        let admitted = admit(&self.plan, to, &upload).unwrap();
                        let receipt = admitted.receipt();
                        let body = upload.body().unwrap();
                        self.uploads.insert(to, (admitted, body));
                        Some(Event::Uploaded(receipt))
                    }
                    Up::Message(message) => say(&self.world, to, message).map(|it| event(to, it)),
                };
                if let Some(event) = event {
                    self.queue
                        .extend(self.aggregator.handle(event, Duration::ZERO));
                }
            }
        }
        Next::Idle
    }

    /// Goes on until everybody was honest and the sum can be opened.
    pub fn opening(&mut self) -> Box<Opening> {
        match self.run(|_, _, message| Some(message)) {
            Next::Open(opening) => opening,
            other => panic!("expected an opening: {other:?}"),
        }
    }
}

fn event(from: MemberIndex, message: ToCoordinator) -> Event {
    match message {
        ToCoordinator::Verdict(verdict) => Event::Verdict { from, verdict },
        ToCoordinator::Vote(vote) => Event::Vote { from, vote },
        ToCoordinator::Release(release) => Event::Release { from, release },
        other => panic!("not expected: {other:?}"),
    }
}
