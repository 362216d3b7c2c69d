//! What a light client asks of one peer at a time: filter headers, filters, single blocks ([`crate::Options::light`]).
//!
//! The machine only sees to it that nobody is asked for what it is not known to have, and that nobody sends what it was
//! not asked for. Who is asked when, what answers are worth and who is too slow is the light client's own business.

use std::sync::Arc;

use lode_primitives::filter::BASIC_FILTER;
use lode_primitives::{BlockHash, Height, Transaction};

use crate::limits::MAX_FILTERS;
use crate::message::{GetCFHeaders, GetCFilters, InvItem, InvKind};
use crate::peers::{Output, Peers, Step};
use crate::{Event, Message, PeerId};

/// A question to a peer. Each is answered by [`Event::Answer`]s with the messages named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Filter hashes from a height to a block, at most 2,000: one `cfheaders`.
    FilterHeaders {
        /// The first height.
        first: Height,
        /// The last block.
        stop: BlockHash,
    },
    /// Filters from a height to a block, at most 1,000: a `cfilter` each.
    Filters {
        /// The first height.
        first: Height,
        /// The last block.
        stop: BlockHash,
    },
    /// One block.
    Block(BlockHash),
}

impl Question {
    /// The block that a peer must have to answer.
    pub const fn block(&self) -> BlockHash {
        match self {
            Self::FilterHeaders { stop, .. } | Self::Filters { stop, .. } => *stop,
            Self::Block(hash) => *hash,
        }
    }
}

/// Answers a peer owes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Owed {
    filter_headers: u32,
    filters: u32,
    blocks: u32,
}

impl Peers {
    /// Asks a peer, or says that it was [not asked](Event::NotAsked).
    pub fn ask(&mut self, id: PeerId, question: Question, now: crate::Time, view: &dyn crate::View) {
        self.ask_now(id, question, &Step { now, view });
    }

    fn ask_now(&mut self, id: PeerId, question: Question, step: &Step<'_>) {
        let witness = self.options.coin.form.witness;
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.is_ready()) else { return };
        let kind = if witness { InvKind::WitnessBlock } else { InvKind::Block };
        let wanted = step.view.header(&question.block());
        let has = wanted
            .zip(peer.sync.best_known)
            .filter(|(wanted, best)| step.view.ancestor(&best.hash, wanted.height) == Some(wanted.hash));
        let Some((wanted, _)) = has else {
            return self.out.push_back(Output::Event(Event::NotAsked { peer: id, question }));
        };
        let message = match question {
            Question::FilterHeaders { first, stop } => {
                peer.owed.filter_headers += 1;
                Message::GetCFHeaders(GetCFHeaders { filter_type: BASIC_FILTER, start_height: first, stop })
            }
            Question::Filters { first, stop } => {
                let count = wanted.height.saturating_sub(first).saturating_add(1).min(MAX_FILTERS);
                peer.owed.filters += count;
                Message::GetCFilters(GetCFilters { filter_type: BASIC_FILTER, start_height: first, stop })
            }
            Question::Block(hash) => {
                peer.owed.blocks += 1;
                Message::GetData(vec![InvItem::block(kind, hash)])
            }
        };
        self.send(id, message);
    }

    /// Sends a transaction to every peer without announcing it first: we have no mempool to serve it from.
    pub fn push_transaction(&mut self, transaction: &Arc<Transaction>) {
        for id in self.ready_peers() {
            self.send(id, Message::Tx(Arc::clone(transaction)));
        }
    }

    /// `cfheaders`, `cfilter` or `block` came: passed on if it is owed.
    pub(crate) fn on_answer(&mut self, id: PeerId, message: Message, step: &Step<'_>) {
        if !self.options.light {
            return;
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let owed = match &message {
            Message::CFHeaders(_) => &mut peer.owed.filter_headers,
            Message::CFilter(_) => &mut peer.owed.filters,
            _ => &mut peer.owed.blocks,
        };
        match owed.checked_sub(1) {
            Some(left) => {
                *owed = left;
                if matches!(message, Message::Block(_)) {
                    peer.last_block = step.now;
                }
                self.out.push_back(Output::Event(Event::Answer { peer: id, message }));
            }
            None => self.punish(id, &format!("sends a {} nobody asked for", message.command()), step),
        }
    }

    /// A peer does not have a block that it gave us the header of. One that lost it need not keep.
    pub(crate) fn on_block_withheld(&mut self, id: PeerId, hash: BlockHash, step: &Step<'_>) {
        let best = step.view.best_header();
        let height = step.view.header(&hash).map(|info| info.height);
        if height.and_then(|height| step.view.ancestor(&best.hash, height)) != Some(hash) {
            return;
        }
        self.punish(id, &format!("does not give block {hash}, of which it has the header"), step);
    }
}
