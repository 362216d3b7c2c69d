//! Mining alone over real loopback HTTP, against a small node that checks what it gets.

use lode_miner::{Event, Miner, MinerConfig, MinerError, NodeUrl, PoolUrl};
use lode_pow::PowAlgorithm;
use lode_primitives::{Block, Decode, Form, Target, merkle, sha256d};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const WITNESS: Form = Form { witness: true, data: false, multiplier: false };
/// Pay to a witness key hash.
const SCRIPT: [u8; 22] = [0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20];

/// Reads one request; gives its JSON and whether it came with the right user and password. Nothing where the miner left
/// in the middle, as it may: a long poll is dropped as soon as a block of its own is found.
async fn read_request(stream: &mut TcpStream) -> Option<(Value, bool)> {
    let mut bytes = Vec::new();
    loop {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).await.unwrap_or(0);
        if read == 0 {
            return None;
        }
        bytes.extend_from_slice(&chunk[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).unwrap();
        if body.len() == length.parse::<usize>().unwrap() {
            // me:secret
            let authorized = head.contains("Authorization: Basic bWU6c2VjcmV0");
            return Some((serde_json::from_str(body).unwrap(), authorized));
        }
    }
}

async fn answer(mut stream: TcpStream, status: &str, body: Value) {
    let body = body.to_string();
    let head = format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n", body.len());
    // The miner may have gone in the meantime.
    let _ = stream.write_all(format!("{head}{body}").as_bytes()).await;
}

fn template(height: u32) -> Value {
    json!({
        "version": 0x2000_0000, "previousblockhash": "11".repeat(32), "coinbasevalue": 5_000_000_000u64,
        "transactions": [], "curtime": 1_700_000_000, "bits": "207fffff", "height": height, "longpollid": "x",
        "default_witness_commitment": format!("6a24aa21a9ed{}", "07".repeat(32)),
    })
}

/// Answers calls, one at a time, until `blocks` good blocks came.
async fn serve(listener: &TcpListener, blocks: u32) {
    let mut height = 200;
    let mut polls = Vec::new();
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        let Some((request, authorized)) = read_request(&mut stream).await else { continue };
        if !authorized {
            answer(stream, "401 Unauthorized", Value::Null).await;
            continue;
        }
        let result = match request["method"].as_str().unwrap() {
            "getblockhash" => json!("0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"),
            // A long poll is left open: the tip changes only by the miner's own blocks.
            "getblocktemplate" if request["params"][0]["longpollid"].is_string() => {
                polls.push(stream);
                continue;
            }
            "getblocktemplate" => template(height),
            "submitblock" => {
                let bytes = hex::decode(request["params"][0].as_str().unwrap()).unwrap();
                let block = Block::from_bytes(&bytes, WITNESS).unwrap();
                let target = Target::from_compact(0x207f_ffff).unwrap();
                assert!(target.is_met_by(&sha256d(&block.header.pow_bytes())));
                let txids: Vec<[u8; 32]> = block.transactions.iter().map(|tx| tx.txid().0).collect();
                assert_eq!(merkle::root(txids).0, block.header.merkle_root);
                assert_eq!(block.transactions[0].outputs[0].script_pubkey, SCRIPT);
                height += 1;
                Value::Null
            }
            other => panic!("{other}"),
        };
        answer(stream, "200 OK", json!({ "result": result, "error": null, "id": 1 })).await;
        if height == 200 + blocks {
            return;
        }
    }
}

fn start(listener: &TcpListener, credentials: &str, address: &str) -> Miner {
    let port = listener.local_addr().unwrap().port();
    let node: NodeUrl = format!("http://{credentials}@127.0.0.1:{port}").parse().unwrap();
    let mut config = MinerConfig::new(PoolUrl::new("unused", 1), "", PowAlgorithm::Sha256d);
    config.retries = Some(0);
    Miner::start_solo(config, node, address.to_owned()).unwrap()
}

#[tokio::test]
async fn blocks_are_made_and_handed_in() {
    let coin = lode_coins::find("bitcoin", "regtest").unwrap();
    let address = coin.script_to_address(&SCRIPT).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let miner = start(&listener, "me:secret", &address);
    let mut events = miner.events();
    serve(&listener, 3).await;
    // The third answer may be on its way still.
    loop {
        if let Event::Accepted { .. } = events.recv().await.unwrap()
            && miner.snapshot().accepted == 3
        {
            break;
        }
    }
    let last = miner.stop().await;
    assert_eq!((last.accepted, last.refused), (3, 0));
}

#[tokio::test]
async fn what_cannot_work_is_said() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let main = "1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa";
    let mut miner = start(&listener, "me:secret", main);
    let ended = tokio::select! {
        ended = miner.ended() => ended.unwrap_err(),
        () = serve(&listener, 1) => panic!("no block can be made"),
    };
    assert!(matches!(&ended, MinerError::Address { address, .. } if address == main), "{ended}");

    let mut miner = start(&listener, "me:wrong", main);
    let ended = tokio::select! {
        ended = miner.ended() => ended.unwrap_err(),
        () = serve(&listener, 1) => panic!("no block can be made"),
    };
    assert!(
        matches!(&ended, MinerError::GaveUp { reason, .. } if reason.contains("--rpc-cookie")),
        "{ended}"
    );
}
