//! SHA-256 over several independent messages at once, written once for every register width.
//!
//! [`Lanes`] is one SIMD register (or a plain `u32`) holding the same word of several hashes. The kernels
//! beside this file implement it and instantiate [`candidates`]; nobody else uses it. Every method is
//! `inline(always)` so that the instructions end up inside the kernel's `target_feature` function.
#![allow(
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    reason = "every unsafe fn here asks one thing of its caller, said at the trait: that the processor has the features"
)]

use super::block::{IV, K};
use super::prepared::Prepared;

/// One register of 32-bit words, lane `i` belonging to hash `i`.
///
/// # Safety
/// The methods of an implementation may use processor features: call them only where those features are known to exist.
pub(super) unsafe trait Lanes: Copy {
    /// Number of hashes held.
    const COUNT: usize;
    /// The same word in every lane.
    unsafe fn splat(word: u32) -> Self;
    /// `first, first + 1, ...`, wrapping, each with its bytes swapped: as SHA-256 sees nonces.
    unsafe fn nonces_from(first: u32) -> Self;
    /// Lane by lane wrapping addition.
    unsafe fn add(self, other: Self) -> Self;
    /// `a ^ b ^ c`.
    unsafe fn xor3(a: Self, b: Self, c: Self) -> Self;
    /// FIPS 180-4 `Ch(e, f, g)`.
    unsafe fn ch(e: Self, f: Self, g: Self) -> Self;
    /// FIPS 180-4 `Maj(a, b, c)`.
    unsafe fn maj(a: Self, b: Self, c: Self) -> Self;
    /// Rotation to the right by `N` bits; `M` is 32 - `N`, for processors that make it of two shifts.
    unsafe fn ror<const N: i32, const M: i32>(self) -> Self;
    /// Shift to the right by 3 bits, zeros coming in.
    unsafe fn shr_3(self) -> Self;
    /// Shift to the right by 10 bits, zeros coming in.
    unsafe fn shr_10(self) -> Self;
    /// Bit `i` is set where lane `i`, read as big-endian bytes, is at most `limit`.
    unsafe fn swapped_at_most(self, limit: u32) -> u32;
}

/// Runs the body with `$i` set to each literal in turn, unrolled, so that `$i` is a constant in it.
macro_rules! unroll {
    ($i:ident in [$($n:literal)*] $body:block) => { $({ const $i: usize = $n; $body })* };
}

#[inline(always)]
unsafe fn big_sigma0<L: Lanes>(x: L) -> L {
    L::xor3(x.ror::<2, 30>(), x.ror::<13, 19>(), x.ror::<22, 10>())
}

#[inline(always)]
unsafe fn big_sigma1<L: Lanes>(x: L) -> L {
    L::xor3(x.ror::<6, 26>(), x.ror::<11, 21>(), x.ror::<25, 7>())
}

#[inline(always)]
unsafe fn small_sigma0<L: Lanes>(x: L) -> L {
    L::xor3(x.ror::<7, 25>(), x.ror::<18, 14>(), x.shr_3())
}

#[inline(always)]
unsafe fn small_sigma1<L: Lanes>(x: L) -> L {
    L::xor3(x.ror::<17, 15>(), x.ror::<19, 13>(), x.shr_10())
}

/// Round `i` on the state `s`, whose names move instead of its words: `a` is `s[(64 - i) % 8]`.
#[inline(always)]
unsafe fn round<L: Lanes>(s: &mut [L; 8], i: usize, wk: L) {
    let at = |n: usize| (64 - i + n) % 8;
    let (a, b, c) = (s[at(0)], s[at(1)], s[at(2)]);
    let (e, f, g) = (s[at(4)], s[at(5)], s[at(6)]);
    let t1 = s[at(7)].add(wk).add(L::ch(e, f, g)).add(big_sigma1(e));
    s[at(3)] = s[at(3)].add(t1);
    s[at(7)] = t1.add(big_sigma0(a).add(L::maj(a, b, c)));
}

/// Message word `i` (16 or later) from the ring of the last sixteen.
#[inline(always)]
unsafe fn schedule<L: Lanes>(w: &[L; 16], i: usize) -> L {
    let far = small_sigma0(w[(i + 1) % 16]).add(w[i % 16]);
    far.add(w[(i + 9) % 16]).add(small_sigma1(w[(i + 14) % 16]))
}

/// Hashes `L::COUNT` headers, their nonces (as the big-endian word SHA-256 sees) in `nonces`, and says which of
/// them may meet the target: bit `i` is set where the hash's most significant 32 bits are at most `limit`.
#[inline(always)]
pub(super) unsafe fn candidates<L: Lanes>(job: &Prepared, nonces: L, limit: u32) -> u32 {
    // First hash, second block: three words of header, the nonce, then padding.
    let zero = L::splat(0);
    let mut w = [zero; 16];
    w[0] = L::splat(job.tail[0]);
    w[1] = L::splat(job.tail[1]);
    w[2] = L::splat(job.tail[2]);
    w[3] = nonces;
    w[4] = L::splat(0x8000_0000);
    w[15] = L::splat(640);
    let mut s = [zero; 8];
    unroll!(I in [0 1 2 3 4 5 6 7] { s[I] = L::splat(job.after_three[I]); });
    unroll!(I in [3 4 5 6 7 8 9 10 11 12 13 14 15] { round(&mut s, I, w[I].add(L::splat(K[I]))); });
    w[0] = L::splat(job.w16);
    w[1] = L::splat(job.w17);
    round(&mut s, 16, L::splat(job.w16.wrapping_add(K[16])));
    round(&mut s, 17, L::splat(job.w17.wrapping_add(K[17])));
    w[2] = L::splat(job.w18_fixed).add(small_sigma0(nonces));
    round(&mut s, 18, w[2].add(L::splat(K[18])));
    w[3] = L::splat(job.w19_fixed).add(nonces);
    round(&mut s, 19, w[3].add(L::splat(K[19])));
    unroll!(I in [20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43 44 45 46 47
                  48 49 50 51 52 53 54 55 56 57 58 59 60 61 62 63] {
        w[I % 16] = schedule(&w, I);
        round(&mut s, I, w[I % 16].add(L::splat(K[I])));
    });

    // Second hash: the first one's 32 bytes and padding. Of its result only word 7 is wanted, which is
    // `e` after round 60 (it then moves to `h` unchanged), so the last three rounds are not run.
    unroll!(I in [0 1 2 3 4 5 6 7] { w[I] = s[I].add(L::splat(job.midstate[I])); });
    w[8] = L::splat(0x8000_0000);
    unroll!(I in [9 10 11 12 13 14] { w[I] = zero; });
    w[15] = L::splat(256);
    unroll!(I in [0 1 2 3 4 5 6 7] { s[I] = L::splat(IV[I]); });
    unroll!(I in [0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15] { round(&mut s, I, w[I].add(L::splat(K[I]))); });
    unroll!(I in [16 17 18 19 20 21 22 23 24 25 26 27 28 29 30 31 32 33 34 35 36 37 38 39 40 41 42 43
                  44 45 46 47 48 49 50 51 52 53 54 55 56 57 58 59 60] {
        w[I % 16] = schedule(&w, I);
        round(&mut s, I, w[I % 16].add(L::splat(K[I])));
    });
    // `e` of round 60: written to s[(64 - 60 + 3) % 8].
    s[7].add(L::splat(IV[7])).swapped_at_most(limit)
}
