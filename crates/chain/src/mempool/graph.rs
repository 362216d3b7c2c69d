//! The mempool's transactions, which spends which, and the clusters they form, each kept in mining order.
//!
//! A cluster is a set of transactions connected by spending. A change to the graph touches whole clusters: they are
//! taken apart, changed, and put in order anew ([`Graph::plan`]), which can be looked at before it is done
//! ([`Graph::apply`]). All chunks of all clusters stand in one order, best feerate first: templates read it from the
//! front, eviction from the back.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use lode_primitives::{Amount, Height, Transaction, Txid, Wtxid};

use super::linearize::{FeeSize, MAX_CLUSTER_COUNT, Node, linearize};

/// Place of an entry; reused after it is gone.
pub(crate) type Slot = u32;
pub(super) type ClusterId = u64;

/// A transaction in the mempool.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The transaction.
    pub tx: Arc<Transaction>,
    /// Its id.
    pub txid: Txid,
    /// Its id with witnesses.
    pub wtxid: Wtxid,
    /// What it pays.
    pub fee: Amount,
    /// What `prioritisetransaction` adds to the fee when transactions are compared, in satoshi.
    pub fee_delta: i64,
    /// Weight units.
    pub weight: usize,
    /// Weight units, or what the sigops count for where that is more.
    pub adjusted_weight: usize,
    /// Sigop cost (BIP141).
    pub sigop_cost: usize,
    /// When it came, Unix seconds.
    pub time: u32,
    /// Height of the tip when it came.
    pub height: Height,
    /// Counts up with every transaction that comes.
    pub sequence: u64,
    pub(crate) parents: Vec<Slot>,
    pub(crate) children: Vec<Slot>,
    cluster: ClusterId,
}

impl Entry {
    /// Virtual bytes, sigops considered.
    pub fn vsize(&self) -> usize {
        crate::policy::virtual_size(self.adjusted_weight)
    }

    /// The fee with what `prioritisetransaction` adds, in satoshi.
    pub const fn modified_fee(&self) -> i64 {
        self.fee.to_sat().saturating_add(self.fee_delta)
    }

    /// Equal for transactions of one cluster.
    pub(crate) const fn cluster_id(&self) -> u64 {
        self.cluster
    }

    pub(crate) const fn rate(&self) -> FeeSize {
        FeeSize { fee: self.modified_fee(), weight: self.adjusted_weight as u64 }
    }

    /// Bytes of memory this takes, about: scripts and witnesses come in small allocations.
    pub(crate) fn memory(&self) -> usize {
        memory_of(&self.tx)
    }
}

/// An allocation's bytes as an allocator rounds them.
const fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + 31) / 16 * 16 }
}

/// Bytes that a transaction takes in the mempool, its places in tables included.
pub(crate) fn memory_of(tx: &Transaction) -> usize {
    let input = |input: &lode_primitives::TxIn| {
        let items: usize = input.witness.0.iter().map(|item| 24 + allocated(item.len())).sum();
        allocated(input.script_sig.len()) + items + 80 + 56 // the struct, and the table of spent outputs
    };
    let output = |output: &lode_primitives::TxOut| 32 + allocated(output.script_pubkey.len());
    let data = tx.data.as_ref().map_or(0, |data| allocated(data.len()));
    tx.inputs.iter().map(input).sum::<usize>()
        + tx.outputs.iter().map(output).sum::<usize>()
        + data
        + ENTRY_BYTES
}

/// Entry, transaction, and places in the tables of ids, clusters and chunks.
const ENTRY_BYTES: usize = 600;

/// Transactions in mining order, and where each chunk ends.
#[derive(Clone, Debug, Default)]
pub(super) struct Cluster {
    pub(super) txs: Vec<Slot>,
    pub(super) chunks: Vec<(usize, FeeSize)>,
}

/// A chunk's place among all: the best feerate first, chunks of one cluster in their order.
#[derive(Clone, Copy, Debug)]
struct ChunkKey {
    rate: FeeSize,
    cluster: ClusterId,
    index: usize,
}

