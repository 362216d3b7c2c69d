//! JSON-RPC over a real socket, against a node in this process.

mod common;

use std::time::Duration;

use common::{ADDRESS, TestNode, options};
use lode_node::rpc::client::{RpcAuth, RpcClient, RpcClientError};
use lode_node::rpc::{Credentials, code};
use lode_node::{BlockStatus, NodeError, Submitted};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_made_and_shown() {
    let node = TestNode::start().await;
    let hashes = node.generate(3).await;
    assert_eq!(node.call("getblockcount", json!([])).await, 3);
    assert_eq!(node.call("getbestblockhash", json!([])).await, hashes[2].as_str());
    assert_eq!(node.call("getblockhash", json!({"height": 1})).await, hashes[0].as_str());
    let header = node.call("getblockheader", json!([hashes[1]])).await;
    assert_eq!(header["height"], 2);
    assert_eq!(header["confirmations"], 2);
    assert_eq!(header["nextblockhash"], hashes[2].as_str());
    let hex = node.call("getblockheader", json!([hashes[1], false])).await;
    assert_eq!(hex.as_str().unwrap().len(), 160);
    for verbosity in 0..=3 {
        let block = node.call("getblock", json!([hashes[1], verbosity])).await;
        assert_eq!(block.is_string(), verbosity == 0);
    }
    let info = node.call("getblockchaininfo", json!([])).await;
    assert_eq!((&info["chain"], &info["blocks"]), (&json!("regtest"), &json!(3)));
    assert_eq!(node.call("gettxoutsetinfo", json!(["muhash"])).await["txouts"], 3);
    node.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_calls_get_bitcoinds_codes() {
    let node = TestNode::start().await;
    let unknown = "11".repeat(32);
    for (method, params, wanted) in [
        ("nosuchmethod", json!([]), code::METHOD_NOT_FOUND),
        ("getblock", json!([unknown]), code::INVALID_ADDRESS_OR_KEY),
        ("getblock", json!(["11"]), code::INVALID_PARAMETER),
        ("getblock", json!([]), code::MISC_ERROR),
        ("getblock", json!([7]), code::TYPE_ERROR),
        ("getblockhash", json!([99]), code::INVALID_PARAMETER),
        ("getblockhash", json!({"nosuch": 1}), code::INVALID_PARAMETER),
        ("getblocktemplate", json!([]), code::INVALID_PARAMETER),
        ("getblocktemplate", json!([{"mode": "proposal"}]), code::TYPE_ERROR),
        ("submitblock", json!(["00"]), code::DESERIALIZATION_ERROR),
        ("submitheader", json!(["00"]), code::DESERIALIZATION_ERROR),
        ("sendrawtransaction", json!(["zz"]), code::DESERIALIZATION_ERROR),
        ("getmempoolentry", json!([unknown]), code::INVALID_ADDRESS_OR_KEY),
        ("generatetoaddress", json!([1, "nonsense"]), code::INVALID_ADDRESS_OR_KEY),
        ("disconnectnode", json!(["127.0.0.1:1"]), code::CLIENT_NODE_NOT_CONNECTED),
        ("setban", json!(["nonsense", "add"]), code::CLIENT_INVALID_IP_OR_SUBNET),
        ("invalidateblock", json!([unknown]), code::INVALID_ADDRESS_OR_KEY),
        ("estimatesmartfee", json!([0]), code::INVALID_PARAMETER),
    ] {
        assert_eq!(node.error(method, params.clone()).await.0, wanted, "{method} {params}");
    }
    node.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_template_becomes_a_block() {
    let node = TestNode::start().await;
    node.generate(1).await;
    let template = node.call("getblocktemplate", json!([{"rules": ["segwit"]}])).await;
    assert_eq!(template["height"], 2);
    assert_eq!(template["coinbasevalue"], 5_000_000_000_i64);
    let made = node.call("generateblock", json!([ADDRESS, [], false])).await;
    let hex = made["hex"].as_str().unwrap().to_owned();
    let proposal = json!([{"mode": "proposal", "data": hex, "rules": ["segwit"]}]);
    assert_eq!(node.call("getblocktemplate", proposal.clone()).await, Value::Null);
    let mut tips = node.handle.subscribe();
    tips.mark_unchanged();
    assert_eq!(node.call("submitblock", json!([hex])).await, Value::Null);
    tips.changed().await.unwrap();
    assert_eq!(node.handle.tip().hash.to_string(), made["hash"].as_str().unwrap());
    assert_eq!(node.call("submitblock", json!([hex])).await, "duplicate");
    assert_eq!(node.call("getblocktemplate", proposal).await, "duplicate");
    assert_eq!(node.handle.block_status(&node.handle.tip().hash), BlockStatus::InBestChain { depth: 0 });
    node.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_poll_answers_with_the_next_block() {
    let node = TestNode::start().await;
    node.generate(1).await;
    let first = node.call("getblocktemplate", json!([{"rules": ["segwit"]}])).await;
    let request = json!([{"rules": ["segwit"], "longpollid": first["longpollid"]}]);
    let poll = node.rpc.call_within("getblocktemplate", request, Duration::from_secs(30));
    let (polled, hashes) = tokio::join!(poll, async {
        // The poll may still be on its way: whichever comes first, it answers for the new tip.
        node.generate(1).await
    });
    assert_eq!(polled.unwrap()["previousblockhash"], hashes[0].as_str());
    let waited = node.call("waitforblockheight", json!([2, 10_000])).await;
    assert_eq!(waited["height"], 2);
    node.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_is_taken_back_and_put_again() {
    let node = TestNode::start().await;
    let hashes = node.generate(5).await;
    node.call("invalidateblock", json!([hashes[3]])).await;
    assert_eq!(node.call("getblockcount", json!([])).await, 3);
    let tips = node.call("getchaintips", json!([])).await;
    let statuses: Vec<&str> =
        tips.as_array().unwrap().iter().map(|tip| tip["status"].as_str().unwrap()).collect();
    assert!(statuses.contains(&"active") && statuses.contains(&"invalid"), "{tips}");
    let hash = hashes[4].parse().unwrap();
    assert_eq!(node.handle.block_status(&hash), BlockStatus::Invalid);
    node.call("reconsiderblock", json!([hashes[3]])).await;
    assert_eq!(node.call("getblockcount", json!([])).await, 5);
    node.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_block_is_refused_with_its_reason() {
    let node = TestNode::start().await;
    node.generate(1).await;
    let made = node.call("generateblock", json!([ADDRESS, [], false])).await;
    let mut bytes = hex::decode(made["hex"].as_str().unwrap()).unwrap();
    let last = bytes.len() - 1;
    bytes[last] ^= 1; // the coinbase's lock time
    let block: lode_primitives::Block =
        lode_primitives::Decode::from_bytes(&bytes, node.handle.coin().form).unwrap();
    let submitted = node.handle.submit_block(block).await;
    let Submitted::Rejected { reason, unjudged, .. } = submitted else { panic!("{submitted:?}") };
    assert_eq!((reason.as_str(), unjudged), ("bad-txnmrklroot", false));
    assert_eq!(node.call("submitblock", json!([hex::encode(bytes)])).await, "bad-txnmrklroot");
    node.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn proofs_round_trip() {
    let node = TestNode::start().await;
    let hashes = node.generate(2).await;
    let block = node.call("getblock", json!([hashes[0]])).await;
    let txid = block["tx"][0].clone();
    let proof = node.call("gettxoutproof", json!([[txid], hashes[0]])).await;
    assert_eq!(node.call("verifytxoutproof", json!([proof])).await, json!([txid]));
    assert_eq!(node.call("gettxoutproof", json!([[txid]])).await, proof);
    assert_eq!(node.call("gettxout", json!([txid, 0])).await["confirmations"], 2);
    assert_eq!(node.call("gettxout", json!([txid, 7])).await, Value::Null);
    node.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chain_is_there_after_a_restart_and_the_directory_is_one_nodes() {
    let node = TestNode::start().await;
    let hashes = node.generate(10).await;
    let second = lode_node::start(options(node.dir.path())).await;
    assert!(matches!(second, Err(NodeError::Open(_))), "{second:?}");
    node.handle.shutdown().await;
    let TestNode { handle, dir, .. } = node;
    drop(handle);
    let node = TestNode::start_in(dir, |_| {}).await;
    assert_eq!(node.call("getbestblockhash", json!([])).await, hashes[9].as_str());
    node.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut options = options(dir.path());
    options.rpc_bind = Some(taken.local_addr().unwrap());
    let error = lode_node::start(options).await.unwrap_err();
    assert!(error.to_string().contains("cannot listen for RPC"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_who_has_the_cookie_or_the_password_may_call() {
    let user = Credentials { user: "alice".into(), password: "secret".into() };
    let allowed = user.clone();
    let node =
        TestNode::start_in(tempfile::tempdir().unwrap(), |options| options.rpc_user = Some(allowed)).await;
    let address = node.handle.rpc_address().unwrap().to_string();
    let client = |user| RpcClient::new(&address, RpcAuth::User(user)).unwrap();
    client(user.clone()).call("uptime", json!([])).await.unwrap();
    let wrong = client(Credentials { password: "guess".into(), ..user });
    assert!(matches!(wrong.call("uptime", json!([])).await, Err(RpcClientError::Unauthorized(_))));
    node.handle.shutdown().await;
    // The cookie is gone with the node, and its client says what to look at.
    let gone =
        RpcClient::new(&address, RpcAuth::Cookie(node.dir.path().join("bitcoin/regtest/.cookie"))).unwrap();
    assert!(matches!(gone.call("uptime", json!([])).await, Err(RpcClientError::Cookie { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_reads_the_new_cookie_of_a_restarted_node() {
    let dir = tempfile::tempdir().unwrap();
    let port = lode_testkit::free_address();
    let node = TestNode::start_in(dir, |options| options.rpc_bind = Some(port)).await;
    node.call("uptime", json!([])).await;
    node.handle.shutdown().await;
    let TestNode { handle, rpc, dir } = node;
    drop(handle);
    let second = TestNode::start_in(dir, |options| options.rpc_bind = Some(port)).await;
    rpc.call("uptime", json!([])).await.unwrap();
    second.handle.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stop_by_rpc_ends_the_node() {
    let node = TestNode::start().await;
    node.call("stop", json!([])).await;
    node.handle.stopped().await.unwrap();
    node.handle.shutdown().await;
}

/// Sends bytes, and gives what comes back until the server ends the connection.
async fn talk(address: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut reply = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(60), stream.read_to_end(&mut reply)).await.unwrap();
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_port_does_no_harm() {
    let node = TestNode::start().await;
    let address = node.handle.rpc_address().unwrap();
    let cookie = Credentials::from_cookie(&node.handle.directory().join(".cookie")).unwrap().basic();
    let mut noise = Vec::new();
    let mut state = 1u64;
    for _ in 0..4_096 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise.push((state >> 56) as u8);
    }
    let post = |headers: &str, body: &[u8]| {
        let mut bytes = format!("POST / HTTP/1.1\r\nHost: x\r\n{headers}\r\n").into_bytes();
        bytes.extend_from_slice(body);
        bytes
    };
    let auth = format!("Authorization: {cookie}\r\n");
    let long_header = format!("X: {}\r\n", "a".repeat(1 << 20));
    let deep = "[".repeat(100_000);
    let deep_post = format!("{auth}Content-Length: {}\r\n", deep.len());
    for bytes in [
        noise.clone(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        post("Content-Length: 99999999999999\r\n", b"{}"),
        post(&format!("{auth}Content-Length: 99999999\r\n"), b"{}"),
        post(&format!("{auth}Content-Length: 4096\r\n"), &noise),
        post(&long_header, b""),
        post(&deep_post, deep.as_bytes()),
        post("Authorization: Basic !!!\r\nContent-Length: 2\r\n", b"{}"),
        post("Transfer-Encoding: chunked\r\n", b"fffffffffffffffff\r\n"),
    ] {
        talk(address, &bytes).await;
    }
    // More connections than are taken at one time; those beyond are closed at once, and room comes back.
    let many: Vec<TcpStream> = {
        let mut many = Vec::new();
        for _ in 0..300 {
            many.push(TcpStream::connect(address).await.unwrap());
        }
        many
    };
    drop(many);
    let mut tries = 0;
    while node.rpc.call("uptime", json!([])).await.is_err() {
        tries += 1;
        assert!(tries < 1_000, "no room came back");
        tokio::task::yield_now().await;
    }
    node.handle.shutdown().await;
}

/// Every method with every odd value in every place: an error or an answer, never a panic (which would show as an
/// internal error, or as a connection that breaks).
#[tokio::test(flavor = "multi_thread")]
async fn odd_parameters_do_no_harm() {
    let node = TestNode::start().await;
    let hash = node.generate(3).await.remove(0);
    let block = node.call("getblock", json!([hash, 0])).await;
    let coinbase = node.call("getblock", json!([hash])).await["tx"][0].clone();
    let help = node.call("help", json!([])).await;
    let names = help.as_str().unwrap().lines().filter(|line| !line.is_empty() && !line.starts_with("=="));
    let odd = [
        Value::Null,
        json!(true),
        json!(-1),
        json!(0),
        json!(1),
        json!(4_294_967_296_i64),
        json!(u64::MAX),
        json!(1.5),
        serde_json::from_str("1e999").unwrap_or(json!(0.5)),
        json!(""),
        json!("00"),
        json!("zz"),
        json!("ff".repeat(32)),
        json!("\u{0}\u{ff}é"),
        json!(hash),
        block,
        coinbase.clone(),
        json!(ADDRESS),
        json!("add"),
        json!("1.2.3.4/33"),
        json!("addr()#"),
        json!([]),
        json!([null, {}, [], "00", -1]),
        json!([coinbase, hash]),
        json!([{"txid": "00", "vout": -1}]),
        json!([{"txid": coinbase, "vout": 1e9}]),
        json!([{ADDRESS: 21e9}, {"data": "0"}]),
        json!({}),
        json!({"mode": "proposal", "data": "00"}),
        json!({"rules": [1, null], "longpollid": 7}),
        json!({"rules": ["segwit"], "longpollid": "é".repeat(40)}),
    ];
    let mut calls = 0;
    for line in names {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap();
        let count = words.filter(|word| !matches!(*word, "(" | ")")).count();
        if ["stop", "generatetoaddress", "generatetodescriptor"].contains(&name) {
            continue;
        }
        for place in 0..=count {
            for value in &odd {
                let mut params = vec![json!(hash), coinbase.clone(), json!(1), json!(true), json!(1)];
                params.resize(count, json!(1));
                if place < count {
                    params[place] = value.clone();
                } else {
                    params = vec![value.clone(); count];
                }
                let within =
                    Duration::from_millis(if name.starts_with("waitfor") || name == "getblocktemplate" {
                        20
                    } else {
                        20_000
                    });
                calls += 1;
                match node.rpc.call_within(name, json!(params), within).await {
                    Ok(_) => {}
                    Err(RpcClientError::Rpc(error)) => assert!(
                        error.code != code::INTERNAL_ERROR || !error.message.contains("internal error in"),
                        "{name} {params:?}: {error}"
                    ),
                    Err(RpcClientError::Timeout { .. }) if within < Duration::from_secs(1) => {}
                    Err(other) => panic!("{name} {params:?}: {other}"),
                }
            }
        }
    }
    assert!(calls > 3_000, "{calls}");
    assert_eq!(node.call("getblockcount", json!([])).await.as_i64().map(|height| height >= 0), Some(true));
    node.handle.shutdown().await;
}
