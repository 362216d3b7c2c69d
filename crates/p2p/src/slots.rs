//! Who may connect, whom to call, and who must make room.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, SocketAddr};

use bitcoin_hashes::siphash24;
use lode_primitives::Encode;

use crate::addrbook::net_group;
use crate::limits::{
    DIAL_FORGET, DIAL_INTERVAL, DISCOURAGE_FOR, FEELER_INTERVAL, MAX_DIALING, MAX_DISCOURAGED,
};
use crate::message::{AddrEntry, Services};
use crate::peer::Peer;
use crate::peers::{Output, Peers, Step};
use crate::{ConnectionKind, PeerId, Time};

/// Calls under way, wrongdoers, and when the next call may go out.
#[derive(Debug)]
pub(crate) struct Slots {
    secret: (u64, u64),
    dialing: BTreeMap<SocketAddr, (ConnectionKind, Time)>,
    discouraged: HashMap<IpAddr, Time>,
    next_dial: Time,
    next_feeler: Time,
}

impl Slots {
    pub(crate) fn new(secret: (u64, u64), now: Time) -> Self {
        Self {
            secret,
            dialing: BTreeMap::new(),
            discouraged: HashMap::new(),
            next_dial: now,
            next_feeler: now + FEELER_INTERVAL,
        }
    }

    pub(crate) fn dial_ended(&mut self, address: &SocketAddr) {
        self.dialing.remove(address);
    }

    pub(crate) fn discourage(&mut self, host: IpAddr, now: Time) {
        if self.discouraged.len() >= MAX_DISCOURAGED
            && let Some(oldest) = self.discouraged.iter().min_by_key(|(_, since)| **since).map(|(ip, _)| *ip)
        {
            self.discouraged.remove(&oldest);
        }
        self.discouraged.insert(host, now);
    }

    pub(crate) fn is_discouraged(&self, host: &IpAddr, now: Time) -> bool {
        self.discouraged.get(host).is_some_and(|&since| now.saturating_sub(since) < DISCOURAGE_FOR)
    }

    /// Which peers an address is passed on to: the lowest ranks.
    pub(crate) fn address_rank(&self, entry: &AddrEntry, peer: PeerId) -> u64 {
        let named = AddrEntry { time: 0, services: Services(0), ..entry.clone() };
        let mut bytes = named.to_bytes();
        bytes.extend_from_slice(&peer.0.to_le_bytes());
        siphash24::Hash::hash_to_u64_with_keys(self.secret.0, self.secret.1, &bytes)
    }

    /// A secret but steady number of a network group: protects some groups at random from being pushed out.
    fn group_rank(&self, address: &SocketAddr) -> u64 {
        siphash24::Hash::hash_to_u64_with_keys(self.secret.1, self.secret.0, &net_group(&address.ip()))
    }
}

impl Peers {
    /// May this address call us at all? Asked before anything is read from it.
    pub fn admits(&self, address: &SocketAddr, now: Time) -> bool {
        self.active && !self.slots.is_discouraged(&address.ip(), now)
    }

    /// Room for one more of this kind, if need be by ending another's connection.
    pub(crate) fn make_room(&mut self, address: SocketAddr, kind: ConnectionKind, now: Time) -> bool {
        match kind {
            ConnectionKind::Inbound => {
                if !self.admits(&address, now) {
                    return false;
                }
                let inbound = self.peers.values().filter(|peer| peer.is_inbound()).count();
                if inbound < self.options.max_inbound {
                    return true;
                }
                let Some(victim) = self.choose_victim() else { return false };
                self.end_for_room(victim);
                true
            }
            ConnectionKind::Manual | ConnectionKind::Feeler => true,
            ConnectionKind::Outbound => self.count(kind) < self.options.max_outbound,
            ConnectionKind::BlockRelay => self.count(kind) < self.options.max_block_relay,
        }
    }

    fn count(&self, kind: ConnectionKind) -> usize {
        self.peers.values().filter(|peer| peer.kind == kind).count()
    }

    fn end_for_room(&mut self, id: PeerId) {
        let Some(peer) = self.peers.remove(&id) else { return };
        self.requests.forget_peer(id);
        self.orphans.forget_peer(id);
        self.partials.forget_peer(id);
        self.high_bandwidth.retain(|&other| other != id);
        self.release_downloads(&peer);
        let reason = "made room for another".to_owned();
        if peer.is_ready() {
            let event = crate::Event::Disconnected { peer: id, reason: reason.clone() };
            self.out.push_back(Output::Event(event));
        }
        if self.header_source == Some(id) {
            self.header_source = None;
        }
        self.out.push_back(Output::Disconnect { peer: id, reason });
    }

