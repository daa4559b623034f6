//! Two champions side by side on a site's rows.

use std::collections::BTreeSet;

use super::{MAX_CACHED, SiteError, TableSite, unfit};
use crate::ask::Encoder;
use crate::data::Withheld;
use crate::metric::{ComparePart, Voice, Voter};

impl TableSite {
    /// Answers the comparison of two champions.
    ///
    /// # Errors
    /// When an object is missing or is not what the part says, or the pipelines of the two do
    /// not make the same rows.
    pub(super) fn answer_compare(
        &mut self,
        part: &ComparePart,
        out: &mut Encoder,
    ) -> Result<(), SiteError> {
        let pipelines: BTreeSet<_> = part.voters().map(|voter| voter.pipeline).collect();
        let new = pipelines
            .iter()
            .filter(|id| !self.training.contains_key(*id));
        // All of them are needed at once: making one must not throw away another.
        if self.training.len() + new.count() > MAX_CACHED {
            self.training.retain(|id, _| pipelines.contains(id));
        }
        for id in &pipelines {
            self.prepare(*id)?;
        }
        let voices = |voters: &[Voter]| {
            let voices = voters.iter().map(|voter| self.voice(voter, part));
            voices.collect::<Result<Vec<_>, _>>()
        };
        let (old, new) = (voices(&part.old.voters)?, voices(&part.new.voters)?);
        let rows = new.first().map_or(0, |voice| voice.rows.len());
        let classes = new.first().map(|voice| voice.target.labels());
        for (voice, voter) in old.iter().chain(&new).zip(part.voters()) {
            // Rows are told apart by their place: only the same targets make the same places.
            if voice.rows.len() != rows || Some(voice.target.labels()) != classes {
                return Err(unfit(
                    voter.pipeline,
                    "its rows or classes are not the other's",
                ));
            }
        }
        Ok(part.answer(&old, &new, out)?)
    }

    fn voice(&self, voter: &Voter, part: &ComparePart) -> Result<Voice<'_>, SiteError> {
        let model = self.model(voter.model, voter.pipeline)?;
        if model.head() != part.head || model.folds() != usize::from(voter.folds) {
            return Err(unfit(voter.model, "its classes or folds differ"));
        }
        Ok(Voice {
            model,
            rows: self.training(voter.pipeline)?,
            target: self.pipeline(voter.pipeline)?.target(),
            weight: voter.weight,
        })
    }

    /// What the site's limits keep out of the answer.
    pub(super) fn compare_withheld(&self, part: &ComparePart) -> BTreeSet<Withheld> {
        let mut withheld = BTreeSet::new();
        if self.data.withholds_training() {
            withheld.insert(Withheld::Training);
        }
        let mut pipelines = part.voters().filter_map(|v| self.pipeline(v.pipeline).ok());
        if pipelines.any(|pipeline| self.data.withholds_fold(pipeline)) {
            withheld.insert(Withheld::Fold);
        }
        withheld
    }
}
