//! Addresses told to us and by us. The book itself is [`crate::addrbook`].

use crate::limits::{ADDR_BURST, ADDR_CACHE, ADDR_RATE, ADDR_SHARE_PERCENT, ADDR_TRICKLE, MAX_ADDR_QUEUE};
use crate::message::{AddrEntry, MAX_ADDRESSES, NetAddr};
use crate::peers::{Peers, Step};
use crate::{Message, PeerId, Time};

/// Messages of at most so many addresses are passed on: more are an answer, not news (Core).
const MAX_NEWS: usize = 10;
/// Only addresses seen up within so many seconds are passed on (Core).
const FRESH: u64 = 10 * 60;
/// Told at second hand: not believed by two hours (Core).
const PENALTY: u64 = 2 * 60 * 60;

/// The answer to `getaddr`, the same for everybody for a day.
#[derive(Debug, Default)]
pub(crate) struct AddressCache {
    entries: Vec<AddrEntry>,
    made: Option<Time>,
}

impl AddressCache {
    pub(crate) fn expire(&mut self, now: Time) {
        if self.made.is_some_and(|made| now.saturating_sub(made) >= ADDR_CACHE) {
            *self = Self::default();
        }
    }
}

impl Peers {
    pub(crate) fn on_getaddr(&mut self, id: PeerId, now: Time) {
        if !self.uses_book() {
            return;
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        // Only callers are answered, and once: else our book and our own calls could be read out.
        if !peer.is_inbound() || std::mem::replace(&mut peer.addresses.answered, true) {
            return;
        }
        peer.addresses.enabled = true;
        if self.address_cache.made.is_none() {
            let max = (self.book.len() * ADDR_SHARE_PERCENT / 100).min(MAX_ADDRESSES);
            self.address_cache =
                AddressCache { entries: self.book.sample(max, &mut self.rng, now), made: Some(now) };
        }
        let entries = self.address_cache.entries.clone();
        self.send_addresses(id, entries);
    }

    fn send_addresses(&mut self, id: PeerId, mut entries: Vec<AddrEntry>) {
        let Some(peer) = self.peers.get(&id) else { return };
        if !peer.addresses.v2 {
            entries.retain(|entry| matches!(entry.address, NetAddr::Ip(_)));
        }
        if !entries.is_empty() {
            let message = if peer.addresses.v2 { Message::AddrV2(entries) } else { Message::Addr(entries) };
            self.send(id, message);
        }
    }

    pub(crate) fn on_addresses(&mut self, id: PeerId, entries: Vec<AddrEntry>, step: &Step<'_>) {
        let uses_book = self.uses_book();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if !peer.addresses.enabled || !uses_book {
            return;
        }
        let elapsed = step.now.saturating_sub(peer.addresses.allowance_at).as_secs_f64();
        peer.addresses.allowance_at = step.now;
        if peer.addresses.allowance < ADDR_BURST {
            peer.addresses.allowance = (peer.addresses.allowance + elapsed * ADDR_RATE).min(ADDR_BURST);
        }
        let source = peer.address.ip();
        let allowed = (peer.addresses.allowance.max(0.0) as usize).min(entries.len());
        peer.addresses.allowance -= allowed as f64;
        let news = entries.len() <= MAX_NEWS;
        for entry in entries.into_iter().take(allowed) {
            self.book.add(&entry, &source, PENALTY, step.now);
            let age = step.now.as_secs().saturating_sub(u64::from(entry.time));
            if news && age < FRESH {
                self.pass_address_on(id, entry);
            }
        }
    }

    /// Queues an address for one or two peers, the same ones for a while, so that it spreads but does not flood.
    fn pass_address_on(&mut self, from: PeerId, entry: AddrEntry) {
        let mut best: Vec<(u64, PeerId)> = self
            .peers
            .values()
            .filter(|peer| peer.is_ready() && peer.id != from && peer.addresses.enabled)
            .map(|peer| (self.slots.address_rank(&entry, peer.id), peer.id))
            .collect();
        best.sort_unstable();
        let count = if matches!(entry.address, NetAddr::Ip(_)) { 2 } else { 1 };
        for (_, id) in best.into_iter().take(count) {
            if let Some(peer) = self.peers.get_mut(&id)
                && peer.addresses.queue.len() < MAX_ADDR_QUEUE
                && !peer.addresses.queue.contains(&entry)
            {
                peer.addresses.queue.push(entry.clone());
            }
        }
    }

    pub(crate) fn tick_addresses(&mut self, step: &Step<'_>) {
        let due: Vec<PeerId> = self
            .peers
            .values()
            .filter(|peer| !peer.addresses.queue.is_empty() && peer.addresses.next_send <= step.now)
            .map(|peer| peer.id)
            .collect();
        for id in due {
            let wait = self.exponential(ADDR_TRICKLE);
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            peer.addresses.next_send = step.now + wait;
            let entries = std::mem::take(&mut peer.addresses.queue);
            self.send_addresses(id, entries);
        }
    }
}
