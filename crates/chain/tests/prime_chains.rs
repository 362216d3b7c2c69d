//! Chains of primes: recorded ones connect as they did in the reference nodes, and what is not exactly so is refused.
#![allow(clippy::unwrap_used)]

use std::collections::{HashMap, HashSet};
use std::path::Path;

use lode_chain::mempool::{Mempool, MempoolOptions};
use lode_chain::template::{self, TemplateOptions};
use lode_chain::testing::{block_on, block_with, grow, seal, spend};
use lode_chain::{BlockError, Chain, ChainOptions, SetHash};
use lode_coins::Coin;
use lode_primitives::{Amount, Block, Decode, Encode, Form, OutPoint, Transaction, TxOut};

fn coin(name: &str, network: &str) -> &'static Coin {
    lode_coins::find(name, network).unwrap()
}

fn open(coin: &'static Coin, dir: &Path) -> Chain {
    Chain::open(ChainOptions::new(coin, dir)).unwrap()
}

/// The blocks of a recorded chain (`data/README.md`), and what they look like on the wire.
fn recorded(packed: &[u8], form: Form) -> Vec<(Block, Vec<u8>)> {
    let mut hex = Vec::new();
    lzma_rs::xz_decompress(&mut &packed[..], &mut hex).unwrap();
    let lines = std::str::from_utf8(&hex).unwrap().lines();
    lines
        .map(|line| {
            let bytes = hex::decode(line).unwrap();
            (Block::from_bytes(&bytes, form).unwrap(), bytes)
        })
        .collect()
}

fn primecoin_testnet() -> Vec<(Block, Vec<u8>)> {
    recorded(include_bytes!("data/primecoin-testnet-0-3499.hex.xz"), coin("primecoin", "testnet").form)
}

fn datacoin_regtest() -> Vec<(Block, Vec<u8>)> {
    recorded(include_bytes!("data/datacoin-regtest-0-113.hex.xz"), coin("datacoin", "regtest").form)
}

/// Connects the blocks one by one, each written again as it was read.
fn connect(chain: &mut Chain, blocks: &[(Block, Vec<u8>)]) {
    assert_eq!(blocks[0].0, chain.coin().genesis_block());
    for (block, bytes) in &blocks[1..] {
        assert_eq!(&block.to_bytes(), bytes);
        let report = chain.accept_block(block.clone(), block.header.time).unwrap();
        assert_eq!((report.connected.len(), report.connected[0].hash), (1, block.hash()));
    }
    assert_eq!(chain.height() as usize, blocks.len() - 1);
}

/// Unspent outputs, the transactions they are of, and what they hold.
fn outputs(chain: &mut Chain) -> (u64, u64, Amount) {
    let info = chain.output_set().unwrap().info(SetHash::None).unwrap();
    (info.outputs, info.transactions, info.total)
}

#[test]
fn a_recorded_datacoin_chain_ends_at_the_recorded_outputs() {
    let dir = tempfile::tempdir().unwrap();
    let coin = coin("datacoin", "regtest");
    let mut chain = open(coin, dir.path());
    let blocks = datacoin_regtest();
    assert_eq!(blocks.len(), 114);
    connect(&mut chain, &blocks);
    assert_eq!(outputs(&mut chain), (122, 121, "111377.83".parse().unwrap()));
    let transactions = blocks.iter().flat_map(|(block, _)| &block.transactions);
    let data: usize = transactions.map(|tx| tx.data.as_ref().unwrap().len()).sum();
    assert!(data > 131_072, "{data}");
    // It is all there again, and comes back as it was sent.
    drop(chain);
    let chain = open(coin, dir.path());
    for (block, bytes) in &blocks {
        assert_eq!(chain.block_bytes(&block.hash()).unwrap().as_ref(), Some(bytes));
    }
}

#[test]
fn a_recorded_primecoin_chain_connects_to_its_end() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = open(coin("primecoin", "testnet"), dir.path());
    let blocks = primecoin_testnet();
    assert_eq!(blocks.len(), 3500);
    connect(&mut chain, &blocks);
    // What a walk over the transactions, with no rule but that, leaves unspent.
    let mut unspent = HashMap::new();
    for tx in blocks[1..].iter().flat_map(|(block, _)| &block.transactions) {
        let txid = tx.txid();
        for input in tx.inputs.iter().filter(|input| !input.prevout.is_null()) {
            unspent.remove(&input.prevout).unwrap();
        }
        let made = (0..).zip(&tx.outputs).filter(|(_, output)| !output.script_pubkey.starts_with(&[0x6a]));
        unspent.extend(made.map(|(vout, output)| (OutPoint { txid, vout }, output.value)));
    }
    let transactions: HashSet<_> = unspent.keys().map(|outpoint| outpoint.txid).collect();
    let total = Amount::checked_sum(unspent.values().copied()).unwrap();
    assert_eq!(outputs(&mut chain), (unspent.len() as u64, transactions.len() as u64, total));
    assert!(blocks.iter().any(|(block, _)| block.transactions.len() > 1));
}

