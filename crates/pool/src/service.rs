//! The pool as one thing: templates in, jobs out to the front, found blocks on to where they are kept and submitted.
//!
//! Two things run beside the front's threads: a task that makes jobs (from each new template, at a regular interval, and as soon
//! as there is first work to pay for), and a thread that puts found blocks together. The ledger is behind one lock, taken for
//! microseconds: by front threads to record a batch, by the task to make a split.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use lode_coins::Coin;
use lode_ledger::{ChainShare, Credit, Ledger, LedgerError, LogError, Payees, Share, TemplateRef, Worker};
use lode_primitives::{BlockHash, Height, Txid, sha256d};
use lode_stratum::{Difficulty, Login, Reject};
use tokio::sync::{broadcast, oneshot, watch};

use crate::config::{ConfigError, PoolConfig};
use crate::front::{
    Books, Front, FrontError, FrontStats, Handed, Limit, Listeners, Reason, SessionInfo, TlsError, Who,
    unix_us,
};
use crate::getwork::{self, Gateway};
use crate::guard::{Ban, BlockView, NetworkBlock};
use crate::job::{Job, JobError, JobParts, Pays};
use crate::journal::FoundBlock;
use crate::rate::RateMeter;
use crate::session::{Accounts, Extranonces, Found, SessionSettings, write_farewell};
use crate::template::{Sources, Template};
use crate::watch::Watch;

/// Found blocks waiting to be put together; beyond it miners wait, so that none is lost.
const FOUND_QUEUE: usize = 4_096;
/// Events kept for a listener that is slow.
const EVENTS: usize = 1_024;
/// Between housekeeping of ledger and rates.
const TICK: Duration = Duration::from_secs(1);
/// Before a job that could not be made is tried again.
const RETRY: Duration = Duration::from_millis(200);
/// The disk has so long to take a found block before jobs are made on top of it all the same.
const SETTLE_TIMEOUT: Duration = Duration::from_secs(5);

/// What is above the service: where templates come from, and where found blocks go. [`Nodes`] is the real one.
pub trait Upstream: Clone + Send + Sync + 'static {
    /// The template to mine on, `None` while there is none.
    fn templates(&self) -> watch::Receiver<Option<Arc<Template>>>;

    /// Sees to it that the books know where in the chain the template's parent is. Asked before each job.
    fn place_tip(&self, template: &Template) -> impl Future<Output = Result<(), String>> + Send;

    /// Takes a found block: onto the disk, to the nodes, into the books. Called on a thread that may block.
    fn found(&self, block: &FoundBlock) -> Result<(), String>;
}

/// The nodes and the watch over found blocks.
#[derive(Debug, Clone)]
pub struct Nodes {
    /// Where templates come from.
    pub sources: Sources,
    /// Where found blocks go.
    pub watch: Watch,
}

impl Upstream for Nodes {
    fn templates(&self) -> watch::Receiver<Option<Arc<Template>>> {
        self.sources.templates()
    }

    async fn place_tip(&self, template: &Template) -> Result<(), String> {
        self.watch.place_tip(template).await.map_err(|error| error.to_string())
    }

    fn found(&self, block: &FoundBlock) -> Result<(), String> {
        self.watch.found(block).map_err(|error| error.to_string())
    }
}

/// What happens in a pool, for those who watch.
#[derive(Debug, Clone)]
pub enum PoolEvent {
    /// A new job went out.
    Job {
        /// The height it seeks.
        height: Height,
        /// The previous block changed.
        clean: bool,
    },
    /// A block was found; it is on disk.
    Block(Arc<FoundBlock>),
}

/// What a pool is made of.
pub struct PoolParts<U> {
    /// The coin.
    pub coin: &'static Coin,
    /// Settings.
    pub config: PoolConfig,
    /// The books, opened.
    pub ledger: Arc<Mutex<Ledger>>,
    /// True where each miner is paid what it finds itself, whatever the window.
    pub solo: bool,
    /// Where templates come from and blocks go.
    pub upstream: U,
    /// Where the pool keeps its files; without one, bans are forgotten at the end.
    pub directory: Option<PathBuf>,
}

/// Why a pool cannot start.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    /// Settings.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// Ports or threads.
    #[error(transparent)]
    Front(#[from] FrontError),
    /// A thread.
    #[error("cannot start the thread for found blocks: {0}")]
    Thread(std::io::Error),
}

