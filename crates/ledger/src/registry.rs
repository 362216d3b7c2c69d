//! Who mines: accounts (where money goes) and workers (machines), interned so that a share names them by one pointer.
//!
//! Sessions hold an `Arc<Worker>`; the ledger's tables hold one more. What only the ledger still holds, and what has no
//! work left in the window, is forgotten by [`Registry::sweep`]: a stranger who connects under a million names costs
//! memory only while connected.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use lode_primitives::BlockHash;

/// Longest account name in bytes: the longest address of any coin here is far below it.
pub const MAX_ACCOUNT_NAME: usize = 128;
/// Longest worker name kept, in bytes; a longer one is cut (firmware cuts at 63 and pads at will).
pub const MAX_WORKER_NAME: usize = 64;
/// Longest payout script in bytes: standard ones are at most 42, bare keys 67.
pub const MAX_SCRIPT: usize = 100;
/// Most workers known at once: at about 200 bytes each this is 200 MB, far above the connections one machine can hold.
pub const MAX_WORKERS: usize = 1_000_000;

/// Where a miner's money goes. One payout script is one account, whatever text named it.
#[derive(Debug)]
pub struct Account {
    name: Box<str>,
    script: Box<[u8]>,
    pub(crate) slot: u32,
    pub(crate) mark: Mark,
}

impl Account {
    /// The address that first named it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The `scriptPubKey` it is paid to.
    pub fn script(&self) -> &[u8] {
        &self.script
    }
}

/// A machine (or a proxy of many) that mines for an account.
#[derive(Debug)]
pub struct Worker {
    account: Arc<Account>,
    name: Box<str>,
    pub(crate) slot: u32,
    pub(crate) mark: Mark,
}

impl Worker {
    /// Whom its shares are credited to.
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// Its name below the account, may be empty.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// What a share was mined on: named in the log so that a share can be placed in the chain's history.
#[derive(Debug)]
pub struct TemplateRef {
    /// Height of the block that was sought.
    pub height: u32,
    /// The block before it.
    pub prev: BlockHash,
    /// The network's difficulty in credit units (see [`crate::Credit`]).
    pub network_units: u128,
    pub(crate) mark: Mark,
}

impl TemplateRef {
    /// A new reference; make one per template and share it by `Arc` among its jobs.
    pub fn new(height: u32, prev: BlockHash, network_difficulty: f64) -> Arc<Self> {
        Self::from_units(height, prev, crate::credit::difficulty_to_units(network_difficulty))
    }

    pub(crate) fn from_units(height: u32, prev: BlockHash, network_units: u128) -> Arc<Self> {
        Arc::new(Self { height, prev, network_units, mark: Mark::default() })
    }
}

/// The place of an entry in the dictionary of the segment being written: segment number (upper 40 bits) and index.
/// Only the log's one writer reads and writes it; it is atomic so that entries can be shared with other threads.
#[derive(Debug, Default)]
pub(crate) struct Mark(AtomicU64);

impl Mark {
    const INDEX_BITS: u32 = 24;
    /// Entries a segment's dictionary can hold.
    pub(crate) const INDEX_MAX: u32 = (1 << Self::INDEX_BITS) - 1;

    /// The index in `segment`'s dictionary, if it is there.
    pub(crate) fn get(&self, segment: u64) -> Option<u32> {
        let mark = self.0.load(Ordering::Relaxed);
        (mark >> Self::INDEX_BITS == segment).then_some(mark as u32 & Self::INDEX_MAX)
    }

    pub(crate) fn set(&self, segment: u64, index: u32) {
        self.0.store(segment << Self::INDEX_BITS | u64::from(index), Ordering::Relaxed);
    }

    pub(crate) fn clear(&self) {
        self.0.store(0, Ordering::Relaxed);
    }
}

/// Why a miner cannot be entered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RegistryError {
    /// The account's name is empty or too long.
    #[error("an account name has 1 to {MAX_ACCOUNT_NAME} bytes, this one has {0}")]
    AccountName(usize),
    /// The script is empty or too long.
    #[error("a payout script has 1 to {MAX_SCRIPT} bytes, this one has {0}")]
    Script(usize),
    /// The table is full.
    #[error("{MAX_WORKERS} workers are known at once, no more can be entered until some leave")]
    Full,
}

/// The tables of accounts and workers.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    /// By script: its order is the canonical order of accounts in a payout split.
    accounts: BTreeMap<Box<[u8]>, Arc<Account>>,
    workers: HashMap<(u32, Box<str>), Arc<Worker>>,
    free_accounts: Vec<u32>,
    free_workers: Vec<u32>,
    account_slots: u32,
    worker_slots: u32,
}

