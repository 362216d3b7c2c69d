//! scrypt's ROMix over several hashes at once, written once for every register width.
//!
//! Salsa20/8 keeps its sixteen words as four rows of four, taken along the diagonals of its matrix, so that each of
//! its steps is one operation on whole rows. A [`Rows`] value is the same row of one or several hashes. The kernels
//! beside this file implement it and instantiate [`mix`]; nobody else uses it. Everything is `inline(always)` so
//! that the instructions end up inside the kernel's `target_feature` function.
#![allow(unsafe_code)]

use super::pbkdf2::Block;

/// Words of one hash's scratch memory: 1024 blocks of 128 bytes.
const SCRATCH_WORDS: usize = 1024 * 32;
/// The same in lines.
pub(super) const SCRATCH_LINES: usize = SCRATCH_WORDS / 16;

/// A cache line. Scratch memory is made of these so that no load or store crosses two.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line([u32; 16]);

impl Line {
    /// All zero.
    pub(super) const ZERO: Self = Self([0; 16]);
}

/// The word of the standard order that stands at place `i` of the rows.
const fn diagonal(i: usize) -> usize {
    i / 16 * 16 + i * 5 % 16
}

/// One row of `HASHES` hashes.
///
/// # Safety
/// The methods of an implementation may use processor features: call them only where those features are known to
/// exist. `load` and `store` touch the 16 words from each pointer, of which there are `HASHES`.
pub(super) unsafe trait Rows: Copy {
    /// Hashes side by side.
    const HASHES: usize;
    /// Word by word wrapping addition.
    unsafe fn add(self, other: Self) -> Self;
    /// Word by word exclusive or.
    unsafe fn xor(self, other: Self) -> Self;
    /// Rotation of each word to the left by `N` bits; `M` is 32 - `N`.
    unsafe fn rol<const N: i32, const M: i32>(self) -> Self;
    /// Each row's words moved one place up, the last coming first.
    unsafe fn up_one(self) -> Self;
    /// Each row's words moved two places.
    unsafe fn across(self) -> Self;
    /// Each row's words moved one place down, the first coming last.
    unsafe fn down_one(self) -> Self;
    /// The four rows of 16 words, for each hash from its own pointer.
    unsafe fn load(from: &[*const u32]) -> [Self; 4];
    /// Writes what `load` reads.
    unsafe fn store(rows: [Self; 4], to: &[*mut u32]);
    /// The first word of the row of each hash.
    unsafe fn first_words(self, out: &mut [u32]);
}

/// Salsa20/8 of `groups` independent sets of rows in step, each added to its input.
#[inline(always)]
unsafe fn salsa20_8<R: Rows, const G: usize>(input: &[[R; 4]; G]) -> [[R; 4]; G] {
    let mut x = *input;
    macro_rules! step {
        ($to:literal, $a:literal, $b:literal, $n:literal, $m:literal) => {
            for x in &mut x {
                x[$to] = x[$to].xor(x[$a].add(x[$b]).rol::<$n, $m>());
            }
        };
    }
    unsafe {
        for _ in 0..4 {
            step!(1, 0, 3, 7, 25);
            step!(2, 1, 0, 9, 23);
            step!(3, 2, 1, 13, 19);
            step!(0, 3, 2, 18, 14);
            for x in &mut x {
                *x = [x[0], x[1].up_one(), x[2].across(), x[3].down_one()];
            }
            step!(3, 0, 1, 7, 25);
            step!(2, 3, 0, 9, 23);
            step!(1, 2, 3, 13, 19);
            step!(0, 1, 2, 18, 14);
            for x in &mut x {
                *x = [x[0], x[1].down_one(), x[2].across(), x[3].up_one()];
            }
        }
        for (x, input) in x.iter_mut().zip(input) {
            *x = std::array::from_fn(|i| x[i].add(input[i]));
        }
    }
    x
}

/// A block of one group: the rows of its first and of its second 64 bytes.
type Pair<R, const G: usize> = ([[R; 4]; G], [[R; 4]; G]);

#[inline(always)]
unsafe fn xor_rows<R: Rows, const G: usize>(a: &[[R; 4]; G], b: &[[R; 4]; G]) -> [[R; 4]; G] {
    std::array::from_fn(|g| std::array::from_fn(|i| unsafe { a[g][i].xor(b[g][i]) }))
}

/// BlockMix of RFC 7914 with r = 1.
#[inline(always)]
unsafe fn block_mix<R: Rows, const G: usize>((front, back): Pair<R, G>) -> Pair<R, G> {
    unsafe {
        let front = salsa20_8(&xor_rows(&front, &back));
        let back = salsa20_8(&xor_rows(&back, &front));
        (front, back)
    }
}

/// ROMix of RFC 7914 with N = 1024, r = 1, in place, for `G * R::HASHES` blocks (a kernel's LANES). `scratch` has
/// [`SCRATCH_LINES`] for each.
///
/// # Safety
/// The processor features that `R` needs exist.
#[inline(always)]
pub(super) unsafe fn mix<R: Rows, const G: usize, const LANES: usize>(
    blocks: &mut [Block; LANES],
    scratch: &mut [Line],
) {
    assert!(LANES == G * R::HASHES && scratch.len() >= LANES * SCRATCH_LINES);
    let mut ordered: [Block; LANES] =
        std::array::from_fn(|l| std::array::from_fn(|i| blocks[l][diagonal(i)]));
    let base: *mut u32 = scratch.as_mut_ptr().cast();
    unsafe {
        let lanes: [*mut u32; LANES] = std::array::from_fn(|l| base.add(l * SCRATCH_WORDS));
        let own: [*mut u32; LANES] = std::array::from_fn(|l| ordered[l].as_mut_ptr());
        let load = |from: &[*mut u32; LANES], offset: usize| -> [[R; 4]; G] {
            std::array::from_fn(|g| {
                let mut at = [std::ptr::null(); 4];
                for h in 0..R::HASHES {
                    at[h] = from[g * R::HASHES + h].add(offset).cast_const();
                }
                R::load(&at[..R::HASHES])
            })
        };
        let store = |rows: &[[R; 4]; G], to: &[*mut u32; LANES], offset: usize| {
            for g in 0..G {
                let mut at = [std::ptr::null_mut(); 4];
                for h in 0..R::HASHES {
                    at[h] = to[g * R::HASHES + h].add(offset);
                }
                R::store(rows[g], &at[..R::HASHES]);
            }
        };
        let mut x = (load(&own, 0), load(&own, 16));
        for i in 0..1024 {
            store(&x.0, &lanes, i * 32);
            store(&x.1, &lanes, i * 32 + 16);
            x = block_mix(x);
        }
        for _ in 0..1024 {
            let mut j = [0; LANES];
            for g in 0..G {
                x.1[g][0].first_words(&mut j[g * R::HASHES..][..R::HASHES]);
            }
            let at: [*mut u32; LANES] = std::array::from_fn(|l| lanes[l].add((j[l] % 1024) as usize * 32));
            let v = (load(&at, 0), load(&at, 16));
            x = block_mix((xor_rows(&x.0, &v.0), xor_rows(&x.1, &v.1)));
        }
        store(&x.0, &own, 0);
        store(&x.1, &own, 16);
    }
    for (block, ordered) in blocks.iter_mut().zip(&ordered) {
        for i in 0..32 {
            block[diagonal(i)] = ordered[i];
        }
    }
}
