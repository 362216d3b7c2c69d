//! What RPC, relay and templates read off the mempool.

use std::sync::Arc;

use lode_primitives::{Amount, Height, OutPoint, Transaction, TxOut, Txid, Wtxid};

use super::Mempool;
use super::graph::{Entry, Slot};
use super::linearize::FeeSize;
use crate::policy::FeeRate;

/// The mempool in figures, as `getmempoolinfo` shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MempoolInfo {
    /// Transactions.
    pub count: usize,
    /// Their virtual bytes, sigops considered.
    pub vsize: u64,
    /// Bytes of memory, about.
    pub bytes: usize,
    /// The bound on `bytes`.
    pub max_bytes: usize,
    /// What all of them pay.
    pub total_fee: Amount,
    /// The least fee to be taken now: relay's, or the floor where that is more.
    pub min_fee: FeeRate,
    /// The least fee for relay.
    pub min_relay: FeeRate,
    /// What replacing costs on top.
    pub incremental: FeeRate,
    /// Counts every change.
    pub changes: u64,
}

/// A transaction with its kin, as `getmempoolentry` shows it.
#[derive(Clone, Debug)]
pub struct EntryInfo {
    /// Its id.
    pub txid: Txid,
    /// Its id with witnesses.
    pub wtxid: Wtxid,
    /// Virtual bytes, sigops considered.
    pub vsize: usize,
    /// Weight units.
    pub weight: usize,
    /// Sigop cost.
    pub sigop_cost: usize,
    /// When it came, Unix seconds.
    pub time: u32,
    /// Height of the tip when it came.
    pub height: Height,
    /// What it pays.
    pub fee: Amount,
    /// With what `prioritisetransaction` adds, in satoshi.
    pub modified_fee: i64,
    /// Transactions it descends from, itself included.
    pub ancestor_count: usize,
    /// Their virtual bytes.
    pub ancestor_vsize: usize,
    /// Their modified fees, in satoshi.
    pub ancestor_fees: i64,
    /// Transactions that descend from it, itself included.
    pub descendant_count: usize,
    /// Their virtual bytes.
    pub descendant_vsize: usize,
    /// Their modified fees, in satoshi.
    pub descendant_fees: i64,
    /// Fee and weight of the chunk it would be mined in.
    pub chunk: FeeSize,
    /// Parents in the mempool.
    pub depends: Vec<Txid>,
    /// Children in the mempool.
    pub spent_by: Vec<Txid>,
    /// Signals that it may be replaced (BIP125), or an ancestor does. Everything may be, signalled or not.
    pub bip125_replaceable: bool,
}

/// The greatest sequence number that signals replacement (BIP125).
const MAX_BIP125_SEQUENCE: u32 = 0xffff_fffd;

impl Mempool {
    /// Transactions here.
    pub fn len(&self) -> usize {
        self.by_txid.len()
    }

    /// True where there is none.
    pub fn is_empty(&self) -> bool {
        self.by_txid.is_empty()
    }

    /// Counts every change: equal numbers mean the same content.
    pub const fn changes(&self) -> u64 {
        self.changes
    }

    /// A transaction by its id.
    pub fn get(&self, txid: &Txid) -> Option<&Entry> {
        self.by_txid.get(txid).map(|slot| self.graph.get(*slot))
    }

    /// A transaction by its id with witnesses.
    pub fn get_by_wtxid(&self, wtxid: &Wtxid) -> Option<&Entry> {
        self.by_wtxid.get(wtxid).map(|slot| self.graph.get(*slot))
    }

    /// True where the transaction is here.
    pub fn contains(&self, txid: &Txid) -> bool {
        self.by_txid.contains_key(txid)
    }

    /// True where the transaction is here with these witnesses.
    pub fn contains_wtxid(&self, wtxid: &Wtxid) -> bool {
        self.by_wtxid.contains_key(wtxid)
    }

    /// The transaction here that spends an output.
    pub fn spender(&self, outpoint: &OutPoint) -> Option<&Entry> {
        self.spends.get(outpoint).map(|slot| self.graph.get(*slot))
    }

    /// An output of a transaction here, whether spent or not.
    pub fn tx_output(&self, outpoint: &OutPoint) -> Option<&TxOut> {
        self.output(outpoint)
    }

