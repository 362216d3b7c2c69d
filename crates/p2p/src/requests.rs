//! Which transaction to ask of whom: each is asked of one peer at a time, of the others after a timeout.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::limits::{MAX_TX_ANNOUNCED, MAX_TX_IN_FLIGHT, TX_TIMEOUT};
use crate::{PeerId, Time, TxRef};

/// Somebody who can give a transaction.
#[derive(Debug)]
struct Candidate {
    peer: PeerId,
    /// Not asked before this.
    ready: Time,
}

#[derive(Debug, Default)]
struct Entry {
    candidates: Vec<Candidate>,
    /// Who is being asked, and until when.
    asked: Option<(PeerId, Time)>,
    /// When this is next looked at; its place in the schedule.
    due: Time,
}

/// Announced transactions that we do not have. Bounded by the bound on each peer's announcements.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    entries: HashMap<TxRef, Entry>,
    schedule: BTreeSet<(Time, TxRef)>,
    announced: BTreeMap<PeerId, usize>,
    in_flight: BTreeMap<PeerId, usize>,
}

impl Requests {
    /// A peer has it. Asked not before `ready`.
    pub(crate) fn announce(&mut self, name: TxRef, peer: PeerId, ready: Time) {
        let count = self.announced.entry(peer).or_default();
        if *count >= MAX_TX_ANNOUNCED {
            return;
        }
        let entry = self.entries.entry(name).or_default();
        let known = entry.candidates.iter().any(|candidate| candidate.peer == peer)
            || entry.asked.is_some_and(|(asked, _)| asked == peer);
        if known {
            return;
        }
        *count += 1;
        entry.candidates.push(Candidate { peer, ready });
        if entry.asked.is_none() {
            self.reschedule(name, ready);
        }
    }

    /// Asked for at present, of anybody.
    pub(crate) fn is_asked(&self, name: &TxRef, peer: PeerId) -> bool {
        self.entries.get(name).and_then(|entry| entry.asked).is_some_and(|(asked, _)| asked == peer)
    }

    /// It is here, or not wanted any more.
    pub(crate) fn forget(&mut self, name: &TxRef) {
        let Some(entry) = self.entries.remove(name) else { return };
        self.schedule.remove(&(entry.due, *name));
        for candidate in &entry.candidates {
            decrease(&mut self.announced, candidate.peer);
        }
        if let Some((peer, _)) = entry.asked {
            decrease(&mut self.in_flight, peer);
        }
    }

    /// The peer does not have it after all.
    pub(crate) fn not_found(&mut self, name: &TxRef, peer: PeerId, now: Time) {
        let Some(entry) = self.entries.get_mut(name) else { return };
        if entry.asked.is_some_and(|(asked, _)| asked == peer) {
            entry.asked = None;
            decrease(&mut self.in_flight, peer);
            self.next_candidate(*name, now);
        }
    }

    pub(crate) fn forget_peer(&mut self, peer: PeerId) {
        self.announced.remove(&peer);
        self.in_flight.remove(&peer);
        let mut touched = Vec::new();
        for (name, entry) in &mut self.entries {
            let before = entry.candidates.len();
            entry.candidates.retain(|candidate| candidate.peer != peer);
            let asked = entry.asked.is_some_and(|(asked, _)| asked == peer);
            if asked {
                entry.asked = None;
            }
            if asked || before != entry.candidates.len() {
                touched.push(*name);
            }
        }
        for name in touched {
            if self.entries.get(&name).is_some_and(|entry| entry.asked.is_none()) {
                self.next_candidate(name, Time::ZERO);
            }
        }
    }

