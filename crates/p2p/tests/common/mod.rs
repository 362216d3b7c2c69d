//! A small chain in memory for the tests of this crate: it knows headers, blocks, the best chain and a mempool, and
//! of the rules only the proof of work, the Merkle root, and that a coinbase must not say "invalid".
#![allow(dead_code, unreachable_pub)] // each test uses a part of it

pub mod node;
pub mod sim;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use lode_coins::Coin;
use lode_p2p::{HeaderInfo, TxRef, Verdict, View};
use lode_primitives::{
    Amount, Block, BlockHash, Encode, Header, Height, OutPoint, Target, Transaction, TxIn, TxOut, Txid,
    Witness, Work, Wtxid, merkle,
};

#[derive(Clone)]
struct Entry {
    header: Header,
    height: Height,
    work: Work,
    block: Option<Arc<Block>>,
    valid: bool,
}

struct Inner {
    coin: &'static Coin,
    entries: HashMap<BlockHash, Entry>,
    active: Vec<BlockHash>,
    best: Vec<BlockHash>,
    mempool: HashMap<Wtxid, Arc<Transaction>>,
    by_txid: HashMap<Txid, Wtxid>,
    initial_sync: bool,
}

/// The chain.
pub struct TestChain {
    pub coin: &'static Coin,
    inner: Mutex<Inner>,
}

pub fn regtest() -> &'static Coin {
    lode_coins::find("bitcoin", "regtest").unwrap()
}

fn meets_target(coin: &Coin, header: &Header) -> bool {
    let target = Target::from_compact(header.bits).unwrap();
    coin.pow.hash(&header.pow_bytes()).is_some_and(|hash| target.is_met_by(&hash))
}

fn merkle_root(transactions: &[Transaction]) -> (lode_primitives::MerkleNode, bool) {
    merkle::root(transactions.iter().map(|tx| tx.txid().0).collect())
}

/// A coinbase for `height`; `tag` makes it unlike others, and invalid where it says so.
pub fn coinbase(coin: &Coin, height: Height, tag: &[u8]) -> Transaction {
    let mut script_sig = match height {
        0 => vec![0],
        1..=16 => vec![0x50 + height as u8],
        _ => {
            let mut bytes = height.to_le_bytes().to_vec();
            while bytes.last() == Some(&0) {
                bytes.pop();
            }
            if bytes.last().unwrap() & 0x80 != 0 {
                bytes.push(0);
            }
            [vec![bytes.len() as u8], bytes].concat()
        }
    };
    script_sig.push(tag.len() as u8);
    script_sig.extend_from_slice(tag);
    Transaction::new(
        vec![TxIn { script_sig, ..TxIn::spending(OutPoint::NULL) }],
        vec![TxOut { value: coin.subsidy(height, coin.genesis.bits), script_pubkey: vec![0x51] }],
    )
}

/// A transaction that spends something nobody checks.
pub fn transaction(seed: u32, parents: &[Txid]) -> Transaction {
    let spend = |txid: Txid| TxIn {
        script_sig: seed.to_le_bytes().to_vec(),
        witness: Witness(vec![seed.to_le_bytes().to_vec()]),
        ..TxIn::spending(OutPoint { txid, vout: 0 })
    };
    let mut inputs: Vec<TxIn> = parents.iter().copied().map(spend).collect();
    if inputs.is_empty() {
        inputs.push(spend(Txid([7; 32])));
    }
    let value = Amount::from_sat(i64::from(seed));
    Transaction::new(inputs, vec![TxOut { value, script_pubkey: vec![0x51] }])
}

