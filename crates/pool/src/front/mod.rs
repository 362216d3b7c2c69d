//! The front: many miners' sockets, few threads.
//!
//! Each thread has an epoll set of its own (`mio`, which tokio stands on as well), a listener for each port and its share of the
//! connections; a connection stays on the thread that accepted it. A round of a thread is:
//!
//! 1. wait for events, at most until the next tick;
//! 2. take new jobs from the mailbox and send them to all;
//! 3. read what came, from every ready connection that has brought work, into one buffer that all share; run it through the
//!    sessions, whose answers go into one other buffer;
//! 4. record all accepted shares of the round in the log, with one call;
//! 5. send the answers, one write per connection;
//! 6. do the same for a few of the others that are ready, accept a few, and end a few whose time is over.
//!
//! # Correctness
//! Answers leave (5) only after their shares are recorded (4): what a miner is told was accepted survives `kill -9`. Where
//! recording fails the answers are rewritten into refusals before they go. Blocks are handed on in (3), before all else, and
//! a round with a block waits for the journal before (5): a finder who was answered has not found in vain.
//!
//! An idle connection costs its entry here and in the ledger's registry, and no buffer: see "Cost" in `docs/front.md`.

mod connection;
mod limits;
mod listeners;
mod orders;
mod proxy;
mod thread;
mod tls;
mod watchman;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use lode_ledger::{LogError, Share, Worker};
use lode_stratum::{Difficulty, Reject};
use mio::Waker;

use crate::class::CoinbaseClass;
use crate::config::PoolConfig;
use crate::guard::{Guard, NetworkBlock, Refusal};
use crate::job::Job;
use crate::origins::Origins;
use crate::session::{Accounts, Found, SessionSettings};

pub use limits::Limit;
pub use listeners::Listeners;
pub use orders::{Reason, Who};
pub use tls::TlsError;

/// The books as the front needs them.
pub trait Books: Accounts + Send + Sync {
    /// Records a batch of shares. When this returns they survive the end of the process.
    fn record(&self, shares: &[Share]) -> Result<(), LogError>;
}

/// What the threads count; read by the service.
#[derive(Debug, Default)]
pub struct FrontStats {
    /// Connections now.
    pub connections: AtomicUsize,
    /// Connections accepted so far.
    pub connected: AtomicU64,
    /// Connections turned away so far, by guard or for want of room.
    pub turned_away: AtomicU64,
    /// Shares recorded and answered so far.
    pub accepted: AtomicU64,
    /// Their credit units, wrapping.
    pub accepted_units: AtomicU64,
    /// Requests refused so far, by [`Reject::index`].
    pub refused: [AtomicU64; Reject::ALL.len()],
    /// The log cannot be written: shares are being refused.
    pub log_failed: AtomicBool,
    /// What is running short, as of the last second.
    pub limits: Mutex<Vec<Limit>>,
    /// Unix microseconds at which the last job's first and last line were sent, over all threads.
    pub fanout_first_us: AtomicU64,
    /// See `fanout_first_us`.
    pub fanout_last_us: AtomicU64,
}

/// A found block on its way to the disk.
#[derive(Debug)]
pub struct Handed {
    /// The block.
    pub found: Found,
    /// To be told, or dropped, once the block is safe: its finder is answered then.
    pub safe: SyncSender<()>,
}

/// What all threads share.
pub(crate) struct Shared {
    pub(crate) settings: SessionSettings,
    pub(crate) books: Arc<dyn Books>,
    pub(crate) guard: Mutex<Guard>,
    pub(crate) stats: Arc<FrontStats>,
    pub(crate) proxies: Vec<NetworkBlock>,
    /// Networks that have no limits.
    pub(crate) allow: Vec<NetworkBlock>,
    pub(crate) connections_max: usize,
    pub(crate) login_ms: u64,
    pub(crate) idle_ms: u64,
    /// Hashes that each connection must bring in so many seconds, where there is a floor.
    pub(crate) floor: Option<(f64, u32)>,
    /// Hashes of a share of difficulty 1.
    pub(crate) hashes_per_difficulty: f64,
    /// Prime chains seen, by all threads.
    pub(crate) origins: Arc<Origins>,
    pub(crate) certificate: Option<tls::Certificate>,
    /// Strangers are turned away for this reason; see [`limits::Pressure`].
    pub(crate) pressure: AtomicU8,
    pub(crate) draining: AtomicBool,
    /// Microseconds that each thread has been at work.
    pub(crate) busy_us: Vec<AtomicU64>,
    /// Where bans are kept.
    pub(crate) bans: Option<PathBuf>,
    /// Keys of accounts in the guard's tables.
    pub(crate) account_keys: std::hash::RandomState,
}

impl Shared {
    pub(crate) fn guard(&self) -> MutexGuard<'_, Guard> {
        // What it guards is whole between statements.
        self.guard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts a connection that is turned away.
    pub(crate) fn turned_away(&self, refusal: Refusal) {
        self.stats.turned_away.fetch_add(1, Ordering::Relaxed);
        metrics::counter!("lode_connections_refused_total", "reason" => refusal.label()).increment(1);
    }
}

/// What a thread is told.
pub(crate) enum Command {
    Job(Arc<Job>),
    Survey(SyncSender<Vec<SessionInfo>>),
    /// Sets the difficulty of some miners, or lets it be adjusted again. Answers how many they are.
    Difficulty(Arc<Who>, Option<Difficulty>, SyncSender<usize>),
    /// Closes the connections from a network. Answers how many they were.
    Close(NetworkBlock, SyncSender<usize>),
    Stop,
}

