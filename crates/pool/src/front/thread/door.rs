//! Who comes in: accepting, asking the guard at connect and at log-in.

use std::cell::Cell;
use std::hash::BuildHasher as _;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lode_ledger::{ChainShare, Credit, Worker};
use lode_stratum::{Login, Reject};
use mio::{Interest, Token};

use super::super::Shared;
use super::super::connection::Connection;
use super::super::limits::Pressure;
use super::{LISTENERS_MAX, STRANGERS_BATCH, Thread};
use crate::guard::Refusal;
use crate::session::{Accounts, Session};

/// Connections accepted before others are served again: as many as strangers are served, so that who has come is also heard.
const ACCEPT_BATCH: usize = STRANGERS_BATCH;

impl Thread {
    /// Accepts what waits, a batch at a time.
    pub(super) fn accept(&mut self) {
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

    pub(super) fn admit(&mut self, stream: mio::net::TcpStream, address: IpAddr, port: usize) {
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
        if !proxied {
            connection.let_in(&self.shared.allow);
        }
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
    pub(super) fn ask_guard(&self, address: IpAddr) -> bool {
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
}

/// The accounts behind the guard: a user name is entered only where the guard lets it.
pub(super) struct Gate<'a> {
    pub(super) shared: &'a Shared,
    pub(super) address: IpAddr,
    pub(super) now_ms: u64,
    /// The next user name is the connection's first.
    pub(super) first: Cell<bool>,
    /// See [`Connection::newcomer`].
    pub(super) newcomer: Cell<Option<u64>>,
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
