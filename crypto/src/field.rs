//! The prime field of q = 2^64 − 2^32 + 1 elements ("Goldilocks").
//!
//! An element is a `u64` in `0..Q`, called *canonical*. The number-theoretic transform, Shamir
//! sharing and the ciphertexts all live in this one field. [`add`], [`sub`], [`mul`], [`neg`] and
//! [`from_signed`] take no branch on their inputs, since those may be secret (also seen in the
//! compiled code, where it counts); [`pow`] and
//! [`invert`] branch on the exponent only, which is public.
//!
//! Reduction uses 2^64 ≡ 2^32 − 1 and 2^96 ≡ −1 (mod q).

/// The modulus, 2^64 − 2^32 + 1.
pub const Q: u64 = 0xffff_ffff_0000_0001;

/// 2^64 − q = 2^32 − 1: what a carry out of 64 bits is worth modulo q.
const EPSILON: u64 = 0xffff_ffff;

/// All ones when `a − b` borrows, zero otherwise; `difference` is `a − b` modulo 2^64.
///
/// Written in bits (Warren, Hacker's Delight, 2-13) and not as a comparison: compilers turn a mask
/// made from a comparison into a conditional move, and that into a branch where they think it
/// pays. They did, in the sharing of keys.
#[inline(always)]
const fn borrow_mask(a: u64, b: u64, difference: u64) -> u64 {
    (((!a & b) | (!(a ^ b) & difference)) >> 63).wrapping_neg()
}

/// All ones when `a + b` carries, zero otherwise; `sum` is `a + b` modulo 2^64.
#[inline(always)]
const fn carry_mask(a: u64, b: u64, sum: u64) -> u64 {
    (((a & b) | ((a | b) & !sum)) >> 63).wrapping_neg()
}

/// Brings any `u64` below q. (Every `u64` is below 2q.)
#[inline(always)]
#[must_use]
pub const fn reduce(a: u64) -> u64 {
    // Subtracting q, and adding it back where that borrows, which is subtracting EPSILON.
    sub(a, Q)
}

/// `a + b` of canonical elements.
#[inline(always)]
#[must_use]
pub const fn add(a: u64, b: u64) -> u64 {
    // a + b = a − (q − b); the borrow says that no reduction was due.
    sub(a, Q.wrapping_sub(b))
}

/// `a − b` for `b` up to q, brought below q if `a − b` lies in −q..q.
#[inline(always)]
#[must_use]
pub const fn sub(a: u64, b: u64) -> u64 {
    let difference = a.wrapping_sub(b);
    difference.wrapping_sub(EPSILON & borrow_mask(a, b, difference))
}

/// `−a` of a canonical element.
#[inline(always)]
#[must_use]
pub const fn neg(a: u64) -> u64 {
    sub(0, a)
}

/// `a · b` of canonical elements.
#[inline(always)]
#[must_use]
pub const fn mul(a: u64, b: u64) -> u64 {
    reduce_wide((a as u128) * (b as u128))
}

/// The element congruent to any 128-bit number.
#[inline(always)]
#[must_use]
pub const fn reduce_wide(wide: u128) -> u64 {
    let low = wide as u64;
    let high = (wide >> 64) as u64;
    let high_low = high & EPSILON;
    let high_high = high >> 32;
    // wide = low + 2^64·high_low + 2^96·high_high ≡ low + EPSILON·high_low − high_high
    let first = sub(low, high_high);
    let second = (high_low << 32).wrapping_sub(high_low);
    let sum = first.wrapping_add(second);
    reduce(sum.wrapping_add(EPSILON & carry_mask(first, second, sum)))
}

/// A sum of products that is reduced once, at its end. Holds up to 2^32 of them.
#[derive(Clone, Copy, Default)]
pub(crate) struct Dot {
    /// Σ of the products' lower 64 bits.
    low: u128,
    /// Σ of their upper 64 bits.
    high: u128,
}

