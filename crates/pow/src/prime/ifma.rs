//! Modular powers of two for eight odd numbers at once, with the 52-bit multiply-and-add of AVX-512 IFMA. Used by
//! [`super::member`]; where the processor lacks it, [`super::montgomery`] does the same one by one.
//!
//! Numbers are limbs of 52 bits, one number per lane. The Montgomery radix R = 2^(52 L) is at least 16 n, so values need
//! no reduction below 4 n: the square of such a value, divided by R, is below 2 n, and doubled below 4 n again.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    _mm512_add_epi64, _mm512_and_si512, _mm512_loadu_si512, _mm512_madd52hi_epu64, _mm512_madd52lo_epu64,
    _mm512_mask_blend_epi64, _mm512_movepi64_mask, _mm512_set1_epi64, _mm512_setzero_si512,
    _mm512_slli_epi64, _mm512_sllv_epi64, _mm512_srai_epi64, _mm512_srli_epi64, _mm512_srlv_epi64,
    _mm512_storeu_si512, _mm512_sub_epi64,
};

use super::number::{LIMBS, Number};

/// Numbers tested at once.
pub(super) const LANES: usize = 8;
/// Longest number for which there is code here, in bits.
pub(super) const BITS_MAX: u32 = 52 * MOST as u32 - SLACK;
/// Most limbs of 52 bits.
const MOST: usize = 10;
/// Bits by which R is at least greater than a number.
const SLACK: u32 = 4;
const LOW: u64 = (1 << 52) - 1;

/// Whether this processor has what this file uses.
#[inline]
pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512ifma")
}

/// `2^((n-1)/2)` modulo n, and its square.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Powers {
    pub(super) root: Number,
    pub(super) square: Number,
}

/// One limb of every lane.
type Row = [u64; LANES];

/// Eight numbers laid out for the kernel.
struct Job {
    modulus: [Row; MOST],
    /// (n - 1) / 2.
    exponent: [Row; MOST],
    /// -1 / n modulo 2^52.
    negative_inverse: Row,
    /// A power of two below every n.
    start: [Row; MOST],
    /// Doublings from there to R.
    doublings: u32,
    /// Bits of the longest exponent.
    exponent_bits: u32,
}

/// The 52-bit limb `i` of a number.
fn limb52(number: &Number, i: usize) -> u64 {
    let (at, shift) = (52 * i / 64, 52 * i % 64);
    let limb = |at: usize| number.0.get(at).copied().unwrap_or(0);
    let low = limb(at) >> shift;
    (if shift > 12 { low | limb(at + 1) << (64 - shift) } else { low }) & LOW
}

/// The number of 52-bit limbs in lane `lane`.
fn number_of(rows: &[Row; MOST], lane: usize) -> Number {
    let mut out = Number([0; LIMBS]);
    for (i, row) in rows.iter().enumerate() {
        let (at, shift) = (52 * i / 64, 52 * i % 64);
        out.0[at] |= row[lane] << shift;
        if shift > 12 {
            out.0[at + 1] |= row[lane] >> (64 - shift);
        }
    }
    out
}

/// The powers for eight odd numbers above 1 of at most [`BITS_MAX`] bits.
///
/// # Panics
/// Where the processor lacks the instructions ([`available`]) or a number is too long.
pub(super) fn powers(numbers: &[Number; LANES]) -> [Powers; LANES] {
    assert!(available(), "AVX-512 IFMA is not there");
    let bits = numbers.each_ref().map(Number::bits);
    let (most, least) =
        bits.iter().fold((0, u32::MAX), |(most, least), &bits| (most.max(bits), least.min(bits)));
    let width = (most + SLACK).div_ceil(52).max(5) as usize;
    assert!(width <= MOST, "a number of {most} bits is too long");
    let rows = |numbers: &[Number; LANES]| -> [Row; MOST] {
        std::array::from_fn(|i| std::array::from_fn(|lane| limb52(&numbers[lane], i)))
    };
    let start = least - 1;
    let job = Job {
        modulus: rows(numbers),
        exponent: rows(&numbers.each_ref().map(|n| n.shifted_right(1))),
        negative_inverse: numbers.each_ref().map(|n| {
            let n = n.0[0];
            // Newton: each step doubles the correct low bits, of which an odd number has three to begin with.
            let inverse = (0..5).fold(n, |x, _| x.wrapping_mul(2u64.wrapping_sub(n.wrapping_mul(x))));
            inverse.wrapping_neg() & LOW
        }),
        start: std::array::from_fn(|i| [if i as u32 == start / 52 { 1 << (start % 52) } else { 0 }; LANES]),
        doublings: 52 * width as u32 - start,
        exponent_bits: most - 1,
    };
    // SAFETY (all): the instructions are there, as asserted above.
    let (root, square) = unsafe {
        match width {
            5 => powers_5(&job),
            6 => powers_6(&job),
            7 => powers_7(&job),
            8 => powers_8(&job),
            9 => powers_9(&job),
            _ => powers_10(&job),
        }
    };
    std::array::from_fn(|lane| Powers { root: number_of(&root, lane), square: number_of(&square, lane) })
}

