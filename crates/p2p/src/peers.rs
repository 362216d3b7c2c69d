//! The state machine: all connections of one node. No IO, no clock, no source of randomness of its own.
//!
//! [`Peers`] is given what happened (a connection, a message, a verdict, the passing of time) and answers with
//! [`Output`]s. What belongs to one subject is an `impl Peers` in that subject's module: [`crate::handshake`],
//! [`crate::headers`], [`crate::download`], [`crate::compact`], [`crate::announce`], [`crate::serve`],
//! [`crate::filters`], [`crate::light`], [`crate::relay`], [`crate::addresses`], [`crate::slots`].

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use lode_primitives::{Block, BlockHash, Height, Work, Wtxid};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::addrbook::AddrBook;
use crate::addresses::AddressCache;
use crate::compact::Partials;
use crate::download::Downloads;
use crate::filters::{FilterKind, FilterRequest};
use crate::limits::{
    HANDSHAKE_TIMEOUT, PING_INTERVAL, PING_TIMEOUT, TRICKLE_INBOUND, TRICKLE_OUTBOUND, TRICKLE_PRIVATE,
};
use crate::orphans::Orphans;
use crate::peer::{Peer, Stage};
use crate::relay::Relay;
use crate::requests::Requests;
use crate::slots::Slots;
use crate::{ConnectionKind, Event, Message, Options, PeerId, PeerInfo, Time, TxVerdict, Verdict, View};

/// What the state machine wants done.
#[derive(Clone, Debug)]
pub enum Output {
    /// Send a message.
    Send(PeerId, Message),
    /// Send a stored block, read from [`View::block_bytes`] when its turn comes; nothing where it is gone.
    SendBlock {
        /// To whom.
        peer: PeerId,
        /// Which.
        hash: BlockHash,
        /// With witnesses, or stripped of them.
        witness: bool,
    },
    /// Send compact filters, read from the [`View`] when their turn comes.
    SendFilters {
        /// To whom.
        peer: PeerId,
        /// Which.
        request: FilterRequest,
    },
    /// Do not call this peer again, even if the user named it.
    Forget(PeerId),
    /// Call an address of the book.
    Dial {
        /// Whom.
        address: SocketAddr,
        /// What for.
        kind: ConnectionKind,
        /// It is said to speak BIP324.
        encrypted: bool,
    },
    /// End a connection. Nothing more is said about this peer.
    Disconnect {
        /// Which.
        peer: PeerId,
        /// Why, for people.
        reason: String,
    },
    /// The handshake is finished.
    Established(PeerId),
    /// Tell the node.
    Event(Event),
}

/// What every step of the machine has at hand.
pub(crate) struct Step<'a> {
    pub(crate) now: Time,
    pub(crate) view: &'a dyn View,
}

/// The state machine.
pub struct Peers {
    pub(crate) options: Options,
    pub(crate) rng: StdRng,
    pub(crate) peers: BTreeMap<PeerId, Peer>,
    pub(crate) next_id: u64,
    pub(crate) active: bool,
    pub(crate) out: VecDeque<Output>,
    pub(crate) book: AddrBook,
    pub(crate) address_cache: AddressCache,
    pub(crate) slots: Slots,
    /// The peer that headers are synced from while the present is far.
    pub(crate) header_source: Option<PeerId>,
    pub(crate) downloads: Downloads,
    pub(crate) partials: Partials,
    /// Peers asked for compact blocks at once, the one that last gave a block last.
    pub(crate) high_bandwidth: VecDeque<PeerId>,
    /// The last tips' blocks.
    pub(crate) recent: VecDeque<(BlockHash, Arc<Block>)>,
    /// The tip that was last announced.
    pub(crate) announced: Option<BlockHash>,
    pub(crate) announce_at: Option<Time>,
    pub(crate) requests: Requests,
    pub(crate) orphans: Orphans,
    pub(crate) relay: Relay,
    last_tick: Time,
}

