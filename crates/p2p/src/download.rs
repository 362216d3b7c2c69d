//! Block downloads: which blocks to ask of whom, in what order to give them to the node, and who stalls.
//!
//! Each peer is asked for blocks of its own best chain, within a window ahead of the last block we have. Blocks come
//! in any order and wait until their parents have gone to the node, which so sees parents before children.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lode_primitives::{Block, BlockHash, Work};

use crate::limits::{
    BLOCK_TIMEOUT, BUFFERED_EXPIRY, DOWNLOAD_WINDOW, LIMITED_DEPTH, MAX_IN_FLIGHT, MAX_PARALLEL,
    MAX_WAITING_BYTES, PARALLEL_AFTER, STALL_TIMEOUT_MAX, STALL_TIMEOUT_MIN, UNJUDGED_REST,
};
use crate::message::{InvItem, InvKind, Services};
use crate::peer::{PathBlock, Peer};
use crate::peers::{Output, Peers, Step};
use crate::rolling::Rolling;
use crate::{ConnectionKind, Event, Message, PeerId, Time, Verdict};

/// Accepted blocks remembered: more than a window's worth.
const MAX_STORED: usize = 4 * DOWNLOAD_WINDOW;

/// How a block came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// Whole.
    Whole,
    /// Put together from a compact block: if it is not what the header says, nobody needs to have lied.
    Compact,
}

/// A block on its way to the node.
#[derive(Debug)]
enum Wanted {
    /// Asked for.
    InFlight { from: Vec<PeerId>, since: Time },
    /// Here, but its parent is not.
    Buffered { block: Arc<Block>, from: PeerId, source: Source, bytes: usize, since: Time },
    /// With the node.
    Delivered { from: PeerId, source: Source, bytes: usize },
    /// The node could not judge it: not asked for before this time.
    Resting { until: Time },
}

/// All blocks on their way.
#[derive(Debug)]
pub(crate) struct Downloads {
    blocks: HashMap<BlockHash, Wanted>,
    /// Buffered blocks by their parent.
    children: HashMap<BlockHash, Vec<BlockHash>>,
    /// Bytes buffered or delivered.
    waiting_bytes: usize,
    /// Goes up when a block that was asked for must be asked for again.
    round: u64,
    /// Blocks accepted so far.
    accepted: u64,
    /// The last of them, so that the view need not be asked.
    stored: Rolling<BlockHash>,
    /// Invalid blocks so far, and ticks: when it goes up peers' best blocks are looked at again.
    doubts: u64,
    stall_timeout: Duration,
}

impl Default for Downloads {
    fn default() -> Self {
        Self {
            blocks: HashMap::new(),
            children: HashMap::new(),
            waiting_bytes: 0,
            round: 1,
            accepted: 0,
            stored: Rolling::new(MAX_STORED),
            doubts: 1,
            stall_timeout: STALL_TIMEOUT_MIN,
        }
    }
}

impl Downloads {
    /// It is here already, waiting for its parent or its verdict.
    pub(crate) fn is_here(&self, hash: &BlockHash) -> bool {
        matches!(self.blocks.get(hash), Some(Wanted::Buffered { .. } | Wanted::Delivered { .. }))
    }

    /// It is here, but its parent is not.
    pub(crate) fn is_waiting(&self, hash: &BlockHash) -> bool {
        matches!(self.blocks.get(hash), Some(Wanted::Buffered { .. }))
    }

    /// No room for more blocks until some are judged.
    pub(crate) fn is_full(&self) -> bool {
        self.waiting_bytes >= MAX_WAITING_BYTES
    }

    /// Who was asked for it.
    pub(crate) fn asked(&self, hash: &BlockHash) -> &[PeerId] {
        match self.blocks.get(hash) {
            Some(Wanted::InFlight { from, .. }) => from,
            _ => &[],
        }
    }

    /// Notes that a peer owes a block.
    fn ask(&mut self, hash: BlockHash, peer: PeerId, now: Time) {
        match self.blocks.get_mut(&hash) {
            Some(Wanted::InFlight { from, .. }) => from.push(peer),
            _ => {
                self.blocks.insert(hash, Wanted::InFlight { from: vec![peer], since: now });
            }
        }
    }

