//! What the mempool and templates ask of the chain: its tip, and what is unspent there.

use lode_coins::Coin;
use lode_primitives::{BlockHash, Height, OutPoint};
use lode_script::SignatureCache;

use crate::{Chain, StoreError, Utxo};

/// The chain as seen from its tip. [`crate::Chain`] is one; tests make their own.
pub trait ChainView {
    /// Which coin and network.
    fn coin(&self) -> &'static Coin;
    /// The best block.
    fn tip_hash(&self) -> BlockHash;
    /// Its height.
    fn tip_height(&self) -> Height;
    /// Its time, Unix seconds.
    fn tip_time(&self) -> u32;
    /// Median time past of the best chain's block at `height`, which is at most the tip's, Unix seconds.
    fn median_time_past(&self, height: Height) -> u32;
    /// The least time of a block on the tip, Unix seconds.
    fn least_time(&self) -> u32;
    /// The bits that a block on the tip must have if its time is `time`.
    fn next_bits(&self, time: u32) -> u32;
    /// An output that is unspent at the tip.
    fn unspent(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, StoreError>;
    /// Where good signatures are kept for when their block comes.
    fn signatures(&self) -> Option<&dyn SignatureCache> {
        None
    }
}

impl ChainView for Chain {
    fn coin(&self) -> &'static Coin {
        self.coin()
    }

    fn tip_hash(&self) -> BlockHash {
        self.tip().hash()
    }

    fn tip_height(&self) -> Height {
        self.height()
    }

    fn tip_time(&self) -> u32 {
        self.tip().time()
    }

    fn median_time_past(&self, height: Height) -> u32 {
        let entry = self.entry_at(height).unwrap_or_else(|| self.tip());
        self.median_time_past(&entry.hash()).unwrap_or(0)
    }

    fn least_time(&self) -> u32 {
        self.least_time()
    }

    fn next_bits(&self, time: u32) -> u32 {
        // The tip is known, so its bits are a fallback that is never taken.
        self.next_bits(&self.tip().hash(), time).unwrap_or_else(|| self.tip().bits())
    }

    fn unspent(&self, outpoint: &OutPoint) -> Result<Option<Utxo>, StoreError> {
        self.utxo(outpoint)
    }

    fn signatures(&self) -> Option<&dyn SignatureCache> {
        Some(&self.signatures)
    }
}