impl Peers {
    /// A machine without connections. `seed` is where all its randomness comes from; the same seed and the same
    /// inputs give the same outputs.
    pub fn new(options: Options, seed: [u8; 32], now: Time) -> Self {
        let mut rng = StdRng::from_seed(seed);
        let book = AddrBook::new(rng.random());
        Self {
            options,
            peers: BTreeMap::new(),
            next_id: 1,
            active: true,
            out: VecDeque::new(),
            book,
            address_cache: AddressCache::default(),
            slots: Slots::new(rng.random(), now),
            header_source: None,
            downloads: Downloads::default(),
            partials: Partials::default(),
            high_bandwidth: VecDeque::new(),
            recent: VecDeque::new(),
            announced: None,
            announce_at: None,
            requests: Requests::default(),
            orphans: Orphans::default(),
            relay: Relay::new(),
            last_tick: now,
            rng,
        }
    }

    /// What is to be done next; to be asked until `None` after every call of another method.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// A connection stands and its transport is ready. `None`: it is not wanted and is to be closed.
    pub fn connected(
        &mut self,
        address: SocketAddr,
        local_address: Option<SocketAddr>,
        kind: ConnectionKind,
        session_id: Option<[u8; 32]>,
        now: Time,
        view: &dyn View,
    ) -> Option<PeerId> {
        self.slots.dial_ended(&address);
        if !self.active || !self.make_room(address, kind, now) {
            return None;
        }
        let id = PeerId(self.next_id);
        self.next_id += 1;
        let mut peer = Peer::new(id, address, kind, self.rng.random(), now);
        peer.local_address = local_address;
        peer.session_id = session_id;
        self.peers.insert(id, peer);
        if kind != ConnectionKind::Inbound {
            self.send_version(id, &Step { now, view });
        }
        Some(id)
    }

    /// A call came to nothing.
    pub fn dial_failed(&mut self, address: SocketAddr, now: Time) {
        self.slots.dial_ended(&address);
        self.book.failed(&address, now);
    }

    /// The connection is gone, other than by our own [`Output::Disconnect`].
    pub fn disconnected(&mut self, peer: PeerId, reason: &str, now: Time, view: &dyn View) {
        self.remove(peer, reason, &Step { now, view });
    }

