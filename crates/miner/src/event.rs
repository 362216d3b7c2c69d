//! What happens to a miner, for people and programs to follow.

use std::fmt;

use crate::Snapshot;
use crate::stats::Counted;

/// Something that happened. [`crate::Miner::events`] gives them as they come.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event {
    /// Logged in at the pool.
    Connected {
        /// The pool's address.
        pool: String,
    },
    /// The connection is gone; the search rests until there is another, as shares found meanwhile would be void.
    Disconnected {
        /// Why.
        reason: String,
        /// Seconds until the next try.
        retry_in_seconds: f64,
    },
    /// New work.
    Job {
        /// The pool's name for it.
        job: String,
        /// Difficulty of its shares.
        difficulty: f64,
        /// On a prime chain the least length of its shares, in primes.
        #[serde(skip_serializing_if = "Option::is_none")]
        length: Option<f64>,
        /// All earlier jobs are void.
        clean: bool,
    },
    /// The pool took a share.
    Accepted {
        /// The difficulty it is credited with.
        difficulty: f64,
        /// Milliseconds until the answer.
        answer_ms: u64,
    },
    /// The pool refused a share.
    Refused {
        /// Stratum's error code.
        code: i64,
        /// The pool's words.
        reason: String,
        /// Milliseconds until the answer.
        answer_ms: u64,
    },
    /// Words from the pool for people.
    Message {
        /// The words.
        text: String,
    },
    /// The counters, every few seconds.
    Status(Snapshot),
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connected { pool } => write!(f, "connected to {pool}"),
            Self::Disconnected { reason, retry_in_seconds } => {
                write!(f, "not connected: {reason}; next try in {retry_in_seconds:.1} s")
            }
            Self::Job { job, difficulty, length, clean } => {
                let clean = if *clean { ", earlier ones are over" } else { "" };
                match length {
                    Some(length) => write!(f, "job {job}, chains of {length:.3} primes{clean}"),
                    None => write!(f, "job {job}, difficulty {difficulty}{clean}"),
                }
            }
            Self::Accepted { difficulty, answer_ms } => {
                write!(f, "share of difficulty {difficulty} accepted ({answer_ms} ms)")
            }
            Self::Refused { code, reason, answer_ms } => {
                write!(f, "share refused: {reason} (code {code}, {answer_ms} ms)")
            }
            Self::Message { text } => write!(f, "the pool says: {text}"),
            Self::Status(seen) => write!(f, "{seen}"),
        }
    }
}

impl Snapshot {
    /// The rate over the last ten seconds with its unit, for people: `22.00 kH/s`, on prime chains `22.00 k tests/s`.
    pub fn rate(&self) -> impl fmt::Display + use<> {
        HashRate(self.hashes_per_second_10s, self.counted)
    }
}

impl fmt::Display for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} ({} over a minute), shares: {} accepted, {} refused",
            HashRate(self.hashes_per_second_10s, self.counted),
            HashRate(self.hashes_per_second_60s, self.counted),
            self.accepted,
            self.refused,
        )?;
        if self.lost > 0 {
            write!(f, ", {} lost", self.lost)?;
        }
        write!(f, ", best difficulty {:.3}", self.best_difficulty)
    }
}

/// Hashes a second, or numbers tested, shown with the unit that fits.
pub(crate) struct HashRate(pub(crate) f64, pub(crate) Counted);

impl fmt::Display for HashRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, space) = match self.1 {
            Counted::Hashes => ("H/s", ""),
            Counted::Tests => ("tests/s", " "),
        };
        let scales = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
        match scales.into_iter().find(|(scale, _)| self.0 >= *scale) {
            Some((scale, prefix)) => write!(f, "{:.2} {prefix}{space}{unit}", self.0 / scale),
            None => write!(f, "{:.0} {unit}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_have_fitting_units() {
        for (rate, shown) in
            [(0.0, "0 H/s"), (999.4, "999 H/s"), (22_000.0, "22.00 kH/s"), (32.5e6, "32.50 MH/s")]
        {
            assert_eq!(HashRate(rate, Counted::Hashes).to_string(), shown);
        }
        assert_eq!(HashRate(22_000.0, Counted::Tests).to_string(), "22.00 k tests/s");
    }

    #[test]
    fn events_are_flat_json() {
        let refused = Event::Refused { code: 21, reason: "stale".into(), answer_ms: 3 };
        assert_eq!(
            serde_json::to_string(&refused).unwrap(),
            r#"{"event":"refused","code":21,"reason":"stale","answer_ms":3}"#
        );
    }
}
