//! What several tests of the books need.

#![allow(dead_code, clippy::unwrap_used, unreachable_pub)]

use std::sync::Arc;

use lode_ledger::{Credit, Ledger, LedgerOptions, Share, TemplateRef, Worker};
use lode_primitives::BlockHash;

/// Some time, Unix milliseconds.
pub const NOW: u64 = 1_700_000_000_000;

/// Options for a test: nothing is synced behind its back.
pub fn options(dir: &std::path::Path) -> LedgerOptions {
    let mut options = LedgerOptions::new(dir, "bitcoin/regtest");
    options.log.sync_every = None;
    options
}

/// The script of account `n`.
pub fn script(n: u32) -> Vec<u8> {
    let mut script = vec![0, 20];
    script.extend_from_slice(&[7; 16]);
    // Most significant first, so that scripts are in the order of the numbers.
    script.extend_from_slice(&n.to_be_bytes());
    script
}

/// The only worker of account `n`.
pub fn miner(ledger: &mut Ledger, n: u32) -> Arc<Worker> {
    ledger.worker(&format!("miner{n}"), &script(n), "rig").unwrap()
}

/// A template at difficulty 1000.
pub fn template(height: u32, prev: BlockHash) -> Arc<TemplateRef> {
    TemplateRef::new(height, prev, 1000.0)
}

/// A share of `units`.
pub fn share(worker: &Arc<Worker>, template: &Arc<TemplateRef>, units: u64, time_ms: u64) -> Share {
    Share {
        worker: Arc::clone(worker),
        template: Arc::clone(template),
        credit: Credit::from_units(units),
        time_ms,
    }
}

/// A stream of numbers that is the same every time (SplitMix64).
pub struct Random(pub u64);

impl Random {
    /// The next number.
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Below `n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// In 0..1.
    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A Poisson number of mean `mean` (Knuth's method; for small means).
    pub fn poisson(&mut self, mean: f64) -> u64 {
        let limit = (-mean).exp();
        let mut product = self.unit();
        let mut n = 0;
        while product > limit {
            product *= self.unit();
            n += 1;
        }
        n
    }

    /// A hash.
    pub fn hash(&mut self) -> BlockHash {
        let mut hash = BlockHash::ZERO;
        hash.0.chunks_exact_mut(8).for_each(|chunk| chunk.copy_from_slice(&self.next().to_le_bytes()));
        hash
    }
}
