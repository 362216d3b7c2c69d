//! The running light client: the thread that drives the engine, and the handle by which the program asks.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use lode_chain::{Blame, HeaderChain};
use lode_coins::Coin;
use lode_p2p::message::Services;
use lode_p2p::{Event, Message, P2p, PeerId, Time, Verdict, View};
use lode_primitives::{Block, BlockHash, Height, ScriptBuf, Transaction};
use tokio::sync::{mpsc, watch};

use crate::LightError;
use crate::engine::{Action, Engine, Reply};
use crate::store::{Place, Store};
use crate::view::LightView;

/// How often the engine is told the time.
const TICK: Duration = Duration::from_millis(100);
/// Peers that were left, kept for who asks; the oldest make room.
const LEFT_MAX: usize = 100;
/// Between two syncs of the files to the disk: what a power failure may lose.
const SYNC_INTERVAL: Duration = Duration::from_secs(30);

/// How to run a light client.
#[derive(Clone, Debug)]
pub struct LightOptions {
    /// The coin and network.
    pub coin: &'static Coin,
    /// Where headers and filter headers lie.
    pub directory: PathBuf,
    /// Where any are given, only these peers (`host` or `host:port`) are called.
    pub connect: Vec<String>,
    /// How many peers are called of those that are found.
    pub peers: usize,
    /// How long a peer may be silent that owes an answer.
    pub patience: Duration,
}

impl LightOptions {
    /// The usual options: eight peers with 20 seconds' patience.
    pub fn new(coin: &'static Coin, directory: impl Into<PathBuf>) -> Self {
        Self {
            coin,
            directory: directory.into(),
            connect: Vec::new(),
            peers: 8,
            patience: Duration::from_secs(20),
        }
    }
}

/// A peer that was left because it lied, broke the protocol or kept us waiting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Its address.
    pub address: SocketAddr,
    /// Why, for people.
    pub reason: String,
}

/// How far the light client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Status {
    /// The last header of the best chain.
    pub tip: Place,
    /// How many filter headers are known, from height 0 on.
    pub filter_headers: Height,
    /// Peers connected.
    pub peers: usize,
    /// Those of them that serve compact filters.
    pub filter_peers: usize,
    /// All headers that a peer has are here, with their filter headers, and every peer tells the same.
    pub synced: bool,
    /// How often filter headers turned out wrong that had been taken for right, because no honest peer was there yet;
    /// and the lowest height from which that was so. What was looked for above it is to be looked for again.
    pub doubts: (u32, Height),
}

enum Command {
    Scan { scripts: Vec<ScriptBuf>, from: Height, to: Height, reply: Reply<Vec<Place>> },
    Block { hash: BlockHash, reply: Reply<Arc<Block>> },
    Stop,
}

type Thread = std::thread::JoinHandle<Result<(), LightError>>;

/// A running light client. Clones are handles to the same one. Calls that fetch something wait for it: they are for
/// threads that may wait, not for asynchronous tasks.
#[derive(Clone)]
pub struct LightClient {
    coin: &'static Coin,
    store: Arc<RwLock<Store>>,
    commands: mpsc::UnboundedSender<Command>,
    status: watch::Receiver<Status>,
    left: Arc<Mutex<VecDeque<Left>>>,
    p2p: P2p,
    thread: Arc<Mutex<Option<Thread>>>,
}

impl std::fmt::Debug for LightClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LightClient").field("coin", &self.coin.to_string()).finish_non_exhaustive()
    }
}

impl LightClient {
    /// Opens the files and joins the network. To be called within a tokio runtime of several threads.
    ///
    /// # Errors
    /// Says what is in the way: the directory in use or another network's, files damaged.
    pub async fn start(options: LightOptions) -> Result<Self, LightError> {
        let coin = options.coin;
        let store = Arc::new(RwLock::new(Store::open(coin, &options.directory)?));
        let view: Arc<dyn View> = Arc::new(LightView { coin, store: Arc::clone(&store) });
        let mut network = lode_p2p::Options::new(coin);
        network.light = true;
        network.relay_transactions = false;
        network.max_inbound = 0;
        network.max_outbound = options.peers;
        network.max_block_relay = 0;
        network.connect.clone_from(&options.connect);
        network.address_book = Some(options.directory.join("peers"));
        let (p2p, events) =
            lode_p2p::start(network, view).await.map_err(|error| LightError::Network(error.to_string()))?;
        let engine = Engine::new(Arc::clone(&store), options.patience);
        let (commands, inbox) = mpsc::unbounded_channel();
        let left = Arc::new(Mutex::new(VecDeque::new()));
        let driver = Driver {
            engine,
            store: Arc::clone(&store),
            p2p: p2p.clone(),
            left: Arc::clone(&left),
            addresses: HashMap::new(),
            started: (Instant::now(), now()),
            synced_files: Instant::now(),
        };
        let (status_out, status) = watch::channel(driver.status());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(LightError::Thread)?;
        let thread = std::thread::Builder::new()
            .name("lode-light".into())
            .spawn(move || {
                let ended = runtime.block_on(driver.run(events, inbox, &status_out));
                if let Err(error) = &ended {
                    tracing::error!(%error, "the light client stops");
                }
                ended
            })
            .map_err(LightError::Thread)?;
        let thread = Arc::new(Mutex::new(Some(thread)));
        Ok(Self { coin, store, commands, status, left, p2p, thread })
    }

