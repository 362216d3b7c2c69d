//! Sync from peers whose headers cannot be checked: the block ids they tell of are asked for as blocks, in order.
//!
//! Old nodes of prime coins keep no multipliers in their index and send headers with empty ones. No block's id can be
//! worked out of such a header, so `getblocks`, `inv` and `getdata` do what `getheaders` does elsewhere. A peer is
//! taken for one of these by the first header without a multiplier that it sends; nothing is known about it before.

use std::collections::VecDeque;

use lode_primitives::{BlockHash, Header};

use crate::limits::{MAX_IN_FLIGHT, PROTOCOL_VERSION};
use crate::message::{InvItem, InvKind, Locator};
use crate::peers::{Peers, Step};
use crate::{Message, PeerId, Time};

/// Ids taken from one `inv`: what the reference answers to `getblocks`, and a few announced meanwhile.
const MAX_PROMISED: usize = 1_000;
/// Not asked for ids again before this time, lest every announcement make a question.
const ASK_AGAIN: Time = Time::from_secs(5);

/// What is under way with such a peer.
#[derive(Debug, Default)]
pub(crate) struct BlocksFirst {
    /// Ids it told of that it was not asked for yet, oldest first.
    promised: VecDeque<BlockHash>,
    /// The last id of the batch: when that block is judged, more are asked for.
    last: Option<BlockHash>,
    /// When it was asked for ids; none of the answer came yet.
    asked: Option<Time>,
}

/// True for a header as the peers sent it that keep no multipliers.
pub(crate) fn lacks_multiplier(header: &Header) -> bool {
    header.multiplier.as_ref().is_some_and(|multiplier| multiplier.as_bytes().is_empty())
}

impl Peers {
    /// The peer's headers lack their multipliers: from now on it is asked for blocks straight away.
    pub(crate) fn sync_blocks_first(&mut self, id: PeerId, step: &Step<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.sync.blocks_first.is_none() {
            tracing::debug!(peer = %id, "headers without multipliers: asking for blocks instead");
            peer.sync.blocks_first = Some(Box::default());
        }
        let idle = peer.sync.blocks_first.as_ref().is_some_and(|sync| sync.last.is_none());
        if idle {
            self.ask_block_ids(id, step);
        }
        // Whoever can tell headers is asked for them.
        self.headers_exhausted(id, step);
    }

    /// Asks for the ids behind our tip, unless that was done a moment ago.
    fn ask_block_ids(&mut self, id: PeerId, step: &Step<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let Some(sync) = &mut peer.sync.blocks_first else { return };
        if sync.asked.is_some_and(|at| step.now.saturating_sub(at) < ASK_AGAIN) {
            return;
        }
        sync.asked = Some(step.now);
        let hashes = step.view.locator(&step.view.tip().hash);
        let locator = Locator { version: PROTOCOL_VERSION as u32, hashes, stop: BlockHash::ZERO };
        self.send(id, Message::GetBlocks(locator));
    }

    /// Block ids that such a peer told of. False where it is none.
    pub(crate) fn on_block_ids(&mut self, id: PeerId, hashes: &[BlockHash], step: &Step<'_>) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return true };
        let Some(sync) = &mut peer.sync.blocks_first else { return false };
        if sync.last.is_some() {
            // In the middle of a batch: what is new will be among the next.
            return true;
        }
        let answer = sync.asked.take().is_some();
        let mut known = None;
        let mut unknown = VecDeque::new();
        for &hash in hashes.iter().take(MAX_PROMISED) {
            match step.view.header(&hash) {
                Some(info) if info.have_block => known = Some(info),
                _ => unknown.push_back(hash),
            }
        }
        sync.last = unknown.back().copied();
        if !answer && unknown.len() == 1 {
            // Told unasked: it may stand on others that we lack too.
            sync.last = None;
            self.ask_block_ids(id, step);
        } else {
            sync.promised = unknown;
            self.fetch_promised(id, step);
        }
        if let Some(known) = known {
            self.learn(id, known.into());
        }
        true
    }

    /// Asks for the next of the blocks that a peer told of.
    pub(crate) fn fetch_promised(&mut self, id: PeerId, step: &Step<'_>) {
        let mut wanted = Vec::new();
        loop {
            let Some(peer) = self.peers.get_mut(&id) else { return };
            let owes = peer.sync.in_flight.len();
            let Some(sync) = &mut peer.sync.blocks_first else { return };
            if owes >= MAX_IN_FLIGHT || self.downloads.is_full() {
                break;
            }
            let Some(hash) = sync.promised.pop_front() else { break };
            if !self.downloads.is_here(&hash) && self.downloads.asked(&hash).is_empty() {
                self.owe(id, hash, step);
                wanted.push(InvItem::block(InvKind::Block, hash));
            }
        }
        if !wanted.is_empty() {
            self.send(id, Message::GetData(wanted));
        }
    }

    /// A block was judged, whoever sent it: where it was the last of a batch the next batch is asked for.
    pub(crate) fn go_on_blocks_first(&mut self, hash: BlockHash, step: &Step<'_>) {
        for id in self.ready_peers() {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let Some(sync) = &mut peer.sync.blocks_first else { continue };
            if sync.last == Some(hash) {
                sync.last = None;
                sync.asked = None;
                self.ask_block_ids(id, step);
            } else {
                self.fetch_promised(id, step);
            }
        }
    }

    /// Batches that came to nothing (their last block was somebody else's, or its parent never came) are given up.
    pub(crate) fn tick_blocks_first(&mut self, step: &Step<'_>) {
        for id in self.ready_peers() {
            let Some(peer) = self.peers.get_mut(&id) else { continue };
            let owes = !peer.sync.in_flight.is_empty();
            let Some(sync) = &mut peer.sync.blocks_first else { continue };
            let Some(last) = sync.last else { continue };
            let with_node = self.downloads.is_here(&last) && !self.downloads.is_waiting(&last);
            if !owes && sync.promised.is_empty() && !with_node {
                sync.last = None;
                self.ask_block_ids(id, step);
            } else {
                self.fetch_promised(id, step);
            }
        }
    }
}
