//! The pool on nodes and with miners that no one here wrote. Left out, saying so, where they are not installed.

mod common;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use common::real::{Running, start};
use common::{LEAST, Miner};
use lode_pool::PoolEvent;
use lode_testkit::{Daemon, Peer, peer};
use serde_json::{Value, json};

/// Submits nonce after nonce on each new job: on regtest every other hash is a block.
fn mine_until(address: std::net::SocketAddr, payee: &str, stop: &std::sync::atomic::AtomicBool) {
    let mut miner = Miner::connect(address);
    miner.login_as(payee, "rig");
    let mut nonce = 0;
    while !stop.load(std::sync::atomic::Ordering::Relaxed) {
        miner.send(&miner.share_of(9, payee, "rig", nonce));
        miner.answer_or_job(9);
        // Every other share is a block: do not bury the node under brothers of it.
        miner.job_within(std::time::Duration::from_millis(300));
        nonce += 1;
    }
}

/// Blocks whose coinbase was checked against what the node has of them.
async fn follow(running: &Running, daemon: &Daemon, blocks: usize) -> Vec<Value> {
    let mut events = running.pool.events();
    let mut kept = Vec::new();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(120);
    while kept.len() < blocks {
        assert!(std::time::Instant::now() < deadline, "no block for two minutes");
        let event = tokio::time::timeout(std::time::Duration::from_secs(60), events.recv()).await.unwrap();
        let Ok(PoolEvent::Block(found)) = event else { continue };
        let hash = found.hash.to_string();
        // The event follows the journal; the node's answer may be a moment later.
        let mut states = running.watch.subscribe();
        while daemon.try_rpc("getblockheader", json!([hash])).is_err() {
            let _ = tokio::time::timeout(std::time::Duration::from_millis(200), states.recv()).await;
            assert!(std::time::Instant::now() < deadline, "the node does not know block {hash}");
        }
        let block = daemon.rpc("getblock", json!([hash, 2]));
        if block["confirmations"].as_i64().unwrap() < 1 {
            // A second solution of the same job: one of the two is an orphan.
            continue;
        }
        let outputs = block["tx"][0]["vout"].as_array().unwrap();
        for (output, expected) in outputs.iter().zip(found.snapshot.outputs()) {
            assert_eq!(output["scriptPubKey"]["hex"], hex::encode(&expected.script_pubkey));
            let value = (output["value"].as_f64().unwrap() * 1e8).round() as i64;
            assert_eq!(value, expected.value.to_sat());
        }
        assert_eq!(block["tx"][0]["txid"], found.coinbase_txid.to_string());
        kept.push(block);
    }
    kept
}

async fn mined(running: Running, daemon: &Daemon, payees: &[&'static str], blocks: usize) -> Vec<Value> {
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let address = running.pool.addresses()[0];
    let miners: Vec<_> = payees
        .iter()
        .map(|&payee| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || mine_until(address, payee, &stop))
        })
        .collect();
    let kept = follow(&running, daemon, blocks).await;
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    for miner in miners {
        miner.join().unwrap();
    }
    tokio::task::spawn_blocking(move || running.pool.stop()).await.unwrap();
    kept
}

#[tokio::test(flavor = "multi_thread")]
async fn bitcoind_keeps_the_blocks_and_they_pay_as_the_ledger_says() {
    let Some(program) = peer(Peer::Bitcoind) else { return };
    let coin = lode_coins::find("bitcoin", "regtest").unwrap();
    let daemon = Daemon::start(&program, "regtest", &[]);
    let running = start(coin, &[&daemon], LEAST);
    let payees = [
        "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080",
        "bcrt1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3qzf4jry",
    ];
    let kept = mined(running, &daemon, &payees, 8).await;
    assert!(kept.iter().any(|block| block["tx"][0]["vout"].as_array().unwrap().len() == 3), "both were paid");
}

/// A child that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn para_miner(program: &Path, address: std::net::SocketAddr, user: &str) -> Ended {
    let child = Command::new(program)
        .args([&address.to_string(), "--username", user, "--password", "x", "--cpu-cores", "1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    Ended(child.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_miner_finds_blocks_for_a_strangers_node() {
    let (Some(node), Some(client)) = (peer(Peer::Bitcoind), peer(Peer::StratumClient)) else { return };
    // On regtest all it found would be blocks; here one share in some dozens is.
    let coin = lode_coins::custom_signet(&[0x51]);
    let daemon = Daemon::start(&node, "signet", &["-signetchallenge=51"]);
    let running = start(coin, &[&daemon], 0.0001);
    let user = "tb1qw508d6qejxtdg4y5r3zarvary0c5xw7kxpjzsx.para";
    let _miner = para_miner(&client, running.pool.addresses()[0], user);
    follow(&running, &daemon, 2).await;
    assert!(running.pool.stats().accepted.load(std::sync::atomic::Ordering::Relaxed) >= 2);
    tokio::task::spawn_blocking(move || running.pool.stop()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn litecoind_keeps_scrypt_blocks_with_their_extension_block() {
    let Some(program) = peer(Peer::Litecoind) else { return };
    let coin = lode_coins::find("litecoin", "regtest").unwrap();
    let daemon = Daemon::start(&program, "regtest", &[]);
    // litecoind gives a template only while it has a peer.
    let _other = Daemon::start(&program, "regtest", &[&format!("-connect={}", daemon.p2p)]);
    daemon.rpc("createwallet", json!(["w"]));
    let own = daemon.wallet_rpc("w", "getnewaddress", json!([]));
    daemon.rpc("generatetoaddress", json!([431, own]));
    let hidden = daemon.wallet_rpc("w", "getnewaddress", json!(["", "mweb"]));
    daemon.wallet_rpc("w", "sendtoaddress", json!([hidden, 1]));
    let running = start(coin, &[&daemon], LEAST);
    let kept = mined(running, &daemon, &["rltc1qw508d6qejxtdg4y5r3zarvary0c5xw7k693xs3"], 2).await;
    assert!(kept[0]["mweb"].is_object(), "the first block carries the extension block: {}", kept[0]);
}
