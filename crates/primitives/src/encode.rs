//! Wire encoding: little-endian integers, compact sizes, byte vectors.

/// What a coin's transactions and headers look like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Form {
    /// Transactions may carry witnesses (BIP144).
    pub witness: bool,
    /// Transactions end in a byte vector of data behind the lock time (Datacoin).
    pub data: bool,
    /// Headers end in a multiplier behind the nonce (prime chains).
    pub multiplier: bool,
}

/// The longest multiplier encoding read, in bytes. A valid chain origin is below 2^2000 and a valid header hash at
/// least 2^255, so no valid multiplier needs more than 219.
pub const MAX_MULTIPLIER_BYTES: usize = 251;

/// Why bytes are not an encoding of what was expected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end too soon.
    #[error("ends after {have} bytes where {need} more are needed")]
    Short {
        /// Bytes needed for the next item.
        need: usize,
        /// Bytes left.
        have: usize,
    },
    /// Bytes are left over behind a complete value.
    #[error("{0} bytes too many at the end")]
    Trailing(usize),
    /// A compact size was not written in its shortest form.
    #[error("compact size {0} is not in its shortest form")]
    NonCanonicalSize(u64),
    /// A count or length is greater than a bound.
    #[error("{what} of {size} is over the bound of {max}")]
    TooLarge {
        /// What the size is of.
        what: &'static str,
        /// The size read.
        size: u64,
        /// The bound.
        max: u64,
    },
    /// A transaction with the witness flag but no witness at all.
    #[error("witness flag set but every witness is empty")]
    SuperfluousWitness,
    /// A transaction flag other than 1 behind the marker.
    #[error("unknown transaction flag {0:#04x}")]
    UnknownFlag(u8),
    /// A negative multiplier.
    #[error("negative multiplier")]
    NegativeMultiplier,
    /// Any other rule of a message's form.
    #[error("{0}")]
    Malformed(&'static str),
}

/// A cursor over bytes from a stranger.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    /// Reads `bytes` from their start.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Bytes read so far.
    pub const fn position(&self) -> usize {
        self.at
    }

    /// Bytes not read yet.
    pub const fn remaining(&self) -> usize {
        self.bytes.len() - self.at
    }

    /// The bytes from `start` (a former [`Reader::position`]) to here.
    pub fn since(&self, start: usize) -> &'a [u8] {
        self.bytes.get(start..self.at).unwrap_or(&[])
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        match self.at.checked_add(n).and_then(|end| self.bytes.get(self.at..end)) {
            Some(slice) => {
                self.at += n;
                Ok(slice)
            }
            None => Err(DecodeError::Short { need: n, have: self.remaining() }),
        }
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        Ok(self.take(N)?.try_into().expect("take(N) gives N bytes"))
    }

    /// One byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        Ok(self.array::<1>()?[0])
    }

    /// A 16-bit integer, little-endian.
    pub fn u16_le(&mut self) -> Result<u16, DecodeError> {
        Ok(u16::from_le_bytes(self.array()?))
    }

    /// A 32-bit integer, little-endian.
    pub fn u32_le(&mut self) -> Result<u32, DecodeError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    /// A signed 32-bit integer, little-endian.
    pub fn i32_le(&mut self) -> Result<i32, DecodeError> {
        Ok(i32::from_le_bytes(self.array()?))
    }

    /// A 64-bit integer, little-endian.
    pub fn u64_le(&mut self) -> Result<u64, DecodeError> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    /// A signed 64-bit integer, little-endian.
    pub fn i64_le(&mut self) -> Result<i64, DecodeError> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    /// A compact size, refused unless in its shortest form.
    pub fn compact_size(&mut self) -> Result<u64, DecodeError> {
        let (value, least) = match self.u8()? {
            0xff => (self.u64_le()?, 0x1_0000_0000),
            0xfe => (u64::from(self.u32_le()?), 0x1_0000),
            0xfd => (u64::from(self.u16_le()?), 0xfd),
            short => (u64::from(short), 0),
        };
        if value < least { Err(DecodeError::NonCanonicalSize(value)) } else { Ok(value) }
    }

    /// A count of items of which each takes at least `item_min` bytes (at least 1): refused where the bytes left
    /// cannot hold so many, so that a caller may reserve room for it.
    pub fn count(&mut self, item_min: usize) -> Result<usize, DecodeError> {
        let count = self.compact_size()?;
        let most = self.remaining() / item_min.max(1);
        match usize::try_from(count) {
            Ok(n) if n <= most => Ok(n),
            _ => Err(DecodeError::Short { need: usize::try_from(count).unwrap_or(usize::MAX), have: most }),
        }
    }

    /// A byte vector: compact size, then that many bytes, at most `max`.
    pub fn bytes(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let size = self.compact_size()?;
        match usize::try_from(size) {
            Ok(n) if n <= max => self.take(n),
            _ => Err(DecodeError::TooLarge { what, size, max: max as u64 }),
        }
    }

    /// Refuses bytes left over.
    pub const fn finish(&self) -> Result<(), DecodeError> {
        match self.remaining() {
            0 => Ok(()),
            left => Err(DecodeError::Trailing(left)),
        }
    }
}

