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
}

impl Subsidy {
    /// The subsidy of the block at `height` whose compact target is `bits`.
    pub const fn at(&self, height: Height, _bits: u32) -> Amount {
        match *self {
            Self::Halving { initial, interval } => {
                let halvings = height / interval;
                if halvings >= 63 { Amount::ZERO } else { Amount::from_sat(initial.to_sat() >> halvings) }
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
}

impl Retarget {
    /// Seconds between blocks, as aimed at.
    pub const fn spacing(&self) -> u32 {
        match *self {
            Self::Interval { spacing, .. } | Self::EachBlock { spacing, .. } => spacing,
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
}
