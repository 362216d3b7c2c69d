//! One miner's connection as a state machine without IO: lines in, lines out, time as an argument.
//!
//! The front thread that owns a session calls [`Session::line`] for each line read and [`Session::job`] for each new job;
//! both append what is to be sent. Accepted shares and blocks are left in the [`Context`]: the front writes the shares
//! to the log, all that came together in one batch, before it lets the answers go.
//!
//! A session is small (a few hundred bytes), since there are tens of thousands: it holds no buffers, no agent's name, no
//! user names but the hash of each. What real miners need of it is listed in the tests below.

mod settings;
mod users;

use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;

use lode_ledger::{ChainShare, Credit, Share, Worker};
use lode_pow::{ChainLength, PowAlgorithm};
use lode_primitives::Target;
use lode_stratum::{
    Call, Configure, Difficulty, Goal, Login, Reject, Request, RequestError, Submit, decode_hex,
    parse_hex_u32, parse_request, password_difficulty, write_accepted, write_configure_reply, write_error,
    write_prime_subscribe_reply, write_result, write_set_difficulty, write_set_extranonce, write_set_target,
    write_set_version_mask, write_subscribe_reply, written_difficulty,
};

use crate::assigned::{Assigned, Terms};
use crate::class::{CoinbaseClass, takes_fractions, takes_messages};
use crate::front::SessionInfo;
use crate::job::{ClassJob, EXTRANONCE1_SIZE, EXTRANONCE2_SIZE, Job, Solution};
use crate::share::Jobs;
use crate::vardiff::Vardiff;
use users::{Users, user_key};

pub use settings::{Extranonces, SessionSettings, write_farewell};
pub use users::USERS_MAX;

/// Seconds by which a share's time may be ahead of its job's: under the two hours that nodes allow.
pub const TIME_AHEAD_MAX: u32 = 7_000;
/// Lines that are no requests, and refused user names, after which a connection is closed.
const OFFENCES_MAX: u8 = 10;
/// Requests before the first authorised user name: an honest handshake has some five.
const STRANGER_REQUESTS_MAX: u8 = 50;
/// Refusals after which a connection is closed where they are more than [`REFUSED_PER_ACCEPTED`] for each accepted share: no
/// miner is like that for long, and what it sends costs the pool more than it brings.
const REFUSED_MAX: u32 = 5_000;
const REFUSED_PER_ACCEPTED: u32 = 50;
/// Duplicates without an accepted share between them, after which a miner that can take it is given another extranonce: its
/// boards, or two miners behind one proxy, go through the same work.
const DUPLICATES_MAX: u8 = 8;
/// Low-difficulty refusals without one accepted share, after which a smaller coinbase is tried.
const MISSES_MAX: u8 = 8;

/// The books as a session asks them.
pub trait Accounts {
    /// The worker of a user name, or why it is refused. Asked once per user name.
    fn worker(&self, login: &Login) -> Result<Arc<Worker>, Reject>;

    /// The credit of an accepted prime-chain share, which depends on the chain and on the miner.
    fn credit_chain(&self, worker: &Worker, share: &ChainShare) -> Credit;
}

/// A block found: all that is needed to put it together.
#[derive(Debug, Clone)]
pub struct Found {
    /// The job.
    pub job: Arc<Job>,
    /// The job as the finder had it.
    pub class: Arc<ClassJob>,
    /// What the finder chose.
    pub solution: Solution,
    /// Who found it.
    pub worker: Arc<Worker>,
    /// What its share is credited with.
    pub credit: Credit,
}

/// What a thread's sessions work on, and leave their results in.
pub struct Context<'a> {
    /// Unix milliseconds.
    pub now_ms: u64,
    /// The thread's live jobs.
    pub jobs: &'a mut Jobs,
    /// Who may mine.
    pub accounts: &'a dyn Accounts,
    /// Settings.
    pub settings: &'a SessionSettings,
    /// Accepted shares, to be logged before `out` may go.
    pub shares: &'a mut Vec<Share>,
    /// Where in `out` each share's answer is.
    pub answers: &'a mut Vec<Range<usize>>,
    /// Blocks found.
    pub found: &'a mut Vec<Found>,
    /// What was refused, by [`Reject::index`].
    pub refused: &'a mut [u64; Reject::ALL.len()],
}

