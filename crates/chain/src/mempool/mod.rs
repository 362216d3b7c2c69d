//! Transactions that wait for a block: taken or refused by the rules of the next block and by policy, kept in mining
//! order, given up when they age or when there is no room.
//!
//! `node` owns the one [`Mempool`], feeds it what peers and users send ([`Mempool::accept`]) and tells it how the best
//! chain changed ([`Mempool::on_tip_changed`]). It does no IO and reads no clock: the chain comes as a [`ChainView`],
//! the time with each call. Templates are read off it by [`crate::template`].
//!
//! The policy is the reference client's, version 31: standard transactions only ([`crate::policy`]), replacement by fee
//! whatever a transaction signals, clusters of at most 64 transactions and 101 kvB, versions 3 (BIP431), one output of
//! dust where its only child spends it.

mod accept;
mod error;
mod graph;
mod linearize;
mod package;
mod query;
mod rejoin;
mod truc;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use lode_coins::Coin;
use lode_primitives::{Height, OutPoint, Transaction, Txid, Wtxid};

pub use accept::{Accepted, Tested};
pub use error::MempoolError;
pub use graph::Entry;
use graph::{Graph, Slot};
pub use linearize::{FeeSize, MAX_CLUSTER_COUNT};
pub use package::{MAX_PACKAGE_COUNT, PackageError, PackageReport, PackageVerdict};
pub use query::{EntryInfo, MempoolInfo};

use crate::policy::{self, FeeRate, Standard};
use crate::rules::tx::{self as rules, SequenceLocks};
use crate::{ChainBlock, ChainView, Connected, StoreError, Utxo};

/// Virtual bytes of a cluster beyond the greatest standard transaction, at most (reference client:
/// `DEFAULT_CLUSTER_SIZE_LIMIT_KVB` is 101,000 where that has 100,000).
const CLUSTER_EXTRA_VSIZE: usize = 1_000;

/// Clusters that one replacement may take transactions out of: bounds the work of putting them in order again.
const MAX_REPLACED_CLUSTERS: usize = 100;

/// Fee deltas kept for transactions that are not here (yet): each is a user's own call, this bounds mistakes.
const MAX_DELTAS: usize = 100_000;

/// Seconds in which the fee floor halves when no room is needed any more (reference client: `ROLLING_FEE_HALFLIFE`).
const FLOOR_HALFLIFE: f64 = 12.0 * 60.0 * 60.0;

/// What an operator may choose.
#[derive(Clone, Debug)]
pub struct MempoolOptions {
    /// Bytes of memory at most. Also the bound of all tables here.
    pub max_bytes: usize,
    /// Seconds after which a transaction is given up.
    pub expiry: u32,
    /// The least fee of what is taken at all.
    pub min_relay: FeeRate,
    /// What replacing, or coming after an eviction, costs on top.
    pub incremental: FeeRate,
    /// Take only standard transactions.
    pub require_standard: bool,
    /// What standard is.
    pub standard: Standard,
}

impl MempoolOptions {
    /// Virtual bytes of a cluster at most.
    pub const fn max_cluster_vsize(&self) -> usize {
        self.standard.max_weight / 4 + CLUSTER_EXTRA_VSIZE
    }

    /// Weight units of a cluster at most.
    const fn max_cluster_weight(&self) -> u64 {
        self.max_cluster_vsize() as u64 * 4
    }

    /// The defaults for a coin: the reference client's, with the coin's own least fee.
    pub fn for_coin(coin: &Coin) -> Self {
        let min_relay = FeeRate::from_sat_per_kvb(coin.min_relay_fee.to_sat().unsigned_abs());
        Self {
            max_bytes: 300_000_000,
            expiry: 336 * 60 * 60,
            min_relay,
            incremental: min_relay,
            require_standard: true,
            standard: Standard::for_coin(coin),
        }
    }
}

/// The fee that a mempool which was full asks for: raised by every eviction, halving again with time once a block came.
#[derive(Clone, Copy, Debug, Default)]
struct Floor {
    /// Satoshi per 1,000 virtual bytes, at `since`.
    rate: f64,
    since: u32,
    falling: bool,
}

/// Why a transaction left the mempool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removal {
    /// It is in a block.
    Block,
    /// A block spent what it spends.
    Conflict,
    /// A better-paying transaction took its place.
    Replaced,
    /// It waited too long.
    Expired,
    /// No room.
    SizeLimit,
    /// After a reorganisation it is not valid in the next block any more.
    Reorg,
}

