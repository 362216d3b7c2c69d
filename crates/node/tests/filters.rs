//! Compact filters: made on a chain that is there already, equal to bitcoind's over every kind of output, followed
//! through a reorganisation, served within bounds, and right after any kill.

mod common;

use std::time::Duration;

use common::TestNode;
use lode_chain::testing::{block_with, payments};
use lode_chain::{Chain, ChainOptions};
use lode_p2p::message::Services;
use lode_p2p::{Event, HeaderInfo, Message, Options, Question, TxRef, Verdict, View};
use lode_primitives::{Block, BlockHash, Encode, Header, Height, Transaction, Wtxid};
use lode_testkit::{Daemon, Peer, peer};
use serde_json::{Value, json};

/// How long anything may take until it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(60);

/// A chain with payments between outputs of every kind, from height 1 on.
fn every_output(rounds: u32) -> Vec<Block> {
    let dir = tempfile::tempdir().unwrap();
    let coin = lode_coins::find("bitcoin", "regtest").unwrap();
    let mut chain = Chain::open(ChainOptions::new(coin, dir.path())).unwrap();
    let mut owned = payments::fan_out(&mut chain, 120);
    for round in 0..rounds {
        let transactions = payments::payments(&mut owned, 4);
        let parent = chain.tip().hash();
        let block = block_with(&chain, &parent, round, transactions);
        let now = block.header.time;
        chain.accept_block(block, now).unwrap();
    }
    let hash = |height| chain.entry_at(height).unwrap().hash();
    (1..=chain.height()).map(|height| chain.block(&hash(height)).unwrap().unwrap()).collect()
}

