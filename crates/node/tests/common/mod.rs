//! A node in this process, on ports the system chooses, with a client for its JSON-RPC.
#![allow(dead_code, reason = "each test file uses a part")]

use lode_node::rpc::client::{RpcAuth, RpcClient, RpcClientError};
use lode_node::{NodeHandle, NodeOptions};
use lode_primitives::{Amount, Encode, OutPoint, Transaction, TxIn, TxOut, Witness};
use lode_script::build;
use lode_testkit::Daemon;
use serde_json::{Value, json};
use tempfile::TempDir;

/// An address whose key anybody can have: coinbases go there.
pub(crate) const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

/// A running regtest node.
pub(crate) struct TestNode {
    pub(crate) handle: NodeHandle,
    pub(crate) rpc: RpcClient,
    pub(crate) dir: TempDir,
}

/// Options for a regtest node under `dir`, without peers.
pub(crate) fn options(dir: &std::path::Path) -> NodeOptions {
    let coin = lode_coins::find("bitcoin", "regtest").unwrap();
    let mut options = NodeOptions::new(coin, dir);
    options.rpc_bind = Some("127.0.0.1:0".parse().unwrap());
    options.p2p_bind = vec!["127.0.0.1:0".parse().unwrap()];
    options
}

impl TestNode {
    pub(crate) async fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), |_| {}).await
    }

    pub(crate) async fn start_in(dir: TempDir, change: impl FnOnce(&mut NodeOptions)) -> Self {
        let mut options = options(dir.path());
        change(&mut options);
        let handle = lode_node::start(options).await.unwrap();
        let address = handle.rpc_address().unwrap().to_string();
        let rpc = RpcClient::new(&address, RpcAuth::Cookie(handle.directory().join(".cookie"))).unwrap();
        Self { handle, rpc, dir }
    }

    /// The result of a call that must succeed.
    pub(crate) async fn call(&self, method: &str, params: Value) -> Value {
        self.rpc
            .call(method, params.clone())
            .await
            .unwrap_or_else(|error| panic!("{method} {params}: {error}"))
    }

    /// Code and message of a call that must fail.
    pub(crate) async fn error(&self, method: &str, params: Value) -> (i32, String) {
        match self.rpc.call(method, params.clone()).await {
            Err(RpcClientError::Rpc(error)) => (error.code, error.message),
            other => panic!("{method} {params}: {other:?}"),
        }
    }

    /// Makes blocks and gives their ids.
    pub(crate) async fn generate(&self, count: u32) -> Vec<String> {
        let made = self.call("generatetoaddress", json!([count, ADDRESS])).await;
        made.as_array().unwrap().iter().map(|hash| hash.as_str().unwrap().to_owned()).collect()
    }
}

/// A script whose outputs anybody may spend, and policy lets pass.
pub(crate) fn anyone_can_spend() -> Vec<u8> {
    build::p2wsh_of(&[0x51])
}

/// Its address.
pub(crate) fn anyone_address() -> String {
    lode_coins::find("bitcoin", "regtest").unwrap().script_to_address(&anyone_can_spend()).unwrap()
}

/// A transaction that spends `outpoint`, an output to anyone of `value` satoshi, into `count` such outputs, and pays
/// `fee`.
pub(crate) fn spend(outpoint: OutPoint, value: i64, count: i64, fee: i64) -> Transaction {
    let input = TxIn { witness: Witness(vec![vec![0x51]]), ..TxIn::spending(outpoint) };
    let output = TxOut { value: Amount::from_sat((value - fee) / count), script_pubkey: anyone_can_spend() };
    Transaction::new(vec![input], vec![output; count as usize])
}

/// A transaction as RPC takes it.
pub(crate) fn to_hex(tx: &Transaction) -> String {
    hex::encode(tx.to_bytes())
}

/// A call to the peer from a thread where waiting does no harm.
pub(crate) fn ask(core: &Daemon, method: &str, params: Value) -> Value {
    tokio::task::block_in_place(|| core.rpc(method, params))
}
