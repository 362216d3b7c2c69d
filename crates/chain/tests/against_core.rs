//! The same blocks given to Lode and to Bitcoin Core, a reorganisation sixty deep among them, end in the same outputs.
//! Needs `LODE_BITCOIND`.
#![allow(clippy::unwrap_used)]

use lode_chain::testing::{block_on, payments, seal};
use lode_chain::{Chain, ChainOptions, SetHash};
use lode_primitives::{Block, Encode, OutPoint, Transaction};
use lode_testkit::{Daemon, Peer, peer};
use serde_json::{Value, json};

fn open(dir: &std::path::Path) -> Chain {
    Chain::open(ChainOptions::new(lode_coins::find("bitcoin", "regtest").unwrap(), dir)).unwrap()
}

/// `gettxoutsetinfo` of both, both hashes, equal to the last figure.
fn compare(chain: &mut Chain, core: &Daemon) {
    let set = chain.output_set().unwrap();
    for (kind, name) in [(SetHash::Serialized, "hash_serialized_3"), (SetHash::MuHash, "muhash")] {
        let ours = set.info(kind).unwrap();
        let theirs = core.rpc("gettxoutsetinfo", json!([name]));
        assert_eq!(theirs["bestblock"], ours.hash.to_string());
        assert_eq!(theirs[name], ours.set_hash.unwrap().to_string(), "{name} at {}", ours.height);
        assert_eq!(theirs["height"], ours.height);
        assert_eq!(theirs["txouts"], ours.outputs);
        assert_eq!(theirs["bogosize"], ours.bogo_bytes);
        assert_eq!(theirs["total_amount"].to_string(), ours.total.to_string());
        if let Some(transactions) = theirs.get("transactions") {
            assert_eq!(*transactions, ours.transactions);
        }
    }
}

fn give(core: &Daemon, block: &Block, wanted: Value) {
    let answer = core.rpc("submitblock", json!([hex::encode(block.to_bytes())]));
    assert_eq!(answer, wanted, "{}", block.hash());
}

/// Adds a block with `transactions` on `parent` and gives its id.
fn add(
    chain: &mut Chain,
    core: &Daemon,
    parent: lode_primitives::BlockHash,
    tag: u32,
    transactions: Vec<Transaction>,
) -> lode_primitives::BlockHash {
    let mut block = block_on(chain, &parent, tag);
    block.transactions.extend(transactions);
    let height = chain.entry(&parent).unwrap().height() + 1;
    seal(chain.coin(), &mut block, height);
    let (now, hash) = (block.header.time, block.hash());
    chain.accept_block(block.clone(), now).unwrap();
    let in_chain = chain.is_in_best_chain(&hash);
    give(core, &block, if in_chain { Value::Null } else { json!("inconclusive") });
    hash
}

#[test]
fn the_outputs_are_the_same() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let core = Daemon::start(&path, "regtest", &["-checkblockindex=0"]);
    let dir = tempfile::tempdir().unwrap();
    let mut chain = open(dir.path());
    for block in payments::signed_chain(&mut chain, lode_testkit::rounds(3, 30), 200) {
        give(&core, &block, Value::Null);
    }
    compare(&mut chain, &core);

    // Every output of the last full block, spent in both branches, otherwise.
    let tip = chain.block(&chain.tip().hash()).unwrap().unwrap();
    let mut owned: Vec<payments::Owned> = tip.transactions[1..].iter().flat_map(payments::outputs).collect();
    owned.truncate(120);
    let fork = chain.tip().hash();
    let mut tips = Vec::new();
    for (side, length) in [(1, 60), (2, 61)] {
        let mut parent = fork;
        for i in 0..length {
            let spent = owned.get(2 * i..2 * i + 2).unwrap_or_default();
            let transactions =
                if spent.is_empty() { vec![] } else { vec![payments::pay(spent, side + 1, i + side)] };
            parent = add(&mut chain, &core, parent, side as u32, transactions);
        }
        tips.push(parent);
        assert_eq!(chain.tip().hash(), parent);
        compare(&mut chain, &core);
    }
    chain.invalidate_block(&tips[1]).unwrap();
    core.rpc("invalidateblock", json!([tips[1].to_string()]));
    assert_eq!(core.rpc("getbestblockhash", json!([])), chain.tip().hash().to_string());
    compare(&mut chain, &core);
    chain.reconsider_block(&tips[1]).unwrap();
    core.rpc("reconsiderblock", json!([tips[1].to_string()]));
    assert_eq!(chain.tip().hash(), tips[1]);
    compare(&mut chain, &core);
    let spent = OutPoint { txid: tip.transactions[1].txid(), vout: 0 };
    assert!(!chain.has_utxo(&spent).unwrap());
}
