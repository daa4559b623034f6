//! ChaCha20's keystream, sixteen blocks at a time with AVX-512.
//!
//! The `chacha20` crate has such code and compiles it only under a flag of the whole build. Blocks
//! differ in a counter only, so that sixteen of them fit the lanes of sixteen vector registers. What
//! is computed is the keystream of RFC 8439, section 2.3, under a nonce of zeros; the crate is the
//! oracle of the tests.

use pulp::NullaryFnOnce;
use pulp::x86::V4;
use std::arch::x86_64::__m512i;
use zeroize::Zeroizing;

/// Blocks of a run.
pub(super) const BLOCKS: usize = 16;

/// Bytes of a run.
pub(super) const RUN: usize = BLOCKS * 64;

/// "expand 32-byte k".
const CONSTANTS: [u32; 4] = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574];

/// The sixteen words of the state, one register each; a lane is a block.
type State = [__m512i; 16];

/// Fills `out` with the keystream from block `first` on. None without AVX-512, or when the block
/// counter would overflow.
pub(super) fn keystream(key: &[u8; 32], first: u64, out: &mut [[u8; RUN]]) -> Option<()> {
    let simd = V4::try_new()?;
    let blocks = (out.len() as u64).checked_mul(BLOCKS as u64)?;
    let first = u32::try_from(first).ok()?;
    u32::try_from(u64::from(first) + blocks).ok()?;
    simd.vectorize(Fill {
        simd,
        key,
        first,
        out,
    });
    Some(())
}

/// What is compiled for AVX-512. All that it calls must be inlined into it: no closures, and loops
/// of constant length.
struct Fill<'a> {
    simd: V4,
    key: &'a [u8; 32],
    first: u32,
    out: &'a mut [[u8; RUN]],
}

impl NullaryFnOnce for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let wide = Wide(self.simd);
        // As secret as the seed.
        let mut words = Zeroizing::new([0; 12]);
        for (word, constant) in words.iter_mut().zip(CONSTANTS) {
            *word = constant;
        }
        for (word, bytes) in words.iter_mut().skip(4).zip(self.key.as_chunks::<4>().0) {
            *word = u32::from_le_bytes(*bytes);
        }
        let mut counter = self.first;
        for run in self.out {
            wide.run(&words, counter, run);
            counter = counter.wrapping_add(BLOCKS as u32);
        }
    }
}

#[derive(Clone, Copy)]
struct Wide(V4);

#[expect(
    clippy::indexing_slicing,
    reason = "indices are constants below the lengths of the arrays"
)]
impl Wide {
    #[inline(always)]
    fn splat(self, word: u32) -> __m512i {
        self.0.avx512f._mm512_set1_epi32(word.cast_signed())
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        self.0.avx512f._mm512_add_epi32(a, b)
    }

    /// (a ^ b) rotated left.
    #[inline(always)]
    fn turn<const LEFT: i32>(self, a: __m512i, b: __m512i) -> __m512i {
        let avx = &self.0.avx512f;
        avx._mm512_rol_epi32::<LEFT>(avx._mm512_xor_si512(a, b))
    }

    #[inline(always)]
    fn quarter(self, v: &mut State, [a, b, c, d]: [usize; 4]) {
        v[a] = self.add(v[a], v[b]);
        v[d] = self.turn::<16>(v[d], v[a]);
        v[c] = self.add(v[c], v[d]);
        v[b] = self.turn::<12>(v[b], v[c]);
        v[a] = self.add(v[a], v[b]);
        v[d] = self.turn::<8>(v[d], v[a]);
        v[c] = self.add(v[c], v[d]);
        v[b] = self.turn::<7>(v[b], v[c]);
    }

    /// The sixteen blocks from number `counter` on.
    #[inline(always)]
    fn run(self, words: &[u32; 12], counter: u32, out: &mut [u8; RUN]) {
        let mut counters = [0u32; BLOCKS];
        for (lane, place) in counters.iter_mut().enumerate() {
            *place = counter.wrapping_add(lane as u32);
        }
        let counters: __m512i = pulp::cast(counters);
        let mut v = [self.splat(0); 16];
        for (lanes, word) in v.iter_mut().zip(words) {
            *lanes = self.splat(*word);
        }
        v[12] = counters;
        for _ in 0..10 {
            self.quarter(&mut v, [0, 4, 8, 12]);
            self.quarter(&mut v, [1, 5, 9, 13]);
            self.quarter(&mut v, [2, 6, 10, 14]);
            self.quarter(&mut v, [3, 7, 11, 15]);
            self.quarter(&mut v, [0, 5, 10, 15]);
            self.quarter(&mut v, [1, 6, 11, 12]);
            self.quarter(&mut v, [2, 7, 8, 13]);
            self.quarter(&mut v, [3, 4, 9, 14]);
        }
        for (lanes, word) in v.iter_mut().zip(words) {
            *lanes = self.add(*lanes, self.splat(*word));
        }
        v[12] = self.add(v[12], counters);
        self.write(&v, out);
    }

    /// Turns sixteen words of sixteen lanes into sixteen lanes of sixteen words, one block each.
    #[inline(always)]
    fn write(self, v: &State, out: &mut [u8; RUN]) {
        let avx = &self.0.avx512f;
        // Quarter `l` of quads[i][m]: words 4i .. 4i + 4 of block 4l + m.
        let mut quads = [[v[0]; 4]; 4];
        for i in 0..4 {
            let [a, b, c, d] = [v[4 * i], v[4 * i + 1], v[4 * i + 2], v[4 * i + 3]];
            let (ab, cd) = (
                avx._mm512_unpacklo_epi32(a, b),
                avx._mm512_unpacklo_epi32(c, d),
            );
            quads[i][0] = avx._mm512_unpacklo_epi64(ab, cd);
            quads[i][1] = avx._mm512_unpackhi_epi64(ab, cd);
            let (ab, cd) = (
                avx._mm512_unpackhi_epi32(a, b),
                avx._mm512_unpackhi_epi32(c, d),
            );
            quads[i][2] = avx._mm512_unpacklo_epi64(ab, cd);
            quads[i][3] = avx._mm512_unpackhi_epi64(ab, cd);
        }
        let blocks = out.as_chunks_mut::<64>().0;
        for m in 0..4 {
            let [a, b, c, d] = [quads[0][m], quads[1][m], quads[2][m], quads[3][m]];
            let (p, q) = (
                avx._mm512_shuffle_i32x4::<0x44>(a, b),
                avx._mm512_shuffle_i32x4::<0x44>(c, d),
            );
            blocks[m] = pulp::cast(avx._mm512_shuffle_i32x4::<0x88>(p, q));
            blocks[4 + m] = pulp::cast(avx._mm512_shuffle_i32x4::<0xdd>(p, q));
            let (p, q) = (
                avx._mm512_shuffle_i32x4::<0xee>(a, b),
                avx._mm512_shuffle_i32x4::<0xee>(c, d),
            );
            blocks[8 + m] = pulp::cast(avx._mm512_shuffle_i32x4::<0x88>(p, q));
            blocks[12 + m] = pulp::cast(avx._mm512_shuffle_i32x4::<0xdd>(p, q));
        }
    }
}
