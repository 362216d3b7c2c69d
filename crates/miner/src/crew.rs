//! The search threads. [`crate::miner`] hires them, hands them work and takes it away; shares come back over a channel.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lode_pow::{ChainLength, PowAlgorithm, PrimeSearcher, Searcher};
use lode_stratum::Goal;
use tokio::sync::mpsc;

use crate::stats::Stats;
use crate::work::{Share, Unit, Work};

/// Shares found and not yet taken by the connection: enough for the shortest hiccup at the easiest difficulty. A
/// thread with one more waits.
pub(crate) const SHARES_WAITING_MAX: usize = 256;

/// What a thread searches with.
enum Engine {
    Hash(Searcher),
    Prime(PrimeSearcher),
}

impl Engine {
    fn new(algorithm: PowAlgorithm) -> Self {
        // Only prime chains have no search for hashes.
        Searcher::new(algorithm).map_or_else(|| Self::Prime(PrimeSearcher::new()), Self::Hash)
    }

    /// Nonces between two updates of the count: some hundredths of a second. One nonce in 420 is worth a sieve.
    fn slice(&self) -> u64 {
        match self {
            Self::Hash(searcher) if searcher.algorithm() == PowAlgorithm::Sha256d => 1 << 20,
            Self::Hash(_) | Self::Prime(_) => 480,
        }
    }

    /// Tries nonces from `first` on. Returns how many, and what was counted on the way: hashes, or numbers tested.
    fn search(
        &mut self,
        unit: &Arc<Unit>,
        work: &Arc<Work>,
        first: u64,
        mut found: impl FnMut(Share),
    ) -> (u64, u64) {
        let nonces = first..first + self.slice();
        let share = |nonce, achieved, multiplier| Share {
            work: Arc::clone(work),
            unit: Arc::clone(unit),
            nonce,
            achieved,
            multiplier,
        };
        match (self, work.goal) {
            (Self::Hash(searcher), Goal::Target(target)) => {
                let algorithm = searcher.algorithm();
                let tried = searcher.search(&unit.header, target, nonces, &work.stop, |hit| {
                    let achieved = algorithm.achieved_difficulty(&hit.hash).unwrap_or_default();
                    found(share(hit.nonce, achieved, None));
                });
                (tried, tried)
            }
            (Self::Prime(searcher), Goal::Length(target)) => {
                // What the network asks for is aimed at, whatever the pool counts on the way.
                let lengths = (ChainLength(work.job.bits), target);
                let done = searcher.search(&unit.header, lengths, nonces, &work.stop, |hit| {
                    found(share(hit.nonce, hit.chain.length.difficulty(), Some(hit.multiplier)));
                });
                (done.nonces, done.tests)
            }
            // A goal of the other kind is made nowhere.
            (Self::Hash(_), Goal::Length(_)) | (Self::Prime(_), Goal::Target(_)) => {
                (nonces.end - nonces.start, 0)
            }
        }
    }
}

/// Threads that search. Dropping it sends them home and waits for them, some milliseconds.
pub(crate) struct Crew {
    board: Arc<Board>,
    threads: Vec<JoinHandle<()>>,
}

/// Where the work to do hangs.
struct Board {
    posted: Mutex<Posted>,
    changed: Condvar,
}

#[derive(Default)]
struct Posted {
    work: Option<Arc<Work>>,
    closing: bool,
}

impl Crew {
    /// Starts `threads` threads, idle at first. `cpu_percent` below 100 makes each rest between slices.
    pub(crate) fn hire(
        algorithm: PowAlgorithm,
        threads: usize,
        cpu_percent: u8,
        stats: &Arc<Stats>,
        shares: &mpsc::Sender<Share>,
    ) -> Self {
        let board = Arc::new(Board { posted: Mutex::default(), changed: Condvar::new() });
        let mut crew = Self { board, threads: Vec::with_capacity(threads) };
        for i in 0..threads {
            let mut engine = Engine::new(algorithm);
            let (board, stats, shares) = (crew.board.clone(), stats.clone(), shares.clone());
            let body = move || {
                let mut last = 0;
                while let Some(work) = board.next_after(last) {
                    last = work.sequence;
                    search(&mut engine, &work, cpu_percent, &stats, &shares);
                }
            };
            let thread = std::thread::Builder::new().name(format!("search-{i}")).spawn(body);
            match thread {
                Ok(thread) => crew.threads.push(thread),
                Err(error) => tracing::warn!("no thread {} of {threads} to search with: {error}", i + 1),
            }
        }
        crew
    }

