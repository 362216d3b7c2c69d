//! The load, phase after phase.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use lode_stratum::{Notify, ServerMessage, write_submit};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, Socket, Type};

use super::client::{Client, FIRST_SHARE, Line, State};
use super::{JobSeen, LoadError, LoadOptions, LoadReport, ShareKind, usage};

/// A connection that is not logged in by then is given up.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(60);
/// After the last share, how long answers are waited for.
const LAST_ANSWERS: Duration = Duration::from_secs(3);
/// Jobs kept for the report.
const JOBS_MAX: usize = 1_000;

struct Load<'a> {
    options: &'a LoadOptions,
    poll: Poll,
    clients: Vec<Option<Client>>,
    buffer: Vec<u8>,
    job: Option<Notify>,
    /// Id, first and last arrival, and how many got it.
    seen: Vec<(String, Instant, Instant, usize)>,
    ready: usize,
    lost: usize,
    trouble: String,
    accepted: u64,
    refused: u64,
    cut_off: u64,
    latencies: Vec<u32>,
    /// Clients whose shares are all answered.
    idle: Vec<usize>,
    nonce: u32,
    next_id: u64,
    line: Vec<u8>,
}

/// Puts the load on, and reports.
pub fn run(options: &LoadOptions, mut say: impl FnMut(&str)) -> Result<LoadReport, LoadError> {
    let before = options.pid.map(usage).transpose()?;
    let mut load = Load {
        options,
        poll: Poll::new().map_err(LoadError::Poll)?,
        clients: Vec::new(),
        buffer: vec![0; 128 * 1024],
        job: None,
        seen: Vec::new(),
        ready: 0,
        lost: 0,
        trouble: "nothing answered in time".into(),
        accepted: 0,
        refused: 0,
        cut_off: 0,
        latencies: Vec::new(),
        idle: Vec::new(),
        nonce: 0,
        next_id: FIRST_SHARE,
        line: Vec::new(),
    };
    let mut report =
        LoadReport { memory_before: before.map(|usage| usage.resident), ..LoadReport::default() };
    say(&format!("connecting {} miners", options.connections));
    let began = Instant::now();
    load.connect_all()?;
    report.connections = load.ready;
    report.logins_per_second = load.ready as f64 / began.elapsed().as_secs_f64();
    if load.ready == 0 && options.connections > 0 {
        return Err(LoadError::NoLogin { address: options.address, trouble: load.trouble });
    }
    load.pump_for(options.idle)?;
    if let (Some(pid), Some(before)) = (options.pid, before) {
        let grown = usage(pid)?.resident as f64 - before.resident as f64;
        report.bytes_per_connection = Some(grown / load.ready.max(1) as f64);
    }
    if !options.shares_for.is_zero() {
        say("sending shares");
        load.send_shares(&mut report)?;
    }
    if !options.jobs_for.is_zero() {
        say("waiting for new jobs");
        load.seen.clear();
        load.pump_for(options.jobs_for)?;
    }
    if options.nonsense > 0 {
        say("sending nonsense");
        report.nonsense = nonsense(options);
    }
    report.lost = load.lost;
    report.memory_after = options.pid.map(usage).transpose()?.map(|usage| usage.resident);
    let jobs = load.seen.into_iter().filter(|(.., connections)| *connections > 1);
    report.jobs = jobs
        .map(|(job, first, last, connections)| JobSeen {
            job,
            connections,
            spread_us: last.duration_since(first).as_micros() as u64,
        })
        .collect();
    Ok(report)
}