    /// The inbound peer to part with, as Core chooses: those hard to imitate for an attacker are kept (a few groups
    /// at random, the quickest, the last to bring transactions and blocks, half of the longest connected); of the
    /// group with the most connections left, the youngest goes.
    fn choose_victim(&self) -> Option<PeerId> {
        let mut left: Vec<&Peer> = self.peers.values().filter(|peer| peer.is_inbound()).collect();
        let mut keep = |count: usize, rank: &dyn Fn(&Peer) -> u64| {
            left.sort_by_key(|peer| (rank(peer), peer.id));
            left.drain(..count.min(left.len()));
        };
        keep(4, &|peer| self.slots.group_rank(&peer.address));
        keep(8, &|peer| peer.ping.min.map_or(u64::MAX, |ping| ping.as_micros() as u64));
        keep(4, &|peer| u64::MAX - peer.last_transaction.as_millis() as u64);
        keep(4, &|peer| u64::MAX - peer.last_block.as_millis() as u64);
        let half = left.len() / 2;
        left.sort_by_key(|peer| (peer.connected, peer.id));
        left.drain(..half);
        let mut groups: BTreeMap<Vec<u8>, Vec<&Peer>> = BTreeMap::new();
        for peer in left {
            groups.entry(net_group(&peer.address.ip())).or_default().push(peer);
        }
        let youngest = |peers: &[&Peer]| peers.iter().map(|peer| peer.connected).max();
        groups
            .values()
            .max_by_key(|peers| (peers.len(), youngest(peers)))
            .and_then(|peers| peers.iter().max_by_key(|peer| (peer.connected, peer.id)))
            .map(|peer| peer.id)
    }

    /// Calls addresses of the book while slots are free.
    pub(crate) fn tick_slots(&mut self, step: &Step<'_>) {
        self.slots.dialing.retain(|_, (_, since)| step.now.saturating_sub(*since) < DIAL_FORGET);
        if !self.active
            || !self.uses_book()
            || self.book.is_empty()
            || self.slots.next_dial > step.now
            || self.slots.dialing.len() >= MAX_DIALING
        {
            return;
        }
        self.slots.next_dial = step.now + DIAL_INTERVAL;
        let under_way = |slots: &Slots, kind| slots.dialing.values().filter(|(of, _)| *of == kind).count();
        let wants = |kind, max| self.count(kind) + under_way(&self.slots, kind) < max;
        let kind = if wants(ConnectionKind::Outbound, self.options.max_outbound) {
            ConnectionKind::Outbound
        } else if wants(ConnectionKind::BlockRelay, self.options.max_block_relay) {
            ConnectionKind::BlockRelay
        } else if self.slots.next_feeler <= step.now {
            self.slots.next_feeler = step.now + FEELER_INTERVAL;
            ConnectionKind::Feeler
        } else {
            return;
        };
        self.dial(kind, step);
    }

    fn dial(&mut self, kind: ConnectionKind, step: &Step<'_>) {
        let groups = self.outbound_groups();
        let connected: BTreeSet<SocketAddr> = self.peers.values().map(|peer| peer.address).collect();
        for attempt in 0..20 {
            let untried = kind == ConnectionKind::Feeler;
            let Some((address, services)) = self.book.select(untried, &mut self.rng, step.now) else {
                return;
            };
            let known_good = self.book.services(&address).is_some_and(|services| {
                services.has(Services::NETWORK) || services.has(Services::NETWORK_LIMITED)
            });
            // A light client wants filters; where the book has few who say they serve them, it asks the others.
            let serves = !self.options.light || services.has(Services::COMPACT_FILTERS) || attempt >= 15;
            if connected.contains(&address)
                || !serves
                || self.slots.dialing.contains_key(&address)
                || self.slots.is_discouraged(&address.ip(), step.now)
                || (kind != ConnectionKind::Feeler && groups.contains(&net_group(&address.ip())))
                || (kind != ConnectionKind::Feeler && !known_good)
            {
                continue;
            }
            self.book.tried_now(&address, step.now);
            self.slots.dialing.insert(address, (kind, step.now));
            let encrypted = self.options.encrypted && services.has(Services::P2P_V2);
            self.out.push_back(Output::Dial { address, kind, encrypted });
            return;
        }
    }
}
