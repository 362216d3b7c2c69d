//! One serving thread: its round, as the front's module page tells it.

use std::cell::Cell;
use std::hash::BuildHasher as _;
use std::io::{self, ErrorKind, Read as _};
use std::net::{IpAddr, TcpListener as StdListener};
use std::ops::Range;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use lode_ledger::{ChainShare, Credit, Share, Worker};
use lode_stratum::{Login, MAX_CLIENT_LINE, Reject, write_error, write_last_word};
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::connection::{Connection, Gone, JobLines, Opening};
use super::limits::Pressure;
use super::tls::Certificate;
use super::{Command, Handed, Mailbox, SessionInfo, Shared, proxy, unix_us};
use crate::guard::{NetworkBlock, Refusal, Traffic};
use crate::job::Job;
use crate::session::{Accounts, Context, Fate, Found, Session};
use crate::share::Jobs;

/// Bytes read from one connection at a time; a connection with more waiting is read again behind the others.
const READ_CHUNK: usize = 64 * 1024;
/// Answers of a round are sent when they come to this many bytes, however many connections are still ready: enough for
/// three thousand shares, and little to hold.
const ROUND_BYTES: usize = 128 * 1024;
/// Shares of a round are recorded when there are this many: under the log's own bound for a batch.
const ROUND_SHARES: usize = 16_384;
/// Ready connections served in a round: answers wait for its end, so that a crowd makes miners wait a millisecond, not twenty.
const EVENTS_MAX: usize = 128;
/// Connections accepted before others are served again, for the same reason.
const ACCEPT_BATCH: usize = 32;
/// How long the answers of a round with a found block wait for the disk.
const BLOCK_SAFE_TIMEOUT: Duration = Duration::from_secs(5);
/// Between looks at idle connections, and at the longest between looks at the mailbox.
const TICK: Duration = Duration::from_secs(1);

/// How long a connection that is told to go may take to go, in milliseconds, and how much it may still send meanwhile.
const LEAVE_MS: u64 = 2_000;
const LEAVE_BYTES: usize = 1024 * 1024;

/// Ends of a connection that count against its address.
const OFFENCES: [&str; 7] =
    ["malformed", "refused", "line_too_long", "slow_reader", "login", "proxy_header", "tls"];
/// Ticks between two reports of what every connection did.
const REPORT_TICKS: u32 = 10;
/// Between two times that the guard is told that a connection's block is proven.
const PROVEN_SECONDS: u32 = 3_600;

const WAKER: Token = Token(usize::MAX);
/// Listeners have the tokens below this, connections those from it on.
const LISTENERS_MAX: usize = 1 << 10;

/// Starts a thread.
pub(super) fn start(
    number: usize,
    listeners: Vec<StdListener>,
    shared: Arc<Shared>,
    handed: SyncSender<Handed>,
) -> io::Result<(Arc<Mailbox>, JoinHandle<()>)> {
    let poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), WAKER)?;
    let mailbox = Arc::new(Mailbox { queue: Mutex::default(), waker });
    let mut own = Vec::new();
    for (i, listener) in listeners.into_iter().take(LISTENERS_MAX).enumerate() {
        let mut listener = TcpListener::from_std(listener);
        poll.registry().register(&mut listener, Token(i), Interest::READABLE)?;
        own.push(listener);
    }
    let thread = Thread {
        poll,
        listeners: own,
        mailbox: Arc::clone(&mailbox),
        jobs: Jobs::new(shared.settings.pow, Arc::clone(&shared.origins)),
        shared,
        handed,
        connections: Slab::new(),
        number,
        again: Vec::new(),
        plain: Vec::new(),
        ticks: 0,
        accepting: Vec::new(),
        round: Round::default(),
        now_ms: unix_us() / 1000,
        complained: None,
    };
    let handle = std::thread::Builder::new().name(format!("front-{number}")).spawn(move || thread.run())?;
    Ok((mailbox, handle))
}

