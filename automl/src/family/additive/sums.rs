//! Losses, gradients and one Hessian of a path, summed over rows.

use serde::{Deserialize, Serialize};

use super::design::{MAX_PARAMETERS, VALUE_EXPONENT};
use super::{AdditivePath, MAX_NUMBERS_OF_A_PART, MAX_POINTS, scores_of};
use crate::ask::{EncodeError, Encoder, PartTotals, Segment};
use crate::family::{Head, sigmoid, softplus};
use crate::fixed::FixedPoint;
use crate::metric::{LossCounter, LossSums, SEGMENTS, check_rows_and_folds};
use crate::object::ObjectId;
use crate::site::{Rows, Slot};

/// |residual|: below 1 for classes, cut at 2^6 for numbers.
pub(super) const RESIDUAL_EXPONENT: [i32; 2] = [0, 6];
/// p (1 - p) is at most 2^-2; 1 for numbers.
pub(super) const CURVATURE_EXPONENT: [i32; 2] = [-2, 0];
/// Training loss of a row, 2^6 nats, or 2^12 squared target scales.
const LOSS_EXPONENT: [i32; 2] = [6, 12];

/// Asks for the losses and gradients at every point of an [`AdditivePath`], and
/// for the Hessian at one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SumsPart {
    /// The pipeline that makes the bins.
    pub pipeline: ObjectId,
    /// The [`AdditivePath`].
    pub path: ObjectId,
    /// What the outputs mean.
    pub head: Head,
    /// Rows of the whole federation: bounds every sum.
    pub rows: u64,
    /// Points of the path.
    pub points: u8,
    /// Parameters of each fold, the intercept among them.
    pub parameters: Vec<u32>,
    /// Whether the path has scaled terms, whose sums reach further.
    pub scaled: bool,
    /// The point whose Hessian is wanted, if any.
    pub hessian_at: Option<u8>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq)]
pub struct PathSums {
    /// Validation losses of each point, over all folds.
    pub validation: Vec<LossSums>,
    /// `points[point][fold][output]`.
    pub points: Vec<Vec<Vec<PointSums>>>,
    /// `hessians[fold][output]`: the lower triangle, row by row; empty when none was
    /// asked for.
    pub hessians: Vec<Vec<Vec<f64>>>,
}

/// One output of a fold at one point.
#[derive(Clone, Debug, PartialEq)]
pub struct PointSums {
    /// Σ loss over the fold's training rows.
    pub loss: f64,
    /// Σ d loss / d parameter.
    pub gradient: Vec<f64>,
}

const fn triangle(parameters: usize) -> usize {
    parameters * (parameters + 1) / 2
}

impl SumsPart {
    /// Asks about a path; its id is set once it is published, see
    /// [`super::AdditivePart::about`].
    pub(crate) fn of(path: &AdditivePath, rows: u64, hessian_at: Option<usize>) -> Self {
        let parameters = path.designs.iter().map(|design| design.parameters() as u32);
        Self {
            pipeline: path.pipeline,
            path: path.pipeline,
            head: path.head,
            rows,
            points: path.points.len() as u8,
            parameters: parameters.collect(),
            scaled: path.scaled(),
            hessian_at: hessian_at.map(|point| point as u8),
        }
    }

