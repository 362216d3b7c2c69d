//! Four hashes in each AVX-512 register, two registers in step.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, __m512i, _mm_cvtsi128_si32, _mm512_add_epi32, _mm512_extracti32x4_epi32, _mm512_loadu_si512,
    _mm512_rol_epi32, _mm512_shuffle_epi32, _mm512_shuffle_i32x4, _mm512_storeu_si512, _mm512_xor_si512,
};

use super::pbkdf2::Block;
use super::rows::{Line, Rows, mix};

const GROUPS: usize = 2;
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
    unsafe {
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
}

// SAFETY: every method needs AVX-512 F, which `mix_lanes` enables and its caller has found.
unsafe impl Rows for Row {
    const HASHES: usize = 4;

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        unsafe { Self(_mm512_add_epi32(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        unsafe { Self(_mm512_xor_si512(self.0, other.0)) }
    }

    #[inline(always)]
    unsafe fn rol<const N: i32, const M: i32>(self) -> Self {
        unsafe { Self(_mm512_rol_epi32::<N>(self.0)) }
    }

    #[inline(always)]
    unsafe fn up_one(self) -> Self {
        unsafe { Self(_mm512_shuffle_epi32::<0x93>(self.0)) }
    }

    #[inline(always)]
    unsafe fn across(self) -> Self {
        unsafe { Self(_mm512_shuffle_epi32::<0x4e>(self.0)) }
    }

    #[inline(always)]
    unsafe fn down_one(self) -> Self {
        unsafe { Self(_mm512_shuffle_epi32::<0x39>(self.0)) }
    }

    #[inline(always)]
    unsafe fn load(from: &[*const u32]) -> [Self; 4] {
        // SAFETY: each of the four pointers is good for 16 words.
        unsafe { transpose(std::array::from_fn(|h| _mm512_loadu_si512(from[h].cast()))).map(Self) }
    }

    #[inline(always)]
    unsafe fn store(rows: [Self; 4], to: &[*mut u32]) {
        unsafe {
            let hashes = transpose(rows.map(|row| row.0));
            for (h, hash) in hashes.into_iter().enumerate() {
                // SAFETY: each of the four pointers is good for 16 words.
                _mm512_storeu_si512(to[h].cast(), hash);
            }
        }
    }

    #[inline(always)]
    unsafe fn first_words(self, out: &mut [u32]) {
        unsafe {
            let word = |lane: __m128i| _mm_cvtsi128_si32(lane).cast_unsigned();
            out[0] = word(_mm512_extracti32x4_epi32::<0>(self.0));
            out[1] = word(_mm512_extracti32x4_epi32::<1>(self.0));
            out[2] = word(_mm512_extracti32x4_epi32::<2>(self.0));
            out[3] = word(_mm512_extracti32x4_epi32::<3>(self.0));
        }
    }
}

/// ROMix of [`LANES`] blocks.
#[target_feature(enable = "avx512f")]
pub(super) fn mix_lanes(blocks: &mut [Block; LANES], scratch: &mut [Line]) {
    // SAFETY: this function enables the feature that Row needs.
    unsafe { mix::<Row, GROUPS, LANES>(blocks, scratch) }
}
