//! Running sums of a model's scores: losses, curves, and a metric's own sums.

use crate::ask::{EncodeError, Encoder, PartTotals, Segment};
use crate::family::Head;
use crate::fixed::FixedPoint;
use crate::metric::curve::{BINS, Curve};
use crate::metric::rule::Metric;
use crate::metric::score::Scored;
use crate::metric::sums::{LossCounter, LossSums, SEGMENTS};

/// What is summed, which decides the segments and how they are read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ScoreShape {
    /// What the scores mean.
    pub(crate) head: Head,
    /// Rows of the whole federation: bounds every sum.
    pub(crate) rows: u64,
    /// How many curves.
    pub(crate) curves: usize,
    /// A metric with sums of its own.
    pub(crate) metric: Option<Metric>,
}

impl ScoreShape {
    /// How the metric's own sums are rounded.
    fn own(&self) -> Vec<FixedPoint> {
        let exponents = self.metric.map_or(&[][..], |m| m.rule().exponents());
        let fixed = exponents.iter().map(|e| FixedPoint::new(self.rows, *e));
        fixed.collect()
    }

    /// Loss sums, then positives and negatives per bin for each curve, then the metric's own.
    pub(crate) fn segments(&self) -> Vec<Segment> {
        let mut segments = LossCounter::segments(self.head, self.rows);
        if self.curves > 0 {
            segments.push(Segment::Count {
                max: self.rows,
                count: self.curves * 2 * BINS,
            });
        }
        segments.extend(self.own().iter().map(|fixed| fixed.segment(1)));
        segments
    }

    /// Reads the sums from the first segments of a part's totals.
    pub(crate) fn read(&self, totals: &PartTotals<'_>) -> Scored {
        let losses = LossSums::read(totals, 0, self.head, self.rows);
        let mut segment = SEGMENTS;
        let mut curves = Vec::new();
        if self.curves > 0 {
            let counts = totals.counts(segment);
            segment += 1;
            curves.extend(counts.chunks_exact(2 * BINS).map(|both| Curve {
                positives: both[..BINS].to_vec(),
                negatives: both[BINS..].to_vec(),
            }));
        }
        let own = self.own();
        let own = own.iter().enumerate().map(|(at, fixed)| {
            let sum = totals.integers(segment + at);
            fixed.value(sum[0])
        });
        Scored {
            losses,
            curves,
            own: own.collect(),
        }
    }
}

/// One site's running sums.
pub(crate) struct ScoreCounter {
    shape: ScoreShape,
    losses: LossCounter,
    curves: Vec<Curve>,
    fixed: Vec<FixedPoint>,
    own: Vec<i64>,
    /// One row's contribution to the metric's own sums.
    row: Vec<f64>,
}

impl ScoreCounter {
    /// Nothing counted yet.
    pub(crate) fn new(shape: ScoreShape) -> Self {
        let fixed = shape.own();
        Self {
            losses: LossCounter::new(shape.head, shape.rows),
            curves: vec![Curve::default(); shape.curves],
            own: vec![0; fixed.len()],
            row: vec![0.0; fixed.len()],
            fixed,
            shape,
        }
    }

    /// Adds a row. For two classes `curve` says which curve it belongs to; for more, each class
    /// has one.
    pub(crate) fn add(&mut self, scores: &[f64], target: f64, curve: usize) {
        self.losses.add(scores, target);
        if let Some(metric) = self.shape.metric {
            self.row.fill(0.0);
            metric.rule().row(scores, target, &mut self.row);
            for ((sum, fixed), value) in self.own.iter_mut().zip(&self.fixed).zip(&self.row) {
                *sum += fixed.row(*value);
            }
        }
        match self.shape.head {
            Head::Number => {}
            Head::Binary => {
                if let Some(curve) = self.curves.get_mut(curve) {
                    curve.add(scores[1], target == 1.0);
                }
            }
            Head::Classes(_) => {
                for (class, curve) in self.curves.iter_mut().enumerate() {
                    curve.add(scores[class], target as usize == class);
                }
            }
        }
    }

    /// Writes the sums, in the order of the segments.
    pub(crate) fn encode(&self, out: &mut Encoder) -> Result<(), EncodeError> {
        self.losses.encode(out)?;
        for curve in &self.curves {
            for count in curve.positives.iter().chain(&curve.negatives) {
                out.count(*count)?;
            }
        }
        self.own.iter().try_for_each(|sum| out.integer(*sum))
    }
}
