//! Who may connect, and how often: limits per address block, per account and in all, decided before anything costly is
//! done. No IO; time as an argument. The front's threads ask it, behind one lock: at connect, at log-in, at the end, and in
//! between once for many bytes or shares.
//!
//! Whoever misbehaves collects offences, which fade by the minute; too many and the block is banned, twice as long each
//! time, a day at most. Every ban ends, and outlasts a restart.
//!
//! A block that has brought work lately is *proven*: it is let in where room is short, and what strangers do under its
//! account is not held against it. The tables are bounded; what is idle is forgotten first.

mod bans;
mod config;
mod network;

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

pub use bans::{Ban, load as load_bans, save as save_bans};
pub use config::GuardConfig;
pub use network::{NetworkBlock, NetworkParseError};
use serde::Serialize;

use network::block_key;

/// Blocks remembered at most; at about 150 bytes each, 10 MB.
const BLOCKS_MAX: usize = 65_536;
/// Bans by the operator at most: each connect looks through them.
const OPERATOR_BANS_MAX: usize = 1_024;
/// Proven pairs of account and block at most, 5 MB.
const PROVEN_MAX: usize = 65_536;
/// Bans kept to be told of; more in one second are counted only.
const NEWS_MAX: usize = 16;
/// How long a block that brought work is no stranger.
const PROVEN_MS: u64 = 86_400_000;
/// The longest ban; and how long after a ban the next one is longer.
const BAN_MAX_MS: u64 = 86_400_000;
/// Between two searches for what may be forgotten, where the table is full.
const SWEEP_MS: u64 = 1_000;
/// What a connection that ends before it authorises counts as an offence: probes once a second are no trouble.
const LEFT_A_STRANGER: f32 = 0.1;
/// What a block does is remembered for so many seconds, on average.
const MEMORY_SECONDS: f32 = 600.0;
/// Refused shares for each accepted one that no honest block comes to.
const REFUSED_PER_ACCEPTED: f32 = 50.0;
/// Proven blocks may offend so many times as much: one broken machine is no reason to ban its farm.
const PROVEN_PATIENCE: f32 = 10.0;

/// Why someone is turned away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// Its network may not connect.
    Denied,
    /// Its address block is banned for a while.
    Banned,
    /// Its address block has its number of connections.
    Connections,
    /// Its address block has its number of connections that have not authorised.
    Strangers,
    /// Its address block connects too often.
    Rate,
    /// All together connect too often.
    RateInAll,
    /// Its address block authorises too many user names.
    Logins,
    /// All together authorise too many user names.
    LoginsInAll,
    /// Its address block sends too much.
    Bytes,
    /// Its account has too many connections from blocks that brought no work.
    Account,
    /// The table of address blocks is full.
    Crowded,
    /// All connections are taken, or what is left is for proven blocks.
    Full,
    /// Memory runs out.
    Memory,
    /// The processors are busy with the miners that are there.
    Busy,
    /// The pool is being emptied for a restart.
    Draining,
}

impl Refusal {
    /// Label for metrics.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Denied => "denied",
            Self::Banned => "banned",
            Self::Connections => "connections",
            Self::Strangers => "strangers",
            Self::Rate => "rate",
            Self::RateInAll => "rate_in_all",
            Self::Logins => "logins",
            Self::LoginsInAll => "logins_in_all",
            Self::Bytes => "bytes",
            Self::Account => "account",
            Self::Crowded => "crowded",
            Self::Full => "full",
            Self::Memory => "memory",
            Self::Busy => "busy",
            Self::Draining => "draining",
        }
    }

    /// For the operator: what was wrong and which setting says so.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Denied => "its network is in pool.guard.deny",
            Self::Banned => "it is banned; `lode admin unban` lifts it",
            Self::Connections => "it has pool.guard.connections_per_block connections already",
            Self::Strangers => {
                "it has pool.guard.strangers_per_block connections that have not authorised a user name"
            }
            Self::Rate => "it connects more often than pool.guard.connects_per_second",
            Self::RateInAll => {
                "more connect than pool.guard.connects_per_second_in_all, and it has brought no work yet"
            }
            Self::Logins => "it authorises more user names than pool.guard.logins_per_second",
            Self::LoginsInAll => {
                "more user names are authorised than pool.guard.logins_per_second_in_all, and it has brought no work yet"
            }
            Self::Bytes => "it sends more than pool.guard.bytes_per_second",
            Self::Account => {
                "its account has pool.guard.newcomers_per_account connections from addresses without work"
            }
            Self::Crowded => "too many other addresses came at once to remember them all",
            Self::Full => "connections are running out: raise `ulimit -n` or pool.connections_max",
            Self::Memory => "memory is running out",
            Self::Busy => "the processors are busy with the miners that are connected",
            Self::Draining => "the pool is draining; `lode admin drain --off` ends that",
        }
    }
}

