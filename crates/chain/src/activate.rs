//! Which chain is the best, and making it the one that is connected.

use std::cmp::Reverse;
use std::sync::Arc;

use lode_coins::Coin;
use lode_primitives::Height;

use crate::chain::{Chain, ChainBlock};
use crate::connect::{self, Place};
use crate::flat::RECORD_HEAD;
use crate::limits::{ASSUME_VALID_SECONDS, CONNECT_STEP};
use crate::rules;
use crate::rules::block::Hashed;
use crate::tree::{BlockEntry, Id, Status, work_of};
use crate::undo::Undo;
use crate::{BlockError, StoreError};

impl Chain {
    /// Called once a block's body is on disk: numbers it and all that waited for it, in the order they can be connected.
    pub(crate) fn body_seen(&mut self, id: Id) {
        let mut ready = std::collections::VecDeque::from([id]);
        while let Some(id) = ready.pop_front() {
            let parent = self.tree.get(id).parent;
            let below = self.tree.get(parent).chain_tx;
            if below == 0 {
                self.waiting.entry(parent).or_default().push(id);
                continue;
            }
            let sequence = self.next_sequence;
            self.next_sequence += 1;
            let entry = self.tree.get_mut(id);
            entry.chain_tx = below + u64::from(entry.tx_count);
            entry.sequence = sequence;
            self.dirty.insert(id);
            self.add_candidate(id);
            ready.extend(self.waiting.remove(&id).unwrap_or_default());
        }
    }

    fn add_candidate(&mut self, id: Id) {
        let entry = self.tree.get(id);
        if entry.work() >= self.tree.get(self.tip_id()).work() {
            self.candidates.insert((entry.work(), Reverse(entry.sequence), id));
        }
    }

    /// All candidates from scratch, and the best header: for when marks have changed.
    pub(crate) fn rebuild_candidates(&mut self) {
        self.candidates.clear();
        let mut best = 0;
        for id in self.tree.ids() {
            let entry = self.tree.get(id);
            if entry.is_invalid() {
                continue;
            }
            if entry.work() > self.tree.get(best).work() {
                best = id;
            }
            if entry.is_connectable() {
                self.add_candidate(id);
            }
        }
        self.best_header = best;
    }

    /// Marks a block that broke a rule, and all that stand on it.
    pub(crate) fn mark_failed(&mut self, id: Id) {
        self.tree.get_mut(id).status.set(Status::FAILED);
        self.dirty.insert(id);
        // Parents come before children in the tree.
        for other in id + 1..self.tree.len() as Id {
            let entry = self.tree.get(other);
            if !entry.is_invalid() && self.tree.get(entry.parent).is_invalid() {
                self.tree.get_mut(other).status.set(Status::FAILED_PARENT);
                self.dirty.insert(other);
            }
        }
        if self.tree.get(self.best_header).is_invalid() {
            let best = self.tree.ids().filter(|&id| !self.tree.get(id).is_invalid());
            // The last of the greatest: of equals the first seen must win.
            self.best_header = best.rev().max_by_key(|&id| self.tree.get(id).work()).unwrap_or(0);
        }
    }

    /// The best chain that could be connected: its last block.
    fn best_candidate(&mut self) -> Option<Id> {
        while let Some(&(_, _, id)) = self.candidates.last() {
            if !self.tree.get(id).is_invalid() && self.has_bodies(id) {
                return Some(id);
            }
            self.candidates.pop_last();
        }
        None
    }

    /// True where every block from the best chain up to this one is on disk (pruning may have taken some).
    fn has_bodies(&self, id: Id) -> bool {
        let mut at = id;
        loop {
            let entry = self.tree.get(at);
            if self.active.get(entry.height() as usize) == Some(&at) {
                return true;
            }
            if !entry.has_block() {
                return false;
            }
            at = entry.parent;
        }
    }

    /// True where every block of the best chain above `height` can be taken back: pruning may have taken what that needs.
    fn can_go_back_to(&self, height: Height) -> bool {
        self.active[height as usize + 1..].iter().all(|&id| {
            let entry = self.tree.get(id);
            entry.has_block() && entry.undo.is_some()
        })
    }

