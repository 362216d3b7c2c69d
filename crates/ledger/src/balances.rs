//! Who is owed what, as a function of the chain tip.
//!
//! Every block of the pool's own is a link: the balances after it are those before it, changed by its payout snapshot.
//! A block of someone else's changes nothing. So the balances at a tip are those after the last own block below it,
//! and a reorganisation just reads another link: two blocks at one height, two in a row, or an orphan need no undoing
//! and no lock.

use std::collections::HashMap;
use std::sync::Arc;

use lode_primitives::{BlockHash, Height};

use crate::payout::PayoutSnapshot;
use crate::registry::Account;

/// An account's balance.
#[derive(Clone, Debug)]
pub struct Balance {
    /// Whose.
    pub account: Arc<Account>,
    /// Satoshi owed to it; below zero: what it was paid ahead of others.
    pub amount: i64,
    /// Height since which it has waited for a payment, where it is owed one.
    pub waiting_since: Height,
    /// Height of the last split in which it had work.
    pub seen: Height,
}

/// All balances after one block.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// The own block that made it; all zeros before the first.
    pub id: BlockHash,
    /// Its height.
    pub height: Height,
    /// By script; none is zero; they sum to zero.
    pub entries: Vec<Balance>,
}

impl State {
    /// The balance of a script, satoshi.
    pub fn balance(&self, script: &[u8]) -> i64 {
        let place = self.entries.binary_search_by(|entry| entry.account.script().cmp(script));
        place.map_or(0, |place| self.entries[place].amount)
    }

    /// The state after a block that pays by `snapshot`.
    pub(crate) fn after(&self, id: BlockHash, snapshot: &PayoutSnapshot) -> Self {
        let split = &snapshot.split;
        let mut paid = vec![0i64; split.lines.len()];
        snapshot.paid.iter().for_each(|(index, amount)| paid[*index as usize] = *amount);
        let mut entries = Vec::with_capacity(self.entries.len() + split.lines.len());
        let mut old = self.entries.iter().peekable();
        for (line, paid) in split.lines.iter().zip(paid) {
            while let Some(entry) = old.next_if(|entry| entry.account.script() < line.account.script()) {
                entries.push(entry.clone());
            }
            old.next_if(|entry| entry.account.script() == line.account.script());
            let amount = line.due() - paid;
            let waits = amount > 0 && paid == 0 && line.before > 0;
            if amount != 0 {
                entries.push(Balance {
                    account: Arc::clone(&line.account),
                    amount,
                    waiting_since: if waits { line.waiting_since } else { split.height },
                    seen: line.seen,
                });
            }
        }
        entries.extend(old.cloned());
        Self { id, height: split.height, entries }
    }
}

/// Own blocks this deep below the best tip are taken for final: twice the depth at which their coins can be spent.
pub const FINAL_DEPTH: Height = 200;

/// Links are made final this many blocks late, so that several go at once.
const FINAL_BATCH: Height = 32;

/// What is wrong with a question to the balances.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BalanceError {
    /// The tip was never placed in the chain.
    #[error("block {0} is not placed in the chain yet: which of the pool's blocks are below it is unknown")]
    UnknownTip(BlockHash),
    /// Not one of the pool's blocks that are still open.
    #[error(
        "block {0} is not one of the pool's last blocks: a reorganisation deeper than {FINAL_DEPTH} blocks?"
    )]
    UnknownLink(BlockHash),
}

/// An own block as a place for tips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkRef {
    /// Its hash.
    pub hash: BlockHash,
    /// Its height.
    pub height: Height,
}

/// The links and where in the chain they are.
#[derive(Debug, Default)]
pub(crate) struct Books {
    /// State after the last final own block.
    base: Arc<State>,
    links: HashMap<BlockHash, Arc<State>>,
    /// Blocks of the chain that are known, and the link their balances come from.
    blocks: HashMap<BlockHash, LinkRef>,
}

impl Books {
    pub(crate) fn new(base: State) -> Self {
        Self { base: Arc::new(base), ..Self::default() }
    }

    fn state(&self, link: &BlockHash) -> Option<&Arc<State>> {
        if *link == self.base.id { Some(&self.base) } else { self.links.get(link) }
    }

