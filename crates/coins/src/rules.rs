//! The rules by which coins differ, as values.

use lode_primitives::{Amount, Height};

/// What a block's miner may make out of nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subsidy {
    /// `initial`, halved every `interval` blocks, nothing after 64 halvings.
    Halving {
        /// Of the first block.
        initial: Amount,
        /// Blocks between halvings.
        interval: Height,
    },
    /// `coins` over the square of the chain length asked for, rounded down to a multiple of `unit`, at every height: the
    /// more primes are found the fewer coins a block makes, without an end (Primecoin).
    InverseSquare {
        /// At length 1.
        coins: Amount,
        /// What amounts are rounded down to.
        unit: Amount,
    },
}

impl Subsidy {
    /// The subsidy of the block at `height` whose compact target, or chain length, is `bits`.
    pub const fn at(&self, height: Height, bits: u32) -> Amount {
        match *self {
            Self::Halving { initial, interval } => {
                let halvings = height / interval;
                if halvings >= 63 { Amount::ZERO } else { Amount::from_sat(initial.to_sat() >> halvings) }
            }
            Self::InverseSquare { coins, unit } => {
                // No header asks for a length of 0. Rounded twice, as the reference does; 2^37 coins would fit.
                let length = if bits == 0 { 1 } else { bits as i128 };
                let once = ((coins.to_sat() as i128) << 24) / length;
                let twice = ((once << 24) / length) as i64;
                Amount::from_sat(twice - twice % unit.to_sat())
            }
        }
    }
}

/// How the target follows the hash rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retarget {
    /// Bitcoin's: at every multiple of `timespan / spacing` blocks, by the time the last ones took, by a factor of
    /// four at most either way.
    Interval {
        /// Seconds between retargets, as aimed at.
        timespan: u32,
        /// Seconds between blocks, as aimed at.
        spacing: u32,
        /// Measure from the block before the interval (but for the first interval), as Litecoin does; Bitcoin
        /// measures one block less than it retargets for.
        whole_interval: bool,
        /// A block more than twice the spacing after its parent may have the easiest target (test networks).
        min_difficulty_blocks: bool,
        /// Never retarget (regtest).
        never: bool,
        /// The next target is worked out from the interval's first block, and a first block's time must not lie more
        /// than 600 s before its parent's (BIP94).
        bip94: bool,
    },
    /// Lode's local networks: after every block, the last target times
    /// `((window - 1) * spacing + 2 * elapsed) / ((window + 1) * spacing)`, where `elapsed` is the time the last
    /// block took, within 0 and `6 * spacing`. An exponential moving average: smooth, and after a pause of a day one
    /// step easier, not thousands.
    EachBlock {
        /// Seconds between blocks, as aimed at.
        spacing: u32,
        /// Blocks over which the average forgets.
        window: u32,
    },
    /// Prime chains: after every block, by the same average. What it moves is the difficulty within a whole length, one
    /// over the part of the fraction that is left (1 to 256); where it runs over, the whole length changes
    /// (reference implementation: `TargetGetNext`).
    ChainLength {
        /// Seconds between blocks, as aimed at.
        spacing: u32,
        /// Blocks over which the average forgets.
        window: u32,
        /// Whole length asked for of the first two blocks above genesis.
        initial: u32,
        /// Where set, the time the last block took counts as within 0 and that many seconds. Without, as the reference
        /// has it, it counts as the headers say, and may be less than nothing.
        elapsed_max: Option<u32>,
    },
}

impl Retarget {
    /// Seconds between blocks, as aimed at.
    pub const fn spacing(&self) -> u32 {
        match *self {
            Self::Interval { spacing, .. }
            | Self::EachBlock { spacing, .. }
            | Self::ChainLength { spacing, .. } => spacing,
        }
    }
}

/// From which height which soft fork's rules hold. The height is the first block's that must keep to them; `None`
/// where never. Where script rules hold from the start save for named blocks (P2SH, taproot on Bitcoin's networks),
/// see [`ScriptException`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deployments {
    /// Height in the coinbase (BIP34).
    pub bip34: Option<Height>,
    /// The id of the block at the BIP34 height; where the chain holds it, BIP30's check may be left out for a while.
    pub bip34_hash: &'static str,
    /// `OP_CHECKLOCKTIMEVERIFY` (BIP65).
    pub bip65: Option<Height>,
    /// Strict DER signatures (BIP66).
    pub bip66: Option<Height>,
    /// Relative lock times and median time for locks (BIP68, 112, 113).
    pub csv: Option<Height>,
    /// Witnesses (BIP141, 143, 147).
    pub segwit: Option<Height>,
    /// Taproot (BIP341, 342).
    pub taproot: Option<Height>,
}

impl Deployments {
    /// True where the rules from `since` hold in the block at `height`.
    pub const fn holds(since: Option<Height>, height: Height) -> bool {
        match since {
            Some(first) => height >= first,
            None => false,
        }
    }
}

/// Script rules that a single block of the past is excused from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScriptException {
    /// No P2SH, no witnesses, no taproot.
    NoP2sh,
    /// No taproot.
    NoTaproot,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halvings() {
        let subsidy = Subsidy::Halving { initial: Amount::from_coins(50), interval: 210_000 };
        assert_eq!(subsidy.at(209_999, 0), Amount::from_coins(50));
        assert_eq!(subsidy.at(210_000, 0), Amount::from_coins(25));
        assert_eq!(subsidy.at(6_929_999, 0), Amount::from_sat(1));
        assert_eq!(subsidy.at(6_930_000, 0), Amount::ZERO);
        assert_eq!(subsidy.at(u32::MAX, 0), Amount::ZERO);
        let all: i64 = (0..33).map(|era| subsidy.at(era * 210_000, 0).to_sat() * 210_000).sum();
        assert_eq!(all, 2_099_999_997_690_000);
    }

    #[test]
    fn longer_chains_make_fewer_coins() {
        let subsidy = crate::find("primecoin", "main").unwrap().subsidy;
        // Coinbases of the main network (heights 396834 and 31097), and the ends.
        for (bits, sat) in
            [(0x0a6a_7568, 920_000_000), (0x07fc_f3d7, 1_565_000_000), (0x0100_0000, 99_900_000_000)]
        {
            assert_eq!(subsidy.at(7, bits), Amount::from_sat(sat));
        }
        assert!(subsidy.at(0, 0).to_sat() > 0 && subsidy.at(0, u32::MAX).to_sat() < 2_000_000);
    }
}