/// An authorised session, as asked for by pages and the operator.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    /// Who mines: the first user name authorised on the connection.
    pub worker: Arc<Worker>,
    /// The miner's address.
    pub address: IpAddr,
    /// The difficulty of its last job, where it has one.
    pub difficulty: Option<f64>,
    /// Its coinbase class.
    pub class: CoinbaseClass,
    /// Unix milliseconds of its last accepted share, or of its connect.
    pub active_ms: u64,
    /// Shares accepted.
    pub accepted: u32,
    /// Requests refused.
    pub refused: u32,
    /// Why the last of them was.
    pub last_refusal: Option<Reject>,
    /// Bytes received.
    pub bytes: u64,
}

pub(crate) struct Mailbox {
    pub(crate) queue: Mutex<Vec<Command>>,
    pub(crate) waker: Waker,
}

impl Mailbox {
    fn post(&self, command: Command) {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push(command);
        // A waker fails only where its thread has ended.
        let _ = self.waker.wake();
    }
}

/// Why the front cannot start.
#[derive(Debug, thiserror::Error)]
pub enum FrontError {
    /// A port cannot be listened on.
    #[error(
        "cannot listen on {address}: {source}; is another pool running? Choose another port with pool.ports.bind"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The system refuses an epoll set or a thread.
    #[error("cannot start a serving thread: {0}")]
    Thread(io::Error),
    /// The certificate.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// The running front.
pub struct Front {
    mailboxes: Vec<Arc<Mailbox>>,
    threads: Vec<JoinHandle<()>>,
    addresses: Vec<SocketAddr>,
    shared: Arc<Shared>,
    watchman: Option<watchman::Watchman>,
}

impl Front {
    /// Serves miners on the ports of these settings. `bans`: the file that bans are kept in.
    pub fn start(
        config: &PoolConfig,
        listeners: Listeners,
        settings: SessionSettings,
        books: Arc<dyn Books>,
        found: SyncSender<Handed>,
        bans: Option<PathBuf>,
    ) -> Result<Self, FrontError> {
        let possible = limits::connections_possible();
        let connections_max = match config.connections_max {
            0 => possible,
            wanted if wanted > possible => {
                tracing::warn!(
                    wanted,
                    possible,
                    "the open-file limit allows fewer connections than pool.connections_max: raise it with `ulimit -n`"
                );
                possible
            }
            wanted => wanted,
        };
        let Listeners { of_threads, addresses } = listeners;
        let count = of_threads.len();
        let mut guard = Guard::new(config.guard.clone());
        if let Some(path) = &bans {
            match crate::guard::load_bans(path) {
                Ok(bans) => guard.restore(bans, unix_us() / 1000),
                Err(error) => tracing::warn!("the bans in {} are forgotten: {error}", path.display()),
            }
        }
        let floor = (config.guard.work_floor > 0.0).then(|| {
            let seconds = config.guard.work_floor_seconds;
            (config.guard.work_floor * f64::from(seconds), seconds)
        });
        let shared = Arc::new(Shared {
            hashes_per_difficulty: settings.pow.hashes_per_difficulty().unwrap_or(1.0),
            settings,
            books,
            guard: Mutex::new(guard),
            stats: Arc::new(FrontStats::default()),
            proxies: config.proxy_protocol_from.clone(),
            allow: config.guard.allow.clone(),
            connections_max,
            login_ms: u64::from(config.login_seconds) * 1000,
            idle_ms: u64::from(config.idle_seconds) * 1000,
            floor,
            certificate: tls::Certificate::load(&config.tls)?,
            pressure: AtomicU8::new(0),
            draining: AtomicBool::new(false),
            busy_us: (0..count).map(|_| AtomicU64::new(0)).collect(),
            bans,
            origins: Arc::default(),
            account_keys: std::hash::RandomState::new(),
        });
        let mut front = Self {
            mailboxes: vec![],
            threads: vec![],
            addresses,
            shared: Arc::clone(&shared),
            watchman: None,
        };
        for (number, own) in of_threads.into_iter().enumerate() {
            let (mailbox, thread) =
                thread::start(number, own, Arc::clone(&shared), found.clone()).map_err(FrontError::Thread)?;
            front.mailboxes.push(mailbox);
            front.threads.push(thread);
        }
        let watchman =
            watchman::Watchman::start(shared, config.memory_max_mib).map_err(FrontError::Thread)?;
        front.watchman = Some(watchman);
        Ok(front)
    }

    /// Where it listens, in the order of the settings, with the ports the system chose.
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// What is counted.
    pub fn stats(&self) -> &Arc<FrontStats> {
        &self.shared.stats
    }

    /// What its threads share, for another way in.
    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Connections there can be at once.
    pub fn connections_max(&self) -> usize {
        self.shared.connections_max
    }

    /// Sends a job to all miners.
    pub fn send_job(&self, job: &Arc<Job>) {
        self.shared.stats.fanout_first_us.store(0, Ordering::Relaxed);
        for mailbox in &self.mailboxes {
            mailbox.post(Command::Job(Arc::clone(job)));
        }
    }

    /// Ends all threads, which closes all connections. Answers whose shares are recorded are sent before.
    pub fn stop(&mut self) {
        for mailbox in &self.mailboxes {
            mailbox.post(Command::Stop);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.watchman = None;
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Unix time in microseconds.
pub(crate) fn unix_us() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
