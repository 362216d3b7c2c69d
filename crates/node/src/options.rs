//! What a node is started with, and why it may not start.

use std::net::SocketAddr;
use std::path::PathBuf;

use lode_chain::OpenError;
use lode_coins::Coin;
use lode_primitives::ScriptBuf;

use crate::rpc::Credentials;

/// How to run a node.
#[derive(Debug, Clone)]
pub struct NodeOptions {
    /// The coin and its network.
    pub coin: &'static Coin,
    /// Where all data lies; this node's is in `DIR/<coin>/<network>/`.
    pub data_dir: PathBuf,
    /// Take part in the network at all; without it the node listens nowhere and calls nobody.
    pub network: bool,
    /// Where to listen for peers; port 0 lets the system choose. Empty: nobody can call us.
    pub p2p_bind: Vec<SocketAddr>,
    /// Where any are given, only these peers (`host` or `host:port`) are called.
    pub connect: Vec<String>,
    /// Further peers to keep a connection to.
    pub add_nodes: Vec<String>,
    /// Where JSON-RPC listens; port 0 lets the system choose. `None`: no JSON-RPC, no cookie.
    pub rpc_bind: Option<SocketAddr>,
    /// A user that may call beside the cookie.
    pub rpc_user: Option<Credentials>,
    /// Delete old blocks so that block files take about this many MiB; 1: only when `pruneblockchain` asks for it.
    pub prune_mib: Option<u64>,
    /// Bytes after which the next block file is begun; `None` for the usual. Pruning deletes whole files.
    pub block_file_bytes: Option<u64>,
    /// Make compact filters (BIP158) of all blocks and serve them to light clients (BIP157).
    pub filters: bool,
    /// Memory for unspent outputs between flushes, in bytes; `None` for the usual.
    pub cache_bytes: Option<usize>,
    /// The script that blocks made of `getwork`'s work pay to. The node keeps no keys: without it `getwork` is refused.
    pub mine_to: Option<ScriptBuf>,
}

impl NodeOptions {
    /// A full node of `coin` with its data under `data_dir`: it takes part in the network, calls whom it finds, and
    /// listens on no port yet, neither for peers nor for JSON-RPC.
    pub fn new(coin: &'static Coin, data_dir: impl Into<PathBuf>) -> Self {
        Self {
            coin,
            data_dir: data_dir.into(),
            network: true,
            p2p_bind: Vec::new(),
            connect: Vec::new(),
            add_nodes: Vec::new(),
            rpc_bind: None,
            rpc_user: None,
            prune_mib: None,
            block_file_bytes: None,
            filters: false,
            cache_bytes: None,
            mine_to: None,
        }
    }

    /// This node's own directory: `DIR/<coin>/<network>`.
    pub fn directory(&self) -> PathBuf {
        self.data_dir.join(self.coin.directory())
    }
}

/// Why a node did not start, or stopped by itself.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// The directory cannot be made.
    #[error("cannot make the data directory {path}: {error}")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// A peer to call has a name that cannot be one.
    #[error("a peer to connect to: {0}")]
    Peer(#[from] lode_p2p::NameError),
    /// Filters are made of all blocks, so none may be deleted.
    #[error("compact filters need all blocks: --filters and --prune do not go together")]
    FiltersPruned,
    /// The chain cannot be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The RPC address cannot be had.
    #[error(
        "cannot listen for RPC on {address}: {error}; is another node running there? choose another with --rpc-bind"
    )]
    RpcBind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: std::io::Error,
    },
    /// The cookie cannot be written.
    #[error("cannot write the RPC cookie {path}: {error}")]
    Cookie {
        /// The file.
        path: PathBuf,
        /// What the system said.
        error: std::io::Error,
    },
    /// The network cannot be started.
    #[error("{0}")]
    Network(String),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The node had to stop: its files cannot be read or written.
    #[error("stopped: {0}")]
    Failed(String),
}
