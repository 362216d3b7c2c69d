//! Share difficulties and the targets they stand for, by Stratum's convention.

use std::fmt;

use lode_primitives::{Target, U256};
use ruint::aliases::U512;

/// The target of difficulty 1 for a proof of work whose convention makes it `multiplier` times easier than
/// SHA-256d's: `0xffff * 2^208` for 1 (SHA-256d), 65,536 times that for scrypt.
pub fn difficulty_one(multiplier: u32) -> Target {
    Target((U256::from(0xffff_u32) << 208_usize).saturating_mul(U256::from(multiplier.max(1))))
}

/// A share difficulty: positive and finite; fractions are for CPU miners and tests. 1 takes about 2^32 SHA-256d
/// hashes, or 2^16 scrypt hashes.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Difficulty(f64);

impl Difficulty {
    /// The least there is; below it nothing is ever asked of a miner (2^-32 is one SHA-256d hash).
    pub const MIN: Self = Self(1.0 / 4_294_967_296.0);
    /// The greatest there is: 2^96, far over any network's.
    pub const MAX: Self = Self(79_228_162_514_264_337_593_543_950_336.0);
    /// Difficulty 1.
    pub const ONE: Self = Self(1.0);

    /// `value`, clamped to the range; `None` where it is not a positive number.
    pub fn new(value: f64) -> Option<Self> {
        (value.is_finite() && value > 0.0).then(|| Self(value.clamp(Self::MIN.0, Self::MAX.0)))
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }

    /// The greatest power of two not above it.
    #[must_use]
    pub fn floor_power_of_two(self) -> Self {
        // Clearing the mantissa of a normal number leaves its power of two.
        Self(f64::from_bits(self.0.to_bits() & (0x7ff << 52)))
    }

    /// The target: `one / difficulty`, rounded down, exact.
    pub fn to_target(self, one: Target) -> Target {
        let bits = self.0.to_bits();
        // Normal numbers only, as the range guarantees: value = mantissa * 2^exponent.
        let mut mantissa = (bits & ((1 << 52) - 1)) | 1 << 52;
        let mut exponent = (bits >> 52) as i32 - 1075;
        let zeros = mantissa.trailing_zeros();
        mantissa >>= zeros;
        exponent += zeros as i32;
        let wide = U512::from(one.0);
        let quotient = if exponent >= 0 {
            (wide >> exponent as usize) / U512::from(mantissa)
        } else {
            // At most 32 + 52 places for the range above: no overflow of 512 bits.
            (wide << (-exponent) as usize) / U512::from(mantissa)
        };
        if quotient > U512::from(U256::MAX) { Target(U256::MAX) } else { Target(quotient.to::<U256>()) }
    }

    /// The difficulty of a target, as a floating number.
    pub fn of_target(target: Target, one: Target) -> Self {
        if target.0.is_zero() {
            return Self::MAX;
        }
        Self::new(target.difficulty(one)).unwrap_or(Self::MIN)
    }
}

impl fmt::Display for Difficulty {
    /// A plain decimal number without exponent, whole where it is whole: also the form on the wire.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn conventions() {
        let sha = difficulty_one(1);
        assert_eq!(sha.to_compact(), 0x1d00_ffff);
        assert_eq!(Difficulty::ONE.to_target(sha), sha);
        assert_eq!(difficulty_one(65_536).to_compact(), 0x1f00_ffff);
        let half = Difficulty::new(0.5).unwrap().to_target(sha);
        assert_eq!(half.0, sha.0 << 1);
        assert_eq!(Difficulty::new(65_536.0).unwrap().to_target(sha).0, sha.0 >> 16);
        assert_eq!(Difficulty::MIN.to_target(difficulty_one(65_536)).0, U256::MAX);
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(Difficulty::new(bad).is_none());
        }
        assert_eq!(Difficulty::new(1e-300), Some(Difficulty::MIN));
        assert_eq!(Difficulty::new(0.001).unwrap().to_string(), "0.001");
        assert_eq!(Difficulty::new(500_000.0).unwrap().to_string(), "500000");
    }

    proptest! {
        #[test]
        fn targets_divide(value in 1e-9f64..1e15) {
            let one = difficulty_one(1);
            let difficulty = Difficulty::new(value).unwrap();
            let back = Difficulty::of_target(difficulty.to_target(one), one).get();
            prop_assert!((back / value - 1.0).abs() < 1e-9);
            let floor = difficulty.floor_power_of_two().get();
            prop_assert!(floor <= value && value < 2.0 * floor && floor.log2().fract() == 0.0);
        }
    }
}
