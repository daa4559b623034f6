//! Answers under differential privacy: nothing leaves without noise, or beyond the budget.

use std::collections::BTreeSet;

use super::{Rows, SiteError, TableSite, unfit};
use crate::ask::{Ask, Encoder, Part};
use crate::family::FoldModel;
use crate::features::Pipeline;
use crate::noise::{NoiseError, NoiseKey, NoisyPart, Spent, charge};
use crate::object::ObjectId;
use crate::task::DifferentialPrivacy;

/// What stands between the exact sums and an answer: the key, and what the run has spent. A
/// daemon keeps the account on its disk as well; this one is as old as the site in memory.
#[derive(Default)]
pub(super) struct Guard {
    key: Option<(NoiseKey, u16)>,
    spent: Spent,
    /// Asks that are paid for: asked again, each gets the same noise.
    paid: BTreeSet<ObjectId>,
}

impl Guard {
    pub(super) fn arm(&mut self, key: NoiseKey, shares: u16) {
        self.key = Some((key, shares));
    }

    /// Pays for an ask.
    fn pay(&mut self, ask: &Ask, privacy: DifferentialPrivacy) -> Result<NoiseKey, SiteError> {
        let (key, shares) = self.key.as_ref().ok_or(NoiseError::NoKey)?;
        let cost = charge(ask, *shares)?;
        let digest = ask.digest()?;
        if !self.paid.contains(&digest) {
            self.spent = self.spent.admit(cost, privacy)?;
            self.paid.insert(digest);
        }
        Ok(key.clone())
    }
}

impl TableSite {
    /// The codes of an ask, each with its noise.
    pub(super) fn answer_noisy(
        &mut self,
        ask: &Ask,
        privacy: DifferentialPrivacy,
    ) -> Result<Vec<u64>, SiteError> {
        let key = self.noise.pay(ask, privacy)?;
        let mut stream = key.stream(ask.digest()?, self.data.digest());
        let mut codes = Vec::with_capacity(ask.numbers());
        for (at, part) in ask.parts.iter().enumerate() {
            let Part::Noisy(noisy) = part else {
                let (part, name) = (at + 1, part.name());
                return Err(NoiseError::Exact { part, name }.into());
            };
            let mut sums = self.exact(noisy)?;
            noisy.add_noise(&mut sums, &mut stream);
            let mut out = Encoder::new(&noisy.segments());
            for sum in sums {
                out.integer(sum)?;
            }
            codes.extend(out.finish()?);
        }
        Ok(codes)
    }

    /// The sums of a part before noise; never handed on as they are.
    fn exact(&mut self, part: &NoisyPart) -> Result<Vec<i64>, SiteError> {
        match part {
            NoisyPart::Slopes(part) => {
                self.declared(part.pipeline)?;
                if self.pipeline(part.pipeline)?.width() != part.width as usize {
                    return Err(unfit(part.pipeline, "it makes another number of columns"));
                }
                self.prepare(part.pipeline)?;
                let model = part.model.map(|id| self.model(id, part.pipeline));
                Ok(part.sums(model.transpose()?, self.training(part.pipeline)?))
            }
            NoisyPart::Outcomes(part) => {
                self.declared(part.pipeline)?;
                let pipeline = self.pipeline(part.pipeline)?;
                let sealed = Rows::new(self.data.sealed_test(pipeline)?, pipeline.target());
                let model: &dyn FoldModel = self.model(part.model, part.pipeline)?;
                Ok(part.sums(model, &sealed))
            }
        }
    }

    /// Refuses every pipeline but the one that the task declares: a steward who read the task has
    /// read what is computed of which column.
    fn declared(&self, id: ObjectId) -> Result<(), SiteError> {
        let (declared, _) = Pipeline::declared(self.data.task());
        if *self.pipeline(id)? != declared {
            return Err(unfit(id, "it is not the one that the task declares"));
        }
        Ok(())
    }
}
