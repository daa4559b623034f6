//! Scoring a blend on validation or test rows.

use serde::{Deserialize, Serialize};

use super::{GROUPS, Lineup, Member, check_members, mix};
use crate::ask::{EncodeError, Encoder, PartTotals, Segment};
use crate::calibrate::Platt;
use crate::family::Head;
use crate::fixed::FixedPoint;
use crate::metric::{
    Curve, Difference, LossSums, Metric, Rows, ScoreCounter, ScoreShape, Scored,
    check_rows_and_folds, loss,
};
use crate::object::ObjectId;

/// A row's difference of losses is cut at 2^2 = 4 nats, or squares of the target's scale: a single
/// row cannot decide, and squares still have fine steps where there are a million rows.
const DIFFERENCE_EXPONENT: i32 = 2;
/// Weights of a row may miss 1 by this: they come from a division.
const SUM_TOLERANCE: f64 = 1e-9;

/// Asks for the figures of a weighted mean of models' scores.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlendPart {
    /// The models.
    pub members: Vec<Member>,
    /// On validation rows, the members' weights for each group of rows; on test rows, one line of
    /// weights. Each line adds up to 1.
    pub weights: Vec<Vec<f64>>,
    /// On validation rows, the place of a member whose losses the blend's are compared with, row
    /// by row.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rival: Option<u8>,
    /// What is done to the positive class's probability afterwards.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calibration: Option<Platt>,
    /// Which rows.
    pub on: Rows,
    /// What the models' scores mean.
    pub head: Head,
    /// Folds of each model.
    pub folds: u8,
    /// Rows of the whole federation: bounds every sum.
    pub rows: u64,
    /// A metric with sums of its own, if the task ranks by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metric: Option<Metric>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct Blended {
    /// The blend's figures.
    pub scored: Scored,
    /// For two classes and on validation rows, the curve of each group.
    pub groups: Vec<Curve>,
    /// Against the rival, where there is one: differences of rows are cut at ±4.
    pub difference: Option<Difference>,
}

impl BlendPart {
    fn shape(&self) -> ScoreShape {
        ScoreShape {
            head: self.head,
            rows: self.rows,
            curves: match (self.head, self.on) {
                (Head::Binary, Rows::Validation) => GROUPS,
                (Head::Binary, Rows::Test) => 1,
                (Head::Classes(classes), _) => usize::from(classes),
                (Head::Number, _) => 0,
            },
            metric: self.metric,
        }
    }

    fn difference(&self) -> [FixedPoint; 2] {
        [DIFFERENCE_EXPONENT, 2 * DIFFERENCE_EXPONENT]
            .map(|exponent| FixedPoint::new(self.rows, exponent))
    }

    /// Losses and curves as of a single model (for two classes on validation rows a curve for each
    /// group), then the differences of losses.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        let mut segments = self.shape().segments();
        if self.rival.is_some() {
            segments.extend(self.difference().map(|fixed| fixed.segment(1)));
        }
        segments
    }

    /// Checks the caps.
    ///
    /// # Errors
    /// Names the first one that is broken.
    pub fn check(&self) -> Result<(), String> {
        check_members(&self.members)?;
        self.head.check()?;
        check_rows_and_folds(self.rows, self.folds)?;
        let lines = match self.on {
            Rows::Validation => GROUPS,
            Rows::Test => 1,
        };
        if self.weights.len() != lines {
            return Err(format!(
                "{} lines of weights, needed are {lines}",
                self.weights.len()
            ));
        }
        for line in &self.weights {
            let sum: f64 = line.iter().sum();
            let fits = line.len() == self.members.len()
                && line.iter().all(|w| (0.0..=1.0).contains(w))
                && (sum - 1.0).abs() <= SUM_TOLERANCE;
            if !fits {
                return Err(
                    "weights are not one for each member, from 0 to 1, and 1 together".to_owned(),
                );
            }
        }
        if let Some(rival) = self.rival
            && (self.on == Rows::Test || usize::from(rival) >= self.members.len())
        {
            return Err("a rival that is no member, or on test rows".to_owned());
        }
        match self.calibration {
            Some(_) if self.head != Head::Binary => {
                Err("a calibration of other than two classes".to_owned())
            }
            Some(calibration) => calibration.check(),
            None => Ok(()),
        }
    }

    /// The pipelines and models that a site needs.
    #[must_use]
    pub fn objects(&self) -> Vec<ObjectId> {
        let members = self.members.iter();
        members.flat_map(|m| [m.pipeline, m.model]).collect()
    }

    /// A site's sums.
    ///
    /// # Errors
    /// When there are more rows than the part allows for.
    pub(crate) fn answer(&self, site: &Lineup<'_>, out: &mut Encoder) -> Result<(), EncodeError> {
        let mut counter = ScoreCounter::new(self.shape());
        let fixed = self.difference();
        let mut differences = [0_i64; 2];
        let mut all = vec![0.0; site.width()];
        let mut scores = vec![0.0; self.head.scores()];
        for (row, target) in site.targets().iter().enumerate() {
            let (fold, group) = match self.on {
                Rows::Test => (None, 0),
                Rows::Validation => match site.place(row) {
                    Some((fold, group)) => (Some(fold), group),
                    None => continue,
                },
            };
            site.scores(row, fold, &mut all);
            mix(&self.weights[group], &all, &mut scores);
            if let Some(calibration) = self.calibration {
                calibration.apply(&mut scores);
            }
            counter.add(&scores, *target, group);
            if let Some(rival) = self.rival {
                let width = scores.len();
                let rival = &all[usize::from(rival) * width..][..width];
                let bound = libm::ldexp(1.0, DIFFERENCE_EXPONENT);
                let gain = loss(self.head, rival, *target) - loss(self.head, &scores, *target);
                let gain = gain.clamp(-bound, bound);
                differences[0] += fixed[0].row(gain);
                differences[1] += fixed[1].row(gain * gain);
            }
        }
        counter.encode(out)?;
        if self.rival.is_some() {
            differences.iter().try_for_each(|sum| out.integer(*sum))?;
        }
        Ok(())
    }

    /// Reads the sums.
    #[must_use]
    pub fn read(&self, totals: &PartTotals<'_>) -> Blended {
        let shape = self.shape();
        let mut scored = shape.read(totals);
        let groups = match (self.head, self.on) {
            (Head::Binary, Rows::Validation) => std::mem::take(&mut scored.curves),
            _ => Vec::new(),
        };
        if !groups.is_empty() {
            scored.curves = vec![Curve::sum(&groups)];
        }
        let first = shape.segments().len();
        let LossSums { rows, .. } = scored.losses;
        let difference = self.rival.map(|_| {
            let [gain, squared] = self.difference();
            let sum = |fixed: FixedPoint, at| fixed.value(totals.integers(at)[0]);
            let (gains, squares) = (sum(gain, first), sum(squared, first + 1));
            Difference::of_rounded(rows, gains, squares, squared)
        });
        Blended {
            scored,
            groups,
            difference,
        }
    }
}
