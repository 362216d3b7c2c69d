//! A network of state machines under virtual time: hours pass in milliseconds, and the same seed gives the same run.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lode_p2p::{
    ConnectionKind, Event, Message, Options, Output, PeerId, Peers, Time, TxVerdict, Verdict, View,
};
use lode_primitives::{Block, Decode, Transaction};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::{TestChain, regtest};

/// What a dishonest node does with a message on its way out: what to send instead, each after a further delay.
pub type Tamper = Box<dyn FnMut(Message) -> Vec<(Duration, Message)>>;

const TICK: Duration = Duration::from_millis(100);

enum Happening {
    Deliver { to: usize, peer: PeerId, message: Message },
    Closed { to: usize, peer: PeerId },
    Judge { node: usize, event: Event },
    Tick,
    Reconnect { from: usize, to: usize, latency: Duration },
}

#[derive(Clone, Copy)]
struct Link {
    node: usize,
    peer: PeerId,
    latency: Duration,
    dialed: bool,
}

/// A node of the simulated network.
pub struct SimNode {
    pub peers: Peers,
    pub chain: Arc<TestChain>,
    links: BTreeMap<PeerId, Link>,
    /// How long it takes to judge one thing.
    pub judge_time: Duration,
    judge_free: Time,
    pub tamper: Option<Tamper>,
    /// Until then it can judge nothing (its disk is full).
    pub unable_until: Time,
    /// Reasons for which it ended connections.
    pub ended: Vec<String>,
    /// Messages it sent, by name.
    pub sent: BTreeMap<String, usize>,
    /// Blocks received for judgement from each neighbour.
    pub blocks_from: BTreeMap<usize, usize>,
    /// Headers received for judgement.
    pub headers_seen: usize,
    address: SocketAddr,
}

/// The network.
pub struct Sim {
    pub now: Time,
    pub nodes: Vec<SimNode>,
    pub rng: StdRng,
    /// Broken connections are made anew after a while.
    pub reconnect: bool,
    queue: BTreeMap<(Time, u64), Happening>,
    sequence: u64,
    /// Messages delivered so far.
    pub delivered: u64,
}

impl Sim {
    pub fn new(seed: u64) -> Self {
        let mut sim = Self {
            now: Duration::from_secs(1_800_000_000),
            nodes: Vec::new(),
            rng: StdRng::seed_from_u64(seed),
            reconnect: false,
            queue: BTreeMap::new(),
            sequence: 0,
            delivered: 0,
        };
        sim.later(TICK, Happening::Tick);
        sim
    }

    pub fn add(&mut self, chain: Arc<TestChain>) -> usize {
        let place = self.nodes.len();
        let mut options = Options::new(regtest());
        // Its own book is of no use here: nobody but the test calls anybody.
        options.connect = vec!["the test says whom".into()];
        self.nodes.push(SimNode {
            peers: Peers::new(options, self.rng.random(), self.now),
            chain,
            links: BTreeMap::new(),
            judge_time: Duration::from_micros(100),
            judge_free: self.now,
            tamper: None,
            unable_until: Time::ZERO,
            ended: Vec::new(),
            sent: BTreeMap::new(),
            blocks_from: BTreeMap::new(),
            headers_seen: 0,
            address: SocketAddr::from(([20, place as u8, 1, 1], 18_444)),
        });
        place
    }

    /// A new node whose chain is a copy of nothing but genesis.
    pub fn add_empty(&mut self) -> usize {
        self.add(TestChain::new(regtest()))
    }

    fn later(&mut self, wait: Duration, what: Happening) {
        self.sequence += 1;
        self.queue.insert((self.now + wait, self.sequence), what);
    }

    /// `from` calls `to`. False where one of them does not want to.
    pub fn connect(&mut self, from: usize, to: usize, latency: Duration) -> bool {
        let (caller, called) = (self.nodes[from].address, self.nodes[to].address);
        let now = self.now;
        let node = &mut self.nodes[from];
        let view = Arc::clone(&node.chain);
        let Some(near) = node.peers.connected(called, None, ConnectionKind::Outbound, None, now, &*view)
        else {
            return false;
        };
        let node = &mut self.nodes[to];
        let view = Arc::clone(&node.chain);
        let Some(far) = node.peers.connected(caller, None, ConnectionKind::Inbound, None, now, &*view) else {
            let view = Arc::clone(&self.nodes[from].chain);
            self.nodes[from].peers.disconnected(near, "refused", now, &*view);
            return false;
        };
        self.nodes[from].links.insert(near, Link { node: to, peer: far, latency, dialed: true });
        self.nodes[to].links.insert(far, Link { node: from, peer: near, latency, dialed: false });
        self.carry_out(from);
        self.carry_out(to);
        true
    }

