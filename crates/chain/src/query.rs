//! Questions to the chain; none of them changes anything.

use std::sync::Arc;

use lode_coins::{Coin, Deployments};
use lode_primitives::{Amount, Block, BlockHash, Decode, Header, Height, OutPoint, Transaction, Txid};
use lode_script::Flags;

use crate::chain::Chain;
use crate::connect::{self, check_tx_scripts, median_time_before};
use crate::limits::MAX_HASHES_IN_LOCATOR;
use crate::retarget::next_bits;
use crate::rules::block::Hashed;
use crate::rules::tx::SequenceLocks;
use crate::rules::{self, tx};
use crate::signatures::SignatureTable;
use crate::tree::{BlockEntry, Id};
use crate::undo::Undo;
use crate::utxo::Utxo;
use crate::{StoreError, TxError};

/// A block, and for each of its transactions but the coinbase the outputs that it spent.
pub(crate) type ConnectedBlock = (Arc<Block>, Vec<Vec<Utxo>>);

impl Chain {
    /// The coin and network.
    pub const fn coin(&self) -> &'static Coin {
        self.coin
    }

    /// The last block of the best chain.
    pub fn tip(&self) -> &BlockEntry {
        self.tree.get(self.tip_id())
    }

    /// The height of the best chain.
    pub fn height(&self) -> Height {
        self.tip().height()
    }

    /// The header with the most work behind it, whether or not its block is here.
    pub fn best_header(&self) -> &BlockEntry {
        self.tree.get(self.best_header)
    }

    /// The transaction of the best chain that carries data and has this id, and its block's height. No other transactions
    /// are found by their ids.
    pub fn data_transaction(&self, txid: &Txid) -> Result<Option<(Transaction, Height)>, StoreError> {
        let height = match self.data_heights.get(txid) {
            Some(&height) => Some(height),
            None => self.db.data_height(txid)?,
        };
        // It may have been disconnected since.
        let Some((height, entry)) = height.and_then(|at| Some((at, self.entry_at(at)?))) else {
            return Ok(None);
        };
        let block = self.block(&entry.hash())?;
        let found = block.and_then(|block| block.transactions.into_iter().find(|tx| tx.txid() == *txid));
        Ok(found.map(|tx| (tx, height)))
    }

    /// What is known of a block; `None` where not even its header is.
    pub fn entry(&self, hash: &BlockHash) -> Option<&BlockEntry> {
        self.tree.find(hash).map(|id| self.tree.get(id))
    }

    /// A header, if it is known.
    pub fn header(&self, hash: &BlockHash) -> Option<Header> {
        self.entry(hash).map(BlockEntry::header)
    }

    /// The best chain's block at `height`.
    pub fn entry_at(&self, height: Height) -> Option<&BlockEntry> {
        self.active.get(height as usize).map(|&id| self.tree.get(id))
    }

    /// The ancestor of `hash` at `height`, in whichever branch.
    pub fn ancestor(&self, hash: &BlockHash, height: Height) -> Option<&BlockEntry> {
        let id = self.tree.find(hash)?;
        self.tree.ancestor(id, height).map(|id| self.tree.get(id))
    }

    /// True where the block is in the best chain.
    pub fn is_in_best_chain(&self, hash: &BlockHash) -> bool {
        self.tree.find(hash).is_some_and(|id| self.is_active(id))
    }

    pub(crate) fn is_active(&self, id: Id) -> bool {
        self.active.get(self.tree.get(id).height() as usize) == Some(&id)
    }

    /// Blocks from this one to the tip, itself included; `None` where it is not in the best chain.
    pub fn confirmations(&self, hash: &BlockHash) -> Option<u32> {
        let id = self.tree.find(hash).filter(|&id| self.is_active(id))?;
        Some(self.height() - self.tree.get(id).height() + 1)
    }

    /// The best chain's block after this one.
    pub fn next(&self, hash: &BlockHash) -> Option<&BlockEntry> {
        let id = self.tree.find(hash).filter(|&id| self.is_active(id))?;
        self.entry_at(self.tree.get(id).height() + 1)
    }

    /// Every leaf of the header tree: the tip and the ends of all branches.
    pub fn leaves(&self) -> Vec<&BlockEntry> {
        let mut is_parent = vec![false; self.tree.len()];
        for id in self.tree.ids() {
            if let Some(parent) = self.tree.parent(id) {
                is_parent[parent as usize] = true;
            }
        }
        self.tree.ids().filter(|&id| !is_parent[id as usize]).map(|id| self.tree.get(id)).collect()
    }

    /// The last block that the best chain shares with the branch of `hash`.
    pub fn fork_with(&self, hash: &BlockHash) -> Option<&BlockEntry> {
        let id = self.tree.find(hash)?;
        Some(self.tree.get(self.tree.fork(id, self.tip_id())))
    }

    /// Ids by which a peer finds where our chains part: ten in a row down from `hash`, then ever further apart.
    pub fn locator(&self, hash: &BlockHash) -> Vec<BlockHash> {
        let mut locator = Vec::new();
        let mut at = self.tree.find(hash).unwrap_or_else(|| self.tip_id());
        let mut step = 1;
        while locator.len() < MAX_HASHES_IN_LOCATOR {
            let entry = self.tree.get(at);
            locator.push(entry.hash());
            if entry.height() == 0 {
                break;
            }
            if locator.len() >= 10 {
                step *= 2;
            }
            let height = entry.height().saturating_sub(step);
            at = self.tree.ancestor(at, height).unwrap_or(0);
        }
        locator
    }

    /// The first of a peer's locator that is in the best chain; the first block where none is.
    pub fn locate(&self, locator: &[BlockHash]) -> &BlockEntry {
        let found = locator.iter().find_map(|hash| self.tree.find(hash).filter(|&id| self.is_active(id)));
        self.tree.get(found.unwrap_or(0))
    }

    /// Headers of the best chain after what `locator` shares with it, up to `stop`, at most `max`.
    pub fn headers_after(&self, locator: &[BlockHash], stop: &BlockHash, max: usize) -> Vec<Header> {
        let start = self.locate(locator).height() as usize + 1;
        let mut headers = Vec::new();
        for &id in self.active.iter().skip(start).take(max) {
            let entry = self.tree.get(id);
            headers.push(entry.header());
            if entry.hash() == *stop {
                break;
            }
        }
        headers
    }

    /// Blocks from what is connected towards the best header whose bodies are not here yet, lowest first, at most
    /// `max`: what a sync asks its peers for.
    pub fn missing_blocks(&self, max: usize) -> Vec<BlockHash> {
        let fork = self.tree.get(self.tree.fork(self.best_header, self.tip_id())).height();
        let end = self.best_header().height();
        (fork + 1..=end)
            .filter_map(|height| self.tree.ancestor(self.best_header, height))
            .map(|id| self.tree.get(id))
            .filter(|entry| entry.tx_count == 0)
            .take(max)
            .map(BlockEntry::hash)
            .collect()
    }

    /// A block; `Ok(None)` where its body never came.
    ///
    /// # Errors
    /// [`StoreError::Pruned`] where it was deleted; others where its file is damaged.
    pub fn block(&self, hash: &BlockHash) -> Result<Option<Block>, StoreError> {
        match self.tree.find(hash) {
            Some(id) if self.tree.get(id).tx_count > 0 => self.read_block(id).map(Some),
            _ => Ok(None),
        }
    }

    /// A block as the bytes of its encoding; else as [`Chain::block`].
    pub fn block_bytes(&self, hash: &BlockHash) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(id) = self.tree.find(hash).filter(|&id| self.tree.get(id).tx_count > 0) else {
            return Ok(None);
        };
        let position = self.tree.get(id).data.ok_or(StoreError::Pruned(*hash))?;
        self.blocks.read(position).map(Some)
    }

    /// The outputs that a block spent: for each transaction but the coinbase, one per input. `Ok(None)` where the
    /// block was never connected.
    pub fn spent_outputs(&self, hash: &BlockHash) -> Result<Option<Vec<Vec<Utxo>>>, StoreError> {
        Ok(self.connected_block(hash)?.map(|(_, spent)| spent))
    }

    /// A block that was connected once, with the outputs it spent as [`Chain::spent_outputs`] has them; none for the
    /// first block, which spends nothing.
    pub(crate) fn connected_block(&self, hash: &BlockHash) -> Result<Option<ConnectedBlock>, StoreError> {
        let Some(id) = self.tree.find(hash) else { return Ok(None) };
        let entry = self.tree.get(id);
        if entry.height() == 0 {
            return Ok(Some((Arc::new(self.read_block(id)?), Vec::new())));
        }
        if entry.undo.is_none() {
            return Ok(None);
        }
        let hashed = Hashed::new(Arc::new(self.read_block(id)?));
        let undo = self.read_undo(id, &hashed)?;
        Ok(Some((hashed.block, undo.0)))
    }

    pub(crate) fn read_block(&self, id: Id) -> Result<Block, StoreError> {
        let entry = self.tree.get(id);
        let position = entry.data.ok_or(StoreError::Pruned(entry.hash()))?;
        let bytes = self.blocks.read(position)?;
        let block = Block::from_bytes(&bytes, self.coin.form);
        block.map_err(|_| self.blocks.corrupt(position, "the record is no block"))
    }

    pub(crate) fn read_undo(&self, id: Id, hashed: &Hashed) -> Result<Undo, StoreError> {
        let position = self.tree.get(id).undo.ok_or(StoreError::Pruned(hashed.hash))?;
        let bytes = self.undo.read(position)?;
        Undo::decode(&bytes, hashed.hash)
            .ok()
            .filter(|undo| connect::fits(undo, &hashed.block))
            .ok_or_else(|| self.undo.corrupt(position, "the record is not this block's undo data"))
    }

    /// An output, if it is unspent at the tip.
    pub fn utxo(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, StoreError> {
        self.coins.get(&self.db, outpoint)
    }

    /// True where the output is unspent at the tip.
    pub fn has_utxo(&self, outpoint: &OutPoint) -> Result<bool, StoreError> {
        self.coins.has(&self.db, outpoint)
    }

    /// The median time past of a block (BIP113): the least time of a block after it, less one.
    pub fn median_time_past(&self, hash: &BlockHash) -> Option<u32> {
        self.tree.find(hash).map(|id| self.tree.median_time_past(id))
    }

    /// The bits that a block with this `time` on top of `parent` must have; `None` where the parent is not known.
    pub fn next_bits(&self, parent: &BlockHash, time: u32) -> Option<u32> {
        self.tree.find(parent).map(|id| next_bits(&self.tree, self.coin, id, time))
    }

    /// The least time of a block on top of the tip: one second after the median time past and, where BIP94 asks for
    /// it, not long before the tip's own time.
    pub fn least_time(&self) -> u32 {
        let tip = self.tip_id();
        let least = self.tree.median_time_past(tip) + 1;
        match self.coin.retarget {
            lode_coins::Retarget::Interval { timespan, spacing, bip94: true, .. }
                if (self.height() + 1).is_multiple_of(timespan / spacing) =>
            {
                least.max(self.tip().time().saturating_sub(crate::limits::MAX_TIMEWARP_SECONDS))
            }
            _ => least,
        }
    }

    /// The fee of `tx` in a block on top of the tip, where it may spend `spent` (in the order of its inputs) as far as
    /// amounts and maturity go.
    ///
    /// # Panics
    /// Where there is not one output per input: looking them up comes first.
    pub fn check_tx_inputs(&self, tx: &Transaction, spent: &[Utxo]) -> Result<Amount, TxError> {
        assert_eq!(spent.len(), tx.inputs.len(), "one spent output per input");
        tx::check_inputs(self.coin, tx, spent, self.height() + 1)
    }

    /// Runs the scripts of `tx`, which spends `spent`, by `flags`; good signatures are kept, so that a block with the
    /// transaction connects faster.
    ///
    /// # Panics
    /// Where there is not one output per input.
    pub fn check_tx_scripts(&self, tx: &Transaction, spent: &[Utxo], flags: Flags) -> Result<(), TxError> {
        check_tx_scripts(tx, spent, flags, &self.signatures)
    }

    /// The script rules in force in the block after the tip.
    pub fn next_script_flags(&self) -> Flags {
        rules::script_flags(self.coin, self.height() + 1, &BlockHash::ZERO)
    }

    /// Signatures found good before; shared with whoever else checks some.
    pub const fn signatures(&self) -> &SignatureTable {
        &self.signatures
    }

    /// True where the lock time of `tx` is reached in the block after the tip.
    pub fn is_final(&self, tx: &Transaction) -> bool {
        let height = self.height() + 1;
        tx::is_final(tx, height, self.tree.median_time_past(self.tip_id()))
    }

    /// The relative locks (BIP68) of `tx` on top of the tip, its inputs having been made at `heights` (tip + 1 for
    /// those that are not in a block yet).
    pub fn sequence_locks(
        &self,
        tx: &Transaction,
        heights: impl IntoIterator<Item = Height>,
    ) -> SequenceLocks {
        if !Deployments::holds(self.coin.deployments.csv, self.height() + 1) {
            return SequenceLocks::default();
        }
        SequenceLocks::of(tx, heights, |height| median_time_before(&self.tree, self.tip_id(), height))
    }

    /// True where `locks` are open in the block after the tip.
    pub fn locks_are_open(&self, locks: &SequenceLocks) -> bool {
        locks.are_open(self.height() + 1, self.tree.median_time_past(self.tip_id()))
    }

    /// True while the chain is being caught up with: too little work, or a tip from more than a day before `now`.
    pub fn is_initial_download(&self, now: u32) -> bool {
        let tip = self.tip();
        tip.work() < self.coin.min_chain_work() || tip.time().saturating_add(24 * 60 * 60) < now
    }

    /// The least height whose block is on disk: 0 unless pruned.
    pub fn prune_height(&self) -> Height {
        let pruned = self.active.iter().rposition(|&id| !self.tree.get(id).has_block());
        pruned.map_or(0, |height| height as Height + 1)
    }

    /// The least height of the best chain whose block has this time, Unix seconds, or a later one.
    pub fn first_since(&self, time: u32) -> Option<Height> {
        let found = self.active.iter().position(|&id| self.tree.get(id).time() >= time);
        found.map(|height| height as Height)
    }

    /// True where old blocks may be deleted.
    pub const fn is_pruned(&self) -> bool {
        self.options.prune_mib.is_some()
    }

    /// Bytes of block files, undo files and database.
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        let files =
            self.blocks.sizes()?.into_iter().chain(self.undo.sizes()?).map(|(_, bytes)| bytes).sum::<u64>();
        Ok(files + self.db.disk_bytes())
    }

    /// Bytes of memory that unspent outputs take, and how many there are in memory.
    pub fn cache_usage(&self) -> (usize, usize) {
        (self.coins.bytes(), self.coins.len())
    }
}
