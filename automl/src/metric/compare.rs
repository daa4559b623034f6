//! Two champions side by side on the same validation rows.
//!
//! The difference of their losses is summed row by row ([`Difference`]).

use serde::{Deserialize, Serialize};

use crate::ask::{EncodeError, Encoder, PartTotals, Segment};
use crate::calibrate::Platt;
use crate::family::{FoldModel, Head};
use crate::features::TargetCoding;
use crate::fixed::FixedPoint;
use crate::metric::curve::{BINS, bin_of};
use crate::metric::difference::Difference;
use crate::metric::score::check_rows_and_folds;
use crate::metric::sums::loss;
use crate::object::ObjectId;
use crate::site::{Rows as SiteRows, Slot};

/// Most models of one side: with two sides a site makes the rows of at most sixteen pipelines,
/// which is what it keeps at once.
pub const MAX_VOTERS: usize = 8;
/// Most cuts of a score.
pub const MAX_SCORE_CUTS: usize = 63;

/// Asks how much smaller the losses of one champion are than those of another, on the rows that
/// validate for both, and how the scores of the older are spread.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ComparePart {
    /// The champion so far.
    pub old: Contender,
    /// Who would replace it.
    pub new: Contender,
    /// What the scores of both mean.
    pub head: Head,
    /// Training rows of the whole federation: bounds every sum.
    pub rows: u64,
    /// Where the scores of `old`, before its calibration, are cut for counting, as bins of a curve ([`bin_of`]), ascending:
    /// one list for two classes, one for each class for more, none for a number.
    pub cuts: Vec<Vec<u16>>,
}

/// One side: the weighted mean of the scores of its models, and what is done to it afterwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Contender {
    /// Its models, 1 to [`MAX_VOTERS`].
    pub voters: Vec<Voter>,
    /// What is done to the positive class's probability afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Platt>,
}

/// One model of a side.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Voter {
    /// The pipeline the model takes its columns from.
    pub pipeline: ObjectId,
    /// The model.
    pub model: ObjectId,
    /// Folds of the model.
    pub folds: u8,
    /// Its share of the side's score: above 0, and 1 over all models of the side.
    pub weight: f64,
}

/// What came of it, over the sites together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Compared {
    /// Rows that validate for both.
    pub rows: u64,
    /// Mean loss of the older: nats, or squared error in squared scales of the newer's target.
    pub old: f64,
    /// Mean loss of the newer.
    pub new: f64,
    /// Mean of (older - newer) over the rows: positive where the newer is better.
    pub gain: f64,
    /// Standard error of that mean; infinite with fewer than two rows.
    pub gain_se: f64,
    /// Rows between the cuts of the older's score, one list for each list of cuts.
    pub scores: Vec<Vec<u64>>,
}

/// A model at a site, with the rows of its pipeline.
pub(crate) struct Voice<'a> {
    pub(crate) model: &'a dyn FoldModel,
    pub(crate) rows: &'a SiteRows,
    pub(crate) target: &'a TargetCoding,
    pub(crate) weight: f64,
}

/// Log-losses are cut at 2^5 nats; squared errors at 2^10 squared scales.
const fn exponent(head: Head) -> i32 {
    match head {
        Head::Number => 10,
        Head::Binary | Head::Classes(_) => 5,
    }
}

/// Both losses, their difference, its square.
fn fixed_points(head: Head, rows: u64) -> [FixedPoint; 4] {
    let exponent = exponent(head);
    [exponent, exponent, exponent, 2 * exponent].map(|e| FixedPoint::new(rows, e))
}

impl ComparePart {
    /// The models of both sides, the older's first.
    pub(crate) fn voters(&self) -> impl Iterator<Item = &Voter> {
        self.old.voters.iter().chain(&self.new.voters)
    }

    /// Pipelines and models.
    #[must_use]
    pub fn objects(&self) -> Vec<ObjectId> {
        self.voters()
            .flat_map(|voter| [voter.pipeline, voter.model])
            .collect()
    }

