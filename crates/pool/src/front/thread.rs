//! One serving thread: its round, as the front's module page tells it.

mod door;
mod ends;
mod input;
mod mail;
mod round;

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
/// Ready connections served in a round: answers wait for its end, so that a crowd makes miners wait a millisecond, not twenty.
const EVENTS_MAX: usize = 128;
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

    /// Says something that may come by the thousand, at most each ten seconds.
    fn complain(&mut self, what: std::fmt::Arguments<'_>) {
        if self.complained.is_none_or(|at| at.elapsed() > Duration::from_secs(10)) {
            self.complained = Some(Instant::now());
            tracing::warn!("{what}");
        }
    }
}
