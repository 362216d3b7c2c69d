//! The unspent outputs: a bounded write-back cache in memory over the database.
//!
//! An output that is made and spent between two flushes never reaches the database. Changes are made in place while
//! a block is connected and taken back from its undo data if it turns out invalid, so no second layer is needed.
//!
//! # Correctness
//! An entry is *dirty* where the database has to be told of it, and *fresh* where the database surely does not hold
//! the output. A fresh output that is spent is forgotten at once; any other leaves a dirty "spent" mark behind until
//! the flush. Fresh is only ever set where the entry was absent, or present and not dirty, and the output is known to
//! exist nowhere (BIP30), so a mark that hides an older database row is never lost.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::{BuildHasher, Hasher};

use lode_primitives::{Height, OutPoint};
use rayon::prelude::*;

use crate::StoreError;
use crate::db::{Changes, Database};
use crate::utxo::Utxo;

/// Bytes an entry takes in the table, spare slots included, beside its script.
const ENTRY_BYTES: usize = 144;

/// From this many lookups on they are shared among threads.
const PARALLEL_LOOKUPS: usize = 64;

#[derive(Debug)]
struct Slot {
    /// `None`: spent.
    utxo: Option<Utxo>,
    dirty: bool,
    fresh: bool,
}

/// The unspent outputs at the tip.
#[derive(Debug)]
pub(crate) struct Coins {
    slots: HashMap<OutPoint, Slot, Salted>,
    heap_bytes: usize,
    limit_bytes: usize,
}

impl Coins {
    pub(crate) fn new(limit_bytes: usize) -> Self {
        Self { slots: HashMap::with_hasher(Salted::new()), heap_bytes: 0, limit_bytes }
    }

    /// Bytes in use.
    pub(crate) fn bytes(&self) -> usize {
        self.slots.len() * ENTRY_BYTES + self.heap_bytes
    }

    /// True where a flush is due.
    pub(crate) fn is_full(&self) -> bool {
        self.bytes() > self.limit_bytes
    }

    /// Outputs held in memory.
    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// The output, if it is unspent.
    pub(crate) fn get(&self, db: &Database, outpoint: &OutPoint) -> Result<Option<Utxo>, StoreError> {
        match self.slots.get(outpoint) {
            Some(slot) => Ok(slot.utxo.clone()),
            None => db.utxo(outpoint),
        }
    }

    /// True where the output is unspent.
    pub(crate) fn has(&self, db: &Database, outpoint: &OutPoint) -> Result<bool, StoreError> {
        match self.slots.get(outpoint) {
            Some(slot) => Ok(slot.utxo.is_some()),
            None => db.has_utxo(outpoint),
        }
    }

