//! What miners send: from the socket through encryption and framing to the session.

use std::cell::Cell;
use std::hash::BuildHasher as _;
use std::io::{ErrorKind, Read as _};
use std::sync::mpsc::sync_channel;

use lode_stratum::MAX_CLIENT_LINE;

use super::super::connection::{Gone, Opening};
use super::super::tls::Certificate;
use super::super::{Handed, proxy};
use super::Thread;
use super::door::Gate;
use super::ends::LEAVE_BYTES;
use super::round::{ROUND_BYTES, ROUND_SHARES, Round};
use crate::session::{Context, Fate};

/// Between two times that the guard is told that a connection's block is proven.
const PROVEN_SECONDS: u32 = 3_600;

impl Thread {
    pub(super) fn flush(&mut self, key: usize) {
        if let Some(connection) = self.connections.get_mut(key)
            && let Err(Gone(why)) = connection.flush()
        {
            self.close(key, why);
        }
    }

    /// Reads a chunk from a connection and runs it through its session.
    pub(super) fn read(&mut self, key: usize, buffer: &mut [u8]) {
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
                    return self.queue(key);
                }
                Ok(read) => break &buffer[..read],
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return self.close(key, "broken"),
            }
        };
        let more = connection.to_end || chunk.len() == buffer.len();
        let miner = connection.is_miner(&self.shared.settings);
        connection.count(chunk.len());
        let result = match connection.opening {
            Opening::Done if connection.tls.is_none() => self.feed(key, chunk),
            _ => self.opening(key, chunk),
        };
        let result = result.and_then(|()| self.tell_guard(key));
        if let Err(Gone(why)) = result {
            self.dismiss(key, why);
        }
        match (more, miner) {
            (true, true) => self.again.push(key),
            (true, false) => self.queue(key),
            _ => {}
        }
        if self.round.out.len() >= ROUND_BYTES || self.round.shares.len() >= ROUND_SHARES {
            self.commit();
        }
    }

    /// What stands before lines: a load balancer's header, and encryption.
    pub(super) fn opening(&mut self, key: usize, chunk: &[u8]) -> Result<(), Gone> {
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
                        self.connections[key].let_in(&self.shared.allow);
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
    pub(super) fn tell_guard(&mut self, key: usize) -> Result<(), Gone> {
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
    pub(super) fn feed(&mut self, key: usize, chunk: &[u8]) -> Result<(), Gone> {
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
}
