//! The light client on real nodes: it finds what a full scan finds, follows reorganisations, proves, pays, and goes on
//! where it was killed.

mod common;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use common::{PATIENCE, World, block, matching, regtest, until};
use lode_chain::testing::payments;
use lode_light::proof::Proof;
use lode_light::watch::WatchList;
use lode_light::{LightClient, LightOptions, Place, read_headers};
use lode_primitives::{Encode, Height, ScriptBuf, Transaction};
use lode_testkit::{Daemon, Peer, peer, rounds};
use serde_json::{Value, json};

/// Coinbases here pay to whom they may, which is no standard script.
const FILTERS: [&str; 4] =
    ["-blockfilterindex", "-peerblockfilters", "-maxtipage=999999999", "-acceptnonstdtxn"];

/// Two nodes connected to each other, with a chain of payments between outputs of every kind.
fn nodes(world: &World) -> Option<(Daemon, Daemon)> {
    let path = peer(Peer::Bitcoind)?;
    let first = Daemon::start(&path, "regtest", &FILTERS);
    let connect = format!("-connect={}", first.p2p);
    let second = Daemon::start(&path, "regtest", &[&FILTERS[..], &[connect.as_str()]].concat());
    for block in &world.blocks[1..] {
        assert_eq!(first.rpc("submitblock", json!([hex::encode(block.to_bytes())])), Value::Null);
    }
    settle(&first, &second);
    Some((first, second))
}

