//! Money as whole numbers of the smallest unit.

use std::fmt;
use std::iter::Sum;

/// Smallest units in one coin: 100,000,000 for every coin here.
pub const COIN: i64 = 100_000_000;

/// An amount in the coin's smallest unit (satoshi).
///
/// Signed, because the wire's field is signed and a negative output must be seen and refused, and because a
/// difference of amounts may be below zero. Arithmetic is checked: nothing wraps, nothing rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i64);

impl Amount {
    /// No money.
    pub const ZERO: Self = Self(0);

    /// `sat` smallest units.
    pub const fn from_sat(sat: i64) -> Self {
        Self(sat)
    }

    /// Whole coins; for constants.
    ///
    /// # Panics
    /// At compile time, where the product does not fit.
    pub const fn from_coins(coins: i64) -> Self {
        match coins.checked_mul(COIN) {
            Some(sat) => Self(sat),
            None => panic!("amount of whole coins out of range"),
        }
    }

    /// Smallest units.
    pub const fn to_sat(self) -> i64 {
        self.0
    }

    /// The sum, or `None` where it does not fit in 63 bits.
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The difference (it may be negative), or `None` where it does not fit.
    pub const fn checked_sub(self, other: Self) -> Option<Self> {
        match self.0.checked_sub(other.0) {
            Some(difference) => Some(Self(difference)),
            None => None,
        }
    }

    /// The sum of all, or `None` where it does not fit.
    pub fn checked_sum(amounts: impl IntoIterator<Item = Self>) -> Option<Self> {
        amounts.into_iter().try_fold(Self::ZERO, Self::checked_add)
    }

    /// True in `0..=max`: the range rule for outputs and for their sums.
    pub const fn is_money(self, max: Self) -> bool {
        self.0 >= 0 && self.0 <= max.0
    }
}

impl fmt::Display for Amount {
    /// Coins with eight decimals, as the reference client's JSON has them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sat = self.0.unsigned_abs();
        let sign = if self.0 < 0 { "-" } else { "" };
        f.pad(&format!("{sign}{}.{:08}", sat / COIN as u64, sat % COIN as u64))
    }
}

/// Why a text is not an amount.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AmountParseError {
    /// Not a decimal number.
    #[error("{0:?} is not an amount in coins such as 0.5 or 12")]
    NotANumber(String),
    /// More than eight decimals.
    #[error("{0:?} has more than eight decimals")]
    TooPrecise(String),
    /// Does not fit.
    #[error("{0:?} is too large")]
    TooLarge(String),
}

impl std::str::FromStr for Amount {
    type Err = AmountParseError;

    /// Coins as a decimal number, at most eight decimals.
    fn from_str(text: &str) -> Result<Self, AmountParseError> {
        let shown = || text.chars().take(40).collect::<String>();
        let (sign, digits) = text.strip_prefix('-').map_or((1i64, text), |rest| (-1, rest));
        let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
        let numeric = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if (whole.is_empty() && fraction.is_empty()) || !numeric(whole) || !numeric(fraction) {
            return Err(AmountParseError::NotANumber(shown()));
        }
        if fraction.len() > 8 {
            return Err(AmountParseError::TooPrecise(shown()));
        }
        let whole: i64 = if whole.is_empty() { Ok(0) } else { whole.parse() }
            .map_err(|_| AmountParseError::TooLarge(shown()))?;
        let fraction: i64 =
            format!("{fraction:0<8}").parse().map_err(|_| AmountParseError::TooLarge(shown()))?;
        whole
            .checked_mul(COIN)
            .and_then(|sat| sat.checked_add(fraction))
            .map(|sat| Self(sign * sat))
            .ok_or_else(|| AmountParseError::TooLarge(shown()))
    }
}

impl Sum for Amount {
    /// For sums already known to fit (amounts read from a validated chain).
    ///
    /// # Panics
    /// Where the sum does not fit; use [`Amount::checked_sum`] for untrusted amounts.
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        Self::checked_sum(iter).expect("sum of validated amounts fits in 63 bits")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_and_parsed_exactly() {
        for (text, sat) in
            [("0.00000001", 1), ("-1.50000000", -150_000_000), ("20999999.97690000", 2_099_999_997_690_000)]
        {
            assert_eq!(text.parse::<Amount>().unwrap(), Amount::from_sat(sat));
            assert_eq!(Amount::from_sat(sat).to_string(), text);
        }
        assert_eq!("3".parse::<Amount>().unwrap().to_sat(), 3 * COIN);
        assert_eq!(".5".parse::<Amount>().unwrap().to_sat(), COIN / 2);
        for bad in ["", ".", "1e8", "0.123456789", "92233720369", "1,5", "--1"] {
            assert!(bad.parse::<Amount>().is_err(), "{bad}");
        }
    }

    #[test]
    fn sums_do_not_wrap() {
        assert_eq!(Amount::from_sat(i64::MAX).checked_add(Amount::from_sat(1)), None);
        assert_eq!(Amount::checked_sum([Amount::from_sat(i64::MAX), Amount::from_sat(1)]), None);
    }
}