/// Runs the body with `$i` set to each literal in turn, unrolled, so that `$i` is a constant in it.
macro_rules! unroll {
    ($i:ident in [$($n:literal)*] $body:block) => { $({ const $i: usize = $n; $body })* };
}

/// The kernel for numbers of `$limbs` limbs; `$all` lists 0 to `$limbs` - 1.
macro_rules! kernel {
    ($name:ident, $limbs:literal, $all:tt) => {
        #[target_feature(enable = "avx512f,avx512dq,avx512ifma")]
        fn $name(job: &Job) -> ([Row; MOST], [Row; MOST]) {
            const L: usize = $limbs;
            let zero = _mm512_setzero_si512();
            let low = _mm512_set1_epi64(LOW.cast_signed());
            // SAFETY: a row is the 64 bytes of one register.
            let load = |row: &Row| unsafe { _mm512_loadu_si512(row.as_ptr().cast()) };
            let (mut n, mut a) = ([zero; L], [zero; L]);
            unroll!(I in $all { n[I] = load(&job.modulus[I]); });
            unroll!(I in $all { a[I] = load(&job.start[I]); });
            let negative_inverse = load(&job.negative_inverse);

            // Twice the value, less n where that leaves something: up to R modulo n.
            for _ in 0..job.doublings {
                let (mut twice, mut less) = ([zero; L], [zero; L]);
                unroll!(I in $all {
                    twice[I] = _mm512_slli_epi64::<1>(a[I]);
                    if I > 0 {
                        twice[I] = _mm512_add_epi64(twice[I], _mm512_srli_epi64::<52>(twice[I - 1]));
                        twice[I - 1] = _mm512_and_si512(twice[I - 1], low);
                    }
                });
                unroll!(I in $all {
                    less[I] = _mm512_sub_epi64(twice[I], n[I]);
                    if I > 0 {
                        less[I] = _mm512_add_epi64(less[I], _mm512_srai_epi64::<52>(less[I - 1]));
                        less[I - 1] = _mm512_and_si512(less[I - 1], low);
                    }
                });
                let negative = _mm512_movepi64_mask(less[L - 1]);
                unroll!(I in $all { a[I] = _mm512_mask_blend_epi64(negative, less[I], twice[I]); });
            }

            // Makes `t / R` modulo n of the double-length `$t`, times 2^`$shift`, with limbs below 2^52.
            macro_rules! reduce {
                ($t:ident, $shift:expr) => {{
                    unroll!(I in $all {
                        let m = _mm512_madd52lo_epu64(zero, $t[I], negative_inverse);
                        unroll!(J in $all {
                            $t[I + J] = _mm512_madd52lo_epu64($t[I + J], m, n[J]);
                            $t[I + J + 1] = _mm512_madd52hi_epu64($t[I + J + 1], m, n[J]);
                        });
                        $t[I + 1] = _mm512_add_epi64($t[I + 1], _mm512_srli_epi64::<52>($t[I]));
                    });
                    let mut out = [zero; L];
                    unroll!(I in $all {
                        out[I] = _mm512_sllv_epi64($t[L + I], $shift);
                        if I > 0 {
                            out[I] = _mm512_add_epi64(out[I], _mm512_srli_epi64::<52>(out[I - 1]));
                            out[I - 1] = _mm512_and_si512(out[I - 1], low);
                        }
                    });
                    out
                }};
            }
            // The square of `$a` in double length: products of different limbs once and doubled, then the equal ones.
            macro_rules! square {
                ($a:ident) => {{
                    let mut t = [zero; 2 * L + 1];
                    unroll!(I in $all { unroll!(J in $all {
                        if J > I {
                            t[I + J] = _mm512_madd52lo_epu64(t[I + J], $a[I], $a[J]);
                            t[I + J + 1] = _mm512_madd52hi_epu64(t[I + J + 1], $a[I], $a[J]);
                        }
                    }); });
                    unroll!(I in $all {
                        t[2 * I] = _mm512_add_epi64(t[2 * I], t[2 * I]);
                        t[2 * I + 1] = _mm512_add_epi64(t[2 * I + 1], t[2 * I + 1]);
                        t[2 * I] = _mm512_madd52lo_epu64(t[2 * I], $a[I], $a[I]);
                        t[2 * I + 1] = _mm512_madd52hi_epu64(t[2 * I + 1], $a[I], $a[I]);
                    });
                    t
                }};
            }

            let one = _mm512_set1_epi64(1);
            for bit in (0..job.exponent_bits).rev() {
                let limb = load(&job.exponent[(bit / 52) as usize]);
                let shift = _mm512_and_si512(_mm512_srlv_epi64(limb, _mm512_set1_epi64(i64::from(bit % 52))), one);
                let mut t = square!(a);
                a = reduce!(t, shift);
            }
            let mut t = square!(a);
            let squared = reduce!(t, zero);
            // Dividing by R once more leaves the plain number, at most n.
            let mut out = ([[0; LANES]; MOST], [[0; LANES]; MOST]);
            let mut t = [zero; 2 * L + 1];
            unroll!(I in $all { t[I] = a[I]; });
            let root = reduce!(t, zero);
            let mut t = [zero; 2 * L + 1];
            unroll!(I in $all { t[I] = squared[I]; });
            let square = reduce!(t, zero);
            unroll!(I in $all {
                // SAFETY: a row is the 64 bytes of one register.
                unsafe {
                    _mm512_storeu_si512(out.0[I].as_mut_ptr().cast(), root[I]);
                    _mm512_storeu_si512(out.1[I].as_mut_ptr().cast(), square[I]);
                }
            });
            out
        }
    };
}