impl Dot {
    /// Adds `a · b`.
    #[inline(always)]
    pub(crate) const fn add(&mut self, a: u64, b: u64) {
        let wide = (a as u128) * (b as u128);
        self.low = self.low.wrapping_add(wide as u64 as u128);
        self.high = self.high.wrapping_add(wide >> 64);
    }

    /// The sum, canonical: low + 2^64·high, where 2^64 ≡ EPSILON.
    #[inline(always)]
    pub(crate) const fn value(self) -> u64 {
        add(reduce_wide(self.low), mul(reduce_wide(self.high), EPSILON))
    }
}

/// `a · b` as `low + 2^32 · high` modulo q, `low` in two's complement: what vector instructions,
/// which multiply 32 bits by 32, make of it without a carry. Neither part changes by more than
/// 2^35, so 2^28 such products may be added up, part by part, before [`from_halves`].
#[inline(always)]
pub(crate) const fn mul_halves(a: u64, b: u64) -> [u64; 2] {
    let ([a0, a1], [b0, b1]) = ([a & EPSILON, a >> 32], [b & EPSILON, b >> 32]);
    // 32 bits by 32 fit; the compiler does not see it, and would check.
    let (p00, p01) = (a0.wrapping_mul(b0), a0.wrapping_mul(b1));
    let (p10, p11) = (a1.wrapping_mul(b0), a1.wrapping_mul(b1));
    // At 2^64, which is 2^32 − 1; at 2^96, which is −1.
    let third = (p01 >> 32)
        .wrapping_add(p10 >> 32)
        .wrapping_add(p11 & EPSILON);
    let low = (p00 & EPSILON).wrapping_sub(third).wrapping_sub(p11 >> 32);
    let high = (p00 >> 32)
        .wrapping_add(p01 & EPSILON)
        .wrapping_add(p10 & EPSILON)
        .wrapping_add(third);
    [low, high]
}

/// The element that sums of both parts of [`mul_halves`] stand for.
#[inline(always)]
pub(crate) const fn from_halves([low, high]: [u64; 2]) -> u64 {
    add(from_signed(low as i64), reduce_wide((high as u128) << 32))
}

/// The element congruent to a small signed number, `|value| < q`.
#[inline(always)]
#[must_use]
pub const fn from_signed(value: i64) -> u64 {
    (value as u64).wrapping_sub(EPSILON & (value >> 63) as u64)
}

/// The representative of `a` in `−(q−1)/2 ..= (q−1)/2`.
#[must_use]
pub const fn to_signed(a: u64) -> i64 {
    // Above the middle, a − q is what a + EPSILON reads as modulo 2^64.
    a.wrapping_add(EPSILON & borrow_mask(Q / 2, a, (Q / 2).wrapping_sub(a))) as i64
}

/// `base` to the power of `exponent`; the exponent is public.
#[must_use]
pub const fn pow(base: u64, exponent: u64) -> u64 {
    let mut result = 1;
    let mut square = base;
    let mut left = exponent;
    while left > 0 {
        if left & 1 == 1 {
            result = mul(result, square);
        }
        square = mul(square, square);
        left >>= 1;
    }
    result
}

/// The inverse of a non-zero element (0 for 0), by Fermat: a^(q−2).
#[must_use]
pub const fn invert(a: u64) -> u64 {
    pow(a, Q - 2)
}

/// Adds `other` to `total`, element by element.
pub fn add_assign(total: &mut [u64], other: &[u64]) {
    for (sum, &term) in total.iter_mut().zip(other) {
        *sum = add(*sum, term);
    }
}

/// Whether every value is below q. Looks at all of them whatever it finds.
#[must_use]
pub fn all_canonical(values: &[u64]) -> bool {
    let excess = values
        .iter()
        .fold(0u64, |seen, &value| seen | u64::from(value >= Q));
    excess == 0
}