/// What becomes of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It goes on.
    Stay,
    /// It is closed: too much of what it sent was no request, or a stranger's.
    Malformed,
    /// It is closed: nearly all it sent had to be refused.
    Refused,
}

/// One miner's connection.
#[derive(Debug)]
pub struct Session {
    extranonce1: [u8; EXTRANONCE1_SIZE],
    port: u16,
    class: CoinbaseClass,
    subscribed: bool,
    /// Has been sent a job.
    working: bool,
    /// May be sent difficulties below the port's least and below 1.
    fractions: bool,
    /// The mask is to be sent behind the reply to `subscribe`.
    mask_owed: bool,
    offences: u8,
    stranger_requests: u8,
    misses: u8,
    duplicates: u8,
    /// Understands `mining.set_extranonce`.
    takes_extranonce: bool,
    /// Understands `client.show_message` and `client.reconnect`.
    takes_messages: bool,
    mask: u32,
    /// The difficulty to judge the next job by, before the network's is taken into account.
    difficulty: Difficulty,
    /// The least it may fall to: the port's, or what the miner asked for.
    floor: Difficulty,
    assigned: Assigned,
    vardiff: Vardiff,
    users: Users,
    /// Unix milliseconds of the last accepted share, or of the connect.
    active_ms: u64,
    accepted: u32,
    refused: u32,
    last_refusal: Option<Reject>,
    /// It is not closed for what is refused.
    bears_refusals: bool,
    /// The operator has set the difficulty: it is not adjusted.
    pinned: bool,
    /// Difficulty of all accepted shares.
    work: f64,
}

impl Session {
    /// A new connection on port number `port` of the settings.
    pub fn new(port: u16, settings: &SessionSettings, now_ms: u64) -> Self {
        let config = &settings.ports[usize::from(port)];
        // What no chain is as long as: the port's settings were made for hashes, and the network's length is the measure.
        let difficulty = |value| written_difficulty(settings.pow, value).unwrap_or(Difficulty::MIN);
        Self {
            extranonce1: settings.extranonces.next(),
            port,
            class: config.class.unwrap_or(CoinbaseClass::Plain),
            subscribed: false,
            working: false,
            fractions: false,
            mask_owed: false,
            offences: 0,
            stranger_requests: 0,
            misses: 0,
            duplicates: 0,
            takes_extranonce: false,
            takes_messages: false,
            mask: 0,
            difficulty: difficulty(config.start_difficulty),
            floor: difficulty(config.min_difficulty),
            assigned: Assigned::default(),
            vardiff: Vardiff::new(now_ms),
            users: Users::default(),
            active_ms: now_ms,
            accepted: 0,
            refused: 0,
            last_refusal: None,
            bears_refusals: false,
            pinned: false,
            work: 0.0,
        }
    }

    /// True once a user name is authorised.
    pub fn is_authorized(&self) -> bool {
        self.users.primary().is_some()
    }

    /// Unix milliseconds of the last accepted share, or of the connect.
    pub fn active_ms(&self) -> u64 {
        self.active_ms
    }

    /// What pages show of it, once it is authorised.
    pub fn info(&self, address: IpAddr) -> Option<SessionInfo> {
        Some(SessionInfo {
            worker: Arc::clone(self.users.primary()?),
            address,
            difficulty: self.difficulty().map(Difficulty::get),
            class: self.class,
            active_ms: self.active_ms,
            accepted: self.accepted,
            refused: self.refused,
            last_refusal: self.last_refusal,
            bytes: 0,
        })
    }

    /// Shares accepted, and requests refused.
    pub fn counts(&self) -> (u32, u32) {
        (self.accepted, self.refused)
    }

    /// Difficulty of all accepted shares together.
    pub fn work(&self) -> f64 {
        self.work
    }

    /// True where it has brought the work of a share of its port, not just a nonce for an easy one it asked for.
    pub fn is_proof(&self, settings: &SessionSettings) -> bool {
        self.accepted > 0 && self.work >= settings.ports[usize::from(self.port)].start_difficulty
    }

