//! Two hashes in each AVX2 register, four registers in step.
#![allow(
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    reason = "every unsafe fn here asks one thing of its caller, said at the trait: that the processor has the features"
)]

use std::arch::x86_64::{
    __m256i, _mm_cvtsi128_si32, _mm256_add_epi32, _mm256_castsi256_si128, _mm256_extracti128_si256,
    _mm256_loadu_si256, _mm256_or_si256, _mm256_permute2x128_si256, _mm256_setzero_si256,
    _mm256_shuffle_epi32, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_storeu_si256, _mm256_xor_si256,
};

use super::pbkdf2::Block;
use super::rows::{Line, Rows, mix};

const GROUPS: usize = 4;
/// Hashes this kernel mixes at once.
pub(super) const LANES: usize = 2 * GROUPS;

/// Whether this processor has what this file uses.
#[inline]
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2")
}

#[derive(Clone, Copy)]
struct Row(__m256i);

// SAFETY: every method needs AVX2, which `mix_lanes` enables and its caller has found.
unsafe impl Rows for Row {
    const HASHES: usize = 2;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self(_mm256_setzero_si256())
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(_mm256_add_epi32(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        Self(_mm256_xor_si256(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn rol<const N: i32, const M: i32>(self) -> Self {
        Self(_mm256_or_si256(_mm256_slli_epi32::<N>(self.0), _mm256_srli_epi32::<M>(self.0)))
    }

    #[inline(always)]
    unsafe fn up_one(self) -> Self {
        Self(_mm256_shuffle_epi32::<0x93>(self.0))
    }

    #[inline(always)]
    unsafe fn across(self) -> Self {
        Self(_mm256_shuffle_epi32::<0x4e>(self.0))
    }

    #[inline(always)]
    unsafe fn down_one(self) -> Self {
        Self(_mm256_shuffle_epi32::<0x39>(self.0))
    }

    #[inline(always)]
    unsafe fn load(from: &[*const u32; 4]) -> [Self; 4] {
        let (a, b) = (_mm256_loadu_si256(from[0].cast()), _mm256_loadu_si256(from[1].cast()));
        let c = _mm256_loadu_si256(from[0].add(8).cast());
        let d = _mm256_loadu_si256(from[1].add(8).cast());
        [
            Self(_mm256_permute2x128_si256::<0x20>(a, b)),
            Self(_mm256_permute2x128_si256::<0x31>(a, b)),
            Self(_mm256_permute2x128_si256::<0x20>(c, d)),
            Self(_mm256_permute2x128_si256::<0x31>(c, d)),
        ]
    }

    #[inline(always)]
    unsafe fn store(rows: [Self; 4], to: &[*mut u32; 4]) {
        for i in 0..2 {
            let (even, odd) = (rows[2 * i].0, rows[2 * i + 1].0);
            _mm256_storeu_si256(to[0].add(8 * i).cast(), _mm256_permute2x128_si256::<0x20>(even, odd));
            _mm256_storeu_si256(to[1].add(8 * i).cast(), _mm256_permute2x128_si256::<0x31>(even, odd));
        }
    }

    #[inline(always)]
    unsafe fn first_words(self) -> [u32; 4] {
        let first = _mm_cvtsi128_si32(_mm256_castsi256_si128(self.0)).cast_unsigned();
        let second = _mm_cvtsi128_si32(_mm256_extracti128_si256::<1>(self.0)).cast_unsigned();
        [first, second, 0, 0]
    }
}

/// ROMix of [`LANES`] blocks.
#[target_feature(enable = "avx2")]
pub(super) fn mix_lanes(blocks: &mut [Block; LANES], scratch: &mut [Line]) {
    // SAFETY: this function enables the feature that Row needs.
    unsafe { mix::<Row, GROUPS, LANES>(blocks, scratch) }
}
