//! After a reorganisation: transactions that came back from blocks, and those that spend them and never left, become
//! clusters again. Where one would be too large, the worst of it is given up, as the reference client chooses.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap, HashMap};
use std::sync::Arc;

use lode_primitives::{OutPoint, Transaction, Txid};

use super::Mempool;
use super::graph::{ClusterId, Graph, Slot};
use super::linearize::{FeeSize, MAX_CLUSTER_COUNT};

/// A parent, and a child that it is not linked with yet.
type Link = (Slot, Slot);

impl Mempool {
    /// Links what came back from blocks with what spends it; gives what was given up for that.
    pub(super) fn rejoin(&mut self, returned: &[Txid]) -> Vec<Arc<Transaction>> {
        let surplus = self.graph.surplus(&self.missing_links(returned), self.options.max_cluster_weight());
        let removed = self.remove(&surplus);
        let links = self.missing_links(returned);
        self.graph.link(&links);
        removed
    }

    fn missing_links(&self, returned: &[Txid]) -> Vec<Link> {
        let mut links = Vec::new();
        for txid in returned {
            let Some(&parent) = self.by_txid.get(txid) else { continue };
            for vout in 0..self.graph.get(parent).tx.outputs.len() as u32 {
                let child = self.spends.get(&OutPoint { txid: *txid, vout }).copied();
                links.extend(
                    child
                        .filter(|child| !self.graph.get(*child).parents.contains(&parent))
                        .map(|child| (parent, child)),
                );
            }
        }
        links.sort_unstable();
        links.dedup();
        links
    }
}

/// A transaction that may be kept next: its chunk's feerate decides, then the smaller chunk.
#[derive(PartialEq, Eq)]
struct Next(FeeSize, Slot);

impl Ord for Next {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_slot = other.1.cmp(&self.1);
        self.0.cmp_rate(&other.0).then(other.0.weight.cmp(&self.0.weight)).then(by_slot)
    }
}

impl PartialOrd for Next {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Which transactions are kept and hang together: each points towards one that stands for all, which has their count
/// and weight.
#[derive(Default)]
struct Kept(HashMap<Slot, (Slot, usize, u64)>);

impl Kept {
    fn root(&self, slot: Slot) -> Slot {
        let mut at = slot;
        while self.0[&at].0 != at {
            at = self.0[&at].0;
        }
        at
    }
}

impl Graph {
    /// What has to go so that no cluster is too large once `links` are made, with all that descends from it.
    ///
    /// The clusters' transactions are gone through in mining order, those of the best chunks of all first, each after
    /// its parents and after those before it in its own cluster; what does not fit with those it hangs together with
    /// is left out, and so is all that comes after it.
    fn surplus(&self, links: &[Link], max_weight: u64) -> Vec<Slot> {
        let mut surplus = Vec::new();
        for group in self.groups(links) {
            let slots = || group.iter().flat_map(|id| &self.clusters[id].txs).copied();
            let weight: u64 = slots().map(|slot| self.get(slot).rate().weight).sum();
            if slots().count() > MAX_CLUSTER_COUNT || weight > max_weight {
                let kept = self.keep_best(&group, links, max_weight);
                surplus.extend(slots().filter(|slot| !kept.contains(slot)));
            }
        }
        surplus
    }

    /// Clusters that `links` join.
    fn groups(&self, links: &[Link]) -> Vec<BTreeSet<ClusterId>> {
        let mut groups: Vec<BTreeSet<ClusterId>> = Vec::new();
        for (parent, child) in links {
            let mut joined = BTreeSet::from([self.cluster_of(*parent), self.cluster_of(*child)]);
            groups.retain(|group| {
                let apart = group.is_disjoint(&joined);
                if !apart {
                    joined.extend(group);
                }
                apart
            });
            groups.push(joined);
        }
        groups
    }

    fn keep_best(&self, group: &BTreeSet<ClusterId>, links: &[Link], max_weight: u64) -> BTreeSet<Slot> {
        let mut rates: HashMap<Slot, FeeSize> = HashMap::new();
        let mut before: BTreeMap<Slot, Vec<Slot>> = BTreeMap::new();
        let mut after: HashMap<Slot, Vec<Slot>> = HashMap::new();
        let mut order = |first: Slot, then: Slot| {
            before.entry(then).or_default().push(first);
            after.entry(first).or_default().push(then);
        };
        for cluster in group.iter().map(|id| &self.clusters[id]) {
            cluster.txs.windows(2).for_each(|pair| order(pair[0], pair[1]));
            let mut start = 0;
            for (end, rate) in &cluster.chunks {
                rates.extend(cluster.txs[start..*end].iter().map(|slot| (*slot, *rate)));
                start = *end;
            }
        }
        links
            .iter()
            .filter(|(parent, _)| group.contains(&self.cluster_of(*parent)))
            .for_each(|&(parent, child)| order(parent, child));

        let mut left: HashMap<Slot, usize> =
            rates.keys().map(|slot| (*slot, before.get(slot).map_or(0, Vec::len))).collect();
        let mut ready: BinaryHeap<Next> =
            left.iter().filter(|(_, left)| **left == 0).map(|(slot, _)| Next(rates[slot], *slot)).collect();
        let mut kept = Kept::default();
        while let Some(Next(_, slot)) = ready.pop() {
            let roots: BTreeSet<Slot> =
                before.get(&slot).into_iter().flatten().map(|other| kept.root(*other)).collect();
            let (mut count, mut weight) = (1, self.get(slot).rate().weight);
            for root in &roots {
                count += kept.0[root].1;
                weight += kept.0[root].2;
            }
            if count > MAX_CLUSTER_COUNT || weight > max_weight {
                continue;
            }
            for root in roots {
                kept.0.insert(root, (slot, 0, 0));
            }
            kept.0.insert(slot, (slot, count, weight));
            for other in after.get(&slot).into_iter().flatten() {
                let left = left.entry(*other).or_default();
                *left = left.saturating_sub(1);
                if *left == 0 {
                    ready.push(Next(rates[other], *other));
                }
            }
        }
        kept.0.into_keys().collect()
    }

    /// Makes children of their parents, and clusters of what hangs together then.
    fn link(&mut self, links: &[Link]) {
        let mut affected = BTreeSet::new();
        for &(parent, child) in links {
            affected.extend([self.cluster_of(parent), self.cluster_of(child)]);
            self.get_mut(parent).children.push(child);
            self.get_mut(child).parents.push(parent);
        }
        if let Ok(plan) = self.plan_clusters(affected, None, &[], u64::MAX) {
            self.apply(plan, None);
        }
    }
}
