//! Lode and Bitcoin Core side by side: the same transactions and blocks, made by a seeded generator that knows where
//! the rules have their edges, put to both, and the verdicts equal to the word.
//!
//! Needs `LODE_BITCOIND`. `LODE_FULL=1` runs 20,000 transactions and 4,000 blocks instead of a tenth of that;
//! `LODE_SEED=n` takes another seed than 1. Whatever differs is printed with seed, number and hex.

#![allow(clippy::unwrap_used)] // a test may

mod blocks;
mod coins;
mod mutate;
mod pool;
mod scripts;

use std::collections::BTreeMap;

use lode_chain::mempool::{Mempool, MempoolError, MempoolOptions};
use lode_chain::{Chain, ChainOptions, TxError, testing};
use lode_primitives::{Amount, Decode, Encode, Form, OutPoint, Transaction, TxOut};
use lode_script::{count_sigops, tx_legacy_sigops};
use lode_testkit::{Daemon, Peer, peer, rounds};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;

use coins::{COIN_VALUE, TestCoin};

const FORM: Form = Form { witness: true, data: false, multiplier: false };

/// Blocks to start with: coinbases of the first of them are mature afterwards.
const FIRST_BLOCKS: u32 = 220;

/// A chain of Lode's, and two nodes that have its blocks: one strict about standardness, one not.
struct Bench {
    chain: Chain,
    strict: Daemon,
    lenient: Daemon,
    coinbases: Vec<OutPoint>,
    next_coinbase: usize,
    _dir: tempfile::TempDir,
}

impl Bench {
    /// `more` are further options of the strict node.
    fn start(more: &[&str]) -> Option<Self> {
        let path = peer(Peer::Bitcoind)?;
        let dir = tempfile::tempdir().unwrap();
        let coin = lode_coins::find("bitcoin", "regtest").unwrap();
        let mut chain = Chain::open(ChainOptions::new(coin, dir.path().join("regtest"))).unwrap();
        let coinbases = testing::grow(&mut chain, FIRST_BLOCKS, 7);
        // Blocks are as far in the past as their times say; no clock matters but for templates.
        let options = [&["-connect=0", "-maxtipage=1000000000"], more].concat();
        let strict = Daemon::start(&path, "regtest", &options);
        let lenient =
            Daemon::start(&path, "regtest", &["-connect=0", "-maxtipage=1000000000", "-acceptnonstdtxn=1"]);
        let bench = Self { chain, strict, lenient, coinbases, next_coinbase: 0, _dir: dir };
        for height in 1..=FIRST_BLOCKS {
            let hash = bench.chain.entry_at(height).unwrap().hash();
            let bytes = bench.chain.block_bytes(&hash).unwrap().unwrap();
            bench.submit(&bytes);
        }
        Some(bench)
    }

    fn submit(&self, block: &[u8]) {
        for node in [&self.strict, &self.lenient] {
            let answer = node.rpc("submitblock", json!([hex::encode(block)]));
            assert!(answer.is_null(), "block refused: {answer}");
        }
    }

    fn now(&self) -> u32 {
        self.chain.tip().time()
    }

    /// A block with these transactions, on all three.
    fn connect(&mut self, transactions: Vec<Transaction>) {
        let parent = self.chain.tip().hash();
        let block = testing::block_with(&self.chain, &parent, 9, transactions);
        let bytes = block.to_bytes();
        let now = block.header.time;
        self.chain.accept_block(block, now).unwrap();
        self.submit(&bytes);
    }

    /// A mature coinbase.
    fn coinbase(&mut self) -> OutPoint {
        self.next_coinbase += 1;
        self.coinbases[self.next_coinbase - 1]
    }

    /// Puts the coins on the chain and notes where they are.
    fn fund(&mut self, coins: &mut [TestCoin]) {
        let mut block = Vec::new();
        let (mut size, mut sigops) = (0, 0);
        let mut start = 0;
        while start < coins.len() {
            // As many outputs as fit a part of a block, by bytes and by sigops.
            let mut end = start;
            let (mut tx_size, mut tx_sigops) = (0, 0);
            while end < coins.len() && end - start < 400 && tx_size < 150_000 && tx_sigops < 3_000 {
                tx_size += 12 + coins[end].script_pubkey.len();
                tx_sigops += count_sigops(&coins[end].script_pubkey, false);
                end += 1;
            }
            let outpoint = self.coinbase();
            let mut tx = testing::spend(&[outpoint], &[]);
            let output = |coin: &TestCoin| TxOut {
                value: Amount::from_sat(COIN_VALUE),
                script_pubkey: coin.script_pubkey.clone(),
            };
            tx.outputs = coins[start..end].iter().map(output).collect();
            let txid = tx.txid();
            for (vout, coin) in coins[start..end].iter_mut().enumerate() {
                coin.outpoint = OutPoint { txid, vout: vout as u32 };
                coin.output = output(coin);
            }
            size += tx.total_size();
            sigops += tx_legacy_sigops(&tx);
            block.push(tx);
            start = end;
            if size > 600_000 || sigops > 12_000 || start == coins.len() {
                self.connect(std::mem::take(&mut block));
                (size, sigops) = (0, 0);
            }
        }
    }
}

