//! Which bits the next block must have: each coin's retarget rule.

use lode_coins::{Coin, Retarget};
use lode_pow::ChainLength;
use lode_primitives::{Target, U256};

use crate::tree::{Id, Tree};

/// The bits of the block after `parent` with the given `time` (Unix seconds; it matters only where a test network
/// allows an easiest block after a pause).
pub(crate) fn next_bits(tree: &Tree, coin: &Coin, parent: Id, time: u32) -> u32 {
    let last = tree.get(parent);
    match coin.retarget {
        Retarget::Interval { timespan, spacing, whole_interval, min_difficulty_blocks, never, bip94 } => {
            let interval = timespan / spacing;
            if !(last.height() + 1).is_multiple_of(interval) {
                let easiest = coin.pow_limit.to_compact();
                if !min_difficulty_blocks {
                    return last.bits();
                }
                return if u64::from(time) > u64::from(last.time()) + 2 * u64::from(spacing) {
                    easiest
                } else {
                    last_real_bits(tree, parent, interval, easiest)
                };
            }
            if never {
                return last.bits();
            }
            // Litecoin measures over the whole interval, except the first, which has no block before it.
            let back = if whole_interval && last.height() + 1 != interval { interval } else { interval - 1 };
            let first = tree.ancestor(parent, last.height() - back).unwrap_or(0);
            let elapsed = i64::from(last.time()) - i64::from(tree.get(first).time());
            let elapsed = elapsed.clamp(i64::from(timespan / 4), i64::from(timespan) * 4) as u64;
            let bits = if bip94 {
                let first = tree.ancestor(parent, last.height() - (interval - 1)).unwrap_or(0);
                tree.get(first).bits()
            } else {
                last.bits()
            };
            scaled(bits, elapsed, u64::from(timespan), coin.pow_limit)
        }
        Retarget::EachBlock { spacing, window } => {
            let Some(before) = tree.parent(parent) else {
                return last.bits();
            };
            let elapsed = i64::from(last.time()) - i64::from(tree.get(before).time());
            let (spacing, window) = (u64::from(spacing), u64::from(window));
            let elapsed = elapsed.clamp(0, 6 * spacing as i64) as u64;
            scaled(last.bits(), (window - 1) * spacing + 2 * elapsed, (window + 1) * spacing, coin.pow_limit)
        }
        Retarget::ChainLength { spacing, window, initial, elapsed_max } => {
            // The first two blocks above genesis.
            let Some(before) = tree.parent(parent).filter(|_| last.height() > 1) else {
                return ChainLength::whole(initial).0;
            };
            let mut elapsed = i64::from(last.time()) - i64::from(tree.get(before).time());
            if let Some(max) = elapsed_max {
                elapsed = elapsed.clamp(0, i64::from(max));
            }
            let (spacing, window) = (i64::from(spacing), i64::from(window));
            ChainLength(last.bits())
                .retargeted(
                    (window + 1) * spacing,
                    (window - 1) * spacing + 2 * elapsed,
                    coin.min_chain_length,
                )
                .0
        }
    }
}

/// The bits of the last block that was not made easiest by a pause.
fn last_real_bits(tree: &Tree, parent: Id, interval: u32, easiest: u32) -> u32 {
    let mut at = parent;
    loop {
        let entry = tree.get(at);
        if entry.height().is_multiple_of(interval) || entry.bits() != easiest {
            return entry.bits();
        }
        match tree.parent(at) {
            Some(above) => at = above,
            None => return entry.bits(),
        }
    }
}

