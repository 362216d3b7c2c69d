//! A stranger's transactions in a block that proves its work: put to a chain with coins to spend. It must be refused or
//! connected, and after it is taken back the outputs must be what they were.
#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use lode_chain::testing::{block_on, grow, root};
use lode_chain::{Chain, ChainOptions};
use lode_primitives::{Amount, Decode, OutPoint, Reader, Transaction};

struct World {
    chain: Chain,
    coins: Vec<OutPoint>,
    _dir: tempfile::TempDir,
}

thread_local! {
    static WORLD: RefCell<World> = RefCell::new({
        let dir = tempfile::tempdir().expect("a temporary directory");
        let coin = lode_coins::find("bitcoin", "regtest").expect("in the table");
        let mut chain = Chain::open(ChainOptions::new(coin, dir.path())).expect("an empty directory");
        let coins = grow(&mut chain, 110, 0);
        World { chain, coins, _dir: dir }
    });
}

fuzz_target!(|data: &[u8]| {
    WORLD.with_borrow_mut(|world| {
        let tip = world.chain.tip().hash();
        let mut block = block_on(&world.chain, &tip, 1);
        let mut reader = Reader::new(data);
        while let Ok(mut tx) = Transaction::decode(&mut reader, world.chain.coin().form) {
            // Outpoints that name no transaction are turned into coins that are there, or into the one before.
            for input in &mut tx.inputs {
                let pick = input.prevout.txid.0[0];
                if pick < 16 {
                    input.prevout = world.coins[usize::from(pick) % world.coins.len()];
                } else if pick < 32 {
                    input.prevout.txid = block.transactions[block.transactions.len() - 1].txid();
                }
            }
            block.transactions.push(tx);
        }
        root(&mut block);
        let now = block.header.time;
        let _ = world.chain.test_block_validity(block, now);
        for coin in &world.coins {
            let utxo = world.chain.utxo(coin).expect("readable").expect("unspent as before");
            assert_eq!(utxo.output.value, Amount::from_coins(50));
        }
    });
});
