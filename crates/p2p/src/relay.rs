//! Transactions: announced to us, fetched, judged, announced by us.

use std::collections::HashMap;
use std::sync::Arc;

use lode_primitives::{BlockHash, Transaction, Txid, Wtxid};

use crate::limits::{
    FEE_FILTER_INTERVAL, MAX_REJECTED, MAX_TX_ANNOUNCED, MAX_TX_INV, MAX_TX_PENDING, MAX_TX_QUEUE,
    MAX_TX_UNASKED, MAX_TX_WEIGHT, TX_INBOUND_DELAY,
};
use crate::message::{InvItem, InvKind};
use crate::peers::{Output, Peers, Step};
use crate::rolling::Rolling;
use crate::{Event, Message, PeerId, Time, TxRef, TxVerdict};

/// A transaction with the node.
#[derive(Debug)]
struct Pending {
    from: PeerId,
    transaction: Arc<Transaction>,
    unasked: bool,
}

/// What is known beyond single peers.
#[derive(Debug)]
pub(crate) struct Relay {
    pending: HashMap<Wtxid, Pending>,
    /// Refused ones, by wtxid.
    rejected: Rolling<Wtxid>,
    /// Fee rates of accepted ones whose announcement is on its way.
    fee_rates: HashMap<Wtxid, u64>,
}

impl Relay {
    pub(crate) fn new() -> Self {
        Self { pending: HashMap::new(), rejected: Rolling::new(MAX_REJECTED), fee_rates: HashMap::new() }
    }
}

/// Eight bytes are enough to remember that a peer has something.
fn short(bytes: &[u8; 32]) -> [u8; 8] {
    std::array::from_fn(|i| bytes[i])
}

impl Peers {
    /// `inv`: blocks and transactions somebody has.
    pub(crate) fn on_inv(&mut self, id: PeerId, items: &[InvItem], step: &Step<'_>) {
        let blocks: Vec<BlockHash> =
            items.iter().filter(|item| item.kind.is_block()).map(InvItem::block_hash).collect();
        if let Some(&last) = blocks.last()
            && !self.on_block_ids(id, &blocks, step)
        {
            // Only the last block matters: the headers up to it are asked for.
            self.on_block_announced(id, last, step);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let mut transactions = items.iter().filter(|item| item.kind.is_transaction()).peekable();
        if transactions.peek().is_none() || !peer.relays_transactions() {
            return;
        }
        let (wtxid_peer, inbound) = (peer.relay.wtxid, peer.is_inbound());
        let private = self.options.coin.network.is_private();
        let delay = if inbound && !private { TX_INBOUND_DELAY } else { Time::ZERO };
        for item in transactions.take(MAX_TX_ANNOUNCED) {
            // BIP339: such a peer announces by wtxid, others by txid.
            if (item.kind == InvKind::Wtx) != wtxid_peer {
                continue;
            }
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.relay.known.insert(short(&item.hash.0));
            }
            let name =
                if wtxid_peer { TxRef::Wtxid(Wtxid(item.hash.0)) } else { TxRef::Txid(Txid(item.hash.0)) };
            if !step.view.initial_sync() && !self.is_known(&name, step) {
                self.requests.announce(name, id, step.now + delay);
            }
        }
        self.tick_requests(step);
    }

    fn is_known(&self, name: &TxRef, step: &Step<'_>) -> bool {
        let seen = match name {
            TxRef::Wtxid(wtxid) => {
                self.relay.pending.contains_key(wtxid)
                    || self.relay.rejected.contains(wtxid)
                    || self.orphans.contains(wtxid)
            }
            TxRef::Txid(_) => false,
        };
        seen || step.view.has_transaction(name)
    }

