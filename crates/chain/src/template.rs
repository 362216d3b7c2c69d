//! Block templates: what the next block on the tip should hold, and what its header must say (BIP22, BIP23).
//!
//! `node` builds one whenever the tip changes or fees have grown, for `getblocktemplate` and for the pool. Transactions
//! are taken chunk by chunk from the mempool, the best feerate first, until the block is full.

use std::collections::HashMap;
use std::sync::Arc;

use lode_coins::{Deployments, Retarget};
use lode_primitives::{Amount, BlockHash, Height, ScriptBuf, Transaction, Txid, Wtxid, merkle, sha256d};

use crate::limits::MAX_TIMEWARP_SECONDS;
use crate::mempool::{Entry, Mempool};
use crate::policy::FeeRate;
use crate::{ChainView, is_final};

/// The version of headers: version bits (BIP9) with none set.
pub const BLOCK_VERSION: i32 = 0x2000_0000;

/// Chunks in a row that did not fit before a nearly full block is taken for full (reference client).
const MAX_FAILURES: usize = 1_000;
/// How near to full that is, in weight units.
const NEARLY_FULL: usize = 4_000;

/// What the miner keeps room for, and the least fee it mines for.
#[derive(Clone, Copy, Debug)]
pub struct TemplateOptions {
    /// Weight units kept for header, transaction count and coinbase.
    pub reserved_weight: usize,
    /// Sigop cost kept for the coinbase.
    pub reserved_sigops: usize,
    /// Chunks below are left out.
    pub min_fee: FeeRate,
}

impl Default for TemplateOptions {
    /// The reference client's.
    fn default() -> Self {
        Self { reserved_weight: 8_000, reserved_sigops: 400, min_fee: FeeRate::from_sat_per_kvb(1) }
    }
}

/// A transaction of a template.
#[derive(Clone, Debug)]
pub struct TemplateTx {
    /// The transaction.
    pub tx: Arc<Transaction>,
    /// Its id.
    pub txid: Txid,
    /// Its id with witnesses.
    pub wtxid: Wtxid,
    /// What it pays.
    pub fee: Amount,
    /// Sigop cost.
    pub sigops: usize,
    /// Weight units.
    pub weight: usize,
    /// Places, counted from 1, of the transactions of this template that it spends.
    pub depends: Vec<usize>,
}

/// Everything of the next block but its coinbase and its proof of work.
#[derive(Clone, Debug)]
pub struct BlockTemplate {
    /// The block's height.
    pub height: Height,
    /// The tip.
    pub prev: BlockHash,
    /// The header's version.
    pub version: i32,
    /// The header's compact target, at `time`.
    pub bits: u32,
    /// The header's time: now, or the least time where that is later. Unix seconds.
    pub time: u32,
    /// The least time the header may have, Unix seconds.
    pub min_time: u32,
    /// The transactions behind the coinbase, parents before children.
    pub transactions: Vec<TemplateTx>,
    /// What the transactions pay.
    pub fees: Amount,
    /// Subsidy and fees: what the coinbase may pay out.
    pub coinbase_value: Amount,
    /// Script of the output that commits to witnesses, with a reserved value of 32 zero bytes (BIP141). `None` where
    /// segwit is not in force.
    pub witness_commitment: Option<ScriptBuf>,
    /// Soft forks in force by name, as BIP9 and BIP23 list them (`csv`, `!segwit`, `taproot`).
    pub rules: Vec<&'static str>,
    /// Weight that a block may have.
    pub weight_limit: usize,
    /// Sigop cost that a block may have.
    pub sigop_limit: usize,
    /// [`Mempool::changes`] at the time it was built: tells a long poll whether to look again.
    pub mempool_changes: u64,
}

