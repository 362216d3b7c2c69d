//! The search for nonces whose hash meets a target. Called by the miner, one [`Searcher`] per thread.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};

use lode_primitives::Target;

use crate::sha256d::{Prepared, block::Compressor};
use crate::{PowAlgorithm, Scrypt, ScryptKernel, Sha256dKernel};

/// SHA-256d nonces between two looks at the stop flag: about a millisecond's work.
const SHA256D_BATCH: u64 = 1 << 15;
/// scrypt nonces between two looks at the stop flag: a few milliseconds' work, and a multiple of every kernel's lanes.
const SCRYPT_BATCH: u64 = 48;

/// A nonce whose hash meets the target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// The nonce as a number; in the header it is little-endian at bytes 76 to 80.
    pub nonce: u32,
    /// The header's hash with it.
    pub hash: [u8; 32],
}

/// Tries nonces of one algorithm. Holds the kernel and its memory (2 MiB for scrypt at most): keep it, one per thread.
pub struct Searcher {
    engine: Engine,
}

enum Engine {
    Sha256d { kernel: Sha256dKernel, candidates: Vec<u32> },
    Scrypt(Box<Scrypt>),
}

impl Searcher {
    /// With the fastest kernel of this processor; `None` for prime chains, where a nonce is only where the search
    /// begins.
    pub fn new(algorithm: PowAlgorithm) -> Option<Self> {
        match algorithm {
            PowAlgorithm::Sha256d => Self::sha256d(Sha256dKernel::best()),
            PowAlgorithm::Scrypt => Self::scrypt(ScryptKernel::best()),
            PowAlgorithm::PrimeChain => None,
        }
    }

    /// SHA-256d with this kernel; `None` where the processor cannot run it.
    pub fn sha256d(kernel: Sha256dKernel) -> Option<Self> {
        let engine = Engine::Sha256d { kernel, candidates: Vec::new() };
        kernel.is_available().then_some(Self { engine })
    }

    /// scrypt with this kernel; `None` where the processor cannot run it.
    pub fn scrypt(kernel: ScryptKernel) -> Option<Self> {
        Some(Self { engine: Engine::Scrypt(Box::new(Scrypt::with_kernel(kernel)?)) })
    }

    /// What it searches for.
    pub fn algorithm(&self) -> PowAlgorithm {
        match self.engine {
            Engine::Sha256d { .. } => PowAlgorithm::Sha256d,
            Engine::Scrypt(_) => PowAlgorithm::Scrypt,
        }
    }

