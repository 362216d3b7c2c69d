//! Five nodes, three of Lode and two of Bitcoin Core by turns, in a line and in a ring: transactions and blocks reach all, and
//! a network that was cut in two is one again.

mod common;

use std::time::{Duration, Instant};

use common::{TestNode, anyone_address, ask, spend, to_hex};
use lode_primitives::{OutPoint, Txid};
use lode_testkit::{Daemon, Peer, peer};
use serde_json::{Value, json};

/// How long anything may take until it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(120);

enum Node {
    Lode(TestNode),
    Core(Daemon),
}

impl Node {
    async fn call(&self, method: &str, params: Value) -> Value {
        match self {
            Self::Lode(node) => node.call(method, params).await,
            Self::Core(daemon) => ask(daemon, method, params),
        }
    }

    fn address(&self) -> String {
        match self {
            Self::Lode(node) => node.handle.p2p_addresses()[0].to_string(),
            Self::Core(daemon) => daemon.p2p.to_string(),
        }
    }

    async fn peers(&self) -> usize {
        self.call("getpeerinfo", json!([])).await.as_array().unwrap().len()
    }

    /// Makes blocks; the last one's id.
    async fn mine(&self, count: u32) -> Value {
        let made = self.call("generatetoaddress", json!([count, anyone_address()])).await;
        made[count as usize - 1].clone()
    }
}

async fn until(what: &str, mut there: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !there().await {
        assert!(began.elapsed() < PATIENCE, "waited for {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// The first calls the second, once.
async fn link(nodes: &[Node], (from, to): (usize, usize)) {
    let before = (nodes[from].peers().await, nodes[to].peers().await);
    nodes[from].call("addnode", json!([nodes[to].address(), "onetry"])).await;
    until("a link", async || {
        (nodes[from].peers().await, nodes[to].peers().await) == (before.0 + 1, before.1 + 1)
    })
    .await;
}

/// Ends that connection.
async fn cut(nodes: &[Node], (from, to): (usize, usize)) {
    let before = nodes[to].peers().await;
    nodes[from].call("disconnectnode", json!([nodes[to].address()])).await;
    until("a cut", async || nodes[to].peers().await == before - 1).await;
}

async fn all_at(nodes: &[Node], tip: &Value) {
    for (place, node) in nodes.iter().enumerate() {
        until(&format!("node {place} at {tip}"), async || {
            node.call("getbestblockhash", json!([])).await == *tip
        })
        .await;
    }
}

/// A transaction handed in at one node comes to all, and a block mined by another with it in it.
async fn spreads(nodes: &[Node], coin: u32, from: usize, miner: usize) {
    let hash = nodes[from].call("getblockhash", json!([coin])).await;
    let block = nodes[from].call("getblock", json!([hash])).await;
    let txid: Txid = block["tx"][0].as_str().unwrap().parse().unwrap();
    let payment = spend(OutPoint { txid, vout: 0 }, 5_000_000_000, 1, 10_000);
    let id = payment.txid().to_string();
    nodes[from].call("sendrawtransaction", json!([to_hex(&payment)])).await;
    for (place, node) in nodes.iter().enumerate() {
        until(&format!("the transaction at node {place}"), async || {
            node.call("getrawmempool", json!([])).await == json!([id])
        })
        .await;
    }
    let tip = nodes[miner].mine(1).await;
    all_at(nodes, &tip).await;
    for node in nodes {
        assert_eq!(node.call("getrawmempool", json!([])).await, json!([]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn line_ring_and_split() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let core = || Node::Core(Daemon::start(&path, "regtest", &["-blockmintxfee=0"]));
    let lode = async || Node::Lode(TestNode::start().await);
    let nodes = [lode().await, core(), lode().await, core(), lode().await];
    for pair in [(0, 1), (1, 2), (2, 3), (4, 3)] {
        link(&nodes, pair).await;
    }
    let tip = nodes[1].mine(110).await;
    all_at(&nodes, &tip).await;
    spreads(&nodes, 1, 0, 4).await;
    spreads(&nodes, 2, 3, 1).await;
    // The ring.
    link(&nodes, (4, 0)).await;
    spreads(&nodes, 3, 2, 0).await;

    // Two halves, each with a chain of its own.
    cut(&nodes, (4, 0)).await;
    cut(&nodes, (2, 3)).await;
    let shorter = nodes[1].mine(2).await;
    let longer = nodes[4].mine(3).await;
    all_at(&nodes[..3], &shorter).await;
    all_at(&nodes[3..], &longer).await;
    link(&nodes, (3, 2)).await;
    all_at(&nodes, &longer).await;
    spreads(&nodes, 4, 0, 3).await;
}
