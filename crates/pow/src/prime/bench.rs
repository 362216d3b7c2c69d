//! What the benches time: tests of single numbers, which nobody else has a use for.

use super::member::{BATCH, Member, batch_passes_fermat, passes_fermat, test_batch};
use super::number::Number;

/// Numbers to be tested, all of one size.
pub struct Candidates(Vec<Number>);

impl Candidates {
    /// From little-endian bytes.
    ///
    /// # Panics
    /// Where a number is longer than 2048 bits, or below 2.
    pub fn new<'a>(numbers: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let number = |bytes| Number::from_le_bytes(bytes).filter(|n| n.bits() > 1).expect("2 to 2048 bits");
        Self(numbers.into_iter().map(number).collect())
    }

    /// How many pass Fermat's test, tested as the search does: as many at once as the processor can.
    pub fn pass_fermat(&self) -> u32 {
        self.0.chunks(BATCH).map(|batch| batch_passes_fermat(batch).count_ones()).sum()
    }

    /// The same one by one, as where the processor cannot do several at once.
    pub fn pass_fermat_singly(&self) -> u32 {
        self.0.iter().map(|n| u32::from(passes_fermat(n))).sum()
    }

    /// How many pass both tests, each with its fraction: what the check of a chain does with its members.
    pub fn pass_both(&self) -> u32 {
        let passes = |member: &Member| member.fermat && member.lifchitz;
        self.0.chunks(BATCH).flat_map(test_batch).map(|member| u32::from(passes(&member))).sum()
    }
}