/// Something with a wire encoding.
pub trait Encode {
    /// Appends the encoding to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// The encoding by itself.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

/// Something that can be read from its wire encoding.
pub trait Decode: Sized {
    /// Reads one value, in a coin's `form`.
    fn decode(reader: &mut Reader<'_>, form: Form) -> Result<Self, DecodeError>;

    /// Reads one value that must take all of `bytes`.
    fn from_bytes(bytes: &[u8], form: Form) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader, form)?;
        reader.finish()?;
        Ok(value)
    }
}

/// Bytes a compact size takes: 1, 3, 5 or 9.
pub const fn compact_size_len(value: u64) -> usize {
    match value {
        0..=0xfc => 1,
        0xfd..=0xffff => 3,
        0x1_0000..=0xffff_ffff => 5,
        _ => 9,
    }
}

/// Appends a compact size in its shortest form.
pub fn encode_compact_size(value: u64, out: &mut Vec<u8>) {
    match value {
        0..=0xfc => out.push(value as u8),
        0xfd..=0xffff => {
            out.push(0xfd);
            out.extend_from_slice(&(value as u16).to_le_bytes());
        }
        0x1_0000..=0xffff_ffff => {
            out.push(0xfe);
            out.extend_from_slice(&(value as u32).to_le_bytes());
        }
        _ => {
            out.push(0xff);
            out.extend_from_slice(&value.to_le_bytes());
        }
    }
}

/// Appends a byte vector: compact size, then the bytes.
pub fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    encode_compact_size(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends a vector of items: compact size, then each.
pub fn encode_vec<T: Encode>(items: &[T], out: &mut Vec<u8>) {
    encode_compact_size(items.len() as u64, out);
    for item in items {
        item.encode(out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn long_forms_of_small_sizes_are_refused() {
        for bytes in
            [&[0xfd, 0xfc, 0][..], &[0xfe, 0xff, 0xff, 0, 0], &[0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]]
        {
            assert!(matches!(Reader::new(bytes).compact_size(), Err(DecodeError::NonCanonicalSize(_))));
        }
    }

    #[test]
    fn a_count_is_bounded_by_what_can_follow() {
        // Four billion items announced, two bytes there.
        assert!(Reader::new(&[0xfe, 0xff, 0xff, 0xff, 0xff, 0, 0]).count(1).is_err());
        assert_eq!(Reader::new(&[2, 0, 0]).count(1), Ok(2));
        assert!(Reader::new(&[2, 0, 0]).count(2).is_err());
    }

    proptest! {
        #[test]
        fn compact_size_round_trips(value: u64, shift in 0u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            encode_compact_size(value, &mut out);
            prop_assert_eq!(out.len(), compact_size_len(value));
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.compact_size(), Ok(value));
            prop_assert_eq!(reader.finish(), Ok(()));
        }
    }
}