/// What one address block did and may do.
#[derive(Debug, Clone, Copy)]
struct Block {
    connections: u32,
    strangers: u32,
    /// When the buckets and the fading counts were right.
    at_ms: u64,
    /// Connects, user names and bytes that may come now.
    connects: f32,
    logins: f32,
    bytes: f32,
    /// Fading: offences, bytes, shares.
    offences: f32,
    talk: f32,
    accepted: f32,
    refused: f32,
    /// Bans so far, and when the last one ends.
    bans: u8,
    banned_until_ms: u64,
    proven_until_ms: u64,
    /// Why it was last turned away, and when.
    last: Option<(Refusal, u64)>,
}

/// A token bucket: so many at once, and so many a second in the long run.
#[derive(Debug)]
struct Bucket {
    rate: f32,
    burst: f32,
    /// What is in it, and when that was so.
    tokens: f32,
    at_ms: u64,
}

impl Bucket {
    fn full(rate: u32, burst: u32) -> Self {
        Self { rate: rate as f32, burst: burst as f32, tokens: burst as f32, at_ms: 0 }
    }

    /// Takes one; false where there is none.
    fn take(&mut self, now_ms: u64) -> bool {
        let seconds = now_ms.saturating_sub(self.at_ms) as f32 / 1000.0;
        self.tokens = (self.tokens + seconds * self.rate).min(self.burst);
        self.at_ms = self.at_ms.max(now_ms);
        let some = self.tokens >= 1.0;
        if some {
            self.tokens -= 1.0;
        }
        some
    }
}

/// What a connection did since the guard was last told.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Traffic {
    /// Bytes received.
    pub bytes: u32,
    /// Shares accepted.
    pub accepted: u32,
    /// Requests refused.
    pub refused: u32,
    /// Offences; parts of one count too.
    pub offences: f32,
}

/// What is known of an address block.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BlockView {
    /// The block.
    pub network: NetworkBlock,
    /// Connections now.
    pub connections: u32,
    /// Those that have not authorised.
    pub strangers: u32,
    /// Bytes received in the last ten minutes or so.
    pub bytes: u64,
    /// Shares accepted in the last ten minutes or so.
    pub accepted: u64,
    /// Requests refused in the last ten minutes or so.
    pub refused: u64,
    /// Offences that have not faded.
    pub offences: f32,
    /// Bans so far.
    pub bans: u8,
    /// When the ban in force ends, Unix milliseconds.
    pub banned_until_ms: Option<u64>,
    /// It has brought work lately.
    pub proven: bool,
    /// Why it was last turned away, and when (Unix milliseconds).
    pub last_refusal: Option<(Refusal, u64)>,
}

/// The tables.
#[derive(Debug)]
pub struct Guard {
    config: GuardConfig,
    blocks: HashMap<u128, Block>,
    /// Bans by the operator, in force or just over.
    operator_bans: VecDeque<Ban>,
    /// When an account was last brought work from a block, by hashes of both.
    proven: HashMap<(u64, u128), u64>,
    /// Connections of each account from blocks that have not brought it work.
    newcomers: HashMap<u64, u32>,
    /// Connects and user names that may come in all.
    connects: Bucket,
    logins: Bucket,
    swept_ms: u64,
    /// Bans since they were last asked for, and how many there were besides.
    news: (Vec<Ban>, usize),
    changed: bool,
}

