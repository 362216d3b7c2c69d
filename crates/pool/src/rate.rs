//! The pool's hash rate, from the work of accepted shares. No IO; time as an argument.

use std::collections::VecDeque;

/// Seconds that the present rate looks back.
const RECENT_SECONDS: usize = 600;
/// Minutes of history: one day.
const HISTORY_MINUTES: usize = 1_440;
/// Credit units of one difficulty.
const UNITS: f64 = 4_294_967_296.0;

/// Rates, in difficulty per second.
#[derive(Debug, Default)]
pub(crate) struct RateMeter {
    last: Option<(u64, u64)>,
    /// `(Unix seconds, units)` of each sample, newest last.
    recent: VecDeque<(u64, f64)>,
    /// `(Unix seconds of the minute's begin, units)`.
    minutes: VecDeque<(u64, f64)>,
}

impl RateMeter {
    /// Takes a sample: `units` is all work accepted so far, in credit units, wrapping at 64 bits.
    pub(crate) fn sample(&mut self, now_s: u64, units: u64) {
        let Some((then, before)) = self.last.replace((now_s, units)) else {
            self.recent.push_back((now_s, 0.0));
            return;
        };
        if now_s < then {
            return;
        }
        let work = units.wrapping_sub(before) as f64;
        self.recent.push_back((now_s, work));
        while self.recent.len() > RECENT_SECONDS
            || self.recent.front().is_some_and(|(time, _)| time + (RECENT_SECONDS as u64) < now_s)
        {
            self.recent.pop_front();
        }
        let minute = now_s - now_s % 60;
        match self.minutes.back_mut().filter(|(time, _)| *time == minute) {
            Some((_, sum)) => *sum += work,
            None => self.minutes.push_back((minute, work)),
        }
        if self.minutes.len() > HISTORY_MINUTES {
            self.minutes.pop_front();
        }
    }

    /// Difficulty per second of late.
    pub(crate) fn rate(&self) -> f64 {
        let (Some((from, _)), Some((to, _))) = (self.recent.front(), self.recent.back()) else { return 0.0 };
        let work: f64 = self.recent.iter().skip(1).map(|(_, work)| work).sum();
        if to > from { work / UNITS / (to - from) as f64 } else { 0.0 }
    }

    /// `(Unix seconds, difficulty per second)` of whole minutes.
    pub(crate) fn history(&self) -> impl Iterator<Item = (u64, f64)> {
        let whole = self.minutes.len().saturating_sub(1);
        self.minutes.iter().take(whole).map(|(time, work)| (*time, work / UNITS / 60.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_rate_is_seen_as_it_is_even_over_a_wrap() {
        let mut meter = RateMeter::default();
        let mut units = u64::MAX - (30 << 32);
        for second in 0..2_000 {
            meter.sample(1_000_000 + second, units);
            units = units.wrapping_add(5 << 32);
        }
        assert!((meter.rate() - 5.0).abs() < 1e-9, "{}", meter.rate());
        let history: Vec<_> = meter.history().collect();
        assert!(history.len() >= 30);
        assert!((history[3].1 - 5.0).abs() < 1e-9);
        assert!(meter.recent.len() <= RECENT_SECONDS);
    }
}
