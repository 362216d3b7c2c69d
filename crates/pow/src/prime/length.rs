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

    /// As a floating number, for people and for weighing shares.
    pub fn to_f64(self) -> f64 {
        f64::from(self.0) / f64::from(1u32 << FRACTION_BITS)
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
