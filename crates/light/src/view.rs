//! What the network may know of a light client's headers: its best header is its tip, and it has no blocks.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use lode_chain::{BlockEntry, HeaderChain};
use lode_coins::Coin;
use lode_p2p::{HeaderInfo, TxRef, View};
use lode_primitives::{BlockHash, Header, Height, Transaction, Wtxid};

use crate::store::Store;

#[derive(Debug)]
pub(crate) struct LightView {
    pub(crate) coin: &'static Coin,
    pub(crate) store: Arc<RwLock<Store>>,
}

impl LightView {
    fn read(&self) -> RwLockReadGuard<'_, Store> {
        self.store.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn info(entry: &BlockEntry) -> HeaderInfo {
    HeaderInfo {
        hash: entry.hash(),
        prev: entry.prev(),
        height: entry.height(),
        work: entry.work(),
        time: entry.time(),
        have_block: false,
        valid: true,
    }
}

impl View for LightView {
    fn tip(&self) -> HeaderInfo {
        info(self.read().chain().tip())
    }

    fn best_header(&self) -> HeaderInfo {
        self.tip()
    }

    fn header(&self, hash: &BlockHash) -> Option<HeaderInfo> {
        self.read().chain().entry(hash).map(info)
    }

    fn chain(&self, of: &BlockHash, first: Height, count: usize) -> Vec<BlockHash> {
        let store = self.read();
        let Some(end) = store.chain().entry(of).map(BlockEntry::height) else { return Vec::new() };
        let last = first.saturating_add(u32::try_from(count).unwrap_or(u32::MAX)).min(end.saturating_add(1));
        (first..last).filter_map(|height| store.chain().ancestor(of, height)).map(BlockEntry::hash).collect()
    }

    fn fork_height(&self, of: &BlockHash) -> Height {
        self.read().chain().fork_height(of).unwrap_or(0)
    }

    fn headers_after(&self, _: &[BlockHash], _: &BlockHash, _: usize) -> Vec<Header> {
        Vec::new() // nothing is served
    }

    fn block_bytes(&self, _: &BlockHash) -> Option<Vec<u8>> {
        None
    }

    fn check_pow(&self, header: &Header) -> bool {
        HeaderChain::check_pow(self.coin, header)
    }

    fn initial_sync(&self) -> bool {
        true // transactions are of no use without outputs to check them by
    }

    fn transaction(&self, _: &TxRef) -> Option<Arc<Transaction>> {
        None
    }

    fn mempool_wtxids(&self) -> Vec<Wtxid> {
        Vec::new()
    }

    fn min_fee_rate(&self) -> u64 {
        0
    }
}
