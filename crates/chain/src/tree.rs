//! The tree of all headers, in memory: who is whose parent, how much work is behind each, what we know of its block.
//!
//! Entries are never removed. Each takes about 200 bytes; the headers of Bitcoin's main network fit in 200 MB.
//! An ancestor at any height is found in a logarithmic number of steps by jump pointers.

use std::collections::HashMap;

use lode_coins::Coin;
use lode_primitives::{BlockHash, Header, Height, Multiplier, Work};

use crate::flat::Position;
use crate::limits::MEDIAN_TIME_BLOCKS;

/// Index of an entry in the tree.
pub(crate) type Id = u32;

/// No entry.
const NONE: Id = Id::MAX;

/// What we know of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Status(u8);

impl Status {
    /// A rule is broken, or somebody called `invalidateblock`.
    pub(crate) const FAILED: Self = Self(1);
    /// It stands on a block that failed.
    pub(crate) const FAILED_PARENT: Self = Self(2);
    /// Every rule was checked: it was connected once.
    pub(crate) const CHECKED: Self = Self(4);

    pub(crate) const fn from_bits(bits: u8) -> Self {
        Self(bits & 7)
    }

    pub(crate) const fn bits(self) -> u8 {
        self.0
    }

    pub(crate) const fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn set(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub(crate) const fn clear(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

/// A header and what is known of its block.
#[derive(Clone, Debug)]
pub struct BlockEntry {
    hash: BlockHash,
    version: i32,
    merkle_root: lode_primitives::MerkleNode,
    time: u32,
    bits: u32,
    nonce: u32,
    multiplier: Option<Box<Multiplier>>,
    prev: BlockHash,
    height: Height,
    work: Work,
    pub(crate) parent: Id,
    jump: Id,
    pub(crate) status: Status,
    /// Transactions in the block; 0 until its body was seen.
    pub(crate) tx_count: u32,
    /// Transactions in the chain up to here; 0 until the bodies of all ancestors and its own were seen.
    pub(crate) chain_tx: u64,
    /// Which came first: counts up as bodies become connectable.
    pub(crate) sequence: u64,
    pub(crate) data: Option<Position>,
    pub(crate) undo: Option<Position>,
}

impl BlockEntry {
    /// The block's id.
    pub const fn hash(&self) -> BlockHash {
        self.hash
    }

    /// The parent's id; zero for the first block.
    pub const fn prev(&self) -> BlockHash {
        self.prev
    }

    /// Blocks below this one.
    pub const fn height(&self) -> Height {
        self.height
    }

    /// Work of the chain up to and with this block.
    pub const fn work(&self) -> Work {
        self.work
    }

    /// Unix time in seconds, as the header says.
    pub const fn time(&self) -> u32 {
        self.time
    }

    /// Compact target, as the header says.
    pub const fn bits(&self) -> u32 {
        self.bits
    }

    /// The header's version.
    pub const fn version(&self) -> i32 {
        self.version
    }

    /// Transactions in the block; 0 until its body was seen.
    pub const fn tx_count(&self) -> u32 {
        self.tx_count
    }

    /// Transactions in the chain up to here; 0 until all bodies were seen.
    pub const fn chain_tx_count(&self) -> u64 {
        self.chain_tx
    }

    /// True where the block's body is on disk.
    pub const fn has_block(&self) -> bool {
        self.data.is_some()
    }

    /// True where the bodies of this block and of all blocks below were seen.
    pub const fn is_connectable(&self) -> bool {
        self.chain_tx > 0
    }

    /// True where this block or one below it is invalid.
    pub const fn is_invalid(&self) -> bool {
        self.status.has(Status::FAILED) || self.status.has(Status::FAILED_PARENT)
    }

    /// True where every rule was checked and held.
    pub const fn is_checked(&self) -> bool {
        self.status.has(Status::CHECKED)
    }

    /// The header, whole.
    pub fn header(&self) -> Header {
        Header {
            version: self.version,
            prev: self.prev,
            merkle_root: self.merkle_root,
            time: self.time,
            bits: self.bits,
            nonce: self.nonce,
            multiplier: self.multiplier.as_deref().cloned(),
        }
    }
}

/// All headers.
#[derive(Debug, Default)]
pub(crate) struct Tree {
    entries: Vec<BlockEntry>,
    by_hash: HashMap<BlockHash, Id>,
}

impl Tree {
    pub(crate) fn get(&self, id: Id) -> &BlockEntry {
        &self.entries[id as usize]
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> &mut BlockEntry {
        &mut self.entries[id as usize]
    }

    pub(crate) fn find(&self, hash: &BlockHash) -> Option<Id> {
        self.by_hash.get(hash).copied()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn ids(&self) -> std::ops::Range<Id> {
        0..self.entries.len() as Id
    }

    /// Adds a header whose parent, if it has one, is in the tree, and gives its id; the id it has if known.
    pub(crate) fn insert(&mut self, header: &Header, hash: BlockHash, work: Work) -> Id {
        if let Some(known) = self.find(&hash) {
            return known;
        }
        let id = self.entries.len() as Id;
        let parent = self.find(&header.prev).unwrap_or(NONE);
        let (height, total, jump, failed) = if parent == NONE {
            (0, work, NONE, false)
        } else {
            let above = self.get(parent);
            (above.height + 1, above.work + work, self.jump_of_child(parent), above.is_invalid())
        };
        let mut status = Status::default();
        if failed {
            status.set(Status::FAILED_PARENT);
        }
        self.entries.push(BlockEntry {
            hash,
            version: header.version,
            merkle_root: header.merkle_root,
            time: header.time,
            bits: header.bits,
            nonce: header.nonce,
            multiplier: header.multiplier.clone().map(Box::new),
            prev: header.prev,
            height,
            work: total,
            parent,
            jump,
            status,
            tx_count: 0,
            chain_tx: 0,
            sequence: 0,
            data: None,
            undo: None,
        });
        self.by_hash.insert(hash, id);
        id
    }

    /// Puts a header at `height` with nothing below it.
    #[cfg(test)]
    pub(crate) fn plant(&mut self, coin: &Coin, header: &Header, height: Height) -> Id {
        let id = self.insert(header, header.hash(), work_of(coin, header.bits));
        self.get_mut(id).height = height;
        id
    }

    /// Jump pointers as in a skew-binary list: two jumps of equal length are joined into one.
    fn jump_of_child(&self, parent: Id) -> Id {
        let first = self.get(parent).jump;
        if first == NONE {
            return parent;
        }
        let second = self.get(first).jump;
        if second == NONE {
            return parent;
        }
        let height = |id: Id| self.get(id).height;
        if height(parent) - height(first) == height(first) - height(second) { second } else { parent }
    }

    /// The parent's id, or `None` for the first block.
    pub(crate) fn parent(&self, id: Id) -> Option<Id> {
        match self.get(id).parent {
            NONE => None,
            parent => Some(parent),
        }
    }

    /// The ancestor at `height` (the block itself at its own), or `None` above it.
    pub(crate) fn ancestor(&self, id: Id, height: Height) -> Option<Id> {
        let mut at = id;
        if self.get(at).height < height {
            return None;
        }
        while self.get(at).height > height {
            let entry = self.get(at);
            at = if entry.jump != NONE && self.get(entry.jump).height >= height {
                entry.jump
            } else {
                entry.parent
            };
            if at == NONE {
                return None; // only where a tree begins above height 0, as in tests
            }
        }
        Some(at)
    }

    /// The last block that both chains share.
    pub(crate) fn fork(&self, a: Id, b: Id) -> Id {
        let height = self.get(a).height.min(self.get(b).height);
        let mut a = self.ancestor(a, height).unwrap_or(0);
        let mut b = self.ancestor(b, height).unwrap_or(0);
        while a != b {
            // Both are at one height all the time, so their jumps are equally long.
            let (ja, jb) = (self.get(a).jump, self.get(b).jump);
            let far = ja != NONE && jb != NONE && ja != jb;
            (a, b) = if far { (ja, jb) } else { (self.get(a).parent, self.get(b).parent) };
            if a == NONE || b == NONE {
                return 0;
            }
        }
        a
    }

    /// The median of the last eleven blocks' times, this one's included (BIP113).
    pub(crate) fn median_time_past(&self, id: Id) -> u32 {
        let mut times = [0u32; MEDIAN_TIME_BLOCKS];
        let mut count = 0;
        let mut at = Some(id);
        while let Some(here) = at
            && count < MEDIAN_TIME_BLOCKS
        {
            times[count] = self.get(here).time;
            count += 1;
            at = self.parent(here);
        }
        let times = &mut times[..count];
        times.sort_unstable();
        times[count / 2]
    }
}

/// The work of a block with these bits; none where no block can have them.
pub(crate) fn work_of(coin: &Coin, bits: u32) -> Work {
    coin.block_work(bits).unwrap_or(Work::ZERO)
}

#[cfg(test)]
mod tests {
    use super::*;
    use lode_primitives::MerkleNode;

    fn header(prev: BlockHash, time: u32) -> Header {
        Header {
            version: 1,
            prev,
            merkle_root: MerkleNode::ZERO,
            time,
            bits: 0x207f_ffff,
            nonce: 0,
            multiplier: None,
        }
    }

    /// A tree of `main` blocks, and a branch of `side` blocks from height `from`.
    fn forked(main: u32, from: u32, side: u32) -> (Tree, Vec<Id>, Vec<Id>) {
        let mut tree = Tree::default();
        let coin = lode_coins::find("bitcoin", "regtest").unwrap();
        let add = |tree: &mut Tree, prev, time| {
            let header = header(prev, time);
            tree.insert(&header, header.hash(), work_of(coin, header.bits))
        };
        let mut chain = vec![add(&mut tree, BlockHash::ZERO, 0)];
        for time in 1..=main {
            let prev = tree.get(chain[chain.len() - 1]).hash;
            chain.push(add(&mut tree, prev, time));
        }
        let mut branch = vec![chain[from as usize]];
        for time in 0..side {
            let prev = tree.get(branch[branch.len() - 1]).hash;
            branch.push(add(&mut tree, prev, 1_000_000 + time));
        }
        (tree, chain, branch)
    }

    #[test]
    fn ancestors_and_forks_are_found() {
        let (tree, chain, branch) = forked(1_000, 700, 200);
        let (tip, side) = (chain[1_000], branch[200]);
        for height in [0, 1, 2, 500, 699, 700, 701, 999, 1_000] {
            assert_eq!(tree.ancestor(tip, height), Some(chain[height as usize]));
        }
        assert_eq!(tree.ancestor(tip, 1_001), None);
        assert_eq!(tree.ancestor(side, 700), Some(chain[700]));
        assert_eq!(tree.ancestor(side, 701), Some(branch[1]));
        assert_eq!(tree.fork(tip, side), chain[700]);
        assert_eq!(tree.fork(side, chain[3]), chain[3]);
        assert_eq!(tree.fork(tip, tip), tip);
        assert_eq!(tree.get(side).work, Work(lode_primitives::U256::from(2 * 901)));
    }

    #[test]
    fn median_of_few_and_of_eleven() {
        let (tree, chain, branch) = forked(20, 15, 6);
        assert_eq!(tree.median_time_past(chain[0]), 0);
        assert_eq!(tree.median_time_past(chain[1]), 1);
        assert_eq!(tree.median_time_past(chain[20]), 15);
        assert_eq!(tree.median_time_past(branch[5]), 15);
        assert_eq!(tree.median_time_past(branch[6]), 1_000_000);
    }
}
