//! Templates, found blocks and the books, with real nodes: fail-over, orphans, refusals, resubmission, MWEB.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use lode_coins::Coin;
use lode_ledger::{
    Credit, Ledger, LedgerOptions, Limits, Payees, PayoutSnapshot, Share, TemplateRef, Worker,
};
use lode_node::rpc::client::{RpcAuth, RpcClient};
use lode_pool::journal::{BlockState, FoundBlock, Journal};
use lode_pool::template::{EmbeddedNode, Node, RpcNode, Sources, Template};
use lode_pool::watch::Watch;
use lode_primitives::{
    Amount, BlockHash, Decode, Encode, Header, OutPoint, SEQUENCE_FINAL, Target, Transaction, TxIn, TxOut,
    Witness, encode_compact_size, merkle,
};
use lode_testkit::{Daemon, Peer, peer};
use serde_json::json;

const NOW: u64 = 1_700_000_000_000;
/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where a test's own generated coins go.
fn anyone(coin: &Coin) -> String {
    coin.script_to_address(&[&[0u8, 20][..], &[9; 20]].concat()).unwrap()
}

fn rpc_node(daemon: &Daemon, coin: &'static Coin) -> Node {
    let auth = RpcAuth::Cookie(daemon.network_directory().join(".cookie"));
    Node::Rpc(RpcNode::new(RpcClient::new(&daemon.rpc.to_string(), auth).unwrap(), coin))
}

/// A pool without miners: the books hold three miners' work.
struct Pool {
    coin: &'static Coin,
    sources: Sources,
    ledger: Arc<Mutex<Ledger>>,
    watch: Watch,
    miners: Vec<Arc<Worker>>,
}

impl Pool {
    fn start(dir: &Path, coin: &'static Coin, nodes: Vec<Node>) -> Self {
        let mut options = LedgerOptions::new(dir.join("ledger"), "test");
        options.log.sync_every = None;
        let (mut ledger, _) = Ledger::open(options, NOW).unwrap();
        let miners: Vec<Arc<Worker>> = (1u8..=3)
            .map(|n| {
                ledger.worker(&format!("miner{n}"), &[&[0u8, 20][..], &[n; 20]].concat(), "rig").unwrap()
            })
            .collect();
        let template = TemplateRef::new(1, BlockHash::ZERO, 1.0);
        if ledger.sequence() == 0 {
            let shares: Vec<Share> = (0u8..6)
                .map(|i| Share {
                    worker: Arc::clone(&miners[usize::from(i) % 3]),
                    template: Arc::clone(&template),
                    credit: Credit::from_units(1000 + u64::from(i) * 77),
                    time_ms: NOW,
                })
                .collect();
            ledger.record(&shares).unwrap();
        }
        let ledger = Arc::new(Mutex::new(ledger));
        let sources = Sources::start(nodes);
        let watch = Watch::start(&dir.join("journal"), sources.clone(), Arc::clone(&ledger)).unwrap();
        Self { coin, sources, ledger, watch, miners }
    }

    /// The first template that `wanted` takes.
    async fn template(&self, wanted: impl Fn(&Template) -> bool) -> Arc<Template> {
        let mut templates = self.sources.templates();
        let found = templates.wait_for(|template| template.as_deref().is_some_and(&wanted));
        let found = tokio::time::timeout(PATIENCE, found).await.expect("a template in time").unwrap();
        found.clone().unwrap()
    }

    async fn snapshot(&self, template: &Template, limits: Limits) -> PayoutSnapshot {
        self.watch.place_tip(template).await.unwrap();
        let reference = TemplateRef::new(template.height, template.prev, 1.0);
        let mut ledger = self.ledger.lock().unwrap();
        ledger.split(&reference, template.coinbase_value, &Payees::Window, NOW).unwrap().snapshot(limits)
    }

    /// A block on `template` that pays by `snapshot`.
    async fn mine(&self, template: &Template, limits: Limits) -> FoundBlock {
        let snapshot = self.snapshot(template, limits).await;
        self.solve(template, snapshot.clone(), snapshot.outputs())
    }

