//! Nodes of coins with prime chains: their JSON-RPC, sync from each other and from old peers, kills, and files carried by
//! transactions.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use common::{TestNode, options};
use lode_coins::Coin;
use lode_p2p::Message;
use lode_p2p::frame::{FrameHeader, HEADER_LEN, encode_v1};
use lode_p2p::message::{Endpoint, InvItem, InvKind, Services, Version};
use lode_pow::{ChainLength, PrimeSearcher};
use lode_primitives::{Block, BlockHash, Decode, Multiplier};
use lode_stratum::getwork::{Solution, write_work_solution};
use lode_testkit::rounds;
use serde_json::{Value, json};

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);

fn coin(name: &str, network: &str) -> &'static Coin {
    lode_coins::find(name, network).unwrap()
}

async fn start(coin: &'static Coin, connect: &[SocketAddr]) -> TestNode {
    TestNode::start_in(tempfile::tempdir().unwrap(), |options| {
        options.coin = coin;
        options.connect = connect.iter().map(ToString::to_string).collect();
    })
    .await
}

/// An address of `coin` whose key is nobody's.
fn address(coin: &Coin) -> String {
    coin.script_to_address(&lode_script::build::p2pkh(&[7; 20])).unwrap()
}

async fn wait_for_tip(node: &TestNode, hash: &str) {
    let began = Instant::now();
    while node.call("getbestblockhash", json!([])).await != hash {
        if began.elapsed() > PATIENCE {
            let (tips, peers) =
                (node.call("getchaintips", json!([])).await, node.call("getpeerinfo", json!([])).await);
            panic!("not at {hash}: {tips} {peers}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The recorded chain's blocks in hex, the first block left out (`crates/chain/tests/data/README.md`).
fn recorded() -> Vec<String> {
    let packed = include_bytes!("../../chain/tests/data/primecoin-testnet-0-3499.hex.xz");
    let mut hex = Vec::new();
    lzma_rs::xz_decompress(&mut &packed[..], &mut hex).unwrap();
    String::from_utf8(hex).unwrap().lines().skip(1).map(str::to_owned).collect()
}

async fn outputs(node: &TestNode) -> Value {
    node.call("gettxoutsetinfo", json!([])).await["hash_serialized_3"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_syncs_3500_blocks_from_the_first() {
    let testnet = coin("primecoin", "testnet");
    let first = start(testnet, &[]).await;
    let blocks = recorded();
    for block in &blocks {
        assert_eq!(first.call("submitblock", json!([block])).await, Value::Null);
    }
    assert_eq!(first.call("getblockcount", json!([])).await, 3499);
    let tip = first.call("getbestblockhash", json!([])).await;
    let second = start(testnet, &[first.handle.p2p_addresses()[0]]).await;
    wait_for_tip(&second, tip.as_str().unwrap()).await;
    assert_eq!(outputs(&second).await, outputs(&first).await);

    // One that follows the second, whose chain stands on blocks it got itself.
    let third = start(testnet, &[second.handle.p2p_addresses()[0]]).await;
    wait_for_tip(&third, tip.as_str().unwrap()).await;
    let made = first.call("generatetoaddress", json!([2, address(testnet)])).await;
    wait_for_tip(&third, made[1].as_str().unwrap()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_follow_the_chain_with_more_work() {
    let regtest = coin("datacoin", "regtest");
    let first = start(regtest, &[]).await;
    let second = start(regtest, &[first.handle.p2p_addresses()[0]]).await;
    let to = address(regtest);
    let made = first.call("generatetoaddress", json!([20, to])).await;
    wait_for_tip(&second, made[19].as_str().unwrap()).await;
    first.call("invalidateblock", json!([made[15]])).await;
    let other = coin("datacoin", "regtest").script_to_address(&lode_script::build::p2pkh(&[8; 20])).unwrap();
    let branch = first.call("generatetoaddress", json!([7, other])).await;
    wait_for_tip(&second, branch[6].as_str().unwrap()).await;
    assert_eq!(second.call("getblockcount", json!([])).await, 22);
    assert_eq!(outputs(&second).await, outputs(&first).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_templates_and_data_as_the_reference_shows_them() {
    let testnet = coin("primecoin", "testnet");
    let node = start(testnet, &[]).await;
    // Block 1 of the public test network (2013).
    let file: Value = serde_json::from_str(include_str!("../../pow/tests/data/prime.json")).unwrap();
    let genesis = node.call("getblockhash", json!([0])).await;
    let block = node.call("getblock", json!([genesis])).await;
    let vector = file["vectors"].as_array().unwrap().iter().find(|v| v["block_hash"] == genesis).unwrap();
    assert_eq!(block["primechain"], vector["chain_name"]);
    assert_eq!(block["headerhash"].as_str().unwrap().len(), 64);
    assert_eq!(block["primechainmultiplier"], (585_641u64 * 223_092_870).to_string());
    let origin: num_bigint::BigUint = block["primeorigin"].as_str().unwrap().parse().unwrap();
    let hash =
        num_bigint::BigUint::parse_bytes(block["headerhash"].as_str().unwrap().as_bytes(), 16).unwrap();
    assert_eq!(origin, hash * (585_641u64 * 223_092_870));

    let template = node.call("getblocktemplate", json!([{"rules": []}])).await;
    assert_eq!((&template["bits"], &template["height"]), (&json!("05000000"), &json!(1)));
    assert_eq!(template["coinbasevalue"], 3_996_000_000i64);
    assert_eq!(template["sizelimit"], 1_000_000);
    assert_eq!(node.call("getdifficulty", json!([])).await, 6.0);
    assert_eq!(node.call("submitblock", json!([recorded()[1]])).await, "prev-blk-not-found");
    let mut no_chain = recorded()[0].clone();
    // Another nonce.
    no_chain.replace_range(152..160, "00000000");
    let refused = node.call("submitblock", json!([no_chain])).await;
    assert!(
        ["header-hash-too-small", "invalid-prime-chain"].contains(&refused.as_str().unwrap()),
        "{refused}"
    );
    let (code, _) = node.error("getdata", json!([genesis])).await;
    assert_eq!(code, -1);

    let regtest = coin("datacoin", "regtest");
    let node = start(regtest, &[]).await;
    let data = BASE64.encode(b"a file");
    let inputs = json!([{"txid": "11".repeat(32), "vout": 0}]);
    let hex = node.call("createrawtransaction", json!([inputs, {}, 0, true, 1, data])).await;
    let shown = node.call("decoderawtransaction", json!([hex])).await;
    assert_eq!((&shown["data"], &shown["version"]), (&json!(data), &json!(1)));
    let (_, message) = node
        .error("createrawtransaction", json!([inputs, {}, 0, true, 1, BASE64.encode([0; 131_073])]))
        .await;
    assert!(message.contains("131073 bytes of data"), "{message}");
    let (code, message) = node.error("senddata", json!([data])).await;
    assert!(code == -18 && message.contains("lode data put FILE --from WALLET"), "{code} {message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn old_miners_find_blocks_by_getwork() {
    for (name, network) in [("primecoin", "regtest"), ("datacoin", "regtest")] {
        let coin = coin(name, network);
        let to = lode_script::build::p2pkh(&[7; 20]);
        let node = TestNode::start_in(tempfile::tempdir().unwrap(), |options| {
            options.coin = coin;
            options.mine_to = Some(to.clone());
        })
        .await;
        let works = [node.call("getwork", json!([])).await, node.call("getwork", json!([])).await];
        assert_ne!(works[0]["data"], works[1]["data"], "two miners would do the same work");
        let text = |work: &Value| work["data"].as_str().unwrap().to_owned();
        assert_eq!((text(&works[0]).len(), works[0]["target"].as_str().unwrap().len()), (256, 64));

        // Work as it was given, and with a header that no one was given, is no block.
        assert_eq!(node.call("getwork", json!([text(&works[0])])).await, false);
        let strange = format!("{}{}", &text(&works[0])[..100], "00".repeat(78));
        assert_eq!(node.call("getwork", json!([strange])).await, false);
        let (code, _) = node.error("getwork", json!(["0011"])).await;
        assert_eq!(code, -8);

        // The multiplier with its length in front, as most miners send it.
        let (header, multiplier) = solve(&text(&works[1]));
        let solution = write_work_solution(&header, &multiplier);
        assert_eq!(node.call("getwork", json!([solution])).await, true);
        assert_eq!(node.call("getblockcount", json!([])).await, 1);
        let best = node.call("getbestblockhash", json!([])).await;
        let block = node.call("getblock", json!([best, 2])).await;
        assert_eq!(block["primechainmultiplier"], multiplier.to_decimal());
        assert_eq!(block["tx"][0]["vout"][0]["scriptPubKey"]["hex"], hex::encode(&to));
        // A block made here keeps to the median time.
        let mut early = Solution::parse(&text(&node.call("getwork", json!([])).await)).unwrap().header;
        early[68..72].fill(0);
        let solution = write_work_solution(&early, &Multiplier::from_le_magnitude(&[1]));
        assert_eq!(node.call("getwork", json!([solution])).await, false);
        // What was given before it is stale: the other work cannot be handed in.
        let (header, multiplier) = solve(&text(&works[0]));
        let solution = write_work_solution(&header, &multiplier);
        assert_eq!(node.call("getwork", json!([solution])).await, false);

        // The other form: 32 bytes of multiplier.
        let (header, multiplier) = solve(&text(&node.call("getwork", json!([])).await));
        let mut blob = [0; 128];
        blob[..80].copy_from_slice(&header);
        blob[80..80 + multiplier.as_bytes().len()].copy_from_slice(multiplier.as_bytes());
        blob.chunks_exact_mut(4).for_each(<[u8]>::reverse);
        assert_eq!(node.call("getwork", json!([hex::encode(blob)])).await, true);
        assert_eq!(node.call("getblockcount", json!([])).await, 2);
    }
    // Without an address there is nobody to pay, and hash coins have templates.
    let node = start(coin("datacoin", "regtest"), &[]).await;
    let (_, message) = node.error("getwork", json!([])).await;
    assert!(message.contains("--mine-to"), "{message}");
    let (_, message) = TestNode::start().await.error("getwork", json!([])).await;
    assert!(message.contains("getblocktemplate"), "{message}");
}

/// What a miner of `getwork` does: time and nonce of its own, and a multiplier.
fn solve(work: &str) -> ([u8; 80], Multiplier) {
    let mut header = Solution::parse(work).unwrap().header;
    let time = u32::from_le_bytes(header[68..72].try_into().unwrap());
    header[68..72].copy_from_slice(&(time + 1).to_le_bytes());
    let length = ChainLength(u32::from_le_bytes(header[72..76].try_into().unwrap()));
    let stop = AtomicBool::new(false);
    let mut first = None;
    PrimeSearcher::new().search(&header, (length, length), 0..1 << 32, &stop, |found| {
        first.get_or_insert(found);
        stop.store(true, Ordering::Relaxed);
    });
    let found = first.unwrap();
    header[76..].copy_from_slice(&found.nonce.to_le_bytes());
    (header, found.multiplier)
}

/// A peer as the 0.8 series is one: its headers have no multipliers, and it tells of blocks by `inv`.
struct OldPeer {
    address: SocketAddr,
    blocks: Arc<Mutex<Vec<Block>>>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
    coin: &'static Coin,
}

impl OldPeer {
    fn start(coin: &'static Coin, blocks: Vec<Block>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let peer = Self { address, blocks: Arc::new(Mutex::new(blocks)), sockets: Arc::default(), coin };
        let (blocks, sockets) = (Arc::clone(&peer.blocks), Arc::clone(&peer.sockets));
        std::thread::spawn(move || {
            for socket in listener.incoming().map_while(Result::ok) {
                sockets.lock().unwrap().push(socket.try_clone().unwrap());
                let blocks = Arc::clone(&blocks);
                // A connection ends with an error when the node, or the test, is done.
                std::thread::spawn(move || {
                    serve_old(coin, &socket, &blocks);
                    let _ = socket.shutdown(Shutdown::Both);
                });
            }
        });
        peer
    }

    /// Has these blocks from now on, and tells of the last one.
    fn grow(&self, more: Vec<Block>) {
        let tip = more.last().unwrap().hash();
        self.blocks.lock().unwrap().extend(more);
        let inv = encode_v1(&Message::Inv(vec![InvItem::block(InvKind::Block, tip)]), self.coin.magic);
        for socket in &*self.sockets.lock().unwrap() {
            let _ = (&mut &*socket).write_all(&inv);
        }
    }
}

fn serve_old(coin: &Coin, mut socket: &TcpStream, blocks: &Mutex<Vec<Block>>) -> Option<()> {
    let mut go_on = None;
    loop {
        let mut head = [0; HEADER_LEN];
        socket.read_exact(&mut head).ok()?;
        let head = FrameHeader::parse(&head, coin.magic).ok()?;
        let mut payload = vec![0; head.len];
        socket.read_exact(&mut payload).ok()?;
        let message = Message::decode(&head.command, &payload, coin.form).ok()?;
        let blocks = blocks.lock().unwrap().clone();
        let after = |hashes: &[BlockHash]| {
            let place = |hash: &BlockHash| {
                blocks.iter().position(|block: &Block| block.hash() == *hash).map(|at| at + 1)
            };
            hashes.iter().find_map(place).unwrap_or(0)
        };
        let answers = match message {
            Message::Version(_) => {
                let unknown = (Services::NETWORK, Endpoint::UNSPECIFIED);
                let version = Version {
                    version: 70_001,
                    services: Services::NETWORK,
                    time: 0,
                    receiver: unknown,
                    sender: unknown,
                    nonce: 1,
                    user_agent: "/Satoshi:0.8.6/".into(),
                    start_height: blocks.len() as i32,
                    relay: true,
                };
                vec![Message::Version(version), Message::Verack]
            }
            Message::Ping(nonce) => vec![Message::Pong(nonce)],
            Message::GetHeaders(locator) => {
                let from = after(&locator.hashes);
                let headers = blocks[from..].iter().take(2000).map(|block| block.header.clone());
                let without = headers.map(|header| lode_primitives::Header {
                    multiplier: Some(Multiplier::default()),
                    ..header
                });
                vec![Message::Headers(without.collect())]
            }
            Message::GetBlocks(locator) => {
                let from = after(&locator.hashes);
                let told: Vec<BlockHash> = blocks[from..].iter().take(500).map(Block::hash).collect();
                go_on = told.last().copied().filter(|_| told.len() == 500);
                let items = told.iter().map(|hash| InvItem::block(InvKind::Block, *hash)).collect();
                if told.is_empty() { Vec::new() } else { vec![Message::Inv(items)] }
            }
            Message::GetData(items) => {
                let mut out = Vec::new();
                for hash in items.iter().map(InvItem::block_hash) {
                    let block = blocks.iter().find(|block| block.hash() == hash)?;
                    out.push(Message::Block(Arc::new(block.clone())));
                    if go_on == Some(hash) {
                        let tip = blocks.last()?.hash();
                        out.push(Message::Inv(vec![InvItem::block(InvKind::Block, tip)]));
                    }
                }
                out
            }
            _ => Vec::new(),
        };
        for answer in answers {
            socket.write_all(&encode_v1(&answer, coin.magic)).ok()?;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn peers_that_send_headers_without_multipliers_are_synced_from_by_blocks() {
    let testnet = coin("primecoin", "testnet");
    let decode = |hex: &String| Block::from_bytes(&hex::decode(hex).unwrap(), testnet.form).unwrap();
    let mut blocks: Vec<Block> = recorded().iter().map(decode).collect();
    let hashes: Vec<String> = blocks.iter().map(|block| block.hash().to_string()).collect();
    let (last_two, one_before) = (blocks.split_off(3497), blocks.split_off(3496));
    let old = OldPeer::start(testnet, blocks);
    let node = start(testnet, &[old.address]).await;
    wait_for_tip(&node, &hashes[3495]).await;
    // One more block, then two of which only the second is told.
    old.grow(one_before);
    wait_for_tip(&node, &hashes[3496]).await;
    old.grow(last_two);
    wait_for_tip(&node, &hashes[3498]).await;
    // And from this one others sync by headers.
    let other = start(testnet, &[node.handle.p2p_addresses()[0]]).await;
    wait_for_tip(&other, &hashes[3498]).await;
}

/// Tells the child where its data lies and whom to call: `DIR|HOST:PORT`.
const CHILD: &str = "LODE_TEST_KILLED_PRIME_NODE";

/// Not a test of its own: the node that the other one kills.
#[tokio::test(flavor = "multi_thread")]
async fn killed_prime_node() {
    let Ok(told) = std::env::var(CHILD) else { return };
    let (dir, peer) = told.split_once('|').unwrap();
    let mut options = options(dir.as_ref());
    options.coin = coin("datacoin", "regtest");
    options.connect = vec![peer.to_owned()];
    let node = lode_node::start(options).await.unwrap();
    node.stopped().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_kill_loses_anything() {
    let regtest = coin("datacoin", "regtest");
    let first = start(regtest, &[]).await;
    let to = address(regtest);
    first.call("generatetoaddress", json!([150, to])).await;
    let dir = tempfile::tempdir().unwrap();
    let peer = first.handle.p2p_addresses()[0];
    let mut state = 11u64;
    for round in 0..rounds(6, 100) {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["killed_prime_node", "--exact", "--nocapture"])
            .env(CHILD, format!("{}|{peer}", dir.path().display()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        if round % 2 == 1 {
            let height = first.call("getblockcount", json!([])).await.as_u64().unwrap();
            let fork = first.call("getblockhash", json!([height - 3])).await;
            first.call("invalidateblock", json!([fork])).await;
            let script = format!("raw(51{round:04x}7551)");
            first.call("generatetodescriptor", json!([6, script])).await;
            // Known for valid again, lest a node that still stands on it be turned away.
            first.call("reconsiderblock", json!([fork])).await;
        }
        first.call("generatetoaddress", json!([15, to])).await;
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Killed anywhere between its start and long after its sync.
        tokio::time::sleep(Duration::from_millis(state >> 33 & 0x1ff)).await;
        assert!(child.try_wait().unwrap().is_none(), "round {round}: the node ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
    }
    let node = TestNode::start_in(dir, |options| {
        options.coin = regtest;
        options.connect = vec![peer.to_string()];
    })
    .await;
    let tip = first.call("getbestblockhash", json!([])).await;
    wait_for_tip(&node, tip.as_str().unwrap()).await;
    assert_eq!(outputs(&node).await, outputs(&first).await);
}