impl Guard {
    /// Empty tables.
    pub fn new(config: GuardConfig) -> Self {
        let connects = Bucket::full(config.connects_per_second_in_all, config.connects_burst_in_all);
        let logins = Bucket::full(config.logins_per_second_in_all, config.logins_burst_in_all);
        Self {
            config,
            blocks: HashMap::new(),
            operator_bans: VecDeque::new(),
            proven: HashMap::new(),
            newcomers: HashMap::new(),
            connects,
            logins,
            swept_ms: 0,
            news: (Vec::new(), 0),
            changed: false,
        }
    }

    /// Takes over the bans of an earlier run.
    pub fn restore(&mut self, bans: Vec<Ban>, now_ms: u64) {
        for ban in bans {
            match ban.network.key() {
                Some(key) if ban.times > 0 && self.blocks.len() < BLOCKS_MAX => {
                    let block = self.block(key, now_ms);
                    (block.bans, block.banned_until_ms) = (ban.times, ban.until_ms);
                }
                _ if ban.until_ms > now_ms => self.ban(ban.network, ban.until_ms, now_ms),
                _ => {}
            }
        }
        self.changed = false;
    }

    /// True where an address has no limits.
    pub fn is_allowed(&self, address: IpAddr) -> bool {
        self.config.allow.iter().any(|network| network.contains(address))
    }

    /// True where an address has brought work lately.
    pub fn is_proven(&self, address: IpAddr, now_ms: u64) -> bool {
        self.blocks.get(&block_key(address)).is_some_and(|block| now_ms < block.proven_until_ms)
    }

    /// Asks for a connection. Where it is granted, [`Guard::leave`] must be called at its end.
    pub fn enter(&mut self, address: IpAddr, now_ms: u64) -> Result<(), Refusal> {
        let allowed = self.is_allowed(address);
        if !allowed && self.config.deny.iter().any(|network| network.contains(address)) {
            return Err(Refusal::Denied);
        }
        if !allowed
            && self.operator_bans.iter().any(|ban| now_ms < ban.until_ms && ban.network.contains(address))
        {
            return Err(Refusal::Banned);
        }
        let key = block_key(address);
        if !self.make_room(key, now_ms) && !allowed {
            return Err(Refusal::Crowded);
        }
        let judged = if allowed { Ok(()) } else { self.judge(key, now_ms) };
        let block = self.block(key, now_ms);
        match judged {
            Ok(()) => {
                block.connects -= 1.0;
                block.connections += 1;
                block.strangers += 1;
            }
            Err(refusal) => block.last = Some((refusal, now_ms)),
        }
        judged
    }

    fn judge(&mut self, key: u128, now_ms: u64) -> Result<(), Refusal> {
        let (connections, strangers) = (self.config.connections_per_block, self.config.strangers_per_block);
        let block = self.block(key, now_ms);
        if now_ms < block.banned_until_ms {
            return Err(Refusal::Banned);
        }
        if block.connections >= connections {
            return Err(Refusal::Connections);
        }
        if block.strangers >= strangers {
            return Err(Refusal::Strangers);
        }
        if block.connects < 1.0 {
            return Err(Refusal::Rate);
        }
        if now_ms < block.proven_until_ms {
            return Ok(());
        }
        if self.connects.take(now_ms) { Ok(()) } else { Err(Refusal::RateInAll) }
    }

    /// An address was turned away for a reason that is not the guard's own.
    pub fn refused(&mut self, address: IpAddr, refusal: Refusal, now_ms: u64) {
        if self.make_room(block_key(address), now_ms) {
            self.block(block_key(address), now_ms).last = Some((refusal, now_ms));
        }
    }

    /// Asks to authorise a user name.
    pub fn login(&mut self, address: IpAddr, now_ms: u64) -> Result<(), Refusal> {
        let allowed = self.is_allowed(address);
        let key = block_key(address);
        let Some(block) = self.known(key, now_ms) else { return Ok(()) };
        let refusal = if allowed {
            None
        } else if block.logins < 1.0 {
            Some(Refusal::Logins)
        } else if now_ms >= block.proven_until_ms && !self.logins.take(now_ms) {
            Some(Refusal::LoginsInAll)
        } else {
            None
        };
        let block = self.block(key, now_ms);
        match refusal {
            Some(refusal) => {
                block.last = Some((refusal, now_ms));
                Err(refusal)
            }
            None => {
                block.logins -= 1.0;
                Ok(())
            }
        }
    }