impl TestChain {
    pub fn new(coin: &'static Coin) -> Arc<Self> {
        let genesis = coin.genesis_block();
        let (hash, header) = (genesis.hash(), genesis.header.clone());
        let work = Target::from_compact(header.bits).unwrap().work();
        let entry = Entry { header, height: 0, work, block: Some(Arc::new(genesis)), valid: true };
        Arc::new(Self {
            coin,
            inner: Mutex::new(Inner {
                coin,
                entries: HashMap::from([(hash, entry)]),
                active: vec![hash],
                best: vec![hash],
                mempool: HashMap::new(),
                by_txid: HashMap::new(),
                initial_sync: false,
            }),
        })
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    pub fn set_initial_sync(&self, on: bool) {
        self.inner().initial_sync = on;
    }

    pub fn accept_headers(&self, headers: &[Header]) -> Verdict {
        let mut inner = self.inner();
        for header in headers {
            if let Err(verdict) = inner.accept_header(header) {
                return verdict;
            }
        }
        Verdict::Accepted
    }

    pub fn accept_block(&self, block: &Arc<Block>) -> Verdict {
        let hash = block.hash();
        let mut inner = self.inner();
        if !inner.entries.contains_key(&block.header.prev) {
            return Verdict::Unjudged("parent missing".into());
        }
        if merkle_root(&block.transactions) != (block.header.merkle_root, false) {
            return Verdict::Mutated("bad-txnmrklroot".into());
        }
        if let Err(verdict) = inner.accept_header(&block.header) {
            return verdict;
        }
        let invalid = block.transactions[0].inputs[0].script_sig.windows(7).any(|part| part == b"invalid");
        if invalid {
            inner.invalidate(hash);
            return Verdict::Invalid("bad-test".into());
        }
        inner.entries.get_mut(&hash).unwrap().block = Some(Arc::clone(block));
        inner.activate(hash);
        Verdict::Accepted
    }

    /// Mines a block on `prev` with the mempool or given transactions. Not accepted yet.
    pub fn make_block(&self, prev: BlockHash, tag: &[u8], transactions: Vec<Transaction>) -> Arc<Block> {
        let inner = self.inner();
        let parent = &inner.entries[&prev];
        let height = parent.height + 1;
        let mut all = vec![coinbase(self.coin, height, tag)];
        all.extend(transactions);
        let mut header = Header {
            version: 0x2000_0000,
            prev,
            merkle_root: merkle_root(&all).0,
            time: parent.header.time + 1,
            bits: parent.header.bits,
            nonce: 0,
            multiplier: None,
        };
        while !meets_target(self.coin, &header) {
            header.nonce += 1;
        }
        Arc::new(Block { header, transactions: all })
    }

    /// Mines `count` blocks on the tip, or on `from`.
    pub fn mine(&self, from: Option<BlockHash>, count: usize, tag: &[u8]) -> Vec<Arc<Block>> {
        let mut prev = from.unwrap_or_else(|| self.tip().hash);
        (0..count)
            .map(|_| {
                let block = self.make_block(prev, tag, Vec::new());
                prev = block.hash();
                assert_eq!(self.accept_block(&block), Verdict::Accepted);
                block
            })
            .collect()
    }

    pub fn block(&self, hash: &BlockHash) -> Option<Arc<Block>> {
        self.inner().entries.get(hash).and_then(|entry| entry.block.clone())
    }

    pub fn add_transaction(&self, transaction: Transaction) -> (Wtxid, Txid) {
        let (wtxid, txid) = (transaction.wtxid(), transaction.txid());
        let mut inner = self.inner();
        inner.mempool.insert(wtxid, Arc::new(transaction));
        inner.by_txid.insert(txid, wtxid);
        (wtxid, txid)
    }

    pub fn mempool(&self) -> Vec<Transaction> {
        self.inner().mempool.values().map(|tx| Transaction::clone(tx)).collect()
    }

    pub fn clear_mempool(&self) {
        let mut inner = self.inner();
        inner.mempool.clear();
        inner.by_txid.clear();
    }
}

impl Inner {
    fn accept_header(&mut self, header: &Header) -> Result<(), Verdict> {
        let hash = header.hash();
        if let Some(entry) = self.entries.get(&hash) {
            return if entry.valid { Ok(()) } else { Err(Verdict::Invalid("duplicate-invalid".into())) };
        }
        if !meets_target(self.coin, header) {
            return Err(Verdict::Invalid("high-hash".into()));
        }
        let Some(parent) = self.entries.get(&header.prev) else {
            return Err(Verdict::Unjudged("parent missing".into()));
        };
        if !parent.valid {
            return Err(Verdict::Invalid("bad-prevblk".into()));
        }
        let work = parent.work + Target::from_compact(header.bits).unwrap().work();
        let entry =
            Entry { header: header.clone(), height: parent.height + 1, work, block: None, valid: true };
        self.entries.insert(hash, entry);
        if work > self.entries[self.best.last().unwrap()].work {
            self.best = self.chain_to(hash, &self.best);
        }
        Ok(())
    }

    /// The chain that ends in `hash`, sharing what it can with `old`.
    fn chain_to(&self, hash: BlockHash, old: &[BlockHash]) -> Vec<BlockHash> {
        let (mut at, mut branch) = (hash, Vec::new());
        loop {
            let entry = &self.entries[&at];
            if old.get(entry.height as usize) == Some(&at) {
                let mut chain = old[..=entry.height as usize].to_vec();
                chain.extend(branch.into_iter().rev());
                return chain;
            }
            branch.push(at);
            at = entry.header.prev;
        }
    }