#[test]
fn the_recorded_retarget_chain() {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../../pow/tests/data/prime.json")).unwrap();
    let rows = file["retarget_chain"].as_array().unwrap();
    assert_eq!(rows.len(), 40);
    let blocks = primecoin_testnet();
    for row in rows {
        let header = &blocks[row["height"].as_u64().unwrap() as usize].0.header;
        assert_eq!(u64::from(header.time), row["time"].as_u64().unwrap());
        assert_eq!(format!("{:08x}", header.bits), row["bits"].as_str().unwrap());
    }
}

/// Every bit of blocks that ask for chains of nearly five and more: a chance hit is one in a hundred thousand.
#[test]
fn one_flipped_bit_anywhere_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let local = coin("datacoin", "local");
    let mut chain = open(local, dir.path());
    // Nearly as the coin's spacing has it, so that the length asked for stays about five.
    let next = |chain: &Chain, transactions: Vec<Transaction>| {
        let tip = chain.tip().hash();
        let mut block = block_on(chain, &tip, 0);
        block.header.time += 7;
        block.header.bits = chain.next_bits(&tip, block.header.time).unwrap();
        block.transactions.extend(transactions);
        seal(local, &mut block, chain.height() + 1);
        block
    };
    let first = next(&chain, Vec::new());
    let coins = [OutPoint { txid: first.transactions[0].txid(), vout: 0 }];
    chain.accept_block(first.clone(), first.header.time).unwrap();
    while chain.height() < local.coinbase_maturity {
        let block = next(&chain, Vec::new());
        chain.accept_block(block.clone(), block.header.time).unwrap();
    }
    // Data in the coinbase has no signature over it; that of a payment has an owner, who here is anyone.
    let data = Some((0..=255).cycle().take(600).collect());
    let carry = Transaction { data, ..spend(&coins, &[100_000_000]) };
    let block = next(&chain, vec![carry]);
    assert!(block.header.bits >= 0x04c0_0000, "{:08x}", block.header.bits);
    every_flip_is_refused(&mut chain, &block);

    let dir = tempfile::tempdir().unwrap();
    let mut chain = open(coin("primecoin", "testnet"), dir.path());
    for (block, _) in &primecoin_testnet()[1..4] {
        every_flip_is_refused(&mut chain, block);
    }
}

fn every_flip_is_refused(chain: &mut Chain, block: &Block) {
    let (form, now) = (chain.coin().form, block.header.time);
    let bytes = block.to_bytes();
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok(flipped) = Block::from_bytes(&flipped, form) {
            let verdict = chain.accept_block(flipped, now);
            assert!(verdict.is_err(), "bit {bit} of {}", block.hash());
        }
    }
    let report = chain.accept_block(block.clone(), now).unwrap();
    assert_eq!(report.connected.len(), 1);
}

/// Not all reference versions ask for a time after the median, so a block without is taken; templates have one.
#[test]
fn templates_keep_the_median_time_that_blocks_need_not() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = open(coin("primecoin", "regtest"), dir.path());
    grow(&mut chain, 12, 0);
    let median = chain.median_time_past(&chain.tip().hash()).unwrap();
    let empty = Mempool::new(MempoolOptions::for_coin(chain.coin()));
    let template = template::build(&chain, &empty, &TemplateOptions::default(), 0);
    assert_eq!((template.time, template.min_time), (median + 1, median + 1));
    let mut early = block_on(&chain, &chain.tip().hash(), 0);
    early.header.time = median - 1;
    early.header.bits = chain.next_bits(&chain.tip().hash(), early.header.time).unwrap();
    seal(chain.coin(), &mut early, 13);
    assert_eq!(chain.accept_block(early, median + 100).unwrap().connected.len(), 1);
}

