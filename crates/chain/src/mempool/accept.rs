//! One transaction taken or refused: the rules in the reference client's order, cheap ones first, scripts last.

use std::collections::BTreeSet;
use std::sync::Arc;

use lode_coins::Coin;
use lode_primitives::{Amount, OutPoint, Transaction, Txid, Wtxid};
use lode_script::{Flags, TxSighashes, tx_sigop_cost, verify_input};

use super::graph::{Candidate, Graph, Plan, Slot};
use super::linearize::{FeeSize, compare_diagrams};
use super::{MAX_REPLACED_CLUSTERS, Mempool, MempoolError, Removal, TipChange, truc};
use crate::policy::{self, NotStandard};
use crate::{ChainView, Utxo, rules};

/// A transaction that was taken.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// Its id.
    pub txid: Txid,
    /// Its id with witnesses.
    pub wtxid: Wtxid,
    /// Virtual bytes, sigops considered.
    pub vsize: usize,
    /// What it pays.
    pub fee: Amount,
    /// What left the mempool for it: replaced, or given up for room.
    pub removed: Vec<(Arc<Transaction>, Removal)>,
}

/// What [`Mempool::test`] found of a transaction that would be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tested {
    /// Its id.
    pub txid: Txid,
    /// Its id with witnesses.
    pub wtxid: Wtxid,
    /// Virtual bytes, sigops considered.
    pub vsize: usize,
    /// What it pays.
    pub fee: Amount,
}

impl Tested {
    /// As taken, with nothing gone for it.
    pub(super) const fn accepted(self) -> Accepted {
        let Self { txid, wtxid, vsize, fee } = self;
        Accepted { txid, wtxid, vsize, fee, removed: Vec::new() }
    }
}

/// What a check worked out, for taking the transaction.
pub(super) struct Checked {
    pub tested: Tested,
    fee_delta: i64,
    adjusted_weight: usize,
    sigop_cost: usize,
    pub candidate: Candidate,
    plan: Plan,
}

/// Where a transaction comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A peer or a user: every rule.
    Relay,
    /// With others that are to be taken together: every rule but that of its own fee.
    Package,
    /// A disconnected block: it was mined once, so its fee and what policy limits to relay do not matter.
    Block,
}

/// The script rules for the mempool: always the strict ones, whatever else is let in.
fn script_flags(coin: &Coin) -> Flags {
    if coin.form.witness {
        return Flags::STANDARD;
    }
    // CLEANSTACK is defined by way of witnesses.
    Flags::STANDARD.without(Flags::WITNESS | Flags::TAPROOT | Flags::CLEANSTACK)
}

impl Mempool {
    /// Takes a transaction, or says why not. `now` is Unix seconds.
    pub fn accept(
        &mut self,
        tx: Transaction,
        view: &dyn ChainView,
        now: u32,
    ) -> Result<Accepted, MempoolError> {
        let checked = self.check(&tx, view, now, Origin::Relay)?;
        let tested = checked.tested;
        let mut removed = self.add(tx, checked, view, now);
        removed.extend(self.expire(now));
        removed.extend(self.trim(now));
        if !self.by_txid.contains_key(&tested.txid) {
            return Err(MempoolError::Full);
        }
        Ok(Accepted { removed, ..tested.accepted() })
    }

    /// Whether the transaction would be taken; changes nothing.
    pub fn test(&self, tx: &Transaction, view: &dyn ChainView, now: u32) -> Result<Tested, MempoolError> {
        self.check(tx, view, now, Origin::Relay).map(|checked| checked.tested)
    }

