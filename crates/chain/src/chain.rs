//! The chain: one writer that takes headers and blocks and says what changed; readers by shared reference.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::path::PathBuf;
use std::sync::Arc;

use lode_coins::Coin;
use lode_primitives::{Block, BlockHash, Encode, Header, Height, Transaction, Txid, Work};

use crate::cache::Coins;
use crate::connect;
use crate::db::Database;
use crate::flat::{FlatFiles, RECORD_HEAD};
use crate::limits::{BLOCK_FILE_BYTES, CACHE_BYTES, FLUSH_SECONDS, FLUSH_SECONDS_SYNC, SIDE_BLOCKS};
use crate::rules::block::{Hashed, Scope};
use crate::rules::{self, header};
use crate::signatures::SignatureTable;
use crate::tree::{Id, Status, Tree, work_of};
use crate::{BlockError, StoreError};

/// How to open a chain.
#[derive(Clone, Debug)]
pub struct ChainOptions {
    /// Which coin, on which network.
    pub coin: &'static Coin,
    /// The directory of this network's data; made if missing.
    pub dir: PathBuf,
    /// Bytes of memory for unspent outputs between flushes.
    pub cache_bytes: usize,
    /// Delete old blocks so that block files take about this many MiB; with [`PRUNE_BY_HAND`] only when
    /// [`Chain::prune_to`] is called; `None` keeps all.
    ///
    /// [`PRUNE_BY_HAND`]: crate::limits::PRUNE_BY_HAND
    pub prune_mib: Option<u64>,
    /// Scripts of this block's ancestors are taken for valid; `None` runs all scripts.
    pub assume_valid: Option<BlockHash>,
    /// Bytes after which the next block file is begun.
    pub block_file_bytes: u64,
}

impl ChainOptions {
    /// The usual options, with the coin's own assumed-valid block.
    pub fn new(coin: &'static Coin, dir: impl Into<PathBuf>) -> Self {
        Self {
            coin,
            dir: dir.into(),
            cache_bytes: CACHE_BYTES,
            prune_mib: None,
            assume_valid: coin.assume_valid(),
            block_file_bytes: BLOCK_FILE_BYTES,
        }
    }
}

/// A block that was connected to the tip or taken from it.
#[derive(Clone, Debug)]
pub struct ChainBlock {
    /// The block.
    pub block: Arc<Block>,
    /// Its id.
    pub hash: BlockHash,
    /// Its height.
    pub height: Height,
    /// The ids of its transactions, in order.
    pub txids: Arc<[Txid]>,
}

/// How the best chain changed.
#[derive(Clone, Debug, Default)]
pub struct Connected {
    /// Blocks no longer in the best chain, the former tip first.
    pub disconnected: Vec<ChainBlock>,
    /// Blocks now in the best chain, the lowest first; the last is the tip.
    pub connected: Vec<ChainBlock>,
    /// More blocks are ready to be connected: call [`Chain::advance`] until this is false.
    pub more: bool,
}

impl Connected {
    /// True where nothing changed.
    pub const fn is_empty(&self) -> bool {
        self.disconnected.is_empty() && self.connected.is_empty()
    }

    pub(crate) fn connect(&mut self, block: ChainBlock) {
        if self.connected.is_empty() && self.disconnected.last().is_some_and(|last| last.hash == block.hash) {
            self.disconnected.pop();
        } else {
            self.connected.push(block);
        }
    }

    pub(crate) fn disconnect(&mut self, block: ChainBlock) {
        if self.connected.pop().is_none() {
            self.disconnected.push(block);
        }
    }
}

/// Blocks ready to be connected, the best last: most work, then first come.
pub(crate) type Candidates = BTreeSet<(Work, Reverse<u64>, Id)>;