/// Waits until both have the same tip, filters included: a daemon tells nobody.
fn settle(first: &Daemon, second: &Daemon) {
    let tip = first.rpc("getbestblockhash", json!([]));
    for node in [first, second] {
        let began = std::time::Instant::now();
        while node.try_rpc("getblockfilter", json!([tip])).is_err() {
            assert!(began.elapsed() < PATIENCE, "nodes agree");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// Looks through the chain as `lode light` does, with a list that is read from its file again each time.
async fn follow(client: &LightClient, directory: &std::path::Path, scripts: &[ScriptBuf]) -> WatchList {
    let mut list = WatchList::open(regtest(), directory).unwrap();
    for script in scripts {
        list.watch(script.clone(), &hex::encode(script), 0).unwrap();
    }
    client.with_headers(|headers| list.follow(headers));
    let tip = client.status().tip.height;
    while let Some(stretch) = list.next(tip) {
        let asking = client.clone();
        let (wanted, from, to) = (stretch.scripts.clone(), stretch.from, stretch.to);
        let places = tokio::task::spawn_blocking(move || asking.matching(wanted, from, to)).await.unwrap();
        for place in places.unwrap() {
            list.take(&*block(client, place.hash).await, place);
        }
        let hash = client.block_hash(stretch.to).unwrap();
        list.done(&stretch, Place { height: stretch.to, hash });
    }
    list.save().unwrap();
    list
}

/// The sum that a full scan of the unspent outputs finds, in satoshi.
fn scanned(node: &Daemon, scripts: &[ScriptBuf]) -> i64 {
    let objects: Vec<String> = scripts.iter().map(|script| format!("raw({})", hex::encode(script))).collect();
    let scan = node.rpc("scantxoutset", json!(["start", objects]));
    assert_eq!(scan["success"], true);
    (scan["total_amount"].to_string().parse::<f64>().unwrap() * 1e8).round() as i64
}

#[tokio::test(flavor = "multi_thread")]
async fn it_finds_what_a_full_scan_finds() {
    let world = World::new(30, 0);
    let Some((first, second)) = nodes(&world) else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut options = LightOptions::new(regtest(), dir.path());
    options.connect = vec![first.p2p.to_string()];
    let client = LightClient::start(options).await.unwrap();
    client.connect(second.p2p.to_string());
    let synced =
        |height: Height| move |status: &lode_light::Status| status.synced && status.tip.height == height;
    until(&client, "both are compared", |status| status.filter_peers == 2 && synced(world.height())(status))
        .await;

    // Every script there is, each by itself and all together, and what they hold.
    let scripts = world.scripts();
    assert!(scripts.len() >= payments::KINDS);
    assert_eq!(matching(&client, scripts.clone(), world.height()).await, world.places(&scripts));
    for script in &scripts {
        let one = vec![script.clone()];
        assert_eq!(matching(&client, one.clone(), world.height()).await, world.places(&one));
    }
    let list = follow(&client, dir.path(), &scripts).await;
    assert_eq!(list.balance(), scanned(&first, &scripts));
    let mut all = BTreeSet::new();
    let own: BTreeSet<&[u8]> = scripts.iter().map(Vec::as_slice).collect();
    let mut outputs = BTreeSet::new();
    for transaction in world.blocks.iter().flat_map(|block| &block.transactions) {
        let (txid, spends) =
            (transaction.txid(), transaction.inputs.iter().any(|i| outputs.contains(&i.prevout)));
        for (vout, output) in (0..).zip(&transaction.outputs) {
            if own.contains(output.script_pubkey.as_slice()) {
                outputs.insert(lode_primitives::OutPoint { txid, vout });
                all.insert(txid.to_string());
            }
        }
        if spends {
            all.insert(txid.to_string());
        }
    }
    assert_eq!(list.found().map(|(txid, _)| txid.to_owned()).collect::<BTreeSet<_>>(), all);

    // Every payment's proof holds, offline, from the files alone.
    let headers = read_headers(regtest(), dir.path()).unwrap();
    for (txid, found) in list.found() {
        let proof = Proof::read(found.proof.to_json().as_bytes()).unwrap();
        let verified = proof.verify(&headers).unwrap();
        assert_eq!(verified.txid.to_string(), txid);
        let told = first.rpc("getrawtransaction", json!([txid, 1]));
        assert_eq!(told["confirmations"], verified.confirmations);
        assert_eq!(told["blockhash"], verified.block.to_string());
    }

    // A reorganisation takes payments back, and brings others: those waiting in the mempool are mined again.
    let fork = world.height() - 4;
    let hash = world.blocks[fork as usize].hash().to_string();
    first.rpc("invalidateblock", json!([hash]));
    first.rpc("generateblock", json!(["raw(51)", []]));
    first.rpc("generatetodescriptor", json!([9, "raw(51)"]));
    settle(&first, &second);
    until(&client, "the reorganisation", synced(world.height() + 5)).await;
    let list = follow(&client, dir.path(), &scripts).await;
    assert_eq!(list.balance(), scanned(&first, &scripts));
    assert_eq!(list.balance(), scanned(&second, &scripts));
    assert!(client.left().is_empty(), "{:?}", client.left());

    // A transaction handed in reaches the nodes' mempools.
    let tx = spendable(&world, &first);
    assert_eq!(client.broadcast(&tx).unwrap(), 2);
    let waiting = async {
        while !first.rpc("getrawmempool", json!([])).to_string().contains(&tx.txid().to_string()) {
            tokio::time::sleep(Duration::from_millis(20)).await; // a daemon tells nobody
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.expect("the transaction arrives");
    client.shutdown().await.unwrap();
}

/// A transaction that spends a coinbase anybody can spend, which no block or mempool has.
fn spendable(world: &World, node: &Daemon) -> Transaction {
    let coinbases = world.blocks[1..].iter().map(|block| &block.transactions[0]);
    for coinbase in coinbases {
        let txid = coinbase.txid();
        let unspent = node.rpc("gettxout", json!([txid.to_string(), 0]));
        if unspent["confirmations"].as_u64().is_some_and(|deep| deep > 100)
            && unspent["scriptPubKey"]["hex"] == "51"
        {
            let value = coinbase.outputs[0].value.to_sat() - 50_000;
            let mut spend =
                lode_chain::testing::spend(&[lode_primitives::OutPoint { txid, vout: 0 }], &[value]);
            // To a witness program, so that every policy likes it.
            spend.outputs[0].script_pubkey = [&[0, 20][..], &[7; 20]].concat();
            return spend;
        }
    }
    panic!("no coinbase is left");
}

/// Tells the child where its data lies and whom to call: `DIR|HOST:PORT`.
const CHILD: &str = "LODE_TEST_KILLED_LIGHT";

/// Not a test of its own: the light client that the next one kills. It says how far it is.
#[tokio::test(flavor = "multi_thread")]
async fn killed_light_client() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (dir, peer) = told.split_once('|').unwrap();
    let mut options = LightOptions::new(regtest(), dir);
    options.connect = vec![peer.to_owned()];
    let client = LightClient::start(options).await.unwrap();
    let mut changes = client.subscribe();
    loop {
        let status = *changes.borrow_and_update();
        println!("at {} {} {}", status.tip.height, status.filter_headers, status.synced);
        changes.changed().await.unwrap();
    }
}

fn start(dir: &std::path::Path, core: &Daemon) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["killed_light_client", "--exact", "--nocapture"])
        .env(CHILD, format!("{}|{}", dir.display(), core.p2p))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_sync_goes_on_where_it_was() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let core = Daemon::start(&path, "regtest", &FILTERS);
    for _ in 0..rounds(12, 60) {
        core.rpc("generatetodescriptor", json!([1_000, "raw(51)"]));
    }
    let dir = tempfile::tempdir().unwrap();
    let (mut kills, mut headers) = (0, 0);
    let mut state = 11u64;
    loop {
        let mut child = start(dir.path(), &core);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // After some words of progress, at the latest when it is done.
        let (mut words, mut done) = (1 + (state >> 33) % 4, false);
        for line in lines.by_ref() {
            let Some(told) = line.strip_prefix("at ") else { continue };
            let told: Vec<&str> = told.split(' ').collect();
            let (at, filters): (Height, Height) = (told[0].parse().unwrap(), told[1].parse().unwrap());
            assert!(at >= headers, "kill {kills}: began again at {at} after {headers}");
            headers = at;
            words -= 1;
            done = told[2] == "true" && filters == at + 1;
            if words == 0 || done {
                break;
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
        if done {
            break;
        }
        kills += 1;
        // What was told is in the file.
        assert!(read_headers(regtest(), dir.path()).unwrap().height() >= headers);
    }
    eprintln!("{kills} kills on the way to {headers} headers");
    assert!(kills > 3 && core.rpc("getblockcount", json!([])) == headers);
    let best = read_headers(regtest(), dir.path()).unwrap().tip().hash().to_string();
    assert_eq!(core.rpc("getbestblockhash", json!([])), best);
}