/// What a round has gathered and not sent yet.
#[derive(Default)]
struct Round {
    out: Vec<u8>,
    /// Whose bytes of `out`, in the order they came.
    parts: Vec<(usize, Range<usize>)>,
    shares: Vec<Share>,
    /// Where in `out` each share's answer is.
    answers: Vec<Range<usize>>,
    found: Vec<Found>,
    /// Blocks handed on; each says when it is safe on disk.
    unsafe_blocks: Vec<Receiver<()>>,
    refused: [u64; Reject::ALL.len()],
}

struct Thread {
    poll: Poll,
    listeners: Vec<TcpListener>,
    mailbox: Arc<Mailbox>,
    shared: Arc<Shared>,
    /// Where found blocks go. Its reader ends with the last of the threads.
    handed: SyncSender<Handed>,
    connections: Slab<Connection>,
    jobs: Jobs,
    number: usize,
    /// Connections with more to read than one chunk.
    again: Vec<usize>,
    /// What was decrypted of one chunk.
    plain: Vec<u8>,
    ticks: u32,
    /// Listeners with more to accept, or that ran out of files.
    accepting: Vec<usize>,
    round: Round,
    now_ms: u64,
    /// When something that comes by the thousand was last said.
    complained: Option<Instant>,
}

impl Thread {
    fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS_MAX);
        let mut buffer = vec![0; READ_CHUNK];
        let mut next_tick = Instant::now() + TICK;
        loop {
            let busy = !self.again.is_empty() || !self.accepting.is_empty();
            let wait =
                if busy { Duration::ZERO } else { next_tick.saturating_duration_since(Instant::now()) };
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != ErrorKind::Interrupted
            {
                tracing::error!(%error, "epoll failed");
                std::thread::sleep(Duration::from_millis(100));
            }
            let woke = Instant::now();
            self.now_ms = unix_us() / 1000;
            if !self.take_mail() {
                return;
            }
            let again = std::mem::take(&mut self.again);
            for key in again {
                self.read(key, false, &mut buffer);
            }
            for event in &events {
                match event.token() {
                    WAKER => {}
                    Token(listener) if listener < LISTENERS_MAX => self.accepting.push(listener),
                    Token(token) => {
                        let key = token - LISTENERS_MAX;
                        if event.is_writable() {
                            self.flush(key);
                        }
                        if event.is_readable() || event.is_error() {
                            self.read(key, event.is_read_closed() || event.is_error(), &mut buffer);
                        }
                    }
                }
            }
            self.commit();
            self.accept();
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                self.tick();
            }
            let busy_us = u64::try_from(woke.elapsed().as_micros()).unwrap_or(0);
            self.shared.busy_us[self.number].fetch_add(busy_us, Relaxed);
        }
    }

    /// False where the thread is to end.
    fn take_mail(&mut self) -> bool {
        let mail = {
            let mut queue = self.mailbox.queue.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *queue)
        };
        for command in mail {
            match command {
                Command::Job(job) => self.fan_out(&job),
                Command::Survey(answer) => {
                    let _ = answer.try_send(self.survey());
                }
                Command::Difficulty(who, difficulty, answer) => {
                    let sessions = self.connections.iter_mut().map(|(_, connection)| &mut connection.session);
                    let meant = sessions.filter(|session| session.worker().is_some_and(|w| who.is(w)));
                    let _ = answer.try_send(meant.map(|session| session.pin(difficulty)).count());
                }
                Command::Close(network, answer) => {
                    let _ = answer.try_send(self.close_all(network));
                }
                Command::Stop => {
                    self.commit();
                    self.farewell();
                    return false;
                }
            }
        }
        true
    }

    /// The pool stops: a last word to those who can read it.
    fn farewell(&mut self) {
        let mut out = Vec::new();
        for (_, connection) in &mut self.connections {
            connection.session.farewell(&self.shared.settings, &mut out);
            if !out.is_empty() {
                // Whoever is gone or reads too slowly misses it.
                let _ = connection.send(&out);
                out.clear();
            }
        }
    }

    fn close_all(&mut self, network: NetworkBlock) -> usize {
        let meant = self.connections.iter().filter(|(_, connection)| network.contains(connection.address));
        let keys: Vec<usize> = meant.map(|(key, _)| key).collect();
        keys.iter().for_each(|key| self.close(*key, "banned"));
        keys.len()
    }

    fn survey(&self) -> Vec<SessionInfo> {
        let info = |(_, connection): (usize, &Connection)| {
            let info = connection.session.info(connection.address)?;
            Some(SessionInfo { bytes: connection.bytes, ..info })
        };
        self.connections.iter().filter_map(info).collect()
    }

    /// Sends a job to every connection.
    fn fan_out(&mut self, job: &Arc<Job>) {
        self.jobs.push(Arc::clone(job));
        let oldest = self.jobs.oldest();
        let mut lines = JobLines::default();
        let mut gone = Vec::new();
        let mut first = true;
        for (key, connection) in &mut self.connections {
            if connection.leaving.is_some() {
                continue;
            }
            connection.session.job(job, oldest, self.now_ms, &self.shared.settings, &mut lines);
            if let Err(Gone(why)) = lines.send(connection) {
                gone.push((key, why));
            }
            if std::mem::take(&mut first) {
                let now = unix_us();
                let sent = &self.shared.stats.fanout_first_us;
                if sent.compare_exchange(0, now, Relaxed, Relaxed).is_ok() && job.clean {
                    let took = now.saturating_sub(job.template.heard_us) as f64 / 1e6;
                    metrics::histogram!("lode_block_to_first_job_seconds").record(took);
                }
            }
        }
        self.shared.stats.fanout_last_us.fetch_max(unix_us(), Relaxed);
        for (key, why) in gone {
            self.close(key, why);
        }
    }

    /// Accepts what waits, a batch at a time.
    fn accept(&mut self) {
        let mut listeners = std::mem::take(&mut self.accepting);
        listeners.sort_unstable();
        listeners.dedup();
        for number in listeners {
            for i in 0.. {
                if i == ACCEPT_BATCH {
                    self.accepting.push(number);
                    break;
                }
                match self.listeners[number].accept() {
                    Ok((stream, peer)) => self.admit(stream, peer.ip().to_canonical(), number),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    Err(error) => {
                        // Out of files, mostly: tried again at the next tick.
                        self.complain(format_args!("cannot accept a miner's connection: {error}"));
                        break;
                    }
                }
            }
        }
    }

    fn admit(&mut self, stream: mio::net::TcpStream, address: IpAddr, port: usize) {
        let stats = Arc::clone(&self.shared.stats);
        if stats.connections.load(Relaxed) >= self.shared.connections_max {
            self.shared.turned_away(Refusal::Full);
            self.shared.guard().refused(address, Refusal::Full, self.now_ms);
            let max = self.shared.connections_max;
            self.complain(format_args!(
                "all {max} connections are taken: new miners are turned away; raise `ulimit -n` or pool.connections_max"
            ));
            return;
        }
        let proxied = self.shared.proxies.iter().any(|network| network.contains(address));
        if !proxied && !self.ask_guard(address) {
            return;
        }
        let session = Session::new(port as u16, &self.shared.settings, self.now_ms);
        let now_s = (self.now_ms / 1000) as u32;
        let mut connection = Connection::new(stream, address, session, proxied, now_s);
        connection.entered = !proxied;
        let slot = self.connections.vacant_entry();
        let token = Token(slot.key() + LISTENERS_MAX);
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut connection.stream, token, interest).is_err() {
            self.leave(&mut connection);
            return;
        }
        slot.insert(connection);
        stats.connections.fetch_add(1, Relaxed);
        stats.connected.fetch_add(1, Relaxed);
    }

    /// Asks the guard to let an address in. Where room is short only proven and allowed ones are.
    fn ask_guard(&self, address: IpAddr) -> bool {
        let shared = &self.shared;
        let mut guard = shared.guard();
        let short = match shared.draining.load(Relaxed) {
            true => Some(Refusal::Draining),
            false => Pressure::of(shared.pressure.load(Relaxed))
                .filter(|_| !guard.is_allowed(address) && !guard.is_proven(address, self.now_ms)),
        };
        let asked = match short {
            Some(refusal) => {
                guard.refused(address, refusal, self.now_ms);
                Err(refusal)
            }
            None => guard.enter(address, self.now_ms),
        };
        drop(guard);
        asked.inspect_err(|refusal| shared.turned_away(*refusal)).is_ok()
    }

    /// Tells the guard that a connection is gone.
    fn leave(&self, connection: &mut Connection) {
        if connection.entered {
            let mut guard = self.shared.guard();
            if let Some(account) = connection.newcomer.take() {
                guard.no_newcomer(account);
            }
            guard.leave(connection.address, !connection.session.is_authorized(), self.now_ms);
        }
    }

    fn close(&mut self, key: usize, why: &'static str) {
        if let Some(mut connection) = self.connections.try_remove(key) {
            // Closing the socket takes it out of the epoll set.
            if connection.leaving.is_none() {
                note_end(&self.shared, &mut connection, self.now_ms, why);
            }
            self.leave(&mut connection);
            self.shared.stats.connections.fetch_sub(1, Relaxed);
        }
    }

    /// Tells a miner why it has to go, behind all it is owed, and closes once it has read that.
    fn dismiss(&mut self, key: usize, why: &'static str) {
        let Some(word) = last_word(why) else { return self.close(key, why) };
        let start = self.round.out.len();
        write_last_word(word, &mut self.round.out);
        self.round.parts.push((key, start..self.round.out.len()));
        self.commit();
        let now_ms = self.now_ms;
        if let Some(connection) = self.connections.get_mut(key) {
            connection.leave(now_ms);
            note_end(&self.shared, connection, now_ms, why);
        }
    }

    fn flush(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key)
            && let Err(Gone(why)) = connection.flush()
        {
            self.close(key, why);
        }
    }

    /// Reads a chunk from a connection and runs it through its session. `to_end`: the other side has closed, so even
    /// after a short read there is an end to be seen.
    fn read(&mut self, key: usize, to_end: bool, buffer: &mut [u8]) {
        let Some(connection) = self.connections.get_mut(key) else { return };
        let chunk = loop {
            match connection.stream.read(buffer) {
                Ok(0) => return self.close(key, "closed"),
                Ok(read) if connection.leaving.is_some() => {
                    let Some(leaving) = &mut connection.leaving else { return };
                    leaving.ignored += read;
                    if leaving.ignored > LEAVE_BYTES {
                        return self.close(key, "closed");
                    }
                    return self.again.push(key);
                }
                Ok(read) => break &buffer[..read],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(key, "broken"),
            }
        };
        if to_end || chunk.len() == buffer.len() {
            self.again.push(key);
        }
        connection.count(chunk.len());
        let result = match connection.opening {
            Opening::Done if connection.tls.is_none() => self.feed(key, chunk),
            _ => self.opening(key, chunk),
        };
        let result = result.and_then(|()| self.tell_guard(key));
        if let Err(Gone(why)) = result {
            self.dismiss(key, why);
        }
        if self.round.out.len() >= ROUND_BYTES || self.round.shares.len() >= ROUND_SHARES {
            self.commit();
        }
    }

    /// What stands before lines: a load balancer's header, and encryption.
    fn opening(&mut self, key: usize, chunk: &[u8]) -> Result<(), Gone> {
        let connection = &mut self.connections[key];
        match std::mem::replace(&mut connection.opening, Opening::Done) {
            Opening::Proxy(mut held) => {
                held.extend_from_slice(chunk);
                match proxy::parse(&held) {
                    proxy::Header::Partial if held.len() < proxy::HEADER_MAX => {
                        connection.opening = Opening::Proxy(held);
                        return Ok(());
                    }
                    proxy::Header::Complete { len, source } => {
                        let address = source.map_or(connection.address, |source| source.to_canonical());
                        connection.address = address;
                        connection.opening = Opening::First;
                        if !self.ask_guard(address) {
                            return Err(Gone("guard"));
                        }
                        self.connections[key].entered = true;
                        return if held.len() > len { self.opening(key, &held[len..]) } else { Ok(()) };
                    }
                    _ => return Err(Gone("proxy_header")),
                }
            }
            Opening::First => {
                let certificate = self.shared.certificate.as_ref();
                if let Some(certificate) = certificate.filter(|_| Certificate::wanted(chunk[0])) {
                    connection.tls = Some(certificate.accept()?);
                }
            }
            Opening::Done => {}
        }
        let Some(tls) = &mut connection.tls else { return self.feed(key, chunk) };
        let mut plain = std::mem::take(&mut self.plain);
        let received = tls.receive(chunk, &mut plain);
        // The handshake's answer, or why it failed.
        let sent = tls.flush(&mut connection.stream);
        let fed = received.and(sent).and_then(|()| self.feed(key, &plain));
        plain.clear();
        self.plain = plain;
        fed
    }

    /// Tells the guard what a connection did, if that is much, or that it is proven.
    fn tell_guard(&mut self, key: usize) -> Result<(), Gone> {
        let Some(connection) = self.connections.get_mut(key).filter(|connection| connection.entered) else {
            return Ok(());
        };
        let now_s = (self.now_ms / 1000) as u32;
        if now_s >= connection.proven_until_s && connection.session.is_proof(&self.shared.settings) {
            connection.proven_until_s = now_s.saturating_add(PROVEN_SECONDS);
            if let Some(worker) = connection.session.worker() {
                let account = self.shared.account_keys.hash_one(worker.account().script());
                let mut guard = self.shared.guard();
                guard.proved(connection.address, account, self.now_ms);
                if let Some(account) = connection.newcomer.take() {
                    guard.no_newcomer(account);
                }
            }
        }
        if connection.has_much_untold()
            && let Some(traffic) = connection.untold()
        {
            let told = self.shared.guard().report(connection.address, traffic, self.now_ms);
            return told.map_err(|refusal| Gone(refusal.label()));
        }
        Ok(())
    }

    /// Runs bytes through a session.
    fn feed(&mut self, key: usize, chunk: &[u8]) -> Result<(), Gone> {
        let Round { out, parts, shares, answers, found, refused, .. } = &mut self.round;
        let connection = &mut self.connections[key];
        let session = &mut connection.session;
        let start = out.len();
        let gate = Gate {
            shared: &self.shared,
            address: connection.address,
            now_ms: self.now_ms,
            first: Cell::new(!session.is_authorized()),
            newcomer: Cell::new(connection.newcomer),
        };
        let mut context = Context {
            now_ms: self.now_ms,
            jobs: &mut self.jobs,
            accounts: &gate,
            settings: &self.shared.settings,
            shares,
            answers,
            found,
            refused,
        };
        let mut fate = Fate::Stay;
        let result = connection.lines.feed(chunk, MAX_CLIENT_LINE, |line| {
            let said = session.line(line, &mut context, out);
            if said != Fate::Stay {
                fate = said;
            }
            // Whoever has too much refused still gets an answer to every share that was read.
            said != Fate::Malformed
        });
        connection.newcomer = gate.newcomer.get();
        if out.len() > start {
            parts.push((key, start..out.len()));
        }
        for found in self.round.found.drain(..) {
            // Waits where the service is behind: a block is worth it. Fails only when the service has ended.
            let (safe, done) = sync_channel(1);
            if self.handed.send(Handed { found, safe }).is_ok() {
                self.round.unsafe_blocks.push(done);
            }
        }
        match (result, fate) {
            (Err(_), _) => Err(Gone("line_too_long")),
            (_, Fate::Malformed) => Err(Gone("malformed")),
            (_, Fate::Refused) => Err(Gone("refused")),
            _ => Ok(()),
        }
    }

    /// Records the round's shares, then sends its answers.
    fn commit(&mut self) {
        if self.round.parts.is_empty() {
            return;
        }
        let stats = Arc::clone(&self.shared.stats);
        let mut round = std::mem::take(&mut self.round);
        if !round.shares.is_empty() {
            match self.shared.books.record(&round.shares) {
                Ok(()) => {
                    stats.accepted.fetch_add(round.shares.len() as u64, Relaxed);
                    let units = round
                        .shares
                        .iter()
                        .fold(0u64, |sum, share| sum.wrapping_add(share.credit.to_units()));
                    stats.accepted_units.fetch_add(units, Relaxed);
                    stats.log_failed.store(false, Relaxed);
                    metrics::counter!("lode_shares_accepted_total").increment(round.shares.len() as u64);
                }
                Err(error) => {
                    stats.log_failed.store(true, Relaxed);
                    let count = round.shares.len();
                    self.complain(format_args!("{count} shares refused, the log cannot be written: {error}"));
                    refuse_all(&mut round);
                }
            }
        }
        for safe in round.unsafe_blocks.drain(..) {
            if safe.recv_timeout(BLOCK_SAFE_TIMEOUT) == Err(RecvTimeoutError::Timeout) {
                self.complain(format_args!(
                    "a found block is not on disk after {} s",
                    BLOCK_SAFE_TIMEOUT.as_secs()
                ));
            }
        }
        for (reject, count) in Reject::ALL.into_iter().zip(round.refused).filter(|(_, count)| *count > 0) {
            stats.refused[reject.index()].fetch_add(count, Relaxed);
            metrics::counter!("lode_shares_refused_total", "reason" => reject.label()).increment(count);
        }
        for (key, range) in round.parts.drain(..) {
            // Closed in the same round: its slot is empty, since no connection was accepted meanwhile.
            if let Some(connection) = self.connections.get_mut(key)
                && let Err(Gone(why)) = connection.send(&round.out[range])
            {
                self.close(key, why);
            }
        }
        round.out.clear();
        round.shares.clear();
        round.answers.clear();
        round.refused = [0; Reject::ALL.len()];
        self.round = round;
    }

    /// Once a second: closes who does not log in or has gone quiet, and tries again what failed for want of files.
    fn tick(&mut self) {
        self.accepting = (0..self.listeners.len()).collect();
        // An idle pool holds no buffers for what was busy.
        self.round = Round::default();
        let shared = Arc::clone(&self.shared);
        let (now_ms, now_s) = (self.now_ms, (self.now_ms / 1000) as u32);
        // Where room is short, strangers have little time to say who they are.
        let short = shared.stats.connections.load(Relaxed) * 10 >= shared.connections_max * 9;
        let login_ms = if short { shared.login_ms / 10 } else { shared.login_ms };
        let idle = |connection: &Connection| {
            let quiet_ms = now_ms.saturating_sub(connection.session.active_ms());
            match connection.session.is_authorized() {
                true if quiet_ms > shared.idle_ms => Some("idle"),
                false if quiet_ms > login_ms => Some("login"),
                _ => None,
            }
        };
        let ends: Vec<(usize, &'static str)> = self
            .connections
            .iter_mut()
            .filter_map(|(key, connection)| {
                if let Some(leaving) = &connection.leaving {
                    return (now_ms.saturating_sub(leaving.since_ms) > LEAVE_MS).then_some((key, "closed"));
                }
                let lazy = is_below_floor(connection, &shared, now_s);
                Some((key, idle(connection).or(lazy.then_some("work_floor"))?))
            })
            .collect();
        for (key, why) in ends {
            self.dismiss(key, why);
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(REPORT_TICKS) {
            self.report();
        }
    }

    /// Tells the guard of all that it does not know yet.
    fn report(&mut self) {
        let shared = Arc::clone(&self.shared);
        let mut over = Vec::new();
        for (key, connection) in &mut self.connections {
            if let Some(traffic) = connection.untold()
                && connection.entered
                && let Err(refusal) = shared.guard().report(connection.address, traffic, self.now_ms)
            {
                over.push((key, refusal.label()));
            }
        }
        for (key, why) in over {
            self.close(key, why);
        }
    }

    /// Says something that may come by the thousand, at most each ten seconds.
    fn complain(&mut self, what: std::fmt::Arguments<'_>) {
        if self.complained.is_none_or(|at| at.elapsed() > Duration::from_secs(10)) {
            self.complained = Some(Instant::now());
            tracing::warn!("{what}");
        }
    }
}

/// Counts the end of a connection, against its address where it was an offence.
fn note_end(shared: &Shared, connection: &mut Connection, now_ms: u64, why: &'static str) {
    if connection.entered {
        let offences = if OFFENCES.contains(&why) { 1.0 } else { connection.session.offences() };
        let traffic = Traffic { offences, ..connection.untold().unwrap_or_default() };
        let _ = shared.guard().report(connection.address, traffic, now_ms);
    }
    metrics::counter!("lode_connections_closed_total", "reason" => why).increment(1);
}

/// What a miner is told when its connection is closed by the pool; nothing to whom it would be no use.
fn last_word(why: &str) -> Option<&'static str> {
    Some(match why {
        "refused" => "Closing: nearly all that came from here was refused",
        "malformed" => "Closing: too many lines that are no requests or come before a user name",
        "line_too_long" => "Closing: the line is too long",
        "login" => "Closing: no user name was authorised in time",
        "idle" => "Closing: no accepted share for too long",
        "bytes" => "Closing: too much comes from this address",
        "work_floor" => "Closing: less work than this pool asks of each connection",
        _ => return None,
    })
}

