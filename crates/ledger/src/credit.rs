//! The unit work is credited in.

use std::fmt;

/// Units of one difficulty: 2^32.
const UNITS_PER_DIFFICULTY: f64 = 4_294_967_296.0;

/// Work credited for a share: its assigned difficulty in units of 2^-32 of difficulty 1.
///
/// An integer, so that sums over windows and accounts are exact whatever their order. For SHA-256d one unit is about
/// one hash, and the difficulties that pools assign (powers of two down to 2^-32) are represented without rounding.
/// One share holds at most difficulty 2^32; sums are kept in 128 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Credit(u64);

impl Credit {
    /// `units` of 2^-32 of difficulty 1.
    pub const fn from_units(units: u64) -> Self {
        Self(units)
    }

    /// Units of 2^-32 of difficulty 1.
    pub const fn to_units(self) -> u64 {
        self.0
    }

    /// The credit of a share of this difficulty, to the nearest unit; `None` where that is below one unit, above
    /// 2^32 difficulties, or not a number.
    pub fn from_difficulty(difficulty: f64) -> Option<Self> {
        let units = (difficulty * UNITS_PER_DIFFICULTY).round();
        // 2^64 itself does not fit; NaN is in no range.
        (1.0..18_446_744_073_709_551_616.0).contains(&units).then_some(Self(units as u64))
    }

    /// The credit of so much work, whatever it is: at least one unit, at most what a share can hold.
    pub fn saturating(difficulty: f64) -> Self {
        // Casts from floats saturate, and NaN gives zero.
        Self(((difficulty * UNITS_PER_DIFFICULTY).round() as u64).max(1))
    }

    /// As a difficulty, for people to read.
    pub fn to_difficulty(self) -> f64 {
        units_to_difficulty(u128::from(self.0))
    }
}

impl fmt::Display for Credit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_difficulty(), f)
    }
}

/// A difficulty too large for one share (the network's) in credit units, to the nearest; at least one.
pub fn difficulty_to_units(difficulty: f64) -> u128 {
    // Casts from floats saturate, and NaN gives zero.
    ((difficulty * UNITS_PER_DIFFICULTY).round() as u128).max(1)
}

/// A sum of credit units as a difficulty, for people to read.
pub fn units_to_difficulty(units: u128) -> f64 {
    units as f64 / UNITS_PER_DIFFICULTY
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_of_two_are_exact() {
        for exponent in -32..32 {
            let difficulty = 2f64.powi(exponent);
            let credit = Credit::from_difficulty(difficulty).unwrap();
            assert_eq!(credit.to_units(), 1u64 << (exponent + 32));
            assert_eq!(credit.to_difficulty(), difficulty);
        }
        for bad in [0.0, -1.0, f64::NAN, f64::INFINITY, 2f64.powi(-34), 2f64.powi(32)] {
            assert_eq!(Credit::from_difficulty(bad), None, "{bad}");
        }
        assert_eq!(difficulty_to_units(2f64.powi(47)), 1u128 << 79);
        assert_eq!(difficulty_to_units(f64::NAN), 1);
    }
}
