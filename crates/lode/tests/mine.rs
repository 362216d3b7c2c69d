//! `lode mine` as a user runs it on prime chains: alone on a node, and the benchmark.

mod running;

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use running::Node;
use serde_json::{Value, json};

fn lode_mine(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lode"));
    command.args(["mine", "-a", "prime", "--json"]).args(args).stdin(Stdio::null());
    command
}

#[test]
fn blocks_are_mined_alone_on_nodes_of_both_prime_coins() {
    let script = [&[0x76, 0xa9, 20][..], &[7; 20], &[0x88, 0xac]].concat();
    for coin in ["primecoin", "datacoin"] {
        let address = lode_coins::find(coin, "regtest").unwrap().script_to_address(&script).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let node = Node::start(dir.path(), &["--coin", coin]);
        let cookie = dir.path().join(coin).join("regtest").join(".cookie");
        let url = format!("http://{}", node.rpc);
        let mut miner = lode_mine(&[
            "-o",
            &url,
            "--rpc-cookie",
            cookie.to_str().unwrap(),
            "--coinbase-addr",
            &address,
            "-t",
            "1",
        ])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
        // Each block accepted is told; after some the miner is stopped.
        let mut accepted = 0;
        for line in BufReader::new(miner.stdout.take().unwrap()).lines() {
            let event: Value = serde_json::from_str(&line.unwrap()).unwrap();
            assert_ne!(event["event"], "refused", "{event}");
            accepted += u32::from(event["event"] == "accepted");
            if accepted == 5 {
                break;
            }
        }
        let _ = miner.kill();
        let _ = miner.wait();
        assert_eq!(accepted, 5, "{coin}: the miner ended");
        assert!(node.call("getblockcount", json!([])).as_u64() >= Some(5));
        for height in 1..=5 {
            let hash = node.call("getblockhash", json!([height]));
            let block = node.call("getblock", json!([hash, 2]));
            assert_eq!(block["tx"][0]["vout"][0]["scriptPubKey"]["hex"], hex::encode(&script));
            assert!(block["primechain"].as_str().unwrap().contains('.'), "{block}");
        }
    }
}

#[test]
fn the_benchmark_tells_tests_a_second() {
    let output = lode_mine(&["--benchmark", "-t", "1"]).output().unwrap();
    let told = String::from_utf8(output.stdout).unwrap();
    let result: Value = serde_json::from_str(told.trim()).unwrap();
    assert_eq!((&result["event"], &result["algorithm"]), (&json!("benchmark"), &json!("prime")));
    assert!(result["tests_per_second"].as_f64() > Some(0.0), "{told}");
}