    /// A peer will not send a block after all.
    fn unask(&mut self, hash: &BlockHash, peer: PeerId) {
        if let Some(Wanted::InFlight { from, .. }) = self.blocks.get_mut(hash) {
            from.retain(|&other| other != peer);
            if from.is_empty() {
                self.blocks.remove(hash);
                self.round += 1;
            }
        }
    }

    fn buffer(&mut self, hash: BlockHash, block: Arc<Block>, from: PeerId, source: Source, now: Time) {
        let bytes = block.total_size();
        self.waiting_bytes += bytes;
        self.children.entry(block.header.prev).or_default().push(hash);
        self.blocks.insert(hash, Wanted::Buffered { block, from, source, bytes, since: now });
    }

    /// The buffered children of a block, in delivered state now.
    fn release_children(&mut self, parent: &BlockHash) -> Vec<(BlockHash, PeerId, Arc<Block>)> {
        let mut out = Vec::new();
        for hash in self.children.remove(parent).unwrap_or_default() {
            if let Some(Wanted::Buffered { block, from, source, bytes, .. }) = self.blocks.remove(&hash) {
                self.blocks.insert(hash, Wanted::Delivered { from, source, bytes });
                out.push((hash, from, block));
            }
        }
        out
    }

    /// Forgets the buffered descendants of a block.
    fn drop_descendants(&mut self, parent: BlockHash) {
        let mut parents = vec![parent];
        while let Some(parent) = parents.pop() {
            for hash in self.children.remove(&parent).unwrap_or_default() {
                if let Some(Wanted::Buffered { bytes, .. }) = self.blocks.remove(&hash) {
                    self.waiting_bytes -= bytes;
                    self.round += 1;
                }
                parents.push(hash);
            }
        }
    }
}

impl Peers {
    /// Asks all peers for what they can give.
    pub(crate) fn schedule_all(&mut self, step: &Step<'_>) {
        for id in self.ready_peers() {
            self.schedule(id, step);
        }
    }

    /// Asks a peer for blocks if it owes few and has some that we lack.
    pub(crate) fn schedule(&mut self, id: PeerId, step: &Step<'_>) {
        let (round, doubts) = (self.downloads.round, self.downloads.doubts);
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if self.options.light
            || !peer.is_ready()
            || peer.kind == ConnectionKind::Feeler
            || peer.sync.in_flight.len() > MAX_IN_FLIGHT / 2
        {
            return;
        }
        let Some(best) = peer.sync.best_known else { return };
        let tip = step.view.tip();
        if best.work <= tip.work || best.work < self.options.min_chain_work {
            return;
        }
        if std::mem::replace(&mut peer.sync.checked, doubts) != doubts
            && !step.view.header(&best.hash).is_some_and(|info| info.valid)
        {
            peer.sync.best_known = None;
            peer.sync.path.clear();
            peer.sync.path_target = None;
            return;
        }
        refresh_path(peer, &self.downloads, step);
        if peer.sync.round != round {
            peer.sync.round = round;
            peer.sync.path_next = 0;
        }
        let wanted = self.pick(id, step);
        if wanted.is_empty() {
            return self.note_stall(id, step);
        }
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.sync.in_flight.is_empty() {
            peer.sync.progress = step.now;
        }
        // A single block on top of ours is likely to be in the mempool already.
        let compact = wanted.len() == 1
            && peer.compact.supported
            && peer.sync.path.len() == 1
            && !step.view.initial_sync();
        let kind = match (compact, self.options.coin.form.witness) {
            (true, _) => InvKind::CompactBlock,
            (_, true) => InvKind::WitnessBlock,
            _ => InvKind::Block,
        };
        for &hash in &wanted {
            peer.sync.in_flight.push(hash);
            self.downloads.ask(hash, id, step.now);
        }
        let items = wanted.into_iter().map(|hash| InvItem::block(kind, hash)).collect();
        self.send(id, Message::GetData(items));
    }