    /// A message came, of `wire_bytes` with its frame.
    pub fn received(&mut self, peer: PeerId, message: Message, wire_bytes: u64, now: Time, view: &dyn View) {
        let Some(state) = self.peers.get_mut(&peer) else { return };
        state.last_receive = now;
        state.bytes_received += wire_bytes;
        tracing::trace!(%peer, command = message.command(), wire_bytes, "received");
        let step = &Step { now, view };
        if state.stage != Stage::Ready {
            return self.on_handshake(peer, message, step);
        }
        match message {
            Message::Version(_) | Message::Verack | Message::Unknown(_) => {}
            Message::WtxidRelay | Message::SendAddrV2 => {
                self.drop_peer(peer, &format!("{} after verack", message.command()), step);
            }
            Message::SendHeaders => state.send_headers = true,
            Message::SendCmpct { high_bandwidth, version } => {
                if version == 2 {
                    state.compact.supported = true;
                    state.compact.wants_at_once = high_bandwidth;
                }
            }
            Message::FeeFilter(rate) => {
                // Core ignores what is no amount of money.
                if let Ok(rate) = u64::try_from(rate) {
                    state.relay.fee_filter = rate;
                }
            }
            Message::Ping(nonce) => self.send(peer, Message::Pong(nonce)),
            Message::Pong(nonce) => self.on_pong(peer, nonce, now),
            Message::GetAddr => self.on_getaddr(peer, now),
            Message::Addr(entries) | Message::AddrV2(entries) => self.on_addresses(peer, entries, step),
            Message::Inv(items) => self.on_inv(peer, &items, step),
            Message::GetData(items) => self.on_getdata(peer, &items, step),
            Message::NotFound(items) => self.on_notfound(peer, &items, step),
            Message::GetHeaders(locator) => self.on_getheaders(peer, &locator, step),
            Message::GetBlocks(locator) => self.on_getblocks(peer, &locator, step),
            Message::Headers(headers) => self.on_headers(peer, headers, step),
            Message::Block(_) if self.options.light => self.on_answer(peer, message, step),
            Message::Block(block) => self.on_block(peer, block, step),
            Message::Tx(transaction) => self.on_tx(peer, transaction, step),
            Message::CmpctBlock(compact) => self.on_cmpctblock(peer, &compact, step),
            Message::GetBlockTxn(request) => self.on_getblocktxn(peer, &request, step),
            Message::BlockTxn(answer) => self.on_blocktxn(peer, answer, step),
            Message::GetCFilters(ask) => {
                let kind = FilterKind::Filters;
                self.on_filters_wanted(peer, kind, ask.filter_type, ask.start_height, ask.stop, step);
            }
            Message::GetCFHeaders(ask) => {
                let kind = FilterKind::Headers;
                self.on_filters_wanted(peer, kind, ask.filter_type, ask.start_height, ask.stop, step);
            }
            Message::GetCFCheckpt(ask) => {
                self.on_filters_wanted(peer, FilterKind::Checkpoints, ask.filter_type, 0, ask.stop, step);
            }
            message @ (Message::CFilter(_) | Message::CFHeaders(_)) => self.on_answer(peer, message, step),
            // Not offered (no bloom filters) or never asked for.
            Message::Mempool | Message::MerkleBlock { .. } | Message::CFCheckpt(_) => {}
        }
    }

    /// Bytes went out to a peer.
    pub fn sent(&mut self, peer: PeerId, wire_bytes: u64, now: Time) {
        if let Some(peer) = self.peers.get_mut(&peer) {
            peer.last_send = now;
            peer.bytes_sent += wire_bytes;
        }
    }

    /// What a peer sent is no message: its connection ends.
    pub fn malformed(&mut self, peer: PeerId, what: &str, now: Time, view: &dyn View) {
        if let Some(state) = self.peers.get(&peer) {
            tracing::info!(%peer, address = %state.address, what, "peer sends what is no message");
        }
        self.drop_peer(peer, what, &Step { now, view });
    }

    /// Time passes. To be called several times a second; timeouts and announcements happen here.
    pub fn tick(&mut self, now: Time, view: &dyn View) {
        let step = &Step { now, view };
        let second = now.as_secs() != self.last_tick.as_secs();
        self.last_tick = now;
        if second {
            self.tick_connections(step);
            self.tick_headers(step);
            self.tick_blocks_first(step);
            self.tick_downloads(step);
            self.orphans.expire(now);
            self.address_cache.expire(now);
        }
        self.tick_addresses(step);
        self.tick_announce(step);
        self.tick_requests(step);
        self.tick_relay(step);
        self.tick_slots(step);
    }

    /// The node's verdict on headers.
    pub fn headers_verdict(&mut self, peer: PeerId, verdict: Verdict, now: Time, view: &dyn View) {
        self.on_headers_verdict(peer, verdict, &Step { now, view });
    }

    /// The node's verdict on a block.
    pub fn block_verdict(&mut self, hash: BlockHash, verdict: Verdict, now: Time, view: &dyn View) {
        self.on_block_verdict(hash, verdict, &Step { now, view });
    }

    /// The node's verdict on a transaction.
    pub fn transaction_verdict(&mut self, wtxid: Wtxid, verdict: TxVerdict, now: Time, view: &dyn View) {
        self.on_transaction_verdict(wtxid, verdict, &Step { now, view });
    }