/// Whether a connection has not brought the work that is asked of each, at the end of a time it is measured over.
fn is_below_floor(connection: &mut Connection, shared: &Shared, now_s: u32) -> bool {
    let Some((hashes, seconds)) = shared.floor else { return false };
    let (work, since_s) = connection.floor;
    if now_s < since_s.saturating_add(seconds) {
        return false;
    }
    let now = connection.session.work() as f32;
    connection.floor = (now, now_s);
    f64::from(now - work) * shared.hashes_per_difficulty < hashes
}

/// The accounts behind the guard: a user name is entered only where the guard lets it.
struct Gate<'a> {
    shared: &'a Shared,
    address: IpAddr,
    now_ms: u64,
    /// The next user name is the connection's first.
    first: Cell<bool>,
    /// See [`Connection::newcomer`].
    newcomer: Cell<Option<u64>>,
}

impl Accounts for Gate<'_> {
    fn worker(&self, login: &Login) -> Result<Arc<Worker>, Reject> {
        let away = |refusal: Refusal| {
            metrics::counter!("lode_logins_refused_total", "reason" => refusal.label()).increment(1);
            Reject::Unavailable
        };
        self.shared.guard().login(self.address, self.now_ms).map_err(away)?;
        let worker = self.shared.books.worker(login)?;
        if self.first.get() {
            let account = self.shared.account_keys.hash_one(worker.account().script());
            let newcomer = self.shared.guard().arrive(self.address, account, self.now_ms).map_err(away)?;
            self.newcomer.set(newcomer.then_some(account));
            self.first.set(false);
        }
        Ok(worker)
    }

    fn credit_chain(&self, worker: &Worker, share: &ChainShare) -> Credit {
        self.shared.books.credit_chain(worker, share)
    }
}

/// Turns all acceptances of a round into refusals.
fn refuse_all(round: &mut Round) {
    let (mut out, mut parts) =
        (Vec::with_capacity(round.out.len() * 2), Vec::with_capacity(round.parts.len()));
    let mut answers = round.answers.drain(..).peekable();
    for (key, range) in round.parts.drain(..) {
        let start = out.len();
        let mut at = range.start;
        while let Some(answer) = answers.next_if(|answer| answer.start < range.end) {
            out.extend_from_slice(&round.out[at..answer.start]);
            let line = &round.out[answer.clone()];
            let id = line
                .strip_prefix(b"{\"id\":")
                .and_then(|rest| rest.strip_suffix(b",\"result\":true,\"error\":null}\n"));
            write_error(
                id.and_then(|id| std::str::from_utf8(id).ok()).unwrap_or("null"),
                Reject::Unavailable,
                &mut out,
            );
            at = answer.end;
        }
        out.extend_from_slice(&round.out[at..range.end]);
        parts.push((key, start..out.len()));
    }
    round.refused[Reject::Unavailable.index()] += round.shares.len() as u64;
    drop(answers);
    (round.out, round.parts) = (out, parts);
}
