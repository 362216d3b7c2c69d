//! What a thread is told: new jobs, which go out to all its connections, and what the operator asks.

use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};

use super::super::connection::{Connection, Gone, JobLines};
use super::super::{Command, SessionInfo, unix_us};
use super::Thread;
use crate::guard::NetworkBlock;
use crate::job::Job;

impl Thread {
    /// False where the thread is to end.
    pub(super) fn take_mail(&mut self) -> bool {
        let mail = {
            let mut queue = self.mailbox.queue.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *queue)
        };
        for command in mail {
            match command {
                Command::Job(job) => self.fan_out(&job),
                Command::Survey(answer) => {
                    let _ = answer.try_send(self.survey());
                }
                Command::Difficulty(who, difficulty, answer) => {
                    let sessions = self.connections.iter_mut().map(|(_, connection)| &mut connection.session);
                    let meant = sessions.filter(|session| session.worker().is_some_and(|w| who.is(w)));
                    let _ = answer.try_send(meant.map(|session| session.pin(difficulty)).count());
                }
                Command::Close(network, answer) => {
                    let _ = answer.try_send(self.close_all(network));
                }
                Command::Stop => {
                    self.commit();
                    self.farewell();
                    return false;
                }
            }
        }
        true
    }

    /// The pool stops: a last word to those who can read it.
    pub(super) fn farewell(&mut self) {
        let mut out = Vec::new();
        for (_, connection) in &mut self.connections {
            connection.session.farewell(&self.shared.settings, &mut out);
            if !out.is_empty() {
                // Whoever is gone or reads too slowly misses it.
                let _ = connection.send(&out);
                out.clear();
            }
        }
    }

    pub(super) fn close_all(&mut self, network: NetworkBlock) -> usize {
        let meant = self.connections.iter().filter(|(_, connection)| network.contains(connection.address));
        let keys: Vec<usize> = meant.map(|(key, _)| key).collect();
        keys.iter().for_each(|key| self.close(*key, "banned"));
        keys.len()
    }

    pub(super) fn survey(&self) -> Vec<SessionInfo> {
        let info = |(_, connection): (usize, &Connection)| {
            let info = connection.session.info(connection.address)?;
            Some(SessionInfo { bytes: connection.bytes, ..info })
        };
        self.connections.iter().filter_map(info).collect()
    }

    /// Sends a job to every connection.
    pub(super) fn fan_out(&mut self, job: &Arc<Job>) {
        self.jobs.push(Arc::clone(job));
        let oldest = self.jobs.oldest();
        let mut lines = JobLines::default();
        let mut gone = Vec::new();
        let mut first = true;
        for (key, connection) in &mut self.connections {
            if connection.leaving.is_some() {
                continue;
            }
            connection.session.job(job, oldest, self.now_ms, &self.shared.settings, &mut lines);
            if let Err(Gone(why)) = lines.send(connection) {
                gone.push((key, why));
            }
            if std::mem::take(&mut first) {
                let now = unix_us();
                let sent = &self.shared.stats.fanout_first_us;
                if sent.compare_exchange(0, now, Relaxed, Relaxed).is_ok() && job.clean {
                    let took = now.saturating_sub(job.template.heard_us) as f64 / 1e6;
                    metrics::histogram!("lode_block_to_first_job_seconds").record(took);
                }
            }
        }
        self.shared.stats.fanout_last_us.fetch_max(unix_us(), Relaxed);
        for (key, why) in gone {
            self.close(key, why);
        }
    }
}
