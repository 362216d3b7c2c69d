//! New tips, told to each peer as it likes best: compact block, headers, or `inv`.

use std::sync::Arc;

use lode_primitives::Block;
use rand::Rng;

use crate::limits::{MAX_ANNOUNCED_HEADERS, RECENT_BLOCKS};
use crate::message::{CompactBlock, InvItem, InvKind};
use crate::peer::Known;
use crate::peers::{Peers, Step};
use crate::{ConnectionKind, HeaderInfo, Message, PeerId, Time, View};

/// While many blocks are behind us, tips are told of at most once in this time.
const CATCHING_UP: Time = Time::from_secs(1);

impl Peers {
    /// The active chain has another tip.
    pub fn tip_changed(&mut self, block: Option<Arc<Block>>, now: Time, view: &dyn View) {
        let step = &Step { now, view };
        let tip = view.tip();
        let behind = view.best_header().height.saturating_sub(tip.height);
        if behind < RECENT_BLOCKS as u32
            && let Some(block) = block
        {
            let hash = block.hash();
            self.recent.retain(|(other, _)| *other != hash);
            self.recent.push_back((hash, block));
            if self.recent.len() > RECENT_BLOCKS {
                self.recent.pop_front();
            }
        }
        self.deliver_children(tip.hash);
        self.forget_rejected();
        if behind == 0 {
            self.announce(step);
        } else {
            self.announce_at.get_or_insert(now + CATCHING_UP);
        }
    }

    pub(crate) fn tick_announce(&mut self, step: &Step<'_>) {
        if self.announce_at.is_some_and(|at| at <= step.now) {
            self.announce(step);
        }
    }

    fn announce(&mut self, step: &Step<'_>) {
        self.announce_at = None;
        let tip = step.view.tip();
        if self.announced.replace(tip.hash) == Some(tip.hash) {
            return;
        }
        // The last blocks, oldest first, and the one below them.
        let count = MAX_ANNOUNCED_HEADERS + 1;
        let first = (tip.height + 1).saturating_sub(count as u32);
        let chain = step.view.chain(&tip.hash, first, count);
        let mut compact = None;
        for id in self.ready_peers() {
            self.announce_to(id, tip, first, &chain, &mut compact, step);
        }
    }

    fn announce_to(
        &mut self,
        id: PeerId,
        tip: HeaderInfo,
        first: u32,
        chain: &[lode_primitives::BlockHash],
        compact: &mut Option<Arc<CompactBlock>>,
        step: &Step<'_>,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.kind == ConnectionKind::Feeler {
            return;
        }
        // How many of these blocks the peer has: counted by the better match of what it told and what we told.
        let has = [peer.sync.best_known, peer.sync.best_sent]
            .into_iter()
            .flatten()
            .map(|known| shared(&known, first, chain, step.view))
            .max()
            .unwrap_or(0);
        if has == chain.len() {
            return;
        }
        peer.sync.best_sent = Some(Known::from(tip));
        let new = chain.len() - has;
        let message = if has == 0 && first > 0 {
            None
        } else if new == 1 && peer.compact.supported && peer.compact.wants_at_once {
            if compact.is_none() {
                let nonce = self.rng.random();
                let block = self.recent.iter().find(|(hash, _)| *hash == tip.hash).map(|(_, block)| block);
                *compact = block.map(|block| Arc::new(CompactBlock::new(block, nonce)));
            }
            compact.clone().map(Message::CmpctBlock)
        } else {
            None
        };
        let message = message.unwrap_or_else(|| {
            let headers_fit = has > 0 && self.peers.get(&id).is_some_and(|peer| peer.send_headers);
            let headers = if headers_fit {
                step.view.headers_after(&[chain[has - 1]], &tip.hash, new)
            } else {
                Vec::new()
            };
            if headers.last().map(lode_primitives::Header::hash) == Some(tip.hash) {
                Message::Headers(headers)
            } else {
                Message::Inv(vec![InvItem::block(InvKind::Block, tip.hash)])
            }
        });
        self.send(id, message);
    }
}

/// How many blocks of `chain`, which starts at height `first`, are on the chain that ends in `known`.
fn shared(known: &Known, first: u32, chain: &[lode_primitives::BlockHash], view: &dyn View) -> usize {
    let theirs = view.chain(&known.hash, first, chain.len());
    theirs.iter().zip(chain).take_while(|(theirs, ours)| theirs == ours).count()
}
