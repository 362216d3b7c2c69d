//! Stack items without the heap: an item is either bytes of the transaction, borrowed, or a result of at most 32 bytes.

use crate::{ScriptError, num};

/// One item. No opcode makes a result longer than a hash, so 32 bytes in place are enough.
#[derive(Clone, Copy)]
pub(crate) enum Item<'a> {
    /// Bytes of a script or a witness.
    Borrowed(&'a [u8]),
    /// A number or a hash.
    Made { len: u8, bytes: [u8; 32] },
}

static SMALL: [u8; 16] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16];

impl<'a> Item<'a> {
    pub(crate) const FALSE: Self = Self::Borrowed(&[]);
    pub(crate) const TRUE: Self = Self::Borrowed(&[1]);
    pub(crate) const MINUS_ONE: Self = Self::Borrowed(&[0x81]);

    pub(crate) const fn bool(value: bool) -> Self {
        if value { Self::TRUE } else { Self::FALSE }
    }

    /// What `OP_1` to `OP_16` push.
    pub(crate) fn small(number: u8) -> Self {
        let at = usize::from(number.clamp(1, 16)) - 1;
        Self::Borrowed(&SMALL[at..=at])
    }

    pub(crate) fn number(number: i64) -> Self {
        let (encoded, len) = num::encode_array(number);
        Self::made(&encoded[..len])
    }

    /// A result of at most 32 bytes.
    pub(crate) fn made(result: &[u8]) -> Self {
        let mut bytes = [0; 32];
        bytes[..result.len()].copy_from_slice(result);
        Self::Made { len: result.len() as u8, bytes }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Borrowed(bytes) => bytes,
            Self::Made { len, bytes } => &bytes[..usize::from(*len)],
        }
    }

    /// False for empty, zero, and negative zero.
    pub(crate) fn is_true(&self) -> bool {
        match self.bytes().split_last() {
            None => false,
            Some((&last, rest)) => last & 0x7f != 0 || rest.iter().any(|&b| b != 0),
        }
    }

    pub(crate) fn to_number(self, minimal: bool) -> Result<i64, ScriptError> {
        num::decode(self.bytes(), minimal, num::DEFAULT_MAX_LEN)
    }
}
