//! Thousands of blocks with payments between outputs of every kind, from one `bitcoind` through Lode to another that
//! knows only Lode: the same outputs at every step, reorganisations sixty deep from either end, transactions and blocks
//! passed on both ways, and a block of Lode's own template with more than a blockful waiting.

mod common;

use std::collections::VecDeque;
use std::io::Write;
use std::time::{Duration, Instant};

use common::TestNode;
use lode_chain::testing::payments::{self, KINDS, Owned};
use lode_chain::testing::{block_on, block_with, seal};
use lode_chain::{Chain, ChainOptions};
use lode_primitives::{Amount, Block, BlockHash, Encode, Transaction, TxOut};
use lode_script::build;
use lode_testkit::{Daemon, Peer, peer};
use serde_json::{Value, json};

/// How long anything may take until it counts as not happening.
const PATIENCE: Duration = Duration::from_secs(300);
/// Blocks to sync.
const BLOCKS: usize = 5_000;
/// Payments in each block, of two inputs each.
const PAYMENTS: usize = 4;
/// Outputs that payments go around in.
const OUTPUTS: usize = 4_000;
/// Blocks taken back by a reorganisation.
const DEPTH: usize = 60;

/// The blocks to be synced, and two branches that leave them sixty below the end, each better than the one before.
struct Blocks {
    trunk: Vec<Block>,
    /// Leaves the trunk [`DEPTH`] below its end.
    second: Vec<Block>,
    /// Leaves the second [`DEPTH`] below its end.
    third: Vec<Block>,
    /// Unspent at the end of the third.
    owned: VecDeque<Owned>,
    /// How many outputs of each kind the trunk spends.
    spent: [usize; KINDS],
}

/// Blocks on `parent`, one after the other, that spend from `owned`.
fn branch(
    chain: &mut Chain,
    parent: BlockHash,
    length: usize,
    tag: u32,
    owned: &mut VecDeque<Owned>,
) -> Vec<Block> {
    let mut parent = parent;
    let mut made = Vec::with_capacity(length);
    for _ in 0..length {
        let transactions = payments::payments(owned, PAYMENTS);
        let block = block_with(chain, &parent, tag, transactions);
        parent = block.hash();
        chain.accept_block(block.clone(), block.header.time).unwrap();
        made.push(block);
    }
    made
}

