//! The check of one share: stale, duplicate, below target, block?
//!
//! [`Jobs`] is a front thread's own table of live jobs, so that a check takes no lock. A share can only be a duplicate
//! within its connection (extranonce 1 is never given twice), and a connection belongs to one thread, so the sets of shares seen
//! are the thread's own as well. They are bounded, and go with their job. Prime chains are the exception: one chain can be
//! handed in under several headers, so all threads share one table of chains seen ([`Origins`]).

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::Arc;

use lode_pow::{ChainLength, Origin, PowAlgorithm, PrimeChainError};
use lode_primitives::Multiplier;
use lode_stratum::{Goal, Reject};

use crate::job::{ClassJob, Job, Solution};
use crate::origins::Origins;

/// Jobs of one block height kept at most: at one each 30 seconds, six minutes.
const LIVE_MAX: usize = 12;
/// Void jobs (of the block before) kept: their shares are stale, but a block among them is still sent to the nodes.
const VOID_MAX: usize = 2;
/// Shares remembered per job and thread: 1.4 million a minute fill it, at 10 to 20 bytes each. When full, the job is
/// as good as stale.
const SEEN_MAX: usize = 1 << 22;

/// A job a thread serves shares of.
#[derive(Debug)]
struct Live {
    job: Arc<Job>,
    seen: HashSet<u64, BuildHasherDefault<AsIs>>,
    void: bool,
}

/// A thread's live jobs, the newest last.
#[derive(Debug)]
pub struct Jobs {
    live: VecDeque<Live>,
    pow: PowAlgorithm,
    keys: RandomState,
    origins: Arc<Origins>,
    scratch: Vec<u8>,
}

/// A share that was good for something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checked {
    /// To be answered as accepted or refused.
    pub result: Result<(), Reject>,
    /// It is a block, whatever the answer.
    pub is_block: bool,
    /// The length of its chain, where it is one long enough.
    pub length: Option<ChainLength>,
}

impl Jobs {
    /// No jobs yet. `origins` is the table that all threads share.
    pub fn new(pow: PowAlgorithm, origins: Arc<Origins>) -> Self {
        let (live, keys, scratch) = (VecDeque::new(), RandomState::new(), Vec::with_capacity(16_384));
        Self { live, pow, keys, origins, scratch }
    }

    /// The newest job.
    pub fn current(&self) -> Option<&Arc<Job>> {
        self.live.back().map(|live| &live.job)
    }

    /// The oldest job whose shares are not stale; with no job, the highest number.
    pub fn oldest(&self) -> u32 {
        self.live.iter().find(|live| !live.void).map_or(u32::MAX, |live| live.job.seq)
    }

    /// A new job; where it says `clean`, all before it are void.
    pub fn push(&mut self, job: Arc<Job>) {
        if job.clean {
            self.live.iter_mut().for_each(|live| {
                live.void = true;
                live.seen = HashSet::default();
            });
            while self.live.len() > VOID_MAX {
                self.live.pop_front();
            }
        }
        while self.live.len() >= LIVE_MAX {
            self.live.pop_front();
        }
        self.live.push_back(Live { job, seen: HashSet::default(), void: false });
    }

    /// The job of this number, void ones too.
    pub fn find(&self, seq: u32) -> Option<&Arc<Job>> {
        // From the newest: nearly all shares are of the last two.
        self.live.iter().rev().find(|live| live.job.seq == seq).map(|live| &live.job)
    }

    /// Checks a solution of job `seq`, given as the class that its session was sent it in, against what a share must reach.
    pub fn check(&mut self, seq: u32, class: &ClassJob, solution: &Solution, goal: Goal) -> Checked {
        let refused = |reject| Checked { result: Err(reject), is_block: false, length: None };
        let Some(live) = self.live.iter_mut().rev().find(|live| live.job.seq == seq) else {
            return refused(Reject::Stale);
        };
        let key = self.keys.hash_one(solution);
        if live.seen.contains(&key) {
            return refused(Reject::Duplicate);
        }
        if live.seen.len() >= SEEN_MAX {
            return refused(Reject::Stale);
        }
        let header = live.job.header(class, solution, &mut self.scratch);
        let reached = match (goal, live.job.network_goal) {
            (Goal::Target(target), Goal::Target(network)) => {
                let Some(hash) = self.pow.hash(&header) else { return refused(Reject::Unavailable) };
                let is_block = network.is_met_by(&hash);
                if is_block || target.is_met_by(&hash) {
                    Ok((is_block, None))
                } else {
                    Err(Reject::LowDifficulty)
                }
            }
            (Goal::Length(target), Goal::Length(network)) => {
                let multiplier = solution.multiplier.as_ref();
                chain(&header, multiplier, target.min(network), &self.origins)
                    .map(|length| (length >= network, Some(length)))
            }
            _ => Err(Reject::Unavailable),
        };
        let (is_block, length) = match reached {
            Ok(reached) => reached,
            Err(Reject::LowDifficulty) if live.void => return refused(Reject::Stale),
            Err(reject) => return refused(reject),
        };
        live.seen.insert(key);
        Checked { result: if live.void { Err(Reject::Stale) } else { Ok(()) }, is_block, length }
    }

    /// Shares remembered, over all jobs.
    pub fn remembered(&self) -> usize {
        self.live.iter().map(|live| live.seen.len()).sum()
    }
}

/// The length of a chain not seen before that is at least `target` long.
fn chain(
    header: &[u8; 80],
    multiplier: Option<&Multiplier>,
    target: ChainLength,
    origins: &Origins,
) -> Result<ChainLength, Reject> {
    let multiplier = multiplier.ok_or(Reject::Malformed)?;
    let origin = Origin::new(header, multiplier).map_err(|_| Reject::LowDifficulty)?;
    // Cheaper than the check, and what a flood of copies runs into.
    let run = origin.odd_part();
    if origins.has(&run) {
        return Err(Reject::Duplicate);
    }
    let chain = origin.check(target).map_err(|error| match error {
        PrimeChainError::NotNormalized { .. } => Reject::NotNormalized,
        _ => Reject::LowDifficulty,
    })?;
    // Two threads may have come here with the same one.
    if origins.add(&run) { Ok(chain.length) } else { Err(Reject::Duplicate) }
}

/// Keys are hashes already.
#[derive(Debug, Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}