    /// Cuts a connection from outside.
    pub fn cut(&mut self, node: usize, peer: PeerId) {
        let view = Arc::clone(&self.nodes[node].chain);
        self.nodes[node].peers.disconnected(peer, "line cut", self.now, &*view);
        self.unlink(node, peer);
        self.carry_out(node);
    }

    pub fn links(&self, node: usize) -> Vec<PeerId> {
        self.nodes[node].links.keys().copied().collect()
    }

    pub fn is_connected(&self, node: usize, other: usize) -> bool {
        self.nodes[node].links.values().any(|link| link.node == other)
    }

    fn unlink(&mut self, node: usize, peer: PeerId) {
        if let Some(link) = self.nodes[node].links.remove(&peer) {
            self.later(link.latency, Happening::Closed { to: link.node, peer: link.peer });
            if self.reconnect {
                let (from, to) = if link.dialed { (node, link.node) } else { (link.node, node) };
                let wait = Duration::from_millis(self.rng.random_range(1_000..5_000));
                self.later(wait, Happening::Reconnect { from, to, latency: link.latency });
            }
        }
    }

    /// A block found by a node, or handed to it by its user.
    pub fn submit(&mut self, node: usize, block: &Arc<Block>) {
        assert_eq!(self.nodes[node].chain.accept_block(block), Verdict::Accepted);
        let view = Arc::clone(&self.nodes[node].chain);
        self.nodes[node].peers.tip_changed(Some(Arc::clone(block)), self.now, &*view);
        self.carry_out(node);
    }

    pub fn mine(&mut self, node: usize, tag: &[u8]) -> Arc<Block> {
        let chain = Arc::clone(&self.nodes[node].chain);
        let block = chain.make_block(chain.tip().hash, tag, chain.mempool());
        self.submit(node, &block);
        block
    }

    pub fn send_transaction(&mut self, node: usize, transaction: Transaction) {
        let (wtxid, txid) = self.nodes[node].chain.add_transaction(transaction);
        self.nodes[node].peers.relay_transaction(wtxid, txid, 1_000);
        self.carry_out(node);
    }

    /// A message out of nowhere on a node's connection to another, whatever its machine thinks.
    pub fn inject(&mut self, from: usize, to: usize, message: Message) {
        let link = self.nodes[from].links.values().find(|link| link.node == to).copied();
        if let Some(link) = link {
            self.later(link.latency, Happening::Deliver { to, peer: link.peer, message });
        }
    }

    /// Runs until `done` or for as long as `limit`. True if it was done.
    pub fn run_until(&mut self, limit: Duration, mut done: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + limit;
        loop {
            if done(self) {
                return true;
            }
            let Some(entry) = self.queue.first_entry() else { return false };
            if entry.key().0 > end {
                return false;
            }
            let ((at, _), happening) = entry.remove_entry();
            self.now = at;
            self.happen(happening);
        }
    }

    pub fn run_for(&mut self, time: Duration) {
        self.run_until(time, |_| false);
    }

    fn happen(&mut self, happening: Happening) {
        let now = self.now;
        match happening {
            Happening::Deliver { to, peer, message } => {
                let node = &mut self.nodes[to];
                if node.links.contains_key(&peer) {
                    self.delivered += 1;
                    let view = Arc::clone(&node.chain);
                    node.peers.received(peer, message, 100, now, &*view);
                    self.carry_out(to);
                }
            }
            Happening::Closed { to, peer } => {
                let node = &mut self.nodes[to];
                if node.links.remove(&peer).is_some() {
                    let view = Arc::clone(&node.chain);
                    node.peers.disconnected(peer, "closed by the other side", now, &*view);
                    self.carry_out(to);
                }
            }
            Happening::Judge { node, event } => self.judge(node, event),
            Happening::Tick => {
                for place in 0..self.nodes.len() {
                    let view = Arc::clone(&self.nodes[place].chain);
                    self.nodes[place].peers.tick(now, &*view);
                    self.carry_out(place);
                }
                self.later(TICK, Happening::Tick);
            }
            Happening::Reconnect { from, to, latency } => {
                if !self.is_connected(from, to) {
                    self.connect(from, to, latency);
                }
            }
        }
    }

