//! `getwork` over HTTP, for miners of prime chains that know nothing else: beside the Stratum ports, off unless `pool.getwork` says
//! where to listen.
//!
//! Each work is a header of its own (an extranonce nobody else has), remembered until its job is gone. What comes back is judged, credited,
//! recorded and answered as a share on a Stratum port is, through the same books, table of chains and guard. The blobs are those of
//! [`lode_stratum::getwork`]; [`http`] speaks with the miners.

mod http;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lode_ledger::{ChainShare, Credit, Share, Worker};
use lode_pow::ChainLength;
use lode_stratum::{Goal, Login, Reject, getwork, password_difficulty, written_difficulty};

use crate::class::CoinbaseClass;
use crate::front::{Handed, Shared, unix_us};
use crate::guard::Refusal;
use crate::job::{ClassJob, EXTRANONCE1_SIZE, EXTRANONCE2_SIZE, Job, Solution};
use crate::session::{Found, TIME_AHEAD_MAX};
use crate::share::Jobs;

pub(crate) use http::{Server, start};

/// Works remembered of one user name: a miner that asks every two seconds comes back within two minutes.
const WORKS_PER_USER: usize = 64;
/// Works remembered in all, at some 200 bytes each. Beyond it only those who have some get one, in place of their oldest.
const WORKS_MAX: usize = 65_536;
/// User names remembered. Those without works go first.
const USERS_MAX: usize = 16_384;
/// Blocks wait so long for the disk before their finder is answered.
const BLOCK_SAFE_TIMEOUT: Duration = Duration::from_secs(5);

/// Hands out work and takes it back.
pub(crate) struct Gateway {
    shared: Arc<Shared>,
    handed: SyncSender<Handed>,
    state: Mutex<State>,
}

struct State {
    jobs: Jobs,
    /// By the header's Merkle root.
    works: HashMap<[u8; 32], Work>,
    users: HashMap<String, User>,
}

/// A work that is out.
struct Work {
    seq: u32,
    class: Arc<ClassJob>,
    extranonce1: [u8; EXTRANONCE1_SIZE],
    extranonce2: [u8; EXTRANONCE2_SIZE],
    target: ChainLength,
    worker: Arc<Worker>,
}

/// A user name that asked for work.
struct User {
    worker: Arc<Worker>,
    extranonce1: [u8; EXTRANONCE1_SIZE],
    /// Works given so far: the next one's extranonce 2.
    given: u64,
    /// Those that are out, the oldest first.
    out: VecDeque<[u8; 32]>,
}

/// What is given.
#[derive(Debug)]
pub(crate) struct Given {
    /// `data`.
    pub(crate) data: String,
    /// `serverData`.
    pub(crate) server_data: String,
}

