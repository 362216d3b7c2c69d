//! Two nodes and a miner: they disagree, one is behind, one dies and comes back, one refuses a block. The miner keeps its work,
//! and nothing found is lost. Left out, saying so, where bitcoind is not installed.

mod common;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::real::{Running, start};
use common::{ADDRESS, LEAST, Miner, coin};
use lode_pool::journal::BlockState;
use lode_primitives::BlockHash;
use lode_testkit::{Daemon, Peer, peer, rounds};
use serde_json::{Value, json};

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

fn two_nodes() -> Option<(Daemon, Daemon)> {
    let program: PathBuf = peer(Peer::Bitcoind)?;
    Some((Daemon::start(&program, "regtest", &[]), Daemon::start(&program, "regtest", &[])))
}

/// Somebody else's blocks; those of another `payee` are other blocks.
fn generate(node: &Daemon, blocks: u32, payee: u8) -> String {
    let address = coin().script_to_address(&[&[0u8, 20][..], &[payee; 20]].concat()).unwrap();
    node.rpc("generatetoaddress", json!([blocks, address]));
    node.rpc("getbestblockhash", json!([])).as_str().unwrap().to_owned()
}

fn connect(a: &Daemon, b: &Daemon) {
    a.rpc("addnode", json!([b.p2p.to_string(), "onetry"]));
}

/// Looks again and again until it holds.
fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < PATIENCE, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The block that the miner's job builds on, in the order people read.
fn parent(miner: &Miner) -> String {
    let words = hex::decode(miner.job["params"][1].as_str().unwrap()).unwrap();
    let mut bytes: Vec<u8> = words.chunks(4).flat_map(|word| word.iter().rev().copied()).collect();
    bytes.reverse();
    hex::encode(bytes)
}

/// Takes jobs over until one builds on `tip`.
fn work_on(miner: &mut Miner, tip: &str) {
    while parent(miner) != tip {
        miner.next_job();
    }
}

/// Mines on the miner's job until a share of it is a block.
fn find_block(running: &Running, miner: &mut Miner) -> BlockHash {
    let before = running.watch.blocks(100).len();
    for nonce in 0.. {
        miner.send(&miner.share(50, "rig", nonce));
        assert_eq!(miner.answer_or_job(50)["result"], true, "work goes on");
        if running.watch.blocks(100).len() > before {
            break;
        }
    }
    running.watch.blocks(1)[0].hash.parse().unwrap()
}

fn state(running: &Running, hash: &BlockHash) -> BlockState {
    running.watch.block(hash).expect("what was found is in the journal").state
}

fn has_in_chain(node: &Daemon, hash: &BlockHash) -> bool {
    let header = node.try_rpc("getblockheader", json!([hash.to_string()]));
    header.is_ok_and(|header: Value| header["confirmations"].as_i64() > Some(0))
}

fn used(running: &Running) -> Option<usize> {
    running.sources.view().iter().position(|node| node.used.is_some())
}

