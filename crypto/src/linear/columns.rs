//! Weighted sums of rows, column by column: what all linear hashing spends its time on.

use super::Challenge;
use crate::field;
use crate::quadratic::Element;

/// Σ_j R^j·row_j over F_{q²}, where the rows are as wide as there are columns, and R is r to the
/// power of that width.
pub(super) struct Columns {
    /// Both parts, each in halves ([`field::mul_halves`]). A body has at most 2^24 coefficients, and
    /// 2^28 products may be added up.
    sums: [[Vec<u64>; 2]; 2],
    /// R.
    stride: Element,
    /// R^(rows so far).
    weight: Element,
    /// Where the next value goes.
    column: usize,
}

impl Columns {
    /// No rows yet of `width` columns, a power of two.
    pub(super) fn new(Challenge(point): Challenge, width: usize) -> Self {
        let squarings = width.trailing_zeros();
        Self {
            sums: [(); 2].map(|()| [vec![0; width], vec![0; width]]),
            stride: (0..squarings).fold(point, |power, _| power.mul(power)),
            weight: Element::ONE,
            column: 0,
        }
    }

    /// R^(rows so far).
    pub(super) const fn weight(&self) -> Element {
        self.weight
    }

    /// Adds values that follow, row after row.
    pub(super) fn add(&mut self, mut values: &[u64]) {
        let [[whole, _], _] = &self.sums;
        let width = whole.len();
        while !values.is_empty() {
            let (row, after) = values.split_at(values.len().min(width - self.column));
            values = after;
            self.add_up(row);
            self.column += row.len();
            if self.column == width {
                self.column = 0;
                self.weight = self.weight.mul(self.stride);
            }
        }
    }

    /// Both parts of the sums, canonical.
    pub(super) fn sums(&self) -> [Vec<u64>; 2] {
        let sum = |[low, high]: &[Vec<u64>; 2]| {
            let halves = low.iter().zip(high);
            halves
                .map(|(&low, &high)| field::from_halves([low, high]))
                .collect()
        };
        self.sums.each_ref().map(sum)
    }

    /// Both parts of weight · row onto the sums.
    fn add_up(&mut self, row: &[u64]) {
        for (sums, weight) in self.sums.iter_mut().zip(self.weight.0) {
            let [low, high] = sums.each_mut().map(|sums| {
                let (_, from_here) = sums.split_at_mut(self.column);
                from_here
            });
            let add = AddUp {
                low,
                high,
                weight,
                row,
            };
            // Not [`pulp::Arch`]: with AVX-512 compilers multiply 64 bits by 64, which is slower.
            #[cfg(target_arch = "x86_64")]
            if let Some(simd) = pulp::x86::V3::try_new() {
                simd.vectorize(add);
                continue;
            }
            pulp::NullaryFnOnce::call(add);
        }
    }
}

/// weight · row onto sums in halves, compiled for the processor's vector instructions.
struct AddUp<'a> {
    low: &'a mut [u64],
    high: &'a mut [u64],
    weight: u64,
    row: &'a [u64],
}

impl pulp::NullaryFnOnce for AddUp<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let sums = self.low.iter_mut().zip(self.high);
        for ((low, high), &value) in sums.zip(self.row) {
            let [first, second] = field::mul_halves(self.weight, value);
            *low = low.wrapping_add(first);
            *high = high.wrapping_add(second);
        }
    }
}
