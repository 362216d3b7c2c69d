//! Calls made wrongly: every method with too few and too many parameters, and with each of them of every wrong kind, to
//! this node and to bitcoind. The error codes must be the same.

mod running;

use lode_node::rpc::method_args;
use lode_testkit::{Daemon, Peer, peer};
use running::{ADDRESS, Node};
use serde_json::{Value, json};

/// Methods that end or hold up the run.
const LEFT_OUT: [&str; 2] = ["stop", "waitfornewblock"];
/// What is meant to be different: there is no such method here.
const ANSWERED_OTHERWISE: [&str; 1] = ["preciousblock"];

/// Parameter lists that are wrong in one place each.
fn wrong(method: &str) -> Vec<Value> {
    let args = method_args(method).unwrap().len();
    let mut lists = vec![json!([]), json!(vec![1; 25]), json!({"nosuch": 1})];
    for place in 0..args {
        for value in [
            json!("x"),
            json!(-1),
            json!(1.5),
            json!(true),
            json!([]),
            json!({"a": 1}),
            json!("00".repeat(32)),
            json!(99_999_999_999_i64),
        ] {
            // A number of blocks is obeyed, and a long wait is waited.
            if (method.starts_with("generate") || method.starts_with("wait")) && value.is_i64() {
                continue;
            }
            for before in [json!("x"), Value::Null].into_iter().take(place + 1) {
                let mut list = vec![before; place];
                list.push(value.clone());
                lists.push(list.into());
            }
        }
    }
    lists
}

#[test]
fn wrong_calls_have_bitcoinds_error_codes() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let core = Daemon::start(&path, "regtest", &[]);
    let dir = tempfile::tempdir().unwrap();
    let node = Node::start(dir.path(), &[]);
    core.rpc("generatetoaddress", json!([5, ADDRESS]));
    node.call("generatetoaddress", json!([5, ADDRESS]));
    let help = node.call("help", json!([]));
    let methods = help.as_str().unwrap().lines().filter(|line| !line.starts_with("==") && !line.is_empty());
    let mut different = Vec::new();
    let mut calls = 0;
    for method in methods.filter_map(|line| line.split(' ').next()) {
        if LEFT_OUT.contains(&method) || ANSWERED_OTHERWISE.contains(&method) {
            continue;
        }
        for params in wrong(method) {
            if method.starts_with("wait") && params.as_array().is_some_and(|list| list.len() > 1) {
                continue;
            }
            calls += 1;
            let ours = node.try_call(method, params.clone()).map_err(|(code, _)| code);
            let theirs = core.try_rpc(method, params.clone()).map_err(|error| error.code);
            assert_ne!(ours, Err(0), "{method} {params} is not answered");
            if ours.as_ref().err() != theirs.as_ref().err() {
                different.push(format!("{method} {params}: {ours:?} here, {theirs:?} there"));
            }
        }
    }
    assert!(different.is_empty(), "of {calls} calls {}:\n{}", different.len(), different.join("\n"));
    eprintln!("{calls} wrong calls, each with bitcoind's error code");
    assert!(calls > 1_000, "{calls}");
    node.stop();
}
