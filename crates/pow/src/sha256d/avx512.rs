//! Sixteen hashes at once in AVX-512 registers.
#![allow(
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    reason = "every unsafe fn here asks one thing of its caller, said at the trait: that the processor has the features"
)]

use std::arch::x86_64::{
    __m512i, _mm512_add_epi32, _mm512_cmple_epu32_mask, _mm512_ror_epi32, _mm512_set1_epi32,
    _mm512_setr_epi32, _mm512_setr_epi64, _mm512_shuffle_epi8, _mm512_srli_epi32, _mm512_ternarylogic_epi32,
};

use super::lanes::{Lanes, candidates};
use super::prepared::Prepared;

/// Whether this processor has what this file uses.
#[inline]
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bw")
}

#[derive(Clone, Copy)]
struct Sixteen(__m512i);

#[inline(always)]
unsafe fn swap_bytes(x: __m512i) -> __m512i {
    const LOW: i64 = 0x0405_0607_0001_0203;
    const HIGH: i64 = 0x0c0d_0e0f_0809_0a0b;
    _mm512_shuffle_epi8(x, _mm512_setr_epi64(LOW, HIGH, LOW, HIGH, LOW, HIGH, LOW, HIGH))
}

// SAFETY: every method needs AVX-512 F and BW, which `scan` enables and its caller has found.
unsafe impl Lanes for Sixteen {
    const COUNT: usize = 16;

    #[inline(always)]
    unsafe fn splat(word: u32) -> Self {
        Self(_mm512_set1_epi32(word.cast_signed()))
    }

    #[inline(always)]
    unsafe fn nonces_from(first: u32) -> Self {
        let steps = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        Self(swap_bytes(_mm512_add_epi32(_mm512_set1_epi32(first.cast_signed()), steps)))
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(_mm512_add_epi32(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn xor3(a: Self, b: Self, c: Self) -> Self {
        Self(_mm512_ternarylogic_epi32::<0x96>(a.0, b.0, c.0))
    }

    #[inline(always)]
    unsafe fn ch(e: Self, f: Self, g: Self) -> Self {
        Self(_mm512_ternarylogic_epi32::<0xca>(e.0, f.0, g.0))
    }

    #[inline(always)]
    unsafe fn maj(a: Self, b: Self, c: Self) -> Self {
        Self(_mm512_ternarylogic_epi32::<0xe8>(a.0, b.0, c.0))
    }

    #[inline(always)]
    unsafe fn ror<const N: i32, const M: i32>(self) -> Self {
        Self(_mm512_ror_epi32::<N>(self.0))
    }

    #[inline(always)]
    unsafe fn shr_3(self) -> Self {
        Self(_mm512_srli_epi32::<3>(self.0))
    }

    #[inline(always)]
    unsafe fn shr_10(self) -> Self {
        Self(_mm512_srli_epi32::<10>(self.0))
    }

    #[inline(always)]
    unsafe fn swapped_at_most(self, limit: u32) -> u32 {
        u32::from(_mm512_cmple_epu32_mask(swap_bytes(self.0), _mm512_set1_epi32(limit.cast_signed())))
    }
}

/// Appends to `out` those of `count` nonces from `first` whose hash may meet a target with these most significant
/// 32 bits. Works by the sixteen, so up to fifteen nonces past the end may be tried too.
#[target_feature(enable = "avx512f,avx512bw")]
pub(super) fn scan(job: &Prepared, first: u32, count: u32, limit: u32, out: &mut Vec<u32>) {
    for offset in (0..count).step_by(Sixteen::COUNT) {
        let start = first.wrapping_add(offset);
        // SAFETY: this function enables the features that Sixteen needs.
        let mut hits = unsafe { candidates(job, Sixteen::nonces_from(start), limit) };
        while hits != 0 {
            out.push(start.wrapping_add(hits.trailing_zeros()));
            hits &= hits - 1;
        }
    }
}
