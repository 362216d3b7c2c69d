//! How much to pay: an estimator that learns from what the mempool's transactions waited.
//!
//! Every transaction that enters the mempool is remembered with its feerate and the height it came at. When a block
//! has it, its wait in blocks goes into the bucket of its feerate. Buckets forget: each block takes 0.2 % off every
//! count, so a count's half-life is 346 blocks, some two and a half days.
//!
//! An estimate for a target of `n` blocks walks down from the dearest bucket, joining neighbours until there is
//! enough to judge, and takes the cheapest group of which at least 95 % (85 % where asked to be economical) were mined
//! within `n` blocks. Transactions that wait in the mempool for longer than `n` count as failures; those that left
//! it otherwise (replaced, evicted, expired) are forgotten.
//!
//! The caller (`node`) tells it of every transaction that came, went, or was mined; it does no IO but for
//! [`FeeEstimator::load`] and [`FeeEstimator::save`].

use std::collections::HashMap;
use std::path::Path;

use lode_primitives::{Height, Txid};
use serde::{Deserialize, Serialize};

/// Longest target learnt about, in blocks: a day.
pub(crate) const TARGET_MAX: usize = 144;
/// Lowest bucket's lower edge, satoshi per 1,000 virtual bytes.
const FEERATE_MIN: f64 = 100.0;
/// A bucket's edge over its lower neighbour's.
const SPACING: f64 = 1.15;
/// Buckets; the last begins near 0.1 coins per 1,000 virtual bytes.
const BUCKETS: usize = 84;
/// What a block leaves of every count.
const DECAY: f64 = 0.998;
/// Transactions a group of buckets needs before it is judged.
const ENOUGH: f64 = 5.0;
/// Transactions followed at one time: a full mempool of small ones. More are not learnt from.
const TRACKED_MAX: usize = 500_000;

/// How sure an estimate should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Confidence {
    /// 85 % of such transactions made it.
    Economical,
    /// 95 % of such transactions made it.
    Conservative,
}

impl Confidence {
    const fn share(self) -> f64 {
        match self {
            Self::Economical => 0.85,
            Self::Conservative => 0.95,
        }
    }
}

/// What was seen at one range of feerates, forgotten a little with every block.
#[derive(Clone, Serialize, Deserialize)]
struct Bucket {
    /// Transactions mined.
    mined: f64,
    /// Sum of their feerates.
    feerates: f64,
    /// How many of them within 1, 2, ... blocks.
    within: Vec<f64>,
}

/// A transaction in the mempool.
#[derive(Clone, Copy)]
struct Waiting {
    since: Height,
    bucket: usize,
    feerate: f64,
}

/// Learns what the mempool's transactions waited, and tells what to pay.
pub(crate) struct FeeEstimator {
    buckets: Vec<Bucket>,
    waiting: HashMap<Txid, Waiting>,
    height: Height,
}

/// What is kept on disk.
#[derive(Serialize, Deserialize)]
struct Saved {
    height: Height,
    buckets: Vec<Bucket>,
}

fn bucket_of(feerate: f64) -> usize {
    if feerate <= FEERATE_MIN {
        return 0;
    }
    (((feerate / FEERATE_MIN).ln() / SPACING.ln()) as usize).min(BUCKETS - 1)
}

impl FeeEstimator {
    /// One that knows nothing, at a chain of `height`.
    pub(crate) fn new(height: Height) -> Self {
        let empty = Bucket { mined: 0.0, feerates: 0.0, within: vec![0.0; TARGET_MAX] };
        Self { buckets: vec![empty; BUCKETS], waiting: HashMap::new(), height }
    }

    /// What was saved in `path`, if it is there, whole, and of this form; else one that knows nothing.
    pub(crate) fn load(path: &Path, height: Height) -> Self {
        let mut fresh = Self::new(height);
        let Ok(bytes) = std::fs::read(path) else { return fresh };
        let sane = |saved: &Saved| {
            saved.buckets.len() == BUCKETS
                && saved.buckets.iter().all(|bucket| {
                    bucket.within.len() == TARGET_MAX && bucket.mined.is_finite() && bucket.mined >= 0.0
                })
        };
        match serde_json::from_slice::<Saved>(&bytes) {
            Ok(saved) if sane(&saved) => {
                fresh.buckets = saved.buckets;
                let missed = height.saturating_sub(saved.height);
                fresh.forget(DECAY.powi(i32::try_from(missed).unwrap_or(i32::MAX)));
            }
            _ => tracing::warn!(path = %path.display(), "fee estimates cannot be read; starting afresh"),
        }
        fresh
    }

