//! Deleting old blocks: to a size, or up to a height that somebody asks for. Whole files go, never parts of one.

use std::collections::{BTreeSet, HashMap};

use lode_primitives::Height;

use crate::StoreError;
use crate::chain::Chain;
use crate::flat::Position;
use crate::limits::{KEEP_BLOCKS, PRUNE_BY_HAND};

/// A file of blocks, or (`true`) of undo data, by its number.
type File = (bool, u32);

impl Chain {
    /// Deletes the oldest block files where they take more than was asked for. To be called after every block: it looks
    /// only when a new file was begun.
    pub(crate) fn prune_if_due(&mut self) -> Result<(), StoreError> {
        let Some(mib) = self.options.prune_mib else { return Ok(()) };
        if mib == PRUNE_BY_HAND || self.blocks.end().file == self.prune_checked {
            return Ok(());
        }
        self.prune_checked = self.blocks.end().file;
        self.prune(mib << 20, self.height().saturating_sub(KEEP_BLOCKS))
    }

    /// Deletes what blocks it can up to and with `height`, whatever size they take; never the last [`KEEP_BLOCKS`].
    /// Gives the greatest height of the best chain whose block is gone, if any is.
    ///
    /// # Panics
    /// Where the chain was not opened for pruning.
    pub fn prune_to(&mut self, height: Height) -> Result<Option<Height>, StoreError> {
        assert!(self.is_pruned(), "the chain was opened to keep all blocks");
        self.usable()?;
        self.prune(0, self.height().saturating_sub(KEEP_BLOCKS).min(height + 1))?;
        Ok(self.prune_height().checked_sub(1))
    }

    /// Deletes files, the lowest blocks' first, until all take no more than `target` bytes; only those whose blocks are
    /// all below `keep`. The deletion is in the database before it is done, so a kill in between leaves files that
    /// nothing points at, which the next start deletes.
    fn prune(&mut self, target: u64, keep: Height) -> Result<(), StoreError> {
        let blocks = self.blocks.sizes()?;
        let undo = self.undo.sizes()?;
        let mut total: u64 = blocks.iter().chain(&undo).map(|(_, bytes)| bytes).sum();
        if total <= target {
            return Ok(());
        }
        // The greatest height in each file: a file goes when all in it is deep enough.
        let mut highest: HashMap<File, Height> = HashMap::new();
        for id in self.tree.ids() {
            let entry = self.tree.get(id);
            for (is_undo, position) in [(false, entry.data), (true, entry.undo)] {
                if let Some(position) = position {
                    let height = highest.entry((is_undo, position.file)).or_default();
                    *height = entry.height().max(*height);
                }
            }
        }
        let mut gone: BTreeSet<File> = BTreeSet::new();
        let ends = [(false, self.blocks.end().file), (true, self.undo.end().file)];
        let both = blocks.iter().map(|&(file, bytes)| (false, file, bytes));
        let mut files: Vec<_> = both.chain(undo.iter().map(|&(file, bytes)| (true, file, bytes))).collect();
        files.sort_by_key(|&(is_undo, file, _)| highest.get(&(is_undo, file)).copied().unwrap_or(0));
        for (is_undo, file, bytes) in files {
            let deep = highest.get(&(is_undo, file)).is_none_or(|&height| height < keep);
            if total <= target || !deep {
                break;
            }
            if !ends.contains(&(is_undo, file)) {
                gone.insert((is_undo, file));
                total -= bytes;
            }
        }
        if gone.is_empty() {
            return Ok(());
        }
        for id in self.tree.ids() {
            let entry = self.tree.get_mut(id);
            let forget = |position: &mut Option<Position>, is_undo: bool| {
                let hit = position.is_some_and(|position| gone.contains(&(is_undo, position.file)));
                if hit {
                    *position = None;
                }
                hit
            };
            if forget(&mut entry.data, false) | forget(&mut entry.undo, true) {
                self.dirty.insert(id);
            }
        }
        self.flush()?;
        for (is_undo, file) in gone {
            if is_undo { self.undo.delete(file)? } else { self.blocks.delete(file)? }
        }
        tracing::info!(lowest = self.prune_height(), "pruned");
        Ok(())
    }

    /// Deletes files that a killed pruning left behind.
    pub(crate) fn delete_unused_files(&self) -> Result<(), StoreError> {
        if !self.is_pruned() {
            return Ok(());
        }
        let used = |position: fn(&crate::BlockEntry) -> Option<Position>| -> BTreeSet<u32> {
            self.tree
                .ids()
                .filter_map(|id| position(self.tree.get(id)))
                .map(|position| position.file)
                .collect()
        };
        for (files, used) in
            [(&self.blocks, used(|entry| entry.data)), (&self.undo, used(|entry| entry.undo))]
        {
            for number in files.numbers()? {
                if number < files.end().file && !used.contains(&number) {
                    files.delete(number)?;
                }
            }
        }
        Ok(())
    }
}
