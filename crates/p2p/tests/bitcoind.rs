//! Against a real `bitcoind`: handshake, encryption and the fall-back, sync both ways, relay, compact blocks; and
//! against `litecoind`, another coin and an older program.

mod common;

use std::sync::Arc;

use common::TestChain;
use common::node::{node, until};
use lode_p2p::{Verdict, View};
use lode_primitives::{Amount, Decode, Encode, OutPoint, Transaction, TxIn, TxOut};
use lode_testkit::{Daemon, Peer, peer};
use serde_json::json;

const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

fn bitcoind(more: &[&str]) -> Option<Daemon> {
    Some(Daemon::start(&peer(Peer::Bitcoind)?, "regtest", more))
}

#[tokio::test(flavor = "multi_thread")]
async fn syncs_from_core_encrypted() {
    let Some(core) = bitcoind(&[]) else { return };
    core.rpc("generatetoaddress", json!([2_500, ADDRESS]));
    let chain = TestChain::new(common::regtest());
    let started = std::time::Instant::now();
    let node = node(&chain, |options| options.connect = vec![core.p2p.to_string()]).await;
    node.reaches(2_500).await;
    println!("2,500 blocks in {:?}", started.elapsed());
    assert_eq!(json!(chain.tip().hash.to_string()), core.rpc("getbestblockhash", json!([])));
    let peer = node.only_peer().await;
    assert!(peer.encrypted && peer.user_agent.contains("Satoshi"), "{peer:?}");
    let seen = core.rpc("getpeerinfo", json!([]));
    assert_eq!(seen[0]["transport_protocol_type"], "v2");
    assert!(seen[0]["subver"].as_str().unwrap().starts_with("/Lode:"));
    assert_eq!(seen[0]["session_id"], json!(hex::encode(peer.session_id.unwrap())));
    // And a block found there comes here at once.
    core.rpc("generatetoaddress", json!([1, ADDRESS]));
    node.reaches(2_501).await;
    node.p2p.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn falls_back_to_plain_with_a_peer_that_knows_no_better() {
    let Some(core) = bitcoind(&["-v2transport=0"]) else { return };
    core.rpc("generatetoaddress", json!([10, ADDRESS]));
    let chain = TestChain::new(common::regtest());
    let node = node(&chain, |options| options.connect = vec![core.p2p.to_string()]).await;
    node.reaches(10).await;
    assert!(!node.only_peer().await.encrypted);
    node.p2p.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn core_syncs_from_us_plain_and_encrypted() {
    for v2 in ["-v2transport=0", "-v2transport=1"] {
        let Some(core) = bitcoind(&[v2]) else { return };
        let chain = TestChain::new(common::regtest());
        chain.mine(None, 3_000, b"");
        let node = node(&chain, |_| {}).await;
        core.rpc("addnode", json!([node.address().to_string(), "onetry"]));
        let tip = chain.tip().hash.to_string();
        until("core to have our chain", async || {
            (core.rpc("getbestblockhash", json!([])) == json!(tip)).then_some(())
        })
        .await;
        assert_eq!(node.only_peer().await.encrypted, v2 == "-v2transport=1");
        // One more, announced.
        let block = chain.mine(None, 1, b"next").remove(0);
        node.p2p.tip_changed(Some(Arc::clone(&block)));
        until("core to have the next block", async || {
            (core.rpc("getbestblockhash", json!([])) == json!(block.hash().to_string())).then_some(())
        })
        .await;
        node.p2p.stop().await;
    }
}

/// A transaction that spends a block's coinbase, which anybody may, into a witness script.
fn spend_coinbase(chain: &TestChain, height: u32) -> Transaction {
    let hash = chain.ancestor(&chain.tip().hash, height).unwrap();
    let coinbase = chain.block(&hash).unwrap().transactions[0].clone();
    let output = TxOut {
        value: Amount::from_sat(coinbase.outputs[0].value.to_sat() - 10_000),
        script_pubkey: [vec![0x00, 0x14], vec![7; 20]].concat(),
    };
    Transaction::new(vec![TxIn::spending(OutPoint { txid: coinbase.txid(), vout: 0 })], vec![output])
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_and_compact_blocks_go_both_ways() {
    // Coinbases here pay to OP_TRUE, which is no standard output to spend from.
    let Some(core) = bitcoind(&["-acceptnonstdtxn=1"]) else { return };
    let chain = TestChain::new(common::regtest());
    chain.mine(None, 120, b"");
    let node = node(&chain, |_| {}).await;
    core.rpc("addnode", json!([node.address().to_string(), "onetry"]));
    let tip = chain.tip().hash.to_string();
    until("core to have our chain", async || {
        (core.rpc("getbestblockhash", json!([])) == json!(tip)).then_some(())
    })
    .await;
    // Core leaves its initial sync only with a recent block.
    core.rpc("generatetoaddress", json!([1, ADDRESS]));
    node.reaches(121).await;

    // Ours to Core.
    let ours = spend_coinbase(&chain, 1);
    let (wtxid, txid) = chain.add_transaction(ours);
    node.p2p.relay_transaction(wtxid, txid, 10_000);
    until("our transaction in core's mempool", async || {
        (core.rpc("getrawmempool", json!([])) == json!([txid.to_string()])).then_some(())
    })
    .await;
    // Core's to us.
    let theirs = spend_coinbase(&chain, 2);
    let theirs_id = theirs.wtxid();
    core.rpc("sendrawtransaction", json!([hex::encode(theirs.to_bytes())]));
    until("core's transaction in our mempool", async || {
        chain.has_transaction(&lode_p2p::TxRef::Wtxid(theirs_id)).then_some(())
    })
    .await;
    // Core's block with both comes as a compact block and is put together from the mempool. The first makes us ask
    // for the next ones at once.
    for height in [122, 123] {
        core.rpc("generatetoaddress", json!([1, ADDRESS]));
        node.reaches(height).await;
    }
    assert!(node.only_peer().await.high_bandwidth_to);
    let peer = core.rpc("getpeerinfo", json!([]))[0].clone();
    assert_eq!(peer["bip152_hb_from"], true, "{peer}");
    let received = &peer["bytesrecv_per_msg"];
    let sent = &peer["bytessent_per_msg"];
    assert!(sent["cmpctblock"].as_u64().is_some_and(|bytes| bytes > 0), "{sent} {received}");

    // Our block with a transaction that Core does not have: it asks for what is missing.
    let secret = spend_coinbase(&chain, 3);
    let block = chain.make_block(chain.tip().hash, b"ours", vec![secret]);
    assert_eq!(chain.accept_block(&block), Verdict::Accepted);
    node.p2p.tip_changed(Some(Arc::clone(&block)));
    until("core to have our block", async || {
        (core.rpc("getbestblockhash", json!([])) == json!(block.hash().to_string())).then_some(())
    })
    .await;
    node.p2p.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn follows_reorganisations_shallow_and_deep() {
    let Some(core) = bitcoind(&[]) else { return };
    core.rpc("generatetoaddress", json!([600, ADDRESS]));
    let chain = TestChain::new(common::regtest());
    let node = node(&chain, |options| options.connect = vec![core.p2p.to_string()]).await;
    node.reaches(600).await;
    // The deep one starts with so little work that its first headers are not worth storing.
    for (fork, count, script) in [(541, 70, "raw(51)"), (201, 450, "raw(52)")] {
        let hash = core.rpc("getblockhash", json!([fork]));
        core.rpc("invalidateblock", json!([hash]));
        core.rpc("generatetodescriptor", json!([count, script]));
        node.reaches(fork + count - 1).await;
        assert_eq!(json!(chain.tip().hash.to_string()), core.rpc("getbestblockhash", json!([])));
    }
    node.p2p.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_core_serves_decodes_to_what_it_stored() {
    let Some(core) = bitcoind(&[]) else { return };
    core.rpc("generatetoaddress", json!([3, ADDRESS]));
    let chain = TestChain::new(common::regtest());
    let node = node(&chain, |options| options.connect = vec![core.p2p.to_string()]).await;
    node.reaches(3).await;
    let tip = chain.tip().hash;
    let hex = core.rpc("getblock", json!([tip.to_string(), 0]));
    let bytes = hex::decode(hex.as_str().unwrap()).unwrap();
    assert_eq!(chain.block_bytes(&tip).unwrap(), bytes);
    assert!(lode_primitives::Block::from_bytes(&bytes, chain.coin.form).is_ok());
    node.p2p.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn litecoin_is_but_another_value() {
    let Some(program) = peer(Peer::Litecoind) else { return };
    let daemon = Daemon::start(&program, "regtest", &[]);
    let script = "rltc1qw508d6qejxtdg4y5r3zarvary0c5xw7k693xs3";
    daemon.rpc("generatetoaddress", json!([300, script]));
    let chain = TestChain::new(lode_coins::find("litecoin", "regtest").unwrap());
    let node = node(&chain, |options| options.connect = vec![daemon.p2p.to_string()]).await;
    node.reaches(300).await;
    assert!(!node.only_peer().await.encrypted, "it knows no encryption");
    daemon.rpc("generatetoaddress", json!([1, script]));
    node.reaches(301).await;
    assert_eq!(json!(chain.tip().hash.to_string()), daemon.rpc("getbestblockhash", json!([])));
    node.p2p.stop().await;
}
