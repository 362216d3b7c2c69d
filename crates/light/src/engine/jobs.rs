//! Jobs: scans, which look for scripts in the filters of a stretch of blocks, and single blocks to fetch.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use lode_p2p::message::CFilter;
use lode_p2p::{PeerId, Question, Time};
use lode_primitives::{Block, BlockFilter, BlockHash, Height, ScriptBuf, merkle};

use super::peers::FilterTask;
use super::{Engine, Reply};
use crate::LightError;
use crate::store::Place;

/// Filters asked of one peer at a time: some seconds' worth of the fullest blocks.
const CHUNK: Height = 200;
/// A peer that is not known to have a block is not asked again before this.
const REST: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct Scan {
    pub(super) id: u64,
    pub(super) scripts: Vec<ScriptBuf>,
    pub(super) from: Height,
    pub(super) to: Place,
    /// Stretches not handed out, first and last height.
    pub(super) pending: VecDeque<(Height, Height)>,
    /// For each block, by height from `from` on, whether its filter was looked through.
    pub(super) looked: Vec<bool>,
    /// How many were not.
    pub(super) left: usize,
    pub(super) matches: BTreeMap<Height, BlockHash>,
    pub(super) reply: Reply<Vec<Place>>,
}

#[derive(Debug)]
pub(super) struct BlockJob {
    pub(super) hash: BlockHash,
    pub(super) asked: Option<PeerId>,
    pub(super) replies: Vec<Reply<Arc<Block>>>,
}

impl Engine {
    /// Looks for scripts in the best chain's blocks from height `from` to `to`.
    pub(crate) fn scan(
        &mut self,
        scripts: Vec<ScriptBuf>,
        from: Height,
        to: Height,
        reply: Reply<Vec<Place>>,
        now: Time,
    ) -> Result<(), LightError> {
        let stop = self.read().chain().entry_at(to).map(|entry| entry.hash());
        match stop {
            _ if from > to || scripts.is_empty() => drop(reply.send(Ok(Vec::new()))),
            None => drop(reply.send(Err(LightError::Gone(to)))),
            Some(hash) => {
                let id = self.next_scan;
                self.next_scan += 1;
                let (pending, matches) = (VecDeque::new(), BTreeMap::new());
                let to = Place { height: to, hash };
                self.scans.push(Scan {
                    id,
                    scripts,
                    from,
                    to,
                    pending,
                    looked: Vec::new(),
                    left: 0,
                    matches,
                    reply,
                });
                self.begin(id);
            }
        }
        self.work(now)
    }

    /// Sets a scan to its beginning.
    pub(super) fn begin(&mut self, id: u64) {
        let Some(scan) = self.scans.iter_mut().find(|scan| scan.id == id) else { return };
        scan.left = (scan.to.height - scan.from) as usize + 1;
        scan.looked = vec![false; scan.left];
        scan.matches.clear();
        let starts = (scan.from..=scan.to.height).step_by(CHUNK as usize);
        scan.pending = starts.map(|first| (first, scan.to.height.min(first + CHUNK - 1))).collect();
    }

    pub(super) fn hand_back(&mut self, scan: u64, left: &BTreeSet<Height>) {
        if let (Some(scan), Some(first), Some(last)) =
            (self.scans.iter_mut().find(|other| other.id == scan), left.first(), left.last())
        {
            scan.pending.push_front((*first, *last));
        }
    }

    pub(super) fn hand_out_chunks(&mut self, now: Time) {
        loop {
            let known = self.read().filter_count();
            let free = self.helpers.iter().find(|(_, helper)| {
                // Who was not compared yet may be right where our filter headers are wrong.
                helper.compared && helper.owes_filters.is_none() && helper.rest_until <= now
            });
            let Some((&peer, _)) = free else { return };
            let scan = self.scans.iter_mut().find(|scan| {
                scan.to.height < known && !scan.pending.is_empty() // a scan waits for all its filter headers
            });
            let Some(scan) = scan else { return };
            let Some((first, last)) = scan.pending.pop_front() else { return };
            let id = scan.id;
            let Some(stop) = self.read().chain().entry_at(last).map(|entry| entry.hash()) else { return };
            self.ask(peer, Question::Filters { first, stop }, now);
            if let Some(helper) = self.helpers.get_mut(&peer) {
                let left = (first..=last).collect();
                helper.owes_filters = Some(FilterTask::Chunk { scan: id, stop, left });
            }
        }
    }

    pub(crate) fn on_filter(&mut self, peer: PeerId, answer: CFilter, now: Time) -> Result<(), LightError> {
        let Some(helper) = self.helpers.get_mut(&peer) else { return Ok(()) };
        helper.answered(now);
        let filter = BlockFilter::from_bytes(answer.filter);
        match &mut helper.owes_filters {
            Some(FilterTask::Claim(claimed)) => {
                let claimed = *claimed;
                let Some(dispute) = &mut self.dispute else {
                    helper.owes_filters = None;
                    return self.work(now);
                };
                if dispute.place.hash != answer.block {
                    return Ok(()); // of a stretch that was asked for before
                }
                helper.owes_filters = None;
                if filter.hash() != claimed {
                    let hash = dispute.place.hash;
                    self.punish(
                        peer,
                        format!("lies: its filter of block {hash} is not the one it told the hash of"),
                    );
                } else if let Some(claim) =
                    dispute.claims.iter_mut().find(|claim| claim.filter_hash == claimed)
                {
                    claim.filter = Some(filter);
                }
            }
            Some(FilterTask::Chunk { scan, left, .. }) => {
                let store = self.store.read().unwrap_or_else(PoisonError::into_inner);
                let height = store.chain().height_of(&answer.block).filter(|height| left.contains(height));
                let Some(height) = height else { return Ok(()) };
                let headers = store.filter_header_before(height).zip(store.filter_header_before(height + 1));
                drop(store);
                let Some((before, header)) = headers else { return Ok(()) };
                if filter.header(&before) != header {
                    let reason = format!(
                        "lies: its filter of block {} at height {height} is not the one that the filter headers commit to",
                        answer.block
                    );
                    self.punish(peer, reason);
                    return self.work(now);
                }
                left.remove(&height);
                let scan = *scan;
                if left.is_empty() {
                    helper.owes_filters = None;
                }
                self.look_through(scan, height, answer.block, &filter);
            }
            None => {}
        }
        self.work(now)
    }