    /// All transactions, in no order.
    pub fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.graph.iter()
    }

    /// All transactions for a compact block to be filled from, with their ids.
    pub fn transactions(&self) -> impl Iterator<Item = (&Wtxid, &Arc<Transaction>)> {
        self.graph.iter().map(|entry| (&entry.wtxid, &entry.tx))
    }

    /// All chunks in mining order: what each pays, and its entries, parents first.
    pub fn chunks(&self) -> impl Iterator<Item = (FeeSize, impl Iterator<Item = &Entry>)> {
        self.graph.chunks().map(|(rate, slots)| (rate, slots.iter().map(|slot| self.graph.get(*slot))))
    }

    /// Ids of the direct parents in the mempool.
    pub fn parents<'a>(&'a self, entry: &'a Entry) -> impl Iterator<Item = Txid> + 'a {
        entry.parents.iter().map(|slot| self.graph.get(*slot).txid)
    }

    /// Ids of all transactions that `txid` descends from in the mempool, itself not included.
    pub fn ancestors(&self, txid: &Txid) -> Option<Vec<Txid>> {
        let slot = *self.by_txid.get(txid)?;
        Some(self.txids(self.graph.ancestors(slot), slot))
    }

    /// Ids of all transactions that descend from `txid` in the mempool, itself not included.
    pub fn descendants(&self, txid: &Txid) -> Option<Vec<Txid>> {
        let slot = *self.by_txid.get(txid)?;
        Some(self.txids(self.graph.descendants(slot), slot))
    }

    /// The cluster of `txid` in mining order: each chunk's rate and transactions.
    pub fn cluster(&self, txid: &Txid) -> Option<Vec<(FeeSize, Vec<Txid>)>> {
        let (txs, chunks) = self.graph.cluster(*self.by_txid.get(txid)?);
        let mut start = 0;
        let chunk = |(end, rate): &(usize, FeeSize)| {
            let ids = txs[start..*end].iter().map(|slot| self.graph.get(*slot).txid).collect();
            start = *end;
            (*rate, ids)
        };
        Some(chunks.iter().map(chunk).collect())
    }

    fn txids(&self, slots: Vec<Slot>, without: Slot) -> Vec<Txid> {
        slots.into_iter().filter(|slot| *slot != without).map(|slot| self.graph.get(slot).txid).collect()
    }

    /// A transaction with its kin.
    pub fn entry_info(&self, txid: &Txid) -> Option<EntryInfo> {
        let slot = *self.by_txid.get(txid)?;
        let entry = self.graph.get(slot);
        let sums = |slots: &[Slot]| {
            let entries = || slots.iter().map(|slot| self.graph.get(*slot));
            let fees = entries().map(Entry::modified_fee).fold(0, i64::saturating_add);
            (slots.len(), entries().map(Entry::vsize).sum::<usize>(), fees)
        };
        let (above, below) = (self.graph.ancestors(slot), self.graph.descendants(slot));
        let (ancestor_count, ancestor_vsize, ancestor_fees) = sums(&above);
        let (descendant_count, descendant_vsize, descendant_fees) = sums(&below);
        let (txs, chunks) = self.graph.cluster(slot);
        let place = txs.iter().position(|other| *other == slot).unwrap_or(0);
        let chunk =
            chunks.iter().find(|(end, _)| place < *end).map_or_else(|| entry.rate(), |(_, rate)| *rate);
        let signals = |slot: &Slot| {
            self.graph.get(*slot).tx.inputs.iter().any(|input| input.sequence <= MAX_BIP125_SEQUENCE)
        };
        let txids = |slots: &[Slot]| slots.iter().map(|slot| self.graph.get(*slot).txid).collect();
        Some(EntryInfo {
            txid: entry.txid,
            wtxid: entry.wtxid,
            vsize: entry.vsize(),
            weight: entry.weight,
            sigop_cost: entry.sigop_cost,
            time: entry.time,
            height: entry.height,
            fee: entry.fee,
            modified_fee: entry.modified_fee(),
            ancestor_count,
            ancestor_vsize,
            ancestor_fees,
            descendant_count,
            descendant_vsize,
            descendant_fees,
            chunk,
            depends: txids(&entry.parents),
            spent_by: txids(&entry.children),
            bip125_replaceable: above.iter().any(signals),
        })
    }

    /// The mempool in figures.
    pub fn info(&self, now: u32) -> MempoolInfo {
        MempoolInfo {
            count: self.len(),
            vsize: self.vsize,
            bytes: self.bytes,
            max_bytes: self.options.max_bytes,
            total_fee: Amount::from_sat(self.total_fee),
            min_fee: self.floor(now).max(self.options.min_relay),
            min_relay: self.options.min_relay,
            incremental: self.options.incremental,
            changes: self.changes,
        }
    }
}