    fn solve(&self, template: &Template, snapshot: PayoutSnapshot, mut outputs: Vec<TxOut>) -> FoundBlock {
        if let Some(script) = &template.witness_commitment {
            outputs.push(TxOut { value: Amount::ZERO, script_pubkey: script.clone() });
        }
        let coinbase = Transaction {
            version: 2,
            inputs: vec![TxIn {
                prevout: OutPoint::NULL,
                script_sig: height_push(template.height),
                sequence: SEQUENCE_FINAL,
                witness: Witness(template.witness_commitment.iter().map(|_| vec![0; 32]).collect()),
            }],
            outputs,
            lock_time: 0,
            data: None,
        };
        snapshot.check(&coinbase).ok();
        let txids = template.transactions.iter().map(|tx| tx.txid.0);
        let leaves = std::iter::once(coinbase.txid().0).chain(txids).collect();
        let mut header = Header {
            version: template.version as i32,
            prev: template.prev,
            merkle_root: merkle::root(leaves).0,
            time: template.time,
            bits: template.bits,
            nonce: 0,
            multiplier: None,
        };
        let target = Target::from_compact(template.bits).unwrap();
        while !target.is_met_by(&self.coin.pow.hash(&header.pow_bytes()).unwrap()) {
            header.nonce += 1;
        }
        let mut block = header.to_bytes();
        encode_compact_size(template.transactions.len() as u64 + 1, &mut block);
        coinbase.encode(&mut block);
        template.transactions.iter().for_each(|tx| block.extend_from_slice(&tx.bytes));
        if let Some(mweb) = &template.mweb {
            block.push(1);
            block.extend_from_slice(mweb);
        }
        FoundBlock {
            hash: header.hash(),
            height: template.height,
            prev: template.prev,
            coinbase_txid: coinbase.txid(),
            network_units: 1,
            units_ever: 0,
            found_ms: NOW,
            job: "1f".into(),
            finder: ("miner1".into(), "rig".into()),
            snapshot,
            block: Bytes::from(block),
        }
    }

    async fn found(&self, found: FoundBlock) {
        let watch = self.watch.clone();
        tokio::task::spawn_blocking(move || watch.found(&found)).await.unwrap().unwrap();
    }

    /// Waits until a block's state is one that `wanted` takes.
    async fn state(&self, hash: BlockHash, wanted: impl Fn(&BlockState, bool) -> bool) {
        let mut events = self.watch.subscribe();
        let reached = async {
            loop {
                let record = self.watch.block(&hash).expect("the block is known");
                if wanted(&record.state, record.settled) {
                    return;
                }
                events.recv().await.ok();
            }
        };
        if tokio::time::timeout(PATIENCE, reached).await.is_err() {
            panic!("{hash} is {:?}; nodes: {:?}", self.watch.block(&hash), self.sources.view());
        }
    }

    /// Ends everything, so that it can be started again: tasks let go of the books a moment after they are told to.
    async fn stop(self) {
        let ledger = Arc::clone(&self.ledger);
        drop(self);
        while Arc::strong_count(&ledger) > 1 {
            tokio::task::yield_now().await;
        }
    }

    fn balance_sum_and_size(&self, tip: &BlockHash) -> (i64, usize) {
        let state = self.ledger.lock().unwrap().balances_at(tip).unwrap();
        (state.entries.iter().map(|entry| entry.amount).sum(), state.entries.len())
    }
}

/// BIP34's push of the height, and something behind it so that the script is two bytes at least.
fn height_push(height: u32) -> Vec<u8> {
    let mut script = match height {
        0 => vec![0],
        1..=16 => vec![0x50 + height as u8],
        _ => {
            let mut bytes = height.to_le_bytes().to_vec();
            while bytes.len() > 1 && bytes[bytes.len() - 1] == 0 && bytes[bytes.len() - 2] & 0x80 == 0 {
                bytes.pop();
            }
            [&[bytes.len() as u8][..], &bytes].concat()
        }
    };
    script.push(0);
    script
}

fn bitcoin() -> &'static Coin {
    lode_coins::find("bitcoin", "regtest").unwrap()
}

fn tip(daemon: &Daemon) -> BlockHash {
    daemon.rpc("getbestblockhash", json!([])).as_str().unwrap().parse().unwrap()
}

fn generate(daemon: &Daemon, blocks: u32, address: &str) -> BlockHash {
    daemon.rpc("generatetoaddress", json!([blocks, address]));
    tip(daemon)
}

/// The coinbase of a block as the node has it.
fn coinbase(daemon: &Daemon, hash: BlockHash, coin: &Coin) -> Transaction {
    let block = daemon.rpc("getblock", json!([hash.to_string(), 2]));
    let raw = hex::decode(block["tx"][0]["hex"].as_str().unwrap()).unwrap();
    Transaction::from_bytes(&raw, coin.form).unwrap()
}

fn connect(a: &Daemon, b: &Daemon) {
    a.rpc("addnode", json!([b.p2p.to_string(), "onetry"]));
}

