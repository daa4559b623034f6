//! The ask that reads a champion's figures from test rows.

use super::{Champion, ChampionError};
use crate::ask::{Part, PartTotals};
use crate::blend::{BlendPart, Member};
use crate::family::Head;
use crate::federation::FederationError;
use crate::metric::{Metrics, Rows, ScorePart, Scored};
use crate::object::{Object, ObjectId};
use crate::task::Task;

/// What is asked: one model as it is, or a blend with its calibration.
#[derive(Clone, Debug)]
pub(crate) enum TestPart {
    One(ScorePart),
    Blend(BlendPart),
}

impl TestPart {
    /// As a part of an ask.
    pub(crate) fn part(&self) -> Part {
        match self {
            Self::One(part) => Part::Score(part.clone()),
            Self::Blend(part) => Part::Blend(part.clone()),
        }
    }

    fn read(&self, totals: &PartTotals<'_>) -> Scored {
        match self {
            Self::One(part) => part.read(totals),
            Self::Blend(part) => part.read(totals).scored,
        }
    }
}

impl Champion {
    /// Publishes its pipelines and models; returns them in the order of its voices.
    pub(crate) fn published<E: From<FederationError> + From<ChampionError>>(
        &self,
        publish: &mut dyn FnMut(Object) -> Result<ObjectId, FederationError>,
    ) -> Result<Vec<Member>, E> {
        let mut pipelines = Vec::new();
        for pipeline in self.pipelines() {
            pipelines.push(publish(Object::Pipeline(pipeline.clone()))?);
        }
        let mut members = Vec::new();
        for voice in self.voices()? {
            members.push(Member {
                pipeline: pipelines[voice.pipeline],
                model: publish(voice.object.clone())?,
            });
        }
        Ok(members)
    }

    /// The part that scores this champion on test rows, `rows` of all kinds being in the
    /// federation; publishes its pipelines and models.
    pub(crate) fn test_part<E: From<FederationError> + From<ChampionError>>(
        &self,
        task: &Task,
        rows: u64,
        publish: &mut dyn FnMut(Object) -> Result<ObjectId, FederationError>,
    ) -> Result<TestPart, E> {
        let members = self.published::<E>(publish)?;
        let voices = self.voices()?;
        let (head, folds) = (voices[0].model.head(), voices[0].model.folds() as u8);
        let metric = task.metric_with_sums();
        Ok(if let ([one], None) = (&members[..], self.calibration) {
            TestPart::One(ScorePart {
                pipeline: one.pipeline,
                model: one.model,
                on: Rows::Test,
                head,
                folds,
                rows,
                curves: head != Head::Number,
                metric,
            })
        } else {
            TestPart::Blend(BlendPart {
                weights: vec![voices.iter().map(|voice| voice.weight).collect()],
                members,
                rival: None,
                calibration: self.calibration,
                on: Rows::Test,
                head,
                folds,
                rows,
                metric,
            })
        })
    }

    /// Reads its figures, and what came of its threshold, which are then its own.
    pub(crate) fn tested(&mut self, part: &TestPart, totals: &PartTotals<'_>) {
        let scored = part.read(totals);
        self.test = Metrics::from_scored(&scored, self.pipeline.target());
        if let (Some(threshold), [curve]) = (&mut self.threshold, &scored.curves[..]) {
            threshold.test = Some(threshold.confusion(curve));
        }
    }
}