impl Load<'_> {
    fn connect_all(&mut self) -> Result<(), LoadError> {
        let mut events = Events::with_capacity(4096);
        let mut started = 0;
        let mut last_progress = Instant::now();
        let mut done = 0;
        while done < self.options.connections && last_progress.elapsed() < LOGIN_TIMEOUT {
            while started < self.options.connections && started - done < self.options.connecting.max(1) {
                self.start_one(started);
                started += 1;
            }
            self.pump(&mut events, Duration::from_millis(100))?;
            if self.ready + self.lost > done {
                done = self.ready + self.lost;
                last_progress = Instant::now();
            }
        }
        Ok(())
    }

    fn start_one(&mut self, number: usize) {
        let connected =
            connect(self.options.address, source(self.options, number), false).and_then(|mut stream| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                self.poll.registry().register(&mut stream, Token(self.clients.len()), interest)?;
                Ok(stream)
            });
        match connected {
            Ok(stream) => self.clients.push(Some(Client::new(stream, number))),
            Err(error) => {
                self.trouble = error.to_string();
                self.lost += 1;
                self.clients.push(None);
            }
        }
    }

    fn lose(&mut self, key: usize, why: &str) {
        if let Some(mut client) = self.clients[key].take() {
            if client.state == State::Ready {
                self.ready -= 1;
            }
            self.cut_off += client.waiting as u64;
            let _ = self.poll.registry().deregister(&mut client.stream);
            why.clone_into(&mut self.trouble);
            self.lost += 1;
        }
    }

    fn pump_for(&mut self, time: Duration) -> Result<(), LoadError> {
        let mut events = Events::with_capacity(4096);
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.pump(&mut events, end.saturating_duration_since(Instant::now()))?;
        }
        Ok(())
    }

    /// Waits for events and takes what came.
    fn pump(&mut self, events: &mut Events, wait: Duration) -> Result<(), LoadError> {
        if let Err(error) = self.poll.poll(events, Some(wait))
            && error.kind() != io::ErrorKind::Interrupted
        {
            return Err(LoadError::Poll(error));
        }
        for event in events.iter() {
            let key = event.token().0;
            if event.is_writable() {
                self.writable(key);
            }
            if event.is_readable() || event.is_error() {
                self.readable(key, event.is_read_closed() || event.is_error());
            }
        }
        Ok(())
    }

    fn writable(&mut self, key: usize) {
        let Some(client) = &mut self.clients[key] else { return };
        let result = match client.state {
            State::Connecting => match client.stream.take_error() {
                Ok(None) => client.login(&self.options.user, &self.options.password),
                Ok(Some(error)) | Err(error) => Err(error),
            },
            _ => client.flush(),
        };
        if let Err(error) = result {
            self.lose(key, &error.to_string());
        }
    }

    fn readable(&mut self, key: usize, to_end: bool) {
        let Some(client) = &mut self.clients[key] else { return };
        let now = Instant::now();
        let (mut logged_in, mut refused_login, mut has_job, mut answers) = (false, false, false, 0);
        let (accepted, refused, seen, job) =
            (&mut self.accepted, &mut self.refused, &mut self.seen, &mut self.job);
        let open = client.read(&mut self.buffer, to_end, |line| match line {
            Line::LoggedIn => logged_in = true,
            Line::LoginRefused => refused_login = true,
            Line::Accepted => {
                *accepted += 1;
                answers += 1;
            }
            Line::Refused => {
                *refused += 1;
                answers += 1;
            }
            Line::Job(line) => {
                has_job = true;
                see_job(line, now, seen, job);
            }
            Line::Other => {}
        });
        client.has_job |= has_job;
        if logged_in {
            client.state = State::Ready;
            self.ready += 1;
        }
        if answers > 0 {
            client.waiting = client.waiting.saturating_sub(answers);
            if client.waiting == 0 {
                if let Some(sent) = client.sent.take() {
                    self.latencies
                        .push(u32::try_from(now.duration_since(sent).as_micros()).unwrap_or(u32::MAX));
                }
                self.idle.push(key);
            }
        }
        if refused_login {
            self.lose(key, "the pool refused the user name");
        } else if !open {
            self.lose(key, "the pool closed the connection");
        }
    }

    fn send_shares(&mut self, report: &mut LoadReport) -> Result<(), LoadError> {
        if self.job.is_none() {
            return Ok(());
        }
        self.idle = (0..self.clients.len())
            .filter(|&key| {
                // Who was sent no job yet has nothing to send.
                self.clients[key]
                    .as_ref()
                    .is_some_and(|client| client.state == State::Ready && client.has_job)
            })
            .take(self.options.sending.max(1))
            .collect();
        let cpu = self.options.pid.map(usage).transpose()?;
        let mut events = Events::with_capacity(4096);
        let began = Instant::now();
        let end = began + self.options.shares_for;
        let mut sent = 0u64;
        while Instant::now() < end && self.ready > 0 {
            let due = match self.options.rate {
                0.0 => u64::MAX,
                rate => (began.elapsed().as_secs_f64() * rate) as u64,
            };
            let mut later = Vec::new();
            for key in std::mem::take(&mut self.idle) {
                if sent >= due {
                    later.push(key);
                    continue;
                }
                sent += self.send_batch(key);
            }
            self.idle.append(&mut later);
            self.pump(&mut events, Duration::from_millis(1))?;
        }
        let answered = self.accepted + self.refused;
        let seconds = began.elapsed().as_secs_f64();
        if let (Some(pid), Some(cpu)) = (self.options.pid, cpu) {
            let used = usage(pid)?.cpu_seconds - cpu.cpu_seconds;
            report.cpu_us_per_share = Some(used * 1e6 / answered.max(1) as f64);
        }
        report.shares_per_second = answered as f64 / seconds;
        self.pump_for(LAST_ANSWERS.min(self.options.shares_for))?;
        report.accepted = self.accepted;
        report.refused = self.refused;
        report.cut_off = self.cut_off;
        report.unanswered = sent.saturating_sub(self.accepted + self.refused + self.cut_off);
        self.latencies.sort_unstable();
        let at = |part: f64| {
            let place = (self.latencies.len() as f64 * part) as usize;
            self.latencies.get(place.min(self.latencies.len().saturating_sub(1))).map(|&us| u64::from(us))
        };
        report.latency_us =
            at(0.5).zip(at(0.99)).zip(at(1.0)).map(|((median, p99), longest)| [median, p99, longest]);
        Ok(())
    }

    /// Sends one client's next shares, on the newest job.
    fn send_batch(&mut self, key: usize) -> u64 {
        let (Some(client), Some(job)) = (&mut self.clients[key], &self.job) else { return 0 };
        let user = self.options.user.replace('%', &client.number.to_string());
        self.line.clear();
        let count = self.options.pipeline.max(1);
        for _ in 0..count {
            if self.options.shares == ShareKind::Fresh {
                self.nonce = self.nonce.wrapping_add(1);
            }
            write_submit(
                self.next_id,
                &user,
                &job.job_id,
                &[0; 8],
                job.time,
                self.nonce,
                None,
                &mut self.line,
            );
            self.next_id += 1;
        }
        client.waiting = count;
        client.sent = Some(Instant::now());
        let line = std::mem::take(&mut self.line);
        let result = client.send(&line);
        self.line = line;
        if let Err(error) = result {
            self.lose(key, &error.to_string());
        }
        count as u64
    }
}

