//! Connections that come, log in and go, by the million: what a pool remembers of those who left.

use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use serde::Serialize;
use slab::Slab;

use super::client::{Client, Line, State};
use super::run::{connect, source};
use super::{LoadError, LoadOptions, usage};

/// Connections that get nowhere are given up after this time without any success.
const STUCK: Duration = Duration::from_secs(30);

/// What was seen.
#[derive(Debug, Clone, Default, Serialize)]
pub struct ChurnReport {
    /// Connections that logged in and left.
    pub logins: u64,
    /// Connections refused or lost before.
    pub lost: u64,
    /// Log-ins a second.
    pub logins_per_second: f64,
    /// Processor time of the pool for each, microseconds.
    pub cpu_us_per_login: Option<f64>,
    /// Resident bytes of the pool before; after the first tenth, when it has what it needs at this rate; and at the end.
    pub memory: Option<[u64; 3]>,
}

/// Logs `count` connections in and closes each at once, `options.connecting` at a time.
pub fn churn(options: &LoadOptions, count: u64) -> Result<ChurnReport, LoadError> {
    let mut poll = Poll::new().map_err(LoadError::Poll)?;
    let mut events = Events::with_capacity(4096);
    let mut clients: Slab<Client> = Slab::new();
    let mut buffer = vec![0; 64 * 1024];
    let mut report = ChurnReport::default();
    let before = options.pid.map(usage).transpose()?;
    let mut warm = None;
    let (began, mut progress, mut started) = (Instant::now(), Instant::now(), 0);
    let mut trouble = "nothing answered in time".to_owned();
    while report.logins + report.lost < count {
        while started < count && clients.len() < options.connecting.max(1) {
            let number = started as usize;
            started += 1;
            let slot = clients.vacant_entry();
            let connected = connect(options.address, source(options, number), true).and_then(|mut stream| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut stream, Token(slot.key()), interest)?;
                Ok(stream)
            });
            match connected {
                Ok(stream) => drop(slot.insert(Client::new(stream, number))),
                Err(error) => {
                    trouble = error.to_string();
                    report.lost += 1;
                }
            }
        }
        if let Err(error) = poll.poll(&mut events, Some(Duration::from_millis(100)))
            && error.kind() != std::io::ErrorKind::Interrupted
        {
            return Err(LoadError::Poll(error));
        }
        for event in &events {
            let key = event.token().0;
            let Some(client) = clients.get_mut(key) else { continue };
            let mut gone = false;
            if event.is_writable() && client.state == State::Connecting {
                gone = client.stream.take_error().is_ok_and(|error| error.is_some())
                    || client.login(&options.user, &options.password).is_err();
            }
            let mut logged_in = false;
            if event.is_readable() || event.is_error() {
                gone |= !client.read(&mut buffer, event.is_read_closed() || event.is_error(), |line| {
                    logged_in |= line == Line::LoggedIn;
                });
            }
            if logged_in {
                report.logins += 1;
                progress = Instant::now();
            } else if gone {
                report.lost += 1;
            }
            if gone || logged_in {
                clients.remove(key);
            }
        }
        if warm.is_none() && report.logins * 10 >= count {
            warm = options.pid.map(usage).transpose()?;
        }
        if progress.elapsed() > STUCK {
            return Err(LoadError::NoLogin { address: options.address, trouble });
        }
    }
    report.logins_per_second = report.logins as f64 / began.elapsed().as_secs_f64();
    drop(clients);
    // The pool hears of the last ones.
    std::thread::sleep(Duration::from_secs(2));
    let after = options.pid.map(usage).transpose()?;
    if let (Some(before), Some(warm), Some(after)) = (before, warm, after) {
        report.memory = Some([before.resident, warm.resident, after.resident]);
        let used = after.cpu_seconds - before.cpu_seconds;
        report.cpu_us_per_login = Some(used * 1e6 / report.logins.max(1) as f64);
    }
    Ok(report)
}
