//! Against a real `bitcoind` over the real network: both ways of syncing, a deep reorganisation, transactions and blocks
//! relayed, blocks of our templates taken, the shapes of JSON-RPC compared.
//!
//! Coins go to pay-to-witness-script-hash of `OP_1`, which anybody can spend and policy lets pass: no keys needed.

mod common;

use std::time::{Duration, Instant};

use common::{ADDRESS, TestNode, anyone_address, ask, spend, to_hex};
use lode_primitives::{OutPoint, Txid};
use lode_testkit::{Daemon, Peer, peer};
use serde_json::{Value, json};

/// How long anything may take until it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(120);
/// Blocks made by one call: the peer's client gives up on long ones.
const BATCH: u64 = 500;
/// Blocks synced here; thousands of them, with payments in them, are in `every_output.rs`.
const BLOCKS: u64 = 700;

fn core() -> Option<Daemon> {
    peer(Peer::Bitcoind).map(|path| Daemon::start(&path, "regtest", &["-blockmintxfee=0"]))
}

fn generate_on(core: &Daemon, count: u64) {
    let mut left = count;
    while left > 0 {
        let now = left.min(BATCH);
        ask(core, "generatetoaddress", json!([now, anyone_address()]));
        left -= now;
    }
}

async fn connected_to(core: &Daemon) -> TestNode {
    let address = core.p2p.to_string();
    TestNode::start_in(tempfile::tempdir().unwrap(), |options| options.connect = vec![address]).await
}

/// Waits until our tip is the peer's.
async fn wait_for_tip(node: &TestNode, core: &Daemon) {
    let wanted = ask(core, "getbestblockhash", json!([]));
    let wanted = wanted.as_str().unwrap();
    let mut tips = node.handle.subscribe();
    let reached = tips.wait_for(|tip| tip.hash.to_string() == wanted);
    if tokio::time::timeout(PATIENCE, reached).await.is_err() {
        panic!(
            "stayed at {:?}, wanted {wanted}; peers {}",
            node.handle.tip(),
            node.call("getpeerinfo", json!([])).await
        );
    }
}

/// Waits until the peer's tip is ours.
async fn wait_for_core(node: &TestNode, core: &Daemon) {
    let hash = node.handle.tip().hash.to_string();
    let began = Instant::now();
    while ask(core, "waitforblock", json!([hash, 1_000]))["hash"] != hash {
        assert!(began.elapsed() < PATIENCE, "peer stayed at {}", ask(core, "getblockcount", json!([])));
    }
}

/// Asks until the answer is as wanted.
async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < PATIENCE, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn same_outputs(node: &TestNode, core: &Daemon) {
    for kind in ["hash_serialized_3", "muhash"] {
        let (ours, theirs) =
            (node.call("gettxoutsetinfo", json!([kind])).await, ask(core, "gettxoutsetinfo", json!([kind])));
        for member in ["height", "bestblock", "txouts", "transactions", "bogosize", "total_amount", kind] {
            assert_eq!(ours[member], theirs[member], "{member}");
        }
    }
}