    /// Short name of the kernel in use, for people.
    pub fn kernel_name(&self) -> &'static str {
        match &self.engine {
            Engine::Sha256d { kernel, .. } => kernel.name(),
            Engine::Scrypt(scrypt) => scrypt.kernel().name(),
        }
    }

    /// Tries the `nonces` (those below 2^32) of `header` in order and gives each one that meets `target` to `found`,
    /// in order. The nonce in the header does not matter. Ends early, within milliseconds, once `stop` is true.
    ///
    /// Returns how many were tried: a search that was stopped continues at `nonces.start` plus that.
    pub fn search(
        &mut self,
        header: &[u8; 80],
        target: Target,
        nonces: Range<u64>,
        stop: &AtomicBool,
        mut found: impl FnMut(Found),
    ) -> u64 {
        let end = nonces.end.min(1 << 32);
        let mut next = nonces.start;
        while next < end && !stop.load(Ordering::Relaxed) {
            next += match &mut self.engine {
                Engine::Sha256d { kernel, candidates } => {
                    let count = SHA256D_BATCH.min(end - next);
                    let job = Prepared::new(header);
                    let limit = (target.0 >> 224usize).to::<u32>();
                    candidates.clear();
                    kernel.scan(&job, next as u32, count as u32, limit, candidates);
                    for &nonce in candidates.iter() {
                        let hash = job.hash(Compressor::best(), nonce);
                        // The kernel works by the lanes and may have gone past the end.
                        if u64::from(nonce.wrapping_sub(next as u32)) < count && target.is_met_by(&hash) {
                            found(Found { nonce, hash });
                        }
                    }
                    count
                }
                Engine::Scrypt(scrypt) => {
                    let count = SCRYPT_BATCH.min(end - next);
                    let mut headers = [*header; SCRYPT_BATCH as usize];
                    for (header, nonce) in headers.iter_mut().zip(next..) {
                        header[76..].copy_from_slice(&(nonce as u32).to_le_bytes());
                    }
                    scrypt.hash_each(&headers[..count as usize], |i, hash| {
                        if target.is_met_by(&hash) {
                            found(Found { nonce: (next + i as u64) as u32, hash });
                        }
                    });
                    count
                }
            };
        }
        next - nonces.start.min(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_primitives::U256;

    fn searchers() -> Vec<Searcher> {
        let sha = Sha256dKernel::ALL.into_iter().filter_map(Searcher::sha256d);
        let scrypt = ScryptKernel::ALL.into_iter().filter_map(Searcher::scrypt);
        sha.chain(scrypt).collect()
    }

    /// What a search must find, by hashing one by one.
    fn expected(
        algorithm: PowAlgorithm,
        header: &[u8; 80],
        target: Target,
        nonces: Range<u64>,
    ) -> Vec<Found> {
        let mut header = *header;
        nonces
            .filter_map(|nonce| {
                let nonce = nonce as u32;
                header[76..].copy_from_slice(&nonce.to_le_bytes());
                let hash = algorithm.hash(&header).unwrap();
                target.is_met_by(&hash).then_some(Found { nonce, hash })
            })
            .collect()
    }

    #[test]
    fn finds_all_and_only_what_meets_the_target() {
        let header = std::array::from_fn(|i| i as u8);
        let never = AtomicBool::new(false);
        for mut searcher in searchers() {
            // One in sixteen, one in 2^40, all.
            for (bits, nonces) in
                [(252usize, 5..177), (216, 0..40), (256, 0..19), (252, 0xffff_ffd0..1 << 32)]
            {
                let target = Target(U256::MAX >> (256 - bits));
                let mut found = Vec::new();
                let tried = searcher.search(&header, target, nonces.clone(), &never, |f| found.push(f));
                assert_eq!(tried, nonces.end - nonces.start);
                assert_eq!(
                    found,
                    expected(searcher.algorithm(), &header, target, nonces),
                    "{}",
                    searcher.kernel_name()
                );
            }
        }
    }

    #[test]
    fn finds_bitcoins_first_block() {
        let header = "0100000000000000000000000000000000000000000000000000000000000000000000003ba3edfd7a7b12b27ac72c3e\
                      67768f617fc81bc3888a51323a9fb8aa4b1e5e4a29ab5f49ffff001d00000000";
        let header: [u8; 80] = hex::decode(header.replace(' ', "")).unwrap().try_into().unwrap();
        let target = Target::from_compact(0x1d00_ffff).unwrap();
        let nonce = 2_083_236_893;
        for mut searcher in searchers().into_iter().filter(|s| s.algorithm() == PowAlgorithm::Sha256d) {
            let mut found = Vec::new();
            let around = nonce - 100..nonce + 100;
            searcher.search(&header, target, around, &AtomicBool::new(false), |f| found.push(f.nonce));
            assert_eq!(found, [nonce as u32], "{}", searcher.kernel_name());
        }
    }

    #[test]
    fn stops_when_told_and_says_where() {
        for mut searcher in searchers() {
            let stop = AtomicBool::new(false);
            // Every nonce meets this target; the first one found ends the search after its batch.
            let tried = searcher.search(&[0; 80], Target(U256::MAX), 7..1 << 32, &stop, |_| {
                stop.store(true, Ordering::Relaxed);
            });
            assert!((1..=SHA256D_BATCH).contains(&tried), "{tried}");
            assert_eq!(searcher.search(&[0; 80], Target(U256::MAX), 0..10, &stop, |_| ()), 0);
        }
    }

    #[test]
    fn an_empty_range_is_no_work() {
        for mut searcher in searchers() {
            let never = AtomicBool::new(false);
            #[allow(clippy::reversed_empty_ranges)]
            for nonces in [5..5, 9..3, 1 << 32..1 << 33] {
                assert_eq!(searcher.search(&[0; 80], Target(U256::MAX), nonces, &never, |_| panic!()), 0);
            }
        }
    }
}
