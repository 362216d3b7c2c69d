//! The user names of a connection.

use std::sync::Arc;

use lode_ledger::Worker;

/// User names authorised on one connection at most: proxies of whole farms have some hundreds.
pub const USERS_MAX: usize = 1_024;
/// User names before the first accepted share; each share makes room for one more. So names cost work, and nobody fills the
/// tables of accounts for nothing.
const USERS_FREE: usize = 16;

/// Authorised user names as hashes of their text, and their workers. The first one's account is paid where every miner
/// is paid itself.
#[derive(Debug, Default)]
pub(super) struct Users {
    first: Option<(u64, Arc<Worker>)>,
    more: Vec<(u64, Arc<Worker>)>,
}

impl Users {
    pub(super) fn get(&self, key: u64) -> Option<&Arc<Worker>> {
        let first = self.first.as_ref().filter(|(known, _)| *known == key);
        first.or_else(|| self.more.iter().find(|(known, _)| *known == key)).map(|(_, worker)| worker)
    }

    pub(super) fn add(&mut self, key: u64, worker: Arc<Worker>) {
        if self.first.is_none() {
            self.first = Some((key, worker));
        } else if self.get(key).is_none() {
            self.more.push((key, worker));
        }
    }

    /// Whether another may be added, after so many accepted shares.
    pub(super) fn has_room(&self, accepted: u32) -> bool {
        self.more.len() < USERS_MAX.min(USERS_FREE.saturating_add(accepted as usize))
    }

    pub(super) fn primary(&self) -> Option<&Arc<Worker>> {
        self.first.as_ref().map(|(_, worker)| worker)
    }
}

/// A user name's key. Not secret: whoever finds two names with one key has authorised both.
pub(super) fn user_key(user: &str) -> u64 {
    // FNV-1a.
    user.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
