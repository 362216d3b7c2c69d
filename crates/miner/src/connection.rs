//! One connection to a pool over TCP: drives [`Client`] with bytes, hands its work to the [`Crew`] and the crew's
//! shares to it. [`crate::miner`] makes one after the other.

use std::time::{Duration, Instant};

use lode_stratum::{LineSplitter, MAX_SERVER_LINE};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{broadcast, mpsc};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::client::{Client, Happening};
use crate::crew::Crew;
use crate::stats::Stats;
use crate::work::Share;
use crate::{Event, PoolUrl, tls};

/// Longest wait for a connection to be made.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(15);
/// Longest wait for the pool's socket to take what is written.
const WRITE_WAIT_MAX: Duration = Duration::from_secs(30);
/// Between two looks at the clock.
const TICK: Duration = Duration::from_secs(1);
/// Bytes read at once.
const READ_SIZE: usize = 16 * 1024;

/// Why a connection ended, other than by our own shutdown.
#[derive(Debug)]
pub(crate) enum End {
    /// It broke, or the pool did something odd.
    Lost(String),
    /// The pool asked to come back, perhaps elsewhere, after a while.
    Moved { to: PoolUrl, wait: Duration },
    /// The user name is not taken.
    LoginRefused(String),
}

/// What a connection works with; outlives it.
pub(crate) struct Station<'a> {
    pub(crate) crew: &'a Crew,
    pub(crate) shares: &'a mut mpsc::Receiver<Share>,
    pub(crate) stats: &'a Stats,
    pub(crate) events: &'a broadcast::Sender<Event>,
}

impl Station<'_> {
    /// Tells whoever listens.
    pub(crate) fn tell(&self, event: Event) {
        // Nobody need be listening.
        let _ = self.events.send(event);
    }
}

/// A connection to a pool, encrypted or not.
trait Wire: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Wire for T {}

/// Connects and mines until the connection ends. Cancel safe: dropping it leaves the crew to be told by the caller.
pub(crate) async fn mine(url: &PoolUrl, client: &mut Client, station: &mut Station<'_>) -> End {
    let connect = timeout(CONNECT_WAIT_MAX, TcpStream::connect((url.host(), url.port()))).await;
    let stream = match connect {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return End::Lost(format!("cannot connect to {url}: {error}")),
        Err(_) => return End::Lost(format!("{url} did not answer in {} s", CONNECT_WAIT_MAX.as_secs())),
    };
    // Shares are small and want to leave at once.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!("cannot set TCP_NODELAY: {error}");
    }
    let stream: Box<dyn Wire> = match url.is_encrypted() {
        false => Box::new(stream),
        true => match timeout(CONNECT_WAIT_MAX, tls::encrypt(stream, url.host())).await {
            Ok(Ok(stream)) => Box::new(stream),
            Ok(Err(error)) => {
                let file = tls::CERTIFICATES;
                return End::Lost(format!(
                    "{url} is not who it says: {error}; for a certificate of the pool's own, name its file in {file}"
                ));
            }
            Err(_) => return End::Lost(format!("{url} did not answer in {} s", CONNECT_WAIT_MAX.as_secs())),
        },
    };
    let (mut reader, mut writer) = tokio::io::split(stream);
    let mut splitter = LineSplitter::default();
    let mut chunk = vec![0; READ_SIZE];
    let mut out = Vec::new();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);

    client.greet(Instant::now(), &mut out);
    loop {
        if !out.is_empty() {
            match timeout(WRITE_WAIT_MAX, writer.write_all(&out)).await {
                Ok(Ok(())) => out.clear(),
                Ok(Err(error)) => return End::Lost(format!("writing to the pool failed: {error}")),
                Err(_) => return End::Lost("the pool takes no more data".into()),
            }
        }
        tokio::select! {
            read = reader.read(&mut chunk) => {
                let read = match read {
                    Ok(0) => return End::Lost("the pool closed the connection".into()),
                    Ok(read) => read,
                    Err(error) => return End::Lost(format!("reading from the pool failed: {error}")),
                };
                let now = Instant::now();
                let mut end = None;
                let fed = splitter.feed(&chunk[..read], MAX_SERVER_LINE, |line| {
                    for happening in client.take_line(line, now, &mut out) {
                        end = end.take().or_else(|| react(happening, url, station));
                    }
                    end.is_none()
                });
                if let Some(end) = end {
                    return end;
                }
                if let Err(error) = fed {
                    return End::Lost(format!("the pool sent {error}"));
                }
            }
            // The crew holds a sender as long as it lives, so there is always a next share.
            Some(share) = station.shares.recv() => {
                let now = Instant::now();
                take_share(&share, now, client, station, &mut out);
                while let Ok(share) = station.shares.try_recv() {
                    take_share(&share, now, client, station, &mut out);
                }
            }
            _ = tick.tick() => {
                let now = Instant::now();
                station.stats.mark(now);
                if let Some(reason) = client.overdue(now) {
                    return End::Lost(reason);
                }
            }
        }
    }
}

/// Sends a share, or counts it as lost.
fn take_share(share: &Share, now: Instant, client: &mut Client, station: &Station<'_>, out: &mut Vec<u8>) {
    station.stats.offer_best(share.achieved);
    if !client.submit(share, now, out) {
        station.stats.add_lost(1);
    }
}

/// Does what a happening asks for; `Some` where it ends the connection.
fn react(happening: Happening, url: &PoolUrl, station: &Station<'_>) -> Option<End> {
    let answer_ms = |wait: Duration| wait.as_millis() as u64;
    match happening {
        Happening::LoggedIn => {
            station.stats.set_connected(true);
            station.tell(Event::Connected { pool: url.to_string() });
        }
        Happening::Work(work) => {
            let difficulty = work.difficulty.get();
            station.stats.set_difficulty(difficulty);
            station.crew.post(Some(work.clone()));
            let length = work.goal.length().map(lode_pow::ChainLength::to_f64);
            station.tell(Event::Job {
                job: work.job.job_id.clone(),
                difficulty,
                length,
                clean: work.job.clean_jobs,
            });
        }
        Happening::Accepted { difficulty, answered_in } => {
            let difficulty = difficulty.get();
            station.stats.add_accepted(difficulty);
            station.tell(Event::Accepted { difficulty, answer_ms: answer_ms(answered_in) });
        }
        Happening::Refused { code, reason, stale, answered_in } => {
            station.stats.add_refused(stale);
            station.tell(Event::Refused { code, reason, answer_ms: answer_ms(answered_in) });
        }
        Happening::Message(text) => station.tell(Event::Message { text }),
        Happening::Reconnect { host, port, wait } => {
            // Going to a stranger's host on a plain connection's word would let anyone on the way take the hashes.
            if !host.is_empty() && host != url.host() {
                let text =
                    format!("go to {host}, which is not followed: only other ports of the same host are");
                station.tell(Event::Message { text });
            }
            let port = if port == 0 || (!host.is_empty() && host != url.host()) { url.port() } else { port };
            return Some(End::Moved { to: url.with_port(port), wait });
        }
        Happening::LoginRefused(reason) => return Some(End::LoginRefused(reason)),
        Happening::Broken(reason) => return Some(End::Lost(format!("no pool as expected: {reason}"))),
    }
    None
}
