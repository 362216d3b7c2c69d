//! One socket and what belongs to it. It holds bytes only while a line is incomplete or the miner reads slowly.

use std::io::{self, IoSlice, Write as _};
use std::net::{IpAddr, Shutdown};

use bytes::Bytes;
use lode_stratum::LineSplitter;
use mio::net::TcpStream;

use super::tls::Tls;
use crate::guard::{NetworkBlock, Traffic};
use crate::session::{Session, SessionSettings, Sink};

/// Bytes a slow reader may leave unread in here before it is closed: several jobs of the largest class, or the answers to a
/// thousand shares.
pub(super) const UNSENT_MAX: usize = 256 * 1024;

/// What the guard is told of at the latest: bytes, and shares or refusals.
const UNTOLD_BYTES: u32 = 64 * 1024;
const UNTOLD_COUNT: u32 = 64;

/// What a connection's next bytes are.
pub(super) enum Opening {
    /// A balancer's header, of which this much has come.
    Proxy(Vec<u8>),
    /// The first byte: TLS or a line.
    First,
    /// Over.
    Done,
}

/// A miner's connection.
pub(super) struct Connection {
    pub(super) stream: TcpStream,
    /// The miner's address: the peer's, or the one its load balancer told.
    pub(super) address: IpAddr,
    /// The guard has let it in, and must be told when it goes.
    pub(super) entered: bool,
    pub(super) lines: LineSplitter,
    pub(super) session: Session,
    pub(super) opening: Opening,
    pub(super) tls: Option<Box<Tls>>,
    pub(super) leaving: Option<Leaving>,
    /// Waits among the strangers that are ready.
    pub(super) queued: bool,
    /// Its time is over: it is to be ended.
    pub(super) late: bool,
    /// The other side has closed: even behind a short read there is an end to be seen.
    pub(super) to_end: bool,
    unsent: Vec<u8>,
    /// The account it counts for as a newcomer's, by the guard's hash.
    pub(super) newcomer: Option<u64>,
    /// Unix seconds until which the guard knows it as proven.
    pub(super) proven_until_s: u32,
    /// Where its work stood when it was last held against the floor, and when that was (Unix seconds).
    pub(super) floor: (f32, u32),
    /// Bytes received, and those that the guard does not know of.
    pub(super) bytes: u64,
    untold_bytes: u32,
    /// Shares accepted and requests refused that the guard knows of.
    told: (u32, u32),
}

/// It is about to be closed: nothing it sends is looked at any more, and it goes once the miner has closed its end. A
/// socket closed with bytes unread would take back answers that are still on their way.
pub(super) struct Leaving {
    /// Since when, Unix milliseconds.
    pub(super) since_ms: u64,
    /// Bytes read since, and not looked at.
    pub(super) ignored: usize,
}

/// The connection is of no further use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone(pub(super) &'static str);

impl Connection {
    pub(super) fn new(
        stream: TcpStream,
        address: IpAddr,
        session: Session,
        proxied: bool,
        now_s: u32,
    ) -> Self {
        Self {
            stream,
            address,
            entered: false,
            lines: LineSplitter::default(),
            session,
            opening: if proxied { Opening::Proxy(Vec::new()) } else { Opening::First },
            tls: None,
            leaving: None,
            queued: false,
            late: false,
            to_end: false,
            unsent: Vec::new(),
            newcomer: None,
            proven_until_s: 0,
            floor: (0.0, now_s),
            bytes: 0,
            untold_bytes: 0,
            told: (0, 0),
        }
    }

    /// The guard has let it in. `allow`: networks without limits.
    pub(super) fn let_in(&mut self, allow: &[NetworkBlock]) {
        self.entered = true;
        if allow.iter().any(|network| network.contains(self.address)) {
            self.session.bear_refusals();
        }
    }

    /// True where it has brought work: it is served before those that have not.
    pub(super) fn is_miner(&self, settings: &SessionSettings) -> bool {
        self.leaving.is_none() && self.session.is_miner(settings)
    }

    /// Counts bytes that came in.
    pub(super) fn count(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes = self.bytes.saturating_add(bytes.into());
        self.untold_bytes = self.untold_bytes.saturating_add(bytes);
    }

