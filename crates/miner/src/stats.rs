//! What a miner has done so far. Written by its threads and its connection, read by whoever shows it.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use lode_pow::PowAlgorithm;

/// Longest window over which a hash rate is asked for.
const WINDOW_MAX: Duration = Duration::from_secs(60);
/// Least time between two marks kept for the windows.
const MARK_SPACING: Duration = Duration::from_millis(500);

/// Counters, all since the start.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    hashes: AtomicU64,
    accepted: AtomicU64,
    refused: AtomicU64,
    stale: AtomicU64,
    lost: AtomicU64,
    connected: AtomicBool,
    reconnects: AtomicU64,
    /// Bits of the share difficulty (f64).
    difficulty: AtomicU64,
    /// Bits of the sum of the difficulties of accepted shares (f64); one writer.
    credited: AtomicU64,
    /// Bits of the greatest difficulty achieved (f64); one writer.
    best: AtomicU64,
    marks: Mutex<VecDeque<(Instant, u64)>>,
    counted: Counted,
}

/// What is counted as hashes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Counted {
    /// Hashes.
    #[default]
    Hashes,
    /// Numbers tested for being prime.
    Tests,
}

/// A look at a miner's counters.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Snapshot {
    /// Logged in at the pool.
    pub connected: bool,
    /// What `hashes` are: on prime chains numbers tested.
    pub counted: Counted,
    /// Hashes tried since the start.
    pub hashes: u64,
    /// Hashes a second over the last ten seconds.
    pub hashes_per_second_10s: f64,
    /// Hashes a second over the last minute.
    pub hashes_per_second_60s: f64,
    /// Shares the pool took.
    pub accepted: u64,
    /// Shares the pool refused, stale ones among them.
    pub refused: u64,
    /// Of the refused: found for a job that was over.
    pub stale: u64,
    /// Shares found and never answered, because the connection broke or the job ended before they were sent.
    pub lost: u64,
    /// Difficulty of the shares asked for now.
    pub difficulty: f64,
    /// Sum of the difficulties of the accepted shares: what the pool credits.
    pub credited_difficulty: f64,
    /// Greatest difficulty a share found here achieved.
    pub best_difficulty: f64,
    /// Connections made after the first.
    pub reconnects: u64,
}

impl Stats {
    /// Counters of a miner with this algorithm.
    pub(crate) fn new(algorithm: PowAlgorithm) -> Self {
        let counted = match algorithm {
            PowAlgorithm::PrimeChain => Counted::Tests,
            _ => Counted::Hashes,
        };
        Self { counted, ..Self::default() }
    }

    pub(crate) fn add_hashes(&self, hashes: u64) {
        self.hashes.fetch_add(hashes, Ordering::Relaxed);
    }

    pub(crate) fn set_connected(&self, connected: bool) {
        self.connected.store(connected, Ordering::Relaxed);
    }

    pub(crate) fn add_reconnect(&self) {
        self.reconnects.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn add_lost(&self, shares: u64) {
        self.lost.fetch_add(shares, Ordering::Relaxed);
    }

    pub(crate) fn set_difficulty(&self, difficulty: f64) {
        self.difficulty.store(difficulty.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn add_accepted(&self, difficulty: f64) {
        self.accepted.fetch_add(1, Ordering::Relaxed);
        let sum = load(&self.credited) + difficulty;
        self.credited.store(sum.to_bits(), Ordering::Relaxed);
    }

    pub(crate) fn add_refused(&self, stale: bool) {
        self.refused.fetch_add(1, Ordering::Relaxed);
        self.stale.fetch_add(u64::from(stale), Ordering::Relaxed);
    }

    pub(crate) fn offer_best(&self, difficulty: f64) {
        if difficulty > load(&self.best) {
            self.best.store(difficulty.to_bits(), Ordering::Relaxed);
        }
    }

    /// Keeps a mark of the hash count for the windows' rates. To be called about once a second.
    pub(crate) fn mark(&self, now: Instant) {
        let mut marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        if marks.back().is_some_and(|(last, _)| now.duration_since(*last) < MARK_SPACING) {
            return;
        }
        marks.push_back((now, self.hashes.load(Ordering::Relaxed)));
        // One mark older than the window stays, so that the window is covered.
        while marks.get(1).is_some_and(|(second, _)| now.duration_since(*second) >= WINDOW_MAX) {
            marks.pop_front();
        }
    }

    /// Hashes a second between the mark nearest before `window` ago and now.
    fn rate(&self, now: Instant, window: Duration) -> f64 {
        let marks = self.marks.lock().unwrap_or_else(PoisonError::into_inner);
        let before = marks.iter().rev().find(|(at, _)| now.duration_since(*at) >= window).or(marks.front());
        let Some(&(at, hashes)) = before else { return 0.0 };
        let seconds = now.duration_since(at).as_secs_f64();
        if seconds <= 0.0 { 0.0 } else { (self.hashes.load(Ordering::Relaxed) - hashes) as f64 / seconds }
    }

    pub(crate) fn snapshot(&self, now: Instant) -> Snapshot {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Snapshot {
            connected: self.connected.load(Ordering::Relaxed),
            counted: self.counted,
            hashes: count(&self.hashes),
            hashes_per_second_10s: self.rate(now, Duration::from_secs(10)),
            hashes_per_second_60s: self.rate(now, WINDOW_MAX),
            accepted: count(&self.accepted),
            refused: count(&self.refused),
            stale: count(&self.stale),
            lost: count(&self.lost),
            difficulty: load(&self.difficulty),
            credited_difficulty: load(&self.credited),
            best_difficulty: load(&self.best),
            reconnects: count(&self.reconnects),
        }
    }
}

fn load(bits: &AtomicU64) -> f64 {
    f64::from_bits(bits.load(Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_over_their_windows() {
        let stats = Stats::default();
        let start = Instant::now();
        // 100 a second for two minutes, then 200 a second for twenty seconds.
        for second in 0..140 {
            stats.mark(start + Duration::from_secs(second));
            stats.add_hashes(if second < 120 { 100 } else { 200 });
        }
        let now = start + Duration::from_secs(140);
        let seen = stats.snapshot(now);
        assert_eq!(seen.hashes, 16_000);
        assert!((seen.hashes_per_second_10s - 200.0).abs() < 1e-9, "{seen:?}");
        assert!((seen.hashes_per_second_60s - 8_000.0 / 60.0).abs() < 1e-9, "{seen:?}");
        assert!(stats.marks.lock().unwrap().len() <= 62);
    }

    #[test]
    fn shares_are_counted() {
        let stats = Stats::default();
        stats.add_accepted(0.5);
        stats.add_accepted(2.0);
        stats.add_refused(true);
        stats.add_refused(false);
        stats.offer_best(7.0);
        stats.offer_best(3.0);
        let seen = stats.snapshot(Instant::now());
        assert_eq!((seen.accepted, seen.refused, seen.stale), (2, 2, 1));
        assert_eq!((seen.credited_difficulty, seen.best_difficulty), (2.5, 7.0));
    }
}