/// The chain. See the crate's documentation for how it is kept safe on disk.
#[derive(Debug)]
pub struct Chain {
    pub(crate) options: ChainOptions,
    pub(crate) coin: &'static Coin,
    pub(crate) tree: Tree,
    /// The best chain's blocks by height. Never empty: the first block is always there.
    pub(crate) active: Vec<Id>,
    pub(crate) best_header: Id,
    pub(crate) candidates: Candidates,
    /// Blocks on disk whose parent's chain is not complete, by parent.
    pub(crate) waiting: HashMap<Id, Vec<Id>>,
    pub(crate) next_sequence: u64,
    pub(crate) coins: Coins,
    pub(crate) db: Database,
    pub(crate) blocks: FlatFiles,
    pub(crate) undo: FlatFiles,
    /// Entries that differ from the index on disk.
    pub(crate) dirty: BTreeSet<Id>,
    /// Heights of transactions with data, connected since the last flush.
    pub(crate) data_heights: HashMap<Txid, Height>,
    pub(crate) last_flush: u32,
    pub(crate) prune_checked: u32,
    pub(crate) report: Connected,
    pub(crate) signatures: SignatureTable,
    pub(crate) stopped: Option<String>,
    /// Held as long as the chain is open.
    pub(crate) _lock: File,
}

impl Chain {
    /// Takes a header. It must prove its work and stand on a known one. A known header is no error.
    ///
    /// `now`: our clock, Unix seconds.
    pub fn accept_header(&mut self, header: &Header, now: u32) -> Result<BlockHash, BlockError> {
        self.accept_headers(std::slice::from_ref(header), now).map_err(|(_, error)| error)?;
        Ok(header.hash())
    }

    /// Takes headers, each standing on the one before or on a known one, and gives how many were new. Where one breaks
    /// a rule, those before it are kept and its index comes with the error.
    ///
    /// They are in the database when this returns. Whether they are worth keeping (their work) is the caller's
    /// business: see [`Coin::min_chain_work`].
    pub fn accept_headers(&mut self, headers: &[Header], now: u32) -> Result<usize, (usize, BlockError)> {
        self.usable().map_err(|error| (0, error.into()))?;
        let before = self.tree.len();
        let mut verdict = Ok(());
        for (index, header) in headers.iter().enumerate() {
            let hash = header.hash();
            if let Err(error) = self.add_header(header, hash, now, false) {
                verdict = Err((index, error));
                break;
            }
        }
        let new = self.tree.len() - before;
        if new > 0 {
            let mut changes = self.db.changes();
            (before as Id..self.tree.len() as Id).for_each(|id| changes.put_entry(self.tree.get(id)));
            let stored = self.db.commit(changes, false);
            self.stop_on(stored).map_err(|error| (0, error.into()))?;
            let _ = self.dirty.split_off(&(before as Id));
        }
        verdict.map(|()| new)
    }

    /// Takes a block: checks it, stores it, and makes its chain the best one if that has the most work. A block that
    /// is stored already changes nothing; one on a side branch is stored and changes nothing yet, unless it has far too
    /// little work ([`crate::limits::SIDE_BLOCKS`]) and no better header is known to follow it.
    ///
    /// `now`: our clock, Unix seconds.
    ///
    /// # Errors
    /// The rule that the block, or one below it that was not checked yet, breaks. Where the best chain changed all the
    /// same, the next call's report says so.
    pub fn accept_block(&mut self, block: impl Into<Arc<Block>>, now: u32) -> Result<Connected, BlockError> {
        self.usable()?;
        let hashed = Hashed::new(block.into());
        rules::block::check(self.coin, &hashed, Scope::Whole)?;
        let id = self.add_header(&hashed.block.header, hashed.hash, now, true)?;
        if self.tree.get(id).tx_count > 0 {
            return Ok(self.take_report());
        }
        if self.tree.get(id).work() < self.least_work()
            && self.tree.ancestor(self.best_header, self.tree.get(id).height()) != Some(id)
        {
            return Err(BlockError::TooLittleWork { hash: hashed.hash });
        }
        let parent = self.tree.parent(id).ok_or(BlockError::MissingParent(hashed.block.header.prev))?;
        if let Err(error) = rules::block::check_in_context(&self.tree, self.coin, &hashed, parent) {
            if error.marks_invalid() {
                self.mark_failed(id);
            }
            return Err(error);
        }
        let mut record = vec![0; RECORD_HEAD];
        record.reserve(hashed.block.total_size());
        hashed.block.encode(&mut record);
        let position = self.blocks.append(record)?;
        let entry = self.tree.get_mut(id);
        entry.data = Some(position);
        entry.tx_count = hashed.block.transactions.len() as u32;
        self.dirty.insert(id);
        self.body_seen(id);

        let mut failed = self.activate(Some(&hashed))?;
        self.flush_after(FLUSH_SECONDS_SYNC, now)?;
        if let Some(at) = failed.iter().position(|(failed, _)| *failed == id) {
            return Err(failed.swap_remove(at).1);
        }
        if self.tree.get(id).is_invalid() {
            return Err(BlockError::InvalidParent(hashed.block.header.prev));
        }
        Ok(self.take_report())
    }

