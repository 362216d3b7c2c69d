//! Which difficulty, coinbase class and extranonce belong to which of a session's jobs.
//!
//! A share is judged by what was in force when its job was sent. Since they change seldom, the changes are kept, not the
//! jobs: at most four, and as long as all four are about jobs that still live, nothing changes.

use lode_stratum::Difficulty;

use crate::class::CoinbaseClass;
use crate::job::EXTRANONCE1_SIZE;

/// What a job was sent under.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Terms {
    /// What a share of it is judged by and credited with.
    pub difficulty: Difficulty,
    /// Which of its coinbases the miner has.
    pub class: CoinbaseClass,
    /// The connection's extranonce 1.
    pub extranonce1: [u8; EXTRANONCE1_SIZE],
}

/// Changes kept.
const CHANGES: usize = 4;

/// The changes, in the order of jobs.
#[derive(Debug, Clone, Copy)]
pub struct Assigned {
    changes: [(u32, Terms); CHANGES],
    len: u8,
}

impl Default for Assigned {
    fn default() -> Self {
        let none = Terms {
            difficulty: Difficulty::ONE,
            class: CoinbaseClass::Plain,
            extranonce1: [0; EXTRANONCE1_SIZE],
        };
        Self { changes: [(0, none); CHANGES], len: 0 }
    }
}

impl Assigned {
    fn known(&self) -> &[(u32, Terms)] {
        &self.changes[..usize::from(self.len)]
    }

    /// The terms of the newest job, where one was sent.
    pub fn last(&self) -> Option<Terms> {
        self.known().last().map(|(_, terms)| *terms)
    }

    /// The terms that job `seq` was sent under; `None` where it was sent before anything known.
    pub fn at(&self, seq: u32) -> Option<Terms> {
        self.known().iter().rev().find(|(from, _)| *from <= seq).map(|(_, terms)| *terms)
    }

    /// Whether a change can be noted.
    pub fn has_room(&self) -> bool {
        usize::from(self.len) < CHANGES
    }

    /// Job `seq`, newer than all before, is sent under `terms`. Where there is no room, only the last terms are possible.
    pub fn set(&mut self, seq: u32, terms: Terms) {
        if self.last() != Some(terms) && self.has_room() {
            self.changes[usize::from(self.len)] = (seq, terms);
            self.len += 1;
        }
    }

    /// Jobs before `oldest` are gone: what was only about them is forgotten.
    pub fn forget_before(&mut self, oldest: u32) {
        while self.len > 1 && self.changes[1].0 <= oldest {
            self.changes.copy_within(1.., 0);
            self.len -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever changes when: a live job is always judged by the terms it was sent under.
        #[test]
        fn a_job_keeps_its_terms(steps in prop::collection::vec((0u8..4, 0u32..3), 1..60)) {
            let mut assigned = Assigned::default();
            let mut sent: Vec<(u32, Terms)> = Vec::new();
            let mut oldest = 0;
            for (seq, (wish, drop)) in steps.into_iter().enumerate() {
                let seq = seq as u32 + 1;
                oldest = (oldest + drop).min(seq);
                assigned.forget_before(oldest);
                let mut terms = Terms {
                    difficulty: Difficulty::new(f64::from(1 << wish)).unwrap(),
                    class: CoinbaseClass::Plain,
                    extranonce1: [0, 0, 0, wish],
                };
                if !assigned.has_room() {
                    terms = assigned.last().unwrap();
                }
                assigned.set(seq, terms);
                sent.push((seq, terms));
                for (seq, terms) in sent.iter().filter(|(seq, _)| *seq >= oldest) {
                    prop_assert_eq!(assigned.at(*seq), Some(*terms));
                }
            }
            prop_assert_eq!(assigned.at(0), None);
        }
    }
}
