//! Sites in miniature: a candidate is trained over rows of bins, without a
//! table, a pipeline or a search around it.

use std::collections::BTreeMap;

use super::model::GbdtStage;
use super::part::{GbdtPart, LevelTotals};
use super::sample::row_hashes;
use super::site::{Memory, memory_key};
use super::trainer::GbdtTrainer;
use super::{GbdtObject, NAME};
use crate::ask::{Ask, Encoder, Part, Segment, Stage, Totals};
use crate::family::{AnyPart, FamilyPart, Trainer};
use crate::features::Matrix;
use crate::metric::LossSums;
use crate::object::{Object, ObjectId};
use crate::site::{Rows, Slot};

/// A row without a table.
#[derive(Clone, PartialEq)]
pub(super) struct Line {
    pub(super) bins: Vec<u8>,
    pub(super) target: f64,
    pub(super) slot: Slot,
}

pub(super) fn rows(lines: &[Line]) -> Rows {
    let cells = lines.iter().flat_map(|line| line.bins.clone()).collect();
    let width = lines.first().map_or(0, |line| line.bins.len());
    Rows::from_parts(
        Matrix::bins(lines.len(), width, cells),
        lines.iter().map(|line| line.target).collect(),
        lines.iter().map(|line| line.slot).collect(),
    )
}

/// Sites without a table, and the stages that were published.
pub(super) struct Sites {
    sites: Vec<(Rows, Vec<u64>, BTreeMap<ObjectId, Memory>)>,
    pub(super) published: BTreeMap<ObjectId, GbdtStage>,
    /// Whether sites lose their memory before every ask.
    pub(super) forgetful: bool,
    sequence: u32,
}

impl Sites {
    pub(super) fn new(sites: &[Vec<Line>]) -> Self {
        let sites = sites.iter().map(|lines| {
            let rows = rows(lines);
            let hashes = row_hashes(&rows);
            (rows, hashes, BTreeMap::new())
        });
        Self {
            sites: sites.collect(),
            published: BTreeMap::new(),
            forgetful: false,
            sequence: 0,
        }
    }

    pub(super) fn publish(&mut self, object: Option<Object>) {
        let Some(object) = object else { return };
        let bytes = object.to_bytes().expect("bytes");
        let Object::Family(read) = Object::from_bytes(&bytes).expect("an object") else {
            panic!("a family's object");
        };
        let Some(GbdtObject::Stage(stage)) = read.downcast::<GbdtObject>() else {
            panic!("a stage");
        };
        self.published.insert(ObjectId::of(&bytes), stage.clone());
    }

    pub(super) fn sum(&mut self, part: &GbdtPart) -> LevelTotals {
        part.check().expect("a valid part");
        let segments = part.segments();
        let mut sums = vec![0; segments.iter().map(Segment::count).sum()];
        for (rows, hashes, memories) in &mut self.sites {
            if self.forgetful {
                memories.clear();
            }
            let memory = memories.entry(memory_key(part)).or_default();
            memory.recall(part, rows);
            for id in &part.stages[memory.known_stages()..] {
                memory.add_stage(*id, &self.published[id], rows);
            }
            let growing = part.growing.map(|id| &self.published[&id]);
            let mut out = Encoder::new(&segments);
            memory
                .answer(part, growing, hashes, rows, &mut out)
                .expect("an answer");
            for (sum, code) in sums.iter_mut().zip(out.finish().expect("codes")) {
                *sum += code;
            }
        }
        self.sequence += 1;
        let ask = Ask {
            sequence: self.sequence,
            stage: Stage::Race,
            task: ObjectId::of(b"task"),
            parts: vec![Part::Train(AnyPart::new(NAME, part.clone()))],
        };
        ask.check().expect("a valid ask");
        let totals = Totals {
            sums,
            contributors: (1..=self.sites.len() as u16).collect(),
        };
        totals.check(&ask).expect("possible totals");
        part.read(&totals.part(&ask, 0))
    }

    /// Trains for so many steps; the losses of every stage.
    pub(super) fn train(&mut self, trainer: &mut GbdtTrainer, steps: u32) -> Vec<LossSums> {
        let mut losses = Vec::new();
        for _ in 0..steps {
            if trainer.finished() {
                break;
            }
            let (part, new) = trainer.level();
            self.publish(new);
            let totals = self.sum(&part);
            losses.extend(trainer.learn_level(&part, totals));
        }
        losses
    }
}