    /// The next blocks of a peer's path that nobody was asked for.
    fn pick(&mut self, id: PeerId, step: &Step<'_>) -> Vec<BlockHash> {
        let mut wanted = Vec::new();
        let Some(peer) = self.peers.get_mut(&id) else { return wanted };
        let lowest = match peer.services() {
            services if services.has(Services::NETWORK) => 0,
            _ => peer.sync.best_known.map_or(u32::MAX, |best| best.height.saturating_sub(LIMITED_DEPTH)),
        };
        if peer.sync.path_first < lowest {
            return wanted;
        }
        let full = self.downloads.waiting_bytes >= MAX_WAITING_BYTES;
        let room = MAX_IN_FLIGHT - peer.sync.in_flight.len();
        let front = peer.sync.path.front().map(|block| block.hash);
        let front_late = match front.and_then(|hash| self.downloads.blocks.get(&hash)) {
            Some(Wanted::InFlight { from, since }) => {
                from.len() < MAX_PARALLEL
                    && !from.contains(&id)
                    && step.now.saturating_sub(*since) >= PARALLEL_AFTER
            }
            _ => false,
        };
        if front_late {
            wanted.extend(front);
        }
        while wanted.len() < room && peer.sync.path_next < peer.sync.path.len() {
            let place = peer.sync.path_next;
            if full && place > 0 {
                break;
            }
            peer.sync.path_next += 1;
            let PathBlock { hash, have } = peer.sync.path[place];
            if !have && !self.downloads.blocks.contains_key(&hash) && !self.downloads.stored.contains(&hash) {
                wanted.push(hash);
            }
        }
        wanted
    }

    /// This peer could give more, but the window is full and its first block is not here: whoever owes that block
    /// keeps everybody waiting.
    fn note_stall(&mut self, id: PeerId, step: &Step<'_>) {
        let Some(peer) = self.peers.get(&id) else { return };
        let (Some(front), Some(best)) = (peer.sync.path.front(), peer.sync.best_known) else { return };
        let more = peer.sync.path_first + peer.sync.path.len() as u32 <= best.height;
        let window_full = (peer.sync.path_next >= peer.sync.path.len() && more)
            || self.downloads.waiting_bytes >= MAX_WAITING_BYTES;
        if !window_full || !peer.sync.in_flight.is_empty() {
            return;
        }
        for staller in self.downloads.asked(&front.hash).to_vec() {
            if let Some(staller) = self.peers.get_mut(&staller) {
                staller.sync.stalling_since.get_or_insert(step.now);
            }
        }
    }

    /// `block` came.
    pub(crate) fn on_block(&mut self, id: PeerId, block: Arc<Block>, step: &Step<'_>) {
        let hash = block.hash();
        self.take_block(id, hash, block, Source::Whole, step);
        self.schedule(id, step);
        self.fetch_promised(id, step);
    }