/// How the mempool changed with the tip.
#[derive(Debug, Default)]
pub struct TipChange {
    /// What left it, and why.
    pub removed: Vec<(Arc<Transaction>, Removal)>,
    /// What came back from disconnected blocks.
    pub returned: Vec<Txid>,
}

/// See the module.
#[derive(Debug)]
pub struct Mempool {
    options: MempoolOptions,
    graph: Graph,
    by_txid: HashMap<Txid, Slot>,
    by_wtxid: HashMap<Wtxid, Slot>,
    /// Which entry spends an output.
    spends: HashMap<OutPoint, Slot>,
    /// Entries by when they came.
    by_time: BTreeSet<(u32, Slot)>,
    /// Set by `prioritisetransaction`, also for transactions that are not here.
    deltas: HashMap<Txid, i64>,
    bytes: usize,
    vsize: u64,
    /// What all entries pay, in satoshi.
    total_fee: i64,
    floor: Floor,
    /// Counts additions and removals: tells a long poll whether anything changed.
    changes: u64,
    sequence: u64,
}

impl Mempool {
    /// An empty one.
    pub fn new(options: MempoolOptions) -> Self {
        Self {
            options,
            graph: Graph::default(),
            by_txid: HashMap::new(),
            by_wtxid: HashMap::new(),
            spends: HashMap::new(),
            by_time: BTreeSet::new(),
            deltas: HashMap::new(),
            bytes: 0,
            vsize: 0,
            total_fee: 0,
            floor: Floor::default(),
            changes: 0,
            sequence: 0,
        }
    }

    /// What was chosen.
    pub const fn options(&self) -> &MempoolOptions {
        &self.options
    }

    /// Adds `delta` satoshi to what the transaction counts for when fees are compared; also before it comes. False where
    /// that is not done because the transaction is here and has an output of dust, which must stay unprofitable alone.
    pub fn prioritise(&mut self, txid: Txid, delta: i64) -> bool {
        let has_dust =
            |entry: &Entry| policy::dust_outputs(&entry.tx, self.options.standard.dust_rate).next().is_some();
        if self.get(&txid).is_some_and(has_dust) {
            return false;
        }
        let total = self.delta(&txid).saturating_add(delta);
        if total == 0 {
            self.deltas.remove(&txid);
        } else if self.deltas.contains_key(&txid) || self.deltas.len() < MAX_DELTAS {
            self.deltas.insert(txid, total);
        }
        if let Some(&slot) = self.by_txid.get(&txid) {
            self.graph.get_mut(slot).fee_delta = total;
            self.graph.reorder(slot);
            self.changes += 1;
        }
        true
    }

    /// Every delta set by [`Mempool::prioritise`].
    pub fn deltas(&self) -> impl Iterator<Item = (&Txid, i64)> {
        self.deltas.iter().map(|(txid, delta)| (txid, *delta))
    }

    /// What [`Mempool::prioritise`] added to a transaction, in satoshi.
    pub fn delta(&self, txid: &Txid) -> i64 {
        self.deltas.get(txid).copied().unwrap_or(0)
    }

    /// The least fee that a transaction must pay at present because the mempool was full.
    pub fn floor(&self, now: u32) -> FeeRate {
        let rate = self.floor_at(now);
        if rate == 0.0 {
            return FeeRate::default();
        }
        let rate = FeeRate::from_sat_per_kvb(rate.round() as u64);
        if self.floor.falling { rate.max(self.options.incremental) } else { rate }
    }

    fn floor_at(&self, now: u32) -> f64 {
        if !self.floor.falling || self.floor.rate == 0.0 {
            return self.floor.rate;
        }
        let halflife = match self.bytes {
            bytes if bytes < self.options.max_bytes / 4 => FLOOR_HALFLIFE / 4.0,
            bytes if bytes < self.options.max_bytes / 2 => FLOOR_HALFLIFE / 2.0,
            _ => FLOOR_HALFLIFE,
        };
        let rate = self.floor.rate / 2f64.powf(f64::from(now.saturating_sub(self.floor.since)) / halflife);
        if rate < self.options.incremental.to_sat_per_kvb() as f64 / 2.0 { 0.0 } else { rate }
    }

