//! Eight hashes at once in AVX2 registers, for processors that have neither AVX-512 nor the SHA extensions.
#![allow(
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    reason = "every unsafe fn here asks one thing of its caller, said at the trait: that the processor has the features"
)]

use std::arch::x86_64::{
    __m256i, _mm256_add_epi32, _mm256_and_si256, _mm256_castsi256_ps, _mm256_cmpeq_epi32, _mm256_min_epu32,
    _mm256_movemask_ps, _mm256_or_si256, _mm256_set1_epi32, _mm256_setr_epi32, _mm256_setr_epi64x,
    _mm256_shuffle_epi8, _mm256_slli_epi32, _mm256_srli_epi32, _mm256_xor_si256,
};

use super::lanes::{Lanes, candidates};
use super::prepared::Prepared;

/// Whether this processor has what this file uses.
#[inline]
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx2")
}

#[derive(Clone, Copy)]
struct Eight(__m256i);

#[inline(always)]
unsafe fn swap_bytes(x: __m256i) -> __m256i {
    const LOW: i64 = 0x0405_0607_0001_0203;
    const HIGH: i64 = 0x0c0d_0e0f_0809_0a0b;
    _mm256_shuffle_epi8(x, _mm256_setr_epi64x(LOW, HIGH, LOW, HIGH))
}

// SAFETY: every method needs AVX2, which `scan` enables and its caller has found.
unsafe impl Lanes for Eight {
    const COUNT: usize = 8;

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        Self(_mm256_set1_epi32(word.cast_signed()))
    }

    #[inline(always)]
    unsafe fn nonces_from(first: u32) -> Self {
        let steps = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
        Self(swap_bytes(_mm256_add_epi32(_mm256_set1_epi32(first.cast_signed()), steps)))
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(_mm256_add_epi32(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn xor3(a: Self, b: Self, c: Self) -> Self {
        Self(_mm256_xor_si256(_mm256_xor_si256(a.0, b.0), c.0))
    }

    #[inline(always)]
    unsafe fn ch(e: Self, f: Self, g: Self) -> Self {
        Self(_mm256_xor_si256(g.0, _mm256_and_si256(e.0, _mm256_xor_si256(f.0, g.0))))
    }

    #[inline(always)]
    unsafe fn maj(a: Self, b: Self, c: Self) -> Self {
        let either = _mm256_and_si256(c.0, _mm256_or_si256(a.0, b.0));
        Self(_mm256_or_si256(_mm256_and_si256(a.0, b.0), either))
    }

    #[inline(always)]
    unsafe fn ror<const N: i32, const M: i32>(self) -> Self {
        Self(_mm256_or_si256(_mm256_srli_epi32::<N>(self.0), _mm256_slli_epi32::<M>(self.0)))
    }

    #[inline(always)]
    unsafe fn shr_3(self) -> Self {
        Self(_mm256_srli_epi32::<3>(self.0))
    }

    #[inline(always)]
    unsafe fn shr_10(self) -> Self {
        Self(_mm256_srli_epi32::<10>(self.0))
    }

    #[inline(always)]
    unsafe fn swapped_at_most(self, limit: u32) -> u32 {
        let (value, limit) = (swap_bytes(self.0), _mm256_set1_epi32(limit.cast_signed()));
        let at_most = _mm256_cmpeq_epi32(_mm256_min_epu32(value, limit), value);
        _mm256_movemask_ps(_mm256_castsi256_ps(at_most)).cast_unsigned()
    }
}

/// Appends to `out` those of `count` nonces from `first` whose hash may meet a target with these most significant
/// 32 bits. Works by the eight, so up to seven nonces past the end may be tried too.
#[target_feature(enable = "avx2")]
pub(super) fn scan(job: &Prepared, first: u32, count: u32, limit: u32, out: &mut Vec<u32>) {
    for offset in (0..count).step_by(Eight::COUNT) {
        let start = first.wrapping_add(offset);
        // SAFETY: this function enables the feature that Eight needs.
        let mut hits = unsafe { candidates(job, Eight::nonces_from(start), limit) };
        while hits != 0 {
            out.push(start.wrapping_add(hits.trailing_zeros()));
            hits &= hits - 1;
        }
    }
}
