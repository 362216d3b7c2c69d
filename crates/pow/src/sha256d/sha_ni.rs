//! SHA-256 with the SHA extensions of x86-64 (Intel since Ice Lake, AMD since Zen): one block for whoever hashes a
//! single message, and a two-way search kernel, two because one message alone waits on its own results.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m128i, _mm_add_epi32, _mm_alignr_epi8, _mm_blend_epi16, _mm_cvtsi128_si32, _mm_loadu_si128,
    _mm_set_epi32, _mm_sha256msg1_epu32, _mm_sha256msg2_epu32, _mm_sha256rnds2_epu32, _mm_shuffle_epi32,
    _mm_storeu_si128,
};

use super::block::{IV, K};
use super::prepared::Prepared;

/// Whether this processor has what this file uses.
#[inline]
pub(crate) fn available() -> bool {
    is_x86_feature_detected!("sha") && is_x86_feature_detected!("sse4.1") && is_x86_feature_detected!("ssse3")
}

/// A state as the instructions want it: words `f e b a` and `h g d c`, lowest lane first.
#[derive(Clone, Copy)]
struct Halves {
    abef: __m128i,
    cdgh: __m128i,
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn halves(s: &[u32; 8]) -> Halves {
    let [a, b, c, d, e, f, g, h] = s.map(u32::cast_signed);
    Halves { abef: _mm_set_epi32(a, b, e, f), cdgh: _mm_set_epi32(c, d, g, h) }
}

#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn constants(group: usize) -> __m128i {
    // SAFETY: `group` is below 16, so four words from 4 * group lie inside K.
    unsafe { _mm_loadu_si128(K.as_ptr().add(4 * group).cast()) }
}

/// Four rounds with the message words `w` of their group.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn four_rounds(s: &mut Halves, w: __m128i, group: usize) {
    let wk = _mm_add_epi32(w, constants(group));
    s.cdgh = _mm_sha256rnds2_epu32(s.cdgh, s.abef, wk);
    s.abef = _mm_sha256rnds2_epu32(s.abef, s.cdgh, _mm_shuffle_epi32::<0x0e>(wk));
}

/// The next four message words from the last sixteen, oldest first.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn schedule(w0: __m128i, w1: __m128i, w2: __m128i, w3: __m128i) -> __m128i {
    let sum = _mm_add_epi32(_mm_sha256msg1_epu32(w0, w1), _mm_alignr_epi8::<4>(w3, w2));
    _mm_sha256msg2_epu32(sum, w3)
}

/// All 64 rounds and the final addition, for `N` messages in step.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn rounds<const N: usize>(start: [Halves; N], mut w: [[__m128i; 4]; N]) -> [Halves; N] {
    let mut s = start;
    for group in 0..16 {
        for n in 0..N {
            if group >= 4 {
                let [w0, w1, w2, w3] = w[n];
                w[n] = [w1, w2, w3, schedule(w0, w1, w2, w3)];
                four_rounds(&mut s[n], w[n][3], group);
            } else {
                four_rounds(&mut s[n], w[n][group], group);
            }
        }
    }
    for n in 0..N {
        s[n].abef = _mm_add_epi32(s[n].abef, start[n].abef);
        s[n].cdgh = _mm_add_epi32(s[n].cdgh, start[n].cdgh);
    }
    s
}

/// Folds one block of big-endian words into `state`.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(crate) fn compress(state: &mut [u32; 8], block: &[u32; 16]) {
    // SAFETY: four loads of four words each out of sixteen.
    let w = std::array::from_fn(|i| unsafe { _mm_loadu_si128(block.as_ptr().add(4 * i).cast()) });
    let [done] = rounds([halves(state)], [w]);
    let (front, back) = words(done);
    // SAFETY: two stores of four words each into eight.
    unsafe {
        _mm_storeu_si128(state.as_mut_ptr().cast(), front);
        _mm_storeu_si128(state.as_mut_ptr().add(4).cast(), back);
    }
}

/// The state back in word order: `a b c d` and `e f g h`, lowest lane first.
#[inline]
#[target_feature(enable = "sha,sse4.1,ssse3")]
fn words(s: Halves) -> (__m128i, __m128i) {
    let feba = _mm_shuffle_epi32::<0x1b>(s.abef);
    let dchg = _mm_shuffle_epi32::<0xb1>(s.cdgh);
    // feba is a b e f from the lowest lane, dchg is g h c d.
    (_mm_blend_epi16::<0xf0>(feba, dchg), _mm_alignr_epi8::<8>(dchg, feba))
}

/// Appends to `out` those of `count` nonces from `first` whose hash may meet a target with these most significant
/// 32 bits. Works in pairs, so one nonce past the end may be tried too.
#[target_feature(enable = "sha,sse4.1,ssse3")]
pub(crate) fn scan(job: &Prepared, first: u32, count: u32, limit: u32, out: &mut Vec<u32>) {
    let [t0, t1, t2] = job.tail.map(u32::cast_signed);
    let midstate = halves(&job.midstate);
    let initial = halves(&IV);
    let zero = _mm_set_epi32(0, 0, 0, 0);
    let padding = _mm_set_epi32(0, 0, 0, i32::MIN);
    let (bits_640, bits_256) = (_mm_set_epi32(640, 0, 0, 0), _mm_set_epi32(256, 0, 0, 0));
    for offset in (0..count).step_by(2) {
        let nonces = [first.wrapping_add(offset), first.wrapping_add(offset + 1)];
        let blocks = nonces.map(|nonce| {
            [_mm_set_epi32(nonce.swap_bytes().cast_signed(), t2, t1, t0), padding, zero, bits_640]
        });
        let once = rounds([midstate; 2], blocks);
        let blocks = once.map(|state| {
            let (front, back) = words(state);
            [front, back, padding, bits_256]
        });
        let twice = rounds([initial; 2], blocks);
        for (nonce, state) in nonces.into_iter().zip(twice) {
            let top = _mm_cvtsi128_si32(state.cdgh).cast_unsigned().swap_bytes();
            if top <= limit {
                out.push(nonce);
            }
        }
    }
}
