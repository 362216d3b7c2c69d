//! Chain lengths as 8.24 fixed point, and the kinds of chains.

use std::fmt;

use lode_primitives::{U256, Work};

/// Bits of the fraction.
const FRACTION_BITS: u32 = 24;
/// Greatest whole length that a header may ask for.
pub(super) const LENGTH_MAX: u32 = 99;
/// Difficulty of no fraction at all, and of the greatest.
const FRACTION_DIFFICULTY_MIN: u64 = 1 << 32;
const FRACTION_DIFFICULTY_MAX: u64 = 1 << 56;
/// Difficulty from which on a whole prime more is asked for instead.
const FRACTION_DIFFICULTY_NEXT: u64 = 1 << 40;
/// How much rarer the network's model takes a chain to be that is one prime longer (`nWorkTransitionRatio`).
const PRIME_RATIO: f64 = 32.0;
/// The length that counts as difficulty 1: the least of the main networks.
const DIFFICULTY_ONE: u32 = 6;

/// A chain's length, or the least one asked for: eight bits of whole primes, 24 bits of fraction. A header's `bits` are
/// one of these; comparing the numbers compares the lengths.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainLength(pub u32);

impl ChainLength {
    /// `primes` primes and no fraction; above 255 it stays there.
    pub fn whole(primes: u32) -> Self {
        Self(primes.min(255) << FRACTION_BITS)
    }

    /// The number of primes.
    pub fn primes(self) -> u32 {
        self.0 >> FRACTION_BITS
    }

    /// The fraction in units of 2^-24.
    pub fn fraction(self) -> u32 {
        self.0 & ((1 << FRACTION_BITS) - 1)
    }

    /// This many whole primes more, the fraction kept.
    pub(super) fn plus(self, primes: u32) -> Self {
        Self(self.0.saturating_add(primes << FRACTION_BITS))
    }

    /// The work of a block that asks for this length, in units of the reference implementation's `GetBlockWork`: 256 at the
    /// network's least whole length `min_length`, 32 times more for each further prime, and within one by the
    /// difficulty of the fraction. `None` where a header may not ask for it.
    pub fn work(self, min_length: u32) -> Option<Work> {
        if !(min_length..=LENGTH_MAX).contains(&self.primes()) {
            return None;
        }
        // 32^45 is far more than anyone will ever do, and leaves room for a chain's sum.
        let primes = (self.primes() - min_length).min(45);
        let difficulty = self.fraction_difficulty();
        let within = 32 * u128::from(difficulty) * 256;
        let unit = 31 * u128::from(FRACTION_DIFFICULTY_MIN) + u128::from(difficulty);
        // The power is divided last, as there: (256 * 32^n * 32 d) / (31 * 2^32 + d).
        Some(Work((U256::from(within) << (5 * primes) as usize) / U256::from(unit)))
    }

    /// How much rarer than any a chain with at least this fraction is, in units of 2^-32: from 2^32 up to 2^56.
    pub fn fraction_difficulty(self) -> u64 {
        FRACTION_DIFFICULTY_MAX / u64::from((1 << FRACTION_BITS) - self.fraction())
    }

    /// The length asked for after a block of this one: the difficulty of the fraction times `numerator / denominator`, which is
    /// below 1 where the block took long. Where the fraction runs over, the whole length changes, not below `min_length`
    /// (reference implementation: `TargetGetNext`). A denominator below zero, as only a wrong clock makes it,
    /// leads to the least fraction there and so here.
    pub fn retargeted(self, numerator: i64, denominator: i64, min_length: u32) -> Self {
        let product = i128::from(self.fraction_difficulty()) * i128::from(numerator);
        let next = product
            .checked_div(i128::from(denominator))
            .unwrap_or(0)
            .clamp(FRACTION_DIFFICULTY_MIN.into(), FRACTION_DIFFICULTY_MAX.into()) as u64;
        let (primes, next) = if next > FRACTION_DIFFICULTY_NEXT {
            (self.primes() + 1, FRACTION_DIFFICULTY_MIN)
        } else if next == FRACTION_DIFFICULTY_MIN && self.primes() > min_length {
            (self.primes() - 1, FRACTION_DIFFICULTY_NEXT)
        } else {
            (self.primes(), next)
        };
        let fraction = (1 << FRACTION_BITS) - (FRACTION_DIFFICULTY_MAX / next) as u32;
        Self(primes.min(255) << FRACTION_BITS | fraction)
    }

