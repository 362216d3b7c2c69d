//! What a wallet needs from the chain: [`Source`]. A node asked by JSON-RPC and the light client each are one; tests
//! use a chain in memory.

use lode_chain::policy::FeeRate;
use lode_primitives::{BlockHash, Height, ScriptBuf, Transaction, Txid};

/// A block of the best chain, by its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// Its height.
    pub height: Height,
    /// Its id.
    pub hash: BlockHash,
}

/// A block's transactions, for the wallet to look through.
#[derive(Clone, Debug)]
pub struct ChainBlock {
    /// Which block.
    pub at: BlockRef,
    /// Its header's time, Unix seconds.
    pub time: u32,
    /// Its transactions, the coinbase first; where the source can tell, only those that matter.
    pub transactions: Vec<Transaction>,
}

/// What to pay for a transaction to be mined.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeeHint {
    /// The rate that was enough lately, if that is known.
    pub estimate: Option<FeeRate>,
    /// The least that is relayed.
    pub floor: FeeRate,
}

/// Where a wallet reads the chain and hands in its transactions. Calls wait (each with a timeout of its own); a source
/// is used by one wallet at a time.
///
/// The wallet judges for itself what concerns it: a source may name more blocks than match, but never fewer.
pub trait Source {
    /// The last block of the best chain.
    ///
    /// # Errors
    /// Where the chain cannot be reached; so for all methods.
    fn tip(&mut self) -> Result<BlockRef, SourceError>;

    /// The id of the best chain's block at `height`; `None` above its tip. The genesis block's id tells the wallet that
    /// this is its coin's chain.
    fn block_hash(&mut self, height: Height) -> Result<Option<BlockHash>, SourceError>;

    /// The blocks from height `from` to `to`, both included and in order, that may pay to or spend from one of `scripts`
    /// (locking scripts). Compact filters (BIP158) answer this; without them every block may.
    fn matching(
        &mut self,
        scripts: &[ScriptBuf],
        from: Height,
        to: Height,
    ) -> Result<Vec<BlockRef>, SourceError>;

    /// A block that [`Source::matching`] named.
    fn block(&mut self, at: BlockRef) -> Result<ChainBlock, SourceError>;

    /// Transactions that wait for a block, but for those in `known`, as far as the source sees them; the light client
    /// sees none.
    fn waiting(&mut self, known: &dyn Fn(&Txid) -> bool) -> Result<Vec<Transaction>, SourceError>;

    /// Hands in a transaction. One that is known already is no error.
    ///
    /// # Errors
    /// [`SourceError::Refused`] where a node judged it and will not have it.
    fn broadcast(&mut self, transaction: &Transaction) -> Result<(), SourceError>;

    /// What to pay to be mined within `blocks` blocks.
    fn fee_hint(&mut self, blocks: u16) -> Result<FeeHint, SourceError>;
}

/// Why the chain did not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It cannot be reached, or its answer makes no sense.
    #[error("{0}")]
    Failed(String),
    /// A transaction was refused.
    #[error("the network would not take the transaction: {0}")]
    Refused(String),
    /// The block is gone from the best chain: the wallet begins again.
    #[error("the block at height {} left the best chain while it was read", .0.height)]
    Gone(BlockRef),
}
