//! Transactions whose parents are missing, kept for a while.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use lode_primitives::{Transaction, Txid, Wtxid};

use crate::limits::{MAX_ORPHAN_BYTES, MAX_ORPHANS, ORPHAN_EXPIRY};
use crate::{PeerId, Time};

#[derive(Debug)]
struct Orphan {
    transaction: Arc<Transaction>,
    from: PeerId,
    bytes: usize,
    expires: Time,
}

/// The orphans. When full, the peer with the most loses its oldest.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    by_id: BTreeMap<Wtxid, Orphan>,
    by_parent: HashMap<Txid, Vec<Wtxid>>,
    bytes: usize,
}

impl Orphans {
    pub(crate) fn insert(&mut self, wtxid: Wtxid, transaction: Arc<Transaction>, from: PeerId, now: Time) {
        if self.by_id.contains_key(&wtxid) {
            return;
        }
        let bytes = transaction.total_size();
        self.bytes += bytes;
        let mut parents: Vec<Txid> = transaction.inputs.iter().map(|input| input.prevout.txid).collect();
        parents.sort_unstable();
        parents.dedup();
        for parent in parents {
            self.by_parent.entry(parent).or_default().push(wtxid);
        }
        self.by_id.insert(wtxid, Orphan { transaction, from, bytes, expires: now + ORPHAN_EXPIRY });
        while self.by_id.len() > MAX_ORPHANS || self.bytes > MAX_ORPHAN_BYTES {
            self.evict();
        }
    }

    pub(crate) fn contains(&self, wtxid: &Wtxid) -> bool {
        self.by_id.contains_key(wtxid)
    }

    /// Takes out those that spend an output of `parent`.
    pub(crate) fn take_children(&mut self, parent: &Txid) -> Vec<(Wtxid, PeerId, Arc<Transaction>)> {
        let children = self.by_parent.get(parent).cloned().unwrap_or_default();
        children
            .into_iter()
            .filter_map(|wtxid| self.remove(&wtxid).map(|orphan| (wtxid, orphan.from, orphan.transaction)))
            .collect()
    }

    pub(crate) fn forget_peer(&mut self, peer: PeerId) {
        let of_peer: Vec<Wtxid> =
            self.by_id.iter().filter(|(_, orphan)| orphan.from == peer).map(|(wtxid, _)| *wtxid).collect();
        for wtxid in of_peer {
            self.remove(&wtxid);
        }
    }

    pub(crate) fn expire(&mut self, now: Time) {
        let expired: Vec<Wtxid> =
            self.by_id.iter().filter(|(_, orphan)| orphan.expires <= now).map(|(wtxid, _)| *wtxid).collect();
        for wtxid in expired {
            self.remove(&wtxid);
        }
    }

    /// All of them.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&Wtxid, &Arc<Transaction>)> {
        self.by_id.iter().map(|(wtxid, orphan)| (wtxid, &orphan.transaction))
    }

    fn evict(&mut self) {
        let mut bytes_of: BTreeMap<PeerId, usize> = BTreeMap::new();
        for orphan in self.by_id.values() {
            *bytes_of.entry(orphan.from).or_default() += orphan.bytes + MAX_ORPHAN_BYTES / MAX_ORPHANS;
        }
        let Some((&greedy, _)) = bytes_of.iter().max_by_key(|(_, bytes)| **bytes) else { return };
        let oldest = self
            .by_id
            .iter()
            .filter(|(_, orphan)| orphan.from == greedy)
            .min_by_key(|(_, orphan)| orphan.expires)
            .map(|(wtxid, _)| *wtxid);
        if let Some(wtxid) = oldest {
            self.remove(&wtxid);
        }
    }

    fn remove(&mut self, wtxid: &Wtxid) -> Option<Orphan> {
        let orphan = self.by_id.remove(wtxid)?;
        self.bytes -= orphan.bytes;
        for input in &orphan.transaction.inputs {
            if let Some(children) = self.by_parent.get_mut(&input.prevout.txid) {
                children.retain(|child| child != wtxid);
                if children.is_empty() {
                    self.by_parent.remove(&input.prevout.txid);
                }
            }
        }
        Some(orphan)
    }
}
