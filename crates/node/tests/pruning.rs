//! Pruning, by hand and to a size, beside a `bitcoind` that does the same with the same chain.

mod common;

use std::time::Duration;

use common::TestNode;
use lode_chain::testing::{block_on, seal};
use lode_chain::{Chain, ChainOptions};
use lode_primitives::{Amount, Encode, TxOut};
use lode_testkit::{Daemon, Peer, peer};
use serde_json::{Value, json};

/// How long anything may take until it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(120);
/// Bytes of data in each block.
const FILLER: usize = 20_000;
/// Bytes of a block file, Lode's and the peer's with `-fastprune`.
const FILE_BYTES: u64 = 65_536;
const BLOCKS: u32 = 900;

/// Blocks of [`FILLER`] bytes each.
fn blocks() -> Vec<Vec<u8>> {
    let dir = tempfile::tempdir().unwrap();
    let coin = lode_coins::find("bitcoin", "regtest").unwrap();
    let mut chain = Chain::open(ChainOptions::new(coin, dir.path())).unwrap();
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as u32;
    let grown = (1..=BLOCKS).map(|height| {
        let mut block = block_on(&chain, &chain.tip().hash(), height);
        block.header.time = now - 7_200 + height;
        let filler = TxOut { value: Amount::ZERO, script_pubkey: vec![0x6a; FILLER] };
        block.transactions[0].outputs.push(filler);
        seal(coin, &mut block, height);
        let bytes = block.to_bytes();
        chain.accept_block(block, now).unwrap();
        bytes
    });
    grown.collect()
}

fn ask(core: &Daemon, method: &str, params: Value) -> Value {
    tokio::task::block_in_place(|| core.rpc(method, params))
}

async fn pruned_node(core: &Daemon, mib: u64) -> TestNode {
    let address = core.p2p.to_string();
    TestNode::start_in(tempfile::tempdir().unwrap(), |options| {
        options.connect = vec![address];
        options.prune_mib = Some(mib);
        options.block_file_bytes = Some(FILE_BYTES);
    })
    .await
}

async fn wait_for(node: &TestNode, tip: &str) {
    let mut tips = node.handle.subscribe();
    let reached = tokio::time::timeout(PATIENCE, tips.wait_for(|at| at.hash.to_string() == tip)).await;
    assert!(reached.is_ok(), "stayed at {:?}", node.handle.tip());
}

/// Height from which on a node says it has its blocks; that it is so; and the code for those below.
async fn check_height(node: &TestNode) -> u64 {
    let info = node.call("getblockchaininfo", json!([])).await;
    let height = info["pruneheight"].as_u64().unwrap();
    let hash = async |height: u64| node.call("getblockhash", json!([height])).await;
    node.call("getblock", json!([hash(height).await, 0])).await;
    if height > 0 {
        let (code, message) = node.error("getblock", json!([hash(height - 1).await, 0])).await;
        assert_eq!((code, message.as_str()), (-1, "Block not available (pruned data)"));
    }
    height
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_go_as_they_do_in_bitcoind() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let blocks = tokio::task::spawn_blocking(blocks).await.unwrap();
    let start = |more: &[&str]| tokio::task::block_in_place(|| Daemon::start(&path, "regtest", more));
    let source = start(&["-checkblockindex=0"]);
    let core = start(&["-prune=1", "-fastprune", "-txindex=0", "-checkblockindex=0"]);
    for block in &blocks {
        for peer in [&source, &core] {
            ask(peer, "submitblock", json!([hex::encode(block)]));
        }
    }
    let tip = ask(&source, "getbestblockhash", json!([]));
    let tip = tip.as_str().unwrap();

    // By hand.
    let node = pruned_node(&source, 1).await;
    wait_for(&node, tip).await;
    let info =
        |info: &Value| ["pruned", "automatic_pruning", "prune_target_size"].map(|name| info[name].clone());
    let (own, theirs) =
        (node.call("getblockchaininfo", json!([])).await, ask(&core, "getblockchaininfo", json!([])));
    assert_eq!(info(&own), info(&theirs));
    assert_eq!((own["pruneheight"].clone(), theirs["pruneheight"].clone()), (json!(0), json!(0)));
    for asked in [json!(100), json!(50), json!(BLOCKS), json!(BLOCKS - 300)] {
        let own = node.call("pruneblockchain", json!([asked])).await.as_i64().unwrap();
        let theirs = ask(&core, "pruneblockchain", json!([asked])).as_i64().unwrap();
        // Files hold three blocks, and end where they end.
        assert!((own - theirs).abs() <= 3, "asked for {asked}: {own} here, {theirs} there");
        let theirs = ask(&core, "getblockchaininfo", json!([]))["pruneheight"].as_u64().unwrap();
        assert!(check_height(&node).await.abs_diff(theirs) <= 3);
        assert_eq!(check_height(&node).await as i64, own + 1);
    }
    for wrong in [json!(-1), json!(BLOCKS + 1), json!(2_000_000_000)] {
        let (code, message) = node.error("pruneblockchain", json!([wrong])).await;
        let theirs =
            tokio::task::block_in_place(|| core.try_rpc("pruneblockchain", json!([wrong]))).unwrap_err();
        assert_eq!((i64::from(code), message), (theirs.code, theirs.message));
    }
    node.handle.shutdown().await;

    // To a size, while syncing: 18 MB of blocks come by, no more than about 8 stay. The last 288 always do.
    let node = pruned_node(&source, 8).await;
    wait_for(&node, tip).await;
    let height = check_height(&node).await;
    assert!((400..=u64::from(BLOCKS) - 288).contains(&height), "{height}");
    let dir = node.handle.directory().join("blocks");
    let size: u64 = std::fs::read_dir(dir).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(size < (8 << 20) + 3 * FILE_BYTES, "{size}");
    let outputs = |info: Value| info["hash_serialized_3"].clone();
    assert_eq!(
        outputs(node.call("gettxoutsetinfo", json!([])).await),
        outputs(ask(&core, "gettxoutsetinfo", json!([])))
    );
    // What it still has it passes on: a peer that was behind by no more than that catches up.
    let behind = start(&["-checkblockindex=0"]);
    for block in &blocks[..700] {
        ask(&behind, "submitblock", json!([hex::encode(block)]));
    }
    ask(&behind, "addnode", json!([node.handle.p2p_addresses()[0].to_string(), "add"]));
    let began = std::time::Instant::now();
    while ask(&behind, "waitforblock", json!([tip, 1_000]))["hash"] != tip {
        assert!(began.elapsed() < PATIENCE, "a peer of a pruned node stayed behind");
    }
    node.handle.shutdown().await;
}