    /// What is to be asked of whom now, at most `max`.
    pub(crate) fn due(&mut self, now: Time, max: usize) -> BTreeMap<PeerId, Vec<TxRef>> {
        let mut out: BTreeMap<PeerId, Vec<TxRef>> = BTreeMap::new();
        let mut count = 0;
        let mut waiting = Vec::new();
        while count < max
            && let Some(&(due, name)) = self.schedule.first()
            && due <= now
        {
            self.schedule.pop_first();
            let Some(entry) = self.entries.get_mut(&name) else { continue };
            if let Some((late, _)) = entry.asked.take() {
                decrease(&mut self.in_flight, late);
            }
            let busy = |peer: &PeerId| self.in_flight.get(peer).copied().unwrap_or(0) >= MAX_TX_IN_FLIGHT;
            let choice = entry
                .candidates
                .iter()
                .position(|candidate| candidate.ready <= now && !busy(&candidate.peer));
            if let Some(choice) = choice {
                let candidate = entry.candidates.remove(choice);
                decrease(&mut self.announced, candidate.peer);
                entry.asked = Some((candidate.peer, now + TX_TIMEOUT));
                *self.in_flight.entry(candidate.peer).or_default() += 1;
                out.entry(candidate.peer).or_default().push(name);
                count += 1;
                waiting.push((name, now + TX_TIMEOUT));
            } else if let Some(next) = entry.candidates.iter().map(|candidate| candidate.ready).min() {
                // All busy or not yet ready.
                waiting.push((name, next.max(now + Time::from_millis(500))));
            } else {
                self.entries.remove(&name);
            }
        }
        for (name, due) in waiting {
            self.reschedule(name, due);
        }
        out
    }

    fn next_candidate(&mut self, name: TxRef, now: Time) {
        let Some(entry) = self.entries.get(&name) else { return };
        match entry.candidates.iter().map(|candidate| candidate.ready).min() {
            Some(next) => self.reschedule(name, next.max(now)),
            None => self.forget(&name),
        }
    }

    fn reschedule(&mut self, name: TxRef, due: Time) {
        let Some(entry) = self.entries.get_mut(&name) else { return };
        self.schedule.remove(&(entry.due, name));
        entry.due = due;
        self.schedule.insert((due, name));
    }
}

fn decrease(counts: &mut BTreeMap<PeerId, usize>, peer: PeerId) {
    if let Some(count) = counts.get_mut(&peer) {
        *count = count.saturating_sub(1);
        if *count == 0 {
            counts.remove(&peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_primitives::Wtxid;

    fn name(n: u8) -> TxRef {
        TxRef::Wtxid(Wtxid([n; 32]))
    }

    const fn at(seconds: u64) -> Time {
        Time::from_secs(seconds)
    }

    #[test]
    fn one_peer_at_a_time_and_the_next_after_a_timeout() {
        let mut requests = Requests::default();
        requests.announce(name(1), PeerId(1), at(10));
        requests.announce(name(1), PeerId(2), at(12));
        assert!(requests.due(at(9), 100).is_empty());
        assert_eq!(requests.due(at(12), 100), BTreeMap::from([(PeerId(1), vec![name(1)])]));
        assert!(requests.due(at(20), 100).is_empty());
        assert_eq!(requests.due(at(72), 100), BTreeMap::from([(PeerId(2), vec![name(1)])]));
        requests.forget(&name(1));
        assert!(requests.entries.is_empty() && requests.schedule.is_empty());
        assert!(requests.announced.is_empty() && requests.in_flight.is_empty());
    }

    #[test]
    fn who_leaves_or_has_it_not_is_replaced_at_once() {
        let mut requests = Requests::default();
        for peer in 1..=3 {
            requests.announce(name(1), PeerId(peer), at(0));
        }
        assert!(requests.due(at(1), 100).contains_key(&PeerId(1)));
        requests.forget_peer(PeerId(1));
        assert!(requests.due(at(1), 100).contains_key(&PeerId(2)));
        requests.not_found(&name(1), PeerId(2), at(2));
        assert!(requests.due(at(2), 100).contains_key(&PeerId(3)));
        requests.not_found(&name(1), PeerId(3), at(3));
        assert!(requests.entries.is_empty() && requests.schedule.is_empty());
    }

    #[test]
    fn a_flood_of_announcements_is_cut_off() {
        let mut requests = Requests::default();
        for i in 0..(2 * MAX_TX_ANNOUNCED as u64) {
            let mut id = [0; 32];
            id[..8].copy_from_slice(&i.to_le_bytes());
            requests.announce(TxRef::Wtxid(Wtxid(id)), PeerId(1), at(0));
        }
        assert_eq!(requests.entries.len(), MAX_TX_ANNOUNCED);
        let due = requests.due(at(1), 10_000);
        assert_eq!(due[&PeerId(1)].len(), MAX_TX_IN_FLIGHT);
    }
}