/// The compact form of `bits * multiplier / divisor`, rounded down, at most `limit`. Exact, also where the product
/// does not fit in 256 bits.
fn scaled(bits: u32, multiplier: u64, divisor: u64, limit: Target) -> u32 {
    let Ok(Target(target)) = Target::from_compact(bits) else {
        return limit.to_compact(); // no such bits are in the tree
    };
    let (multiplier, divisor) = (U256::from(multiplier), U256::from(divisor));
    let whole = (target / divisor).checked_mul(multiplier);
    let rest = (target % divisor) * multiplier / divisor;
    let next = whole.and_then(|whole| whole.checked_add(rest)).unwrap_or(limit.0);
    Target(next.min(limit.0)).to_compact()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_primitives::{BlockHash, Header, MerkleNode, Work};

    /// A tree whose blocks have these (time, bits), from height 0.
    fn chain(blocks: impl IntoIterator<Item = (u32, u32)>) -> (Tree, Id) {
        let mut tree = Tree::default();
        let mut prev = BlockHash::ZERO;
        let mut last = 0;
        for (time, bits) in blocks {
            let header = Header {
                version: 1,
                prev,
                merkle_root: MerkleNode::ZERO,
                time,
                bits,
                nonce: 0,
                multiplier: None,
            };
            prev = header.hash();
            last = tree.insert(&header, prev, Work::ZERO);
        }
        (tree, last)
    }

    fn coin(name: &str, network: &str) -> &'static Coin {
        lode_coins::find(name, network).unwrap()
    }

    /// The reference client's own vectors (`pow_tests`): what `CalculateNextWorkRequired` gives.
    #[test]
    fn main_network_intervals() {
        for (first, last, bits, wanted) in [
            (1_261_130_161, 1_262_152_739, 0x1d00_ffff, 0x1d00_d86a), // height 32255
            (1_231_006_505, 1_233_061_996, 0x1d00_ffff, 0x1d00_ffff), // the limit
            (1_279_008_237, 1_279_297_671, 0x1c05_a3f4, 0x1c01_68fd), // four times harder at most
            (1_263_163_443, 1_269_211_443, 0x1c38_7f6f, 0x1d00_e1fd), // four times easier at most
        ] {
            let (tree, parent) =
                chain((0..2016).map(|height| (if height == 0 { first } else { last }, bits)));
            assert_eq!(next_bits(&tree, coin("bitcoin", "main"), parent, 0), wanted);
        }
    }

    #[test]
    fn between_retargets_nothing_changes_on_the_main_network() {
        let (tree, parent) = chain((0..100).map(|height| (height, 0x1c05_a3f4)));
        assert_eq!(next_bits(&tree, coin("bitcoin", "main"), parent, u32::MAX), 0x1c05_a3f4);
    }

    #[test]
    fn a_pause_makes_one_easy_block_on_test_networks() {
        let testnet4 = coin("bitcoin", "testnet4");
        let easiest = testnet4.pow_limit.to_compact();
        let real = 0x1c05_a3f4;
        let (tree, parent) = chain((0..100).map(|h| (h, if h < 90 { real } else { easiest })));
        assert_eq!(next_bits(&tree, testnet4, parent, 99 + 1200), real);
        assert_eq!(next_bits(&tree, testnet4, parent, 99 + 1201), easiest);
    }

    #[test]
    fn bip94_retargets_from_the_first_blocks_bits() {
        let testnet4 = coin("bitcoin", "testnet4");
        let easiest = testnet4.pow_limit.to_compact();
        let real = 0x1c05_a3f4;
        let (tree, parent) =
            chain((0..2016).map(|h| (h * 1_209_600 / 2015, if h == 2015 { easiest } else { real })));
        assert_eq!(next_bits(&tree, testnet4, parent, 0), real);
    }

    #[test]
    fn regtest_never_retargets() {
        let regtest = coin("bitcoin", "regtest");
        let (tree, parent) = chain((0..2016).map(|h| (h, 0x207f_ffff)));
        assert_eq!(next_bits(&tree, regtest, parent, 0), 0x207f_ffff);
    }

    #[test]
    fn litecoin_measures_one_block_more_and_does_not_overflow() {
        let litecoin = coin("litecoin", "main");
        // First interval: 2,015 blocks' time; half of what is aimed at halves the target.
        let (tree, parent) = chain((0..2016).map(|h| (h * 75, 0x1e0f_fff0)));
        let first = next_bits(&tree, litecoin, parent, 0);
        let (tree, parent) = chain((0..4032).map(|h| (h * 75, 0x1e0f_fff0)));
        assert_eq!(tree.get(parent).height(), 4031);
        let second = next_bits(&tree, litecoin, parent, 0);
        // 2,015 spacings in the first, 2,016 in the second: exactly half.
        assert_eq!(second, 0x1e07_fff8);
        assert!(first < second);
        // The easiest target times four does not fit in 256 bits.
        let (tree, parent) = chain((0..2016).map(|h| (h * 1_000, 0x1e0f_ffff)));
        assert_eq!(next_bits(&tree, litecoin, parent, 0), litecoin.pow_limit.to_compact());
    }

    #[test]
    fn local_follows_each_block() {
        let local = coin("bitcoin", "local");
        let bits = 0x1d3f_ffff;
        let (tree, parent) = chain([(0, bits)]);
        assert_eq!(next_bits(&tree, local, parent, 0), bits);
        let after = |elapsed: u32| {
            let (tree, parent) = chain([(0, bits), (elapsed, bits)]);
            Target::from_compact(next_bits(&tree, local, parent, 0)).unwrap()
        };
        let now = Target::from_compact(bits).unwrap();
        assert!(after(0) < now && after(9) < now && after(11) > now);
        assert_eq!(after(10).to_compact(), bits);
        assert_eq!(after(60), after(86_400)); // a pause counts for six spacings
        let ratio = f64::from(after(0).0) / f64::from(now.0);
        assert!((ratio - 11.0 / 13.0).abs() < 1e-4, "{ratio}");
    }
}
