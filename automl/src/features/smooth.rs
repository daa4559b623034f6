//! Numbers as networks like them: robustly scaled, smoothly clipped, and cut into pieces.

use serde::{Deserialize, Serialize};

use crate::profile::{NumberShape, Source};

/// Where the smooth clipping levels off, in scales: x / sqrt(1 + (x / 3)²) stays within ±3.
const LEVEL: f64 = 3.0;
/// Most pieces of a column: one for each cell of the profile's grid.
pub(super) const MAX_PIECES: usize = 64;

/// How one column of numbers becomes `1 + pieces` features.
///
/// The first is (value - center) / scale, smoothly clipped: center and scale are the median and
/// the distance between the quartiles (Holzmüller et al., *Better by Default*, NeurIPS 2024).
/// Then one for each pair of neighbouring edges, in [0, 1]: 0 below the lower edge, 1 above the
/// upper one and linear between, so that a linear layer over them is a function with bends at
/// the edges (piecewise-linear encoding; Gorishniy et al., *On Embeddings for Numerical Features
/// in Tabular Deep Learning*, NeurIPS 2022). A missing value stands where the median stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Smooth {
    pub(super) source: Source,
    center: f64,
    scale: f64,
    /// Ascending, none or at least two; values outside lie in the first or last piece.
    edges: Vec<f64>,
}

impl Smooth {
    /// For a column of this shape, with at most `pieces` pieces of about equally many rows;
    /// `None` for a constant.
    pub(super) fn fit(shape: &NumberShape, source: &Source, pieces: usize) -> Option<Self> {
        let (lo, hi) = (shape.lo, shape.hi);
        if shape.sd <= 0.0 || lo >= hi {
            return None;
        }
        let center = shape.quantile(0.5).clamp(lo, hi);
        let between = shape.quantile(0.75) - shape.quantile(0.25);
        // Where half the rows have one value, what is left to scale by is the range.
        let scale = if between > 0.0 {
            between
        } else {
            (hi - lo) / 2.0
        };
        let mut edges = Vec::new();
        // Two pieces are the least that bend.
        if pieces >= 2 {
            let cuts = shape.cuts(pieces.min(MAX_PIECES));
            edges.extend(cuts.into_iter().filter(|cut| *cut > lo && *cut < hi));
            if !edges.is_empty() {
                edges.insert(0, lo);
                edges.push(hi);
            }
        }
        Some(Self {
            source: source.clone(),
            center,
            scale,
            edges,
        })
    }

    pub(super) fn width(&self) -> usize {
        1 + self.edges.len().saturating_sub(1)
    }

    pub(super) fn names(&self, column: &str) -> Vec<String> {
        let pieces = self.edges.windows(2);
        std::iter::once(column.to_owned())
            .chain(pieces.map(|pair| format!("{column} from {:.4} to {:.4}", pair[0], pair[1])))
            .collect()
    }

    /// The features of a value, into `out` ([`Smooth::width`] numbers).
    pub(super) fn write(&self, value: Option<f64>, out: &mut [f64]) {
        let value = value.unwrap_or(self.center);
        let scaled = (value - self.center) / self.scale;
        // Beyond 1e150 the square would be infinite and the quotient 0.
        let bounded = scaled.clamp(-1e100, 1e100) / LEVEL;
        out[0] = LEVEL * bounded / (1.0 + bounded * bounded).sqrt();
        for (out, pair) in out[1..].iter_mut().zip(self.edges.windows(2)) {
            *out = ((value - pair[0]) / (pair[1] - pair[0])).clamp(0.0, 1.0);
        }
    }

    /// What is wrong with it, if something is.
    pub(super) fn flaw(&self) -> Option<&'static str> {
        let numbers = [self.center, self.scale];
        if numbers.iter().any(|number| !number.is_finite()) || self.scale <= 0.0 {
            return Some("center or scale is out of bounds");
        }
        let finite = self.edges.iter().all(|edge| edge.is_finite());
        if !finite
            || self.edges.len() == 1
            || self.edges.len() > MAX_PIECES + 1
            || !self.edges.is_sorted_by(|a, b| a < b)
        {
            return Some("the edges of its pieces are out of order or too many");
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Thousand rows each in the cells 0-1, 1-2, 2-3 and 3-103.
    fn shape() -> NumberShape {
        NumberShape {
            rows: 4000,
            edges: vec![0.0, 1.0, 2.0, 3.0, 103.0],
            counts: vec![1000; 4],
            lo: 0.0,
            hi: 103.0,
            mean: 14.0,
            sd: 30.0,
        }
    }

    fn written(smooth: &Smooth, value: Option<f64>) -> Vec<f64> {
        let mut out = vec![f64::NAN; smooth.width()];
        smooth.write(value, &mut out);
        out
    }

    #[test]
    fn a_value_fills_the_pieces_below_it() {
        let smooth = Smooth::fit(&shape(), &Source::Numbers, 4).expect("no constant");
        assert_eq!(smooth.flaw(), None);
        assert_eq!(smooth.names("age").len(), smooth.width());
        // Median 2, quartiles 1 and 3.
        assert_eq!(written(&smooth, Some(2.0)), [0.0, 1.0, 1.0, 0.0, 0.0]);
        assert_eq!(written(&smooth, None), written(&smooth, Some(2.0)));
        let beyond = written(&smooth, Some(1e300));
        assert!((beyond[0] - 3.0).abs() < 1e-9, "{beyond:?}");
        assert_eq!(beyond[1..], [1.0; 4]);
        let half = written(&smooth, Some(0.5));
        assert_eq!(half[1..], [0.5, 0.0, 0.0, 0.0]);
        let exact = -0.75 / (1.0f64 + 0.0625).sqrt();
        assert!((half[0] - exact).abs() < 1e-12, "{half:?}");
    }

    #[test]
    fn without_pieces_only_the_clipped_value_is_left() {
        let smooth = Smooth::fit(&shape(), &Source::Numbers, 0).expect("no constant");
        assert_eq!(smooth.width(), 1);
        assert_eq!(written(&smooth, Some(f64::NEG_INFINITY)).len(), 1);
        let constant = NumberShape { sd: 0.0, ..shape() };
        assert_eq!(Smooth::fit(&constant, &Source::Numbers, 4), None);
    }

    #[test]
    fn edges_out_of_order_are_refused() {
        let good = Smooth::fit(&shape(), &Source::Numbers, 4).expect("no constant");
        for edges in [
            vec![1.0],
            vec![1.0, 1.0],
            vec![2.0, 1.0],
            vec![0.0, f64::NAN],
        ] {
            let bad = Smooth {
                edges,
                ..good.clone()
            };
            assert!(bad.flaw().is_some(), "{bad:?}");
        }
        let flat = Smooth { scale: 0.0, ..good };
        assert!(flat.flaw().is_some());
    }
}
