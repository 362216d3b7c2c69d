//! scrypt's ROMix over several hashes at once, written once for every register width. Called by the kernels beside it.
//!
//! Salsa20/8 keeps its sixteen words as four rows of four, taken along the diagonals of its matrix, so that each of
//! its steps is one operation on whole rows. A [`Rows`] value is the same row of one or several hashes. The kernels
//! beside this file implement it and instantiate [`mix`]; nobody else uses it. Everything is `inline(always)`
//! and without closures, so that the instructions end up inside the kernel's `target_feature` function: a closure would
//! not have its features, and each instruction in it become a call.
#![allow(
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    reason = "every unsafe fn here asks one thing of its caller, said at the trait: that the processor has the features"
)]

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
/// exist. `load` and `store` touch the 16 words from each pointer, of which the first `HASHES` count.
pub(super) unsafe trait Rows: Copy {
    /// Hashes side by side.
    const HASHES: usize;
    /// All zero.
    unsafe fn zero() -> Self;
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
    unsafe fn load(from: &[*const u32; 4]) -> [Self; 4];
    /// Writes what `load` reads.
    unsafe fn store(rows: [Self; 4], to: &[*mut u32; 4]);
    /// The first word of the row of each hash; the first `HASHES` of the four count.
    unsafe fn first_words(self) -> [u32; 4];
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
    for g in 0..G {
        for i in 0..4 {
            x[g][i] = x[g][i].add(input[g][i]);
        }
    }
    x
}

/// A block of one group: the rows of its first and of its second 64 bytes.
type Pair<R, const G: usize> = ([[R; 4]; G], [[R; 4]; G]);

#[inline(always)]
unsafe fn xor_rows<R: Rows, const G: usize>(a: &[[R; 4]; G], b: &[[R; 4]; G]) -> [[R; 4]; G] {
    let mut out = *a;
    for g in 0..G {
        for i in 0..4 {
            out[g][i] = out[g][i].xor(b[g][i]);
        }
    }
    out
}

/// The rows at `offset` words from each lane's pointer.
#[inline(always)]
unsafe fn load_all<R: Rows, const G: usize, const LANES: usize>(
    from: &[*mut u32; LANES],
    offset: usize,
) -> [[R; 4]; G] {
    let mut out = [[R::zero(); 4]; G];
    for g in 0..G {
        let mut at = [std::ptr::null(); 4];
        for h in 0..R::HASHES {
            at[h] = from[g * R::HASHES + h].add(offset).cast_const();
        }
        out[g] = R::load(&at);
    }
    out
}

/// Writes what `load_all` reads.
#[inline(always)]
unsafe fn store_all<R: Rows, const G: usize, const LANES: usize>(
    rows: &[[R; 4]; G],
    to: &[*mut u32; LANES],
    offset: usize,
) {
    for g in 0..G {
        let mut at = [std::ptr::null_mut(); 4];
        for h in 0..R::HASHES {
            at[h] = to[g * R::HASHES + h].add(offset);
        }
        R::store(rows[g], &at);
    }
}

