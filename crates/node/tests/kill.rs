//! A node killed (-9) again and again while it syncs and follows reorganisations: each start goes on where the last one
//! was killed, none asks for anything, and in the end the unspent outputs are the peer's.
//!
//! The node runs in a process of its own: this test's binary, told by the environment to be one.

mod common;

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{ADDRESS, TestNode, options};
use lode_testkit::{Daemon, Peer, peer, rounds};
use serde_json::json;

/// Tells the child where its data lies and whom to call: `DIR|HOST:PORT`.
const CHILD: &str = "LODE_TEST_KILLED_NODE";
/// How long a start may take until it counts as hanging.
const PATIENCE: Duration = Duration::from_secs(60);

/// Not a test of its own: the node that the other one kills.
#[tokio::test(flavor = "multi_thread")]
async fn killed_node() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (dir, peer) = told.split_once('|').unwrap();
    let mut options = options(dir.as_ref());
    options.connect = vec![peer.to_owned()];
    options.filters = true;
    let node = lode_node::start(options).await.unwrap();
    node.stopped().await.unwrap();
}

fn start(dir: &std::path::Path, core: &Daemon) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["killed_node", "--exact", "--nocapture"])
        .env(CHILD, format!("{}|{}", dir.display(), core.p2p))
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_loses_anything() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let core = Daemon::start(&path, "regtest", &["-blockfilterindex"]);
    let make = |count: usize, address: &str| core.rpc("generatetoaddress", json!([count, address]));
    let kills = rounds(6, 200);
    let blocks = rounds(600, 1_000);
    for _ in 0..blocks / 200 {
        make(200, ADDRESS);
    }
    let dir = tempfile::tempdir().unwrap();
    let cookie = dir.path().join("bitcoin/regtest/.cookie");
    let mut state = 7u64;
    for round in 0..kills {
        let mut child = start(dir.path(), &core);
        // Half of the kills come while it opens, half while it syncs.
        let began = Instant::now();
        let _ = std::fs::remove_file(&cookie);
        while round % 2 == 1 && !cookie.exists() {
            assert!(began.elapsed() < PATIENCE, "round {round}: the node does not come up");
            assert!(child.try_wait().unwrap().is_none(), "round {round}: the node ended by itself");
            std::thread::sleep(Duration::from_millis(1));
        }
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        if round % 3 == 2 {
            // A branch of its own, so that some kills fall into a reorganisation.
            let height = core.rpc("getblockcount", json!([])).as_u64().unwrap();
            let fork = core.rpc("getblockhash", json!([height - 5]));
            core.rpc("invalidateblock", json!([fork]));
            let script = format!("raw(51{round:04x}7551)");
            core.rpc("generatetodescriptor", json!([8, script]));
        }
        // Something to sync in each round, before, while or after the node is killed.
        make(40, ADDRESS);
        std::thread::sleep(Duration::from_millis(state >> 33 & 0xff));
        assert!(child.try_wait().unwrap().is_none(), "round {round}: the node ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let address = core.p2p.to_string();
    let change = |options: &mut lode_node::NodeOptions| {
        options.connect = vec![address];
        options.filters = true;
    };
    let node = TestNode::start_in(dir, change).await;
    eprintln!(
        "after {kills} kills the node is at {} of {}",
        node.handle.tip().height,
        core.rpc("getblockcount", json!([]))
    );
    let wanted = core.rpc("getbestblockhash", json!([]));
    let mut tips = node.handle.subscribe();
    let reached = tips.wait_for(|tip| tip.hash.to_string() == wanted.as_str().unwrap());
    tokio::time::timeout(Duration::from_secs(300), reached).await.expect("the peer's tip").unwrap();
    let (ours, theirs) =
        (node.call("gettxoutsetinfo", json!([])).await, core.rpc("gettxoutsetinfo", json!([])));
    assert_eq!(ours["hash_serialized_3"], theirs["hash_serialized_3"]);
    // A filter header commits to all filters before it: where the last one is right all are.
    let last = loop {
        match node.rpc.call("getblockfilter", json!([wanted])).await {
            Ok(filter) => break filter,
            Err(error) => assert!(error.to_string().contains("being indexed"), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(last, core.rpc("getblockfilter", json!([wanted])));
    node.handle.shutdown().await;
}
