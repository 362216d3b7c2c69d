//! Headers without blocks: the rules about headers and the choice of the best chain, for the light client.
//!
//! A [`HeaderChain`] lives in memory and does no IO; `light` keeps its headers on disk. It judges a header exactly as
//! [`crate::Chain`] does: proof of work, target, time, version.

use lode_coins::Coin;
use lode_primitives::{BlockHash, Header, Height};

use crate::BlockError;
use crate::rules::header;
use crate::tree::{BlockEntry, Id, Tree, work_of};

/// All headers known, and which of them are the chain with the most work.
#[derive(Debug)]
pub struct HeaderChain {
    coin: &'static Coin,
    tree: Tree,
    /// The best chain's headers by height. Never empty.
    active: Vec<Id>,
}

impl HeaderChain {
    /// The chain of `coin` with its first block alone.
    pub fn new(coin: &'static Coin) -> Self {
        let genesis = coin.genesis_block().header;
        let mut tree = Tree::default();
        let id = tree.insert(&genesis, genesis.hash(), work_of(coin, genesis.bits));
        Self { coin, tree, active: vec![id] }
    }

    /// The coin and network.
    pub const fn coin(&self) -> &'static Coin {
        self.coin
    }

    /// Takes a header that stands on a known one, and says whether it was new. The best chain is the one with the most
    /// work; of equals the first that came.
    ///
    /// `now`: our clock, Unix seconds.
    ///
    /// # Errors
    /// The rule that it breaks; [`BlockError::MissingParent`] where it stands on nothing known.
    pub fn accept(&mut self, header: &Header, now: u32) -> Result<bool, BlockError> {
        let hash = header.hash();
        if self.tree.find(&hash).is_some() {
            return Ok(false);
        }
        header::check_pow(self.coin, header, &hash)?;
        let parent = self.tree.find(&header.prev).ok_or(BlockError::MissingParent(header.prev))?;
        header::check_in_context(&self.tree, self.coin, header, parent, Some(now))?;
        self.insert(header, hash);
        Ok(true)
    }

    /// Takes back a header that was accepted before and kept in a file of one's own; false where its parent is not here.
    pub fn restore(&mut self, header: &Header) -> bool {
        let known = self.tree.find(&header.prev).is_some();
        if known {
            self.insert(header, header.hash());
        }
        known
    }

    fn insert(&mut self, header: &Header, hash: BlockHash) {
        let id = self.tree.insert(header, hash, work_of(self.coin, header.bits));
        let tip = self.active[self.active.len() - 1];
        if self.tree.get(id).work() <= self.tree.get(tip).work() {
            return;
        }
        // Mostly one step: it stands on the tip.
        let mut new = vec![id];
        let mut at = id;
        while let Some(parent) = self.tree.parent(at)
            && self.active.get(self.tree.get(parent).height() as usize) != Some(&parent)
        {
            new.push(parent);
            at = parent;
        }
        self.active.truncate(self.tree.get(at).height() as usize);
        self.active.extend(new.into_iter().rev());
    }

    /// The header fulfils the proof of work its bits claim.
    pub fn check_pow(coin: &Coin, header: &Header) -> bool {
        header::check_pow(coin, header, &header.hash()).is_ok()
    }

    /// The last header of the best chain.
    pub fn tip(&self) -> &BlockEntry {
        self.tree.get(self.active[self.active.len() - 1])
    }

    /// The height of the best chain.
    pub fn height(&self) -> Height {
        self.tip().height()
    }

    /// A header, in whichever branch.
    pub fn entry(&self, hash: &BlockHash) -> Option<&BlockEntry> {
        self.tree.find(hash).map(|id| self.tree.get(id))
    }

    /// The best chain's header at `height`.
    pub fn entry_at(&self, height: Height) -> Option<&BlockEntry> {
        self.active.get(height as usize).map(|&id| self.tree.get(id))
    }

    /// The ancestor of `hash` at `height`, in whichever branch.
    pub fn ancestor(&self, hash: &BlockHash, height: Height) -> Option<&BlockEntry> {
        let id = self.tree.find(hash)?;
        self.tree.ancestor(id, height).map(|id| self.tree.get(id))
    }

    /// The height of a header of the best chain; `None` where it is not in it.
    pub fn height_of(&self, hash: &BlockHash) -> Option<Height> {
        let id = self.tree.find(hash)?;
        let height = self.tree.get(id).height();
        (self.active.get(height as usize) == Some(&id)).then_some(height)
    }

    /// The height of the last header that the best chain shares with the branch of `hash`.
    pub fn fork_height(&self, hash: &BlockHash) -> Option<Height> {
        let id = self.tree.find(hash)?;
        let tip = self.active[self.active.len() - 1];
        Some(self.tree.get(self.tree.fork(id, tip)).height())
    }

    /// Headers known, those of side branches counted in.
    pub fn count(&self) -> usize {
        self.tree.len()
    }
}