kernel!(powers_5, 5, [0 1 2 3 4]);
kernel!(powers_6, 6, [0 1 2 3 4 5]);
kernel!(powers_7, 7, [0 1 2 3 4 5 6]);
kernel!(powers_8, 8, [0 1 2 3 4 5 6 7]);
kernel!(powers_9, 9, [0 1 2 3 4 5 6 7 8]);
kernel!(powers_10, 10, [0 1 2 3 4 5 6 7 8 9]);

#[cfg(test)]
mod tests {
    use super::*;
    use lode_testkit::rounds;
    use num_bigint::BigUint;
    use proptest::prelude::*;

    fn big(number: &Number) -> BigUint {
        BigUint::from_bytes_le(&number.0.iter().flat_map(|limb| limb.to_le_bytes()).collect::<Vec<_>>())
    }

    fn assert_agrees(numbers: [Number; LANES]) {
        if !available() {
            return;
        }
        for (n, powers) in numbers.iter().zip(powers(&numbers)) {
            let n = big(n);
            let root = BigUint::from(2u8).modpow(&(&n >> 1u32), &n);
            assert_eq!(big(&powers.root), root, "{n:x}");
            assert_eq!(big(&powers.square), &root * &root % &n, "{n:x}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(rounds(48, 200_000) as u32))]
        #[test]
        fn agrees_with_num_bigint(seed in prop::collection::vec(any::<[u8; 64]>(), 8), bits in 240..=BITS_MAX) {
            // Lanes of somewhat different lengths.
            assert_agrees(std::array::from_fn(|lane| {
                let number = Number::from_le_bytes(&seed[lane]).unwrap();
                let too_long = number.bits().saturating_sub(bits - lane as u32);
                let mut number = number.shifted_right(too_long);
                number.0[0] |= 1;
                number
            }));
        }
    }

    #[test]
    fn edges() {
        let number = |bytes: &[u8]| Number::from_le_bytes(bytes).unwrap();
        let ones = |bits: u32| number(&[0xff; 64]).shifted_right(512 - bits);
        assert_agrees([
            ones(256),
            ones(257),
            ones(260),
            ones(308),
            ones(309),
            ones(360),
            ones(364),
            ones(504),
        ]);
        assert_agrees([3u8, 5, 7, 9, 11, 255, 1 | 2, 15].map(|n| number(&[n])));
    }
}
