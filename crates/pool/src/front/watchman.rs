//! A thread that looks once a second at what runs short, says so before miners notice, keeps the bans on disk, and reads a new
//! certificate when there is one.

use std::collections::VecDeque;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::limits::{self, Limit, NEAR, Pressure, SHORT};
use super::{Shared, unix_us};
use crate::guard::{self, Refusal};

const TICK: Duration = Duration::from_secs(1);
/// Ticks between two looks at files on disk, and at what the guard may forget.
const SLOW_TICKS: u64 = 10;
/// A limit is said again only after it was left by this much.
const HYSTERESIS: f64 = 0.05;
/// The processors' load is a mean over so many ticks.
const LOAD_TICKS: usize = 10;

/// The running thread; ends when dropped.
pub(super) struct Watchman {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchman {
    pub(super) fn start(shared: Arc<Shared>, memory_max_mib: u64) -> io::Result<Self> {
        let (stop, stopped) = channel::<()>();
        let mut rounds =
            Rounds { shared, memory_max_mib, said: Vec::new(), loads: VecDeque::new(), busy_us: 0, ticks: 0 };
        let thread = std::thread::Builder::new().name("front-watch".into()).spawn(move || {
            let mut last = Instant::now();
            while stopped.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                rounds.tick(std::mem::replace(&mut last, Instant::now()).elapsed());
            }
            rounds.keep_bans();
        })?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Watchman {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Rounds {
    shared: Arc<Shared>,
    memory_max_mib: u64,
    /// Limits whose nearness was said.
    said: Vec<&'static str>,
    /// Part of their time that the serving threads were at work, in each of the last ticks.
    loads: VecDeque<f64>,
    busy_us: u64,
    ticks: u64,
}

impl Rounds {
    fn tick(&mut self, passed: Duration) {
        self.ticks += 1;
        let limits = self.limits(passed);
        for limit in &limits {
            metrics::gauge!("lode_limit_part", "what" => limit.what).set(limit.part);
            self.say(limit);
        }
        let part = |what| limits.iter().find(|limit| limit.what == what).map_or(0.0, |limit| limit.part);
        let refusal = if part("connections").max(part("files")) >= NEAR {
            Some(Refusal::Full)
        } else if part("memory") >= SHORT {
            Some(Refusal::Memory)
        } else if part("processors") >= SHORT {
            Some(Refusal::Busy)
        } else {
            None
        };
        self.shared.pressure.store(Pressure::number(refusal), Relaxed);
        *self.shared.stats.limits.lock().unwrap_or_else(PoisonError::into_inner) = limits;
        self.keep_bans();
        if self.ticks.is_multiple_of(SLOW_TICKS) {
            self.shared.guard().forget(unix_us() / 1000);
            if let Some(certificate) = &self.shared.certificate {
                certificate.refresh();
            }
        }
    }

    fn limits(&mut self, passed: Duration) -> Vec<Limit> {
        let mut limits = Vec::new();
        let of = |used: f64, all: f64| used / all.max(1.0);
        let (open, most) = (self.shared.stats.connections.load(Relaxed), self.shared.connections_max);
        limits.push(Limit {
            what: "connections",
            part: of(open as f64, most as f64),
            words: format!(
                "{open} of {most} connections are taken: raise `ulimit -n` or pool.connections_max"
            ),
        });
        if let Some(open) = limits::files_open() {
            let most = limits::files_possible();
            limits.push(Limit {
                what: "files",
                part: of(open as f64, most as f64),
                words: format!("{open} of {most} files are open: raise `ulimit -n`"),
            });
        }
        if let Some((used, all)) = limits::memory(self.memory_max_mib) {
            let (used_mib, all_mib) = (used >> 20, all >> 20);
            limits.push(Limit {
                what: "memory",
                part: of(used as f64, all as f64),
                words: format!("{used_mib} of {all_mib} MiB of memory are in use: strangers are turned away before it ends"),
            });
        }
        let busy_us = self.shared.busy_us.iter().map(|busy| busy.load(Relaxed)).sum::<u64>();
        let worked = busy_us.wrapping_sub(std::mem::replace(&mut self.busy_us, busy_us)) as f64;
        let threads = self.shared.busy_us.len();
        let now = of(worked, passed.as_micros() as f64 * threads as f64).min(1.0);
        self.loads.push_back(now);
        if self.loads.len() > LOAD_TICKS {
            self.loads.pop_front();
        }
        // The first ticks count as if there had been rest before.
        let load = self.loads.iter().sum::<f64>() / LOAD_TICKS as f64;
        limits.push(Limit {
            what: "processors",
            part: load,
            words: format!(
                "the {threads} serving threads are at work {:.0} % of the time: raise the difficulty, add processors or threads",
                load * 100.0
            ),
        });
        limits
    }

    fn say(&mut self, limit: &Limit) {
        let said = self.said.contains(&limit.what);
        if limit.is_near() && !said {
            self.said.push(limit.what);
            tracing::warn!(what = limit.what, "{}; new connections are turned away first", limit.words);
        } else if said && limit.part < NEAR - HYSTERESIS {
            self.said.retain(|what| *what != limit.what);
            tracing::info!(what = limit.what, "no longer near its limit");
        }
    }

    /// Says who was banned, and writes the bans where they have changed.
    fn keep_bans(&mut self) {
        let mut guard = self.shared.guard();
        let (news, more) = guard.take_news();
        let now_ms = unix_us() / 1000;
        metrics::gauge!("lode_guard_blocks").set(guard.len() as f64);
        let bans = guard.take_changed().then(|| guard.all_bans(now_ms));
        drop(guard);
        for ban in &news {
            let seconds = ban.until_ms.saturating_sub(now_ms) / 1000;
            tracing::info!("{} is banned for {seconds} s, its ban number {}", ban.network, ban.times);
        }
        if more > 0 {
            tracing::info!("{more} more address blocks were banned in the same second");
        }
        metrics::counter!("lode_bans_total").increment((news.len() + more) as u64);
        let Some((path, bans)) = self.shared.bans.as_ref().zip(bans) else { return };
        if let Err(error) = guard::save_bans(path, &bans) {
            tracing::warn!("the bans cannot be kept in {}: {error}", path.display());
        }
    }
}