    /// Makes the best candidate the tip, as far as its blocks are valid; gives the blocks found invalid on the way.
    pub(crate) fn activate(&mut self, new: Option<&Hashed>) -> Result<Vec<(Id, BlockError)>, StoreError> {
        let mut failed = Vec::new();
        let start_work = self.tree.get(self.tip_id()).work();
        let mut steps = 0;
        self.report.more = false;
        'candidates: while let Some(best) = self.best_candidate() {
            if best == self.tip_id() {
                break;
            }
            let fork = self.tree.get(self.tree.fork(best, self.tip_id())).height();
            if !self.can_go_back_to(fork) {
                tracing::error!(block = %self.tree.get(best).hash(), fork, "a better chain parts below what pruning kept");
                self.candidates.pop_last();
                continue;
            }
            while self.tree.get(self.tip_id()).height() > fork {
                self.disconnect_tip()?;
            }
            for height in fork + 1..=self.tree.get(best).height() {
                let Some(id) = self.tree.ancestor(best, height) else { break };
                if let Err(error) = self.connect_tip(id, new)? {
                    tracing::warn!(block = %self.tree.get(id).hash(), height, %error, "invalid block");
                    self.mark_failed(id);
                    failed.push((id, error));
                    continue 'candidates;
                }
                steps += 1;
                if self.coins.is_full() {
                    self.flush()?;
                }
                if steps >= CONNECT_STEP
                    && height < self.tree.get(best).height()
                    && self.tree.get(self.tip_id()).work() > start_work
                {
                    self.report.more = true;
                    break 'candidates;
                }
            }
        }
        let worst = (self.tree.get(self.tip_id()).work(), Reverse(u64::MAX), 0);
        self.candidates = self.candidates.split_off(&worst);
        Ok(failed)
    }

    /// Connects `id`, whose parent is the tip.
    fn connect_tip(&mut self, id: Id, new: Option<&Hashed>) -> Result<Result<(), BlockError>, StoreError> {
        let hash = self.tree.get(id).hash();
        let hashed = match new.filter(|new| new.hash == hash) {
            Some(new) => new.clone(),
            None => Hashed::new(Arc::new(self.read_block(id)?)),
        };
        let scripts = !self.tree.get(id).is_checked() && !self.is_assumed_valid(id);
        let undo = match self.connect_to(self.tip_id(), &hashed, scripts) {
            Ok(undo) => undo,
            Err(BlockError::Store(error)) => return Err(error),
            Err(error) => return Ok(Err(error)),
        };
        if self.tree.get(id).undo.is_none() {
            let mut record = vec![0; RECORD_HEAD];
            undo.encode(hash, &mut record);
            match self.undo.append(record) {
                Ok(position) => self.tree.get_mut(id).undo = Some(position),
                Err(error) => {
                    let undone = connect::disconnect(&self.db, &mut self.coins, &hashed, undo);
                    self.stop_on(undone)?;
                    return Err(error);
                }
            }
        }
        self.tree.get_mut(id).status.set(Status::CHECKED);
        self.dirty.insert(id);
        self.active.push(id);
        if self.coin.form.data {
            let height = self.tree.get(id).height();
            let transactions = hashed.block.transactions.iter().zip(&*hashed.txids);
            let carry = transactions.filter(|(tx, _)| tx.data.as_ref().is_some_and(|data| !data.is_empty()));
            self.data_heights.extend(carry.map(|(_, txid)| (*txid, height)));
        }
        self.report.connect(self.chain_block(hashed));
        Ok(Ok(()))
    }

    /// Applies a block on top of `parent`, the tip, to the outputs.
    pub(crate) fn connect_to(
        &mut self,
        parent: Id,
        hashed: &Hashed,
        scripts: bool,
    ) -> Result<Undo, BlockError> {
        let place = Place {
            coin: self.coin,
            tree: &self.tree,
            db: &self.db,
            parent,
            flags: rules::script_flags(self.coin, self.tree.get(parent).height() + 1, &hashed.hash),
            scripts,
            signatures: &self.signatures,
        };
        connect::connect(&place, &mut self.coins, hashed)
    }

    /// Takes the tip back.
    pub(crate) fn disconnect_tip(&mut self) -> Result<(), StoreError> {
        let id = self.tip_id();
        let hash = self.tree.get(id).hash();
        let hashed = Hashed::new(Arc::new(self.read_block(id)?));
        let undo = self.read_undo(id, &hashed)?;
        let undone = connect::disconnect(&self.db, &mut self.coins, &hashed, undo);
        self.stop_on(undone)?;
        self.active.pop();
        tracing::debug!(block = %hash, "disconnected");
        self.report.disconnect(self.chain_block(hashed));
        if self.coins.is_full() {
            self.flush()?;
        }
        Ok(())
    }

    fn chain_block(&self, hashed: Hashed) -> ChainBlock {
        let height = self.tree.find(&hashed.hash).map_or(0, |id| self.tree.get(id).height());
        ChainBlock { block: hashed.block, hash: hashed.hash, height, txids: hashed.txids }
    }

    /// True where the block's scripts need not run: it is an ancestor of the assumed-valid block, in the best header
    /// chain, and that chain goes on for two weeks' worth of work after it.
    fn is_assumed_valid(&self, id: Id) -> bool {
        let Some(assumed) = self.options.assume_valid.and_then(|hash| self.tree.find(&hash)) else {
            return false;
        };
        let entry = self.tree.get(id);
        let best = self.tree.get(self.best_header);
        self.tree.ancestor(assumed, entry.height()) == Some(id)
            && self.tree.ancestor(self.best_header, entry.height()) == Some(id)
            && best.work() >= self.coin.min_chain_work()
            && work_seconds(self.coin, best, entry) > ASSUME_VALID_SECONDS
    }
}

/// Seconds it would take to do the work between two blocks at the rate of the upper one.
fn work_seconds(coin: &Coin, upper: &BlockEntry, lower: &BlockEntry) -> u64 {
    let block = work_of(coin, upper.bits()).0;
    let between = (upper.work() - lower.work()).0;
    between
        .checked_mul(lode_primitives::U256::from(coin.spacing()))
        .and_then(|product| product.checked_div(block))
        .and_then(|seconds| u64::try_from(seconds).ok())
        .unwrap_or(u64::MAX)
}
