//! What the state machine may ask of the chain and the mempool, and nothing more. `node` implements it.

use std::sync::Arc;

use lode_primitives::{BlockHash, Hash256, Header, Height, Transaction, Txid, Work, Wtxid};

/// A block as the header tree knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeaderInfo {
    /// The block's id.
    pub hash: BlockHash,
    /// Its parent's id.
    pub prev: BlockHash,
    /// Its height.
    pub height: Height,
    /// Work of its chain from genesis up to and with it.
    pub work: Work,
    /// Its header's time, Unix seconds.
    pub time: u32,
    /// The whole block was stored (and perhaps pruned since): it need not be downloaded.
    pub have_block: bool,
    /// Neither it nor an ancestor is known to break a rule.
    pub valid: bool,
}

/// A transaction named by either of its ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TxRef {
    /// By the id without witnesses.
    Txid(Txid),
    /// By the id with witnesses (BIP339).
    Wtxid(Wtxid),
}

/// The chain and the mempool as the network sees them.
///
/// Called from the network's own thread while blocks are validated on another: answers must come from memory, and
/// [`View::tip`], [`View::best_header`] and [`View::initial_sync`] must not wait for a block's validation. The others
/// may; the network calls none of them for each block of a sync, so waiting costs it nothing that matters. Only [`View::block_bytes`] and what gives
/// filters may read a disk; they are called from threads where that does no harm.
pub trait View: Send + Sync + 'static {
    /// The best block connected.
    fn tip(&self) -> HeaderInfo;

    /// The valid header with the most work, connected or not.
    fn best_header(&self) -> HeaderInfo;

    /// The header of that id, if known.
    fn header(&self, hash: &BlockHash) -> Option<HeaderInfo>;

    /// The ids of the blocks at heights `first`, `first + 1`, ... on the chain that ends in `of`: at most `count`,
    /// fewer where that chain ends. Empty where `of` is not known. Called often with `of` a thousand blocks and more
    /// above `first`: must not walk all the way down where `of` is on the best header chain.
    fn chain(&self, of: &BlockHash, first: Height, count: usize) -> Vec<BlockHash>;

    /// Which of these blocks are stored (see [`HeaderInfo::have_block`]). Asked for hundreds at a time: worth one lock
    /// for all.
    fn have_blocks(&self, hashes: &[BlockHash]) -> Vec<bool> {
        hashes.iter().map(|hash| self.header(hash).is_some_and(|info| info.have_block)).collect()
    }

    /// Height of the highest block that is both on the active chain and on the chain that ends in `of`.
    fn fork_height(&self, of: &BlockHash) -> Height;

    /// Headers of the active chain behind the first block of `locator` that is on it (behind genesis if none is), up
    /// to `max` and up to and with `stop`. With an empty locator: the header of `stop` alone, if it is known.
    fn headers_after(&self, locator: &[BlockHash], stop: &BlockHash, max: usize) -> Vec<Header>;

    /// The block as on the wire, witnesses included; `None` where it is not stored. May read the disk.
    fn block_bytes(&self, hash: &BlockHash) -> Option<Vec<u8>>;

    /// The header fulfils the proof of work its `bits` claim, and these are within the coin's limit.
    fn check_pow(&self, header: &Header) -> bool;

    /// True until the chain has once been close to the present: no transactions are asked for or relayed before.
    fn initial_sync(&self) -> bool;

    /// The mempool's transaction of that id.
    fn transaction(&self, id: &TxRef) -> Option<Arc<Transaction>>;

    /// The mempool has it. For a transaction id, whatever its witnesses.
    fn has_transaction(&self, id: &TxRef) -> bool {
        self.transaction(id).is_some()
    }

    /// Every transaction of the mempool, for compact blocks.
    fn mempool_wtxids(&self) -> Vec<Wtxid>;

    /// Fee rate below which the mempool takes nothing, in satoshi per 1,000 virtual bytes: our `feefilter`.
    fn min_fee_rate(&self) -> u64;

    /// Compact filters are made up to the tip, or were once: they are offered (BIP157).
    fn offers_filters(&self) -> bool {
        false
    }

    /// The compact filter of the block `hash` at `height`; `None` where it is not made. May read the disk.
    fn filter(&self, height: Height, hash: &BlockHash) -> Option<Vec<u8>> {
        let _ = (height, hash);
        None
    }

    /// The hash of a block's filter, and its filter header; `None` where it is not made. May read the disk.
    fn filter_header(&self, height: Height, hash: &BlockHash) -> Option<(Hash256, Hash256)> {
        let _ = (height, hash);
        None
    }

    /// The block at `height` on the chain that ends in `of`.
    fn ancestor(&self, of: &BlockHash, height: Height) -> Option<BlockHash> {
        self.chain(of, height, 1).first().copied()
    }

    /// A block locator from `from` down to genesis: ten blocks in a row, then in doubling steps.
    fn locator(&self, from: &BlockHash) -> Vec<BlockHash> {
        let Some(info) = self.header(from) else { return Vec::new() };
        let mut locator = vec![info.hash];
        let (mut height, mut step) = (info.height, 1);
        while height > 0 {
            if locator.len() >= 10 {
                step *= 2;
            }
            height = height.saturating_sub(step);
            locator.extend(self.ancestor(from, height));
        }
        locator
    }
}
