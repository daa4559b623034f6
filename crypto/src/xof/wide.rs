//! BLAKE3's extendable output, eight blocks at a time with AVX2.
//!
//! The `blake3` crate computes the blocks of a long output one by one unless the processor has
//! AVX-512 (then sixteen at a time, and nothing of this is used). They differ in a counter only, so that
//! eight of them fit the lanes of eight vector registers: a mask takes 9 µs in place of 33. What is computed is BLAKE3 (sections 2.2 and 2.6
//! of its paper) for inputs of one block; the crate is the oracle of the tests.

use pulp::NullaryFnOnce;
use pulp::x86::{V3, V4};
use std::arch::x86_64::__m256i;

/// Words of 64 bits that eight blocks of output are.
pub(super) const WORDS: usize = 64;

const IV: [u32; 4] = [0x6A09_E667, 0xBB67_AE85, 0x3C6E_F372, 0xA54F_F53A];

/// CHUNK_START, CHUNK_END, ROOT and DERIVE_KEY_MATERIAL: the only block of the only chunk.
const FLAGS: u32 = 1 | 1 << 1 | 1 << 3 | 1 << 6;

/// The order of message words in each of the seven rounds.
const SCHEDULE: [[usize; 16]; 7] = schedule();

#[expect(clippy::indexing_slicing, reason = "evaluated at compile time")]
const fn schedule() -> [[usize; 16]; 7] {
    const PERMUTATION: [usize; 16] = [2, 6, 3, 10, 7, 0, 4, 13, 1, 11, 12, 5, 9, 14, 15, 8];
    let mut order = [[0; 16]; 7];
    let mut place = 0;
    while place < 7 * 16 {
        let (round, word) = (place / 16, place % 16);
        order[round][word] = match round {
            0 => word,
            _ => order[round - 1][PERMUTATION[word]],
        };
        place += 1;
    }
    order
}

/// An input of at most one block, and the vector instructions to expand it with.
pub(super) struct Root {
    simd: V3,
    key: [u32; 8],
    block: [u32; 16],
    length: u32,
}

impl Root {
    /// The output of `input` in key-derivation mode. None without AVX2, with AVX-512, or when the
    /// input is longer than one block.
    pub(super) fn new(domain: &str, input: &[u8]) -> Option<Self> {
        let simd = V3::try_new().filter(|_| V4::try_new().is_none())?;
        let mut block = [0u8; 64];
        block.get_mut(..input.len())?.copy_from_slice(input);
        Some(Self {
            simd,
            key: words(&blake3::hazmat::hash_derive_key_context(domain)),
            block: words(&block),
            length: input.len() as u32,
        })
    }

    /// Fills `out` with the output from its start, as little-endian words.
    pub(super) fn fill(&self, out: &mut [[u64; WORDS]]) {
        self.simd.vectorize(Fill { root: self, out });
    }
}

fn words<const N: usize>(bytes: &[u8]) -> [u32; N] {
    let mut words = [0; N];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks::<4>().0) {
        *word = u32::from_le_bytes(*bytes);
    }
    words
}

/// What is compiled for AVX2. All that it calls must be inlined into it: no closures, and loops of
/// constant length.
struct Fill<'a> {
    root: &'a Root,
    out: &'a mut [[u64; WORDS]],
}

impl NullaryFnOnce for Fill<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        for (index, blocks) in self.out.iter_mut().enumerate() {
            self.root.compress(8 * index as u64, blocks);
        }
    }
}

/// The sixteen words of the state, one register each; a lane is a block.
type State = [__m256i; 16];

/// Bytes of each 32-bit lane, rotated right by 16 and by 8 bits.
const ROTATED_16: [u8; 32] = [
    2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13, 2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14,
    15, 12, 13,
];
const ROTATED_8: [u8; 32] = [
    1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13, 14, 15, 12, 1, 2, 3, 0, 5, 6, 7, 4, 9, 10, 11, 8, 13,
    14, 15, 12,
];

#[expect(
    clippy::indexing_slicing,
    reason = "indices are constants below the lengths of the arrays"
)]
impl Root {
    #[inline(always)]
    fn splat(&self, word: u32) -> __m256i {
        self.simd.avx._mm256_set1_epi32(word.cast_signed())
    }

    #[inline(always)]
    fn add(&self, a: __m256i, b: __m256i) -> __m256i {
        self.simd.avx2._mm256_add_epi32(a, b)
    }

    #[inline(always)]
    fn xor(&self, a: __m256i, b: __m256i) -> __m256i {
        self.simd.avx2._mm256_xor_si256(a, b)
    }

    /// Rotates right by `RIGHT`; `LEFT` is 32 − `RIGHT`.
    #[inline(always)]
    fn rotate<const RIGHT: i32, const LEFT: i32>(&self, a: __m256i) -> __m256i {
        let avx2 = &self.simd.avx2;
        avx2._mm256_or_si256(
            avx2._mm256_srli_epi32::<RIGHT>(a),
            avx2._mm256_slli_epi32::<LEFT>(a),
        )
    }

