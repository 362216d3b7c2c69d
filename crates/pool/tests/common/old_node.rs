//! A node of the 0.8 series (primecoind, datacoind) as far as a pool meets one: the methods and fields of that time and no others, with
//! a Lode node beneath that checks the blocks.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use lode_node::rpc::client::{RpcClient, RpcClientError};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What `getblocktemplate` had then.
const TEMPLATE: [&str; 13] = [
    "version",
    "previousblockhash",
    "transactions",
    "coinbaseaux",
    "coinbasevalue",
    "target",
    "mintime",
    "mutable",
    "noncerange",
    "sigoplimit",
    "sizelimit",
    "curtime",
    "bits",
];
/// And of a transaction in it.
const TRANSACTION: [&str; 5] = ["data", "hash", "depends", "fee", "sigops"];
/// What `getblock` had then, as far as coins with prime chains go.
const BLOCK: [&str; 11] = [
    "hash",
    "confirmations",
    "size",
    "height",
    "version",
    "merkleroot",
    "tx",
    "time",
    "nonce",
    "bits",
    "previousblockhash",
];

/// The node; it ends with [`OldNode::stop`] or when dropped.
pub(crate) struct OldNode {
    pub(crate) address: SocketAddr,
    /// Methods that were called.
    pub(crate) calls: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Drop for OldNode {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl OldNode {
    /// Listens at `address` for the user `me` with the password `secret`; `below` is the node beneath.
    pub(crate) async fn start(address: SocketAddr, below: Arc<RpcClient>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let kept = Arc::clone(&calls);
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                connections.spawn(serve(stream, Arc::clone(&below), Arc::clone(&kept)));
            }
        });
        Self { address, calls, task }
    }

    /// Ends it with all its connections.
    pub(crate) async fn stop(mut self) {
        self.task.abort();
        let _ = (&mut self.task).await;
    }
}

async fn serve(mut stream: TcpStream, below: Arc<RpcClient>, calls: Arc<Mutex<Vec<String>>>) {
    let mut bytes = Vec::new();
    let (head, body) = loop {
        let mut chunk = [0; 65_536];
        match stream.read(&mut chunk).await {
            Ok(read) if read > 0 => bytes.extend_from_slice(&chunk[..read]),
            _ => return,
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head
            .to_lowercase()
            .lines()
            .find_map(|line| Some(line.strip_prefix("content-length:")?.trim().to_owned()));
        if body.len() >= length.unwrap().parse::<usize>().unwrap() {
            break (head.to_lowercase(), body.to_owned());
        }
    };
    // me:secret
    let (status, reply) = if head.contains("authorization: basic bwu6c2vjcmv0") {
        let request: Value = serde_json::from_str(&body).unwrap();
        let method = request["method"].as_str().unwrap();
        calls.lock().unwrap().push(method.to_owned());
        match call(&below, method, request["params"].as_array().unwrap()).await {
            Ok(result) => ("200 OK", json!({"result": result, "error": null, "id": request["id"]})),
            Err((code, message)) => {
                let status = if code == -32601 { "404 Not Found" } else { "500 Internal Server Error" };
                (
                    status,
                    json!({"result": null, "error": {"code": code, "message": message}, "id": request["id"]}),
                )
            }
        }
    } else {
        ("401 Authorization Required", Value::Null)
    };
    let reply = reply.to_string();
    let head = format!(
        "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {}\r\nContent-Type: application/json\r\n\r\n",
        reply.len()
    );
    let _ = stream.write_all(format!("{head}{reply}").as_bytes()).await;
}

/// A copy of an object with these members; all but `height` must be there.
fn only(all: &Value, members: &[&str]) -> Value {
    members
        .iter()
        .map(|name| ((*name).to_owned(), all[*name].clone()))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

type Answer = Result<Value, (i64, String)>;

async fn call(below: &RpcClient, method: &str, params: &[Value]) -> Answer {
    let ask = async |method: &str, params: Value| {
        below.call(method, params).await.map_err(|error| match error {
            RpcClientError::Rpc(error) => (i64::from(error.code), error.message),
            error => panic!("the node beneath: {error}"),
        })
    };
    let usage = || Err((-1, format!("{method} <its parameters>")));
    match (method, params) {
        ("getblockcount", []) => ask("getblockcount", json!([])).await,
        ("getblockhash", [Value::Number(height)]) => match ask("getblockhash", json!([height])).await {
            Err((-8, _)) => Err((-1, "Block number out of range.".into())),
            answer => answer,
        },
        ("getblock", [Value::String(hash)]) => {
            let block = ask("getblock", json!([hash, 1])).await?;
            let mut old = only(&block, &BLOCK);
            // Beside the best chain a block's coinbase has no depth.
            old["confirmations"] = old["confirmations"].as_i64().unwrap().max(0).into();
            Ok(old)
        }
        ("getblocktemplate", [] | [Value::Object(_)]) => {
            let template = ask("getblocktemplate", json!([{"rules": []}])).await?;
            let mut old = only(&template, &TEMPLATE);
            // SetCompact of a length.
            old["target"] = "00".repeat(32).into();
            old["height"] = template["height"].clone();
            let transactions = template["transactions"].as_array().unwrap();
            old["transactions"] = transactions.iter().map(|tx| only(tx, &TRANSACTION)).collect();
            Ok(old)
        }
        ("submitblock", [Value::String(block)]) => match ask("submitblock", json!([block])).await {
            Ok(reason) if reason.is_null() || reason == "inconclusive" => Ok(Value::Null),
            Ok(_) => Ok("rejected".into()),
            Err(error) => Err(error),
        },
        ("getinfo", []) => Ok(json!({"version": 80_600, "protocolversion": 70_001})),
        ("getmininginfo", []) => Ok(json!({"blocks": ask("getblockcount", json!([])).await?})),
        (
            "getblockcount" | "getblockhash" | "getblock" | "getblocktemplate" | "submitblock" | "getinfo"
            | "getmininginfo",
            _,
        ) => usage(),
        _ => Err((-32601, "Method not found".into())),
    }
}