    /// Gives all threads this work, or none; they leave what they had within milliseconds.
    pub(crate) fn post(&self, work: Option<Arc<Work>>) {
        let mut posted = self.board.lock();
        if let Some(old) = std::mem::replace(&mut posted.work, work) {
            old.stop.store(true, Ordering::Relaxed);
        }
        self.board.changed.notify_all();
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.board.lock().closing = true;
        self.post(None);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a search thread panicked");
            }
        }
    }
}

impl Board {
    fn lock(&self) -> std::sync::MutexGuard<'_, Posted> {
        // Nothing that can panic runs under this lock.
        self.posted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for work with another sequence number than `last`; `None` when there will be no more.
    fn next_after(&self, last: u64) -> Option<Arc<Work>> {
        let mut posted = self.lock();
        loop {
            if posted.closing {
                return None;
            }
            if let Some(work) = posted.work.as_ref().filter(|work| work.sequence != last) {
                return Some(work.clone());
            }
            posted = self.changed.wait(posted).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Searches until the work is taken away or used up.
fn search(
    engine: &mut Engine,
    work: &Arc<Work>,
    cpu_percent: u8,
    stats: &Stats,
    shares: &mpsc::Sender<Share>,
) {
    while let Some(unit) = work.next_unit() {
        let unit = Arc::new(unit);
        let mut next = 0;
        while next < 1 << 32 {
            if work.stop.load(Ordering::Relaxed) {
                return;
            }
            let start = Instant::now();
            // The receiver is gone only when everything ends.
            let (tried, counted) = engine.search(&unit, work, next, |share| _ = shares.blocking_send(share));
            next += tried;
            stats.add_hashes(counted);
            rest(start.elapsed(), cpu_percent);
        }
    }
}

/// Sleeps so long that `busy` is `cpu_percent` of the whole.
fn rest(busy: Duration, cpu_percent: u8) {
    let percent = u32::from(cpu_percent.clamp(1, 100));
    if percent < 100 {
        std::thread::sleep(busy * (100 - percent) / percent);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_primitives::{BlockHash, Target, U256};
    use lode_stratum::{Difficulty, Notify};

    fn work(sequence: u64, goal: Goal) -> Arc<Work> {
        let job = Notify {
            job_id: sequence.to_string(),
            prev: BlockHash([3; 32]),
            coinbase1: vec![1],
            coinbase2: vec![2],
            branch: vec![],
            version: 0x2000_0000,
            bits: 0x0280_0000,
            time: 1000,
            clean_jobs: true,
        };
        Arc::new(Work::new(sequence, job, (vec![9; 4], 4), 0, (Difficulty::ONE, goal)))
    }

    #[test]
    fn threads_find_shares_of_the_work_posted_and_go_home() {
        let hash = Goal::Target(Target(U256::MAX >> 8));
        let chain = ChainLength(0x0180_0000);
        for (algorithm, goal) in [
            (PowAlgorithm::Sha256d, hash),
            (PowAlgorithm::Scrypt, hash),
            (PowAlgorithm::PrimeChain, Goal::Length(chain)),
        ] {
            let stats = Arc::new(Stats::default());
            let (sender, mut shares) = mpsc::channel(SHARES_WAITING_MAX);
            let crew = Crew::hire(algorithm, 2, 100, &stats, &sender);
            drop(sender);
            for sequence in 1..=2 {
                crew.post(Some(work(sequence, goal)));
                // Shares of the work before may still be in the channel.
                let share = std::iter::from_fn(|| shares.blocking_recv())
                    .find(|share| share.work.sequence == sequence)
                    .unwrap();
                let mut header = share.unit.header;
                header[76..].copy_from_slice(&share.nonce.to_le_bytes());
                match (algorithm.hash(&header), &share.multiplier) {
                    (Some(hash), None) => assert!(goal.is_met_by(&hash)),
                    (None, Some(multiplier)) => {
                        lode_pow::check_prime_chain(&header, multiplier, chain, 1).unwrap();
                    }
                    odd => panic!("{odd:?}"),
                }
            }
            shares.close();
            drop(crew);
        }
    }
}