    /// Goes on connecting blocks that are ready, where the last report said there are more.
    pub fn advance(&mut self, now: u32) -> Result<Connected, StoreError> {
        self.usable()?;
        self.activate(None)?;
        self.flush_after(FLUSH_SECONDS_SYNC, now)?;
        Ok(self.take_report())
    }

    /// Whether `block`, on top of the tip, would be valid but for its proof of work: for templates and proposals.
    pub fn test_block_validity(&mut self, block: impl Into<Arc<Block>>, now: u32) -> Result<(), BlockError> {
        self.usable()?;
        let hashed = Hashed::new(block.into());
        let parent = self.tip_id();
        if hashed.block.header.prev != self.tree.get(parent).hash() {
            return Err(BlockError::NotOnTip(hashed.block.header.prev));
        }
        rules::block::check(self.coin, &hashed, Scope::Proposal)?;
        header::check_in_context(&self.tree, self.coin, &hashed.block.header, parent, Some(now))?;
        rules::block::check_in_context(&self.tree, self.coin, &hashed, parent)?;
        let undo = self.connect_to(parent, &hashed, true)?;
        let undone = connect::disconnect(&self.db, &mut self.coins, &hashed, undo);
        Ok(self.stop_on(undone)?)
    }

    /// Marks a block and all that stand on it invalid, whatever the rules say, until [`Chain::reconsider_block`].
    /// `Ok(None)` where the block is not known or is the first one.
    pub fn invalidate_block(&mut self, hash: &BlockHash) -> Result<Option<Connected>, StoreError> {
        self.usable()?;
        let Some(id) = self.tree.find(hash).filter(|&id| self.tree.get(id).height() > 0) else {
            return Ok(None);
        };
        let height = self.tree.get(id).height() as usize;
        while self.active.get(height) == Some(&id) {
            self.disconnect_tip()?;
        }
        self.mark_failed(id);
        self.rebuild_candidates();
        self.activate(None)?;
        self.flush()?;
        Ok(Some(self.take_report()))
    }

    /// Takes the mark of [`Chain::invalidate_block`], or of a rule found broken, from a block, from those below it and
    /// from those that stand on it, and checks them again. `Ok(None)` where the block is not known.
    pub fn reconsider_block(&mut self, hash: &BlockHash) -> Result<Option<Connected>, StoreError> {
        self.usable()?;
        let Some(id) = self.tree.find(hash) else { return Ok(None) };
        let height = self.tree.get(id).height();
        let related: Vec<Id> = self
            .tree
            .ids()
            .filter(|&other| {
                let entry = self.tree.get(other);
                entry.is_invalid()
                    && (self.tree.ancestor(other, height) == Some(id)
                        || self.tree.ancestor(id, entry.height()) == Some(other))
            })
            .collect();
        for other in related {
            let status = &mut self.tree.get_mut(other).status;
            status.clear(Status::FAILED);
            status.clear(Status::FAILED_PARENT);
            self.dirty.insert(other);
        }
        self.rebuild_candidates();
        self.activate(None)?;
        self.flush()?;
        Ok(Some(self.take_report()))
    }

    /// Writes everything to disk, durably. The chain does it when its memory is full
    /// and in [`Chain::tick`]; call it before a planned stop.
    pub fn flush(&mut self) -> Result<(), StoreError> {
        let flushed = self.try_flush();
        self.stop_on(flushed)
    }

