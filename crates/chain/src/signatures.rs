//! Signatures found good before, so that a block need not check again what the mempool has checked.

use std::hash::BuildHasher;
use std::sync::Mutex;

use lode_script::SignatureCache;

use crate::cache::Salted;

/// Signatures kept: 2^18 take 8 MiB, more than all inputs of several full blocks.
const SLOTS: usize = 1 << 18;

/// Parts with a lock each, so that threads seldom meet.
const SHARDS: usize = 64;

/// A table in which a new signature takes the place of an old one that falls on the same slot.
#[derive(Debug)]
pub struct SignatureTable {
    salt: Salted,
    shards: Vec<Mutex<Vec<[u8; 32]>>>,
}

impl Default for SignatureTable {
    fn default() -> Self {
        let shard = || Mutex::new(Vec::new());
        Self { salt: Salted::new(), shards: std::iter::repeat_with(shard).take(SHARDS).collect() }
    }
}

impl SignatureTable {
    fn place(&self, key: &[u8; 32]) -> (&Mutex<Vec<[u8; 32]>>, usize) {
        let hash = self.salt.hash_one(key) as usize;
        (&self.shards[hash % SHARDS], hash / SHARDS % (SLOTS / SHARDS))
    }
}

impl SignatureCache for SignatureTable {
    fn contains(&self, key: &[u8; 32]) -> bool {
        let (shard, slot) = self.place(key);
        // A poisoned lock means another thread panicked; the table itself is whole after every statement.
        let shard = shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        shard.get(slot) == Some(key)
    }

    fn insert(&self, key: [u8; 32]) {
        let (shard, slot) = self.place(&key);
        let mut shard = shard.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if shard.is_empty() {
            shard.resize(SLOTS / SHARDS, [0; 32]);
        }
        shard[slot] = key;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_until_pushed_out() {
        let table = SignatureTable::default();
        let key = |n: u32| lode_primitives::sha256(&n.to_le_bytes());
        (0..1_000).for_each(|n| table.insert(key(n)));
        assert!((0..1_000).filter(|&n| table.contains(&key(n))).count() > 990);
        assert!(!table.contains(&key(1_000)));
    }
}