/// The block to mine on `view`'s tip. `now` is Unix seconds.
pub fn build(view: &dyn ChainView, mempool: &Mempool, options: &TemplateOptions, now: u32) -> BlockTemplate {
    let coin = view.coin();
    let height = view.tip_height() + 1;
    let min_time = least_time(view, height);
    let time = now.max(min_time);
    let bits = view.next_bits(time);
    let median_time = view.median_time_past(view.tip_height());

    let mut block = Filling {
        weight: options.reserved_weight,
        sigops: options.reserved_sigops,
        max_weight: coin.max_block_weight,
        max_sigops: coin.max_block_sigops_cost,
        entries: Vec::new(),
    };
    let is_final = |entry: &Entry| is_final(&entry.tx, height, median_time);
    block.fill(mempool, options.min_fee, &is_final);

    let transactions = with_dependencies(mempool, &block.entries);
    let fees = Amount::checked_sum(transactions.iter().map(|tx| tx.fee)).unwrap_or(Amount::ZERO);
    let subsidy = coin.subsidy(height, bits);
    let deployments = &coin.deployments;
    let holds = |since| Deployments::holds(since, height);
    let segwit = coin.form.witness && holds(deployments.segwit);
    let rules =
        [("csv", holds(deployments.csv)), ("!segwit", segwit), ("taproot", holds(deployments.taproot))];
    BlockTemplate {
        height,
        prev: view.tip_hash(),
        version: BLOCK_VERSION,
        bits,
        time,
        min_time,
        coinbase_value: subsidy.checked_add(fees).unwrap_or(subsidy),
        witness_commitment: segwit.then(|| commitment(&transactions)),
        transactions,
        fees,
        rules: rules.into_iter().filter(|(_, holds)| *holds).map(|(name, _)| name).collect(),
        weight_limit: coin.max_block_weight,
        sigop_limit: coin.max_block_sigops_cost,
        mempool_changes: mempool.changes(),
    }
}

/// The least time of the next block. BIP94's bound at the first block of an interval is kept to on every network, as the
/// reference client's templates do, so that the rule could come into force there without anybody's block breaking it.
fn least_time(view: &dyn ChainView, height: Height) -> u32 {
    match view.coin().retarget {
        Retarget::Interval { timespan, spacing, .. } if height.is_multiple_of(timespan / spacing) => {
            view.least_time().max(view.tip_time().saturating_sub(MAX_TIMEWARP_SECONDS))
        }
        _ => view.least_time(),
    }
}

/// A block being filled.
struct Filling<'m> {
    weight: usize,
    sigops: usize,
    max_weight: usize,
    max_sigops: usize,
    entries: Vec<&'m Entry>,
}

impl<'m> Filling<'m> {
    fn fill(&mut self, mempool: &'m Mempool, min_fee: FeeRate, is_final: &dyn Fn(&Entry) -> bool) {
        let mut failures = 0;
        // Once a chunk of a cluster is left out, later ones of it may need it and are left out too.
        let mut closed = std::collections::HashSet::new();
        for (rate, chunk) in mempool.chunks() {
            if rate.fee < min_fee.fee(rate.weight.div_ceil(4)) {
                return;
            }
            let chunk: Vec<&Entry> = chunk.collect();
            let Some(cluster) = chunk.first().map(|entry| entry.cluster_id()) else { continue };
            if closed.contains(&cluster) {
                continue;
            }
            // The rate's weight counts sigops in, which is on the safe side.
            let weight = self.weight + rate.weight as usize;
            let sigops = self.sigops + chunk.iter().map(|entry| entry.sigop_cost).sum::<usize>();
            if weight >= self.max_weight
                || sigops >= self.max_sigops
                || !chunk.iter().all(|entry| is_final(entry))
            {
                closed.insert(cluster);
                failures += 1;
                if failures > MAX_FAILURES && self.weight + NEARLY_FULL > self.max_weight {
                    return;
                }
                continue;
            }
            failures = 0;
            self.weight += chunk.iter().map(|entry| entry.weight).sum::<usize>();
            self.sigops = sigops;
            self.entries.extend(chunk);
        }
    }
}

fn with_dependencies(mempool: &Mempool, entries: &[&Entry]) -> Vec<TemplateTx> {
    let places: HashMap<Txid, usize> =
        entries.iter().zip(1..).map(|(entry, place)| (entry.txid, place)).collect();
    let template_tx = |entry: &&Entry| {
        let mut depends: Vec<usize> =
            mempool.parents(entry).filter_map(|parent| places.get(&parent).copied()).collect();
        depends.sort_unstable();
        TemplateTx {
            tx: Arc::clone(&entry.tx),
            txid: entry.txid,
            wtxid: entry.wtxid,
            fee: entry.fee,
            sigops: entry.sigop_cost,
            weight: entry.weight,
            depends,
        }
    };
    entries.iter().map(template_tx).collect()
}

/// First bytes of the output that commits to witnesses: `OP_RETURN`, a push of 36, a marker (BIP141).
const COMMITMENT: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];

fn commitment(transactions: &[TemplateTx]) -> ScriptBuf {
    // The coinbase's own witness id counts as zero.
    let leaves = std::iter::once([0; 32]).chain(transactions.iter().map(|tx| tx.wtxid.0)).collect();
    let (root, _) = merkle::root(leaves);
    let commitment = sha256d(&[root.as_bytes().as_slice(), &[0; 32]].concat());
    [COMMITMENT.as_slice(), &commitment].concat()
}