    fn invalidate(&mut self, hash: BlockHash) {
        let mut bad = vec![hash];
        while let Some(hash) = bad.pop() {
            self.entries.get_mut(&hash).unwrap().valid = false;
            bad.extend(
                self.entries.iter().filter(|(_, e)| e.header.prev == hash && e.valid).map(|(hash, _)| *hash),
            );
        }
        let best = self.entries.iter().filter(|(_, e)| e.valid).max_by_key(|(_, e)| e.work).unwrap();
        self.best = self.chain_to(*best.0, &self.best[..1]);
    }

    fn activate(&mut self, hash: BlockHash) {
        // The block, and what was stored above it before.
        let mut best = *self.active.last().unwrap();
        let mut candidates = vec![hash];
        while let Some(hash) = candidates.pop() {
            if self.entries[&hash].work > self.entries[&best].work {
                best = hash;
            }
            candidates.extend(
                self.best
                    .get(self.entries[&hash].height as usize + 1)
                    .filter(|next| self.entries[*next].header.prev == hash)
                    .filter(|next| self.entries[*next].block.is_some()),
            );
        }
        if best != *self.active.last().unwrap() {
            self.active = self.chain_to(best, &self.active);
            let entry = &self.entries[&best];
            if let Some(block) = entry.block.clone() {
                for transaction in &block.transactions {
                    self.mempool.remove(&transaction.wtxid());
                }
            }
        }
    }

    fn info(&self, hash: &BlockHash) -> Option<HeaderInfo> {
        let entry = self.entries.get(hash)?;
        Some(HeaderInfo {
            hash: *hash,
            prev: entry.header.prev,
            height: entry.height,
            work: entry.work,
            time: entry.header.time,
            have_block: entry.block.is_some(),
            valid: entry.valid,
        })
    }
}

impl View for TestChain {
    fn tip(&self) -> HeaderInfo {
        let inner = self.inner();
        inner.info(inner.active.last().unwrap()).unwrap()
    }

    fn best_header(&self) -> HeaderInfo {
        let inner = self.inner();
        inner.info(inner.best.last().unwrap()).unwrap()
    }

    fn header(&self, hash: &BlockHash) -> Option<HeaderInfo> {
        self.inner().info(hash)
    }

    fn chain(&self, of: &BlockHash, first: Height, count: usize) -> Vec<BlockHash> {
        let inner = self.inner();
        let Some(entry) = inner.entries.get(of) else { return Vec::new() };
        let chain = if inner.best.get(entry.height as usize) == Some(of) {
            &inner.best[..=entry.height as usize]
        } else {
            &inner.chain_to(*of, &inner.best)[..]
        };
        chain.iter().skip(first as usize).take(count).copied().collect()
    }

    fn fork_height(&self, of: &BlockHash) -> Height {
        let inner = self.inner();
        let mut at = *of;
        loop {
            let entry = &inner.entries[&at];
            if inner.active.get(entry.height as usize) == Some(&at) {
                return entry.height;
            }
            at = entry.header.prev;
        }
    }

    fn headers_after(&self, locator: &[BlockHash], stop: &BlockHash, max: usize) -> Vec<Header> {
        let inner = self.inner();
        if locator.is_empty() {
            return inner.entries.get(stop).map(|entry| entry.header.clone()).into_iter().collect();
        }
        let known = |hash: &&BlockHash| {
            inner.entries.get(hash).is_some_and(|e| inner.active.get(e.height as usize) == Some(hash))
        };
        let from = locator.iter().find(known).map_or(0, |hash| inner.entries[hash].height as usize);
        let mut out = Vec::new();
        for hash in inner.active.iter().skip(from + 1).take(max) {
            out.push(inner.entries[hash].header.clone());
            if hash == stop {
                break;
            }
        }
        out
    }

    fn block_bytes(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        self.block(hash).map(|block| block.to_bytes())
    }

    fn check_pow(&self, header: &Header) -> bool {
        Target::from_compact(header.bits).is_ok_and(|target| target <= self.coin.pow_limit)
            && meets_target(self.coin, header)
    }

    fn initial_sync(&self) -> bool {
        self.inner().initial_sync
    }

    fn transaction(&self, id: &TxRef) -> Option<Arc<Transaction>> {
        let inner = self.inner();
        let wtxid = match id {
            TxRef::Wtxid(wtxid) => *wtxid,
            TxRef::Txid(txid) => *inner.by_txid.get(txid)?,
        };
        inner.mempool.get(&wtxid).cloned()
    }

    fn mempool_wtxids(&self) -> Vec<Wtxid> {
        self.inner().mempool.keys().copied().collect()
    }

    fn min_fee_rate(&self) -> u64 {
        100
    }
}