    pub(super) fn look_through(&mut self, id: u64, height: Height, hash: BlockHash, filter: &BlockFilter) {
        let Some(place) = self.scans.iter().position(|scan| scan.id == id) else { return };
        let scan = &mut self.scans[place];
        // A stretch that is handed out again may bring filters that were looked through already.
        let Some(looked) = scan.looked.get_mut((height - scan.from) as usize) else { return };
        if std::mem::replace(looked, true) {
            return;
        }
        // A filter that its header commits to and that is none was judged by nobody: the block itself tells.
        if filter.matches_any(&hash, scan.scripts.iter().map(Vec::as_slice)).unwrap_or(true) {
            scan.matches.insert(height, hash);
        }
        scan.left -= 1;
        if scan.left == 0 {
            let scan = self.scans.swap_remove(place);
            let found = scan.matches.into_iter().map(|(height, hash)| Place { height, hash }).collect();
            let _ = scan.reply.send(Ok(found));
        }
    }

    /// Fetches a block, of which the header is known.
    pub(crate) fn block(
        &mut self,
        hash: BlockHash,
        reply: Reply<Arc<Block>>,
        now: Time,
    ) -> Result<(), LightError> {
        self.want_block(hash).replies.push(reply);
        self.work(now)
    }

    pub(super) fn want_block(&mut self, hash: BlockHash) -> &mut BlockJob {
        let place = self.blocks.iter().position(|job| job.hash == hash).unwrap_or_else(|| {
            self.blocks.push(BlockJob { hash, asked: None, replies: Vec::new() });
            self.blocks.len() - 1
        });
        &mut self.blocks[place]
    }

    pub(super) fn hand_out_blocks(&mut self, now: Time) {
        let wanted: Vec<BlockHash> =
            self.blocks.iter().filter(|job| job.asked.is_none()).map(|job| job.hash).collect();
        for hash in wanted {
            let free = self.helpers.iter().find(|(_, helper)| {
                helper.up_to_date && helper.owes_block.is_none() && helper.rest_until <= now
            });
            let Some((&peer, _)) = free else { return };
            self.ask(peer, Question::Block(hash), now);
            self.want_block(hash).asked = Some(peer);
        }
    }

    pub(crate) fn on_block(&mut self, peer: PeerId, block: Arc<Block>, now: Time) -> Result<(), LightError> {
        let hash = block.hash();
        let Some(helper) = self.helpers.get_mut(&peer) else { return Ok(()) };
        helper.answered(now);
        if helper.owes_block == Some(hash) {
            helper.owes_block = None;
        } else if !helper.was_let_off(&hash) {
            self.punish(peer, format!("sends block {hash} where it was asked for another"));
            return self.work(now);
        }
        let (root, mutated) = merkle::root(block.transactions.iter().map(|tx| tx.txid().0).collect());
        if mutated || root != block.header.merkle_root {
            self.punish(
                peer,
                format!("lies: block {hash} comes with transactions that its header does not commit to"),
            );
            return self.work(now);
        }
        if let Some(place) = self.blocks.iter().position(|job| job.hash == hash) {
            for reply in self.blocks.swap_remove(place).replies {
                let _ = reply.send(Ok(Arc::clone(&block)));
            }
        }
        if let Some(dispute) = self.dispute.as_mut().filter(|dispute| dispute.place.hash == hash) {
            dispute.block = Some(block);
        }
        self.work(now)
    }

    /// A peer was not asked: it is not known to have that block.
    pub(crate) fn on_not_asked(
        &mut self,
        peer: PeerId,
        question: Question,
        now: Time,
    ) -> Result<(), LightError> {
        let Some(helper) = self.helpers.get_mut(&peer) else { return Ok(()) };
        helper.rest_until = now + REST;
        match question {
            Question::Block(hash) => {
                if helper.owes_block.take_if(|owed| *owed == hash).is_some() {
                    self.blocks.iter_mut().filter(|job| job.hash == hash).for_each(|job| job.asked = None);
                }
            }
            Question::FilterHeaders { stop, .. } => {
                helper.owes_headers.take_if(|(_, owed)| *owed == stop);
                if let Some(round) = self.round.as_mut().filter(|round| round.stop == stop) {
                    round.waiting.remove(&peer);
                }
            }
            Question::Filters { stop, .. } => {
                let task = helper.owes_filters.take_if(|task| match task {
                    FilterTask::Chunk { stop: owed, .. } => *owed == stop,
                    FilterTask::Claim(_) => true,
                });
                if let Some(FilterTask::Chunk { scan, left, .. }) = task {
                    self.hand_back(scan, &left);
                }
            }
        }
        self.work(now)
    }
}
