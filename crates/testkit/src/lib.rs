//! For tests only, so it stands outside the floors: finds the real peers (Bitcoin Core, Litecoin Core, a Stratum
//! client, a browser, a wallet), starts them on free loopback ports in directories of their own, talks JSON-RPC to them and ends them
//! with the test.
//!
//! Peers are found by environment variables that `scripts/peers --env` prints. Where one is absent a test says what
//! it left out and passes; with `LODE_REQUIRE_PEERS=1`, as `scripts/test` sets it, that is a failure.
//!
//! ```no_run
//! use lode_testkit::{Peer, peer};
//! let Some(path) = peer(Peer::Bitcoind) else { return };
//! let node = lode_testkit::Daemon::start(&path, "regtest", &[]);
//! assert_eq!(node.rpc("getblockcount", serde_json::json!([])), 0);
//! ```

mod browser;
mod daemon;

use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::PathBuf;

pub use browser::Browser;
pub use daemon::{Daemon, RpcError};

/// A program that no one here wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// Bitcoin Core's daemon.
    Bitcoind,
    /// Litecoin Core's daemon.
    Litecoind,
    /// A Stratum V1 miner for SHA-256d.
    StratumClient,
    /// A browser.
    Chromium,
    /// A Python that has libzmq (`import zmq`).
    Zmq,
    /// A wallet that signs PSBTs (`scripts/embit-signer.py`).
    Embit,
}

impl Peer {
    /// The environment variable that says where it is.
    pub const fn variable(self) -> &'static str {
        match self {
            Self::Bitcoind => "LODE_BITCOIND",
            Self::Litecoind => "LODE_LITECOIND",
            Self::StratumClient => "LODE_STRATUM_CLIENT",
            Self::Chromium => "LODE_CHROMIUM",
            Self::Zmq => "LODE_ZMQ_PYTHON",
            Self::Embit => "LODE_EMBIT",
        }
    }
}

/// Where a peer is, or `None` after saying that this test is left out.
///
/// # Panics
/// Where the peer is absent and `LODE_REQUIRE_PEERS=1` says that it must not be.
pub fn peer(peer: Peer) -> Option<PathBuf> {
    found(peer.variable())
}

fn found(variable: &str) -> Option<PathBuf> {
    if let Some(path) = std::env::var_os(variable).filter(|path| !path.is_empty()) {
        return Some(path.into());
    }
    assert!(
        std::env::var_os("LODE_REQUIRE_PEERS").is_none_or(|value| value != "1"),
        "{variable} is not set though LODE_REQUIRE_PEERS=1; run scripts/peers, then eval \"$(scripts/peers --env)\""
    );
    eprintln!("SKIPPED: needs {variable}; run scripts/peers, then eval \"$(scripts/peers --env)\"");
    None
}

/// The directory of Bitcoin Core's test vectors (`blockfilters.json` and others), or `None` after saying that this test
/// is left out.
///
/// # Panics
/// As [`peer`].
pub fn bitcoin_test_data() -> Option<PathBuf> {
    found("LODE_BITCOIN_TEST_DATA")
}

/// How often something is done: `full` where `LODE_FULL=1` asks for the long form, else `short`.
pub fn rounds(short: usize, full: usize) -> usize {
    if std::env::var_os("LODE_FULL").is_some_and(|value| value == "1") { full } else { short }
}

/// A loopback address whose port was free a moment ago, for programs that cannot take port 0.
///
/// # Panics
/// Where loopback cannot be listened on at all.
pub fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free loopback port")
}
