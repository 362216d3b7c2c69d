//! One hash at a time in plain integer code, which compilers turn into 128-bit vectors where there are any.
#![allow(
    unsafe_code,
    unsafe_op_in_unsafe_fn,
    reason = "every unsafe fn here asks one thing of its caller, said at the trait: that the processor has the features"
)]

use super::pbkdf2::Block;
use super::rows::{Line, Rows, mix};

/// Hashes this kernel mixes at once.
pub(super) const LANES: usize = 1;

#[derive(Clone, Copy)]
pub(super) struct Row([u32; 4]);

// SAFETY: no processor features are needed.
unsafe impl Rows for Row {
    const HASHES: usize = 1;

    #[inline(always)]
    unsafe fn zero() -> Self {
        Self([0; 4])
    }

    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i].wrapping_add(other.0[i])))
    }

    #[inline(always)]
    unsafe fn xor(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] ^ other.0[i]))
    }

    #[inline(always)]
    unsafe fn rol<const N: i32, const M: i32>(self) -> Self {
        Self(self.0.map(|word| word.rotate_left(N.cast_unsigned())))
    }

    #[inline(always)]
    unsafe fn up_one(self) -> Self {
        let [a, b, c, d] = self.0;
        Self([d, a, b, c])
    }

    #[inline(always)]
    unsafe fn across(self) -> Self {
        let [a, b, c, d] = self.0;
        Self([c, d, a, b])
    }

    #[inline(always)]
    unsafe fn down_one(self) -> Self {
        let [a, b, c, d] = self.0;
        Self([b, c, d, a])
    }

    #[inline(always)]
    unsafe fn load(from: &[*const u32; 4]) -> [Self; 4] {
        std::array::from_fn(|i| Self(from[0].add(4 * i).cast::<[u32; 4]>().read()))
    }

    #[inline(always)]
    unsafe fn store(rows: [Self; 4], to: &[*mut u32; 4]) {
        for (i, row) in rows.into_iter().enumerate() {
            to[0].add(4 * i).cast::<[u32; 4]>().write(row.0);
        }
    }

    #[inline(always)]
    unsafe fn first_words(self) -> [u32; 4] {
        self.0
    }
}

/// ROMix of one block.
pub(super) fn mix_lanes(blocks: &mut [Block; LANES], scratch: &mut [Line]) {
    // SAFETY: Row needs no processor features.
    unsafe { mix::<Row, 1, LANES>(blocks, scratch) }
}