    /// Ends a connection at the user's wish.
    pub fn disconnect(&mut self, peer: PeerId, now: Time, view: &dyn View) {
        self.drop_peer(peer, "asked to", &Step { now, view });
    }

    /// Ends the connection of a peer that was caught at a lie, or that keeps us waiting.
    pub fn punish_peer(&mut self, peer: PeerId, reason: &str, now: Time, view: &dyn View) {
        self.punish(peer, reason, &Step { now, view });
    }

    /// Ends connections with a host and takes none for a day.
    pub fn discourage(&mut self, host: IpAddr, now: Time, view: &dyn View) {
        self.slots.discourage(host, now);
        let of_host: Vec<_> =
            self.peers.values().filter(|peer| peer.address.ip() == host).map(|peer| peer.id).collect();
        for peer in of_host {
            self.drop_peer(peer, "host discouraged by the user", &Step { now, view });
        }
    }

    /// Off: ends all connections and takes none.
    pub fn set_active(&mut self, active: bool, now: Time, view: &dyn View) {
        self.active = active;
        if !active {
            for peer in self.peers.keys().copied().collect::<Vec<_>>() {
                self.drop_peer(peer, "network switched off", &Step { now, view });
            }
        }
    }

    /// Connections are made and taken.
    pub fn is_active(&self) -> bool {
        self.active
    }

    /// Pings every peer now.
    pub fn ping_all(&mut self, now: Time) {
        for peer in self.ready_peers() {
            self.send_ping(peer, now);
        }
    }

    /// Every connection.
    pub fn infos(&self, now: Time, view: &dyn View) -> Vec<PeerInfo> {
        self.peers
            .values()
            .map(|peer| {
                let common: Option<Height> = peer.sync.best_known.map(|known| view.fork_height(&known.hash));
                peer.info(now, common)
            })
            .collect()
    }

    /// The address book, to be written by whoever has a disk.
    pub fn book(&self) -> &AddrBook {
        &self.book
    }

    /// The address book, to be filled from disk or DNS.
    pub fn book_mut(&mut self) -> &mut AddrBook {
        &mut self.book
    }

    // Below: what all managers use.

    pub(crate) fn send(&mut self, peer: PeerId, message: Message) {
        tracing::trace!(%peer, command = message.command(), "send");
        self.out.push_back(Output::Send(peer, message));
    }

    pub(crate) fn ready_peers(&self) -> Vec<PeerId> {
        self.peers.values().filter(|peer| peer.is_ready()).map(|peer| peer.id).collect()
    }

    /// Ends a connection without blame.
    pub(crate) fn drop_peer(&mut self, peer: PeerId, reason: &str, step: &Step<'_>) {
        if self.remove(peer, reason, step) {
            self.out.push_back(Output::Disconnect { peer, reason: reason.to_owned() });
        }
    }

    /// Ends a connection that broke the protocol's rules. Its address is not taken for a day, unless the user named
    /// it or it is this machine.
    pub(crate) fn punish(&mut self, peer: PeerId, reason: &str, step: &Step<'_>) {
        let Some(state) = self.peers.get(&peer) else { return };
        let host = state.address.ip();
        tracing::info!(%peer, address = %state.address, reason, "peer misbehaves");
        if state.kind != ConnectionKind::Manual && !host.is_loopback() {
            self.slots.discourage(host, step.now);
        }
        if self.options.light {
            self.out.push_back(Output::Forget(peer));
            let blamed = Event::Blamed { peer, address: state.address, reason: reason.to_owned() };
            self.out.push_back(Output::Event(blamed));
        }
        self.drop_peer(peer, reason, step);
    }