/// [`all_canonical`] of 8-byte little-endian words.
#[must_use]
pub(crate) fn all_canonical_words(words: &[[u8; 8]]) -> bool {
    pulp::Arch::new().dispatch(Canonical { words })
}

/// Compiled for the processor's vector instructions.
struct Canonical<'a> {
    words: &'a [[u8; 8]],
}

impl pulp::NullaryFnOnce for Canonical<'_> {
    type Output = bool;

    #[inline(always)]
    fn call(self) -> bool {
        let excess = |seen: u64, word: &[u8; 8]| seen | u64::from(u64::from_le_bytes(*word) >= Q);
        self.words.iter().fold(0, excess) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::randomness::seeded_rng;
    use rand_core::Rng;

    fn interesting() -> Vec<u64> {
        let mut values = vec![
            0,
            1,
            2,
            79,
            80,
            EPSILON - 1,
            EPSILON,
            EPSILON + 1,
            1 << 32,
            Q / 2,
            Q / 2 + 1,
            Q - EPSILON,
            Q - 2,
            Q - 1,
        ];
        let mut rng = seeded_rng(*b"field: interesting values, no. 1");
        values.extend((0..200).map(|_| reduce(rng.next_u64())));
        values
    }

    #[test]
    fn agrees_with_u128_arithmetic() {
        let q = u128::from(Q);
        for &a in &interesting() {
            assert_eq!(
                u128::from(reduce(a.wrapping_add(EPSILON))),
                u128::from(a.wrapping_add(EPSILON)) % q
            );
            assert_eq!(u128::from(neg(a)), (q - u128::from(a)) % q, "neg {a}");
            assert_eq!(from_signed(to_signed(a)), a);
            for &b in &interesting() {
                let (wide_a, wide_b) = (u128::from(a), u128::from(b));
                assert_eq!(u128::from(add(a, b)), (wide_a + wide_b) % q, "{a} + {b}");
                assert_eq!(
                    u128::from(sub(a, b)),
                    (wide_a + q - wide_b) % q,
                    "{a} - {b}"
                );
                assert_eq!(u128::from(mul(a, b)), (wide_a * wide_b) % q, "{a} * {b}");
            }
        }
    }

    #[test]
    fn sums_of_products_are_reduced_once() {
        let values = interesting();
        let (mut dot, mut plain) = (Dot::default(), 0);
        for &a in &values {
            for &b in &values {
                dot.add(a, b);
                plain = add(plain, mul(a, b));
                assert_eq!(dot.value(), plain);
            }
        }
        assert_eq!(Dot::default().value(), 0);
        assert_eq!(
            u128::from(reduce_wide(u128::MAX)),
            u128::MAX % u128::from(Q)
        );
    }

    #[test]
    fn products_in_halves_add_up_to_products() {
        let values = interesting();
        let (mut sums, mut plain) = ([0u64; 2], 0);
        for &a in &values {
            for &b in &values {
                let product = mul_halves(a, b);
                assert_eq!(from_halves(product), mul(a, b), "{a} * {b}");
                for (sum, part) in sums.iter_mut().zip(product) {
                    *sum = sum.wrapping_add(part);
                }
                plain = add(plain, mul(a, b));
                assert_eq!(from_halves(sums), plain);
            }
        }
        // As many of the largest as are promised.
        let (largest, many) = (mul_halves(Q - 1, Q - 1), 1 << 28);
        let sums = largest.map(|part| part.wrapping_mul(many));
        assert_eq!(from_halves(sums), many);
    }

    #[test]
    fn inverts_every_nonzero_element() {
        for &a in interesting().iter().filter(|&&a| a != 0) {
            assert_eq!(mul(a, invert(a)), 1, "{a}");
        }
    }

    #[test]
    fn reduces_every_word() {
        assert_eq!(reduce(Q), 0);
        assert_eq!(reduce(u64::MAX), u64::MAX - Q);
        assert!(all_canonical(&[0, Q - 1]));
        assert!(!all_canonical(&[0, Q, 1]));
    }
}