/// The running pool. Clones are handles to the same one.
#[derive(Clone)]
pub struct PoolHandle {
    inner: Arc<Inner>,
}

struct Inner {
    coin: &'static Coin,
    front: Mutex<Front>,
    stats: Arc<FrontStats>,
    addresses: Vec<SocketAddr>,
    getwork: Mutex<Option<getwork::Server>>,
    getwork_address: Option<SocketAddr>,
    connections_max: usize,
    ledger: Arc<Mutex<Ledger>>,
    job: watch::Receiver<Option<Arc<Job>>>,
    events: broadcast::Sender<PoolEvent>,
    rate: Mutex<RateMeter>,
    started_ms: u64,
    stop: Mutex<Option<oneshot::Sender<()>>>,
    /// The thread that takes found blocks.
    keeper: Mutex<Option<JoinHandle<()>>>,
}

/// Entry to the pool.
pub struct Pool;

impl Pool {
    /// Listens and serves. To be called within a tokio runtime; ends with [`PoolHandle::stop`].
    pub fn start<U: Upstream>(parts: PoolParts<U>) -> Result<PoolHandle, PoolError> {
        let listeners = Self::listen(parts.coin, &parts.config)?;
        Self::start_on(listeners, parts)
    }

    /// Listens on the ports of these settings: to be done before the books are read, so that miners who come back after a
    /// crash find the door open.
    pub fn listen(coin: &Coin, config: &PoolConfig) -> Result<Listeners, PoolError> {
        config.check_for(coin)?;
        Ok(Listeners::bind(config)?)
    }

    /// Serves on ports that [`Pool::listen`] opened with the same settings.
    pub fn start_on<U: Upstream>(listeners: Listeners, parts: PoolParts<U>) -> Result<PoolHandle, PoolError> {
        let PoolParts { coin, config, ledger, solo, upstream, directory } = parts;
        let settings = SessionSettings {
            version_mask: config.version_mask,
            vardiff: config.vardiff.clone(),
            pow: coin.pow,
            ports: config.ports.clone(),
            farewell: write_farewell(config.moved_to()),
            extranonces: Extranonces::default(),
        };
        let books: Arc<dyn Books> = Arc::new(LedgerBooks { coin, ledger: Arc::clone(&ledger) });
        let (sender, found) = sync_channel(FOUND_QUEUE);
        let bans = directory.map(|directory| directory.join("bans.jsonl"));
        let front = Front::start(&config, listeners, settings, books, sender.clone(), bans)?;
        let (publish, job) = watch::channel(None);
        let getwork = match config.getwork {
            Some(address) => {
                let gateway = Gateway::new(Arc::clone(front.shared()), sender);
                let bind = |source| FrontError::Bind { address, source };
                Some(getwork::start(address, gateway, job.clone()).map_err(bind)?)
            }
            None => None,
        };
        let (settling, settled) = watch::channel(None);
        let (stop, stopped) = oneshot::channel();
        let inner = Arc::new(Inner {
            coin,
            stats: Arc::clone(front.stats()),
            addresses: front.addresses().to_vec(),
            connections_max: front.connections_max(),
            front: Mutex::new(front),
            getwork_address: getwork.as_ref().map(|server| server.address),
            getwork: Mutex::new(getwork),
            ledger,
            job,
            events: broadcast::channel(EVENTS).0,
            rate: Mutex::default(),
            started_ms: unix_us() / 1000,
            stop: Mutex::new(Some(stop)),
            keeper: Mutex::default(),
        });
        let keeper = Keeper { inner: Arc::clone(&inner), upstream: upstream.clone(), settling };
        let keeper = std::thread::Builder::new()
            .name("found-blocks".into())
            .spawn(move || keeper.run(&found))
            .map_err(PoolError::Thread)?;
        *lock(&inner.keeper) = Some(keeper);
        let maker = JobMaker {
            inner: Arc::clone(&inner),
            upstream,
            config,
            solo,
            publish,
            settled,
            // Numbers of an earlier run must not come again while its miners still work on them.
            seq: AtomicU32::new(rand::random::<u32>() >> 4),
            reference: None,
            received: None,
        };
        tokio::spawn(maker.run(stopped));
        Ok(PoolHandle { inner })
    }
}

