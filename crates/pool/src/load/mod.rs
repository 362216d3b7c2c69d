//! A load generator for any Stratum V1 pool: the measurements behind `lode load`.
//!
//! One thread, one epoll set, so that it takes little of a machine it shares with the pool. It connects, logs in, holds the
//! connections idle, sends shares (either at a rate or each connection as fast as it is answered), and watches new jobs
//! arrive. Of the pool's process, where it runs on this machine and its number is given, it reads memory and processor time
//! from `/proc`.

mod attack;
mod churn;
mod client;
mod process;
mod run;

use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;

pub use attack::{Attack, AttackOptions, AttackReport, attack};
pub use churn::{ChurnReport, churn};
pub use process::{Usage, usage};
pub use run::run;

/// What to do.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// The pool.
    pub address: SocketAddr,
    /// User name to log in with; `%` in it becomes the connection's number.
    pub user: String,
    /// Password.
    pub password: String,
    /// Connections to hold.
    pub connections: usize,
    /// Loopback addresses to connect from, in turn: 127.0.0.2 and those after it. 0: whatever the system picks.
    pub sources: u32,
    /// Connects under way at once.
    pub connecting: usize,
    /// How long to hold the connections idle before memory is read.
    pub idle: Duration,
    /// How long to send shares.
    pub shares_for: Duration,
    /// Shares a second over all connections; 0: each connection sends again as soon as it is answered.
    pub rate: f64,
    /// Shares a connection sends together.
    pub pipeline: usize,
    /// Connections that send shares; the others stay idle.
    pub sending: usize,
    /// Which shares.
    pub shares: ShareKind,
    /// How long to wait for new jobs, idle, at the end.
    pub jobs_for: Duration,
    /// Random lines to send at the end, over connections of their own.
    pub nonsense: u64,
    /// The pool's process.
    pub pid: Option<u32>,
}

/// What shares are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ShareKind {
    /// A new nonce each: accepted where the share difficulty lets every hash pass.
    Fresh,
    /// The same share again and again: refused as duplicates, or for their difficulty.
    Same,
}

/// What was seen.
#[derive(Debug, Clone, Default, Serialize)]
pub struct LoadReport {
    /// Connections that were logged in.
    pub connections: usize,
    /// Connections refused or lost.
    pub lost: usize,
    /// Connects with log-in a second.
    pub logins_per_second: f64,
    /// Resident bytes of the pool per connection, over what it had before.
    pub bytes_per_connection: Option<f64>,
    /// Resident bytes of the pool before any connection of this run.
    pub memory_before: Option<u64>,
    /// Resident bytes at the end.
    pub memory_after: Option<u64>,
    /// Shares answered as accepted.
    pub accepted: u64,
    /// Shares answered with an error.
    pub refused: u64,
    /// Shares without an answer at the end, on connections that were open.
    pub unanswered: u64,
    /// Shares without an answer on connections that the pool closed meanwhile.
    pub cut_off: u64,
    /// Answers a second.
    pub shares_per_second: f64,
    /// Processor time of the pool per answered share, microseconds.
    pub cpu_us_per_share: Option<f64>,
    /// Time to an answer: median, 99th percentile and longest, microseconds.
    pub latency_us: Option<[u64; 3]>,
    /// Each new job seen: connections that got it, and microseconds from the first to the last of them.
    pub jobs: Vec<JobSeen>,
    /// Random lines sent.
    pub nonsense: u64,
}

/// A job's way to all connections.
#[derive(Debug, Clone, Serialize)]
pub struct JobSeen {
    /// The job's id.
    pub job: String,
    /// Connections that got it.
    pub connections: usize,
    /// Microseconds from the first to the last connection.
    pub spread_us: u64,
}

/// Why a load cannot be put on.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// No epoll set.
    #[error("cannot wait for sockets: {0}")]
    Poll(std::io::Error),
    /// Nothing answers.
    #[error("no connection to {address} could be logged in; the last trouble was: {trouble}")]
    NoLogin {
        /// Where.
        address: SocketAddr,
        /// Why.
        trouble: String,
    },
    /// The process is not there.
    #[error("cannot read /proc/{pid}: {source}")]
    Process {
        /// Its number.
        pid: u32,
        /// Why.
        source: std::io::Error,
    },
}