    /// True where it has brought work, and not fifty refusals for each share: its answers are not to wait for strangers.
    pub fn is_miner(&self, settings: &SessionSettings) -> bool {
        self.is_proof(settings) && self.refused / REFUSED_PER_ACCEPTED <= self.accepted
    }

    /// It may have refused what it likes: it comes from where the operator lets in whatever follows.
    pub fn bear_refusals(&mut self) {
        self.bears_refusals = true;
    }

    /// How near it is to being closed for nonsense: 1 where it is.
    pub fn offences(&self) -> f32 {
        f32::from(self.offences.min(OFFENCES_MAX)) / f32::from(OFFENCES_MAX)
    }

    /// The operator sets the difficulty, from the next job on; `None` lets it be adjusted again.
    pub fn pin(&mut self, difficulty: Option<Difficulty>) {
        self.pinned = difficulty.is_some();
        self.suggest(difficulty);
    }

    /// Its coinbase class.
    pub fn class(&self) -> CoinbaseClass {
        self.class
    }

    /// Who mines here: the first user name authorised.
    pub fn worker(&self) -> Option<&Arc<Worker>> {
        self.users.primary()
    }

    /// The difficulty of the last job sent, where one was.
    pub fn difficulty(&self) -> Option<Difficulty> {
        self.assigned.last().map(|terms| terms.difficulty)
    }

    /// Takes one line from the miner.
    pub fn line(&mut self, line: &[u8], context: &mut Context<'_>, out: &mut Vec<u8>) -> Fate {
        match parse_request(line) {
            Ok(request) => self.request(request, context, out),
            Err(RequestError::Params { id, .. }) => self.refuse(id, Reject::Malformed, context, out),
            Err(RequestError::NotARequest) => {
                self.offences = self.offences.saturating_add(1);
                self.refuse("null", Reject::Malformed, context, out);
            }
        }
        if !self.is_authorized() {
            self.stranger_requests = self.stranger_requests.saturating_add(1);
        }
        if self.offences >= OFFENCES_MAX || self.stranger_requests >= STRANGER_REQUESTS_MAX {
            Fate::Malformed
        } else if !self.bears_refusals
            && self.refused >= REFUSED_MAX
            && self.refused / REFUSED_PER_ACCEPTED > self.accepted
        {
            Fate::Refused
        } else {
            Fate::Stay
        }
    }

    fn request(&mut self, request: Request<'_>, context: &mut Context<'_>, out: &mut Vec<u8>) {
        let id = request.id;
        match request.call {
            Call::Submit(submit) => match self.submit(&submit, context) {
                Ok(share) => {
                    let start = out.len();
                    write_accepted(id, out);
                    context.shares.push(share);
                    context.answers.push(start..out.len());
                }
                Err(reject) => self.refuse(id, reject, context, out),
            },
            Call::Subscribe { agent, .. } => self.subscribe(id, &agent, context, out),
            Call::Authorize { user, password } => self.authorize(id, &user, &password, context, out),
            Call::Configure(asked) => self.configure(id, &asked, context, out),
            Call::SuggestDifficulty(wish) => {
                self.suggest(wish.and_then(|wish| written_difficulty(context.settings.pow, wish)));
                write_result(id, "true", out);
            }
            Call::SuggestTarget(target) => {
                self.suggest(target.and_then(|target| suggested(context.settings.pow, target)));
                write_result(id, "true", out);
            }
            Call::ExtranonceSubscribe => {
                self.takes_extranonce = true;
                write_result(id, "true", out);
            }
            Call::MultiVersion => write_result(id, "true", out),
            Call::GetTransactions => write_result(id, "[]", out),
            Call::GetVersion => write_result(id, concat!("\"lode/", env!("CARGO_PKG_VERSION"), "\""), out),
            Call::Ping => write_result(id, "\"pong\"", out),
            Call::Answer => {}
            Call::Unknown(_) => self.refuse(id, Reject::UnknownMethod, context, out),
        }
    }

    fn refuse(&mut self, id: &str, reject: Reject, context: &mut Context<'_>, out: &mut Vec<u8>) {
        context.refused[reject.index()] += 1;
        self.refused = self.refused.saturating_add(1);
        self.last_refusal = Some(reject);
        write_error(id, reject, out);
    }