#[test]
fn reorganisations_follow_work_not_count() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = open(coin("datacoin", "regtest"), dir.path());
    let coins = grow(&mut chain, 12, 0);
    let fork = chain.tip().hash();
    let before = outputs(&mut chain);
    let carry =
        |data: &[u8]| Transaction { data: Some(data.to_vec()), ..spend(&coins[..1], &[90_000_000_000]) };
    let first = block_with(&chain, &fork, 1, vec![carry(b"first")]);
    chain.accept_block(first.clone(), first.header.time).unwrap();
    assert_eq!(chain.tip().hash(), first.hash());
    let after_first = outputs(&mut chain);
    assert_ne!(before, after_first);
    let second = block_with(&chain, &fork, 2, vec![carry(b"second")]);
    assert!(chain.accept_block(second.clone(), second.header.time).unwrap().is_empty());
    let third = block_with(&chain, &second.hash(), 3, Vec::new());
    let report = chain.accept_block(third.clone(), third.header.time).unwrap();
    assert_eq!((report.disconnected.len(), report.connected.len()), (1, 2));
    assert_eq!(chain.tip().hash(), third.hash());
    // And back: the first branch grows past it.
    let fourth = block_with(&chain, &first.hash(), 4, Vec::new());
    chain.accept_block(fourth.clone(), fourth.header.time).unwrap();
    let fifth = block_with(&chain, &fourth.hash(), 5, Vec::new());
    let report = chain.accept_block(fifth.clone(), fifth.header.time).unwrap();
    assert_eq!((report.disconnected.len(), report.connected.len()), (2, 3));
    let txid = first.transactions[1].txid();
    assert!(chain.has_utxo(&OutPoint { txid, vout: 0 }).unwrap());
}

#[test]
fn money_and_data_rules_from_both_sides() {
    let dir = tempfile::tempdir().unwrap();
    let mut chain = open(coin("datacoin", "regtest"), dir.path());
    let coins = grow(&mut chain, 24, 0);
    let mut place = 0;
    let mut verdict = |fee: i64, outputs: &[i64], data: usize| -> Result<(), String> {
        let value = chain.utxo(&coins[place]).unwrap().unwrap().output.value.to_sat();
        let first = value - fee - outputs.iter().sum::<i64>();
        let values: Vec<i64> = std::iter::once(first).chain(outputs.iter().copied()).collect();
        let tx = Transaction { data: Some(vec![7; data]), ..spend(&coins[place..=place], &values) };
        let block = block_with(&chain, &chain.tip().hash(), 9, vec![tx]);
        let now = block.header.time;
        chain.accept_block(block, now).map(|_| place += 1).map_err(|error| error.reject_reason())
    };
    const CENT5: i64 = 5_000_000;
    // 61 bytes and the data's length and data.
    assert_eq!(verdict(CENT5, &[], 0), Ok(()));
    assert_eq!(verdict(CENT5 - 1, &[], 0).unwrap_err(), "bad-txns-fee-toolow");
    assert_eq!(verdict(CENT5, &[], 999 - 61 - 3), Ok(()));
    assert_eq!(verdict(CENT5, &[], 1000 - 61 - 3).unwrap_err(), "bad-txns-fee-toolow");
    assert_eq!(verdict(2 * CENT5, &[], 1000 - 61 - 3), Ok(()));
    assert_eq!(verdict(CENT5, &[CENT5], 0), Ok(()));
    assert_eq!(verdict(CENT5, &[CENT5 - 1], 0).unwrap_err(), "bad-txns-vout-toosmall");
    assert_eq!(verdict(132 * CENT5, &[], 131_072), Ok(()));
    assert_eq!(verdict(132 * CENT5, &[], 131_073).unwrap_err(), "bad-txns-data-toolong");
    assert_eq!(chain.height(), 29);

    // A coinbase of a thousand bytes keeps a fee back.
    for (kept_back, good) in [(0, false), (CENT5, true)] {
        let mut block = block_on(&chain, &chain.tip().hash(), 1);
        let coinbase = &mut block.transactions[0];
        coinbase.data = Some(vec![0; 1000]);
        coinbase.outputs[0].value = Amount::from_sat(coinbase.outputs[0].value.to_sat() - kept_back);
        seal(chain.coin(), &mut block, 30);
        let now = block.header.time;
        let verdict = chain.accept_block(block, now);
        assert_eq!(verdict.is_ok(), good, "{verdict:?}");
        assert!(good || matches!(verdict, Err(BlockError::CoinbaseAmount { .. })));
    }
    // Data is reason enough for a transaction without outputs, and nothing else is.
    for (data, good) in [(b"".as_slice(), false), (b"hello".as_slice(), true)] {
        let outputs: Vec<TxOut> = Vec::new();
        let tx = Transaction { outputs, data: Some(data.to_vec()), ..spend(&coins[10..11], &[]) };
        let block = block_with(&chain, &chain.tip().hash(), 2, vec![tx]);
        let now = block.header.time;
        assert_eq!(chain.accept_block(block, now).is_ok(), good);
    }
}