/// Runs what blocks on a thread of its own, so that the pool's tasks go on.
async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_disagree_are_told_of_and_the_longer_branch_is_mined_on() {
    let Some((a, b)) = two_nodes() else { return };
    let (tip_a, tip_b) = (generate(&a, 1, 1), generate(&b, 1, 2));
    assert_ne!(tip_a, tip_b);
    let running = start(coin(), &[&a, &b], LEAST);
    beside(move || {
        let mut miner = Miner::connect(running.pool.addresses()[0]);
        miner.login("rig");
        until("it is said", || running.sources.disagreement().is_some());
        let said = running.sources.disagreement().unwrap();
        assert!(said.contains("about block 1") && said.contains(&tip_a) && said.contains(&tip_b), "{said}");
        // The other branch grows: the miner is on it at once, and no longer does anybody disagree.
        let tip_b = generate(&b, 1, 2);
        work_on(&mut miner, &tip_b);
        assert_eq!((used(&running), running.sources.disagreement()), (Some(1), None));
        // The first node is behind and cannot take what is found; the other can, and that is enough.
        let hash = find_block(&running, &mut miner);
        until("accepted", || state(&running, &hash) == BlockState::Accepted);
        assert!(has_in_chain(&b, &hash) && !has_in_chain(&a, &hash));
        work_on(&mut miner, &hash.to_string());
        // Once they talk to each other the first has it too, and the miner has kept its work.
        connect(&a, &b);
        until("both have it", || has_in_chain(&a, &hash));
        let next = find_block(&running, &mut miner);
        until("both have the next", || has_in_chain(&a, &next) && has_in_chain(&b, &next));
        running.pool.stop();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_gone_for_a_while_is_done_without_and_returned_to() {
    let Some((mut a, b)) = two_nodes() else { return };
    connect(&b, &a);
    let tip = generate(&a, 1, 1);
    until("both are level", || b.rpc("getbestblockhash", json!([])) == tip.as_str());
    let running = start(coin(), &[&a, &b], LEAST);
    beside(move || {
        let mut miner = Miner::connect(running.pool.addresses()[0]);
        miner.login("rig");
        work_on(&mut miner, &tip);
        until("the first is in use", || used(&running) == Some(0));
        a.kill();
        let died = Instant::now();
        until("the second is in use", || used(&running) == Some(1));
        eprintln!("failed over {} ms after the kill", died.elapsed().as_millis());
        let trouble = running.sources.view()[0].trouble.clone().unwrap();
        assert!(trouble.contains(&a.rpc.to_string()), "{trouble}");
        // Work goes on all the while, new blocks and found ones among it.
        let mut found = Vec::new();
        while found.is_empty() || died.elapsed() < Duration::from_secs(rounds(3, 60) as u64) {
            let hash = find_block(&running, &mut miner);
            until("accepted", || {
                matches!(state(&running, &hash), BlockState::Accepted | BlockState::Confirmed { .. })
            });
            work_on(&mut miner, &hash.to_string());
            let tip = generate(&b, 1, 2);
            work_on(&mut miner, &tip);
            found.push(hash);
            std::thread::sleep(Duration::from_millis(rounds(300, 3_000) as u64));
        }
        a.restart();
        connect(&b, &a);
        until("the first has caught up", || found.iter().all(|hash| has_in_chain(&a, hash)));
        let back = Instant::now();
        until("the first is in use again", || used(&running) == Some(0));
        eprintln!(
            "{} blocks found meanwhile; back {} s after it had caught up",
            found.len(),
            back.elapsed().as_secs()
        );
        let hash = find_block(&running, &mut miner);
        until("both have it", || has_in_chain(&a, &hash) && has_in_chain(&b, &hash));
        running.pool.stop();
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_one_node_refuses_is_the_others() {
    let Some((a, b)) = two_nodes() else { return };
    connect(&b, &a);
    let tip = generate(&a, 2, 1);
    until("both are level", || b.rpc("getbestblockhash", json!([])) == tip.as_str());
    // The second node holds the tip for invalid: it refuses all that is built on it.
    b.rpc("invalidateblock", json!([tip]));
    let running = start(coin(), &[&b, &a], LEAST);
    beside(move || {
        let mut miner = Miner::connect(running.pool.addresses()[0]);
        miner.login("rig");
        work_on(&mut miner, &tip);
        let hash = find_block(&running, &mut miner);
        until("accepted", || state(&running, &hash) == BlockState::Accepted);
        assert!(has_in_chain(&a, &hash) && !has_in_chain(&b, &hash));
        assert_eq!(running.watch.paid_to(ADDRESS).1, 1);
        b.rpc("reconsiderblock", json!([tip]));
        // It may have left the node that gave it what it held for invalid, or have to be told of what it refused.
        connect(&b, &a);
        generate(&a, 1, 1);
        until("both have it", || has_in_chain(&b, &hash));
        running.pool.stop();
    })
    .await;
}

/// From somebody else's block at the node to the miner's new job, as the miner sees it. Told, not judged.
#[tokio::test(flavor = "multi_thread")]
async fn a_block_at_the_node_is_a_job_at_the_miner() {
    let Some((a, _)) = two_nodes() else { return };
    generate(&a, 1, 1);
    let running = start(coin(), &[&a], LEAST);
    beside(move || {
        let mut miner = Miner::connect(running.pool.addresses()[0]);
        miner.login("rig");
        let mut took: Vec<Duration> = (0..rounds(20, 200))
            .map(|_| {
                let before = Instant::now();
                let tip = generate(&a, 1, 1);
                work_on(&mut miner, &tip);
                assert_eq!(miner.job["params"][8], true);
                before.elapsed()
            })
            .collect();
        took.sort();
        eprintln!(
            "JSON-RPC long poll: from the call that makes a block to the miner's job {} us (median), {} us (longest)",
            took[took.len() / 2].as_micros(),
            took[took.len() - 1].as_micros()
        );
        running.pool.stop();
    })
    .await;
}