    fn subscribe(&mut self, id: &str, agent: &str, context: &mut Context<'_>, out: &mut Vec<u8>) {
        if !self.subscribed {
            self.subscribed = true;
            let port = &context.settings.ports[usize::from(self.port)];
            self.class = port.class.unwrap_or_else(|| CoinbaseClass::of_agent(agent));
            self.fractions |= takes_fractions(agent);
            self.takes_messages = takes_messages(agent);
        }
        match context.settings.pow {
            PowAlgorithm::PrimeChain => {
                write_prime_subscribe_reply(id, &self.extranonce1, EXTRANONCE2_SIZE, out);
            }
            _ => write_subscribe_reply(id, &self.extranonce1, EXTRANONCE2_SIZE, out),
        }
        if std::mem::take(&mut self.mask_owed) {
            write_set_version_mask(self.mask, out);
        }
        self.begin(context, out);
    }

    fn authorize(
        &mut self,
        id: &str,
        user: &str,
        password: &str,
        context: &mut Context<'_>,
        out: &mut Vec<u8>,
    ) {
        if self.users.get(user_key(user)).is_none() {
            let worker = match Login::parse(user) {
                Some(_) if !self.users.has_room(self.accepted) => Err(Reject::Unavailable),
                Some(login) => context.accounts.worker(&login),
                None => Err(Reject::Unauthorized),
            };
            match worker {
                Ok(worker) => self.users.add(user_key(user), worker),
                Err(reject) => {
                    self.offences = self.offences.saturating_add(1);
                    return self.refuse(id, reject, context, out);
                }
            }
        }
        let wish = password_difficulty(password).map(Difficulty::get);
        self.suggest(wish.and_then(|wish| written_difficulty(context.settings.pow, wish)));
        write_accepted(id, out);
        self.begin(context, out);
    }

    fn configure(&mut self, id: &str, asked: &Configure, context: &Context<'_>, out: &mut Vec<u8>) {
        if let Some(mask) = asked.version_rolling {
            // The sixth parameter of a prime chain's share is its multiplier.
            let is_prime = context.settings.pow == PowAlgorithm::PrimeChain;
            self.mask = if is_prime { 0 } else { mask & context.settings.version_mask };
        }
        self.takes_extranonce |= asked.subscribe_extranonce;
        write_configure_reply(id, asked, self.mask, out);
        let least = asked.minimum_difficulty;
        self.suggest(least.and_then(|least| written_difficulty(context.settings.pow, least)));
        if asked.version_rolling.is_some() {
            // An early set_version_mask crashes some firmware: never before the reply to `subscribe`.
            if self.subscribed {
                write_set_version_mask(self.mask, out);
            } else {
                self.mask_owed = true;
            }
        }
    }

    /// The miner would like this difficulty: it starts with it, or goes on with it from the next job.
    fn suggest(&mut self, wish: Option<Difficulty>) {
        if let Some(wish) = wish {
            self.difficulty = wish;
            if wish.get() < 1.0 {
                // It asked for less than 1, so it can read that.
                self.fractions = true;
            }
        }
    }

    /// Sends the first job, once subscribed, authorised, and there is one.
    fn begin(&mut self, context: &mut Context<'_>, out: &mut Vec<u8>) {
        if self.working || !self.subscribed {
            return;
        }
        if let Some(job) = context.jobs.current().cloned() {
            self.send(&job, context.now_ms, context.settings, out);
        }
    }

    /// Sends a new job: `context.jobs` has it already. Nothing is written to a miner that is not ready for it.
    pub fn job(
        &mut self,
        job: &Job,
        oldest: u32,
        now_ms: u64,
        settings: &SessionSettings,
        out: &mut impl Sink,
    ) {
        if self.working {
            self.assigned.forget_before(oldest);
            if self.assigned.has_room() {
                self.adjust(now_ms, settings);
            }
        }
        if self.subscribed {
            self.send(job, now_ms, settings, out);
        }
    }