fn make(count: usize) -> Blocks {
    let dir = tempfile::tempdir().unwrap();
    let coin = lode_coins::find("bitcoin", "regtest").unwrap();
    let mut chain = Chain::open(ChainOptions::new(coin, dir.path())).unwrap();
    // So that the last block is of today: a node that takes itself for far behind passes nothing on.
    let mut first = block_on(&chain, &chain.tip().hash(), 0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs() as u32;
    first.header.time = now - count as u32 - 7_200;
    seal(coin, &mut first, 1);
    chain.accept_block(first, now).unwrap();

    let mut owned = payments::fan_out(&mut chain, OUTPUTS);
    let rest = count - chain.height() as usize - DEPTH;
    let parent = chain.tip().hash();
    branch(&mut chain, parent, rest, 1, &mut owned);
    let (parent, mut second_owned) = (chain.tip().hash(), owned.clone());
    branch(&mut chain, parent, DEPTH, 1, &mut owned);
    let trunk: Vec<Block> = (1..=chain.height())
        .map(|height| chain.block(&chain.entry_at(height).unwrap().hash()).unwrap().unwrap())
        .collect();

    // The same outputs, spent otherwise.
    second_owned.rotate_left(1);
    let mut second = branch(&mut chain, parent, 1, 2, &mut second_owned);
    let parent = second[0].hash();
    let mut owned = second_owned.clone();
    second.extend(branch(&mut chain, parent, DEPTH, 2, &mut second_owned));
    assert_eq!(chain.tip().hash(), second[DEPTH].hash(), "the second branch is the better");
    owned.rotate_left(1);
    let third = branch(&mut chain, parent, DEPTH + 1, 3, &mut owned);
    assert_eq!(chain.tip().hash(), third[DEPTH].hash(), "the third branch is better still");

    let mut spent = [0; KINDS];
    let scripts: Vec<_> = (0..KINDS).map(payments::script).collect();
    let mut outputs = std::collections::HashMap::new();
    for tx in trunk.iter().flat_map(|block| &block.transactions) {
        for input in &tx.inputs {
            if let Some(script) = outputs.remove(&input.prevout)
                && let Some(kind) = scripts.iter().position(|known| *known == script)
            {
                spent[kind] += 1;
            }
        }
        outputs
            .extend(payments::outputs(tx).into_iter().map(|(place, output)| (place, output.script_pubkey)));
    }
    Blocks { trunk, second, third, owned, spent }
}

/// A file of blocks as the peer imports them.
fn write_blocks(blocks: &[Block]) -> tempfile::NamedTempFile {
    let magic = lode_coins::find("bitcoin", "regtest").unwrap().magic;
    let mut file = tempfile::NamedTempFile::new().unwrap();
    let mut bytes = Vec::new();
    for block in blocks {
        let block = block.to_bytes();
        bytes.extend_from_slice(&magic);
        bytes.extend_from_slice(&(block.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&block);
    }
    file.write_all(&bytes).unwrap();
    file
}

fn ask(core: &Daemon, method: &str, params: Value) -> Value {
    tokio::task::block_in_place(|| core.rpc(method, params))
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !done().await {
        assert!(began.elapsed() < PATIENCE, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn wait_for(node: &TestNode, tip: &BlockHash) {
    let mut tips = node.handle.subscribe();
    let reached = tokio::time::timeout(PATIENCE, tips.wait_for(|at| at.hash == *tip)).await;
    assert!(reached.is_ok(), "Lode stayed at {:?}, wanted {tip}", node.handle.tip());
}

async fn wait_for_core(core: &Daemon, tip: &BlockHash) {
    let began = Instant::now();
    while ask(core, "waitforblock", json!([tip.to_string(), 1_000]))["hash"] != tip.to_string() {
        assert!(began.elapsed() < PATIENCE, "a peer stayed at {}", ask(core, "getblockcount", json!([])));
    }
}

/// The three have the same unspent outputs.
async fn same_outputs(node: &TestNode, peers: [&Daemon; 2]) {
    let ours = node.call("gettxoutsetinfo", json!(["hash_serialized_3"])).await;
    for core in peers {
        let theirs = ask(core, "gettxoutsetinfo", json!(["hash_serialized_3"]));
        for member in ["height", "bestblock", "txouts", "bogosize", "total_amount", "hash_serialized_3"] {
            assert_eq!(ours[member], theirs[member], "{member}");
        }
    }
}

fn hex_of(thing: &impl Encode) -> String {
    hex::encode(thing.to_bytes())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_output_goes_through_lode() {
    let Some(path) = peer(Peer::Bitcoind) else { return };
    let began = Instant::now();
    let Blocks { trunk, second, third, mut owned, spent } =
        tokio::task::spawn_blocking(|| make(BLOCKS)).await.unwrap();
    assert!(spent.iter().all(|count| *count > 100), "spends by kind: {spent:?}");
    let tip = trunk[trunk.len() - 1].hash();
    eprintln!(
        "{} blocks, {} spends, by kind {spent:?}: {:?}",
        trunk.len(),
        spent.iter().sum::<usize>(),
        began.elapsed()
    );

    // From the first to Lode, and from Lode to the second.
    let began = Instant::now();
    let file = write_blocks(&trunk);
    // Passed on at once, without the pause that hides where a transaction came from.
    // Its own check of its index after every block takes longer with every block.
    let options = ["-whitelist=in,out,noban@127.0.0.1", "-checkblockindex=0"];
    let import = format!("-loadblock={}", file.path().display());
    let first =
        tokio::task::block_in_place(|| Daemon::start(&path, "regtest", &[options[0], options[1], &import]));
    wait_for_core(&first, &tip).await;
    eprintln!("the first bitcoind imported them: {:?}", began.elapsed());
    let began = Instant::now();
    let address = first.p2p.to_string();
    let node =
        TestNode::start_in(tempfile::tempdir().unwrap(), |options| options.connect = vec![address]).await;
    wait_for(&node, &tip).await;
    eprintln!("Lode synced from it: {:?}", began.elapsed());
    let began = Instant::now();
    let last = tokio::task::block_in_place(|| Daemon::start(&path, "regtest", &options));
    ask(&last, "addnode", json!([node.handle.p2p_addresses()[0].to_string(), "add"]));
    wait_for_core(&last, &tip).await;
    eprintln!("the second bitcoind synced from Lode: {:?}", began.elapsed());
    same_outputs(&node, [&first, &last]).await;

    // A reorganisation that the first begins, then one that Lode begins.
    let began = Instant::now();
    for block in &second {
        ask(&first, "submitblock", json!([hex_of(block)]));
    }
    let tip = second[second.len() - 1].hash();
    wait_for(&node, &tip).await;
    wait_for_core(&last, &tip).await;
    same_outputs(&node, [&first, &last]).await;
    for block in &third {
        node.call("submitblock", json!([hex_of(block)])).await;
    }
    let tip = third[third.len() - 1].hash();
    wait_for(&node, &tip).await;
    wait_for_core(&first, &tip).await;
    wait_for_core(&last, &tip).await;
    same_outputs(&node, [&first, &last]).await;
    eprintln!("two reorganisations {DEPTH} deep: {:?}", began.elapsed());

    relayed(&node, &first, &last, &mut owned).await;
    full_block(&node, &first, &last, &mut owned).await;
    node.handle.shutdown().await;
}

/// Transactions and blocks from each end come out at the other.
async fn relayed(node: &TestNode, first: &Daemon, last: &Daemon, owned: &mut VecDeque<Owned>) {
    let began = Instant::now();
    let mut sent = 0;
    for (from, to) in [(first, last), (last, first)] {
        let transactions = payments::payments(owned, 3 * KINDS);
        for tx in &transactions {
            ask(from, "sendrawtransaction", json!([hex_of(tx)]));
        }
        sent += transactions.len();
        until("the transactions at the other end", async || {
            ask(to, "getmempoolinfo", json!([]))["size"] == sent
        })
        .await;
        assert_eq!(node.call("getmempoolinfo", json!([])).await["size"], sent);
    }
    for (from, to) in [(first, last), (last, first)] {
        let made = ask(from, "generatetoaddress", json!([1, common::ADDRESS]));
        let tip: BlockHash = made[0].as_str().unwrap().parse().unwrap();
        wait_for(node, &tip).await;
        wait_for_core(to, &tip).await;
    }
    assert_eq!(node.call("getmempoolinfo", json!([])).await["size"], 0);
    eprintln!("{sent} transactions and 2 blocks from end to end: {:?}", began.elapsed());
}

/// With more waiting than a block holds, both peers take the block that Lode makes of it.
async fn full_block(node: &TestNode, first: &Daemon, last: &Daemon, owned: &mut VecDeque<Owned>) {
    let began = Instant::now();
    let mut waiting = payments::payments(owned, 1_000);
    for size in 0..14 {
        let spent = [owned.pop_front().unwrap()];
        let mut tx: Transaction = payments::pay(&spent, 1, 1 + size);
        // Large, and paying more than the others or less.
        let data = build::op_return(&[&vec![7; 90_000 + size]]);
        tx.outputs[0].value = Amount::from_sat(spent[0].1.value.to_sat() - 30_000 - 60_000 * size as i64);
        tx.outputs.push(TxOut { value: Amount::ZERO, script_pubkey: data });
        payments::sign_all(&mut tx, &spent);
        waiting.push(tx);
    }
    for tx in &waiting {
        node.call("sendrawtransaction", json!([hex_of(tx)])).await;
    }
    let template = node.call("getblocktemplate", json!([{"rules": ["segwit"]}])).await;
    let included = template["transactions"].as_array().unwrap();
    let weight: u64 = included.iter().map(|tx| tx["weight"].as_u64().unwrap()).sum();
    assert!(included.len() < waiting.len() && weight > 3_600_000, "{} of {weight}", included.len());
    let made = node.generate(1).await;
    let tip: BlockHash = made[0].parse().unwrap();
    wait_for_core(first, &tip).await;
    wait_for_core(last, &tip).await;
    let block = ask(last, "getblock", json!([made[0], 1]));
    assert_eq!(block["nTx"], included.len() + 1);
    same_outputs(node, [first, last]).await;
    eprintln!(
        "a block of Lode's template, {} of {} waiting transactions, weight {}, at both: {:?}",
        included.len(),
        waiting.len(),
        block["weight"],
        began.elapsed()
    );
}