    /// Asks for what is due.
    pub(crate) fn tick_requests(&mut self, step: &Step<'_>) {
        let room = MAX_TX_PENDING.saturating_sub(self.relay.pending.len());
        let due = self.requests.due(step.now, room);
        for (id, names) in due {
            let witness = self.options.coin.form.witness;
            let mut items = Vec::with_capacity(names.len());
            for name in names {
                if self.is_known(&name, step) {
                    self.requests.forget(&name);
                    continue;
                }
                items.push(match name {
                    TxRef::Wtxid(wtxid) => InvItem::wtx(wtxid),
                    TxRef::Txid(txid) if witness => InvItem::tx(InvKind::WitnessTx, txid),
                    TxRef::Txid(txid) => InvItem::tx(InvKind::Tx, txid),
                });
            }
            if !items.is_empty() {
                self.send(id, Message::GetData(items));
            }
        }
    }

    /// `tx` came.
    pub(crate) fn on_tx(&mut self, id: PeerId, transaction: Arc<Transaction>, step: &Step<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.relays_transactions() {
            return;
        }
        let (wtxid, txid) = (transaction.wtxid(), transaction.txid());
        peer.relay.known.insert(short(if peer.relay.wtxid { &wtxid.0 } else { &txid.0 }));
        let unasked_now = peer.relay.unasked;
        let names = [TxRef::Wtxid(wtxid), TxRef::Txid(txid)];
        let asked = names.iter().any(|name| self.requests.is_asked(name, id));
        for name in &names {
            self.requests.forget(name);
        }
        let known = self.is_known(&names[0], step);
        if known || step.view.initial_sync() || transaction.weight() > MAX_TX_WEIGHT {
            return;
        }
        if !asked {
            if unasked_now >= MAX_TX_UNASKED {
                return;
            }
            if let Some(peer) = self.peers.get_mut(&id) {
                peer.relay.unasked += 1;
            }
        }
        self.judge(id, wtxid, transaction, !asked);
    }

    fn judge(&mut self, from: PeerId, wtxid: Wtxid, transaction: Arc<Transaction>, unasked: bool) {
        let pending = Pending { from, transaction: Arc::clone(&transaction), unasked };
        if self.relay.pending.insert(wtxid, pending).is_none() {
            self.out.push_back(Output::Event(Event::Transaction { peer: from, wtxid, transaction }));
        }
    }