    /// Brings outputs that will be spent soon into memory, many lookups at once.
    pub(crate) fn prefetch<'a>(
        &mut self,
        db: &Database,
        outpoints: impl Iterator<Item = &'a OutPoint>,
    ) -> Result<(), StoreError> {
        let missing: Vec<OutPoint> =
            outpoints.filter(|outpoint| !self.slots.contains_key(outpoint)).copied().collect();
        if missing.len() < PARALLEL_LOOKUPS {
            return Ok(()); // spending looks them up
        }
        let found: Vec<(OutPoint, Option<Utxo>)> = missing
            .into_par_iter()
            .map(|outpoint| Ok((outpoint, db.utxo(&outpoint)?)))
            .collect::<Result<_, StoreError>>()?;
        for (outpoint, utxo) in found {
            let Some(utxo) = utxo else { continue };
            if let Entry::Vacant(vacant) = self.slots.entry(outpoint) {
                self.heap_bytes += utxo.heap_bytes();
                vacant.insert(Slot { utxo: Some(utxo), dirty: false, fresh: false });
            }
        }
        Ok(())
    }

    /// Takes the output out, if it is unspent.
    pub(crate) fn spend(&mut self, db: &Database, outpoint: &OutPoint) -> Result<Option<Utxo>, StoreError> {
        match self.slots.entry(*outpoint) {
            Entry::Occupied(mut occupied) => {
                let slot = occupied.get_mut();
                let Some(utxo) = slot.utxo.take() else { return Ok(None) };
                self.heap_bytes -= utxo.heap_bytes();
                if slot.fresh {
                    occupied.remove();
                } else {
                    slot.dirty = true;
                }
                Ok(Some(utxo))
            }
            Entry::Vacant(vacant) => {
                let utxo = db.utxo(outpoint)?;
                if utxo.is_some() {
                    vacant.insert(Slot { utxo: None, dirty: true, fresh: false });
                }
                Ok(utxo)
            }
        }
    }

    /// Puts an output in. `may_exist`: the database may hold one already (BIP30's exceptions, or an undo that is not
    /// clean), which is then overwritten.
    pub(crate) fn add(&mut self, outpoint: OutPoint, utxo: Utxo, may_exist: bool) {
        self.heap_bytes += utxo.heap_bytes();
        match self.slots.entry(outpoint) {
            Entry::Occupied(mut occupied) => {
                let slot = occupied.get_mut();
                if let Some(old) = &slot.utxo {
                    self.heap_bytes -= old.heap_bytes();
                } else if !slot.dirty {
                    slot.fresh = !may_exist;
                }
                slot.utxo = Some(utxo);
                slot.dirty = true;
            }
            Entry::Vacant(vacant) => {
                vacant.insert(Slot { utxo: Some(utxo), dirty: true, fresh: !may_exist });
            }
        }
    }

    /// Writes every change to `changes`, in the database's order, which it takes in faster than any other.
    pub(crate) fn write(&self, changes: &mut Changes) {
        let mut dirty: Vec<_> = self.slots.iter().filter(|(_, slot)| slot.dirty).collect();
        dirty.sort_unstable_by_key(|(outpoint, _)| **outpoint);
        for (outpoint, slot) in dirty {
            match &slot.utxo {
                Some(utxo) => changes.put_utxo(outpoint, utxo),
                None => changes.delete_utxo(outpoint),
            }
        }
    }

    /// Called once the changes are in the database: spent marks go, and where more than half of the limit is in use
    /// the oldest outputs, which are the least likely to be spent soon.
    pub(crate) fn written(&mut self, tip: Height) {
        // Bytes by age in powers of two.
        let age = |utxo: &Utxo| (tip.saturating_sub(utxo.height) + 1).ilog2() as usize;
        let mut by_age = [0usize; 33];
        for utxo in self.slots.values().filter_map(|slot| slot.utxo.as_ref()) {
            by_age[age(utxo)] += ENTRY_BYTES + utxo.heap_bytes();
        }
        let mut total = 0;
        let keep = by_age
            .iter()
            .take_while(|&&bytes| {
                total += bytes;
                total <= self.limit_bytes / 2
            })
            .count();
        self.heap_bytes = 0;
        let heap_bytes = &mut self.heap_bytes;
        self.slots.retain(|_, slot| match &slot.utxo {
            Some(utxo) if age(utxo) < keep => {
                *heap_bytes += utxo.heap_bytes();
                slot.dirty = false;
                slot.fresh = false;
                true
            }
            _ => false,
        });
        if self.slots.capacity() > 4 * self.slots.len() {
            self.slots.shrink_to(2 * self.slots.len());
        }
    }
}

/// Hashes outpoints with a secret salt: txids are hashes already, but chosen by strangers.
#[derive(Clone, Debug)]
pub(crate) struct Salted(u64, u64);

impl Salted {
    pub(crate) fn new() -> Self {
        Self(rand::random::<u64>() | 1, rand::random())
    }
}

impl BuildHasher for Salted {
    type Hasher = SaltedHasher;
    fn build_hasher(&self) -> SaltedHasher {
        SaltedHasher { state: self.1, salt: self.0 }
    }
}

/// The hasher of [`Salted`]: a 64 by 64 bit multiplication folded, per word.
#[derive(Debug)]
pub(crate) struct SaltedHasher {
    state: u64,
    salt: u64,
}

impl SaltedHasher {
    fn mix(&mut self, word: u64) {
        let product = u128::from(self.state ^ word) * u128::from(self.salt ^ word.rotate_left(32) | 1);
        self.state = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for SaltedHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.mix(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.mix(u64::from(word));
    }

    fn write_usize(&mut self, _: usize) {} // lengths: all keys are equally long

    fn finish(&self) -> u64 {
        let product = u128::from(self.state) * u128::from(self.salt);
        (product as u64) ^ (product >> 64) as u64
    }
}