/// BlockMix of RFC 7914 with r = 1.
#[inline(always)]
unsafe fn block_mix<R: Rows, const G: usize>((front, back): Pair<R, G>) -> Pair<R, G> {
    let front = salsa20_8(&xor_rows(&front, &back));
    let back = salsa20_8(&xor_rows(&back, &front));
    (front, back)
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
    let lanes: [*mut u32; LANES] = std::array::from_fn(|l| base.add(l * SCRATCH_WORDS));
    let own: [*mut u32; LANES] = std::array::from_fn(|l| ordered[l].as_mut_ptr());
    let mut x: Pair<R, G> = (load_all(&own, 0), load_all(&own, 16));
    for i in 0..1024 {
        store_all(&x.0, &lanes, i * 32);
        store_all(&x.1, &lanes, i * 32 + 16);
        x = block_mix(x);
    }
    for _ in 0..1024 {
        let mut at = lanes;
        for g in 0..G {
            let first = x.1[g][0].first_words();
            for h in 0..R::HASHES {
                at[g * R::HASHES + h] = lanes[g * R::HASHES + h].add((first[h] % 1024) as usize * 32);
            }
        }
        let v: Pair<R, G> = (load_all(&at, 0), load_all(&at, 16));
        x = block_mix((xor_rows(&x.0, &v.0), xor_rows(&x.1, &v.1)));
    }
    store_all(&x.0, &own, 0);
    store_all(&x.1, &own, 16);
    for (block, ordered) in blocks.iter_mut().zip(&ordered) {
        for i in 0..32 {
            block[diagonal(i)] = ordered[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::portable::Row;
    use super::*;

    fn words(hex: &str) -> Vec<u32> {
        let bytes = hex::decode(hex.replace(char::is_whitespace, "")).unwrap();
        bytes.chunks(4).map(|chunk| u32::from_le_bytes(chunk.try_into().unwrap())).collect()
    }

    /// 16 words in standard order as rows.
    fn rows(words: &[u32]) -> [[Row; 4]; 1] {
        let ordered: [u32; 16] = std::array::from_fn(|i| words[diagonal(i)]);
        let at = [ordered.as_ptr(), std::ptr::null(), std::ptr::null(), std::ptr::null()];
        // SAFETY: sixteen words are there; Row needs no processor features.
        unsafe { [Row::load(&at)] }
    }

    fn assert_rows(found: [[Row; 4]; 1], expected: &[u32]) {
        let mut ordered = [0u32; 16];
        let none = std::ptr::null_mut();
        // SAFETY: as above.
        unsafe { Row::store(found[0], &[ordered.as_mut_ptr(), none, none, none]) };
        let found: Vec<u32> =
            (0..16).map(|i| ordered[(0..16).position(|at| diagonal(at) == i).unwrap()]).collect();
        assert_eq!(found, expected);
    }

    /// RFC 7914, section 8.
    #[test]
    fn the_rfcs_salsa20_8() {
        let input = words(
            "7e879a214f3ec9867ca940e641718f26 baee555b8c61c1b50df846116dcd3b1d
             ee24f319df9b3d8514121e4b5ac5aa32 76021d2909c74829edebc68db8b8c25e",
        );
        let output = words(
            "a41f859c6608cc993b81cacb020cef05 044b2181a2fd337dfd7b1c6396682f29
             b4393168e3c9e6bcfe6bc5b7a06d96ba e424cc102c91745c24ad673dc7618f81",
        );
        // SAFETY: Row needs no processor features.
        assert_rows(unsafe { salsa20_8(&rows(&input)) }, &output);
    }

    /// RFC 7914, section 9.
    #[test]
    fn the_rfcs_block_mix() {
        let input = words(
            "f7ce0b653d2d72a4108cf5abe912ffdd 777616dbbb27a70e8204f3ae2d0f6fad
             89f68f4811d1e87bcc3bd7400a9ffd29 094f0184639574f39ae5a1315217bcd7
             894991447213bb226c25b54da86370fb cd984380374666bb8ffcb5bf40c254b0
             67d27c51ce4ad5fed829c90b505a571b 7f4d1cad6a523cda770e67bceaaf7e89",
        );
        let output = words(
            "a41f859c6608cc993b81cacb020cef05 044b2181a2fd337dfd7b1c6396682f29
             b4393168e3c9e6bcfe6bc5b7a06d96ba e424cc102c91745c24ad673dc7618f81
             20edc975323881a80540f64c162dcd3c 21077cfe5f8d5fe2b1a4168f953678b7
             7d3b3d803b60e4ab920996e59b4d53b6 5d2a225877d5edf5842cb9f14eefe425",
        );
        // SAFETY: Row needs no processor features.
        let (front, back) = unsafe { block_mix((rows(&input[..16]), rows(&input[16..]))) };
        assert_rows(front, &output[..16]);
        assert_rows(back, &output[16..]);
    }
}
