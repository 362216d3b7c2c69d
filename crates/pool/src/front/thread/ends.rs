//! Ends of connections: who is closed, why, and what it is told.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use lode_stratum::write_last_word;

use super::super::Shared;
use super::super::connection::Connection;
use super::round::Round;
use super::{STRANGERS_BATCH, Thread};
use crate::guard::Traffic;

/// How long a connection that is told to go may take to go, in milliseconds, and how much it may still send meanwhile.
const LEAVE_MS: u64 = 2_000;
pub(super) const LEAVE_BYTES: usize = 1024 * 1024;

/// Ends of a connection that count against its address.
const OFFENCES: [&str; 7] =
    ["malformed", "refused", "line_too_long", "slow_reader", "login", "proxy_header", "tls"];
/// Ticks between two reports of what every connection did.
const REPORT_TICKS: u32 = 10;

impl Thread {
    /// Tells the guard that a connection is gone.
    pub(super) fn leave(&self, connection: &mut Connection) {
        if connection.entered {
            let mut guard = self.shared.guard();
            if let Some(account) = connection.newcomer.take() {
                guard.no_newcomer(account);
            }
            guard.leave(connection.address, !connection.session.is_authorized(), self.now_ms);
        }
    }

    pub(super) fn close(&mut self, key: usize, why: &'static str) {
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
    pub(super) fn dismiss(&mut self, key: usize, why: &'static str) {
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

    /// Once a second: looks for who does not log in or has gone quiet, and tries again what failed for want of files.
    pub(super) fn tick(&mut self) {
        self.accepting = (0..self.listeners.len()).collect();
        // An idle pool holds no buffers for what was busy.
        self.round = Round::default();
        let (now_ms, now_s) = (self.now_ms, (self.now_ms / 1000) as u32);
        let login_ms = self.login_ms();
        for (key, connection) in &mut self.connections {
            let lazy = is_below_floor(connection, &self.shared, now_s);
            if lazy || is_over(connection, self.shared.idle_ms, login_ms, now_ms) {
                connection.late = true;
                self.late.push(key);
            }
        }
        self.ticks += 1;
        if self.ticks.is_multiple_of(REPORT_TICKS) {
            self.report();
        }
    }

    /// How long a connection may take to authorise a user name: where room is short, a tenth of what it has else.
    fn login_ms(&self) -> u64 {
        let (open, most) = (self.shared.stats.connections.load(Relaxed), self.shared.connections_max);
        if open * 10 >= most * 9 { self.shared.login_ms / 10 } else { self.shared.login_ms }
    }

    /// Ends some of those whose time is over. A crowd that came at once is over at once.
    pub(super) fn end_late(&mut self) {
        for _ in 0..STRANGERS_BATCH {
            let Some(key) = self.late.pop() else { return };
            // Who has gone meanwhile has left its place to another, perhaps, which is not late.
            let Some(connection) = self.connections.get_mut(key) else { continue };
            if !std::mem::take(&mut connection.late) {
                continue;
            }
            let why = match &connection.leaving {
                Some(_) => "closed",
                None if !connection.session.is_authorized() => "login",
                None if is_over(connection, self.shared.idle_ms, 0, self.now_ms) => "idle",
                None => "work_floor",
            };
            self.dismiss(key, why);
        }
    }

    /// Tells the guard of all that it does not know yet.
    pub(super) fn report(&mut self) {
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

/// Whether the time is over that a connection had to go, to authorise a user name, or to bring a share.
fn is_over(connection: &Connection, idle_ms: u64, login_ms: u64, now_ms: u64) -> bool {
    let quiet_ms = now_ms.saturating_sub(connection.session.active_ms());
    match &connection.leaving {
        Some(leaving) => now_ms.saturating_sub(leaving.since_ms) > LEAVE_MS,
        None if connection.session.is_authorized() => quiet_ms > idle_ms,
        None => quiet_ms > login_ms,
    }
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
