//! Block templates as the pool and `getblocktemplate` get them, and blocks made of them.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lode_chain::Chain;
use lode_coins::{Coin, Deployments};
use lode_pow::Searcher;
use lode_primitives::{
    Amount, Block, BlockHash, Header, Height, MerkleNode, OutPoint, SEQUENCE_FINAL, ScriptBuf, Target,
    Transaction, TxIn, TxOut, Txid, Witness, Wtxid, merkle, sha256d,
};
use lode_script::build;

/// Version of blocks made here: BIP9's top bits, nothing signalled.
const BLOCK_VERSION: i32 = 0x2000_0000;
/// First bytes of a witness commitment's output (BIP141).
const COMMITMENT_HEAD: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

/// A transaction of a template.
#[derive(Debug, Clone)]
pub struct TemplateTx {
    /// The transaction.
    pub transaction: Arc<Transaction>,
    /// Its id.
    pub txid: Txid,
    /// Its id with witnesses.
    pub wtxid: Wtxid,
    /// What it pays.
    pub fee: Amount,
    /// Its signature operations, in BIP141's cost units.
    pub sigops_cost: usize,
    /// Its weight.
    pub weight: usize,
}

/// The next block but for its coinbase and its proof of work.
#[derive(Debug, Clone)]
pub struct BlockTemplate {
    /// Its height.
    pub height: Height,
    /// The tip it stands on.
    pub prev: BlockHash,
    /// The header's version.
    pub version: i32,
    /// The header's compact target.
    pub bits: u32,
    /// The header's time as of now, Unix seconds.
    pub time: u32,
    /// The least time the header may have, Unix seconds.
    pub min_time: u32,
    /// Subsidy and fees: what the coinbase may pay.
    pub coinbase_value: Amount,
    /// The transactions after the coinbase, in order.
    pub transactions: Vec<TemplateTx>,
    /// The script of the witness commitment's output, for a coinbase witness of 32 zero bytes; `None` where the block
    /// needs none.
    pub witness_commitment: Option<ScriptBuf>,
    /// Weight units a block may have.
    pub weight_limit: usize,
    /// Signature operations a block may have, in BIP141's cost units.
    pub sigops_limit: usize,
}

impl BlockTemplate {
    /// The template of an empty block on top of the tip.
    pub(crate) fn empty(chain: &Chain, now: u32) -> Self {
        let coin = chain.coin();
        let prev = chain.tip().hash();
        let height = chain.height() + 1;
        let min_time = chain.least_time();
        let time = now.max(min_time);
        let bits = chain.next_bits(&prev, time).expect("the tip is in the tree");
        let mut template = Self {
            height,
            prev,
            version: BLOCK_VERSION,
            bits,
            time,
            min_time,
            coinbase_value: coin.subsidy(height, bits),
            transactions: Vec::new(),
            witness_commitment: None,
            weight_limit: coin.max_block_weight,
            sigops_limit: coin.max_block_sigops_cost,
        };
        template.commit(coin);
        template
    }

    /// Makes the witness commitment anew, after the transactions changed.
    pub(crate) fn commit(&mut self, coin: &Coin) {
        self.witness_commitment =
            (coin.form.witness && Deployments::holds(coin.deployments.segwit, self.height)).then(|| {
                let leaves =
                    std::iter::once([0; 32]).chain(self.transactions.iter().map(|tx| tx.wtxid.0)).collect();
                let (root, _) = merkle::root(leaves);
                let mut preimage = [0u8; 64];
                preimage[..32].copy_from_slice(root.as_bytes());
                [&COMMITMENT_HEAD[..], &sha256d(&preimage)].concat()
            });
    }

    /// Takes other transactions, as they are, without collecting their fees.
    pub(crate) fn set_unchecked(&mut self, coin: &Coin, transactions: Vec<Arc<Transaction>>) {
        let entry = |transaction: Arc<Transaction>| TemplateTx {
            txid: transaction.txid(),
            wtxid: transaction.wtxid(),
            fee: Amount::ZERO,
            sigops_cost: 0,
            weight: transaction.weight(),
            transaction,
        };
        self.transactions = transactions.into_iter().map(entry).collect();
        self.commit(coin);
    }

    /// The block, with a coinbase that pays everything to `script`. Its proof of work is still to be done.
    pub fn to_block(&self, coin: &Coin, script: &[u8]) -> Block {
        let mut script_sig = Vec::new();
        build::push_number(i64::from(self.height), &mut script_sig);
        if script_sig.len() < 2 {
            // A coinbase's script has two bytes at least.
            script_sig.push(0);
        }
        let mut outputs = vec![TxOut { value: self.coinbase_value, script_pubkey: script.to_vec() }];
        let mut witness = Witness::default();
        if let Some(commitment) = &self.witness_commitment {
            outputs.push(TxOut { value: Amount::ZERO, script_pubkey: commitment.clone() });
            witness.0.push(vec![0; 32]);
        }
        let input = TxIn { prevout: OutPoint::NULL, script_sig, sequence: SEQUENCE_FINAL, witness };
        let coinbase = Transaction {
            version: 2,
            inputs: vec![input],
            outputs,
            lock_time: 0,
            data: coin.form.data.then(Vec::new),
        };
        let mut transactions = vec![coinbase];
        transactions.extend(self.transactions.iter().map(|tx| (*tx.transaction).clone()));
        let mut block = Block {
            header: Header {
                version: self.version,
                prev: self.prev,
                merkle_root: MerkleNode::ZERO,
                time: self.time,
                bits: self.bits,
                nonce: 0,
                multiplier: None,
            },
            transactions,
        };
        block.header.merkle_root = merkle_root(&block);
        block
    }
}

/// The Merkle root of a block's transactions.
pub(crate) fn merkle_root(block: &Block) -> MerkleNode {
    merkle::root(block.transactions.iter().map(|tx| tx.txid().0).collect()).0
}

/// Finds a nonce among the first `tries`; false where none of them will do, or where the coin's work is not a hash.
pub(crate) fn solve(coin: &Coin, header: &mut Header, tries: u64, stop: &AtomicBool) -> bool {
    let Ok(target) = Target::from_compact(header.bits) else { return false };
    // On a network where every other nonce will do, the search's own start costs more than the work.
    const FIRST: u32 = 16;
    for nonce in 0..FIRST.min(u32::try_from(tries).unwrap_or(u32::MAX)) {
        header.nonce = nonce;
        match coin.pow.hash(&header.pow_bytes()) {
            Some(hash) if target.is_met_by(&hash) => return true,
            Some(_) => {}
            None => return false,
        }
    }
    let Some(mut searcher) = Searcher::new(coin.pow) else { return false };
    // In steps, so that the first find ends the search.
    const STEP: u64 = 1 << 16;
    let end = tries.min(1 << 32);
    let mut next = u64::from(FIRST);
    let mut nonce = None;
    while nonce.is_none() && next < end && !stop.load(std::sync::atomic::Ordering::Relaxed) {
        searcher.search(&header.pow_bytes(), target, next..end.min(next + STEP), stop, |found| {
            nonce.get_or_insert(found.nonce);
        });
        next += STEP;
    }
    header.nonce = nonce.unwrap_or(header.nonce);
    nonce.is_some()
}