    /// A connection is about to authorise its first user name, of an account named by a hash. `true` where it counts as a
    /// newcomer's: to be given back with [`Guard::no_newcomer`].
    pub fn arrive(&mut self, address: IpAddr, account: u64, now_ms: u64) -> Result<bool, Refusal> {
        let key = block_key(address);
        let newcomer = self.proven.get(&(account, key)).is_none_or(|&until_ms| until_ms <= now_ms);
        if newcomer {
            let allowed = self.is_allowed(address);
            let count = self.newcomers.entry(account).or_insert(0);
            if !allowed && *count >= self.config.newcomers_per_account {
                self.block(key, now_ms).last = Some((Refusal::Account, now_ms));
                return Err(Refusal::Account);
            }
            *count += 1;
        }
        if let Some(block) = self.known(key, now_ms) {
            block.strangers = block.strangers.saturating_sub(1);
        }
        Ok(newcomer)
    }

    /// A newcomer's connection has ended, or is a newcomer's no longer.
    pub fn no_newcomer(&mut self, account: u64) {
        if let Some(count) = self.newcomers.get_mut(&account) {
            *count -= 1;
            if *count == 0 {
                self.newcomers.remove(&account);
            }
        }
    }

    /// A connection from this address has brought its account work worth speaking of.
    pub fn proved(&mut self, address: IpAddr, account: u64, now_ms: u64) {
        let key = block_key(address);
        let Some(block) = self.known(key, now_ms) else { return };
        block.proven_until_ms = now_ms + PROVEN_MS;
        if self.proven.len() >= PROVEN_MAX && !self.proven.contains_key(&(account, key)) {
            self.proven.retain(|_, until_ms| *until_ms > now_ms + PROVEN_MS / 2);
        }
        if self.proven.len() < PROVEN_MAX {
            self.proven.insert((account, key), now_ms + PROVEN_MS);
        }
    }

    /// What a connection did. An error where its block sends too much: the connection is to be closed.
    pub fn report(&mut self, address: IpAddr, traffic: Traffic, now_ms: u64) -> Result<(), Refusal> {
        let allowed = self.is_allowed(address);
        let (refused_max, offences_max) = (self.config.refused_max as f32, self.config.offences_max as f32);
        let key = block_key(address);
        let Some(block) = self.known(key, now_ms) else { return Ok(()) };
        block.talk += traffic.bytes as f32;
        block.accepted += traffic.accepted as f32;
        block.refused += traffic.refused as f32;
        if allowed {
            return Ok(());
        }
        block.offences += traffic.offences;
        block.bytes -= traffic.bytes as f32;
        let patience = if now_ms < block.proven_until_ms { PROVEN_PATIENCE } else { 1.0 };
        let flood = block.refused >= refused_max && block.refused > block.accepted * REFUSED_PER_ACCEPTED;
        let over = block.bytes < 0.0;
        if over {
            block.last = Some((Refusal::Bytes, now_ms));
        }
        if (flood || block.offences >= offences_max * patience) && now_ms >= block.banned_until_ms {
            self.ban_block(key, now_ms);
        }
        if over { Err(Refusal::Bytes) } else { Ok(()) }
    }

    fn ban_block(&mut self, key: u128, now_ms: u64) {
        let first_ms = u64::from(self.config.ban_seconds) * 1000;
        let block = self.block(key, now_ms);
        (block.offences, block.refused) = (0.0, 0.0);
        block.banned_until_ms = now_ms + (first_ms << block.bans.min(20)).min(BAN_MAX_MS);
        block.bans = block.bans.saturating_add(1);
        block.last = Some((Refusal::Banned, now_ms));
        let ban =
            Ban { network: NetworkBlock::of_key(key), until_ms: block.banned_until_ms, times: block.bans };
        self.changed = true;
        match self.news.0.len() {
            NEWS_MAX.. => self.news.1 += 1,
            _ => self.news.0.push(ban),
        }
    }

    /// A granted connection has ended. `stranger`: it had authorised no user name.
    pub fn leave(&mut self, address: IpAddr, stranger: bool, now_ms: u64) {
        let Some(block) = self.known(block_key(address), now_ms) else { return };
        block.connections = block.connections.saturating_sub(1);
        if stranger {
            block.strangers = block.strangers.saturating_sub(1);
            let left = Traffic { offences: LEFT_A_STRANGER, ..Traffic::default() };
            let _ = self.report(address, left, now_ms);
        }
    }

