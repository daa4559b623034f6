//! The node's machine for answering: one per run.

use std::sync::Arc;

use collegium_crypto::encode::Shape;
use collegium_crypto::rand_core::CryptoRng;
use collegium_crypto::transcript::Digest;

use super::place::Place;
use super::plan::StepPlan;
use super::record::{NodeRecord, StepRecord};
use super::upload::{ReadyUpload, Sealing};
use super::{NodeAction, refuse};
use crate::codec::Blob;
use crate::ids::{RunId, StepNumber};
use crate::message::session::ToCoordinator;
use crate::message::step::{Announce, Part, StepRef};
use crate::message::verify::{BodyHash, LinearHashes, OpenedStep};
use crate::refusal::{Refusal, RefusalCode};

/// What the site itself says to an ask, before anything is recorded or computed.
#[derive(Debug, Clone)]
pub enum LocalVerdict {
    /// The ask is one of the closed, capped kinds and local policy allows it.
    Allowed {
        /// The answer's shape, derived by this node from the ask; never taken from the
        /// coordinator.
        shape: Shape,
    },
    /// It is not, or policy denies it.
    Refused(Refusal),
}

/// Answers the steps of one run, each at most once.
pub struct Contributor {
    place: Arc<Place>,
    run: RunId,
    /// The highest step begun; on disk before anything of it is computed.
    last: Option<StepRef>,
    state: State,
    /// The last commitment that was answered.
    committed: Option<OpenedStep>,
    /// The answer, once it is computed: repeated as it is.
    hashed: Option<BodyHash>,
}

enum State {
    /// Nothing under way; the last step, if any, cannot be answered again.
    Idle,
    /// The trainer computes.
    Answering(Box<StepPlan>),
    /// The codes are being encrypted, and may be streamed already.
    Sealing(StepRef),
    /// Answered; the bytes are kept while the step lives, to be repeated as they are.
    Answered(Arc<ReadyUpload>),
}