    /// A block is here, whole or put together.
    pub(crate) fn take_block(
        &mut self,
        id: PeerId,
        hash: BlockHash,
        block: Arc<Block>,
        source: Source,
        step: &Step<'_>,
    ) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        let owed = peer.sync.in_flight.iter().position(|other| *other == hash);
        if let Some(place) = owed {
            peer.sync.in_flight.swap_remove(place);
            peer.sync.progress = step.now;
            if peer.sync.stalling_since.take().is_some() {
                self.downloads.stall_timeout =
                    (self.downloads.stall_timeout * 17 / 20).max(STALL_TIMEOUT_MIN);
            }
        }
        if self.downloads.is_here(&hash) || self.downloads.stored.contains(&hash) {
            return;
        }
        let prev = block.header.prev;
        if owed.is_none() && step.view.header(&hash).is_some_and(|info| info.have_block) {
            return;
        }
        if owed.is_none() && source == Source::Whole {
            let parent = step.view.header(&prev);
            // Sent unasked: taken only if it goes straight onto what we have, and is worth storing.
            let enough =
                parent.zip(self.options.coin.block_work(block.header.bits)).is_some_and(|(parent, work)| {
                    parent.valid && parent.have_block && parent.work + work >= self.least_work(step.view)
                });
            if !enough
                || self.downloads.waiting_bytes >= MAX_WAITING_BYTES
                || !step.view.check_pow(&block.header)
            {
                if parent.is_none() {
                    self.on_block_announced(id, hash, step);
                }
                return;
            }
        }
        for other in self.downloads.asked(&hash).to_vec() {
            if other != id
                && let Some(other) = self.peers.get_mut(&other)
            {
                other.sync.in_flight.retain(|owed| *owed != hash);
                other.sync.stalling_since = None;
            }
        }
        self.partials.forget_block(&hash);
        let ready = matches!(self.downloads.blocks.get(&prev), Some(Wanted::Delivered { .. }))
            || self.downloads.stored.contains(&prev)
            || (!self.downloads.blocks.contains_key(&prev)
                && step.view.header(&prev).is_some_and(|parent| parent.have_block));
        if !ready {
            self.downloads.buffer(hash, block, id, source, step.now);
            return;
        }
        let bytes = block.total_size();
        self.downloads.waiting_bytes += bytes;
        self.downloads.blocks.insert(hash, Wanted::Delivered { from: id, source, bytes });
        self.out.push_back(Output::Event(Event::Block { peer: id, hash, block }));
        self.deliver_children(hash);
    }

    /// Gives the node what waited for a block.
    pub(crate) fn deliver_children(&mut self, parent: BlockHash) {
        let mut parents = vec![parent];
        while let Some(parent) = parents.pop() {
            for (hash, peer, block) in self.downloads.release_children(&parent) {
                self.out.push_back(Output::Event(Event::Block { peer, hash, block }));
                parents.push(hash);
            }
        }
    }

    pub(crate) fn on_block_verdict(&mut self, hash: BlockHash, verdict: Verdict, step: &Step<'_>) {
        let Some(Wanted::Delivered { from, source, bytes }) = self.downloads.blocks.get(&hash) else {
            return;
        };
        let (from, source, bytes) = (*from, *source, *bytes);
        self.downloads.blocks.remove(&hash);
        self.downloads.waiting_bytes -= bytes;
        match verdict {
            Verdict::Accepted => {
                self.downloads.stored.insert(hash);
                let best = self.peers.get_mut(&from).and_then(|peer| {
                    peer.last_block = step.now;
                    peer.sync.best_known
                });
                if best.is_none_or(|best| best.work < step.view.tip().work)
                    && let Some(info) = step.view.header(&hash)
                {
                    self.learn(from, info.into());
                }
                if !step.view.initial_sync() {
                    self.prefer_for_compact(from, step);
                }
                // Its children waited for it where it had been asked for again.
                self.deliver_children(hash);
                self.schedule(from, step);
                self.go_on_blocks_first(hash, step);
                // The window has moved for everybody; to look each time would cost more than it brings.
                self.downloads.accepted += 1;
                if self.downloads.accepted.is_multiple_of(MAX_IN_FLIGHT as u64) || !step.view.initial_sync() {
                    self.schedule_all(step);
                }
            }
            Verdict::Invalid(reason) => {
                self.downloads.doubts += 1;
                self.downloads.drop_descendants(hash);
                if source == Source::Compact {
                    // BIP152 lets peers pass blocks on before they have checked them.
                    tracing::info!(peer = %from, %hash, reason, "invalid block, from a compact one");
                } else {
                    self.punish(from, &format!("invalid block {hash}: {reason}"), step);
                }
            }
            Verdict::Mutated(reason) if source == Source::Compact => {
                tracing::debug!(%hash, reason, "compact block put together wrongly: asking for the whole");
                self.ask_whole(from, hash, step);
            }
            Verdict::Mutated(reason) => {
                self.downloads.round += 1;
                self.punish(from, &format!("mutated block {hash}: {reason}"), step);
                self.schedule_all(step);
            }
            Verdict::Unjudged(reason) => {
                tracing::debug!(%hash, reason, "block not judged: asked for again later");
                let until = step.now + UNJUDGED_REST;
                self.downloads.blocks.insert(hash, Wanted::Resting { until });
            }
        }
    }

    /// Asks a peer for one block, whole.
    pub(crate) fn ask_whole(&mut self, id: PeerId, hash: BlockHash, step: &Step<'_>) {
        let witness = self.options.coin.form.witness;
        let Some(peer) = self.peers.get_mut(&id) else {
            self.downloads.round += 1;
            return;
        };
        if !peer.sync.in_flight.contains(&hash) {
            self.owe(id, hash, step);
        }
        let kind = if witness { InvKind::WitnessBlock } else { InvKind::Block };
        self.send(id, Message::GetData(vec![InvItem::block(kind, hash)]));
    }

    /// Notes that a peer owes us a block.
    pub(crate) fn owe(&mut self, id: PeerId, hash: BlockHash, step: &Step<'_>) {
        let Some(peer) = self.peers.get_mut(&id) else { return };
        if peer.sync.in_flight.is_empty() {
            peer.sync.progress = step.now;
        }
        peer.sync.in_flight.push(hash);
        self.downloads.ask(hash, id, step.now);
    }

    /// A peer does not have a block that it made us believe it has.
    pub(crate) fn on_block_not_found(&mut self, id: PeerId, hash: BlockHash, step: &Step<'_>) {
        let Some(peer) = self.peers.get(&id) else { return };
        if peer.sync.in_flight.contains(&hash) {
            self.drop_peer(id, &format!("does not have block {hash} that it announced"), step);
        }
    }

    /// Sees to it that what a peer owed can be asked of others.
    pub(crate) fn release_downloads(&mut self, peer: &Peer) {
        for hash in &peer.sync.in_flight {
            self.downloads.unask(hash, peer.id);
        }
    }

    /// Stalls, timeouts, and what has waited too long.
    pub(crate) fn tick_downloads(&mut self, step: &Step<'_>) {
        // The user may have called blocks invalid.
        self.downloads.doubts += 1;
        let stall_timeout = self.downloads.stall_timeout;
        let late = |since: Time, limit: Duration| step.now.saturating_sub(since) >= limit;
        let dropped: Vec<(PeerId, bool)> = self
            .peers
            .values()
            .filter_map(|peer| {
                if peer.sync.stalling_since.is_some_and(|since| late(since, stall_timeout)) {
                    return Some((peer.id, true));
                }
                let owes = !peer.sync.in_flight.is_empty();
                (owes && late(peer.sync.progress, BLOCK_TIMEOUT)).then_some((peer.id, false))
            })
            .collect();
        for (id, stalled) in dropped {
            if stalled {
                self.downloads.stall_timeout = (stall_timeout * 2).min(STALL_TIMEOUT_MAX);
                self.drop_peer(id, "stalls the block download", step);
            } else {
                self.drop_peer(id, "owes blocks and sends none", step);
            }
        }
        let (mut rested, mut expired) = (Vec::new(), Vec::new());
        for (hash, wanted) in &self.downloads.blocks {
            match wanted {
                Wanted::Resting { until } if *until <= step.now => rested.push(*hash),
                Wanted::Buffered { block, since, .. } if late(*since, BUFFERED_EXPIRY) => {
                    expired.push(block.header.prev);
                }
                _ => {}
            }
        }
        for hash in rested {
            self.downloads.blocks.remove(&hash);
            self.downloads.round += 1;
        }
        for parent in expired {
            self.downloads.drop_descendants(parent);
        }
        self.schedule_all(step);
    }

    /// Enough claimed work to be worth a look, for a header on top of `parent_work`.
    pub(crate) fn has_least_work(&self, parent_work: Work, bits: u32, step: &Step<'_>) -> bool {
        let work = self.options.coin.block_work(bits);
        work.is_some_and(|work| parent_work + work >= self.least_work(step.view))
    }
}