    /// The quarter round G on four words of the state with two of the message.
    #[inline(always)]
    fn mix(&self, v: &mut State, [a, b, c, d]: [usize; 4], [x, y]: [__m256i; 2]) {
        let avx2 = &self.simd.avx2;
        v[a] = self.add(self.add(v[a], v[b]), x);
        v[d] = avx2._mm256_shuffle_epi8(self.xor(v[d], v[a]), pulp::cast(ROTATED_16));
        v[c] = self.add(v[c], v[d]);
        v[b] = self.rotate::<12, 20>(self.xor(v[b], v[c]));
        v[a] = self.add(self.add(v[a], v[b]), y);
        v[d] = avx2._mm256_shuffle_epi8(self.xor(v[d], v[a]), pulp::cast(ROTATED_8));
        v[c] = self.add(v[c], v[d]);
        v[b] = self.rotate::<7, 25>(self.xor(v[b], v[c]));
    }

    #[inline(always)]
    fn round(&self, v: &mut State, m: &State, order: &[usize; 16]) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, n, o, p, q] = *order;
        self.mix(v, [0, 4, 8, 12], [m[a], m[b]]);
        self.mix(v, [1, 5, 9, 13], [m[c], m[d]]);
        self.mix(v, [2, 6, 10, 14], [m[e], m[f]]);
        self.mix(v, [3, 7, 11, 15], [m[g], m[h]]);
        self.mix(v, [0, 5, 10, 15], [m[i], m[j]]);
        self.mix(v, [1, 6, 11, 12], [m[k], m[l]]);
        self.mix(v, [2, 7, 8, 13], [m[n], m[o]]);
        self.mix(v, [3, 4, 9, 14], [m[p], m[q]]);
    }

    /// The eight blocks of output from number `counter` on.
    #[inline(always)]
    fn compress(&self, counter: u64, out: &mut [u64; WORDS]) {
        let (mut low, mut high) = ([0u32; 8], [0u32; 8]);
        for lane in 0..8 {
            let counter = counter.wrapping_add(lane as u64);
            low[lane] = counter as u32;
            high[lane] = (counter >> 32) as u32;
        }
        let mut v = [self.splat(0); 16];
        let mut m = v;
        for (lanes, word) in m.iter_mut().zip(self.block) {
            *lanes = self.splat(word);
        }
        for (lanes, word) in v.iter_mut().zip(self.key.iter().chain(&IV)) {
            *lanes = self.splat(*word);
        }
        v[12] = pulp::cast(low);
        v[13] = pulp::cast(high);
        v[14] = self.splat(self.length);
        v[15] = self.splat(FLAGS);
        for order in &SCHEDULE {
            self.round(&mut v, &m, order);
        }
        let (mut first, mut second) = ([v[0]; 8], [v[0]; 8]);
        for word in 0..8 {
            first[word] = self.xor(v[word], v[word + 8]);
            second[word] = self.xor(v[word + 8], self.splat(self.key[word]));
        }
        let (first, second) = (self.transpose(first), self.transpose(second));
        for (lane, block) in out.as_chunks_mut::<8>().0.iter_mut().enumerate() {
            let (first, second): ([u64; 4], [u64; 4]) =
                (pulp::cast(first[lane]), pulp::cast(second[lane]));
            let (start, end) = block.split_at_mut(4);
            start.copy_from_slice(&first);
            end.copy_from_slice(&second);
        }
    }

    /// Turns eight words of eight lanes into eight lanes of eight words.
    #[inline(always)]
    fn transpose(&self, rows: [__m256i; 8]) -> [__m256i; 8] {
        let avx2 = &self.simd.avx2;
        let [a, b, c, d, e, f, g, h] = rows;
        let [r0, r1, r4, r5] = self.interleave([
            avx2._mm256_unpacklo_epi32(a, b),
            avx2._mm256_unpacklo_epi32(c, d),
            avx2._mm256_unpacklo_epi32(e, f),
            avx2._mm256_unpacklo_epi32(g, h),
        ]);
        let [r2, r3, r6, r7] = self.interleave([
            avx2._mm256_unpackhi_epi32(a, b),
            avx2._mm256_unpackhi_epi32(c, d),
            avx2._mm256_unpackhi_epi32(e, f),
            avx2._mm256_unpackhi_epi32(g, h),
        ]);
        [r0, r1, r2, r3, r4, r5, r6, r7]
    }

    /// Second half of the transposition: pairs of words to whole lanes.
    #[inline(always)]
    fn interleave(&self, [ab, cd, ef, gh]: [__m256i; 4]) -> [__m256i; 4] {
        let avx2 = &self.simd.avx2;
        let (p, q) = (
            avx2._mm256_unpacklo_epi64(ab, cd),
            avx2._mm256_unpackhi_epi64(ab, cd),
        );
        let (r, s) = (
            avx2._mm256_unpacklo_epi64(ef, gh),
            avx2._mm256_unpackhi_epi64(ef, gh),
        );
        [
            avx2._mm256_permute2x128_si256::<0x20>(p, r),
            avx2._mm256_permute2x128_si256::<0x20>(q, s),
            avx2._mm256_permute2x128_si256::<0x31>(p, r),
            avx2._mm256_permute2x128_si256::<0x31>(q, s),
        ]
    }
}