fn see_job(
    line: &[u8],
    now: Instant,
    seen: &mut Vec<(String, Instant, Instant, usize)>,
    job: &mut Option<Notify>,
) {
    // The id is the first string of the parameters, in every pool's lines.
    let id = line.windows(9).position(|window| window == b"\"params\":").map(|at| &line[at + 9..]);
    let id = id.and_then(|rest| rest.split(|&byte| byte == b'"').nth(1)).unwrap_or_default();
    if let Some(known) = seen.iter_mut().rev().take(4).find(|known| known.0.as_bytes() == id) {
        known.2 = now;
        known.3 += 1;
        return;
    }
    if let Ok(ServerMessage::Notify(notify)) = ServerMessage::parse(line) {
        *job = Some(notify);
    }
    if seen.len() < JOBS_MAX {
        seen.push((String::from_utf8_lossy(id).into_owned(), now, now, 1));
    }
}

pub(super) fn source(options: &LoadOptions, number: usize) -> Option<IpAddr> {
    let index = (options.sources > 0).then(|| number as u32 % options.sources)?;
    Some(IpAddr::V4(Ipv4Addr::from_bits(0x7f00_0002 + index)))
}

/// Begins to connect. `reset`: closing it sends a reset, so that no port is kept for a minute.
pub(super) fn connect(address: SocketAddr, source: Option<IpAddr>, reset: bool) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    socket.set_tcp_nodelay(true)?;
    if reset {
        socket.set_linger(Some(Duration::ZERO))?;
    }
    if let Some(source) = source {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        Err(error) => return Err(error),
    }
    Ok(TcpStream::from_std(socket.into()))
}

/// Sends random lines over connections of their own, a thousand lines each, and returns how many were sent.
fn nonsense(options: &LoadOptions) -> u64 {
    use std::io::{Read as _, Write as _};
    let mut random = rand::rng();
    let mut sent = 0;
    while sent < options.nonsense {
        let Ok(mut stream) = std::net::TcpStream::connect_timeout(&options.address, Duration::from_secs(5))
        else {
            break;
        };
        let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
        let _ = stream.set_write_timeout(Some(Duration::from_secs(5)));
        let mut text = Vec::new();
        for _ in 0..1000 {
            random_line(&mut random, &mut text);
        }
        sent += 1000;
        let _ = stream.write_all(&text);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut sink = [0; 65_536];
        while stream.read(&mut sink).is_ok_and(|read| read > 0) {}
    }
    sent
}

pub(super) fn random_line(random: &mut impl rand::Rng, text: &mut Vec<u8>) {
    const METHODS: [&str; 7] = [
        "submit",
        "subscribe",
        "authorize",
        "configure",
        "suggest_difficulty",
        "suggest_target",
        "multi_version",
    ];
    match random.random_range(0..4) {
        0 => (0..random.random_range(0..80)).for_each(|_| text.push(random.random())),
        1 => text.extend_from_slice(
            b"{\"id\":1,\"method\":\"mining.submit\",\"params\":[\"a\",\"b\",\"c\",\"d\",\"e\"]}",
        ),
        2 => {
            let method = METHODS[random.random_range(0..METHODS.len())];
            let (id, value): (i64, f64) = (random.random(), random.random());
            text.extend_from_slice(
                format!("{{\"id\":{id},\"method\":\"mining.{method}\",\"params\":[{value},[{{}}],null]}}")
                    .as_bytes(),
            );
        }
        _ => text.extend_from_slice(b"{\"id\":[],\"method\":\"\",\"params\":{\"x\":\"\\u0000\"}}"),
    }
    text.push(b'\n');
}