    /// Takes back a transaction of a disconnected block. Where it would join clusters to one that is too large, their
    /// worst chunks are given up until it fits.
    pub(super) fn accept_from_block(
        &mut self,
        tx: &Transaction,
        view: &dyn ChainView,
        now: u32,
        report: &mut TipChange,
    ) -> Result<Txid, MempoolError> {
        loop {
            match self.check(tx, view, now, Origin::Block) {
                Ok(checked) => {
                    let txid = checked.tested.txid;
                    self.add(tx.clone(), checked, view, now);
                    return Ok(txid);
                }
                Err(MempoolError::ClusterTooLarge) => {
                    let worst = self.worst_chunk_around(tx).ok_or(MempoolError::ClusterTooLarge)?;
                    report.removed.extend(self.remove(&worst).into_iter().map(|tx| (tx, Removal::Reorg)));
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// The worst of the last chunks of the clusters that `tx` spends from or is spent by.
    fn worst_chunk_around(&self, tx: &Transaction) -> Option<Vec<Slot>> {
        let txid = tx.txid();
        let parents = tx.inputs.iter().filter_map(|input| self.by_txid.get(&input.prevout.txid));
        let children =
            (0..tx.outputs.len() as u32).filter_map(|vout| self.spends.get(&OutPoint { txid, vout }));
        let last_chunk = |slot: &Slot| {
            let (txs, chunks) = self.graph.cluster(*slot);
            let start = chunks.len().checked_sub(2).map_or(0, |before| chunks[before].0);
            chunks.last().map(|(_, rate)| (*rate, &txs[start..]))
        };
        let worst = parents.chain(children).filter_map(last_chunk).min_by(|a, b| a.0.cmp_rate(&b.0));
        worst.map(|(_, slots)| slots.to_vec())
    }

    pub(super) fn add(
        &mut self,
        tx: Transaction,
        checked: Checked,
        view: &dyn ChainView,
        now: u32,
    ) -> Vec<(Arc<Transaction>, Removal)> {
        self.sequence += 1;
        self.changes += 1;
        let Checked { tested, fee_delta, adjusted_weight, sigop_cost, candidate, plan } = checked;
        let tx = Arc::new(tx);
        let entry = Graph::entry(
            Arc::clone(&tx),
            (tested.txid, tested.wtxid),
            tested.fee,
            fee_delta,
            adjusted_weight,
            sigop_cost,
            (now, view.tip_height(), self.sequence),
        );
        self.bytes += entry.memory();
        self.vsize += entry.vsize() as u64;
        self.total_fee = self.total_fee.saturating_add(entry.fee.to_sat());
        let (removed, slot) = self.graph.apply(plan, Some((entry, candidate)));
        let removed = removed.into_iter().map(|entry| (self.forget(entry), Removal::Replaced)).collect();
        if let Some(slot) = slot {
            self.by_txid.insert(tested.txid, slot);
            self.by_wtxid.insert(tested.wtxid, slot);
            self.by_time.insert((now, slot));
            self.spends.extend(tx.inputs.iter().map(|input| (input.prevout, slot)));
        }
        removed
    }

    pub(super) fn check(
        &self,
        tx: &Transaction,
        view: &dyn ChainView,
        now: u32,
        origin: Origin,
    ) -> Result<Checked, MempoolError> {
        let (coin, options) = (view.coin(), &self.options);
        rules::tx::check(coin, tx)?;
        if tx.is_coinbase() {
            return Err(MempoolError::Coinbase);
        }
        if options.require_standard {
            policy::check_standard(tx, &options.standard)?;
        }
        let base_size = tx.base_size();
        if base_size < policy::MIN_STANDARD_BASE_SIZE {
            return Err(NotStandard::TooSmall(base_size).into());
        }
        if !self.is_final(tx, view) {
            return Err(MempoolError::NonFinal(tx.lock_time));
        }
        let (txid, wtxid) = (tx.txid(), tx.wtxid());
        if self.by_wtxid.contains_key(&wtxid) {
            return Err(MempoolError::AlreadyInMempool);
        }
        if self.by_txid.contains_key(&txid) {
            return Err(MempoolError::SameTxidInMempool);
        }
        let mut conflicts: BTreeSet<Slot> =
            tx.inputs.iter().filter_map(|input| self.spends.get(&input.prevout)).copied().collect();
        let spent = self.spent_outputs(tx, view)?;
        let spent = match spent {
            Ok(spent) => spent,
            Err(missing) => return Err(self.missing(tx, txid, missing, view)?),
        };
        let fee = self.check_spent(tx, &spent, view)?;
        let outputs = || spent.iter().map(|utxo| &utxo.output);
        if options.require_standard {
            policy::check_inputs_standard(tx, outputs())?;
            policy::check_witness_standard(tx, outputs())?;
        }
        let sigop_cost = tx_sigop_cost(tx, outputs(), script_flags(coin));
        let adjusted_weight = policy::sigop_adjusted_weight(tx.weight(), sigop_cost);
        let vsize = policy::virtual_size(adjusted_weight);
        let fee_delta = self.deltas.get(&txid).copied().unwrap_or(0);
        let modified_fee = fee.to_sat().saturating_add(fee_delta);

        let has_dust = policy::dust_outputs(tx, options.standard.dust_rate).next().is_some();
        if options.require_standard && has_dust && (fee != Amount::ZERO || modified_fee != 0) {
            return Err(MempoolError::DustWithFee);
        }
        if sigop_cost > policy::MAX_STANDARD_SIGOPS_COST {
            return Err(NotStandard::Sigops(sigop_cost).into());
        }
        if origin == Origin::Relay {
            self.check_fee(modified_fee, vsize, now)?;
        }
        let parents: BTreeSet<Slot> =
            tx.inputs.iter().filter_map(|input| self.by_txid.get(&input.prevout.txid)).copied().collect();
        let sibling = match origin {
            Origin::Relay | Origin::Package => truc::check(&self.graph, tx, vsize, &parents, &conflicts)?,
            Origin::Block => None,
        };
        conflicts.extend(sibling);
        let children: BTreeSet<Slot> = (0..tx.outputs.len() as u32)
            .filter_map(|vout| self.spends.get(&OutPoint { txid, vout }))
            .copied()
            .collect();
        let rate = FeeSize { fee: modified_fee, weight: adjusted_weight as u64 };
        let candidate = Candidate {
            rate,
            parents: parents.iter().copied().collect(),
            children: children.into_iter().collect(),
        };
        let (candidate, plan) = self.check_cluster(candidate, vsize, &conflicts, sibling.is_some())?;
        if origin != Origin::Block && options.require_standard {
            self.check_parents_dust(tx, &parents)?;
        }
        self.check_scripts(tx, &spent, view)?;
        let tested = Tested { txid, wtxid, vsize, fee };
        Ok(Checked { tested, fee_delta, adjusted_weight, sigop_cost, candidate, plan })
    }

    /// Which error a missing output is: the transaction may be in the chain already.
    fn missing(
        &self,
        tx: &Transaction,
        txid: Txid,
        missing: OutPoint,
        view: &dyn ChainView,
    ) -> Result<MempoolError, MempoolError> {
        for vout in 0..tx.outputs.len() as u32 {
            if view.unspent(&OutPoint { txid, vout })?.is_some() {
                return Ok(MempoolError::AlreadyKnown);
            }
        }
        Ok(MempoolError::MissingInputs(missing))
    }

    pub(super) fn check_fee(&self, fee: i64, vsize: usize, now: u32) -> Result<(), MempoolError> {
        let required = self.floor(now).fee(vsize as u64);
        if required > 0 && fee < required {
            return Err(MempoolError::BelowMempoolMinimum { fee, required });
        }
        let required = self.options.min_relay.fee(vsize as u64);
        if fee < required {
            return Err(MempoolError::BelowRelayMinimum { fee, required });
        }
        Ok(())
    }

    /// Replacement by fee (reference client's rules 3 to 5 and its diagram check), and the cluster's limits.
    fn check_cluster(
        &self,
        mut candidate: Candidate,
        vsize: usize,
        conflicts: &BTreeSet<Slot>,
        sibling: bool,
    ) -> Result<(Candidate, Plan), MempoolError> {
        let max_weight = self.options.max_cluster_vsize() as u64 * 4;
        if conflicts.is_empty() {
            let plan = self.graph.plan(Some(&candidate), &[], max_weight);
            return plan.map(|plan| (candidate, plan)).map_err(|_| MempoolError::ClusterTooLarge);
        }
        let clusters: BTreeSet<u64> = conflicts.iter().map(|slot| self.graph.cluster_of(*slot)).collect();
        if clusters.len() > MAX_REPLACED_CLUSTERS {
            return Err(MempoolError::TooManyReplacements { clusters: clusters.len(), sibling });
        }
        let removed = self.with_descendants(conflicts.iter().copied());
        let replaced: i64 =
            removed.iter().map(|slot| self.graph.get(*slot).modified_fee()).fold(0, i64::saturating_add);
        let relay = self.options.incremental.fee(vsize as u64);
        let fee = candidate.rate.fee;
        if fee < replaced || fee.saturating_sub(replaced) < relay {
            return Err(MempoolError::ReplacementFee { fee, replaced, relay, sibling });
        }
        let all_parents = candidate.parents.clone();
        candidate.parents.retain(|parent| !removed.contains(parent));
        let plan = self
            .graph
            .plan(Some(&candidate), &removed, max_weight)
            .map_err(|_| MempoolError::ClusterTooLarge)?;
        let (mut new, mut old) = (plan.new_chunks(), self.graph.old_chunks(&plan));
        if compare_diagrams(&mut new, &mut old) != Some(std::cmp::Ordering::Greater) {
            return Err(MempoolError::ReplacementDiagram);
        }
        // What it conflicts with must not be among its ancestors.
        let ancestors = all_parents.iter().flat_map(|parent| self.graph.ancestors(*parent));
        for slot in ancestors {
            if conflicts.contains(&slot) {
                return Err(MempoolError::SpendsConflicting(self.graph.get(slot).txid));
            }
        }
        Ok((candidate, plan))
    }

    /// Dust of a parent must be spent: it is there only for this child.
    fn check_parents_dust(&self, tx: &Transaction, parents: &BTreeSet<Slot>) -> Result<(), MempoolError> {
        for parent in parents {
            let parent = self.graph.get(*parent);
            for vout in policy::dust_outputs(&parent.tx, self.options.standard.dust_rate) {
                let dust = OutPoint { txid: parent.txid, vout: vout as u32 };
                if !tx.inputs.iter().any(|input| input.prevout == dust) {
                    return Err(MempoolError::DustUnspent(parent.txid));
                }
            }
        }
        Ok(())
    }

    fn check_scripts(
        &self,
        tx: &Transaction,
        spent: &[Utxo],
        view: &dyn ChainView,
    ) -> Result<(), MempoolError> {
        let flags = script_flags(view.coin());
        let sighashes = TxSighashes::new(tx, spent.iter().map(|utxo| &utxo.output));
        for (index, input) in tx.inputs.iter().enumerate() {
            verify_input(&sighashes, index, flags, view.signatures())
                .map_err(|error| MempoolError::Script { input: index, outpoint: input.prevout, error })?;
        }
        Ok(())
    }
}
