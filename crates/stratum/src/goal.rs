//! What a proof of work must reach: a target to be below of, or a chain length; the network's for a block, an easier one for
//! shares. Both are told and adjusted as difficulties.

use crate::Difficulty;
use lode_pow::{ChainLength, PowAlgorithm};
use lode_primitives::{CompactTargetError, Target};

/// What a proof of work must reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// A hash, as a number, not above this.
    Target(Target),
    /// A prime chain at least this long.
    Length(ChainLength),
}

impl Goal {
    /// The goal of a header's `bits`.
    pub fn of_bits(pow: PowAlgorithm, bits: u32) -> Result<Self, CompactTargetError> {
        match pow.difficulty_one_target() {
            Some(_) => Target::from_compact(bits).map(Self::Target),
            None => Ok(Self::Length(ChainLength(bits))),
        }
    }

    /// The goal of a share difficulty: for hashes by Stratum's convention, for chains by the network's own model.
    pub fn of_difficulty(pow: PowAlgorithm, difficulty: Difficulty) -> Self {
        match pow.difficulty_one_target() {
            Some(one) => Self::Target(difficulty.to_target(one)),
            None => Self::Length(ChainLength::of_difficulty(difficulty.get())),
        }
    }

    /// Its difficulty.
    pub fn difficulty(self, pow: PowAlgorithm) -> Difficulty {
        match (self, pow.difficulty_one_target()) {
            (Self::Target(target), Some(one)) => Difficulty::of_target(target, one),
            (Self::Length(length), _) => Difficulty::new(length.difficulty()).unwrap_or(Difficulty::MIN),
            (Self::Target(_), None) => Difficulty::MAX,
        }
    }

    /// Whether a hash meets it; a chain is no hash.
    pub fn is_met_by(self, hash: &[u8; 32]) -> bool {
        matches!(self, Self::Target(target) if target.is_met_by(hash))
    }

    /// Its length, where it is a chain's.
    pub fn length(self) -> Option<ChainLength> {
        match self {
            Self::Target(_) => None,
            Self::Length(length) => Some(length),
        }
    }

    /// The easiest goal for shares towards this one. Chains are credited by what they are worth towards a block,
    /// and a chain too short says little of that: at most one prime less.
    pub fn easiest_share(self) -> Option<ChainLength> {
        match self {
            Self::Target(_) => None,
            Self::Length(length) => Some(length.one_less()),
        }
    }
}

/// A difficulty as people write it: for hashes itself, for chains a length such as 6.5. `None` where it is none.
pub fn written_difficulty(pow: PowAlgorithm, written: f64) -> Option<Difficulty> {
    match pow.difficulty_one_target() {
        Some(_) => Difficulty::new(written),
        None => Difficulty::new(ChainLength::from_f64(written)?.difficulty()),
    }
}
