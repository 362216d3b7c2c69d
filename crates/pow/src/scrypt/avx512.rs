//! Four hashes in each AVX-512 register, four registers in step.
#![allow(
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    reason = "every unsafe fn here asks one thing of its caller, said at the trait: that the processor has the features"
)]

use std::arch::x86_64::{
    __m512i, _mm_cvtsi128_si32, _mm512_add_epi32, _mm512_castsi512_si128, _mm512_extracti32x4_epi32,
    _mm512_loadu_si512, _mm512_rol_epi32, _mm512_setzero_si512, _mm512_shuffle_epi32, _mm512_shuffle_i32x4,
    _mm512_storeu_si512, _mm512_xor_si512,
};

use super::pbkdf2::Block;
use super::rows::{Line, Rows, mix};

const GROUPS: usize = 4;
/// Hashes this kernel mixes at once.
pub(super) const LANES: usize = 4 * GROUPS;

/// Whether this processor has what this file uses.
#[inline]
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
}

#[derive(Clone, Copy)]
struct Row(__m512i);

/// Makes four registers, each all rows of one hash, into four, each one row of all hashes; and back.
#[inline(always)]
unsafe fn transpose([a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
    let ab_low = _mm512_shuffle_i32x4::<0x44>(a, b);
    let ab_high = _mm512_shuffle_i32x4::<0xee>(a, b);
    let cd_low = _mm512_shuffle_i32x4::<0x44>(c, d);
    let cd_high = _mm512_shuffle_i32x4::<0xee>(c, d);
    [
        _mm512_shuffle_i32x4::<0x88>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0xdd>(ab_low, cd_low),
        _mm512_shuffle_i32x4::<0x88>(ab_high, cd_high),
        _mm512_shuffle_i32x4::<0xdd>(ab_high, cd_high),
    ]
}

// SAFETY: every method needs AVX-512 F, which `mix_lanes` enables and its caller has found.
unsafe impl Rows for Row {
    const HASHES: usize = 4;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self(_mm512_setzero_si512())
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(_mm512_add_epi32(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        Self(_mm512_xor_si512(self.0, other.0))
    }

    #[inline(always)]
    unsafe fn rol<const N: i32, const M: i32>(self) -> Self {
        Self(_mm512_rol_epi32::<N>(self.0))
    }

    #[inline(always)]
    unsafe fn up_one(self) -> Self {
        Self(_mm512_shuffle_epi32::<0x93>(self.0))
    }

    #[inline(always)]
    unsafe fn across(self) -> Self {
        Self(_mm512_shuffle_epi32::<0x4e>(self.0))
    }

    #[inline(always)]
    unsafe fn down_one(self) -> Self {
        Self(_mm512_shuffle_epi32::<0x39>(self.0))
    }

    #[inline(always)]
    unsafe fn load(from: &[*const u32; 4]) -> [Self; 4] {
        let [a, b, c, d] = transpose([
            _mm512_loadu_si512(from[0].cast()),
            _mm512_loadu_si512(from[1].cast()),
            _mm512_loadu_si512(from[2].cast()),
            _mm512_loadu_si512(from[3].cast()),
        ]);
        [Self(a), Self(b), Self(c), Self(d)]
    }

    #[inline(always)]
    unsafe fn store(rows: [Self; 4], to: &[*mut u32; 4]) {
        let hashes = transpose([rows[0].0, rows[1].0, rows[2].0, rows[3].0]);
        for h in 0..4 {
            _mm512_storeu_si512(to[h].cast(), hashes[h]);
        }
    }

    #[inline(always)]
    unsafe fn first_words(self) -> [u32; 4] {
        [
            _mm_cvtsi128_si32(_mm512_castsi512_si128(self.0)).cast_unsigned(),
            _mm_cvtsi128_si32(_mm512_extracti32x4_epi32::<1>(self.0)).cast_unsigned(),
            _mm_cvtsi128_si32(_mm512_extracti32x4_epi32::<2>(self.0)).cast_unsigned(),
            _mm_cvtsi128_si32(_mm512_extracti32x4_epi32::<3>(self.0)).cast_unsigned(),
        ]
    }
}

/// ROMix of [`LANES`] blocks.
#[target_feature(enable = "avx512f")]
pub(super) fn mix_lanes(blocks: &mut [Block; LANES], scratch: &mut [Line]) {
    // SAFETY: this function enables the feature that Row needs.
    unsafe { mix::<Row, GROUPS, LANES>(blocks, scratch) }
}
