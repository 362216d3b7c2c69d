//! The peers start, answer, come back after a kill, and share nothing with each other.

use lode_testkit::{Daemon, Peer, peer};
use serde_json::json;

#[test]
fn a_killed_bitcoind_comes_back_with_its_blocks() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let mut node = Daemon::start(&path, "regtest", &[]);
    node.rpc("generatetoaddress", json!([3, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"]));
    node.stop();
    node.restart();
    assert_eq!(node.rpc("getblockcount", json!([])), 3);
    assert_eq!(node.try_rpc("getblockhash", json!([9])).unwrap_err().code, -8);
}

#[test]
fn two_litecoinds_connect() {
    let Some(path) = peer(Peer::Litecoind) else { return };
    let first = Daemon::start(&path, "regtest", &[]);
    let second = Daemon::start(&path, "regtest", &[&format!("-connect={}", first.p2p)]);
    first.rpc("createwallet", json!(["w"]));
    let address = first.wallet_rpc("w", "getnewaddress", json!([]));
    first.rpc("generatetoaddress", json!([1, address]));
    let hash = first.rpc("getbestblockhash", json!([]));
    assert_eq!(second.rpc("waitforblock", json!([hash, 20_000]))["hash"], hash);
}
