//! The prime field of q = 2^64 − 2^32 + 1 elements ("Goldilocks").
//!
//! An element is a `u64` in `0..Q`, called *canonical*. The number-theoretic transform, Shamir
//! sharing and the ciphertexts all live in this one field. [`add`], [`sub`], [`mul`], [`neg`] and
//! [`from_signed`] take no branch on their inputs, since those may be secret; [`pow`] and
//! [`invert`] branch on the exponent only, which is public.
//!
//! Reduction uses 2^64 ≡ 2^32 − 1 and 2^96 ≡ −1 (mod q).

/// The modulus, 2^64 − 2^32 + 1.
pub const Q: u64 = 0xffff_ffff_0000_0001;

/// 2^64 − q = 2^32 − 1: what a carry out of 64 bits is worth modulo q.
const EPSILON: u64 = 0xffff_ffff;

/// All ones when `bit` holds, zero otherwise.
#[inline(always)]
const fn select(bit: bool) -> u64 {
    (bit as u64).wrapping_neg()
}

/// Brings any `u64` below q. (Every `u64` is below 2q.)
#[inline(always)]
#[must_use]
pub const fn reduce(a: u64) -> u64 {
    let (reduced, below) = a.overflowing_sub(Q);
    // Adding q back is subtracting EPSILON modulo 2^64.
    reduced.wrapping_sub(EPSILON & select(below))
}

/// `a + b` of canonical elements.
#[inline(always)]
#[must_use]
pub const fn add(a: u64, b: u64) -> u64 {
    // a + b = a − (q − b); the borrow says that no reduction was due.
    sub(a, Q.wrapping_sub(b))
}

/// `a − b` of canonical elements; `b` may also be q itself.
#[inline(always)]
#[must_use]
pub const fn sub(a: u64, b: u64) -> u64 {
    let (difference, borrow) = a.overflowing_sub(b);
    difference.wrapping_sub(EPSILON & select(borrow))
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
    let wide = (a as u128) * (b as u128);
    let low = wide as u64;
    let high = (wide >> 64) as u64;
    let high_low = high & EPSILON;
    let high_high = high >> 32;
    // wide = low + 2^64·high_low + 2^96·high_high ≡ low + EPSILON·high_low − high_high
    let (difference, borrow) = low.overflowing_sub(high_high);
    let difference = difference.wrapping_sub(EPSILON & select(borrow));
    let product = (high_low << 32).wrapping_sub(high_low);
    let (sum, carry) = difference.overflowing_add(product);
    reduce(sum.wrapping_add(EPSILON & select(carry)))
}

/// The element congruent to a small signed number, `|value| < q`.
#[inline(always)]
#[must_use]
pub const fn from_signed(value: i64) -> u64 {
    (value as u64).wrapping_sub(EPSILON & select(value < 0))
}

/// The representative of `a` in `−(q−1)/2 ..= (q−1)/2`.
#[must_use]
pub const fn to_signed(a: u64) -> i64 {
    // Above the middle, a − q is what a + EPSILON reads as modulo 2^64.
    a.wrapping_add(EPSILON & select(a > Q / 2)) as i64
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