    /// The coin and network.
    pub const fn coin(&self) -> &'static Coin {
        self.coin
    }

    /// How far it is.
    pub fn status(&self) -> Status {
        *self.status.borrow()
    }

    /// How far it is, as that changes.
    pub fn subscribe(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// The last peers that were left for what they did, oldest first.
    pub fn left(&self) -> Vec<Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// The headers, to look at.
    pub fn with_headers<T>(&self, look: impl FnOnce(&HeaderChain) -> T) -> T {
        look(self.read().chain())
    }

    fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The id of the best chain's block at `height`; `None` above its tip.
    pub fn block_hash(&self, height: Height) -> Option<BlockHash> {
        self.with_headers(|headers| headers.entry_at(height).map(|entry| entry.hash()))
    }

    /// Waits until all headers and filter headers are here that peers have; `None` where that takes longer than
    /// `patience` without any progress.
    pub async fn synced(&self, patience: Duration) -> Option<Status> {
        let mut status = self.status.clone();
        loop {
            let now = *status.borrow_and_update();
            if now.synced {
                return Some(now);
            }
            if !matches!(tokio::time::timeout(patience, status.changed()).await, Ok(Ok(()))) {
                return None;
            }
        }
    }

    /// The blocks of the best chain from height `from` to `to`, in order, that may pay to or spend from one of `scripts`:
    /// all that do, and one in some hundred thousand that does not. Waits for filters as long as there is somebody to
    /// ask.
    ///
    /// # Errors
    /// [`LightError::Gone`] where the chain ends before `to` or turns away meanwhile; [`LightError::NoPeers`].
    pub fn matching(
        &self,
        scripts: Vec<ScriptBuf>,
        from: Height,
        to: Height,
    ) -> Result<Vec<Place>, LightError> {
        self.ask(|reply| Command::Scan { scripts, from, to, reply })
    }

    /// A block of which the header is known, checked against it.
    ///
    /// # Errors
    /// [`LightError::NoPeers`].
    pub fn block(&self, hash: BlockHash) -> Result<Arc<Block>, LightError> {
        self.ask(|reply| Command::Block { hash, reply })
    }

    fn ask<T>(&self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, LightError> {
        let (reply, answer) = channel();
        self.commands.send(command(reply)).map_err(|_| LightError::Stopped)?;
        // The engine answers, or gives up where there is nobody to ask.
        answer.recv().unwrap_or(Err(LightError::Stopped))
    }

    /// Sends a transaction to all peers and says to how many. They judge it; nothing is said of what they think.
    ///
    /// # Errors
    /// [`LightError::NoPeers`].
    pub fn broadcast(&self, transaction: &Transaction) -> Result<usize, LightError> {
        let peers = self.status().peers;
        if peers == 0 {
            return Err(LightError::NoPeers);
        }
        self.p2p.push_transaction(Arc::new(transaction.clone()));
        Ok(peers)
    }

    /// The least fee rate that most peers relay, in satoshi per 1,000 virtual bytes; `None` without peers.
    pub async fn fee_floor(&self) -> Option<u64> {
        let mut floors: Vec<u64> = self.p2p.peers().await.iter().map(|peer| peer.fee_filter).collect();
        floors.sort_unstable();
        floors.get(floors.len() / 2).copied()
    }

    /// Keeps a connection to `host:port` up from now on.
    pub fn connect(&self, address: String) {
        self.p2p.connect(address);
    }

    /// Stops everything, writes all to disk, and returns when that is done.
    ///
    /// # Errors
    /// Why it had stopped by itself before.
    pub async fn shutdown(&self) -> Result<(), LightError> {
        let _ = self.commands.send(Command::Stop);
        self.p2p.stop().await;
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(thread) = thread else { return Ok(()) };
        let joined = tokio::task::spawn_blocking(move || thread.join()).await;
        joined.ok().and_then(Result::ok).unwrap_or(Err(LightError::Stopped))
    }
}

/// Our clock, since the Unix epoch.
fn now() -> Time {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Time::ZERO)
}

/// The thread.
struct Driver {
    engine: Engine,
    store: Arc<RwLock<Store>>,
    p2p: P2p,
    left: Arc<Mutex<VecDeque<Left>>>,
    /// Where each peer is.
    addresses: HashMap<PeerId, SocketAddr>,
    /// A clock that never goes back.
    started: (Instant, Time),
    synced_files: Instant,
}

impl Driver {
    fn now(&self) -> Time {
        self.started.1 + self.started.0.elapsed()
    }