    /// The operator bans a network until a time; the ban of the same network before is replaced.
    pub fn ban(&mut self, network: NetworkBlock, until_ms: u64, now_ms: u64) {
        self.operator_bans.retain(|ban| ban.network != network && ban.until_ms > now_ms);
        if self.operator_bans.len() >= OPERATOR_BANS_MAX {
            self.operator_bans.pop_front();
        }
        self.operator_bans.push_back(Ban { network, until_ms, times: 0 });
        self.changed = true;
    }

    /// Ends the bans of a network, and of all blocks in it. How many there were.
    pub fn unban(&mut self, network: NetworkBlock, now_ms: u64) -> usize {
        let before = self.operator_bans.len();
        self.operator_bans.retain(|ban| ban.network != network);
        let mut count = before - self.operator_bans.len();
        for (key, block) in &mut self.blocks {
            if block.bans > 0 && network.contains(NetworkBlock::of_key(*key).address()) {
                count += usize::from(now_ms < block.banned_until_ms);
                (block.bans, block.banned_until_ms, block.offences) = (0, 0, 0.0);
            }
        }
        self.changed = true;
        count
    }

    /// The bans in force, those that end last first.
    pub fn bans(&self, now_ms: u64) -> Vec<Ban> {
        let mut bans = self.all_bans(now_ms);
        bans.retain(|ban| now_ms < ban.until_ms);
        bans.sort_by_key(|ban| std::cmp::Reverse(ban.until_ms));
        bans
    }

    /// Bans that matter to a later run: in force, or so lately over that the next one is longer.
    pub fn all_bans(&self, now_ms: u64) -> Vec<Ban> {
        let blocks =
            self.blocks.iter().filter(|(_, block)| block.banned_lately(now_ms)).map(|(key, block)| Ban {
                network: NetworkBlock::of_key(*key),
                until_ms: block.banned_until_ms,
                times: block.bans,
            });
        self.operator_bans.iter().filter(|ban| now_ms < ban.until_ms).cloned().chain(blocks).collect()
    }

    /// Whether bans have come or gone since this was last asked.
    pub fn take_changed(&mut self) -> bool {
        std::mem::take(&mut self.changed)
    }

    /// Bans of blocks since this was last asked: the first few, and how many more there were.
    pub fn take_news(&mut self) -> (Vec<Ban>, usize) {
        std::mem::take(&mut self.news)
    }

    /// What is known of an address's block; `None` where nothing is.
    pub fn look(&self, address: IpAddr, now_ms: u64) -> Option<BlockView> {
        let key = block_key(address);
        self.blocks.get(&key).map(|block| self.view(key, block, now_ms))
    }

    /// Why an address would be turned away now, by the lists and the bans.
    pub fn would_refuse(&self, address: IpAddr, now_ms: u64) -> Option<Refusal> {
        let holds = |network: &NetworkBlock| network.contains(address);
        if self.is_allowed(address) {
            return None;
        }
        if self.config.deny.iter().any(holds) {
            return Some(Refusal::Denied);
        }
        let operator = self.operator_bans.iter().any(|ban| now_ms < ban.until_ms && holds(&ban.network));
        let block = self.blocks.get(&block_key(address));
        let banned = operator || block.is_some_and(|block| now_ms < block.banned_until_ms);
        banned.then_some(Refusal::Banned)
    }

    /// The blocks that sent most lately.
    pub fn top(&self, count: usize, now_ms: u64) -> Vec<BlockView> {
        let mut all: Vec<BlockView> =
            self.blocks.iter().map(|(key, block)| self.view(*key, block, now_ms)).collect();
        all.sort_by_key(|block| std::cmp::Reverse((block.bytes, block.connections)));
        all.truncate(count);
        all
    }

