//! The whole pool on real nodes.

use std::sync::{Arc, Mutex};

use lode_coins::Coin;
use lode_ledger::{Ledger, LedgerOptions, Rules};
use lode_node::rpc::client::{RpcAuth, RpcClient};
use lode_pool::config::{PoolConfig, PortConfig};
use lode_pool::template::{Node, RpcNode, Sources};
use lode_pool::watch::Watch;
use lode_pool::{Nodes, Pool, PoolHandle, PoolParts};
use lode_testkit::Daemon;

use super::{LEAST, now_ms};

/// A pool with its nodes.
pub(crate) struct Running {
    pub(crate) pool: PoolHandle,
    pub(crate) watch: Watch,
    pub(crate) sources: Sources,
    _dir: tempfile::TempDir,
}

/// A pool on these nodes, the first one preferred, that takes miners at `start_difficulty`.
pub(crate) fn start(coin: &'static Coin, daemons: &[&Daemon], start_difficulty: f64) -> Running {
    let nodes = daemons.iter().map(|daemon| {
        let cookie = daemon.network_directory().join(".cookie");
        let client = RpcClient::new(&format!("http://{}", daemon.rpc), RpcAuth::Cookie(cookie)).unwrap();
        Node::Rpc(RpcNode::new(client, coin))
    });
    start_on(coin, nodes.collect(), start_difficulty)
}

/// The same on any nodes.
pub(crate) fn start_on(coin: &'static Coin, nodes: Vec<Node>, start_difficulty: f64) -> Running {
    let dir = tempfile::tempdir().unwrap();
    let mut options = LedgerOptions::new(dir.path().join("shares"), coin.directory().display().to_string());
    options.rules = Rules::default();
    let (ledger, _) = Ledger::open(options, now_ms()).unwrap();
    let ledger = Arc::new(Mutex::new(ledger));
    let sources = Sources::start(nodes);
    let watch = Watch::start(&dir.path().join("blocks"), sources.clone(), Arc::clone(&ledger)).unwrap();
    let port = PortConfig {
        bind: "127.0.0.1:0".parse().unwrap(),
        start_difficulty,
        min_difficulty: LEAST,
        vardiff: false,
        ..PortConfig::default()
    };
    let is_prime = coin.pow == lode_pow::PowAlgorithm::PrimeChain;
    let getwork = is_prime.then(|| "127.0.0.1:0".parse().unwrap());
    let pool = Pool::start(PoolParts {
        coin,
        config: PoolConfig { ports: vec![port], getwork, job_interval_seconds: 5, ..PoolConfig::default() },
        ledger,
        solo: false,
        upstream: Nodes { sources: sources.clone(), watch: watch.clone() },
        directory: None,
    })
    .unwrap();
    Running { pool, watch, sources, _dir: dir }
}