    fn try_flush(&mut self) -> Result<(), StoreError> {
        // First what the index points at, then, in one batch, index, outputs and the block they belong to.
        self.blocks.sync()?;
        self.undo.sync()?;
        let mut changes = self.db.changes();
        self.dirty.iter().for_each(|&id| changes.put_entry(self.tree.get(id)));
        self.coins.write(&mut changes);
        self.data_heights.iter().for_each(|(txid, &height)| changes.put_data_height(txid, height));
        changes.put_tip(self.tree.get(self.tip_id()).hash());
        changes.put_ends(self.blocks.end(), self.undo.end());
        self.db.commit(changes, true)?;
        self.dirty.clear();
        self.data_heights.clear();
        self.coins.written(self.tree.get(self.tip_id()).height());
        Ok(())
    }

    /// What is done now and then, so that accepting a block need not wait for it: flushing, pruning. To be called every
    /// second or so, and after a report was passed on.
    pub fn tick(&mut self, now: u32) -> Result<(), StoreError> {
        self.usable()?;
        let recent = self.tree.get(self.tip_id()).time().saturating_add(24 * 60 * 60) > now;
        self.flush_after(if recent { FLUSH_SECONDS } else { FLUSH_SECONDS_SYNC }, now)
    }

    /// Flushes where the last flush was so many seconds ago or the memory for outputs is full; then prunes.
    fn flush_after(&mut self, seconds: u32, now: u32) -> Result<(), StoreError> {
        if self.last_flush == 0 {
            self.last_flush = now;
        }
        let due = now.saturating_sub(self.last_flush) >= seconds && !self.dirty.is_empty();
        if due || self.coins.is_full() {
            self.last_flush = now;
            self.flush()?;
        }
        self.prune_if_due()
    }

    /// Refuses to go on after a failure.
    pub(crate) fn usable(&self) -> Result<(), StoreError> {
        match &self.stopped {
            None => Ok(()),
            Some(why) => Err(StoreError::Stopped(why.clone())),
        }
    }

    /// Stops the chain where the database or an undo failed: memory may be ahead of the disk, but never the other way.
    pub(crate) fn stop_on<T>(&mut self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(error) = &result {
            self.stopped.get_or_insert_with(|| error.to_string());
        }
        result
    }

    pub(crate) fn take_report(&mut self) -> Connected {
        std::mem::take(&mut self.report)
    }

    pub(crate) fn tip_id(&self) -> Id {
        self.active[self.active.len() - 1]
    }

    fn add_header(
        &mut self,
        header: &Header,
        hash: BlockHash,
        now: u32,
        with_block: bool,
    ) -> Result<Id, BlockError> {
        if let Some(known) = self.tree.find(&hash) {
            let invalid = self.tree.get(known).is_invalid();
            return if invalid { Err(BlockError::DuplicateInvalid(hash)) } else { Ok(known) };
        }
        // A block's was checked with the block.
        if !with_block {
            header::check_pow(self.coin, header, &hash)?;
        }
        let parent = self.tree.find(&header.prev).ok_or(BlockError::MissingParent(header.prev))?;
        if self.tree.get(parent).is_invalid() {
            return Err(BlockError::InvalidParent(header.prev));
        }
        header::check_in_context(&self.tree, self.coin, header, parent, Some(now))?;
        if with_block && self.tree.get(parent).work() + work_of(self.coin, header.bits) < self.least_work() {
            return Err(BlockError::TooLittleWork { hash });
        }
        Ok(self.insert_header(header, hash))
    }

    /// Work below which a block is kept only where the best chain of headers goes through it.
    fn least_work(&self) -> Work {
        let height = self.height().saturating_sub(SIDE_BLOCKS);
        self.tree.get(self.active[height as usize]).work()
    }

    /// Puts a header that is known to be good into the tree.
    pub(crate) fn insert_header(&mut self, header: &Header, hash: BlockHash) -> Id {
        let id = self.tree.insert(header, hash, work_of(self.coin, header.bits));
        self.dirty.insert(id);
        if self.tree.get(id).work() > self.tree.get(self.best_header).work() {
            self.best_header = id;
        }
        id
    }

    /// What a transaction must be by itself to be in any block.
    pub fn check_transaction(&self, tx: &Transaction) -> Result<(), crate::TxError> {
        rules::tx::check(self.coin, tx)
    }
}