    /// Removes entries; their descendants must be among them.
    fn remove(&mut self, slots: &[Slot]) -> Vec<Arc<Transaction>> {
        if slots.is_empty() {
            return Vec::new();
        }
        // Only adding can make a cluster too large.
        let Ok(plan) = self.graph.plan(None, slots, u64::MAX) else { return Vec::new() };
        let (removed, _) = self.graph.apply(plan, None);
        removed.into_iter().map(|entry| self.forget(entry)).collect()
    }

    /// Takes an entry that the graph gave up out of the tables.
    fn forget(&mut self, entry: Entry) -> Arc<Transaction> {
        if let Some(slot) = self.by_txid.remove(&entry.txid) {
            self.by_time.remove(&(entry.time, slot));
        }
        self.total_fee = self.total_fee.saturating_sub(entry.fee.to_sat());
        self.by_wtxid.remove(&entry.wtxid);
        for input in &entry.tx.inputs {
            self.spends.remove(&input.prevout);
        }
        self.bytes = self.bytes.saturating_sub(entry.memory());
        self.vsize = self.vsize.saturating_sub(entry.vsize() as u64);
        self.changes += 1;
        entry.tx
    }

    /// The entries and all that descends from them, each once.
    fn with_descendants(&self, slots: impl IntoIterator<Item = Slot>) -> Vec<Slot> {
        let mut all: Vec<Slot> = slots.into_iter().flat_map(|slot| self.graph.descendants(slot)).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Gives up what has waited longer than the expiry. Call now and then.
    pub fn expire(&mut self, now: u32) -> Vec<(Arc<Transaction>, Removal)> {
        let oldest = now.saturating_sub(self.options.expiry);
        let old: Vec<Slot> = self.by_time.range(..(oldest, 0)).map(|(_, slot)| *slot).collect();
        let all = self.with_descendants(old);
        self.remove(&all).into_iter().map(|tx| (tx, Removal::Expired)).collect()
    }

    /// Gives up the worst chunks until the memory bound holds, and raises the floor above what was given up.
    fn trim(&mut self, now: u32) -> Vec<(Arc<Transaction>, Removal)> {
        let mut removed = Vec::new();
        while self.bytes > self.options.max_bytes {
            let Some((rate, chunk)) = self.graph.worst_chunk() else { break };
            let chunk = chunk.to_vec();
            let vsize = rate.weight.div_ceil(4).max(1);
            let given_up = (rate.fee.max(0) as f64 / vsize as f64 * 1_000.0).floor();
            let floor = given_up + self.options.incremental.to_sat_per_kvb() as f64;
            if floor > self.floor_at(now) {
                self.floor = Floor { rate: floor, since: now, falling: false };
            }
            removed.extend(self.remove(&chunk).into_iter().map(|tx| (tx, Removal::SizeLimit)));
        }
        removed
    }

    /// Takes out a connected block's transactions, and whatever they made impossible.
    fn on_connected(&mut self, block: &ChainBlock, now: u32, change: &mut TipChange) {
        for (tx, txid) in block.block.transactions.iter().zip(&*block.txids).skip(1) {
            if let Some(&slot) = self.by_txid.get(txid) {
                // Its children stay; its parents came before it in this block or an earlier one.
                let gone = self.remove(&[slot]);
                change.removed.extend(gone.into_iter().map(|tx| (tx, Removal::Block)));
            }
            self.deltas.remove(txid);
            let conflicts: Vec<Slot> =
                tx.inputs.iter().filter_map(|input| self.spends.get(&input.prevout)).copied().collect();
            if !conflicts.is_empty() {
                for slot in &conflicts {
                    self.deltas.remove(&self.graph.get(*slot).txid);
                }
                let all = self.with_descendants(conflicts);
                change.removed.extend(self.remove(&all).into_iter().map(|tx| (tx, Removal::Conflict)));
            }
        }
        self.floor = Floor { rate: self.floor_at(now), since: now, falling: true };
    }

    /// Follows the best chain, which `view` shows as it is after `change`. Transactions of disconnected blocks come back
    /// where they are still valid; what is not valid any more on the new tip goes.
    pub fn on_tip_changed(
        &mut self,
        change: &Connected,
        view: &dyn ChainView,
        now: u32,
    ) -> Result<TipChange, StoreError> {
        let mut report = TipChange::default();
        for block in &change.connected {
            self.on_connected(block, now, &mut report);
        }
        if change.disconnected.is_empty() {
            return Ok(report);
        }
        let mined: HashSet<Txid> =
            change.connected.iter().flat_map(|block| block.txids.iter()).copied().collect();
        // The oldest first, so that parents come before children.
        let returning = change
            .disconnected
            .iter()
            .rev()
            .flat_map(|block| block.block.transactions.iter().zip(block.txids.iter().copied()).skip(1));
        for (tx, txid) in returning.filter(|(_, txid)| !mined.contains(txid)) {
            let accepted = self.accept_from_block(tx, view, now);
            match accepted {
                Ok(txid) => report.returned.push(txid),
                Err(MempoolError::Store(error)) => return Err(error),
                Err(_) => {
                    // What spends it cannot stay.
                    let children = (0..tx.outputs.len() as u32).map(|vout| OutPoint { txid, vout });
                    let children: Vec<Slot> =
                        children.filter_map(|out| self.spends.get(&out).copied()).collect();
                    let all = self.with_descendants(children);
                    report.removed.extend(self.remove(&all).into_iter().map(|tx| (tx, Removal::Reorg)));
                }
            }
            if self.bytes > self.options.max_bytes.saturating_mul(2) {
                report.removed.extend(self.trim(now));
            }
        }
        let surplus = self.rejoin(&report.returned);
        report.removed.extend(surplus.into_iter().map(|tx| (tx, Removal::Reorg)));
        let stale = self.invalid_on(view)?;
        let all = self.with_descendants(stale);
        report.removed.extend(self.remove(&all).into_iter().map(|tx| (tx, Removal::Reorg)));
        report.removed.extend(self.expire(now));
        report.removed.extend(self.trim(now));
        report.returned.retain(|txid| self.by_txid.contains_key(txid));
        Ok(report)
    }

    /// Entries that could not be in the next block: lock times, relative locks, immature coinbases, missing outputs.
    fn invalid_on(&self, view: &dyn ChainView) -> Result<Vec<Slot>, StoreError> {
        let mut invalid = Vec::new();
        for slot in self.graph.live() {
            let tx = &self.graph.get(slot).tx;
            let good = self.is_final(tx, view)
                && match self.spent_outputs(tx, view, &HashMap::new())? {
                    Ok(spent) => self.check_spent(tx, &spent, view).is_ok(),
                    Err(_) => false,
                };
            if !good {
                invalid.push(slot);
            }
        }
        Ok(invalid)
    }

    fn is_final(&self, tx: &Transaction, view: &dyn ChainView) -> bool {
        rules::is_final(tx, view.tip_height() + 1, view.median_time_past(view.tip_height()))
    }

    /// The outputs that `tx` spends, of the chain, of the mempool or of `package`; or the first that is not there.
    fn spent_outputs(
        &self,
        tx: &Transaction,
        view: &dyn ChainView,
        package: &HashMap<Txid, &Transaction>,
    ) -> Result<Result<Vec<Utxo>, OutPoint>, StoreError> {
        let mut spent = Vec::with_capacity(tx.inputs.len());
        for input in &tx.inputs {
            let outpoint = input.prevout;
            let of_package = || package.get(&outpoint.txid)?.outputs.get(outpoint.vout as usize);
            let unspent = match self.output(&outpoint).or_else(of_package) {
                Some(output) => {
                    Some(Utxo { output: output.clone(), height: view.tip_height() + 1, coinbase: false })
                }
                None => view.unspent(&outpoint)?,
            };
            match unspent {
                Some(utxo) => spent.push(utxo),
                None => return Ok(Err(outpoint)),
            }
        }
        Ok(Ok(spent))
    }

    /// An output of a transaction here.
    fn output(&self, outpoint: &OutPoint) -> Option<&lode_primitives::TxOut> {
        let slot = self.by_txid.get(&outpoint.txid)?;
        self.graph.get(*slot).tx.outputs.get(outpoint.vout as usize)
    }

    /// The fee, where relative locks, maturity and amounts hold in the next block.
    fn check_spent(
        &self,
        tx: &Transaction,
        spent: &[Utxo],
        view: &dyn ChainView,
    ) -> Result<lode_primitives::Amount, MempoolError> {
        let next: Height = view.tip_height() + 1;
        let median_before = |height: Height| view.median_time_past(height.saturating_sub(1));
        let locks = SequenceLocks::of(tx, spent.iter().map(|utxo| utxo.height), median_before);
        if !locks.are_open(next, view.median_time_past(view.tip_height())) {
            return Err(MempoolError::SequenceLocked);
        }
        Ok(rules::check_inputs(view.coin(), tx, spent, next)?)
    }
}

#[cfg(test)]
mod tests;
