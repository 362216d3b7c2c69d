//! One transaction taken or refused: the rules in the reference client's order, cheap ones first, scripts last.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use lode_coins::Coin;
use lode_primitives::{Amount, OutPoint, Transaction, Txid, Wtxid};
use lode_script::{Flags, TxSighashes, tx_sigop_cost, verify_input};

use super::graph::{Candidate, Graph, Plan, Slot};
use super::linearize::{FeeSize, compare_diagrams};
use super::{MAX_REPLACED_CLUSTERS, Mempool, MempoolError, Removal, truc};
use crate::policy::{self, FeeRate, NotStandard};
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

/// Transactions that left the mempool, and why.
pub(super) type Removed = Vec<(Arc<Transaction>, Removal)>;

/// What is known of a transaction that holds to every rule about itself and what it spends, before its place among
/// the others is looked for and its scripts are run.
pub(super) struct Facts {
    pub tested: Tested,
    fee_delta: i64,
    adjusted_weight: usize,
    sigop_cost: usize,
    /// The outputs it spends, in the order of its inputs.
    pub spent: Vec<Utxo>,
    /// Entries that spend the same, and the sibling of a version 3 transaction that has to give way.
    pub conflicts: BTreeSet<Slot>,
    /// One of the conflicts is such a sibling.
    sibling: bool,
    /// Parents in the mempool.
    pub parents: BTreeSet<Slot>,
}

impl Facts {
    /// Fee, with what was added by priority, and weight.
    pub(super) const fn rate(&self) -> FeeSize {
        let fee = self.tested.fee.to_sat().saturating_add(self.fee_delta);
        FeeSize { fee, weight: self.adjusted_weight as u64 }
    }
}

