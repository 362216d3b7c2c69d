//! One serving thread: its round, as the front's module page tells it.

mod door;
mod ends;
mod input;
mod mail;
mod round;

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::TcpListener as StdListener;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use slab::Slab;

use super::connection::Connection;
use super::{Handed, Mailbox, Shared, unix_us};
use crate::share::Jobs;
use round::Round;

/// Bytes read from one connection at a time; a connection with more waiting is read again behind the others.
const READ_CHUNK: usize = 64 * 1024;
/// Ready connections asked of the system at a time.
const EVENTS_MAX: usize = 1_024;
/// Ready miners served before their answers leave: answers wait for the end of a round, so it must be short.
const MINERS_BATCH: usize = 128;
/// Strangers served, and connections accepted and ended, before it is looked whether a miner is ready: a crowd at the door
/// makes those who work wait for a tenth of a millisecond.
const STRANGERS_BATCH: usize = 8;
/// Bytes read from a stranger at a time, for the same reason: a whole log-in.
const STRANGER_CHUNK: usize = 4 * 1024;
/// A wait for events that took no longer than this is no rest: they were there, and asking is work too.
const SHORT_WAIT: Duration = Duration::from_micros(20);
/// Between looks at idle connections, and at the longest between looks at the mailbox.
const TICK: Duration = Duration::from_secs(1);

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
        strangers: VecDeque::new(),
        late: Vec::new(),
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
    /// Miners with more to read than one chunk.
    again: Vec<usize>,
    /// Ready connections that have brought no work: served behind those that have, a few at a time. Who has left may still
    /// be in it, so a connection has to know that it waits.
    strangers: VecDeque<usize>,
    /// Connections whose time is over, it seems: ended a few at a time.
    late: Vec<usize>,
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
            let asked = Instant::now();
            let wait = match self.has_more() {
                true => Duration::ZERO,
                false => next_tick.saturating_duration_since(asked),
            };
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
            self.serve(&events, &mut buffer);
            self.serve_strangers(&mut buffer);
            self.accept();
            self.end_late();
            if Instant::now() >= next_tick {
                next_tick = Instant::now() + TICK;
                self.tick();
            }
            let rested = woke.duration_since(asked) > SHORT_WAIT;
            let since = if rested { woke } else { asked };
            let busy_us = u64::try_from(since.elapsed().as_micros()).unwrap_or(0);
            self.shared.busy_us[self.number].fetch_add(busy_us, Relaxed);
        }
    }

    /// True where something is left of the last round.
    fn has_more(&self) -> bool {
        !(self.again.is_empty()
            && self.strangers.is_empty()
            && self.accepting.is_empty()
            && self.late.is_empty())
    }

    /// Serves the miners that are ready, and puts the strangers in their queue.
    fn serve(&mut self, events: &Events, buffer: &mut [u8]) {
        let mut served = self.again.len();
        for key in std::mem::take(&mut self.again) {
            self.read(key, buffer);
        }
        for event in events {
            let key = match event.token() {
                WAKER => continue,
                Token(listener) if listener < LISTENERS_MAX => {
                    self.accepting.push(listener);
                    continue;
                }
                Token(token) => token - LISTENERS_MAX,
            };
            if event.is_writable() {
                self.flush(key);
            }
            if !event.is_readable() && !event.is_error() {
                continue;
            }
            let Some(connection) = self.connections.get_mut(key) else { continue };
            connection.to_end |= event.is_read_closed() || event.is_error();
            if connection.is_miner(&self.shared.settings) {
                self.read(key, buffer);
                served += 1;
                if served.is_multiple_of(MINERS_BATCH) {
                    self.commit();
                }
            } else {
                self.queue(key);
            }
        }
        self.commit();
    }

    /// Puts a connection behind the strangers that are ready.
    fn queue(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key)
            && !std::mem::replace(&mut connection.queued, true)
        {
            self.strangers.push_back(key);
        }
    }

    /// Serves the strangers that have waited longest.
    fn serve_strangers(&mut self, buffer: &mut [u8]) {
        for _ in 0..STRANGERS_BATCH {
            let Some(key) = self.strangers.pop_front() else { break };
            let waits =
                self.connections.get_mut(key).map(|connection| std::mem::take(&mut connection.queued));
            if waits == Some(true) {
                self.read(key, &mut buffer[..STRANGER_CHUNK]);
            }
        }
        self.commit();
    }

    /// Says something that may come by the thousand, at most each ten seconds.
    fn complain(&mut self, what: std::fmt::Arguments<'_>) {
        if self.complained.is_none_or(|at| at.elapsed() > Duration::from_secs(10)) {
            self.complained = Some(Instant::now());
            tracing::warn!("{what}");
        }
    }
}