    /// Balances after `tip`.
    pub(crate) fn at(&self, tip: &BlockHash) -> Result<&Arc<State>, BalanceError> {
        let link = match self.blocks.get(tip) {
            Some(block) => block.hash,
            None if self.links.is_empty() => self.base.id,
            None if self.links.contains_key(tip) || *tip == self.base.id => *tip,
            None => return Err(BalanceError::UnknownTip(*tip)),
        };
        self.state(&link).ok_or(BalanceError::UnknownLink(link))
    }

    /// Own blocks that may be below an unknown tip of this height, highest first; none where the tip is known.
    pub(crate) fn candidates(&self, tip: &BlockHash, height: Height) -> Vec<LinkRef> {
        if self.at(tip).is_ok() {
            return Vec::new();
        }
        let links = self.links.iter().map(|(hash, state)| LinkRef { hash: *hash, height: state.height });
        let mut links: Vec<LinkRef> = links.filter(|link| link.height <= height).collect();
        links.sort_by_key(|link| (std::cmp::Reverse(link.height), link.hash));
        links
    }

    /// A block on top of a known one.
    pub(crate) fn connect(
        &mut self,
        hash: BlockHash,
        height: Height,
        parent: &BlockHash,
    ) -> Result<(), BalanceError> {
        let link = self.at(parent)?.id;
        self.set(hash, height, link);
        Ok(())
    }

    /// A block whose highest own block at or below it is `link` (`None`: none of the open ones).
    pub(crate) fn place(
        &mut self,
        hash: BlockHash,
        height: Height,
        link: Option<BlockHash>,
    ) -> Result<(), BalanceError> {
        let link = link.unwrap_or(self.base.id);
        self.state(&link).ok_or(BalanceError::UnknownLink(link))?;
        self.set(hash, height, link);
        Ok(())
    }

    fn set(&mut self, hash: BlockHash, height: Height, link: BlockHash) {
        if !self.links.contains_key(&hash) {
            self.blocks.insert(hash, LinkRef { hash: link, height });
        }
    }

    /// An own block. False where it was known already.
    pub(crate) fn found(&mut self, hash: BlockHash, snapshot: &PayoutSnapshot) -> Result<bool, BalanceError> {
        if hash == self.base.id || self.links.contains_key(&hash) {
            return Ok(false);
        }
        let base = snapshot.split.base;
        let state = self.state(&base).ok_or(BalanceError::UnknownLink(base))?.after(hash, snapshot);
        self.blocks.insert(hash, LinkRef { hash, height: state.height });
        self.links.insert(hash, Arc::new(state));
        Ok(true)
    }

    /// Makes final what is [`FINAL_DEPTH`] below `tip` and forgets what cannot matter any more. True where a link went.
    pub(crate) fn prune(
        &mut self,
        tip: &BlockHash,
        height: Height,
        bases: &HashMap<BlockHash, BlockHash>,
    ) -> bool {
        let Some(final_height) = height.checked_sub(FINAL_DEPTH) else { return false };
        // Where every block is the pool's own, the file need not be written anew for each.
        let ripe = final_height.saturating_sub(FINAL_BATCH);
        self.blocks.retain(|_, at| at.height > ripe);
        if self.links.values().all(|state| state.height > ripe) {
            return false;
        }
        let Ok(state) = self.at(tip) else { return false };
        // Down the own blocks below the tip to the first that is deep enough.
        let mut link = state.id;
        while self.state(&link).is_some_and(|state| state.height > final_height) && link != self.base.id {
            let Some(below) = bases.get(&link) else { break };
            link = *below;
        }
        let Some(state) = self.state(&link).filter(|state| state.height <= final_height) else {
            return false;
        };
        self.base = Arc::clone(state);
        let links = self.links.len();
        self.links.retain(|_, state| state.height > final_height);
        let (links_left, base) = (&self.links, self.base.id);
        self.blocks.retain(|_, at| {
            at.height > final_height && (at.hash == base || links_left.contains_key(&at.hash))
        });
        links != self.links.len()
    }

    pub(crate) fn base(&self) -> &Arc<State> {
        &self.base
    }

    /// The open links, by hash.
    pub(crate) fn links(&self) -> &HashMap<BlockHash, Arc<State>> {
        &self.links
    }
}