async fn connected(node: &TestNode) {
    until("the handshake", async || {
        node.call("getpeerinfo", json!([])).await.as_array().unwrap().iter().any(|peer| peer["version"] != 0)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bitcoinds_chain_is_synced_and_its_reorganisation_followed() {
    let Some(core) = core() else { return };
    generate_on(&core, BLOCKS);
    let began = Instant::now();
    let node = connected_to(&core).await;
    wait_for_tip(&node, &core).await;
    eprintln!("synced {} blocks from bitcoind in {:?}", node.handle.tip().height, began.elapsed());
    same_outputs(&node, &core).await;

    let height = node.handle.tip().height;
    let fork = ask(&core, "getblockhash", json!([height - 59]));
    ask(&core, "invalidateblock", json!([fork]));
    // To another address: the same blocks again would be invalid again.
    ask(&core, "generatetoaddress", json!([61, ADDRESS]));
    wait_for_tip(&node, &core).await;
    assert_eq!(node.handle.tip().height, height + 1);
    same_outputs(&node, &core).await;

    // A second start goes on where the first ended.
    node.handle.shutdown().await;
    let TestNode { handle, dir, .. } = node;
    drop(handle);
    generate_on(&core, 5);
    let address = core.p2p.to_string();
    let node = TestNode::start_in(dir, |options| options.connect = vec![address]).await;
    wait_for_tip(&node, &core).await;
    same_outputs(&node, &core).await;
    node.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn our_chain_is_synced_by_bitcoind() {
    let Some(core) = core() else { return };
    let node = TestNode::start().await;
    let mut left = BLOCKS;
    while left > 0 {
        let now = left.min(BATCH);
        node.call("generatetoaddress", json!([now, anyone_address()])).await;
        left -= now;
    }
    let ours = node.handle.p2p_addresses()[0].to_string();
    let began = Instant::now();
    ask(&core, "addnode", json!([ours, "add"]));
    wait_for_core(&node, &core).await;
    eprintln!("bitcoind synced {} blocks from us in {:?}", node.handle.tip().height, began.elapsed());
    same_outputs(&node, &core).await;

    // A deep reorganisation on our side is followed by the peer.
    let height = node.handle.tip().height;
    let fork = node.call("getblockhash", json!([height - 59])).await;
    node.call("invalidateblock", json!([fork])).await;
    node.generate(61).await;
    wait_for_core(&node, &core).await;
    same_outputs(&node, &core).await;
    node.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn transactions_and_blocks_go_both_ways_and_full_templates_are_taken() {
    let Some(core) = core() else { return };
    generate_on(&core, 110);
    let node = connected_to(&core).await;
    wait_for_tip(&node, &core).await;
    connected(&node).await;

    // A coin of ours becomes many, on the peer's side; it comes to our mempool.
    let block = ask(&core, "getblock", json!([ask(&core, "getblockhash", json!([1])), 2]));
    let coin: Txid = block["tx"][0]["txid"].as_str().unwrap().parse().unwrap();
    let parent = spend(OutPoint { txid: coin, vout: 0 }, 5_000_000_000, 400, 100_000);
    ask(&core, "sendrawtransaction", json!([to_hex(&parent)]));
    until("the peer's transaction in our mempool", async || {
        node.call("getrawmempool", json!([])).await.as_array().unwrap().len() == 1
    })
    .await;
    ask(&core, "generatetoaddress", json!([1, anyone_address()]));
    wait_for_tip(&node, &core).await;
    assert_eq!(node.call("getmempoolinfo", json!([])).await["size"], 0);

    // Many of ours come to the peer's.
    let value = parent.outputs[0].value.to_sat();
    for vout in 0..400 {
        let child = spend(
            OutPoint { txid: parent.txid(), vout },
            value,
            1 + i64::from(vout % 3),
            2_000 + i64::from(vout),
        );
        node.call("sendrawtransaction", json!([to_hex(&child)])).await;
    }
    until("our transactions in the peer's mempool", async || {
        ask(&core, "getmempoolinfo", json!([]))["size"] == 400
    })
    .await;
    for member in ["size", "bytes", "total_fee", "mempoolminfee", "minrelaytxfee"] {
        assert_eq!(
            node.call("getmempoolinfo", json!([])).await[member],
            ask(&core, "getmempoolinfo", json!([]))[member],
            "{member}"
        );
    }
    let (ours, theirs) = (
        node.call("getblocktemplate", json!([{"rules": ["segwit"]}])).await,
        ask(&core, "getblocktemplate", json!([{"rules": ["segwit"]}])),
    );
    assert_eq!(ours["coinbasevalue"], theirs["coinbasevalue"]);
    assert_eq!(ours["transactions"].as_array().unwrap().len(), 400);

    // A block of our template is the peer's tip too, and empties its mempool.
    node.call("generatetoaddress", json!([1, anyone_address()])).await;
    wait_for_core(&node, &core).await;
    assert_eq!(ask(&core, "getmempoolinfo", json!([]))["size"], 0);
    assert_eq!(node.call("getmempoolinfo", json!([])).await["size"], 0);
    same_outputs(&node, &core).await;

    // Taken back on both sides, the transactions come back.
    let tip = node.handle.tip().hash.to_string();
    node.call("invalidateblock", json!([tip])).await;
    assert_eq!(node.call("getmempoolinfo", json!([])).await["size"], 400);
    node.call("reconsiderblock", json!([tip])).await;
    assert_eq!(node.call("getmempoolinfo", json!([])).await["size"], 0);
    node.handle.shutdown().await;
}

/// Members that one of the two has and the other has not, at any depth. An array is judged by its first element.
fn differences(path: &str, ours: &Value, theirs: &Value, found: &mut Vec<String>) {
    match (ours, theirs) {
        (Value::Object(a), Value::Object(b)) => {
            for key in a.keys().filter(|key| !b.contains_key(*key)) {
                found.push(format!("{path}.{key}: ours only"));
            }
            for (key, value) in b {
                match a.get(key) {
                    Some(mine) => differences(&format!("{path}.{key}"), mine, value, found),
                    None => found.push(format!("{path}.{key}: theirs only")),
                }
            }
        }
        (Value::Array(a), Value::Array(b)) => {
            if let (Some(a), Some(b)) = (a.first(), b.first()) {
                differences(&format!("{path}[]"), a, b, found);
            }
        }
        (a, b) if std::mem::discriminant(a) != std::mem::discriminant(b) => {
            found.push(format!("{path}: {a} here, {b} there"));
        }
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn json_has_bitcoinds_shapes() {
    let Some(core) = core() else { return };
    generate_on(&core, 105);
    let node = connected_to(&core).await;
    wait_for_tip(&node, &core).await;
    connected(&node).await;
    let hash = |height: u32| ask(&core, "getblockhash", json!([height]));
    let coinbase = ask(&core, "getblock", json!([hash(1), 1]))["tx"][0].clone();
    let coin: Txid = coinbase.as_str().unwrap().parse().unwrap();
    let tx = spend(OutPoint { txid: coin, vout: 0 }, 5_000_000_000, 2, 10_000);
    let child = spend(OutPoint { txid: tx.txid(), vout: 0 }, tx.outputs[0].value.to_sat(), 1, 10_000);
    let (txid, child_id) = (tx.txid().to_string(), child.txid().to_string());
    let unsent = spend(OutPoint { txid: tx.txid(), vout: 1 }, tx.outputs[1].value.to_sat(), 1, 10_000);
    let child_of_unsent =
        spend(OutPoint { txid: unsent.txid(), vout: 0 }, unsent.outputs[0].value.to_sat(), 1, 10_000);
    ask(&core, "sendrawtransaction", json!([to_hex(&tx)]));
    ask(&core, "sendrawtransaction", json!([to_hex(&child)]));
    until("both in our mempool", async || {
        node.call("getrawmempool", json!([])).await.as_array().unwrap().len() == 2
    })
    .await;
    let made = ask(&core, "generateblock", json!([anyone_address(), [to_hex(&tx), to_hex(&unsent)], false]));
    let proof = ask(&core, "gettxoutproof", json!([[coinbase], hash(1)]));
    let missing = "22".repeat(32);
    let calls = vec![
        ("getbestblockhash", json!([])),
        ("getblock", json!([hash(2), 0])),
        ("getblock", json!([hash(2), 1])),
        ("getblock", json!([hash(2), 2])),
        ("getblock", json!([hash(2), 3])),
        ("getblockchaininfo", json!([])),
        ("getblockcount", json!([])),
        ("getblockhash", json!([5])),
        ("getblockheader", json!([hash(2)])),
        ("getblockheader", json!([hash(2), false])),
        ("getblockstats", json!([2])),
        ("getchaintips", json!([])),
        ("getchaintxstats", json!([50])),
        ("getdeploymentinfo", json!([])),
        ("getdifficulty", json!([])),
        ("gettxout", json!([coinbase, 0])),
        ("gettxout", json!([txid, 0])),
        ("gettxout", json!([coinbase, 0, false])),
        ("gettxoutproof", json!([[coinbase], hash(1)])),
        ("verifytxoutproof", json!([proof])),
        ("gettxoutsetinfo", json!([])),
        ("gettxoutsetinfo", json!(["muhash"])),
        ("gettxoutsetinfo", json!(["none"])),
        ("waitfornewblock", json!([1])),
        ("waitforblock", json!([hash(3), 1])),
        ("waitforblockheight", json!([3, 1])),
        ("getblocktemplate", json!([{"rules": ["segwit"]}])),
        ("getblocktemplate", json!([{"mode": "proposal", "data": made["hex"], "rules": ["segwit"]}])),
        ("getmininginfo", json!([])),
        ("getnetworkhashps", json!([])),
        ("generateblock", json!([anyone_address(), [], false])),
        ("getrawmempool", json!([])),
        ("getrawmempool", json!([true])),
        ("getrawmempool", json!([false, true])),
        ("getmempoolinfo", json!([])),
        ("getmempoolentry", json!([txid])),
        ("getmempoolancestors", json!([child_id, true])),
        ("getmempooldescendants", json!([txid])),
        ("getmempoolcluster", json!([txid])),
        ("gettxspendingprevout", json!([[{"txid": txid, "vout": 0}, {"txid": txid, "vout": 1}]])),
        ("testmempoolaccept", json!([[to_hex(&unsent)]])),
        ("testmempoolaccept", json!([[to_hex(&tx)]])),
        ("testmempoolaccept", json!([[to_hex(&unsent), to_hex(&child_of_unsent)]])),
        ("testmempoolaccept", json!([[to_hex(&child_of_unsent), to_hex(&unsent)]])),
        ("submitpackage", json!([[to_hex(&unsent), to_hex(&tx)]])),
        ("submitpackage", json!([[to_hex(&tx), to_hex(&child)]])),
        (
            "submitpackage",
            json!([[to_hex(&spend(OutPoint { txid: Txid([9; 32]), vout: 0 }, 5_000, 1, 100))]]),
        ),
        ("submitpackage", json!([[]])),
        ("pruneblockchain", json!([5])),
        ("getrawtransaction", json!([txid])),
        ("getrawtransaction", json!([txid, 1])),
        ("getrawtransaction", json!([coinbase, 2, hash(1)])),
        ("decoderawtransaction", json!([to_hex(&child)])),
        ("decodescript", json!(["51"])),
        ("decodescript", json!(["76a914751e76e8199196d454941c45d1b3a323f1433bd688ac"])),
        ("decodescript", json!(["0014751e76e8199196d454941c45d1b3a323f1433bd6"])),
        (
            "createrawtransaction",
            json!([[{"txid": txid, "vout": 0}], {anyone_address(): 0.1, "data": "00ff"}]),
        ),
        ("getnetworkinfo", json!([])),
        ("getpeerinfo", json!([])),
        ("getconnectioncount", json!([])),
        ("getnettotals", json!([])),
        ("getnodeaddresses", json!([0])),
        ("listbanned", json!([])),
        ("getaddednodeinfo", json!([])),
        ("ping", json!([])),
        ("uptime", json!([])),
        ("help", json!([])),
        ("getrpcinfo", json!([])),
        ("getmemoryinfo", json!([])),
        ("validateaddress", json!([anyone_address()])),
        ("validateaddress", json!(["bcrt1qnonsense"])),
        ("estimatesmartfee", json!([6])),
        ("getprioritisedtransactions", json!([])),
        // Errors: the code must be the same.
        ("getblock", json!([missing])),
        ("getblock", json!(["22"])),
        ("getblock", json!([1])),
        ("getblock", json!([])),
        ("getblockhash", json!([1_000_000])),
        ("getblockhash", json!([-1])),
        ("getblockheader", json!([missing])),
        ("getblocktemplate", json!([{}])),
        ("getblocktemplate", json!([{"rules": ["segwit"], "mode": "x"}])),
        ("submitblock", json!(["00"])),
        ("submitheader", json!(["00"])),
        ("submitblock", json!([ask(&core, "getblock", json!([hash(3), 0]))])),
        ("sendrawtransaction", json!(["00"])),
        (
            "sendrawtransaction",
            json!([to_hex(&spend(OutPoint { txid: Txid([9; 32]), vout: 0 }, 5_000, 1, 100))]),
        ),
        (
            "sendrawtransaction",
            json!([to_hex(&spend(OutPoint { txid: coin, vout: 0 }, 5_000_000_000, 1, 4_000_000_000))]),
        ),
        ("getmempoolentry", json!([missing])),
        ("getrawtransaction", json!([missing])),
        ("gettxoutproof", json!([[missing], hash(1)])),
        ("gettxoutsetinfo", json!(["nonsense"])),
        ("validateaddress", json!([])),
        ("decoderawtransaction", json!(["zz"])),
        ("estimatesmartfee", json!([0])),
        ("disconnectnode", json!(["1.2.3.4:5"])),
        ("setban", json!(["nonsense", "add"])),
        ("addnode", json!(["1.2.3.4:5", "remove"])),
        ("nosuchmethod", json!([])),
        ("getblockcount", json!([1])),
        ("invalidateblock", json!([missing])),
        ("generatetoaddress", json!([1, "nonsense"])),
    ];
    // Known and meant: what bitcoind shows only with -deprecatedrpc, or showed until lately, and older clients ask for;
    // what the peer has for options and indexes that do not exist here.
    let allowed = [
        "getpeerinfo[].addrlocal: theirs only",
        "getpeerinfo[].bytessent_per_msg",
        "getpeerinfo[].bytesrecv_per_msg",
        "getpeerinfo[].mapped_as",
        "getpeerinfo[].pingtime",
        "getpeerinfo[].minping",
        "getpeerinfo[].pingwait",
        "getmininginfo.currentblock",
        "getdeploymentinfo.deployments.testdummy: theirs only",
        "getdeploymentinfo.script_flags: theirs only",
        "getdeploymentinfo.deployments.taproot: ours only",
        "getmempoolinfo.fullrbf: ours only",
        "getmempoolentry.bip125-replaceable: ours only",
        "getmempoolancestors.",
        "getrawmempool.",
    ];
    let mut found = Vec::new();
    for (method, params) in calls {
        let ours = node.rpc.call(method, params.clone()).await;
        let theirs = tokio::task::block_in_place(|| core.try_rpc(method, params.clone()));
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => differences(method, &ours, &theirs, &mut found),
            (Err(lode_node::rpc::client::RpcClientError::Rpc(ours)), Err(theirs)) => {
                if i64::from(ours.code) != theirs.code {
                    found.push(format!("{method} {params}: {ours} here, {theirs:?} there"));
                }
            }
            (ours, theirs) => found.push(format!("{method} {params}: {ours:?} here, {theirs:?} there")),
        }
    }
    found.retain(|line| !allowed.iter().any(|allowed| line.starts_with(allowed)));
    assert!(found.is_empty(), "{}", found.join("\n"));
    node.handle.shutdown().await;
}