    fn sizes(&self) -> impl Iterator<Item = usize> + '_ {
        self.parameters.iter().map(|size| *size as usize)
    }

    /// Rounding of losses, gradients and Hessians.
    fn fixed(&self) -> [FixedPoint; 3] {
        let at = usize::from(self.head == Head::Number);
        let value = if self.scaled { VALUE_EXPONENT } else { 0 };
        [
            LOSS_EXPONENT[at],
            RESIDUAL_EXPONENT[at] + value,
            CURVATURE_EXPONENT[at] + 2 * value,
        ]
        .map(|exponent| FixedPoint::new(self.rows, exponent))
    }

    /// Validation losses of each point; then training losses and gradients point by
    /// point, fold by fold, output by output; then Hessians fold by fold, output by
    /// output.
    #[must_use]
    pub fn segments(&self) -> Vec<Segment> {
        let outputs = self.head.outputs();
        let points = usize::from(self.points);
        let mut segments = Vec::new();
        for _ in 0..points {
            segments.extend(LossCounter::segments(self.head, self.rows));
        }
        let [loss, gradient, hessian] = self.fixed();
        segments.push(loss.segment(points * self.parameters.len() * outputs));
        segments.push(gradient.segment(points * outputs * self.sizes().sum::<usize>()));
        if self.hessian_at.is_some() {
            let all: usize = self.sizes().map(triangle).sum();
            segments.push(hessian.segment(outputs * all));
        }
        segments
    }

    /// Numbers of the answer.
    #[must_use]
    pub fn numbers(&self) -> usize {
        self.segments().iter().map(Segment::count).sum()
    }

    /// Checks every cap.
    ///
    /// # Errors
    /// Says what is out of bounds.
    pub fn check(&self) -> Result<(), String> {
        self.head.check()?;
        let folds = u8::try_from(self.parameters.len()).unwrap_or(u8::MAX);
        check_rows_and_folds(self.rows, folds)?;
        if self.points == 0 || usize::from(self.points) > MAX_POINTS {
            return Err(format!(
                "{} points of a path, allowed are 1 to {MAX_POINTS}",
                self.points
            ));
        }
        if self.hessian_at.is_some_and(|at| at >= self.points) {
            return Err("the Hessian of a point that is not there".to_owned());
        }
        if let Some(size) = self
            .sizes()
            .find(|size| !(1..=MAX_PARAMETERS).contains(size))
        {
            return Err(format!(
                "{size} parameters, allowed are 1 to {MAX_PARAMETERS}"
            ));
        }
        if self.numbers() > MAX_NUMBERS_OF_A_PART {
            return Err(format!(
                "{} sums of an additive model, allowed are {MAX_NUMBERS_OF_A_PART}",
                self.numbers()
            ));
        }
        Ok(())
    }

    /// Whether the path has the sizes that this part announces.
    pub(crate) fn fits(&self, path: &AdditivePath) -> bool {
        let sizes = path.designs.iter().map(|design| design.parameters());
        path.pipeline == self.pipeline
            && path.head == self.head
            && path.points.len() == usize::from(self.points)
            && path.scaled() == self.scaled
            && sizes.eq(self.sizes())
    }

    /// A site's answer; path and rows must fit the part.
    pub(crate) fn answer(
        &self,
        path: &AdditivePath,
        rows: &Rows,
        out: &mut Encoder,
    ) -> Result<(), EncodeError> {
        let mut losses = vec![LossCounter::new(self.head, self.rows); path.points.len()];
        let folds: Vec<FoldSums<'_>> = (0..path.designs.len())
            .map(|fold| {
                let mut sums = FoldSums::new(self, path, fold);
                sums.add_rows(rows, &mut losses);
                sums
            })
            .collect();
        losses.iter().try_for_each(|counter| counter.encode(out))?;
        let points = 0..path.points.len();
        for point in points.clone() {
            for fold in &folds {
                fold.losses(point).try_for_each(|sum| out.integer(sum))?;
            }
        }
        for point in points {
            for fold in &folds {
                fold.gradients(point).try_for_each(|sum| out.integer(sum))?;
            }
        }
        for fold in &folds {
            fold.hessians().try_for_each(|sum| out.integer(sum))?;
        }
        Ok(())
    }

    /// The totals as numbers again.
    pub(crate) fn read(&self, totals: &PartTotals<'_>) -> PathSums {
        let outputs = self.head.outputs();
        let points = usize::from(self.points);
        let validation = (0..points)
            .map(|point| LossSums::read(totals, point * SEGMENTS, self.head, self.rows))
            .collect();
        let first = points * SEGMENTS;
        let fixed = self.fixed();
        let segment = |at: usize| -> Vec<f64> {
            let sums = totals.integers(first + at);
            sums.iter().map(|sum| fixed[at].value(*sum)).collect()
        };
        let (losses, gradients) = (segment(0), segment(1));
        let hessians = match self.hessian_at {
            Some(_) => segment(2),
            None => Vec::new(),
        };
        let mut losses = losses.into_iter();
        let mut gradients = gradients.into_iter();
        let mut output = |size: usize| PointSums {
            loss: losses.next().unwrap_or(0.0),
            gradient: gradients.by_ref().take(size).collect(),
        };
        let mut fold = |size: usize| (0..outputs).map(|_| output(size)).collect::<Vec<_>>();
        let points = (0..points)
            .map(|_| self.sizes().map(&mut fold).collect())
            .collect();
        let mut hessians = hessians.into_iter();
        let wanted = self.hessian_at.is_some();
        let mut hessian = |size: usize| -> Vec<Vec<f64>> {
            (0..outputs)
                .map(|_| hessians.by_ref().take(triangle(size)).collect())
                .collect()
        };
        let hessians = match wanted {
            true => self.sizes().map(&mut hessian).collect(),
            false => Vec::new(),
        };
        PathSums {
            validation,
            points,
            hessians,
        }
    }
}

