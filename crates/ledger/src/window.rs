//! The payout window: whose work counts for the next block.
//!
//! Work is summed per account and per worker as shares come and as they leave, so asking is cheap however many shares
//! the window holds. It moves in slices, a 120th of its length each: shares leave by the slice. Where slices begin
//! depends on nothing but the log (its times, or its running sum of work), so a window rebuilt after a restart is the
//! same window.

use std::collections::VecDeque;

/// Which shares count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowKind {
    /// Those of the last `ms` milliseconds (the default: one hour).
    Time {
        /// Length, at least a second.
        ms: u64,
    },
    /// The last ones whose work together is `factor` times the network's difficulty.
    Work {
        /// How many blocks' worth of expected work.
        factor: u32,
    },
    /// None: the finder takes the block. Statistics cover the last hour.
    Solo,
}

impl Default for WindowKind {
    fn default() -> Self {
        Self::Time { ms: HOUR_MS }
    }
}

/// One hour in milliseconds.
pub const HOUR_MS: u64 = 3_600_000;
/// Slices of a window. Memory is at most this many entries of 16 bytes per worker: 2 kB.
pub const SLICES: u64 = 120;

/// Work and shares of an account or a worker in the window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Credit units.
    pub units: u128,
    /// Shares.
    pub shares: u64,
}

/// A worker's part in a closed slice; one whose work passes 64 bits has several.
#[derive(Debug)]
struct Entry {
    worker: u32,
    shares: u32,
    units: u64,
}

#[derive(Debug)]
struct Slice {
    key: (u32, u128),
    units: u128,
    entries: Vec<Entry>,
    first_ms: u64,
}

/// The window's sums. Slots are those of the registry.
#[derive(Debug)]
pub(crate) struct Window {
    kind: WindowKind,
    slices: VecDeque<Slice>,
    /// Where each worker's entry in the newest slice is: that slice's number, and the place.
    places: Vec<(u64, usize)>,
    /// The newest slice's number, from 1.
    slice: u64,
    workers: Vec<Sum>,
    /// Account slot of each worker slot with work in the window.
    account_of: Vec<u32>,
    accounts: Vec<Sum>,
    total: Sum,
    network_units: u128,
}

impl Window {
    pub(crate) fn new(kind: WindowKind) -> Self {
        Self {
            kind,
            slices: VecDeque::new(),
            places: Vec::new(),
            slice: 0,
            workers: Vec::new(),
            account_of: Vec::new(),
            accounts: Vec::new(),
            total: Sum::default(),
            network_units: 1,
        }
    }

    fn length_ms(&self) -> Option<u64> {
        match self.kind {
            WindowKind::Time { ms } => Some(ms.max(SLICES)),
            WindowKind::Solo => Some(HOUR_MS),
            WindowKind::Work { .. } => None,
        }
    }

    /// Work the window is to hold, by work.
    fn wanted_units(&self) -> u128 {
        match self.kind {
            WindowKind::Work { factor } => self.network_units.saturating_mul(u128::from(factor)),
            _ => 0,
        }
    }

    /// The slice a share belongs to: by time its number since the epoch, by work the log's running sum of work cut at
    /// multiples of a power of two near a 120th of the window.
    fn key(&self, time_ms: u64, units_before: u128) -> (u32, u128) {
        match self.length_ms() {
            Some(ms) => (0, u128::from(time_ms / (ms / SLICES).max(1))),
            None => {
                let log2 = (self.wanted_units() / u128::from(SLICES)).max(1).ilog2();
                (log2, units_before >> log2)
            }
        }
    }

    /// Takes a share in. `units_before` is the sum of all work in the log before it.
    pub(crate) fn push(
        &mut self,
        (worker, account): (u32, u32),
        units: u64,
        time_ms: u64,
        units_before: u128,
        network_units: u128,
    ) {
        self.network_units = network_units.max(1);
        let key = self.key(time_ms, units_before);
        if self.slices.back().is_none_or(|slice| slice.key != key) {
            if let Some(slice) = self.slices.back_mut() {
                slice.entries.shrink_to_fit();
            }
            self.slice += 1;
            self.slices.push_back(Slice { key, units: 0, entries: Vec::new(), first_ms: time_ms });
            self.expire(time_ms);
        }
        let slice = self.slices.back_mut().expect("a slice was pushed above, and expiry leaves the newest");
        slice.units += u128::from(units);
        let slot = worker as usize;
        if self.places.len() <= slot {
            self.places.resize(slot + 1, (0, 0));
        }
        let place = match self.places[slot] {
            (number, place) if number == self.slice => slice.entries.get_mut(place),
            _ => None,
        };
        match place
            .and_then(|entry| Some((entry.units.checked_add(units)?, entry.shares.checked_add(1)?, entry)))
        {
            Some((sum, shares, entry)) => (entry.units, entry.shares) = (sum, shares),
            None => {
                self.places[slot] = (self.slice, slice.entries.len());
                slice.entries.push(Entry { worker, shares: 1, units });
            }
        }
        for (sums, slot) in [(&mut self.workers, worker), (&mut self.accounts, account)] {
            if sums.len() <= slot as usize {
                sums.resize(slot as usize + 1, Sum::default());
            }
            sums[slot as usize].units += u128::from(units);
            sums[slot as usize].shares += 1;
        }
        if self.account_of.len() <= worker as usize {
            self.account_of.resize(worker as usize + 1, 0);
        }
        self.account_of[worker as usize] = account;
        self.total.units += u128::from(units);
        self.total.shares += 1;
    }

