//! Work in the form the search threads take it: made by [`crate::client`] of a pool's job, taken apart into one header
//! per nonce range, and put together again as a share.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use lode_primitives::{Multiplier, merkle, sha256d};
use lode_stratum::{Difficulty, Goal, Notify};

/// How far a header's time may run ahead of its job's, in seconds: pools refuse more than 7,000.
const TIME_ROLL_MAX: u64 = 6_000;

/// A job with all that a connection adds to it.
#[derive(Debug)]
pub(crate) struct Work {
    /// Counts the jobs of this miner upwards.
    pub(crate) sequence: u64,
    pub(crate) job: Notify,
    pub(crate) extranonce1: Vec<u8>,
    pub(crate) extranonce2_size: usize,
    /// Version bits that may be rolled; 0 where version rolling was not agreed on.
    pub(crate) version_mask: u32,
    pub(crate) difficulty: Difficulty,
    /// What a share must reach.
    pub(crate) goal: Goal,
    /// Set when other work takes its place: the threads leave it within milliseconds.
    pub(crate) stop: AtomicBool,
    next_unit: AtomicU64,
}

/// One header to search through, with all but the nonce settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unit {
    pub(crate) header: [u8; 80],
    pub(crate) extranonce2: Vec<u8>,
    pub(crate) time: u32,
    /// The rolled bits alone; `None` where version rolling was not agreed on.
    pub(crate) version_bits: Option<u32>,
}

/// A hash found to meet the share target, or a chain long enough.
#[derive(Clone, Debug)]
pub(crate) struct Share {
    pub(crate) work: Arc<Work>,
    pub(crate) unit: Arc<Unit>,
    pub(crate) nonce: u32,
    /// The difficulty it achieved.
    pub(crate) achieved: f64,
    /// On a prime chain the multiplier.
    pub(crate) multiplier: Option<Multiplier>,
}

impl Work {
    pub(crate) fn new(
        sequence: u64,
        job: Notify,
        (extranonce1, extranonce2_size): (Vec<u8>, usize),
        version_mask: u32,
        (difficulty, goal): (Difficulty, Goal),
    ) -> Self {
        Self {
            sequence,
            job,
            extranonce1,
            extranonce2_size,
            version_mask,
            difficulty,
            goal,
            stop: AtomicBool::new(false),
            next_unit: AtomicU64::new(0),
        }
    }

    /// The next header nobody has searched yet; `None` once the job is used up (2^32 nonces for each version, each
    /// extranonce 2 and each second allowed).
    pub(crate) fn next_unit(&self) -> Option<Unit> {
        self.unit(self.next_unit.fetch_add(1, Ordering::Relaxed))
    }

    /// Unit `n`: version bits count fastest, then extranonce 2, then the time.
    fn unit(&self, n: u64) -> Option<Unit> {
        let versions = 1u64 << self.version_mask.count_ones().min(31);
        let (n, rolled) = (n / versions, scatter((n % versions) as u32, self.version_mask));
        let extranonces =
            u32::try_from(8 * self.extranonce2_size).ok().and_then(|bits| 1u64.checked_shl(bits));
        let (seconds, counter) = match extranonces {
            Some(all) => (n / all, n % all),
            None => (0, n),
        };
        if seconds > TIME_ROLL_MAX {
            return None;
        }
        let time = self.job.time.checked_add(seconds as u32)?;
        let mut extranonce2 = vec![0; self.extranonce2_size];
        for (to, from) in extranonce2.iter_mut().rev().zip(counter.to_le_bytes()) {
            *to = from;
        }
        // The mask's bits of the job's own version give way to the rolled ones, as BIP310 says.
        let version = self.job.version & !self.version_mask | rolled;

        let coinbase =
            [&self.job.coinbase1[..], &self.extranonce1, &extranonce2, &self.job.coinbase2].concat();
        let root = merkle::root_from_branch(sha256d(&coinbase), &self.job.branch, 0);
        let mut header = [0; 80];
        header[0..4].copy_from_slice(&version.to_le_bytes());
        header[4..36].copy_from_slice(self.job.prev.as_bytes());
        header[36..68].copy_from_slice(root.as_bytes());
        header[68..72].copy_from_slice(&time.to_le_bytes());
        header[72..76].copy_from_slice(&self.job.bits.to_le_bytes());
        let version_bits = (self.version_mask != 0).then_some(rolled);
        Some(Unit { header, extranonce2, time, version_bits })
    }
}

/// Spreads the low bits of `value` over the places that are set in `mask`.
fn scatter(mut value: u32, mask: u32) -> u32 {
    let mut out = 0;
    for place in (0..32).filter(|place| mask >> place & 1 == 1) {
        out |= (value & 1) << place;
        value >>= 1;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_primitives::{BlockHash, Target, U256};
    use std::collections::HashSet;

    fn work(extranonce2_size: usize, version_mask: u32) -> Work {
        let job = Notify {
            job_id: "1".into(),
            prev: BlockHash([3; 32]),
            coinbase1: vec![1, 2, 3],
            coinbase2: vec![4, 5],
            branch: vec![[7; 32], [8; 32]],
            version: 0x2000_0000,
            bits: 0x207f_ffff,
            time: 1000,
            clean_jobs: true,
        };
        Work::new(
            1,
            job,
            (vec![9; 4], extranonce2_size),
            version_mask,
            (Difficulty::ONE, Goal::Target(Target(U256::MAX))),
        )
    }

    #[test]
    fn headers_are_built_as_a_pool_checks_them() {
        let unit = work(4, 0).unit(0x0102).unwrap();
        assert_eq!(unit.extranonce2, [0, 0, 1, 2]);
        assert_eq!(unit.version_bits, None);
        let leaf = sha256d(&[1, 2, 3, 9, 9, 9, 9, 0, 0, 1, 2, 4, 5]);
        let root = merkle::parent(&merkle::parent(&leaf, &[7; 32]), &[8; 32]);
        assert_eq!(unit.header[36..68], root);
        assert_eq!(unit.header[..4], [0, 0, 0, 0x20]);
        assert_eq!(unit.header[68..], [0xe8, 3, 0, 0, 0xff, 0xff, 0x7f, 0x20, 0, 0, 0, 0]);
    }

    #[test]
    fn no_header_comes_twice() {
        for (size, mask) in [(1, 0), (1, 0x6000), (0, 0x2000), (8, 0x1fff_e000)] {
            let work = work(size, mask);
            let headers: Vec<_> =
                (0..1500).filter_map(|_| work.next_unit()).map(|unit| unit.header).collect();
            assert_eq!(headers.len(), 1500);
            assert_eq!(headers.iter().collect::<HashSet<_>>().len(), 1500, "{size} {mask:x}");
        }
    }

    #[test]
    fn rolled_bits_stay_in_the_mask() {
        let work = work(8, 0x1fff_e000);
        for n in [0, 1, 0xffff, 0x1_0000, u64::MAX] {
            let unit = work.unit(n).unwrap();
            let bits = unit.version_bits.unwrap();
            assert_eq!(bits & !0x1fff_e000, 0);
            assert_eq!(u32::from_le_bytes(unit.header[..4].try_into().unwrap()), 0x2000_0000 | bits);
        }
    }

    #[test]
    fn a_job_without_room_is_used_up() {
        let work = work(0, 0);
        assert_eq!(work.unit(TIME_ROLL_MAX).unwrap().time, 7000);
        assert_eq!(work.unit(TIME_ROLL_MAX + 1), None);
    }
}
