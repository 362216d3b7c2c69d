//! Chain lengths as 8.24 fixed point, and the kinds of chains.

use std::fmt;

/// Bits of the fraction.
const FRACTION_BITS: u32 = 24;

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
