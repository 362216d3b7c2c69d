//! What the dashboard and the pool's log lines ask of the books. Owned values, so that no lock is held while a page is
//! made.

use std::sync::Arc;

use crate::registry::Account;
use crate::window::{Sum, WindowKind};
use crate::{Ledger, PayoutSnapshot};

/// A worker in the window.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerView {
    /// Its name below the account.
    pub name: String,
    /// Its work in the window.
    pub window: Sum,
    /// Its recent rate, from its own shares: credit units a second.
    pub rate: f64,
    /// Its last share, Unix milliseconds; 0 where none is known.
    pub last_ms: u64,
}

/// The window as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WindowView {
    /// Whose work counts.
    pub kind: WindowKind,
    /// All work in it.
    pub total: Sum,
    /// Its oldest share, Unix milliseconds.
    pub since_ms: Option<u64>,
    /// Shares recorded since the log began.
    pub shares_ever: u64,
    /// All work ever brought, credit units: see [`Ledger::work_ever`].
    pub work_ever: u128,
}

/// What one account gets from a job, if it finds the block. Satoshi.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NextPayment {
    /// Its part of the reward.
    pub earned: i64,
    /// Its balance before: owed to it, or (negative) by it.
    pub before: i64,
    /// What the coinbase pays it.
    pub paid: i64,
    /// Its balance after.
    pub after: i64,
}

impl Ledger {
    /// The account of an address, if it is known.
    pub fn find_account(&self, name: &str) -> Option<Arc<Account>> {
        self.registry.find_named(name).cloned()
    }

    /// Accounts with work in the window, the most first, at most `limit`.
    pub fn accounts_in_window(&self, limit: usize) -> Vec<(Arc<Account>, Sum)> {
        let mut all: Vec<(Arc<Account>, Sum)> = self
            .registry
            .accounts()
            .map(|account| (Arc::clone(account), self.window.account(account.slot)))
            .filter(|(_, sum)| sum.shares > 0)
            .collect();
        all.sort_by_key(|(_, sum)| std::cmp::Reverse(sum.units));
        all.truncate(limit);
        all
    }

    /// How many accounts have work in the window.
    pub fn account_count(&self) -> usize {
        self.registry.accounts().filter(|account| self.window.account(account.slot).shares > 0).count()
    }

    /// An account's work in the window.
    pub fn account_window(&self, account: &Account) -> Sum {
        self.window.account(account.slot)
    }

    /// An account's workers that have work in the window or are connected, by name. `now_ms`: Unix milliseconds.
    pub fn workers_of(&self, account: &Account, now_ms: u64) -> Vec<WorkerView> {
        let mut workers: Vec<WorkerView> = self
            .registry
            .workers()
            .filter(|worker| worker.account().script() == account.script())
            .map(|worker| {
                let (rate, last_ms) = self.rates.worker(worker.slot, now_ms);
                WorkerView {
                    name: worker.name().into(),
                    window: self.window.worker(worker.slot),
                    rate,
                    last_ms,
                }
            })
            .collect();
        workers.sort_by(|a, b| a.name.cmp(&b.name));
        workers
    }

    /// An account's recent rate, from its own shares: credit units a second.
    pub fn account_rate(&self, account: &Account, now_ms: u64) -> f64 {
        self.rates.account(account.slot, now_ms)
    }

    /// `(Unix seconds, credit units a second)` by the quarter of an hour, over the last day at most, the oldest first. As
    /// far back as the log is read at a start.
    pub fn account_history(&self, account: &Account, now_ms: u64) -> Vec<(u64, f64)> {
        self.rates.history(account.slot, now_ms)
    }

    /// The window as a whole.
    pub fn window_view(&self) -> WindowView {
        WindowView {
            kind: self.window.kind(),
            total: self.window.total(),
            since_ms: self.window.since_ms(),
            shares_ever: self.sequence(),
            work_ever: self.work_ever(),
        }
    }
}

impl PayoutSnapshot {
    /// What the job does for one account.
    pub fn payment_of(&self, script: &[u8]) -> NextPayment {
        let Ok(index) = self.split.lines.binary_search_by(|line| line.account.script().cmp(script)) else {
            return NextPayment::default();
        };
        let line = &self.split.lines[index];
        let paid =
            self.paid.iter().find(|(paid, _)| *paid as usize == index).map_or(0, |(_, amount)| *amount);
        NextPayment { earned: line.earned, before: line.before, paid, after: line.due() - paid }
    }
}