    fn adjust(&mut self, now_ms: u64, settings: &SessionSettings) {
        if settings.ports[usize::from(self.port)].vardiff
            && !self.pinned
            && let Some(current) = self.difficulty()
            && let Some(next) = self.vardiff.decide(now_ms, current, &settings.vardiff)
        {
            self.difficulty = next;
        }
        if self.misses >= MISSES_MAX && self.class != CoinbaseClass::Strict {
            self.class = self.class.smaller();
            self.misses = 0;
        }
    }

    /// The pool is about to stop: a last message to those who can read it.
    pub fn farewell(&self, settings: &SessionSettings, out: &mut Vec<u8>) {
        if self.takes_messages && self.is_authorized() {
            out.extend_from_slice(&settings.farewell);
        }
    }

    fn send(&mut self, job: &Job, now_ms: u64, settings: &SessionSettings, out: &mut impl Sink) {
        let Some(worker) = self.users.primary() else { return };
        let has_room = self.assigned.has_room();
        let renewed = self.takes_extranonce && self.duplicates >= DUPLICATES_MAX && has_room;
        if renewed {
            self.duplicates = 0;
            self.extranonce1 = settings.extranonces.next();
        }
        let (difficulty, extranonce1) = (self.wanted(job, settings), self.extranonce1);
        let mut terms = Terms { difficulty, class: self.class, extranonce1 };
        let last = self.assigned.last();
        if let Some(last) = last.filter(|_| !has_room) {
            terms = last;
        }
        // Whoever starts is new to the extranonce too: earlier jobs of another connection are void.
        let clean = job.clean || !self.working || renewed;
        let Some(class) = job.class(terms.class, worker.account()) else { return };
        if renewed {
            let mut line = Vec::with_capacity(80);
            write_set_extranonce(&extranonce1, EXTRANONCE2_SIZE, &mut line);
            out.own(&line);
        }
        if last.is_none_or(|last| last.difficulty != terms.difficulty) {
            let mut line = Vec::with_capacity(80);
            match Goal::of_difficulty(settings.pow, terms.difficulty) {
                Goal::Target(_) => write_set_difficulty(terms.difficulty, &mut line),
                Goal::Length(length) => write_set_target(length, &mut line),
            }
            out.own(&line);
        }
        self.assigned.set(job.seq, terms);
        if !self.working {
            self.working = true;
            self.vardiff = Vardiff::new(now_ms);
        }
        out.shared(job.notify(&class, clean));
    }

    /// The difficulty for a job: no more than the network's, no less than the floor and than what the miner can read.
    fn wanted(&self, job: &Job, settings: &SessionSettings) -> Difficulty {
        if let Some(easiest) = job.network_goal.easiest_share() {
            // Between the easiest a chain may be and the block's own length.
            let least = easiest.difficulty();
            let wish = self.difficulty.get().clamp(least, job.network_difficulty.get().max(least));
            return Difficulty::new(wish).unwrap_or(Difficulty::ONE);
        }
        let port = &settings.ports[usize::from(self.port)];
        let least = if self.fractions { self.floor.get().min(FRACTION_MIN) } else { self.floor.get() };
        // A port configured for fractions is for miners that read them.
        let least = if port.start_difficulty < 1.0 { least.min(port.start_difficulty) } else { least };
        let most = job.network_difficulty.get();
        Difficulty::new(self.difficulty.get().min(most).max(least)).unwrap_or(Difficulty::ONE)
    }

