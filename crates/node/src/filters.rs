//! The thread `lode-filters`: makes every block's compact filter (BIP158), for light clients to ask for.
//!
//! It follows the chain from behind, on a new chain as well as on one that is there already, and holds nobody up: one
//! block is read at a time under the state's lock. What it made is in [`FilterIndex`], which is right after a kill at
//! any moment; so there is nothing to recover here.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use lode_chain::{FilterIndex, NewFilter, StoreError};
use lode_primitives::{BlockHash, Hash256, Height};
use tokio::sync::watch;

use crate::node::Node;

/// Filters entered at once, at the most: what is made again after a kill.
const BATCH: usize = 64;
/// Bytes of filters entered at once, at the most.
const BATCH_BYTES: usize = 4 << 20;
/// Between two lines about the backfill in a log.
const LINE: Duration = Duration::from_secs(10);

/// The node's filters.
#[derive(Debug)]
pub(crate) struct Filters {
    pub(crate) index: FilterIndex,
    /// The height up to which the best chain's filters are made, plus one.
    next: watch::Sender<Height>,
    /// They were complete once: peers are told.
    offered: AtomicBool,
}

impl Filters {
    pub(crate) fn new(index: FilterIndex) -> Self {
        Self { index, next: watch::Sender::new(0), offered: AtomicBool::new(false) }
    }

    /// The height up to which filters are made; `None` where not even the first block has one.
    pub(crate) fn height(&self) -> Option<Height> {
        self.next.borrow().checked_sub(1)
    }

    /// Waits until the best chain's filters are made up to `height`; false where they are not within `patience`, or are
    /// only being made for the first time. For a thread that may wait, within a runtime.
    pub(crate) fn wait_for(&self, height: Height, patience: Duration) -> bool {
        if self.height().is_some_and(|made| made >= height) {
            return true;
        }
        let mut next = self.next.subscribe();
        self.are_offered()
            && tokio::runtime::Handle::current()
                .block_on(tokio::time::timeout(patience, next.wait_for(|next| *next > height)))
                .is_ok_and(|waited| waited.is_ok())
    }

    /// Filters were complete once since the start.
    pub(crate) fn are_offered(&self) -> bool {
        self.offered.load(Ordering::Relaxed)
    }
}

/// The last block whose filter is made.
struct At {
    height: Height,
    hash: BlockHash,
    header: Hash256,
}

/// Makes filters until the node stops.
pub(crate) fn run(node: &Arc<Node>, filters: &Filters, runtime: &tokio::runtime::Handle) {
    let mut tip = node.tip.subscribe();
    let mut stop = node.stop.subscribe();
    let mut line = Instant::now();
    loop {
        tip.mark_unchanged();
        if let Err(error) = catch_up(node, filters, &mut line) {
            return node.fail(&error);
        }
        if node.stopping.load(Ordering::Relaxed) {
            return;
        }
        let stopped = runtime.block_on(async {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => true,
                changed = tip.changed() => changed.is_err(),
            }
        });
        if stopped {
            return;
        }
    }
}

/// Makes filters up to the tip.
fn catch_up(node: &Node, filters: &Filters, line: &mut Instant) -> Result<(), StoreError> {
    let mut at = last(node, filters)?;
    while !node.stopping.load(Ordering::Relaxed) {
        let Some(batch) = make(node, at.as_ref())? else {
            at = last(node, filters)?;
            continue;
        };
        let Some(end) = batch.last() else {
            if !filters.offered.swap(true, Ordering::Relaxed) {
                tracing::info!(
                    height = filters.height(),
                    "compact filters are complete and offered to peers"
                );
            }
            return Ok(());
        };
        filters.index.add(&batch)?;
        at = Some(At { height: end.height, hash: end.hash, header: end.header });
        filters.next.send_replace(end.height + 1);
        if line.elapsed() >= LINE {
            *line = Instant::now();
            tracing::info!("compact filters made up to block {} of {}", end.height, node.tip.borrow().height);
        }
    }
    Ok(())
}

/// The highest block of the best chain that has its filter.
fn last(node: &Node, filters: &Filters) -> Result<Option<At>, StoreError> {
    let state = node.read();
    let reached = filters.index.reached(&state.chain)?;
    let entry = reached.and_then(|height| state.chain.entry_at(height));
    let at = match entry {
        None => None,
        Some(entry) => {
            let (height, hash) = (entry.height(), entry.hash());
            filters.index.header(height, &hash)?.map(|found| At { height, hash, header: found.header })
        }
    };
    filters.next.send_replace(at.as_ref().map_or(0, |at| at.height + 1));
    Ok(at)
}

/// The filters of the next blocks, none at the tip; `None` where the chain has turned away from `at`.
fn make(node: &Node, at: Option<&At>) -> Result<Option<Vec<NewFilter>>, StoreError> {
    let mut batch: Vec<NewFilter> = Vec::new();
    let (mut height, mut parent, mut header) =
        at.map_or((0, BlockHash::ZERO, Hash256::ZERO), |at| (at.height + 1, at.hash, at.header));
    let mut bytes = 0;
    while batch.len() < BATCH && bytes < BATCH_BYTES {
        // One block for each taking of the lock: a new block need not wait long.
        let state = node.read();
        let Some(entry) = state.chain.entry_at(height) else { break };
        if entry.prev() != parent {
            return Ok(None);
        }
        let hash = entry.hash();
        let filter = state.chain.block_filter(&hash)?.ok_or(StoreError::Pruned(hash))?;
        drop(state);
        header = filter.header(&header);
        bytes += filter.as_bytes().len();
        batch.push(NewFilter { height, hash, filter, header });
        (height, parent) = (height + 1, hash);
    }
    let turned = batch.is_empty() && {
        let state = node.read();
        at.is_some_and(|at| !state.chain.is_in_best_chain(&at.hash))
    };
    Ok((!turned).then_some(batch))
}