    fn view(&self, key: u128, block: &Block, now_ms: u64) -> BlockView {
        let mut block = *block;
        block.pass_time(&self.config, now_ms);
        BlockView {
            network: NetworkBlock::of_key(key),
            connections: block.connections,
            strangers: block.strangers,
            bytes: block.talk as u64,
            accepted: block.accepted.round() as u64,
            refused: block.refused.round() as u64,
            offences: block.offences,
            bans: block.bans,
            banned_until_ms: (now_ms < block.banned_until_ms).then_some(block.banned_until_ms),
            proven: now_ms < block.proven_until_ms,
            last_refusal: block.last,
        }
    }

    fn known(&mut self, key: u128, now_ms: u64) -> Option<&mut Block> {
        let block = self.blocks.get_mut(&key)?;
        block.pass_time(&self.config, now_ms);
        Some(block)
    }

    /// The block of a key, entered if new, as of now.
    fn block(&mut self, key: u128, now_ms: u64) -> &mut Block {
        let block = self.blocks.entry(key).or_insert_with(|| Block::new(&self.config, now_ms));
        block.pass_time(&self.config, now_ms);
        block
    }

    /// Sees to it that a block can be entered. False where all in the table matter more.
    fn make_room(&mut self, key: u128, now_ms: u64) -> bool {
        if self.blocks.len() < BLOCKS_MAX || self.blocks.contains_key(&key) {
            return true;
        }
        if now_ms < self.swept_ms + SWEEP_MS {
            return false;
        }
        self.swept_ms = now_ms;
        self.forget(now_ms);
        if self.blocks.len() >= BLOCKS_MAX {
            self.blocks.retain(|_, block| {
                block.connections > 0 || now_ms < block.banned_until_ms.max(block.proven_until_ms)
            });
        }
        if self.blocks.len() >= BLOCKS_MAX {
            self.blocks.retain(|_, block| block.connections > 0 || now_ms < block.proven_until_ms);
        }
        self.blocks.len() < BLOCKS_MAX
    }

    /// Forgets what is as good as new: blocks without connections whose buckets are full again and whose bans are long over.
    pub fn forget(&mut self, now_ms: u64) {
        let config = &self.config;
        self.blocks.retain(|_, block| {
            block.pass_time(config, now_ms);
            block.connections > 0
                || block.banned_lately(now_ms)
                || now_ms < block.proven_until_ms
                || block.connects < config.connects_burst as f32
                || block.offences > 0.0
        });
        self.proven.retain(|_, until_ms| now_ms < *until_ms);
        self.operator_bans.retain(|ban| now_ms < ban.until_ms);
    }

    /// Blocks remembered.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// True where no block is remembered.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }
}

impl Block {
    fn new(config: &GuardConfig, now_ms: u64) -> Self {
        Self {
            connections: 0,
            strangers: 0,
            at_ms: now_ms,
            connects: config.connects_burst as f32,
            logins: config.logins_burst as f32,
            bytes: config.bytes_burst as f32,
            offences: 0.0,
            talk: 0.0,
            accepted: 0.0,
            refused: 0.0,
            bans: 0,
            banned_until_ms: 0,
            proven_until_ms: 0,
            last: None,
        }
    }

    /// Fills the buckets and lets the counts fade.
    fn pass_time(&mut self, config: &GuardConfig, now_ms: u64) {
        let seconds = now_ms.saturating_sub(self.at_ms) as f32 / 1000.0;
        if seconds <= 0.0 {
            return;
        }
        let fill = |tokens: f32, rate: u32, burst: u32| (tokens + seconds * rate as f32).min(burst as f32);
        self.connects = fill(self.connects, config.connects_per_second, config.connects_burst);
        self.logins = fill(self.logins, config.logins_per_second, config.logins_burst);
        self.bytes = fill(self.bytes, config.bytes_per_second, config.bytes_burst);
        self.offences = (self.offences - seconds * config.offences_max as f32 / 600.0).max(0.0);
        let stays = (-seconds / MEMORY_SECONDS).exp();
        self.talk *= stays;
        self.accepted *= stays;
        self.refused *= stays;
        self.at_ms = now_ms;
    }

    /// Banned, or so lately that the next ban is to be longer.
    fn banned_lately(&self, now_ms: u64) -> bool {
        self.bans > 0 && now_ms < self.banned_until_ms + BAN_MAX_MS
    }
}

#[cfg(test)]
#[path = "guard/tests.rs"]
mod tests;
