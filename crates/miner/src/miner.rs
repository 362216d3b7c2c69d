//! A miner as others hold it: started, looked at, stopped. `lode up` keeps some of these in its own process, `lode mine`
//! one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use lode_pow::PowAlgorithm;
use lode_stratum::written_difficulty;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;

use crate::client::{Client, Login};
use crate::connection::{End, Station, mine};
use crate::crew::{Crew, SHARES_WAITING_MAX};
use crate::solo::{Solo, SoloEnd};
use crate::stats::Stats;
use crate::work::Share;
use crate::{Event, NodeUrl, PoolUrl, Snapshot};

/// Events kept for a listener that is slow; older ones are lost to it.
const EVENTS_KEPT: usize = 256;
/// The first pause after a connection broke; each further failure doubles it.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause that a pool's `client.reconnect` may ask for.
const MOVE_WAIT_MAX: Duration = Duration::from_secs(60);
/// A connection that lasted so long was a good one: the pauses begin small again.
const GOOD_CONNECTION: Duration = Duration::from_secs(60);

/// What a miner is to do.
#[derive(Clone, Debug)]
pub struct MinerConfig {
    /// The pool.
    pub url: PoolUrl,
    /// User name: at Lode's pool `ADDRESS.worker`.
    pub user: String,
    /// Password; `x` where the pool wants none.
    pub password: String,
    /// What to search with.
    pub algorithm: PowAlgorithm,
    /// Search threads, at least 1.
    pub threads: usize,
    /// Share of a core that each thread may use, in percent from 1 to 100.
    pub cpu_percent: u8,
    /// Share difficulty to ask the pool for; on prime chains a length in primes.
    pub suggest_difficulty: Option<f64>,
    /// Connections tried in a row before giving up; `None` for never.
    pub retries: Option<u32>,
    /// Longest pause between two tries.
    pub retry_pause_max: Duration,
    /// Name and version told to the pool.
    pub agent: String,
}

impl MinerConfig {
    /// One thread at full speed, that never gives up.
    pub fn new(url: PoolUrl, user: impl Into<String>, algorithm: PowAlgorithm) -> Self {
        Self {
            url,
            user: user.into(),
            password: "x".into(),
            algorithm,
            threads: 1,
            cpu_percent: 100,
            suggest_difficulty: None,
            retries: None,
            retry_pause_max: Duration::from_secs(30),
            agent: concat!("lode/", env!("CARGO_PKG_VERSION")).into(),
        }
    }
}

/// Why a miner did not start, or ended by itself.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MinerError {
    /// The pool refused the user name.
    #[error(
        "{pool} refused the user name {user:?}: {reason}; it is usually ADDRESS.worker, with an address of the pool's coin"
    )]
    LoginRefused {
        /// The pool.
        pool: PoolUrl,
        /// The user name.
        user: String,
        /// The pool's words.
        reason: String,
    },
    /// Mining alone: the address to be paid is none of the node's chain.
    #[error("{address:?} cannot be paid: {reason}; give an address of the node's chain with --coinbase-addr")]
    Address {
        /// The address given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// All tries to connect are used up.
    #[error("gave up after {tries} tries: {reason}")]
    GaveUp {
        /// Tries made in a row.
        tries: u32,
        /// Why the last one failed.
        reason: String,
    },
}

/// A running miner. Dropping it stops it too, but only [`Miner::stop`] waits for its threads.
pub struct Miner {
    stats: Arc<Stats>,
    events: broadcast::Sender<Event>,
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), MinerError>>,
}

impl Miner {
    /// Starts the search threads and the connection. To be called inside a tokio runtime.
    pub fn start(config: MinerConfig) -> Result<Self, MinerError> {
        Self::start_with(config, None)
    }

    /// Starts mining alone, straight from a node: blocks pay `address`, which must be one of the node's chain. Of
    /// `config` the pool's address, user and password do not matter.
    pub fn start_solo(config: MinerConfig, node: NodeUrl, address: String) -> Result<Self, MinerError> {
        let solo = Solo { node, address, algorithm: config.algorithm };
        Self::start_with(config, Some(solo))
    }

    fn start_with(config: MinerConfig, solo: Option<Solo>) -> Result<Self, MinerError> {
        let stats = Arc::new(Stats::new(config.algorithm));
        let (events, _) = broadcast::channel(EVENTS_KEPT);
        let (stop, stopped) = watch::channel(false);
        let (sender, shares) = mpsc::channel(SHARES_WAITING_MAX);
        let threads = config.threads.max(1);
        let crew = Crew::hire(config.algorithm, threads, config.cpu_percent, &stats, &sender);
        let task =
            tokio::spawn(supervise(config, solo, crew, shares, stats.clone(), events.clone(), stopped));
        Ok(Self { stats, events, stop, task })
    }

