//! How fast everyone works, from their own shares: a recent rate for each worker and account, and a day's history for each
//! account. For pages only; nothing is paid by it. Fed by [`crate::Ledger`] with every share, replayed ones too.

use crate::registry::MAX_WORKERS;

/// The recent rate forgets at this pace: a share counts for half after three and a half minutes.
const FADE_MS: f64 = 300_000.0;
/// A history's steps, and how many it keeps: one day.
const STEP_MS: u64 = 900_000;
const STEPS: usize = 96;
/// Histories kept at most, 400 bytes each: 20 MB. Accounts that come later have only a recent rate.
const HISTORIES_MAX: usize = 50_000;

/// A rate that fades: the work of past shares, each the less the older it is.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    units: f64,
    at_ms: u64,
    /// The first share, from which on work is counted.
    since_ms: u64,
}

impl Meter {
    fn faded(&self, now_ms: u64) -> f64 {
        if now_ms == self.at_ms {
            // Shares come by the batch, and a log of millions is replayed: most cost no exponential.
            return self.units;
        }
        self.units * (-(now_ms.saturating_sub(self.at_ms) as f64) / FADE_MS).exp()
    }

    fn push(&mut self, units: u64, now_ms: u64) {
        if self.since_ms == 0 {
            // The work of the first share was done before it, in a time nobody knows.
            *self = Self { units: 0.0, at_ms: now_ms, since_ms: now_ms };
            return;
        }
        *self = Self { units: self.faded(now_ms) + units as f64, at_ms: now_ms, since_ms: self.since_ms };
    }

    fn per_second(&self, now_ms: u64) -> f64 {
        // What a steady rate of one unit a millisecond would have summed up to since the first share.
        let whole = FADE_MS * -(-(now_ms.saturating_sub(self.since_ms) as f64) / FADE_MS).exp_m1();
        if whole > 0.0 { self.faded(now_ms) / whole * 1000.0 } else { 0.0 }
    }
}

/// Work by the quarter of an hour.
#[derive(Debug)]
struct History {
    /// Number of the newest step since the epoch; its place is that modulo [`STEPS`].
    newest: u64,
    units: [f32; STEPS],
}

impl History {
    fn push(&mut self, units: u64, now_ms: u64) {
        let step = now_ms / STEP_MS;
        for gone in (self.newest + 1..=step).take(STEPS) {
            self.units[(gone % STEPS as u64) as usize] = 0.0;
        }
        self.newest = self.newest.max(step);
        self.units[(step % STEPS as u64) as usize] += units as f32;
    }
}

/// Everyone's rates, by the registry's slots.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    workers: Vec<Meter>,
    accounts: Vec<(Meter, Option<Box<History>>)>,
    histories: usize,
}

fn grown<T: Default>(table: &mut Vec<T>, slot: u32) -> &mut T {
    let slot = slot as usize;
    debug_assert!(slot < MAX_WORKERS);
    if table.len() <= slot {
        table.resize_with(slot + 1, T::default);
    }
    &mut table[slot]
}

impl Rates {
    /// A share of `worker` for `account`.
    pub(crate) fn push(&mut self, (worker, account): (u32, u32), units: u64, now_ms: u64) {
        grown(&mut self.workers, worker).push(units, now_ms);
        let (meter, history) = grown(&mut self.accounts, account);
        meter.push(units, now_ms);
        if history.is_none() && self.histories < HISTORIES_MAX {
            self.histories += 1;
            *history = Some(Box::new(History { newest: now_ms / STEP_MS, units: [0.0; STEPS] }));
        }
        if let Some(history) = history {
            history.push(units, now_ms);
        }
    }

    /// The slots are nobody's any more.
    pub(crate) fn forget(&mut self, workers: &[u32], accounts: &[u32]) {
        for slot in workers {
            if let Some(meter) = self.workers.get_mut(*slot as usize) {
                *meter = Meter::default();
            }
        }
        for slot in accounts {
            if let Some((meter, history)) = self.accounts.get_mut(*slot as usize) {
                *meter = Meter::default();
                self.histories -= usize::from(history.take().is_some());
            }
        }
    }

    /// A worker's recent rate in credit units a second, and the time of its last share in Unix milliseconds (0: none).
    pub(crate) fn worker(&self, slot: u32, now_ms: u64) -> (f64, u64) {
        self.workers.get(slot as usize).map_or((0.0, 0), |meter| (meter.per_second(now_ms), meter.at_ms))
    }

    /// An account's recent rate, credit units a second.
    pub(crate) fn account(&self, slot: u32, now_ms: u64) -> f64 {
        self.accounts.get(slot as usize).map_or(0.0, |(meter, _)| meter.per_second(now_ms))
    }

    /// `(Unix seconds of the step's begin, credit units a second)` of an account's last day, the oldest first; only whole
    /// steps, from its first share on.
    pub(crate) fn history(&self, slot: u32, now_ms: u64) -> Vec<(u64, f64)> {
        let Some((meter, Some(history))) = self.accounts.get(slot as usize) else { return Vec::new() };
        let now = now_ms / STEP_MS;
        let from = now.saturating_sub(STEPS as u64 - 1).max(meter.since_ms / STEP_MS);
        let units = |step: u64| match history.newest.checked_sub(step) {
            Some(age) if age < STEPS as u64 => f64::from(history.units[(step % STEPS as u64) as usize]),
            _ => 0.0,
        };
        (from..now).map(|step| (step * STEP_MS / 1000, units(step) * 1000.0 / STEP_MS as f64)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_700_000_100_000;

    #[test]
    fn a_steady_rate_is_seen_as_it_is_soon_and_forgotten_after() {
        let mut rates = Rates::default();
        // 50 units each 5 seconds by one worker, a tenth of that by the other, for the same account.
        for second in 0..3_600u64 {
            if second % 5 == 0 {
                rates.push((0, 0), 50, NOW + second * 1000);
                rates.push((1, 0), 5, NOW + second * 1000);
            }
            if second == 60 {
                assert!((rates.worker(0, NOW + 60_000).0 - 10.0).abs() < 0.5);
            }
        }
        let end = NOW + 3_595_000;
        for (rate, expected) in
            [(rates.worker(0, end).0, 10.0), (rates.worker(1, end).0, 1.0), (rates.account(0, end), 11.0)]
        {
            assert!((rate / expected - 1.0).abs() < 0.02, "{rate} for {expected}");
        }
        assert_eq!(rates.worker(0, end).1, end);
        assert!(rates.worker(0, end + 3_600_000).0 < 0.001, "it has gone");
        let history = rates.history(0, end);
        assert!((3..=4).contains(&history.len()));
        assert!((history[2].1 - 11.0).abs() < 0.1, "{history:?}");
        rates.forget(&[0], &[0]);
        assert_eq!((rates.worker(0, end), rates.history(0, end).len(), rates.histories), ((0.0, 0), 0, 0));
    }

    #[test]
    fn a_history_is_a_day_with_its_gaps() {
        let mut rates = Rates::default();
        rates.push((0, 0), 900, NOW);
        rates.push((0, 0), 900, NOW + 20 * STEP_MS);
        let history = rates.history(0, NOW + 21 * STEP_MS);
        assert_eq!(history.len(), 21);
        assert!(history[1..20].iter().all(|(_, rate)| *rate == 0.0) && history[20].1 == 1.0);
        let late = rates.history(0, NOW + 500 * STEP_MS);
        assert!(late.len() == STEPS - 1 && late.iter().all(|(_, rate)| *rate == 0.0));
    }
}