    /// Writes what was learnt to `path`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn save(&self, path: &Path) -> std::io::Result<()> {
        let saved = Saved { height: self.height, buckets: self.buckets.clone() };
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, serde_json::to_vec(&saved)?)?;
        std::fs::rename(&temporary, path)
    }

    /// A transaction came into the mempool at its feerate in satoshi per 1,000 virtual bytes.
    pub(crate) fn entered(&mut self, txid: Txid, feerate: u64) {
        if self.waiting.len() < TRACKED_MAX {
            let feerate = feerate as f64;
            let waiting = Waiting { since: self.height, bucket: bucket_of(feerate), feerate };
            self.waiting.insert(txid, waiting);
        }
    }

    /// A transaction left the mempool without being mined.
    pub(crate) fn left(&mut self, txid: &Txid) {
        self.waiting.remove(txid);
    }

    /// A block was connected at `height` with these transactions.
    pub(crate) fn connected(&mut self, height: Height, txids: impl IntoIterator<Item = Txid>) {
        if height <= self.height {
            // A block of a reorganisation: its transactions' waits say nothing about fees.
            for txid in txids {
                self.waiting.remove(&txid);
            }
            return;
        }
        self.height = height;
        self.forget(DECAY);
        for txid in txids {
            let Some(seen) = self.waiting.remove(&txid) else { continue };
            let waited = (height.saturating_sub(seen.since) as usize).max(1);
            let bucket = &mut self.buckets[seen.bucket];
            bucket.mined += 1.0;
            bucket.feerates += seen.feerate;
            for count in bucket.within.iter_mut().skip(waited - 1) {
                *count += 1.0;
            }
        }
    }

    fn forget(&mut self, factor: f64) {
        for bucket in &mut self.buckets {
            bucket.mined *= factor;
            bucket.feerates *= factor;
            for count in &mut bucket.within {
                *count *= factor;
            }
        }
    }

    /// The feerate, in satoshi per 1,000 virtual bytes, at which a transaction is mined within `target` blocks (at
    /// most [`TARGET_MAX`]) with this confidence; `None` where too little was seen.
    pub(crate) fn estimate(&self, target: usize, confidence: Confidence) -> Option<u64> {
        let target = target.clamp(1, TARGET_MAX);
        let mut late = vec![0.0; BUCKETS];
        for waiting in self.waiting.values() {
            if self.height.saturating_sub(waiting.since) as usize >= target {
                late[waiting.bucket] += 1.0;
            }
        }
        let mut best = None;
        let (mut mined, mut within, mut failed, mut feerates) = (0.0, 0.0, 0.0, 0.0);
        for (bucket, late) in self.buckets.iter().zip(&late).rev() {
            mined += bucket.mined;
            within += bucket.within[target - 1];
            feerates += bucket.feerates;
            failed += late;
            if mined + failed < ENOUGH {
                continue;
            }
            if within < confidence.share() * (mined + failed) {
                break;
            }
            best = Some((feerates / mined).round() as u64);
            (mined, within, failed, feerates) = (0.0, 0.0, 0.0, 0.0);
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn txid(n: u32) -> Txid {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&n.to_le_bytes());
        Txid(bytes)
    }

    /// Each block: ten at 20,000 mined at once, ten at 3,000 mined five blocks later, ten at 500 never.
    fn taught() -> FeeEstimator {
        let mut fees = FeeEstimator::new(100);
        let mut slow: Vec<Vec<Txid>> = Vec::new();
        for n in 0..100u32 {
            let id = |kind: u32, i: u32| txid(n * 1_000 + kind * 100 + i);
            let mut mined: Vec<Txid> = (0..10).map(|i| id(0, i)).collect();
            for tx in &mined {
                fees.entered(*tx, 20_000);
            }
            slow.push((0..10).map(|i| id(1, i)).collect());
            for tx in slow.last().unwrap() {
                fees.entered(*tx, 3_000);
            }
            for i in 0..10 {
                fees.entered(id(2, i), 500);
            }
            if let Some(old) = slow.len().checked_sub(5).and_then(|i| slow.get(i)) {
                mined.extend(old);
            }
            fees.connected(101 + n, mined);
        }
        fees
    }

    #[test]
    fn the_cheapest_that_makes_it_is_told() {
        let fees = taught();
        assert_eq!(fees.estimate(1, Confidence::Conservative), Some(20_000));
        assert_eq!(fees.estimate(4, Confidence::Conservative), Some(20_000));
        assert_eq!(fees.estimate(10, Confidence::Conservative), Some(3_000));
        assert_eq!(fees.estimate(10, Confidence::Economical), Some(3_000));
    }

    #[test]
    fn what_never_saw_a_block_says_nothing() {
        let mut fees = FeeEstimator::new(0);
        assert_eq!(fees.estimate(6, Confidence::Economical), None);
        for n in 0..100 {
            fees.entered(txid(n), 5_000);
        }
        assert_eq!(fees.estimate(6, Confidence::Economical), None);
    }

    #[test]
    fn saved_and_loaded_it_tells_the_same_and_damage_is_survived() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("fee_estimates.json");
        let fees = taught();
        fees.save(&path).unwrap();
        let loaded = FeeEstimator::load(&path, fees.height);
        assert_eq!(loaded.estimate(1, Confidence::Conservative), Some(20_000));
        std::fs::write(&path, b"{\"height\":1,\"buckets\":[]}").unwrap();
        assert_eq!(FeeEstimator::load(&path, 5).estimate(1, Confidence::Economical), None);
    }
}