    /// As a floating number, for people.
    pub fn to_f64(self) -> f64 {
        f64::from(self.0) / f64::from(1u32 << FRACTION_BITS)
    }

    /// The length that people write as a decimal number (`6.5`), to the nearest unit; `None` outside 1 to 100.
    pub fn from_f64(length: f64) -> Option<Self> {
        let units = (length * f64::from(1u32 << FRACTION_BITS)).round();
        (1.0..100.0).contains(&length).then_some(Self(units as u32))
    }

    /// How rare chains of at least this length are by the network's own model, in chains of length 6: each prime more is 32
    /// times rarer, and of the chains of one whole length those whose fraction is at least `f` are `1 - f`. It is
    /// the reference implementation's work of a block but for a constant factor.
    pub fn difficulty(self) -> f64 {
        let fraction = f64::from(self.fraction()) / f64::from(1u32 << FRACTION_BITS);
        let whole = PRIME_RATIO.powi(self.primes() as i32 - DIFFICULTY_ONE as i32);
        whole / (1.0 - fraction + fraction / PRIME_RATIO)
    }

    /// The greatest length whose difficulty is at most this; from 1 to 99 primes.
    pub fn of_difficulty(difficulty: f64) -> Self {
        let whole = (difficulty.max(f64::MIN_POSITIVE).log(PRIME_RATIO) + f64::from(DIFFICULTY_ONE)).floor();
        let whole = whole.clamp(1.0, 99.0);
        // difficulty = 32^(whole - 6) / (1 - f (1 - 1/32))
        let over = PRIME_RATIO.powf(whole - f64::from(DIFFICULTY_ONE)) / difficulty;
        let fraction = ((1.0 - over) / (1.0 - 1.0 / PRIME_RATIO)).clamp(0.0, 1.0);
        let units = (fraction * f64::from(1u32 << FRACTION_BITS)).round() as u32;
        Self(((whole as u32) << FRACTION_BITS) + units.min((1 << FRACTION_BITS) - 1))
    }

    /// One prime less, the fraction kept: what is 32 times easier by the network's model. Not below one prime.
    #[must_use]
    pub fn one_less(self) -> Self {
        if self.primes() > 1 { Self(self.0 - (1 << FRACTION_BITS)) } else { Self::whole(1) }
    }
}

impl fmt::Display for ChainLength {
    /// Both parts in hex with a point between, as the reference implementation writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02x}.{:06x}", self.primes(), self.fraction())
    }
}

/// The three kinds of chains.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChainKind {
    /// Cunningham chain of the first kind: O - 1, 2 O - 1, 4 O - 1, ...
    Cunningham1,
    /// Cunningham chain of the second kind: O + 1, 2 O + 1, 4 O + 1, ...
    Cunningham2,
    /// Bi-twin chain: O - 1, O + 1, 2 O - 1, 2 O + 1, ...
    BiTwin,
}

impl fmt::Display for ChainKind {
    /// `1CC`, `2CC` or `TWN`, as the reference implementation writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cunningham1 => "1CC",
            Self::Cunningham2 => "2CC",
            Self::BiTwin => "TWN",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn difficulty_follows_the_networks_model() {
        assert_eq!(ChainLength::whole(6).difficulty(), 1.0);
        assert_eq!(ChainLength::whole(8).difficulty(), 1024.0);
        // A half means that every second chain of the whole length will do, and those one longer.
        let half = ChainLength(0x0680_0000);
        assert!((half.difficulty() - 1.0 / (0.5 + 0.5 / 32.0)).abs() < 1e-12);
        assert_eq!(half.difficulty() / half.one_less().difficulty(), 32.0);
        assert_eq!(ChainLength::from_f64(6.5), Some(half));
        assert_eq!((ChainLength::from_f64(0.5), ChainLength::from_f64(f64::NAN)), (None, None));
        assert_eq!(ChainLength::of_difficulty(0.0), ChainLength::whole(1));
    }

    proptest! {
        #[test]
        fn lengths_and_difficulties_are_the_same_thing(length in 0x0100_0000u32..0x1800_0000) {
            let length = ChainLength(length);
            let back = ChainLength::of_difficulty(length.difficulty());
            prop_assert!(back.0.abs_diff(length.0) <= 2, "{length} {back}");
            let longer = ChainLength(length.0 + 1000);
            prop_assert!(longer.difficulty() > length.difficulty());
        }
    }
}