impl Contributor {
    /// Goes on from what is on disk; records of other runs and kinds are passed over.
    #[must_use]
    pub fn restore<'a>(
        place: Arc<Place>,
        run: RunId,
        records: impl IntoIterator<Item = &'a NodeRecord>,
    ) -> Self {
        let last = records
            .into_iter()
            .filter_map(|record| match record {
                NodeRecord::Step(record) if record.step.run == run => Some(record.step),
                _ => None,
            })
            .max_by_key(|step| step.step);
        Self {
            place,
            run,
            last,
            state: State::Idle,
            committed: None,
            hashed: None,
        }
    }

    /// A step is announced. In order: charter, parameters, coordinator's signature, ask and cap;
    /// the number against every earlier one; then the site's own verdict and the shape.
    ///
    /// Gives `Persist` and `Answer`, or the earlier upload again, or a refusal; nothing when the
    /// announcement asks for committee service only or the answer is already being computed.
    pub fn announce(&mut self, announce: &Announce, local: LocalVerdict) -> Vec<NodeAction> {
        let context = &announce.context;
        if announce.part == Part::Serve {
            return Vec::new();
        }
        match self.begin(announce, local) {
            Ok(actions) => actions,
            Err(refusal) => refuse(context.run, context.step, refusal),
        }
    }

    fn begin(
        &mut self,
        announce: &Announce,
        local: LocalVerdict,
    ) -> Result<Vec<NodeAction>, Refusal> {
        let context = &announce.context;
        if context.run != self.run {
            return Err(RefusalCode::UnknownRun.into());
        }
        self.place.check_announce(announce)?;
        let step = StepRef::of(context);
        if let Some(last) = self.last {
            if step == last {
                return self.repeat();
            }
            if step.step <= last.step {
                return Err(Refusal::new(
                    RefusalCode::StepNotNew,
                    format_args!("step {} after step {}", step.step, last.step),
                ));
            }
        }
        let shape = match local {
            LocalVerdict::Allowed { shape } => shape,
            LocalVerdict::Refused(refusal) => return Err(refusal),
        };
        let charter = Arc::clone(self.place.charter());
        let plan = StepPlan::of_context(charter, context.clone(), shape)?;
        self.last = Some(step);
        self.state = State::Answering(Box::new(plan));
        Ok(vec![
            NodeAction::Persist(NodeRecord::Step(StepRecord { step })),
            NodeAction::Answer {
                run: self.run,
                step: step.step,
                ask: announce.ask.clone(),
            },
        ])
    }

    /// The same step again: the same bytes, or nothing.
    fn repeat(&self) -> Result<Vec<NodeAction>, Refusal> {
        match &self.state {
            State::Idle => Err(RefusalCode::AlreadyAnswered.into()),
            State::Answering(_) | State::Sealing(_) => Ok(Vec::new()),
            State::Answered(upload) => Ok(vec![NodeAction::Upload(Arc::clone(upload))]),
        }
    }

    /// The trainer's codes, in the shape's order: what [`Sealing::run`] makes an upload of, piece
    /// by piece, off the network's threads. Say [`Contributor::sealed`] or
    /// [`Contributor::failed`] afterwards. `None` when the step is over.
    #[must_use]
    pub fn seal(&mut self, step: StepNumber, codes: Vec<u64>) -> Option<Sealing> {
        let plan = self.take_answering(step)?;
        self.state = State::Sealing(plan.reference());
        Some(Sealing::new(Arc::clone(&self.place), plan, codes))
    }

    /// The upload is whole; it is kept while the step lives, to be repeated as it is. `false` when
    /// the step is over: with the last handle its body is gone.
    pub fn sealed(&mut self, upload: Arc<ReadyUpload>) -> bool {
        let awaited = matches!(&self.state, State::Sealing(step) if *step == upload.step);
        if awaited {
            self.state = State::Answered(upload);
        }
        awaited
    }

    /// The upload of `step`, if that is the one answered last.
    #[must_use]
    pub fn upload(&self, step: StepNumber) -> Option<Arc<ReadyUpload>> {
        match &self.state {
            State::Answered(upload) if upload.step.step == step => Some(Arc::clone(upload)),
            _ => None,
        }
    }

    /// [`Contributor::seal`], [`Sealing::run`] and [`Contributor::sealed`] at one go, with the
    /// whole body in memory: for small answers.
    ///
    /// Gives `Upload`, a refusal when a code does not fit, or nothing when the step is over.
    pub fn answered(
        &mut self,
        step: StepNumber,
        codes: Vec<u64>,
        rng: &mut impl CryptoRng,
    ) -> Vec<NodeAction> {
        let Some(sealing) = self.seal(step, codes) else {
            return Vec::new();
        };
        let mut body = Vec::new();
        let sealed = sealing.run(1, rng, &mut |piece| {
            body.extend_from_slice(&piece);
            Ok(())
        });
        match sealed {
            Ok(sealed) => {
                let upload = Arc::new(sealed.kept(Arc::new(Blob(body))));
                self.sealed(Arc::clone(&upload));
                vec![NodeAction::Upload(upload)]
            }
            Err(error) => self.failed(step, error.refusal()),
        }
    }

    /// The trainer could not answer, or its answer could not be sealed.
    pub fn failed(&mut self, step: StepNumber, refusal: Refusal) -> Vec<NodeAction> {
        let current = match &self.state {
            State::Answering(plan) => plan.reference().step,
            State::Sealing(current) => current.step,
            State::Idle | State::Answered(_) => return Vec::new(),
        };
        if current != step {
            return Vec::new();
        }
        self.state = State::Idle;
        refuse(self.run, step, refusal)
    }

    /// The step was opened: what the coordinator commits to fixes the challenge. Gives `HashBody`,
    /// once for one commitment, and the answer again when a restarted coordinator commits to the same
    /// once more; a refusal to send when a restart took this member's body away.
    ///
    /// # Errors
    /// A refusal to take part in the run any longer: a second commitment for one step proves that
    /// the coordinator lies about one of them.
    pub fn opened(&mut self, opened: &OpenedStep) -> Result<Vec<NodeAction>, Refusal> {
        opened.verify(self.place.charter())?;
        let upload = match &self.state {
            State::Answered(upload) if upload.step == opened.step => upload,
            // Answered before a restart. Saying so keeps the coordinator from waiting.
            State::Idle if self.last == Some(opened.step) => {
                let lost = RefusalCode::AlreadyAnswered.into();
                return Ok(refuse(self.run, opened.step.step, lost));
            }
            _ => return Ok(Vec::new()),
        };
        match self.committed {
            Some(before) if before.step != opened.step => {}
            Some(before) if before.commitment == opened.commitment => {
                let again = self.hashed.iter().copied();
                let again = again.map(|hash| NodeAction::Send(ToCoordinator::BodyHash(hash)));
                return Ok(again.collect());
            }
            Some(_) => {
                return Err(Refusal::new(
                    RefusalCode::TotalsDisputed,
                    "two signed commitments for one step",
                ));
            }
            None => {}
        }
        self.committed = Some(*opened);
        self.hashed = None;
        Ok(vec![NodeAction::HashBody {
            opened: *opened,
            upload: Arc::clone(upload),
        }])
    }

    /// The hashes under the challenge of the commitment. Gives `Send(BodyHash)`, or
    /// nothing when it is not the one last asked for.
    #[must_use]
    pub fn hashed(&mut self, opened: &OpenedStep, hashes: LinearHashes) -> Vec<NodeAction> {
        if self.committed.as_ref() != Some(opened) {
            return Vec::new();
        }
        let statement = BodyHash::sign(
            opened.step,
            self.place.index(),
            opened.commitment,
            hashes,
            self.place.identity(),
        );
        self.hashed = Some(statement);
        vec![NodeAction::Send(ToCoordinator::BodyHash(statement))]
    }

    /// The coordinator gave the step up: its bytes are forgotten, its number stays used.
    pub fn dropped(&mut self, step: StepNumber) {
        if self.last.is_some_and(|last| last.step == step) {
            self.state = State::Idle;
        }
    }

    /// Digest of the context of the step under way or answered, for logs.
    #[must_use]
    pub fn current(&self) -> Option<Digest> {
        match &self.state {
            State::Idle => None,
            State::Answering(plan) => Some(plan.reference().context),
            State::Sealing(step) => Some(step.context),
            State::Answered(upload) => Some(upload.step.context),
        }
    }

    /// Ends the computing state, if it is that of `step`.
    fn take_answering(&mut self, step: StepNumber) -> Option<Box<StepPlan>> {
        match std::mem::replace(&mut self.state, State::Idle) {
            State::Answering(plan) if plan.reference().step == step => Some(plan),
            other => {
                self.state = other;
                None
            }
        }
    }
}