/// Where a transaction comes from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Origin {
    /// A peer or a user: every rule.
    Relay,
    /// With others that are to be taken together: every rule but that of its own fee; no sibling gives way to it.
    Package,
    /// With others, to be judged but not taken: every rule, and it may replace nothing.
    PackageTest,
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
        let (tested, mut removed) = self.accept_alone(tx, view, now, None)?;
        removed.extend(self.expire(now));
        removed.extend(self.trim(now));
        if !self.by_txid.contains_key(&tested.txid) {
            return Err(MempoolError::Full);
        }
        let Tested { txid, wtxid, vsize, fee } = tested;
        Ok(Accepted { txid, wtxid, vsize, fee, removed })
    }

    /// Takes a transaction, whether or not there is room; gives what it replaced.
    pub(super) fn accept_alone(
        &mut self,
        tx: Transaction,
        view: &dyn ChainView,
        now: u32,
        max_rate: Option<FeeRate>,
    ) -> Result<(Tested, Removed), MempoolError> {
        let (facts, candidate, plan) = self.check(&tx, view, now, max_rate)?;
        let removed = self.add(tx, &facts, candidate, plan, view, now);
        Ok((facts.tested, removed))
    }

    /// Whether the transaction would be taken; changes nothing.
    pub fn test(&self, tx: &Transaction, view: &dyn ChainView, now: u32) -> Result<Tested, MempoolError> {
        self.check(tx, view, now, None).map(|(facts, ..)| facts.tested)
    }

    /// Takes back a transaction of a disconnected block, without regard to those here that spend it.
    pub(super) fn accept_from_block(
        &mut self,
        tx: &Transaction,
        view: &dyn ChainView,
        now: u32,
    ) -> Result<Txid, MempoolError> {
        let facts = self.facts(tx, view, now, Origin::Block, &HashMap::new())?;
        let (candidate, plan) = self.check_cluster(tx, &facts)?;
        self.check_scripts(tx, &facts.spent, view)?;
        self.add(tx.clone(), &facts, candidate, plan, view, now);
        Ok(facts.tested.txid)
    }

    /// Puts a transaction where it was planned to be; gives what it replaces.
    pub(super) fn add(
        &mut self,
        tx: Transaction,
        facts: &Facts,
        candidate: Candidate,
        plan: Plan,
        view: &dyn ChainView,
        now: u32,
    ) -> Removed {
        self.sequence += 1;
        self.changes += 1;
        let tested = facts.tested;
        let tx = Arc::new(tx);
        let entry = Graph::entry(
            Arc::clone(&tx),
            (tested.txid, tested.wtxid),
            tested.fee,
            facts.fee_delta,
            facts.adjusted_weight,
            facts.sigop_cost,
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

    /// Every rule for a transaction by itself.
    fn check(
        &self,
        tx: &Transaction,
        view: &dyn ChainView,
        now: u32,
        max_rate: Option<FeeRate>,
    ) -> Result<(Facts, Candidate, Plan), MempoolError> {
        let facts = self.facts(tx, view, now, Origin::Relay, &HashMap::new())?;
        let (candidate, plan) = self.check_cluster(tx, &facts)?;
        check_max_rate(&facts, max_rate)?;
        if self.options.require_standard {
            for parent in &facts.parents {
                self.check_dust_spent(tx, &self.graph.get(*parent).tx)?;
            }
        }
        self.check_scripts(tx, &facts.spent, view)?;
        Ok((facts, candidate, plan))
    }

    /// The rules about a transaction and what it spends, which may be an output of one of `package`.
    pub(super) fn facts(
        &self,
        tx: &Transaction,
        view: &dyn ChainView,
        now: u32,
        origin: Origin,
        package: &HashMap<Txid, &Transaction>,
    ) -> Result<Facts, MempoolError> {
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
        if origin == Origin::PackageTest && !conflicts.is_empty() {
            return Err(MempoolError::ReplacementNotTested);
        }
        let spent = self.spent_outputs(tx, view, package)?;
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
        let fee_delta = self.delta(&txid);
        let modified_fee = fee.to_sat().saturating_add(fee_delta);

        let has_dust = policy::dust_outputs(tx, options.standard.dust_rate).next().is_some();
        if options.require_standard && has_dust && (fee != Amount::ZERO || modified_fee != 0) {
            return Err(MempoolError::DustWithFee);
        }
        if sigop_cost > policy::MAX_STANDARD_SIGOPS_COST {
            return Err(NotStandard::Sigops(sigop_cost).into());
        }
        if matches!(origin, Origin::Relay | Origin::PackageTest) {
            self.check_fee(modified_fee, vsize, now)?;
        }
        let parents = self.parents_of(tx);
        let sibling = match origin {
            Origin::Block => None,
            _ => truc::check(&self.graph, tx, vsize, &parents, &conflicts)?,
        };
        if sibling.is_some() && origin != Origin::Relay {
            return Err(MempoolError::Truc(truc::SECOND_CHILD));
        }
        conflicts.extend(sibling);
        let tested = Tested { txid, wtxid, vsize, fee };
        let sibling = sibling.is_some();
        Ok(Facts { tested, fee_delta, adjusted_weight, sigop_cost, spent, conflicts, sibling, parents })
    }

    /// The parents of `tx` that are here.
    fn parents_of(&self, tx: &Transaction) -> BTreeSet<Slot> {
        tx.inputs.iter().filter_map(|input| self.by_txid.get(&input.prevout.txid)).copied().collect()
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

    /// Where the transaction would stand: replacement by fee (reference client's rules 3 to 5 and its diagram check),
    /// and the cluster's limits.
    pub(super) fn check_cluster(
        &self,
        tx: &Transaction,
        facts: &Facts,
    ) -> Result<(Candidate, Plan), MempoolError> {
        // Asked anew: of a package, parents have come since.
        let parents = self.parents_of(tx);
        let mut candidate = Candidate { rate: facts.rate(), parents: parents.iter().copied().collect() };
        if facts.conflicts.is_empty() {
            let plan = self.graph.plan(Some(&candidate), &[], self.options.max_cluster_weight());
            return plan.map(|plan| (candidate, plan)).map_err(|_| MempoolError::ClusterTooLarge);
        }
        let removed = self.check_replaced(facts.conflicts.iter().copied(), facts.rate(), facts.sibling)?;
        candidate.parents.retain(|parent| !removed.contains(parent));
        let plan = self
            .graph
            .plan(Some(&candidate), &removed, self.options.max_cluster_weight())
            .map_err(|_| MempoolError::ClusterTooLarge)?;
        self.check_diagram(&plan, &[])?;
        // What it conflicts with must not be among its ancestors.
        for slot in parents.iter().flat_map(|parent| self.graph.ancestors(*parent)) {
            if facts.conflicts.contains(&slot) {
                return Err(MempoolError::SpendsConflicting(self.graph.get(slot).txid));
            }
        }
        Ok((candidate, plan))
    }

    /// What would go for something that pays `rate` and replaces `conflicts`, where that pays enough.
    pub(super) fn check_replaced(
        &self,
        conflicts: impl Iterator<Item = Slot> + Clone,
        rate: FeeSize,
        sibling: bool,
    ) -> Result<Vec<Slot>, MempoolError> {
        let clusters: BTreeSet<u64> = conflicts.clone().map(|slot| self.graph.cluster_of(slot)).collect();
        if clusters.len() > MAX_REPLACED_CLUSTERS {
            return Err(MempoolError::TooManyReplacements { clusters: clusters.len(), sibling });
        }
        let removed = self.with_descendants(conflicts);
        let replaced: i64 =
            removed.iter().map(|slot| self.graph.get(*slot).modified_fee()).fold(0, i64::saturating_add);
        let relay = self.options.incremental.fee(rate.weight.div_ceil(4));
        let fee = rate.fee;
        if fee < replaced || fee.saturating_sub(replaced) < relay {
            return Err(MempoolError::ReplacementFee { fee, replaced, relay, sibling });
        }
        Ok(removed)
    }

    /// That fees are better at every size once `plan` is carried out and `more` chunks are there.
    pub(super) fn check_diagram(&self, plan: &Plan, more: &[FeeSize]) -> Result<(), MempoolError> {
        let (mut new, mut old) = (plan.new_chunks(), self.graph.old_chunks(plan));
        new.extend(more);
        match compare_diagrams(&mut new, &mut old) {
            Some(std::cmp::Ordering::Greater) => Ok(()),
            _ => Err(MempoolError::ReplacementDiagram),
        }
    }

    /// Where `tx` spends `parent`, it must spend its dust: that is there only for this child.
    pub(super) fn check_dust_spent(
        &self,
        tx: &Transaction,
        parent: &Transaction,
    ) -> Result<(), MempoolError> {
        let mut dust = policy::dust_outputs(parent, self.options.standard.dust_rate).peekable();
        if dust.peek().is_none() {
            return Ok(());
        }
        let txid = parent.txid();
        for vout in dust {
            let dust = OutPoint { txid, vout: vout as u32 };
            if !tx.inputs.iter().any(|input| input.prevout == dust) {
                return Err(MempoolError::DustUnspent(txid));
            }
        }
        Ok(())
    }

    pub(super) fn check_scripts(
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

/// That the transaction does not pay more than its sender allows.
pub(super) fn check_max_rate(facts: &Facts, max_rate: Option<FeeRate>) -> Result<(), MempoolError> {
    let vsize = facts.tested.vsize as i64;
    match max_rate {
        Some(max)
            if i128::from(facts.rate().fee) * 1_000
                > i128::from(max.to_sat_per_kvb()) * i128::from(vsize) =>
        {
            Err(MempoolError::MaxRateExceeded { fee: facts.tested.fee, vsize: facts.tested.vsize })
        }
        _ => Ok(()),
    }
}
