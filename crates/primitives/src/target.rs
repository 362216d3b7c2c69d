//! 256-bit targets, their compact form, and the work they stand for.

use std::fmt;
use std::ops::{Add, Sub};

use crate::U256;

/// A 256-bit threshold: a hash, read as a little-endian integer, must not be greater.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target(pub U256);

/// Why compact bits are no target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CompactTargetError {
    /// The sign bit is set.
    #[error("compact target {0:#010x} is negative")]
    Negative(u32),
    /// More than 256 bits.
    #[error("compact target {0:#010x} does not fit in 256 bits")]
    Overflow(u32),
    /// Zero: no hash can be below it.
    #[error("compact target {0:#010x} is zero")]
    Zero(u32),
}

impl Target {
    /// The target of the compact form (the reference client's `SetCompact`): one byte of size in bytes, one sign
    /// bit, 23 bits of mantissa. Negative, zero and oversized ones are refused.
    pub fn from_compact(bits: u32) -> Result<Self, CompactTargetError> {
        let size = bits >> 24;
        let mantissa = bits & 0x007f_ffff;
        if mantissa != 0 && bits & 0x0080_0000 != 0 {
            return Err(CompactTargetError::Negative(bits));
        }
        if mantissa != 0 && (size > 34 || (mantissa > 0xff && size > 33) || (mantissa > 0xffff && size > 32))
        {
            return Err(CompactTargetError::Overflow(bits));
        }
        let value = if size <= 3 {
            U256::from(mantissa >> (8 * (3 - size)))
        } else {
            U256::from(mantissa) << (8 * (size - 3)) as usize
        };
        if value.is_zero() { Err(CompactTargetError::Zero(bits)) } else { Ok(Self(value)) }
    }

    /// The compact form, rounded down to 23 bits of mantissa (`GetCompact`).
    pub fn to_compact(self) -> u32 {
        let mut size = self.0.bit_len().div_ceil(8) as u32;
        let mut mantissa = if size <= 3 {
            self.0.to::<u32>() << (8 * (3 - size))
        } else {
            (self.0 >> (8 * (size - 3)) as usize).to::<u32>()
        };
        if mantissa & 0x0080_0000 != 0 {
            mantissa >>= 8;
            size += 1;
        }
        mantissa | size << 24
    }

    /// True where `hash` (internal byte order, read as little-endian) meets the target.
    pub fn is_met_by(&self, hash: &[u8; 32]) -> bool {
        U256::from_le_bytes(*hash) <= self.0
    }

    /// The target as 32 little-endian bytes: comparable with a hash in internal order.
    pub fn to_le_bytes(self) -> [u8; 32] {
        self.0.to_le_bytes()
    }

    /// The target as 64 hex digits, most significant first, as `getblocktemplate` shows it.
    pub fn to_be_hex(self) -> String {
        hex::encode(self.0.to_be_bytes::<32>())
    }

    /// Expected hashes to meet it: `2^256 / (target + 1)`, rounded down.
    pub fn work(self) -> Work {
        // 2^256 does not fit: (2^256 - 1 - t) / (t + 1) + 1 is the same number.
        match self.0.checked_add(U256::ONE) {
            Some(above) => Work(!self.0 / above + U256::ONE),
            None => Work(U256::ONE),
        }
    }

    /// How many times harder than `one` this target is, for people to read.
    pub fn difficulty(self, one: Self) -> f64 {
        f64::from(one.0) / f64::from(self.0)
    }
}

/// Expected hashes: of a block, or summed over a chain. The chain with the most is the best.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Work(pub U256);

impl Work {
    /// No work.
    pub const ZERO: Self = Self(U256::ZERO);

    /// As a floating number, for rates and odds.
    pub fn to_f64(self) -> f64 {
        f64::from(self.0)
    }
}

impl Add for Work {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sub for Work {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl fmt::Debug for Work {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Work {
    /// 64 hex digits, most significant first, as `chainwork` is shown.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0.to_be_bytes::<32>()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_forms_of_the_reference_client() {
        // (bits, value as compact again); from the rules of arith_uint256's SetCompact and GetCompact.
        for (bits, again) in [
            (0x0112_3456, 0x0112_0000),
            (0x0212_3456, 0x0212_3400),
            (0x0312_3456, 0x0312_3456),
            (0x0412_3456, 0x0412_3456),
            (0x0500_9234, 0x0500_9234),
            (0x2012_3456, 0x2012_3456),
            (0x1d00_ffff, 0x1d00_ffff),
            (0x207f_ffff, 0x207f_ffff),
        ] {
            assert_eq!(Target::from_compact(bits).unwrap().to_compact(), again, "{bits:#x}");
        }
        assert_eq!(Target::from_compact(0x0492_3456), Err(CompactTargetError::Negative(0x0492_3456)));
        assert_eq!(Target::from_compact(0xff12_3456), Err(CompactTargetError::Overflow(0xff12_3456)));
        for zero in [0, 0x0012_3456, 0x0100_3456, 0x2000_0000, 0x0480_0000] {
            assert_eq!(Target::from_compact(zero), Err(CompactTargetError::Zero(zero)));
        }
    }

    #[test]
    fn work_of_known_targets() {
        assert_eq!(Target::from_compact(0x1d00_ffff).unwrap().work().0, U256::from(0x1_0001_0001u64));
        assert_eq!(Target::from_compact(0x207f_ffff).unwrap().work().0, U256::from(2));
        assert_eq!(Target(U256::MAX).work().0, U256::ONE);
    }
}