    /// Rows, four sums of losses, and the counts of scores.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        let counts = |count| Segment::Count {
            max: self.rows,
            count,
        };
        let mut segments = vec![counts(1)];
        segments.extend(fixed_points(self.head, self.rows).map(|fixed| fixed.segment(1)));
        segments.extend(self.cuts.iter().map(|cuts| counts(cuts.len() + 1)));
        segments
    }

    /// Checks the caps.
    ///
    /// # Errors
    /// Names the first one that is broken.
    pub fn check(&self) -> Result<(), String> {
        self.head.check()?;
        for side in [&self.old, &self.new] {
            let voters = side.voters.len();
            if !(1..=MAX_VOTERS).contains(&voters) {
                return Err(format!("{voters} models, allowed are 1 to {MAX_VOTERS}"));
            }
            let weight: f64 = side.voters.iter().map(|voter| voter.weight).sum();
            let positive = side.voters.iter().all(|voter| voter.weight > 0.0);
            if !positive || (weight - 1.0).abs() > 1e-6 {
                return Err("weights of models are not shares of 1".to_owned());
            }
            match side.calibration {
                Some(_) if self.head != Head::Binary => {
                    return Err("a calibration of other than two classes".to_owned());
                }
                Some(calibration) => calibration.check()?,
                None => {}
            }
        }
        for voter in self.voters() {
            check_rows_and_folds(self.rows, voter.folds)?;
        }
        let lists = match self.head {
            Head::Number => 0,
            Head::Binary => 1,
            Head::Classes(classes) => usize::from(classes),
        };
        let in_order = |cuts: &Vec<u16>| {
            cuts.len() <= MAX_SCORE_CUTS
                && cuts.is_sorted_by(|a, b| a < b)
                && cuts.last().is_none_or(|last| usize::from(*last) < BINS)
        };
        if self.cuts.len() > lists || !self.cuts.iter().all(in_order) {
            return Err("cuts of scores are out of bounds".to_owned());
        }
        Ok(())
    }

    /// A site's sums.
    ///
    /// # Errors
    /// When there are more rows than the part allows for.
    pub(crate) fn answer(
        &self,
        old: &[Voice<'_>],
        new: &[Voice<'_>],
        out: &mut Encoder,
    ) -> Result<(), EncodeError> {
        let fixed = fixed_points(self.head, self.rows);
        let (mut rows, mut sums) = (0_u64, [0_i64; 4]);
        let mut counts: Vec<Vec<u64>> = self.cuts.iter().map(|c| vec![0; c.len() + 1]).collect();
        let reference = new.first();
        let length = reference.map_or(0, |voice| voice.rows.len());
        let mut old_scores = vec![0.0; self.head.scores()];
        let mut new_scores = old_scores.clone();
        for row in 0..length {
            let mut both = old.iter().chain(new);
            let validates = both.all(|voice| voice.fold(row).is_some());
            let Some(reference) = reference.filter(|_| validates) else {
                continue;
            };
            predict(old, row, &mut old_scores);
            predict(new, row, &mut new_scores);
            self.count(&old_scores, &mut counts);
            self.old.calibrate(&mut old_scores);
            self.new.calibrate(&mut new_scores);
            let old_loss = reference.loss(self.head, row, &old_scores);
            let new_loss = reference.loss(self.head, row, &new_scores);
            rows += 1;
            let gain = old_loss - new_loss;
            let values = [old_loss, new_loss, gain, gain * gain];
            for ((sum, fixed), value) in sums.iter_mut().zip(&fixed).zip(values) {
                *sum += fixed.row(value);
            }
        }
        out.count(rows)?;
        sums.iter().try_for_each(|sum| out.integer(*sum))?;
        counts
            .iter()
            .flatten()
            .try_for_each(|rows| out.count(*rows))
    }

    fn count(&self, scores: &[f64], counts: &mut [Vec<u64>]) {
        for (class, (cuts, counts)) in self.cuts.iter().zip(counts).enumerate() {
            // Of two classes the positive one is scored.
            let class = if self.head == Head::Binary { 1 } else { class };
            let bin = scores.get(class).map_or(0, |score| bin_of(*score));
            counts[cuts.partition_point(|cut| usize::from(*cut) <= bin)] += 1;
        }
    }

    /// Reads the sums from a part's totals.
    #[must_use]
    pub fn read(&self, totals: &PartTotals<'_>) -> Compared {
        let rows = totals.counts(0).first().copied().unwrap_or(0);
        let fixed = fixed_points(self.head, self.rows);
        let sum = |at: usize| fixed[at].value(totals.integers(1 + at)[0]);
        let count = rows.max(1) as f64;
        let difference = Difference::of_rounded(rows, sum(2), sum(3), fixed[3]);
        Compared {
            rows,
            old: sum(0) / count,
            new: sum(1) / count,
            gain: difference.mean(),
            gain_se: difference.standard_error(),
            scores: (0..self.cuts.len())
                .map(|list| totals.counts(1 + fixed.len() + list))
                .collect(),
        }
    }
}

impl Contender {
    fn calibrate(&self, scores: &mut [f64]) {
        if let Some(calibration) = self.calibration {
            calibration.apply(scores);
        }
    }
}

impl Voice<'_> {
    /// The fold that validates on a row, if one of this model does.
    fn fold(&self, row: usize) -> Option<usize> {
        match self.rows.slots.get(row) {
            Some(Slot::Fold(fold)) if usize::from(*fold) < self.model.folds() => {
                Some(usize::from(*fold))
            }
            _ => None,
        }
    }

    /// Mean and scale of a numeric target; 0 and 1 for classes.
    const fn unit(&self) -> (f64, f64) {
        match self.target {
            TargetCoding::Number { mean, scale } => (*mean, *scale),
            TargetCoding::Classes { .. } => (0.0, 1.0),
        }
    }

    /// The loss of a side's scores; numbers in their own unit, losses in this voice's.
    fn loss(&self, head: Head, row: usize, scores: &[f64]) -> f64 {
        let target = self.rows.targets[row];
        match head {
            Head::Number => {
                let (mean, scale) = self.unit();
                loss(head, &[(scores[0] - mean) / scale], target)
            }
            Head::Binary | Head::Classes(_) => loss(head, scores, target),
        }
    }
}

/// The side's scores of a row that validates: probabilities, or a number in its own unit.
fn predict(side: &[Voice<'_>], row: usize, scores: &mut [f64]) {
    let mut one = vec![0.0; scores.len()];
    scores.fill(0.0);
    for voice in side {
        let Some(fold) = voice.fold(row) else {
            continue;
        };
        voice.model.predict(fold, voice.rows.row(row), &mut one);
        let (mean, scale) = voice.unit();
        for (sum, score) in scores.iter_mut().zip(&one) {
            *sum += voice.weight * (score * scale + mean);
        }
    }
}

#[cfg(test)]
mod tests;
