//! What to pay for being mined, as far as blocks alone tell: a light client sees no mempool.
//!
//! What all transactions of a block pay together is in its coinbase: what that pays out beyond the subsidy. Over their
//! size it is the block's average rate, and while blocks are full that is about what others bid. A block with room left
//! turned nobody away, so the least that is relayed was enough. A miner may lift the average of his own blocks at no
//! cost, by paying himself; so the middle one of several blocks counts, and a person is shown the rate before signing.

use lode_coins::Coin;
use lode_primitives::{Amount, Block, Height};

/// Blocks looked at: a few MB at the most, and two of three miners would have to lie together.
pub const BLOCKS: Height = 3;
/// A block this full, in percent of its greatest weight, may have turned transactions away.
const FULL_PERCENT: usize = 90;

/// The rate that blocks suggest, in satoshi per 1,000 virtual bytes; `floor` is the least that is relayed. A `patient`
/// payer gets the lowest block's rate, others the middle one's. `None` without blocks.
pub fn estimate<'a>(
    coin: &Coin,
    blocks: impl IntoIterator<Item = (Height, &'a Block)>,
    floor: u64,
    patient: bool,
) -> Option<u64> {
    let mut rates: Vec<u64> =
        blocks.into_iter().map(|(height, block)| rate(coin, height, block).unwrap_or(0).max(floor)).collect();
    rates.sort_unstable();
    let place = if patient { 0 } else { rates.len() / 2 };
    rates.get(place).copied()
}

/// The average rate of a full block; `None` where there was room left.
fn rate(coin: &Coin, height: Height, block: &Block) -> Option<u64> {
    if block.weight() * 100 < coin.max_block_weight * FULL_PERCENT {
        return None;
    }
    let (coinbase, others) = block.transactions.split_first()?;
    let paid = Amount::checked_sum(coinbase.outputs.iter().map(|output| output.value))?;
    let fees = paid.checked_sub(coin.subsidy(height, block.header.bits))?.to_sat();
    let vbytes = others.iter().map(lode_primitives::Transaction::weight).sum::<usize>().div_ceil(4);
    u64::try_from(fees).ok()?.checked_mul(1_000)?.checked_div(vbytes as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_chain::testing::{anyone, coinbase, spend};
    use lode_primitives::{OutPoint, Txid};

    /// A block of `vbytes` beside its coinbase, which pay `fees`.
    fn block(coin: &Coin, vbytes: usize, fees: i64) -> Block {
        let mut block = coin.genesis_block();
        block.transactions = vec![coinbase(coin, 1, block.header.bits, 0, Amount::from_sat(fees))];
        let outpoint = OutPoint { txid: Txid([1; 32]), vout: 0 };
        let mut filler = spend(&[outpoint], &[1]);
        filler.outputs[0].script_pubkey = anyone();
        let size = filler.weight() / 4;
        filler.inputs[0].script_sig = vec![0; vbytes - size - 4]; // four more for the script's length
        block.transactions.push(filler);
        assert_eq!(block.transactions[1].weight(), 4 * vbytes);
        block
    }

    #[test]
    fn full_blocks_tell_what_others_pay_and_the_middle_one_counts() {
        let coin = lode_coins::find("bitcoin", "regtest").unwrap();
        let full = |rate: i64| block(coin, 950_000, 950_000 * rate);
        let of =
            |blocks: &[Block], patient| estimate(coin, blocks.iter().map(|block| (1, block)), 1_000, patient);
        assert_eq!(of(&[], false), None);
        assert_eq!(of(&[full(12), full(30), full(9)], false), Some(12_000));
        assert_eq!(of(&[full(12), full(30), full(9)], true), Some(9_000));
        // One miner pays himself; another leaves room; a third gives his fees away.
        assert_eq!(of(&[full(12), full(5_000), full(14)], false), Some(14_000));
        assert_eq!(of(&[full(12), block(coin, 500_000, 500_000 * 80), full(14)], false), Some(12_000));
        assert_eq!(of(&[block(coin, 500_000, 500_000 * 80)], false), Some(1_000));
        let mut given_away = full(12);
        given_away.transactions[0].outputs[0].value = Amount::ZERO;
        assert_eq!(of(&[given_away], false), Some(1_000));
    }
}
