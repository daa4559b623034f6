//! The mean difference of two losses over the same rows, and its error.

use crate::fixed::FixedPoint;

/// Sums over rows of how much smaller one loss is than another. A hard row is hard for both, so the
/// error of the mean difference is several times smaller than the errors of the two means say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    /// Rows.
    pub rows: u64,
    /// Σ of the differences, positive where the new loss is smaller.
    pub gain: f64,
    /// Σ of their squares.
    pub squared: f64,
    /// What rounding may have hidden of a row's square.
    hidden: f64,
}

impl Difference {
    /// From sums of rounded numbers; `squares` is how the squares were rounded.
    pub(crate) fn of_rounded(rows: u64, gain: f64, squared: f64, squares: FixedPoint) -> Self {
        // Squares below half a step are summed as none: that counts as error, or models that are
        // nearly the same would differ with certainty. Those that are the same do not differ.
        let same = gain == 0.0 && squared == 0.0;
        Self {
            rows,
            gain,
            squared,
            hidden: if same { 0.0 } else { squares.value(1) / 2.0 },
        }
    }

    /// The mean; 0 without rows.
    #[must_use]
    pub fn mean(&self) -> f64 {
        self.gain / self.rows.max(1) as f64
    }

    /// Standard error of the mean; infinite with fewer than two rows.
    #[must_use]
    pub fn standard_error(&self) -> f64 {
        if self.rows < 2 {
            return f64::INFINITY;
        }
        let rows = self.rows as f64;
        let variance = (self.squared / rows - self.mean() * self.mean()).max(0.0) + self.hidden;
        libm::sqrt(variance / (rows - 1.0))
    }

    /// Whether the mean is above its standard error: what is not is left to chance.
    #[must_use]
    pub fn convinces(&self) -> bool {
        self.mean() > self.standard_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_beyond_its_error_and_beyond_rounding_convinces() {
        let of =
            |gain, squared| Difference::of_rounded(100, gain, squared, FixedPoint::new(100, 4));
        // Mean .1; standard errors sqrt((.02 - .01) / 99) and sqrt((2 - .01) / 99).
        let clear = of(10.0, 2.0);
        assert!((clear.standard_error() - libm::sqrt(0.01 / 99.0)).abs() < 1e-6);
        assert!(clear.convinces() && !of(10.0, 200.0).convinces());
        // A gain whose squares are all rounded to nothing.
        assert!(!of(1e-9, 0.0).convinces());
        assert!(!of(0.0, 0.0).convinces() && of(0.0, 0.0).standard_error() == 0.0);
        let one = Difference {
            rows: 1,
            gain: 1.0,
            ..Difference::default()
        };
        assert!(!one.convinces());
    }
}
