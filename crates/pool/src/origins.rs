//! Prime chains seen, by what no disguise changes: the odd part of their origin.
//!
//! The same run of primes can be handed in under its multiplier, under twice or four times it (a shorter chain of the
//! run), and under other nonces, jobs and miners: an origin may be a multiple of two headers' hashes at once. So chains are
//! remembered for the pool as a whole and across jobs. Used by [`crate::share`].

use std::collections::HashSet;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// Chains remembered at least, and half of what is at most: at ten a second, more than a day's. 16 MB when full.
pub const REMEMBERED: usize = 1 << 20;

/// The table.
#[derive(Debug, Default)]
pub struct Origins {
    keys: RandomState,
    seen: Mutex<Generations>,
}

/// The younger takes new ones; full, it takes the elder's place.
#[derive(Debug, Default)]
struct Generations {
    young: HashSet<u64>,
    old: HashSet<u64>,
}

impl Origins {
    /// Whether the chain with this odd part was seen.
    pub fn has(&self, odd_part: &[u8]) -> bool {
        let key = self.keys.hash_one(odd_part);
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.young.contains(&key) || seen.old.contains(&key)
    }

    /// Remembers a chain; false where it was seen before.
    pub fn add(&self, odd_part: &[u8]) -> bool {
        let key = self.keys.hash_one(odd_part);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.old.contains(&key) || !seen.young.insert(key) {
            return false;
        }
        if seen.young.len() >= REMEMBERED {
            seen.old = std::mem::take(&mut seen.young);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_the_last_million_in_bounded_room() {
        let origins = Origins::default();
        for n in 0..2 * REMEMBERED as u64 + 10 {
            assert!(origins.add(&n.to_le_bytes()));
        }
        assert!(origins.has(&(REMEMBERED as u64 + 20).to_le_bytes()) && !origins.has(&0u64.to_le_bytes()));
        let seen = origins.seen.lock().unwrap();
        assert!(seen.young.len() + seen.old.len() <= 2 * REMEMBERED);
    }
}