    pub(crate) fn on_transaction_verdict(&mut self, wtxid: Wtxid, verdict: TxVerdict, step: &Step<'_>) {
        let Some(Pending { from, transaction, unasked }) = self.relay.pending.remove(&wtxid) else { return };
        if unasked && let Some(peer) = self.peers.get_mut(&from) {
            peer.relay.unasked = peer.relay.unasked.saturating_sub(1);
        }
        match verdict {
            TxVerdict::Accepted { fee_rate } => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.last_transaction = step.now;
                }
                let txid = transaction.txid();
                self.relay_transaction(wtxid, txid, fee_rate);
                for (child, from, transaction) in self.orphans.take_children(&txid) {
                    self.judge(from, child, transaction, false);
                }
            }
            TxVerdict::Known => {}
            TxVerdict::MissingInputs { parents } => {
                if !self.peers.contains_key(&from) {
                    return;
                }
                for parent in parents {
                    if !self.is_known(&TxRef::Txid(parent), step) {
                        self.requests.announce(TxRef::Txid(parent), from, step.now);
                    }
                }
                self.orphans.insert(wtxid, transaction, from, step.now);
            }
            TxVerdict::Rejected { reason, invalid } => {
                tracing::debug!(%wtxid, reason, invalid, "transaction refused");
                self.relay.rejected.insert(wtxid);
                if invalid {
                    self.drop_peer(from, &format!("invalid transaction {wtxid}: {reason}"), step);
                }
            }
        }
        self.tick_requests(step);
    }

    /// Queues a mempool transaction for announcement to all who do not have it.
    pub fn relay_transaction(&mut self, wtxid: Wtxid, txid: Txid, fee_rate: u64) {
        let mut queued = false;
        for peer in self.peers.values_mut().filter(|peer| peer.relays_transactions()) {
            let known = if peer.relay.wtxid { &wtxid.0 } else { &txid.0 };
            if peer.relay.fee_filter > fee_rate || peer.relay.known.contains(&short(known)) {
                continue;
            }
            if peer.relay.queue.len() >= MAX_TX_QUEUE {
                peer.relay.queue.pop_first();
            }
            peer.relay.queue.insert((wtxid, txid));
            queued = true;
        }
        if queued {
            self.relay.fee_rates.insert(wtxid, fee_rate);
        }
    }

    /// A new block: what was refused may be good now.
    pub(crate) fn forget_rejected(&mut self) {
        self.relay.rejected.clear();
    }

    /// Announcements that are due, and our fee filter.
    pub(crate) fn tick_relay(&mut self, step: &Step<'_>) {
        for id in self.ready_peers() {
            let Some(peer) = self.peers.get(&id) else { continue };
            if !peer.relays_transactions() {
                continue;
            }
            if peer.relay.next_fee_filter <= step.now {
                self.tell_fee_filter(id, step);
            }
            let Some(peer) = self.peers.get(&id) else { continue };
            if !peer.relay.queue.is_empty() && peer.relay.next_send <= step.now {
                self.announce_transactions(id, step);
            }
        }
        if self.peers.values().all(|peer| peer.relay.queue.is_empty()) {
            self.relay.fee_rates.clear();
        }
    }

    fn announce_transactions(&mut self, id: PeerId, step: &Step<'_>) {
        let Some(inbound) = self.peers.get(&id).map(crate::peer::Peer::is_inbound) else { return };
        let wait = self.trickle(inbound);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.relay.next_send = step.now + wait;
        let mut items = Vec::new();
        while items.len() < MAX_TX_INV
            && let Some((wtxid, txid)) = peer.relay.queue.pop_first()
        {
            let item = if peer.relay.wtxid { InvItem::wtx(wtxid) } else { InvItem::tx(InvKind::Tx, txid) };
            let fee_rate = self.relay.fee_rates.get(&wtxid).copied().unwrap_or(u64::MAX);
            if fee_rate >= peer.relay.fee_filter
                && !peer.relay.known.contains(&short(&item.hash.0))
                && step.view.has_transaction(&TxRef::Wtxid(wtxid))
            {
                peer.relay.known.insert(short(&item.hash.0));
                items.push(item);
            }
        }
        if !items.is_empty() {
            self.send(id, Message::Inv(items));
        }
    }

    fn tell_fee_filter(&mut self, id: PeerId, step: &Step<'_>) {
        // While catching up nothing is wanted: the most there can be.
        let rate = if step.view.initial_sync() {
            self.options.coin.max_money.to_sat().unsigned_abs()
        } else {
            step.view.min_fee_rate()
        };
        let wait = if step.view.initial_sync() { Time::from_secs(5) } else { FEE_FILTER_INTERVAL };
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.relay.next_fee_filter = step.now + wait;
        if peer.relay.told_fee_filter != Some(rate) {
            peer.relay.told_fee_filter = Some(rate);
            self.send(id, Message::FeeFilter(i64::try_from(rate).unwrap_or(i64::MAX)));
        }
    }

    /// `notfound`: things asked for and not had.
    pub(crate) fn on_notfound(&mut self, id: PeerId, items: &[InvItem], step: &Step<'_>) {
        for item in items {
            match item.kind {
                kind if kind.is_block() && self.options.light => {
                    self.on_block_withheld(id, item.block_hash(), step);
                }
                kind if kind.is_block() => self.on_block_not_found(id, item.block_hash(), step),
                InvKind::Wtx => {
                    self.requests.not_found(&TxRef::Wtxid(Wtxid(item.hash.0)), id, step.now);
                }
                kind if kind.is_transaction() => {
                    self.requests.not_found(&TxRef::Txid(Txid(item.hash.0)), id, step.now);
                }
                _ => {}
            }
        }
    }
}
