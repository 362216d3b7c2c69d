//! Compact blocks (BIP152) received: put together from the mempool, with what is missing asked for.

use std::collections::HashMap;
use std::sync::Arc;

use lode_primitives::{Block, BlockHash, Transaction};

use crate::download::Source;
use crate::limits::{MAX_HIGH_BANDWIDTH, MAX_PARALLEL, MAX_PARTIAL_BLOCKS};
use crate::message::{BlockTxn, CompactBlock, GetBlockTxn, ShortIdKey};
use crate::peers::{Peers, Step};
use crate::{Message, PeerId, TxRef};

/// A block with gaps.
#[derive(Debug)]
struct Partial {
    compact: Arc<CompactBlock>,
    transactions: Vec<Option<Arc<Transaction>>>,
}

/// Blocks with gaps, by block and the peer that was asked to fill them.
#[derive(Debug, Default)]
pub(crate) struct Partials(HashMap<(BlockHash, PeerId), Partial>);

impl Partials {
    pub(crate) fn forget_peer(&mut self, peer: PeerId) {
        self.0.retain(|(_, of), _| *of != peer);
    }

    pub(crate) fn forget_block(&mut self, hash: &BlockHash) {
        self.0.retain(|(of, _), _| of != hash);
    }
}

impl Peers {
    pub(crate) fn on_cmpctblock(&mut self, id: PeerId, compact: &Arc<CompactBlock>, step: &Step<'_>) {
        let header = &compact.header;
        let hash = header.hash();
        let known = step.view.header(&hash);
        if known.is_some_and(|info| info.have_block) || self.downloads.is_here(&hash) {
            if let Some(info) = known {
                self.learn(id, info.into());
            }
            return self.not_owed(id, hash, step);
        }
        let Some(parent) = step.view.header(&header.prev) else {
            return self.on_block_announced(id, hash, step);
        };
        if !parent.valid || known.is_some_and(|info| !info.valid) {
            return self.punish(id, "compact block on an invalid chain", step);
        }
        if !step.view.check_pow(header) {
            return self.punish(id, "compact block without proof of work", step);
        }
        let asked = self.downloads.asked(&hash);
        let mine = asked.contains(&id);
        let crowded = !mine && asked.len() >= MAX_PARALLEL;
        let near = parent.have_block && parent.height <= step.view.tip().height + 1;
        if !self.has_least_work(parent.work, header.bits, step) {
            return;
        }
        if known.is_none() {
            // The node learns of the header first; the block may take another round trip.
            self.on_headers(id, vec![header.clone()], step);
        } else if let Some(info) = known {
            self.learn(id, info.into());
        }
        if !near || crowded || (self.partials.0.len() >= MAX_PARTIAL_BLOCKS && !mine) {
            return if mine { self.ask_whole(id, hash, step) } else { self.schedule(id, step) };
        }
        if !mine {
            self.owe(id, hash, step);
        }
        let Some(transactions) = self.gather(compact, step) else {
            tracing::debug!(peer = %id, %hash, "compact block with two equal short ids");
            return self.ask_whole(id, hash, step);
        };
        let missing: Vec<usize> =
            (0..transactions.len()).filter(|&place| transactions[place].is_none()).collect();
        tracing::debug!(peer = %id, %hash, transactions = transactions.len(), missing = missing.len(), "compact block");
        let partial = Partial { compact: Arc::clone(compact), transactions };
        if missing.is_empty() {
            return self.finish(id, hash, partial, step);
        }
        self.partials.0.insert((hash, id), partial);
        self.send(id, Message::GetBlockTxn(GetBlockTxn { block: hash, indexes: missing }));
    }

    /// A block came another way: it is not owed any more.
    fn not_owed(&mut self, id: PeerId, hash: BlockHash, step: &Step<'_>) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.sync.in_flight.retain(|owed| *owed != hash);
        }
        self.schedule(id, step);
    }

    /// The block's transactions as far as they are at hand, in block order. `None` where its short ids do not tell
    /// them apart.
    fn gather(&self, compact: &CompactBlock, step: &Step<'_>) -> Option<Vec<Option<Arc<Transaction>>>> {
        let key = ShortIdKey::new(&compact.header, compact.nonce);
        let mut transactions: Vec<Option<Arc<Transaction>>> = vec![None; compact.transaction_count()];
        for prefilled in &compact.prefilled {
            *transactions.get_mut(prefilled.index)? = Some(Arc::new(prefilled.transaction.clone()));
        }
        let mut places = HashMap::with_capacity(compact.short_ids.len());
        let gaps: Vec<usize> =
            (0..transactions.len()).filter(|&place| transactions[place].is_none()).collect();
        for (&place, &short_id) in gaps.iter().zip(&compact.short_ids) {
            if places.insert(short_id, place).is_some() {
                return None;
            }
        }
        // Two of ours under one short id: neither is used.
        let mut twice = Vec::new();
        let mut fill = |place: usize, transaction: Arc<Transaction>| match &mut transactions[place] {
            Some(_) => twice.push(place),
            empty => *empty = Some(transaction),
        };
        for wtxid in step.view.mempool_wtxids() {
            if let Some(&place) = places.get(&key.short_id(&wtxid))
                && let Some(transaction) = step.view.transaction(&TxRef::Wtxid(wtxid))
            {
                fill(place, transaction);
            }
        }
        for (wtxid, transaction) in self.orphans.iter() {
            if let Some(&place) = places.get(&key.short_id(wtxid)) {
                fill(place, Arc::clone(transaction));
            }
        }
        for place in twice {
            transactions[place] = None;
        }
        Some(transactions)
    }

    pub(crate) fn on_blocktxn(&mut self, id: PeerId, answer: BlockTxn, step: &Step<'_>) {
        let Some(mut partial) = self.partials.0.remove(&(answer.block, id)) else { return };
        let mut given = answer.transactions.into_iter();
        for gap in partial.transactions.iter_mut().filter(|place| place.is_none()) {
            *gap = given.next().map(Arc::new);
        }
        if partial.transactions.iter().any(Option::is_none) || given.next().is_some() {
            return self.punish(id, "blocktxn with other transactions than asked for", step);
        }
        self.finish(id, answer.block, partial, step);
    }

    fn finish(&mut self, id: PeerId, hash: BlockHash, partial: Partial, step: &Step<'_>) {
        let transactions = partial.transactions.into_iter().flatten().map(Arc::unwrap_or_clone).collect();
        let block = Arc::new(Block { header: partial.compact.header.clone(), transactions });
        self.take_block(id, hash, block, Source::Compact, step);
        self.schedule(id, step);
    }

    /// Who gave the last blocks is asked to give the next ones at once.
    pub(crate) fn prefer_for_compact(&mut self, id: PeerId, step: &Step<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let near = peer.sync.best_known.is_some_and(|known| known.height >= step.view.best_header().height);
        if !peer.compact.supported || !near {
            return;
        }
        self.high_bandwidth.retain(|&other| other != id);
        self.high_bandwidth.push_back(id);
        if !std::mem::replace(&mut peer.compact.asked_at_once, true) {
            self.send(id, Message::SendCmpct { high_bandwidth: true, version: 2 });
        }
        if self.high_bandwidth.len() > MAX_HIGH_BANDWIDTH
            && let Some(oldest) = self.high_bandwidth.pop_front()
        {
            if let Some(peer) = self.peers.get_mut(&oldest) {
                peer.compact.asked_at_once = false;
            }
            self.send(oldest, Message::SendCmpct { high_bandwidth: false, version: 2 });
        }
    }
}