impl Gateway {
    /// No job yet. `handed`: where found blocks go.
    pub(crate) fn new(shared: Arc<Shared>, handed: SyncSender<Handed>) -> Self {
        let jobs = Jobs::new(shared.settings.pow, Arc::clone(&shared.origins));
        let state = State { jobs, works: HashMap::new(), users: HashMap::new() };
        Self { shared, handed, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // What it guards is whole between statements.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new job: works of jobs that are gone are forgotten, and users without any.
    pub(crate) fn job(&self, job: &Arc<Job>) {
        let mut state = self.state();
        let State { jobs, works, users } = &mut *state;
        jobs.push(Arc::clone(job));
        works.retain(|_, work| jobs.find(work.seq).is_some());
        users.retain(|_, user| {
            user.out.retain(|root| works.contains_key(root));
            !user.out.is_empty()
        });
    }

    /// The height of the chain's tip.
    pub(crate) fn tip_height(&self) -> Option<u32> {
        self.state().jobs.current().map(|job| job.template.height.saturating_sub(1))
    }

    /// The worker of a user name; one that is not known yet passes the guard first.
    fn user(&self, name: &str, address: IpAddr) -> Result<Arc<Worker>, Reject> {
        if let Some(user) = self.state().users.get(name) {
            return Ok(Arc::clone(&user.worker));
        }
        let login = Login::parse(name).ok_or(Reject::Unauthorized)?;
        let now_ms = unix_us() / 1000;
        let away = |refusal: Refusal| {
            self.shared.turned_away(refusal);
            Reject::Unavailable
        };
        self.shared.guard().login(address, now_ms).map_err(away)?;
        self.shared.books.worker(&login)
    }

    /// Work for a user; a password `d=9.5` asks for shares of that length.
    pub(crate) fn give(&self, name: &str, password: &str, worker: Arc<Worker>) -> Result<Given, Reject> {
        let mut state = self.state();
        let State { jobs, works, users } = &mut *state;
        let job = Arc::clone(jobs.current().ok_or(Reject::Unavailable)?);
        let class = job.class(CoinbaseClass::Plain, worker.account()).ok_or(Reject::Unavailable)?;
        if !users.contains_key(name) && users.len() >= USERS_MAX {
            return Err(Reject::Unavailable);
        }
        let user = users.entry(name.to_owned()).or_insert_with(|| User {
            worker,
            extranonce1: self.shared.settings.extranonces.next(),
            given: 0,
            out: VecDeque::new(),
        });
        if user.out.len() >= WORKS_PER_USER || works.len() >= WORKS_MAX {
            let oldest = user.out.pop_front().ok_or(Reject::Unavailable)?;
            works.remove(&oldest);
        }
        user.given += 1;
        let (extranonce1, extranonce2) = (user.extranonce1, user.given.to_be_bytes());
        let solution = Solution {
            extranonce1,
            extranonce2,
            time: job.time,
            nonce: 0,
            version: job.template.version,
            multiplier: None,
        };
        let header = job.header(&class, &solution, &mut Vec::new());
        let target = target(&job, password).ok_or(Reject::Unavailable)?;
        let root = root(&header);
        user.out.push_back(root);
        let (seq, worker) = (job.seq, Arc::clone(&user.worker));
        works.insert(root, Work { seq, class, extranonce1, extranonce2, target, worker });
        Ok(Given {
            data: getwork::write_work(&header),
            server_data: getwork::write_server_data(target, job.template.height),
        })
    }

    /// Takes a solution: `Ok` once it is recorded, and a block safe on disk. May block for that long.
    pub(crate) fn take(&self, blob: &str) -> Result<(), Reject> {
        let taken = self.judge(blob).and_then(|(share, found)| {
            // A block goes on its way whatever becomes of its share.
            let safe = found.and_then(|found| {
                let (safe, done) = sync_channel(1);
                self.handed.send(Handed { found, safe }).is_ok().then_some(done)
            });
            let recorded = share.and_then(|share| self.record(share));
            if let Some(done) = safe {
                let _ = done.recv_timeout(BLOCK_SAFE_TIMEOUT);
            }
            recorded
        });
        if let Err(reject) = taken {
            self.shared.stats.refused[reject.index()].fetch_add(1, Relaxed);
            metrics::counter!("lode_shares_refused_total", "reason" => reject.label()).increment(1);
        }
        taken
    }

    fn record(&self, share: Share) -> Result<(), Reject> {
        let stats = &self.shared.stats;
        let units = share.credit.to_units();
        if let Err(error) = self.shared.books.record(&[share]) {
            stats.log_failed.store(true, Relaxed);
            tracing::error!("a share of getwork refused, the log cannot be written: {error}");
            return Err(Reject::Unavailable);
        }
        stats.accepted.fetch_add(1, Relaxed);
        stats.accepted_units.fetch_add(units, Relaxed);
        metrics::counter!("lode_shares_accepted_total").increment(1);
        Ok(())
    }

    /// The share that a blob is, or why it is none; and the block that it is.
    fn judge(&self, blob: &str) -> Result<(Result<Share, Reject>, Option<Found>), Reject> {
        let read = getwork::Solution::parse(blob).ok_or(Reject::Malformed)?;
        let mut state = self.state();
        let State { jobs, works, .. } = &mut *state;
        let work = works.get(&root(&read.header)).ok_or(Reject::Stale)?;
        let job = Arc::clone(jobs.find(work.seq).ok_or(Reject::Stale)?);
        let (time, nonce) = (number(&read.header, 68), number(&read.header, 76));
        let mut solution = Solution {
            extranonce1: work.extranonce1,
            extranonce2: work.extranonce2,
            time,
            nonce,
            version: job.template.version,
            multiplier: None,
        };
        if job.header(&work.class, &solution, &mut Vec::new()) != read.header {
            return Err(Reject::Malformed);
        }
        if time < job.time || time > job.time.saturating_add(TIME_AHEAD_MAX) {
            return Err(Reject::TimeOutOfRange);
        }
        // Of the two forms a multiplier may have come in, the one that makes a chain is meant.
        let mut checked = None;
        for multiplier in read.multipliers() {
            solution.multiplier = Some(multiplier);
            let goal = Goal::Length(work.target);
            let found = jobs.check(work.seq, &work.class, &solution, goal);
            let is_chain = found.length.is_some() || found.result == Err(Reject::Duplicate);
            checked = Some(found);
            if is_chain {
                break;
            }
        }
        let checked = checked.ok_or(Reject::Malformed)?;
        let (Some(length), Some(network)) = (checked.length, job.network_goal.length()) else {
            return Err(checked.result.err().unwrap_or(Reject::LowDifficulty));
        };
        let parent = job.template.prev;
        let share = ChainShare { length, target: work.target.min(network), network, parent };
        let (worker, class) = (Arc::clone(&work.worker), Arc::clone(&work.class));
        drop(state);
        let credit = match checked.result {
            Ok(()) => self.shared.books.credit_chain(&worker, &share),
            // One that comes too late is sent to the nodes all the same, and credited nothing.
            Err(_) if checked.is_block => Credit::default(),
            Err(reject) => return Err(reject),
        };
        let found = checked.is_block.then(|| Found {
            job: Arc::clone(&job),
            class,
            solution,
            worker: Arc::clone(&worker),
            credit,
        });
        let template = Arc::clone(&job.reference);
        let share = Share { worker, template, credit, time_ms: unix_us() / 1000 };
        Ok((checked.result.map(|()| share), found))
    }
}

/// The least length of shares on a job, by a password's wish.
fn target(job: &Job, password: &str) -> Option<ChainLength> {
    let (network, easiest) = (job.network_goal.length()?, job.network_goal.easiest_share()?);
    let wish = password_difficulty(password)
        .and_then(|wish| written_difficulty(lode_pow::PowAlgorithm::PrimeChain, wish.get()))
        .map(|wish| ChainLength::of_difficulty(wish.get()));
    Some(wish.unwrap_or(easiest).clamp(easiest, network.max(easiest)))
}

fn root(header: &[u8; 80]) -> [u8; 32] {
    std::array::from_fn(|i| header[36 + i])
}

fn number(header: &[u8; 80], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| header[at + i]))
}