    fn status(&self) -> Status {
        let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
        let tip = store.chain().tip();
        let tip = Place { height: tip.height(), hash: tip.hash() };
        let filter_headers = store.filter_count();
        drop(store);
        let (peers, filter_peers) = self.engine.peers();
        let synced = self.engine.is_synced();
        Status { tip, filter_headers, peers, filter_peers, synced, doubts: self.engine.doubts() }
    }

    async fn run(
        mut self,
        mut events: mpsc::UnboundedReceiver<Event>,
        mut commands: mpsc::UnboundedReceiver<Command>,
        status: &watch::Sender<Status>,
    ) -> Result<(), LightError> {
        let mut ticker = tokio::time::interval(TICK);
        ticker.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                _ = ticker.tick() => self.tick()?,
                command = commands.recv() => match command {
                    Some(Command::Scan { scripts, from, to, reply }) => {
                        self.engine.scan(scripts, from, to, reply, self.now())?;
                    }
                    Some(Command::Block { hash, reply }) => self.engine.block(hash, reply, self.now())?,
                    Some(Command::Stop) | None => break,
                },
                event = events.recv() => match event {
                    Some(event) => self.event(event)?,
                    None => break,
                },
            }
            while let Some(action) = self.engine.poll() {
                match action {
                    Action::Ask(peer, question) => self.p2p.ask_peer(peer, question),
                    Action::Leave(peer, reason) => self.leave(peer, reason),
                    Action::Punish(peer, reason) => self.p2p.punish(peer, reason),
                }
            }
            status.send_if_modified(|old| {
                let new = self.status();
                std::mem::replace(old, new) != new
            });
        }
        self.store.read().unwrap_or_else(PoisonError::into_inner).sync()?;
        Ok(())
    }

    fn tick(&mut self) -> Result<(), LightError> {
        if self.synced_files.elapsed() >= SYNC_INTERVAL {
            self.synced_files = Instant::now();
            self.store.read().unwrap_or_else(PoisonError::into_inner).sync()?;
        }
        self.engine.tick(self.now())
    }

    fn event(&mut self, event: Event) -> Result<(), LightError> {
        let time = self.now();
        match event {
            Event::Headers { peer, headers } => {
                let verdict = self.headers(&headers)?;
                self.p2p.headers_verdict(peer, verdict);
                self.engine.tick(time)
            }
            Event::Connected { peer, address, services, .. } => {
                self.addresses.insert(peer, address);
                self.engine.connected(peer, services.has(Services::COMPACT_FILTERS), time);
                Ok(())
            }
            Event::UpToDate { peer } => self.engine.up_to_date(peer, time),
            Event::Answer { peer, message } => self.answer(peer, message, time),
            Event::NotAsked { peer, question } => self.engine.on_not_asked(peer, question, time),
            Event::Blamed { address, reason, .. } => {
                self.note_left(address, reason);
                Ok(())
            }
            Event::Disconnected { peer, .. } => {
                self.addresses.remove(&peer);
                self.engine.disconnected(peer, time)
            }
            // Nobody is asked for these, so nobody may send them.
            Event::Block { hash, .. } => {
                self.p2p.block_verdict(hash, Verdict::Unjudged("a light client keeps no blocks".into()));
                Ok(())
            }
            Event::Transaction { wtxid, .. } => {
                self.p2p.transaction_verdict(wtxid, lode_p2p::TxVerdict::Known);
                Ok(())
            }
        }
    }

    /// Ends the connection to a peer that kept us waiting.
    fn leave(&self, peer: PeerId, reason: String) {
        if let Some(&address) = self.addresses.get(&peer) {
            self.note_left(address, reason);
        }
        self.p2p.disconnect(peer);
    }

    fn note_left(&self, address: SocketAddr, reason: String) {
        tracing::warn!(%address, reason, "peer left");
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.len() >= LEFT_MAX {
            left.pop_front();
        }
        left.push_back(Left { address, reason });
    }

    fn headers(&self, headers: &[lode_primitives::Header]) -> Result<Verdict, LightError> {
        let clock = u32::try_from(now().as_secs()).unwrap_or(u32::MAX);
        let mut store = self.store.write().unwrap_or_else(PoisonError::into_inner);
        Ok(match store.accept(headers, clock)? {
            Ok(_) => Verdict::Accepted,
            Err(error) => match error.blame() {
                Blame::MissingParent | Blame::Early | Blame::Inconclusive | Blame::OwnFault => {
                    Verdict::Unjudged(error.to_string())
                }
                _ => Verdict::Invalid(error.to_string()),
            },
        })
    }

    fn answer(&mut self, peer: PeerId, message: Message, time: Time) -> Result<(), LightError> {
        match message {
            Message::CFHeaders(answer) => self.engine.on_filter_headers(peer, answer, time),
            Message::CFilter(answer) => self.engine.on_filter(peer, answer, time),
            Message::Block(block) => self.engine.on_block(peer, block, time),
            _ => Ok(()),
        }
    }
}
