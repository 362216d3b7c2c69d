//! Small shared lists: banned hosts, peers added by RPC, calls under way.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Bans and added peers at most: lists made by hand.
const LIST_MAX: usize = 1_000;

/// Hosts banned by `setban`, with when and until when (Unix seconds).
#[derive(Debug, Default)]
pub(crate) struct Bans(Mutex<BTreeMap<IpAddr, (i64, i64)>>);

impl Bans {
    fn with<T>(&self, use_it: impl FnOnce(&mut BTreeMap<IpAddr, (i64, i64)>) -> T) -> T {
        use_it(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Bans `host`; false if it is banned already or the list is full.
    pub(crate) fn add(&self, host: IpAddr, now: i64, until: i64) -> bool {
        self.with(|bans| {
            bans.retain(|_, (_, until)| *until > now);
            bans.len() < LIST_MAX && bans.insert(host, (now, until)).is_none()
        })
    }

    /// Lifts the ban; false if there was none.
    pub(crate) fn remove(&self, host: &IpAddr) -> bool {
        self.with(|bans| bans.remove(host).is_some())
    }

    /// Lifts all bans.
    pub(crate) fn clear(&self) {
        self.with(BTreeMap::clear);
    }

    /// True where `host` is banned now.
    pub(crate) fn has(&self, host: &IpAddr, now: i64) -> bool {
        self.with(|bans| bans.get(host).is_some_and(|(_, until)| *until > now))
    }

    /// Every ban in force: host, since when, until when.
    pub(crate) fn list(&self, now: i64) -> Vec<(IpAddr, i64, i64)> {
        self.with(|bans| {
            bans.retain(|_, (_, until)| *until > now);
            bans.iter().map(|(host, (created, until))| (*host, *created, *until)).collect()
        })
    }
}

/// Peers given to `addnode add`.
#[derive(Debug, Default)]
pub(crate) struct Added(Mutex<BTreeSet<String>>);

impl Added {
    /// Adds a peer; false if it is there or the list is full.
    pub(crate) fn insert(&self, address: String) -> bool {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.len() < LIST_MAX && list.insert(address)
    }

    /// Removes a peer; false if it was not there.
    pub(crate) fn remove(&self, address: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(address)
    }

    /// All of them.
    pub(crate) fn list(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

/// RPC calls under way. As many as the server takes at one time.
#[derive(Debug, Default)]
pub(crate) struct Calls(Mutex<UnderWay>);

/// The last number given, and the calls under way by their numbers.
#[derive(Debug, Default)]
struct UnderWay {
    last: u64,
    calls: BTreeMap<u64, (&'static str, Instant)>,
}

/// A call under way; ends when dropped.
pub(crate) struct CallGuard<'a> {
    calls: &'a Calls,
    id: u64,
}

impl Calls {
    /// Notes that a call has begun.
    pub(crate) fn begin(&self, method: &'static str) -> CallGuard<'_> {
        let mut under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way.last += 1;
        let id = under_way.last;
        under_way.calls.insert(id, (method, Instant::now()));
        CallGuard { calls: self, id }
    }

    /// Method and microseconds of each call.
    pub(crate) fn under_way(&self) -> Vec<(&'static str, u64)> {
        let under_way = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        under_way
            .calls
            .values()
            .map(|(method, since)| (*method, since.elapsed().as_micros() as u64))
            .collect()
    }
}

impl Drop for CallGuard<'_> {
    fn drop(&mut self) {
        self.calls.0.lock().unwrap_or_else(PoisonError::into_inner).calls.remove(&self.id);
    }
}