/// Waits until the node says that its filters reach the tip.
async fn indexed(node: &TestNode) {
    let all = async {
        loop {
            let info = node.call("getindexinfo", json!([])).await;
            let index = &info["basic block filter index"];
            if index["synced"] == true && index["best_block_height"] == node.handle.tip().height {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await; // bitcoind's own way: nobody is told
        }
    };
    tokio::time::timeout(PATIENCE, all).await.expect("filters up to the tip");
}

/// Every block's filter and filter header is the one that bitcoind has.
async fn compare(node: &TestNode, core: &Daemon) {
    let height = node.handle.tip().height;
    assert_eq!(core.rpc("getblockcount", json!([])), height);
    for height in 0..=height {
        let hash = node.call("getblockhash", json!([height])).await;
        let ours = node.call("getblockfilter", json!([hash])).await;
        let theirs = loop {
            match core.try_rpc("getblockfilter", json!([hash, "basic"])) {
                Ok(filter) => break filter,
                Err(error) => assert!(error.message.contains("in the process of being indexed"), "{error:?}"),
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        assert_eq!(ours, theirs, "height {height}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_bitcoinds_over_every_kind_of_output() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let core = Daemon::start(&path, "regtest", &["-blockfilterindex", "-maxtipage=999999999"]);
    let blocks = every_output(60);
    // First without filters, then with: they are made for what is there already.
    let node = TestNode::start().await;
    for block in &blocks {
        assert_eq!(core.rpc("submitblock", json!([hex::encode(block.to_bytes())])), Value::Null);
        node.handle.submit_block(block.clone()).await;
    }
    let refused = node.error("getblockfilter", json!([blocks[0].hash().to_string()])).await;
    assert_eq!(refused, (-1, "Index is not enabled for filtertype basic".to_owned()));
    assert_eq!(node.call("getindexinfo", json!([])).await, json!({}));
    let TestNode { handle, dir, .. } = node;
    handle.shutdown().await;
    drop(handle); // the directory is its own as long as it lives
    let node = TestNode::start_in(dir, |options| options.filters = true).await;
    indexed(&node).await;
    compare(&node, &core).await;
    compare_searches(&node, &core).await;

    // A reorganisation on both, and new blocks on top.
    let fork = node.call("getblockhash", json!([blocks.len() - 7])).await;
    for rpc in [true, false] {
        let method = "invalidateblock";
        if rpc {
            core.rpc(method, json!([fork]))
        } else {
            node.call(method, json!([fork])).await
        };
    }
    for _ in 0..10 {
        let made = node.generate(1).await;
        let block = node.call("getblock", json!([made[0], 0])).await;
        assert_eq!(core.rpc("submitblock", json!([block])), Value::Null);
    }
    indexed(&node).await;
    compare(&node, &core).await;
    compare_searches(&node, &core).await;
    node.handle.shutdown().await;
}

/// `scanblocks` answers as bitcoind's, for every script there is by itself and for all together, and refuses what that
/// refuses.
async fn compare_searches(node: &TestNode, core: &Daemon) {
    let tip = node.handle.tip().height;
    let raw = |kind: usize| format!("raw({})", hex::encode(payments::script(kind)));
    let all: Vec<String> = (0..payments::KINDS).map(raw).collect();
    let mut orders: Vec<Value> = all.iter().map(|one| json!(["start", [one]])).collect();
    orders.extend([
        json!(["start", all]),
        json!(["start", [{ "desc": all[0] }, "addr(bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080)"]]),
        json!(["start", all, 20]),
        json!(["start", all, 20, tip - 5]),
        json!(["start", all, tip, tip, "basic"]),
        json!(["start", all, 0, tip, "basic", { "filter_false_positives": true }]),
        json!(["start", []]),
        json!(["start", ["raw(51)"], 3, 3]),
        json!(["status"]),
        json!(["abort"]),
    ]);
    let mut named = 0;
    for order in orders {
        let ours = node.call("scanblocks", order.clone()).await;
        assert_eq!(ours, core.rpc("scanblocks", order.clone()), "{order}");
        named += ours["relevant_blocks"].as_array().map_or(0, Vec::len);
    }
    assert!(named > 100, "{named} blocks with payments");
    for order in [
        json!(["start", all, tip + 1]),
        json!(["start", all, -1]),
        json!(["start", all, 5, 4]),
        json!(["start", all, 0, tip + 1]),
        json!(["start", all, 0, tip, "other"]),
        json!(["begin", all]),
    ] {
        let theirs = core.try_rpc("scanblocks", order.clone()).unwrap_err();
        assert_eq!(node.error("scanblocks", order).await, (theirs.code as i32, theirs.message));
    }
    for (order, code) in [
        (json!(["start"]), -3),
        (json!(["start", ["raw(zz)"]]), -5),
        (json!(["start", [], 0, tip, "basic", { "filter_false_positives": 1 }]), -3),
    ] {
        assert_eq!(core.try_rpc("scanblocks", order.clone()).unwrap_err().code, code, "{order}");
        assert_eq!(i64::from(node.error("scanblocks", order).await.0), code);
    }
}

/// A search that is under way is told of, is the only one, and can be ended.
#[tokio::test(flavor = "multi_thread")]
async fn a_search_can_be_watched_and_ended() {
    let node = TestNode::start_in(tempfile::tempdir().unwrap(), |options| options.filters = true).await;
    node.generate(200).await;
    indexed(&node).await;
    // Enough to look for that it takes a while.
    let many: Vec<String> = (0..100_000u32).map(|n| format!("raw({n:08x})")).collect();
    let search = node.call("scanblocks", json!(["start", many]));
    let watch = async {
        let status = loop {
            let status = node.call("scanblocks", json!(["status"])).await;
            if !status.is_null() {
                break status;
            }
        };
        assert!(status["progress"].as_u64().unwrap() <= 100, "{status}");
        assert!(status["current_height"].as_u64().unwrap() <= 200, "{status}");
        let refused = node.error("scanblocks", json!(["start", []])).await;
        let why = "Scan already in progress, use action \"abort\" or \"status\"";
        assert_eq!(refused, (-8, why.to_owned()));
        assert_eq!(node.call("scanblocks", json!(["abort"])).await, true);
    };
    let both = async { tokio::join!(search, watch) };
    let (ended, ()) = tokio::time::timeout(PATIENCE, both).await.expect("it ends");
    assert_eq!(ended["completed"], false);
    assert!(ended["to_height"].as_u64().unwrap() < 200, "{ended}");
    assert_eq!(node.call("scanblocks", json!(["status"])).await, Value::Null);
    // The next one is whole.
    let whole = node.call("scanblocks", json!(["start", [format!("addr({})", common::ADDRESS)]])).await;
    assert_eq!(
        (&whole["completed"], whole["relevant_blocks"].as_array().unwrap().len()),
        (&json!(true), 200)
    );
    node.handle.shutdown().await;
}

/// A light client's view that knows the headers of a chain given to it.
struct Headers(Vec<Block>);

impl Headers {
    fn at(&self, height: usize) -> HeaderInfo {
        let block = &self.0[height];
        let work = lode_primitives::Target::from_compact(block.header.bits).unwrap().work().0;
        HeaderInfo {
            hash: block.hash(),
            prev: block.header.prev,
            height: height as Height,
            work: lode_primitives::Work(work * lode_primitives::U256::from(height + 1)),
            time: block.header.time,
            have_block: false,
            valid: true,
        }
    }
}

impl View for Headers {
    fn tip(&self) -> HeaderInfo {
        self.at(self.0.len() - 1)
    }
    fn best_header(&self) -> HeaderInfo {
        self.tip()
    }
    fn header(&self, hash: &BlockHash) -> Option<HeaderInfo> {
        self.0.iter().position(|block| block.hash() == *hash).map(|height| self.at(height))
    }
    fn chain(&self, _: &BlockHash, first: Height, count: usize) -> Vec<BlockHash> {
        self.0.iter().skip(first as usize).take(count).map(Block::hash).collect()
    }
    fn fork_height(&self, of: &BlockHash) -> Height {
        self.header(of).map_or(0, |info| info.height)
    }
    fn headers_after(&self, _: &[BlockHash], _: &BlockHash, _: usize) -> Vec<Header> {
        Vec::new()
    }
    fn block_bytes(&self, _: &BlockHash) -> Option<Vec<u8>> {
        None
    }
    fn check_pow(&self, _: &Header) -> bool {
        true
    }
    fn initial_sync(&self) -> bool {
        true
    }
    fn transaction(&self, _: &TxRef) -> Option<std::sync::Arc<Transaction>> {
        None
    }
    fn mempool_wtxids(&self) -> Vec<Wtxid> {
        Vec::new()
    }
    fn min_fee_rate(&self) -> u64 {
        0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_get_filters_within_bounds() {
    let node = TestNode::start_in(tempfile::tempdir().unwrap(), |options| options.filters = true).await;
    let mut blocks = vec![node.handle.coin().genesis_block()];
    blocks.extend(every_output(10));
    for block in &blocks[1..] {
        node.handle.submit_block(block.clone()).await;
    }
    indexed(&node).await;
    let mut options = Options::new(node.handle.coin());
    options.light = true;
    options.connect = vec![node.handle.p2p_addresses()[0].to_string()];
    let stop = blocks.last().unwrap().hash();
    let (p2p, mut events) =
        lode_p2p::start(options, std::sync::Arc::new(Headers(blocks.clone()))).await.unwrap();
    let mut next = async || tokio::time::timeout(PATIENCE, events.recv()).await.expect("an event").unwrap();
    let peer = loop {
        match next().await {
            Event::Connected { services, .. } => {
                assert!(services.has(Services::COMPACT_FILTERS), "{services}");
            }
            Event::UpToDate { peer } => break peer,
            Event::Headers { peer, .. } => p2p.headers_verdict(peer, Verdict::Accepted),
            _ => {}
        }
    };
    // All filters, in order, each the one that getblockfilter has, and their hashes.
    p2p.ask_peer(peer, Question::Filters { first: 0, stop });
    for block in &blocks {
        let Event::Answer { message: Message::CFilter(answer), .. } = next().await else {
            panic!("no filter")
        };
        assert_eq!(answer.block, block.hash());
        let wanted = node.call("getblockfilter", json!([block.hash().to_string()])).await;
        assert_eq!(hex::encode(answer.filter), wanted["filter"]);
    }
    p2p.ask_peer(peer, Question::FilterHeaders { first: 3, stop });
    let Event::Answer { message: Message::CFHeaders(answer), .. } = next().await else { panic!("no hashes") };
    assert_eq!((answer.stop, answer.filter_hashes.len()), (stop, blocks.len() - 3));
    let before = node.call("getblockfilter", json!([blocks[2].hash().to_string()])).await;
    assert_eq!(answer.previous.to_string(), before["header"]);
    // What is backwards ends the connection.
    p2p.ask_peer(peer, Question::Filters { first: blocks.len() as Height + 5, stop });
    loop {
        match next().await {
            Event::Disconnected { .. } => break,
            Event::Answer { .. } => panic!("an answer to a question that makes no sense"),
            _ => {}
        }
    }
    p2p.stop().await;
    node.handle.shutdown().await;
}