    fn remove(&mut self, id: PeerId, reason: &str, step: &Step<'_>) -> bool {
        let Some(peer) = self.peers.remove(&id) else { return false };
        tracing::debug!(peer = %id, address = %peer.address, reason, "connection ended");
        self.requests.forget_peer(id);
        self.orphans.forget_peer(id);
        self.partials.forget_peer(id);
        self.high_bandwidth.retain(|&other| other != id);
        if peer.is_ready() {
            self.out.push_back(Output::Event(Event::Disconnected { peer: id, reason: reason.to_owned() }));
        }
        self.release_downloads(&peer);
        if self.header_source == Some(id) {
            self.header_source = None;
            self.choose_header_source(step);
        }
        self.schedule_all(step);
        true
    }

    fn tick_connections(&mut self, step: &Step<'_>) {
        let mut late = Vec::new();
        let mut quiet = Vec::new();
        for peer in self.peers.values() {
            let age = step.now.saturating_sub(peer.connected);
            if !peer.is_ready() {
                if age >= HANDSHAKE_TIMEOUT {
                    late.push((peer.id, "handshake not done in time"));
                }
            } else if peer.ping.nonce.is_some() {
                if step.now.saturating_sub(peer.ping.sent) >= PING_TIMEOUT {
                    late.push((peer.id, "ping not answered"));
                }
            } else if step.now.saturating_sub(peer.ping.sent) >= PING_INTERVAL {
                quiet.push(peer.id);
            }
        }
        for (peer, reason) in late {
            self.drop_peer(peer, reason, step);
        }
        for peer in quiet {
            self.send_ping(peer, step.now);
        }
    }

    pub(crate) fn send_ping(&mut self, id: PeerId, now: Time) {
        let nonce = self.rng.random();
        let Some(peer) = self.peers.get_mut(&id) else { return };
        peer.ping.nonce = Some(nonce);
        peer.ping.sent = now;
        self.send(id, Message::Ping(nonce));
    }

    fn on_pong(&mut self, peer: PeerId, nonce: u64, now: Time) {
        let Some(peer) = self.peers.get_mut(&peer) else { return };
        // Answers to other questions than the last are ignored, as by Core.
        if peer.ping.nonce == Some(nonce) {
            let took = now.saturating_sub(peer.ping.sent);
            peer.ping.nonce = None;
            peer.ping.last = Some(took);
            peer.ping.min = Some(peer.ping.min.map_or(took, |min| min.min(took)));
        }
    }

    /// The wait until the next announcement to a peer: exponential, so that nothing can be read from its time.
    pub(crate) fn trickle(&mut self, inbound: bool) -> Time {
        if self.options.coin.network.is_private() {
            return TRICKLE_PRIVATE;
        }
        let mean = if inbound { TRICKLE_INBOUND } else { TRICKLE_OUTBOUND };
        self.exponential(mean)
    }

    pub(crate) fn exponential(&mut self, mean: Time) -> Time {
        let uniform: f64 = self.rng.random_range(f64::EPSILON..1.0);
        mean.mul_f64(-uniform.ln())
    }

    /// Least work of a chain that is worth storing: not below the coin's known minimum, and not much below ours.
    pub(crate) fn least_work(&self, view: &dyn View) -> Work {
        let tip = view.tip();
        let per_block = tip.work.0 / lode_primitives::U256::from(u64::from(tip.height) + 1);
        let buffer =
            Work(per_block.saturating_mul(lode_primitives::U256::from(crate::limits::WORK_BUFFER_BLOCKS)));
        (tip.work - buffer).max(self.options.min_chain_work)
    }

    /// Known addresses are used and told: not where the user named whom to talk to.
    pub(crate) fn uses_book(&self) -> bool {
        self.options.connect.is_empty()
    }

    /// Addresses of ourselves that were called: a set so small it needs no bound beyond the peers'.
    pub(crate) fn outbound_groups(&self) -> BTreeSet<Vec<u8>> {
        self.peers
            .values()
            .filter(|peer| matches!(peer.kind, ConnectionKind::Outbound | ConnectionKind::BlockRelay))
            .map(|peer| crate::addrbook::net_group(&peer.address.ip()))
            .collect()
    }
}
