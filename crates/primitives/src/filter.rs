//! Compact block filters (BIP158, basic filter): a set of a block's scripts in which a wallet looks up its own.
//!
//! The set is coded as the sorted, Golomb-Rice coded differences of the scripts' hashes. Looking up gives no false
//! negatives and one false positive in 784,931 per script. The `chain` crate makes filters, `p2p` carries them, `light`
//! looks things up.

use bitcoin_hashes::siphash24;

use crate::encode::{DecodeError, Reader, encode_compact_size};
use crate::{Block, BlockHash, Hash256, sha256d};

/// Bits of a difference that are written as they are (BIP158's P).
const REMAINDER_BITS: u32 = 19;
/// One false positive in so many look-ups (BIP158's M).
const INVERSE_RATE: u64 = 784_931;
/// `OP_RETURN`: outputs that begin with it are in no filter.
const OP_RETURN: u8 = 0x6a;
/// The least an element takes: one bit that ends its quotient, and the remainder.
const LEAST_BITS: u64 = REMAINDER_BITS as u64 + 1;

/// The number of the basic filter, the only kind there is (BIP158).
pub const BASIC_FILTER: u8 = 0;

/// A block's filter as on the wire: the count of elements, then their coded differences. Bytes from a stranger may be
/// no filter at all; looking into them says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockFilter {
    bytes: Vec<u8>,
}

impl BlockFilter {
    /// The filter with these bytes, whatever they are.
    pub const fn from_bytes(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The basic filter of `block`, whose id is `hash`, and whose inputs spend outputs with the scripts `spent` (in any
    /// order, the coinbase's input left out).
    pub fn of_block<'a>(
        block: &'a Block,
        hash: &BlockHash,
        spent: impl IntoIterator<Item = &'a [u8]>,
    ) -> Self {
        Self::of_scripts(hash, made(block).chain(spent))
    }

    /// The filter of these scripts; empty ones are left out, and of equal ones all but one.
    pub fn of_scripts<'a>(block: &BlockHash, scripts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut scripts: Vec<&[u8]> = scripts.into_iter().filter(|script| !script.is_empty()).collect();
        scripts.sort_unstable();
        scripts.dedup();
        let count = scripts.len() as u64;
        let values = hashed(block, count, scripts);
        let mut bits = BitWriter { bytes: Vec::with_capacity(9 + values.len() * 3), free: 0 };
        encode_compact_size(count, &mut bits.bytes);
        let mut last = 0;
        for value in values {
            bits.golomb(value - last);
            last = value;
        }
        Self { bytes: bits.bytes }
    }

    /// The bytes on the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// What a filter header commits to.
    pub fn hash(&self) -> Hash256 {
        Hash256(sha256d(&self.bytes))
    }

    /// The filter header, which commits to this filter and to all before it (BIP157).
    pub fn header(&self, previous: &Hash256) -> Hash256 {
        filter_header(&self.hash(), previous)
    }

    /// How many elements it says it has.
    pub fn count(&self) -> Result<u64, DecodeError> {
        self.open().map(|(count, _)| count)
    }

    /// True where any of `scripts` may be in the block's outputs or spent by its inputs; false where none is. Empty
    /// scripts are in no filter.
    pub fn matches_any<'a>(
        &self,
        block: &BlockHash,
        scripts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<bool, DecodeError> {
        let (count, mut bits) = self.open()?;
        let wanted = hashed(block, count, scripts.into_iter().filter(|script| !script.is_empty()));
        let mut wanted = wanted.into_iter().peekable();
        let mut value = 0u64;
        for _ in 0..count {
            value = value
                .checked_add(bits.golomb()?)
                .ok_or(DecodeError::Malformed("filter element too great"))?;
            while wanted.next_if(|wanted| *wanted < value).is_some() {}
            match wanted.peek() {
                None => return Ok(false),
                Some(wanted) if *wanted == value => return Ok(true),
                Some(_) => {}
            }
        }
        Ok(false)
    }

    /// The first of `scripts` that is not in the filter: one that makes no false negatives has all of a block's.
    pub fn first_missing<'a>(
        &self,
        block: &BlockHash,
        scripts: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Option<&'a [u8]>, DecodeError> {
        let values = self.values()?;
        let count = values.len() as u64;
        Ok(scripts.into_iter().find(|script| {
            !script.is_empty() && values.binary_search(&hash_to_range(block, count, script)).is_err()
        }))
    }

    /// All elements, ascending. An error where the bytes are no filter or go on behind it.
    fn values(&self) -> Result<Vec<u64>, DecodeError> {
        let (count, mut bits) = self.open()?;
        let mut value = 0u64;
        let values = (0..count)
            .map(|_| {
                value = value
                    .checked_add(bits.golomb()?)
                    .ok_or(DecodeError::Malformed("filter element too great"))?;
                Ok(value)
            })
            .collect::<Result<Vec<_>, DecodeError>>()?;
        match bits.bytes.len() - bits.at.div_ceil(8) {
            0 => Ok(values),
            left => Err(DecodeError::Trailing(left)),
        }
    }

    fn open(&self) -> Result<(u64, BitReader<'_>), DecodeError> {
        let mut reader = Reader::new(&self.bytes);
        let count = reader.compact_size()?;
        let bytes = reader.take(reader.remaining())?;
        let most = bytes.len() as u64 * 8 / LEAST_BITS;
        if count > most {
            return Err(DecodeError::TooLarge { what: "filter elements", size: count, max: most });
        }
        Ok((count, BitReader { bytes, at: 0 }))
    }
}