fn seed() -> u64 {
    std::env::var("LODE_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

/// Lode's verdict on a transaction as `testmempoolaccept` words it.
fn own_verdict(mempool: &Mempool, chain: &Chain, bytes: &[u8]) -> String {
    let Ok(tx) = Transaction::from_bytes(bytes, FORM) else { return "decode failed".to_owned() };
    match mempool.test(&tx, chain, chain.tip().time()) {
        Ok(tested) => format!("allowed, {} vB, {}", tested.vsize, tested.fee),
        Err(MempoolError::MissingInputs(_) | MempoolError::Tx(TxError::MissingOrSpent(_))) => {
            "missing-inputs".to_owned()
        }
        Err(error) => error.reject_reason(),
    }
}

fn core_verdict(node: &Daemon, bytes: &[u8]) -> String {
    match node.try_rpc("testmempoolaccept", json!([[hex::encode(bytes)], 0])) {
        Err(error) if error.code == -22 => "decode failed".to_owned(),
        Err(error) => format!("error {}: {}", error.code, error.message),
        Ok(answer) => {
            let answer = &answer[0];
            if answer["allowed"] == true {
                let fee: Amount = answer["fees"]["base"].to_string().parse().unwrap();
                format!("allowed, {} vB, {fee}", answer["vsize"])
            } else {
                answer["reject-reason"].as_str().unwrap().to_owned()
            }
        }
    }
}

/// How often each verdict came: shows that the generator reaches the rules.
fn print_tally(what: &str, tally: &BTreeMap<String, usize>) {
    let total: usize = tally.values().sum();
    println!("{what}: {total} verdicts equal, of {} kinds", tally.len());
    for (verdict, count) in tally {
        println!("{count:>8}  {verdict}");
    }
}

fn count(tally: &mut BTreeMap<String, usize>, verdict: &str) {
    let kind = verdict.split(", ").next().unwrap_or_default();
    *tally.entry(kind.to_owned()).or_default() += 1;
}

#[test]
fn transactions() {
    let Some(mut bench) = Bench::start(&[]) else { return };
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed);
    let number = rounds(2_000, 20_000);
    let mut coins: Vec<TestCoin> = (0..number).map(|_| coins::random_coin(&mut rng)).collect();
    bench.fund(&mut coins);
    bench.connect(vec![]);

    let coin = bench.chain.coin();
    let strict = Mempool::new(MempoolOptions::for_coin(coin));
    let lenient = Mempool::new(MempoolOptions { require_standard: false, ..MempoolOptions::for_coin(coin) });
    let (mut tally, mut wrong) = (BTreeMap::new(), Vec::new());
    for at in 0..coins.len() {
        let height = bench.chain.height();
        let other = &coins[rng.random_range(0..coins.len())];
        let mut bytes = mutate::spend(&mut rng, &coins[at], other, height, &bench.coinbases).to_bytes();
        if rng.random_ratio(1, 20) {
            mutate::bytes(&mut rng, &mut bytes);
        }
        for (name, mempool, node) in
            [("strict", &strict, &bench.strict), ("lenient", &lenient, &bench.lenient)]
        {
            let own = own_verdict(mempool, &bench.chain, &bytes);
            let core = core_verdict(node, &bytes);
            if own == core {
                count(&mut tally, &core);
            } else {
                wrong.push(format!(
                    "seed {seed}, transaction {at} ({name}): Lode says {own:?}, Core {core:?}\n  {:?}\n  {}",
                    coins[at].unlock,
                    hex::encode(&bytes)
                ));
            }
        }
    }
    print_tally("transactions", &tally);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
}

#[test]
fn blocks() {
    let Some(mut bench) = Bench::start(&[]) else { return };
    let seed = seed();
    let mut rng = StdRng::seed_from_u64(seed ^ 0xb10c);
    let number = rounds(400, 4_000);
    let mut coins: Vec<TestCoin> = (0..number * 2).map(|_| coins::random_coin(&mut rng)).collect();
    bench.fund(&mut coins);
    bench.connect(vec![]);

    let (mut tally, mut wrong) = (BTreeMap::new(), Vec::new());
    for at in 0..number {
        let block = blocks::random_block(&mut rng, &bench, &coins[2 * at], &coins[2 * at + 1]);
        let bytes = block.to_bytes();
        let now = bench.now();
        let inputs: usize = block.transactions.iter().skip(1).map(|tx| tx.inputs.len()).sum();
        let own = match bench.chain.test_block_validity(block, now) {
            Ok(()) => "valid".to_owned(),
            Err(error) => error.reject_reason(),
        };
        let request = json!([{ "mode": "proposal", "data": hex::encode(&bytes), "rules": ["segwit"] }]);
        let core = match bench.lenient.try_rpc("getblocktemplate", request) {
            Ok(answer) => answer.as_str().unwrap_or("valid").to_owned(),
            Err(error) => format!("error {}: {}", error.code, error.message),
        };
        // Core checks scripts on several threads: which of several bad ones it names is left to chance.
        let script = |verdict: &str| verdict.starts_with("block-script-verify-flag-failed");
        if own == core || (inputs > 1 && script(&own) && script(&core)) {
            count(&mut tally, &core);
        } else {
            wrong.push(format!(
                "seed {seed}, block {at}: Lode says {own:?}, Core {core:?}\n  {}",
                hex::encode(&bytes[..bytes.len().min(2_000)])
            ));
        }
    }
    print_tally("blocks", &tally);
    assert!(wrong.is_empty(), "{} differ:\n{}", wrong.len(), wrong[..wrong.len().min(10)].join("\n"));
}
