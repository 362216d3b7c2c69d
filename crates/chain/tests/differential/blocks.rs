//! Blocks on the tip that hold to the rules, and then one thing changed.

use lode_chain::testing;
use lode_primitives::{Amount, Block, MerkleNode, OutPoint, Transaction, TxOut, Witness};
use rand::Rng;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;

use super::coins::TestCoin;
use super::{Bench, mutate};

/// A block with two spends of coins, each maybe broken, and maybe something else broken too.
pub(crate) fn random_block(rng: &mut StdRng, bench: &Bench, a: &TestCoin, b: &TestCoin) -> Block {
    let chain = &bench.chain;
    let height = chain.height() + 1;
    let mut block = testing::block_on(chain, &chain.tip().hash(), rng.random_range(0..1_000));
    // Half of the blocks hold only what is surely valid, so that what is changed below is what counts.
    if rng.random_bool(0.5) {
        block.transactions.push(mutate::spend(rng, a, b, chain.height(), &bench.coinbases));
        if rng.random_ratio(1, 4) {
            block.transactions.push(mutate::spend(rng, b, a, chain.height(), &bench.coinbases));
        }
    } else {
        let free = bench.coinbases[bench.next_coinbase + 1];
        let first = testing::spend(&[free], &[10_000, 20_000]);
        let txid = first.txid();
        let second = testing::spend(&[OutPoint { txid, vout: 0 }, OutPoint { txid, vout: 1 }], &[29_000]);
        block.transactions.extend([first, second]);
    }
    if rng.random_bool(0.3) {
        testing::commit(chain.coin(), &mut block, height);
        testing::root(&mut block);
        return block;
    }
    change_transactions(rng, bench, &mut block);
    if rng.random_ratio(3, 4) {
        testing::commit(chain.coin(), &mut block, height);
    }
    change_coinbase(rng, &mut block);
    testing::root(&mut block);
    change_header(rng, bench, &mut block);
    block
}

fn change_transactions(rng: &mut StdRng, bench: &Bench, block: &mut Block) {
    let transactions = &mut block.transactions;
    match rng.random_range(0..24) {
        0 => transactions.reverse(),
        1 => transactions.swap(1, 2.min(1 + rng.random_range(0..1))),
        2 => transactions.extend(transactions.last().cloned()),
        3 => transactions.push(transactions[0].clone()),
        4 => {
            transactions.remove(0);
        }
        5 => transactions.clear(),
        6 => transactions[1].inputs[0].prevout.vout ^= 1,
        7 => {
            transactions[1].lock_time =
                *[bench.chain.height(), bench.chain.height() + 1, 1 << 31].choose(rng).unwrap();
        }
        8 => transactions[1].inputs[0].sequence = rng.random_range(0..4),
        9 => {
            // Around the bound of signature operations.
            let script_pubkey = vec![0xac; 19_999 - rng.random_range(0..3)];
            let output = |script_pubkey| TxOut { value: Amount::ZERO, script_pubkey };
            transactions[1]
                .outputs
                .extend([output(script_pubkey), output(vec![0xac; rng.random_range(0..4)])]);
        }
        10 => {
            // Around the bound of weight, without witnesses.
            let size = 1_000_000 - block.base_size();
            let script_pubkey = vec![0x6a; size - 13 - rng.random_range(0..4)];
            block.transactions[1].outputs.push(TxOut { value: Amount::ZERO, script_pubkey });
        }
        11 => {
            let last = transactions.len() - 1;
            transactions.swap(1, last);
        }
        12 => {
            let twice = transactions[1].inputs[0].prevout;
            transactions.push(testing::spend(&[twice], &[1]));
        }
        13 => {
            let early = *bench.coinbases.last().unwrap();
            transactions.push(testing::spend(&[early], &[1]));
        }
        14 => {
            let edge = bench.coinbases[bench.coinbases.len() - rng.random_range(90..105)];
            transactions.push(testing::spend(&[edge], &[1]));
        }
        15 => transactions[1].inputs[0].witness = Witness(vec![vec![1]]),
        _ => {}
    }
}

fn change_coinbase(rng: &mut StdRng, block: &mut Block) {
    let Some(coinbase) = block.transactions.first_mut() else { return };
    let change: u32 = rng.random_range(0..24);
    if !coinbase.is_coinbase() || coinbase.outputs.is_empty() {
        return;
    }
    match change {
        0 => {
            coinbase.outputs[0].value =
                Amount::from_sat(coinbase.outputs[0].value.to_sat() + rng.random_range(0..30_000));
        }
        1 => coinbase.inputs[0].script_sig[1] ^= 1,
        2 => coinbase.inputs[0].script_sig.truncate(rng.random_range(0..6)),
        3 => coinbase.inputs[0].script_sig.resize(rng.random_range(98..103), 0),
        4 => coinbase.inputs[0].witness = Witness(vec![vec![0; rng.random_range(31..34)]]),
        5 => coinbase.inputs[0].witness = Witness::default(),
        6 => coinbase.inputs[0].witness.0.push(vec![]),
        7 => {
            let last = coinbase.outputs.len() - 1;
            let script = &mut coinbase.outputs[last].script_pubkey;
            let bit = rng.random_range(0..script.len() * 8);
            script[bit / 8] ^= 1 << (bit % 8);
        }
        8 => coinbase.outputs.extend(coinbase.outputs.last().cloned()),
        9 => {
            let script_pubkey = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed][..], &[9; 32]].concat();
            coinbase.outputs.push(TxOut { value: Amount::ZERO, script_pubkey });
        }
        10 => coinbase.inputs[0].prevout.vout = 0,
        11 => coinbase.outputs.clear(),
        12 => coinbase.lock_time = *[1, 250, u32::MAX].choose(rng).unwrap(),
        13 => {
            coinbase.lock_time = u32::MAX;
            coinbase.inputs[0].sequence = 0;
        }
        14 => coinbase.outputs[0].value = Amount::from_sat(-1),
        15 => coinbase.inputs.extend(coinbase.inputs.first().cloned()),
        _ => {}
    }
}

fn change_header(rng: &mut StdRng, bench: &Bench, block: &mut Block) {
    let header = &mut block.header;
    let change: u32 = rng.random_range(0..24);
    match change {
        0 => header.version = rng.random_range(-1..6),
        1 => header.bits = *[0x207f_fffe, 0x1d00_ffff, 0, 0x2080_0000, 0xff00_0001].choose(rng).unwrap(),
        2 => header.time = bench.chain.least_time() - rng.random_range(0..3),
        3 => header.merkle_root = MerkleNode([7; 32]),
        4 => header.prev = bench.chain.entry_at(rng.random_range(0..bench.chain.height())).unwrap().hash(),
        5 => header.prev.0[0] ^= 1,
        6 => {
            // Transactions repeated so that the root stays the same (CVE-2012-2459).
            let count = block.transactions.len();
            if count % 2 == 1 && count > 1 {
                let last = block.transactions[count - 1].clone();
                block.transactions.push(last);
            }
        }
        7 => {
            // A witness changed after the commitment was made.
            if let Some(witness) = last_witness(block) {
                witness.0.push(vec![1]);
            }
        }
        _ => {}
    }
}

fn last_witness(block: &mut Block) -> Option<&mut Witness> {
    let transaction: &mut Transaction = block.transactions.iter_mut().skip(1).last()?;
    transaction.inputs.first_mut().map(|input| &mut input.witness).filter(|witness| !witness.is_empty())
}
