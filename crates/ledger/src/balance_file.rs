//! The file of the balances, written beside the ledger and not under its lock: shares need not wait for the disk when a
//! block is found.
//!
//! The ledger notes what has changed, in order, while its lock is held; whoever called it lets go of the lock and then
//! calls [`BalanceFile::write`]. What was noted and not written when the process dies is in the pool's journal, which
//! keeps a found block until its settlement is here for certain.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use lode_primitives::BlockHash;

use crate::balances::State;
use crate::codec::{encode_found, encode_state};
use crate::log::LogError;
use crate::payout::PayoutSnapshot;
use crate::records::RecordFile;

/// First bytes of the file.
pub(crate) const MAGIC: [u8; 8] = *b"LODEBAL1";
/// Kinds of its records: the balances after the last final block of the pool's, and a found block since.
pub(crate) const STATE: u8 = 1;
pub(crate) const FOUND: u8 = 2;

#[derive(Debug)]
enum Change {
    Found(BlockHash, PayoutSnapshot),
    /// All there is to keep: the file is written anew.
    Anew(Arc<State>, Vec<(BlockHash, PayoutSnapshot)>),
}

/// The file and what is still to be written to it.
#[derive(Debug)]
pub struct BalanceFile {
    /// Bounded by the blocks found since the last one that went final: [`Change::Anew`] empties it.
    changes: Mutex<VecDeque<Change>>,
    file: Mutex<RecordFile>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere must not stop payouts; both are whole between statements.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl BalanceFile {
    pub(crate) fn new(file: RecordFile) -> Self {
        Self { changes: Mutex::default(), file: Mutex::new(file) }
    }

    pub(crate) fn note_found(&self, hash: BlockHash, snapshot: PayoutSnapshot) {
        lock(&self.changes).push_back(Change::Found(hash, snapshot));
    }

    pub(crate) fn note_anew(&self, base: Arc<State>, open: Vec<(BlockHash, PayoutSnapshot)>) {
        let mut changes = lock(&self.changes);
        changes.clear();
        changes.push_back(Change::Anew(base, open));
    }

    /// Writes what has changed. All that was noted before the call is on the disk when this returns `Ok`; after an error
    /// it is kept for the next call.
    pub fn write(&self) -> Result<(), LogError> {
        // One writer at a time, and in the order of the notes.
        let mut file = lock(&self.file);
        let mut changes = std::mem::take(&mut *lock(&self.changes));
        while let Some(change) = changes.front() {
            if let Err(error) = apply(&mut file, change) {
                let mut since = lock(&self.changes);
                if !matches!(since.front(), Some(Change::Anew(..))) {
                    changes.append(&mut since);
                    *since = changes;
                }
                return Err(error);
            }
            changes.pop_front();
        }
        Ok(())
    }
}

fn apply(file: &mut RecordFile, change: &Change) -> Result<(), LogError> {
    match change {
        Change::Found(hash, snapshot) => file.append(FOUND, &[&encode_found(hash, snapshot)]),
        Change::Anew(base, open) => {
            let mut state = Vec::new();
            encode_state(base, &mut state);
            let open = open.iter().map(|(hash, snapshot)| (FOUND, encode_found(hash, snapshot)));
            file.rewrite(&std::iter::once((STATE, state)).chain(open).collect::<Vec<_>>())
        }
    }
}