impl Ord for ChunkKey {
    fn cmp(&self, other: &Self) -> Ordering {
        let ids = (self.cluster, self.index).cmp(&(other.cluster, other.index));
        other.rate.cmp_rate(&self.rate).then(ids)
    }
}

impl PartialOrd for ChunkKey {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ChunkKey {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for ChunkKey {}

/// A transaction about to be added.
#[derive(Debug)]
pub(crate) struct Candidate {
    pub rate: FeeSize,
    pub parents: Vec<Slot>,
}

/// A cluster would have more transactions, or more weight, than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ClusterTooLarge;

/// A cluster put in order: `None` is the candidate's place; then where each chunk ends, and what it pays.
type Ordered = (Vec<Option<Slot>>, Vec<(usize, FeeSize)>);

/// A change worked out but not done. Valid until the graph changes otherwise.
#[derive(Debug)]
pub(crate) struct Plan {
    removed: Vec<Slot>,
    affected: Vec<ClusterId>,
    clusters: Vec<Ordered>,
}

impl Plan {
    /// The chunks that the affected clusters are going to have.
    pub(crate) fn new_chunks(&self) -> Vec<FeeSize> {
        self.clusters.iter().flat_map(|(_, chunks)| chunks.iter().map(|(_, rate)| *rate)).collect()
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Graph {
    slots: Vec<Option<Entry>>,
    free: Vec<Slot>,
    pub(super) clusters: HashMap<ClusterId, Cluster>,
    next_cluster: ClusterId,
    order: BTreeSet<ChunkKey>,
}

impl Graph {
    pub(crate) fn get(&self, slot: Slot) -> &Entry {
        self.slots[slot as usize]
            .as_ref()
            .expect("slots are taken from the tables, which hold only live entries")
    }

    pub(crate) fn get_mut(&mut self, slot: Slot) -> &mut Entry {
        self.slots[slot as usize]
            .as_mut()
            .expect("slots are taken from the tables, which hold only live entries")
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Entry> {
        self.slots.iter().flatten()
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = Slot> {
        self.slots.iter().enumerate().filter(|(_, entry)| entry.is_some()).map(|(slot, _)| slot as Slot)
    }

    fn closure(&self, start: Slot, next: impl Fn(&Entry) -> &[Slot]) -> Vec<Slot> {
        let mut found = vec![start];
        let mut seen = HashSet::from([start]);
        let mut at = 0;
        while let Some(&slot) = found.get(at) {
            at += 1;
            found.extend(next(self.get(slot)).iter().filter(|slot| seen.insert(**slot)));
        }
        found
    }

    /// The entry, its parents, theirs, and so on.
    pub(crate) fn ancestors(&self, slot: Slot) -> Vec<Slot> {
        self.closure(slot, |entry| &entry.parents)
    }

    /// The entry, its children, theirs, and so on.
    pub(crate) fn descendants(&self, slot: Slot) -> Vec<Slot> {
        self.closure(slot, |entry| &entry.children)
    }

    /// Which cluster the entry is in: equal for two entries that spending connects.
    pub(crate) fn cluster_of(&self, slot: Slot) -> u64 {
        self.get(slot).cluster
    }

    /// The entry's cluster in mining order, and where each chunk ends.
    pub(crate) fn cluster(&self, slot: Slot) -> (&[Slot], &[(usize, FeeSize)]) {
        let cluster = &self.clusters[&self.get(slot).cluster];
        (&cluster.txs, &cluster.chunks)
    }

    /// All chunks, the best first.
    pub(crate) fn chunks(&self) -> impl Iterator<Item = (FeeSize, &[Slot])> {
        self.order.iter().map(|key| (key.rate, self.chunk(key)))
    }

    /// The chunk to give up first.
    pub(crate) fn worst_chunk(&self) -> Option<(FeeSize, &[Slot])> {
        self.order.last().map(|key| (key.rate, self.chunk(key)))
    }

    fn chunk(&self, key: &ChunkKey) -> &[Slot] {
        let cluster = &self.clusters[&key.cluster];
        let start = key.index.checked_sub(1).map_or(0, |before| cluster.chunks[before].0);
        &cluster.txs[start..cluster.chunks[key.index].0]
    }

    /// Works out the clusters after adding `candidate` and removing `removed`, whose descendants must be among them.
    ///
    /// # Errors
    /// Where a cluster would outgrow its count of 64 or `max_weight`.
    pub(crate) fn plan(
        &self,
        candidate: Option<&Candidate>,
        removed: &[Slot],
        max_weight: u64,
    ) -> Result<Plan, ClusterTooLarge> {
        let neighbours = candidate.iter().flat_map(|new| &new.parents);
        let affected: BTreeSet<ClusterId> =
            neighbours.chain(removed).map(|slot| self.get(*slot).cluster).collect();
        self.plan_clusters(affected, candidate, removed, max_weight)
    }

    /// [`Graph::plan`], of these clusters.
    pub(super) fn plan_clusters(
        &self,
        affected: BTreeSet<ClusterId>,
        candidate: Option<&Candidate>,
        removed: &[Slot],
        max_weight: u64,
    ) -> Result<Plan, ClusterTooLarge> {
        let gone: HashSet<Slot> = removed.iter().copied().collect();
        let mut left: Vec<Slot> = affected.iter().flat_map(|id| &self.clusters[id].txs).copied().collect();
        left.retain(|slot| !gone.contains(slot));
        let mut plan = Plan {
            removed: removed.to_vec(),
            affected: affected.into_iter().collect(),
            clusters: Vec::new(),
        };

        // The new transaction's cluster first, then what remains.
        let mut placed: HashSet<Slot> = HashSet::new();
        if let Some(new) = candidate {
            let mut members = Vec::new();
            for &slot in &new.parents {
                self.collect(slot, &gone, &mut placed, &mut members);
            }
            plan.clusters.push(self.ordered(members, Some(new), max_weight)?);
        }
        for slot in left {
            let mut members = Vec::new();
            self.collect(slot, &gone, &mut placed, &mut members);
            if !members.is_empty() {
                // Without a new transaction a cluster only shrinks.
                plan.clusters.push(self.ordered(members, None, u64::MAX)?);
            }
        }
        Ok(plan)
    }

    /// Adds to `members` what is connected with `slot`, unless it is gone or placed already.
    fn collect(&self, slot: Slot, gone: &HashSet<Slot>, placed: &mut HashSet<Slot>, members: &mut Vec<Slot>) {
        if gone.contains(&slot) || !placed.insert(slot) {
            return;
        }
        let mut next = members.len();
        members.push(slot);
        while let Some(&slot) = members.get(next) {
            next += 1;
            let entry = self.get(slot);
            for &other in entry.parents.iter().chain(&entry.children) {
                if !gone.contains(&other) && placed.insert(other) {
                    members.push(other);
                }
            }
        }
    }

    fn ordered(
        &self,
        members: Vec<Slot>,
        new: Option<&Candidate>,
        max_weight: u64,
    ) -> Result<Ordered, ClusterTooLarge> {
        let count = members.len() + usize::from(new.is_some());
        let weight: u64 = members.iter().map(|slot| self.get(*slot).adjusted_weight as u64).sum();
        if count > MAX_CLUSTER_COUNT
            || weight.saturating_add(new.map_or(0, |new| new.rate.weight)) > max_weight
        {
            return Err(ClusterTooLarge);
        }
        let index: HashMap<Slot, usize> = members.iter().enumerate().map(|(at, slot)| (*slot, at)).collect();
        let set = |slots: &[Slot]| {
            slots.iter().filter_map(|slot| index.get(slot)).fold(0, |set, at| set | 1u64 << at)
        };
        let mut nodes: Vec<Node> = members
            .iter()
            .map(|slot| self.get(*slot))
            .map(|entry| Node { rate: entry.rate(), parents: set(&entry.parents) })
            .collect();
        if let Some(new) = new {
            nodes.push(Node { rate: new.rate, parents: set(&new.parents) });
        }
        let result = linearize(&nodes);
        let order = result.order.into_iter().map(|at| members.get(at).copied()).collect();
        Ok((order, result.chunks))
    }

    /// The chunks that the affected clusters have now.
    pub(crate) fn old_chunks(&self, plan: &Plan) -> Vec<FeeSize> {
        plan.affected.iter().flat_map(|id| self.clusters[id].chunks.iter().map(|(_, rate)| *rate)).collect()
    }

    /// Does what was planned. `entry` is the candidate's, where there was one. Gives what was removed, and the new slot.
    pub(crate) fn apply(
        &mut self,
        plan: Plan,
        entry: Option<(Entry, Candidate)>,
    ) -> (Vec<Entry>, Option<Slot>) {
        for id in &plan.affected {
            if let Some(cluster) = self.clusters.remove(id) {
                for (index, (_, rate)) in cluster.chunks.iter().enumerate() {
                    self.order.remove(&ChunkKey { rate: *rate, cluster: *id, index });
                }
            }
        }
        let new_slot = entry.map(|(entry, candidate)| self.insert(entry, candidate));
        let removed: Vec<Entry> = plan.removed.iter().filter_map(|slot| self.take(*slot)).collect();
        for (txs, chunks) in plan.clusters {
            let txs: Vec<Slot> = txs.into_iter().filter_map(|slot| slot.or(new_slot)).collect();
            let id = self.next_cluster;
            self.next_cluster += 1;
            for slot in &txs {
                self.get_mut(*slot).cluster = id;
            }
            for (index, (_, rate)) in chunks.iter().enumerate() {
                self.order.insert(ChunkKey { rate: *rate, cluster: id, index });
            }
            self.clusters.insert(id, Cluster { txs, chunks });
        }
        (removed, new_slot)
    }

    fn insert(&mut self, mut entry: Entry, candidate: Candidate) -> Slot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            (self.slots.len() - 1) as Slot
        });
        for parent in &candidate.parents {
            self.get_mut(*parent).children.push(slot);
        }
        entry.parents = candidate.parents;
        self.slots[slot as usize] = Some(entry);
        slot
    }

    fn take(&mut self, slot: Slot) -> Option<Entry> {
        let entry = self.slots[slot as usize].take()?;
        for parent in &entry.parents {
            if let Some(parent) = &mut self.slots[*parent as usize] {
                parent.children.retain(|child| *child != slot);
            }
        }
        for child in &entry.children {
            if let Some(child) = &mut self.slots[*child as usize] {
                child.parents.retain(|parent| *parent != slot);
            }
        }
        self.free.push(slot);
        Some(entry)
    }

    /// Puts the cluster of `slot` in order again, after a fee was changed.
    pub(crate) fn reorder(&mut self, slot: Slot) {
        let id = self.get(slot).cluster;
        let Some(cluster) = self.clusters.remove(&id) else { return };
        for (index, (_, rate)) in cluster.chunks.iter().enumerate() {
            self.order.remove(&ChunkKey { rate: *rate, cluster: id, index });
        }
        let Ok((txs, chunks)) = self.ordered(cluster.txs, None, u64::MAX) else { return };
        for (index, (_, rate)) in chunks.iter().enumerate() {
            self.order.insert(ChunkKey { rate: *rate, cluster: id, index });
        }
        self.clusters.insert(id, Cluster { txs: txs.into_iter().flatten().collect(), chunks });
    }

    /// A new entry's empty links.
    #[allow(clippy::too_many_arguments)] // each is a field
    pub(crate) fn entry(
        tx: Arc<Transaction>,
        ids: (Txid, Wtxid),
        fee: Amount,
        fee_delta: i64,
        adjusted_weight: usize,
        sigop_cost: usize,
        (time, height, sequence): (u32, Height, u64),
    ) -> Entry {
        Entry {
            weight: tx.weight(),
            tx,
            txid: ids.0,
            wtxid: ids.1,
            fee,
            fee_delta,
            adjusted_weight,
            sigop_cost,
            time,
            height,
            sequence,
            parents: Vec::new(),
            children: Vec::new(),
            cluster: 0,
        }
    }
}
