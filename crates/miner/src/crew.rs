//! The search threads. [`crate::miner`] hires them, hands them work and takes it away; shares come back over a channel.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lode_pow::{PowAlgorithm, Searcher};
use tokio::sync::mpsc;

use crate::stats::Stats;
use crate::work::{Share, Work};

/// Shares found and not yet taken by the connection: enough for the shortest hiccup at the easiest difficulty. A
/// thread with one more waits.
pub(crate) const SHARES_WAITING_MAX: usize = 256;

/// Nonces between two updates of the hash count: some hundredths of a second.
const fn slice(algorithm: PowAlgorithm) -> u64 {
    match algorithm {
        PowAlgorithm::Sha256d => 1 << 20,
        PowAlgorithm::Scrypt | PowAlgorithm::PrimeChain => 480,
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
    /// `None` where the algorithm has no nonce search.
    pub(crate) fn hire(
        algorithm: PowAlgorithm,
        threads: usize,
        cpu_percent: u8,
        stats: &Arc<Stats>,
        shares: &mpsc::Sender<Share>,
    ) -> Option<Self> {
        let board = Arc::new(Board { posted: Mutex::default(), changed: Condvar::new() });
        let mut crew = Self { board, threads: Vec::with_capacity(threads) };
        for i in 0..threads {
            let mut searcher = Searcher::new(algorithm)?;
            let (board, stats, shares) = (crew.board.clone(), stats.clone(), shares.clone());
            let body = move || {
                let mut last = 0;
                while let Some(work) = board.next_after(last) {
                    last = work.sequence;
                    search(&mut searcher, &work, cpu_percent, &stats, &shares);
                }
            };
            let thread = std::thread::Builder::new().name(format!("search-{i}")).spawn(body);
            match thread {
                Ok(thread) => crew.threads.push(thread),
                Err(error) => tracing::warn!("no thread {} of {threads} to search with: {error}", i + 1),
            }
        }
        Some(crew)
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
    searcher: &mut Searcher,
    work: &Arc<Work>,
    cpu_percent: u8,
    stats: &Stats,
    shares: &mpsc::Sender<Share>,
) {
    let slice = slice(searcher.algorithm());
    while let Some(unit) = work.next_unit() {
        let unit = Arc::new(unit);
        let mut next = 0;
        while next < 1 << 32 {
            if work.stop.load(Ordering::Relaxed) {
                return;
            }
            let start = Instant::now();
            let tried = searcher.search(&unit.header, work.target, next..next + slice, &work.stop, |found| {
                let share =
                    Share { work: work.clone(), unit: unit.clone(), nonce: found.nonce, hash: found.hash };
                // The receiver is gone only when everything ends.
                let _ = shares.blocking_send(share);
            });
            next += tried;
            stats.add_hashes(tried);
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

    fn work(sequence: u64) -> Arc<Work> {
        let job = Notify {
            job_id: sequence.to_string(),
            prev: BlockHash([3; 32]),
            coinbase1: vec![1],
            coinbase2: vec![2],
            branch: vec![],
            version: 0x2000_0000,
            bits: 0x207f_ffff,
            time: 1000,
            clean_jobs: true,
        };
        let target = Target(U256::MAX >> 8);
        Arc::new(Work::new(sequence, job, (vec![9; 4], 4), 0, (Difficulty::ONE, target)))
    }

    #[test]
    fn threads_find_shares_of_the_work_posted_and_go_home() {
        for algorithm in [PowAlgorithm::Sha256d, PowAlgorithm::Scrypt] {
            let stats = Arc::new(Stats::default());
            let (sender, mut shares) = mpsc::channel(SHARES_WAITING_MAX);
            let crew = Crew::hire(algorithm, 2, 100, &stats, &sender).unwrap();
            drop(sender);
            for sequence in 1..=2 {
                crew.post(Some(work(sequence)));
                // Shares of the work before may still be in the channel.
                let share = std::iter::from_fn(|| shares.blocking_recv())
                    .find(|share| share.work.sequence == sequence)
                    .unwrap();
                let mut header = share.unit.header;
                header[76..].copy_from_slice(&share.nonce.to_le_bytes());
                assert_eq!(algorithm.hash(&header), Some(share.hash));
                assert!(share.work.target.is_met_by(&share.hash));
            }
            shares.close();
            drop(crew);
        }
        assert!(Crew::hire(PowAlgorithm::PrimeChain, 1, 100, &Arc::default(), &mpsc::channel(1).0).is_none());
    }
}