/// Loss of an output with its first and second derivative.
pub(super) fn differentiate(
    head: Head,
    output: usize,
    linear: f64,
    target: f64,
) -> (f64, f64, f64) {
    let hit = match head {
        Head::Number => {
            let residual = linear - target;
            return (0.5 * residual * residual, residual, 1.0);
        }
        Head::Binary => target == 1.0,
        Head::Classes(_) => target as usize == output,
    };
    let p = sigmoid(linear);
    let loss = softplus(if hit { -linear } else { linear });
    (loss, p - f64::from(u8::from(hit)), p * (1.0 - p))
}

/// One site's integer sums for one fold.
struct FoldSums<'a> {
    path: &'a AdditivePath,
    head: Head,
    fold: usize,
    hessian_at: Option<usize>,
    fixed: [FixedPoint; 3],
    size: usize,
    /// `[point][output]`.
    loss: Vec<i64>,
    /// `[point][output][parameter]`.
    gradient: Vec<i64>,
    /// `[entry of the triangle][output]`: the outputs of an entry are added to together.
    hessian: Vec<i64>,
    /// Linear outputs, residuals and curvatures of the row at hand.
    linear: Vec<f64>,
    residual: Vec<f64>,
    curvature: Vec<f64>,
}

impl<'a> FoldSums<'a> {
    fn new(part: &SumsPart, path: &'a AdditivePath, fold: usize) -> Self {
        let (points, outputs) = (path.points.len(), path.head.outputs());
        let size = path.designs[fold].parameters();
        let hessian = match part.hessian_at {
            Some(_) => outputs * triangle(size),
            None => 0,
        };
        Self {
            path,
            head: path.head,
            fold,
            hessian_at: part.hessian_at.map(usize::from),
            fixed: part.fixed(),
            size,
            loss: vec![0; points * outputs],
            gradient: vec![0; points * outputs * size],
            hessian: vec![0; hessian],
            linear: vec![0.0; outputs],
            residual: vec![0.0; outputs],
            curvature: vec![0.0; outputs],
        }
    }

    fn add_rows(&mut self, rows: &Rows, losses: &mut [LossCounter]) {
        let design = &self.path.designs[self.fold];
        let scaled = self.path.scaled();
        let mut picked = Vec::with_capacity(design.terms.len() + 1);
        let mut scores = vec![0.0; self.head.scores()];
        for index in 0..rows.len() {
            design.pick(rows.row(index).bins(), &mut picked);
            let target = rows.targets[index];
            let validates = rows.slots[index] == Slot::Fold(self.fold as u8);
            for (point, counter) in losses.iter_mut().enumerate() {
                self.score(point, &picked);
                if validates {
                    scores_of(self.head, &self.linear, &mut scores);
                    counter.add(&scores, target);
                    continue;
                }
                self.differentiate(point, target);
                self.add_gradient(point, &picked);
                if self.hessian_at == Some(point) {
                    if scaled {
                        self.add_scaled_hessian(&picked);
                    } else {
                        self.add_hessian(&picked);
                    }
                }
            }
        }
    }