    /// The counters now.
    pub fn snapshot(&self) -> Snapshot {
        self.stats.snapshot(Instant::now())
    }

    /// What happens from now on. A listener that falls 256 events behind loses the oldest.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.events.subscribe()
    }

    /// Waits until the miner ends by itself: never with `Ok` unless [`Miner::stop`] was called.
    pub async fn ended(&mut self) -> Result<(), MinerError> {
        match (&mut self.task).await {
            Ok(result) => result,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            Err(_) => Ok(()),
        }
    }

    /// Stops the threads, closes the connection, and gives the last counters.
    pub async fn stop(mut self) -> Snapshot {
        self.stop.send_replace(true);
        if !self.task.is_finished() {
            // Whatever ended it, it has ended.
            let _ = (&mut self.task).await;
        }
        self.snapshot()
    }
}

/// Makes connections one after the other until told to stop.
async fn supervise(
    config: MinerConfig,
    solo: Option<Solo>,
    crew: Crew,
    mut shares: mpsc::Receiver<Share>,
    stats: Arc<Stats>,
    events: broadcast::Sender<Event>,
    mut stopped: watch::Receiver<bool>,
) -> Result<(), MinerError> {
    let result = tokio::select! {
        result = connect_again_and_again(&config, solo.as_ref(), &crew, &mut shares, &stats, &events) => result,
        // An error means that the handle is gone, which is to stop as well.
        _ = stopped.wait_for(|stop| *stop) => Ok(()),
    };
    stats.set_connected(false);
    // The receiver first: a thread may be waiting for room in the channel.
    drop(shares);
    // Joining the threads blocks, for some milliseconds.
    let _ = tokio::task::spawn_blocking(move || drop(crew)).await;
    result
}

async fn connect_again_and_again(
    config: &MinerConfig,
    solo: Option<&Solo>,
    crew: &Crew,
    shares: &mut mpsc::Receiver<Share>,
    stats: &Stats,
    events: &broadcast::Sender<Event>,
) -> Result<(), MinerError> {
    let login = Login {
        user: config.user.clone(),
        password: config.password.clone(),
        agent: config.agent.clone(),
        algorithm: config.algorithm,
        suggested: config
            .suggest_difficulty
            .and_then(|written| written_difficulty(config.algorithm, written)),
    };
    let mut url = config.url.clone();
    let mut sequence = 1;
    let mut tries = 0;
    let mut pause = FIRST_PAUSE;
    loop {
        let start = Instant::now();
        let mut client = Client::new(login.clone(), sequence, start);
        let mut station = Station { crew, shares, stats, events };
        let end = match solo {
            Some(solo) => match solo.mine(&mut station, &mut sequence).await {
                SoloEnd::Lost(reason) => End::Lost(reason),
                SoloEnd::Fatal(error) => return Err(error),
            },
            None => mine(&url, &mut client, &mut station).await,
        };

        // Shares of this connection are void on the next, whose extranonce 1 is another.
        crew.post(None);
        stats.set_connected(false);
        stats.add_lost(client.unanswered_shares());
        while shares.try_recv().is_ok() {
            // Alone, one block of each template is all there is to hand in.
            stats.add_lost(u64::from(solo.is_none()));
        }
        sequence = sequence.max(client.next_sequence());

        let (reason, wait) = match end {
            End::LoginRefused(reason) => {
                return Err(MinerError::LoginRefused { pool: url, user: login.user, reason });
            }
            End::Moved { to, wait } => {
                url = to;
                tries = 0;
                ("the pool asked to connect again".to_owned(), wait.min(MOVE_WAIT_MAX))
            }
            End::Lost(reason) => {
                if start.elapsed() >= GOOD_CONNECTION {
                    (tries, pause) = (0, FIRST_PAUSE);
                }
                tries += 1;
                if config.retries.is_some_and(|max| tries > max) {
                    return Err(MinerError::GaveUp { tries, reason });
                }
                let wait = pause.min(config.retry_pause_max);
                pause = (pause * 2).min(config.retry_pause_max);
                // A port that a pool moved us to may be gone with it.
                url = config.url.clone();
                (reason, wait)
            }
        };
        let retry_in_seconds = wait.as_secs_f64();
        // Nobody need be listening.
        let _ = events.send(Event::Disconnected { reason, retry_in_seconds });
        tokio::time::sleep(wait).await;
        stats.add_reconnect();
    }
}