/// Brings a peer's path up to date: what we have by now is cut off in front, what its chain goes on with is added.
fn refresh_path(peer: &mut Peer, downloads: &Downloads, step: &Step<'_>) {
    let sync = &mut peer.sync;
    let Some(best) = sync.best_known else { return };
    if sync.path_target != Some(best.hash) {
        // Often the same chain, grown: then the piece at hand is still right.
        let end = sync.path.back().map(|block| block.hash);
        let end_height = sync.path_first + (sync.path.len() as u32).saturating_sub(1);
        let grown = end.is_some() && step.view.ancestor(&best.hash, end_height) == end;
        if !grown {
            sync.path.clear();
            sync.path_next = 0;
            sync.path_first = step.view.fork_height(&best.hash) + 1;
        }
        sync.path_target = Some(best.hash);
    }
    loop {
        while let Some(front) = sync.path.front()
            && (front.have || downloads.stored.contains(&front.hash))
        {
            sync.path.pop_front();
            sync.path_first += 1;
            sync.path_next = sync.path_next.saturating_sub(1);
        }
        let next = sync.path_first + sync.path.len() as u32;
        if sync.path.len() >= DOWNLOAD_WINDOW * 3 / 4 || next > best.height {
            return;
        }
        let hashes = step.view.chain(&best.hash, next, DOWNLOAD_WINDOW - sync.path.len());
        if hashes.is_empty() {
            return;
        }
        let have = step.view.have_blocks(&hashes);
        sync.path.extend(hashes.into_iter().zip(have).map(|(hash, have)| PathBlock { hash, have }));
    }
}
