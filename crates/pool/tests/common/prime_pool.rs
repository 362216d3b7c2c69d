//! Nodes and pools of coins with prime chains.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lode_coins::Coin;
use lode_node::rpc::Credentials;
use lode_node::rpc::client::{RpcAuth, RpcClient};
use lode_node::{NodeHandle, NodeOptions};
use lode_pool::journal::{BlockState, FoundBlock};
use lode_primitives::{Block, BlockHash, Decode as _};

use super::real::Running;

/// Longest wait for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn coin(name: &str) -> &'static Coin {
    lode_coins::find(name, "regtest").unwrap()
}

pub(crate) fn credentials() -> Credentials {
    Credentials { user: "me".into(), password: "secret".into() }
}

pub(crate) fn client(address: SocketAddr) -> RpcClient {
    RpcClient::new(&address.to_string(), RpcAuth::User(credentials())).unwrap()
}

/// A Lode node alone, with JSON-RPC.
pub(crate) async fn lode_node(coin: &'static Coin, dir: &std::path::Path) -> (NodeHandle, Arc<RpcClient>) {
    let mut options = NodeOptions::new(coin, dir);
    options.network = false;
    options.rpc_bind = Some(SocketAddr::from(([127, 0, 0, 1], 0)));
    options.rpc_user = Some(credentials());
    let node = lode_node::start(options).await.unwrap();
    let rpc = Arc::new(client(node.rpc_address().unwrap()));
    (node, rpc)
}

pub(crate) fn address(coin: &Coin, key: u8) -> String {
    coin.script_to_address(&[&[0x76, 0xa9, 20][..], &[key; 20], &[0x88, 0xac]].concat()).unwrap()
}

pub(crate) async fn state(running: &Running, hash: BlockHash, wanted: impl Fn(&BlockState) -> bool) {
    let mut news = running.watch.subscribe();
    let reached = async {
        while !running.watch.block(&hash).is_some_and(|record| wanted(&record.state)) {
            let _ = news.recv().await;
        }
    };
    if tokio::time::timeout(PATIENCE, reached).await.is_err() {
        panic!("{hash} is {:?}; nodes: {:?}", running.watch.block(&hash), running.sources.view());
    }
}

/// The node has the block, and its coinbase pays what the books say.
pub(crate) async fn check_payouts(node: &NodeHandle, found: &FoundBlock) {
    let bytes = node.block_bytes(found.hash).await.expect("the node has the block");
    assert_eq!(bytes, found.block);
    let block = Block::from_bytes(&bytes, node.coin().form).unwrap();
    assert_eq!(block.transactions[0].outputs, found.snapshot.outputs());
    found.snapshot.check(&block.transactions[0]).unwrap();
}
