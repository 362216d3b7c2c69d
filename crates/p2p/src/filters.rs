//! Compact filters for those who ask (BIP157).
//!
//! A request is judged here by what is in memory; what it asks for is read and sent piece by piece by the connection's
//! writing task, only as fast as the peer takes it. So a request of 40 bytes for 20 MB costs no memory, and a peer that
//! does not read gets no further.

use lode_primitives::filter::BASIC_FILTER;
use lode_primitives::{BlockHash, Hash256, Height};

use crate::limits::{CHECKPOINT_INTERVAL, MAX_FILTERS};
use crate::message::{CFCheckpt, CFHeaders, CFilter, MAX_FILTER_HEADERS};
use crate::peers::{Output, Peers, Step};
use crate::{Message, PeerId, View};

/// What of the filters is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FilterKind {
    /// `getcfilters`: the filters, a message each.
    Filters,
    /// `getcfheaders`: their hashes.
    Headers,
    /// `getcfcheckpt`: every thousandth filter header.
    Checkpoints,
}

/// A request that was found in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FilterRequest {
    /// What is wanted.
    pub kind: FilterKind,
    /// The first block's height.
    pub first: Height,
    /// The last block's height.
    pub last: Height,
    /// The last block.
    pub stop: BlockHash,
}

/// Blocks whose filters are read at once, at the most.
const READ_AT_ONCE: usize = 32;

impl FilterRequest {
    /// What it weighs in a queue of messages to be sent: more where more has to be read.
    pub(crate) const fn weight(&self) -> usize {
        1 + (self.last - self.first) as usize / 100
    }

    /// The blocks whose filters are asked for.
    pub(crate) fn blocks(&self, view: &dyn View) -> Vec<(Height, BlockHash)> {
        let count = (self.last - self.first) as usize + 1;
        (self.first..).zip(view.chain(&self.stop, self.first, count)).collect()
    }

    /// The answers for a piece of [`FilterRequest::blocks`]; fewer than blocks where filters are missing, as where the
    /// chain has changed meanwhile. May read the disk.
    pub(crate) fn filters(view: &dyn View, blocks: &[(Height, BlockHash)]) -> Vec<Message> {
        let read = |&(height, block): &(Height, BlockHash)| {
            let filter = view.filter(height, &block)?;
            Some(Message::CFilter(CFilter { filter_type: BASIC_FILTER, block, filter }))
        };
        blocks.iter().map_while(read).collect()
    }

    /// The one answer to a request for filter headers or checkpoints. May read the disk.
    pub(crate) fn headers(&self, view: &dyn View) -> Option<Message> {
        if self.kind == FilterKind::Checkpoints {
            let heights = (1..=self.last / CHECKPOINT_INTERVAL).map(|nth| nth * CHECKPOINT_INTERVAL);
            let header = |height| Some(view.filter_header(height, &view.ancestor(&self.stop, height)?)?.1);
            let headers = heights.map(header).collect::<Option<_>>()?;
            return Some(Message::CFCheckpt(CFCheckpt {
                filter_type: BASIC_FILTER,
                stop: self.stop,
                headers,
            }));
        }
        let previous = match self.first.checked_sub(1) {
            None => Hash256::ZERO,
            Some(height) => view.filter_header(height, &view.ancestor(&self.stop, height)?)?.1,
        };
        let blocks = self.blocks(view);
        let hash = |(height, block): &(Height, BlockHash)| Some(view.filter_header(*height, block)?.0);
        let filter_hashes = blocks.iter().map(hash).collect::<Option<_>>()?;
        let answer = CFHeaders { filter_type: BASIC_FILTER, stop: self.stop, previous, filter_hashes };
        Some(Message::CFHeaders(answer))
    }

    /// How many blocks are read at once.
    pub(crate) const fn piece() -> usize {
        READ_AT_ONCE
    }

    /// All answers at once: what the driver sends piece by piece. May read the disk.
    pub fn answers(&self, view: &dyn View) -> Vec<Message> {
        match self.kind {
            FilterKind::Filters => Self::filters(view, &self.blocks(view)),
            _ => self.headers(view).into_iter().collect(),
        }
    }
}

impl Peers {
    /// `getcfilters`, `getcfheaders` or `getcfcheckpt` came.
    pub(crate) fn on_filters_wanted(
        &mut self,
        peer: PeerId,
        kind: FilterKind,
        filter_type: u8,
        first: Height,
        stop: BlockHash,
        step: &Step<'_>,
    ) {
        if !step.view.offers_filters() || filter_type != BASIC_FILTER {
            return self.drop_peer(peer, "asks for block filters that are not offered", step);
        }
        let Some(last) = step.view.header(&stop).filter(|info| info.valid && info.have_block) else {
            // As the reference client: nobody knows everything.
            return tracing::debug!(%peer, %stop, "asks for filters up to a block that is not known");
        };
        let last = last.height;
        let most = match kind {
            FilterKind::Filters => MAX_FILTERS,
            FilterKind::Headers => MAX_FILTER_HEADERS as Height,
            FilterKind::Checkpoints => Height::MAX,
        };
        if first > last || last - first >= most {
            let reason =
                format!("asks for filters of heights {first} to {last}, more than {most} or backwards");
            return self.drop_peer(peer, &reason, step);
        }
        let request = FilterRequest { kind, first, last, stop };
        self.out.push_back(Output::SendFilters { peer, request });
    }
}