    fn judge(&mut self, place: usize, event: Event) {
        let now = self.now;
        let node = &mut self.nodes[place];
        let chain = Arc::clone(&node.chain);
        let unable = (now < node.unable_until).then(|| Verdict::Unjudged("disk full".into()));
        match event {
            Event::Headers { peer, headers } => {
                node.headers_seen += headers.len();
                let verdict = unable.unwrap_or_else(|| chain.accept_headers(&headers));
                node.peers.headers_verdict(peer, verdict, now, &*chain);
            }
            Event::Block { peer, hash, block } => {
                if let Some(link) = node.links.get(&peer) {
                    *node.blocks_from.entry(link.node).or_default() += 1;
                }
                let before = chain.tip().hash;
                let verdict = unable.unwrap_or_else(|| chain.accept_block(&block));
                node.peers.block_verdict(hash, verdict, now, &*chain);
                if chain.tip().hash != before {
                    node.peers.tip_changed(Some(block), now, &*chain);
                }
            }
            Event::Transaction { wtxid, transaction, .. } => {
                // A parent whose id starts with a byte below 200 is made up and taken for known.
                let parents: Vec<_> = transaction
                    .inputs
                    .iter()
                    .map(|input| input.prevout.txid)
                    .filter(|txid| txid.0 != [7; 32])
                    .filter(|txid| !chain.has_transaction(&lode_p2p::TxRef::Txid(*txid)))
                    .collect();
                let verdict = if parents.is_empty() {
                    chain.add_transaction(Transaction::clone(&transaction));
                    TxVerdict::Accepted { fee_rate: 1_000 }
                } else {
                    TxVerdict::MissingInputs { parents }
                };
                node.peers.transaction_verdict(wtxid, verdict, now, &*chain);
            }
            Event::Connected { .. }
            | Event::Disconnected { .. }
            | Event::Blamed { .. }
            | Event::Answer { .. }
            | Event::NotAsked { .. }
            | Event::UpToDate { .. } => {}
        }
        self.carry_out(place);
    }

    fn carry_out(&mut self, place: usize) {
        while let Some(output) = self.nodes[place].peers.poll() {
            match output {
                Output::Send(peer, message) => self.transmit(place, peer, message),
                Output::SendBlock { peer, hash, .. } => {
                    if let Some(block) = self.nodes[place].chain.block(&hash) {
                        self.transmit(place, peer, Message::Block(block));
                    }
                }
                Output::Disconnect { peer, reason } => {
                    self.nodes[place].ended.push(reason);
                    self.unlink(place, peer);
                }
                Output::Event(event) => {
                    let node = &mut self.nodes[place];
                    let start = node.judge_free.max(self.now);
                    node.judge_free = start + node.judge_time;
                    let wait = node.judge_free - self.now;
                    self.later(wait, Happening::Judge { node: place, event });
                }
                Output::SendFilters { peer, request } => {
                    let chain = Arc::clone(&self.nodes[place].chain);
                    for message in request.answers(&*chain) {
                        self.transmit(place, peer, message);
                    }
                }
                Output::Established(_) | Output::Forget(_) | Output::Dial { .. } => {}
            }
        }
    }

    fn transmit(&mut self, from: usize, peer: PeerId, message: Message) {
        let Some(link) = self.nodes[from].links.get(&peer).copied() else { return };
        let instead = match &mut self.nodes[from].tamper {
            Some(tamper) => tamper(message),
            None => vec![(Duration::ZERO, message)],
        };
        for (delay, message) in instead {
            *self.nodes[from].sent.entry(message.command().to_owned()).or_default() += 1;
            let mut bytes = Vec::new();
            message.encode_payload(&mut bytes);
            let read = Message::decode(message.command(), &bytes, regtest().form).unwrap();
            assert_eq!(read, message, "what is sent reads back");
            self.later(
                link.latency + delay,
                Happening::Deliver { to: link.node, peer: link.peer, message: read },
            );
        }
    }
}

/// A copy of a block that can be changed.
pub fn copy(block: &Block) -> Block {
    Block::from_bytes(&lode_primitives::Encode::to_bytes(block), regtest().form).unwrap()
}
