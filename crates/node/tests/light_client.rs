//! A light client that no one here wrote (the crate `bip157`) syncs from a node with filters: it takes every header and
//! filter, finds every block with a payment, and fetches those.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use bip157::chain::checkpoints::HashCheckpoint;
use bip157::{Builder, ChainState, Client, Event, Network, ScriptBuf, TrustedPeer};
use common::TestNode;
use lode_chain::testing::{block_with, payments};
use lode_chain::{Chain, ChainOptions};
use serde_json::json;

/// How long anything may take until it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn another_light_client_finds_every_payment() {
    // A chain with payments between outputs of every kind, and what a scan of all its blocks finds of each script.
    let dir = tempfile::tempdir().unwrap();
    let coin = lode_coins::find("bitcoin", "regtest").unwrap();
    let mut chain = Chain::open(ChainOptions::new(coin, dir.path())).unwrap();
    let mut owned = payments::fan_out(&mut chain, 120);
    for round in 0..20 {
        let transactions = payments::payments(&mut owned, 4);
        let parent = chain.tip().hash();
        let block = block_with(&chain, &parent, round, transactions);
        let now = block.header.time;
        chain.accept_block(block, now).unwrap();
    }
    let node = TestNode::start_in(tempfile::tempdir().unwrap(), |options| options.filters = true).await;
    let scripts: BTreeSet<Vec<u8>> = (0..payments::KINDS).map(payments::script).collect();
    let mut wanted = BTreeSet::new();
    for height in 1..=chain.height() {
        let hash = chain.entry_at(height).unwrap().hash();
        let block = chain.block(&hash).unwrap().unwrap();
        let spent = chain.spent_outputs(&hash).unwrap().unwrap();
        let pays = lode_primitives::filter::made(&block).any(|script| scripts.contains(script));
        let spends = spent.iter().flatten().any(|utxo| scripts.contains(&utxo.output.script_pubkey));
        if pays || spends {
            wanted.insert((height, hash.to_string()));
        }
        node.handle.submit_block(block).await;
    }
    let tip = node.handle.tip();
    let complete = async {
        while node.call("getindexinfo", json!([])).await["basic block filter index"]["synced"] != true {
            tokio::time::sleep(Duration::from_millis(20)).await; // bitcoind's own way: nobody is told
        }
    };
    tokio::time::timeout(PATIENCE, complete).await.expect("all filters are made");

    let (other, client) = Builder::new(Network::Regtest)
        .chain_state(ChainState::Checkpoint(HashCheckpoint::from_genesis(Network::Regtest)))
        .add_peer(TrustedPeer::from_socket_addr(node.handle.p2p_addresses()[0]))
        .whitelist_only()
        .required_peers(1)
        .build();
    let running = tokio::spawn(async move { other.run().await });
    let Client { requester, mut event_rx, .. } = client;
    let theirs: Vec<ScriptBuf> = scripts.iter().map(|script| ScriptBuf::from(script.clone())).collect();
    let mut found = BTreeSet::new();
    let mut filters = 0;
    let synced = async {
        loop {
            match event_rx.recv().await.expect("the light client goes on") {
                Event::IndexedFilter(filter) => {
                    filters += 1;
                    if filter.contains_any(theirs.iter()) {
                        let block = requester.get_block(filter.block_hash()).await.expect("a block");
                        found.insert((block.height, block.block.block_hash().to_string()));
                    }
                }
                Event::FiltersSynced(update) => return update.tip(),
                Event::ChainUpdate(_) => {}
            }
        }
    };
    let reached = tokio::time::timeout(PATIENCE, synced).await.expect("the light client syncs");
    assert_eq!((reached.height, reached.hash.to_string()), (tip.height, tip.hash.to_string()));
    assert_eq!(filters, tip.height);
    assert_eq!(found, wanted);
    requester.shutdown().unwrap();
    let _ = running.await;
    node.handle.shutdown().await;
}
