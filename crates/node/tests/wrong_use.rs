//! Calls made wrongly: every method with too few and too many parameters, and with each of them of every wrong kind, to
//! this node and to bitcoind. The error codes must be the same.

mod common;

use common::{ADDRESS, TestNode};
use lode_node::rpc::client::RpcClientError;
use lode_node::rpc::method_args;
use lode_testkit::{Daemon, Peer, peer};
use serde_json::{Value, json};

/// Methods that end or hold up the run.
const LEFT_OUT: [&str; 2] = ["stop", "waitfornewblock"];
/// What is meant to be different: there is no such method here.
const ANSWERED_OTHERWISE: [&str; 1] = ["preciousblock"];

/// One call, as its error's code; 0 where it succeeds.
async fn code(node: &TestNode, method: &str, params: &Value) -> i64 {
    match node.rpc.call(method, params.clone()).await {
        Ok(_) => 0,
        Err(RpcClientError::Rpc(error)) => error.code.into(),
        Err(error) => panic!("{method} {params}: {error}"),
    }
}

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

#[tokio::test(flavor = "multi_thread")]
async fn wrong_calls_have_bitcoinds_error_codes() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let core = Daemon::start(&path, "regtest", &[]);
    let node = TestNode::start().await;
    core.rpc("generatetoaddress", json!([5, ADDRESS]));
    node.generate(5).await;
    let help = node.call("help", json!([])).await;
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
            let ours = code(&node, method, &params).await;
            let theirs = tokio::task::block_in_place(|| core.try_rpc(method, params.clone()))
                .map_or_else(|error| error.code, |_| 0);
            if ours != theirs {
                different.push(format!("{method} {params}: {ours} here, {theirs} there"));
            }
        }
    }
    assert!(different.is_empty(), "of {calls} calls {}:\n{}", different.len(), different.join("\n"));
    assert!(calls > 1_000, "{calls}");
    node.handle.shutdown().await;
}
