//! A node inside a wallet command (`--via embedded`). It too is asked by JSON-RPC, on a port that only this machine sees.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use lode_coins::Coin;
use lode_node::rpc::client::{RpcAuth, RpcClient};
use lode_node::{NodeHandle, NodeOptions};
use tokio::runtime::Runtime;

use super::source::RpcSource;

/// Between two looks at how far it is.
const LOOK: Duration = Duration::from_millis(200);
/// How long it stays up after a payment, so that its peers hear of it.
const RELAY_TIME: Duration = Duration::from_secs(3);

/// A running node; stops when dropped.
pub(super) struct EmbeddedNode {
    node: NodeHandle,
    runtime: Runtime,
    /// A transaction was handed in.
    pub(super) sent: bool,
}

impl EmbeddedNode {
    /// Starts it and waits until it has caught up with its peers.
    pub(super) fn start(coin: &'static Coin, data_dir: PathBuf) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let mut options = NodeOptions::new(coin, data_dir);
        options.p2p_bind = Vec::new();
        options.rpc_bind = Some(([127, 0, 0, 1], 0).into());
        let node = runtime.block_on(lode_node::start(options)).context(
            "cannot start a node inside this command; if one runs there already, leave --via embedded out",
        )?;
        let embedded = Self { node, runtime, sent: false };
        let mut told = false;
        while !coin.network.is_private() && embedded.node.is_syncing() {
            if !told {
                eprintln!(
                    "The node catches up with its network first. Ctrl-C ends this; the next time it goes on."
                );
                told = true;
            }
            std::thread::sleep(LOOK);
        }
        Ok(embedded)
    }

    /// The wallet's way to it.
    pub(super) fn source(self) -> anyhow::Result<RpcSource> {
        let address = self.node.rpc_address().context("the embedded node takes no JSON-RPC")?;
        let cookie = RpcAuth::Cookie(self.node.directory().join(".cookie"));
        let coin = self.node.coin();
        Ok(RpcSource::new(RpcClient::new(&address.to_string(), cookie)?, coin)?.keeping(self))
    }
}

impl Drop for EmbeddedNode {
    fn drop(&mut self) {
        if self.sent && !self.node.coin().network.is_private() {
            std::thread::sleep(RELAY_TIME);
        }
        self.runtime.block_on(self.node.shutdown());
    }
}