impl Registry {
    /// The account of `script`, entered under `name` if new.
    pub(crate) fn account(&mut self, name: &str, script: &[u8]) -> Result<Arc<Account>, RegistryError> {
        if let Some(account) = self.accounts.get(script) {
            return Ok(Arc::clone(account));
        }
        if name.is_empty() || name.len() > MAX_ACCOUNT_NAME {
            return Err(RegistryError::AccountName(name.len()));
        }
        if script.is_empty() || script.len() > MAX_SCRIPT {
            return Err(RegistryError::Script(script.len()));
        }
        if self.accounts.len() >= MAX_WORKERS {
            return Err(RegistryError::Full);
        }
        let slot = self.free_accounts.pop().unwrap_or_else(|| {
            self.account_slots += 1;
            self.account_slots - 1
        });
        let account =
            Arc::new(Account { name: name.into(), script: script.into(), slot, mark: Mark::default() });
        self.accounts.insert(script.into(), Arc::clone(&account));
        Ok(account)
    }

    /// The worker `name` of `account`, entered if new.
    pub(crate) fn worker(
        &mut self,
        account: &Arc<Account>,
        name: &str,
    ) -> Result<Arc<Worker>, RegistryError> {
        let name = cut(name, MAX_WORKER_NAME);
        if let Some(worker) = self.workers.get(&(account.slot, name.into()) as &(u32, Box<str>)) {
            return Ok(Arc::clone(worker));
        }
        if self.workers.len() >= MAX_WORKERS {
            return Err(RegistryError::Full);
        }
        let slot = self.free_workers.pop().unwrap_or_else(|| {
            self.worker_slots += 1;
            self.worker_slots - 1
        });
        let worker =
            Arc::new(Worker { account: Arc::clone(account), name: name.into(), slot, mark: Mark::default() });
        self.workers.insert((account.slot, name.into()), Arc::clone(&worker));
        Ok(worker)
    }

    /// All accounts in the canonical order, by script.
    pub(crate) fn accounts(&self) -> impl Iterator<Item = &Arc<Account>> {
        self.accounts.values()
    }

    /// All workers, in no particular order.
    pub(crate) fn workers(&self) -> impl Iterator<Item = &Arc<Worker>> {
        self.workers.values()
    }

    pub(crate) fn find_named(&self, name: &str) -> Option<&Arc<Account>> {
        self.accounts.values().find(|account| &*account.name == name)
    }

    /// How many workers are known.
    pub(crate) fn len(&self) -> usize {
        self.workers.len()
    }

    /// Slots that are nobody's now: of workers, and of accounts.
    pub(crate) fn free_slots(&self) -> (&[u32], &[u32]) {
        (&self.free_workers, &self.free_accounts)
    }

    /// Forgets workers that nobody else holds and that `in_window(slot)` does not know, then accounts nobody holds.
    pub(crate) fn sweep(&mut self, in_window: impl Fn(u32) -> bool) {
        let free = &mut self.free_workers;
        self.workers.retain(|_, worker| {
            // One holder is this map; nobody can become the second while we run.
            let keep = Arc::strong_count(worker) > 1 || in_window(worker.slot);
            if !keep {
                free.push(worker.slot);
            }
            keep
        });
        let free = &mut self.free_accounts;
        self.accounts.retain(|_, account| {
            let keep = Arc::strong_count(account) > 1;
            if !keep {
                free.push(account.slot);
            }
            keep
        });
    }
}

/// The longest prefix of `text` of at most `max` bytes that ends between characters.
fn cut(text: &str, max: usize) -> &str {
    if text.len() <= max {
        return text;
    }
    let end = (0..=max).rev().find(|&i| text.is_char_boundary(i)).unwrap_or(0);
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_script_is_one_account_and_names_are_bounded() {
        let mut registry = Registry::default();
        let a = registry.account("addr", &[1, 2]).unwrap();
        assert!(Arc::ptr_eq(&a, &registry.account("ADDR", &[1, 2]).unwrap()));
        let w = registry.worker(&a, "rig").unwrap();
        assert!(Arc::ptr_eq(&w, &registry.worker(&a, "rig").unwrap()));
        assert_eq!(registry.worker(&a, &"é".repeat(80)).unwrap().name().len(), 64);
        assert_eq!(registry.account("", &[3]).unwrap_err(), RegistryError::AccountName(0));
        assert_eq!(registry.account("x", &[0; 101]).unwrap_err(), RegistryError::Script(101));
    }

    #[test]
    fn the_unheld_is_forgotten_and_its_slot_used_again() {
        let mut registry = Registry::default();
        let held = registry.account("held", &[1]).and_then(|a| registry.worker(&a, "w")).unwrap();
        let windowed =
            registry.account("windowed", &[2]).and_then(|a| registry.worker(&a, "w")).unwrap().slot;
        let gone = registry.account("gone", &[3]).and_then(|a| registry.worker(&a, "w")).unwrap().slot;
        registry.sweep(|slot| slot == windowed);
        assert_eq!(registry.len(), 2);
        assert_eq!(registry.accounts().count(), 2);
        let new = registry.account("new", &[4]).and_then(|a| registry.worker(&a, "w")).unwrap();
        assert_eq!(new.slot, gone);
        assert_ne!(held.slot, new.slot);
    }
}