impl PoolHandle {
    /// The coin mined.
    pub fn coin(&self) -> &'static Coin {
        self.inner.coin
    }

    /// Where miners connect, in the order of the settings.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.inner.addresses
    }

    /// Where miners that know only `getwork` connect, where they may.
    pub fn getwork_address(&self) -> Option<SocketAddr> {
        self.inner.getwork_address
    }

    /// What the front counts.
    pub fn stats(&self) -> &FrontStats {
        &self.inner.stats
    }

    /// The books, for reading.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        lock(&self.inner.ledger)
    }

    /// The job being mined, and the ones that follow.
    pub fn job(&self) -> watch::Receiver<Option<Arc<Job>>> {
        self.inner.job.clone()
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<PoolEvent> {
        self.inner.events.subscribe()
    }

    /// When it started, Unix milliseconds.
    pub fn started_ms(&self) -> u64 {
        self.inner.started_ms
    }

    /// Hashes a second, over the last ten minutes or since the start.
    pub fn hash_rate(&self) -> f64 {
        lock(&self.inner.rate).rate() * self.hashes_per_difficulty()
    }

    /// `(Unix seconds, hashes a second)` by the minute, the oldest first; a day at most.
    pub fn hash_rate_history(&self) -> Vec<(u64, f64)> {
        let scale = self.hashes_per_difficulty();
        lock(&self.inner.rate).history().map(|(time, rate)| (time, rate * scale)).collect()
    }

    /// Hashes that a share of difficulty 1 takes; 1 for prime chains, whose rates are in chains of length 6.
    pub fn hashes_per_difficulty(&self) -> f64 {
        self.inner.coin.pow.hashes_per_difficulty().unwrap_or(1.0)
    }

    /// All sessions that are authorised. Asks each thread: for pages people look at, not for loops.
    pub fn sessions(&self) -> Vec<SessionInfo> {
        let pending = lock(&self.inner.front).survey();
        pending
            .into_iter()
            .filter_map(|answer| answer.recv_timeout(Duration::from_secs(2)).ok())
            .flatten()
            .collect()
    }

    /// What is running short, in words.
    pub fn limits(&self) -> Vec<Limit> {
        lock(&self.inner.stats.limits).clone()
    }

    /// Sets the difficulty of some miners, from the next job on; `None` lets it be adjusted again. How many there are.
    pub fn set_difficulty(&self, who: Who, difficulty: Option<Difficulty>) -> usize {
        lock(&self.inner.front).set_difficulty(who, difficulty)
    }

    /// Bans a network until a time (Unix milliseconds) and closes its connections. How many those were.
    pub fn ban(&self, network: NetworkBlock, until_ms: u64) -> usize {
        lock(&self.inner.front).ban(network, until_ms)
    }

    /// Ends the bans of a network and of the address blocks in it. How many there were.
    pub fn unban(&self, network: NetworkBlock) -> usize {
        lock(&self.inner.front).unban(network)
    }

    /// The bans in force.
    pub fn bans(&self) -> Vec<Ban> {
        lock(&self.inner.front).bans()
    }

    /// The address blocks that sent most lately.
    pub fn top(&self, count: usize) -> Vec<BlockView> {
        lock(&self.inner.front).top(count)
    }

    /// Why an address is or was turned away.
    pub fn why(&self, address: IpAddr) -> Reason {
        lock(&self.inner.front).why(address)
    }

    /// Turns all new connections away, or no longer. The ones there are stay.
    pub fn drain(&self, on: bool) {
        lock(&self.inner.front).drain(on);
    }

    /// True while new connections are turned away for a restart.
    pub fn is_draining(&self) -> bool {
        lock(&self.inner.front).is_draining()
    }

    /// Reads the certificate and its key again; `None` where there is no encryption. Where they cannot be used the old pair
    /// stays in force. The log says how it went.
    pub fn reload_certificate(&self) -> Option<Result<(), TlsError>> {
        lock(&self.inner.front).reload_certificate()
    }

    /// Connections there can be at once.
    pub fn connections_max(&self) -> usize {
        self.inner.connections_max
    }

    /// Ends: miners' connections are closed when what is recorded is answered, and what is recorded is on the disk.
    pub fn stop(&self) {
        if let Some(stop) = lock(&self.inner.stop).take() {
            let _ = stop.send(());
        }
        lock(&self.inner.getwork).take();
        lock(&self.inner.front).stop();
        // The front's threads have let go of their ends: it takes what is left and ends.
        if let Some(keeper) = lock(&self.inner.keeper).take() {
            let _ = keeper.join();
        }
        if let Err(error) = self.ledger().sync() {
            tracing::error!(%error, "the share log could not be synced");
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What the locks here guard is whole between statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ledger as the front knows it.
struct LedgerBooks {
    coin: &'static Coin,
    ledger: Arc<Mutex<Ledger>>,
}

impl Accounts for LedgerBooks {
    fn worker(&self, login: &Login) -> Result<Arc<Worker>, Reject> {
        let script = self.coin.address_to_script(&login.address).map_err(|_| Reject::Unauthorized)?;
        lock(&self.ledger).worker(&login.address, &script, &login.worker).map_err(|_| Reject::Unavailable)
    }

    fn credit_chain(&self, worker: &Worker, share: &ChainShare) -> Credit {
        lock(&self.ledger).credit_chain(worker.account(), share)
    }
}

impl Books for LedgerBooks {
    fn record(&self, shares: &[Share]) -> Result<(), LogError> {
        lock(&self.ledger).record(shares)
    }
}

/// Puts found blocks together and hands them on, until the front has ended.
struct Keeper<U> {
    inner: Arc<Inner>,
    upstream: U,
    /// The block being handed on: no job is made on it until the books have it.
    settling: watch::Sender<Option<BlockHash>>,
}

impl<U: Upstream> Keeper<U> {
    fn run(self, handed: &Receiver<Handed>) {
        while let Ok(Handed { found, safe }) = handed.recv() {
            let units = {
                let ledger = lock(&self.inner.ledger);
                match self.inner.coin.pow.hashes_per_difficulty() {
                    Some(_) => ledger.units_ever() + u128::from(found.credit.to_units()),
                    // A chain's worth is counted when it is credited.
                    None => ledger.work_ever(),
                }
            };
            let block = Arc::new(put_together(&found, units));
            let (account, worker) = &block.finder;
            let dot = if worker.is_empty() { "" } else { "." };
            tracing::info!("block {} found at height {} by {account}{dot}{worker}", block.hash, block.height);
            self.settling.send_replace(Some(block.hash));
            if let Err(error) = self.upstream.found(&block) {
                tracing::error!("block {}: {error}", block.hash);
            }
            self.settling.send_replace(None);
            // Nobody waits where the thread has ended meanwhile.
            let _ = safe.try_send(());
            let _ = self.inner.events.send(PoolEvent::Block(block));
        }
    }
}

/// `units_ever`: all work, this share's included.
fn put_together(found: &Found, units_ever: u128) -> FoundBlock {
    let bytes = found.job.block(&found.class, &found.solution);
    FoundBlock {
        hash: BlockHash(sha256d(&found.job.whole_header(&found.class, &found.solution))),
        height: found.job.template.height,
        prev: found.job.template.prev,
        found_ms: unix_us() / 1000,
        job: found.job.id(),
        finder: (found.worker.account().name().to_owned(), found.worker.name().to_owned()),
        snapshot: found.class.payouts.clone(),
        block: Bytes::from(bytes),
        coinbase_txid: Txid(sha256d(&found.class.coinbase(&found.solution))),
        network_units: found.job.reference.network_units,
        units_ever,
    }
}

/// The task that makes jobs.
struct JobMaker<U> {
    inner: Arc<Inner>,
    upstream: U,
    config: PoolConfig,
    solo: bool,
    publish: watch::Sender<Option<Arc<Job>>>,
    settled: watch::Receiver<Option<BlockHash>>,
    seq: AtomicU32,
    /// The ledger's name of the block sought: the same for all its jobs.
    reference: Option<Arc<TemplateRef>>,
    /// The template last seen, and when: its time goes on from then.
    received: Option<(Arc<Template>, Instant)>,
}

impl<U: Upstream> JobMaker<U> {
    async fn run(mut self, mut stop: oneshot::Receiver<()>) {
        let mut templates = self.upstream.templates();
        let interval = Duration::from_secs(u64::from(self.config.job_interval_seconds));
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        let mut next_job = Instant::now();
        loop {
            let news = tokio::select! {
                _ = &mut stop => return,
                changed = templates.changed() => match changed {
                    Ok(()) => true,
                    // The sources have ended: the pool is about to.
                    Err(_) => return,
                },
                _ = tick.tick() => {
                    self.housekeeping();
                    false
                }
            };
            let asked = Instant::now();
            if !news && asked < next_job && !self.first_work() {
                continue;
            }
            let Some(template) = templates.borrow_and_update().clone() else { continue };
            match self.make(template).await {
                Ok(job) => {
                    next_job = Instant::now() + interval;
                    lock(&self.inner.front).send_job(&job);
                    metrics::histogram!("lode_template_to_job_seconds").record(asked.elapsed().as_secs_f64());
                    let (height, clean) = (job.template.height, job.clean);
                    self.publish.send_replace(Some(job));
                    let _ = self.inner.events.send(PoolEvent::Job { height, clean });
                }
                Err(error) => {
                    tracing::error!("no new job: {error}");
                    next_job = Instant::now() + RETRY;
                    tokio::time::sleep(RETRY).await;
                }
            }
        }
    }

    /// Each second.
    fn housekeeping(&self) {
        let now_ms = unix_us() / 1000;
        let work = {
            let mut ledger = lock(&self.inner.ledger);
            if let Err(error) = ledger.tick(now_ms) {
                tracing::error!(%error, "the ledger's housekeeping failed");
            }
            match self.inner.coin.pow.hashes_per_difficulty() {
                Some(_) => self.inner.stats.accepted_units.load(Ordering::Relaxed),
                // Wraps, as that does.
                None => ledger.work_ever() as u64,
            }
        };
        lock(&self.inner.rate).sample(now_ms / 1000, work);
        let connections = self.inner.stats.connections.load(Ordering::Relaxed);
        metrics::gauge!("lode_connections").set(connections as f64);
    }

    /// True where the current job pays each miner itself only because there was no work in the window, and now there is.
    fn first_work(&self) -> bool {
        let pays_own = self.publish.borrow().as_ref().is_some_and(|job| job.pays_own());
        !self.solo && pays_own && lock(&self.inner.ledger).window_total().units > 0
    }

    async fn make(&mut self, template: Arc<Template>) -> Result<Arc<Job>, MakeError> {
        let since = match &self.received {
            Some((last, since)) if Arc::ptr_eq(last, &template) => *since,
            _ => {
                let now = Instant::now();
                self.received = Some((Arc::clone(&template), now));
                now
            }
        };
        let time = template.time.saturating_add(since.elapsed().as_secs() as u32);
        let tip = template.prev;
        // A block of our own may come back as a tip before the books have it: its payouts must be settled first.
        let settled = self.settled.wait_for(|settling| *settling != Some(tip));
        let _ = tokio::time::timeout(SETTLE_TIMEOUT, settled).await;
        self.upstream.place_tip(&template).await.map_err(MakeError::Place)?;
        let reference = self.reference_of(&template)?;
        let pays = self.pays(&template, &reference)?;
        let clean = self.publish.borrow().as_ref().is_none_or(|last| last.template.prev != tip);
        let job = Job::new(JobParts {
            coin: self.inner.coin,
            template,
            reference,
            seq: self.seq.fetch_add(1, Ordering::Relaxed),
            time,
            clean,
            tag: self.config.tag.clone(),
            pays,
        })?;
        Ok(Arc::new(job))
    }

    fn reference_of(&mut self, template: &Template) -> Result<Arc<TemplateRef>, MakeError> {
        let known = self.reference.as_ref();
        if let Some(known) =
            known.filter(|known| known.prev == template.prev && known.height == template.height)
        {
            return Ok(Arc::clone(known));
        }
        let difficulty = Job::network_difficulty(self.inner.coin, template)?;
        let reference = TemplateRef::new(template.height, template.prev, difficulty.get());
        self.reference = Some(Arc::clone(&reference));
        Ok(reference)
    }

    fn pays(&self, template: &Template, reference: &Arc<TemplateRef>) -> Result<Pays, MakeError> {
        let reward = template.coinbase_value;
        if !self.solo {
            let now_ms = unix_us() / 1000;
            match lock(&self.inner.ledger).split(reference, reward, &Payees::Window, now_ms) {
                Ok(split) => return Ok(Pays::Window(split)),
                Err(LedgerError::EmptyWindow) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let (ledger, reference) = (Arc::clone(&self.inner.ledger), Arc::clone(reference));
        Ok(Pays::Own(Box::new(move |account| {
            let payees = Payees::Account(Arc::clone(account));
            let split = lock(&ledger).split(&reference, reward, &payees, unix_us() / 1000);
            split.inspect_err(|error| tracing::error!(%error, "no job for a miner")).ok()
        })))
    }
}

/// Why a job could not be made.
#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    #[error(transparent)]
    Job(#[from] JobError),
    #[error("which of the pool's blocks are below the new tip is not known: {0}")]
    Place(String),
}
