//! What the network may see of chain and mempool.
//!
//! Tip and best header come from [`Node::glance`] and never wait. The rest takes the state's lock for reading and so
//! may wait for one block's checks; the network's thread has nothing to do then but ask for more blocks.

use std::sync::Arc;

use lode_chain::BlockEntry;
use lode_p2p::{HeaderInfo, TxRef, View};
use lode_primitives::{BlockHash, Hash256, Header, Height, Transaction, Wtxid};

use crate::filters::Filters;
use crate::node::Node;

/// The network's view of a block of the tree.
pub(crate) fn header_info(entry: &BlockEntry) -> HeaderInfo {
    HeaderInfo {
        hash: entry.hash(),
        prev: entry.prev(),
        height: entry.height(),
        work: entry.work(),
        time: entry.time(),
        have_block: entry.tx_count() > 0,
        valid: !entry.is_invalid(),
    }
}

impl View for Node {
    fn tip(&self) -> HeaderInfo {
        self.glance().tip
    }

    fn best_header(&self) -> HeaderInfo {
        self.glance().best_header
    }

    fn header(&self, hash: &BlockHash) -> Option<HeaderInfo> {
        self.read().chain.entry(hash).map(header_info)
    }

    fn chain(&self, of: &BlockHash, first: Height, count: usize) -> Vec<BlockHash> {
        let state = self.read();
        let Some(end) = state.chain.entry(of).map(BlockEntry::height) else { return Vec::new() };
        let last = first.saturating_add(u32::try_from(count).unwrap_or(u32::MAX)).min(end.saturating_add(1));
        (first..last).filter_map(|height| state.chain.ancestor(of, height)).map(BlockEntry::hash).collect()
    }

    fn have_blocks(&self, hashes: &[BlockHash]) -> Vec<bool> {
        let state = self.read();
        hashes.iter().map(|hash| state.chain.entry(hash).is_some_and(|entry| entry.tx_count() > 0)).collect()
    }

    fn fork_height(&self, of: &BlockHash) -> Height {
        self.read().chain.fork_with(of).map_or(0, BlockEntry::height)
    }

    fn headers_after(&self, locator: &[BlockHash], stop: &BlockHash, max: usize) -> Vec<Header> {
        let state = self.read();
        if locator.is_empty() {
            return state.chain.header(stop).into_iter().collect();
        }
        state.chain.headers_after(locator, stop, max)
    }

    fn block_bytes(&self, hash: &BlockHash) -> Option<Vec<u8>> {
        let found = self.read().chain.block_bytes(hash);
        found.unwrap_or_else(|error| {
            tracing::warn!(%hash, %error, "cannot read a block that a peer asks for");
            None
        })
    }

    fn check_pow(&self, header: &Header) -> bool {
        lode_chain::check_pow(self.coin, header, &header.hash()).is_ok()
    }

    fn offers_filters(&self) -> bool {
        self.filters.as_ref().is_some_and(Filters::are_offered)
    }

    fn filter(&self, height: Height, hash: &BlockHash) -> Option<Vec<u8>> {
        let found = self.filters.as_ref()?.index.filter(height, hash);
        let filter = found.unwrap_or_else(|error| {
            tracing::warn!(%hash, %error, "cannot read a filter that a peer asks for");
            None
        });
        filter.map(|filter| filter.as_bytes().to_vec())
    }

    fn filter_header(&self, height: Height, hash: &BlockHash) -> Option<(Hash256, Hash256)> {
        let found = self.filters.as_ref()?.index.header(height, hash);
        let header = found.unwrap_or_else(|error| {
            tracing::warn!(%hash, %error, "cannot read a filter header that a peer asks for");
            None
        });
        header.map(|found| (found.filter_hash, found.header))
    }

    fn initial_sync(&self) -> bool {
        self.is_syncing()
    }

    fn transaction(&self, id: &TxRef) -> Option<Arc<Transaction>> {
        let state = self.read();
        let entry = match id {
            TxRef::Txid(txid) => state.mempool.get(txid),
            TxRef::Wtxid(wtxid) => state.mempool.get_by_wtxid(wtxid),
        };
        entry.map(|entry| entry.tx.clone())
    }

    fn mempool_wtxids(&self) -> Vec<Wtxid> {
        self.read().mempool.transactions().map(|(wtxid, _)| *wtxid).collect()
    }

    fn min_fee_rate(&self) -> u64 {
        self.glance().min_fee_rate
    }
}
