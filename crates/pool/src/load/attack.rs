//! Those who mean harm, for tests of one's own pool: connections that churn, dawdle, send nonsense, send shares without work,
//! or say nothing, from many loopback addresses. Each comes back as long as it is closed.

use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use serde::Serialize;

use super::LoadError;
use super::run::{connect, random_line};

/// What an attacker does, once a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Attack {
    /// Connects, begins to log in, and goes.
    Churn,
    /// Logs in byte by byte, asks much and reads nothing.
    Slow,
    /// Sends lines that are no requests.
    Malformed,
    /// Logs in under a big miner's address and sends shares without work.
    LowWork,
    /// Connects and says nothing.
    Silent,
}

impl Attack {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Churn, Self::Slow, Self::Malformed, Self::LowWork, Self::Silent];

    /// Its name, as `lode load --attack` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Churn => "churn",
            Self::Slow => "slow",
            Self::Malformed => "malformed",
            Self::LowWork => "low-work",
            Self::Silent => "silent",
        }
    }
}

impl FromStr for Attack {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|attack| attack.name() == name).ok_or_else(|| {
            format!("no attack is called {name:?}; there are churn, slow, malformed, low-work and silent")
        })
    }
}

/// An attack.
#[derive(Debug, Clone)]
pub struct AttackOptions {
    /// The pool: one's own.
    pub address: SocketAddr,
    /// What attackers do, in turn.
    pub kinds: Vec<Attack>,
    /// Attackers, each with a connection.
    pub attackers: usize,
    /// Loopback addresses they come from, in turn: 127.64.0.1 and those after it.
    pub sources: u32,
    /// Whose address they mine under.
    pub user: String,
    /// For how long.
    pub time: Duration,
    /// Between two acts of one attacker.
    pub pause: Duration,
}

/// What attackers saw.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct AttackReport {
    /// Connects.
    pub connects: u64,
    /// Connections that the pool closed or refused.
    pub closed: u64,
    /// Acts: lines, batches, bytes.
    pub acts: u64,
    /// Connections open at the end.
    pub open: usize,
}

struct Attacker {
    kind: Attack,
    source: IpAddr,
    stream: Option<TcpStream>,
    connected: bool,
    /// Acts since the connect.
    step: usize,
}

/// Attacks until the time is over.
pub fn attack(options: &AttackOptions) -> Result<AttackReport, LoadError> {
    let mut poll = Poll::new().map_err(LoadError::Poll)?;
    let mut events = Events::with_capacity(4096);
    let mut report = AttackReport::default();
    let mut sink = vec![0; 64 * 1024];
    let began = Instant::now();
    // Acts come at a steady rate: who acted last acts again after the pause.
    let mut due: VecDeque<(Instant, usize)> = (0..options.attackers)
        .map(|n| (began + options.pause.mul_f64(n as f64 / options.attackers as f64), n))
        .collect();
    let mut attackers: Vec<Attacker> = (0..options.attackers)
        .map(|n| Attacker {
            kind: options.kinds[n % options.kinds.len().max(1)],
            source: IpAddr::V4(Ipv4Addr::from_bits(0x7f40_0001 + n as u32 % options.sources.max(1))),
            stream: None,
            connected: false,
            step: 0,
        })
        .collect();
    while began.elapsed() < options.time {
        let now = Instant::now();
        while let Some(&(_, n)) = due.front().filter(|(at, _)| *at <= now) {
            due.pop_front();
            due.push_back((now + options.pause, n));
            attackers[n].act(n, options, &poll, &mut report);
        }
        let wait = due.front().map_or(Duration::ZERO, |(at, _)| at.saturating_duration_since(now));
        if let Err(error) = poll.poll(&mut events, Some(wait.min(Duration::from_millis(100))))
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            return Err(LoadError::Poll(error));
        }
        for event in &events {
            let attacker = &mut attackers[event.token().0];
            attacker.connected |= event.is_writable();
            if event.is_readable() || event.is_error() {
                attacker.read(&mut sink, event.is_read_closed() || event.is_error(), &mut report);
            }
        }
    }
    report.open = attackers.iter().filter(|attacker| attacker.stream.is_some()).count();
    Ok(report)
}

impl Attacker {
    fn act(&mut self, number: usize, options: &AttackOptions, poll: &Poll, report: &mut AttackReport) {
        if self.stream.is_none() {
            let Ok(mut stream) = connect(options.address, Some(self.source), true) else { return };
            let interest = Interest::READABLE | Interest::WRITABLE;
            if poll.registry().register(&mut stream, Token(number), interest).is_ok() {
                report.connects += 1;
                (self.stream, self.connected, self.step) = (Some(stream), false, 0);
            }
            return;
        }
        if !self.connected {
            return;
        }
        self.step += 1;
        let user = &options.user;
        let login = || {
            format!(
                "{{\"id\":1,\"method\":\"mining.subscribe\",\"params\":[]}}\n\
                 {{\"id\":2,\"method\":\"mining.authorize\",\"params\":[\"{user}.x{number}\",\"x\"]}}\n"
            )
            .into_bytes()
        };
        let said = match self.kind {
            Attack::Silent => return,
            Attack::Churn => {
                let half = login();
                half[..half.len() / 2].to_vec()
            }
            Attack::Slow if self.step < 40 => login()[self.step - 1..self.step].to_vec(),
            Attack::Slow => b"{\"id\":1,\"method\":\"mining.get_version\",\"params\":[]}\n".repeat(100),
            Attack::Malformed => {
                let mut lines = Vec::new();
                (0..8).for_each(|_| random_line(&mut rand::rng(), &mut lines));
                lines
            }
            Attack::LowWork if self.step == 1 => login(),
            Attack::LowWork => {
                let share = format!(
                    "{{\"id\":9,\"method\":\"mining.submit\",\"params\":[\"{user}.x{number}\",\"0\",\"0000000000000000\",\"00000000\",\"00000000\"]}}\n"
                );
                share.repeat(10).into_bytes()
            }
        };
        report.acts += 1;
        let Some(stream) = &mut self.stream else { return };
        let gone = stream.write(&said).is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock);
        if gone {
            report.closed += 1;
        }
        if gone || self.kind == Attack::Churn {
            self.stream = None;
        }
    }

    fn read(&mut self, sink: &mut [u8], to_end: bool, report: &mut AttackReport) {
        // Who dawdles leaves what it is sent unread.
        if self.kind == Attack::Slow {
            return;
        }
        while let Some(stream) = &mut self.stream {
            match stream.read(sink) {
                Ok(read) if read == sink.len() || read > 0 && to_end => {}
                Ok(read) if read > 0 => return,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return,
                _ => {
                    report.closed += 1;
                    self.stream = None;
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attacks_are_found_by_their_names() {
        for attack in Attack::ALL {
            assert_eq!(attack.name().parse(), Ok(attack));
        }
        assert!("flood".parse::<Attack>().unwrap_err().contains("low-work"));
    }
}
