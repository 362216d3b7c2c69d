//! The real binary killed (-9) at random moments while it syncs from a real bitcoind and follows its reorganisations:
//! every start goes on where the last one was killed, and in the end the unspent outputs are the peer's.

mod running;

use std::time::{Duration, Instant};

use lode_testkit::{Daemon, Peer, peer, rounds};
use running::{ADDRESS, Node};
use serde_json::json;

#[test]
fn no_kill_of_the_binary_loses_anything() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let core = Daemon::start(&path, "regtest", &[]);
    let make = |count: usize, address: &str| core.rpc("generatetoaddress", json!([count, address]));
    make(rounds(400, 1_000), ADDRESS);
    let dir = tempfile::tempdir().unwrap();
    let connect = core.p2p.to_string();
    let kills = rounds(8, 200);
    let began = Instant::now();
    let mut random = 7u64;
    let (mut opening, mut reorganised) = (0, 0);
    for round in 0..kills {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let mut node = Node::spawn(dir.path(), &["--connect", &connect]);
        // A third of the kills come while it opens, the others while it syncs or reorganises.
        if round % 3 == 0 {
            node.wait_for("opening the chain");
            opening += 1;
        } else {
            node.wait_until_up();
        }
        if round % 3 == 2 {
            let height = core.rpc("getblockcount", json!([])).as_u64().unwrap();
            let depth = 1 + (random >> 50) % 20;
            let fork = core.rpc("getblockhash", json!([height - depth]));
            core.rpc("invalidateblock", json!([fork]));
            core.rpc("generatetodescriptor", json!([depth + 3, format!("raw(51{round:04x}7551)")]));
            reorganised += 1;
        }
        make(30, ADDRESS);
        std::thread::sleep(Duration::from_millis((random >> 33) % 200));
        assert!(node.is_running(), "round {round}: {}", node.said());
        running::assert_no_panic(&node.said());
        node.kill();
    }
    let node = Node::start(dir.path(), &["--connect", &connect]);
    let height = node.call("getblockcount", json!([]));
    node.wait_for_tip(&core.rpc("getbestblockhash", json!([])));
    let (ours, theirs) = (node.call("gettxoutsetinfo", json!([])), core.rpc("gettxoutsetinfo", json!([])));
    eprintln!(
        "{kills} kills ({opening} while opening, {reorganised} with a reorganisation) in {:?}: the last start was at {height} \
         of {}, and both have {}",
        began.elapsed(),
        theirs["height"],
        theirs["hash_serialized_3"]
    );
    assert_eq!(ours["hash_serialized_3"], theirs["hash_serialized_3"]);
    assert!(!node.stop().contains("ERROR"));
}
