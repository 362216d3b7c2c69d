//! Difficulty adjustment: from the rate of a connection's shares to the difficulty it should have. No IO, time as argument.
//!
//! Steps are powers of two, so that proxies have nothing to round, and a step is only taken where the rate is off by two or
//! more: at twelve shares a minute that is more than three standard deviations of luck. A decision is asked for when a
//! job is about to be sent, because a difficulty belongs to the job it comes with.

use lode_stratum::Difficulty;

use crate::config::VardiffConfig;

/// What is remembered of a connection's rate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Vardiff {
    /// When counting began, Unix milliseconds.
    since_ms: u64,
    /// Work of the shares since, in difficulty.
    work: f32,
    shares: u32,
}

impl Vardiff {
    /// Counting from now.
    pub fn new(now_ms: u64) -> Self {
        Self { since_ms: now_ms, work: 0.0, shares: 0 }
    }

    /// A share of this difficulty was accepted.
    pub fn share(&mut self, difficulty: Difficulty) {
        self.work += difficulty.get() as f32;
        self.shares += 1;
    }

    /// The difficulty to go on with, where it should change. `current` is what shares are now judged by.
    pub fn decide(&mut self, now_ms: u64, current: Difficulty, config: &VardiffConfig) -> Option<Difficulty> {
        let seconds = now_ms.saturating_sub(self.since_ms) as f64 / 1000.0;
        let per_second = config.shares_per_minute / 60.0;
        let window = f64::from(config.window_seconds);
        // A flood is seen before the window is over; few shares are judged later, when more were to be expected.
        let flood = f64::from(self.shares) >= 4.0 * per_second * window;
        if seconds < 1.0 || (seconds < window && !flood) {
            return None;
        }
        let expected = per_second * seconds;
        if self.shares == 0 {
            // Nothing at all: after twice the window a quarter, so that a weak miner is heard of soon.
            if seconds < 2.0 * window || expected < 4.0 {
                return None;
            }
            *self = Self::new(now_ms);
            return Difficulty::new(current.get() / 4.0).map(Difficulty::floor_power_of_two);
        }
        let fitting = f64::from(self.work) / seconds / per_second;
        *self = Self::new(now_ms);
        let ratio = fitting / current.get();
        if (0.5..2.0).contains(&ratio) {
            return None;
        }
        // The power of two that is nearest by ratio.
        let next = Difficulty::new(fitting * std::f64::consts::SQRT_2)?.floor_power_of_two();
        (next != current).then_some(next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn d(value: f64) -> Difficulty {
        Difficulty::new(value).unwrap()
    }

    #[test]
    fn a_flood_is_met_with_one_step_and_silence_with_a_quarter() {
        let config = VardiffConfig::default();
        let mut vardiff = Vardiff::new(0);
        for _ in 0..1000 {
            vardiff.share(d(1.0));
        }
        assert_eq!(vardiff.decide(500, d(1.0), &config), None);
        // 1,000 in ten seconds where 2 are wanted.
        assert_eq!(vardiff.decide(10_000, d(1.0), &config), Some(d(512.0)));
        let mut vardiff = Vardiff::new(0);
        assert_eq!(vardiff.decide(60_000, d(1000.0), &config), None);
        assert_eq!(vardiff.decide(120_000, d(1000.0), &config), Some(d(128.0)));
    }

    proptest! {
        /// Whatever the start, a steady miner ends within a factor of two of the rate aimed at, at a power of two.
        #[test]
        fn it_settles(rate in 1e-3f64..1e9, start in 1e-3f64..1e9) {
            let config = VardiffConfig::default();
            let mut difficulty = d(start);
            let mut vardiff = Vardiff::new(0);
            let mut now = 0;
            let mut owed = 0.0;
            for _ in 0..400 {
                now += 30_000;
                owed += rate * 30.0;
                let shares = (owed / difficulty.get()).floor().min(1_000.0);
                owed -= shares * difficulty.get();
                if shares >= 1_000.0 { owed = 0.0; }
                for _ in 0..shares as u32 { vardiff.share(difficulty); }
                if let Some(next) = vardiff.decide(now, difficulty, &config) {
                    difficulty = next;
                    owed = 0.0;
                }
            }
            let per_minute = rate * 60.0 / difficulty.get();
            prop_assert!((5.0..30.0).contains(&per_minute), "{per_minute} at {difficulty}");
        }
    }
}