#[tokio::test(flavor = "multi_thread")]
async fn blocks_are_paid_followed_and_settled() {
    let Some(program) = peer(Peer::Bitcoind) else { return };
    let daemon = Daemon::start(&program, "regtest", &[]);
    let dir = tempfile::tempdir().unwrap();
    let pool = Pool::start(dir.path(), bitcoin(), vec![rpc_node(&daemon, bitcoin())]);
    // Two in a row, the first in a class that can pay but one miner.
    let first =
        pool.mine(&*pool.template(|_| true).await, Limits { outputs: 1, bytes: 100, ..Limits::NONE }).await;
    let (first_hash, first_snapshot) = (first.hash, first.snapshot.clone());
    pool.found(first).await;
    let template = pool.template(|template| template.prev == first_hash).await;
    assert_eq!(pool.balance_sum_and_size(&first_hash), (0, 3));
    let second = pool.mine(&template, Limits::NONE).await;
    let (second_hash, second_snapshot) = (second.hash, second.snapshot.clone());
    assert_eq!(second_snapshot.split.base, first_hash);
    pool.found(second).await;
    pool.state(second_hash, |state, _| *state == BlockState::Accepted).await;
    first_snapshot.check(&coinbase(&daemon, first_hash, bitcoin())).unwrap();
    second_snapshot.check(&coinbase(&daemon, second_hash, bitcoin())).unwrap();
    // The one paid first has been paid for the second block too, and for a part of a third.
    assert_eq!(second_snapshot.payouts().count(), 2);
    assert_eq!(pool.balance_sum_and_size(&second_hash), (0, 3));
    let total: i64 = pool.miners.iter().map(|miner| pool.watch.paid_to(miner.account().name()).0).sum();
    assert_eq!(total, 2 * 50 * 100_000_000);

    generate(&daemon, 99, &anyone(bitcoin()));
    pool.state(first_hash, |state, settled| settled && *state == BlockState::Confirmed { depth: 100 }).await;
    pool.state(second_hash, |state, settled| !settled && *state == BlockState::Confirmed { depth: 99 }).await;
    generate(&daemon, 1, &anyone(bitcoin()));
    pool.state(second_hash, |_, settled| settled).await;
    pool.stop().await;
    // The stories outlive the bytes.
    let journal = Journal::open(&dir.path().join("journal")).unwrap();
    assert!(journal.open_blocks().is_empty());
    assert_eq!(journal.records().count(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orphan_is_seen_and_its_balances_are_not_those_of_the_chain() {
    let Some(program) = peer(Peer::Bitcoind) else { return };
    let (a, b) = (Daemon::start(&program, "regtest", &[]), Daemon::start(&program, "regtest", &[]));
    let dir = tempfile::tempdir().unwrap();
    let pool = Pool::start(dir.path(), bitcoin(), vec![rpc_node(&a, bitcoin())]);
    let template = pool.template(|_| true).await;
    // Two at one height, both of our own; the node keeps the one it saw first.
    let small = Limits { outputs: 1, bytes: 100, ..Limits::NONE };
    let (kept, twin) = (pool.mine(&template, small).await, {
        let later = Template { time: template.time + 1, ..(*template).clone() };
        pool.mine(&later, Limits { outputs: 2, bytes: 100, ..Limits::NONE }).await
    });
    let (kept_hash, twin_hash) = (kept.hash, twin.hash);
    assert_ne!(kept_hash, twin_hash);
    pool.found(kept).await;
    pool.state(kept_hash, |state, _| *state == BlockState::Accepted).await;
    pool.found(twin).await;
    pool.state(twin_hash, |state, _| *state == BlockState::Orphaned).await;
    let next = pool.template(|template| template.prev == kept_hash).await;
    assert_eq!(pool.snapshot(&next, Limits::NONE).await.split.base, kept_hash);

    // The other node has a longer chain, without either.
    let other = generate(&b, 3, &anyone(bitcoin()));
    connect(&a, &b);
    pool.state(kept_hash, |state, _| *state == BlockState::Orphaned).await;
    let next = pool.template(|template| template.prev == other).await;
    let snapshot = pool.snapshot(&next, Limits::NONE).await;
    assert_eq!(snapshot.split.base, BlockHash::ZERO);
    assert_eq!(pool.balance_sum_and_size(&other), (0, 0));
    assert_eq!(pool.balance_sum_and_size(&kept_hash), (0, 3));

    // And back: the orphan's branch grows longest after all.
    a.rpc("invalidateblock", json!([a.rpc("getblockhash", json!([1])).as_str().unwrap()]));
    let back = a.rpc("getbestblockhash", json!([]));
    if back.as_str() == Some(&kept_hash.to_string()) || back.as_str() == Some(&twin_hash.to_string()) {
        let back: BlockHash = back.as_str().unwrap().parse().unwrap();
        pool.state(back, |state, _| matches!(state, BlockState::Accepted | BlockState::Confirmed { .. }))
            .await;
        let next = pool.template(|template| template.prev == back).await;
        assert_eq!(pool.snapshot(&next, Limits::NONE).await.split.base, back);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_replaced_and_gets_its_blocks_later() {
    let Some(program) = peer(Peer::Bitcoind) else { return };
    let (mut a, b) = (Daemon::start(&program, "regtest", &[]), Daemon::start(&program, "regtest", &[]));
    connect(&b, &a);
    generate(&b, 1, &anyone(bitcoin()));
    let dir = tempfile::tempdir().unwrap();
    let pool = Pool::start(dir.path(), bitcoin(), vec![rpc_node(&a, bitcoin()), rpc_node(&b, bitcoin())]);
    pool.template(|template| template.height == 2).await;
    a.kill();
    let next = generate(&b, 1, &anyone(bitcoin()));
    let template = pool.template(|template| template.prev == next).await;
    let view = pool.sources.view();
    assert!(view[1].used.is_some(), "{view:?}");
    // A block found meanwhile goes to whom it can.
    let found = pool.mine(&template, Limits::NONE).await;
    let hash = found.hash;
    pool.found(found).await;
    pool.state(hash, |state, _| *state == BlockState::Accepted).await;
    a.restart();
    connect(&b, &a);
    let next = generate(&b, 1, &anyone(bitcoin()));
    pool.template(|template| template.prev == next).await;
    pool.state(hash, |state, _| matches!(state, BlockState::Confirmed { depth: 1.. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_any_node_work_goes_on_and_a_block_waits_on_disk_across_restarts() {
    let Some(program) = peer(Peer::Bitcoind) else { return };
    let mut daemon = Daemon::start(&program, "regtest", &[]);
    let dir = tempfile::tempdir().unwrap();
    let pool = Pool::start(dir.path(), bitcoin(), vec![rpc_node(&daemon, bitcoin())]);
    let template = pool.template(|_| true).await;
    let found = pool.mine(&template, Limits { outputs: 1, bytes: 100, ..Limits::NONE }).await;
    let hash = found.hash;
    daemon.kill();
    pool.found(found).await;
    assert_eq!(pool.watch.block(&hash).unwrap().state, BlockState::Found);
    // Miners keep the last template.
    assert!(pool.sources.templates().borrow().is_some());
    pool.stop().await;
    let pool = Pool::start(dir.path(), bitcoin(), vec![rpc_node(&daemon, bitcoin())]);
    assert_eq!(pool.balance_sum_and_size(&hash), (0, 3));
    daemon.restart();
    pool.state(hash, |state, _| *state == BlockState::Accepted).await;
    assert_eq!(tip(&daemon), hash);
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_between_journal_and_books_nothing_is_lost() {
    let Some(program) = peer(Peer::Bitcoind) else { return };
    let daemon = Daemon::start(&program, "regtest", &[]);
    let dir = tempfile::tempdir().unwrap();
    let pool = Pool::start(dir.path(), bitcoin(), vec![rpc_node(&daemon, bitcoin())]);
    let template = pool.template(|_| true).await;
    let found = pool.mine(&template, Limits { outputs: 1, bytes: 100, ..Limits::NONE }).await;
    pool.stop().await;
    Journal::open(&dir.path().join("journal")).unwrap().found(&found).unwrap();
    let pool = Pool::start(dir.path(), bitcoin(), vec![rpc_node(&daemon, bitcoin())]);
    pool.state(found.hash, |state, _| *state == BlockState::Accepted).await;
    assert_eq!(tip(&daemon), found.hash);
    assert_eq!(pool.balance_sum_and_size(&found.hash), (0, 3));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_block_is_said_with_the_nodes_reason() {
    let Some(program) = peer(Peer::Bitcoind) else { return };
    let daemon = Daemon::start(&program, "regtest", &[]);
    let dir = tempfile::tempdir().unwrap();
    let pool = Pool::start(dir.path(), bitcoin(), vec![rpc_node(&daemon, bitcoin())]);
    let template = pool.template(|_| true).await;
    let snapshot = pool.snapshot(&template, Limits::NONE).await;
    let mut outputs = snapshot.outputs();
    outputs[0].value = Amount::from_sat(outputs[0].value.to_sat() + 1);
    let bad = pool.solve(&template, snapshot, outputs);
    let hash = bad.hash;
    pool.found(bad).await;
    pool.state(hash, |state, _| *state == BlockState::Rejected { reason: "bad-cb-amount".into() }).await;
    // The pool goes on.
    let good = pool.mine(&template, Limits::NONE).await;
    let good_hash = good.hash;
    pool.found(good).await;
    pool.state(good_hash, |state, _| *state == BlockState::Accepted).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_another_chain_is_named_and_not_used() {
    let Some(program) = peer(Peer::Bitcoind) else { return };
    let daemon = Daemon::start(&program, "regtest", &[]);
    let dir = tempfile::tempdir().unwrap();
    let main = lode_coins::find("bitcoin", "main").unwrap();
    let nodes = vec![rpc_node(&daemon, main), rpc_node(&daemon, bitcoin())];
    let pool = Pool::start(dir.path(), bitcoin(), nodes);
    pool.template(|_| true).await;
    let told = async {
        while !pool.sources.view()[0].trouble.as_ref().is_some_and(|why| why.contains("not on bitcoin main"))
        {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, told).await.expect("the trouble is told");
    assert!(pool.sources.view()[1].used.is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn litecoins_blocks_carry_their_extension_block() {
    let Some(program) = peer(Peer::Litecoind) else { return };
    let coin = lode_coins::find("litecoin", "regtest").unwrap();
    let daemon = Daemon::start(&program, "regtest", &[]);
    let other = Daemon::start(&program, "regtest", &[&format!("-connect={}", daemon.p2p)]);
    generate(&daemon, 1, &anyone(coin));
    let connected = || daemon.rpc("getconnectioncount", json!([])).as_u64() > Some(0);
    while !connected() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    daemon.rpc("createwallet", json!(["w"]));
    let address = daemon.rpc("getnewaddress", json!([]));
    generate(&daemon, 430, address.as_str().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let mweb = daemon.rpc("getnewaddress", json!(["", "mweb"]));
    daemon.rpc("sendtoaddress", json!([mweb, 1]));

    let pool = Pool::start(dir.path(), coin, vec![rpc_node(&daemon, coin), rpc_node(&other, coin)]);
    let mut prev = tip(&daemon);
    for height in 432..435 {
        let template = pool.template(|template| template.prev == prev && template.mweb.is_some()).await;
        assert_eq!(template.height, height);
        let found = pool.mine(&template, Limits::NONE).await;
        let (hash, snapshot) = (found.hash, found.snapshot.clone());
        pool.found(found).await;
        pool.state(hash, |state, _| matches!(state, BlockState::Accepted | BlockState::Confirmed { .. }))
            .await;
        snapshot.check(&coinbase(&daemon, hash, coin)).unwrap();
        prev = hash;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_embedded_node_gives_templates_and_takes_blocks() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = lode_node::NodeOptions::new(bitcoin(), dir.path().join("node"));
    options.network = false;
    let node = lode_node::start(options).await.unwrap();
    let pool = Pool::start(dir.path(), bitcoin(), vec![Node::Embedded(EmbeddedNode::new(node.clone()))]);
    let (mut prev, mut first) = (node.tip().hash, None);
    // All blocks are the pool's own, as they are on a network with nobody else.
    for _ in 0..101 {
        let template = pool.template(|template| template.prev == prev).await;
        let found = pool.mine(&template, Limits { outputs: 2, bytes: 100, ..Limits::NONE }).await;
        prev = found.hash;
        first.get_or_insert(prev);
        pool.found(found).await;
        assert_eq!(pool.balance_sum_and_size(&prev).0, 0);
    }
    let first = first.unwrap();
    pool.state(first, |state, settled| settled && *state == BlockState::Confirmed { depth: 100 }).await;
    assert_eq!(node.tip().hash, prev);
    // What the node refuses is told with its reason.
    let template = pool.template(|template| template.prev == prev).await;
    let snapshot = pool.snapshot(&template, Limits::NONE).await;
    let mut outputs = snapshot.outputs();
    outputs[0].value = Amount::from_sat(outputs[0].value.to_sat() + 1);
    let bad = pool.solve(&template, snapshot, outputs);
    let hash = bad.hash;
    pool.found(bad).await;
    pool.state(hash, |state, _| *state == BlockState::Rejected { reason: "bad-cb-amount".into() }).await;
    pool.stop().await;
    node.shutdown().await;
}
