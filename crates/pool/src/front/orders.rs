//! What the operator asks of a running front: who is there, who talks most, why someone was refused; bans, difficulties,
//! draining. Asked by `lode admin` and the dashboard through [`crate::PoolHandle`].

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use lode_ledger::Worker;
use lode_stratum::Difficulty;
use serde::Serialize;

use super::tls::{Certificate, TlsError};
use super::{Command, Front, SessionInfo, unix_us};
use crate::guard::{Ban, BlockView, NetworkBlock, Refusal};

/// How long a busy thread may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);

/// Some miners: all of an account, or one worker of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Who {
    /// The account's address.
    pub account: String,
    /// The worker's name; `None` for all.
    pub worker: Option<String>,
}

impl Who {
    /// From `ADDRESS` or `ADDRESS.WORKER`.
    pub fn parse(text: &str) -> Self {
        match text.split_once('.') {
            Some((account, worker)) => Self { account: account.into(), worker: Some(worker.into()) },
            None => Self { account: text.into(), worker: None },
        }
    }

    /// True where this worker is meant.
    pub fn is(&self, worker: &Worker) -> bool {
        worker.account().name() == self.account
            && self.worker.as_ref().is_none_or(|name| name == worker.name())
    }
}

/// Why an address is or was turned away.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reason {
    /// The address.
    pub address: IpAddr,
    /// It has no limits.
    pub allowed: bool,
    /// Why it would be turned away now, where it would.
    pub now: Option<Refusal>,
    /// What the guard knows of its block.
    pub block: Option<BlockView>,
}

impl Front {
    /// Asks every thread for its sessions; each answers into a channel of its own, as soon as it comes round.
    pub fn survey(&self) -> Vec<Receiver<Vec<SessionInfo>>> {
        self.ask(Command::Survey)
    }

    /// Sets the difficulty of some miners, from the next job on; `None` lets it be adjusted again. How many there are.
    pub fn set_difficulty(&self, who: Who, difficulty: Option<Difficulty>) -> usize {
        let who = Arc::new(who);
        sum(self.ask(|answer| Command::Difficulty(Arc::clone(&who), difficulty, answer)))
    }

    /// Bans a network until a time (Unix milliseconds) and closes its connections. How many those were.
    pub fn ban(&self, network: NetworkBlock, until_ms: u64) -> usize {
        self.shared.guard().ban(network, until_ms, unix_us() / 1000);
        sum(self.ask(|answer| Command::Close(network, answer)))
    }

    /// Ends the bans of a network and of the blocks in it. How many there were.
    pub fn unban(&self, network: NetworkBlock) -> usize {
        self.shared.guard().unban(network, unix_us() / 1000)
    }

    /// The bans in force.
    pub fn bans(&self) -> Vec<Ban> {
        self.shared.guard().bans(unix_us() / 1000)
    }

    /// The address blocks that sent most lately.
    pub fn top(&self, count: usize) -> Vec<BlockView> {
        self.shared.guard().top(count, unix_us() / 1000)
    }

    /// Why an address is or was turned away.
    pub fn why(&self, address: IpAddr) -> Reason {
        let guard = self.shared.guard();
        let now_ms = unix_us() / 1000;
        Reason {
            address,
            allowed: guard.is_allowed(address),
            now: guard.would_refuse(address, now_ms),
            block: guard.look(address, now_ms),
        }
    }

    /// Turns all new connections away, or no longer. The ones there are stay.
    pub fn drain(&self, on: bool) {
        self.shared.draining.store(on, Relaxed);
    }

    /// True while new connections are turned away for a restart.
    pub fn is_draining(&self) -> bool {
        self.shared.draining.load(Relaxed)
    }

    /// Reads the certificate and its key again; `None` where there is no encryption. Where they cannot be used the old pair
    /// stays in force.
    pub fn reload_certificate(&self) -> Option<Result<(), TlsError>> {
        self.shared.certificate.as_ref().map(Certificate::reload)
    }

    fn ask<T>(&self, command: impl Fn(SyncSender<T>) -> Command) -> Vec<Receiver<T>> {
        let ask = |mailbox: &Arc<super::Mailbox>| {
            let (sender, receiver) = sync_channel(1);
            mailbox.post(command(sender));
            receiver
        };
        self.mailboxes.iter().map(ask).collect()
    }
}

fn sum(answers: Vec<Receiver<usize>>) -> usize {
    answers.into_iter().filter_map(|answer| answer.recv_timeout(ANSWER_TIMEOUT).ok()).sum()
}