/// The filter header over a filter's hash and the header of the block before (BIP157); zero before the first block.
pub fn filter_header(filter_hash: &Hash256, previous: &Hash256) -> Hash256 {
    let mut both = [0; 64];
    both[..32].copy_from_slice(filter_hash.as_bytes());
    both[32..].copy_from_slice(previous.as_bytes());
    Hash256(sha256d(&both))
}

/// The output scripts of a block that are in its filter.
pub fn made(block: &Block) -> impl Iterator<Item = &[u8]> {
    block
        .transactions
        .iter()
        .flat_map(|transaction| &transaction.outputs)
        .map(|output| output.script_pubkey.as_slice())
        .filter(|script| script.first().is_some_and(|&opcode| opcode != OP_RETURN))
}

/// The scripts' places in a filter of `count` elements, ascending. Equal ones only where scripts are equal or collide;
/// the latter both count as elements.
fn hashed<'a>(block: &BlockHash, count: u64, scripts: impl IntoIterator<Item = &'a [u8]>) -> Vec<u64> {
    let mut values: Vec<u64> =
        scripts.into_iter().map(|script| hash_to_range(block, count, script)).collect();
    values.sort_unstable();
    values
}

/// A script's hash, keyed by the block's id and spread evenly over the filter's range.
fn hash_to_range(block: &BlockHash, count: u64, script: &[u8]) -> u64 {
    let word = |at: usize| u64::from_le_bytes(block.0[at..at + 8].try_into().expect("eight bytes of 32"));
    let hash = siphash24::Hash::hash_to_u64_with_keys(word(0), word(8), script);
    ((u128::from(hash) * u128::from(count * INVERSE_RATE)) >> 64) as u64
}

/// Bits from the highest of each byte down.
struct BitReader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl BitReader<'_> {
    fn bit(&mut self) -> Result<u64, DecodeError> {
        let byte = self.bytes.get(self.at / 8).ok_or(DecodeError::Short { need: 1, have: 0 })?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Ok(bit.into())
    }

    /// A Golomb-Rice coded number: its quotient in ones and a zero, its remainder as it is.
    fn golomb(&mut self) -> Result<u64, DecodeError> {
        let mut value = 0;
        while self.bit()? == 1 {
            value += 1; // no more than there are bits
        }
        let mut left = REMAINDER_BITS as usize;
        while left > 0 {
            // As many bits of a byte at once as there are.
            let byte = *self.bytes.get(self.at / 8).ok_or(DecodeError::Short { need: 1, have: 0 })?;
            let here = (8 - self.at % 8).min(left);
            let bits = u64::from(byte << (self.at % 8)) >> (8 - here) & ((1 << here) - 1);
            value = value << here | bits;
            self.at += here;
            left -= here;
        }
        Ok(value)
    }
}

struct BitWriter {
    bytes: Vec<u8>,
    /// Bits free in the last byte.
    free: u32,
}

impl BitWriter {
    fn golomb(&mut self, value: u64) {
        for _ in 0..value >> REMAINDER_BITS {
            self.bits(1, 1);
        }
        self.bits(value & ((1 << REMAINDER_BITS) - 1), REMAINDER_BITS + 1);
    }

    /// Appends the lowest `count` bits, the highest of them first.
    fn bits(&mut self, value: u64, mut count: u32) {
        while count > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let now = count.min(self.free);
            let piece = value >> (count - now) & ((1 << now) - 1);
            if let Some(last) = self.bytes.last_mut() {
                *last |= (piece << (self.free - now)) as u8;
            }
            self.free -= now;
            count -= now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn an_empty_filter_is_one_byte_and_matches_nothing() {
        let filter = BlockFilter::of_scripts(&BlockHash::ZERO, [&[][..]]);
        assert_eq!(filter.as_bytes(), [0]);
        assert_eq!(filter.matches_any(&BlockHash::ZERO, [&b"x"[..]]), Ok(false));
    }

    #[test]
    fn what_cannot_be_a_filter_is_refused() {
        let many = BlockFilter::from_bytes(vec![0xfd, 0xff, 0xff, 1, 2, 3]);
        assert!(matches!(many.count(), Err(DecodeError::TooLarge { .. })));
        assert!(BlockFilter::from_bytes(Vec::new()).count().is_err());
        let mut longer = BlockFilter::of_scripts(&BlockHash::ZERO, [&b"one"[..], b"two"]).bytes;
        longer.push(0);
        let longer = BlockFilter::from_bytes(longer);
        assert_eq!(longer.first_missing(&BlockHash::ZERO, [&b"one"[..]]), Err(DecodeError::Trailing(1)));
    }

    proptest! {
        #[test]
        fn everything_put_in_is_found(
            scripts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..40), 0..60),
            id in any::<[u8; 32]>(),
        ) {
            let id = BlockHash(id);
            let filter = BlockFilter::of_scripts(&id, scripts.iter().map(Vec::as_slice));
            prop_assert_eq!(filter.first_missing(&id, scripts.iter().map(Vec::as_slice)), Ok(None));
            for script in scripts.iter().filter(|script| !script.is_empty()) {
                prop_assert_eq!(filter.matches_any(&id, [script.as_slice()]), Ok(true));
            }
            let others: Vec<Vec<u8>> = (0..20u8).map(|i| vec![i; 50]).collect();
            let found = others.iter().filter(|other| filter.matches_any(&id, [other.as_slice()]) == Ok(true));
            prop_assert!(found.count() <= 1);
        }

        #[test]
        fn never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let filter = BlockFilter::from_bytes(bytes);
            let _ = filter.matches_any(&BlockHash::ZERO, [&b"x"[..], b"y"]);
            let _ = filter.first_missing(&BlockHash::ZERO, [&b"x"[..]]);
        }
    }
}