    /// Lets go of what has left the window by `now_ms`; the newest slice stays until a newer one begins, unless the
    /// window is by time.
    pub(crate) fn expire(&mut self, now_ms: u64) {
        match self.length_ms() {
            Some(ms) => {
                let now = u128::from(now_ms / (ms / SLICES).max(1));
                while self.slices.front().is_some_and(|slice| slice.key.1 + u128::from(SLICES) <= now) {
                    self.drop_oldest();
                }
            }
            None => {
                let wanted = self.wanted_units();
                while self.slices.len() > 1
                    && self.slices.front().is_some_and(|slice| self.total.units - slice.units >= wanted)
                {
                    self.drop_oldest();
                }
            }
        }
    }

    fn drop_oldest(&mut self) {
        let Some(slice) = self.slices.pop_front() else { return };
        for Entry { worker, shares, units } in slice.entries {
            let account = self.account_of[worker as usize];
            for sum in
                [&mut self.workers[worker as usize], &mut self.accounts[account as usize], &mut self.total]
            {
                sum.units -= u128::from(units);
                sum.shares -= u64::from(shares);
            }
        }
    }

    /// The network's difficulty of the newest template; by work, the window's length follows it.
    pub(crate) fn set_network(&mut self, network_units: u128) {
        self.network_units = network_units.max(1);
    }

    pub(crate) fn account(&self, slot: u32) -> Sum {
        self.accounts.get(slot as usize).copied().unwrap_or_default()
    }

    pub(crate) fn worker(&self, slot: u32) -> Sum {
        self.workers.get(slot as usize).copied().unwrap_or_default()
    }

    pub(crate) fn total(&self) -> Sum {
        self.total
    }

    pub(crate) fn kind(&self) -> WindowKind {
        self.kind
    }

    /// The time of the oldest share in the window.
    pub(crate) fn since_ms(&self) -> Option<u64> {
        self.slices.front().map(|slice| slice.first_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn by_time_shares_leave_after_their_hour() {
        let mut window = Window::new(WindowKind::default());
        window.push((0, 0), 5, 1_000, 0, 1);
        window.push((1, 0), 7, HOUR_MS - 1, 5, 1);
        window.expire(HOUR_MS - 1);
        assert_eq!(window.account(0), Sum { units: 12, shares: 2 });
        window.expire(HOUR_MS);
        assert_eq!(window.account(0), Sum { units: 7, shares: 1 });
        window.expire(3 * HOUR_MS);
        assert_eq!((window.total(), window.since_ms()), (Sum::default(), None));
    }

    #[test]
    fn a_worker_beyond_64_bits_in_one_slice_is_still_exact() {
        let mut window = Window::new(WindowKind::default());
        for _ in 0..3 {
            window.push((4, 2), u64::MAX, 10, 0, 1);
        }
        assert_eq!(window.worker(4).units, 3 * u128::from(u64::MAX));
        window.expire(2 * HOUR_MS);
        assert_eq!(window.worker(4), Sum::default());
    }

    proptest! {
        /// Whatever comes, the sums are those of the shares that the definition keeps.
        #[test]
        fn sums_are_those_of_the_shares_inside(
            shares in prop::collection::vec((0u32..6, 1u64..1_000, 0u64..90_000), 1..300),
            by_work: bool,
        ) {
            let kind = if by_work { WindowKind::Work { factor: 3 } } else { WindowKind::default() };
            let network = 5_000;
            let mut window = Window::new(kind);
            let (mut now, mut before) = (0, 0u128);
            let mut all = Vec::new();
            for (worker, units, step) in shares {
                now += step;
                window.push((worker, worker / 2), units, now, before, network);
                all.push((worker, units, now, before));
                before += u128::from(units);
            }
            window.expire(now);
            let slice = HOUR_MS / SLICES;
            let mut from = 0;
            if by_work {
                // The oldest slice that is needed to hold the wanted work.
                let log2 = (3 * network / u128::from(SLICES)).ilog2();
                let mut starts: Vec<usize> = (0..all.len()).filter(|&i| i == 0 || all[i].3 >> log2 != all[i - 1].3 >> log2).collect();
                starts.retain(|&i| before - all[i].3 >= 3 * network);
                from = starts.last().copied().unwrap_or(0);
            } else {
                while all[from].2 / slice + SLICES <= now / slice {
                    from += 1;
                }
            }
            for slot in 0..6 {
                let units: u128 = all[from..].iter().filter(|s| s.0 == slot).map(|s| u128::from(s.1)).sum();
                prop_assert_eq!(window.worker(slot).units, units);
            }
            let total: u128 = all[from..].iter().map(|s| u128::from(s.1)).sum();
            prop_assert_eq!(window.total().units, total);
            prop_assert_eq!((0..3).map(|a| window.account(a).units).sum::<u128>(), total);
            prop_assert!(!by_work || total >= (3 * network).min(before));
        }
    }
}