    fn submit(&mut self, submit: &Submit<'_>, context: &mut Context<'_>) -> Result<Share, Reject> {
        if !self.subscribed {
            return Err(Reject::NotSubscribed);
        }
        let worker = self.user(&submit.user).ok_or(Reject::Unauthorized)?;
        let seq = parse_hex_u32(&submit.job_id).ok_or(Reject::Stale)?;
        let terms = self.assigned.at(seq).ok_or(Reject::Stale)?;
        let job = Arc::clone(context.jobs.find(seq).ok_or(Reject::Stale)?);
        let (version, multiplier) = match context.settings.pow {
            PowAlgorithm::PrimeChain => {
                (job.template.version, Some(submit.multiplier().ok_or(Reject::Malformed)?))
            }
            _ => (self.version(submit, &job)?, None),
        };
        if submit.time < job.time || submit.time > job.time.saturating_add(TIME_AHEAD_MAX) {
            return Err(Reject::TimeOutOfRange);
        }
        // Too long is cut, too short is padded with zeros: some firmware sends four bytes whatever it is told.
        let mut extranonce2 = [0; EXTRANONCE2_SIZE];
        decode_hex(&submit.extranonce2, &mut extranonce2).ok_or(Reject::Malformed)?;
        let solution = Solution {
            extranonce1: terms.extranonce1,
            extranonce2,
            time: submit.time,
            nonce: submit.nonce,
            version,
            multiplier,
        };
        let account = self.users.primary().unwrap_or(&worker).account();
        let class = job.class(terms.class, account).ok_or(Reject::Stale)?;
        let goal = Goal::of_difficulty(context.settings.pow, terms.difficulty);
        let checked = context.jobs.check(seq, &class, &solution, goal);
        let credit = match (goal, job.network_goal, checked.length) {
            (Goal::Length(target), Goal::Length(network), Some(length)) if checked.result.is_ok() => {
                let (target, parent) = (target.min(network), job.template.prev);
                context.accounts.credit_chain(&worker, &ChainShare { length, target, network, parent })
            }
            _ => Credit::from_difficulty(terms.difficulty.get()).unwrap_or_default(),
        };
        if checked.is_block {
            let (job, worker) = (Arc::clone(&job), Arc::clone(&worker));
            context.found.push(Found { job, class, solution, worker, credit });
        }
        match checked.result {
            Ok(()) => {
                (self.misses, self.duplicates) = (0, 0);
                self.accepted = self.accepted.saturating_add(1);
                self.active_ms = context.now_ms;
                self.work += terms.difficulty.get();
                self.vardiff.share(terms.difficulty);
                let template = Arc::clone(&job.reference);
                Ok(Share { worker, template, credit, time_ms: context.now_ms })
            }
            Err(reject) => {
                match reject {
                    Reject::LowDifficulty => self.misses = self.misses.saturating_add(1),
                    Reject::Duplicate => self.duplicates = self.duplicates.saturating_add(1),
                    _ => {}
                }
                Err(reject)
            }
        }
    }

    /// The header's version with the bits that the miner rolled.
    fn version(&self, submit: &Submit<'_>, job: &Job) -> Result<u32, Reject> {
        let Some(bits) = submit.version_bits().ok_or(Reject::Malformed)? else {
            return Ok(job.template.version);
        };
        if bits & !self.mask != 0 {
            return Err(Reject::VersionBits);
        }
        Ok((job.template.version & !self.mask) | bits)
    }

    /// The worker to credit. Firmware cuts long user names, so one that is not known as it stands is looked at by its
    /// address: if it is the first user's, it is the first user.
    fn user(&self, user: &str) -> Option<Arc<Worker>> {
        if let Some(worker) = self.users.get(user_key(user)) {
            return Some(Arc::clone(worker));
        }
        let primary = self.users.primary()?;
        let login = Login::parse(user)?;
        (login.address == primary.account().name()).then(|| Arc::clone(primary))
    }
}

/// The difficulty of a target that a miner suggests; for chains a length in its low 32 bits, as in `mining.set_target`.
fn suggested(pow: PowAlgorithm, target: Target) -> Option<Difficulty> {
    match pow.difficulty_one_target() {
        Some(one) => Some(Difficulty::of_target(target, one)),
        None => {
            let length = u32::try_from(target.0).ok().map(ChainLength)?;
            (1..=99).contains(&length.primes()).then(|| Difficulty::new(length.difficulty()))?
        }
    }
}

/// The least difficulty for miners that read fractions: 2^-24, 256 hashes.
const FRACTION_MIN: f64 = 1.0 / 16_777_216.0;

/// Where a session's lines go: copied for one, or shared by many.
pub trait Sink {
    /// Bytes for this connection alone.
    fn own(&mut self, bytes: &[u8]);
    /// Bytes that many connections get.
    fn shared(&mut self, bytes: &bytes::Bytes);
}

impl Sink for Vec<u8> {
    fn own(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }

    fn shared(&mut self, bytes: &bytes::Bytes) {
        self.extend_from_slice(bytes);
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