    fn score(&mut self, point: usize, picked: &[(usize, f64)]) {
        let outputs = &self.path.points[point][self.fold];
        for (linear, coefficients) in self.linear.iter_mut().zip(outputs) {
            *linear = 0.0;
            for (parameter, value) in picked {
                *linear += coefficients[*parameter] * value;
            }
        }
    }

    /// Residual and curvature of the row's outputs, and their losses into the sums.
    fn differentiate(&mut self, point: usize, target: f64) {
        let outputs = self.linear.len();
        let losses = &mut self.loss[point * outputs..][..outputs];
        for (output, loss) in losses.iter_mut().enumerate() {
            let (value, residual, curvature) =
                differentiate(self.head, output, self.linear[output], target);
            *loss += self.fixed[0].row(value);
            self.residual[output] = residual;
            self.curvature[output] = curvature;
        }
    }

    fn add_gradient(&mut self, point: usize, picked: &[(usize, f64)]) {
        let outputs = self.linear.len();
        let fixed = self.fixed[1];
        for (output, residual) in self.residual.iter().enumerate() {
            let sums = &mut self.gradient[(point * outputs + output) * self.size..][..self.size];
            let whole = fixed.row(*residual);
            for (parameter, value) in picked {
                // Most values are 1: rounded once for all of them.
                sums[*parameter] += match *value == 1.0 {
                    true => whole,
                    false => fixed.row(residual * value),
                };
            }
        }
    }

    /// Every picked parameter has the value 1: one rounding serves all entries.
    fn add_hessian(&mut self, picked: &[(usize, f64)]) {
        let outputs = self.curvature.len();
        let fixed = self.fixed[2];
        if let [curvature] = self.curvature[..] {
            let added = fixed.row(curvature);
            for (at, (i, _)) in picked.iter().enumerate() {
                let line = &mut self.hessian[triangle(*i)..][..=*i];
                for (j, _) in &picked[..=at] {
                    line[*j] += added;
                }
            }
            return;
        }
        let added: Vec<i64> = self.curvature.iter().map(|c| fixed.row(*c)).collect();
        for (at, (i, _)) in picked.iter().enumerate() {
            let line = &mut self.hessian[triangle(*i) * outputs..][..(i + 1) * outputs];
            for (j, _) in &picked[..=at] {
                let entry = &mut line[j * outputs..][..outputs];
                for (sum, added) in entry.iter_mut().zip(&added) {
                    *sum += added;
                }
            }
        }
    }

    fn add_scaled_hessian(&mut self, picked: &[(usize, f64)]) {
        let outputs = self.curvature.len();
        let fixed = self.fixed[2];
        for (at, (i, value)) in picked.iter().enumerate() {
            for (j, other) in &picked[..=at] {
                let entry = (triangle(*i) + j) * outputs;
                for (output, curvature) in self.curvature.iter().enumerate() {
                    self.hessian[entry + output] += fixed.row(curvature * value * other);
                }
            }
        }
    }

    fn losses(&self, point: usize) -> impl Iterator<Item = i64> + '_ {
        let outputs = self.linear.len();
        self.loss[point * outputs..][..outputs].iter().copied()
    }

    fn gradients(&self, point: usize) -> impl Iterator<Item = i64> + '_ {
        let own = self.linear.len() * self.size;
        self.gradient[point * own..][..own].iter().copied()
    }

    fn hessians(&self) -> impl Iterator<Item = i64> + '_ {
        let outputs = self.linear.len();
        (0..outputs)
            .flat_map(move |output| self.hessian.iter().skip(output).step_by(outputs).copied())
    }
}