    /// True where the guard should be told at once.
    pub(super) fn has_much_untold(&self) -> bool {
        let (accepted, refused) = self.session.counts();
        self.untold_bytes >= UNTOLD_BYTES
            || accepted - self.told.0 >= UNTOLD_COUNT
            || refused - self.told.1 >= UNTOLD_COUNT
    }

    /// What the guard is to be told, `None` where there is nothing.
    pub(super) fn untold(&mut self) -> Option<Traffic> {
        let (accepted, refused) = self.session.counts();
        let bytes = std::mem::take(&mut self.untold_bytes);
        let (knew_accepted, knew_refused) = std::mem::replace(&mut self.told, (accepted, refused));
        let traffic = Traffic {
            bytes,
            accepted: accepted - knew_accepted,
            refused: refused - knew_refused,
            offences: 0.0,
        };
        (traffic != Traffic::default()).then_some(traffic)
    }

    /// Sends bytes, or keeps what the socket does not take.
    pub(super) fn send(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.send_both(&[], bytes)
    }

    /// Sends two runs of bytes in one go.
    fn send_both(&mut self, first: &[u8], second: &[u8]) -> Result<(), Gone> {
        if let Some(tls) = &mut self.tls {
            tls.say(first)?;
            tls.say(second)?;
            return tls.flush(&mut self.stream);
        }
        let mut written = 0;
        if self.unsent.is_empty() {
            let result = if first.is_empty() {
                self.stream.write(second)
            } else {
                self.stream.write_vectored(&[IoSlice::new(first), IoSlice::new(second)])
            };
            written = match result {
                Ok(written) => written,
                Err(error) if is_transient(&error) => 0,
                Err(_) => return Err(Gone("broken")),
            };
        }
        if written < first.len() + second.len() {
            let (first_left, second_left) = match written.checked_sub(first.len()) {
                None => (&first[written..], second),
                Some(of_second) => (&[][..], &second[of_second..]),
            };
            if self.unsent.len() + first_left.len() + second_left.len() > UNSENT_MAX {
                return Err(Gone("slow_reader"));
            }
            self.unsent.extend_from_slice(first_left);
            self.unsent.extend_from_slice(second_left);
        }
        Ok(())
    }

    /// Sends no more than what it is still owed; the miner sees the end behind that.
    pub(super) fn leave(&mut self, now_ms: u64) {
        self.leaving = Some(Leaving { since_ms: now_ms, ignored: 0 });
        self.end_if_done();
    }

    fn end_if_done(&self) {
        let sent = self.unsent.is_empty() && self.tls.as_ref().is_none_or(|tls| tls.is_sent());
        if self.leaving.is_some() && sent {
            // Fails where the miner has gone already, which is seen when it is read.
            let _ = self.stream.shutdown(Shutdown::Write);
        }
    }

    /// The socket can take more.
    pub(super) fn flush(&mut self) -> Result<(), Gone> {
        if let Some(tls) = &mut self.tls {
            let waited = !tls.is_sent();
            tls.flush(&mut self.stream)?;
            if waited {
                self.end_if_done();
            }
            return Ok(());
        }
        let mut done = 0;
        while done < self.unsent.len() {
            match self.stream.write(&self.unsent[done..]) {
                Ok(0) => return Err(Gone("broken")),
                Ok(written) => done += written,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return Err(Gone("broken")),
            }
        }
        if done == self.unsent.len() {
            // Frees the memory: idle connections hold none.
            self.unsent = Vec::new();
            if done > 0 {
                self.end_if_done();
            }
        } else {
            self.unsent.drain(..done);
        }
        Ok(())
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// What a session says to a new job: a few bytes of its own, then the job's shared line.
#[derive(Default)]
pub(super) struct JobLines {
    own: Vec<u8>,
    shared: Option<Bytes>,
}

impl Sink for JobLines {
    fn own(&mut self, bytes: &[u8]) {
        self.own.extend_from_slice(bytes);
    }

    fn shared(&mut self, bytes: &Bytes) {
        self.shared = Some(bytes.clone());
    }
}

impl JobLines {
    /// Sends what the session said and forgets it.
    pub(super) fn send(&mut self, connection: &mut Connection) -> Result<(), Gone> {
        let Some(shared) = self.shared.take() else { return Ok(()) };
        let result = connection.send_both(&self.own, &shared);
        self.own.clear();
        result
    }
}
